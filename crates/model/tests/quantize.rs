//! A base that is quantised when it is loaded: its values, its cache, and what is refused.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests fail by panicking")]
#![allow(clippy::disallowed_methods, reason = "tests damage files on purpose")]

mod common;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_compute::blocks::encode::{encode_nf4, encode_row};
use attune_compute::cpu::{Cpu, Isa};
use attune_compute::{BlockType, DType, Weight};
use attune_model::quantize::cache_file;
use attune_model::{BaseModel, Decoder, Linear, ModelError};
use serde_json::Value;

/// A model whose rows are whole blocks of 64.
fn write_base(dir: &Path) {
    write_base_with(dir, false);
}

fn write_base_with(dir: &Path, tied: bool) {
    let mut config = common::config("llama");
    config["hidden_size"] = 64.into();
    config["intermediate_size"] = 128.into();
    config["num_attention_heads"] = 4.into();
    config["num_key_value_heads"] = 2.into();
    config["head_dim"] = 16.into();
    config["tie_word_embeddings"] = tied.into();
    common::write_model(dir, &config, 3);
}

fn values_of(weight: &Weight) -> Vec<f32> {
    let mut values = vec![0.0; weight.rows() * weight.cols()];
    for (row, out) in values.chunks_exact_mut(weight.cols()).enumerate() {
        weight.read_row(row, out);
    }
    values
}

/// Linears, embedding and head.
fn values(base: &BaseModel) -> Vec<Vec<f32>> {
    let linears = base.layers.iter().flat_map(|layer| layer.linears.iter().map(|linear| &linear.weight));
    linears.chain([&base.embedding, &base.head]).map(values_of).collect()
}

/// Holds that `got` is the rows of `original` in blocks of Q8_0, and gives the bytes that this saves.
fn assert_q8_0(what: &str, got: &Weight, original: &Weight) -> usize {
    assert_eq!(got.dtype(), DType::Block(BlockType::Q8_0), "{what}");
    let mut row = vec![0.0; original.cols()];
    for r in 0..original.rows() {
        original.read_row(r, &mut row);
        let mut blocks = Vec::new();
        encode_row(BlockType::Q8_0, &row, &mut blocks).unwrap();
        assert_eq!(got.row_bytes(r), blocks, "{what} row {r}");
    }
    original.bytes().len() - got.bytes().len()
}

#[test]
fn every_matrix_is_encoded_and_nothing_else() {
    for tied in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        write_base_with(dir.path(), tied);
        let plain = BaseModel::load(dir.path()).unwrap();
        for (kind, threads) in [(BlockType::Q8_0, 1), (BlockType::Q8_0, 3), (BlockType::Nf4, 2)] {
            let what = format!("{kind} tied {tied}");
            let expected_bytes = plain.quantized_bytes(kind).unwrap();
            let (base, note) = BaseModel::load(dir.path()).unwrap().quantized(kind, threads, None).unwrap();
            assert!(note.unwrap().contains("FT_CACHE"));
            assert_eq!(base.dtype(), DType::Bf16, "the type of products");
            // Embedding and head are Q8_0 whatever the linears are.
            let mut saved = assert_q8_0(&what, &base.embedding, &plain.embedding);
            match tied {
                true => assert!(std::ptr::eq(base.head.bytes(), base.embedding.bytes()), "one matrix for both"),
                false => saved += assert_q8_0(&what, &base.head, &plain.head),
            }
            for (layer, (got, original)) in base.layers.iter().zip(&plain.layers).enumerate() {
                assert_eq!(got.attention_norm, original.attention_norm);
                for linear in Linear::ALL {
                    let [got, original] = [got, original].map(|layer| &layer.linears[linear.index()].weight);
                    let what = format!("{what} {layer} {linear:?}");
                    if kind == BlockType::Q8_0 {
                        saved += assert_q8_0(&what, got, original);
                        continue;
                    }
                    let (rows, cols) = (original.rows(), original.cols());
                    let blocks = encode_nf4(rows, cols, &mut |row, out| original.read_row(row, out)).unwrap();
                    assert_eq!((got.dtype(), got.bytes()), (DType::Block(kind), blocks.as_slice()), "{what}");
                    saved += original.bytes().len() - blocks.len();
                }
            }
            assert_eq!(plain.size_bytes() - expected_bytes, saved as u64, "{what}");
        }
    }
}

