//! The rules of Gopher, C4 and FineWeb for documents such as web pages, manuals and books.
//!
//! Not for rows of questions and answers: fewer than 50 words or one `{` and a row would be gone. See
//! [`answers`](super::answers) for these.
//!
//! The numbers and the order of the steps are those of datatrove; the names of the rules are its reasons for dropping
//! a document. Words are counted by [`words`] and sentences by
//! [`sentence_count`](super::text_facts::sentence_count), where datatrove asks a tokeniser of the language: counts may
//! differ by a few per cent where signs are many.
//!
//! ```
//! use attune_data::screen::documents::{DocumentRules, check};
//!
//! let reasons = check("Click here. Click here. Click here.", &DocumentRules::default());
//! assert!(reasons.iter().any(|reason| reason.rule == "gopher_short_doc" && reason.measured == 6.0));
//! ```

mod attributes;
mod lines;

use std::collections::HashSet;

pub use attributes::{Attributes, attributes};
pub use lines::{C4Lines, DroppedLines, c4_lines};

use super::{
    ngrams::Ngrams,
    text_facts::{Word, words},
};

/// Why a text does not pass a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Reason {
    /// Name of the rule.
    pub rule: &'static str,
    /// What was measured.
    pub measured: f64,
    /// The limit that it is beyond.
    pub limit: f64,
}

/// Which rules apply; `None` leaves a family of rules out.
#[derive(Debug, Clone, PartialEq)]
pub struct DocumentRules {
    /// Quality rules of Gopher.
    pub gopher_quality: Option<GopherQuality>,
    /// Repetition rules of Gopher.
    pub gopher_repetition: Option<GopherRepetition>,
    /// Rules of C4.
    pub c4: Option<C4>,
    /// Rule of mC4: enough long lines.
    pub c4_paragraphs: Option<C4Paragraphs>,
    /// Rules that FineWeb adds.
    pub fineweb: Option<FineWeb>,
}

impl Default for DocumentRules {
    /// What FineWeb applies: all but the rule of mC4, and C4 without the rule on the ends of lines.
    fn default() -> Self {
        Self {
            gopher_quality: Some(GopherQuality::default()),
            gopher_repetition: Some(GopherRepetition::default()),
            c4: Some(C4 { require_end_mark: false, ..C4::default() }),
            c4_paragraphs: None,
            fineweb: Some(FineWeb::default()),
        }
    }
}

/// Quality rules of Gopher.
#[derive(Debug, Clone, PartialEq)]
pub struct GopherQuality {
    /// Fewest words; signs do not count.
    pub min_words: usize,
    /// Most words.
    pub max_words: usize,
    /// Smallest mean length of a word in characters.
    pub min_mean_word_length: f64,
    /// Largest mean length of a word in characters.
    pub max_mean_word_length: f64,
    /// Most `#` per word or sign, and most `...` and `…` per word or sign.
    pub max_symbols_per_word: f64,
    /// Largest share of lines that start with a bullet.
    pub max_bullet_lines: f64,
    /// Largest share of lines that end with `...` or `…`.
    pub max_ellipsis_lines: f64,
    /// Smallest share of words and signs with a letter in them.
    pub min_alphabetic_words: f64,
    /// Fewest different words out of `stop_words`. 0 for texts that are not in the language of that list.
    pub min_stop_words: usize,
    /// Words that hardly any text goes without, compared as they are written.
    pub stop_words: Vec<String>,
}

impl Default for GopherQuality {
    fn default() -> Self {
        Self {
            min_words: 50,
            max_words: 100_000,
            min_mean_word_length: 3.0,
            max_mean_word_length: 10.0,
            max_symbols_per_word: 0.1,
            max_bullet_lines: 0.9,
            max_ellipsis_lines: 0.3,
            min_alphabetic_words: 0.8,
            min_stop_words: 2,
            stop_words: ["the", "be", "to", "of", "and", "that", "have", "with"].map(str::to_owned).to_vec(),
        }
    }
}

