//! Arrow IPC files (Feather version 2), plain or compressed; a group is a record batch.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_ipc::reader::FileReader;

use crate::Result;
use crate::error::guard;

use super::memory::columns;
use super::{Batches, Column, Counted, Source, damaged, file};

pub(super) struct Ipc {
    path: PathBuf,
    size: u64,
    columns: Vec<Column>,
    groups: Vec<u64>,
}

impl Ipc {
    /// Open a file. The sizes of its batches stand beside the batches, so that it is read once.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, size) = file(path, None)?;
        let open = || {
            // No column is decoded: only the sizes count.
            let reader = reader(path, file, Some(vec![]))?;
            let schema = full_schema(path)?;
            let sizes = reader.map(|batch| batch.map(|batch| batch.num_rows() as u64));
            let groups = sizes.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| damaged(path, e))?;
            Ok(Self { path: path.to_owned(), size, columns: schema, groups })
        };
        guard(open, |panic| damaged(path, panic))
    }

    fn batches(&self, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let (file, _) = file(&self.path, Some(self.size))?;
        let mut reader = reader(&self.path, file, Some(columns.to_vec()))?;
        reader.set_index(group).map_err(|e| damaged(&self.path, e))?;
        let (path, rows) = (self.path.clone(), self.groups[group]);
        let batches = reader.take(1).map(move |batch| {
            let batch = batch.map_err(|e| damaged(&path, e))?;
            let skip = (skip as usize).min(batch.num_rows());
            Ok(batch.slice(skip, batch.num_rows() - skip).columns().to_vec())
        });
        Ok(Box::new(Counted::new(batches, &self.path, rows.saturating_sub(skip))))
    }
}

fn reader(path: &Path, file: File, columns: Option<Vec<usize>>) -> Result<FileReader<BufReader<File>>> {
    FileReader::try_new(BufReader::new(file), columns).map_err(|e| damaged(path, e))
}

fn full_schema(path: &Path) -> Result<Vec<Column>> {
    let (file, _) = file(path, None)?;
    Ok(columns(&reader(path, file, None)?.schema()))
}

impl Source for Ipc {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn columns_apart(&self) -> bool {
        false
    }

    fn read(self: Arc<Self>, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        guard(|| self.batches(group, columns, skip), |panic| damaged(&self.path, panic))
    }
}
