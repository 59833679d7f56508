//! Running second moments of the per-example Jacobian, for many tasks or for one wide one.
//!
//! Rows are scaled by √(weight / n′) and packed into panels of columns, rows of weight zero left out; a product of two
//! panels is then a square tile of C′, made in registers from loads that are contiguous. Narrow tasks are divided among
//! threads; the tiles of a wide one are, each computed once and written on both sides of the diagonal.

use std::sync::{Mutex, PoisonError};

use pulp::{Arch, Simd, WithSimd};

use super::{TASKS, aligned, expect};
use crate::{Result, parallel};

/// Columns of a panel where there are more than half as many; else half as many.
const PANEL: usize = 32;
/// Columns from which on the tiles of one task are divided among threads.
const WIDE: usize = 129;
/// Tiles of one unit of parallel work.
const TILES: usize = 8;

/// The axes of an update, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct CurvatureSizes {
    /// T.
    pub tasks: usize,
    /// B.
    pub batch: usize,
    /// S.
    pub state: usize,
}

/// What an update reads.
#[derive(Debug, Clone, Copy)]
pub struct CurvatureInput<'a> {
    /// `[T, S, S]`, symmetric.
    pub second: &'a [f32],
    /// `[T]`.
    pub count: &'a [f32],
    /// `[T, B, S]`.
    pub jacobian: &'a [f32],
    /// `[T, B]`; all ones where it is absent.
    pub weight: Option<&'a [f32]>,
}

/// What an update writes.
#[derive(Debug)]
pub struct CurvatureOutput<'a> {
    /// `[T, S, S]`.
    pub second: &'a mut [f32],
    /// `[T]`.
    pub count: &'a mut [f32],
}

/// Merge a mini-batch into the second moments of every task: `amortix.ops.curvature_update`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn curvature_update(
    sizes: CurvatureSizes,
    input: CurvatureInput<'_>,
    output: CurvatureOutput<'_>,
) -> Result<()> {
    let CurvatureSizes { tasks, state, .. } = sizes;
    expect_update("curvature_update", sizes, input, &output)?;
    let square = state * state;
    if square == 0 {
        (0..tasks).for_each(|task| output.count[task] = Rows::of(sizes, input, task).total);
        return Ok(());
    }
    if state >= WIDE {
        for (task, second) in output.second.chunks_exact_mut(square).enumerate() {
            let rows = Rows::of(sizes, input, task);
            output.count[task] = rows.total;
            wide(rows, second);
        }
        return Ok(());
    }
    let unit = TASKS * groups(tasks);
    let units = output.second.chunks_mut(unit * square).zip(output.count.chunks_mut(unit));
    parallel::share(units.enumerate(), |(place, (second, count))| {
        let mut near = vec![0.0; TASKS * square];
        let parts = second.chunks_mut(TASKS * square).zip(count.chunks_mut(TASKS));
        for (part, (second, count)) in parts.enumerate() {
            let near = &mut near[..second.len()];
            update_some(sizes, input, place * unit + part * TASKS, CurvatureOutput { second: near, count });
            second.copy_from_slice(near);
        }
    });
    Ok(())
}

/// How many times `TASKS` make a unit of parallel work. What such a group writes is first made in memory that stays in
/// the cache, and then copied as a whole: a long copy does not read what it overwrites, which halves the traffic.
pub(super) fn groups(tasks: usize) -> usize {
    (tasks / (8 * TASKS)).clamp(1, 4)
}

/// Refuse a slice whose length does not fit.
pub(super) fn expect_update(
    operation: &str,
    sizes: CurvatureSizes,
    input: CurvatureInput<'_>,
    output: &CurvatureOutput<'_>,
) -> Result<()> {
    let CurvatureSizes { tasks, batch, state } = sizes;
    let lengths: [(&str, usize, &[usize]); 6] = [
        ("second", input.second.len(), &[tasks, state, state]),
        ("count", input.count.len(), &[tasks]),
        ("jacobian", input.jacobian.len(), &[tasks, batch, state]),
        ("weight", input.weight.map_or(tasks * batch, <[f32]>::len), &[tasks, batch]),
        ("out_second", output.second.len(), &[tasks, state, state]),
        ("out_count", output.count.len(), &[tasks]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect(operation, name, *length, axes))
}

/// One task of an update.
#[derive(Clone, Copy)]
struct Rows<'a> {
    /// S.
    state: usize,
    /// C before, `[S, S]`.
    second: &'a [f32],
    /// `[B, S]`.
    jacobian: &'a [f32],
    /// `[B]`.
    weight: Option<&'a [f32]>,
    /// The share of C that stays, n / n′.
    keep: f32,
    /// The total weight, n′.
    total: f32,
}

