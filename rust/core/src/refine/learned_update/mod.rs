//! One step of a per-parameter learned optimizer over a list of tensors: `amortix.ops.learned_update`.
//!
//! A tensor goes by three times: means of rows and columns; state and the mean square of every feature; network and
//! step. The second and third time it comes in chunks, whose sums are added in their order, so the number of threads
//! shows nowhere. Features of a block of parameters lie side by side in lanes, so the network is a small matrix product
//! that leaves the first-level cache only for its inputs and its result.

mod advance;
mod features;
mod network;
mod statistics;

use rayon::prelude::*;

use self::advance::Advance;
use self::features::Factors;
use self::network::{Apply, Network, Scratch};
use crate::{Error, Result};

/// Parameters that go through the network together.
const BLOCK: usize = 64;
/// Parameters of one unit of parallel work.
const CHUNK: usize = 64 * BLOCK;
/// Steps over which the features of time turn.
const TIME_SCALES: [f32; 11] = [1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1e3, 3e3, 1e4, 3e4, 1e5];

/// A tensor, seen as a matrix, with its state; all but the gradient are replaced.
#[derive(Debug)]
pub struct UpdateTensor<'a> {
    /// R.
    pub rows: usize,
    /// C.
    pub columns: usize,
    /// Steps taken.
    pub step: f32,
    /// `[R, C]`.
    pub gradient: &'a [f32],
    /// `[R, C]`.
    pub parameter: &'a mut [f32],
    /// K of `[R, C]`.
    pub momentum: Vec<&'a mut [f32]>,
    /// `[R, C]`.
    pub square: &'a mut [f32],
    /// `[F, R]`.
    pub row: &'a mut [f32],
    /// `[F, C]`.
    pub column: &'a mut [f32],
}

/// What is the same for all tensors.
#[derive(Debug, Clone, Copy)]
pub struct UpdateRule<'a> {
    /// `[K]`.
    pub momentum_decay: &'a [f32],
    /// Of the mean square.
    pub square_decay: f32,
    /// `[F]`.
    pub factored_decay: &'a [f32],
    /// What multiplies the update, and the magnitude before its exponential.
    pub scale: [f32; 2],
    /// Multiplies the whole step.
    pub rate: f32,
    /// Beside the gradient.
    pub weight_decay: f32,
}

/// A layer of the network: `[to, from]` and `[to]`.
#[derive(Debug, Clone, Copy)]
pub struct UpdateLayer<'a> {
    /// `[to, from]`.
    pub weight: &'a [f32],
    /// `[to]`.
    pub bias: &'a [f32],
}

/// Take one step with every tensor, in place.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn learned_update(
    rule: UpdateRule<'_>,
    layers: &[UpdateLayer<'_>],
    tensors: &mut [UpdateTensor<'_>],
) -> Result<()> {
    let features = 4 + 2 * rule.momentum_decay.len() + 6 * rule.factored_decay.len();
    let network = Network::new(layers, features)?;
    for (place, tensor) in tensors.iter().enumerate() {
        check(rule, tensor, place)?;
    }
    crate::parallel::run(|| {
        tensors
            .par_iter_mut()
            .filter(|tensor| !tensor.parameter.is_empty())
            .for_each(|tensor| step(rule, &network, tensor));
        Ok(())
    })
}

fn check(rule: UpdateRule<'_>, tensor: &UpdateTensor<'_>, place: usize) -> Result<()> {
    let (momenta, factored) = (rule.momentum_decay.len(), rule.factored_decay.len());
    let size = tensor.rows * tensor.columns;
    let fits = [tensor.gradient.len(), tensor.parameter.len(), tensor.square.len()] == [size; 3]
        && tensor.momentum.len() == momenta
        && tensor.momentum.iter().all(|one| one.len() == size)
        && tensor.row.len() == factored * tensor.rows
        && tensor.column.len() == factored * tensor.columns;
    if fits && momenta >= factored {
        return Ok(());
    }
    let UpdateTensor { rows, columns, .. } = tensor;
    Err(Error::Array(format!(
        "learned_update: tensor {place} and its state do not fit R={rows}, C={columns}, K={momenta}, F={factored}"
    )))
}

fn step(rule: UpdateRule<'_>, network: &Network, tensor: &mut UpdateTensor<'_>) {
    statistics::advance(rule.factored_decay, tensor);
    let UpdateTensor { rows, columns, step, gradient, parameter, momentum, square, row, column } = tensor;
    let factors = Factors::new(*rows, *columns, row, column);
    let size = parameter.len();
    let sums: Vec<Vec<f32>> = chunks(momentum, size)
        .into_par_iter()
        .zip(square.par_chunks_mut(CHUNK))
        .zip(gradient.par_chunks(CHUNK).zip(parameter.par_chunks(CHUNK)))
        .enumerate()
        .map(|(place, ((momentum, square), (gradient, parameter)))| {
            let (factors, first) = (&factors, place * CHUNK);
            pulp::Arch::new().dispatch(Advance {
                rule,
                factors,
                first,
                gradient,
                parameter,
                momentum,
                square,
            })
        })
        .collect();
    let mean_squares: Vec<f64> = (0..4 + 2 * rule.momentum_decay.len() + 2 * rule.factored_decay.len())
        .map(|place| sums.iter().map(|chunk| f64::from(chunk[place])).sum::<f64>() / size as f64)
        .collect();
    let (own, with_momentum) = mean_squares.split_at(mean_squares.len() - rule.factored_decay.len());
    let all = own.iter().copied().chain(factors.mean_squares()).chain(with_momentum.iter().copied());
    let scale: Vec<f32> = all.map(|mean| (mean as f32 + 1e-5).sqrt().recip()).collect();
    let network = network.of_tensor(&scale, *step);
    chunks(momentum, size)
        .into_par_iter()
        .zip(square.par_chunks(CHUNK))
        .zip(gradient.par_chunks(CHUNK).zip(parameter.par_chunks_mut(CHUNK)))
        .enumerate()
        .for_each_init(Scratch::default, |scratch, (place, ((momentum, square), (gradient, parameter)))| {
            let first = place * CHUNK;
            let (network, factors) = (&network, &factors);
            let apply =
                Apply { rule, network, factors, first, gradient, momentum, square, parameter, scratch };
            pulp::Arch::new().dispatch(apply);
        });
}

/// The chunks of K tensors side by side.
fn chunks<'a>(momentum: &'a mut [&mut [f32]], size: usize) -> Vec<Vec<&'a mut [f32]>> {
    let mut all: Vec<Vec<&mut [f32]>> = (0..size.div_ceil(CHUNK)).map(|_| Vec::new()).collect();
    for one in momentum {
        for (chunk, part) in all.iter_mut().zip(one.chunks_mut(CHUNK)) {
            chunk.push(part);
        }
    }
    all
}

#[cfg(test)]
mod tests;
