//! Rows on their way from a source to a mini-batch: row-major, float32.

/// Some rows of a table.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Block {
    /// How many.
    pub rows: usize,
    /// Features, `[rows, width]`.
    pub x: Vec<f32>,
    /// Targets, `[rows]`; empty without one.
    pub y: Vec<f32>,
    /// Sample weights, `[rows]`; empty without them.
    pub weight: Vec<f32>,
}

/// What a row holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Features.
    pub width: usize,
    /// Whether there is a target.
    pub target: bool,
    /// Whether there is a sample weight.
    pub weight: bool,
}

impl Shape {
    /// Bytes of a row.
    #[must_use]
    pub fn bytes(self) -> u64 {
        4 * (self.width as u64 + u64::from(self.target) + u64::from(self.weight))
    }
}

/// Memory that takes the rows of a mini-batch.
pub struct Out<'a> {
    /// Features, `[n, width]`.
    pub x: &'a mut [f32],
    /// Targets, `[n]`; empty without one.
    pub y: &'a mut [f32],
    /// Sample weights, `[n]`; empty without them.
    pub weight: &'a mut [f32],
}

impl Block {
    /// Append the rows `from..to` of another block of this shape.
    pub fn extend(&mut self, other: &Block, from: usize, to: usize, shape: Shape) {
        self.rows += to - from;
        self.x.extend_from_slice(&other.x[from * shape.width..to * shape.width]);
        if shape.target {
            self.y.extend_from_slice(&other.y[from..to]);
        }
        if shape.weight {
            self.weight.extend_from_slice(&other.weight[from..to]);
        }
    }

    /// Copy rows, numbered from `first`, to the places `at..` of `out`.
    pub fn gather(&self, rows: &[i64], first: u64, shape: Shape, at: usize, out: &mut Out<'_>) {
        let (width, end) = (shape.width, at + rows.len());
        let index = |row: i64| (row as u64 - first) as usize;
        if width > 0 {
            for (&row, to) in rows.iter().zip(out.x[at * width..end * width].chunks_exact_mut(width)) {
                to.copy_from_slice(&self.x[index(row) * width..][..width]);
            }
        }
        if shape.target {
            rows.iter().zip(&mut out.y[at..end]).for_each(|(&row, to)| *to = self.y[index(row)]);
        }
        if shape.weight {
            rows.iter().zip(&mut out.weight[at..end]).for_each(|(&row, to)| *to = self.weight[index(row)]);
        }
    }
}
