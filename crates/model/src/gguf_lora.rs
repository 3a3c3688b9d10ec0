//! Adapters as llama.cpp takes them: one GGUF file beside the model's.
//!
//! Tensors are named after the weight that they belong to, `blk.0.attn_q.weight.lora_a` of shape `[r, in]` and `.lora_b` of
//! shape `[out, r]`. One alpha stands for all modules; each is scaled by alpha / r with its own r, and by 1 when alpha is 0.
//! In files of architecture `llama` the rows of B of q and k are interleaved like those of the weights.
//!
//! # Source
//! `convert_lora_to_gguf.py` and `llama-adapter.cpp` of llama.cpp.

use std::collections::BTreeMap;
use std::path::Path;

use attune_formats::gguf::{self, GgmlType, GgufFile, PlannedTensor, Value, names, permute};

use crate::adapter::{Adapter, AdapterModule, AdapterSpec};
use crate::error::ModelError;
use crate::gguf::{architecture, is_interleaved};
use crate::peft::{place_in, targets_and_layers};
use crate::spec::{DecoderSpec, Linear};

const LAYOUT: &str = "GGUF-LoRA";
const ALPHA: &str = "adapter.lora.alpha";

/// The two matrices of a module, widened, with their shapes.
#[derive(Default)]
struct Pair {
    a: Option<(Vec<usize>, Vec<f32>)>,
    b: Option<(Vec<usize>, Vec<f32>)>,
}

impl Adapter {
    /// Reads an adapter that llama.cpp's converter (or Attune) wrote, for a model of this spec.
    ///
    /// # Errors
    /// When the file is broken or no LoRA adapter, is of another architecture, a module or a shape does not belong to the
    /// model, or a value is not finite.
    pub fn from_gguf_lora(model: &DecoderSpec, path: &Path) -> Result<Self, ModelError> {
        let file = GgufFile::open(path)?;
        check_keys(model, &file)?;
        let alpha = file.optional_f64(ALPHA)?.unwrap_or(0.0) as f32;
        if !alpha.is_finite() {
            return Err(ModelError::ConfigKey { path: path.into(), key: ALPHA.into(), reason: format!("got {alpha}") });
        }
        let mut pairs = read_pairs(model, &file)?;
        let (targets, layers) = targets_and_layers(model, path, pairs.keys().copied())?;
        let mut rank_pattern = BTreeMap::new();
        let mut alpha_pattern = BTreeMap::new();
        for ((layer, linear), pair) in &pairs {
            let name = linear.module_name(*layer);
            let Some((shape, _)) = &pair.a else { return Err(missing(path, &name, "lora_a")) };
            let rank = *shape.first().unwrap_or(&0);
            rank_pattern.insert(name.clone(), rank);
            if alpha == 0.0 {
                alpha_pattern.insert(name, rank as f32);
            }
        }
        let rank = rank_pattern.values().copied().next().unwrap_or(0);
        if rank_pattern.values().all(|other| *other == rank) {
            rank_pattern.clear();
            alpha_pattern.clear();
        }
        let spec = AdapterSpec {
            rank,
            alpha: if alpha == 0.0 { rank as f32 } else { alpha },
            dropout: 0.0,
            targets,
            layers,
            rank_pattern,
            alpha_pattern,
            use_rslora: false,
            use_dora: false,
        };
        let mut adapter = Self::shaped(model, &spec)?;
        for module in &mut adapter.modules {
            let Some(pair) = pairs.remove(&(module.layer, module.linear)) else {
                unreachable!("{} is one of the places", module.name)
            };
            module.take_gguf(model, path, pair)?;
        }
        Ok(adapter)
    }

