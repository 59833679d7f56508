//! The module `amortix._core`: checked borrows of NumPy memory around `amortix_core`, and nothing else.

mod array;
mod encode;
mod enter;
mod episode;
mod error;
mod pool;
mod refine;
mod stream;
mod tasks;

use pyo3::prelude::*;

/// Every name that the extension exports. Each file of a subject registers its own.
#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", env!("CARGO_PKG_VERSION"))?;
    tasks::register(module)?;
    stream::register(module)?;
    pool::register(module)?;
    episode::register(module)?;
    encode::register(module)?;
    refine::register(module)
}
