//! All rows of all inputs, on disk, in order.
//!
//! Every input, whatever its format, is read once and written to a temporary file as JSON, one entry per row. From then
//! on rows are read by number, in stretches and by all threads, and a set larger than the memory costs 32 bytes of it
//! per row.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_data::{
    DataError, Entry, Form, FormVote, FormatChoice, ReadOptions, Record, Row, RowOrigin, RowProblem, TranscriptFacts,
    Transcripts,
};
use rayon::prelude::*;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::CurateError;
use crate::lineage::{self, DatasetManifest};
use crate::progress::{Progress, Watch};
use crate::spool::{Spool, SpoolWriter};

/// Rows are handed to the threads in stretches of at most so many bytes of JSON ...
const STRETCH_BYTES: u64 = 16 << 20;
/// ... and so many rows.
const STRETCH_ROWS: usize = 8192;

/// A file that was read.
#[derive(Debug, Clone, Serialize)]
pub struct Input {
    /// The file, as it was named.
    #[serde(serialize_with = "as_text")]
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub blake3: String,
    /// The form of its rows.
    pub form: Form,
    /// Number of rows that could be read.
    pub rows: usize,
    /// Number of rows that could not.
    pub faults: usize,
    /// What became of the turns, if it was read as a transcript.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transcript: Option<TranscriptFacts>,
    /// Who was the assistant then.
    #[serde(skip)]
    pub transcripts: Option<Transcripts>,
    /// Merkle root of the data set that the file is a part of, when a `dataset.json` beside it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
}

/// A path as JSON; what is not UTF-8 in its name is shown as a replacement character.
pub(crate) fn as_text<S: serde::Serializer>(path: impl AsRef<Path>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.as_ref().display())
}

/// Where a row came from.
#[derive(Debug, Clone, Copy)]
struct Place {
    input: u32,
    row: u32,
    line: u64,
}

/// All rows of all inputs.
pub struct Corpus {
    rows: Spool,
    places: Vec<Place>,
    faults: Spool,
    inputs: Vec<Input>,
    names: Vec<Arc<Path>>,
}

/// One row, as it stands in its file and as what it says.
pub struct Item {
    /// Its number in the corpus, from 0.
    pub index: usize,
    /// Where it stands and all its keys.
    pub record: Record,
    /// What it says, or why it does not fit the form of its file.
    pub row: Result<Row, RowProblem>,
}

/// A row that could not be read, as it goes to the file of removed rows.
#[derive(Debug, Serialize)]
pub(crate) struct FaultLine<'a> {
    #[serde(serialize_with = "as_text")]
    pub(crate) file: &'a Path,
    pub(crate) row: usize,
    pub(crate) line: usize,
    pub(crate) step: &'static str,
    pub(crate) reason: String,
    /// The row as it stood, if it is UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw: Option<&'a str>,
    /// The row as it stood in hex, if it is not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) raw_hex: Option<String>,
}

impl Corpus {
    /// Reads all rows of all files; `scratch` is a folder for temporary files, on a disk with as much room as the rows
    /// take.
    ///
    /// # Errors
    /// [`CurateError`] when a file cannot be read, when its rows have several forms, or when the disk is full. Single
    /// rows that cannot be read are no errors: they are kept as faults.
    pub fn read(
        paths: &[PathBuf],
        choice: FormatChoice,
        options: &ReadOptions,
        scratch: &Path,
        watch: &dyn Watch,
    ) -> Result<Self, CurateError> {
        if paths.is_empty() {
            return Err(DataError::NoFiles.into());
        }
        let on_disk = |source| CurateError::Scratch { folder: scratch.to_path_buf(), source };
        let mut rows = SpoolWriter::create(scratch).map_err(on_disk)?;
        let mut faults = SpoolWriter::create(scratch).map_err(on_disk)?;
        let mut places = Vec::new();
        let mut inputs = Vec::new();
        let mut names: Vec<Arc<Path>> = Vec::new();
        let mut seen: Vec<PathBuf> = Vec::new();
        for (number, path) in paths.iter().enumerate() {
            if let Ok(same) = std::fs::canonicalize(path) {
                if seen.contains(&same) {
                    return Err(DataError::SameFileTwice { path: path.clone() }.into());
                }
                seen.push(same);
            }
            let mut records = attune_data::open(path, options)?;
            let total = records.total_bytes();
            let mut vote = FormVote::new(Arc::from(path.as_path()), choice);
            let (rows_before, faults_before) = (rows.len(), faults.len());
            while let Some(entry) = records.next() {
                match entry? {
                    Entry::Record(record) => {
                        vote.observe(&record);
                        let json = serde_json::to_vec(&record.object).map_err(|error| on_disk(error.into()))?;
                        rows.push(&[&json]).map_err(on_disk)?;
                        places.push(Place {
                            input: number as u32,
                            row: u32::try_from(record.origin.row).unwrap_or(u32::MAX),
                            line: record.origin.line as u64,
                        });
                    }
                    Entry::Fault(fault) => {
                        let line = FaultLine::new(&fault.origin, "read", fault.problem.to_string(), &fault.raw);
                        let json = serde_json::to_vec(&line).map_err(|error| on_disk(error.into()))?;
                        faults.push(&[&json]).map_err(on_disk)?;
                    }
                }
                watch.progress(Progress { step: "reading", done: records.bytes_read(), total, unit: "B" })?;
            }
            let facts = records.facts();
            let form = vote.settle()?;
            names.push(Arc::from(path.as_path()));
            inputs.push(Input {
                path: path.clone(),
                bytes: facts.bytes,
                parent: DatasetManifest::beside(path)?.and_then(|manifest| manifest.root_of(path, &facts.hash)),
                blake3: facts.hash,
                form,
                rows: rows.len() - rows_before,
                faults: faults.len() - faults_before,
                transcript: records.transcript(),
                transcripts: options.transcripts.clone().filter(|_| records.transcript().is_some()),
            });
        }
        let rows = rows.finish().map_err(on_disk)?;
        let faults = faults.finish().map_err(on_disk)?;
        Ok(Self { rows, places, faults, inputs, names })
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.len() == 0
    }

