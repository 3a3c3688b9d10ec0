//! LoRA and DoRA adapters: which linears carry one, its matrices, and their gradients.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use attune_compute::{Backend, SidePath, SidePathGradient, Weight, rng};
use attune_formats::peft::pattern_value;

use crate::error::ModelError;
use crate::spec::{DecoderSpec, Linear};
use crate::weights::BaseModel;

/// Which linears of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Targets {
    /// Every linear of the layers (not the head).
    AllLinear,
    /// Those with these names.
    Some(Vec<Linear>),
}

/// Which layers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LayerChoice {
    /// Every layer.
    All,
    /// The first N.
    First(usize),
    /// The last N.
    Last(usize),
    /// These, by index from 0.
    Only(Vec<usize>),
}

/// What an adapter is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterSpec {
    /// r.
    pub rank: usize,
    /// The side path is scaled by alpha / r.
    pub alpha: f32,
    /// Dropout on the input of A while training.
    pub dropout: f32,
    /// Which linears.
    pub targets: Targets,
    /// Which layers.
    pub layers: LayerChoice,
    /// Rank by module name or its end, for example `q_proj` or `layers.0.mlp.up_proj`.
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alpha by module name or its end.
    pub alpha_pattern: BTreeMap<String, f32>,
    /// Scale by alpha / sqrt(r) (Kalajdzievski: "A Rank Stabilization Scaling Factor", 2023).
    pub use_rslora: bool,
    /// Train the norm of every output apart from its direction (Liu et al.: "DoRA", 2024).
    pub use_dora: bool,
}

/// The adapter of one linear.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterModule {
    /// For example `model.layers.3.self_attn.q_proj`.
    pub name: String,
    /// Layer index.
    pub layer: usize,
    /// Which linear of the layer.
    pub linear: Linear,
    /// r.
    pub rank: usize,
    /// alpha / r, or alpha / sqrt(r).
    pub scale: f32,
    /// `[r, in]`.
    pub a: Vec<f32>,
    /// `[out, r]`.
    pub b: Vec<f32>,
    /// m of DoRA, `[out]`: `y = (m / n) * (W x + scale * B A x) + bias` with n the norms of the rows of
    /// `W + scale * B A`, through which no gradient flows. NaN until it is set. `None` is plain LoRA.
    pub magnitude: Option<Vec<f32>>,
    /// n, worked out when it is first needed.
    norms: RowNorms,
}

/// What [`AdapterModule::factors`] remembers. It is no part of the adapter: copies start without it (they may be meant
/// for another base), and it does not count in comparisons.
#[derive(Debug, Default)]
struct RowNorms(OnceLock<Vec<f32>>);

impl Clone for RowNorms {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for RowNorms {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// The trained values of a module, see [`AdapterModule::parameters_mut`].
#[derive(Debug)]
pub struct ModuleParameters<'a> {
    /// `[r, in]`.
    pub a: &'a mut Vec<f32>,
    /// `[out, r]`.
    pub b: &'a mut Vec<f32>,
    /// `[out]`, for DoRA.
    pub magnitude: Option<&'a mut Vec<f32>>,
}

impl AdapterModule {
    /// All that is trained, for changing it: norms of rows that were remembered for the old values are forgotten. Who
    /// changes the fields of a DoRA module in another way must not have run it before.
    pub fn parameters_mut(&mut self) -> ModuleParameters<'_> {
        self.norms = RowNorms::default();
        ModuleParameters { a: &mut self.a, b: &mut self.b, magnitude: self.magnitude.as_mut() }
    }

