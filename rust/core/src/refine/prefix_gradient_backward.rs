//! What a gradient of the prefix gradients is to the parameters, in one pass over the rows from the last to the first.
//!
//! A row is in its own prefix and in all later ones. Their upstream gradients, each divided by the weight of its prefix,
//! add up on the way; projecting the row on the sum gives the gradient with respect to its residual.

use pulp::{Arch, NullaryFnOnce};

use super::expect;
use super::predictor::{LANES, Lanes, Matrix, softmax};
use super::prefix_gradient::{GradientInput, GradientSizes};
use crate::{Result, parallel};

/// Gradient `out [T, D, O]` with respect to `theta` from `upstream [T, prefixes, D, O]`:
/// `amortix.ops.prefix_gradient_backward`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn prefix_gradient_backward(
    sizes: GradientSizes,
    upstream: &[f32],
    input: GradientInput<'_>,
    out: &mut [f32],
) -> Result<()> {
    const NAME: &str = "prefix_gradient_backward";
    let GradientSizes { tasks, prefixes, columns, outputs, .. } = sizes;
    sizes.check(NAME)?;
    input.check(NAME, sizes)?;
    expect(NAME, "upstream", upstream.len(), &[tasks, prefixes, columns, outputs])?;
    expect(NAME, "out", out.len(), &[tasks, columns, outputs])?;
    let (each, width) = (sizes.piece(), columns * outputs);
    parallel::share(out.chunks_mut(each * width).enumerate(), |(piece, out)| {
        let (first, count) = (piece * each, out.len() / width);
        let upstream = &upstream[first * prefixes * width..(first + count) * prefixes * width];
        let input = input.of(sizes, first, count);
        Arch::new().dispatch(Piece { sizes: GradientSizes { tasks: count, ..sizes }, upstream, input, out });
    });
    Ok(())
}

/// Some tasks, for `pulp`, which compiles them once for each kind of vector unit.
struct Piece<'a> {
    sizes: GradientSizes,
    upstream: &'a [f32],
    input: GradientInput<'a>,
    out: &'a mut [f32],
}

impl NullaryFnOnce for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Piece { sizes, upstream, input, out } = self;
        let width = sizes.columns * sizes.outputs;
        let mut scratch = Scratch::default();
        for (task, out) in out.chunks_exact_mut(width).enumerate() {
            let upstream = &upstream[task * sizes.prefixes * width..(task + 1) * sizes.prefixes * width];
            scratch.task(sizes, upstream, input.of(sizes, task, 1), out);
        }
    }
}

#[derive(Default)]
struct Scratch {
    theta: Matrix,
    /// Upstream gradients of a row's own and all later prefixes.
    later: Matrix,
    sums: Matrix,
    scales: Vec<f32>,
    side: Vec<Lanes>,
    probabilities: Vec<Lanes>,
}

impl Scratch {
    #[inline(always)]
    fn task(&mut self, sizes: GradientSizes, upstream: &[f32], input: GradientInput<'_>, out: &mut [f32]) {
        let GradientSizes { columns, outputs, .. } = sizes;
        self.theta.clear(columns, outputs);
        self.theta.add(1.0, input.theta);
        self.later.clear(columns, outputs);
        self.sums.clear(columns, outputs);
        self.side.resize(outputs.div_ceil(LANES), [0.0; LANES]);
        self.probabilities.resize(self.side.len(), [0.0; LANES]);
        self.scale_prefixes(sizes.batch, input);
        let (width, skipped) = (columns * outputs, sizes.skipped());
        for (row, x) in input.x.chunks_exact(columns).enumerate().rev() {
            if row >= skipped {
                self.later.add(self.scales[row], &upstream[(row - skipped) * width..][..width]);
            }
            let weight = input.weight_of(row);
            if weight > 0.0 {
                self.later.project(x, &mut self.side);
                if outputs > 1 {
                    self.theta.project(x, &mut self.probabilities);
                    softmax(&mut self.probabilities, outputs);
                    through_softmax(&self.probabilities, &mut self.side);
                }
                self.side.iter_mut().for_each(|lanes| lanes.iter_mut().for_each(|side| *side *= weight));
                self.sums.add_outer(x, &self.side);
            }
        }
        self.sums.write(1.0, out);
    }

    /// One over the weight of every prefix, 0 where it has none.
    #[inline(always)]
    fn scale_prefixes(&mut self, batch: usize, input: GradientInput<'_>) {
        let mut total = 0.0;
        self.scales.clear();
        self.scales.extend((0..batch).map(|row| {
            total += input.weight_of(row);
            if total > 0.0 { 1.0 / total } else { 0.0 }
        }));
    }
}

/// From a gradient with respect to probabilities to one with respect to their scores: p ∘ (g − p·g).
#[inline(always)]
fn through_softmax(probabilities: &[Lanes], side: &mut [Lanes]) {
    let pairs = || probabilities.as_flattened().iter();
    let mean: f32 = pairs().zip(side.as_flattened()).map(|(p, g)| p * g).sum();
    side.as_flattened_mut().iter_mut().zip(pairs()).for_each(|(g, p)| *g = p * (*g - mean));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn backward(upstream: &[f32], x: &[f32], weight: &[f32], outputs: usize) -> Result<Vec<f32>> {
        let (batch, columns) = (weight.len(), x.len() / weight.len());
        let prefixes = upstream.len() / (columns * outputs);
        let sizes = GradientSizes { tasks: 1, batch, prefixes, columns, outputs };
        let (theta, y) = (vec![0.0; columns * outputs], vec![0.0; batch]);
        let mut out = vec![f32::NAN; columns * outputs];
        let input = GradientInput { theta: &theta, x, y: &y, weight: Some(weight) };
        prefix_gradient_backward(sizes, upstream, input, &mut out)?;
        Ok(out)
    }

    #[test]
    fn a_line_by_hand() -> Result<()> {
        // The second derivatives of the prefixes are 1, 1 (padding) and (1 + 3·9)/4.
        let (x, weight) = ([1.0, f32::NAN, 3.0], [1.0, 0.0, 3.0]);
        assert_eq!(backward(&[1.0, 10.0, 100.0], &x, &weight, 1)?, [711.0]);
        assert_eq!(backward(&[100.0], &x, &weight, 1)?, [700.0]);
        assert_eq!(backward(&[100.0], &x, &[0.0; 3], 1)?, [0.0]);
        Ok(())
    }

    #[test]
    fn two_classes_by_hand() -> Result<()> {
        // The Hessian of the scores is [[¼, −¼], [−¼, ¼]], that of the parameters x² times it.
        assert_eq!(backward(&[1.0, 0.0], &[2.0], &[1.0], 2)?, [1.0, -1.0]);
        Ok(())
    }

    #[test]
    fn lengths_are_checked() {
        assert!(backward(&[1.0, 1.0], &[1.0], &[1.0], 1).is_err());
    }
}
