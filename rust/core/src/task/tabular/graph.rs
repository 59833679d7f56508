//! A task's graph of nodes: each a mechanism over earlier nodes, standardised, with noise of its own.

use crate::rng::{Draws, Key};

use super::mechanism::{Mechanism, Palette};
use super::pilot::{PILOT, Standard};
use super::skeleton::Skeleton;

/// Standardised values further out are cut off, so that squares of squares stay finite.
const FARTHEST: f32 = 8.0;

/// What the streams of one node are for.
const CAUSE: u64 = 0;
const NOISE: u64 = 1;

struct Node {
    parents: Vec<usize>,
    mechanism: Mechanism,
    standard: Standard,
    /// Weights of the standardised value and of the noise; their squares sum to one.
    mix: (f32, f32),
}

/// Nodes in an order in which causes come before effects.
pub(super) struct Graph(Vec<Node>);

/// How the nodes of a graph come about.
pub(super) struct Growth {
    pub(super) palette: Palette,
    /// The share of a node's variance that is its own noise.
    pub(super) noise: f64,
    /// The share of the nodes that have noise of their own.
    pub(super) noisy: f64,
}

impl Graph {
    /// Give each node of `skeleton` a mechanism, categories where `levels` says so.
    ///
    /// Returns the graph and its values over the pilot rows, `[nodes, PILOT]`.
    pub(super) fn grow(
        skeleton: Skeleton,
        levels: &[Option<usize>],
        growth: &Growth,
        key: Key,
    ) -> (Self, Vec<f32>) {
        let mut values = vec![0.0; skeleton.len() * PILOT];
        let rows = key.child(0, 0);
        let mut nodes = Vec::with_capacity(skeleton.len());
        for (index, parents) in skeleton.into_iter().enumerate() {
            let mut draws = key.child(1, index as u64).draws();
            let (earlier, rest) = values.split_at_mut(index * PILOT);
            let out = &mut rest[..PILOT];
            let node =
                Node::draw(parents, levels[index], growth, earlier, rows.child(index as u64, 0), &mut draws);
            node.fill(rows.child(index as u64, 0), 1.0, earlier, out);
            nodes.push(node);
        }
        (Self(nodes), values)
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The values of all nodes at `rows` rows, at most `PILOT`: `[nodes, rows]`. Roots are multiplied by `scale`.
    pub(super) fn fill(&self, key: Key, scale: f32, rows: usize, values: &mut [f32]) {
        for (index, node) in self.0.iter().enumerate() {
            let (earlier, rest) = values.split_at_mut(index * rows);
            node.fill(key.child(index as u64, 0), scale, earlier, &mut rest[..rows]);
        }
    }
}

impl Node {
    fn draw(
        parents: Vec<usize>,
        levels: Option<usize>,
        growth: &Growth,
        earlier: &[f32],
        key: Key,
        draws: &mut Draws,
    ) -> Self {
        let columns = columns(&parents, earlier, PILOT);
        let mechanism = if parents.is_empty() {
            Mechanism::root(levels, draws)
        } else {
            Mechanism::draw(&growth.palette, &columns, levels, draws)
        };
        let (mechanism, standard) = varied(mechanism, &columns, key, draws);
        let noisy = !parents.is_empty() && !mechanism.is_category() && draws.uniform() < growth.noisy;
        let noise = if noisy { growth.noise } else { 0.0 };
        let mix = ((1.0 - noise).sqrt() as f32, noise.sqrt() as f32);
        Self { parents, mechanism, standard, mix }
    }

    fn fill(&self, key: Key, scale: f32, earlier: &[f32], out: &mut [f32]) {
        self.mechanism.fill(key.child(CAUSE, 0), &columns(&self.parents, earlier, out.len()), out);
        self.standard.apply(out);
        if self.parents.is_empty() && scale != 1.0 && !self.mechanism.is_category() {
            out.iter_mut().for_each(|v| *v *= scale);
        }
        let (share, noise) = self.mix;
        if noise > 0.0 {
            let mut z = [0.0; PILOT];
            let z = &mut z[..out.len()];
            key.child(NOISE, 0).normals(z);
            out.iter_mut().zip(z.iter()).for_each(|(o, z)| *o = share * *o + noise * z);
        }
        out.iter_mut().for_each(|v| *v = v.clamp(-FARTHEST, FARTHEST));
    }
}

/// The mechanism with its standardisation over the pilot rows; one that is constant there is replaced.
fn varied(mechanism: Mechanism, parents: &[&[f32]], key: Key, draws: &mut Draws) -> (Mechanism, Standard) {
    let mut values = [0.0; PILOT];
    let mut measure = |mechanism: &Mechanism| {
        mechanism.fill(key.child(CAUSE, 0), parents, &mut values);
        Standard::of(&values)
    };
    if let Some(standard) = measure(&mechanism) {
        return (mechanism, standard);
    }
    let other = if parents.is_empty() { Mechanism::Normal } else { Mechanism::linear(parents.len(), draws) };
    let standard = measure(&other).unwrap_or(Standard { shift: 0.0, scale: 1.0 });
    (other, standard)
}

fn columns<'a>(parents: &[usize], values: &'a [f32], rows: usize) -> Vec<&'a [f32]> {
    parents.iter().map(|&parent| &values[parent * rows..(parent + 1) * rows]).collect()
}
