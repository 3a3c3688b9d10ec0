//! Telephone numbers.
//!
//! The form of a number gives a first confidence: high for `+` and a country, or for the characteristic groups of a
//! country, low for digits that could be anything. Words around it decide the rest.

use super::context::{Context, FULL, Topic};
use super::dates;

/// The longest number (ITU-T E.164), with a prefix for calls abroad.
const MOST_DIGITS: usize = 18;
const MOST_GROUPS: usize = 8;

/// A stretch that has the form of a telephone number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Form {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// The confidence without any word.
    pub(crate) confidence: f32,
}

/// The digits of a number as they are grouped.
struct Digits {
    digits: [u8; MOST_DIGITS],
    count: usize,
    groups: [u8; MOST_GROUPS],
    group_count: usize,
    /// The separator before each group but the first: space, `-`, `.`, `/`, or `)` behind a bracket.
    separators: [u8; MOST_GROUPS],
    /// Where each group ends.
    ends: [usize; MOST_GROUPS],
    plus: bool,
    /// A bracket around the first group.
    bracket: bool,
    /// `(0)`: a digit that only those in the country dial.
    trunk: bool,
}

/// Reads the number whose first digit is at a place; its longest form that can be one.
pub(crate) fn at(text: &str, first_digit: usize) -> Option<Form> {
    let bytes = text.as_bytes();
    let start = start(bytes, first_digit)?;
    if dates::from_digit(text, first_digit).is_some() {
        return None;
    }
    let mut read = read(bytes, start, first_digit);
    while read.group_count > 0 {
        let end = read.ends[read.group_count - 1];
        if let Some(confidence) = (!goes_on(bytes, end)).then(|| form(&read)).flatten() {
            let spaced =
                |place: usize| bytes.get(place) == Some(&b' ') && bytes.get(place + 1).is_some_and(u8::is_ascii_digit);
            let listed = !read.plus
                && (spaced(end) || start > 1 && bytes[start - 1] == b' ' && bytes[start - 2].is_ascii_digit());
            let confidence = if listed { confidence.min(0.2) } else { confidence };
            return Some(Form { start, end: extension(bytes, end), confidence });
        }
        read.group_count -= 1;
        read.count -= usize::from(read.groups[read.group_count]);
    }
    None
}

/// Where the number begins, with its plus sign and bracket; `None` when it is the end of something else.
fn start(bytes: &[u8], first_digit: usize) -> Option<usize> {
    let mut start = first_digit;
    if start > 0 && bytes[start - 1] == b'(' {
        start -= 1;
    }
    if start > 0 && bytes[start - 1] == b'+' {
        start -= 1;
    } else if start > 1 && bytes[start - 1] == b' ' && bytes[start - 2] == b'+' && start == first_digit {
        start -= 2;
        // `12 + 6644 - 3329`: a sum, not the plus sign before a country.
        let before = bytes[..start].iter().rev().take(3).find(|byte| **byte != b' ');
        if before.is_some_and(|byte| byte.is_ascii_digit() || matches!(byte, b')' | b'=' | b'*' | b'+' | b'-')) {
            return None;
        }
    } else if start > 2 && bytes[..start].ends_with("\u{ff0b}".as_bytes()) {
        start -= 3;
    }
    let Some(before) = start.checked_sub(1) else { return Some(start) };
    let further = before.checked_sub(1).map(|place| bytes[place]);
    match bytes[before] {
        byte if byte.is_ascii_alphanumeric() => None,
        b'_' | b'$' | b'@' | b'%' | b'^' | b'~' => None,
        b'-' | b'+' | b'*' if further.is_some_and(|byte| byte.is_ascii_alphanumeric()) => None,
        b'.' | b',' | b':' | b'/' | b'x' if further.is_some_and(|byte| byte.is_ascii_digit()) => {
            // A list of numbers between commas or slashes is a list, `0:1` is not.
            (matches!(bytes[before], b',' | b'/') && start != first_digit).then_some(start)
        }
        _ => Some(start),
    }
}

