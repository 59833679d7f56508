//! As many local Gaussian processes as a vector has lanes, side by side: lane l of every vector belongs to query l.
//!
//! So a small factorisation fills the vector units whatever its size, and no sum goes across lanes. Rows are kept in panels
//! of four, column by column: two panels are then the operands of a product with 16 sums in registers. A query with fewer
//! rows than the others gets unit rows of the covariance, which change nothing.

#![allow(clippy::needless_range_loop, reason = "rows and columns of a tile go by number, as in formulas")]

use pulp::{Simd, bytemuck};

use super::kernel::{Kernel, TINY};
use super::local_solve::{SolveInput, SolveSizes};

/// Rows of a panel.
pub(super) const SIDE: usize = 4;

/// Memory of a group, kept from one to the next.
#[derive(Default)]
pub(super) struct Scratch {
    floats: Vec<f32>,
    /// The occupied slots of each lane, in order.
    slots: Vec<Vec<usize>>,
}

/// The queries of a group, and what the elimination makes of their covariances.
pub(super) struct Group<'a, S: Simd> {
    pub(super) simd: S,
    /// The query of each lane.
    pub(super) units: [usize; 16],
    pub(super) slots: &'a [Vec<usize>],
    /// Panels, of four rows each.
    pub(super) panels: usize,
    pub(super) kernel: Kernel<S>,
    /// Noise and jitter.
    pub(super) added: S::f32s,
    /// Rows less the query, times the root of the relevance: `[panel][D][4]`.
    pub(super) points: &'a mut [[S::f32s; SIDE]],
    /// `[D]` roots of the relevances.
    pub(super) roots: &'a mut [S::f32s],
    /// `[panel][4]`: 1 for a row, 0 for none.
    pub(super) valid: &'a mut [[S::f32s; SIDE]],
    /// L, its panels one after the other, each as long as it is not zero.
    pub(super) factor: &'a mut [[S::f32s; SIDE]],
    /// `[panel][4]`: 1 / Lᵢᵢ.
    pub(super) inverse: &'a mut [[S::f32s; SIDE]],
    /// (L⁻¹k)' and then (L⁻¹R)': `[1 + O][panel][4]`.
    pub(super) below: &'a mut [[S::f32s; SIDE]],
}

/// Where a panel of L starts.
pub(super) fn start(panel: usize) -> usize {
    SIDE * panel * (panel + 1) / 2
}

/// Cut so many vectors off the front.
fn take<'a, S: Simd>(rest: &mut &'a mut [S::f32s], count: usize) -> &'a mut [S::f32s] {
    let (front, back) = std::mem::take(rest).split_at_mut(count);
    *rest = back;
    front
}

fn fours<V>(vectors: &mut [V]) -> &mut [[V; SIDE]] {
    vectors.as_chunks_mut().0
}

impl<'a, S: Simd> Group<'a, S> {
    /// Gather queries from `first` on, as many as there are lanes; beyond `last` the last one again.
    #[inline(always)]
    pub(super) fn gather(
        simd: S,
        sizes: SolveSizes,
        input: SolveInput<'_>,
        (first, last): (usize, usize),
        scratch: &'a mut Scratch,
    ) -> Self {
        let SolveSizes { queries, kept, columns, outputs, .. } = sizes;
        let units: [usize; 16] = std::array::from_fn(|lane| (first + lane).min(last));
        scratch.slots.resize_with(S::F32_LANES, Vec::new);
        for (slots, unit) in scratch.slots.iter_mut().zip(units) {
            let distance = &input.distance[unit * kept..(unit + 1) * kept];
            slots.clear();
            slots.extend((0..kept).filter(|slot| distance[*slot] < f32::INFINITY));
        }
        let most = scratch.slots.iter().map(Vec::len).max().unwrap_or(0);
        let panels = most.div_ceil(SIDE);
        let rows = panels * SIDE;
        let vectors = rows * columns + columns + 2 * rows + SIDE * start(panels) + (1 + outputs) * rows;
        // One vector more, to begin where a vector may.
        scratch.floats.resize((vectors + 1) * S::F32_LANES, 0.0);
        let skip = scratch.floats.as_ptr().align_offset(size_of::<S::f32s>()).min(S::F32_LANES);
        let mut rest = S::as_mut_simd_f32s(&mut scratch.floats[skip..]).0;
        let task = |lane: usize| units[lane] / queries;
        let kernel = Kernel::new(
            simd,
            [0, 1].map(|part| lanes(simd, |lane| input.signal[2 * task(lane) + part])),
            lanes(simd, |lane| input.stretch[task(lane)]),
        );
        let noise = lanes(simd, |lane| input.noise[task(lane)]);
        let mut group = Self {
            simd,
            units,
            slots: &scratch.slots,
            panels,
            kernel,
            added: simd.mul_add_e_f32s(simd.splat_f32s(input.jitter), kernel.prior, noise),
            points: fours(take::<S>(&mut rest, rows * columns)),
            roots: take::<S>(&mut rest, columns),
            valid: fours(take::<S>(&mut rest, rows)),
            factor: fours(take::<S>(&mut rest, SIDE * start(panels))),
            inverse: fours(take::<S>(&mut rest, rows)),
            below: fours(take::<S>(&mut rest, (1 + outputs) * rows)),
        };
        group.gather_points(sizes, input);
        group.gather_residuals(sizes, input);
        group
    }

