//! Which form a file has, and which rows do not fit.

use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::error::{DataError, FormCount, Misfit, PreferenceKind};
use crate::forms;
use crate::hash::content_hash;
use crate::problem::{RowProblem, nearest, quoted, type_name};
use crate::row::{Form, FormatChoice, Row, RowOrigin};

/// Rows that do not fit are listed up to this number, and counted beyond.
const LISTED_MISFITS: usize = 10;

/// Takes the rows of one file, one after the other.
pub(crate) struct Scan {
    file: Arc<Path>,
    choice: Option<Form>,
    seen: usize,
    rows: Vec<Row>,
    /// Forms by their keys, whether or not the rows could be read.
    counts: Vec<FormCount>,
    misfits: usize,
    listed: Vec<Misfit>,
    preference: Option<(PreferenceKind, RowOrigin)>,
    preferences: usize,
}

impl Scan {
    pub(crate) fn new(file: Arc<Path>, choice: FormatChoice) -> Self {
        Self {
            file,
            choice: choice.form(),
            seen: 0,
            rows: Vec::new(),
            counts: Vec::new(),
            misfits: 0,
            listed: Vec::new(),
            preference: None,
            preferences: 0,
        }
    }

    /// Takes the next row, which starts on `line`.
    pub(crate) fn row(&mut self, line: usize, value: Value) {
        self.seen += 1;
        let origin = RowOrigin { file: Arc::clone(&self.file), row: self.seen, line };
        let object = match value {
            Value::Object(object) => object,
            other => {
                let problem =
                    RowProblem::WrongType { path: String::new(), expected: "an object", got: type_name(&other) };
                return self.misfit(origin, problem, None);
            }
        };
        if let Some(kind) = preference(&object, self.choice.is_none()) {
            self.preferences += 1;
            self.preference.get_or_insert((kind, origin));
            return;
        }
        let found = complete_forms(&object);
        let form = match (self.choice, &found[..]) {
            (Some(form), _) | (None, &[form]) => form,
            (None, []) => return self.misfit(origin, incomplete(&object), None),
            (None, several) => {
                let forms = several.iter().map(|form| form.name()).collect();
                return self.misfit(origin, RowProblem::SeveralForms { forms }, None);
            }
        };
        match self.counts.iter_mut().find(|count| count.form == form) {
            Some(count) => count.rows += 1,
            None => self.counts.push(FormCount { form, rows: 1, first: origin.clone() }),
        }
        match forms::read(form, object) {
            // Rows are not kept once the file is lost.
            Ok(_) if self.lost() => self.rows = Vec::new(),
            Ok(content) => self.rows.push(Row { origin, hash: content_hash(&content), form, content }),
            Err(problem) => {
                let looks_like = match found[..] {
                    [other] if other != form => Some(other),
                    _ => None,
                };
                self.misfit(origin, problem, looks_like);
            }
        }
    }

    /// The form of the file and its rows.
    pub(crate) fn finish(self) -> Result<(Form, Vec<Row>), DataError> {
        let path = || self.file.to_path_buf();
        if let Some((kind, first)) = self.preference {
            return Err(DataError::Preference { first, kind, found: self.preferences, rows: self.seen });
        }
        if self.counts.len() > 1 {
            return Err(DataError::Mixed { path: path(), counts: self.counts });
        }
        let form = self.choice.or(self.counts.first().map(|count| count.form));
        match form {
            Some(form) if self.misfits == 0 => Ok((form, self.rows)),
            None if self.misfits == 0 => Err(DataError::Empty { path: path(), what: "no rows" }),
            form => {
                Err(DataError::Misfits { path: path(), form, total: self.misfits, rows: self.seen, first: self.listed })
            }
        }
    }

    fn lost(&self) -> bool {
        self.misfits > 0 || self.preferences > 0 || self.counts.len() > 1
    }

    fn misfit(&mut self, origin: RowOrigin, problem: RowProblem, looks_like: Option<Form>) {
        self.misfits += 1;
        if self.listed.len() < LISTED_MISFITS {
            self.listed.push(Misfit { origin, problem, looks_like });
        }
    }
}