/// Digits and separators from a place on.
fn read(bytes: &[u8], start: usize, first_digit: usize) -> Digits {
    let mut read = Digits {
        digits: [0; MOST_DIGITS],
        count: 0,
        groups: [0; MOST_GROUPS],
        group_count: 0,
        separators: [0; MOST_GROUPS],
        ends: [0; MOST_GROUPS],
        plus: matches!(bytes[start], b'+' | 0xef),
        bracket: bytes[first_digit.saturating_sub(1)] == b'(' && first_digit > start,
        trunk: false,
    };
    let mut at = first_digit;
    let mut gap = 0;
    loop {
        let length = bytes[at..].iter().take(MOST_DIGITS + 1).take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 || read.count + length > MOST_DIGITS || read.group_count == MOST_GROUPS {
            break;
        }
        read.digits[read.count..read.count + length].copy_from_slice(&bytes[at..at + length]);
        read.count += length;
        read.groups[read.group_count] = length as u8;
        read.separators[read.group_count] = gap;
        at += length;
        read.ends[read.group_count] = at;
        read.group_count += 1;
        match next_group(bytes, at, read.group_count, read.bracket) {
            Some((separator, next, trunk)) => {
                read.trunk |= trunk;
                (gap, at) = (separator, next);
            }
            None => break,
        }
    }
    read
}

/// The separator behind a group, where the next one begins, and whether a `(0)` stood between.
fn next_group(bytes: &[u8], end: usize, groups: usize, bracket: bool) -> Option<(u8, usize, bool)> {
    let mut at = end;
    let mut separator = 0;
    let mut trunk = false;
    if bytes.get(at) == Some(&b')') && groups == 1 && bracket {
        separator = b')';
        at += 1;
    }
    for _ in 0..3 {
        if bytes[at..].starts_with(b"(0)") {
            trunk = true;
            at += 3;
            continue;
        }
        match super::run::separator(bytes, at) {
            Some((b'+', _)) | None => break,
            Some((byte, length)) => {
                // Two different ones may follow each other (`) `, ` - `), not two of one kind.
                if separator == byte {
                    return None;
                }
                separator = if separator == b')' || byte == b' ' && separator != 0 { separator } else { byte };
                at += length;
            }
        }
    }
    // The digits of an area in brackets behind the country: `+1 (555)`.
    if bytes.get(at) == Some(&b'(') && groups <= 2 {
        let inner = bytes[at + 1..].iter().take(6).take_while(|byte| byte.is_ascii_digit()).count();
        if (1..=5).contains(&inner)
            && bytes.get(at + 1 + inner) == Some(&b')')
            && (separator != 0 || trunk || at == end)
        {
            return Some((b'(', at + 1, trunk));
        }
        return None;
    }
    if bytes.get(at) == Some(&b')') && groups > 1 {
        let behind = at + 1 + usize::from(matches!(bytes.get(at + 1), Some(b' ' | b'-' | b'.')));
        return bytes.get(behind).is_some_and(u8::is_ascii_digit).then_some((b')', behind, trunk));
    }
    (at > end && bytes.get(at).is_some_and(u8::is_ascii_digit)).then_some((separator.max(1), at, trunk))
}

/// Whether what follows makes a stretch part of something longer.
fn goes_on(bytes: &[u8], end: usize) -> bool {
    let Some(&next) = bytes.get(end) else { return false };
    let further = bytes.get(end + 1).copied().unwrap_or(b' ');
    match next {
        b'x' | b'X' => !further.is_ascii_digit(),
        byte if byte.is_ascii_alphanumeric() => true,
        b'_' | b'@' | b'%' | b'=' | b'^' => true,
        b'.' | b'/' | b':' => further.is_ascii_digit(),
        // `-Fax` is a word, `-a716` more of a number in hexadecimal.
        b'-' => {
            let word = bytes[end + 1..].iter().take(12).take_while(|byte| byte.is_ascii_alphanumeric());
            word.clone().any(u8::is_ascii_digit)
        }
        b'*' | b'+' => further.is_ascii_digit(),
        // `1700-1200 = 500`: a sum.
        b' ' => further == b'=',
        _ => false,
    }
}

