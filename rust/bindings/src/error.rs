//! From the core's errors to the exceptions of `amortix.errors`.

use amortix_core::Error;
use pyo3::PyErr;
use pyo3::exceptions::PyKeyboardInterrupt;

pyo3::import_exception!(amortix.errors, AmortixError);
pyo3::import_exception!(amortix.errors, ArrayError);
pyo3::import_exception!(amortix.errors, ConfigError);
pyo3::import_exception!(amortix.errors, FormatError);
pyo3::import_exception!(amortix.errors, SourceError);

/// The exception of an error. The match names every variant, so that a new one cannot be forgotten.
pub(crate) fn exception(error: Error) -> PyErr {
    let message = error.to_string();
    match error {
        Error::Array(_) => ArrayError::new_err(message),
        Error::Config(_) => ConfigError::new_err(message),
        Error::Format(_) => FormatError::new_err(message),
        Error::Interrupted => PyKeyboardInterrupt::new_err(()),
        Error::Internal(_) => AmortixError::new_err(message),
        Error::Source(_) => SourceError::new_err(message),
    }
}

/// An `ArrayError` with this message.
pub(crate) fn array_error(message: String) -> PyErr {
    ArrayError::new_err(message)
}

/// A `ConfigError` with this message.
pub(crate) fn config_error(message: String) -> PyErr {
    ConfigError::new_err(message)
}

/// A `SourceError` with this message.
pub(crate) fn source_error(message: String) -> PyErr {
    SourceError::new_err(message)
}
