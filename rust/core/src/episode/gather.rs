//! Rows of an array as float32.

use rayon::prelude::*;

use crate::{Error, Result, parallel};

/// Bytes that one thread converts at a time.
const PIECE: usize = 128 << 10;

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

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(gather_into(&[1u8, 2], 2, &[2], 1.0, &mut [0.0]).is_err());
        assert!(gather_into(&[1u8, 2], 2, &[1], 1.0, &mut [0.0; 2]).is_err());
    }
}
