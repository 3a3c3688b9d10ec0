//! The golden files cover what they promise, and the table of tolerances rests on what was measured.

#![allow(clippy::unwrap_used, reason = "tests, and their helpers")]

use std::collections::BTreeSet;

use attune_parity::{Arithmetic, Golden, Metric, Quantity, Rung, tolerances};

const LARGEST_TOTAL_BYTES: u64 = 3_000_000;

fn goldens() -> Vec<Golden> {
    Golden::all().unwrap()
}

#[test]
fn every_family_comes_in_both_values_of_everything() {
    for family in ["llama", "mistral", "qwen2", "qwen3"] {
        let of_family: Vec<_> = goldens().into_iter().filter(|golden| golden.case.family == family).collect();
        let values = |value: fn(&Golden) -> bool| of_family.iter().map(value).collect::<BTreeSet<_>>();
        assert_eq!(values(Golden::is_bf16).len(), 2, "{family}: f32 and bf16");
        assert_eq!(values(|golden| golden.case.sharded).len(), 2, "{family}: single and sharded");
        assert_eq!(values(|golden| golden.case.tied_head).len(), 2, "{family}: tied and untied");
    }
    assert!(goldens().iter().any(|golden| golden.case.old_config_keys), "a config of Transformers 4");
}

#[test]
fn folders_are_what_case_json_says() {
    for golden in goldens() {
        let (name, case) = (&golden.case.name, &golden.case);
        assert_eq!(golden.model_dir().join("model.safetensors.index.json").exists(), case.sharded, "{name}");
        assert_eq!(case.dtype == "bfloat16", golden.is_bf16(), "{name}");
        assert_eq!(case.rows.len(), golden.names("logits.base.").count(), "{name}");
        for row in &case.rows {
            assert_eq!(row.ids.len(), row.trained.len(), "{name}");
            assert!((3..=24).contains(&row.ids.len()) && row.trained[0] == 0 && row.targets().count() > 0, "{name}");
        }
        assert_eq!(case.steps.len(), 10, "{name}");
        assert_eq!(case.training.learning_rates.len(), 10, "{name}");
        for run in [Some(&case.runs.f32), case.runs.bf16.as_ref()].into_iter().flatten() {
            assert_eq!((run.losses.len(), run.gradient_norms.len()), (10, 10), "{name}");
        }
        assert!(case.generations.iter().all(|generation| generation.new_ids.len() == case.new_tokens), "{name}");
    }
}

#[test]
fn clipping_both_happens_and_does_not() {
    let clipped = |golden: &Golden| {
        let limit = golden.case.training.max_grad_norm;
        golden.case.runs.f32.gradient_norms.iter().map(|norm| *norm > limit).collect::<BTreeSet<_>>()
    };
    assert!(goldens().iter().any(|golden| clipped(golden).len() == 2));
}

#[test]
fn the_repository_stays_small() {
    fn bytes(dir: &std::path::Path) -> u64 {
        let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
        entries.map(|path| if path.is_dir() { bytes(&path) } else { path.metadata().unwrap().len() }).sum()
    }
    let total = bytes(Golden::root());
    assert!(total <= LARGEST_TOTAL_BYTES, "{total} bytes of golden files");
}

/// The largest value of a measurement over all cases.
fn worst(kind: &str, name: &str) -> f64 {
    goldens().iter().filter_map(|golden| golden.measured(kind, name)).fold(0.0, f64::max)
}

#[test]
fn f32_tolerances_are_above_rounding_and_far_below_the_issue_and_any_mistake() {
    let least_mistake = goldens()
        .iter()
        .flat_map(|golden| golden.case.measured["sensitivity"].values().copied().collect::<Vec<_>>())
        .fold(f64::INFINITY, f64::min);
    for row in rows(Arithmetic::F32, Arithmetic::F32) {
        let rounding = names(row.quantity).iter().map(|name| worst("rounding", name)).fold(0.0, f64::max);
        assert!(rounding > 0.0 && row.limit > 5.0 * rounding, "{row:?}: rounding is {rounding:e}");
        assert!(row.limit <= 1e-4, "{row:?}: what was promised");
        assert!(100.0 * row.limit <= least_mistake, "{row:?}: the least mistake changes {least_mistake:e}");
    }
}

/// Our bf16 may be no farther from f32 than that of Transformers, over the same weights and rows.
#[test]
fn our_bf16_is_held_to_the_distance_of_transformers_own() {
    for row in rows(Arithmetic::Bf16, Arithmetic::F32) {
        let distance = names(row.quantity).iter().map(|name| worst("bf16", name)).fold(0.0, f64::max);
        assert!(row.limit <= distance && row.limit > 0.9 * distance, "{row:?}: measured {distance:e}");
    }
}

fn rows(ours: Arithmetic, reference: Arithmetic) -> impl Iterator<Item = &'static tolerances::Tolerance> {
    let of_adapters = tolerances::TABLE.iter().filter(|row| row.rung != Rung::Full);
    of_adapters.filter(move |row| (row.ours, row.reference) == (ours, reference))
}

/// What the measurements call a quantity.
fn names(quantity: Quantity) -> &'static [&'static str] {
    match quantity {
        Quantity::Logits => &["base_logits", "adapted_logits"],
        Quantity::Gradients => &["gradients"],
        Quantity::Losses => &["losses"],
        Quantity::GradientNorms => &["gradient_norms"],
        Quantity::FinalAdapter => &["final_adapter"],
        Quantity::WeightChanges => panic!("of models that are trained whole"),
    }
}

#[test]
fn bf16_tolerances_are_the_measured_distance_with_a_small_margin() {
    for row in rows(Arithmetic::F32, Arithmetic::Bf16) {
        let distance = match (row.quantity, row.metric) {
            (Quantity::Logits, Metric::Norm) => {
                worst("bf16", "base_logits_norm").max(worst("bf16", "adapted_logits_norm"))
            }
            (Quantity::Losses, Metric::LargestElement) => worst("bf16", "losses"),
            other => panic!("{other:?}: nothing was measured"),
        };
        assert!(row.limit > 1.2 * distance && row.limit < 2.0 * distance, "{row:?}: measured {distance:e}");
    }
}

#[test]
fn every_row_of_the_table_is_found_and_has_a_reason() {
    for row in tolerances::TABLE {
        assert_eq!(
            tolerances::tolerance(row.rung, row.quantity, row.ours, row.reference),
            row,
            "a second row for the same"
        );
        assert!(row.why.len() > 20, "{row:?}");
    }
}

#[test]
#[should_panic(expected = "no tolerance")]
fn an_unjustified_comparison_panics() {
    tolerances::tolerance(Rung::L7, Quantity::Gradients, Arithmetic::F32, Arithmetic::Bf16);
}
