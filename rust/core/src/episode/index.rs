//! Rows by their class.

use rayon::prelude::*;

use crate::{Result, parallel};

/// Labels may span this many times their number before a table over the span is worse than sorting.
const SPARSE: u64 = 8;

/// The rows of each class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Index {
    /// The labels that occur, ascending; class `c` is the one with label `labels[c]`.
    pub labels: Vec<i64>,
    /// The rows of class `c` are `rows[offsets[c]..offsets[c + 1]]`.
    pub offsets: Vec<i64>,
    /// Row numbers by class, ascending within each.
    pub rows: Vec<i64>,
}

impl Index {
    /// Sort rows by their labels.
    ///
    /// # Errors
    /// `Internal` where no threads can be started.
    pub fn new(labels: &[i64]) -> Result<Self> {
        let (low, high) = labels.iter().fold((i64::MAX, i64::MIN), |(a, b), &l| (a.min(l), b.max(l)));
        let span = high.wrapping_sub(low) as u64;
        if labels.is_empty() || span / SPARSE <= labels.len() as u64 {
            return Ok(Self::counted(labels, low, if labels.is_empty() { 0 } else { span as usize + 1 }));
        }
        let mut rows: Vec<i64> = (0..labels.len() as i64).collect();
        parallel::run(|| {
            rows.par_sort_by_key(|&row| labels[row as usize]);
            Ok(())
        })?;
        let starts = (0..rows.len())
            .filter(|&i| i == 0 || labels[rows[i] as usize] != labels[rows[i - 1] as usize])
            .map(|i| i as i64);
        let offsets: Vec<i64> = starts.chain([rows.len() as i64]).collect();
        let found =
            offsets[..offsets.len() - 1].iter().map(|&at| labels[rows[at as usize] as usize]).collect();
        Ok(Self { labels: found, offsets, rows })
    }

    /// Counting sort over all labels from `low` on.
    fn counted(labels: &[i64], low: i64, span: usize) -> Self {
        let place = |label: i64| label.wrapping_sub(low) as usize;
        let mut next = vec![0i64; span];
        labels.iter().for_each(|&label| next[place(label)] += 1);
        let (mut found, mut offsets) = (Vec::new(), vec![0]);
        let mut total = 0;
        for (i, count) in next.iter_mut().enumerate() {
            let start = total;
            total += *count;
            if *count > 0 {
                found.push(low + i as i64);
                offsets.push(total);
            }
            *count = start;
        }
        let mut rows = vec![0; labels.len()];
        for (row, &label) in labels.iter().enumerate() {
            let next = &mut next[place(label)];
            rows[*next as usize] = row as i64;
            *next += 1;
        }
        Self { labels: found, offsets, rows }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Both ways to sort agree with a plain stable sort.
        #[test]
        fn rows_are_sorted_by_label(labels in prop::collection::vec(-5i64..5, 0..60), stretch in prop::bool::ANY) {
            let stretched: Vec<i64> = labels.iter().map(|l| if stretch { l << 59 } else { *l }).collect();
            let index = Index::new(&stretched).unwrap();
            let mut rows: Vec<i64> = (0..labels.len() as i64).collect();
            rows.sort_by_key(|&row| stretched[row as usize]);
            prop_assert_eq!(&index.rows, &rows);
            let mut distinct = stretched.clone();
            distinct.sort_unstable();
            distinct.dedup();
            prop_assert_eq!(&index.labels, &distinct);
            for (class, ends) in index.offsets.windows(2).enumerate() {
                let own = &rows[ends[0] as usize..ends[1] as usize];
                prop_assert!(!own.is_empty());
                prop_assert!(own.iter().all(|&row| stretched[row as usize] == index.labels[class]));
            }
        }
    }
}
