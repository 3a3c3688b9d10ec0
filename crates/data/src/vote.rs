//! The form of a file's records, for tools that put single rows aside rather than stop at them.

use std::path::Path;
use std::sync::Arc;

use crate::detect::{LISTED_MISFITS, forms_of, misfit_of};
use crate::error::{DataError, FormCount, Misfit};
use crate::forms;
use crate::hash::content_hash;
use crate::problem::RowProblem;
use crate::record::Record;
use crate::row::{Form, FormatChoice, Row};

/// Finds out the form of a file from all its records.
///
/// Records that have the keys of no form, or of several, have no say: [`classify`] tells what is wrong with them.
#[derive(Debug)]
pub struct FormVote {
    file: Arc<Path>,
    choice: Option<Form>,
    counts: Vec<FormCount>,
    rows: usize,
    misfits: usize,
    listed: Vec<Misfit>,
}

impl FormVote {
    /// For the records of one file.
    pub fn new(file: Arc<Path>, choice: FormatChoice) -> Self {
        Self { file, choice: choice.form(), counts: Vec::new(), rows: 0, misfits: 0, listed: Vec::new() }
    }

    /// Takes the next record.
    pub fn observe(&mut self, record: &Record) {
        self.rows += 1;
        if self.choice.is_some() {
            return;
        }
        match forms_of(&record.object)[..] {
            [form] => match self.counts.iter_mut().find(|count| count.form == form) {
                Some(count) => count.rows += 1,
                None => self.counts.push(FormCount { form, rows: 1, first: record.origin.clone() }),
            },
            ref found => {
                self.misfits += 1;
                if self.listed.len() < LISTED_MISFITS {
                    let problem = misfit_of(&record.object, found);
                    self.listed.push(Misfit { origin: record.origin.clone(), problem, looks_like: None });
                }
            }
        }
    }

    /// The form.
    ///
    /// # Errors
    /// [`DataError::Mixed`] when records have several forms, [`DataError::Misfits`] when none has any, and
    /// [`DataError::Empty`] when there are none.
    pub fn settle(self) -> Result<Form, DataError> {
        let path = self.file.to_path_buf();
        if let Some(form) = self.choice {
            return Ok(form);
        }
        match &self.counts[..] {
            [only] => Ok(only.form),
            [] if self.rows == 0 => Err(DataError::Empty { path, what: "no rows" }),
            [] => {
                Err(DataError::Misfits { path, form: None, total: self.misfits, rows: self.rows, first: self.listed })
            }
            _ => Err(DataError::Mixed { path, counts: self.counts }),
        }
    }
}

/// Reads a record as a form.
///
/// # Errors
/// What is wrong with it.
pub fn classify(record: &Record, form: Form) -> Result<Row, RowProblem> {
    let content = forms::read(form, record.object.clone())?;
    Ok(Row { origin: record.origin.clone(), hash: content_hash(&content), form, content })
}
