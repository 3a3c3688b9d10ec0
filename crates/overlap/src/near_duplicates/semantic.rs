//! Texts that say the same in other words, by a static embedding model that the user names.
//!
//! A static model has one vector for every token, and a text is the mean of its tokens' vectors: no network is run, so a
//! processor embeds thousands of texts a second. Two texts are alike if the cosine of their vectors reaches a threshold,
//! which is a weaker claim than the one of [`near_duplicates`](super::find): the mean does not know the order of words.
//! So the same guard stands before every removal, but for its rule on the wording, which would leave nothing to find.
//!
//! # Search
//! Up to [`Settings::exact_rows`] texts, every one is compared with every one that stays: nothing is missed. Beyond, only
//! those are compared that lie on the same side of all of some random planes, in one of `BANDS` draws. A pair at cosine
//! 0.9 is missed once in two thousand times, one at 0.95 practically never; what is proposed is always verified. A text
//! is compared with at most `LINKED` others, and [`Report::cut_short`](super::Report::cut_short) tells how many
//! texts met that bound.
//!
//! # Source
//! The layout of the folder is that of model2vec: `model.safetensors` with `embeddings` (tokens x size), optionally
//! `weights` (one per token) and `mapping` (the row of `embeddings` for each token), and `tokenizer.json`. Tokens that
//! the vocabulary does not know are left out. The planes: M. Charikar, Similarity Estimation Techniques from Rounding
//! Algorithms, STOC 2002.

mod model;

use rayon::prelude::*;

use super::chains::{Chains, NONE};
use super::crowd::Prefix;
use super::find::Source;
use super::settings::in_range;
use super::star::{self, Compare, Limits};
use super::{Difference, Error, Guard, Guarded, Progress, Removal, Report, Stage, Texts, hash};

pub use model::Model;

/// Draws of planes.
const BANDS: usize = 64;
/// Planes of a draw.
const PLANES: usize = 14;
/// Others that a text is compared with at most, beyond the exact search.
const LINKED: usize = 2_048;
/// Rows that are embedded between two words on progress.
const STRIDE: usize = 1 << 13;

/// How texts with the same meaning are found.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The cosine from which two texts say the same.
    pub threshold: f64,
    /// Texts up to which every pair is compared.
    pub exact_rows: usize,
    /// Where the random planes begin.
    pub seed: u64,
    /// What keeps texts apart that are nearly equal. By default everything but the wording.
    pub guard: Guard,
    /// Pairs in [`Report::guarded`] at most; all are counted.
    pub listed: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.9,
            exact_rows: 20_000,
            seed: 1,
            guard: Guard { wording: false, ..Guard::default() },
            listed: 1_000,
        }
    }
}

impl Settings {
    /// The probability that two texts of that cosine are compared, beyond the exact search.
    pub fn recall_at(&self, cosine: f64) -> f64 {
        let same_side = 1.0 - cosine.clamp(-1.0, 1.0).acos() / std::f64::consts::PI;
        1.0 - (1.0 - same_side.powi(PLANES as i32)).powi(BANDS as i32)
    }
}

