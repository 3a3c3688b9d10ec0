//! The tokenizer of a GGUF file.

use super::Vocabulary;
use attune_formats::gguf::{GgufError, GgufFile};

/// Takes the tokenizer's keys out of a file.
///
/// # Errors
/// When a key has another kind of value, or there is no tokenizer.
pub fn read_vocabulary(file: &GgufFile) -> Result<Vocabulary, GgufError> {
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let id = |name: &str| -> Result<Option<u32>, GgufError> {
        // Some writers store -1, as 4294967295, for a token that the model does not have.
        let id = file.optional_u64(&key(name))?.and_then(|id| u32::try_from(id).ok());
        Ok(id.filter(|&id| id != u32::MAX))
    };
    let owned = |text: Option<&str>| text.map(str::to_string);
    let texts = |name: &str| -> Result<Vec<String>, GgufError> {
        Ok(file.optional_texts(&key(name))?.map(<[String]>::to_vec).unwrap_or_default())
    };
    let mut named_templates = Vec::new();
    for name in file.optional_texts("tokenizer.chat_templates")?.unwrap_or_default() {
        if let Some(text) = file.optional_text(&format!("tokenizer.chat_template.{name}"))? {
            named_templates.push((name.clone(), text.to_string()));
        }
    }
    Ok(Vocabulary {
        model: file.text(&key("model"))?.to_string(),
        pre: owned(file.optional_text(&key("pre"))?),
        tokens: texts("tokens")?,
        scores: file.optional_f32s(&key("scores"))?.map(<[f32]>::to_vec).unwrap_or_default(),
        token_types: file.optional_i32s(&key("token_type"))?.unwrap_or_default(),
        merges: texts("merges")?,
        bos: id("bos_token_id")?,
        eos: id("eos_token_id")?,
        eot: id("eot_token_id")?,
        eom: id("eom_token_id")?,
        unk: id("unknown_token_id")?,
        pad: id("padding_token_id")?,
        add_bos: file.optional_bool(&key("add_bos_token"))?,
        add_eos: file.optional_bool(&key("add_eos_token"))?,
        add_space_prefix: file.optional_bool(&key("add_space_prefix"))?,
        remove_extra_whitespaces: file.optional_bool(&key("remove_extra_whitespaces"))?,
        chat_template: owned(file.optional_text("tokenizer.chat_template")?),
        named_templates,
    })
}
