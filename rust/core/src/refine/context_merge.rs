//! Merging a mini-batch into the rows that every query retains.
//!
//! Most rows of a late mini-batch are farther than a query's K-th retained one, so they cost a distance and a
//! comparison. Distances are computed for a block of queries against a tile of rows that stays in the first-level
//! cache, stored column by column so that the compiler vectorises over rows; what passes the comparison is sorted by
//! (distance, index) and merged with the retained list.

use rayon::prelude::*;

use super::{expect, expect_sizes};
use crate::{Error, Result};

/// Rows whose distances are computed together: one register file of accumulators.
const LANES: usize = 16;
/// Queries that pass over a tile of rows while it is in cache, and one unit of parallel work.
const QUERIES: usize = 32;
/// Floats of a tile: half of a 32 KiB first-level cache.
const TILE: usize = 4096;

/// The axes of a merge, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct MergeSizes {
    /// T.
    pub tasks: usize,
    /// M.
    pub queries: usize,
    /// B.
    pub batch: usize,
    /// D.
    pub columns: usize,
    /// O.
    pub outputs: usize,
    /// K.
    pub kept: usize,
}

/// What a merge reads.
#[derive(Debug, Clone, Copy)]
pub struct MergeInput<'a> {
    /// `[T, M, D]`.
    pub query: &'a [f32],
    /// `[T, B, D]`.
    pub rows: &'a [f32],
    /// `[T, B, O]`.
    pub values: &'a [f32],
    /// `[T, D]`.
    pub relevance: &'a [f32],
    /// `[T, M, K]`, ascending, +inf where empty.
    pub distance: &'a [f32],
    /// `[T, M, K, D]`.
    pub kept_x: &'a [f32],
    /// `[T, M, K, O]`.
    pub kept_y: &'a [f32],
    /// `[T, B]`; absent means all ones.
    pub weight: Option<&'a [f32]>,
}

/// What a merge writes.
#[derive(Debug)]
pub struct MergeOutput<'a> {
    /// `[T, M, K]`.
    pub distance: &'a mut [f32],
    /// `[T, M, K, D]`.
    pub kept_x: &'a mut [f32],
    /// `[T, M, K, O]`.
    pub kept_y: &'a mut [f32],
}

/// Keep, for every query, the K nearest of its retained rows and the mini-batch: `amortix.ops.context_merge`.
///
/// # Errors
/// `Array` where a length does not fit the sizes or a retained list does not ascend.
pub fn context_merge(sizes: MergeSizes, input: MergeInput<'_>, output: MergeOutput<'_>) -> Result<()> {
    check(sizes, input, &output)?;
    let MergeSizes { queries, columns, outputs, kept, .. } = sizes;
    if sizes.tasks * queries == 0 {
        return Ok(());
    }
    crate::parallel::run(|| {
        output
            .distance
            .par_chunks_mut(queries * kept)
            .zip(output.kept_x.par_chunks_mut(queries * kept * columns))
            .zip(output.kept_y.par_chunks_mut(queries * kept * outputs))
            .enumerate()
            .try_for_each(|(task, ((distance, kept_x), kept_y))| {
                Task::new(sizes, input, task).merge(MergeOutput { distance, kept_x, kept_y })
            })
    })
}

fn check(sizes: MergeSizes, input: MergeInput<'_>, output: &MergeOutput<'_>) -> Result<()> {
    let MergeSizes { tasks, queries, batch, columns, outputs, kept } = sizes;
    expect_sizes("context_merge", kept, columns, outputs)?;
    let mut lengths = vec![
        ("query", input.query.len(), vec![tasks, queries, columns]),
        ("rows", input.rows.len(), vec![tasks, batch, columns]),
        ("values", input.values.len(), vec![tasks, batch, outputs]),
        ("relevance", input.relevance.len(), vec![tasks, columns]),
        ("distance", input.distance.len(), vec![tasks, queries, kept]),
        ("kept_x", input.kept_x.len(), vec![tasks, queries, kept, columns]),
        ("kept_y", input.kept_y.len(), vec![tasks, queries, kept, outputs]),
        ("out_distance", output.distance.len(), vec![tasks, queries, kept]),
        ("out_x", output.kept_x.len(), vec![tasks, queries, kept, columns]),
        ("out_y", output.kept_y.len(), vec![tasks, queries, kept, outputs]),
    ];
    if let Some(weight) = input.weight {
        lengths.push(("weight", weight.len(), vec![tasks, batch]));
    }
    if u32::try_from(batch).is_err() {
        return Err(Error::Array(format!(
            "context_merge: rows holds B={batch}; give fewer than 2³² at a time"
        )));
    }
    lengths.iter().try_for_each(|(name, length, axes)| expect("context_merge", name, *length, axes))
}

