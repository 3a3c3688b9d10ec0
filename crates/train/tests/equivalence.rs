//! `batch_size` is mathematics, packing is execution: how a step is cut cannot change the adapter beyond rounding, and
//! the number of threads cannot change it at all.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::AtomicBool;

use attune_config::{Activations, BackendChoice, Config, Layout as LayoutChoice, MicroBatchTokens};
use attune_model::{Decoder, SavePolicy};
use attune_train::inputs::Inputs;
use attune_train::objective::{Objective, Score, Sft};
use attune_train::optimizer::AdamWSettings;
use attune_train::plan::{Layout, Packing};
use attune_train::step::{Engine, StepInput, StepResult, Trainable, train_step};
use common::{World, largest_difference};

/// Batches of eight over rows of very different trained counts.
fn config(world: &World) -> Config {
    let mut config = world.config();
    config.training.batch_size = 8;
    config.training.steps = Some(4);
    config.hardware.micro_batch_tokens = MicroBatchTokens::Unlimited;
    config
}

type Change = fn(&mut Config);

/// 1 x 8, 8 x 1, some of each, by tokens, padded, recomputed.
const CUTS: [(&str, Change); 9] = [
    ("8x1", |config| config.hardware.micro_batch_examples = Some(1)),
    ("3-3-2", |config| config.hardware.micro_batch_examples = Some(3)),
    ("by-tokens", |config| config.hardware.micro_batch_tokens = MicroBatchTokens::Tokens(100)),
    ("padded", |config| config.hardware.layout = LayoutChoice::Padded),
    ("padded-by-3", |config| {
        config.hardware.layout = LayoutChoice::Padded;
        config.hardware.micro_batch_examples = Some(3);
    }),
    ("recompute", |config| config.hardware.activations = Activations::Recompute),
    ("recompute-the-lower-layer", |config| config.hardware.activations = Activations::RecomputeLayers(1)),
    ("recompute-the-lower-layer-by-tokens", |config| {
        config.hardware.activations = Activations::RecomputeLayers(1);
        config.hardware.micro_batch_tokens = MicroBatchTokens::Tokens(64);
    }),
    ("recompute-8x1", |config| {
        config.hardware.activations = Activations::Recompute;
        config.hardware.micro_batch_examples = Some(1);
    }),
];

fn compare_all_cuts(prepare: Change) {
    let world = World::new();
    let mut whole = config(&world);
    prepare(&mut whole);
    let summary = world.train(whole.clone(), "whole").unwrap();
    for (name, change) in CUTS {
        let mut other = whole.clone();
        change(&mut other);
        let cut = world.train(other, name).unwrap();
        let difference = largest_difference(&world.adapter("whole"), &world.adapter(name));
        assert!(difference < 1e-5, "{name}: adapters differ by {difference}");
        for (a, b) in summary.train_loss.iter().zip(&cut.train_loss) {
            assert!((a - b).abs() < 1e-5, "{name}: losses {a} and {b}");
        }
    }
}

#[test]
fn how_a_batch_is_cut_does_not_change_the_adapter() {
    compare_all_cuts(|_| {});
}

#[test]
fn nor_with_dropout_whose_masks_follow_the_example() {
    compare_all_cuts(|config| config.adapter.dropout = 0.3);
}

#[test]
fn nor_with_label_smoothing_and_without_clipping() {
    compare_all_cuts(|config| {
        config.training.label_smoothing = 0.1;
        config.training.max_grad_norm = None;
    });
}

#[test]
fn nor_on_the_cpu_backend() {
    compare_all_cuts(|config| {
        config.hardware.backend = BackendChoice::Cpu;
        config.hardware.threads = Some(2);
    });
}

#[test]
fn dropout_does_something_and_depends_on_the_seed() {
    let world = World::new();
    let plain = config(&world);
    let mut dropped = plain.clone();
    dropped.adapter.dropout = 0.3;
    let mut other_seed = dropped.clone();
    other_seed.training.seed = 43;
    for (name, config) in [("plain", plain), ("dropped", dropped), ("other", other_seed)] {
        world.train(config, name).unwrap();
    }
    assert!(largest_difference(&world.adapter("plain"), &world.adapter("dropped")) > 1e-3);
    assert!(largest_difference(&world.adapter("other"), &world.adapter("dropped")) > 1e-3);
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    let world = World::new();
    for (name, threads) in [("one", 1), ("two", 2), ("three", 3)] {
        let mut config = config(&world);
        config.hardware.backend = BackendChoice::Cpu;
        config.hardware.threads = Some(threads);
        config.adapter.dropout = 0.1;
        world.train(config, name).unwrap();
    }
    assert_eq!(world.adapter_bytes("one"), world.adapter_bytes("two"));
    assert_eq!(world.adapter_bytes("one"), world.adapter_bytes("three"));
}

#[test]
fn what_is_kept_does_not_change_a_bit() {
    let world = World::new();
    let kinds = [
        ("keep", Activations::Keep),
        ("one", Activations::RecomputeLayers(1)),
        ("more-than-there-are", Activations::RecomputeLayers(9)),
        ("all", Activations::Recompute),
        ("auto", Activations::Auto),
    ];
    for backend in [BackendChoice::Reference, BackendChoice::Cpu] {
        for (name, activations) in kinds {
            let mut config = config(&world);
            config.hardware.backend = backend;
            config.hardware.activations = activations;
            config.adapter.dropout = 0.1;
            world.train(config, &format!("{name}-{backend:?}")).unwrap();
        }
        let kept = world.adapter_bytes(&format!("keep-{backend:?}"));
        for (name, _) in kinds {
            assert!(kept == world.adapter_bytes(&format!("{name}-{backend:?}")), "{name} on {backend:?}");
        }
    }
}

