//! Gaussian inputs: independent, or of a covariance with a given condition number.

use crate::rng::Key;

use super::{Range, dot};

/// The distribution N(0, R diag(v) Rᵀ) of a task's inputs, mean of `v` one.
pub(crate) struct Gaussian {
    dim: usize,
    /// `R diag(√v)`, `[dim, dim]`; None for the identity.
    factor: Option<Vec<f32>>,
}

impl Gaussian {
    /// N(0, I).
    pub(crate) fn standard(dim: usize) -> Self {
        Self { dim, factor: None }
    }

    /// A random rotation R and variances whose largest is the task's condition number times the smallest.
    pub(crate) fn draw(dim: usize, condition: Range<f64>, key: Key) -> Self {
        if condition.high == 1.0 {
            return Self::standard(dim);
        }
        let mut draws = key.child(0, 0).draws();
        let condition = draws.log_uniform(condition.low, condition.high);
        if dim == 1 || condition == 1.0 {
            return Self::standard(dim);
        }
        let mut variances: Vec<f64> = (0..dim).map(|_| draws.log_uniform(1.0, condition)).collect();
        (variances[0], variances[1]) = (1.0, condition);
        let mean = variances.iter().sum::<f64>() / dim as f64;
        let axes = rotation(dim, key.child(1, 0));
        let mut factor = vec![0.0; dim * dim];
        for (k, (axis, variance)) in axes.chunks(dim).zip(&variances).enumerate() {
            let scale = (variance / mean).sqrt();
            for (j, a) in axis.iter().enumerate() {
                factor[j * dim + k] = (a * scale) as f32;
            }
        }
        Self { dim, factor: Some(factor) }
    }

    /// Rows of inputs, `[n, dim]`.
    pub(crate) fn fill(&self, key: Key, x: &mut [f32]) {
        key.normals(x);
        let Some(factor) = &self.factor else { return };
        let mut z = vec![0.0; self.dim];
        for row in x.chunks_mut(self.dim) {
            z.copy_from_slice(row);
            for (out, axis) in row.iter_mut().zip(factor.chunks(self.dim)) {
                *out = dot(axis, &z);
            }
        }
    }
}

/// Orthonormal rows `[dim, dim]`, uniformly distributed: Gram-Schmidt on normals.
fn rotation(dim: usize, key: Key) -> Vec<f64> {
    let mut normals = vec![0.0; dim * dim];
    key.normals(&mut normals);
    let mut axes: Vec<f64> = normals.into_iter().map(f64::from).collect();
    for k in 0..dim {
        let (done, rest) = axes.split_at_mut(k * dim);
        let axis = &mut rest[..dim];
        // One pass in double precision: the axes are used in single precision, and normals are far from dependent.
        for earlier in done.chunks(dim) {
            let shadow = dot(earlier, axis);
            axis.iter_mut().zip(earlier).for_each(|(a, e)| *a -= shadow * e);
        }
        let length = dot(axis, axis).sqrt();
        axis.iter_mut().for_each(|a| *a /= length);
    }
    axes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn rotations_are_orthonormal(seed: u64, dim in 1usize..24) {
            let axes = rotation(dim, Key::new(seed));
            for (i, a) in axes.chunks(dim).enumerate() {
                for (j, b) in axes.chunks(dim).enumerate() {
                    let product: f64 = a.iter().zip(b).map(|(a, b)| a * b).sum();
                    prop_assert!((product - f64::from(u8::from(i == j))).abs() < 1e-9);
                }
            }
        }

        #[test]
        fn covariance_has_the_condition_and_mean_variance_one(seed: u64, dim in 2usize..12, condition in 1.5f64..100.0) {
            let range = Range { low: condition, high: condition };
            let factor = Gaussian::draw(dim, range, Key::new(seed)).factor.unwrap();
            let total: f32 = factor.iter().map(|f| f * f).sum();
            prop_assert!((total / dim as f32 - 1.0).abs() < 1e-5);
            // Columns of R diag(√v) are orthogonal with squared lengths v.
            let square = |k: usize| (0..dim).map(|j| factor[j * dim + k].powi(2)).sum::<f32>();
            let lengths: Vec<f32> = (0..dim).map(square).collect();
            let ratio = lengths.iter().fold(0f32, |a, &b| a.max(b)) / lengths.iter().fold(f32::MAX, |a, &b| a.min(b));
            prop_assert!((f64::from(ratio) / condition - 1.0).abs() < 1e-4);
        }
    }
}
