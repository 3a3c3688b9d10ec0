//! `{"text"}`: a document, all of which is learned.

use serde_json::{Map, Value};

use super::{Object, not_blank};
use crate::problem::RowProblem;
use crate::row::RowContent;

pub(super) fn read(row: Map<String, Value>) -> Result<RowContent, RowProblem> {
    let text = Object::new(row, "").required_string("text")?;
    not_blank(&text, "text")?;
    Ok(RowContent::Completion { prompt: String::new(), completion: text })
}
