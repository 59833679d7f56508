//! Quantiles of a stream in bounded memory, mergeable.
//!
//! Values lie in levels; one of level h stands for 2^h values. A full level is sorted, and every second value of it,
//! beginning with the first or the second by a fair coin, rises to the next level. Long streams are thinned before:
//! of each run of 2^h values one, drawn uniformly, enters level h at once.
//!
//! Each of these steps moves the rank of any number by a random amount of mean zero and known range, so that the
//! sketch knows how far its ranks may be off (Hoeffding's inequality, see `rank_error`): with 99 % probability less
//! than 1.5 % of the values, for any stream of any length, however it was cut and merged. Up to `WIDTH` values, ranks
//! are exact.
//!
//! Reference: Karnin, Lang, Liberty, "Optimal quantile approximation in streams", FOCS 2016.

use crate::hash;
use crate::rng::Key;

/// Room of the highest level; lower ones have two thirds of the one above.
const WIDTH: usize = 512;
/// The least room of a level.
const LEAST: usize = 8;
/// Values that are seen before any is skipped.
const UNTHINNED: u64 = 1 << 16;
/// The longest run of which one value is kept, as a power of two.
const THINNEST: u32 = 8;

/// A bounded number of weighted values.
#[derive(Debug, Clone, PartialEq)]
pub struct Sketch {
    key: u64,
    /// Coins tossed.
    tossed: u64,
    seen: u64,
    /// The sum over all steps of the square of the most that a rank was moved.
    doubt: f64,
    /// Ordered keys of the values, which sort faster.
    levels: Vec<Vec<i64>>,
}

impl Sketch {
    /// An empty sketch. Sketches that will be merged must have different keys: their coins must differ.
    #[must_use]
    pub fn new(key: Key) -> Self {
        Self { key: key.bits(), tossed: 0, seen: 0, doubt: 0.0, levels: vec![] }
    }

    /// See a block of finite numbers, the next of the stream.
    pub fn see(&mut self, block: &[f64]) {
        let thinning = (self.seen / UNTHINNED).checked_ilog2().unwrap_or(0).min(THINNEST);
        self.seen += block.len() as u64;
        let (level, run) = (thinning as usize, 1usize << thinning);
        self.reach(level);
        // A rest too short for a run is kept in full, as is everything before the stream is long.
        let thinned = if run == 1 { 0 } else { block.len() - block.len() % run };
        let (thinned, kept) = block.split_at(thinned);
        for values in thinned.chunks(run) {
            let chosen = hash::below(self.toss(), run as u64) as usize;
            self.levels[level].push(ordered(values[chosen]));
            self.doubt += (run * run) as f64 / 4.0;
        }
        self.levels[0].extend(kept.iter().map(|&value| ordered(value)));
        self.shrink();
    }

    /// Add the values of another sketch.
    pub fn merge(&mut self, other: &Self) {
        self.reach(other.levels.len().saturating_sub(1));
        for (level, values) in self.levels.iter_mut().zip(&other.levels) {
            level.extend_from_slice(values);
        }
        self.seen += other.seen;
        self.doubt += other.doubt;
        self.shrink();
    }

    /// How many values were seen.
    #[must_use]
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// By how much the rank of any one number may be off, but with the probability `risk`.
    #[must_use]
    pub fn rank_error(&self, risk: f64) -> f64 {
        (2.0 * libm::log(2.0 / risk) * self.doubt).sqrt()
    }

