//! What a file is, told by its name.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// What is in a file once it is unpacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKind {
    /// One JSON object per line.
    JsonLines,
    /// A JSON document with a list of rows.
    Json,
    /// Values between commas or semicolons.
    Csv,
    /// Values between tabs.
    Tsv,
    Parquet,
    Text,
    Markdown,
    Html,
    WebVtt,
    Srt,
    Sbv,
}

impl FileKind {
    /// Whether it holds what is said, and may say who says it.
    pub(crate) fn is_captions(self) -> bool {
        matches!(self, Self::WebVtt | Self::Srt | Self::Sbv)
    }
}

/// Whether the name of a file says that it holds captions, which are transcripts if they name speakers.
pub fn is_captions(path: &Path) -> bool {
    kind_of(path).is_ok_and(|(kind, _)| kind.is_captions())
}

/// How a file is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Zstd,
}

/// The kinds by their extensions.
const EXTENSIONS: [(&str, FileKind); 20] = [
    ("jsonl", FileKind::JsonLines),
    ("ndjson", FileKind::JsonLines),
    ("jsonlines", FileKind::JsonLines),
    ("json", FileKind::Json),
    ("csv", FileKind::Csv),
    ("tsv", FileKind::Tsv),
    ("tab", FileKind::Tsv),
    ("parquet", FileKind::Parquet),
    ("pq", FileKind::Parquet),
    ("parq", FileKind::Parquet),
    ("txt", FileKind::Text),
    ("text", FileKind::Text),
    ("md", FileKind::Markdown),
    ("markdown", FileKind::Markdown),
    ("html", FileKind::Html),
    ("htm", FileKind::Html),
    ("xhtml", FileKind::Html),
    ("vtt", FileKind::WebVtt),
    ("srt", FileKind::Srt),
    ("sbv", FileKind::Sbv),
];

/// What the name of a file says; otherwise its extension in lower case.
pub(crate) fn kind_of(path: &Path) -> Result<(FileKind, Packing), String> {
    let extension = |path: &Path| path.extension().and_then(OsStr::to_str).unwrap_or_default().to_ascii_lowercase();
    let outer = extension(path);
    let packing = match outer.as_str() {
        "gz" | "gzip" => Packing::Gzip,
        "zst" | "zstd" => Packing::Zstd,
        _ => Packing::None,
    };
    let inner =
        if packing == Packing::None { outer } else { extension(Path::new(path.file_stem().unwrap_or_default())) };
    match EXTENSIONS.iter().find(|(known, _)| *known == inner) {
        Some(&(_, kind)) => Ok((kind, packing)),
        // The inner name says more, if there is one.
        None if inner.is_empty() => Err(extension(path)),
        None => Err(inner),
    }
}

/// As [`kind_of`], for a file that must be there and readable.
pub(crate) fn checked_kind(path: &Path) -> Result<(FileKind, Packing, Metadata), DataError> {
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(DataError::NotFound { path: path.into() });
        }
        Err(source) => return Err(DataError::Read { path: path.into(), source }),
    };
    if metadata.is_dir() {
        return Err(DataError::Directory { path: path.into(), inside: data_files_in(path) });
    }
    if !metadata.is_file() {
        return Err(DataError::NotAFile { path: path.into() });
    }
    let (kind, packing) = kind_of(path).map_err(|extension| DataError::Extension { path: path.into(), extension })?;
    Ok((kind, packing, metadata))
}

/// Names of the files in a folder that could have been meant, a few of them. Plain documents are left out: most folders
/// have some beside the data.
fn data_files_in(folder: &Path) -> Vec<String> {
    use FileKind::{Csv, Json, JsonLines, Parquet, Tsv};
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .filter_map(|entry| Some(PathBuf::from(entry.ok()?.file_name())))
        .filter(|name| matches!(kind_of(name), Ok((JsonLines | Json | Csv | Tsv | Parquet, _))))
        .map(|name| name.display().to_string())
        .collect();
    names.sort();
    names.truncate(5);
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_inside() {
        let kind = |name: &str| kind_of(Path::new(name));
        assert_eq!(kind("a/b.JSONL"), Ok((FileKind::JsonLines, Packing::None)));
        assert_eq!(kind("a.json.gz"), Ok((FileKind::Json, Packing::Gzip)));
        assert_eq!(kind("a.b.tsv.ZST"), Ok((FileKind::Tsv, Packing::Zstd)));
        assert_eq!(kind("a.gz"), Err("gz".into()));
        assert_eq!(kind("a.tar.gz"), Err("tar".into()));
        assert_eq!(kind("train"), Err(String::new()));
        assert_eq!(kind(".json"), Err(String::new()), "a hidden file without an extension");
    }
}
