//! Fused folders and the gate that accepts them, or not.
#![allow(clippy::disallowed_methods, reason = "tests write where they like")]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use attune_compute::cpu::Cpu;
use attune_compute::rng;
use attune_export::Tuned;
use attune_export::gate::{GateReport, Limits, Side, compare, default_prompts};
use attune_export::hf::{AffineOptions, FolderOptions, write_folder};
use attune_export::ollama::{TurnTexts, modelfile};
use attune_export::tuned::open_model;
use attune_formats::files::DirWriter;
use attune_formats::gguf::{GgufFile, PlannedTensor as GgufTensor, Value as GgufValue, write_file};
use attune_formats::tensors::{self, F32Tensor, TensorView, WeightFolder};
use attune_model::{Adapter, AdapterSpec, BaseModel, LayerChoice, Targets};
use attune_text::{LoadOptions, TextModel};
use common::random_base::RandomBase;
use serde_json::{Value, json};

use common::{Scratch, ft, names};

/// Sizes that differ from each other wherever they may, save for q and o, which are square.
fn base() -> RandomBase {
    RandomBase {
        hidden: 64,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        feed_forward: 96,
        max_positions: 512,
        ..common::small_base()
    }
}

/// A scratch folder with `base` and an `adapter` that changes a lot.
fn scratch() -> Scratch {
    let scratch = Scratch::with_base(&base());
    write_adapter(&scratch, "adapter", 1.0);
    scratch
}

fn write_adapter(scratch: &Scratch, name: &str, strength: f32) {
    let model = BaseModel::load(&scratch.path("base")).expect("a base");
    let spec = AdapterSpec {
        rank: 4,
        alpha: 8.0,
        dropout: 0.0,
        targets: Targets::AllLinear,
        layers: LayerChoice::All,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        use_rslora: false,
        use_dora: false,
    };
    let mut adapter = Adapter::init(&model.spec, &spec, 3).expect("an adapter");
    for (at, module) in adapter.modules.iter_mut().enumerate() {
        for (i, b) in module.b.iter_mut().enumerate() {
            *b = strength * 0.4 * (rng::uniform_f32(rng::key(&[at as u64, i as u64])) - 0.5);
        }
    }
    adapter.save_peft(&scratch.path(name), "base").expect("a folder");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir(to).expect("a folder");
    for name in names(from) {
        fs::copy(from.join(&name), to.join(&name)).expect("a copy");
    }
}

fn fuse(scratch: &Scratch) {
    scratch.ft(&["fuse", "--model", "base", "--adapter", "adapter", "--out", "fused"]).done();
}

/// What the gate says of a folder.
fn gate(scratch: &Scratch, folder: &str) -> GateReport {
    let tuned =
        Tuned::load(&scratch.path("base"), Some(&scratch.path("adapter")), &LoadOptions::default()).expect("both");
    let backend = Cpu::new(Some(1)).expect("a backend");
    let (base, text) = open_model(&scratch.path(folder), &LoadOptions::default()).expect("the artefact opens");
    let side = Side { base: &base, adapter: None, text: &text };
    compare(&backend, &tuned.side(), &side, &default_prompts(&tuned.text), Limits::ROUNDED).expect("an answer")
}

fn change_tensors(folder: &Path, change: impl FnOnce(&mut BTreeMap<String, F32Tensor>)) {
    let path = folder.join("model.safetensors");
    let mut read = tensors::read_tensors(&path).expect("tensors");
    change(&mut read);
    let views: Vec<TensorView<'_>> =
        read.iter().map(|(name, tensor)| TensorView { name, shape: &tensor.shape, data: &tensor.data }).collect();
    tensors::write_tensors(&path, &views, &BTreeMap::new()).expect("tensors can be written");
}

fn change_json(path: PathBuf, change: impl FnOnce(&mut Value)) {
    let mut value: Value = serde_json::from_slice(&fs::read(&path).expect("a file")).expect("JSON");
    change(&mut value);
    fs::write(path, value.to_string()).expect("a file");
}

