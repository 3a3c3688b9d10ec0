//! Texts that are nearly equal and do not say the same.
//!
//! Characters do not tell "20.04" from "22.04", so before a text goes its words are compared with those of the text that
//! stays. Always kept apart are texts with different numbers (also in words), units, signs of calculation, or a different
//! count of negations; with a word in the place of its opposite; with names (words with a capital letter where no
//! sentence begins) that are different or stand in a different order; and with one word put for another all over.
//!
//! A short text, such as a question, has no word to spare. There the words that differ must be function words (articles,
//! prepositions, "can you", "please"), endings ("train", "training") or a letter dropped, doubled or swapped in a long word;
//! what is left must stand in the same order and in the same tense. A long text may differ in other words.

mod tokens;
mod words;

use std::collections::HashSet;
use std::fmt;

use tokens::Token;
use words::{OPPOSITES, Role, Tense};

use super::hash;

/// Words of the shorter text up to which no word may differ that has a meaning of its own.
const SHORT: usize = 32;
/// Characters of a word that are shown.
const SHOWN: usize = 40;
/// Differing words of which spellings are compared.
const SPELLED: usize = 8;

/// Which differences keep nearly equal texts apart; by default all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// Numbers: "20.04" and "22.04", "two" and "three". Order does not matter here.
    pub numbers: bool,
    /// Units, and signs that calculate or compare: "kg" and "lb", "<" and ">".
    pub units: bool,
    /// Negations: one text has more of them.
    pub negations: bool,
    /// Names: "France" and "Spain", or "from France to Spain" and "from Spain to France".
    pub names: bool,
    /// Opposites: "first" and "last", "increase" and "decrease".
    pub opposites: bool,
    /// In short texts every word with a meaning of its own, their order, and the tense; in long ones a word that another
    /// one stands for everywhere.
    pub wording: bool,
}

impl Default for Guard {
    fn default() -> Self {
        Self { numbers: true, units: true, negations: true, names: true, opposites: true, wording: true }
    }
}

/// What kind of difference it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A number.
    Number,
    /// A unit.
    Unit,
    /// A sign that calculates or compares.
    Sign,
    /// A negation.
    Negation,
    /// A word and its opposite.
    Opposite,
    /// A name.
    Name,
    /// Past, present, future.
    Tense,
    /// Another word with a meaning of its own.
    Word,
    /// The same words in a different order.
    Order,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Number => "number",
            Self::Unit => "unit",
            Self::Sign => "sign",
            Self::Negation => "negation",
            Self::Opposite => "opposite",
            Self::Name => "name",
            Self::Tense => "tense",
            Self::Word => "word",
            Self::Order => "order",
        })
    }
}

/// A difference that keeps two texts apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What kind it is.
    pub kind: Kind,
    /// What stands in the one text; empty if nothing.
    pub here: String,
    /// What stands in the other one; empty if nothing.
    pub there: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.here.as_str(), self.there.as_str()) {
            ("", "") => write!(f, "{}", self.kind),
            ("", only) | (only, "") => write!(f, "{} `{only}`", self.kind),
            (here, there) => write!(f, "{} `{here}`, `{there}`", self.kind),
        }
    }
}

impl Guard {
    /// A guard that sees no difference.
    pub fn off() -> Self {
        Self { numbers: false, units: false, negations: false, names: false, opposites: false, wording: false }
    }

    /// The first difference that keeps two texts apart, if there is one. Not meant for texts that are equal but for case.
    pub fn difference(&self, here: &str, there: &str) -> Option<Difference> {
        if *self == Self::off() {
            return None;
        }
        let (here, there) = (tokens::composed(here), tokens::composed(there));
        let (here, there) = (Profile::new(&here), Profile::new(&there));
        let watched = [
            (self.numbers, Kind::Number, &here.numbers, &there.numbers),
            (self.units, Kind::Unit, &here.units, &there.units),
            (self.units, Kind::Sign, &here.signs, &there.signs),
        ];
        for (is_on, kind, ours, theirs) in watched {
            if is_on && let Some(difference) = compared(kind, ours, theirs) {
                return Some(difference);
            }
        }
        if self.negations && here.negations.len() != there.negations.len() {
            let last = |profile: &Profile<'_>| shown(profile.negations.last().copied().unwrap_or_default());
            return Some(Difference { kind: Kind::Negation, here: last(&here), there: last(&there) });
        }
        self.words(&here, &there)
    }

