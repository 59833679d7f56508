//! What one column becomes: some float32 columns, each a pure function of the value.

use std::collections::HashMap;

use crate::{Error, Result};

use super::calendar::Cycle;
use super::normal::interpolate;

/// From a value to numbers.
#[derive(Debug, Clone)]
pub enum Map {
    /// None: the column says nothing, or nothing but where it is missing.
    Nothing,
    /// One: its distance from `mean` in units of `scale`.
    Scaled {
        /// What becomes 0.
        mean: f64,
        /// What becomes 1 further on.
        scale: f64,
    },
    /// One: piecewise linear between ascending knots, constant beyond them.
    Scored {
        /// Values.
        knots: Vec<f64>,
        /// What they become.
        scores: Vec<f64>,
    },
    /// One for each level, 1 where the label is that level; and, if `other`, one more for all other labels.
    Levels {
        /// Labels.
        levels: Vec<String>,
        /// Whether other labels have a column.
        other: bool,
    },
    /// One for seconds since 1970, scaled, and a sine and a cosine for each cycle.
    Times {
        /// What becomes 0.
        mean: f64,
        /// What becomes 1 further on.
        scale: f64,
        /// Cycles of the calendar.
        cycles: Vec<Cycle>,
    },
}

/// A map, and perhaps a last column that is 1 where the value is missing.
///
/// A missing value is 0 in every column of the map: the mean, no level, the middle of a cycle. An infinite one counts
/// as missing. Results too large for float32 are the largest of its sign.
#[derive(Debug, Clone)]
pub struct Code {
    map: Map,
    missing: bool,
    /// The column of each level.
    texts: HashMap<Box<str>, usize>,
    /// The columns of levels that are numbers, ascending.
    numbers: Vec<(f64, usize)>,
}

impl Code {
    /// A code of these parts.
    ///
    /// # Errors
    /// `Array` where a scale is not positive, knots do not ascend or have no scores, or a level is listed twice.
    pub fn new(map: Map, missing: bool) -> Result<Self> {
        check(&map)?;
        let levels = if let Map::Levels { levels, .. } = &map { &levels[..] } else { &[] };
        let texts = levels.iter().enumerate().map(|(place, level)| (level.as_str().into(), place));
        let texts: HashMap<Box<str>, usize> = texts.collect();
        if texts.len() < levels.len() {
            return Err(Error::Array("the levels of a code must differ".into()));
        }
        // A level such as "01" is no label of a number: what a number is written as must give the level back.
        let number = |(place, level): (usize, &String)| {
            level
                .parse::<f64>()
                .ok()
                .filter(|number| number.to_string() == *level)
                .map(|number| (number, place))
        };
        let mut numbers: Vec<(f64, usize)> = levels.iter().enumerate().filter_map(number).collect();
        numbers.sort_by(|a, b| a.0.total_cmp(&b.0));
        Ok(Self { map, missing, texts, numbers })
    }

    /// How many columns come out.
    #[must_use]
    pub fn width(&self) -> usize {
        self.mapped() + usize::from(self.missing)
    }

    fn mapped(&self) -> usize {
        match &self.map {
            Map::Nothing => 0,
            Map::Scaled { .. } | Map::Scored { .. } => 1,
            Map::Levels { levels, other } => levels.len() + usize::from(*other),
            Map::Times { cycles, .. } => 1 + 2 * cycles.len(),
        }
    }

    /// Encode numbers, NaN for a missing one, into `out`, `[width, rows]`.
    ///
    /// # Errors
    /// `Array` where `out` has another size.
    pub fn encode_numbers(&self, values: &[f64], out: &mut [f32]) -> Result<()> {
        let rows = values.len();
        let (mapped, missing) = self.split(rows, out)?;
        for (out, value) in missing.iter_mut().zip(values) {
            *out = f32::from(u8::from(!value.is_finite()));
        }
        match &self.map {
            Map::Nothing => {}
            Map::Scaled { mean, scale } => scaled(values, *mean, *scale, mapped),
            Map::Scored { knots, scores } => {
                for (out, &value) in mapped.iter_mut().zip(values) {
                    *out = if value.is_finite() { single(interpolate(knots, scores, value)) } else { 0.0 };
                }
            }
            Map::Levels { .. } => {
                mapped.fill(0.0);
                let present = values.iter().enumerate().filter(|(_, value)| value.is_finite());
                for (row, value) in present {
                    let found = self.numbers.binary_search_by(|(level, _)| level.total_cmp(&(value + 0.0)));
                    self.mark(found.ok().map(|place| self.numbers[place].1), row, rows, mapped);
                }
            }
            Map::Times { mean, scale, cycles } => times(values, (*mean, *scale), cycles, mapped),
        }
        Ok(())
    }

