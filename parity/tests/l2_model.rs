//! Rung l2: logits, every adapter gradient by name, and greedy generation, against Transformers and PEFT, on every
//! backend. Rung l3 beside it: the loss of the first step.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, and their helpers")]

use attune_compute::Backend;
use attune_compute::reference::Reference;
use attune_model::{Adapter, RopeScaling, Sampling, SavePolicy, StopReason, generate};
use attune_parity::harness::{self, Cut, Loaded};
use attune_parity::planted::{Mistake, Planted};
use attune_parity::tolerances::tolerance;
use attune_parity::{Arithmetic, Comparison, Golden, Mismatch, Quantity, Rung};

const WAYS: [(Cut, SavePolicy); 3] =
    [(Cut::Packed, SavePolicy::Keep), (Cut::Packed, SavePolicy::Recompute), (Cut::OneByOne, SavePolicy::Keep)];

fn loaded() -> Vec<Loaded> {
    Golden::all().unwrap().into_iter().map(|golden| Loaded::new(golden).unwrap()).collect()
}

fn named(name: &str) -> Loaded {
    Loaded::new(Golden::named(name).unwrap()).unwrap()
}

/// Prints the report of a comparison, or fails with it.
fn passed(comparison: Result<String, Mismatch>) {
    println!("{}", comparison.unwrap_or_else(|mismatch| panic!("{mismatch}")));
}

/// Logits of all rows against one reference: prefix `logits.` or `bf16.logits.`.
fn compare_logits(
    loaded: &Loaded,
    backend: &dyn Backend,
    arithmetic: Arithmetic,
    adapter: Option<&Adapter>,
) -> Result<String, Mismatch> {
    let decoder = loaded.decoder(backend).unwrap();
    let what = format!("{} on {}", loaded.golden.case.name, backend.name());
    let mut comparison =
        Comparison::new(what, tolerance(Rung::L2, Quantity::Logits, loaded.arithmetic(backend), arithmetic));
    let prefix = if arithmetic == Arithmetic::Bf16 { "bf16." } else { "" };
    let kind = if adapter.is_some() { "adapted" } else { "base" };
    for (i, row) in loaded.golden.case.rows.iter().enumerate() {
        let name = format!("{prefix}logits.{kind}.{i}");
        let logits = decoder.logits(&row.ids, adapter).unwrap();
        comparison.add(&name, logits.data(), loaded.golden.expected(&name).unwrap());
    }
    comparison.finish()
}

fn compare_gradients(loaded: &Loaded, backend: &dyn Backend, way: (Cut, SavePolicy)) -> Result<String, Mismatch> {
    compare_gradients_as(loaded, backend, way, loaded.arithmetic(backend))
}

/// With the tolerance for what was computed in `ours`.
fn compare_gradients_as(
    loaded: &Loaded,
    backend: &dyn Backend,
    way: (Cut, SavePolicy),
    ours: Arithmetic,
) -> Result<String, Mismatch> {
    let decoder = loaded.decoder(backend).unwrap();
    let smoothing = loaded.golden.case.training.label_smoothing;
    let rows = loaded.step_rows(0);
    let (loss, gradients) = harness::loss_and_gradients(&decoder, &loaded.adapter, &rows, smoothing, way).unwrap();
    let what = format!("{} on {} {way:?}", loaded.golden.case.name, backend.name());
    let mut comparison = Comparison::new(&what, tolerance(Rung::L2, Quantity::Gradients, ours, Arithmetic::F32));
    let by_module = harness::gradient_matrices(&loaded.adapter, &gradients);
    harness::compare_by_name(&mut comparison, &loaded.golden, "gradient.", by_module).unwrap();
    let report = comparison.finish()?;

    let mut comparison = Comparison::new(what, tolerance(Rung::L3, Quantity::Losses, ours, Arithmetic::F32));
    comparison.add_f64("loss of step 1", &[loss], &loaded.golden.case.runs.f32.losses[..1]);
    Ok(format!("{report}\n{}", comparison.finish()?))
}

/// Greedy tokens of every prompt of the case; the first that differs.
fn compare_generations(loaded: &Loaded, backend: &dyn Backend) -> Result<(), String> {
    let decoder = loaded.decoder(backend).unwrap();
    let case = &loaded.golden.case;
    for expected in &case.generations {
        let adapter = expected.adapter.then_some(&loaded.adapter);
        let prompt = &case.rows[expected.row].ids;
        let sampling = Sampling::greedy(case.new_tokens, &[]);
        let got = generate(&decoder, adapter, prompt, &sampling, &mut |_| true).unwrap();
        if got.ids != expected.new_ids || got.stop != StopReason::MaxTokens {
            let (row, ids, wanted) = (expected.row, got.ids, &expected.new_ids);
            return Err(format!("{} on {}: row {row}: {ids:?}, not {wanted:?}", case.name, backend.name()));
        }
    }
    Ok(())
}

