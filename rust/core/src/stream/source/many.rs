//! Several files as one table: the groups of one after those of another.

use std::path::PathBuf;
use std::sync::Arc;

use crate::{Error, Result};

use super::{Batches, Column, Source};

pub(super) struct Many {
    sources: Vec<Arc<dyn Source>>,
    groups: Vec<u64>,
    /// The source of each group, and the number of the group there.
    homes: Vec<(usize, usize)>,
}

impl Many {
    /// One table of several, whose columns must have the same names and kinds.
    pub(super) fn new(paths: &[PathBuf], sources: Vec<Arc<dyn Source>>) -> Result<Self> {
        for (path, source) in paths.iter().zip(&sources).skip(1) {
            let pairs = sources[0].columns().iter().zip(source.columns());
            let odd = pairs.into_iter().find(|(first, other)| first != other);
            let (first, path) = (paths[0].display(), path.display());
            if let Some((expected, found)) = odd {
                return Err(Error::Source(format!(
                    "{path} has the column {:?} of {} where {first} has {:?} of {}: files of one table need the same columns",
                    found.name, found.kind, expected.name, expected.kind
                )));
            }
            if source.columns().len() != sources[0].columns().len() {
                return Err(Error::Source(format!(
                    "{path} has {} columns, but {first} has {}: files of one table need the same columns",
                    source.columns().len(),
                    sources[0].columns().len()
                )));
            }
        }
        let groups = sources.iter().flat_map(|source| source.groups().to_vec()).collect();
        let homes = sources.iter().enumerate();
        let homes =
            homes.flat_map(|(home, source)| (0..source.groups().len()).map(move |group| (home, group)));
        let homes = homes.collect();
        Ok(Self { sources, groups, homes })
    }
}

impl Source for Many {
    fn columns(&self) -> &[Column] {
        self.sources[0].columns()
    }

    fn groups(&self) -> &[u64] {
        &self.groups
    }

    fn columns_apart(&self) -> bool {
        self.sources[0].columns_apart()
    }

    fn read(self: Arc<Self>, group: usize, columns: &[usize], skip: u64) -> Result<Batches> {
        let (home, group) = self.homes[group];
        Arc::clone(&self.sources[home]).read(group, columns, skip)
    }
}