#[test]
fn a_fused_folder_says_what_base_and_adapter_say() {
    let scratch = scratch();
    fuse(&scratch);
    assert_eq!(
        names(&scratch.path("fused")),
        [
            "config.json",
            "export_report.json",
            "generation_config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    let ask = |args: &[&str]| {
        let mut all = vec!["generate", "--prompt", "Count from one.", "--max-tokens", "12", "--json"];
        all.extend(args);
        scratch.ft(&all).done().json()["token_ids"].clone()
    };
    let tuned = ask(&["--model", "base", "--adapter", "adapter"]);
    assert_eq!(ask(&["--model", "fused"]), tuned);
    assert_ne!(ask(&["--model", "base"]), tuned, "the adapter changes nothing, so the test shows nothing");
    let report = scratch.read_json("fused/export_report.json");
    assert_eq!(report["gate"]["accepted"], json!(true));
    assert_eq!((&report["tensors"], &report["changed"]), (&json!(21), &json!(14)));
    assert!(report["gate"]["effect_kl"].as_f64().expect("a number") > 0.05, "{report}");
}

#[test]
fn every_type_and_shard_is_read_back() {
    let scratch = scratch();
    for dtype in ["f32", "f16", "bf16"] {
        let said = scratch.ft(&[
            "fuse",
            "--model",
            "base",
            "--adapter",
            "adapter",
            "--out",
            dtype,
            "--dtype",
            dtype,
            "--json",
        ]);
        let report = said.done().json();
        assert_eq!(report["format"], json!(format!("Hugging Face {dtype}")));
        // A fused folder is a base like any other, and converting it back changes nothing more.
        let again = format!("{dtype}-again");
        scratch.ft(&["export", "hf", "--model", dtype, "--out", &again]).done();
        assert_eq!(
            scratch.read(&format!("{dtype}/model.safetensors")),
            scratch.read(&format!("{again}/model.safetensors"))
        );
    }
}

#[test]
fn what_exists_is_never_overwritten_and_what_is_missing_is_named() {
    let scratch = scratch();
    fuse(&scratch);
    let before = scratch.read("fused/model.safetensors");
    let again = ["fuse", "--model", "base", "--adapter", "adapter", "--out", "fused"];
    scratch.ft(&again).refused(2, &["fused: exists already", "choose another --out"]);
    assert_eq!(scratch.read("fused/model.safetensors"), before);
    scratch.ft(&["fuse", "--model", "base", "--out", "x"]).refused(2, &["no adapter was given", "--adapter"]);
    scratch.ft(&["fuse", "--model", "nowhere", "--adapter", "adapter", "--out", "x"]).refused(1, &["nowhere"]);
    assert!(!names(scratch.dir()).contains(&"x".to_string()));
}

#[test]
fn an_adapter_that_changes_nothing_is_refused() {
    let scratch = scratch();
    write_adapter(&scratch, "inert", 0.0);
    scratch
        .ft(&["fuse", "--model", "base", "--adapter", "inert", "--out", "x"])
        .refused(3, &["the adapter changes nothing", "B A is zero in all 14 modules"]);
    assert_eq!(names(scratch.dir()).iter().filter(|name| name.starts_with('x')).count(), 0);
}

/// A fault, planted into a good artefact, and what the gate must say of it.
struct Fault {
    name: &'static str,
    plant: fn(&Path),
    said: &'static str,
}

const FAULTS: [Fault; 9] = [
    Fault {
        name: "rows of q and k in the order of GGUF",
        plant: |folder| {
            change_tensors(folder, |tensors| {
                for (name, tensor) in tensors.iter_mut().filter(|(name, _)| is_query_or_key(name)) {
                    assert_eq!(tensor.shape[1], 64, "{name}");
                    let (rows, half) = (tensor.shape[0], 8);
                    let original = tensor.data.clone();
                    for row in 0..rows {
                        let (head, at) = (row / 16, row % 16);
                        let from = head * 16 + at % 2 * half + at / 2;
                        tensor.data[row * 64..][..64].copy_from_slice(&original[from * 64..][..64]);
                    }
                }
            });
        },
        said: "diverge",
    },
    Fault {
        name: "another rope theta",
        plant: |folder| change_json(folder.join("config.json"), |config| config["rope_theta"] = json!(20000.0)),
        said: "rotates positions",
    },
    Fault {
        name: "rope scaling lost or invented",
        plant: |folder| {
            change_json(folder.join("config.json"), |config| {
                config["rope_scaling"] = json!({"rope_type": "linear", "factor": 2.0});
            });
        },
        said: "rotates positions",
    },
    Fault {
        name: "no end-of-text token",
        plant: |folder| {
            change_json(folder.join("tokenizer_config.json"), |config| config["eos_token"] = Value::Null);
            change_json(folder.join("generation_config.json"), |config| config["eos_token_id"] = Value::Null);
            change_json(folder.join("config.json"), |config| config["eos_token_id"] = Value::Null);
        },
        said: "end-of-text token",
    },
    Fault {
        name: "no chat template",
        plant: |folder| {
            change_json(folder.join("tokenizer_config.json"), |config| config["chat_template"] = Value::Null);
        },
        said: "chat template",
    },
    Fault {
        name: "a chat template with another line end",
        plant: |folder| {
            change_json(folder.join("tokenizer_config.json"), |config| {
                let template = config["chat_template"].as_str().expect("a template").replacen("\\n", " ", 1);
                config["chat_template"] = json!(template);
            });
        },
        said: "a chat is rendered as",
    },
    Fault {
        name: "one merge lost",
        plant: |folder| {
            change_json(folder.join("tokenizer.json"), |tokenizer| {
                tokenizer["model"]["merges"].as_array_mut().expect("merges").remove(0);
            });
        },
        said: "becomes other tokens",
    },
    Fault {
        name: "one layer's output left at the base's",
        plant: |folder| {
            change_tensors(folder, |tensors| {
                let base =
                    tensors::read_tensors(&folder.with_file_name("base").join("model.safetensors")).expect("the base");
                for name in ["model.layers.1.mlp.down_proj.weight", "model.layers.1.self_attn.o_proj.weight"] {
                    tensors.insert(name.to_string(), base[name].clone());
                }
            });
        },
        said: "diverge",
    },
    Fault {
        name: "a value that is not a number",
        plant: |folder| {
            change_tensors(folder, |tensors| {
                tensors.get_mut("model.norm.weight").expect("the norm").data[5] = f32::NAN;
            });
        },
        said: "diverge",
    },
];

fn is_query_or_key(name: &str) -> bool {
    name.ends_with("q_proj.weight") || name.ends_with("k_proj.weight")
}

#[test]
fn planted_faults_are_refused() {
    let scratch = scratch();
    fuse(&scratch);
    let good = gate(&scratch, "fused");
    assert!(good.accepted, "{:?}", good.reasons);
    for (number, fault) in FAULTS.iter().enumerate() {
        let folder = format!("fault-{number}");
        copy_folder(&scratch.path("fused"), &scratch.path(&folder));
        (fault.plant)(&scratch.path(&folder));
        let report = gate(&scratch, &folder);
        assert!(!report.accepted, "{} was accepted", fault.name);
        assert!(
            report.reasons.iter().any(|reason| reason.contains(fault.said)),
            "{}: {:?}",
            fault.name,
            report.reasons
        );
    }
}

/// Faults of the fusing itself: the adapter that is fused is not the adapter that was trained.
#[test]
fn a_wrongly_fused_adapter_is_refused() {
    let scratch = scratch();
    let fused_with = |name: &str, change: &dyn Fn(&Path)| {
        let changed = format!("adapter-{name}");
        copy_folder(&scratch.path("adapter"), &scratch.path(&changed));
        change(&scratch.path(&changed));
        let out = format!("fused-{name}");
        scratch.ft(&["fuse", "--model", "base", "--adapter", &changed, "--out", &out]).done();
        gate(&scratch, &out)
    };
    let alpha = |alpha: f64| {
        move |folder: &Path| {
            change_json(folder.join("adapter_config.json"), |config| config["lora_alpha"] = json!(alpha))
        }
    };
    assert!(fused_with("same", &|_| {}).accepted);
    for (name, value) in [("twice", 16.0), ("half", 4.0), ("a-fifth-more", 9.6)] {
        let report = fused_with(name, &alpha(value));
        assert!(!report.accepted, "alpha {value}: {report:?}");
    }
    // A square pair of matrices can be taken for its transpose: A of q for B, and the reverse.
    let report = fused_with("transposed", &|folder| {
        let path = folder.join("adapter_model.safetensors");
        let mut read = tensors::read_tensors(&path).expect("tensors");
        for layer in 0..2 {
            let name =
                |matrix: &str| format!("base_model.model.model.layers.{layer}.self_attn.q_proj.lora_{matrix}.weight");
            let (a, b) = (read[&name("A")].clone(), read[&name("B")].clone());
            read.insert(name("A"), transposed(&b));
            read.insert(name("B"), transposed(&a));
        }
        let views: Vec<TensorView<'_>> =
            read.iter().map(|(name, tensor)| TensorView { name, shape: &tensor.shape, data: &tensor.data }).collect();
        tensors::write_tensors(&path, &views, &BTreeMap::new()).expect("tensors can be written");
    });
    assert!(!report.accepted, "{report:?}");
}

fn transposed(tensor: &F32Tensor) -> F32Tensor {
    let (rows, cols) = (tensor.shape[0], tensor.shape[1]);
    let data = (0..rows * cols).map(|at| tensor.data[at % rows * cols + at / rows]).collect();
    F32Tensor { shape: vec![cols, rows], data }
}

#[test]
fn prompts_of_ones_own_are_asked() {
    let scratch = scratch();
    scratch.write("prompts.txt", "What is a lake?\nAnd a pond?\n");
    let args = ["fuse", "--model", "base", "--adapter", "adapter", "--prompts", "prompts.txt", "--json", "--out"];
    let report = scratch.ft(&[&args[..], &["a"]].concat()).done().json();
    assert_eq!(report["gate"]["sequences"], json!(2));
    scratch.write("prompts.txt", "{\"answer\": 1}\n");
    scratch.ft(&[&args[..], &["b"]].concat()).refused(2, &["line 1", "neither `messages` nor `prompt`"]);
    let nowhere =
        ft(scratch.dir(), &["fuse", "--model", "base", "--adapter", "adapter", "--prompts", "none", "--out", "c"]);
    nowhere.refused(1, &["none"]);
}

/// Templates of real models: what Ollama is to render is what the model was trained with, or nothing.
#[test]
fn turn_texts_of_real_templates_are_found() {
    let Some(shapes) = common::shared("models/shapes") else { return };
    for (name, user, assistant_end) in [
        ("llama-3.2-1b-instruct", "<|start_header_id|>user<|end_header_id|>\n\n", "<|eot_id|>"),
        ("qwen2.5-0.5b-instruct", "<|im_start|>user\n", "<|im_end|>\n"),
    ] {
        let text = TextModel::load(&shapes.join(name), &LoadOptions::default()).expect("a tokenizer");
        let texts = TurnTexts::find(&text).unwrap_or_else(|| panic!("{name}: no texts around turns"));
        assert_eq!((texts.user.0.as_str(), texts.assistant.1.as_str()), (user, assistant_end), "{name}");
        let file = modelfile(&text, "model.gguf");
        assert!(file.contains("FROM ./model.gguf") && file.contains("PARAMETER stop"), "{file}");
    }
    // The system message goes into the last question: no text around a turn.
    let text = TextModel::load(&shapes.join("mistral-7b-instruct-v0.3"), &LoadOptions::default()).expect("a tokenizer");
    assert_eq!(TurnTexts::find(&text), None);
    assert!(!modelfile(&text, "model.gguf").contains("TEMPLATE \""));
}

/// Rows of whole blocks of every type.
fn wide_base() -> RandomBase {
    RandomBase {
        hidden: 256,
        layers: 2,
        heads: 8,
        kv_heads: 4,
        feed_forward: 512,
        max_positions: 512,
        ..common::small_base()
    }
}

const GGUF_TYPES: [&str; 8] = ["f32", "f16", "bf16", "q8_0", "q6_k", "q5_k_m", "q4_k_m", "q4_0"];

#[test]
fn every_gguf_type_is_accepted_and_says_what_was_tuned() {
    let scratch = Scratch::with_base(&wide_base());
    write_adapter(&scratch, "adapter", 1.0);
    let ask = |model: &[&str]| {
        let args =
            [&["generate", "--prompt", "Count from one.", "--max-tokens", "8", "--json", "--model"], model].concat();
        scratch.ft(&args).done().json()
    };
    let tuned = ask(&["base", "--adapter", "adapter"])["token_ids"].clone();
    for kind in GGUF_TYPES {
        let out = format!("{kind}.gguf");
        let args =
            ["export", "gguf", "--model", "base", "--adapter", "adapter", "--type", kind, "--out", &out, "--json"];
        let report = scratch.ft(&args).done().json();
        assert_eq!(report["gate"]["accepted"], json!(true), "{report}");
        assert_eq!(scratch.read_json(&format!("{out}.report.json")), report);
        if matches!(kind, "f32" | "f16" | "bf16" | "q8_0") {
            assert_eq!(ask(&[&out])["token_ids"], tuned, "{kind}");
        }
    }
    let sizes: Vec<usize> = GGUF_TYPES.iter().map(|kind| scratch.read(&format!("{kind}.gguf")).len()).collect();
    assert!(sizes[0] > sizes[1] && sizes[1..].is_sorted_by(|a, b| a >= b), "{sizes:?}");
}

#[test]
fn a_gguf_file_is_a_base_like_any_other() {
    let scratch = Scratch::with_base(&wide_base());
    write_adapter(&scratch, "adapter", 1.0);
    for kind in ["f32", "q4_k_m"] {
        let (file, run) = (format!("{kind}.gguf"), format!("runs/{kind}"));
        scratch.ft(&["export", "gguf", "--model", "base", "--type", kind, "--out", &file]).done();
        scratch.configure(&json!({"model": {"path": file}, "training": {"steps": 2}, "logging": {"dir": "runs"}}));
        scratch.ft(&["train", "ft.yaml", "--out", &run, "--json"]).done();
        // The record names the file by its hash, and there is no config.json beside it.
        let record = scratch.read_json(&format!("{run}/run.json")).to_string();
        assert!(record.contains(&file), "{record}");
        // An adapter in Hugging Face's order of rows, fused into the file's own.
        let fused = format!("{kind}-fused.gguf");
        scratch.ft(&["fuse", "--model", &file, "--adapter", "adapter", "--out", &fused]).done();
        let folder = format!("{kind}-folder");
        scratch.ft(&["fuse", "--model", &file, "--adapter", "adapter", "--out", &folder]).done();
        assert!(names(&scratch.path(&folder)).contains(&"tokenizer.json".to_string()));
    }
    // In f32 nothing is lost on the way through the file.
    scratch.ft(&["fuse", "--model", "base", "--adapter", "adapter", "--out", "direct", "--dtype", "f32"]).done();
    let read = |folder: &str| tensors::read_tensors(&scratch.path(folder).join("model.safetensors")).expect("tensors");
    assert_eq!(read("f32-folder"), read("direct"));
}

#[test]
fn a_refused_artefact_is_marked() {
    let scratch = Scratch::with_base(&wide_base());
    write_adapter(&scratch, "adapter", 1.0);
    let of = |command: &[&'static str]| {
        [command, &["--model", "base", "--adapter", "adapter", "--max-divergence", "0"]].concat()
    };
    let said = scratch.ft(&[&of(&["export", "gguf"])[..], &["--type", "q4_0", "--out", "x.gguf"]].concat());
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(
        said.stderr.contains("the export gate refused it") && said.stderr.contains("x.gguf.refused"),
        "{}",
        said.stderr
    );
    let left: Vec<String> = names(scratch.dir()).into_iter().filter(|name| name.starts_with('x')).collect();
    assert_eq!(left, ["x.gguf.refused", "x.gguf.report.json"]);
    assert_eq!(scratch.read_json("x.gguf.report.json")["gate"]["accepted"], json!(false));

    let said = scratch.ft(&[&of(&["fuse"])[..], &["--dtype", "bf16", "--out", "folder"]].concat());
    assert_eq!(said.code, Some(3), "{}", said.stderr);
    assert!(scratch.path("folder.refused/export_report.json").is_file());
    assert!(!scratch.path("folder").exists());
}

#[test]
fn planted_faults_of_gguf_files_are_refused() {
    let scratch = Scratch::with_base(&wide_base());
    write_adapter(&scratch, "adapter", 1.0);
    scratch
        .ft(&["export", "gguf", "--model", "base", "--adapter", "adapter", "--type", "f32", "--out", "good.gguf"])
        .done();
    assert!(gate(&scratch, "good.gguf").accepted);
    let file = GgufFile::open(&scratch.path("good.gguf")).expect("a file");
    type Keys = Vec<(String, GgufValue)>;
    let set = |key: &'static str, value: Option<GgufValue>| {
        move |keys: &mut Keys| {
            keys.retain(|(name, _)| name != key);
            keys.extend(value.clone().map(|value| (key.to_string(), value)));
        }
    };
    let unchanged = |_: &mut Keys| {};
    let straight = |name: &str, bytes: &[u8]| match name.contains("attn_q.") || name.contains("attn_k.") {
        false => bytes.to_vec(),
        // The rows as Hugging Face has them: what a converter forgets.
        true => {
            let row_bytes = 256 * 4;
            let row = |at: usize| &bytes[attune_formats::gguf::permute::stored_row(at, 32) * row_bytes..][..row_bytes];
            (0..bytes.len() / row_bytes).flat_map(row).copied().collect()
        }
    };
    let as_it_is = |_: &str, bytes: &[u8]| bytes.to_vec();
    type Change<'a> = (&'a str, &'a dyn Fn(&mut Keys), &'a dyn Fn(&str, &[u8]) -> Vec<u8>, &'a str);
    let no_template = set("tokenizer.chat_template", None);
    let other_eos = set("tokenizer.ggml.eos_token_id", Some(GgufValue::U32(5)));
    let adds_bos = |keys: &mut Keys| {
        set("tokenizer.ggml.bos_token_id", Some(GgufValue::U32(7)))(keys);
        set("tokenizer.ggml.add_bos_token", Some(GgufValue::Bool(true)))(keys);
    };
    let other_theta = set("llama.rope.freq_base", Some(GgufValue::F32(20_000.0)));
    let other_epsilon = set("llama.attention.layer_norm_rms_epsilon", Some(GgufValue::F32(1e-3)));
    let faults: [Change; 6] = [
        ("rows not interleaved", &unchanged, &straight, "diverge"),
        ("no template", &no_template, &as_it_is, "chat template"),
        ("another end-of-text token", &other_eos, &as_it_is, "end-of-text token"),
        ("a token in front that was not trained", &adds_bos, &as_it_is, "other tokens"),
        ("another theta", &other_theta, &as_it_is, "rotates positions"),
        ("another epsilon", &other_epsilon, &as_it_is, "epsilon"),
    ];
    for (name, change_keys, change_tensor, said) in faults {
        let mut keys = file.metadata().to_vec();
        change_keys(&mut keys);
        let planned: Vec<GgufTensor> = file
            .tensors()
            .iter()
            .map(|tensor| GgufTensor { name: tensor.name.clone(), shape: tensor.shape.clone(), kind: tensor.kind })
            .collect();
        write_file(&scratch.path("bad.gguf"), &keys, &planned, &mut |index, out| {
            let tensor = &file.tensors()[index];
            out.write_all(&change_tensor(&tensor.name, tensor.bytes()))
        })
        .expect("a file");
        let report = gate(&scratch, "bad.gguf");
        assert!(!report.accepted, "{name} was accepted");
        assert!(report.reasons.iter().any(|reason| reason.contains(said)), "{name}: {:?}", report.reasons);
    }
}

