//! A table in a file: which columns are features, which is the target, and what its cells mean.

use std::collections::{BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;

use crate::{Error, Result};

use super::source::{self, Cell, Column, Kind, Source};

/// A source with its columns and groups.
#[derive(Clone)]
pub struct Table {
    pub(super) source: Arc<dyn Source>,
}

/// What a reader takes from a table.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Feature columns, by index, in the order of the output.
    pub features: Vec<usize>,
    /// The target column.
    pub target: Option<usize>,
    /// Labels in the order of their class indices; None for a target of numbers.
    pub classes: Option<Vec<String>>,
}

impl Table {
    /// Open a `.parquet` or `.csv` file; `tick` is asked now and then whether to go on.
    ///
    /// # Errors
    /// `Source` where the file is not there, `Format` where it is damaged or of an unknown kind.
    pub fn open(path: &Path, tick: &dyn Fn() -> Result<()>) -> Result<Self> {
        Ok(Self { source: Arc::from(source::open(path, tick)?) })
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
            tick()?;
            let first = self.first_row(group);
            self.source.read(group, &[column], &mut |row, _, cell| {
                let Some(text) = label(cell) else {
                    return Err(missing(&self.columns()[column].name, first + row as u64));
                };
                if labels.len() < limit && !labels.contains(&text) {
                    labels.insert(text);
                }
                Ok(())
            })?;
            if labels.len() >= limit {
                break;
            }
        }
        Ok(sorted(labels))
    }

    pub(super) fn first_row(&self, group: usize) -> u64 {
        self.groups()[..group].iter().sum()
    }
}

/// Reads rows of a table, one group in memory at a time.
pub struct Reader {
    table: Table,
    selection: Selection,
    classes: HashMap<String, f32>,
    block: Option<Block>,
}

#[derive(Default)]
struct Block {
    group: usize,
    /// `[rows, features]`
    x: Vec<f32>,
    /// `[rows]`, empty without a target
    y: Vec<f32>,
}

impl Reader {
    /// A reader of these columns.
    ///
    /// # Errors
    /// `Array` where a column is outside the table.
    pub fn new(table: Table, selection: Selection) -> Result<Self> {
        let width = table.columns().len();
        if selection.features.iter().chain(&selection.target).any(|&c| c >= width) {
            return Err(Error::Array(format!("a column index is outside the table's {width} columns")));
        }
        let labels = selection.classes.iter().flatten().enumerate();
        let classes = labels.map(|(index, label)| (label.clone(), index as f32)).collect();
        Ok(Self { table, selection, classes, block: None })
    }

    /// Copy rows of a group: features to `x`, `[rows, features]`, the target to `y`, `[rows]`, empty without one.
    ///
    /// # Errors
    /// `Source` where a value is missing, no number or an unknown label; `Format` where the file is damaged.
    pub fn gather_into(&mut self, group: usize, rows: &[i64], x: &mut [f32], y: &mut [f32]) -> Result<()> {
        let width = self.selection.features.len();
        let targets = if self.selection.target.is_some() { rows.len() } else { 0 };
        if x.len() != rows.len() * width || y.len() != targets {
            return Err(Error::Array(format!("`x` must be [{}, {width}] and `y` [{targets}]", rows.len())));
        }
        let Some(&size) = self.table.groups().get(group) else {
            return Err(Error::Array(format!("the table has no group {group}")));
        };
        if let Some(row) = rows.iter().find(|&&row| row < 0 || row as u64 >= size) {
            return Err(Error::Array(format!("`rows` holds {row}, but group {group} has {size} rows")));
        }
        let block = match self.block.take() {
            Some(block) if block.group == group => block,
            // The old block is gone before the new one is read: one group at a time.
            _ => self.load(group)?,
        };
        for (i, &row) in rows.iter().enumerate() {
            let row = row as usize;
            x[i * width..(i + 1) * width].copy_from_slice(&block.x[row * width..(row + 1) * width]);
            if let Some(y) = y.get_mut(i) {
                *y = block.y[row];
            }
        }
        self.block = Some(block);
        Ok(())
    }

