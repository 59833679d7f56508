//! Where the parts of an Arrow IPC file lie and how large they say they are, checked before memory is taken for them.

use std::fmt::Display;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use arrow_ipc::reader::read_footer_length;
use arrow_ipc::{Block, CompressionType, Message, RecordBatch, root_as_footer, root_as_message};

use crate::{Error, Result};

use super::{damaged, unreadable};

/// Bytes at the end of a file: the length of the footer and a mark.
const TRAILER: u64 = 10;
/// Bytes before a compressed buffer: how long it is without compression.
const PREFIX: u64 = 8;
/// The most bytes that a byte of LZ4 stands for: one more in the length of a match.
const LZ4: u64 = 255;
/// The most bytes that a byte of Zstandard stands for: 4 of them repeat a byte for a block of 128 KiB.
const ZSTD: u64 = 1 << 15;

/// A record batch of a file.
#[derive(Clone, Copy)]
pub(super) struct Group {
    /// Where it lies.
    pub(super) block: Block,
    /// How many rows it promises.
    pub(super) rows: u64,
}

/// An open file and its size.
pub(super) struct Parts<'a> {
    pub(super) path: &'a Path,
    pub(super) file: &'a File,
    pub(super) size: u64,
}

impl Parts<'_> {
    /// The record batches. Every part lies inside the file, and no dictionary promises more than it can hold.
    pub(super) fn groups(&self) -> Result<Vec<Group>> {
        let footer = self.footer()?;
        let footer = root_as_footer(&footer).map_err(|e| self.bad(e))?;
        for block in footer.dictionaries().iter().flatten() {
            self.check(block)?;
        }
        let group = |block: &Block| {
            let bytes = self.description(block)?;
            let batch = self.message(&bytes)?.header_as_record_batch();
            let rows = batch.ok_or_else(|| self.bad("a batch is none"))?.length();
            Ok(Group { block: *block, rows: self.whole(rows)? })
        };
        footer.recordBatches().iter().flatten().map(group).collect()
    }

    /// Whether the buffers of a batch can be as long as they say: their memory is taken before they are read.
    pub(super) fn check(&self, block: &Block) -> Result<()> {
        let bytes = self.description(block)?;
        let message = self.message(&bytes)?;
        let dictionary = message.header_as_dictionary_batch().and_then(|dictionary| dictionary.data());
        let Some(batch) = message.header_as_record_batch().or(dictionary) else {
            return Err(self.bad("a batch is none"));
        };
        let Some(compression) = batch.compression() else { return Ok(()) };
        let most = if compression.codec() == CompressionType::ZSTD { ZSTD } else { LZ4 };
        self.lengths(block, batch, most)
    }

    fn lengths(&self, block: &Block, batch: RecordBatch<'_>, most: u64) -> Result<()> {
        let body = self.whole(block.offset())? + self.whole(block.metaDataLength().into())?;
        for buffer in batch.buffers().iter().flatten() {
            let (start, length) = (self.whole(buffer.offset())?, self.whole(buffer.length())?);
            if length < PREFIX {
                continue; // Empty, or an error of the decoder.
            }
            let prefix = self.part(body.saturating_add(start), PREFIX)?;
            let promised = prefix.try_into().map(i64::from_le_bytes).unwrap_or_default();
            // A negative length is a mark, or an error of the decoder.
            let promised = u64::try_from(promised).unwrap_or_default();
            if promised > (length - PREFIX).saturating_mul(most) || !available(promised) {
                return Err(self.bad(format!("{length} bytes of it cannot hold {promised} compressed ones")));
            }
        }
        Ok(())
    }

    fn footer(&self) -> Result<Vec<u8>> {
        let end = self.part(self.size.saturating_sub(TRAILER), TRAILER)?;
        let end = end.try_into().map_err(|_| self.bad("it has no end"))?;
        let length = read_footer_length(end).map_err(|e| self.bad(e))? as u64;
        self.part(self.size.saturating_sub(TRAILER).saturating_sub(length), length)
    }

    /// The bytes that describe a batch, which lies inside the file with its body.
    fn description(&self, block: &Block) -> Result<Vec<u8>> {
        let (start, about) = (self.whole(block.offset())?, self.whole(block.metaDataLength().into())?);
        let body = self.whole(block.bodyLength())?;
        let end = start.checked_add(about).and_then(|end| end.checked_add(body));
        if end.is_none_or(|end| end > self.size) {
            return Err(self.bad("a batch of it lies beyond its end"));
        }
        self.part(start, about)
    }

    fn message<'b>(&self, bytes: &'b [u8]) -> Result<Message<'b>> {
        // The length of the description stands before it, after a mark that old files lack.
        let mark = if bytes.starts_with(&[0xFF; 4]) { 8 } else { 4 };
        root_as_message(bytes.get(mark..).unwrap_or_default()).map_err(|e| self.bad(e))
    }

    fn part(&self, start: u64, length: u64) -> Result<Vec<u8>> {
        if start.checked_add(length).is_none_or(|end| end > self.size) {
            return Err(self.bad("a part of it lies beyond its end"));
        }
        let (mut file, mut bytes) = (self.file, vec![0; length as usize]);
        file.seek(SeekFrom::Start(start)).map_err(|e| unreadable(self.path, &e))?;
        file.read_exact(&mut bytes).map_err(|e| self.bad(e))?;
        Ok(bytes)
    }

    fn whole(&self, value: i64) -> Result<u64> {
        u64::try_from(value).map_err(|e| self.bad(e))
    }

    fn bad(&self, detail: impl Display) -> Error {
        damaged(self.path, detail)
    }
}

/// Whether so much memory can be had: where it cannot, the decoder would end the process.
fn available(bytes: u64) -> bool {
    usize::try_from(bytes).is_ok_and(|bytes| Vec::<u8>::new().try_reserve_exact(bytes).is_ok())
}
