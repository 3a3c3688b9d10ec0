//! Dates, to know a birth by and to keep them apart from telephone numbers.

use super::national::is_day;

/// Names of months by their first letters, in the languages that number days the European way.
const MONTHS: &[&str] = &[
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec", "mai", "okt", "dez", "mär",
    "maj", "mei", "maa", "janv", "fév", "mars", "avr", "juin", "juil", "août", "aoû", "déc", "ene", "abr", "ago",
    "dic", "gen", "mag", "giu", "lug", "set", "ott", "fev", "out", "mrt", "des", "jän",
];

/// A date that begins at a digit: its end.
pub(crate) fn from_digit(text: &str, start: usize) -> Option<usize> {
    numeric(text.as_bytes(), start).or_else(|| named(text, start))
}

fn digits(bytes: &[u8], at: usize) -> (usize, u64) {
    let length = bytes[at.min(bytes.len())..].iter().take(5).take_while(|byte| byte.is_ascii_digit()).count();
    (length, bytes[at.min(bytes.len())..].iter().take(length).fold(0, |sum, byte| sum * 10 + u64::from(byte - b'0')))
}

fn is_year(length: usize, year: u64) -> bool {
    length == 4 && (1850..=2100).contains(&year)
}

/// Whether the year of a date is of the nineteenth century.
pub(crate) fn is_before_1900(date: &str) -> bool {
    date.split(|character: char| !character.is_ascii_digit()).any(|part| part.len() == 4 && part.starts_with("18"))
}

/// `1942-02-16`, `16.2.1942`, `2/16/42`, `1942年2月16日`.
fn numeric(bytes: &[u8], start: usize) -> Option<usize> {
    if start > 0 && (bytes[start - 1].is_ascii_alphanumeric() || matches!(bytes[start - 1], b'_')) {
        return None;
    }
    let (first_length, first) = digits(bytes, start);
    let mut at = start + first_length;
    let separator = separator(bytes, at)?;
    at += separator.len();
    let (second_length, second) = digits(bytes, at);
    at += second_length;
    let year_sign = "年".as_bytes();
    if separator == year_sign {
        let month = "月".as_bytes();
        if !is_year(first_length, first) || !bytes[at..].starts_with(month) {
            return None;
        }
        let (length, day) = digits(bytes, at + month.len());
        let end = at + month.len() + length;
        let sign = if bytes[end..].starts_with("日".as_bytes()) { 3 } else { 0 };
        return is_day(second, day).then_some(end + sign);
    }
    if !bytes[at..].starts_with(separator) || !(1..=2).contains(&second_length) {
        return None;
    }
    at += separator.len();
    let (third_length, third) = digits(bytes, at);
    let end = at + third_length;
    let goes_on = bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() && *byte != b'T' || *byte == b'_')
        || bytes[end..].starts_with(separator) && bytes.get(end + separator.len()).is_some_and(u8::is_ascii_digit);
    let holds = if is_year(first_length, first) {
        (1..=2).contains(&third_length) && is_day(second, third)
    } else {
        (1..=2).contains(&first_length)
            && (is_year(third_length, third) || third_length == 2)
            && (is_day(second, first) || is_day(first, second))
    };
    (holds && !goes_on).then_some(end)
}

fn separator(bytes: &[u8], at: usize) -> Option<&[u8]> {
    match bytes.get(at)? {
        b'.' if bytes.get(at + 1) == Some(&b' ') => bytes.get(at..at + 2),
        b'-' | b'/' | b'.' => bytes.get(at..=at),
        0xe5 if bytes[at..].starts_with("年".as_bytes()) => bytes.get(at..at + 3),
        _ => None,
    }
}

