//! What is looked for in a row on its own, on any thread.

use attune_config::HiddenAction;
use attune_data::{Record, Row};
use attune_scrub::hidden;
use serde_json::{Map, Value};

use super::{Request, Verdict};
use crate::corpus::{Corpus, Item};
use crate::error::CurateError;
use crate::looker::Looker;
use crate::scrub::{self, Hit};
use crate::texts::{Texts, name_under};

/// The scanners, built once.
pub(crate) struct Scanner {
    pub(crate) looker: Looker,
    hidden: HiddenAction,
    source_key: String,
    role_key: String,
}

/// What was seen in a row.
pub(crate) struct Scanned {
    pub(crate) source: String,
    pub(crate) role: String,
    /// The row without hidden characters, if it had some and they are to be stripped.
    pub(crate) rewritten: Option<Map<String, Value>>,
    /// Secrets and personal data, also of a row that does not fit its form: it is written, too.
    pub(crate) hits: Vec<Hit>,
    pub(crate) said: Result<Said, String>,
}

/// What a row says.
pub(crate) struct Said {
    pub(crate) hash: [u8; 32],
    pub(crate) verdict: Verdict,
    pub(crate) texts: Texts,
    pub(crate) hidden: Vec<&'static str>,
}

impl Scanner {
    pub(crate) fn new(request: &Request<'_>) -> Result<Self, CurateError> {
        let clean = &request.config.clean;
        Ok(Self {
            looker: Looker::new(request.config, request.tokens.clone())?,
            hidden: clean.hidden_text,
            source_key: clean.source_key.clone(),
            role_key: clean.role_key.clone(),
        })
    }

    pub(crate) fn scan(&self, item: Item) -> Scanned {
        let Item { record, row, .. } = item;
        let (source, role) = self.names(&record);
        let found = self.looker.hidden_kinds(&record.object);
        let rewritten = (self.hidden == HiddenAction::Strip && !found.is_empty()).then(|| strip(&record.object));
        let hits = self.looker.hits(rewritten.as_ref().unwrap_or(&record.object));
        let row = match row {
            Ok(row) => row,
            Err(problem) => return Scanned { source, role, rewritten, hits, said: Err(problem.to_string()) },
        };
        let (record, row) = match rewritten.clone() {
            None => (record, row),
            Some(object) => {
                let stripped = Record { origin: record.origin.clone(), object };
                match attune_data::classify(&stripped, row.form) {
                    Ok(row) => (stripped, row),
                    Err(problem) => {
                        let said = Err(format!("without its hidden characters: {problem}"));
                        return Scanned { source, role, rewritten, hits, said };
                    }
                }
            }
        };
        let texts = Texts::of(&record, &row);
        let said = Ok(Said { hash: row.hash, verdict: Verdict::of(&row), texts, hidden: found });
        Scanned { source, role, rewritten, hits, said }
    }

    /// The names of a row's source and of its role.
    pub(crate) fn names(&self, record: &Record) -> (String, String) {
        let source =
            name_under(&record.object, &self.source_key).unwrap_or_else(|| record.origin.file.display().to_string());
        (source, name_under(&record.object, &self.role_key).unwrap_or_default())
    }

    /// What a changed row says.
    pub(crate) fn read_again(
        &self,
        corpus: &Corpus,
        index: usize,
        object: Map<String, Value>,
    ) -> Result<([u8; 32], Texts), String> {
        let record = Record { origin: corpus.origin(index), object };
        let form = corpus.inputs()[corpus.input_of(index)].form;
        let row: Row = attune_data::classify(&record, form).map_err(|problem| problem.to_string())?;
        Ok((row.hash, Texts::of(&record, &row)))
    }
}

fn strip(object: &Map<String, Value>) -> Map<String, Value> {
    scrub::rewrite(object, &mut |_, text| match hidden::strip(text) {
        std::borrow::Cow::Borrowed(_) => None,
        std::borrow::Cow::Owned(stripped) => Some(stripped),
    })
}
