//! Who is a cause of whom: random layered graphs, before any mechanism is known.

use crate::rng::Draws;

use super::choice::shuffle_front;

/// The parents of each node, all of them earlier.
pub(super) type Skeleton = Vec<Vec<usize>>;

/// `nodes` nodes in `1 + layers` layers; those of the first have no parents.
///
/// Half of the parents come from the layer before, the others from any earlier one.
pub(super) fn layered(nodes: usize, layers: usize, most: usize, draws: &mut Draws) -> Skeleton {
    let width = (nodes / (layers + 1)).max(1);
    (0..nodes)
        .map(|node| {
            let start = node / width * width;
            let start = start.min(layers * width);
            if start == 0 { Vec::new() } else { parents(start, width, most, draws) }
        })
        .collect()
}

fn parents(start: usize, width: usize, most: usize, draws: &mut Draws) -> Vec<usize> {
    let count = draws.integer(1, most).min(start);
    let mut parents: Vec<usize> = (0..count)
        .map(|_| {
            let low = if draws.uniform() < 0.5 { start.saturating_sub(width) } else { 0 };
            draws.integer(low, start - 1)
        })
        .collect();
    // In random order: the first parent is special to products.
    parents.sort_unstable();
    parents.dedup();
    let count = parents.len();
    shuffle_front(&mut parents, count, draws);
    parents
}

/// Put `other` after `skeleton`, without an edge between them.
pub(super) fn append(skeleton: &mut Skeleton, other: Skeleton) {
    let offset = skeleton.len();
    skeleton.extend(other.into_iter().map(|parents| parents.into_iter().map(|p| p + offset).collect()));
}

/// Leave out every node that is neither `needed` nor a cause of one; also the new number of each old node.
pub(super) fn prune(
    skeleton: &Skeleton,
    needed: impl Iterator<Item = usize>,
) -> (Skeleton, Vec<Option<usize>>) {
    let mut kept = vec![false; skeleton.len()];
    needed.for_each(|node| kept[node] = true);
    for node in (0..skeleton.len()).rev() {
        if kept[node] {
            skeleton[node].iter().for_each(|&parent| kept[parent] = true);
        }
    }
    let mut count = 0;
    let numbers: Vec<Option<usize>> = kept
        .iter()
        .map(|&kept| {
            count += usize::from(kept);
            kept.then(|| count - 1)
        })
        .collect();
    let rows = skeleton.iter().zip(&kept).filter(|(_, kept)| **kept);
    let pruned = rows.map(|(parents, _)| parents.iter().filter_map(|&p| numbers[p]).collect()).collect();
    (pruned, numbers)
}

/// One node that has parents, deep rather than shallow.
pub(super) fn deep_node(skeleton: &Skeleton, draws: &mut Draws) -> usize {
    let first = skeleton.iter().position(|parents| !parents.is_empty()).unwrap_or(skeleton.len() - 1);
    draws.integer(first.max(skeleton.len() / 2), skeleton.len() - 1)
}

/// `count` nodes, but not `target`; each of the target's parents is more likely than others.
pub(super) fn observed(skeleton: &Skeleton, target: usize, count: usize, draws: &mut Draws) -> Vec<usize> {
    let mut others: Vec<usize> = (0..skeleton.len()).filter(|&node| node != target).collect();
    let length = others.len();
    shuffle_front(&mut others, length, draws);
    // A stable sort keeps the random order within the two kinds.
    others.sort_by_cached_key(|node| !(skeleton[target].contains(node) && draws.uniform() < 0.7));
    others.truncate(count);
    others
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn causes_come_first(seed: u64, nodes in 2usize..60, layers in 1usize..6, most in 1usize..6) {
            let mut draws = Key::new(seed).draws();
            let graph = layered(nodes, layers, most, &mut draws);
            prop_assert_eq!(graph.len(), nodes);
            for (node, parents) in graph.iter().enumerate() {
                prop_assert!(parents.iter().all(|&p| p < node) && parents.len() <= most);
            }
            let target = deep_node(&graph, &mut draws);
            prop_assert!(!graph[target].is_empty());
            let seen = observed(&graph, target, nodes - 1, &mut draws);
            prop_assert!(seen.len() == nodes - 1 && !seen.contains(&target));
        }

        #[test]
        fn pruning_keeps_causes_alone(seed: u64, nodes in 2usize..60, layers in 1usize..6) {
            let graph = layered(nodes, layers, 3, &mut Key::new(seed).draws());
            let (pruned, numbers) = prune(&graph, std::iter::once(nodes - 1));
            prop_assert_eq!(numbers[nodes - 1], Some(pruned.len() - 1));
            for (old, new) in numbers.iter().enumerate().filter_map(|(old, new)| new.map(|new| (old, new))) {
                let expected: Vec<usize> = graph[old].iter().map(|&p| numbers[p].unwrap()).collect();
                prop_assert_eq!(&pruned[new], &expected);
                let effects = pruned.iter().filter(|parents| parents.contains(&new)).count();
                prop_assert!(new == pruned.len() - 1 || effects > 0);
            }
        }
    }
}
