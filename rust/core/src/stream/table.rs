//! A table: which columns of a source are features, which is the target, and what their values mean.

use std::collections::{BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::encode::Code;
use crate::{Error, Result};

use super::block::Shape;
use super::decode::Decoder;
use super::reading::Blocks;
use super::source::{self, Column, Kind, Source};
use super::values::{doubles, parse, texts};

/// A source with its columns and groups.
#[derive(Clone)]
pub struct Table {
    pub(super) source: Arc<dyn Source>,
}

/// What a feature column becomes.
#[derive(Clone)]
pub enum Coding {
    /// One number as it is; a gap is an error.
    Raw,
    /// What an encoder makes of it.
    Fitted(Arc<Code>),
}

impl Coding {
    /// How many float32 columns.
    #[must_use]
    pub fn width(&self) -> usize {
        match self {
            Self::Raw => 1,
            Self::Fitted(code) => code.width(),
        }
    }
}

/// What a stream takes from a table. Columns are given by index.
#[derive(Clone, Default)]
pub struct Selection {
    /// Feature columns, in the order of the output, and what they become.
    pub features: Vec<(usize, Coding)>,
    /// The target column.
    pub target: Option<usize>,
    /// Labels in the order of their class indices; None for a target of numbers.
    pub classes: Option<HashMap<String, f32>>,
    /// The column of sample weights.
    pub weight: Option<usize>,
}

impl Selection {
    /// What a row of the output holds.
    #[must_use]
    pub fn shape(&self) -> Shape {
        let width = self.features.iter().map(|(_, coding)| coding.width()).sum();
        Shape { width, target: self.target.is_some(), weight: self.weight.is_some() }
    }
}

impl Table {
    /// Open `.parquet`, `.arrow`, `.feather` or `.csv` files; `tick` is asked now and then whether to go on.
    ///
    /// # Errors
    /// `Source` where a file is not there or has other columns, `Format` where it is damaged or of an unknown kind.
    pub fn open(paths: &[PathBuf], tick: &dyn Fn() -> Result<()>) -> Result<Self> {
        Self::open_in(paths, &vec![vec![]; paths.len()], tick)
    }

    /// The same, where each file lies in folders of these names: `key=value` is a column with one value in the file.
    ///
    /// # Errors
    /// As for `open`; `Source` where files have other keys than the first, or columns of their names.
    pub fn open_in(
        paths: &[PathBuf],
        folders: &[Vec<String>],
        tick: &dyn Fn() -> Result<()>,
    ) -> Result<Self> {
        Ok(Self { source: source::open(paths, folders, tick)? })
    }

    /// A table of any source.
    #[must_use]
    pub fn of(source: Arc<dyn Source>) -> Self {
        Self { source }
    }

    /// Its columns, in order.
    #[must_use]
    pub fn columns(&self) -> &[Column] {
        self.source.columns()
    }

    /// Rows of each group.
    #[must_use]
    pub fn groups(&self) -> &[u64] {
        self.source.groups()
    }

    /// Up to `limit` distinct labels of a column, sorted; whole numbers in numeric order.
    ///
    /// # Errors
    /// `Source` where a label is missing, those of reading, and those of `tick`.
    pub fn distinct_labels(
        &self,
        column: usize,
        limit: usize,
        tick: &dyn Fn() -> Result<()>,
    ) -> Result<Vec<String>> {
        let mut labels = BTreeSet::new();
        for group in 0..self.groups().len() {
            let mut row = self.first_row(group);
            for batch in Arc::clone(&self.source).read(group, &[column], 0)? {
                tick()?;
                let arrays = batch?;
                for text in texts(&arrays[0])? {
                    let text = text.ok_or_else(|| missing(&self.columns()[column].name, row))?;
                    if labels.len() < limit && !labels.contains(text.as_ref()) {
                        labels.insert(text.into_owned());
                    }
                    row += 1;
                }
            }
            if labels.len() >= limit {
                break;
            }
        }
        Ok(sorted(labels))
    }

    /// Rows of a group from row `skip` on, some thousand at a time.
    ///
    /// # Errors
    /// `Array` where a column or the group is outside the table; those of reading. A block is an error where a value
    /// is missing, no number or an unknown label, or the file is damaged.
    pub fn blocks(&self, selection: &Arc<Selection>, group: usize, skip: u64) -> Result<Blocks> {
        Ok(Box::new(Decoder::new(self.clone(), Arc::clone(selection), group, skip)?))
    }

    pub(super) fn first_row(&self, group: usize) -> u64 {
        self.groups()[..group].iter().sum()
    }
}

/// What is wrong with a value where a finite number belongs, and in which row of the table.
pub(super) fn not_finite(column: &str, row: u64, value: f64) -> Error {
    if value.is_nan() {
        return missing(column, row);
    }
    Error::Source(format!(
        "column {column:?} is {value} at row {row}, which is no finite float32: \
         replace it or drop the column with --drop {column}"
    ))
}

/// Values of a column of numbers, NaN where one is missing; `first` is the row of the first.
///
/// # Errors
/// `Source`, naming the first text that is no number.
pub(super) fn numbers(column: &str, first: u64, array: &ArrayRef) -> Result<Vec<f64>> {
    doubles(array).map_err(|error| {
        let texts = texts(array).unwrap_or_default();
        let odd = texts.iter().enumerate().find_map(|(row, text)| {
            text.as_ref().filter(|text| parse(text).is_err()).map(|text| (first + row as u64, text))
        });
        odd.map_or(error, |(row, text)| not_a_number(column, row, text))
    })
}

pub(super) fn not_a_number(column: &str, row: u64, text: &str) -> Error {
    let shown: String = text.chars().take(40).collect();
    Error::Source(format!(
        "column {column:?} holds the text {shown:?} at row {row} where a number belongs: \
         drop it with --drop {column} or encode it as numbers"
    ))
}

pub(super) fn no_value(column: &str, first: u64, last: u64) -> Error {
    Error::Source(format!(
        "column {column:?} has no value at all in rows {first} to {last}: drop it with --drop {column}"
    ))
}

pub(super) fn missing(column: &str, row: u64) -> Error {
    Error::Source(format!(
        "column {column:?} is missing (empty or NaN) at row {row}: fill it in, remove the row, \
         or drop the column with --drop {column}"
    ))
}

fn sorted(labels: BTreeSet<String>) -> Vec<String> {
    let mut labels: Vec<String> = labels.into_iter().collect();
    if labels.iter().all(|label| label.parse::<i128>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i128>().unwrap_or_default());
    }
    labels
}

/// Whether a column can be a feature as it is; the reason where it cannot.
///
/// # Errors
/// `Source`, naming the column and what it holds.
pub fn check_feature(column: &Column) -> Result<()> {
    match &column.kind {
        Kind::Number | Kind::Integer | Kind::Boolean => Ok(()),
        kind => Err(Error::Source(format!(
            "column {:?} holds {kind}: drop it with --drop {} or encode it as numbers",
            column.name, column.name
        ))),
    }
}
