//! One folder per rule of `docs/checkpoint-spec.md` that breaks this rule and no other. The tests are called after the
//! rules' numbers.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests damage files on purpose")]

mod checkpoint_common;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use attune_formats::checkpoint::{CHECKPOINT_FILES, FULL_CHECKPOINT_FILES, Report, Rule, WEIGHT_MOMENTS, verify};
use attune_formats::manifest::KNOWN_FEATURES;
use checkpoint_common::{
    ADAPTER, Draft, MOMENTS, PREFIX, Tensor, WEIGHTS, change_file, f32s, model, ramp, reseal, run, safetensors,
};
use serde_json::json;

const Q: &str = "0.self_attn.q_proj";

/// The rules that were broken, parts included.
fn broken(report: &Report) -> BTreeSet<u8> {
    let own = report.findings.iter().map(|finding| finding.rule.number());
    own.chain(report.parts.iter().flat_map(broken)).collect()
}

/// Every one of these folders breaks one rule.
type Broken = fn(&Path) -> Vec<PathBuf>;

fn check(number: u8, make: Broken) {
    let scratch = tempfile::tempdir().unwrap();
    let folders = make(scratch.path());
    assert!(!folders.is_empty());
    for folder in folders {
        let report = verify(&folder).unwrap();
        let expected = BTreeSet::from([number]);
        assert_eq!(broken(&report), expected, "{}: {:#?}", folder.display(), report.findings);
        assert!(!report.is_sound());
        let (_, finding) = report.first_finding().unwrap();
        assert!(finding.to_string().starts_with(&format!("R{number}")), "{finding}");
        assert!(!finding.message.is_empty());
    }
}

macro_rules! negative {
    ($($name:ident = $number:literal: $make:expr,)+) => {
        const NEGATIVE: &[u8] = &[$($number,)+];
        $(
            #[test]
            fn $name() {
                check($number, $make);
            }
        )+
    };
}

/// Checkpoints, each with one change before it is sealed.
fn changed<const N: usize>(scratch: &Path, changes: [fn(&mut Draft); N]) -> Vec<PathBuf> {
    let write = |(i, change): (usize, fn(&mut Draft))| {
        let mut draft = Draft::checkpoint();
        change(&mut draft);
        fs::create_dir_all(scratch.join(i.to_string())).unwrap();
        draft.write(&scratch.join(i.to_string()).join("step-000003"))
    };
    changes.into_iter().enumerate().map(write).collect()
}

/// Checkpoints, each damaged in one way after it was sealed.
fn damaged<const N: usize>(scratch: &Path, damages: [fn(&Path); N]) -> Vec<PathBuf> {
    let sound: [fn(&mut Draft); N] = [|_| {}; N];
    let folders = changed(scratch, sound);
    for (folder, damage) in folders.iter().zip(damages) {
        damage(folder);
    }
    folders
}

fn adapter_tensor(draft: &mut Draft, module: &str, matrix: &str, tensor: Tensor) {
    draft.adapter.insert(format!("{PREFIX}{module}.lora_{matrix}.weight"), tensor);
}

/// DoRA on the one module [`Q`].
fn dora(draft: &mut Draft, magnitude: Tensor) {
    draft.config["use_dora"] = json!(true);
    draft.adapter.retain(|name, _| name.contains(Q));
    draft.moments.retain(|name, _| name.contains(Q));
    for moment in ["magnitude_m", "magnitude_v"] {
        draft.moments.insert(format!("model.layers.{Q}.{moment}"), magnitude.clone());
    }
    draft.adapter.insert(format!("{PREFIX}{Q}.lora_magnitude_vector"), magnitude);
}

