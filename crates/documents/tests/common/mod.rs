//! What the tests and the example share: where the test files are, and how results are compared with them.
#![allow(dead_code, reason = "each test uses a part of it")]
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

pub(crate) mod articles;
pub(crate) mod talks;
pub(crate) mod vtt_suite;

use std::path::PathBuf;

/// The folder of the shared test assets, or `None` with a word on why the test is skipped.
pub(crate) fn assets(folder: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let assets = shared.join("assets");
    if assets.join(folder).exists() {
        return Some(assets);
    }
    println!("SKIPPED: no {}", assets.join(folder).display());
    None
}

/// A text file, read as UTF-8 whatever is in it.
pub(crate) fn text(path: &std::path::Path) -> String {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}
