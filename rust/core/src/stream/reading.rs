//! One pass over the groups of a source, cut into the pieces that a stream asks for.

use crate::{Error, Result};

use super::block::{Block, Shape};
use super::order::Position;

/// Blocks of a group in row order.
pub type Blocks = Box<dyn Iterator<Item = Result<Block>> + Send>;
/// Begins to read a group at a row.
pub type Load = Box<dyn Fn(usize, u64) -> Result<Blocks> + Send>;

/// Rows of a group that are at hand.
pub(crate) struct Piece {
    pub(crate) epoch: u64,
    /// The place of its first row.
    pub(crate) at: Position,
    /// The number of its first row in the group.
    pub(crate) first: u64,
    pub(crate) block: Block,
}

impl Piece {
    /// The place after its last row, in the same group.
    pub(crate) fn end(&self) -> Position {
        Position { offset: self.at.offset + self.block.rows as u64, ..self.at }
    }
}

/// A reader that goes on where it is, if that is where the next rows are wanted.
pub(crate) struct Reading<'a> {
    load: &'a Load,
    shape: Shape,
    group: usize,
    row: u64,
    blocks: Option<Blocks>,
    /// The block in work, and how many of its rows were taken.
    rest: Block,
    taken: usize,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(load: &'a Load, shape: Shape) -> Self {
        Self { load, shape, group: 0, row: 0, blocks: None, rest: Block::default(), taken: 0 }
    }

    /// The rows `first..first + rows` of a group.
    pub(crate) fn take(&mut self, group: usize, first: u64, rows: u64) -> Result<Block> {
        let mut block = self.next(group, first, rows)?;
        // Memory for all of them at once, so that it is not moved as it grows.
        block.x.reserve_exact((rows as usize - block.rows) * self.shape.width);
        while (block.rows as u64) < rows {
            let more = self.next(group, first + block.rows as u64, rows - block.rows as u64)?;
            block.extend(&more, 0, more.rows, self.shape);
        }
        Ok(block)
    }

    /// Rows of a group from `first` on, at most `most` of them: those of one decoded block.
    pub(crate) fn next(&mut self, group: usize, first: u64, most: u64) -> Result<Block> {
        if self.blocks.is_none() || self.group != group || self.row != first {
            (self.group, self.row) = (group, first);
            (self.rest, self.taken) = (Block::default(), 0);
            self.blocks = Some((self.load)(group, first)?);
        }
        while self.taken == self.rest.rows {
            (self.rest, self.taken) = (self.decode()?, 0);
        }
        let rows = most.min((self.rest.rows - self.taken) as u64) as usize;
        self.row += rows as u64;
        if rows == self.rest.rows {
            // The whole block is wanted as it is: it is moved.
            return Ok(std::mem::take(&mut self.rest));
        }
        let mut block = Block::default();
        block.extend(&self.rest, self.taken, self.taken + rows, self.shape);
        self.taken += rows;
        Ok(block)
    }

    fn decode(&mut self) -> Result<Block> {
        self.rest = Block::default();
        let next = self.blocks.as_mut().and_then(Iterator::next);
        next.unwrap_or_else(|| {
            Err(Error::Format(format!("group {} of the table has fewer rows than it promised", self.group)))
        })
    }
}
