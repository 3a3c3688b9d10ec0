//! Running heads, running feet and page numbers.

use std::collections::HashMap;

/// A head or foot is looked for in so many lines at the ends of a page.
const EDGE: usize = 2;
/// Fewer pages show no pattern.
const FEWEST_PAGES: usize = 3;

/// The lines, by their index, that belong to the pages and not to the text. `pages` are ranges of `lines`.
pub(super) fn page_lines(lines: &[&str], pages: &[std::ops::Range<usize>]) -> Vec<bool> {
    let mut found = vec![false; lines.len()];
    if pages.len() < FEWEST_PAGES {
        return found;
    }
    // Left and right pages differ, and the first page of a chapter has none: one page in three is enough.
    let enough = (pages.len() / 3).max(FEWEST_PAGES);
    let mut counts: HashMap<(bool, String), usize> = HashMap::new();
    for page in pages {
        for (at_top, index) in edges(lines, page) {
            *counts.entry((at_top, pattern(lines[index]))).or_default() += 1;
        }
    }
    for page in pages {
        for (at_top, index) in edges(lines, page) {
            let often = counts.get(&(at_top, pattern(lines[index]))).is_some_and(|&count| count >= enough);
            found[index] |= often || is_page_number(lines[index]);
        }
    }
    found
}

/// The lines at the ends of a page, and whether they are at the top.
fn edges(lines: &[&str], page: &std::ops::Range<usize>) -> Vec<(bool, usize)> {
    let written = |index: &usize| !lines[*index].trim().is_empty();
    // A short page must not be all edges.
    let edge = if page.clone().filter(written).count() > 3 * EDGE { EDGE } else { 1 };
    let top: Vec<usize> = page.clone().filter(written).take(edge).collect();
    let bottom: Vec<usize> = page.clone().rev().filter(written).take(edge).collect();
    let top = top.into_iter().map(|index| (true, index));
    top.chain(bottom.into_iter().map(|index| (false, index))).collect()
}

/// A line with all its numbers alike.
fn pattern(line: &str) -> String {
    const LONGEST: usize = 200;
    let mut out = String::new();
    let mut digit = false;
    for c in line.trim().chars().take(LONGEST) {
        let now = c.is_ascii_digit();
        if !now {
            out.push(c);
        } else if !digit {
            out.push('#');
        }
        digit = now;
    }
    out
}

/// `12`, `- 12 -`, `Page 3 of 9`, `xiv`.
fn is_page_number(line: &str) -> bool {
    let core = line.trim().trim_matches(|c: char| !c.is_alphanumeric());
    if core.is_empty() || core.len() > 24 {
        return false;
    }
    let lower = core.to_lowercase();
    let number = |word: &str| {
        let digits = word.len() <= 4 && word.bytes().all(|b| b.is_ascii_digit());
        !word.is_empty()
            && (digits || (word.len() <= 7 && word.bytes().all(|b| matches!(b, b'i' | b'v' | b'x' | b'l' | b'c'))))
    };
    let words: Vec<&str> =
        lower.split(|c: char| c.is_whitespace() || c == '/').filter(|word| !word.is_empty()).collect();
    match words[..] {
        [only] => number(only),
        ["page" | "p." | "p" | "seite", one] => number(one),
        ["page" | "seite", one, "of" | "von", all] => number(one) && number(all),
        [one, "of", all] => number(one) && number(all),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_and_numbers() {
        let lines = ["FM 7-0", "text a", "1", "FM 7-0", "text b", "2", "FM 7-0", "text c", "page 3 of 9"];
        let pages = [0..3, 3..6, 6..9];
        let found = page_lines(&lines, &pages);
        let kept: Vec<&str> = lines.iter().zip(found).filter(|(_, found)| !found).map(|(line, _)| *line).collect();
        assert_eq!(kept, ["text a", "text b", "text c"]);
    }

    #[test]
    fn two_pages_show_nothing() {
        assert_eq!(page_lines(&["1", "a", "2", "b"], &[0..2, 2..4]), [false; 4]);
    }
}
