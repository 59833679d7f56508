//! A small Gaussian process for every query, on the rows that it retains.
//!
//! With A the covariance of the n retained rows, k theirs with the query and R the residuals, eliminating the first n
//! columns of
//!
//! ```text
//! | A   k       R |            leaves in column n   signal − kᵀA⁻¹k   (the variance)
//! | kᵀ  signal  0 |                                 −RᵀA⁻¹k           (the mean, its sign turned)
//! | Rᵀ  0         |
//! ```
//!
//! so one left-looking Cholesky factorisation answers everything. The matrix is stored by columns: the inner loops run
//! down contiguous columns, four of them at a time, and the compiler vectorises them.

use rayon::prelude::*;

use super::{expect, expect_sizes};
use crate::{Result, math};

/// Queries of one unit of parallel work.
const QUERIES: usize = 16;

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
    /// `[T]`.
    pub signal: &'a [f32],
    /// `[T]`.
    pub noise: &'a [f32],
    /// Noise added, relative to the signal.
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
    let SolveSizes { tasks, queries, kept, columns, outputs } = sizes;
    expect_sizes("local_solve", kept, columns, outputs)?;
    let lengths: [(&str, usize, &[usize]); 9] = [
        ("query", input.query.len(), &[tasks, queries, columns]),
        ("kept_x", input.kept_x.len(), &[tasks, queries, kept, columns]),
        ("residual", input.residual.len(), &[tasks, queries, kept, outputs]),
        ("distance", input.distance.len(), &[tasks, queries, kept]),
        ("relevance", input.relevance.len(), &[tasks, columns]),
        ("signal", input.signal.len(), &[tasks]),
        ("noise", input.noise.len(), &[tasks]),
        ("mean", output.mean.len(), &[tasks, queries, outputs]),
        ("variance", output.variance.len(), &[tasks, queries]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect("local_solve", name, *length, axes))?;
    crate::parallel::run(|| {
        output
            .mean
            .par_chunks_mut(QUERIES * outputs)
            .zip(output.variance.par_chunks_mut(QUERIES))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (block, (means, variances))| {
                for (local, (mean, variance)) in means.chunks_exact_mut(outputs).zip(variances).enumerate() {
                    *variance = scratch.solve(sizes, input, block * QUERIES + local, mean);
                }
            });
        Ok(())
    })
}

#[derive(Default)]
struct Scratch {
    occupied: Vec<usize>,
    /// Coordinates of the retained rows and, last, of the query: `[D][n + 1]`.
    points: Vec<f32>,
    /// The matrix by columns: n + 1 of them, n + 1 + O rows.
    matrix: Vec<f32>,
}

impl Scratch {
    /// Solve for query `unit` of all T·M; writes its mean and returns its variance.
    fn solve(&mut self, sizes: SolveSizes, input: SolveInput<'_>, unit: usize, mean: &mut [f32]) -> f32 {
        let task = unit / sizes.queries;
        let (signal, noise) = (input.signal[task], input.noise[task]);
        let added = noise + input.jitter * signal;
        let distance = &input.distance[unit * sizes.kept..(unit + 1) * sizes.kept];
        self.occupied.clear();
        self.occupied.extend((0..sizes.kept).filter(|slot| distance[*slot] < f32::INFINITY));
        self.gather(sizes, input, unit);
        self.fill(sizes, input, unit, signal, added);
        self.factorise(sizes.outputs, added);
        let n = self.occupied.len();
        let last = &self.matrix[n * (n + 1 + sizes.outputs) + n..];
        for (mean, eliminated) in mean.iter_mut().zip(&last[1..]) {
            *mean = -eliminated;
        }
        last[0].max(0.0)
    }

    fn gather(&mut self, sizes: SolveSizes, input: SolveInput<'_>, unit: usize) {
        let (columns, rows) = (sizes.columns, self.occupied.len() + 1);
        self.points.clear();
        self.points.resize(columns * rows, 0.0);
        let kept =
            self.occupied.iter().map(|slot| &input.kept_x[(unit * sizes.kept + slot) * columns..][..columns]);
        let query = std::iter::once(&input.query[unit * columns..][..columns]);
        for (row, point) in kept.chain(query).enumerate() {
            for (column, value) in point.iter().enumerate() {
                self.points[column * rows + row] = *value;
            }
        }
    }

