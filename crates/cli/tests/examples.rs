//! The examples: everything of a run but its steps.
#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

mod common;

use std::path::Path;

use common::*;

/// With the tiny base in place of those that must be pulled.
#[test]
fn every_example_is_ready_to_run() {
    let scratch = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let base = format!("model.path={}", root.join("models/tiny").display());
    let mut seen = 0;
    for entry in std::fs::read_dir(root.join("examples")).unwrap() {
        let config = entry.unwrap().path().join("ft.yaml");
        assert!(config.is_file(), "{}", config.display());
        let path = config.display().to_string();
        // The tiny base knows fewer positions than the models that the examples are for.
        let words = ["train", &path, "--dry-run", "--json", "--set", &base, "--set", "data.max_seq_length=512"];
        let result = ft(scratch.path(), &words).done().json();
        assert!(result["steps"].as_u64().unwrap() > 0, "{path}");
        assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "a dry run writes nothing");
        seen += 1;
    }
    assert_eq!(seen, 4);
}
