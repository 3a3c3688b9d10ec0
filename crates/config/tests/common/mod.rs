//! A folder with configuration files that goes away after the test.

#![allow(dead_code, clippy::disallowed_methods, clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use attune_config::{Config, ConfigError};

/// Sections with what has no default, in a form that sections can be added below.
pub(crate) const MINIMAL: &str = "model: {path: base}\ndata: {train: chat.jsonl}\n";

pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let folder = Self(tempfile::tempdir().unwrap());
        for (name, text) in files {
            folder.write(name, text.as_bytes());
        }
        folder
    }

    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub(crate) fn load(&self, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
        load(&self.path("ft.yaml"), env, sets)
    }
}

pub(crate) fn load(path: &Path, env: &[(&str, &str)], sets: &[&str]) -> Result<Config, ConfigError> {
    let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::load(path, env, &sets)
}

/// The message for a YAML text that must not be accepted.
pub(crate) fn refused(yaml: &str) -> String {
    Config::from_yaml_str(yaml).expect_err(yaml).to_string()
}

/// The hint for a YAML text that must not be accepted.
pub(crate) fn hint(yaml: &str) -> String {
    Config::from_yaml_str(yaml).expect_err(yaml).hint().unwrap_or_default()
}

/// [`MINIMAL`] with more below.
pub(crate) fn minimal(more: &str) -> String {
    format!("{MINIMAL}{more}\n")
}
