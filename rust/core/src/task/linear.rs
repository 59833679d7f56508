//! Linear regression: y = w·[1, x] + noise.

use pulp::{Arch, Simd, WithSimd};

use crate::Result;
use crate::rng::Key;

use super::input::Gaussian;
use super::pointwise::Pointwise;
use super::range::{check_scale, check_share};
use super::{Common, Family, Range, Task, dot};

/// Linear tasks: w ~ N(0, s² I) with a bias, x ~ N(0, C), y = w·[1, x] + σ·N(0, 1).
#[derive(Debug, Clone)]
pub struct Linear {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// σ, log-uniform.
    pub noise: Range<f64>,
    /// Largest over smallest eigenvalue of C, log-uniform; 1 is the identity, else C has random axes and mean variance 1.
    pub condition: Range<f64>,
    /// Probability that a column has weight zero.
    pub sparsity: f64,
    /// s, log-uniform.
    pub weight_scale: Range<f64>,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
}

impl Family for Linear {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        self.noise.check("noise", 0.0, true)?;
        self.condition.check("condition", 1.0, false)?;
        check_share("sparsity", self.sparsity)?;
        self.weight_scale.check("weight_scale", 0.0, false)?;
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: 0, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.child(0, 0).draws();
        let dim = draws.integer(self.dim.low, self.dim.high);
        let noise = draws.log_uniform(self.noise.low, self.noise.high) as f32;
        let scale = draws.log_uniform(self.weight_scale.low, self.weight_scale.high);
        let inputs = Gaussian::draw(dim, self.condition, key.child(1, 0));
        Box::new(LinearTask {
            noise,
            scale: scale as f32,
            inputs,
            weights: weights(dim, 1, scale, self.sparsity, key.child(2, 0)),
        })
    }
}

/// `[1 + dim, outputs]` normals of the given scale, bias first; a column is without effect with the given probability.
pub(super) fn weights(dim: usize, outputs: usize, scale: f64, sparsity: f64, key: Key) -> Vec<f32> {
    let mut weights = vec![0.0; (1 + dim) * outputs];
    key.child(0, 0).normals(&mut weights);
    weights.iter_mut().for_each(|w| *w *= scale as f32);
    if sparsity == 0.0 {
        return weights;
    }
    let mut draws = key.child(1, 0).draws();
    for column in weights.chunks_mut(outputs).skip(1) {
        if draws.uniform() < sparsity {
            column.fill(0.0);
        }
    }
    weights
}

/// The signals of many rows, compiled for each kind of vector unit.
struct Signals<'a> {
    bias: f32,
    weights: &'a [f32],
    x: &'a [f32],
    width: usize,
    out: &'a mut [f32],
    outputs: usize,
}

impl WithSimd for Signals<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let rows = self.x.chunks(self.width).zip(self.out.chunks_mut(self.outputs));
        for (x, out) in rows {
            out[0] = self.bias + dot(self.weights, &x[..self.weights.len()]);
        }
    }
}

struct LinearTask {
    noise: f32,
    scale: f32,
    inputs: Gaussian,
    weights: Vec<f32>,
}

impl Pointwise for LinearTask {
    fn dim(&self) -> usize {
        self.weights.len() - 1
    }

    fn classes(&self) -> usize {
        0
    }

    fn noise(&self) -> f32 {
        self.noise
    }

    fn inputs(&self, key: Key, x: &mut [f32]) {
        self.inputs.fill(key, x);
    }

    fn signal(&self, x: &[f32], out: &mut [f32]) {
        out[0] = self.weights[0] + dot(&self.weights[1..], x);
    }

    fn signals(&self, x: &[f32], width: usize, out: &mut [f32], outputs: usize) {
        let (bias, weights) = (self.weights[0], &self.weights[1..]);
        Arch::new().dispatch(Signals { bias, weights, x, width, out, outputs });
    }

    fn weights(&self) -> Option<&[f32]> {
        Some(&self.weights)
    }

    /// s.
    fn parameters(&self) -> Vec<f32> {
        vec![self.scale]
    }
}
