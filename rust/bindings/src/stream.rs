//! Bindings of `amortix_core::stream`: orders, rows of arrays.

use std::sync::Arc;

use amortix_core::stream::gather::{self, Number};
use amortix_core::stream::order::{Order, Part, Position, Settings};
use half::f16;
use numpy::ndarray::{Ix1, Ix2};
use numpy::{Element, PyArray2, PyUntypedArrayMethods};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut, lend_view};
use crate::enter::{enter, enter_ticking};
use crate::error::{array_error, config_error, exception};

/// Add the names of this file to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<PyOrder>()?;
    module.add_function(wrap_pyfunction!(gather_into, module)?)
}

/// The order of a table's rows.
#[pyclass(frozen, name = "Order", module = "amortix._core")]
pub(crate) struct PyOrder(pub(crate) Arc<Order>);

#[pymethods]
impl PyOrder {
    #[new]
    #[pyo3(signature = (groups, *, seed, shuffle, window, shard, holdout, part))]
    fn new(
        groups: &Bound<'_, PyAny>,
        seed: u64,
        shuffle: bool,
        window: Option<u64>,
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
        Order::new(&sizes, Settings { seed, shuffle, window, shard, holdout, part })
            .map(|order| Self(Arc::new(order)))
            .map_err(exception)
    }

    fn fill_table(
        &self,
        py: Python<'_>,
        epoch: u64,
        ordinal: u64,
        offset: u64,
        rows: &Bound<'_, PyAny>,
    ) -> PyResult<(usize, u64, u64)> {
        let mut rows = lend_mut::<i64, Ix1>("rows", rows)?;
        let (rows, at) = (rows.as_slice_mut()?, Position { ordinal, offset });
        let (count, next) = enter_ticking(py, |tick| self.0.fill_table(epoch, at, rows, tick))?;
        Ok((count, next.ordinal, next.offset))
    }

    fn count(&self, py: Python<'_>) -> PyResult<u64> {
        enter_ticking(py, |tick| self.0.count(tick))
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
    dispatch!(f32, f64, f16, i64, i32, bool, u8, i8, i16, u16, u32, u64);
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
