//! Who stays: rows are taken in their order, and a row goes only where it is like an earlier row that stays.
//!
//! Rows are judged in blocks. Against rows before the block, whose fate is known, they are compared in parallel; what is
//! left is compared with kept rows of the block one after the other. A row goes to the *earliest* kept row that it may be
//! compared with and is like, so neither threads nor blocks show in the result.

use std::sync::Mutex;

use rayon::prelude::*;

use super::chains::{Chains, NONE};
use super::crowd::{Crowd, Found, Prefix};
use super::{Difference, Error, Progress, Stage};

/// Rows of one block.
const BLOCK: usize = 2_048;
/// Comparisons with rows of another guard key that a row is given, to report what the guard kept apart.
const GUARDED_TRIES: usize = 4;
/// Keys in the index of one row that are kept between the two parts of a block; longer ones are made again.
const HELD_KEYS: usize = 4_096;

/// How two rows are compared.
pub(crate) trait Compare: Sync {
    /// Buffers of one thread.
    type Scratch: Default + Send;

    /// A number that is equal wherever the guard might let two rows be merged.
    fn guard_key(&self, row: u32) -> u32;
    /// The similarity, if it is over the threshold.
    fn similarity(&self, row: u32, kept: u32, scratch: &mut Self::Scratch) -> Result<Option<f64>, Error>;
    /// What the guard sees between two rows.
    fn difference(&self, row: u32, kept: u32, scratch: &mut Self::Scratch) -> Result<Option<Difference>, Error>;
    /// What a row is known by in the index of crowded rows.
    fn crowd_prefix(&self, row: u32, scratch: &mut Self::Scratch) -> Result<Prefix, Error>;
}

/// A pair that the guard kept apart.
pub(crate) struct Apart {
    pub(crate) row: u32,
    pub(crate) kept: u32,
    pub(crate) similarity: f64,
    pub(crate) difference: Difference,
}

/// What became of the rows.
#[derive(Default)]
pub(crate) struct Outcome {
    /// Removed row, kept row, similarity.
    pub(crate) removed: Vec<(u32, u32, f64)>,
    pub(crate) apart: Vec<Apart>,
    pub(crate) apart_count: u64,
    pub(crate) candidates: u64,
    pub(crate) verified: u64,
    pub(crate) crowded: u64,
    pub(crate) cut_short: u64,
}

/// Limits of one search.
pub(crate) struct Limits {
    /// What `similarity` has to reach.
    pub(crate) threshold: f64,
    /// Linked rows that a row meets at most.
    pub(crate) linked: usize,
    /// Pairs that are listed in `apart`.
    pub(crate) listed: usize,
}

/// What is known of one row of a block.
#[derive(Default)]
struct Judged {
    matched: Option<(u32, f64)>,
    apart: Option<Apart>,
    candidates: u64,
    verified: u64,
    cut_short: bool,
    tries: usize,
    crowd_prefix: Option<Prefix>,
}

struct Star<'a, C: Compare> {
    compare: &'a C,
    limits: &'a Limits,
    chains: Chains,
    crowd: Crowd,
    /// Who a row went to; `NONE` while it stays.
    fates: Vec<u32>,
    scratches: Mutex<Vec<C::Scratch>>,
}

