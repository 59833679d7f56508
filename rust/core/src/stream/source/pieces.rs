//! Batches of a plain CSV file, whose pieces are read and parsed on all cores.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::ArrayRef;
use rayon::prelude::*;

use crate::{Result, parallel};

use super::csv::Csv;
use super::damaged;
use super::fields::Fields;
use super::handle::Handle;

/// The fewest pieces that are parsed at once; the most are two for each core.
const PIECES: usize = 8;

/// The pieces of one group.
pub(super) struct Pieces {
    handle: Arc<Handle>,
    csv: Arc<Csv>,
    fields: Fields,
    /// The piece that comes next, and the one after the last.
    next: usize,
    end: usize,
    /// Rows to leave out.
    skip: u64,
    ready: VecDeque<Result<Vec<ArrayRef>>>,
}

impl Pieces {
    pub(super) fn new(handle: Arc<Handle>, csv: Arc<Csv>, group: usize, fields: Fields, skip: u64) -> Self {
        let of_group = csv.scan.layout.of_group(group);
        let (next, end) = (of_group.start, of_group.end);
        Self { handle, csv, fields, next, end, skip, ready: VecDeque::new() }
    }

    fn more(&mut self) -> Result<()> {
        let pieces = &self.csv.scan.layout.pieces;
        while self.next < self.end && self.skip >= pieces[self.next].rows {
            self.skip -= pieces[self.next].rows;
            self.next += 1;
        }
        let (from, this) = (self.next, &*self);
        let parsed = parallel::run(|| {
            let to = this.end.min(from + PIECES.max(2 * rayon::current_num_threads()));
            Ok((from..to).into_par_iter().map(|piece| this.parse(piece)).collect::<Vec<_>>())
        })?;
        self.next += parsed.len();
        // Only what was read of the file as it was opened is handed over.
        self.handle.unchanged()?;
        for arrays in parsed {
            let skip = std::mem::take(&mut self.skip) as usize;
            let arrays = arrays.map(|arrays| match skip {
                0 => arrays,
                _ => arrays.iter().map(|array| array.slice(skip, array.len() - skip)).collect(),
            });
            self.ready.push_back(arrays);
        }
        Ok(())
    }

    fn parse(&self, piece: usize) -> Result<Vec<ArrayRef>> {
        let (path, layout) = (&self.fields.path, &self.csv.scan.layout);
        let (piece, end) = (&layout.pieces[piece], layout.end(piece, self.handle.size()));
        let text = self.handle.read(piece.start, end).map_err(|e| damaged(path, e))?;
        let arrays =
            if self.csv.scan.quoted { self.fields.parse_records(&text) } else { self.fields.parse(&text) }?;
        if arrays.iter().any(|array| array.len() as u64 != piece.rows) {
            return Err(damaged(path, "a group has more or fewer rows than promised"));
        }
        Ok(arrays)
    }
}

impl Iterator for Pieces {
    type Item = Result<Vec<ArrayRef>>;

    fn next(&mut self) -> Option<Self::Item> {
        while self.ready.is_empty() && self.next < self.end {
            if let Err(error) = self.more() {
                return Some(Err(error));
            }
        }
        self.ready.pop_front()
    }
}
