//! Bindings of `amortix_core::pool` and `amortix_core::store`.

use amortix_core::{pool, store};
use numpy::ndarray::{Ix1, Ix2};
use numpy::{Element, PyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;
use crate::error::array_error;

/// Add the functions of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pool_draw_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_advance_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_gather_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_scatter_into, module)?)?;
    module.add_function(wrap_pyfunction!(store_extend_into, module)?)
}

/// Fill `out` with different slots of a pool, another selection for each `draw`.
#[pyfunction]
fn pool_draw_into(py: Python<'_>, seed: u64, draw: u64, slots: u64, out: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut out = lend_mut::<i64, Ix1>("out", out)?;
    let out = out.as_slice_mut()?;
    enter(py, || pool::draw_into(seed, draw, slots, out))
}

/// Let slots take steps; the next fresh task after those that were handed out.
#[pyfunction]
#[pyo3(signature = (slots, steps, tasks, ages, finished, *, seed, horizon, next_task))]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the pool")]
fn pool_advance_into(
    py: Python<'_>,
    slots: &Bound<'_, PyAny>,
    steps: i64,
    tasks: &Bound<'_, PyAny>,
    ages: &Bound<'_, PyAny>,
    finished: &Bound<'_, PyAny>,
    seed: u64,
    horizon: (u64, u64),
    next_task: i64,
) -> PyResult<i64> {
    let slots = lend::<i64, Ix1>("slots", slots)?;
    let (mut tasks, mut ages) = (lend_mut::<i64, Ix1>("tasks", tasks)?, lend_mut::<i64, Ix1>("ages", ages)?);
    let mut finished = lend_mut::<bool, Ix1>("finished", finished)?;
    expect_shape("ages", ages.shape(), tasks.shape())?;
    expect_shape("finished", finished.shape(), slots.shape())?;
    let (slots, finished) = (slots.as_slice()?, finished.as_slice_mut()?);
    let mut state = pool::Slots { tasks: tasks.as_slice_mut()?, ages: ages.as_slice_mut()?, next: next_task };
    enter(py, || state.advance(seed, horizon, slots, steps, finished).map(|()| state.next))
}

/// Copy rows of `field` to `out`; both float32 or both int64.
#[pyfunction]
fn pool_gather_into(
    py: Python<'_>,
    field: &Bound<'_, PyAny>,
    slots: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if field.cast::<PyArray2<i64>>().is_ok() {
        return gather::<i64>(py, field, slots, out);
    }
    gather::<f32>(py, field, slots, out)
}

/// Copy `values` to rows of `field`; both float32 or both int64.
#[pyfunction]
fn pool_scatter_into(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    slots: &Bound<'_, PyAny>,
    field: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if field.cast::<PyArray2<i64>>().is_ok() {
        return scatter::<i64>(py, values, slots, field);
    }
    scatter::<f32>(py, values, slots, field)
}

fn gather<T: Element + Copy>(
    py: Python<'_>,
    field: &Bound<'_, PyAny>,
    slots: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (field, slots) = (lend::<T, Ix2>("field", field)?, lend::<i64, Ix1>("slots", slots)?);
    let mut out = lend_mut::<T, Ix2>("out", out)?;
    expect_shape("out", out.shape(), &[slots.len(), field.shape()[1]])?;
    let height = field.shape()[0];
    let (field, slots, out) = (field.as_slice()?, slots.as_slice()?, out.as_slice_mut()?);
    enter(py, || pool::gather_into(field, height, slots, out))
}

fn scatter<T: Element + Copy>(
    py: Python<'_>,
    values: &Bound<'_, PyAny>,
    slots: &Bound<'_, PyAny>,
    field: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (values, slots) = (lend::<T, Ix2>("values", values)?, lend::<i64, Ix1>("slots", slots)?);
    let mut field = lend_mut::<T, Ix2>("field", field)?;
    expect_shape("values", values.shape(), &[slots.len(), field.shape()[1]])?;
    let height = field.shape()[0];
    let (values, slots, field) = (values.as_slice()?, slots.as_slice()?, field.as_slice_mut()?);
    enter(py, || pool::scatter_from(field, height, slots, values))
}

/// Put rows into a store, of which the first is row number `seen`.
#[pyfunction]
#[pyo3(signature = (x, y, store_x, store_y, *, seed, seen))]
fn store_extend_into(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    store_x: &Bound<'_, PyAny>,
    store_y: &Bound<'_, PyAny>,
    seed: u64,
    seen: u64,
) -> PyResult<()> {
    let (x, y) = (lend::<f32, Ix2>("x", x)?, lend::<f32, Ix1>("y", y)?);
    let (mut store_x, mut store_y) =
        (lend_mut::<f32, Ix2>("store_x", store_x)?, lend_mut::<f32, Ix1>("store_y", store_y)?);
    let width = store_x.shape()[1];
    expect_shape("store_y", store_y.shape(), &store_x.shape()[..1])?;
    expect_shape("x", x.shape(), &[y.len(), width])?;
    if seen.checked_add(y.len() as u64).is_none() {
        return Err(array_error(format!("`seen` is too large: {seen}")));
    }
    let (x, y) = (x.as_slice()?, y.as_slice()?);
    let (store_x, store_y) = (store_x.as_slice_mut()?, store_y.as_slice_mut()?);
    enter(py, || store::extend(seed, seen, store_x, store_y, x, y))
}
