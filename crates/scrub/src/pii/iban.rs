//! International bank account numbers.

use super::checksums;

/// Lengths by country.
///
/// # Source
/// The IBAN registry that SWIFT keeps under ISO 13616.
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// How many characters an account number that begins so has, if a country does.
pub(crate) fn length(characters: &[u8]) -> Option<usize> {
    let [first, second, check @ ..] = characters else { return None };
    if check.len() < 2 || !check[..2].iter().all(u8::is_ascii_digit) {
        return None;
    }
    LENGTHS.iter().find(|(country, _)| *country == &[*first, *second]).map(|&(_, length)| length)
}

/// Whether the characters (letters in upper case) are an account number.
pub(crate) fn holds(characters: &[u8]) -> bool {
    length(characters) == Some(characters.len()) && checksums::iban(characters)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_of_the_registry() {
        for example in [
            "AD1200012030200359100100",
            "AT611904300234573201",
            "BE68539007547034",
            "CH9300762011623852957",
            "DE89370400440532013000",
            "ES9121000418450200051332",
            "FR1420041010050500013M02606",
            "GB29NWBK60161331926819",
            "IT60X0542811101000000123456",
            "MT84MALT011000012345MTLCAST001S",
            "NL91ABNA0417164300",
            "NO9386011117947",
            "PL61109010140000071219812874",
            "SA0380000000608010167519",
            "SE4550000000058398257466",
            "TR330006100519786457841326",
            "BR1800360305000010009795493C1",
        ] {
            assert!(holds(example.as_bytes()), "{example}");
            let mut wrong = example.as_bytes().to_vec();
            wrong[3] = b'0' + (wrong[3] - b'0' + 1) % 10;
            assert!(!holds(&wrong), "{example}");
            assert!(!holds(&example.as_bytes()[..example.len() - 1]));
        }
        assert!(!holds(b"ZZ82WEST12345698765432") && !holds(b"G") && !holds(b""));
    }
}
