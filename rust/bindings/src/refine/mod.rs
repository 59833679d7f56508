//! Bindings of `amortix_core::refine`: one file per operation.

mod context_merge;
mod learned_update;
mod local_solve;

use pyo3::prelude::*;

/// Add the functions of this folder to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(context_merge::context_merge_into, module)?)?;
    module.add_function(wrap_pyfunction!(learned_update::learned_update_into, module)?)?;
    module.add_function(wrap_pyfunction!(local_solve::local_solve_into, module)?)
}
