//! The search, from texts to the report.

use std::mem;
use std::sync::atomic::{AtomicU32, Ordering};

use rayon::prelude::*;

use super::chains::{Chains, NONE};
use super::crowd::{Crowd, Prefix, Rarity};
use super::shingles::{Cut, Forms, jaccard_at_least};
use super::sketch::Sketcher;
use super::star::{self, Compare, Limits, Outcome};
use super::{Difference, Error, Guard, Guarded, Progress, Removal, Report, Settings, Stage, Texts, hash};

/// Rows of one band that are all compared with each other; where there are more, [`Crowd`] takes over.
const CROWDED: usize = 128;
/// Rows that a thread reads at a time.
const CHUNK: usize = 64;
/// Rows between two words on progress.
const STRIDE: usize = 1 << 16;
/// Kept rows that a thread remembers, and the shingles up to which it does.
const REMEMBERED: usize = 64;
const LARGE: usize = 1 << 17;
/// The hash of a text of nothing but white space.
const BLANK: u64 = 0;

/// Finds the texts that are nearly equal to another one.
///
/// `order` names all texts, those first that shall rather stay; `None` stands for their own order.
///
/// # Errors
/// If a text cannot be read, a setting is out of range or `order` does not name every text once.
pub fn find(
    texts: &dyn Texts,
    order: Option<&[u32]>,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, Error> {
    settings.check()?;
    let source = Source::new(texts, order)?;
    let rows = source.len();
    let cut = Cut::new(settings.shingle_chars, settings.seed);

    let (bands, bins) = (settings.bands, settings.bins_per_band());
    let sketcher = Sketcher::new(bands, bins, settings.seed);
    let Read { keys, guards, hashes } = read(&source, &cut, &sketcher, bands, &settings.guard, progress)?;
    let fates = exact_copies(&source, &hashes)?;
    let copies = fates.clone_marks();
    let chains = Chains::new(keys, bands, |row| fates.0[row] == NONE && hashes[row] != BLANK, CROWDED);
    drop(hashes);

    let mut compare =
        Rows { source: &source, cut, threshold: settings.threshold, guard: &settings.guard, guards, rarity: None };
    let crowd = chains.crowd();
    if !crowd.is_empty() {
        let rarity = Rarity::new();
        crowd.par_iter().with_min_len(CHUNK).try_for_each_init(
            || (Forms::default(), String::new(), Vec::new()),
            |(forms, text, set), &row| {
                source.read(row, text)?;
                compare.cut.set(text, forms, set);
                rarity.count(set);
                Ok::<_, Error>(())
            },
        )?;
        compare.rarity = Some(rarity);
    }
    drop(crowd);

    // Every row of every bucket that is no crowd may be met.
    let limits = Limits { threshold: settings.threshold, linked: bands * CROWDED, listed: settings.listed };
    let (outcome, fates) = star::decide(&compare, chains, fates.0, &limits, progress)?;
    debug_assert_eq!(fates.len(), rows);
    Ok(report(&source, outcome, &fates, &copies))
}

/// Texts in the order of priority.
pub(crate) struct Source<'a> {
    texts: &'a dyn Texts,
    order: Option<&'a [u32]>,
}

impl<'a> Source<'a> {
    pub(crate) fn new(texts: &'a dyn Texts, order: Option<&'a [u32]>) -> Result<Self, Error> {
        let rows = texts.len();
        let most = NONE as usize - 1;
        if rows > most {
            return Err(Error::TooMany { rows, most });
        }
        if let Some(order) = order {
            let wrong = |reason| Err(Error::Order { rows, reason });
            if order.len() != rows {
                return wrong(format!("has {} entries", order.len()));
            }
            let mut named = vec![false; rows];
            for &index in order {
                match named.get_mut(index as usize) {
                    None => return wrong(format!("names {index}")),
                    Some(true) => return wrong(format!("names {index} twice")),
                    Some(named) => *named = true,
                }
            }
        }
        Ok(Self { texts, order })
    }

    pub(crate) fn len(&self) -> usize {
        self.texts.len()
    }

    /// The number of the text at a place in the order.
    pub(crate) fn index(&self, row: u32) -> usize {
        self.order.map_or(row, |order| order[row as usize]) as usize
    }

    pub(crate) fn read(&self, row: u32, into: &mut String) -> Result<(), Error> {
        let index = self.index(row);
        self.texts.read(index, into).map_err(|source| Error::Read { index, source })
    }
}

