//! The files beside the weights that a model folder needs.

use std::path::Path;

use attune_formats::files::{DirWriter, read_limited};

use crate::error::ExportError;

/// What tokenizers, templates and generation read, and the licence that comes with a base. Copied where they are.
const NAMES: [&str; 16] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
    "USE_POLICY.md",
];

/// Tokenizers of large vocabularies have some 20 MB.
const MAX_BYTES: u64 = 256 << 20;

/// Copies them byte for byte.
pub(super) fn copy(source: &Path, dir: &DirWriter) -> Result<(), ExportError> {
    for name in NAMES {
        let path = source.join(name);
        if path.is_file() {
            dir.write(name, &read_limited(&path, MAX_BYTES)?)?;
        }
    }
    Ok(())
}