negative! {
    r1 = 1: |scratch| {
        fs::create_dir(scratch.join("empty")).unwrap();
        let mut adapter = Draft::adapter();
        adapter.files.insert("state.json".into(), b"{}".to_vec());
        let in_run = run(&scratch.join("run"), &Draft::checkpoint());
        fs::remove_dir_all(in_run.join("checkpoints/step-000003")).unwrap();
        adapter.write(&in_run.join("checkpoints/step-000003"));
        vec![scratch.join("empty"), in_run]
    },
    r2 = 2: |scratch| damaged(scratch, [|dir| fs::remove_file(dir.join("manifest.json")).unwrap()]),
    r3 = 3: |scratch| damaged(scratch, [
        |dir| fs::write(dir.join("manifest.json"), "{").unwrap(),
        |dir| fs::write(dir.join("manifest.json"), " ".repeat((1 << 20) + 1)).unwrap(),
        |dir| reseal(dir, "\"writer\":", "\"format\": \"attune\", \"writer\":"),
        |dir| reseal(dir, "\"format\": \"attune\"", "\"format\": \"other\""),
        |dir| reseal(dir, "\"kind\": \"checkpoint\"", "\"kind\": 1"),
        |dir| reseal(dir, "\"bytes\"", "\"more\": 1, \"bytes\""),
        |dir| reseal(dir, "\"made_from\": {}", "\"made_from\": {\"base\": \"x\"}"),
    ]),
    r4 = 4: |scratch| damaged(scratch, [
        |dir| reseal(dir, "\"format_version\": 1", "\"format_version\": 2"),
        |dir| fs::write(dir.join("manifest.json"), "{\"format_version\": 99, \"all\": \"else\"}").unwrap(),
        |dir| fs::write(dir.join("manifest.json"), "{\"version\": 2, \"files\": {}}").unwrap(),
    ]),
    r5 = 5: |scratch| damaged(scratch, [|dir| reseal(dir, "[]", "[\"quantised moments\"]")]),
    r6 = 6: |scratch| {
        let mut folders = damaged(scratch, [
            |dir| change_file(&dir.join("manifest.json"), |bytes| bytes.push(b'\n')),
            |dir| change_file(&dir.join("manifest.json"), |bytes| {
                let at = bytes.len() - 10;
                bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            }),
        ]);
        let old = Draft::checkpoint().write_version_0(&scratch.join("old/step-000003"));
        change_file(&old.join("manifest.json"), |bytes| bytes.insert(1, b'\t'));
        folders.push(old);
        folders
    },
    r7 = 7: |scratch| {
        let mut folders = damaged(scratch, [
            |dir| reseal(dir, "\"state.json\"", "\"../state.json\""),
            |dir| reseal(dir, "\"state.json\"", "\"/etc/passwd\""),
            |dir| reseal(dir, "\"state.json\"", "\"C:state.json\""),
            |dir| reseal(dir, "\"state.json\"", "\"manifest.json\""),
        ]);
        let sharded = model(&scratch.join("model"), |_, _| {});
        fs::remove_file(sharded.join("model.safetensors")).unwrap();
        let index = json!({"weight_map": {"model.norm.weight": "../model.safetensors"}});
        fs::write(sharded.join("model.safetensors.index.json"), index.to_string()).unwrap();
        folders.push(sharded);
        folders
    },
    r8 = 8: |scratch| {
        let mut cut = Draft::checkpoint();
        cut.files.insert("more.bin".into(), b"more".to_vec());
        let cut = cut.write(&scratch.join("step-000003"));
        change_file(&cut.join("more.bin"), |bytes| bytes.truncate(3));
        let mut folders = damaged(scratch, [
            |dir| fs::remove_file(dir.join("state.json")).unwrap(),
            |dir| {
                fs::remove_file(dir.join("state.json")).unwrap();
                fs::create_dir(dir.join("state.json")).unwrap();
            },
        ]);
        folders.push(cut);
        folders
    },
    r9 = 9: |scratch| damaged(scratch, [|dir| change_file(&dir.join(ADAPTER), |bytes| {
        let at = bytes.len() - 4;
        bytes[at] ^= 1;
    })]),
    r10 = 10: |scratch| damaged(scratch, [
        |dir| fs::write(dir.join("more.bin"), "").unwrap(),
        |dir| fs::create_dir(dir.join("sub")).unwrap(),
    ]),
    r11 = 11: |scratch| {
        let mut folders = changed(scratch, [
            |draft| draft.left_out.push("state.json".into()),
            |draft| draft.left_out.push(MOMENTS.into()),
            |draft| draft.left_out.push(ADAPTER.into()),
            |draft| draft.left_out.push("adapter_config.json".into()),
        ]);
        folders.push(model(&scratch.join("model"), |_, tensors| drop(tensors.remove("model.norm.weight"))));
        folders
    },
    r12 = 12: |scratch| changed(scratch, [
        |draft| {
            let mut bytes = safetensors(&draft.adapter);
            bytes.truncate(bytes.len() - 1);
            draft.files.insert(ADAPTER.into(), bytes);
        },
        |draft| drop(draft.files.insert(ADAPTER.into(), u64::MAX.to_le_bytes().to_vec())),
        |draft| {
            let header = r#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#;
            let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &[0; 6]].concat();
            draft.files.insert(MOMENTS.into(), bytes);
        },
    ]),
    r13 = 13: |scratch| changed(scratch, [
        |draft| draft.config["r"] = json!(0),
        |draft| draft.config["peft_type"] = json!("IA3"),
        |draft| drop(draft.files.insert("adapter_config.json".into(), b"[]".to_vec())),
        |draft| {
            let doubled = draft.config.to_string().replacen('{', "{\"r\": 2,", 1);
            draft.files.insert("adapter_config.json".into(), doubled.into_bytes());
        },
    ]),
    r14 = 14: |scratch| changed(scratch, [
        |draft| draft.config["bias"] = json!("all"),
        |draft| draft.config["modules_to_save"] = json!(["lm_head"]),
    ]),
    r15 = 15: |scratch| {
        let mut folders = changed(scratch, [
            |draft| adapter_tensor(draft, "0.self_attn.qkv_proj", "A", ramp(&[2, 4])),
            |draft| adapter_tensor(draft, "00.self_attn.q_proj", "A", ramp(&[2, 4])),
            |draft| drop(draft.adapter.insert("base_model.model.lm_head.weight".into(), ramp(&[2, 4]))),
            |draft| draft.config["target_modules"] = json!(["q_proj"]),
            |draft| {
                dora(draft, ramp(&[6]));
                draft.adapter.insert(format!("{PREFIX}{Q}.lora_magnitude_vector.weight"), ramp(&[6]));
            },
        ]);
        folders.push(model(&scratch.join("bias"), |_, tensors| {
            tensors.insert("model.layers.0.self_attn.q_proj.bias".into(), ramp(&[4]));
        }));
        folders.push(model(&scratch.join("layer"), |_, tensors| {
            tensors.insert("model.layers.1.mlp.up_proj.weight".into(), ramp(&[6, 4]));
        }));
        folders
    },
    r16 = 16: |scratch| {
        let mut folders = changed(scratch, [
            |draft| drop(draft.adapter.remove(&format!("{PREFIX}{Q}.lora_B.weight"))),
            |draft| adapter_tensor(draft, Q, "A", ramp(&[3, 4])),
            |draft| adapter_tensor(draft, Q, "A", ramp(&[4, 2])),
            |draft| draft.config["rank_pattern"] = json!({"q_proj": 1}),
            |draft| draft.adapter.clear(),
            |draft| draft.config["use_dora"] = json!(true),
            |draft| dora(draft, ramp(&[5])),
        ]);
        folders.push(model(&scratch.join("model"), |_, tensors| {
            tensors.insert("model.layers.0.mlp.up_proj.weight".into(), ramp(&[4, 6]));
        }));
        folders
    },
    r17 = 17: |scratch| {
        let mut folders = changed(scratch, [
            |draft| adapter_tensor(draft, Q, "A", Tensor { dtype: "BF16", shape: vec![2, 4], bytes: vec![0; 16] }),
            |draft| {
                let narrowed = Tensor { dtype: "F16", shape: vec![8], bytes: vec![0; 16] };
                draft.moments.insert(format!("model.layers.{Q}.a_m"), narrowed);
            },
        ]);
        folders.push(model(&scratch.join("model"), |_, tensors| {
            let tensor = Tensor { dtype: "I8", shape: vec![6, 4], bytes: vec![0; 24] };
            tensors.insert("model.layers.0.mlp.up_proj.weight".into(), tensor);
        }));
        folders
    },
    r18 = 18: |scratch| {
        let mut folders = changed(scratch, [
            |draft| adapter_tensor(draft, Q, "A", f32s(&[2, 4], [f32::NAN; 8])),
            |draft| adapter_tensor(draft, Q, "A", f32s(&[2, 4], [f32::NEG_INFINITY; 8])),
            |draft| drop(draft.moments.insert(format!("model.layers.{Q}.a_m"), f32s(&[8], [f32::NAN; 8]))),
            |draft| drop(draft.moments.insert(format!("model.layers.{Q}.b_v"), f32s(&[12], [-1.0; 12]))),
        ]);
        for (name, dtype, bytes) in [("bf16", "BF16", [0x80, 0x7F]), ("f16", "F16", [0x00, 0x7C])] {
            folders.push(model(&scratch.join(name), |_, tensors| {
                let tensor = Tensor { dtype, shape: vec![4], bytes: bytes.repeat(4) };
                tensors.insert("model.norm.weight".into(), tensor);
            }));
        }
        folders
    },
    r19 = 19: |scratch| changed(scratch, [
        |draft| draft.state["format_version"] = json!(2),
        |draft| drop(draft.state.as_object_mut().unwrap().remove("format_version")),
        |draft| drop(draft.state.as_object_mut().unwrap().remove("updates")),
        |draft| draft.state["tokens"] = json!(-1),
        |draft| draft.state["unreported"] = json!({"step": 3}),
        |draft| drop(draft.files.insert("state.json".into(), b"[1]".to_vec())),
        |draft| {
            let doubled = draft.state.to_string().replacen('{', "{\"step\": 3,", 1);
            draft.files.insert("state.json".into(), doubled.into_bytes());
        },
    ]),
    r20 = 20: |scratch| {
        let mut folders = changed(scratch, [
            |draft| draft.state["updates"] = json!(3),
            |draft| draft.state["updates"] = json!(u64::MAX),
            |draft| draft.state["bad_in_a_row"] = json!(2),
            |draft| draft.state["trained_tokens"] = json!(301),
            |draft| draft.state["epoch"] = json!(-1.0),
            |draft| draft.state["evaluations"] = json!([[2, 1.5], [0, 2.0]]),
            |draft| draft.state["evaluated_step"] = json!(4),
            |draft| draft.state["progress"]["best"]["step"] = json!(1),
        ]);
        folders.push(Draft::checkpoint().write(&scratch.join("step-000004")));
        folders
    },
    r21 = 21: |scratch| changed(scratch, [
        |draft| drop(draft.moments.remove(&format!("model.layers.{Q}.a_m"))),
        |draft| drop(draft.moments.insert(format!("model.layers.{Q}.a_m"), ramp(&[7]))),
        |draft| drop(draft.moments.insert(format!("model.layers.{Q}.a_m"), ramp(&[2, 4]))),
        |draft| drop(draft.moments.insert(format!("model.layers.{Q}.c_m"), ramp(&[8]))),
        |draft| {
            dora(draft, ramp(&[6]));
            draft.moments.remove(&format!("model.layers.{Q}.magnitude_v"));
        },
    ]),
    r22 = 22: |scratch| {
        let other = |change: fn(&mut Draft), name: &str| {
            let mut draft = Draft::checkpoint();
            change(&mut draft);
            run(&scratch.join(name), &draft)
        };
        let text = other(|draft| draft.made_from.text = Some("2".repeat(64)), "text");
        let base = other(|draft| draft.made_from.base = Some("2".repeat(64)), "base");
        let inner = base.join("checkpoints/step-000003");
        vec![text, base, inner]
    },
    r23 = 23: |scratch| {
        let damaged = |name: &str, damage: fn(&Path)| {
            let dir = run(&scratch.join(name), &Draft::checkpoint());
            damage(&dir);
            dir
        };
        vec![
            damaged("lost", |dir| fs::remove_file(dir.join("run.json")).unwrap()),
            damaged("broken", |dir| fs::write(dir.join("run.json"), "{}").unwrap()),
            damaged("short", |dir| fs::write(dir.join("metrics.jsonl"), "{\"step\": 1}\n").unwrap()),
            damaged("without", |dir| fs::remove_file(dir.join("metrics.jsonl")).unwrap()),
        ]
    },
    r24 = 24: |scratch| {
        vec![
            model(&scratch.join("family"), |config, _| config["model_type"] = json!("gpt2")),
            model(&scratch.join("size"), |config, _| config["hidden_size"] = json!(0)),
            model(&scratch.join("heads"), |config, _| config["num_key_value_heads"] = json!(3)),
            model(&scratch.join("flag"), |config, _| config["attention_bias"] = json!("no")),
            model(&scratch.join("layers"), |config, _| config["num_hidden_layers"] = json!(1u64 << 40)),
        ]
    },
}

