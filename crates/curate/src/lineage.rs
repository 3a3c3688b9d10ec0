//! Where rows came from and what became of them: content hashes, Merkle roots, `dataset.json`.

use std::fs;
use std::path::{Path, PathBuf};

use attune_data::{Row, Transcripts};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::corpus::Input;
use crate::error::CurateError;

/// Name of the manifest in a folder of data.
pub const MANIFEST: &str = "dataset.json";
/// Larger manifests are no manifests of ours.
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
const FORMAT: &str = "attune-dataset";
const VERSION: u32 = 1;

/// `dataset.json`: what a folder of data is and how it was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DatasetManifest {
    /// Always `attune-dataset`.
    pub format: String,
    /// Version of this layout.
    pub version: u32,
    /// Program and version that wrote it.
    pub tool: String,
    /// What was done: `clean`, `split`.
    pub command: String,
    /// The files of rows in the folder.
    pub files: Vec<DataFile>,
    /// The files that were read.
    pub inputs: Vec<ManifestInput>,
    /// What was done to the rows, in order.
    pub steps: Vec<Step>,
    /// Number of rows of all `files`.
    pub rows: usize,
    /// Merkle root of the rows of all `files`, in order.
    pub merkle_root: String,
    /// The manifests of the sets that the inputs are a part of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parents: Vec<DatasetManifest>,
}

/// A file of rows that was written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DataFile {
    /// Its path in the folder, with `/`.
    pub path: String,
    /// Number of rows.
    pub rows: usize,
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub blake3: String,
    /// Merkle root of its rows' content hashes, in order.
    pub merkle_root: String,
}

/// A file of rows that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ManifestInput {
    /// As it was named.
    #[serde(serialize_with = "crate::corpus::as_text")]
    pub path: PathBuf,
    /// Size.
    pub bytes: u64,
    /// BLAKE3 of its bytes, in hex.
    pub blake3: String,
    /// The form its rows were read as.
    pub form: String,
    /// Number of rows, those that could not be read included.
    pub rows: usize,
    /// Who was the assistant, if it was read as a transcript.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub transcripts: Option<Transcripts>,
    /// Merkle root of the data set that it is a part of.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent: Option<String>,
}

/// A step with its parameters and its counts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Its name.
    pub step: String,
    /// Rows that came in.
    pub rows_in: usize,
    /// Rows that went out.
    pub rows_out: usize,
    /// Rows that went out changed.
    pub changed: usize,
    /// What it was told.
    pub parameters: Value,
}

impl From<&Input> for ManifestInput {
    fn from(input: &Input) -> Self {
        Self {
            path: input.path.clone(),
            bytes: input.bytes,
            blake3: input.blake3.clone(),
            form: input.form.name().to_owned(),
            rows: input.rows + input.faults,
            transcripts: input.transcripts.clone(),
            parent: input.parent.clone(),
        }
    }
}

impl DatasetManifest {
    /// A manifest of this version and this program.
    pub(crate) fn new(command: &str, inputs: &[Input], files: Vec<DataFile>, steps: Vec<Step>) -> Self {
        Self::of(command, inputs.iter().map(ManifestInput::from).collect(), files, steps)
    }

    /// A manifest of this version and this program.
    pub fn of(command: &str, inputs: Vec<ManifestInput>, files: Vec<DataFile>, steps: Vec<Step>) -> Self {
        let roots: Vec<[u8; 32]> = files.iter().map(|file| unhex(&file.merkle_root)).collect();
        Self {
            format: FORMAT.into(),
            version: VERSION,
            tool: concat!("attune ", env!("CARGO_PKG_VERSION")).into(),
            command: command.into(),
            rows: files.iter().map(|file| file.rows).sum(),
            merkle_root: match files.as_slice() {
                [only] => only.merkle_root.clone(),
                _ => hex(&merkle_root(&roots)),
            },
            files,
            inputs,
            steps,
            parents: Vec::new(),
        }
    }

    /// The same with the manifests of the sets that its inputs are a part of.
    pub fn with_parents(self, parents: Vec<Self>) -> Self {
        Self { parents, ..self }
    }

    /// The manifest as JSON for people.
    pub fn to_json(&self) -> Vec<u8> {
        crate::clean::output::pretty(self)
    }

