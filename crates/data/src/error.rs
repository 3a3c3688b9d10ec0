//! What can go wrong between a file and its rows.

use std::fmt;
use std::path::PathBuf;

use crate::problem::{RowProblem, quoted};
use crate::row::{Form, RowOrigin};

/// An error of this crate. [`DataError::hint`] says what to do about it. Lines, rows and columns count from 1.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// No file was named.
    #[error("no data file is named")]
    NoFiles,
    /// There is no such file.
    #[error("{path}: no such file", path = path.display())]
    NotFound {
        /// The file.
        path: PathBuf,
    },
    /// A folder was named.
    #[error("{path} is a folder, not a file", path = path.display())]
    Directory {
        /// The folder.
        path: PathBuf,
        /// Some files in it that can be read.
        inside: Vec<String>,
    },
    /// A pipe or device was named.
    #[error("{path} is not a regular file", path = path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file of a kind that is not read.
    #[error("{path}: {} are not read; {READ_EXTENSIONS} are", what_extension(extension), path = path.display())]
    Extension {
        /// The file.
        path: PathBuf,
        /// Its extension in lower case, empty if it has none.
        extension: String,
    },
    /// One file was named twice.
    #[error("{path} is named twice: its rows would count double", path = path.display())]
    SameFileTwice {
        /// The file, as it was named the second time.
        path: PathBuf,
    },
    /// The system could not read the file.
    #[error("cannot read {path}: {source}", path = path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A packed file or a Parquet file that is damaged, or was made to be.
    #[error("{path} is damaged: {reason}", path = path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What was found.
        reason: String,
    },
    /// A file that uses parts of its format that are not read.
    #[error("{path} cannot be read: {reason}", path = path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// Which part it is.
        reason: String,
    },
    /// A packed file that grows beyond all measure.
    #[error("{path} unpacks to more than {times} times its size, which no text does", path = path.display())]
    Expansion {
        /// The file.
        path: PathBuf,
        /// The bound.
        times: u64,
    },
    /// A row of a table or a document that cannot be read.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A file without rows.
    #[error("{path} has no rows: {what}", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
        /// What is in it.
        what: &'static str,
    },
    /// A byte that is not UTF-8.
    #[error("{path}:{line}: byte {column} of the line (0x{byte:02X}) is not UTF-8", path = path.display())]
    Utf8 {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// Byte of the line.
        column: usize,
        /// The byte.
        byte: u8,
    },
    /// A NUL byte.
    #[error("{path}:{line}: byte {column} of the line is NUL, which no text has", path = path.display())]
    Nul {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// Byte of the line.
        column: usize,
    },
    /// A row beyond all measure.
    #[error("{path}:{line}: the row that starts here has more than {limit} bytes", path = path.display())]
    RowTooLong {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// The bound.
        limit: usize,
    },
    /// A `.json` file that is too large to be held.
    #[error("{path} has {bytes} bytes; a .json file is read as a whole and may have {limit}", path = path.display())]
    DocumentTooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The bound.
        limit: u64,
    },
    /// Bad JSON.
    #[error("{path}:{line}:{column}: {reason}", path = path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Its line.
        line: usize,
        /// Character of the line.
        column: usize,
        /// What is wrong.
        reason: String,
        /// Its kind.
        fault: JsonFault,
    },
    /// A `.json` file that is good JSON, but no list of rows.
    #[error("{path}: {reason}", path = path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// What it is.
        reason: String,
    },
    /// Rows that do not fit the form.
    #[error("{}", describe_misfits(path, *form, *total, *rows, first))]
    Misfits {
        /// The file.
        path: PathBuf,
        /// The form that was asked for or that other rows have; `None` if no row has a known one.
        form: Option<Form>,
        /// Number of rows that do not fit.
        total: usize,
        /// Number of rows of the file.
        rows: usize,
        /// The first of them, ten at most.
        first: Vec<Misfit>,
    },
    /// Rows of several forms.
    #[error("{}: the rows have different forms: {}", path.display(), join_counts(counts))]
    Mixed {
        /// The file.
        path: PathBuf,
        /// The forms that occur.
        counts: Vec<FormCount>,
    },
    /// Preference data.
    #[error("{first}: {kind}, in {found} of {rows} rows: training on preference data comes with a later version")]
    Preference {
        /// The first such row.
        first: RowOrigin,
        /// The form.
        kind: PreferenceKind,
        /// Number of such rows.
        found: usize,
        /// Number of rows of the file.
        rows: usize,
    },
    /// A transcript that names nobody.
    #[error("{path}: no speaker is named, so that nobody can be the assistant", path = path.display())]
    NoSpeakers {
        /// The file.
        path: PathBuf,
    },
    /// A transcript in which the assistant does not speak.
    #[error("{path}: no speaker is called {}; {}", quoted(assistant), list_speakers(speakers), path = path.display())]
    UnknownSpeaker {
        /// The file.
        path: PathBuf,
        /// The name that was asked for.
        assistant: String,
        /// Who speaks and how many turns they have, the most first.
        speakers: Vec<(String, usize)>,
        /// The speaker that was probably meant.
        nearest: Option<String>,
    },
    /// A transcript in which nobody speaks to the assistant.
    #[error("{path}: {} never speaks after somebody else, in {turns} turn{}", quoted(assistant), plural(*turns), path = path.display())]
    NothingAnswered {
        /// The file.
        path: PathBuf,
        /// The assistant.
        assistant: String,
        /// Its turns.
        turns: usize,
    },
    /// A fraction that is none.
    #[error("the validation fraction must be at least 0 and below 1, not {fraction}")]
    Fraction {
        /// What was given.
        fraction: f64,
    },
    /// Too few different rows to split.
    #[error("{rows} rows with {distinct} different contents cannot be split into training and validation rows")]
    TooFewDistinct {
        /// Number of rows.
        rows: usize,
        /// Number of different ones.
        distinct: usize,
    },
}

