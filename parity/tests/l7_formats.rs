//! Rung l7, formats: Transformers, mlx-lm and llama.cpp open what we export and compute what we compute, and we open
//! what they and the package `gguf` wrote. The models are tiny, trained (`peers/make_tiny_model.py`), and know some
//! sentences by heart. Needs a Python with `requirements-formats.txt` and llama.cpp's library; without them it prints
//! SKIPPED.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests, their helpers and their scratch files"
)]

use std::path::{Path, PathBuf};

use attune_compute::reference::Reference;
use attune_export::gguf::{GgufType, write_gguf};
use attune_export::hf::{FolderOptions, write_folder};
use attune_export::{Tuned, tuned::open_model};
use attune_formats::files::DirWriter;
use attune_model::{Adapter, BaseModel, Decoder, Sampling, generate};
use attune_parity::peers::{FAMILIES, Peers, PromptAnswer, TinyModel};
use attune_parity::tolerances::tolerance;
use attune_parity::{Arithmetic, Comparison, Golden, Quantity, Rung};
use attune_text::LoadOptions;
use serde::Deserialize;
use serde_json::Value;

/// Of each continuation.
const NEW_TOKENS: usize = 10;

/// What the programs that run a model answer.
#[derive(Deserialize)]
struct Answer {
    prompts: Vec<PromptAnswer>,
    #[serde(default)]
    texts: Vec<TextAnswer>,
    #[serde(default)]
    special: Value,
    #[serde(default)]
    chat_template: Option<String>,
}

#[derive(Deserialize)]
struct TextAnswer {
    ids: Vec<u32>,
}

/// Texts that tokenizers trip over, beside those that the model knows.
const TEXTS: [&str; 7] = [
    "Hello  world!\n\n 12345 tests",
    "  two blanks, and a tab\there",
    "Ünïcödé, naïve café — “quotes”…",
    "日本の猫 and emoji 🐈‍⬛ here",
    "it's they'll WE'RE 'S",
    "<0x41> is no byte; \u{2581} is no blank",
    "for i in range(10):\n    print(i)  # 100%\r\n",
];

fn write_json(path: &Path, value: &impl serde::Serialize) -> PathBuf {
    std::fs::write(path, serde_json::to_string(value).unwrap()).unwrap();
    path.to_path_buf()
}

/// Our logits at the last position of each prompt, and our greedy continuations.
fn ours(base: &BaseModel, adapter: Option<&Adapter>, prompts: &[Vec<u32>], new_tokens: usize) -> Vec<PromptAnswer> {
    let decoder = Decoder::new(&Reference, base, base.spec.max_positions).unwrap();
    let answer = |prompt: &Vec<u32>| {
        let logits = decoder.logits(prompt, adapter).unwrap();
        let logits = logits.row(logits.rows() - 1).to_vec();
        let sampling = Sampling::greedy(new_tokens, &[]);
        let greedy_ids = match new_tokens {
            0 => Vec::new(),
            _ => generate(&decoder, adapter, prompt, &sampling, &mut |_| true).unwrap().ids,
        };
        PromptAnswer { logits, base_logits: Vec::new(), greedy_ids, margins: Vec::new() }
    };
    prompts.iter().map(answer).collect()
}

/// All logits within the table's bound of this rung, and the same greedy tokens.
fn assert_same(what: &str, got: &[PromptAnswer], expected: &[PromptAnswer]) {
    assert_eq!(got.len(), expected.len(), "{what}");
    let mut comparison = Comparison::new(what, tolerance(Rung::L7, Quantity::Logits, Arithmetic::F32, Arithmetic::F32));
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        comparison.add(&format!("prompt {i}"), &got.logits, &expected.logits);
        let common = got.greedy_ids.len().min(expected.greedy_ids.len());
        assert_eq!(got.greedy_ids[..common], expected.greedy_ids[..common], "{what}: prompt {i}");
    }
    println!("{}", comparison.finish().unwrap_or_else(|mismatch| panic!("{mismatch}")));
}

/// Largest `||got - expected|| / ||expected||` over the prompts' logits.
fn norm_error(got: &[PromptAnswer], expected: &[PromptAnswer]) -> f64 {
    let error = |(got, expected): (&PromptAnswer, &PromptAnswer)| {
        assert_eq!(got.logits.len(), expected.logits.len());
        let pairs = got.logits.iter().zip(&expected.logits).map(|(&g, &e)| (f64::from(g), f64::from(e)));
        let (difference, length) = pairs.fold((0.0, 0.0), |(d, l), (g, e)| (d + (g - e) * (g - e), l + e * e));
        (difference / length).sqrt()
    };
    got.iter().zip(expected).map(error).fold(0.0, f64::max)
}

fn assert_knows_by_heart(what: &str, answers: &[PromptAnswer], tiny: &TinyModel) {
    for (answer, known) in answers.iter().zip(&tiny.continuations) {
        let common = answer.greedy_ids.len().min(known.len());
        assert!(common > 0 && answer.greedy_ids[..common] == known[..common], "{what}: {:?}", answer.greedy_ids);
    }
}

/// A folder in Hugging Face layout; the gate has tests of its own.
fn export_folder(tuned: &Tuned, out: &Path, format: &'static str) {
    let dir = DirWriter::create(out).unwrap();
    write_folder(&dir, tuned, &Reference, &FolderOptions { format, ..FolderOptions::default() }).unwrap();
    dir.commit().unwrap();
}

