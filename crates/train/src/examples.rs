//! Rows of the data set to tokenised examples, and every check that stops a run before it trains wrongly.

use std::thread::ScopedJoinHandle;

use attune_config::{CompletionStyle, Overlong, Untrained};
use attune_data::{Form, Row, RowContent, RowOrigin};
use attune_text::{Conversation, Encoded, Message, TextError, TextModel, TrainOn};
use serde::Serialize;

use crate::error::{RowFailure, RowProblem, TrainError};

/// One row, tokenised.
#[derive(Debug, Clone, PartialEq)]
pub struct Example {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Whether each token is a target. The first never is: nothing predicts it.
    pub trained: Vec<bool>,
    /// Where the row came from.
    pub origin: RowOrigin,
    /// Hash of what the row says: [`Row::hash`].
    pub hash: [u8; 32],
}

impl Example {
    /// Number of targets.
    pub fn trained_tokens(&self) -> usize {
        self.trained.iter().filter(|trained| **trained).count()
    }
}

/// How rows become examples.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct EncodeOptions {
    /// Whether prompt/completion rows go through the chat template.
    pub completion_style: CompletionStyle,
    /// Which turns are trained.
    pub train_on: TrainOn,
    /// `data.max_seq_length`.
    pub max_seq_length: usize,
    /// Positions that the model was made for: a limit as well.
    pub max_positions: usize,
    /// What to do with rows longer than both limits allow.
    pub overlong: Overlong,
    /// What to do with rows without a target.
    pub untrained: Untrained,
    /// Rows of the model's embedding.
    pub embedding_rows: usize,
    /// Threads that tokenise: they change the time, nothing else.
    pub threads: usize,
}

/// What became of the rows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct EncodeReport {
    /// Rows in the files.
    pub rows: usize,
    /// Examples that came out.
    pub examples: usize,
    /// Rows left out because no token of them is trained.
    pub dropped_untrained: usize,
    /// Rows left out because they are too long.
    pub dropped_overlong: usize,
    /// Rows cut on the left, and trained on.
    pub truncated_left: usize,
    /// Rows cut on the right, and trained on.
    pub truncated_right: usize,
    /// Tokens of all examples.
    pub tokens: usize,
    /// Targets of all examples.
    pub trained_tokens: usize,
    /// Tokens of the longest example.
    pub longest: usize,
}

/// Tokenises `rows`. `key` names them in errors: `data.train` or `data.validation`.
///
/// A row that is too long is an error, is dropped, or is cut, as `overlong` says. Cutting on the left keeps a leading
/// BOS token, because models are made to see it first; the first token that is kept is never a target. A row that has
/// lost all targets by cutting counts as untrained.
///
/// # Errors
/// [`TrainError::Rows`] with all rows of the first problem that occurs, in this order: rows that cannot be encoded
/// (among them those of which the template drops a message), doubled BOS, tokens outside of the embedding, too long
/// rows, rows without a target. [`TrainError::VocabularySize`] before any row is read, [`TrainError::NoRows`] when
/// nothing is left, [`TrainError::EndOfTurnUntrained`] when no row teaches the model to stop.
pub fn encode_rows(
    rows: &[Row],
    key: &'static str,
    text: &TextModel,
    options: &EncodeOptions,
) -> Result<(Vec<Example>, EncodeReport), TrainError> {
    if text.vocab_size() > options.embedding_rows {
        return Err(TrainError::VocabularySize { tokenizer: text.vocab_size(), embedding: options.embedding_rows });
    }
    let mut checks = Checks::new(rows.len(), options);
    let mut report = EncodeReport { rows: rows.len(), ..EncodeReport::default() };
    let mut examples = Vec::with_capacity(rows.len());
    let mut end_of_turn_trained = false;
    for (row, encoded) in rows.iter().zip(encode_all(rows, text, options)) {
        let encoded = match encoded {
            Ok(encoded) => encoded,
            Err(error) => {
                if checks.refuse(row, &error, options.untrained) == Refused::Dropped {
                    report.dropped_untrained += 1;
                }
                continue;
            }
        };
        checks.look_at_tokens(row, &encoded, text);
        if !encoded.trained.contains(&true) {
            match options.untrained {
                Untrained::Error => checks.untrained.add(&row.origin, format!("{} tokens", encoded.ids.len())),
                Untrained::Drop => report.dropped_untrained += 1,
            }
            continue;
        }
        let Some((example, end_of_turn)) = fit(row, encoded, text, options, &mut report, &mut checks) else { continue };
        end_of_turn_trained |= end_of_turn;
        report.tokens += example.ids.len();
        report.trained_tokens += example.trained_tokens();
        report.longest = report.longest.max(example.ids.len());
        examples.push(example);
    }
    checks.finish()?;
    report.examples = examples.len();
    if examples.is_empty() {
        return Err(TrainError::NoRows {
            key,
            rows: report.rows,
            dropped: report.dropped_overlong + report.dropped_untrained,
        });
    }
    if !end_of_turn_trained {
        return Err(TrainError::EndOfTurnUntrained { rows: examples.len(), truncated_right: report.truncated_right });
    }
    Ok((examples, report))
}

