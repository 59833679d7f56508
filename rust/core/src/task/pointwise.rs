//! Tasks whose rows come in two steps: inputs first, then targets that are a function of each row and noise.

use crate::math;
use crate::rng::Key;

use super::{Column, Purpose, Rows, Task};

/// A task that is a function of one row at a time. Each is a `Task`.
pub(crate) trait Pointwise: Send + Sync {
    /// Its columns.
    fn dim(&self) -> usize;
    /// Its classes; 0 for regression.
    fn classes(&self) -> usize;
    /// Standard deviation of the observation noise; 0 for classification.
    fn noise(&self) -> f32;
    /// Draw rows of inputs, `[n, dim]` in `x`.
    fn inputs(&self, key: Key, x: &mut [f32]);
    /// The noise-free mean (one number), or the logits (one for each class), at the row `x`.
    fn signal(&self, x: &[f32], out: &mut [f32]);
    /// `[1 + dim, outputs]`, bias first, where the signal is linear in them.
    fn weights(&self) -> Option<&[f32]>;
}

impl<T: Pointwise> Task for T {
    fn dim(&self) -> usize {
        Pointwise::dim(self)
    }

    fn classes(&self) -> usize {
        Pointwise::classes(self)
    }

    fn noise(&self) -> f32 {
        Pointwise::noise(self)
    }

    fn observe(&self, key: Key, scale: f32, rows: Rows<'_>) {
        let Rows { x, y, signal } = rows;
        let (n, dim, classes) = (y.len(), Pointwise::dim(self), Pointwise::classes(self));
        self.inputs(key.child(Purpose::Inputs as u64, 0), &mut x[..n * dim]);
        if scale != 1.0 {
            x[..n * dim].iter_mut().for_each(|v| *v *= scale);
        }
        let (width, outputs) = (x.len() / n, signal.len() / n);
        spread(x, n, dim, width);
        let key = key.child(Purpose::Targets as u64, 0);
        if classes == 0 {
            key.normals(y);
        } else {
            key.uniforms(y);
        }
        for ((x, y), signal) in x.chunks(width).zip(y.iter_mut()).zip(signal.chunks_mut(outputs)) {
            let (own, beyond) = signal.split_at_mut(classes.max(1));
            beyond.fill(0.0);
            self.signal(&x[..dim], own);
            *y = if classes == 0 {
                own[0] + Pointwise::noise(self) * *y
            } else {
                math::softmax(own);
                class_at(own, *y)
            };
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        Pointwise::weights(self)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::NUMERIC; Pointwise::dim(self)]
    }
}

/// Move rows of `dim` numbers apart to rows of `width`, with zeros in between.
fn spread(x: &mut [f32], rows: usize, dim: usize, width: usize) {
    if dim == width {
        return;
    }
    for row in (0..rows).rev() {
        x.copy_within(row * dim..(row + 1) * dim, row * width);
        x[row * width + dim..(row + 1) * width].fill(0.0);
    }
}

/// The class whose share of `[0, 1)` holds `uniform`.
pub(crate) fn class_at(probabilities: &[f32], uniform: f32) -> f32 {
    let mut sum = 0.0;
    let reached = probabilities.iter().position(|p| {
        sum += p;
        uniform < sum
    });
    reached.unwrap_or(probabilities.len() - 1) as f32
}
