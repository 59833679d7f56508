//! How often each label occurs, mergeable: exact for up to `BOUND` different labels, a lower bound beyond.
//!
//! Where the labels become too many, all counts are lowered by the same amount, the one that leaves `BOUND` of them.
//! Counts are then too low by at most the sum of those amounts, which is below n / `BOUND` of n labels seen.
//!
//! References: Misra, Gries, "Finding repeated elements", 1982; Agarwal et al., "Mergeable summaries", PODS 2012.

use std::collections::HashMap;

/// Labels that stay when there are too many.
pub(super) const BOUND: usize = 4096;

/// Counts of labels.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Labels {
    counts: HashMap<Box<str>, u64>,
    /// How many were seen.
    seen: u64,
    /// By how much a count may be too low.
    short: u64,
}

impl Labels {
    /// See a label.
    pub fn see(&mut self, label: &str) {
        self.add(label, 1);
    }

    /// See a label some times.
    pub fn add(&mut self, label: &str, times: u64) {
        self.seen += times;
        if let Some(count) = self.counts.get_mut(label) {
            *count += times;
            return;
        }
        self.counts.insert(label.into(), times);
        if self.counts.len() > 2 * BOUND {
            self.prune();
        }
    }

    /// Add the counts of other labels.
    pub fn merge(&mut self, other: &Self) {
        for (label, count) in &other.counts {
            *self.counts.entry(label.clone()).or_default() += count;
        }
        self.seen += other.seen;
        self.short += other.short;
        if self.counts.len() > 2 * BOUND {
            self.prune();
        }
    }

    /// How many labels were seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// By how much each count may be too low; 0 where all are exact.
    #[must_use]
    pub fn short(&self) -> u64 {
        self.short
    }

    /// The labels with their counts, the commonest first, equally common ones in the order of their text.
    #[must_use]
    pub fn ranked(&self) -> Vec<(&str, u64)> {
        let mut ranked: Vec<(&str, u64)> =
            self.counts.iter().map(|(label, &count)| (&**label, count)).collect();
        ranked.sort_unstable_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        ranked
    }

    /// The labels with these counts; None where they are more than were seen.
    pub(super) fn from_state(labels: Vec<String>, counts: &[u64], seen: u64, short: u64) -> Option<Self> {
        let total = counts.iter().try_fold(0u64, |sum, &count| sum.checked_add(count))?;
        let fits = labels.len() == counts.len() && total <= seen;
        let counts = labels.into_iter().map(String::into_boxed_str).zip(counts.iter().copied()).collect();
        fits.then_some(Self { counts, seen, short })
    }

    fn prune(&mut self) {
        let mut counts: Vec<u64> = self.counts.values().copied().collect();
        let (_, &mut cut, _) = counts.select_nth_unstable_by(BOUND, |a, b| b.cmp(a));
        self.counts.retain(|_, count| {
            *count = count.saturating_sub(cut);
            *count > 0
        });
        self.short += cut;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(labels: impl Iterator<Item = usize>) -> Labels {
        let mut counts = Labels::default();
        labels.for_each(|label| counts.see(&label.to_string()));
        counts
    }

    #[test]
    fn few_labels_are_counted_exactly_and_ranked() {
        let mut counts = seen([3, 1, 3, 2].into_iter());
        counts.merge(&seen([3, 9, 2, 2].into_iter()));
        assert_eq!(counts.ranked(), [("2", 3), ("3", 3), ("1", 1), ("9", 1)]);
        assert_eq!((counts.seen(), counts.short()), (8, 0));
    }

    /// Label i of 50,000 occurs about 300,000 / i times: the top ones are found, each count within the error.
    #[test]
    fn many_labels_are_counted_within_the_bound() {
        let stream: Vec<usize> =
            (1..=50_000usize).flat_map(|i| (0..300_000 / i / 10).map(move |_| i)).collect();
        let n = stream.len();
        let spread = |k: usize| stream[k * 7919 % n];
        let mut merged = Labels::default();
        for shard in 0..3 {
            merged.merge(&seen((0..n).filter(|k| k % 3 == shard).map(spread)));
        }
        for counts in [seen((0..n).map(spread)), merged] {
            assert_eq!(counts.seen(), n as u64);
            assert!(counts.short() <= (n / BOUND) as u64, "{} of {}", counts.short(), n / BOUND);
            assert!(counts.counts.len() <= 2 * BOUND);
            for (label, count) in counts.ranked() {
                let exact = (300_000 / label.parse::<usize>().unwrap() / 10) as u64;
                assert!(count <= exact && exact <= count + counts.short(), "{label}: {count} of {exact}");
            }
            let top: Vec<_> = counts.ranked().iter().take(9).map(|(label, _)| (*label).to_string()).collect();
            assert_eq!(top, (1..=9).map(|i| i.to_string()).collect::<Vec<_>>());
        }
        assert!(seen((0..n).map(spread)).short() > 0, "the stream must not fit");
    }

    #[test]
    fn a_bounded_number_of_labels_is_exact() {
        let counts = seen((0..3 * 2 * BOUND).map(|k| k % (2 * BOUND)));
        assert_eq!((counts.short(), counts.ranked().len()), (0, 2 * BOUND));
        assert!(counts.ranked().iter().all(|(_, count)| *count == 3));
    }
}