    /// Different values in ascending order, each with how many of the stream it stands for; these sum to `seen`.
    #[must_use]
    pub fn points(&self) -> Vec<(f64, u64)> {
        let weighted = self.levels.iter().enumerate();
        let mut points: Vec<(f64, u64)> = weighted
            .flat_map(|(level, keys)| keys.iter().map(move |&key| (value(key), 1 << level)))
            .collect();
        points.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
        points.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            kept.1 += if same { next.1 } else { 0 };
            same
        });
        points
    }

    /// For each of some ascending shares, the smallest value at or below which that share of the stream lies.
    ///
    /// Empty of an empty stream.
    #[must_use]
    pub fn quantiles(&self, shares: &[f64]) -> Vec<f64> {
        let points = self.points();
        let (mut at, mut below) = (0, points.first().map_or(0, |p| p.1));
        let mut quantile = |share: &f64| {
            while (below as f64) < share * self.seen as f64 && at + 1 < points.len() {
                at += 1;
                below += points[at].1;
            }
            points.get(at).map(|p| p.0)
        };
        shares.iter().filter_map(&mut quantile).collect()
    }

    /// The state: values of all levels in turn; key, coins, values seen and the sizes of the levels; the doubt.
    pub(super) fn state(&self) -> (Vec<f64>, Vec<u64>, f64) {
        let sizes = self.levels.iter().map(|level| level.len() as u64);
        let wholes = [self.key, self.tossed, self.seen].into_iter().chain(sizes).collect();
        (self.levels.concat().into_iter().map(value).collect(), wholes, self.doubt)
    }

    /// The sketch with this state; None where its parts do not fit each other.
    pub(super) fn from_state(values: &[f64], wholes: &[u64], doubt: f64) -> Option<Self> {
        let [key, tossed, seen, sizes @ ..] = wholes else { return None };
        let (mut rest, mut levels, mut weight) = (values, vec![], 0u64);
        for (level, &size) in sizes.iter().enumerate() {
            let (values, after) = rest.split_at_checked(usize::try_from(size).ok()?)?;
            weight = weight.checked_add(size.checked_mul(1u64.checked_shl(u32::try_from(level).ok()?)?)?)?;
            levels.push(values.iter().copied().map(ordered).collect());
            rest = after;
        }
        let fits = rest.is_empty() && weight == *seen && doubt >= 0.0 && values.iter().all(|v| v.is_finite());
        fits.then_some(Self { key: *key, tossed: *tossed, seen: *seen, doubt, levels })
    }

    fn toss(&mut self) -> u64 {
        self.tossed += 1;
        hash::mix(self.key, self.tossed)
    }

    fn reach(&mut self, level: usize) {
        if self.levels.len() <= level {
            self.levels.resize(level + 1, vec![]);
        }
    }

    /// Let full levels rise until all values have room.
    fn shrink(&mut self) {
        loop {
            let count = self.levels.len();
            let rooms = (0..count).map(|level| room(count - 1 - level));
            let (kept, all) = (self.levels.iter().map(Vec::len).sum::<usize>(), rooms.clone().sum());
            if kept <= all {
                return;
            }
            // There is one, or all would have room.
            let Some(full) = self.levels.iter().zip(rooms).position(|(level, room)| level.len() >= room)
            else {
                return;
            };
            self.rise(full);
        }
    }

    fn rise(&mut self, level: usize) {
        self.reach(level + 1);
        let second = (self.toss() & 1) as usize;
        let mut keys = std::mem::take(&mut self.levels[level]);
        // Stable sorting finds the sorted runs that earlier rises left.
        keys.sort();
        let odd = if keys.len() % 2 == 1 { keys.pop() } else { None };
        self.levels[level + 1].extend(keys.chunks_exact(2).map(|pair| pair[second]));
        self.doubt += libm::exp2(2.0 * level as f64);
        keys.clear();
        keys.extend(odd);
        self.levels[level] = keys;
    }
}

/// A whole number that compares as the value does; the sign bit flips the others, as IEEE 754 orders them.
fn ordered(value: f64) -> i64 {
    let bits = value.to_bits() as i64;
    bits ^ (bits >> 63 & i64::MAX)
}

/// The inverse of `ordered`.
fn value(key: i64) -> f64 {
    f64::from_bits((key ^ (key >> 63 & i64::MAX)) as u64)
}

