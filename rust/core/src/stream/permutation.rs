//! Pseudo-random permutations of `0..n` that need no memory.

use crate::hash;
use crate::rng::Key;

const ROUNDS: usize = 8;

/// A permutation of `0..n`: a Feistel network on the next power of two, walked until it lands below `n`.
///
/// Reference: Black, Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (cycle walking).
pub(crate) struct Permutation {
    n: u64,
    right_bits: u32,
    left_mask: u64,
    right_mask: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(crate) fn new(n: u64, key: Key) -> Self {
        // At least eight bits: halves of two bits have so few round functions that some orders come up more often.
        let bits = (u64::BITS - n.saturating_sub(1).leading_zeros()).max(8);
        let right_bits = bits / 2;
        let left_bits = bits - right_bits;
        let mask = |bits: u32| (1u64 << bits) - 1;
        let keys = std::array::from_fn(|round| key.child(round as u64, n).bits());
        Self { n, right_bits, left_mask: mask(left_bits), right_mask: mask(right_bits), keys }
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

    fn scramble(&self, value: u64) -> u64 {
        let (mut left, mut right) = (value >> self.right_bits, value & self.right_mask);
        for keys in self.keys.chunks_exact(2) {
            left ^= hash::mix(keys[0], right) & self.left_mask;
            right ^= hash::mix(keys[1], left) & self.right_mask;
        }
        left << self.right_bits | right
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
