//! Every formula of the memory plan: how many bytes live at which moment. Nothing else of the plan knows what a layer
//! keeps; when the decoder or the backend change what they hold, this is the one file to change.
//!
//! Letters: t tokens and n targets of a micro-batch, c channels, h query heads, g key/value heads, d head size, f
//! feed-forward, v vocabulary, r rank, a bytes of one activation.
//!
//! The moments that can be the widest, in the order in which a step passes them:
//!
//! 1. forward of the last layer: what the layers below keep, and everything of this one;
//! 2. head: what all layers keep, the rows with a target, a block of logits;
//! 3. backward of the last layer: what the layers below keep, everything of this one, and its gradients;
//! 4. backward of the highest layer that is run again: inputs of the layers below, everything of this one, its gradients.

use attune_compute::DType;
use attune_compute::cpu::LOGITS_BYTES;
use attune_model::DecoderSpec;

use super::TrainedShape;

/// Bytes of what stays `f32` whatever the activations are: the residual stream, its gradient, lse, low-rank rows.
const F32: u64 = 4;

/// Masters, gradients and two moments, each `f32`.
const STATE_BYTES_PER_PARAMETER: u64 = 4 * F32;

/// The working copy of weights that are trained in `bf16`; in `f32` it shares the masters.
const ROUNDED_BYTES_PER_PARAMETER: u64 = 2;

/// Packed panels and attention tiles of one thread.
const SCRATCH_BYTES_PER_THREAD: u64 = 2 << 20;

/// A strip of a weight in blocks (`compute/src/cpu/stage.rs`): 32 rows of 288 values in `f32`.
const DECODED_BYTES_PER_THREAD: u64 = 32 * 288 * F32;

/// Ids, positions, dropout keys and targets of a token while its step runs.
const BATCH_BYTES_PER_TOKEN: u64 = 40;

/// What the memory of activations takes beyond their sum: rounding to pages and gaps, one part in so many.
const SLACK_DIVISOR: u64 = 32;

/// What a micro-batch asks of the memory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Width {
    /// Rows, filling included.
    pub tokens: usize,
    /// Rows with a target.
    pub targets: usize,
}

impl Width {
    /// The larger of both in each respect.
    pub fn cover(self, other: Self) -> Self {
        Self { tokens: self.tokens.max(other.tokens), targets: self.targets.max(other.targets) }
    }
}

/// Everything about model, adapter and machine that the formulas need.
#[derive(Debug, Clone, PartialEq)]
pub struct Sizes {
    spec: DecoderSpec,
    /// a.
    activation_bytes: u64,
    /// Files of the base model: mapped, and all of it is read in every pass.
    weights_bytes: u64,
    /// What the process holds before: program, tokenizer, data.
    program_bytes: u64,
    trained_parameters: u64,
    /// Per trained value: masters, gradients, moments and, where there is one, a rounded copy.
    state_bytes: u64,
    /// Per trained value: those of the best evaluation, which are read again at the end where they are not the last.
    best_bytes: u64,
    /// Ranks of the adapted linears of each layer, added up.
    ranks: Vec<u64>,
    /// Outputs of the linears of each layer that have DoRA, added up.
    dora_outputs: Vec<u64>,
    lowest_layer: usize,
    /// Whether the side paths' inputs are masked.
    dropout: bool,
    threads: usize,
    /// Positions of the rotation table.
    positions: usize,
    /// Positions of the key/value cache that samples are generated with.
    cache_positions: usize,
}

/// What is asked of [`Sizes::new`] beside model and adapter.
#[derive(Debug, Clone, Copy)]
pub struct Surroundings {
    /// Bytes of one activation.
    pub activation_bytes: usize,
    /// Bytes of the base model's files; where it is quantised, with its matrices in blocks.
    pub weights_bytes: u64,
    /// Bytes that the process holds before anything of the training is allocated.
    pub program_bytes: u64,
    /// Threads that compute.
    pub threads: usize,
    /// Whether the adapter of the best evaluation is kept beside the last.
    pub keeps_best: bool,
    /// Positions that the decoder is made for.
    pub positions: usize,
    /// Most positions of a generated sample with its prompt; 0 without samples.
    pub cache_positions: usize,
}

/// A predicted peak and what it is made of, in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Peak {
    /// Frozen weights, all of them resident.
    pub weights_bytes: u64,
    /// What is trained, its gradients and moments.
    pub adapter_bytes: u64,
    /// What the forward pass of the widest micro-batch keeps for the backward pass.
    pub activations_bytes: u64,
    /// What lives beside the activations at the widest moment: tensors of one layer and its gradients, logits, scratch.
    pub transient_bytes: u64,
    /// Gaps and rounding of the memory of activations.
    pub pool_bytes: u64,
    /// Frozen weights that are kept packed beside the files.
    pub packed_bytes: u64,
    /// Program, tokenizer, data.
    pub program_bytes: u64,
}

