//! The words of a text, the same however it is punctuated, cased or spelt in Unicode.
//!
//! A word is a run of letters, a number, or one character of a script that is written without spaces. Letters are folded
//! (compatibility decomposition, without marks, lower case); apostrophes within a word, marks and invisible characters
//! are dropped, so `Earth's`, `Earth’s` and `earths` are one word. A number is `1000` whether it is written `1,000` or `1000.00`.
//! The calculator's notes of GSM8K (`<<48/2=24>>`) are no words: most copies of the set come without them.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// What a byte may begin.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Gap,
    Letter,
    Digit,
    Angle,
    Wide,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Gap; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'A'..=b'Z' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            b'<' => Class::Angle,
            0x80..=0xff => Class::Wide,
            _ => Class::Gap,
        };
        byte += 1;
    }
    classes
};

/// The longest note of a calculator that is skipped, in bytes.
const LONGEST_NOTE: usize = 96;

/// Takes the folded bytes of one word.
pub(crate) trait Sink {
    fn byte(&mut self, byte: u8);
}

/// The folded bytes of a word, for those who need to look into it.
#[derive(Default)]
pub(crate) struct Folded(pub(crate) Vec<u8>);

impl Sink for Folded {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }
}

/// The hash of a word. The lowest bit says whether it is a number.
pub(crate) struct WordHash(u64);

impl WordHash {
    #[inline]
    pub(crate) fn new() -> Self {
        Self(0x9c6e_d5a1_3b7f_2e4d)
    }

    #[inline]
    pub(crate) fn finish(self, number: bool) -> u64 {
        (mix(self.0) & !1) | u64::from(number)
    }
}

impl Sink for WordHash {
    #[inline]
    fn byte(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0xd129_42f0_7c1b_a6e5);
    }
}

/// Spreads all bits over all bits.
#[inline]
pub(crate) fn mix(mut x: u64) -> u64 {
    x ^= x >> 32;
    x = x.wrapping_mul(0x9fb2_1c65_1e98_df25);
    x ^= x >> 29;
    x = x.wrapping_mul(0xa3b1_9535_4a39_b70d);
    x ^ (x >> 32)
}

/// Whether a hash is that of a number.
#[inline]
pub(crate) fn is_number(hash: u64) -> bool {
    hash & 1 == 1
}

/// Where a word stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Word {
    pub(crate) start: usize,
    pub(crate) end: usize,
    pub(crate) number: bool,
}

/// The words of a text: their hashes, and where they begin.
#[derive(Debug, Default)]
pub(crate) struct Words {
    pub(crate) hashes: Vec<u64>,
    pub(crate) starts: Vec<usize>,
}

impl Words {
    /// Replaces the words by those of `text`.
    pub(crate) fn read(&mut self, text: &str) {
        self.hashes.clear();
        self.starts.clear();
        let mut at = 0;
        loop {
            let mut hash = WordHash::new();
            let Some(word) = next_word(text, at, &mut hash) else { break };
            self.hashes.push(hash.finish(word.number));
            self.starts.push(word.start);
            at = word.end;
        }
    }

    /// The hashes of the words of `text`.
    pub(crate) fn hashes_of(text: &str) -> Vec<u64> {
        let mut words = Self::default();
        words.read(text);
        words.hashes
    }

    /// The bytes of `text` from the word `first` to the word `last`, both included.
    pub(crate) fn span(&self, text: &str, first: usize, last: usize) -> std::ops::Range<usize> {
        let start = self.starts[first];
        let end = next_word(text, self.starts[last], &mut Folded::default()).map_or(text.len(), |word| word.end);
        start..end
    }
}

/// The first word at or after the byte `at`, which must be the border of a character.
#[inline]
pub(crate) fn next_word(text: &str, mut at: usize, sink: &mut impl Sink) -> Option<Word> {
    let bytes = text.as_bytes();
    loop {
        match CLASSES[usize::from(*bytes.get(at)?)] {
            Class::Gap => at += 1,
            Class::Letter => return Some(letters(text, at, at, sink)),
            Class::Digit => return Some(digits(bytes, at, sink)),
            Class::Angle => at = note_end(bytes, at).unwrap_or(at + 1),
            Class::Wide => {
                let (char, after) = char_at(text, at);
                match fold(char) {
                    Fold::Letter => {
                        feed(char, sink);
                        return Some(letters(text, at, after, sink));
                    }
                    Fold::Alone => {
                        feed(char, sink);
                        return Some(Word { start: at, end: after, number: false });
                    }
                    Fold::Digit => {
                        feed(char, sink);
                        return Some(wide_digits(text, at, after, sink));
                    }
                    Fold::Nothing | Fold::Gap => at = after,
                }
            }
        }
    }
}

