//! Which row comes at which place: a pure function of (seed, epoch, position).

use rayon::prelude::*;

use crate::rng::Key;
use crate::{Error, Result, hash, parallel};

use super::Permutation;

/// Rows that one call looks at, at most: between calls a signal can be answered.
const SCAN: u64 = 1 << 22;
/// The hash that holds rows out has a key of its own, so that no seed, epoch or shuffle moves a row across.
const HOLDOUT_KEY: u64 = 0x686F_6C64_6F75_7400;

/// Which side of the hold-out a stream reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Rows that are not held out.
    Fit,
    /// Rows that are.
    Held,
    /// Every row.
    All,
}

/// What decides the order, besides the sizes of the groups.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Seed of the shuffle.
    pub seed: u64,
    /// Whether groups, and rows within each group, come in random order.
    pub shuffle: bool,
    /// This shard and the number of shards: row `r` belongs to shard `r mod count`.
    pub shard: (u64, u64),
    /// Share of rows held out.
    pub holdout: f64,
    /// The side of the hold-out.
    pub part: Part,
}

/// A place in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// How many groups are finished.
    pub ordinal: u64,
    /// How many rows of the current group have been looked at.
    pub offset: u64,
}

/// Rows found by one call of `Order::fill`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Found {
    /// How many rows.
    pub count: usize,
    /// The group that they are in.
    pub group: usize,
    /// Where the next call goes on.
    pub next: Position,
}

/// The order of a table's rows.
pub struct Order {
    starts: Vec<u64>,
    settings: Settings,
    cut: u64,
    key: Key,
}

impl Order {
    /// The order over groups of these sizes.
    ///
    /// # Errors
    /// `Config` where a setting is out of range.
    pub fn new(groups: &[u64], settings: Settings) -> Result<Self> {
        let (index, count) = settings.shard;
        if index >= count {
            return Err(Error::Config(format!(
                "`shard` must be (index, count) with index < count, not {:?}",
                settings.shard
            )));
        }
        if !(0.0..1.0).contains(&settings.holdout) {
            return Err(Error::Config(format!(
                "`holdout` must be at least 0 and below 1, not {}",
                settings.holdout
            )));
        }
        let mut starts = vec![0u64];
        for (i, size) in groups.iter().enumerate() {
            let end = starts[i].checked_add(*size).filter(|&end| end <= i64::MAX as u64);
            starts.push(end.ok_or_else(|| Error::Config("the table has more rows than fit 63 bits".into()))?);
        }
        let cut = (settings.holdout * 2f64.powi(64)) as u64;
        Ok(Self { starts, settings, cut, key: Key::new(settings.seed) })
    }

    /// Find the next rows, all of one group, as row numbers within it; fewer than asked for where the group ends.
    ///
    /// None at the end of the epoch. A call may find no row and yet not be at the end.
    pub fn fill(&self, epoch: u64, at: Position, rows: &mut [i64]) -> Option<Found> {
        let groups = self.starts.len() as u64 - 1;
        if at.ordinal >= groups {
            return None;
        }
        let group =
            self.shuffled(groups, self.key.child(epoch, u64::MAX)).map_or(at.ordinal, |p| p.at(at.ordinal));
        let (start, end) = (self.starts[group as usize], self.starts[group as usize + 1]);
        let order = self.shuffled(end - start, self.key.child(epoch, group));
        let (mut offset, mut count) = (at.offset, 0);
        let last = (end - start).min(at.offset.saturating_add(SCAN));
        while offset < last && count < rows.len() {
            let row = order.as_ref().map_or(offset, |p| p.at(offset));
            if self.keeps(start + row) {
                rows[count] = row as i64;
                count += 1;
            }
            offset += 1;
        }
        let finished = offset >= end - start;
        let next = if finished {
            Position { ordinal: at.ordinal + 1, offset: 0 }
        } else {
            Position { offset, ..at }
        };
        Some(Found { count, group: group as usize, next })
    }

    /// How many rows an epoch has; `tick` is asked now and then whether to go on.
    ///
    /// # Errors
    /// Those of `tick`.
    pub fn count(&self, tick: &dyn Fn() -> Result<()>) -> Result<u64> {
        let rows = self.starts.last().copied().unwrap_or(0);
        let mut total = 0;
        for start in (0..rows).step_by(SCAN as usize) {
            tick()?;
            let part = start..rows.min(start + SCAN);
            total +=
                parallel::run(|| Ok(part.into_par_iter().filter(|&row| self.keeps(row)).count() as u64))?;
        }
        Ok(total)
    }

