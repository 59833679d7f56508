//! Linear predictors with one or many outputs, in vector lanes.
//!
//! A `[D, O]` matrix with one output lies in memory as one row, its columns in lanes; with many, every column has a row
//! of its own, its outputs in lanes. Rows are padded with zeros to whole lanes, and padding stays zero.

use crate::math;

/// Numbers that are added or multiplied at once.
pub(super) const LANES: usize = 8;

/// As many numbers as a vector holds.
pub(super) type Lanes = [f32; LANES];

/// The sum over the lanes, by halves.
#[inline(always)]
fn sum(mut lanes: Lanes) -> f32 {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            lanes[i] += lanes[i + width];
        }
        width /= 2;
    }
    lanes[0]
}

/// `total += factor * lanes`.
#[inline(always)]
fn add_scaled(total: &mut Lanes, factor: f32, lanes: &Lanes) {
    *total = std::array::from_fn(|i| total[i] + factor * lanes[i]);
}

/// `factor * lanes`.
#[inline(always)]
fn scaled(factor: f32, lanes: &Lanes) -> Lanes {
    std::array::from_fn(|i| factor * lanes[i])
}

/// Go through lanes beside numbers, the last of which are padded with zeros.
#[inline(always)]
fn pair<'a>(
    lanes: impl Iterator<Item = &'a mut Lanes>,
    numbers: &[f32],
    mut each: impl FnMut(&mut Lanes, &Lanes),
) {
    let (whole, rest) = numbers.as_chunks::<LANES>();
    let mut lanes = lanes;
    for numbers in whole {
        if let Some(lanes) = lanes.next() {
            each(lanes, numbers);
        }
    }
    if let Some(lanes) = lanes.next() {
        let mut last = [0.0; LANES];
        last.iter_mut().zip(rest).for_each(|(to, from)| *to = *from);
        each(lanes, &last);
    }
}

/// A `[D, O]` matrix in lanes.
#[derive(Default)]
pub(super) struct Matrix {
    outputs: usize,
    lanes: Vec<Lanes>,
}

impl Matrix {
    /// All zeros, in the memory at hand.
    #[inline(always)]
    pub(super) fn clear(&mut self, columns: usize, outputs: usize) {
        self.outputs = outputs;
        let length = if outputs == 1 { columns.div_ceil(LANES) } else { columns * outputs.div_ceil(LANES) };
        self.lanes.clear();
        self.lanes.resize(length, [0.0; LANES]);
    }

    /// Add `factor` times a row-major matrix.
    #[inline(always)]
    pub(super) fn add(&mut self, factor: f32, matrix: &[f32]) {
        if self.outputs == 1 {
            pair(self.lanes.iter_mut(), matrix, |to, from| add_scaled(to, factor, from));
            return;
        }
        let (outputs, width) = (self.outputs, self.outputs.div_ceil(LANES));
        for (row, lanes) in self.lanes.chunks_exact_mut(width).enumerate() {
            for (part, to) in lanes.iter_mut().enumerate() {
                let from = &matrix[row * outputs + part * LANES..];
                let own = LANES.min(outputs - part * LANES);
                let mut lanes = [0.0; LANES];
                match from.first_chunk::<LANES>() {
                    // What follows the row is cut off by selection: a copy of varying length would be a call.
                    Some(from) => lanes = std::array::from_fn(|i| if i < own { from[i] } else { 0.0 }),
                    None => lanes.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
                }
                add_scaled(to, factor, &lanes);
            }
        }
    }

    /// Add the outer product of a row `x [D]` and a side `[O]`.
    #[inline(always)]
    pub(super) fn add_outer(&mut self, x: &[f32], side: &[Lanes]) {
        if self.outputs == 1 {
            let factor = side[0][0];
            pair(self.lanes.iter_mut(), x, |to, x| add_scaled(to, factor, x));
            return;
        }
        for (first, part) in side.iter().enumerate() {
            for (to, x) in self.lanes[first..].iter_mut().step_by(side.len()).zip(x) {
                add_scaled(to, *x, part);
            }
        }
    }

