//! Ranges that a task's own settings are drawn from.

use crate::{Error, Result};

/// From `low` to `high`, both included; equal ends make a fixed value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Range<T> {
    /// The lower end.
    pub low: T,
    /// The upper end.
    pub high: T,
}

/// More columns or classes than this in one task are a mistake in the settings.
const LARGEST: usize = 1024;

impl Range<usize> {
    /// Whole numbers from `least` to 1024.
    pub(crate) fn check(self, name: &str, least: usize) -> Result<()> {
        let Self { low, high } = self;
        if least <= low && low <= high && high <= LARGEST {
            return Ok(());
        }
        Err(Error::Config(format!(
            "`{name}` must be (low, high) with {least} <= low <= high <= {LARGEST}, not ({low}, {high})"
        )))
    }
}

impl Range<f64> {
    /// A positive range for a log-uniform draw, or zero throughout where `zero` allows it.
    pub(crate) fn check(self, name: &str, least: f64, zero: bool) -> Result<()> {
        let Self { low, high } = self;
        let positive = low > 0.0 && least <= low && low <= high && high.is_finite();
        if positive || (zero && low == 0.0 && high == 0.0) {
            return Ok(());
        }
        let bound = if least > 0.0 { format!("{least} <= low") } else { "0 < low".to_string() };
        let also = if zero { ", or (0, 0)" } else { "" };
        Err(Error::Config(format!(
            "`{name}` must be (low, high) with {bound} <= high{also}, not ({low}, {high})"
        )))
    }
}

/// A probability below one.
pub(crate) fn check_share(name: &str, share: f64) -> Result<()> {
    if (0.0..1.0).contains(&share) {
        return Ok(());
    }
    Err(Error::Config(format!("`{name}` must be at least 0 and below 1, not {share}")))
}

/// A range of shares from 0 to `most`.
pub(crate) fn check_shares(name: &str, Range { low, high }: Range<f64>, most: f64) -> Result<()> {
    if 0.0 <= low && low <= high && high <= most {
        return Ok(());
    }
    Err(Error::Config(format!(
        "`{name}` must be (low, high) with 0 <= low <= high <= {most}, not ({low}, {high})"
    )))
}

/// A positive, finite factor.
pub(crate) fn check_scale(name: &str, scale: f32) -> Result<()> {
    if scale > 0.0 && scale.is_finite() {
        return Ok(());
    }
    Err(Error::Config(format!("`{name}` must be positive and finite, not {scale}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_out_of_range_are_named() {
        assert!(Range { low: 1, high: 8 }.check("dim", 1).is_ok());
        for (low, high) in [(0, 8), (9, 8), (1, 1025)] {
            let error = Range { low, high }.check("dim", 1).unwrap_err();
            assert!(error.to_string().contains("`dim`"), "{error}");
        }
        assert!(Range { low: 0.0, high: 0.0 }.check("noise", 0.0, true).is_ok());
        for (low, high) in [(0.0, 1.0), (-1.0, 1.0), (2.0, 1.0), (1.0, f64::INFINITY), (f64::NAN, 1.0)] {
            assert!(Range { low, high }.check("noise", 0.0, true).is_err());
        }
        assert!(Range { low: 0.5, high: 2.0 }.check("condition", 1.0, false).is_err());
        assert!(check_share("sparsity", 1.0).is_err() && check_share("sparsity", f64::NAN).is_err());
        assert!(check_shares("missing", Range { low: 0.0, high: 0.5 }, 0.5).is_ok());
        for (low, high) in [(-0.1, 0.1), (0.3, 0.2), (0.0, 0.6), (f64::NAN, 0.1)] {
            assert!(check_shares("missing", Range { low, high }, 0.5).is_err());
        }
        assert!(check_scale("query_scale", 0.0).is_err());
    }
}
