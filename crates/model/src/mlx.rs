//! Adapters in the layout of mlx-lm, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use attune_formats::files::DirWriter;
use attune_formats::mlx::{self, FineTuneType, MlxConfig, MlxModule, ModuleView, TENSOR_FILE};

use crate::adapter::{Adapter, AdapterModule, AdapterSpec};
use crate::error::ModelError;
use crate::peft::{place_in, targets_and_layers};
use crate::spec::{DecoderSpec, Linear};

const LAYOUT: &str = "mlx-lm's layout";

impl Adapter {
    /// Reads an adapter that mlx-lm (or Attune) wrote, for a model of this spec. Alpha is scale times rank.
    ///
    /// # Errors
    /// When the folder is broken, a module or a shape does not belong to the model, a value is not finite, or the modules
    /// are not the same linears in every layer that has any.
    pub fn from_mlx(model: &DecoderSpec, dir: &Path) -> Result<Self, ModelError> {
        let folder = mlx::read(dir)?;
        let config = &folder.config;
        let mut modules: BTreeMap<(usize, Linear), MlxModule> = BTreeMap::new();
        for (name, module) in folder.modules(model.layers)? {
            modules.insert(place_in(model, dir, name, &format!("{name}.lora_a"))?, module);
        }
        let (targets, layers) = targets_and_layers(model, dir, modules.keys().copied())?;
        let spec = AdapterSpec {
            rank: config.rank,
            alpha: alpha_for(config.scale, config.rank),
            dropout: config.dropout,
            targets,
            layers,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            use_rslora: false,
            use_dora: config.fine_tune_type == FineTuneType::Dora,
        };
        let mut adapter = Self::shaped(model, &spec)?;
        for module in &mut adapter.modules {
            let Some(found) = modules.remove(&(module.layer, module.linear)) else {
                unreachable!("{} is one of the places", module.name)
            };
            module.take_mlx(model, dir, found)?;
        }
        Ok(adapter)
    }

    /// Writes the adapter as mlx-lm does, into a folder that is being filled. rsLoRA needs no word there: the scale is the
    /// multiplier itself.
    ///
    /// # Errors
    /// When ranks or scales differ between modules, which mlx-lm cannot say, or the files cannot be written.
    pub fn write_mlx(&self, dir: &DirWriter, base_model: &str) -> Result<(), ModelError> {
        let Some(first) = self.modules.first() else {
            return Err(ModelError::NoModuleMatched { what: "an adapter without modules".into() });
        };
        if let Some(other) = self.modules.iter().find(|module| (module.rank, module.scale) != (first.rank, first.scale))
        {
            let of =
                |module: &AdapterModule| format!("{} has rank {} and scale {}", module.name, module.rank, module.scale);
            return Err(ModelError::NotRepresentable {
                layout: LAYOUT,
                reason: format!("all modules share one rank and one scale there, but {} and {}", of(first), of(other)),
                hint: "fuse the adapter into its base and export the model, or train without rank_pattern and alpha_pattern"
                    .into(),
            });
        }
        let keys: BTreeSet<String> = self.modules.iter().map(|module| key_of(module.linear)).collect();
        let config = MlxConfig {
            model: Some(base_model.to_string()),
            fine_tune_type: if self.spec.use_dora { FineTuneType::Dora } else { FineTuneType::Lora },
            num_layers: (self.model_layers() - self.lowest_layer()) as i64,
            rank: first.rank,
            scale: first.scale,
            dropout: self.spec.dropout,
            keys: Some(keys.into_iter().collect()),
        };
        let views: Vec<ModuleView> = self
            .modules
            .iter()
            .map(|AdapterModule { name, a, b, magnitude, .. }| ModuleView {
                name,
                a,
                b,
                magnitude: magnitude.as_deref(),
            })
            .collect();
        Ok(mlx::write_into(dir, &config, &views)?)
    }
}

/// The alpha for which `alpha / rank` is the scale, to the bit where there is one.
fn alpha_for(scale: f32, rank: usize) -> f32 {
    let rank = rank as f32;
    let product = scale * rank;
    let near = [product, product.next_up(), product.next_down()];
    near.into_iter().find(|alpha| alpha / rank == scale).unwrap_or(product)
}

/// The linear's name within a block.
fn key_of(linear: Linear) -> String {
    let name = linear.module_name(0);
    name.trim_start_matches("model.layers.0.").to_string()
}

impl AdapterModule {
    fn take_mlx(&mut self, model: &DecoderSpec, dir: &Path, found: MlxModule) -> Result<(), ModelError> {
        let (outputs, inputs) = model.linear_shape(self.linear);
        let rank = self.rank;
        for (leaf, got, expected) in [
            ("lora_a", vec![found.inputs, rank], vec![inputs, rank]),
            ("lora_b", vec![rank, found.outputs], vec![rank, outputs]),
        ] {
            if got != expected {
                let (dir, name) = (dir.to_path_buf(), format!("{}.{leaf}", self.name));
                return Err(ModelError::TensorShape { dir, name, got, expected });
            }
        }
        let magnitude = found.magnitude.as_deref().unwrap_or_default();
        for (leaf, values) in [("lora_a", &found.a[..]), ("lora_b", &found.b[..]), ("m", magnitude)] {
            if let Some(index) = values.iter().position(|value| !value.is_finite()) {
                let name = format!("{}.{leaf}", self.name);
                return Err(ModelError::NonFinite { dir: dir.join(TENSOR_FILE), name, index });
            }
        }
        let parameters = self.parameters_mut();
        (*parameters.a, *parameters.b) = (found.a, found.b);
        if let (Some(own), Some(found)) = (parameters.magnitude, found.magnitude) {
            *own = found;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpha_gives_the_scale_back() {
        for rank in 1..=300usize {
            for scale in [20.0f32, 10.0, 2.0, 0.1, 1.0 / 3.0, 16.0 / (rank as f32).sqrt(), 1e-6] {
                let back = alpha_for(scale, rank) / rank as f32;
                assert!((back - scale).abs() <= scale * f32::EPSILON, "{scale} at rank {rank}: {back}");
            }
        }
        assert_eq!(alpha_for(20.0, 8), 160.0);
    }

    #[test]
    fn keys_are_names_within_a_block() {
        assert_eq!(key_of(Linear::Q), "self_attn.q_proj");
        assert_eq!(key_of(Linear::Down), "mlp.down_proj");
    }
}
