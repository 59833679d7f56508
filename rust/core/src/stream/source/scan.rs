//! The one look at a CSV file when it is opened: its header, its groups, what its columns hold.

use std::io::Read;
use std::path::Path;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};

use crate::{Error, Result};

use super::csv::{bytes, failure};
use super::fields::{boolean, line, missing};
use super::{Column, Kind, damaged};

/// Rows of a group; also bounded in bytes, for wide tables.
const GROUP_ROWS: u64 = 1 << 16;
const GROUP_BYTES: u64 = 1 << 24;
/// Bytes that are looked at together.
const READ: usize = 1 << 20;

/// What a CSV file is found to be.
pub(super) struct Scan {
    pub(super) columns: Vec<Column>,
    /// Rows of each group.
    pub(super) groups: Vec<u64>,
    /// Where each group starts, in bytes of text.
    pub(super) starts: Vec<u64>,
    /// Whether there is a quotation mark anywhere.
    pub(super) quoted: bool,
}

/// Look at a file; `tick` is asked now and then whether to go on.
pub(super) fn scan(path: &Path, tick: &dyn Fn() -> Result<()>) -> Result<Scan> {
    let compressed =
        path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz") || e.eq_ignore_ascii_case("zst"));
    let mut found = Found::new(path, compressed);
    if !found.lines(tick)? {
        found = Found::new(path, compressed);
        found.records(tick)?;
    }
    let names = found.names.into_iter();
    let columns = names.zip(found.kinds).map(|(name, guess)| Column { name, kind: guess.kind() }).collect();
    Ok(Scan { columns, groups: found.groups, starts: found.starts, quoted: found.quoted })
}

struct Found<'a> {
    path: &'a Path,
    compressed: bool,
    names: Vec<String>,
    kinds: Vec<Guess>,
    groups: Vec<u64>,
    starts: Vec<u64>,
    quoted: bool,
}

impl<'a> Found<'a> {
    fn new(path: &'a Path, compressed: bool) -> Self {
        let (names, kinds, groups, starts) = (vec![], vec![], vec![], vec![]);
        Self { path, compressed, names, kinds, groups, starts, quoted: false }
    }

    /// Line by line; false where there is a quotation mark, which may hide a comma or a line's end.
    fn lines(&mut self, tick: &dyn Fn() -> Result<()>) -> Result<bool> {
        let mut bytes = bytes(self.path, 0)?;
        let (mut text, mut place, mut number, mut ended) = (vec![], 0, 0, false);
        while !ended {
            tick()?;
            let before = text.len();
            let read = bytes.by_ref().take(READ as u64).read_to_end(&mut text);
            ended = read.map_err(|e| damaged(self.path, e))? < READ;
            if memchr::memchr(b'"', &text[before..]).is_some() {
                return Ok(false);
            }
            let mut at = 0;
            while at < text.len() {
                let end = match memchr::memchr(b'\n', &text[at..]) {
                    Some(length) => at + length + 1,
                    None if ended => text.len(),
                    None => break,
                };
                number += 1;
                self.line(line(&text[at..end]), place + at as u64, number)?;
                at = end;
            }
            text.drain(..at);
            place += at as u64;
        }
        self.header_must_be_there()?;
        Ok(true)
    }

    fn line(&mut self, line: &[u8], place: u64, number: u64) -> Result<()> {
        if line.is_empty() {
            return Ok(());
        }
        if self.names.is_empty() {
            let line = line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line);
            return self.header(line.split(|&byte| byte == b','));
        }
        let fields = 1 + line.iter().filter(|&&byte| byte == b',').count();
        self.row(fields, place, number)?;
        if self.groups.len() == 1 && self.groups[0] <= GROUP_ROWS {
            self.kinds
                .iter_mut()
                .zip(line.split(|&byte| byte == b','))
                .for_each(|(kind, field)| kind.see(field));
        }
        Ok(())
    }

    /// Record by record.
    fn records(&mut self, tick: &dyn Fn() -> Result<()>) -> Result<()> {
        self.quoted = true;
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes(self.path, 0)?);
        let header = reader.byte_headers().map_err(|e| failure(self.path, &e))?.clone();
        self.header(header.iter())?;
        self.header_must_be_there()?;
        let mut record = ByteRecord::new();
        loop {
            let (place, groups) = (reader.position().byte(), self.groups.len());
            match reader.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if matches!(error.kind(), ErrorKind::Io(_)) => {
                    return Err(damaged(self.path, error));
                }
                Err(error) => return Err(failure(self.path, &error)),
            }
            let number = record.position().map_or(0, csv::Position::line);
            self.row(record.len(), place, number)?;
            if self.groups.len() == 1 && self.groups[0] <= GROUP_ROWS {
                self.kinds.iter_mut().zip(&record).for_each(|(kind, field)| kind.see(field));
            }
            if self.groups.len() > groups {
                tick()?;
            }
        }
    }

    fn header<'f>(&mut self, names: impl Iterator<Item = &'f [u8]>) -> Result<()> {
        let name = |field| match std::str::from_utf8(field) {
            Ok(text) => Ok(text.trim().to_string()),
            Err(_) => Err(Error::Format(format!("{} is not UTF-8 text: convert it", self.path.display()))),
        };
        self.names = names.map(name).collect::<Result<_>>()?;
        self.kinds = vec![Guess::default(); self.names.len()];
        Ok(())
    }

    fn header_must_be_there(&self) -> Result<()> {
        if self.names.is_empty() {
            return Err(Error::Format(format!(
                "{} is empty: it must begin with a header",
                self.path.display()
            )));
        }
        Ok(())
    }

    fn row(&mut self, fields: usize, place: u64, number: u64) -> Result<()> {
        if fields != self.names.len() {
            return Err(Error::Format(format!(
                "{}: line {number} has {fields} fields, but the header has {}",
                self.path.display(),
                self.names.len()
            )));
        }
        match (self.groups.last_mut(), self.starts.last()) {
            (Some(rows), Some(start))
                if self.compressed || (*rows < GROUP_ROWS && place - start < GROUP_BYTES) =>
            {
                *rows += 1;
            }
            _ => {
                self.groups.push(1);
                self.starts.push(place);
            }
        }
        Ok(())
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
        self.integer = self.integer && field.parse::<i64>().is_ok();
        self.number = self.number && (self.integer || fast_float2::parse::<f64, _>(field).is_ok());
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
