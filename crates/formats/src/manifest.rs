//! The seal of a folder: what it is, size and hash of each of its files; written last.
//!
//! A checkpoint without its manifest does not exist. `docs/checkpoint-spec.md` is the specification; `manifest.json`:
//!
//! ```json
//! {
//!   "format": "attune",
//!   "format_version": 1,
//!   "kind": "checkpoint",
//!   "required_features": [],
//!   "writer": "attune 0.1.0",
//!   "made_from": { "base": "<64 hexadecimal digits>", "tokenizer": "...", "chat_template": "...", "text": "..." },
//!   "files": { "state.json": { "bytes": 211, "blake3": "<64 hexadecimal digits>" } },
//!   "seal": "<64 hexadecimal digits>"
//! }
//! ```
//!
//! `seal` is the last key and hashes every byte before its own line, so that a changed manifest is found, too. Manifests
//! of version 0, which had only `version` and `files`, are read as well.
//!
//! Sealed folders are flat: a sub-folder is an error. Files that desktops leave everywhere (`.DS_Store`, `Thumbs.db`,
//! `desktop.ini`) are not counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::checkpoint::strict_json;
use crate::files::{DirWriter, FileError, hash_file, is_plain_name, open_file, read_limited};

/// Name of the manifest in its folder.
pub const FILE_NAME: &str = "manifest.json";

/// The version that is written. The one before it is read, too.
pub const FORMAT_VERSION: u32 = 1;

/// A checkpoint that holds all weights of a model in place of an adapter.
pub const FULL_WEIGHTS: &str = "full_weights";

/// What a folder may require of its reader, and this one has.
pub const KNOWN_FEATURES: [&str; 1] = [FULL_WEIGHTS];

const FORMAT: &str = "attune";
/// What manifests without `format_version` have as `version`.
const VERSION_BEFORE_VERSIONS: u64 = 1;
const MAX_MANIFEST_BYTES: u64 = 1 << 20;
const DESKTOP_FILES: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];
const SEAL_KEY: &str = "  \"seal\": \"";
const SEAL_END: &str = "\"\n}\n";
const HASH_DIGITS: usize = 64;

/// A folder that is incomplete or was changed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// There is no manifest: the folder was never completed.
    #[error("{}: has no manifest.json, so it was never completed", dir.display())]
    Incomplete {
        /// The folder.
        dir: PathBuf,
    },
    /// The manifest is not what it must be.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The manifest.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// A key of the manifest is missing or has a value that makes no sense.
    #[error("{}: {key}: {reason}", path.display())]
    Key {
        /// The manifest.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The manifest is of a version that is not read.
    #[error("{}: format_version {version} is not known, {FORMAT_VERSION} and the one before it are", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version found.
        version: u64,
    },
    /// The folder uses what only later programs can read.
    #[error("{}: requires what this program does not have: {}", path.display(), features.join(", "))]
    Features {
        /// The manifest.
        path: PathBuf,
        /// Those that are not known.
        features: Vec<String>,
    },
    /// The manifest itself was changed.
    #[error("{}: the manifest was changed: {reason}", path.display())]
    Seal {
        /// The manifest.
        path: PathBuf,
        /// How that shows.
        reason: String,
    },
    /// The manifest names something that is not a file of the folder itself.
    #[error("{}: {name:?} is not the name of a file in this folder", path.display())]
    FileName {
        /// The manifest.
        path: PathBuf,
        /// The name found.
        name: String,
    },
    /// A file of the manifest is not there.
    #[error("{}: {name} is missing", dir.display())]
    Missing {
        /// The folder.
        dir: PathBuf,
        /// The file.
        name: String,
    },
    /// A file has another content than when it was sealed.
    #[error("{}: {name} was changed: {what} is {got}, was {expected}", dir.display())]
    Changed {
        /// The folder.
        dir: PathBuf,
        /// The file.
        name: String,
        /// `size` or `blake3`.
        what: &'static str,
        /// When it was sealed.
        expected: String,
        /// Now.
        got: String,
    },
    /// Something is in the folder that the manifest does not name.
    #[error("{}: {name} does not belong there", dir.display())]
    Extra {
        /// The folder.
        dir: PathBuf,
        /// The file or sub-folder.
        name: String,
    },
}

