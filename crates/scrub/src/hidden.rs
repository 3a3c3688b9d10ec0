//! Characters that readers do not see but models do, and letters that pretend to be others.
//!
//! Text can carry instructions in characters without a shape, turn around what is shown, or write a word with letters of
//! another alphabet. Real text needs some of these characters: joiners in emoji and in Persian or Hindi words, marks of
//! direction around Hebrew and Arabic, variation selectors behind symbols and ideographs, a byte order mark at the very
//! start. Where they stand as the scripts need them, they are not reported.

mod bidi;
mod letters;

use std::borrow::Cow;
use std::ops::Range;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// What is hidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum HiddenKind {
    /// Characters without width: zero-width spaces and joiners, fillers, invisible operators, a byte order mark inside.
    ZeroWidth,
    /// Marks that change the direction of what follows.
    BidiControl,
    /// Tag characters, which copy ASCII without a shape.
    Tag,
    /// Variation selectors that select nothing; a row of them can carry bytes.
    VariationSelector,
    /// Places where a word may be broken.
    SoftHyphen,
    /// Characters that mean what two sides agree on.
    PrivateUse,
    /// Characters that Unicode has not given out, or never will.
    Unassigned,
    /// Control characters other than tabulator, line feed and carriage return.
    Control,
    /// A word of Latin letters with letters of another alphabet that look like Latin ones, or the other way round.
    MixedScript,
}

impl HiddenKind {
    /// Its name in kebab case.
    pub fn name(self) -> &'static str {
        match self {
            Self::ZeroWidth => "zero-width",
            Self::BidiControl => "bidi-control",
            Self::Tag => "tag",
            Self::VariationSelector => "variation-selector",
            Self::SoftHyphen => "soft-hyphen",
            Self::PrivateUse => "private-use",
            Self::Unassigned => "unassigned",
            Self::Control => "control",
            Self::MixedScript => "mixed-script",
        }
    }
}

/// A stretch that is hidden. Neighbours of one kind are one stretch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hidden {
    /// Bytes of the scanned text, on character borders.
    pub span: Range<usize>,
    /// What is there.
    pub kind: HiddenKind,
}

impl Hidden {
    /// What the characters of a stretch of `text` carry: the ASCII of tags, the bytes of variation selectors.
    pub fn message(&self, text: &str) -> Option<String> {
        let characters = text.get(self.span.clone())?.chars();
        match self.kind {
            HiddenKind::Tag => {
                let letters = characters.filter_map(|character| char::from_u32(u32::from(character) - TAGS.start));
                Some(letters.filter(|letter| (' '..='~').contains(letter)).collect())
            }
            HiddenKind::VariationSelector => {
                let bytes: Vec<u8> = characters.filter_map(selector_byte).collect();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        }
    }
}

const TAGS: Range<u32> = 0xe0000..0xe0080;

/// The byte that a variation selector can stand for.
fn selector_byte(character: char) -> Option<u8> {
    match u32::from(character) {
        code @ 0xfe00..=0xfe0f => Some((code - 0xfe00) as u8),
        code @ 0xe0100..=0xe01ef => Some((code - 0xe0100 + 16) as u8),
        _ => None,
    }
}

/// All that is hidden in a text, in its order.
pub fn scan(text: &str) -> Vec<Hidden> {
    let mut scan = Scan { text, found: Vec::new(), previous: None, bidi: bidi::Lines::new(text), word_end: 0 };
    scan.run();
    scan.found
}

/// The text without what can be removed and leaves what is read as it was: characters without width, marks of direction,
/// tags, idle variation selectors, soft hyphens, control characters. Private and unassigned characters stay, as do
/// letters that pretend to be others, and control characters that separate words.
pub fn strip(text: &str) -> Cow<'_, str> {
    let removable = |hidden: &&Hidden| match hidden.kind {
        HiddenKind::ZeroWidth
        | HiddenKind::BidiControl
        | HiddenKind::Tag
        | HiddenKind::VariationSelector
        | HiddenKind::SoftHyphen
        | HiddenKind::Control => true,
        HiddenKind::PrivateUse | HiddenKind::Unassigned | HiddenKind::MixedScript => false,
    };
    let found = scan(text);
    let mut kept = String::new();
    let mut at = 0;
    for hidden in found.iter().filter(removable) {
        kept.push_str(&text[at..hidden.span.start]);
        if hidden.kind == HiddenKind::Control {
            kept.extend(text[hidden.span.clone()].chars().filter(|character| separates(*character)));
        }
        at = hidden.span.end;
    }
    if at == 0 {
        return Cow::Borrowed(text);
    }
    kept.push_str(&text[at..]);
    Cow::Owned(kept)
}

/// Control characters between words: vertical tabulator, form feed, next line, and the separators of files to units.
fn separates(character: char) -> bool {
    matches!(character, '\u{b}' | '\u{c}' | '\u{85}' | '\u{1c}'..='\u{1f}')
}

struct Scan<'a> {
    text: &'a str,
    found: Vec<Hidden>,
    /// The character before, unless it was reported: what was reported supports nothing behind it.
    previous: Option<char>,
    bidi: bidi::Lines<'a>,
    /// Where the last word ends whose letters were compared.
    word_end: usize,
}

