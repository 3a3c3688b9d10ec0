//! Qwen2 and Qwen2.5: biases on q, k and v.

use super::config::ConfigFile;
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) fn spec(config: &ConfigFile) -> Result<DecoderSpec, ModelError> {
    let mut spec = config.common("qwen2", None)?;
    spec.qkv_bias = true;
    spec.windows = config.qwen_windows(spec.layers)?;
    Ok(spec)
}
