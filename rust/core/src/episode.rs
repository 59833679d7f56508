//! Episodes of few-shot learning: some classes, and of each some rows to learn from and others to be asked about.
//!
//! Episode `e` is a pure function of (seed, e) and of the index of the rows by their class.

use rayon::prelude::*;

use crate::hash;
use crate::rng::Key;
use crate::{Error, Result, parallel};

/// Labels may span this many times their number before a table over the span is worse than sorting.
const SPARSE: u64 = 8;
/// Bytes that one thread converts at a time.
const PIECE: usize = 128 << 10;
/// Episodes that one thread draws at a time.
const EPISODES: usize = 64;

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
    let root = Key::new(seed);
    let largest = offsets.windows(2).map(|ends| (ends[1] - ends[0]) as usize).max().unwrap_or(0);
    let draw = |(part, ((classes, support), query)): (usize, ((&mut [i64], &mut [i64]), &mut [i64]))| {
        let mut picker = Picker::new(largest.max(eligible.len()));
        let each = classes.chunks_mut(ways).zip(support.chunks_mut(ways * shots));
        for (i, ((classes, support), query)) in each.zip(query.chunks_mut(ways * queries)).enumerate() {
            let key = root.child(5, first.wrapping_add((part * EPISODES + i) as u64));
            picker.pick(key.child(0, 0), eligible, classes.iter_mut());
            let each = support.chunks_mut(shots).zip(query.chunks_mut(queries));
            for (&class, (support, query)) in classes.iter().zip(each) {
                let own = offsets[class as usize] as usize..offsets[class as usize + 1] as usize;
                picker.pick(key.child(1, class as u64), &rows[own], support.iter_mut().chain(query));
            }
        }
    };
    let Rows { support, query, classes } = out;
    if episodes <= EPISODES {
        draw((0, ((classes, support), query)));
        return Ok(());
    }
    parallel::run(|| {
        let parts =
            classes.par_chunks_mut(ways * EPISODES).zip(support.par_chunks_mut(ways * shots * EPISODES));
        parts.zip(query.par_chunks_mut(ways * queries * EPISODES)).enumerate().for_each(draw);
        Ok(())
    })
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

/// Copy rows of `source`, `[height, width]`, times `scale` to `out`, `[n, width]`.
///
/// # Errors
/// `Array` where a row does not exist or sizes do not fit.
pub fn gather_into<T: Copy + Sync + Into<f32>>(
    source: &[T],
    height: usize,
    rows: &[i64],
    scale: f32,
    out: &mut [f32],
) -> Result<()> {
    let width = source.len() / height.max(1);
    if width * height != source.len() || width * rows.len() != out.len() {
        return Err(Error::Array(format!("`out` must be [{}, {width}]", rows.len())));
    }
    if let Some(row) = rows.iter().find(|&&row| row < 0 || row as u64 >= height as u64) {
        return Err(Error::Array(format!("`rows` holds {row}, but the source has {height}")));
    }
    let copy = |(rows, out): (&[i64], &mut [f32])| {
        for (&row, out) in rows.iter().zip(out.chunks_exact_mut(width.max(1))) {
            let from = &source[row as usize * width..][..width];
            out.iter_mut().zip(from).for_each(|(to, &value)| *to = scale * value.into());
        }
    };
    if size_of_val(out) < 2 * PIECE {
        copy((rows, out));
        return Ok(());
    }
    let piece = (PIECE / (width * size_of::<f32>())).max(1);
    parallel::run(|| {
        rows.par_chunks(piece).zip(out.par_chunks_mut(piece * width)).for_each(copy);
        Ok(())
    })
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
        assert!(gather_into(&[1u8, 2], 2, &[2], 1.0, &mut [0.0]).is_err());
        assert!(gather_into(&[1u8, 2], 2, &[1], 1.0, &mut [0.0; 2]).is_err());
    }

    #[test]
    fn threads_do_not_matter() {
        let source: Vec<u8> = (0..40_000u32).map(|i| (i % 251) as u8).collect();
        let rows: Vec<i64> = (0..300).map(|i| i * 7 % 40).collect();
        let mut out = vec![0.0; 300 * 1000];
        gather_into(&source, 40, &rows, 0.5, &mut out).unwrap();
        for (&row, out) in rows.iter().zip(out.chunks(1000)) {
            let from = &source[row as usize * 1000..][..1000];
            assert!(from.iter().zip(out).all(|(&a, &b)| f32::from(a) * 0.5 == b));
        }
    }
}
