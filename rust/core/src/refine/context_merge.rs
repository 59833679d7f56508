//! Merging a mini-batch into the rows that every query retains, in place.
//!
//! Most rows of a late mini-batch are farther than a query's K-th retained one, so they cost a distance and a
//! comparison, and a query that takes none is not touched. A block of queries passes over a tile of rows that stays in the
//! first-level cache, stored column by column for vectors of rows; what passes the comparison is
//! sorted by (distance, index) and merged with the retained list.

use pulp::{Arch, Simd, WithSimd, bytemuck};
use rayon::prelude::*;

use super::slots::{Source, copy_slots, key, merge_lists, part};
use super::{expect, expect_sizes};
use crate::{Error, Result};

/// Rows of a group.
const LANES: usize = 64;
/// Vectors of rows whose distances are computed together; at most a group of the widest.
const VECTORS: usize = 4;
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

/// What a merge reads beside the retained rows.
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
    /// `[T, B]`; absent means all ones.
    pub weight: Option<&'a [f32]>,
}

/// The rows that every query retains, which a merge brings up to date.
#[derive(Debug)]
pub struct Kept<'a> {
    /// `[T, M, K]`, ascending, +inf where empty.
    pub distance: &'a mut [f32],
    /// `[T, M, K, D]`.
    pub x: &'a mut [f32],
    /// `[T, M, K, O]`.
    pub y: &'a mut [f32],
}

/// Keep, for every query, the K nearest of its retained rows and the mini-batch: `amortix.ops.context_merge`.
///
/// # Errors
/// `Array` where a length does not fit the sizes or a retained list does not ascend.
pub fn context_merge(sizes: MergeSizes, input: MergeInput<'_>, state: Kept<'_>) -> Result<()> {
    check(sizes, input, &state)?;
    let MergeSizes { queries, columns, outputs, kept, .. } = sizes;
    if sizes.tasks * queries == 0 {
        return Ok(());
    }
    crate::parallel::run(|| {
        // All of it before anything is written.
        state.distance.par_chunks(queries * kept).try_for_each(|lists| ascending(lists, kept))?;
        state
            .distance
            .par_chunks_mut(queries * kept)
            .zip(state.x.par_chunks_mut(queries * kept * columns))
            .zip(state.y.par_chunks_mut(queries * kept * outputs))
            .enumerate()
            .for_each(|(task, ((distance, x), y))| {
                Task::new(sizes, input, task).merge(Kept { distance, x, y });
            });
        Ok(())
    })
}

fn ascending(lists: &[f32], kept: usize) -> Result<()> {
    match lists.chunks_exact(kept).position(|list| list.windows(2).any(|pair| pair[0] > pair[1])) {
        None => Ok(()),
        Some(query) => Err(Error::Array(format!(
            "context_merge: distance of query {query} does not ascend; give what an earlier merge returned, \
             or +inf where nothing is retained"
        ))),
    }
}

fn check(sizes: MergeSizes, input: MergeInput<'_>, state: &Kept<'_>) -> Result<()> {
    let MergeSizes { tasks, queries, batch, columns, outputs, kept } = sizes;
    expect_sizes("context_merge", kept, columns, outputs)?;
    let mut lengths = vec![
        ("query", input.query.len(), vec![tasks, queries, columns]),
        ("rows", input.rows.len(), vec![tasks, batch, columns]),
        ("values", input.values.len(), vec![tasks, batch, outputs]),
        ("relevance", input.relevance.len(), vec![tasks, columns]),
        ("distance", state.distance.len(), vec![tasks, queries, kept]),
        ("kept_x", state.x.len(), vec![tasks, queries, kept, columns]),
        ("kept_y", state.y.len(), vec![tasks, queries, kept, outputs]),
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
    /// The rows of positive weight, ascending.
    eligible: Vec<u32>,
    /// Their coordinates, `[group][D][LANES]`; the last group is padded with zeros.
    lanes: Vec<f32>,
}

impl<'a> Task<'a> {
    fn new(sizes: MergeSizes, input: MergeInput<'a>, task: usize) -> Self {
        let MergeSizes { queries, batch, columns, outputs, .. } = sizes;
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
            eligible,
            lanes,
        }
    }

    fn merge(&self, state: Kept<'_>) {
        let MergeSizes { columns, outputs, kept, .. } = self.sizes;
        state
            .distance
            .par_chunks_mut(QUERIES * kept)
            .zip(state.x.par_chunks_mut(QUERIES * kept * columns))
            .zip(state.y.par_chunks_mut(QUERIES * kept * outputs))
            .enumerate()
            .for_each_init(Scratch::default, |scratch, (block, ((distance, x), y))| {
                let candidates = &mut scratch.candidates;
                Arch::new().dispatch(Collect { task: self, first: block * QUERIES, distance, candidates });
                self.merge_block(scratch, Kept { distance, x, y });
            });
    }

    /// Distances of a query to the rows of a group from `top` on.
    #[inline(always)]
    fn distances<S: Simd>(&self, simd: S, lanes: &[f32], query: &[f32], top: usize) -> [S::f32s; VECTORS] {
        let mut totals = [simd.splat_f32s(0.0); VECTORS];
        for ((row, q), relevance) in lanes.as_chunks::<LANES>().0.iter().zip(query).zip(self.relevance) {
            let row = S::as_simd_f32s(&row[top..top + VECTORS * S::F32_LANES]).0;
            let (q, relevance) = (simd.splat_f32s(*q), simd.splat_f32s(*relevance));
            for (total, x) in totals.iter_mut().zip(row) {
                let delta = simd.sub_f32s(q, *x);
                *total = simd.add_f32s(*total, simd.mul_f32s(simd.mul_f32s(relevance, delta), delta));
            }
        }
        totals
    }

    /// Merge what was collected for each query of a block.
    fn merge_block(&self, scratch: &mut Scratch, state: Kept<'_>) {
        let MergeSizes { columns, outputs, kept, .. } = self.sizes;
        for (local, candidates) in scratch.candidates.iter_mut().enumerate() {
            if candidates.is_empty() {
                continue;
            }
            let list = &mut state.distance[local * kept..][..kept];
            merge_lists(list, candidates, &mut scratch.near, &mut scratch.source);
            list.copy_from_slice(&scratch.near);
            for (content, fresh, width) in
                [(&mut *state.x, self.rows, columns), (&mut *state.y, self.values, outputs)]
            {
                let slots = &mut content[local * kept * width..][..kept * width];
                scratch.before.clear();
                scratch.before.extend_from_slice(slots);
                copy_slots(&scratch.source, list, (scratch.before.as_slice(), fresh), slots, width);
            }
        }
    }
}

