//! The target: one node that is no column, as a number with noise or as classes.

use crate::math;
use crate::rng::{Draws, Key};

use super::super::pointwise::class_at;
use super::choice::{self, shares, shuffle_front};
use super::pilot::{self, PILOT, Standard};
use super::{Range, Rows};

/// Parts of the node's range beyond one for each class: with them, classes are no intervals.
const EXTRA_PARTS: f64 = 0.5;

/// How rows get their targets.
pub(super) enum Target {
    Number(Number),
    Classes(Classes),
}

/// `g(v) + σ m(v) z`: `g` is the identity or an exponential, standardised; `m` has mean square one.
pub(super) struct Number {
    skew: f32,
    standard: Standard,
    noise: f32,
    /// `m(v) = scale · exp(slope v)`.
    slope: f32,
    scale: f32,
}

/// The class of the part that `v + τ · logistic noise` lies in.
pub(super) struct Classes {
    temperature: f32,
    cuts: Vec<f32>,
    /// The class of each part.
    labels: Vec<usize>,
    count: usize,
}

impl Number {
    /// For a node whose pilot rows are `values`.
    pub(super) fn draw(values: &[f32], noise: f64, key: Key) -> Self {
        let mut draws = key.draws();
        let some = |draws: &mut Draws, high: f64| {
            if draws.uniform() < 0.5 { 0.0 } else { (high * draws.uniform()) as f32 * choice::sign(draws) }
        };
        let (skew, slope) = (some(&mut draws, 1.0), some(&mut draws, 0.7));
        let mut bent = values.to_vec();
        bend(skew, &mut bent);
        let standard = Standard::of(&bent).unwrap_or(Standard { shift: 0.0, scale: 1.0 });
        let square = values.iter().map(|&v| math::exp(2.0 * slope * v)).sum::<f32>() / PILOT as f32;
        Self { skew, standard, noise: noise as f32, slope, scale: 1.0 / square.sqrt() }
    }

    fn observe(&self, key: Key, values: &mut [f32], y: &mut [f32]) {
        key.normals(y);
        for (y, v) in y.iter_mut().zip(values.iter()) {
            *y *= self.noise * self.scale * math::exp(self.slope * v);
        }
        bend(self.skew, values);
        self.standard.apply(values);
        y.iter_mut().zip(values.iter()).for_each(|(y, signal)| *y += signal);
    }
}

/// `exp(s v) / s`, rising whatever the sign of `s`; the identity at zero.
fn bend(skew: f32, values: &mut [f32]) {
    if skew != 0.0 {
        values.iter_mut().for_each(|v| *v = math::exp(skew * *v) / skew);
    }
}

impl Classes {
    /// `count` classes whose shares of the pilot rows have the ratio `imbalance`.
    pub(super) fn draw(
        values: &[f32],
        count: usize,
        temperature: f64,
        imbalance: Range<f64>,
        key: Key,
    ) -> Self {
        let mut draws = key.child(0, 0).draws();
        let temperature = temperature as f32;
        let ratio = draws.log_uniform(imbalance.low, imbalance.high);
        let of_class = shares(count, ratio, &mut draws);
        let labels = parts(count, &mut draws);
        let of_part: Vec<f64> = labels
            .iter()
            .map(|&class| of_class[class] / labels.iter().filter(|&&other| other == class).count() as f64)
            .collect();
        let mut noisy = vec![0.0; values.len()];
        key.child(1, 0).uniforms(&mut noisy);
        for (noisy, v) in noisy.iter_mut().zip(values) {
            let u = noisy.clamp(1e-6, 1.0 - 1e-6);
            *noisy = v + temperature * math::ln(u / (1.0 - u));
        }
        Self { temperature, cuts: pilot::cuts(&pilot::sorted(&noisy), &of_part), labels, count }
    }

    /// Probabilities of the classes at each row, `[rows, O]`, and labels by chance.
    fn observe(&self, key: Key, values: &[f32], y: &mut [f32], signal: &mut [f32]) {
        key.uniforms(y);
        let outputs = signal.len() / y.len();
        signal.fill(0.0);
        for ((y, &v), signal) in y.iter_mut().zip(values).zip(signal.chunks_mut(outputs)) {
            let mut below = 0.0;
            let ends = self.cuts.iter().map(|cut| 1.0 / (1.0 + math::exp((v - cut) / self.temperature)));
            for (end, &class) in ends.chain(std::iter::once(1.0)).zip(&self.labels) {
                // Ends rise with the cuts but for the last digit.
                signal[class] += (end - below).max(0.0);
                below = end;
            }
            *y = class_at(&signal[..self.count], *y);
        }
    }
}

/// The class of each part of the range: every class once, some twice, no two neighbours of one class.
fn parts(count: usize, draws: &mut Draws) -> Vec<usize> {
    let extra = (EXTRA_PARTS * count as f64 * draws.uniform() + 0.5) as usize;
    let mut labels: Vec<usize> = (0..count).collect();
    shuffle_front(&mut labels, count, draws);
    for _ in 0..extra {
        // The class two parts back: never the neighbour's.
        labels.push(labels[labels.len() - 2]);
    }
    labels
}

impl Target {
    pub(super) fn classes(&self) -> usize {
        match self {
            Self::Number(_) => 0,
            Self::Classes(classes) => classes.count,
        }
    }

    pub(super) fn noise(&self) -> f32 {
        match self {
            Self::Number(number) => number.noise,
            Self::Classes(_) => 0.0,
        }
    }

    /// Targets and signals of rows at which the node is `values`, which are used up.
    pub(super) fn observe(&self, key: Key, values: &mut [f32], rows: Rows<'_>) {
        let Rows { y, signal, .. } = rows;
        match self {
            Self::Number(number) => {
                number.observe(key, values, y);
                let outputs = signal.len() / y.len();
                for (signal, v) in signal.chunks_mut(outputs).zip(values.iter()) {
                    signal.fill(0.0);
                    signal[0] = *v;
                }
            }
            Self::Classes(classes) => classes.observe(key, values, y, signal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_class_has_its_parts_and_its_share(seed: u64, count in 2usize..11) {
            let mut values = [0.0; PILOT];
            Key::new(seed).normals(&mut values);
            let imbalance = Range { low: 4.0, high: 4.0 };
            let target = Classes::draw(&values, count, 0.1, imbalance, Key::new(seed).child(1, 1));
            prop_assert!(target.labels.windows(2).all(|w| w[0] != w[1]));
            prop_assert!((0..count).all(|class| target.labels.contains(&class)));
            prop_assert_eq!(target.cuts.len() + 1, target.labels.len());
        }
    }
}
