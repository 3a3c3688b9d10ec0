//! What the quickstart works on, embedded in the program: the tiny base, the transcripts, the held-out calls.

use std::path::Path;

use attune_formats::files::{create_dir_all, write_atomic};

use crate::failure::Failure;

macro_rules! embedded {
    ($($name:literal = $path:literal),+ $(,)?) => { &[$(($name, include_bytes!(concat!("../../../../../", $path)))),+] };
}

const FILES: &[(&str, &[u8])] = embedded![
    "base/config.json" = "models/tiny/config.json",
    "base/generation_config.json" = "models/tiny/generation_config.json",
    "base/model.safetensors" = "models/tiny/model.safetensors",
    "base/tokenizer.json" = "models/tiny/tokenizer.json",
    "base/tokenizer_config.json" = "models/tiny/tokenizer_config.json",
    "transcripts/office-1.vtt" = "examples/style-from-transcripts/office-1.vtt",
    "transcripts/office-2.vtt" = "examples/style-from-transcripts/office-2.vtt",
    "transcripts/office-3.vtt" = "examples/style-from-transcripts/office-3.vtt",
    "transcripts/office-4.vtt" = "examples/style-from-transcripts/office-4.vtt",
    "transcripts/office-5.vtt" = "examples/style-from-transcripts/office-5.vtt",
    "transcripts/office-6.vtt" = "examples/style-from-transcripts/office-6.vtt",
    "transcripts/office-7.vtt" = "examples/style-from-transcripts/office-7.vtt",
    "transcripts/office-8.vtt" = "examples/style-from-transcripts/office-8.vtt",
    "heldout.jsonl" = "examples/style-from-transcripts/heldout.jsonl",
    "ft.yaml" = "crates/cli/src/commands/quickstart/ft.yaml",
];

/// Writes all of them into a folder.
pub(super) fn write(out: &Path) -> Result<(), Failure> {
    for (name, content) in FILES {
        let path = out.join(name);
        create_dir_all(path.parent().unwrap_or(out))?;
        write_atomic(&path, content)?;
    }
    Ok(())
}

/// Names of the transcripts.
pub(super) fn transcripts() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".vtt"))
}