    fn load(&self, group: usize) -> Result<Block> {
        let Selection { features, target, .. } = &self.selection;
        let mut columns: Vec<usize> = features.iter().chain(target).copied().collect();
        columns.sort_unstable();
        columns.dedup();
        let homes: Vec<Option<usize>> =
            columns.iter().map(|c| features.iter().position(|f| f == c)).collect();
        let (first, width) = (self.table.first_row(group), features.len());
        let mut block = Block { group, ..Block::default() };
        let mut gaps = Gaps::new(columns.len());
        self.table.source.read(group, &columns, &mut |row, place, cell| {
            let (column, global) = (&self.table.columns()[columns[place]].name, first + row as u64);
            // Memory grows with the rows that come, not with what a damaged file claims.
            block.x.resize(block.x.len().max((row + 1) * width), 0.0);
            if target.is_some() {
                block.y.resize(block.y.len().max(row + 1), 0.0);
            }
            if gaps.see(place, row, &cell) {
                return Ok(());
            }
            if let Some(home) = homes[place] {
                block.x[row * width + home] = number(column, global, &cell)?;
            }
            if Some(columns[place]) == *target {
                block.y[row] = self.target(column, global, &cell)?;
            }
            Ok(())
        })?;
        if let Some((place, row)) = gaps.first() {
            let name = &self.table.columns()[columns[place]].name;
            let rows = self.table.groups()[group];
            return Err(if gaps.present[place] == 0 && rows > 1 {
                let last = first + rows - 1;
                Error::Source(format!(
                    "column {name:?} has no value at all in rows {first} to {last}: drop it with --drop {name}"
                ))
            } else {
                missing(name, first + row as u64)
            });
        }
        Ok(block)
    }

    fn target(&self, column: &str, row: u64, cell: &Cell<'_>) -> Result<f32> {
        if self.selection.classes.is_none() {
            return number(column, row, cell);
        }
        let label = label(*cell).unwrap_or_default();
        self.classes.get(&label).copied().ok_or_else(|| {
            Error::Source(format!(
                "target {column:?} has the label {label:?} at row {row}, which is none of the classes: \
                 list it among them or remove the row"
            ))
        })
    }
}

/// Which columns of a group lack values.
struct Gaps {
    first: Vec<Option<usize>>,
    present: Vec<u64>,
}

impl Gaps {
    fn new(columns: usize) -> Self {
        Self { first: vec![None; columns], present: vec![0; columns] }
    }

    /// Note a cell; whether it is missing.
    fn see(&mut self, place: usize, row: usize, cell: &Cell<'_>) -> bool {
        let gap = matches!(cell, Cell::Missing) || matches!(cell, Cell::Number(v) if v.is_nan());
        if gap {
            self.first[place].get_or_insert(row);
        } else {
            self.present[place] += 1;
        }
        gap
    }

    /// A column without any value, else the earliest missing cell: (place, row).
    fn first(&self) -> Option<(usize, usize)> {
        let gaps = self.first.iter().enumerate().filter_map(|(place, row)| row.map(|row| (place, row)));
        gaps.min_by_key(|&(place, row)| (self.present[place] > 0, row, place))
    }
}

fn number(column: &str, row: u64, cell: &Cell<'_>) -> Result<f32> {
    let value = match *cell {
        Cell::Number(value) => value,
        Cell::Integer(value) => value as f64,
        Cell::Boolean(value) => f64::from(u8::from(value)),
        Cell::Missing => return Err(missing(column, row)),
        Cell::Text(text) => return Err(not_a_number(column, row, text)),
    };
    let single = value as f32;
    if single.is_finite() {
        return Ok(single);
    }
    Err(Error::Source(format!(
        "column {column:?} is {value} at row {row}, which is no finite float32: \
         replace it or drop the column with --drop {column}"
    )))
}

