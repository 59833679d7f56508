//! Which classes and rows an episode has: a pure function of (seed, its number) and of the index of the rows.

use rayon::prelude::*;

use crate::hash;
use crate::rng::Key;
use crate::{Error, Result, parallel};

/// Episodes that one thread draws at a time.
const EPISODES: usize = 64;

/// How many classes an episode has, and how many rows of each are for learning and for asking.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Classes.
    pub ways: usize,
    /// Rows of each class to learn from.
    pub shots: usize,
    /// Rows of each class to be asked about.
    pub queries: usize,
}

/// The rows of some episodes, class by class: row numbers in `[T, ways · shots]` and `[T, ways · queries]`.
pub struct Rows<'a> {
    /// Those to learn from.
    pub support: &'a mut [i64],
    /// Those to be asked about, others than those.
    pub query: &'a mut [i64],
    /// The classes, `[T, ways]`.
    pub classes: &'a mut [i64],
}

/// Draw the episodes from number `first` on, from classes among `eligible`.
///
/// # Errors
/// `Config` where there are too few classes, or one has too few rows; `Array` where sizes or the index do not fit.
pub fn draw_into(
    seed: u64,
    first: u64,
    (offsets, rows): (&[i64], &[i64]),
    eligible: &[i64],
    shape: Shape,
    out: Rows<'_>,
) -> Result<()> {
    let Shape { ways, shots, queries } = shape;
    check(offsets, rows, eligible, shape)?;
    let episodes = out.classes.len() / ways;
    let needed = [ways, ways * shots, ways * queries].map(|size| size * episodes);
    if [out.classes.len(), out.support.len(), out.query.len()] != needed {
        return Err(Error::Array(
            "classes, support and query rows have different numbers of episodes".into(),
        ));
    }
    let plan = Plan { seed, first, offsets, rows, eligible, shape };
    if episodes <= EPISODES {
        plan.draw(0, out);
        return Ok(());
    }
    parallel::run(|| {
        let Rows { support, query, classes } = out;
        let support = support.par_chunks_mut(ways * shots * EPISODES);
        let query = query.par_chunks_mut(ways * queries * EPISODES);
        let parts = classes.par_chunks_mut(ways * EPISODES).zip(support).zip(query).enumerate();
        parts.for_each(|(part, ((classes, support), query))| {
            plan.draw(part, Rows { support, query, classes })
        });
        Ok(())
    })
}

/// What all episodes are drawn from.
struct Plan<'a> {
    seed: u64,
    first: u64,
    offsets: &'a [i64],
    rows: &'a [i64],
    eligible: &'a [i64],
    shape: Shape,
}

impl Plan<'_> {
    /// Draw the episodes of one part.
    fn draw(&self, part: usize, out: Rows<'_>) {
        let Shape { ways, shots, queries } = self.shape;
        let mut picker = Picker::new(self.largest());
        let support = out.support.chunks_mut(ways * shots);
        let query = out.query.chunks_mut(ways * queries);
        for (i, ((classes, support), query)) in
            out.classes.chunks_mut(ways).zip(support).zip(query).enumerate()
        {
            let key = Key::new(self.seed).child(5, self.first.wrapping_add((part * EPISODES + i) as u64));
            picker.pick(key.child(0, 0), self.eligible, classes.iter_mut());
            let each = support.chunks_mut(shots).zip(query.chunks_mut(queries));
            for (&class, (support, query)) in classes.iter().zip(each) {
                picker.pick(key.child(1, class as u64), self.of(class), support.iter_mut().chain(query));
            }
        }
    }

    fn of(&self, class: i64) -> &[i64] {
        &self.rows[self.offsets[class as usize] as usize..self.offsets[class as usize + 1] as usize]
    }

    /// The most that is picked from at once.
    fn largest(&self) -> usize {
        let rows = self.eligible.iter().map(|&class| self.of(class).len()).max();
        rows.unwrap_or(0).max(self.eligible.len())
    }
}

/// Picks without replacement: the first swaps of a Fisher-Yates shuffle, which are undone afterwards.
struct Picker {
    places: Vec<usize>,
    swaps: Vec<usize>,
}

