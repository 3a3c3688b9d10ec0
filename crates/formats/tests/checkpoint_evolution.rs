//! Version 0 stays readable, and becomes version 1 without losing a byte. `checkpoints/version-0` was written by the last
//! program that wrote version 0; `checkpoints/version-1` is what `ft checkpoint migrate` made of it.
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod checkpoint_common;

use std::fs;
use std::path::{Path, PathBuf};

use attune_formats::checkpoint::{CheckpointError, FolderKind, Rule, migrate, verify};
use attune_formats::files::FileError;
use attune_formats::manifest::{Kind, MadeFrom, Manifest};
use checkpoint_common::{Draft, change_file, run, snapshot};
use serde_json::Value;

const NAME: &str = "step-000003";

fn fixture(version: u32) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/checkpoints/version-{version}/{NAME}"))
}

/// The program that wrote a manifest is named in it, and changes with its version.
fn without_writer(mut manifest: Manifest) -> Manifest {
    assert!(manifest.writer.take().is_some_and(|writer| writer.starts_with("attune ")));
    manifest
}

#[test]
fn both_versions_are_read() {
    for version in [0, 1] {
        let report = verify(&fixture(version)).unwrap();
        assert!(report.is_sound(), "{report:#?}");
        assert_eq!((report.kind, report.format_version), (FolderKind::Checkpoint, Some(version)));
    }
}

#[test]
fn version_0_becomes_version_1() {
    let scratch = tempfile::tempdir().unwrap();
    let (old, out) = (fixture(0), scratch.path().join(NAME));
    let before = snapshot(&old);
    let done = migrate(&old, &out).unwrap();
    assert_eq!((done.migrated, done.copied, done.left_out.len()), (1, 0, 0));
    assert_eq!(snapshot(&old), before, "the source is left alone");
    assert_eq!(verify(&out).unwrap().format_version, Some(1));

    let (mut got, mut expected) = (snapshot(&out), snapshot(&fixture(1)));
    got.remove("manifest.json").unwrap();
    expected.remove("manifest.json").unwrap();
    assert_eq!(got, expected);
    assert_eq!(without_writer(Manifest::read(&out).unwrap()), without_writer(Manifest::read(&fixture(1)).unwrap()));
    for name in ["adapter_config.json", "adapter_model.safetensors", "state.safetensors"] {
        assert_eq!(got[name], before[name], "{name}");
    }
    let (state, mut old_state): (Value, Value) =
        (serde_json::from_slice(&got["state.json"]).unwrap(), serde_json::from_slice(&before["state.json"]).unwrap());
    old_state.as_object_mut().unwrap().shift_remove("version");
    old_state["format_version"] = 1.into();
    assert_eq!(state, old_state);
}

/// Writes the fixture of version 1 anew: `cargo test -p attune-formats --test checkpoint_evolution -- --ignored`.
#[test]
#[ignore = "writes into the repository"]
fn write_the_fixture_of_version_1() {
    let _ = fs::remove_dir_all(fixture(1));
    fs::create_dir_all(fixture(1).parent().unwrap()).unwrap();
    migrate(&fixture(0), &fixture(1)).unwrap();
}

