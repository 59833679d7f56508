//! Bindings of `amortix_core::encode`: summaries of columns, codes, arrays encoded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use amortix_core::encode::{self, CYCLES, Code, Cycle, Found, Map, Parts, Real, Summary};
use amortix_core::rng::Key;
use amortix_core::stream::summarise::{Looked, summarise};
use amortix_core::{Error, Result};
use half::f16;
use numpy::ndarray::{Ix1, Ix2};
use numpy::{Element, PyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut, lend_view};
use crate::enter::enter;
use crate::error::{array_error, config_error, exception};
use crate::table::PyTable;

/// Kind, floats, wholes and texts of a summary.
type PlainParts = (String, Vec<f64>, Vec<u64>, Vec<String>);
/// Rows, missing ones, mean, variance, minimum and maximum of a column.
type Facts = (u64, u64, f64, f64, f64, f64);

/// Add the names of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PySummaries>()?;
    module.add_class::<PyCode>()?;
    module.add_function(wrap_pyfunction!(encode_into, module)?)
}

/// One summary for each of some columns. The mutex is held for one call.
#[pyclass(frozen, name = "Summaries", module = "amortix._core")]
pub(crate) struct PySummaries(Mutex<Vec<Summary>>);

impl PySummaries {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Vec<Summary>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `read` says of the summary at a place, all its values taken in.
    fn of<T>(&self, place: usize, read: impl FnOnce(&Summary) -> T) -> PyResult<T> {
        let mut summaries = self.lock();
        let count = summaries.len();
        let summary = summaries
            .get_mut(place)
            .ok_or_else(|| array_error(format!("there is no summary {place} of {count}")))?;
        summary.settle();
        Ok(read(summary))
    }
}

#[pymethods]
impl PySummaries {
    #[new]
    #[pyo3(signature = (kinds, *, seed, shard))]
    fn new(kinds: Vec<String>, seed: u64, shard: u64) -> PyResult<Self> {
        let summary = |(column, kind): (usize, &String)| {
            let key = Key::new(seed).child(column as u64, shard);
            match kind.as_str() {
                "numbers" => Ok(Summary::numbers(key)),
                "times" => Ok(Summary::times(key)),
                "labels" => Ok(Summary::labels()),
                _ => Err(config_error(format!("`kinds` must be numbers, times or labels, not {kind:?}"))),
            }
        };
        let summaries: PyResult<Vec<_>> = kinds.iter().enumerate().map(summary).collect();
        Ok(Self(Mutex::new(summaries?)))
    }

    #[staticmethod]
    fn from_parts(py: Python<'_>, parts: Vec<PlainParts>) -> PyResult<Self> {
        enter(py, || {
            let summary = |(kind, floats, wholes, texts)| {
                Summary::from_parts(Parts { kind, floats, wholes, texts }).ok_or_else(|| {
                    Error::Format(
                        "the saved summary's parts do not fit each other: summarise the table again".into(),
                    )
                })
            };
            let summaries: Result<Vec<_>> = parts.into_iter().map(summary).collect();
            Ok(Self(Mutex::new(summaries?)))
        })
    }

    fn parts(&self, py: Python<'_>) -> PyResult<Vec<PlainParts>> {
        let plain = |parts: Parts| (parts.kind, parts.floats, parts.wholes, parts.texts);
        enter(py, || Ok(self.lock().iter().map(|summary| plain(summary.clone().to_parts())).collect()))
    }

    fn merge(&self, py: Python<'_>, other: &Self) -> PyResult<()> {
        enter(py, || {
            let theirs = other.lock().clone();
            let mut ours = self.lock();
            if ours.len() != theirs.len() {
                return Err(Error::Array(format!(
                    "{} and {} summaries cannot be merged",
                    ours.len(),
                    theirs.len()
                )));
            }
            ours.iter_mut().zip(&theirs).try_for_each(|(ours, theirs)| ours.merge(theirs))
        })
    }

