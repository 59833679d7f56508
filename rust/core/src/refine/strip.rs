//! A blocked Cholesky factorisation of one large matrix, and what it does to rows below the matrix.
//!
//! Everything is kept in strips of 32 rows, column by column. In that form two strips are at once the two packed
//! operands of an outer-product kernel, so nothing is ever copied into place. Rows that stand below the matrix go through the
//! same elimination: right sides y' become (L⁻¹y)', and the unit matrix becomes L⁻ᵀ.

use pulp::{Arch, NullaryFnOnce, Simd, WithSimd};
use rayon::prelude::*;

/// Rows of a strip, and columns of a tile of it.
pub(super) const SIDE: usize = 32;

/// One column of a strip.
pub(super) type Column = [f32; SIDE];

/// A square of a strip, column by column.
pub(super) type Tile = [Column; SIDE];

pub(super) const ZERO: Tile = [[0.0; SIDE]; SIDE];

/// A strip, from its first tile that is not zero on.
pub(super) struct Strip {
    pub(super) first: usize,
    pub(super) columns: Vec<Column>,
}

impl Strip {
    /// Columns of the tiles from `from` up to `to`, neither before `first`.
    pub(super) fn between(&self, from: usize, to: usize) -> &[Column] {
        &self.columns[(from - self.first) * SIDE..(to - self.first) * SIDE]
    }

    /// The columns before tile `index`, and the tile.
    fn split_tile(&mut self, index: usize) -> (&[Column], &mut [Column]) {
        let (before, rest) = self.columns.split_at_mut((index - self.first) * SIDE);
        (before, &mut rest[..SIDE])
    }
}

/// Eliminate: the first `tiles` strips are the lower triangle of the matrix, the others stand below it.
///
/// Returns the sum of the logarithms of the pivots' roots, half the logarithm of the determinant. No pivot is taken as less
/// than `least`: in exact arithmetic none is, where that is what was added to the diagonal.
pub(super) fn factorise(strips: &mut [Strip], tiles: usize, least: f32) -> f64 {
    let mut volume = 0.0;
    for j in 0..tiles {
        let (done, rest) = strips.split_at_mut(j + 1);
        let pivot = &mut done[j];
        let (before, diagonal) = pivot.split_tile(j);
        subtract_product(before, before, diagonal);
        let (sum, solve) = eliminate_diagonal(diagonal, least);
        volume += sum;
        let pivot = &done[j];
        rest.par_iter_mut().filter(|strip| strip.first <= j).for_each(|strip| {
            let above = pivot.between(strip.first, j);
            let (before, tile) = strip.split_tile(j);
            subtract_product(before, above, tile);
            let mut solved = ZERO;
            subtract_product(tile, &solve, &mut solved);
            tile.copy_from_slice(&solved);
        });
    }
    volume
}

/// Factorise one tile to L; returns the sum of ln Lᵢᵢ, and −L⁻¹ so that tiles below are solved by a product.
fn eliminate_diagonal(tile: &mut [Column], least: f32) -> (f64, Tile) {
    Arch::new().dispatch(Diagonal { tile, least })
}

struct Diagonal<'a> {
    tile: &'a mut [Column],
    least: f32,
}

impl NullaryFnOnce for Diagonal<'_> {
    type Output = (f64, Tile);

    #[inline(always)]
    fn call(self) -> Self::Output {
        let Self { tile, least } = self;
        let mut unit = ZERO;
        (0..SIDE).for_each(|i| unit[i][i] = 1.0);
        let mut volume = 0.0;
        for j in 0..SIDE {
            let root = tile[j][j].max(least).sqrt();
            volume += f64::from(root).ln();
            let (own, inverse) = (tile[j].map(|v| v / root), unit[j].map(|v| v / root));
            for (i, (column, below)) in tile.iter_mut().zip(&mut unit).enumerate().skip(j + 1) {
                column.iter_mut().zip(&own).for_each(|(v, o)| *v -= own[i] * o);
                below.iter_mut().zip(&inverse).for_each(|(v, o)| *v -= own[i] * o);
            }
            tile[j] = std::array::from_fn(|i| if i < j { 0.0 } else { own[i] });
            unit[j] = inverse;
        }
        let mut solve = ZERO;
        (0..SIDE).for_each(|k| solve[k] = std::array::from_fn(|i| -unit[i][k]));
        (volume, solve)
    }
}

/// `tile −= Σ_k a[k]·b[k]'`, for as many columns as both have.
pub(super) fn subtract_product(a: &[Column], b: &[Column], tile: &mut [Column]) {
    Arch::new().dispatch(Product { a, b, tile });
}

struct Product<'a> {
    a: &'a [Column],
    b: &'a [Column],
    tile: &'a mut [Column],
}

impl WithSimd for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // As many sums as the registers hold: two vectors of rows by eight columns of 32 registers, by four of 16.
        if S::F32_LANES >= 16 { self.part::<S, 8>(simd) } else { self.part::<S, 4>(simd) }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn part<S: Simd, const WIDTH: usize>(self, simd: S) {
        let high = 2 * S::F32_LANES;
        for (group, columns) in self.tile.as_chunks_mut::<WIDTH>().0.iter_mut().enumerate() {
            for top in (0..SIDE).step_by(high) {
                let mut sums = [[simd.splat_f32s(0.0); 2]; WIDTH];
                for (a, b) in self.a.iter().zip(self.b) {
                    let rows = S::as_simd_f32s(&a[top..top + high]).0;
                    for (sum, b) in sums.iter_mut().zip(&b.as_chunks::<WIDTH>().0[group]) {
                        let b = simd.splat_f32s(*b);
                        *sum = [0, 1].map(|v| simd.mul_add_e_f32s(rows[v], b, sum[v]));
                    }
                }
                for (column, sum) in columns.iter_mut().zip(sums) {
                    let out = S::as_mut_simd_f32s(&mut column[top..top + high]).0;
                    out.iter_mut().zip(sum).for_each(|(out, sum)| *out = simd.sub_f32s(*out, sum));
                }
            }
        }
    }
}
