//! Bindings of `amortix_core::refine`.

use amortix_core::refine::{MergeInput, MergeOutput, MergeSizes, SolveInput, SolveOutput, SolveSizes};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix1, Ix2, Ix3, Ix4};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

/// Add the functions of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(context_merge_into, module)?)?;
    module.add_function(wrap_pyfunction!(local_solve_into, module)?)
}

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
fn context_merge_into(
    py: Python<'_>,
    query: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    values: &Bound<'_, PyAny>,
    relevance: &Bound<'_, PyAny>,
    distance: &Bound<'_, PyAny>,
    kept_x: &Bound<'_, PyAny>,
    kept_y: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    out_distance: &Bound<'_, PyAny>,
    out_x: &Bound<'_, PyAny>,
    out_y: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (query, rows) = (lend::<f32, Ix3>("query", query)?, lend::<f32, Ix3>("rows", rows)?);
    let (values, relevance) =
        (lend::<f32, Ix3>("values", values)?, lend::<f32, Ix2>("relevance", relevance)?);
    let distance = lend::<f32, Ix3>("distance", distance)?;
    let (kept_x, kept_y) = (lend::<f32, Ix4>("kept_x", kept_x)?, lend::<f32, Ix4>("kept_y", kept_y)?);
    let weight = weight.map(|weight| lend::<f32, Ix2>("weight", weight)).transpose()?;
    let mut out_distance = lend_mut::<f32, Ix3>("out_distance", out_distance)?;
    let (mut out_x, mut out_y) =
        (lend_mut::<f32, Ix4>("out_x", out_x)?, lend_mut::<f32, Ix4>("out_y", out_y)?);

    let [tasks, queries, kept, columns] = *kept_x.shape() else { unreachable!("kept_x has four axes") };
    let (batch, outputs) = (values.shape()[1], values.shape()[2]);
    let sizes = MergeSizes { tasks, queries, batch, columns, outputs, kept };
    expect_shape("query", query.shape(), &[tasks, queries, columns])?;
    expect_shape("rows", rows.shape(), &[tasks, batch, columns])?;
    expect_shape("values", values.shape(), &[tasks, batch, outputs])?;
    expect_shape("relevance", relevance.shape(), &[tasks, columns])?;
    expect_shape("distance", distance.shape(), &[tasks, queries, kept])?;
    expect_shape("kept_y", kept_y.shape(), &[tasks, queries, kept, outputs])?;
    if let Some(weight) = &weight {
        expect_shape("weight", weight.shape(), &[tasks, batch])?;
    }
    expect_shape("out_distance", out_distance.shape(), &[tasks, queries, kept])?;
    expect_shape("out_x", out_x.shape(), &[tasks, queries, kept, columns])?;
    expect_shape("out_y", out_y.shape(), &[tasks, queries, kept, outputs])?;

    let input = MergeInput {
        query: query.as_slice()?,
        rows: rows.as_slice()?,
        values: values.as_slice()?,
        relevance: relevance.as_slice()?,
        distance: distance.as_slice()?,
        kept_x: kept_x.as_slice()?,
        kept_y: kept_y.as_slice()?,
        weight: weight.as_ref().map(|weight| weight.as_slice()).transpose()?,
    };
    let output = MergeOutput {
        distance: out_distance.as_slice_mut()?,
        kept_x: out_x.as_slice_mut()?,
        kept_y: out_y.as_slice_mut()?,
    };
    enter(py, || amortix_core::refine::context_merge(sizes, input, output))
}

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
fn local_solve_into(
    py: Python<'_>,
    query: &Bound<'_, PyAny>,
    kept_x: &Bound<'_, PyAny>,
    residual: &Bound<'_, PyAny>,
    distance: &Bound<'_, PyAny>,
    relevance: &Bound<'_, PyAny>,
    signal: &Bound<'_, PyAny>,
    noise: &Bound<'_, PyAny>,
    jitter: f32,
    mean: &Bound<'_, PyAny>,
    variance: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (query, distance) = (lend::<f32, Ix3>("query", query)?, lend::<f32, Ix3>("distance", distance)?);
    let (kept_x, residual) = (lend::<f32, Ix4>("kept_x", kept_x)?, lend::<f32, Ix4>("residual", residual)?);
    let relevance = lend::<f32, Ix2>("relevance", relevance)?;
    let (signal, noise) = (lend::<f32, Ix1>("signal", signal)?, lend::<f32, Ix1>("noise", noise)?);
    let (mut mean, mut variance) =
        (lend_mut::<f32, Ix3>("mean", mean)?, lend_mut::<f32, Ix2>("variance", variance)?);

    let [tasks, queries, kept, columns] = *kept_x.shape() else { unreachable!("kept_x has four axes") };
    let outputs = residual.shape()[3];
    let sizes = SolveSizes { tasks, queries, kept, columns, outputs };
    expect_shape("query", query.shape(), &[tasks, queries, columns])?;
    expect_shape("residual", residual.shape(), &[tasks, queries, kept, outputs])?;
    expect_shape("distance", distance.shape(), &[tasks, queries, kept])?;
    expect_shape("relevance", relevance.shape(), &[tasks, columns])?;
    expect_shape("signal", signal.shape(), &[tasks])?;
    expect_shape("noise", noise.shape(), &[tasks])?;
    expect_shape("mean", mean.shape(), &[tasks, queries, outputs])?;
    expect_shape("variance", variance.shape(), &[tasks, queries])?;

    let input = SolveInput {
        query: query.as_slice()?,
        kept_x: kept_x.as_slice()?,
        residual: residual.as_slice()?,
        distance: distance.as_slice()?,
        relevance: relevance.as_slice()?,
        signal: signal.as_slice()?,
        noise: noise.as_slice()?,
        jitter,
    };
    let output = SolveOutput { mean: mean.as_slice_mut()?, variance: variance.as_slice_mut()? };
    enter(py, || amortix_core::refine::local_solve(sizes, input, output))
}
