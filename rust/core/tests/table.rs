//! Tables in files: what is read, and what is said of what cannot be read.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Date32Array, Float64Array, Int64Array, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::{BrotliLevel, Compression, GzipLevel, ZstdLevel};
use parquet::file::properties::WriterProperties;
use proptest::prelude::*;

use amortix_core::stream::source::{Column, Kind};
use amortix_core::stream::table::{Coding, Selection, Table, check_feature};
use amortix_core::{Error, Result};

const GO: &dyn Fn() -> Result<()> = &|| Ok(());

fn csv(text: &str) -> (tempfile::TempDir, Result<Table>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    fs::write(&path, text).unwrap();
    let table = Table::open(std::slice::from_ref(&path), GO);
    (folder, table)
}

fn parquet(columns: Vec<(&str, ArrayRef)>, codec: Compression, group: usize) -> (tempfile::TempDir, PathBuf) {
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
    let (mut xs, mut ys, selection) = (vec![], vec![], Arc::new(selection));
    for group in 0..table.groups().len() {
        for block in table.blocks(&selection, group, 0)? {
            let block = block?;
            xs.extend(block.x);
            ys.extend(block.y);
        }
    }
    Ok((xs, ys))
}

fn features(features: &[usize]) -> Selection {
    Selection {
        features: features.iter().map(|&column| (column, Coding::Raw)).collect(),
        ..Selection::default()
    }
}

fn classified(columns: &[usize], target: usize, classes: &[&str]) -> Selection {
    let classes = classes.iter().enumerate().map(|(index, label)| (label.to_string(), index as f32));
    Selection { target: Some(target), classes: Some(classes.collect()), ..features(columns) }
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
        let table = Table::open(std::slice::from_ref(&path), GO).unwrap();
        assert_eq!(table.groups(), [10, 10, 5]);
        let (x, y) = read(&table, classified(&[2, 0], 3, &["c0", "c1", "c2"])).unwrap();
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
    let table = Table::open(std::slice::from_ref(&path), GO).unwrap();
    let refused = |c: &Column| check_feature(c).map_err(|e| e.to_string()).err();
    let reasons: Vec<_> = table.columns().iter().filter_map(refused).collect();
    assert_eq!(reasons.len(), 2);
    assert!(reasons[0].contains("\"label\"") && reasons[0].contains("text"), "{reasons:?}");
    assert!(reasons[1].contains("\"day\"") && reasons[1].contains("dates"), "{reasons:?}");
}

#[test]
fn gaps_and_infinities_are_named() {
    let column = |values: Vec<Option<f64>>| {
        let (_folder, path) =
            parquet(vec![("a", Arc::new(Float64Array::from(values)) as ArrayRef)], Compression::SNAPPY, 2);
        read(&Table::open(std::slice::from_ref(&path), GO).unwrap(), features(&[0])).unwrap_err().to_string()
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
    let (x, y) = read(&table, classified(&[0, 1], 2, &["z", "x, \n y"])).unwrap();
    assert_eq!((x, y), (vec![1.0, 2.0, -30.0, 4.0], vec![1.0, 0.0]));
}

#[test]
fn csv_in_many_groups_reads_every_row() {
    let rows = 150_000;
    let text: String = std::iter::once("a,b\n".to_string())
        .chain((0..rows).map(|r| if r % 7 == 0 { format!("{r},\"{r}\"\n") } else { format!("{r},{r}\r\n") }))
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
    let missing = Table::open(&[PathBuf::from("/nowhere/t.csv")], GO).err().unwrap();
    assert!(matches!(&missing, Error::Source(m) if m.contains("does not exist")), "{missing}");
    assert!(matches!(Table::open(&[PathBuf::from("t.xls")], GO), Err(Error::Format(_))));
}

#[test]
fn an_unknown_label_is_named() {
    let (_folder, table) = csv("a,y\n1,2\n2,10\n3,9\n");
    let table = table.unwrap();
    assert_eq!(table.distinct_labels(1, 99, GO).unwrap(), ["2", "9", "10"]);
    let error = read(&table, classified(&[0], 1, &["2", "10"])).unwrap_err();
    assert!(error.to_string().contains("the label \"9\" at row 2"), "{error}");
}

#[test]
fn what_is_asked_for_must_exist() {
    let (_folder, table) = csv("a\n1\n");
    let table = table.unwrap();
    assert!(matches!(read(&table, features(&[1])), Err(Error::Array(_))));
    assert!(matches!(table.blocks(&Arc::new(features(&[0])), 1, 0).err(), Some(Error::Array(_))));
    assert_eq!(read(&table, features(&[0])), Ok((vec![1.0], vec![])));
}

#[test]
fn any_row_can_be_the_first() {
    let (_folder, path) = parquet(numbers(20_000), Compression::SNAPPY, 15_000);
    let text: String = (0..20_000).map(|row| format!("{row}\r\n")).collect();
    let (_other, table) = csv(&format!("b\n{text}"));
    for (table, column) in [(Table::open(&[path], GO).unwrap(), 1), (table.unwrap(), 0)] {
        let selection = Arc::new(features(&[column]));
        for (group, skip) in [(0, 0), (0, 1), (0, 8191), (0, 8192), (0, 14_999), (0, table.groups()[0])] {
            let blocks = table.blocks(&selection, group, skip).unwrap();
            let found: Vec<f32> = blocks.flat_map(|block| block.unwrap().x).collect();
            assert_eq!(found, (skip..table.groups()[0]).map(|row| row as f32).collect::<Vec<_>>());
        }
    }
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
        if let Ok(table) = Table::open(std::slice::from_ref(&path), GO) {
            for column in 0..table.columns().len() {
                if check_feature(&table.columns()[column]).is_ok() {
                    let _ = read(&table, features(&[column]));
                }
            }
        }
    }
}