    fn fill(&mut self, sizes: SolveSizes, input: SolveInput<'_>, unit: usize, signal: f32, added: f32) {
        let n = self.occupied.len();
        let stride = n + 1 + sizes.outputs;
        let relevance = &input.relevance[unit / sizes.queries * sizes.columns..][..sizes.columns];
        self.matrix.clear();
        self.matrix.resize((n + 1) * stride, 0.0);
        for (j, column) in self.matrix.chunks_exact_mut(stride).enumerate() {
            let below = &mut column[j..=n];
            for (points, relevance) in self.points.chunks_exact(n + 1).zip(relevance) {
                let own = points[j];
                for (total, point) in below.iter_mut().zip(&points[j..]) {
                    let delta = point - own;
                    *total += relevance * delta * delta;
                }
            }
            for entry in &mut *below {
                *entry = signal * math::exp(-entry.sqrt());
            }
            below[0] = if j < n { signal + added } else { signal };
            if let Some(slot) = self.occupied.get(j) {
                let residual = &input.residual[(unit * sizes.kept + slot) * sizes.outputs..];
                column[n + 1..].copy_from_slice(&residual[..sizes.outputs]);
            }
        }
    }

    /// Eliminate the first n columns. In exact arithmetic no pivot is below `added`; holding it there keeps rounding
    /// from breaking the factorisation.
    fn factorise(&mut self, outputs: usize, added: f32) {
        let n = self.occupied.len();
        let stride = n + 1 + outputs;
        for j in 0..=n {
            let (done, rest) = self.matrix.split_at_mut(j * stride);
            let column = &mut rest[j..stride];
            let mut fours = done.chunks_exact(4 * stride);
            for four in &mut fours {
                subtract_four(column, [0, 1, 2, 3].map(|k| &four[k * stride + j..(k + 1) * stride]));
            }
            for one in fours.remainder().chunks_exact(stride) {
                let factor = one[j];
                for (entry, a) in column.iter_mut().zip(&one[j..]) {
                    *entry -= factor * a;
                }
            }
            if j < n {
                let scale = 1.0 / column[0].max(added).sqrt();
                column.iter_mut().for_each(|entry| *entry *= scale);
            }
        }
    }
}

/// Subtract four finished columns, each times its own first entry: one load and one store for four products.
fn subtract_four(column: &mut [f32], [a, b, c, d]: [&[f32]; 4]) {
    let factors = [a[0], b[0], c[0], d[0]];
    for ((((entry, a), b), c), d) in column.iter_mut().zip(a).zip(b).zip(c).zip(d) {
        *entry -= factors[0] * a + factors[1] * b + (factors[2] * c + factors[3] * d);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    /// One query at 0 with one column, relevance 1, one output.
    fn solve(x: &[f32], y: &[f32], distance: &[f32], signal: f32, noise: f32) -> Result<(f32, f32)> {
        let sizes = SolveSizes { tasks: 1, queries: 1, kept: distance.len(), columns: 1, outputs: 1 };
        let input = SolveInput {
            query: &[0.0],
            kept_x: x,
            residual: y,
            distance,
            relevance: &[1.0],
            signal: &[signal],
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
        let (mean, variance) = solve(&[0.5], &[3.0], &[0.25], 2.0, 0.1)?;
        let k = 2.0 * (-0.5f32).exp();
        assert!(close(mean, k / 2.1 * 3.0) && close(variance, 2.0 - k * k / 2.1));
        Ok(())
    }

    #[test]
    fn the_nearer_row_of_each_side_screens_off_the_rest() -> Result<()> {
        // The Matérn-1/2 process in one dimension is Markov: without noise only the neighbours count.
        let neighbours = solve(&[-0.5, 0.25], &[1.0, -2.0], &[0.25, 0.0625], 1.0, 0.0)?;
        let x = [-0.5, 0.25, -0.75, 0.5, 1.0, 1.5];
        let all = solve(&x, &[1.0, -2.0, 5.0, 6.0, 7.0, 8.0], &x.map(|v: f32| v * v), 1.0, 0.0)?;
        assert!(close(all.0, neighbours.0) && close(all.1, neighbours.1));
        Ok(())
    }

    #[test]
    fn empty_slots_are_excluded_wherever_they_are() -> Result<()> {
        let without = solve(&[0.5, -1.0], &[3.0, 1.0], &[0.25, 1.0], 2.0, 0.1)?;
        let empty = f32::INFINITY;
        let with = solve(
            &[9.0, 0.5, f32::NAN, -1.0],
            &[9.0, 3.0, f32::NAN, 1.0],
            &[empty, 0.25, empty, 1.0],
            2.0,
            0.1,
        )?;
        assert_eq!(with, without);
        assert_eq!(solve(&[1.0], &[1.0], &[empty], 2.0, 0.1)?, (0.0, 2.0));
        Ok(())
    }

    #[test]
    fn lengths_are_checked() {
        let error = solve(&[1.0, 2.0], &[1.0], &[1.0], 1.0, 0.1);
        assert!(matches!(error, Err(Error::Array(m)) if m.contains("kept_x has 2 elements")));
    }
}
