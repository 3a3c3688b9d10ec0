//! Host names.

use std::sync::LazyLock;

/// The top level domains, sorted by bytes.
///
/// # Source
/// The root zone, as the ICANN part of the public suffix list has it.
static TOP_LEVEL: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| include_str!("top_level_domains.txt").lines().collect());

/// Longer names than DNS allows are none.
const LONGEST: usize = 253;
const LONGEST_LABEL: usize = 63;

/// What stands at the end of a host name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TopLevel {
    /// A domain of the root zone.
    Known,
    /// Letters that are no domain of the root zone, as in `printer.local`.
    Unknown,
}

/// A host name that begins at a place: where it ends, and its top level. There are at least two labels.
pub(crate) fn host(text: &str, start: usize) -> Option<(usize, TopLevel)> {
    let mut labels = 0;
    let mut label_start = start;
    // The end behind the last label that can be a top level domain.
    let mut best = None;
    let limit = text.floor_char_boundary((start + LONGEST + 1).min(text.len()));
    let window = &text[start..limit];
    let mut end_of_host = limit;
    let mut ends = [0_usize; 128];
    for (offset, character) in window.char_indices() {
        let at = start + offset;
        match character {
            '.' => {
                if at == label_start || labels == ends.len() {
                    end_of_host = at;
                    break;
                }
                ends[labels] = at;
                labels += 1;
                label_start = at + 1;
            }
            '-' | 'a'..='z' | 'A'..='Z' | '0'..='9' => {}
            other if !other.is_ascii() && other.is_alphanumeric() => {}
            _ => {
                end_of_host = at;
                break;
            }
        }
    }
    if end_of_host > label_start && labels < ends.len() {
        ends[labels] = end_of_host;
        labels += 1;
    }
    // From the end, as `example.com.Please` ends before the last label only if that is no domain.
    let mut from = start;
    for (place, &end) in ends[..labels].iter().enumerate() {
        let label = &text[from..end];
        if !is_label(label) {
            break;
        }
        if place > 0
            && let Some(level) = top_level(label)
        {
            best = match (best, level) {
                (Some((_, TopLevel::Known)), TopLevel::Unknown) => best,
                _ => Some((end, level)),
            };
        }
        from = end + 1;
    }
    best
}

fn is_label(label: &str) -> bool {
    !label.is_empty() && label.len() <= LONGEST_LABEL && !label.starts_with('-') && !label.ends_with('-')
}

/// Whether a label can be a top level domain, and is one.
fn top_level(label: &str) -> Option<TopLevel> {
    if label.chars().count() < 2 || label.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // `example.com.Please write`: a capital after lower case begins a sentence; domains are written in one case.
    let lower = label.to_lowercase();
    if TOP_LEVEL.binary_search(&lower.as_str()).is_ok() {
        return Some(TopLevel::Known);
    }
    label.chars().all(char::is_alphabetic).then_some(TopLevel::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<(&str, TopLevel)> {
        host(text, 0).map(|(end, level)| (&text[..end], level))
    }

    #[test]
    fn the_list_is_sorted() {
        assert!(TOP_LEVEL.is_sorted() && TOP_LEVEL.len() > 1000);
        assert!(TOP_LEVEL.iter().all(|name| *name == name.to_lowercase() && !name.is_empty()));
    }

    #[test]
    fn hosts_end_where_they_end() {
        assert_eq!(found("example.com"), Some(("example.com", TopLevel::Known)));
        assert_eq!(found("example.com. And"), Some(("example.com", TopLevel::Known)));
        assert_eq!(found("example.com.Bitte"), Some(("example.com", TopLevel::Known)));
        assert_eq!(found("a.b.example.co.uk/x"), Some(("a.b.example.co.uk", TopLevel::Known)));
        assert_eq!(found("münchen.de!"), Some(("münchen.de", TopLevel::Known)));
        assert_eq!(found("пример.рф,"), Some(("пример.рф", TopLevel::Known)));
        assert_eq!(found("xn--e1afmkfd.xn--p1ai"), Some(("xn--e1afmkfd.xn--p1ai", TopLevel::Known)));
        assert_eq!(found("printer.local"), Some(("printer.local", TopLevel::Unknown)));
    }

    #[test]
    fn no_hosts() {
        for text in
            ["", "localhost", ".com", "1.2.3", "-a.com", "a-.com", "a..com", "x.T", &format!("{}.com", "a".repeat(64))]
        {
            assert_eq!(found(text), None, "{text}");
        }
    }
}
