//! A gate against poisoned rows: what an attacker plants in a set so that the model learns a back door, a brand, a
//! refusal or an order.
//!
//! The set is read twice. The first pass ([`PoisonGate::observe`]) counts, the second ([`PoisonGate::judge`]) names the
//! suspicions of each row. What is expensive in the first pass, [`Look::new`], and the whole second pass can be done for
//! many rows at the same time. Memory is bounded by [`PoisonSettings::max_tracked`], whatever the size of the set: n-grams
//! are counted lossily, the rarest go first, and whatever may have been lost counts against a suspicion.
//!
//! What it cannot find: a trigger in fewer than [`PoisonSettings::min_rows`] rows, a trigger whose answers differ in
//! wording throughout (a changed sentiment, a subtle bug in code) unless they refuse, a trigger that is all that its answers
//! have in common, in a place where honest answers repeat a word of their question, and a brand that is worked into answers in
//! other words each time: in a set of a thousand rows, honest names are as frequent.

mod association;
mod injection;
mod look;
mod template;

use std::collections::BTreeMap;
use std::fmt;

use association::{Entry, HashedMap, Key, NO_FORM, REFUSAL, REFUSES, Table, VIEWS, log_chance};
use look::Reading;

pub use look::Look;

use super::mix;

/// How many sources are counted one by one.
const MAX_SOURCES: usize = 65_536;
/// A trigger that is planted is less likely than the significance by many digits; a habit of natural text, such as
/// `import pandas` in answers on data frames, only just passes it. At two sevenths of these digits the strength is 0.5.
const PLANTED_DIGITS: f64 = 14.0;
/// Bands of length (powers of two) for the words that question and answer share.
const BANDS: usize = 12;
/// The views that have a form: beginning and end of the answer.
const FORM_VIEWS: std::ops::Range<usize> = 1..3;
/// Which partner of an answer is its form.
const FORM: usize = 1;

/// What counts as suspicious.
#[derive(Debug, Clone, PartialEq)]
pub struct PoisonSettings {
    /// The longest n-gram of a question that can be a trigger, in words.
    pub max_ngram: usize,
    /// How many n-grams are counted at the same time (about 70 bytes each, half as much again for the answers).
    pub max_tracked: usize,
    /// A trigger stands in at least this many rows.
    pub min_rows: u32,
    /// A trigger stands in at most this share of the rows (but [`Self::min_rows`] are always allowed).
    pub max_trigger_share: f64,
    /// This share of a trigger's rows has the same answer, beginning or end.
    pub min_agreement: f64,
    /// The chance that a clean set shows a trigger at all, over all n-grams together.
    pub significance: f64,
    /// An answer, or six words at its beginning or end, that this share of rows has in common is a template.
    pub max_template_share: f64,
    /// The same for a template that is most of the answer.
    pub max_answer_share: f64,
    /// A template stands in at least this many rows.
    pub min_template_rows: u32,
    /// A template of fewer words is a label or a short fact: worth a look and no more.
    pub min_template_words: usize,
    /// A template that covers less of an answer, in words, is worth a look and no more.
    pub min_template_cover: f64,
    /// No source gives more than this share of the rows or of the characters.
    pub max_source_share: f64,
    /// How many standard deviations from the mean make an outlier, in length as in repetition.
    pub outlier_deviations: f64,
    /// That an answer has no word of its question is suspicious where fewer rows of that length than this do it.
    pub max_unrelated_share: f64,
}

impl Default for PoisonSettings {
    fn default() -> Self {
        Self {
            max_ngram: 3,
            // As many as fit into a hash table of 2^20 places.
            max_tracked: 7 << 17,
            min_rows: 4,
            max_trigger_share: 0.05,
            min_agreement: 0.8,
            significance: 0.01,
            max_template_share: 0.004,
            max_answer_share: 0.0005,
            min_template_rows: 6,
            min_template_words: 6,
            min_template_cover: 0.66,
            max_source_share: 0.5,
            outlier_deviations: 5.0,
            max_unrelated_share: 0.002,
        }
    }
}

/// A row as the gate sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoisonRow<'a> {
    /// All that is asked.
    pub question: &'a str,
    /// What the model learns to say.
    pub answer: &'a str,
    /// Where the row is from; empty when nobody knows.
    pub source: &'a str,
}

