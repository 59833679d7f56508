//! Observations of structural causal models.

use crate::rng::Key;
use crate::{Error, Result, math};

use super::graph::{GraphKind, permutation};
use super::range::check_scale;
use super::{Column, Common, Family, Purpose, Range, Rows, Task};

/// How a variable follows from its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Σ w x / √parents, w ~ N(0, s²).
    Linear,
    /// A function from a Gaussian process of the parents with the RBF kernel, by 32 random frequencies.
    RandomFeatures,
}

impl Mechanism {
    /// The mechanism called `name`.
    ///
    /// # Errors
    /// `Config` for another name.
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "linear" => Ok(Self::Linear),
            "random_features" => Ok(Self::RandomFeatures),
            _ => Err(Error::Config(format!("`mechanism` must be linear or random_features, not {name:?}"))),
        }
    }
}

/// The distribution of what a variable has beyond its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoiseKind {
    /// Normal.
    Gauss,
    /// Double exponential, of variance one.
    Laplace,
    /// Cauchy, of scale one.
    Cauchy,
}

impl NoiseKind {
    /// The distribution called `name`.
    ///
    /// # Errors
    /// `Config` for another name.
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "gauss" => Ok(Self::Gauss),
            "laplace" => Ok(Self::Laplace),
            "cauchy" => Ok(Self::Cauchy),
            _ => Err(Error::Config(format!("`noise_kind` must be gauss, laplace or cauchy, not {name:?}"))),
        }
    }

    fn fill(self, key: Key, out: &mut [f32]) {
        if self == Self::Gauss {
            return key.normals(out);
        }
        key.uniforms(out);
        for value in out {
            // The middle of each of the 2²⁴ steps: never an end, where both quantiles are infinite.
            let u = (*value + 0.5 / 16_777_216.0).min(1.0 - 0.5 / 16_777_216.0);
            *value = if self == Self::Laplace { laplace(u) } else { cauchy(u) };
        }
    }
}

/// The quantile of the double exponential of variance one.
fn laplace(u: f32) -> f32 {
    let tail = math::ln(2.0 * if u < 0.5 { u } else { 1.0 - u }) * std::f32::consts::FRAC_1_SQRT_2;
    if u < 0.5 { tail } else { -tail }
}

/// The quantile of the Cauchy distribution, tan(π(u − ½)).
fn cauchy(u: f32) -> f32 {
    let (sin, cos) = math::sin_cos_turn(0.5 * u);
    -cos / sin
}

/// Causal tasks: D + 1 variables on a random graph, each a mechanism of its parents plus noise; the last in the causal
/// order, which has at least one parent, is y, and the others are the columns of x in random order.
///
/// Reference: Lorch, Sussex, Rothfuss, Krause, Schölkopf, "Amortized inference for causal structure learning",
/// NeurIPS 2022, whose families of graphs and mechanisms these are.
#[derive(Debug, Clone)]
pub struct Causal {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// Distribution of the graph.
    pub graph: GraphKind,
    /// Parents of a variable, on average.
    pub degree: f64,
    /// How a variable follows from its parents.
    pub mechanism: Mechanism,
    /// Distribution of the noise.
    pub noise_kind: NoiseKind,
    /// Scale of the noise, log-uniform, the same for all variables of a task.
    pub noise: Range<f64>,
    /// s of linear mechanisms, amplitude of the others; log-uniform.
    pub weight_scale: Range<f64>,
    /// What the noise of every column is multiplied by in queries.
    pub query_scale: f32,
}

impl Family for Causal {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        if !(self.degree > 0.0 && self.degree.is_finite()) {
            return Err(Error::Config(format!("`degree` must be positive and finite, not {}", self.degree)));
        }
        self.noise.check("noise", 0.0, false)?;
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
        let scale = draws.log_uniform(self.weight_scale.low, self.weight_scale.high) as f32;
        let mut columns = permutation(dim, key.child(1, 0));
        columns.push(self.dim.high);
        let mut parents = self.graph.draw(dim + 1, self.degree, key.child(2, 0));
        if parents[dim].is_empty() {
            parents[dim].push(draws.integer(0, dim - 1));
        }
        let nodes = parents.into_iter().zip(&columns).enumerate();
        let nodes = nodes.map(|(node, (parents, &column))| {
            let parents: Vec<usize> = parents.into_iter().map(|p| columns[p]).collect();
            let function = Function::draw(self.mechanism, parents.len(), scale, key.child(3, node as u64));
            Node { column, parents, function }
        });
        Box::new(CausalTask { width: self.dim.high, noise, kind: self.noise_kind, nodes: nodes.collect() })
    }
}