    fn shuffled(&self, n: u64, key: Key) -> Option<Permutation> {
        self.settings.shuffle.then(|| Permutation::new(n, key))
    }

    fn keeps(&self, row: u64) -> bool {
        let (index, count) = self.settings.shard;
        let held = || hash::mix(HOLDOUT_KEY, row) < self.cut;
        row % count == index
            && match self.settings.part {
                Part::All => true,
                Part::Held => held(),
                Part::Fit => !held(),
            }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn settings(seed: u64, shuffle: bool) -> Settings {
        Settings { seed, shuffle, shard: (0, 1), holdout: 0.0, part: Part::All }
    }

    /// Global row numbers from a position to the end of the epoch, with the positions between batches.
    fn read(order: &Order, epoch: u64, mut at: Position, batch: usize) -> (Vec<u64>, Vec<(usize, Position)>) {
        let (mut rows, mut places, mut buffer) = (vec![], vec![], vec![0; batch]);
        while let Some(found) = order.fill(epoch, at, &mut buffer) {
            rows.extend(buffer[..found.count].iter().map(|&r| r as u64 + order.starts[found.group]));
            at = found.next;
            places.push((rows.len(), at));
        }
        (rows, places)
    }

    const START: Position = Position { ordinal: 0, offset: 0 };

    proptest! {
        #[test]
        fn shards_and_parts_split_the_rows(
            groups in prop::collection::vec(0u64..60, 0..7), seed: u64, epoch: u64, shuffle: bool,
            shards in 1u64..5, holdout in 0.0f64..0.9, batch in 1usize..40,
        ) {
            let mut all = vec![];
            for part in [Part::Fit, Part::Held] {
                for shard in 0..shards {
                    let settings = Settings { shard: (shard, shards), holdout, part, ..settings(seed, shuffle) };
                    let order = Order::new(&groups, settings).unwrap();
                    let (rows, _) = read(&order, epoch, START, batch);
                    prop_assert_eq!(order.count(&|| Ok(())).unwrap(), rows.len() as u64);
                    all.extend(rows);
                }
            }
            all.sort_unstable();
            prop_assert_eq!(all, (0..groups.iter().sum()).collect::<Vec<u64>>());
        }

        #[test]
        fn any_position_resumes(groups in prop::collection::vec(0u64..60, 1..7), seed: u64, batch in 1usize..40) {
            let order = Order::new(&groups, settings(seed, true)).unwrap();
            let (rows, places) = read(&order, 3, START, batch);
            for (done, place) in places {
                prop_assert_eq!(&read(&order, 3, place, batch).0, &rows[done..]);
            }
        }
    }

    #[test]
    fn without_shuffle_rows_come_in_order_and_epochs_differ_with_it() {
        let plain = Order::new(&[50, 0, 50], settings(1, false)).unwrap();
        assert_eq!(read(&plain, 7, START, 9).0, (0..100).collect::<Vec<u64>>());
        let shuffled = Order::new(&[50, 50], settings(1, true)).unwrap();
        assert_ne!(read(&shuffled, 0, START, 9).0, read(&shuffled, 1, START, 9).0);
    }

    #[test]
    fn the_share_held_out_is_the_share_asked_for() {
        let held = Settings { holdout: 0.2, part: Part::Held, ..settings(0, false) };
        let count = Order::new(&[100_000], held).unwrap().count(&|| Ok(())).unwrap() as f64;
        // Five standard deviations of a binomial.
        assert!((count - 20_000.0).abs() < 5.0 * (100_000f64 * 0.2 * 0.8).sqrt(), "{count}");
    }

    #[test]
    fn settings_out_of_range_are_refused() {
        for bad in [
            Settings { shard: (1, 1), ..settings(0, true) },
            Settings { shard: (0, 0), ..settings(0, true) },
            Settings { holdout: 1.0, ..settings(0, true) },
            Settings { holdout: f64::NAN, ..settings(0, true) },
        ] {
            assert!(matches!(Order::new(&[3], bad), Err(Error::Config(_))));
        }
        assert!(Order::new(&[u64::MAX, 2], settings(0, true)).is_err());
    }
}
