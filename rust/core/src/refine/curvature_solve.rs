//! The damped symmetric solve (C + diag damping)⁻¹ g of many small tasks at once.
//!
//! As many tasks as a vector has lanes are factorised side by side, each in its own lane: a small Cholesky
//! factorisation is a chain of dependent square roots and divisions, but the chains of different tasks are independent.
//! With A = UᵀU, the right-hand sides ride along as further columns of U, so that eliminating leaves U⁻ᵀg in them.

use pulp::{Arch, Simd, WithSimd};

use super::{TASKS, aligned, expect};
use crate::{Error, Result, parallel};

/// The largest S; above it libraries are at their best.
pub const MAX_SOLVED: usize = 64;

/// Rows of U that are eliminated together, and columns that are taken together.
const BLOCK: usize = 4;

/// The axes of a solve, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct DampedSizes {
    /// T.
    pub tasks: usize,
    /// S.
    pub state: usize,
    /// O.
    pub outputs: usize,
}

/// What a solve reads.
#[derive(Debug, Clone, Copy)]
pub struct DampedInput<'a> {
    /// `[T, S, S]`, of which the upper triangle is read.
    pub second: &'a [f32],
    /// `[T, S]`.
    pub damping: &'a [f32],
    /// `[T, S, O]`.
    pub gradient: &'a [f32],
}

/// Solve for every task: `amortix.ops.curvature_solve`; writes `[T, S, O]`.
///
/// # Errors
/// `Array` where a length does not fit the sizes or S is above `MAX_SOLVED`.
pub fn curvature_solve(sizes: DampedSizes, input: DampedInput<'_>, direction: &mut [f32]) -> Result<()> {
    let DampedSizes { tasks, state, outputs } = sizes;
    let lengths: [(&str, usize, &[usize]); 4] = [
        ("second", input.second.len(), &[tasks, state, state]),
        ("damping", input.damping.len(), &[tasks, state]),
        ("gradient", input.gradient.len(), &[tasks, state, outputs]),
        ("direction", direction.len(), &[tasks, state, outputs]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect("curvature_solve", name, *length, axes))?;
    if state > MAX_SOLVED {
        return Err(Error::Array(format!("curvature_solve: S={state}; give at most {MAX_SOLVED}")));
    }
    if direction.is_empty() {
        return Ok(());
    }
    let matrices = input.second.chunks(TASKS * state * state);
    let sides = input.damping.chunks(TASKS * state).zip(input.gradient.chunks(TASKS * state * outputs));
    let units = matrices.zip(sides).zip(direction.chunks_mut(TASKS * state * outputs));
    parallel::share(units, |((second, (damping, gradient)), direction)| {
        solve_some(sizes, DampedInput { second, damping, gradient }, direction);
    });
    Ok(())
}

/// The tasks whose arrays are lent, whatever T says; none of the arrays may be empty.
pub(super) fn solve_some(sizes: DampedSizes, input: DampedInput<'_>, direction: &mut [f32]) {
    Arch::new().dispatch(Solve { sizes, input, direction });
}

struct Solve<'a> {
    sizes: DampedSizes,
    input: DampedInput<'a>,
    direction: &'a mut [f32],
}

impl WithSimd for Solve<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Solve { sizes: DampedSizes { state, outputs, .. }, input, direction } = self;
        let lanes = S::F32_LANES;
        let height = state.next_multiple_of(BLOCK);
        let width = height + outputs;
        let mut memory = Vec::new();
        let (matrix, solution) =
            aligned(&mut memory, (height + 1) * width * lanes).split_at_mut(height * width * lanes);
        let each = state * outputs;
        for (group, direction) in direction.chunks_mut(lanes * each).enumerate() {
            let tasks = Tasks { state, outputs, first: group * lanes, count: direction.len() / each };
            tasks.load::<S>(input, matrix);
            let (matrix, _) = S::as_mut_simd_f32s(matrix);
            eliminate(simd, matrix, height, width);
            for output in 0..outputs {
                let (vectors, _) = S::as_mut_simd_f32s(&mut *solution);
                substitute(simd, matrix, width, height + output, &mut vectors[..height]);
                for (lane, direction) in direction.chunks_exact_mut(each).enumerate() {
                    let own = solution.iter().skip(lane).step_by(lanes);
                    direction.iter_mut().skip(output).step_by(outputs).zip(own).for_each(|(to, x)| *to = *x);
                }
            }
        }
    }
}

/// The tasks of one group, a lane each.
#[derive(Clone, Copy)]
struct Tasks {
    state: usize,
    outputs: usize,
    first: usize,
    count: usize,
}

