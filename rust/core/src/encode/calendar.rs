//! The cycles of the calendar: how far along its year, week and day a moment is.

use crate::math::sin_cos_turn;

/// A cycle of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cycle {
    /// The mean year of the Gregorian calendar, 365.2425 days: at most a day or so apart from the calendar's own.
    Year,
    /// Seven days.
    Week,
    /// 86,400 seconds; leap seconds are not counted, as everywhere in computing.
    Day,
}

/// All cycles, the longest first.
pub const CYCLES: [Cycle; 3] = [Cycle::Year, Cycle::Week, Cycle::Day];

impl Cycle {
    /// Its length in seconds.
    #[must_use]
    pub fn seconds(self) -> f64 {
        match self {
            Self::Year => 31_556_952.0,
            Self::Week => 604_800.0,
            Self::Day => 86_400.0,
        }
    }

    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Year => "year",
            Self::Week => "week",
            Self::Day => "day",
        }
    }

    /// The cycle of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CYCLES.into_iter().find(|cycle| cycle.name() == name)
    }

    /// Sine and cosine of the place within the cycle, of seconds since the beginning of 1970.
    #[must_use]
    pub fn sin_cos(self, seconds: f64) -> (f32, f32) {
        let turns = seconds / self.seconds();
        sin_cos_turn((turns - turns.floor()) as f32)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phases_are_those_of_the_clock() {
        let near = |(s, c): (f32, f32), (es, ec): (f32, f32)| (s - es).abs() < 1e-6 && (c - ec).abs() < 1e-6;
        let midnight = 20_000.0 * 86_400.0;
        assert!(near(Cycle::Day.sin_cos(midnight), (0.0, 1.0)));
        assert!(near(Cycle::Day.sin_cos(midnight + 6.0 * 3600.0), (1.0, 0.0)));
        assert!(near(Cycle::Day.sin_cos(-midnight - 6.0 * 3600.0), (-1.0, 0.0)));
        assert!(near(Cycle::Week.sin_cos(3.5 * 86_400.0), (0.0, -1.0)));
        // 2000-01-01 is 10,957 days after 1970-01-01, and 30 Gregorian years are 10,957.275 days.
        assert!(Cycle::Year.sin_cos(10_957.0 * 86_400.0).1 > 0.999_98);
        assert!(CYCLES.iter().all(|&cycle| Cycle::named(cycle.name()) == Some(cycle)));
        assert_eq!(Cycle::named("month"), None);
    }
}