/// Past `x123`, `ext. 123` or `Durchwahl 12` behind a number.
fn extension(bytes: &[u8], end: usize) -> usize {
    let mut at = end;
    while at < end + 2 && matches!(bytes.get(at), Some(b' ' | b',')) {
        at += 1;
    }
    let Some(word) = ["extension", "ext.", "ext", "x", "durchwahl"]
        .iter()
        .find(|word| bytes.get(at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word.as_bytes())))
    else {
        return end;
    };
    at += word.len();
    while matches!(bytes.get(at), Some(b' ' | b':' | b'.')) && at < end + 16 {
        at += 1;
    }
    let digits = bytes[at.min(bytes.len())..].iter().take(7).take_while(|byte| byte.is_ascii_digit()).count();
    let closed = !bytes.get(at + digits).is_some_and(u8::is_ascii_alphanumeric);
    if (1..=6).contains(&digits) && closed { at + digits } else { end }
}

/// The confidence of a grouping without any word; `None` when it is no number.
fn form(read: &Digits) -> Option<f32> {
    let digits = &read.digits[..read.count];
    let groups = &read.groups[..read.group_count];
    let separators = &read.separators[1..read.group_count];
    if !(7..=16).contains(&digits.len()) || digits.iter().all(|digit| *digit == digits[0]) {
        return None;
    }
    if read.plus {
        let fits =
            (8..=15).contains(&digits.len()) && has_country(digits) && groups.iter().skip(2).all(|&group| group > 1);
        return fits.then_some(if groups.len() > 1 || digits.len() > 9 { 0.8 } else { 0.5 });
    }
    if is_arithmetic(groups, separators, digits) {
        return None;
    }
    let uniform = separators.iter().all(|separator| *separator == separators[0]);
    // After a bracket and before the last group other separators are usual.
    let regular =
        uniform || separators.len() > 1 && separators[1..].iter().all(|separator| *separator == separators[1]);
    if !regular && !read.bracket && !read.trunk && !separators.contains(&b'(') {
        return (groups.len() <= 5 && digits.len() <= 12).then_some(0.15);
    }
    let number = |from: usize| {
        u32::from(digits[from] - b'0') * 100
            + u32::from(digits[from + 1] - b'0') * 10
            + u32::from(digits[from + 2] - b'0')
    };
    let american = |from: usize| number(from) >= 200 && number(from + 3) >= 200;
    let spaced = separators.first() == Some(&b' ');
    Some(match groups {
        [3, 3, 4] if digits[0] == b'0' => 0.5,
        [3, 3, 4] => match (american(0), read.bracket) {
            (true, true) => 0.8,
            (true, false) if spaced => 0.5,
            (true, false) => 0.65,
            (false, true) => 0.55,
            (false, false) => {
                if digits[0] > b'1' {
                    0.5
                } else {
                    0.25
                }
            }
        },
        [3, 7] if read.bracket && american(0) => 0.6,
        [1, 3, 3, 4] if digits[0] == b'1' => {
            if american(1) {
                0.7
            } else {
                0.3
            }
        }
        [3, 3, 3, 4] if digits.starts_with(b"001") => 0.6,
        [1, 3, 3, 2, 2] if matches!(digits[0], b'7' | b'8') => 0.6,
        // 00, a country and groups.
        [first, ..] if digits.starts_with(b"00") && groups.len() > 1 => {
            if *first >= 3 && has_country(&digits[2..]) && digits.len() >= 10 { 0.55 } else { 0.2 }
        }
        [single] => match (digits.len(), digits[0], digits[1]) {
            (10 | 11, b'0', b'1'..=b'9') => 0.25,
            // Mobiles of China and India.
            (11, b'1', b'3'..=b'9') => 0.3,
            (11, b'0', _) => 0.2,
            (7..=13, ..) => {
                if *single > 11 {
                    0.15
                } else {
                    0.2
                }
            }
            _ => return None,
        },
        // An area in brackets: two to five digits, then five to eight.
        [area @ 2..=5, rest @ ..] if read.bracket && (5..=9).contains(&rest.iter().sum::<u8>()) => {
            if digits[0] == b'0' || *area == 2 && digits.len() >= 10 { 0.65 } else { 0.4 }
        }
        // A zero for calls within the country.
        [area @ 2..=5, rest @ ..] if digits[0] == b'0' && digits[1] != b'0' && (9..=12).contains(&digits.len()) => {
            let even = rest.iter().all(|group| (2..=4).contains(group));
            match rest.len() {
                1 => {
                    if *area >= 3 {
                        0.35
                    } else {
                        0.25
                    }
                }
                2 if even => 0.5,
                3.. if even => 0.6,
                _ => 0.3,
            }
        }
        [3, 4, 4] if digits[0] == b'1' && digits[1] > b'2' => 0.5,
        [5, 5] if matches!(digits[0], b'6'..=b'9') => 0.35,
        // Spain, Poland, France without zero and others; also any number with spaces for thousands.
        [3, 3, 3] | [3, 2, 2, 2] => {
            if digits[0] > b'4' && !spaced {
                0.35
            } else {
                0.2
            }
        }
        // `365 2019`: a year in the second group.
        [3 | 4, 4]
            if spaced
                && (digits[read.count - 4..].starts_with(b"19") || digits[read.count - 4..].starts_with(b"20")) =>
        {
            0.1
        }
        [2, 2, 2, 2] | [4, 4] | [3, 4] => 0.2,
        _ if groups.iter().all(|group| *group < 6) && digits.len() <= 13 && groups.len() <= 6 => 0.2,
        _ => 0.1,
    })
}

