//! From the fields of a CSV file to arrays.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int64Array, StringArray};

use crate::{Error, Result};

use super::{Kind, damaged, decimal, quick};

/// What stands for a missing value, besides the empty field.
const MISSING: [&str; 9] = ["NA", "N/A", "n/a", "NaN", "nan", "NULL", "null", "None", "?"];

/// The columns to take from each line.
pub(super) struct Fields {
    pub(super) path: PathBuf,
    /// Fields of a line.
    pub(super) width: usize,
    /// Columns, ascending, and what they hold.
    pub(super) wanted: Vec<(usize, Kind)>,
}

impl Fields {
    /// Arrays of some whole lines without quotation marks.
    pub(super) fn parse(&self, text: &[u8]) -> Result<Vec<ArrayRef>> {
        // What does not fit is looked at anew by the thorough way, which also knows what to say about it.
        quick::arrays(self, text).map_or_else(|| self.parse_thoroughly(text), Ok)
    }

    pub(super) fn parse_thoroughly(&self, text: &[u8]) -> Result<Vec<ArrayRef>> {
        let wide = self.wanted.len();
        let mut places: Vec<&[u8]> = vec![];
        let mut at = 0;
        while at < text.len() {
            let end = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length + 1);
            let line = line(&text[at..end]);
            at = end;
            if line.is_empty() {
                continue;
            }
            let (mut field, mut start, mut next) = (0, 0, 0);
            let ends = memchr::memchr_iter(b',', line).chain(std::iter::once(line.len()));
            for end in ends {
                if next < wide && self.wanted[next].0 == field {
                    places.push(&line[start..end]);
                    next += 1;
                }
                (field, start) = (field + 1, end + 1);
            }
            if field != self.width {
                return Err(self.ragged(field));
            }
        }
        self.arrays_of(&places)
    }

    /// Arrays of some whole records, which may have quotation marks.
    pub(super) fn parse_records(&self, text: &[u8]) -> Result<Vec<ArrayRef>> {
        quick::arrays_of_records(self, text).map_or_else(|| self.parse_records_thoroughly(text), Ok)
    }

    pub(super) fn parse_records_thoroughly(&self, text: &[u8]) -> Result<Vec<ArrayRef>> {
        let (mut record, mut bytes, mut ends) = (csv::ByteRecord::new(), vec![], vec![0]);
        let mut records = records(text);
        while records.read_byte_record(&mut record).map_err(|e| damaged(&self.path, e))? {
            if record.len() != self.width {
                return Err(self.ragged(record.len()));
            }
            for (column, _) in &self.wanted {
                bytes.extend_from_slice(record.get(*column).unwrap_or_default());
                ends.push(bytes.len());
            }
        }
        let places: Vec<&[u8]> = ends.windows(2).map(|ends| &bytes[ends[0]..ends[1]]).collect();
        self.arrays_of(&places)
    }

    /// Arrays of fields that are given row by row.
    fn arrays_of(&self, places: &[&[u8]]) -> Result<Vec<ArrayRef>> {
        let wide = self.wanted.len().max(1);
        self.arrays_at(|place| places.get(place..).unwrap_or_default().iter().step_by(wide).copied())
    }

    /// Arrays of the wanted columns, whose fields `column` gives.
    pub(super) fn arrays<'t, I: Iterator<Item = &'t [u8]> + Clone>(
        &self,
        column: impl Fn(usize) -> I,
    ) -> Result<Vec<ArrayRef>> {
        self.arrays_at(|place| column(self.wanted[place].0))
    }

    fn arrays_at<'t, I: Iterator<Item = &'t [u8]> + Clone>(
        &self,
        fields: impl Fn(usize) -> I,
    ) -> Result<Vec<ArrayRef>> {
        let columns = self.wanted.iter().enumerate();
        columns.map(|(place, (_, kind))| self.array(kind, fields(place))).collect()
    }

    /// An array of the kind, or of the widest that all fields fit: whole numbers, numbers, text.
    pub(super) fn array<'t>(
        &self,
        kind: &Kind,
        fields: impl Iterator<Item = &'t [u8]> + Clone,
    ) -> Result<ArrayRef> {
        let found = match kind {
            Kind::Integer => whole(fields.clone()).or_else(|| numbers(fields.clone())),
            Kind::Number => numbers(fields.clone()),
            Kind::Boolean => booleans(fields.clone()),
            _ => None,
        };
        found.map_or_else(|| self.texts(fields), Ok)
    }

    fn texts<'t>(&self, fields: impl Iterator<Item = &'t [u8]>) -> Result<ArrayRef> {
        let text = |field| match std::str::from_utf8(field) {
            Ok(text) => Ok(Some(text.trim()).filter(|text| !missing(text))),
            Err(_) => Err(Error::Format(format!("{} is not UTF-8 text: convert it", self.path.display()))),
        };
        Ok(Arc::new(fields.map(text).collect::<Result<StringArray>>()?))
    }

    pub(super) fn ragged(&self, found: usize) -> Error {
        damaged(&self.path, format!("a line has {found} fields, but the header has {}", self.width))
    }
}

