//! Gradients of `local_solve`, from those of its mean and variance.
//!
//! With β = A⁻¹k and α = A⁻¹R·ḡ, where ḡ and v̄ are the gradients of mean and variance, those of k and A are
//!
//! ```text
//! α − 2v̄·β      and      v̄·ββ' − (βα' + αβ')/2
//! ```
//!
//! The rest is the chain rule over pairs of rows. Relative to the query, all that distances see, the gradient of the query
//! is the negative sum of those of its rows. The signals are also in the prior variance of the query and, by the jitter, in
//! the noise.

#![allow(clippy::needless_range_loop, reason = "rows and columns of a tile go by number, as in formulas")]

use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

use super::group::{Group, SIDE, Scratch, lanes, start};
use super::kernel::{Kernel, TINY};
use super::local_solve::{QUERIES, SolveInput, SolveSizes, check};
use super::{MAX_KEPT, expect};
use crate::Result;

/// Numbers of a task's kernel beside its relevances: two signals, stretch and noise.
const SCALARS: usize = 4;

/// The gradients of what a solve wrote.
#[derive(Debug, Clone, Copy)]
pub struct SolveGradient<'a> {
    /// `[T, M, O]`.
    pub mean: &'a [f32],
    /// `[T, M]`.
    pub variance: &'a [f32],
}

/// The gradients of what a solve read.
#[derive(Debug)]
pub struct SolveSlopes<'a> {
    /// `[T, M, D]`.
    pub query: &'a mut [f32],
    /// `[T, M, K, D]`, zero in empty slots.
    pub kept_x: &'a mut [f32],
    /// `[T, M, K, O]`, zero in empty slots.
    pub residual: &'a mut [f32],
    /// `[T, D]`.
    pub relevance: &'a mut [f32],
    /// `[T, 2]`.
    pub signal: &'a mut [f32],
    /// `[T]`.
    pub stretch: &'a mut [f32],
    /// `[T]`.
    pub noise: &'a mut [f32],
}

/// Gradients of `local_solve`; the shared ones are summed over queries in their order.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn local_solve_backward(
    sizes: SolveSizes,
    input: SolveInput<'_>,
    gradient: SolveGradient<'_>,
    slopes: SolveSlopes<'_>,
) -> Result<()> {
    let SolveSizes { tasks, queries, kept, columns, outputs } = sizes;
    check(sizes, input, gradient.mean.len(), gradient.variance.len())?;
    let lengths: [(&str, usize, &[usize]); 7] = [
        ("query slope", slopes.query.len(), &[tasks, queries, columns]),
        ("kept_x slope", slopes.kept_x.len(), &[tasks, queries, kept, columns]),
        ("residual slope", slopes.residual.len(), &[tasks, queries, kept, outputs]),
        ("relevance slope", slopes.relevance.len(), &[tasks, columns]),
        ("signal slope", slopes.signal.len(), &[tasks, 2]),
        ("stretch slope", slopes.stretch.len(), &[tasks]),
        ("noise slope", slopes.noise.len(), &[tasks]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect("local_solve", name, *length, axes))?;
    // Of each query: relevance, signal, stretch, noise.
    let wide = columns + SCALARS;
    let mut shared = vec![0.0f32; tasks * queries * wide];
    crate::parallel::run(|| {
        shared
            .par_chunks_mut(QUERIES * wide)
            .zip(slopes.query.par_chunks_mut(QUERIES * columns))
            .zip(slopes.kept_x.par_chunks_mut(QUERIES * kept * columns))
            .zip(slopes.residual.par_chunks_mut(QUERIES * kept * outputs))
            .enumerate()
            .for_each_init(Default::default, |memory, (block, (((shared, query), kept_x), residual))| {
                let first = block * QUERIES;
                let out = Out { shared, query, kept_x, residual };
                Arch::new().dispatch(Backward { sizes, input, gradient, first, out, memory });
            });
        Ok(())
    })?;
    for task in 0..tasks {
        let mut sums = vec![0.0f64; wide];
        for row in shared[task * queries * wide..(task + 1) * queries * wide].chunks_exact(wide) {
            sums.iter_mut().zip(row).for_each(|(sum, v)| *sum += f64::from(*v));
        }
        let sums: Vec<f32> = sums.iter().map(|sum| *sum as f32).collect();
        slopes.relevance[task * columns..(task + 1) * columns].copy_from_slice(&sums[..columns]);
        slopes.signal[2 * task..][..2].copy_from_slice(&sums[columns..][..2]);
        (slopes.stretch[task], slopes.noise[task]) = (sums[columns + 2], sums[columns + 3]);
    }
    Ok(())
}

/// What is written of a block of queries.
struct Out<'a> {
    shared: &'a mut [f32],
    query: &'a mut [f32],
    kept_x: &'a mut [f32],
    residual: &'a mut [f32],
}

