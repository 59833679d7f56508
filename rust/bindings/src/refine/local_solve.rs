//! Doors of `amortix_core::refine::local_solve` and its gradients.

use amortix_core::refine::{SolveGradient, SolveInput, SolveOutput, SolveSizes, SolveSlopes};
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
    stretch: &Bound<'_, PyAny>,
    noise: &Bound<'_, PyAny>,
    jitter: f32,
    mean: &Bound<'_, PyAny>,
    variance: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (query, distance) = (lend::<f32, Ix3>("query", query)?, lend::<f32, Ix3>("distance", distance)?);
    let (kept_x, residual) = (lend::<f32, Ix4>("kept_x", kept_x)?, lend::<f32, Ix4>("residual", residual)?);
    let (relevance, signal) =
        (lend::<f32, Ix2>("relevance", relevance)?, lend::<f32, Ix2>("signal", signal)?);
    let (stretch, noise) = (lend::<f32, Ix1>("stretch", stretch)?, lend::<f32, Ix1>("noise", noise)?);
    let (mut mean, mut variance) =
        (lend_mut::<f32, Ix3>("mean", mean)?, lend_mut::<f32, Ix2>("variance", variance)?);

    let [tasks, queries, kept, columns] = *kept_x.shape() else { unreachable!("kept_x has four axes") };
    let outputs = residual.shape()[3];
    let sizes = SolveSizes { tasks, queries, kept, columns, outputs };
    expect_shape("query", query.shape(), &[tasks, queries, columns])?;
    expect_shape("residual", residual.shape(), &[tasks, queries, kept, outputs])?;
    expect_shape("distance", distance.shape(), &[tasks, queries, kept])?;
    expect_shape("relevance", relevance.shape(), &[tasks, columns])?;
    expect_shape("signal", signal.shape(), &[tasks, 2])?;
    expect_shape("stretch", stretch.shape(), &[tasks])?;
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
        stretch: stretch.as_slice()?,
        noise: noise.as_slice()?,
        jitter,
    };
    let output = SolveOutput { mean: mean.as_slice_mut()?, variance: variance.as_slice_mut()? };
    enter(py, || amortix_core::refine::local_solve(sizes, input, output))
}

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn local_solve_backward_into(
    py: Python<'_>,
    query: &Bound<'_, PyAny>,
    kept_x: &Bound<'_, PyAny>,
    residual: &Bound<'_, PyAny>,
    distance: &Bound<'_, PyAny>,
    relevance: &Bound<'_, PyAny>,
    signal: &Bound<'_, PyAny>,
    stretch: &Bound<'_, PyAny>,
    noise: &Bound<'_, PyAny>,
    jitter: f32,
    mean: &Bound<'_, PyAny>,
    variance: &Bound<'_, PyAny>,
    query_slope: &Bound<'_, PyAny>,
    kept_x_slope: &Bound<'_, PyAny>,
    residual_slope: &Bound<'_, PyAny>,
    relevance_slope: &Bound<'_, PyAny>,
    signal_slope: &Bound<'_, PyAny>,
    stretch_slope: &Bound<'_, PyAny>,
    noise_slope: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (query, distance) = (lend::<f32, Ix3>("query", query)?, lend::<f32, Ix3>("distance", distance)?);
    let (kept_x, residual) = (lend::<f32, Ix4>("kept_x", kept_x)?, lend::<f32, Ix4>("residual", residual)?);
    let (relevance, signal) =
        (lend::<f32, Ix2>("relevance", relevance)?, lend::<f32, Ix2>("signal", signal)?);
    let (stretch, noise) = (lend::<f32, Ix1>("stretch", stretch)?, lend::<f32, Ix1>("noise", noise)?);
    let (mean, variance) = (lend::<f32, Ix3>("mean", mean)?, lend::<f32, Ix2>("variance", variance)?);
    let mut query_slope = lend_mut::<f32, Ix3>("query_slope", query_slope)?;
    let mut kept_x_slope = lend_mut::<f32, Ix4>("kept_x_slope", kept_x_slope)?;
    let mut residual_slope = lend_mut::<f32, Ix4>("residual_slope", residual_slope)?;
    let mut relevance_slope = lend_mut::<f32, Ix2>("relevance_slope", relevance_slope)?;
    let mut signal_slope = lend_mut::<f32, Ix2>("signal_slope", signal_slope)?;
    let mut stretch_slope = lend_mut::<f32, Ix1>("stretch_slope", stretch_slope)?;
    let mut noise_slope = lend_mut::<f32, Ix1>("noise_slope", noise_slope)?;

    let [tasks, queries, kept, columns] = *kept_x.shape() else { unreachable!("kept_x has four axes") };
    let outputs = residual.shape()[3];
    let shapes: [(&str, &[usize], &[usize]); 16] = [
        ("query", query.shape(), &[tasks, queries, columns]),
        ("residual", residual.shape(), &[tasks, queries, kept, outputs]),
        ("distance", distance.shape(), &[tasks, queries, kept]),
        ("relevance", relevance.shape(), &[tasks, columns]),
        ("signal", signal.shape(), &[tasks, 2]),
        ("stretch", stretch.shape(), &[tasks]),
        ("noise", noise.shape(), &[tasks]),
        ("mean", mean.shape(), &[tasks, queries, outputs]),
        ("variance", variance.shape(), &[tasks, queries]),
        ("query_slope", query_slope.shape(), query.shape()),
        ("kept_x_slope", kept_x_slope.shape(), kept_x.shape()),
        ("residual_slope", residual_slope.shape(), residual.shape()),
        ("relevance_slope", relevance_slope.shape(), relevance.shape()),
        ("signal_slope", signal_slope.shape(), signal.shape()),
        ("stretch_slope", stretch_slope.shape(), stretch.shape()),
        ("noise_slope", noise_slope.shape(), noise.shape()),
    ];
    shapes.iter().try_for_each(|(name, got, expected)| expect_shape(name, got, expected))?;

    let sizes = SolveSizes { tasks, queries, kept, columns, outputs };
    let input = SolveInput {
        query: query.as_slice()?,
        kept_x: kept_x.as_slice()?,
        residual: residual.as_slice()?,
        distance: distance.as_slice()?,
        relevance: relevance.as_slice()?,
        signal: signal.as_slice()?,
        stretch: stretch.as_slice()?,
        noise: noise.as_slice()?,
        jitter,
    };
    let gradient = SolveGradient { mean: mean.as_slice()?, variance: variance.as_slice()? };
    let slopes = SolveSlopes {
        query: query_slope.as_slice_mut()?,
        kept_x: kept_x_slope.as_slice_mut()?,
        residual: residual_slope.as_slice_mut()?,
        relevance: relevance_slope.as_slice_mut()?,
        signal: signal_slope.as_slice_mut()?,
        stretch: stretch_slope.as_slice_mut()?,
        noise: noise_slope.as_slice_mut()?,
    };
    enter(py, || amortix_core::refine::local_solve_backward(sizes, input, gradient, slopes))
}
