//! From settings and a key to a table: who causes whom, what is seen, and how it looks.

use crate::rng::{Draws, Key};

use super::choice::{ratio_integer, shuffle_front, uniform};
use super::column::{Finish, Plan};
use super::graph::{Graph, Growth};
use super::mechanism::Palette;
use super::pilot::PILOT;
use super::skeleton::{self, Skeleton};
use super::target::{Classes, Number, Target};
use super::{Range, Role, Table, Tabular};

/// How many columns of each role.
struct Counts {
    features: usize,
    redundant: usize,
    irrelevant: usize,
}

/// What is seen of a graph.
struct Seen {
    skeleton: Skeleton,
    target: usize,
    /// Node and role of each column.
    columns: Vec<(usize, Role)>,
}

/// The table of a key.
pub(super) fn table(family: &Tabular, key: Key) -> Table {
    let mut draws = key.child(0, 0).draws();
    let counts = Counts::draw(family, &mut draws);
    let seen = Seen::draw(family, &counts, &mut draws);
    let plans = plans(family, &seen, &mut draws);
    let levels = categories(&plans, seen.skeleton.len(), family.levels, &mut draws);
    let growth = Growth {
        palette: Palette::draw(uniform(&mut draws, family.trees), &mut draws),
        noise: draws.log_uniform(family.node_noise.low, family.node_noise.high),
        noisy: draws.uniform(),
    };
    let noise = draws.log_uniform(family.noise.low, family.noise.high);
    let classes = draws.integer(family.classes.low, family.classes.high);
    let (graph, values) = Graph::grow(seen.skeleton, &levels, &growth, key.child(1, 0));
    let columns =
        plans.iter().zip(0..).map(|(plan, j)| Finish::draw(plan, &values, key.child(2, j))).collect();
    let node = seen.target;
    let behind = &values[node * PILOT..(node + 1) * PILOT];
    let target = if classes == 0 {
        Target::Number(Number::draw(behind, noise, key.child(3, 0)))
    } else {
        Target::Classes(Classes::draw(behind, classes, noise, family.imbalance, key.child(3, 0)))
    };
    Table { graph, columns, node, target }
}

impl Counts {
    fn draw(family: &Tabular, draws: &mut Draws) -> Self {
        let dim = draws.integer(family.dim.low, family.dim.high);
        let irrelevant = part(dim, family.irrelevant, draws).min(dim - 1);
        let redundant = part(dim, family.redundant, draws).min(dim - 1 - irrelevant);
        Self { features: dim - irrelevant - redundant, redundant, irrelevant }
    }
}

impl Seen {
    fn draw(family: &Tabular, counts: &Counts, draws: &mut Draws) -> Self {
        let hidden = uniform(draws, family.hidden);
        let nodes = |columns: usize| columns + (columns as f64 * hidden + 0.5) as usize;
        let relevant = nodes(counts.features) + 1;
        let layers = draws.integer(family.layers.low, family.layers.high);
        let parents = draws.integer(family.parents.low, family.parents.high);
        let mut graph = skeleton::layered(relevant, layers, parents, draws);
        let target = skeleton::deep_node(&graph, draws);
        let features = skeleton::observed(&graph, target, counts.features, draws);
        let copied: Vec<usize> =
            (0..counts.redundant).map(|_| features[draws.integer(0, features.len() - 1)]).collect();
        let mut others: Vec<usize> = (relevant..relevant + nodes(counts.irrelevant)).collect();
        shuffle_front(&mut others, counts.irrelevant, draws);
        others.truncate(counts.irrelevant);
        let apart = skeleton::layered(nodes(counts.irrelevant), layers, parents, draws);
        skeleton::append(&mut graph, apart);
        let role = |nodes: Vec<usize>, role: Role| nodes.into_iter().map(move |node| (node, role));
        let mut columns: Vec<(usize, Role)> = role(features, Role::Feature)
            .chain(role(copied, Role::Redundant))
            .chain(role(others, Role::Irrelevant))
            .collect();
        let count = columns.len();
        shuffle_front(&mut columns, count, draws);
        Self { skeleton: graph, target, columns }.pruned()
    }

    /// The same without the nodes that nothing seen depends on.
    fn pruned(self) -> Self {
        let needed = self.columns.iter().map(|&(node, _)| node).chain(std::iter::once(self.target));
        let (skeleton, numbers) = skeleton::prune(&self.skeleton, needed);
        let number = |node: usize| numbers[node].unwrap_or(0);
        let columns = self.columns.iter().map(|&(node, role)| (number(node), role)).collect();
        Self { skeleton, target: number(self.target), columns }
    }
}

fn plans(family: &Tabular, seen: &Seen, draws: &mut Draws) -> Vec<Plan> {
    let dim = seen.columns.len();
    let categorical = chosen(dim, family.categorical, draws);
    let warped = chosen(dim, family.warped, draws);
    let outliers = uniform(draws, family.outliers);
    let missing = uniform(draws, family.missing);
    let relevant: Vec<usize> =
        seen.columns.iter().filter(|(_, role)| *role != Role::Irrelevant).map(|&(node, _)| node).collect();
    let columns = seen.columns.iter().zip(categorical).zip(warped);
    columns
        .map(|((&(source, role), categorical), warped)| {
            let driver = relevant[draws.integer(0, relevant.len() - 1)];
            // Where an irrelevant column has gaps must say nothing either.
            let drives = role != Role::Irrelevant && driver != source;
            Plan {
                source,
                role,
                categorical,
                warped,
                levels: family.levels,
                outliers: if draws.uniform() < 0.25 { outliers } else { 0.0 },
                missing: if draws.uniform() < 0.5 { missing } else { 0.0 },
                driver: drives.then_some(driver),
            }
        })
        .collect()
}

/// For each node whether it is made of categories: half of those that become categorical columns are.
fn categories(plans: &[Plan], nodes: usize, range: Range<usize>, draws: &mut Draws) -> Vec<Option<usize>> {
    let mut levels = vec![None; nodes];
    for plan in plans.iter().filter(|plan| plan.categorical && plan.role != Role::Redundant) {
        let count = ratio_integer(draws, range);
        levels[plan.source] = (draws.uniform() < 0.5).then_some(count);
    }
    levels
}

/// A share of `count`, drawn and rounded.
fn part(count: usize, share: Range<f64>, draws: &mut Draws) -> usize {
    (count as f64 * uniform(draws, share) + 0.5) as usize
}

/// Which of `count` belong to a random subset of a drawn share.
fn chosen(count: usize, share: Range<f64>, draws: &mut Draws) -> Vec<bool> {
    let part = part(count, share, draws);
    let mut chosen: Vec<bool> = (0..count).map(|i| i < part).collect();
    shuffle_front(&mut chosen, count, draws);
    chosen
}
