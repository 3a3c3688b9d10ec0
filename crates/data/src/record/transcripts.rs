//! What speakers say to one another becomes rows of messages.

use std::collections::HashMap;
use std::fmt;
use std::path::Path;

use attune_documents::{Document, Turn};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::error::DataError;
use crate::problem::nearest;

/// How captions with speakers become rows of messages.
///
/// Neighbouring segments of one speaker are one turn; whoever is not the assistant is the user. A row holds what one
/// person and the assistant say to each other until somebody else speaks. Turns that nobody answers, and turns of the
/// assistant that answer nobody, are in no row; [`TranscriptFacts`] counts them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Transcripts {
    /// Who the assistant is: the name of a speaker as the files have it.
    pub assistant: String,
    /// The most answers that a row has; what the same person asks next begins another row. `None` sets no bound.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exchanges: Option<usize>,
}

/// What became of the turns of a transcript: `turns = 2 * answers + unanswered + unasked`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct TranscriptFacts {
    /// Turns: what one speaker says until another one speaks.
    pub turns: usize,
    /// Turns of the assistant that are in rows, each behind the turn that it answers.
    pub answers: usize,
    /// Turns of others that are in no row, because the assistant does not speak after them.
    pub unanswered: usize,
    /// Turns of the assistant that are in no row, because nobody spoke before them.
    pub unasked: usize,
    /// Turns in rows of which the file does not say who speaks; they count as the user's.
    pub unnamed: usize,
}

impl TranscriptFacts {
    /// Whether turns are in no row.
    pub fn leaves_out(&self) -> bool {
        self.unanswered + self.unasked > 0
    }
}

/// For people, as `12 turns: 4 questions with answers; left out: 3 that nobody answers, 1 that answers nobody`.
impl fmt::Display for TranscriptFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (turns, answers) = (self.turns, self.answers);
        let s = |count: usize| if count == 1 { "" } else { "s" };
        write!(f, "{turns} turn{}: {answers} question{} with answer{}", s(turns), s(answers), s(answers))?;
        let mut left_out = Vec::new();
        if self.unanswered > 0 {
            left_out.push(format!("{} that nobody answers", self.unanswered));
        }
        if self.unasked > 0 {
            let verb = if self.unasked == 1 { "answers" } else { "answer" };
            left_out.push(format!("{} that {verb} nobody", self.unasked));
        }
        if !left_out.is_empty() {
            write!(f, "; left out: {}", left_out.join(", "))?;
        }
        if self.unnamed > 0 {
            write!(f, "; {} by nobody named, taken for a user", self.unnamed)?;
        }
        Ok(())
    }
}

impl std::ops::AddAssign for TranscriptFacts {
    fn add_assign(&mut self, other: Self) {
        self.turns += other.turns;
        self.answers += other.answers;
        self.unanswered += other.unanswered;
        self.unasked += other.unasked;
        self.unnamed += other.unnamed;
    }
}

/// A row and the line of the file in which its first cue begins.
pub(crate) type PlacedRow = (usize, Map<String, Value>);

/// The rows of a transcript.
///
/// # Errors
/// If no speaker is named, if none is the assistant, or if the assistant answers nobody.
pub(crate) fn rows_of(
    document: &Document,
    path: &Path,
    how: &Transcripts,
) -> Result<(Vec<PlacedRow>, TranscriptFacts), DataError> {
    let turns = document.turns();
    check_speakers(&turns, path, how)?;
    let source = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let mut maker =
        Maker { document, source, how, facts: TranscriptFacts::default(), open: Vec::new(), rows: Vec::new() };
    maker.facts.turns = turns.len();
    maker.take(&turns);
    if maker.rows.is_empty() {
        return Err(DataError::NothingAnswered {
            path: path.into(),
            assistant: how.assistant.clone(),
            turns: maker.facts.unasked,
        });
    }
    Ok((maker.rows, maker.facts))
}

fn check_speakers(turns: &[Turn], path: &Path, how: &Transcripts) -> Result<(), DataError> {
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in turns.iter().filter_map(|turn| turn.speaker.as_deref()) {
        *counts.entry(name).or_default() += 1;
    }
    if counts.is_empty() {
        return Err(DataError::NoSpeakers { path: path.into() });
    }
    if counts.contains_key(how.assistant.as_str()) {
        return Ok(());
    }
    let mut speakers: Vec<(&str, usize)> = counts.into_iter().collect();
    speakers.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(right.0)));
    Err(DataError::UnknownSpeaker {
        path: path.into(),
        assistant: how.assistant.clone(),
        nearest: nearest(&how.assistant, speakers.iter().map(|(name, _)| *name)).map(str::to_owned),
        speakers: speakers.into_iter().map(|(name, count)| (name.to_owned(), count)).collect(),
    })
}

struct Maker<'a> {
    document: &'a Document,
    source: String,
    how: &'a Transcripts,
    facts: TranscriptFacts,
    /// Questions of one person with their answers, of the row that is open.
    open: Vec<(&'a Turn, &'a Turn)>,
    rows: Vec<PlacedRow>,
}

impl<'a> Maker<'a> {
    fn take(&mut self, turns: &'a [Turn]) {
        let mut question: Option<&Turn> = None;
        for turn in turns {
            if turn.speaker.as_deref() == Some(self.how.assistant.as_str()) {
                match question.take() {
                    Some(question) => self.exchange(question, turn),
                    None => self.facts.unasked += 1,
                }
                continue;
            }
            self.facts.unanswered += usize::from(question.replace(turn).is_some());
            if self.open.last().is_some_and(|(before, _)| before.speaker != turn.speaker) {
                self.close();
            }
        }
        self.facts.unanswered += usize::from(question.is_some());
        self.close();
    }

    fn exchange(&mut self, question: &'a Turn, answer: &'a Turn) {
        self.facts.answers += 1;
        self.facts.unnamed += usize::from(question.speaker.is_none());
        self.open.push((question, answer));
        if self.how.exchanges.is_some_and(|most| self.open.len() >= most) {
            self.close();
        }
    }

    fn close(&mut self) {
        let open = std::mem::take(&mut self.open);
        let Some((first, _)) = open.first() else { return };
        let messages: Vec<Value> = open
            .iter()
            .flat_map(|(question, answer)| [("user", *question), ("assistant", *answer)])
            .map(|(role, turn)| json!({ "role": role, "content": turn.text }))
            .collect();
        let mut row = Map::new();
        row.insert("messages".into(), messages.into());
        if let Some(language) = &self.document.language {
            row.insert("language".into(), language.as_str().into());
        }
        row.insert("source".into(), self.source.as_str().into());
        if let Some(secs) = first.start_secs {
            row.insert("start".into(), secs.into());
        }
        self.rows.push((first.lines.map_or(1, |(line, _)| line), row));
    }
}