impl<'a> Rows<'a> {
    fn of(sizes: CurvatureSizes, input: CurvatureInput<'a>, task: usize) -> Self {
        let CurvatureSizes { batch, state, .. } = sizes;
        let weight = input.weight.map(|weight| &weight[task * batch..][..batch]);
        let fresh = weight.map_or(batch as f32, sum);
        let before = input.count[task];
        let total = before + fresh;
        Self {
            state,
            second: &input.second[task * state * state..][..state * state],
            jacobian: &input.jacobian[task * batch * state..][..batch * state],
            weight,
            keep: if total > 0.0 { before / total } else { 1.0 },
            total,
        }
    }

    /// The factor √(weight / n′) of each row; how many rows are not inert.
    #[inline(always)]
    fn scale(self, factors: &mut Vec<f32>) -> usize {
        let share = if self.total > 0.0 { 1.0 / self.total } else { 0.0 };
        let batch = self.jacobian.len() / self.state;
        factors.clear();
        match self.weight {
            Some(weight) => factors.extend(weight.iter().map(|weight| (inert(*weight) * share).sqrt())),
            None => factors.resize(batch, share.sqrt()),
        }
        factors.iter().filter(|factor| **factor > 0.0).count()
    }
}

/// A weight that is not above zero, or no number, makes its row inert.
fn inert(weight: f32) -> f32 {
    if weight > 0.0 { weight } else { 0.0 }
}

/// The sum of the weights, in an order that has eight chains.
fn sum(weight: &[f32]) -> f32 {
    let (eights, rest) = weight.as_chunks::<8>();
    let mut sums = [0.0; 8];
    for eight in eights {
        sums.iter_mut().zip(eight).for_each(|(sum, weight)| *sum += inert(*weight));
    }
    sums.iter().sum::<f32>() + rest.iter().map(|weight| inert(*weight)).sum::<f32>()
}

/// Columns `first ..` of the rows that count, scaled, as a panel of W columns; zeros where there are none.
#[inline(always)]
fn pack<const W: usize>(rows: Rows<'_>, factors: &[f32], first: usize, panel: &mut [f32]) {
    let rows = rows.jacobian.chunks_exact(rows.state).zip(factors).filter(|(_, factor)| **factor > 0.0);
    for ((row, factor), to) in rows.zip(panel.as_chunks_mut::<W>().0) {
        let columns = &row[first..];
        if let Some(columns) = columns.first_chunk::<W>() {
            *to = columns.map(|column| factor * column);
        } else {
            *to = [0.0; W];
            to.iter_mut().zip(columns).for_each(|(to, column)| *to = factor * column);
        }
    }
}

/// Tasks from `first` on, as many as `count` holds, one after the other.
pub(super) fn update_some(
    sizes: CurvatureSizes,
    input: CurvatureInput<'_>,
    first: usize,
    output: CurvatureOutput<'_>,
) {
    Arch::new().dispatch(Narrow { sizes, input, first, output });
}

struct Narrow<'a> {
    sizes: CurvatureSizes,
    input: CurvatureInput<'a>,
    first: usize,
    output: CurvatureOutput<'a>,
}

impl WithSimd for Narrow<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Narrow { sizes, input, first, output: CurvatureOutput { second, count } } = self;
        let (mut factors, mut memory) = (Vec::new(), Vec::new());
        for (local, (second, count)) in second.chunks_exact_mut(sizes.state.pow(2)).zip(count).enumerate() {
            let rows = Rows::of(sizes, input, first + local);
            *count = rows.total;
            let counting = rows.scale(&mut factors);
            if sizes.state > PANEL / 2 {
                whole::<S, PANEL>(simd, rows, &factors, counting, &mut memory, second);
            } else {
                whole::<S, { PANEL / 2 }>(simd, rows, &factors, counting, &mut memory, second);
            }
        }
    }
}

