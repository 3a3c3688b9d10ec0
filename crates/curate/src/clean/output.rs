//! The folder that `ft data clean` leaves.
//!
//! ```text
//! OUT/data.jsonl         rows that stay, in their form, in order
//!     lineage.jsonl      for each of them: its content hash, those of its parents, where it came from
//!     removed.jsonl      rows that went: where, at which step, why, which row stays in their place, the row itself
//!     quarantine.jsonl   the same for rows that look planted
//!     changed.jsonl      what was taken out of rows that stay: kinds and places, never the values
//!     report.json        the numbers
//!     dataset.json       what was read, what was done, hashes
//! ```
//!
//! Values that were found and are to be masked or dropped stand in none of these files; the inputs still have them, at the
//! place that is named.

use std::collections::BTreeMap;
use std::io::{self, Write};

use attune_formats::files::DirWriter;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::{CleanReport, Outcome, POISON, READ, Work};
use crate::error::CurateError;
use crate::fates::{PlaceLine, Why};
use crate::lineage::{DataFile, DatasetManifest, MANIFEST, Step, hex, merkle_root};
use crate::report::{SourceReport, StepReport};

#[derive(Serialize)]
struct LineageLine<'a> {
    hash: &'a str,
    parents: &'a [String],
    file: String,
    row: usize,
    line: usize,
}

#[derive(Serialize)]
struct RemovedLine<'a> {
    file: String,
    row: usize,
    line: usize,
    step: &'a str,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    kept: Option<PlaceLine>,
    #[serde(skip_serializing_if = "Option::is_none")]
    similarity: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hash: Option<String>,
    content: &'a RawValue,
}

#[derive(Serialize)]
struct ChangedLine<'a> {
    file: String,
    row: usize,
    line: usize,
    parent: String,
    hash: String,
    changes: &'a [String],
}

/// Writes the folder, unless a gate refused.
pub(super) fn finish(work: Work<'_>, sources: Vec<SourceReport>) -> Result<Outcome, CurateError> {
    let faults = work.corpus.faults();
    let mut steps = vec![StepReport {
        removed: faults,
        found: faults,
        ..StepReport::new(READ, "remove", work.corpus.len() + faults)
    }];
    steps.extend(work.steps.iter().cloned());
    let quarantined = work.fates.removed_by(POISON);
    let rows_out = work.fates.staying();
    let mut report = CleanReport {
        inputs: work.corpus.inputs().to_vec(),
        rows_in: work.corpus.len() + faults,
        rows_out,
        removed: work.corpus.len() + faults - rows_out - quarantined,
        quarantined,
        changed: work.facts.iter().enumerate().filter(|(row, fact)| fact.changed && work.fates.stays(*row)).count(),
        steps,
        sources,
        manifest: None,
    };
    let mut refusals = work.refusals.clone();
    if rows_out == 0 {
        refusals.push("no row stays".into());
    }
    if !refusals.is_empty() {
        return Ok(Outcome { report, refusals });
    }
    let writer = DirWriter::create(work.request.out)?;
    let mut leaves = Vec::with_capacity(rows_out);
    let (rows, bytes, blake3) = written(&writer, "data.jsonl", |out| work.write_rows(out, &mut leaves))?;
    let root = hex(&merkle_root(&leaves));
    let file = DataFile { path: "data.jsonl".into(), rows, bytes, blake3, merkle_root: root };
    written(&writer, "lineage.jsonl", |out| work.write_lineage(out))?;
    written(&writer, "removed.jsonl", |out| work.write_removed(out, false))?;
    if quarantined > 0 {
        written(&writer, "quarantine.jsonl", |out| work.write_removed(out, true))?;
    }
    if report.changed > 0 {
        written(&writer, "changed.jsonl", |out| work.write_changed(out))?;
    }
    let parameters = serde_json::to_value(&work.request.config.clean).unwrap_or_default();
    let against = serde_json::to_value(&work.request.config.contamination).unwrap_or_default();
    let steps = report.steps.iter().map(|step| recorded(step, &parameters, &against)).collect();
    let manifest = DatasetManifest::new("clean", work.corpus.inputs(), vec![file], steps);
    writer.write("report.json", &pretty(&report))?;
    writer.write(MANIFEST, &pretty(&manifest))?;
    writer.commit()?;
    report.manifest = Some(manifest);
    Ok(Outcome { report, refusals })
}

/// JSON for people.
pub(crate) fn pretty(value: &impl Serialize) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

/// A step with the parameters that are its own.
fn recorded(step: &StepReport, clean: &Value, against: &Value) -> Step {
    let prefix: &[&str] = match step.step {
        "hidden-text" => &["hidden_text"],
        "secrets" => &["secrets", "min_confidence"],
        "pii" => &["pii", "pii_kinds", "min_confidence"],
        "poison" => &["poison"],
        "quality" => &["quality", "min_quality"],
        "documents" => &["documents"],
        "exact-duplicates" => &["duplicates", "duplicate_keep"],
        "near-duplicates" => &["duplicates", "duplicate_threshold", "duplicate_fields", "duplicate_keep"],
        "semantic-duplicates" => &["duplicates", "semantic_model", "semantic_threshold", "duplicate_keep"],
        "keep-best" => &["keep_best"],
        _ => &[],
    };
    let mut parameters: BTreeMap<&str, Value> = prefix.iter().map(|key| (*key, clean[*key].clone())).collect();
    if step.step == "contamination" {
        parameters = ["against", "names", "folder", "threshold", "paraphrases"]
            .iter()
            .map(|key| (*key, against[*key].clone()))
            .chain([("contamination", clean["contamination"].clone())])
            .collect();
    }
    Step {
        step: step.step.into(),
        rows_in: step.rows_in,
        rows_out: step.rows_out(),
        changed: step.changed,
        parameters: json!(parameters),
    }
}

