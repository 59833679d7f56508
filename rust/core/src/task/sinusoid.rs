//! Sine waves of one input.

use crate::rng::Key;
use crate::{Error, Result};

use super::pointwise::Pointwise;
use super::range::check_scale;
use super::{Common, Family, Range, Task};

/// Sine tasks: y = a sin(x − φ) + σ·N(0, 1), x uniform.
///
/// Reference: Finn, Abbeel, Levine, "Model-agnostic meta-learning", ICML 2017, §5.1.
#[derive(Debug, Clone)]
pub struct Sinusoid {
    /// a, uniform.
    pub amplitude: Range<f64>,
    /// φ, uniform.
    pub phase: Range<f64>,
    /// Lower end of x.
    pub low: f64,
    /// Upper end of x.
    pub high: f64,
    /// σ, log-uniform.
    pub noise: Range<f64>,
    /// What query inputs are multiplied by.
    pub query_scale: f32,
}

impl Family for Sinusoid {
    fn check(&self) -> Result<()> {
        self.amplitude.check("amplitude", 0.0, false)?;
        self.noise.check("noise", 0.0, true)?;
        for (name, low, high) in
            [("phase", self.phase.low, self.phase.high), ("low` and `high", self.low, self.high)]
        {
            if !(low <= high && (high - low).is_finite()) {
                return Err(Error::Config(format!(
                    "`{name}` must be finite, low <= high, not ({low}, {high})"
                )));
            }
        }
        check_scale("query_scale", self.query_scale)
    }

    fn common(&self) -> Common {
        Common { features: 1, classes: 0, query_scale: self.query_scale }
    }

    fn draw(&self, key: Key) -> Box<dyn Task> {
        let mut draws = key.draws();
        let mut uniform = |range: Range<f64>| range.low + draws.uniform() * (range.high - range.low);
        let (amplitude, phase) = (uniform(self.amplitude), uniform(self.phase));
        let noise = draws.log_uniform(self.noise.low, self.noise.high) as f32;
        Box::new(SinusoidTask { amplitude, phase, low: self.low, high: self.high, noise })
    }
}

struct SinusoidTask {
    amplitude: f64,
    phase: f64,
    low: f64,
    high: f64,
    noise: f32,
}

impl Pointwise for SinusoidTask {
    fn dim(&self) -> usize {
        1
    }

    fn classes(&self) -> usize {
        0
    }

    fn noise(&self) -> f32 {
        self.noise
    }

    fn inputs(&self, key: Key, x: &mut [f32]) {
        key.uniforms(x);
        let (low, width) = (self.low as f32, (self.high - self.low) as f32);
        x.iter_mut().for_each(|v| *v = low + width * *v);
    }

    fn signal(&self, x: &[f32], out: &mut [f32]) {
        out[0] = (self.amplitude * libm::sin(f64::from(x[0]) - self.phase)) as f32;
    }

    fn weights(&self) -> Option<&[f32]> {
        None
    }
}
