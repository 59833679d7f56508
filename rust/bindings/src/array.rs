//! Checked borrows: every array that crosses the boundary does so through `lend` or `lend_mut`.

use numpy::ndarray::{Dimension, Ix2};
use numpy::{
    BorrowError, Element, PyArray, PyArrayDescrMethods, PyArrayMethods, PyReadonlyArray, PyReadwriteArray,
    PyUntypedArray, PyUntypedArrayMethods, dtype,
};
use pyo3::prelude::*;

use crate::error::array_error;

/// Borrow an array for reading: of exactly this dtype and number of axes, C-contiguous.
pub(crate) fn lend<'py, T: Element, D: Dimension>(
    name: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, T, D>> {
    let typed = checked::<T, D>(name, array)?;
    typed.try_readonly().map_err(|e| refused(name, &e))
}

/// Borrow an array for writing: writable, and overlapping no other argument of the call.
pub(crate) fn lend_mut<'py, T: Element, D: Dimension>(
    name: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadwriteArray<'py, T, D>> {
    let typed = checked::<T, D>(name, array)?;
    typed.try_readwrite().map_err(|e| refused(name, &e))
}

/// Borrow a two-dimensional array for reading, whatever its memory order.
pub(crate) fn lend_view<'py, T: Element>(
    name: &str,
    array: &Bound<'py, PyAny>,
) -> PyResult<PyReadonlyArray<'py, T, Ix2>> {
    let typed = typed::<T, Ix2>(name, array)?;
    if !typed.is_aligned() {
        return Err(array_error(format!("`{name}` is not aligned in memory: pass a copy of it")));
    }
    typed.try_readonly().map_err(|e| refused(name, &e))
}

/// Compare a shape with what the other arguments require.
pub(crate) fn expect_shape(name: &str, got: &[usize], expected: &[usize]) -> PyResult<()> {
    if got == expected {
        return Ok(());
    }
    Err(array_error(format!("`{name}` must have shape {expected:?}, but has {got:?}")))
}

fn checked<'a, 'py, T: Element, D: Dimension>(
    name: &str,
    array: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray<T, D>>> {
    let typed = typed::<T, D>(name, array)?;
    if typed.is_c_contiguous() && typed.is_aligned() {
        return Ok(typed);
    }
    Err(array_error(format!("`{name}` must be C-contiguous: pass numpy.ascontiguousarray({name})")))
}

fn typed<'a, 'py, T: Element, D: Dimension>(
    name: &str,
    array: &'a Bound<'py, PyAny>,
) -> PyResult<&'a Bound<'py, PyArray<T, D>>> {
    let untyped = array.cast::<PyUntypedArray>().map_err(|_| {
        let kind = array.get_type().name().map_or_else(|_| "something else".to_string(), |n| n.to_string());
        array_error(format!("`{name}` must be a NumPy array, not {kind}"))
    })?;
    let (expected, got) = (dtype::<T>(array.py()), untyped.dtype());
    if !got.is_equiv_to(&expected) {
        return Err(array_error(format!(
            "`{name}` must have dtype {expected}, but has {got}: convert it with .astype"
        )));
    }
    if let Some(axes) = D::NDIM
        && untyped.ndim() != axes
    {
        let shape = untyped.shape();
        return Err(array_error(format!("`{name}` must have {axes} axes, but has shape {shape:?}")));
    }
    array
        .cast::<PyArray<T, D>>()
        .map_err(|_| array_error(format!("`{name}` must have dtype {expected}, but has {got}")))
}

fn refused(name: &str, error: &BorrowError) -> PyErr {
    array_error(match error {
        BorrowError::NotWriteable => format!("`{name}` is read-only: pass an array that can be written"),
        _ => format!("`{name}` shares memory with another array of this call: pass separate arrays"),
    })
}