#[test]
fn logits_are_those_of_transformers_and_peft() {
    for loaded in loaded() {
        for backend in harness::backends().unwrap() {
            for adapter in [None, Some(&loaded.adapter)] {
                passed(compare_logits(&loaded, &*backend, Arithmetic::F32, adapter));
            }
        }
    }
}

#[test]
fn logits_are_as_near_to_a_bf16_run_as_f32_can_be() {
    let mut compared = 0;
    for loaded in loaded().iter().filter(|loaded| loaded.golden.is_bf16()) {
        for backend in harness::backends().unwrap() {
            for adapter in [None, Some(&loaded.adapter)] {
                passed(compare_logits(loaded, &*backend, Arithmetic::Bf16, adapter));
                compared += 1;
            }
        }
    }
    assert!(compared > 0);
}

#[test]
fn every_adapter_gradient_is_that_of_peft() {
    for loaded in loaded() {
        for backend in harness::backends().unwrap() {
            for way in WAYS {
                passed(compare_gradients(&loaded, &*backend, way));
            }
        }
    }
}

#[test]
fn greedy_tokens_over_the_cache_are_those_of_transformers() {
    for loaded in loaded() {
        let reach = loaded.golden.case.rows[0].ids.len() + loaded.golden.case.new_tokens;
        for window in loaded.base.spec.windows.iter().flatten() {
            assert!(reach > 2 * window, "{}: the window must matter", loaded.golden.case.name);
        }
        for backend in harness::backends().unwrap() {
            match loaded.arithmetic(&*backend) {
                Arithmetic::F32 | Arithmetic::RoundedF32 => {
                    compare_generations(&loaded, &*backend).unwrap_or_else(|difference| panic!("{difference}"));
                }
                // Rounding tips over the closest choices of these cases: see the next test.
                Arithmetic::Bf16 => {}
            }
        }
    }
}

/// In bf16 a random model's choices are too close for the tokens of an f32 run. What must hold: token by token over the
/// cache, the choice is that of the logits of the whole text, which the tests above compare.
#[test]
fn greedy_tokens_in_bf16_are_those_of_their_own_logits() {
    for loaded in loaded().iter().filter(|loaded| loaded.golden.is_bf16()) {
        for backend in harness::backends().unwrap() {
            let decoder = loaded.decoder(&*backend).unwrap();
            let case = &loaded.golden.case;
            for expected in &case.generations {
                let adapter = expected.adapter.then_some(&loaded.adapter);
                let prompt = &case.rows[expected.row].ids;
                let sampling = Sampling::greedy(case.new_tokens, &[]);
                let got = generate(&decoder, adapter, prompt, &sampling, &mut |_| true).unwrap();
                let text: Vec<u32> = prompt.iter().chain(&got.ids).copied().collect();
                let logits = decoder.logits(&text, adapter).unwrap();
                for (i, &id) in got.ids.iter().enumerate() {
                    let row = logits.row(prompt.len() - 1 + i);
                    let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                    assert_eq!(row[id as usize], largest, "{} on {}: token {i}", case.name, backend.name());
                }
            }
        }
    }
}

/// The wider limits of bf16 still catch every planted mistake.
#[test]
fn wrong_kernels_are_noticed_at_the_tolerance_of_bf16() {
    let backward =
        [Mistake::NormBackwardForgetsRoot, Mistake::RopeBackwardRotatesForward, Mistake::SidePathGradientUnscaled];
    for loaded in loaded().iter().filter(|loaded| loaded.golden.is_bf16()) {
        for mistake in backward.into_iter().chain([Mistake::LinearForgetsTail, Mistake::SegmentsIgnored]) {
            compare_gradients_as(loaded, &Planted(mistake), WAYS[0], Arithmetic::Bf16)
                .expect_err(&format!("{mistake:?} {}", loaded.golden.case.name));
        }
    }
}

#[test]
fn generation_reports_the_models_own_probabilities() {
    for loaded in loaded() {
        let decoder = loaded.decoder(&Reference).unwrap();
        let expected = &loaded.golden.case.generations[0];
        let prompt = &loaded.golden.case.rows[expected.row].ids;
        let got = generate(&decoder, None, prompt, &Sampling::greedy(1, &[]), &mut |_| true).unwrap();
        let name = format!("logits.base.{}", expected.row);
        let logits = loaded.golden.expected(&name).unwrap();
        let last = &logits[logits.len() - loaded.base.spec.vocabulary..];
        let log_sum = last.iter().map(|&z| f64::from(z).exp()).sum::<f64>().ln();
        let wanted = f64::from(last[got.ids[0] as usize]) - log_sum;
        assert!((f64::from(got.logprobs[0]) - wanted).abs() < 1e-4, "{} instead of {wanted}", got.logprobs[0]);
    }
}

