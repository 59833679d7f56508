//! What is known of a column of numbers or moments in time.

use crate::rng::Key;

use super::calendar::CYCLES;
use super::{Moments, Sketch};

/// Numbers beyond this size are refused, infinities with them: the sum of 10²⁸ of their squares must stay finite.
pub const LARGEST: f64 = 1e140;
/// Values that are worked on together, so that no result depends on the batches in which they came.
const BLOCK: usize = 256;

/// A number that cannot be summarised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Unfit {
    /// Its place among the values given.
    pub at: usize,
    /// What it is.
    pub value: f64,
}

/// Where a number of a table cannot be summarised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Found {
    /// The summary that was to see it; their number where it is a weight.
    pub place: usize,
    /// Its row.
    pub row: u64,
    /// What it is.
    pub value: f64,
}

/// The first weight that is missing, infinite or below 0.
#[must_use]
pub fn unfit_weight(weights: &[f64]) -> Option<Unfit> {
    let at = weights.iter().position(|&weight| !(weight >= 0.0 && weight.is_finite()))?;
    Some(Unfit { at, value: weights[at] })
}

/// Moments and quantiles of numbers; for moments in time also how they spread over each cycle of the calendar.
#[derive(Debug, Clone, PartialEq)]
pub struct Numbers {
    pub(super) moments: Moments,
    pub(super) sketch: Sketch,
    /// Sums of sines and of cosines over each cycle.
    pub(super) turns: Option<[[f64; 2]; CYCLES.len()]>,
    pending: Vec<f64>,
    weights: Vec<f64>,
}

impl Numbers {
    pub(super) fn new(key: Key, times: bool) -> Self {
        let turns = times.then(Default::default);
        Self::with(Moments::default(), Sketch::new(key), turns)
    }

    pub(super) fn with(moments: Moments, sketch: Sketch, turns: Option<[[f64; 2]; CYCLES.len()]>) -> Self {
        Self { moments, sketch, turns, pending: vec![], weights: vec![] }
    }

    /// See values, NaN for a missing one; how many are missing, or the first that is too large.
    pub(super) fn see(&mut self, values: &[f64], weights: Option<&[f64]>) -> Result<u64, Unfit> {
        if weights.is_some() == self.weights.is_empty() {
            self.settle();
        }
        let mut missing = 0;
        for (at, &value) in values.iter().enumerate() {
            if value.is_nan() {
                missing += 1;
                continue;
            }
            if value.abs() > LARGEST {
                return Err(Unfit { at, value });
            }
            // Minus zero becomes zero: the two are one value.
            self.pending.push(value + 0.0);
            self.weights.extend(weights.map(|weights| weights[at]));
            if self.pending.len() == BLOCK {
                self.settle();
            }
        }
        Ok(missing)
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.settle();
        let mut other = other.clone();
        other.settle();
        self.moments.merge(&other.moments);
        self.sketch.merge(&other.sketch);
        if let (Some(sums), Some(theirs)) = (&mut self.turns, &other.turns) {
            for (sum, their) in sums.as_flattened_mut().iter_mut().zip(theirs.as_flattened()) {
                *sum += their;
            }
        }
    }

    /// Take in the values that wait for a full block.
    pub(super) fn settle(&mut self) {
        if self.pending.is_empty() {
            return;
        }
        let weights = (!self.weights.is_empty()).then_some(&self.weights[..]);
        self.moments.merge(&Moments::of(&self.pending, weights));
        self.sketch.see(&self.pending);
        if let Some(sums) = &mut self.turns {
            for (cycle, sums) in CYCLES.iter().zip(sums) {
                for &value in &self.pending {
                    let (sine, cosine) = cycle.sin_cos(value);
                    sums[0] += f64::from(sine);
                    sums[1] += f64::from(cosine);
                }
            }
        }
        self.pending.clear();
        self.weights.clear();
    }

    /// Count, mean, spread and range of all values.
    #[must_use]
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Their quantiles.
    #[must_use]
    pub fn sketch(&self) -> &Sketch {
        &self.sketch
    }

    /// How closely the moments cluster at one place of each cycle: from 1, all at one place, down to 0.
    #[must_use]
    pub fn concentrations(&self) -> Option<[f64; CYCLES.len()]> {
        let count = self.moments.count.max(1) as f64;
        self.turns.map(|turns| turns.map(|[sine, cosine]| libm::hypot(sine, cosine) / count))
    }
}
