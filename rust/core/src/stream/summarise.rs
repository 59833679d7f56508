//! The pass over a table in which summaries see its columns.

use std::sync::Arc;

use arrow_array::{Array, ArrayRef};
use rayon::prelude::*;

use crate::encode::{Found, Summary, Unfit, unfit_weight};
use crate::{Error, Result, parallel};

use super::decode::is_label;
use super::source::{Column, Kind};
use super::table::{Table, numbers};
use super::values::texts;

/// What is looked at: columns by index, all different.
#[derive(Debug, Clone, Default)]
pub struct Looked {
    /// One column for each summary.
    pub columns: Vec<usize>,
    /// The column of the rows' weights.
    pub weight: Option<usize>,
}

/// Show the rows of a group to the summaries; the first number that cannot be summarised, with its row in the table.
///
/// # Errors
/// `Array` where a column or group is outside the table, or weights are texts; those of reading.
pub fn summarise(
    table: &Table,
    group: usize,
    looked: &Looked,
    summaries: &mut [Summary],
) -> Result<Option<Found>> {
    let all: Vec<usize> = looked.columns.iter().chain(&looked.weight).copied().collect();
    let width = table.columns().len();
    if looked.columns.len() != summaries.len() || all.iter().any(|&column| column >= width) {
        return Err(Error::Array(format!("`columns` must be {} indices below {width}", summaries.len())));
    }
    if group >= table.groups().len() {
        return Err(Error::Array(format!("the table has no group {group}")));
    }
    if looked.weight.is_some_and(|column| table.columns()[column].kind == Kind::Text) {
        return Err(Error::Array("the column of weights holds text".into()));
    }
    let mut ascending = all.clone();
    ascending.sort_unstable();
    let mut row = table.first_row(group);
    for arrays in Arc::clone(&table.source).read(group, &ascending, 0)? {
        let arrays = arrays?;
        let place = |column: &usize| ascending.binary_search(column).unwrap_or(0);
        let shown: Vec<_> =
            all.iter().map(|column| (&table.columns()[*column], &arrays[place(column)])).collect();
        let found = show(row, &shown, summaries)?;
        if found.is_some() {
            return Ok(found);
        }
        row += arrays.first().map_or(0, |array| array.len() as u64);
    }
    Ok(None)
}

/// Show some rows, of which `first` is the first: arrays of the summaries' columns, then of the weights.
fn show(first: u64, arrays: &[(&Column, &ArrayRef)], summaries: &mut [Summary]) -> Result<Option<Found>> {
    let (columns, weights) = arrays.split_at(summaries.len());
    let weights = weights.first().map(|(column, array)| numbers(&column.name, first, array)).transpose()?;
    let weights = weights.as_deref();
    let wrong = weights.and_then(unfit_weight).map(|unfit| (summaries.len(), unfit));
    let seen = parallel::run(|| {
        let each = summaries.par_iter_mut().zip(columns).enumerate();
        let shown = each.map(|(place, (summary, (column, array)))| {
            Ok(see(first, column, array, summary, weights)?.map(|unfit| (place, unfit)))
        });
        shown.collect::<Result<Vec<_>>>()
    })?;
    let found = wrong.into_iter().chain(seen.into_iter().flatten()).next();
    Ok(found.map(|(place, unfit)| Found { place, row: first + unfit.at as u64, value: unfit.value }))
}

fn see(
    first: u64,
    column: &Column,
    array: &ArrayRef,
    summary: &mut Summary,
    weights: Option<&[f64]>,
) -> Result<Option<Unfit>> {
    if is_label(&column.kind, summary.as_labels().is_some()) {
        let labels = texts(array)?;
        return summary.see_texts(labels.iter().map(|label| label.as_deref())).map(|()| None);
    }
    Ok(summary.see_numbers(&numbers(&column.name, first, array)?, weights))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::rng::Key;

    #[test]
    fn a_file_is_seen_column_by_column() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.csv");
        let row = |r: usize| {
            format!(
                "{},w{},{},{}\n",
                r,
                r % 3,
                r.is_multiple_of(2),
                if r.is_multiple_of(5) { "" } else { "1.5" }
            )
        };
        let text: String = (0..20_000).map(row).collect();
        fs::write(&path, format!("n,text,flag,gaps\n{text}")).unwrap();
        let table = Table::open(&[path], &|| Ok(())).unwrap();
        let new = || {
            let number = Summary::numbers(Key::new(0));
            vec![Summary::labels(), Summary::labels(), number.clone(), number]
        };
        let mut summaries = new();
        let looked = Looked { columns: vec![1, 2, 3, 0], weight: None };
        assert_eq!(summarise(&table, 0, &looked, &mut summaries), Ok(None));
        summaries.iter_mut().for_each(Summary::settle);
        assert_eq!(summaries[0].as_labels().unwrap().ranked(), [("w0", 6667), ("w1", 6667), ("w2", 6666)]);
        assert_eq!(summaries[1].as_labels().unwrap().ranked(), [("false", 10_000), ("true", 10_000)]);
        assert_eq!(
            (summaries[2].rows(), summaries[2].missing(), summaries[2].moments().mean),
            (20_000, 4000, 1.5)
        );
        assert_eq!(summaries[3].moments().mean, 9999.5);
        let weighed = Looked { columns: vec![1, 2, 0], weight: Some(3) };
        let found = summarise(&table, 0, &weighed, &mut new()[..3]).unwrap().unwrap();
        assert_eq!((found.place, found.row, found.value.is_nan()), (3, 0, true));
        assert!(summarise(&table, 0, &looked, &mut new()[..3]).is_err());
        let texts = Looked { columns: vec![2, 0], weight: Some(1) };
        assert!(matches!(summarise(&table, 0, &texts, &mut new()[1..3]), Err(Error::Array(_))));
        assert!(summarise(&table, 1, &looked, &mut new()).is_err());
        assert!(summarise(&table, 0, &Looked { columns: vec![4], weight: None }, &mut new()[..1]).is_err());
    }
}