#[test]
fn a_whole_run_is_migrated() {
    let scratch = tempfile::tempdir().unwrap();
    let old = run(&scratch.path().join("old"), &Draft::checkpoint());
    let mut earlier = Draft::checkpoint();
    for (key, value) in [("step", 2), ("updates", 1)] {
        earlier.state[key] = value.into();
    }
    earlier.write_version_0(&old.join("checkpoints/step-000002"));
    let adapter = Draft::adapter().write(&old.join("adapter"));
    fs::remove_file(adapter.join("manifest.json")).unwrap();
    fs::write(old.join("run.lock"), "").unwrap();
    fs::create_dir(old.join("checkpoints/step-000004.tmp-1-0")).unwrap();
    let before = snapshot(&old);

    let out = scratch.path().join("new");
    let done = migrate(&old, &out).unwrap();
    assert_eq!((done.kind, done.migrated, done.copied), (FolderKind::Run, 2, 1));
    assert_eq!(done.left_out, ["checkpoints/step-000004.tmp-1-0"]);
    assert_eq!(snapshot(&old), before);
    let report = verify(&out).unwrap();
    assert!(report.is_sound(), "{report:#?}");
    assert_eq!(report.parts.len(), 3);
    assert!(report.parts.iter().all(|part| part.format_version == Some(1)), "{report:#?}");
    let after = snapshot(&out);
    for name in ["config.yaml", "run.json", "metrics.jsonl", "checkpoints/step-000003/manifest.json"] {
        assert_eq!(after[name], before[name], "{name}");
    }
    let made_from = Manifest::read(&out.join("checkpoints/step-000002")).unwrap().made_from;
    assert_eq!(made_from.text, Some("1".repeat(64)), "taken from run.json");
    assert_eq!(made_from.base, Some(MadeFrom::hash_of_base([(Path::new("config.json"), "0")])));
    let again = migrate(&out, &scratch.path().join("newer")).unwrap_err();
    assert!(matches!(again, CheckpointError::Current { version: 1, .. }), "{again}");
}

#[test]
fn an_adapter_of_another_tool_gets_its_seal() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Draft::adapter().write(&scratch.path().join("adapter"));
    fs::remove_file(dir.join("manifest.json")).unwrap();
    fs::write(dir.join("README.md"), "a card").unwrap();
    let out = scratch.path().join("sealed");
    migrate(&dir, &out).unwrap();
    let manifest = Manifest::verify(&out).unwrap();
    assert_eq!((manifest.kind, manifest.files.len()), (Kind::Adapter, 3));
}

#[test]
fn what_cannot_be_migrated_leaves_nothing_behind() {
    let scratch = tempfile::tempdir().unwrap();
    let here = |name: &str| scratch.path().join(name);
    let old = Draft::checkpoint().write_version_0(&here("old/step-000003"));
    let refused = |dir: &Path, out: &Path| {
        let existed = out.exists();
        let error = migrate(dir, out).unwrap_err();
        assert_eq!(out.exists(), existed, "{error}");
        assert!(error.hint().is_some(), "{error}");
        error
    };
    fs::create_dir(here("taken")).unwrap();
    let error = refused(&old, &here("taken"));
    assert!(matches!(error, CheckpointError::File(FileError::AlreadyExists { .. })), "{error}");
    let error = refused(&old, &old.join("inside"));
    assert!(matches!(error, CheckpointError::Inside { .. }), "{error}");
    let error = refused(&here("nowhere"), &here("out"));
    assert!(matches!(error, CheckpointError::File(FileError::NotFound { .. })), "{error}");
    let error = refused(&old, &here("no/parent/out"));
    assert!(matches!(error, CheckpointError::File(FileError::NotFound { .. })), "{error}");

    let busy = run(&here("busy"), &Draft::checkpoint());
    Draft::adapter().write(&busy.join("adapter"));
    fs::remove_file(busy.join("adapter/manifest.json")).unwrap();
    let lock = fs::File::create(busy.join("run.lock")).unwrap();
    lock.lock().unwrap();
    let error = refused(&busy, &here("out"));
    assert!(matches!(error, CheckpointError::InUse { .. }), "{error}");
    drop(lock);
    migrate(&busy, &here("out")).unwrap();

    change_file(&old.join("state.json"), |bytes| bytes[0] = b'[');
    let error = refused(&old, &here("out-2"));
    let CheckpointError::Refused { finding, .. } = error else { panic!("{error}") };
    assert_eq!(finding.rule, Rule::FileHash);
    let leftovers: Vec<_> = fs::read_dir(scratch.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.contains(".tmp-"))
        .collect();
    assert!(leftovers.is_empty(), "{leftovers:?}");
}
