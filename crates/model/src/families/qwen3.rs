//! Qwen3 (dense): a norm on each head of q and k, a head size of its own.

use super::config::ConfigFile;
use crate::error::ModelError;
use crate::spec::DecoderSpec;

/// What Transformers assumes when the key is absent.
const HEAD_DIM_DEFAULT: usize = 128;

pub(super) fn spec(config: &ConfigFile) -> Result<DecoderSpec, ModelError> {
    let mut spec = config.common("qwen3", Some(HEAD_DIM_DEFAULT))?;
    let bias = config.flag("attention_bias", false)?;
    (spec.qkv_bias, spec.output_bias) = (bias, bias);
    spec.qk_norm = true;
    spec.windows = config.qwen_windows(spec.layers)?;
    Ok(spec)
}
