//! Gradients of predictors with one output and a few dozen columns, whose parameters and sums fit the registers.
//!
//! Four rows are projected at a time, so that their sums over lanes and their divisions are done together.

use super::prefix_gradient::GradientInput;

const LANES: usize = 16;
const ROWS: usize = 4;

/// Mean gradients of the prefixes from row `skipped` on; false, and nothing written, for other numbers of columns.
#[inline(always)]
pub(super) fn prefix_gradients(
    columns: usize,
    skipped: usize,
    input: GradientInput<'_>,
    out: &mut [f32],
) -> bool {
    if columns < LANES {
        return false;
    }
    match columns.div_ceil(LANES) {
        1 => Task::<1>::run(columns, skipped, input, out),
        2 => Task::<2>::run(columns, skipped, input, out),
        3 => Task::<3>::run(columns, skipped, input, out),
        4 => Task::<4>::run(columns, skipped, input, out),
        5 => Task::<5>::run(columns, skipped, input, out),
        6 => Task::<6>::run(columns, skipped, input, out),
        7 => Task::<7>::run(columns, skipped, input, out),
        8 => Task::<8>::run(columns, skipped, input, out),
        _ => return false,
    }
    true
}

/// One task of N vectors of columns. The last vector ends with the last column; where it overlaps the one before, the
/// parameters are zero, and both hold the same sums.
struct Task<const N: usize> {
    columns: usize,
    theta: [[f32; LANES]; N],
    sums: [[f32; LANES]; N],
    total: f32,
}

impl<const N: usize> Task<N> {
    #[inline(always)]
    fn run(columns: usize, skipped: usize, input: GradientInput<'_>, out: &mut [f32]) {
        let (zeros, total) = ([[0.0; LANES]; N], 0.0);
        let mut task = Self { columns, theta: zeros, sums: zeros, total };
        for part in 0..N {
            let (start, own) = (task.start(part), part * LANES);
            task.theta[part][own - start..].copy_from_slice(&input.theta[own..start + LANES]);
        }
        let rows = input.y.len();
        let whole = rows / ROWS * ROWS;
        for row in (0..whole).step_by(ROWS) {
            task.rows::<ROWS>(row, skipped, input, out);
        }
        for row in whole..rows {
            task.rows::<1>(row, skipped, input, out);
        }
    }

    /// Where a vector of columns starts.
    #[inline(always)]
    fn start(&self, part: usize) -> usize {
        (part * LANES).min(self.columns - LANES)
    }

    /// One vector of a row.
    #[inline(always)]
    fn vector<'a>(&self, row: &'a [f32], part: usize) -> &'a [f32] {
        &row[self.start(part)..][..LANES]
    }

    #[inline(always)]
    fn rows<const R: usize>(
        &mut self,
        first: usize,
        skipped: usize,
        input: GradientInput<'_>,
        out: &mut [f32],
    ) {
        let x = &input.x[first * self.columns..][..R * self.columns];
        let (mut weights, mut sides, mut scales) = ([0.0; R], [0.0; R], [0.0; R]);
        let mut quarters = [[0.0; 4]; R];
        for (row, (weight, quarters)) in weights.iter_mut().zip(&mut quarters).enumerate() {
            *weight = input.weight_of(first + row);
            *quarters = self.quarters(&x[row * self.columns..]);
        }
        let y = &input.y[first..][..R];
        for (((side, [a, b, c, d]), y), weight) in sides.iter_mut().zip(&quarters).zip(y).zip(&weights) {
            *side = weight * ((a + c) + (b + d) - y);
        }
        for (scale, weight) in scales.iter_mut().zip(&weights) {
            self.total += weight;
            *scale = self.total;
        }
        for scale in &mut scales {
            *scale = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
        }
        // Over copies of the sums: what lies behind a reference might overlap, and would keep the loops from vectors.
        for row in 0..R {
            if weights[row] > 0.0 {
                for part in 0..N {
                    let x = self.vector(&x[row * self.columns..], part);
                    let mut sums = self.sums[part];
                    for (sum, x) in sums.iter_mut().zip(x) {
                        *sum += sides[row] * x;
                    }
                    self.sums[part] = sums;
                }
            }
            if first + row >= skipped {
                let out = &mut out[(first + row - skipped) * self.columns..][..self.columns];
                let all = self.sums;
                for part in 0..N {
                    let out = &mut out[self.start(part)..][..LANES];
                    for (out, sum) in out.iter_mut().zip(&all[part]) {
                        *out = scales[row] * sum;
                    }
                }
            }
        }
    }

    /// Four sums that together are the row's score.
    #[inline(always)]
    fn quarters(&self, row: &[f32]) -> [f32; 4] {
        let mut dot = [0.0; LANES];
        for (part, theta) in self.theta.iter().enumerate() {
            for ((dot, theta), x) in dot.iter_mut().zip(theta).zip(self.vector(row, part)) {
                *dot += theta * x;
            }
        }
        let (mut halves, mut quarters) = ([0.0; LANES / 2], [0.0; LANES / 4]);
        for (i, half) in halves.iter_mut().enumerate() {
            *half = dot[i] + dot[i + LANES / 2];
        }
        for (i, quarter) in quarters.iter_mut().enumerate() {
            *quarter = halves[i] + halves[i + LANES / 4];
        }
        quarters
    }
}