/// Decimals (`0.00452489`), fractions (`2400/200`), years (`2004-2010`): what stands between digits that nobody dials.
fn is_arithmetic(groups: &[u8], separators: &[u8], digits: &[u8]) -> bool {
    let decimal = groups.len() == 2 && separators[0] == b'.' && (groups[0] == 1 || digits.len() < 9);
    let fraction = separators.contains(&b'/') && digits[0] != b'0' && digits.len() < 9;
    // `2004-2010`: two years.
    let year = |from: usize| matches!(&digits[from..from + 2], [b'1', b'5'..=b'9'] | [b'2', b'0']);
    let years = groups == [4, 4] && separators[0] == b'-' && year(0) && year(4);
    decimal || fraction || years
}

/// Whether digits begin with the code of a country.
///
/// # Source
/// ITU-T, list of assigned codes under E.164.
fn has_country(digits: &[u8]) -> bool {
    let [first, second, third, ..] = *digits else { return false };
    match (first, second) {
        (b'1' | b'7', _) => true,
        (b'2', b'0' | b'7') => true,
        (b'2', b'1') => matches!(third, b'1'..=b'3' | b'6' | b'8'),
        (b'2', b'8') => false,
        (b'2', b'9') => matches!(third, b'0' | b'1' | b'7'..=b'9'),
        (b'2', _) => true,
        (b'3', b'5' | b'7' | b'8') => !(second == b'8' && matches!(third, b'4' | b'8')),
        (b'3', _) => true,
        (b'4', b'2') => matches!(third, b'0' | b'1' | b'3'),
        (b'4', _) => true,
        (b'5', b'0' | b'9') => true,
        (b'5', _) => true,
        (b'6', b'7') => third != b'1',
        (b'6', b'8') => third != b'4',
        (b'6', b'9') => matches!(third, b'0'..=b'2'),
        (b'6', _) => true,
        (b'8', b'0') => matches!(third, b'0' | b'8'),
        (b'8', b'1' | b'2' | b'4' | b'6') => true,
        (b'8', b'5') => matches!(third, b'0' | b'2' | b'3' | b'5' | b'6'),
        (b'8', b'7' | b'8') => matches!(third, b'0' | b'1' | b'2' | b'3' | b'6' | b'8'),
        (b'9', b'6') => third != b'9',
        (b'9', b'7') => third <= b'7' && third != b'8',
        (b'9', b'9') => !matches!(third, b'0' | b'1' | b'7'),
        (b'9', _) => true,
        _ => false,
    }
}

/// How near a word has to be that names another kind of number.
const NAMED: usize = 12;

