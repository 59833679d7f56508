//! Bindings of `amortix_core::refine`: one file per operation.

mod context_merge;
mod curvature_solve;
mod curvature_step;
mod curvature_update;
mod learned_update;
mod local_solve;
mod log_evidence;
mod prefix_gradient;
mod two_term_update;

use pyo3::prelude::*;

/// Add the functions of this folder to `amortix._core`.
pub(crate) fn register(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_function(wrap_pyfunction!(context_merge::context_merge_into, module)?)?;
    module.add_function(wrap_pyfunction!(curvature_solve::curvature_solve_into, module)?)?;
    module.add_function(wrap_pyfunction!(curvature_step::curvature_step_into, module)?)?;
    module.add_function(wrap_pyfunction!(curvature_update::curvature_update_into, module)?)?;
    module.add_function(wrap_pyfunction!(learned_update::learned_update_into, module)?)?;
    module.add_function(wrap_pyfunction!(local_solve::local_solve_backward_into, module)?)?;
    module.add_function(wrap_pyfunction!(local_solve::local_solve_into, module)?)?;
    module.add_function(wrap_pyfunction!(log_evidence::log_evidence_into, module)?)?;
    module.add_function(wrap_pyfunction!(prefix_gradient::prefix_gradient_backward_into, module)?)?;
    module.add_function(wrap_pyfunction!(prefix_gradient::prefix_gradient_into, module)?)?;
    module.add_function(wrap_pyfunction!(two_term_update::two_term_update_backward_into, module)?)?;
    module.add_function(wrap_pyfunction!(two_term_update::two_term_update_into, module)?)
}
