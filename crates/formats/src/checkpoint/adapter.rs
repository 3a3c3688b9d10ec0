//! Adapters and the moments that belong to them.

use std::collections::BTreeMap;
use std::path::Path;

use super::names;
use super::report::{Checked, Part};
use super::rules::Rule;
use super::strict_json;
use crate::files::read_limited;
use crate::peft::{self, CONFIG_FILE, Matrix, PeftError, TENSOR_FILE, parse_tensor_name, tensor_name};
use crate::tensors::{DType, MappedTensor, TensorError, map_file, pickle_in};

/// Name of the moments in a checkpoint.
pub const MOMENT_FILE: &str = "state.safetensors";

/// The moments of a module: first and second of `A`, first and second of `B`. A tensor is called by the module's name, a
/// dot and one of these.
pub const MOMENTS: [&str; 4] = ["a_m", "a_v", "b_m", "b_v"];

/// The moments of a module's magnitudes, where it has DoRA.
pub const MAGNITUDE_MOMENTS: [&str; 2] = ["magnitude_m", "magnitude_v"];

/// The moments of a weight that is trained itself: first and second. A tensor is called by the weight's, a dot and one of
/// these.
pub const WEIGHT_MOMENTS: [&str; 2] = ["m", "v"];

/// How many values each moment has, by its name.
pub(super) type Moments = BTreeMap<String, usize>;

const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// How many values each module has: in its two matrices, and in its magnitudes.
pub(super) type Sizes = BTreeMap<String, (usize, usize, Option<usize>)>;

/// Rules 11 to 18 of an adapter. `None` when it is not known what moments belong to it.
pub(super) fn check(dir: &Path, in_checkpoint: bool, checked: &mut Checked) -> Option<Sizes> {
    let before = checked.report.findings.len();
    let tensors = read_tensors(dir, TENSOR_FILE, checked);
    let has_config = check_config_text(dir, checked);
    let tensors = tensors?;
    for tensor in tensors.values() {
        check_type(TENSOR_FILE, tensor, in_checkpoint, checked);
        check_finite(TENSOR_FILE, tensor, checked);
    }
    // What the reader of adapters says would only repeat what is known already.
    if !has_config || checked.report.findings.len() > before {
        return None;
    }
    match peft::read(dir) {
        Err(error) => refuse_adapter(&error, checked),
        Ok(adapter) => {
            for feature in &adapter.config.unsupported {
                checked.refuse(Rule::Unsupported, Part::file(CONFIG_FILE), feature.as_str());
            }
            for key in &adapter.config.ignored {
                checked.note(format!("{CONFIG_FILE}: {key} is not known and has no effect"));
            }
            for name in adapter.tensors.keys().filter(|name| !is_known(name)) {
                let message = "is not a LoRA matrix of a linear of a layer";
                checked.refuse(Rule::TensorNames, Part::tensor(TENSOR_FILE, name), message);
            }
            if checked.report.findings.len() > before {
                return None;
            }
            match adapter.pairs() {
                Err(error) => refuse_adapter(&error, checked),
                Ok(pairs) => {
                    let size = |(name, pair): (&&str, &peft::LoraPair)| {
                        let magnitude = pair.magnitude.map(|magnitude| magnitude.data.len());
                        (name.to_string(), (pair.a.data.len(), pair.b.data.len(), magnitude))
                    };
                    return Some(pairs.iter().map(size).collect());
                }
            }
        }
    }
    None
}

