//! Evaluation sets by name, in a folder of the user's.

use std::path::{Path, PathBuf};

use super::error::Error;
use super::evals::strip_endings;

/// What a file may add to the name of its set: which part of it this is.
const PARTS: [&str; 15] = [
    "test",
    "train",
    "training",
    "validation",
    "valid",
    "val",
    "dev",
    "main",
    "all",
    "default",
    "part",
    "shard",
    "of",
    "split",
    "full",
];
/// How many names an error lists.
const LISTED: usize = 5;

/// Finds the files of an evaluation set by its name.
///
/// `gsm8k` is `gsm8k.jsonl` as well as `GSM8K_test-1.jsonl.gz`, or `test.jsonl` in a folder `gsm8k`; but not `gsm8k_platinum.jsonl`.
/// `gsm8k_test` leaves out the other splits. The files come sorted, the parts of a set by number.
///
/// # Errors
/// [`Error::Read`] if the folder cannot be read, [`Error::NotFound`] with what looks like it.
pub fn find_by_name(folder: &Path, name: &str) -> Result<Vec<PathBuf>, Error> {
    let wanted = words(name);
    let mut candidates: Vec<(Vec<String>, PathBuf)> = Vec::new();
    for (path, is_folder) in entries(folder)? {
        let file = file_name(&path);
        if is_folder {
            for (inner, is_folder) in entries(&path)? {
                if let (false, Some(stem)) = (is_folder, strip_endings(&file_name(&inner))) {
                    // A file that repeats the name of its folder does not need it twice.
                    let (outer, stem) = (words(&file), words(stem));
                    let stem = if stem.starts_with(&outer) { stem } else { [outer, stem].concat() };
                    candidates.push((stem, inner));
                }
            }
        } else if let Some(stem) = strip_endings(&file) {
            candidates.push((words(stem), path));
        }
    }
    let mut found: Vec<(Vec<Piece>, PathBuf)> = candidates
        .iter()
        .filter(|(stem, _)| {
            !wanted.is_empty() && stem.starts_with(&wanted) && stem[wanted.len()..].iter().all(|word| is_part(word))
        })
        .map(|(stem, path)| (stem.iter().map(|word| Piece::new(word)).collect(), path.clone()))
        .collect();
    if found.is_empty() {
        return Err(not_found(folder, name, &candidates));
    }
    found.sort();
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

/// A word of a name, so that part 10 comes after part 9.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Piece {
    Number(u64),
    Word(String),
}

impl Piece {
    fn new(word: &str) -> Self {
        word.parse().map_or_else(|_| Self::Word(word.to_owned()), Self::Number)
    }
}

fn not_found(folder: &Path, name: &str, candidates: &[(Vec<String>, PathBuf)]) -> Error {
    let joined = words(name).join("_");
    let mut near: Vec<(bool, f64, String)> = candidates
        .iter()
        .map(|(stem, path)| {
            let stem = stem.join("_");
            let shown = path.strip_prefix(folder).unwrap_or(path).display().to_string();
            (!joined.is_empty() && stem.contains(&joined), strsim::jaro_winkler(&joined, &stem), shown)
        })
        .filter(|(inside, likeness, _)| *inside || *likeness > 0.7)
        .collect();
    near.sort_by(|a, b| b.0.cmp(&a.0).then(b.1.total_cmp(&a.1)).then_with(|| a.2.cmp(&b.2)));
    Error::NotFound {
        name: name.to_owned(),
        folder: folder.to_path_buf(),
        near: near.into_iter().take(LISTED).map(|(_, _, shown)| shown).collect(),
        files: candidates.len(),
    }
}

/// What is in a folder, sorted, and whether it is a folder.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>, Error> {
    let failed = |source| Error::Read { path: folder.to_path_buf(), source };
    let mut entries = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let is_folder = path.is_dir();
        entries.push((path, is_folder));
    }
    entries.sort();
    Ok(entries)
}

fn file_name(path: &Path) -> String {
    path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

/// The letters and digits of a name, in lower case.
fn words(name: &str) -> Vec<String> {
    name.split(|char: char| !char.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn is_part(word: &str) -> bool {
    PARTS.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit())
}
