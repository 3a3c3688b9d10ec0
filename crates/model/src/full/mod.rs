//! Full fine-tuning: all weights of a model are trained.
//!
//! The optimizer changes masters in `f32`; passes run over a working copy of them, a [`BaseModel`] like any other, in the
//! type that the model is to have. What is evaluated is therefore what is written.

mod init;
mod parameters;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use attune_compute::{Backend, DType, Weight};
use attune_formats::files::DirWriter;
use attune_formats::tensors::{self, TensorView};

use crate::error::ModelError;
use crate::spec::DecoderSpec;
use crate::weights::{BaseModel, FrozenLinear, LayerWeights, Storage};

pub use parameters::{Outline, PerLayer, PerLinear, PerParameter};

/// The gradient of every parameter, in `f32`.
pub type WeightGradients = PerParameter<Vec<f32>>;

/// Values that a [`Weight`] can share with their owner.
#[derive(Debug, PartialEq)]
struct Floats(Vec<f32>);

impl AsRef<[u8]> for Floats {
    // Weights are little endian by definition, and so are the machines that the engine runs on.
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// All weights of a model, to be trained.
#[derive(Debug, PartialEq)]
pub struct FullModel {
    spec: DecoderSpec,
    dtype: DType,
    outline: PerParameter<Outline>,
    masters: PerParameter<Arc<Floats>>,
    path: PathBuf,
}

/// A copy shares nothing: both can be trained.
impl Clone for FullModel {
    fn clone(&self) -> Self {
        Self {
            spec: self.spec.clone(),
            dtype: self.dtype,
            outline: self.outline.clone(),
            masters: self.masters.map(|values| Arc::new(Floats(values.0.clone()))),
            path: self.path.clone(),
        }
    }
}

impl FullModel {
    /// The weights of a base, widened; passes run over them in `dtype`.
    ///
    /// # Panics
    /// If `dtype` is neither `F32` nor `Bf16`.
    pub fn from_base(base: &BaseModel, dtype: DType) -> Self {
        let of_weight = |weight: &Weight| {
            let mut values = vec![0.0; weight.rows() * weight.cols()];
            for (row, values) in values.chunks_exact_mut(weight.cols().max(1)).enumerate() {
                weight.read_row(row, values);
            }
            values
        };
        let layer = |layer: &LayerWeights| PerLayer {
            attention_norm: layer.attention_norm.clone(),
            qk_norms: layer.qk_norms.as_ref().map(|(q, k)| [q.clone(), k.clone()]),
            mlp_norm: layer.mlp_norm.clone(),
            linears: std::array::from_fn(|i| PerLinear {
                weight: of_weight(&layer.linears[i].weight),
                bias: layer.linears[i].bias.clone(),
            }),
        };
        let values = PerParameter {
            embedding: of_weight(&base.embedding),
            layers: base.layers.iter().map(layer).collect(),
            final_norm: base.final_norm.clone(),
            head: (!base.spec.tied_head).then(|| of_weight(&base.head)),
        };
        Self::new(&base.spec, dtype, values, base.path())
    }

    /// Weights before any training: gains 1, biases 0, matrices from a bell curve of that standard deviation. The same
    /// arguments give the same bits on every machine.
    ///
    /// # Panics
    /// If `dtype` is neither `F32` nor `Bf16`.
    pub fn random(spec: &DecoderSpec, dtype: DType, standard_deviation: f64, seed: u64) -> Self {
        let values = PerParameter::of(spec).map(|outline| init::initial_values(outline, standard_deviation, seed));
        Self::new(spec, dtype, values, Path::new(""))
    }

    fn new(spec: &DecoderSpec, dtype: DType, mut values: PerParameter<Vec<f32>>, path: &Path) -> Self {
        assert!(matches!(dtype, DType::F32 | DType::Bf16), "weights are trained in f32 or bf16, not in {dtype:?}");
        let outline = PerParameter::of(spec);
        for (outline, values) in outline.iter().zip(values.iter()) {
            assert_eq!(values.len(), outline.len(), "values of {}", outline.name);
        }
        let mut values = values.iter_mut();
        let masters = outline.map(|_| Arc::new(Floats(values.next().map(std::mem::take).unwrap_or_default())));
        Self { spec: spec.clone(), dtype, outline, masters, path: path.to_path_buf() }
    }

    /// The same weights, of a model whose configuration and text side are in the folder `path`.
    #[must_use]
    pub fn at(self, path: &Path) -> Self {
        Self { path: path.to_path_buf(), ..self }
    }

