//! One two-term step of many tasks: a proposal that fades with age, beside a preconditioned gradient that stays.
//!
//! Some tasks at a time, few enough for all their arrays to stay in the cache: elementwise loops over all of their
//! parameters, which the compiler vectorises one output at a time, and between them the products of each task.

use pulp::{Arch, NullaryFnOnce};

use super::elementwise::{sigmoid, softplus};
use super::expect;
use super::factors::{add_product, project};
use crate::{Error, Result, math, parallel};

/// Parameters of a piece of work.
const PIECE: usize = 2048;

/// The axes of an update, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct UpdateSizes {
    /// T.
    pub tasks: usize,
    /// P.
    pub parameters: usize,
    /// R.
    pub rank: usize,
}

impl UpdateSizes {
    /// Refuse sizes for which the operation is not defined.
    pub(super) fn check(self, operation: &str) -> Result<()> {
        if self.parameters > 0 {
            return Ok(());
        }
        Err(Error::Array(format!("{operation}: P=0; give P ≥ 1")))
    }

    /// Tasks of a piece of work.
    pub(super) fn piece(self) -> usize {
        (PIECE / self.parameters).max(1)
    }
}

/// What an update reads, `[T, P]` where nothing else is said.
#[derive(Debug, Clone, Copy)]
pub struct UpdateInput<'a> {
    /// The iterate.
    pub theta: &'a [f32],
    /// What proposals are remembered in.
    pub memory: &'a [f32],
    /// Mean of the iterates so far.
    pub average: &'a [f32],
    /// Free proposal.
    pub proposal: &'a [f32],
    /// Logits of the share that the proposal replaces.
    pub gate: &'a [f32],
    /// Gradient of the mini-batch.
    pub gradient: &'a [f32],
    /// Its softplus is the preconditioner's diagonal.
    pub diagonal: &'a [f32],
    /// `[T, P, R]`.
    pub factors: &'a [f32],
    /// `[T]`; its softplus and a half are the power of the age by which proposals fade.
    pub decay: &'a [f32],
    /// `[T]`, the age at which the gradient's gain is a half.
    pub delay: &'a [f32],
    /// `[T]`, the number of this step, from 1.
    pub age: &'a [f32],
}

impl UpdateInput<'_> {
    pub(super) fn check(self, operation: &str, sizes: UpdateSizes) -> Result<()> {
        let UpdateSizes { tasks, parameters, rank } = sizes;
        for (name, array) in [
            ("theta", self.theta),
            ("memory", self.memory),
            ("average", self.average),
            ("proposal", self.proposal),
            ("gate", self.gate),
            ("gradient", self.gradient),
            ("diagonal", self.diagonal),
        ] {
            expect(operation, name, array.len(), &[tasks, parameters])?;
        }
        expect(operation, "factors", self.factors.len(), &[tasks, parameters, rank])?;
        for (name, array) in [("decay", self.decay), ("delay", self.delay), ("age", self.age)] {
            expect(operation, name, array.len(), &[tasks])?;
        }
        Ok(())
    }

    /// The same of some tasks.
    #[inline(always)]
    pub(super) fn of(self, sizes: UpdateSizes, first: usize, count: usize) -> Self {
        let width = sizes.parameters;
        let part = |all, width| some(all, first, count, width);
        Self {
            theta: part(self.theta, width),
            memory: part(self.memory, width),
            average: part(self.average, width),
            proposal: part(self.proposal, width),
            gate: part(self.gate, width),
            gradient: part(self.gradient, width),
            diagonal: part(self.diagonal, width),
            factors: part(self.factors, width * sizes.rank),
            decay: part(self.decay, 1),
            delay: part(self.delay, 1),
            age: part(self.age, 1),
        }
    }

    /// By how much a task's proposals and its gradients count.
    #[inline(always)]
    pub(super) fn gains(self, task: usize) -> (f32, f32) {
        let (age, delay) = (self.age[task], self.delay[task]);
        (math::exp(-(0.5 + softplus(self.decay[task])) * math::ln(age)), delay / (age + delay))
    }
}

/// What `count` tasks from `first` on own of an array with `width` elements a task.
#[inline(always)]
pub(super) fn some(all: &[f32], first: usize, count: usize, width: usize) -> &[f32] {
    &all[first * width..(first + count) * width]
}

/// What an update writes, each `[T, P]`.
#[derive(Debug)]
pub struct UpdateOutput<'a> {
    /// The next iterate.
    pub theta: &'a mut [f32],
    /// The memory with the proposal in it.
    pub memory: &'a mut [f32],
    /// The mean with the next iterate in it.
    pub average: &'a mut [f32],
}

