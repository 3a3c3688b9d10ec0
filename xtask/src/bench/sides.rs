//! The two sides of a comparison: one process of Attune or of the peer, and what it said.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail, ensure};
use attune_formats::files::{remove_dir_all, write_atomic};
use serde_json::{Value, json};

use super::time::unix_seconds;
use super::work::{Case, Files};

/// A step as a process reports it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Step {
    pub(crate) seconds: f64,
    pub(crate) tokens: usize,
    pub(crate) trained_tokens: usize,
    pub(crate) loss: f64,
}

/// A process that has ended well.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    /// From the start of the process to the beginning of its first step.
    pub(crate) begin_seconds: f64,
    /// To the end of its first step.
    pub(crate) first_step_seconds: f64,
    /// All steps, the first one included.
    pub(crate) steps: Vec<Step>,
    pub(crate) peak_memory_bytes: f64,
    /// What ran: Attune's backend, or the versions of the peer's packages.
    pub(crate) what: String,
}

impl Outcome {
    /// As a part of the raw numbers.
    pub(crate) fn to_json(&self) -> Value {
        let steps = self.steps.iter().map(|step| {
            json!({
                "seconds": step.seconds, "tokens": step.tokens, "trained_tokens": step.trained_tokens, "loss": step.loss,
            })
        });
        json!({
            "begin_seconds": self.begin_seconds,
            "first_step_seconds": self.first_step_seconds,
            "peak_memory_bytes": self.peak_memory_bytes,
            "what": self.what,
            "steps": steps.collect::<Vec<Value>>(),
        })
    }
}

/// The program under test.
#[derive(Debug, Clone)]
pub(crate) struct Attune {
    pub(crate) program: PathBuf,
}

impl Attune {
    /// `ft --version`.
    pub(crate) fn version(&self) -> Result<String> {
        let output = Command::new(&self.program).arg("--version").output();
        let output = output.with_context(|| format!("{} does not start", self.program.display()))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
    }

    /// Writes the tokens of a case, as `ft` sees them, for the peer. They must be as many as the case says.
    pub(crate) fn write_batches(&self, case: &Case, files: &Files, model: &Path) -> Result<PathBuf> {
        let mut command = Command::new(&self.program);
        command.args(["data", "inspect", "--json", "--format", "prompt-completion", "--completion-style", "raw"]);
        command.args(["--train-on", if case.all_trained { "all" } else { "assistant" }]);
        command.args(["--show-mask", &case.lengths.len().to_string(), "--model"]).arg(model).arg(&files.data);
        let output = command.stderr(Stdio::inherit()).output().context("ft data inspect does not start")?;
        ensure!(output.status.success(), "ft data inspect: {}", output.status);
        let said: Value = serde_json::from_slice(&output.stdout).context("what ft data inspect says is not JSON")?;
        let rows = said["shown"].as_array().context("ft data inspect shows no rows")?;
        let rows: Vec<Value> = rows.iter().map(row_of_tokens).collect::<Result<_>>()?;
        for (row, (got, &(prompt, answer))) in rows.iter().zip(&case.lengths).enumerate() {
            let tokens = got["ids"].as_array().map_or(0, Vec::len);
            ensure!(tokens == prompt + answer, "row {row} has {tokens} tokens, {} were meant", prompt + answer);
        }
        let steps: Vec<&[Value]> = rows.chunks(case.batch_size).collect();
        let path = files.dir.join("batches.json");
        write_atomic(&path, json!({ "steps": steps }).to_string().as_bytes())?;
        Ok(path)
    }

    /// `ft train`, start to end.
    pub(crate) fn run(&self, case: &Case, files: &Files) -> Result<Outcome> {
        let run_dir = files.dir.join("run");
        remove_dir_all(&run_dir)?;
        let mut command = Command::new(&self.program);
        command.arg("train").arg(&files.config).arg("--out").arg(&run_dir);
        if let Some(cpu) = case.cpu {
            command.env("FT_CPU", cpu);
        }
        let spawned = now();
        run_logged(command, &files.dir.join("attune.log"))?;
        let metrics = json_lines(&run_dir.join("metrics.jsonl"))?;
        let steps: Vec<Step> = metrics.iter().map(step).collect::<Result<_>>()?;
        let first = steps.first().context("no step was done")?;
        let log = json_lines(&run_dir.join("log.jsonl"))?;
        let started = log.iter().find(|line| line["event"] == "started").context("log.jsonl says no start")?;
        let begin = started["time"].as_str().and_then(unix_seconds).context("log.jsonl has no time")? - spawned;
        let outcome = Outcome {
            begin_seconds: begin,
            first_step_seconds: begin + first.seconds,
            peak_memory_bytes: metrics.iter().filter_map(|line| line["peak_memory_bytes"].as_f64()).fold(0.0, f64::max),
            what: started["backend"].as_str().unwrap_or_default().into(),
            steps,
        };
        // Checkpoints of some 100 MB that nobody needs.
        remove_dir_all(&run_dir)?;
        Ok(outcome)
    }
}

/// Ids and marks of a row of `ft data inspect`.
fn row_of_tokens(row: &Value) -> Result<Value> {
    if let Some(error) = row["error"].as_str() {
        bail!("{error}");
    }
    let tokens = row["tokens"].as_array().context("a row without tokens")?;
    let column = |key: &str| tokens.iter().map(|token| token[key].clone()).collect::<Vec<Value>>();
    Ok(json!({ "ids": column("id"), "trained": column("trained") }))
}

