//! Rows of an array in memory, of any number type and layout, as float32.

use ndarray::ArrayView2;

use crate::{Error, Result};

/// A number type that a table may hold.
pub trait Number: Copy {
    /// The nearest float32; infinite where it is too large.
    fn single(self) -> f32;
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
numbers!(f32, f64, i8, i16, i32, i64, u8, u16, u32, u64);

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

/// Copy the given columns of the given rows to `out`, `[rows, columns]`; stop at the first number that does not fit.
///
/// # Errors
/// `Array` where a row or column is outside the array, or `out` has another size.
pub fn gather_into<T: Number>(
    x: ArrayView2<'_, T>,
    columns: &[i64],
    rows: &[i64],
    out: &mut [f32],
) -> Result<Option<Unfit>> {
    let (height, width) = x.dim();
    if Some(out.len()) != rows.len().checked_mul(columns.len()) {
        return Err(Error::Array(format!("`out` must be [{}, {}]", rows.len(), columns.len())));
    }
    inside("rows", rows, height)?;
    inside("columns", columns, width)?;
    if columns.is_empty() {
        return Ok(None);
    }
    for (&row, to) in rows.iter().zip(out.chunks_mut(columns.len())) {
        let from = x.row(row as usize);
        for (position, (&column, to)) in columns.iter().zip(to).enumerate() {
            *to = from[column as usize].single();
            if !to.is_finite() {
                return Ok(Some(Unfit { row, column: position }));
            }
        }
    }
    Ok(None)
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
}
