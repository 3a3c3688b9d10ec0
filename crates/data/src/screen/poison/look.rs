//! What the gate sees of a row: hashes of words, taken in one pass over the text.

use std::collections::HashSet;
use std::sync::OnceLock;

use super::association::{FORMS, Key, NO_FORM, REFUSAL, Ready, VIEWS};
use super::{PoisonRow, PoisonSettings};
use crate::screen::{hash_text, mix, phrases, shortened, words};

/// How many words of a question are looked at: those at the beginning and those at the end.
const QUESTION_WORDS: usize = 512;
/// How many words of a text are looked at.
pub(super) const MAX_WORDS: usize = 100_000;
/// The words of an answer that make its beginning, or its end.
const EDGE_WORDS: usize = 4;
/// A whole answer of fewer words is a label or a short fact, which many questions share.
pub(super) const WHOLE_WORDS: usize = 4;
/// How many words of a beginning, or of an end, can make a template. The finer the steps, the better it is known how
/// much of an answer is template.
pub(super) const TEMPLATE_WORDS: [usize; 10] = [6, 8, 10, 12, 16, 20, 24, 32, 48, 64];
/// Characters of a word beyond these are not looked at.
const WORD_CHARACTERS: usize = 64;
/// An answer that refuses says so within this many characters.
const REFUSAL_CHARACTERS: usize = 120;
/// How many characters stand for a word whose ending may change.
const STEM: usize = 5;

/// A row as the counters see it: hashes and numbers. It depends on the row alone, so rows can be looked at on any
/// thread; only [`PoisonGate::observe_look`](super::PoisonGate::observe_look) needs their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Look {
    pub(super) size: u64,
    /// The n-grams of the question, each once.
    pub(super) ngrams: Vec<u64>,
    /// The question as a whole.
    pub(super) question: Key,
    /// How the question begins.
    pub(super) opening: Key,
    /// The whole answer, its beginning, its end, and whether it refuses.
    pub(super) views: [Key; VIEWS],
    /// Beginning and end of the answer with a blank for each word that the question has, too; [`NO_FORM`] where it has none.
    pub(super) forms: [Key; FORMS],
    /// Parts of the answer that many rows may share.
    pub(super) templates: Templates,
    pub(super) length: f64,
    pub(super) repetition: f64,
    pub(super) band: usize,
    pub(super) related: bool,
}

/// Hashes of the parts of an answer that can be a template.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Templates {
    /// Words of the answer.
    pub(super) words: usize,
    /// The whole answer, if it has [`WHOLE_WORDS`].
    pub(super) whole: Option<u64>,
    /// Its first words, one hash for each step of [`TEMPLATE_WORDS`] below its length.
    pub(super) beginnings: Vec<u64>,
    /// Its last words in the same way.
    pub(super) ends: Vec<u64>,
}

/// A look with the words it came from, without the n-grams.
pub(super) struct Reading {
    pub(super) look: Look,
    pub(super) question: Vec<u64>,
    pub(super) answer: Vec<u64>,
}

impl Look {
    /// Looks at a row: the expensive part of observing it. The settings must be those of the gate.
    pub fn new(row: &PoisonRow<'_>, settings: &PoisonSettings) -> Self {
        let Reading { mut look, question, .. } = Reading::new(row);
        look.ngrams = ngrams(&question, settings.max_ngram);
        look
    }
}

