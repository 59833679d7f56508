//! The local kernel in vectors: a rough and a smooth part under one squared distance.
//!
//! `k(s) = signal₀ · exp(−√s) + signal₁ · exp(−stretch · s / 2)`, Matérn-1/2 and squared exponential (Rasmussen and Williams,
//! Gaussian Processes for Machine Learning, 2006, eq. 4.18 and 4.9).

use pulp::Simd;

/// The least relevance; its root is a normal number.
pub(super) const TINY: f32 = 1e-30;

/// The kernel of each lane's task.
#[derive(Clone, Copy)]
pub(super) struct Kernel<S: Simd> {
    simd: S,
    signal: [S::f32s; 2],
    stretch: S::f32s,
    /// −stretch / 2.
    decay: S::f32s,
    /// The prior variance: the sum of the signals.
    pub(super) prior: S::f32s,
}

impl<S: Simd> Kernel<S> {
    #[inline(always)]
    pub(super) fn new(simd: S, signal: [S::f32s; 2], stretch: S::f32s) -> Self {
        let decay = simd.mul_f32s(simd.splat_f32s(-0.5), stretch);
        Self { simd, signal, stretch, decay, prior: simd.add_f32s(signal[0], signal[1]) }
    }

    /// k(s).
    #[inline(always)]
    pub(super) fn covariance(&self, square: S::f32s) -> S::f32s {
        let [rough, smooth] = self.shapes(square);
        let rough = self.simd.mul_f32s(self.signal[0], rough);
        self.simd.mul_add_e_f32s(self.signal[1], smooth, rough)
    }

    /// ∂k(s) / ∂signal: both parts at unit signal.
    #[inline(always)]
    pub(super) fn shapes(&self, square: S::f32s) -> [S::f32s; 2] {
        let simd = self.simd;
        [exp(simd, simd.neg_f32s(simd.sqrt_f32s(square))), exp(simd, simd.mul_f32s(self.decay, square))]
    }

    /// −2 ∂k(s) / ∂s from the shapes at s; of no account where s is 0.
    #[inline(always)]
    pub(super) fn pull(&self, square: S::f32s, [rough, smooth]: [S::f32s; 2]) -> S::f32s {
        let simd = self.simd;
        let radius = simd.sqrt_f32s(simd.max_f32s(square, simd.splat_f32s(TINY)));
        let rough = simd.div_f32s(simd.mul_f32s(self.signal[0], rough), radius);
        simd.mul_add_e_f32s(simd.mul_f32s(self.stretch, self.signal[1]), smooth, rough)
    }

    /// ∂k(s) / ∂stretch over `s · smooth`, which is the same for every s.
    #[inline(always)]
    pub(super) fn bent(&self) -> S::f32s {
        self.simd.mul_f32s(self.simd.splat_f32s(-0.5), self.signal[1])
    }
}

/// `e^x` of numbers that are not positive, as `crate::math::exp`.
#[inline(always)]
fn exp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    const ROUND: f32 = 12_582_912.0;
    const COEFFICIENTS: [f32; 7] =
        [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1, 1.0];
    let splat = |v| simd.splat_f32s(v);
    let x = simd.max_f32s(splat(-87.0), x);
    let rounded = simd.mul_add_e_f32s(x, splat(std::f32::consts::LOG2_E), splat(ROUND));
    let n = simd.sub_f32s(rounded, splat(ROUND));
    let r = simd.mul_add_e_f32s(n, splat(-0.693_359_4), x);
    let r = simd.mul_add_e_f32s(n, splat(2.121_944_4e-4), r);
    let mut p = splat(COEFFICIENTS[0]);
    for coefficient in &COEFFICIENTS[1..] {
        p = simd.mul_add_e_f32s(p, r, splat(*coefficient));
    }
    let p = simd.mul_add_e_f32s(p, r, splat(1.0));
    let bias = simd.splat_u32s(127u32.wrapping_sub(ROUND.to_bits()));
    let exponent = simd.add_u32s(simd.transmute_u32s_f32s(rounded), bias);
    let scale = simd.wrapping_dyn_shl_u32s(exponent, simd.splat_u32s(23));
    simd.mul_f32s(p, simd.transmute_f32s_u32s(scale))
}
