//! Products with the low-rank factors `[P, R]` of a symmetric matrix U Uᵀ, compiled for each of the usual ranks.

/// Call a function with the rank as a constant where it is a usual one; 0 stands for any other.
macro_rules! by_rank {
    ($rank:expr, $function:ident($($argument:expr),*)) => {
        match $rank {
            0 => {}
            1 => $function::<1>($($argument),*),
            2 => $function::<2>($($argument),*),
            4 => $function::<4>($($argument),*),
            8 => $function::<8>($($argument),*),
            _ => $function::<0>($($argument),*),
        }
    };
}

/// `out [R] = Uᵀ vector`.
#[inline(always)]
pub(super) fn project(factors: &[f32], vector: &[f32], out: &mut [f32]) {
    by_rank!(out.len(), project_rank(factors, vector, out));
}

/// `out [P] += U projection`.
#[inline(always)]
pub(super) fn add_product(factors: &[f32], projection: &[f32], out: &mut [f32]) {
    by_rank!(projection.len(), add_product_rank(factors, projection, out));
}

/// `out [P, R] = a bᵀ + c dᵀ`.
#[inline(always)]
pub(super) fn outer_products(a: &[f32], b: &[f32], c: &[f32], d: &[f32], out: &mut [f32]) {
    by_rank!(b.len(), outer_products_rank(a, b, c, d, out));
}

/// Sums that do not wait for each other.
const PARTIAL: usize = 4;

#[inline(always)]
fn project_rank<const R: usize>(factors: &[f32], vector: &[f32], out: &mut [f32]) {
    let rank = if R == 0 { out.len() } else { R };
    if R == 0 {
        out.fill(0.0);
        for (row, v) in factors.chunks_exact(rank).zip(vector) {
            out.iter_mut().zip(row).for_each(|(out, u)| *out += v * u);
        }
        return;
    }
    let mut partial = [[0.0; R]; PARTIAL];
    let (rows, _) = factors.as_chunks::<R>();
    for (rows, vector) in rows.chunks(PARTIAL).zip(vector.chunks(PARTIAL)) {
        for ((sums, row), v) in partial.iter_mut().zip(rows).zip(vector) {
            for (sum, u) in sums.iter_mut().zip(row) {
                *sum += v * u;
            }
        }
    }
    let [a, b, c, d] = partial;
    for (r, out) in out.iter_mut().enumerate() {
        *out = (a[r] + b[r]) + (c[r] + d[r]);
    }
}

#[inline(always)]
fn add_product_rank<const R: usize>(factors: &[f32], projection: &[f32], out: &mut [f32]) {
    let rank = if R == 0 { projection.len() } else { R };
    let projection = &projection[..rank];
    for (out, row) in out.iter_mut().zip(factors.chunks_exact(rank)) {
        let mut sum = 0.0;
        for (u, h) in row.iter().zip(projection) {
            sum += u * h;
        }
        *out += sum;
    }
}

#[inline(always)]
fn outer_products_rank<const R: usize>(a: &[f32], b: &[f32], c: &[f32], d: &[f32], out: &mut [f32]) {
    let rank = if R == 0 { b.len() } else { R };
    let (b, d) = (&b[..rank], &d[..rank]);
    for ((row, a), c) in out.chunks_exact_mut(rank).zip(a).zip(c) {
        for ((out, b), d) in row.iter_mut().zip(b).zip(d) {
            *out = a * b + c * d;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_every_rank_by_the_plain_sums() {
        for rank in 0..10 {
            let rows = 7;
            let factors: Vec<f32> = (0..rows * rank).map(|i| (i % 5) as f32 - 2.0).collect();
            let (a, c): (Vec<f32>, Vec<f32>) = (0..rows).map(|i| (i as f32, 3.0 - i as f32)).unzip();
            let mut projection = vec![f32::NAN; rank];
            project(&factors, &a, &mut projection);
            for (r, got) in projection.iter().enumerate() {
                assert_eq!(*got, (0..rows).map(|p| factors[p * rank + r] * a[p]).sum::<f32>());
            }
            let (mut product, mut outer) = (c.clone(), vec![f32::NAN; rows * rank]);
            add_product(&factors, &projection, &mut product);
            let twice: Vec<f32> = projection.iter().map(|h| 2.0 * h).collect();
            outer_products(&a, &projection, &c, &twice, &mut outer);
            for p in 0..rows {
                let row = &factors[p * rank..(p + 1) * rank];
                let dot: f32 = row.iter().zip(&projection).map(|(u, h)| u * h).sum();
                assert_eq!(product[p], c[p] + dot);
                for (r, h) in projection.iter().enumerate() {
                    assert_eq!(outer[p * rank + r], a[p] * h + c[p] * 2.0 * h);
                }
            }
        }
    }
}
