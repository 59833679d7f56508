//! Which rows of a stream are kept in constant memory: those with the largest keys.
//!
//! Rows of weight `w` get the key `ln(u) / w`, where `u` is a pure function of (seed, row number). The rows kept do not
//! depend on the order in which rows come, and what is kept of two parts of a stream holds all that is kept of the
//! whole.
//!
//! Reference: Efraimidis, Spirakis, "Weighted random sampling with a reservoir", Information Processing Letters 97
//! (2006), algorithm A-ES, with the logarithm of its keys.

use std::cmp::Ordering;

use crate::hash;
use crate::rng::Key;
use crate::{Error, Result};

/// More than what rounding adds to a logarithm, relatively.
const ROUNDED: f64 = 1.0 / (1u64 << 50) as f64;

/// The key of a row; the larger, the longer it is kept. A row of weight 0 has the least.
#[must_use]
pub fn key(seed: u64, row: i64, weight: f32) -> f64 {
    libm::log(uniform(root(seed), row)) / f64::from(weight)
}

fn root(seed: u64) -> Key {
    Key::new(seed).child(3, 1)
}

/// Uniform on the middles of 2⁵² equal parts of (0, 1), which are exact.
fn uniform(root: Key, row: i64) -> f64 {
    let bits = hash::mix(root.bits(), row as u64) >> 12;
    (bits as f64 + 0.5) / (1u64 << 52) as f64
}

/// What is known of the rows kept, by the place where each is kept.
pub struct Places<'a> {
    /// Their keys.
    pub keys: &'a mut [f64],
    /// Their numbers.
    pub rows: &'a mut [i64],
    /// Their weights.
    pub weights: &'a mut [f32],
    /// Once every place is taken: all places as a heap, the place of the row that goes first on top.
    pub heap: &'a mut [u32],
    /// How many places are taken.
    pub taken: usize,
}

impl Places<'_> {
    /// Offer rows by number and weight; `places` gets the place of each row that is kept in the end, -1 for the others.
    ///
    /// # Errors
    /// `Array` where sizes do not fit or a weight is negative or not finite; then nothing has changed.
    pub fn offer(&mut self, seed: u64, rows: &[i64], weights: &[f32], places: &mut [i64]) -> Result<()> {
        if let Some(weight) = weights.iter().find(|weight| !weight.is_finite() || **weight < 0.0) {
            return Err(Error::Array(format!(
                "`weight` holds {weight}: weights must be 0 or more, and finite"
            )));
        }
        let capacity = self.keys.len();
        let sizes = [self.rows.len(), self.weights.len(), self.heap.len()];
        if sizes != [capacity; 3] || self.taken > capacity || [weights.len(), places.len()] != [rows.len(); 2]
        {
            return Err(Error::Array("rows, weights and places have different sizes".into()));
        }
        let root = root(seed);
        for ((&row, &weight), place) in rows.iter().zip(weights).zip(places.iter_mut()) {
            *place = self.consider(uniform(root, row), row, weight).map_or(-1, |place| place as i64);
        }
        // A row that was kept may have gone again within the same call.
        for (&row, place) in rows.iter().zip(places.iter_mut()) {
            if *place >= 0 && self.rows[*place as usize] != row {
                *place = -1;
            }
        }
        Ok(())
    }

    /// Take up rows that are already in their places: their keys, and the heap where no place is free.
    ///
    /// # Errors
    /// `Array` where sizes do not fit.
    pub fn adopt(&mut self, seed: u64) -> Result<()> {
        let sizes = [self.rows.len(), self.weights.len(), self.heap.len()];
        if sizes != [self.keys.len(); 3] || self.taken > self.keys.len() {
            return Err(Error::Array("rows, weights and places have different sizes".into()));
        }
        for (place, to) in self.keys[..self.taken].iter_mut().enumerate() {
            *to = key(seed, self.rows[place], self.weights[place]);
        }
        self.build();
        Ok(())
    }

    /// Where the row is kept, if it is.
    fn consider(&mut self, u: f64, row: i64, weight: f32) -> Option<usize> {
        if self.taken == self.keys.len() {
            // ln(u) <= u - 1 spares most rows of a long stream the logarithm.
            let most = (u - 1.0) * (1.0 - ROUNDED) / f64::from(weight);
            if most < self.keys[*self.heap.first()? as usize] {
                return None;
            }
        }
        self.keep(libm::log(u) / f64::from(weight), row, weight)
    }

    fn keep(&mut self, key: f64, row: i64, weight: f32) -> Option<usize> {
        let full = self.taken == self.keys.len();
        let place = if full { *self.heap.first()? as usize } else { self.taken };
        if full && order((key, row), self.entry(place)) != Ordering::Greater {
            return None;
        }
        (self.keys[place], self.rows[place], self.weights[place]) = (key, row, weight);
        if full {
            self.sink(0);
        } else {
            self.taken += 1;
            self.build();
        }
        Some(place)
    }

    /// Make the heap, once there is a use for it.
    fn build(&mut self) {
        if self.taken == self.keys.len() {
            self.heap.iter_mut().enumerate().for_each(|(i, place)| *place = i as u32);
            (0..self.taken / 2).rev().for_each(|at| self.sink(at));
        }
    }

    fn sink(&mut self, mut at: usize) {
        loop {
            let (left, right) = (2 * at + 1, 2 * at + 2);
            let mut least = at;
            for child in [left, right] {
                if child < self.heap.len() && self.before(child, least) {
                    least = child;
                }
            }
            if least == at {
                return;
            }
            self.heap.swap(at, least);
            at = least;
        }
    }

    fn before(&self, a: usize, b: usize) -> bool {
        order(self.entry(self.heap[a] as usize), self.entry(self.heap[b] as usize)) == Ordering::Less
    }

    fn entry(&self, place: usize) -> (f64, i64) {
        (self.keys[place], self.rows[place])
    }
}