    /// A number that is equal for two texts unless they differ in numbers, units, signs or negations.
    pub(crate) fn key(&self, text: &str, buffer: &mut String) -> u32 {
        if !self.numbers && !self.units && !self.negations {
            return 0;
        }
        // A sum, so that the order does not matter.
        let mut sum = 0_u64;
        let text = tokens::composed(text);
        read(&text, buffer, |piece| {
            let (is_on, name) = match piece {
                Piece::Number(value, _) => (self.numbers, value ^ 1),
                Piece::Unit(value, _) => (self.units, value ^ 2),
                Piece::Sign(sign) => (self.units, u64::from(u32::from(sign)) << 8 | 3),
                Piece::Negation(_) => (self.negations, 4),
                Piece::Word(_) => return,
            };
            if is_on {
                sum = sum.wrapping_add(hash::mix(name));
            }
        });
        (hash::mix(sum) >> 32) as u32
    }

    fn words(&self, here: &Profile<'_>, there: &Profile<'_>) -> Option<Difference> {
        if !self.names && !self.opposites && !self.wording {
            return None;
        }
        let (mut ours, mut theirs) = apart(&here.words, &there.words);
        let is_short = here.count.min(there.count) <= SHORT;
        if self.opposites
            && let Some(difference) = opposite(&ours, &theirs)
        {
            return Some(difference);
        }
        if self.wording && is_short {
            for tense in [Tense::Past, Tense::Future] {
                let has = |profile: &Profile<'_>| profile.words.iter().any(|word| word.tense == Some(tense));
                if has(here) != has(there) {
                    return Some(Difference { kind: Kind::Tense, here: String::new(), there: String::new() });
                }
            }
        }
        ours.retain(|word| !word.is_function);
        theirs.retain(|word| !word.is_function);
        let changed: HashSet<u64> = ours.iter().chain(&theirs).map(|word| word.stem).collect();
        drop_spellings(&mut ours, &mut theirs);
        let first = |words: &[&Word<'_>]| shown(words.first().map_or("", |word| word.text));
        if self.names && ours.iter().chain(&theirs).any(|word| word.is_name) {
            ours.sort_by_key(|word| !word.is_name);
            theirs.sort_by_key(|word| !word.is_name);
            return Some(Difference { kind: Kind::Name, here: first(&ours), there: first(&theirs) });
        }
        if self.wording {
            if is_short && !(ours.is_empty() && theirs.is_empty()) {
                return Some(Difference { kind: Kind::Word, here: first(&ours), there: first(&theirs) });
            }
            if let (Some(one), Some(other)) = (everywhere(&ours, &there.words), everywhere(&theirs, &here.words)) {
                return Some(Difference { kind: Kind::Word, here: shown(one), there: shown(other) });
            }
        }
        let counts = |word: &&Word<'_>| {
            let is_watched =
                if is_short { self.wording || self.names && word.is_name } else { self.names && word.is_name };
            is_watched && !word.is_function && !changed.contains(&word.stem)
        };
        let in_order = here.words.iter().filter(counts).map(|word| word.stem);
        if in_order.eq(there.words.iter().filter(counts).map(|word| word.stem)) {
            return None;
        }
        // A word may be written as a name here and not there, and that alone is no other order.
        let written = |profile: &Profile<'_>| -> HashSet<u64> {
            profile.words.iter().filter(|word| word.is_name).map(|word| word.stem).collect()
        };
        if !is_short && written(here) != written(there) {
            return None;
        }
        Some(Difference { kind: Kind::Order, here: String::new(), there: String::new() })
    }
}

/// A word.
#[derive(Debug, Clone, Copy)]
struct Word<'a> {
    stem: u64,
    text: &'a str,
    is_name: bool,
    is_function: bool,
    tense: Option<Tense>,
}

