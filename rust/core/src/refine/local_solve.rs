//! A small Gaussian process for every query, on the rows that it retains.
//!
//! With A the covariance of the n retained rows, k theirs with the query and R the residuals, eliminating the first n
//! columns of
//!
//! ```text
//! | A   k      R |            leaves in column n   prior − kᵀA⁻¹k   (the variance)
//! | kᵀ  prior  0 |                                 −RᵀA⁻¹k          (the mean, its sign turned)
//! | Rᵀ  0        |
//! ```
//!
//! so one elimination answers everything: of as many queries at a time as a vector has lanes, see `group`.

use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

use super::group::{Group, Scratch};
use super::{expect, expect_sizes};
use crate::Result;

/// Queries of one unit of parallel work.
pub(super) const QUERIES: usize = 16;

/// The axes of a solve, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct SolveSizes {
    /// T.
    pub tasks: usize,
    /// M.
    pub queries: usize,
    /// K.
    pub kept: usize,
    /// D.
    pub columns: usize,
    /// O.
    pub outputs: usize,
}

/// What a solve reads.
#[derive(Debug, Clone, Copy)]
pub struct SolveInput<'a> {
    /// `[T, M, D]`.
    pub query: &'a [f32],
    /// `[T, M, K, D]`.
    pub kept_x: &'a [f32],
    /// `[T, M, K, O]`.
    pub residual: &'a [f32],
    /// `[T, M, K]`; slots at +inf are empty.
    pub distance: &'a [f32],
    /// `[T, D]`.
    pub relevance: &'a [f32],
    /// `[T, 2]`, of the rough and the smooth part.
    pub signal: &'a [f32],
    /// `[T]`, the smooth part's factor of the relevances.
    pub stretch: &'a [f32],
    /// `[T]`.
    pub noise: &'a [f32],
    /// Noise added, relative to the prior variance.
    pub jitter: f32,
}

/// What a solve writes.
#[derive(Debug)]
pub struct SolveOutput<'a> {
    /// `[T, M, O]`.
    pub mean: &'a mut [f32],
    /// `[T, M]`.
    pub variance: &'a mut [f32],
}

/// Mean and latent variance of every query's local Gaussian process: `amortix.ops.local_solve`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn local_solve(sizes: SolveSizes, input: SolveInput<'_>, output: SolveOutput<'_>) -> Result<()> {
    check(sizes, input, output.mean.len(), output.variance.len())?;
    let outputs = sizes.outputs;
    crate::parallel::run(|| {
        output
            .mean
            .par_chunks_mut(QUERIES * outputs)
            .zip(output.variance.par_chunks_mut(QUERIES))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (block, (mean, variance))| {
                let first = block * QUERIES;
                Arch::new().dispatch(Solve { sizes, input, first, mean, variance, scratch });
            });
        Ok(())
    })
}