    /// Project a row `x [D]` to `side [O]`.
    #[inline(always)]
    pub(super) fn project(&self, x: &[f32], side: &mut [Lanes]) {
        if self.outputs == 1 {
            let mut total = [0.0; LANES];
            let (whole, rest) = x.as_chunks::<LANES>();
            for (lanes, x) in self.lanes.iter().zip(whole) {
                total.iter_mut().zip(lanes).zip(x).for_each(|((total, a), b)| *total += a * b);
            }
            if !rest.is_empty() {
                let lanes = &self.lanes[whole.len()];
                total.iter_mut().zip(lanes).zip(rest).for_each(|((total, a), b)| *total += a * b);
            }
            side[0][0] = sum(total);
            return;
        }
        // Sums that do not wait for each other.
        let (width, mut partial) = (side.len(), [[0.0; LANES]; 4]);
        for (lane, side) in side.iter_mut().enumerate() {
            partial.fill([0.0; LANES]);
            for (rows, x) in self.lanes.chunks(4 * width).zip(x.chunks(4)) {
                for ((partial, row), x) in partial.iter_mut().zip(rows.chunks_exact(width)).zip(x) {
                    add_scaled(partial, *x, &row[lane]);
                }
            }
            let [mut a, b, mut c, d] = partial;
            add_scaled(&mut a, 1.0, &b);
            add_scaled(&mut c, 1.0, &d);
            add_scaled(&mut a, 1.0, &c);
            *side = a;
        }
    }

    /// Write `factor` times the matrix, row-major, to the start of `out`. What follows it may be overwritten with zeros.
    #[inline(always)]
    pub(super) fn write(&self, factor: f32, out: &mut [f32]) {
        let outputs = self.outputs;
        let (width, stride) = if outputs == 1 { (1, LANES) } else { (outputs.div_ceil(LANES), outputs) };
        for (row, lanes) in self.lanes.chunks_exact(width).enumerate() {
            for (part, lanes) in lanes.iter().enumerate() {
                let out = &mut out[row * stride + part * LANES..];
                let lanes = scaled(factor, lanes);
                match out.first_chunk_mut() {
                    Some(out) => *out = lanes,
                    None => out.iter_mut().zip(lanes).for_each(|(out, lane)| *out = lane),
                }
            }
        }
    }
}

/// Turn the scores of a row into the gradient of its loss with respect to them: its mean less its target.
///
/// One output: the squared loss, ½ (score − y)². Many: cross-entropy of the class index y. Padding becomes zero.
#[inline(always)]
pub(super) fn residual(scores: &mut [Lanes], outputs: usize, y: f32) {
    if outputs == 1 {
        scores[0][0] -= y;
        return;
    }
    softmax(scores, outputs);
    let scores = scores.as_flattened_mut();
    // An index that names no class is a target of zeros.
    if y >= 0.0 && (y as usize) < outputs && (y as usize) as f32 == y {
        scores[y as usize] -= 1.0;
    }
}

/// Turn scores into probabilities; padding becomes zero.
#[inline(always)]
pub(super) fn softmax(scores: &mut [Lanes], outputs: usize) {
    scores.as_flattened_mut()[outputs..].fill(f32::NEG_INFINITY);
    let mut top = [f32::NEG_INFINITY; LANES];
    for lanes in scores.iter() {
        for (top, score) in top.iter_mut().zip(lanes) {
            *top = if *score > *top { *score } else { *top };
        }
    }
    let top = top.iter().fold(f32::NEG_INFINITY, |top, score| if *score > top { *score } else { top });
    let mut total = [0.0; LANES];
    for lanes in scores.iter_mut() {
        for score in lanes.iter_mut() {
            *score = math::exp(*score - top);
        }
    }
    scores.as_flattened_mut()[outputs..].fill(0.0);
    scores.iter().for_each(|lanes| add_scaled(&mut total, 1.0, lanes));
    let share = 1.0 / sum(total);
    for lanes in scores.iter_mut() {
        *lanes = scaled(share, lanes);
    }
}
