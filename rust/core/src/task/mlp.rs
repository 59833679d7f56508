//! Functions of a random network with one or two hidden layers.

use std::f64::consts::{FRAC_2_PI, FRAC_PI_4, PI};

use crate::rng::Key;
use crate::{Error, Result, math};

use super::input::Gaussian;
use super::pointwise::Pointwise;
use super::range::{check_scale, check_share};
use super::{Common, Family, Range, Task, dot};

/// How far apart classes are: logits are this many times the network's outputs of about unit variance.
const LOGIT_SCALE: f32 = 2.0;

/// What a hidden unit makes of its sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// Hyperbolic tangent.
    Tanh,
    /// The positive part.
    Relu,
}

impl Activation {
    /// The activation called `name`.
    ///
    /// # Errors
    /// `Config` for another name.
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "tanh" => Ok(Self::Tanh),
            "relu" => Ok(Self::Relu),
            _ => Err(Error::Config(format!("`activation` must be tanh or relu, not {name:?}"))),
        }
    }

    fn apply(self, values: &mut [f32]) {
        match self {
            Self::Tanh => values.iter_mut().for_each(|v| *v = math::tanh(*v)),
            Self::Relu => values.iter_mut().for_each(|v| *v = if *v > 0.0 { *v } else { 0.0 }),
        }
    }

    /// Mean product of two units whose sums are normal of variance `q` and covariance `c`.
    ///
    /// References: Williams, "Computation with infinite neural networks", Neural Computation 10 (1998), with
    /// tanh(a) ≈ erf(a √π / 2); Cho, Saul, "Kernel methods for deep learning", NIPS 2009, for the positive part.
    fn product(self, q: f64, c: f64) -> f64 {
        match self {
            Self::Tanh => FRAC_2_PI * libm::asin(2.0 * FRAC_PI_4 * c / (1.0 + 2.0 * FRAC_PI_4 * q)),
            Self::Relu => {
                let cosine = (c / q).clamp(-1.0, 1.0);
                let angle = libm::acos(cosine);
                q / (2.0 * PI) * (libm::sin(angle) + cosine * (PI - angle))
            }
        }
    }
}

/// Network tasks: x ~ N(0, I), hidden units tanh(s (w·x/√d + b)), or their positive part, with w, b ~ N(0, 1); a second
/// layer's units likewise, of the first layer's units divided by their root mean square. Outputs are scaled to a
/// variance of about one over inputs and tasks.
///
/// Regression adds noise σ; classification draws labels from the softmax of twice the outputs.
#[derive(Debug, Clone)]
pub struct Mlp {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// Classes of a task, uniform, at least 2; or (0, 0) for regression.
    pub classes: Range<usize>,
    /// Hidden units of each layer.
    pub hidden: usize,
    /// Hidden layers, 1 or 2.
    pub layers: usize,
    /// Of the hidden units.
    pub activation: Activation,
    /// σ, log-uniform; for regression only.
    pub noise: Range<f64>,
    /// s, log-uniform: the larger, the further from linear.
    pub weight_scale: Range<f64>,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
    /// Share of the columns without effect, rounded; at least one column has an effect.
    pub irrelevant: f64,
}

impl Family for Mlp {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        if self.classes != (Range { low: 0, high: 0 }) {
            self.classes.check("classes", 2)?;
        }
        if !(1..=1024).contains(&self.hidden) {
            return Err(Error::Config(format!("`hidden` must be from 1 to 1024, not {}", self.hidden)));
        }
        if !(1..=2).contains(&self.layers) {
            return Err(Error::Config(format!("`layers` must be 1 or 2, not {}", self.layers)));
        }
        self.noise.check("noise", 0.0, true)?;
        self.weight_scale.check("weight_scale", 0.0, false)?;
        check_scale("query_scale", self.query_scale)?;
        check_share("irrelevant", self.irrelevant)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: self.classes.high, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.child(0, 0).draws();
        let dim = draws.integer(self.dim.low, self.dim.high);
        let classes = draws.integer(self.classes.low, self.classes.high);
        let noise =
            if classes == 0 { draws.log_uniform(self.noise.low, self.noise.high) as f32 } else { 0.0 };
        let scale = draws.log_uniform(self.weight_scale.low, self.weight_scale.high);
        let relevant = relevant(dim, self.irrelevant, key.child(1, 0));
        let (hidden, outputs) = (self.hidden, classes.max(1));
        let normals = |purpose: u64, n: usize, scale: f64| {
            let mut out = vec![0.0; n];
            key.child(purpose, 0).normals(&mut out);
            out.iter_mut().for_each(|w| *w *= scale as f32);
            out
        };
        let inner = normals(2, relevant.len() * hidden, scale / (relevant.len() as f64).sqrt());
        let bias = normals(3, hidden, scale);
        let variance = variance(self.activation, self.layers, scale);
        let outer = normals(4, outputs * hidden, 1.0 / (hidden as f64 * variance).sqrt());
        let square = self.activation.product(2.0 * scale * scale, 2.0 * scale * scale);
        let second = (self.layers == 2).then(|| {
            (normals(5, hidden * hidden, scale / (hidden as f64 * square).sqrt()), normals(6, hidden, scale))
        });
        let activation = self.activation;
        Box::new(MlpTask { dim, classes, noise, activation, relevant, inner, bias, second, outer })
    }
}