/// A checkpoint of all weights is held to the rules, each by a change that breaks one of them.
#[test]
fn a_checkpoint_of_all_weights_breaks_the_same_rules() {
    const UP: &str = "model.layers.0.mlp.up_proj.weight";
    let narrow = |dtype: &'static str, shape: &[usize]| {
        let bytes = vec![0; 2 * shape.iter().product::<usize>()];
        Tensor { dtype, shape: shape.to_vec(), bytes }
    };
    type Change<'a> = Box<dyn Fn(&mut Draft) + 'a>;
    let weight = |draft: &mut Draft, tensor: Tensor| drop(draft.adapter.insert(UP.into(), tensor));
    let moment = |draft: &mut Draft, which: &str, tensor: Tensor| {
        drop(draft.moments.insert(format!("{UP}.{which}"), tensor));
    };
    let changes: Vec<(u8, Change<'_>)> = vec![
        (11, Box::new(|draft| draft.left_out.push("config.json".into()))),
        (11, Box::new(|draft| draft.left_out.push(WEIGHTS.into()))),
        (11, Box::new(|draft| draft.left_out.push(MOMENTS.into()))),
        (11, Box::new(|draft| draft.left_out.push("state.json".into()))),
        (11, Box::new(|draft| drop(draft.adapter.remove(UP)))),
        (12, Box::new(|draft| drop(draft.files.insert(WEIGHTS.into(), u64::MAX.to_le_bytes().to_vec())))),
        (12, Box::new(|draft| drop(draft.files.insert(MOMENTS.into(), vec![0; 7])))),
        (15, Box::new(|draft| drop(draft.adapter.insert("model.layers.1.mlp.up_proj.weight".into(), ramp(&[6, 4]))))),
        (15, Box::new(|draft| drop(draft.adapter.insert("model.layers.0.mlp.up_proj.bias".into(), ramp(&[6]))))),
        (16, Box::new(|draft| weight(draft, ramp(&[4, 6])))),
        (17, Box::new(|draft| weight(draft, narrow("F16", &[6, 4])))),
        (17, Box::new(|draft| weight(draft, narrow("BF16", &[6, 4])))),
        (17, Box::new(|draft| moment(draft, "m", narrow("BF16", &[24])))),
        (18, Box::new(|draft| weight(draft, f32s(&[6, 4], [f32::NAN; 24])))),
        (18, Box::new(|draft| weight(draft, f32s(&[6, 4], [f32::INFINITY; 24])))),
        (18, Box::new(|draft| moment(draft, "m", f32s(&[24], [f32::NAN; 24])))),
        (18, Box::new(|draft| moment(draft, "v", f32s(&[24], [-1.0; 24])))),
        (20, Box::new(|draft| draft.state["updates"] = json!(3))),
        (21, Box::new(|draft| drop(draft.moments.remove(&format!("{UP}.m"))))),
        (21, Box::new(|draft| drop(draft.moments.remove(&format!("{UP}.v"))))),
        (21, Box::new(|draft| moment(draft, "m", ramp(&[23])))),
        (21, Box::new(|draft| moment(draft, "m", ramp(&[6, 4])))),
        (21, Box::new(|draft| moment(draft, "a_m", ramp(&[24])))),
        (21, Box::new(|draft| drop(draft.moments.insert("lm_head.bias.m".into(), ramp(&[10]))))),
        (24, Box::new(|draft| draft.config["model_type"] = json!("gpt2"))),
        (24, Box::new(|draft| draft.config["num_hidden_layers"] = json!(1u64 << 40))),
    ];
    let scratch = tempfile::tempdir().unwrap();
    for (i, (number, change)) in changes.into_iter().enumerate() {
        let mut draft = Draft::full_checkpoint();
        change(&mut draft);
        fs::create_dir(scratch.path().join(i.to_string())).unwrap();
        let dir = draft.write(&scratch.path().join(i.to_string()).join("step-000003"));
        let report = verify(&dir).unwrap();
        assert_eq!(broken(&report), BTreeSet::from([number]), "change {i}: {:#?}", report.findings);
    }
}

