//! The one look at a CSV file when it is opened: its header, its groups, what its columns hold.
//!
//! This is the look at a compressed file and at one in which something is wrong; `survey` is faster at others.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use csv::{ByteRecord, ErrorKind, ReaderBuilder};

use crate::{Error, Result};

use super::csv::{bytes, compressed, failure};
use super::fields::{boolean, line, missing};
use super::handle::Handle;
use super::layout::{GROUP_ROWS, Layout};
use super::{Column, Kind, damaged, decimal};

/// Bytes that are looked at together.
const READ: usize = 1 << 20;

/// What a CSV file is found to be.
pub(super) struct Scan {
    pub(super) columns: Vec<Column>,
    /// Where its rows are.
    pub(super) layout: Layout,
    /// Whether there is a quotation mark anywhere.
    pub(super) quoted: bool,
}

impl Scan {
    pub(super) fn new(names: Vec<String>, kinds: &[Guess], layout: Layout, quoted: bool) -> Self {
        let columns = names.into_iter().zip(kinds).map(|(name, guess)| Column { name, kind: guess.kind() });
        Self { columns: columns.collect(), layout, quoted }
    }
}

/// Look at a file; `tick` is asked now and then whether to go on.
pub(super) fn scan(handle: &Arc<Handle>, tick: &dyn Fn() -> Result<()>) -> Result<Scan> {
    let mut found = Found::new(handle);
    if !found.lines(tick)? {
        found = Found::new(handle);
        found.records(tick)?;
    }
    Ok(Scan::new(found.names, &found.kinds, found.layout, found.quoted))
}

/// The names in a header.
pub(super) fn names<'f>(path: &Path, fields: impl Iterator<Item = &'f [u8]>) -> Result<Vec<String>> {
    let name = |field| match std::str::from_utf8(field) {
        Ok(text) => Ok(text.trim().to_string()),
        Err(_) => Err(Error::Format(format!("{} is not UTF-8 text: convert it", path.display()))),
    };
    fields.map(name).collect()
}

/// The names in a line without quotation marks, which the file may begin with.
pub(super) fn names_of_line(path: &Path, line: &[u8]) -> Result<Vec<String>> {
    names(path, line.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(line).split(|&byte| byte == b','))
}

struct Found<'a> {
    handle: &'a Arc<Handle>,
    path: &'a Path,
    names: Vec<String>,
    kinds: Vec<Guess>,
    layout: Layout,
    quoted: bool,
}

impl<'a> Found<'a> {
    fn new(handle: &'a Arc<Handle>) -> Self {
        let path = handle.path();
        let layout = Layout::new(compressed(path));
        Self { handle, path, names: vec![], kinds: vec![], layout, quoted: false }
    }

    /// Line by line; false where there is a quotation mark, which may hide a comma or a line's end.
    fn lines(&mut self, tick: &dyn Fn() -> Result<()>) -> Result<bool> {
        let mut bytes = bytes(self.handle, 0)?;
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
            self.header(names_of_line(self.path, line)?);
            return Ok(());
        }
        let fields = 1 + line.iter().filter(|&&byte| byte == b',').count();
        self.row(fields, place, number)?;
        if self.layout.groups.len() == 1 && self.layout.groups[0] <= GROUP_ROWS {
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
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes(self.handle, 0)?);
        let header = reader.byte_headers().map_err(|e| failure(self.path, &e))?.clone();
        self.header(names(self.path, header.iter())?);
        self.header_must_be_there()?;
        let mut record = ByteRecord::new();
        loop {
            let (place, groups) = (reader.position().byte(), self.layout.groups.len());
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
            if self.layout.groups.len() == 1 && self.layout.groups[0] <= GROUP_ROWS {
                self.kinds.iter_mut().zip(&record).for_each(|(kind, field)| kind.see(field));
            }
            if self.layout.groups.len() > groups {
                tick()?;
            }
        }
    }

    fn header(&mut self, names: Vec<String>) {
        self.kinds = vec![Guess::default(); names.len()];
        self.names = names;
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
        self.layout.row(place);
        Ok(())
    }
}

/// The kinds that all fields so far allow.
#[derive(Clone)]
pub(super) struct Guess {
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
    pub(super) fn see(&mut self, field: &[u8]) {
        if let Some((decimal, length)) = decimal::read(field)
            && length == field.len()
        {
            // A plain decimal number is a whole number where it is written without a point.
            let integer = self.integer && decimal.whole().is_some();
            return *self = Self { seen: true, integer, number: self.number, boolean: false };
        }
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

    /// What the fields that either has seen allow.
    pub(super) fn and(&self, other: &Self) -> Self {
        Self {
            seen: self.seen || other.seen,
            integer: self.integer && other.integer,
            number: self.number && other.number,
            boolean: self.boolean && other.boolean,
        }
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
