//! Which runs of words occur more than once, for rising lengths of the run.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hasher, RandomState},
};

use super::text_facts::fold;

/// Class of a run of words that occurs once only.
const ALONE: u32 = u32::MAX;

/// The runs of `n` words of a text, for `n` from 1 upwards.
///
/// A run can occur twice only if the run without its last word does, so each length needs a look at those places only
/// where the length before had a repetition: in ordinary prose hardly any are left after four words. Runs are compared
/// by pairs of class numbers, never by a hash alone, so the counts are exact.
#[derive(Debug)]
pub(crate) struct Ngrams {
    /// Class of the word at each place; never [`ALONE`].
    words: Vec<u32>,
    /// Characters before each place, and one entry for the end.
    before: Vec<usize>,
    /// Class of the run that starts at each place, or [`ALONE`].
    runs: Vec<u32>,
    /// Occurrences of each class of `runs`.
    counts: Vec<u32>,
    n: usize,
    pairs: Pairs,
}

/// Hashes pairs of class numbers: several times as fast as the standard library's way for a number of 64 bits. The seed
/// differs in every run, so that no text can be made to collide; what is counted does not depend on it.
#[derive(Debug, Clone, Copy)]
struct Pairs {
    seed: u64,
}

impl BuildHasher for Pairs {
    type Hasher = PairHasher;

    fn build_hasher(&self) -> PairHasher {
        PairHasher(self.seed)
    }
}

struct PairHasher(u64);

impl Hasher for PairHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(u64::from(byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = fold(self.0 ^ number, 0x9E37_79B9_7F4A_7C15);
    }
}

impl Ngrams {
    /// Runs of one word. Words beyond the first `u32::MAX - 1` are left out.
    pub(crate) fn new<'a>(texts: impl Iterator<Item = &'a str>) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut words = Vec::new();
        let mut before = vec![0];
        let mut counts: Vec<u32> = Vec::new();
        let mut characters = 0;
        for text in texts.take(ALONE as usize - 1) {
            let next = counts.len() as u32;
            let class = *known.entry(text).or_insert(next);
            if class == next {
                counts.push(0);
            }
            counts[class as usize] += 1;
            words.push(class);
            characters += if text.is_ascii() { text.len() } else { text.chars().count() };
            before.push(characters);
        }
        let runs = words.iter().map(|&class| if counts[class as usize] > 1 { class } else { ALONE }).collect();
        Self { words, before, runs, counts, n: 1, pairs: Pairs { seed: RandomState::new().hash_one(0) } }
    }

    /// Words in one run.
    pub(crate) fn n(&self) -> usize {
        self.n
    }

    /// Class of each word: equal words have equal classes.
    pub(crate) fn words(&self) -> &[u32] {
        &self.words
    }

    /// Characters of all words together.
    pub(crate) fn characters(&self) -> usize {
        self.before.last().copied().unwrap_or_default()
    }

    /// Number of runs.
    pub(crate) fn len(&self) -> usize {
        self.runs.len()
    }

    /// Goes on to runs of one more word.
    pub(crate) fn grow(&mut self) {
        self.n += 1;
        let places = (self.words.len() + 1).saturating_sub(self.n);
        let mut known: HashMap<u64, u32, Pairs> = HashMap::with_hasher(self.pairs);
        let mut counts: Vec<u32> = Vec::new();
        for at in 0..places {
            if self.runs[at] == ALONE || self.runs[at + 1] == ALONE {
                self.runs[at] = ALONE;
                continue;
            }
            let key = (u64::from(self.runs[at]) << 32) | u64::from(self.words[at + self.n - 1]);
            let next = counts.len() as u32;
            let class = *known.entry(key).or_insert(next);
            if class == next {
                counts.push(0);
            }
            counts[class as usize] += 1;
            self.runs[at] = class;
        }
        self.runs.truncate(places);
        for run in &mut self.runs {
            if *run != ALONE && counts[*run as usize] == 1 {
                *run = ALONE;
            }
        }
        self.counts = counts;
    }

    /// Characters of the words of the run at a place.
    fn size(&self, at: usize) -> usize {
        self.before[at + self.n] - self.before[at]
    }

    /// Occurrences of the run that occurs most often, and the characters of its words; of equals the first in the text.
    pub(crate) fn top(&self) -> Option<(usize, usize)> {
        let mut best: Option<(usize, usize)> = None;
        for (at, &run) in self.runs.iter().enumerate() {
            let count = if run == ALONE { 1 } else { self.counts[run as usize] as usize };
            if best.is_none_or(|(most, _)| count > most) {
                best = Some((count, self.size(at)));
            }
        }
        best
    }

    /// Characters in runs that were there before, reading on behind each one found.
    pub(crate) fn repeated_characters(&self) -> usize {
        let mut seen = vec![false; self.counts.len()];
        let (mut characters, mut at) = (0, 0);
        while at < self.runs.len() {
            let run = self.runs[at];
            if run != ALONE && std::mem::replace(&mut seen[run as usize], true) {
                characters += self.size(at);
                at += self.n;
            } else {
                at += 1;
            }
        }
        characters
    }

    /// Characters of all runs that occur more than once, and of all runs; overlapping runs count each.
    pub(crate) fn shared_characters(&self) -> (usize, usize) {
        let mut shared = 0;
        let mut all = 0;
        for (at, &run) in self.runs.iter().enumerate() {
            let size = self.size(at);
            all += size;
            if run != ALONE {
                shared += size;
            }
        }
        (shared, all)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against counting every run as a list of words.
        #[test]
        fn counts_are_those_of_plain_counting(words in proptest::collection::vec("[abc]{1,2}", 0..60)) {
            let mut ngrams = Ngrams::new(words.iter().map(String::as_str));
            for n in 1..=6 {
                let runs: Vec<&[String]> = words.windows(n).collect();
                let size = |run: &[String]| run.iter().map(String::len).sum::<usize>();
                let mut counts: HashMap<&[String], usize> = HashMap::new();
                for &run in &runs {
                    *counts.entry(run).or_default() += 1;
                }
                let most = counts.values().copied().max();
                let top = runs.iter().find(|&&run| Some(counts[run]) == most).map(|&run| (counts[run], size(run)));
                prop_assert_eq!(ngrams.top(), top);
                let (mut seen, mut at, mut repeated) = (HashSet::new(), 0, 0);
                while at < runs.len() {
                    if seen.insert(runs[at]) { at += 1 } else { repeated += size(runs[at]); at += n }
                }
                prop_assert_eq!(ngrams.repeated_characters(), repeated);
                let shared: usize = runs.iter().filter(|&&run| counts[run] > 1).map(|&run| size(run)).sum();
                let all: usize = runs.iter().map(|&run| size(run)).sum();
                prop_assert_eq!(ngrams.shared_characters(), (shared, all));
                prop_assert_eq!((ngrams.len(), ngrams.n()), (runs.len(), n));
                ngrams.grow();
            }
        }
    }
}
