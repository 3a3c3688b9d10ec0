//! Rows as they stand in a file, one after the other, whatever the file is.

pub(crate) mod csv;
pub(crate) mod documents;
mod encoding;
pub(crate) mod fault;
pub(crate) mod kind;
pub(crate) mod parquet;
pub(crate) mod source;
mod transcripts;

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::columns;
use crate::document::JsonDocument;
use crate::error::DataError;
use crate::lines::JsonLines;
use crate::problem::RowProblem;
use crate::read::{MAX_DOCUMENT_BYTES, MAX_ROW_BYTES};
use crate::row::RowOrigin;
use fault::Cause;
use kind::{FileKind, Packing};
use source::{Origin, Progress, Source};

pub use fault::Extent;
pub use kind::is_captions;
pub use transcripts::{TranscriptFacts, Transcripts};

/// How files are read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReadOptions {
    /// Columns that have other names in the file: our name and the file's.
    pub columns: Vec<(String, String)>,
    /// Whether the first row of a CSV or TSV file holds the names of the columns; `None` to tell by that row: names are
    /// short, and none is a number. Columns without a name are `column_1`, `column_2`, ...
    pub header: Option<bool>,
    /// Who the assistant is in captions; each file of captions is then a transcript with any number of rows of messages.
    /// `None` leaves it one row with its text. Files that are no captions are not concerned.
    pub transcripts: Option<Transcripts>,
}

/// A row that could be read, whatever it says.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    /// Where it stands.
    pub origin: RowOrigin,
    /// All its keys, in the order of the file.
    pub object: Map<String, Value>,
}

/// A row that could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands.
    pub origin: RowOrigin,
    /// The row as it stood, with its line end if it has one. Of rows beyond [`MAX_ROW_BYTES`] the beginning.
    pub raw: Vec<u8>,
    /// Where all of it is.
    pub extent: Extent,
    /// Why it could not be read.
    pub problem: RowProblem,
}

/// What stands in a row's place.
#[derive(Debug, Clone, PartialEq)]
pub enum Entry {
    /// A row.
    Record(Record),
    /// A row that could not be read; the next one may be good.
    Fault(Fault),
}

/// A file that was read to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub hash: String,
}

/// Opens a file for reading row by row. To read it again, open it again.
///
/// Rows and faults together are the rows of the file: bad JSON, bytes that are no UTF-8, NUL, a doubled key, a number
/// that JSON does not have, a row beyond [`MAX_ROW_BYTES`], fields that do not match the header, each costs its own row
/// only. In a `.json` document the next row is found by brackets and quotes; where these do not match, the rest of the
/// document is one fault. The memory that is needed grows with the largest row; `.json` documents are held as a whole.
///
/// # Parquet
/// Integers and floats are numbers (`"NaN"`, `"Infinity"`, `"-Infinity"` are strings, because JSON lacks them); decimals
/// are strings with all their digits; dates, times and timestamps are ISO 8601, with `Z` where the column is in UTC; bytes
/// are text if they are UTF-8, else `{"base64": "..."}`; lists and structs are lists and objects; a map is an object if its
/// keys are different strings, else a list of `{"key", "value"}`. Timestamps in 96 bits are read to the millisecond. The
/// number of a row stands for its line.
///
/// # Errors
/// If the file is not there, is no regular file, or is of no kind that is read; if a packed file or a Parquet file is
/// damaged at its head. While reading, if [`ReadOptions::transcripts`] names a speaker who answers nobody in a file.
pub fn open(path: &Path, options: &ReadOptions) -> Result<Records, DataError> {
    Records::open(path, options)
}

/// The rows of one file. After an `Err` there are no more.
pub struct Records {
    path: Arc<Path>,
    reader: Box<dyn RowReader>,
    progress: Arc<Progress>,
    total: Option<u64>,
    columns: Vec<(String, String)>,
    row: usize,
    finished: bool,
}

impl Records {
    pub(crate) fn open(path: &Path, options: &ReadOptions) -> Result<Self, DataError> {
        let (kind, packing, metadata) = kind::checked_kind(path)?;
        if kind == FileKind::Json && packing == Packing::None && metadata.len() > MAX_DOCUMENT_BYTES {
            return Err(DataError::DocumentTooLarge {
                path: path.into(),
                bytes: metadata.len(),
                limit: MAX_DOCUMENT_BYTES,
            });
        }
        let file = File::open(path).map_err(|source| DataError::Read { path: path.into(), source })?;
        Self::new(Arc::from(path), Origin::File(file), kind, packing, Some(metadata.len()), options)
    }

    /// As [`Records::open`], of bytes in memory.
    pub(crate) fn of_bytes(name: &Path, bytes: Vec<u8>, options: &ReadOptions) -> Result<Self, DataError> {
        let (kind, packing) =
            kind::kind_of(name).map_err(|extension| DataError::Extension { path: name.into(), extension })?;
        let total = bytes.len() as u64;
        Self::new(Arc::from(name), Origin::Memory(bytes), kind, packing, Some(total), options)
    }

