//! A text as words, numbers, signs and ends of sentences.

use std::borrow::Cow;

use unicode_normalization::{IsNormalized, UnicodeNormalization, is_nfc_quick};

use super::super::normal::is_invisible;

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token<'a> {
    /// Letters, with apostrophes between them. A character of a script without spaces is a word.
    Word {
        /// As it is written.
        text: &'a str,
        /// Whether a capital letter here may be one because a sentence begins.
        initial: bool,
        /// Whether a number stands right before it.
        after_number: bool,
    },
    /// Digits, with points, commas, colons and slashes between them, and a sign before them.
    Number(&'a str),
    /// A sign that calculates, compares or counts.
    Sign(char),
    /// The end of a question.
    Question,
    /// The end of another sentence, or an empty line.
    End,
}

/// The text in the form that [`tokens`] expects: letters with their accents in one character.
pub(super) fn composed(text: &str) -> Cow<'_, str> {
    if text.is_ascii() || is_nfc_quick(text.chars()) == IsNormalized::Yes {
        Cow::Borrowed(text)
    } else {
        Cow::Owned(text.nfc().collect())
    }
}

/// Wide forms of ASCII characters as these, apostrophes and minus signs as one.
pub(super) fn narrow(c: char) -> char {
    match c {
        '\u{FF01}'..='\u{FF5E}' => char::from_u32(u32::from(c) - 0xFEE0).unwrap_or(c),
        '\u{2018}' | '\u{2019}' => '\'',
        '\u{2212}' => '-',
        c => c,
    }
}

/// Calls `take` for every token.
pub(super) fn tokens<'a>(text: &'a str, mut take: impl FnMut(Token<'a>)) {
    let mut scan =
        Scan { text, at: 0, before: '\n', initial: true, line_start: true, after_number: false, last_word: 0 };
    while let Some(token) = scan.next() {
        take(token);
    }
}

struct Scan<'a> {
    text: &'a str,
    at: usize,
    /// The character before `at`.
    before: char,
    initial: bool,
    /// Nothing but list marks and white space since the line began.
    line_start: bool,
    after_number: bool,
    /// Letters of the word that ended last, if nothing came after it.
    last_word: usize,
}

