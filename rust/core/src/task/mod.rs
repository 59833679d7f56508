//! Task families and the sampler that draws rows of their tasks.
//!
//! A family is a distribution over tasks; a task is its index. Every row is a pure function of
//! (seed, task, step, element): a longer batch starts with the rows of a shorter one, in any order of tasks, on any
//! number of threads. To add a family, write one file with a `Family` and a `Task` (most easily a `Pointwise`) and list it in the bindings.

mod column;
mod input;
mod linear;
mod logistic;
mod mlp;
mod pointwise;
mod range;
mod remember;
mod sinusoid;
mod tabular;

pub use column::{Column, Role};
pub use linear::Linear;
pub use logistic::Logistic;
pub use mlp::Mlp;
pub use range::Range;
pub use remember::Remembering;
pub use sinusoid::Sinusoid;
pub use tabular::Tabular;

use std::iter::Sum;
use std::ops::{AddAssign, Mul};

use rayon::prelude::*;

use crate::rng::Key;
use crate::{Error, Result, parallel};

/// A distribution over tasks.
pub trait Family: Send + Sync {
    /// Refuse settings that are out of range.
    ///
    /// # Errors
    /// `Config`, naming the setting.
    fn check(&self) -> Result<()>;
    /// Columns of the widest task.
    fn features(&self) -> usize;
    /// Classes of the task with most; 0 for regression.
    fn classes(&self) -> usize;
    /// What the inputs of query rows are multiplied by.
    fn query_scale(&self) -> f32;
    /// The task of this key.
    fn draw(&self, key: Key) -> Box<dyn Task>;
}

