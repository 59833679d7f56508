//! Monotone changes of a column: long tails, floors and ceilings, rounding, ties.

use crate::math;
use crate::rng::Draws;

/// What a column goes through before it is standardised.
pub(super) enum Warp {
    None,
    /// `exp(s v)`: a log-normal tail.
    Exponential(f32),
    /// `sign(v) |v|^p`.
    Power(f32),
    /// `1 - (1 - u^a)^b` of the logistic of the value.
    ///
    /// Reference: Kumaraswamy, "A generalized probability density function for double-bounded random processes",
    /// Journal of Hydrology 46 (1980).
    Kumaraswamy(f32, f32),
    /// Cut off at both ends.
    Clamped(f32, f32),
    /// Whole multiples of a step.
    Rounded(f32),
    /// One value below a threshold, as counts and amounts have their zeros.
    Inflated(f32),
}

impl Warp {
    /// Any but `None`, for values whose pilot rows are `sorted`.
    pub(super) fn draw(sorted: &[f32], draws: &mut Draws) -> Self {
        let kind = draws.integer(0, 5);
        let (u, v) = (draws.uniform(), draws.uniform());
        let at = |share: f64| sorted[((share * sorted.len() as f64) as usize).min(sorted.len() - 1)];
        match kind {
            0 => Self::Exponential((0.3 + 0.9 * u) as f32),
            1 => Self::Power([0.5, 2.0, 3.0][(3.0 * u) as usize % 3]),
            2 => Self::Kumaraswamy(draws.log_uniform(0.3, 3.0) as f32, draws.log_uniform(0.3, 3.0) as f32),
            3 => Self::Clamped(at(0.3 * u), at(1.0 - 0.3 * v)),
            4 => Self::Rounded(draws.log_uniform(0.05, 1.0) as f32),
            _ => Self::Inflated(at(0.1 + 0.7 * u)),
        }
    }

    pub(super) fn apply(&self, values: &mut [f32]) {
        match *self {
            Self::None => {}
            Self::Exponential(s) => values.iter_mut().for_each(|v| *v = math::exp(s * *v)),
            Self::Power(p) => values.iter_mut().for_each(|v| *v = power(v.abs(), p).copysign(*v)),
            Self::Kumaraswamy(a, b) => values.iter_mut().for_each(|v| {
                let u = 1.0 / (1.0 + math::exp(-1.7 * *v));
                *v = 1.0 - power(1.0 - power(u, a), b);
            }),
            Self::Clamped(low, high) => values.iter_mut().for_each(|v| *v = v.max(low).min(high)),
            Self::Rounded(step) => values.iter_mut().for_each(|v| *v = (*v / step).round() * step),
            Self::Inflated(floor) => values.iter_mut().for_each(|v| *v = v.max(floor)),
        }
    }
}

/// `x^p` for x ≥ 0; numbers below 1e-30 count as that.
fn power(x: f32, p: f32) -> f32 {
    math::exp(p * math::ln(x.max(1e-30)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn warps_are_monotone_and_finite(seed: u64, mut values in prop::collection::vec(-8f32..8.0, 2..60)) {
            values.sort_unstable_by(f32::total_cmp);
            let warp = Warp::draw(&values, &mut Key::new(seed).draws());
            warp.apply(&mut values);
            // A rise of the last digits of the polynomials is no fall.
            prop_assert!(values.windows(2).all(|w| w[0] <= w[1] + 1e-5 * w[1].abs().max(1.0)));
            prop_assert!(values.iter().all(|v| v.is_finite()));
        }
    }

    #[test]
    fn the_kumaraswamy_distribution_of_one_and_one_is_the_logistic() {
        let mut values = [-1.0, 0.0, 2.0f32];
        Warp::Kumaraswamy(1.0, 1.0).apply(&mut values);
        for (ours, v) in values.iter().zip([-1.0f64, 0.0, 2.0]) {
            assert!((f64::from(*ours) - 1.0 / (1.0 + (-1.7 * v).exp())).abs() < 1e-6);
        }
    }
}
