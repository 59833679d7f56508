//! How a node becomes a column of a table: units, ties, categories, copies, outliers, missing values.

use crate::math;
use crate::rng::{Draws, Key};

use super::choice::{ratio_integer, shares, shuffle_front, sign};
use super::pilot::{self, PILOT, Standard};
use super::warp::Warp;
use super::{Column, Range, Role};

/// What the streams of one column are for.
const COPY: u64 = 0;
const OUTLIER: u64 = 1;
const MISSING: u64 = 2;

enum Form {
    Number { warp: Warp, standard: Standard },
    Category { cuts: Vec<f32>, codes: Vec<f32> },
}

/// Missing where a uniform number lies below the rate, times what the row's value of another node makes of it.
struct Missing {
    rate: f32,
    /// (node, slope, scale): `scale / (1 + exp(-slope v))`, one on average; None at random.
    driver: Option<(usize, f32, f32)>,
}

/// One column of the table.
pub(super) struct Finish {
    source: usize,
    role: Role,
    /// Weights of the source and of noise, for copies.
    copy: Option<(f32, f32)>,
    form: Form,
    /// Share of cells that are thrown far out.
    outliers: f32,
    missing: Option<Missing>,
}

/// The settings of one column.
pub(super) struct Plan {
    pub(super) source: usize,
    pub(super) role: Role,
    pub(super) categorical: bool,
    pub(super) warped: bool,
    pub(super) levels: Range<usize>,
    pub(super) outliers: f64,
    /// Rate of missing cells, 0 for none, and the node that may drive it.
    pub(super) missing: f64,
    pub(super) driver: Option<usize>,
}

impl Finish {
    /// A column of the pilot rows' `values`, `[nodes, PILOT]`.
    pub(super) fn draw(plan: &Plan, values: &[f32], key: Key) -> Self {
        let mut draws = key.child(0, 0).draws();
        let mut seen = values[plan.source * PILOT..(plan.source + 1) * PILOT].to_vec();
        let copy = (plan.role == Role::Redundant).then(|| {
            let noise = [0.0, 0.01, 0.1][draws.integer(0, 2)];
            (f32::sqrt(1.0 - noise), f32::sqrt(noise))
        });
        duplicate(copy, key.child(1, 0), &mut seen);
        let form = if plan.categorical {
            Form::category(&seen, plan.levels, &mut draws)
        } else {
            Form::number(&seen, plan.warped, &mut draws)
        };
        let outliers = if matches!(form, Form::Number { .. }) { plan.outliers as f32 } else { 0.0 };
        let missing = (plan.missing > 0.0).then(|| Missing::draw(plan, values, &mut draws));
        Self { source: plan.source, role: plan.role, copy, form, outliers, missing }
    }

    /// The column at `out.len()` rows, from the `values` of the nodes there.
    pub(super) fn fill(&self, key: Key, values: &[f32], out: &mut [f32]) {
        let rows = out.len();
        out.copy_from_slice(&values[self.source * rows..(self.source + 1) * rows]);
        duplicate(self.copy, key.child(COPY, 0), out);
        self.form.apply(out);
        if self.outliers > 0.0 {
            throw(self.outliers, key.child(OUTLIER, 0), out);
        }
        if let Some(missing) = &self.missing {
            missing.apply(key.child(MISSING, 0), values, out);
        }
    }

    pub(super) fn summary(&self) -> Column {
        let levels = match &self.form {
            Form::Number { .. } => 0,
            Form::Category { codes, .. } => codes.len(),
        };
        let missing = self.missing.as_ref();
        Column {
            role: self.role,
            levels,
            outliers: self.outliers,
            missing: missing.map_or(0.0, |missing| missing.rate),
            depends: missing.is_some_and(|missing| missing.driver.is_some()),
        }
    }
}

