//! Joining and judging stretches of text in any script.

/// Whether words of this script are written without spaces between them.
pub(crate) fn written_without_spaces(c: char) -> bool {
    matches!(u32::from(c),
        0x0E00..=0x0EFF // Thai, Lao
        | 0x1000..=0x109F // Myanmar
        | 0x1780..=0x17FF // Khmer
        | 0x3000..=0x30FF // punctuation of East Asia, kana
        | 0x31F0..=0x31FF
        | 0x3400..=0x4DBF // Han
        | 0x4E00..=0x9FFF
        | 0xF900..=0xFAFF
        | 0xFF00..=0xFF65 // full-width forms
        | 0x2_0000..=0x3_FFFF)
}

/// Puts `next` behind `text`, with a space where the script wants one.
pub(crate) fn join(text: &mut String, next: &str) {
    let (Some(last), Some(first)) = (text.chars().next_back(), next.chars().next()) else {
        return text.push_str(next);
    };
    let tight = written_without_spaces(last) && written_without_spaces(first);
    if !tight && !last.is_whitespace() && !first.is_whitespace() {
        text.push(' ');
    }
    text.push_str(next);
}

/// Whitespace of any kind and length becomes one space; none at the ends. Padding at the ends of words goes; inside of a
/// word it stays: a space there would make two words of one and hide from later steps that something stood there.
pub(crate) fn collapse(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let words = text.split(char::is_whitespace).map(|word| word.trim_matches(is_padding));
    for word in words.filter(|word| !word.is_empty()) {
        if !out.is_empty() {
            out.push(' ');
        }
        out.push_str(word);
    }
    out
}

/// Whitespace, and characters without width that files use as padding.
pub(crate) fn is_blank(c: char) -> bool {
    c.is_whitespace() || is_padding(c)
}

/// Characters without width that fill lines and cues which would be empty.
fn is_padding(c: char) -> bool {
    matches!(c, '\u{200B}' | '\u{FEFF}' | '\u{2060}')
}

/// So many quotes, brackets and spaces may stand behind the mark that ends a sentence. Texts are asked about at each of
/// their spaces, and one of nothing but such marks must not be searched to its start each time.
const CLOSERS: usize = 32;

/// Whether a sentence may end with this text: a mark of its end, with closing quotes and brackets behind it.
pub(crate) fn ends_sentence(text: &str) -> bool {
    let closers = ['"', '\'', '”', '’', '»', ')', ']', '」', '』', '）', '*', '_'];
    let last = text.char_indices().rev().take(CLOSERS).find(|(_, c)| !is_blank(*c) && !closers.contains(c));
    let core = last.map_or("", |(at, c)| &text[..at + c.len_utf8()]);
    match core.chars().next_back() {
        Some('.') => !ends_with_abbreviation(core),
        Some(last) => matches!(last, '!' | '?' | '…' | '。' | '！' | '？' | '؟' | '।' | '۔' | '‽' | '.'),
        None => false,
    }
}

/// Words that are written with a full stop within a sentence.
const ABBREVIATIONS: [&str; 22] = [
    "mr", "mrs", "ms", "dr", "prof", "st", "vs", "etc", "e.g", "i.e", "cf", "fig", "no", "jr", "sr", "gen", "sen",
    "rep", "approx", "inc", "dept", "u.s",
];

fn ends_with_abbreviation(text: &str) -> bool {
    let without = text.trim_end_matches('.');
    if text.len() - without.len() > 1 {
        return false;
    }
    let word = without.rsplit(is_blank).next().unwrap_or_default().trim_start_matches(['(', '"', '“', '‘', '\'']);
    if word.len() > 16 {
        return false;
    }
    if word.chars().count() == 1 {
        // An initial, as in `J. Smith`; not `I.` or a digit.
        return word.chars().all(|c| c.is_uppercase() && c != 'I');
    }
    // `No.` by itself is an answer and not a number.
    let alone = word.len() == without.trim_start().len();
    let word = word.to_lowercase();
    !(alone && word == "no") && ABBREVIATIONS.contains(&word.as_str())
}

/// At most so many bytes of a text, cut between characters, with dots where something was cut.
pub(crate) fn shortened(text: &str, longest: usize) -> String {
    if text.len() <= longest {
        return text.to_owned();
    }
    let mut end = longest;
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_by_script() {
        let mut text = "one".to_owned();
        join(&mut text, "two");
        assert_eq!(text, "one two");
        let mut text = "日本".to_owned();
        join(&mut text, "語です");
        assert_eq!(text, "日本語です");
        let mut text = "日本".to_owned();
        join(&mut text, "Rust");
        assert_eq!(text, "日本 Rust");
    }

    #[test]
    fn padding_goes_and_what_stands_inside_of_words_stays() {
        assert_eq!(
            collapse("\u{FEFF} b\u{200B}lue\u{200B} \u{2060} \u{200B}s\u{2060}ky\t\u{200B}\n"),
            "b\u{200B}lue s\u{2060}ky"
        );
        assert_eq!(collapse("\u{200B}\u{A0}\u{2060}"), "");
        assert_eq!(collapse("ไทย\u{200B}แลนด์"), "ไทย\u{200B}แลนด์");
    }

    #[test]
    fn knows_the_end_of_a_sentence() {
        for end in ["It is.", "Is it?", "“It is.”", "終わり。", "No.", "wait…", "so it was...", "Am I."] {
            assert!(ends_sentence(end), "{end}");
        }
        for open in ["It is", "as Mr.", "by J.", "see fig.", "one, ", "", "the U.S."] {
            assert!(!ends_sentence(open), "{open}");
        }
    }
}
