//! Names and shapes of tensors in every layout, as one table.

use std::fmt;

/// A size in a shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// `vocab_size`.
    Vocabulary,
    /// `hidden_size`.
    Hidden,
    /// Query heads times head size.
    Query,
    /// Key/value heads times head size.
    KeyValue,
    /// Head size.
    Head,
    /// `intermediate_size`.
    FeedForward,
}

impl fmt::Display for Extent {
    /// The letters of the house legend.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Vocabulary => "v",
            Self::Hidden => "c",
            Self::Query => "h·d",
            Self::KeyValue => "g·d",
            Self::Head => "d",
            Self::FeedForward => "f",
        })
    }
}

/// Which models have a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// All of them.
    Always,
    /// Those whose head is not tied to the embedding; where it is, a stored head is tolerated.
    UntiedHead,
    /// qwen2; llama and qwen3 with `attention_bias`.
    QkvBias,
    /// llama and qwen3 with `attention_bias`.
    OutputBias,
    /// llama with `mlp_bias`.
    MlpBias,
    /// qwen3.
    QkNorm,
}

impl fmt::Display for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Always => "always",
            Self::UntiedHead => "unless `tie_word_embeddings`",
            Self::QkvBias => "qwen2; llama, qwen3 with `attention_bias`",
            Self::OutputBias => "llama, qwen3 with `attention_bias`",
            Self::MlpBias => "llama with `mlp_bias`",
            Self::QkNorm => "qwen3",
        })
    }
}

/// A tensor of a model; `{n}` stands for the layer, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TensorRow {
    /// Its name in Hugging Face folders, which is that in PyTorch and in mlx-lm, too.
    pub name: &'static str,
    /// Its name in GGUF files of these families.
    pub gguf: &'static str,
    /// Its shape, row-major: `[out, in]` for a linear. GGUF writes the same extents in reverse order.
    pub shape: &'static [Extent],
    /// Which models have it.
    pub presence: Presence,
}

const fn row(name: &'static str, gguf: &'static str, shape: &'static [Extent], presence: Presence) -> TensorRow {
    TensorRow { name, gguf, shape, presence }
}

use Extent::{FeedForward, Head, Hidden, KeyValue, Query, Vocabulary};
use Presence::{Always, MlpBias, OutputBias, QkNorm, QkvBias, UntiedHead};

/// All tensors of llama, mistral, qwen2 and qwen3, in the order of the forward pass.
pub const TENSORS: [TensorRow; 21] = [
    row("model.embed_tokens.weight", "token_embd.weight", &[Vocabulary, Hidden], Always),
    row("model.layers.{n}.input_layernorm.weight", "blk.{n}.attn_norm.weight", &[Hidden], Always),
    row("model.layers.{n}.self_attn.q_proj.weight", "blk.{n}.attn_q.weight", &[Query, Hidden], Always),
    row("model.layers.{n}.self_attn.q_proj.bias", "blk.{n}.attn_q.bias", &[Query], QkvBias),
    row("model.layers.{n}.self_attn.k_proj.weight", "blk.{n}.attn_k.weight", &[KeyValue, Hidden], Always),
    row("model.layers.{n}.self_attn.k_proj.bias", "blk.{n}.attn_k.bias", &[KeyValue], QkvBias),
    row("model.layers.{n}.self_attn.v_proj.weight", "blk.{n}.attn_v.weight", &[KeyValue, Hidden], Always),
    row("model.layers.{n}.self_attn.v_proj.bias", "blk.{n}.attn_v.bias", &[KeyValue], QkvBias),
    row("model.layers.{n}.self_attn.q_norm.weight", "blk.{n}.attn_q_norm.weight", &[Head], QkNorm),
    row("model.layers.{n}.self_attn.k_norm.weight", "blk.{n}.attn_k_norm.weight", &[Head], QkNorm),
    row("model.layers.{n}.self_attn.o_proj.weight", "blk.{n}.attn_output.weight", &[Hidden, Query], Always),
    row("model.layers.{n}.self_attn.o_proj.bias", "blk.{n}.attn_output.bias", &[Hidden], OutputBias),
    row("model.layers.{n}.post_attention_layernorm.weight", "blk.{n}.ffn_norm.weight", &[Hidden], Always),
    row("model.layers.{n}.mlp.gate_proj.weight", "blk.{n}.ffn_gate.weight", &[FeedForward, Hidden], Always),
    row("model.layers.{n}.mlp.gate_proj.bias", "blk.{n}.ffn_gate.bias", &[FeedForward], MlpBias),
    row("model.layers.{n}.mlp.up_proj.weight", "blk.{n}.ffn_up.weight", &[FeedForward, Hidden], Always),
    row("model.layers.{n}.mlp.up_proj.bias", "blk.{n}.ffn_up.bias", &[FeedForward], MlpBias),
    row("model.layers.{n}.mlp.down_proj.weight", "blk.{n}.ffn_down.weight", &[Hidden, FeedForward], Always),
    row("model.layers.{n}.mlp.down_proj.bias", "blk.{n}.ffn_down.bias", &[Hidden], MlpBias),
    row("model.norm.weight", "output_norm.weight", &[Hidden], Always),
    row("lm_head.weight", "output.weight", &[Vocabulary, Hidden], UntiedHead),
];

/// The row and the layer of a name; layer 0 for what is in no layer.
pub fn find(name: &str) -> Option<(&'static TensorRow, usize)> {
    TENSORS.iter().find_map(|row| {
        let Some((head, tail)) = row.name.split_once("{n}") else { return (row.name == name).then_some((row, 0)) };
        let digits = name.strip_prefix(head)?.strip_suffix(tail)?;
        let layer: usize = digits.parse().ok()?;
        // No sign and no leading zero: one layer has one name.
        (layer.to_string() == digits).then_some((row, layer))
    })
}

/// The row and the layer of a linear that can carry an adapter, by the name of its module.
pub fn find_linear(module: &str) -> Option<(&'static TensorRow, usize)> {
    find(&format!("{module}.weight")).filter(|(row, _)| row.shape.len() == 2 && row.name.contains("{n}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_and_only_they() {
        for row in TENSORS {
            assert_eq!(find(&row.name.replace("{n}", "12")).map(|(found, _)| found.name), Some(row.name));
        }
        assert_eq!(find_linear("model.layers.3.mlp.up_proj").map(|(_, layer)| layer), Some(3));
        for name in ["model.layers.03.mlp.up_proj", "model.layers.+3.mlp.up_proj", "lm_head", "model.embed_tokens"] {
            assert_eq!(find_linear(name), None, "{name}");
        }
        for name in ["model.layers.{n}.mlp.up_proj.weight", "model.layers..mlp.up_proj.weight", "x", ""] {
            assert_eq!(find(name), None, "{name}");
        }
    }
}
