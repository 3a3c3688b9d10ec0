//! Counts of n-grams and of the answers they come with, in bounded memory.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Keys are hashes already.
#[derive(Debug, Default, Clone)]
pub(super) struct Ready(u64);

impl Hasher for Ready {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = super::super::mix(self.0, u64::from(*byte));
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

pub(super) type HashedMap<T> = HashMap<u64, T, BuildHasherDefault<Ready>>;

/// A hash by which a partner is known: half of one, because there are millions of them. That two are taken for one among
/// the partners of an n-gram has a chance of some billionths.
pub(super) type Key = u32;

/// The candidate for the majority of a stream (Boyer and Moore): its votes are a lower bound of how often it came.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Majority {
    pub(super) key: Key,
    pub(super) votes: u32,
}

impl Majority {
    fn vote(&mut self, key: Key) {
        if self.votes == 0 {
            *self = Self { key, votes: 1 };
        } else if self.key == key {
            self.votes = self.votes.saturating_add(1);
        } else {
            self.votes -= 1;
        }
    }
}

/// How many views on an answer are counted: the whole, its beginning, its end, that it refuses.
pub(super) const VIEWS: usize = 4;
/// How many views have a form, a text with blanks: the beginning and the end, which are the views 1 and 2.
pub(super) const FORMS: usize = 2;
/// The form of what copies nothing.
pub(super) const NO_FORM: Key = 0;
/// Which view tells that an answer refuses.
pub(super) const REFUSES: usize = 3;
/// What [`REFUSES`] sees of a refusal.
pub(super) const REFUSAL: Key = 1;

/// What is known of one n-gram, or of one answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<const KEYS: usize> {
    /// Rows in which it was seen since it is counted.
    pub(super) rows: u32,
    /// How many rows at most went uncounted before.
    pub(super) missed: u32,
    /// What it comes with: the answers of an n-gram, the question of an answer.
    pub(super) partners: [Majority; KEYS],
    /// How the questions begin that hold it.
    pub(super) openings: Majority,
}

impl<const KEYS: usize> Entry<KEYS> {
    fn new(missed: u32) -> Self {
        Self { rows: 0, missed, partners: [Majority::default(); KEYS], openings: Majority::default() }
    }

    /// How many rows it has at most.
    pub(super) fn most_rows(&self) -> u32 {
        self.rows.saturating_add(self.missed)
    }

    pub(super) fn observe(&mut self, partners: &[Key; KEYS], opening: Key) {
        self.rows = self.rows.saturating_add(1);
        for (majority, key) in self.partners.iter_mut().zip(partners) {
            majority.vote(*key);
        }
        self.openings.vote(opening);
    }
}

/// A table that keeps what is frequent (lossy counting): once it is full, the rarest entries go, and what comes later
/// carries how many rows it may have lost that way. From then on a key is let in when it comes for the second time only:
/// most n-grams never do.
#[derive(Debug, Clone)]
pub(super) struct Table<const KEYS: usize> {
    pub(super) entries: HashedMap<Entry<KEYS>>,
    limit: usize,
    pub(super) floor: u32,
    /// How many different n-grams came, counting those anew that had gone.
    pub(super) kinds: u64,
    door: Door,
}

/// Which keys came once, each a bit; forgets all of them when half of the bits are set.
#[derive(Debug, Clone, Default)]
struct Door {
    bits: Vec<u64>,
    set: usize,
    /// How many times it was opened, which is how many rows a key can lose before it.
    times: u32,
}

impl Door {
    fn open(&mut self, words: usize) {
        self.bits.clear();
        self.bits.resize(words, 0);
        self.set = 0;
        self.times = self.times.saturating_add(1);
    }

    /// Whether the key, or one that shares its bit, came before.
    fn knows(&mut self, key: u64) -> bool {
        // The table takes its places from the low bits.
        let bit = (key >> 20) as usize & (self.bits.len() * 64 - 1);
        let (word, mask) = (bit / 64, 1 << (bit % 64));
        if self.bits[word] & mask != 0 {
            return true;
        }
        self.bits[word] |= mask;
        self.set += 1;
        if self.set > self.bits.len() * 32 {
            self.open(self.bits.len());
        }
        false
    }
}

impl<const KEYS: usize> Table<KEYS> {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: HashedMap::default(), limit: limit.max(16), floor: 0, kinds: 0, door: Door::default() }
    }

    /// How many rows a key may have lost that is not in the table.
    pub(super) fn missed(&self) -> u32 {
        self.floor.saturating_add(self.door.times)
    }

    /// Counts a row of that key.
    pub(super) fn observe(&mut self, key: u64, partners: &[Key; KEYS], opening: Key) {
        if self.door.times > 0 {
            if let Some(entry) = self.entries.get_mut(&key) {
                entry.observe(partners, opening);
                return;
            }
            if !self.door.knows(key) {
                self.kinds += 1;
                return;
            }
        }
        if self.entries.len() >= self.limit && !self.entries.contains_key(&key) {
            self.thin_out();
        }
        let missed = self.missed();
        let kinds = &mut self.kinds;
        let entry = self.entries.entry(key).or_insert_with(|| {
            *kinds += 1;
            Entry::new(missed)
        });
        entry.observe(partners, opening);
    }

    /// Leaves at most half of the entries. Which ones go depends on their counts alone, so the result is the same on
    /// every machine.
    fn thin_out(&mut self) {
        let mut counts: Vec<u32> = self.entries.values().map(Entry::most_rows).collect();
        let middle = counts.len() / 2;
        let (_, median, _) = counts.select_nth_unstable(middle);
        self.floor = self.floor.max(*median);
        let floor = self.floor;
        self.entries.retain(|_, entry| entry.most_rows() > floor);
        if self.door.times == 0 {
            // Eight bits for each entry.
            self.door.open((self.limit / 8).next_power_of_two());
        }
    }
}

/// The natural logarithm of an upper bound (Chernoff) of the chance that `hits` or more of `rows` rows have a property
/// of the probability `chance`.
pub(super) fn log_chance(hits: f64, rows: f64, chance: f64) -> f64 {
    let share = hits / rows;
    if share <= chance || rows <= 0.0 {
        return 0.0;
    }
    let rest = if share < 1.0 { (1.0 - share) * ((1.0 - share) / (1.0 - chance)).ln() } else { 0.0 };
    -rows * (share * (share / chance).ln() + rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bound_is_that_of_the_binomial_tail() {
        // All of n: exactly chance^n.
        assert!((log_chance(5.0, 5.0, 0.1) - 5.0 * 0.1_f64.ln()).abs() < 1e-12);
        // 8 or more of 10 at 1/2 is 56/1024; the bound lies above it and below 1.
        let bound = log_chance(8.0, 10.0, 0.5).exp();
        assert!(bound > 56.0 / 1024.0 && bound < 0.2, "{bound}");
        assert_eq!(log_chance(1.0, 10.0, 0.5), 0.0);
    }

    #[test]
    fn a_full_table_keeps_what_is_frequent() {
        let mut table = Table::<VIEWS>::new(64);
        for row in 0..10_000_u64 {
            table.observe(super::super::super::mix(1, row), &[row as Key; VIEWS], row as Key);
            if row % 10 == 0 {
                table.observe(7, &[3; VIEWS], row as Key);
            }
            assert!(table.entries.len() <= 64);
        }
        let entry = table.entries[&7];
        assert!(entry.rows >= 900 && entry.rows + entry.missed >= 1000, "{entry:?}");
        assert_eq!(entry.partners[0].key, 3);
    }
}