    /// Encode labels, None for a missing one, into `out`, `[width, rows]`; the iterator gives `rows` of them.
    ///
    /// # Errors
    /// `Array` where `out` has another size, `Internal` where the code is not one of labels.
    pub fn encode_texts<'a>(
        &self,
        texts: impl Iterator<Item = Option<&'a str>>,
        rows: usize,
        out: &mut [f32],
    ) -> Result<()> {
        let (mapped, missing) = self.split(rows, out)?;
        if !matches!(self.map, Map::Levels { .. } | Map::Nothing) {
            return Err(Error::Internal("a code of numbers was shown texts".into()));
        }
        mapped.fill(0.0);
        missing.fill(0.0);
        for (row, text) in texts.take(rows).enumerate() {
            match text {
                Some(text) => self.mark(self.texts.get(text).copied(), row, rows, mapped),
                None => missing.get_mut(row).into_iter().for_each(|out| *out = 1.0),
            }
        }
        Ok(())
    }

    /// The columns of the map and the column of missing values, empty without one.
    fn split<'o>(&self, rows: usize, out: &'o mut [f32]) -> Result<(&'o mut [f32], &'o mut [f32])> {
        if Some(out.len()) != rows.checked_mul(self.width()) {
            return Err(Error::Array(format!("`out` must be [{}, {rows}]", self.width())));
        }
        Ok(out.split_at_mut(self.mapped() * rows))
    }

    /// Put a 1 into the column of a level, or into that of other labels, if there is one.
    fn mark(&self, level: Option<usize>, row: usize, rows: usize, mapped: &mut [f32]) {
        let column = match (&self.map, level) {
            (Map::Levels { .. }, Some(level)) => level,
            (Map::Levels { levels, other: true }, None) => levels.len(),
            _ => return,
        };
        mapped[column * rows + row] = 1.0;
    }
}

fn check(map: &Map) -> Result<()> {
    let sound = match map {
        Map::Nothing | Map::Levels { .. } => true,
        Map::Scaled { mean, scale } | Map::Times { mean, scale, .. } => {
            mean.is_finite() && scale.is_finite() && *scale > 0.0
        }
        Map::Scored { knots, scores } => {
            let finite = knots.iter().chain(scores).all(|number| number.is_finite());
            finite && knots.len() == scores.len() && knots.is_sorted_by(|a, b| a < b)
        }
    };
    if sound {
        return Ok(());
    }
    Err(Error::Array(
        "a code needs a finite mean, a scale above 0, and ascending knots with a score for each".into(),
    ))
}

fn scaled(values: &[f64], mean: f64, scale: f64, out: &mut [f32]) {
    for (out, &value) in out.iter_mut().zip(values) {
        *out = if value.is_finite() { single((value - mean) / scale) } else { 0.0 };
    }
}

fn times(values: &[f64], (mean, scale): (f64, f64), cycles: &[Cycle], out: &mut [f32]) {
    let rows = values.len();
    let (first, rest) = out.split_at_mut(rows);
    scaled(values, mean, scale, first);
    for (cycle, out) in cycles.iter().zip(rest.chunks_mut(2 * rows.max(1))) {
        let (sines, cosines) = out.split_at_mut(rows);
        for ((sine, cosine), &value) in sines.iter_mut().zip(cosines).zip(values) {
            (*sine, *cosine) = if value.is_finite() { cycle.sin_cos(value) } else { (0.0, 0.0) };
        }
    }
}

