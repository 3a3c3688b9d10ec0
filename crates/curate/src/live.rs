//! The texts of the rows that stay, for the comparisons.

use std::io;

use attune_overlap::near_duplicates;

use crate::error::CurateError;
use crate::spool::{Spool, SpoolWriter};
use crate::texts::Texts;

/// The texts of all rows, on disk.
pub(crate) struct TextStore {
    questions: Spool,
    answers: Spool,
    contexts: Spool,
}

/// One that is being filled.
pub(crate) struct TextStoreWriter {
    questions: SpoolWriter,
    answers: SpoolWriter,
    contexts: SpoolWriter,
}

impl TextStoreWriter {
    pub(crate) fn create(scratch: &std::path::Path) -> io::Result<Self> {
        let spool = || SpoolWriter::create(scratch);
        Ok(Self { questions: spool()?, answers: spool()?, contexts: spool()? })
    }

    pub(crate) fn push(&mut self, texts: &Texts) -> io::Result<()> {
        self.questions.push(&[texts.question.as_bytes()])?;
        self.answers.push(&[texts.answer.as_bytes()])?;
        self.contexts.push(&[texts.context.as_bytes()])
    }

    pub(crate) fn finish(self) -> io::Result<TextStore> {
        Ok(TextStore {
            questions: self.questions.finish()?,
            answers: self.answers.finish()?,
            contexts: self.contexts.finish()?,
        })
    }
}

impl TextStore {
    /// The texts of one row.
    pub(crate) fn read(&self, row: usize, into: &mut Texts, bytes: &mut Vec<u8>) -> io::Result<()> {
        for (spool, text) in [
            (&self.questions, &mut into.question),
            (&self.answers, &mut into.answer),
            (&self.contexts, &mut into.context),
        ] {
            spool.read(row, bytes)?;
            text.clear();
            text.push_str(utf8(bytes)?);
        }
        Ok(())
    }

    /// Bytes of a row's question and answer.
    pub(crate) fn bytes_of(&self, row: usize) -> u64 {
        self.questions.entry_bytes(row) + self.answers.entry_bytes(row)
    }

    /// Calls `map` for the texts of each of `rows` on all threads, and `take` in their order on this one.
    pub(crate) fn for_each<T: Send>(
        &self,
        rows: &[u32],
        map: impl Fn(usize, &Texts) -> T + Sync,
        mut take: impl FnMut(usize, T) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        use rayon::prelude::*;
        const AT_ONCE: usize = 4096;
        for rows in rows.chunks(AT_ONCE) {
            let mapped: Vec<io::Result<T>> = rows
                .par_iter()
                .map_init(
                    || (Texts::default(), Vec::new()),
                    |(texts, bytes), &row| {
                        self.read(row as usize, texts, bytes)?;
                        Ok(map(row as usize, texts))
                    },
                )
                .collect();
            for (&row, result) in rows.iter().zip(mapped) {
                take(row as usize, result?)?;
            }
        }
        Ok(())
    }
}

fn utf8(bytes: &[u8]) -> io::Result<&str> {
    std::str::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}

/// Which texts of the rows are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    Question,
    Row,
}

/// The texts of some rows, numbered from 0.
pub(crate) struct Live<'a> {
    pub(crate) store: &'a TextStore,
    pub(crate) rows: &'a [u32],
    pub(crate) field: Field,
}

impl near_duplicates::Texts for Live<'_> {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn read(&self, index: usize, into: &mut String) -> io::Result<()> {
        let row = self.rows[index] as usize;
        let mut bytes = std::mem::take(into).into_bytes();
        self.store.questions.read(row, &mut bytes)?;
        if self.field == Field::Row {
            let mut answer = Vec::new();
            self.store.answers.read(row, &mut answer)?;
            if !answer.is_empty() {
                if !bytes.is_empty() {
                    bytes.push(b'\n');
                }
                bytes.extend_from_slice(&answer);
            }
        }
        *into = String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        Ok(())
    }
}
