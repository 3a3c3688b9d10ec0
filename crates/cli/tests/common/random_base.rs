//! A small base model of the Llama architecture with random weights, made on the spot: a folder in Hugging Face layout with
//! `config.json`, `generation_config.json`, `model.safetensors`, `tokenizer.json` and `tokenizer_config.json`.
//!
//! It knows nothing, and takes every size: what tests want that go beyond the tiny base of `models/tiny`. The same arguments
//! give the same bytes on every machine.

use std::collections::BTreeMap;
use std::path::Path;

use attune_compute::rng;
use attune_formats::files::DirWriter;
use attune_formats::tensors::{self, TensorView};
use serde_json::{Value, json};

/// Ends a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";
/// Opens a turn.
pub const START_OF_TURN: &str = "<|im_start|>";
/// Ends a turn.
pub const END_OF_TURN: &str = "<|im_end|>";
const SPECIAL_TOKENS: [&str; 3] = [END_OF_TEXT, START_OF_TURN, END_OF_TURN];

const CHAT_TEMPLATE: &str = "\
{%- for message in messages -%}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
";

/// Sizes and seed of a random base model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomBase {
    /// Channels; a multiple of `heads`, and each head's share is even.
    pub hidden: usize,
    /// Decoder layers.
    pub layers: usize,
    /// Query heads; a multiple of `kv_heads`.
    pub heads: usize,
    /// Key/value heads.
    pub kv_heads: usize,
    /// Channels of the feed-forward block.
    pub feed_forward: usize,
    /// Tokens that the tokenizer has at most; at least 259.
    pub vocabulary: usize,
    /// Longest sequence.
    pub max_positions: usize,
    /// Decides every weight.
    pub seed: u64,
}

impl Default for RandomBase {
    fn default() -> Self {
        Self {
            hidden: 256,
            layers: 6,
            heads: 8,
            kv_heads: 4,
            feed_forward: 704,
            vocabulary: 512,
            max_positions: 512,
            seed: 20_240_229,
        }
    }
}

impl RandomBase {
    /// Writes the model into the folder `dir`, which must not exist. The tokenizer's merges are those of `text`.
    ///
    /// # Errors
    /// When the folder exists, or a file cannot be written.
    pub fn write(&self, dir: &Path, text: &str) -> anyhow::Result<()> {
        let tokenizer = Bpe::train(text, self.vocabulary - SPECIAL_TOKENS.len());
        let vocabulary = tokenizer.tokens.len() + SPECIAL_TOKENS.len();
        let writer = DirWriter::create(dir)?;
        for (name, content) in [
            ("config.json", self.config(vocabulary)),
            ("generation_config.json", json!({ "eos_token_id": vocabulary - 1, "do_sample": false })),
            ("tokenizer.json", tokenizer.json()),
            ("tokenizer_config.json", tokenizer_config()),
        ] {
            writer.write(name, format!("{content:#}\n").as_bytes())?;
        }
        let weights = self.weights(vocabulary);
        let views: Vec<TensorView<'_>> =
            weights.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
        let metadata = BTreeMap::from([("format".to_string(), "pt".to_string())]);
        tensors::write_tensors_into(&writer, "model.safetensors", &views, &metadata)?;
        Ok(writer.commit()?)
    }

    fn head_dim(&self) -> usize {
        self.hidden / self.heads
    }

    fn config(&self, vocabulary: usize) -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"],
            "model_type": "llama",
            "hidden_size": self.hidden,
            "intermediate_size": self.feed_forward,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim(),
            "hidden_act": "silu",
            "max_position_embeddings": self.max_positions,
            "vocab_size": vocabulary,
            "rms_norm_eps": 1e-5,
            "rope_theta": 10000.0,
            "tie_word_embeddings": false,
            "attention_bias": false,
            "mlp_bias": false,
            "torch_dtype": "float32",
            "eos_token_id": vocabulary - SPECIAL_TOKENS.len(),
        })
    }

    /// Name, shape and values of every tensor.
    fn weights(&self, vocabulary: usize) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        let (hidden, feed_forward) = (self.hidden, self.feed_forward);
        let (query, key_value) = (self.heads * self.head_dim(), self.kv_heads * self.head_dim());
        let mut shapes = vec![
            ("model.embed_tokens.weight".to_string(), vec![vocabulary, hidden]),
            ("model.norm.weight".to_string(), vec![hidden]),
            ("lm_head.weight".to_string(), vec![vocabulary, hidden]),
        ];
        for layer in 0..self.layers {
            let linears = [
                ("self_attn.q_proj", query, hidden),
                ("self_attn.k_proj", key_value, hidden),
                ("self_attn.v_proj", key_value, hidden),
                ("self_attn.o_proj", hidden, query),
                ("mlp.gate_proj", feed_forward, hidden),
                ("mlp.up_proj", feed_forward, hidden),
                ("mlp.down_proj", hidden, feed_forward),
            ];
            for (name, outputs, inputs) in linears {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![outputs, inputs]));
            }
            for name in ["input_layernorm", "post_attention_layernorm"] {
                shapes.push((format!("model.layers.{layer}.{name}.weight"), vec![hidden]));
            }
        }
        let fill = |(index, (name, shape)): (usize, (String, Vec<usize>))| {
            let count: usize = shape.iter().product();
            let data = match shape[..] {
                [_, inputs] => {
                    let key = rng::key(&[self.seed, index as u64]);
                    // Variance 1 / inputs keeps the size of activations from layer to layer; embeddings have size 1.
                    let spread = if name == "model.embed_tokens.weight" { 1.0 } else { 1.0 / (inputs as f32).sqrt() };
                    (0..count).map(|at| spread * bell(rng::combine(key, at as u64))).collect()
                }
                // Gains of the norms.
                _ => vec![1.0; count],
            };
            (name, shape, data)
        };
        shapes.into_iter().enumerate().map(fill).collect()
    }
}

