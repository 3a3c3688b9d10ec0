//! Adapters from one layout into another: every bit of every matrix arrives, and what a layout cannot say is refused.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests and their scratch files")]

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use attune_compute::{reference::Reference, rng};
use attune_model::{Adapter, AdapterLayout, AdapterSpec, BaseModel, Decoder, LayerChoice, Linear, ModelError, Targets};

fn spec() -> AdapterSpec {
    AdapterSpec {
        rank: 3,
        alpha: 5.0,
        dropout: 0.1,
        targets: Targets::AllLinear,
        layers: LayerChoice::All,
        rank_pattern: BTreeMap::new(),
        alpha_pattern: BTreeMap::new(),
        use_rslora: false,
        use_dora: false,
    }
}

fn base(dir: &Path) -> BaseModel {
    common::write_model(dir, &common::config("llama"), 1);
    BaseModel::load(dir).unwrap()
}

fn trained(base: &BaseModel, spec: &AdapterSpec, seed: u64) -> Adapter {
    let mut adapter = Adapter::init(&base.spec, spec, seed).unwrap();
    adapter.set_magnitudes(base, &Reference);
    for (number, module) in adapter.modules.iter_mut().enumerate() {
        for (i, b) in module.b.iter_mut().enumerate() {
            *b = rng::uniform_f32(rng::key(&[seed, number as u64, i as u64])) - 0.5;
        }
    }
    adapter
}

#[test]
fn peft_to_mlx_and_back_keeps_every_bit() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let attention = Targets::Some(vec![Linear::Q, Linear::V]);
    for seed in 0..12 {
        let spec = AdapterSpec {
            rank: 1 + seed as usize % 5,
            alpha: [1.0, 7.0, 16.0, 0.3][seed as usize % 4],
            use_rslora: seed % 2 == 1,
            use_dora: seed % 3 == 2,
            targets: if seed % 4 == 3 { attention.clone() } else { Targets::AllLinear },
            layers: [LayerChoice::All, LayerChoice::Last(2), LayerChoice::First(1), LayerChoice::Only(vec![1])]
                [seed as usize / 3]
                .clone(),
            ..spec()
        };
        let before = trained(&base, &spec, seed);
        let [first, mlx, last] = ["first", "mlx", "last"].map(|name| dir.path().join(name));
        before.save(AdapterLayout::Peft, &first, "base").unwrap();
        Adapter::open(&base.spec, &first).unwrap().save(AdapterLayout::Mlx, &mlx, "base").unwrap();
        assert_eq!(AdapterLayout::detect(&mlx).unwrap(), AdapterLayout::Mlx);
        Adapter::open(&base.spec, &mlx).unwrap().save(AdapterLayout::Peft, &last, "base").unwrap();
        assert_eq!(AdapterLayout::detect(&last).unwrap(), AdapterLayout::Peft);
        let file = |dir: &Path| std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
        assert_eq!(file(&first), file(&last), "{spec:?}");
        let after = Adapter::open(&base.spec, &last).unwrap();
        for (before, after) in before.modules.iter().zip(&after.modules) {
            assert!((before.scale - after.scale).abs() <= before.scale * f32::EPSILON, "{spec:?}");
        }
        let decoder = Decoder::new(&Reference, &base, 16).unwrap();
        let logits = |adapter: &Adapter| decoder.logits(&[3, 7, 1, 30], Some(adapter)).unwrap();
        for (before, after) in logits(&before).data().iter().zip(logits(&after).data()) {
            assert!((before - after).abs() < 1e-5, "{spec:?}");
        }
    }
}

#[test]
fn different_ranks_and_scales_are_not_mlx_lms() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let ranks = AdapterSpec { rank_pattern: BTreeMap::from([("down_proj".into(), 2)]), ..spec() };
    let scales = AdapterSpec { alpha_pattern: BTreeMap::from([("layers.1.mlp.up_proj".into(), 2.0)]), ..spec() };
    for (spec, expected) in
        [(ranks, "down_proj has rank 2"), (scales, "layers.1.mlp.up_proj has rank 3 and scale 0.66")]
    {
        let target = dir.path().join("mlx");
        let error = trained(&base, &spec, 1).save(AdapterLayout::Mlx, &target, "base").unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().unwrap().contains("fuse"));
        assert!(!target.exists(), "nothing is left behind");
    }
}

#[test]
fn what_does_not_belong_to_the_model_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let base = base(dir.path());
    let adapter = trained(&base, &spec(), 1);
    let folder = dir.path().join("mlx");
    adapter.save(AdapterLayout::Mlx, &folder, "base").unwrap();
    let mut config = common::config("llama");
    config["intermediate_size"] = 28.into();
    let other = common::write_model(&dir.path().join("other"), &config, 1);
    let error = Adapter::open(&other, &folder).unwrap_err();
    let ModelError::TensorShape { name, got, expected, .. } = &error else { panic!("{error}") };
    assert_eq!(
        (name.as_str(), &got[..], &expected[..]),
        ("model.layers.0.mlp.gate_proj.lora_b", &[3, 27][..], &[3, 28][..])
    );
    config["num_hidden_layers"] = 2.into();
    let other = common::write_model(&dir.path().join("lower"), &config, 1);
    let error = Adapter::open(&other, &folder).unwrap_err();
    assert!(error.to_string().contains("model.layers.2"), "{error}");

    let mut nan = adapter;
    nan.modules[0].b[4] = f32::NAN;
    nan.save(AdapterLayout::Mlx, &folder, "base").unwrap();
    let error = Adapter::open(&base.spec, &folder).unwrap_err();
    assert!(error.to_string().contains("q_proj.lora_b' has a non-finite value at element 4"), "{error}");
}

#[test]
fn what_is_no_adapter_is_said_to_be_none() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    std::fs::create_dir(dir.path().join("empty")).unwrap();
    for (name, expected) in
        [("nowhere", "there is no such folder"), ("file", "is a file"), ("empty", "has no adapter_config.json")]
    {
        let error = AdapterLayout::detect(&dir.path().join(name)).unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
        assert!(error.hint().is_some());
    }
}
