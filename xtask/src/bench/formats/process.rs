//! A process and those that it starts: how long they take, and how much memory of their own.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Memory is looked at this often: the system keeps no high-water mark of anonymous memory.
const PERIOD: Duration = Duration::from_millis(10);

/// A process that has ended.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ended {
    pub(super) stdout: String,
    pub(super) seconds: f64,
    /// The most anonymous memory that it and its children held at a time. `None` where the system does not say.
    pub(super) anonymous_bytes: Option<u64>,
}

/// Runs a program to its end; it may end with 0 or one of `codes`. Its stderr goes into `log`, whose last line is quoted
/// when it fails.
pub(super) fn run(mut command: Command, codes: &[i32], log: &Path) -> Result<Ended> {
    #[expect(clippy::disallowed_methods, reason = "another program writes into it, line by line")]
    let stderr = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let begin = Instant::now();
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).spawn();
    let mut child = child.with_context(|| format!("{program} does not start"))?;
    let mut pipe = child.stdout.take().context("a pipe was asked for")?;
    let reader = std::thread::spawn(move || {
        let mut text = String::new();
        pipe.read_to_string(&mut text).map(|_| text)
    });
    let mut anonymous_bytes = None;
    let status = loop {
        anonymous_bytes = anonymous_bytes.max(anonymous_bytes_of(child.id()));
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(PERIOD),
        }
    };
    let seconds = begin.elapsed().as_secs_f64();
    let Ok(stdout) = reader.join() else { bail!("what {program} says cannot be read") };
    let stdout = stdout.with_context(|| format!("what {program} says cannot be read"))?;
    if !status.success() && !status.code().is_some_and(|code| codes.contains(&code)) {
        let said = fs::read_to_string(log).unwrap_or_default();
        let mut lines = said.lines().rev().filter(|line| !line.trim().is_empty());
        let last = lines.clone().next().unwrap_or("no message");
        bail!("{program}: {status} ({})", lines.find(|line| line.starts_with("error:")).unwrap_or(last));
    }
    Ok(Ended { stdout, seconds, anonymous_bytes })
}

/// Anonymous memory of a process and its descendants at this moment.
fn anonymous_bytes_of(process: u32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap_or_default();
    let of_children = children.split_whitespace().filter_map(|child| anonymous_bytes_of(child.parse().ok()?));
    Some(kib * 1024 + of_children.sum::<u64>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_program_says_and_how_it_ends_are_kept() {
        let dir = tempfile::tempdir().unwrap();
        let run = |script: &str, codes: &[i32]| {
            let mut command = Command::new("sh");
            command.args(["-c", script]);
            run(command, codes, &dir.path().join("log"))
        };
        // Where there is no shell, nothing is learnt.
        let Ok(ended) = run("echo said; sleep 0.2; exit 3", &[3]) else {
            return println!("SKIPPED: there is no sh");
        };
        assert_eq!(ended.stdout, "said\n");
        assert!(ended.seconds >= 0.2, "{}", ended.seconds);
        if cfg!(target_os = "linux") {
            assert!(ended.anonymous_bytes.is_some_and(|bytes| bytes > 0));
        }
        let error = run("echo error: no memory >&2; echo more >&2; exit 3", &[]).unwrap_err().to_string();
        assert!(error.contains("(error: no memory)"), "{error}");
    }

    #[test]
    fn memory_of_children_counts() {
        if !cfg!(target_os = "linux") {
            return println!("SKIPPED: only Linux tells the memory of another process");
        }
        let own = anonymous_bytes_of(std::process::id()).unwrap();
        assert!(own > 0);
        assert_eq!(anonymous_bytes_of(u32::MAX), None, "no such process");
    }
}
