//! Golden files of models that are trained whole, and Attune on their rows.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use attune_compute::{Backend, DType};
use attune_model::{BaseModel, Decoder, ForwardOptions, FullModel, ModelError, WeightGradients};
use serde::Deserialize;

use crate::compare::Comparison;
use crate::golden::{Golden, GoldenError, Row, Runs, Training, case_dirs, read_case};
use crate::harness::{self, Cut};
use crate::scratch::SCRATCH;
use crate::tolerances::Arithmetic;

/// `case.json` of a model that is trained whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullCase {
    /// Name of the folder, and of the case whose model it is.
    pub name: String,
    /// Type of the stored weights and of the copies that passes run over: `float32` or `bfloat16`.
    pub dtype: String,
    /// Examples.
    pub rows: Vec<Row>,
    /// Rows of each step.
    pub steps: Vec<Vec<usize>>,
    /// Hyper-parameters.
    pub training: Training,
    /// Parameters that Transformers' Trainer leaves without weight decay.
    pub not_decaying: BTreeSet<String>,
    /// Results of the steps.
    pub runs: Runs,
    /// What the script measured: `rounding`, `bf16`, each by name.
    pub measured: BTreeMap<String, BTreeMap<String, f64>>,
    /// What made the files.
    pub versions: BTreeMap<String, String>,
}

/// Name, what we have, and what is expected.
type Pair<'a, 'b> = (&'a str, &'a [f32], &'b [f32]);

/// A case with its model and its expected tensors.
#[derive(Debug)]
pub struct FullGolden {
    /// `case.json`.
    pub case: FullCase,
    /// The model before the first step.
    pub base: BaseModel,
    expected: BTreeMap<String, Vec<f32>>,
}

impl FullGolden {
    /// Where the golden folders are.
    pub fn root() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/goldens-full"))
    }

    /// All cases, by name.
    ///
    /// # Errors
    /// When a folder is incomplete or broken.
    ///
    /// # Panics
    /// When a model does not load.
    pub fn all() -> Result<Vec<Self>, GoldenError> {
        case_dirs(Self::root())?.iter().map(|dir| Self::read(dir)).collect()
    }

    fn read(dir: &Path) -> Result<Self, GoldenError> {
        let (case, expected): (FullCase, _) = read_case(dir)?;
        let model_dir = Self::model_dir(&case.name);
        let base = BaseModel::load(&model_dir).unwrap_or_else(|error| panic!("{}: {error}", model_dir.display()));
        Ok(Self { case, base, expected })
    }

    /// The folder of a case's model: its own where we drew it, else that of the case of the same name.
    pub fn model_dir(name: &str) -> PathBuf {
        if name == SCRATCH { Self::root() } else { Golden::root() }.join(name).join("model")
    }

    /// Whether passes run over copies in bf16.
    pub fn is_bf16(&self) -> bool {
        self.case.dtype == "bfloat16"
    }

    /// The weights before the first step.
    pub fn model(&self) -> FullModel {
        FullModel::from_base(&self.base, if self.is_bf16() { DType::Bf16 } else { DType::F32 })
    }

    /// How a backend computes over this model's weights.
    pub fn arithmetic(&self, backend: &dyn Backend) -> Arithmetic {
        match (self.is_bf16(), backend.activation_dtype(if self.is_bf16() { DType::Bf16 } else { DType::F32 })) {
            (_, DType::Bf16) => Arithmetic::Bf16,
            (true, _) => Arithmetic::RoundedF32,
            (false, _) => Arithmetic::F32,
        }
    }

    /// The rows of a step.
    pub fn step_rows(&self, step: usize) -> Vec<&Row> {
        self.case.steps[step].iter().map(|&row| &self.case.rows[row]).collect()
    }

    /// Compares one tensor per parameter with `<prefix><name>` of the golden file, and holds that it has no others.
    ///
    /// # Errors
    /// When the golden file lacks one of them.
    ///
    /// # Panics
    /// When it has one that the model lacks.
    pub fn compare_by_name<'a>(
        &self,
        comparison: &mut Comparison,
        prefix: &str,
        tensors: impl Iterator<Item = (&'a str, &'a [f32])>,
    ) -> Result<(), GoldenError> {
        for (name, got, expected) in self.pairs(prefix, tensors)? {
            comparison.add(name, got, expected);
        }
        Ok(())
    }

    /// As [`FullGolden::compare_by_name`], of all tensors as one.
    ///
    /// # Errors
    /// When the golden file lacks one of them.
    ///
    /// # Panics
    /// When it has one that the model lacks.
    pub fn compare_together<'a>(
        &self,
        comparison: &mut Comparison,
        prefix: &str,
        tensors: impl Iterator<Item = (&'a str, &'a [f32])>,
    ) -> Result<(), GoldenError> {
        let pairs = self.pairs(prefix, tensors)?;
        let got: Vec<f32> = pairs.iter().flat_map(|(_, got, _)| *got).copied().collect();
        let expected: Vec<f32> = pairs.iter().flat_map(|(_, _, expected)| *expected).copied().collect();
        comparison.add("all tensors", &got, &expected);
        Ok(())
    }

    /// Name, what we have and what is expected, of every tensor with that prefix.
    fn pairs<'a, 'b>(
        &'b self,
        prefix: &str,
        tensors: impl Iterator<Item = (&'a str, &'a [f32])>,
    ) -> Result<Vec<Pair<'a, 'b>>, GoldenError> {
        let mut pairs = Vec::new();
        for (name, got) in tensors {
            let key = format!("{prefix}{name}");
            let missing = || GoldenError::MissingTensor { path: Self::root().join(&self.case.name), name: key.clone() };
            pairs.push((name, got, self.expected.get(&key).ok_or_else(missing)?.as_slice()));
        }
        let all: Vec<&String> = self.expected.keys().filter(|name| name.starts_with(prefix)).collect();
        assert_eq!(all.len(), pairs.len(), "{}: the golden file holds {all:?}", self.case.name);
        Ok(pairs)
    }
}

/// Loss and gradients of a step: the sum over all targets divided by their number. `decoder` runs over a working copy of
/// `model`.
///
/// # Errors
/// When a row does not fit the model.
pub fn loss_and_gradients(
    decoder: &Decoder,
    model: &FullModel,
    rows: &[&Row],
    label_smoothing: f32,
    (cut, save): (Cut, attune_model::SavePolicy),
) -> Result<(f64, WeightGradients), ModelError> {
    let step_targets: usize = rows.iter().map(|row| row.targets().count()).sum();
    let batches = match cut {
        Cut::Packed => vec![harness::pack(rows)],
        Cut::OneByOne => rows.iter().map(|row| harness::pack(&[row])).collect(),
    };
    let (mut loss, mut gradients) = (0.0, model.zero_gradients());
    for batch in &batches {
        let pass = decoder.forward(batch, None, &ForwardOptions { save, dropout_key: None })?;
        let head = decoder.head_logprobs(&pass, label_smoothing, false);
        let coefficients = vec![(-1.0 / step_targets as f64) as f32; batch.targets.len()];
        loss -= head.smoothed.iter().map(|&value| f64::from(value)).sum::<f64>() / step_targets as f64;
        decoder.backward_full(pass, label_smoothing, &coefficients, &mut gradients);
    }
    Ok((loss, gradients))
}
