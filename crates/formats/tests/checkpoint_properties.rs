//! Random adapters and cursors come back as they were written; no changed byte stays unseen.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests damage files on purpose")]

mod checkpoint_common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use attune_formats::checkpoint::{MOMENTS, StateFile, verify};
use attune_formats::{peft, tensors};
use checkpoint_common::{Draft, PREFIX, Tensor, WEIGHTS, change_file, f32s, model_parts};
use proptest::prelude::*;
use serde_json::{Value, json};

const LINEARS: [&str; 7] = [
    "self_attn.q_proj",
    "self_attn.k_proj",
    "self_attn.v_proj",
    "self_attn.o_proj",
    "mlp.gate_proj",
    "mlp.up_proj",
    "mlp.down_proj",
];

/// Any finite value, to the bit.
fn finite() -> impl Strategy<Value = f32> {
    any::<u32>().prop_map(f32::from_bits).prop_filter("finite", |value| value.is_finite())
}

fn values(count: usize) -> impl Strategy<Value = Vec<f32>> {
    prop::collection::vec(finite(), count)
}

/// A module: layer, linear, and its matrices with their moments.
fn module(rank: usize) -> impl Strategy<Value = (u32, usize, Vec<Vec<f32>>, usize, usize)> {
    (0u32..100, 0..LINEARS.len(), 1usize..5, 1usize..5).prop_flat_map(move |(layer, linear, inputs, outputs)| {
        let (a, b) = (rank * inputs, rank * outputs);
        let second = |count| values(count).prop_map(|values| values.into_iter().map(f32::abs).collect::<Vec<f32>>());
        let parts = (values(a), values(b), values(a), second(a), values(b), second(b));
        parts.prop_map(move |(a, b, a_m, a_v, b_m, b_v)| {
            (layer, linear, vec![a, b, a_m, a_v, b_m, b_v], inputs, outputs)
        })
    })
}

fn cursor() -> impl Strategy<Value = Value> {
    let counts = (0u64..1 << 40, 0u64..1 << 40, any::<u64>(), 0u64..1 << 50, any::<bool>());
    (counts, prop::collection::btree_map(0u64..1 << 20, prop::option::of(-1e30f64..1e30), 0..5)).prop_map(
        |((updates, skipped, seed, tokens, stopped), evaluations)| {
            let step = updates + skipped + (1 << 20);
            let best =
                evaluations.iter().find_map(|(step, loss)| Some(json!({"step": step, "validation_loss": (*loss)?})));
            json!({
                "format_version": 1, "step": step, "epoch": step as f64 / 7.0, "seed": seed,
                "updates": updates + (1 << 20), "skipped_steps": skipped,
                "bad_in_a_row": skipped.min(u64::from(u32::MAX)), "tokens": tokens, "trained_tokens": tokens / 3,
                "progress": {"best": best, "reference": null, "evaluations_without_improvement": 3},
                "evaluated_step": evaluations.keys().last(), "stopped_early": stopped, "unreported": null,
                "evaluations": evaluations.into_iter().collect::<Vec<_>>(),
            })
        },
    )
}

fn draft() -> impl Strategy<Value = Draft> {
    (1usize..4).prop_flat_map(|rank| (Just(rank), prop::collection::vec(module(rank), 1..5), cursor())).prop_map(
        |(rank, modules, state)| {
            let mut draft = Draft::checkpoint();
            (draft.adapter, draft.moments, draft.state) = (BTreeMap::new(), BTreeMap::new(), state);
            draft.config["r"] = json!(rank);
            draft.config["target_modules"] = json!(LINEARS.map(|name| name.rsplit_once('.').expect("a dot").1));
            for (layer, linear, parts, inputs, outputs) in modules {
                let name = format!("{layer}.{}", LINEARS[linear]);
                let mut parts = parts.into_iter();
                let mut next = || parts.next().expect("six parts");
                let mut matrix = |which: &str, shape: [usize; 2]| {
                    draft.adapter.insert(format!("{PREFIX}{name}.lora_{which}.weight"), f32s(&shape, next()));
                };
                matrix("A", [rank, inputs]);
                matrix("B", [outputs, rank]);
                for moment in MOMENTS {
                    let values = next();
                    draft.moments.insert(format!("model.layers.{name}.{moment}"), f32s(&[values.len()], values));
                }
            }
            draft
        },
    )
}

