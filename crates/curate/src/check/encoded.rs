//! What a row is as tokens.

use std::collections::BTreeMap;

use attune_data::Row;

use super::{Cases, Check, Origin, Verdict, histogram};
use crate::stats::Distribution;

/// Puts rows into tokens as training would.
pub trait Encoder: Sync {
    /// The tokens of a row, or why it has none.
    ///
    /// # Errors
    /// When the template refuses the row, or nothing of it would be trained.
    fn encode(&self, row: &Row) -> Result<Tokens, NotEncoded>;

    /// Positions that the model was made for.
    fn limit(&self) -> usize;
}

/// A row as tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tokens {
    /// All of them.
    pub total: usize,
    /// Those that are trained.
    pub trained: usize,
    /// Whether the token that ends a turn is among the trained ones: without it a model never stops.
    pub end_of_turn_trained: bool,
    /// Whether the row begins with two beginning-of-sequence tokens.
    pub doubled_bos: bool,
    /// Whether a token has no row in the model's embedding.
    pub outside: bool,
}

/// Why a row has no tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotEncoded {
    /// What is wrong.
    pub reason: String,
    /// Whether the only thing that is wrong is that nothing would be trained.
    pub untrained: bool,
}

/// All rows as tokens.
#[derive(Default)]
pub(super) struct Encodings {
    rows: usize,
    totals: Vec<u64>,
    trained: Vec<u64>,
    refused: Cases,
    untrained: Cases,
    no_end: Cases,
    doubled_bos: Cases,
    outside: Cases,
    /// The places of the longest rows, the longest first.
    longest: Vec<(usize, String)>,
}

/// So many of the longest rows are named.
const LONGEST: usize = 5;

impl Encodings {
    pub(super) fn take(&mut self, tokens: Result<Tokens, NotEncoded>, origin: &Origin<'_>) {
        self.rows += 1;
        let tokens = match tokens {
            Ok(tokens) => tokens,
            Err(NotEncoded { reason, untrained }) => {
                let cases = if untrained { &mut self.untrained } else { &mut self.refused };
                return cases.add(|| format!("{}: {reason}", origin()));
            }
        };
        self.totals.push(tokens.total as u64);
        self.trained.push(tokens.trained as u64);
        if tokens.trained == 0 {
            self.untrained.add(|| format!("{}: none of {} tokens is trained", origin(), tokens.total));
        } else if !tokens.end_of_turn_trained {
            self.no_end.add(|| origin().to_string());
        }
        if tokens.doubled_bos {
            self.doubled_bos.add(|| origin().to_string());
        }
        if tokens.outside {
            self.outside.add(|| origin().to_string());
        }
        if self.longest.len() < LONGEST || self.longest.last().is_some_and(|last| last.0 < tokens.total) {
            let place = self.longest.partition_point(|known| known.0 >= tokens.total);
            self.longest.insert(place, (tokens.total, origin().to_string()));
            self.longest.truncate(LONGEST);
        }
    }

    pub(super) fn lengths(&self) -> BTreeMap<&'static str, Distribution> {
        if self.totals.is_empty() {
            return BTreeMap::new();
        }
        [("tokens", &self.totals), ("trained tokens", &self.trained)]
            .map(|(name, values)| (name, histogram(values)))
            .into()
    }

    /// `overlong`: the longest that is trained, and whether longer rows stop a run; `untrained`: whether rows without a
    /// trained token do.
    pub(super) fn checks(&mut self, (limit, stops): (usize, bool), untrained_stops: bool) -> Vec<Check> {
        let rows = self.rows;
        let gate = |stops: bool| if stops { Verdict::Refused } else { Verdict::Warning };
        let take = |cases: &mut Cases| std::mem::take(cases);
        let mut overlong =
            Cases { found: self.totals.iter().filter(|&&total| total > limit as u64).count(), examples: Vec::new() };
        overlong.examples = self
            .longest
            .iter()
            .filter(|(total, _)| *total > limit)
            .map(|(total, origin)| format!("{origin}: {total} tokens"))
            .collect();
        let (all, trained): (u64, u64) = (self.totals.iter().sum(), self.trained.iter().sum());
        let share = if all == 0 { 0.0 } else { 100.0 * trained as f64 / all as f64 };
        let ends = self.totals.len() - self.untrained.found.min(self.totals.len());
        let never_ends = ends > 0 && self.no_end.found >= ends;
        let no_end = take(&mut self.no_end).into_check(
            "end of turn",
            rows,
            gate(never_ends),
            if never_ends {
                "no row teaches the model to stop: the template closes no assistant turn with a token (model.chat_template)"
            } else {
                "do not teach the model to stop"
            },
        );
        vec![
            take(&mut self.refused).into_check(
                "template",
                rows,
                Verdict::Refused,
                "the chat template refuses them, or would change them in silence",
            ),
            take(&mut self.untrained).into_check(
                "trained tokens",
                rows,
                gate(untrained_stops),
                "nothing of them would be trained (data.untrained, data.train_on)",
            ),
            Check {
                check: "share of trained tokens",
                verdict: if share < 1.0 && all > 0 { Verdict::Warning } else { Verdict::Fine },
                found: 0,
                of: rows,
                words: format!("{trained} of {all} tokens are trained ({share:.1} %)"),
                examples: Vec::new(),
            },
            overlong.into_check(
                "length",
                rows,
                gate(stops),
                format!("are longer than {limit} tokens (data.max_seq_length, data.overlong)"),
            ),
            no_end,
            take(&mut self.doubled_bos).into_check(
                "beginning of sequence",
                rows,
                Verdict::Refused,
                "begin with the token twice: take it out of the rows or the template",
            ),
            take(&mut self.outside).into_check(
                "vocabulary",
                rows,
                Verdict::Refused,
                "have tokens that the model has no embedding for: the tokenizer belongs to another model",
            ),
        ]
    }
}
