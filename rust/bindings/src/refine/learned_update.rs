//! Door of `amortix_core::refine::learned_update`.

use amortix_core::refine::{UpdateLayer, UpdateRule, UpdateTensor};
use numpy::ndarray::{Dimension, Ix1, Ix2, IxDyn};
use numpy::{Element, PyReadonlyArray, PyReadwriteArray, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;
use crate::error::array_error;

type Arrays<'py> = Vec<Bound<'py, PyAny>>;

fn lend_all<'py, T: Element, D: Dimension>(
    name: &str,
    arrays: &Arrays<'py>,
) -> PyResult<Vec<PyReadonlyArray<'py, T, D>>> {
    arrays.iter().enumerate().map(|(place, array)| lend(&format!("{name}[{place}]"), array)).collect()
}

fn lend_all_mut<'py>(
    name: &str,
    arrays: &Arrays<'py>,
    count: usize,
) -> PyResult<Vec<PyReadwriteArray<'py, f32, IxDyn>>> {
    if arrays.len() != count {
        return Err(array_error(format!("`{name}` must hold {count} arrays, but holds {}", arrays.len())));
    }
    arrays.iter().enumerate().map(|(place, array)| lend_mut(&format!("{name}[{place}]"), array)).collect()
}

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn learned_update_into(
    py: Python<'_>,
    parameters: Arrays<'_>,
    gradients: Arrays<'_>,
    momentum: Arrays<'_>,
    square: Arrays<'_>,
    row: Arrays<'_>,
    column: Arrays<'_>,
    step: &Bound<'_, PyAny>,
    network: Arrays<'_>,
    rate: f32,
    weight_decay: f32,
) -> PyResult<()> {
    let count = parameters.len();
    let step = lend::<f32, Ix1>("step", step)?;
    expect_shape("step", step.shape(), &[count])?;
    if network.len() < 4 || network.len() % 2 == 1 {
        return Err(array_error(format!(
            "`network` must hold four arrays and pairs, but holds {}",
            network.len()
        )));
    }
    let (learned, layers) = network.split_at(4);
    let learned = lend_all::<f32, Ix1>("network", &learned.to_vec())?;
    expect_shape("network[1]", learned[1].shape(), &[1])?;
    expect_shape("network[3]", learned[3].shape(), &[2])?;
    let weights =
        layers.iter().step_by(2).map(|one| lend::<f32, Ix2>("weight", one)).collect::<PyResult<Vec<_>>>()?;
    let biases = layers.iter().skip(1).step_by(2);
    let biases = biases.map(|one| lend::<f32, Ix1>("bias", one)).collect::<PyResult<Vec<_>>>()?;

    let gradients = lend_all::<f32, IxDyn>("gradients", &gradients)?;
    if gradients.len() != count {
        return Err(array_error(format!(
            "`gradients` must hold {count} arrays, but holds {}",
            gradients.len()
        )));
    }
    let momenta = learned[0].shape()[0];
    let mut parameters = lend_all_mut("parameters", &parameters, count)?;
    let mut momentum = lend_all_mut("momentum", &momentum, count * momenta)?;
    let mut square = lend_all_mut("square", &square, count)?;
    let mut row = lend_all_mut("row", &row, count)?;
    let mut column = lend_all_mut("column", &column, count)?;

    let mut tensors = Vec::with_capacity(count);
    let states = square.iter_mut().zip(&mut row).zip(&mut column);
    for (((parameter, gradient), step), ((square, row), column)) in
        parameters.iter_mut().zip(&gradients).zip(step.as_slice()?).zip(states)
    {
        tensors.push(UpdateTensor {
            rows: row.shape().get(1).copied().unwrap_or(0),
            columns: column.shape().get(1).copied().unwrap_or(0),
            step: *step,
            gradient: gradient.as_slice()?,
            parameter: parameter.as_slice_mut()?,
            momentum: Vec::with_capacity(momenta),
            square: square.as_slice_mut()?,
            row: row.as_slice_mut()?,
            column: column.as_slice_mut()?,
        });
    }
    for (place, one) in momentum.iter_mut().enumerate() {
        tensors[place % count].momentum.push(one.as_slice_mut()?);
    }
    let scale = learned[3].as_slice()?;
    let rule = UpdateRule {
        momentum_decay: learned[0].as_slice()?,
        square_decay: learned[1].as_slice()?[0],
        factored_decay: learned[2].as_slice()?,
        scale: [scale[0], scale[1]],
        rate,
        weight_decay,
    };
    let mut layers = Vec::with_capacity(weights.len());
    for (weight, bias) in weights.iter().zip(&biases) {
        layers.push(UpdateLayer { weight: weight.as_slice()?, bias: bias.as_slice()? });
    }
    enter(py, || amortix_core::refine::learned_update(rule, &layers, &mut tensors))
}
