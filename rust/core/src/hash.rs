//! One 64-bit mixing function: for decisions about single rows, where a block of random words would be waste.

/// Mix two words into one, each output bit depending on every input bit (the finaliser of SplitMix64, twice).
pub(crate) fn mix(key: u64, value: u64) -> u64 {
    finalise(finalise(value.wrapping_add(0x9E37_79B9_7F4A_7C15)) ^ key)
}

fn finalise(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A whole number in `0..n` from a hash, by multiplication; the bias is below `n / 2^64`.
pub(crate) fn below(hash: u64, n: u64) -> u64 {
    ((u128::from(hash) * u128::from(n)) >> 64) as u64
}
