//! Doors of `amortix_core::refine::two_term_update` and of its backward pass.

use amortix_core::refine::{UpdateGradients, UpdateInput, UpdateOutput, UpdateSizes, UpdateUpstream};
use numpy::ndarray::{Ix1, Ix2, Ix3};
use numpy::{PyReadonlyArray, PyReadonlyArray1, PyReadonlyArray2, PyReadonlyArray3, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

/// Borrow several arrays of one number of axes for writing, each by its own name.
macro_rules! lend_all_mut {
    ($axes:ty: $($array:ident),+) => {
        [$(lend_mut::<f32, $axes>(stringify!($array), $array)?),+]
    };
}
#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn two_term_update_into(
    py: Python<'_>,
    theta: &Bound<'_, PyAny>,
    memory: &Bound<'_, PyAny>,
    average: &Bound<'_, PyAny>,
    proposal: &Bound<'_, PyAny>,
    gate: &Bound<'_, PyAny>,
    gradient: &Bound<'_, PyAny>,
    diagonal: &Bound<'_, PyAny>,
    factors: &Bound<'_, PyAny>,
    decay: &Bound<'_, PyAny>,
    delay: &Bound<'_, PyAny>,
    age: &Bound<'_, PyAny>,
    out_theta: &Bound<'_, PyAny>,
    out_memory: &Bound<'_, PyAny>,
    out_average: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let matrices = [theta, memory, average, proposal, gate, gradient, diagonal];
    let lent = Lent::new(matrices, factors, [decay, delay, age])?;
    let mut outputs = lend_all_mut!(Ix2: out_theta, out_memory, out_average);
    let sizes = lent.sizes()?;
    for (name, output) in ["out_theta", "out_memory", "out_average"].iter().zip(&outputs) {
        expect_shape(name, output.shape(), &[sizes.tasks, sizes.parameters])?;
    }
    let [theta, memory, average] = &mut outputs;
    let output = UpdateOutput {
        theta: theta.as_slice_mut()?,
        memory: memory.as_slice_mut()?,
        average: average.as_slice_mut()?,
    };
    let input = lent.input()?;
    enter(py, || amortix_core::refine::two_term_update(sizes, input, output))
}

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn two_term_update_backward_into(
    py: Python<'_>,
    upstream_theta: &Bound<'_, PyAny>,
    upstream_memory: &Bound<'_, PyAny>,
    upstream_average: &Bound<'_, PyAny>,
    theta: &Bound<'_, PyAny>,
    memory: &Bound<'_, PyAny>,
    average: &Bound<'_, PyAny>,
    proposal: &Bound<'_, PyAny>,
    gate: &Bound<'_, PyAny>,
    gradient: &Bound<'_, PyAny>,
    diagonal: &Bound<'_, PyAny>,
    factors: &Bound<'_, PyAny>,
    decay: &Bound<'_, PyAny>,
    delay: &Bound<'_, PyAny>,
    age: &Bound<'_, PyAny>,
    out_theta: &Bound<'_, PyAny>,
    out_memory: &Bound<'_, PyAny>,
    out_average: &Bound<'_, PyAny>,
    out_proposal: &Bound<'_, PyAny>,
    out_gate: &Bound<'_, PyAny>,
    out_gradient: &Bound<'_, PyAny>,
    out_diagonal: &Bound<'_, PyAny>,
    out_factors: &Bound<'_, PyAny>,
    out_decay: &Bound<'_, PyAny>,
    out_delay: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let upstream = [
        lend::<f32, Ix2>("upstream_theta", upstream_theta)?,
        lend::<f32, Ix2>("upstream_memory", upstream_memory)?,
        lend::<f32, Ix2>("upstream_average", upstream_average)?,
    ];
    let matrices = [theta, memory, average, proposal, gate, gradient, diagonal];
    let lent = Lent::new(matrices, factors, [decay, delay, age])?;
    let mut outputs = lend_all_mut!(
        Ix2: out_theta, out_memory, out_average, out_proposal, out_gate, out_gradient, out_diagonal
    );
    let mut scalars = lend_all_mut!(Ix1: out_decay, out_delay);
    let mut out_factors = lend_mut::<f32, Ix3>("out_factors", out_factors)?;
    let sizes = lent.sizes()?;
    let UpdateSizes { tasks, parameters, rank } = sizes;
    for (name, array) in ["upstream_theta", "upstream_memory", "upstream_average"].iter().zip(&upstream) {
        expect_shape(name, array.shape(), &[tasks, parameters])?;
    }
    for (name, output) in MATRICES.iter().zip(&outputs) {
        expect_shape(&format!("out_{name}"), output.shape(), &[tasks, parameters])?;
    }
    expect_shape("out_factors", out_factors.shape(), &[tasks, parameters, rank])?;
    for (name, output) in ["out_decay", "out_delay"].iter().zip(&scalars) {
        expect_shape(name, output.shape(), &[tasks])?;
    }
    let [theta, memory, average, proposal, gate, gradient, diagonal] = &mut outputs;
    let [decay, delay] = &mut scalars;
    let output = UpdateGradients {
        theta: theta.as_slice_mut()?,
        memory: memory.as_slice_mut()?,
        average: average.as_slice_mut()?,
        proposal: proposal.as_slice_mut()?,
        gate: gate.as_slice_mut()?,
        gradient: gradient.as_slice_mut()?,
        diagonal: diagonal.as_slice_mut()?,
        factors: out_factors.as_slice_mut()?,
        decay: decay.as_slice_mut()?,
        delay: delay.as_slice_mut()?,
    };
    let [theta, memory, average] = &upstream;
    let upstream =
        UpdateUpstream { theta: theta.as_slice()?, memory: memory.as_slice()?, average: average.as_slice()? };
    let input = lent.input()?;
    enter(py, || amortix_core::refine::two_term_update_backward(sizes, upstream, input, output))
}

