//! Doors of `amortix_core::refine::prefix_gradient` and of its backward pass.

use amortix_core::refine::{GradientInput, GradientSizes};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix2, Ix3, Ix4};
use numpy::{PyReadonlyArray2, PyReadonlyArray3};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

#[pyfunction]
pub(super) fn prefix_gradient_into(
    py: Python<'_>,
    theta: &Bound<'_, PyAny>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let rows = Rows::lend(theta, x, y, weight)?;
    let mut out = lend_mut::<f32, Ix4>("out", out)?;
    let sizes = rows.sizes(out.shape()[1])?;
    expect_shape("out", out.shape(), &[sizes.tasks, sizes.prefixes, sizes.columns, sizes.outputs])?;
    let (input, out) = (rows.input()?, out.as_slice_mut()?);
    enter(py, || amortix_core::refine::prefix_gradient(sizes, input, out))
}

#[pyfunction]
pub(super) fn prefix_gradient_backward_into(
    py: Python<'_>,
    upstream: &Bound<'_, PyAny>,
    theta: &Bound<'_, PyAny>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let upstream = lend::<f32, Ix4>("upstream", upstream)?;
    let rows = Rows::lend(theta, x, y, weight)?;
    let mut out = lend_mut::<f32, Ix3>("out", out)?;
    let sizes = rows.sizes(upstream.shape()[1])?;
    let GradientSizes { tasks, prefixes, columns, outputs, .. } = sizes;
    expect_shape("upstream", upstream.shape(), &[tasks, prefixes, columns, outputs])?;
    expect_shape("out", out.shape(), &[tasks, columns, outputs])?;
    let (upstream, input, out) = (upstream.as_slice()?, rows.input()?, out.as_slice_mut()?);
    enter(py, || amortix_core::refine::prefix_gradient_backward(sizes, upstream, input, out))
}

/// The arrays that both passes read.
struct Rows<'py> {
    theta: PyReadonlyArray3<'py, f32>,
    x: PyReadonlyArray3<'py, f32>,
    y: PyReadonlyArray2<'py, f32>,
    weight: Option<PyReadonlyArray2<'py, f32>>,
}

impl<'py> Rows<'py> {
    fn lend(
        theta: &Bound<'py, PyAny>,
        x: &Bound<'py, PyAny>,
        y: &Bound<'py, PyAny>,
        weight: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Self> {
        Ok(Self {
            theta: lend::<f32, Ix3>("theta", theta)?,
            x: lend::<f32, Ix3>("x", x)?,
            y: lend::<f32, Ix2>("y", y)?,
            weight: weight.map(|weight| lend::<f32, Ix2>("weight", weight)).transpose()?,
        })
    }

    fn sizes(&self, prefixes: usize) -> PyResult<GradientSizes> {
        let [tasks, columns, outputs] = *self.theta.shape() else { unreachable!("theta has three axes") };
        let batch = self.x.shape()[1];
        expect_shape("x", self.x.shape(), &[tasks, batch, columns])?;
        expect_shape("y", self.y.shape(), &[tasks, batch])?;
        if let Some(weight) = &self.weight {
            expect_shape("weight", weight.shape(), &[tasks, batch])?;
        }
        Ok(GradientSizes { tasks, batch, prefixes, columns, outputs })
    }

    fn input(&self) -> PyResult<GradientInput<'_>> {
        Ok(GradientInput {
            theta: self.theta.as_slice()?,
            x: self.x.as_slice()?,
            y: self.y.as_slice()?,
            weight: self.weight.as_ref().map(|weight| weight.as_slice()).transpose()?,
        })
    }
}
