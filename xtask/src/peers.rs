//! The peers that tests and benchmarks compare with: Python environments with pinned packages, in `target/peers` what
//! `parity/requirements.txt` lists, in `target/bench/peers` what `bench/requirements.txt` lists.
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
    match make(&root.join("target/peers"), &root.join("parity/requirements.txt")) {
        Ok(python) => println!("{}", python.display()),
        Err(reason) => println!("SKIPPED: peers: {reason}"),
    }
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
    let stamp = stamp_of(environment);
    fs::copy(requirements, &stamp).map_err(|error| format!("{}: {error}", stamp.display()))?;
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
