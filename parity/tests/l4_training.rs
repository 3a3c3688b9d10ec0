//! Rungs l3 and l4: the losses and gradient norms of ten AdamW steps, and the adapter after them, against PEFT trained
//! by PyTorch, through the same `train_step` that `ft train` takes.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and their helpers")]

use std::path::Path;
use std::sync::atomic::AtomicBool;

use attune_compute::Backend;
use attune_compute::reference::Reference;
use attune_config::Schedule as ScheduleKind;
use attune_data::RowOrigin;
use attune_model::SavePolicy;
use attune_parity::golden::{Run, Schedule as GoldenSchedule};
use attune_parity::harness::{self, Loaded};
use attune_parity::planted::{Mistake, Planted};
use attune_parity::tolerances::tolerance;
use attune_parity::{Arithmetic, Comparison, Golden, Mismatch, Quantity, Rung};
use attune_train::examples::Example;
use attune_train::objective::{Objective, Score, Sft};
use attune_train::optimizer::AdamWSettings;
use attune_train::plan::{Layout, Packing};
use attune_train::schedule::Schedule;
use attune_train::step::{Engine, StepInput, StepOutcome, StepResult, Trainable, train_step};

const PACKED: Packing = Packing { layout: Layout::Packed, max_tokens: None, max_examples: None };
const ONE_BY_ONE: Packing = Packing { layout: Layout::Packed, max_tokens: None, max_examples: Some(1) };
const PADDED: Packing = Packing { layout: Layout::Padded { pad_id: 0 }, max_tokens: None, max_examples: Some(2) };

fn loaded() -> Vec<Loaded> {
    Golden::all().unwrap().into_iter().map(|golden| Loaded::new(golden).unwrap()).collect()
}

/// How to train.
struct Way<'a> {
    backend: &'a dyn Backend,
    objective: &'a dyn Objective,
    packing: Packing,
    save: SavePolicy,
}

impl<'a> Way<'a> {
    fn usual(backend: &'a dyn Backend) -> Self {
        Self { backend, objective: &Sft, packing: PACKED, save: SavePolicy::Keep }
    }
}

/// Takes the ten steps of the case.
fn train(loaded: &Loaded, way: &Way) -> (Vec<StepOutcome>, Trainable) {
    let case = &loaded.golden.case;
    let file: std::sync::Arc<Path> = Path::new("rows").into();
    let origin = |row| RowOrigin { file: file.clone(), row, line: row };
    let examples: Vec<Example> = case
        .rows
        .iter()
        .enumerate()
        .map(|(i, row)| Example {
            ids: row.ids.clone(),
            trained: row.trained.iter().map(|&trained| trained == 1).collect(),
            hash: [0; 32],
            origin: origin(i + 1),
        })
        .collect();
    let training = &case.training;
    let settings = AdamWSettings {
        beta1: training.adam_beta1,
        beta2: training.adam_beta2,
        epsilon: training.adam_epsilon,
        weight_decay: training.weight_decay,
    };
    let engine = Engine {
        decoder: loaded.decoder(way.backend).unwrap(),
        objective: way.objective,
        packing: way.packing,
        save: way.save,
        label_smoothing: training.label_smoothing,
        max_grad_norm: Some(training.max_grad_norm),
        seed: 0,
    };
    let mut trainable = Trainable::new(loaded.adapter.clone(), settings);
    let steps = case.steps.iter().zip(&training.learning_rates).enumerate();
    let outcomes = steps.map(|(step, (indices, &learning_rate))| {
        let input = StepInput { examples: &examples, indices, step: step as u64, learning_rate };
        match train_step(&engine, &mut trainable, &input, &AtomicBool::new(false)).unwrap() {
            StepResult::Done(outcome) => outcome,
            other => panic!("{}: step {step}: {other:?}", case.name),
        }
    });
    (outcomes.collect(), trainable)
}

fn compare_numbers(
    what: &str,
    (quantity, ours, reference): (Quantity, Arithmetic, Arithmetic),
    got: impl Iterator<Item = f64>,
    expected: &[f64],
) -> Result<String, Mismatch> {
    let mut comparison = Comparison::new(what, tolerance(Rung::L4, quantity, ours, reference));
    let got: Vec<f64> = got.collect();
    assert_eq!(got.len(), expected.len());
    for (step, (got, expected)) in got.iter().zip(expected).enumerate() {
        comparison.add_f64(&format!("{quantity:?} of step {}", step + 1), &[*got], &[*expected]);
    }
    comparison.finish()
}

/// Losses, norms and the final adapter, in this order.
fn compare(loaded: &Loaded, way: &Way) -> [Result<String, Mismatch>; 3] {
    let (outcomes, trainable) = train(loaded, way);
    let what = format!("{} on {} {:?} {:?}", loaded.golden.case.name, way.backend.name(), way.packing, way.save);
    let Run { losses, gradient_norms } = &loaded.golden.case.runs.f32;
    let (ours, f32) = (loaded.arithmetic(way.backend), Arithmetic::F32);
    let mut adapter = Comparison::new(&what, tolerance(Rung::L4, Quantity::FinalAdapter, ours, f32));
    let by_module = harness::matrices(trainable.trained.adapter().unwrap());
    harness::compare_by_name(&mut adapter, &loaded.golden, "final.", by_module).unwrap();
    [
        compare_numbers(&what, (Quantity::Losses, ours, f32), outcomes.iter().map(|outcome| outcome.loss), losses),
        compare_numbers(
            &what,
            (Quantity::GradientNorms, ours, f32),
            outcomes.iter().map(|outcome| outcome.grad_norm),
            gradient_norms,
        ),
        adapter.finish(),
    ]
}