impl Tasks {
    /// `[height, width]` vectors: the upper triangle of A, identity where S is not a multiple of the block, and g.
    #[inline(always)]
    fn load<S: Simd>(self, input: DampedInput<'_>, matrix: &mut [f32]) {
        let Self { state, outputs, .. } = self;
        let lanes = S::F32_LANES;
        let height = state.next_multiple_of(BLOCK);
        let row_length = (height + outputs) * lanes;
        for (k, row) in matrix.chunks_exact_mut(row_length).enumerate() {
            if k >= state {
                row.fill(0.0);
                row[k * lanes..][..lanes].fill(1.0);
                continue;
            }
            for start in (k..state).step_by(lanes) {
                let columns = lanes.min(state - start);
                let from = |task: usize| &input.second[(task * state + k) * state + start..][..columns];
                self.transpose::<S>(from, &mut row[start * lanes..][..columns * lanes]);
            }
            row[state * lanes..height * lanes].fill(0.0);
            for lane in 0..lanes {
                let task = self.task(lane);
                row[k * lanes + lane] += input.damping[task * state + k];
                let gradient = &input.gradient[(task * state + k) * outputs..][..outputs];
                let to = row[height * lanes..].iter_mut().skip(lane).step_by(lanes);
                to.zip(gradient).for_each(|(to, from)| *to = *from);
            }
        }
    }

    /// Lanes beyond the last task repeat it.
    #[inline(always)]
    fn task(self, lane: usize) -> usize {
        self.first + lane.min(self.count - 1)
    }

    /// At most as many numbers of each task as there are lanes, to one vector for each number.
    #[inline(always)]
    fn transpose<'a, S: Simd>(self, from: impl Fn(usize) -> &'a [f32], to: &mut [f32]) {
        let lanes = S::F32_LANES;
        let mut tile = [[0.0; TASKS]; TASKS];
        for (lane, tile) in tile.iter_mut().enumerate().take(lanes) {
            let from = from(self.task(lane));
            tile[..from.len()].copy_from_slice(from);
        }
        for (column, to) in to.chunks_exact_mut(lanes).enumerate() {
            to.iter_mut().zip(&tile).for_each(|(to, row)| *to = row[column]);
        }
    }
}

/// Factorise in place, a block of rows after the other; the diagonal then holds the reciprocals of U's.
///
/// A pivot that is not above zero becomes NaN, and so does every number of the task's solution.
#[inline(always)]
fn eliminate<S: Simd>(simd: S, matrix: &mut [S::f32s], height: usize, width: usize) {
    for j in (0..height).step_by(BLOCK) {
        let (done, rest) = matrix.split_at_mut(j * width);
        let rows = &mut rest[..BLOCK * width];
        let mut pivots = reduced::<S, BLOCK>(simd, done, rows, width, j, j);
        for c in 0..BLOCK {
            let pivot = pivots[c][c];
            let root = simd.div_f32s(simd.splat_f32s(1.0), simd.sqrt_f32s(pivot));
            let sound = simd.greater_than_f32s(pivot, simd.splat_f32s(0.0));
            pivots[c][c] = simd.select_f32s(sound, root, simd.splat_f32s(f32::NAN));
            for r in c + 1..BLOCK {
                pivots[c][r] = simd.mul_f32s(pivots[c][r], pivots[c][c]);
            }
            for below in c + 1..BLOCK {
                for r in below..BLOCK {
                    let product =
                        simd.negate_mul_add_e_f32s(pivots[c][below], pivots[c][r], pivots[below][r]);
                    pivots[below][r] = product;
                }
            }
        }
        store(rows, width, j, &pivots);
        let whole = j + BLOCK + (width - j - BLOCK) / BLOCK * BLOCK;
        for i in (j + BLOCK..whole).step_by(BLOCK) {
            let solved = solve(simd, &pivots, reduced::<S, BLOCK>(simd, done, rows, width, j, i));
            store(rows, width, i, &solved);
        }
        for i in whole..width {
            let solved = solve(simd, &pivots, reduced::<S, 1>(simd, done, rows, width, j, i));
            store(rows, width, i, &solved);
        }
    }
}

/// Columns `i .. i + N` of a block of rows, less what the rows above have of them.
#[inline(always)]
fn reduced<S: Simd, const N: usize>(
    simd: S,
    above: &[S::f32s],
    rows: &[S::f32s],
    width: usize,
    j: usize,
    i: usize,
) -> [[S::f32s; N]; BLOCK] {
    let mut block = [[simd.splat_f32s(0.0); N]; BLOCK];
    for (block, row) in block.iter_mut().zip(rows.chunks_exact(width)) {
        block.copy_from_slice(&row[i..i + N]);
    }
    for row in above.chunks_exact(width) {
        let (left, right) = (&row[j..][..BLOCK], &row[i..][..N]);
        for c in 0..BLOCK {
            for r in 0..N {
                block[c][r] = simd.negate_mul_add_e_f32s(left[c], right[r], block[c][r]);
            }
        }
    }
    block
}