/// The tokens of all rows, in their order, on all threads.
fn encode_all(rows: &[Row], text: &TextModel, options: &EncodeOptions) -> Vec<Result<Encoded, TextError>> {
    let rows_per_thread = rows.len().div_ceil(options.threads.max(1)).max(1);
    let encode_some = move |rows: &[Row]| {
        rows.iter().map(|row| encode_row(row, text, options.completion_style, options.train_on)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        let spawn = |rows| match std::thread::Builder::new().spawn_scoped(scope, move || encode_some(rows)) {
            Ok(worker) => Work::Spawned(worker),
            // The system has no more threads to give.
            Err(_) => Work::Done(encode_some(rows)),
        };
        let work: Vec<Work<'_>> = rows.chunks(rows_per_thread).map(spawn).collect();
        work.into_iter().flat_map(Work::finish).collect()
    })
}

/// A share of the rows.
enum Work<'scope> {
    Spawned(ScopedJoinHandle<'scope, Vec<Result<Encoded, TextError>>>),
    Done(Vec<Result<Encoded, TextError>>),
}

impl Work<'_> {
    fn finish(self) -> Vec<Result<Encoded, TextError>> {
        match self {
            Self::Spawned(worker) => worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Self::Done(encoded) => encoded,
        }
    }
}

/// The tokens of one row, whole.
///
/// # Errors
/// When the template refuses the row or would change it in silence, or the row has nothing to train.
pub fn encode_row(
    row: &Row,
    text: &TextModel,
    completion_style: CompletionStyle,
    train_on: TrainOn,
) -> Result<Encoded, TextError> {
    match &row.content {
        RowContent::Chat(conversation) => text.encode_chat(conversation, train_on),
        // A document is no answer to an empty question.
        RowContent::Completion { prompt, completion }
            if writes_chat(text, completion_style)
                && !(row.form == Form::Text && completion_style == CompletionStyle::Auto) =>
        {
            text.encode_chat(&as_conversation(prompt, Some(completion)), train_on)
        }
        RowContent::Completion { prompt, completion } => text.encode_completion(prompt, completion, train_on),
        RowContent::Preference(_) | RowContent::Judged { .. } => Err(TextError::Preference),
    }
}

/// Whether prompt/completion rows go through the chat template.
pub(crate) fn writes_chat(text: &TextModel, style: CompletionStyle) -> bool {
    match style {
        CompletionStyle::Auto => text.has_chat_template(),
        CompletionStyle::Chat => true,
        CompletionStyle::Raw => false,
    }
}

/// A prompt, and perhaps its answer, as a chat.
pub(crate) fn as_conversation(prompt: &str, completion: Option<&str>) -> Conversation {
    let mut messages = vec![Message::new("user", prompt)];
    messages.extend(completion.map(|completion| Message::new("assistant", completion)));
    Conversation { messages, tools: None }
}

