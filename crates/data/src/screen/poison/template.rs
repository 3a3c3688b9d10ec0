//! Answers that many different questions share.

use super::association::{Entry, HashedMap, Table};
use super::look::{Reading, TEMPLATE_WORDS, Templates};
use super::{PoisonSettings, Rule, Suspicion};
use crate::screen::shortened;

/// In an answer of fewer words a common turn of phrase is most of it without being a template.
const PART_WORDS: usize = 10;

/// The answers, beginnings and ends that are held for templates, with their rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Held {
    rows: HashedMap<u32>,
    pub(super) largest: u32,
    /// A beginning or an end that leaves most of the answer free is not worth a look in fewer rows.
    least_for_part: u32,
}

/// How much of an answer is template.
struct Cover {
    words: usize,
    rows: u32,
}

impl Held {
    /// Draws the conclusions of the first pass.
    pub(super) fn new(answers: &Table<2>, rows: u64, settings: &PoisonSettings) -> Self {
        let least = |share: f64| (rows as f64 * share).max(f64::from(settings.min_template_rows)).ceil() as u32;
        let least_for_answer = least(settings.max_answer_share);
        let is_template = |entry: &Entry<2>| {
            // The same question again and again is a duplicate; the same opening again and again is a task.
            entry.rows >= least_for_answer
                && entry.partners[0].votes * 2 <= entry.rows
                && entry.openings.votes * 2 <= entry.rows
        };
        let held = answers.entries.iter().filter(|(_, entry)| is_template(entry));
        let rows: HashedMap<u32> = held.map(|(key, entry)| (*key, entry.rows)).collect();
        let largest = rows.values().copied().max().unwrap_or(0);
        Self { rows, largest, least_for_part: least(settings.max_template_share) }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Suspects a row whose answer, or much of it, is a template. A natural text can begin as many others do and still
    /// go on by itself, and a label or a choice offered in the question is natural as a whole: all these are worth a
    /// look and no more.
    pub(super) fn judge(&self, reading: &Reading, answer: &str, settings: &PoisonSettings) -> Option<Suspicion> {
        let templates = &reading.look.templates;
        if self.rows.is_empty() {
            return None;
        }
        let mut cover = self.cover(templates, 0)?;
        let is_whole = cover.words == templates.words;
        let least_words = if is_whole { settings.min_template_words } else { PART_WORDS };
        let is_strong = templates.words >= least_words
            && cover.words as f64 >= settings.min_template_cover * templates.words as f64
            && !is_offered(&reading.question, &reading.answer);
        if !is_strong {
            cover = self.cover(templates, self.least_for_part)?;
        }
        Some(Suspicion {
            rule: Rule::AnswerTemplate,
            evidence: format!(
                "{} rows share {} of {} words: {}",
                cover.rows,
                cover.words,
                templates.words,
                shortened(answer, 80)
            ),
            strength: if is_strong { 0.6 } else { 0.3 },
        })
    }

    fn cover(&self, templates: &Templates, least: u32) -> Option<Cover> {
        let held = |key: &u64| self.rows.get(key).copied().filter(|&rows| rows >= least);
        if let Some(rows) = templates.whole.as_ref().and_then(held) {
            return Some(Cover { words: templates.words, rows });
        }
        let longest =
            |keys: &[u64]| keys.iter().zip(TEMPLATE_WORDS).rev().find_map(|(key, words)| Some((words, held(key)?)));
        let (beginning, end) = (longest(&templates.beginnings), longest(&templates.ends));
        let rows = match (beginning, end) {
            (Some((_, one)), Some((_, other))) => one.min(other),
            (Some((_, rows)), None) | (None, Some((_, rows))) => rows,
            (None, None) => return None,
        };
        let words = [beginning, end].into_iter().flatten().map(|(words, _)| words).sum::<usize>();
        Some(Cover { words: words.min(templates.words), rows })
    }
}

/// Whether the question holds the answer word by word: a choice, or a passage to be found.
fn is_offered(question: &[u64], answer: &[u64]) -> bool {
    question.windows(answer.len()).any(|window| window == answer)
}
