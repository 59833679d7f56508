//! Functions of single numbers that the compiler vectorises in loops over slices, and sums over slices.

use crate::math;

/// 1 / (1 + e⁻ˣ), to a few units of the last place on either side.
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    let small = math::exp(-x.abs());
    let share = 1.0 / (1.0 + small);
    if x < 0.0 { small * share } else { share }
}

/// ln(1 + eˣ), to a few units of the last place on either side.
///
/// The rounding of 1 + s is undone by dividing by what came of s (Kahan's log1p).
#[inline(always)]
pub(super) fn softplus(x: f32) -> f32 {
    let small = math::exp(-x.abs());
    let sum = 1.0 + small;
    let tail = if sum == 1.0 { small } else { math::ln(sum) * small / (sum - 1.0) };
    if x > 0.0 { x + tail } else { tail }
}

const LANES: usize = 16;

/// Σ a·b, in lanes that are added in order.
#[inline(always)]
pub(super) fn dot(a: &[f32], b: &[f32]) -> f32 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += a * b;
    }
    lanes.iter().sum()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn relative_errors_are_small(x in -80f32..80.0) {
            let exact = f64::from(x);
            let (share, plus) = (1.0 / (1.0 + (-exact).exp()), exact.exp().ln_1p());
            prop_assert!((f64::from(sigmoid(x)) - share).abs() <= 6e-7 * share);
            prop_assert!((f64::from(softplus(x)) - plus).abs() <= 1e-6 * plus);
        }

        #[test]
        fn a_product_of_whole_numbers_is_exact(a in prop::collection::vec(-9i8..9, 0..70)) {
            let wanted: i32 = a.iter().map(|a| i32::from(*a) * i32::from(*a)).sum();
            let a: Vec<f32> = a.iter().map(|a| f32::from(*a)).collect();
            prop_assert_eq!(dot(&a, &a), wanted as f32);
        }
    }
}