/// A reader of records that begin with a text.
pub(super) fn records<R: Read>(text: R) -> csv::Reader<impl Read> {
    // The reader would drop a byte order mark, which belongs to the first field unless the file begins with it.
    let text = b"\n".as_slice().chain(text);
    csv::ReaderBuilder::new().has_headers(false).flexible(true).buffer_capacity(1 << 16).from_reader(text)
}

/// Pieces of some bytes each that end with a line.
pub(super) fn pieces(text: &[u8], size: usize) -> Vec<&[u8]> {
    let (mut pieces, mut at) = (vec![], 0);
    while at < text.len() {
        let least = (at + size).min(text.len());
        let end = memchr::memchr(b'\n', &text[least..]).map_or(text.len(), |length| least + length + 1);
        pieces.push(&text[at..end]);
        at = end;
    }
    pieces
}

/// A line without what ends it.
pub(super) fn line(line: &[u8]) -> &[u8] {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// Whether a field, without spaces around it, stands for no value.
pub(super) fn missing(field: &str) -> bool {
    field.is_empty() || MISSING.contains(&field)
}

/// True or false as it is written in files.
pub(super) fn boolean(field: &str) -> Option<bool> {
    match field {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// Each field by `read`, None for a missing one; nothing where one cannot be read.
fn each<'t, T, C: FromIterator<Option<T>>>(
    fields: impl Iterator<Item = &'t [u8]>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> Option<C> {
    fields.map(|field| cell(field, &read)).collect()
}

/// A field by `read`, None within for a missing one; nothing where it cannot be read.
pub(super) fn cell<T>(field: &[u8], read: impl Fn(&[u8]) -> Option<T>) -> Option<Option<T>> {
    let value = read(field);
    if value.is_some() {
        return Some(value);
    }
    // The usual field is read at once; spaces and words for a gap are looked at where that fails.
    let text = std::str::from_utf8(field).ok()?.trim();
    if missing(text) { Some(None) } else { read(text.as_bytes()).map(Some) }
}

pub(super) fn number(field: &[u8]) -> Option<f64> {
    let plain = decimal::read(field).filter(|(_, length)| *length == field.len());
    let plain = plain.and_then(|(decimal, _)| decimal.number());
    // NaN stands for a gap.
    plain.or_else(|| fast_float2::parse::<f64, _>(field).ok().filter(|v| !v.is_nan()))
}

pub(super) fn whole_number(field: &[u8]) -> Option<i64> {
    std::str::from_utf8(field).ok()?.parse().ok()
}

fn numbers<'t>(fields: impl Iterator<Item = &'t [u8]>) -> Option<ArrayRef> {
    Some(Arc::new(each::<f64, Float64Array>(fields, number)?))
}

fn whole<'t>(fields: impl Iterator<Item = &'t [u8]>) -> Option<ArrayRef> {
    Some(Arc::new(each::<i64, Int64Array>(fields, whole_number)?))
}

fn booleans<'t>(fields: impl Iterator<Item = &'t [u8]>) -> Option<ArrayRef> {
    let flag = |field: &[u8]| std::str::from_utf8(field).ok().and_then(boolean);
    Some(Arc::new(each::<bool, BooleanArray>(fields, flag)?))
}