/// All tiles of one task, on either side of the diagonal.
#[inline(always)]
fn whole<S: Simd, const W: usize>(
    simd: S,
    rows: Rows<'_>,
    factors: &[f32],
    counting: usize,
    memory: &mut Vec<f32>,
    second: &mut [f32],
) {
    let (state, length) = (rows.state, counting * W);
    let panels = aligned(memory, state.div_ceil(W) * length);
    for first in (0..state).step_by(W) {
        pack::<W>(rows, factors, first, &mut panels[first / W * length..][..length]);
    }
    let panel = |first: usize| &panels[first / W * length..][..length];
    let mut tile = [[0.0; W]; W];
    for (top, above) in (0..).step_by(W).zip(second.chunks_mut(W * state)) {
        for left in (0..state).step_by(W) {
            multiply(simd, panel(top), panel(left), &mut tile);
            let before = &rows.second[top * state..];
            for ((to, before), fresh) in
                above.chunks_exact_mut(state).zip(before.chunks_exact(state)).zip(&tile)
            {
                let (to, before) = (&mut to[left..], &before[left..]);
                if let (Some(to), Some(before)) = (to.first_chunk_mut::<W>(), before.first_chunk::<W>()) {
                    *to = std::array::from_fn(|j| rows.keep * before[j] + fresh[j]);
                } else {
                    let new = to.iter_mut().zip(before).zip(fresh);
                    new.for_each(|((to, before), fresh)| *to = rows.keep * before + fresh);
                }
            }
        }
    }
}

/// Share the tiles on and below the diagonal among threads.
fn wide(rows: Rows<'_>, second: &mut [f32]) {
    let (state, mut factors) = (rows.state, Vec::new());
    let length = (rows.scale(&mut factors) * PANEL).max(1);
    let mut memory = Vec::new();
    let panels = aligned(&mut memory, state.div_ceil(PANEL) * length);
    parallel::share(panels.chunks_exact_mut(length).enumerate(), |(p, panel)| {
        Arch::new().dispatch(|| pack::<PANEL>(rows, &factors, p * PANEL, panel));
    });
    let bands: Vec<_> = second.chunks_mut(PANEL * state).map(Mutex::new).collect();
    let tiles: Vec<_> = (0..bands.len()).flat_map(|p| (0..=p).map(move |q| (p, q))).collect();
    parallel::share(tiles.chunks(TILES), |tiles| {
        Arch::new().dispatch(Wide { rows, panels, length, bands: &bands, tiles });
    });
}

struct Wide<'a, 'b> {
    rows: Rows<'a>,
    panels: &'a [f32],
    length: usize,
    bands: &'a [Mutex<&'b mut [f32]>],
    tiles: &'a [(usize, usize)],
}

impl WithSimd for Wide<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Wide { rows: Rows { state, second, keep, .. }, panels, length, bands, tiles } = self;
        let panel = |index: usize| &panels[index * length..][..length];
        let mut tile = [[0.0; PANEL]; PANEL];
        for &(p, q) in tiles {
            multiply(simd, panel(p), panel(q), &mut tile);
            let (top, left) = (p * PANEL, q * PANEL);
            let width = PANEL.min(state - left);
            for (tile, before) in tile.iter_mut().zip(second[top * state..].chunks_exact(state)) {
                let before = &before[left..][..width];
                tile.iter_mut().zip(before).for_each(|(fresh, before)| *fresh += keep * before);
            }
            let mut band = bands[p].lock().unwrap_or_else(PoisonError::into_inner);
            for (row, tile) in band.chunks_exact_mut(state).zip(&tile) {
                row[left..left + width].copy_from_slice(&tile[..width]);
            }
            drop(band);
            if p > q {
                let mut band = bands[q].lock().unwrap_or_else(PoisonError::into_inner);
                for (j, row) in band.chunks_exact_mut(state).enumerate() {
                    row[top..].iter_mut().zip(&tile).for_each(|(to, tile)| *to = tile[j]);
                }
            }
        }
    }
}

/// `out[i][j] = Σ_b left[b][i] · right[b][j]` of two panels of W columns.
#[inline(always)]
fn multiply<S: Simd, const W: usize>(simd: S, left: &[f32], right: &[f32], out: &mut [[f32; W]; W]) {
    // As many sums at a time as keep both multipliers busy and fit the registers.
    match (S::REGISTER_COUNT >= 32, S::F32_LANES < W) {
        (true, true) => blocks::<S, W, 8, 2>(simd, left, right, out),
        (true, false) => blocks::<S, W, 16, 1>(simd, left, right, out),
        (false, _) => blocks::<S, W, 4, 2>(simd, left, right, out),
    }
}