const MATRICES: [&str; 7] = ["theta", "memory", "average", "proposal", "gate", "gradient", "diagonal"];
const SCALARS: [&str; 3] = ["decay", "delay", "age"];

/// The arrays that both passes read.
struct Lent<'py> {
    matrices: [PyReadonlyArray2<'py, f32>; 7],
    factors: PyReadonlyArray3<'py, f32>,
    scalars: [PyReadonlyArray1<'py, f32>; 3],
}

impl<'py> Lent<'py> {
    fn new(
        matrices: [&Bound<'py, PyAny>; 7],
        factors: &Bound<'py, PyAny>,
        scalars: [&Bound<'py, PyAny>; 3],
    ) -> PyResult<Self> {
        let [theta, memory, average, proposal, gate, gradient, diagonal] = matrices;
        let matrix = |name: &str, array| -> PyResult<PyReadonlyArray<'py, f32, Ix2>> { lend(name, array) };
        let scalar = |name: &str, array| -> PyResult<PyReadonlyArray<'py, f32, Ix1>> { lend(name, array) };
        let [decay, delay, age] = scalars;
        Ok(Self {
            matrices: [
                matrix("theta", theta)?,
                matrix("memory", memory)?,
                matrix("average", average)?,
                matrix("proposal", proposal)?,
                matrix("gate", gate)?,
                matrix("gradient", gradient)?,
                matrix("diagonal", diagonal)?,
            ],
            factors: lend::<f32, Ix3>("factors", factors)?,
            scalars: [scalar("decay", decay)?, scalar("delay", delay)?, scalar("age", age)?],
        })
    }

    fn sizes(&self) -> PyResult<UpdateSizes> {
        let [tasks, parameters, rank] = *self.factors.shape() else { unreachable!("factors has three axes") };
        for (name, matrix) in MATRICES.iter().zip(&self.matrices) {
            expect_shape(name, matrix.shape(), &[tasks, parameters])?;
        }
        for (name, scalar) in SCALARS.iter().zip(&self.scalars) {
            expect_shape(name, scalar.shape(), &[tasks])?;
        }
        Ok(UpdateSizes { tasks, parameters, rank })
    }

    fn input(&self) -> PyResult<UpdateInput<'_>> {
        let [theta, memory, average, proposal, gate, gradient, diagonal] = &self.matrices;
        let [decay, delay, age] = &self.scalars;
        Ok(UpdateInput {
            theta: theta.as_slice()?,
            memory: memory.as_slice()?,
            average: average.as_slice()?,
            proposal: proposal.as_slice()?,
            gate: gate.as_slice()?,
            gradient: gradient.as_slice()?,
            diagonal: diagonal.as_slice()?,
            factors: self.factors.as_slice()?,
            decay: decay.as_slice()?,
            delay: delay.as_slice()?,
            age: age.as_slice()?,
        })
    }
}
