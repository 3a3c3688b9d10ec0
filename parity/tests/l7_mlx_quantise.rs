//! Rung l7: mlx reads what we quantise and we what it quantised, to the bit; no group of ours is farther from the weights
//! than that of mlx's own quantiser; mlx-lm computes with our folders what we compute. Needs a Python with mlx-lm (the
//! models: torch, too); without it, prints SKIPPED.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "tests, their helpers and their scratch files"
)]

use std::collections::BTreeMap;
use std::path::Path;

use attune_compute::blocks::Affine;
use attune_compute::blocks::encode::{AffineParts, encode_affine_row};
use attune_compute::reference::Reference;
use attune_compute::{BlockType, DType, Weight, rng};
use attune_export::hf::{AffineOptions, FolderOptions, write_folder};
use attune_export::{FloatType, Tuned};
use attune_formats::files::DirWriter;
use attune_formats::tensors::{PlannedTensor, write_stream_into};
use attune_model::{BaseModel, Decoder, Sampling, generate};
use attune_parity::peers::{FAMILIES, Peers, PromptAnswer, TinyModel};
use attune_text::LoadOptions;
use serde::Deserialize;
use serde_json::{Value, json};

const COLS: usize = 512;

fn all_numbers() -> impl Iterator<Item = (usize, usize)> {
    Affine::BITS.into_iter().flat_map(|bits| Affine::GROUP_LENS.map(|len| (bits, len)))
}

fn uniform(seed: u64, i: u64) -> f64 {
    rng::uniform_f64(rng::key(&[seed, i]))
}

/// Normally distributed (Box and Muller).
fn gaussian(seed: u64, i: u64) -> f64 {
    let radius = (-2.0 * (1.0 - uniform(seed, 2 * i)).ln()).sqrt();
    radius * (std::f64::consts::TAU * uniform(seed, 2 * i + 1)).cos()
}

/// Sets of weights by name, each a whole number of rows, with values that `f16` has too.
fn weights() -> Vec<(&'static str, Vec<f32>)> {
    let of = |value: &dyn Fn(u64) -> f64| (0..64 * COLS as u64).map(|i| value(i) as f32).collect::<Vec<f32>>();
    vec![
        ("gaussian", of(&|i| 0.02 * gaussian(1, i))),
        ("heavy tails", of(&|i| 0.02 * gaussian(2, i) / (0.05 + gaussian(3, i).abs()))),
        ("outlier channels", of(&|i| gaussian(4, i) * if i % 97 == 0 { 1.0 } else { 0.01 })),
        ("of one sign", of(&|i| 0.3 * uniform(5, i) * if i / 512 % 2 == 0 { 1.0 } else { -1.0 })),
        ("far from zero", of(&|i| 2.0 + 0.01 * gaussian(6, i))),
        ("steps", of(&|i| f64::from((i % 7) as u8) - 3.0)),
        ("constant", of(&|i| 0.1 * (i / 128) as f64)),
        ("tiny", of(&|i| 1e-6 * gaussian(7, i))),
    ]
}

fn write_floats(path: &Path, values: &[f32]) {
    let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
    std::fs::write(path, bytes).unwrap();
}

fn read_floats(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap();
    bytes.as_chunks::<4>().0.iter().map(|&bytes| f32::from_ne_bytes(bytes)).collect()
}

/// A set in some numbers: our file of it, and what we read in it.
struct Case {
    what: String,
    affine: Affine,
    values: Vec<f32>,
    decoded: Vec<f32>,
    job: Value,
}