pub(super) fn not_a_number(column: &str, row: u64, text: &str) -> Error {
    let shown: String = text.chars().take(40).collect();
    Error::Source(format!(
        "column {column:?} holds the text {shown:?} at row {row} where a number belongs: \
         drop it with --drop {column} or encode it as numbers"
    ))
}

fn missing(column: &str, row: u64) -> Error {
    Error::Source(format!(
        "column {column:?} is missing (empty or NaN) at row {row}: fill it in, remove the row, \
         or drop the column with --drop {column}"
    ))
}

/// The text of a label; a whole number is written without a fraction, whatever its type.
fn label(cell: Cell<'_>) -> Option<String> {
    match cell {
        Cell::Missing => None,
        Cell::Number(value) => (!value.is_nan()).then(|| value.to_string()),
        Cell::Integer(value) => Some(value.to_string()),
        Cell::Boolean(value) => Some(value.to_string()),
        Cell::Text(text) => Some(text.to_string()),
    }
}

fn sorted(labels: BTreeSet<String>) -> Vec<String> {
    let mut labels: Vec<String> = labels.into_iter().collect();
    if labels.iter().all(|label| label.parse::<i128>().is_ok()) {
        labels.sort_by_key(|label| label.parse::<i128>().unwrap_or_default());
    }
    labels
}