/// A checkpoint of all weights with any values and any cursor.
fn full_draft() -> impl Strategy<Value = Draft> {
    let count: usize = model_parts().1.values().map(|tensor| tensor.bytes.len() / 4).sum();
    (values(count), values(count), values(count), cursor()).prop_map(|(weights, first, second, state)| {
        let mut draft = Draft { state, ..Draft::full_checkpoint() };
        let mut begin = 0;
        for (name, tensor) in &mut draft.adapter {
            let of = begin..begin + tensor.bytes.len() / 4;
            begin = of.end;
            let flat = [of.len()];
            *tensor = f32s(&tensor.shape, weights[of.clone()].iter().copied());
            draft.moments.insert(format!("{name}.m"), f32s(&flat, first[of.clone()].iter().copied()));
            draft.moments.insert(format!("{name}.v"), f32s(&flat, second[of].iter().map(|value| value.abs())));
        }
        draft
    })
}

fn assert_same(read: &BTreeMap<String, tensors::F32Tensor>, written: &BTreeMap<String, Tensor>) {
    assert_eq!(read.keys().collect::<Vec<_>>(), written.keys().collect::<Vec<_>>());
    for (name, tensor) in read {
        let bytes: Vec<u8> = tensor.data.iter().flat_map(|value| value.to_le_bytes()).collect();
        assert_eq!((&tensor.shape, &bytes), (&written[name].shape, &written[name].bytes), "{name}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn what_is_written_is_read(draft in draft(), old in any::<bool>()) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("checkpoint");
        if old { draft.write_version_0(&dir) } else { draft.write(&dir) };
        let report = verify(&dir).unwrap();
        prop_assert!(report.is_sound(), "{report:#?}");
        assert_same(&peft::read(&dir).unwrap().tensors, &draft.adapter);
        assert_same(&tensors::read_tensors(&dir.join("state.safetensors")).unwrap(), &draft.moments);
        let state: StateFile = serde_json::from_slice(&fs::read(dir.join("state.json")).unwrap()).unwrap();
        prop_assert_eq!(json!(state.step), draft.state["step"].clone());
        prop_assert_eq!(json!(state.epoch), draft.state["epoch"].clone());
        prop_assert_eq!(json!(state.evaluations), draft.state["evaluations"].clone());
    }

    #[test]
    fn all_weights_that_are_written_are_read(
        draft in full_draft(), file in any::<prop::sample::Index>(), place in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = draft.write(&scratch.path().join("checkpoint"));
        let report = verify(&dir).unwrap();
        prop_assert!(report.is_sound(), "{report:#?}");
        assert_same(&tensors::read_tensors(&dir.join(WEIGHTS)).unwrap(), &draft.adapter);
        assert_same(&tensors::read_tensors(&dir.join("state.safetensors")).unwrap(), &draft.moments);
        // And no changed byte stays unseen.
        let mut names: Vec<String> = draft.contents().into_keys().collect();
        names.push("manifest.json".into());
        let path = dir.join(&names[file.index(names.len())]);
        change_file(&path, |bytes| {
            let at = place.index(bytes.len());
            bytes[at] ^= flip;
        });
        prop_assert!(!verify(&dir).unwrap().is_sound(), "{}", path.display());
    }

    #[test]
    fn no_changed_byte_stays_unseen(
        draft in draft(), old in any::<bool>(), file in any::<prop::sample::Index>(),
        place in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("checkpoint");
        if old { draft.write_version_0(&dir) } else { draft.write(&dir) };
        let mut names: Vec<String> = draft.contents().into_keys().collect();
        names.push("manifest.json".into());
        let path = dir.join(&names[file.index(names.len())]);
        change_file(&path, |bytes| {
            let at = place.index(bytes.len());
            bytes[at] ^= flip;
        });
        prop_assert!(!verify(&dir).unwrap().is_sound(), "{}", path.display());
    }
}

/// Of the manifests, which have no other hash than their own, every byte; of all other files every seventh.
#[test]
fn no_flipped_byte_of_a_manifest_stays_unseen() {
    let scratch = tempfile::tempdir().unwrap();
    let draft = Draft::checkpoint();
    let folders = [draft.write(&scratch.path().join("new")), draft.write_version_0(&scratch.path().join("old"))];
    let mut tried = 0;
    let mut unseen = |dir: &Path, name: &str, stride: usize, flips: &[u8]| {
        let path = dir.join(name);
        let whole = fs::read(&path).unwrap();
        for at in (0..whole.len()).step_by(stride) {
            for flip in flips {
                let mut bytes = whole.clone();
                bytes[at] ^= flip;
                fs::write(&path, &bytes).unwrap();
                assert!(!verify(dir).unwrap().is_sound(), "{}: byte {at} ^ {flip}", path.display());
                tried += 1;
            }
        }
        fs::write(&path, whole).unwrap();
    };
    for dir in &folders {
        unseen(dir, "manifest.json", 1, &[0x01, 0x29]);
        for name in draft.contents().keys() {
            unseen(dir, name, 7, &[0x20]);
        }
        assert!(verify(dir).unwrap().is_sound());
    }
    assert!(tried > 3_000, "{tried}");
}
