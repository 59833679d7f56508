//! The one look at a plain CSV file when it is opened, on all cores.
//!
//! The file is cut into chunks, and each core looks at the rows that start in its chunk. Where there are quotation
//! marks, it depends on all that stands before whether a row ends with a line. A chunk is looked at from one of its first
//! lines' ends on, as though a row ended there, and anew where the rows before it turn out to end elsewhere. A file in
//! which anything is wrong is left to `scan`, which finds what it is.

use std::io::{BufRead, BufReader};

use csv::{ByteRecord, ReaderBuilder};
use rayon::prelude::*;

use crate::{Result, parallel};

use super::csv::compressed;
use super::fields::{line, records};
use super::handle::{Handle, Section};
use super::layout::Layout;
use super::scan::{Guess, Scan, names, names_of_line};

/// Bytes of a chunk.
const CHUNK: u64 = 1 << 20;
/// The most chunks that are looked at together, and bytes that are read for the end of a chunk's last line.
const CHUNKS: usize = 64;
const MORE: u64 = 1 << 14;
/// How many lines' ends are tried.
const GUESSES: usize = 8;

/// What a plain file is found to be; nothing where it is compressed or anything is wrong with it.
pub(super) fn survey(handle: &Handle, tick: &dyn Fn() -> Result<()>) -> Result<Option<Scan>> {
    if compressed(handle.path()) { Ok(None) } else { survey_by(CHUNK, handle, tick) }
}

fn survey_by(chunk: u64, handle: &Handle, tick: &dyn Fn() -> Result<()>) -> Result<Option<Scan>> {
    if let Some((names, body)) = header_line(handle) {
        let mut layout = Layout::new(false);
        let mut end = Ok(());
        let look = |start, end| lines(handle, start, end, names.len());
        rounds(handle, chunk, body, tick, look, |start, found| {
            end = found.map(|places| places.iter().for_each(|place| layout.row(start + u64::from(*place))));
            end.is_ok()
        })?;
        match end {
            Ok(()) => return Ok(scan_of(handle, names, layout, false)),
            Err(Unfit::Odd) => return Ok(None),
            Err(Unfit::Quoted) => {}
        }
    }
    let Some((names, body)) = header_record(handle) else { return Ok(None) };
    let (mut layout, mut place, mut fits) = (Layout::new(false), body, true);
    let look = |start, end| guessed(handle, start, end, names.len());
    rounds(handle, chunk, body, tick, look, |start, found| {
        let end = (start + chunk).min(handle.size());
        if place >= end {
            return true;
        }
        let found = found.filter(|found| found.follows(handle, place));
        let found = found.or_else(|| records_from(handle, place, end, names.len(), handle.size()));
        let Some(found) = found.filter(|found| !found.odd) else {
            fits = false;
            return false;
        };
        found.places.iter().enumerate().for_each(|(row, &offset)| {
            layout.row(if row == 0 { place } else { found.start + u64::from(offset) });
        });
        place = found.next;
        true
    })?;
    Ok(if fits { scan_of(handle, names, layout, true) } else { None })
}

