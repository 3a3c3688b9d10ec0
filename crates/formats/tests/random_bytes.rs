//! No content of a file makes a reader panic, and what is accepted is sound.

#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests damage files on purpose")]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use attune_formats::manifest::{self, Manifest};
use attune_formats::peft::{self, AdapterConfig};
use attune_formats::tensors::{self, TensorView, WeightFolder};
use proptest::prelude::*;

/// A valid file of three tensors.
fn valid_file(dir: &Path) -> Vec<u8> {
    let path = dir.join("valid.safetensors");
    let tensors = [
        TensorView { name: "a", shape: &[2, 3], data: &[1.0; 6] },
        TensorView { name: "b", shape: &[0], data: &[] },
        TensorView { name: "c", shape: &[4], data: &[2.0; 4] },
    ];
    tensors::write_tensors(&path, &tensors, &BTreeMap::from([("format".into(), "pt".into())])).unwrap();
    fs::read(path).unwrap()
}

/// Reads a file in every way; whatever is accepted must have as many values as its shapes say.
fn read_every_way(dir: &Path, bytes: &[u8]) {
    let path = dir.join("model.safetensors");
    fs::write(&path, bytes).unwrap();
    if let Ok(folder) = WeightFolder::open(dir) {
        for tensor in folder.tensors() {
            let elements: usize = tensor.shape.iter().product();
            if let Ok(values) = tensors::as_f32_vec(tensor) {
                assert_eq!(values.len(), elements, "{tensor:?}");
            }
            assert!(tensor.bytes().len() <= bytes.len());
        }
    }
    let _ = tensors::read_tensors(&path);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let scratch = tempfile::tempdir().unwrap();
        read_every_way(scratch.path(), &bytes);
    }

    #[test]
    fn a_random_header(text in "\\{[\"a-f0-9:,\\[\\]{}_ ]{0,80}\\}", data in 0usize..40) {
        let scratch = tempfile::tempdir().unwrap();
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &vec![0; data]].concat();
        read_every_way(scratch.path(), &bytes);
    }

    #[test]
    fn a_plausible_header(
        entries in proptest::collection::vec(
            ("[ab]", prop_oneof![Just("F32"), Just("BF16"), Just("F4"), Just("I64"), Just("F99")],
             proptest::collection::vec(prop_oneof![0u64..4, Just(1 << 32), Just(u64::MAX)], 0..4), 0u64..40, 0u64..40),
            0..4),
        data in 0usize..40,
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let tensors: Vec<String> = entries
            .iter()
            .map(|(name, dtype, shape, begin, end)| {
                format!(r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{begin},{end}]}}"#)
            })
            .collect();
        let header = format!("{{{}}}", tensors.join(","));
        let bytes = [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &vec![0; data]].concat();
        read_every_way(scratch.path(), &bytes);
    }

    #[test]
    fn flipped_bytes(flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let scratch = tempfile::tempdir().unwrap();
        let mut bytes = valid_file(scratch.path());
        for (position, value) in flips {
            let position = position.index(bytes.len());
            bytes[position] = value;
        }
        read_every_way(scratch.path(), &bytes);
    }

    #[test]
    fn every_truncation_is_an_error(cut in any::<prop::sample::Index>()) {
        let scratch = tempfile::tempdir().unwrap();
        let bytes = valid_file(scratch.path());
        fs::write(scratch.path().join("model.safetensors"), &bytes[..cut.index(bytes.len())]).unwrap();
        prop_assert!(WeightFolder::open(scratch.path()).is_err());
    }

    #[test]
    fn random_configurations(
        key in prop_oneof![Just("r"), Just("lora_alpha"), Just("target_modules"), Just("rank_pattern"), Just("bias"),
                           Just("layers_to_transform"), Just("layers_pattern"), Just("lora_dropout"), Just("unknown")],
        value in prop_oneof!["[a-z\\[\\]()*?.^$|\\\\]{0,12}".prop_map(|text| format!("{text:?}")),
                             "-?[0-9]{1,30}", Just("null".to_string()), Just("{\"(\": 1}".to_string()),
                             Just("[1, -1]".to_string()), Just("1e999".to_string()), Just("NaN".to_string())],
    ) {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("adapter_config.json");
        fs::write(&path, format!("{{\"peft_type\": \"LORA\", \"{key}\": {value}}}")).unwrap();
        if let Ok(config) = AdapterConfig::read(&path) {
            prop_assert!(config.r > 0 && config.lora_alpha.is_finite());
            let _ = config.targets("model.layers.0.self_attn.q_proj");
            let _ = config.scale_of("model.layers.0.self_attn.q_proj");
        }
        let _ = peft::read(scratch.path());
    }

    #[test]
    fn random_manifests(text in "\\{[\"a-z0-9:,\\[\\]{} ]{0,60}\\}") {
        let scratch = tempfile::tempdir().unwrap();
        fs::write(scratch.path().join(manifest::FILE_NAME), text).unwrap();
        let _ = Manifest::verify(scratch.path());
        manifest::is_complete(scratch.path());
    }
}
