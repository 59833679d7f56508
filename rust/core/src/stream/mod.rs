//! Streams over tables: which rows come next (`order`), where they come from (`source`), how they reach the caller's
//! memory (`gather` for arrays, `table` for files).

pub mod gather;
pub mod order;
mod permutation;
pub mod source;
pub mod summarise;
pub mod table;

pub(crate) use permutation::Permutation;
