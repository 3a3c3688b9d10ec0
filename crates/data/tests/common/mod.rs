//! What the tests share.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::PathBuf;

use attune_data::{DataError, DataSet, FormatChoice, Misfit, Row, RowContent};
use serde_json::Value;

/// A file of the shared test assets, or `None` with a word on why the test is skipped.
pub(crate) fn asset(path: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let file = shared.join("assets").join(path);
    if file.exists() {
        return Some(file);
    }
    println!("SKIPPED: no {}", file.display());
    None
}

/// A folder that is removed at the end of a test.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a temporary folder"))
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    #[allow(clippy::disallowed_methods, reason = "test files need no safe writing")]
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a written file");
        path
    }
}

/// Reads one file of that name and content.
pub(crate) fn read_as(name: &str, bytes: impl AsRef<[u8]>, choice: FormatChoice) -> Result<DataSet, DataError> {
    let folder = Folder::new();
    let path = folder.write(name, bytes);
    attune_data::read(&[path], choice)
}

/// Reads rows as JSONL, finding their form.
pub(crate) fn read_lines(rows: &[&str]) -> Result<DataSet, DataError> {
    read_as("train.jsonl", rows.join("\n"), FormatChoice::Auto)
}

/// The one row of a text.
pub(crate) fn row(text: &str) -> Row {
    let mut set = read_lines(&[text]).unwrap_or_else(|error| panic!("{text}\n{error}"));
    assert_eq!(set.rows.len(), 1);
    set.rows.remove(0)
}

/// The chat of a row as JSON, with `train` where it is set.
pub(crate) fn chat(row: &Row) -> Value {
    let RowContent::Chat(chat) = &row.content else { panic!("no chat: {row:?}") };
    let mut value = serde_json::to_value(chat).expect("JSON");
    for (message, json) in chat.messages.iter().zip(value["messages"].as_array_mut().expect("a list")) {
        if let Some(train) = message.train {
            json["train"] = train.into();
        }
    }
    value
}

/// Why the one row of a text does not fit, and the hint.
pub(crate) fn misfit(text: &str) -> (Misfit, String) {
    misfit_as(text, FormatChoice::Auto)
}

pub(crate) fn misfit_as(text: &str, choice: FormatChoice) -> (Misfit, String) {
    match read_as("train.jsonl", text, choice) {
        Err(error @ DataError::Misfits { .. }) => {
            let hint = error.hint().expect("a hint");
            let DataError::Misfits { mut first, total, .. } = error else { unreachable!() };
            assert_eq!((total, first.len()), (1, 1));
            (first.remove(0), hint)
        }
        other => panic!("{text} should not fit, but gave {other:?}"),
    }
}

/// The words for why the one row of a text does not fit.
pub(crate) fn reason(text: &str) -> String {
    misfit(text).0.problem.to_string()
}
