//! The tables of `docs/checkpoint-spec.md` are those of the code. `ATTUNE_WRITE_DOCS=1` writes the generated ones anew.
#![allow(clippy::disallowed_methods, reason = "tests write where they like")]

mod checkpoint_common;

use std::fs;
use std::path::{Path, PathBuf};

use attune_formats::checkpoint::names::{TENSORS, find_linear};
use attune_formats::gguf::names::{OF_LAYER, OUTER, to_gguf, to_hugging_face};
use attune_formats::peft::{Matrix, tensor_name};
use checkpoint_common::Draft;
use serde_json::Value;

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/checkpoint-spec.md")
}

/// Compares the block `name` of the document with what the code makes.
fn check_block(name: &str, expected: &str) {
    let text = fs::read_to_string(path()).unwrap();
    let mark = format!("<!-- generated: {name} -->\n");
    let (before, rest) = text.split_once(&mark).unwrap_or_else(|| panic!("{mark}"));
    let (found, after) = rest.split_once("<!-- end -->").unwrap();
    if std::env::var_os("ATTUNE_WRITE_DOCS").is_some() && found != expected {
        fs::write(path(), format!("{before}{mark}{expected}<!-- end -->{after}")).unwrap();
        return;
    }
    assert_eq!(found, expected, "run this test with ATTUNE_WRITE_DOCS=1 and look at the difference");
}

/// The first cells of the table below a heading, without their back-ticks.
fn keys_below(heading: &str) -> Vec<String> {
    let text = fs::read_to_string(path()).unwrap();
    let (_, rest) = text.split_once(heading).unwrap_or_else(|| panic!("{heading}"));
    let lines = rest.lines().skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    lines.filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_string())).collect()
}

/// One test writes at a time.
#[test]
fn tables_of_names() {
    let mut table = "| name | GGUF | shape | models |\n|---|---|---|---|\n".to_string();
    for row in TENSORS {
        let shape: Vec<String> = row.shape.iter().map(ToString::to_string).collect();
        table += &format!("| `{}` | `{}` | [{}] | {} |\n", row.name, row.gguf, shape.join(", "), row.presence);
    }
    check_block("tensors", &table);

    let mut table =
        "| tensor | PEFT | shape | mlx-lm | shape | GGUF-LoRA | shape |\n|---|---|---|---|---|---|---|\n".to_string();
    let rows = [
        ("A", Matrix::A, "[r, in]", "lora_a", "[in, r]", "`{gguf}.weight.lora_a`", "[r, in]"),
        ("B", Matrix::B, "[out, r]", "lora_b", "[r, out]", "`{gguf}.weight.lora_b`", "[out, r]"),
        ("m", Matrix::Magnitude, "[out]", "m", "[out]", "none", ""),
    ];
    for (shown, matrix, shape, mlx, mlx_shape, gguf, gguf_shape) in rows {
        let peft = tensor_name("{module}", matrix);
        let mlx = format!("{{module}}.{mlx}");
        table += &format!("| {shown} | `{peft}` | {shape} | `{mlx}` | {mlx_shape} | {gguf} | {gguf_shape} |\n");
    }
    check_block("adapters", &table);
}

#[test]
fn names_of_gguf_are_those_of_its_writer() {
    for row in TENSORS {
        let (name, gguf) = (row.name.replace("{n}", "7"), row.gguf.replace("{n}", "7"));
        assert_eq!(to_gguf(&name), Some(gguf.clone()), "{name}");
        assert_eq!(to_hugging_face(&gguf), Some(name));
    }
    // And the reverse: whatever the writer of GGUF knows is in the table.
    for (name, _) in OUTER {
        assert!(TENSORS.iter().any(|row| row.name == name), "{name}");
    }
    for (module, _) in OF_LAYER {
        let name = format!("model.layers.{{n}}.{module}.weight");
        assert!(TENSORS.iter().any(|row| row.name == name), "{name}");
    }
}

/// What mlx-lm's writer makes of a module has the names and shapes of the table.
#[test]
fn names_of_mlx_are_those_of_its_writer() {
    use attune_formats::files::DirWriter;
    use attune_formats::mlx::{self, FineTuneType, MlxConfig, ModuleView};

    let scratch = tempfile::tempdir().unwrap();
    let writer = DirWriter::create(&scratch.path().join("adapter")).unwrap();
    let module = "model.layers.0.mlp.up_proj";
    assert!(find_linear(module).is_some());
    let view = ModuleView { name: module, a: &[1.0; 6], b: &[2.0; 10], magnitude: Some(&[3.0; 5]) };
    let config = MlxConfig {
        model: None,
        fine_tune_type: FineTuneType::Dora,
        num_layers: -1,
        rank: 2,
        scale: 1.0,
        dropout: 0.0,
        keys: None,
    };
    mlx::write_into(&writer, &config, &[view]).unwrap();
    let tensors = attune_formats::tensors::read_tensors(&writer.path().join(mlx::TENSOR_FILE)).unwrap();
    let found: Vec<(&str, &[usize])> =
        tensors.iter().map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice())).collect();
    let name = |leaf: &str| format!("{module}.{leaf}");
    let (a, b, m) = (name("lora_a"), name("lora_b"), name("m"));
    assert_eq!(found, [(a.as_str(), &[3, 2][..]), (b.as_str(), &[2, 5][..]), (m.as_str(), &[5][..])]);
}

#[test]
fn keys_of_manifest_and_state_are_those_that_are_written() {
    let scratch = tempfile::tempdir().unwrap();
    let dir = Draft::checkpoint().write(&scratch.path().join("step-000003"));
    let keys = |name: &str| -> Vec<String> {
        let value: Value = serde_json::from_slice(&fs::read(dir.join(name)).unwrap()).unwrap();
        value.as_object().unwrap().keys().cloned().collect()
    };
    assert_eq!(keys_below("## 4. `manifest.json`"), keys("manifest.json"));
    assert_eq!(keys_below("## 5. `state.json`"), keys("state.json"));
    assert_eq!(keys_below("**`made_from`**"), ["base", "tokenizer", "chat_template", "text"]);
}
