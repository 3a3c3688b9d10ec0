//! The compiled replacements of a sentencepiece normalizer: checked, because who looks things up in them trusts every
//! offset.
//!
//! # Source
//! sentencepiece, `normalizer.cc`: the number of bytes of a double array, the array, and replacements that end with
//! a zero byte. Darts-clone, `darts.h`: the meaning of an array's units.

/// Most bytes; those of `nmt_nfkc` have some 240,000.
const MAX_BYTES: usize = 16 << 20;

/// Checks that no lookup in the replacements can leave them.
///
/// # Errors
/// Which rule is broken.
pub(crate) fn check(charsmap: &[u8]) -> Result<(), String> {
    if charsmap.len() > MAX_BYTES {
        return Err(format!("the table of characters has {} bytes (at most {MAX_BYTES} are read)", charsmap.len()));
    }
    let Some((head, rest)) = charsmap.split_first_chunk::<4>() else {
        return Err("the table of characters has no length".to_owned());
    };
    let length = u32::from_le_bytes(*head) as usize;
    if length == 0 || !length.is_multiple_of(4) || length > rest.len() {
        return Err(format!("the table of characters claims {length} of {} bytes", rest.len()));
    }
    let (array, replacements) = rest.split_at(length);
    let Ok(replacements) = str::from_utf8(replacements) else {
        return Err("replacements of the table of characters are not UTF-8".to_owned());
    };
    let units: Vec<u32> = array.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    for (at, unit) in units.iter().enumerate() {
        // A unit whose highest bit is set holds a value and is reached as the child for the byte 0 only.
        if unit >> 31 == 1 {
            continue;
        }
        let offset = ((unit >> 10) as usize) << ((unit & (1 << 9)) >> 6);
        let child = at ^ offset;
        let leaf = (unit >> 8) & 1 == 1;
        if (child | 0xff) >= units.len() {
            return Err(format!("unit {at} of the table of characters leads out of it"));
        }
        if leaf {
            let value = (units[child] & 0x7fff_ffff) as usize;
            if value >= replacements.len() || !replacements.is_char_boundary(value) {
                return Err(format!("unit {at} of the table of characters names a replacement at {value}"));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(units: &[u32], replacements: &[u8]) -> Vec<u8> {
        let mut bytes = ((units.len() * 4) as u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend(replacements);
        bytes
    }

    #[test]
    fn each_rule_is_kept() {
        let good = vec![0u32; 256];
        assert_eq!(check(&map(&good, b"a\0")), Ok(()));
        assert!(check(b"").is_err());
        assert!(check(&[8, 0, 0, 0, 1]).is_err(), "a length beyond the end");
        assert!(check(&[0xff; 8]).is_err(), "a huge length");
        assert!(check(&map(&good[..255], b"a\0")).is_err(), "a child beyond the end");
        assert!(check(&map(&good, b"\xff")).is_err(), "not UTF-8");
        let mut far = good.clone();
        far[3] = 1 << 20;
        assert!(check(&map(&far, b"a\0")).is_err(), "an offset beyond the end");
        let mut leaf = good;
        leaf[0] = 1 << 8;
        assert_eq!(
            check(&map(&leaf, b"a\0")),
            Err("unit 0 of the table of characters names a replacement at 256".to_owned())
        );
        leaf[0] = 1 << 8 | 1 << 10;
        leaf[1] = 1 << 31 | 1;
        assert_eq!(check(&map(&leaf, b"a\0")), Ok(()));
        assert!(check(&map(&leaf, "\u{e4}\0".as_bytes())).is_err(), "within a character");
    }
}