fn single(value: f64) -> f32 {
    value.clamp(f64::from(f32::MIN), f64::from(f32::MAX)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAN: f64 = f64::NAN;

    fn encoded(map: Map, missing: bool, values: &[f64]) -> Vec<f32> {
        let code = Code::new(map, missing).unwrap();
        let mut out = vec![9.0; code.width() * values.len()];
        code.encode_numbers(values, &mut out).unwrap();
        out
    }

    fn levels(other: bool) -> Map {
        Map::Levels { levels: ["b", "7", "01", "-0.5"].map(String::from).to_vec(), other }
    }

    #[test]
    fn numbers_are_scaled_and_gaps_are_marked() {
        let map = || Map::Scaled { mean: 3.0, scale: 2.0 };
        assert_eq!(encoded(map(), false, &[3.0, 7.0, NAN]), [0.0, 2.0, 0.0]);
        assert_eq!(encoded(map(), true, &[1.0, f64::INFINITY, NAN]), [-1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
        assert_eq!(encoded(map(), false, &[1e300, -1e300]), [f32::MAX, f32::MIN]);
        assert_eq!(encoded(Map::Nothing, true, &[1.0, NAN]), [0.0, 1.0]);
        assert_eq!(encoded(Map::Nothing, false, &[1.0, NAN]), [0.0; 0]);
        let map = Map::Scored { knots: vec![1.0, 3.0], scores: vec![-1.0, 1.0] };
        assert_eq!(encoded(map, false, &[0.0, 1.5, 9.0, NAN]), [-1.0, -0.5, 1.0, 0.0]);
    }

    #[test]
    fn labels_have_a_column_each() {
        let texts = [Some("7"), None, Some("new"), Some("b")];
        for (other, expected) in [
            (
                false,
                &[
                    0, 0, 0, 1, /**/ 1, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 0,
                    /**/ 0, 1, 0, 0,
                ][..],
            ),
            (
                true,
                &[
                    0, 0, 0, 1, /**/ 1, 0, 0, 0, /**/ 0, 0, 0, 0, /**/ 0, 0, 0, 0,
                    /**/ 0, 0, 1, 0, /**/ 0, 1, 0, 0,
                ],
            ),
        ] {
            let code = Code::new(levels(other), true).unwrap();
            let mut out = vec![9.0; code.width() * 4];
            code.encode_texts(texts.into_iter(), 4, &mut out).unwrap();
            assert_eq!(out, expected.iter().map(|&v: &i32| v as f32).collect::<Vec<_>>());
        }
    }

    #[test]
    fn numbers_find_the_levels_that_they_are_written_as() {
        let out = encoded(levels(true), false, &[7.0, 1.0, -0.5, NAN]);
        let columns: Vec<&[f32]> = out.chunks(4).collect();
        assert_eq!(columns[0], [0.0; 4]);
        assert_eq!(columns[1], [1.0, 0.0, 0.0, 0.0]);
        assert_eq!(columns[2], [0.0; 4], "1 is not written 01");
        assert_eq!(columns[3], [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(columns[4], [0.0, 1.0, 0.0, 0.0]);
    }

    #[test]
    fn times_have_cycles() {
        let map = Map::Times { mean: 86_400.0, scale: 43_200.0, cycles: vec![Cycle::Day] };
        let out = encoded(map, true, &[86_400.0, 108_000.0, NAN]);
        let expected = [0.0, 0.5, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        assert!(out.iter().zip(expected).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        for map in [
            Map::Scaled { mean: 0.0, scale: 0.0 },
            Map::Scaled { mean: NAN, scale: 1.0 },
            Map::Times { mean: 0.0, scale: -1.0, cycles: vec![] },
            Map::Scored { knots: vec![1.0, 1.0], scores: vec![0.0, 0.0] },
            Map::Scored { knots: vec![1.0], scores: vec![] },
            Map::Levels { levels: vec!["a".into(), "a".into()], other: false },
        ] {
            assert!(matches!(Code::new(map, false), Err(Error::Array(_))));
        }
        let code = Code::new(Map::Scaled { mean: 0.0, scale: 1.0 }, false).unwrap();
        assert!(code.encode_numbers(&[1.0], &mut [0.0; 2]).is_err());
        assert!(matches!(code.encode_texts([None].into_iter(), 1, &mut [0.0]), Err(Error::Internal(_))));
    }
}
