//! Classification of the components of a Gaussian mixture.

use crate::Result;
use crate::rng::Key;

use super::pointwise::Pointwise;
use super::range::check_scale;
use super::{Common, Family, Range, Task};

/// Mixture tasks: means m ~ N(0, s² I), rows x ~ N(m_c, v I) of components c drawn alike, y = c.
///
/// Labels are drawn from the responsibilities p(c | x), which leaves the joint distribution of x and y as it is.
#[derive(Debug, Clone)]
pub struct Gmm {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// Components, uniform; at least 2.
    pub classes: Range<usize>,
    /// v, log-uniform.
    pub variance: Range<f64>,
    /// s, log-uniform.
    pub mean_scale: Range<f64>,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
}

impl Family for Gmm {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        self.classes.check("classes", 2)?;
        self.variance.check("variance", 0.0, false)?;
        self.mean_scale.check("mean_scale", 0.0, false)?;
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: self.classes.high, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.child(0, 0).draws();
        let dim = draws.integer(self.dim.low, self.dim.high);
        let classes = draws.integer(self.classes.low, self.classes.high);
        let variance = draws.log_uniform(self.variance.low, self.variance.high) as f32;
        let scale = draws.log_uniform(self.mean_scale.low, self.mean_scale.high) as f32;
        let mut means = vec![0.0; classes * dim];
        key.child(1, 0).normals(&mut means);
        means.iter_mut().for_each(|m| *m *= scale);
        Box::new(GmmTask { dim, variance, scale, means })
    }
}

struct GmmTask {
    dim: usize,
    variance: f32,
    scale: f32,
    /// `[classes, dim]`
    means: Vec<f32>,
}

impl Pointwise for GmmTask {
    fn dim(&self) -> usize {
        self.dim
    }

    fn classes(&self) -> usize {
        self.means.len() / self.dim
    }

    fn noise(&self) -> f32 {
        0.0
    }

    fn inputs(&self, key: Key, x: &mut [f32]) {
        key.normals(x);
        let (classes, sd) = (self.means.len() / self.dim, self.variance.sqrt());
        let mut components = vec![0.0; x.len() / self.dim];
        key.child(0, 0).uniforms(&mut components);
        for (row, component) in x.chunks_mut(self.dim).zip(components) {
            let start = ((component * classes as f32) as usize).min(classes - 1) * self.dim;
            let mean = &self.means[start..start + self.dim];
            row.iter_mut().zip(mean).for_each(|(v, m)| *v = m + sd * *v);
        }
    }

    fn signal(&self, x: &[f32], out: &mut [f32]) {
        for (logit, mean) in out.iter_mut().zip(self.means.chunks(self.dim)) {
            let square = x.iter().zip(mean).fold(0.0, |sum, (x, m)| sum + (x - m) * (x - m));
            *logit = -square / (2.0 * self.variance);
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }

    fn parameters(&self) -> Vec<f32> {
        vec![self.variance, self.scale]
    }
}