struct Backward<'a> {
    sizes: SolveSizes,
    input: SolveInput<'a>,
    gradient: SolveGradient<'a>,
    first: usize,
    out: Out<'a>,
    memory: &'a mut (Scratch, Vec<f32>),
}

impl WithSimd for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { sizes, input, gradient, first, mut out, memory: (scratch, floats) } = self;
        let count = out.query.len() / sizes.columns;
        for part in (0..count).step_by(S::F32_LANES) {
            let units = (first + part, first + count - 1);
            let mut group = Group::gather(simd, sizes, input, units, scratch);
            group.eliminate(sizes.columns);
            let live = S::F32_LANES.min(count - part);
            write(&group, sizes, input, gradient, floats, (part, live), &mut out);
        }
    }
}

/// The gradients of one group, whose first query is `part` of the block and of which `live` are not repeated.
#[inline(always)]
fn write<S: Simd>(
    group: &Group<'_, S>,
    sizes: SolveSizes,
    input: SolveInput<'_>,
    gradient: SolveGradient<'_>,
    floats: &mut Vec<f32>,
    (part, live): (usize, usize),
    out: &mut Out<'_>,
) {
    let SolveSizes { queries, kept, columns, outputs, .. } = sizes;
    let (simd, units, panels) = (group.simd, group.units, group.panels);
    let zero = simd.splat_f32s(0.0);
    let variance = simd.sub_f32s(group.kernel.prior, group.dot(0, 0));
    let unclamped = numbers::<S>(&variance);
    // No gradient passes where the variance was held at zero.
    let rise = lanes(simd, |lane| if unclamped[lane] < 0.0 { 0.0 } else { gradient.variance[units[lane]] });

    let mut beta = [[zero; SIDE]; MAX_KEPT / SIDE];
    let mut alpha = beta;
    beta[..panels].copy_from_slice(&group.below[..panels]);
    for output in 0..outputs {
        let share = lanes(simd, |lane| gradient.mean[units[lane] * outputs + output]);
        for (sum, row) in alpha.iter_mut().zip(&group.below[(1 + output) * panels..][..panels]) {
            for r in 0..SIDE {
                sum[r] = simd.mul_add_e_f32s(share, row[r], sum[r]);
            }
        }
    }
    substitute_back(group, &mut beta[..panels]);
    substitute_back(group, &mut alpha[..panels]);
    let (beta, alpha) = (&beta[..panels], &alpha[..panels]);

    // One vector more, to begin where a vector may.
    let vectors = panels * columns * SIDE;
    floats.clear();
    floats.resize((vectors + 1) * S::F32_LANES, 0.0);
    let skip = floats.as_ptr().align_offset(size_of::<S::f32s>()).min(S::F32_LANES);
    let bars = S::as_mut_simd_f32s(&mut floats[skip..]).0[..vectors].as_chunks_mut::<SIDE>().0;
    let (passed, noise) = through_pairs(group, columns, rise, beta, alpha, bars);

    // To both signals alike: by the query's prior variance and by the jitter.
    let prior = simd.mul_add_e_f32s(simd.splat_f32s(input.jitter), noise, rise);
    let signal = passed.signal.map(|own| simd.add_f32s(prior, own));
    let scalars = [signal[0], signal[1], passed.stretch(&group.kernel), noise];
    for lane in 0..live {
        let (local, task) = (part + lane, units[lane] / queries);
        let shared = &mut out.shared[local * (columns + SCALARS)..][..columns + SCALARS];
        for (out, scalar) in shared[columns..].iter_mut().zip(&scalars) {
            *out = numbers::<S>(scalar)[lane];
        }
        let bars: &[f32] = bytemuck::cast_slice(bars.as_flattened());
        let points: &[f32] = bytemuck::cast_slice(group.points.as_flattened());
        let weights: &[f32] = bytemuck::cast_slice(beta.as_flattened());
        let roots: &[f32] = bytemuck::cast_slice(group.roots);
        let query = &mut out.query[local * columns..][..columns];
        query.fill(0.0);
        let kept_x = &mut out.kept_x[local * kept * columns..][..kept * columns];
        let residual = &mut out.residual[local * kept * outputs..][..kept * outputs];
        kept_x.fill(0.0);
        residual.fill(0.0);
        for (row, slot) in group.slots[lane].iter().enumerate() {
            for d in 0..columns {
                let at = ((row / SIDE * columns + d) * SIDE + row % SIDE) * S::F32_LANES + lane;
                let bar = bars[at] * roots[d * S::F32_LANES + lane];
                kept_x[slot * columns + d] = bar;
                query[d] -= bar;
                shared[d] += bars[at] * points[at];
            }
            for (output, out) in residual[slot * outputs..][..outputs].iter_mut().enumerate() {
                *out = weights[row * S::F32_LANES + lane] * gradient.mean[units[lane] * outputs + output];
            }
        }
        for (out, relevance) in shared.iter_mut().zip(&input.relevance[task * columns..][..columns]) {
            *out = if *relevance < TINY { 0.0 } else { *out / (2.0 * relevance) };
        }
    }
}