    #[inline(always)]
    fn gather_points(&mut self, sizes: SolveSizes, input: SolveInput<'_>) {
        let SolveSizes { queries, kept, columns, .. } = sizes;
        let (simd, units) = (self.simd, self.units);
        for (d, root) in self.roots.iter_mut().enumerate() {
            let of = |lane: usize| input.relevance[units[lane] / queries * columns + d];
            *root = simd.sqrt_f32s(lanes(simd, |lane| of(lane).max(TINY)));
        }
        let width = S::F32_LANES;
        let valid: &mut [f32] = bytemuck::cast_slice_mut(self.valid.as_flattened_mut());
        let points: &mut [f32] = bytemuck::cast_slice_mut(self.points.as_flattened_mut());
        for (i, panel) in points.chunks_exact_mut((columns * SIDE * width).max(1)).enumerate() {
            for row in 0..SIDE {
                for (lane, slots) in self.slots.iter().enumerate() {
                    let slot = slots.get(SIDE * i + row);
                    valid[(SIDE * i + row) * width + lane] = f32::from(u8::from(slot.is_some()));
                    let entries = panel[row * width + lane..].iter_mut().step_by(SIDE * width);
                    let unit = units[lane];
                    match slot {
                        None => entries.for_each(|entry| *entry = 0.0),
                        Some(slot) => {
                            let x = &input.kept_x[(unit * kept + slot) * columns..][..columns];
                            let query = &input.query[unit * columns..][..columns];
                            entries.zip(x).zip(query).for_each(|((entry, x), q)| *entry = x - q);
                        }
                    }
                }
            }
        }
        for panel in self.points.chunks_exact_mut(columns) {
            for (four, root) in panel.iter_mut().zip(&*self.roots) {
                for vector in four {
                    *vector = simd.mul_f32s(*vector, *root);
                }
            }
        }
    }

    #[inline(always)]
    fn gather_residuals(&mut self, sizes: SolveSizes, input: SolveInput<'_>) {
        let (SolveSizes { kept, outputs, .. }, units) = (sizes, self.units);
        let (rows, slots) = (self.panels * SIDE, self.slots);
        for (place, vector) in self.below.as_flattened_mut().iter_mut().enumerate().skip(rows) {
            let (output, row) = (place / rows - 1, place % rows);
            *vector = lanes(self.simd, |lane| {
                let slot = slots[lane].get(row);
                slot.map_or(0.0, |slot| input.residual[(units[lane] * kept + slot) * outputs + output])
            });
        }
    }

    /// Factorise the covariance and solve for what stands below it.
    #[inline(always)]
    pub(super) fn eliminate(&mut self, columns: usize) {
        for i in 0..self.panels {
            for j in 0..=i {
                let mut tile = self.covariance(i, j, columns);
                let (done, rest) = self.factor.split_at_mut(start(i));
                let own = &mut rest[..SIDE * (j + 1)];
                let (before, out) = own.split_at_mut(SIDE * j);
                if i == j {
                    subtract(self.simd, before, before, &mut tile);
                    self.inverse[j] = factorise(self.simd, &mut tile, self.added);
                } else {
                    let pivot = &done[start(j)..][..SIDE * (j + 1)];
                    subtract(self.simd, before, &pivot[..SIDE * j], &mut tile);
                    solve(self.simd, &mut tile, &pivot[SIDE * j..], &self.inverse[j]);
                }
                out.copy_from_slice(&tile);
            }
        }
        self.towards(columns);
        for row in self.below.chunks_exact_mut(self.panels.max(1)) {
            for j in 0..self.panels {
                let (before, rest) = row.split_at_mut(j);
                let pivot = &self.factor[start(j)..][..SIDE * (j + 1)];
                let [a, b, c, d] = rest[0];
                let mut tile = [[a], [b], [c], [d]];
                let (before, _) = before.as_flattened().as_chunks::<1>();
                subtract(self.simd, before, &pivot[..SIDE * j], &mut tile);
                solve(self.simd, &mut tile, &pivot[SIDE * j..], &self.inverse[j]);
                let [[a], [b], [c], [d]] = tile;
                rest[0] = [a, b, c, d];
            }
        }
    }

    /// The covariance of two panels, column by column.
    #[inline(always)]
    fn covariance(&self, i: usize, j: usize, columns: usize) -> [[S::f32s; SIDE]; SIDE] {
        let simd = self.simd;
        let mut tile = self.squares(i, j, columns);
        for c in 0..SIDE {
            for r in 0..SIDE {
                let both = simd.mul_f32s(self.valid[i][r], self.valid[j][c]);
                tile[c][r] = simd.mul_f32s(both, self.kernel.covariance(tile[c][r]));
            }
        }
        if i == j {
            let one = simd.splat_f32s(1.0);
            for r in 0..SIDE {
                // prior + added for a row, 1 for none.
                let more = simd.sub_f32s(simd.add_f32s(self.kernel.prior, self.added), one);
                tile[r][r] = simd.mul_add_e_f32s(self.valid[i][r], more, one);
            }
        }
        tile
    }

