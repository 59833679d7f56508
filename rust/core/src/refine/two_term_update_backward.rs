//! The backward pass of the two-term step: what it computes on the way is computed again from its inputs.

use pulp::{Arch, NullaryFnOnce};

use super::elementwise::{dot, sigmoid};
use super::expect;
use super::factors::{add_product, outer_products, project};
use super::two_term_update::{UpdateInput, UpdateSizes, remember, scale_by_diagonal, some};
use crate::{Result, math, parallel};

/// Gradients with respect to what the step returned, each `[T, P]`.
#[derive(Debug, Clone, Copy)]
pub struct UpdateUpstream<'a> {
    /// Of the next iterate.
    pub theta: &'a [f32],
    /// Of the memory.
    pub memory: &'a [f32],
    /// Of the mean of the iterates.
    pub average: &'a [f32],
}

/// Gradients with respect to what the step read, each of the shape of its name in `UpdateInput`.
#[derive(Debug)]
#[allow(missing_docs, reason = "the fields are those of `UpdateInput`")]
pub struct UpdateGradients<'a> {
    pub theta: &'a mut [f32],
    pub memory: &'a mut [f32],
    pub average: &'a mut [f32],
    pub proposal: &'a mut [f32],
    pub gate: &'a mut [f32],
    pub gradient: &'a mut [f32],
    pub diagonal: &'a mut [f32],
    pub factors: &'a mut [f32],
    pub decay: &'a mut [f32],
    pub delay: &'a mut [f32],
}

impl<'a> UpdateGradients<'a> {
    fn check(&self, operation: &str, sizes: UpdateSizes) -> Result<()> {
        let UpdateSizes { tasks, parameters, rank } = sizes;
        for (name, array) in [
            ("out_theta", &self.theta),
            ("out_memory", &self.memory),
            ("out_average", &self.average),
            ("out_proposal", &self.proposal),
            ("out_gate", &self.gate),
            ("out_gradient", &self.gradient),
            ("out_diagonal", &self.diagonal),
        ] {
            expect(operation, name, array.len(), &[tasks, parameters])?;
        }
        expect(operation, "out_factors", self.factors.len(), &[tasks, parameters, rank])?;
        expect(operation, "out_decay", self.decay.len(), &[tasks])?;
        expect(operation, "out_delay", self.delay.len(), &[tasks])
    }

    /// Those of the first tasks, as many as a piece of work has, and the rest.
    fn split(self, sizes: UpdateSizes) -> (Self, Self) {
        let count = sizes.piece().min(self.decay.len());
        let cut = |all: &'a mut [f32], width: usize| all.split_at_mut(count * width);
        let width = sizes.parameters;
        let (theta, memory) = (cut(self.theta, width), cut(self.memory, width));
        let (average, proposal) = (cut(self.average, width), cut(self.proposal, width));
        let (gate, gradient) = (cut(self.gate, width), cut(self.gradient, width));
        let (diagonal, factors) = (cut(self.diagonal, width), cut(self.factors, width * sizes.rank));
        let (decay, delay) = (cut(self.decay, 1), cut(self.delay, 1));
        let first = Self {
            theta: theta.0,
            memory: memory.0,
            average: average.0,
            proposal: proposal.0,
            gate: gate.0,
            gradient: gradient.0,
            diagonal: diagonal.0,
            factors: factors.0,
            decay: decay.0,
            delay: delay.0,
        };
        let rest = Self {
            theta: theta.1,
            memory: memory.1,
            average: average.1,
            proposal: proposal.1,
            gate: gate.1,
            gradient: gradient.1,
            diagonal: diagonal.1,
            factors: factors.1,
            decay: decay.1,
            delay: delay.1,
        };
        (first, rest)
    }
}