/// One two-term step of every task: `amortix.ops.two_term_update`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn two_term_update(sizes: UpdateSizes, input: UpdateInput<'_>, output: UpdateOutput<'_>) -> Result<()> {
    const NAME: &str = "two_term_update";
    let UpdateSizes { tasks, parameters, .. } = sizes;
    sizes.check(NAME)?;
    input.check(NAME, sizes)?;
    for (name, array) in
        [("out_theta", &output.theta), ("out_memory", &output.memory), ("out_average", &output.average)]
    {
        expect(NAME, name, array.len(), &[tasks, parameters])?;
    }
    let each = sizes.piece();
    let width = each * parameters;
    let pieces = output
        .theta
        .chunks_mut(width)
        .zip(output.memory.chunks_mut(width))
        .zip(output.average.chunks_mut(width))
        .enumerate();
    parallel::share(pieces, |(piece, ((theta, memory), average))| {
        let count = theta.len() / parameters;
        let input = input.of(sizes, piece * each, count);
        let output = UpdateOutput { theta, memory, average };
        Arch::new().dispatch(Piece { sizes: UpdateSizes { tasks: count, ..sizes }, input, output });
    });
    Ok(())
}

/// Some tasks, for `pulp`, which compiles them once for each kind of vector unit.
struct Piece<'a> {
    sizes: UpdateSizes,
    input: UpdateInput<'a>,
    output: UpdateOutput<'a>,
}

impl NullaryFnOnce for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Piece { sizes, input, output } = self;
        let UpdateSizes { tasks, parameters: width, rank } = sizes;
        remember(input.memory, input.proposal, input.gate, output.memory);
        // The preconditioned gradient is put together where the next iterate will be.
        scale_by_diagonal(input.diagonal, input.gradient, output.theta);
        let mut projection = vec![0.0; rank];
        for task in 0..tasks {
            let own = task * width..(task + 1) * width;
            let factors = some(input.factors, task, 1, width * rank);
            project(factors, &input.gradient[own.clone()], &mut projection);
            let theta = &mut output.theta[own.clone()];
            add_product(factors, &projection, theta);
            advance(&input.theta[own.clone()], &output.memory[own.clone()], input.gains(task), theta);
            average(&input.average[own.clone()], theta, 1.0 / input.age[task], &mut output.average[own]);
        }
    }
}

/// Move the memory towards the proposal as far as the gate is open.
#[inline(always)]
pub(super) fn remember(memory: &[f32], proposal: &[f32], gate: &[f32], out: &mut [f32]) {
    for (((out, memory), proposal), gate) in out.iter_mut().zip(memory).zip(proposal).zip(gate) {
        *out = memory + sigmoid(*gate) * (proposal - memory);
    }
}

/// The diagonal's share of the preconditioned gradient.
#[inline(always)]
pub(super) fn scale_by_diagonal(diagonal: &[f32], gradient: &[f32], out: &mut [f32]) {
    for ((out, diagonal), gradient) in out.iter_mut().zip(diagonal).zip(gradient) {
        *out = softplus(*diagonal) * gradient;
    }
}

/// From the preconditioned gradient, in `out`, to the next iterate.
#[inline(always)]
fn advance(theta: &[f32], memory: &[f32], (fading, gain): (f32, f32), out: &mut [f32]) {
    for ((out, theta), memory) in out.iter_mut().zip(theta).zip(memory) {
        *out = theta + (fading * memory - gain * *out);
    }
}

#[inline(always)]
fn average(before: &[f32], theta: &[f32], share: f32, out: &mut [f32]) {
    for ((out, before), theta) in out.iter_mut().zip(before).zip(theta) {
        *out = before + share * (theta - before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One task of one parameter at θ = 1, average 3, gradient 2 and gate ½, whose factors are all ½.
    fn step(rank: usize, decay: f32, delay: f32, age: f32) -> Result<[f32; 3]> {
        let input = UpdateInput {
            theta: &[1.0],
            memory: &[2.0],
            average: &[3.0],
            proposal: &[6.0],
            gate: &[0.0],
            gradient: &[2.0],
            diagonal: &[-1000.0],
            factors: &[0.5; 4][..rank],
            decay: &[decay],
            delay: &[delay],
            age: &[age],
        };
        let [mut theta, mut memory, mut average] = [[f32::NAN]; 3];
        let output = UpdateOutput { theta: &mut theta, memory: &mut memory, average: &mut average };
        two_term_update(UpdateSizes { tasks: 1, parameters: 1, rank }, input, output)?;
        Ok([theta[0], memory[0], average[0]])
    }

    fn close(got: [f32; 3], wanted: [f32; 3]) -> bool {
        got.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-5)
    }

    #[test]
    fn a_step_by_hand() -> Result<()> {
        // At age 4 without decay beyond ½ the proposal counts ½, and a delay of 4 halves the gradient.
        assert!(close(step(0, -1000.0, 4.0, 4.0)?, [3.0, 4.0, 3.0]));
        // Two factors of ½ make a preconditioner of ½, which takes away ½ · ½ · 2.
        assert!(close(step(2, -1000.0, 4.0, 4.0)?, [2.5, 4.0, 2.875]));
        // The first step's iterate is the average.
        assert!(close(step(4, 0.0, 1.0, 1.0)?, [4.0, 4.0, 4.0]));
        Ok(())
    }

    #[test]
    fn lengths_are_checked() {
        assert!(matches!(step(3, 0.0, 1.0, 1.0), Ok([..])));
        let sizes = UpdateSizes { tasks: 1, parameters: 0, rank: 1 };
        assert!(matches!(sizes.check("update"), Err(Error::Array(m)) if m.contains("P=0")));
    }
}
