//! The lines that C4 keeps.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;

use super::C4;
use crate::screen::text_facts::sentence_count;

/// What C4 leaves of a text, from [`c4_lines`].
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct C4Lines {
    /// The lines that stay.
    pub text: String,
    /// Number of these.
    pub kept: usize,
    /// Sentences in these.
    pub sentences: usize,
    /// The lines that go, by rule.
    pub dropped: DroppedLines,
    /// Lines with "lorem ipsum", for which the whole text goes.
    pub lorem_ipsum: usize,
    /// Lines with `{`, for which the whole text goes.
    pub curly_bracket: usize,
}

/// Lines that C4 drops, by the first rule that drops them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DroppedLines {
    /// With a word that is too long.
    pub long_word: usize,
    /// Without the mark of an end.
    pub no_end_mark: usize,
    /// With too few words.
    pub few_words: usize,
    /// Mentioning JavaScript.
    pub javascript: usize,
    /// On cookies, privacy policy or terms of use.
    pub policy: usize,
}

const LOREM_IPSUM: usize = 0;
const JAVASCRIPT: usize = 1;
const CURLY_BRACKET: usize = 2;
/// The phrases after [`CURLY_BRACKET`] are the ones on policies.
const PHRASES: [&str; 9] = [
    "lorem ipsum",
    "javascript",
    "{",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];

static FINDER: LazyLock<Option<AhoCorasick>> =
    LazyLock::new(|| AhoCorasick::builder().ascii_case_insensitive(true).build(PHRASES).ok());

/// Drops the lines of `text` that C4 drops, and counts what it refuses a whole text for.
///
/// Lines with "lorem ipsum" or `{` count only where no earlier rule drops them, and do not stay themselves.
pub fn c4_lines(text: &str, rules: &C4) -> C4Lines {
    let mut found = C4Lines::default();
    for line in text.lines() {
        let line = line.trim();
        let (mut count, mut long) = (0, false);
        for word in line.split_whitespace() {
            count += 1;
            long = long || (word.len() > rules.max_word_length && word.chars().nth(rules.max_word_length).is_some());
        }
        if long {
            found.dropped.long_word += 1;
            continue;
        }
        let cleaned;
        let line = if rules.remove_citations && line.contains('[') {
            cleaned = without_citations(line);
            cleaned.as_str()
        } else {
            line
        };
        if rules.require_end_mark && (!line.ends_with(['.', '?', '!', '"', '\'']) || line.ends_with("...")) {
            found.dropped.no_end_mark += 1;
            continue;
        }
        if count < rules.min_words_per_line {
            found.dropped.few_words += 1;
            continue;
        }
        let mut hits = [false; PHRASES.len()];
        if let Some(finder) = FINDER.as_ref() {
            for hit in finder.find_overlapping_iter(line) {
                hits[hit.pattern().as_usize()] = true;
            }
        }
        if rules.refuse_lorem_ipsum && hits[LOREM_IPSUM] {
            found.lorem_ipsum += 1;
        } else if rules.drop_javascript && hits[JAVASCRIPT] {
            found.dropped.javascript += 1;
        } else if rules.refuse_curly_bracket && hits[CURLY_BRACKET] {
            found.curly_bracket += 1;
        } else if rules.drop_policy && hits[CURLY_BRACKET + 1..].contains(&true) {
            found.dropped.policy += 1;
        } else {
            found.sentences += sentence_count(line);
            found.kept += 1;
            if !found.text.is_empty() {
                found.text.push('\n');
            }
            found.text.push_str(line);
        }
    }
    found
}

/// Takes out `[12]`, `[]`, `[edit]` and `[citation needed]`.
fn without_citations(line: &str) -> String {
    let mut cleaned = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('[') {
        cleaned.push_str(&rest[..at]);
        let inner = &rest[at + 1..];
        let digits = inner.bytes().take_while(u8::is_ascii_digit).count();
        let mark =
            ["edit", "citation needed"].into_iter().find(|mark| inner.starts_with(mark)).map_or(digits, str::len);
        if inner[mark..].starts_with(']') {
            rest = &inner[mark + 1..];
        } else {
            cleaned.push('[');
            rest = inner;
        }
    }
    cleaned.push_str(rest);
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_of_notes_go_and_other_brackets_stay() {
        assert_eq!(
            without_citations("It is so.[12][edit] Or [maybe] not[citation needed]."),
            "It is so. Or [maybe] not."
        );
        assert_eq!(without_citations("a[1 b[] c[[2] d["), "a[1 b c[ d[");
    }

    #[test]
    fn lines_go_for_the_first_rule_they_break() {
        let long = "x".repeat(1001);
        let text = format!(
            "A line that stays here.\n{long} is a word.\nNo mark at its end\nIt goes on...\nToo short.\n\
             Please enable JavaScript now.\nThis site uses cookies, yes.\nHere is {{ }} code.\nLorem Ipsum dolor sit.",
        );
        let found = c4_lines(&text, &C4::default());
        assert_eq!(found.text, "A line that stays here.");
        assert_eq!((found.kept, found.sentences, found.lorem_ipsum, found.curly_bracket), (1, 1, 1, 1));
        assert_eq!(
            found.dropped,
            DroppedLines { long_word: 1, no_end_mark: 2, few_words: 1, javascript: 1, policy: 1 }
        );
    }
}
