//! The refinement step on the CPU: one file per operation, each the body of a function of `amortix.ops`.
//!
//! The definition of each is the PyTorch function in the file of its name in `python/amortix/ops`; axis letters are those
//! of `amortix.batch`. Every function takes row-major slices that its caller lends and writes each output element once.

mod context_merge;
mod curvature_solve;
mod curvature_step;
mod curvature_update;
mod elementwise;
mod factors;
mod group;
mod kernel;
mod learned_update;
mod local_solve;
mod local_solve_backward;
mod log_evidence;
mod log_evidence_tile;
mod predictor;
mod prefix_gradient;
mod prefix_gradient_backward;
mod single_output;
mod slots;
mod strip;
mod two_term_update;
mod two_term_update_backward;

pub use context_merge::{Kept, MergeInput, MergeSizes, context_merge};
pub use curvature_solve::{DampedInput, DampedSizes, MAX_SOLVED, curvature_solve};
pub use curvature_step::{StepInput, curvature_step};
pub use curvature_update::{CurvatureInput, CurvatureOutput, CurvatureSizes, curvature_update};
pub use learned_update::{UpdateLayer, UpdateRule, UpdateTensor, learned_update};
pub use local_solve::{SolveInput, SolveOutput, SolveSizes, local_solve};
pub use local_solve_backward::{SolveGradient, SolveSlopes, local_solve_backward};
pub use log_evidence::{EvidenceInput, EvidenceSizes, EvidenceSlopes, log_evidence};
pub use prefix_gradient::{GradientInput, GradientSizes, prefix_gradient};
pub use prefix_gradient_backward::prefix_gradient_backward;
pub use two_term_update::{UpdateInput, UpdateOutput, UpdateSizes, two_term_update};
pub use two_term_update_backward::{UpdateGradients, UpdateUpstream, two_term_update_backward};

use crate::{Error, Result};

/// The most rows that a query can retain (K).
pub const MAX_KEPT: usize = 256;

/// Refuse a slice whose length is not the product of its axes.
fn expect(operation: &str, name: &str, length: usize, axes: &[usize]) -> Result<()> {
    let wanted = axes.iter().try_fold(1usize, |product, axis| product.checked_mul(*axis));
    if wanted == Some(length) {
        return Ok(());
    }
    Err(Error::Array(format!("{operation}: {name} has {length} elements; expected {axes:?}")))
}

/// Refuse sizes for which an operation is not defined.
fn expect_sizes(operation: &str, kept: usize, columns: usize, outputs: usize) -> Result<()> {
    if (1..=MAX_KEPT).contains(&kept) && columns > 0 && outputs > 0 {
        return Ok(());
    }
    Err(Error::Array(format!(
        "{operation}: K={kept}, D={columns}, O={outputs}; give 1 ≤ K ≤ {MAX_KEPT}, D ≥ 1 and O ≥ 1"
    )))
}

/// Tasks that are done together: as many as the widest vector has lanes.
const TASKS: usize = 16;

/// The first `length` numbers of a buffer that begin on a cache line, so that no vector lies across two.
fn aligned(buffer: &mut Vec<f32>, length: usize) -> &mut [f32] {
    const LINE: usize = 64 / size_of::<f32>();
    if buffer.len() < length + LINE {
        buffer.resize(length + LINE, 0.0);
    }
    let start = buffer.as_ptr().align_offset(64).min(LINE);
    &mut buffer[start..][..length]
}
