//! Comma-separated values with a header, plain or compressed with gzip or Zstandard.
//!
//! Opening reads the file once: every row must have as many fields as the header, and the places where groups start
//! are kept. Kinds are those of the first group. A plain file is read and parsed in pieces on all cores. A compressed
//! file is one group, which is decompressed from its beginning; without a quotation mark, it is cut at line ends and
//! parsed on all cores, with quotation marks it is read record by record.

use std::collections::VecDeque;
use std::io::{BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use arrow_array::ArrayRef;
use rayon::prelude::*;

use crate::{Error, Result, parallel};

use super::fields::{self, Fields};
use super::handle::{Handle, Section};
use super::pieces::Pieces;
use super::scan::{self, Scan};
use super::survey::survey;
use super::{Batches, Column, Counted, Source, Stamp, damaged, unreadable};

/// Bytes that are decompressed at once, and those of a piece that one thread parses.
const READ: usize = 1 << 22;
const PIECE: usize = 1 << 19;
/// Records of a batch, where they are read one by one.
const BATCH_ROWS: usize = 8192;

pub(super) struct Csv {
    path: std::path::PathBuf,
    stamp: Stamp,
    pub(super) scan: Scan,
}

impl Csv {
    pub(super) fn open(path: &Path, tick: &dyn Fn() -> Result<()>) -> Result<Self> {
        let handle = Handle::open(path, None)?;
        let scan = match survey(&handle, tick)? {
            Some(scan) => scan,
            None => scan::scan(&handle, tick)?,
        };
        handle.unchanged()?;
        Ok(Self { path: path.to_owned(), stamp: handle.stamp(), scan })
    }
}

impl Source for Csv {
    fn columns(&self) -> &[Column] {
        &self.scan.columns
    }

    fn groups(&self) -> &[u64] {
        &self.scan.layout.groups
    }

    fn columns_apart(&self) -> bool {
        false
    }

    fn read(self: Arc<Self>, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let handle = Handle::open(&self.path, Some(self.stamp))?;
        let wanted = columns.iter().map(|&c| (c, self.scan.columns[c].kind.clone())).collect();
        let fields = Fields { path: self.path.clone(), width: self.scan.columns.len(), wanted };
        let left = self.groups()[group].saturating_sub(skip);
        if !compressed(&self.path) {
            let pieces = Pieces::new(handle, Arc::clone(&self), group, fields, skip);
            return Ok(Box::new(Counted::new(pieces, &self.path, left)));
        }
        let bytes = bytes(&handle, self.scan.layout.pieces[group].start)?;
        if self.scan.quoted {
            let records = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(bytes);
            let records = Records { handle, records, fields, skip, left };
            return Ok(Box::new(Counted::new(records, &self.path, left)));
        }
        let lines =
            Lines { handle, bytes, fields, skip, left, rest: vec![], ready: VecDeque::new(), ended: false };
        Ok(Box::new(Counted::new(lines, &self.path, left)))
    }
}

/// Whether a file has to be decompressed.
pub(super) fn compressed(path: &Path) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gz") || e.eq_ignore_ascii_case("zst"))
}

/// The text of a file, decompressed, from a place on.
pub(super) fn bytes(handle: &Arc<Handle>, start: u64) -> Result<Box<dyn Read + Send>> {
    let path = handle.path();
    let file = |start| Section::new(Arc::clone(handle), start, handle.size());
    let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase()).unwrap_or_default();
    let mut text: Box<dyn Read + Send> = match extension.as_str() {
        "gz" => Box::new(flate2::read::MultiGzDecoder::new(BufReader::new(file(0)))),
        "zst" => Box::new(zstd::Decoder::new(file(0)).map_err(|e| unreadable(path, &e))?),
        _ => return Ok(Box::new(file(start))),
    };
    let skipped = std::io::copy(&mut text.by_ref().take(start), &mut std::io::sink());
    skipped.map_err(|e| damaged(path, e))?;
    Ok(text)
}

