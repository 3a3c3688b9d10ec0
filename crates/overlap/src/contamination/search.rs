//! Looking for the evaluation rows in a text.

use std::ops::Range;

use super::align::align;
use super::index::{Anchor, Group, Index, Member, RUN_FACTOR, run_hash};
use super::paraphrase::Reader;
use super::table::{ByHash, Posting};
use super::words::{Words, mix};

/// A short answer has to be there word by word, this near to the question.
const SHORT_ANSWER: usize = 3;
/// Words between a question and its answer.
const ANSWER_REACH: usize = 50;
/// Words between a question and its passage.
const PASSAGE_REACH: usize = 100;
/// Words of a run of an answer, and of a passage.
const ANSWER_RUN: usize = 3;
const PASSAGE_RUN: usize = 4;
/// More of an answer or passage is not looked at.
const LONGEST_PART: usize = 4000;
/// From this on an answer or passage confirms a short question.
const CONFIRMS: f64 = 0.5;
/// Below this many words no number of a question may be another one in the text; above, one in so many.
const NUMBERS_MUST_AGREE: usize = 20;
const NUMBERS_PER_CHANGE: usize = 3;

/// How a row was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Its own words, in order.
    Words,
    /// Its numbers and content words, in any order.
    Paraphrase,
}

/// An evaluation row in a text.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Match {
    /// Number of the set, as given to [`Index::build`].
    pub set: usize,
    /// Number of the row in the set, from 0.
    pub row: usize,
    /// Other rows with the same question that are there as well (of multiple choice, the other choices).
    pub also: Vec<usize>,
    /// How it was found.
    pub layer: Layer,
    /// 0 to 1.
    pub score: f64,
    /// How much of the question is there, 0 to 1.
    pub question_score: f64,
    /// How much of the answer is there, if the row has one.
    pub answer_score: Option<f64>,
    /// How much of the passage is there, if the row has one.
    pub passage_score: Option<f64>,
    /// The bytes of the text that hold the question.
    pub span: Range<usize>,
}

/// What a thread keeps between texts, so that nothing is allocated anew for each. It carries no results over.
#[derive(Debug, Default)]
pub struct Scratch {
    words: Words,
    reader: Reader,
    /// The best find per group.
    found: ByHash<Find>,
    /// The word up to which a group was followed.
    reached: ByHash<usize>,
    hits: Vec<(usize, u64)>,
    runs: ByHash<()>,
}

/// A group in a text.
#[derive(Debug, Clone)]
struct Find {
    text: Range<usize>,
    anchor_score: f64,
    scores: RowScores,
    row: usize,
    also: Vec<usize>,
}

/// The scores of a row.
#[derive(Debug, Clone, Copy)]
struct RowScores {
    score: f64,
    question: f64,
    answer: Option<f64>,
    passage: Option<f64>,
}

impl Index {
    /// Finds the evaluation rows in a text; of each question the best place. Sorted by set, row and place; the same for any `scratch`.
    #[must_use]
    pub fn check(&self, text: &str, scratch: &mut Scratch) -> Vec<Match> {
        scratch.words.read(text);
        scratch.found.clear();
        scratch.reached.clear();
        self.probe(&scratch.words.hashes, &mut scratch.hits);
        let hits = std::mem::take(&mut scratch.hits);
        for &(at, key) in &hits {
            for &posting in self.table.get(key) {
                self.follow(posting, at, scratch);
            }
        }
        scratch.hits = hits;
        let mut matches: Vec<Match> = scratch
            .found
            .iter()
            .map(|(&group, find)| Match {
                set: self.groups[group as usize].set as usize,
                row: find.row,
                also: find.also.clone(),
                layer: Layer::Words,
                score: find.scores.score,
                question_score: find.scores.question,
                answer_score: find.scores.answer,
                passage_score: find.scores.passage,
                span: scratch.words.span(text, find.text.start, find.text.end - 1),
            })
            .collect();
        if let Some(paraphrases) = &self.paraphrases {
            let known = |group: u32| scratch.found.contains_key(&u64::from(group));
            for rewording in paraphrases.find(text, &scratch.words, &mut scratch.reader, known) {
                let place = rewording.first..rewording.last + 1;
                let group = &self.groups[rewording.group as usize];
                let members = self.members[group.members.clone()].iter();
                let scores: Vec<_> = members
                    .map(|member| {
                        let answer = self.answer(member, &place, &scratch.words.hashes, &mut scratch.runs);
                        let passage = self.passage(member, &place, &scratch.words.hashes, &mut scratch.runs);
                        (
                            member.row as usize,
                            RowScores { score: rewording.score, question: rewording.score, answer, passage },
                        )
                    })
                    .collect();
                let Some((row, scores, also)) = best_row(scores) else { continue };
                matches.push(Match {
                    set: group.set as usize,
                    row,
                    also,
                    layer: Layer::Paraphrase,
                    score: scores.score,
                    question_score: scores.question,
                    answer_score: scores.answer,
                    passage_score: scores.passage,
                    span: scratch.words.span(text, rewording.first, rewording.last),
                });
            }
        }
        matches.sort_by(|a, b| (a.set, a.row, a.span.start, a.layer).cmp(&(b.set, b.row, b.span.start, b.layer)));
        matches
    }