impl Form {
    /// Parts of the values with codes in random order; the parts are the values' own where they are few.
    fn category(values: &[f32], levels: Range<usize>, draws: &mut Draws) -> Self {
        let sorted = pilot::sorted(values);
        let shares = shares(ratio_integer(draws, levels), draws.log_uniform(1.0, 8.0), draws);
        let cuts =
            pilot::between_distinct(&sorted, levels.high).unwrap_or_else(|| pilot::cuts(&sorted, &shares));
        let mut codes: Vec<f32> = (0..=cuts.len()).map(|code| code as f32).collect();
        let count = codes.len();
        shuffle_front(&mut codes, count, draws);
        Self::Category { cuts, codes }
    }

    fn number(values: &[f32], warped: bool, draws: &mut Draws) -> Self {
        let measure = |warp: &Warp| {
            let mut values = values.to_vec();
            warp.apply(&mut values);
            Standard::of(&values)
        };
        let warp = if warped { Warp::draw(&pilot::sorted(values), draws) } else { Warp::None };
        if let Some(standard) = measure(&warp) {
            return Self::Number { warp, standard: turned(standard, draws) };
        }
        let standard = measure(&Warp::None).unwrap_or(Standard { shift: 0.0, scale: 1.0 });
        Self::Number { warp: Warp::None, standard }
    }

    fn apply(&self, values: &mut [f32]) {
        match self {
            Self::Number { warp, standard } => {
                warp.apply(values);
                standard.apply(values);
            }
            Self::Category { cuts, codes } => {
                let mut part = [0u32; PILOT];
                let part = &mut part[..values.len()];
                pilot::count_above(cuts, values, part);
                values.iter_mut().zip(part.iter()).for_each(|(v, &part)| *v = codes[part as usize]);
            }
        }
    }
}

/// As it is or upside down, so that a long tail may lie on either side.
fn turned(standard: Standard, draws: &mut Draws) -> Standard {
    Standard { scale: sign(draws) * standard.scale, ..standard }
}

fn duplicate(copy: Option<(f32, f32)>, key: Key, values: &mut [f32]) {
    let Some((share, noise)) = copy else { return };
    let mut z = [0.0; PILOT];
    let z = &mut z[..values.len()];
    key.normals(z);
    values.iter_mut().zip(z.iter()).for_each(|(v, z)| *v = share * *v + noise * z);
}

/// Throw the rate's share of the values five to twenty standard deviations further out.
fn throw(rate: f32, key: Key, values: &mut [f32]) {
    let mut u = [0.0; PILOT];
    let u = &mut u[..values.len()];
    key.uniforms(u);
    for (v, &u) in values.iter_mut().zip(u.iter()) {
        if u < rate {
            // Below the rate the number is uniform again: it also says how far.
            *v += (5.0 + 15.0 * u / rate).copysign(*v);
        }
    }
}

impl Missing {
    fn draw(plan: &Plan, values: &[f32], draws: &mut Draws) -> Self {
        let slope = sign(draws) * draws.log_uniform(0.5, 4.0) as f32;
        let depends = draws.uniform() < 0.5;
        let driver = plan.driver.filter(|_| depends).map(|node| {
            let column = &values[node * PILOT..(node + 1) * PILOT];
            let mean = column.iter().map(|&v| logistic(slope * v)).sum::<f32>() / PILOT as f32;
            (node, slope, 1.0 / mean)
        });
        Self { rate: plan.missing as f32, driver }
    }

    fn apply(&self, key: Key, values: &[f32], out: &mut [f32]) {
        let rows = out.len();
        let mut u = [0.0; PILOT];
        let u = &mut u[..rows];
        key.uniforms(u);
        match self.driver {
            None => blank(out, u.iter().map(|&u| u < self.rate)),
            Some((node, slope, scale)) => {
                let column = &values[node * rows..(node + 1) * rows];
                let rates = column.iter().map(|&v| self.rate * scale * logistic(slope * v));
                blank(out, u.iter().zip(rates).map(|(&u, rate)| u < rate));
            }
        }
    }
}

fn blank(out: &mut [f32], missing: impl Iterator<Item = bool>) {
    for (v, missing) in out.iter_mut().zip(missing) {
        if missing {
            *v = f32::NAN;
        }
    }
}

fn logistic(v: f32) -> f32 {
    1.0 / (1.0 + math::exp(-v))
}
