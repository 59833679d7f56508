//! Where tables come from: typed columns, read group by group as arrays.
//!
//! A source knows nothing of features, targets or classes: it hands over the columns asked for, and `table` decides
//! what they mean. To add a format, write one file with a `Source` and list it in `open`.

mod blocks;
mod csv;
mod decimal;
mod fields;
mod handle;
mod ipc;
mod layout;
mod many;
mod memory;
mod parquet;
mod partitions;
mod pieces;
mod quick;
mod scan;
mod survey;

pub use memory::Memory;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::{Error, Result};

/// Rows of a batch, where a source may choose.
const BATCH_ROWS: usize = 8192;

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
    /// Dates, times, or both.
    Time,
    /// Something that is neither a number nor a label, such as nested values; described in words.
    Other(String),
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "numbers",
            Self::Integer => "whole numbers",
            Self::Boolean => "booleans",
            Self::Text => "text",
            Self::Time => "dates or times",
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

/// Columns of some rows at a time, in row order.
pub type Batches = Box<dyn Iterator<Item = Result<Vec<ArrayRef>>> + Send>;

/// A table in groups.
pub trait Source: Send + Sync {
    /// Its columns, in order.
    fn columns(&self) -> &[Column];
    /// Rows of each group.
    fn groups(&self) -> &[u64];
    /// Whether columns read apart take no longer than together; then they come in batches of `BATCH_ROWS` rows.
    fn columns_apart(&self) -> bool;
    /// Columns, given in ascending order, of one group from row `skip` on.
    ///
    /// # Errors
    /// `Source` where the file cannot be opened, `Format` where it is damaged; so do the batches.
    fn read(self: Arc<Self>, group: usize, columns: &[usize], skip: u64) -> Result<Batches>;
}

/// Open files of one kind by their extension as one table; `tick` is asked now and then whether to go on.
///
/// `folders` are the names of those that each file lies in: `key=value` is a column more.
///
/// # Errors
/// `Source` where a file is not there or has other columns than the first, `Format` where one is damaged or unknown.
pub fn open(
    paths: &[PathBuf],
    folders: &[Vec<String>],
    tick: &dyn Fn() -> Result<()>,
) -> Result<Arc<dyn Source>> {
    let partitions = partitions::Partitions::of(paths, folders)?;
    let mut sources = paths.iter().map(|path| open_one(path, tick)).collect::<Result<Vec<_>>>()?;
    match (sources.len(), sources.pop()) {
        (1, Some(source)) if partitions.columns().is_empty() => Ok(source),
        (_, Some(last)) => {
            sources.push(last);
            Ok(Arc::new(many::Many::new(paths, sources, partitions)?))
        }
        (_, None) => Err(Error::Source("no file to read: the list of paths is empty".into())),
    }
}

fn open_one(path: &Path, tick: &dyn Fn() -> Result<()>) -> Result<Arc<dyn Source>> {
    let name = path.file_name().map(|name| name.to_string_lossy().to_lowercase()).unwrap_or_default();
    let ends = |endings: &[&str]| endings.iter().any(|ending| name.ends_with(ending));
    if ends(&[".parquet", ".pq"]) {
        return Ok(Arc::new(parquet::Parquet::open(path)?));
    }
    if ends(&[".arrow", ".feather", ".ipc"]) {
        return Ok(Arc::new(ipc::Ipc::open(path)?));
    }
    if ends(&[".csv", ".csv.gz", ".csv.zst"]) {
        return Ok(Arc::new(csv::Csv::open(path, tick)?));
    }
    Err(Error::Format(format!(
        "{} is of an unknown kind: give a .parquet, .arrow, .feather, .csv, .csv.gz or .csv.zst file",
        path.display()
    )))
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

/// What a file must still be when it is read again: its size, when it was written, and which file of the disk it is.
#[derive(Clone, Copy, PartialEq)]
struct Stamp {
    size: u64,
    written: Option<std::time::SystemTime>,
    number: (u64, u64),
}

impl Stamp {
    fn of(about: &std::fs::Metadata) -> Self {
        // A file that took the place of another may have its size and its time, but not its number.
        #[cfg(unix)]
        let number = {
            use std::os::unix::fs::MetadataExt;
            (about.dev(), about.ino())
        };
        #[cfg(not(unix))]
        let number = (0, 0);
        Self { size: about.len(), written: about.modified().ok(), number }
    }

    fn check(self, path: &Path, about: &std::fs::Metadata) -> Result<()> {
        if self == Self::of(about) {
            return Ok(());
        }
        Err(damaged(path, "it has changed since it was opened"))
    }
}

/// The file and its stamp; where that is not `expected`, the file has changed.
fn file(path: &Path, expected: Option<Stamp>) -> Result<(std::fs::File, Stamp)> {
    let file = std::fs::File::open(path).map_err(|e| unreadable(path, &e))?;
    let about = file.metadata().map_err(|e| unreadable(path, &e))?;
    if let Some(expected) = expected {
        expected.check(path, &about)?;
    }
    Ok((file, Stamp::of(&about)))
}

/// Batches that end with an error where their rows are not as many as promised, or a decoder panics.
struct Counted<I> {
    batches: I,
    path: PathBuf,
    left: u64,
    ended: bool,
}

impl<I: Iterator<Item = Result<Vec<ArrayRef>>>> Counted<I> {
    fn new(batches: I, path: &Path, rows: u64) -> Self {
        Self { batches, path: path.to_owned(), left: rows, ended: false }
    }

    fn take(&mut self) -> Option<Result<Vec<ArrayRef>>> {
        let damage = |detail: &dyn fmt::Display| damaged(&self.path, detail);
        let next = crate::error::guard_quietly(|| self.batches.next().transpose(), |panic| damage(&panic))
            .transpose();
        let Some(Ok(arrays)) = &next else {
            let short = next.is_none() && self.left > 0;
            return if short { Some(Err(damage(&"a group has fewer rows than promised"))) } else { next };
        };
        let rows = arrays.first().map_or(0, |array| array.len() as u64);
        if rows > self.left {
            return Some(Err(damage(&"a group has more rows than promised")));
        }
        self.left -= rows;
        next
    }
}

impl<I: Iterator<Item = Result<Vec<ArrayRef>>>> Iterator for Counted<I> {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let next = self.take();
        self.ended = !matches!(next, Some(Ok(_)));
        next
    }
}
