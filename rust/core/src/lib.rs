//! The data plane of amortix: pure functions of (seed, task, step, element) and of (seed, epoch, position).
//!
//! Nothing here knows Python. Every function writes into memory that its caller lends for the length of one call,
//! and every result is the same bits on every platform, for every batch size and every number of threads. Only in
//! `refine` the last bits may depend on the processor, where a vector unit fuses products with sums.
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod encode;
pub mod episode;
pub mod error;
mod hash;
pub mod math;
pub mod parallel;
pub mod pool;
pub mod projection;
pub mod refine;
pub mod rng;
pub mod store;
pub mod stream;
pub mod task;

pub use error::{Error, Result};