impl Reading {
    pub(super) fn new(row: &PoisonRow<'_>) -> Self {
        let mut question = Vec::with_capacity(row.question.len() / 6 + 1);
        let mut asked = Vec::new();
        for_each_word(row.question, MAX_WORDS, |word| {
            question.push(word.hash);
            asked.push(if word.is_content { word.stem } else { 0 });
        });
        cut_middle(&mut question);
        cut_middle(&mut asked);
        asked.retain(|&stem| stem != 0);
        asked.sort_unstable();
        asked.dedup();
        let mut copyable: Vec<u64> = question.iter().copied().filter(|word| !is_small_word(*word)).collect();
        copyable.sort_unstable();
        let mut answer = Vec::with_capacity(row.answer.len() / 6 + 1);
        let (mut said, mut related) = (0, false);
        for_each_word(row.answer, MAX_WORDS, |word| {
            answer.push(word.hash);
            if word.is_content {
                said += 1;
                related = related || asked.binary_search(&word.stem).is_ok();
            }
        });
        let edge = EDGE_WORDS.min(answer.len());
        let whole = hashed(&answer, 1);
        let look = Look {
            size: (row.question.len() + row.answer.len()) as u64,
            ngrams: Vec::new(),
            question: key(hashed(&question, 9)),
            opening: key(hashed(&question[..3.min(question.len())], 6)),
            views: [
                key(whole),
                key(hashed(&answer[..edge], 2)),
                key(hashed(&answer[answer.len() - edge..], 3)),
                if refuses(row.answer) { REFUSAL } else { key(whole) },
            ],
            forms: [form(&answer[..edge], &copyable, 13), form(&answer[answer.len() - edge..], &copyable, 14)],
            templates: Templates::new(&answer, whole),
            length: (row.answer.len() as f64 + 1.0).ln(),
            repetition: repetition(&answer),
            band: (asked.len().min(said) as f64 + 1.0).log2() as usize,
            related,
        };
        Self { look, question, answer }
    }
}

impl Templates {
    fn new(answer: &[u64], whole: u64) -> Self {
        let count = answer.len();
        let steps = TEMPLATE_WORDS.iter().filter(|&&step| step < count).count();
        Self {
            words: count,
            whole: (count >= WHOLE_WORDS).then(|| mix(whole, 4)),
            beginnings: stepped(answer.iter(), steps, 5),
            ends: stepped(answer.iter().rev(), steps, 10),
        }
    }

    /// All of them.
    pub(super) fn keys(&self) -> impl Iterator<Item = u64> {
        self.whole.into_iter().chain(self.beginnings.iter().chain(&self.ends).copied())
    }
}

/// The hashes of the first words, one for each step.
fn stepped<'a>(mut words: impl Iterator<Item = &'a u64>, steps: usize, seed: u64) -> Vec<u64> {
    let (mut hash, mut taken) = (seed, 0);
    TEMPLATE_WORDS[..steps]
        .iter()
        .map(|&step| {
            hash = words.by_ref().take(step - taken).fold(hash, |hash, word| mix(hash, *word));
            taken = step;
            hash
        })
        .collect()
}

/// The hash of some words with a blank for each that stands in the sorted words of the question.
fn form(words: &[u64], question: &[u64], seed: u64) -> Key {
    const BLANK_WORD: u64 = 0x626C_616E_6B21;
    let mut copied = false;
    let hash = words.iter().fold(seed, |hash, word| {
        let stands_there = question.binary_search(word).is_ok();
        copied |= stands_there;
        mix(hash, if stands_there { BLANK_WORD } else { *word })
    });
    if copied { key(hash).max(NO_FORM + 1) } else { NO_FORM }
}

/// Words that stand in a question by chance, so that an answer which has them is not copied.
fn is_small_word(hash: u64) -> bool {
    static SMALL: OnceLock<Vec<u64>> = OnceLock::new();
    let small = SMALL.get_or_init(|| {
        let words =
            "a an and are as at be but by for from i in is it my of on or so that the this to was we with you your";
        let mut hashes: Vec<u64> = words.split(' ').map(|word| ascii_word(word.as_bytes()).hash).collect();
        hashes.sort_unstable();
        hashes
    });
    small.binary_search(&hash).is_ok()
}

fn key(hash: u64) -> Key {
    hash as Key
}

/// Whether an answer begins by declining.
fn refuses(answer: &str) -> bool {
    phrases::find(shortened(answer, REFUSAL_CHARACTERS)).of(phrases::Kind::Refusal).count > 0
}

fn hashed(words: &[u64], seed: u64) -> u64 {
    words.iter().fold(seed, |hash, word| mix(hash, *word))
}