/// Brings a row within the limit, or leaves it out. Also says whether its end of turn is still trained.
fn fit(
    row: &Row,
    encoded: Encoded,
    text: &TextModel,
    options: &EncodeOptions,
    report: &mut EncodeReport,
    checks: &mut Checks,
) -> Option<(Example, bool)> {
    let Encoded { mut ids, mut trained, mut end_of_turn_trained, .. } = encoded;
    let limit = options.max_seq_length.min(options.max_positions);
    if ids.len() > limit {
        match options.overlong {
            Overlong::Error => {
                checks.overlong.add(&row.origin, format!("{} tokens", ids.len()));
                return None;
            }
            Overlong::Drop => {
                report.dropped_overlong += 1;
                return None;
            }
            Overlong::TruncateLeft => {
                let bos = usize::from(text.bos_id().is_some_and(|bos| ids[0] == bos));
                let cut = bos..bos + (ids.len() - limit.max(bos));
                ids.drain(cut.clone());
                trained.drain(cut);
                trained.iter_mut().take(1).for_each(|first| *first = false);
            }
            Overlong::TruncateRight => {
                ids.truncate(limit);
                trained.truncate(limit);
                let mut targets = ids.iter().zip(&trained).filter(|(_, trained)| **trained);
                end_of_turn_trained &= targets.any(|(id, _)| text.stop_ids().contains(id));
            }
        }
        if !trained.contains(&true) {
            match options.untrained {
                Untrained::Error => checks.cut_untrained.add(&row.origin, format!("{} tokens are left", ids.len())),
                Untrained::Drop => report.dropped_untrained += 1,
            }
            return None;
        }
        match options.overlong {
            Overlong::TruncateLeft => report.truncated_left += 1,
            _ => report.truncated_right += 1,
        }
    }
    Some((Example { ids, trained, origin: row.origin.clone(), hash: row.hash }, end_of_turn_trained))
}

/// What became of a row that could not be encoded.
#[derive(PartialEq, Eq)]
enum Refused {
    Dropped,
    Failed,
}

/// Problems, collected over all rows, so that the user sees them at once.
struct Checks {
    encoding: RowFailure,
    doubled_bos: RowFailure,
    token_outside: RowFailure,
    overlong: RowFailure,
    untrained: RowFailure,
    cut_untrained: RowFailure,
    embedding_rows: usize,
}

impl Checks {
    fn new(rows: usize, options: &EncodeOptions) -> Self {
        let failure = |problem| RowFailure::new(problem, rows);
        let limit = options.max_seq_length.min(options.max_positions);
        let by_model = options.max_positions < options.max_seq_length;
        Self {
            encoding: failure(RowProblem::Encoding),
            doubled_bos: failure(RowProblem::DoubledBos),
            token_outside: failure(RowProblem::TokenOutside { embedding: options.embedding_rows }),
            overlong: failure(RowProblem::Overlong { limit, by_model }),
            untrained: failure(RowProblem::Untrained),
            cut_untrained: failure(RowProblem::UntrainedAfterTruncation),
            embedding_rows: options.embedding_rows,
        }
    }

    /// Sorts a row that the text room refuses by its problem. Rows without a target may be dropped, others may not.
    fn refuse(&mut self, row: &Row, error: &TextError, untrained: Untrained) -> Refused {
        let failure = match error {
            TextError::NoAssistantTurn { .. } | TextError::NoTrainedToken { .. } if untrained == Untrained::Drop => {
                return Refused::Dropped;
            }
            TextError::NoAssistantTurn { .. } | TextError::NoTrainedToken { .. } => &mut self.untrained,
            TextError::DoubleBos { .. } => &mut self.doubled_bos,
            _ => {
                self.encoding.row_hint.get_or_insert_with(|| error.hint().into());
                &mut self.encoding
            }
        };
        failure.add(&row.origin, error.to_string());
        Refused::Failed
    }

    fn look_at_tokens(&mut self, row: &Row, encoded: &Encoded, text: &TextModel) {
        if let (Some(bos), [first, second, ..]) = (text.bos_id(), encoded.ids.as_slice())
            && (*first, *second) == (bos, bos)
        {
            self.doubled_bos.add(&row.origin, format!("{0}{0}", text.token_text(bos)));
        }
        if let Some(&id) = encoded.ids.iter().find(|&&id| id as usize >= self.embedding_rows) {
            self.token_outside.add(&row.origin, format!("token {id} ({:?})", text.token_text(id)));
        }
    }

    fn finish(self) -> Result<(), TrainError> {
        let Self { encoding, doubled_bos, token_outside, overlong, untrained, cut_untrained, .. } = self;
        let all = [encoding, doubled_bos, token_outside, overlong, untrained, cut_untrained];
        match all.into_iter().find(|failure| failure.total > 0) {
            Some(failure) => Err(TrainError::Rows(failure)),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// An example with targets at the given places.
    pub(crate) fn example(ids: &[u32], targets: &[usize]) -> Example {
        let trained = (0..ids.len()).map(|i| targets.contains(&i)).collect();
        let origin = RowOrigin { file: std::path::Path::new("test.jsonl").into(), row: 1, line: 1 };
        Example { ids: ids.to_vec(), trained, origin, hash: [0; 32] }
    }
}