/// Batches of a file with quotation marks.
struct Records {
    handle: Arc<Handle>,
    records: csv::Reader<Box<dyn Read + Send>>,
    fields: Fields,
    skip: u64,
    left: u64,
}

impl Iterator for Records {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut rows = vec![];
        let mut record = csv::ByteRecord::new();
        while self.left > 0 && rows.len() < BATCH_ROWS {
            match self.records.read_byte_record(&mut record) {
                Ok(false) => break,
                Ok(true) if self.skip > 0 => self.skip -= 1,
                Ok(true) => {
                    rows.push(record.clone());
                    self.left -= 1;
                }
                Err(error) => return Some(Err(damaged(&self.fields.path, error))),
            }
        }
        (!rows.is_empty()).then(|| {
            self.handle.unchanged()?;
            let odd = rows.iter().find(|record| record.len() != self.fields.width);
            if let Some(record) = odd {
                return Err(self.fields.ragged(record.len()));
            }
            self.fields.arrays(|column| rows.iter().map(move |record| record.get(column).unwrap_or_default()))
        })
    }
}

/// Batches of a file without quotation marks.
struct Lines {
    handle: Arc<Handle>,
    bytes: Box<dyn Read + Send>,
    fields: Fields,
    skip: u64,
    left: u64,
    rest: Vec<u8>,
    ready: VecDeque<Result<Vec<ArrayRef>>>,
    ended: bool,
}

impl Iterator for Lines {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.left > 0 && !(self.ended && self.rest.is_empty()) {
            if let Err(error) = self.more() {
                return Some(Err(error));
            }
        }
        self.ready.pop_front()
    }
}

impl Lines {
    /// Read a piece of the file and parse its whole lines.
    fn more(&mut self) -> Result<()> {
        let before = self.rest.len();
        let read = self.bytes.by_ref().take(READ as u64).read_to_end(&mut self.rest);
        self.ended = read.map_err(|e| damaged(&self.fields.path, e))? < READ;
        self.handle.unchanged()?;
        let end = if self.ended {
            self.rest.len()
        } else {
            memchr::memrchr(b'\n', &self.rest[before.min(self.rest.len())..]).map_or(0, |at| before + at + 1)
        };
        let tail = self.rest.split_off(end);
        let text = std::mem::replace(&mut self.rest, tail);
        let text = self.skipped(&text);
        let pieces = fields::pieces(text, PIECE);
        let fields = &self.fields;
        let parsed = parallel::run(|| {
            Ok(pieces.into_par_iter().map(|piece| fields.parse(piece)).collect::<Vec<_>>())
        })?;
        for batch in parsed {
            let batch = batch.map(|arrays| {
                let rows = arrays.first().map_or(0, |array| array.len() as u64).min(self.left);
                self.left -= rows;
                (rows, arrays.iter().map(|array| array.slice(0, rows as usize)).collect::<Vec<_>>())
            });
            match batch {
                Ok((0, _)) => {}
                Ok((_, arrays)) => self.ready.push_back(Ok(arrays)),
                Err(error) => {
                    self.ready.push_back(Err(error));
                    break;
                }
            }
        }
        Ok(())
    }

    /// What is left of the text after the lines that nobody wants.
    fn skipped<'t>(&mut self, text: &'t [u8]) -> &'t [u8] {
        let mut at = 0;
        while self.skip > 0 && at < text.len() {
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length + 1);
            self.skip -= u64::from(!fields::line(&text[at..end]).is_empty());
            at = end;
        }
        &text[at..]
    }
}

/// The error of a damaged or ill-formed file.
pub(super) fn failure(path: &Path, error: &csv::Error) -> Error {
    match error.kind() {
        csv::ErrorKind::Io(e) => unreadable(path, e),
        _ => damaged(path, error),
    }
}
