//! Random decision trees and sums of them.

use crate::rng::Key;
use crate::{Error, Result};

use super::input::Gaussian;
use super::pointwise::Pointwise;
use super::range::check_scale;
use super::{Common, Family, Range, Task};

/// How far apart classes are: logits are this many times the leaves' values of variance one.
const LOGIT_SCALE: f32 = 2.0;

/// Tree tasks: x ~ N(0, I); every inner node of a full tree asks whether a column drawn for it is above a threshold drawn
/// for it, leaves are N(0, 1), several trees are added and divided by the root of their number.
///
/// Regression adds noise σ; classification draws labels from the softmax of twice the leaves' values.
///
/// Reference: Garg, Tsipras, Liang, Valiant, "What can transformers learn in-context?", NeurIPS 2022, whose trees have
/// depth 4, 20 columns and thresholds at zero.
#[derive(Debug, Clone)]
pub struct Tree {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// Classes of a task, uniform, at least 2; or (0, 0) for regression.
    pub classes: Range<usize>,
    /// Questions from root to leaf, uniform, at most 12.
    pub depth: Range<usize>,
    /// Trees, uniform.
    pub trees: Range<usize>,
    /// Standard deviation of the thresholds; zero puts all at zero.
    pub threshold: f64,
    /// σ, log-uniform; for regression only.
    pub noise: Range<f64>,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
}

impl Family for Tree {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        if self.classes != (Range { low: 0, high: 0 }) {
            self.classes.check("classes", 2)?;
        }
        self.trees.check("trees", 1)?;
        let Range { low, high } = self.depth;
        if !(1 <= low && low <= high && high <= 12) {
            return Err(Error::Config(format!(
                "`depth` must be (low, high) with 1 <= low <= high <= 12, not ({low}, {high})"
            )));
        }
        if !(self.threshold >= 0.0 && self.threshold.is_finite()) {
            return Err(Error::Config(format!(
                "`threshold` must be zero or positive and finite, not {}",
                self.threshold
            )));
        }
        self.noise.check("noise", 0.0, true)?;
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: self.classes.high, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.child(0, 0).draws();
        let dim = draws.integer(self.dim.low, self.dim.high);
        let classes = draws.integer(self.classes.low, self.classes.high);
        let depth = draws.integer(self.depth.low, self.depth.high);
        let trees = draws.integer(self.trees.low, self.trees.high);
        let noise =
            if classes == 0 { draws.log_uniform(self.noise.low, self.noise.high) as f32 } else { 0.0 };
        let inner = trees * ((1 << depth) - 1);
        let mut columns = key.child(1, 0).draws();
        let columns = (0..inner).map(|_| columns.integer(0, dim - 1)).collect();
        let normals = |purpose: u64, n: usize, scale: f64| {
            let mut out = vec![0.0; n];
            key.child(purpose, 0).normals(&mut out);
            out.iter_mut().for_each(|v| *v *= scale as f32);
            out
        };
        let thresholds = normals(2, inner, self.threshold);
        let leaves = normals(3, (trees << depth) * classes.max(1), 1.0 / (trees as f64).sqrt());
        Box::new(TreeTask { dim, classes, depth, noise, columns, thresholds, leaves })
    }
}

struct TreeTask {
    dim: usize,
    classes: usize,
    depth: usize,
    noise: f32,
    /// `[trees, 2^depth − 1]`: the children of node i are 2i + 1 and 2i + 2.
    columns: Vec<usize>,
    /// `[trees, 2^depth − 1]`
    thresholds: Vec<f32>,
    /// `[trees, 2^depth, outputs]`
    leaves: Vec<f32>,
}

impl Pointwise for TreeTask {
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
        let (inner, outputs) = ((1 << self.depth) - 1, out.len());
        out.fill(0.0);
        let trees = self.columns.chunks(inner).zip(self.thresholds.chunks(inner));
        for ((columns, thresholds), leaves) in trees.zip(self.leaves.chunks((inner + 1) * outputs)) {
            let mut node = 0;
            while node < inner {
                node = 2 * node + 1 + usize::from(x[columns[node]] > thresholds[node]);
            }
            let leaf = &leaves[(node - inner) * outputs..][..outputs];
            out.iter_mut().zip(leaf).for_each(|(o, v)| *o += v);
        }
        if self.classes > 0 {
            out.iter_mut().for_each(|o| *o *= LOGIT_SCALE);
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }
}
