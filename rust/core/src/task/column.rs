//! What a task says about one of its columns.

/// What a column has to do with the target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It may say something about the target.
    Feature,
    /// A copy of another column, with or without noise.
    Redundant,
    /// Independent of the target and of every column that is not irrelevant itself.
    Irrelevant,
}

impl Role {
    /// Its name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Feature => "feature",
            Self::Redundant => "redundant",
            Self::Irrelevant => "irrelevant",
        }
    }
}

/// One column of a task.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Column {
    /// What it has to do with the target.
    pub role: Role,
    /// Codes of a categorical column, 0 to `levels - 1`; 0 for a numeric one.
    pub levels: usize,
    /// Share of its cells that are thrown far out.
    pub outliers: f32,
    /// Share of its cells that are missing.
    pub missing: f32,
    /// Whether another node decides which cells are missing.
    pub depends: bool,
}

impl Column {
    /// A numeric column of which nothing else is known.
    pub(crate) const NUMERIC: Self =
        Self { role: Role::Feature, levels: 0, outliers: 0.0, missing: 0.0, depends: false };
}
