//! Plain decimal numbers such as -12.5, which most fields of a file are: digits are read eight at a time.
//!
//! Whatever else a number may be, with an exponent or more digits than are exact, is left to a full parser. Functions
//! are inlined always where they would hand their results over in memory: it takes as long as reading the digits.

/// Powers of ten that double precision holds exactly.
const TENS: [f64; 20] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19,
];
/// Digits that always fit 64 bits.
const DIGITS: usize = 19;

/// A decimal number as it is written.
#[derive(Clone, Copy)]
pub(super) struct Decimal {
    negative: bool,
    /// All its digits as one whole number.
    digits: u64,
    /// How many of them follow the point.
    places: usize,
}

impl Decimal {
    /// The nearest number in double precision, where both the digits and the power of ten are exact in it: their
    /// quotient is then rounded once.
    #[inline]
    pub(super) fn number(self) -> Option<f64> {
        if self.digits > 1 << f64::MANTISSA_DIGITS {
            return None;
        }
        let number = self.digits as i64 as f64 / TENS[self.places];
        Some(if self.negative { -number } else { number })
    }

    /// The whole number, where there is no point.
    #[inline]
    pub(super) fn whole(self) -> Option<i64> {
        let digits = i64::try_from(self.digits).ok().filter(|_| self.places == 0)?;
        Some(if self.negative { -digits } else { digits })
    }
}

/// The decimal number that a text begins with, and how many bytes it takes.
#[inline(always)]
pub(super) fn read(text: &[u8]) -> Option<(Decimal, usize)> {
    let negative = text.first() == Some(&b'-');
    let mut length = usize::from(negative);
    let (whole, before) = digits(&text[length..])?;
    length += before;
    if before == 0 {
        return None;
    }
    if text.get(length) != Some(&b'.') {
        return Some((Decimal { negative, digits: whole, places: 0 }, length));
    }
    let (part, places) = digits(&text[length + 1..])?;
    if places == 0 || before + places > DIGITS {
        return None;
    }
    let digits = whole * power(places) + part;
    Some((Decimal { negative, digits, places }, length + 1 + places))
}

/// The whole number that a text begins with, and its digits; nothing where there are more than sixteen.
#[inline(always)]
fn digits(text: &[u8]) -> Option<(u64, usize)> {
    let is_digit = |at: usize| text.get(at).is_some_and(u8::is_ascii_digit);
    let (high, count) = eight(text);
    if !is_digit(count) {
        return Some((high, count));
    }
    let (low, more) = eight(&text[8..]);
    (!is_digit(8 + more)).then(|| (high * power(more) + low, 8 + more))
}

/// The whole number in the leading digits of at most eight bytes, and how many they are.
#[inline(always)]
fn eight(text: &[u8]) -> (u64, usize) {
    let word = word(text) ^ 0x3030_3030_3030_3030;
    // The highest bit of a byte becomes set where it is no digit; a carry can only reach bytes after the first such.
    let odd = (word.wrapping_add(0x7676_7676_7676_7676) | word) & 0x8080_8080_8080_8080;
    let count = odd.trailing_zeros() as usize / 8;
    if count == 0 {
        return (0, 0);
    }
    // The digits move to the end, after zeros; then neighbours are joined, to two, four and eight digits.
    let word = word << (64 - 8 * count);
    let pairs = word.wrapping_mul(10).wrapping_add(word >> 8);
    let mask = 0x0000_00FF_0000_00FF;
    let high = (pairs & mask).wrapping_mul(100 + (1_000_000 << 32));
    let low = ((pairs >> 16) & mask).wrapping_mul(1 + (10_000 << 32));
    (high.wrapping_add(low) >> 32, count)
}

/// The first eight bytes, zeros after the last.
#[inline]
fn word(text: &[u8]) -> u64 {
    if let Some(bytes) = text.first_chunk() {
        return u64::from_le_bytes(*bytes);
    }
    match (text.first_chunk(), text.last_chunk()) {
        // Bytes in the middle may be in both: they are the same.
        (Some(first), Some(last)) => {
            let last = u64::from(u32::from_le_bytes(*last));
            u64::from(u32::from_le_bytes(*first)) | last << (8 * (text.len() - 4))
        }
        _ => text.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)),
    }
}

#[inline]
fn power(exponent: usize) -> u64 {
    const POWERS: [u64; DIGITS + 1] = {
        let mut powers = [1; DIGITS + 1];
        let mut at = 1;
        while at <= DIGITS {
            powers[at] = 10 * powers[at - 1];
            at += 1;
        }
        powers
    };
    POWERS[exponent]
}

#[cfg(test)]
mod tests {
    use super::read;

    #[test]
    fn numbers_are_those_of_the_standard_parser() {
        let mut state = 1_u64;
        let mut next = move |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut seen = 0;
        for _ in 0..200_000 {
            let mut text = if next(2) == 0 { String::from("-") } else { String::new() };
            let (before, after) = (1 + next(12), next(17));
            (0..before).for_each(|_| text.push(char::from(b'0' + next(10) as u8)));
            if after > 0 {
                text.push('.');
                (0..after).for_each(|_| text.push(char::from(b'0' + next(10) as u8)));
            }
            for end in ["", ",", "\n", ",12345678901", "e5", "\u{e9}1234567"] {
                let Some((decimal, length)) = read(format!("{text}{end}").as_bytes()) else { continue };
                assert_eq!(length, text.len(), "{text}{end}");
                if let Some(number) = decimal.number() {
                    assert_eq!(number.to_bits(), text.parse::<f64>().unwrap_or(f64::NAN).to_bits(), "{text}");
                    seen += 1;
                }
                assert_eq!(decimal.whole(), text.parse::<i64>().ok(), "{text}");
            }
        }
        assert!(seen > 500_000, "{seen} numbers were compared");
    }

    #[test]
    fn what_is_no_plain_decimal_is_left_alone() {
        for text in
            ["", "-", ".5", "5.", "+1", "--1", "nan", " 1", "12345678901234567", "1.12345678901234567"]
        {
            assert!(read(text.as_bytes()).is_none(), "{text:?}");
        }
    }
}
