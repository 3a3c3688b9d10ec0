//! The few codes that secrets are written in.

/// The value of a base64 digit of either alphabet.
fn base64_digit(byte: u8) -> Option<u32> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    } as u32)
}

/// Whether a byte is a digit of either base64 alphabet; the padding is none.
pub(super) fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Decodes base64 of either alphabet. White space is skipped, padding ends it and may be missing.
pub(super) fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 3);
    let (mut bits, mut held) = (0u32, 0u32);
    for &byte in text {
        if byte.is_ascii_whitespace() {
            continue;
        }
        if byte == b'=' {
            break;
        }
        bits = bits << 6 | base64_digit(byte)?;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    // One digit alone holds no byte.
    (held < 6).then_some(out)
}

/// The CRC-32 of Ethernet and zip.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| crc >> 1 ^ (0xedb8_8320 & (crc & 1).wrapping_neg()))
    })
}

/// A number in base 62 (digits, upper case, lower case), filled with zeros to six digits.
pub(super) fn base62(mut number: u32) -> [u8; 6] {
    const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut out = [b'0'; 6];
    for digit in out.iter_mut().rev() {
        *digit = DIGITS[(number % 62) as usize];
        number /= 62;
    }
    out
}

/// Whether the checksum of a Bech32 string holds. Its case must be uniform; the part before the last `1` is the name.
pub(super) fn bech32(text: &str) -> bool {
    const DIGITS: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let text = text.to_ascii_lowercase();
    let Some((name, data)) = text.rsplit_once('1') else { return false };
    let name = name.bytes();
    let digits = data.bytes().map(|byte| DIGITS.iter().position(|&digit| digit == byte).map(|value| value as u32));
    let values = (name.clone().map(|byte| Some(u32::from(byte >> 5))))
        .chain([Some(0)])
        .chain(name.map(|byte| Some(u32::from(byte & 31))))
        .chain(digits);
    let mut sum = 1u32;
    for value in values {
        let Some(value) = value else { return false };
        let top = sum >> 25;
        sum = (sum & 0x01ff_ffff) << 5 ^ value;
        for (bit, generator) in GENERATOR.iter().enumerate() {
            if top >> bit & 1 == 1 {
                sum ^= generator;
            }
        }
    }
    sum == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_both_alphabets_decodes() {
        assert_eq!(base64(b"aGk_IGhpPg==").as_deref(), Some(&b"hi? hi>"[..]));
        assert_eq!(base64(b"aGk/\n IGhpPg").as_deref(), Some(&b"hi? hi>"[..]));
        assert_eq!(base64(b"a"), None);
        assert_eq!(base64(b"a*bc"), None);
        assert_eq!(base64(b"").as_deref(), Some(&b""[..]));
    }

    #[test]
    fn crc_has_its_check_value() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(&base62(61), b"00000z");
        assert_eq!(&base62(62), b"000010");
    }

    #[test]
    fn bech32_checks() {
        // From BIP 173.
        assert!(bech32("A12UEL5L"));
        assert!(bech32("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxw"));
        assert!(!bech32("abcdef1qpzry9x8gf2tvdw0s3jn54khce6mua7lmqqqxx"));
        assert!(!bech32(""));
        assert!(!bech32("bb"));
    }
}
