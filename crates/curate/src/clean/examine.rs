//! The first look at every row: what it says, what is hidden in it, what must not be in it. What must not be written is
//! masked on the way, so that all later steps, and the folder, have the masked row alone.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use attune_config::{CleanConfig, HiddenAction, ScrubAction};
use attune_data::Record;
use attune_scrub::Category;
use serde_json::{Map, Value};

use super::scan::{Said, Scanned, Scanner};
use super::{FORM, Facts, HIDDEN, Names, PII, Request, SECRETS, Work, name_of, refusal};
use crate::corpus::Corpus;
use crate::error::CurateError;
use crate::fates::{Fates, Why};
use crate::live::TextStoreWriter;
use crate::looker::Looker;
use crate::progress::Watch;
use crate::report::StepReport;
use crate::scrub::{self, Hit, Placeholders};
use crate::spool::{Spool, SpoolWriter};
use crate::texts::Texts;

/// Places that are named of one row in messages.
const PLACES: usize = 5;

/// Looks at every row.
pub(super) fn examine<'a>(
    request: &'a Request<'a>,
    watch: &'a dyn Watch,
    corpus: Corpus,
    scanner: &Scanner,
    scratch: &Path,
) -> Result<Work<'a>, CurateError> {
    let mut examination = Examination::new(&request.config.clean, scanner, scratch, corpus.len())?;
    corpus.for_each(
        "scanning",
        watch,
        |item| scanner.scan(item),
        |row, scanned| examination.take(&corpus, row, scanned),
    )?;
    examination.finish(request, watch, corpus)
}

/// What is known of the rows so far.
struct Examination<'s> {
    clean: &'s CleanConfig,
    scanner: &'s Scanner,
    scratch: PathBuf,
    texts: TextStoreWriter,
    rewritten: SpoolWriter,
    rewritten_rows: HashMap<u32, u32>,
    changes: HashMap<u32, Vec<String>>,
    facts: Vec<Facts>,
    fates: Fates,
    sources: Names,
    roles: Names,
    placeholders: Placeholders,
    form: StepReport,
    hidden: StepReport,
    secrets: StepReport,
    pii: StepReport,
}

impl<'s> Examination<'s> {
    fn new(clean: &'s CleanConfig, scanner: &'s Scanner, scratch: &Path, rows: usize) -> Result<Self, CurateError> {
        let on_disk = |source| CurateError::Scratch { folder: scratch.to_path_buf(), source };
        Ok(Self {
            clean,
            scanner,
            scratch: scratch.to_path_buf(),
            texts: TextStoreWriter::create(scratch).map_err(on_disk)?,
            rewritten: SpoolWriter::create(scratch).map_err(on_disk)?,
            rewritten_rows: HashMap::new(),
            changes: HashMap::new(),
            facts: Vec::with_capacity(rows),
            fates: Fates::new(rows),
            sources: Names::default(),
            roles: Names::default(),
            placeholders: Placeholders::default(),
            form: StepReport::new(FORM, "remove", rows),
            hidden: StepReport::new(HIDDEN, name_of(&clean.hidden_text), 0),
            secrets: StepReport::new(SECRETS, name_of(&clean.secrets), 0),
            pii: StepReport::new(PII, name_of(&clean.pii), 0),
        })
    }

    fn on_disk(&self, source: std::io::Error) -> CurateError {
        CurateError::Scratch { folder: self.scratch.clone(), source }
    }

    /// Takes what the scanners say of the next row.
    fn take(&mut self, corpus: &Corpus, row: usize, scanned: Scanned) -> Result<(), CurateError> {
        let Scanned { mut source, mut role, rewritten: mut object, hits, said } = scanned;
        if hits.iter().any(|hit| self.scanner.looker.masks(hit.finding.category)) {
            let before = match object.take() {
                Some(object) => object,
                None => corpus.item(row)?.record.object,
            };
            let masked = mask_row(&self.scanner.looker, &mut self.placeholders, &before, &hits);
            // Sources and roles are named in the report.
            let record = Record { origin: corpus.origin(row), object: masked };
            (source, role) = self.scanner.names(&record);
            object = Some(record.object);
        }
        let mut fact = Facts { source: self.sources.number(source), role: self.roles.number(role), ..Facts::default() };
        let texts = match said {
            Err(problem) => {
                self.misfit(corpus, row, &problem, object)?;
                Texts::default()
            }
            Ok(said) => self.said(corpus, row, said, &hits, object, &mut fact)?,
        };
        self.texts.push(&texts).map_err(|source| self.on_disk(source))?;
        self.facts.push(fact);
        Ok(())
    }

