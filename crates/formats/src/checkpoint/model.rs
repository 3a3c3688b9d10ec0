//! Whole models in Hugging Face layout.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::{Map, Value};

use super::adapter::{check_finite, check_type, refuse_missing, rule_of_tensors};
use super::names::{self, Extent, Presence, TENSORS};
use super::report::{Checked, Part};
use super::rules::Rule;
use super::strict_json;
use crate::files::read_limited;
use crate::tensors::{MappedTensor, WeightFolder};

const CONFIG_FILE: &str = "config.json";
const MAX_CONFIG_BYTES: u64 = 16 << 20;
/// More layers than any model has, so that a made-up number costs nothing.
const MAX_LAYERS: usize = 10_000;
const FAMILIES: [&str; 4] = ["llama", "mistral", "qwen2", "qwen3"];
const QWEN3_HEAD_DEFAULT: usize = 128;
const EMBEDDING: &str = "model.embed_tokens.weight";
const HEAD: &str = "lm_head.weight";

/// What decides names and shapes.
struct Sizes {
    family: String,
    layers: usize,
    vocabulary: usize,
    hidden: usize,
    heads: usize,
    kv_heads: usize,
    head: usize,
    feed_forward: usize,
    tied: bool,
    attention_bias: bool,
    mlp_bias: bool,
}

/// Rules 7, 11, 12, 15 to 18 and 24. How many values each tensor has, where the folder is sound so far.
pub(super) fn check(dir: &Path, in_checkpoint: bool, checked: &mut Checked) -> Option<BTreeMap<String, usize>> {
    let before = checked.report.findings.len();
    let sizes = match read_sizes(dir, checked) {
        Ok(sizes) => Some(sizes),
        Err(reason) => {
            if !reason.is_empty() {
                checked.refuse(Rule::ModelConfig, Part::file(CONFIG_FILE), reason);
            }
            None
        }
    };
    let folder = match WeightFolder::open(dir) {
        Ok(folder) => folder,
        Err(error) => {
            let file = error.path().file_name().map(|name| name.to_string_lossy().into_owned());
            let part = Part { file: file.filter(|_| error.path() != dir), tensor: None };
            checked.refuse(rule_of_tensors(&error), part, error.to_string());
            return None;
        }
    };
    for tensor in folder.tensors() {
        let file = file_of(tensor);
        check_type(&file, tensor, in_checkpoint, checked);
        check_finite(&file, tensor, checked);
    }
    let sizes = sizes?;
    for tensor in folder.tensors() {
        sizes.check_tensor(tensor, checked);
    }
    let stored: BTreeSet<&str> = folder.names().collect();
    sizes.check_presence(&stored, checked);
    let values = |tensor: &MappedTensor| (tensor.name.clone(), tensor.shape.iter().product());
    (checked.report.findings.len() == before).then(|| folder.tensors().map(values).collect())
}

