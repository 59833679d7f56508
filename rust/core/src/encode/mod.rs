//! From raw columns to numbers a learner takes: summaries of columns, gathered in one pass, and codes made of them.
//!
//! A `Summary` sees a column's values block by block and merges with the summary of other rows of the same column. A
//! `Code` says what one column becomes, some float32 columns, and is a pure function of each value. Which code a
//! summary calls for is the caller's to decide.

mod calendar;
mod code;
mod labels;
mod matrix;
mod moments;
mod normal;
mod numbers;
mod parts;
mod sketch;
mod summary;

pub use calendar::{CYCLES, Cycle};
pub use code::{Code, Map};
pub use labels::Labels;
pub(crate) use matrix::interleave;
pub use matrix::{Real, encode_into, summarise};
pub use moments::Moments;
pub use normal::normal_map;
pub use numbers::{Found, LARGEST, Numbers, Unfit, unfit_weight};
pub use parts::Parts;
pub use sketch::Sketch;
pub use summary::Summary;