    /// Show columns of an array to the summaries from `first` on.
    ///
    /// The first number that cannot be summarised: (place, row, value); the place after the last is that of weights.
    #[pyo3(signature = (first, columns, x, weights))]
    fn see_array(
        &self,
        first: usize,
        columns: Vec<usize>,
        x: &Bound<'_, PyAny>,
        weights: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(usize, u64, f64)>> {
        macro_rules! dispatch {
            ($($t:ty),*) => {
                $(if x.cast::<PyArray2<$t>>().is_ok() {
                    return self.see_typed::<$t>(first, &columns, x, weights);
                })*
            };
        }
        dispatch!(f32, f64, f16, i64, i32, bool, u8, i8, i16, u16, u32, u64);
        // None of them: this names what is wrong with the array.
        lend_view::<f32>("x", x).map(|_| None)
    }

    /// Show a group of a file to the summaries, one for each column; the result is as in `see_array`.
    fn see_group(
        &self,
        py: Python<'_>,
        table: &PyTable,
        group: usize,
        columns: Vec<usize>,
        weight: Option<usize>,
    ) -> PyResult<Option<(usize, u64, f64)>> {
        let looked = Looked { columns, weight };
        let found = enter(py, || summarise(&table.0, group, &looked, &mut self.lock()))?;
        Ok(found.map(|found| (found.place, found.row, found.value)))
    }

    /// See labels of the summary at a place, each some times.
    fn see_counts(&self, place: usize, texts: Vec<String>, counts: Vec<u64>) -> PyResult<()> {
        let mut summaries = self.lock();
        let summary =
            summaries.get_mut(place).ok_or_else(|| array_error(format!("there is no summary {place}")))?;
        summary.see_counts(texts.iter().map(String::as_str).zip(counts)).map_err(exception)
    }

    fn facts(&self, place: usize) -> PyResult<Facts> {
        self.of(place, |summary| {
            let m = summary.moments();
            (summary.rows(), summary.missing(), m.mean, m.variance(), m.min, m.max)
        })
    }

    /// Values at or below which ascending shares lie; empty without any value, or for labels.
    fn quantiles(&self, place: usize, shares: Vec<f64>) -> PyResult<Vec<f64>> {
        self.of(place, |summary| {
            summary.as_numbers().map(|numbers| numbers.sketch().quantiles(&shares)).unwrap_or_default()
        })
    }

    /// By how many rows a rank may be off, but with the probability `risk`.
    fn rank_error(&self, place: usize, risk: f64) -> PyResult<f64> {
        self.of(place, |summary| {
            summary.as_numbers().map_or(0.0, |numbers| numbers.sketch().rank_error(risk))
        })
    }

    fn normal_map(&self, place: usize) -> PyResult<(Vec<f64>, Vec<f64>)> {
        self.of(place, |summary| {
            let points = summary.as_numbers().map(|numbers| numbers.sketch().points()).unwrap_or_default();
            encode::normal_map(&points, &summary.moments())
        })
    }

    /// How closely moments in time cluster at one place of each cycle, by its name; with the cycle's seconds.
    fn concentrations(&self, place: usize) -> PyResult<Vec<(&'static str, f64, f64)>> {
        let found =
            self.of(place, |summary| summary.as_numbers().and_then(|numbers| numbers.concentrations()))?;
        let named = CYCLES.iter().zip(found.iter().flatten());
        Ok(named.map(|(cycle, &concentration)| (cycle.name(), cycle.seconds(), concentration)).collect())
    }

    /// Labels with their counts, the commonest first, and by how much counts may be too low.
    fn labels(&self, place: usize) -> PyResult<(Vec<(String, u64)>, u64)> {
        self.of(place, |summary| {
            let Some(labels) = summary.as_labels() else { return (vec![], 0) };
            let ranked = labels.ranked().into_iter().map(|(text, count)| (text.to_string(), count));
            (ranked.collect(), labels.short())
        })
    }
}

impl PySummaries {
    fn see_typed<T: Element + Real>(
        &self,
        first: usize,
        columns: &[usize],
        x: &Bound<'_, PyAny>,
        weights: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Option<(usize, u64, f64)>> {
        let (py, x) = (x.py(), lend_view::<T>("x", x)?);
        let weights = weights.map(|weights| lend::<f64, Ix1>("weights", weights)).transpose()?;
        let weights = weights.as_ref().map(|weights| weights.as_slice()).transpose()?;
        let x = x.as_array();
        enter(py, || {
            let mut summaries = self.lock();
            let count = summaries.len();
            let Some(summaries) = summaries.get_mut(first..first.saturating_add(columns.len())) else {
                return Err(Error::Array(format!(
                    "`columns` are more than the {count} summaries have room for"
                )));
            };
            let found = encode::summarise(summaries, columns, x, weights)?;
            let place =
                |found: &Found| if found.place == columns.len() { count } else { first + found.place };
            Ok(found.map(|found| (place(&found), found.row, found.value)))
        })
    }
}

/// What one column becomes.
#[pyclass(frozen, name = "Code", module = "amortix._core")]
pub(crate) struct PyCode(pub(crate) Arc<Code>);

#[pymethods]
impl PyCode {
    #[staticmethod]
    fn nothing(missing: bool) -> PyResult<Self> {
        Self::new(Map::Nothing, missing)
    }

