//! Rows of crowded buckets: an index that misses nothing, for texts from one template.
//!
//! Where a long template is shared, sketches collide although the rows are not alike enough, and comparing every row with
//! every other would take quadratic time. Instead the shingles of all crowded rows are ordered from rare to frequent.
//! Two sets of similarity at least t must share a shingle among the first n - ceil(t n) + 1 of their own n: the
//! *prefix*. The prefixes of kept rows are indexed, and a row is compared with those that share enough of it. Prefixes
//! hold what is rare, so the rows of a template meet only where they have more in common than the template.
//!
//! How much is enough: of two sets with a and b shingles and prefixes of p and q, take the one whose prefix ends first in the
//! order. What it shares within its prefix lies in the other prefix too, so with c common to both prefixes no more than
//! c + max(a - p, b - q) are common to both sets, and t (a + b) / (1 + t) have to be.
//!
//! # Source
//! S. Chaudhuri, V. Ganti, R. Kaushik: A Primitive Operator for Similarity Joins in Data Cleaning, ICDE 2006 (the
//! prefix); R. Bayardo, Y. Ma, R. Srikant: Scaling Up All Pairs Similarity Search, WWW 2007 (the index).

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU32, Ordering};

use super::chains::NONE;
use super::hash;

/// Index entries that are looked at for one row, from the rarest shingle on. What this gives up is counted.
const LOOKED_AT: usize = 8_192;
/// Rows that one row is compared with at most, those with the most rare shingles in common.
const COMPARED: usize = 64;
/// Entries of the index at most: eight bytes each.
const ENTRIES: usize = 1 << 24;
/// Counters of shingles: 16 MiB.
const COUNTERS: usize = 1 << 22;

/// How often shingles occur, roughly; any order makes a correct prefix, this one makes a short search.
pub(crate) struct Rarity {
    counters: Vec<AtomicU32>,
}

impl Rarity {
    pub(crate) fn new() -> Self {
        Self { counters: (0..COUNTERS).map(|_| AtomicU32::new(0)).collect() }
    }

    /// Counts a set; sums do not depend on the order.
    pub(crate) fn count(&self, set: &[u64]) {
        for &name in set {
            self.counters[name as usize % COUNTERS].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The prefix of `set`, rarest first.
    pub(crate) fn prefix(&self, set: &[u64], threshold: f64, ordered: &mut Vec<(u32, u64)>) {
        ordered.clear();
        ordered.extend(set.iter().map(|&name| (self.counters[name as usize % COUNTERS].load(Ordering::Relaxed), name)));
        let length = prefix_length(set.len(), threshold);
        if length < ordered.len() {
            ordered.select_nth_unstable(length);
            ordered.truncate(length);
        }
        ordered.sort_unstable();
    }
}

/// How many of `size` shingles, in any fixed order, cannot all be missing from a set of that similarity.
fn prefix_length(size: usize, threshold: f64) -> usize {
    // Rounded down a little more, so that an error of the product never shortens a prefix.
    let needed = (threshold * size as f64 - 1e-6).ceil().max(1.0) as usize;
    (size + 1).saturating_sub(needed).min(size)
}

/// Spread keys need no second hash.
#[derive(Default)]
struct Spread(u64);

impl Hasher for Spread {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        self.0 = hash::bytes(bytes, self.0);
    }

    fn write_u32(&mut self, value: u32) {
        self.0 = hash::mix(u64::from(value));
    }
}

/// The prefix of a row, as keys, and the size of its whole set.
#[derive(Debug, Default, Clone)]
pub(crate) struct Prefix {
    pub(crate) keys: Vec<u32>,
    pub(crate) size: usize,
}

/// The prefixes of kept rows.
pub(crate) struct Crowd {
    threshold: f64,
    /// The kept rows, and the sizes of their sets.
    rows: Vec<(u32, u32)>,
    /// The newest entry of each key.
    heads: HashMap<u32, u32, BuildHasherDefault<Spread>>,
    /// A place in `rows`, and the entry before it with the same key.
    entries: Vec<(u32, u32)>,
    /// Rows that found no room.
    pub(crate) left_out: u64,
}

/// What a search in the index found.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Found {
    /// In ascending order.
    pub(crate) rows: Vec<u32>,
    /// Whether there was more than was looked at.
    pub(crate) cut_short: bool,
}

impl Crowd {
    pub(crate) fn new(threshold: f64) -> Self {
        Self { threshold, rows: Vec::new(), heads: HashMap::default(), entries: Vec::new(), left_out: 0 }
    }

    /// The keys under which a prefix is indexed, so that rows with different `guard` never meet.
    pub(crate) fn keys(prefix: &[(u32, u64)], guard: u32, keys: &mut Vec<u32>) {
        keys.clear();
        keys.extend(prefix.iter().map(|&(_, name)| (hash::mix(name ^ (u64::from(guard) << 16)) >> 32) as u32));
    }

    /// Adds a kept row, later than all before.
    pub(crate) fn add(&mut self, row: u32, prefix: &Prefix) {
        if self.entries.len() + prefix.keys.len() > ENTRIES {
            self.left_out += 1;
            return;
        }
        let place = self.rows.len() as u32;
        self.rows.push((row, u32::try_from(prefix.size).unwrap_or(u32::MAX)));
        for &key in &prefix.keys {
            let entry = self.entries.len() as u32;
            let before = self.heads.insert(key, entry).unwrap_or(NONE);
            self.entries.push((place, before));
        }
    }