/// One task of a merge: its slices, and its eligible rows in tiles.
struct Task<'a> {
    sizes: MergeSizes,
    query: &'a [f32],
    rows: &'a [f32],
    values: &'a [f32],
    relevance: &'a [f32],
    distance: &'a [f32],
    kept_x: &'a [f32],
    kept_y: &'a [f32],
    /// The rows of positive weight, ascending.
    eligible: Vec<u32>,
    /// Their coordinates, `[group][D][LANES]`; the last group is padded with zeros.
    lanes: Vec<f32>,
}

/// The part of `all` that belongs to `index` where each index owns `width` elements.
fn part(all: &[f32], index: usize, width: usize) -> &[f32] {
    &all[index * width..(index + 1) * width]
}

impl<'a> Task<'a> {
    fn new(sizes: MergeSizes, input: MergeInput<'a>, task: usize) -> Self {
        let MergeSizes { queries, batch, columns, outputs, kept, .. } = sizes;
        let rows = part(input.rows, task, batch * columns);
        let weight = input.weight.map(|weight| part(weight, task, batch));
        let eligible: Vec<u32> =
            (0..batch as u32).filter(|b| weight.is_none_or(|weight| weight[*b as usize] > 0.0)).collect();
        let mut lanes = vec![0.0; eligible.len().next_multiple_of(LANES) * columns];
        for (position, row) in eligible.iter().enumerate() {
            let group = &mut lanes[position / LANES * LANES * columns..];
            for (column, value) in part(rows, *row as usize, columns).iter().enumerate() {
                group[column * LANES + position % LANES] = *value;
            }
        }
        Self {
            sizes,
            query: part(input.query, task, queries * columns),
            rows,
            values: part(input.values, task, batch * outputs),
            relevance: part(input.relevance, task, columns),
            distance: part(input.distance, task, queries * kept),
            kept_x: part(input.kept_x, task, queries * kept * columns),
            kept_y: part(input.kept_y, task, queries * kept * outputs),
            eligible,
            lanes,
        }
    }

    fn merge(&self, output: MergeOutput<'_>) -> Result<()> {
        let MergeSizes { columns, outputs, kept, .. } = self.sizes;
        output
            .distance
            .par_chunks_mut(QUERIES * kept)
            .zip(output.kept_x.par_chunks_mut(QUERIES * kept * columns))
            .zip(output.kept_y.par_chunks_mut(QUERIES * kept * outputs))
            .enumerate()
            .try_for_each_init(Scratch::default, |scratch, (block, ((distance, kept_x), kept_y))| {
                self.merge_block(block * QUERIES, scratch, MergeOutput { distance, kept_x, kept_y })
            })
    }

    /// Merge the queries from `first` on, as many as the output holds.
    fn merge_block(&self, first: usize, scratch: &mut Scratch, output: MergeOutput<'_>) -> Result<()> {
        let MergeSizes { columns, outputs, kept, .. } = self.sizes;
        self.distances(first, output.distance.len() / kept, &mut scratch.fresh);
        let padded = self.eligible.len().next_multiple_of(LANES);
        for (local, near) in output.distance.chunks_exact_mut(kept).enumerate() {
            let query = first + local;
            let before = part(self.distance, query, kept);
            if before.windows(2).any(|pair| pair[0] > pair[1]) {
                return Err(Error::Array(format!(
                    "context_merge: distance of query {query} does not ascend; give what an earlier merge returned, \
                     or +inf where nothing is retained"
                )));
            }
            self.collect(part(&scratch.fresh, local, padded), before[kept - 1], &mut scratch.candidates);
            merge_lists(before, &mut scratch.candidates, near, &mut scratch.source);
            let kept_x = (part(self.kept_x, query, kept * columns), self.rows);
            copy_slots(&scratch.source, near, kept_x, &mut output.kept_x[local * kept * columns..], columns);
            let kept_y = (part(self.kept_y, query, kept * outputs), self.values);
            copy_slots(&scratch.source, near, kept_y, &mut output.kept_y[local * kept * outputs..], outputs);
        }
        Ok(())
    }