/// Finds the texts that say the same as another one. A text without a known token is like nothing.
///
/// `order` names all texts, those first that shall rather stay; `None` stands for their own order. Vectors take two bytes
/// per row and dimension.
///
/// # Errors
/// If a text cannot be read or cut into tokens, a setting is out of range or `order` does not name every text once.
pub fn find(
    texts: &dyn Texts,
    order: Option<&[u32]>,
    model: &Model,
    settings: &Settings,
    progress: &(dyn Fn(Progress) + Sync),
) -> Result<Report, Error> {
    in_range(
        "threshold",
        settings.threshold > 0.0 && settings.threshold <= 1.0,
        settings.threshold,
        "above 0 and at most 1",
    )?;
    let source = Source::new(texts, order)?;
    let rows = source.len();
    let size = model.size();
    let is_exact = rows <= settings.exact_rows;
    let bands = if is_exact { 1 } else { BANDS };
    let planes = if is_exact { Vec::new() } else { planes(size, settings.seed) };

    let mut vectors = vec![half::f16::ZERO; rows * size];
    let (mut guards, mut keys) = (vec![0_u32; rows], vec![0_u32; rows * bands]);
    for start in (0..rows).step_by(STRIDE) {
        progress(Progress { stage: Stage::Reading, done: start, total: rows });
        let end = rows.min(start + STRIDE);
        let places = vectors[start * size..end * size]
            .par_chunks_mut(size)
            .zip(guards[start..end].par_iter_mut())
            .zip(keys[start * bands..end * bands].par_chunks_mut(bands))
            .enumerate();
        places.with_min_len(16).try_for_each_init(
            || (String::new(), String::new(), Vec::new()),
            |(text, word, mean), (offset, ((vector, guard), keys))| {
                let row = (start + offset) as u32;
                source.read(row, text)?;
                *guard = settings.guard.key(text, word);
                model.embed(text, mean).map_err(|reason| Error::Tokens { index: source.index(row), reason })?;
                for (short, value) in vector.iter_mut().zip(mean.iter()) {
                    *short = half::f16::from_f32(*value);
                }
                if !is_exact {
                    sides(mean, &planes, keys);
                }
                Ok(())
            },
        )?;
    }
    progress(Progress { stage: Stage::Reading, done: rows, total: rows });

    let alive = |row: usize| vectors[row * size..(row + 1) * size].iter().any(|&value| value != half::f16::ZERO);
    let chains = Chains::new(keys, bands, alive, usize::MAX);
    let vectors = Vectors { source: &source, size, vectors, guards, settings };
    let limits = Limits {
        threshold: settings.threshold,
        linked: if is_exact { usize::MAX } else { LINKED },
        listed: settings.listed,
    };
    let (outcome, _) = star::decide(&vectors, chains, vec![NONE; rows], &limits, progress)?;

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
    removals.sort_unstable_by_key(|removal| removal.removed);
    let guarded = outcome.apart.into_iter().map(|apart| Guarded {
        row: source.index(apart.row),
        like: source.index(apart.kept),
        similarity: apart.similarity,
        difference: apart.difference,
    });
    Ok(Report {
        removals,
        guarded: guarded.collect(),
        guarded_total: outcome.apart_count,
        candidates: outcome.candidates,
        verified: outcome.verified,
        crowded: 0,
        cut_short: outcome.cut_short,
    })
}

/// The normals of the planes of all draws, each of `size` numbers with a normal distribution.
fn planes(size: usize, seed: u64) -> Vec<f32> {
    (0..BANDS * PLANES * size)
        .map(|index| {
            // The sum of four uniform numbers is near enough, and the same on every machine.
            let bits = hash::nth(seed, index);
            let sum: u64 = (0..4).map(|part| bits >> (16 * part) & 0xFFFF).sum();
            (sum as f32 - 131_070.0) / 37_837.0
        })
        .collect()
}

fn sides(vector: &[f32], planes: &[f32], keys: &mut [u32]) {
    for (key, draw) in keys.iter_mut().zip(planes.chunks_exact(PLANES * vector.len())) {
        *key = draw.chunks_exact(vector.len()).fold(0, |key, plane| key << 1 | u32::from(dot(vector, plane) >= 0.0));
    }
}

/// In a fixed order, eight sums side by side.
fn dot(left: &[f32], right: &[f32]) -> f32 {
    let mut sums = [0.0_f32; 8];
    let (a, b) = (left.chunks_exact(8), right.chunks_exact(8));
    let rest: f32 = a.remainder().iter().zip(b.remainder()).map(|(x, y)| x * y).sum();
    for (x, y) in a.zip(b) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Rows as vectors.
struct Vectors<'a> {
    source: &'a Source<'a>,
    size: usize,
    vectors: Vec<half::f16>,
    guards: Vec<u32>,
    settings: &'a Settings,
}

