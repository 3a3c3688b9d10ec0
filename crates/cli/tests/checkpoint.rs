//! `ft checkpoint`, through the binary.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests damage files on purpose")]

mod common;

use std::fs;

use common::{Scratch, ft};

#[test]
fn a_run_is_verified_damaged_and_migrated() {
    let scratch = Scratch::new();
    scratch.train().done();
    let said = scratch.ft(&["checkpoint", "verify", "run"]).done();
    assert!(
        said.stdout.contains("run: run: sound") && said.stdout.contains("step-000006: checkpoint, version 1: sound")
    );
    let report = scratch.ft(&["checkpoint", "verify", "run", "--json"]).done().json();
    assert_eq!(report["sound"], true);

    scratch.ft(&["checkpoint", "migrate", "run", "--out", "new"]).refused(2, &["version 1 already", "hint"]);
    fs::remove_file(scratch.path("run/adapter/manifest.json")).unwrap();
    let done = scratch.ft(&["checkpoint", "migrate", "run", "--out", "new", "--json"]).done().json();
    assert_eq!((done["migrated"].as_u64(), done["kind"].as_str()), (Some(1), Some("run")));
    scratch.ft(&["checkpoint", "verify", "new"]).done();

    let state = scratch.path("new/checkpoints/step-000006/state.json");
    let text = fs::read_to_string(&state).unwrap();
    fs::write(&state, text.replacen("\"seed\": ", "\"seed\":  ", 1)).unwrap();
    let said = ft(scratch.dir(), &["checkpoint", "verify", "new", "--json"]);
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    let report = said.json();
    let parts = report["report"]["parts"].as_array().unwrap();
    let newest = parts.iter().find(|part| part["dir"].as_str().unwrap().ends_with("step-000006")).unwrap();
    let finding = &newest["findings"][0];
    assert_eq!((finding["rule"].as_str(), finding["file"].as_str()), (Some("R8"), Some("state.json")));
    scratch.ft(&["checkpoint", "migrate", "new", "--out", "newer"]).refused(3, &["R8", "ft checkpoint verify"]);
    scratch.ft(&["checkpoint", "verify", "nowhere"]).refused(1, &["not found"]);
}