#[test]
fn an_ollama_folder_has_the_file_and_how_to_talk_to_it() {
    let scratch = scratch();
    scratch.ft(&["export", "ollama", "--model", "base", "--adapter", "adapter", "--out", "o"]).done();
    assert_eq!(names(&scratch.path("o")), ["Modelfile", "model.gguf", "model.gguf.report.json"]);
    let file = String::from_utf8(scratch.read("o/Modelfile")).expect("text");
    for part in ["FROM ./model.gguf", "TEMPLATE \"\"\"", "<|im_start|>user\\n", "PARAMETER stop \"<|im_end|>\""] {
        assert!(file.contains(part), "{part} is not in {file}");
    }
}

#[test]
fn a_folder_for_mlx_is_read_back_in_every_number_of_bits() {
    let scratch = Scratch::with_base(&wide_base());
    write_adapter(&scratch, "adapter", 1.0);
    let export = |model: &str, out: &str, more: &[&str]| {
        let args = ["export", "mlx", "--model", model, "--adapter", "adapter", "--out", out, "--json"];
        scratch.ft(&[&args[..], more].concat()).done().json()
    };
    let size = |folder: &str| scratch.read(&format!("{folder}/model.safetensors")).len();
    let ask = |args: &[&str]| {
        let all = ["generate", "--prompt", "Count from one.", "--max-tokens", "8", "--json", "--model"];
        scratch.ft(&[&all[..], args].concat()).done().json()["token_ids"].clone()
    };
    let report = export("base", "plain", &["--dtype", "bf16"]);
    assert_eq!((&report["format"], &report["gate"]["limits"]["mean_kl"]), (&json!("mlx-lm bf16"), &json!(0.01)));
    assert_eq!(scratch.read_json("plain/config.json").get("quantization"), None);
    let mut sizes = vec![size("plain")];
    for (bits, group) in [(8, 32), (8, 64), (8, 128), (4, 32), (4, 64), (4, 128)] {
        let out = format!("mlx-{bits}-{group}");
        let (bits, group) = (bits.to_string(), group.to_string());
        let report = export("base", &out, &["--bits", &bits, "--group-size", &group, "--dtype", "bf16"]);
        assert_eq!(report["gate"]["accepted"], json!(true), "{report}");
        assert_eq!(report["format"], json!(format!("mlx-lm {bits}-bit in groups of {group}, scales in bf16")));
        let config = scratch.read_json(&format!("{out}/config.json"));
        let numbers: Value =
            serde_json::from_str(&format!(r#"{{"group_size": {group}, "bits": {bits}, "mode": "affine"}}"#))
                .expect("JSON");
        assert_eq!((&config["quantization"], &config["quantization_config"]), (&numbers, &numbers));
        if bits == "8" {
            assert_eq!(ask(&[&out]), ask(&["base", "--adapter", "adapter"]), "{out}");
        }
        sizes.push(size(&out));
    }
    assert!(sizes.is_sorted_by(|a, b| a > b), "{sizes:?}");

    // A quantised folder is a base: trained on, fused into 16 bits, and copied as it is where nothing is added.
    scratch.configure(&json!({"model": {"path": "mlx-4-64"}, "training": {"steps": 2}, "logging": {"dir": "runs"}}));
    scratch.ft(&["train", "ft.yaml", "--out", "runs/one", "--json"]).done();
    scratch.ft(&["fuse", "--model", "mlx-4-64", "--adapter", "adapter", "--out", "fused"]).done();
    let fused = scratch.read_json("fused/config.json");
    assert_eq!((fused.get("quantization"), &fused["torch_dtype"]), (None, &json!("bfloat16")));
    let copy = ["--model", "mlx-4-64", "--bits", "4", "--out", "copy"];
    scratch.ft(&[&["export", "mlx"][..], &copy].concat()).done();
    assert!(scratch.read("copy/model.safetensors") == scratch.read("mlx-4-64/model.safetensors"));
    scratch.configure(&json!({"model": {"path": "mlx-4-64", "quantize": "nf4"}}));
    scratch
        .ft(&["train", "ft.yaml", "--out", "runs/two"])
        .refused(1, &["is stored as affine 4-bit", "set model.quantize to none"]);
}

#[test]
fn shards_of_a_folder_for_mlx_keep_codes_and_scales_together() {
    let scratch = Scratch::with_base(&wide_base());
    let tuned = Tuned::load(&scratch.path("base"), None, &LoadOptions::default()).expect("a base");
    let backend = Cpu::new(Some(1)).expect("a backend");
    let write = |name: &str, shard_bytes| {
        let dir = DirWriter::create(&scratch.path(name)).expect("a folder");
        let affine = Some(AffineOptions { bits: 4, group_len: 32 });
        let options = FolderOptions { affine, shard_bytes, format: "mlx", ..FolderOptions::default() };
        write_folder(&dir, &tuned, &backend, &options).expect("a folder");
        dir.commit().expect("a folder");
        WeightFolder::open(&scratch.path(name)).expect("weights")
    };
    let (whole, sharded) = (write("whole", u64::MAX), write("sharded", 300_000));
    assert!(sharded.files().count() > 3);
    assert_eq!(whole.names().collect::<Vec<_>>(), sharded.names().collect::<Vec<_>>());
    for (a, b) in whole.tensors().zip(sharded.tensors()) {
        assert!((&a.name, a.dtype, &a.shape, a.bytes()) == (&b.name, b.dtype, &b.shape, b.bytes()), "{}", a.name);
        let (_, range) = a.shared();
        let file_begin = range.start % 4;
        assert!(a.dtype != tensors::DType::U32 || file_begin == 0, "{} begins at {}", a.name, range.start);
    }
    // Vectors stay plain; rows that are no whole groups do, too.
    assert!(whole.find("model.norm.scales").is_none() && whole.find("model.embed_tokens.scales").is_some());
}

#[test]
fn broken_folders_of_mlx_are_refused_by_name() {
    let scratch = Scratch::with_base(&wide_base());
    scratch.ft(&["export", "mlx", "--model", "base", "--bits", "4", "--out", "good"]).done();
    type Change<'a> = (&'a str, Value, &'a [&'a str]);
    let faults: [Change; 6] = [
        ("bits", json!(8), &["has shape [", "expected ["]),
        ("group_size", json!(32), &["scales' has shape"]),
        ("bits", json!(3), &["quantization with 3 bits in groups of 64 is not supported", "4 or 8 bits"]),
        ("mode", json!("mxfp4"), &["quantization.mode mxfp4 is not supported"]),
        ("bits", json!("four"), &["quantization.bits: expected a whole number"]),
        (
            "model.layers.0.self_attn.q_proj",
            json!({"bits": 8, "group_size": 64}),
            &["layers.0.self_attn.q_proj.weight"],
        ),
    ];
    for (at, (key, value, said)) in faults.into_iter().enumerate() {
        let name = format!("bad-{at}");
        copy_folder(&scratch.path("good"), &scratch.path(&name));
        change_json(scratch.path(&name).join("config.json"), |config| config["quantization"][key] = value);
        scratch.ft(&["generate", "--model", &name, "--prompt", "x"]).refused(1, said);
    }
    // A part is missing.
    let path = scratch.path("good/model.safetensors");
    let mut bytes = fs::read(&path).expect("a file");
    let header = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
    let text = String::from_utf8(bytes[8..8 + header].to_vec()).expect("JSON");
    bytes.splice(8..8 + header, text.replace("q_proj.biases", "q_proj.biasez").into_bytes());
    fs::write(&path, bytes).expect("a file");
    scratch.ft(&["generate", "--model", "good", "--prompt", "x"]).refused(1, &["q_proj.biases' is missing"]);
}