/// Kind of a JSON error, which decides what to advise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonFault {
    /// The text breaks JSON's grammar.
    Syntax,
    /// The text ends before the value does.
    EndsEarly,
    /// As [`JsonFault::EndsEarly`], in a line of a `.jsonl` file.
    RowOverLines,
    /// There is more text behind the value.
    TrailingText,
    /// As [`JsonFault::TrailingText`], in a `.json` file.
    LinesInDocument,
    /// A key occurs twice in one object.
    DoubledKey,
    /// An integer does not fit 64 bits.
    OversizedInteger,
}

/// A row that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Misfit {
    /// Where it stands.
    pub origin: RowOrigin,
    /// Why it does not fit.
    pub problem: RowProblem,
    /// The form whose keys it has, if that is not the one it was read as.
    pub looks_like: Option<Form>,
}

impl fmt::Display for Misfit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.problem)?;
        self.looks_like.map_or(Ok(()), |form| write!(f, "; the row looks like {form}"))
    }
}

/// How often a form occurs in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FormCount {
    /// The form.
    pub form: Form,
    /// Number of rows.
    pub rows: usize,
    /// The first of them.
    pub first: RowOrigin,
}

/// Forms of preference data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PreferenceKind {
    /// `chosen` beside `rejected`.
    Pairs,
    /// `kto_tag`.
    KtoTag,
    /// A `label` that is true or false beside an example.
    Label,
    /// `desirable` or `undesirable`.
    Desirable,
}

impl fmt::Display for PreferenceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pairs => "preference pairs (`chosen` and `rejected`)",
            Self::KtoTag => "KTO data (`kto_tag`)",
            Self::Label => "KTO data (`label`: true or false)",
            Self::Desirable => "KTO data (`desirable` and `undesirable`)",
        })
    }
}

