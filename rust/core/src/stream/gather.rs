//! Rows of an array in memory, of any number type and layout, as float32.

use std::sync::{Mutex, PoisonError};

use half::f16;
use half::slice::HalfFloatSliceExt;
use ndarray::ArrayView2;
use pulp::Arch;

use crate::{Error, Result, parallel};

/// Fewer numbers than this are copied by the calling thread: waking others takes longer.
const ALONE: usize = 1 << 16;

/// A number type that a table may hold.
pub trait Number: std::marker::Copy + Sync {
    /// The nearest float32; infinite where it is too large.
    fn single(self) -> f32;

    /// All of a slice.
    #[inline(always)]
    fn singles(from: &[Self], to: &mut [f32]) {
        from.iter().zip(to).for_each(|(from, to)| *to = from.single());
    }
}

impl Number for f32 {
    fn single(self) -> f32 {
        self
    }

    #[inline(always)]
    fn singles(from: &[Self], to: &mut [f32]) {
        // Inlined vectors: a call of memcpy for each row would leave fewer rows under way at once.
        let ((from, from_rest), (to, to_rest)) = (from.as_chunks::<16>(), to.as_chunks_mut::<16>());
        from.iter().zip(to).for_each(|(from, to)| *to = *from);
        from_rest.iter().zip(to_rest).for_each(|(from, to)| *to = *from);
    }
}

macro_rules! numbers {
    ($($t:ty),*) => {
        $(impl Number for $t {
            fn single(self) -> f32 {
                self as f32
            }
        })*
    };
}
numbers!(f64, i8, i16, i32, i64, u8, u16, u32, u64);

impl Number for f16 {
    fn single(self) -> f32 {
        self.to_f32()
    }

    fn singles(from: &[Self], to: &mut [f32]) {
        from.convert_to_f32_slice(to);
    }
}

impl Number for bool {
    fn single(self) -> f32 {
        f32::from(u8::from(self))
    }
}

/// Where a number is missing, infinite or too large for float32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unfit {
    /// Its row in the table.
    pub row: i64,
    /// Its place among the columns asked for.
    pub column: usize,
}

/// Copy the given columns of the given rows to `out`, `[rows, columns]`; the first number that does not fit.
///
/// What is written beyond such a number is of no use.
///
/// # Errors
/// `Array` where a row or column is outside the array, or the mini-batches do not hold as many rows.
pub fn gather_into<T: Number>(
    x: ArrayView2<'_, T>,
    columns: &[i64],
    rows: &[i64],
    out: &mut [f32],
) -> Result<Option<Unfit>> {
    let ((height, width), wide) = (x.dim(), columns.len());
    if Some(out.len()) != rows.len().checked_mul(wide) {
        return Err(Error::Array(format!("`out` must be [{}, {wide}]", rows.len())));
    }
    inside("rows", rows, height)?;
    inside("columns", columns, width)?;
    if out.is_empty() {
        return Ok(None);
    }
    let copy = |(rows, out): (&[i64], &mut [f32])| Arch::new().dispatch(Copy { x, columns, rows, out });
    if out.len() < ALONE {
        return Ok(copy((rows, out)));
    }
    let each = (ALONE / wide).max(1);
    // The first in the order of `out`, whichever thread finds one first.
    let first = Mutex::new(None);
    parallel::share(rows.chunks(each).zip(out.chunks_mut(each * wide)).enumerate(), |(place, work)| {
        if let Some(unfit) = copy(work) {
            let mut first = first.lock().unwrap_or_else(PoisonError::into_inner);
            if first.as_ref().is_none_or(|&(before, _)| place < before) {
                *first = Some((place, unfit));
            }
        }
    });
    Ok(first.into_inner().unwrap_or_else(PoisonError::into_inner).map(|(_, unfit)| unfit))
}

/// One piece of work for `pulp`, which compiles it once for each kind of vector unit.
struct Copy<'a, T> {
    x: ArrayView2<'a, T>,
    columns: &'a [i64],
    rows: &'a [i64],
    out: &'a mut [f32],
}

