//! Gradients of all weights against finite differences, for a model with everything that a layer can have.

#![allow(clippy::unwrap_used)]

use attune_compute::{Backend, DType, reference::Reference, rng};
use attune_model::{
    Decoder, DecoderSpec, ForwardOptions, FullModel, PackedBatch, RopeScaling, SavePolicy, Target, WeightGradients,
};

const SMOOTHING: f32 = 0.1;

/// Biases everywhere, norms of q and k, a window in one layer.
fn spec(tied_head: bool) -> DecoderSpec {
    DecoderSpec {
        family: "qwen3".into(),
        hidden: 8,
        layers: 2,
        heads: 2,
        kv_heads: 1,
        head_dim: 4,
        feed_forward: 12,
        vocabulary: 11,
        max_positions: 16,
        norm_epsilon: 1e-6,
        rope_theta: 100.0,
        rope_scaling: RopeScaling::None,
        qkv_bias: true,
        output_bias: true,
        mlp_bias: true,
        qk_norm: true,
        tied_head,
        windows: vec![None, Some(3)],
    }
}

/// Weights that differ from gain 1 and bias 0, wide enough for uneven attention.
fn model(tied_head: bool, dtype: DType) -> FullModel {
    let mut model = FullModel::random(&spec(tied_head), dtype, 0.4, 5);
    let is_vector: Vec<bool> = model.outline().iter().map(|outline| outline.shape.len() == 1).collect();
    for (part, (values, _)) in model.values_mut().zip(is_vector).enumerate().filter(|(_, (_, vector))| *vector) {
        for (i, value) in values.iter_mut().enumerate() {
            *value += 0.6 * (rng::uniform_f32(rng::key(&[part as u64, i as u64])) - 0.5);
        }
    }
    model
}

/// Two examples that share tokens, some of them trained.
fn batch() -> PackedBatch {
    let examples: [&[u32]; 2] = [&[3, 7, 1, 10, 7, 8, 9], &[5, 5, 2, 7]];
    let mut batch = PackedBatch { segments: vec![0], ..PackedBatch::default() };
    for ids in examples {
        let start = batch.ids.len();
        for (i, &id) in ids.iter().enumerate() {
            batch.ids.push(id);
            batch.positions.push(i as u32);
            batch.row_keys.push(0);
            if i >= 2 {
                batch.targets.push(Target { row: start + i - 1, token: id });
            }
        }
        batch.segments.push(batch.ids.len());
    }
    batch
}

fn loss(model: &FullModel, batch: &PackedBatch) -> f64 {
    let copy = model.working_copy(&Reference);
    let decoder = Decoder::new(&Reference, &copy, 16).unwrap();
    let pass = decoder.forward(batch, None, &ForwardOptions::INFERENCE).unwrap();
    let head = decoder.head_logprobs(&pass, SMOOTHING, false);
    -head.smoothed.iter().map(|&logprob| f64::from(logprob)).sum::<f64>() / batch.targets.len() as f64
}

fn gradients(backend: &dyn Backend, model: &FullModel, batch: &PackedBatch, save: SavePolicy) -> WeightGradients {
    let copy = model.working_copy(backend);
    let decoder = Decoder::new(backend, &copy, 16).unwrap();
    let pass = decoder.forward(batch, None, &ForwardOptions { save, dropout_key: None }).unwrap();
    let coefficients = vec![-1.0 / batch.targets.len() as f32; batch.targets.len()];
    let mut gradients = model.zero_gradients();
    decoder.backward_full(pass, SMOOTHING, &coefficients, &mut gradients);
    gradients
}

/// The loss with one value moved.
fn moved(model: &mut FullModel, (part, at): (usize, usize), delta: f32, batch: &PackedBatch) -> f64 {
    let shift = |model: &mut FullModel, set: Option<f32>| {
        let values = model.values_mut().nth(part).unwrap();
        let before = values[at];
        values[at] = set.unwrap_or(before + delta);
        before
    };
    let before = shift(model, None);
    let loss = loss(model, batch);
    shift(model, Some(before));
    loss
}

