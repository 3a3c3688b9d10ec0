//! What characters a value is made of, and how many of them.

/// A set of characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alphabet {
    /// `0-9a-f`, or the same in upper case.
    Hex,
    /// Lower case and digits.
    Lower,
    /// Upper case and digits.
    Upper,
    /// Letters and digits.
    Alnum,
    /// Letters, digits, `_` and `-`.
    Word,
    /// Letters, digits, `+`, `/` and `=`.
    Base64,
    /// Digits.
    Digits,
    /// 8-4-4-4-12 hexadecimal digits.
    Uuid,
}

/// So many characters of an alphabet.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) alphabet: Alphabet,
    pub(super) min: usize,
    pub(super) max: usize,
}

/// Exactly `length` characters.
pub(super) const fn exact(alphabet: Alphabet, length: usize) -> Shape {
    Shape { alphabet, min: length, max: length }
}

/// From `min` to `max` characters.
pub(super) const fn range(alphabet: Alphabet, min: usize, max: usize) -> Shape {
    Shape { alphabet, min, max }
}

pub(super) const UUID: Shape = exact(Alphabet::Uuid, 36);

impl Alphabet {
    fn has(self, byte: u8) -> bool {
        match self {
            Self::Hex | Self::Uuid => byte.is_ascii_hexdigit(),
            Self::Lower => byte.is_ascii_lowercase() || byte.is_ascii_digit(),
            Self::Upper => byte.is_ascii_uppercase() || byte.is_ascii_digit(),
            Self::Alnum => byte.is_ascii_alphanumeric(),
            Self::Word => byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-',
            Self::Base64 => byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='),
            Self::Digits => byte.is_ascii_digit(),
        }
    }
}

impl Shape {
    pub(super) fn fits(self, value: &str) -> bool {
        let bytes = value.as_bytes();
        if bytes.len() < self.min || bytes.len() > self.max {
            return false;
        }
        match self.alphabet {
            Alphabet::Uuid => is_uuid(value),
            // Numbers are dates, amounts and counts, unless they are asked for.
            alphabet if alphabet != Alphabet::Digits && bytes.iter().all(u8::is_ascii_digit) => false,
            alphabet => bytes.iter().all(|&byte| alphabet.has(byte)),
        }
    }
}

/// Whether `value` is written as a UUID.
pub(super) fn is_uuid(value: &str) -> bool {
    let bytes = value.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(at, &byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// Shannon's entropy of the bytes of `value`, in bits per byte.
pub(super) fn entropy(value: &str) -> f32 {
    let mut counts = [0u32; 256];
    for &byte in value.as_bytes() {
        counts[byte as usize] += 1;
    }
    let total = value.len() as f32;
    -counts
        .iter()
        .filter(|count| **count > 0)
        .map(|&count| {
            let share = count as f32 / total;
            share * share.log2()
        })
        .sum::<f32>()
}

/// The entropy that a random value of so many characters of an alphabet of 64 all but always has.
fn floor_of_64(length: usize) -> f32 {
    let n = length as f32;
    match length {
        0..=17 => 0.915 * n.max(2.0).log2() - 0.047,
        18..=34 => 0.767 * n.log2() + 0.5677,
        35..=64 => 0.944 * n.log2() - 0.009 * n - 0.04,
        65..=255 => 0.621 * n.log2() - 0.003 * n + 1.54,
        _ => 6.0 - 64.0 / n,
    }
}

/// Whether `value` is as irregular as a random one of its length and alphabet.
pub(super) fn irregular(value: &str) -> bool {
    let bits = entropy(value);
    let all = |alphabet: Alphabet| value.bytes().all(|byte| alphabet.has(byte));
    if all(Alphabet::Digits) {
        // Numbers are dates, amounts and identifiers far more often.
        return value.len() >= 20 && bits >= 2.8;
    }
    if all(Alphabet::Hex) || is_uuid(value) {
        return bits >= if value.len() >= 24 { 3.0 } else { 0.66 * (value.len() as f32).log2() };
    }
    // Of 36 characters, a random value has fewer bits; the floor shrinks with the logarithm of the alphabet.
    let one_case =
        !value.bytes().any(|byte| byte.is_ascii_uppercase()) || !value.bytes().any(|byte| byte.is_ascii_lowercase());
    let floor = floor_of_64(value.len());
    bits >= if one_case { floor * 0.87 } else { floor * 0.96 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entropy_is_the_textbooks() {
        assert!(entropy("aaaa").abs() < 1e-6);
        assert!((entropy("abab") - 1.0).abs() < 1e-6);
        assert!((entropy("0123456789abcdef") - 4.0).abs() < 1e-6);
    }

    #[test]
    fn shapes_count_and_look() {
        assert!(exact(Alphabet::Hex, 4).fits("09aF"));
        assert!(!exact(Alphabet::Hex, 4).fits("09ag"));
        assert!(!exact(Alphabet::Hex, 4).fits("09af0"));
        assert!(UUID.fits("b9f3c0de-90a7-4c1b-8a0e-5f2d7e6c4b1a"));
        assert!(!UUID.fits("b9f3c0de-90a7-4c1b-8a0e_5f2d7e6c4b1a"));
    }

    #[test]
    fn random_values_are_irregular_and_names_are_not() {
        assert!(irregular("q8Zr2LmX0vKtY5wBn7Jd"));
        assert!(irregular("9f86d081884c7d659a2feaa0c55ad015"));
        assert!(!irregular("aaaaaaaabbbbbbbbcccc"));
        assert!(!irregular("20240131"));
    }
}
