//! VAT numbers of the European Union (and of Northern Ireland and the United Kingdom), with the sums of each country.
//!
//! All take what follows the two letters of the country, letters in upper case and digits.

use super::checksums::{luhn, mod_11_10, number, weighted};
use super::national::{digits, es_dni, nl_bsn};

/// Whether characters are a VAT number with its country in front.
pub(crate) fn holds(characters: &[u8]) -> bool {
    let Some((country, rest)) = characters.split_at_checked(2) else { return false };
    // Countries without a letter in the number cannot have less than eight characters.
    if !(8..=12).contains(&rest.len()) && country != b"RO" {
        return false;
    }
    match country {
        b"AT" => austria(rest),
        b"BE" => belgium(rest),
        b"BG" => bulgaria(rest),
        b"CY" => cyprus(rest),
        b"CZ" => czechia(rest),
        b"DE" => digits::<9>(rest).is_some_and(|digits| digits[0] != 0 && mod_11_10(&digits)),
        b"DK" => digits::<8>(rest)
            .is_some_and(|digits| digits[0] != 0 && weighted(&digits, &[2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)),
        b"EE" => {
            digits::<9>(rest).is_some_and(|digits| weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10))
        }
        b"EL" | b"GR" => digits::<9>(rest).is_some_and(|digits| {
            let sum = weighted(&digits[..8], &[256, 128, 64, 32, 16, 8, 4, 2]);
            number(&digits) != 0 && sum % 11 % 10 == u32::from(digits[8])
        }),
        b"ES" => spain(rest),
        b"FI" => digits::<8>(rest).is_some_and(|digits| {
            number(&digits) != 0 && weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1]).is_multiple_of(11)
        }),
        b"FR" => france(rest),
        b"GB" | b"XI" => britain(rest),
        b"HR" => digits::<11>(rest).is_some_and(|digits| mod_11_10(&digits)),
        b"HU" => digits::<8>(rest)
            .is_some_and(|digits| digits[0] != 0 && weighted(&digits, &[9, 7, 3, 1, 9, 7, 3, 1]).is_multiple_of(10)),
        b"IE" => ireland(rest),
        b"IT" => digits::<11>(rest).is_some_and(|digits| number(&digits[..7]) != 0 && luhn(&digits)),
        b"LT" => lithuania(rest),
        b"LU" => digits::<8>(rest)
            .is_some_and(|digits| number(&digits) != 0 && number(&digits[..6]) % 89 == number(&digits[6..])),
        b"LV" => latvia(rest),
        b"MT" => digits::<8>(rest).is_some_and(|digits| {
            number(&digits) > 0
                && (weighted(&digits[..6], &[3, 4, 6, 7, 8, 9]) + number(&digits[6..]) as u32).is_multiple_of(37)
        }),
        b"NL" => netherlands(rest),
        b"PL" => digits::<10>(rest).is_some_and(|digits| {
            number(&digits) != 0 && weighted(&digits[..9], &[6, 5, 7, 2, 3, 4, 5, 6, 7]) % 11 == u32::from(digits[9])
        }),
        b"PT" => digits::<9>(rest).is_some_and(|digits| {
            digits[0] != 0 && eleven_less(weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2])) == u32::from(digits[8])
        }),
        b"RO" => romania(rest),
        b"SE" => digits::<12>(rest)
            .is_some_and(|digits| digits[0] != 0 && matches!(number(&digits[10..]), 1..=94) && luhn(&digits[..10])),
        b"SI" => digits::<8>(rest).is_some_and(|digits| {
            let check = 11 - weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11;
            digits[0] != 0 && check != 11 && check % 10 == u32::from(digits[7])
        }),
        b"SK" => digits::<10>(rest).is_some_and(|digits| {
            digits[0] != 0 && matches!(digits[2], 2..=4 | 7..=9) && number(&digits).is_multiple_of(11)
        }),
        _ => false,
    }
}

/// 11 less the rest by 11, and 0 for more than 9.
fn eleven_less(sum: u32) -> u32 {
    match sum % 11 {
        0 | 1 => 0,
        rest => 11 - rest,
    }
}