fn case(scratch: &Path, name: &str, values: &[f32], (bits, group_len): (usize, usize), float: FloatType) -> Case {
    let dtype: DType = float.into();
    let affine = Affine::new(bits, group_len, dtype).unwrap();
    let rows = values.len() / COLS;
    // As a model of that type has them.
    let values: Vec<f32> = {
        let weight = Weight::from_f32_as(dtype, rows, COLS, values);
        let mut out = vec![0.0; values.len()];
        out.chunks_exact_mut(COLS).enumerate().for_each(|(row, out)| weight.read_row(row, out));
        out
    };
    let mut parts = AffineParts::default();
    values.chunks_exact(COLS).for_each(|row| encode_affine_row(affine, row, &mut parts).unwrap());
    let bytes = [&parts.codes[..], &parts.scales, &parts.biases];
    let whole = bytes.concat();
    let range = 0..whole.len();
    let weight = Weight::new(DType::Block(BlockType::Affine(affine)), rows, COLS, std::sync::Arc::new(whole), range);
    let mut decoded = vec![0.0; values.len()];
    decoded.chunks_exact_mut(COLS).enumerate().for_each(|(row, out)| weight.read_row(row, out));

    let folder = format!("{}-{bits}-{group_len}-{float}", name.replace(' ', "-"));
    let dir = DirWriter::create(&scratch.join(&folder)).unwrap();
    let tensor = |name: &str, dtype, cols| PlannedTensor { name: name.into(), dtype, shape: vec![rows, cols] };
    let planned = [
        tensor("weight", attune_formats::tensors::DType::U32, COLS * bits / 32),
        tensor("scales", float.into(), COLS / group_len),
        tensor("biases", float.into(), COLS / group_len),
    ];
    write_stream_into(&dir, "ours.safetensors", &planned, &BTreeMap::new(), &mut |at, out| out.write_all(bytes[at]))
        .unwrap();
    let dir = dir.commit().map(|_| scratch.join(&folder)).unwrap();
    write_floats(&dir.join("values"), &values);
    let job = json!({
        "values": dir.join("values"), "cols": COLS, "bits": bits, "group_size": group_len, "dtype": float.torch_name(),
        "ours": dir.join("ours.safetensors"), "ours_decoded": dir.join("ours"), "theirs_decoded": dir.join("theirs"),
    });
    Case { what: format!("{name}, {affine}, {float}"), affine, values, decoded, job }
}

/// Squared error of each group.
fn group_errors(affine: Affine, values: &[f32], decoded: &[f32]) -> Vec<f64> {
    assert_eq!(values.len(), decoded.len());
    let groups = values.chunks(affine.group_len()).zip(decoded.chunks(affine.group_len()));
    groups.map(|(x, y)| x.iter().zip(y).map(|(x, y)| (f64::from(*x) - f64::from(*y)).powi(2)).sum()).collect()
}

