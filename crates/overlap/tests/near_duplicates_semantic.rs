//! The semantic layer, with models made here.

mod near_duplicates_common;

use std::collections::HashMap;
use std::path::Path;

use attune_overlap::near_duplicates::semantic::{self, Model, Settings};
use attune_overlap::near_duplicates::{Error, Guard};
use near_duplicates_common::{Random, Rows};
use safetensors::Dtype;
use safetensors::tensor::TensorView;

type Tensor = (&'static str, Dtype, Vec<usize>, Vec<u8>);

fn floats(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// Writes a model in which each word has the vector that is given.
#[allow(clippy::disallowed_methods, reason = "test files need no safe writing")]
fn write(folder: &Path, words: &[&str], tensors: &[Tensor]) {
    let views: HashMap<&str, TensorView<'_>> = tensors
        .iter()
        .map(|(name, dtype, shape, data)| (*name, TensorView::new(*dtype, shape.clone(), data).expect("a tensor")))
        .collect();
    let bytes = safetensors::serialize(views, None).expect("a file");
    std::fs::write(folder.join("model.safetensors"), bytes).expect("a written file");
    let vocab: serde_json::Map<String, serde_json::Value> =
        words.iter().enumerate().map(|(id, word)| ((*word).to_owned(), id.into())).collect();
    let tokenizer = serde_json::json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null, "decoder": null,
        "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
    });
    std::fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).expect("a written file");
}

const WORDS: [&str; 9] = ["[UNK]", "car", "automobile", "fast", "quick", "banana", "how", "is", "the"];
const VECTORS: [[f32; 4]; 9] = [
    [9.0, 9.0, 9.0, 9.0],
    [1.0, 0.0, 0.0, 0.0],
    [0.98, 0.1, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [0.0, 0.97, 0.1, 0.0],
    [0.0, 0.0, 0.0, 1.0],
    [0.0, 0.0, 0.1, 0.0],
    [0.0, 0.0, 0.1, 0.0],
    [0.0, 0.0, 0.1, 0.0],
];

fn small() -> (tempfile::TempDir, Model) {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &WORDS, &[("embeddings", Dtype::F32, vec![9, 4], floats(VECTORS.as_flattened()))]);
    let model = Model::load(folder.path()).expect("a model");
    (folder, model)
}

fn found(rows: &[&str], model: &Model, settings: &Settings) -> Vec<(usize, usize)> {
    let rows = Rows(rows.iter().map(|&row| row.to_owned()).collect());
    let report = semantic::find(&rows, None, model, settings, &|_| ()).expect("a report");
    report.removals.iter().map(|removal| (removal.removed, removal.kept)).collect()
}

#[test]
fn other_words_for_the_same() {
    let (_folder, model) = small();
    assert_eq!(model.size(), 4);
    let rows = [
        "how fast is the car",
        "how quick is the automobile",
        "how is the banana",
        "zzz",
        "yyy zzz",
        "",
        "how quick is the automobile 5",
        "how quick is the automobile not",
    ];
    assert_eq!(found(&rows, &model, &Settings::default()), [(1, 0)]);
    // Without the guard, what the vocabulary does not know makes no difference.
    let off = Settings { guard: Guard::off(), ..Settings::default() };
    assert_eq!(found(&rows, &model, &off), [(1, 0), (6, 0), (7, 0)]);
    // The same by planes.
    assert_eq!(found(&rows, &model, &Settings { exact_rows: 0, ..Settings::default() }), [(1, 0)]);
}

#[test]
fn weights_and_mapping_count() {
    let folder = tempfile::tempdir().expect("a folder");
    // Two vectors for three tokens; the last token weighs nothing.
    let words = ["[UNK]", "car", "banana"];
    let mapping: Vec<u8> = [0_i64, 0, 1].iter().flat_map(|row| row.to_le_bytes()).collect();
    let embeddings = ("embeddings", Dtype::F32, vec![2, 2], floats(&[1.0, 0.0, 0.0, 1.0]));
    let tensors = [
        embeddings,
        ("mapping", Dtype::I64, vec![3], mapping),
        ("weights", Dtype::F32, vec![3], floats(&[1.0, 1.0, 0.0])),
    ];
    write(folder.path(), &words, &tensors);
    let model = Model::load(folder.path()).expect("a model");
    let off = Settings { guard: Guard::off(), ..Settings::default() };
    assert_eq!(found(&["car", "car banana", "banana"], &model, &off), [(1, 0)]);
}

