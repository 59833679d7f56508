//! Arrays of lines in one pass, where every field is what its column promises and has no quotation mark within.
//!
//! A number is read before it is known where it ends: most fields are then passed over once instead of three times.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array};

use super::Kind;
use super::decimal::{self, Decimal};
use super::fields::{Fields, cell, number, whole_number};

/// Arrays of some whole records, which may have quotation marks; nothing where one is not as expected.
pub(super) fn arrays_of_records(fields: &Fields, text: &[u8]) -> Option<Vec<ArrayRef>> {
    // A record also ends with a carriage return alone.
    let ends = memchr::memchr_iter(b'\r', text).all(|at| text.get(at + 1) == Some(&b'\n'));
    if ends { parse::<true>(fields, text) } else { None }
}

/// Arrays of some whole lines without quotation marks; nothing where a line or a field is not as expected.
pub(super) fn arrays(fields: &Fields, text: &[u8]) -> Option<Vec<ArrayRef>> {
    parse::<false>(fields, text)
}

fn parse<const QUOTED: bool>(fields: &Fields, text: &[u8]) -> Option<Vec<ArrayRef>> {
    let rows = text.len() / memchr::memchr(b'\n', text).unwrap_or(text.len()).max(1);
    let mut columns: Vec<_> =
        fields.wanted.iter().map(|(_, kind)| Cells::new(kind, rows + rows / 8)).collect();
    let mut at = 0;
    while at < text.len() {
        if let Some(length) = line_end(&text[at..]) {
            at += length;
            continue;
        }
        let (mut wanted, mut cells) = (fields.wanted.iter().map(|(column, _)| *column), columns.iter_mut());
        let mut next = wanted.next();
        for column in 0..fields.width {
            let (rest, last) = (&text[at..], column + 1 == fields.width);
            if next == Some(column) {
                at += cells.next()?.take::<QUOTED>(rest, last)?;
                next = wanted.next();
            } else {
                at += field::<QUOTED>(rest, last)?.length;
            }
            at += match text.get(at) {
                _ if last => line_end(&text[at..])?,
                Some(b',') => 1,
                _ => return None,
            };
        }
    }
    fields.wanted.iter().zip(columns).map(|((_, kind), cells)| cells.array(fields, kind)).collect()
}

/// Bytes of the line's end that a text begins with; none at the end of the text.
fn line_end(text: &[u8]) -> Option<usize> {
    match text {
        [] => Some(0),
        [b'\n', ..] | [b'\r'] => Some(1),
        [b'\r', b'\n', ..] => Some(2),
        _ => None,
    }
}

/// A field in a text.
struct Field<'t> {
    content: &'t [u8],
    /// Whether there are quotation marks in the content, which are written twice.
    escaped: bool,
    /// Bytes that it takes.
    length: usize,
}

/// The field that a text begins with, without what ends the line after the last one.
fn field<const QUOTED: bool>(text: &[u8], last: bool) -> Option<Field<'_>> {
    if QUOTED && text.first() == Some(&b'"') {
        return quoted(text);
    }
    let content = &text[..memchr::memchr2(b',', b'\n', text).unwrap_or(text.len())];
    let content = if last { content.strip_suffix(b"\r").unwrap_or(content) } else { content };
    Some(Field { content, escaped: false, length: content.len() })
}

/// The field in quotation marks that a text begins with.
fn quoted(text: &[u8]) -> Option<Field<'_>> {
    let (mut at, mut escaped) = (1, false);
    loop {
        let end = at + memchr::memchr(b'"', text.get(at..)?)?;
        match text.get(end + 1) {
            Some(b'"') => (at, escaped) = (end + 2, true),
            None | Some(b',' | b'\n' | b'\r') => {
                return Some(Field { content: &text[1..end], escaped, length: end + 1 });
            }
            Some(_) => return None,
        }
    }
}

/// Fields of a column.
enum Cells<'t> {
    Numbers(Values<f64>),
    Whole(Values<i64>),
    Other(Vec<&'t [u8]>),
}

impl<'t> Cells<'t> {
    fn new(kind: &Kind, rows: usize) -> Self {
        match kind {
            Kind::Number => Self::Numbers(Values::new(rows)),
            Kind::Integer => Self::Whole(Values::new(rows)),
            _ => Self::Other(Vec::with_capacity(rows)),
        }
    }

    /// Take the field that a text begins with: its length.
    #[inline]
    fn take<const QUOTED: bool>(&mut self, text: &'t [u8], last: bool) -> Option<usize> {
        match self {
            Self::Numbers(values) => values.take::<QUOTED>(text, last, Decimal::number, number),
            Self::Whole(values) => values.take::<QUOTED>(text, last, Decimal::whole, whole_number),
            Self::Other(fields) => {
                let field = field::<QUOTED>(text, last).filter(|field| !field.escaped)?;
                fields.push(field.content);
                Some(field.length)
            }
        }
    }