    /// Writes one file, in `f32`. Where modules differ in their scale it goes into B: the file has one alpha.
    ///
    /// # Errors
    /// When the adapter is DoRA, which the format does not know, or the file cannot be written.
    pub fn write_gguf_lora(&self, model: &DecoderSpec, path: &Path) -> Result<(), ModelError> {
        if self.spec.use_dora {
            return Err(ModelError::NotRepresentable {
                layout: LAYOUT,
                reason: "it has no word for the magnitudes of DoRA".into(),
                hint: "fuse the adapter into its base and export the model (`ft export gguf`)".into(),
            });
        }
        // The scale that most adapters share; where a module has another one, B takes the difference.
        let alpha = self.modules.first().map_or(1.0, |module| module.scale * module.rank as f32);
        let metadata = [
            ("general.architecture".to_string(), Value::Text(architecture(model).to_string())),
            ("general.type".to_string(), Value::Text("adapter".into())),
            ("adapter.type".to_string(), Value::Text("lora".into())),
            (ALPHA.to_string(), Value::F32(alpha)),
        ];
        let mut planned = Vec::new();
        let mut values: Vec<Vec<f32>> = Vec::new();
        for module in &self.modules {
            let Some(name) = names::to_gguf(&format!("{}.weight", module.name)) else {
                unreachable!("{} has a name in GGUF", module.name)
            };
            let (outputs, inputs) = model.linear_shape(module.linear);
            let factor = module.scale / (alpha / module.rank as f32);
            let mut b = if factor == 1.0 { module.b.clone() } else { module.b.iter().map(|b| b * factor).collect() };
            if is_interleaved(model, module.linear) {
                b = reordered(&b, module.rank, |stored| permute::row_stored_at(stored, model.head_dim));
            }
            for (ending, shape, data) in
                [("lora_a", [module.rank, inputs], module.a.clone()), ("lora_b", [outputs, module.rank], b)]
            {
                let name = format!("{name}.{ending}");
                planned.push(PlannedTensor { name, shape: shape.to_vec(), kind: GgmlType::F32 });
                values.push(data);
            }
        }
        gguf::write_file(path, &metadata, &planned, &mut |index, out| {
            let bytes: Vec<u8> = values[index].iter().flat_map(|value| value.to_le_bytes()).collect();
            out.write_all(&bytes)
        })?;
        Ok(())
    }
}

/// The rows of a matrix of `cols` columns, row r being the one that `source` says.
fn reordered(matrix: &[f32], cols: usize, source: impl Fn(usize) -> usize) -> Vec<f32> {
    (0..matrix.len() / cols).flat_map(|row| &matrix[source(row) * cols..][..cols]).copied().collect()
}

fn check_keys(model: &DecoderSpec, file: &GgufFile) -> Result<(), ModelError> {
    let unsupported =
        |what: String, hint: &str| ModelError::Unsupported { path: file.path().to_path_buf(), what, hint: hint.into() };
    let (kind, adapter) = (file.text("general.type")?, file.optional_text("adapter.type")?.unwrap_or_default());
    if (kind, adapter) != ("adapter", "lora") {
        return Err(unsupported(format!("a file of type {kind:?} {adapter:?} as an adapter"), "give a LoRA adapter"));
    }
    if file.get("adapter.alora.invocation_tokens").is_some() {
        return Err(unsupported("an activated LoRA".into(), "give an adapter that is always on"));
    }
    let (given, own) = (file.text("general.architecture")?, architecture(model));
    match given == own {
        true => Ok(()),
        false => {
            Err(unsupported(format!("architecture '{given}' for a model of '{own}'"), "give the adapter's own base"))
        }
    }
}

fn missing(path: &Path, module: &str, ending: &str) -> ModelError {
    ModelError::MissingTensor { dir: path.to_path_buf(), name: format!("{module}.{ending}") }
}

fn read_pairs(model: &DecoderSpec, file: &GgufFile) -> Result<BTreeMap<(usize, Linear), Pair>, ModelError> {
    let mut pairs: BTreeMap<(usize, Linear), Pair> = BTreeMap::new();
    for tensor in file.tensors() {
        let unexpected =
            || ModelError::UnexpectedTensor { dir: file.path().to_path_buf(), name: tensor.name.clone(), count: 1 };
        let (weight, ending) = tensor.name.rsplit_once('.').ok_or_else(unexpected)?;
        let name = names::to_hugging_face(weight).ok_or_else(unexpected)?;
        let module = name.strip_suffix(".weight").ok_or_else(unexpected)?;
        let place = place_in(model, file.path(), module, &tensor.name)?;
        let pair = pairs.entry(place).or_default();
        let slot = match ending {
            "lora_a" => &mut pair.a,
            "lora_b" => &mut pair.b,
            _ => return Err(unexpected()),
        };
        *slot = Some((tensor.shape.clone(), crate::gguf::vector(file, tensor)?));
    }
    Ok(pairs)
}

impl AdapterModule {
    fn take_gguf(&mut self, model: &DecoderSpec, path: &Path, pair: Pair) -> Result<(), ModelError> {
        let (outputs, inputs) = model.linear_shape(self.linear);
        let mut taken = Vec::with_capacity(2);
        for (ending, found, expected) in
            [("lora_a", pair.a, vec![self.rank, inputs]), ("lora_b", pair.b, vec![outputs, self.rank])]
        {
            let (dir, name) = (path.to_path_buf(), format!("{}.{ending}", self.name));
            let Some((got, values)) = found else { return Err(missing(path, &self.name, ending)) };
            if got != expected {
                return Err(ModelError::TensorShape { dir, name, got, expected });
            }
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                return Err(ModelError::NonFinite { dir, name, index });
            }
            taken.push(values);
        }
        let (Some(mut b), Some(a)) = (taken.pop(), taken.pop()) else { unreachable!("two matrices") };
        if is_interleaved(model, self.linear) {
            b = reordered(&b, self.rank, |row| permute::stored_row(row, model.head_dim));
        }
        let parameters = self.parameters_mut();
        (*parameters.a, *parameters.b) = (a, b);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{LayerChoice, Targets};
    use crate::spec::RopeScaling;
    use attune_compute::rng;