/// A number of mean 0 and variance 1: the sum of four uniform ones. Additions alone, so that every machine agrees.
pub fn bell(key: u64) -> f32 {
    const SQRT_3: f32 = 1.732_050_8;
    let sum: f32 = (0..4).map(|part| rng::uniform_f32(rng::combine(key, part))).sum();
    (sum - 2.0) * SQRT_3
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": false,
        "chat_template": CHAT_TEMPLATE,
    })
}

/// A byte-level BPE vocabulary.
pub struct Bpe {
    /// By id: first the 256 bytes, then what merges make.
    pub tokens: Vec<String>,
    merges: Vec<(String, String)>,
}

impl Bpe {
    /// Joins the most frequent pair of neighbours until there are `size` tokens or no pair occurs twice. Among equally
    /// frequent pairs the alphabetically first is taken.
    pub fn train(text: &str, size: usize) -> Self {
        let alphabet = byte_characters();
        let mut tokens: Vec<String> = alphabet.iter().map(ToString::to_string).collect();
        let mut merges = Vec::new();
        let mut words: BTreeMap<Vec<String>, usize> = BTreeMap::new();
        for word in words_of(text) {
            let symbols = word.bytes().map(|byte| alphabet[usize::from(byte)].to_string()).collect();
            *words.entry(symbols).or_default() += 1;
        }
        while tokens.len() < size {
            let mut pairs: BTreeMap<(&str, &str), usize> = BTreeMap::new();
            for (word, count) in &words {
                for pair in word.windows(2) {
                    *pairs.entry((&pair[0], &pair[1])).or_default() += count;
                }
            }
            let best = pairs.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| b.0.cmp(a.0)));
            let Some((&(left, right), _)) = best.filter(|(_, count)| **count > 1) else { break };
            let (left, right) = (left.to_string(), right.to_string());
            words = words.iter().map(|(word, count)| (joined(word, &left, &right), *count)).collect();
            tokens.push(format!("{left}{right}"));
            merges.push((left, right));
        }
        Self { tokens, merges }
    }

    /// `tokenizer.json`.
    fn json(&self) -> Value {
        let byte_level = json!({
            "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true,
        });
        let added = SPECIAL_TOKENS.iter().enumerate().map(|(index, token)| {
            json!({
                "id": self.tokens.len() + index, "content": token, "special": true, "normalized": false,
                "single_word": false, "lstrip": false, "rstrip": false,
            })
        });
        let vocabulary: serde_json::Map<String, Value> =
            self.tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
        json!({
            "version": "1.0",
            "truncation": null,
            "padding": null,
            "added_tokens": added.collect::<Vec<Value>>(),
            "normalizer": null,
            "pre_tokenizer": byte_level,
            "post_processor": null,
            "decoder": byte_level,
            "model": {
                "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
                "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
                "vocab": vocabulary,
                "merges": self.merges.iter().map(|(left, right)| json!([left, right])).collect::<Vec<Value>>(),
            },
        })
    }
}

/// A word with every `left` `right` joined, from left to right.
fn joined(word: &[String], left: &str, right: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(word.len());
    let mut symbols = word.iter().peekable();
    while let Some(symbol) = symbols.next() {
        if symbol == left && symbols.next_if(|next| *next == right).is_some() {
            out.push(format!("{left}{right}"));
        } else {
            out.push(symbol.clone());
        }
    }
    out
}

/// Runs of letters, of digits and of other characters, each with the one space before it: the words that the byte-level
/// tokenizer, too, takes apart before it joins anything.
pub fn words_of(text: &str) -> Vec<&str> {
    let kind = |c: char| match c {
        c if c.is_alphabetic() => 0,
        c if c.is_numeric() => 1,
        c if c.is_whitespace() => 2,
        _ => 3,
    };
    let mut words = Vec::new();
    let mut start = 0;
    let mut previous: Option<(usize, char)> = None;
    for (at, c) in text.char_indices() {
        if let Some((before, last)) = previous {
            let space_before_word = last == ' ' && before == start && kind(c) != 2;
            if kind(last) != kind(c) && !space_before_word {
                words.push(&text[start..at]);
                start = at;
            }
        }
        previous = Some((at, c));
    }
    words.push(&text[start..]);
    words
}

/// The character that stands for each byte: printable Latin-1 for itself, the others from U+0100 on, in order.
///
/// # Source
/// `bytes_to_unicode` of GPT-2.
fn byte_characters() -> [char; 256] {
    let mut characters = ['\0'; 256];
    let mut moved = 0x100;
    for (byte, character) in characters.iter_mut().enumerate() {
        let code = if matches!(byte, 0x21..=0x7e | 0xa1..=0xac | 0xae..=0xff) {
            byte as u32
        } else {
            moved += 1;
            moved - 1
        };
        *character = char::from_u32(code).unwrap_or('\u{fffd}');
    }
    characters
}
