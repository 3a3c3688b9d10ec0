//! Runs Attune on the rows of a case.

use attune_compute::cpu::{Cpu, Isa};
use attune_compute::{Backend, ComputeError, DType, reference::Reference};
use attune_model::{
    Adapter, BaseModel, Decoder, ForwardOptions, Gradients, ModelError, PackedBatch, SavePolicy, Target,
};

use crate::compare::Comparison;
use crate::golden::{Golden, GoldenError, Row};
use crate::tolerances::Arithmetic;

/// Every backend of this machine: the reference, and every path of the CPU's with one and with two threads. A path that
/// the machine lacks is said to be skipped.
///
/// # Errors
/// When the CPU backend cannot start.
#[allow(clippy::print_stdout, reason = "tests call it, and what they skip is printed")]
pub fn backends() -> Result<Vec<Box<dyn Backend>>, ComputeError> {
    // The AMX kernels' own machine code, on processors without AMX too.
    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    attune_compute::cpu::amx_emulator::install();
    let mut backends: Vec<Box<dyn Backend>> = vec![Box::new(Reference)];
    for isa in Isa::ALL {
        if !isa.is_available() {
            println!("SKIPPED: {isa}: this machine lacks it");
            continue;
        }
        for threads in [1, 2] {
            backends.push(Box::new(Cpu::with_isa(isa, Some(threads))?));
        }
    }
    Ok(backends)
}

/// A case with its model and its initial adapter.
pub struct Loaded {
    /// Expected values.
    pub golden: Golden,
    /// The model.
    pub base: BaseModel,
    /// The adapter.
    pub adapter: Adapter,
}

impl Loaded {
    /// Loads what belongs to a golden folder.
    ///
    /// # Errors
    /// When model or adapter do not load.
    pub fn new(golden: Golden) -> Result<Self, ModelError> {
        let base = BaseModel::load(&golden.model_dir())?;
        let adapter = Adapter::from_peft(&base.spec, &golden.adapter_dir())?;
        Ok(Self { golden, base, adapter })
    }

    /// A decoder for all positions of the model.
    ///
    /// # Errors
    /// None in practice: the model's own length is allowed.
    pub fn decoder<'a>(&'a self, backend: &'a dyn Backend) -> Result<Decoder<'a>, ModelError> {
        Decoder::new(backend, &self.base, self.base.spec.max_positions)
    }

    /// How a backend multiplies over this model's weights.
    pub fn arithmetic(&self, backend: &dyn Backend) -> Arithmetic {
        let weights = if self.golden.is_bf16() { DType::Bf16 } else { DType::F32 };
        match backend.activation_dtype(weights) {
            DType::Bf16 => Arithmetic::Bf16,
            _ => Arithmetic::F32,
        }
    }

    /// The rows of a step.
    pub fn step_rows(&self, step: usize) -> Vec<&Row> {
        self.golden.case.steps[step].iter().map(|&row| &self.golden.case.rows[row]).collect()
    }
}

/// Lays rows one after the other into one batch.
pub fn pack(rows: &[&Row]) -> PackedBatch {
    let mut batch = PackedBatch { segments: vec![0], ..PackedBatch::default() };
    for row in rows {
        let start = batch.ids.len();
        batch.ids.extend_from_slice(&row.ids);
        batch.positions.extend(0..row.ids.len() as u32);
        batch.segments.push(batch.ids.len());
        batch.targets.extend(row.targets().map(|i| Target { row: start + i - 1, token: row.ids[i] }));
    }
    batch.row_keys = (0..batch.ids.len() as u64).collect();
    batch
}

/// How the rows of a step go through the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All in one packed batch.
    Packed,
    /// Each alone, gradients added up.
    OneByOne,
}

/// Loss and gradients of a step: the sum over all targets divided by their number.
///
/// # Errors
/// When a row does not fit the model.
pub fn loss_and_gradients(
    decoder: &Decoder,
    adapter: &Adapter,
    rows: &[&Row],
    label_smoothing: f32,
    (cut, save): (Cut, SavePolicy),
) -> Result<(f64, Gradients), ModelError> {
    let step_targets: usize = rows.iter().map(|row| row.targets().count()).sum();
    let batches = match cut {
        Cut::Packed => vec![pack(rows)],
        Cut::OneByOne => rows.iter().map(|row| pack(&[row])).collect(),
    };
    let mut loss = 0.0;
    let mut gradients = Gradients::zeros(adapter);
    for batch in &batches {
        let pass = decoder.forward(batch, Some(adapter), &ForwardOptions { save, dropout_key: None })?;
        let head = decoder.head_logprobs(&pass, label_smoothing, true);
        let coefficients = vec![(-1.0 / step_targets as f64) as f32; batch.targets.len()];
        loss -= head.smoothed.iter().map(|&value| f64::from(value)).sum::<f64>() / step_targets as f64;
        decoder.backward(pass, head, &coefficients, adapter, &mut gradients);
    }
    Ok((loss, gradients))
}

/// The names that PEFT gives the matrices of a module, DoRA's magnitudes last.
pub fn peft_names(module: &str) -> [String; 3] {
    ["lora_A.weight", "lora_B.weight", "lora_magnitude_vector"]
        .map(|matrix| format!("base_model.model.{module}.{matrix}"))
}

/// Compares the matrices (or gradients) of every module with `<prefix><PEFT name>` of the golden file, and holds that
/// there are no others there.
///
/// # Errors
/// When the golden file lacks one of them.
///
/// # Panics
/// When it has one that the adapter lacks.
pub fn compare_by_name<'a>(
    comparison: &mut Comparison,
    golden: &Golden,
    prefix: &str,
    modules: impl Iterator<Item = (&'a str, Vec<&'a [f32]>)>,
) -> Result<(), GoldenError> {
    let mut seen = 0;
    for (module, matrices) in modules {
        for (name, got) in peft_names(module).into_iter().zip(matrices) {
            comparison.add(&name, got, golden.expected(&format!("{prefix}{name}"))?);
            seen += 1;
        }
    }
    let all: Vec<&str> = golden.names(prefix).collect();
    assert_eq!(all.len(), seen, "{}: the golden file holds {prefix}: {all:?}", golden.case.name);
    Ok(())
}

/// An adapter's matrices by module.
pub fn matrices(adapter: &Adapter) -> impl Iterator<Item = (&str, Vec<&[f32]>)> {
    adapter.modules.iter().map(|module| {
        let matrices = [module.a.as_slice(), module.b.as_slice()].into_iter().chain(module.magnitude.as_deref());
        (module.name.as_str(), matrices.collect())
    })
}

/// An adapter's gradients by module.
pub fn gradient_matrices<'a>(
    adapter: &'a Adapter,
    gradients: &'a Gradients,
) -> impl Iterator<Item = (&'a str, Vec<&'a [f32]>)> {
    let gradients = gradients.modules.iter().zip(&gradients.magnitudes);
    adapter.modules.iter().zip(gradients).map(|(module, ((da, db), dm))| {
        (module.name.as_str(), [da.as_slice(), db.as_slice()].into_iter().chain(dm.as_deref()).collect())
    })
}