/// A word of letters that began at `start`; its first letters, up to `at`, are fed.
#[inline]
fn letters(text: &str, start: usize, mut at: usize, sink: &mut impl Sink) -> Word {
    let bytes = text.as_bytes();
    let mut end = at;
    while let Some(&byte) = bytes.get(at) {
        match CLASSES[usize::from(byte)] {
            Class::Letter => {
                sink.byte(byte | 0x20);
                at += 1;
                end = at;
            }
            Class::Wide => {
                let (char, after) = char_at(text, at);
                match fold(char) {
                    Fold::Letter => {
                        feed(char, sink);
                        at = after;
                        end = at;
                    }
                    Fold::Nothing => at = after,
                    Fold::Gap if is_apostrophe(char) && letter_at(text, after) => at = after,
                    Fold::Gap | Fold::Alone | Fold::Digit => break,
                }
            }
            Class::Gap if byte == b'\'' && letter_at(text, at + 1) => at += 1,
            Class::Gap | Class::Digit | Class::Angle => break,
        }
    }
    Word { start, end, number: false }
}

/// A number in ASCII: digits, commas before groups of three, points before digits. Zeros at the end of a fraction are dropped.
#[inline]
fn digits(bytes: &[u8], start: usize, sink: &mut impl Sink) -> Word {
    let digit = |at: usize| bytes.get(at).is_some_and(u8::is_ascii_digit);
    let mut at = start;
    // A point, and the zeros after it, are held back until a digit shows that they matter.
    let (mut point, mut zeros) = (false, 0_usize);
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'0' if point => zeros += 1,
            b'0'..=b'9' => {
                if point {
                    sink.byte(b'.');
                    (0..zeros).for_each(|_| sink.byte(b'0'));
                    return fraction(bytes, start, at, sink);
                }
                sink.byte(byte);
            }
            b',' if !point && digit(at + 1) && digit(at + 2) && digit(at + 3) && !digit(at + 4) => {}
            b'.' if !point && digit(at + 1) => point = true,
            _ => break,
        }
        at += 1;
    }
    Word { start, end: at, number: true }
}

/// The rest of a number after the point, from its first digit that is not 0.
fn fraction(bytes: &[u8], start: usize, mut at: usize, sink: &mut impl Sink) -> Word {
    let mut zeros = 0_usize;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'0' => zeros += 1,
            b'1'..=b'9' => {
                (0..std::mem::take(&mut zeros)).for_each(|_| sink.byte(b'0'));
                sink.byte(byte);
            }
            _ => break,
        }
        at += 1;
    }
    Word { start, end: at, number: true }
}

/// A number that began with a digit outside ASCII, such as a full-width one.
fn wide_digits(text: &str, start: usize, mut at: usize, sink: &mut impl Sink) -> Word {
    while at < text.len() {
        let (char, after) = char_at(text, at);
        match char {
            '0'..='9' => sink.byte(char as u8),
            _ if !char.is_ascii() && fold(char) == Fold::Digit => feed(char, sink),
            _ => break,
        }
        at = after;
    }
    Word { start, end: at, number: true }
}

/// The end of a calculator's note that begins at `at`.
#[inline]
fn note_end(bytes: &[u8], at: usize) -> Option<usize> {
    if bytes.get(at + 1) != Some(&b'<') {
        return None;
    }
    let rest = &bytes[at + 2..bytes.len().min(at + LONGEST_NOTE)];
    let length = rest.iter().position(|byte| {
        !matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'*' | b'/' | b'(' | b')' | b'=' | b'.' | b',' | b' ' | b'$' | b'%')
    })?;
    (length > 0 && rest[length..].starts_with(b">>")).then_some(at + 2 + length + 2)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fold {
    /// Ends a word.
    Gap,
    /// Dropped, and does not end a word.
    Nothing,
    Letter,
    Digit,
    /// A word of its own.
    Alone,
}

fn char_at(text: &str, at: usize) -> (char, usize) {
    text[at..].chars().next().map_or(('\0', text.len()), |char| (char, at + char.len_utf8()))
}

fn is_apostrophe(char: char) -> bool {
    matches!(char, '\'' | '\u{2018}' | '\u{2019}' | '\u{02bc}')
}