impl ManifestError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(source) => return source.hint(),
            Self::Incomplete { .. } => "its writing was interrupted; use an earlier checkpoint".into(),
            Self::Syntax { .. }
            | Self::Key { .. }
            | Self::Seal { .. }
            | Self::FileName { .. }
            | Self::Missing { .. }
            | Self::Changed { .. } => "the folder was damaged or edited; use an earlier checkpoint or a copy".into(),
            Self::Version { .. } | Self::Features { .. } => "a newer Attune wrote it; update Attune".into(),
            Self::Extra { dir, name } => format!("move {name} out of {}", dir.display()),
        })
    }
}

/// What a sealed folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// From which a run goes on.
    Checkpoint,
    /// An adapter in PEFT's layout. Other tools may add files (a model card, say).
    Adapter,
    /// A whole model in Hugging Face layout. Other tools may add files.
    Model,
}

impl Kind {
    /// As `manifest.json` says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Adapter => "adapter",
            Self::Model => "model",
        }
    }

    /// Whether files that the manifest does not name may lie beside those that it does.
    fn allows_extra_files(self) -> bool {
        !matches!(self, Self::Checkpoint)
    }
}

/// To what a folder belongs, as BLAKE3 hashes in hexadecimal; `None` where that is not known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeFrom {
    /// The base model's files, see [`MadeFrom::hash_of_base`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base: Option<String>,
    /// The bytes of `tokenizer.json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<String>,
    /// The text of the chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat_template: Option<String>,
    /// Tokenizer, template, the template's date and its variables together: all that turns a chat into ids.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Keys of later writers, kept as they are.
    #[serde(flatten)]
    pub extra: Map<String, Value>,
}

impl MadeFrom {
    /// One hash of the files of a base model, each with its path and its BLAKE3: BLAKE3 over `name \0 hash \n` of each
    /// file, sorted by name. Folders do not count, so a model that was moved stays the same.
    pub fn hash_of_base<'a>(files: impl IntoIterator<Item = (&'a Path, &'a str)>) -> String {
        let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let mut named: Vec<(String, &str)> = files.into_iter().map(|(path, hash)| (name(path), hash)).collect();
        named.sort();
        let mut hasher = blake3::Hasher::new();
        for (name, hash) in named {
            hasher.update(format!("{name}\0{hash}\n").as_bytes());
        }
        hasher.finalize().to_hex().to_string()
    }

    /// The four hashes with their keys.
    pub fn hashes(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("base", self.base.as_deref()),
            ("tokenizer", self.tokenizer.as_deref()),
            ("chat_template", self.chat_template.as_deref()),
            ("text", self.text.as_deref()),
        ]
    }

    /// The first hash that both know and that differs: its key, ours and theirs.
    pub fn difference<'a>(&'a self, other: &'a Self) -> Option<(&'static str, &'a str, &'a str)> {
        let pairs = self.hashes().into_iter().zip(other.hashes());
        pairs.into_iter().find_map(|((key, ours), (_, theirs))| {
            let (ours, theirs) = (ours?, theirs?);
            (ours != theirs).then_some((key, ours, theirs))
        })
    }
}

/// Size and hash of one file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its size.
    pub bytes: u64,
    /// BLAKE3 of its content in hexadecimal.
    pub blake3: String,
}

/// What a folder is, and every file of it but the manifest itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Version of the specification.
    pub format_version: u32,
    /// What the folder is.
    pub kind: Kind,
    /// What a reader must have to use the folder.
    pub required_features: Vec<String>,
    /// The program that wrote it, for people.
    pub writer: Option<String>,
    /// To what the folder belongs.
    pub made_from: MadeFrom,
    /// By name.
    pub files: BTreeMap<String, FileEntry>,
    /// Keys of later writers, kept as they are.
    pub extra: Map<String, Value>,
}

