//! Arrow IPC files (Feather version 2), plain or compressed; a group is a record batch.

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_ipc::reader::{FileReader, read_footer_length};
use arrow_ipc::{Block, root_as_footer, root_as_message};

use crate::Result;
use crate::error::guard;

use super::memory::columns;
use super::{Batches, Column, Counted, Source, Stamp, damaged, file, unreadable};

/// Bytes at the end of a file: the length of the footer and a mark.
const TRAILER: u64 = 10;

pub(super) struct Ipc {
    path: PathBuf,
    stamp: Stamp,
    columns: Vec<Column>,
    groups: Vec<u64>,
}

impl Ipc {
    /// Open a file. Of its batches only the descriptions are read.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, stamp) = file(path, None)?;
        let open = || {
            let groups = sizes(path, &file, stamp.size)?;
            let columns = columns(&reader(path, file, None)?.schema());
            Ok(Self { path: path.to_owned(), stamp, columns, groups })
        };
        guard(open, |panic| damaged(path, panic))
    }

    fn batches(&self, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let (file, _) = file(&self.path, Some(self.stamp))?;
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

/// Rows of each batch; every part must lie inside the file, since memory is allocated for it unseen.
fn sizes(path: &Path, file: &File, size: u64) -> Result<Vec<u64>> {
    let bad = |detail: &dyn std::fmt::Display| damaged(path, detail);
    let part = |start: u64, length: u64| -> Result<Vec<u8>> {
        if start.checked_add(length).is_none_or(|end| end > size) {
            return Err(bad(&"a part of it lies beyond its end"));
        }
        let (mut file, mut bytes) = (file, vec![0; length as usize]);
        file.seek(SeekFrom::Start(start)).map_err(|e| unreadable(path, &e))?;
        file.read_exact(&mut bytes).map_err(|e| bad(&e))?;
        Ok(bytes)
    };
    let end = part(size.saturating_sub(TRAILER), TRAILER)?;
    let end = end.try_into().map_err(|_| bad(&"it has no end"))?;
    let length = read_footer_length(end).map_err(|e| bad(&e))? as u64;
    let footer = part(size.saturating_sub(TRAILER).saturating_sub(length), length)?;
    let footer = root_as_footer(&footer).map_err(|e| bad(&e))?;
    let inside = |block: &Block| -> Result<(u64, u64)> {
        let whole = |value: i64| u64::try_from(value).map_err(|e| bad(&e));
        let (start, about) = (whole(block.offset())?, whole(block.metaDataLength().into())?);
        let end = start.checked_add(about).and_then(|end| end.checked_add(whole(block.bodyLength()).ok()?));
        if end.is_none_or(|end| end > size) {
            return Err(bad(&"a batch of it lies beyond its end"));
        }
        Ok((start, about))
    };
    for block in footer.dictionaries().iter().flatten() {
        inside(block)?;
    }
    let rows = |block: &Block| {
        let (start, about) = inside(block)?;
        let bytes = part(start, about)?;
        // The length of the description stands before it, after a mark that old files lack.
        let mark = if bytes.starts_with(&[0xFF; 4]) { 8 } else { 4 };
        let message = root_as_message(bytes.get(mark..).unwrap_or_default()).map_err(|e| bad(&e))?;
        let batch = message.header_as_record_batch().ok_or_else(|| bad(&"a batch is none"))?;
        u64::try_from(batch.length()).map_err(|e| bad(&e))
    };
    footer.recordBatches().iter().flatten().map(rows).collect()
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
