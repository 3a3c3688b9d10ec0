//! Development tasks: what CI runs, runnable by anyone with Rust alone.
//!
//! ```text
//! cargo xtask test     formatting, lints, documentation, every test of the workspace
//! cargo xtask peers    sets up the peers (PEFT on PyTorch, some 5 GB) that some tests then use instead of skipping
//! cargo xtask tiny-base  makes the tiny base model of models/tiny, corpus and all; --check compares it with the one there
//! cargo xtask bench    measures Attune and the peer side by side: bench/README.md
//! ```

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "what it prints is its result")]

mod bench;
mod peers;
mod suite;
mod tiny_base;

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use anyhow::{Context, Result, bail};

const USAGE: &str = "usage: cargo xtask test | peers | bench train ... | bench data ... | bench formats ... \
                     | bench make-model SHAPE DIR | tiny-base [--check | corpus|transcripts --out DIR]";

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether everything passed.
fn run() -> Result<bool> {
    let args: Vec<String> = env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["test"] => check_everything(),
        ["peers"] => {
            peers::set_up(&root());
            Ok(true)
        }
        ["bench", ref args @ ..] => bench::run(&root(), args),
        ["tiny-base", ref args @ ..] => tiny_base::run(&root(), args),
        _ => bail!(USAGE),
    }
}

/// Formatting, lints, documentation and tests, each one whatever became of those before it, and a summary at the end.
fn check_everything() -> Result<bool> {
    let begin = Instant::now();
    let mut failed = Vec::new();
    let mut skipped = 0;
    for (name, component, args, variables) in [
        ("format", Some("rustfmt"), &["fmt", "--all", "--check"][..], &[][..]),
        (
            "lints",
            Some("clippy"),
            &["clippy", "--workspace", "--all-targets", "--locked", "--quiet", "--", "--deny", "warnings"],
            &[],
        ),
        (
            "documentation",
            None,
            &["doc", "--workspace", "--no-deps", "--locked", "--quiet"],
            &[("RUSTDOCFLAGS", "--deny warnings")],
        ),
    ] {
        step(&format!("cargo {}", args.join(" ")));
        if component.is_some_and(|component| !has_component(component)) {
            println!("SKIPPED: {name}: the toolchain has no {}", component.unwrap_or_default());
            skipped += 1;
        } else if !cargo(args).envs(variables.iter().copied()).status().context("cargo does not start")?.success() {
            failed.push(name);
        }
    }
    step("cargo test --workspace");
    let outcome = suite::run(cargo(&["test", "--workspace", "--locked", "--no-fail-fast", "--", "--show-output"]))?;
    if !outcome.succeeded {
        failed.push("tests");
    }

    step("summary");
    let secs = begin.elapsed().as_secs();
    if !failed.is_empty() {
        println!("FAILED: {}", failed.join(", "));
    }
    let checks_failed = failed.iter().filter(|name| **name != "tests").count();
    println!("took {} min {:02} s", secs / 60, secs % 60);
    println!(
        "{} passed, {} failed, {} skipped",
        outcome.passed,
        // A test binary that does not compile or crashes has no count of its own.
        outcome.failed.max(usize::from(!outcome.succeeded)) + checks_failed,
        outcome.skipped + skipped,
    );
    Ok(failed.is_empty())
}

fn step(text: &str) {
    println!("\n== {text}");
}

/// The cargo that runs this program, in the workspace.
fn cargo(args: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root()).args(args);
    command
}

/// Whether the toolchain has a component; a minimal one is asked to get it.
fn has_component(name: &str) -> bool {
    let program = if name == "rustfmt" { "fmt" } else { name };
    let is_there = || cargo(&[program, "--version"]).output().is_ok_and(|output| output.status.success());
    if is_there() {
        return true;
    }
    let added = Command::new("rustup").args(["component", "add", name]).status();
    added.is_ok_and(|status| status.success()) && is_there()
}

/// The workspace.
fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}