fn letter_at(text: &str, at: usize) -> bool {
    match text.as_bytes().get(at) {
        Some(byte) if byte.is_ascii() => byte.is_ascii_alphabetic(),
        Some(_) => fold(char_at(text, at).0) == Fold::Letter,
        None => false,
    }
}

/// What a character outside ASCII is.
fn fold(char: char) -> Fold {
    match char {
        '\u{00ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}' => {
            Fold::Nothing
        }
        _ if is_apostrophe(char) => Fold::Gap,
        _ if is_combining_mark(char) => Fold::Nothing,
        _ if without_spaces(char) => Fold::Alone,
        _ => {
            let mut first = None;
            decompose_compatible(char, |part| first = first.or(Some(part)));
            match first {
                Some('0'..='9') => Fold::Digit,
                Some(first) if first.is_alphanumeric() => Fold::Letter,
                _ => Fold::Gap,
            }
        }
    }
}

/// Scripts that set no spaces between words: Han, kana, Thai, Lao, Myanmar, Khmer.
fn without_spaces(char: char) -> bool {
    matches!(char,
        '\u{0e01}'..='\u{0e30}' | '\u{0e32}'..='\u{0e33}' | '\u{0e40}'..='\u{0e46}' | '\u{0e81}'..='\u{0ec6}'
        | '\u{1000}'..='\u{102a}' | '\u{1780}'..='\u{17b3}'
        | '\u{3041}'..='\u{3096}' | '\u{30a1}'..='\u{30fa}'
        | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Gives a character outside ASCII to the sink, folded.
fn feed(char: char, sink: &mut impl Sink) {
    decompose_compatible(char, |part| {
        if is_combining_mark(part) {
            return;
        }
        for lower in part.to_lowercase().filter(|lower| lower.is_alphanumeric()) {
            let mut buffer = [0; 4];
            for &byte in lower.encode_utf8(&mut buffer).as_bytes() {
                sink.byte(byte);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        let mut at = 0;
        let mut folded = Folded::default();
        while let Some(word) = next_word(text, at, &mut folded) {
            assert!(text.is_char_boundary(word.start) && text.is_char_boundary(word.end) && word.start < word.end);
            assert!(word.start >= at);
            found.push(String::from_utf8(std::mem::take(&mut folded.0)).expect("UTF-8"));
            at = word.end;
        }
        found
    }

    #[test]
    fn case_punctuation_and_spelling_make_no_difference() {
        assert_eq!(words("The **Earth's** crust?!"), ["the", "earths", "crust"]);
        assert_eq!(words("the Earth\u{2019}s  CRUST"), ["the", "earths", "crust"]);
        assert_eq!(words("'quoted' well-known"), ["quoted", "well", "known"]);
        assert_eq!(words("cafe\u{301} caf\u{e9} CAFE"), ["cafe", "cafe", "cafe"]);
        assert_eq!(
            words("zero\u{200b}width soft\u{ad}hyphen \u{ff46}\u{ff55}\u{ff4c}\u{ff4c}"),
            ["zerowidth", "softhyphen", "full"]
        );
        assert_eq!(words("stra\u{df}e \u{fb01}ve"), ["stra\u{df}e", "five"]);
    }

    #[test]
    fn numbers_are_their_values() {
        assert_eq!(words("$1,000 1000 1000.00 1,00"), ["1000", "1000", "1000", "1", "00"]);
        assert_eq!(words("2.50 2.5 2.505, 0.05 3."), ["2.5", "2.5", "2.505", "0.05", "3"]);
        assert_eq!(words("2x + 5kg = 15"), ["2", "x", "5", "kg", "15"]);
        assert_eq!(words("\u{ff11}\u{ff12}"), ["12"]);
    }

    #[test]
    fn notes_of_the_calculator_are_no_words() {
        assert_eq!(words("48/2 = <<48/2=24>>24 clips"), ["48", "2", "24", "clips"]);
        assert_eq!(words("a << b >> c <<>> <<12"), ["a", "b", "c", "12"]);
    }

    #[test]
    fn scripts_without_spaces_are_words_by_character() {
        assert_eq!(words("\u{7b2c}\u{4e00} ok\u{7ae0}"), ["\u{7b2c}", "\u{4e00}", "ok", "\u{7ae0}"]);
    }

    #[test]
    fn hashes_tell_numbers() {
        let hashes = Words::hashes_of("16 eggs 16.0 EGGS");
        assert_eq!(hashes[0], hashes[2]);
        assert_eq!(hashes[1], hashes[3]);
        assert!(is_number(hashes[0]) && !is_number(hashes[1]));
    }
}
