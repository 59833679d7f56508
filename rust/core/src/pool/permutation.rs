//! The permutation by which slots are drawn. It differs from that of streams and stays as it is: with other draws, a recipe
//! would not give the bundled weights again.

use crate::hash;
use crate::rng::Key;

const ROUNDS: usize = 8;

/// A permutation of `0..n`: a Feistel network on the next power of two, walked until it lands below `n`.
///
/// Reference: Black, Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002 (cycle walking).
pub(super) struct Permutation {
    n: u64,
    right_bits: u32,
    left_mask: u64,
    right_mask: u64,
    keys: [u64; ROUNDS],
}

impl Permutation {
    pub(super) fn new(n: u64, key: Key) -> Self {
        // At least eight bits: halves of two bits have so few round functions that some orders come up more often.
        let bits = (u64::BITS - n.saturating_sub(1).leading_zeros()).max(8);
        let right_bits = bits / 2;
        let left_bits = bits - right_bits;
        let mask = |bits: u32| (1u64 << bits) - 1;
        let keys = std::array::from_fn(|round| key.child(round as u64, n).bits());
        Self { n, right_bits, left_mask: mask(left_bits), right_mask: mask(right_bits), keys }
    }

    /// Where `index` goes; `index` must be below `n`.
    pub(super) fn at(&self, index: u64) -> u64 {
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
