//! What a decoder is made of: read from `config.json`, independent of any weights.

use std::fmt;
use std::path::Path;

use crate::error::ModelError;
use crate::families;

/// How rotary frequencies are stretched.
#[derive(Debug, Clone, PartialEq)]
pub enum RopeScaling {
    /// As trained.
    None,
    /// All frequencies divided by a factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Each frequency divided by a number of its own, `[d / 2]`: what GGUF files say in place of a formula.
    Divided {
        /// The divisors.
        divisors: Vec<f32>,
    },
    /// Llama 3.1's: low frequencies divided, high ones kept, a smooth part between.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// Wavelengths above `original_positions / low_freq_factor` are low.
        low_freq_factor: f64,
        /// Wavelengths below `original_positions / high_freq_factor` are high.
        high_freq_factor: f64,
        /// Context length of the original training.
        original_positions: f64,
    },
}

/// Everything that the one decoder needs to know about a family and a size.
#[derive(Debug, Clone, PartialEq)]
pub struct DecoderSpec {
    /// `model_type` of `config.json`.
    pub family: String,
    /// c.
    pub hidden: usize,
    /// Number of layers.
    pub layers: usize,
    /// h.
    pub heads: usize,
    /// g.
    pub kv_heads: usize,
    /// d.
    pub head_dim: usize,
    /// f.
    pub feed_forward: usize,
    /// v: rows of the embedding.
    pub vocabulary: usize,
    /// Positions the model was made for.
    pub max_positions: usize,
    /// Inside the root of the norms.
    pub norm_epsilon: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How they are stretched.
    pub rope_scaling: RopeScaling,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on o.
    pub output_bias: bool,
    /// Biases on gate, up and down.
    pub mlp_bias: bool,
    /// A norm over each head of q and of k, before the rotation.
    pub qk_norm: bool,
    /// The output projection is the embedding.
    pub tied_head: bool,
    /// Sliding window of each layer.
    pub windows: Vec<Option<usize>>,
}

/// The linears of a layer that can carry an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Linear {
    /// Query projection.
    Q,
    /// Key projection.
    K,
    /// Value projection.
    V,
    /// Output projection of attention.
    O,
    /// Gate of the feed-forward block.
    Gate,
    /// Up projection.
    Up,
    /// Down projection.
    Down,
}

impl Linear {
    /// All of them, in the order of the forward pass.
    pub const ALL: [Self; 7] = [Self::Q, Self::K, Self::V, Self::O, Self::Gate, Self::Up, Self::Down];

    /// The last part of the tensor name, for example `q_proj`.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Q => "q_proj",
            Self::K => "k_proj",
            Self::V => "v_proj",
            Self::O => "o_proj",
            Self::Gate => "gate_proj",
            Self::Up => "up_proj",
            Self::Down => "down_proj",
        }
    }

    /// The linear with that name.
    pub fn from_short_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|linear| linear.short_name() == name)
    }

    /// Full module name, for example `model.layers.3.self_attn.q_proj`.
    pub fn module_name(self, layer: usize) -> String {
        let block = if self.is_attention() { "self_attn" } else { "mlp" };
        format!("model.layers.{layer}.{block}.{}", self.short_name())
    }

    /// Whether it belongs to the attention block.
    pub fn is_attention(self) -> bool {
        matches!(self, Self::Q | Self::K | Self::V | Self::O)
    }

    /// Index into arrays that hold one entry per linear.
    pub fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Linear {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.short_name())
    }
}

impl DecoderSpec {
    /// Reads `config.json` of a model folder, or the keys of a GGUF file.
    ///
    /// # Errors
    /// When the file is missing or broken, the architecture is unknown, or it has a feature that would be left out.
    pub fn read(model: &Path) -> Result<Self, ModelError> {
        if crate::gguf::is_gguf(model) {
            return crate::gguf::read_spec(model);
        }
        families::read_spec(&model.join("config.json"))
    }

    /// `(outputs, inputs)` of a linear.
    pub fn linear_shape(&self, linear: Linear) -> (usize, usize) {
        let (q, kv) = (self.heads * self.head_dim, self.kv_heads * self.head_dim);
        match linear {
            Linear::Q => (q, self.hidden),
            Linear::K | Linear::V => (kv, self.hidden),
            Linear::O => (self.hidden, q),
            Linear::Gate | Linear::Up => (self.feed_forward, self.hidden),
            Linear::Down => (self.hidden, self.feed_forward),
        }
    }

    /// Whether a linear has a bias.
    pub fn has_bias(&self, linear: Linear) -> bool {
        match linear {
            Linear::Q | Linear::K | Linear::V => self.qkv_bias,
            Linear::O => self.output_bias,
            Linear::Gate | Linear::Up | Linear::Down => self.mlp_bias,
        }
    }

    /// Number of weights, with the head counted once when it is tied.
    pub fn parameters(&self) -> usize {
        let linears: usize = Linear::ALL
            .iter()
            .map(|&linear| {
                let (outputs, inputs) = self.linear_shape(linear);
                outputs * inputs + if self.has_bias(linear) { outputs } else { 0 }
            })
            .sum();
        let norms = 2 * self.hidden + if self.qk_norm { 2 * self.head_dim } else { 0 };
        let embeddings = self.vocabulary * self.hidden * if self.tied_head { 1 } else { 2 };
        embeddings + self.layers * (linears + norms) + self.hidden
    }

    /// Rotary frequencies `[d/2]` after scaling.
    ///
    /// # Precision
    /// In `f32`, in the order of operations of Transformers, so that the angles agree to the last bits at high
    /// positions too.
    ///
    /// # Source
    /// Llama 3.1 scaling: `modeling_rope_utils` of Transformers, and the reference code of meta-llama/llama-models.
    pub fn inverse_frequencies(&self) -> Vec<f32> {
        let half = self.head_dim / 2;
        let plain = (0..half).map(|i| {
            let exponent = (2 * i) as f32 / self.head_dim as f32;
            1.0 / (self.rope_theta as f32).powf(exponent)
        });
        match self.rope_scaling {
            RopeScaling::None => plain.collect(),
            RopeScaling::Linear { factor } => plain.map(|frequency| frequency / factor as f32).collect(),
            RopeScaling::Divided { ref divisors } => {
                plain.zip(divisors).map(|(plain, divisor)| plain / divisor).collect()
            }
            RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_positions } => plain
                .map(|frequency| {
                    let wavelength = 2.0 * std::f32::consts::PI / frequency;
                    let longest_high = (original_positions / high_freq_factor) as f32;
                    let shortest_low = (original_positions / low_freq_factor) as f32;
                    if wavelength > shortest_low {
                        frequency / factor as f32
                    } else if wavelength < longest_high {
                        frequency
                    } else {
                        let smooth = (original_positions as f32 / wavelength - low_freq_factor as f32)
                            / (high_freq_factor - low_freq_factor) as f32;
                        (1.0 - smooth) * frequency / factor as f32 + smooth * frequency
                    }
                })
                .collect(),
        }
    }
}
