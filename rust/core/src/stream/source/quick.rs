//! Arrays of lines without quotation marks in one pass, where every field is what its column promises.
//!
//! A number is read before it is known where it ends: most fields are then passed over once instead of three times.

use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array};

use super::Kind;
use super::decimal::{self, Decimal};
use super::fields::{Fields, cell, number, whole_number};

/// Arrays of some whole lines; nothing where a line or a field is not as expected.
pub(super) fn arrays(fields: &Fields, text: &[u8]) -> Option<Vec<ArrayRef>> {
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
                at += cells.next()?.take(rest, last)?;
                next = wanted.next();
            } else {
                at += field(rest, last).len();
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

/// The field that a text begins with, without what ends the line after the last one.
fn field(text: &[u8], last: bool) -> &[u8] {
    let field = &text[..memchr::memchr2(b',', b'\n', text).unwrap_or(text.len())];
    if last { field.strip_suffix(b"\r").unwrap_or(field) } else { field }
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
    fn take(&mut self, text: &'t [u8], last: bool) -> Option<usize> {
        match self {
            Self::Numbers(values) => values.take(text, last, Decimal::number, number),
            Self::Whole(values) => values.take(text, last, Decimal::whole, whole_number),
            Self::Other(fields) => {
                let field = field(text, last);
                fields.push(field);
                Some(field.len())
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
    fn take(
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
        let field = field(text, last);
        let value = cell(field, other)?;
        if value.is_none() {
            self.gaps.push(self.values.len());
        }
        self.values.push(value.unwrap_or_default());
        Some(field.len())
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
