//! Several files as one table: the groups of one after those of another, and after their columns those of folders.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::ArrayRef;

use crate::{Error, Result};

use super::partitions::Partitions;
use super::{BATCH_ROWS, Batches, Column, Kind, Source};

pub(super) struct Many {
    sources: Vec<Arc<dyn Source>>,
    partitions: Partitions,
    columns: Vec<Column>,
    groups: Vec<u64>,
    /// The source of each group, and the number of the group there.
    homes: Vec<(usize, usize)>,
}

impl Many {
    /// One table of several, whose columns must have the same names and kinds; numbers may be whole in some of them.
    pub(super) fn new(
        paths: &[PathBuf],
        sources: Vec<Arc<dyn Source>>,
        partitions: Partitions,
    ) -> Result<Self> {
        let mut columns = sources[0].columns().to_vec();
        for (path, source) in paths.iter().zip(&sources).skip(1) {
            widen(&mut columns, source.columns(), path, &paths[0])?;
        }
        let columns = with_keys(&paths[0], &columns, partitions.columns())?;
        let groups = sources.iter().flat_map(|source| source.groups().to_vec()).collect();
        let homes = sources.iter().enumerate();
        let homes =
            homes.flat_map(|(home, source)| (0..source.groups().len()).map(move |group| (home, group)));
        let homes = homes.collect();
        Ok(Self { sources, partitions, columns, groups, homes })
    }

    /// The arrays of a batch with those of the keys beside them.
    fn told(&self, mut arrays: Vec<ArrayRef>, file: usize, keys: &[usize], rows: usize) -> Vec<ArrayRef> {
        arrays.extend(keys.iter().map(|&key| self.partitions.array(file, key, rows)));
        arrays
    }
}

/// Let columns hold what those of one more file hold: in text, numbers without a fraction look like whole ones.
fn widen(columns: &mut [Column], more: &[Column], path: &Path, first: &Path) -> Result<()> {
    let (path, first) = (path.display(), first.display());
    for (column, other) in columns.iter_mut().zip(more) {
        match (&column.kind, &other.kind) {
            _ if column == other => {}
            (Kind::Integer, Kind::Number) | (Kind::Number, Kind::Integer) if column.name == other.name => {
                column.kind = Kind::Number;
            }
            _ => {
                return Err(Error::Source(format!(
                    "{path} has the column {:?} of {} where {first} has {:?} of {}: files of one table need the same columns",
                    other.name, other.kind, column.name, column.kind
                )));
            }
        }
    }
    if more.len() != columns.len() {
        return Err(Error::Source(format!(
            "{path} has {} columns, but {first} has {}: files of one table need the same columns",
            more.len(),
            columns.len()
        )));
    }
    Ok(())
}

/// The columns of files and of their folders, which must not have the same names.
fn with_keys(path: &Path, columns: &[Column], keys: &[Column]) -> Result<Vec<Column>> {
    match keys.iter().find(|key| columns.iter().any(|column| column.name == key.name)) {
        None => Ok([columns, keys].concat()),
        Some(Column { name, .. }) => Err(Error::Source(format!(
            "{} has a column {name:?}, and lies in a folder {name}=… too: rename one of them",
            path.display()
        ))),
    }
}

impl Source for Many {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn columns_apart(&self) -> bool {
        self.sources[0].columns_apart()
    }

    fn read(self: Arc<Self>, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let rows = self.groups[group].saturating_sub(skip);
        let (home, group) = self.homes[group];
        let width = self.sources[home].columns().len();
        let (own, keys) = columns.split_at(columns.partition_point(|&column| column < width));
        let keys: Vec<usize> = keys.iter().map(|&key| key - width).collect();
        if own.is_empty() {
            let sizes = (0..rows).step_by(BATCH_ROWS).map(move |at| (rows - at).min(BATCH_ROWS as u64));
            return Ok(Box::new(sizes.map(move |size| Ok(self.told(vec![], home, &keys, size as usize)))));
        }
        let batches = Arc::clone(&self.sources[home]).read(group, own, skip)?;
        Ok(Box::new(batches.map(move |arrays| {
            let arrays = arrays?;
            let rows = arrays.first().map_or(0, |array| array.len());
            Ok(self.told(arrays, home, &keys, rows))
        })))
    }
}
