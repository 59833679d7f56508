//! Running means of squared gradients over rows and over columns.
//!
//! Every mean is one sum in one order, so nothing is added up between threads.

use pulp::Arch;
use rayon::prelude::*;

use super::{CHUNK, UpdateTensor};

/// Columns summed together.
const STRIP: usize = 256;
/// Terms of an inner sum: the rounding errors of a long sum grow with its parts only.
const SHORT: usize = 256;
const LANES: usize = 16;

/// Decay the row and column means towards those of the squared gradient.
pub(super) fn advance(decay: &[f32], tensor: &mut UpdateTensor<'_>) {
    let UpdateTensor { rows, columns, gradient, row, column, .. } = tensor;
    let (rows, columns) = (*rows, *columns);
    if decay.is_empty() {
        return;
    }
    let mut of_rows = vec![0.0; rows];
    let each = (CHUNK / columns).max(1);
    of_rows.par_chunks_mut(each).zip(gradient.par_chunks(each * columns)).for_each(|(means, part)| {
        Arch::new().dispatch(|| {
            for (mean, row) in means.iter_mut().zip(part.chunks_exact(columns)) {
                *mean = sum_of_squares(row) / columns as f32;
            }
        });
    });
    let mut of_columns = vec![0.0; columns];
    of_columns.par_chunks_mut(STRIP).enumerate().for_each(|(strip, means)| {
        Arch::new().dispatch(|| column_means(gradient, columns, strip * STRIP, means));
    });
    for (means, state) in [(of_rows, row), (of_columns, column)] {
        for (decay, state) in decay.iter().zip(state.chunks_exact_mut(means.len())) {
            state
                .iter_mut()
                .zip(&means)
                .for_each(|(state, mean)| *state = decay * *state + (1.0 - decay) * mean);
        }
    }
}

#[inline(always)]
fn sum_of_squares(values: &[f32]) -> f32 {
    let mut total = 0.0;
    for part in values.chunks(SHORT * LANES) {
        let mut sums = [0.0; LANES];
        let (whole, rest) = part.as_chunks::<LANES>();
        for values in whole {
            sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value * value);
        }
        sums.iter_mut().zip(rest).for_each(|(sum, value)| *sum += value * value);
        total += sums.iter().sum::<f32>();
    }
    total
}

#[inline(always)]
fn column_means(gradient: &[f32], columns: usize, first: usize, means: &mut [f32]) {
    let rows = gradient.len() / columns;
    let width = means.len();
    let mut sums = [0.0; STRIP];
    for part in gradient.chunks(SHORT * columns) {
        let sums = &mut sums[..width];
        sums.fill(0.0);
        for row in part.chunks_exact(columns) {
            sums.iter_mut().zip(&row[first..first + width]).for_each(|(sum, value)| *sum += value * value);
        }
        means.iter_mut().zip(sums).for_each(|(mean, sum)| *mean += *sum);
    }
    means.iter_mut().for_each(|mean| *mean /= rows as f32);
}
