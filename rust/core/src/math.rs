//! Elementary functions in single precision that are the same bits on every platform.
//!
//! `f32::ln` and its like call the platform's C library, whose last bits differ between systems. These are Cephes
//! polynomials (S. Moshier, netlib.org/cephes) in plain multiplications and additions without branches, so that the
//! compiler can vectorise loops over them. Relative error is below 3e-7 on the stated domains.

/// Adding and subtracting 1.5·2²³ rounds a small float to the nearest whole number.
const ROUND: f32 = 12_582_912.0;

#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    coefficients.iter().fold(0.0, |sum, c| sum * x + c)
}

/// Natural logarithm of a positive, normal number.
#[inline(always)]
#[must_use]
pub fn ln(x: f32) -> f32 {
    const SQRT_HALF_BITS: u32 = 0x3F35_04F3;
    let shifted = x.to_bits().wrapping_sub(SQRT_HALF_BITS);
    let exponent = ((shifted as i32) >> 23) as f32;
    let mantissa = f32::from_bits((shifted & 0x007F_FFFF).wrapping_add(SQRT_HALF_BITS));
    let m = mantissa - 1.0;
    let z = m * m;
    let p = polynomial(
        m,
        [
            7.037_683_6e-2,
            -1.151_461e-1,
            1.167_699_9e-1,
            -1.242_014_1e-1,
            1.424_932_3e-1,
            -1.666_805_7e-1,
            2.000_071_5e-1,
            -2.499_999_4e-1,
            3.333_333e-1,
        ],
    );
    let tail = m * z * p - 2.121_944_4e-4 * exponent - 0.5 * z;
    m + tail + 0.693_359_4 * exponent
}

/// Sine and cosine of `2π·turn` for `turn` in `[0, 1]`.
#[inline(always)]
#[must_use]
pub fn sin_cos_turn(turn: f32) -> (f32, f32) {
    let rounded = turn * 4.0 + ROUND;
    let quadrant = rounded.to_bits();
    let r = (turn * 4.0 - (rounded - ROUND)) * std::f32::consts::FRAC_PI_2;
    let z = r * r;
    let s = r + r * z * polynomial(z, [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1]);
    let c = 1.0 - 0.5 * z + z * z * polynomial(z, [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2]);
    let (s, c) = if quadrant & 1 == 0 { (s, c) } else { (c, s) };
    let sin_sign = (quadrant & 2) << 30;
    let cos_sign = (quadrant.wrapping_add(1) & 2) << 30;
    (f32::from_bits(s.to_bits() ^ sin_sign), f32::from_bits(c.to_bits() ^ cos_sign))
}

/// `e^x`; clamped so that the result stays a normal, finite number.
#[inline(always)]
#[must_use]
pub fn exp(x: f32) -> f32 {
    let x = x.clamp(-87.0, 88.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let n = rounded - ROUND;
    let r = x - n * 0.693_359_4 + n * 2.121_944_4e-4;
    let p = polynomial(r, [1.987_569_1e-4, 1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 5e-1]);
    let scale = (rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127)) << 23;
    (p * r * r + r + 1.0) * f32::from_bits(scale)
}

/// Hyperbolic tangent.
#[inline(always)]
#[must_use]
pub fn tanh(x: f32) -> f32 {
    let z = x * x;
    let near = x + x
        * z
        * polynomial(z, [-5.704_988_7e-3, 2.063_909e-2, -5.373_971_5e-2, 1.333_144_2e-1, -3.333_328e-1]);
    let far = (1.0 - 2.0 / (exp(2.0 * x.abs()) + 1.0)).copysign(x);
    if x.abs() < 0.625 { near } else { far }
}

/// Turn logits into probabilities in place.
pub fn softmax(logits: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut total = 0.0;
    for logit in logits.iter_mut() {
        *logit = exp(*logit - top);
        total += *logit;
    }
    for logit in logits.iter_mut() {
        *logit /= total;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(ours: f32, exact: f64, tolerance: f64) -> bool {
        (f64::from(ours) - exact).abs() <= tolerance * exact.abs().max(1e-6)
    }

    proptest! {
        #[test]
        fn ln_is_accurate(x in 1e-37f32..1e37) {
            let exact = f64::from(x).ln();
            prop_assert!((f64::from(ln(x)) - exact).abs() <= 3e-7 * exact.abs().max(0.5));
        }

        #[test]
        fn exp_is_accurate(x in -86f32..87.0) {
            prop_assert!(close(exp(x), f64::from(x).exp(), 3e-7));
        }

        #[test]
        fn tanh_is_accurate(x in -20f32..20.0) {
            prop_assert!(close(tanh(x), f64::from(x).tanh(), 3e-7));
        }

        #[test]
        fn sine_and_cosine_are_accurate(turn in 0f32..=1.0) {
            let (s, c) = sin_cos_turn(turn);
            let angle = f64::from(turn) * std::f64::consts::TAU;
            prop_assert!((f64::from(s) - angle.sin()).abs() < 3e-7);
            prop_assert!((f64::from(c) - angle.cos()).abs() < 3e-7);
        }

        #[test]
        fn softmax_sums_to_one(mut logits in prop::collection::vec(-50f32..50.0, 1..12)) {
            softmax(&mut logits);
            prop_assert!((logits.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            prop_assert!(logits.iter().all(|p| (0.0..=1.0).contains(p)));
        }
    }

    #[test]
    fn ends_of_the_domains() {
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(tanh(0.0), 0.0);
        assert_eq!((tanh(100.0), tanh(-100.0)), (1.0, -1.0));
        assert!(exp(1e9).is_finite() && exp(-1e9) > 0.0);
        assert_eq!(sin_cos_turn(0.0), (0.0, 1.0));
    }
}
