//! The sampler: rows of the tasks of one family, wherever they are asked for.

use rayon::prelude::*;

use crate::rng::Key;
use crate::{Error, Result, math, parallel};

use super::{Family, Task};

/// Rows whose targets one thread computes at a time.
const PIECE: usize = 1 << 12;
/// Tasks that a thread takes at least: fewer are not worth waking another one.
const TASKS: usize = 16;

/// What a stream of random numbers is for; each purpose has its own keys.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Purpose {
    Task = 1,
    Context = 2,
    Query = 3,
    Inputs = 4,
    Targets = 5,
}

/// Draws tasks of one family and rows of these tasks.
pub struct TaskSampler {
    family: Box<dyn Family>,
    key: Key,
}

impl TaskSampler {
    /// A sampler of `family`.
    ///
    /// # Errors
    /// `Config` where a setting of the family is out of range.
    pub fn new(family: Box<dyn Family>, seed: u64) -> Result<Self> {
        family.check()?;
        Ok(Self { family, key: Key::new(seed) })
    }

    /// D: columns of every batch.
    #[must_use]
    pub fn features(&self) -> usize {
        self.family.features()
    }

    /// O: 1 for regression, else the number of classes.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.family.classes().max(1)
    }

    /// Classes; 0 for regression.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.family.classes()
    }

    /// Context rows of each (task, step): `x` is `[T, B, D]`, `y` is `[T, B]`, both C-ordered.
    ///
    /// # Errors
    /// `Array` where the lengths do not fit each other.
    pub fn context_into(&self, tasks: &[i64], steps: &[i64], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        let (width, rows) = (self.features(), rows_of(tasks, y)?);
        expect("steps", steps.len(), tasks.len())?;
        expect("x", x.len(), y.len() * width)?;
        if rows == 0 {
            return Ok(());
        }
        let root = self.root(Purpose::Context);
        parallel::run(|| {
            let work = x.par_chunks_mut(rows * width).zip(y.par_chunks_mut(rows)).zip(tasks).zip(steps);
            work.with_min_len(TASKS).for_each_init(Vec::new, |signal, (((x, y), &task), &step)| {
                let key = root.child(task as u64, step as u64);
                let task = self.task(task);
                signal.resize(rows * self.outputs(), 0.0);
                observe(&*task, key, 1.0, Rows { x, y, signal });
            });
            Ok(())
        })
    }

    /// Query rows of each task: `x` `[T, M, D]`, `y` `[T, M]`, `signal` `[T, M, O]`; disjoint from every context.
    ///
    /// # Errors
    /// `Array` where the lengths do not fit each other.
    pub fn query_into(
        &self,
        tasks: &[i64],
        draw: i64,
        x: &mut [f32],
        y: &mut [f32],
        signal: &mut [f32],
    ) -> Result<()> {
        let (width, outputs, rows) = (self.features(), self.outputs(), rows_of(tasks, y)?);
        expect("x", x.len(), y.len() * width)?;
        expect("signal", signal.len(), y.len() * outputs)?;
        if rows == 0 {
            return Ok(());
        }
        let root = self.root(Purpose::Query);
        parallel::run(|| {
            let rows_of_task = x.par_chunks_mut(rows * width).zip(y.par_chunks_mut(rows));
            let work = rows_of_task.zip(signal.par_chunks_mut(rows * outputs)).zip(tasks);
            work.with_min_len(TASKS).for_each(|(((x, y), signal), &task)| {
                let key = root.child(task as u64, draw as u64);
                observe(&*self.task(task), key, self.family.query_scale(), Rows { x, y, signal });
            });
            Ok(())
        })
    }

    /// One number of each task: its columns, classes or noise.
    ///
    /// # Errors
    /// `Internal` where no threads can be started.
    pub fn describe<T: Send>(&self, tasks: &[i64], what: impl Fn(&dyn Task) -> T + Sync) -> Result<Vec<T>> {
        parallel::run(|| Ok(tasks.par_iter().with_min_len(64).map(|&task| what(&*self.task(task))).collect()))
    }

    /// The weights of each task, `[T, 1 + D, O]`, bias first, zero beyond a task's own columns and classes.
    ///
    /// # Errors
    /// `Config` where the family has no weights in this sense.
    pub fn weights(&self, tasks: &[i64]) -> Result<Vec<f32>> {
        let (height, outputs) = (1 + self.features(), self.outputs());
        let mut all = vec![0.0; tasks.len() * height * outputs];
        for (out, &task) in all.chunks_mut(height * outputs).zip(tasks) {
            let task = self.task(task);
            let own = task.classes().max(1);
            let weights = task.weights().ok_or_else(|| {
                Error::Config(
                    "this family has no weights: only linear and logistic signals are linear in them".into(),
                )
            })?;
            for (to, from) in out.chunks_mut(outputs).zip(weights.chunks(own)) {
                to[..own].copy_from_slice(from);
            }
        }
        Ok(all)
    }

    /// What `Task::parameters` tells of each task, `[T, P]`.
    ///
    /// # Errors
    /// `Config` where the family tells nothing.
    pub fn parameters(&self, tasks: &[i64]) -> Result<Vec<f32>> {
        let each = self.describe(tasks, Task::parameters)?;
        if each.iter().any(Vec::is_empty) {
            return Err(Error::Config(
                "this family tells no parameters: only gp, gmm and causal tasks do".into(),
            ));
        }
        Ok(each.concat())
    }

    fn root(&self, purpose: Purpose) -> Key {
        self.key.child(purpose as u64, 0)
    }

    fn task(&self, task: i64) -> Box<dyn Task> {
        self.family.draw(self.root(Purpose::Task).child(task as u64, 0))
    }
}