/// What tells the two forms apart is the feature: a program that does not know it refuses, and neither form passes for the
/// other.
#[test]
fn the_feature_says_which_form_a_checkpoint_has() {
    let scratch = tempfile::tempdir().unwrap();
    let full = Draft::full_checkpoint().write(&scratch.path().join("a"));
    reseal(&full, "\"full_weights\"", "\"full_weights\", \"another\"");
    assert_eq!(broken(&verify(&full).unwrap()), BTreeSet::from([5]));
    let full = Draft::full_checkpoint().write(&scratch.path().join("b"));
    let text = fs::read_to_string(full.join("manifest.json")).unwrap();
    let listed = text.split_once("\"required_features\": [").unwrap().1.split_once(']').unwrap().0.to_string();
    reseal(&full, &format!("[{listed}]"), "[]");
    assert!(broken(&verify(&full).unwrap()).contains(&11));
    let adapter = Draft::checkpoint().write(&scratch.path().join("c"));
    reseal(&adapter, "\"required_features\": []", "\"required_features\": [\"full_weights\"]");
    assert!(broken(&verify(&adapter).unwrap()).contains(&11));
}

#[test]
fn what_breaks_no_rule_is_sound() {
    let scratch = tempfile::tempdir().unwrap();
    let mut with_more = Draft::checkpoint();
    with_more.state["more"] = json!({"of": "a later writer"});
    let mut with_dora = Draft::checkpoint();
    dora(&mut with_dora, ramp(&[6]));
    for folder in [
        Draft::checkpoint().write(&scratch.path().join("step-000003")),
        with_more.write(&scratch.path().join("any-name")),
        Draft::checkpoint().write_version_0(&scratch.path().join("old/step-000003")),
        Draft::adapter().write(&scratch.path().join("adapter")),
        with_dora.write(&scratch.path().join("dora")),
        Draft::full_checkpoint().write(&scratch.path().join("full-step")),
        run(&scratch.path().join("full-run"), &Draft::full_checkpoint()),
        model(&scratch.path().join("model"), |_, _| {}),
        model(&scratch.path().join("tied"), |config, tensors| {
            config["tie_word_embeddings"] = json!(true);
            tensors.remove("model.embed_tokens.weight");
        }),
        model(&scratch.path().join("qwen2"), |config, tensors| {
            config["model_type"] = json!("qwen2");
            for (name, size) in [("q", 4), ("k", 2), ("v", 2)] {
                tensors.insert(format!("model.layers.0.self_attn.{name}_proj.bias"), ramp(&[size]));
            }
        }),
        run(&scratch.path().join("run"), &Draft::checkpoint()),
    ] {
        let report = verify(&folder).unwrap();
        assert!(report.is_sound(), "{}: {:#?}", folder.display(), report);
        assert_eq!(report.count(), 0);
    }
    verify(&scratch.path().join("nowhere")).unwrap_err();
    let file = scratch.path().join("file");
    fs::write(&file, "x").unwrap();
    verify(&file).unwrap_err();
}

