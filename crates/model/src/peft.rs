//! Adapters in PEFT's layout, both ways.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use attune_formats::files::DirWriter;
use attune_formats::peft::{self, AdapterConfig, LoraPair, Matrix, TENSOR_FILE, TargetModules, tensor_name};
use attune_formats::tensors::TensorView;

use crate::adapter::{Adapter, AdapterModule, AdapterSpec, LayerChoice, Targets};
use crate::error::ModelError;
use crate::spec::{DecoderSpec, Linear};

impl Adapter {
    /// Reads an adapter that PEFT (or Attune) wrote, for a model of this spec.
    ///
    /// # Errors
    /// When the folder is broken or uses what is not supported, a module or a shape does not belong to the model, a
    /// value is not finite, or the modules are not the same linears in every layer that has any.
    pub fn from_peft(model: &DecoderSpec, dir: &Path) -> Result<Self, ModelError> {
        let folder = peft::read(dir)?;
        let mut pairs: BTreeMap<(usize, Linear), LoraPair> = BTreeMap::new();
        for (name, pair) in folder.pairs()? {
            pairs.insert(place_in(model, dir, name, &tensor_name(name, Matrix::A))?, pair);
        }
        let names: Vec<String> = pairs.keys().map(|(layer, linear)| linear.module_name(*layer)).collect();
        let (targets, layers) = targets_and_layers(model, dir, pairs.keys().copied())?;
        let config = &folder.config;
        let spec = AdapterSpec {
            rank: config.r,
            alpha: config.lora_alpha,
            dropout: config.lora_dropout,
            targets,
            layers,
            rank_pattern: config.rank_pattern.clone(),
            alpha_pattern: config.alpha_pattern.clone(),
            use_rslora: config.use_rslora,
            use_dora: config.use_dora,
        };
        let mut adapter = Self::shaped(model, &spec.without_idle_patterns(&names))?;
        for module in &mut adapter.modules {
            let pair = &pairs[&(module.layer, module.linear)];
            module.take(model, dir, pair)?;
        }
        Ok(adapter)
    }

    /// Writes the adapter as PEFT does, into a folder that is being filled. `base_model` is what PEFT will load as the
    /// base: a path or a name.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn write_peft(&self, dir: &DirWriter, base_model: &str) -> Result<(), ModelError> {
        let named: Vec<(String, Vec<usize>, &[f32])> = self
            .modules
            .iter()
            .flat_map(|module| {
                let (inputs, outputs) = (module.a.len() / module.rank, module.b.len() / module.rank);
                let named = |matrix, shape, values| (tensor_name(&module.name, matrix), shape, values);
                [
                    named(Matrix::A, vec![module.rank, inputs], module.a.as_slice()),
                    named(Matrix::B, vec![outputs, module.rank], module.b.as_slice()),
                ]
                .into_iter()
                .chain(module.magnitude.as_deref().map(|m| named(Matrix::Magnitude, vec![outputs], m)))
            })
            .collect();
        let views: Vec<TensorView> = named.iter().map(|(name, shape, data)| TensorView { name, shape, data }).collect();
        Ok(peft::write_into(dir, &self.peft_config(base_model), &views)?)
    }

    /// Writes a folder of its own; an existing one is replaced.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn save_peft(&self, dir: &Path, base_model: &str) -> Result<(), ModelError> {
        let writer = DirWriter::create(dir)?;
        self.write_peft(&writer, base_model)?;
        Ok(writer.replace()?)
    }

    #[expect(clippy::field_reassign_with_default, reason = "AdapterConfig has private fields")]
    fn peft_config(&self, base_model: &str) -> AdapterConfig {
        let linears: &[Linear] = match &self.spec.targets {
            Targets::AllLinear => &Linear::ALL,
            Targets::Some(linears) => linears,
        };
        let layers: BTreeSet<usize> = self.modules.iter().map(|module| module.layer).collect();
        let all_layers = matches!(self.spec.layers, LayerChoice::All);
        let mut config = AdapterConfig::default();
        config.base_model_name_or_path = Some(base_model.to_string());
        config.r = self.spec.rank;
        config.lora_alpha = self.spec.alpha;
        config.lora_dropout = self.spec.dropout;
        config.target_modules = TargetModules::Names(linears.iter().map(ToString::to_string).collect());
        config.layers_to_transform = (!all_layers).then(|| layers.into_iter().collect());
        config.rank_pattern = self.spec.rank_pattern.clone();
        config.alpha_pattern = self.spec.alpha_pattern.clone();
        config.use_rslora = self.spec.use_rslora;
        config.use_dora = self.spec.use_dora;
        config
    }
}

