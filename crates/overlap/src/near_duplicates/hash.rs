//! Hashes with a fixed meaning: the same bits on every machine.

/// Odd constants without structure (fractions of square roots).
const FIRST: u64 = 0x9E37_79B9_7F4A_7C15;
const SECOND: u64 = 0xD1B5_4A32_D192_ED03;

/// Spreads every bit of `value` over all bits.
pub(crate) fn mix(value: u64) -> u64 {
    let mut value = value ^ (value >> 30);
    value = value.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    value ^= value >> 27;
    value = value.wrapping_mul(0x94D0_49BB_1331_11EB);
    value ^ (value >> 31)
}

/// Both halves of the product, folded: one multiplication, where `left` is well mixed already.
#[inline]
pub(crate) fn fold(left: u64, right: u64) -> u64 {
    let product = u128::from(left) * u128::from(right);
    (product >> 64) as u64 ^ product as u64
}

/// The hash of some bytes.
pub(crate) fn bytes(bytes: &[u8], seed: u64) -> u64 {
    let mut state = mix(seed ^ (bytes.len() as u64).wrapping_mul(FIRST));
    let mut rest = bytes;
    while let Some((head, tail)) = rest.split_first_chunk::<8>() {
        state = fold(state ^ u64::from_le_bytes(*head), SECOND) ^ state.rotate_left(29);
        rest = tail;
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    mix(state ^ fold(u64::from_le_bytes(last) ^ FIRST, SECOND))
}

/// The `index`-th of the random numbers of `seed`.
pub(crate) fn nth(seed: u64, index: usize) -> u64 {
    mix(seed.wrapping_add(FIRST.wrapping_mul(index as u64 + 1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_places_enter_the_hash() {
        let texts: [&[u8]; 8] = [b"", b"\0", b"\0\0", b"12345678", b"123456780", b"12345678\0", b"87654321", b"a"];
        for (index, text) in texts.iter().enumerate() {
            for other in &texts[..index] {
                assert_ne!(bytes(text, 0), bytes(other, 0), "{text:?} {other:?}");
            }
            assert_ne!(bytes(text, 0), bytes(text, 1));
        }
    }
}
