//! A uniform sample of all rows seen so far, in constant memory.

use crate::hash;
use crate::rng::Key;
use crate::{Error, Result};

/// Where the row with this number goes, if anywhere: a pure function of (seed, row).
///
/// Reference: Vitter, "Random sampling with a reservoir", ACM TOMS 11 (1985), algorithm R.
fn place(key: Key, row: u64, capacity: u64) -> Option<usize> {
    if row < capacity {
        return Some(row as usize);
    }
    let place = hash::below(hash::mix(key.bits(), row), row + 1);
    (place < capacity).then_some(place as usize)
}

/// Put the rows `x` `[B, D]`, `y` `[B]`, of which the first is row number `seen`, into the store `[capacity, D]`.
///
/// # Errors
/// `Array` where sizes do not fit; then nothing has changed.
pub fn extend(
    seed: u64,
    seen: u64,
    store_x: &mut [f32],
    store_y: &mut [f32],
    x: &[f32],
    y: &[f32],
) -> Result<()> {
    let (capacity, width) = (store_y.len(), x.len() / y.len().max(1));
    if x.len() != y.len() * width || (!y.is_empty() && store_x.len() != capacity * width) {
        return Err(Error::Array("rows and store have different numbers of columns".into()));
    }
    let key = Key::new(seed).child(3, 0);
    for (i, &target) in y.iter().enumerate() {
        if let Some(place) = place(key, seen + i as u64, capacity as u64) {
            store_x[place * width..(place + 1) * width].copy_from_slice(&x[i * width..(i + 1) * width]);
            store_y[place] = target;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn batches_do_not_matter(seed: u64, capacity in 0usize..20, sizes in prop::collection::vec(0usize..30, 0..6)) {
            let rows: Vec<f32> = (0..sizes.iter().sum::<usize>()).map(|r| r as f32).collect();
            let (mut x1, mut y1) = (vec![-1.0; capacity], vec![-1.0; capacity]);
            extend(seed, 0, &mut x1, &mut y1, &rows, &rows).unwrap();
            let (mut x2, mut y2, mut seen) = (vec![-1.0; capacity], vec![-1.0; capacity], 0);
            for size in sizes {
                let batch = &rows[seen..seen + size];
                extend(seed, seen as u64, &mut x2, &mut y2, batch, batch).unwrap();
                seen += size;
            }
            prop_assert_eq!(&x1, &x2);
            prop_assert_eq!(&y1, &y2);
            prop_assert_eq!(&x1, &y1);
        }
    }

    #[test]
    fn every_row_is_kept_equally_often() {
        let (rows, capacity, seeds) = (40, 10, 8000);
        let stream: Vec<f32> = (0..rows).map(|r| r as f32).collect();
        let mut kept = vec![0u32; rows];
        for seed in 0..seeds {
            let (mut x, mut y) = (vec![0.0; capacity], vec![0.0; capacity]);
            extend(seed, 0, &mut x, &mut y, &stream, &stream).unwrap();
            y.iter().for_each(|&row| kept[row as usize] += 1);
        }
        let share = capacity as f64 / rows as f64;
        let sd = (seeds as f64 * share * (1.0 - share)).sqrt();
        for (row, &count) in kept.iter().enumerate() {
            assert!((f64::from(count) - seeds as f64 * share).abs() < 5.0 * sd, "row {row}: {count}");
        }
    }

    #[test]
    fn sizes_that_do_not_fit_are_refused() {
        let (mut x, mut y) = ([0.0; 4], [0.0; 2]);
        assert!(extend(0, 0, &mut x, &mut y, &[1.0; 3], &[1.0]).is_err());
        assert!(extend(0, 0, &mut x, &mut y, &[1.0; 3], &[1.0; 2]).is_err());
        assert!(extend(0, 0, &mut x, &mut y, &[], &[]).is_ok());
    }
}
