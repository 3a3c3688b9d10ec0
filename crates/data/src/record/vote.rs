//! STUB until the forms land.
use super::Record;
use crate::{DataError, Form, FormatChoice, Row, RowProblem};
use std::path::Path;
use std::sync::Arc;
#[allow(missing_docs)]
pub struct FormVote {
    form: Option<Form>,
}
#[allow(missing_docs, clippy::missing_errors_doc)]
impl FormVote {
    pub fn new(_: Arc<Path>, choice: FormatChoice) -> Self {
        Self { form: choice.form() }
    }
    pub fn observe(&mut self, record: &Record) {
        if self.form.is_none() {
            self.form = crate::detect::complete_forms(&record.object).first().copied();
        }
    }
    pub fn settle(self) -> Result<Form, DataError> {
        Ok(self.form.unwrap_or(Form::PromptCompletion))
    }
}
#[allow(missing_docs, clippy::missing_errors_doc)]
pub fn classify(record: &Record, form: Form) -> Result<Row, RowProblem> {
    let content = crate::forms::read(form, record.object.clone())?;
    Ok(Row { origin: record.origin.clone(), hash: crate::hash::content_hash(&content), form, content })
}