impl Scan<'_> {
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while at < bytes.len() {
            // Printable ASCII is all of most texts.
            let plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r');
            let skipped = bytes[at..].iter().take_while(|byte| plain(byte)).count();
            if skipped > 0 {
                at += skipped;
                self.previous = Some(char::from(bytes[at - 1]));
                continue;
            }
            let Some(character) = self.text[at..].chars().next() else { return };
            at = self.character(at, character);
        }
    }

    /// Takes the character at a place; returns where the walk goes on.
    fn character(&mut self, at: usize, character: char) -> usize {
        let end = at + character.len_utf8();
        if character == '\u{1f3f4}'
            && let Some(end) = flag_end(self.text, end)
        {
            self.previous = Some(character);
            return end;
        }
        if at >= self.word_end && letters::is_foreign(character) {
            let word = letters::word(self.text, at);
            self.word_end = word.end;
            if letters::is_mixed(&self.text[word.clone()]) {
                self.found.push(Hidden { span: word, kind: HiddenKind::MixedScript });
            }
        }
        match self.kind(at, end, character) {
            Some(kind) => {
                self.push(at..end, kind);
                self.previous = None;
            }
            None => self.previous = Some(character),
        }
        end
    }

    fn push(&mut self, span: Range<usize>, kind: HiddenKind) {
        match self.found.last_mut() {
            Some(last) if last.kind == kind && last.span.end == span.start => last.span.end = span.end,
            _ => self.found.push(Hidden { span, kind }),
        }
    }

    fn kind(&mut self, at: usize, end: usize, character: char) -> Option<HiddenKind> {
        if letters::is_common(character) {
            return None;
        }
        let next = self.text[end..].chars().next();
        let previous = self.previous;
        match character {
            '\u{feff}' => (at > 0).then_some(HiddenKind::ZeroWidth),
            '\u{ad}' => Some(HiddenKind::SoftHyphen),
            // Between words of scripts that put no spaces.
            '\u{200b}' => {
                let needed = previous.is_some_and(letters::is_unspaced) && next.is_some_and(letters::is_unspaced);
                (!needed).then_some(HiddenKind::ZeroWidth)
            }
            '\u{200c}' => (!previous.is_some_and(letters::is_joined)).then_some(HiddenKind::ZeroWidth),
            '\u{200d}' => {
                let emoji = previous.is_some_and(|before| letters::is_emoji(before) || before == '\u{fe0f}')
                    && next.is_some_and(letters::is_emoji);
                (!emoji && !previous.is_some_and(letters::is_joined)).then_some(HiddenKind::ZeroWidth)
            }
            // Joins marks, or keeps them apart.
            '\u{34f}' => (!next.is_some_and(letters::is_mark)).then_some(HiddenKind::ZeroWidth),
            '\u{180e}' => (!previous.is_some_and(letters::is_mongolian)).then_some(HiddenKind::ZeroWidth),
            // Fillers of Korean syllables stand beside the letters they hold a place for.
            '\u{115f}' | '\u{1160}' => {
                let jamo = |other: char| matches!(other, '\u{1100}'..='\u{11ff}' | '\u{a960}'..='\u{a97f}' | '\u{d7b0}'..='\u{d7ff}');
                let filler = |other: char| matches!(other, '\u{115f}' | '\u{1160}');
                let beside = |other: Option<char>| other.is_some_and(|other| jamo(other) && !filler(other));
                (!beside(previous) && !beside(next)).then_some(HiddenKind::ZeroWidth)
            }
            '\u{3164}'
            | '\u{ffa0}'
            | '\u{2060}'..='\u{2065}'
            | '\u{206a}'..='\u{206f}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}' => Some(HiddenKind::ZeroWidth),
            '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => {
                (!self.bidi.needs(at)).then_some(HiddenKind::BidiControl)
            }
            '\u{e0000}'..='\u{e007f}' => Some(HiddenKind::Tag),
            '\u{fe00}'..='\u{fe0f}' | '\u{e0100}'..='\u{e01ef}' | '\u{180b}'..='\u{180d}' | '\u{180f}' => {
                let selects = previous.is_some_and(|base| letters::has_variants(base, character, next));
                (!selects).then_some(HiddenKind::VariationSelector)
            }
            '\u{fff9}'..='\u{fffb}' => Some(HiddenKind::Control),
            other => match other.general_category() {
                GeneralCategory::Control if !matches!(other, '\t' | '\n' | '\r') => Some(HiddenKind::Control),
                GeneralCategory::PrivateUse => Some(HiddenKind::PrivateUse),
                GeneralCategory::Unassigned => Some(HiddenKind::Unassigned),
                _ => None,
            },
        }
    }
}

/// Behind a black flag, the tags of a region and the tag that ends them: the flag of Scotland and others.
fn flag_end(text: &str, start: usize) -> Option<usize> {
    let mut end = start;
    for (count, character) in text[start..].chars().take(8).enumerate() {
        end += character.len_utf8();
        match character {
            '\u{e0030}'..='\u{e0039}' | '\u{e0061}'..='\u{e007a}' => {}
            '\u{e007f}' if (3..=6).contains(&count) => return Some(end),
            _ => return None,
        }
    }
    None
}