#[inline(always)]
fn numbers<S: Simd>(vector: &S::f32s) -> &[f32] {
    bytemuck::cast_slice(std::slice::from_ref(vector))
}

/// L⁻ᵀ times a vector, in place.
#[inline(always)]
fn substitute_back<S: Simd>(group: &Group<'_, S>, vector: &mut [[S::f32s; SIDE]]) {
    let simd = group.simd;
    for j in (0..vector.len()).rev() {
        let mut sums = vector[j];
        for (i, below) in vector.iter().enumerate().skip(j + 1) {
            let tile = &group.factor[start(i) + SIDE * j..][..SIDE];
            for c in 0..SIDE {
                for r in 0..SIDE {
                    sums[c] = simd.negate_mul_add_e_f32s(tile[c][r], below[r], sums[c]);
                }
            }
        }
        let tile = &group.factor[start(j) + SIDE * j..][..SIDE];
        for c in (0..SIDE).rev() {
            for r in c + 1..SIDE {
                sums[c] = simd.negate_mul_add_e_f32s(tile[c][r], sums[r], sums[c]);
            }
            sums[c] = simd.mul_f32s(sums[c], group.inverse[j][c]);
        }
        vector[j] = sums;
    }
}

/// What covariances pass on to the kernel's own parameters.
#[derive(Clone, Copy)]
struct Passed<S: Simd> {
    simd: S,
    signal: [S::f32s; 2],
    /// To the stretch, but for a factor that all covariances share.
    bend: S::f32s,
}

impl<S: Simd> Passed<S> {
    #[inline(always)]
    fn none(simd: S) -> Self {
        let zero = simd.splat_f32s(0.0);
        Self { simd, signal: [zero; 2], bend: zero }
    }

    /// Take in a covariance whose gradient is `bar`; returns its pull at the points: −2 ∂/∂s.
    #[inline(always)]
    fn take(&mut self, kernel: &Kernel<S>, bar: S::f32s, square: S::f32s) -> S::f32s {
        let (simd, shapes) = (self.simd, kernel.shapes(square));
        for part in 0..2 {
            self.signal[part] = simd.mul_add_e_f32s(bar, shapes[part], self.signal[part]);
        }
        self.bend = simd.mul_add_e_f32s(bar, simd.mul_f32s(square, shapes[1]), self.bend);
        simd.mul_f32s(bar, kernel.pull(square, shapes))
    }

