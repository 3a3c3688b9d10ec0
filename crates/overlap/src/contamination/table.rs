//! From the hash of a run of words to the questions that have it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// Keys that are hashes already.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// A map by hash.
pub(crate) type ByHash<V> = HashMap<u64, V, BuildHasherDefault<AsIs>>;

/// Where a run of words stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    /// The question.
    pub(crate) group: u32,
    /// The word of the question it begins with.
    pub(crate) offset: u32,
}

/// A question keeps runs that are in many others until it has this many that are not.
const NEEDED: u8 = 3;
/// Places of the same run in one question that are kept.
const SAME_GROUP: usize = 4;
/// A run that is needed by many is cut at this many times what makes it hot.
const HARD_LIMIT: usize = 8;

/// From the hash of a run of words to the questions that have it, behind a filter that says no to almost all others.
#[derive(Debug)]
pub(crate) struct Table {
    /// Blocks of 64 bits; a key sets three bits in one block.
    filter: Vec<u64>,
    shift: u32,
    places: ByHash<(u32, u32)>,
    postings: Vec<Posting>,
}

impl Table {
    /// Builds the table of `entries`, and the number of groups (of all `groups`) that had entries and kept none.
    pub(crate) fn build(mut entries: Vec<(u64, Posting)>, groups: usize, hot: usize) -> (Self, usize) {
        entries.sort_unstable();
        let mut had = vec![false; groups];
        let mut cold = vec![0_u8; groups];
        for run in entries.chunk_by(|a, b| a.0 == b.0) {
            let is_hot = distinct_groups(run) > hot;
            for same in run.chunk_by(|a, b| a.1.group == b.1.group) {
                let group = same[0].1.group as usize;
                had[group] = true;
                cold[group] = cold[group].saturating_add(u8::from(!is_hot));
            }
        }
        let mut postings = Vec::with_capacity(entries.len());
        let mut places = ByHash::default();
        let mut kept = vec![false; groups];
        for run in entries.chunk_by(|a, b| a.0 == b.0) {
            let is_hot = distinct_groups(run) > hot;
            let start = postings.len();
            for same in run.chunk_by(|a, b| a.1.group == b.1.group) {
                let group = same[0].1.group as usize;
                if (is_hot && cold[group] >= NEEDED) || postings.len() - start >= HARD_LIMIT * hot {
                    continue;
                }
                kept[group] = true;
                postings.extend(same.iter().take(SAME_GROUP).map(|entry| entry.1));
            }
            if postings.len() > start {
                places.insert(run[0].0, (start as u32, (postings.len() - start) as u32));
            }
        }
        postings.shrink_to_fit();
        // About 16 bits per key: with three bits each, fewer than 1 of 100 strangers pass.
        let blocks = (places.len() / 4).next_power_of_two().max(64);
        let mut table = Self { filter: vec![0; blocks], shift: 64 - blocks.trailing_zeros(), places, postings };
        for &key in table.places.keys() {
            table.filter[(key >> table.shift) as usize] |= bits(key);
        }
        let lost = had.iter().zip(&kept).filter(|(had, kept)| **had && !**kept).count();
        (table, lost)
    }

    /// Whether the key may be in the table.
    #[inline]
    pub(crate) fn may_have(&self, key: u64) -> bool {
        let bits = bits(key);
        self.filter[(key >> self.shift) as usize] & bits == bits
    }

    /// Where a run of words stands; empty where nowhere.
    pub(crate) fn get(&self, key: u64) -> &[Posting] {
        self.places.get(&key).map_or(&[], |&(start, count)| &self.postings[start as usize..(start + count) as usize])
    }

    /// Number of keys.
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Bytes that the table takes, about.
    pub(crate) fn bytes(&self) -> usize {
        self.filter.len() * 8 + self.places.capacity() * 17 + self.postings.len() * size_of::<Posting>()
    }
}

/// Three bits of a block. The block itself is chosen by the highest bits of the key.
#[inline]
fn bits(key: u64) -> u64 {
    1 << (key & 63) | 1 << (key >> 6 & 63) | 1 << (key >> 12 & 63)
}

fn distinct_groups(run: &[(u64, Posting)]) -> usize {
    run.chunk_by(|a, b| a.1.group == b.1.group).count()
}

#[cfg(test)]
mod tests {
    use super::super::words::mix;
    use super::*;

    fn entry(key: u64, group: u32, offset: u32) -> (u64, Posting) {
        (mix(key), Posting { group, offset })
    }

    #[test]
    fn what_was_put_in_is_found() {
        let entries = (0..5000_u32).map(|n| entry(u64::from(n) / 2, n, 7)).collect();
        let (table, lost) = Table::build(entries, 5000, 32);
        assert_eq!((table.len(), lost), (2500, 0));
        for n in 0..2500 {
            assert!(table.may_have(mix(n)));
            let groups: Vec<u32> = table.get(mix(n)).iter().map(|posting| posting.group).collect();
            assert_eq!(groups, [2 * n as u32, 2 * n as u32 + 1]);
        }
        let strangers = (1_000_000..1_100_000).filter(|&n| table.may_have(mix(n))).count();
        assert!(strangers < 1500, "{strangers} of 100000 pass the filter");
        assert!(table.get(mix(1_000_000)).is_empty());
    }

    #[test]
    fn hot_runs_serve_only_those_without_others() {
        // All have run 1; all but group 9 have three of their own.
        let mut entries: Vec<_> = (0..10).map(|group| entry(1, group, 0)).collect();
        entries.extend((0..9).flat_map(|group| (0..3).map(move |n| entry(100 + u64::from(group) * 3 + n, group, 1))));
        let (table, lost) = Table::build(entries, 10, 5);
        assert_eq!(table.get(mix(1)), [Posting { group: 9, offset: 0 }]);
        assert_eq!(lost, 0);
        let (table, lost) = Table::build((0..100).map(|group| entry(1, group, 0)).collect(), 100, 5);
        assert_eq!((table.get(mix(1)).len(), lost), (40, 60));
    }
}
