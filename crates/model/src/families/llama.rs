//! Llama 1 to 3.x and the many models that take its architecture.

use super::config::ConfigFile;
use crate::error::ModelError;
use crate::spec::DecoderSpec;

pub(super) fn spec(config: &ConfigFile) -> Result<DecoderSpec, ModelError> {
    let mut spec = config.common("llama", None)?;
    let bias = config.flag("attention_bias", false)?;
    (spec.qkv_bias, spec.output_bias) = (bias, bias);
    spec.mlp_bias = config.flag("mlp_bias", false)?;
    Ok(spec)
}
