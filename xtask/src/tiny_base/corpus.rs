//! The corpus of the tiny base model: simple stories, passages with questions, short talk. All of it is made here, from
//! words, sentences and templates of our own, by integers alone, so that its bytes are equal on every machine.

mod book;
mod cast;
mod echoes;
mod grammar;
mod passages;
mod pattern;
pub(crate) mod random;
mod style;
mod talk;
mod template;
mod words;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::io::Write;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

pub(crate) use book::Book;
pub(crate) use template::Part;

use random::{Random, hash};

/// The kinds of rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `{"text"}`: a story.
    Stories,
    /// `{"messages"}`: a passage or a story with questions.
    Passages,
    /// `{"messages"}`: short chats.
    Talk,
    /// `{"prompt", "completion"}`: words in no order, said twice. What they teach is to look back for what was said.
    Echoes,
}

impl Kind {
    /// All kinds.
    pub(crate) const ALL: [Self; 4] = [Self::Stories, Self::Passages, Self::Talk, Self::Echoes];

    /// What its files are called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stories => "stories",
            Self::Passages => "passages",
            Self::Talk => "talk",
            Self::Echoes => "echoes",
        }
    }
}

/// Writes rows of a kind as JSONL, no two of them equal. What is held out is made from other combinations of names, things
/// and places than what is trained on, or (talk) from other questions.
///
/// # Errors
/// If the writer fails, or if so many different rows cannot be made.
pub(crate) fn write(book: &Book, kind: Kind, part: Part, seed: u64, rows: usize, out: &mut impl Write) -> Result<()> {
    let mut seen = HashSet::with_capacity(rows);
    let mut number = 0;
    let mut written = 0;
    while written < rows {
        ensure!(number < 20 * rows as u64 + 1000, "only {written} different rows of {} could be made", kind.name());
        let mut random = Random::of(seed, kind.name(), number);
        number += 1;
        let Some(row) = row(book, kind, part, &mut random)? else { continue };
        let line = row.to_string();
        if seen.insert(hash(&line)) {
            writeln!(out, "{line}")?;
            written += 1;
        }
    }
    Ok(())
}

/// A row; `None` if it belongs to the other part.
fn row(book: &Book, kind: Kind, part: Part, random: &mut Random) -> Result<Option<Value>> {
    Ok(match kind {
        Kind::Stories => {
            let told = random.pick(&book.stories).tell(&book.macros, Some(part), random)?;
            Some(json!({ "text": told.text }))
        }
        Kind::Passages => {
            let table = if random.chance(25) { &book.stories } else { &book.passages };
            Some(passages::chat(&random.pick(table).tell(&book.macros, Some(part), random)?, random))
        }
        Kind::Talk => Some(talk::chat(book, random)?).filter(|row| part.has(&asked(row))),
        Kind::Echoes => Some(echoes::row(&book.words, random)),
    })
}

/// All that a user asks in a chat.
fn asked(row: &Value) -> String {
    let messages = row["messages"].as_array().map(Vec::as_slice).unwrap_or_default();
    let asks = messages.iter().filter(|message| message["role"] == "user");
    asks.filter_map(|message| message["content"].as_str()).collect::<Vec<_>>().join("\n")
}