#[test]
fn the_cache_is_read_when_it_is_whole_and_made_again_when_not() {
    let dir = tempfile::tempdir().unwrap();
    write_base(dir.path());
    let cache = dir.path().join("caches/some/nf4.safetensors");
    let quantized = |cache: &Path| {
        let base = BaseModel::load(dir.path()).unwrap();
        base.quantized(BlockType::Nf4, 2, Some(cache)).unwrap()
    };
    let (first, note) = quantized(&cache);
    assert_eq!(note, None);
    let expected = values(&first);
    let plain = values(&BaseModel::load(dir.path()).unwrap());
    for (got, plain) in expected.iter().zip(&plain) {
        let largest = plain.iter().fold(0.0f32, |a, b| a.max(b.abs()));
        // The widest gap of the table is 0.304 of a block's largest value; half of that, and the scale's own rounding.
        assert!(got.iter().zip(plain).all(|(a, b)| (a - b).abs() <= 0.2 * largest), "as near as four bits");
    }
    let written = std::fs::read(&cache).unwrap();
    assert_eq!(values(&quantized(&cache).0), expected);

    // A file that says something else is believed as long as its own hash agrees, so it was read and not made again.
    let header = 8 + u64::from_le_bytes(*written.first_chunk().unwrap()) as usize;
    let data = header..written.len() - 32;
    assert_eq!(blake3::hash(&written[data.clone()]).as_bytes(), &written[data.end..]);
    let mut planted = written.clone();
    planted[header] ^= 0x11;
    let hash = *blake3::hash(&planted[data.clone()]).as_bytes();
    planted[data.end..].copy_from_slice(&hash);
    std::fs::write(&cache, &planted).unwrap();
    assert_ne!(values(&quantized(&cache).0), expected, "the cache was read");

    // Damage of every kind is noticed, and the file replaced.
    let mut flipped = written.clone();
    flipped[data.end - 1] ^= 1;
    let mut other_hash = written.clone();
    *other_hash.last_mut().unwrap() ^= 1;
    let mut renamed = written.clone();
    let place = renamed.windows(6).position(|window| window == b"q_proj").unwrap();
    renamed[place] = b'Q';
    let huge = [&u64::MAX.to_le_bytes()[..], &written[8..]].concat();
    let cut = written[..written.len() - 1].to_vec();
    let longer = [&written[..], b"x"].concat();
    for damaged in [flipped, other_hash, renamed, huge, cut, longer, Vec::new(), b"{}".to_vec()] {
        std::fs::write(&cache, &damaged).unwrap();
        assert_eq!(values(&quantized(&cache).0), expected);
        assert_eq!(std::fs::read(&cache).unwrap(), written, "made again");
    }
}

#[test]
fn without_a_place_for_it_the_base_stays_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    write_base(dir.path());
    // A file stands where the folder would be.
    let cache = dir.path().join("config.json/x.safetensors");
    let (base, note) = BaseModel::load(dir.path()).unwrap().quantized(BlockType::Nf4, 1, Some(&cache)).unwrap();
    assert!(note.unwrap().contains("stays in memory"));
    assert_eq!(base.layers[0].linears[0].weight.dtype(), DType::Block(BlockType::Nf4));
}

#[test]
fn rows_that_are_no_blocks_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("llama"), 1);
    let base = BaseModel::load(dir.path()).unwrap();
    assert_eq!(base.quantized_bytes(BlockType::Nf4), None);
    let error = base.quantized(BlockType::Nf4, 1, None).unwrap_err();
    assert!(matches!(&error, ModelError::Quantize { .. }), "{error}");
    assert!(error.to_string().contains("'model.layers.0.self_attn.q_proj.weight' cannot be quantised"), "{error}");
    assert!(error.hint().is_some());
}

/// Written piece by piece: nothing of it may stay.
#[test]
fn a_matrix_that_cannot_be_encoded_is_named_and_leaves_no_file() {
    let dir = tempfile::tempdir().unwrap();
    write_base(dir.path());
    let file = dir.path().join("model.safetensors");
    let mut bytes = std::fs::read(&file).unwrap();
    let header_bytes = u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header_bytes]).unwrap();
    let entry = &header["model.embed_tokens.weight"];
    let start = 8 + header_bytes + entry["data_offsets"][0].as_u64().unwrap() as usize;
    let size = if entry["dtype"] == "F32" { 4 } else { 2 };
    bytes[start..start + size].fill(0xff);
    std::fs::write(&file, &bytes).unwrap();
    let cache = dir.path().join("cache/x.safetensors");
    for cache in [Some(cache.as_path()), None] {
        let error = BaseModel::load(dir.path()).unwrap().quantized(BlockType::Nf4, 2, cache).unwrap_err();
        assert!(error.to_string().contains("'model.embed_tokens.weight' cannot be quantised"), "{error}");
        assert!(error.to_string().contains("NaN"), "{error}");
    }
    assert_eq!(std::fs::read_dir(dir.path().join("cache")).unwrap().count(), 0);
}

#[test]
fn a_quantised_base_is_not_quantised_again() {
    let dir = tempfile::tempdir().unwrap();
    write_base(dir.path());
    let (base, _) = BaseModel::load(dir.path()).unwrap().quantized(BlockType::Q8_0, 1, None).unwrap();
    let error = base.quantized(BlockType::Nf4, 1, None).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
}

