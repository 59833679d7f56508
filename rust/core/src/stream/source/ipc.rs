//! Arrow IPC files (Feather version 2), plain or compressed; a group is a record batch.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_ipc::Block;
use arrow_ipc::reader::FileReader;

use crate::Result;
use crate::error::guard_quietly;

use super::blocks::Parts;
use super::memory::{columns, rest};
use super::{Batches, Column, Counted, Source, Stamp, damaged, file};

pub(super) struct Ipc {
    path: PathBuf,
    stamp: Stamp,
    columns: Vec<Column>,
    groups: Vec<u64>,
    blocks: Vec<Block>,
}

impl Ipc {
    /// Open a file. Of its batches only the descriptions are read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, stamp) = file(path, None)?;
        let open = || {
            let found = Parts { path, file: &file, size: stamp.size }.groups()?;
            let (blocks, groups) = found.iter().map(|group| (group.block, group.rows)).unzip();
            let columns = columns(&reader(path, file, None)?.schema());
            Ok(Self { path: path.to_owned(), stamp, columns, groups, blocks })
        };
        guard_quietly(open, |panic| damaged(path, panic))
    }

    fn batches(&self, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let (file, _) = file(&self.path, Some(self.stamp))?;
        Parts { path: &self.path, file: &file, size: self.stamp.size }.check(&self.blocks[group])?;
        let mut reader = reader(&self.path, file, Some(columns.to_vec()))?;
        reader.set_index(group).map_err(|e| damaged(&self.path, e))?;
        let (path, rows) = (self.path.clone(), self.groups[group]);
        let batches = reader.take(1).map(move |batch| {
            let batch = batch.map_err(|e| damaged(&path, e))?;
            Ok(rest(&batch, skip).columns().to_vec())
        });
        Ok(Box::new(Counted::new(batches, &self.path, rows.saturating_sub(skip))))
    }
}

fn reader(path: &Path, file: File, columns: Option<Vec<usize>>) -> Result<FileReader<BufReader<File>>> {
    FileReader::try_new(BufReader::new(file), columns).map_err(|e| damaged(path, e))
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
        guard_quietly(|| self.batches(group, columns, skip), |panic| damaged(&self.path, panic))
    }
}
