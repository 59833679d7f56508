//! What `log_evidence` does with one tile, compiled once for every kind of vector unit.
//!
//! Types and no closures: a closure might stay a call to a function that is compiled for none of them.

use pulp::NullaryFnOnce;

use super::log_evidence::Process;
use super::strip::{Column, SIDE, Tile, ZERO};
use crate::math;

/// The sums over all pairs of rows that make up the slopes.
#[derive(Clone, Default)]
pub(super) struct Sums {
    pub(super) diagonal: f64,
    pub(super) signal: [f64; 2],
    pub(super) stretch: f64,
    pub(super) linear: f64,
    pub(super) relevance: Vec<f64>,
}

pub(super) struct Squares<'a> {
    pub(super) a: &'a [Column],
    pub(super) b: &'a [Column],
}

impl NullaryFnOnce for Squares<'_> {
    type Output = Tile;

    #[inline(always)]
    fn call(self) -> Tile {
        let mut tile = ZERO;
        for (a, b) in self.a.iter().zip(self.b) {
            for (column, b) in tile.iter_mut().zip(b) {
                for (sum, a) in column.iter_mut().zip(a) {
                    *sum += (a - b) * (a - b);
                }
            }
        }
        tile
    }
}

pub(super) struct Prior<'a> {
    pub(super) process: &'a Process,
    pub(super) squares: &'a mut Tile,
    pub(super) products: &'a Tile,
}

impl NullaryFnOnce for Prior<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Process { signal: [rough, smooth], stretch, linear, .. } = *self.process;
        let decay = -0.5 * stretch;
        for (entry, product) in self.squares.as_flattened_mut().iter_mut().zip(self.products.as_flattened()) {
            let local = rough * math::exp(-entry.sqrt()) + smooth * math::exp(decay * *entry);
            *entry = local + linear * (1.0 - product);
        }
    }
}

pub(super) struct Part<'a> {
    pub(super) process: &'a Process,
    pub(super) tile: (usize, usize),
    pub(super) slope: &'a mut Tile,
    pub(super) squares: Tile,
    pub(super) products: Tile,
}

impl NullaryFnOnce for Part<'_> {
    type Output = Sums;

    #[inline(always)]
    fn call(self) -> Sums {
        let Self { process, tile: (i, j), slope, squares, products } = self;
        let Process { signal, stretch, .. } = *process;
        let (a, b) = (process.strip(&process.scaled, i), process.strip(&process.scaled, j));
        let share = if i == j { 0.5 } else { 1.0 };
        let diagonal = if i == j { (0..SIDE).map(|k| f64::from(slope[k][k])).sum() } else { 0.0 };
        let [mut rough, mut smooth, mut bend, mut linear] = [[0.0; SIDE]; 4];
        for ((slope, squares), products) in slope.iter_mut().zip(&squares).zip(&products) {
            for k in 0..SIDE {
                linear[k] += slope[k] * (1.0 - products[k]);
                let radius = squares[k].sqrt();
                let fall = signal[0] * slope[k] * math::exp(-radius);
                let bell = signal[1] * slope[k] * math::exp(-0.5 * stretch * squares[k]);
                rough[k] += fall;
                smooth[k] += bell;
                bend[k] += squares[k] * bell;
                slope[k] = if radius > 0.0 { fall / radius } else { 0.0 } + stretch * bell;
            }
        }
        let mut relevance = vec![0.0; a.len()];
        for ((out, a), b) in relevance.iter_mut().zip(a).zip(b) {
            let mut sums = [0.0; SIDE];
            for (slope, b) in slope.iter().zip(b) {
                for k in 0..SIDE {
                    sums[k] += slope[k] * ((a[k] - b) * (a[k] - b));
                }
            }
            *out = -0.5 * share * total(&sums);
        }
        Sums {
            diagonal: 0.5 * diagonal,
            signal: [share * total(&rough), share * total(&smooth)],
            stretch: -0.5 * share * f64::from(stretch) * total(&bend),
            linear: share * f64::from(process.linear) * total(&linear),
            relevance,
        }
    }
}

fn total(sums: &Column) -> f64 {
    sums.iter().map(|v| f64::from(*v)).sum()
}
