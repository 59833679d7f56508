//! Arrays in memory, of any number type and layout: summarised and encoded.

use half::f16;
use ndarray::ArrayView2;
use rayon::prelude::*;

use crate::{Error, Result, parallel};

use super::numbers::{Found, Unfit, unfit_weight};
use super::{Code, Summary};

/// The most columns that are copied together: neighbours in memory, where rows lie one after another.
const STRIP: usize = 16;
/// Numbers of a tile that is encoded at once.
const TILE: usize = 1 << 15;

/// A number type of an array.
pub trait Real: Copy + Send + Sync {
    /// The nearest float64; NaN stays NaN.
    fn wide(self) -> f64;
}

macro_rules! reals {
    ($($t:ty),*) => {
        $(impl Real for $t {
            fn wide(self) -> f64 {
                self as f64
            }
        })*
    };
}
reals!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

impl Real for f16 {
    fn wide(self) -> f64 {
        self.to_f64()
    }
}

impl Real for bool {
    fn wide(self) -> f64 {
        f64::from(u8::from(self))
    }
}

/// Show each summary the values of its column of `x`, given by index, with the rows' weights.
///
/// A weight that is none, or else the first value by column that is infinite or too large.
///
/// # Errors
/// `Array` where a column is outside the array, or sizes do not fit; those of the thread pool.
pub fn summarise<T: Real>(
    summaries: &mut [Summary],
    columns: &[usize],
    x: ArrayView2<'_, T>,
    weights: Option<&[f64]>,
) -> Result<Option<Found>> {
    let (rows, width) = x.dim();
    if columns.len() != summaries.len() || columns.iter().any(|&column| column >= width) {
        return Err(Error::Array(format!("`columns` must be {} indices below {width}", summaries.len())));
    }
    if weights.is_some_and(|weights| weights.len() != rows) {
        return Err(Error::Array(format!("`weights` must have shape [{rows}]")));
    }
    let found = |place, unfit: Unfit| Found { place, row: unfit.at as u64, value: unfit.value };
    if let Some(unfit) = weights.and_then(unfit_weight) {
        return Ok(Some(found(summaries.len(), unfit)));
    }
    parallel::run(|| {
        let size = columns.len().div_ceil(4 * rayon::current_num_threads()).clamp(1, STRIP);
        let strips = summaries.par_chunks_mut(size).zip(columns.par_chunks(size)).enumerate();
        let unfit = strips.filter_map(|(strip, (summaries, columns))| {
            let values = copied(x, columns);
            let mut seen = summaries.iter_mut().zip(values.chunks(rows.max(1))).enumerate();
            seen.find_map(|(place, (summary, values))| {
                Some((strip * size + place, summary.see_numbers(values, weights)?))
            })
        });
        Ok(unfit.min_by_key(|(place, _)| *place).map(|(place, unfit)| found(place, unfit)))
    })
}

/// Encode `x`, `[rows, codes]`, into `out`, `[rows, sum of widths]`; NaN is a missing value.
///
/// # Errors
/// `Array` where the sizes do not fit; those of the thread pool.
pub fn encode_into<T: Real>(codes: &[&Code], x: ArrayView2<'_, T>, out: &mut [f32]) -> Result<()> {
    let width: usize = codes.iter().map(|code| code.width()).sum();
    let (rows, columns) = x.dim();
    if columns != codes.len() || Some(out.len()) != rows.checked_mul(width) {
        return Err(Error::Array(format!(
            "`x` must be [{rows}, {}] and `out` [{rows}, {width}]",
            codes.len()
        )));
    }
    if width == 0 {
        return Ok(());
    }
    let height = (TILE / columns.max(width)).clamp(16, 1024);
    if rows <= height {
        // A mini-batch: to wake other threads would take longer.
        return encode_tile(codes, x, 0, width, out);
    }
    parallel::run(|| {
        let tiles = out.par_chunks_mut(width * height).enumerate();
        tiles.try_for_each(|(tile, out)| encode_tile(codes, x, tile * height, width, out))
    })
}

/// Encode the rows from `first` on that `out` has room for.
fn encode_tile<T: Real>(
    codes: &[&Code],
    x: ArrayView2<'_, T>,
    first: usize,
    width: usize,
    out: &mut [f32],
) -> Result<()> {
    let rows = out.len() / width;
    let (mut values, mut encoded, mut at) = (vec![0.0; rows], vec![], 0);
    for (column, code) in codes.iter().enumerate() {
        for (row, value) in values.iter_mut().enumerate() {
            *value = x[[first + row, column]].wide();
        }
        encoded.resize(code.width() * rows, 0.0);
        code.encode_numbers(&values, &mut encoded)?;
        interleave(encoded.chunks_exact(rows.max(1)), at, width, out);
        at += code.width();
    }
    Ok(())
}