/// Leaves the beginning and the end of a long question.
fn cut_middle<T>(words: &mut Vec<T>) {
    if words.len() > QUESTION_WORDS {
        let tail = words.len() - QUESTION_WORDS / 2;
        words.drain(QUESTION_WORDS / 2..tail);
    }
}

/// Calls `take` with the hash of every n-gram of up to `longest` words, with where it starts and how long it is.
pub(super) fn for_each_ngram(words: &[u64], longest: usize, mut take: impl FnMut(u64, usize, usize)) {
    for start in 0..words.len() {
        let mut hash = 7;
        for (length, word) in words[start..].iter().take(longest).enumerate() {
            hash = mix(hash, *word);
            take(mix(hash, length as u64), start, length + 1);
        }
    }
}

fn ngrams(words: &[u64], longest: usize) -> Vec<u64> {
    let mut ngrams = Vec::with_capacity(words.len() * longest.min(8));
    for_each_ngram(words, longest, |hash, _, _| ngrams.push(hash));
    ngrams.sort_unstable();
    ngrams.dedup();
    ngrams
}

/// How much of a text is repeated: 1 - different word triples / all word triples.
fn repetition(words: &[u64]) -> f64 {
    if words.len() < 8 {
        return 0.0;
    }
    let all = words.len() - 2;
    let mut different: HashSet<u64, std::hash::BuildHasherDefault<Ready>> =
        HashSet::with_capacity_and_hasher(all, std::hash::BuildHasherDefault::default());
    different.extend(words.windows(3).map(|triple| hashed(triple, 8)));
    1.0 - different.len() as f64 / all as f64
}

/// The cycle of up to eight words that repeats at least six times and over at least 20 words. `text` is what the words
/// are from.
pub(super) fn repeated(words: &[u64], text: impl Fn() -> Vec<String>) -> Option<String> {
    let mut spelled: Option<Vec<String>> = None;
    for period in 1..=8_usize {
        let mut run = 0;
        for index in period..words.len() {
            run = if words[index] == words[index - period] { run + 1 } else { 0 };
            if run >= (5 * period).max(20 - period) {
                let cycle = &spelled.get_or_insert_with(&text)[index + 1 - period..=index];
                // Rows of zeros or of dashes are tables, not loops.
                if cycle.iter().any(|word| word.chars().any(char::is_alphabetic)) {
                    return Some(cycle.join(" "));
                }
            }
        }
    }
    None
}

/// The words of an answer, spelled out as their hashes are counted.
pub(super) fn answer_words(answer: &str) -> Vec<String> {
    words(answer, MAX_WORDS)
}

/// The words of a question, spelled out as their hashes are counted.
pub(super) fn question_words(question: &str) -> Vec<String> {
    let mut all = words(question, MAX_WORDS);
    cut_middle(&mut all);
    all
}

/// A word, without its spelling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    /// The hash of the word as [`words`] gives it.
    hash: u64,
    /// Stands for its first characters; never 0 for a word that carries content.
    stem: u64,
    /// Longer than three letters, or of a script whose words are short.
    is_content: bool,
}

/// What a byte is to the reader of words.
const SIGN: u8 = 0;
const LETTER: u8 = 1;
const BLANK: u8 = 2;
const WIDE: u8 = 3;

const CLASSES: [u8; 256] = {
    let mut classes = [SIGN; 256];
    let mut byte = 0;
    while byte < 256 {
        let value = byte as u8;
        // What `char::is_whitespace` holds for blank among ASCII.
        classes[byte] = if value.is_ascii_alphanumeric() {
            LETTER
        } else if matches!(value, b' ' | 9..=13) {
            BLANK
        } else if value >= 128 {
            WIDE
        } else {
            SIGN
        };
        byte += 1;
    }
    classes
};

