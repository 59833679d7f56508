//! Door of `amortix_core::refine::local_solve`.

use amortix_core::refine::{SolveInput, SolveOutput, SolveSizes};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix1, Ix2, Ix3, Ix4};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn local_solve_into(
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