/// An adapter of PEFT's own making on a tiny model, and what PEFT computes with it.
fn peft_adapter(peers: &Peers, tiny: &TinyModel, kind: &str, scratch: &Path) -> (PathBuf, Vec<PromptAnswer>) {
    let prompts = write_json(&scratch.join(format!("{kind}.prompts.json")), &tiny.prompts);
    let dir = scratch.join(kind);
    let answer: Answer = peers.run("make_peft.py", &[&tiny.dir, &dir, &kind, &prompts]).unwrap();
    (dir, answer.prompts)
}

#[test]
fn transformers_and_mlx_open_fused_folders() {
    let Some(peers) = Peers::with(&["peft", "torch", "transformers"]) else { return };
    let mlx = Peers::with(&["mlx.core", "mlx_lm"]);
    let scratch = tempfile::tempdir().unwrap();
    for (family, kind) in FAMILIES.into_iter().zip(["lora", "dora", "rslora", "patterns"]) {
        let what = format!("{family} + {kind}");
        let tiny = peers.tiny_model(family).unwrap();
        let dir = scratch.path().join(family);
        std::fs::create_dir(&dir).unwrap();
        let (adapter, expected) = peft_adapter(&peers, &tiny, kind, &dir);
        let tuned = Tuned::load(&tiny.dir, Some(&adapter), &LoadOptions::default()).unwrap();
        assert_same(
            &format!("{what} read by us"),
            &ours(&tuned.base, tuned.adapter.as_ref(), &tiny.prompts, 0),
            &expected,
        );
        let base: Vec<PromptAnswer> = expected
            .iter()
            .map(|answer| PromptAnswer { logits: answer.base_logits.clone(), ..answer.clone() })
            .collect();
        assert!(norm_error(&expected, &base) > 0.1, "{what}: the adapter does something");

        let fused = dir.join("fused");
        export_folder(&tuned, &fused, "pt");
        let prompts = write_json(&dir.join("prompts.json"), &tiny.prompts);
        let texts = write_json(&dir.join("texts.json"), &tiny.texts);
        let args: [&dyn AsRef<std::ffi::OsStr>; 6] = [&fused, &prompts, &"--new-tokens", &"6", &"--texts", &texts];
        let opened: Answer = peers.run("open_model.py", &args).unwrap();
        assert_same(&format!("{what} fused, in Transformers"), &opened.prompts, &expected);
        let read_back = ours(&BaseModel::load(&fused).unwrap(), None, &tiny.prompts, 6);
        assert_same(&format!("{what} fused, ours against Transformers"), &read_back, &opened.prompts);
        for (text, answer) in tiny.texts.iter().zip(&opened.texts) {
            assert_eq!(answer.ids, tuned.text.encode_raw(text).unwrap(), "{what}: {text}");
        }

        let Some(mlx) = &mlx else { continue };
        let fused = dir.join("mlx");
        export_folder(&tuned, &fused, "mlx");
        let opened: Answer = mlx.run("mlx_run.py", &[&fused, &prompts, &"--new-tokens", &"6"]).unwrap();
        assert_same(&format!("{what} fused, in mlx-lm"), &opened.prompts, &read_back);
    }
}

/// mlx-lm reads rotary parameters of `llama` and `qwen2` under their old names alone.
#[test]
fn mlx_opens_what_we_make_of_new_configurations() {
    let Some(mlx) = Peers::with(&["mlx.core", "mlx_lm"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    // mlx-lm has no sliding window for the others, and no key for the head's other name.
    for name in ["llama-f32", "llama-bf16-sharded-tied", "qwen2-f32-tied", "qwen3-f32-sharded"] {
        let golden = Golden::named(name).unwrap();
        let base = BaseModel::load(&golden.model_dir()).unwrap();
        let adapter = Adapter::from_peft(&base.spec, &golden.adapter_dir()).unwrap();
        let rows: Vec<Vec<u32>> = golden.case.rows.iter().map(|row| row.ids.clone()).collect();
        let prompts = write_json(&scratch.path().join("prompts.json"), &rows);
        // These models have no tokenizer, and none is needed: `write_folder` copies what the text side has.
        let out = scratch.path().join(name);
        let dir = DirWriter::create(&out).unwrap();
        let text = tiny_text(&mlx);
        let tuned = Tuned {
            base,
            adapter: Some(adapter),
            text,
            own_template: false,
            model_path: golden.model_dir(),
            adapter_path: None,
        };
        let options =
            FolderOptions { dtype: Some(attune_export::FloatType::F32), format: "mlx", ..FolderOptions::default() };
        write_folder(&dir, &tuned, &Reference, &options).unwrap();
        dir.commit().unwrap();
        let opened: Answer = mlx.run("mlx_run.py", &[&out, &prompts]).unwrap();
        assert_same(name, &opened.prompts, &ours(&tuned.base, tuned.adapter.as_ref(), &rows, 0));
    }
}

fn tiny_text(peers: &Peers) -> attune_text::TextModel {
    open_model(&peers.tiny_model("llama").unwrap().dir, &LoadOptions::default()).unwrap().1
}
