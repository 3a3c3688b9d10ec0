//! Model folders with random weights: what a benchmark needs of a model is its shape.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use attune_compute::rng;
use attune_formats::files::{DirWriter, create_dir_all, remove_dir_all};
use half::bf16;
use serde_json::{Value, json};

use super::shapes::{Shape, TensorShape};

/// Decides every weight.
const SEED: u64 = 1;
/// What Llama and its relatives are initialised with: losses of a random model start near ln(vocabulary).
const SPREAD: f32 = 0.02;
/// A file of weights is closed before it grows beyond this.
const SHARD_BYTES: usize = 4_000_000_000;
/// Ends a text.
pub(crate) const END_OF_TEXT: &str = "<end>";
const UNKNOWN: &str = "<unknown>";
/// Ids of the two tokens before the first word.
const FIRST_WORD: usize = 2;
const EOS_ID: usize = 1;
/// As many words as the tokenizer has at most; a model may have more embeddings than its tokenizer has tokens.
const MAX_WORDS: usize = 4096;

/// Number of words of the tokenizer.
pub(crate) fn word_count(shape: &Shape) -> usize {
    MAX_WORDS.min(shape.vocabulary - FIRST_WORD)
}

/// The word number `index`: one token.
pub(crate) fn word(index: usize) -> String {
    format!("w{index}")
}

/// Makes the folder `dir`, unless it is there already: `config.json`, random bf16 weights, a tokenizer whose tokens are
/// the words `w0`, `w1` ... between spaces, so that texts of any number of tokens can be written.
pub(crate) fn make(shape: &Shape, dir: &Path) -> Result<()> {
    make_sharded(shape, dir, SHARD_BYTES)
}

fn make_sharded(shape: &Shape, dir: &Path, shard_bytes: usize) -> Result<()> {
    let config = format!("{:#}\n", shape.config(EOS_ID));
    match fs::read_to_string(dir.join("config.json")) {
        Ok(there) if there == config => return Ok(()),
        Ok(_) => remove_dir_all(dir)?,
        Err(_) if dir.exists() => bail!("{} exists and is no model folder; remove it", dir.display()),
        Err(_) => {}
    }
    create_dir_all(dir.parent().context("a folder without a parent")?)?;
    // Appears when it is complete.
    let writer = DirWriter::create(dir)?;
    writer.write("config.json", config.as_bytes())?;
    writer.write("generation_config.json", format!("{:#}\n", json!({ "eos_token_id": EOS_ID })).as_bytes())?;
    writer.write("tokenizer.json", format!("{:#}\n", tokenizer(word_count(shape))).as_bytes())?;
    writer.write("tokenizer_config.json", format!("{:#}\n", tokenizer_config()).as_bytes())?;
    write_weights(&writer, shape, shard_bytes)?;
    Ok(writer.commit()?)
}

fn tokenizer_config() -> Value {
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "unk_token": UNKNOWN,
        "clean_up_tokenization_spaces": false,
    })
}

/// `tokenizer.json`: a word is a token.
fn tokenizer(words: usize) -> Value {
    let special = |id: usize, content: &str| {
        json!({
            "id": id, "content": content, "special": true, "normalized": false,
            "single_word": false, "lstrip": false, "rstrip": false,
        })
    };
    let mut vocabulary = serde_json::Map::from_iter([(UNKNOWN.into(), 0.into()), (END_OF_TEXT.into(), EOS_ID.into())]);
    vocabulary.extend((0..words).map(|index| (word(index), (FIRST_WORD + index).into())));
    json!({
        "version": "1.0",
        "truncation": null,
        "padding": null,
        "added_tokens": [special(0, UNKNOWN), special(EOS_ID, END_OF_TEXT)],
        "normalizer": null,
        "pre_tokenizer": { "type": "WhitespaceSplit" },
        "post_processor": null,
        "decoder": null,
        "model": { "type": "WordLevel", "vocab": vocabulary, "unk_token": UNKNOWN },
    })
}

/// One file, or shards and their index.
fn write_weights(writer: &DirWriter, shape: &Shape, shard_bytes: usize) -> Result<()> {
    let tensors = shape.tensors();
    let mut shards: Vec<Vec<&TensorShape>> = vec![Vec::new()];
    let mut filled = 0;
    for tensor in &tensors {
        let bytes = tensor.values() * size_of::<bf16>();
        if filled > 0 && filled + bytes > shard_bytes {
            shards.push(Vec::new());
            filled = 0;
        }
        filled += bytes;
        if let Some(shard) = shards.last_mut() {
            shard.push(tensor);
        }
    }
    let deviates = Deviates::new();
    if shards.len() == 1 {
        return write_shard(writer, "model.safetensors", &shards[0], &deviates);
    }
    let count = shards.len();
    let mut places = BTreeMap::new();
    for (index, shard) in shards.iter().enumerate() {
        let name = format!("model-{:05}-of-{count:05}.safetensors", index + 1);
        places.extend(shard.iter().map(|tensor| (tensor.name.clone(), name.clone())));
        write_shard(writer, &name, shard, &deviates)?;
    }
    let bytes: usize = tensors.iter().map(|tensor| tensor.values() * size_of::<bf16>()).sum();
    let index = json!({ "metadata": { "total_size": bytes }, "weight_map": places });
    Ok(writer.write("model.safetensors.index.json", format!("{index:#}\n").as_bytes())?)
}

