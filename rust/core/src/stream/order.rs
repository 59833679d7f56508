//! Which row comes at which place: a pure function of (seed, epoch, position).
//!
//! A table is groups of rows; a shard is a range of its rows, so that it touches the groups of its range only. With a
//! window, a group is shuffled window by window, in the order of the file; without one, as a whole.

use std::ops::Range;

use rayon::prelude::*;

use crate::rng::Key;
use crate::{Error, Result, hash, parallel};

use super::Permutation;

/// Rows that one call looks at, at most: between calls a signal can be answered.
const SCAN: u64 = 1 << 22;
/// Fewer places than this are worked out by the calling thread: waking others takes longer.
const ALONE: usize = 4096;
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
    /// Whether groups, and rows within each window, come in random order.
    pub shuffle: bool,
    /// Rows that are shuffled together; None for a whole group.
    pub window: Option<u64>,
    /// This shard and the number of shards, which split the rows into equal ranges.
    pub shard: (u64, u64),
    /// Share of rows held out.
    pub holdout: f64,
    /// The side of the hold-out.
    pub part: Part,
}

/// A place in an epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
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

/// Rows that come together: of one group, in one window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The group.
    pub group: usize,
    /// Rows within the group.
    pub rows: Range<u64>,
    /// The place of its first row; the others follow without a gap.
    pub at: Position,
}