/// Rows of one task: `x` `[n, D]`, `y` `[n]`, `signal` `[n, O]`.
struct Rows<'a> {
    x: &'a mut [f32],
    y: &'a mut [f32],
    signal: &'a mut [f32],
}

fn observe(task: &dyn Task, key: Key, scale: f32, rows: Rows<'_>) {
    let Rows { x, y, signal } = rows;
    let (n, dim) = (y.len(), task.dim());
    task.inputs(key.child(Purpose::Inputs as u64, 0), &mut x[..n * dim]);
    if scale != 1.0 {
        x[..n * dim].iter_mut().for_each(|v| *v *= scale);
    }
    let (width, outputs) = (x.len() / n, signal.len() / n);
    spread(x, n, dim, width);
    let key = key.child(Purpose::Targets as u64, 0);
    if task.classes() == 0 {
        key.normals(y);
    } else {
        key.uniforms(y);
    }
    if n <= PIECE {
        return targets(task, x, width, y, signal, outputs);
    }
    let work = x.par_chunks(PIECE * width).zip(y.par_chunks_mut(PIECE));
    let work = work.zip(signal.par_chunks_mut(PIECE * outputs));
    work.for_each(|((x, y), signal)| targets(task, x, width, y, signal, outputs));
}

/// Signals of rows, and targets from the uniforms or normals that stand in `y`.
fn targets(task: &dyn Task, x: &[f32], width: usize, y: &mut [f32], signal: &mut [f32], outputs: usize) {
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
fn class_at(probabilities: &[f32], uniform: f32) -> f32 {
    let mut sum = 0.0;
    let reached = probabilities.iter().position(|p| {
        sum += p;
        uniform < sum
    });
    reached.unwrap_or(probabilities.len() - 1) as f32
}

fn rows_of(tasks: &[i64], y: &[f32]) -> Result<usize> {
    let rows = y.len() / tasks.len().max(1);
    expect("y", y.len(), tasks.len() * rows)?;
    Ok(rows)
}

fn expect(name: &str, got: usize, expected: usize) -> Result<()> {
    if got == expected {
        return Ok(());
    }
    Err(Error::Array(format!("`{name}` must have {expected} elements, but has {got}")))
}
