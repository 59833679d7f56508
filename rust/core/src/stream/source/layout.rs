//! Where the rows of a CSV file are: groups, and in them pieces that threads read and parse apart.

/// Rows of a group; also bounded in bytes, for wide tables.
pub(super) const GROUP_ROWS: u64 = 1 << 16;
const GROUP_BYTES: u64 = 1 << 24;
/// Bytes of a piece, but for a longer row.
const PIECE: u64 = 1 << 19;

/// Rows that follow each other in one group.
pub(super) struct Piece {
    /// Where they start, in bytes of text.
    pub(super) start: u64,
    pub(super) rows: u64,
    group: usize,
}

/// Where rows are, as far as they have been looked at.
pub(super) struct Layout {
    /// Whether all rows are one group in one piece, since nothing can be read but from the beginning.
    whole: bool,
    /// Rows of each group.
    pub(super) groups: Vec<u64>,
    /// In order; they take a few millionths of the file's size.
    pub(super) pieces: Vec<Piece>,
    /// Where the last group starts.
    start: u64,
}

impl Layout {
    pub(super) fn new(whole: bool) -> Self {
        Self { whole, groups: vec![], pieces: vec![], start: 0 }
    }

    /// The next row starts at a place.
    pub(super) fn row(&mut self, place: u64) {
        let groups = self.groups.len();
        match (self.groups.last_mut(), self.pieces.last_mut()) {
            (Some(rows), Some(piece))
                if self.whole || (*rows < GROUP_ROWS && place - self.start < GROUP_BYTES) =>
            {
                *rows += 1;
                if self.whole || place - piece.start < PIECE {
                    piece.rows += 1;
                } else {
                    self.pieces.push(Piece { start: place, rows: 1, group: groups - 1 });
                }
            }
            _ => {
                self.groups.push(1);
                self.start = place;
                self.pieces.push(Piece { start: place, rows: 1, group: groups });
            }
        }
    }

    /// The pieces of a group.
    pub(super) fn of_group(&self, group: usize) -> std::ops::Range<usize> {
        let first = |group| self.pieces.partition_point(|piece| piece.group < group);
        first(group)..first(group + 1)
    }

    /// Where a piece ends, in a text of so many bytes.
    pub(super) fn end(&self, piece: usize, size: u64) -> u64 {
        self.pieces.get(piece + 1).map_or(size, |next| next.start)
    }
}
