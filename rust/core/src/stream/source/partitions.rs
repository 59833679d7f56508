//! What the folders of a file tell of its rows, as Hive names them: `year=2024/city=Oslo` is two more columns.

use std::path::PathBuf;
use std::sync::Arc;

use arrow_array::{ArrayRef, Float64Array, Int64Array, StringArray};

use crate::stream::values::parse;
use crate::{Error, Result};

use super::{Column, Kind};

/// What stands for a missing value.
const MISSING: &str = "__HIVE_DEFAULT_PARTITION__";

/// Columns that have one value in each file.
pub(super) struct Partitions {
    columns: Vec<Column>,
    /// For each file its value of each column, None where it is missing.
    values: Vec<Vec<Option<String>>>,
}

impl Partitions {
    /// The keys and values among the names of the folders that each file lies in, outermost first.
    pub(super) fn of(paths: &[PathBuf], folders: &[Vec<String>]) -> Result<Self> {
        if folders.len() != paths.len() {
            return Err(Error::Config(format!(
                "`folders` must be {}, one list for each path, not {}",
                paths.len(),
                folders.len()
            )));
        }
        let pairs = folders.iter().map(|names| names.iter().filter_map(|name| pair(name)).unzip());
        let (keys, values): (Vec<Vec<String>>, Vec<Vec<Option<String>>>) = pairs.unzip();
        let Some(names) = keys.first() else { return Ok(Self { columns: vec![], values }) };
        if let Some((path, odd)) = paths.iter().zip(&keys).find(|(_, keys)| *keys != names) {
            return Err(Error::Source(format!(
                "the folders of {} tell {odd:?}, but those of {} {names:?}: files of one table need the same keys",
                path.display(),
                paths[0].display()
            )));
        }
        let column = |(place, name): (usize, &String)| {
            let told = values.iter().filter_map(|values| values[place].as_deref());
            Column { name: name.clone(), kind: kind(told) }
        };
        let columns = names.iter().enumerate().map(column).collect();
        Ok(Self { columns, values })
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The value that a column has in a file, in so many rows.
    pub(super) fn array(&self, file: usize, column: usize, rows: usize) -> ArrayRef {
        let value = self.values[file][column].as_deref();
        match self.columns[column].kind {
            Kind::Integer => Arc::new(Int64Array::from(vec![value.and_then(|v| v.parse().ok()); rows])),
            Kind::Number => Arc::new(Float64Array::from(vec![value.and_then(|v| parse(v).ok()); rows])),
            _ => Arc::new(StringArray::from(vec![value; rows])),
        }
    }
}

/// Numbers only where every value is one.
fn kind<'a>(values: impl Iterator<Item = &'a str> + Clone) -> Kind {
    if values.clone().all(|value| value.parse::<i64>().is_ok()) {
        return Kind::Integer;
    }
    let number = |value: &str| parse(value).is_ok_and(f64::is_finite);
    if values.clone().all(number) { Kind::Number } else { Kind::Text }
}

/// The key and the value in the name of a folder.
fn pair(name: &str) -> Option<(String, Option<String>)> {
    let (key, value) = name.split_once('=').filter(|(key, _)| !key.is_empty())?;
    Some((decoded(key), (value != MISSING && !value.is_empty()).then(|| decoded(value))))
}

/// What text stands for in which some bytes are written as `%` and two hexadecimal digits.
fn decoded(text: &str) -> String {
    let (mut bytes, mut rest) = (Vec::with_capacity(text.len()), text.as_bytes());
    while let [first, tail @ ..] = rest {
        let digit = |at: usize| tail.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        let code = if *first == b'%' { digit(0).zip(digit(1)) } else { None };
        bytes.push(code.map_or(*first, |(high, low)| (16 * high + low) as u8));
        rest = &tail[if code.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partitions(folders: &[&[&str]]) -> Result<Partitions> {
        let folders: Vec<Vec<String>> =
            folders.iter().map(|names| names.iter().map(|name| (*name).to_string()).collect()).collect();
        let paths: Vec<_> = (0..folders.len()).map(|i| PathBuf::from(format!("{i}.csv"))).collect();
        Partitions::of(&paths, &folders)
    }

    #[test]
    fn names_are_decoded_and_typed() {
        let found = partitions(&[
            &["year=2024", "plain", "a%20b=1e3", "city=Troms%C3%B8%2f", "odd=%zz%"],
            &["year=-7", "a%20b=2", "city=__HIVE_DEFAULT_PARTITION__", "odd=%ff"],
        ]);
        let found = found.unwrap();
        let columns = found.columns.iter().map(|column| (column.name.as_str(), column.kind.clone()));
        let expected =
            [("year", Kind::Integer), ("a b", Kind::Number), ("city", Kind::Text), ("odd", Kind::Text)];
        assert_eq!(columns.collect::<Vec<_>>(), expected);
        let text = |text: &str| Some(text.to_string());
        assert_eq!(found.values[0], [text("2024"), text("1e3"), text("Tromsø/"), text("%zz%")]);
        assert_eq!(found.values[1], [text("-7"), text("2"), None, text("%ff")]);
        assert_eq!(found.array(1, 2, 3).null_count(), 3);
    }

    #[test]
    fn keys_must_agree() {
        let odd = partitions(&[&["a=1", "b=2"], &["a=1"]]).err().unwrap().to_string();
        assert!(odd.contains("1.csv") && odd.contains("same keys"), "{odd}");
        assert!(partitions(&[&["=1"]]).unwrap().columns.is_empty());
        assert!(matches!(Partitions::of(&[], &[vec![]]), Err(Error::Config(_))));
    }
}
