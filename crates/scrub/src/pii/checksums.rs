//! Check digits. All take digits as values 0 to 9, the check digit included, unless they say otherwise.

/// The sum of products with weights; the shorter of the two lists decides.
pub(crate) fn weighted(digits: &[u8], weights: &[u32]) -> u32 {
    digits.iter().zip(weights).map(|(&digit, weight)| u32::from(digit) * weight).sum()
}

/// The number that digits write; up to 19 of them.
pub(crate) fn number(digits: &[u8]) -> u64 {
    digits.iter().fold(0, |sum, &digit| sum * 10 + u64::from(digit))
}

/// Luhn's sum is a multiple of 10 (ISO/IEC 7812-1, annex B).
pub(crate) fn luhn(digits: &[u8]) -> bool {
    luhn_sum(digits).is_multiple_of(10)
}

/// Every second digit from the right is doubled and loses 9 above 9; the sum of all.
pub(crate) fn luhn_sum(digits: &[u8]) -> u32 {
    let sum = |(place, &digit): (usize, &u8)| match (place % 2, u32::from(digit)) {
        (0, digit) => digit,
        (_, digit) => 2 * digit - if digit > 4 { 9 } else { 0 },
    };
    digits.iter().rev().enumerate().map(sum).sum()
}

/// The product of permutations in the dihedral group of ten elements is 0 (Verhoeff).
pub(crate) fn verhoeff(digits: &[u8]) -> bool {
    /// One step of the permutation; the others are its powers.
    const STEP: [u8; 10] = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4];
    let permuted = |digit: u8, times: usize| (0..times % 8).fold(digit, |digit, _| STEP[usize::from(digit)]);
    digits.iter().rev().enumerate().fold(0, |sum, (place, &digit)| dihedral(sum, permuted(digit, place))) == 0
}

/// The product of two symmetries of the pentagon: 0 to 4 turn, 5 to 9 turn and mirror.
fn dihedral(left: u8, right: u8) -> u8 {
    match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => (left + right - 5) % 5 + 5,
        (false, true) => (left - 5 + 5 - right) % 5 + 5,
        (false, false) => (left + 5 - right) % 5,
    }
}

/// ISO 7064 MOD 11,10, as German and Croatian numbers have it.
pub(crate) fn mod_11_10(digits: &[u8]) -> bool {
    let Some((&check, rest)) = digits.split_last() else { return false };
    let product = rest.iter().fold(10, |product, &digit| {
        let sum = (u32::from(digit) + product) % 10;
        (if sum == 0 { 10 } else { sum }) * 2 % 11
    });
    (11 - product) % 10 == u32::from(check)
}

/// ISO 7064 MOD 97-10 over letters and digits (A is 10), with the first four characters moved to the end: an IBAN.
pub(crate) fn iban(characters: &[u8]) -> bool {
    let Some((head, rest)) = characters.split_at_checked(4) else { return false };
    let step = |sum: u32, &character: &u8| match character {
        b'0'..=b'9' => (sum * 10 + u32::from(character - b'0')) % 97,
        b'A'..=b'Z' => (sum * 100 + u32::from(character - b'A') + 10) % 97,
        _ => 0,
    };
    rest.iter().chain(head).fold(0, step) == 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digits(text: &str) -> Vec<u8> {
        text.bytes().filter(u8::is_ascii_digit).map(|byte| byte - b'0').collect()
    }

    /// Changes of one digit that the checksum lets pass.
    fn missed(check: fn(&[u8]) -> bool, valid: &str) -> usize {
        let valid = digits(valid);
        assert!(check(&valid), "{valid:?}");
        let changed = |place: usize, digit: u8| {
            let mut copy = valid.clone();
            copy[place] = digit;
            copy
        };
        let all = (0..valid.len()).flat_map(|place| (0..10).map(move |digit| (place, digit)));
        all.filter(|&(place, digit)| valid[place] != digit && check(&changed(place, digit))).count()
    }

    #[test]
    fn documented_numbers_hold_and_every_wrong_digit_is_seen() {
        // ISO/IEC 7812 example, Verhoeff's example, a documented German tax number.
        assert_eq!(missed(luhn, "79927398713"), 0);
        assert_eq!(missed(verhoeff, "2363"), 0);
        assert_eq!(missed(mod_11_10, "86095742719"), 0);
        assert_eq!(missed(mod_11_10, "07945"), 0);
    }

    #[test]
    fn verhoeff_sees_every_swap_of_neighbours() {
        let valid = digits("2363");
        for place in 0..3 {
            let mut swapped = valid.clone();
            swapped.swap(place, place + 1);
            assert!(!verhoeff(&swapped));
        }
    }

    #[test]
    fn ibans_of_the_standard() {
        for valid in ["GB82WEST12345698765432", "DE89370400440532013000", "FR1420041010050500013M02606"] {
            assert!(iban(valid.as_bytes()), "{valid}");
        }
        assert!(!iban(b"GB82WEST12345698765433"));
        assert!(!iban(b"GB8"));
    }
}
