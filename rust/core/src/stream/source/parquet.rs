//! Apache Parquet, any codec; a group is a row group.

use std::fs::File;
use std::path::{Path, PathBuf};

use arrow_array::cast::AsArray;
use arrow_array::types::{
    ArrowPrimitiveType, Decimal128Type, Float16Type, Float32Type, Float64Type, Int8Type, Int16Type,
    Int32Type, Int64Type, UInt8Type, UInt16Type, UInt32Type, UInt64Type,
};
use arrow_array::{Array, ArrayRef};
use arrow_schema::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};

use crate::error::guard;
use crate::{Error, Result};

use super::{Cell, Column, Kind, Source, Visit, damaged, unreadable};

const BATCH_ROWS: usize = 8192;

pub(super) struct Parquet {
    path: PathBuf,
    size: u64,
    metadata: ArrowReaderMetadata,
    columns: Vec<Column>,
    groups: Vec<u64>,
}

impl Parquet {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let (file, size) = file(path)?;
        // The embedded Arrow schema is skipped: without it text is one type, not five, and dictionaries are decoded.
        let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
        let metadata = guard(
            || ArrowReaderMetadata::load(&file, options).map_err(|e| damaged(path, e)),
            |panic| damaged(path, panic),
        )?;
        let sizes = metadata.metadata().row_groups().iter().map(|group| u64::try_from(group.num_rows()));
        let groups = sizes.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| damaged(path, e))?;
        let columns = metadata.schema().fields().iter();
        let columns = columns.map(|f| Column { name: f.name().clone(), kind: kind(f.data_type()) }).collect();
        Ok(Self { path: path.to_owned(), size, metadata, columns, groups })
    }

    fn visit(&self, group: usize, columns: &[usize], visit: &mut Visit<'_>) -> Result<()> {
        let (file, size) = file(&self.path)?;
        if size != self.size {
            return Err(damaged(&self.path, "its size has changed since it was opened"));
        }
        let fail = |e: &dyn std::fmt::Display| damaged(&self.path, e);
        let mask = ProjectionMask::roots(self.metadata.parquet_schema(), columns.iter().copied());
        let batches = ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.metadata.clone())
            .with_projection(mask)
            .with_row_groups(vec![group])
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|e| fail(&e))?;
        let mut rows = 0;
        for batch in batches {
            let batch = batch.map_err(|e| fail(&e))?;
            for (place, array) in batch.columns().iter().enumerate() {
                show(array, &mut |row, cell| visit(rows + row, place, cell))?;
            }
            rows += batch.num_rows();
        }
        if rows as u64 == self.groups[group] {
            return Ok(());
        }
        Err(fail(&format!("row group {group} has {rows} rows instead of {}", self.groups[group])))
    }
}

impl Source for Parquet {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn read(&self, group: usize, columns: &[usize], visit: &mut Visit<'_>) -> Result<()> {
        guard(|| self.visit(group, columns, visit), |panic| damaged(&self.path, panic))
    }
}

fn file(path: &Path) -> Result<(File, u64)> {
    let file = File::open(path).map_err(|e| unreadable(path, &e))?;
    let size = file.metadata().map_err(|e| unreadable(path, &e))?.len();
    Ok((file, size))
}

fn kind(data_type: &DataType) -> Kind {
    use DataType as T;
    match data_type {
        T::Boolean => Kind::Boolean,
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 | T::UInt64 => {
            Kind::Integer
        }
        // A column of type null has no value at all: reading reports it as missing.
        T::Float16 | T::Float32 | T::Float64 | T::Decimal128(..) | T::Null => Kind::Number,
        T::Utf8 | T::Binary => Kind::Text,
        T::Date32
        | T::Date64
        | T::Timestamp(..)
        | T::Time32(_)
        | T::Time64(_)
        | T::Duration(_)
        | T::Interval(_) => Kind::Other(format!("dates or times ({data_type})")),
        T::List(_) | T::LargeList(_) | T::FixedSizeList(..) | T::Struct(_) | T::Map(..) => {
            Kind::Other("nested values".into())
        }
        _ => Kind::Other(format!("values of type {data_type}")),
    }
}

type Show<'a> = dyn FnMut(usize, Cell<'_>) -> Result<()> + 'a;

fn show(array: &ArrayRef, visit: &mut Show<'_>) -> Result<()> {
    use DataType as T;
    match array.data_type() {
        T::Null => (0..array.len()).try_for_each(|row| visit(row, Cell::Missing)),
        T::Boolean => each(array.as_boolean().iter(), visit, Cell::Boolean),
        T::Int8 => integers::<Int8Type>(array, visit),
        T::Int16 => integers::<Int16Type>(array, visit),
        T::Int32 => integers::<Int32Type>(array, visit),
        T::Int64 => integers::<Int64Type>(array, visit),
        T::UInt8 => integers::<UInt8Type>(array, visit),
        T::UInt16 => integers::<UInt16Type>(array, visit),
        T::UInt32 => integers::<UInt32Type>(array, visit),
        T::UInt64 => integers::<UInt64Type>(array, visit),
        T::Float16 => each(array.as_primitive::<Float16Type>().iter(), visit, |v| Cell::Number(v.to_f64())),
        T::Float32 => each(array.as_primitive::<Float32Type>().iter(), visit, |v| Cell::Number(v.into())),
        T::Float64 => each(array.as_primitive::<Float64Type>().iter(), visit, Cell::Number),
        T::Decimal128(_, scale) => {
            let unit = libm::pow(10.0, -f64::from(*scale));
            each(array.as_primitive::<Decimal128Type>().iter(), visit, |v| Cell::Number(v as f64 * unit))
        }
        T::Utf8 => each(array.as_string::<i32>().iter(), visit, Cell::Text),
        T::Binary => {
            let text = |bytes| std::str::from_utf8(bytes).map_or(Cell::Missing, Cell::Text);
            each(array.as_binary::<i32>().iter(), visit, text)
        }
        other => Err(Error::Internal(format!("columns of type {other} are refused before they are read"))),
    }
}

fn integers<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef, visit: &mut Show<'_>) -> Result<()> {
    each(array.as_primitive::<T>().iter(), visit, |v| Cell::Integer(v.into()))
}

fn each<'a, V>(
    values: impl Iterator<Item = Option<V>>,
    visit: &mut Show<'_>,
    cell: impl Fn(V) -> Cell<'a>,
) -> Result<()> {
    values.enumerate().try_for_each(|(row, value)| visit(row, value.map_or(Cell::Missing, &cell)))
}