#[test]
fn adapters_of_other_tools_need_no_manifest_and_may_be_narrow() {
    let scratch = tempfile::tempdir().unwrap();
    let mut draft = Draft::adapter();
    adapter_tensor(&mut draft, Q, "A", Tensor { dtype: "BF16", shape: vec![2, 4], bytes: vec![0; 16] });
    let dir = draft.write(&scratch.path().join("adapter"));
    fs::write(dir.join("README.md"), "a card").unwrap();
    assert!(verify(&dir).unwrap().is_sound());
    fs::remove_file(dir.join("manifest.json")).unwrap();
    let report = verify(&dir).unwrap();
    assert!(report.is_sound() && report.format_version.is_none() && !report.notes.is_empty(), "{report:?}");
}

/// Each rule of the document has its tests here, each test its rule, and the document says what the code says.
#[test]
fn the_document_has_the_same_rules() {
    let numbers: Vec<u8> = Rule::ALL.iter().map(|rule| rule.number()).collect();
    assert_eq!(numbers, (1..=Rule::ALL.len() as u8).collect::<Vec<_>>());
    assert_eq!(numbers, NEGATIVE);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checkpoint-spec.md");
    let text = fs::read_to_string(path).unwrap();
    let documented: Vec<&str> = text.lines().filter(|line| line.starts_with("| R")).collect();
    let expected: Vec<String> = Rule::ALL.iter().map(|rule| format!("| {rule} | {} |", rule.text())).collect();
    assert_eq!(documented, expected, "the rules are:\n{}", expected.join("\n"));
}