/// Decides the fate of every row that is not already gone in `fates`, which holds the kept row or [`NONE`].
pub(crate) fn decide<C: Compare>(
    compare: &C,
    chains: Chains,
    fates: Vec<u32>,
    limits: &Limits,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<(Outcome, Vec<u32>), Error> {
    let rows = fates.len();
    let mut star =
        Star { compare, limits, chains, crowd: Crowd::new(limits.threshold), fates, scratches: Mutex::new(Vec::new()) };
    let mut outcome = Outcome::default();
    for start in (0..rows).step_by(BLOCK) {
        progress(Progress { stage: Stage::Comparing, done: start, total: rows });
        star.block(start as u32, rows.min(start + BLOCK) as u32, &mut outcome)?;
    }
    progress(Progress { stage: Stage::Comparing, done: rows, total: rows });
    Ok((outcome, star.fates))
}

impl<C: Compare> Star<'_, C> {
    fn block(&mut self, start: u32, end: u32, outcome: &mut Outcome) -> Result<(), Error> {
        let open: Vec<u32> = (start..end).filter(|&row| self.stays(row)).collect();
        let judged: Vec<Result<Judged, Error>> = open
            .par_iter()
            .with_min_len(8)
            .map(|&row| self.with_scratch(|scratch| self.against_earlier(row, start, scratch)))
            .collect();
        for (&row, judged) in open.iter().zip(judged) {
            let mut judged = judged?;
            if judged.matched.is_none() {
                judged = self.with_scratch(|scratch| self.against_block(row, start, judged, scratch))?;
            }
            outcome.candidates += judged.candidates;
            outcome.verified += judged.verified;
            if self.chains.is_crowded(row) {
                outcome.crowded += 1;
            }
            if let Some((kept, similarity)) = judged.matched {
                self.fates[row as usize] = kept;
                outcome.removed.push((row, kept, similarity));
                continue;
            }
            outcome.cut_short += u64::from(judged.cut_short);
            if let Some(apart) = judged.apart {
                outcome.apart_count += 1;
                if outcome.apart.len() < self.limits.listed {
                    outcome.apart.push(apart);
                }
            }
            if self.chains.is_crowded(row) {
                let prefix = match judged.crowd_prefix {
                    Some(prefix) => prefix,
                    None => self.with_scratch(|scratch| self.compare.crowd_prefix(row, scratch))?,
                };
                self.crowd.add(row, &prefix);
            }
        }
        for row in start..end {
            let fates = &self.fates;
            self.chains.pass_removed(row, |row| fates[row as usize] != NONE);
        }
        Ok(())
    }

    fn stays(&self, row: u32) -> bool {
        self.fates[row as usize] == NONE
    }

    /// Lends a scratch, so that what one remembers serves the next row.
    fn with_scratch<T>(&self, work: impl FnOnce(&mut C::Scratch) -> T) -> T {
        let lock = || self.scratches.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut scratch = lock().pop().unwrap_or_default();
        let done = work(&mut scratch);
        lock().push(scratch);
        done
    }

    /// Compares with kept rows before the block.
    fn against_earlier(&self, row: u32, start: u32, scratch: &mut C::Scratch) -> Result<Judged, Error> {
        let mut judged = Judged::default();
        let mut candidates = self.linked(row, 0, &mut judged);
        candidates.retain(|&candidate| candidate < start);
        if self.chains.is_crowded(row) {
            let prefix = self.compare.crowd_prefix(row, scratch)?;
            self.add_crowd(&prefix, 0, &mut candidates, &mut judged);
            judged.crowd_prefix = (prefix.keys.len() <= HELD_KEYS).then_some(prefix);
        }
        self.first_alike(row, candidates, judged, scratch)
    }

    /// Compares with kept rows of the block.
    fn against_block(
        &self,
        row: u32,
        start: u32,
        mut judged: Judged,
        scratch: &mut C::Scratch,
    ) -> Result<Judged, Error> {
        let mut candidates = self.linked(row, start, &mut judged);
        if self.chains.is_crowded(row) {
            let prefix = match judged.crowd_prefix.take() {
                Some(prefix) => prefix,
                None => self.compare.crowd_prefix(row, scratch)?,
            };
            self.add_crowd(&prefix, start, &mut candidates, &mut judged);
            judged.crowd_prefix = (prefix.keys.len() <= HELD_KEYS).then_some(prefix);
        }
        self.first_alike(row, candidates, judged, scratch)
    }

    /// Kept rows from `from` on that are linked, in ascending order. Rows of the block that is being judged in parallel
    /// count as kept.
    fn linked(&self, row: u32, from: u32, judged: &mut Judged) -> Vec<u32> {
        let mut rows = Vec::new();
        self.chains.walk(row, from, |at| {
            if rows.len() == self.limits.linked {
                judged.cut_short = true;
                return false;
            }
            if self.stays(at) {
                rows.push(at);
            }
            true
        });
        rows.sort_unstable();
        rows.dedup();
        rows
    }

    fn add_crowd(&self, prefix: &Prefix, from: u32, candidates: &mut Vec<u32>, judged: &mut Judged) {
        let Found { rows, cut_short } = self.crowd.search(prefix, from);
        judged.cut_short |= cut_short;
        if !cut_short {
            // The index knows better than the links which crowded rows are worth a comparison.
            candidates.retain(|&candidate| !self.chains.is_crowded(candidate));
        }
        candidates.extend(rows);
        candidates.sort_unstable();
        candidates.dedup();
    }

    /// The earliest of the candidates that is like the row and passes the guard.
    fn first_alike(
        &self,
        row: u32,
        candidates: Vec<u32>,
        mut judged: Judged,
        scratch: &mut C::Scratch,
    ) -> Result<Judged, Error> {
        judged.candidates += candidates.len() as u64;
        let guard = self.compare.guard_key(row);
        for kept in candidates {
            if self.compare.guard_key(kept) != guard {
                if judged.apart.is_some() || judged.tries == GUARDED_TRIES {
                    continue;
                }
                judged.tries += 1;
            }
            judged.verified += 1;
            let Some(similarity) = self.compare.similarity(row, kept, scratch)? else { continue };
            match self.compare.difference(row, kept, scratch)? {
                None => {
                    judged.matched = Some((kept, similarity));
                    return Ok(judged);
                }
                Some(difference) if judged.apart.is_none() => {
                    judged.apart = Some(Apart { row, kept, similarity, difference });
                }
                Some(_) => {}
            }
        }
        Ok(judged)
    }
}