    /// Reads the manifest of a folder; `None` if there is none.
    ///
    /// # Errors
    /// [`CurateError::Manifest`] for a file of that name that is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, CurateError> {
        let path = folder.join(MANIFEST);
        match fs::symlink_metadata(&path) {
            Err(_) => return Ok(None),
            Ok(metadata) if !metadata.is_file() => return Ok(None),
            Ok(_) => {}
        }
        let bytes = attune_formats::files::read_limited(&path, MAX_MANIFEST_BYTES)?;
        let broken = |reason: String| CurateError::Manifest { path: path.clone(), reason };
        let value: Value = serde_json::from_slice(&bytes).map_err(|error| broken(format!("not JSON: {error}")))?;
        if value.get("format").and_then(Value::as_str) != Some(FORMAT) {
            // Other tools use this name, too; theirs says nothing about lineage.
            return Ok(None);
        }
        match value.get("version").and_then(Value::as_u64) {
            Some(version) if version == u64::from(VERSION) => {}
            version => return Err(broken(format!("version {version:?} is not known, only {VERSION} is"))),
        }
        serde_json::from_value(value).map(Some).map_err(|error| broken(error.to_string()))
    }

    /// The manifest of the folder that `file` lies in.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn beside(file: &Path) -> Result<Option<Self>, CurateError> {
        let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Self::read(parent)
    }

    /// The Merkle root of the whole set if `file`, with this hash, is one of its files.
    pub fn root_of(&self, file: &Path, blake3: &str) -> Option<String> {
        let name = file.file_name()?.to_str()?;
        self.files
            .iter()
            .any(|entry| entry.path.rsplit('/').next() == Some(name) && entry.blake3 == blake3)
            .then(|| self.merkle_root.clone())
    }
}

/// Merkle root of a list of hashes: BLAKE3 over pairs, level by level, an odd last one taken up unchanged. Leaves and
/// inner nodes are told apart by a first byte, so that no list has the root of another one.
pub fn merkle_root(leaves: &[[u8; 32]]) -> [u8; 32] {
    let node = |kind: u8, parts: &[&[u8; 32]]| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&[kind]);
        for part in parts {
            hasher.update(*part);
        }
        *hasher.finalize().as_bytes()
    };
    let mut level: Vec<[u8; 32]> = leaves.iter().map(|leaf| node(0, &[leaf])).collect();
    if level.is_empty() {
        return node(2, &[]);
    }
    while level.len() > 1 {
        level = level
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node(1, &[left, right]),
                [last] => *last,
                _ => unreachable!("chunks of two have one or two"),
            })
            .collect();
    }
    level[0]
}

/// As [`merkle_root`], in hex.
pub fn merkle_root_hex(leaves: &[[u8; 32]]) -> String {
    hex(&merkle_root(leaves))
}

/// Merkle root of rows, by their content hashes.
pub fn root_of_rows<'a>(rows: impl IntoIterator<Item = &'a Row>) -> String {
    let leaves: Vec<[u8; 32]> = rows.into_iter().map(|row| row.hash).collect();
    hex(&merkle_root(&leaves))
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

/// The inverse of [`hex`] for hashes of our own.
fn unhex(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (byte, value) in bytes.iter_mut().zip(unhex_bytes(text)) {
        *byte = value;
    }
    bytes
}

/// The inverse of [`hex`].
pub(crate) fn unhex_bytes(text: &str) -> Vec<u8> {
    let digit = |character: u8| char::from(character).to_digit(16).unwrap_or(0) as u8;
    text.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | pair.get(1).map_or(0, |&low| digit(low))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_depends_on_every_row_and_on_their_order() {
        let leaves: Vec<[u8; 32]> = (0..5u8).map(|number| [number; 32]).collect();
        let root = merkle_root(&leaves);
        for index in 0..5 {
            let mut other = leaves.clone();
            other[index][31] ^= 1;
            assert_ne!(merkle_root(&other), root);
        }
        let mut swapped = leaves.clone();
        swapped.swap(0, 1);
        assert_ne!(merkle_root(&swapped), root);
        assert_ne!(merkle_root(&leaves[..4]), root);
        assert_ne!(merkle_root(&[root]), root, "a list of one root is not the list itself");
        assert_ne!(merkle_root(&[]), merkle_root(&[[0; 32]]));
    }

    #[test]
    fn hex_goes_both_ways() {
        let bytes: [u8; 32] = std::array::from_fn(|index| (index * 7) as u8);
        assert_eq!(unhex(&hex(&bytes)), bytes);
    }
}
