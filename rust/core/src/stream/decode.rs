//! From the arrays of a source to row-major blocks, on all cores.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use rayon::prelude::*;

use crate::encode::{Code, interleave};
use crate::{Error, Result, parallel};

use super::block::Block;
use super::source::{Batches, Kind};
use super::table::{Coding, Selection, Table, missing, no_value, not_finite, numbers};
use super::values::{singles, texts};

/// The most parts that columns are read in.
const PARTS: usize = 4;
/// The most rows of a block: sources that give more at once are cut up.
const ROWS: usize = 8192;
/// Rows that are interleaved together: some hundred kilobytes, which stay in a core's cache.
const TILE: usize = 1024;

/// Rows of one group, block by block.
pub(super) struct Decoder {
    parts: Vec<Batches>,
    /// Arrays that are longer than a block, and how many of their rows were taken.
    long: Option<(Vec<ArrayRef>, usize)>,
    meaning: Meaning,
}

/// What arrays mean, and where their rows are.
struct Meaning {
    table: Table,
    selection: Arc<Selection>,
    /// Columns of the source that are read, ascending.
    columns: Vec<usize>,
    /// The row of the table that comes next.
    row: u64,
}

impl Decoder {
    pub(super) fn new(table: Table, selection: Arc<Selection>, group: usize, skip: u64) -> Result<Self> {
        let features = selection.features.iter().map(|(column, _)| *column);
        let mut columns: Vec<usize> = features.chain(selection.target).chain(selection.weight).collect();
        columns.sort_unstable();
        columns.dedup();
        let width = table.columns().len();
        if columns.last().is_some_and(|&column| column >= width) {
            return Err(Error::Array(format!("a column index is outside the table's {width} columns")));
        }
        if group >= table.groups().len() {
            return Err(Error::Array(format!("the table has no group {group}")));
        }
        let count = if table.source.columns_apart() { PARTS.min(columns.len()) } else { 1 };
        let parts = columns.chunks(columns.len().div_ceil(count.max(1)).max(1));
        let parts =
            parts.map(|part| Arc::clone(&table.source).read(group, part, skip)).collect::<Result<_>>()?;
        let row = table.first_row(group) + skip;
        Ok(Self { parts, long: None, meaning: Meaning { table, selection, columns, row } })
    }

    /// The next arrays of all columns, at most a block long, or None at the end.
    fn piece(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let (arrays, taken) = match self.long.take() {
            Some(long) => long,
            None => match self.arrays()? {
                Some(arrays) => (arrays, 0),
                None => return Ok(None),
            },
        };
        let left = arrays[0].len() - taken;
        if taken == 0 && left <= ROWS {
            return Ok(Some(arrays));
        }
        let rows = left.min(ROWS);
        let piece = arrays.iter().map(|array| array.slice(taken, rows)).collect();
        if rows < left {
            self.long = Some((arrays, taken + rows));
        }
        Ok(Some(piece))
    }

    /// The next arrays of all columns as they come, or None at the end.
    fn arrays(&mut self) -> Result<Option<Vec<ArrayRef>>> {
        let parts = &mut self.parts;
        let next = parallel::run(|| Ok(parts.par_iter_mut().map(Iterator::next).collect::<Vec<_>>()))?;
        let mut arrays = vec![];
        for part in next {
            match part {
                Some(part) => arrays.extend(part?),
                None => return Ok(None),
            }
        }
        let Some(rows) = arrays.first().map(|array| array.len()) else { return Ok(None) };
        if arrays.iter().all(|array| array.len() == rows) {
            return Ok(Some(arrays));
        }
        Err(Error::Format("columns of the table have different numbers of rows: it is damaged".into()))
    }
}

impl Meaning {
    fn block(&mut self, arrays: &[ArrayRef]) -> Result<Block> {
        let (selection, rows) = (&*self.selection, arrays[0].len());
        let width = selection.shape().width;
        let mut x = vec![0.0; rows * width];
        let coded = parallel::run(|| {
            let coded = selection.features.par_iter();
            let coded: Vec<_> = coded.map(|(column, coding)| self.feature(arrays, *column, coding)).collect();
            let coded = first_fault(coded)?;
            let tiles = x.par_chunks_mut((TILE * width).max(1)).enumerate();
            tiles.for_each(|(tile, out)| {
                let columns = coded.iter().flat_map(|feature| feature.chunks_exact(rows.max(1)));
                interleave(columns.map(|column| &column[tile * TILE..]), 0, width, out);
            });
            Ok(())
        });
        coded?;
        let y = selection.target.map(|column| self.target(arrays, column)).transpose()?.unwrap_or_default();
        let weight =
            selection.weight.map(|column| self.weight(arrays, column)).transpose()?.unwrap_or_default();
        self.row += rows as u64;
        Ok(Block { rows, x, y, weight })
    }

