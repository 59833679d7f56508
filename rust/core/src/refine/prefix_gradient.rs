//! The gradient of linear predictors on a mini-batch, and on each of its prefixes.
//!
//! A row is read once: while it is in the first-level cache it is projected, its residual taken, and their outer product
//! added to the running sum, which is scaled and written where its prefix is asked for.

use pulp::{Arch, NullaryFnOnce};

use super::predictor::{LANES, Lanes, Matrix, residual};
use super::{expect, single_output};
use crate::{Error, Result, parallel};

/// Numbers of a piece of work: fewer than a thread that wakes up is worth.
const PIECE: usize = 1 << 15;

/// The axes of a gradient, named as in `amortix.batch`.
#[derive(Debug, Clone, Copy)]
pub struct GradientSizes {
    /// T.
    pub tasks: usize,
    /// B.
    pub batch: usize,
    /// How many of the last prefixes are kept: B for all, 1 for the mini-batch as a whole.
    pub prefixes: usize,
    /// D.
    pub columns: usize,
    /// O.
    pub outputs: usize,
}

impl GradientSizes {
    /// Refuse sizes for which the operation is not defined.
    pub(super) fn check(self, operation: &str) -> Result<()> {
        let Self { batch, prefixes, columns, outputs, .. } = self;
        if columns > 0 && outputs > 0 && (prefixes <= batch || prefixes == 1) {
            return Ok(());
        }
        Err(Error::Array(format!(
            "{operation}: D={columns}, O={outputs} and {prefixes} prefixes of B={batch}; give D ≥ 1, O ≥ 1 and no more \
             prefixes than rows"
        )))
    }

    /// Tasks of a piece of work.
    pub(super) fn piece(self) -> usize {
        (PIECE / (self.batch * self.columns).max(1)).max(1)
    }

    /// The first row whose prefix is kept.
    pub(super) fn skipped(self) -> usize {
        self.batch.saturating_sub(self.prefixes)
    }
}

/// What a gradient is taken of.
#[derive(Debug, Clone, Copy)]
pub struct GradientInput<'a> {
    /// `[T, D, O]`.
    pub theta: &'a [f32],
    /// `[T, B, D]`.
    pub x: &'a [f32],
    /// `[T, B]`: values where O is 1, else class indices.
    pub y: &'a [f32],
    /// `[T, B]`; absent means all ones.
    pub weight: Option<&'a [f32]>,
}

impl<'a> GradientInput<'a> {
    pub(super) fn check(self, operation: &str, sizes: GradientSizes) -> Result<()> {
        let GradientSizes { tasks, batch, columns, outputs, .. } = sizes;
        expect(operation, "theta", self.theta.len(), &[tasks, columns, outputs])?;
        expect(operation, "x", self.x.len(), &[tasks, batch, columns])?;
        expect(operation, "y", self.y.len(), &[tasks, batch])?;
        self.weight.map_or(Ok(()), |weight| expect(operation, "weight", weight.len(), &[tasks, batch]))
    }

    /// The same of some tasks.
    #[inline(always)]
    pub(super) fn of(self, sizes: GradientSizes, task: usize, count: usize) -> Self {
        let GradientSizes { batch, columns, outputs, .. } = sizes;
        fn part(all: &[f32], task: usize, count: usize, width: usize) -> &[f32] {
            &all[task * width..(task + count) * width]
        }
        Self {
            theta: part(self.theta, task, count, columns * outputs),
            x: part(self.x, task, count, batch * columns),
            y: part(self.y, task, count, batch),
            weight: self.weight.map(|weight| part(weight, task, count, batch)),
        }
    }

    /// The weight of a row; 0 for padding.
    #[inline(always)]
    pub(super) fn weight_of(self, row: usize) -> f32 {
        self.weight.map_or(1.0, |weight| if weight[row] > 0.0 { weight[row] } else { 0.0 })
    }
}

/// Mean gradients of the last prefixes of every task's mini-batch, `out [T, prefixes, D, O]`: `amortix.ops.prefix_gradient`.
///
/// # Errors
/// `Array` where a length does not fit the sizes.
pub fn prefix_gradient(sizes: GradientSizes, input: GradientInput<'_>, out: &mut [f32]) -> Result<()> {
    let GradientSizes { tasks, prefixes, columns, outputs, .. } = sizes;
    sizes.check("prefix_gradient")?;
    input.check("prefix_gradient", sizes)?;
    expect("prefix_gradient", "out", out.len(), &[tasks, prefixes, columns, outputs])?;
    if sizes.batch == 0 || out.is_empty() {
        out.fill(0.0);
        return Ok(());
    }
    let each = sizes.piece();
    let pieces = out.chunks_mut(each * prefixes * columns * outputs).enumerate();
    parallel::share(pieces, |(piece, out)| {
        let count = out.len() / (prefixes * columns * outputs);
        let input = input.of(sizes, piece * each, count);
        Arch::new().dispatch(Piece { sizes: GradientSizes { tasks: count, ..sizes }, input, out });
    });
    Ok(())
}