    /// Distances of `count` queries from `first` on to all eligible rows, `[count, padded]`.
    ///
    /// Summed in the order of the definition, and Rust never fuses a product with a sum, so every body of the operation
    /// comes to the same bits.
    fn distances(&self, first: usize, count: usize, fresh: &mut Vec<f32>) {
        let columns = self.sizes.columns;
        let padded = self.lanes.len() / columns;
        fresh.resize(count * padded, 0.0);
        let group = LANES * columns;
        let tile = (TILE / group).max(1);
        for (index, groups) in self.lanes.chunks(tile * group).enumerate() {
            for local in 0..count {
                let query = part(self.query, first + local, columns);
                let start = local * padded + index * tile * LANES;
                let out = fresh[start..].chunks_exact_mut(LANES);
                for (out, lanes) in out.zip(groups.chunks_exact(group)) {
                    let mut total = [0.0f32; LANES];
                    for ((row, q), relevance) in lanes.chunks_exact(LANES).zip(query).zip(self.relevance) {
                        for (total, x) in total.iter_mut().zip(row) {
                            let delta = q - x;
                            *total += relevance * delta * delta;
                        }
                    }
                    out.copy_from_slice(&total);
                }
            }
        }
    }

    /// The rows nearer than `worst`, as keys that sort by (distance, row).
    fn collect(&self, fresh: &[f32], worst: f32, candidates: &mut Vec<u64>) {
        candidates.clear();
        for (distances, rows) in fresh.chunks_exact(LANES).zip(self.eligible.chunks(LANES)) {
            // A NaN is neither the least nor below `worst`.
            if distances.iter().copied().fold(f32::INFINITY, f32::min) < worst {
                let near = distances.iter().zip(rows).filter(|(distance, _)| **distance < worst);
                candidates.extend(near.map(|(distance, row)| key(*distance, *row)));
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    fresh: Vec<f32>,
    candidates: Vec<u64>,
    source: Vec<Source>,
}

/// Where the content of a slot comes from.
#[derive(Clone, Copy)]
enum Source {
    Kept(usize),
    Row(usize),
}

/// Sorts by distance, then by row: distances are not negative, so their bits order as they do.
fn key(distance: f32, row: u32) -> u64 {
    u64::from(distance.to_bits()) << 32 | u64::from(row)
}

/// Merge the ascending list `before` with the candidates; at equal distance `before` comes first.
fn merge_lists(before: &[f32], candidates: &mut Vec<u64>, near: &mut [f32], source: &mut Vec<Source>) {
    if candidates.len() > near.len() {
        candidates.select_nth_unstable(near.len() - 1);
        candidates.truncate(near.len());
    }
    candidates.sort_unstable();
    source.clear();
    let (mut old, mut new) = (0, candidates.iter().copied().peekable());
    for out in near {
        match new.peek().map(|key| (f32::from_bits((key >> 32) as u32), *key as u32)) {
            Some((distance, row)) if distance < before[old] => {
                (*out, _) = (distance, new.next());
                source.push(Source::Row(row as usize));
            }
            _ => {
                *out = before[old];
                source.push(Source::Kept(old));
                old += 1;
            }
        }
    }
}

/// Fill slots of `width` elements from (the retained ones, the batch); empty slots, the last ones, get zeros.
///
/// Retained slots keep their order, so each stretch of them is one copy: late in a stream nearly all of a query's.
fn copy_slots(source: &[Source], near: &[f32], from: (&[f32], &[f32]), out: &mut [f32], width: usize) {
    let occupied = near.partition_point(|distance| *distance < f32::INFINITY);
    let (mut out, empty) = out[..near.len() * width].split_at_mut(occupied * width);
    empty.fill(0.0);
    let mut rest = &source[..occupied];
    while let Some(first) = rest.first() {
        let (count, content) = match *first {
            Source::Row(row) => (1, part(from.1, row, width)),
            Source::Kept(slot) => {
                let count = rest.iter().take_while(|source| matches!(source, Source::Kept(_))).count();
                (count, &from.0[slot * width..(slot + count) * width])
            }
        };
        let (now, later) = out.split_at_mut(count * width);
        now.copy_from_slice(content);
        (out, rest) = (later, &rest[count..]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One task with one output, whose rows are a few whole numbers, so that equal distances are common.
    #[derive(Debug)]
    struct Case {
        sizes: MergeSizes,
        query: Vec<f32>,
        rows: Vec<f32>,
        weight: Vec<f32>,
    }

    fn case(batch: usize, kept: usize) -> impl Strategy<Value = Case> {
        let columns = 3;
        let numbers = |count| prop::collection::vec((0..4).prop_map(|v| v as f32), count);
        (1usize..70)
            .prop_flat_map(move |queries| {
                let weight = prop::collection::vec((0..2).prop_map(|w| w as f32), batch);
                (Just(queries), numbers(queries * columns), numbers(batch * columns), weight)
            })
            .prop_map(move |(queries, query, rows, weight)| {
                let sizes = MergeSizes { tasks: 1, queries, batch, columns, outputs: 1, kept };
                Case { sizes, query, rows, weight }
            })
    }

    type Kept = (Vec<f32>, Vec<f32>, Vec<f32>);

    /// Merge the rows in mini-batches of `step`; a row's value is its index.
    fn merged(case: &Case, step: usize) -> Result<Kept> {
        let MergeSizes { queries, batch, columns, kept, .. } = case.sizes;
        let slots = queries * kept;
        let mut state = (vec![f32::INFINITY; slots], vec![0.0; slots * columns], vec![0.0; slots]);
        let values: Vec<f32> = (0..batch).map(|row| row as f32).collect();
        for start in (0..batch).step_by(step) {
            let stop = batch.min(start + step);
            let input = MergeInput {
                query: &case.query,
                rows: &case.rows[start * columns..stop * columns],
                values: &values[start..stop],
                relevance: &[1.0, 2.0, 0.5],
                distance: &state.0,
                kept_x: &state.1,
                kept_y: &state.2,
                weight: Some(&case.weight[start..stop]),
            };
            let mut next = state.clone();
            let output = MergeOutput { distance: &mut next.0, kept_x: &mut next.1, kept_y: &mut next.2 };
            context_merge(MergeSizes { batch: stop - start, ..case.sizes }, input, output)?;
            state = next;
        }
        Ok(state)
    }

    /// The (distance, row) pairs that query `query` should keep.
    fn expected(case: &Case, query: usize) -> Vec<(f32, usize)> {
        let MergeSizes { batch, columns, kept, .. } = case.sizes;
        let q = part(&case.query, query, columns);
        let distance = |row: usize| {
            let x = part(&case.rows, row, columns);
            (q[0] - x[0]).powi(2) + 2.0 * (q[1] - x[1]).powi(2) + 0.5 * (q[2] - x[2]).powi(2)
        };
        let mut all: Vec<_> =
            (0..batch).filter(|row| case.weight[*row] > 0.0).map(|row| (distance(row), row)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all.truncate(kept);
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn the_nearest_are_kept_in_stable_order_for_any_batch_size(case in case(90, 17), step in 1usize..100) {
            let (distance, kept_x, values) = merged(&case, step)?;
            for query in 0..case.sizes.queries {
                let expected = expected(&case, query);
                for slot in 0..case.sizes.kept {
                    let at = query * case.sizes.kept + slot;
                    match expected.get(slot) {
                        Some((d, row)) => {
                            prop_assert_eq!((distance[at], values[at]), (*d, *row as f32));
                            prop_assert_eq!(part(&kept_x, at, 3), part(&case.rows, *row, 3));
                        }
                        None => prop_assert_eq!((distance[at], values[at]), (f32::INFINITY, 0.0)),
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_and_order_are_checked() {
        let sizes = MergeSizes { tasks: 1, queries: 1, batch: 0, columns: 1, outputs: 1, kept: 2 };
        let merge = |sizes, distance: &[f32]| {
            let input = MergeInput {
                query: &[0.0],
                rows: &[],
                values: &[],
                relevance: &[1.0],
                distance,
                kept_x: &[0.0; 2],
                kept_y: &[0.0; 2],
                weight: None,
            };
            let (mut near, mut x, mut y) = ([0.0; 2], [0.0; 2], [0.0; 2]);
            context_merge(sizes, input, MergeOutput { distance: &mut near, kept_x: &mut x, kept_y: &mut y })
        };
        assert_eq!(merge(sizes, &[1.0, 1.0]), Ok(()));
        assert!(matches!(merge(sizes, &[2.0, 1.0]), Err(Error::Array(m)) if m.contains("does not ascend")));
        assert!(
            matches!(merge(sizes, &[1.0]), Err(Error::Array(m)) if m.contains("distance has 1 elements"))
        );
        let none = MergeSizes { kept: 0, ..sizes };
        assert!(matches!(merge(none, &[]), Err(Error::Array(m)) if m.contains("K=0")));
    }
}
