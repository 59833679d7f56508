//! Apache Parquet, any codec; a group is a row group.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::error::guard_quietly;
use crate::stream::values::kind;
use crate::{Error, Result};

use super::{BATCH_ROWS, Batches, Column, Counted, Source, Stamp, damaged, file};

pub(super) struct Parquet {
    path: PathBuf,
    stamp: Stamp,
    metadata: ArrowReaderMetadata,
    columns: Vec<Column>,
    groups: Vec<u64>,
}

impl Parquet {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, stamp) = file(path, None)?;
        // The embedded Arrow schema is skipped: without it text is one type, not five, and dictionaries are decoded.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guard_quietly(
            || ArrowReaderMetadata::load(&file, options).map_err(|e| damaged(path, e)),
            |panic| damaged(path, panic),
        )?;
        let sizes = metadata.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()));
        let groups = sizes.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| damaged(path, e))?;
        let columns = metadata.schema().fields().iter();
        let columns = columns.map(|f| Column { name: f.name().clone(), kind: kind(f.data_type()) }).collect();
        Ok(Self { path: path.to_owned(), stamp, metadata, columns, groups })
    }

    fn batches(&self, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let (file, _) = file(&self.path, Some(self.stamp))?;
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let skipped = usize::try_from(skip).map_err(|e| Error::Internal(e.to_string()))?;
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![group])
            .with_offset(skipped)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|e| damaged(&self.path, e))?;
        let path = self.path.clone();
        let batches = batches.map(move |batch| Ok(batch.map_err(|e| damaged(&path, e))?.columns().to_vec()));
        let left = self.groups[group].saturating_sub(skip);
        Ok(Box::new(Counted::new(batches, &self.path, left)))
    }
}

impl Source for Parquet {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn columns_apart(&self) -> bool {
        true
    }

    fn read(self: Arc<Self>, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        guard_quietly(|| self.batches(group, columns, skip), |panic| damaged(&self.path, panic))
    }
}
