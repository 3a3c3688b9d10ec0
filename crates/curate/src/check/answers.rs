//! Preference data: answers that give themselves away, labels that contradict each other or are out of balance.

use attune_data::screen::preference::{self, Labelled, Pair, balance, contradictions, giveaway, reversed_pairs};
use attune_data::{Pair as Answers, Row, RowContent};

use super::{Cases, Check, Origin, Verdict};
use crate::texts::Texts;

/// Texts are held for the comparisons up to so many bytes; of larger sets the rest is not compared.
const MOST_BYTES: usize = 512 << 20;

/// What a row says of its answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Answered {
    Pair { prompt: String, chosen: String, rejected: String },
    Judged { prompt: String, completion: String, desirable: bool },
}

impl Answered {
    pub(super) fn of(row: &Row) -> Option<Self> {
        let texts = |content: RowContent| Texts::of_content(&content);
        match &row.content {
            RowContent::Chat(_) | RowContent::Completion { .. } => None,
            RowContent::Preference(pair) => {
                let (chosen, rejected) = (texts(pair.chosen()), texts(pair.rejected()));
                // Earlier answers of a conversation belong to its prompt.
                let (chosen, rejected) = match pair {
                    Answers::Text { chosen, rejected, .. } => (chosen.clone(), rejected.clone()),
                    Answers::Chat { .. } => last_apart(&chosen.answer, &rejected.answer),
                };
                Some(Self::Pair { prompt: texts(pair.chosen()).question, chosen, rejected })
            }
            RowContent::Judged { example, desirable } => {
                let texts = texts((**example).clone());
                Some(Self::Judged { prompt: texts.question, completion: texts.answer, desirable: *desirable })
            }
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Pair { prompt, chosen, rejected } => prompt.len() + chosen.len() + rejected.len(),
            Self::Judged { prompt, completion, .. } => prompt.len() + completion.len(),
        }
    }
}

/// Two texts without the lines that they begin with in common.
fn last_apart(left: &str, right: &str) -> (String, String) {
    let common: usize = (left.split_inclusive('\n').zip(right.split_inclusive('\n')))
        .take_while(|(left, right)| left == right && left.ends_with('\n'))
        .map(|(line, _)| line.len())
        .sum();
    (left[common..].to_owned(), right[common..].to_owned())
}

/// The answers of all rows.
#[derive(Default)]
pub(super) struct AllAnswers {
    rows: Vec<(Answered, String)>,
    bytes: usize,
    left_out: usize,
}

impl AllAnswers {
    pub(super) fn take(&mut self, answered: Answered, origin: &Origin<'_>) {
        self.bytes += answered.bytes();
        if self.bytes > MOST_BYTES {
            self.left_out += 1;
        } else {
            self.rows.push((answered, origin().to_string()));
        }
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let (mut pairs, mut pair_places) = (Vec::new(), Vec::new());
        let (mut judged, mut judged_places) = (Vec::new(), Vec::new());
        for (answered, place) in &self.rows {
            match answered {
                Answered::Pair { prompt, chosen, rejected } => {
                    pairs.push(Pair { prompt, chosen, rejected });
                    pair_places.push(place);
                }
                Answered::Judged { prompt, completion, desirable } => {
                    judged.push(Labelled { prompt, completion, desirable: *desirable });
                    judged_places.push(place);
                }
            }
        }
        if !pairs.is_empty() {
            checks.extend(of_pairs(&pairs, &pair_places));
        }
        if !judged.is_empty() {
            checks.extend(of_judged(&judged, &judged_places));
        }
        if self.left_out > 0 {
            let words = format!("{} more rows were not compared: the texts take too much memory", self.left_out);
            checks.push(Check {
                check: "answers compared",
                verdict: Verdict::Warning,
                found: self.left_out,
                of: self.rows.len() + self.left_out,
                words,
                examples: Vec::new(),
            });
        }
        checks
    }
}

fn of_pairs(pairs: &[Pair<'_>], places: &[&String]) -> Vec<Check> {
    let rows = pairs.len();
    let mut equal = Cases::default();
    for (pair, place) in pairs.iter().zip(places).filter(|(pair, _)| pair.chosen.trim() == pair.rejected.trim()) {
        equal.add(|| format!("{place}: {} characters twice", pair.chosen.chars().count()));
    }
    let mut reversed = Cases::default();
    for contradiction in reversed_pairs(pairs) {
        reversed
            .add(|| format!("{} prefers what {} rejects", places[contradiction.second], places[contradiction.first]));
    }
    let giveaway = giveaway(pairs);
    let features: Vec<String> = giveaway.features.iter().take(4).map(|feature| feature.name.clone()).collect();
    let words = format!(
        "chosen is told from rejected without reading by words {:.0} %, by style {:.0} %, by length {:.0} % \
         (chosen is longer in {:.0} %); strongest: {}",
        100.0 * giveaway.accuracy,
        100.0 * giveaway.style_accuracy,
        100.0 * giveaway.length_accuracy,
        100.0 * giveaway.chosen_longer,
        features.join(", ")
    );
    let verdict = match () {
        () if giveaway.is_bad() => Verdict::Refused,
        () if giveaway.pairs >= preference::MIN_PAIRS && giveaway.style_accuracy > 0.8 => Verdict::Warning,
        () => Verdict::Fine,
    };
    vec![
        equal.into_check("chosen = rejected", rows, Verdict::Refused, "prefer an answer to itself: nothing is learned"),
        reversed.into_check("reversed pairs", rows, Verdict::Warning, "contradict another row on the same question"),
        Check { check: "giveaway", verdict, found: 0, of: giveaway.pairs, words, examples: Vec::new() },
    ]
}

fn of_judged(judged: &[Labelled<'_>], places: &[&String]) -> Vec<Check> {
    let rows = judged.len();
    let desirable = judged.iter().filter(|row| row.desirable).count();
    let balance_check = match balance(judged) {
        None => Check {
            check: "label balance",
            verdict: Verdict::Refused,
            found: rows,
            of: rows,
            words: format!("{desirable} answers are wanted and {} are not: KTO needs both", rows - desirable),
            examples: Vec::new(),
        },
        Some(balance) => Check {
            check: "label balance",
            verdict: if balance.balanced { Verdict::Fine } else { Verdict::Warning },
            found: 0,
            of: rows,
            words: format!(
                "{} wanted, {} unwanted; weights {:.2} to {:.2} for wanted and {:.2} to {:.2} for unwanted balance them",
                balance.desirable,
                balance.undesirable,
                balance.desirable_weight.0,
                balance.desirable_weight.1,
                balance.undesirable_weight.0,
                balance.undesirable_weight.1
            ),
            examples: Vec::new(),
        },
    };
    let mut both = Cases::default();
    for contradiction in contradictions(judged) {
        both.add(|| {
            format!("{} judges the answer of {} otherwise", places[contradiction.second], places[contradiction.first])
        });
    }
    let mut neighbours = Cases::default();
    for row in preference::identical_neighbours(judged) {
        neighbours.add(|| places[row].to_string());
    }
    vec![
        balance_check,
        both.into_check(
            "contradicting labels",
            rows,
            Verdict::Refused,
            "have the same answer once wanted and once not",
        ),
        neighbours.into_check(
            "equal neighbours",
            rows,
            Verdict::Warning,
            "have the answer of the row before: KTO compares neighbours; shuffle the rows",
        ),
    ]
}