impl Manifest {
    /// Hashes the files that are in `dir` now.
    ///
    /// # Errors
    /// When a file cannot be read or the folder has a sub-folder.
    pub fn of(dir: &Path, kind: Kind, made_from: MadeFrom) -> Result<Self, ManifestError> {
        let mut files = BTreeMap::new();
        for name in names_in(dir)? {
            let path = dir.join(&name);
            if path.is_dir() {
                return Err(ManifestError::Extra { dir: dir.to_path_buf(), name });
            }
            let (_, bytes) = open_file(&path)?;
            files.insert(name, FileEntry { bytes, blake3: hash_file(&path)? });
        }
        Ok(Self {
            format_version: FORMAT_VERSION,
            kind,
            required_features: Vec::new(),
            writer: Some(concat!("attune ", env!("CARGO_PKG_VERSION")).into()),
            made_from,
            files,
            extra: Map::new(),
        })
    }

    /// Adds `manifest.json` to a folder that is otherwise complete, so that [`DirWriter::commit`] can follow.
    ///
    /// # Errors
    /// As [`Manifest::of`], and when the manifest cannot be written.
    pub fn seal(writer: &DirWriter, kind: Kind, made_from: MadeFrom) -> Result<Self, ManifestError> {
        Self::seal_with(writer, kind, made_from, &[])
    }

    /// As [`Manifest::seal`], of a folder that requires these features of its reader.
    ///
    /// # Errors
    /// As [`Manifest::seal`].
    pub fn seal_with(
        writer: &DirWriter,
        kind: Kind,
        made_from: MadeFrom,
        features: &[&str],
    ) -> Result<Self, ManifestError> {
        let mut manifest = Self::of(writer.path(), kind, made_from)?;
        manifest.required_features = features.iter().map(ToString::to_string).collect();
        writer.write(FILE_NAME, manifest.to_text().as_bytes())?;
        Ok(manifest)
    }

