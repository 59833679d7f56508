//! Logistic and multinomial regression: y ~ softmax([1, x] W).

use crate::Result;
use crate::rng::Key;

use super::input::Gaussian;
use super::linear::weights;
use super::pointwise::Pointwise;
use super::range::{check_scale, check_share};
use super::{Common, Family, Range, Task};

/// Logistic tasks: W ~ N(0, s²) with a bias for each class, x ~ N(0, C), y ~ softmax([1, x] W).
#[derive(Debug, Clone)]
pub struct Logistic {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// Classes of a task, uniform; at least 2.
    pub classes: Range<usize>,
    /// Largest over smallest eigenvalue of C, log-uniform.
    pub condition: Range<f64>,
    /// Probability that a column has weight zero for every class.
    pub sparsity: f64,
    /// s, log-uniform.
    pub weight_scale: Range<f64>,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
}

impl Family for Logistic {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        self.classes.check("classes", 2)?;
        self.condition.check("condition", 1.0, false)?;
        check_share("sparsity", self.sparsity)?;
        self.weight_scale.check("weight_scale", 0.0, false)?;
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: self.classes.high, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.child(0, 0).draws();
        let dim = draws.integer(self.dim.low, self.dim.high);
        let classes = draws.integer(self.classes.low, self.classes.high);
        let scale = draws.log_uniform(self.weight_scale.low, self.weight_scale.high);
        let inputs = Gaussian::draw(dim, self.condition, key.child(1, 0));
        let weights = weights(dim, classes, scale, self.sparsity, key.child(2, 0));
        Box::new(LogisticTask { classes, scale: scale as f32, inputs, weights })
    }
}

struct LogisticTask {
    classes: usize,
    scale: f32,
    inputs: Gaussian,
    weights: Vec<f32>,
}

impl Pointwise for LogisticTask {
    fn dim(&self) -> usize {
        self.weights.len() / self.classes - 1
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn noise(&self) -> f32 {
        0.0
    }

    fn inputs(&self, key: Key, x: &mut [f32]) {
        self.inputs.fill(key, x);
    }

    fn signal(&self, x: &[f32], out: &mut [f32]) {
        let (bias, columns) = self.weights.split_at(self.classes);
        out.copy_from_slice(bias);
        for (value, column) in x.iter().zip(columns.chunks(self.classes)) {
            out.iter_mut().zip(column).for_each(|(o, w)| *o += value * w);
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        Some(&self.weights)
    }

    /// s.
    fn parameters(&self) -> Vec<f32> {
        vec![self.scale]
    }
}
