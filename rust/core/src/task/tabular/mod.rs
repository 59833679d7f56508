//! Synthetic tables that look like real ones.
//!
//! A task is a structural causal model: a layered graph of nodes, each a function of earlier nodes with noise of its
//! own, some of them sums of trees. One deep node becomes the target, others become columns, with the
//! tails, ties, categories, copies, outliers and gaps of real tables; the rest stay hidden. Irrelevant columns come
//! from a graph of their own. Everything a table's rows are measured by (means, quantiles, cuts) belongs to the task
//! and comes from a fixed sample of its rows, never from the batch.
//!
//! References: Hollmann, Müller, Eggensperger, Hutter, "TabPFN", ICLR 2023, §4; Qu, Holzmüller, Varoquaux, Le Morvan,
//! "TabICL", ICML 2025, §4 (priors over causal models and trees).

mod choice;
mod column;
mod draw;
mod forest;
mod graph;
mod mechanism;
mod pilot;
mod skeleton;
mod target;
mod warp;

use crate::rng::Key;
use crate::{Error, Result};

use super::column::{Column, Role};
use super::range::{check_scale, check_shares};
use super::{Common, Family, Purpose, Range, Rows, Task};
use column::Finish;
use graph::Graph;
use pilot::PILOT;
use target::Target;

/// Cuts of a column beyond this many are too fine for the sample that they come from.
const MOST_LEVELS: usize = 64;

/// Tables of numeric and categorical columns; see the module. Shares are of a task's columns, uniform in their range.
#[derive(Debug, Clone)]
pub struct Tabular {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// Classes of a task, uniform, at least 2; or (0, 0) for regression.
    pub classes: Range<usize>,
    /// Log-uniform: σ of a target of about unit variance, or for classes the scale of the logistic noise on the
    /// node that they are parts of.
    pub noise: Range<f64>,
    /// Share of a noisy node's variance that is its own noise, log-uniform, or (0, 0).
    pub node_noise: Range<f64>,
    /// Hidden nodes for each node that becomes a column, uniform.
    pub hidden: Range<f64>,
    /// Layers of causes below the roots, uniform.
    pub layers: Range<usize>,
    /// Most parents of a node, uniform.
    pub parents: Range<usize>,
    /// Share of the nodes with parents that are sums of trees, uniform.
    pub trees: Range<f64>,
    /// Share of categorical columns.
    pub categorical: Range<f64>,
    /// Levels of a categorical column, log-uniform.
    pub levels: Range<usize>,
    /// Share of columns that are copies of others.
    pub redundant: Range<f64>,
    /// Share of columns that have nothing to do with the target.
    pub irrelevant: Range<f64>,
    /// Share of numeric columns that are warped, rounded, cut off or have one frequent value.
    pub warped: Range<f64>,
    /// Share of outlying cells in a quarter of the numeric columns, uniform.
    pub outliers: Range<f64>,
    /// Share of missing cells in half of the columns, uniform, at most 0.5.
    pub missing: Range<f64>,
    /// Largest over smallest share of a class, log-uniform.
    pub imbalance: Range<f64>,
    /// What the root causes of query rows are multiplied by.
    pub query_scale: f32,
}

impl Family for Tabular {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        if self.classes != (Range { low: 0, high: 0 }) {
            self.classes.check("classes", 2)?;
        }
        self.noise.check("noise", 0.0, self.classes.high == 0)?;
        self.node_noise.check("node_noise", 0.0, true)?;
        check_shares("node_noise", self.node_noise, 1.0)?;
        check_shares("hidden", self.hidden, 8.0)?;
        self.layers.check("layers", 1)?;
        self.parents.check("parents", 1)?;
        self.levels.check("levels", 2)?;
        if self.levels.high > MOST_LEVELS {
            let high = self.levels.high;
            return Err(Error::Config(format!("`levels` must be at most {MOST_LEVELS}, not {high}")));
        }
        let shares = [
            ("trees", self.trees),
            ("categorical", self.categorical),
            ("redundant", self.redundant),
            ("irrelevant", self.irrelevant),
            ("warped", self.warped),
            ("outliers", self.outliers),
        ];
        shares.into_iter().try_for_each(|(name, share)| check_shares(name, share, 1.0))?;
        check_shares("missing", self.missing, 0.5)?;
        self.imbalance.check("imbalance", 1.0, false)?;
        if self.imbalance.high > 100.0 {
            let high = self.imbalance.high;
            return Err(Error::Config(format!("`imbalance` must be at most 100, not {high}")));
        }
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: self.classes.high, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        Box::new(draw::table(self, key))
    }
}

/// One table.
struct Table {
    graph: Graph,
    columns: Vec<Finish>,
    /// The node behind the target.
    node: usize,
    target: Target,
}

impl Task for Table {
    fn dim(&self) -> usize {
        self.columns.len()
    }

    fn classes(&self) -> usize {
        self.target.classes()
    }

    fn noise(&self) -> f32 {
        self.target.noise()
    }

