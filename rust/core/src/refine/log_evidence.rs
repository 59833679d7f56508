//! The log marginal likelihood of a Gaussian process on a mini-batch, and its slopes in the kernel's logarithms.
//!
//! With A = LL' the covariance, α = A⁻¹y and G = ½(Σ αα'/O − A⁻¹), the slope in a parameter is Σ_ij G_ij ∂A_ij. The rows y' and
//! the unit matrix stand below A, so that one elimination leaves (L⁻¹y)' and L⁻ᵀ there; A⁻¹ = L⁻ᵀL⁻¹ is then made, used and forgotten
//! tile by tile, with the covariance of the tile made anew.

use pulp::Arch;
use rayon::prelude::*;

use super::expect;
use super::log_evidence_tile::{Part, Prior, Squares, Sums};
use super::strip::{Column, SIDE, Strip, Tile, ZERO, factorise, subtract_product};
use crate::{Error, Result};

/// The least relevance; its root is a normal number.
const TINY: f32 = 1e-30;

/// The axes of an evidence, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceSizes {
    /// T.
    pub tasks: usize,
    /// N.
    pub rows: usize,
    /// D.
    pub columns: usize,
    /// O.
    pub outputs: usize,
}

/// What an evidence reads.
#[derive(Debug, Clone, Copy)]
pub struct EvidenceInput<'a> {
    /// `[T, N, D]`.
    pub x: &'a [f32],
    /// `[T, N, O]`.
    pub y: &'a [f32],
    /// `[T, N]`; rows that are not above zero are left out.
    pub weight: &'a [f32],
    /// `[T, D]`, natural logarithm, as are the next four.
    pub relevance: &'a [f32],
    /// `[T, 2]`, of the rough and the smooth part.
    pub signal: &'a [f32],
    /// `[T]`, the smooth part's factor of the relevances.
    pub stretch: &'a [f32],
    /// `[T]`.
    pub linear: &'a [f32],
    /// `[T]`.
    pub noise: &'a [f32],
    /// Noise added, relative to the mean prior variance of the rows.
    pub jitter: f32,
}

/// The slopes that an evidence writes.
#[derive(Debug)]
pub struct EvidenceSlopes<'a> {
    /// `[T, D]`.
    pub relevance: &'a mut [f32],
    /// `[T, 2]`.
    pub signal: &'a mut [f32],
    /// `[T]`.
    pub stretch: &'a mut [f32],
    /// `[T]`.
    pub linear: &'a mut [f32],
    /// `[T]`.
    pub noise: &'a mut [f32],
}

/// The log marginal likelihood `[T]` of every task and its slopes in the kernel's logarithms: `amortix.ops.log_evidence`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn log_evidence(
    sizes: EvidenceSizes,
    input: EvidenceInput<'_>,
    value: &mut [f32],
    slopes: EvidenceSlopes<'_>,
) -> Result<()> {
    check(sizes, input, value)?;
    let EvidenceSizes { tasks, columns, .. } = sizes;
    expect("log_evidence", "relevance slope", slopes.relevance.len(), &[tasks, columns])?;
    expect("log_evidence", "signal slope", slopes.signal.len(), &[tasks, 2])?;
    for (name, slope) in
        [("stretch slope", &slopes.stretch), ("linear slope", &slopes.linear), ("noise slope", &slopes.noise)]
    {
        expect("log_evidence", name, slope.len(), &[tasks])?;
    }
    crate::parallel::run(|| {
        value
            .par_iter_mut()
            .zip(slopes.relevance.par_chunks_mut(columns).zip(slopes.signal.par_chunks_mut(2)))
            .zip(slopes.stretch.par_iter_mut().zip(slopes.linear).zip(slopes.noise))
            .enumerate()
            .for_each(|(task, ((value, (relevance, signal)), ((stretch, linear), noise)))| {
                let process = Process::new(sizes, input, task);
                let mut strips = process.covariance();
                strips.extend(process.unit());
                let (found, strips) = process.value(strips);
                let sums = process.sums(&strips);
                *value = found;
                let shared = f64::from(input.jitter) * sums.diagonal;
                for (part, out) in signal.iter_mut().enumerate() {
                    *out = (sums.signal[part] + shared * f64::from(process.signal[part])) as f32;
                }
                *stretch = sums.stretch as f32;
                *linear = (sums.linear + shared * f64::from(process.mean_linear())) as f32;
                *noise = (sums.diagonal * f64::from(process.noise)) as f32;
                relevance.iter_mut().zip(sums.relevance).for_each(|(out, sum)| *out = sum as f32);
            });
        Ok(())
    })
}

