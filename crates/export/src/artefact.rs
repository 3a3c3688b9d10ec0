//! From a tuned model to an artefact that may be used: written, read back, compared, and only then given its name.

use std::path::Path;
use std::time::Instant;

use attune_compute::Backend;
use attune_compute::cpu::Cpu;
use attune_formats::files::{DirWriter, remove_file, rename_file, write_atomic};
use attune_text::LoadOptions;

use crate::error::ExportError;
use crate::gate::{GateReport, Limits, Prompt, Side, compare};
use crate::gguf::{Types, type_of_base, write_gguf};
use crate::hf::{AffineOptions, FolderOptions, write_folder};
use crate::report::{ExportReport, REPORT_FILE, adapter_hash, with_ending};
use crate::tuned::{Tuned, open_model};

/// How the artefact is proved.
#[derive(Debug, Clone)]
pub struct Proof<'a> {
    /// What both sides are asked.
    pub prompts: &'a [Prompt],
    /// How the artefact's text side is read: the date of templates that show it.
    pub text: &'a LoadOptions,
    /// How far the artefact may be; `None` takes what suits its type.
    pub limits: Option<Limits>,
}

/// Ending of an artefact that the gate refused.
pub const REFUSED_ENDING: &str = ".refused";
/// Ending of a file that is not yet compared.
const UNPROVED_ENDING: &str = ".unproved.gguf";
/// Ending of the report beside a single file.
const REPORT_ENDING: &str = ".report.json";

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
    let written = write_folder(&dir, tuned, &alone()?, options)?;
    let seconds = begin.elapsed().as_secs_f64();
    let of_type = options.affine.map_or(Limits::ROUNDED, AffineOptions::limits);
    let reader = if options.format == "mlx" { "mlx-lm" } else { "Hugging Face" };
    let gate = read_back(tuned, backend, dir.path(), proof.limits.unwrap_or(of_type), proof)?;
    let format = match options.affine {
        None => format!("{reader} {}", written.dtype),
        Some(AffineOptions { bits, group_len }) => {
            format!("{reader} {bits}-bit in groups of {group_len}, scales in {}", written.dtype)
        }
    };
    let mut report = report(tuned, format, out, (written.tensors, written.changed, written.bytes), seconds, gate)?;
    report.sync_seconds = written.sync_seconds;
    dir.write(REPORT_FILE, report.to_json().as_bytes())?;
    if report.gate.accepted {
        dir.commit()?;
    } else {
        dir.renamed(&report.artefact).replace()?;
    }
    Ok(report)
}

/// Writes one GGUF file. A refused one is left as `OUT.refused`; the report is beside it.
///
/// # Errors
/// As [`export_folder`], and when something of the model has no counterpart in the format.
pub fn export_gguf(
    tuned: &Tuned,
    backend: &dyn Backend,
    out: &Path,
    types: Types,
    proof: &Proof,
) -> Result<ExportReport, ExportError> {
    let name = tuned.adapter_path.as_ref().unwrap_or(&tuned.model_path);
    let name = name.file_name().map_or_else(|| "model".into(), |name| name.to_string_lossy().into_owned());
    refuse_existing(out)?;
    let kind = match types {
        Types::Of(kind) => kind,
        Types::AsBase => type_of_base(&tuned.base),
    };
    let begin = Instant::now();
    // The ending says what it is to the program that reads it back; the name is not yet the one that was asked for.
    let unproved = with_ending(out, UNPROVED_ENDING);
    let written = write_gguf(&unproved, tuned, &alone()?, types, &name)?;
    let seconds = begin.elapsed().as_secs_f64();
    let gate = read_back(tuned, backend, &unproved, proof.limits.unwrap_or(kind.limits()), proof);
    let gate = gate.inspect_err(|_| _ = remove_file(&unproved))?;
    let format = format!("GGUF {kind}");
    let mut report = report(tuned, format, out, (written.tensors, written.changed, written.bytes), seconds, gate)?;
    report.sync_seconds = written.sync_seconds;
    report.notes = written.notes;
    write_atomic(&with_ending(out, REPORT_ENDING), report.to_json().as_bytes())?;
    rename_file(&unproved, &report.artefact)?;
    Ok(report)
}

/// What computes while files are written: every thread of the writer calls it, and a product of a few rows is done before
/// another thread would have been woken for it.
fn alone() -> Result<Cpu, ExportError> {
    Ok(Cpu::new(Some(1))?)
}

/// What exists is never overwritten: it may be the only copy of a tuned model.
///
/// # Errors
/// [`ExportError::Exists`].
pub fn refuse_existing(out: &Path) -> Result<(), ExportError> {
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
    (tensors, changed, bytes): (usize, usize, u64),
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
        tensors,
        changed,
        bytes,
        seconds,
        sync_seconds: 0.0,
        notes: Vec::new(),
        gate,
    })
}
