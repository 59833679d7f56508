//! The network over a block of parameters: each layer a product of a small matrix with lanes of parameters.

use pulp::{Simd, WithSimd};

use super::features::{Block, Factors};
use super::{BLOCK, TIME_SCALES, UpdateLayer, UpdateRule};
use crate::math;
use crate::{Error, Result};

/// Outputs of a layer that are summed together, in registers.
const TILE: usize = 4;

/// The layers as they are given; the first reads `features` and then time.
pub(super) struct Network {
    features: usize,
    layers: Vec<Layer>,
    /// Weights of time, `[to, 11]`.
    time: Vec<f32>,
}

#[derive(Clone)]
struct Layer {
    from: usize,
    /// `[to / TILE][from][TILE]`; the last tile holds the outputs that are left.
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// What results are held above: 0 is a ReLU.
    floor: f32,
}

impl Network {
    pub(super) fn new(layers: &[UpdateLayer<'_>], features: usize) -> Result<Self> {
        let mut from = features + TIME_SCALES.len();
        for (place, layer) in layers.iter().enumerate() {
            let last = place + 1 == layers.len();
            if layer.weight.len() != from * layer.bias.len() || (last && layer.bias.len() != 2) {
                let (weights, biases) = (layer.weight.len(), layer.bias.len());
                return Err(Error::Array(format!(
                    "learned_update: layer {place} has {weights} weights and {biases} biases; it reads {from} numbers \
                     and the last layer gives 2"
                )));
            }
            from = layer.bias.len();
        }
        let Some((first, rest)) = layers.split_first() else {
            return Err(Error::Array("learned_update: no layers; give a weight and a bias each".to_string()));
        };
        let width = features + TIME_SCALES.len();
        let read = |range: std::ops::Range<usize>| -> Vec<f32> {
            first.weight.chunks_exact(width).flat_map(|row| row[range.clone()].iter().copied()).collect()
        };
        let mut packed = vec![Layer::new(&read(0..features), first.bias, features)];
        for layer in rest {
            packed.push(Layer::new(layer.weight, layer.bias, packed[packed.len() - 1].bias.len()));
        }
        if let Some(last) = packed.last_mut() {
            last.floor = f32::NEG_INFINITY;
        }
        Ok(Self { features, layers: packed, time: read(features..width) })
    }

    /// With the normalisation of a tensor's features in its first weights, and its time in the first biases.
    pub(super) fn of_tensor(&self, scale: &[f32], step: f32) -> Self {
        let time: Vec<f32> = TIME_SCALES.iter().map(|scale| math::tanh(step / scale - 1.0)).collect();
        let mut layers = self.layers.clone();
        let Layer { weight, bias, .. } = &mut layers[0];
        let outputs = bias.len();
        for (place, tile) in weight.chunks_mut(self.features * TILE).enumerate() {
            let height = TILE.min(outputs - place * TILE);
            for (weights, scale) in tile.chunks_exact_mut(height).zip(scale) {
                weights.iter_mut().for_each(|weight| *weight *= scale);
            }
        }
        for (bias, weights) in bias.iter_mut().zip(self.time.chunks_exact(TIME_SCALES.len())) {
            *bias += weights.iter().zip(&time).map(|(weight, time)| weight * time).sum::<f32>();
        }
        Self { features: self.features, layers, time: Vec::new() }
    }
}

impl Layer {
    fn new(weight: &[f32], bias: &[f32], from: usize) -> Self {
        let mut packed = Vec::with_capacity(weight.len());
        for rows in weight.chunks(TILE * from) {
            packed.extend((0..from).flat_map(|input| rows.iter().skip(input).step_by(from)));
        }
        Self { from, weight: packed, bias: bias.to_vec(), floor: 0.0 }
    }

    #[inline(always)]
    fn apply<S: Simd>(&self, simd: S, from: &[f32], to: &mut [f32]) {
        let from = S::as_simd_f32s(from).0;
        let to = S::as_mut_simd_f32s(to).0;
        // As many accumulators as the registers hold: 32 of 512 bits, else 16.
        if S::F32_LANES == 16 {
            self.tiles::<S, 4>(simd, from, to)
        } else {
            self.tiles::<S, 2>(simd, from, to)
        }
    }

