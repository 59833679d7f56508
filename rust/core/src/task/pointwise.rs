//! Tasks whose rows come in two steps: inputs first, then targets that are a function of each row and noise.

use rayon::prelude::*;

use crate::math;
use crate::rng::Key;

use super::{Column, Purpose, Rows, Task};

/// Rows whose targets one thread computes at a time.
const PIECE: usize = 1 << 12;

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
    /// `signal` of many rows: `x` is `[n, width]`, `out` is `[n, outputs]`; what is beyond the task's own stays.
    fn signals(&self, x: &[f32], width: usize, out: &mut [f32], outputs: usize) {
        let (dim, own) = (self.dim(), self.classes().max(1));
        for (x, out) in x.chunks(width).zip(out.chunks_mut(outputs)) {
            self.signal(&x[..dim], &mut out[..own]);
        }
    }
    /// `[1 + dim, outputs]`, bias first, where the signal is linear in them.
    fn weights(&self) -> Option<&[f32]>;
    /// What an oracle may know of the task, in as many numbers for every task of the family; empty for nothing.
    fn parameters(&self) -> Vec<f32> {
        Vec::new()
    }
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
        if n <= PIECE {
            return targets(self, x, width, y, signal, outputs);
        }
        let work = x.par_chunks(PIECE * width).zip(y.par_chunks_mut(PIECE));
        let work = work.zip(signal.par_chunks_mut(PIECE * outputs));
        work.for_each(|((x, y), signal)| targets(self, x, width, y, signal, outputs));
    }

    fn weights(&self) -> Option<&[f32]> {
        Pointwise::weights(self)
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::NUMERIC; Pointwise::dim(self)]
    }

    fn parameters(&self) -> Vec<f32> {
        Pointwise::parameters(self)
    }
}

/// Signals of rows, and targets from the uniforms or normals that stand in `y`.
fn targets<T: Pointwise>(
    task: &T,
    x: &[f32],
    width: usize,
    y: &mut [f32],
    signal: &mut [f32],
    outputs: usize,
) {
    task.signals(x, width, signal, outputs);
    if task.classes() == 0 {
        let noise = task.noise();
        y.iter_mut().zip(signal.chunks(outputs)).for_each(|(y, signal)| *y = signal[0] + noise * *y);
        return;
    }
    for (y, signal) in y.iter_mut().zip(signal.chunks_mut(outputs)) {
        let (own, beyond) = signal.split_at_mut(task.classes());
        beyond.fill(0.0);
        math::softmax(own);
        *y = class_at(own, *y);
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
