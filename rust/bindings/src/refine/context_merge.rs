//! Door of `amortix_core::refine::context_merge`.

use amortix_core::refine::{Kept, MergeInput, MergeSizes};
use numpy::PyUntypedArrayMethods;
use numpy::ndarray::{Ix2, Ix3, Ix4};
use pyo3::prelude::*;

use crate::array::{expect_shape, lend, lend_mut};
use crate::enter::enter;

#[pyfunction]
#[allow(clippy::too_many_arguments, reason = "one argument for each array of the operation")]
pub(super) fn context_merge_into(
    py: Python<'_>,
    query: &Bound<'_, PyAny>,
    rows: &Bound<'_, PyAny>,
    values: &Bound<'_, PyAny>,
    relevance: &Bound<'_, PyAny>,
    distance: &Bound<'_, PyAny>,
    kept_x: &Bound<'_, PyAny>,
    kept_y: &Bound<'_, PyAny>,
    weight: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let (query, rows) = (lend::<f32, Ix3>("query", query)?, lend::<f32, Ix3>("rows", rows)?);
    let (values, relevance) =
        (lend::<f32, Ix3>("values", values)?, lend::<f32, Ix2>("relevance", relevance)?);
    let mut distance = lend_mut::<f32, Ix3>("distance", distance)?;
    let (mut kept_x, mut kept_y) =
        (lend_mut::<f32, Ix4>("kept_x", kept_x)?, lend_mut::<f32, Ix4>("kept_y", kept_y)?);
    let weight = weight.map(|weight| lend::<f32, Ix2>("weight", weight)).transpose()?;

    let [tasks, queries, kept, columns] = *kept_x.shape() else { unreachable!("kept_x has four axes") };
    let (batch, outputs) = (values.shape()[1], values.shape()[2]);
    let sizes = MergeSizes { tasks, queries, batch, columns, outputs, kept };
    expect_shape("query", query.shape(), &[tasks, queries, columns])?;
    expect_shape("rows", rows.shape(), &[tasks, batch, columns])?;
    expect_shape("values", values.shape(), &[tasks, batch, outputs])?;
    expect_shape("relevance", relevance.shape(), &[tasks, columns])?;
    expect_shape("distance", distance.shape(), &[tasks, queries, kept])?;
    expect_shape("kept_y", kept_y.shape(), &[tasks, queries, kept, outputs])?;
    if let Some(weight) = &weight {
        expect_shape("weight", weight.shape(), &[tasks, batch])?;
    }

    let input = MergeInput {
        query: query.as_slice()?,
        rows: rows.as_slice()?,
        values: values.as_slice()?,
        relevance: relevance.as_slice()?,
        weight: weight.as_ref().map(|weight| weight.as_slice()).transpose()?,
    };
    let state =
        Kept { distance: distance.as_slice_mut()?, x: kept_x.as_slice_mut()?, y: kept_y.as_slice_mut()? };
    enter(py, || amortix_core::refine::context_merge(sizes, input, state))
}
