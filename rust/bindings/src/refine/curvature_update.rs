//! Door of `amortix_core::refine::curvature_update`.

use amortix_core::refine::{CurvatureInput, CurvatureOutput, CurvatureSizes};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix1, Ix2, Ix3};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn curvature_update_into(
    py: Python<'_>,
    second: &Bound<'_, PyAny>,
    count: &Bound<'_, PyAny>,
    jacobian: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    out_second: &Bound<'_, PyAny>,
    out_count: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (second, count) = (lend::<f32, Ix3>("second", second)?, lend::<f32, Ix1>("count", count)?);
    let jacobian = lend::<f32, Ix3>("jacobian", jacobian)?;
    let weight = weight.map(|weight| lend::<f32, Ix2>("weight", weight)).transpose()?;
    let (mut out_second, mut out_count) =
        (lend_mut::<f32, Ix3>("out_second", out_second)?, lend_mut::<f32, Ix1>("out_count", out_count)?);

    let [tasks, batch, state] = *jacobian.shape() else { unreachable!("jacobian has three axes") };
    let sizes = CurvatureSizes { tasks, batch, state };
    expect_shape("second", second.shape(), &[tasks, state, state])?;
    expect_shape("count", count.shape(), &[tasks])?;
    if let Some(weight) = &weight {
        expect_shape("weight", weight.shape(), &[tasks, batch])?;
    }
    expect_shape("out_second", out_second.shape(), &[tasks, state, state])?;
    expect_shape("out_count", out_count.shape(), &[tasks])?;

    let input = CurvatureInput {
        second: second.as_slice()?,
        count: count.as_slice()?,
        jacobian: jacobian.as_slice()?,
        weight: weight.as_ref().map(|weight| weight.as_slice()).transpose()?,
    };
    let output = CurvatureOutput { second: out_second.as_slice_mut()?, count: out_count.as_slice_mut()? };
    enter(py, || amortix_core::refine::curvature_update(sizes, input, output))
}
