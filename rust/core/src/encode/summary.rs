//! What one pass learns of a column.

use std::fmt::Write;

use crate::rng::Key;
use crate::{Error, Result};

use super::numbers::{Numbers, Unfit};
use super::{Labels, Moments};

/// Summary of a column: streaming, mergeable, of bounded size.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    pub(super) rows: u64,
    pub(super) missing: u64,
    pub(super) seen: Seen,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Seen {
    Numbers(Box<Numbers>),
    Labels(Labels),
}

impl Summary {
    /// Of a column of numbers. Summaries that will be merged must have different keys.
    #[must_use]
    pub fn numbers(key: Key) -> Self {
        Self::new(Seen::Numbers(Box::new(Numbers::new(key, false))))
    }

    /// Of a column of moments in time, in seconds since the beginning of 1970.
    #[must_use]
    pub fn times(key: Key) -> Self {
        Self::new(Seen::Numbers(Box::new(Numbers::new(key, true))))
    }

    /// Of a column of labels.
    #[must_use]
    pub fn labels() -> Self {
        Self::new(Seen::Labels(Labels::default()))
    }

    fn new(seen: Seen) -> Self {
        Self { rows: 0, missing: 0, seen }
    }

    /// See numbers, NaN for a missing one, with their weights, none below 0; the first that is infinite or too large.
    ///
    /// A column of labels takes numbers for labels, whole ones without a fraction. Weights count in mean and spread.
    pub fn see_numbers(&mut self, values: &[f64], weights: Option<&[f64]>) -> Option<Unfit> {
        self.rows += values.len() as u64;
        match &mut self.seen {
            Seen::Numbers(numbers) => match numbers.see(values, weights) {
                Ok(missing) => self.missing += missing,
                Err(unfit) => return Some(unfit),
            },
            Seen::Labels(labels) => {
                let mut text = String::new();
                for &value in values {
                    if value.is_nan() {
                        self.missing += 1;
                        continue;
                    }
                    text.clear();
                    // Writing to a string does not fail.
                    let _ = write!(text, "{}", value + 0.0);
                    labels.see(&text);
                }
            }
        }
        None
    }