#[test]
fn every_value_of_every_parameter_agrees_with_finite_differences() {
    let batch = batch();
    for tied_head in [false, true] {
        let mut model = model(tied_head, DType::F32);
        let analytic = gradients(&Reference, &model, &batch, SavePolicy::Keep);
        let names: Vec<String> = model.outline().iter().map(|outline| outline.name.clone()).collect();
        let mut compared = 0;
        for (part, (name, gradient)) in names.iter().zip(analytic.iter()).enumerate() {
            let scale = gradient.iter().map(|g| g.abs()).fold(0.0, f32::max);
            assert!(scale > 1e-4, "{name}: has a gradient");
            for (at, &got) in gradient.iter().enumerate() {
                let mut central = |step: f32| {
                    let sides = [step, -step].map(|delta| moved(&mut model, (part, at), delta, &batch));
                    (sides[0] - sides[1]) / (2.0 * f64::from(step))
                };
                // Richardson's extrapolation over two steps.
                let numeric = (4.0 * central(1e-2) - central(2e-2)) / 3.0;
                let error = (f64::from(got) - numeric).abs();
                // A loss in f32 is known to some 1e-7, and is divided by 1e-2.
                assert!(error < 2e-3 * numeric.abs() + 5e-5, "{name}[{at}]: {got} instead of {numeric}");
                compared += 1;
            }
        }
        assert_eq!(compared, spec(tied_head).parameters());
    }
}

#[test]
fn layers_that_run_again_give_the_same_bits() {
    let batch = batch();
    for (tied_head, dtype) in [(false, DType::F32), (true, DType::F32), (false, DType::Bf16), (true, DType::Bf16)] {
        let model = model(tied_head, dtype);
        let backends: [Box<dyn Backend>; 2] =
            [Box::new(Reference), Box::new(attune_compute::cpu::Cpu::new(Some(2)).unwrap())];
        for backend in backends {
            let bits = |save| -> Vec<u32> {
                let gradients = gradients(&*backend, &model, &batch, save);
                gradients.iter().flatten().map(|value| value.to_bits()).collect()
            };
            let kept = bits(SavePolicy::Keep);
            assert!(kept.iter().any(|bits| *bits != 0));
            assert_eq!(kept, bits(SavePolicy::Recompute), "{}", backend.name());
            assert_eq!(kept, bits(SavePolicy::RecomputeLowest(1)), "{}", backend.name());
        }
    }
}

/// What is not in the batch has no gradient, and a second pass adds to the first.
#[test]
fn gradients_are_sparse_where_they_should_be_and_add_up() {
    let batch = batch();
    let model = model(false, DType::F32);
    let once = gradients(&Reference, &model, &batch, SavePolicy::Keep);
    for id in 0..11 {
        let row = &once.embedding[id as usize * 8..][..8];
        // The last token of an example predicts nothing.
        let is_read = batch.segments.windows(2).any(|ends| batch.ids[ends[0]..ends[1] - 1].contains(&id));
        assert_eq!(row.iter().any(|value| *value != 0.0), is_read, "token {id}");
    }
    let copy = model.working_copy(&Reference);
    let decoder = Decoder::new(&Reference, &copy, 16).unwrap();
    let mut twice = model.zero_gradients();
    for _ in 0..2 {
        let options = ForwardOptions { save: SavePolicy::Keep, dropout_key: None };
        let pass = decoder.forward(&batch, None, &options).unwrap();
        let coefficients = vec![-1.0 / batch.targets.len() as f32; batch.targets.len()];
        decoder.backward_full(pass, SMOOTHING, &coefficients, &mut twice);
    }
    for ((name, once), twice) in model.outline().iter().zip(once.iter()).zip(twice.iter()) {
        for (once, twice) in once.iter().zip(twice) {
            assert!((2.0 * once - twice).abs() <= 1e-5 * twice.abs().max(1e-3), "{}", name.name);
        }
    }
}
