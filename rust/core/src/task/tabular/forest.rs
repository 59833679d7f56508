//! Sums of random trees: piecewise constant functions of a node's parents.

use crate::rng::Draws;

use super::choice::{normal, sign};
use super::pilot::PILOT;

const DEPTH: usize = 5;

/// A tree whose nodes at one depth ask one question, so that a tile of rows is answered at once.
///
/// Reference: Prokhorenkova, Gusev, Vorobev, Dorogush, Gulin, "CatBoost", NeurIPS 2018, §4 (oblivious trees).
pub(super) struct Tree {
    /// (parent, threshold) of each depth.
    splits: Vec<(usize, f32)>,
    leaves: [f32; 1 << DEPTH],
}

/// One to four trees of depth two to five over `parents`, each column given by its values over the pilot rows.
pub(super) fn draw(parents: &[&[f32]], draws: &mut Draws) -> Vec<Tree> {
    (0..draws.integer(1, 4)).map(|_| Tree::draw(parents, draws)).collect()
}

/// Add the trees' values at each row.
pub(super) fn add(trees: &[Tree], parents: &[&[f32]], out: &mut [f32]) {
    let mut leaf = [0u8; PILOT];
    let leaf = &mut leaf[..out.len()];
    for tree in trees {
        leaf.fill(0);
        for (depth, &(parent, threshold)) in tree.splits.iter().enumerate() {
            leaf.iter_mut()
                .zip(parents[parent])
                .for_each(|(leaf, &v)| *leaf |= u8::from(v > threshold) << depth);
        }
        out.iter_mut()
            .zip(leaf.iter())
            .for_each(|(o, &leaf)| *o += tree.leaves[usize::from(leaf) % (1 << DEPTH)]);
    }
}

impl Tree {
    /// Thresholds are values of pilot rows, so that no question has one answer only, but for ties.
    fn draw(parents: &[&[f32]], draws: &mut Draws) -> Self {
        let splits: Vec<(usize, f32)> = (0..draws.integer(2, DEPTH))
            .map(|_| {
                let parent = draws.integer(0, parents.len() - 1);
                (parent, parents[parent][draws.integer(0, parents[parent].len() - 1)])
            })
            .collect();
        let mut leaves = [0.0; 1 << DEPTH];
        leaves.iter_mut().for_each(|leaf| *leaf = normal(draws));
        let mut tree = Self { splits, leaves };
        for _ in 0..draws.integer(0, 2) {
            tree.prune(draws);
        }
        tree
    }

    /// Let one side of a question ask no more: its leaves become one for each path that led there.
    fn prune(&mut self, draws: &mut Draws) {
        let bit = 1usize << draws.integer(0, self.splits.len() - 1);
        let side = if sign(draws) > 0.0 { bit } else { 0 };
        for leaf in 0..self.leaves.len() {
            if leaf & bit == side {
                self.leaves[leaf] = self.leaves[leaf & (2 * bit - 1)];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    #[test]
    fn a_tree_answers_its_questions() {
        let mut leaves = [0.0; 32];
        leaves[..4].copy_from_slice(&[1.0, 2.0, 3.0, 4.0]);
        let tree = Tree { splits: vec![(0, 0.5), (1, 0.0)], leaves };
        let (a, b) = ([0.0, 1.0, 0.0, 1.0], [-1.0, -1.0, 1.0, 1.0]);
        let mut out = [10.0; 4];
        add(&[tree], &[&a, &b], &mut out);
        assert_eq!(out, [11.0, 12.0, 13.0, 14.0]);
    }

    #[test]
    fn pruning_makes_a_side_ask_no_more() {
        let leaves = std::array::from_fn(|i| i as f32);
        let mut tree = Tree { splits: vec![(0, 0.0)], leaves };
        tree.prune(&mut Key::new(1).draws());
        let pruned = (0..2).filter(|&side| (0..16).all(|i| tree.leaves[2 * i + side] == side as f32)).count();
        assert_eq!(pruned, 1);
    }
}