    /// The text of `manifest.json`, its seal included.
    pub fn to_text(&self) -> String {
        #[derive(Serialize)]
        struct Written<'a> {
            format: &'static str,
            format_version: u32,
            kind: Kind,
            required_features: &'a [String],
            #[serde(skip_serializing_if = "Option::is_none")]
            writer: Option<&'a str>,
            made_from: &'a MadeFrom,
            files: &'a BTreeMap<String, FileEntry>,
            #[serde(flatten)]
            extra: &'a Map<String, Value>,
        }
        let written = Written {
            format: FORMAT,
            format_version: FORMAT_VERSION,
            kind: self.kind,
            required_features: &self.required_features,
            writer: self.writer.as_deref(),
            made_from: &self.made_from,
            files: &self.files,
            extra: &self.extra,
        };
        let Ok(text) = serde_json::to_string_pretty(&written) else {
            unreachable!("names and numbers always become JSON")
        };
        let Some(body) = text.strip_suffix("\n}") else { unreachable!("an object ends with its brace: {text}") };
        let body = format!("{body},\n");
        let seal = blake3::hash(body.as_bytes());
        format!("{body}{SEAL_KEY}{}{SEAL_END}", seal.to_hex())
    }

    /// Reads the manifest of a folder and checks it alone, not the files.
    ///
    /// # Errors
    /// When there is none, or it is malformed, changed, of another version, requires what is not known, or names files
    /// outside of the folder.
    pub fn read(dir: &Path) -> Result<Self, ManifestError> {
        let path = dir.join(FILE_NAME);
        let bytes = match read_limited(&path, MAX_MANIFEST_BYTES) {
            Err(FileError::NotFound { .. }) if dir.is_dir() => {
                return Err(ManifestError::Incomplete { dir: dir.to_path_buf() });
            }
            Err(FileError::NotFound { .. }) => return Err(FileError::NotFound { path: dir.to_path_buf() }.into()),
            result => result?,
        };
        Self::parse(&path, &bytes)
    }

    /// The manifest in `bytes`; `path` is for messages.
    ///
    /// # Errors
    /// As [`Manifest::read`].
    pub fn parse(path: &Path, bytes: &[u8]) -> Result<Self, ManifestError> {
        let value = strict_json(bytes).map_err(|source| ManifestError::Syntax { path: path.to_path_buf(), source })?;
        let key_error =
            |key: &str, reason: String| ManifestError::Key { path: path.to_path_buf(), key: key.to_string(), reason };
        let Value::Object(keys) = value else {
            return Err(key_error("manifest", "is not an object".into()));
        };
        // The version first: what else a later version has is not an error of its own.
        let manifest = match keys.get("format_version") {
            None => Self::from_keys_before_versions(path, keys, bytes)?,
            Some(version) => {
                let Some(version) = version.as_u64() else {
                    return Err(key_error("format_version", format!("{version} is not a whole number")));
                };
                if version != u64::from(FORMAT_VERSION) {
                    return Err(ManifestError::Version { path: path.to_path_buf(), version });
                }
                Self::from_keys(path, keys, bytes)?
            }
        };
        if let Some(name) = manifest.files.keys().find(|name| !is_plain_name(name) || name.as_str() == FILE_NAME) {
            return Err(ManifestError::FileName { path: path.to_path_buf(), name: name.clone() });
        }
        Ok(manifest)
    }

    fn from_keys(path: &Path, keys: Map<String, Value>, bytes: &[u8]) -> Result<Self, ManifestError> {
        let mut keys = Keys { path, keys };
        let required_features: Vec<String> = keys.take("required_features")?;
        let features: Vec<String> =
            required_features.iter().filter(|name| !KNOWN_FEATURES.contains(&name.as_str())).cloned().collect();
        if !features.is_empty() {
            return Err(ManifestError::Features { path: path.to_path_buf(), features });
        }
        check_seal(bytes).map_err(|reason| ManifestError::Seal { path: path.to_path_buf(), reason })?;
        keys.keys.shift_remove("seal");
        keys.keys.shift_remove("format_version");
        let format: String = keys.take("format")?;
        if format != FORMAT {
            return Err(keys.error("format", format!("{format:?} is not {FORMAT:?}")));
        }
        let made_from: MadeFrom = keys.take("made_from")?;
        for (key, hash) in made_from.hashes() {
            if hash.is_some_and(|hash| !is_hash(hash)) {
                return Err(keys.error(&format!("made_from.{key}"), format!("is not {HASH_DIGITS} hexadecimal digits")));
            }
        }
        let writer = match keys.keys.contains_key("writer") {
            true => Some(keys.take("writer")?),
            false => None,
        };
        Ok(Self {
            format_version: FORMAT_VERSION,
            kind: keys.take("kind")?,
            required_features,
            writer,
            made_from,
            files: keys.files()?,
            extra: keys.keys,
        })
    }

    /// Version 0: `version` and `files`, nothing else, and exactly as it was written, since it has no seal.
    fn from_keys_before_versions(path: &Path, keys: Map<String, Value>, bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Serialize)]
        struct Written<'a> {
            version: u64,
            files: &'a BTreeMap<String, FileEntry>,
        }
        let mut keys = Keys { path, keys };
        let version: u64 = keys.take("version")?;
        if version != VERSION_BEFORE_VERSIONS {
            return Err(ManifestError::Version { path: path.to_path_buf(), version });
        }
        let files = keys.files()?;
        if let Some(key) = keys.keys.keys().next() {
            return Err(keys.error(key, "is not a key of version 0, and there is no format_version".into()));
        }
        let Ok(text) = serde_json::to_string_pretty(&Written { version, files: &files }) else {
            unreachable!("names and numbers always become JSON")
        };
        if bytes != format!("{text}\n").as_bytes() {
            let reason = "it is not as version 0 was written".into();
            return Err(ManifestError::Seal { path: path.to_path_buf(), reason });
        }
        Ok(Self {
            format_version: 0,
            kind: Kind::Checkpoint,
            required_features: Vec::new(),
            writer: None,
            made_from: MadeFrom::default(),
            files,
            extra: Map::new(),
        })
    }

    /// Reads the manifest of a folder and compares every file with it.
    ///
    /// # Errors
    /// As [`Manifest::read`]; and the first file by name that is missing, changed, or not in the manifest.
    pub fn verify(dir: &Path) -> Result<Self, ManifestError> {
        let manifest = Self::read(dir)?;
        match manifest.differences(dir).into_iter().next() {
            Some(difference) => Err(difference),
            None => Ok(manifest),
        }
    }

    /// Every file that is missing, changed or cannot be read, by name, and then what does not belong into the folder.
    pub fn differences(&self, dir: &Path) -> Vec<ManifestError> {
        let files = self.files.keys().filter_map(|name| self.check_file(dir, name).err());
        let mut differences: Vec<ManifestError> = files.collect();
        match names_in(dir) {
            Err(error) => differences.push(error),
            Ok(_) if self.kind.allows_extra_files() => {}
            Ok(names) => {
                let extra = names.into_iter().filter(|name| !self.files.contains_key(name));
                differences.extend(extra.map(|name| ManifestError::Extra { dir: dir.to_path_buf(), name }));
            }
        }
        differences
    }

    fn check_file(&self, dir: &Path, name: &str) -> Result<(), ManifestError> {
        self.check_size(dir, name)?;
        let (got, expected) = (hash_file(&dir.join(name))?, &self.files[name].blake3);
        if got == *expected {
            return Ok(());
        }
        Err(changed(dir, name, "blake3", expected.clone(), got))
    }

    fn check_size(&self, dir: &Path, name: &str) -> Result<(), ManifestError> {
        let expected = self.files[name].bytes;
        let bytes = match open_file(&dir.join(name)) {
            Ok((_, bytes)) => bytes,
            Err(FileError::NotFound { .. }) => {
                return Err(ManifestError::Missing { dir: dir.to_path_buf(), name: name.to_string() });
            }
            Err(error) => return Err(error.into()),
        };
        if bytes == expected {
            return Ok(());
        }
        Err(changed(dir, name, "size", expected.to_string(), bytes.to_string()))
    }
}

