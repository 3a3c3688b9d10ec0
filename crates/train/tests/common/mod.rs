//! A tiny random model, data for it, and runs over them.
#![allow(dead_code, unreachable_pub, clippy::disallowed_methods, clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use attune_compute::rng;
use attune_config::{BackendChoice, Config, Schedule};
use attune_formats::tensors::{self, F32Tensor, TensorView};
use attune_train::{Event, Job, Observer, Summary, TrainError, run};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const VOCABULARY: usize = 261;
pub const HIDDEN: usize = 16;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const HEAD_DIM: usize = 4;
const FEED_FORWARD: usize = 24;
const LAYERS: usize = 2;

const CHATML: &str = "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n\
                      {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A folder with a model, data and room for runs.
pub struct World {
    dir: TempDir,
}

impl World {
    /// A model of the llama family with random weights, and eight training rows whose answers differ much in length.
    pub fn new() -> Self {
        let world = Self { dir: tempfile::tempdir().unwrap() };
        world.write_model(Some(CHATML));
        let answers = [
            "a",
            "The quick brown fox jumps over the lazy dog.",
            "ok",
            "42",
            "no",
            "It is so, I believe.",
            "b",
            "yes!",
        ];
        let rows: Vec<Value> =
            answers.iter().enumerate().map(|(i, answer)| chat(&format!("Question {i}?"), answer)).collect();
        world.write_rows("train.jsonl", &rows);
        world.write_rows("validation.jsonl", &[chat("Question 9?", "Perhaps."), chat("Question 10?", "Yes.")]);
        world
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write_rows(&self, name: &str, rows: &[Value]) -> PathBuf {
        let text: String = rows.iter().map(|row| format!("{row}\n")).collect();
        std::fs::write(self.path(name), text).unwrap();
        self.path(name)
    }

    pub fn write_model(&self, chat_template: Option<&str>) {
        let dir = self.path("model");
        std::fs::create_dir_all(&dir).unwrap();
        let config = json!({
            "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
            "hidden_size": HIDDEN, "intermediate_size": FEED_FORWARD, "num_hidden_layers": LAYERS,
            "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS, "head_dim": HEAD_DIM,
            "vocab_size": VOCABULARY, "max_position_embeddings": 160, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": false, "bos_token_id": 256, "eos_token_id": 257, "torch_dtype": "float32"
        });
        std::fs::write(dir.join("config.json"), config.to_string()).unwrap();
        std::fs::write(dir.join("tokenizer.json"), tokenizer().to_string()).unwrap();
        let tokenizer_config = json!({
            "bos_token": "<|bos|>", "eos_token": "<|eos|>", "chat_template": chat_template,
            "tokenizer_class": "PreTrainedTokenizerFast"
        });
        std::fs::write(dir.join("tokenizer_config.json"), tokenizer_config.to_string()).unwrap();
        self.write_weights(|_, _| {});
    }

    /// Random weights; `change` may alter a tensor by name.
    pub fn write_weights(&self, change: impl Fn(&str, &mut Vec<f32>)) {
        let (q, kv) = (HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM);
        let mut shapes: Vec<(String, Vec<usize>)> = vec![
            ("model.embed_tokens.weight".into(), vec![VOCABULARY, HIDDEN]),
            ("lm_head.weight".into(), vec![VOCABULARY, HIDDEN]),
            ("model.norm.weight".into(), vec![HIDDEN]),
        ];
        for layer in 0..LAYERS {
            let linears = [
                ("self_attn.q_proj", q, HIDDEN),
                ("self_attn.k_proj", kv, HIDDEN),
                ("self_attn.v_proj", kv, HIDDEN),
                ("self_attn.o_proj", HIDDEN, q),
                ("mlp.gate_proj", FEED_FORWARD, HIDDEN),
                ("mlp.up_proj", FEED_FORWARD, HIDDEN),
                ("mlp.down_proj", HIDDEN, FEED_FORWARD),
            ];
            for (name, rows, cols) in linears {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![rows, cols]));
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![HIDDEN]));
            }
        }
        let mut values: BTreeMap<&str, Vec<f32>> = BTreeMap::new();
        for (number, (name, shape)) in shapes.iter().enumerate() {
            let uniform = |i: usize| 2.0 * rng::uniform_f32(rng::key(&[77, number as u64, i as u64])) - 1.0;
            let length = shape.iter().product();
            let mut data: Vec<f32> = match shape.len() {
                1 => (0..length).map(|i| 1.0 + 0.1 * uniform(i)).collect(),
                _ => (0..length).map(|i| 0.4 * uniform(i)).collect(),
            };
            change(name, &mut data);
            values.insert(name, data);
        }
        let views: Vec<TensorView> =
            shapes.iter().map(|(name, shape)| TensorView { name, shape, data: &values[name.as_str()] }).collect();
        tensors::write_tensors(&self.path("model").join("model.safetensors"), &views, &BTreeMap::new()).unwrap();
    }

    /// Six steps of batches of three over the eight rows, on one thread of the reference backend.
    pub fn config(&self) -> Config {
        let mut config = Config::default();
        config.model.path = self.path("model");
        config.adapter.rank = 3;
        config.adapter.alpha = 6.0;
        config.data.train = vec![self.path("train.jsonl")];
        config.training.steps = Some(6);
        config.training.batch_size = 3;
        config.training.learning_rate = 5e-3;
        config.training.schedule = Schedule::Linear;
        config.evaluation.every_steps = Some(2);
        config.evaluation.samples = 1;
        config.evaluation.sample_max_tokens = 4;
        config.checkpoint.every_steps = Some(2);
        config.checkpoint.every_minutes = None;
        config.hardware.backend = BackendChoice::Reference;
        config
    }

    pub fn config_with_validation(&self) -> Config {
        let mut config = self.config();
        config.data.validation = vec![self.path("validation.jsonl")];
        config
    }

    pub fn train(&self, config: Config, name: &str) -> Result<Summary, TrainError> {
        run(Job::new(config, self.path(name)), &mut Events::default(), &AtomicBool::new(false))
    }

    pub fn resume(&self, name: &str) -> Result<Summary, TrainError> {
        run(Job::resume(self.path(name))?, &mut Events::default(), &AtomicBool::new(false))
    }

    /// Trains a new run and expects that it stops. The message and the hint come as one text.
    pub fn stop(&self, config: Config) -> String {
        let run_dir = self.path("stopped");
        let error =
            run(Job::new(config, run_dir.clone()), &mut Events::default(), &AtomicBool::new(false)).unwrap_err();
        let _ = std::fs::remove_dir_all(run_dir);
        explain(&error)
    }

    pub fn adapter_bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name).join("adapter/adapter_model.safetensors")).unwrap()
    }

    pub fn adapter(&self, name: &str) -> BTreeMap<String, F32Tensor> {
        tensors::read_tensors(&self.path(name).join("adapter/adapter_model.safetensors")).unwrap()
    }

    pub fn checkpoint_names(&self, name: &str) -> Vec<String> {
        names_in(&self.path(name).join("checkpoints"))
    }

    pub fn metrics(&self, name: &str) -> Vec<Value> {
        json_lines(&self.path(name).join("metrics.jsonl"))
    }

    pub fn log(&self, name: &str) -> Vec<Value> {
        json_lines(&self.path(name).join("log.jsonl"))
    }
}