    /// See labels, None for a missing one.
    ///
    /// # Errors
    /// `Internal` for a column of numbers.
    pub fn see_texts<'a>(&mut self, texts: impl Iterator<Item = Option<&'a str>>) -> Result<()> {
        let Seen::Labels(labels) = &mut self.seen else {
            return Err(Error::Internal("a summary of numbers was shown texts".into()));
        };
        for text in texts {
            self.rows += 1;
            match text {
                Some(text) => labels.see(text),
                None => self.missing += 1,
            }
        }
        Ok(())
    }

    /// See each label some times.
    ///
    /// # Errors
    /// `Internal` for a column of numbers.
    pub fn see_counts<'a>(&mut self, counts: impl Iterator<Item = (&'a str, u64)>) -> Result<()> {
        let Seen::Labels(labels) = &mut self.seen else {
            return Err(Error::Internal("a summary of numbers was shown texts".into()));
        };
        for (text, count) in counts {
            self.rows += count;
            labels.add(text, count);
        }
        Ok(())
    }

    /// Add the summary of other rows of the same column.
    ///
    /// # Errors
    /// `Internal` where one is of labels and the other is not.
    pub fn merge(&mut self, other: &Self) -> Result<()> {
        match (&mut self.seen, &other.seen) {
            (Seen::Numbers(ours), Seen::Numbers(theirs)) => ours.merge(theirs),
            (Seen::Labels(ours), Seen::Labels(theirs)) => ours.merge(theirs),
            _ => return Err(Error::Internal("summaries of numbers and of labels cannot be merged".into())),
        }
        self.rows += other.rows;
        self.missing += other.missing;
        Ok(())
    }

    /// Take in what waits for more values. Before this, moments and quantiles may lack the last few.
    pub fn settle(&mut self) {
        if let Seen::Numbers(numbers) = &mut self.seen {
            numbers.settle();
        }
    }

    /// How many values were seen, missing ones with them.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// How many were missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        self.missing
    }

    /// What is known of the numbers; None of labels.
    #[must_use]
    pub fn as_numbers(&self) -> Option<&Numbers> {
        if let Seen::Numbers(numbers) = &self.seen { Some(numbers) } else { None }
    }

    /// What is known of the labels; None of numbers.
    #[must_use]
    pub fn as_labels(&self) -> Option<&Labels> {
        if let Seen::Labels(labels) = &self.seen { Some(labels) } else { None }
    }

    /// Count, mean, spread and range; those of nothing for labels.
    #[must_use]
    pub fn moments(&self) -> Moments {
        self.as_numbers().map(|numbers| *numbers.moments()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn of(values: &[f64], cuts: &[usize]) -> Summary {
        let mut summary = Summary::numbers(Key::new(3));
        let mut start = 0;
        for &cut in cuts.iter().chain([&values.len()]) {
            let end = cut.clamp(start, values.len());
            assert_eq!(summary.see_numbers(&values[start..end], None), None);
            start = end;
        }
        summary.settle();
        summary
    }

    proptest! {
        /// Missing values are counted and nothing else, and batches do not matter, bit by bit.
        #[test]
        fn batches_do_not_matter(
            values in prop::collection::vec(prop_oneof![-1e9f64..1e9, Just(f64::NAN), Just(-0.0)], 0..900),
            mut cuts in prop::collection::vec(0usize..900, 0..5),
        ) {
            cuts.sort_unstable();
            let whole = of(&values, &[]);
            prop_assert_eq!(&whole, &of(&values, &cuts));
            let present: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
            prop_assert_eq!((whole.rows(), whole.missing()), (values.len() as u64, (values.len() - present.len()) as u64));
            prop_assert_eq!(whole.moments(), of(&present, &[]).moments());
        }
    }

    #[test]
    fn numbers_too_large_are_found() {
        for value in [f64::INFINITY, f64::NEG_INFINITY, 1e141] {
            let unfit = Summary::numbers(Key::new(0)).see_numbers(&[1.0, f64::NAN, value], None);
            assert_eq!(unfit, Some(Unfit { at: 2, value }));
        }
        let mut summary = Summary::numbers(Key::new(0));
        assert_eq!(summary.see_numbers(&[1e140, -1e140, u64::MAX as f64], None), None);
        summary.settle();
        assert!(summary.moments().variance().is_finite());
    }

    #[test]
    fn numbers_are_labels_where_asked() {
        let mut summary = Summary::labels();
        assert_eq!(summary.see_numbers(&[3.0, -0.0, f64::NAN, 0.5, 3.0], None), None);
        summary.see_texts([Some("3"), None].into_iter()).unwrap();
        let labels = summary.as_labels().unwrap();
        assert_eq!(labels.ranked(), [("3", 3), ("0", 1), ("0.5", 1)]);
        assert_eq!((summary.rows(), summary.missing()), (7, 2));
        assert!(summary.merge(&Summary::numbers(Key::new(0))).is_err());
        assert!(Summary::times(Key::new(0)).see_texts([None].into_iter()).is_err());
    }

    #[test]
    fn weights_may_come_and_go() {
        let mut summary = Summary::numbers(Key::new(0));
        summary.see_numbers(&[1.0, 1.0], None);
        summary.see_numbers(&[4.0], Some(&[2.0]));
        summary.see_numbers(&[7.0], None);
        summary.settle();
        let moments = summary.moments();
        assert_eq!((moments.weight, moments.mean), (5.0, 17.0 / 5.0));
    }

    #[test]
    fn times_know_which_cycles_they_run_through() {
        let mut mondays = Summary::times(Key::new(0));
        let weeks: Vec<f64> = (0..520).map(|week| (4 + 7 * week) as f64 * 86_400.0).collect();
        mondays.see_numbers(&weeks, None);
        mondays.settle();
        let [year, week, day] = mondays.as_numbers().unwrap().concentrations().unwrap();
        assert!(year < 0.01, "{year}");
        assert!((week - 1.0).abs() < 1e-6 && (day - 1.0).abs() < 1e-6, "{week} {day}");
    }
}