/// Put columns side by side into `out`, `[rows, width]`, the first one at `at`; rows that `out` lacks are left out.
pub(crate) fn interleave<'a>(
    columns: impl Iterator<Item = &'a [f32]>,
    at: usize,
    width: usize,
    out: &mut [f32],
) {
    for (offset, column) in columns.enumerate() {
        for (to, &value) in out.chunks_exact_mut(width.max(1)).zip(column) {
            to[at + offset] = value;
        }
    }
}

/// Some columns of an array, one after another.
fn copied<T: Real>(x: ArrayView2<'_, T>, columns: &[usize]) -> Vec<f64> {
    let rows = x.nrows();
    let mut values = vec![0.0; rows * columns.len()];
    for (row, from) in x.rows().into_iter().enumerate() {
        for (place, &column) in columns.iter().enumerate() {
            values[place * rows + row] = from[column].wide();
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::super::Map;
    use super::*;
    use crate::rng::Key;
    use ndarray::{Array2, ShapeBuilder};

    fn array(rows: usize, columns: usize, rows_first: bool) -> Array2<f32> {
        let shape = (rows, columns).set_f(!rows_first);
        Array2::from_shape_fn(shape, |(r, c)| if (r + c) % 11 == 0 { f32::NAN } else { (r * c) as f32 })
    }

    #[test]
    fn every_layout_is_summarised_alike() {
        let wanted: Vec<usize> = (0..40).rev().collect();
        let summaries = |rows_first: bool| {
            let mut summaries = vec![Summary::numbers(Key::new(0)); 40];
            assert_eq!(summarise(&mut summaries, &wanted, array(500, 40, rows_first).view(), None), Ok(None));
            summaries
        };
        let found = summaries(true);
        assert_eq!(found, summaries(false));
        let column: Vec<f64> = array(500, 40, true).column(36).iter().map(|&v| f64::from(v)).collect();
        let mut alone = Summary::numbers(Key::new(0));
        alone.see_numbers(&column, None);
        assert_eq!(found[3], alone);
    }

    #[test]
    fn the_first_column_with_an_infinity_is_named() {
        let mut x = array(50, 40, true);
        (x[[30, 38]], x[[20, 5]]) = (f32::INFINITY, f32::NEG_INFINITY);
        let columns: Vec<usize> = (0..40).collect();
        let mut summaries = vec![Summary::numbers(Key::new(0)); 40];
        let found = summarise(&mut summaries, &columns, x.view(), None).unwrap();
        assert_eq!(found, Some(Found { place: 5, row: 20, value: f64::NEG_INFINITY }));
        let mut weights = vec![1.0; 50];
        weights[7] = -1.0;
        let found = summarise(&mut summaries, &columns, x.view(), Some(&weights)).unwrap();
        assert_eq!(found, Some(Found { place: 40, row: 7, value: -1.0 }));
        assert!(summarise(&mut summaries, &columns[1..], x.view(), None).is_err());
        assert!(summarise(&mut summaries, &columns, x.view(), Some(&[1.0])).is_err());
    }

    #[test]
    fn tiles_do_not_matter() {
        let x = array(3000, 3, false);
        let level = |text: &str| Map::Levels { levels: vec![text.into()], other: true };
        let maps = [Map::Scaled { mean: 1.0, scale: 2.0 }, Map::Nothing, level("8")];
        let codes: Vec<Code> = maps.into_iter().map(|map| Code::new(map, true).unwrap()).collect();
        let mut out = vec![9.0; 3000 * 6];
        let codes: Vec<&Code> = codes.iter().collect();
        encode_into(&codes, x.view(), &mut out).unwrap();
        for (row, out) in out.chunks(6).enumerate() {
            let gap = |column| f32::from(u8::from((row + column) % 11 == 0));
            let label = 2 * row;
            let present = 1.0 - gap(2);
            let eight = f32::from(u8::from(label == 8)) * present;
            let expected = [(1.0 - gap(0)) * -0.5, gap(0), gap(1), eight, present - eight, gap(2)];
            assert_eq!(out, expected, "row {row}");
        }
        assert!(encode_into(&codes, x.view(), &mut out[1..]).is_err());
        assert_eq!(encode_into::<f32>(&[], array(5, 0, true).view(), &mut []), Ok(()));
    }
}