#[inline(always)]
fn blocks<S: Simd, const W: usize, const M: usize, const N: usize>(
    simd: S,
    left: &[f32],
    right: &[f32],
    out: &mut [[f32; W]; W],
) {
    let vectors = W / S::F32_LANES;
    let (left, right) = (left.as_chunks::<W>().0, S::as_simd_f32s(right).0);
    for (i, out) in out.as_chunks_mut::<M>().0.iter_mut().enumerate() {
        for j in (0..vectors).step_by(N) {
            let mut sums = [[simd.splat_f32s(0.0); N]; M];
            for (left, right) in left.iter().zip(right.chunks_exact(vectors)) {
                let (left, right) = (&left[i * M..][..M], &right[j..][..N]);
                for r in 0..M {
                    let factor = simd.splat_f32s(left[r]);
                    for c in 0..N {
                        sums[r][c] = simd.mul_add_e_f32s(factor, right[c], sums[r][c]);
                    }
                }
            }
            for (out, sums) in out.iter_mut().zip(sums) {
                S::as_mut_simd_f32s(out).0[j..j + N].copy_from_slice(&sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;

    fn update(
        state: usize,
        count: f32,
        second: &[f32],
        jacobian: &[f32],
        weight: &[f32],
    ) -> Result<(Vec<f32>, f32)> {
        let sizes = CurvatureSizes { tasks: 1, batch: weight.len(), state };
        let input = CurvatureInput { second, count: &[count], jacobian, weight: Some(weight) };
        let (mut out, mut total) = (vec![f32::NAN; state * state], [f32::NAN]);
        curvature_update(sizes, input, CurvatureOutput { second: &mut out, count: &mut total })?;
        Ok((out, total[0]))
    }

    #[test]
    fn a_mean_by_hand() -> Result<()> {
        let (second, count) = update(2, 1.0, &[4.0, 0.0, 0.0, 8.0], &[1.0, 2.0, f32::NAN, 5.0], &[3.0, 0.0])?;
        assert_eq!(count, 4.0);
        let wanted = [(4.0 + 3.0) / 4.0, 6.0 / 4.0, 6.0 / 4.0, (8.0 + 12.0) / 4.0];
        assert!(second.iter().zip(wanted).all(|(got, wanted)| (got - wanted).abs() < 1e-6));
        Ok(())
    }

    #[test]
    fn wide_tiles_agree_with_sums_and_are_symmetric() -> Result<()> {
        let (state, batch) = (WIDE + PANEL / 2, 5);
        let jacobian: Vec<f32> = (0..batch * state).map(|i| (i * 7 % 13) as f32 - 6.0).collect();
        let before: Vec<f32> = (0..state * state).map(|i| ((i / state) * (i % state) % 5) as f32).collect();
        let (got, _) = update(state, 11.0, &before, &jacobian, &[1.0; 5])?;
        for (place, got) in got.iter().enumerate() {
            let (i, j) = (place / state, place % state);
            let sum: f32 = jacobian.chunks(state).map(|row| row[i] * row[j]).sum();
            assert!((got - (11.0 * before[place] + sum) / 16.0).abs() < 1e-4);
        }
        assert!((0..state * state).all(|p| got[p] == got[p % state * state + p / state]));
        Ok(())
    }

    #[test]
    fn narrow_and_wide_vectors_agree() -> Result<()> {
        for state in [3, PANEL / 2, PANEL + 1] {
            let numbers = |length: usize| (0..length).map(|i| (i * 7 % 13) as f32 - 6.0).collect::<Vec<_>>();
            let (before, jacobian) = (vec![1.0; state * state], numbers(5 * state));
            let (mut second, mut count) = (vec![f32::NAN; state * state], [f32::NAN]);
            let sizes = CurvatureSizes { tasks: 1, batch: 5, state };
            let input = CurvatureInput { second: &before, count: &[3.0], jacobian: &jacobian, weight: None };
            let output = CurvatureOutput { second: &mut second, count: &mut count };
            Narrow { sizes, input, first: 0, output }.with_simd(pulp::Scalar::new());
            let (got, _) = update(state, 3.0, &before, &jacobian, &[1.0; 5])?;
            assert!(got.iter().zip(&second).all(|(got, one)| (got - one).abs() < 1e-4));
        }
        Ok(())
    }

    #[test]
    fn no_rows_and_no_columns() -> Result<()> {
        assert_eq!(update(1, 2.0, &[3.0], &[], &[])?, (vec![3.0], 2.0));
        assert_eq!(update(1, 0.0, &[3.0], &[1.0], &[0.0])?, (vec![3.0], 0.0));
        assert_eq!(update(0, 2.0, &[], &[], &[1.0])?, (vec![], 3.0));
        let none = vec![1.0; WIDE * WIDE];
        assert_eq!(update(WIDE, 2.0, &none, &[], &[])?.0, none);
        Ok(())
    }

    #[test]
    fn lengths_are_checked() {
        let error = update(2, 1.0, &[1.0; 4], &[1.0; 3], &[1.0]);
        assert!(matches!(error, Err(Error::Array(m)) if m.contains("jacobian has 3 elements")));
    }
}