/// `U` and eight digits.
fn austria(rest: &[u8]) -> bool {
    let Some(digits) = rest.strip_prefix(b"U").and_then(digits::<8>) else { return false };
    let doubled = digits[..7].iter().enumerate().map(|(place, &digit)| match (place % 2, u32::from(digit) * 2) {
        (0, twice) => twice / 2,
        (_, twice) => twice / 10 + twice % 10,
    });
    (10 - (doubled.sum::<u32>() + 4) % 10) % 10 == u32::from(digits[7])
}

fn belgium(rest: &[u8]) -> bool {
    // Nine digits, as they were before 2005, have a 0 in front today.
    digits::<10>(rest)
        .is_some_and(|digits| digits[0] < 2 && digits[1] != 0 && 97 - number(&digits[..8]) % 97 == number(&digits[8..]))
}

/// Nine digits for firms; ten for persons, foreigners and others.
fn bulgaria(rest: &[u8]) -> bool {
    if let Some(digits) = digits::<9>(rest) {
        let check = match weighted(&digits[..8], &[1, 2, 3, 4, 5, 6, 7, 8]) % 11 {
            10 => weighted(&digits[..8], &[3, 4, 5, 6, 7, 8, 9, 10]) % 11 % 10,
            rest => rest,
        };
        return number(&digits) != 0 && check == u32::from(digits[8]);
    }
    let Some(digits) = digits::<10>(rest) else { return false };
    let check = u32::from(digits[9]);
    let person = weighted(&digits[..9], &[2, 4, 8, 5, 10, 9, 7, 3, 6]) % 11 % 10 == check;
    let foreigner = weighted(&digits[..9], &[21, 19, 17, 13, 11, 9, 7, 3, 1]) % 10 == check;
    let other = match 11 - weighted(&digits[..9], &[4, 3, 2, 7, 6, 5, 4, 3, 2]) % 11 {
        11 => check == 0,
        10 => false,
        other => other == check,
    };
    // Twenty and forty are added to the month of births before 1900 and since 2000.
    let month = number(&digits[2..4]) % 20;
    number(&digits) != 0 && (person && super::national::is_day(month, number(&digits[4..6])) || foreigner || other)
}

fn cyprus(rest: &[u8]) -> bool {
    const ODD: [u32; 10] = [1, 0, 5, 7, 9, 13, 15, 17, 19, 21];
    let Some((&check, body)) = rest.split_last() else { return false };
    let Some(digits) = digits::<8>(body) else { return false };
    let sum: u32 = digits
        .iter()
        .enumerate()
        .map(|(place, &digit)| if place % 2 == 0 { ODD[usize::from(digit)] } else { u32::from(digit) })
        .sum();
    number(&digits[..2]) != 12
        && matches!(digits[0], 0 | 1 | 3 | 4 | 5 | 6 | 9)
        && u32::from(b'A') + sum % 26 == u32::from(check)
}

/// Eight digits for firms, nine or ten for persons.
fn czechia(rest: &[u8]) -> bool {
    if let Some(digits) = digits::<8>(rest) {
        let check = (11 - weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) % 11) % 10;
        return digits[0] != 9 && check == u32::from(digits[7]);
    }
    if let Some(digits) = digits::<10>(rest) {
        // A birth number: 50 is added to the month of women, 20 where numbers ran out.
        let month = number(&digits[2..4]) % 50 % 20;
        return super::national::is_day(month, number(&digits[4..6]))
            && number(&digits[..9]) % 11 % 10 == u64::from(digits[9]);
    }
    // Nine digits with a 6 in front have a sum of their own; birth numbers before 1954 have none.
    digits::<9>(rest).is_some_and(|digits| {
        digits[0] == 6 && {
            let sum = weighted(&digits[1..8], &[8, 7, 6, 5, 4, 3, 2]) % 11;
            (8 - (10 - sum as i32).rem_euclid(11)).rem_euclid(10) == i32::from(digits[8])
        }
    })
}

