//! Files of random damage: opening and reading them may fail, but never panics.
//!
//! Runs for `AMORTIX_FUZZ_SECONDS` (1 by default) from `AMORTIX_FUZZ_SEED` (0 by default); a failure names the seed and
//! the step, which together give the same bytes again.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::slice;
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
    fuzz_files(&["t.csv", "q.csv", "t.parquet"]);
}

#[test]
fn damaged_arrow_files_never_panic() {
    fuzz_files(&["t.arrow", "lz4.arrow", "zstd.arrow"]);
}

/// Two files in folders of names that are damaged: both alike, each in its own way, or with one file damaged too.
#[test]
fn damaged_names_of_folders_never_panic() {
    const NAMES: [&[&str]; 2] = [
        &["year=2024", "city=Troms%C3%B8", "share=-1.5e-3"],
        &["year=-7", "city=__HIVE_DEFAULT_PARTITION__", "share=2"],
    ];
    let folder = tempfile::tempdir().unwrap();
    let paths = ["t.csv", "u.csv"].map(|name| folder.path().join(name));
    paths.iter().for_each(|path| write(path));
    let folders = NAMES.map(|names| names.iter().map(|name| (*name).to_string()).collect::<Vec<_>>());
    assert_eq!(read(&paths, &folders), Ok(600));
    let whole = fs::read(&paths[1]).unwrap();
    fuzz(0, |key| {
        let way = key.draws().integer(0, 2);
        let damaged = |(file, names): (usize, &Vec<String>)| {
            let key = key.child(1, if way == 0 { 0 } else { file as u64 });
            let place = key.draws().integer(0, names.len() - 1);
            let mut names = names.clone();
            let name = mutated(names[place].clone().into_bytes(), key.child(2, 0));
            names[place] = String::from_utf8_lossy(&name).into_owned();
            names
        };
        let folders: Vec<_> = folders.iter().enumerate().map(damaged).collect();
        let content = if way == 2 { mutated(whole.clone(), key.child(3, 0)) } else { whole.clone() };
        fs::write(&paths[1], content).unwrap();
        (format!("{folders:?}"), catch_unwind(AssertUnwindSafe(|| read(&paths, &folders))))
    });
}

fn fuzz_files(names: &[&str]) {
    let folder = tempfile::tempdir().unwrap();
    let whole = names.iter().map(|name| {
        let path = folder.path().join(name);
        write(&path);
        assert_eq!(read(slice::from_ref(&path), &[vec![]]), Ok(300), "{name}");
        (*name, fs::read(&path).unwrap())
    });
    let whole: Vec<_> = whole.collect();
    let mut turns = whole.iter().cycle();
    fuzz(whole.len() as u64, |key| {
        let (name, content) = turns.next().unwrap();
        let path = folder.path().join(format!("damaged-{name}"));
        fs::write(&path, mutated(content.clone(), key)).unwrap();
        ((*name).to_string(), catch_unwind(AssertUnwindSafe(|| read(&[path], &[vec![]]))))
    });
}

/// Attempts with the keys of the steps, at least so many, until the time is over or one panics.
fn fuzz(least: u64, mut attempt: impl FnMut(Key) -> (String, std::thread::Result<Result<usize>>)) {
    let seconds = setting("AMORTIX_FUZZ_SECONDS", 1.0);
    let seed = setting("AMORTIX_FUZZ_SEED", 0);
    println!("AMORTIX_FUZZ_SEED={seed}");
    let until = Instant::now() + Duration::from_secs_f64(seconds);
    let mut failures = vec![];
    let (mut step, mut readable) = (0, 0);
    while failures.is_empty() && (step < least || Instant::now() < until) {
        match attempt(Key::new(seed).child(0, step)) {
            (name, Ok(Err(Error::Internal(panic)))) => failures.push(format!("{name}, step {step}: {panic}")),
            (_, Ok(found)) => readable += u64::from(found.is_ok()),
            (name, Err(_)) => failures.push(format!("{name}, step {step}: a panic came through")),
        }
        step += 1;
    }
    println!("{step} files, {readable} of them read");
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

/// Open files as one table and read the first of its rows with every column of numbers as a feature; how many came.
fn read(paths: &[PathBuf], folders: &[Vec<String>]) -> Result<usize> {
    let table = Table::open_in(paths, folders, GO)?;
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