    /// Bytes of all rows as JSON.
    pub fn bytes(&self) -> u64 {
        self.rows.bytes()
    }

    /// The files.
    pub fn inputs(&self) -> &[Input] {
        &self.inputs
    }

    /// Rows that could not be read.
    pub fn faults(&self) -> usize {
        self.faults.len()
    }

    /// Where a row stands.
    pub fn origin(&self, index: usize) -> RowOrigin {
        let place = self.places[index];
        RowOrigin {
            file: Arc::clone(&self.names[place.input as usize]),
            row: place.row as usize,
            line: place.line as usize,
        }
    }

    /// Number of the file that a row stands in.
    pub fn input_of(&self, index: usize) -> usize {
        self.places[index].input as usize
    }

    /// Reads one row.
    ///
    /// # Errors
    /// When the temporary file cannot be read.
    pub fn item(&self, index: usize) -> io::Result<Item> {
        let mut bytes = Vec::new();
        self.rows.read(index, &mut bytes)?;
        self.parse(index, &bytes)
    }

    /// The JSON of one row, as it was read.
    pub(crate) fn json(&self, index: usize, into: &mut Vec<u8>) -> io::Result<()> {
        self.rows.read(index, into)
    }

    fn parse(&self, index: usize, json: &[u8]) -> io::Result<Item> {
        let object: Map<String, Value> = serde_json::from_slice(json)?;
        let record = Record { origin: self.origin(index), object };
        let row = attune_data::classify(&record, self.inputs[self.input_of(index)].form);
        Ok(Item { index, record, row })
    }

    /// Calls `map` for every row on all threads and `take` with its results in the order of the rows, on this thread.
    ///
    /// # Errors
    /// When the temporary file cannot be read, and what `take` returns.
    pub fn for_each<T: Send>(
        &self,
        step: &'static str,
        watch: &dyn Watch,
        map: impl Fn(Item) -> T + Sync,
        mut take: impl FnMut(usize, T) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let mut bytes = Vec::new();
        let mut first = 0;
        while first < self.len() {
            let end = self.rows.stretch(first, STRETCH_BYTES, STRETCH_ROWS);
            self.rows.read_range(first, end, &mut bytes)?;
            let mapped: Vec<io::Result<T>> = (first..end)
                .into_par_iter()
                .map(|index| Ok(map(self.parse(index, &bytes[self.rows.within(first, index)])?)))
                .collect();
            for (offset, result) in mapped.into_iter().enumerate() {
                take(first + offset, result?)?;
            }
            watch.progress(Progress { step, done: end as u64, total: Some(self.len() as u64), unit: "rows" })?;
            first = end;
        }
        Ok(())
    }

    /// Every row that could not be read, as a line of JSON.
    pub(crate) fn for_each_fault(
        &self,
        mut take: impl FnMut(&[u8]) -> Result<(), CurateError>,
    ) -> Result<(), CurateError> {
        let mut bytes = Vec::new();
        for index in 0..self.faults.len() {
            self.faults.read(index, &mut bytes)?;
            take(&bytes)?;
        }
        Ok(())
    }
}

impl<'a> FaultLine<'a> {
    pub(crate) fn new(origin: &'a RowOrigin, step: &'static str, reason: String, raw: &'a [u8]) -> Self {
        let text = std::str::from_utf8(raw).ok();
        Self {
            file: &origin.file,
            row: origin.row,
            line: origin.line,
            step,
            reason,
            raw: text,
            raw_hex: text.is_none().then(|| lineage::hex(raw)),
        }
    }
}
