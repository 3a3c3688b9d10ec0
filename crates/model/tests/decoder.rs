//! The decoder against finite differences and against itself, for every family.

#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;

use attune_compute::{reference::Reference, rng};
use attune_formats::tensors::{TensorView, write_tensors};
use attune_model::{
    Adapter, AdapterSpec, BaseModel, Decoder, ForwardOptions, Gradients, LayerChoice, Linear, PackedBatch, SavePolicy,
    Target, Targets,
};

const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];
const TRAINING: ForwardOptions = ForwardOptions { save: SavePolicy::Keep, dropout_key: None };

fn adapter_spec() -> AdapterSpec {
    AdapterSpec {
        rank: 3,
        alpha: 6.0,
        dropout: 0.0,
        targets: Targets::AllLinear,
        layers: LayerChoice::All,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        use_rslora: false,
        use_dora: false,
    }
}

/// An adapter whose B is not zero, so that every gradient is.
fn warm_adapter(base: &BaseModel, spec: &AdapterSpec) -> Adapter {
    let mut adapter = Adapter::init(&base.spec, spec, 5).unwrap();
    for (number, module) in adapter.modules.iter_mut().enumerate() {
        for (i, b) in module.b.iter_mut().enumerate() {
            *b = 0.3 * (rng::uniform_f32(rng::key(&[number as u64, i as u64])) - 0.5);
        }
    }
    adapter.set_magnitudes(base, &Reference);
    adapter
}

/// Two examples of different lengths with some trained tokens each.
fn two_examples() -> PackedBatch {
    let examples: [&[u32]; 2] = [&[3, 7, 1, 30, 12, 8, 9], &[5, 5, 2, 11]];
    let mut batch = PackedBatch { segments: vec![0], ..PackedBatch::default() };
    for (number, ids) in examples.iter().enumerate() {
        let start = batch.ids.len();
        for (i, &id) in ids.iter().enumerate() {
            batch.ids.push(id);
            batch.positions.push(i as u32);
            batch.row_keys.push(rng::key(&[number as u64, i as u64]));
            if i >= 2 {
                batch.targets.push(Target { row: start + i - 1, token: id });
            }
        }
        batch.segments.push(batch.ids.len());
    }
    batch
}

fn loss(decoder: &Decoder, adapter: &Adapter, batch: &PackedBatch, options: &ForwardOptions, smoothing: f32) -> f64 {
    let pass = decoder.forward(batch, Some(adapter), options).unwrap();
    let head = decoder.head_logprobs(&pass, smoothing, false);
    -head.smoothed.iter().map(|&logprob| f64::from(logprob)).sum::<f64>() / batch.targets.len() as f64
}

fn gradients(
    decoder: &Decoder,
    adapter: &Adapter,
    batch: &PackedBatch,
    options: &ForwardOptions,
    smoothing: f32,
) -> Gradients {
    let pass = decoder.forward(batch, Some(adapter), options).unwrap();
    let head = decoder.head_logprobs(&pass, smoothing, true);
    let coefficients = vec![-1.0 / batch.targets.len() as f32; batch.targets.len()];
    let mut gradients = Gradients::zeros(adapter);
    decoder.backward(pass, head, &coefficients, adapter, &mut gradients);
    gradients
}

/// Central difference of the loss in one element, by Richardson's extrapolation over two steps.
fn numeric_gradient(
    decoder: &Decoder,
    adapter: &mut Adapter,
    (module, part, at): (usize, usize, usize),
    step: f32,
    batch: &PackedBatch,
    options: &ForwardOptions,
) -> f64 {
    let mut central = |step: f32| {
        let mut side = |delta: f32| {
            let change = |adapter: &mut Adapter, value: Option<f32>| {
                let module = &mut adapter.modules[module];
                // Not through `parameters_mut`: the norms that DoRA remembers must stay, they count as constant.
                let slot = match (part, &mut module.magnitude) {
                    (0, _) => &mut module.a[at],
                    (1, _) => &mut module.b[at],
                    (_, Some(magnitude)) => &mut magnitude[at],
                    (_, None) => panic!("a module without magnitudes"),
                };
                let before = *slot;
                *slot = value.unwrap_or(before + delta);
                before
            };
            let before = change(adapter, None);
            let value = loss(decoder, adapter, batch, options, 0.1);
            change(adapter, Some(before));
            value
        };
        (side(step) - side(-step)) / (2.0 * f64::from(step))
    };
    (4.0 * central(step / 2.0) - central(step)) / 3.0
}

