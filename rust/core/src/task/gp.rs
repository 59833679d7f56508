//! Functions drawn from a Gaussian process, by random Fourier features.

use pulp::{Arch, Simd, WithSimd};

use crate::rng::Key;
use crate::{Error, Result, math};

use super::pointwise::Pointwise;
use super::range::check_scale;
use super::{Common, Family, Range, Task};

/// The covariance of function values at distance r, in units of the length scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kernel {
    /// exp(−r²/2).
    Rbf,
    /// exp(−r).
    Matern12,
    /// (1 + √3 r) exp(−√3 r).
    Matern32,
    /// (1 + √5 r + 5r²/3) exp(−√5 r).
    Matern52,
}

impl Kernel {
    /// The kernel called `name`.
    ///
    /// # Errors
    /// `Config` for another name.
    pub fn of(name: &str) -> Result<Self> {
        match name {
            "rbf" => Ok(Self::Rbf),
            "matern12" => Ok(Self::Matern12),
            "matern32" => Ok(Self::Matern32),
            "matern52" => Ok(Self::Matern52),
            _ => Err(Error::Config(format!(
                "`kernel` must be rbf, matern12, matern32 or matern52, not {name:?}"
            ))),
        }
    }

    /// Degrees of freedom of the spectral density, a multivariate t; None for the normal one.
    fn freedom(self) -> Option<usize> {
        match self {
            Self::Rbf => None,
            Self::Matern12 => Some(1),
            Self::Matern32 => Some(3),
            Self::Matern52 => Some(5),
        }
    }
}

/// Gaussian process tasks: f ~ GP(0, a² k(|x − x'| / ℓ)), x uniform, y = f(x) + σ·N(0, 1).
///
/// f = a/√S Σ (u cos ω·x + v sin ω·x), u, v ~ N(0, 1), with S frequencies ω from the spectral density of k. Averaged
/// over tasks the covariance is exact; that of one task differs from it by a standard error of at most a²/√(2S) at each
/// distance.
///
/// Reference: Rahimi, Recht, "Random features for large-scale kernel machines", NIPS 2007.
#[derive(Debug, Clone)]
pub struct Gp {
    /// Columns of a task, uniform.
    pub dim: Range<usize>,
    /// k.
    pub kernel: Kernel,
    /// ℓ, log-uniform.
    pub length_scale: Range<f64>,
    /// a, log-uniform.
    pub amplitude: Range<f64>,
    /// σ, log-uniform.
    pub noise: Range<f64>,
    /// S.
    pub frequencies: usize,
    /// Lower end of x.
    pub low: f64,
    /// Upper end of x.
    pub high: f64,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
}

impl Family for Gp {
    fn check(&self) -> Result<()> {
        self.dim.check("dim", 1)?;
        self.length_scale.check("length_scale", 0.0, false)?;
        self.amplitude.check("amplitude", 0.0, false)?;
        self.noise.check("noise", 0.0, true)?;
        Range { low: self.frequencies, high: self.frequencies }.check("frequencies", 1)?;
        if !(self.low < self.high && (self.high - self.low).is_finite()) {
            let (low, high) = (self.low, self.high);
            return Err(Error::Config(format!(
                "`low` and `high` must be finite, low < high, not ({low}, {high})"
            )));
        }
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: self.dim.high, classes: 0, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.child(0, 0).draws();
        let dim = draws.integer(self.dim.low, self.dim.high);
        let length = draws.log_uniform(self.length_scale.low, self.length_scale.high);
        let amplitude = draws.log_uniform(self.amplitude.low, self.amplitude.high);
        let noise = draws.log_uniform(self.noise.low, self.noise.high) as f32;
        let turns = frequencies(self.kernel, dim, self.frequencies, length, key.child(1, 0));
        let mut weights = vec![0.0; 2 * self.frequencies];
        key.child(2, 0).normals(&mut weights);
        let scale = amplitude / (self.frequencies as f64).sqrt();
        weights.iter_mut().for_each(|w| *w *= scale as f32);
        let parameters = vec![length as f32, amplitude as f32];
        let (low, width) = (self.low as f32, (self.high - self.low) as f32);
        Box::new(GpTask { dim, noise, turns, weights, low, width, parameters })
    }
}

