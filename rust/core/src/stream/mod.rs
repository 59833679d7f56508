//! Streams over tables: which rows come next (`order`), where they come from (`source`), how they reach the caller's
//! memory (`gather` for arrays; `table`, `decode` and `engine` for what has to be decoded).

pub mod block;
mod decode;
pub mod engine;
pub mod gather;
pub mod order;
mod permutation;
pub mod reading;
pub mod source;
pub mod summarise;
pub mod table;
pub mod values;

pub(crate) use permutation::Permutation;