/// Rules 12, 17, 18 and 21 of the moments.
pub(super) fn check_moments(dir: &Path, expected: Option<&Moments>, checked: &mut Checked) {
    let Some(tensors) = read_tensors(dir, MOMENT_FILE, checked) else { return };
    for (name, tensor) in &tensors {
        check_type(MOMENT_FILE, tensor, true, checked);
        if tensor.dtype != DType::F32 {
            continue;
        }
        let second = name.ends_with("_v") || name.ends_with(".v");
        let wrong = |bytes: &[u8]| {
            let value = f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
            value.is_nan() || (second && value < 0.0)
        };
        if let Some(index) = tensor.bytes().chunks_exact(4).position(wrong) {
            let what = if second { "is a NaN or negative" } else { "is a NaN" };
            checked.refuse(Rule::Values, Part::tensor(MOMENT_FILE, name), format!("value {index} {what}"));
        }
    }
    let Some(expected) = expected else { return };
    for (name, &length) in expected {
        match tensors.get(name) {
            Some(tensor) if tensor.shape == [length] => {}
            Some(tensor) => {
                let message = format!("has the shape {:?}, expected [{length}]", tensor.shape);
                checked.refuse(Rule::Moments, Part::tensor(MOMENT_FILE, name), message);
            }
            None => checked.refuse(Rule::Moments, Part::tensor(MOMENT_FILE, name), "is missing"),
        }
    }
    for name in tensors.keys().filter(|name| !expected.contains_key(*name)) {
        checked.refuse(Rule::Moments, Part::tensor(MOMENT_FILE, name), "belongs to nothing that is trained");
    }
}

/// Name and length of the moments of an adapter.
pub(super) fn moments_of_modules(sizes: Sizes) -> Moments {
    let of_module = |(module, (a, b, magnitude)): (String, (usize, usize, Option<usize>))| {
        let of_magnitude = magnitude.into_iter().flat_map(|length| MAGNITUDE_MOMENTS.map(|moment| (moment, length)));
        let all: Vec<_> = MOMENTS.into_iter().zip([a, a, b, b]).chain(of_magnitude).collect();
        all.into_iter().map(move |(moment, length)| (format!("{module}.{moment}"), length))
    };
    sizes.into_iter().flat_map(of_module).collect()
}

/// Name and length of the moments of all weights.
pub(super) fn moments_of_weights(tensors: BTreeMap<String, usize>) -> Moments {
    let of_tensor = |(name, length): (String, usize)| WEIGHT_MOMENTS.map(|moment| (format!("{name}.{moment}"), length));
    tensors.into_iter().flat_map(of_tensor).collect()
}

/// The tensors of a safetensors file, or a finding.
fn read_tensors(dir: &Path, file: &str, checked: &mut Checked) -> Option<BTreeMap<String, MappedTensor>> {
    let path = dir.join(file);
    if !path.is_file() {
        // That a listed file is missing was said when the manifest was compared.
        let pickle = pickle_in(dir, file.trim_end_matches(".safetensors"));
        let message = match pickle {
            Some(pickle) => format!("is missing; {pickle} is a pickle and never read"),
            None => "is missing".to_string(),
        };
        refuse_missing(file, message, checked);
        return None;
    }
    match map_file(&path) {
        Ok(mapped) => Some(mapped.tensors),
        Err(error) => {
            checked.refuse(rule_of_tensors(&error), Part::file(file), error.to_string());
            None
        }
    }
}

/// A file that is not there is named once.
pub(super) fn refuse_missing(file: &str, message: impl Into<String>, checked: &mut Checked) {
    let known = |finding: &super::Finding| {
        finding.part.file.as_deref() == Some(file) && matches!(finding.rule, Rule::FileSize | Rule::Complete)
    };
    if !checked.report.findings.iter().any(known) {
        checked.refuse(Rule::Complete, Part::file(file), message);
    }
}

/// Which rule a malformed weight file breaks.
pub(super) fn rule_of_tensors(error: &TensorError) -> Rule {
    match error {
        TensorError::ShardName { .. } => Rule::FileNames,
        TensorError::NoWeights { .. } | TensorError::PicklesOnly { .. } => Rule::Complete,
        TensorError::UnsupportedType { .. } => Rule::Types,
        _ => Rule::Safetensors,
    }
}