/// The mistake that the comparison above is there to catch: each micro-batch divides by its own trained tokens, and the
/// step takes the mean over the micro-batches.
struct MeanOfMeans {
    micro_batches: usize,
}

impl Objective for MeanOfMeans {
    fn score(&self, smoothed: &[f32], _step_targets: usize) -> Score {
        let n = (smoothed.len() * self.micro_batches) as f64;
        let sum: f64 = smoothed.iter().map(|&value| f64::from(value)).sum();
        Score { loss: -sum / n, coefficients: vec![(-1.0 / n) as f32; smoothed.len()] }
    }
}

fn engine<'a>(inputs: &'a Inputs, config: &Config, objective: &'a dyn Objective, max_examples: usize) -> Engine<'a> {
    Engine {
        decoder: Decoder::new(inputs.backend.as_ref(), &inputs.base, inputs.longest_sequence(config)).unwrap(),
        objective,
        packing: Packing { layout: Layout::Packed, max_tokens: None, max_examples: Some(max_examples) },
        save: SavePolicy::Keep,
        label_smoothing: 0.0,
        max_grad_norm: Some(1.0),
        seed: 1,
    }
}

/// The adapter's values after three steps of all eight rows.
fn three_steps(inputs: &Inputs, config: &Config, objective: &dyn Objective, max_examples: usize) -> Vec<f32> {
    let engine = engine(inputs, config, objective, max_examples);
    let settings = AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let mut trainable = Trainable::new(inputs.initial(config).unwrap(), settings);
    let indices: Vec<usize> = (0..8).collect();
    for step in 0..3 {
        let input = StepInput { examples: &inputs.train, indices: &indices, step, learning_rate: 5e-3 };
        let result = train_step(&engine, &mut trainable, &input, &AtomicBool::new(false)).unwrap();
        assert!(matches!(result, StepResult::Done(_)), "{result:?}");
    }
    trainable
        .trained
        .adapter()
        .unwrap()
        .modules
        .iter()
        .flat_map(|module| module.a.iter().chain(&module.b).copied())
        .collect()
}

#[test]
fn a_mean_of_means_would_be_noticed() {
    let world = World::new();
    let config = config(&world);
    let inputs = Inputs::load(&config, None, &mut |_| Ok(())).unwrap();
    let difference = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let whole = three_steps(&inputs, &config, &Sft, 8);
    assert!(difference(&whole, &three_steps(&inputs, &config, &Sft, 1)) < 1e-5);
    let planted = three_steps(&inputs, &config, &MeanOfMeans { micro_batches: 8 }, 1);
    let found = difference(&whole, &planted);
    assert!(found > 1e-3, "the planted mistake moves the adapter by {found} only");
}

#[test]
fn an_interrupted_step_leaves_everything_as_it_was() {
    let world = World::new();
    let config = config(&world);
    let inputs = Inputs::load(&config, None, &mut |_| Ok(())).unwrap();
    let engine = engine(&inputs, &config, &Sft, 1);
    let settings = AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let mut trainable = Trainable::new(inputs.initial(&config).unwrap(), settings);
    let before = trainable.clone();
    let input = StepInput { examples: &inputs.train, indices: &[0, 1, 2], step: 0, learning_rate: 5e-3 };
    let result = train_step(&engine, &mut trainable, &input, &AtomicBool::new(true)).unwrap();
    assert_eq!(result, StepResult::Interrupted);
    assert_eq!((&trainable.trained, &trainable.optimizer), (&before.trained, &before.optimizer));
}

#[test]
fn dropout_masks_differ_from_step_to_step() {
    let world = World::new();
    for rate in [0.0, 0.3] {
        let mut config = config(&world);
        config.adapter.dropout = rate;
        let inputs = Inputs::load(&config, None, &mut |_| Ok(())).unwrap();
        let engine = engine(&inputs, &config, &Sft, 8);
        let gradients = |step: u64| {
            let settings = AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.0 };
            let mut trainable = Trainable::new(inputs.initial(&config).unwrap(), settings);
            let input = StepInput { examples: &inputs.train, indices: &[0, 1, 2], step, learning_rate: 5e-3 };
            train_step(&engine, &mut trainable, &input, &AtomicBool::new(false)).unwrap();
            trainable.gradients().clone()
        };
        assert_eq!(gradients(0) == gradients(1), rate == 0.0, "rate {rate}");
        assert_eq!(gradients(1), gradients(1));
    }
}

#[test]
fn a_step_whose_rows_all_lack_a_trained_token_stops() {
    // The checks on rows keep such steps away; whoever calls `train_step` with other examples is stopped all the same.
    let world = World::new();
    let config = world.config();
    let mut inputs = Inputs::load(&config, None, &mut |_| Ok(())).unwrap();
    inputs.train.iter_mut().for_each(|example| example.trained.fill(false));
    let engine = engine(&inputs, &config, &Sft, 8);
    let settings = AdamWSettings { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weight_decay: 0.01 };
    let mut trainable = Trainable::new(inputs.initial(&config).unwrap(), settings);
    let before = trainable.trained.clone();
    let input = StepInput { examples: &inputs.train, indices: &[0, 1], step: 4, learning_rate: 5e-3 };
    let error = train_step(&engine, &mut trainable, &input, &AtomicBool::new(false)).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("step 5: none of its rows has a trained token"), "{message}");
    assert!(message.contains(&inputs.train[1].origin.to_string()), "{message}");
    assert!(error.hint().is_some_and(|hint| hint.contains("data.untrained")));
    assert_eq!(trainable.trained, before);
}