/// Random vectors with near copies: the planes find what the exact search finds.
#[test]
fn planes_find_what_the_exact_search_finds() {
    let (size, words) = (32, 600);
    let names: Vec<String> = (0..words).map(|word| format!("w{word}")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names[0] = "[UNK]";
    let mut random = Random(7);
    let values: Vec<f32> = (0..words * size).map(|_| random.below(2_001) as f32 / 1_000.0 - 1.0).collect();
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), &names, &[("embeddings", Dtype::F32, vec![words, size], floats(&values))]);
    let model = Model::load(folder.path()).expect("a model");
    let mut rows: Vec<String> = Vec::new();
    for _ in 0..1_500 {
        let mut words: Vec<&str> = (0..12).map(|_| names[1 + random.below(599)]).collect();
        rows.push(words.join(" "));
        words[0] = names[1 + random.below(599)];
        rows.push(words.join(" "));
    }
    let rows = Rows(rows);
    let exact = Settings { guard: Guard::off(), ..Settings::default() };
    let planes = Settings { exact_rows: 0, ..exact.clone() };
    let run = |settings: &Settings, threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        pool.install(|| semantic::find(&rows, None, &model, settings, &|_| ())).expect("a report")
    };
    let (exact, planes_one, planes_three) = (run(&exact, 2), run(&planes, 1), run(&planes, 3));
    assert_eq!(planes_one, planes_three);
    assert!(exact.removals.len() > 500, "{}", exact.removals.len());
    let both = planes_one.removals.iter().filter(|removal| exact.removals.contains(removal)).count();
    assert!(both as f64 >= 0.995 * exact.removals.len() as f64, "{both} of {}", exact.removals.len());
    assert!(planes_one.removals.iter().all(|removal| removal.similarity >= 0.9));
    assert!(planes_one.verified < exact.verified / 4, "{} {}", planes_one.verified, exact.verified);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "test files need no safe writing")]
fn broken_models_are_named() {
    let load = |tensors: &[Tensor]| {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), &WORDS, tensors);
        Model::load(folder.path()).expect_err("a broken model")
    };
    let good = || ("embeddings", Dtype::F32, vec![9, 4], floats(VECTORS.as_flattened()));
    let cases: [(Vec<Tensor>, &str); 7] = [
        (vec![("vectors", Dtype::F32, vec![9, 4], floats(VECTORS.as_flattened()))], "no tensor `embeddings`"),
        (vec![("embeddings", Dtype::F32, vec![36], floats(VECTORS.as_flattened()))], "not [tokens, size]"),
        (vec![("embeddings", Dtype::F32, vec![2, 4], floats(VECTORS[..2].as_flattened()))], "token 8 has no vector"),
        (vec![("embeddings", Dtype::U8, vec![9, 4], vec![0; 36])], "U8 is not supported"),
        (vec![("embeddings", Dtype::F32, vec![9, 1], floats(&[f32::NAN; 9]))], "NaN in row 0"),
        (vec![good(), ("weights", Dtype::F32, vec![2], floats(&[1.0; 2]))], "`weights` has 2 entries"),
        (vec![good(), ("mapping", Dtype::I32, vec![1], 9_i32.to_le_bytes().to_vec())], "names row 9 of 9"),
    ];
    for (tensors, expected) in cases {
        let error = load(&tensors);
        assert!(error.to_string().contains(expected) && error.hint().is_some(), "{error}");
    }
    let folder = tempfile::tempdir().expect("a folder");
    assert!(matches!(Model::load(folder.path()), Err(Error::ModelFile { .. })));
    for bytes in [&b""[..], b"12345678", &[255; 64]] {
        std::fs::write(folder.path().join("model.safetensors"), bytes).expect("a written file");
        assert!(matches!(Model::load(folder.path()), Err(Error::Model { .. })));
    }
}