    fn model(family: &str) -> DecoderSpec {
        DecoderSpec {
            family: family.into(),
            hidden: 24,
            layers: 2,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            feed_forward: 40,
            vocabulary: 50,
            max_positions: 64,
            norm_epsilon: 1e-5,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            tied_head: false,
            windows: vec![None; 2],
        }
    }

    fn adapter(model: &DecoderSpec, change: impl FnOnce(&mut AdapterSpec)) -> Adapter {
        let mut spec = AdapterSpec {
            rank: 4,
            alpha: 6.0,
            dropout: 0.0,
            targets: Targets::AllLinear,
            layers: LayerChoice::All,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            use_rslora: false,
            use_dora: false,
        };
        change(&mut spec);
        let mut adapter = Adapter::init(model, &spec, 5).expect("an adapter");
        for (at, module) in adapter.modules.iter_mut().enumerate() {
            for (i, b) in module.b.iter_mut().enumerate() {
                *b = rng::uniform_f32(rng::key(&[at as u64, i as u64])) - 0.5;
            }
        }
        adapter
    }

    /// What counts is `scale * B A`.
    fn change_of(module: &AdapterModule) -> Vec<f32> {
        let cols = module.a.len() / module.rank;
        let mut product = vec![0.0; module.b.len() / module.rank * cols];
        for (row, out) in product.chunks_exact_mut(cols).enumerate() {
            for r in 0..module.rank {
                let b = module.scale * module.b[row * module.rank + r];
                out.iter_mut().zip(&module.a[r * cols..][..cols]).for_each(|(out, a)| *out += b * a);
            }
        }
        product
    }

    #[test]
    fn adapters_come_back() {
        let scratch = tempfile::tempdir().expect("a folder");
        for family in ["llama", "mistral", "qwen2", "qwen3"] {
            let model = model(family);
            for (case, change) in [
                ("plain", (|_| {}) as fn(&mut AdapterSpec)),
                ("rslora", |spec| spec.use_rslora = true),
                ("patterns", |spec| {
                    spec.rank_pattern.insert("q_proj".into(), 2);
                    spec.alpha_pattern.insert("layers.1.mlp.up_proj".into(), 20.0);
                }),
            ] {
                let path = scratch.path().join(format!("{family}-{case}.gguf"));
                let written = adapter(&model, change);
                written.write_gguf_lora(&model, &path).expect("a file");
                let read = Adapter::from_gguf_lora(&model, &path).expect("an adapter");
                assert_eq!(read.modules.len(), written.modules.len());
                for (read, written) in read.modules.iter().zip(&written.modules) {
                    assert_eq!((&read.name, read.rank), (&written.name, written.rank));
                    let close = change_of(read).iter().zip(change_of(written)).all(|(a, b)| (a - b).abs() <= 1e-5);
                    assert!(close, "{family} {case}: {}", read.name);
                    if case == "plain" {
                        assert_eq!((&read.a, &read.b, read.scale), (&written.a, &written.b, written.scale));
                    }
                }
            }
        }
    }

    #[test]
    fn what_the_format_cannot_say_and_other_models_files_are_refused() {
        let scratch = tempfile::tempdir().expect("a folder");
        let path = scratch.path().join("a.gguf");
        let llama = model("llama");
        let plain = adapter(&llama, |_| {});
        let mut dora = plain.clone();
        dora.spec.use_dora = true;
        assert!(matches!(dora.write_gguf_lora(&llama, &path), Err(ModelError::NotRepresentable { .. })));
        plain.write_gguf_lora(&llama, &path).expect("a file");
        assert!(matches!(Adapter::from_gguf_lora(&model("qwen2"), &path), Err(ModelError::Unsupported { .. })));
        let mut smaller = model("llama");
        smaller.layers = 1;
        assert!(Adapter::from_gguf_lora(&smaller, &path).is_err());
        smaller = model("llama");
        smaller.feed_forward = 32;
        assert!(matches!(Adapter::from_gguf_lora(&smaller, &path), Err(ModelError::TensorShape { .. })));
    }
}
