//! Other programs: the Python of `target/peers`, the programs in `peers/`, and the tiny trained models that they make.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The four families that every peer knows.
pub const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];

/// A Python with the peers' packages.
#[derive(Debug, Clone)]
pub struct Peers {
    python: PathBuf,
    /// Started by the first program that is run; all others run in it, too.
    server: Arc<Mutex<Option<Server>>>,
}

/// `peers/serve.py`: one Python for many programs, since torch takes seconds to start.
#[derive(Debug)]
struct Server {
    child: Child,
    /// Taken when it is to end.
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

/// What became of a program.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Ran {
    /// What it printed.
    pub stdout: String,
    /// What it said of its troubles.
    pub stderr: String,
    /// Its exit status.
    pub status: i32,
}

impl Server {
    fn start(python: &Path) -> std::io::Result<Self> {
        let mut command = Command::new(python);
        command.arg(scripts().join("serve.py")).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn()?;
        let (Some(requests), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            unreachable!("both are piped")
        };
        Ok(Self { child, requests: Some(requests), answers: BufReader::new(answers) })
    }

    fn ask(&mut self, request: &serde_json::Value) -> std::io::Result<String> {
        let Some(requests) = &mut self.requests else { unreachable!("it is taken when the server is dropped") };
        writeln!(requests, "{request}")?;
        requests.flush()?;
        let mut answer = String::new();
        match self.answers.read_line(&mut answer)? {
            0 => Err(std::io::Error::other("Python ended before it answered")),
            _ => Ok(answer),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Without requests to come it ends by itself.
        drop(self.requests.take());
        _ = self.child.wait();
    }
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
            Ok(output) if output.status.success() => Some(Self { python, server: Arc::default() }),
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
        let ran = self.try_run(script, args)?;
        if ran.status != 0 {
            return Err(format!("{script}: exit status {}: {}", ran.status, ran.stderr.trim()));
        }
        serde_json::from_str(&ran.stdout).map_err(|error| format!("{script}: {error}"))
    }

    /// Runs `peers/<script>`, whatever becomes of it.
    ///
    /// # Errors
    /// When Python does not start, or ends before it has answered.
    pub fn try_run(&self, script: &str, args: &[&dyn AsRef<std::ffi::OsStr>]) -> Result<Ran, String> {
        let args: Vec<_> = args.iter().map(|arg| arg.as_ref().to_string_lossy()).collect();
        let request = serde_json::json!({ "script": script, "args": args });
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let told = |error: std::io::Error| format!("{script}: {error}");
        let running = match &mut *server {
            Some(running) => running,
            none => none.insert(Server::start(&self.python).map_err(told)?),
        };
        let answer = running.ask(&request).and_then(|answer| Ok(serde_json::from_str(&answer)?));
        // One that broke off is not asked again.
        answer.map_err(told).inspect_err(|_| *server = None)
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
