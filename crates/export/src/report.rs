//! What an export was made from, what it is, and what the gate found: the file beside the artefact.

use std::path::{Path, PathBuf};

use attune_formats::files::hash_file;
use serde::Serialize;

use crate::error::ExportError;
use crate::gate::GateReport;
use crate::tuned::Tuned;

/// The report's name in a folder; beside a single file it is that file's name with `.report.json` behind it.
pub const REPORT_FILE: &str = "export_report.json";

/// The report.
#[derive(Debug, Clone, Serialize)]
pub struct ExportReport {
    /// Version of this file's layout.
    pub version: u32,
    /// The program that made the artefact.
    pub made_by: String,
    /// For example `huggingface bf16`, `gguf q4_k_m`.
    pub format: String,
    /// Where the artefact is: its path as asked for, or that with `.refused` behind it.
    pub artefact: PathBuf,
    /// The base.
    pub model: PathBuf,
    /// The adapter.
    pub adapter: Option<PathBuf>,
    /// blake3 of the adapter's matrices.
    pub adapter_blake3: Option<String>,
    /// Tensors written.
    pub tensors: usize,
    /// Of these, changed by the adapter.
    pub changed: usize,
    /// Bytes of the weights.
    pub bytes: u64,
    /// Seconds that writing took.
    pub seconds: f64,
    /// Of these, the seconds at the end in which the disk took what was not yet on it.
    pub sync_seconds: f64,
    /// What the format or its readers cannot do as the model was trained.
    pub notes: Vec<String>,
    /// The gate's findings.
    pub gate: GateReport,
}

impl ExportReport {
    /// The text of the file.
    pub fn to_json(&self) -> String {
        let Ok(text) = serde_json::to_string_pretty(self) else { unreachable!("names and numbers become JSON") };
        text + "\n"
    }
}

/// blake3 of the file with the adapter's matrices.
pub(crate) fn adapter_hash(tuned: &Tuned) -> Result<Option<String>, ExportError> {
    let file = |dir: &PathBuf| dir.join(attune_formats::peft::TENSOR_FILE);
    let path = tuned.adapter_path.as_ref().map(file).filter(|path| path.is_file());
    Ok(path.map(|path| hash_file(&path)).transpose()?)
}

/// A path with an ending more: `model.gguf` becomes `model.gguf.refused`.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(ending);
    PathBuf::from(name)
}