/// Repetition rules of Gopher: largest shares.
#[derive(Debug, Clone, PartialEq)]
pub struct GopherRepetition {
    /// Lines that were there before, by lines.
    pub max_repeated_lines: f64,
    /// Paragraphs that were there before, by paragraphs.
    pub max_repeated_paragraphs: f64,
    /// Characters in repeated lines, by characters of the text.
    pub max_repeated_line_characters: f64,
    /// Characters in repeated paragraphs, by characters of the text.
    pub max_repeated_paragraph_characters: f64,
    /// Characters in the most frequent run of 2, 3 and 4 words.
    pub max_top_runs: [f64; 3],
    /// Characters in repeated runs of 5 to 10 words.
    pub max_repeated_runs: [f64; 6],
}

impl Default for GopherRepetition {
    fn default() -> Self {
        Self {
            max_repeated_lines: 0.3,
            max_repeated_paragraphs: 0.3,
            max_repeated_line_characters: 0.2,
            max_repeated_paragraph_characters: 0.2,
            max_top_runs: [0.2, 0.18, 0.16],
            max_repeated_runs: [0.15, 0.14, 0.13, 0.12, 0.11, 0.10],
        }
    }
}

/// Rules of C4. They drop lines first ([`c4_lines`]) and then judge what is left.
#[derive(Debug, Clone, PartialEq)]
pub struct C4 {
    /// Fewest sentences in the lines that stay.
    pub min_sentences: usize,
    /// Fewest words in a line that stays.
    pub min_words_per_line: usize,
    /// Longest word, in characters, of a line that stays.
    pub max_word_length: usize,
    /// Drop lines that do not end with `.`, `?`, `!`, `"` or `'`, or that end with `...`.
    pub require_end_mark: bool,
    /// Take the marks of notes (`[1]`, `[edit]`, `[citation needed]`) out of the lines.
    pub remove_citations: bool,
    /// Refuse texts with "lorem ipsum".
    pub refuse_lorem_ipsum: bool,
    /// Refuse texts with `{`.
    pub refuse_curly_bracket: bool,
    /// Drop lines that mention JavaScript.
    pub drop_javascript: bool,
    /// Drop lines on cookies, privacy policy and terms of use.
    pub drop_policy: bool,
}

impl Default for C4 {
    fn default() -> Self {
        Self {
            min_sentences: 5,
            min_words_per_line: 3,
            max_word_length: 1000,
            require_end_mark: true,
            remove_citations: true,
            refuse_lorem_ipsum: true,
            refuse_curly_bracket: true,
            drop_javascript: true,
            drop_policy: true,
        }
    }
}

/// Rule of mC4.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct C4Paragraphs {
    /// Fewest long lines.
    pub min_lines: usize,
    /// From how many characters on a line is long.
    pub min_line_length: usize,
}

impl Default for C4Paragraphs {
    fn default() -> Self {
        Self { min_lines: 3, min_line_length: 200 }
    }
}

/// Rules of FineWeb.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FineWeb {
    /// Smallest share of lines that end with the mark of a sentence's end.
    pub min_end_mark_lines: f64,
    /// Largest share of short lines.
    pub max_short_lines: f64,
    /// Up to how many characters a line is short.
    pub short_line_length: usize,
    /// Largest share of characters in lines that were there before.
    pub max_repeated_characters: f64,
    /// Most line ends per word or sign.
    pub max_newlines_per_word: f64,
}

impl Default for FineWeb {
    fn default() -> Self {
        Self {
            min_end_mark_lines: 0.12,
            max_short_lines: 0.67,
            short_line_length: 30,
            max_repeated_characters: 0.01,
            max_newlines_per_word: 0.3,
        }
    }
}