/// The order of a table's rows.
pub struct Order {
    starts: Vec<u64>,
    /// The groups of the shard, and the rows of the table that are its own.
    groups: Range<usize>,
    shard: Range<u64>,
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
        if settings.window == Some(0) {
            return Err(Error::Config("`window` must be at least 1 row, or None for whole groups".into()));
        }
        let mut starts = vec![0u64];
        for (i, size) in groups.iter().enumerate() {
            let end = starts[i].checked_add(*size).filter(|&end| end <= i64::MAX as u64);
            starts.push(end.ok_or_else(|| Error::Config("the table has more rows than fit 63 bits".into()))?);
        }
        let rows = starts[groups.len()];
        let shard = share(rows, index, count)..share(rows, index + 1, count);
        // Groups that begin before the shard's end and end after its beginning.
        let first = starts.partition_point(|&start| start <= shard.start).saturating_sub(1);
        let last = starts.partition_point(|&start| start < shard.end).max(first);
        let groups = first..if shard.is_empty() { first } else { last };
        let cut = (settings.holdout * 2f64.powi(64)) as u64;
        Ok(Self { starts, groups, shard, settings, cut, key: Key::new(settings.seed) })
    }

    /// Find the next rows, all of one group and before the place `until` in it, as row numbers within the group.
    ///
    /// Fewer than asked for where the group ends, None at the end of the epoch. A call may find no row and yet not be
    /// at the end.
    pub fn fill(&self, epoch: u64, at: Position, until: u64, rows: &mut [i64]) -> Option<Found> {
        let (group, own) = self.group(epoch, at.ordinal)?;
        let end = own.end - own.start;
        let mut found = Found { count: 0, group, next: at };
        let stop = end.min(until).min(at.offset.saturating_add(SCAN));
        while found.next.offset < stop && found.count < rows.len() {
            let left = (stop - found.next.offset).min((rows.len() - found.count) as u64) as usize;
            let fresh = &mut rows[found.count..found.count + left];
            self.places(epoch, group, &own, found.next.offset, fresh);
            found.count += self.kept(self.starts[group], fresh);
            found.next.offset += left as u64;
        }
        if found.next.offset >= end {
            found.next = Position { ordinal: at.ordinal + 1, offset: 0 };
        }
        Some(found)
    }

    /// Find the next rows as row numbers of the table, across groups: how many, and where the next call goes on.
    ///
    /// Fewer than asked for at the end of the epoch only.
    ///
    /// # Errors
    /// Those of `tick`, which is asked now and then whether to go on.
    pub fn fill_table(
        &self,
        epoch: u64,
        mut at: Position,
        rows: &mut [i64],
        tick: &dyn Fn() -> Result<()>,
    ) -> Result<(usize, Position)> {
        let mut count = 0;
        while count < rows.len() {
            let Some(found) = self.fill(epoch, at, u64::MAX, &mut rows[count..]) else { break };
            let start = self.starts[found.group] as i64;
            rows[count..count + found.count].iter_mut().for_each(|row| *row += start);
            if found.count == 0 {
                tick()?;
            }
            (count, at) = (count + found.count, found.next);
        }
        Ok((count, at))
    }

    /// The rows that come together at this place and after it; None at the end of the epoch.
    ///
    /// Shuffled rows are needed whole, from the beginning of their window; others from this place on.
    #[must_use]
    pub fn span(&self, epoch: u64, at: Position) -> Option<Span> {
        let (group, own) = self.group(epoch, at.ordinal)?;
        let size = own.end - own.start;
        let offset = at.offset.min(size);
        let (first, end) = match (self.settings.shuffle, self.settings.window) {
            (false, _) => (offset, size),
            (true, None) => (0, size),
            (true, Some(window)) => {
                let first = offset / window * window;
                (first, size.min(first.saturating_add(window)))
            }
        };
        let rows = own.start + first..own.start + end;
        Some(Span { group, rows, at: Position { ordinal: at.ordinal, offset: first } })
    }

    /// The same place, or the beginning of the next group where this one is finished.
    #[must_use]
    pub fn after(&self, epoch: u64, at: Position) -> Position {
        match self.group(epoch, at.ordinal) {
            Some((_, own)) if at.offset < own.end - own.start => at,
            _ => Position { ordinal: at.ordinal + 1, offset: 0 },
        }
    }

    /// The most rows that come together.
    #[must_use]
    pub fn largest_window(&self) -> u64 {
        let sizes = self.groups.clone().map(|group| self.starts[group + 1] - self.starts[group]);
        sizes.max().unwrap_or(0).min(self.settings.window.unwrap_or(u64::MAX))
    }

    /// Whether rows are shuffled.
    #[must_use]
    pub fn shuffles(&self) -> bool {
        self.settings.shuffle
    }

    /// How many rows an epoch has; `tick` is asked now and then whether to go on.
    ///
    /// # Errors
    /// Those of `tick`.
    pub fn count(&self, tick: &dyn Fn() -> Result<()>) -> Result<u64> {
        if self.keeps_all() {
            return Ok(self.shard.end - self.shard.start);
        }
        let mut total = 0;
        for start in self.shard.clone().step_by(SCAN as usize) {
            tick()?;
            let part = start..self.shard.end.min(start.saturating_add(SCAN));
            total +=
                parallel::run(|| Ok(part.into_par_iter().filter(|&row| self.keeps(row)).count() as u64))?;
        }
        Ok(total)
    }

    /// The group at this place of the epoch, and its rows that are the shard's.
    fn group(&self, epoch: u64, ordinal: u64) -> Option<(usize, Range<u64>)> {
        let count = self.groups.len() as u64;
        if ordinal >= count {
            return None;
        }
        let place = if self.settings.shuffle {
            Permutation::new(count, self.key.child(epoch, u64::MAX)).at(ordinal)
        } else {
            ordinal
        };
        let group = self.groups.start + place as usize;
        let (start, end) = (self.starts[group], self.starts[group + 1]);
        Some((group, start.max(self.shard.start) - start..end.min(self.shard.end) - start))
    }

    /// The rows at places `offset..` of a group, whether kept or not.
    fn places(&self, epoch: u64, group: usize, own: &Range<u64>, offset: u64, rows: &mut [i64]) {
        if !self.settings.shuffle {
            rows.iter_mut().zip(own.start + offset..).for_each(|(row, place)| *row = place as i64);
            return;
        }
        let size = own.end - own.start;
        let window = self.settings.window.unwrap_or(size).min(size);
        let key = self.key.child(epoch, group as u64);
        let mut done = 0;
        while done < rows.len() {
            let place = offset + done as u64;
            let (number, inside) = (place / window, place % window);
            let first = number * window;
            let length = window.min(size - first);
            let left = ((length - inside) as usize).min(rows.len() - done);
            // The first window has the key of the group, so that a window of the whole group is no window at all.
            let key = if number == 0 { key } else { key.child(number, 0) };
            let order = Permutation::new(length, key);
            fill(&order, inside, own.start + first, &mut rows[done..done + left]);
            done += left;
        }
    }

    /// Move the rows that belong to the stream to the front; how many.
    fn kept(&self, start: u64, rows: &mut [i64]) -> usize {
        if self.keeps_all() {
            return rows.len();
        }
        let mut count = 0;
        for i in 0..rows.len() {
            rows[count] = rows[i];
            count += usize::from(self.keeps(start + rows[i] as u64));
        }
        count
    }

    fn keeps_all(&self) -> bool {
        self.settings.part == Part::All || (self.cut == 0 && self.settings.part == Part::Fit)
    }

    fn keeps(&self, row: u64) -> bool {
        let held = || hash::mix(HOLDOUT_KEY, row) < self.cut;
        match self.settings.part {
            Part::All => true,
            Part::Held => held(),
            Part::Fit => !held(),
        }
    }
}

/// Where a share of `rows` ends, `index` of `count` equal ones.
fn share(rows: u64, index: u64, count: u64) -> u64 {
    (u128::from(rows) * u128::from(index) / u128::from(count)) as u64
}

/// The places that follow `first`, each plus `start`, on all cores where there are many.
fn fill(order: &Permutation, first: u64, start: u64, rows: &mut [i64]) {
    let work = rows.chunks_mut(ALONE).enumerate();
    parallel::share(work, |(chunk, rows)| order.fill(first + (chunk * ALONE) as u64, start, rows));
}

#[cfg(test)]
mod tests;