/// Whether a column can be a feature; the reason where it cannot.
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

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;
    use std::sync::Arc;

    use arrow_array::{
        ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray,
    };
    use parquet::arrow::ArrowWriter;
    use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
    use parquet::file::properties::WriterProperties;
    use proptest::prelude::*;

    use super::*;

    const GO: &dyn Fn() -> Result<()> = &|| Ok(());

    fn csv(text: &str) -> (tempfile::TempDir, Result<Table>) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        fs::write(&path, text).unwrap();
        let table = Table::open(&path, GO);
        (folder, table)
    }

    fn parquet(
        columns: Vec<(&str, ArrayRef)>,
        codec: Compression,
        group: usize,
    ) -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.parquet");
        let batch =
            RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(n, a)| (n, a, true))).unwrap();
        let properties =
            WriterProperties::builder().set_compression(codec).set_max_row_group_row_count(Some(group));
        let file = fs::File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties.build())).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        (folder, path)
    }

    fn numbers(rows: i64) -> Vec<(&'static str, ArrayRef)> {
        vec![
            ("a", Arc::new(Float64Array::from_iter_values((0..rows).map(|r| r as f64 / 2.0)))),
            ("b", Arc::new(Int64Array::from_iter_values(0..rows))),
            ("flag", Arc::new(BooleanArray::from_iter((0..rows).map(|r| Some(r % 2 == 1))))),
            ("label", Arc::new(StringArray::from_iter_values((0..rows).map(|r| format!("c{}", r % 3))))),
        ]
    }

    fn read(table: &Table, selection: Selection) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut xs, mut ys) = (vec![], vec![]);
        let (width, target) = (selection.features.len(), selection.target.is_some());
        let mut reader = Reader::new(table.clone(), selection)?;
        for (group, &rows) in table.groups().iter().enumerate() {
            let order: Vec<i64> = (0..rows as i64).collect();
            let mut x = vec![0.0; order.len() * width];
            let mut y = vec![0.0; if target { order.len() } else { 0 }];
            reader.gather_into(group, &order, &mut x, &mut y)?;
            xs.extend(x);
            ys.extend(y);
        }
        Ok((xs, ys))
    }

    fn features(features: &[usize]) -> Selection {
        Selection { features: features.to_vec(), ..Selection::default() }
    }

    #[test]
    fn every_codec_reads_the_same() {
        for codec in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::GZIP(GzipLevel::default()),
            Compression::BROTLI(BrotliLevel::default()),
            Compression::ZSTD(ZstdLevel::default()),
            Compression::LZ4_RAW,
        ] {
            let (_folder, path) = parquet(numbers(25), codec, 10);
            let table = Table::open(&path, GO).unwrap();
            assert_eq!(table.groups(), [10, 10, 5]);
            let classes = Some(vec!["c0".into(), "c1".into(), "c2".into()]);
            let (x, y) = read(&table, Selection { features: vec![2, 0], target: Some(3), classes }).unwrap();
            let expected: Vec<f32> = (0..25).flat_map(|r| [(r % 2) as f32, r as f32 / 2.0]).collect();
            assert_eq!(x, expected);
            assert_eq!(y, (0..25).map(|r| (r % 3) as f32).collect::<Vec<f32>>());
            assert_eq!(table.distinct_labels(3, 9, GO).unwrap(), ["c0", "c1", "c2"]);
            assert_eq!(table.distinct_labels(1, 12, GO).unwrap().len(), 12);
        }
    }

    #[test]
    fn kinds_are_told_apart() {
        let mut columns = numbers(3);
        columns.push(("day", Arc::new(Date32Array::from(vec![1, 2, 3]))));
        let (_folder, path) = parquet(columns, Compression::SNAPPY, 10);
        let table = Table::open(&path, GO).unwrap();
        let refused = |c: &Column| check_feature(c).map_err(|e| e.to_string()).err();
        let reasons: Vec<_> = table.columns().iter().filter_map(refused).collect();
        assert_eq!(reasons.len(), 2);
        assert!(reasons[0].contains("\"label\"") && reasons[0].contains("text"), "{reasons:?}");
        assert!(reasons[1].contains("\"day\"") && reasons[1].contains("dates"), "{reasons:?}");
    }

    #[test]
    fn gaps_and_infinities_are_named() {
        let column = |values: Vec<Option<f64>>| {
            let (_folder, path) = parquet(
                vec![("a", Arc::new(Float64Array::from(values)) as ArrayRef)],
                Compression::SNAPPY,
                2,
            );
            read(&Table::open(&path, GO).unwrap(), features(&[0])).unwrap_err().to_string()
        };
        assert!(
            column(vec![Some(1.0), Some(1.0), Some(1.0), None])
                .contains("\"a\" is missing (empty or NaN) at row 3")
        );
        assert!(column(vec![Some(1.0), Some(f64::NAN)]).contains("at row 1"));
        assert!(column(vec![Some(1.0), Some(f64::INFINITY)]).contains("is inf at row 1"));
        assert!(column(vec![Some(1.0), Some(1e300)]).contains("float32"));
        assert!(column(vec![None, None, None]).contains("no value at all in rows 0 to 1"));
    }

    #[test]
    fn csv_fields_may_be_quoted_and_labels_keep_their_text() {
        let (_folder, table) = csv("\u{feff}a,\"b,\n\"\"x\",c\r\n 1 ,\"2\",\"x, \n y\"\n-3e1,4,z\n\n");
        let table = table.unwrap();
        let names: Vec<_> = table.columns().iter().map(|c| (c.name.as_str(), c.kind.clone())).collect();
        assert_eq!(names, [("a", Kind::Number), ("b,\n\"x", Kind::Integer), ("c", Kind::Text)]);
        let classes = Some(vec!["z".to_string(), "x, \n y".to_string()]);
        let (x, y) = read(&table, Selection { features: vec![0, 1], target: Some(2), classes }).unwrap();
        assert_eq!((x, y), (vec![1.0, 2.0, -30.0, 4.0], vec![1.0, 0.0]));
    }

    #[test]
    fn csv_in_many_groups_reads_every_row() {
        let rows = 150_000;
        let text: String = std::iter::once("a,b\n".to_string())
            .chain(
                (0..rows).map(|r| if r % 7 == 0 { format!("{r},\"{r}\"\n") } else { format!("{r},{r}\r\n") }),
            )
            .collect();
        let (_folder, table) = csv(&text);
        let table = table.unwrap();
        assert_eq!(table.groups(), [65_536, 65_536, 18_928]);
        let (x, _) = read(&table, features(&[0, 1])).unwrap();
        assert!(x.chunks(2).enumerate().all(|(r, pair)| pair == [r as f32; 2]));
    }

    #[test]
    fn csv_faults_are_named() {
        let ragged = csv("a,b\n1,2\n3\n").1.err().unwrap();
        assert!(matches!(&ragged, Error::Format(m) if m.contains("line 3 has 1 fields")), "{ragged}");
        assert!(matches!(csv("").1.err().unwrap(), Error::Format(_)));
        let (_folder, table) = csv(&format!("a\n{}x\n", "1\n".repeat(70_000)));
        let text = read(&table.unwrap(), features(&[0])).unwrap_err().to_string();
        assert!(text.contains("the text \"x\" at row 70000"), "{text}");
        let (_folder, table) = csv("a,b\n1,NA\n2,\n");
        let text = read(&table.unwrap(), features(&[0, 1])).unwrap_err().to_string();
        assert!(text.contains("\"b\" has no value at all"), "{text}");
        let missing = Table::open(Path::new("/nowhere/t.csv"), GO).err().unwrap();
        assert!(matches!(&missing, Error::Source(m) if m.contains("does not exist")), "{missing}");
        assert!(matches!(Table::open(Path::new("t.xls"), GO), Err(Error::Format(_))));
    }

    #[test]
    fn an_unknown_label_is_named() {
        let (_folder, table) = csv("a,y\n1,2\n2,10\n3,9\n");
        let table = table.unwrap();
        assert_eq!(table.distinct_labels(1, 99, GO).unwrap(), ["2", "9", "10"]);
        let classes = Some(vec!["2".to_string(), "10".to_string()]);
        let error = read(&table, Selection { features: vec![0], target: Some(1), classes }).unwrap_err();
        assert!(error.to_string().contains("the label \"9\" at row 2"), "{error}");
    }

    #[test]
    fn what_is_asked_for_must_exist() {
        let (_folder, table) = csv("a\n1\n");
        let table = table.unwrap();
        assert!(Reader::new(table.clone(), features(&[1])).is_err());
        let mut reader = Reader::new(table, features(&[0])).unwrap();
        for (group, rows) in [(1, vec![0]), (0, vec![1]), (0, vec![-1])] {
            assert!(matches!(reader.gather_into(group, &rows, &mut [0.0], &mut []), Err(Error::Array(_))));
        }
        assert!(reader.gather_into(0, &[0], &mut [], &mut []).is_err());
        assert!(reader.gather_into(0, &[0], &mut [0.0], &mut []).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(256))]

        /// A damaged file is an error or other numbers, never a panic: damage is a cut and a few changed bytes.
        #[test]
        fn damaged_files_do_not_panic(
            text: bool, keep in 0.0f64..=1.0, changes in prop::collection::vec((0.0f64..1.0, any::<u8>()), 0..4),
        ) {
            let (folder, path) = parquet(numbers(60), Compression::SNAPPY, 25);
            let mut bytes = fs::read(&path).unwrap();
            if text {
                bytes = b"a,b,flag,label\n".iter().chain(b"1,2.5,true,\"x\"\n".repeat(20).iter()).copied().collect();
            }
            for (place, byte) in changes {
                let at = (bytes.len() as f64 * place) as usize;
                bytes[at] = byte;
            }
            bytes.truncate((bytes.len() as f64 * keep) as usize);
            let path = folder.path().join(if text { "d.csv" } else { "d.parquet" });
            fs::write(&path, bytes).unwrap();
            if let Ok(table) = Table::open(&path, GO) {
                for column in 0..table.columns().len() {
                    if check_feature(&table.columns()[column]).is_ok() {
                        let _ = read(&table, features(&[column]));
                    }
                }
            }
        }
    }
}