/// Counts and hashes what goes through.
struct Counting<'a> {
    out: &'a mut dyn Write,
    bytes: u64,
    hasher: blake3::Hasher,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes a file of the folder; rows as `fill` counts them, bytes and hash.
pub(crate) fn written(
    writer: &DirWriter,
    name: &str,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<usize>,
) -> Result<(usize, u64, String), CurateError> {
    let mut result = (0, 0, String::new());
    writer.write_with(name, None, |out| {
        let mut counting = Counting { out, bytes: 0, hasher: blake3::Hasher::new() };
        let rows = {
            let mut buffered = io::BufWriter::with_capacity(1 << 20, &mut counting);
            let rows = fill(&mut buffered)?;
            buffered.flush()?;
            rows
        };
        result = (rows, counting.bytes, counting.hasher.finalize().to_hex().to_string());
        Ok(())
    })?;
    Ok(result)
}

impl Work<'_> {
    /// The JSON of a row as it is after masking and stripping.
    fn row_json(&self, row: usize, into: &mut Vec<u8>) -> io::Result<()> {
        match self.rewritten_rows.get(&(row as u32)) {
            Some(&index) => self.rewritten.read(index as usize, into),
            None => self.corpus.json(row, into),
        }
    }

    fn write_rows(&self, out: &mut dyn Write, leaves: &mut Vec<[u8; 32]>) -> io::Result<usize> {
        let mut json = Vec::new();
        for row in self.fates.live() {
            self.row_json(row as usize, &mut json)?;
            out.write_all(&json)?;
            out.write_all(b"\n")?;
            leaves.push(self.facts[row as usize].hash);
        }
        Ok(leaves.len())
    }

    fn write_lineage(&self, out: &mut dyn Write) -> io::Result<usize> {
        let live = self.fates.live();
        for &row in &live {
            let row = row as usize;
            let origin = self.corpus.origin(row);
            let line = LineageLine {
                hash: &hex(&self.facts[row].hash),
                parents: &[self.parent_hash(row)?],
                file: origin.file.display().to_string(),
                row: origin.row,
                line: origin.line,
            };
            write_line(out, &line)?;
        }
        Ok(live.len())
    }

    /// The content hash of a row as it stands in its file.
    fn parent_hash(&self, row: usize) -> io::Result<String> {
        if !self.facts[row].changed {
            return Ok(hex(&self.facts[row].hash));
        }
        Ok(self.corpus.item(row)?.row.map(|row| hex(&row.hash)).unwrap_or_default())
    }

    fn place(&self, row: usize) -> PlaceLine {
        let origin = self.corpus.origin(row);
        PlaceLine {
            file: origin.file.display().to_string(),
            row: origin.row,
            line: origin.line,
            hash: hex(&self.facts[row].hash),
        }
    }

    fn write_removed(&self, out: &mut dyn Write, poison: bool) -> io::Result<usize> {
        let mut rows = 0;
        if !poison {
            let mut line = Vec::new();
            for index in 0..self.faults.len() {
                self.faults.read(index, &mut line)?;
                out.write_all(&line)?;
                out.write_all(b"\n")?;
                rows += 1;
            }
        }
        let mut json = Vec::new();
        for row in 0..self.facts.len() {
            let Some(removal) = self.fates.removal(row).filter(|removal| (removal.step == POISON) == poison) else {
                continue;
            };
            self.row_json(row, &mut json)?;
            let content: &RawValue = serde_json::from_slice(&json)?;
            let origin = self.corpus.origin(row);
            let (reason, kept, similarity) = match &removal.why {
                Why::Words(words) => (words.to_string(), None, None),
                Why::Duplicate { kept, field, similarity } => {
                    (format!("the {field} is that of another row"), Some(self.place(*kept as usize)), Some(*similarity))
                }
            };
            let hash = self.facts[row].hash;
            let line = RemovedLine {
                file: origin.file.display().to_string(),
                row: origin.row,
                line: origin.line,
                step: removal.step,
                reason,
                kept,
                similarity,
                hash: (hash != [0; 32]).then(|| hex(&hash)),
                content,
            };
            write_line(out, &line)?;
            rows += 1;
        }
        Ok(rows)
    }

    fn write_changed(&self, out: &mut dyn Write) -> io::Result<usize> {
        let mut rows: Vec<u32> = self.changes.keys().copied().filter(|&row| self.fates.stays(row as usize)).collect();
        rows.sort_unstable();
        for &row in &rows {
            let place = self.place(row as usize);
            let line = ChangedLine {
                file: place.file,
                row: place.row,
                line: place.line,
                parent: self.parent_hash(row as usize)?,
                hash: place.hash,
                changes: &self.changes[&row],
            };
            write_line(out, &line)?;
        }
        Ok(rows.len())
    }
}

fn write_line(out: &mut dyn Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, line)?;
    out.write_all(b"\n")
}
