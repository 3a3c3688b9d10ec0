//! Numbers that states give to persons and firms: whether characters can be one.
//!
//! All take letters in upper case and digits, without separators. `true` means that the form is right and the checksum,
//! where there is one, holds.

use super::checksums::{luhn, mod_11_10, number, verhoeff, weighted};

/// The values of characters that all have to be digits.
pub(crate) fn digits<const N: usize>(characters: &[u8]) -> Option<[u8; N]> {
    let characters: &[u8; N] = characters.try_into().ok()?;
    characters.iter().all(u8::is_ascii_digit).then(|| characters.map(|character| character - b'0'))
}

/// Whether a day can be: month 1 to 12, day 1 to the length of the month, the 29th of February in any year.
pub(crate) fn is_day(month: u64, day: u64) -> bool {
    let length = match month {
        2 => 29,
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => 0,
    };
    (1..=length).contains(&day)
}

/// A number that only has the one digit, which nobody is given.
fn is_one_digit(digits: &[u8]) -> bool {
    digits.iter().all(|digit| *digit == digits[0])
}

/// Area, group and serial number are none that is never given out; numbers known from adverts are nobody's.
pub(crate) fn us_ssn(characters: &[u8]) -> bool {
    let Some(digits) = digits::<9>(characters) else { return false };
    let (area, group, serial) = (number(&digits[..3]), number(&digits[3..5]), number(&digits[5..]));
    !matches!(area, 0 | 666 | 900..)
        && group != 0
        && serial != 0
        && !is_one_digit(&digits)
        && !matches!(characters, b"078051120" | b"123456789" | b"219099999")
}

pub(crate) fn us_itin(characters: &[u8]) -> bool {
    let Some(digits) = digits::<9>(characters) else { return false };
    digits[0] == 9 && matches!(number(&digits[3..5]), 50..=65 | 70..=88 | 90..=92 | 94..=99)
}

pub(crate) fn us_bank_routing(characters: &[u8]) -> bool {
    let Some(digits) = digits::<9>(characters) else { return false };
    matches!(number(&digits[..2]), 0..=12 | 21..=32 | 61..=72 | 80)
        && !is_one_digit(&digits)
        && weighted(&digits, &[3, 7, 1, 3, 7, 1, 3, 7, 1]).is_multiple_of(10)
}

