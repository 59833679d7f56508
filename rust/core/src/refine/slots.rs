//! Which rows the slots of a query hold after a merge, and moving them there.

/// The part of `all` that belongs to `index` where each index owns `width` elements.
pub(super) fn part(all: &[f32], index: usize, width: usize) -> &[f32] {
    &all[index * width..(index + 1) * width]
}

/// Where the content of a slot comes from.
#[derive(Clone, Copy)]
pub(super) enum Source {
    Kept(usize),
    Row(usize),
}

/// Sorts by distance, then by row: distances are not negative, so their bits order as they do.
pub(super) fn key(distance: f32, row: u32) -> u64 {
    u64::from(distance.to_bits()) << 32 | u64::from(row)
}

/// Merge the ascending list `before` with the candidates into `near`; at equal distance `before` comes first.
pub(super) fn merge_lists(
    before: &[f32],
    candidates: &mut Vec<u64>,
    near: &mut Vec<f32>,
    source: &mut Vec<Source>,
) {
    if candidates.len() > before.len() {
        candidates.select_nth_unstable(before.len() - 1);
        candidates.truncate(before.len());
    }
    candidates.sort_unstable();
    source.clear();
    near.clear();
    let (mut old, mut new) = (0, candidates.iter().copied().peekable());
    while near.len() < before.len() {
        match new.peek().map(|key| (f32::from_bits((key >> 32) as u32), *key as u32)) {
            Some((distance, row)) if distance < before[old] => {
                new.next();
                near.push(distance);
                source.push(Source::Row(row as usize));
            }
            _ => {
                near.push(before[old]);
                source.push(Source::Kept(old));
                old += 1;
            }
        }
    }
}

/// Fill slots of `width` elements from (the retained ones, the batch); empty slots, the last ones, get zeros.
///
/// Retained slots keep their order, so each stretch of them is one copy: late in a stream nearly all of a query's.
pub(super) fn copy_slots(
    source: &[Source],
    near: &[f32],
    from: (&[f32], &[f32]),
    out: &mut [f32],
    width: usize,
) {
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
