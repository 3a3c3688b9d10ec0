//! Runs `cargo test`, shows what matters of its output and counts.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

/// What became of the tests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Outcome {
    /// Whether cargo was content.
    pub(crate) succeeded: bool,
    /// Tests that ran and passed.
    pub(crate) passed: usize,
    /// Tests that failed.
    pub(crate) failed: usize,
    /// Tests that were ignored, or that printed SKIPPED because this machine lacks something.
    pub(crate) skipped: usize,
}

/// Runs `command`, which must be `cargo test` with `--show-output`.
pub(crate) fn run(mut command: Command) -> Result<Outcome> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("cargo does not start")?;
    let mut filter = Filter::default();
    if let Some(stdout) = child.stdout.take() {
        let mut lines = BufReader::new(stdout);
        let mut line = Vec::new();
        while lines.read_until(b'\n', &mut line).context("the output of cargo cannot be read")? > 0 {
            let text = String::from_utf8_lossy(&line);
            if filter.shows(text.trim_end()) {
                print!("{text}");
            }
            line.clear();
        }
    }
    let succeeded = child.wait().context("cargo cannot be waited for")?.success();
    Ok(Outcome { succeeded, ..filter.outcome })
}

/// Reads the output of test binaries line by line.
#[derive(Debug, Default)]
struct Filter {
    outcome: Outcome,
    /// Inside of the output of tests that passed.
    in_successes: bool,
    /// Whether the test whose output this is has already been counted as skipped.
    counted: bool,
    /// Tests of this binary that skipped themselves.
    skipped: usize,
}

impl Filter {
    /// Counts; says whether the line is worth showing: everything but tests that passed and their output.
    fn shows(&mut self, line: &str) -> bool {
        if let Some(counts) = line.strip_prefix("test result: ") {
            self.in_successes = false;
            // A test that returned early counts as passed for the harness.
            self.outcome.passed += number_before(counts, " passed").saturating_sub(std::mem::take(&mut self.skipped));
            self.outcome.failed += number_before(counts, " failed");
            self.outcome.skipped += number_before(counts, " ignored");
            return true;
        }
        match line {
            "successes:" => self.in_successes = true,
            "failures:" => self.in_successes = false,
            _ => {}
        }
        if !self.in_successes {
            return !(line.is_empty() || line.starts_with("test ") && line.ends_with(" ... ok"));
        }
        if line.starts_with("---- ") {
            self.counted = false;
        }
        let is_skip = line.starts_with("SKIPPED");
        if is_skip && !self.counted {
            self.counted = true;
            self.skipped += 1;
            self.outcome.skipped += 1;
        }
        is_skip
    }
}

/// The number in front of `label`.
fn number_before(text: &str, label: &str) -> usize {
    let before = text.split(label).next().filter(|before| before.len() < text.len()).unwrap_or_default();
    before.rsplit([' ', ';']).next().and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUTPUT: &str = "
running 4 tests
test a ... ok
test b ... ok
test c ... FAILED
test d ... ignored

successes:

---- a stdout ----
loss 3.2

---- b stdout ----
SKIPPED: no disk
SKIPPED: no tape


successes:
    a
    b

failures:

---- c stdout ----
left: 1

failures:
    c

test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.25s

running 1 test
test e ... ok

successes:

successes:
    e

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";

    #[test]
    fn tests_are_counted_and_only_what_matters_is_shown() {
        let mut filter = Filter::default();
        let shown: Vec<&str> = OUTPUT.lines().filter(|line| filter.shows(line)).collect();
        assert_eq!(filter.outcome, Outcome { succeeded: false, passed: 2, failed: 1, skipped: 2 });
        assert_eq!(
            shown,
            [
                "running 4 tests",
                "test c ... FAILED",
                "test d ... ignored",
                "SKIPPED: no disk",
                "SKIPPED: no tape",
                "failures:",
                "---- c stdout ----",
                "left: 1",
                "failures:",
                "    c",
                "test result: FAILED. 2 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.25s",
                "running 1 test",
                "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            ]
        );
    }

    #[test]
    fn numbers_stand_before_their_label() {
        let line = "ok. 41 passed; 2 failed; 3 ignored; 0 measured";
        assert_eq!([" passed", " failed", " ignored", " lost"].map(|label| number_before(line, label)), [41, 2, 3, 0]);
    }
}