/// Which row goes first: the one with the smaller key, of equal ones the later row.
fn order(a: (f64, i64), b: (f64, i64)) -> Ordering {
    a.0.total_cmp(&b.0).then(b.1.cmp(&a.1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Store {
        keys: Vec<f64>,
        rows: Vec<i64>,
        weights: Vec<f32>,
        heap: Vec<u32>,
        taken: usize,
    }

    impl Store {
        fn new(capacity: usize) -> Self {
            let (rows, weights) = (vec![-1; capacity], vec![0.0; capacity]);
            Self { keys: vec![0.0; capacity], rows, weights, heap: vec![0; capacity], taken: 0 }
        }

        fn places(&mut self) -> Places<'_> {
            let Self { keys, rows, weights, heap, taken } = self;
            Places { keys, rows, weights, heap, taken: *taken }
        }

        fn offer(&mut self, seed: u64, rows: &[i64], weights: &[f32]) -> Vec<i64> {
            let mut out = vec![-7; rows.len()];
            let mut places = self.places();
            places.offer(seed, rows, weights, &mut out).unwrap();
            self.taken = places.taken;
            out
        }

        fn kept(&self) -> Vec<i64> {
            let mut rows = self.rows[..self.taken].to_vec();
            rows.sort_unstable();
            rows
        }
    }

    fn weight(row: i64) -> f32 {
        (row % 4) as f32
    }

    proptest! {
        /// The rows with the largest keys by a plain sort, in whatever order and batches they come.
        #[test]
        fn the_rows_with_the_largest_keys_are_kept(
            seed: u64, capacity in 0usize..=90, rows in Just((0..90i64).collect::<Vec<_>>()).prop_shuffle(),
            batch in 1usize..40,
        ) {
            let mut sorted: Vec<(f64, i64)> = rows.iter().map(|&r| (key(seed, r, weight(r)), -r)).collect();
            sorted.sort_by(|a, b| b.partial_cmp(a).unwrap());
            let mut expected: Vec<i64> = sorted[..capacity].iter().map(|&(_, r)| -r).collect();
            expected.sort_unstable();
            let mut store = Store::new(capacity);
            let mut content = vec![-1; capacity];
            for rows in rows.chunks(batch) {
                let weights: Vec<f32> = rows.iter().map(|&row| weight(row)).collect();
                let places = store.offer(seed, rows, &weights);
                let mut taken: Vec<&i64> = places.iter().filter(|&&place| place >= 0).collect();
                taken.sort_unstable();
                prop_assert!(taken.windows(2).all(|pair| pair[0] != pair[1]), "a place is given twice");
                for (&row, place) in rows.iter().zip(places) {
                    if place >= 0 {
                        content[place as usize] = row;
                    }
                }
            }
            prop_assert_eq!(store.kept(), expected);
            prop_assert_eq!(&content, &store.rows);
            let keys = store.keys.clone();
            store.keys.fill(0.5);
            store.places().adopt(seed).unwrap();
            prop_assert_eq!(keys, store.keys);
        }
    }

    /// Of a long stream nearly every row is turned away by the bound on its logarithm.
    #[test]
    fn the_bound_turns_no_row_away_that_would_be_kept() {
        for seed in 0..300 {
            let mut store = Store::new(3);
            store.offer(seed, &(0..3000).collect::<Vec<_>>(), &[1.0; 3000]);
            let mut sorted: Vec<(f64, i64)> = (0..3000).map(|row| (key(seed, row, 1.0), row)).collect();
            sorted.sort_by(|a, b| b.partial_cmp(a).unwrap());
            let mut expected: Vec<i64> = sorted[..3].iter().map(|&(_, row)| row).collect();
            expected.sort_unstable();
            assert_eq!(store.kept(), expected);
        }
    }

    #[test]
    fn rows_are_first_drawn_by_weight() {
        // The row with the largest key of all is drawn with probability w / sum of w.
        let (rows, weights) = ([0, 1, 2, 3], [1.0, 2.0, 0.0, 5.0]);
        let mut counts = [0u32; 4];
        for seed in 0..20_000 {
            let mut store = Store::new(1);
            store.offer(seed, &rows, &weights);
            counts[store.kept()[0] as usize] += 1;
        }
        for (count, weight) in counts.iter().zip(weights) {
            let share = f64::from(weight) / 8.0;
            let sd = (20_000.0 * share * (1.0 - share)).sqrt();
            assert!((f64::from(*count) - 20_000.0 * share).abs() <= 5.0 * sd, "{count} of weight {weight}");
        }
    }

    #[test]
    fn faults_change_nothing() {
        let mut store = Store::new(2);
        for bad in [-1.0, f32::NAN, f32::INFINITY] {
            assert!(store.places().offer(0, &[0, 1], &[1.0, bad], &mut [0; 2]).is_err());
        }
        assert!(store.places().offer(0, &[0, 1], &[1.0], &mut [0; 2]).is_err());
        assert_eq!(store.rows, [-1, -1]);
    }
}