/// The keys of a manifest that have not been looked at.
struct Keys<'a> {
    path: &'a Path,
    keys: Map<String, Value>,
}

impl Keys<'_> {
    fn error(&self, key: &str, reason: String) -> ManifestError {
        ManifestError::Key { path: self.path.to_path_buf(), key: key.to_string(), reason }
    }

    fn take<T: serde::de::DeserializeOwned>(&mut self, key: &str) -> Result<T, ManifestError> {
        let value = self.keys.shift_remove(key).ok_or_else(|| self.error(key, "is missing".into()))?;
        serde_json::from_value(value).map_err(|error| self.error(key, error.to_string()))
    }

    fn files(&mut self) -> Result<BTreeMap<String, FileEntry>, ManifestError> {
        let files: BTreeMap<String, FileEntry> = self.take("files")?;
        match files.iter().find(|(_, entry)| !is_hash(&entry.blake3)) {
            None => Ok(files),
            Some((name, _)) => {
                Err(self.error("files", format!("{name:?}: blake3 is not {HASH_DIGITS} hexadecimal digits")))
            }
        }
    }
}

fn is_hash(text: &str) -> bool {
    text.len() == HASH_DIGITS && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Compares the seal with what stands before it.
fn check_seal(bytes: &[u8]) -> Result<(), String> {
    let tail_bytes = SEAL_KEY.len() + HASH_DIGITS + SEAL_END.len();
    let Some((body, tail)) = bytes.len().checked_sub(tail_bytes).and_then(|at| bytes.split_at_checked(at)) else {
        return Err("it has no seal".into());
    };
    let seal = tail.strip_prefix(SEAL_KEY.as_bytes()).and_then(|rest| rest.strip_suffix(SEAL_END.as_bytes()));
    let Some(seal) = seal else { return Err("its last line is not the seal".into()) };
    if seal == blake3::hash(body).to_hex().as_bytes() {
        return Ok(());
    }
    Err("its seal does not fit".into())
}

fn changed(dir: &Path, name: &str, what: &'static str, expected: String, got: String) -> ManifestError {
    ManifestError::Changed { dir: dir.to_path_buf(), name: name.to_string(), what, expected, got }
}

/// Whether a folder was completed: it has a sound manifest, and every file of it is there in its size. Reads no content;
/// [`Manifest::verify`] does.
pub fn is_complete(dir: &Path) -> bool {
    Manifest::read(dir).is_ok_and(|manifest| manifest.files.keys().all(|name| manifest.check_size(dir, name).is_ok()))
}

/// Names of what lies in `dir`, sorted, without the manifest and desktop files.
fn names_in(dir: &Path) -> Result<Vec<String>, ManifestError> {
    let read_error = |source| FileError::from_io("read", dir, source);
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(read_error)? {
        // What is no Unicode cannot be in a manifest, so the shown form is only for the message.
        let name = entry.map_err(read_error)?.file_name().to_string_lossy().into_owned();
        if name != FILE_NAME && !DESKTOP_FILES.contains(&name.as_str()) {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A sealed folder with two files.
    fn sealed(parent: &Path) -> PathBuf {
        let dir = parent.join("step-000001");
        let writer = DirWriter::create(&dir).unwrap();
        writer.write("adapter.bin", b"weights").unwrap();
        writer.write("state.json", b"{}").unwrap();
        Manifest::seal(&writer, Kind::Checkpoint, MadeFrom::default()).unwrap();
        writer.commit().unwrap();
        dir
    }

    #[expect(clippy::disallowed_methods, reason = "tests damage files on purpose")]
    fn damage(path: PathBuf, bytes: &[u8]) {
        fs::write(path, bytes).unwrap();
    }

    #[test]
    fn a_sealed_folder_verifies() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = sealed(scratch.path());
        let manifest = Manifest::verify(&dir).unwrap();
        assert_eq!(manifest.files.keys().collect::<Vec<_>>(), ["adapter.bin", "state.json"]);
        assert_eq!(manifest.files["adapter.bin"].bytes, 7);
        assert_eq!(manifest.files["adapter.bin"].blake3, blake3::hash(b"weights").to_hex().as_str());
        assert!(is_complete(&dir));
        damage(dir.join(".DS_Store"), b"finder");
        Manifest::verify(&dir).unwrap();
    }

    #[test]
    fn a_folder_without_manifest_does_not_exist() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = sealed(scratch.path());
        fs::remove_file(dir.join(FILE_NAME)).unwrap();
        assert!(!is_complete(&dir));
        assert!(matches!(Manifest::verify(&dir), Err(ManifestError::Incomplete { .. })));
        let missing = scratch.path().join("nowhere");
        assert!(!is_complete(&missing));
        assert!(
            matches!(Manifest::verify(&missing), Err(ManifestError::File(FileError::NotFound { path })) if path == missing)
        );
    }

    #[test]
    fn the_missing_the_changed_and_the_extra_file_are_named() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = sealed(scratch.path());

        damage(dir.join("adapter.bin"), b"Weights");
        let error = Manifest::verify(&dir).unwrap_err();
        assert!(
            matches!(&error, ManifestError::Changed { name, what: "blake3", .. } if name == "adapter.bin"),
            "{error}"
        );
        assert!(is_complete(&dir), "sizes agree, content is not read");

        damage(dir.join("adapter.bin"), b"weight");
        let error = Manifest::verify(&dir).unwrap_err();
        assert!(error.to_string().ends_with("adapter.bin was changed: size is 6, was 7"), "{error}");
        assert!(!is_complete(&dir));

        fs::remove_file(dir.join("adapter.bin")).unwrap();
        assert!(matches!(Manifest::verify(&dir), Err(ManifestError::Missing { name, .. }) if name == "adapter.bin"));
        assert!(!is_complete(&dir));

        damage(dir.join("adapter.bin"), b"weights");
        damage(dir.join("zzz"), b"");
        assert!(matches!(Manifest::verify(&dir), Err(ManifestError::Extra { name, .. }) if name == "zzz"));
        fs::remove_file(dir.join("zzz")).unwrap();
        fs::create_dir(dir.join("sub")).unwrap();
        assert!(matches!(Manifest::verify(&dir), Err(ManifestError::Extra { name, .. }) if name == "sub"));
        assert!(
            matches!(Manifest::of(&dir, Kind::Checkpoint, MadeFrom::default()), Err(ManifestError::Extra { name, .. }) if name == "sub")
        );
    }

    #[test]
    fn malformed_manifests_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = sealed(scratch.path());
        let hash = "0".repeat(64);
        // As version 0 was written, which has no seal.
        let file = |name: &str| {
            let entry = format!("{{\n      \"bytes\": 0,\n      \"blake3\": \"{hash}\"\n    }}");
            format!("{{\n  \"version\": 1,\n  \"files\": {{\n    \"{name}\": {entry}\n  }}\n}}\n")
        };
        let sealed = |from: &str, to: &str| {
            let text = Manifest::of(&dir, Kind::Checkpoint, MadeFrom::default()).unwrap().to_text();
            let body = text[..text.find(SEAL_KEY).unwrap()].replace(from, to);
            assert_ne!(body, text[..text.find(SEAL_KEY).unwrap()], "{from}");
            format!("{body}{SEAL_KEY}{}{SEAL_END}", blake3::hash(body.as_bytes()))
        };
        for (text, expected) in [
            ("".to_string(), "Syntax"),
            ("[]".into(), "Key"),
            (r#"{"version": 1}"#.into(), "Key"),
            (r#"{"version": 1, "files": {}, "more": 1}"#.into(), "Key"),
            (r#"{"version": 1, "files": {"a": {"bytes": -1, "blake3": ""}}}"#.into(), "Key"),
            (
                r#"{"version": 1, "files": {"a": {"bytes": 0, "blake3": ""}, "a": {"bytes": 0, "blake3": ""}}}"#.into(),
                "Syntax",
            ),
            (r#"{"version": 2, "files": [], "more": 1}"#.into(), "Version"),
            (r#"{"format_version": 2, "files": [], "more": 1}"#.into(), "Version"),
            (r#"{"format_version": 0, "files": {}}"#.into(), "Version"),
            (r#"{"format_version": "1", "files": {}}"#.into(), "Key"),
            (r#"{"format_version": 1, "required_features": ["a"]}"#.into(), "Features"),
            (r#"{"format_version": 1, "required_features": []}"#.into(), "Seal"),
            (file("a").replace("  ", " "), "Seal"),
            (sealed("[]", "[\"a\"]"), "Features"),
            (sealed("\"attune\"", "\"other\""), "Key"),
            (sealed("\"checkpoint\"", "\"chest\""), "Key"),
            (sealed("\"made_from\": {}", "\"made_from\": {\"text\": \"AB\"}"), "Key"),
            (sealed("\"made_from\": {}", "\"made_by\": {}"), "Key"),
            (sealed("state.json", "../state.json"), "FileName"),
            (file("../adapter.bin"), "FileName"),
            (file("/etc/passwd"), "FileName"),
            (file("C:evil"), "FileName"),
            (file("a\\\\b"), "FileName"),
            (file("manifest.json"), "FileName"),
            (file(""), "FileName"),
        ] {
            damage(dir.join(FILE_NAME), text.as_bytes());
            let error = Manifest::verify(&dir).unwrap_err();
            assert!(format!("{error:?}").starts_with(expected), "{text}: {error:?}");
            assert!(error.hint().is_some());
            assert!(!is_complete(&dir), "{text}");
        }
    }

    #[test]
    fn what_later_writers_add_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = sealed(scratch.path());
        let mut manifest = Manifest::read(&dir).unwrap();
        manifest.extra.insert("note".into(), Value::from(vec![1, 2]));
        manifest.made_from.extra.insert("more".into(), Value::from("x"));
        manifest.made_from.text = Some("0".repeat(64));
        damage(dir.join(FILE_NAME), manifest.to_text().as_bytes());
        assert_eq!(Manifest::verify(&dir).unwrap(), manifest);
    }

    #[test]
    fn a_base_is_named_by_its_files_wherever_they_lie() {
        let hash =
            |files: &[(&str, &str)]| MadeFrom::hash_of_base(files.iter().map(|&(path, hash)| (Path::new(path), hash)));
        let here = hash(&[("/here/b", "1"), ("/here/a", "2")]);
        assert_eq!(here, hash(&[("/there/a", "2"), ("/there/b", "1")]));
        assert_eq!(here, blake3::hash(b"a\x002\nb\x001\n").to_hex().as_str());
        assert_ne!(here, hash(&[("/here/a", "1"), ("/here/b", "2")]));
    }

    #[test]
    fn sealing_twice_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let writer = DirWriter::create(&scratch.path().join("x")).unwrap();
        Manifest::seal(&writer, Kind::Checkpoint, MadeFrom::default()).unwrap();
        assert!(matches!(
            Manifest::seal(&writer, Kind::Checkpoint, MadeFrom::default()),
            Err(ManifestError::File(FileError::AlreadyExists { .. }))
        ));
    }
}
