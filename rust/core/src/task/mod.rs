//! Task families and the sampler that draws rows of their tasks.
//!
//! A family is a distribution over tasks; a task is its index. Every row is a pure function of
//! (seed, task, step, element): a longer batch starts with the rows of a shorter one, in any order of tasks, on any
//! number of threads. To add a family, write one file with a `Family` and a `Task`
//! (most easily a `Pointwise`) and list it in the bindings.

mod causal;
mod column;
mod gmm;
mod gp;
mod graph;
mod input;
mod linear;
mod logistic;
mod mlp;
mod pointwise;
mod range;
mod remember;
mod sampler;
mod sinusoid;
mod tabular;
mod tree;

pub use causal::{Causal, Mechanism, NoiseKind};
pub use column::{Column, Role};
pub use gmm::Gmm;
pub use gp::{Gp, Kernel};
pub use graph::GraphKind;
pub use linear::Linear;
pub use logistic::Logistic;
pub use mlp::{Activation, Mlp};
pub use range::Range;
pub use remember::Remembering;
pub use sampler::TaskSampler;
pub use sinusoid::Sinusoid;
pub use tabular::Tabular;
pub use tree::Tree;

use sampler::Purpose;

use std::iter::Sum;
use std::ops::{AddAssign, Mul};

use crate::Result;
use crate::rng::Key;

/// A distribution over tasks.
pub trait Family: Send + Sync {
    /// Refuse settings that are out of range.
    ///
    /// # Errors
    /// `Config`, naming the setting.
    fn check(&self) -> Result<()>;
    /// What holds for all of its tasks.
    fn common(&self) -> Common;
    /// The task of this key.
    fn draw(&self, key: Key) -> Box<dyn Task>;
}

/// What holds for all tasks of a family.
#[derive(Debug, Clone, Copy)]
pub struct Common {
    /// Columns of the widest task.
    pub features: usize,
    /// Classes of the task with most; 0 for regression.
    pub classes: usize,
    /// What the inputs of query rows are multiplied by.
    pub query_scale: f32,
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
    /// What an oracle may know of the task, in as many numbers for every task of the family; empty for nothing.
    fn parameters(&self) -> Vec<f32> {
        Vec::new()
    }
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

/// Inner product in eight partial sums, which the compiler can keep side by side.
#[inline(always)]
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
        let mlp = Mlp {
            dim,
            classes: none,
            hidden: 8,
            layers: 2,
            activation: Activation::Relu,
            noise,
            weight_scale,
            query_scale,
            irrelevant: 0.3,
        };
        vec![
            Box::new(Linear { dim, noise, condition, sparsity: 0.3, weight_scale, query_scale }),
            Box::new(Logistic { dim, classes, condition, sparsity: 0.3, weight_scale, query_scale }),
            Box::new(Mlp { classes, layers: 1, activation: Activation::Tanh, ..mlp.clone() }),
            Box::new(Tree { dim, classes, depth: dim, trees: classes, threshold: 0.5, noise, query_scale }),
            Box::new(Gmm { dim, classes, variance: fixed(0.1), mean_scale: noise, query_scale }),
            Box::new(Gp {
                dim,
                kernel: Kernel::Matern32,
                length_scale: noise,
                amplitude: noise,
                noise,
                frequencies: 40,
                low: -2.0,
                high: 2.0,
                query_scale,
            }),
            Box::new(Causal {
                dim,
                graph: GraphKind::ScaleFree,
                degree: 2.0,
                mechanism: Mechanism::RandomFeatures,
                noise_kind: NoiseKind::Laplace,
                noise,
                weight_scale,
                query_scale,
            }),
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