/// A token, by its meaning.
enum Piece<'a> {
    Number(u64, &'a str),
    Unit(u64, &'a str),
    Sign(char),
    Negation(&'a str),
    Word(Word<'a>),
}

/// A text in parts.
#[derive(Debug, Default)]
struct Profile<'a> {
    /// Values in ascending order, with what stands in the text.
    numbers: Vec<(u64, &'a str)>,
    units: Vec<(u64, &'a str)>,
    signs: Vec<(u64, &'a str)>,
    negations: Vec<&'a str>,
    /// In the order of the text. Numbers and units are here as well, for the order.
    words: Vec<Word<'a>>,
    /// Words and numbers of all kinds.
    count: usize,
}

impl<'a> Profile<'a> {
    fn new(text: &'a str) -> Self {
        let (mut profile, mut buffer) = (Self::default(), String::new());
        let before_numbers = ["$", "€", "£", "%"].map(name);
        read(text, &mut buffer, |piece| {
            let in_order = |stem, text| Word { stem, text, is_name: false, is_function: false, tense: None };
            match piece {
                Piece::Number(value, text) => {
                    profile.numbers.push((value, text));
                    profile.words.push(in_order(value ^ 1, text));
                }
                Piece::Unit(value, text) => {
                    profile.units.push((value, text));
                    // "$5" is "5 dollars".
                    if !before_numbers.contains(&value) {
                        profile.words.push(in_order(value ^ 2, text));
                    }
                }
                Piece::Sign(sign) => profile.signs.push((u64::from(u32::from(sign)), "")),
                Piece::Negation(text) => {
                    profile.negations.push(text);
                    return;
                }
                Piece::Word(word) => profile.words.push(word),
            }
            profile.count += 1;
        });
        profile.numbers.sort_unstable();
        profile.units.sort_unstable();
        profile.signs.sort_unstable();
        profile
    }
}

/// Calls `take` for every piece of a composed text.
fn read<'a>(text: &'a str, lower: &mut String, mut take: impl FnMut(Piece<'a>)) {
    tokens::tokens(text, |token| match token {
        Token::Number(text) => take(Piece::Number(number(text), text)),
        Token::Sign(sign) => match sign {
            '$' => take(Piece::Unit(name("$"), "$")),
            '€' => take(Piece::Unit(name("€"), "€")),
            '£' => take(Piece::Unit(name("£"), "£")),
            '%' => take(Piece::Unit(name("%"), "%")),
            sign => take(Piece::Sign(sign)),
        },
        Token::Word { text, initial, after_number } => {
            lower_case(text, lower);
            word(text, lower, initial, after_number, &mut take);
        }
        Token::Question | Token::End => {}
    });
}

fn word<'a>(text: &'a str, lower: &str, initial: bool, after_number: bool, take: &mut impl FnMut(Piece<'a>)) {
    // "What's" is "what is", and "the dog's" belongs to the dog.
    let (base, is_short_form) = match lower.strip_suffix("'s").or_else(|| lower.strip_suffix("'re")) {
        Some(base) if words::role(lower).is_none() && !base.is_empty() => (base, true),
        _ => (lower, false),
    };
    let function = |tense| Piece::Word(Word { stem: stem(base), text, is_name: false, is_function: true, tense });
    match words::role(base) {
        Some(Role::Number(digits)) => take(Piece::Number(number(digits), text)),
        Some(Role::Unit(unit)) => take(Piece::Unit(name(unit), text)),
        Some(Role::Negation) => {
            take(Piece::Negation(text));
            take(function(words::tense(base)));
        }
        Some(Role::Verb(tense)) => take(function(Some(tense))),
        Some(Role::Function) => take(function(is_short_form.then_some(Tense::Present))),
        None if after_number && lower.len() <= 2 => take(Piece::Unit(name(lower), text)),
        None => {
            let capital = |c: char| c.is_uppercase();
            let mut chars = text.chars();
            let is_name = chars.next().is_some_and(|first| !initial && capital(first)) || chars.any(capital);
            take(Piece::Word(Word { stem: stem(base), text, is_name, is_function: false, tense: None }));
        }
    }
}

fn lower_case(text: &str, into: &mut String) {
    into.clear();
    if text.is_ascii() {
        into.push_str(text);
        into.make_ascii_lowercase();
    } else {
        let seen = text.chars().filter(|&c| !super::normal::is_invisible(c));
        into.extend(seen.map(tokens::narrow).flat_map(char::to_lowercase));
    }
}

fn name(text: &str) -> u64 {
    hash::bytes(text.as_bytes(), 5)
}

/// A number by its digits: commas that part thousands are left out.
fn number(text: &str) -> u64 {
    let narrowed: String = text.chars().map(tokens::narrow).collect();
    let whole = narrowed.split('.').next().unwrap_or_default();
    let mut groups = whole.split(',');
    let first = groups.next().unwrap_or_default();
    let parts_thousands = whole.contains(',')
        && (1..=3).contains(&first.trim_start_matches('-').len())
        && groups.all(|group| group.len() == 3);
    if parts_thousands { name(&narrowed.replace(',', "")) } else { name(&narrowed) }
}

/// What endings leave of a word in lower case.
fn stem(word: &str) -> u64 {
    if !word.is_ascii() || word.len() < 3 {
        return name(word);
    }
    let is_vowel = |byte: u8| matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u' | b'y');
    let mut stem = word.strip_suffix("'s").unwrap_or(word);
    if let Some(head) = stem.strip_suffix('s').filter(|head| !head.ends_with(['s', 'u', 'i']) && head.len() >= 3) {
        stem = head;
    }
    let verb = stem.strip_suffix("ing").or_else(|| stem.strip_suffix("ed"));
    if let Some(head) = verb.filter(|head| head.len() >= 3 && head.bytes().any(is_vowel) && !head.ends_with('e')) {
        stem = head;
        // "stopping" is "stop", but "calling" is "call".
        if let [.., before, last] = stem.as_bytes()
            && before == last
            && !matches!(last, b'l' | b's' | b'z')
            && !is_vowel(*last)
        {
            stem = &stem[..stem.len() - 1];
        }
    } else if let Some(head) = stem.strip_suffix('e').filter(|head| head.len() >= 3) {
        stem = head;
    }
    // "try" and "tries", "movie" and "movies".
    match stem.strip_suffix(['y', 'i']).filter(|head| head.len() >= 2) {
        Some(head) => name(head) ^ 1,
        None => name(stem),
    }
}

/// The first value that one list has more often than the other; both are in ascending order.
fn compared(kind: Kind, ours: &[(u64, &str)], theirs: &[(u64, &str)]) -> Option<Difference> {
    let (mut a, mut b) = (0, 0);
    let (mut here, mut there) = (None, None);
    while a < ours.len() || b < theirs.len() {
        match (ours.get(a), theirs.get(b)) {
            (Some(left), Some(right)) if left.0 == right.0 => (a, b) = (a + 1, b + 1),
            (Some(left), right) if right.is_none_or(|right| left.0 < right.0) => {
                here = here.or(Some(left));
                a += 1;
            }
            (_, right) => {
                there = there.or(right);
                b += 1;
            }
        }
    }
    if here.is_none() && there.is_none() {
        return None;
    }
    let written = |entry: Option<&(u64, &str)>| match entry {
        Some(&(sign, "")) => u32::try_from(sign).ok().and_then(char::from_u32).map(String::from).unwrap_or_default(),
        Some((_, text)) => shown(text),
        None => String::new(),
    };
    Some(Difference { kind, here: written(here), there: written(there) })
}

/// The words that one side has more often than the other, in the order of their stems.
fn apart<'p, 'a>(ours: &'p [Word<'a>], theirs: &'p [Word<'a>]) -> (Vec<&'p Word<'a>>, Vec<&'p Word<'a>>) {
    let sorted = |words: &'p [Word<'a>]| {
        let mut words: Vec<&Word<'_>> = words.iter().collect();
        words.sort_by_key(|word| word.stem);
        words
    };
    let (ours, theirs) = (sorted(ours), sorted(theirs));
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let (mut a, mut b) = (0, 0);
    while a < ours.len() || b < theirs.len() {
        match (ours.get(a), theirs.get(b)) {
            (Some(one), Some(other)) if one.stem == other.stem => (a, b) = (a + 1, b + 1),
            (Some(one), other) if other.is_none_or(|other| one.stem < other.stem) => {
                left.push(*one);
                a += 1;
            }
            (_, other) => {
                right.extend(other);
                b += 1;
            }
        }
    }
    (left, right)
}

fn opposite(ours: &[&Word<'_>], theirs: &[&Word<'_>]) -> Option<Difference> {
    ours.iter().find_map(|one| {
        let stems = OPPOSITES.get(&one.stem)?;
        // In the order of their stems, so a word is found by halving.
        let other = stems.iter().find_map(|stem| theirs.binary_search_by_key(stem, |word| word.stem).ok())?;
        Some(Difference { kind: Kind::Opposite, here: shown(one.text), there: shown(theirs[other].text) })
    })
}

/// Drops pairs of words that are two spellings of one.
fn drop_spellings(ours: &mut Vec<&Word<'_>>, theirs: &mut Vec<&Word<'_>>) {
    if ours.len() > SPELLED || theirs.len() > SPELLED {
        return;
    }
    ours.retain(|one| {
        let like = theirs.iter().position(|other| is_other_spelling(one.text, other.text));
        if let Some(at) = like {
            theirs.remove(at);
        }
        like.is_none()
    });
}

/// Whether a letter inside a long word was dropped, added, or swapped with the next one, or an s is a z. Another letter in
/// the place of one makes another word: sulfate, sulfite.
fn is_other_spelling(one: &str, other: &str) -> bool {
    let lower = |word: &str| -> Vec<char> { word.chars().flat_map(char::to_lowercase).take(SHOWN).collect() };
    let (one, other) = (lower(one), lower(other));
    if one.len().min(other.len()) < 6 || one.len().max(other.len()) < 7 || one[0] != other[0] {
        return false;
    }
    let head = one.iter().zip(&other).take_while(|(left, right)| left == right).count();
    let tail = one.iter().rev().zip(other.iter().rev()).take_while(|(left, right)| left == right).count();
    let (left, right) = (one.len().saturating_sub(tail), other.len().saturating_sub(tail));
    if one.len() != other.len() {
        return one.len().abs_diff(other.len()) == 1 && head + tail >= one.len().min(other.len()) && tail > 0;
    }
    match (&one[head.min(left)..left], &other[head.min(right)..right]) {
        ([a], [b]) => matches!((a, b), ('s', 'z') | ('z', 's')),
        ([a, b], [c, d]) => a == d && b == c,
        _ => false,
    }
}

/// A word that stands at least twice on one side and nowhere in `others`.
fn everywhere<'a>(words: &[&Word<'a>], others: &[Word<'_>]) -> Option<&'a str> {
    let mut repeated = words.chunk_by(|left, right| left.stem == right.stem).filter(|same| same.len() > 1).peekable();
    repeated.peek()?;
    let known: HashSet<u64> = others.iter().map(|word| word.stem).collect();
    repeated.find(|same| !known.contains(&same[0].stem)).map(|same| same[0].text)
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn kind(here: &str, there: &str) -> Option<Kind> {
        let guard = Guard::default();
        let found = guard.difference(here, there).map(|difference| difference.kind);
        let back = guard.difference(there, here).map(|difference| difference.kind);
        assert_eq!(found, back, "{here} / {there}");
        let mut buffer = String::new();
        let keys_differ = guard.key(here, &mut buffer) != guard.key(there, &mut buffer);
        let by_key = matches!(found, Some(Kind::Number | Kind::Unit | Kind::Sign | Kind::Negation));
        assert_eq!(keys_differ, by_key, "{here} / {there}: {found:?}");
        found
    }

    #[test]
    fn what_says_the_same_is_merged() {
        let pairs = [
            ("What year was the Eiffel Tower built?", "In what year was the Eiffel Tower built?"),
            (
                "How does LoRA reduce the number of trainable parameters during fine-tuning?",
                "How does LoRA reduce the number of trainable parameters in fine-tuning?",
            ),
            ("What's the capital of France?", "What is the capital of france"),
            ("How do I install Rust?", "How can I install Rust?"),
            ("Please explain how a transformer works.", "Explain how transformers work"),
            ("Why doesn't the sky fall?", "Why does the sky not fall?"),
            ("It costs $1,000 for 5 kilograms", "It costs 1000 dollars for 5 kg"),
            ("Give me two examples of metaphors", "Give me 2 examples of a metaphor"),
            ("How do I organise my recipes?", "How do I organize my recipes?"),
            ("What is the temperture of the sun?", "What is the temperature of the sun?"),
            ("Can you tell the difference bewteen them?", "Can you tell the difference between them?"),
            ("Don’t panic", "Don't panic!"),
            ("café au lait", "cafe\u{301} au lait"),
        ];
        for (here, there) in pairs {
            assert_eq!(Guard::default().difference(here, there), None, "{here} / {there}");
        }
    }

    #[test]
    fn what_asks_something_else_is_kept() {
        let pairs = [
            ("Install Rust on Ubuntu 20.04?", "Install Rust on Ubuntu 22.04?", Kind::Number),
            ("List three fruits", "List four fruits", Kind::Number),
            ("Is 5 > 3?", "Is 5 < 3?", Kind::Sign),
            ("What is the capital of France?", "What is the capital of Spain?", Kind::Name),
            ("what is the capital of france?", "what is the capital of spain?", Kind::Word),
            ("Convert 5 kg to grams", "Convert 5 lb to grams", Kind::Unit),
            ("It weighs 5 g", "It weighs 5 t", Kind::Unit),
            ("Name a mammal that can fly", "Name a mammal that cannot fly", Kind::Negation),
            ("Why should I do it?", "Why shouldn't I do it?", Kind::Negation),
            ("Coffee with sugar", "Coffee without sugar", Kind::Negation),
            ("Warum ist das wichtig?", "Warum ist das nicht wichtig?", Kind::Negation),
            ("Find the first element", "Find the last element", Kind::Opposite),
            ("How to increase the rate", "How to decrease the rate", Kind::Opposite),
            ("Go from Rome to Oslo", "Go from Oslo to Rome", Kind::Order),
            ("Is 5 kg more than 3 lb?", "Is 5 lb more than 3 kg?", Kind::Order),
            ("Translate English to French", "Translate French to English", Kind::Order),
            ("Who is the president?", "Who was the president?", Kind::Tense),
            ("Who wrote this book?", "When did he write this book?", Kind::Word),
            ("Uses of sulfate in industry", "Uses of sulfite in industry", Kind::Word),
            ("How many cats are there", "How much cats are there", Kind::Word),
        ];
        for (here, there, expected) in pairs {
            let found = kind(here, there);
            assert!(found.is_some(), "{here} / {there}");
            if !matches!(expected, Kind::Word) {
                assert_eq!(found, Some(expected), "{here} / {there}");
            }
        }
    }

    fn long(middle: &str) -> String {
        let words =
            "the quick summary of a report about rivers and lakes that somebody wrote long ago for a paper in town";
        format!("{words} {words} {middle} {words}")
    }

    #[test]
    fn long_texts_may_differ_in_some_words() {
        assert_eq!(kind(&long("with much love"), &long("with great care and love")), None);
        assert_eq!(kind(&long("near Berlin"), &long("near Vienna")), Some(Kind::Name));
        assert_eq!(kind(&long("it may increase"), &long("it may decrease")), Some(Kind::Opposite));
        assert_eq!(kind(&long("it works"), &long("it never works")), Some(Kind::Negation));
        assert_eq!(kind(&long("apples and apples"), &long("pears and pears")), Some(Kind::Word));
        assert_eq!(kind(&long("from Rome to Oslo"), &long("from Oslo to Rome")), Some(Kind::Order));
    }

    #[test]
    fn switches_switch() {
        let differences = [
            (Guard { numbers: true, ..Guard::off() }, "a 1", "a 2"),
            (Guard { units: true, ..Guard::off() }, "some kg", "some lb"),
            (Guard { negations: true, ..Guard::off() }, "do", "do not"),
            (Guard { names: true, ..Guard::off() }, "in Rome", "in Oslo"),
            (Guard { opposites: true, ..Guard::off() }, "go up", "go down"),
            (Guard { wording: true, ..Guard::off() }, "a cat", "a dog"),
        ];
        for (index, (guard, here, there)) in differences.iter().enumerate() {
            assert!(guard.difference(here, there).is_some(), "{here}");
            for (_, here, there) in differences.iter().take(index).filter(|_| !guard.wording) {
                assert_eq!(guard.difference(here, there), None, "{guard:?} {here}");
            }
            assert_eq!(Guard::off().difference(here, there), None);
        }
    }

    #[test]
    fn numbers_have_one_form() {
        for (one, other) in [("1,000", "1000"), ("12,345,678.90", "12345678.90"), ("３５", "35"), ("-1,000", "-1000")]
        {
            assert_eq!(number(one), number(other), "{one}");
        }
        for (one, other) in [("1,5", "15"), ("3.1", "3.10"), ("1:30", "1.30"), ("-5", "5"), ("1,2,3", "123")] {
            assert_ne!(number(one), number(other), "{one}");
        }
    }

    #[test]
    fn endings_are_no_difference() {
        for words in [
            &["train", "trains", "trained", "training"][..],
            &["stop", "stopping", "stopped"],
            &["try", "tries", "tried", "trying"],
            &["make", "makes", "making"],
            &["call", "calling"],
        ] {
            for word in words {
                assert_eq!(stem(words[0]), stem(word), "{word}");
            }
        }
        for (one, other) in
            [("string", "str"), ("king", "k"), ("this", "thi"), ("high", "higher"), ("red", "r"), ("sing", "s")]
        {
            assert_ne!(stem(one), stem(other), "{one}");
        }
    }

    proptest! {
        #[test]
        fn any_texts_are_compared(here in ".*", there in ".*") {
            kind(&here, &there);
            prop_assert_eq!(Guard::default().difference(&here, &here), None);
        }

        #[test]
        fn words_in_any_mixture(here in "([a-zA-Z]{1,3}|not|two|2|kg|\\$|up|down|is|was| |'s|n't|\\?){0,60}", there in "([a-zA-Z]{1,3}|not|two|2|kg|\\$|up|down|is|was| |'s|n't|\\?){0,60}") {
            kind(&here, &there);
        }
    }
}
