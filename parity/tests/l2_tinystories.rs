//! Rung l2 on a trained model: logits, likelihoods and greedy text of Transformers, as recorded beside it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and their helpers")]

use std::path::{Path, PathBuf};

use attune_formats::tensors::read_tensors;
use attune_model::{BaseModel, Decoder, ForwardOptions, PackedBatch, Sampling, StopReason, generate};
use attune_parity::harness::backends;
use attune_parity::tolerances::tolerance;
use attune_parity::{Arithmetic, Comparison, Quantity, Rung};
use serde::Deserialize;

/// The id that ends a story.
const END_OF_STORY: u32 = 2;

#[derive(Deserialize)]
struct Reference {
    prompts: Vec<Prompt>,
}

#[derive(Deserialize)]
struct Prompt {
    input_ids: Vec<u32>,
    nll_per_token: Vec<f64>,
    greedy_new_ids: Vec<u32>,
}

fn model_dir() -> Option<PathBuf> {
    let beside_the_repository = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared");
    let shared = std::env::var_os("ATTUNE_SHARED").map_or_else(|| PathBuf::from(beside_the_repository), PathBuf::from);
    let dir = shared.join("assets/models/tinystories-656k");
    if dir.is_dir() {
        return Some(dir);
    }
    println!("SKIPPED: {} is absent; ATTUNE_SHARED names the folder of the shared assets", dir.display());
    None
}

fn reference(dir: &Path) -> Reference {
    serde_json::from_str(&std::fs::read_to_string(dir.join("reference_hf.json")).unwrap()).unwrap()
}

#[test]
fn logits_and_likelihoods_are_those_of_transformers() {
    let Some(dir) = model_dir() else { return };
    let base = BaseModel::load(&dir).unwrap();
    let expected = read_tensors(&dir.join("reference_hf_logits.safetensors")).unwrap();
    let prompts = reference(&dir).prompts;
    assert_eq!((prompts.len(), expected.len()), (3, 3));
    for backend in backends().unwrap() {
        let decoder = Decoder::new(&*backend, &base, base.spec.max_positions).unwrap();
        let what = format!("tinystories on {}", backend.name());
        let mut logits =
            Comparison::new(&what, tolerance(Rung::L2, Quantity::Logits, Arithmetic::F32, Arithmetic::F32));
        let mut losses =
            Comparison::new(&what, tolerance(Rung::L3, Quantity::Losses, Arithmetic::F32, Arithmetic::F32));
        for (i, prompt) in prompts.iter().enumerate() {
            let name = format!("logits_{i}");
            logits.add(&name, decoder.logits(&prompt.input_ids, None).unwrap().data(), &expected[&name].data);

            let batch = PackedBatch::single(&prompt.input_ids);
            let pass = decoder.forward(&batch, None, &ForwardOptions::INFERENCE).unwrap();
            let head = decoder.head_logprobs(&pass, 0.0, false);
            let nll: Vec<f64> = head.logprobs.iter().map(|&logprob| -f64::from(logprob)).collect();
            losses.add_f64(&format!("nll_per_token of prompt {i}"), &nll, &prompt.nll_per_token);
        }
        println!("{}", logits.finish().unwrap_or_else(|mismatch| panic!("{mismatch}")));
        println!("{}", losses.finish().unwrap_or_else(|mismatch| panic!("{mismatch}")));
    }
}

#[test]
fn greedy_tokens_are_those_of_transformers_up_to_the_stop_token() {
    let Some(dir) = model_dir() else { return };
    let base = BaseModel::load(&dir).unwrap();
    for backend in backends().unwrap() {
        let decoder = Decoder::new(&*backend, &base, base.spec.max_positions).unwrap();
        let mut stops = Vec::new();
        for prompt in reference(&dir).prompts {
            // 80 new tokens were asked for when the reference was made.
            let sampling = Sampling::greedy(80, &[END_OF_STORY]);
            let mut seen = Vec::new();
            let mut on_token = |id| {
                seen.push(id);
                true
            };
            let got = generate(&decoder, None, &prompt.input_ids, &sampling, &mut on_token).unwrap();
            assert_eq!(got.ids, prompt.greedy_new_ids, "{}", backend.name());
            assert_eq!(seen, got.ids, "every token was announced");
            stops.push(got.stop);
        }
        assert_eq!(stops, [StopReason::MaxTokens, StopReason::MaxTokens, StopReason::StopToken]);
    }
}
