//! The sampler: rows of the tasks of one family, wherever they are asked for.

use rayon::prelude::*;

use crate::rng::Key;
use crate::{Error, Result, parallel};

use super::{Family, Rows, Task};

/// Tasks that a thread takes at least: fewer are not worth waking another one.
const TASKS: usize = 16;

/// What a stream of random numbers is for; each purpose has its own keys.
#[derive(Clone, Copy)]
#[repr(u64)]
pub(super) enum Purpose {
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
        self.family.common().features
    }

    /// O: 1 for regression, else the number of classes.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.family.common().classes.max(1)
    }

    /// Classes; 0 for regression.
    #[must_use]
    pub fn classes(&self) -> usize {
        self.family.common().classes
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
                task.observe(key, 1.0, Rows { x, y, signal });
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
        let (root, scale) = (self.root(Purpose::Query), self.family.common().query_scale);
        parallel::run(|| {
            let rows_of_task = x.par_chunks_mut(rows * width).zip(y.par_chunks_mut(rows));
            let work = rows_of_task.zip(signal.par_chunks_mut(rows * outputs)).zip(tasks);
            work.with_min_len(TASKS).for_each(|(((x, y), signal), &task)| {
                let key = root.child(task as u64, draw as u64);
                self.task(task).observe(key, scale, Rows { x, y, signal });
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
        let each = self.describe(tasks, |task| task.parameters())?;
        if each.iter().any(Vec::is_empty) {
            return Err(Error::Config(
                "this family tells no parameters: only linear, logistic, gp, gmm and causal tasks do".into(),
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