/// Frequencies in turns per unit of x, `[dim, count]`: normals, divided by a √(χ²/n) of their own where they are t.
fn frequencies(kernel: Kernel, dim: usize, count: usize, length: f64, key: Key) -> Vec<f32> {
    let mut turns = vec![0.0; dim * count];
    key.child(0, 0).normals(&mut turns);
    let freedom = kernel.freedom();
    let mut squares = vec![0.0; count * freedom.unwrap_or(0)];
    key.child(1, 0).normals(&mut squares);
    for i in 0..count {
        let scale = freedom.map_or(1.0, |n| {
            let sum: f64 = squares[i * n..(i + 1) * n].iter().map(|&z| f64::from(z).powi(2)).sum();
            // A normal of 24 bits may be zero, which would make the frequency infinite.
            (n as f64 / sum.max(1e-12)).sqrt()
        });
        for d in 0..dim {
            let z = f64::from(turns[d * count + i]);
            turns[d * count + i] = (z * scale / length / std::f64::consts::TAU) as f32;
        }
    }
    turns
}

struct GpTask {
    dim: usize,
    noise: f32,
    /// `[dim, S]`
    turns: Vec<f32>,
    /// `[2, S]`: of the cosines, of the sines.
    weights: Vec<f32>,
    low: f32,
    width: f32,
    /// Length scale, amplitude.
    parameters: Vec<f32>,
}

impl Pointwise for GpTask {
    fn dim(&self) -> usize {
        self.dim
    }

    fn classes(&self) -> usize {
        0
    }

    fn noise(&self) -> f32 {
        self.noise
    }

    fn inputs(&self, key: Key, x: &mut [f32]) {
        key.uniforms(x);
        // The middle of each of the 2²⁴ steps, so that no input is exactly an end.
        x.iter_mut().for_each(|v| *v = self.low + self.width * (*v + 0.5 / 16_777_216.0));
    }

    fn signal(&self, x: &[f32], out: &mut [f32]) {
        out[0] = Arch::new().dispatch(Waves { task: self, x });
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }

    fn parameters(&self) -> Vec<f32> {
        self.parameters.clone()
    }
}

/// Frequencies that are worked on side by side, each with a sum of its own.
const LANES: usize = 16;

/// The value at one row, compiled for each kind of vector unit.
struct Waves<'a> {
    task: &'a GpTask,
    x: &'a [f32],
}

impl WithSimd for Waves<'_> {
    type Output = f32;

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) -> f32 {
        let count = self.task.weights.len() / 2;
        let mut sums = [0.0; LANES];
        for start in (0..count).step_by(LANES) {
            let lanes = LANES.min(count - start);
            self.add(start, lanes, count, &mut sums);
        }
        sums.iter().fold(0.0, |total, sum| total + sum)
    }
}

impl Waves<'_> {
    #[inline(always)]
    fn add(&self, start: usize, lanes: usize, count: usize, sums: &mut [f32; LANES]) {
        let mut turn = [0.0; LANES];
        for (&value, turns) in self.x.iter().zip(self.task.turns.chunks(count)) {
            for (turn, per_unit) in turn.iter_mut().zip(&turns[start..start + lanes]) {
                *turn += value * per_unit;
            }
        }
        let (mut u, mut v) = ([0.0; LANES], [0.0; LANES]);
        u[..lanes].copy_from_slice(&self.task.weights[start..start + lanes]);
        v[..lanes].copy_from_slice(&self.task.weights[count + start..count + start + lanes]);
        for lane in 0..LANES {
            let (sin, cos) = math::sin_cos_turn(turn[lane] - turn[lane].floor());
            sums[lane] += u[lane] * cos + v[lane] * sin;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frequencies_follow_the_spectral_density() {
        // A t variable of n degrees of freedom is within ±1 with these probabilities; the normal with .6827.
        let cases = [
            (Kernel::Rbf, 0.6827),
            (Kernel::Matern12, 0.5),
            (Kernel::Matern32, 0.6090),
            (Kernel::Matern52, 0.6368),
        ];
        for (kernel, inside) in cases {
            let turns = frequencies(kernel, 1, 1 << 16, 2.0, Key::new(3));
            let edge = 1.0 / 2.0 / std::f32::consts::TAU;
            let share = turns.iter().filter(|t| t.abs() < edge).count() as f64 / turns.len() as f64;
            // Five standard errors of a share.
            assert!((share - inside).abs() < 5.0 * 0.5 / 256.0, "{kernel:?}: {share}");
        }
    }
}
