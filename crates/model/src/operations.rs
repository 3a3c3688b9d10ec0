//! How many floating-point operations a training step needs: useful work only, nothing that is done twice.
//!
//! A multiply-add counts as two. Per token of a frozen base with N values in the linears of its layers:
//!
//! ```text
//! layers      2 N forward + 2 N for the gradient of the activations; the gradient of N itself is never formed
//! head        4 v c per trained token, likewise
//! attention   2 products forward and 5 backward over the pairs that a query may see: 14 h d per pair and layer
//! adapter     6 P for its P values: forward, gradient of the activations, gradient of A and B
//! ```
//!
//! Norms, rotations, activation functions and the optimizer are left out: they are not matrix products.

use crate::spec::{DecoderSpec, Linear};

/// Operations of one step by what they are for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct TrainingOperations {
    /// Linears of the layers.
    pub layers: f64,
    /// Output projection of the tokens that are trained.
    pub head: f64,
    /// Scores and weighted values.
    pub attention: f64,
    /// Low-rank side paths.
    pub adapter: f64,
}

impl TrainingOperations {
    /// All of them.
    pub fn total(&self) -> f64 {
        self.layers + self.head + self.attention + self.adapter
    }
}

/// Operations of a step over `examples`, each `(tokens, trained tokens)`, none of which sees another.
pub fn training_operations(
    spec: &DecoderSpec,
    adapter_parameters: usize,
    examples: impl IntoIterator<Item = (usize, usize)>,
) -> TrainingOperations {
    let linears: f64 = Linear::ALL.iter().map(|&linear| product(spec.linear_shape(linear))).sum();
    let per_token = 4.0 * linears * spec.layers as f64;
    let per_trained_token = 4.0 * product((spec.vocabulary, spec.hidden));
    let per_pair = 14.0 * product((spec.heads, spec.head_dim));
    let mut operations = TrainingOperations::default();
    for (tokens, trained) in examples {
        operations.layers += per_token * tokens as f64;
        operations.head += per_trained_token * trained as f64;
        operations.adapter += 6.0 * adapter_parameters as f64 * tokens as f64;
        operations.attention +=
            spec.windows.iter().map(|&window| per_pair * visible_pairs(tokens, window)).sum::<f64>();
    }
    operations
}

/// Values of an adapter of rank `rank` on every linear.
pub fn adapter_parameters(spec: &DecoderSpec, rank: usize) -> usize {
    let sides = Linear::ALL.iter().map(|&linear| {
        let (outputs, inputs) = spec.linear_shape(linear);
        rank * (outputs + inputs)
    });
    spec.layers * sides.sum::<usize>()
}

/// Pairs of a query and a key that it sees: itself and those before it, `window` of them at most.
fn visible_pairs(tokens: usize, window: Option<usize>) -> f64 {
    let full = window.unwrap_or(tokens).min(tokens);
    product((full, full + 1)) / 2.0 + product((tokens - full, full))
}

fn product((a, b): (usize, usize)) -> f64 {
    a as f64 * b as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::RopeScaling;

    fn llama_1b() -> DecoderSpec {
        DecoderSpec {
            family: "llama".into(),
            hidden: 2048,
            layers: 16,
            heads: 32,
            kv_heads: 8,
            head_dim: 64,
            feed_forward: 8192,
            vocabulary: 128_256,
            max_positions: 131_072,
            norm_epsilon: 1e-5,
            rope_theta: 500_000.0,
            rope_scaling: RopeScaling::None,
            qkv_bias: false,
            output_bias: false,
            mlp_bias: false,
            qk_norm: false,
            tied_head: true,
            windows: vec![None; 16],
        }
    }

    #[test]
    fn a_llama_of_1b_takes_5_5_gflop_per_token() {
        let spec = llama_1b();
        let adapter = adapter_parameters(&spec, 16);
        assert_eq!(adapter, 11_272_192);
        let operations = training_operations(&spec, adapter, [(2048, 2048)]);
        let gflop_per_token = |operations: f64| (operations / 2048.0 / 1e7).round() / 100.0;
        assert_eq!(gflop_per_token(operations.layers), 3.89);
        assert_eq!(gflop_per_token(operations.head), 1.05);
        assert_eq!(gflop_per_token(operations.attention), 0.47);
        assert_eq!(gflop_per_token(operations.adapter), 0.07);
        assert_eq!(gflop_per_token(operations.total()), 5.48);
    }

    #[test]
    fn examples_do_not_see_each_other_and_untrained_tokens_need_no_head() {
        let spec = llama_1b();
        let whole = training_operations(&spec, 0, [(100, 100)]);
        let halves = training_operations(&spec, 0, [(50, 10), (50, 0)]);
        assert_eq!(halves.layers, whole.layers);
        assert_eq!(halves.head, whole.head / 10.0);
        assert!(halves.attention < whole.attention * 0.51);
    }

    #[test]
    fn windows_cut_the_pairs() {
        assert_eq!(visible_pairs(4, None), 10.0);
        assert_eq!(visible_pairs(4, Some(9)), 10.0);
        assert_eq!(visible_pairs(4, Some(2)), 1.0 + 2.0 + 2.0 + 2.0);
        assert_eq!(visible_pairs(4, Some(1)), 4.0);
        assert_eq!(visible_pairs(0, None), 0.0);
    }
}