    /// The kept rows from `from` on that share enough keys.
    pub(crate) fn search(&self, prefix: &Prefix, from: u32) -> Found {
        let first = self.rows.partition_point(|&(row, _)| row < from) as u32;
        let (mut met, mut left) = (Vec::new(), LOOKED_AT);
        let mut cut_short = self.left_out > 0;
        // Keys whose entries were not all looked at; they may be shared or not.
        let mut open_keys = 0;
        for key in &prefix.keys {
            let mut at = self.heads.get(key).copied().unwrap_or(NONE);
            while at != NONE {
                let (place, before) = self.entries[at as usize];
                if place < first {
                    break;
                }
                if left == 0 {
                    open_keys += 1;
                    break;
                }
                left -= 1;
                met.push(place);
                at = before;
            }
        }
        cut_short |= open_keys > 0;
        met.sort_unstable();
        let mut counted: Vec<(usize, u32)> = met
            .chunk_by(|left, right| left == right)
            .filter(|same| self.may_be_alike(prefix, same[0], same.len() + open_keys))
            .map(|same| (usize::MAX - same.len(), same[0]))
            .collect();
        if counted.len() > COMPARED {
            counted.sort_unstable();
            counted.truncate(COMPARED);
            cut_short = true;
        }
        let mut rows: Vec<u32> = counted.into_iter().map(|(_, place)| self.rows[place as usize].0).collect();
        rows.sort_unstable();
        Found { rows, cut_short }
    }

    /// Whether sets of these sizes can reach the threshold with so many shingles in both prefixes.
    fn may_be_alike(&self, prefix: &Prefix, place: u32, common: usize) -> bool {
        let (own, other) = (prefix.size, self.rows[place as usize].1 as usize);
        let behind = |size: usize| size - prefix_length(size, self.threshold);
        let needed = self.threshold * (own + other) as f64 / (1.0 + self.threshold);
        (common + behind(own).max(behind(other))) as f64 >= needed - 1e-6
            && own.min(other) as f64 >= self.threshold * own.max(other) as f64 - 1e-6
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::shingles::jaccard_at_least;
    use super::*;

    fn keys(rarity: &Rarity, set: &[u64], threshold: f64, guard: u32) -> Prefix {
        let (mut prefix, mut keys) = (Vec::new(), Vec::new());
        rarity.prefix(set, threshold, &mut prefix);
        Crowd::keys(&prefix, guard, &mut keys);
        Prefix { keys, size: set.len() }
    }

    #[test]
    fn prefixes_are_as_short_as_they_may_be() {
        assert_eq!(prefix_length(0, 0.85), 0);
        assert_eq!(prefix_length(1, 0.85), 1);
        assert_eq!(prefix_length(20, 0.85), 4);
        assert_eq!(prefix_length(100, 0.85), 16);
        assert_eq!(prefix_length(100, 1.0), 1);
        assert_eq!(prefix_length(10, 1e-9), 10);
    }

    proptest! {
        /// No pair over the threshold is missed, whatever the counts are.
        #[test]
        fn alike_sets_meet(
            sets in prop::collection::vec(prop::collection::btree_set(0..40_u64, 1..30), 2..12),
            threshold in 0.3..1.0_f64,
        ) {
            let sets: Vec<Vec<u64>> = sets.into_iter().map(|set| {
                let mut set: Vec<u64> = set.into_iter().map(hash::mix).collect();
                set.sort_unstable();
                set
            }).collect();
            let rarity = Rarity::new();
            sets.iter().for_each(|set| rarity.count(set));
            let mut crowd = Crowd::new(threshold);
            for (row, set) in sets.iter().enumerate() {
                let own = keys(&rarity, set, threshold, 5);
                let found = crowd.search(&own, 0);
                prop_assert!(!found.cut_short);
                for (other, earlier) in sets[..row].iter().enumerate() {
                    if jaccard_at_least(earlier, set, threshold).is_some() {
                        prop_assert!(found.rows.contains(&(other as u32)));
                    }
                }
                prop_assert_eq!(crowd.search(&keys(&rarity, set, threshold, 6), 0).rows, Vec::<u32>::new());
                crowd.add(row as u32, &own);
            }
        }
    }

    #[test]
    fn a_search_is_bounded_and_says_so() {
        let prefix = |keys: &[u32]| Prefix { keys: keys.to_vec(), size: 12 };
        let mut crowd = Crowd::new(0.85);
        for row in 0..200 {
            crowd.add(row, &prefix(if row % 2 == 0 { &[1, 2] } else { &[1] }));
        }
        let found = crowd.search(&prefix(&[1, 2]), 0);
        assert_eq!((found.rows.len(), found.cut_short), (COMPARED, true));
        assert!(found.rows.iter().all(|row| row % 2 == 0), "those with more in common come first");
        assert_eq!(crowd.search(&prefix(&[1, 2]), 195), Found { rows: vec![196, 198], cut_short: false });
    }

    #[test]
    fn a_few_rare_shingles_in_common_are_not_enough() {
        let mut crowd = Crowd::new(0.85);
        let prefix = |start: u32| Prefix { keys: (start..start + 67).collect(), size: 440 };
        crowd.add(3, &prefix(0));
        let found = |start: u32| crowd.search(&prefix(start), 0).rows;
        // Of 440 shingles 404.3 have to be common, and 373 lie behind the prefixes.
        assert_eq!(found(67 - 32), [3]);
        assert!(found(67 - 31).is_empty());
        assert!(crowd.search(&Prefix { keys: (0..67).collect(), size: 600 }, 0).rows.is_empty());
    }
}
