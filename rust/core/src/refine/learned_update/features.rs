//! The features of a block of parameters, one feature after the other, parameters in lanes.

use pulp::{Simd, WithSimd};

use super::network::Scratch;
use super::{BLOCK, UpdateRule};

const SQUARE_FLOOR: f32 = 1e-6;
const FACTOR_FLOOR: f32 = 1e-9;
const FACTORED_FLOOR: f32 = 1e-8;

/// Row and column statistics of one tensor, and what features make of them.
pub(super) struct Factors<'a> {
    rows: usize,
    columns: usize,
    row: Columns<'a>,
    column: Columns<'a>,
}

/// A statistic `[F, length]`, its inverse root, and its part of Adafactor's factor.
struct Columns<'a> {
    raw: &'a [f32],
    root: Vec<f32>,
    factor: Vec<f32>,
}

impl<'a> Factors<'a> {
    pub(super) fn new(rows: usize, columns: usize, row: &'a [f32], column: &'a [f32]) -> Self {
        let root = |all: &[f32]| all.iter().map(|one| inverse_root(one + FACTORED_FLOOR)).collect();
        let relative = row.chunks_exact(rows).flat_map(|row| {
            let mean = row.iter().sum::<f32>() / rows as f32 + FACTOR_FLOOR;
            row.iter().map(move |one| inverse_root((one / mean).max(FACTOR_FLOOR)))
        });
        let factor = column.iter().map(|one| inverse_root(one.max(FACTOR_FLOOR))).collect();
        Self {
            rows,
            columns,
            row: Columns { raw: row, root: root(row), factor: relative.collect() },
            column: Columns { raw: column, root: root(column), factor },
        }
    }

    /// Call with every stretch of one row in the `count` parameters from `first` on: where it begins, its length, its
    /// row and its first column.
    #[inline(always)]
    fn stretches(&self, first: usize, count: usize, mut f: impl FnMut(usize, usize, usize, usize)) {
        let (mut row, mut column, mut done) = (first / self.columns, first % self.columns, 0);
        while done < count {
            let length = (self.columns - column).min(count - done);
            f(done, length, row, column);
            (row, column, done) = (row + 1, 0, done + length);
        }
    }

    /// The row and the column statistic at each decay.
    #[inline(always)]
    fn by_decay<'b>(
        &self,
        row: &'b [f32],
        column: &'b [f32],
    ) -> impl Iterator<Item = (&'b [f32], &'b [f32])> {
        row.chunks_exact(self.rows).zip(column.chunks_exact(self.columns))
    }

    /// Row times column for the parameters from `first` on.
    #[inline(always)]
    fn product(&self, row: &[f32], column: &[f32], first: usize, out: &mut [f32]) {
        self.stretches(first, out.len(), |at, length, r, c| {
            let stretch = out[at..at + length].iter_mut().zip(&column[c..c + length]);
            stretch.for_each(|(out, column)| *out = row[r] * column);
        });
    }

    /// Spread `[rows]` over the parameters from `first` on.
    #[inline(always)]
    fn spread_row(&self, from: &[f32], first: usize, out: &mut [f32]) {
        self.stretches(first, out.len(), |at, length, row, _| out[at..at + length].fill(from[row]));
    }

    /// Spread `[columns]` over the parameters from `first` on.
    #[inline(always)]
    fn spread_column(&self, from: &[f32], first: usize, out: &mut [f32]) {
        self.stretches(first, out.len(), |at, length, _, column| {
            out[at..at + length].copy_from_slice(&from[column..column + length]);
        });
    }
}

#[inline(always)]
fn inverse_root(x: f32) -> f32 {
    1.0 / x.sqrt()
}

/// The parameters of one block and their state after this step's gradient.
pub(super) struct Block<'a, 'b> {
    pub(super) factors: &'a Factors<'a>,
    /// Place of the first one in its tensor.
    pub(super) first: usize,
    /// Place of the first one in the chunk.
    pub(super) offset: usize,
    pub(super) gradient: &'a [f32],
    pub(super) parameter: &'a [f32],
    /// Of the whole chunk.
    pub(super) momentum: &'a [&'b mut [f32]],
    pub(super) square: &'a [f32],
}