    #[staticmethod]
    fn scaled(mean: f64, scale: f64, missing: bool) -> PyResult<Self> {
        Self::new(Map::Scaled { mean, scale }, missing)
    }

    #[staticmethod]
    fn scored(knots: Vec<f64>, scores: Vec<f64>, missing: bool) -> PyResult<Self> {
        Self::new(Map::Scored { knots, scores }, missing)
    }

    #[staticmethod]
    fn levels(levels: Vec<String>, other: bool, missing: bool) -> PyResult<Self> {
        Self::new(Map::Levels { levels, other }, missing)
    }

    #[staticmethod]
    fn times(mean: f64, scale: f64, cycles: Vec<String>, missing: bool) -> PyResult<Self> {
        let cycle = |name: &String| {
            Cycle::named(name)
                .ok_or_else(|| config_error(format!("{name:?} is no cycle: use year, week or day")))
        };
        let cycles: PyResult<Vec<_>> = cycles.iter().map(cycle).collect();
        Self::new(Map::Times { mean, scale, cycles: cycles? }, missing)
    }

    #[getter]
    fn width(&self) -> usize {
        self.0.width()
    }
}

impl PyCode {
    fn new(map: Map, missing: bool) -> PyResult<Self> {
        Code::new(map, missing).map(Arc::new).map(Self).map_err(exception)
    }
}

/// Encode each column of `x` `[B, D]`, of any number type and layout, with its code into `out` `[B, sum of widths]`.
#[pyfunction]
fn encode_into(codes: Vec<PyRef<'_, PyCode>>, x: &Bound<'_, PyAny>, out: &Bound<'_, PyAny>) -> PyResult<()> {
    let codes: Vec<&Code> = codes.iter().map(|code| &*code.0).collect();
    macro_rules! dispatch {
        ($($t:ty),*) => {
            $(if x.cast::<PyArray2<$t>>().is_ok() {
                return encode_typed::<$t>(&codes, x, out);
            })*
        };
    }
    dispatch!(f32, f64, f16, i64, i32, bool, u8, i8, i16, u16, u32, u64);
    lend_view::<f32>("x", x).map(|_| ())
}

fn encode_typed<T: Element + Real>(
    codes: &[&Code],
    x: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<()> {
    let (py, x) = (x.py(), lend_view::<T>("x", x)?);
    let mut out = lend_mut::<f32, Ix2>("out", out)?;
    let width: usize = codes.iter().map(|code| code.width()).sum();
    expect_shape("out", out.shape(), &[x.shape()[0], width])?;
    let (x, out) = (x.as_array(), out.as_slice_mut()?);
    enter(py, || encode::encode_into(codes, x, out))
}