    #[inline(always)]
    fn tiles<S: Simd, const WIDE: usize>(&self, simd: S, from: &[S::f32s], to: &mut [S::f32s]) {
        let stride = from.len() / self.from;
        let tiles = self.weight.chunks(self.from * TILE).zip(self.bias.chunks(TILE));
        for ((weight, bias), to) in tiles.zip(to.chunks_mut(TILE * stride)) {
            for offset in (0..stride).step_by(WIDE) {
                match bias.len() {
                    4 => tile::<S, 4, WIDE>(simd, from, stride, offset, weight, bias, self.floor, to),
                    3 => tile::<S, 3, WIDE>(simd, from, stride, offset, weight, bias, self.floor, to),
                    2 => tile::<S, 2, WIDE>(simd, from, stride, offset, weight, bias, self.floor, to),
                    _ => tile::<S, 1, WIDE>(simd, from, stride, offset, weight, bias, self.floor, to),
                }
            }
        }
    }
}

/// `HIGH` outputs of a layer for `WIDE` vectors of parameters.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "the registers of one inner product")]
fn tile<S: Simd, const HIGH: usize, const WIDE: usize>(
    simd: S,
    from: &[S::f32s],
    stride: usize,
    offset: usize,
    weight: &[f32],
    bias: &[f32],
    floor: f32,
    to: &mut [S::f32s],
) {
    let mut sums = [[simd.splat_f32s(0.0); WIDE]; HIGH];
    for (sums, bias) in sums.iter_mut().zip(bias) {
        *sums = [simd.splat_f32s(*bias); WIDE];
    }
    for (from, weight) in from.chunks_exact(stride).zip(weight.as_chunks::<HIGH>().0) {
        let from = &from[offset..offset + WIDE];
        for (sums, weight) in sums.iter_mut().zip(weight) {
            let weight = simd.splat_f32s(*weight);
            for (sum, from) in sums.iter_mut().zip(from) {
                *sum = simd.mul_add_e_f32s(weight, *from, *sum);
            }
        }
    }
    let floor = simd.splat_f32s(floor);
    for (to, sums) in to.chunks_exact_mut(stride).zip(&sums) {
        for (to, sum) in to[offset..offset + WIDE].iter_mut().zip(sums) {
            // In this order a NaN stays one.
            *to = simd.max_f32s(floor, *sum);
        }
    }
}

/// Memory of one thread.
#[derive(Default)]
pub(super) struct Scratch {
    features: Vec<f32>,
    hidden: [Vec<f32>; 2],
}

/// The step of a chunk, whose state has advanced.
pub(super) struct Apply<'a, 'b> {
    pub(super) rule: UpdateRule<'a>,
    pub(super) network: &'a Network,
    pub(super) factors: &'a Factors<'a>,
    pub(super) first: usize,
    pub(super) gradient: &'a [f32],
    pub(super) momentum: Vec<&'b mut [f32]>,
    pub(super) square: &'a [f32],
    pub(super) parameter: &'a mut [f32],
    pub(super) scratch: &'a mut Scratch,
}

impl WithSimd for Apply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { rule, network, factors, first, gradient, momentum, square, parameter, scratch } = self;
        let widest = network.layers.iter().map(|layer| layer.bias.len()).max().unwrap_or(0);
        scratch.features.resize(network.features * BLOCK, 0.0);
        scratch.hidden.iter_mut().for_each(|hidden| hidden.resize(widest * BLOCK, 0.0));
        let Scratch { features, hidden: [one, other] } = scratch;
        let parts = gradient.chunks(BLOCK).zip(square.chunks(BLOCK)).zip(parameter.chunks_mut(BLOCK));
        for (place, ((gradient, square), parameter)) in parts.enumerate() {
            let (offset, momentum) = (place * BLOCK, &momentum[..]);
            let block =
                Block { factors, first: first + offset, offset, gradient, parameter, momentum, square };
            block.features(features);
            let (mut from, mut to) = (&mut *one, &mut *other);
            for (depth, layer) in network.layers.iter().enumerate() {
                let input = if depth == 0 { &features[..] } else { &from[..layer.from * BLOCK] };
                layer.apply(simd, input, &mut to[..layer.bias.len() * BLOCK]);
                std::mem::swap(&mut from, &mut to);
            }
            let (direction, magnitude) = from.split_at(BLOCK);
            for ((p, d), m) in parameter.iter_mut().zip(direction).zip(magnitude) {
                let change = rule.scale[0] * d * math::exp(rule.scale[1] * m);
                *p -= rule.rate * (change + rule.weight_decay * *p);
            }
        }
    }
}