    /// The folder that its configuration and text side came from; empty for a model of no folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the model is made of.
    pub fn spec(&self) -> &DecoderSpec {
        &self.spec
    }

    /// The type of the working copy, and of the model when it is written.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Names and shapes, in the order of [`PerParameter::iter`].
    pub fn outline(&self) -> &PerParameter<Outline> {
        &self.outline
    }

    /// Every parameter's values, in order.
    pub fn values(&self) -> impl Iterator<Item = &[f32]> {
        self.masters.iter().map(|values| values.0.as_slice())
    }

    /// Every parameter's values, in order.
    ///
    /// # Panics
    /// While a working copy of an `f32` model lives: it shares them.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut [f32]> {
        self.masters.iter_mut().map(|values| match Arc::get_mut(values) {
            Some(values) => values.0.as_mut_slice(),
            None => panic!("weights are changed while a working copy shares them"),
        })
    }

    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        self.outline.iter().map(Outline::len).sum()
    }

    /// Zeros in the shape of the model.
    pub fn zero_gradients(&self) -> WeightGradients {
        self.outline.map(|outline| vec![0.0; outline.len()])
    }

    /// The model as passes read it. In `f32` matrices are shared, in `bf16` all values are rounded to nearest even, those
    /// of gains and biases, too.
    pub fn working_copy(&self, backend: &dyn Backend) -> BaseModel {
        let matrix = |values: &Arc<Floats>, rows: usize, cols: usize| match self.dtype {
            DType::F32 => {
                let memory = Arc::clone(values) as Arc<dyn AsRef<[u8]> + Send + Sync>;
                Weight::new(DType::F32, rows, cols, memory, 0..4 * values.0.len())
            }
            narrow => backend.round_weight(narrow, rows, cols, &values.0),
        };
        let vector = |values: &Arc<Floats>| match self.dtype {
            DType::F32 => values.0.clone(),
            narrow => {
                let mut rounded = vec![0.0; values.0.len()];
                Weight::from_f32_as(narrow, 1, rounded.len(), &values.0).read_row(0, &mut rounded);
                rounded
            }
        };
        let (rows, hidden) = (self.spec.vocabulary, self.spec.hidden);
        let layer = |layer: &PerLayer<Arc<Floats>>| LayerWeights {
            attention_norm: vector(&layer.attention_norm),
            mlp_norm: vector(&layer.mlp_norm),
            qk_norms: layer.qk_norms.as_ref().map(|[q, k]| (vector(q), vector(k))),
            linears: std::array::from_fn(|i| {
                let (outputs, inputs) = self.spec.linear_shape(crate::Linear::ALL[i]);
                let PerLinear { weight, bias } = &layer.linears[i];
                FrozenLinear { weight: matrix(weight, outputs, inputs), bias: bias.as_ref().map(vector) }
            }),
        };
        let embedding = matrix(&self.masters.embedding, rows, hidden);
        BaseModel {
            head: self.masters.head.as_ref().map_or_else(|| embedding.clone(), |head| matrix(head, rows, hidden)),
            embedding,
            layers: self.masters.layers.iter().map(layer).collect(),
            final_norm: vector(&self.masters.final_norm),
            spec: self.spec.clone(),
            path: self.path.clone(),
            storage: Storage::MadeUp,
        }
    }

    /// The name of the first parameter with a value that is not finite.
    pub fn non_finite(&self) -> Option<&str> {
        let bad = |values: &&[f32]| values.iter().any(|value| !value.is_finite());
        self.outline.iter().zip(self.values()).find(|(_, values)| bad(values)).map(|(outline, _)| outline.name.as_str())
    }

    /// Writes all weights into one `model.safetensors`, in `f32`: nothing is lost, and a run can go on from it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_masters(&self, writer: &DirWriter) -> Result<(), ModelError> {
        let views: Vec<TensorView<'_>> = self
            .outline
            .iter()
            .zip(self.values())
            .map(|(Outline { name, shape }, data)| TensorView { name, shape, data })
            .collect();
        Ok(tensors::write_tensors_into(writer, WEIGHTS_FILE, &views, &metadata())?)
    }

    /// A model of this one's shape with the masters that [`FullModel::write_masters`] wrote into a folder.
    ///
    /// # Errors
    /// When the file is missing or broken, or has other tensors.
    pub fn with_masters_of(&self, dir: &Path) -> Result<Self, ModelError> {
        let mut read = tensors::read_tensors(&dir.join(WEIGHTS_FILE))?;
        let values = self.outline.try_map(|Outline { name, shape }| {
            let tensor = read
                .remove(name)
                .ok_or_else(|| ModelError::MissingTensor { dir: dir.to_path_buf(), name: name.clone() })?;
            if tensor.shape != *shape {
                return Err(ModelError::TensorShape {
                    dir: dir.to_path_buf(),
                    name: name.clone(),
                    got: tensor.shape,
                    expected: shape.clone(),
                });
            }
            Ok(tensor.data)
        })?;
        match read.keys().next() {
            Some(name) => {
                Err(ModelError::UnexpectedTensor { dir: dir.to_path_buf(), name: name.clone(), count: read.len() })
            }
            None => Ok(Self::new(&self.spec, self.dtype, values, &self.path)),
        }
    }
}

