//! Tasks made from one set of labelled images: a random projection of the pixels and a random order of the classes.
//!
//! Row `i` of (task, step) is a pure function of the seed and these three numbers.
//!
//! Reference: Kirsch, Harrison, Sohl-Dickstein, Metz, "General-purpose in-context learning by meta-learning
//! transformers" (2022), section 4.

use rayon::prelude::*;

use crate::hash;
use crate::rng::Key;
use crate::stream::Permutation;
use crate::{Error, Result, parallel};

/// Labelled images and how their projections are standardised.
pub struct Images<'a> {
    /// `[rows, width]`.
    pub pixels: &'a [u8],
    /// The class of each row, below `classes`.
    pub labels: &'a [i64],
    /// How many classes there are.
    pub classes: usize,
    /// What is subtracted from each pixel, `[width]`.
    pub mean: &'a [f32],
    /// What a projection is multiplied by.
    pub scale: f32,
}

impl Images<'_> {
    /// Rows of each (task, step), drawn from those in `among` with replacement: `x` `[T, B, D]`, `y` `[T, B]`.
    ///
    /// # Errors
    /// `Array` where a row or class does not exist or sizes do not fit.
    pub fn observe_into(
        &self,
        root: Key,
        rows: Key,
        among: &[i64],
        (tasks, steps): (&[i64], &[i64]),
        (x, y): (&mut [f32], &mut [f32]),
    ) -> Result<()> {
        let batch = y.len() / tasks.len().max(1);
        let dim = x.len() / y.len().max(1);
        self.check(among)?;
        if steps.len() != tasks.len() || y.len() != tasks.len() * batch || x.len() != y.len() * dim {
            return Err(Error::Array("tasks, steps and rows have different sizes".into()));
        }
        if x.is_empty() {
            return Ok(());
        }
        parallel::run(|| {
            let outputs = x.par_chunks_mut(batch * dim).zip(y.par_chunks_mut(batch));
            outputs.zip(tasks.par_iter().zip(steps)).for_each(|((x, y), (&task, &step))| {
                let own = Projection::new(self, root.child(1, task as u64), dim);
                let key = rows.child(task as u64, step as u64);
                for (i, (x, y)) in x.chunks_mut(dim).zip(y).enumerate() {
                    let at = hash::below(hash::mix(key.bits(), i as u64), among.len() as u64);
                    let row = among[at as usize] as usize;
                    own.apply(&self.pixels[row * self.mean.len()..][..self.mean.len()], self.scale, x);
                    *y = own.order.at(self.labels[row] as u64) as f32;
                }
            });
            Ok(())
        })
    }

    fn check(&self, among: &[i64]) -> Result<()> {
        let height = self.labels.len();
        if self.pixels.len() != height * self.mean.len() {
            return Err(Error::Array("images, labels and mean have different sizes".into()));
        }
        if among.is_empty() || among.iter().any(|&row| row < 0 || row as u64 >= height as u64) {
            return Err(Error::Array(format!("rows must be among the {height} images, and not none")));
        }
        if self.labels.iter().any(|&label| label < 0 || label as u64 >= self.classes as u64) {
            return Err(Error::Array(format!("labels must be from 0 to {}", self.classes.saturating_sub(1))));
        }
        Ok(())
    }
}

/// One task: independent standard normals `[width, dim]`, what they make of the mean, and the order of the classes.
struct Projection {
    weights: Vec<f32>,
    centre: Vec<f32>,
    order: Permutation,
}

impl Projection {
    fn new(images: &Images<'_>, key: Key, dim: usize) -> Self {
        let mut weights = vec![0.0; images.mean.len() * dim];
        key.child(0, 0).normals(&mut weights);
        let mut centre = vec![0.0; dim];
        images.mean.iter().zip(weights.chunks(dim)).for_each(|(&mean, row)| add(&mut centre, mean, row));
        Self { weights, centre, order: Permutation::new(images.classes as u64, key.child(1, 0)) }
    }

    fn apply(&self, pixels: &[u8], scale: f32, out: &mut [f32]) {
        out.fill(0.0);
        for (&pixel, row) in pixels.iter().zip(self.weights.chunks(out.len())) {
            // Most pixels of a drawing are empty.
            if pixel != 0 {
                add(out, f32::from(pixel), row);
            }
        }
        out.iter_mut().zip(&self.centre).for_each(|(value, centre)| *value = (*value - centre) * scale);
    }
}

fn add(sum: &mut [f32], factor: f32, row: &[f32]) {
    sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += factor * value);
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: [u8; 8] = [0, 9, 3, 0, 250, 7, 1, 2];

    fn rows(tasks: &[i64], steps: &[i64], batch: usize, among: &[i64]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (labels, mean) = ([0, 1, 2, 1], [60.0, 3.0]);
        let images = Images { pixels: &PIXELS, labels: &labels, classes: 3, mean: &mean, scale: 0.5 };
        let (mut x, mut y) = (vec![f32::NAN; tasks.len() * batch * 5], vec![f32::NAN; tasks.len() * batch]);
        let key = Key::new(8);
        images.observe_into(key, key.child(2, 0), among, (tasks, steps), (&mut x, &mut y))?;
        Ok((x, y))
    }

    #[test]
    fn rows_depend_on_task_step_and_element_alone() {
        let (x, y) = rows(&[4, -1, 4], &[0, 0, 1], 30, &[0, 1, 3]).unwrap();
        let (x2, y2) = rows(&[-1], &[0], 7, &[0, 1, 3]).unwrap();
        assert_eq!(x[150..185], x2);
        assert_eq!(y[30..37], y2);
        assert_ne!(x[..150], x[300..]);
        // Of one task, equal images have equal rows: three different ones at most.
        let mut distinct: Vec<Vec<u32>> =
            x[..150].chunks(5).map(|r| r.iter().map(|v| v.to_bits()).collect()).collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 3);
        // Tasks show their images in orders of their own.
        let first_seen = |rows: &[f32]| -> Vec<usize> {
            rows.chunks(5).map(|row| rows.chunks(5).position(|other| other == row).unwrap()).collect()
        };
        assert_ne!(first_seen(&x[..150]), first_seen(&x[150..300]));
        assert!(y.iter().all(|&c| c.fract() == 0.0 && (0.0..3.0).contains(&c)));
    }

    #[test]
    fn a_projection_is_linear_in_the_pixels() {
        let (x, _) = rows(&[2], &[0], 1, &[0]).unwrap();
        let mut weights = [0.0; 10];
        Key::new(8).child(1, 2).child(0, 0).normals(&mut weights);
        for (column, value) in x.iter().enumerate() {
            let exact = 0.5 * ((0.0 - 60.0) * weights[column] + (9.0 - 3.0) * weights[5 + column]);
            assert!((exact - value).abs() <= 4.0 * f32::EPSILON * 100.0, "{exact} {value}");
        }
    }

    #[test]
    fn rows_that_do_not_exist_are_refused() {
        assert!(rows(&[0], &[0], 1, &[4]).is_err());
        assert!(rows(&[0], &[0], 1, &[-1]).is_err());
        assert!(rows(&[0], &[0], 1, &[]).is_err());
        assert!(rows(&[0, 1], &[0], 1, &[0]).is_err());
        assert!(rows(&[], &[], 1, &[0]).is_ok());
    }
}
