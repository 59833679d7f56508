//! Episodes of few-shot learning: some classes, and of each some rows to learn from and others to be asked about.
//!
//! `index` sorts rows by class, `draw` picks classes and rows, `gather` copies them.

mod draw;
mod gather;
mod index;

pub use draw::{Rows, Shape, draw_into};
pub use gather::gather_into;
pub use index::Index;
