//! Bindings of `amortix_core::pool` and `amortix_core::store`.

use amortix_core::{pool, store};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix1, Ix2};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;
use crate::error::array_error;

/// Add the functions of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(pool_draw_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_draw_by_age_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_advance_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_reset_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_gather_into, module)?)?;
    module.add_function(wrap_pyfunction!(pool_scatter_into, module)?)?;
    module.add_function(wrap_pyfunction!(store_offer_into, module)?)?;
    module.add_function(wrap_pyfunction!(store_adopt_into, module)?)
}

/// Fill `out` with different slots of a pool, another selection for each `draw`.
#[pyfunction]
fn pool_draw_into(py: Python<'_>, seed: u64, draw: u64, slots: u64, out: &Bound<'_, PyAny>) -> PyResult<()> {
    let mut out = lend_mut::<i64, Ix1>("out", out)?;
    let out = out.as_slice_mut()?;
    enter(py, || pool::draw_into(seed, draw, slots, out))
}

/// Fill `out` with different slots of a pool, equally many of each octave of age.
#[pyfunction]
fn pool_draw_by_age_into(
    py: Python<'_>,
    seed: u64,
    draw: u64,
    ages: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (ages, mut out) = (lend::<i64, Ix1>("ages", ages)?, lend_mut::<i64, Ix1>("out", out)?);
    let (ages, out) = (ages.as_slice()?, out.as_slice_mut()?);
    enter(py, || pool::draw_by_age_into(seed, draw, ages, out))
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
    horizon: Option<(u64, u64)>,
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

/// Give slots fresh tasks of age 0; the next fresh task after those that were handed out.
#[pyfunction]
#[pyo3(signature = (slots, tasks, ages, *, next_task))]
fn pool_reset_into(
    py: Python<'_>,
    slots: &Bound<'_, PyAny>,
    tasks: &Bound<'_, PyAny>,
    ages: &Bound<'_, PyAny>,
    next_task: i64,
) -> PyResult<i64> {
    let slots = lend::<i64, Ix1>("slots", slots)?;
    let (mut tasks, mut ages) = (lend_mut::<i64, Ix1>("tasks", tasks)?, lend_mut::<i64, Ix1>("ages", ages)?);
    expect_shape("ages", ages.shape(), tasks.shape())?;
    let slots = slots.as_slice()?;
    let mut state = pool::Slots { tasks: tasks.as_slice_mut()?, ages: ages.as_slice_mut()?, next: next_task };
    enter(py, || state.reset(slots).map(|()| state.next))
}

/// Copy rows of each field to the array in the same place of `out`; all of them bytes.
#[pyfunction]
fn pool_gather_into(
    py: Python<'_>,
    fields: Vec<Bound<'_, PyAny>>,
    slots: &Bound<'_, PyAny>,
    out: Vec<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let slots = lend::<i64, Ix1>("slots", slots)?;
    same_number(&fields, &out)?;
    let mut lent = Vec::with_capacity(out.len());
    for (field, out) in fields.iter().zip(&out) {
        let (field, out) = (lend::<u8, Ix2>("field", field)?, lend_mut::<u8, Ix2>("out", out)?);
        expect_shape("out", out.shape(), &[slots.len(), field.shape()[1]])?;
        lent.push((field, out));
    }
    let slots = slots.as_slice()?;
    let mut pairs = Vec::with_capacity(lent.len());
    for (field, out) in &mut lent {
        let height = field.shape()[0];
        pairs.push((field.as_slice()?, height, out.as_slice_mut()?));
    }
    enter(py, || {
        pairs.into_iter().try_for_each(|(field, height, out)| pool::gather_into(field, height, slots, out))
    })
}

/// Copy each array of `values` to rows of the field in the same place; all of them bytes.
#[pyfunction]
fn pool_scatter_into(
    py: Python<'_>,
    values: Vec<Bound<'_, PyAny>>,
    slots: &Bound<'_, PyAny>,
    fields: Vec<Bound<'_, PyAny>>,
) -> PyResult<()> {
    let slots = lend::<i64, Ix1>("slots", slots)?;
    same_number(&fields, &values)?;
    let mut lent = Vec::with_capacity(fields.len());
    for (values, field) in values.iter().zip(&fields) {
        let (values, field) = (lend::<u8, Ix2>("values", values)?, lend_mut::<u8, Ix2>("field", field)?);
        expect_shape("values", values.shape(), &[slots.len(), field.shape()[1]])?;
        lent.push((values, field));
    }
    let slots = slots.as_slice()?;
    let mut pairs = Vec::with_capacity(lent.len());
    for (values, field) in &mut lent {
        let height = field.shape()[0];
        pairs.push((values.as_slice()?, height, field.as_slice_mut()?));
    }
    enter(py, || {
        let mut pairs = pairs.into_iter();
        pairs.try_for_each(|(values, height, field)| pool::scatter_from(field, height, slots, values))
    })
}

fn same_number(fields: &[Bound<'_, PyAny>], arrays: &[Bound<'_, PyAny>]) -> PyResult<()> {
    if fields.len() == arrays.len() {
        return Ok(());
    }
    Err(array_error(format!("{} arrays were given for {} fields", arrays.len(), fields.len())))
}

/// Offer rows to a store; the place of each that is kept goes to `places`. How many places are taken now.
#[pyfunction]
#[pyo3(signature = (rows, weights, places, *, seed, keys, kept_rows, kept_weights, heap, taken))]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the store")]
fn store_offer_into(
    py: Python<'_>,
    rows: &Bound<'_, PyAny>,
    weights: &Bound<'_, PyAny>,
    places: &Bound<'_, PyAny>,
    seed: u64,
    keys: &Bound<'_, PyAny>,
    kept_rows: &Bound<'_, PyAny>,
    kept_weights: &Bound<'_, PyAny>,
    heap: &Bound<'_, PyAny>,
    taken: usize,
) -> PyResult<usize> {
    let (rows, weights) = (lend::<i64, Ix1>("rows", rows)?, lend::<f32, Ix1>("weights", weights)?);
    let (mut places, mut keys) =
        (lend_mut::<i64, Ix1>("places", places)?, lend_mut::<f64, Ix1>("keys", keys)?);
    let mut kept_rows = lend_mut::<i64, Ix1>("kept_rows", kept_rows)?;
    let mut kept_weights = lend_mut::<f32, Ix1>("kept_weights", kept_weights)?;
    let mut heap = lend_mut::<u32, Ix1>("heap", heap)?;
    let (rows, weights, places) = (rows.as_slice()?, weights.as_slice()?, places.as_slice_mut()?);
    let mut state = store::Places {
        keys: keys.as_slice_mut()?,
        rows: kept_rows.as_slice_mut()?,
        weights: kept_weights.as_slice_mut()?,
        heap: heap.as_slice_mut()?,
        taken,
    };
    enter(py, || state.offer(seed, rows, weights, places).map(|()| state.taken))
}

/// Compute the keys of the first `taken` rows of a store, and its heap.
#[pyfunction]
#[pyo3(signature = (*, seed, keys, kept_rows, kept_weights, heap, taken))]
fn store_adopt_into(
    py: Python<'_>,
    seed: u64,
    keys: &Bound<'_, PyAny>,
    kept_rows: &Bound<'_, PyAny>,
    kept_weights: &Bound<'_, PyAny>,
    heap: &Bound<'_, PyAny>,
    taken: usize,
) -> PyResult<()> {
    let mut keys = lend_mut::<f64, Ix1>("keys", keys)?;
    let mut kept_rows = lend_mut::<i64, Ix1>("kept_rows", kept_rows)?;
    let mut kept_weights = lend_mut::<f32, Ix1>("kept_weights", kept_weights)?;
    let mut heap = lend_mut::<u32, Ix1>("heap", heap)?;
    let mut state = store::Places {
        keys: keys.as_slice_mut()?,
        rows: kept_rows.as_slice_mut()?,
        weights: kept_weights.as_slice_mut()?,
        heap: heap.as_slice_mut()?,
        taken,
    };
    enter(py, || state.adopt(seed))
}
