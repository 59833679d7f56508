//! The state of a chunk advances towards its gradient, and the squares of its features are summed as they pass by.

use pulp::{Scalar, Simd, WithSimd};

use super::UpdateRule;
use super::features::{Factors, SQUARE_FLOOR};

/// Parameters that pass by together: all that belongs to them stays in the first-level cache.
const PART: usize = 512;

/// A chunk of one tensor.
pub(super) struct Advance<'a, 'b> {
    pub(super) rule: UpdateRule<'a>,
    pub(super) factors: &'a Factors<'a>,
    /// Place of the first parameter in its tensor.
    pub(super) first: usize,
    pub(super) gradient: &'a [f32],
    pub(super) parameter: &'a [f32],
    pub(super) momentum: Vec<&'b mut [f32]>,
    pub(super) square: &'a mut [f32],
}

impl WithSimd for Advance<'_, '_> {
    /// Of the squares of g, p, m \[K\], v, m/√v \[K\], 1/√v, g·f \[F\] and m·f \[F\]: features that differ between all
    /// parameters of a tensor.
    type Output = Vec<f32>;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Vec<f32> {
        let Self { rule, factors, first, gradient, parameter, mut momentum, square } = self;
        let (momenta, factored) = (rule.momentum_decay.len(), rule.factored_decay.len());
        let mut sums = vec![0.0; 4 + 2 * momenta + 2 * factored];
        let mut multiplier = [0.0; PART];
        let parts = gradient.chunks(PART).zip(parameter.chunks(PART)).zip(square.chunks_mut(PART));
        for (place, ((gradient, parameter), square)) in parts.enumerate() {
            let own = place * PART..place * PART + gradient.len();
            let multiplier = &mut multiplier[..gradient.len()];
            let [g, p, v, r] =
                of_square(simd, rule.square_decay, (gradient, parameter), (square, multiplier));
            sums[0] += g;
            sums[1] += p;
            sums[2 + momenta] += v;
            sums[3 + 2 * momenta] += r;
            for (k, (momentum, decay)) in momentum.iter_mut().zip(rule.momentum_decay).enumerate() {
                let [m, ratio] =
                    of_momentum(simd, *decay, (gradient, multiplier), &mut momentum[own.clone()]);
                sums[2 + k] += m;
                sums[3 + momenta + k] += ratio;
            }
            for (k, ((row, column), momentum)) in factors.pairs().zip(&momentum).enumerate() {
                factors.product(row, column, first + own.start, multiplier);
                sums[4 + 2 * momenta + k] += of_product(simd, gradient, multiplier);
                sums[4 + 2 * momenta + factored + k] += of_product(simd, &momentum[own.clone()], multiplier);
            }
        }
        sums
    }
}

/// Decay the mean square; write 1/(v + floor), the square of 1/√v; the sums for g, p, v and 1/√v.
#[inline(always)]
fn of_square<S: Simd>(
    simd: S,
    decay: f32,
    (gradient, parameter): (&[f32], &[f32]),
    (square, inverse): (&mut [f32], &mut [f32]),
) -> [f32; 4] {
    let ((g, g_rest), (p, p_rest)) = (S::as_simd_f32s(gradient), S::as_simd_f32s(parameter));
    let ((v, v_rest), (r, r_rest)) = (S::as_mut_simd_f32s(square), S::as_mut_simd_f32s(inverse));
    let whole = square_lanes(simd, decay, (g, p), (v, r));
    let rest = square_lanes(Scalar::new(), decay, (g_rest, p_rest), (v_rest, r_rest));
    std::array::from_fn(|i| whole[i] + rest[i])
}

#[inline(always)]
fn square_lanes<S: Simd>(
    simd: S,
    decay: f32,
    (gradient, parameter): (&[S::f32s], &[S::f32s]),
    (square, inverse): (&mut [S::f32s], &mut [S::f32s]),
) -> [f32; 4] {
    let [keep, fresh, floor, one] = [decay, 1.0 - decay, SQUARE_FLOOR, 1.0].map(|v| simd.splat_f32s(v));
    let mut sums = [simd.splat_f32s(0.0); 4];
    for (((g, p), v), r) in gradient.iter().zip(parameter).zip(square).zip(inverse) {
        let squared = simd.mul_f32s(*g, *g);
        *v = simd.mul_add_e_f32s(keep, *v, simd.mul_f32s(fresh, squared));
        *r = simd.div_f32s(one, simd.add_f32s(*v, floor));
        sums = [
            simd.add_f32s(sums[0], squared),
            simd.mul_add_e_f32s(*p, *p, sums[1]),
            simd.mul_add_e_f32s(*v, *v, sums[2]),
            simd.add_f32s(sums[3], *r),
        ];
    }
    sums.map(|sum| simd.reduce_sum_f32s(sum))
}

/// Decay a momentum; the sums for m and, with the inverse of v at hand, m/√v.
#[inline(always)]
fn of_momentum<S: Simd>(
    simd: S,
    decay: f32,
    (gradient, inverse): (&[f32], &[f32]),
    momentum: &mut [f32],
) -> [f32; 2] {
    let ((g, g_rest), (r, r_rest)) = (S::as_simd_f32s(gradient), S::as_simd_f32s(inverse));
    let (m, m_rest) = S::as_mut_simd_f32s(momentum);
    let whole = momentum_lanes(simd, decay, (g, r), m);
    let rest = momentum_lanes(Scalar::new(), decay, (g_rest, r_rest), m_rest);
    [whole[0] + rest[0], whole[1] + rest[1]]
}

#[inline(always)]
fn momentum_lanes<S: Simd>(
    simd: S,
    decay: f32,
    (gradient, inverse): (&[S::f32s], &[S::f32s]),
    momentum: &mut [S::f32s],
) -> [f32; 2] {
    let (keep, fresh) = (simd.splat_f32s(decay), simd.splat_f32s(1.0 - decay));
    let mut sums = [simd.splat_f32s(0.0); 2];
    for ((g, r), m) in gradient.iter().zip(inverse).zip(momentum) {
        *m = simd.mul_add_e_f32s(keep, *m, simd.mul_f32s(fresh, *g));
        let squared = simd.mul_f32s(*m, *m);
        sums = [simd.add_f32s(sums[0], squared), simd.mul_add_e_f32s(squared, *r, sums[1])];
    }
    sums.map(|sum| simd.reduce_sum_f32s(sum))
}

/// Σ (a·b)².
#[inline(always)]
fn of_product<S: Simd>(simd: S, a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (S::as_simd_f32s(a), S::as_simd_f32s(b));
    product_lanes(simd, a, b) + product_lanes(Scalar::new(), a_rest, b_rest)
}

#[inline(always)]
fn product_lanes<S: Simd>(simd: S, a: &[S::f32s], b: &[S::f32s]) -> f32 {
    let mut sum = simd.splat_f32s(0.0);
    for (a, b) in a.iter().zip(b) {
        let product = simd.mul_f32s(*a, *b);
        sum = simd.mul_add_e_f32s(product, product, sum);
    }
    simd.reduce_sum_f32s(sum)
}
