//! Copies between a field of all slots and rows of some of them.

use rayon::prelude::*;

use crate::{Error, Result, parallel};

/// Bytes that one thread copies at a time; below two of these the other threads would wake up too late.
const PIECE: usize = 128 << 10;

/// Copy the rows of some slots out of a field: `field` is `[height, width]`, `out` is `[n, width]`.
///
/// # Errors
/// `Array` where a slot does not exist or sizes do not fit.
pub fn gather_into<T: Copy + Send + Sync>(
    field: &[T],
    height: usize,
    slots: &[i64],
    out: &mut [T],
) -> Result<()> {
    let width = width_of(field.len(), height, slots, out.len())?;
    let copy = |(slots, out): (&[i64], &mut [T])| {
        for (&slot, out) in slots.iter().zip(out.chunks_exact_mut(width.max(1))) {
            out.copy_from_slice(&field[slot as usize * width..][..width]);
        }
    };
    if size_of_val(out) < 2 * PIECE {
        copy((slots, out));
        return Ok(());
    }
    let rows = (PIECE / (width * size_of::<T>())).max(1);
    parallel::run(|| {
        slots.par_chunks(rows).zip(out.par_chunks_mut(rows * width)).for_each(copy);
        Ok(())
    })
}

/// Copy rows into some slots of a field; where a slot is given twice, the later row stays.
///
/// Each thread owns a range of the slots and looks at all rows in their order, so a slot that is given twice needs no
/// care; a look costs eight bytes where a copy costs a row.
///
/// # Errors
/// `Array` where a slot does not exist or sizes do not fit; then nothing has changed.
pub fn scatter_from<T: Copy + Send + Sync>(
    field: &mut [T],
    height: usize,
    slots: &[i64],
    values: &[T],
) -> Result<()> {
    let width = width_of(field.len(), height, slots, values.len())?;
    let copy = |first: usize, field: &mut [T]| {
        let own = first as i64..(first + field.len() / width.max(1)) as i64;
        for (slot, values) in slots.iter().zip(values.chunks_exact(width.max(1))) {
            if own.contains(slot) {
                field[(slot - own.start) as usize * width..][..width].copy_from_slice(values);
            }
        }
    };
    if size_of_val(values) < 2 * PIECE {
        copy(0, field);
        return Ok(());
    }
    parallel::run(|| {
        let rows = height.div_ceil(rayon::current_num_threads()).max(1);
        field.par_chunks_mut(rows * width).enumerate().for_each(|(part, field)| copy(part * rows, field));
        Ok(())
    })
}

fn width_of(field: usize, height: usize, slots: &[i64], rows: usize) -> Result<usize> {
    check_slots(slots, height)?;
    let width = field / height.max(1);
    if width * height == field && width * slots.len() == rows {
        return Ok(width);
    }
    Err(Error::Array(format!("{} rows of {width} are needed, but {rows} numbers were given", slots.len())))
}

pub(super) fn check_slots(slots: &[i64], height: usize) -> Result<()> {
    match slots.iter().find(|&&slot| slot < 0 || slot as u64 >= height as u64) {
        None => Ok(()),
        Some(slot) => Err(Error::Array(format!("`slots` holds {slot}, but the pool has {height} slots"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_scattered_is_gathered(width in 0usize..5, slots in prop::collection::hash_set(0i64..20, 0..20)) {
            let slots: Vec<i64> = slots.into_iter().collect();
            let values: Vec<i64> = (0..(slots.len() * width) as i64).collect();
            let (mut field, mut out) = (vec![-1; 20 * width], vec![0; values.len()]);
            scatter_from(&mut field, 20, &slots, &values).unwrap();
            gather_into(&field, 20, &slots, &mut out).unwrap();
            prop_assert_eq!(&out, &values);
            prop_assert_eq!(field.iter().filter(|&&v| v == -1).count(), (20 - slots.len()) * width);
        }

        /// Rows so wide that several threads copy them; slots come twice, and the plain loop says what stays.
        #[test]
        fn threads_do_not_matter(slots in prop::collection::vec(0i64..7, 40..60), width in 7000usize..9000) {
            let values: Vec<i32> = (0..(slots.len() * width) as i32).collect();
            let mut field = vec![-1; 7 * width];
            let mut plain = field.clone();
            for (&slot, row) in slots.iter().zip(values.chunks(width)) {
                plain[slot as usize * width..][..width].copy_from_slice(row);
            }
            scatter_from(&mut field, 7, &slots, &values).unwrap();
            prop_assert!(field == plain);
            let mut out = vec![0; values.len()];
            gather_into(&field, 7, &slots, &mut out).unwrap();
            for (&slot, row) in slots.iter().zip(out.chunks(width)) {
                prop_assert!(row == &plain[slot as usize * width..][..width]);
            }
        }
    }

    #[test]
    fn a_slot_outside_the_pool_changes_nothing() {
        let mut field = [1.0f32, 2.0];
        assert!(scatter_from(&mut field, 2, &[0, 2], &[7.0, 7.0]).is_err());
        assert!(scatter_from(&mut field, 2, &[0, 1], &[7.0]).is_err());
        assert_eq!(field, [1.0, 2.0]);
        assert!(gather_into(&field, 2, &[-1], &mut [0.0]).is_err());
    }
}
