//! What a task learns about its own columns, once, from a fixed sample of its rows.

/// Rows of that sample, and of the tiles that rows are drawn in.
pub(super) const PILOT: usize = 256;

/// Below this standard deviation a column counts as constant.
const FLAT: f64 = 1e-4;

/// `(value - shift) * scale` has mean zero and variance one over the sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Standard {
    pub(super) shift: f32,
    pub(super) scale: f32,
}

impl Standard {
    /// None where the values are constant.
    pub(super) fn of(values: &[f32]) -> Option<Self> {
        let n = values.len() as f64;
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n;
        let square = values.iter().map(|&v| (f64::from(v) - mean) * (f64::from(v) - mean)).sum::<f64>() / n;
        let sd = square.sqrt();
        (sd > FLAT).then(|| Self { shift: mean as f32, scale: (1.0 / sd) as f32 })
    }

    pub(super) fn apply(self, values: &mut [f32]) {
        values.iter_mut().for_each(|v| *v = (*v - self.shift) * self.scale);
    }
}

/// The values in ascending order.
pub(super) fn sorted(values: &[f32]) -> Vec<f32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f32::total_cmp);
    sorted
}

/// Between the values at the ends of each of the `shares`, but for the last: as many cuts as there are shares, less
/// one; fewer where the values are tied.
pub(super) fn cuts(sorted: &[f32], shares: &[f64]) -> Vec<f32> {
    let total: f64 = shares.iter().sum();
    let mut sum = 0.0;
    let mut cuts: Vec<f32> = shares[..shares.len() - 1]
        .iter()
        .map(|share| {
            sum += share;
            let at = ((sum / total * sorted.len() as f64 + 0.5) as usize).clamp(1, sorted.len() - 1);
            0.5 * (sorted[at - 1] + sorted[at])
        })
        .collect();
    cuts.dedup();
    cuts
}

/// Cuts that tell all values apart, where no more than `most` are different.
pub(super) fn between_distinct(sorted: &[f32], most: usize) -> Option<Vec<f32>> {
    let mut distinct = sorted.to_vec();
    distinct.dedup();
    (2..=most)
        .contains(&distinct.len())
        .then(|| distinct.windows(2).map(|pair| 0.5 * (pair[0] + pair[1])).collect())
}

/// How many of the cuts each value lies above.
pub(super) fn count_above(cuts: &[f32], values: &[f32], above: &mut [u32]) {
    above.fill(0);
    for &cut in cuts {
        above.iter_mut().zip(values).for_each(|(count, &v)| *count += u32::from(v > cut));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn standardised_values_have_mean_zero_and_variance_one() {
        let mut values: Vec<f32> = (0..100).map(|i| 3.0 + 0.5 * i as f32).collect();
        Standard::of(&values).unwrap().apply(&mut values);
        let again = Standard::of(&values).unwrap();
        assert!(again.shift.abs() < 1e-5 && (again.scale - 1.0).abs() < 1e-5);
        assert_eq!(Standard::of(&[2.0; 7]), None);
    }

    #[test]
    fn cuts_part_the_values_by_their_shares() {
        let values: Vec<f32> = (0..100).map(|i| i as f32).collect();
        assert_eq!(cuts(&values, &[1.0, 2.0, 1.0]), [24.5, 74.5]);
        assert_eq!(cuts(&[1.0; 8], &[1.0, 1.0, 1.0]), [1.0]);
        assert_eq!(between_distinct(&[1.0, 1.0, 2.0, 4.0], 3), Some(vec![1.5, 3.0]));
        assert_eq!(between_distinct(&[1.0, 2.0, 4.0], 2), None);
        let mut above = [9; 3];
        count_above(&[1.5, 3.0], &[1.0, 2.0, 4.0], &mut above);
        assert_eq!(above, [0, 1, 2]);
    }
}