/// All rules that `text` does not pass; none for a text that stays.
///
/// A text without a word fails the rule `empty`, whichever families apply.
pub fn check(text: &str, rules: &DocumentRules) -> Vec<Reason> {
    let mut reasons = Vec::new();
    let tokens: Vec<Word<'_>> = words(text).collect();
    if !tokens.iter().any(|token| token.is_word) {
        reasons.push(Reason { rule: "empty", measured: 0.0, limit: 1.0 });
        return reasons;
    }
    let text_length = text.chars().count();
    let mut report = Report { reasons: &mut reasons };
    if let Some(rules) = &rules.gopher_repetition {
        check_repetition(text, text_length, &tokens, rules, &mut report);
    }
    if let Some(rules) = &rules.gopher_quality {
        check_quality(text, &tokens, rules, &mut report);
    }
    if let Some(rules) = &rules.c4 {
        let lines = c4_lines(text, rules);
        report.at_most("lorem_ipsum", lines.lorem_ipsum as f64, 0.0);
        report.at_most("curly_bracket", lines.curly_bracket as f64, 0.0);
        report.at_least("too_few_sentences", lines.sentences as f64, rules.min_sentences as f64);
    }
    if let Some(rules) = &rules.c4_paragraphs {
        let long = |line: &&str| line.chars().nth(rules.min_line_length.saturating_sub(1)).is_some();
        let count = text.split('\n').filter(long).count();
        report.at_least("c4_paragraphs", count as f64, rules.min_lines as f64);
    }
    if let Some(rules) = &rules.fineweb {
        check_fineweb(text, text_length, tokens.len(), rules, &mut report);
    }
    reasons
}

/// Collects what is beyond its limit.
struct Report<'a> {
    reasons: &'a mut Vec<Reason>,
}

impl Report<'_> {
    fn at_most(&mut self, rule: &'static str, measured: f64, limit: f64) {
        if measured > limit {
            self.reasons.push(Reason { rule, measured, limit });
        }
    }

    fn at_least(&mut self, rule: &'static str, measured: f64, limit: f64) {
        if measured < limit {
            self.reasons.push(Reason { rule, measured, limit });
        }
    }
}

/// `part` by `whole`; 0 by nothing is 0.
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

fn check_quality(text: &str, tokens: &[Word<'_>], rules: &GopherQuality, report: &mut Report<'_>) {
    let (mut count, mut characters, mut alphabetic) = (0, 0, 0);
    let mut stop_words = vec![false; rules.stop_words.len()];
    for token in tokens {
        if token.is_word {
            count += 1;
            characters += if token.text.is_ascii() { token.text.len() } else { token.text.chars().count() };
            if let Some(at) = rules.stop_words.iter().position(|word| word == token.text) {
                stop_words[at] = true;
            }
        }
        alphabetic += usize::from(token.has_letter);
    }
    let all = tokens.len();
    report.at_least("gopher_short_doc", count as f64, rules.min_words as f64);
    report.at_most("gopher_long_doc", count as f64, rules.max_words as f64);
    let mean = ratio(characters, count);
    report.at_least("gopher_below_avg_threshold", mean, rules.min_mean_word_length);
    report.at_most("gopher_above_avg_threshold", mean, rules.max_mean_word_length);
    let hashes = text.bytes().filter(|&byte| byte == b'#').count();
    report.at_most("gopher_too_many_hashes", ratio(hashes, all), rules.max_symbols_per_word);
    let ellipses = text.matches("...").count() + text.matches('…').count();
    report.at_most("gopher_too_many_ellipsis", ratio(ellipses, all), rules.max_symbols_per_word);
    let (mut lines, mut bullets, mut trailing) = (0, 0, 0);
    for line in text.lines() {
        lines += 1;
        bullets += usize::from(line.trim_start().starts_with(['•', '-']));
        let end = line.trim_end();
        trailing += usize::from(end.ends_with("...") || end.ends_with('…'));
    }
    report.at_most("gopher_too_many_bullets", ratio(bullets, lines), rules.max_bullet_lines);
    report.at_most("gopher_too_many_end_ellipsis", ratio(trailing, lines), rules.max_ellipsis_lines);
    report.at_least("gopher_below_alpha_threshold", ratio(alphabetic, all), rules.min_alphabetic_words);
    let found = stop_words.iter().filter(|&&found| found).count();
    report.at_least("gopher_enough_stop_words", found as f64, rules.min_stop_words as f64);
}

fn check_repetition(
    text: &str,
    text_length: usize,
    tokens: &[Word<'_>],
    rules: &GopherRepetition,
    report: &mut Report<'_>,
) {
    const TOP: [&str; 3] = ["top_2_gram", "top_3_gram", "top_4_gram"];
    const REPEATED: [&str; 6] = [
        "duplicated_5_n_grams",
        "duplicated_6_n_grams",
        "duplicated_7_n_grams",
        "duplicated_8_n_grams",
        "duplicated_9_n_grams",
        "duplicated_10_n_grams",
    ];
    let paragraphs = repeats(split_at_newlines(text.trim(), 2));
    report.at_most("dup_para_frac", ratio(paragraphs.repeated, paragraphs.all), rules.max_repeated_paragraphs);
    report.at_most(
        "dup_para_char_frac",
        ratio(paragraphs.characters, text_length),
        rules.max_repeated_paragraph_characters,
    );
    let lines = repeats(split_at_newlines(text, 1));
    report.at_most("dup_line_frac", ratio(lines.repeated, lines.all), rules.max_repeated_lines);
    report.at_most("dup_line_char_frac", ratio(lines.characters, text_length), rules.max_repeated_line_characters);
    let mut ngrams = Ngrams::new(tokens.iter().map(|token| token.text));
    for (rule, &limit) in TOP.into_iter().zip(&rules.max_top_runs) {
        ngrams.grow();
        // The run is counted with the blanks between its words.
        let top = ngrams.top().map_or(0, |(count, size)| count * (size + ngrams.n() - 1));
        report.at_most(rule, ratio(top, text_length), limit);
    }
    for (rule, &limit) in REPEATED.into_iter().zip(&rules.max_repeated_runs) {
        ngrams.grow();
        report.at_most(rule, ratio(ngrams.repeated_characters(), text_length), limit);
    }
}

/// How much of some pieces was there before.
struct Repeats {
    all: usize,
    repeated: usize,
    characters: usize,
}

fn repeats<'a>(pieces: impl Iterator<Item = &'a str>) -> Repeats {
    let mut seen = HashSet::new();
    let mut found = Repeats { all: 0, repeated: 0, characters: 0 };
    for piece in pieces {
        found.all += 1;
        if !seen.insert(piece) {
            found.repeated += 1;
            found.characters += piece.chars().count();
        }
    }
    found
}

/// Splits at runs of `least` line ends or more. A run at the head or the end leaves an empty piece there.
fn split_at_newlines(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let whole = rest?;
        let bytes = whole.as_bytes();
        let mut at = 0;
        while let Some(found) = whole[at..].find('\n') {
            let start = at + found;
            let end = start + bytes[start..].iter().take_while(|&&byte| byte == b'\n').count();
            if end - start >= least {
                rest = Some(&whole[end..]);
                return Some(&whole[..start]);
            }
            at = end;
        }
        rest = None;
        Some(whole)
    })
}