    /// The squared distances between the rows of two panels.
    #[inline(always)]
    pub(super) fn squares(&self, i: usize, j: usize, columns: usize) -> [[S::f32s; SIDE]; SIDE] {
        let simd = self.simd;
        let (a, b) = (&self.points[i * columns..][..columns], &self.points[j * columns..][..columns]);
        let mut sums = [[simd.splat_f32s(0.0); SIDE]; SIDE];
        for (a, b) in a.iter().zip(b) {
            for c in 0..SIDE {
                for r in 0..SIDE {
                    let delta = simd.sub_f32s(a[r], b[c]);
                    sums[c][r] = simd.mul_add_e_f32s(delta, delta, sums[c][r]);
                }
            }
        }
        sums
    }

    /// The squared distances between the rows of a panel and the query.
    #[inline(always)]
    pub(super) fn squares_to_query(&self, i: usize, columns: usize) -> [S::f32s; SIDE] {
        let mut sums = [self.simd.splat_f32s(0.0); SIDE];
        for four in &self.points[i * columns..][..columns] {
            for r in 0..SIDE {
                sums[r] = self.simd.mul_add_e_f32s(four[r], four[r], sums[r]);
            }
        }
        sums
    }

    /// The covariances with the query, in the first row below.
    #[inline(always)]
    fn towards(&mut self, columns: usize) {
        for i in 0..self.panels {
            let squares = self.squares_to_query(i, columns);
            for r in 0..SIDE {
                self.below[i][r] = self.simd.mul_f32s(self.valid[i][r], self.kernel.covariance(squares[r]));
            }
        }
    }

    /// The sum over all rows of a product of two rows below.
    #[inline(always)]
    pub(super) fn dot(&self, a: usize, b: usize) -> S::f32s {
        let row = |index: usize| &self.below[index * self.panels..][..self.panels];
        let mut sums = [self.simd.splat_f32s(0.0); SIDE];
        for (a, b) in row(a).iter().zip(row(b)) {
            for r in 0..SIDE {
                sums[r] = self.simd.mul_add_e_f32s(a[r], b[r], sums[r]);
            }
        }
        let [a, b, c, d] = sums;
        self.simd.add_f32s(self.simd.add_f32s(a, b), self.simd.add_f32s(c, d))
    }
}

/// A vector from a number for each lane.
#[inline(always)]
pub(super) fn lanes<S: Simd>(simd: S, number: impl Fn(usize) -> f32) -> S::f32s {
    let mut vector = simd.splat_f32s(0.0);
    let numbers: &mut [f32] = bytemuck::cast_slice_mut(std::slice::from_mut(&mut vector));
    numbers.iter_mut().enumerate().for_each(|(lane, out)| *out = number(lane));
    vector
}

/// `tile[c][r] −= Σ_k a[k][r] · b[k][c]`.
#[inline(always)]
fn subtract<S: Simd, const R: usize>(
    simd: S,
    a: &[[S::f32s; R]],
    b: &[[S::f32s; SIDE]],
    tile: &mut [[S::f32s; R]; SIDE],
) {
    let mut sums = *tile;
    for (a, b) in a.iter().zip(b) {
        for c in 0..SIDE {
            for r in 0..R {
                sums[c][r] = simd.negate_mul_add_e_f32s(a[r], b[c], sums[c][r]);
            }
        }
    }
    *tile = sums;
}

/// Divide a tile by the transposed of a factor on the diagonal.
#[inline(always)]
fn solve<S: Simd, const R: usize>(
    simd: S,
    tile: &mut [[S::f32s; R]; SIDE],
    factor: &[[S::f32s; SIDE]],
    inverse: &[S::f32s; SIDE],
) {
    for c in 0..SIDE {
        for r in 0..R {
            let mut entry = tile[c][r];
            for k in 0..c {
                entry = simd.negate_mul_add_e_f32s(tile[k][r], factor[k][c], entry);
            }
            tile[c][r] = simd.mul_f32s(entry, inverse[c]);
        }
    }
}

/// Factorise a tile on the diagonal; returns the reciprocals of its own diagonal. In exact arithmetic no pivot is below
/// `least`; holding it there keeps rounding from breaking the factorisation.
#[inline(always)]
fn factorise<S: Simd>(simd: S, tile: &mut [[S::f32s; SIDE]; SIDE], least: S::f32s) -> [S::f32s; SIDE] {
    let one = simd.splat_f32s(1.0);
    let mut inverse = [one; SIDE];
    for c in 0..SIDE {
        for k in 0..c {
            for r in c..SIDE {
                tile[c][r] = simd.negate_mul_add_e_f32s(tile[k][r], tile[k][c], tile[c][r]);
            }
        }
        inverse[c] = simd.div_f32s(one, simd.sqrt_f32s(simd.max_f32s(least, tile[c][c])));
        for r in c..SIDE {
            tile[c][r] = simd.mul_f32s(tile[c][r], inverse[c]);
        }
    }
    inverse
}
