//! Door of `amortix_core::refine::curvature_solve`.

use amortix_core::refine::{DampedInput, DampedSizes};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix2, Ix3};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

#[pyfunction]
pub(super) fn curvature_solve_into(
    py: Python<'_>,
    second: &Bound<'_, PyAny>,
    damping: &Bound<'_, PyAny>,
    gradient: &Bound<'_, PyAny>,
    direction: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (second, damping) = (lend::<f32, Ix3>("second", second)?, lend::<f32, Ix2>("damping", damping)?);
    let gradient = lend::<f32, Ix3>("gradient", gradient)?;
    let mut direction = lend_mut::<f32, Ix3>("direction", direction)?;

    let [tasks, state, outputs] = *gradient.shape() else { unreachable!("gradient has three axes") };
    let sizes = DampedSizes { tasks, state, outputs };
    expect_shape("second", second.shape(), &[tasks, state, state])?;
    expect_shape("damping", damping.shape(), &[tasks, state])?;
    expect_shape("direction", direction.shape(), &[tasks, state, outputs])?;

    let input = DampedInput {
        second: second.as_slice()?,
        damping: damping.as_slice()?,
        gradient: gradient.as_slice()?,
    };
    let direction = direction.as_slice_mut()?;
    enter(py, || amortix_core::refine::curvature_solve(sizes, input, direction))
}