/// A safetensors file, tensor by tensor: none is in memory as a whole.
fn write_shard(writer: &DirWriter, name: &str, tensors: &[&TensorShape], deviates: &Deviates) -> Result<()> {
    let mut header = serde_json::Map::from_iter([("__metadata__".into(), json!({ "format": "pt" }))]);
    let mut end = 0;
    for tensor in tensors {
        let begin = end;
        end += tensor.values() * size_of::<bf16>();
        let entry = json!({ "dtype": "BF16", "shape": tensor.shape, "data_offsets": [begin, end] });
        header.insert(tensor.name.clone(), entry);
    }
    let mut header = Value::Object(header).to_string();
    // The data begin at a multiple of 64 bytes.
    let padded = (8 + header.len()).next_multiple_of(64) - 8;
    header.extend(std::iter::repeat_n(' ', padded - header.len()));
    writer.write_with(name, Some((8 + padded + end) as u64), |out| {
        out.write_all(&(padded as u64).to_le_bytes())?;
        out.write_all(header.as_bytes())?;
        tensors.iter().try_for_each(|tensor| write_tensor(out, tensor, deviates))
    })?;
    Ok(())
}

fn write_tensor(out: &mut dyn Write, tensor: &TensorShape, deviates: &Deviates) -> io::Result<()> {
    if tensor.is_gain {
        return out.write_all(&bf16::ONE.to_le_bytes().repeat(tensor.values()));
    }
    let name_key = tensor.name.bytes().fold(rng::key(&[SEED]), |key, byte| rng::combine(key, u64::from(byte)));
    let mut buffer = vec![0; 1 << 20];
    let mut left = tensor.values() * size_of::<bf16>();
    for block in 0.. {
        if left == 0 {
            break;
        }
        let part = left.min(buffer.len());
        deviates.fill(rng::combine(name_key, block), &mut buffer[..part]);
        out.write_all(&buffer[..part])?;
        left -= part;
    }
    Ok(())
}

/// Normal deviates of spread [`SPREAD`] as bf16: a random number of 64 bits picks four of 65536 that were drawn once,
/// because 2.5 GB should take seconds.
struct Deviates {
    table: Vec<[u8; 2]>,
}

impl Deviates {
    fn new() -> Self {
        // Of mean 0 and variance 1: the sum of twelve uniform numbers less six. Additions alone, so that every machine
        // agrees.
        let bell = |key: u64| (0..12).map(|part| rng::uniform_f32(rng::combine(key, part))).sum::<f32>() - 6.0;
        let value = |index| bf16::from_f32(SPREAD * bell(rng::key(&[SEED, index]))).to_le_bytes();
        Self { table: (0..=u64::from(u16::MAX)).map(value).collect() }
    }

    fn fill(&self, key: u64, bytes: &mut [u8]) {
        let mut state = key;
        for group in bytes.chunks_mut(8) {
            state = rng::mix(state);
            let mut bits = state;
            for value in group.chunks_exact_mut(2) {
                value.copy_from_slice(&self.table[usize::from(bits as u16)]);
                bits >>= 16;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use attune_formats::tensors::{WeightFolder, as_f32_vec};
    use attune_model::BaseModel;

    use super::*;

    #[test]
    fn the_engine_opens_what_was_made_whole_or_sharded() {
        let scratch = tempfile::tempdir().unwrap();
        let shape = Shape::named("tiny").unwrap();
        let (whole, sharded) = (scratch.path().join("a/whole"), scratch.path().join("sharded"));
        make(&shape, &whole).unwrap();
        make_sharded(&shape, &sharded, 100_000).unwrap();
        for dir in [&whole, &sharded] {
            let base = BaseModel::load(dir).unwrap();
            base.check_finite().unwrap();
            let values: usize = shape.tensors().iter().map(TensorShape::values).sum();
            assert_eq!(base.spec.parameters(), values);
        }
        assert!(sharded.join("model-00001-of-00003.safetensors").exists());
        let values = |dir: &Path| {
            let folder = WeightFolder::open(dir).unwrap();
            as_f32_vec(folder.get("model.layers.1.mlp.down_proj.weight").unwrap()).unwrap()
        };
        assert_eq!(values(&whole), values(&sharded), "a tensor's values depend on its name alone");
        let (mean, count) = (values(&whole).iter().sum::<f32>(), values(&whole).len() as f32);
        let variance = values(&whole).iter().map(|value| value * value).sum::<f32>() / count;
        assert!((mean / count).abs() < 1e-3 && (variance.sqrt() / SPREAD - 1.0).abs() < 0.05, "{mean} {variance}");
    }

    #[test]
    fn a_folder_that_is_there_is_used_again() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("model");
        let shape = Shape::named("tiny").unwrap();
        make(&shape, &dir).unwrap();
        let made = || fs::metadata(dir.join("model.safetensors")).unwrap().modified().unwrap();
        let first = made();
        make(&shape, &dir).unwrap();
        assert_eq!(made(), first);
    }
}