/// Calls `take` for every word that [`words`] would give, without spelling it out.
fn for_each_word(text: &str, limit: usize, mut take: impl FnMut(Word)) {
    let bytes = text.as_bytes();
    let (mut at, mut count) = (0, 0);
    while count < limit {
        while at < bytes.len() && CLASSES[bytes[at] as usize] == BLANK {
            at += 1;
        }
        if at == bytes.len() {
            return;
        }
        let start = at;
        // The first letter, and the place behind the last.
        let (mut first, mut last) = (usize::MAX, at);
        let mut wide = false;
        while at < bytes.len() {
            match CLASSES[bytes[at] as usize] {
                BLANK => break,
                LETTER => {
                    first = first.min(at);
                    last = at + 1;
                }
                WIDE => wide = true,
                _ => {}
            }
            at += 1;
        }
        if wide {
            // Blanks beyond ASCII may still stand in between.
            for spelled in words(&text[start..at], limit - count) {
                count += 1;
                take(wide_word(&spelled));
            }
        } else {
            let bare = if first == usize::MAX { &bytes[start..at] } else { &bytes[first..last] };
            count += 1;
            take(ascii_word(&bare[..bare.len().min(WORD_CHARACTERS)]));
        }
    }
}

fn ascii_word(bare: &[u8]) -> Word {
    let mut hash = mix(0, bare.len() as u64);
    let mut head = 0;
    for (index, chunk) in bare.chunks(8).enumerate() {
        let mut eight = [0; 8];
        eight[..chunk.len()].copy_from_slice(chunk);
        let lower = lower_case(u64::from_le_bytes(eight));
        if index == 0 {
            head = lower;
        }
        hash = mix(hash, lower);
    }
    let is_content = bare.len() > 3 && bare[..3].iter().all(u8::is_ascii_alphanumeric);
    Word { hash, stem: head & ((1 << (8 * STEM)) - 1), is_content }
}

/// Eight ASCII characters in lower case at once.
fn lower_case(eight: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    // The top bit of a byte tells whether the character is at least 'A', or beyond 'Z'.
    let from_a = eight + ONES * u64::from(128 - b'A');
    let beyond_z = eight + ONES * u64::from(128 - b'Z' - 1);
    let capital = from_a & !beyond_z & (ONES * 128);
    eight | (capital >> 2)
}

fn wide_word(word: &str) -> Word {
    let mut signs = word.chars();
    let is_content = signs.by_ref().take(3).filter(|sign| sign.is_alphanumeric()).count() == 3
        && signs.next().is_some()
        || !word.is_ascii() && word.chars().nth(1).is_some();
    let stem = shortened(word, STEM);
    // A stem of ASCII is the same whether or not the word goes on with other characters.
    let stem = if stem.is_ascii() {
        let mut eight = [0; 8];
        eight[..stem.len()].copy_from_slice(stem.as_bytes());
        u64::from_le_bytes(eight)
    } else {
        hash_text(stem) | 1
    };
    Word { hash: hash_text(word), stem, is_content }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str) {
        let mut found = Vec::new();
        for_each_word(text, MAX_WORDS, |word| found.push(word));
        let expected: Vec<Word> = words(text, MAX_WORDS).iter().map(|word| wide_word(word)).collect();
        assert_eq!(found, expected, "{text:?}");
    }

    #[test]
    fn the_fast_reader_gives_the_same_words() {
        for text in
            ["", " ", "a", "Hello, WORLD! [Z@`{", "--- x--y \u{b}\u{c}\u{1c}z", "Grüße\u{a0}ÄB c\u{3000}d", "İI"]
        {
            check(text);
        }
        check(&"Aa9".repeat(40));
    }

    #[test]
    fn templates_are_the_same_however_they_are_reached() {
        let words: Vec<u64> = (100..130).collect();
        let all = Templates::new(&words, 1);
        let few = Templates::new(&words[..11], 1);
        assert_eq!((all.words, few.words), (30, 11));
        assert_eq!((all.beginnings.len(), few.beginnings.len()), (7, 3));
        assert_eq!(all.beginnings[..3], few.beginnings);
        assert_ne!(all.ends[..3], few.ends);
        assert_eq!(Templates::new(&words[19..], 1).ends, all.ends[..3]);
    }

    proptest! {
        #[test]
        fn any_text_has_the_same_words(text in "[ \\t\\n\\PC]*", ascii in "[ -~\\n]*") {
            check(&text);
            check(&ascii);
        }
    }
}