impl Peak {
    /// The most memory that the process holds.
    pub fn total_bytes(&self) -> u64 {
        self.weights_bytes
            + self.adapter_bytes
            + self.activations_bytes
            + self.transient_bytes
            + self.pool_bytes
            + self.packed_bytes
            + self.program_bytes
    }
}

impl Sizes {
    /// The sizes of a training.
    pub fn new(spec: &DecoderSpec, trained: TrainedShape, surroundings: &Surroundings) -> Self {
        let mut ranks = vec![0; spec.layers];
        let mut dora_outputs = vec![0; spec.layers];
        for module in trained.adapter().into_iter().flat_map(|adapter| &adapter.modules) {
            ranks[module.layer] += module.rank as u64;
            dora_outputs[module.layer] += module.magnitude.as_ref().map_or(0, Vec::len) as u64;
        }
        Self {
            spec: spec.clone(),
            activation_bytes: surroundings.activation_bytes as u64,
            weights_bytes: surroundings.weights_bytes,
            program_bytes: surroundings.program_bytes,
            trained_parameters: trained.parameters(spec) as u64,
            state_bytes: STATE_BYTES_PER_PARAMETER
                + match trained {
                    TrainedShape::Full(DType::Bf16) => ROUNDED_BYTES_PER_PARAMETER,
                    TrainedShape::Full(_) | TrainedShape::Adapter(_) => 0,
                },
            best_bytes: if surroundings.keeps_best { F32 } else { 0 },
            ranks,
            dora_outputs,
            lowest_layer: trained.lowest_layer(),
            dropout: trained.adapter().is_some_and(|adapter| adapter.spec.dropout > 0.0),
            threads: surroundings.threads,
            positions: surroundings.positions,
            cache_positions: surroundings.cache_positions,
        }
    }

    /// Layers that a gradient passes: from the lowest adapted one to the last.
    pub fn trained_layers(&self) -> usize {
        self.spec.layers - self.lowest_layer
    }

    /// The peak of training micro-batches of that width, with the lowest `recompute` trained layers run again, and of
    /// evaluating micro-batches of the width `evaluated`.
    pub fn peak(&self, trained: Width, evaluated: Width, recompute: usize) -> Peak {
        let activations_bytes = trained.tokens as u64 * self.stored(self.spec.layers, recompute);
        let widest = self.training_bytes(trained, recompute).max(self.evaluation_bytes(evaluated));
        let scratch_bytes =
            self.threads as u64 * (SCRATCH_BYTES_PER_THREAD + DECODED_BYTES_PER_THREAD) + self.tables_bytes();
        Peak {
            weights_bytes: self.weights_bytes,
            adapter_bytes: self.trained_parameters * (self.state_bytes + self.best_bytes),
            activations_bytes,
            transient_bytes: widest.saturating_sub(activations_bytes) + scratch_bytes,
            pool_bytes: widest / SLACK_DIVISOR,
            packed_bytes: 0,
            program_bytes: self.program_bytes,
        }
    }

    /// The widest of the four moments.
    fn training_bytes(&self, width: Width, recompute: usize) -> u64 {
        let (t, c) = (width.tokens as u64, self.spec.hidden as u64);
        let (last, trained) = (self.spec.layers - 1, self.trained_layers());
        let recompute = recompute.min(trained);
        let head_rows = self.head_rows_bytes(width.targets, true);
        // Of these rows, what came before the last norm and its gradient stay to the end.
        let rows_to_the_end = width.targets as u64 * 2 * F32 * c;

        let forward = t * (self.stored(last, recompute) + self.kept(last) + self.forward_extra());
        let head = t * self.stored(self.spec.layers, recompute) + head_rows + self.logits_bytes(width.targets);
        // A layer that is run again holds the gradient of its output meanwhile.
        let again = self.forward_extra() + F32 * c;
        let backward_of = |layer: usize, run_again: bool| {
            let extra = if run_again { again.max(self.backward_extra(layer)) } else { self.backward_extra(layer) };
            t * (self.stored(layer, recompute) + self.kept(layer) + extra) + rows_to_the_end
        };
        let top = backward_of(last, recompute == trained);
        let lower = if recompute > 0 { backward_of(self.lowest_layer + recompute - 1, true) } else { 0 };
        t * BATCH_BYTES_PER_TOKEN + forward.max(head).max(top).max(lower)
    }

    /// A forward pass that keeps nothing.
    fn evaluation_bytes(&self, width: Width) -> u64 {
        let layer = width.tokens as u64 * (self.kept(self.spec.layers - 1) + self.forward_extra());
        let head = self.head_rows_bytes(width.targets, false) + self.logits_bytes(width.targets);
        layer.max(head) + self.cache_bytes()
    }

