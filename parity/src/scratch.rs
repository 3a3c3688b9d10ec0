//! The model of the golden case that begins with weights of our own drawing.

use attune_compute::DType;
use attune_model::{DecoderSpec, FullModel, RopeScaling};

/// Name of the case.
pub const SCRATCH: &str = "scratch-llama-f32-tied";

/// Wider than the usual 0.02, so that attention is uneven and a mistake in it shows.
const INIT_STD: f64 = 0.1;

/// The model before its first step; `goldens-full/<SCRATCH>/model` is its folder.
pub fn model() -> FullModel {
    let spec = DecoderSpec {
        family: "llama".into(),
        hidden: 24,
        layers: 2,
        heads: 3,
        kv_heads: 1,
        head_dim: 8,
        feed_forward: 40,
        vocabulary: 67,
        max_positions: 64,
        norm_epsilon: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied_head: true,
        windows: vec![None; 2],
    };
    FullModel::random(&spec, DType::F32, INIT_STD, 7)
}