fn check_fineweb(text: &str, text_length: usize, tokens: usize, rules: &FineWeb, report: &mut Report<'_>) {
    let (mut lines, mut ended, mut short) = (0, 0, 0);
    let filled = || text.split('\n').filter(|line| !line.trim().is_empty());
    for line in filled() {
        lines += 1;
        ended += usize::from(line.ends_with(is_end_mark));
        short += usize::from(line.chars().nth(rules.short_line_length).is_none());
    }
    let newlines = text.bytes().filter(|&byte| byte == b'\n').count();
    report.at_least("line_punct_ratio", ratio(ended, lines), rules.min_end_mark_lines);
    report.at_most("short_line_ratio", ratio(short, lines), rules.max_short_lines);
    let repeated = repeats(filled()).characters;
    report.at_most("char_dup_ratio", ratio(repeated, text_length - newlines), rules.max_repeated_characters);
    report.at_most("list_ratio", ratio(newlines, tokens), rules.max_newlines_per_word);
}

/// Marks at the end of a sentence, in the scripts that have their own.
fn is_end_mark(c: char) -> bool {
    matches!(
        c,
        '.' | '!'
            | '?'
            | '"'
            | '\''
            | '…'
            | '”'
            | '’'
            | '»'
            | '。'
            | '！'
            | '？'
            | '」'
            | '।'
            | '॥'
            | '؟'
            | '۔'
            | '։'
            | '።'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces() {
        let split = |text, least| split_at_newlines(text, least).collect::<Vec<_>>();
        assert_eq!(split("a\n\nb\nc\n", 1), ["a", "b", "c", ""]);
        assert_eq!(split("a\n\n\nb\nc", 2), ["a", "b\nc"]);
        assert_eq!(split("", 1), [""]);
        assert_eq!(split("\n", 2), ["\n"]);
    }
}
