//! The files beside the weights that a model folder needs.

use std::path::Path;

use attune_formats::files::{DirWriter, read_limited};

use attune_text::TextModel;
use serde_json::{Map, Value};

use crate::error::ExportError;

/// What tokenizers and templates read.
const TEXT_NAMES: [&str; 10] = [
    "tokenizer.json",
    TOKENIZER_CONFIG,
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "tekken.json",
    TEMPLATE,
    "chat_template.json",
];
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
const TEMPLATE: &str = "chat_template.jinja";

/// What belongs to the model: how it generates, and the licence that comes with it.
const MODEL_NAMES: [&str; 6] = [GENERATION, "LICENSE", "LICENSE.txt", "LICENSE.md", "NOTICE", "USE_POLICY.md"];

const GENERATION: &str = "generation_config.json";

/// Tokenizers of large vocabularies have some 20 MB.
const MAX_BYTES: u64 = 256 << 20;

/// Copies them byte for byte; those of a model that is one file are made. A template of one's own takes the place of the
/// model's wherever that stands.
pub(super) fn write(
    dir: &DirWriter,
    text: &TextModel,
    model_source: Option<&Path>,
    own_template: Option<&str>,
) -> Result<(), ExportError> {
    let text_source = text.dir();
    if !text_source.is_dir() {
        for (name, content) in text.hugging_face_files()? {
            dir.write(name, content.as_bytes())?;
        }
        return Ok(());
    }
    for name in TEXT_NAMES {
        let path = text_source.join(name);
        if !path.is_file() || (own_template.is_some() && name.starts_with("chat_template")) {
            continue;
        }
        let mut bytes = read_limited(&path, MAX_BYTES)?;
        if own_template.is_some() && name == TOKENIZER_CONFIG {
            let mut config: Map<String, Value> = serde_json::from_slice(&bytes)
                .map_err(|error| ExportError::Config { path, reason: error.to_string() })?;
            config.remove("chat_template");
            bytes = serde_json::to_vec_pretty(&config).unwrap_or_default();
        }
        dir.write(name, &bytes)?;
    }
    if let Some(template) = own_template {
        dir.write(TEMPLATE, template.as_bytes())?;
    }
    let mut has_generation = false;
    for name in MODEL_NAMES {
        if let Some(path) = model_source.map(|source| source.join(name)).filter(|path| path.is_file()) {
            dir.write(name, &read_limited(&path, MAX_BYTES)?)?;
            has_generation |= name == GENERATION;
        }
    }
    // Without it nobody knows where a new model's answers end.
    if !has_generation && model_source.is_none() {
        let made = text.hugging_face_files()?.into_iter().find(|(name, _)| *name == GENERATION);
        if let Some((name, content)) = made {
            dir.write(name, content.as_bytes())?;
        }
    }
    Ok(())
}
