//! Files that hold tables: typed columns, read group by group, cell by cell.
//!
//! A source knows nothing of features, targets or classes: it shows the cells of the columns asked for, and `table`
//! decides what they mean. To add a format, write one file with a `Source` and list it in `open`.

mod csv;
mod parquet;

use std::fmt;
use std::path::Path;

use crate::{Error, Result};

/// What a column holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Numbers with a fraction.
    Number,
    /// Whole numbers.
    Integer,
    /// True or false.
    Boolean,
    /// Text.
    Text,
    /// Something that is neither a number nor a label: dates, nested values; described in words.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "numbers",
            Self::Integer => "whole numbers",
            Self::Boolean => "booleans",
            Self::Text => "text",
            Self::Other(words) => words,
        })
    }
}

/// A column of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: Kind,
}

/// One value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Cell<'a> {
    /// No value.
    Missing,
    /// A number.
    Number(f64),
    /// A whole number.
    Integer(i128),
    /// True or false.
    Boolean(bool),
    /// Text.
    Text(&'a str),
}

/// Receives cells as (row within the group, place among the columns asked for, value).
pub type Visit<'a> = dyn FnMut(usize, usize, Cell<'_>) -> Result<()> + 'a;

/// A table in a file, in groups that fit memory.
pub trait Source: Send + Sync {
    /// Its columns, in order.
    fn columns(&self) -> &[Column];
    /// Rows of each group.
    fn groups(&self) -> &[u64];
    /// Show the cells of some columns, given in ascending order, of one group.
    ///
    /// # Errors
    /// `Source` where the file cannot be opened, `Format` where it is damaged, and those of `visit`.
    fn read(&self, group: usize, columns: &[usize], visit: &mut Visit<'_>) -> Result<()>;
}

/// Open a file by its extension, `.parquet` or `.csv`; `tick` is asked now and then whether to go on.
///
/// # Errors
/// `Source` where the file is not there, `Format` where it is damaged or of an unknown kind.
pub fn open(path: &Path, tick: &dyn Fn() -> Result<()>) -> Result<Box<dyn Source>> {
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "parquet" | "pq" => Ok(Box::new(parquet::Parquet::open(path)?)),
        "csv" => Ok(Box::new(csv::Csv::open(path, tick)?)),
        _ => Err(Error::Format(format!(
            "{} is of an unknown kind: give a .parquet or .csv file",
            path.display()
        ))),
    }
}

/// A file that cannot be opened or read.
fn unreadable(path: &Path, error: &std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Error::Source(format!("{} does not exist", path.display()));
    }
    Error::Source(format!("{} cannot be read: {error}", path.display()))
}

fn damaged(path: &Path, detail: impl fmt::Display) -> Error {
    Error::Format(format!("{} is damaged or truncated: {detail}", path.display()))
}