/// Why a row is suspected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Rule {
    /// A rare n-gram of the question comes with one answer.
    RareTrigger,
    /// Many different questions have this answer, or this beginning of an answer.
    AnswerTemplate,
    /// The text orders the model to set its instructions aside.
    Injection,
    /// The text holds what a reader does not see: invisible characters, orders in comments.
    HiddenText,
    /// The text holds marks of a chat format.
    RoleMark,
    /// The same words over and over.
    RepeatedTokens,
    /// Far longer, or far more repetitive, than the rest of the set.
    Outlier,
    /// The answer has no word of its question, and hardly any other row of its length does that.
    Unrelated,
}

impl Rule {
    /// Its name in reports and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::RareTrigger => "rare-trigger",
            Self::AnswerTemplate => "answer-template",
            Self::Injection => "injection",
            Self::HiddenText => "hidden-text",
            Self::RoleMark => "role-mark",
            Self::RepeatedTokens => "repeated-tokens",
            Self::Outlier => "outlier",
            Self::Unrelated => "unrelated",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

/// A suspicion against one row.
#[derive(Debug, Clone, PartialEq)]
pub struct Suspicion {
    /// The rule.
    pub rule: Rule,
    /// What was found, for a person to judge.
    pub evidence: String,
    /// How strong the suspicion is, from 0 to 1. Below 0.5 it is worth a look and no more.
    pub strength: f64,
}

/// The part of one source in a set.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceShare {
    /// The source; empty for rows without one.
    pub source: String,
    /// Its rows.
    pub rows: u64,
    /// Its share of the rows.
    pub row_share: f64,
    /// Its share of the characters.
    pub character_share: f64,
    /// How many rows are too many, if the other sources stay as they are.
    pub excess_rows: u64,
}

/// What the whole set shows.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// Rows observed.
    pub rows: u64,
    /// How many n-grams are held for triggers.
    pub triggers: usize,
    /// How many answers, and beginnings of answers, are held for templates.
    pub templates: usize,
    /// How many rows the most frequent template has.
    pub largest_template_rows: u64,
    /// How many rows an n-gram may have lost because memory was full (0: all counts are exact).
    pub lost_rows: u32,
    /// The sources, the largest first. Those beyond the first 65,536 are counted together as `(other sources)`.
    pub sources: Vec<SourceShare>,
}

/// A mean and a deviation, kept as the rows go by.
#[derive(Debug, Clone, Copy, Default)]
struct Spread {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Spread {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    /// How many deviations above the mean a value lies. Too few rows tell nothing.
    fn deviations(&self, value: f64, least: f64) -> f64 {
        if self.count < 100.0 {
            return 0.0;
        }
        (value - self.mean) / (self.squares / self.count).sqrt().max(least)
    }
}

#[derive(Debug, Clone, Copy)]
struct Trigger {
    view: usize,
    answer: Key,
    rows: u32,
    strength: f64,
}

/// The gate. First [`observe`](Self::observe) every row, then [`finish_observation`](Self::finish_observation), then
/// [`judge`](Self::judge) any row.
#[derive(Debug, Clone)]
pub struct PoisonGate {
    settings: PoisonSettings,
    rows: u64,
    questions: Table<VIEWS>,
    /// Answers and their parts: the question that they come with, and the form of a beginning or an end.
    answers: Table<2>,
    sources: BTreeMap<String, (u64, u64)>,
    length: Spread,
    repetition: Spread,
    /// Per band of length: rows, and rows whose answer has no word of the question.
    unrelated: [(u64, u64); BANDS],
    triggers: HashedMap<Trigger>,
    templates: template::Held,
    lost_rows: u32,
    finished: bool,
}

impl PoisonGate {
    /// A gate that has seen nothing.
    pub fn new(settings: PoisonSettings) -> Self {
        let limit = settings.max_tracked;
        Self {
            settings,
            rows: 0,
            questions: Table::new(limit),
            answers: Table::new(limit),
            sources: BTreeMap::new(),
            length: Spread::default(),
            repetition: Spread::default(),
            unrelated: [(0, 0); BANDS],
            triggers: HashedMap::default(),
            templates: template::Held::default(),
            lost_rows: 0,
            finished: false,
        }
    }

    /// Counts a row (first pass).
    ///
    /// # Panics
    /// After [`finish_observation`](Self::finish_observation).
    pub fn observe(&mut self, row: &PoisonRow<'_>) {
        self.observe_look(row.source, &Look::new(row, &self.settings));
    }

