//! Bindings of `amortix_core::refine`: one file per operation.

mod context_merge;
mod local_solve;
mod log_evidence;

use pyo3::prelude::*;

/// Add the functions of this folder to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(context_merge::context_merge_into, module)?)?;
    module.add_function(wrap_pyfunction!(local_solve::local_solve_into, module)?)?;
    module.add_function(wrap_pyfunction!(local_solve::local_solve_backward_into, module)?)?;
    module.add_function(wrap_pyfunction!(log_evidence::log_evidence_into, module)?)
}