    /// A row that does not fit the form of its file.
    fn misfit(
        &mut self,
        corpus: &Corpus,
        row: usize,
        problem: &str,
        object: Option<Map<String, Value>>,
    ) -> Result<(), CurateError> {
        let problem = mask_text(&self.scanner.looker, &mut self.placeholders, problem);
        self.form.found += 1;
        self.form.example(|| format!("{}: {problem}", corpus.origin(row)));
        self.fates.remove(row, FORM, Why::Words(problem.into()));
        match object {
            Some(object) => self.rewrite(row, &object),
            None => Ok(()),
        }
    }

    /// A row that says something; its texts as they are written.
    fn said(
        &mut self,
        corpus: &Corpus,
        row: usize,
        mut said: Said,
        hits: &[Hit],
        object: Option<Map<String, Value>>,
        fact: &mut Facts,
    ) -> Result<Texts, CurateError> {
        let mut told: Vec<String> = Vec::new();
        if !said.hidden.is_empty() {
            self.hidden(corpus, row, &said.hidden, &mut told);
        }
        for category in [Category::Secret, Category::Pii] {
            if scrub::has(hits, category) {
                self.found(corpus, row, category, hits, &mut told);
            }
        }
        if let Some(object) = object {
            self.rewrite(row, &object)?;
            self.changes.insert(row as u32, told);
            fact.changed = true;
            // What the row says is read again from what is written, so that the two cannot differ.
            match self.scanner.read_again(corpus, row, object) {
                Ok((hash, texts)) => (said.hash, said.texts) = (hash, texts),
                Err(problem) if self.fates.stays(row) => {
                    self.fates.remove(row, FORM, Why::Words(format!("after masking: {problem}").into()));
                }
                Err(_) => {}
            }
        }
        fact.verdict = said.verdict;
        fact.hash = said.hash;
        fact.context = said.texts.context_key();
        fact.chars = u32::try_from(said.texts.chars()).unwrap_or(u32::MAX);
        fact.is_document = said.texts.question.is_empty();
        Ok(said.texts)
    }

    /// Characters that no reader sees.
    fn hidden(&mut self, corpus: &Corpus, row: usize, kinds: &[&'static str], told: &mut Vec<String>) {
        self.hidden.found += 1;
        for kind in kinds {
            self.hidden.count(*kind);
        }
        let kinds = kinds.join(", ");
        self.hidden.example(|| format!("{}: {kinds}", corpus.origin(row)));
        match self.clean.hidden_text {
            HiddenAction::Drop => self.fates.remove(row, HIDDEN, Why::Words(format!("hidden text: {kinds}").into())),
            HiddenAction::Strip => told.push(format!("hidden text: {kinds}")),
            HiddenAction::Off | HiddenAction::Report | HiddenAction::Block => {}
        }
    }

    /// Secrets, or personal data.
    fn found(&mut self, corpus: &Corpus, row: usize, category: Category, hits: &[Hit], told: &mut Vec<String>) {
        let (action, report, step) = match category {
            Category::Secret => (self.clean.secrets, &mut self.secrets, SECRETS),
            Category::Pii => (self.clean.pii, &mut self.pii, PII),
        };
        let of_kind = || hits.iter().filter(|hit| hit.finding.category == category);
        report.found += 1;
        for hit in of_kind() {
            report.count(hit.finding.rule);
        }
        let places: Vec<String> =
            of_kind().take(PLACES).map(|hit| format!("{} at {}", hit.finding.rule, hit.path)).collect();
        let places = places.join(", ");
        report.example(|| format!("{}: {places}", corpus.origin(row)));
        if action == ScrubAction::Drop && self.fates.stays(row) {
            self.fates.remove(row, step, Why::Words(places.into()));
        }
        if self.scanner.looker.masks(category) {
            told.extend(of_kind().map(|hit| format!("{}: {}", hit.finding.rule, hit.path)));
        }
    }

    /// Keeps a row as it is to be written.
    fn rewrite(&mut self, row: usize, object: &Map<String, Value>) -> Result<(), CurateError> {
        let json = serde_json::to_vec(object).map_err(|error| self.on_disk(error.into()))?;
        self.rewritten_rows.insert(row as u32, self.rewritten.len() as u32);
        self.rewritten.push(&[&json]).map_err(|source| self.on_disk(source))
    }

    fn finish<'a>(
        mut self,
        request: &'a Request<'a>,
        watch: &'a dyn Watch,
        corpus: Corpus,
    ) -> Result<Work<'a>, CurateError> {
        let faults = mask_faults(&corpus, &self.scanner.looker, &mut self.placeholders, &self.scratch)?;
        let refusals = self.close();
        let scratch = self.scratch;
        let on_disk = |source| CurateError::Scratch { folder: scratch.clone(), source };
        Ok(Work {
            request,
            watch,
            corpus,
            faults,
            rewritten: self.rewritten.finish().map_err(on_disk)?,
            rewritten_rows: self.rewritten_rows,
            changes: self.changes,
            texts: self.texts.finish().map_err(on_disk)?,
            facts: self.facts,
            fates: self.fates,
            sources: self.sources,
            roles: self.roles,
            steps: vec![self.form, self.hidden, self.secrets, self.pii],
            refusals,
        })
    }

    /// The counts of the steps, and what those refuse that are to block.
    fn close(&mut self) -> Vec<String> {
        let removed = |step| self.fates.removed_by(step);
        let mut rows = self.form.rows_in;
        for (report, step) in
            [(&mut self.form, FORM), (&mut self.hidden, HIDDEN), (&mut self.secrets, SECRETS), (&mut self.pii, PII)]
        {
            report.rows_in = rows;
            report.removed = removed(step);
            rows = report.rows_out();
        }
        let mut refusals = Vec::new();
        for (report, action, key) in
            [(&mut self.secrets, self.clean.secrets, "clean.secrets"), (&mut self.pii, self.clean.pii, "clean.pii")]
        {
            if action == ScrubAction::Mask {
                report.changed = report.found;
            }
            if action == ScrubAction::Block && report.found > 0 {
                refusals.push(refusal(report, key));
            }
        }
        match self.clean.hidden_text {
            HiddenAction::Strip => self.hidden.changed = self.hidden.found,
            HiddenAction::Block if self.hidden.found > 0 => refusals.push(refusal(&self.hidden, "clean.hidden_text")),
            _ => {}
        }
        refusals
    }
}

