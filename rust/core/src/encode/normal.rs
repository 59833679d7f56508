//! A monotone map from values to normal scores: value, its rank among all values, the normal quantile of that rank.

use super::Moments;

/// The most knots of a map.
const KNOTS: usize = 256;
/// Scores stay within ± this: about the extremes of 1,000 normal draws.
const LIMIT: f64 = 3.0;
/// The least spread that scores are divided by, so that a rare value is not blown up to a huge score.
const FLOOR: f64 = 0.5;

/// Knots, ascending, and the score at each. Equal values get the score of their middle rank.
///
/// Over the values of `points`, as a sketch gives them, scores have mean 0 and spread 1, or less for a few rare values.
/// The range of `moments`, which a sketch may lack, gets knots of its own. Both lists are empty without any value.
#[must_use]
pub fn normal_map(points: &[(f64, u64)], moments: &Moments) -> (Vec<f64>, Vec<f64>) {
    let (knots, mut scores): (Vec<f64>, Vec<f64>) = chosen(points, moments).into_iter().unzip();
    let total: f64 = points.iter().map(|p| p.1 as f64).sum();
    let mean_of = |f: &dyn Fn(f64) -> f64| {
        points
            .iter()
            .map(|&(value, weight)| weight as f64 * f(interpolate(&knots, &scores, value)))
            .sum::<f64>()
            / total
    };
    let mean = mean_of(&|score| score);
    let spread = mean_of(&|score| (score - mean) * (score - mean)).sqrt().max(FLOOR);
    scores.iter_mut().for_each(|score| *score = (*score - mean) / spread);
    (knots, scores)
}

/// The knots with their scores, which are not yet centred.
fn chosen(points: &[(f64, u64)], moments: &Moments) -> Vec<(f64, f64)> {
    let total: u64 = points.iter().map(|p| p.1).sum();
    let step = if points.len() <= KNOTS { 0.0 } else { total as f64 / (KNOTS - 2) as f64 };
    let (mut below, mut due, mut knots) = (0, 0.0, Vec::with_capacity(KNOTS));
    for &(value, weight) in points {
        let middle = below as f64 + weight as f64 / 2.0;
        if middle >= due {
            knots.push((value, quantile(middle / total as f64)));
            due = middle.max(due) + step;
        }
        below += weight;
    }
    let ends = [(moments.min, -LIMIT), (moments.max, LIMIT)];
    if knots.first().is_some_and(|first| ends[0].0 < first.0) {
        knots.insert(0, ends[0]);
    }
    if knots.last().is_some_and(|last| ends[1].0 > last.0) {
        knots.push(ends[1]);
    }
    knots
}

/// Piecewise linear between knots, constant beyond them; 0 without any knot.
#[must_use]
pub(super) fn interpolate(knots: &[f64], scores: &[f64], value: f64) -> f64 {
    let right = knots.partition_point(|&knot| knot <= value);
    let (Some(left), true) = (right.checked_sub(1), right < knots.len()) else {
        return scores.get(right.min(scores.len().saturating_sub(1))).copied().unwrap_or(0.0);
    };
    let share = (value - knots[left]) / (knots[right] - knots[left]);
    scores[left] + share * (scores[right] - scores[left])
}

/// The standard normal quantile, within ± `LIMIT`: Halley's iteration from the logistic quantile.
fn quantile(p: f64) -> f64 {
    let below = |x: f64| 0.5 * libm::erfc(-x / std::f64::consts::SQRT_2);
    if p <= below(-LIMIT) || p >= below(LIMIT) {
        return LIMIT.copysign(p - 0.5);
    }
    let mut x = libm::log(p / (1.0 - p)) / 1.702;
    for _ in 0..4 {
        let density = libm::exp(-0.5 * x * x) / (2.0 * std::f64::consts::PI).sqrt();
        let step = (below(x) - p) / density;
        x -= step / (1.0 + 0.5 * x * step);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (p, z) in [
            (0.5, 0.0),
            (0.975, 1.959_963_984_540_054),
            (0.01, -2.326_347_874_040_841),
            (0.002, -2.878_161_739_095_483),
            (0.8413447460685429, 1.0),
        ] {
            assert!((quantile(p) - z).abs() < 1e-12, "{p}: {}", quantile(p));
        }
        assert_eq!((quantile(0.0), quantile(1.0), quantile(0.999)), (-3.0, 3.0, 3.0));
    }

    #[test]
    fn two_values_become_minus_and_plus_one() {
        let values = [2.0, 2.0, 9.0, 9.0];
        let (knots, scores) = normal_map(&[(2.0, 2), (9.0, 2)], &Moments::of(&values, None));
        assert_eq!(knots, [2.0, 9.0]);
        assert!((scores[0] + 1.0).abs() < 1e-12 && (scores[1] - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_map_covers_the_range_with_few_knots() {
        let points: Vec<(f64, u64)> = (1..2000).map(|i| (libm::exp(i as f64 / 100.0), 3)).collect();
        let mut moments = Moments::of(&points.iter().map(|p| p.0).collect::<Vec<_>>(), None);
        (moments.min, moments.max) = (0.5, 1e9);
        let (knots, scores) = normal_map(&points, &moments);
        assert!(knots.len() <= KNOTS && knots.len() > KNOTS / 2, "{}", knots.len());
        assert_eq!((knots[0], knots[knots.len() - 1]), (0.5, 1e9));
        assert!(knots.is_sorted_by(|a, b| a < b) && scores.is_sorted());
        assert_eq!(normal_map(&[], &Moments::default()), (vec![], vec![]));
    }

    #[test]
    fn beyond_the_knots_scores_are_constant() {
        let at = |value| interpolate(&[1.0, 2.0, 4.0], &[-1.0, 0.0, 1.0], value);
        assert_eq!([0.0, 1.0, 1.5, 3.0, 4.0, 9.0].map(at), [-1.0, -1.0, -0.5, 0.5, 1.0, 1.0]);
        assert_eq!(interpolate(&[], &[], 3.0), 0.0);
    }
}