impl DataError {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::NoFiles => "set data.train to one or more files: .jsonl, .json, .csv, .parquet, .md, .txt, .vtt ...".into(),
            Self::NotFound { .. } => "check the paths in data.train and data.validation".into(),
            Self::Directory { inside, .. } if inside.is_empty() => {
                "name a .jsonl or .json file; there is none in the folder".into()
            }
            Self::Directory { inside, .. } => format!("name the files themselves; in the folder: {}", inside.join(", ")),
            Self::NotAFile { .. } => {
                "save the data as a file: it is read again when a run is resumed".into()
            }
            Self::Extension { extension, .. } => extension_hint(extension),
            Self::SameFileTwice { .. } => "name each file once".into(),
            Self::Read { .. } => "check the permissions of the file and the state of its disk".into(),
            Self::Damaged { .. } => "write or copy the file anew: what is left of it cannot be trusted".into(),
            Self::Unsupported { .. } => "write it anew without that, or convert it to .jsonl".into(),
            Self::Expansion { .. } => {
                "unpack it yourself if you trust it; .jsonl and .csv files are unpacked row by row and have no bound".into()
            }
            Self::Row { .. } => "mend or remove the row".into(),
            Self::Empty { .. } => "check that the file was written to its end".into(),
            Self::Utf8 { .. } => {
                "save the file as UTF-8, for example: iconv -f WINDOWS-1252 -t UTF-8 old.jsonl > new.jsonl".into()
            }
            Self::Nul { .. } => "the file is damaged, or UTF-16 without its mark; write it anew as UTF-8".into(),
            Self::RowTooLong { .. } => {
                "is each row on a line of its own? No model reads a text of this length: cut it into rows".into()
            }
            Self::DocumentTooLarge { .. } => {
                "write it as .jsonl, one row per line (jq -c '.[]' old.json > new.jsonl): such files have no bound".into()
            }
            Self::Json { fault, .. } => fault.hint().into(),
            Self::Shape { .. } => {
                "a .json file holds a list of rows, [{...}, {...}], or an object with one such list, {\"data\": [...]}; \
                 write several sets as several files"
                    .into()
            }
            Self::Misfits { form, first, .. } => misfits_hint(*form, first),
            Self::Mixed { .. } => {
                "write each form to a file of its own and name them all, or set data.format to the form that all rows \
                 are to be read as"
                    .into()
            }
            Self::Preference { kind: PreferenceKind::Label, .. } => {
                "if `label` is only a note, set data.format to the form of the rows; it is not read then".into()
            }
            Self::Preference { .. } => {
                "to train on the preferred answers alone, write them as messages without `chosen`, `rejected` and `kto_tag`"
                    .into()
            }
            Self::NoSpeakers { .. } => {
                "speakers are named by <v NAME> in WebVTT, or by NAME: in front of what they say; leave the file out, or \
                 leave data.transcripts (--assistant) out to read it as plain text"
                    .into()
            }
            Self::UnknownSpeaker { nearest: Some(name), .. } => format!(
                "did you mean {}? data.transcripts.assistant (--assistant) is a name as the file has it, capitals included",
                quoted(name)
            ),
            Self::UnknownSpeaker { .. } => {
                "set data.transcripts.assistant (--assistant) to one of them, or leave the file out".into()
            }
            Self::NothingAnswered { .. } => {
                "leave the file out, or name another speaker in data.transcripts.assistant (--assistant)".into()
            }
            Self::Fraction { .. } => "set data.validation_fraction to a number such as 0.1, or to 0 for none".into(),
            Self::TooFewDistinct { .. } => "add rows, or set data.validation_fraction to 0".into(),
        })
    }
}

impl JsonFault {
    fn hint(self) -> &'static str {
        match self {
            Self::Syntax => "mend the row; a JSON checker (jq . FILE) names the same place",
            Self::EndsEarly => "the file seems to be cut off; write it anew",
            Self::RowOverLines => {
                "in a .jsonl file every row stands on one line; a list, or rows over several lines, need the name .json"
            }
            Self::TrailingText => "write one row per line, with a line end behind it",
            Self::LinesInDocument => "if every line is a row of its own, the file needs the name .jsonl",
            Self::DoubledKey => "remove one of the two: which one was meant cannot be known",
            Self::OversizedInteger => "write it as a string, in quotes",
        }
    }
}

/// The extensions that are read, for people.
const READ_EXTENSIONS: &str =
    ".jsonl, .ndjson, .json, .csv, .tsv, .parquet, .txt, .md, .html, .vtt, .srt and .sbv (and each with .gz or .zst)";