/// One data-generating function.
///
/// A task whose targets are a function of each row of inputs and noise is written as a `Pointwise`.
pub trait Task: Send + Sync {
    /// Its columns.
    fn dim(&self) -> usize;
    /// Its classes; 0 for regression.
    fn classes(&self) -> usize;
    /// Standard deviation of the observation noise; 0 for classification.
    fn noise(&self) -> f32;
    /// Draw the rows of a key; inputs, or what causes them, are multiplied by `scale`. Row `i` depends on the key and
    /// `i` alone.
    fn observe(&self, key: Key, scale: f32, rows: Rows<'_>);
    /// `[1 + dim, outputs]`, bias first, where the signal is linear in them.
    fn weights(&self) -> Option<&[f32]>;
    /// What is known of each of its columns.
    fn columns(&self) -> Vec<Column>;
}

/// Rows of one task, to be written: at least one, zero beyond the task's own columns and classes.
pub struct Rows<'a> {
    /// Inputs, `[n, D]`.
    pub x: &'a mut [f32],
    /// Targets, `[n]`: numbers or class indices.
    pub y: &'a mut [f32],
    /// Noise-free mean or class probabilities, `[n, O]`.
    pub signal: &'a mut [f32],
}

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
            work.with_min_len(4).for_each_init(Vec::new, |signal, (((x, y), &task), &step)| {
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
        let root = self.root(Purpose::Query);
        parallel::run(|| {
            let rows_of_task = x.par_chunks_mut(rows * width).zip(y.par_chunks_mut(rows));
            let work = rows_of_task.zip(signal.par_chunks_mut(rows * outputs)).zip(tasks);
            work.with_min_len(4).for_each(|(((x, y), signal), &task)| {
                let key = root.child(task as u64, draw as u64);
                self.task(task).observe(key, self.family.query_scale(), Rows { x, y, signal });
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

/// Inner product in eight partial sums, which the compiler can keep side by side.
fn dot<T: Copy + Mul<Output = T> + Sum + AddAssign + Default>(a: &[T], b: &[T]) -> T {
    let mut sums = [T::default(); 8];
    let (a8, b8) = (a.chunks_exact(8), b.chunks_exact(8));
    let mut total: T = a8.remainder().iter().zip(b8.remainder()).map(|(&a, &b)| a * b).sum();
    for (a, b) in a8.zip(b8) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    total += sums.into_iter().sum();
    total
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn families() -> Vec<Box<dyn Family>> {
        let fixed = |v: f64| Range { low: v, high: v };
        let noise = Range { low: 0.1, high: 1.0 };
        let dim = Range { low: 2, high: 6 };
        let condition = Range { low: 1.0, high: 50.0 };
        let (weight_scale, query_scale) = (fixed(1.0), 2.0);
        let none = Range { low: 0, high: 0 };
        let classes = Range { low: 2, high: 4 };
        let mlp = Mlp { dim, classes: none, hidden: 8, noise, weight_scale, query_scale, irrelevant: 0.3 };
        vec![
            Box::new(Linear { dim, noise, condition, sparsity: 0.3, weight_scale, query_scale }),
            Box::new(Logistic { dim, classes, condition, sparsity: 0.3, weight_scale, query_scale }),
            Box::new(Mlp { classes, ..mlp.clone() }),
            Box::new(mlp),
            Box::new(Sinusoid {
                amplitude: noise,
                phase: fixed(1.0),
                low: -5.0,
                high: 5.0,
                noise,
                query_scale,
            }),
        ]
    }

    fn context(sampler: &TaskSampler, tasks: &[i64], steps: &[i64], batch: usize) -> (Vec<f32>, Vec<f32>) {
        let mut x = vec![f32::NAN; tasks.len() * batch * sampler.features()];
        let mut y = vec![f32::NAN; tasks.len() * batch];
        sampler.context_into(tasks, steps, &mut x, &mut y).unwrap();
        (x, y)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn rows_depend_on_seed_task_step_and_element_alone(
            seed: u64, task: i64, step: i64, batch in 1usize..20, more in 0usize..20,
        ) {
            for family in families() {
                let sampler = TaskSampler::new(family, seed).unwrap();
                let (x, y) = context(&sampler, &[task], &[step], batch);
                let (x2, y2) = context(&sampler, &[5, task], &[9, step], batch + more);
                let (width, long) = (sampler.features(), batch + more);
                prop_assert_eq!(&x[..], &x2[long * width..(long + batch) * width]);
                prop_assert_eq!(&y[..], &y2[long..long + batch]);
                prop_assert!(x.iter().chain(&y).all(|v| v.is_finite()));
                let (other, _) = context(&sampler, &[task], &[step.wrapping_add(1)], batch);
                prop_assert_ne!(x, other);
            }
        }

        #[test]
        fn columns_and_classes_beyond_a_task_are_zero(seed: u64, task: i64) {
            for family in families() {
                let sampler = TaskSampler::new(family, seed).unwrap();
                let (width, outputs) = (sampler.features(), sampler.outputs());
                let (mut x, mut y) = (vec![f32::NAN; 7 * width], [f32::NAN; 7]);
                let mut signal = vec![f32::NAN; 7 * outputs];
                sampler.query_into(&[task], 0, &mut x, &mut y, &mut signal).unwrap();
                let dim = sampler.describe(&[task], |t| t.dim()).unwrap()[0];
                let classes = sampler.describe(&[task], |t| t.classes()).unwrap()[0];
                prop_assert!(x.chunks(width).all(|row| row[dim..].iter().all(|&v| v == 0.0)));
                prop_assert!(x.chunks(width).all(|row| row[..dim].iter().all(|&v| v != 0.0)));
                if classes > 0 {
                    prop_assert!(y.iter().all(|&c| c.fract() == 0.0 && (c as usize) < classes));
                    for p in signal.chunks(outputs) {
                        prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                        prop_assert!(p[classes..].iter().all(|&v| v == 0.0));
                    }
                }
            }
        }
    }

    #[test]
    fn lengths_that_do_not_fit_are_refused() {
        for family in families() {
            let sampler = TaskSampler::new(family, 0).unwrap();
            let (mut x, mut y) = (vec![0.0; 2 * sampler.features()], [0.0; 2]);
            assert!(sampler.context_into(&[1, 2], &[0, 0], &mut x, &mut y).is_ok());
            assert!(sampler.context_into(&[1, 2], &[0], &mut x, &mut y).is_err());
            assert!(sampler.context_into(&[1, 2], &[0, 0], &mut x[1..], &mut y).is_err());
            assert!(sampler.context_into(&[1, 2, 3], &[0; 3], &mut x, &mut y).is_err());
            assert!(sampler.context_into(&[], &[], &mut [], &mut []).is_ok());
        }
    }
}
