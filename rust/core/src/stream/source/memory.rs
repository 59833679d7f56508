//! Record batches in memory, such as those of another library: a group is a batch.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::Schema;

use crate::Result;
use crate::stream::values::kind;

use super::{Batches, Column, Source};

/// Batches that are kept as they came, without a copy.
pub struct Memory {
    columns: Vec<Column>,
    groups: Vec<u64>,
    batches: Vec<RecordBatch>,
}

impl Memory {
    /// A table of these batches, which all have this schema.
    #[must_use]
    pub fn new(schema: &Schema, batches: Vec<RecordBatch>) -> Self {
        let groups = batches.iter().map(|batch| batch.num_rows() as u64).collect();
        Self { columns: columns(schema), groups, batches }
    }
}

/// The columns of a schema.
pub(super) fn columns(schema: &Schema) -> Vec<Column> {
    let columns = schema.fields().iter();
    columns.map(|f| Column { name: f.name().clone(), kind: kind(f.data_type()) }).collect()
}

/// A batch from row `skip` on.
pub(super) fn rest(batch: &RecordBatch, skip: u64) -> RecordBatch {
    let skip = (skip as usize).min(batch.num_rows());
    batch.slice(skip, batch.num_rows() - skip)
}

impl Source for Memory {
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
        let rest = rest(&self.batches[group], skip);
        let arrays = columns.iter().map(|&column| Arc::clone(rest.column(column))).collect();
        Ok(Box::new(std::iter::once(Ok(arrays))))
    }
}