fn room(depth: usize) -> usize {
    (0..depth.min(WIDTH)).fold(WIDTH, |room, _| (room * 2 / 3).max(LEAST))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = 256;
    /// Each test looks at some hundred ranks: together they may fail once in a thousand seeds.
    const RISK: f64 = 1e-6;

    fn sketch(values: &[f64], key: u64) -> Sketch {
        let mut sketch = Sketch::new(Key::new(key));
        values.chunks(BLOCK).for_each(|block| sketch.see(block));
        sketch
    }

    fn uniform(n: usize, seed: u64) -> Vec<f64> {
        let mut draws = Key::new(seed).draws();
        (0..n).map(|_| draws.uniform()).collect()
    }

    /// The largest error of the share below or at a value, over all points of the sketch.
    fn worst(sketch: &Sketch, stream: &[f64]) -> f64 {
        let mut sorted = stream.to_vec();
        sorted.sort_by(f64::total_cmp);
        let mut below = 0;
        let errors = sketch.points().into_iter().map(|(value, weight)| {
            below += weight;
            (below as f64 - sorted.partition_point(|&v| v <= value) as f64).abs()
        });
        errors.fold(0.0, f64::max)
    }

    fn check(sketch: &Sketch, stream: &[f64]) {
        assert_eq!(sketch.seen(), stream.len() as u64);
        assert_eq!(sketch.points().iter().map(|p| p.1).sum::<u64>(), stream.len() as u64);
        assert!(sketch.levels.iter().map(Vec::len).sum::<usize>() <= 4 * WIDTH);
        let (error, bound) = (worst(sketch, stream), sketch.rank_error(RISK));
        assert!(error <= bound, "{error} of {bound}");
        assert!(sketch.rank_error(0.01) <= 0.015 * stream.len() as f64, "{}", sketch.rank_error(0.01));
    }

    #[test]
    fn short_streams_are_exact() {
        let stream = uniform(WIDTH, 1);
        let sketch = sketch(&stream, 1);
        assert_eq!((worst(&sketch, &stream), sketch.rank_error(0.01)), (0.0, 0.0));
        assert_eq!(Sketch::new(Key::new(0)).quantiles(&[0.5]), []);
        let values: Vec<f64> = (1..=8).map(f64::from).collect();
        assert_eq!(
            self::sketch(&values, 0).quantiles(&[0.0, 0.25, 0.26, 0.5, 1.0]),
            [1.0, 2.0, 3.0, 4.0, 8.0]
        );
    }

    #[test]
    fn ranks_are_within_the_bound_for_any_order() {
        let n = 300_000;
        let heavy: Vec<f64> = uniform(n, 2).iter().map(|u| libm::pow(1.0 - u, -3.0)).collect();
        let rising: Vec<f64> = (0..n).map(|i| i as f64).collect();
        let falling = rising.iter().map(|v| -v).collect();
        let zigzag = (0..n).map(|i| if i % 2 == 0 { i as f64 } else { -(i as f64) }).collect();
        let few = uniform(n, 3).iter().map(|u| (u * 5.0).floor()).collect();
        for (key, stream) in [heavy, rising, falling, zigzag, few].iter().enumerate() {
            check(&sketch(stream, key as u64), stream);
        }
    }

    #[test]
    fn bounds_hold_at_every_length() {
        for n in [513, 1000, 5000, 20_000, 65_536, 70_001, 140_000, 1_200_000] {
            let stream = uniform(n, n as u64);
            check(&sketch(&stream, 7), &stream);
        }
    }

    #[test]
    fn one_value_stays_one() {
        let sketch = sketch(&[2.5; 100_000], 3);
        assert_eq!(sketch.points(), [(2.5, 100_000)]);
        assert_eq!(sketch.quantiles(&[0.0, 0.3, 1.0]), [2.5; 3]);
    }

    #[test]
    fn merged_shards_keep_the_bound() {
        let stream = uniform(400_000, 5);
        for size in [199_000, 61_803, 997, 100] {
            let mut merged = Sketch::new(Key::new(99));
            for (shard, part) in stream.chunks(size).enumerate() {
                merged.merge(&sketch(part, 100 + shard as u64));
            }
            check(&merged, &stream);
        }
        // The same rows in every shard: errors must not add up in step.
        let part = uniform(50_000, 6);
        let mut merged = Sketch::new(Key::new(98));
        (0..16).for_each(|shard| merged.merge(&sketch(&part, shard)));
        check(&merged, &part.repeat(16));
    }

    #[test]
    fn a_state_is_the_sketch() {
        let sketch = sketch(&uniform(100_000, 8), 8);
        let (values, wholes, doubt) = sketch.state();
        assert_eq!(Sketch::from_state(&values, &wholes, doubt), Some(sketch));
        assert_eq!(Sketch::from_state(&values[1..], &wholes, doubt), None);
        assert_eq!(Sketch::from_state(&values, &wholes[..2], doubt), None);
        let mut more = wholes;
        more[2] += 1;
        assert_eq!(Sketch::from_state(&values, &more, doubt), None);
    }
}