#[test]
fn every_adapter_gradient_agrees_with_finite_differences() {
    for (family, use_dora) in FAMILIES.into_iter().flat_map(|family| [(family, false), (family, true)]) {
        let dir = tempfile::tempdir().unwrap();
        common::write_model(dir.path(), &common::config(family), 1);
        let base = BaseModel::load(dir.path()).unwrap();
        let decoder = Decoder::new(&Reference, &base, 16).unwrap();
        let spec = AdapterSpec { dropout: 0.25, use_dora, ..adapter_spec() };
        let batch = two_examples();
        let options = ForwardOptions { dropout_key: Some(77), ..TRAINING };
        let mut adapter = warm_adapter(&base, &spec);
        let analytic = gradients(&decoder, &adapter, &batch, &options, 0.1);

        for module in 0..adapter.modules.len() {
            for (part, name) in ["A", "B", "magnitude"].into_iter().enumerate().take(if use_dora { 3 } else { 2 }) {
                let (da, db) = &analytic.modules[module];
                let gradient = [Some(da), Some(db), analytic.magnitudes[module].as_ref()][part].unwrap();
                for sample in 0..2 {
                    let key = rng::key(&[module as u64, part as u64, sample]);
                    let at = rng::below(key, gradient.len() as u64) as usize;
                    let numeric = numeric_gradient(&decoder, &mut adapter, (module, part, at), 2e-2, &batch, &options);
                    let got = f64::from(gradient[at]);
                    assert!(
                        (got - numeric).abs() < 2e-4 + 2e-2 * numeric.abs(),
                        "{family} DoRA {use_dora} {} {name} [{at}]: {got} by backward, {numeric} by differences",
                        adapter.modules[module].name,
                    );
                }
            }
        }
    }
}

/// Every linear becomes `m / ||W + s B A|| (W + s B A)`, by plain loops over the files' values.
fn fused_by_hand(spec: &attune_model::DecoderSpec, adapter: &Adapter, tensors: &mut [(String, Vec<usize>, Vec<f32>)]) {
    for module in &adapter.modules {
        let name = format!("{}.weight", module.name);
        let (_, _, weight) = tensors.iter_mut().find(|(found, ..)| *found == name).unwrap();
        let (outputs, inputs) = spec.linear_shape(module.linear);
        let magnitude = module.magnitude.as_ref().unwrap();
        for o in 0..outputs {
            let sum = |i: usize| {
                let terms = (0..module.rank).map(|r| module.b[o * module.rank + r] * module.a[r * inputs + i]);
                weight[o * inputs + i] + module.scale * terms.sum::<f32>()
            };
            let row: Vec<f32> = (0..inputs).map(sum).collect();
            let norm = row.iter().map(|value| value * value).sum::<f32>().sqrt();
            for (to, value) in weight[o * inputs..(o + 1) * inputs].iter_mut().zip(row) {
                *to = magnitude[o] / norm * value;
            }
        }
    }
}

#[test]
fn dora_is_the_model_whose_rows_have_the_magnitudes_as_norms() {
    for family in FAMILIES {
        let dir = tempfile::tempdir().unwrap();
        let spec = common::write_model(dir.path(), &common::config(family), 8);
        let base = BaseModel::load(dir.path()).unwrap();
        let mut adapter = warm_adapter(&base, &AdapterSpec { use_dora: true, use_rslora: true, ..adapter_spec() });
        for (number, module) in adapter.modules.iter_mut().enumerate() {
            for (i, m) in module.magnitude.as_mut().unwrap().iter_mut().enumerate() {
                *m *= 0.5 + rng::uniform_f32(rng::key(&[number as u64, i as u64, 1]));
            }
        }
        let mut tensors = common::random_tensors(&spec, 8);
        fused_by_hand(&spec, &adapter, &mut tensors);
        let fused_dir = dir.path().join("fused");
        std::fs::create_dir(&fused_dir).unwrap();
        std::fs::copy(dir.path().join("config.json"), fused_dir.join("config.json")).unwrap();
        let views: Vec<TensorView> =
            tensors.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
        write_tensors(&fused_dir.join("model.safetensors"), &views, &BTreeMap::new()).unwrap();
        let fused = BaseModel::load(&fused_dir).unwrap();

        let ids = [3, 7, 1, 30, 12, 8, 9, 2];
        let expected = Decoder::new(&Reference, &fused, 16).unwrap().logits(&ids, None).unwrap();
        let decoder = Decoder::new(&Reference, &base, 16).unwrap();
        let got = decoder.logits(&ids, Some(&adapter)).unwrap();
        let without = decoder.logits(&ids, None).unwrap();
        let distance = |other: &[f32]| got.data().iter().zip(other).map(|(a, b)| (a - b).abs()).fold(0.0f32, f32::max);
        assert!(distance(expected.data()) < 2e-5, "{family}: {}", distance(expected.data()));
        assert!(distance(without.data()) > 0.1, "{family}: the adapter does something");
    }
}

