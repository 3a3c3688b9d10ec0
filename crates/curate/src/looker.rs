//! Looks into every text of a row for what should not be there.

use attune_config::{Config, HiddenAction, ScrubAction};
use attune_scrub::{Category, Finding, hidden, pii, secrets};
use serde_json::{Map, Value};

use crate::clean::TokenCounter;
use crate::error::CurateError;
use crate::scrub::{self, Hit, Slot};

/// The scanners, built once.
pub(crate) struct Looker {
    secrets: Option<secrets::Scanner>,
    pii: Option<pii::Scanner>,
    hidden: HiddenAction,
    min_confidence: f32,
    /// What happens to secrets and to personal data.
    actions: [ScrubAction; 2],
}

impl Looker {
    pub(crate) fn new(config: &Config, tokens: Option<TokenCounter>) -> Result<Self, CurateError> {
        let clean = &config.clean;
        let secrets =
            (clean.secrets != ScrubAction::Off).then(|| secrets::Scanner::new(secrets::SecretOptions { tokens }));
        let pii = match clean.pii {
            ScrubAction::Off => None,
            _ => Some(pii_scanner(clean.pii_kinds.as_deref())?),
        };
        Ok(Self {
            secrets,
            pii,
            hidden: clean.hidden_text,
            min_confidence: clean.min_confidence as f32,
            actions: [clean.secrets, clean.pii],
        })
    }

    /// Rules and places of credentials, and of personal data.
    pub(crate) fn findings(&self, object: &Map<String, Value>) -> (Vec<String>, Vec<String>) {
        let hits = self.hits(object);
        let of = |category| {
            let mut places: Vec<String> = Vec::new();
            for hit in hits.iter().filter(|hit| hit.finding.category == category) {
                let place = format!("{} at {}", hit.finding.rule, hit.path);
                if !places.contains(&place) {
                    places.push(place);
                }
            }
            places
        };
        (of(Category::Secret), of(Category::Pii))
    }

    pub(crate) fn hidden_kinds(&self, object: &Map<String, Value>) -> Vec<&'static str> {
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

    /// Everything that is found in the strings of a row. Findings of one fate do not overlap: where secrets are masked
    /// and personal data is only reported, a stretch may be both.
    pub(crate) fn hits(&self, object: &Map<String, Value>) -> Vec<Hit> {
        let mut hits = Vec::new();
        // Names of members that are themselves what is looked for, as paths show them.
        let mut told_by_path: Vec<String> = Vec::new();
        scrub::visit(object, &mut |slot, seen, path| {
            let (Slot::Value(text) | Slot::Key(text)) = seen;
            let findings = self.findings_in(text);
            if findings.is_empty() {
                return;
            }
            if let Slot::Key(key) = seen {
                told_by_path.push(scrub::shown_key(key));
            }
            let path = path();
            hits.extend(findings.into_iter().map(|finding| Hit { slot, path: path.clone(), finding }));
        });
        told_by_path.sort_by_key(|key| std::cmp::Reverse(key.len()));
        for hit in &mut hits {
            for key in &told_by_path {
                hit.path = hit.path.replace(key.as_str(), "(its name)");
            }
        }
        hits
    }

    /// What is found in one text, in order.
    pub(crate) fn findings_in(&self, text: &str) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(secrets) = &self.secrets {
            findings.extend(secrets.scan(text));
        }
        if let Some(pii) = &self.pii {
            findings.extend(pii.scan(text));
        }
        findings.retain(|finding| finding.confidence >= self.min_confidence);
        if self.masks(Category::Secret) == self.masks(Category::Pii) {
            return scrub::merge(findings);
        }
        let (secrets, personal) = findings.into_iter().partition(|finding| finding.category == Category::Secret);
        let mut findings = scrub::merge(secrets);
        findings.extend(scrub::merge(personal));
        findings.sort_by_key(|finding| finding.span.start);
        findings
    }

    /// Whether findings of this category must stand nowhere in what is written.
    pub(crate) fn masks(&self, category: Category) -> bool {
        let action = match category {
            Category::Secret => self.actions[0],
            Category::Pii => self.actions[1],
        };
        matches!(action, ScrubAction::Mask | ScrubAction::Drop)
    }
}

/// A scanner for the kinds that are named, or for all but plain URLs.
pub(crate) fn pii_scanner(kinds: Option<&[String]>) -> Result<pii::Scanner, CurateError> {
    let mut options = pii::PiiOptions::default();
    if let Some(names) = kinds {
        let known = pii::kinds();
        let mut chosen = Vec::new();
        for name in names {
            match known.iter().find(|kind| kind.rule == name.as_str()) {
                Some(kind) => chosen.push(kind.kind),
                None => {
                    let all: Vec<&str> = known.iter().map(|kind| kind.rule).collect();
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