pub fn explain(error: &TrainError) -> String {
    format!("{error}\nhint: {}", error.hint().unwrap_or_default())
}

pub fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

pub fn json_lines(path: &Path) -> Vec<Value> {
    std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn chat(question: &str, answer: &str) -> Value {
    json!({"messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]})
}

/// Largest absolute difference over all tensors, which must have the same names and shapes.
pub fn largest_difference(a: &BTreeMap<String, F32Tensor>, b: &BTreeMap<String, F32Tensor>) -> f32 {
    assert_eq!(a.keys().collect::<Vec<_>>(), b.keys().collect::<Vec<_>>());
    let differences = a.iter().flat_map(|(name, a)| {
        assert_eq!(a.shape, b[name].shape, "{name}");
        a.data.iter().zip(&b[name].data).map(|(a, b)| (a - b).abs())
    });
    differences.fold(0.0, f32::max)
}

/// Keeps the events, and may set the interrupt flag at one of them.
#[derive(Default)]
pub struct Events {
    pub all: Vec<Event>,
}

impl Observer for Events {
    fn on(&mut self, event: &Event) {
        self.all.push(event.clone());
    }
}

/// Sets the interrupt flag when `when` says so.
pub struct InterruptAt<'a, F: FnMut(&Event) -> bool> {
    pub flag: &'a AtomicBool,
    pub when: F,
}

impl<F: FnMut(&Event) -> bool> Observer for InterruptAt<'_, F> {
    fn on(&mut self, event: &Event) {
        if (self.when)(event) {
            self.flag.store(true, Ordering::Relaxed);
        }
    }
}

/// Runs a job until `when` interrupts it.
pub fn run_interrupted(job: Job, when: impl FnMut(&Event) -> bool) -> Result<Summary, TrainError> {
    let flag = AtomicBool::new(false);
    run(job, &mut InterruptAt { flag: &flag, when }, &flag)
}

/// One token per byte, and five special tokens.
fn tokenizer() -> Value {
    let mut vocabulary = serde_json::Map::new();
    for byte in 0..=255u8 {
        vocabulary.insert(byte_char(byte).to_string(), json!(byte));
    }
    let special = ["<|bos|>", "<|eos|>", "<|im_start|>", "<|im_end|>", "<|pad|>"];
    let added: Vec<Value> = special
        .iter()
        .enumerate()
        .map(|(i, content)| {
            json!({"id": 256 + i, "content": content, "single_word": false, "lstrip": false, "rstrip": false,
                   "normalized": false, "special": true})
        })
        .collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<|bos|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<|bos|>": {"id": "<|bos|>", "ids": [256], "tokens": ["<|bos|>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "vocab": vocabulary, "merges": []}
    })
}

/// The character that byte-level tokenizers write for a byte.
fn byte_char(byte: u8) -> char {
    let is_printable = |byte: u8| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    if is_printable(byte) {
        return char::from(byte);
    }
    let before = (0..byte).filter(|&other| !is_printable(other)).count() as u32;
    char::from_u32(256 + before).unwrap()
}
