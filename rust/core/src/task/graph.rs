//! Random directed graphs without cycles.

use crate::rng::{Draws, Key};
use crate::{Error, Result};

/// A distribution over undirected graphs, whose edges are then directed along an order of the nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GraphKind {
    /// Every edge alike and independent.
    ErdosRenyi,
    /// Barabási and Albert's: new nodes prefer nodes of many edges; edges point from older to newer.
    ScaleFree,
    /// Watts and Strogatz's: a ring of neighbours, three tenths of whose edges are led elsewhere.
    WattsStrogatz,
    /// Two groups with four times as many edges within as between.
    StochasticBlock,
}

/// Share of a ring's edges that are led elsewhere.
const REWIRED: f64 = 0.3;
/// How much likelier an edge within a group is than one between groups.
const WITHIN: f64 = 4.0;

impl GraphKind {
    /// The kind called `name`.
    ///
    /// # Errors
    /// `Config` for another name.
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "erdos_renyi" => Ok(Self::ErdosRenyi),
            "scale_free" => Ok(Self::ScaleFree),
            "watts_strogatz" => Ok(Self::WattsStrogatz),
            "stochastic_block" => Ok(Self::StochasticBlock),
            _ => Err(Error::Config(format!(
                "`graph` must be erdos_renyi, scale_free, watts_strogatz or stochastic_block, not {name:?}"
            ))),
        }
    }

    /// The parents of each node, where nodes are numbered in a causal order; `degree` of them on average, fewer near
    /// the beginning of the order.
    pub(super) fn draw(self, nodes: usize, degree: f64, key: Key) -> Vec<Vec<usize>> {
        let mut draws = key.child(0, 0).draws();
        let near = ((degree + 0.5) as usize).max(1);
        let edges = match self {
            Self::ErdosRenyi => scattered(nodes, degree, |_, _| 1.0, &mut draws),
            Self::StochasticBlock => {
                let within = |a: usize, b: usize| if a % 2 == b % 2 { WITHIN } else { 1.0 };
                scattered(nodes, degree, within, &mut draws)
            }
            Self::ScaleFree => preferential(nodes, near, &mut draws),
            Self::WattsStrogatz => ring(nodes, near, &mut draws),
        };
        let place = match self {
            Self::ScaleFree => (0..nodes).collect(),
            _ => permutation(nodes, key.child(1, 0)),
        };
        let mut parents = vec![Vec::new(); nodes];
        for (a, b) in edges {
            let (early, late) = (place[a].min(place[b]), place[a].max(place[b]));
            if early != late && !parents[late].contains(&early) {
                parents[late].push(early);
            }
        }
        parents.iter_mut().for_each(|own| own.sort_unstable());
        parents
    }
}

/// Each pair with a probability in proportion to its weight, `nodes · degree` edges on average where that many fit.
fn scattered(
    nodes: usize,
    degree: f64,
    weight: impl Fn(usize, usize) -> f64,
    draws: &mut Draws,
) -> Vec<(usize, usize)> {
    let pairs = || (1..nodes).flat_map(|b| (0..b).map(move |a| (a, b)));
    let total: f64 = pairs().map(|(a, b)| weight(a, b)).sum();
    let share = nodes as f64 * degree / total.max(1.0);
    pairs().filter(|&(a, b)| draws.uniform() < share * weight(a, b)).collect()
}

/// Every node is joined to `near` earlier ones, in proportion to one more than their edges.
fn preferential(nodes: usize, near: usize, draws: &mut Draws) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    // A node stands here once, and once more for each of its edges.
    let mut tickets = vec![0];
    for node in 1..nodes {
        let mut chosen: Vec<usize> = Vec::new();
        while chosen.len() < near.min(node) {
            let one = tickets[draws.integer(0, tickets.len() - 1)];
            if !chosen.contains(&one) {
                chosen.push(one);
            }
        }
        tickets.push(node);
        for one in chosen {
            tickets.extend([one, node]);
            edges.push((one, node));
        }
    }
    edges
}

/// Every node is joined to the `near` next ones around the ring, or to any other node in their place.
fn ring(nodes: usize, near: usize, draws: &mut Draws) -> Vec<(usize, usize)> {
    let reach = near.min(nodes.saturating_sub(1) / 2).max(usize::from(nodes > 1));
    let mut edges = Vec::new();
    for node in 0..nodes {
        for distance in 1..=reach {
            let (led, other) = (draws.uniform() < REWIRED, draws.integer(0, nodes - 1));
            edges.push((node, if led { other } else { (node + distance) % nodes }));
        }
    }
    edges
}

/// A random order of `0..n`.
pub(super) fn permutation(n: usize, key: Key) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    let mut draws = key.draws();
    for i in 0..n {
        order.swap(i, draws.integer(i, n - 1));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KINDS: [GraphKind; 4] =
        [GraphKind::ErdosRenyi, GraphKind::ScaleFree, GraphKind::WattsStrogatz, GraphKind::StochasticBlock];

    proptest! {
        #[test]
        fn parents_come_earlier_and_once(seed: u64, nodes in 1usize..24, degree in 0.5f64..5.0) {
            for kind in KINDS {
                for (node, parents) in kind.draw(nodes, degree, Key::new(seed)).iter().enumerate() {
                    prop_assert!(parents.iter().all(|&p| p < node));
                    prop_assert!(parents.windows(2).all(|w| w[0] < w[1]));
                }
            }
        }
    }

    #[test]
    fn graphs_have_the_stated_number_of_edges() {
        let edges = |kind: GraphKind| {
            let count = |seed| kind.draw(40, 2.0, Key::new(seed)).iter().map(Vec::len).sum::<usize>();
            (0..400).map(count).sum::<usize>() as f64 / 400.0
        };
        // 80 edges of sd below 9 in each of 400 graphs: five standard errors.
        assert!((edges(GraphKind::ErdosRenyi) - 80.0).abs() < 5.0 * 9.0 / 20.0);
        assert!((edges(GraphKind::StochasticBlock) - 80.0).abs() < 5.0 * 9.0 / 20.0);
        // The first two nodes have none and one parent, all others two.
        assert_eq!(edges(GraphKind::ScaleFree), 77.0);
        // What is led to itself or to a neighbour at hand is lost: 24 of 80 edges are led, about 7 % of these are.
        assert!((76.0..80.0).contains(&edges(GraphKind::WattsStrogatz)));
    }
}
