//! Mistral 7B: Llama with a sliding window in every layer (versions before 0.2) or none.

use super::config::ConfigFile;
use crate::error::ModelError;
use crate::spec::DecoderSpec;

/// What Transformers assumes when the key is absent; `null` means no window.
const WINDOW_DEFAULT: usize = 4096;

pub(super) fn spec(config: &ConfigFile) -> Result<DecoderSpec, ModelError> {
    let mut spec = config.common("mistral", None)?;
    let window = match config.optional_size("sliding_window")? {
        None if !config.has("sliding_window") => Some(WINDOW_DEFAULT),
        window => window,
    };
    spec.windows = vec![window; spec.layers];
    Ok(spec)
}
