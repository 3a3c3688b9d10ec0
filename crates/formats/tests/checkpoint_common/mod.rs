//! Folders of the format, made without the writers that are tested: their parts as bytes, changed at will and then
//! sealed.
#![allow(dead_code, unreachable_pub, reason = "each test file takes what it needs")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests write where they like")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use attune_formats::files::DirWriter;
use attune_formats::manifest::{FULL_WEIGHTS, Kind, MadeFrom, Manifest};
use serde_json::{Value, json};

pub const PREFIX: &str = "base_model.model.model.layers.";
pub const ADAPTER: &str = "adapter_model.safetensors";
pub const MOMENTS: &str = "state.safetensors";
pub const WEIGHTS: &str = "model.safetensors";

/// A tensor of any type.
#[derive(Debug, Clone)]
pub struct Tensor {
    pub dtype: &'static str,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

pub fn f32s(shape: &[usize], values: impl IntoIterator<Item = f32>) -> Tensor {
    let bytes: Vec<u8> = values.into_iter().flat_map(f32::to_le_bytes).collect();
    assert_eq!(bytes.len(), 4 * shape.iter().product::<usize>());
    Tensor { dtype: "F32", shape: shape.to_vec(), bytes }
}

/// `shape` full of small different values.
pub fn ramp(shape: &[usize]) -> Tensor {
    f32s(shape, (0..shape.iter().product()).map(|i| 0.25 + i as f32 / 8.0))
}

/// The bytes of a safetensors file.
pub fn safetensors(tensors: &BTreeMap<String, Tensor>) -> Vec<u8> {
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, tensor) in tensors {
        let begin = data.len();
        data.extend_from_slice(&tensor.bytes);
        let entry = json!({"dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [begin, data.len()]});
        header.insert(name.clone(), entry);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

/// A folder that is to be.
#[derive(Debug, Clone)]
pub struct Draft {
    pub kind: Kind,
    /// Whether it holds all weights of a model: then `config` and `adapter` are the model's.
    pub full: bool,
    pub config: Value,
    pub adapter: BTreeMap<String, Tensor>,
    pub moments: BTreeMap<String, Tensor>,
    pub state: Value,
    pub made_from: MadeFrom,
    /// Other files, or others in place of those above.
    pub files: BTreeMap<String, Vec<u8>>,
    pub left_out: Vec<String>,
}

impl Draft {
    /// A sound checkpoint after three steps: rank 2, two modules.
    pub fn checkpoint() -> Self {
        let (mut adapter, mut moments) = (BTreeMap::new(), BTreeMap::new());
        for (module, inputs, outputs) in [("0.self_attn.q_proj", 4, 6), ("1.mlp.down_proj", 8, 4)] {
            adapter.insert(format!("{PREFIX}{module}.lora_A.weight"), ramp(&[2, inputs]));
            adapter.insert(format!("{PREFIX}{module}.lora_B.weight"), ramp(&[outputs, 2]));
            for (moment, length) in
                [("a_m", 2 * inputs), ("a_v", 2 * inputs), ("b_m", 2 * outputs), ("b_v", 2 * outputs)]
            {
                moments.insert(format!("model.layers.{module}.{moment}"), ramp(&[length]));
            }
        }
        let config = json!({
            "peft_type": "LORA", "r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "down_proj"],
            "task_type": "CAUSAL_LM",
        });
        Self {
            kind: Kind::Checkpoint,
            full: false,
            config,
            adapter,
            moments,
            state: state(),
            made_from: MadeFrom::default(),
            files: BTreeMap::new(),
            left_out: Vec::new(),
        }
    }

    /// A sound checkpoint of all weights of the llama of [`model`].
    pub fn full_checkpoint() -> Self {
        let (config, weights) = model_parts();
        let moments = weights.iter().flat_map(|(name, tensor)| {
            let moment = ramp(&[tensor.shape.iter().product()]);
            ["m", "v"].map(|which| (format!("{name}.{which}"), moment.clone()))
        });
        let moments = moments.collect();
        Self { full: true, config, adapter: weights, moments, ..Self::checkpoint() }
    }

    pub fn adapter() -> Self {
        Self { kind: Kind::Adapter, ..Self::checkpoint() }
    }

    /// Every file but the manifest.
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let (config, tensors) = if self.full { ("config.json", WEIGHTS) } else { ("adapter_config.json", ADAPTER) };
        let mut files = BTreeMap::from([
            (config.to_string(), self.config.to_string().into_bytes()),
            (tensors.to_string(), safetensors(&self.adapter)),
        ]);
        if self.kind == Kind::Checkpoint {
            files.insert(MOMENTS.to_string(), safetensors(&self.moments));
            files.insert("state.json".to_string(), self.state.to_string().into_bytes());
        }
        files.extend(self.files.clone());
        files.retain(|name, _| !self.left_out.contains(name));
        files
    }

    /// Written and sealed as `dir`.
    pub fn write(&self, dir: &Path) -> PathBuf {
        let writer = DirWriter::create(dir).unwrap();
        for (name, bytes) in self.contents() {
            writer.write(&name, &bytes).unwrap();
        }
        let features: &[&str] = if self.full { &[FULL_WEIGHTS] } else { &[] };
        Manifest::seal_with(&writer, self.kind, self.made_from.clone(), features).unwrap();
        writer.commit().unwrap();
        dir.to_path_buf()
    }

    /// Written as version 0 did: the manifest has `version` and `files`, the state `version`.
    pub fn write_version_0(&self, dir: &Path) -> PathBuf {
        let mut draft = self.clone();
        if let Value::Object(state) = &mut draft.state {
            state.shift_remove("format_version");
            state.insert("version".into(), json!(1));
        }
        fs::create_dir_all(dir).unwrap();
        let mut files = serde_json::Map::new();
        for (name, bytes) in draft.contents() {
            let entry = json!({"bytes": bytes.len(), "blake3": blake3::hash(&bytes).to_hex().as_str()});
            files.insert(name.clone(), entry);
            fs::write(dir.join(name), bytes).unwrap();
        }
        let manifest = serde_json::to_string_pretty(&json!({"version": 1, "files": files})).unwrap();
        fs::write(dir.join("manifest.json"), manifest + "\n").unwrap();
        dir.to_path_buf()
    }
}

/// `state.json` after three steps, one of them skipped.
pub fn state() -> Value {
    json!({
        "format_version": 1, "step": 3, "epoch": 0.75, "seed": 42, "updates": 2, "skipped_steps": 1,
        "bad_in_a_row": 0, "tokens": 300, "trained_tokens": 100,
        "progress": {
            "best": {"step": 2, "validation_loss": 1.5}, "reference": 1.5, "evaluations_without_improvement": 0,
        },
        "evaluations": [[0, 2.0], [2, 1.5]], "evaluated_step": 2, "stopped_early": false, "unreported": null,
    })
}

/// A llama of one layer.
pub fn model_parts() -> (Value, BTreeMap<String, Tensor>) {
    let config = json!({
        "model_type": "llama", "hidden_size": 4, "num_attention_heads": 2, "num_key_value_heads": 1,
        "num_hidden_layers": 1, "vocab_size": 10, "intermediate_size": 6,
    });
    let shapes: [(&str, &[usize]); 12] = [
        ("model.embed_tokens.weight", &[10, 4]),
        ("model.layers.0.input_layernorm.weight", &[4]),
        ("model.layers.0.self_attn.q_proj.weight", &[4, 4]),
        ("model.layers.0.self_attn.k_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.v_proj.weight", &[2, 4]),
        ("model.layers.0.self_attn.o_proj.weight", &[4, 4]),
        ("model.layers.0.post_attention_layernorm.weight", &[4]),
        ("model.layers.0.mlp.gate_proj.weight", &[6, 4]),
        ("model.layers.0.mlp.up_proj.weight", &[6, 4]),
        ("model.layers.0.mlp.down_proj.weight", &[4, 6]),
        ("model.norm.weight", &[4]),
        ("lm_head.weight", &[10, 4]),
    ];
    (config, shapes.map(|(name, shape)| (name.to_string(), ramp(shape))).into_iter().collect())
}

/// [`model_parts`], changed, as a folder.
pub fn model(dir: &Path, change: impl FnOnce(&mut Value, &mut BTreeMap<String, Tensor>)) -> PathBuf {
    let (mut config, mut tensors) = model_parts();
    change(&mut config, &mut tensors);
    fs::create_dir_all(dir).unwrap();
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
    fs::write(dir.join("model.safetensors"), safetensors(&tensors)).unwrap();
    dir.to_path_buf()
}

/// A run of which `draft` is the checkpoint, with its three lines of metrics.
pub fn run(dir: &Path, draft: &Draft) -> PathBuf {
    fs::create_dir_all(dir.join("checkpoints")).unwrap();
    fs::write(dir.join("config.yaml"), "training: {}\n").unwrap();
    let record = json!({
        "run": "a", "identity": {"base": [{"path": "/m/config.json", "blake3": "0"}], "text": "1".repeat(64)},
    });
    fs::write(dir.join("run.json"), record.to_string()).unwrap();
    let metrics: String = (1..=3).map(|step| json!({"step": step, "loss": 1.0}).to_string() + "\n").collect();
    fs::write(dir.join("metrics.jsonl"), metrics).unwrap();
    draft.write(&dir.join("checkpoints/step-000003"));
    dir.to_path_buf()
}

/// The manifest's text with something changed, and sealed again.
pub fn reseal(dir: &Path, from: &str, to: &str) {
    let path = dir.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let (body, _) = text.split_once("  \"seal\": \"").unwrap();
    let changed = body.replace(from, to);
    assert_ne!(body, changed, "{from}");
    let seal = blake3::hash(changed.as_bytes()).to_hex();
    fs::write(path, format!("{changed}  \"seal\": \"{seal}\"\n}}\n")).unwrap();
}

pub fn change_file(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

/// Every byte of a folder, by relative name.
pub fn snapshot(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            all.extend(snapshot(&path).into_iter().map(|(inner, bytes)| (format!("{name}/{inner}"), bytes)));
        } else {
            all.insert(name, fs::read(path).unwrap());
        }
    }
    all
}