/// What one reading of all texts leaves.
struct Read {
    /// `bands` for each row.
    keys: Vec<u32>,
    guards: Vec<u32>,
    /// Of the exact forms.
    hashes: Vec<u64>,
}

fn read(
    source: &Source<'_>,
    cut: &Cut,
    sketcher: &Sketcher,
    bands: usize,
    guard: &Guard,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Read, Error> {
    let rows = source.len();
    let (mut keys, mut guards, mut hashes) = (vec![0; rows * bands], vec![0; rows], vec![BLANK; rows]);
    for start in (0..rows).step_by(STRIDE) {
        progress(Progress { stage: Stage::Reading, done: start, total: rows });
        let end = rows.min(start + STRIDE);
        let places = keys[start * bands..end * bands]
            .par_chunks_mut(CHUNK * bands)
            .zip(guards[start..end].par_chunks_mut(CHUNK))
            .zip(hashes[start..end].par_chunks_mut(CHUNK))
            .enumerate();
        places.try_for_each_init(Reader::default, |reader, (chunk, ((keys, guards), hashes))| {
            let first = start + chunk * CHUNK;
            let rows = keys.chunks_exact_mut(bands).zip(guards).zip(hashes).enumerate();
            for (offset, ((keys, guard_key), hash)) in rows {
                source.read((first + offset) as u32, &mut reader.text)?;
                reader.forms.take(&reader.text);
                if reader.forms.folded.is_empty() {
                    continue;
                }
                *hash = exact_hash(&reader.forms.folded);
                *guard_key = guard.key(&reader.text, &mut reader.word);
                cut.names(reader.forms.unified(), &mut reader.names);
                sketcher.keys(&reader.names, &mut reader.sketch, keys);
                reader.shrink();
            }
            Ok::<_, Error>(())
        })?;
    }
    progress(Progress { stage: Stage::Reading, done: rows, total: rows });
    Ok(Read { keys, guards, hashes })
}

/// Buffers of one reading thread.
#[derive(Default)]
struct Reader {
    text: String,
    word: String,
    forms: Forms,
    names: Vec<u64>,
    sketch: Vec<u64>,
}

impl Reader {
    /// One huge text must not leave every thread with a huge buffer.
    fn shrink(&mut self) {
        if self.names.capacity() > 16 * LARGE {
            *self = Self::default();
        }
    }
}

fn exact_hash(folded: &str) -> u64 {
    hash::bytes(folded.as_bytes(), 0).max(BLANK + 1)
}

/// Who a row went to, as yet; `NONE` while it stays.
struct Fates(Vec<u32>);

impl Fates {
    /// The rows that are copies.
    fn clone_marks(&self) -> Vec<u32> {
        (0..self.0.len() as u32).filter(|&row| self.0[row as usize] != NONE).collect()
    }
}

/// Gives every copy to the first row that it is equal to. Equal hashes are not believed: the texts are compared.
fn exact_copies(source: &Source<'_>, hashes: &[u64]) -> Result<Fates, Error> {
    let mut rows: Vec<u32> = (0..hashes.len() as u32).filter(|&row| hashes[row as usize] != BLANK).collect();
    rows.par_sort_unstable_by_key(|&row| (hashes[row as usize], row));
    let groups: Vec<&[u32]> = rows
        .chunk_by(|&left, &right| hashes[left as usize] == hashes[right as usize])
        .filter(|group| group.len() > 1)
        .collect();
    // A row is in one group, so each place is written once.
    let fates: Vec<AtomicU32> = hashes.iter().map(|_| AtomicU32::new(NONE)).collect();
    groups.par_iter().try_for_each_init(<(String, Forms)>::default, |(text, forms), group| {
        let mut firsts: Vec<(u32, String)> = Vec::new();
        for &row in *group {
            source.read(row, text)?;
            forms.take(text);
            match firsts.iter().find(|(_, first)| *first == forms.folded) {
                Some(&(first, _)) => fates[row as usize].store(first, Ordering::Relaxed),
                // Different texts with one hash of 64 bits do not come by chance.
                None if firsts.len() < 16 => firsts.push((row, mem::take(&mut forms.folded))),
                None => {}
            }
        }
        Ok::<_, Error>(())
    })?;
    Ok(Fates(fates.into_iter().map(AtomicU32::into_inner).collect()))
}

/// The report in the numbers of the texts.
fn report(source: &Source<'_>, outcome: Outcome, fates: &[u32], copies: &[u32]) -> Report {
    let mut removals: Vec<Removal> = outcome
        .removed
        .iter()
        .map(|&(row, kept, similarity)| Removal {
            removed: source.index(row),
            kept: source.index(kept),
            similarity,
            exact: false,
        })
        .collect();
    for &row in copies {
        let first = fates[row as usize];
        // What the row is a copy of may have gone to another row; then the copy goes there too, and is as much like it.
        let gone = outcome.removed.binary_search_by_key(&first, |&(row, _, _)| row).ok().map(|at| outcome.removed[at]);
        let (kept, similarity) = gone.map_or((first, 1.0), |(_, kept, similarity)| (kept, similarity));
        removals.push(Removal {
            removed: source.index(row),
            kept: source.index(kept),
            similarity,
            exact: gone.is_none(),
        });
    }
    removals.sort_unstable_by_key(|removal| removal.removed);
    let guarded = outcome
        .apart
        .into_iter()
        .map(|apart| Guarded {
            row: source.index(apart.row),
            like: source.index(apart.kept),
            similarity: apart.similarity,
            difference: apart.difference,
        })
        .collect();
    Report {
        removals,
        guarded,
        guarded_total: outcome.apart_count,
        candidates: outcome.candidates,
        verified: outcome.verified,
        crowded: outcome.crowded,
        cut_short: outcome.cut_short,
    }
}

/// Rows as sets of shingles.
struct Rows<'a> {
    source: &'a Source<'a>,
    cut: Cut,
    threshold: f64,
    guard: &'a Guard,
    guards: Vec<u32>,
    rarity: Option<Rarity>,
}

