//! Which earlier rows a row has to be compared with: for every band, the rows with the same key.
//!
//! Keys and links share their memory: a band's keys are sorted once, and each key is then replaced by the nearest earlier
//! row that has it. So a row costs four bytes per band, and the rows of a bucket are walked from the newest to the
//! oldest. Rows that were removed are taken out of the way, so a walk meets kept rows alone.

use rayon::prelude::*;

/// No row.
pub(crate) const NONE: u32 = u32::MAX;

/// Links from every row to earlier rows.
pub(crate) struct Chains {
    bands: usize,
    links: Vec<u32>,
    /// Rows of crowded buckets.
    crowd: Vec<bool>,
}

impl Chains {
    /// Makes chains of keys (`bands` for each row, row after row) among the rows with `alive`. In a bucket of more than
    /// `crowded` rows every row is linked to the oldest one alone, and marked.
    pub(crate) fn new(mut keys: Vec<u32>, bands: usize, alive: impl Fn(usize) -> bool + Sync, crowded: usize) -> Self {
        let rows = keys.len() / bands;
        let mut crowd = vec![false; rows];
        let mut pairs: Vec<u64> = Vec::with_capacity(rows);
        for band in 0..bands {
            pairs.clear();
            pairs.extend(
                (0..rows).filter(|&row| alive(row)).map(|row| u64::from(keys[row * bands + band]) << 32 | row as u64),
            );
            // What is no longer alive is in no bucket, and its key must not be taken for a link.
            (0..rows).filter(|&row| !alive(row)).for_each(|row| keys[row * bands + band] = NONE);
            pairs.par_sort_unstable();
            for bucket in pairs.chunk_by(|left, right| left >> 32 == right >> 32) {
                let mut before = NONE;
                let crowded = bucket.len() > crowded;
                for &pair in bucket {
                    let row = pair as u32;
                    keys[row as usize * bands + band] = before;
                    if !crowded || before == NONE {
                        before = row;
                    }
                    crowd[row as usize] |= crowded;
                }
            }
        }
        Self { bands, links: keys, crowd }
    }

    /// Whether the row stands in a crowded bucket, so that its links do not lead to all rows it may be like.
    pub(crate) fn is_crowded(&self, row: u32) -> bool {
        self.crowd[row as usize]
    }

    /// The rows of crowded buckets.
    pub(crate) fn crowd(&self) -> Vec<u32> {
        (0..self.crowd.len() as u32).filter(|&row| self.is_crowded(row)).collect()
    }

    /// Calls `visit` with rows from the newest to the oldest of every bucket of `row`, down to row `from`, until it says no.
    pub(crate) fn walk(&self, row: u32, from: u32, mut visit: impl FnMut(u32) -> bool) {
        for band in 0..self.bands {
            let mut at = self.link(row, band);
            while at != NONE && at >= from {
                if !visit(at) {
                    break;
                }
                at = self.link(at, band);
            }
        }
    }

    /// Leads the links of `row` past rows that are removed. All earlier rows must have been led already.
    pub(crate) fn pass_removed(&mut self, row: u32, removed: impl Fn(u32) -> bool) {
        for band in 0..self.bands {
            let at = self.link(row, band);
            if at != NONE && removed(at) {
                // The links of a removed row were led in their turn, so they lead to a kept row.
                self.links[row as usize * self.bands + band] = self.link(at, band);
            }
        }
    }

    fn link(&self, row: u32, band: usize) -> u32 {
        self.links[row as usize * self.bands + band]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn walked(chains: &Chains, row: u32, from: u32) -> Vec<u32> {
        let mut rows = Vec::new();
        chains.walk(row, from, |at| {
            rows.push(at);
            true
        });
        rows
    }

    #[test]
    fn buckets_are_walked_from_new_to_old() {
        // Two bands, five rows; row 1 is no longer alive.
        let keys = vec![7, 1, 7, 1, 7, 2, 8, 1, 7, 2];
        let mut chains = Chains::new(keys, 2, |row| row != 1, 10);
        assert_eq!(walked(&chains, 4, 0), [2, 0, 2]);
        assert_eq!(walked(&chains, 3, 0), [0]);
        assert_eq!(walked(&chains, 4, 1), [2, 2]);
        assert!(walked(&chains, 1, 0).is_empty());
        for row in 0..5 {
            chains.pass_removed(row, |row| row == 2);
        }
        assert_eq!(walked(&chains, 4, 0), [0]);
        assert!(chains.crowd().is_empty());
    }

    #[test]
    fn crowded_buckets_lead_to_their_oldest_row() {
        let chains = Chains::new(vec![7; 5], 1, |_| true, 4);
        assert_eq!(walked(&chains, 4, 0), [0]);
        assert!(walked(&chains, 0, 0).is_empty());
        assert_eq!(chains.crowd(), [0, 1, 2, 3, 4]);
    }
}