    /// Frobenius norm of `B A`, without the scale: 0 exactly when the module changes no direction.
    ///
    /// `||B A||^2 = sum over r, s of (B^T B)_rs (A A^T)_rs`, in `f64`.
    pub fn product_norm(&self) -> f64 {
        let rank = self.rank;
        let (inputs, outputs) = (self.a.len() / rank, self.b.len() / rank);
        let a_dot = |r: usize, s: usize| {
            let rows = self.a[r * inputs..(r + 1) * inputs].iter().zip(&self.a[s * inputs..(s + 1) * inputs]);
            rows.map(|(&x, &y)| f64::from(x) * f64::from(y)).sum::<f64>()
        };
        let b_dot = |r: usize, s: usize| {
            (0..outputs).map(|o| f64::from(self.b[o * rank + r]) * f64::from(self.b[o * rank + s])).sum::<f64>()
        };
        let square = (0..rank).flat_map(|r| (0..rank).map(move |s| (r, s))).map(|(r, s)| b_dot(r, s) * a_dot(r, s));
        square.sum::<f64>().max(0.0).sqrt()
    }

    /// The module as a side path without dropout.
    pub fn side_path(&self) -> SidePath<'_> {
        SidePath { a: &self.a, b: &self.b, rank: self.rank, scale: self.scale, dropout: None }
    }

    /// `1 / n` of every row of `W + scale * B A`, 0 where the row is zero; worked out once per state of the module.
    ///
    /// # Panics
    /// If the weight has another shape than the module.
    pub(crate) fn inverse_norms(&self, backend: &dyn Backend, weight: &Weight) -> &[f32] {
        let inverse = |norm: f32| if norm > 0.0 { 1.0 / norm } else { 0.0 };
        let norms = || backend.row_norms(weight, Some(&self.side_path())).into_iter().map(inverse).collect();
        let found: &Vec<f32> = self.norms.0.get_or_init(norms);
        assert_eq!(found.len(), weight.rows(), "norms of rows for {}", self.name);
        found
    }

    /// DoRA's factor `m / n` of every output, `[out]`; `None` for plain LoRA. `weight` is the linear's own, `[out, in]`.
    /// A row whose norm is zero has the factor 0: it has no direction.
    ///
    /// # Panics
    /// If the weight has another shape than the module.
    pub fn factors(&self, backend: &dyn Backend, weight: &Weight) -> Option<Vec<f32>> {
        let magnitude = self.magnitude.as_ref()?;
        assert_eq!(magnitude.len(), weight.rows(), "magnitudes for {}", self.name);
        Some(magnitude.iter().zip(self.inverse_norms(backend, weight)).map(|(m, inverse)| m * inverse).collect())
    }
}

/// All adapted linears of a model, by layer, in the order of the forward pass.
#[derive(Debug, Clone, PartialEq)]
pub struct Adapter {
    /// What it is made of.
    pub spec: AdapterSpec,
    /// The matrices.
    pub modules: Vec<AdapterModule>,
    /// Index into `modules` by layer and linear.
    index: Vec<[Option<usize>; 7]>,
}

impl Adapter {
    /// A fresh adapter: A uniform in ±1/sqrt(in) (Kaiming with a = sqrt 5, as PEFT draws it), B zero, so that it changes
    /// nothing before training. A pure function of the seed and the module. With DoRA the magnitudes are still missing,
    /// see [`Adapter::set_magnitudes`].
    ///
    /// # Errors
    /// When no module matches, a layer does not exist, or a pattern matches nothing.
    pub fn init(model: &DecoderSpec, spec: &AdapterSpec, seed: u64) -> Result<Self, ModelError> {
        let mut adapter = Self::shaped(model, spec)?;
        for module in &mut adapter.modules {
            let (_, inputs) = model.linear_shape(module.linear);
            let bound = 1.0 / (inputs as f32).sqrt();
            let key = rng::key(&[seed, INIT_TAG, module.layer as u64, module.linear.index() as u64]);
            for (i, a) in module.a.iter_mut().enumerate() {
                *a = (2.0 * rng::uniform_f32(rng::combine(key, i as u64)) - 1.0) * bound;
            }
        }
        Ok(adapter)
    }