#[test]
fn a_wrong_kernel_in_the_forward_pass_is_noticed() {
    for loaded in loaded() {
        let wrong = Planted(Mistake::LinearForgetsTail);
        let mismatch = compare_logits(&loaded, &wrong, Arithmetic::F32, None).unwrap_err();
        assert!(mismatch.report.contains("logits.base."), "names the tensor: {mismatch}");
        compare_gradients(&loaded, &wrong, WAYS[0]).unwrap_err();
        compare_generations(&loaded, &wrong).unwrap_err();
        if loaded.golden.is_bf16() {
            compare_logits(&loaded, &wrong, Arithmetic::Bf16, None).unwrap_err();
        }
    }
}

#[test]
fn a_wrong_mask_is_noticed() {
    for loaded in ["mistral-f32-sharded-tied", "mistral-bf16", "qwen2-bf16-sharded"].map(named) {
        compare_gradients(&loaded, &Planted(Mistake::WindowOneTooWide), WAYS[0]).unwrap_err();
        compare_logits(&loaded, &Planted(Mistake::CachedWindowOneTooWide), Arithmetic::F32, None).unwrap_err();
        compare_generations(&loaded, &Planted(Mistake::CachedWindowOneTooWide)).unwrap_err();
    }
    for loaded in loaded() {
        let leaking = Planted(Mistake::SegmentsIgnored);
        compare_gradients(&loaded, &leaking, (Cut::Packed, SavePolicy::Keep)).unwrap_err();
        compare_gradients(&loaded, &leaking, (Cut::OneByOne, SavePolicy::Keep)).unwrap();
    }
}

#[test]
fn a_wrong_kernel_in_the_backward_pass_is_noticed() {
    let mistakes =
        [Mistake::NormBackwardForgetsRoot, Mistake::RopeBackwardRotatesForward, Mistake::SidePathGradientUnscaled];
    for mistake in mistakes {
        let wrong = Planted(mistake);
        for loaded in loaded() {
            compare_logits(&loaded, &wrong, Arithmetic::F32, None).unwrap();
            let mismatch = compare_gradients(&loaded, &wrong, WAYS[0]).expect_err(&format!("{mistake:?}"));
            assert!(mismatch.report.contains("lora_"), "names the gradient: {mismatch}");
        }
    }
}

#[test]
fn forgotten_label_smoothing_is_noticed() {
    let loaded = named("qwen3-f32-sharded");
    assert!(loaded.golden.case.training.label_smoothing > 0.0);
    compare_gradients(&loaded, &Planted(Mistake::SmoothingForgotten), WAYS[0]).unwrap_err();
}

#[test]
fn a_mean_of_means_is_noticed() {
    for loaded in loaded() {
        let decoder = loaded.decoder(&Reference).unwrap();
        let smoothing = loaded.golden.case.training.label_smoothing;
        let rows = loaded.step_rows(0);
        let per_row = rows.iter().map(|row| {
            let way = (Cut::OneByOne, SavePolicy::Keep);
            harness::loss_and_gradients(&decoder, &loaded.adapter, &[row], smoothing, way).unwrap().0
        });
        let mean_of_means = per_row.sum::<f64>() / rows.len() as f64;
        let row = tolerance(Rung::L3, Quantity::Losses, Arithmetic::F32, Arithmetic::F32);
        let mut comparison = Comparison::new("mean", row);
        comparison.add_f64("loss of step 1", &[mean_of_means], &loaded.golden.case.runs.f32.losses[..1]);
        comparison.finish().unwrap_err();
    }
}

#[test]
fn a_feature_left_out_of_the_spec_is_noticed() {
    let mut tried = 0;
    let mut edit = |what: &str, applies: fn(&Loaded) -> bool, change: fn(&mut Loaded)| {
        for mut loaded in loaded().into_iter().filter(applies) {
            change(&mut loaded);
            compare_logits(&loaded, &Reference, Arithmetic::F32, None).expect_err(what);
            tried += 1;
        }
    };
    let has_bias = |loaded: &Loaded| loaded.base.spec.qkv_bias;
    let has_window = |loaded: &Loaded| loaded.base.spec.windows.iter().any(Option::is_some);
    edit("window", has_window, |loaded| loaded.base.spec.windows.fill(None));
    edit(
        "rope scaling",
        |loaded| loaded.base.spec.rope_scaling != RopeScaling::None,
        |loaded| loaded.base.spec.rope_scaling = RopeScaling::None,
    );
    edit("rope base", |_| true, |loaded| loaded.base.spec.rope_theta *= 2.0);
    edit("epsilon", |_| true, |loaded| loaded.base.spec.norm_epsilon = 1e-2);
    edit("bias", has_bias, |loaded| loaded.base.layers.iter_mut().for_each(|layer| layer.linears[0].bias = None));
    edit(
        "q/k norm",
        |loaded| loaded.base.spec.qk_norm,
        |loaded| {
            for layer in &mut loaded.base.layers {
                let (q, k) = layer.qk_norms.as_mut().unwrap();
                q.fill(1.0);
                k.fill(1.0);
            }
        },
    );
    edit("last norm", |_| true, |loaded| loaded.base.final_norm.fill(1.0));
    assert!(tried > 30, "{tried} edits");
}