#[test]
fn groups_are_read_alike_and_no_worse_than_those_of_mlx() {
    let Some(peers) = Peers::with(&["mlx.core"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let mut cases = Vec::new();
    for (name, values) in weights() {
        for numbers in all_numbers() {
            for float in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
                cases.push(case(scratch.path(), name, &values, numbers, float));
            }
        }
    }
    let jobs = scratch.path().join("jobs.json");
    std::fs::write(&jobs, json!(cases.iter().map(|case| &case.job).collect::<Vec<_>>()).to_string()).unwrap();
    let _: Value = peers.run("mlx_quantise.py", &[&jobs]).unwrap();
    let file = |case: &Case, key: &str| read_floats(Path::new(case.job[key].as_str().unwrap()));
    for case in &cases {
        let (ours, theirs) = (file(case, "ours_decoded"), file(case, "theirs_decoded"));
        let differ = case.decoded.iter().zip(&ours).position(|(a, b)| a.to_bits() != b.to_bits() && a != b);
        assert_eq!(differ.map(|at| (at, case.decoded[at], ours[at])), None, "{}: we read, mlx reads", case.what);
        let (ours, theirs) =
            (group_errors(case.affine, &case.values, &ours), group_errors(case.affine, &case.values, &theirs));
        let worse = ours.iter().zip(&theirs).position(|(ours, theirs)| *ours > theirs * 1.000_01);
        assert_eq!(worse.map(|at| (at, ours[at], theirs[at])), None, "{}: group, our error, mlx's", case.what);
        let (ours, theirs): (f64, f64) = (ours.iter().sum(), theirs.iter().sum());
        if theirs > 0.0 {
            println!("{}: error {:.4} of mlx's", case.what, (ours / theirs).sqrt());
        }
    }
    // The comparison must be able to fail: one code of 4 bits that is off by one.
    let gaussian = &cases[0];
    let mut wrong = file(gaussian, "theirs_decoded");
    wrong[77] += 0.01;
    let errors = |decoded: &[f32]| group_errors(gaussian.affine, &gaussian.values, decoded);
    let theirs = file(gaussian, "theirs_decoded");
    assert!(errors(&wrong).iter().zip(errors(&theirs)).any(|(wrong, theirs)| *wrong > theirs * 1.000_01));
}

#[derive(Deserialize)]
struct Answer {
    prompts: Vec<PromptAnswer>,
}

/// Our logits at the last position of each prompt, and our greedy continuations.
fn ours(base: &BaseModel, prompts: &[Vec<u32>], new_tokens: usize) -> Vec<PromptAnswer> {
    let decoder = Decoder::new(&Reference, base, base.spec.max_positions).unwrap();
    let answer = |prompt: &Vec<u32>| {
        let logits = decoder.logits(prompt, None).unwrap();
        let sampling = Sampling::greedy(new_tokens, &[]);
        PromptAnswer {
            logits: logits.row(logits.rows() - 1).to_vec(),
            base_logits: Vec::new(),
            greedy_ids: generate(&decoder, None, prompt, &sampling, &mut |_| true).unwrap().ids,
            margins: Vec::new(),
        }
    };
    prompts.iter().map(answer).collect()
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

/// mlx-lm widens scales to f32, as these tests have it do: with those of bf16 its values are not rounded as `dequantize`
/// rounds them. Measured: 9e-7, and 1e-2 with bf16.
fn limit(float: FloatType) -> f64 {
    if float == FloatType::F32 { 2e-5 } else { 2e-2 }
}

fn assert_same(what: &str, got: &[PromptAnswer], theirs: &[PromptAnswer], tiny: &TinyModel, float: FloatType) {
    let error = norm_error(got, theirs);
    println!("{what}: mlx-lm's logits differ by {error:.1e}");
    assert!(error < limit(float), "{what}: {error}");
    for (i, (got, theirs)) in got.iter().zip(theirs).enumerate() {
        assert_eq!(got.greedy_ids, theirs.greedy_ids, "{what}: prompt {i}");
        let known = &tiny.continuations[i];
        assert_eq!(got.greedy_ids, known[..got.greedy_ids.len().min(known.len())], "{what}: prompt {i}");
    }
}

#[test]
fn mlx_lm_computes_the_same_with_our_folders_and_we_with_its() {
    let Some(peers) = Peers::with(&["mlx.core", "mlx_lm", "torch", "transformers"]) else { return };
    let scratch = tempfile::tempdir().unwrap();
    let cases = [(4, 32, FloatType::F32), (8, 64, FloatType::Bf16), (4, 64, FloatType::F16), (8, 128, FloatType::F32)];
    for (family, (bits, group_len, float)) in FAMILIES.into_iter().zip(cases) {
        let tiny = peers.tiny_model(family).unwrap();
        let prompts = scratch.path().join(format!("{family}.json"));
        std::fs::write(&prompts, json!(tiny.prompts).to_string()).unwrap();
        let ask = |folder: &Path| -> Vec<PromptAnswer> {
            let answer: Answer = peers.run("mlx_run.py", &[&folder, &prompts, &"--new-tokens", &"8"]).unwrap();
            answer.prompts
        };
        let tuned = Tuned::load(&tiny.dir, None, &LoadOptions::default()).unwrap();
        let out = scratch.path().join(format!("{family}-ours"));
        let dir = DirWriter::create(&out).unwrap();
        let affine = Some(AffineOptions { bits, group_len });
        let options = FolderOptions { dtype: Some(float), format: "mlx", affine, ..FolderOptions::default() };
        write_folder(&dir, &tuned, &Reference, &options).unwrap();
        dir.commit().unwrap();
        let base = BaseModel::load(&out).unwrap();
        let what = format!("{family}, {bits} bits in groups of {group_len}, {float}");
        let read_back = ours(&base, &tiny.prompts, 8);
        assert_same(&what, &read_back, &ask(&out), &tiny, float);
        let full = ours(&tuned.base, &tiny.prompts, 8);
        assert!(norm_error(&read_back, &full) > 1e-3, "{what}: nothing was quantised");

        let out = scratch.path().join(format!("{family}-theirs"));
        let (bits, group_len) = (bits.to_string(), group_len.to_string());
        let args: [&dyn AsRef<std::ffi::OsStr>; 5] = [&tiny.dir, &out, &bits, &group_len, &float.torch_name()];
        let _: Value = peers.run("mlx_convert.py", &args).unwrap();
        let theirs = ours(&BaseModel::load(&out).unwrap(), &tiny.prompts, 8);
        assert_same(&format!("{what}, mlx-lm's own folder"), &theirs, &ask(&out), &tiny, float);
    }
}