    /// Sets the magnitudes of a fresh DoRA adapter to the norms of the base model's rows, with which it changes nothing;
    /// without DoRA there is nothing to set.
    ///
    /// # Panics
    /// If the base is not of the spec that the adapter was made for.
    pub fn set_magnitudes(&mut self, base: &BaseModel, backend: &dyn Backend) {
        for module in &mut self.modules {
            let weight = &base.layers[module.layer].linears[module.linear.index()].weight;
            if let Some(magnitude) = &mut module.magnitude {
                let norms = backend.row_norms(weight, None);
                assert_eq!(magnitude.len(), norms.len(), "outputs of {}", module.name);
                *magnitude = norms;
            }
        }
    }

    /// All matrices zero (and magnitudes NaN, so that none can be forgotten): the frame that [`Adapter::init`] and the readers fill, and all that a plan needs.
    ///
    /// # Errors
    /// As [`Adapter::init`].
    pub fn shaped(model: &DecoderSpec, spec: &AdapterSpec) -> Result<Self, ModelError> {
        let layers = chosen_layers(model, &spec.layers)?;
        let linears: &[Linear] = match &spec.targets {
            Targets::AllLinear => &Linear::ALL,
            Targets::Some(linears) => linears,
        };
        let mut used_patterns: Vec<&str> = Vec::new();
        let mut modules = Vec::new();
        let mut index = vec![[None; 7]; model.layers];
        for &layer in &layers {
            for linear in Linear::ALL.into_iter().filter(|linear| linears.contains(linear)) {
                let name = linear.module_name(layer);
                let rank_match = pattern_value(&spec.rank_pattern, &name)?;
                let alpha_match = pattern_value(&spec.alpha_pattern, &name)?;
                used_patterns.extend(rank_match.map(|(key, _)| key).into_iter().chain(alpha_match.map(|(key, _)| key)));
                let rank = rank_match.map_or(spec.rank, |(_, &rank)| rank);
                let alpha = alpha_match.map_or(spec.alpha, |(_, &alpha)| alpha);
                let (outputs, inputs) = model.linear_shape(linear);
                if rank == 0 || rank > outputs.min(inputs) {
                    return Err(ModelError::AdapterSpec {
                        key: "adapter.rank".into(),
                        reason: format!(
                            "{rank} for {name}, which is {outputs} x {inputs}: it must be from 1 to the smaller side"
                        ),
                    });
                }
                let divisor = if spec.use_rslora { (rank as f32).sqrt() } else { rank as f32 };
                index[layer][linear.index()] = Some(modules.len());
                modules.push(AdapterModule {
                    name,
                    layer,
                    linear,
                    rank,
                    scale: alpha / divisor,
                    a: vec![0.0; rank * inputs],
                    b: vec![0.0; outputs * rank],
                    magnitude: spec.use_dora.then(|| vec![f32::NAN; outputs]),
                    norms: RowNorms::default(),
                });
            }
        }
        if modules.is_empty() {
            return Err(ModelError::NoModuleMatched {
                what: format!("targets {:?}, layers {:?}", spec.targets, spec.layers),
            });
        }
        for (key, pattern) in spec
            .rank_pattern
            .keys()
            .map(|pattern| ("adapter.rank_pattern", pattern))
            .chain(spec.alpha_pattern.keys().map(|pattern| ("adapter.alpha_pattern", pattern)))
        {
            if !used_patterns.contains(&pattern.as_str()) {
                return Err(ModelError::AdapterSpec {
                    key: key.into(),
                    reason: format!("'{pattern}' matches no module"),
                });
            }
        }
        Ok(Self { spec: spec.clone(), modules, index })
    }

    /// Position in `modules` of a linear's adapter.
    pub fn position(&self, layer: usize, linear: Linear) -> Option<usize> {
        self.index[layer][linear.index()]
    }

    /// The lowest layer that has an adapter: below it no gradient is needed.
    pub fn lowest_layer(&self) -> usize {
        self.modules.iter().map(|module| module.layer).min().unwrap_or(0)
    }

    /// Whether any linear of the attention block of a layer has an adapter.
    pub fn touches_attention(&self, layer: usize) -> bool {
        Linear::ALL.into_iter().any(|linear| linear.is_attention() && self.position(layer, linear).is_some())
    }

