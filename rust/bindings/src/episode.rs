//! Bindings of `amortix_core::episode` and `amortix_core::projection`.

use amortix_core::episode::{self, Index, Rows, Shape};
use amortix_core::projection::Images;
use amortix_core::rng::Key;
use numpy::ndarray::{Ix1, Ix2, Ix3};
use numpy::{Element, IntoPyArray, PyArray1, PyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

/// Add the functions of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(episode_index, module)?)?;
    module.add_function(wrap_pyfunction!(episode_draw_into, module)?)?;
    module.add_function(wrap_pyfunction!(episode_gather_into, module)?)?;
    module.add_function(wrap_pyfunction!(image_rows_into, module)?)
}

type Whole<'py> = Bound<'py, PyArray1<i64>>;

/// The labels that occur, where the rows of each begin (and end), and the rows by label.
#[pyfunction]
fn episode_index<'py>(
    py: Python<'py>,
    labels: &Bound<'py, PyAny>,
) -> PyResult<(Whole<'py>, Whole<'py>, Whole<'py>)> {
    let labels = lend::<i64, Ix1>("labels", labels)?;
    let labels = labels.as_slice()?;
    let index = enter(py, || Index::new(labels))?;
    let [labels, offsets, rows] =
        [index.labels, index.offsets, index.rows].map(|values| values.into_pyarray(py));
    Ok((labels, offsets, rows))
}

/// Draw the episodes from number `first` on: classes `[T, ways]`, support rows and query rows `[T, ways, each]`.
#[pyfunction]
#[pyo3(signature = (offsets, rows, eligible, classes, support, query, *, seed, first))]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of an episode")]
fn episode_draw_into(
    py: Python<'_>,
    offsets: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    eligible: &Bound<'_, PyAny>,
    classes: &Bound<'_, PyAny>,
    support: &Bound<'_, PyAny>,
    query: &Bound<'_, PyAny>,
    seed: u64,
    first: u64,
) -> PyResult<()> {
    let (offsets, rows) = (lend::<i64, Ix1>("offsets", offsets)?, lend::<i64, Ix1>("rows", rows)?);
    let (eligible, mut classes) =
        (lend::<i64, Ix1>("eligible", eligible)?, lend_mut::<i64, Ix2>("classes", classes)?);
    let (mut support, mut query) =
        (lend_mut::<i64, Ix3>("support", support)?, lend_mut::<i64, Ix3>("query", query)?);
    let (episodes, ways) = (classes.shape()[0], classes.shape()[1]);
    let shape = Shape { ways, shots: support.shape()[2], queries: query.shape()[2] };
    expect_shape("support", support.shape(), &[episodes, ways, shape.shots])?;
    expect_shape("query", query.shape(), &[episodes, ways, shape.queries])?;
    let index = (offsets.as_slice()?, rows.as_slice()?);
    let eligible = eligible.as_slice()?;
    let out = Rows {
        support: support.as_slice_mut()?,
        query: query.as_slice_mut()?,
        classes: classes.as_slice_mut()?,
    };
    enter(py, || episode::draw_into(seed, first, index, eligible, shape, out))
}

/// Copy rows of `source`, `[height, width]` of uint8 or float32, times `scale` to `out`.
#[pyfunction]
fn episode_gather_into(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    scale: f32,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    if source.cast::<PyArray2<u8>>().is_ok() {
        return gather::<u8>(py, source, rows, scale, out);
    }
    gather::<f32>(py, source, rows, scale, out)
}

fn gather<T: Element + Copy + Into<f32>>(
    py: Python<'_>,
    source: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    scale: f32,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (source, rows) = (lend::<T, Ix2>("source", source)?, lend::<i64, Ix1>("rows", rows)?);
    let mut out = lend_mut::<f32, Ix2>("out", out)?;
    expect_shape("out", out.shape(), &[rows.len(), source.shape()[1]])?;
    let height = source.shape()[0];
    let (source, rows, out) = (source.as_slice()?, rows.as_slice()?, out.as_slice_mut()?);
    enter(py, || episode::gather_into(source, height, rows, scale, out))
}

/// Projected images of each (task, step), drawn from those in `among`: `x` `[T, B, D]` and `y` `[T, B]`.
#[pyfunction]
#[pyo3(signature = (pixels, labels, mean, among, tasks, steps, x, y, *, classes, scale, seed, purpose))]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the images")]
fn image_rows_into(
    py: Python<'_>,
    pixels: &Bound<'_, PyAny>,
    labels: &Bound<'_, PyAny>,
    mean: &Bound<'_, PyAny>,
    among: &Bound<'_, PyAny>,
    tasks: &Bound<'_, PyAny>,
    steps: &Bound<'_, PyAny>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    classes: usize,
    scale: f32,
    seed: u64,
    purpose: u64,
) -> PyResult<()> {
    let (pixels, labels) = (lend::<u8, Ix2>("pixels", pixels)?, lend::<i64, Ix1>("labels", labels)?);
    let (mean, among) = (lend::<f32, Ix1>("mean", mean)?, lend::<i64, Ix1>("among", among)?);
    let (tasks, steps) = (lend::<i64, Ix1>("tasks", tasks)?, lend::<i64, Ix1>("steps", steps)?);
    let (mut x, mut y) = (lend_mut::<f32, Ix3>("x", x)?, lend_mut::<f32, Ix2>("y", y)?);
    expect_shape("mean", mean.shape(), &pixels.shape()[1..])?;
    expect_shape("labels", labels.shape(), &pixels.shape()[..1])?;
    expect_shape("x", &x.shape()[..2], y.shape())?;
    expect_shape("y", &y.shape()[..1], tasks.shape())?;
    let images = Images {
        pixels: pixels.as_slice()?,
        labels: labels.as_slice()?,
        classes,
        mean: mean.as_slice()?,
        scale,
    };
    let (among, ids) = (among.as_slice()?, (tasks.as_slice()?, steps.as_slice()?));
    let out = (x.as_slice_mut()?, y.as_slice_mut()?);
    let root = Key::new(seed).child(6, 0);
    enter(py, || images.observe_into(root, root.child(2, purpose), among, ids, out))
}
