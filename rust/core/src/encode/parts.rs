//! A summary as plain lists, for whoever stores it or sends it elsewhere.

use super::calendar::CYCLES;
use super::numbers::Numbers;
use super::summary::{Seen, Summary};
use super::{Labels, Moments, Sketch};

/// Lists of plain values. What stands where is known to this file alone.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Parts {
    /// `numbers`, `times` or `labels`.
    pub kind: String,
    /// Finite numbers.
    pub floats: Vec<f64>,
    /// Counts, sizes and keys.
    pub wholes: Vec<u64>,
    /// Labels.
    pub texts: Vec<String>,
}

impl Summary {
    /// Its parts; values that wait for more are taken in first.
    #[must_use]
    pub fn to_parts(mut self) -> Parts {
        self.settle();
        let mut wholes = vec![self.rows, self.missing];
        match self.seen {
            Seen::Numbers(numbers) => {
                let (values, sizes, doubt) = numbers.sketch.state();
                let m = numbers.moments;
                let (min, max) = if m.count == 0 { (0.0, 0.0) } else { (m.min, m.max) };
                let turns = numbers.turns.iter().flatten().flatten().copied();
                wholes.push(m.count);
                wholes.extend(sizes);
                let floats = [m.weight, m.mean, m.squares, min, max, doubt].into_iter().chain(turns);
                let kind = if numbers.turns.is_some() { "times" } else { "numbers" };
                Parts { kind: kind.into(), floats: floats.chain(values).collect(), wholes, texts: vec![] }
            }
            Seen::Labels(labels) => {
                let ranked = labels.ranked();
                wholes.extend([labels.seen(), labels.short()]);
                wholes.extend(ranked.iter().map(|(_, count)| count));
                let texts = ranked.iter().map(|(text, _)| (*text).to_string()).collect();
                Parts { kind: "labels".into(), floats: vec![], wholes, texts }
            }
        }
    }

    /// The summary with these parts; None where they do not fit each other.
    #[must_use]
    pub fn from_parts(parts: Parts) -> Option<Self> {
        let [rows, missing, rest @ ..] = &parts.wholes[..] else { return None };
        let (seen, count) = match &*parts.kind {
            "labels" => {
                let [seen, short, counts @ ..] = rest else { return None };
                (Seen::Labels(Labels::from_state(parts.texts, counts, *seen, *short)?), *seen)
            }
            kind => {
                let [count, sizes @ ..] = rest else { return None };
                let numbers = numbers(kind, *count, &parts.floats, sizes)?;
                (Seen::Numbers(Box::new(numbers)), *count)
            }
        };
        let fits = missing.checked_add(count) == Some(*rows);
        fits.then_some(Self { rows: *rows, missing: *missing, seen })
    }
}

fn numbers(kind: &str, count: u64, floats: &[f64], sizes: &[u64]) -> Option<Numbers> {
    let [weight, mean, squares, min, max, doubt, rest @ ..] = floats else { return None };
    let (turns, values) = match kind {
        "numbers" => (None, rest),
        "times" => {
            let (turns, values) = rest.split_at_checked(2 * CYCLES.len())?;
            (Some(std::array::from_fn(|cycle| [turns[2 * cycle], turns[2 * cycle + 1]])), values)
        }
        _ => return None,
    };
    let sketch = Sketch::from_state(values, sizes, *doubt)?;
    let sound = *weight >= 0.0 && *squares >= 0.0 && sketch.seen() == count;
    let (min, max) = if count == 0 { (f64::INFINITY, f64::NEG_INFINITY) } else { (*min, *max) };
    let moments = Moments { count, weight: *weight, mean: *mean, squares: *squares, min, max };
    (sound && floats.iter().all(|f| f.is_finite())).then(|| Numbers::with(moments, sketch, turns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Key;

    fn samples() -> Vec<Summary> {
        let values: Vec<f64> =
            (0..5000).map(|i| if i % 7 == 0 { f64::NAN } else { i as f64 * 1e5 }).collect();
        let mut all = vec![
            Summary::numbers(Key::new(1)),
            Summary::times(Key::new(2)),
            Summary::labels(),
            Summary::labels(),
        ];
        all.iter_mut().take(3).for_each(|summary| {
            assert_eq!(summary.see_numbers(&values, None), None);
            summary.settle();
        });
        all.push(Summary::numbers(Key::new(5)));
        all
    }

    #[test]
    fn parts_are_the_summary() {
        for summary in samples() {
            assert_eq!(Summary::from_parts(summary.clone().to_parts()), Some(summary));
        }
    }

    #[test]
    fn parts_that_do_not_fit_are_refused() {
        for summary in samples() {
            let parts = summary.to_parts();
            for place in 0..parts.wholes.len().min(3) {
                let mut other = parts.clone();
                other.wholes[place] += 1;
                assert_eq!(Summary::from_parts(other), None, "{} {place}", parts.kind);
            }
            assert_eq!(Summary::from_parts(Parts { kind: "words".into(), ..parts.clone() }), None);
            assert_eq!(Summary::from_parts(Parts { wholes: vec![], ..parts.clone() }), None);
            if !parts.floats.is_empty() {
                let mut other = parts.clone();
                other.floats[1] = f64::NAN;
                assert_eq!(Summary::from_parts(other), None);
                assert_eq!(Summary::from_parts(Parts { floats: vec![], ..parts }), None);
            }
        }
    }
}