/// Whether these are the keys of a row, and not of an object around rows.
pub(crate) fn has_known_keys<'a>(keys: impl Iterator<Item = &'a str>) -> bool {
    let keys: Vec<&str> = keys.collect();
    let has = |key: &str| keys.contains(&key);
    has("messages") || has("conversations") || KEY_PAIRS.iter().any(|&(_, first, second)| has(first) && has(second))
}

/// Forms that are told by a pair of keys.
const KEY_PAIRS: [(Form, &str, &str); 3] = [
    (Form::PromptCompletion, "prompt", "completion"),
    (Form::PromptCompletion, "question", "answer"),
    (Form::Alpaca, "instruction", "output"),
];

/// Keys of other tools' examples, and what they are called here.
const RENAMES: [(&str, &str, &str); 7] = [
    ("prompt", "response", "rename `response` to `completion`"),
    ("instruction", "response", "rename `response` to `output` (and `context` to `input`)"),
    ("query", "response", "rename them to `prompt` and `completion`"),
    ("input", "output", "rename them to `prompt` and `completion`"),
    ("problem", "solution", "rename them to `prompt` and `completion`"),
    ("user", "assistant", "write them as `messages`, or rename them to `prompt` and `completion`"),
    ("text", "text", "plain text is written as an empty `prompt` and the text as `completion`"),
];

/// The forms of which `row` has all the keys.
pub(crate) fn complete_forms(row: &Map<String, Value>) -> Vec<Form> {
    let mut forms: Vec<Form> = Vec::new();
    for (key, form) in [("messages", Form::Messages), ("conversations", Form::Sharegpt)] {
        if let Some(value) = row.get(key).filter(|value| !value.is_null()) {
            forms.push(chat_form(value).unwrap_or(form));
        }
    }
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    forms.extend(KEY_PAIRS.iter().filter(|(_, first, second)| has(first) && has(second)).map(|(form, ..)| *form));
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// Both names of the list occur with both kinds of message; the messages tell.
fn chat_form(list: &Value) -> Option<Form> {
    let first = list.as_array()?.iter().find_map(Value::as_object)?;
    if first.contains_key("role") || first.contains_key("content") {
        Some(Form::Messages)
    } else if first.contains_key("from") || first.contains_key("value") {
        Some(Form::Sharegpt)
    } else {
        None
    }
}

/// Whether `row` is preference data. `label` may be a note; whoever names the form has decided that it is.
fn preference(row: &Map<String, Value>, form_is_open: bool) -> Option<PreferenceKind> {
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    if (has("chosen") || has("chosen_response")) && (has("rejected") || has("rejected_response")) {
        Some(PreferenceKind::Pairs)
    } else if has("kto_tag") {
        Some(PreferenceKind::KtoTag)
    } else if form_is_open && row.get("label").is_some_and(Value::is_boolean) && !complete_forms(row).is_empty() {
        Some(PreferenceKind::Label)
    } else {
        None
    }
}

/// What is wrong with a row that has all keys of no form.
fn incomplete(row: &Map<String, Value>) -> RowProblem {
    let has = |key: &str| row.get(key).is_some_and(|value| !value.is_null());
    let rename = RENAMES.iter().find(|(first, second, _)| has(first) && has(second)).map(|(.., advice)| *advice);
    if rename.is_none() {
        for (_, first, second) in KEY_PAIRS {
            for (there, missing) in [(first, second), (second, first)] {
                if has(there) && !has(missing) {
                    // A key of this very pair cannot be the one that was misspelt.
                    let others = row.keys().map(String::as_str).filter(|key| *key != there);
                    return RowProblem::MissingKey {
                        path: missing.into(),
                        found: nearest(missing, others).map(str::to_owned),
                    };
                }
            }
        }
    }
    let suggestion = rename.map(str::to_owned).or_else(|| {
        ["messages", "conversations", "prompt", "completion", "question", "answer", "instruction", "output"]
            .into_iter()
            .find_map(|known| Some((nearest(known, row.keys().map(String::as_str))?, known)))
            .map(|(found, known)| format!("is {} meant to be `{known}`?", quoted(found)))
    });
    RowProblem::UnknownForm { keys: row.keys().cloned().collect(), suggestion }
}