impl Block<'_, '_> {
    /// Write the features `[·, BLOCK]` before they are normalised, in the order of the definition.
    #[inline(always)]
    pub(super) fn features(&self, out: &mut [f32]) {
        let (factors, count) = (self.factors, self.gradient.len());
        let mut lanes = Lanes { rest: out, count };
        let momentum = || self.momentum.iter().map(|all| &all[self.offset..self.offset + count]);
        let mut root = [0.0; BLOCK];
        root.iter_mut().zip(self.square).for_each(|(root, v)| *root = inverse_root(v + SQUARE_FLOOR));

        lanes.next().copy_from_slice(self.gradient);
        lanes.next().copy_from_slice(self.parameter);
        momentum().for_each(|m| lanes.next().copy_from_slice(m));
        lanes.next().copy_from_slice(self.square);
        momentum().for_each(|m| multiply(m, &root, lanes.next()));
        lanes.next().copy_from_slice(&root[..count]);
        if factors.row.raw.is_empty() {
            return;
        }
        let (row, column) = (&factors.row, &factors.column);
        let mut factor = [0.0; BLOCK];
        for (row, column) in factors.by_decay(&row.factor, &column.factor) {
            factors.product(row, column, self.first, &mut factor[..count]);
            multiply(self.gradient, &factor, lanes.next());
        }
        for (row, column) in [(row.raw, column.raw), (&row.root, &column.root)] {
            let rows = row.chunks_exact(factors.rows);
            rows.for_each(|row| factors.spread_row(row, self.first, lanes.next()));
            let columns = column.chunks_exact(factors.columns);
            columns.for_each(|column| factors.spread_column(column, self.first, lanes.next()));
        }
        for ((row, column), m) in factors.by_decay(&row.factor, &column.factor).zip(momentum()) {
            factors.product(row, column, self.first, &mut factor[..count]);
            multiply(m, &factor, lanes.next());
        }
    }
}

/// The features of a block that are still to be written.
struct Lanes<'a> {
    rest: &'a mut [f32],
    count: usize,
}

impl<'a> Lanes<'a> {
    #[inline(always)]
    fn next(&mut self) -> &'a mut [f32] {
        let (now, rest) = std::mem::take(&mut self.rest).split_at_mut(BLOCK);
        self.rest = rest;
        &mut now[..self.count]
    }
}

#[inline(always)]
fn multiply(a: &[f32], b: &[f32], out: &mut [f32]) {
    out.iter_mut().zip(a).zip(b).for_each(|((out, a), b)| *out = a * b);
}

/// Decay the state of a chunk towards its gradient.
pub(super) struct Advance<'a, 'b> {
    pub(super) rule: UpdateRule<'a>,
    pub(super) factors: &'a Factors<'a>,
    pub(super) first: usize,
    pub(super) gradient: &'a [f32],
    pub(super) parameter: &'a [f32],
    pub(super) momentum: Vec<&'b mut [f32]>,
    pub(super) square: &'a mut [f32],
}

impl<'a, 'b> Advance<'a, 'b> {
    pub(super) fn into_sums(self, features: usize, scratch: &'a mut Scratch) -> Sums<'a, 'b> {
        Sums { advance: self, features, scratch }
    }

    #[inline(always)]
    fn state(&mut self) {
        for (m, decay) in self.momentum.iter_mut().zip(self.rule.momentum_decay) {
            m.iter_mut().zip(self.gradient).for_each(|(m, g)| *m = decay * *m + (1.0 - decay) * g);
        }
        let decay = self.rule.square_decay;
        let both = self.square.iter_mut().zip(self.gradient);
        both.for_each(|(v, g)| *v = decay * *v + (1.0 - decay) * (g * g));
    }
}

/// `Advance`, then the sums of squares of every feature over the chunk.
pub(super) struct Sums<'a, 'b> {
    advance: Advance<'a, 'b>,
    features: usize,
    scratch: &'a mut Scratch,
}

impl WithSimd for Sums<'_, '_> {
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> Vec<f32> {
        let Self { mut advance, features, scratch } = self;
        advance.state();
        let mut sums = vec![[0.0f32; 16]; features];
        let lanes = scratch.features(features);
        let parts = advance.gradient.chunks(BLOCK).zip(advance.parameter.chunks(BLOCK));
        for (place, ((gradient, parameter), square)) in parts.zip(advance.square.chunks(BLOCK)).enumerate() {
            let offset = place * BLOCK;
            let (factors, first, momentum) = (advance.factors, advance.first + offset, &advance.momentum[..]);
            if gradient.len() < BLOCK {
                lanes.fill(0.0);
            }
            Block { factors, first, offset, gradient, parameter, momentum, square }.features(lanes);
            for (sums, lanes) in sums.iter_mut().zip(lanes.chunks_exact(BLOCK)) {
                for values in lanes.as_chunks::<16>().0 {
                    sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * value);
                }
            }
        }
        sums.iter().map(|lanes| lanes.iter().sum()).collect()
    }
}