    /// Take in what others took, times `share`.
    #[inline(always)]
    fn add(&mut self, share: f32, other: Self) {
        let (simd, share) = (self.simd, self.simd.splat_f32s(share));
        for part in 0..2 {
            self.signal[part] = simd.mul_add_e_f32s(share, other.signal[part], self.signal[part]);
        }
        self.bend = simd.mul_add_e_f32s(share, other.bend, self.bend);
    }

    #[inline(always)]
    fn stretch(&self, kernel: &Kernel<S>) -> S::f32s {
        self.simd.mul_f32s(kernel.bent(), self.bend)
    }
}

/// Add up the gradients of the scaled points, `[panel][D][4]`; returns those of the kernel and of the noise.
#[inline(always)]
fn through_pairs<S: Simd>(
    group: &Group<'_, S>,
    columns: usize,
    rise: S::f32s,
    beta: &[[S::f32s; SIDE]],
    alpha: &[[S::f32s; SIDE]],
    bars: &mut [[S::f32s; SIDE]],
) -> (Passed<S>, S::f32s) {
    let (simd, kernel) = (group.simd, &group.kernel);
    let mut passed = Passed::none(simd);
    let twice = simd.add_f32s(rise, rise);
    let mut noise = simd.splat_f32s(0.0);
    for i in 0..group.panels {
        let mut towards = group.squares_to_query(i, columns);
        for r in 0..SIDE {
            noise = simd.mul_add_e_f32s(simd.mul_f32s(rise, beta[i][r]), beta[i][r], noise);
            noise = simd.negate_mul_add_e_f32s(alpha[i][r], beta[i][r], noise);
            let bar = simd.negate_mul_add_e_f32s(twice, beta[i][r], alpha[i][r]);
            towards[r] = passed.take(kernel, simd.mul_f32s(bar, group.valid[i][r]), towards[r]);
        }
        let points = &group.points[i * columns..][..columns];
        for (bar, point) in bars[i * columns..][..columns].iter_mut().zip(points) {
            for r in 0..SIDE {
                bar[r] = simd.negate_mul_add_e_f32s(towards[r], point[r], bar[r]);
            }
        }
        for j in 0..=i {
            let mut pull = group.squares(i, j, columns);
            let mut ours = Passed::none(simd);
            for c in 0..SIDE {
                // Invalid rows have neither α nor β.
                let own = simd.sub_f32s(simd.mul_f32s(twice, beta[j][c]), alpha[j][c]);
                for r in 0..SIDE {
                    let both = simd.mul_f32s(own, beta[i][r]);
                    let both = simd.negate_mul_add_e_f32s(beta[j][c], alpha[i][r], both);
                    pull[c][r] = ours.take(kernel, both, pull[c][r]);
                }
            }
            // A panel with itself holds every pair in both orders.
            passed.add(if i == j { 0.5 } else { 1.0 }, ours);
            pull_apart(group, columns, (i, j), &pull, bars);
        }
    }
    (passed, noise)
}

/// What the pairs of two panels add to the gradients of their points.
#[inline(always)]
fn pull_apart<S: Simd>(
    group: &Group<'_, S>,
    columns: usize,
    (i, j): (usize, usize),
    pull: &[[S::f32s; SIDE]; SIDE],
    bars: &mut [[S::f32s; SIDE]],
) {
    let simd = group.simd;
    for d in 0..columns {
        let (a, b) = (group.points[i * columns + d], group.points[j * columns + d]);
        let (mut ours, mut theirs) = (bars[i * columns + d], bars[j * columns + d]);
        for c in 0..SIDE {
            for r in 0..SIDE {
                let delta = simd.sub_f32s(a[r], b[c]);
                ours[r] = simd.negate_mul_add_e_f32s(pull[c][r], delta, ours[r]);
                theirs[c] = simd.mul_add_e_f32s(pull[c][r], delta, theirs[c]);
            }
        }
        // As above: of a panel with itself one side is enough.
        if i != j {
            bars[j * columns + d] = theirs;
        }
        bars[i * columns + d] = ours;
    }
}