fn assert_equal(loaded: &Loaded, way: &Way) {
    for result in compare(loaded, way) {
        println!("{}", result.unwrap_or_else(|mismatch| panic!("{mismatch}")));
    }
}

#[test]
fn ten_steps_are_those_of_peft_on_every_backend() {
    for loaded in loaded() {
        for backend in harness::backends().unwrap() {
            assert_equal(&loaded, &Way::usual(&*backend));
        }
    }
}

#[test]
fn ten_steps_do_not_depend_on_how_a_batch_is_cut() {
    for loaded in loaded() {
        for packing in [ONE_BY_ONE, PADDED] {
            assert_equal(&loaded, &Way { packing, ..Way::usual(&Reference) });
        }
        for save in [SavePolicy::Recompute, SavePolicy::RecomputeLowest(1)] {
            assert_equal(&loaded, &Way { save, ..Way::usual(&Reference) });
        }
    }
}

#[test]
fn losses_are_as_near_to_a_bf16_run_as_f32_can_be() {
    for loaded in loaded().iter().filter(|loaded| loaded.golden.is_bf16()) {
        let expected = &loaded.golden.case.runs.bf16.as_ref().unwrap().losses;
        for backend in harness::backends().unwrap() {
            let (outcomes, _) = train(loaded, &Way::usual(&*backend));
            let what = format!("{} on {}", loaded.golden.case.name, backend.name());
            let got = outcomes.iter().map(|outcome| outcome.loss);
            let result = compare_numbers(
                &what,
                (Quantity::Losses, loaded.arithmetic(&*backend), Arithmetic::Bf16),
                got,
                expected,
            );
            println!("{}", result.unwrap_or_else(|mismatch| panic!("{mismatch}")));
        }
    }
}

/// The mistake that many trainers make under gradient accumulation: every micro-batch has the same weight.
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

#[test]
fn a_mean_of_means_is_noticed() {
    for loaded in loaded() {
        let wrong = MeanOfMeans { micro_batches: loaded.golden.case.steps[0].len() };
        let way = Way { objective: &wrong, packing: ONE_BY_ONE, ..Way::usual(&Reference) };
        for result in compare(&loaded, &way) {
            result.unwrap_err();
        }
    }
}

#[test]
fn a_wrong_optimizer_is_noticed() {
    for loaded in loaded() {
        let [losses, _, adapter] = compare(&loaded, &Way::usual(&Planted(Mistake::BiasCorrectionForgotten)));
        losses.unwrap_err();
        adapter.unwrap_err();
    }
    let decayed: Vec<_> =
        loaded().into_iter().filter(|loaded| loaded.golden.case.training.weight_decay > 0.0).collect();
    assert!(!decayed.is_empty());
    for loaded in decayed {
        let [_, _, adapter] = compare(&loaded, &Way::usual(&Planted(Mistake::DecayForgotten)));
        adapter.unwrap_err();
    }
}

#[test]
fn wrong_kernels_are_noticed() {
    let mistakes = [
        Mistake::LinearForgetsTail,
        Mistake::SegmentsIgnored,
        Mistake::RopeBackwardRotatesForward,
        Mistake::NormBackwardForgetsRoot,
    ];
    for mistake in mistakes {
        for loaded in loaded() {
            for result in compare(&loaded, &Way::usual(&Planted(mistake))) {
                result.expect_err(&format!("{mistake:?} {}", loaded.golden.case.name));
            }
        }
    }
}

/// After the warm-up the schedules are equal. During it ours is one step ahead: Transformers' first step has the rate 0.
#[test]
fn schedules_are_those_of_transformers_but_for_the_first_step_of_a_warm_up() {
    let mut warmed_up = 0;
    for golden in Golden::all().unwrap() {
        let training = &golden.case.training;
        let schedule = Schedule {
            kind: match training.schedule {
                GoldenSchedule::Constant => ScheduleKind::Constant,
                GoldenSchedule::Linear => ScheduleKind::Linear,
                GoldenSchedule::Cosine => ScheduleKind::Cosine,
            },
            total_steps: training.learning_rates.len() as u64,
            warmup_steps: training.warmup_steps,
            min_ratio: 0.0,
        };
        for step in 0..schedule.total_steps {
            let warming_up = step < training.warmup_steps;
            let theirs = training.learning_rates[step as usize + usize::from(warming_up)];
            let ours = training.learning_rate * schedule.factor(step);
            assert!((ours - theirs).abs() < 1e-12, "{} step {step}: {ours} instead of {theirs}", golden.case.name);
            warmed_up += usize::from(warming_up);
        }
    }
    assert!(warmed_up > 0);
}