/// The files of each form, the features and the names of moments stand in the document as they are in the code.
#[test]
fn the_document_has_both_forms_of_a_checkpoint() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checkpoint-spec.md");
    let text = fs::read_to_string(path).unwrap();
    let files = |names: &[&str]| names.iter().map(|name| format!("`{name}`, ")).collect::<String>();
    for (kind, names) in [("checkpoint", CHECKPOINT_FILES), ("checkpoint of all weights", FULL_CHECKPOINT_FILES)] {
        let row = format!("| {kind} | {}`manifest.json` | nothing else |", files(&sorted_as_documented(names)));
        assert!(text.contains(&row), "{row}");
    }
    let features: Vec<&str> = text.lines().filter(|line| line.starts_with("| `full_")).collect();
    assert_eq!(features.len(), KNOWN_FEATURES.len());
    assert!(features[0].starts_with(&format!("| `{}` |", KNOWN_FEATURES[0])), "{features:?}");
    for moment in WEIGHT_MOMENTS {
        assert!(text.contains(&format!("`T.{moment}`")), "{moment}");
    }
}

/// What is trained, its moments, the cursor.
fn sorted_as_documented(mut names: [&'static str; 4]) -> [&'static str; 4] {
    names.sort_by_key(|name| (name.starts_with("state"), name.ends_with("json") == name.starts_with("state")));
    names
}
