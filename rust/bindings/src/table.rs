//! Bindings of `amortix_core::stream`: tables that have to be decoded, and the engine that reads them ahead.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use amortix_core::Error;
use amortix_core::stream::block::Out;
use amortix_core::stream::engine::{Engine, Place, Plan};
use amortix_core::stream::order::Position;
use amortix_core::stream::source::{Kind, Memory};
use amortix_core::stream::table::{Coding, Selection, Table, check_feature};
use arrow_array::RecordBatch;
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix1, Ix2};
use pyo3::prelude::*;
use pyo3_arrow::input::AnyRecordBatch;

use crate::array::{expect_shape, lend_mut};
use crate::encode::PyCode;
use crate::enter::{enter, enter_ticking};
use crate::error::{array_error, exception, source_error};
use crate::stream::PyOrder;

/// Add the names of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyTable>()?;
    module.add_class::<PyEngine>()
}

/// A table in files or in Arrow memory.
#[pyclass(frozen, name = "Table", module = "amortix._core")]
pub(crate) struct PyTable(pub(crate) Table);

#[pymethods]
impl PyTable {
    #[staticmethod]
    fn open(py: Python<'_>, paths: Vec<PathBuf>, folders: Vec<Vec<String>>) -> PyResult<Self> {
        enter_ticking(py, |tick| Table::open_in(&paths, &folders, tick)).map(Self)
    }

    /// Read an object with the Arrow C stream or array interface to its end; its memory is kept, not copied.
    #[staticmethod]
    fn from_arrow(py: Python<'_>, data: &Bound<'_, PyAny>) -> PyResult<Self> {
        let words =
            |error: &dyn std::fmt::Display| format!("the Arrow data cannot be read as a table: {error}");
        let refused = |error: &dyn std::fmt::Display| source_error(words(error));
        let reader = data.extract::<AnyRecordBatch>().map_err(|e| refused(&e))?;
        let reader = reader.into_reader().map_err(|e| refused(&e))?;
        let schema = reader.schema();
        // Whoever produces the batches may need the interpreter: it is not held while they come.
        let batches = enter(py, || {
            reader.collect::<Result<Vec<RecordBatch>, _>>().map_err(|e| Error::Source(words(&e)))
        })?;
        Ok(Self(Table::of(Arc::new(Memory::new(&schema, batches)))))
    }

    #[getter]
    fn columns(&self) -> Vec<String> {
        self.0.columns().iter().map(|column| column.name.clone()).collect()
    }

    #[getter]
    fn kinds(&self) -> Vec<&'static str> {
        let kind = |kind: &Kind| match kind {
            Kind::Number => "numeric",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
            Kind::Text => "label",
            Kind::Time => "time",
            Kind::Other(_) => "other",
        };
        self.0.columns().iter().map(|column| kind(&column.kind)).collect()
    }

    #[getter]
    fn groups(&self) -> PyResult<Vec<i64>> {
        let sizes = self.0.groups().iter().map(|&size| i64::try_from(size));
        sizes
            .collect::<Result<_, _>>()
            .map_err(|_| array_error("a group has more rows than fit 63 bits".into()))
    }

    fn check_feature(&self, column: usize) -> PyResult<()> {
        let columns = self.0.columns();
        let column =
            columns.get(column).ok_or_else(|| array_error(format!("there is no column {column}")))?;
        check_feature(column).map_err(exception)
    }

    fn distinct_labels(&self, py: Python<'_>, column: usize, limit: usize) -> PyResult<Vec<String>> {
        if column >= self.0.columns().len() {
            return Err(array_error(format!("there is no column {column}")));
        }
        enter_ticking(py, |tick| self.0.distinct_labels(column, limit, tick))
    }

    /// Begin to read ahead: features with their codes, or None for numbers as they are.
    #[pyo3(signature = (order, place, *, features, codes, target, classes, weight, epochs, memory))]
    #[allow(clippy::too_many_arguments, reason = "one keyword for each part of a selection")]
    fn engine(
        &self,
        py: Python<'_>,
        order: &PyOrder,
        place: (u64, u64, u64),
        features: Vec<usize>,
        codes: Option<Vec<Py<PyCode>>>,
        target: Option<usize>,
        classes: Option<Vec<String>>,
        weight: Option<usize>,
        epochs: u64,
        memory: Option<u64>,
    ) -> PyResult<PyEngine> {
        let codings: Vec<Coding> = match codes {
            None => features.iter().map(|_| Coding::Raw).collect(),
            Some(codes) => codes.iter().map(|code| Coding::Fitted(Arc::clone(&code.get().0))).collect(),
        };
        if codings.len() != features.len() {
            return Err(array_error(format!(
                "`codes` must be {}, one for each feature, not {}",
                features.len(),
                codings.len()
            )));
        }
        let index = |(place, label): (usize, String)| (label, place as f32);
        let classes = classes.map(|labels| labels.into_iter().enumerate().map(index).collect());
        let features = features.into_iter().zip(codings).collect();
        let selection = Arc::new(Selection { features, target, classes, weight });
        let plan = Plan { shape: selection.shape(), order: Arc::clone(&order.0), epochs, memory };
        let table = self.0.clone();
        let load = Box::new(move |group, skip| table.blocks(&selection, group, skip));
        let (epoch, ordinal, offset) = place;
        let place = Place { epoch, position: Position { ordinal, offset } };
        let engine = enter(py, || Engine::start(load, plan, place))?;
        Ok(PyEngine(Mutex::new(engine)))
    }
}

/// Reads ahead in a thread. The mutex is held for one mini-batch.
#[pyclass(frozen, name = "Engine", module = "amortix._core")]
struct PyEngine(Mutex<Engine>);

#[pymethods]
impl PyEngine {
    #[getter]
    fn shape(&self, py: Python<'_>) -> PyResult<(usize, bool, bool)> {
        let shape = enter(py, || Ok(self.0.lock().unwrap_or_else(PoisonError::into_inner).shape()))?;
        Ok((shape.width, shape.target, shape.weight))
    }

    /// Fill arrays with the next rows: how many, and the place after them.
    #[pyo3(signature = (x, y, weight))]
    fn next_into(
        &self,
        py: Python<'_>,
        x: &Bound<'_, PyAny>,
        y: Option<&Bound<'_, PyAny>>,
        weight: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<(usize, u64, u64, u64)> {
        let (width, target, weighed) = self.shape(py)?;
        let mut x = lend_mut::<f32, Ix2>("x", x)?;
        let size = x.shape()[0];
        expect_shape("x", x.shape(), &[size, width])?;
        let mut y = y.map(|y| lend_mut::<f32, Ix1>("y", y)).transpose()?;
        let mut weight = weight.map(|weight| lend_mut::<f32, Ix1>("weight", weight)).transpose()?;
        for (name, array, asked) in [("y", &y, target), ("weight", &weight, weighed)] {
            match array {
                Some(array) if asked => expect_shape(name, array.shape(), &[size])?,
                None if !asked => {}
                _ => {
                    return Err(array_error(format!(
                        "`{name}` must be given exactly where the table has one"
                    )));
                }
            }
        }
        let x = x.as_slice_mut()?;
        let y = y.as_mut().map(|y| y.as_slice_mut()).transpose()?.unwrap_or_default();
        let weight = weight.as_mut().map(|weight| weight.as_slice_mut()).transpose()?.unwrap_or_default();
        let (count, place) = enter_ticking(py, |tick| {
            let mut engine = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            engine.next_into(Out { x, y, weight }, size, tick)
        })?;
        Ok((count, place.epoch, place.position.ordinal, place.position.offset))
    }
}