/// Kinds of numbers whose words are about nothing else.
const OTHER_NUMBERS: &[Topic] = &[
    Topic::Ssn,
    Topic::Itin,
    Topic::Routing,
    Topic::Iban,
    Topic::Card,
    Topic::Nhs,
    Topic::Nino,
    Topic::Aadhaar,
    Topic::Passport,
    Topic::Driving,
    Topic::Tfn,
    Topic::Cpf,
    Topic::Cnpj,
    Topic::Pesel,
    Topic::Postal,
];

/// The confidence of a form with the words around it.
pub(crate) fn with_words(form: Form, context: &Context) -> f32 {
    /// How near a word has to be that goes with much else too; behind the number, directly beside it.
    const BESIDE: usize = 24;
    // A word about other numbers, nearer than one about telephones.
    let nearest = [Topic::Phone, Topic::PhoneWeak];
    let other = |topic| context.has(topic) && nearest.iter().all(|phone| context.nearer(topic, *phone));
    if other(Topic::Other) || other(Topic::Version) {
        return form.confidence - FULL;
    }
    // Directly behind `SSN:` or `passport no.` it is meant to be that, whether its checksum holds or not.
    let named = |topic| context.distance(topic).is_some_and(|distance| distance <= NAMED);
    if form.confidence < 0.8 && !context.has(Topic::Phone) && OTHER_NUMBERS.iter().any(|&topic| named(topic)) {
        return form.confidence - FULL;
    }
    let strong = context.bonus(Topic::Phone);
    let weak = context.distance(Topic::PhoneWeak).map_or(0.0, |distance| if distance <= BESIDE { 0.301 } else { 0.15 });
    // What has the form alone of digits needs the word that says so.
    let bonus = if strong == 0.0 && form.confidence < 0.2 { 0.0 } else { strong.max(weak) };
    form.confidence + bonus
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(text: &str) -> Option<(&str, f32)> {
        let first = text.find(|character: char| character.is_ascii_digit())?;
        at(text, first).map(|form| (&text[form.start..form.end], form.confidence))
    }

    #[test]
    fn forms_that_need_no_word() {
        for text in [
            "+1 (555) 123-4567",
            "+49 30 1234567",
            "+46 (0)8 928 571 38",
            "+447700921916",
            "(212) 555-0123",
            "212-555-0123",
            "212.555.0123",
            "1-800-555-0199",
            "001-518-640-0854",
            "07700 900 123",
            "01 84 17 61 18",
            "01.84.17.61.18",
            "0490 75 40 81",
            "+33 1 84 17 61 18",
            "(020) 7946 0958",
            "8 (495) 123-45-67",
            "345-899-3560x4587",
            "+41 (0)62 585 51 90",
            "(02) 9374 4000",
            "090-1234-5678",
            "+86 138 0013 8000",
            "212-555-0123 ext. 45",
            "+1-903-140-4508x769",
            "(71) 4233-6306",
        ] {
            let (found, confidence) = alone(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, text);
            assert!(confidence >= 0.5, "{text} {confidence}");
        }
    }

    #[test]
    fn forms_that_need_one() {
        for text in [
            "467 3395",
            "9472 7916",
            "416 60 039",
            "71-33-52-22",
            "5403926876",
            "13800138000",
            "21 253 109 8211",
            "(37) 788-063",
        ] {
            let (found, confidence) = alone(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(found, text);
            assert!((0.15..0.5).contains(&confidence), "{text} {confidence}");
        }
    }

    #[test]
    fn no_numbers() {
        for text in [
            "2023-01-15",
            "15.01.2023",
            "123456",
            "1.2.3.4",
            "446655440000-a716",
            "a-446655440000",
            "3.14159265358",
            "$1234567",
            "0000000",
            "ORD-1234-567890",
            "12345678901234567890",
            "1234567%",
            "2020:12345678",
            "+000 123 4567",
            "0.00452489",
            "2400/200",
            "2004-2010",
            "1985 \u{2013} 1993",
            "12 + 6644 - 3329",
            "2400 / 200",
            "1700-1200 = 500",
        ] {
            let found = alone(text).filter(|(_, confidence)| *confidence >= 0.2);
            assert_eq!(found, None, "{text}");
        }
    }
}