/// Look at all chunks from `body` on, and take what is found in order, until `take` says no.
fn rounds<T: Send>(
    handle: &Handle,
    chunk: u64,
    body: u64,
    tick: &dyn Fn() -> Result<()>,
    look: impl Fn(u64, u64) -> T + Sync,
    mut take: impl FnMut(u64, T) -> bool,
) -> Result<()> {
    let (mut at, size) = (body, handle.size());
    while at < size {
        tick()?;
        let found = parallel::run(|| {
            let most = (4 * rayon::current_num_threads()).min(CHUNKS) as u64;
            let starts: Vec<u64> = (0..most).map(|number| at + number * chunk).collect();
            let starts = starts.into_par_iter().filter(|&start| start < size);
            Ok(starts.map(|start| (start, look(start, (start + chunk).min(size)))).collect::<Vec<_>>())
        })?;
        at += found.len() as u64 * chunk;
        for (start, found) in found {
            if !take(start, found) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Why a file cannot be looked at line by line.
enum Unfit {
    Quoted,
    Odd,
}

/// The names in a header without quotation marks, and where it ends.
fn header_line(handle: &Handle) -> Option<(Vec<String>, u64)> {
    let mut bytes = BufReader::new(Section::new(handle, 0, handle.size()));
    let (mut body, mut header) = (0, vec![]);
    while line(&header).is_empty() {
        header.clear();
        match bytes.read_until(b'\n', &mut header) {
            Ok(0) | Err(_) => return None,
            Ok(length) => body += length as u64,
        }
    }
    let plain = memchr::memchr(b'"', &header).is_none();
    plain.then(|| names_of_line(handle.path(), line(&header)).ok().map(|names| (names, body)))?
}

/// Where the lines start that start between two places, after the first of them.
fn lines(handle: &Handle, start: u64, end: u64, width: usize) -> std::result::Result<Vec<u32>, Unfit> {
    // With the byte before, which tells whether a line starts at the first place.
    let mut text = handle.read(start - 1, end).map_err(|_| Unfit::Odd)?;
    let Some(first) = memchr::memchr(b'\n', &text) else { return Ok(vec![]) };
    let last = memchr::memrchr(b'\n', &text).unwrap_or(first);
    if last + 1 < text.len() {
        rest_of_line(handle, end, &mut text).map_err(|_| Unfit::Odd)?;
    }
    if memchr::memchr(b'"', &text).is_some() {
        return Err(Unfit::Quoted);
    }
    let (mut places, mut at) = (vec![], first + 1);
    while at < text.len() {
        let next = memchr::memchr(b'\n', &text[at..]).map_or(text.len(), |length| at + length + 1);
        let line = line(&text[at..next]);
        if !line.is_empty() {
            if 1 + memchr::memchr_iter(b',', line).count() != width {
                return Err(Unfit::Odd);
            }
            places.push(u32::try_from(at - 1).map_err(|_| Unfit::Odd)?);
        }
        at = next;
    }
    Ok(places)
}

/// Append the bytes from a place on, up to the end of the line.
fn rest_of_line(handle: &Handle, mut at: u64, text: &mut Vec<u8>) -> std::io::Result<()> {
    while at < handle.size() {
        let more = handle.read(at, (at + MORE).min(handle.size()))?;
        if let Some(length) = memchr::memchr(b'\n', &more) {
            text.extend_from_slice(&more[..=length]);
            return Ok(());
        }
        if more.is_empty() {
            return Ok(());
        }
        text.extend_from_slice(&more);
        at += more.len() as u64;
    }
    Ok(())
}

/// The names in a header with quotation marks, and where it ends.
fn header_record(handle: &Handle) -> Option<(Vec<String>, u64)> {
    let bytes = Section::new(handle, 0, handle.size());
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
    let header = names(handle.path(), reader.byte_headers().ok()?.iter()).ok()?;
    (!header.is_empty()).then(|| (header, reader.position().byte()))
}

/// Records that start in a chunk, if one starts at `start`.
struct Records {
    start: u64,
    /// Where each starts, after `start`.
    places: Vec<u32>,
    /// Where the last one ends.
    next: u64,
    /// Whether one has other fields than the header, or cannot be read.
    odd: bool,
}

impl Records {
    /// Whether its first record is the one after what ends at `place`: only ends of lines may be in between.
    fn follows(&self, handle: &Handle, place: u64) -> bool {
        let between = || handle.read(place, self.start).unwrap_or_else(|_| vec![0]);
        place == self.start
            || (place < self.start
                && self.start - place < MORE
                && between().iter().all(|byte| matches!(byte, b'\r' | b'\n')))
    }
}

/// Records that start between two places, if a record ends with a line that seems to.
fn guessed(handle: &Handle, start: u64, end: u64, width: usize) -> Option<Records> {
    let text = handle.read(start - 1, (start + MORE).min(end)).ok()?;
    // A line's end within a field is seldom followed by as many fields as it should.
    let fits = |&line: &usize| {
        let mut record = ByteRecord::new();
        records(&text[line..]).read_byte_record(&mut record).is_ok() && record.len() == width
    };
    let line = memchr::memchr_iter(b'\n', &text).take(GUESSES).find(fits);
    let line = line.or_else(|| memchr::memchr(b'\n', &text))?;
    let length = text[line..].iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    // A quotation mark that is taken for another one could hide the rest of the file: no further than another chunk.
    let (first, limit) = (start - 1 + (line + length) as u64, (2 * end - start).min(handle.size()));
    let found = records_from(handle, first, end, width, limit)?;
    (found.next < limit || limit == handle.size()).then_some(found)
}

/// Records that start between two places, of which the first is where one starts; none is read beyond `limit`.
fn records_from(handle: &Handle, start: u64, end: u64, width: usize, limit: u64) -> Option<Records> {
    let mut reader = records(Section::new(handle, start, limit));
    let (mut record, mut found) =
        (ByteRecord::new(), Records { start, places: vec![], next: start, odd: false });
    while found.next < end {
        match reader.read_byte_record(&mut record) {
            Ok(true) => found.places.push(u32::try_from(found.next - start).ok()?),
            Ok(false) => {
                found.next = limit;
                break;
            }
            Err(_) => return None,
        }
        found.odd |= record.len() != width;
        // One byte stands before the text.
        found.next = start + reader.position().byte() - 1;
    }
    Some(found)
}

/// With the kinds that the fields of the first group allow.
fn scan_of(handle: &Handle, names: Vec<String>, layout: Layout, quoted: bool) -> Option<Scan> {
    let pieces: Vec<usize> = layout.of_group(0).collect();
    let kinds = parallel::run(|| {
        let guesses = pieces.into_par_iter().map(|piece| {
            let mut kinds = vec![Guess::default(); names.len()];
            let text = handle.read(layout.pieces[piece].start, layout.end(piece, handle.size())).ok()?;
            if quoted {
                let (mut reader, mut record) = (records(text.as_slice()), ByteRecord::new());
                while reader.read_byte_record(&mut record).ok()? {
                    kinds.iter_mut().zip(&record).for_each(|(kind, field)| kind.see(field));
                }
            } else {
                let lines = text.split_inclusive(|&byte| byte == b'\n').map(line);
                lines.filter(|line| !line.is_empty()).for_each(|line| {
                    let fields = line.split(|&byte| byte == b',');
                    kinds.iter_mut().zip(fields).for_each(|(kind, field)| kind.see(field));
                });
            }
            Some(kinds)
        });
        let and = |a: Vec<Guess>, b: Vec<Guess>| Some(a.iter().zip(&b).map(|(a, b)| a.and(b)).collect());
        Ok(guesses.try_reduce(|| vec![Guess::default(); names.len()], and))
    });
    Some(Scan::new(names, &kinds.ok()??, layout, quoted))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::super::scan::scan;
    use super::*;

    /// What is found in a text, by both ways.
    fn both(text: &str, chunk: u64) -> Result<(Option<Scan>, Result<Scan>)> {
        let unable = |error: std::io::Error| crate::Error::Internal(error.to_string());
        let file = tempfile::NamedTempFile::with_suffix(".csv").map_err(unable)?;
        std::fs::write(file.path(), text).map_err(unable)?;
        let handle: Arc<Handle> = Handle::open(file.path(), None)?;
        Ok((survey_by(chunk, &handle, &|| Ok(()))?, scan(&handle, &|| Ok(()))))
    }

    fn shown(scan: &Scan) -> String {
        let pieces: Vec<_> = scan.layout.pieces.iter().map(|piece| (piece.start, piece.rows)).collect();
        format!("{:?} {:?} {pieces:?} {}", scan.columns, scan.layout.groups, scan.quoted)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn all_cores_find_what_one_finds(
            header in "(a|\"a\"|\u{feff}a|),(b|\"b\nc\")(\n|\r\n|\n\n)",
            rows in prop::collection::vec(
                "(|[0-9]{1,3}|-1\\.5|x\"y|\"[x\",\n\r]{0,5}\"|\"\n\"\"\"),(|[0-9]{1,3}|true|\"(,|\"\"|\n){0,4}\")(\n|\r\n|\n\n)",
                0..12,
            ),
            chunk in 1_u64..40,
        ) {
            let text = header + &rows.concat();
            let (many, one) = both(&text, chunk)?;
            if let Some(many) = &many {
                prop_assert_eq!(Some(shown(many)), one.as_ref().ok().map(shown), "{:?}", text);
            }
            // Only what is wrong is left to the other way.
            prop_assert_eq!(many.is_some(), one.is_ok(), "{:?}", text);
        }
    }
}