    /// The places of the text whose runs of words pass the filter.
    fn probe(&self, words: &[u64], hits: &mut Vec<(usize, u64)>) {
        hits.clear();
        let length = self.settings.ngram;
        if words.len() < length {
            return;
        }
        let step = self.settings.sample_every;
        if step >= length {
            for at in (0..=words.len() - length).step_by(step) {
                let key = run_hash(&words[at..at + length]);
                if self.table.may_have(key) {
                    hits.push((at, key));
                }
            }
            return;
        }
        // The run moves on by one word: the first is taken off with its factor, the next put on.
        let first_factor = RUN_FACTOR.wrapping_pow(length as u32);
        let mut sum =
            words[..length - 1].iter().fold(0_u64, |sum, &word| sum.wrapping_mul(RUN_FACTOR).wrapping_add(word));
        let mut leaving = 0;
        for (at, &word) in words[length - 1..].iter().enumerate() {
            sum = sum.wrapping_mul(RUN_FACTOR).wrapping_add(word).wrapping_sub(first_factor.wrapping_mul(leaving));
            leaving = words[at];
            let key = mix(sum);
            if self.table.may_have(key) && (step == 1 || at.is_multiple_of(step)) {
                hits.push((at, key));
            }
        }
    }

    /// Follows a group from a run of words that is the same, and keeps it if enough is there.
    fn follow(&self, posting: Posting, at: usize, scratch: &mut Scratch) {
        let number = u64::from(posting.group);
        if scratch.reached.get(&number).is_some_and(|&reached| at < reached) {
            return;
        }
        let group = &self.groups[posting.group as usize];
        let (question, weights) = (&self.words[group.words.clone()], &self.weights[group.words.clone()]);
        let (text, offset, length) = (&scratch.words.hashes[..], posting.offset as usize, self.settings.ngram);
        if text[at..at + length] != question[offset..offset + length] {
            // Another run with the same hash.
            return;
        }
        let alignment = align(question, weights, text, (offset, at, length), self.settings.max_misses);
        scratch.reached.insert(number, alignment.text.end);
        let anchor_score = (alignment.weight / group.weight).min(1.0);
        let allowed = if question.len() < NUMBERS_MUST_AGREE { 0 } else { (group.numbers / NUMBERS_PER_CHANGE).max(1) };
        // Sums of weights are not exact: what is whole may fall short by a hair.
        if anchor_score + 1e-6 < self.settings.required(question.len()) || alignment.replaced_numbers > allowed {
            return;
        }
        if scratch.found.get(&number).is_some_and(|best| best.scores.score >= 1.0 || best.anchor_score > anchor_score) {
            return;
        }
        let members = self.members[group.members.clone()].iter();
        let scores = members
            .map(|member| {
                let scores = self.scores(group, member, anchor_score, &alignment.text, text, &mut scratch.runs);
                (member.row as usize, scores)
            })
            .filter(|(_, scores)| scores.score + 1e-6 >= self.settings.threshold)
            .collect();
        let Some((row, scores, also)) = best_row(scores) else { return };
        let find = Find { text: alignment.text, anchor_score, scores, row, also };
        let best = scratch.found.entry(number).or_insert_with(|| find.clone());
        if find.scores.score > best.scores.score {
            *best = find;
        }
    }

