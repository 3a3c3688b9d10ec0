//! The best share of each group of rows.

use std::collections::BTreeMap;

/// Groups of fewer rows are kept whole: a share of three rows says nothing about the rows.
pub const SMALL_GROUP: usize = 5;

/// A row with its score and the group it competes in.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored<'a> {
    /// The score; one that is not a number ranks last.
    pub score: f64,
    /// Where the row comes from.
    pub source: &'a str,
    /// What it is for.
    pub role: &'a str,
    /// Rows of like length, see [`length_band`].
    pub length_band: u8,
}

/// The band of an answer of so many words: 0 below 8, then one more for every four times as many, up to 5.
pub fn length_band(words: usize) -> u8 {
    match words {
        0..8 => 0,
        8..32 => 1,
        32..128 => 2,
        128..512 => 3,
        512..2048 => 4,
        _ => 5,
    }
}

/// Which rows are among the best `share` of their source, role and length band.
///
/// Of a group of `n` rows exactly `ceil(share * n)` stay; of rows with equal scores the earlier ones. Groups of fewer
/// than [`SMALL_GROUP`] rows stay whole. A `share` outside 0 to 1 counts as the nearer of the two, one that is not a
/// number as 1.
pub fn keep_best(rows: &[Scored<'_>], share: f64) -> Vec<bool> {
    let share = if share.is_nan() { 1.0 } else { share.clamp(0.0, 1.0) };
    let mut groups: BTreeMap<(&str, &str, u8), Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        groups.entry((row.source, row.role, row.length_band)).or_default().push(at);
    }
    let mut kept = vec![true; rows.len()];
    for mut group in groups.into_values() {
        if group.len() < SMALL_GROUP {
            continue;
        }
        let rank = |at: usize| if rows[at].score.is_nan() { f64::NEG_INFINITY } else { rows[at].score };
        // A stable sort: the earlier of equals first. 0.0 and -0.0 are equals.
        group.sort_by(|&left, &right| rank(right).partial_cmp(&rank(left)).unwrap_or(std::cmp::Ordering::Equal));
        // What 0.7 * 10 exceeds 7 by is rounding and keeps no eighth row.
        let count = (share * group.len() as f64 - 1e-9).ceil().max(0.0) as usize;
        for &at in group.iter().skip(count) {
            kept[at] = false;
        }
    }
    kept
}