/// A letter, seven digits and a digit or letter for firms; a DNI or NIE for persons.
fn spain(rest: &[u8]) -> bool {
    let Ok(characters) = <[u8; 9]>::try_from(rest) else { return false };
    if es_dni(rest) {
        return true;
    }
    let [form, body @ .., check] = characters;
    let Some(digits) = digits::<7>(&body) else { return false };
    if matches!(form, b'K' | b'L' | b'M') {
        let mut dni = *b"00000000?";
        dni[1..8].copy_from_slice(&body);
        dni[8] = check;
        return es_dni(&dni);
    }
    let value = (10 - super::checksums::luhn_sum(&[&digits[..], &[0]].concat()) % 10) % 10;
    let letter = b"JABCDEFGHI"[value as usize] == check;
    let digit = u32::from(check.wrapping_sub(b'0')) == value;
    match form {
        b'N' | b'P' | b'Q' | b'R' | b'S' | b'W' => letter,
        b'A' | b'B' | b'E' | b'H' => digit,
        b'C' | b'D' | b'F' | b'G' | b'J' | b'U' | b'V' => letter || digit,
        _ => false,
    }
}

/// Two characters over a SIREN of nine digits.
fn france(rest: &[u8]) -> bool {
    let Some((key, siren)) = rest.split_at_checked(2) else { return false };
    let Some(siren) = digits::<9>(siren) else { return false };
    // The numbers of Monaco begin with 000 and have no sum of Luhn.
    if number(&siren) == 0 || !(luhn(&siren) || siren.starts_with(&[0, 0, 0])) {
        return false;
    }
    if let Some(key) = digits::<2>(key) {
        return (number(&siren) * 100 + 12) % 97 == number(&key);
    }
    // The newer key of letters and digits leaves out I and O.
    const KEYS: &[u8; 34] = b"0123456789ABCDEFGHJKLMNPQRSTUVWXYZ";
    let value = |character: u8| KEYS.iter().position(|&known| known == character).map(|place| place as u64);
    let (Some(first), Some(second)) = (value(key[0]), value(key[1])) else { return false };
    let combined = if key[0].is_ascii_digit() { first * 24 + second - 10 } else { first * 34 + second - 100 };
    (number(&siren) + 1 + combined / 11) % 11 == combined % 11
}

/// Nine digits, or twelve with those of a branch; the rest by 97, or the same with 55 added.
fn britain(rest: &[u8]) -> bool {
    let nine = match rest.len() {
        12 if rest.iter().all(u8::is_ascii_digit) => &rest[..9],
        _ => rest,
    };
    digits::<9>(nine).is_some_and(|digits| {
        let sum = weighted(&digits[..7], &[8, 7, 6, 5, 4, 3, 2]) + number(&digits[7..]) as u32;
        number(&digits[..7]) != 0 && (sum.is_multiple_of(97) || (sum + 55).is_multiple_of(97))
    })
}

/// Seven digits and one or two letters; formerly a letter or sign in the second place.
fn ireland(rest: &[u8]) -> bool {
    let letter = |character: u8| match character {
        b'A'..=b'I' => Some(u32::from(character - b'A') + 1),
        b'W' => Some(0),
        _ => None,
    };
    let (seven, check, extra) = match rest {
        [old @ .., check] if old.len() == 7 && old[1].is_ascii_uppercase() => {
            let mut seven = *b"0000000";
            seven[1..6].copy_from_slice(&old[2..]);
            seven[6] = old[0];
            (digits::<7>(&seven), *check, Some(0))
        }
        [seven @ .., check] if seven.len() == 7 => (digits::<7>(seven), *check, Some(0)),
        [seven @ .., check, extra] if seven.len() == 7 => (digits::<7>(seven), *check, letter(*extra)),
        _ => return false,
    };
    let (Some(digits), Some(extra)) = (seven, extra) else { return false };
    let sum = weighted(&digits, &[8, 7, 6, 5, 4, 3, 2]) + 9 * extra;
    b"WABCDEFGHIJKLMNOPQRSTUV"[(sum % 23) as usize] == check
}

/// Nine digits for firms, twelve for those registered for a time.
fn lithuania(rest: &[u8]) -> bool {
    let check = |values: &[u8]| {
        let (&check, body) = values.split_last().unwrap_or((&0, &[]));
        let sum = |shift: usize| -> u32 {
            body.iter().enumerate().map(|(place, &digit)| u32::from(digit) * ((place + shift) as u32 % 9 + 1)).sum()
        };
        let value = match sum(0) % 11 {
            10 => sum(2) % 11 % 10,
            rest => rest,
        };
        value == u32::from(check)
    };
    digits::<9>(rest).is_some_and(|digits| digits[7] == 1 && check(&digits))
        || digits::<12>(rest).is_some_and(|digits| digits[10] == 1 && check(&digits))
}

