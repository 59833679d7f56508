//! Small random choices that the parts of a task are made of.

use crate::rng::Draws;

use super::Range;

/// Uniform in the range.
pub(super) fn uniform(draws: &mut Draws, range: Range<f64>) -> f64 {
    range.low + draws.uniform() * (range.high - range.low)
}

/// Whole number in the range, small ones as likely as large ones on a scale of ratios.
pub(super) fn ratio_integer(draws: &mut Draws, range: Range<usize>) -> usize {
    let real = draws.log_uniform(range.low as f64, (range.high + 1) as f64);
    (real as usize).clamp(range.low, range.high)
}

/// Positive or negative, at even odds.
pub(super) fn sign(draws: &mut Draws) -> f32 {
    if draws.uniform() < 0.5 { -1.0 } else { 1.0 }
}

/// A standard normal, for parameters: the sum of twelve uniforms less six has variance one and close enough tails.
pub(super) fn normal(draws: &mut Draws) -> f32 {
    ((0..12).map(|_| draws.uniform()).sum::<f64>() - 6.0) as f32
}

/// Move `count` random elements to the front, in random order.
pub(super) fn shuffle_front<T>(items: &mut [T], count: usize, draws: &mut Draws) {
    for i in 0..count.min(items.len().saturating_sub(1)) {
        items.swap(i, draws.integer(i, items.len() - 1));
    }
}

/// Shares of which the largest is `ratio` times the smallest, in random order; they need not sum to one.
pub(super) fn shares(count: usize, ratio: f64, draws: &mut Draws) -> Vec<f64> {
    let mut shares: Vec<f64> = (0..count).map(|_| draws.log_uniform(1.0, ratio)).collect();
    shares[0] = 1.0;
    shares[count - 1] = ratio;
    shuffle_front(&mut shares, count, draws);
    shares
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn choices_keep_their_bounds(seed: u64, count in 2usize..12, ratio in 1.0f64..50.0) {
            let mut draws = Key::new(seed).draws();
            let shares = shares(count, ratio, &mut draws);
            let (low, high) = shares.iter().fold((f64::MAX, 0f64), |(l, h), &s| (l.min(s), h.max(s)));
            prop_assert!((high / low - ratio).abs() < 1e-9);
            let mut items: Vec<usize> = (0..count).collect();
            shuffle_front(&mut items, count, &mut draws);
            items.sort_unstable();
            prop_assert!(items.iter().enumerate().all(|(i, &item)| i == item));
            let whole = ratio_integer(&mut draws, Range { low: 2, high: count });
            prop_assert!((2..=count).contains(&whole));
        }
    }
}