    /// Layers of the model that it was made for.
    pub fn model_layers(&self) -> usize {
        self.index.len()
    }

    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        let magnitudes = |module: &AdapterModule| module.magnitude.as_ref().map_or(0, Vec::len);
        self.modules.iter().map(|module| module.a.len() + module.b.len() + magnitudes(module)).sum()
    }

    /// Whether every product B A is zero, that is, the adapter changes nothing but, with DoRA, norms.
    pub fn is_inert(&self) -> bool {
        self.modules.iter().all(|module| module.scale == 0.0 || module.product_norm() == 0.0)
    }
}

/// Keeps the initial draw apart from other uses of the same seed.
const INIT_TAG: u64 = 0x6c6f_7261_2d69_6e69;

fn chosen_layers(model: &DecoderSpec, choice: &LayerChoice) -> Result<Vec<usize>, ModelError> {
    let too_many = |wanted: usize| ModelError::AdapterSpec {
        key: "adapter.layers".into(),
        reason: format!("{wanted} layers asked for, the model has {}", model.layers),
    };
    match choice {
        LayerChoice::All => Ok((0..model.layers).collect()),
        &LayerChoice::First(count) if count <= model.layers => Ok((0..count).collect()),
        &LayerChoice::Last(count) if count <= model.layers => Ok((model.layers - count..model.layers).collect()),
        &LayerChoice::First(count) | &LayerChoice::Last(count) => Err(too_many(count)),
        LayerChoice::Only(layers) => {
            if let Some(&layer) = layers.iter().find(|&&layer| layer >= model.layers) {
                return Err(too_many(layer + 1));
            }
            let mut layers = layers.clone();
            layers.sort_unstable();
            layers.dedup();
            Ok(layers)
        }
    }
}

/// Gradients of an adapter, module by module.
#[derive(Debug, Clone, PartialEq)]
pub struct Gradients {
    /// `(da, db)` in the order of [`Adapter::modules`].
    pub modules: Vec<(Vec<f32>, Vec<f32>)>,
    /// Of DoRA's magnitudes, `[out]`, in the same order.
    pub magnitudes: Vec<Option<Vec<f32>>>,
}

impl Gradients {
    /// Zeros in the shape of `adapter`.
    pub fn zeros(adapter: &Adapter) -> Self {
        let modules =
            adapter.modules.iter().map(|module| (vec![0.0; module.a.len()], vec![0.0; module.b.len()])).collect();
        let magnitude = |module: &AdapterModule| module.magnitude.as_ref().map(|values| vec![0.0; values.len()]);
        Self { modules, magnitudes: adapter.modules.iter().map(magnitude).collect() }
    }

    /// Sets all values to zero, for the next step.
    pub fn clear(&mut self) {
        for (da, db) in &mut self.modules {
            da.fill(0.0);
            db.fill(0.0);
        }
        self.magnitudes.iter_mut().flatten().for_each(|dm| dm.fill(0.0));
    }

    /// Every vector of the gradient, module by module.
    pub fn parts(&self) -> impl Iterator<Item = &[f32]> {
        let modules = self.modules.iter().zip(&self.magnitudes);
        modules.flat_map(|((da, db), dm)| [da.as_slice(), db.as_slice()].into_iter().chain(dm.as_deref()))
    }

    /// Where the gradients of several modules are added, by their positions in [`Adapter::modules`], which ascend.
    pub(crate) fn side_paths(&mut self, positions: &[Option<usize>]) -> Vec<Option<SidePathGradient<'_>>> {
        let mut rest = self.modules.iter_mut().enumerate();
        let mut take = |position: usize| {
            let found = rest.find(|(index, _)| *index == position);
            let (_, (da, db)) = found.unwrap_or_else(|| panic!("module {position} of a gradient, in ascending order"));
            SidePathGradient { da, db }
        };
        positions.iter().map(|position| position.map(&mut take)).collect()
    }
}
