//! What `ft quickstart` brings along: a base model, transcripts, held-out calls, a configuration.

use std::path::Path;

use attune_formats::files;

use crate::failure::Failure;

/// The tiny base model, which `cargo xtask tiny-base` makes.
const BASE: [(&str, &[u8]); 5] = [
    ("config.json", include_bytes!("../../../../../models/tiny/config.json")),
    ("generation_config.json", include_bytes!("../../../../../models/tiny/generation_config.json")),
    ("model.safetensors", include_bytes!("../../../../../models/tiny/model.safetensors")),
    ("tokenizer.json", include_bytes!("../../../../../models/tiny/tokenizer.json")),
    ("tokenizer_config.json", include_bytes!("../../../../../models/tiny/tokenizer_config.json")),
];

macro_rules! example {
    ($name:literal) => {
        ($name, include_str!(concat!("../../../../../examples/style-from-transcripts/", $name)))
    };
}

/// Captions by name.
pub(super) const TRANSCRIPTS: [(&str, &str); 8] = [
    example!("office-1.vtt"),
    example!("office-2.vtt"),
    example!("office-3.vtt"),
    example!("office-4.vtt"),
    example!("office-5.vtt"),
    example!("office-6.vtt"),
    example!("office-7.vtt"),
    example!("office-8.vtt"),
];

const HELD_OUT: (&str, &str) = example!("heldout.jsonl");

const CONFIG: &str = include_str!("ft.yaml");

/// Writes all of it into the folder.
pub(super) fn unpack(out: &Path) -> Result<(), Failure> {
    files::create_dir_all(&out.join("base"))?;
    files::create_dir_all(&out.join("transcripts"))?;
    for (name, content) in BASE {
        files::write_atomic(&out.join("base").join(name), content)?;
    }
    for (name, content) in TRANSCRIPTS {
        files::write_atomic(&out.join("transcripts").join(name), content.as_bytes())?;
    }
    files::write_atomic(&out.join(HELD_OUT.0), HELD_OUT.1.as_bytes())?;
    files::write_atomic(&out.join("ft.yaml"), CONFIG.as_bytes())?;
    Ok(())
}