/// A row with the findings that must not be written replaced.
fn mask_row(
    looker: &Looker,
    placeholders: &mut Placeholders,
    object: &Map<String, Value>,
    hits: &[Hit],
) -> Map<String, Value> {
    scrub::rewrite(object, &mut |slot, text| {
        let findings: Vec<_> = (hits.iter())
            .filter(|hit| hit.slot == slot && looker.masks(hit.finding.category))
            .map(|hit| &hit.finding)
            .collect();
        (!findings.is_empty()).then(|| placeholders.mask(text, &findings))
    })
}

/// A text with the findings that must not be written replaced.
fn mask_text(looker: &Looker, placeholders: &mut Placeholders, text: &str) -> String {
    let mut findings = looker.findings_in(text);
    findings.retain(|finding| looker.masks(finding.category));
    placeholders.mask(text, &findings.iter().collect::<Vec<_>>())
}

/// The rows that could not be read, as lines of JSON without what must not be written.
fn mask_faults(
    corpus: &Corpus,
    looker: &Looker,
    placeholders: &mut Placeholders,
    scratch: &Path,
) -> Result<Spool, CurateError> {
    let on_disk = |source| CurateError::Scratch { folder: scratch.to_path_buf(), source };
    let mut masked = SpoolWriter::create(scratch).map_err(on_disk)?;
    corpus.for_each_fault(|json| {
        let mut line: Map<String, Value> = serde_json::from_slice(json).map_err(|error| on_disk(error.into()))?;
        // Bytes that are no text may hold some between them.
        let bytes = line.get("raw_hex").and_then(Value::as_str).map(crate::lineage::unhex_bytes);
        let text = bytes.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        if let Some(text) = text {
            let without = mask_text(looker, placeholders, &text);
            if without != text {
                line.remove("raw_hex");
                line.insert("raw".into(), Value::String(without));
            }
        }
        for key in ["reason", "raw"] {
            if let Some(Value::String(text)) = line.get_mut(key) {
                *text = mask_text(looker, placeholders, text);
            }
        }
        let json = serde_json::to_vec(&line).map_err(|error| on_disk(error.into()))?;
        masked.push(&[&json]).map_err(on_disk)
    })?;
    masked.finish().map_err(on_disk)
}
