//! Door of `amortix_core::refine::log_evidence`.

use amortix_core::refine::{EvidenceInput, EvidenceSizes, EvidenceSlopes};
use numpy::ndarray::{Ix1, Ix2, Ix3};
use numpy::{PyReadonlyArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

/// The arrays that are read.
struct Lent<'py> {
    sizes: EvidenceSizes,
    x: PyReadonlyArray<'py, f32, Ix3>,
    y: PyReadonlyArray<'py, f32, Ix3>,
    weight: PyReadonlyArray<'py, f32, Ix2>,
    relevance: PyReadonlyArray<'py, f32, Ix2>,
    signal: PyReadonlyArray<'py, f32, Ix2>,
    /// Stretch, linear, noise.
    scalars: [PyReadonlyArray<'py, f32, Ix1>; 3],
}

impl<'py> Lent<'py> {
    /// Borrow x, y, weight, log_relevance, log_signal, log_stretch, log_linear and log_noise.
    fn new(arrays: [&Bound<'py, PyAny>; 8]) -> PyResult<Self> {
        let [x, y, weight, relevance, signal, stretch, linear, noise] = arrays;
        let (x, y) = (lend::<f32, Ix3>("x", x)?, lend::<f32, Ix3>("y", y)?);
        let weight = lend::<f32, Ix2>("weight", weight)?;
        let relevance = lend::<f32, Ix2>("log_relevance", relevance)?;
        let signal = lend::<f32, Ix2>("log_signal", signal)?;
        let [tasks, rows, columns] = *x.shape() else { unreachable!("x has three axes") };
        let outputs = y.shape()[2];
        expect_shape("y", y.shape(), &[tasks, rows, outputs])?;
        expect_shape("weight", weight.shape(), &[tasks, rows])?;
        expect_shape("log_relevance", relevance.shape(), &[tasks, columns])?;
        expect_shape("log_signal", signal.shape(), &[tasks, 2])?;
        let scalar = |name, array| {
            let lent = lend::<f32, Ix1>(name, array)?;
            expect_shape(name, lent.shape(), &[tasks])?;
            PyResult::Ok(lent)
        };
        let scalars =
            [scalar("log_stretch", stretch)?, scalar("log_linear", linear)?, scalar("log_noise", noise)?];
        Ok(Self {
            sizes: EvidenceSizes { tasks, rows, columns, outputs },
            x,
            y,
            weight,
            relevance,
            signal,
            scalars,
        })
    }

    fn input(&self, jitter: f32) -> PyResult<EvidenceInput<'_>> {
        let [stretch, linear, noise] = &self.scalars;
        Ok(EvidenceInput {
            x: self.x.as_slice()?,
            y: self.y.as_slice()?,
            weight: self.weight.as_slice()?,
            relevance: self.relevance.as_slice()?,
            signal: self.signal.as_slice()?,
            stretch: stretch.as_slice()?,
            linear: linear.as_slice()?,
            noise: noise.as_slice()?,
            jitter,
        })
    }
}

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn log_evidence_into(
    py: Python<'_>,
    x: &Bound<'_, PyAny>,
    y: &Bound<'_, PyAny>,
    weight: &Bound<'_, PyAny>,
    log_relevance: &Bound<'_, PyAny>,
    log_signal: &Bound<'_, PyAny>,
    log_stretch: &Bound<'_, PyAny>,
    log_linear: &Bound<'_, PyAny>,
    log_noise: &Bound<'_, PyAny>,
    jitter: f32,
    value: &Bound<'_, PyAny>,
    relevance_slope: &Bound<'_, PyAny>,
    signal_slope: &Bound<'_, PyAny>,
    stretch_slope: &Bound<'_, PyAny>,
    linear_slope: &Bound<'_, PyAny>,
    noise_slope: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let lent = Lent::new([x, y, weight, log_relevance, log_signal, log_stretch, log_linear, log_noise])?;
    let EvidenceSizes { tasks, columns, .. } = lent.sizes;
    let mut value = lend_mut::<f32, Ix1>("value", value)?;
    let mut relevance = lend_mut::<f32, Ix2>("relevance_slope", relevance_slope)?;
    let mut signal = lend_mut::<f32, Ix2>("signal_slope", signal_slope)?;
    let mut stretch = lend_mut::<f32, Ix1>("stretch_slope", stretch_slope)?;
    let mut linear = lend_mut::<f32, Ix1>("linear_slope", linear_slope)?;
    let mut noise = lend_mut::<f32, Ix1>("noise_slope", noise_slope)?;
    expect_shape("value", value.shape(), &[tasks])?;
    expect_shape("relevance_slope", relevance.shape(), &[tasks, columns])?;
    expect_shape("signal_slope", signal.shape(), &[tasks, 2])?;
    for (name, slope) in [("stretch_slope", &stretch), ("linear_slope", &linear), ("noise_slope", &noise)] {
        expect_shape(name, slope.shape(), &[tasks])?;
    }
    let slopes = EvidenceSlopes {
        relevance: relevance.as_slice_mut()?,
        signal: signal.as_slice_mut()?,
        stretch: stretch.as_slice_mut()?,
        linear: linear.as_slice_mut()?,
        noise: noise.as_slice_mut()?,
    };
    let (input, value) = (lent.input(jitter)?, value.as_slice_mut()?);
    enter(py, || amortix_core::refine::log_evidence(lent.sizes, input, value, slopes))
}
