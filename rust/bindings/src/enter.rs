//! The one door from Python into the core.

use amortix_core::error::guard;
use amortix_core::{Error, Result};
use pyo3::prelude::*;

use crate::error::exception;

/// Run `f` without the interpreter lock, turn its error into an exception and let Ctrl-C through afterwards.
///
/// A panic becomes an `AmortixError`: it must not unwind into the interpreter as a `BaseException`.
pub(crate) fn enter<T: Send>(py: Python<'_>, f: impl FnOnce() -> Result<T> + Send) -> PyResult<T> {
    let result = py.detach(|| guard(f, Error::Internal));
    py.check_signals()?;
    result.map_err(exception)
}
