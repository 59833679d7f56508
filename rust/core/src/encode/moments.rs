//! Count, weight, mean, spread and range of numbers, mergeable.
//!
//! References: Welford, "Note on a method for calculating corrected sums of squares and products", Technometrics 4
//! (1962); Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979.

/// Sums run in this many lanes, so that the compiler can work on them side by side in an order that is fixed.
const LANES: usize = 8;

/// What is known of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Moments {
    /// How many there were.
    pub count: u64,
    /// The sum of their weights; the count where none were given.
    pub weight: f64,
    /// The weighted mean; 0 without any weight.
    pub mean: f64,
    /// The weighted sum of squared distances from the mean.
    pub squares: f64,
    /// The smallest; infinite where there was none.
    pub min: f64,
    /// The largest; minus infinity where there was none.
    pub max: f64,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, weight: 0.0, mean: 0.0, squares: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY }
    }
}

impl Moments {
    /// Those of one block of finite numbers: first its mean, then the distances from it.
    #[must_use]
    pub fn of(values: &[f64], weights: Option<&[f64]>) -> Self {
        let weight = weights.map_or(values.len() as f64, |w| sum(w, |w| w));
        let total = match weights {
            None => sum(values, |v| v),
            Some(weights) => pairs(values, weights, |v, w| v * w),
        };
        let mean = if weight > 0.0 { total / weight } else { 0.0 };
        let squares = match weights {
            None => sum(values, |v| (v - mean) * (v - mean)),
            Some(weights) => pairs(values, weights, |v, w| w * (v - mean) * (v - mean)),
        };
        let min = values.iter().copied().fold(f64::INFINITY, f64::min);
        let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Self { count: values.len() as u64, weight, mean, squares, min, max }
    }

    /// Add those of other numbers.
    pub fn merge(&mut self, other: &Self) {
        let weight = self.weight + other.weight;
        if weight > 0.0 {
            let (share, step) = (other.weight / weight, other.mean - self.mean);
            self.squares += other.squares + step * step * share * self.weight;
            self.mean += step * share;
        }
        self.weight = weight;
        self.count += other.count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The mean squared distance from the mean; 0 without any weight.
    #[must_use]
    pub fn variance(&self) -> f64 {
        if self.weight > 0.0 { self.squares / self.weight } else { 0.0 }
    }
}

fn sum(values: &[f64], term: impl Fn(f64) -> f64) -> f64 {
    let mut lanes = [0.0; LANES];
    let (chunks, rest) = values.as_chunks::<LANES>();
    for chunk in chunks {
        for (lane, &value) in lanes.iter_mut().zip(chunk) {
            *lane += term(value);
        }
    }
    lanes.iter().sum::<f64>() + rest.iter().map(|&value| term(value)).sum::<f64>()
}

fn pairs(values: &[f64], weights: &[f64], term: impl Fn(f64, f64) -> f64) -> f64 {
    values.iter().zip(weights).map(|(&value, &weight)| term(value, weight)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn folded(parts: &[&[f64]]) -> Moments {
        let mut all = Moments::default();
        parts.iter().for_each(|part| all.merge(&Moments::of(part, None)));
        all
    }

    /// 10⁹ + 4, 7, 13, 16 has the variance 22.5; sums of squares would lose it to rounding.
    #[test]
    fn a_far_mean_costs_no_digits() {
        let values = [1e9 + 4.0, 1e9 + 7.0, 1e9 + 13.0, 1e9 + 16.0];
        for parts in [&[&values[..]][..], &[&values[..1], &values[1..]], &[&values[..2], &[], &values[2..]]] {
            let m = folded(parts);
            assert_eq!(
                (m.count, m.mean, m.variance(), m.min, m.max),
                (4, 1e9 + 10.0, 22.5, 1e9 + 4.0, 1e9 + 16.0)
            );
        }
    }

    #[test]
    fn a_weight_is_a_number_of_copies() {
        let copies = Moments::of(&[1.0, 1.0, 1.0, 5.0, 2.0, 2.0], None);
        let mut weighted = Moments::of(&[1.0, 5.0], Some(&[3.0, 1.0]));
        weighted.merge(&Moments::of(&[2.0, 100.0], Some(&[2.0, 0.0])));
        assert_eq!((weighted.weight, weighted.mean), (copies.weight, copies.mean));
        assert!((weighted.variance() - copies.variance()).abs() < 1e-15);
        assert_eq!((weighted.count, weighted.max), (4, 100.0));
    }

    #[test]
    fn nothing_has_moments_too() {
        let mut nothing = Moments::of(&[], None);
        nothing.merge(&Moments::default());
        assert_eq!(nothing, Moments::default());
        assert_eq!(Moments::of(&[3.0], Some(&[0.0])).variance(), 0.0);
    }

    proptest! {
        #[test]
        fn merging_is_seeing_all(values in prop::collection::vec(-1e6f64..1e6, 1..300), cut in 0.0f64..1.0) {
            let cut = (values.len() as f64 * cut) as usize;
            let (whole, merged) = (Moments::of(&values, None), folded(&[&values[..cut], &values[cut..]]));
            prop_assert!((whole.mean - merged.mean).abs() <= 1e-9);
            prop_assert!((whole.squares - merged.squares).abs() <= 1e-12 * whole.squares + 1e-9);
            prop_assert_eq!((whole.count, whole.min, whole.max), (merged.count, merged.min, merged.max));
        }
    }
}