/// A row that was read.
struct Known {
    row: u32,
    text: String,
    set: Vec<u64>,
}

impl Default for Known {
    fn default() -> Self {
        Self { row: NONE, text: String::new(), set: Vec::new() }
    }
}

/// Buffers of one comparing thread.
#[derive(Default)]
struct Scratch {
    forms: Forms,
    own: Known,
    /// Kept rows, each at the place of its number.
    kept: Vec<Known>,
    ordered: Vec<(u32, u64)>,
}

impl Rows<'_> {
    fn learn(&self, known: &mut Known, row: u32, forms: &mut Forms) -> Result<(), Error> {
        if known.row != row {
            known.row = NONE;
            self.source.read(row, &mut known.text)?;
            self.cut.set(&known.text, forms, &mut known.set);
            known.row = row;
        }
        Ok(())
    }

    /// Works on both rows, and forgets what is too large to be remembered.
    fn with_both<T>(
        &self,
        row: u32,
        kept: u32,
        scratch: &mut Scratch,
        work: impl FnOnce(&Known, &Known) -> T,
    ) -> Result<T, Error> {
        scratch.kept.resize_with(REMEMBERED, Known::default);
        let place = &mut scratch.kept[kept as usize % REMEMBERED];
        self.learn(&mut scratch.own, row, &mut scratch.forms)?;
        self.learn(place, kept, &mut scratch.forms)?;
        let done = work(&scratch.own, place);
        if place.set.capacity() > LARGE {
            *place = Known::default();
        }
        Ok(done)
    }
}

impl Compare for Rows<'_> {
    type Scratch = Scratch;

    fn guard_key(&self, row: u32) -> u32 {
        self.guards[row as usize]
    }

    fn similarity(&self, row: u32, kept: u32, scratch: &mut Scratch) -> Result<Option<f64>, Error> {
        self.with_both(row, kept, scratch, |own, kept| jaccard_at_least(&own.set, &kept.set, self.threshold))
    }

    fn difference(&self, row: u32, kept: u32, scratch: &mut Scratch) -> Result<Option<Difference>, Error> {
        self.with_both(row, kept, scratch, |own, kept| self.guard.difference(&own.text, &kept.text))
    }

    fn crowd_prefix(&self, row: u32, scratch: &mut Scratch) -> Result<Prefix, Error> {
        self.learn(&mut scratch.own, row, &mut scratch.forms)?;
        if let Some(rarity) = &self.rarity {
            rarity.prefix(&scratch.own.set, self.threshold, &mut scratch.ordered);
        }
        let mut keys = Vec::new();
        Crowd::keys(&scratch.ordered, self.guards[row as usize], &mut keys);
        Ok(Prefix { keys, size: scratch.own.set.len() })
    }
}
