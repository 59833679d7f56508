//! Files of random damage: opening and reading them may fail, but never panics.
//!
//! Runs for `AMORTIX_FUZZ_SECONDS` (1 by default) from `AMORTIX_FUZZ_SEED` (0 by default); a failure names the seed and
//! the step, which together give the same bytes again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use amortix_core::rng::Key;
use amortix_core::stream::source::Kind;
use amortix_core::stream::table::{Coding, Selection, Table};
use amortix_core::{Error, Result};
use arrow_array::{ArrayRef, Float64Array, Int64Array, RecordBatch, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;

const GO: &dyn Fn() -> Result<()> = &|| Ok(());
/// Groups and rows that are read of one file: a damaged count may promise more than anyone can wait for.
const GROUPS: usize = 8;
const ROWS: usize = 10_000;

#[test]
fn damaged_files_never_panic() {
    fuzz(&["t.csv", "q.csv", "t.parquet"]);
}

#[test]
fn damaged_arrow_files_never_panic() {
    fuzz(&["t.arrow", "lz4.arrow", "zstd.arrow"]);
}

fn fuzz(names: &[&str]) {
    let seconds = setting("AMORTIX_FUZZ_SECONDS", 1.0);
    let seed = setting("AMORTIX_FUZZ_SEED", 0);
    println!("AMORTIX_FUZZ_SEED={seed}");
    let folder = tempfile::tempdir().unwrap();
    let whole = names.iter().map(|name| {
        let path = folder.path().join(name);
        write(&path);
        assert_eq!(read(&path), Ok(300), "{name}");
        (name, fs::read(&path).unwrap())
    });
    let whole: Vec<_> = whole.collect();
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let mut failures = vec![];
    let mut step = 0;
    while failures.is_empty() && (step < whole.len() as u64 || Instant::now() < until) {
        let (name, content) = &whole[step as usize % whole.len()];
        let path = folder.path().join(format!("damaged-{name}"));
        fs::write(&path, mutated(content.clone(), Key::new(seed).child(0, step))).unwrap();
        match catch_unwind(AssertUnwindSafe(|| read(&path))) {
            Ok(Err(Error::Internal(panic))) => failures.push(format!("{name}, step {step}: {panic}")),
            Ok(_) => {}
            Err(_) => failures.push(format!("{name}, step {step}: a panic came through")),
        }
        step += 1;
    }
    println!("{step} files");
    assert!(failures.is_empty(), "AMORTIX_FUZZ_SEED={seed}: {failures:?}");
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).map_or(default, |text| text.parse().ok().expect("a number"))
}

/// Some bytes changed, a piece put or moved elsewhere, the end cut off.
fn mutated(mut bytes: Vec<u8>, key: Key) -> Vec<u8> {
    const TELLING: [u8; 9] = [0, 1, 0x7f, 0x80, 0xff, b',', b'"', b'\n', b'\r'];
    let mut draws = key.draws();
    for _ in 0..draws.integer(1, 5) {
        let last = bytes.len().saturating_sub(1);
        if last == 0 {
            break;
        }
        // Half of the changes at the end: the description of a Parquet or Arrow file stands there.
        let low = if draws.uniform() < 0.5 { 0 } else { last.saturating_sub(600) };
        let at = draws.integer(low, last);
        let piece = at..draws.integer(at, last.min(at + 40));
        match draws.integer(0, 5) {
            0 => bytes[at] ^= 1 << draws.integer(0, 7),
            1 => bytes[at] = draws.integer(0, 255) as u8,
            2 => bytes[at] = TELLING[draws.integer(0, TELLING.len() - 1)],
            3 => bytes.truncate(at),
            4 => drop(bytes.drain(piece)),
            _ => {
                let copied = bytes[piece].to_vec();
                let to = draws.integer(0, last);
                bytes.splice(to..to, copied);
            }
        }
    }
    bytes
}

/// 300 rows in groups of 100: whole numbers, fractions, labels; q.csv has quotation marks.
fn write(path: &Path) {
    let columns: [(&str, ArrayRef); 3] = [
        ("n", Arc::new(Int64Array::from_iter_values(0..300))),
        ("half", Arc::new(Float64Array::from_iter_values((0..300).map(|n| f64::from(n) / 2.0)))),
        ("label", Arc::new(StringArray::from_iter_values((0..300).map(|n| format!("c{}", n % 3))))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let name = path.file_name().unwrap().to_string_lossy();
    if name.ends_with(".csv") {
        let quote = if name.starts_with('q') { "\"" } else { "" };
        let rows = (0..300).map(|n| format!("{n},{},{quote}c{}{quote}\n", f64::from(n) / 2.0, n % 3));
        return fs::write(path, "n,half,label\n".to_string() + &rows.collect::<String>()).unwrap();
    }
    let file = fs::File::create(path).unwrap();
    if name.ends_with(".parquet") {
        let properties = WriterProperties::builder().set_max_row_group_row_count(Some(100)).build();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
    } else {
        let codec = [("lz4", CompressionType::LZ4_FRAME), ("zstd", CompressionType::ZSTD)];
        let codec = codec.into_iter().find(|(start, _)| name.starts_with(start)).map(|(_, codec)| codec);
        let options = IpcWriteOptions::default().try_with_compression(codec).unwrap();
        let mut writer = FileWriter::try_new_with_options(file, &batch.schema(), options).unwrap();
        (0..3).for_each(|group| writer.write(&batch.slice(100 * group, 100)).unwrap());
        writer.finish().unwrap();
    }
}

/// Open a file and read the first of its rows with every column of numbers as a feature; how many came.
fn read(path: &Path) -> Result<usize> {
    let table = Table::open(&[path.to_path_buf()], GO)?;
    let features = table.columns().iter().enumerate();
    let features = features.filter(|(_, c)| matches!(c.kind, Kind::Number | Kind::Integer | Kind::Boolean));
    let features = features.map(|(column, _)| (column, Coding::Raw)).collect();
    let target = table.columns().iter().position(|column| column.kind == Kind::Text);
    let classes = ["c0", "c1", "c2"].iter().zip([0.0, 1.0, 2.0]);
    let classes = target.map(|_| classes.map(|(label, class)| ((*label).to_string(), class)).collect());
    let selection = Arc::new(Selection { features, target, classes, weight: None });
    let mut rows = 0;
    for group in 0..table.groups().len().min(GROUPS) {
        for block in table.blocks(&selection, group, 0)? {
            rows += block?.rows;
            if rows > ROWS {
                break;
            }
        }
    }
    Ok(rows)
}