impl AdapterModule {
    /// Takes over the matrices of a file.
    fn take(&mut self, model: &DecoderSpec, dir: &Path, pair: &LoraPair) -> Result<(), ModelError> {
        let (outputs, inputs) = model.linear_shape(self.linear);
        let matrices = [(pair.a, Matrix::A, vec![self.rank, inputs]), (pair.b, Matrix::B, vec![outputs, self.rank])];
        let magnitude = pair.magnitude.map(|magnitude| (magnitude, Matrix::Magnitude, vec![outputs]));
        for (tensor, matrix, expected) in matrices.into_iter().chain(magnitude) {
            let name = tensor_name(&self.name, matrix);
            if tensor.shape != expected {
                let (dir, got) = (dir.to_path_buf(), tensor.shape.clone());
                return Err(ModelError::TensorShape { dir, name, got, expected });
            }
            if let Some(index) = tensor.data.iter().position(|value| !value.is_finite()) {
                return Err(ModelError::NonFinite { dir: dir.join(TENSOR_FILE), name, index });
            }
        }
        assert_eq!((self.rank, self.scale), (pair.rank, pair.scale), "rank and scale of {}", self.name);
        self.a.clone_from(&pair.a.data);
        self.b.clone_from(&pair.b.data);
        self.magnitude = pair.magnitude.map(|magnitude| magnitude.data.clone());
        Ok(())
    }
}

impl AdapterSpec {
    /// Adapters of PEFT may carry patterns for modules that they do not have (of another model size, say); only a
    /// user's own configuration is held to matching something.
    fn without_idle_patterns(&self, names: &[String]) -> Self {
        let mut spec = self.clone();
        spec.rank_pattern.retain(|key, &mut rank| is_used(key, rank, names));
        spec.alpha_pattern.retain(|key, &mut alpha| is_used(key, alpha, names));
        spec
    }
}

/// Whether a pattern matches any of the names.
fn is_used<V>(key: &str, value: V, names: &[String]) -> bool {
    let alone = BTreeMap::from([(key.to_string(), value)]);
    names.iter().any(|name| matches!(peft::pattern_value(&alone, name), Ok(Some(_))))
}

/// Layer and linear of a module of the adapter in `dir`; `tensor` is the name to complain about.
pub(crate) fn place_in(
    model: &DecoderSpec,
    dir: &Path,
    module: &str,
    tensor: &str,
) -> Result<(usize, Linear), ModelError> {
    place_of(model, module).ok_or_else(|| ModelError::UnexpectedTensor {
        dir: dir.to_path_buf(),
        name: tensor.to_string(),
        count: 1,
    })
}

/// Which linears of which layers these places are.
pub(crate) fn targets_and_layers(
    model: &DecoderSpec,
    dir: &Path,
    places: impl ExactSizeIterator<Item = (usize, Linear)> + Clone,
) -> Result<(Targets, LayerChoice), ModelError> {
    let count = places.len();
    let layers: BTreeSet<usize> = places.clone().map(|(layer, _)| layer).collect();
    let linears: BTreeSet<Linear> = places.map(|(_, linear)| linear).collect();
    if count != layers.len() * linears.len() {
        return Err(ModelError::AdapterSpec {
            key: "target_modules".into(),
            reason: format!("{}: layers with different target modules are not supported", dir.display()),
        });
    }
    let layers =
        if layers.len() == model.layers { LayerChoice::All } else { LayerChoice::Only(layers.into_iter().collect()) };
    Ok((Targets::Some(linears.into_iter().collect()), layers))
}

/// Layer and linear of a module name.
fn place_of(model: &DecoderSpec, name: &str) -> Option<(usize, Linear)> {
    let (_, short_name) = name.rsplit_once('.')?;
    let linear = Linear::from_short_name(short_name)?;
    let layer: usize = name.strip_prefix("model.layers.")?.split('.').next()?.parse().ok()?;
    (layer < model.layers && linear.module_name(layer) == name).then_some((layer, linear))
}