/// PEFT on PyTorch.
#[derive(Debug, Clone)]
pub(crate) struct Peer {
    pub(crate) python: PathBuf,
    /// `bench/peft_train.py`.
    pub(crate) script: PathBuf,
    pub(crate) threads: Option<usize>,
}

impl Peer {
    /// One process in a mode of the script, start to end.
    pub(crate) fn run(&self, mode: &str, model: &Path, batches: &Path, files: &Files) -> Result<Outcome> {
        let mut command = Command::new(&self.python);
        command.arg(&self.script).arg(model).arg(batches).args(["--mode", mode]);
        if let Some(threads) = self.threads {
            command.args(["--threads", &threads.to_string()]);
        }
        // Nothing is looked up on the network.
        command.envs([("HF_HUB_OFFLINE", "1"), ("TRANSFORMERS_OFFLINE", "1"), ("TOKENIZERS_PARALLELISM", "false")]);
        if !matches!(mode, "installed" | "f32") {
            command.envs(best_allocator());
        }
        command.env("BENCH_SPAWNED_AT", now().to_string());
        let log = files.dir.join(format!("peer-{mode}.log"));
        let said = run_logged(command, &log)?;
        let lines: Vec<Value> = said.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let (head, steps) = lines.split_first().with_context(|| format!("it said nothing; see {}", log.display()))?;
        let number = |line: &Value, key: &str| line[key].as_f64().with_context(|| format!("no {key} in {line}"));
        let first = steps.first().context("no step was done")?;
        let versions = head["versions"].as_object().context("no versions")?;
        let versions: Vec<String> =
            versions.iter().map(|(name, version)| format!("{name} {}", version.as_str().unwrap_or("?"))).collect();
        Ok(Outcome {
            begin_seconds: number(head, "begin_seconds")?,
            first_step_seconds: number(first, "end_seconds")?,
            peak_memory_bytes: steps.iter().filter_map(|line| line["peak_memory_bytes"].as_f64()).fold(0.0, f64::max),
            what: versions.join(", "),
            steps: steps.iter().map(step).collect::<Result<_>>()?,
        })
    }
}

/// Variables that keep freed memory with the process, in huge pages: tcmalloc where the system has it, else the C
/// library's own allocator told to do the same.
pub(crate) fn best_allocator() -> Vec<(&'static str, String)> {
    let folders = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let names = ["libtcmalloc.so.4", "libtcmalloc_minimal.so.4"];
    let found = folders.iter().flat_map(|folder| names.iter().map(move |name| Path::new(folder).join(name)));
    match found.into_iter().find(|path| path.exists()) {
        Some(path) => vec![
            ("LD_PRELOAD", path.display().to_string()),
            ("TCMALLOC_RELEASE_RATE", "0".into()),
            ("TCMALLOC_LARGE_ALLOC_REPORT_THRESHOLD", "1099511627776".into()),
        ],
        None => vec![(
            "GLIBC_TUNABLES",
            "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=68719476736:glibc.malloc.trim_threshold=68719476736:\
             glibc.malloc.top_pad=268435456"
                .into(),
        )],
    }
}

fn step(line: &Value) -> Result<Step> {
    let number = |key: &str| line[key].as_f64().with_context(|| format!("no {key} in {line}"));
    Ok(Step {
        seconds: number("seconds")?,
        tokens: number("tokens")? as usize,
        trained_tokens: number("trained_tokens")? as usize,
        loss: number("loss")?,
    })
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// Runs a program to its end and returns what it wrote to stdout; stderr goes into `log`, whose last line is part of the
/// error when it fails.
fn run_logged(mut command: Command, log: &Path) -> Result<String> {
    #[expect(clippy::disallowed_methods, reason = "another program writes into it, line by line")]
    let stderr = File::create(log).with_context(|| format!("{} cannot be written", log.display()))?;
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).stderr(stderr).output();
    let output = output.with_context(|| format!("{program} does not start"))?;
    if !output.status.success() {
        let said = fs::read_to_string(log).unwrap_or_default();
        let last = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no message");
        bail!("{} ({last})", output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn json_lines(path: &Path) -> Result<Vec<Value>> {
    let text = fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| format!("{}: {line}", path.display()))).collect()
}

/// Drops the weights from the page cache, so that the next process reads them from the disk. Whether that worked.
pub(crate) fn evict(model: &Path) -> bool {
    let Ok(entries) = fs::read_dir(model) else { return false };
    let mut files = entries.filter_map(|entry| Some(entry.ok()?.path()));
    files.all(|path| {
        // GNU dd: no byte is copied, and the cache is told that the whole file is not needed.
        let mut input = std::ffi::OsString::from("if=");
        input.push(&path);
        let mut command = Command::new("dd");
        command.arg(input).args(["iflag=nocache", "count=0"]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_and_errors_stay_errors() {
        let row = json!({ "row": "x", "tokens": [
            { "id": 5, "text": "a", "trained": false }, { "id": 6, "text": "b", "trained": true },
        ]});
        assert_eq!(row_of_tokens(&row).unwrap(), json!({ "ids": [5, 6], "trained": [false, true] }));
        assert!(row_of_tokens(&json!({ "row": "x", "error": "no EOS" })).is_err());
    }

    #[test]
    fn a_program_that_fails_is_quoted() {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo no memory >&2; exit 3"]);
        if let Err(error) = run_logged(command, &dir.path().join("log")) {
            let error = error.to_string();
            assert!(error.contains("no memory") || error.contains("does not start"), "{error}");
        }
    }
}