/// Gradients of one two-term step of every task: `amortix.ops.two_term_update_backward`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn two_term_update_backward(
    sizes: UpdateSizes,
    upstream: UpdateUpstream<'_>,
    input: UpdateInput<'_>,
    output: UpdateGradients<'_>,
) -> Result<()> {
    const NAME: &str = "two_term_update_backward";
    let UpdateSizes { tasks, parameters, .. } = sizes;
    sizes.check(NAME)?;
    input.check(NAME, sizes)?;
    for (name, array) in [
        ("upstream_theta", upstream.theta),
        ("upstream_memory", upstream.memory),
        ("upstream_average", upstream.average),
    ] {
        expect(NAME, name, array.len(), &[tasks, parameters])?;
    }
    output.check(NAME, sizes)?;
    let (mut pieces, mut rest, mut first) = (Vec::new(), output, 0);
    while first < tasks {
        let (piece, after) = rest.split(sizes);
        let count = piece.decay.len();
        let part = |all| some(all, first, count, parameters);
        let upstream = UpdateUpstream {
            theta: part(upstream.theta),
            memory: part(upstream.memory),
            average: part(upstream.average),
        };
        let sizes = UpdateSizes { tasks: count, ..sizes };
        pieces.push(Piece { sizes, upstream, input: input.of(sizes, first, count), output: piece });
        (rest, first) = (after, first + count);
    }
    parallel::share(pieces.into_iter(), |piece| Arch::new().dispatch(piece));
    Ok(())
}

/// Some tasks, for `pulp`, which compiles them once for each kind of vector unit.
struct Piece<'a> {
    sizes: UpdateSizes,
    upstream: UpdateUpstream<'a>,
    input: UpdateInput<'a>,
    output: UpdateGradients<'a>,
}

impl NullaryFnOnce for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Piece { sizes, upstream, input, output } = self;
        let width = sizes.parameters;
        let mut remembered = vec![0.0; input.memory.len()];
        remember(input.memory, input.proposal, input.gate, &mut remembered);
        // The diagonal's share of the preconditioned gradient, then of the gradient with respect to the gradient.
        let mut scaled = vec![0.0; input.memory.len()];
        scale_by_diagonal(input.diagonal, input.gradient, &mut scaled);
        let mut scratch = Scratch::new(sizes.rank);
        for task in 0..sizes.tasks {
            let own = task * width..(task + 1) * width;
            let (fading, gain) = input.gains(task);
            let share = 1.0 / input.age[task];
            let (theta, average) = (&mut output.theta[own.clone()], &mut output.average[own.clone()]);
            through_average(
                &upstream.theta[own.clone()],
                &upstream.average[own.clone()],
                share,
                theta,
                average,
            );
            output.decay[task] = -dot(theta, &remembered[own.clone()])
                * fading
                * math::ln(input.age[task])
                * sigmoid(input.decay[task]);
            let gradient = &input.gradient[own.clone()];
            let factors = some(input.factors, task, 1, width * sizes.rank);
            let through = dot(theta, &scaled[own.clone()]) + scratch.project(factors, gradient, theta, gain);
            let sum = input.age[task] + input.delay[task];
            output.delay[task] = -through * input.age[task] / (sum * sum);
            // What reaches the memory, and the preconditioned gradient, in the places of what comes of them.
            add_scaled(&upstream.memory[own.clone()], fading, theta, &mut output.proposal[own.clone()]);
            scale(-gain, theta, &mut scaled[own.clone()]);
            let factors_out = &mut output.factors[task * width * sizes.rank..(task + 1) * width * sizes.rank];
            outer_products(&scaled[own.clone()], &scratch.gradient, gradient, &scratch.upstream, factors_out);
            scale_by_diagonal(
                &input.diagonal[own.clone()],
                &scaled[own.clone()],
                &mut output.gradient[own.clone()],
            );
            add_product(factors, &scratch.upstream, &mut output.gradient[own]);
        }
        through_diagonal(input.diagonal, input.gradient, &scaled, output.diagonal);
        through_gate(input.memory, input.proposal, input.gate, output.proposal, output.gate);
        share_memory(input.gate, output.proposal, output.memory);
    }
}

/// Projections on the factors.
struct Scratch {
    gradient: Vec<f32>,
    upstream: Vec<f32>,
}

impl Scratch {
    fn new(rank: usize) -> Self {
        Self { gradient: vec![0.0; rank], upstream: vec![0.0; rank] }
    }

    /// Project a gradient, and −gain times what comes from above; the product of both projections, without the gain.
    #[inline(always)]
    fn project(&mut self, factors: &[f32], gradient: &[f32], upstream: &[f32], gain: f32) -> f32 {
        project(factors, gradient, &mut self.gradient);
        project(factors, upstream, &mut self.upstream);
        let product = dot(&self.gradient, &self.upstream);
        for upstream in &mut self.upstream {
            *upstream *= -gain;
        }
        product
    }
}

