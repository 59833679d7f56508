//! Bindings of `amortix_core::stream`: orders, tables in files, rows of arrays.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

use amortix_core::stream::gather::{self, Number};
use amortix_core::stream::order::{Order, Part, Position, Settings};
use amortix_core::stream::source::Kind;
use amortix_core::stream::table::{Reader, Selection, Table, check_feature};
use numpy::ndarray::{Ix1, Ix2};
use numpy::{Element, PyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut, lend_view};
use crate::enter::{enter, enter_ticking};
use crate::error::{array_error, config_error, exception};

/// Add the names of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyOrder>()?;
    module.add_class::<PyTable>()?;
    module.add_class::<PyReader>()?;
    module.add_function(wrap_pyfunction!(gather_into, module)?)
}

/// The order of a table's rows.
#[pyclass(frozen, name = "Order", module = "amortix._core")]
struct PyOrder(Order);

#[pymethods]
impl PyOrder {
    #[new]
    #[pyo3(signature = (groups, *, seed, shuffle, shard, holdout, part))]
    fn new(
        groups: &Bound<'_, PyAny>,
        seed: u64,
        shuffle: bool,
        shard: (u64, u64),
        holdout: f64,
        part: &str,
    ) -> PyResult<Self> {
        let groups = lend::<i64, Ix1>("groups", groups)?;
        let sizes: Result<Vec<u64>, _> = groups.as_slice()?.iter().map(|&size| u64::try_from(size)).collect();
        let sizes = sizes.map_err(|_| array_error("`groups` must not be negative".into()))?;
        let part = match part {
            "fit" => Part::Fit,
            "held" => Part::Held,
            "all" => Part::All,
            _ => return Err(config_error(format!("`part` must be fit, held or all, not {part:?}"))),
        };
        Order::new(&sizes, Settings { seed, shuffle, shard, holdout, part }).map(Self).map_err(exception)
    }

    fn fill(
        &self,
        py: Python<'_>,
        epoch: u64,
        ordinal: u64,
        offset: u64,
        rows: &Bound<'_, PyAny>,
    ) -> PyResult<Option<(usize, usize, u64, u64)>> {
        let mut rows = lend_mut::<i64, Ix1>("rows", rows)?;
        let rows = rows.as_slice_mut()?;
        let found = enter(py, || Ok(self.0.fill(epoch, Position { ordinal, offset }, rows)))?;
        Ok(found.map(|f| (f.count, f.group, f.next.ordinal, f.next.offset)))
    }

    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        enter_ticking(py, |tick| self.0.count(tick))
    }
}

/// A table in a Parquet or CSV file.
#[pyclass(frozen, name = "Table", module = "amortix._core")]
pub(crate) struct PyTable(pub(crate) Table);

#[pymethods]
impl PyTable {
    #[staticmethod]
    fn open(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        enter_ticking(py, |tick| Table::open(&path, tick)).map(Self)
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

    #[pyo3(signature = (features, target, classes))]
    fn reader(
        &self,
        features: Vec<usize>,
        target: Option<usize>,
        classes: Option<Vec<String>>,
    ) -> PyResult<PyReader> {
        let shape = (features.len(), target.is_some());
        let reader =
            Reader::new(self.0.clone(), Selection { features, target, classes }).map_err(exception)?;
        Ok(PyReader { shape, reader: Mutex::new(reader) })
    }
}

/// Reads rows of a table. The mutex guards the one group that is held in memory.
#[pyclass(frozen, name = "Reader", module = "amortix._core")]
struct PyReader {
    shape: (usize, bool),
    reader: Mutex<Reader>,
}

#[pymethods]
impl PyReader {
    #[pyo3(signature = (group, rows, x, y))]
    fn gather_into(
        &self,
        py: Python<'_>,
        group: usize,
        rows: &Bound<'_, PyAny>,
        x: &Bound<'_, PyAny>,
        y: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<()> {
        let rows = lend::<i64, Ix1>("rows", rows)?;
        let mut x = lend_mut::<f32, Ix2>("x", x)?;
        let mut y = y.map(|y| lend_mut::<f32, Ix1>("y", y)).transpose()?;
        let (width, target) = self.shape;
        expect_shape("x", x.shape(), &[rows.len(), width])?;
        match &y {
            Some(y) if target => expect_shape("y", y.shape(), &[rows.len()])?,
            None if !target => {}
            _ => return Err(array_error("`y` must be given exactly where the reader has a target".into())),
        }
        let rows = rows.as_slice()?;
        let x = x.as_slice_mut()?;
        let y = y.as_mut().map(|y| y.as_slice_mut()).transpose()?.unwrap_or_default();
        enter(py, || {
            self.reader.lock().unwrap_or_else(PoisonError::into_inner).gather_into(group, rows, x, y)
        })
    }
}

/// Copy columns of rows of a two-dimensional array of any number type and layout, as float32, to `out`.
///
/// None, or (row, place among the columns) of the first value that is no finite float32.
#[pyfunction]
fn gather_into(
    x: &Bound<'_, PyAny>,
    columns: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<Option<(i64, usize)>> {
    macro_rules! dispatch {
        ($($t:ty),*) => {
            $(if x.cast::<PyArray2<$t>>().is_ok() {
                return gather_typed::<$t>(x, columns, rows, out);
            })*
        };
    }
    dispatch!(f32, f64, i64, i32, bool, u8, i8, i16, u16, u32, u64);
    // None of them: this names what is wrong with the array.
    lend_view::<f32>("x", x).map(|_| None)
}

fn gather_typed<T: Element + Number>(
    x: &Bound<'_, PyAny>,
    columns: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    out: &Bound<'_, PyAny>,
) -> PyResult<Option<(i64, usize)>> {
    let (py, x) = (x.py(), lend_view::<T>("x", x)?);
    let (columns, rows) = (lend::<i64, Ix1>("columns", columns)?, lend::<i64, Ix1>("rows", rows)?);
    let mut out = lend_mut::<f32, Ix2>("out", out)?;
    expect_shape("out", out.shape(), &[rows.len(), columns.len()])?;
    let (x, columns, rows, out) = (x.as_array(), columns.as_slice()?, rows.as_slice()?, out.as_slice_mut()?);
    let unfit = enter(py, || gather::gather_into(x, columns, rows, out))?;
    Ok(unfit.map(|unfit| (unfit.row, unfit.column)))
}
