//! The seal of a folder: size and hash of each of its files, written last.
//!
//! A checkpoint without its manifest does not exist. `manifest.json`:
//!
//! ```json
//! {
//!   "version": 1,
//!   "files": { "state.json": { "bytes": 211, "blake3": "<64 hexadecimal digits>" } }
//! }
//! ```
//!
//! Sealed folders are flat: a sub-folder is an error. Files that desktops leave everywhere (`.DS_Store`, `Thumbs.db`,
//! `desktop.ini`) are not counted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::files::{DirWriter, FileError, hash_file, is_plain_name, open_file, read_limited};
use crate::tensors::UniqueKeys;

/// Name of the manifest in its folder.
pub const FILE_NAME: &str = "manifest.json";

const VERSION: u32 = 1;
const MAX_MANIFEST_BYTES: u64 = 16 << 20;
const DESKTOP_FILES: [&str; 3] = [".DS_Store", "Thumbs.db", "desktop.ini"];

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
    /// The manifest is of another version.
    #[error("{}: version {version} is not known, {VERSION} is", path.display())]
    Version {
        /// The manifest.
        path: PathBuf,
        /// The version found.
        version: u32,
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
            Self::Syntax { .. } | Self::FileName { .. } | Self::Missing { .. } | Self::Changed { .. } => {
                "the folder was damaged or edited; use an earlier checkpoint or a copy".into()
            }
            Self::Version { .. } => "a newer Attune wrote it; update Attune".into(),
            Self::Extra { dir, name } => format!("move {name} out of {}", dir.display()),
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

/// Every file of a folder but the manifest itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Manifest {
    /// Of this format.
    pub version: u32,
    /// By name.
    pub files: BTreeMap<String, FileEntry>,
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Parsed {
    version: u32,
    files: UniqueKeys<FileEntry>,
}

impl Manifest {
    /// Hashes the files that are in `dir` now.
    ///
    /// # Errors
    /// When a file cannot be read or the folder has a sub-folder.
    pub fn of(dir: &Path) -> Result<Self, ManifestError> {
        let mut files = BTreeMap::new();
        for name in names_in(dir)? {
            let path = dir.join(&name);
            if path.is_dir() {
                return Err(ManifestError::Extra { dir: dir.to_path_buf(), name });
            }
            let (_, bytes) = open_file(&path)?;
            files.insert(name, FileEntry { bytes, blake3: hash_file(&path)? });
        }
        Ok(Self { version: VERSION, files })
    }

    /// Adds `manifest.json` to a folder that is otherwise complete, so that [`DirWriter::commit`] can follow.
    ///
    /// # Errors
    /// As [`Manifest::of`], and when the manifest cannot be written.
    pub fn seal(writer: &DirWriter) -> Result<Self, ManifestError> {
        let manifest = Self::of(writer.path())?;
        let Ok(mut text) = serde_json::to_string_pretty(&manifest) else {
            unreachable!("names and numbers always become JSON")
        };
        text.push('\n');
        writer.write(FILE_NAME, text.as_bytes())?;
        Ok(manifest)
    }

    /// Reads the manifest of a folder and checks only its form.
    ///
    /// # Errors
    /// When there is none, or it is malformed, of another version, or names files outside of the folder.
    pub fn read(dir: &Path) -> Result<Self, ManifestError> {
        let path = dir.join(FILE_NAME);
        let bytes = match read_limited(&path, MAX_MANIFEST_BYTES) {
            Err(FileError::NotFound { .. }) if dir.is_dir() => {
                return Err(ManifestError::Incomplete { dir: dir.to_path_buf() });
            }
            Err(FileError::NotFound { .. }) => return Err(FileError::NotFound { path: dir.to_path_buf() }.into()),
            result => result?,
        };
        let syntax = |source| ManifestError::Syntax { path: path.clone(), source };
        // The version first: what else a later version has is not an error of its own.
        let VersionOnly { version } = serde_json::from_slice(&bytes).map_err(syntax)?;
        if version != VERSION {
            return Err(ManifestError::Version { path, version });
        }
        let Parsed { version, files: UniqueKeys(files) } = serde_json::from_slice(&bytes).map_err(syntax)?;
        if let Some(name) = files.keys().find(|name| !is_plain_name(name) || name.as_str() == FILE_NAME) {
            return Err(ManifestError::FileName { path, name: name.clone() });
        }
        Ok(Self { version, files })
    }

    /// Reads the manifest of a folder and compares every file with it.
    ///
    /// # Errors
    /// As [`Manifest::read`]; and the first file by name that is missing, changed, or not in the manifest.
    pub fn verify(dir: &Path) -> Result<Self, ManifestError> {
        let manifest = Self::read(dir)?;
        for (name, entry) in &manifest.files {
            manifest.check_size(dir, name)?;
            let got = hash_file(&dir.join(name))?;
            if got != entry.blake3 {
                return Err(changed(dir, name, "blake3", entry.blake3.clone(), got));
            }
        }
        match names_in(dir)?.into_iter().find(|name| !manifest.files.contains_key(name)) {
            Some(name) => Err(ManifestError::Extra { dir: dir.to_path_buf(), name }),
            None => Ok(manifest),
        }
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
        Manifest::seal(&writer).unwrap();
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
        assert!(matches!(Manifest::of(&dir), Err(ManifestError::Extra { name, .. }) if name == "sub"));
    }

    #[test]
    fn malformed_manifests_are_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = sealed(scratch.path());
        let hash = "0".repeat(64);
        let file =
            |name: &str| format!(r#"{{"version": 1, "files": {{"{name}": {{"bytes": 0, "blake3": "{hash}"}}}}}}"#);
        for (text, expected) in [
            ("".to_string(), "Syntax"),
            ("[]".into(), "Syntax"),
            (r#"{"version": 1}"#.into(), "Syntax"),
            (r#"{"version": 1, "files": {}, "more": 1}"#.into(), "Syntax"),
            (r#"{"version": 1, "files": {"a": {"bytes": -1, "blake3": ""}}}"#.into(), "Syntax"),
            (
                r#"{"version": 1, "files": {"a": {"bytes": 0, "blake3": ""}, "a": {"bytes": 0, "blake3": ""}}}"#.into(),
                "Syntax",
            ),
            (r#"{"version": 2, "files": [], "more": 1}"#.into(), "Version"),
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
    fn sealing_twice_is_refused() {
        let scratch = tempfile::tempdir().unwrap();
        let writer = DirWriter::create(&scratch.path().join("x")).unwrap();
        Manifest::seal(&writer).unwrap();
        assert!(matches!(Manifest::seal(&writer), Err(ManifestError::File(FileError::AlreadyExists { .. }))));
    }
}