    fn array(self, fields: &Fields, kind: &Kind) -> Option<ArrayRef> {
        match self {
            Self::Numbers(Values { values, gaps }) if gaps.is_empty() => {
                Some(Arc::new(Float64Array::from(values)))
            }
            Self::Whole(Values { values, gaps }) if gaps.is_empty() => {
                Some(Arc::new(Int64Array::from(values)))
            }
            Self::Numbers(values) => Some(Arc::new(Float64Array::from(values.with_gaps()))),
            Self::Whole(values) => Some(Arc::new(Int64Array::from(values.with_gaps()))),
            Self::Other(found) => fields.array(kind, found.into_iter()).ok(),
        }
    }
}

/// Values of a column, and in which rows there is none.
struct Values<T> {
    values: Vec<T>,
    gaps: Vec<usize>,
}

impl<T: Default> Values<T> {
    fn new(rows: usize) -> Self {
        Self { values: Vec::with_capacity(rows), gaps: vec![] }
    }

    #[inline]
    fn take<const QUOTED: bool>(
        &mut self,
        text: &[u8],
        last: bool,
        plain: impl Fn(Decimal) -> Option<T>,
        other: impl Fn(&[u8]) -> Option<T>,
    ) -> Option<usize> {
        if let Some((decimal, length)) = decimal::read(text)
            && matches!(text.get(length), None | Some(b',' | b'\n' | b'\r'))
            && let Some(value) = plain(decimal)
        {
            self.values.push(value);
            return Some(length);
        }
        self.take_thoroughly(field::<QUOTED>(text, last)?, other)
    }

    #[inline(never)]
    fn take_thoroughly(&mut self, field: Field<'_>, other: impl Fn(&[u8]) -> Option<T>) -> Option<usize> {
        // Quotation marks are no part of a number, written twice or not.
        let value = cell(field.content, other)?;
        if value.is_none() {
            self.gaps.push(self.values.len());
        }
        self.values.push(value.unwrap_or_default());
        Some(field.length)
    }

    fn with_gaps(self) -> Vec<Option<T>> {
        let mut values: Vec<_> = self.values.into_iter().map(Some).collect();
        self.gaps.iter().for_each(|&row| values[row] = None);
        values
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fields(kinds: &[Kind], width: usize) -> Fields {
        Fields { path: "t.csv".into(), width, wanted: kinds.iter().cloned().enumerate().collect() }
    }

    proptest! {
        #[test]
        fn what_is_read_is_what_the_thorough_way_reads(
            text in r"((-?[0-9]{1,9}(\.[0-9]{1,9})?|NA|t| ?[0-9]\.?e?[0-9]{0,19}|)[,\n\r]{1,2}){0,12}",
            width in 1_usize..4,
            kinds in prop::collection::vec(
                prop::sample::select(vec![Kind::Number, Kind::Integer, Kind::Text, Kind::Boolean]), 1..4,
            ),
        ) {
            let fields = fields(&kinds[..kinds.len().min(width)], width);
            let quick = arrays(&fields, text.as_bytes());
            if let Some(found) = quick {
                let thorough = fields.parse_thoroughly(text.as_bytes());
                prop_assert_eq!(Some(found), thorough.ok(), "{:?}", text);
            }
        }
    }

    proptest! {
        #[test]
        fn what_is_read_of_records_is_what_the_thorough_way_reads(
            text in r#"((-?[0-9]{1,9}(\.[0-9]{1,9})?|t|"[0-9,"\n\r]{0,3}"|"7"|"t,\n"|t"|)[,\n\r]{1,2}){0,12}"#,
            width in 1_usize..4,
            kinds in prop::collection::vec(
                prop::sample::select(vec![Kind::Number, Kind::Integer, Kind::Text, Kind::Boolean]), 1..4,
            ),
        ) {
            let fields = fields(&kinds[..kinds.len().min(width)], width);
            if let Some(found) = arrays_of_records(&fields, text.as_bytes()) {
                let thorough = fields.parse_records_thoroughly(text.as_bytes());
                prop_assert_eq!(Some(found), thorough.ok(), "{:?}", text);
            }
        }
    }

    #[test]
    fn usual_records_are_read_at_once() {
        let fields = fields(&[Kind::Number, Kind::Integer, Kind::Text], 4);
        let text = b"-1.5,\"7\",\"a,\n b\",\"x\"\"y\"\r\n\n\"1\",2,b\"c,\"\"\n";
        let found = arrays_of_records(&fields, text);
        assert_eq!(found, fields.parse_records_thoroughly(text).ok());
        assert_eq!(found.map(|arrays| arrays[0].len()), Some(2));
        assert!(arrays_of_records(&fields, b"1,2,\"a\"\"b\",c\n").is_none());
        assert!(arrays_of_records(&fields, b"1,2,\"a\"b,c\n").is_none());
    }

    #[test]
    fn the_usual_line_is_read_at_once() {
        let fields = fields(&[Kind::Number, Kind::Integer, Kind::Text], 4);
        let text = b"-1.5,7,a,x\r\n\n1e-3,,b,y\r\n,9007199254740993,,\n2.25,3, c,\xFF";
        let found = arrays(&fields, text);
        assert_eq!(found, fields.parse_thoroughly(text).ok());
        assert_eq!(found.map(|arrays| arrays[0].len()), Some(4));
        assert!(arrays(&fields, b"1,2,a,b,c\n").is_none());
        assert!(arrays(&fields, b"1,\n").is_none());
    }
}