pub(crate) fn uk_nhs(characters: &[u8]) -> bool {
    let Some(digits) = digits::<10>(characters) else { return false };
    !is_one_digit(&digits) && weighted(&digits, &[10, 9, 8, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

pub(crate) fn uk_nino(characters: &[u8]) -> bool {
    let [first, second, digits @ .., suffix] = characters else { return false };
    digits.len() == 6
        && digits.iter().all(u8::is_ascii_digit)
        && first.is_ascii_uppercase()
        && second.is_ascii_uppercase()
        && !b"DFIQUV".contains(first)
        && !b"DFIOQUV".contains(second)
        && ![b"BG", b"GB", b"KN", b"NK", b"NT", b"TN", b"ZZ"].contains(&&[*first, *second])
        && (b'A'..=b'D').contains(suffix)
}

/// Eleven digits, the first not 0, in the first ten one digit twice or thrice, and ISO 7064 MOD 11,10.
pub(crate) fn de_tax_id(characters: &[u8]) -> bool {
    let Some(digits) = digits::<11>(characters) else { return false };
    let mut counts = [0_u8; 10];
    for &digit in &digits[..10] {
        counts[usize::from(digit)] += 1;
    }
    let repeated = counts.iter().filter(|&&count| count > 1).count();
    digits[0] != 0 && repeated == 1 && counts.iter().all(|&count| count <= 3) && mod_11_10(&digits)
}

/// Sex, year, month, department (2A and 2B in Corsica), commune, order, and 97 less the rest of all that.
pub(crate) fn fr_nir(characters: &[u8]) -> bool {
    let Ok(mut copy) = <[u8; 15]>::try_from(characters) else { return false };
    let corsica = match &copy[5..7] {
        b"2A" => 1_000_000,
        b"2B" => 2_000_000,
        _ => 0,
    };
    if corsica != 0 {
        copy[6] = b'0';
    }
    let Some(digits) = digits::<15>(&copy) else { return false };
    let body = number(&digits[..13]) - corsica;
    matches!(digits[0], 1 | 2 | 3 | 4 | 7 | 8)
        // Months above 12 stand for births whose month was not known.
        && matches!(number(&digits[3..5]), 1..=12 | 20..=42 | 50..=99)
        && number(&digits[5..7]) != 0
        && 97 - body % 97 == number(&digits[13..])
}

/// The letter that the rest of a division by 23 stands for.
const SPANISH_LETTERS: &[u8; 23] = b"TRWAGMYFPDXBNJZSQVHLCKE";

pub(crate) fn es_dni(characters: &[u8]) -> bool {
    let Some((&letter, body)) = characters.split_last() else { return false };
    let Ok(mut body) = <[u8; 8]>::try_from(body) else { return false };
    // The first letter of a foreigner's number counts as a digit.
    if let b'X'..=b'Z' = body[0] {
        body[0] = body[0] - b'X' + b'0';
    }
    digits::<8>(&body)
        .is_some_and(|digits| number(&digits) > 0 && SPANISH_LETTERS[(number(&digits) % 23) as usize] == letter)
}

/// Six letters of the names, birth, place, and a letter over odd and even places. Digits may have been replaced by
/// letters (`omocodia`) to tell two persons apart.
pub(crate) fn it_codice_fiscale(characters: &[u8]) -> bool {
    /// What a digit (or the letter of that place in the alphabet) counts in an odd place.
    const ODD: [u32; 26] =
        [1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23];
    let Ok(characters) = <[u8; 16]>::try_from(characters) else { return false };
    let digit = |character: u8| match character {
        b'0'..=b'9' => Some(u64::from(character - b'0')),
        other => b"LMNPQRSTUV".iter().position(|&letter| letter == other).map(|place| place as u64),
    };
    let letters = [0, 1, 2, 3, 4, 5, 8, 11, 15];
    if !letters.iter().all(|&place| characters[place].is_ascii_uppercase())
        || ![6, 7, 9, 10, 12, 13, 14].iter().all(|&place| digit(characters[place]).is_some())
        || !b"ABCDEHLMPRST".contains(&characters[8])
    {
        return false;
    }
    let day = digit(characters[9]).unwrap_or(0) * 10 + digit(characters[10]).unwrap_or(0);
    let value = |character: u8| match character {
        b'0'..=b'9' => character - b'0',
        letter => letter - b'A',
    };
    let sum: u32 = (0..15)
        .map(|place| match (place % 2, value(characters[place])) {
            (0, value) => ODD[usize::from(value)],
            (_, value) => u32::from(value),
        })
        .sum();
    // 40 is added to the day of a woman's birth.
    matches!(day, 1..=31 | 41..=71) && sum % 26 == u32::from(characters[15] - b'A')
}

/// Eight or nine digits; the weighted sum, with the last digit taken away, is a multiple of 11.
pub(crate) fn nl_bsn(characters: &[u8]) -> bool {
    let Some(digits) = digits::<9>(characters) else { return false };
    let sum = weighted(&digits[..8], &[9, 8, 7, 6, 5, 4, 3, 2]) + 10;
    number(&digits) > 1_000_000 && !is_one_digit(&digits) && (sum - u32::from(digits[8]) + 1).is_multiple_of(11)
}

/// A birth, an order, and 97 less the rest; births since 2000 count with a 2 in front.
pub(crate) fn be_national_number(characters: &[u8]) -> bool {
    let Some(digits) = digits::<11>(characters) else { return false };
    let (body, check) = (number(&digits[..9]), number(&digits[9..]));
    let (month, day) = (number(&digits[2..4]), number(&digits[4..6]));
    // Those without a register entry have 20 or 40 added to the month.
    let month_of_year = match month {
        20..=32 => month - 20,
        40..=52 => month - 40,
        other => other,
    };
    month_of_year <= 12
        && day <= 31
        && number(&digits[6..9]) != 0
        && (97 - body % 97 == check || 97 - (body + 2_000_000_000) % 97 == check)
}

/// A birth with the century in the month, and a weighted sum.
pub(crate) fn pl_pesel(characters: &[u8]) -> bool {
    let Some(digits) = digits::<11>(characters) else { return false };
    is_day(number(&digits[2..4]) % 20, number(&digits[4..6]))
        && weighted(&digits, &[1, 3, 7, 9, 1, 3, 7, 9, 1, 3, 1]).is_multiple_of(10)
}

/// A birth (60 is added to the day of a coordination number) and Luhn; ten digits or, with the century, twelve.
pub(crate) fn se_personal_number(characters: &[u8]) -> bool {
    let short = match characters.len() {
        12 if matches!(&characters[..2], b"18" | b"19" | b"20") => &characters[2..],
        _ => characters,
    };
    let Some(digits) = digits::<10>(short) else { return false };
    let day = number(&digits[4..6]);
    is_day(number(&digits[2..4]), if day > 60 { day - 60 } else { day }) && number(&digits[6..9]) != 0 && luhn(&digits)
}

/// A birth, a sign of the century (left out here or a letter), three digits and a character for the rest by 31.
pub(crate) fn fi_personal_code(characters: &[u8]) -> bool {
    const CHECKS: &[u8; 31] = b"0123456789ABCDEFHJKLMNPRSTUVWXY";
    let (body, check) = match characters {
        [body @ .., check] if body.len() == 9 => (<[u8; 9]>::try_from(body).ok(), check),
        [birth @ .., sign, a, b, c, check] if birth.len() == 6 && b"ABCDEFYXWVU".contains(sign) => {
            let mut body = [0; 9];
            body[..6].copy_from_slice(birth);
            body[6..].copy_from_slice(&[*a, *b, *c]);
            (Some(body), check)
        }
        _ => return false,
    };
    body.and_then(|body| digits::<9>(&body)).is_some_and(|digits| {
        is_day(number(&digits[2..4]), number(&digits[..2]))
            && number(&digits[6..]) >= 2
            && CHECKS[(number(&digits) % 31) as usize] == *check
    })
}

/// A birth and four digits. The old sum by 11 no longer holds for numbers given since 2007.
pub(crate) fn dk_cpr(characters: &[u8]) -> bool {
    let Some(digits) = digits::<10>(characters) else { return false };
    is_day(number(&digits[2..4]), number(&digits[..2])) && number(&digits[6..]) != 0
}

/// A CPR number for which the old sum by 11 holds.
pub(crate) fn dk_cpr_checked(characters: &[u8]) -> bool {
    let Some(digits) = digits::<10>(characters) else { return false };
    dk_cpr(characters) && weighted(&digits, &[4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// A birth (40 is added to the day of a D number) and two sums by 11.
pub(crate) fn no_birth_number(characters: &[u8]) -> bool {
    let Some(digits) = digits::<11>(characters) else { return false };
    let day = number(&digits[..2]);
    is_day(number(&digits[2..4]), if day > 40 { day - 40 } else { day })
        && weighted(&digits, &[3, 7, 6, 1, 8, 9, 4, 5, 2, 1]).is_multiple_of(11)
        && weighted(&digits, &[5, 4, 3, 2, 7, 6, 5, 4, 3, 2, 1]).is_multiple_of(11)
}

/// 756 for Switzerland, nine digits, and the sum of an EAN.
pub(crate) fn ch_ahv(characters: &[u8]) -> bool {
    let Some(digits) = digits::<13>(characters) else { return false };
    characters.starts_with(b"756") && weighted(&digits, &[1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1, 3, 1]).is_multiple_of(10)
}

pub(crate) fn in_aadhaar(characters: &[u8]) -> bool {
    let Some(digits) = digits::<12>(characters) else { return false };
    let palindrome = digits.iter().eq(digits.iter().rev());
    digits[0] > 1 && !palindrome && verhoeff(&digits)
}

/// Five letters, the fourth for the kind of holder, four digits, a letter.
pub(crate) fn in_pan(characters: &[u8]) -> bool {
    characters.len() == 10
        && characters[..5].iter().all(u8::is_ascii_uppercase)
        && b"ABCFGHJLPT".contains(&characters[3])
        && characters[5..9].iter().all(u8::is_ascii_digit)
        && &characters[5..9] != b"0000"
        && characters[9].is_ascii_uppercase()
}

/// The check digit of Brazil: 11 less the rest of the weighted sum by 11, 0 for more than 9.
fn brazilian(values: &[u8], weights: &[u32]) -> u8 {
    match weighted(values, weights) % 11 {
        0 | 1 => 0,
        rest => 11 - rest as u8,
    }
}

pub(crate) fn br_cpf(characters: &[u8]) -> bool {
    let Some(digits) = digits::<11>(characters) else { return false };
    !is_one_digit(&digits)
        && brazilian(&digits[..9], &[10, 9, 8, 7, 6, 5, 4, 3, 2]) == digits[9]
        && brazilian(&digits[..10], &[11, 10, 9, 8, 7, 6, 5, 4, 3, 2]) == digits[10]
}

/// Twelve letters or digits, whose value is the code less that of `0`, and two digits.
pub(crate) fn br_cnpj(characters: &[u8]) -> bool {
    let Ok(characters) = <[u8; 14]>::try_from(characters) else { return false };
    let values = characters.map(|character| character.saturating_sub(b'0'));
    let weights = [6, 5, 4, 3, 2, 9, 8, 7, 6, 5, 4, 3, 2];
    characters.iter().all(u8::is_ascii_alphanumeric)
        && characters[12..].iter().all(u8::is_ascii_digit)
        && !is_one_digit(&values)
        && brazilian(&values[..12], &weights[1..]) == values[12]
        && brazilian(&values[..13], &weights) == values[13]
}

pub(crate) fn ca_sin(characters: &[u8]) -> bool {
    digits::<9>(characters).is_some_and(|digits| digits[0] != 8 && luhn(&digits) && !is_one_digit(&digits))
}

pub(crate) fn au_tfn(characters: &[u8]) -> bool {
    let weights = [1, 4, 3, 7, 5, 8, 6, 9, 10];
    let nine = digits::<9>(characters)
        .is_some_and(|digits| !is_one_digit(&digits) && weighted(&digits, &weights).is_multiple_of(11));
    let eight = digits::<8>(characters).is_some_and(|digits| {
        !is_one_digit(&digits) && weighted(&digits, &[10, 7, 8, 4, 6, 3, 5, 1]).is_multiple_of(11)
    });
    nine || eight
}

/// The first digit less 1, weighted, is a multiple of 89.
pub(crate) fn au_abn(characters: &[u8]) -> bool {
    let Some(mut digits) = digits::<11>(characters) else { return false };
    if digits[0] == 0 {
        return false;
    }
    digits[0] -= 1;
    weighted(&digits, &[10, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19]).is_multiple_of(89)
}

/// Eight digits, a check digit over them, the issue, perhaps the person on the card.
pub(crate) fn au_medicare(characters: &[u8]) -> bool {
    let Some(digits) = characters.get(..10).and_then(digits::<10>) else { return false };
    let person = characters.get(10).is_none_or(|person| (b'1'..=b'9').contains(person));
    person
        && characters.len() <= 11
        && (2..=6).contains(&digits[0])
        && weighted(&digits[..8], &[1, 3, 7, 9, 1, 3, 7, 9]) % 10 == u32::from(digits[8])
}

/// A letter for the series, seven digits, a letter for the rest by 11.
pub(crate) fn sg_nric(characters: &[u8]) -> bool {
    let [series, body @ .., check] = characters else { return false };
    let Some(digits) = digits::<7>(body) else { return false };
    let sum = weighted(&digits, &[2, 7, 6, 5, 4, 3, 2]);
    let (extra, letters) = match series {
        b'S' => (0, b"JZIHGFEDCBA"),
        b'T' => (4, b"JZIHGFEDCBA"),
        b'F' => (0, b"XWUTRQPNMLK"),
        b'G' => (4, b"XWUTRQPNMLK"),
        b'M' => (3, b"XWUTRQPNJLK"),
        _ => return false,
    };
    letters[((sum + extra) % 11) as usize] == *check
}

/// A birth, a digit for century and sex, and six more. The sum by 11 no longer holds for numbers since October 2020.
pub(crate) fn kr_rrn(characters: &[u8]) -> bool {
    digits::<13>(characters)
        .is_some_and(|digits| is_day(number(&digits[2..4]), number(&digits[4..6])) && digits[6] != 9 && digits[6] != 0)
}

/// A resident number for which the old sum by 11 holds.
pub(crate) fn kr_rrn_checked(characters: &[u8]) -> bool {
    let Some(digits) = digits::<13>(characters) else { return false };
    let sum = weighted(&digits[..12], &[2, 3, 4, 5, 6, 7, 8, 9, 2, 3, 4, 5]);
    let foreigner = if digits[6] > 4 { 2 } else { 0 };
    kr_rrn(characters) && (11 - sum % 11 + foreigner) % 10 == u32::from(digits[12])
}

/// A region, a birth, an order, and ISO 7064 MOD 11-2.
pub(crate) fn cn_resident_id(characters: &[u8]) -> bool {
    let [body @ .., check] = characters else { return false };
    let Some(digits) = digits::<17>(body) else { return false };
    let sum = weighted(&digits, &[7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2]);
    matches!(number(&digits[..2]), 11..=15 | 21..=23 | 31..=37 | 41..=46 | 50..=54 | 61..=65 | 71 | 81..=83 | 91)
        && matches!(number(&digits[6..10]), 1900..=2099)
        && is_day(number(&digits[10..12]), number(&digits[12..14]))
        && b"10X98765432"[(sum % 11) as usize] == *check
}

#[cfg(test)]
mod tests {
    use super::*;

    type Check = fn(&[u8]) -> bool;

    /// Numbers that authorities and handbooks publish as examples, and how they must not be.
    const CASES: &[(Check, &[&str], &[&str])] = &[
        (
            us_ssn,
            &["536904399", "054286917"],
            &["000123456", "666123456", "900123456", "123004567", "123450000", "078051120"],
        ),
        (us_itin, &["912701234", "900881234"], &["912891234", "812701234", "912931234"]),
        (us_bank_routing, &["021000021", "011401533", "121000358"], &["021000022", "131000021", "000000000"]),
        (uk_nhs, &["9434765919", "4010232137", "9876543210"], &["9434765918", "1111111111"]),
        (uk_nino, &["AB123456C", "JG103759A"], &["DA123456C", "GB123456A", "AB123456E", "AO123456A", "A1123456A"]),
        (de_tax_id, &["86095742719", "65929970489", "57549285017"], &["86095742710", "12345678912", "06095742719"]),
        (fr_nir, &["184127645108946", "255081416802538", "151024610204325"], &["184127645108947"]),
        (
            es_dni,
            &["12345678Z", "00000001R", "X1234567L", "Y1234567X", "Z1234567R"],
            &["12345678A", "W1234567L", "00000000T"],
        ),
        (
            it_codice_fiscale,
            &["RSSMRA85T10A562S", "MRTMTT91D08F205J", "RSSMRA80A01H501U"],
            &["RSSMRA85T10A562T", "RSSMRA85X10A562S", "RSSMRA85T10A5621"],
        ),
        (nl_bsn, &["111222333", "123456782"], &["123456789", "111111111", "000000000"]),
        (be_national_number, &["85073003328", "93051822361", "17073003384"], &["85073003327", "85133003328"]),
        (pl_pesel, &["44051401359", "02070803628"], &["44051401358", "44151401359"]),
        (
            se_personal_number,
            &["8112289874", "198112289874", "6403273813", "7010632391"],
            &["8112289873", "8113289874", "218112289874"],
        ),
        (fi_personal_code, &["131052308T", "131052A308T", "010594Y9032"], &["131052308U", "321052308T", "131052Z308T"]),
        (dk_cpr, &["2110625629", "0707614285"], &["3210625629", "2113625629"]),
        (dk_cpr_checked, &["2110625629", "0707614285"], &["2110625628"]),
        (no_birth_number, &["15108695088", "11077941012"], &["15108695089", "15138695088"]),
        (ch_ahv, &["7569217076985", "7561234567897"], &["7569217076984", "7579217076985"]),
        (in_aadhaar, &["234123412346"], &["234123412347", "123412341234"]),
        (in_pan, &["ABCPE1234F", "AAAPA1234A"], &["ABCDE1234F", "ABCPE0000F", "ABCP12345F"]),
        (br_cpf, &["11144477735", "39053344705"], &["11144477734", "11111111111"]),
        (br_cnpj, &["11222333000181", "12ABC34501DE35"], &["11222333000182", "12ABC34501DE36", "00000000000000"]),
        (ca_sin, &["130692544", "046454286"], &["130692545", "812345674"]),
        (au_tfn, &["123456782"], &["123456783", "000000000", "00000000"]),
        (au_abn, &["51824753556", "83914571673"], &["51824753557", "03914571673"]),
        (au_medicare, &["2123456701", "2428778132", "24287781321"], &["2123456711", "7123456701", "24287781320"]),
        (
            sg_nric,
            &["S1234567D", "F1234567N", "G1234567X", "T1234567J", "M1234567K"],
            &["S1234567E", "A1234567D", "S123456D"],
        ),
        (kr_rrn, &["9710131019901"], &["9713131234567", "9701320234567"]),
        (kr_rrn_checked, &["9710131019901"], &["9710131019902"]),
        (
            cn_resident_id,
            &["11010519491231002X", "110101199003077459"],
            &["110105194912310021", "990105194912310021", "11010519491331002X"],
        ),
    ];

    #[test]
    fn examples() {
        for (place, (check, valid, invalid)) in CASES.iter().enumerate() {
            for number in *valid {
                assert!(check(number.as_bytes()), "case {place}: {number}");
            }
            for number in *invalid {
                assert!(!check(number.as_bytes()), "case {place}: {number}");
            }
        }
    }

    #[test]
    fn wrong_lengths_and_letters_never_panic() {
        for (check, valid, _) in CASES {
            for number in *valid {
                for length in 0..number.len() {
                    assert!(!check(&number.as_bytes()[..length]) || length == 10, "{number}");
                }
                for place in 0..number.len() {
                    let mut copy = number.as_bytes().to_vec();
                    copy[place] = b'#';
                    assert!(!check(&copy), "{number}");
                }
            }
        }
    }
}
