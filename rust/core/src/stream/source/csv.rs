//! Comma-separated values with a header.
//!
//! Opening reads the file once: every row must have as many fields as the header, and the places where groups start
//! are kept. Kinds are those of the first group; a later cell of another kind is an error when it is read.

use std::fs::File;
use std::path::{Path, PathBuf};

use csv::{ByteRecord, ErrorKind, Position, Reader, ReaderBuilder};

use crate::{Error, Result};

use super::{Cell, Column, Kind, Source, Visit, damaged, unreadable};

/// Rows of a group; also bounded in bytes, for wide tables.
const GROUP_ROWS: u64 = 1 << 16;
const GROUP_BYTES: u64 = 1 << 24;

/// What stands for a missing value, besides the empty field.
const MISSING: [&str; 9] = ["NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"];

pub(super) struct Csv {
    path: PathBuf,
    columns: Vec<Column>,
    groups: Vec<u64>,
    starts: Vec<Position>,
}

impl Csv {
    pub(super) fn open(path: &Path, tick: &dyn Fn() -> Result<()>) -> Result<Self> {
        let mut reader = reader(path)?;
        let header = reader.byte_headers().map_err(|e| failure(path, &e))?.clone();
        let names = header.iter().map(|field| text(path, 0, field)).collect::<Result<Vec<_>>>()?;
        if names.is_empty() {
            return Err(Error::Format(format!("{} is empty: it must begin with a header", path.display())));
        }
        let mut kinds = vec![Guess::default(); names.len()];
        let (mut groups, mut starts): (Vec<u64>, Vec<Position>) = (vec![], vec![]);
        let mut record = ByteRecord::new();
        loop {
            let place = reader.position().clone();
            if !reader.read_byte_record(&mut record).map_err(|e| failure(path, &e))? {
                break;
            }
            let full = |rows: &u64, start: &Position| {
                *rows >= GROUP_ROWS || place.byte() - start.byte() >= GROUP_BYTES
            };
            if groups.last().zip(starts.last()).is_none_or(|(rows, start)| full(rows, start)) {
                tick()?;
                groups.push(0);
                starts.push(place);
            }
            if let Some(rows) = groups.last_mut() {
                *rows += 1;
            }
            if groups.len() == 1 {
                kinds.iter_mut().zip(&record).for_each(|(kind, field)| kind.see(field));
            }
        }
        let columns =
            names.into_iter().zip(kinds).map(|(name, guess)| Column { name, kind: guess.kind() }).collect();
        Ok(Self { path: path.to_owned(), columns, groups, starts })
    }
}

impl Source for Csv {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn read(&self, group: usize, columns: &[usize], visit: &mut Visit<'_>) -> Result<()> {
        let mut reader = reader(&self.path)?;
        reader.byte_headers().map_err(|e| failure(&self.path, &e))?;
        reader.seek(self.starts[group].clone()).map_err(|e| failure(&self.path, &e))?;
        let first: u64 = self.groups[..group].iter().sum();
        let mut record = ByteRecord::new();
        for row in 0..self.groups[group] as usize {
            if !reader.read_byte_record(&mut record).map_err(|e| failure(&self.path, &e))? {
                return Err(damaged(&self.path, "it has fewer rows than when it was opened"));
            }
            for (place, &column) in columns.iter().enumerate() {
                let field = record.get(column).unwrap_or_default();
                let field =
                    std::str::from_utf8(field).map_err(|_| not_text(&self.path, first + row as u64))?;
                visit(row, place, cell(field, &self.columns[column].kind))?;
            }
        }
        Ok(())
    }
}

fn reader(path: &Path) -> Result<Reader<File>> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    Ok(ReaderBuilder::new().from_reader(file))
}

/// The cell of a field in a column of this kind; text where the field is of another kind.
fn cell<'a>(field: &'a str, kind: &Kind) -> Cell<'a> {
    let trimmed = field.trim();
    if missing(trimmed) {
        return Cell::Missing;
    }
    let parsed = match kind {
        Kind::Integer | Kind::Number => {
            trimmed.parse().map(Cell::Integer).or_else(|_| trimmed.parse().map(Cell::Number)).ok()
        }
        Kind::Boolean => boolean(trimmed).map(Cell::Boolean),
        Kind::Text | Kind::Other(_) => None,
    };
    parsed.unwrap_or(Cell::Text(trimmed))
}

fn missing(field: &str) -> bool {
    field.is_empty() || MISSING.contains(&field)
}

fn boolean(field: &str) -> Option<bool> {
    match field {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The kinds that all fields so far allow.
#[derive(Clone)]
struct Guess {
    seen: bool,
    integer: bool,
    number: bool,
    boolean: bool,
}

impl Default for Guess {
    fn default() -> Self {
        Self { seen: false, integer: true, number: true, boolean: true }
    }
}

impl Guess {
    fn see(&mut self, field: &[u8]) {
        let Ok(field) = std::str::from_utf8(field).map(str::trim) else {
            return *self = Self { seen: true, integer: false, number: false, boolean: false };
        };
        if missing(field) {
            return;
        }
        self.seen = true;
        self.integer = self.integer && field.parse::<i128>().is_ok();
        self.number = self.number && (self.integer || field.parse::<f64>().is_ok());
        self.boolean = self.boolean && boolean(field).is_some();
    }

    fn kind(&self) -> Kind {
        match self {
            // Without any value there is nothing to contradict numbers: reading reports the column as missing.
            Self { seen: false, .. } => Kind::Number,
            Self { integer: true, .. } => Kind::Integer,
            Self { number: true, .. } => Kind::Number,
            Self { boolean: true, .. } => Kind::Boolean,
            _ => Kind::Text,
        }
    }
}

fn text(path: &Path, row: u64, field: &[u8]) -> Result<String> {
    Ok(std::str::from_utf8(field).map_err(|_| not_text(path, row))?.trim().to_string())
}

fn not_text(path: &Path, row: u64) -> Error {
    Error::Format(format!("{} is not UTF-8 text near row {row}: convert it", path.display()))
}

fn failure(path: &Path, error: &csv::Error) -> Error {
    match error.kind() {
        ErrorKind::Io(e) => unreadable(path, e),
        ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, Position::line);
            Error::Format(format!(
                "{}: line {line} has {len} fields, but the header has {expected_len}",
                path.display()
            ))
        }
        _ => damaged(path, error),
    }
}