fn what_extension(extension: &str) -> String {
    if extension.is_empty() {
        "files without an extension".into()
    } else {
        format!(".{} files", crate::problem::shown(extension))
    }
}

fn extension_hint(extension: &str) -> String {
    match extension {
        "gz" | "zst" => {
            format!("name it by what is inside, such as train.jsonl.{extension}")
        }
        "xz" | "bz2" | "zip" | "tar" | "tgz" | "7z" => {
            "unpack the file; of packed files only .gz and .zst are read".into()
        }
        "arrow" | "feather" | "xlsx" | "xls" | "ods" => format!(
            "convert it to .jsonl, .csv or .parquet; .{extension} is not read in this version"
        ),
        "" => "if every line is a JSON object, name the file .jsonl".into(),
        _ => "write the examples as .jsonl: one JSON object per line, such as {\"prompt\": \"...\", \"completion\": \"...\"}".into(),
    }
}

/// The keys of each form, for people.
fn keys_of(form: Form) -> &'static str {
    match form {
        Form::Messages => "{\"messages\": [{\"role\": ..., \"content\": ...}, ...]}",
        Form::PromptCompletion => "{\"prompt\": ..., \"completion\": ...}",
        Form::Alpaca => "{\"instruction\": ..., \"output\": ...}",
        Form::Sharegpt => "{\"conversations\": [{\"from\": ..., \"value\": ...}, ...]}",
        Form::Text => "{\"text\": ...}",
        Form::Preference => "{\"prompt\": ..., \"chosen\": ..., \"rejected\": ...}",
        Form::Kto => "{\"prompt\": ..., \"completion\": ..., \"label\": true | false}",
    }
}

fn misfits_hint(form: Option<Form>, first: &[Misfit]) -> String {
    if first.iter().any(|misfit| matches!(misfit.problem, RowProblem::SeveralForms { .. })) {
        return "set data.format to the form that is meant".into();
    }
    let mut hint = match form {
        None => {
            let forms: Vec<String> = Form::ALL.iter().map(|&form| format!("{form} {}", keys_of(form))).collect();
            format!("the forms are: {}", forms.join(", "))
        }
        Some(form) => format!("mend or remove these rows; {form} rows are {}", keys_of(form)),
    };
    if let Some(other) = first.iter().find_map(|misfit| misfit.looks_like) {
        hint.push_str(&format!("; for the other rows, set data.format to {other} or auto"));
    }
    if first.iter().any(|misfit| misfit.problem.to_string().contains('[')) {
        hint.push_str(" (numbers in [ ] count from 0)");
    }
    hint
}

fn describe_misfits(path: &std::path::Path, form: Option<Form>, total: usize, rows: usize, first: &[Misfit]) -> String {
    let path = path.display();
    let row_word = |count: usize| if count == 1 { "row" } else { "rows" };
    let mut text = match form {
        Some(form) => format!("{path}: {total} of {rows} {} cannot be read as {form}:", row_word(rows)),
        None if total == rows => format!("{path}: the form is unknown, none of {rows} {} can be read:", row_word(rows)),
        None => format!("{path}: {total} of {rows} {} cannot be read:", row_word(rows)),
    };
    for misfit in first {
        text.push_str(&format!("\n  {misfit}"));
    }
    if total > first.len() {
        text.push_str(&format!("\n  ... and {} more", total - first.len()));
    }
    text
}

/// Names and turns of speakers, the first of them.
fn list_speakers(speakers: &[(String, usize)]) -> String {
    const LISTED: usize = 8;
    let listed: Vec<String> = (speakers.iter().take(LISTED))
        .map(|(name, turns)| format!("{} ({turns} turn{})", quoted(name), plural(*turns)))
        .collect();
    let more = match speakers.len().saturating_sub(LISTED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("those who speak: {}{more}", listed.join(", "))
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

fn join_counts(counts: &[FormCount]) -> String {
    let listed: Vec<String> =
        counts.iter().map(|count| format!("{} {} (the first is {})", count.rows, count.form, count.first)).collect();
    listed.join(", ")
}
