//! Example types, readers and form detection.
//!
//! [`read`] turns files into [`Row`]s. It reads every row of every file before it says which form a file
//! has, so that row 90,000 counts as much as row 1: rows that do not fit, mixed forms and preference data stop the
//! reading with file, line, row and reason. Nothing is guessed and nothing is left out in silence.
//!
//! ```
//! use std::io::Write as _;
//!
//! let folder = std::env::temp_dir().join(format!("attune-data-example-{}", std::process::id()));
//! std::fs::create_dir_all(&folder)?;
//! let path = folder.join("train.jsonl");
//! let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).open(&path)?;
//! writeln!(file, r#"{{"question": "What is 6 x 7?", "answer": "42"}}"#)?;
//!
//! let set = attune_data::read(&[path], attune_data::FormatChoice::Auto)?;
//! assert_eq!(set.files[0].form, attune_data::Form::PromptCompletion);
//! assert_eq!((set.rows[0].origin.row, set.rows[0].origin.line), (1, 1));
//! # std::fs::remove_dir_all(&folder)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! [`open`] reads the same files row by row and goes on behind a row that is broken: for tools that clean.
//!
//! # Files
//! - `.jsonl`, `.ndjson`: one JSON object per line; blank lines are skipped. Read as a stream.
//! - `.json`: a list of objects, or one object with a single list among its members (`{"version": 1, "data": [...]}`).
//!   Read as a whole.
//! - `.csv`, `.tsv`: a table, usually with a header; values are strings. `,`, `;`, tab or `|` is found by looking. Read as
//!   a stream.
//! - `.parquet`: a table with types, see [`open`] for what they become. Read page by page.
//! - `.txt`, `.md`, `.html`, `.vtt`, `.srt`, `.sbv`: one document, which is one row with `text`, `source` (the name of the
//!   file), and where they are known `title`, `language` and `segments` (`start`, `end`, `speaker`, `text`).
//! - `.vtt`, `.srt`, `.sbv` with [`ReadOptions::transcripts`]: rows with `messages`, `source` and `start` (seconds), each
//!   what one person and the assistant say to each other. The line of a row is that of its first cue.
//!
//! Each may be packed: `.jsonl.gz`, `.csv.zst`. What is held as a whole may not unpack to more than 250 times its size.
//!
//! Text must be UTF-8, or UTF-16 or UTF-32 with a byte order mark, with `\n` or `\r\n` line ends, without NUL bytes. A key
//! that occurs twice in one object is an error: which of the two was meant, nobody knows. So is an integer beyond 64 bits,
//! which would lose digits. Bounds: [`MAX_ROW_BYTES`], [`MAX_DOCUMENT_BYTES`], and 128 levels of nesting.
//!
//! # Forms
//! Each file has one form; different files may have different ones. See [`Form`] for the keys of each and what becomes
//! of them. Other keys of a row (`id`, `source`, ...) are notes and are not read, except that one letter beside a key
//! that is missing (`sytem`) is an error.

mod columns;
mod detect;
mod document;
mod error;
mod forms;
#[doc(hidden)]
pub mod fuzz;
mod hash;
mod json;
mod lines;
mod problem;
mod read;
mod record;
mod row;
pub mod screen;
mod split;
mod vote;

pub use error::{DataError, FormCount, JsonFault, Misfit, PreferenceKind};
pub use problem::RowProblem;
pub use read::{MAX_DOCUMENT_BYTES, MAX_ROW_BYTES, read, read_with};
pub use record::{
    Entry, Extent, Facts, Fault, ReadOptions, Record, Records, TranscriptFacts, Transcripts, is_captions, open,
};
pub use row::{DataSet, FileReport, Form, FormatChoice, Pair, Row, RowContent, RowOrigin};
pub use split::{Split, split_validation};
pub use vote::{FormVote, classify};