#[test]
fn a_fresh_dora_adapter_changes_nothing_but_rounding_and_must_have_its_magnitudes() {
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("qwen2"), 9);
    let base = BaseModel::load(dir.path()).unwrap();
    let decoder = Decoder::new(&Reference, &base, 16).unwrap();
    let mut adapter = Adapter::init(&base.spec, &AdapterSpec { use_dora: true, ..adapter_spec() }, 5).unwrap();
    assert!(decoder.logits(&[1, 2, 3], Some(&adapter)).unwrap().data().iter().all(|logit| logit.is_nan()));
    adapter.set_magnitudes(&base, &Reference);
    let (got, expected) =
        (decoder.logits(&[1, 2, 3], Some(&adapter)).unwrap(), decoder.logits(&[1, 2, 3], None).unwrap());
    for (got, expected) in got.data().iter().zip(expected.data()) {
        assert!((got - expected).abs() < 1e-5, "{got} for {expected}");
    }
}

#[test]
fn changed_parameters_get_new_norms() {
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("llama"), 10);
    let base = BaseModel::load(dir.path()).unwrap();
    let decoder = Decoder::new(&Reference, &base, 16).unwrap();
    let mut adapter = warm_adapter(&base, &AdapterSpec { use_dora: true, ..adapter_spec() });
    let before = decoder.logits(&[1, 2, 3], Some(&adapter)).unwrap();
    for module in &mut adapter.modules {
        module.parameters_mut().b.iter_mut().for_each(|b| *b *= 5.0);
    }
    let after = decoder.logits(&[1, 2, 3], Some(&adapter)).unwrap();
    // A copy remembers nothing, so it is what the adapter must agree with.
    assert_eq!(after, decoder.logits(&[1, 2, 3], Some(&adapter.clone())).unwrap());
    assert_ne!(after, before);
}

#[test]
fn packing_changes_nothing() {
    for family in FAMILIES {
        let dir = tempfile::tempdir().unwrap();
        common::write_model(dir.path(), &common::config(family), 2);
        let base = BaseModel::load(dir.path()).unwrap();
        let decoder = Decoder::new(&Reference, &base, 16).unwrap();
        let adapter = warm_adapter(&base, &adapter_spec());
        let batch = two_examples();
        let pass = decoder.forward(&batch, Some(&adapter), &ForwardOptions::INFERENCE).unwrap();
        let packed = decoder.head_logprobs(&pass, 0.0, false).logprobs;
        let mut alone = Vec::new();
        for borders in batch.segments.windows(2) {
            let mut single = PackedBatch::single(&batch.ids[borders[0]..borders[1]]);
            single.targets.retain(|target| target.row >= 1);
            let pass = decoder.forward(&single, Some(&adapter), &ForwardOptions::INFERENCE).unwrap();
            alone.extend(decoder.head_logprobs(&pass, 0.0, false).logprobs);
        }
        assert_eq!(packed, alone, "{family}");
    }
}

#[test]
fn the_cache_gives_the_same_log_probabilities_as_the_packed_pass() {
    for family in FAMILIES {
        let dir = tempfile::tempdir().unwrap();
        common::write_model(dir.path(), &common::config(family), 3);
        let base = BaseModel::load(dir.path()).unwrap();
        let decoder = Decoder::new(&Reference, &base, 16).unwrap();
        let ids = [3, 7, 1, 30, 12, 8, 9, 2];
        let batch = PackedBatch::single(&ids);
        let pass = decoder.forward(&batch, None, &ForwardOptions::INFERENCE).unwrap();
        let packed = decoder.head_logprobs(&pass, 0.0, false).logprobs;
        let logits = decoder.logits(&ids, None).unwrap();
        for (i, &expected) in packed.iter().enumerate() {
            let row = logits.row(i);
            let lse = row.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln();
            let got = f64::from(row[ids[i + 1] as usize]) - lse;
            assert!((got - f64::from(expected)).abs() < 1e-5, "{family} row {i}: {got} and {expected}");
        }
    }
}

#[test]
fn recomputing_gives_the_same_bits() {
    for use_dora in [false, true] {
        recomputing(use_dora);
    }
}

