//! What was found in a folder.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::rules::Rule;

/// Where something was found: a file of the folder, and a tensor of that file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Part {
    /// Its name in the folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// The tensor's name in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tensor: Option<String>,
}

impl Part {
    /// The folder as a whole.
    pub(super) const FOLDER: Self = Self { file: None, tensor: None };

    /// A file.
    pub(super) fn file(name: &str) -> Self {
        Self { file: Some(name.to_string()), tensor: None }
    }

    /// A tensor of a file.
    pub(super) fn tensor(file: &str, tensor: &str) -> Self {
        Self { file: Some(file.to_string()), tensor: Some(tensor.to_string()) }
    }
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Which rule.
    pub rule: Rule,
    /// Where.
    #[serde(flatten)]
    pub part: Part,
    /// What is wrong.
    pub message: String,
}

impl fmt::Display for Finding {
    /// `R9 state.json: ...`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.rule)?;
        if let Some(file) = &self.part.file {
            write!(f, " {file}")?;
        }
        if let Some(tensor) = &self.part.tensor {
            write!(f, " {tensor}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// What a folder is taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FolderKind {
    /// From which a run goes on.
    Checkpoint,
    /// An adapter in PEFT's layout.
    Adapter,
    /// A model in Hugging Face layout.
    Model,
    /// A run with its checkpoints.
    Run,
    /// None of them.
    Unknown,
}

impl fmt::Display for FolderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Checkpoint => "checkpoint",
            Self::Adapter => "adapter",
            Self::Model => "model",
            Self::Run => "run",
            Self::Unknown => "unknown folder",
        })
    }
}

/// Everything that was found in a folder.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The folder.
    pub dir: PathBuf,
    /// What it is taken for.
    pub kind: FolderKind,
    /// Version of its manifest; `None` without a readable one.
    pub format_version: Option<u32>,
    /// Every broken rule.
    pub findings: Vec<Finding>,
    /// What is worth knowing and breaks no rule.
    pub notes: Vec<String>,
    /// The checkpoints and the adapter of a run.
    pub parts: Vec<Report>,
}

impl Report {
    /// Whether no rule is broken, here and in all parts.
    pub fn is_sound(&self) -> bool {
        self.first_finding().is_none()
    }

    /// The first broken rule and the folder in which it is.
    pub fn first_finding(&self) -> Option<(&Path, &Finding)> {
        let own = self.findings.first().map(|finding| (self.dir.as_path(), finding));
        own.or_else(|| self.parts.iter().find_map(Self::first_finding))
    }

    /// How many rules are broken, here and in all parts.
    pub fn count(&self) -> usize {
        self.findings.len() + self.parts.iter().map(Self::count).sum::<usize>()
    }
}

/// A report that is being made.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) report: Report,
}

impl Checked {
    pub(super) fn new(dir: &Path, kind: FolderKind) -> Self {
        let (findings, notes, parts) = (Vec::new(), Vec::new(), Vec::new());
        Self { report: Report { dir: dir.to_path_buf(), kind, format_version: None, findings, notes, parts } }
    }

    pub(super) fn refuse(&mut self, rule: Rule, part: Part, message: impl Into<String>) {
        self.report.findings.push(Finding { rule, part, message: message.into() });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.report.notes.push(note.into());
    }
}
