//! What is looked for in a row on its own, on any thread.

use attune_config::{HiddenAction, ScrubAction};
use attune_data::{Record, Row};
use attune_scrub::{hidden, pii, secrets};
use serde_json::{Map, Value};

use super::Request;
use crate::corpus::{Corpus, Item};
use crate::error::CurateError;
use crate::scrub::{self, Hit, Slot};
use crate::texts::{Texts, name_under};

/// The scanners, built once.
pub(crate) struct Scanner {
    secrets: Option<secrets::Scanner>,
    pii: Option<pii::Scanner>,
    hidden: HiddenAction,
    min_confidence: f32,
    source_key: String,
    role_key: String,
}

/// What was seen in a row.
pub(crate) struct Scanned {
    pub(crate) source: String,
    pub(crate) role: String,
    /// The row without hidden characters, if it had some and they are to be stripped.
    pub(crate) rewritten: Option<Map<String, Value>>,
    pub(crate) said: Result<Said, String>,
}

/// What a row says.
pub(crate) struct Said {
    pub(crate) hash: [u8; 32],
    pub(crate) texts: Texts,
    pub(crate) hits: Vec<Hit>,
    pub(crate) hidden: Vec<&'static str>,
}

impl Scanner {
    pub(crate) fn new(request: &Request<'_>) -> Result<Self, CurateError> {
        let clean = &request.config.clean;
        let secrets = (clean.secrets != ScrubAction::Off).then(|| {
            secrets::Scanner::new(secrets::SecretOptions { tokens: request.tokens.clone(), ..Default::default() })
        });
        let pii = match clean.pii {
            ScrubAction::Off => None,
            _ => Some(pii_scanner(clean.pii_kinds.as_deref())?),
        };
        Ok(Self {
            secrets,
            pii,
            hidden: clean.hidden_text,
            min_confidence: clean.min_confidence as f32,
            source_key: clean.source_key.clone(),
            role_key: clean.role_key.clone(),
        })
    }

    pub(crate) fn scan(&self, item: Item) -> Scanned {
        let Item { record, row, .. } = item;
        let source = name_under(&record.object, &self.source_key)
            .unwrap_or_else(|| record.origin.file.display().to_string());
        let role = name_under(&record.object, &self.role_key).unwrap_or_default();
        let row = match row {
            Ok(row) => row,
            Err(problem) => return Scanned { source, role, rewritten: None, said: Err(problem.to_string()) },
        };
        let found = self.hidden_kinds(&record.object);
        let rewritten = (self.hidden == HiddenAction::Strip && !found.is_empty()).then(|| strip(&record.object));
        let (record, row) = match rewritten.clone() {
            None => (record, row),
            Some(object) => {
                let stripped = Record { origin: record.origin.clone(), object };
                match attune_data::classify(&stripped, row.form) {
                    Ok(row) => (stripped, row),
                    Err(problem) => {
                        let said = Err(format!("without its hidden characters: {problem}"));
                        return Scanned { source, role, rewritten: None, said };
                    }
                }
            }
        };
        let hits = self.hits(&record.object);
        let texts = Texts::of(&record, &row);
        Scanned { source, role, rewritten, said: Ok(Said { hash: row.hash, texts, hits, hidden: found }) }
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

    fn hidden_kinds(&self, object: &Map<String, Value>) -> Vec<&'static str> {
        if self.hidden == HiddenAction::Off {
            return Vec::new();
        }
        let mut kinds = Vec::new();
        scrub::visit(object, &mut |_, slot, _| {
            let (Slot::Value(text) | Slot::Key(text)) = slot;
            // Plain ASCII without control characters hides nothing, and most text is that.
            if text.bytes().all(|byte| byte.is_ascii() && (byte >= b' ' || matches!(byte, b'\n' | b'\t' | b'\r'))) {
                return;
            }
            for hidden in hidden::scan(text) {
                let name = hidden.kind.name();
                if !kinds.contains(&name) {
                    kinds.push(name);
                }
            }
        });
        kinds
    }

    fn hits(&self, object: &Map<String, Value>) -> Vec<Hit> {
        let mut hits = Vec::new();
        scrub::visit(object, &mut |slot, seen, path| {
            let (Slot::Value(text) | Slot::Key(text)) = seen;
            let mut findings = Vec::new();
            if let Some(secrets) = &self.secrets {
                findings.extend(secrets.scan(text));
            }
            if let Some(pii) = &self.pii {
                findings.extend(pii.scan(text));
            }
            findings.retain(|finding| finding.confidence >= self.min_confidence);
            if !findings.is_empty() {
                let path = path();
                hits.extend(scrub::merge(findings).into_iter().map(|finding| Hit { slot, path: path.clone(), finding }));
            }
        });
        hits
    }
}

fn strip(object: &Map<String, Value>) -> Map<String, Value> {
    scrub::rewrite(object, &mut |_, text| match hidden::strip(text) {
        std::borrow::Cow::Borrowed(_) => None,
        std::borrow::Cow::Owned(stripped) => Some(stripped),
    })
}

/// A scanner for the kinds that are named, or for all but plain URLs.
pub(crate) fn pii_scanner(kinds: Option<&[String]>) -> Result<pii::Scanner, CurateError> {
    let mut options = pii::PiiOptions::default();
    if let Some(names) = kinds {
        let known = pii::kinds();
        let mut chosen = Vec::new();
        for name in names {
            match known.iter().find(|kind| kind.name == name.as_str()) {
                Some(kind) => chosen.push(kind.kind),
                None => {
                    let all: Vec<&str> = known.iter().map(|kind| kind.name).collect();
                    return Err(CurateError::Setting {
                        key: "clean.pii_kinds",
                        reason: format!("{name:?} is no kind of personal data"),
                        advice: format!("the kinds are: {}", all.join(", ")),
                    });
                }
            }
        }
        options.kinds = chosen;
    }
    Ok(pii::Scanner::new(options))
}