fn check(sizes: EvidenceSizes, input: EvidenceInput<'_>, value: &[f32]) -> Result<()> {
    let EvidenceSizes { tasks, rows, columns, outputs } = sizes;
    if columns == 0 || outputs == 0 {
        return Err(Error::Array(format!("log_evidence: D={columns}, O={outputs}; give D ≥ 1 and O ≥ 1")));
    }
    let lengths: [(&str, usize, &[usize]); 9] = [
        ("x", input.x.len(), &[tasks, rows, columns]),
        ("y", input.y.len(), &[tasks, rows, outputs]),
        ("weight", input.weight.len(), &[tasks, rows]),
        ("log_relevance", input.relevance.len(), &[tasks, columns]),
        ("log_signal", input.signal.len(), &[tasks, 2]),
        ("log_stretch", input.stretch.len(), &[tasks]),
        ("log_linear", input.linear.len(), &[tasks]),
        ("log_noise", input.noise.len(), &[tasks]),
        ("value", value.len(), &[tasks]),
    ];
    lengths.iter().try_for_each(|(name, length, axes)| expect("log_evidence", name, *length, axes))
}

/// One task: its rows that count, in strips that are padded with zeros, and its kernel.
pub(super) struct Process {
    rows: usize,
    outputs: usize,
    /// `[strip][D]`.
    x: Vec<Column>,
    /// The same times the root of the relevance.
    pub(super) scaled: Vec<Column>,
    /// y', `[O / 32][N]`.
    y: Vec<Vec<Column>>,
    columns: usize,
    pub(super) signal: [f32; 2],
    pub(super) stretch: f32,
    pub(super) linear: f32,
    noise: f32,
    /// Noise and jitter.
    added: f32,
    /// Mean of |x|².
    power: f32,
}

impl Process {
    fn new(sizes: EvidenceSizes, input: EvidenceInput<'_>, task: usize) -> Self {
        let EvidenceSizes { rows, columns, outputs, .. } = sizes;
        let weight = &input.weight[task * rows..(task + 1) * rows];
        let counted: Vec<usize> =
            (task * rows..).zip(weight).filter(|(_, w)| **w > 0.0).map(|(row, _)| row).collect();
        let strips = counted.len().div_ceil(SIDE);
        let mut x = vec![[0.0; SIDE]; strips * columns];
        let mut y = vec![vec![[0.0; SIDE]; strips * SIDE]; outputs.div_ceil(SIDE)];
        let mut power = 0.0;
        for (place, row) in counted.iter().enumerate() {
            let strip = &mut x[place / SIDE * columns..][..columns];
            for (column, value) in strip.iter_mut().zip(&input.x[row * columns..][..columns]) {
                column[place % SIDE] = *value;
                power += f64::from(*value).powi(2);
            }
            for (output, value) in input.y[row * outputs..][..outputs].iter().enumerate() {
                y[output / SIDE][place][output % SIDE] = *value;
            }
        }
        let roots: Vec<f32> = input.relevance[task * columns..][..columns]
            .iter()
            .map(|log| log.exp().max(TINY).sqrt())
            .collect();
        let scaled =
            x.iter().zip(roots.iter().cycle()).map(|(column, root)| column.map(|v| v * root)).collect();
        let power = (power / counted.len().max(1) as f64) as f32;
        let signal = [0, 1].map(|part| input.signal[2 * task + part].exp());
        let [stretch, linear, noise] = [input.stretch, input.linear, input.noise].map(|log| log[task].exp());
        let added = noise + input.jitter * (linear * (1.0 + power) + signal[0] + signal[1]);
        Self {
            rows: counted.len(),
            outputs,
            x,
            scaled,
            y,
            columns,
            signal,
            stretch,
            linear,
            noise,
            added,
            power,
        }
    }

    /// Mean prior variance of the linear part over the rows.
    fn mean_linear(&self) -> f32 {
        self.linear * (1.0 + self.power)
    }

    fn tiles(&self) -> usize {
        self.rows.div_ceil(SIDE)
    }

    /// How many rows of a strip are rows, not padding.
    fn height(&self, strip: usize) -> usize {
        SIDE.min(self.rows - strip * SIDE)
    }

    /// The covariance in strips, unit rows for padding, and below it y'.
    fn covariance(&self) -> Vec<Strip> {
        let mut strips: Vec<Strip> = (0..self.tiles())
            .into_par_iter()
            .map(|i| {
                let mut columns = Vec::with_capacity((i + 1) * SIDE);
                for j in 0..=i {
                    let (mut tile, products) = (self.squares(i, j), self.products(i, j));
                    self.add_parts(&mut tile, &products);
                    columns.extend(tile);
                }
                let diagonal = &mut columns[i * SIDE..];
                (0..SIDE).for_each(|k| diagonal[k][k] += self.added);
                for pad in self.height(i)..SIDE {
                    columns.iter_mut().for_each(|column| column[pad] = 0.0);
                    columns[i * SIDE + pad] = std::array::from_fn(|k| f32::from(u8::from(k == pad)));
                }
                Strip { first: 0, columns }
            })
            .collect();
        strips.extend(self.y.iter().map(|columns| Strip { first: 0, columns: columns.clone() }));
        strips
    }

