//! The evaluation rows, ready to be looked for.

use std::collections::HashMap;
use std::ops::Range;

use super::error::Error;
use super::evals::{EvalRow, EvalSet};
use super::paraphrase::Paraphrases;
use super::settings::Settings;
use super::table::{ByHash, Posting, Table};
use super::words::{Words, is_number, mix};

/// Weight of the commonest word; the rarest, and numbers, have 1. The gap is small on purpose: one changed word should never
/// be a fifth of a question.
const LEAST_WEIGHT: f64 = 0.5;

/// What the index leaves out of the rows, and its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Rows of all sets.
    pub rows: usize,
    /// Questions that differ; rows of multiple choice often share one.
    pub questions: usize,
    /// Rows with fewer words than [`Settings::min_tokens`], or fewer different ones than [`Settings::min_unique`].
    pub short_rows: usize,
    /// Rows without a run of [`Settings::ngram`] words in question, passage or answer, or with none that is rare enough: they are not looked for.
    pub unreachable_rows: usize,
    /// Questions that are also looked for in other words.
    pub paraphrase_questions: usize,
    /// Runs of words in the table.
    pub ngrams: usize,
    /// Bytes of the tables, about; the rows themselves are not counted.
    pub table_bytes: usize,
}

/// What a group of rows is found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Anchor {
    Question,
    Passage,
    Answer,
}

/// Rows that are found by the same words.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) set: u32,
    pub(crate) anchor: Anchor,
    /// Its words, in `Index::words`.
    pub(crate) words: Range<usize>,
    /// Its rows, in `Index::members`.
    pub(crate) members: Range<usize>,
    /// Sum of the weights of its words.
    pub(crate) weight: f64,
    /// How many of its words are numbers.
    pub(crate) numbers: usize,
}

/// One row of a group: where the words of its other parts are.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) row: u32,
    /// Words of the question; empty where the question is the anchor.
    pub(crate) question: Range<usize>,
    pub(crate) answer: Range<usize>,
    pub(crate) passage: Range<usize>,
}

/// Evaluation rows, ready to be looked for. Built once, shared by all threads.
#[derive(Debug)]
pub struct Index {
    pub(crate) settings: Settings,
    sets: Vec<EvalSet>,
    pub(crate) groups: Vec<Group>,
    pub(crate) members: Vec<Member>,
    pub(crate) words: Vec<u64>,
    pub(crate) weights: Vec<f32>,
    pub(crate) table: Table,
    pub(crate) paraphrases: Option<Paraphrases>,
    summary: Summary,
}

/// A row's words, before rows are put together.
struct Prepared {
    row: u32,
    anchor: Anchor,
    anchor_words: Vec<u64>,
    others: [Vec<u64>; 3],
}

impl Index {
    /// Builds the index of these sets.
    ///
    /// # Errors
    /// [`Error::Setting`], [`Error::TooLarge`].
    pub fn build(sets: Vec<EvalSet>, settings: &Settings) -> Result<Self, Error> {
        settings.validate()?;
        let too_large = |what| Error::TooLarge { what, limit: u32::MAX as usize };
        let mut index = Self {
            settings: settings.clone(),
            sets: Vec::new(),
            groups: Vec::new(),
            members: Vec::new(),
            words: Vec::new(),
            weights: Vec::new(),
            table: Table::build(Vec::new(), 0, settings.hot_ngram).0,
            paraphrases: None,
            summary: Summary::default(),
        };
        for (number, set) in sets.iter().enumerate() {
            u32::try_from(set.rows.len()).map_err(|_| too_large("rows of a set"))?;
            index.add(u32::try_from(number).map_err(|_| too_large("sets"))?, set);
        }
        u32::try_from(index.words.len()).map_err(|_| too_large("words"))?;
        u32::try_from(index.groups.len()).map_err(|_| too_large("questions"))?;
        index.weigh();
        index.sets = sets;
        let mut entries = Vec::new();
        for (number, group) in index.groups.iter().enumerate() {
            let words = &index.words[group.words.clone()];
            entries.extend(
                words
                    .windows(settings.ngram)
                    .enumerate()
                    .map(|(offset, run)| (run_hash(run), Posting { group: number as u32, offset: offset as u32 })),
            );
        }
        let lost;
        (index.table, lost) = Table::build(entries, index.groups.len(), settings.hot_ngram);
        index.summary.unreachable_rows += lost;
        if let Some(paraphrase) = &settings.paraphrase {
            let questions = index.groups.iter().enumerate().filter(|(_, group)| group.anchor == Anchor::Question);
            let texts = questions.map(|(number, group)| {
                let row = index.members[group.members.start].row;
                (number as u32, &index.sets[group.set as usize].rows[row as usize].question[..])
            });
            index.paraphrases = Some(Paraphrases::build(texts, paraphrase, settings.hot_ngram));
        }
        index.summary.paraphrase_questions = index.paraphrases.as_ref().map_or(0, Paraphrases::len);
        index.summary.questions = index.groups.len();
        index.summary.ngrams = index.table.len();
        index.summary.table_bytes = index.table.bytes()
            + index.paraphrases.as_ref().map_or(0, Paraphrases::bytes)
            + index.words.len() * (size_of::<u64>() + size_of::<f32>())
            + index.groups.len() * size_of::<Group>()
            + index.members.len() * size_of::<Member>();
        Ok(index)
    }

