//! From a tuned model to an artefact that may be used: written, read back, compared, and only then given its name.

use std::path::Path;
use std::time::Instant;

use attune_compute::Backend;
use attune_formats::files::DirWriter;
use attune_text::LoadOptions;

use crate::error::ExportError;
use crate::gate::{GateReport, Limits, Prompt, Side, compare};
use crate::hf::{FolderOptions, Written, write_folder};
use crate::report::{ExportReport, REPORT_FILE, adapter_hash, with_ending};
use crate::tuned::{Tuned, open_model};

/// How the artefact is proved.
#[derive(Debug, Clone)]
pub struct Proof<'a> {
    /// What both sides are asked.
    pub prompts: &'a [Prompt],
    /// How the artefact's text side is read: the date of templates that show it.
    pub text: &'a LoadOptions,
}

/// Ending of an artefact that the gate refused.
pub const REFUSED_ENDING: &str = ".refused";

/// Writes a folder in Hugging Face layout. A refused one is left as `OUT.refused`, with the report in it.
///
/// # Errors
/// When `out` exists, the disk is full, or the artefact cannot be read back.
pub fn export_folder(
    tuned: &Tuned,
    backend: &dyn Backend,
    out: &Path,
    options: &FolderOptions,
    proof: &Proof,
) -> Result<ExportReport, ExportError> {
    refuse_existing(out)?;
    let begin = Instant::now();
    let dir = DirWriter::create(out)?;
    let written = write_folder(&dir, tuned, backend, options)?;
    let seconds = begin.elapsed().as_secs_f64();
    let reader = if options.format == "mlx" { "mlx-lm" } else { "Hugging Face" };
    let gate = read_back(tuned, backend, dir.path(), Limits::ROUNDED, proof)?;
    let report = report(tuned, format!("{reader} {}", written.dtype), out, written, seconds, gate)?;
    dir.write(REPORT_FILE, report.to_json().as_bytes())?;
    if report.gate.accepted {
        dir.commit()?;
    } else {
        dir.renamed(&report.artefact).replace()?;
    }
    Ok(report)
}

/// What exists is never overwritten: it may be the only copy of a tuned model.
pub(crate) fn refuse_existing(out: &Path) -> Result<(), ExportError> {
    match out.symlink_metadata() {
        Ok(_) => Err(ExportError::Exists { path: out.to_path_buf() }),
        Err(_) => Ok(()),
    }
}

/// Reads the artefact from disk and compares.
pub(crate) fn read_back(
    tuned: &Tuned,
    backend: &dyn Backend,
    path: &Path,
    limits: Limits,
    proof: &Proof,
) -> Result<GateReport, ExportError> {
    let (base, text) = open_model(path, proof.text)?;
    compare(backend, &tuned.side(), &Side { base: &base, adapter: None, text: &text }, proof.prompts, limits)
}

pub(crate) fn report(
    tuned: &Tuned,
    format: String,
    out: &Path,
    written: Written,
    seconds: f64,
    gate: GateReport,
) -> Result<ExportReport, ExportError> {
    let artefact = if gate.accepted { out.to_path_buf() } else { with_ending(out, REFUSED_ENDING) };
    Ok(ExportReport {
        version: 1,
        made_by: format!("attune {}", env!("CARGO_PKG_VERSION")),
        format,
        artefact,
        model: tuned.model_path.clone(),
        adapter: tuned.adapter_path.clone(),
        adapter_blake3: adapter_hash(tuned)?,
        tensors: written.tensors,
        changed: written.changed,
        bytes: written.bytes,
        seconds,
        gate,
    })
}
