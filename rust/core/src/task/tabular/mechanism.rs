//! How a node of a task's graph comes about: from chance alone, or from its parents.

use std::f32::consts::TAU;

use crate::math;
use crate::rng::{Draws, Key};

use super::choice::{normal, shares, shuffle_front};
use super::forest::{self, Tree};
use super::pilot::{self, PILOT};

/// The function that turns a weighted sum into a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Linear,
    Tanh,
    Relu,
    Abs,
    Sine,
    Square,
    Bump,
    Step,
}

const SHAPES: [Shape; 8] = [
    Shape::Linear,
    Shape::Tanh,
    Shape::Relu,
    Shape::Abs,
    Shape::Sine,
    Shape::Square,
    Shape::Bump,
    Shape::Step,
];

/// A node's value before it is standardised.
pub(super) enum Mechanism {
    Normal,
    Uniform,
    /// `exp(s z)`.
    Skewed(f32),
    /// Normals of one width around centres.
    Clusters {
        centres: Vec<f32>,
        width: f32,
    },
    /// Categories by chance: a uniform number is cut, and each part has its effect.
    Labels {
        cuts: Vec<f32>,
        effects: Vec<f32>,
    },
    /// A function of a weighted sum with a bias.
    Unit {
        weights: Vec<f32>,
        bias: f32,
        shape: Shape,
    },
    /// The first parent times a weighted sum of all.
    Product {
        weights: Vec<f32>,
    },
    Forest(Vec<Tree>),
    /// Categories: a weighted sum is cut, and each part has its effect.
    Levels {
        weights: Vec<f32>,
        cuts: Vec<f32>,
        effects: Vec<f32>,
    },
}

/// What the mechanisms of one task have in common.
pub(super) struct Palette {
    /// Share of nodes that are forests.
    trees: f64,
    shapes: Vec<Shape>,
    /// Share of the other nodes that are products.
    products: f64,
}

impl Palette {
    pub(super) fn draw(trees: f64, draws: &mut Draws) -> Self {
        let mut shapes = SHAPES.to_vec();
        let count = draws.integer(1, 4);
        shuffle_front(&mut shapes, count, draws);
        shapes.truncate(count);
        Self { trees, shapes, products: 0.3 * draws.uniform() }
    }
}

impl Mechanism {
    /// A node without parents, with categories where `levels` is given.
    pub(super) fn root(levels: Option<usize>, draws: &mut Draws) -> Self {
        if let Some(levels) = levels {
            let shares = shares(levels, draws.log_uniform(1.0, 8.0), draws);
            let total: f64 = shares.iter().sum();
            let mut sum = 0.0;
            let ends = shares[..levels - 1].iter().map(|share| {
                sum += share / total;
                sum as f32
            });
            return Self::Labels { cuts: ends.collect(), effects: normals(levels, draws) };
        }
        match draws.integer(0, 5) {
            0 => Self::Uniform,
            1 => Self::Skewed(draws.log_uniform(0.3, 1.0) as f32),
            2 => {
                let count = draws.integer(2, 4);
                let width = draws.log_uniform(0.1, 0.5) as f32;
                Self::Clusters { centres: normals(count, draws), width }
            }
            _ => Self::Normal,
        }
    }

    /// A node with parents, given by their values over the pilot rows.
    pub(super) fn draw(
        palette: &Palette,
        parents: &[&[f32]],
        levels: Option<usize>,
        draws: &mut Draws,
    ) -> Self {
        if let Some(levels) = levels {
            return Self::levels(parents, levels, draws);
        }
        if draws.uniform() < palette.trees {
            return Self::Forest(forest::draw(parents, draws));
        }
        if parents.len() > 1 && draws.uniform() < palette.products {
            return Self::Product { weights: unit(parents.len(), 1.0, draws) };
        }
        let gain = draws.log_uniform(0.5, 3.0) as f32;
        let shape = palette.shapes[draws.integer(0, palette.shapes.len() - 1)];
        let bias = (2.0 * draws.uniform() - 1.0) as f32;
        Self::Unit { weights: unit(parents.len(), gain, draws), bias, shape }
    }

    /// A weighted sum alone: constant only where its parents are.
    pub(super) fn linear(parents: usize, draws: &mut Draws) -> Self {
        Self::Unit { weights: unit(parents, 1.0, draws), bias: 0.0, shape: Shape::Linear }
    }

