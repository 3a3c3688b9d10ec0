//! The two forms in which texts are compared.

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfkc_quick};

/// Writes `text` in lower case, with one space for every run of white space and none at the ends.
/// Two texts are *exact* duplicates when they are equal in this form.
pub(crate) fn fold(text: &str, into: &mut String) {
    into.clear();
    into.reserve(text.len());
    if text.is_ascii() {
        let mut space = false;
        for byte in text.bytes() {
            if byte.is_ascii_whitespace() || byte == 0x0B {
                space = true;
                continue;
            }
            if space && !into.is_empty() {
                into.push(' ');
            }
            space = false;
            into.push(char::from(byte.to_ascii_lowercase()));
        }
        return;
    }
    collapse(text.chars().flat_map(char::to_lowercase), into);
}

/// Writes `folded`, a text in the form of [`fold`], in the form from which shingles are cut: Unicode's NFKC, one way
/// to write quotes and dashes, no invisible characters. Punctuation stays: in code and formulas it is the meaning.
///
/// Returns whether anything is different from `folded`; if not, `into` is left empty.
pub(crate) fn unify(folded: &str, into: &mut String) -> bool {
    into.clear();
    if folded.is_ascii() {
        return false;
    }
    if !folded.chars().any(is_special) && is_nfkc_quick(folded.chars()) == IsNormalized::Yes {
        return false;
    }
    into.reserve(folded.len());
    let spelled = folded.chars().flat_map(spell);
    collapse(spelled.nfkc().flat_map(char::to_lowercase).map(plain).filter(|&c| c != '\0'), into);
    true
}

/// One space for every run of white space, none at the ends.
fn collapse(chars: impl Iterator<Item = char>, into: &mut String) {
    let mut space = false;
    for c in chars {
        if c.is_whitespace() {
            space = true;
            continue;
        }
        if space && !into.is_empty() {
            into.push(' ');
        }
        space = false;
        into.push(c);
    }
}

fn is_special(c: char) -> bool {
    plain(c) != c
}

/// One way to write what has several; a NUL for what is not seen.
fn plain(c: char) -> char {
    match c {
        '\u{2018}' | '\u{2019}' | '\u{201A}' | '\u{201B}' | '\u{2032}' => '\'',
        '\u{201C}' | '\u{201D}' | '\u{201E}' | '\u{201F}' | '\u{2033}' | '\u{AB}' | '\u{BB}' => '"',
        '\u{2010}'..='\u{2015}' | '\u{2212}' => '-',
        '\u{2044}' => '/',
        'ς' => 'σ',
        c if is_invisible(c) => '\0',
        c => c,
    }
}

/// Characters that change nothing that a reader sees.
pub(crate) fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{2064}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}')
}

/// Keeps NFKC from turning 2² into 22 and 1½ into 11/2.
fn spell(c: char) -> impl Iterator<Item = char> {
    let before = match c {
        '²' | '³' | '¹' | '⁰' | '⁴'..='⁹' => Some('^'),
        '¼'..='¾' | '⅐'..='⅞' => Some(' '),
        _ => None,
    };
    before.into_iter().chain(std::iter::once(c))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folded(text: &str) -> String {
        let mut into = String::new();
        fold(text, &mut into);
        into
    }

    fn unified(text: &str) -> String {
        let (folded, mut into) = (folded(text), String::new());
        if unify(&folded, &mut into) { into } else { folded }
    }

    #[test]
    fn exact_is_white_space_and_case_alone() {
        assert_eq!(folded("  What\tis\r\n LoRA? "), "what is lora?");
        assert_eq!(folded("\u{3000}ÄÖ\u{A0}\u{A0}Ü"), "äö ü");
        assert_eq!(folded(" \n"), "");
        assert_ne!(folded("lora?"), folded("lora"));
        assert_ne!(folded("“a”"), folded("\"a\""));
    }

    #[test]
    fn spellings_of_one_text_are_one() {
        assert_eq!(unified("It’s “fine” — or ﬁne…"), "it's \"fine\" - or fine...");
        assert_eq!(unified("ＧＰＴ４"), "gpt4");
        assert_eq!(unified("cafe\u{301}"), unified("café"));
        assert_eq!(unified("so\u{AD}ft\u{200B}"), "soft");
    }

    #[test]
    fn powers_and_fractions_stay_apart_from_digits() {
        assert_eq!(unified("2²"), "2^2");
        assert_eq!(unified("1½ cups"), "1 1/2 cups");
    }
}