    /// A feature as columns, `[width, rows]`.
    fn feature(
        &self,
        arrays: &[ArrayRef],
        column: usize,
        coding: &Coding,
    ) -> std::result::Result<Vec<f32>, Fault> {
        let array = self.array(arrays, column);
        match coding {
            Coding::Raw => self.raw(array, column),
            Coding::Fitted(code) => self.fitted(array, column, code).map_err(Fault::other),
        }
    }

    fn fitted(&self, array: &ArrayRef, column: usize, code: &Code) -> Result<Vec<f32>> {
        let mut out = vec![0.0; code.width() * array.len()];
        let info = &self.table.columns()[column];
        if is_label(&info.kind, code.tells_labels()) {
            let labels = texts(array)?;
            code.encode_texts(labels.iter().map(|label| label.as_deref()), array.len(), &mut out)?;
        } else {
            code.encode_numbers(&numbers(&info.name, self.row, array)?, &mut out)?;
        }
        Ok(out)
    }

    fn raw(&self, array: &ArrayRef, column: usize) -> std::result::Result<Vec<f32>, Fault> {
        let name = &self.table.columns()[column].name;
        let mut out = vec![0.0; array.len()];
        if singles(array, &mut out).is_err() {
            numbers(name, self.row, array).map_err(Fault::other)?;
        }
        let Some(at) = out.iter().position(|value| !value.is_finite()) else { return Ok(out) };
        let rows = array.len() as u64;
        if rows > 1 && out.iter().all(|value| value.is_nan()) {
            return Err(Fault { rank: (0, 0), error: no_value(name, self.row, self.row + rows - 1) });
        }
        let value = numbers(name, self.row, array).map_err(Fault::other)?[at];
        Err(Fault { rank: (1, at), error: not_finite(name, self.row + at as u64, value) })
    }

    fn target(&self, arrays: &[ArrayRef], column: usize) -> Result<Vec<f32>> {
        let array = self.array(arrays, column);
        let Some(classes) = &self.selection.classes else {
            return self.raw(array, column).map_err(|fault| fault.error);
        };
        let name = &self.table.columns()[column].name;
        let index = |(at, label): (usize, Option<std::borrow::Cow<'_, str>>)| {
            let row = self.row + at as u64;
            let label = label.ok_or_else(|| missing(name, row))?;
            classes.get(label.as_ref()).copied().ok_or_else(|| {
                Error::Source(format!(
                    "target {name:?} has the label {label:?} at row {row}, which is none of the classes: \
                     list it among them or remove the row"
                ))
            })
        };
        texts(array)?.into_iter().enumerate().map(index).collect()
    }

    fn weight(&self, arrays: &[ArrayRef], column: usize) -> Result<Vec<f32>> {
        let weights = self.raw(self.array(arrays, column), column).map_err(|fault| fault.error)?;
        match weights.iter().position(|&weight| weight < 0.0) {
            None => Ok(weights),
            Some(at) => Err(Error::Source(format!(
                "weight {:?} at row {} is negative: weights must be at least 0",
                self.table.columns()[column].name,
                self.row + at as u64
            ))),
        }
    }

    fn array<'a>(&self, arrays: &'a [ArrayRef], column: usize) -> &'a ArrayRef {
        // Every column of the selection is among those read.
        &arrays[self.columns.binary_search(&column).unwrap_or(0)]
    }
}

impl Iterator for Decoder {
    type Item = Result<Block>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.piece().transpose()? {
            Ok(arrays) => Some(self.meaning.block(&arrays)),
            Err(error) => Some(Err(error)),
        }
    }
}

/// What is wrong with a column, and how urgent it is to say so.
struct Fault {
    rank: (u8, usize),
    error: Error,
}

impl Fault {
    fn other(error: Error) -> Self {
        Self { rank: (1, 0), error }
    }
}

/// All columns, or the fault to name: a column without any value, else the earliest row.
fn first_fault<T>(found: Vec<std::result::Result<T, Fault>>) -> Result<Vec<T>> {
    let (mut good, mut worst) = (vec![], None::<Fault>);
    for column in found {
        match column {
            Ok(column) => good.push(column),
            Err(fault) if worst.as_ref().is_none_or(|worst| fault.rank < worst.rank) => worst = Some(fault),
            Err(_) => {}
        }
    }
    worst.map_or(Ok(good), |fault| Err(fault.error))
}

/// Whether a column is seen as labels: text always, booleans where they are wanted so.
pub(super) fn is_label(kind: &Kind, wanted: bool) -> bool {
    match kind {
        Kind::Text => true,
        Kind::Boolean => wanted,
        _ => false,
    }
}