/// Multiply by the inverse transpose of the triangle of pivots.
#[inline(always)]
fn solve<S: Simd, const N: usize>(
    simd: S,
    pivots: &[[S::f32s; BLOCK]; BLOCK],
    mut block: [[S::f32s; N]; BLOCK],
) -> [[S::f32s; N]; BLOCK] {
    for c in 0..BLOCK {
        let (above, below) = block.split_at_mut(c);
        for (r, value) in below[0].iter_mut().enumerate() {
            for (pivots, above) in pivots.iter().zip(&*above) {
                *value = simd.negate_mul_add_e_f32s(pivots[c], above[r], *value);
            }
            *value = simd.mul_f32s(*value, pivots[c][c]);
        }
    }
    block
}

#[inline(always)]
fn store<V: Copy, const N: usize>(rows: &mut [V], width: usize, i: usize, block: &[[V; N]; BLOCK]) {
    for (row, block) in rows.chunks_exact_mut(width).zip(block) {
        row[i..i + N].copy_from_slice(block);
    }
}

/// Solve U x = y by rows from below, with y in column `side` of the matrix.
#[inline(always)]
fn substitute<S: Simd>(simd: S, matrix: &[S::f32s], width: usize, side: usize, x: &mut [S::f32s]) {
    for j in (0..x.len()).step_by(BLOCK).rev() {
        let rows: [&[S::f32s]; BLOCK] = std::array::from_fn(|c| &matrix[(j + c) * width..][..width]);
        let (head, known) = x[j..].split_at_mut(BLOCK);
        let first = j + BLOCK;
        let mut values = rows.map(|row| row[side]);
        for (place, known) in known.iter().enumerate() {
            for c in 0..BLOCK {
                values[c] = simd.negate_mul_add_e_f32s(rows[c][first + place], *known, values[c]);
            }
        }
        for c in (0..BLOCK).rev() {
            for after in c + 1..BLOCK {
                values[c] = simd.negate_mul_add_e_f32s(rows[c][j + after], head[after], values[c]);
            }
            head[c] = simd.mul_f32s(values[c], rows[c][j + c]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn solve(state: usize, second: &[f32], damping: &[f32], gradient: &[f32]) -> Result<Vec<f32>> {
        let tasks = damping.len() / state;
        let sizes = DampedSizes { tasks, state, outputs: gradient.len() / damping.len() };
        let mut direction = vec![f32::NAN; gradient.len()];
        curvature_solve(sizes, DampedInput { second, damping, gradient }, &mut direction)?;
        Ok(direction)
    }

    #[test]
    fn two_by_two_by_hand() -> Result<()> {
        // [4 2; 2 5] x = [2, 9]: x = [-0.5, 2]; what is below the diagonal is not read.
        let got = solve(2, &[3.0, 2.0, f32::NAN, 3.0], &[1.0, 2.0], &[2.0, 9.0])?;
        assert!((got[0] + 0.5).abs() < 1e-6 && (got[1] - 2.0).abs() < 1e-6);
        Ok(())
    }

    #[test]
    fn lanes_are_apart_and_a_bad_one_is_nan() -> Result<()> {
        for tasks in [1, 15, 16, 17, 33] {
            let second: Vec<f32> = (0..tasks).map(|t| if t == 3 { -1.0 } else { t as f32 }).collect();
            let got = solve(1, &second, &vec![1.0; tasks], &vec![2.0; tasks])?;
            for (task, got) in got.iter().enumerate() {
                assert!(if task == 3 {
                    got.is_nan()
                } else {
                    (got - 2.0 / (1.0 + task as f32)).abs() < 1e-6
                });
            }
        }
        Ok(())
    }

    #[test]
    fn one_lane_solves_as_many_do() -> Result<()> {
        let (tasks, state, outputs) = (5, 11, 3);
        // Diagonally dominant.
        let second: Vec<f32> = (0..tasks * state * state).map(|i| (i * 7 % 13) as f32 / 100.0).collect();
        let (damping, gradient) = (vec![2.0; tasks * state], vec![1.0; tasks * state * outputs]);
        let input = DampedInput { second: &second, damping: &damping, gradient: &gradient };
        let mut direction = vec![f32::NAN; gradient.len()];
        let solve_by_one =
            Solve { sizes: DampedSizes { tasks, state, outputs }, input, direction: &mut direction };
        solve_by_one.with_simd(pulp::Scalar::new());
        let many = solve(state, &second, &damping, &gradient)?;
        assert!(many.iter().zip(&direction).all(|(many, one)| (many - one).abs() < 1e-4));
        Ok(())
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(solve(1, &[1.0, 1.0], &[1.0], &[1.0]).is_err());
        let (n, wide) = (MAX_SOLVED + 1, vec![1.0; (MAX_SOLVED + 1).pow(2)]);
        assert!(solve(n, &wide, &vec![1.0; n], &vec![1.0; n]).is_err());
    }
}