#[test]
fn the_name_of_a_cache_file_follows_base_and_type() {
    let name = |kind, hashes: &[&str]| cache_file(kind, hashes.iter().copied());
    let one = name(BlockType::Nf4, &["a", "b"]).unwrap();
    assert_eq!(name(BlockType::Nf4, &["a", "b"]), Some(one.clone()));
    for other in [name(BlockType::Q8_0, &["a", "b"]), name(BlockType::Nf4, &["ab"]), name(BlockType::Nf4, &["a", "c"])]
    {
        assert_ne!(other, Some(one.clone()));
    }
}

/// Mean divergence in nats of what follows each token of some stories, and the tokens.
fn divergence(from: &BaseModel, to: &BaseModel, stories: &[Vec<u32>]) -> (f64, usize) {
    // In `f32`, so that nothing but the weights differs.
    let cpu = Cpu::with_isa(Isa::Portable, Some(2)).unwrap();
    let logits = |base: &BaseModel, ids: &[u32]| {
        Decoder::new(&cpu, base, base.spec.max_positions).unwrap().logits(ids, None).unwrap()
    };
    let log_softmax = |row: &[f32]| -> Vec<f64> {
        let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
        let log_sum = row.iter().map(|&z| (f64::from(z) - largest).exp()).sum::<f64>().ln();
        row.iter().map(|&z| f64::from(z) - largest - log_sum).collect()
    };
    let (mut sum, mut tokens) = (0.0, 0);
    for ids in stories {
        let (from, to) = (logits(from, ids), logits(to, ids));
        for token in 0..ids.len() {
            let (p, q) = (log_softmax(from.row(token)), log_softmax(to.row(token)));
            sum += p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum::<f64>();
            tokens += 1;
        }
    }
    (sum / tokens as f64, tokens)
}

/// Why embedding and head are Q8_0 and not NF4, on a trained model.
#[test]
fn eight_bits_of_the_vocabulary_cost_next_to_nothing_and_four_would_not() {
    let beside_the_repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared");
    let shared = std::env::var_os("ATTUNE_SHARED").map_or_else(|| beside_the_repository.into(), PathBuf::from);
    let dir = shared.join("assets/models/tinystories-656k");
    if !dir.is_dir() {
        println!("SKIPPED: {} is absent; ATTUNE_SHARED names the folder of the shared assets", dir.display());
        return;
    }
    let recorded: Value =
        serde_json::from_str(&std::fs::read_to_string(dir.join("reference_hf.json")).unwrap()).unwrap();
    let ids = |prompt: &Value, key: &str| -> Vec<u32> {
        prompt[key].as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
    };
    let prompts = recorded["prompts"].as_array().unwrap();
    let stories: Vec<Vec<u32>> =
        prompts.iter().map(|prompt| [ids(prompt, "input_ids"), ids(prompt, "greedy_new_ids")].concat()).collect();

    let plain = || BaseModel::load(&dir).unwrap();
    let quantized = |kind| plain().quantized(kind, 2, None).unwrap().0;
    let in_kind = |weight: &Weight, kind: BlockType| {
        let (rows, cols) = (weight.rows(), weight.cols());
        let mut bytes = Vec::new();
        match kind {
            BlockType::Nf4 => {
                bytes = encode_nf4(rows, cols, &mut |row, out| weight.read_row(row, out)).unwrap();
            }
            kind => values_of(weight).chunks(cols).for_each(|row| encode_row(kind, row, &mut bytes).unwrap()),
        }
        let range = 0..bytes.len();
        Weight::new(DType::Block(kind), rows, cols, Arc::new(bytes), range)
    };
    let vocabulary_in = |kind| {
        let mut base = plain();
        (base.embedding, base.head) = (in_kind(&base.embedding, kind), in_kind(&base.head, kind));
        base
    };
    let linears_in = |kind| {
        let mut base = quantized(kind);
        (base.embedding, base.head) = (plain().embedding, plain().head);
        base
    };
    let mut measured = Vec::new();
    for (what, base) in [
        ("linears in NF4", linears_in(BlockType::Nf4)),
        ("embedding and head in Q8_0", vocabulary_in(BlockType::Q8_0)),
        ("embedding and head in NF4", vocabulary_in(BlockType::Nf4)),
        ("model.quantize: nf4", quantized(BlockType::Nf4)),
        ("model.quantize: int8", quantized(BlockType::Q8_0)),
    ] {
        let (nats, tokens) = divergence(&plain(), &base, &stories);
        println!("{what}: {nats:.6} nats over {tokens} tokens");
        measured.push(nats);
    }
    let [linears_nf4, vocabulary_q8_0, vocabulary_nf4, nf4, int8] = measured[..] else { unreachable!("five of them") };
    assert!(vocabulary_q8_0 < 0.02 * linears_nf4, "what eight bits cost is lost in what the linears cost");
    assert!(vocabulary_nf4 > 20.0 * vocabulary_q8_0, "four bits would be seen");
    assert!(nf4 < 1.1 * linears_nf4 && int8 < 0.05 * nf4);
}