/// Rule 17.
pub(super) fn check_type(file: &str, tensor: &MappedTensor, f32_only: bool, checked: &mut Checked) {
    let (allowed, names) = match f32_only {
        true => (tensor.dtype == DType::F32, "F32"),
        false => (!matches!(tensor.dtype, DType::U32 | DType::Other(_)), "F32, F16 or BF16"),
    };
    if !allowed {
        let message = format!("is {}, allowed is {names}", tensor.dtype);
        checked.refuse(Rule::Types, Part::tensor(file, &tensor.name), message);
    }
}

/// Rule 18 for weights.
pub(super) fn check_finite(file: &str, tensor: &MappedTensor, checked: &mut Checked) {
    // A value is not finite exactly when all bits of its exponent are set.
    let halves = |mask: u16| move |bytes: &[u8]| u16::from_le_bytes([bytes[0], bytes[1]]) & mask == mask;
    let bytes = tensor.bytes();
    let bad = match tensor.dtype {
        DType::F32 => bytes.chunks_exact(4).position(|four| halves(0x7F80)(&four[2..])),
        DType::Bf16 => bytes.chunks_exact(2).position(halves(0x7F80)),
        DType::F16 => bytes.chunks_exact(2).position(halves(0x7C00)),
        DType::U32 | DType::Other(_) => None,
    };
    if let Some(index) = bad {
        let message = format!("value {index} is not a finite number");
        checked.refuse(Rule::Values, Part::tensor(file, &tensor.name), message);
    }
}

/// Rule 13, as far as it is about the text: the reader of adapters, like PEFT, does not mind doubled keys. Whether there
/// is a configuration to read.
fn check_config_text(dir: &Path, checked: &mut Checked) -> bool {
    let path = dir.join(CONFIG_FILE);
    if !path.is_file() {
        refuse_missing(CONFIG_FILE, "is missing", checked);
        return false;
    }
    let message = match read_limited(&path, MAX_CONFIG_BYTES) {
        Err(error) => error.to_string(),
        Ok(bytes) => match strict_json(&bytes) {
            Ok(value) if value.is_object() => return true,
            Ok(_) => "is not an object".to_string(),
            Err(error) => error.to_string(),
        },
    };
    checked.refuse(Rule::AdapterConfig, Part::file(CONFIG_FILE), message);
    false
}

/// Whether a name is that of a tensor of an adapter on a linear of a layer.
fn is_known(name: &str) -> bool {
    parse_tensor_name(name).is_some_and(|(module, _)| names::find_linear(module).is_some())
}

fn refuse_adapter(error: &PeftError, checked: &mut Checked) {
    let (rule, part) = match error {
        PeftError::Unpaired { module, missing, .. } => {
            let matrix = match *missing {
                "lora_A" => Matrix::A,
                "lora_B" => Matrix::B,
                _ => Matrix::Magnitude,
            };
            (Rule::TensorShapes, Part::tensor(TENSOR_FILE, &tensor_name(module, matrix)))
        }
        PeftError::Shape { module, .. } => {
            (Rule::TensorShapes, Part::tensor(TENSOR_FILE, &tensor_name(module, Matrix::A)))
        }
        PeftError::MagnitudeShape { module, .. } => {
            (Rule::TensorShapes, Part::tensor(TENSOR_FILE, &tensor_name(module, Matrix::Magnitude)))
        }
        PeftError::Twice { name, .. } => (Rule::TensorNames, Part::tensor(TENSOR_FILE, name)),
        PeftError::Empty { .. } => (Rule::TensorShapes, Part::file(TENSOR_FILE)),
        PeftError::NotTargeted { module, .. } => {
            (Rule::TensorNames, Part::tensor(TENSOR_FILE, &tensor_name(module, Matrix::A)))
        }
        PeftError::Unsupported { .. } => (Rule::Unsupported, Part::FOLDER),
        PeftError::Tensors(error) => (rule_of_tensors(error), Part::file(TENSOR_FILE)),
        PeftError::PicklesOnly { .. } => (Rule::Complete, Part::file(TENSOR_FILE)),
        _ => (Rule::AdapterConfig, Part::file(CONFIG_FILE)),
    };
    checked.refuse(rule, part, error.to_string());
}
