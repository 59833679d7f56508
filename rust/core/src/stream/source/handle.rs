//! An open file that threads read at places of their own, and that must stay what it was.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::Result;

use super::{Stamp, file, unreadable};

/// Held open, it is one and the same file even where another one takes its name.
pub(super) struct Handle {
    file: File,
    path: PathBuf,
    stamp: Stamp,
}

impl Handle {
    /// Open a file; where it is not the `expected` one, it has changed.
    pub(super) fn open(path: &Path, expected: Option<Stamp>) -> Result<Arc<Self>> {
        let (file, stamp) = file(path, expected)?;
        Ok(Arc::new(Self { file, path: path.to_owned(), stamp }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn stamp(&self) -> Stamp {
        self.stamp
    }

    pub(super) fn size(&self) -> u64 {
        self.stamp.size
    }

    /// An error where somebody has written into the file since it was opened: what was read may be half old, half new.
    pub(super) fn unchanged(&self) -> Result<()> {
        let about = self.file.metadata().map_err(|e| unreadable(&self.path, &e))?;
        self.stamp.check(&self.path, &about)
    }

    /// Bytes from a place to another, or to the end of the file.
    pub(super) fn read(&self, start: u64, end: u64) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(end.saturating_sub(start) as usize);
        Section { handle: self, at: start, end }.read_to_end(&mut bytes)?;
        Ok(bytes)
    }
}

/// Bytes of a handle from a place to another, one after the other.
pub(super) struct Section<H> {
    handle: H,
    at: u64,
    end: u64,
}

impl<H: AsRef<Handle>> Section<H> {
    pub(super) fn new(handle: H, at: u64, end: u64) -> Self {
        Self { handle, at, end }
    }
}

impl AsRef<Self> for Handle {
    fn as_ref(&self) -> &Self {
        self
    }
}

impl<H: AsRef<Handle>> Read for Section<H> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = self.end.saturating_sub(self.at).min(buffer.len() as u64) as usize;
        let read = read_at(&self.handle.as_ref().file, &mut buffer[..most], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, at)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], at: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, at)
}
