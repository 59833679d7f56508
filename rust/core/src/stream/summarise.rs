//! The pass over a file in which summaries see its columns.

use rayon::prelude::*;

use crate::encode::{Found, Summary, Unfit, unfit_weight};
use crate::{Error, Result, parallel};

use super::source::{Cell, Kind};
use super::table::{Table, not_a_number};

/// Rows that are shown to the summaries together.
const BLOCK: usize = 8192;

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
    if looked
        .weight
        .is_some_and(|column| matches!(Values::new(&table.columns()[column].kind), Values::Texts(..)))
    {
        return Err(Error::Array("the column of weights holds text".into()));
    }
    let mut places: Vec<usize> = (0..all.len()).collect();
    places.sort_by_key(|&place| all[place]);
    let ascending: Vec<usize> = places.iter().map(|&place| all[place]).collect();
    let kinds = all.iter().map(|&column| &table.columns()[column].kind);
    let mut block = Block { first: table.first_row(group), values: kinds.map(Values::new).collect() };
    let mut found = None;
    table.source.read(group, &ascending, &mut |_, column, cell| {
        let values = &mut block.values[places[column]];
        let row = block.first + values.len() as u64;
        values
            .push(cell)
            .map_err(|text| not_a_number(&table.columns()[ascending[column]].name, row, &text))?;
        if column + 1 == places.len() && values.len() == BLOCK && found.is_none() {
            found = block.show(summaries)?;
        }
        Ok(())
    })?;
    Ok(if found.is_some() { found } else { block.show(summaries)? })
}

/// Some rows of the columns looked at.
struct Block {
    /// The number of the first row.
    first: u64,
    /// Those of the columns, then the weights.
    values: Vec<Values>,
}

impl Block {
    fn show(&mut self, summaries: &mut [Summary]) -> Result<Option<Found>> {
        let (columns, weights) = self.values.split_at(summaries.len());
        let weights = weights.first().map(Values::numbers);
        let wrong = weights.and_then(unfit_weight).map(|unfit| (summaries.len(), unfit));
        let seen = parallel::run(|| {
            let each = summaries.par_iter_mut().zip(columns).enumerate();
            let shown = each.map(|(place, (summary, values))| {
                Ok(values.show(summary, weights)?.map(|unfit| (place, unfit)))
            });
            shown.collect::<Result<Vec<_>>>()
        })?;
        let first = wrong.into_iter().chain(seen.into_iter().flatten()).next();
        let found = first.map(|(place, unfit)| Found {
            place,
            row: self.first + unfit.at as u64,
            value: unfit.value,
        });
        self.first += self.values.first().map_or(0, Values::len) as u64;
        self.values.iter_mut().for_each(Values::clear);
        Ok(found)
    }
}

/// Values of one column.
enum Values {
    /// NaN for a missing one.
    Numbers(Vec<f64>),
    /// 0, 1, or NaN for a missing one.
    Booleans(Vec<f64>),
    /// All texts in one, and from where to where each goes.
    Texts(String, Vec<Option<(usize, usize)>>),
}

impl Values {
    fn new(kind: &Kind) -> Self {
        match kind {
            Kind::Text => Self::Texts(String::new(), vec![]),
            Kind::Boolean => Self::Booleans(vec![]),
            _ => Self::Numbers(vec![]),
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Numbers(values) | Self::Booleans(values) => values.len(),
            Self::Texts(_, places) => places.len(),
        }
    }

    fn clear(&mut self) {
        match self {
            Self::Numbers(values) | Self::Booleans(values) => values.clear(),
            Self::Texts(text, places) => {
                text.clear();
                places.clear();
            }
        }
    }

    /// Take a cell; a text where numbers belong comes back.
    fn push(&mut self, cell: Cell<'_>) -> std::result::Result<(), String> {
        match self {
            Self::Numbers(values) | Self::Booleans(values) => values.push(match cell {
                Cell::Number(value) => value,
                Cell::Integer(value) => value as f64,
                Cell::Boolean(value) => f64::from(u8::from(value)),
                Cell::Missing => f64::NAN,
                Cell::Text(text) => return Err(text.to_string()),
            }),
            Self::Texts(all, places) => places.push(match cell {
                Cell::Text(text) => {
                    all.push_str(text);
                    Some((all.len() - text.len(), all.len()))
                }
                _ => None,
            }),
        }
        Ok(())
    }

    fn numbers(&self) -> &[f64] {
        if let Self::Numbers(values) | Self::Booleans(values) = self { values } else { &[] }
    }

    fn show(&self, summary: &mut Summary, weights: Option<&[f64]>) -> Result<Option<Unfit>> {
        match self {
            Self::Booleans(values) if summary.as_labels().is_some() => {
                let word =
                    |value: &f64| (!value.is_nan()).then_some(if *value == 0.0 { "false" } else { "true" });
                summary.see_texts(values.iter().map(word)).map(|()| None)
            }
            Self::Numbers(values) | Self::Booleans(values) => Ok(summary.see_numbers(values, weights)),
            Self::Texts(all, places) => {
                let text =
                    |place: &Option<(usize, usize)>| place.and_then(|(start, end)| all.get(start..end));
                summary.see_texts(places.iter().map(text)).map(|()| None)
            }
        }
    }
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
        let table = Table::open(&path, &|| Ok(())).unwrap();
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