    fn levels(parents: &[&[f32]], levels: usize, draws: &mut Draws) -> Self {
        let weights = unit(parents.len(), 1.0, draws);
        let mut sum = vec![0.0; parents[0].len()];
        weighted(&weights, parents, &mut sum);
        let shares = shares(levels, draws.log_uniform(1.0, 8.0), draws);
        let cuts = pilot::cuts(&pilot::sorted(&sum), &shares);
        let effects = normals(cuts.len() + 1, draws);
        Self::Levels { weights, cuts, effects }
    }

    /// Whether the node's values are categories, to be left as they are.
    pub(super) fn is_category(&self) -> bool {
        matches!(self, Self::Labels { .. } | Self::Levels { .. })
    }

    /// The node's values for `out.len()` rows, at most `PILOT`.
    pub(super) fn fill(&self, key: Key, parents: &[&[f32]], out: &mut [f32]) {
        match self {
            Self::Normal => key.normals(out),
            Self::Uniform => key.uniforms(out),
            Self::Skewed(s) => {
                key.normals(out);
                out.iter_mut().for_each(|v| *v = math::exp(s * *v));
            }
            Self::Clusters { centres, width } => clusters(centres, *width, key, out),
            Self::Labels { cuts, effects } => {
                key.uniforms(out);
                look_up(cuts, effects, out);
            }
            Self::Unit { weights, bias, shape } => {
                out.fill(*bias);
                weighted(weights, parents, out);
                bend(*shape, out);
            }
            Self::Product { weights } => {
                out.fill(0.0);
                weighted(weights, parents, out);
                out.iter_mut().zip(parents[0]).for_each(|(o, p)| *o *= p);
            }
            Self::Forest(trees) => {
                out.fill(0.0);
                forest::add(trees, parents, out);
            }
            Self::Levels { weights, cuts, effects } => {
                out.fill(0.0);
                weighted(weights, parents, out);
                look_up(cuts, effects, out);
            }
        }
    }
}

fn clusters(centres: &[f32], width: f32, key: Key, out: &mut [f32]) {
    let mut which = [0.0; PILOT];
    let which = &mut which[..out.len()];
    key.child(1, 0).uniforms(which);
    key.normals(out);
    let count = centres.len() as f32;
    // Uniforms are below one, but their product with the count may round up to it.
    out.iter_mut()
        .zip(which.iter())
        .for_each(|(o, u)| *o = width * *o + centres[((u * count) as usize).min(centres.len() - 1)]);
}

/// Each value becomes the effect of the part between the cuts that it lies in.
fn look_up(cuts: &[f32], effects: &[f32], values: &mut [f32]) {
    let mut part = [0u32; PILOT];
    let part = &mut part[..values.len()];
    pilot::count_above(cuts, values, part);
    values.iter_mut().zip(part.iter()).for_each(|(v, &part)| *v = effects[part as usize]);
}

/// Add the weighted sum of the parents.
fn weighted(weights: &[f32], parents: &[&[f32]], out: &mut [f32]) {
    for (&weight, parent) in weights.iter().zip(parents) {
        out.iter_mut().zip(*parent).for_each(|(o, p)| *o += weight * p);
    }
}

fn bend(shape: Shape, values: &mut [f32]) {
    let each = |values: &mut [f32], f: fn(f32) -> f32| values.iter_mut().for_each(|v| *v = f(*v));
    match shape {
        Shape::Linear => {}
        Shape::Tanh => values.iter_mut().for_each(|v| *v = math::tanh(*v)),
        Shape::Relu => values.iter_mut().for_each(|v| *v = v.max(0.0)),
        Shape::Abs => values.iter_mut().for_each(|v| *v = v.abs()),
        Shape::Sine => each(values, |v| {
            let turn = v / TAU;
            math::sin_cos_turn(turn - turn.floor()).0
        }),
        Shape::Square => values.iter_mut().for_each(|v| *v *= *v),
        Shape::Bump => values.iter_mut().for_each(|v| *v = math::exp(-*v * *v)),
        Shape::Step => values.iter_mut().for_each(|v| *v = f32::from(u8::from(*v > 0.0))),
    }
}

fn normals(count: usize, draws: &mut Draws) -> Vec<f32> {
    (0..count).map(|_| normal(draws)).collect()
}

/// Normal weights, scaled so that the sum over independent standardised parents has the standard deviation `gain`.
fn unit(count: usize, gain: f32, draws: &mut Draws) -> Vec<f32> {
    let mut weights = normals(count, draws);
    let length = weights.iter().map(|w| w * w).sum::<f32>().sqrt().max(1e-3);
    weights.iter_mut().for_each(|w| *w *= gain / length);
    weights
}