/// Buffers of one comparing thread.
#[derive(Default)]
struct Scratch {
    row: Option<u32>,
    own: Vec<f32>,
    other: Vec<f32>,
    texts: (String, String),
}

impl Vectors<'_> {
    fn unpack(&self, row: u32, into: &mut Vec<f32>) {
        let start = row as usize * self.size;
        into.clear();
        into.extend(self.vectors[start..start + self.size].iter().map(|value| value.to_f32()));
    }
}

impl Compare for Vectors<'_> {
    type Scratch = Scratch;

    fn guard_key(&self, row: u32) -> u32 {
        self.guards[row as usize]
    }

    fn similarity(&self, row: u32, kept: u32, scratch: &mut Scratch) -> Result<Option<f64>, Error> {
        if scratch.row != Some(row) {
            self.unpack(row, &mut scratch.own);
            scratch.row = Some(row);
        }
        self.unpack(kept, &mut scratch.other);
        let (own, other) = (&scratch.own, &scratch.other);
        // Halves are not quite of length one.
        let lengths = f64::from(dot(own, own)) * f64::from(dot(other, other));
        let cosine = (f64::from(dot(own, other)) / lengths.sqrt()).min(1.0);
        Ok((cosine >= self.settings.threshold).then_some(cosine))
    }

    fn difference(&self, row: u32, kept: u32, scratch: &mut Scratch) -> Result<Option<Difference>, Error> {
        let (here, there) = &mut scratch.texts;
        self.source.read(row, here)?;
        self.source.read(kept, there)?;
        Ok(self.settings.guard.difference(here, there))
    }

    fn crowd_prefix(&self, _: u32, _: &mut Scratch) -> Result<Prefix, Error> {
        // No bucket is called crowded here.
        Ok(Prefix::default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recall_is_what_the_words_above_say() {
        let settings = Settings::default();
        assert!(settings.recall_at(0.9) > 0.9994, "{}", settings.recall_at(0.9));
        assert!(settings.recall_at(0.95) > 0.999_999, "{}", settings.recall_at(0.95));
    }

    /// Measured on random pairs of that cosine.
    #[test]
    fn planes_part_as_often_as_the_angle_says() {
        let size = 32;
        let planes = planes(size, 3);
        let (mut equal, mut found, trials) = (0, 0, 300);
        for trial in 0..trials {
            let random = |seed: u64| -> Vec<f32> {
                (0..size).map(|at| (hash::nth(seed, at) >> 40) as f32 / 8_388_608.0 - 1.0).collect()
            };
            let (left, mut right) = (random(trial), random(trial + 1_000));
            // Made orthogonal and of the same length, so that the mixture has a cosine of 0.9.
            let along = dot(&left, &right) / dot(&left, &left);
            right.iter_mut().zip(&left).for_each(|(r, l)| *r -= along * l);
            let scale = (dot(&left, &left) / dot(&right, &right)).sqrt() * (1.0_f32 - 0.81).sqrt();
            let mixed: Vec<f32> = left.iter().zip(&right).map(|(l, r)| 0.9 * l + scale * r).collect();
            let (mut a, mut b) = ([0; BANDS], [0; BANDS]);
            sides(&left, &planes, &mut a);
            sides(&mixed, &planes, &mut b);
            let same = a.iter().zip(&b).filter(|(a, b)| a == b).count();
            equal += same;
            found += usize::from(same > 0);
        }
        let expected = (1.0 - 0.9_f64.acos() / std::f64::consts::PI).powi(PLANES as i32);
        let got = equal as f64 / (trials as usize * BANDS) as f64;
        assert!((got - expected).abs() < 0.02, "{got} against {expected}");
        assert!(found >= 298, "{found}");
    }
}
