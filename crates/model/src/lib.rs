//! The decoder: spec, frozen weights, adapters, forward, backward, KV cache, generation.
//!
//! One decoder serves all families: `families/` reads a `config.json` into a [`DecoderSpec`], [`BaseModel`] maps the
//! weights that the spec names, [`Decoder`] holds the one forward and the one hand-derived backward. There is no tape:
//! [`Decoder::forward`] returns what [`Decoder::backward`] needs.

pub mod adapter;
pub mod batch;
pub mod decoder;
pub mod error;
mod families;
pub mod full;
pub mod generate;
pub mod gguf;
mod gguf_lora;
mod layer;
pub mod layout;
pub mod mlx;
pub mod operations;
pub mod peft;
pub mod quantize;
pub mod spec;
pub mod trained;
pub mod weights;

pub use adapter::{Adapter, AdapterModule, AdapterSpec, Gradients, LayerChoice, ModuleParameters, Targets};
pub use batch::{PackedBatch, Target};
pub use decoder::{Decoder, ForwardOptions, Pass, SavePolicy};
pub use error::{ModelError, pull_hint};
pub use full::{FullModel, WeightGradients};
pub use generate::{Generated, KvCache, Sampling, StopReason, generate};
pub use layout::AdapterLayout;
pub use spec::{DecoderSpec, Linear, RopeScaling};
pub use trained::{Part, Trained, TrainedGradients};
pub use weights::BaseModel;