/// The columns that have an effect, in order: a random subset of the rounded share.
fn relevant(dim: usize, irrelevant: f64, key: Key) -> Vec<usize> {
    let keep = ((dim as f64 * (1.0 - irrelevant) + 0.5) as usize).clamp(1, dim);
    let mut columns: Vec<usize> = (0..dim).collect();
    let mut draws = key.draws();
    for i in 0..keep {
        columns.swap(i, draws.integer(i, dim - 1));
    }
    columns.truncate(keep);
    columns.sort_unstable();
    columns
}

/// Variance over x of one unit of the last hidden layer, averaged over weights and biases.
///
/// Two inputs share the bias alone, half of a unit's variance, and in the second layer also what the first layers of both
/// have in common.
fn variance(activation: Activation, layers: usize, scale: f64) -> f64 {
    let (total, bias) = (2.0 * scale * scale, scale * scale);
    let (square, shared) = (activation.product(total, total), activation.product(total, bias));
    if layers == 1 {
        return square - shared;
    }
    square - activation.product(total, bias + bias * shared / square)
}

struct MlpTask {
    dim: usize,
    classes: usize,
    noise: f32,
    activation: Activation,
    relevant: Vec<usize>,
    /// `[relevant, hidden]`
    inner: Vec<f32>,
    /// `[hidden]`
    bias: Vec<f32>,
    /// Weights `[hidden, hidden]` and biases `[hidden]` of the second layer.
    second: Option<(Vec<f32>, Vec<f32>)>,
    /// `[outputs, hidden]`
    outer: Vec<f32>,
}

impl Pointwise for MlpTask {
    fn dim(&self) -> usize {
        self.dim
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn noise(&self) -> f32 {
        self.noise
    }

    fn inputs(&self, key: Key, x: &mut [f32]) {
        Gaussian::standard(self.dim).fill(key, x);
    }

    fn signal(&self, x: &[f32], out: &mut [f32]) {
        let mut hidden = self.bias.clone();
        for (&column, weights) in self.relevant.iter().zip(self.inner.chunks(hidden.len())) {
            let value = x[column];
            hidden.iter_mut().zip(weights).for_each(|(h, w)| *h += value * w);
        }
        self.activation.apply(&mut hidden);
        if let Some((weights, bias)) = &self.second {
            let rows = weights.chunks(hidden.len()).zip(bias);
            let mut next: Vec<f32> = rows.map(|(weights, bias)| bias + dot(weights, &hidden)).collect();
            self.activation.apply(&mut next);
            hidden = next;
        }
        let scale = if self.classes == 0 { 1.0 } else { LOGIT_SCALE };
        for (o, weights) in out.iter_mut().zip(self.outer.chunks(hidden.len())) {
            *o = scale * dot(weights, &hidden);
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn relevant_columns_are_a_subset(seed: u64, dim in 1usize..40, share in 0.0f64..1.0) {
            let columns = relevant(dim, share, Key::new(seed));
            prop_assert!(!columns.is_empty() && columns.windows(2).all(|w| w[0] < w[1]));
            prop_assert!(columns.iter().all(|&c| c < dim));
            prop_assert!((columns.len() as f64 - (dim as f64 * (1.0 - share)).max(1.0)).abs() <= 0.5 + 1e-9);
        }
    }
}