    fn new(
        path: Arc<Path>,
        origin: Origin,
        kind: FileKind,
        packing: Packing,
        total: Option<u64>,
        options: &ReadOptions,
    ) -> Result<Self, DataError> {
        let progress = Arc::new(Progress::default());
        let source = |origin| Source::open(Arc::clone(&path), origin, packing, Arc::clone(&progress));
        let reader: Box<dyn RowReader> = match kind {
            FileKind::JsonLines => Box::new(JsonLines::new(source(origin)?, MAX_ROW_BYTES)),
            FileKind::Json => {
                let mut source = source(origin)?;
                let (bytes, _) = source.read_whole(MAX_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES)?;
                Box::new(JsonDocument::new(Arc::clone(&path), bytes, source.mark_bytes, MAX_ROW_BYTES))
            }
            FileKind::Csv => Box::new(csv::Table::open(source(origin)?, None, options.header)?),
            FileKind::Tsv => Box::new(csv::Table::open(source(origin)?, Some(b'\t'), options.header)?),
            FileKind::Parquet if packing == Packing::None => {
                Box::new(parquet::ParquetRows::open(&path, origin, Some(Arc::clone(&progress)))?)
            }
            FileKind::Parquet => {
                let (bytes, _) = source(origin)?.read_whole(MAX_DOCUMENT_BYTES, MAX_DOCUMENT_BYTES)?;
                Box::new(parquet::ParquetRows::open(&path, Origin::Memory(bytes), None)?)
            }
            kind => Box::new(documents::OneDocument::new(source(origin)?, kind, options.transcripts.as_ref())),
        };
        Ok(Self { path, reader, progress, total, columns: options.columns.clone(), row: 0, finished: false })
    }

    /// The next row with what the strict reading wants to know of it.
    pub(crate) fn next_found(&mut self) -> Result<Option<Found>, DataError> {
        if self.finished {
            return Ok(None);
        }
        let found = self.reader.next_row().map(|found| found.map(|found| self.with_our_names(found)));
        self.finished = !matches!(found, Ok(Some(_)));
        self.row += usize::from(!self.finished);
        found
    }

    /// The row with its columns renamed; a row that lacks one is a fault.
    fn with_our_names(&self, found: Found) -> Found {
        let Found::Row { line, mut object } = found else { return found };
        match columns::rename(&mut object, &self.columns) {
            Ok(()) => Found::Row { line, object },
            Err(problem) => {
                let raw = Value::Object(object).to_string().into_bytes();
                let extent = Extent { start: 0, length: raw.len() as u64 };
                let reason = format!("data.columns: {problem}");
                Found::fault(line, fault::held_slice(&raw), extent, Cause::Other { line, reason })
            }
        }
    }

    /// What a file without rows has instead.
    pub(crate) fn why_empty(&self) -> &'static str {
        self.reader.why_empty()
    }

    /// What became of the turns of a transcript, once its first row was taken; `None` for files that were not read as one.
    pub fn transcript(&self) -> Option<TranscriptFacts> {
        self.reader.transcript()
    }

    /// Bytes of the file that were read, packed as it is.
    pub fn bytes_read(&self) -> u64 {
        self.progress.seen()
    }

    /// The size of the file.
    pub fn total_bytes(&self) -> Option<u64> {
        self.total
    }

    /// Size and hash of the file, once all rows were taken; before that, of what was read so far.
    pub fn facts(&self) -> Facts {
        Facts { bytes: self.progress.seen(), hash: self.progress.hash() }
    }
}

impl Iterator for Records {
    type Item = Result<Entry, DataError>;

    fn next(&mut self) -> Option<Self::Item> {
        let found = self.next_found().transpose()?;
        let origin = |line| RowOrigin { file: Arc::clone(&self.path), row: self.row, line };
        Some(found.map(|found| match found {
            Found::Row { line, object } => Entry::Record(Record { origin: origin(line), object }),
            Found::Fault(fault) => Entry::Fault(Fault {
                origin: origin(fault.line),
                problem: fault.cause.problem(),
                raw: fault.raw,
                extent: fault.extent,
            }),
        }))
    }
}

/// The rows of a file of one kind.
pub(crate) trait RowReader: Send {
    /// The next row; `None` at the end, at which the whole file has been read. Not called again after an error.
    fn next_row(&mut self) -> Result<Option<Found>, DataError>;

    /// What a file without rows has instead, for people.
    fn why_empty(&self) -> &'static str {
        "no rows"
    }

    /// What became of the turns, if the file was read as a transcript.
    fn transcript(&self) -> Option<TranscriptFacts> {
        None
    }
}

/// A row as its reader found it.
#[derive(Debug)]
pub(crate) enum Found {
    Row { line: usize, object: Map<String, Value> },
    Fault(Box<FoundFault>),
}

#[derive(Debug)]
pub(crate) struct FoundFault {
    pub(crate) line: usize,
    pub(crate) raw: Vec<u8>,
    pub(crate) extent: Extent,
    pub(crate) cause: Cause,
}

impl Found {
    pub(crate) fn fault(line: usize, raw: Vec<u8>, extent: Extent, cause: Cause) -> Self {
        Self::Fault(Box::new(FoundFault { line, raw, extent, cause }))
    }
}