impl<T: Number> pulp::NullaryFnOnce for Copy<'_, T> {
    type Output = Option<Unfit>;

    #[inline(always)]
    fn call(self) -> Option<Unfit> {
        let Copy { x, columns, rows, out } = self;
        let (first, width) = (columns[0] as usize, columns.len());
        let adjacent = columns.iter().zip(first..).all(|(&column, expected)| column as usize == expected);
        match x.as_slice() {
            Some(numbers) if adjacent => {
                for (&row, to) in rows.iter().zip(out.chunks_exact_mut(width)) {
                    T::singles(&numbers[row as usize * x.ncols() + first..][..width], to);
                }
            }
            _ => {
                for (&row, to) in rows.iter().zip(out.chunks_exact_mut(width)) {
                    let from = x.row(row as usize);
                    to.iter_mut().zip(columns).for_each(|(to, &column)| *to = from[column as usize].single());
                }
            }
        }
        // Looked at afterwards, when they are in the cache: in between it would hold up the reads of the next rows.
        if finite(out) {
            return None;
        }
        let place = out.iter().position(|v| !v.is_finite())?;
        Some(Unfit { row: rows[place / width], column: place % width })
    }
}

/// Whether all are finite, without a branch for each.
#[inline(always)]
fn finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7F80_0000;
    values.iter().fold(true, |all, value| all & (value.to_bits() & EXPONENT != EXPONENT))
}

fn inside(name: &str, indices: &[i64], size: usize) -> Result<()> {
    match indices.iter().find(|&&i| i < 0 || i as u64 >= size as u64) {
        None => Ok(()),
        Some(i) => Err(Error::Array(format!("`{name}` holds {i}, but the array has {size}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::{Array2, array};

    #[test]
    fn rows_and_columns_are_picked_in_any_layout() {
        let x = array![[1i64, 2, 3], [4, 5, 6]];
        let mut out = [0.0; 4];
        assert_eq!(gather_into(x.view(), &[2, 0], &[1, 0], &mut out), Ok(None));
        assert_eq!(out, [6.0, 4.0, 3.0, 1.0]);
        assert_eq!(gather_into(x.t(), &[1, 0], &[2, 0], &mut out), Ok(None));
        assert_eq!(out, [6.0, 3.0, 4.0, 1.0]);
    }

    #[test]
    fn half_precision_is_exact() {
        let x = Array2::from_shape_fn((2, 2), |(r, c)| f16::from_bits((0x3C00 + r + c) as u16));
        let mut out = [0.0; 4];
        assert_eq!(gather_into(x.view(), &[0, 1], &[0, 1], &mut out), Ok(None));
        assert_eq!(out, [1.0, 1.0 + 1.0 / 1024.0, 1.0 + 1.0 / 1024.0, 1.0 + 2.0 / 1024.0]);
    }

    #[test]
    fn what_does_not_fit_is_found() {
        let mut out = [0.0; 2];
        for bad in [f64::NAN, f64::INFINITY, 1e300] {
            let x = array![[1.0], [bad]];
            let found = gather_into(x.view(), &[0], &[0, 1], &mut out);
            assert_eq!(found, Ok(Some(Unfit { row: 1, column: 0 })));
        }
        let x = Array2::<f32>::zeros((2, 2));
        assert!(gather_into(x.view(), &[2], &[0, 1], &mut out).is_err());
        assert!(gather_into(x.view(), &[0], &[-1, 1], &mut out).is_err());
        assert!(gather_into(x.view(), &[0], &[1], &mut out).is_err());
        assert_eq!(gather_into(x.view(), &[], &[1], &mut []), Ok(None));
    }

    #[test]
    fn many_rows_are_copied_in_parallel_to_the_same_place() {
        let x = Array2::from_shape_fn((5000, 32), |(r, c)| (r * 32 + c) as f64);
        let rows: Vec<i64> = (0..5000).map(|i| i * 7 % 5000).collect();
        let columns: Vec<i64> = (0..32).collect();
        let mut out = vec![0.0; 5000 * 32];
        assert_eq!(gather_into(x.view(), &columns, &rows, &mut out), Ok(None));
        let expected: Vec<f32> =
            rows.iter().flat_map(|&r| (0..32).map(move |c| (r * 32 + c) as f32)).collect();
        assert_eq!(out, expected);
        let unfit = x.mapv(|v| if v >= 130_000.0 { f64::NAN } else { v });
        let first = rows.iter().find(|&&row| row * 32 + 31 >= 130_000).copied();
        let found = gather_into(unfit.view(), &columns, &rows, &mut out).unwrap();
        assert_eq!(found.map(|unfit| unfit.row), first);
    }
}
