//! `cargo xtask bench`, as a developer runs it, with the tiny shape.
#![allow(clippy::print_stdout, reason = "a skipped test says so")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// `ft` as the tests of the workspace build it.
fn ft() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built =
        Command::new(cargo).args(["build", "--quiet", "--locked", "--package", "attune"]).current_dir(root()).status();
    assert!(built.is_ok_and(|status| status.success()), "ft cannot be built");
    // target/debug/xtask and target/debug/ft
    Path::new(env!("CARGO_BIN_EXE_xtask")).with_file_name(format!("ft{}", std::env::consts::EXE_SUFFIX))
}

/// A Python with PEFT: that of `cargo xtask peers`, or the one that is named.
fn python() -> Option<PathBuf> {
    let named = std::env::var_os("ATTUNE_PEER_PYTHON").map(PathBuf::from);
    let made = root().join("target/peers/requirements.txt").exists();
    named.or_else(|| made.then(|| root().join("target/peers/bin/python"))).filter(|python| python.exists())
}

fn bench(out: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
    command.args(["bench", "train", "--quick", "--work", "gsm8k", "--ft"]).arg(ft()).arg("--out").arg(out);
    command.args(args).env_remove("ATTUNE_PEER_PYTHON").current_dir(root()).output().expect("xtask starts")
}

#[test]
fn without_a_peer_the_table_has_attunes_half() {
    let out = tempfile::tempdir().unwrap();
    let output = bench(out.path(), &["--no-peer", "--peers", "best"]);
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complaint}");
    let row = said.lines().find(|line| line.starts_with("| tiny |")).unwrap_or_else(|| panic!("{said}"));
    assert!(row.contains("8 rows of GSM8K") && row.contains("trained") && row.contains("not run: --no-peer"), "{row}");
    let written = std::fs::read_to_string(out.path().join("train.md")).unwrap();
    assert_eq!(written.trim(), said.trim());
    let raw: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.path().join("train.json")).unwrap()).unwrap();
    let steps = &raw["measured"][0]["attune"]["runs"][0]["steps"];
    assert_eq!(steps.as_array().map(Vec::len), Some(3), "{raw}");
}

#[test]
fn both_sides_train_the_same() {
    let Some(python) = python() else {
        println!("SKIPPED: there is no peer: run `cargo xtask peers`, or set ATTUNE_PEER_PYTHON");
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let output = bench(out.path(), &["--peers", "best", "--python", &python.display().to_string()]);
    let (said, complaint) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{said}\n{complaint}");
    assert!(!said.contains("not run") && !said.contains("DOUBTFUL"), "{said}\n{complaint}");
    let raw: serde_json::Value =
        serde_json::from_slice(&std::fs::read(out.path().join("train.json")).unwrap()).unwrap();
    let measured = &raw["measured"][0];
    let ours = measured["attune"]["runs"][0]["steps"].as_array().unwrap();
    let theirs = measured["peers"]["best"]["runs"][0]["steps"].as_array().unwrap();
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(theirs) {
        assert_eq!((&ours["tokens"], &ours["trained_tokens"]), (&theirs["tokens"], &theirs["trained_tokens"]));
        let (ours, theirs) = (ours["loss"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
        assert!((ours / theirs - 1.0).abs() < 5e-3, "{ours} {theirs}");
    }
}