/// Refuse lengths that do not fit, those of the mean and the variance among them.
pub(super) fn check(sizes: SolveSizes, input: SolveInput<'_>, mean: usize, variance: usize) -> Result<()> {
    let SolveSizes { tasks, queries, kept, columns, outputs } = sizes;
    expect_sizes("local_solve", kept, columns, outputs)?;
    let lengths: [(&str, usize, &[usize]); 10] = [
        ("query", input.query.len(), &[tasks, queries, columns]),
        ("kept_x", input.kept_x.len(), &[tasks, queries, kept, columns]),
        ("residual", input.residual.len(), &[tasks, queries, kept, outputs]),
        ("distance", input.distance.len(), &[tasks, queries, kept]),
        ("relevance", input.relevance.len(), &[tasks, columns]),
        ("signal", input.signal.len(), &[tasks, 2]),
        ("stretch", input.stretch.len(), &[tasks]),
        ("noise", input.noise.len(), &[tasks]),
        ("mean", mean, &[tasks, queries, outputs]),
        ("variance", variance, &[tasks, queries]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect("local_solve", name, *length, axes))
}

/// Queries from `first` on, as many as there are variances to write.
struct Solve<'a> {
    sizes: SolveSizes,
    input: SolveInput<'a>,
    first: usize,
    mean: &'a mut [f32],
    variance: &'a mut [f32],
    scratch: &'a mut Scratch,
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, input, first, mean, variance, scratch } = self;
        let (outputs, last) = (sizes.outputs, first + variance.len() - 1);
        let parts = mean.chunks_mut(S::F32_LANES * outputs).zip(variance.chunks_mut(S::F32_LANES));
        for (part, (mean, variance)) in parts.enumerate() {
            let units = (first + part * S::F32_LANES, last);
            let mut group = Group::gather(simd, sizes, input, units, scratch);
            group.eliminate(sizes.columns);
            let explained = simd.sub_f32s(group.kernel.prior, group.dot(0, 0));
            let numbers: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&explained));
            variance.iter_mut().zip(numbers).for_each(|(out, v)| *out = v.max(0.0));
            for output in 0..outputs {
                let found = group.dot(0, 1 + output);
                let numbers: &[f32] = bytemuck::cast_slice(std::slice::from_ref(&found));
                mean.iter_mut().skip(output).step_by(outputs).zip(numbers).for_each(|(out, v)| *out = *v);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// One query at 0 with one column, relevance 1, stretch 3, one output.
    fn solve(x: &[f32], y: &[f32], distance: &[f32], signal: [f32; 2], noise: f32) -> Result<(f32, f32)> {
        let sizes = SolveSizes { tasks: 1, queries: 1, kept: distance.len(), columns: 1, outputs: 1 };
        let input = SolveInput {
            query: &[0.0],
            kept_x: x,
            residual: y,
            distance,
            relevance: &[1.0],
            signal: &signal,
            stretch: &[3.0],
            noise: &[noise],
            jitter: 0.0,
        };
        let (mut mean, mut variance) = ([f32::NAN], [f32::NAN]);
        local_solve(sizes, input, SolveOutput { mean: &mut mean, variance: &mut variance })?;
        Ok((mean[0], variance[0]))
    }

    fn close(got: f32, wanted: f32) -> bool {
        (got - wanted).abs() <= 1e-6 * wanted.abs().max(1.0)
    }

    #[test]
    fn one_row_by_hand() -> Result<()> {
        for signal in [[2.0f32, 0.0], [0.0, 2.0], [0.5, 1.5]] {
            let (mean, variance) = solve(&[0.5], &[3.0], &[0.25], signal, 0.1)?;
            let k = signal[0] * (-0.5f32).exp() + signal[1] * (-3.0 * 0.25f32 / 2.0).exp();
            assert!(close(mean, k / 2.1 * 3.0) && close(variance, 2.0 - k * k / 2.1));
        }
        Ok(())
    }

    #[test]
    fn the_nearer_row_of_each_side_screens_off_the_rest() -> Result<()> {
        // The Matérn-1/2 process in one dimension is Markov: without noise only the neighbours count.
        let neighbours = solve(&[-0.5, 0.25], &[1.0, -2.0], &[0.25, 0.0625], [1.0, 0.0], 0.0)?;
        let x = [-0.5, 0.25, -0.75, 0.5, 1.0, 1.5];
        let all = solve(&x, &[1.0, -2.0, 5.0, 6.0, 7.0, 8.0], &x.map(|v: f32| v * v), [1.0, 0.0], 0.0)?;
        assert!(close(all.0, neighbours.0) && close(all.1, neighbours.1));
        Ok(())
    }

    #[test]
    fn empty_slots_are_excluded_wherever_they_are() -> Result<()> {
        let without = solve(&[0.5, -1.0], &[3.0, 1.0], &[0.25, 1.0], [1.5, 0.5], 0.1)?;
        let empty = f32::INFINITY;
        let with = solve(
            &[9.0, 0.5, f32::NAN, -1.0],
            &[9.0, 3.0, f32::NAN, 1.0],
            &[empty, 0.25, empty, 1.0],
            [1.5, 0.5],
            0.1,
        )?;
        assert_eq!(with, without);
        assert_eq!(solve(&[1.0], &[1.0], &[empty], [1.5, 0.5], 0.1)?, (0.0, 2.0));
        Ok(())
    }

    #[test]
    fn lengths_are_checked() {
        let error = solve(&[1.0, 2.0], &[1.0], &[1.0], [1.0, 0.0], 0.1);
        assert!(matches!(error, Err(Error::Array(m)) if m.contains("kept_x has 2 elements")));
    }
}