impl<'a> Scan<'a> {
    fn peek(&self, at: usize) -> Option<char> {
        self.text[at..].chars().next().map(narrow)
    }

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            let raw = self.text[self.at..].chars().next()?;
            let c = narrow(raw);
            let start = self.at;
            self.at += raw.len_utf8();
            if c.is_alphabetic() {
                return Some(self.word(start, c));
            }
            if c.is_numeric() {
                return Some(self.number(start));
            }
            let before = std::mem::replace(&mut self.before, c);
            if let Some(token) = self.other(c, before) {
                return Some(token);
            }
        }
    }

    fn word(&mut self, start: usize, first: char) -> Token<'a> {
        self.before = first;
        let mut letters = 1;
        if !is_unspaced(first) {
            while let Some(c) = self.text[self.at..].chars().next() {
                let inside = match narrow(c) {
                    '\'' => self.peek(self.at + c.len_utf8()).is_some_and(char::is_alphabetic),
                    narrowed => narrowed.is_alphabetic() && !is_unspaced(narrowed) || is_invisible(c),
                };
                if !inside {
                    break;
                }
                self.before = c;
                self.at += c.len_utf8();
                letters += 1;
            }
        }
        let token = Token::Word {
            text: &self.text[start..self.at],
            initial: self.initial,
            after_number: std::mem::take(&mut self.after_number),
        };
        (self.initial, self.line_start, self.last_word) = (false, false, letters);
        token
    }

    fn number(&mut self, start: usize) -> Token<'a> {
        // A minus is a sign where nothing stands before it from which something could be taken away.
        let head = &self.text[..start];
        let minus = head.chars().next_back().filter(|&c| narrow(c) == '-');
        let signed = minus.is_some_and(|minus| {
            let before = head[..head.len() - minus.len_utf8()].chars().next_back();
            before.is_none_or(|c| c.is_whitespace() || "([{=,:;<>*/^$€£".contains(c))
        });
        let start = if signed { start - minus.map_or(0, char::len_utf8) } else { start };
        while let Some(raw) = self.text[self.at..].chars().next() {
            let c = narrow(raw);
            let between =
                matches!(c, '.' | ',' | ':' | '/') && self.peek(self.at + raw.len_utf8()).is_some_and(char::is_numeric);
            if !c.is_numeric() && !between {
                break;
            }
            self.at += raw.len_utf8();
        }
        self.before = '0';
        (self.initial, self.line_start, self.after_number, self.last_word) = (false, false, true, 3);
        Token::Number(&self.text[start..self.at])
    }

    fn other(&mut self, c: char, before: char) -> Option<Token<'a>> {
        let next = self.peek(self.at);
        let token = match c {
            '\n' => {
                (self.initial, self.line_start) = (true, true);
                self.after_number = false;
                (before == '\n').then_some(Token::End)
            }
            '?' | '？' | '؟' | ';' if c != ';' && next.is_none_or(ends) => self.end(Token::Question),
            '!' | '！' | '。' if next.is_none_or(ends) || c == '。' => self.end(Token::End),
            // "Dr.", "e.g." and initials end no sentence.
            '.' if next.is_none_or(ends) && self.last_word > 2 => self.end(Token::End),
            ':' | '"' | '“' | '„' | '«' | '(' | '¿' | '¡' | '[' | '|' => {
                self.initial = true;
                self.sign(c, before, next)
            }
            _ => self.sign(c, before, next),
        };
        if c != ' ' && c != '\u{A0}' {
            self.after_number = false;
        }
        if !c.is_whitespace() && !matches!(c, '-' | '*' | '#' | '>' | '•' | '+') {
            self.line_start = false;
        }
        if !c.is_whitespace() && c != '.' {
            self.last_word = 0;
        }
        token
    }

    fn end(&mut self, token: Token<'a>) -> Option<Token<'a>> {
        self.initial = true;
        Some(token)
    }

    fn sign(&self, c: char, before: char, next: Option<char>) -> Option<Token<'a>> {
        let is_sign = match c {
            '$' | '€' | '£' | '¥' | '₹' | '%' | '‰' | '°' | '<' | '>' | '=' | '^' | '≤' | '≥' | '≠' | '≈' | '±'
            | '×' | '÷' | '√' | '∑' | '∫' | '∈' | '∉' | '∀' | '∃' | '→' | '←' => !self.line_start,
            // `!=` and `!x`, not "Go!".
            '!' => next.is_some_and(|next| next == '=' || next.is_alphanumeric()),
            // C++, C#, 2 + x, but no list marks and headings.
            '+' => !self.line_start,
            '#' => before.is_alphanumeric(),
            '&' | '|' => next == Some(c),
            '-' | '*' | '/' => !self.line_start && self.between_operands(),
            _ => false,
        };
        is_sign.then_some(Token::Sign(c))
    }

    /// Whether a number, a single letter or a bracket stands on both sides: 5 - 3, x*y, (a+b)/2, not "km/h".
    fn between_operands(&self) -> bool {
        let after = self.text[self.at..].trim_start_matches(' ');
        let head = self.text[..self.at].trim_end_matches(['-', '*', '/', '−', '－', '＊', '／', ' ']);
        let single = |mut chars: std::iter::Take<&mut dyn Iterator<Item = char>>| {
            let (first, second) = (chars.next().map(narrow), chars.next().map(narrow));
            first.is_some_and(|first| {
                first.is_numeric()
                    || matches!(first, '(' | ')' | ']')
                    || first.is_alphabetic() && second.is_none_or(|second| !second.is_alphabetic())
            })
        };
        single((&mut after.chars() as &mut dyn Iterator<Item = char>).take(2))
            && single((&mut head.chars().rev() as &mut dyn Iterator<Item = char>).take(2))
    }
}

fn ends(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | ')' | ']' | '”' | '»' | '?' | '!' | '*' | '_' | '<')
}

/// Scripts that put no space between words: Han, Kana, and what surrounds them.
fn is_unspaced(c: char) -> bool {
    matches!(u32::from(c), 0x2E80..=0x31FF | 0x3400..=0x4DBF | 0x4E00..=0x9FFF | 0xF900..=0xFAFF | 0x2_0000..=0x3_FFFF)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        let mut shown = Vec::new();
        tokens(text, |token| {
            shown.push(match token {
                Token::Word { text, initial: true, .. } => format!("^{text}"),
                Token::Word { text, after_number: true, .. } => format!("#{text}"),
                Token::Word { text, .. } => text.to_owned(),
                Token::Number(text) => format!("<{text}>"),
                Token::Sign(c) => format!("{{{c}}}"),
                Token::Question => "QUESTION".to_owned(),
                Token::End => "END".to_owned(),
            });
        });
        shown.join(" ")
    }

    #[test]
    fn texts_fall_into_tokens() {
        let cases = [
            ("Is it 1,000.50 km, Dr. No?", "^Is it <1,000.50> #km Dr No QUESTION"),
            ("Don’t run. Stay!\n\nYes", "^Don’t run END ^Stay END END ^Yes"),
            ("x-5, -5 and 7 - 3", "^x {-} <5> <-5> #and <7> {-} <3>"),
            ("fine-tuning: C++ or C#", "^fine tuning ^C {+} {+} or C {#}"),
            ("- a list\n# Title\n> quote", "^a list ^Title ^quote"),
            ("http://a.b/?q=1 a<b", "^http ^a b q {=} <1> #a {<} b"),
            ("5kg gpt-4o 3D", "^<5> #kg gpt <4> #o <3> #D"),
            ("日本は？", "^日 本 は QUESTION"),
            ("３．５", "<３．５>"),
        ];
        for (text, expected) in cases {
            let got = shown(text);
            assert_eq!(got.replace("^<", "<"), expected.replace("^<", "<"), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_has_tokens(text in ".*") {
            let _ = shown(&composed(&text));
        }
    }
}
