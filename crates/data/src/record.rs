//! STUB until the readers land.
use std::path::Path; use std::sync::Arc;
use serde_json::{Map, Value};
use crate::{DataError, Form, FormatChoice, Row, RowOrigin, RowProblem};
#[derive(Debug, Clone, Default)] #[allow(missing_docs)] pub struct ReadOptions {}
#[derive(Debug, Clone)] #[allow(missing_docs)] pub struct Record { pub origin: RowOrigin, pub object: Map<String, Value> }
#[derive(Debug, Clone)] #[allow(missing_docs)] pub struct Fault { pub origin: RowOrigin, pub raw: Vec<u8>, pub problem: RowProblem }
#[allow(missing_docs)] pub enum Entry { Record(Record), Fault(Fault) }
#[allow(missing_docs)] pub struct Facts { pub bytes: u64, pub hash: String }
#[allow(missing_docs)] pub struct Records { lines: std::vec::IntoIter<(usize, String)>, path: Arc<Path>, row: usize, bytes: Vec<u8> }
#[allow(missing_docs, clippy::missing_errors_doc)] pub fn open(path: &Path, _: &ReadOptions) -> Result<Records, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Read { path: path.into(), source })?;
    let lines: Vec<_> = String::from_utf8_lossy(&bytes).lines().map(String::from).enumerate().filter(|l| !l.1.trim().is_empty()).collect();
    Ok(Records { lines: lines.into_iter(), path: path.into(), row: 0, bytes }) }
impl Iterator for Records { type Item = Result<Entry, DataError>; fn next(&mut self) -> Option<Self::Item> {
    let (line, text) = self.lines.next()?; self.row += 1;
    let origin = RowOrigin { file: self.path.clone(), row: self.row, line: line + 1 };
    Some(Ok(match serde_json::from_str(&text) { Ok(object) => Entry::Record(Record { origin, object }),
      Err(e) => Entry::Fault(Fault { origin, raw: text.into_bytes(), problem: RowProblem::NotJson { path: String::new(), reason: e.to_string() } }) })) } }
#[allow(missing_docs)] impl Records { pub fn bytes_read(&self) -> u64 { 0 } pub fn total_bytes(&self) -> Option<u64> { None } pub fn facts(&self) -> Facts { Facts { bytes: self.bytes.len() as u64, hash: blake3::hash(&self.bytes).to_hex().to_string() } } }
#[allow(missing_docs)] pub struct FormVote { form: Option<Form> }
#[allow(missing_docs, clippy::missing_errors_doc)] impl FormVote { pub fn new(_: Arc<Path>, choice: FormatChoice) -> Self { Self { form: choice.form() } }
  pub fn observe(&mut self, record: &Record) { if self.form.is_none() { self.form = crate::detect::complete_forms(&record.object).first().copied(); } }
  pub fn settle(self) -> Result<Form, DataError> { Ok(self.form.unwrap_or(Form::PromptCompletion)) } }
#[allow(missing_docs, clippy::missing_errors_doc)] pub fn classify(record: &Record, form: Form) -> Result<Row, RowProblem> {
  let content = crate::forms::read(form, record.object.clone())?;
  Ok(Row { origin: record.origin.clone(), hash: crate::hash::content_hash(&content), form, content }) }