/// Some tasks, for `pulp`, which compiles them once for each kind of vector unit.
struct Piece<'a> {
    sizes: GradientSizes,
    input: GradientInput<'a>,
    out: &'a mut [f32],
}

impl NullaryFnOnce for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Piece { sizes, input, out } = self;
        let GradientSizes { prefixes, columns, outputs, .. } = sizes;
        let mut scratch = Scratch::default();
        for (task, out) in out.chunks_exact_mut(prefixes * columns * outputs).enumerate() {
            let input = input.of(sizes, task, 1);
            if outputs > 1 || !single_output::prefix_gradients(columns, sizes.skipped(), input, out) {
                scratch.task(sizes, input, out);
            }
        }
    }
}

#[derive(Default)]
struct Scratch {
    theta: Matrix,
    sums: Matrix,
    side: Vec<Lanes>,
}

impl Scratch {
    #[inline(always)]
    fn task(&mut self, sizes: GradientSizes, input: GradientInput<'_>, out: &mut [f32]) {
        let GradientSizes { columns, outputs, .. } = sizes;
        self.theta.clear(columns, outputs);
        self.theta.add(1.0, input.theta);
        self.sums.clear(columns, outputs);
        self.side.resize(outputs.div_ceil(LANES), [0.0; LANES]);
        let (mut total, skipped) = (0.0, sizes.skipped());
        for (row, x) in input.x.chunks_exact(columns).enumerate() {
            let weight = input.weight_of(row);
            if weight > 0.0 {
                total += weight;
                self.theta.project(x, &mut self.side);
                residual(&mut self.side, outputs, input.y[row]);
                self.side.iter_mut().for_each(|lanes| lanes.iter_mut().for_each(|r| *r *= weight));
                self.sums.add_outer(x, &self.side);
            }
            if row >= skipped {
                let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
                self.sums.write(scale, &mut out[(row - skipped) * columns * outputs..]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gradient(theta: &[f32], x: &[f32], y: &[f32], weight: &[f32], prefixes: usize) -> Result<Vec<f32>> {
        let (batch, columns) = (y.len(), x.len() / y.len());
        let sizes = GradientSizes { tasks: 1, batch, prefixes, columns, outputs: theta.len() / columns };
        let mut out = vec![f32::NAN; prefixes * theta.len()];
        prefix_gradient(sizes, GradientInput { theta, x, y, weight: Some(weight) }, &mut out)?;
        Ok(out)
    }

    #[test]
    fn a_line_by_hand() -> Result<()> {
        // Residuals 2·1 − 1 = 1, and 2·3 − 4 = 2 at weight 3; the row between is padding.
        let (x, y, weight) = ([1.0, f32::NAN, 3.0], [1.0, f32::NAN, 4.0], [1.0, 0.0, 3.0]);
        assert_eq!(gradient(&[2.0], &x, &y, &weight, 3)?, [1.0, 1.0, 19.0 / 4.0]);
        assert_eq!(gradient(&[2.0], &x, &y, &weight, 1)?, [19.0 / 4.0]);
        assert_eq!(gradient(&[2.0], &x, &y, &[0.0; 3], 1)?, [0.0]);
        Ok(())
    }

    #[test]
    fn two_classes_by_hand() -> Result<()> {
        // At scores of zero both classes have probability ½.
        let out = gradient(&[0.0; 4], &[2.0, 4.0], &[1.0], &[1.0], 1)?;
        assert_eq!(out, [1.0, -1.0, 2.0, -2.0]);
        Ok(())
    }

    #[test]
    fn lengths_are_checked() {
        assert!(
            matches!(gradient(&[2.0], &[1.0], &[1.0], &[], 1), Err(Error::Array(m)) if m.contains("weight"))
        );
        assert!(
            matches!(gradient(&[2.0], &[1.0], &[1.0], &[1.0], 2), Err(Error::Array(m)) if m.contains("2 prefixes"))
        );
    }
}