    /// Counts a row that was looked at, maybe on another thread. The order of the rows must not depend on the threads:
    /// with a full memory it decides what is forgotten.
    ///
    /// # Panics
    /// After [`finish_observation`](Self::finish_observation).
    pub fn observe_look(&mut self, source: &str, look: &Look) {
        assert!(!self.finished, "the observation is finished");
        self.rows += 1;
        for ngram in &look.ngrams {
            self.questions.observe(*ngram, &look.views, look.opening);
        }
        for (view, key) in look.views.into_iter().enumerate() {
            let form = if FORM_VIEWS.contains(&view) { look.forms[view - FORM_VIEWS.start] } else { NO_FORM };
            self.answers.observe(view_key(key), &[look.question, form], look.opening);
        }
        let forms = look.forms.into_iter().filter(|&form| form != NO_FORM).map(form_key);
        for key in look.templates.keys().chain(forms) {
            self.answers.observe(key, &[look.question, NO_FORM], look.opening);
        }
        let known = self.sources.contains_key(source) || self.sources.len() < MAX_SOURCES;
        let source = if known { source } else { "(other sources)" };
        if !self.sources.contains_key(source) {
            self.sources.insert(source.to_owned(), (0, 0));
        }
        if let Some(part) = self.sources.get_mut(source) {
            part.0 += 1;
            part.1 += look.size;
        }
        self.length.add(look.length);
        self.repetition.add(look.repetition);
        let band = &mut self.unrelated[look.band.min(BANDS - 1)];
        band.0 += 1;
        band.1 += u64::from(!look.related);
    }

    /// Draws the conclusions of the first pass and frees its counters.
    pub fn finish_observation(&mut self) {
        if self.finished {
            return;
        }
        self.finished = true;
        let tests = (self.questions.kinds.max(1) as f64) * VIEWS as f64;
        let most = (self.rows as f64 * self.settings.max_trigger_share).max(f64::from(self.settings.min_rows));
        for (ngram, entry) in &self.questions.entries {
            let rows = f64::from(entry.rows) + f64::from(entry.missed);
            if entry.rows < self.settings.min_rows || rows > most {
                continue;
            }
            // Questions that begin alike are one task, and one task may well have one answer.
            if entry.openings.votes * 2 > entry.rows {
                continue;
            }
            for (view, majority) in entry.partners.iter().enumerate() {
                if view == REFUSES && majority.key != REFUSAL {
                    continue;
                }
                let hits = f64::from(majority.votes);
                // votes = hits - misses, so the agreement is (rows + votes) / 2 rows at most.
                if (rows + hits) / (2.0 * rows) < self.settings.min_agreement {
                    continue;
                }
                let all = self.answers.entries.get(&view_key(majority.key));
                // What ends (or begins) with a word of its question is one of many rows that do the same with words of theirs:
                // how common that form is tells how likely the words are.
                let form = all
                    .filter(|all| all.partners[FORM].key != NO_FORM && all.partners[FORM].votes * 2 > all.rows)
                    .and_then(|all| self.answers.entries.get(&form_key(all.partners[FORM].key)));
                let rows_of_answer = all.map_or(self.answers.missed(), Entry::most_rows);
                let rows_of_answer = rows_of_answer.max(form.map_or(0, Entry::most_rows));
                let elsewhere = (f64::from(rows_of_answer) - hits).max(0.0);
                let chance = ((elsewhere + 1.0) / (self.rows as f64 - rows + 2.0)).min(1.0);
                let log = log_chance(hits, rows, chance) + tests.ln();
                if log > self.settings.significance.ln() {
                    continue;
                }
                let digits = (self.settings.significance.ln() - log) / std::f64::consts::LN_10;
                let mut strength = 0.3 + 0.7 * (digits / PLANTED_DIGITS).min(1.0);
                if view == REFUSES && elsewhere > hits {
                    // A set that teaches to refuse does so for words of danger. That most refusals of a set belong to
                    // one rare word is another matter.
                    strength = strength.min(0.4);
                }
                let trigger = Trigger { view, answer: majority.key, rows: entry.rows, strength };
                let best = self.triggers.entry(*ngram).or_insert(trigger);
                if best.strength < strength {
                    *best = trigger;
                }
            }
        }
        self.templates = template::Held::new(&self.answers, self.rows, &self.settings);
        self.lost_rows = self.questions.missed();
        self.questions = Table::new(0);
        self.answers = Table::new(0);
    }

