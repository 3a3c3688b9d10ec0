//! Payment cards: who issues a number, and how sure its form alone makes us.

use super::checksums::luhn;

/// What the first digits and the length say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Issuer {
    /// A range that is common today, of a length that is.
    Common,
    /// A range or a length that is rare, or shared with other numbers: a word has to say that it is a card.
    Rare,
    /// No range that is known to us; shops and banks give out such cards too.
    Unknown,
}

/// Ranges of the first digits (written with the same number of digits), lengths, and whether they are common.
///
/// # Source
/// ISO/IEC 7812 and what the networks publish.
const RANGES: &[(u64, u64, &[usize], Issuer)] = &[
    // Visa; of 13 digits formerly, a length that goods have too.
    (4, 4, &[16], Issuer::Common),
    (4, 4, &[13, 19], Issuer::Rare),
    // Mastercard.
    (51, 55, &[16], Issuer::Common),
    (2221, 2720, &[16], Issuer::Common),
    // American Express.
    (34, 34, &[15], Issuer::Common),
    (37, 37, &[15], Issuer::Common),
    // Diners Club.
    (300, 305, &[14, 16], Issuer::Common),
    (3095, 3095, &[14, 16], Issuer::Common),
    (36, 36, &[14, 16], Issuer::Common),
    (38, 39, &[14, 16], Issuer::Common),
    // Discover.
    (6011, 6011, &[16], Issuer::Common),
    (644, 649, &[16], Issuer::Common),
    (65, 65, &[16], Issuer::Common),
    // UnionPay.
    (62, 62, &[16, 17, 18, 19], Issuer::Common),
    (81, 81, &[16, 17, 18, 19], Issuer::Rare),
    // JCB; of 15 digits formerly.
    (3528, 3589, &[16], Issuer::Common),
    (3528, 3589, &[17, 18, 19], Issuer::Rare),
    (1800, 1800, &[15], Issuer::Rare),
    (2131, 2131, &[15], Issuer::Rare),
    // Dankort, Mir, Elo, Hipercard, RuPay, Verve, Troy, InterPayment and InstaPayment.
    (5019, 5019, &[16], Issuer::Common),
    (2200, 2204, &[16], Issuer::Common),
    (2200, 2204, &[17, 18, 19], Issuer::Rare),
    (5067, 5067, &[16, 18, 19], Issuer::Rare),
    (9792, 9792, &[16], Issuer::Rare),
    (636, 636, &[16, 17, 18, 19], Issuer::Rare),
    (60, 60, &[16], Issuer::Rare),
    (82, 82, &[16], Issuer::Rare),
    // Maestro, of many lengths.
    (50, 50, &[12, 13, 14, 15, 16, 17, 18, 19], Issuer::Rare),
    (56, 69, &[12, 13, 14, 15, 16, 17, 18, 19], Issuer::Rare),
    // UATP.
    (1, 1, &[15], Issuer::Rare),
];

/// Who may have issued a number; `None` when the checksum is wrong or no card looks so.
pub(crate) fn issuer(digits: &[u8]) -> Option<Issuer> {
    if !(12..=19).contains(&digits.len()) || !luhn(digits) || digits.iter().all(|digit| *digit == digits[0]) {
        return None;
    }
    let begins = |low: u64, high: u64| {
        let places = low.ilog10() as usize + 1;
        (low..=high).contains(&super::checksums::number(&digits[..places]))
    };
    let fits = |&&(low, high, lengths, _): &&(u64, u64, &[usize], Issuer)| {
        lengths.contains(&digits.len()) && begins(low, high)
    };
    let known = RANGES.iter().find(fits).map(|&(.., issuer)| issuer);
    known.or_else(|| (matches!(digits.len(), 15 | 16 | 19) && digits[0] != 0).then_some(Issuer::Unknown))
}

/// Groups in which cards are written.
pub(crate) const GROUPS: &[&[u8]] = &[
    &[4, 4, 4, 4],
    &[4, 6, 5],
    &[4, 6, 4],
    &[4, 4, 4, 4, 3],
    &[4, 4, 4, 4, 2],
    &[4, 4, 4, 4, 1],
    &[4, 4, 4, 3],
    &[4, 4, 4, 2],
    &[4, 4, 4, 1],
    &[4, 4, 5],
    &[4, 4, 4],
    &[6, 13],
    &[8, 8],
];

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Issuer> {
        issuer(&text.bytes().map(|byte| byte - b'0').collect::<Vec<_>>())
    }

    #[test]
    fn published_test_numbers() {
        for number in [
            "4111111111111111",
            "4012888888881881",
            "5555555555554444",
            "5105105105105100",
            "2223003122003222",
            "378282246310005",
            "371449635398431",
            "30569309025904",
            "38520000023237",
            "36227206271667",
            "6011111111111117",
            "6011000990139424",
            "3530111333300000",
            "3566002020360505",
            "6200000000000005",
            "5019717010103742",
            "2200770239097761",
        ] {
            assert_eq!(of(number), Some(Issuer::Common), "{number}");
        }
        for number in ["4222222222222", "6759649826438453", "180016070420458"] {
            assert_eq!(of(number), Some(Issuer::Rare), "{number}");
        }
        assert_eq!(of("1234567812345670"), Some(Issuer::Unknown));
    }

    #[test]
    fn no_cards() {
        for number in [
            "4111111111111112",
            "0000000000000000",
            "7992739871300000",
            "41111111111111",
            "79927398713",
            "5555555555555555",
        ] {
            assert_eq!(of(number), None, "{number}");
        }
    }
}