impl Picker {
    fn new(most: usize) -> Self {
        Self { places: (0..most).collect(), swaps: Vec::new() }
    }

    /// Fill `out`, which is no longer than `from`, with different elements of `from` in random order.
    fn pick<'a>(&mut self, key: Key, from: &[i64], out: impl Iterator<Item = &'a mut i64>) {
        self.swaps.clear();
        for (i, to) in out.enumerate() {
            let other = i + hash::below(hash::mix(key.bits(), i as u64), (from.len() - i) as u64) as usize;
            self.places.swap(i, other);
            self.swaps.push(other);
            *to = from[self.places[i]];
        }
        for (i, &other) in self.swaps.iter().enumerate().rev() {
            self.places.swap(i, other);
        }
    }
}

fn check(offsets: &[i64], rows: &[i64], eligible: &[i64], shape: Shape) -> Result<()> {
    if shape.ways.min(shape.shots).min(shape.queries) == 0 {
        return Err(Error::Config("ways, shots and queries must be 1 or more".into()));
    }
    if eligible.len() < shape.ways {
        return Err(Error::Config(format!("{} classes cannot make {} ways", eligible.len(), shape.ways)));
    }
    if !offsets.is_sorted() || offsets.iter().any(|&at| at < 0 || at as u64 > rows.len() as u64) {
        return Err(Error::Array("`offsets` must ascend and point into the rows".into()));
    }
    for &class in eligible {
        let at = usize::try_from(class).ok().filter(|&at| at + 1 < offsets.len());
        let size = at.map(|at| offsets[at + 1] - offsets[at]);
        let size = size.ok_or_else(|| Error::Array(format!("there is no class {class}")))?;
        let needed = shape.shots.saturating_add(shape.queries);
        if (size as u64) < needed as u64 {
            return Err(Error::Config(format!("class {class} has {size} rows, but {needed} are needed")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::episode::Index;

    fn draw(first: u64, episodes: usize, shape: Shape, eligible: &[i64]) -> Result<[Vec<i64>; 3]> {
        let labels: Vec<i64> = (0..60).map(|row| row % 6).collect();
        let index = Index::new(&labels).unwrap();
        let each = [shape.ways * shape.shots, shape.ways * shape.queries, shape.ways];
        let [mut support, mut query, mut classes] = each.map(|n| vec![-1; episodes * n]);
        let out = Rows { support: &mut support, query: &mut query, classes: &mut classes };
        draw_into(3, first, (&index.offsets, &index.rows), eligible, shape, out)?;
        Ok([support, query, classes])
    }

    #[test]
    fn episodes_have_their_classes_and_never_ask_for_what_they_showed() {
        let shape = Shape { ways: 3, shots: 4, queries: 6 };
        let [support, query, classes] = draw(10, 200, shape, &[0, 1, 3, 5]).unwrap();
        for ((support, query), classes) in support.chunks(12).zip(query.chunks(18)).zip(classes.chunks(3)) {
            for way in 0..3 {
                let mut own = [&support[way * 4..way * 4 + 4], &query[way * 6..way * 6 + 6]].concat();
                own.sort_unstable();
                let all: Vec<i64> = (0..10).map(|k| classes[way] + 6 * k).collect();
                assert_eq!(own, all);
            }
            assert!(classes.iter().all(|c| [0, 1, 3, 5].contains(c)));
            assert!(classes[0] != classes[1] && classes[1] != classes[2] && classes[0] != classes[2]);
        }
        let [later, ..] = draw(110, 5, shape, &[0, 1, 3, 5]).unwrap();
        assert_eq!(later, support[100 * 12..105 * 12]);
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let shape = |ways, shots, queries| Shape { ways, shots, queries };
        assert!(draw(0, 1, shape(3, 1, 1), &[0, 1]).is_err());
        assert!(draw(0, 1, shape(2, 5, 6), &[0, 1]).is_err());
        assert!(draw(0, 1, shape(2, 1, 1), &[0, 6]).is_err());
        assert!(draw(0, 1, shape(2, 1, 1), &[0, -1]).is_err());
        assert!(draw(0, 0, shape(0, 1, 1), &[0]).is_err());
    }
}
