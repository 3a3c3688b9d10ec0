//! A scratch folder with a small random base, data and a configuration; and the program, run in it.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "tests write where they like")]

pub mod random_base;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use assert_cmd::Command;
use attune_formats::tensors::{self, F32Tensor, TensorView};
use random_base::RandomBase;
use serde_json::{Value, json};

/// A base that trains a step in a few milliseconds.
pub fn small_base() -> RandomBase {
    RandomBase {
        hidden: 32,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        feed_forward: 64,
        vocabulary: 300,
        max_positions: 256,
        seed: 7,
    }
}

/// What the program said.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Said {
    #[track_caller]
    pub fn done(self) -> Self {
        assert_eq!(self.code, Some(0), "{}", self.stderr);
        self
    }

    /// The program refused with this code and said all of these.
    #[track_caller]
    pub fn refused(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.stdout, self.stderr);
        for part in parts {
            assert!(self.stderr.contains(part), "{part:?} is not in:\n{}", self.stderr);
        }
        assert_eq!(self.stdout, "", "nothing but results goes to stdout");
        self
    }

    /// The last line of stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        let line = self.stdout.lines().last().unwrap_or_else(|| panic!("no output; {}", self.stderr));
        serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    }
}

/// The program, in the folder `dir`, with nothing of the caller's settings.
pub fn ft(dir: &Path, args: &[&str]) -> Said {
    ft_with(dir, args, &[])
}

/// [`ft`] with variables.
pub fn ft_with(dir: &Path, args: &[&str], variables: &[(&str, &str)]) -> Said {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ft"));
    command.current_dir(dir).args(args).timeout(Duration::from_secs(300));
    command.env_remove("NO_COLOR").env_remove("CLICOLOR_FORCE").envs(variables.iter().copied());
    let output = command.output().expect("the program starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("the program writes UTF-8");
    Said { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The program, started and not waited for.
pub fn start(dir: &Path, args: &[&str]) -> Child {
    std::process::Command::new(env!("CARGO_BIN_EXE_ft"))
        .current_dir(dir)
        .args(args)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

/// A scratch folder with `base/`, `train.jsonl`, `validation.jsonl` and `ft.yaml`.
pub struct Scratch {
    dir: tempfile::TempDir,
}

impl Scratch {
    pub fn new() -> Self {
        Self::with_base(&small_base())
    }

    pub fn with_base(base: &RandomBase) -> Self {
        let scratch = Self { dir: tempfile::tempdir().expect("a scratch folder") };
        base.write(&scratch.path("base"), &chats(24).join(" ")).expect("the base can be written");
        scratch.write("train.jsonl", &(chats(24).join("\n") + "\n"));
        let validation: Vec<String> = chats(28).split_off(24).iter().map(|row| row.replace("Count", "Say")).collect();
        scratch.write("validation.jsonl", &(validation.join("\n") + "\n"));
        scratch.configure(&json!({}));
        scratch
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn write(&self, name: &str, content: &str) {
        fs::write(self.path(name), content).expect("a file can be written");
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// Writes `ft.yaml`: a short run, with `changes` (sections of keys) on top.
    pub fn configure(&self, changes: &Value) {
        let mut config = json!({
            "model": { "path": "base" },
            "adapter": { "rank": 4, "alpha": 8, "dropout": 0.1 },
            "data": { "train": "train.jsonl", "validation": "validation.jsonl", "max_seq_length": 200 },
            "training": { "steps": 6, "batch_size": 4, "learning_rate": 2e-3 },
            "checkpoint": { "every_steps": null, "every_minutes": null },
            "evaluation": { "every_steps": 3, "samples": 0 },
            "hardware": { "threads": 1 },
        });
        for (section, keys) in changes.as_object().expect("sections") {
            for (key, value) in keys.as_object().expect("keys") {
                config[section][key] = value.clone();
            }
        }
        // YAML is a superset of JSON.
        self.write("ft.yaml", &config.to_string());
    }

    pub fn ft(&self, args: &[&str]) -> Said {
        ft(self.dir(), args)
    }

    /// `ft train ft.yaml --out run`.
    pub fn train(&self) -> Said {
        self.ft(&["train", "ft.yaml", "--out", "run"])
    }

    /// The run must not have left anything.
    #[track_caller]
    pub fn assert_nothing_written(&self) {
        assert!(!self.path("run").exists(), "the run folder exists: {:?}", names(&self.path("run")));
    }

    pub fn read_json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).expect("JSON")
    }

    /// Changes a JSON file of the scratch folder.
    pub fn change_json(&self, name: &str, change: impl FnOnce(&mut Value)) {
        let mut value = self.read_json(name);
        change(&mut value);
        self.write(name, &value.to_string());
    }

    /// Changes the tensors of the base.
    pub fn change_tensors(&self, change: impl FnOnce(&mut BTreeMap<String, F32Tensor>)) {
        let path = self.path("base/model.safetensors");
        let mut read = tensors::read_tensors(&path).expect("tensors");
        change(&mut read);
        let views: Vec<TensorView<'_>> =
            read.iter().map(|(name, tensor)| TensorView { name, shape: &tensor.shape, data: &tensor.data }).collect();
        tensors::write_tensors(&path, &views, &BTreeMap::new()).expect("tensors can be written");
    }
}

/// Names in a folder, sorted.
pub fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(dir) else { return Vec::new() };
    let mut names: Vec<String> =
        entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned())).collect();
    names.sort();
    names
}

/// One chat as a row.
pub fn chat(user: &str, assistant: &str) -> String {
    json!({"messages": [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]}).to_string()
}

/// Short chats of different lengths.
pub fn chats(count: usize) -> Vec<String> {
    let words = ["one", "two", "three", "four", "five", "six", "seven"];
    (0..count)
        .map(|i| {
            let answer: Vec<&str> = (0..=i % 5).map(|j| words[(i + j) % words.len()]).collect();
            chat(&format!("Count from {}.", words[i % words.len()]), &(answer.join(" ") + "."))
        })
        .collect()
}

/// The shared test assets, or a line that says why the test is skipped.
pub fn shared(name: &str) -> Option<PathBuf> {
    let root = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let path = root.join("assets").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: {} is absent; set ATTUNE_SHARED", path.display());
    None
}
