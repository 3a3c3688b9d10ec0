//! Writes the model of the golden case that is trained from scratch, for Transformers to train:
//! `cargo run -p attune-parity --example random_model -- parity/goldens-full/scratch-llama-f32-tied/model`.

use std::error::Error;
use std::path::PathBuf;

use attune_export::FloatType;
use attune_export::hf::config_text;
use attune_formats::files::DirWriter;
use attune_parity::scratch;

fn main() -> Result<(), Box<dyn Error>> {
    let dir = PathBuf::from(std::env::args_os().nth(1).ok_or("which folder?")?);
    let model = scratch::model();
    let writer = DirWriter::create(&dir)?;
    model.write_masters(&writer)?;
    writer.write("config.json", config_text(model.spec(), model.path(), FloatType::F32)?.as_bytes())?;
    writer.replace()?;
    Ok(())
}
