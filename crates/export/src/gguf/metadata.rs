//! What a GGUF file says about the model and its tokenizer, beside the tensors.
//!
//! # Source
//! The GGUF specification (`docs/gguf.md` of ggml) and what llama.cpp's own converter writes for the same models.

use attune_formats::gguf::{List, Value};
use attune_model::gguf::architecture;
use attune_model::{DecoderSpec, RopeScaling};
use attune_text::gguf::Vocabulary;

use super::types::GgufType;
use crate::error::ExportError;

/// Keys in the order in which they are written.
pub(super) type Metadata = Vec<(String, Value)>;

/// Everything about the model.
///
/// # Errors
/// [`ExportError::Inexpressible`] for what the architecture of the format does not have.
pub(super) fn of_model(spec: &DecoderSpec, kind: GgufType, name: &str) -> Result<Metadata, ExportError> {
    let arch = architecture(spec);
    let inexpressible = |what: &str, hint: &str| {
        Err(ExportError::Inexpressible { what: what.into(), format: "GGUF", hint: hint.into() })
    };
    let layers_differ = spec.windows.iter().any(|window| *window != spec.windows[0]);
    if layers_differ || (arch != "llama" && spec.windows.iter().any(Option::is_some)) {
        return inexpressible("a sliding window", "export to Hugging Face (`ft export hf`), which can say it");
    }
    if spec.output_bias && arch != "llama" {
        return inexpressible("a bias on the output of attention", "export to Hugging Face (`ft export hf`)");
    }
    let key = |name: &str| format!("{arch}.{name}");
    let count = |value: usize| Value::U32(u32::try_from(value).unwrap_or(u32::MAX));
    let mut metadata: Metadata = vec![
        ("general.architecture".into(), Value::Text(arch.into())),
        ("general.type".into(), Value::Text("model".into())),
        ("general.name".into(), Value::Text(name.into())),
        ("general.file_type".into(), Value::U32(kind.file_type())),
        ("general.quantization_version".into(), Value::U32(2)),
        (key("block_count"), count(spec.layers)),
        (key("context_length"), count(spec.max_positions)),
        (key("embedding_length"), count(spec.hidden)),
        (key("feed_forward_length"), count(spec.feed_forward)),
        (key("attention.head_count"), count(spec.heads)),
        (key("attention.head_count_kv"), count(spec.kv_heads)),
        (key("attention.key_length"), count(spec.head_dim)),
        (key("attention.value_length"), count(spec.head_dim)),
        (key("attention.layer_norm_rms_epsilon"), Value::F32(spec.norm_epsilon)),
        (key("rope.dimension_count"), count(spec.head_dim)),
        (key("rope.freq_base"), Value::F32(spec.rope_theta as f32)),
        (key("vocab_size"), count(spec.vocabulary)),
    ];
    if let RopeScaling::Linear { factor } = spec.rope_scaling {
        metadata.push((key("rope.scaling.type"), Value::Text("linear".into())));
        metadata.push((key("rope.scaling.factor"), Value::F32(factor as f32)));
    }
    if let Some(window) = spec.windows.first().copied().flatten() {
        metadata.push((key("attention.sliding_window"), count(window)));
    }
    Ok(metadata)
}

/// By what Llama 3.1's scaling divides each rotary frequency, `[d / 2]`: the tensor `rope_freqs.weight`. `None` for models
/// without such scaling.
pub(super) fn rope_factors(spec: &DecoderSpec) -> Option<Vec<f32>> {
    match &spec.rope_scaling {
        RopeScaling::Llama3 { .. } => {}
        RopeScaling::Divided { divisors } => return Some(divisors.clone()),
        RopeScaling::None | RopeScaling::Linear { .. } => return None,
    }
    let plain = DecoderSpec { rope_scaling: RopeScaling::None, ..spec.clone() };
    let pairs = plain.inverse_frequencies().into_iter().zip(spec.inverse_frequencies());
    Some(pairs.map(|(plain, scaled)| plain / scaled).collect())
}

/// Everything about the tokenizer.
pub(super) fn of_vocabulary(vocabulary: &Vocabulary) -> Metadata {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let mut metadata: Metadata = vec![(key("model"), Value::Text(vocabulary.model.clone()))];
    let mut push = |name: &str, value: Option<Value>| metadata.extend(value.map(|value| (key(name), value)));
    push("pre", vocabulary.pre.clone().map(Value::Text));
    push("tokens", Some(Value::List(List::Text(vocabulary.tokens.clone()))));
    push("scores", filled(&vocabulary.scores).map(|scores| Value::List(List::F32(scores))));
    push("token_type", filled(&vocabulary.token_types).map(|types| Value::List(List::I32(types))));
    push("merges", filled(&vocabulary.merges).map(|texts| Value::List(List::Text(texts))));
    for (name, id) in [
        ("bos_token_id", vocabulary.bos),
        ("eos_token_id", vocabulary.eos),
        ("eot_token_id", vocabulary.eot),
        ("eom_token_id", vocabulary.eom),
        ("unknown_token_id", vocabulary.unk),
        ("padding_token_id", vocabulary.pad),
    ] {
        push(name, id.map(Value::U32));
    }
    for (name, flag) in [
        ("add_bos_token", vocabulary.add_bos),
        ("add_eos_token", vocabulary.add_eos),
        ("add_space_prefix", vocabulary.add_space_prefix),
        ("remove_extra_whitespaces", vocabulary.remove_extra_whitespaces),
    ] {
        push(name, flag.map(Value::Bool));
    }
    let template = vocabulary.chat_template.clone().map(|text| ("tokenizer.chat_template".into(), Value::Text(text)));
    metadata.extend(template);
    if !vocabulary.named_templates.is_empty() {
        let names = vocabulary.named_templates.iter().map(|(name, _)| name.clone()).collect();
        metadata.push(("tokenizer.chat_templates".into(), Value::List(List::Text(names))));
        let named =
            |(name, text): &(String, String)| (format!("tokenizer.chat_template.{name}"), Value::Text(text.clone()));
        metadata.extend(vocabulary.named_templates.iter().map(named));
    }
    metadata
}

fn filled<T: Clone>(list: &[T]) -> Option<Vec<T>> {
    Some(list.to_vec()).filter(|list| !list.is_empty())
}