/// The one weight file of a model that was trained whole.
pub const WEIGHTS_FILE: &str = "model.safetensors";

/// What PyTorch's readers want to see.
fn metadata() -> BTreeMap<String, String> {
    BTreeMap::from([("format".to_string(), "pt".to_string())])
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::spec::RopeScaling;
    use attune_compute::reference::Reference;

    /// A small model with everything that a layer can have.
    pub(crate) fn spec(tied_head: bool) -> DecoderSpec {
        DecoderSpec {
            family: "qwen3".into(),
            hidden: 8,
            layers: 2,
            heads: 2,
            kv_heads: 1,
            head_dim: 4,
            feed_forward: 12,
            vocabulary: 11,
            max_positions: 16,
            norm_epsilon: 1e-6,
            rope_theta: 10_000.0,
            rope_scaling: RopeScaling::None,
            qkv_bias: true,
            output_bias: false,
            mlp_bias: true,
            qk_norm: true,
            tied_head,
            windows: vec![None; 2],
        }
    }

    #[test]
    fn a_working_copy_has_the_values_rounded_once() {
        for dtype in [DType::F32, DType::Bf16] {
            let model = FullModel::random(&spec(false), dtype, 0.02, 5);
            let copy = model.working_copy(&Reference);
            let expected = |value: f32| Weight::from_f32_as(dtype, 1, 1, &[value]).at(0, 0);
            let embedding = &model.masters.embedding.0;
            assert_eq!(copy.embedding.at(3, 5).to_bits(), expected(embedding[3 * 8 + 5]).to_bits());
            let down = &model.masters.layers[1].linears[6].weight.0;
            assert_eq!(copy.layers[1].linears[6].weight.at(7, 11).to_bits(), expected(down[7 * 12 + 11]).to_bits());
            assert_eq!(copy.layers[1].linears[6].bias, Some(vec![0.0; 8]));
            assert_eq!(copy.dtype(), dtype);
        }
    }

    #[test]
    fn a_base_and_back_is_the_same_model() {
        let model = FullModel::random(&spec(false), DType::F32, 0.02, 5);
        let again = FullModel::from_base(&model.working_copy(&Reference), DType::F32);
        assert!(model.values().eq(again.values()));
        let tied = FullModel::random(&spec(true), DType::F32, 0.02, 5);
        let copy = tied.working_copy(&Reference);
        assert_eq!(copy.head.bytes(), copy.embedding.bytes());
        assert!(tied.values().eq(FullModel::from_base(&copy, DType::F32).values()));
    }

    #[test]
    #[should_panic(expected = "while a working copy shares them")]
    fn weights_do_not_change_under_a_pass() {
        let mut model = FullModel::random(&spec(false), DType::F32, 0.02, 5);
        let _copy = model.working_copy(&Reference);
        let _ = model.values_mut().count();
    }

    #[test]
    fn masters_come_back_to_the_bit() {
        let scratch = tempfile::tempdir().unwrap();
        let dir = scratch.path().join("step");
        let model = FullModel::random(&spec(false), DType::Bf16, 0.02, 5);
        let writer = DirWriter::create(&dir).unwrap();
        model.write_masters(&writer).unwrap();
        writer.commit().unwrap();
        let shape = FullModel::random(&spec(false), DType::Bf16, 0.02, 6);
        assert_eq!(shape.with_masters_of(&dir).unwrap(), model);
        let other = FullModel::random(&spec(true), DType::Bf16, 0.02, 6);
        assert!(matches!(other.with_masters_of(&dir), Err(ModelError::UnexpectedTensor { .. })));
    }
}
