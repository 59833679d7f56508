//! The refinement step on the CPU: one file per operation, each the body of a function of `amortix.ops`.
//!
//! The definition of each is the PyTorch function in the file of its name in `python/amortix/ops`; axis letters are those
//! of `amortix.batch`. Every function takes row-major slices that its caller lends and writes each output element once.

mod context_merge;
mod group;
mod local_solve;
mod local_solve_backward;
mod log_evidence;
mod log_evidence_tile;
mod slots;
mod strip;

pub use context_merge::{Kept, MergeInput, MergeSizes, context_merge};
pub use local_solve::{SolveInput, SolveOutput, SolveSizes, local_solve};
pub use local_solve_backward::{SolveGradient, SolveSlopes, local_solve_backward};
pub use log_evidence::{EvidenceInput, EvidenceSizes, EvidenceSlopes, log_evidence};

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