    /// Bytes per token that the layers below `end` keep for the backward pass.
    fn stored(&self, end: usize, recompute: usize) -> u64 {
        let layers = self.lowest_layer..end.max(self.lowest_layer);
        layers
            .map(|layer| match layer - self.lowest_layer < recompute {
                true => F32 * self.spec.hidden as u64,
                false => self.kept(layer),
            })
            .sum()
    }

    /// `LayerSaved` per token: x, q, k, v, o, lse, x2, gate, up, low-rank rows, q and k before their norms, and what
    /// DoRA's factors are applied to.
    fn kept(&self, layer: usize) -> u64 {
        let Dimensions { a, c, q, kv, f, h } = self.dimensions();
        let before_norms = if self.spec.qk_norm { a * (q + kv) } else { 0 };
        let adapters = F32 * self.ranks[layer] + a * self.dora_outputs[layer];
        F32 * c + a * (q + 2 * kv) + before_norms + a * q + F32 * h + F32 * c + 2 * a * f + adapters
    }

    /// Per token, the widest moment of a layer's forward beside what it keeps. Every product packs its input once.
    fn forward_extra(&self) -> u64 {
        let Dimensions { a, c, f, .. } = self.dimensions();
        // A norm and its packed copies: one, and one more per masked linear.
        let norm = a * c * if self.dropout { 5 } else { 2 };
        // silu(gate) * up and its packed copies, the output.
        let down = a * f * if self.dropout { 3 } else { 2 } + F32 * c;
        norm.max(down)
    }

    /// Per token, the widest moment of a layer's backward beside what it kept; tensors are freed on the way.
    fn backward_extra(&self, layer: usize) -> u64 {
        let Dimensions { a, c, q, kv, f, h } = self.dimensions();
        // dy, which becomes dx2 and dx in place, lives all along.
        let down = a * c + 2 * a * f; // dy packed; h, dh
        let swiglu = 3 * a * f; // dh, dgate, dup
        // dgate and dup, twice because packed, n2, dn2; gate and up are gone.
        let second_norm = (4 * a * f + 2 * a * c).saturating_sub(2 * a * f);
        // do, dq, dk, dv, delta; x2 is gone too.
        let freed = 2 * a * f + F32 * c;
        let attention = (a * (2 * q + 2 * kv) + F32 * h).saturating_sub(freed);
        // dq, dk, dv, twice because packed, n, dn; o, lse and v are gone too.
        let freed = freed + a * (q + kv) + F32 * h;
        let first_norm = (2 * a * (q + 2 * kv + c)).saturating_sub(freed);
        let widest = down.max(swiglu).max(second_norm).max(attention).max(first_norm);
        // Gradients below DoRA's factors take the place of what the factors were applied to, in f32 on the stream.
        let below_factors = if self.dora_outputs[layer] > 0 { F32 * c } else { 0 };
        F32 * c + widest + F32 * self.ranks[layer] + below_factors
    }

    /// Rows with a target before and after the last norm, and their gradients.
    fn head_rows_bytes(&self, targets: usize, gradient: bool) -> u64 {
        let Dimensions { a, c, .. } = self.dimensions();
        targets as u64 * c * (F32 + a + if gradient { F32 } else { 0 })
    }

    /// A block of logits, and its gradient packed for the product with the head.
    fn logits_bytes(&self, targets: usize) -> u64 {
        let vocabulary = self.spec.vocabulary;
        // Blocks of even height.
        let block = targets.div_ceil(head_blocks(targets, vocabulary).max(1)) as u64 * vocabulary as u64;
        block * (F32 + self.activation_bytes)
    }

    /// Sines and cosines of all positions.
    fn tables_bytes(&self) -> u64 {
        F32 * (self.positions * self.spec.head_dim) as u64
    }

    /// Keys and values of a sample.
    fn cache_bytes(&self) -> u64 {
        2 * F32 * (self.spec.layers * self.cache_positions * self.spec.kv_heads * self.spec.head_dim) as u64
    }

    fn dimensions(&self) -> Dimensions {
        let spec = &self.spec;
        Dimensions {
            a: self.activation_bytes,
            c: spec.hidden as u64,
            q: (spec.heads * spec.head_dim) as u64,
            kv: (spec.kv_heads * spec.head_dim) as u64,
            f: spec.feed_forward as u64,
            h: spec.heads as u64,
        }
    }
}

/// Blocks of rows in which the head computes the logits of so many targets.
pub fn head_blocks(targets: usize, vocabulary: usize) -> usize {
    let fitting = LOGITS_BYTES / (F32 as usize * vocabulary.max(1));
    targets.div_ceil(fitting.max(1))
}

/// The letters of this file, with q for h*d and kv for g*d.
struct Dimensions {
    a: u64,
    c: u64,
    q: u64,
    kv: u64,
    f: u64,
    h: u64,
}