/// The rows that are nearer to a query than its last retained one, for the queries from `first` on, as keys that sort by
/// (distance, row).
///
/// Distances are summed in the order of the definition, and Rust never fuses a product with a sum, so every body of the
/// operation comes to the same bits.
struct Collect<'a> {
    task: &'a Task<'a>,
    first: usize,
    distance: &'a [f32],
    candidates: &'a mut Vec<Vec<u64>>,
}

impl WithSimd for Collect<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { task, first, distance, candidates } = self;
        let MergeSizes { columns, kept, .. } = task.sizes;
        candidates.resize_with(QUERIES, Vec::new);
        candidates.iter_mut().for_each(Vec::clear);
        let group = LANES * columns;
        let tile = (TILE / group).max(1);
        for (groups, rows) in task.lanes.chunks(tile * group).zip(task.eligible.chunks(tile * LANES)) {
            for (local, (list, found)) in distance.chunks_exact(kept).zip(&mut *candidates).enumerate() {
                let (query, worst) = (part(task.query, first + local, columns), list[kept - 1]);
                for (lanes, rows) in groups.chunks_exact(group).zip(rows.chunks(LANES)) {
                    for top in (0..rows.len()).step_by(VECTORS * S::F32_LANES) {
                        let totals = task.distances(simd, lanes, query, top);
                        for (total, rows) in totals.iter().zip(rows[top..].chunks(S::F32_LANES)) {
                            let below = simd.less_than_f32s(*total, simd.splat_f32s(worst));
                            if simd.first_true_m32s(below) < S::F32_LANES {
                                let numbers: &[f32] = bytemuck::cast_slice(std::slice::from_ref(total));
                                let near =
                                    numbers.iter().zip(rows).filter(|(distance, _)| **distance < worst);
                                found.extend(near.map(|(distance, row)| key(*distance, *row)));
                            }
                        }
                    }
                }
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    /// Of each query of a block.
    candidates: Vec<Vec<u64>>,
    near: Vec<f32>,
    source: Vec<Source>,
    /// What the slots of a query held.
    before: Vec<f32>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// One task and output; rows are a few whole numbers, so that equal distances are common.
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

    type State = (Vec<f32>, Vec<f32>, Vec<f32>);

    /// Merge the rows in mini-batches of `step`; a row's value is its index.
    fn merged(case: &Case, step: usize) -> Result<State> {
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
                weight: Some(&case.weight[start..stop]),
            };
            let kept = Kept { distance: &mut state.0, x: &mut state.1, y: &mut state.2 };
            context_merge(MergeSizes { batch: stop - start, ..case.sizes }, input, kept)?;
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
            let input = MergeInput { query: &[0.0], rows: &[], values: &[], relevance: &[1.0], weight: None };
            let (mut near, mut x, mut y) = (distance.to_vec(), [0.0; 2], [0.0; 2]);
            context_merge(sizes, input, Kept { distance: &mut near, x: &mut x, y: &mut y })
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