/// Frequencies of a mechanism of random features.
const FREQUENCIES: usize = 32;

/// A mechanism with its numbers.
enum Function {
    /// A weight for each parent.
    Linear(Vec<f32>),
    /// Turns `[F, parents]`, and the weights of F cosines and F sines.
    Features(Vec<f32>, Vec<f32>),
}

impl Function {
    fn draw(mechanism: Mechanism, parents: usize, scale: f32, key: Key) -> Self {
        let normals = |purpose: u64, n: usize, scale: f32| {
            let mut out = vec![0.0; n];
            key.child(purpose, 0).normals(&mut out);
            out.iter_mut().for_each(|v| *v *= scale);
            out
        };
        let each = 1.0 / (parents.max(1) as f32).sqrt();
        match mechanism {
            Mechanism::Linear => Self::Linear(normals(0, parents, scale * each)),
            Mechanism::RandomFeatures => Self::Features(
                normals(0, FREQUENCIES * parents, each / std::f32::consts::TAU),
                normals(1, 2 * FREQUENCIES, scale / (FREQUENCIES as f32).sqrt()),
            ),
        }
    }

    fn at(&self, x: &[f32], parents: &[usize]) -> f32 {
        if parents.is_empty() {
            return 0.0;
        }
        let sum = |weights: &[f32]| weights.iter().zip(parents).fold(0.0, |sum, (w, &p)| sum + w * x[p]);
        match self {
            Self::Linear(weights) => sum(weights),
            Self::Features(turns, weights) => {
                let (cosines, sines) = weights.split_at(FREQUENCIES);
                let waves = turns.chunks(parents.len()).zip(cosines.iter().zip(sines));
                waves.fold(0.0, |total, (turns, (u, v))| {
                    let turn = sum(turns);
                    let (sin, cos) = math::sin_cos_turn(turn - turn.floor());
                    total + u * cos + v * sin
                })
            }
        }
    }
}

/// One variable: where it stands, and what it follows from. The target stands at `D`.
struct Node {
    column: usize,
    parents: Vec<usize>,
    function: Function,
}

struct CausalTask {
    /// Columns of the widest task.
    width: usize,
    noise: f32,
    kind: NoiseKind,
    /// In causal order; the last is the target.
    nodes: Vec<Node>,
}

impl Task for CausalTask {
    fn dim(&self) -> usize {
        self.nodes.len() - 1
    }

    fn classes(&self) -> usize {
        0
    }

    fn noise(&self) -> f32 {
        self.noise
    }

    fn observe(&self, key: Key, scale: f32, rows: Rows<'_>) {
        let Rows { x, y, signal } = rows;
        let dim = self.dim();
        let mut noise = vec![0.0; y.len() * dim];
        self.kind.fill(key.child(Purpose::Inputs as u64, 0), &mut noise);
        self.kind.fill(key.child(Purpose::Targets as u64, 0), y);
        let rows = x.chunks_mut(self.width).zip(noise.chunks(dim)).zip(y.iter_mut().zip(signal));
        for ((x, noise), (y, signal)) in rows {
            x[dim..].fill(0.0);
            for (node, noise) in self.nodes.iter().zip(noise) {
                x[node.column] = node.function.at(x, &node.parents) + self.noise * scale * noise;
            }
            let target = &self.nodes[dim];
            *signal = target.function.at(x, &target.parents);
            *y = *signal + self.noise * *y;
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }

    fn columns(&self) -> Vec<Column> {
        vec![Column::NUMERIC; self.dim()]
    }

    /// The adjacency `[D + 1, D + 1]`: 1 at (cause, effect), the target last.
    fn parameters(&self) -> Vec<f32> {
        let size = self.width + 1;
        let mut adjacency = vec![0.0; size * size];
        for node in &self.nodes {
            for &parent in &node.parents {
                adjacency[parent * size + node.column] = 1.0;
            }
        }
        adjacency
    }
}
