//! The one door from Python into the core.

use std::sync::{Mutex, PoisonError};

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

/// Like `enter`, for long operations: `f` gets a function to call now and then, which fails after Ctrl-C.
pub(crate) fn enter_ticking<T: Send>(
    py: Python<'_>,
    f: impl FnOnce(&dyn Fn() -> Result<()>) -> Result<T> + Send,
) -> PyResult<T> {
    // What the signal handler raised waits here while the core unwinds.
    let raised = Mutex::new(None);
    let tick = || {
        Python::attach(|py| py.check_signals()).map_err(|exception| {
            *raised.lock().unwrap_or_else(PoisonError::into_inner) = Some(exception);
            Error::Interrupted
        })
    };
    let result = enter(py, || f(&tick));
    match raised.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(exception) => Err(exception),
        None => result,
    }
}