    /// The unit matrix in strips, zeros for padding.
    fn unit(&self) -> impl Iterator<Item = Strip> {
        let tiles = self.tiles();
        (0..tiles).map(move |i| {
            let mut columns = vec![[0.0; SIDE]; (tiles - i) * SIDE];
            (0..self.height(i)).for_each(|k| columns[k][k] = 1.0);
            Strip { first: i, columns }
        })
    }

    /// Eliminate; the evidence, and what is left below the matrix.
    fn value(&self, mut strips: Vec<Strip>) -> (f32, Vec<Strip>) {
        // The pivots of padding are 1.
        let volume = factorise(&mut strips, self.tiles(), self.added.min(1.0));
        let below = strips.split_off(self.tiles());
        let fit: f64 =
            below[..self.y.len()].iter().flat_map(|strip| strip.columns.as_flattened()).map(square).sum();
        let constant = self.rows as f64 * std::f64::consts::TAU.ln();
        let value = -0.5 * (fit / self.outputs as f64 + 2.0 * volume + constant);
        (value as f32, below)
    }

    /// Squared distances between the rows of two strips.
    fn squares(&self, i: usize, j: usize) -> Tile {
        let (a, b) = (self.strip(&self.scaled, i), self.strip(&self.scaled, j));
        Arch::new().dispatch(Squares { a, b })
    }

    /// −x·x' of the rows of two strips.
    fn products(&self, i: usize, j: usize) -> Tile {
        let mut tile = ZERO;
        subtract_product(self.strip(&self.x, i), self.strip(&self.x, j), &mut tile);
        tile
    }

    pub(super) fn strip<'a>(&self, all: &'a [Column], index: usize) -> &'a [Column] {
        &all[index * self.columns..][..self.columns]
    }

    /// From squared distances and −x·x' to the prior covariance.
    fn add_parts(&self, squares: &mut Tile, products: &Tile) {
        Arch::new().dispatch(Prior { process: self, squares, products });
    }

    /// Sum G ∘ ∂A over all pairs of rows, from (L⁻¹y)' and L⁻ᵀ.
    fn sums(&self, below: &[Strip]) -> Sums {
        let (right, inverse) = below.split_at(self.y.len());
        let tiles = self.tiles();
        // −α, `[strip][O / 32]`.
        let solved: Vec<Vec<Tile>> = inverse
            .par_iter()
            .map(|strip| {
                right
                    .iter()
                    .map(|right| {
                        let mut tile = ZERO;
                        subtract_product(&strip.columns, right.between(strip.first, tiles), &mut tile);
                        tile
                    })
                    .collect()
            })
            .collect();
        let share = -1.0 / self.outputs as f32;
        let none = Sums { relevance: vec![0.0; self.columns], ..Sums::default() };
        let pairs: Vec<(usize, usize)> = (0..tiles).flat_map(|i| (0..=i).map(move |j| (i, j))).collect();
        // In a fixed order, so that the number of threads cannot show.
        let parts: Vec<Sums> = pairs
            .par_iter()
            .map(|&(i, j)| {
                let mut slope = ZERO;
                subtract_product(&inverse[i].columns, inverse[j].between(i, tiles), &mut slope);
                for (a, b) in solved[i].iter().zip(&solved[j]) {
                    let b = b.map(|column| column.map(|v| v * share));
                    subtract_product(a, &b, &mut slope);
                }
                self.part(i, j, &mut slope)
            })
            .collect();
        parts.iter().fold(none, |mut total, part| {
            total.diagonal += part.diagonal;
            (0..2).for_each(|which| total.signal[which] += part.signal[which]);
            total.stretch += part.stretch;
            total.linear += part.linear;
            total.relevance.iter_mut().zip(&part.relevance).for_each(|(total, part)| *total += part);
            total
        })
    }

    /// The sums over one tile, where `slope` is 2G; beside the diagonal it stands for its mirror image too.
    fn part(&self, i: usize, j: usize, slope: &mut Tile) -> Sums {
        let (squares, products) = (self.squares(i, j), self.products(i, j));
        Arch::new().dispatch(Part { process: self, tile: (i, j), slope, squares, products })
    }
}

fn square(v: &f32) -> f64 {
    f64::from(*v).powi(2)
}