#[test]
fn a_gguf_base_takes_a_tokenizer_of_ones_own() {
    let scratch = Scratch::with_base(&wide_base());
    scratch.ft(&["export", "gguf", "--model", "base", "--type", "f32", "--out", "base.gguf"]).done();
    // The same tokenizer in a folder gives the same ids; without its file the run stops, so it is that folder's.
    copy_folder(&scratch.path("base"), &scratch.path("other"));
    let train = |more: &[&str]| {
        let args =
            ["train", "ft.yaml", "--set", "model.path=base.gguf", "--set", "training.steps=1", "--json", "--out"];
        scratch.ft(&[&args[..], more].concat())
    };
    train(&["runs/own"]).done();
    train(&["runs/other", "--set", "model.tokenizer=other"]).done();
    let losses = |run: &str| {
        let text = String::from_utf8(scratch.read(&format!("{run}/metrics.jsonl"))).expect("text");
        let first: Value = serde_json::from_str(text.lines().next().expect("a step")).expect("JSON");
        first["loss"].clone()
    };
    assert_eq!(losses("runs/own"), losses("runs/other"), "the same ids");
    let config = String::from_utf8(scratch.read("runs/other/config.yaml")).expect("text");
    assert!(config.contains("other"), "{config}");
    fs::remove_file(scratch.path("other/tokenizer.json")).expect("a file");
    let said = train(&["runs/none", "--set", "model.tokenizer=other"]);
    assert!(said.code != Some(0) && said.stderr.contains("other"), "{}", said.stderr);
}