    /// The sets it was built of.
    #[must_use]
    pub fn sets(&self) -> &[EvalSet] {
        &self.sets
    }

    /// What it holds, and what it leaves out.
    #[must_use]
    pub fn summary(&self) -> Summary {
        self.summary
    }

    /// Adds the rows of a set; those with the same anchor become one group.
    fn add(&mut self, number: u32, set: &EvalSet) {
        self.summary.rows += set.rows.len();
        let mut order: HashMap<(Anchor, Vec<u64>), usize> = HashMap::new();
        let mut groups: Vec<(Anchor, Vec<u64>, Vec<(u32, [Vec<u64>; 3])>)> = Vec::new();
        for (row, content) in set.rows.iter().enumerate() {
            let Some(prepared) = self.prepare(row as u32, content) else { continue };
            let place = *order.entry((prepared.anchor, prepared.anchor_words.clone())).or_insert(groups.len());
            if place == groups.len() {
                groups.push((prepared.anchor, prepared.anchor_words, Vec::new()));
            }
            groups[place].2.push((prepared.row, prepared.others));
        }
        for (anchor, words, rows) in groups {
            let first = self.members.len();
            let words = self.store(&words);
            for (row, [question, answer, passage]) in rows {
                let (question, answer, passage) = (self.store(&question), self.store(&answer), self.store(&passage));
                self.members.push(Member { row, question, answer, passage });
            }
            let numbers = self.words[words.clone()].iter().filter(|&&word| is_number(word)).count();
            self.groups.push(Group {
                set: number,
                anchor,
                words,
                members: first..self.members.len(),
                weight: 0.0,
                numbers,
            });
        }
    }

    /// The words of a row, if it is to be looked for.
    fn prepare(&mut self, row: u32, content: &EvalRow) -> Option<Prepared> {
        let part = |text: &Option<String>| text.as_deref().map(Words::hashes_of).unwrap_or_default();
        let (question, answer, passage) =
            (Words::hashes_of(&content.question), part(&content.answer), part(&content.passage));
        let mut unique: Vec<u64> = [&question[..], &answer, &passage].concat();
        let tokens = unique.len();
        unique.sort_unstable();
        unique.dedup();
        if tokens < self.settings.min_tokens || unique.len() < self.settings.min_unique {
            self.summary.short_rows += 1;
            return None;
        }
        let mut others = [question, answer, passage];
        let long = |words: &Vec<u64>| words.len() >= self.settings.ngram;
        let (anchor, place) = if long(&others[0]) {
            (Anchor::Question, 0)
        } else if long(&others[2]) {
            (Anchor::Passage, 2)
        } else if long(&others[1]) {
            (Anchor::Answer, 1)
        } else {
            self.summary.unreachable_rows += 1;
            return None;
        };
        let anchor_words = std::mem::take(&mut others[place]);
        Some(Prepared { row, anchor, anchor_words, others })
    }

    fn store(&mut self, words: &[u64]) -> Range<usize> {
        let start = self.words.len();
        self.words.extend_from_slice(words);
        start..self.words.len()
    }

    /// Weighs all words by how few of the groups have them.
    fn weigh(&mut self) {
        let mut counts: ByHash<(u32, u32)> = ByHash::default();
        for (number, group) in self.groups.iter().enumerate() {
            for &word in &self.words[group.words.clone()] {
                let (count, last) = counts.entry(word).or_insert((0, u32::MAX));
                if *last != number as u32 {
                    (*count, *last) = (*count + 1, number as u32);
                }
            }
        }
        let all = (self.groups.len() + 1) as f64;
        self.weights = self
            .words
            .iter()
            .map(|word| {
                let count = counts.get(word).map_or(1, |&(count, _)| count.max(1));
                let rarity = if is_number(*word) {
                    1.0
                } else {
                    (all / f64::from(count)).ln() / all.ln().max(f64::MIN_POSITIVE)
                };
                (LEAST_WEIGHT + (1.0 - LEAST_WEIGHT) * rarity.clamp(0.0, 1.0)) as f32
            })
            .collect();
        for group in &mut self.groups {
            group.weight = self.weights[group.words.clone()].iter().map(|&weight| f64::from(weight)).sum();
        }
    }
}

/// What a word is multiplied with for each word after it in a run.
pub(crate) const RUN_FACTOR: u64 = 0xb562_4c1f_93d7_8e25;

/// The hash of a run of words.
pub(crate) fn run_hash(words: &[u64]) -> u64 {
    mix(words.iter().fold(0_u64, |sum, &word| sum.wrapping_mul(RUN_FACTOR).wrapping_add(word)))
}
