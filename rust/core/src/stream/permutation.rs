//! Pseudo-random permutations of `0..n` that need no memory.

use pulp::Arch;

use crate::hash;
use crate::rng::Key;

const ROUNDS: usize = 8;
/// Indices that are worked on side by side.
const LANES: usize = 32;

/// A permutation of `0..n`: a Feistel network on a grid of `height * width` cells, few more than `n`, walked until it
/// lands below `n`.
///
/// A round adds a hash of the column to the row, modulo the height, or a hash of the row to the column.
///
/// Reference: Black, Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (generalised Feistel, cycle walking).
pub(crate) struct Permutation {
    n: u64,
    height: u64,
    width: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(crate) fn new(n: u64, key: Key) -> Self {
        // At least 16 cells a side: smaller sides have so few round functions that some orders come up more often.
        let width = n.isqrt().max(15) + 1;
        let height = n.div_ceil(width).max(16);
        let keys = std::array::from_fn(|round| key.child(round as u64, n).bits());
        Self { n, height, width, keys }
    }

    /// Where `index` goes; `index` must be below `n`.
    pub(crate) fn at(&self, index: u64) -> u64 {
        let mut value = index;
        loop {
            value = self.scramble(value);
            if value < self.n {
                return value;
            }
        }
    }

    /// Where `first` and the indices after it go, each plus `start`.
    pub(crate) fn fill(&self, first: u64, start: u64, out: &mut [i64]) {
        match self.narrow() {
            Some(narrow) => Arch::new().dispatch(Fill { whole: self, narrow, first, start, out }),
            None => (first..).zip(out).for_each(|(index, out)| *out = (start + self.at(index)) as i64),
        }
    }

    fn scramble(&self, value: u64) -> u64 {
        let (mut row, mut column) = (value / self.width, value % self.width);
        if let Some(narrow) = self.narrow() {
            let (mut rows, mut columns) = ([row as u32], [column as u32]);
            narrow.scramble(&mut rows, &mut columns);
            return u64::from(rows[0]) * self.width + u64::from(columns[0]);
        }
        for keys in self.keys.chunks_exact(2) {
            row = wrap(row + hash::below(hash::mix(keys[0], column), self.height), self.height);
            column = wrap(column + hash::below(hash::mix(keys[1], row), self.width), self.width);
        }
        row * self.width + column
    }

    /// The same network in 32 bits, where sides are short enough.
    fn narrow(&self) -> Option<Narrow> {
        let fits = self.width <= 1 << 16 && self.height <= 1 << 16;
        let (height, width) = (self.height as u32, self.width as u32);
        fits.then(|| Narrow { height, width, keys: self.keys.map(|key| key as u32) })
    }
}

fn wrap(value: u64, side: u64) -> u64 {
    if value >= side { value - side } else { value }
}

#[derive(Clone, Copy)]
struct Narrow {
    height: u32,
    width: u32,
    keys: [u32; ROUNDS],
}

impl Narrow {
    /// Plain loops over lanes, which the compiler turns into vector instructions.
    #[inline(always)]
    fn scramble<const N: usize>(&self, rows: &mut [u32; N], columns: &mut [u32; N]) {
        for keys in self.keys.chunks_exact(2) {
            for lane in 0..N {
                rows[lane] = turn(rows[lane], columns[lane] ^ keys[0], self.height);
            }
            for lane in 0..N {
                columns[lane] = turn(columns[lane], rows[lane] ^ keys[1], self.width);
            }
        }
    }
}

/// Add a hash of `word` to `value`, modulo `side`. The hash is the finaliser of MurmurHash3.
#[inline(always)]
fn turn(value: u32, mut word: u32, side: u32) -> u32 {
    word = (word ^ (word >> 16)).wrapping_mul(0x85EB_CA6B);
    word = (word ^ (word >> 13)).wrapping_mul(0xC2B2_AE35);
    word ^= word >> 16;
    let sum = value + ((u64::from(word) * u64::from(side)) >> 32) as u32;
    sum.min(sum.wrapping_sub(side))
}

struct Fill<'a> {
    whole: &'a Permutation,
    narrow: Narrow,
    first: u64,
    start: u64,
    out: &'a mut [i64],
}

impl pulp::NullaryFnOnce for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let Fill { whole, narrow, first, start, out } = self;
        for (chunk, out) in out.chunks_mut(LANES).enumerate() {
            let index = first + (chunk * LANES) as u64;
            let (row, column) = ((index / whole.width) as u32, (index % whole.width) as u32);
            let (mut rows, mut columns) = ([row; LANES], [0; LANES]);
            for lane in 0..LANES {
                // The grid may be narrower than the lanes: up to two rows further.
                columns[lane] = column + lane as u32;
                for _ in 0..2 {
                    let beyond = u32::from(columns[lane] >= narrow.width);
                    columns[lane] -= beyond * narrow.width;
                    rows[lane] += beyond;
                }
            }
            narrow.scramble(&mut rows, &mut columns);
            for (lane, out) in out.iter_mut().enumerate() {
                let value = u64::from(rows[lane]) * whole.width + u64::from(columns[lane]);
                let value = if value < whole.n { value } else { whole.at(value) };
                *out = (start + value) as i64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_index_occurs_once(seed: u64, n in 1u64..3000) {
            let permutation = Permutation::new(n, Key::new(seed));
            let mut seen = vec![false; n as usize];
            for i in 0..n {
                let j = permutation.at(i) as usize;
                prop_assert!(!seen[j]);
                seen[j] = true;
            }
        }

        #[test]
        fn many_at_once_are_the_single_ones(seed: u64, n in 1u64..1 << 34, part in 0.0f64..1.0, length in 0u64..100) {
            let permutation = Permutation::new(n, Key::new(seed));
            let first = ((n as f64 * part) as u64).min(n - 1);
            let mut out = vec![0; length.min(n - first) as usize];
            permutation.fill(first, 7, &mut out);
            for (index, value) in (first..).zip(out) {
                prop_assert_eq!(value as u64, 7 + permutation.at(index));
            }
        }

        #[test]
        fn huge_domains_stay_in_range(seed: u64, n in 1u64..1 << 63, part in 0.0f64..1.0) {
            let index = ((n as f64 * part) as u64).min(n - 1);
            prop_assert!(Permutation::new(n, Key::new(seed)).at(index) < n);
        }
    }

    /// All n! orders of a small n, and all places of an element of a larger one, are equally likely.
    #[test]
    fn orders_are_uniform() {
        let draws = 24_000;
        let mut orders = std::collections::HashMap::new();
        let mut places = [0u32; 30];
        for seed in 0..draws {
            let small = Permutation::new(4, Key::new(seed));
            *orders.entry([0, 1, 2, 3].map(|i| small.at(i))).or_insert(0u32) += 1;
            places[Permutation::new(30, Key::new(seed)).at(11) as usize] += 1;
        }
        let chi = |counts: &[u32]| {
            let expected = draws as f64 / counts.len() as f64;
            counts.iter().map(|&c| (f64::from(c) - expected).powi(2) / expected).sum::<f64>()
        };
        let orders: Vec<u32> = orders.into_values().collect();
        assert_eq!(orders.len(), 24);
        // Upper 1e-4 points of chi-squared with 23 and 29 degrees of freedom.
        assert!(chi(&orders) < 57.1, "{}", chi(&orders));
        assert!(chi(&places) < 66.2, "{}", chi(&places));
    }
}