/// Firms, whose first digit is above 3; the older numbers of persons begin with a birth.
fn latvia(rest: &[u8]) -> bool {
    let Some(digits) = digits::<11>(rest) else { return false };
    if digits[0] > 3 {
        return weighted(&digits, &[9, 1, 4, 8, 3, 10, 2, 5, 7, 6, 1]) % 11 == 3;
    }
    let sum = weighted(&digits[..10], &[10, 5, 8, 4, 2, 1, 6, 3, 7, 9]);
    super::national::is_day(number(&digits[2..4]), number(&digits[..2])) && (1 + sum) % 11 % 10 == u32::from(digits[10])
}

/// Nine digits, `B`, two digits: a firm's number has the sum of a BSN, a person's that of ISO 7064 over everything.
fn netherlands(rest: &[u8]) -> bool {
    let [nine @ .., b'B', tens, ones] = rest else { return false };
    if nine.len() != 9 || !nine.iter().all(u8::is_ascii_digit) || !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return false;
    }
    let value = |sum: u64, &character: &u8| match character {
        b'0'..=b'9' => (sum * 10 + u64::from(character - b'0')) % 97,
        letter => (sum * 100 + u64::from(letter - b'A') + 10) % 97,
    };
    nl_bsn(nine) || b"NL".iter().chain(rest).fold(0, value) == 1
}

/// Two to ten digits; shorter ones than six are left out, as they say little.
fn romania(rest: &[u8]) -> bool {
    if !(6..=10).contains(&rest.len()) || !rest.iter().all(u8::is_ascii_digit) || rest[0] == b'0' {
        return false;
    }
    let mut padded = [0; 10];
    for (place, character) in rest.iter().rev().enumerate() {
        padded[9 - place] = character - b'0';
    }
    weighted(&padded[..9], &[7, 5, 3, 2, 1, 7, 5, 3, 2]) * 10 % 11 % 10 == u32::from(padded[9])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers of public bodies and firms, as they print them, or examples of tax offices.
    const VALID: &[&str] = &[
        "ATU13585627",
        "BE0428759497",
        "BG175074752",
        "BG7523169263",
        "CY10259033P",
        "CZ25123891",
        "CZ7103192745",
        "CZ640903926",
        "DE136695976",
        "DK13585628",
        "EE100931558",
        "EL094259216",
        "ESA13585625",
        "ESB58378431",
        "ES54362315K",
        "ESX2482300W",
        "ESJ99216582",
        "FI20774740",
        "FR40303265045",
        "FR23334175221",
        "FRK7399859412",
        "FR4Z123456782",
        "GB980780684",
        "HR33392005961",
        "HU12892312",
        "IE6433435F",
        "IE8D79739I",
        "IE6433435OA",
        "IT00743110157",
        "LT119511515",
        "LT100001919017",
        "LU15027442",
        "LV40003521600",
        "LV16117519997",
        "MT11679112",
        "NL004495445B01",
        "NL002455799B11",
        "PL8567346215",
        "PT501964843",
        "RO18547290",
        "SE123456789701",
        "SI50223054",
        "SK2022749619",
    ];

    #[test]
    fn examples_hold() {
        for number in VALID {
            assert!(holds(number.as_bytes()), "{number}");
        }
    }

    #[test]
    fn a_wrong_digit_is_seen_nearly_always() {
        let (mut tried, mut missed) = (0, 0);
        for valid in VALID {
            for place in 2..valid.len() {
                let mut copy = valid.as_bytes().to_vec();
                if !copy[place].is_ascii_digit() {
                    continue;
                }
                for digit in b'0'..=b'9' {
                    if digit != valid.as_bytes()[place] {
                        copy[place] = digit;
                        tried += 1;
                        missed += usize::from(holds(&copy));
                    }
                }
            }
        }
        // Branch numbers and the kinds of numbers a country has side by side let some through.
        assert!(missed * 20 < tried, "{missed} of {tried}");
    }

    #[test]
    fn others_do_not() {
        for number in ["", "DE", "XX136695976", "DE000000000", "US123456789", "NL004495445C01", "ATX13585627"] {
            assert!(!holds(number.as_bytes()), "{number}");
        }
    }
}
