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
use attune_export::gguf::{GgufType, Types, write_gguf};
use attune_export::hf::{FolderOptions, write_folder};
use attune_export::{Tuned, tuned::open_model};
use attune_formats::files::DirWriter;
use attune_model::{Adapter, AdapterLayout, BaseModel, Decoder, Sampling, generate};
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

/// Transformers decodes GGUF by the package `gguf` and computes in f32, as we do, which makes it the exact reference. It leaves
/// out llama's rotary divisors and refuses qwen3, and it starts slowly: not every type needs it.
fn widened_by_transformers(family: &str, wanted: bool) -> bool {
    wanted && matches!(family, "mistral" | "qwen2")
}

/// How far llama.cpp's logits may be from ours over the same file, as a norm: it rounds activations to the partner type of
/// the weights (f16, bf16, Q8_0, Q8_K), we do not, and neither does Transformers, which is held to `f32`. Measured, worst of
/// four families: f32 3e-7, f16 3e-4, bf16 3e-3, blocks 5e-2.
fn llama_cpp_limit(kind: GgufType) -> f64 {
    match kind {
        GgufType::F32 => 2e-5,
        GgufType::F16 => 1e-3,
        GgufType::Bf16 => 1e-2,
        _ => 1e-1,
    }
}

#[derive(Deserialize)]
struct Dump {
    metadata: std::collections::BTreeMap<String, DumpedValue>,
    tensors: Vec<DumpedTensor>,
}

#[derive(Deserialize)]
struct DumpedValue {
    value: Value,
}

#[derive(Deserialize)]
struct DumpedTensor {
    name: String,
    shape: Vec<usize>,
    #[serde(rename = "type")]
    kind: String,
    bytes: usize,
}

/// Everything in a file as the package `gguf` reads it.
fn assert_gguf_package_reads(peers: &Peers, what: &str, path: &Path) {
    let dump: Dump = peers.run("gguf_dump.py", &[&path]).unwrap();
    let file = attune_formats::gguf::GgufFile::open(path).unwrap();
    for (key, value) in file.metadata() {
        let theirs = &dump.metadata.get(key).unwrap_or_else(|| panic!("{what}: {key} is missing")).value;
        if let Some(text) = value.as_text() {
            assert_eq!(theirs, text, "{what}: {key}");
        } else if let Some(texts) = value.as_texts() {
            assert_eq!(theirs.as_array().unwrap().len(), texts.len(), "{what}: {key}");
            assert!(texts.iter().zip(theirs.as_array().unwrap()).all(|(ours, theirs)| theirs == ours), "{what}: {key}");
        } else if let Some(number) = value.as_f64() {
            assert_eq!(theirs.as_f64().map(|theirs| theirs as f32), Some(number as f32), "{what}: {key}");
        }
    }
    // The package adds three keys of its own: version and counts.
    assert_eq!(dump.metadata.len(), file.metadata().len() + 3, "{what}");
    assert_eq!(dump.tensors.len(), file.tensors().len(), "{what}");
    for (theirs, ours) in dump.tensors.iter().zip(file.tensors()) {
        // The file has the length of a row first.
        let shape: Vec<usize> = ours.shape.iter().rev().copied().collect();
        assert_eq!((&theirs.name, &theirs.shape, theirs.bytes), (&ours.name, &shape, ours.bytes().len()), "{what}");
    }
    let blocks =
        dump.tensors.iter().filter(|tensor| tensor.kind.ends_with("_K") || tensor.kind.starts_with('Q')).count();
    println!("{what}: {} keys, {} tensors, {blocks} in blocks", dump.metadata.len(), dump.tensors.len());
}