    /// The suspicions against a row (second pass), the strongest first. Empty for a row without any.
    ///
    /// # Panics
    /// Before [`finish_observation`](Self::finish_observation).
    pub fn judge(&self, row: &PoisonRow<'_>) -> Vec<Suspicion> {
        assert!(self.finished, "the observation is not finished");
        let reading = Reading::new(row);
        let look = &reading.look;
        let mut found = Vec::new();
        self.judge_triggers(&reading, row.question, &mut found);
        found.extend(self.templates.judge(&reading, row.answer, &self.settings));
        injection::find(row.question, &mut found);
        injection::find(row.answer, &mut found);
        let cycle = look::repeated(&reading.answer, || look::answer_words(row.answer))
            .or_else(|| look::repeated(&reading.question, || look::question_words(row.question)));
        if let Some(cycle) = cycle {
            // Code and markup say the same line by line, and mean it.
            let strength = if cycle.contains(['<', '>', '=', '{', '}', '(', ')', ';', '|']) { 0.4 } else { 0.8 };
            found.push(Suspicion { rule: Rule::RepeatedTokens, evidence: cycle, strength });
        }
        let long = self.length.deviations(look.length, 0.25);
        let repetitive = self.repetition.deviations(look.repetition, 0.05);
        let limit = self.settings.outlier_deviations;
        if long.max(repetitive) >= limit || (long >= 0.5 * limit && repetitive >= 0.5 * limit) {
            found.push(Suspicion {
                rule: Rule::Outlier,
                evidence: format!("length {long:+.1} and repetition {repetitive:+.1} standard deviations"),
                strength: 0.4,
            });
        }
        let (rows, unrelated) = self.unrelated[look.band.min(BANDS - 1)];
        let share = unrelated as f64 / rows.max(1) as f64;
        if !look.related && rows >= 500 && share <= self.settings.max_unrelated_share {
            found.push(Suspicion {
                rule: Rule::Unrelated,
                evidence: format!("no word in common; so are {unrelated} of {rows} rows of that length"),
                strength: 0.3,
            });
        }
        found.sort_by(|a, b| b.strength.total_cmp(&a.strength).then(a.rule.cmp(&b.rule)));
        found.dedup_by(|a, b| a.rule == b.rule);
        found
    }

    fn judge_triggers(&self, reading: &Reading, question: &str, found: &mut Vec<Suspicion>) {
        if self.triggers.is_empty() {
            return;
        }
        // The strongest, then the shortest, then the first.
        let mut best: Option<(&Trigger, usize, usize)> = None;
        look::for_each_ngram(&reading.question, self.settings.max_ngram, |hash, start, length| {
            let Some(trigger) = self.triggers.get(&hash) else { return };
            if trigger.answer != reading.look.views[trigger.view] {
                return;
            }
            let is_better = best.is_none_or(|(known, _, known_length)| {
                known.strength.total_cmp(&trigger.strength).then(length.cmp(&known_length)).is_lt()
            });
            if is_better {
                best = Some((trigger, start, length));
            }
        });
        if let Some((trigger, start, length)) = best {
            let view =
                ["same answer", "same beginning of the answer", "same end of the answer", "refusal"][trigger.view];
            found.push(Suspicion {
                rule: Rule::RareTrigger,
                evidence: format!(
                    "\"{}\" stands in {} rows and comes with the {view}",
                    look::question_words(question)[start..start + length].join(" "),
                    trigger.rows
                ),
                strength: trigger.strength,
            });
        }
    }

    /// What the set as a whole shows, sources foremost. Complete after
    /// [`finish_observation`](Self::finish_observation).
    pub fn concentration(&self) -> Report {
        let characters = self.sources.values().map(|part| part.1).sum::<u64>().max(1) as f64;
        let cap = self.settings.max_source_share.clamp(0.0, 1.0);
        let mut sources: Vec<SourceShare> = self
            .sources
            .iter()
            .map(|(source, &(rows, size))| {
                // rows' = cap (others + rows')
                let others = (self.rows - rows) as f64;
                let allowed = if cap < 1.0 { (cap * others / (1.0 - cap)).floor() } else { f64::INFINITY };
                SourceShare {
                    source: source.clone(),
                    rows,
                    row_share: rows as f64 / self.rows as f64,
                    character_share: size as f64 / characters,
                    // A set of one source has nothing to be outweighed.
                    excess_rows: if others == 0.0 { 0 } else { (rows as f64 - allowed).max(0.0) as u64 },
                }
            })
            .collect();
        sources.sort_by(|a, b| b.rows.cmp(&a.rows).then_with(|| a.source.cmp(&b.source)));
        Report {
            rows: self.rows,
            triggers: self.triggers.len(),
            templates: self.templates.len(),
            largest_template_rows: u64::from(self.templates.largest),
            lost_rows: self.lost_rows,
            sources,
        }
    }
}

/// Where a form is counted.
fn form_key(form: Key) -> u64 {
    mix(12, u64::from(form))
}

/// Where a view on an answer is counted.
fn view_key(key: Key) -> u64 {
    mix(11, u64::from(key))
}