    /// The scores of a row whose anchor is at `place`.
    fn scores(
        &self,
        group: &Group,
        member: &Member,
        anchor_score: f64,
        place: &Range<usize>,
        text: &[u64],
        runs: &mut ByHash<()>,
    ) -> RowScores {
        let mut question = anchor_score;
        let (mut answer, mut passage) =
            (self.answer(member, place, text, runs), self.passage(member, place, text, runs));
        match group.anchor {
            Anchor::Question => {}
            Anchor::Passage => passage = Some(anchor_score),
            Anchor::Answer => answer = Some(anchor_score),
        }
        if group.anchor != Anchor::Question {
            // The question is too short to be found by itself, so it has to be there word by word.
            question =
                f64::from(u8::from(near_exactly(&self.words[member.question.clone()], place, PASSAGE_REACH, text)));
        }
        let settings = &self.settings;
        let weighted = match (answer, passage) {
            (None, None) => question,
            (Some(answer), None) => {
                let [q, a] = settings.question_answer_weights;
                q * question + a * answer
            }
            (None, Some(passage)) => {
                let [q, p] = settings.question_passage_weights;
                q * question + p * passage
            }
            (Some(answer), Some(passage)) => {
                let [q, a, p] = settings.weights;
                q * question + a * answer + p * passage
            }
        };
        let confirmed =
            answer.unwrap_or(0.0).max(passage.unwrap_or(0.0)) >= CONFIRMS || (answer, passage) == (None, None);
        let score = if group.anchor == Anchor::Question && group.words.len() >= settings.short_question {
            // A question of some length says enough by itself: often it is copied with another answer, or none.
            weighted.max(question)
        } else if confirmed {
            weighted
        } else {
            0.0
        };
        RowScores { score: score.min(1.0), question, answer, passage }
    }

    /// How much of a row's answer is near `place`; nothing if it has none apart from its anchor.
    fn answer(&self, member: &Member, place: &Range<usize>, text: &[u64], runs: &mut ByHash<()>) -> Option<f64> {
        let words = &self.words[member.answer.clone()];
        if words.is_empty() {
            return None;
        }
        if words.len() <= SHORT_ANSWER {
            return Some(f64::from(u8::from(near_exactly(words, place, ANSWER_REACH, text))));
        }
        Some(near_runs(words, &self.weights[member.answer.clone()], place, (ANSWER_RUN, ANSWER_REACH), text, runs))
    }

    /// How much of a row's passage is near `place`; nothing if it has none apart from its anchor.
    fn passage(&self, member: &Member, place: &Range<usize>, text: &[u64], runs: &mut ByHash<()>) -> Option<f64> {
        let words = &self.words[member.passage.clone()];
        if words.is_empty() {
            return None;
        }
        if words.len() < PASSAGE_RUN {
            return Some(f64::from(u8::from(near_exactly(words, place, PASSAGE_REACH, text))));
        }
        Some(near_runs(words, &self.weights[member.passage.clone()], place, (PASSAGE_RUN, PASSAGE_REACH), text, runs))
    }
}

/// The row with the highest score (then the fullest answer, then the first), and the others.
fn best_row(scores: Vec<(usize, RowScores)>) -> Option<(usize, RowScores, Vec<usize>)> {
    let rank = |scores: &RowScores| (scores.score, scores.answer.unwrap_or(0.0), scores.passage.unwrap_or(0.0));
    let mut best: Option<(usize, RowScores)> = None;
    for &(row, scores) in &scores {
        if best.as_ref().is_none_or(|(_, best)| rank(&scores) > rank(best)) {
            best = Some((row, scores));
        }
    }
    let (row, best) = best?;
    Some((row, best, scores.into_iter().map(|(other, _)| other).filter(|&other| other != row).collect()))
}

/// The words before and after `place`, as far as `reach`.
fn around<'a>(place: &Range<usize>, reach: usize, text: &'a [u64]) -> [&'a [u64]; 2] {
    [&text[place.start.saturating_sub(reach)..place.start], &text[place.end..text.len().min(place.end + reach)]]
}

/// Whether the words stand near `place` just so.
fn near_exactly(words: &[u64], place: &Range<usize>, reach: usize, text: &[u64]) -> bool {
    !words.is_empty()
        && around(place, reach + words.len(), text)
            .iter()
            .any(|part| part.windows(words.len()).any(|window| window == words))
}

/// The share of the runs of `words` that are near `place`, by weight.
fn near_runs(
    words: &[u64],
    weights: &[f32],
    place: &Range<usize>,
    (run, reach): (usize, usize),
    text: &[u64],
    runs: &mut ByHash<()>,
) -> f64 {
    let length = words.len().min(LONGEST_PART);
    runs.clear();
    for part in around(place, reach + length + length / 4, text) {
        runs.extend(part.windows(run).map(|window| (run_hash(window), ())));
    }
    let (mut all, mut there) = (0.0, 0.0);
    for (window, weights) in words[..length].windows(run).zip(weights[..length].windows(run)) {
        let weight: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
        all += weight;
        if runs.contains_key(&run_hash(window)) {
            there += weight;
        }
    }
    if all > 0.0 { (there / all).min(1.0) } else { 0.0 }
}