#[test]
fn llama_cpp_opens_every_type_that_we_write() {
    let Some(peers) = Peers::with(&["llama_cpp_library", "gguf", "torch", "transformers"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let tiny = peers.tiny_model(family).unwrap();
        assert!(tiny.least_margin > 3.0, "{family}: rounding must not tip a token over: {}", tiny.least_margin);
        let tuned = Tuned::load(&tiny.dir, None, &LoadOptions::default()).unwrap();
        let prompts = write_json(&scratch.path().join("prompts.json"), &tiny.prompts);
        let sentences: Vec<&str> = tiny.texts.iter().map(String::as_str).chain(TEXTS).collect();
        let texts = write_json(&scratch.path().join("texts.json"), &sentences);
        for kind in GgufType::ALL {
            let what = format!("{family} as {kind}");
            let path = scratch.path().join(format!("{family}.gguf"));
            write_gguf(&path, &tuned, &Reference, Types::Of(kind), "tiny").unwrap();
            let args: [&dyn AsRef<std::ffi::OsStr>; 7] =
                [&path, &"--prompts", &prompts, &"--texts", &texts, &"--new-tokens", &"10"];
            let theirs: Answer = peers.run("llama_cpp_run.py", &args).unwrap_or_else(|error| panic!("{what}: {error}"));
            let (base, text) = open_model(&path, &LoadOptions::default()).unwrap();
            let read_back = ours(&base, None, &tiny.prompts, NEW_TOKENS);
            assert_knows_by_heart(&format!("{what}, ours"), &read_back, &tiny);
            assert_knows_by_heart(&format!("{what}, llama.cpp"), &theirs.prompts, &tiny);
            let error = norm_error(&read_back, &theirs.prompts);
            println!("{what}: llama.cpp's logits differ by {error:.1e}");
            assert!(error < llama_cpp_limit(kind), "{what}: {error}");
            if widened_by_transformers(family, kind == GgufType::Q4KM) {
                let widened: Answer = peers.run("open_model.py", &[&path, &prompts]).unwrap();
                let error = norm_error(&read_back, &widened.prompts);
                assert!(error < llama_cpp_limit(GgufType::F32), "{what}: Transformers' logits differ by {error}");
            }
            for (sentence, answer) in sentences.iter().zip(&theirs.texts) {
                assert_eq!(answer.ids, tuned.text.encode_raw(sentence).unwrap(), "{what}: {sentence:?}, llama.cpp");
                assert_eq!(answer.ids, text.encode_raw(sentence).unwrap(), "{what}: {sentence:?}, read back");
            }
            assert_eq!(theirs.chat_template.as_deref(), tuned.text.chat_template(), "{what}");
            let ends = theirs.special["end_of_generation"].as_array().unwrap();
            for id in tuned.text.stop_ids() {
                assert!(ends.iter().any(|end| end == id), "{what}: {id} does not end llama.cpp's answer: {ends:?}");
            }
            assert_eq!(theirs.special["add_bos"], !family.starts_with("qwen"), "{what}");
            if matches!(kind, GgufType::F16 | GgufType::Q4KM) {
                assert_gguf_package_reads(&peers, &what, &path);
            }
        }
    }
}

#[test]
fn we_open_what_gguf_and_llama_cpp_wrote() {
    let Some(peers) = Peers::with(&["llama_cpp_library", "gguf", "torch", "transformers"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    for family in FAMILIES {
        let tiny = peers.tiny_model(family).unwrap();
        let original = Tuned::load(&tiny.dir, None, &LoadOptions::default()).unwrap();
        let prompts = write_json(&scratch.path().join("prompts.json"), &tiny.prompts);
        for kind in ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m", "q5_k_m", "q6_k"] {
            let what = format!("{family} as {kind} of others");
            let path = scratch.path().join(format!("{family}-{kind}.gguf"));
            let _: Value = peers.run("make_gguf.py", &[&tiny.dir, &path, &kind]).unwrap();
            let (base, text) =
                open_model(&path, &LoadOptions::default()).unwrap_or_else(|error| panic!("{what}: {error}"));
            let got = ours(&base, None, &tiny.prompts, NEW_TOKENS);
            assert_knows_by_heart(&what, &got, &tiny);
            for sentence in tiny.texts.iter().map(String::as_str).chain(TEXTS) {
                let expected = original.text.encode_raw(sentence).unwrap();
                assert_eq!(text.encode_raw(sentence).unwrap(), expected, "{what}: {sentence:?}");
            }
            assert_eq!(text.chat_template(), original.text.chat_template(), "{what}");
            // A GGUF file alone says less: every token that is named like an end ends, as in llama.cpp.
            for id in original.text.stop_ids() {
                assert!(text.stop_ids().contains(id), "{what}: {id} is not in {:?}", text.stop_ids());
            }
            let (script, limit) = match widened_by_transformers(family, family == "mistral" || kind == "q4_k_m") {
                true => ("open_model.py", 2e-5),
                false => ("llama_cpp_run.py", 1e-1),
            };
            let limit = if kind == "f32" { 2e-5 } else { limit };
            let theirs: Answer = match script {
                "open_model.py" => peers.run(script, &[&path, &prompts]),
                _ => peers.run(script, &[&path, &"--prompts", &prompts]),
            }
            .unwrap_or_else(|error| panic!("{what}: {error}"));
            let error = norm_error(&got, &theirs.prompts);
            println!("{what}: logits differ from those of {script} by {error:.1e}");
            assert!(error < limit, "{what}: {error}");
            std::fs::remove_file(&path).unwrap();
        }
    }
}

#[test]
fn adapters_of_mlx_are_read_and_written() {
    let Some(peers) = Peers::with(&["mlx.core", "mlx_lm", "peft", "torch", "transformers"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let run = |model: &Path, prompts: &Path, adapter: &Path| -> Answer {
        peers.run("mlx_run.py", &[&model, &prompts, &"--adapter", &adapter, &"--new-tokens", &"6"]).unwrap()
    };
    // Theirs, some layers and modules, and all with DoRA.
    let some: &[&str] = &["lora", "--layers", "1", "--keys", "self_attn.q_proj,mlp.down_proj", "--rank", "3"];
    for (family, args) in [("mistral", some), ("qwen2", &["dora", "--scale", "2.5"][..])] {
        let tiny = peers.tiny_model(family).unwrap();
        let prompts = write_json(&scratch.path().join("prompts.json"), &tiny.prompts);
        let out = scratch.path().join(format!("{family}-theirs"));
        let mut all: Vec<&dyn AsRef<std::ffi::OsStr>> = vec![&tiny.dir, &out];
        all.extend(args.iter().map(|arg| arg as &dyn AsRef<std::ffi::OsStr>));
        let _: Value = peers.run("make_mlx.py", &all).unwrap();
        let folder = out.join("adapter");
        let theirs = run(&tiny.dir, &prompts, &folder);
        let base = BaseModel::load(&tiny.dir).unwrap();
        let adapter = Adapter::open(&base.spec, &folder).unwrap();
        assert_same(
            &format!("{family}, mlx-lm's adapter"),
            &ours(&base, Some(&adapter), &tiny.prompts, 6),
            &theirs.prompts,
        );
        let without = ours(&base, None, &tiny.prompts, 0);
        assert!(norm_error(&without, &theirs.prompts) > 0.05, "{family}: the adapter does something");
    }
    // Ours, from what PEFT made.
    for (family, kind) in [("llama", "lora"), ("qwen3", "dora"), ("mistral", "rslora")] {
        let tiny = peers.tiny_model(family).unwrap();
        let prompts = write_json(&scratch.path().join("prompts.json"), &tiny.prompts);
        let dir = scratch.path().join(family);
        std::fs::create_dir(&dir).unwrap();
        let (folder, expected) = peft_adapter(&peers, &tiny, kind, &dir);
        let base = BaseModel::load(&tiny.dir).unwrap();
        let adapter = Adapter::open(&base.spec, &folder).unwrap();
        let written = dir.join("mlx");
        adapter.save(AdapterLayout::Mlx, &base.spec, &written, &tiny.dir.to_string_lossy()).unwrap();
        let theirs = run(&tiny.dir, &prompts, &written);
        assert_same(&format!("{family} + {kind}, our folder in mlx-lm"), &theirs.prompts, &expected);
        let again = Adapter::open(&base.spec, &written).unwrap();
        assert_same(&format!("{family} + {kind}, read back"), &ours(&base, Some(&again), &tiny.prompts, 0), &expected);
    }
}

#[test]
fn adapters_of_llama_cpp_are_read_and_written() {
    let Some(peers) = Peers::with(&["llama_cpp_library", "gguf", "torch", "transformers", "peft"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    for (family, kind) in [("llama", "lora"), ("mistral", "rslora"), ("qwen2", "lora"), ("qwen3", "lora")] {
        let tiny = peers.tiny_model(family).unwrap();
        let dir = scratch.path().join(family);
        std::fs::create_dir(&dir).unwrap();
        let prompts = write_json(&dir.join("prompts.json"), &tiny.prompts);
        let (folder, expected) = peft_adapter(&peers, &tiny, kind, &dir);
        let tuned = Tuned::load(&tiny.dir, None, &LoadOptions::default()).unwrap();
        let model = dir.join("base.gguf");
        write_gguf(&model, &tuned, &Reference, Types::Of(GgufType::F32), "tiny").unwrap();

        // Ours in llama.cpp.
        let adapter = Adapter::open(&tuned.base.spec, &folder).unwrap();
        let written = dir.join("ours.gguf");
        adapter.save(AdapterLayout::GgufLora, &tuned.base.spec, &written, "").unwrap();
        let args: [&dyn AsRef<std::ffi::OsStr>; 7] =
            [&model, &"--prompts", &prompts, &"--adapter", &written, &"--new-tokens", &"6"];
        let theirs: Answer = peers.run("llama_cpp_run.py", &args).unwrap();
        let limit = llama_cpp_limit(GgufType::F32);
        let error = norm_error(&expected, &theirs.prompts);
        println!("{family} + {kind}, our file in llama.cpp: {error:.1e}");
        assert!(error < limit, "{family} + {kind}: {error}");
        let args: [&dyn AsRef<std::ffi::OsStr>; 5] = [&model, &"--prompts", &prompts, &"--new-tokens", &"0"];
        let without: Answer = peers.run("llama_cpp_run.py", &args).unwrap();
        assert!(norm_error(&expected, &without.prompts) > 0.05, "{family}: the adapter does something");

        // Theirs in Attune.
        let made = dir.join("theirs.gguf");
        let _: Value = peers.run("make_gguf_lora.py", &[&tiny.dir, &folder, &made, &"f32"]).unwrap();
        let read = Adapter::open(&tuned.base.spec, &made).unwrap();
        let error = norm_error(&ours(&tuned.base, Some(&read), &tiny.prompts, 0), &expected);
        assert!(error < limit, "{family} + {kind}, their file: {error}");
    }
}