fn recomputing(use_dora: bool) {
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("qwen3"), 4);
    let base = BaseModel::load(dir.path()).unwrap();
    let decoder = Decoder::new(&Reference, &base, 16).unwrap();
    let spec = AdapterSpec { dropout: 0.5, use_dora, ..adapter_spec() };
    let adapter = warm_adapter(&base, &spec);
    let options = |save| ForwardOptions { save, dropout_key: Some(9) };
    let batch = two_examples();
    let kept = gradients(&decoder, &adapter, &batch, &options(SavePolicy::Keep), 0.0);
    let mixed = (0..=base.spec.layers + 1).map(SavePolicy::RecomputeLowest);
    for save in mixed.chain([SavePolicy::Recompute]) {
        assert_eq!(kept, gradients(&decoder, &adapter, &batch, &options(save), 0.0), "{save:?}");
    }
    let other = ForwardOptions { dropout_key: Some(10), save: SavePolicy::Keep };
    assert_ne!(kept, gradients(&decoder, &adapter, &batch, &other, 0.0), "another key is another mask");
}

#[test]
fn a_partial_adapter_gets_the_gradients_of_the_full_one() {
    // Gradients of the adapted modules must not depend on where the backward pass may stop.
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("llama"), 5);
    let base = BaseModel::load(dir.path()).unwrap();
    let decoder = Decoder::new(&Reference, &base, 16).unwrap();
    let batch = two_examples();
    let mut full = Adapter::init(&base.spec, &adapter_spec(), 5).unwrap(); // B = 0: only B has a gradient
    for module in &mut full.modules {
        module.b.fill(0.0);
    }
    let expected = gradients(&decoder, &full, &batch, &TRAINING, 0.0);
    for (layers, targets) in [
        (LayerChoice::Last(1), Targets::AllLinear),
        (LayerChoice::Last(2), Targets::Some(vec![Linear::Down])),
        (LayerChoice::Last(2), Targets::Some(vec![Linear::V])),
        (LayerChoice::First(1), Targets::Some(vec![Linear::Gate, Linear::Q])),
        (LayerChoice::Only(vec![1]), Targets::Some(vec![Linear::O, Linear::Up])),
    ] {
        let spec = AdapterSpec { layers, targets, ..adapter_spec() };
        let partial = Adapter::init(&base.spec, &spec, 5).unwrap();
        let got = gradients(&decoder, &partial, &batch, &TRAINING, 0.0);
        for (module, got) in partial.modules.iter().zip(&got.modules) {
            let at = full.position(module.layer, module.linear).unwrap();
            assert_eq!(module.a, full.modules[at].a, "the initial A does not depend on the choice of modules");
            assert_eq!(got, &expected.modules[at], "{} in {spec:?}", module.name);
            assert!(got.1.iter().any(|&db| db != 0.0), "{} has a gradient", module.name);
        }
    }
}

#[test]
fn an_inert_adapter_changes_nothing_and_says_so() {
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("mistral"), 6);
    let base = BaseModel::load(dir.path()).unwrap();
    let decoder = Decoder::new(&Reference, &base, 16).unwrap();
    let adapter = Adapter::init(&base.spec, &adapter_spec(), 1).unwrap();
    assert!(adapter.is_inert());
    assert_eq!(decoder.logits(&[1, 2, 3], None).unwrap(), decoder.logits(&[1, 2, 3], Some(&adapter)).unwrap());
}

#[test]
fn rank_and_alpha_patterns_reach_the_modules_they_name() {
    let dir = tempfile::tempdir().unwrap();
    common::write_model(dir.path(), &common::config("llama"), 7);
    let base = BaseModel::load(dir.path()).unwrap();
    let mut spec = adapter_spec();
    spec.use_rslora = true;
    spec.rank_pattern.insert("q_proj".into(), 4);
    spec.alpha_pattern.insert("layers.1.mlp.up_proj".into(), 12.0);
    let adapter = Adapter::init(&base.spec, &spec, 1).unwrap();
    for module in &adapter.modules {
        let rank = if module.linear == Linear::Q { 4 } else { 3 };
        let alpha = if module.name == "model.layers.1.mlp.up_proj" { 12.0 } else { 6.0 };
        assert_eq!((module.rank, module.scale), (rank, alpha / (rank as f32).sqrt()), "{}", module.name);
    }
    spec.rank_pattern.insert("no_proj".into(), 4);
    let error = Adapter::init(&base.spec, &spec, 1).unwrap_err().to_string();
    assert!(error.contains("rank_pattern") && error.contains("no_proj"), "{error}");
}