/// What reaches the next iterate, directly and through the mean, and the mean before.
#[inline(always)]
fn through_average(
    theta: &[f32],
    average: &[f32],
    share: f32,
    out_theta: &mut [f32],
    out_average: &mut [f32],
) {
    for ((out, theta), average) in out_theta.iter_mut().zip(theta).zip(average) {
        *out = theta + share * average;
    }
    scale(1.0 - share, average, out_average);
}

#[inline(always)]
fn scale(factor: f32, from: &[f32], out: &mut [f32]) {
    for (out, from) in out.iter_mut().zip(from) {
        *out = factor * from;
    }
}

#[inline(always)]
fn add_scaled(a: &[f32], factor: f32, b: &[f32], out: &mut [f32]) {
    for ((out, a), b) in out.iter_mut().zip(a).zip(b) {
        *out = a + factor * b;
    }
}

/// From what reaches the preconditioned gradient to the logits of the diagonal.
#[inline(always)]
fn through_diagonal(diagonal: &[f32], gradient: &[f32], above: &[f32], out: &mut [f32]) {
    for (((out, diagonal), gradient), above) in out.iter_mut().zip(diagonal).zip(gradient).zip(above) {
        *out = sigmoid(*diagonal) * gradient * above;
    }
}

/// From what reaches the memory to the logits of the gate: σ(1 − σ) = σ(x) σ(−x).
#[inline(always)]
fn through_gate(memory: &[f32], proposal: &[f32], gate: &[f32], above: &[f32], out: &mut [f32]) {
    for ((((out, memory), proposal), gate), above) in
        out.iter_mut().zip(memory).zip(proposal).zip(gate).zip(above)
    {
        *out = sigmoid(*gate) * sigmoid(-*gate) * (proposal - memory) * above;
    }
}

/// Divide what reaches the memory, in `proposal`, between the proposal and the memory before.
#[inline(always)]
fn share_memory(gate: &[f32], proposal: &mut [f32], memory: &mut [f32]) {
    for ((memory, proposal), gate) in memory.iter_mut().zip(proposal).zip(gate) {
        *memory = sigmoid(-*gate) * *proposal;
        *proposal *= sigmoid(*gate);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_by_hand() -> Result<()> {
        // θ' = θ + ½ m' − ½ (½·½ + ½·½) g at age 4, m' = m + ½ (p − m), average' = average + ¼ (θ' − average).
        let input = UpdateInput {
            theta: &[1.0],
            memory: &[2.0],
            average: &[3.0],
            proposal: &[6.0],
            gate: &[0.0],
            gradient: &[2.0],
            diagonal: &[-1000.0],
            factors: &[0.5; 2],
            decay: &[-1000.0],
            delay: &[4.0],
            age: &[4.0],
        };
        let mut out = [[f32::NAN; 2]; 10];
        let [theta, memory, average, proposal, gate, gradient, diagonal, factors, decay, delay] = &mut out;
        let output = UpdateGradients {
            theta: &mut theta[..1],
            memory: &mut memory[..1],
            average: &mut average[..1],
            proposal: &mut proposal[..1],
            gate: &mut gate[..1],
            gradient: &mut gradient[..1],
            diagonal: &mut diagonal[..1],
            factors,
            decay: &mut decay[..1],
            delay: &mut delay[..1],
        };
        let upstream = UpdateUpstream { theta: &[3.0], memory: &[1.0], average: &[4.0] };
        two_term_update_backward(UpdateSizes { tasks: 1, parameters: 1, rank: 2 }, upstream, input, output)?;
        // θ' gets 3 + ¼·4 = 4, so m' gets 1 + ½·4 = 3, and the preconditioned gradient −2.
        for (got, wanted) in out.iter().zip([4.0, 1.5, 3.0, 1.5, 3.0, -1.0, 0.0, -4.0, 0.0, -0.25]) {
            assert!((got[0] - wanted).abs() < 1e-5, "{out:?}");
        }
        assert!((out[7][1] + 4.0).abs() < 1e-5);
        Ok(())
    }
}
