//! The features of a block of parameters, one feature after the other, parameters in lanes.

use super::BLOCK;

pub(super) const SQUARE_FLOOR: f32 = 1e-6;
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

    /// Mean squares over the tensor of what only rows or only columns tell apart: a, b, 1/√a and 1/√b.
    pub(super) fn mean_squares(&self) -> impl Iterator<Item = f64> {
        let (row, column) = (&self.row, &self.column);
        [
            (row.raw, self.rows),
            (column.raw, self.columns),
            (&row.root, self.rows),
            (&column.root, self.columns),
        ]
        .into_iter()
        .flat_map(|(all, length)| all.chunks_exact(length))
        .map(|one| one.iter().map(|v| f64::from(*v) * f64::from(*v)).sum::<f64>() / one.len() as f64)
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

    /// What a row and what a column contribute to Adafactor's factor, at each decay.
    #[inline(always)]
    pub(super) fn pairs(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        self.row.factor.chunks_exact(self.rows).zip(self.column.factor.chunks_exact(self.columns))
    }

    /// Row times column for the parameters from `first` on.
    #[inline(always)]
    pub(super) fn product(&self, row: &[f32], column: &[f32], first: usize, out: &mut [f32]) {
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
        for (row, column) in factors.pairs() {
            factors.product(row, column, self.first, &mut factor[..count]);
            multiply(self.gradient, &factor, lanes.next());
        }
        for (row, column) in [(row.raw, column.raw), (&row.root, &column.root)] {
            let rows = row.chunks_exact(factors.rows);
            rows.for_each(|row| factors.spread_row(row, self.first, lanes.next()));
            let columns = column.chunks_exact(factors.columns);
            columns.for_each(|column| factors.spread_column(column, self.first, lanes.next()));
        }
        for ((row, column), m) in factors.pairs().zip(momentum()) {
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