    fn observe(&self, key: Key, scale: f32, rows: Rows<'_>) {
        let Rows { x, y, signal } = rows;
        let (width, outputs, n) = (x.len() / y.len(), signal.len() / y.len(), y.len().min(PILOT));
        let mut values = vec![0.0; self.graph.len() * n];
        let tiles =
            x.chunks_mut(PILOT * width).zip(y.chunks_mut(PILOT)).zip(signal.chunks_mut(PILOT * outputs));
        for (tile, ((x, y), signal)) in tiles.enumerate() {
            let values = &mut values[..self.graph.len() * y.len()];
            self.tile(key.child(tile as u64, 0), scale, values, Rows { x, y, signal });
        }
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }

    fn columns(&self) -> Vec<Column> {
        self.columns.iter().map(Finish::summary).collect()
    }
}

impl Table {
    /// At most `PILOT` rows, with memory for the values of their nodes.
    fn tile(&self, key: Key, scale: f32, values: &mut [f32], rows: Rows<'_>) {
        let n = rows.y.len();
        let inputs = key.child(Purpose::Inputs as u64, 0);
        self.graph.fill(inputs, scale, n, values);
        let mut column = [0.0; PILOT];
        let (column, width) = (&mut column[..n], rows.x.len() / n);
        for (j, finish) in self.columns.iter().enumerate() {
            finish.fill(inputs.child(self.graph.len() as u64, j as u64 + 1), values, column);
            rows.x.iter_mut().skip(j).step_by(width).zip(column.iter()).for_each(|(x, &v)| *x = v);
        }
        rows.x.chunks_mut(width).for_each(|row| row[self.columns.len()..].fill(0.0));
        let node = &mut values[self.node * n..(self.node + 1) * n];
        self.target.observe(key.child(Purpose::Targets as u64, 0), node, rows);
    }
}

#[cfg(test)]
mod tests {
    use super::super::TaskSampler;
    use super::*;
    use proptest::prelude::*;

    fn family(classes: Range<usize>, missing: f64) -> Tabular {
        let share = |high: f64| Range { low: 0.0, high };
        Tabular {
            dim: Range { low: 1, high: 12 },
            classes,
            noise: Range { low: 0.05, high: 0.5 },
            node_noise: Range { low: 0.01, high: 0.5 },
            hidden: share(0.8),
            layers: Range { low: 1, high: 4 },
            parents: Range { low: 1, high: 4 },
            trees: share(1.0),
            categorical: share(0.6),
            levels: Range { low: 2, high: 12 },
            redundant: share(0.2),
            irrelevant: share(0.3),
            warped: share(0.7),
            outliers: share(0.01),
            missing: Range { low: missing, high: missing },
            imbalance: Range { low: 1.0, high: 10.0 },
            query_scale: 2.0,
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn rows_depend_on_seed_task_step_and_element_alone(
            seed: u64, task: i64, step: i64, batch in 1usize..300, more in 0usize..300,
        ) {
            for classes in [Range { low: 0, high: 0 }, Range { low: 2, high: 10 }] {
                let sampler = TaskSampler::new(Box::new(family(classes, 0.0)), seed).unwrap();
                let width = sampler.features();
                let draw = |tasks: &[i64], steps: &[i64], rows: usize| {
                    let (mut x, mut y) = (vec![f32::NAN; tasks.len() * rows * width], vec![f32::NAN; tasks.len() * rows]);
                    sampler.context_into(tasks, steps, &mut x, &mut y).unwrap();
                    (x, y)
                };
                let long = batch + more;
                let (x, y) = draw(&[task], &[step], batch);
                let (x2, y2) = draw(&[5, task], &[9, step], long);
                prop_assert_eq!(&x[..], &x2[long * width..(long + batch) * width]);
                prop_assert_eq!(&y[..], &y2[long..long + batch]);
                prop_assert!(x.iter().chain(&y).all(|v| v.is_finite()));
            }
        }

        #[test]
        fn tables_are_what_they_say(seed: u64, task: i64) {
            let sampler = TaskSampler::new(Box::new(family(Range { low: 2, high: 10 }, 0.3)), seed).unwrap();
            let (width, outputs, rows) = (sampler.features(), sampler.outputs(), 500);
            let (mut x, mut y) = (vec![0.0; rows * width], vec![0.0; rows]);
            let mut signal = vec![0.0; rows * outputs];
            sampler.query_into(&[task], 0, &mut x, &mut y, &mut signal).unwrap();
            let columns = sampler.describe(&[task], |t| t.columns()).unwrap().remove(0);
            let classes = sampler.describe(&[task], |t| t.classes()).unwrap()[0];
            prop_assert!(y.iter().all(|&c| c.fract() == 0.0 && (c as usize) < classes));
            for p in signal.chunks(outputs) {
                prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                prop_assert!(p[classes..].iter().all(|&v| v == 0.0));
            }
            for (j, column) in columns.iter().enumerate() {
                let mut cells = x.iter().skip(j).step_by(width);
                prop_assert!(column.missing > 0.0 || cells.clone().all(|v| !v.is_nan()));
                prop_assert!(column.role != Role::Irrelevant || !column.depends);
                let code = |v: f32| v.is_nan() || (v.fract() == 0.0 && v >= 0.0 && (v as usize) < column.levels);
                prop_assert!(column.levels == 0 || cells.all(|&v| code(v)));
            }
            prop_assert!(x.chunks(width).all(|row| row[columns.len()..].iter().all(|&v| v == 0.0)));
        }
    }
}
