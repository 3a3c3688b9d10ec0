//! Addresses of Bitcoin and Ethereum.

use sha2::{Digest, Sha256};
use sha3::Keccak256;

/// The longest word that can be one (a bech32 address has at most 90 characters).
pub(crate) const LONGEST: usize = 90;

/// How sure it is that a word is an address; `None` when it is none.
pub(crate) fn confidence(word: &str) -> Option<f32> {
    match word.as_bytes() {
        [b'0', b'x' | b'X', hex @ ..] if hex.len() == 40 => ethereum(hex),
        [b'1' | b'3', ..] if (26..=35).contains(&word.len()) => base58_check(word.as_bytes()).then_some(1.0),
        [b'b' | b'B', b'c' | b'C', b'1', ..] => bech32(word).then_some(1.0),
        _ => None,
    }
}

/// Forty hexadecimal digits. Mixed case is a checksum (EIP-55); one case has none, and may be the hash of anything.
fn ethereum(hex: &[u8]) -> Option<f32> {
    if !hex.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let (upper, lower) = (hex.iter().any(u8::is_ascii_uppercase), hex.iter().any(u8::is_ascii_lowercase));
    // The address of nobody, and those whose digits are all alike.
    if hex.iter().all(|byte| *byte == hex[0]) {
        return None;
    }
    if !(upper && lower) {
        return Some(0.5);
    }
    let hash = Keccak256::digest(hex.to_ascii_lowercase());
    let holds = hex.iter().enumerate().all(|(place, byte)| {
        let nibble = if place % 2 == 0 { hash[place / 2] >> 4 } else { hash[place / 2] & 15 };
        byte.is_ascii_digit() || byte.is_ascii_uppercase() == (nibble > 7)
    });
    holds.then_some(1.0)
}

/// Base 58 of a version (0 or 5), twenty bytes and the first four bytes of a double SHA-256.
fn base58_check(word: &[u8]) -> bool {
    const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";
    let mut bytes = [0_u8; 25];
    for character in word {
        let Some(value) = ALPHABET.iter().position(|known| known == character) else { return false };
        let mut carry = value as u32;
        for byte in bytes.iter_mut().rev() {
            carry += u32::from(*byte) * 58;
            *byte = carry as u8;
            carry >>= 8;
        }
        if carry != 0 {
            return false;
        }
    }
    let (payload, check) = bytes.split_at(21);
    // Every zero byte in front is written as one 1.
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    let ones = word.iter().take_while(|byte| **byte == b'1').count();
    matches!(payload[0], 0 | 5) && zeros == ones && Sha256::digest(Sha256::digest(payload))[..4] == *check
}

/// Segregated witness addresses: BIP 173 and, for later versions, BIP 350.
fn bech32(word: &str) -> bool {
    const ALPHABET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    let bytes = word.as_bytes();
    if !(14..=LONGEST).contains(&bytes.len())
        || bytes.iter().any(u8::is_ascii_uppercase) && bytes.iter().any(u8::is_ascii_lowercase)
    {
        return false;
    }
    let step = |sum: u32, value: u32| {
        let top = sum >> 25;
        let generators = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
        let mixed = (sum & 0x1ff_ffff) << 5 ^ value;
        generators
            .iter()
            .enumerate()
            .fold(mixed, |sum, (bit, generator)| sum ^ if top >> bit & 1 == 1 { *generator } else { 0 })
    };
    // The prefix `bc`, spread out.
    let mut sum = [3, 3, 0, 2, 3].into_iter().fold(1, step);
    let mut version = None;
    for character in &bytes[3..] {
        let lower = character.to_ascii_lowercase();
        let Some(value) = ALPHABET.iter().position(|known| *known == lower) else { return false };
        version.get_or_insert(value);
        sum = step(sum, value as u32);
    }
    sum == if version == Some(0) { 1 } else { 0x2bc8_30a3 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_addresses() {
        for address in [
            // The first block, BIP 13, BIP 173, BIP 350, EIP-55.
            "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
            "3P14159f73E4gFr7JterCCQh9QjiTjiZrG",
            "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4",
            "BC1QW508D6QEJXTDG4Y5R3ZARVARY0C5XW7KV8F3T4",
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed",
            "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359",
        ] {
            assert_eq!(confidence(address), Some(1.0), "{address}");
            // Any letter changed for another breaks the checksum.
            let place = address.len() - 5;
            let other = if &address[place..=place] == "A" { "B" } else { "A" };
            let wrong = format!("{}{other}{}", &address[..place], &address[place + 1..]);
            assert_ne!(confidence(&wrong), Some(1.0), "{wrong}");
        }
    }

    #[test]
    fn others() {
        assert_eq!(confidence("0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed"), Some(0.5));
        for word in [
            "",
            "1",
            "bc1",
            "0x0000000000000000000000000000000000000000",
            "1111111111111111111111111111",
            "bc1qqqqqqqqqqqqqqqqqqqqqq",
        ] {
            assert_eq!(confidence(word), None, "{word}");
        }
    }
}