/// `16 February 1942`, `16. Februar 1942`, `3rd of May, 1990`, `16-Feb-1942`, `16 de febrero de 1942`.
fn named(text: &str, start: usize) -> Option<usize> {
    let bytes = text.as_bytes();
    if start > 0 && bytes[start - 1].is_ascii_alphanumeric() {
        return None;
    }
    let (length, day) = digits(bytes, start);
    if !(1..=2).contains(&length) || !(1..=31).contains(&day) {
        return None;
    }
    let mut at = start + length;
    for ordinal in ["st", "nd", "rd", "th", "er", "º", "."] {
        if text[at..].starts_with(ordinal) {
            at += ordinal.len();
            break;
        }
    }
    at = filler(text, at)?;
    at = month(text, at)?;
    at = filler(text, at)?;
    let (length, year) = digits(bytes, at);
    is_year(length, year).then_some(at + length)
}

/// `February 16, 1942`: the date whose month ends before the day that begins at a place; start and end.
pub(crate) fn month_first(text: &str, day_start: usize) -> Option<(usize, usize)> {
    let bytes = text.as_bytes();
    let (length, day) = digits(bytes, day_start);
    if !(1..=2).contains(&length) || !(1..=31).contains(&day) {
        return None;
    }
    let before = text[..day_start].strip_suffix([' ', '.', '-'])?.trim_end_matches(['.', ' ']);
    let word = before.len() - before.bytes().rev().take(10).take_while(u8::is_ascii_alphabetic).count();
    let month_end = month(text, word)?;
    if month_end < before.len() || word > 0 && bytes[word - 1].is_ascii_alphanumeric() {
        return None;
    }
    let mut at = day_start + length;
    for ordinal in ["st", "nd", "rd", "th"] {
        if text[at..].starts_with(ordinal) {
            at += 2;
            break;
        }
    }
    at = filler(text, at)?;
    let (length, year) = digits(bytes, at);
    is_year(length, year).then_some((word, at + length))
}

/// A name of a month: its end.
fn month(text: &str, start: usize) -> Option<usize> {
    let length =
        text[start..].chars().take(12).take_while(|letter| letter.is_alphabetic()).map(char::len_utf8).sum::<usize>();
    let word = text[start..start + length].to_lowercase();
    let known = word.chars().count() >= 3 && MONTHS.iter().any(|name| word.starts_with(name));
    known.then_some(start + length + usize::from(text[start + length..].starts_with('.')))
}

/// What stands between the parts of a written date.
fn filler(text: &str, start: usize) -> Option<usize> {
    let mut at = start;
    for part in [",", " ", "-", "/", "of ", "de ", "del "] {
        if text[at..].starts_with(part) {
            at += part.len();
        }
    }
    (at > start).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for text in [
            "1942-02-16",
            "16.2.1942",
            "2/16/1942",
            "16/02/42",
            "1942/2/16",
            "1942年2月16日",
            "16. 2. 1942",
            "16 February 1942",
            "16. Februar 1942",
            "3rd of May, 1990",
            "16-Feb-1942",
            "16 de febrero de 1942",
            "1er janvier 1980",
            "5 août 1971",
        ] {
            assert_eq!(from_digit(text, 0), Some(text.len()), "{text}");
        }
        assert_eq!(from_digit("1942-02-16T10:00", 0), Some(10));
        let text = "on February 16th, 1942.";
        assert_eq!(month_first(text, 12), Some((3, 22)));
        assert_eq!(month_first("Feb. 3, 1990", 5), Some((0, 12)));
    }

    #[test]
    fn no_dates() {
        for text in [
            "1.2.3.4",
            "99/99/1999",
            "1942-13-16",
            "555-12-1234",
            "16 bottles 1942",
            "1/2",
            "12",
            "3.14159",
            "2020-02-3x",
            "1942年",
            "16 February",
            "31",
            "1-2-3",
        ] {
            assert_eq!(from_digit(text, 0), None, "{text}");
        }
        assert_eq!(month_first("room 16, 1942", 5), None);
        assert_eq!(month_first("16, 1942", 0), None);
    }
}
