//! Other programs: the Python of `target/peers`, the programs in `peers/`, and the tiny trained models that they make.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The four families that every peer knows.
pub const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// A Python with the peers' packages.
#[derive(Debug, Clone)]
pub struct Peers {
    python: PathBuf,
}

/// What a peer answered about one prompt.
#[derive(Debug, Clone, Deserialize)]
pub struct PromptAnswer {
    /// Logits of the prompt's last position.
    pub logits: Vec<f32>,
    /// The same without the adapter, where the program says it.
    #[serde(default)]
    pub base_logits: Vec<f32>,
    /// Greedy continuation.
    #[serde(default)]
    pub greedy_ids: Vec<u32>,
    /// How far the best logit was above the second for each of them.
    #[serde(default)]
    pub margins: Vec<f32>,
}

/// What `peers/make_tiny_model.py` made.
#[derive(Debug, Clone)]
pub struct TinyModel {
    /// Hugging Face folder with weights in f32, tokenizer and template.
    pub dir: PathBuf,
    /// Beginnings of sentences that the model knows by heart.
    pub prompts: Vec<Vec<u32>>,
    /// How it goes on, at most 16 tokens each; f32.
    pub continuations: Vec<Vec<u32>>,
    /// The sentences as far as prompts and continuations go.
    pub texts: Vec<String>,
    /// How far the tokens of the continuations were ahead of the second best, at least.
    pub least_margin: f32,
}

#[derive(Deserialize)]
struct TinyAnswer {
    sentences: Vec<TinySentence>,
    texts: Vec<String>,
    least_margin: f32,
}

#[derive(Deserialize)]
struct TinySentence {
    prompt_ids: Vec<u32>,
    ids: Vec<u32>,
}

impl Peers {
    /// The Python `$ATTUNE_PEER_PYTHON`, else that of `target/peers`, if it has these modules. Otherwise says that the
    /// test is skipped. `llama_cpp_library` is the module in `peers/`: it asks for llama.cpp's library.
    #[allow(clippy::print_stdout, reason = "tests call it, and what they skip is printed")]
    pub fn with(modules: &[&str]) -> Option<Self> {
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        let beside = if cfg!(windows) { "target/peers/Scripts/python.exe" } else { "target/peers/bin/python" };
        let python = std::env::var_os("ATTUNE_PEER_PYTHON").map_or_else(|| root.join(beside), PathBuf::from);
        if !python.is_file() {
            println!("SKIPPED: {} is absent; `cargo xtask peers` makes it", python.display());
            return None;
        }
        let probe = Command::new(&python)
            .args(["-c", &format!("import {}", modules.join(", "))])
            .env("PYTHONPATH", scripts())
            .output();
        match probe {
            Ok(output) if output.status.success() => Some(Self { python }),
            Ok(output) => {
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                let reason = errors.trim().lines().last().unwrap_or("no reason");
                println!("SKIPPED: {} lacks one of {}: {reason}", python.display(), modules.join(", "));
                None
            }
            Err(error) => {
                println!("SKIPPED: {}: {error}", python.display());
                None
            }
        }
    }

    /// Runs `peers/<script>` and reads the JSON on its standard output.
    ///
    /// # Errors
    /// What the program wrote to standard error when it failed, or why its answer cannot be read.
    pub fn run<T: DeserializeOwned>(&self, script: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<T, String> {
        let mut command = Command::new(&self.python);
        command.arg(scripts().join(script));
        command.args(args.iter().map(|arg| arg.as_ref()));
        let output = command.output().map_err(|error| format!("{script}: {error}"))?;
        if !output.status.success() {
            let errors = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{script}: {}: {}", output.status, errors.trim()));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("{script}: {error}"))
    }

    /// The tiny model of a family. It is kept under the build folder as long as its script stays as it is.
    ///
    /// # Errors
    /// When it cannot be made.
    #[allow(clippy::disallowed_methods, reason = "scratch files of tests")]
    pub fn tiny_model(&self, family: &str) -> Result<TinyModel, String> {
        let script = scripts().join("make_tiny_model.py");
        let text = fs::read(&script).map_err(|error| format!("{}: {error}", script.display()))?;
        let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../target/tiny-models"));
        let dir = root.join(format!("{family}-{:016x}", fingerprint(&text)));
        let file = dir.join("answer.json");
        if !file.is_file() {
            // Tests run side by side: each makes its own and the first to be ready stays.
            let scratch = root.join(format!("{family}-{}-{:?}", std::process::id(), std::thread::current().id()));
            let answer: serde_json::Value = self.run("make_tiny_model.py", &[&family, &scratch])?;
            let kept = fs::write(scratch.join("answer.json"), answer.to_string())
                .and_then(|()| fs::rename(&scratch, &dir).or_else(|_| fs::remove_dir_all(&scratch)));
            kept.map_err(|error| format!("{}: {error}", scratch.display()))?;
        }
        let text = fs::read(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let answer: TinyAnswer =
            serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let (prompts, continuations) =
            answer.sentences.into_iter().map(|sentence| (sentence.prompt_ids, sentence.ids)).unzip();
        Ok(TinyModel { dir, prompts, continuations, texts: answer.texts, least_margin: answer.least_margin })
    }
}

/// FNV-1a: names a version of a script, no more.
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

fn scripts() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}