fn file_of(tensor: &MappedTensor) -> String {
    let (file, _) = tensor.shared();
    file.path().file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

impl Sizes {
    fn extent(&self, extent: Extent) -> usize {
        match extent {
            Extent::Vocabulary => self.vocabulary,
            Extent::Hidden => self.hidden,
            Extent::Query => self.heads.saturating_mul(self.head),
            Extent::KeyValue => self.kv_heads.saturating_mul(self.head),
            Extent::Head => self.head,
            Extent::FeedForward => self.feed_forward,
        }
    }

    fn has(&self, presence: Presence) -> bool {
        let biased = self.attention_bias && matches!(self.family.as_str(), "llama" | "qwen3");
        match presence {
            Presence::Always => true,
            Presence::UntiedHead => !self.tied,
            Presence::QkvBias => self.family == "qwen2" || biased,
            Presence::OutputBias => biased,
            Presence::MlpBias => self.family == "llama" && self.mlp_bias,
            Presence::QkNorm => self.family == "qwen3",
        }
    }

    /// Rules 15 and 16 of one tensor.
    fn check_tensor(&self, tensor: &MappedTensor, checked: &mut Checked) {
        let file = file_of(tensor);
        let found = names::find(&tensor.name).filter(|(row, layer)| {
            let tolerated = row.presence == Presence::UntiedHead;
            (tolerated || self.has(row.presence)) && *layer < self.layers
        });
        let Some((row, _)) = found else {
            let message = format!("is no tensor of a {} of {} layers", self.family, self.layers);
            return checked.refuse(Rule::TensorNames, Part::tensor(&file, &tensor.name), message);
        };
        let expected: Vec<usize> = row.shape.iter().map(|&extent| self.extent(extent)).collect();
        if tensor.shape != expected {
            let message = format!("has the shape {:?}, expected {expected:?}", tensor.shape);
            checked.refuse(Rule::TensorShapes, Part::tensor(&file, &tensor.name), message);
        }
    }

    /// Rule 11 of tensors; only the first one that is missing is named.
    fn check_presence(&self, stored: &BTreeSet<&str>, checked: &mut Checked) {
        let stands_in = |name: &str| self.tied && name == EMBEDDING && stored.contains(HEAD);
        for row in TENSORS.iter().filter(|row| self.has(row.presence)) {
            let layers = if row.name.contains("{n}") { self.layers } else { 1 };
            for layer in 0..layers {
                let name = row.name.replace("{n}", &layer.to_string());
                if !stored.contains(name.as_str()) && !stands_in(&name) {
                    let part = Part { file: None, tensor: Some(name) };
                    return checked.refuse(Rule::Complete, part, "is missing");
                }
            }
        }
    }
}

/// An empty reason: it was reported already.
fn read_sizes(dir: &Path, checked: &mut Checked) -> Result<Sizes, String> {
    let path = dir.join(CONFIG_FILE);
    if !path.is_file() {
        refuse_missing(CONFIG_FILE, "is missing", checked);
        return Err(String::new());
    }
    let bytes = read_limited(&path, MAX_CONFIG_BYTES).map_err(|error| error.to_string())?;
    let Value::Object(keys) = strict_json(&bytes).map_err(|error| error.to_string())? else {
        return Err("is not an object".into());
    };
    let family = keys.get("model_type").and_then(Value::as_str).unwrap_or_default();
    if !FAMILIES.contains(&family) {
        return Err(format!("model_type {family:?} is none of {}", FAMILIES.join(", ")));
    }
    let (hidden, heads) = (size(&keys, "hidden_size")?, size(&keys, "num_attention_heads")?);
    let head_default = if family == "qwen3" { QWEN3_HEAD_DEFAULT } else { hidden / heads };
    let sizes = Sizes {
        family: family.to_string(),
        layers: size(&keys, "num_hidden_layers")?,
        vocabulary: size(&keys, "vocab_size")?,
        hidden,
        heads,
        kv_heads: optional_size(&keys, "num_key_value_heads")?.unwrap_or(heads),
        head: optional_size(&keys, "head_dim")?.unwrap_or(head_default),
        feed_forward: size(&keys, "intermediate_size")?,
        tied: flag(&keys, "tie_word_embeddings")?,
        attention_bias: flag(&keys, "attention_bias")?,
        mlp_bias: flag(&keys, "mlp_bias")?,
    };
    if sizes.layers > MAX_LAYERS {
        return Err(format!("num_hidden_layers is {}, at most {MAX_LAYERS} are read", sizes.layers));
    }
    if !sizes.heads.is_multiple_of(sizes.kv_heads) {
        return Err(format!("num_key_value_heads {} does not divide {heads} heads", sizes.kv_heads));
    }
    Ok(sizes)
}

fn size(keys: &Map<String, Value>, key: &str) -> Result<usize, String> {
    optional_size(keys, key)?.ok_or_else(|| format!("{key} is missing"))
}

fn optional_size(keys: &Map<String, Value>, key: &str) -> Result<Option<usize>, String> {
    let Some(value) = keys.get(key).filter(|value| !value.is_null()) else { return Ok(None) };
    let size = value.as_u64().and_then(|size| usize::try_from(size).ok()).filter(|&size| size > 0);
    size.map(Some).ok_or_else(|| format!("{key} is {value}, expected a whole number from 1 on"))
}

fn flag(keys: &Map<String, Value>, key: &str) -> Result<bool, String> {
    match keys.get(key) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(format!("{key} is {other}, expected true or false")),
    }
}
