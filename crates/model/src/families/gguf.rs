//! The spec of a model in a GGUF file, from its keys and its tensors.

use attune_formats::gguf::{GgufFile, names};

use crate::error::ModelError;
use crate::spec::{DecoderSpec, RopeScaling};

/// Architectures, which are families by other names: Mistral's files say `llama`.
const ARCHITECTURES: [&str; 3] = ["llama", "qwen2", "qwen3"];

/// Reads the keys of a file. What the spec cannot say is refused.
pub(crate) fn spec(file: &GgufFile) -> Result<DecoderSpec, ModelError> {
    let architecture = file.text("general.architecture")?;
    let reader = Reader { file, architecture };
    if !ARCHITECTURES.contains(&architecture) {
        let hint = format!("supported are {}; other architectures come with later versions", ARCHITECTURES.join(", "));
        return Err(reader.unsupported(format!("architecture '{architecture}'"), hint));
    }
    if let Some(kind) = file.optional_text("general.type")?.filter(|&kind| kind != "model") {
        return Err(reader.unsupported(format!("general.type '{kind}'"), "give the file of the model itself".into()));
    }
    reader.refuse_foreign_features()?;
    let (hidden, heads) = (reader.size("embedding_length")?, reader.size("attention.head_count")?);
    let head_dim = match reader.optional_size("attention.key_length")? {
        Some(size) => size,
        None if hidden.is_multiple_of(heads) => hidden / heads,
        None => return Err(reader.key_error("attention.head_count", format!("{heads} does not divide {hidden}"))),
    };
    for (key, expected) in [("attention.value_length", head_dim), ("rope.dimension_count", head_dim)] {
        if let Some(size) = reader.optional_size(key)?.filter(|&size| size != expected) {
            return Err(reader.unsupported(format!("{key} {size} with heads of {expected}"), OTHER_MODEL.into()));
        }
    }
    let layers = reader.size("block_count")?;
    let has = |name: &str| file.tensor(name).is_some();
    let Some(embedding) = file.tensor("token_embd.weight") else {
        return Err(reader.missing("token_embd.weight"));
    };
    let Some(epsilon) = file.optional_f64(&reader.key("attention.layer_norm_rms_epsilon"))? else {
        return Err(reader.key_error("attention.layer_norm_rms_epsilon", "is missing".into()));
    };
    let mut spec = DecoderSpec {
        family: architecture.to_string(),
        hidden,
        layers,
        heads,
        kv_heads: reader.optional_size("attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        feed_forward: reader.size("feed_forward_length")?,
        vocabulary: embedding.shape[0],
        max_positions: reader.size("context_length")?,
        norm_epsilon: epsilon as f32,
        rope_theta: file.optional_f64(&reader.key("rope.freq_base"))?.unwrap_or(10_000.0),
        rope_scaling: RopeScaling::None,
        qkv_bias: has("blk.0.attn_q.bias"),
        output_bias: has("blk.0.attn_output.bias"),
        mlp_bias: has("blk.0.ffn_gate.bias"),
        qk_norm: has("blk.0.attn_q_norm.weight"),
        tied_head: !has("output.weight"),
        windows: vec![reader.window()?; layers],
    };
    if !spec.heads.is_multiple_of(spec.kv_heads) {
        return Err(reader.key_error("attention.head_count_kv", format!("{} does not divide {heads}", spec.kv_heads)));
    }
    if !head_dim.is_multiple_of(2) {
        return Err(
            reader.key_error("attention.key_length", format!("{head_dim} is odd; rotary pairs need an even size"))
        );
    }
    spec.rope_scaling = reader.rope_scaling(&spec)?;
    Ok(spec)
}

const OTHER_MODEL: &str = "take the model in Hugging Face layout, or another model";
/// More than any model has; larger counts would only fill the memory.
const MAX_SIZE: u64 = 1 << 32;

struct Reader<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

impl Reader<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn optional_size(&self, name: &str) -> Result<Option<usize>, ModelError> {
        let Some(size) = self.file.optional_u64(&self.key(name))? else { return Ok(None) };
        match size {
            1..=MAX_SIZE => Ok(Some(size as usize)),
            _ => Err(self.key_error(name, format!("{size} is out of range"))),
        }
    }

    fn size(&self, name: &str) -> Result<usize, ModelError> {
        let size = self.optional_size(name)?.ok_or_else(|| self.key_error(name, "is missing".into()))?;
        // One list entry per layer is made of this before any tensor is looked at.
        if name == "block_count" && size > self.file.tensors().len() {
            return Err(self.key_error(name, format!("{size} layers in {} tensors", self.file.tensors().len())));
        }
        Ok(size)
    }

    /// The window of `llama`; the Qwen architectures have no key for one.
    fn window(&self) -> Result<Option<usize>, ModelError> {
        self.optional_size("attention.sliding_window")
    }

    /// Features of these architectures that change the mathematics.
    fn refuse_foreign_features(&self) -> Result<(), ModelError> {
        for name in ["expert_count", "expert_used_count", "pooling_type"] {
            if let Some(value) = self.file.optional_u64(&self.key(name))?.filter(|&value| value > 0) {
                return Err(self.unsupported(format!("{name} {value}"), OTHER_MODEL.into()));
            }
        }
        for name in ["attention.scale", "attn_logit_softcapping", "final_logit_softcapping", "logit_scale"] {
            if let Some(value) = self.file.optional_f64(&self.key(name))?.filter(|&value| value != 0.0) {
                return Err(self.unsupported(format!("{name} {value}"), OTHER_MODEL.into()));
            }
        }
        if self.file.optional_bool(&self.key("attention.causal"))? == Some(false) {
            return Err(self.unsupported("attention that is not causal".into(), OTHER_MODEL.into()));
        }
        Ok(())
    }

    fn rope_scaling(&self, spec: &DecoderSpec) -> Result<RopeScaling, ModelError> {
        let factors = self.file.tensor(names::ROPE_FREQS);
        let named = self.file.optional_text(&self.key("rope.scaling.type"))?;
        // Files of before 2024 have the factor alone.
        let old = self.file.optional_f64(&self.key("rope.scale_linear"))?.filter(|&factor| factor != 1.0);
        match (named, factors) {
            (None | Some("none"), None) => Ok(old.map_or(RopeScaling::None, |factor| RopeScaling::Linear { factor })),
            (Some("linear"), None) => match self.file.optional_f64(&self.key("rope.scaling.factor"))?.or(old) {
                Some(factor) if factor > 0.0 => Ok(RopeScaling::Linear { factor }),
                other => Err(self.key_error("rope.scaling.factor", format!("got {other:?}"))),
            },
            (None | Some("none" | "llama3"), Some(tensor)) => {
                let values = crate::gguf::vector(self.file, tensor)?;
                let fits =
                    values.len() == spec.head_dim / 2 && values.iter().all(|&value| value.is_finite() && value > 0.0);
                match fits {
                    true => Ok(llama3_of(spec, &values).unwrap_or(RopeScaling::Divided { divisors: values })),
                    false => Err(self.key_error(names::ROPE_FREQS, format!("{values:?}"))),
                }
            }
            (Some(other), _) => Err(self.unsupported(format!("rope.scaling.type '{other}'"), OTHER_MODEL.into())),
        }
    }

    fn key_error(&self, name: &str, reason: String) -> ModelError {
        ModelError::ConfigKey { path: self.file.path().to_path_buf(), key: self.key(name), reason }
    }

    fn unsupported(&self, what: String, hint: String) -> ModelError {
        ModelError::Unsupported { path: self.file.path().to_path_buf(), what, hint }
    }

    fn missing(&self, name: &str) -> ModelError {
        ModelError::MissingTensor { dir: self.file.path().to_path_buf(), name: name.to_string() }
    }
}

/// Llama 3.1's scaling, if the divisors are exactly what it gives: then a Hugging Face folder can say it, too.
fn llama3_of(spec: &DecoderSpec, divisors: &[f32]) -> Option<RopeScaling> {
    let factor = divisors.iter().copied().fold(0.0, f32::max);
    let plain = DecoderSpec { rope_scaling: RopeScaling::None, ..spec.clone() }.inverse_frequencies();
    (4..=20).find_map(|power| {
        let scaling = RopeScaling::Llama3 {
            factor: f64::from(factor),
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_positions: f64::from(1_u32 << power),
        };
        let scaled = DecoderSpec { rope_scaling: scaling.clone(), ..spec.clone() }.inverse_frequencies();
        let mut triples = plain.iter().zip(&scaled).zip(divisors);
        triples.all(|((plain, scaled), divisor)| (plain / scaled / divisor - 1.0).abs() < 1e-5).then_some(scaling)
    })
}
