//! The op list. Letters in shapes: t tokens, c channels, h query heads, g key/value heads, d head size, f
//! feed-forward, v vocabulary, r rank, n rows with a target.

use crate::rng;
use crate::tensor::Tensor;
use crate::weight::{DType, Weight};

/// Why a backend cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ComputeError {
    /// The machine lacks what the user asked for by name.
    #[error("{what}: this machine does not have it")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// What to do instead.
        hint: String,
    },
    /// An environment variable or option holds a value that means nothing.
    #[error("{name}={value}: not one of {allowed}")]
    UnknownChoice {
        /// The variable.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it may hold.
        allowed: &'static str,
    },
    /// The worker threads could not be started.
    #[error("could not start {threads} worker threads: {reason}")]
    Threads {
        /// How many were asked for.
        threads: usize,
        /// What the system said.
        reason: String,
    },
}

impl ComputeError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unsupported { hint, .. } => Some(hint.clone()),
            Self::UnknownChoice { name, allowed, .. } => Some(format!("set {name} to one of {allowed}, or unset it")),
            Self::Threads { .. } => Some("set hardware.threads to a smaller number".into()),
        }
    }
}

/// Dropout on the input of a side path: element `(row, col)` is kept when a hash of
/// `(key, row_keys[row], col)` says so. The row key names the token (example and position), not its place in a packed
/// batch, so packing cannot change the mask.
#[derive(Debug, Clone, Copy)]
pub struct Dropout<'a> {
    /// Share of dropped elements, in `[0, 1)`.
    pub rate: f32,
    /// Identifies (seed, step, module).
    pub key: u64,
    /// One key per row of the input.
    pub row_keys: &'a [u64],
}

impl Dropout<'_> {
    /// The factor of one element: 0, or `1 / (1 - rate)`.
    pub fn factor(&self, row: usize, col: usize) -> f32 {
        let bits = rng::combine(rng::combine(self.key, self.row_keys[row]), col as u64);
        if rng::uniform_f32(bits) < self.rate { 0.0 } else { 1.0 / (1.0 - self.rate) }
    }
}

/// The low-rank side path of a linear: `y += scale * (dropout(x) A^T) B^T`.
#[derive(Debug, Clone, Copy)]
pub struct SidePath<'a> {
    /// `[r, in]`, row-major.
    pub a: &'a [f32],
    /// `[out, r]`, row-major.
    pub b: &'a [f32],
    /// r.
    pub rank: usize,
    /// alpha / r, or alpha / sqrt(r).
    pub scale: f32,
    /// On the input of `A`; `None` outside of training.
    pub dropout: Option<Dropout<'a>>,
}

/// A linear: frozen `[out, in]` weight, optional bias, optional side path.
#[derive(Debug, Clone, Copy)]
pub struct LinearArgs<'a> {
    /// `[out, in]`.
    pub weight: &'a Weight,
    /// `[out]`.
    pub bias: Option<&'a [f32]>,
    /// The adapter.
    pub side: Option<SidePath<'a>>,
    /// `[t, out]` in `f32`: added to the result, which is `f32` then. Its gradient is that of the result.
    pub residual: Option<&'a Tensor>,
}

impl<'a> LinearArgs<'a> {
    /// A linear without an adapter.
    pub fn frozen(weight: &'a Weight, bias: Option<&'a [f32]>) -> Self {
        Self { weight, bias, side: None, residual: None }
    }
}

/// The backward pass of one of several linears that read the same input.
#[derive(Debug)]
pub struct LinearGradient<'a> {
    /// As in the forward pass.
    pub args: LinearArgs<'a>,
    /// The forward's, where there is a side path.
    pub low_rank: Option<&'a Tensor>,
    /// Gradient of the output, `[t, out]`.
    pub dy: &'a Tensor,
    /// Where the side path's gradients are added, exactly where there is one.
    pub side: Option<SidePathGradient<'a>>,
}

/// Which product reads a frozen weight `[out, in]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WeightProduct {
    /// `x W^T`.
    Forward,
    /// `dy W`.
    Backward,
}

/// What [`Backend::linear_forward`] gives.
#[derive(Debug)]
pub struct LinearOutput {
    /// `[t, out]`.
    pub y: Tensor,
    /// `dropout(x) A^T`, `[t, r]`: the side path's backward needs it.
    pub low_rank: Option<Tensor>,
}

/// Where [`Backend::linear_backward`] adds the gradients of a side path.
#[derive(Debug)]
pub struct SidePathGradient<'a> {
    /// `[r, in]`.
    pub da: &'a mut [f32],
    /// `[out, r]`.
    pub db: &'a mut [f32],
}

/// Cosines and sines of every (position, frequency).
#[derive(Debug, Clone)]
pub struct RopeTable {
    /// d / 2.
    pub half: usize,
    /// `[positions, d/2]`.
    pub cos: Vec<f32>,
    /// `[positions, d/2]`.
    pub sin: Vec<f32>,
}

impl RopeTable {
    /// The table for positions `0..positions`.
    ///
    /// # Precision
    /// The angle is the `f32` product of position and frequency, as Transformers computes it; its cosine and sine are
    /// taken in `f64` and rounded once.
    pub fn new(inverse_frequencies: &[f32], positions: usize) -> Self {
        let half = inverse_frequencies.len();
        let mut cos = Vec::with_capacity(positions * half);
        let mut sin = Vec::with_capacity(positions * half);
        for position in 0..positions {
            for &frequency in inverse_frequencies {
                let angle = f64::from(position as f32 * frequency);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        Self { half, cos, sin }
    }

    /// How many positions the table knows.
    pub fn positions(&self) -> usize {
        self.cos.len() / self.half.max(1)
    }
}

/// Packed causal attention: several examples one after the other, none of which sees another.
#[derive(Debug, Clone, Copy)]
pub struct AttentionArgs<'a> {
    /// h.
    pub heads: usize,
    /// g; h is a multiple of it, and query head i reads key/value head i / (h/g).
    pub kv_heads: usize,
    /// d.
    pub head_dim: usize,
    /// Factor of the scores, 1/sqrt(d) as a rule.
    pub scale: f32,
    /// `Some(w)`: a token sees itself and the w - 1 tokens before it.
    pub window: Option<usize>,
    /// Borders of the examples: starts with 0, ends with t, ascending.
    pub segments: &'a [usize],
}

/// What [`Backend::attention_forward`] gives.
#[derive(Debug)]
pub struct AttentionOutput {
    /// `[t, h*d]`.
    pub o: Tensor,
    /// Logarithm of the sum of the exponentiated scores, `[t, h]`.
    pub lse: Tensor,
}

/// What [`Backend::head_logprobs`] gives, one entry per row.
#[derive(Debug)]
pub struct HeadOutput {
    /// log p(target).
    pub logprobs: Vec<f32>,
    /// (1 - e) log p(target) + e * mean over the vocabulary of log p, with e the label smoothing. Equal to `logprobs`
    /// when e is 0.
    pub smoothed: Vec<f32>,
    /// Gradient of each row's `smoothed` with respect to that row of x, `[n, c]` in `f32`.
    pub dx: Option<Tensor>,
}

/// One AdamW step's numbers.
#[derive(Debug, Clone, Copy)]
pub struct AdamWArgs {
    /// Learning rate of this step.
    pub learning_rate: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// Factor on the gradient (clipping).
    pub gradient_scale: f64,
}

/// The op list. Tensors are `f32`, or of the type that [`Backend::activation_dtype`] says; outputs and gradients have the
/// type of the input unless an op says otherwise. Every op owns its output, sums in an order that does not depend on the number of threads, and panics
/// only when a shape is wrong: that is a broken invariant of the caller, not a user's mistake.
pub trait Backend: Send + Sync {
    /// Name for logs, for example `cpu (avx512, 2 threads)`.
    fn name(&self) -> String;

    /// Type of the operands of products over weights of this type: norm outputs, queries, keys, values, gates and their
    /// gradients. `Bf16` only where the backend multiplies in `bf16`; the residual stream is `f32` always.
    fn activation_dtype(&self, weights: DType) -> DType;

    /// Bytes of a frozen weight `[rows, cols]` in the form in which that product reads it; `None` where the backend reads
    /// weights as they lie and has no such form.
    fn packed_weight_bytes(&self, dtype: DType, shape: (usize, usize), product: WeightProduct) -> Option<u64> {
        let _ = (dtype, shape, product);
        None
    }

    /// Makes a copy of these frozen weights in the form in which products read them, and keeps it: products over them get
    /// faster, no bit of a result changes, and each entry takes [`Backend::packed_weight_bytes`]. What was kept before
    /// is dropped. Without such a form nothing happens.
    fn keep_packed(&mut self, weights: &[(&Weight, WeightProduct)]) {
        let _ = weights;
    }

    /// A weight of its own in `dtype` (`F32` or `Bf16`), rounded to nearest even from `values [rows, cols]`.
    fn round_weight(&self, dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Weight {
        Weight::from_f32_as(dtype, rows, cols, values)
    }

    /// Rows of `table` by token id. `table [v, c]`, result `[t, c]` in `f32`.
    fn embedding_forward(&self, table: &Weight, ids: &[u32]) -> Tensor;

    /// Adds the gradient of [`Backend::embedding_forward`]: `dtable[ids[t]] += dy[t]`, in the order of t. `dy [t, c]` in
    /// `f32`, `dtable [v, c]`.
    fn embedding_backward(&self, ids: &[u32], dy: &Tensor, dtable: &mut [f32]);

    /// `y = x / rms(x) * gain`, `rms(x) = sqrt(mean(x^2) + epsilon)` per row. `x [t, c]`, `gain [c]`; `y` in `dtype`.
    fn rms_norm_forward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dtype: DType) -> Tensor;

    /// Adds the gradient of [`Backend::rms_norm_forward`] with respect to `x` to `dx`.
    fn rms_norm_backward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dy: &Tensor, dx: &mut Tensor);

    /// Adds the gradient of [`Backend::rms_norm_forward`] with respect to its gain: `dgain += sum_t dy x / rms(x)`.
    /// `x, dy [t, c]`, `dgain [c]`.
    fn rms_norm_gain_backward(&self, x: &Tensor, epsilon: f32, dy: &Tensor, dgain: &mut [f32]);

    /// Rotates pairs `(i, i + d/2)` of every head by the angle of the row's position, in place.
    /// `x [t, heads*d]`; `positions[t]` must lie inside the table.
    fn rope_forward(&self, x: &mut Tensor, positions: &[u32], table: &RopeTable);

    /// The inverse rotation, which is the gradient.
    fn rope_backward(&self, dx: &mut Tensor, positions: &[u32], table: &RopeTable);

    /// Several linears of one input, each `y = x W^T + bias + scale * (dropout(x) A^T) B^T + residual`. `x [t, in]`,
    /// `y [t, out]`.
    fn linears_forward(&self, x: &Tensor, linears: &[LinearArgs]) -> Vec<LinearOutput>;

    /// Gradient of [`Backend::linears_forward`]: returns `dx`, the sum over the linears (`None` when `want_dx` is
    /// false), and adds the side paths' gradients where they belong. The gradients of the frozen weights are never
    /// formed.
    fn linears_backward(&self, x: &Tensor, linears: Vec<LinearGradient>, want_dx: bool) -> Option<Tensor>;

    /// [`Backend::linears_forward`] of one linear.
    fn linear_forward(&self, x: &Tensor, args: &LinearArgs) -> LinearOutput {
        let mut outputs = self.linears_forward(x, std::slice::from_ref(args));
        assert_eq!(outputs.len(), 1, "outputs of one linear");
        outputs.remove(0)
    }

    /// [`Backend::linears_backward`] of one linear.
    fn linear_backward(
        &self,
        x: &Tensor,
        low_rank: Option<&Tensor>,
        dy: &Tensor,
        args: &LinearArgs,
        gradient: Option<SidePathGradient>,
        want_dx: bool,
    ) -> Option<Tensor> {
        self.linears_backward(x, vec![LinearGradient { args: *args, low_rank, dy, side: gradient }], want_dx)
    }

    /// Adds the gradients of a linear's own weight and bias: `dW += dy^T x`, `db += sum_t dy`. `x [t, in]`,
    /// `dy [t, out]`, `dw [out, in]`, `db [out]`.
    fn linear_weight_backward(&self, x: &Tensor, dy: &Tensor, dw: &mut [f32], db: Option<&mut [f32]>);

    /// Norm of every row of `W + scale * B A`, of `W` alone without a side path (its dropout is not read).
    /// `weight [out, in]`, result `[out]`.
    fn row_norms(&self, weight: &Weight, side: Option<&SidePath>) -> Vec<f32>;

    /// `y = v * factor + bias + residual`. `v, residual [t, out]`, `factor, bias [out]`; `y` is `f32` where there is a
    /// residual.
    fn scale_columns_forward(
        &self,
        v: &Tensor,
        factor: &[f32],
        bias: Option<&[f32]>,
        residual: Option<&Tensor>,
    ) -> Tensor;

    /// Gradients of [`Backend::scale_columns_forward`]: returns `dv = dy * factor` and adds `sum_t dy v` to `dfactor`.
    /// The residual's gradient is `dy` itself.
    fn scale_columns_backward(&self, v: &Tensor, factor: &[f32], dy: &Tensor, dfactor: &mut [f32]) -> Tensor;

    /// Softmax attention inside each segment, causal. `q [t, h*d]`, `k, v [t, g*d]`.
    fn attention_forward(&self, q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) -> AttentionOutput;

    /// Gradients `(dq, dk, dv)` of [`Backend::attention_forward`].
    fn attention_backward(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        output: &AttentionOutput,
        d_o: &Tensor,
        args: &AttentionArgs,
    ) -> (Tensor, Tensor, Tensor);

    /// Attention of new tokens over a key/value cache: row i of `q` stands at position `past + i` and sees the cache
    /// rows up to there. `q [n, h*d]`; `k, v` hold at least `past + n` rows of `g*d`. `args.segments` is not read.
    fn attention_cached(&self, q: &Tensor, k: &[f32], v: &[f32], past: usize, args: &AttentionArgs) -> Tensor;

    /// `silu(gate) * up`, elementwise, `silu(x) = x / (1 + exp(-x))`. All `[t, f]`.
    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor) -> Tensor;

    /// Gradients `(dgate, dup)` of [`Backend::swiglu_forward`].
    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, dh: &Tensor) -> (Tensor, Tensor);

    /// `x += y`, both `f32`.
    fn add_assign(&self, x: &mut Tensor, y: &Tensor);

    /// `x W^T` for the few rows that generation needs. `x [n, c]`, `head [v, c]`, result `[n, v]` in `f32`.
    fn head_logits(&self, x: &Tensor, head: &Weight) -> Tensor;

    /// Output projection and log-softmax of the rows that have a target, and the gradient of the result in the same
    /// pass; the logits never exist as a whole. `x [n, c]`, `head [v, c]`, one target per row.
    fn head_logprobs(
        &self,
        x: &Tensor,
        head: &Weight,
        targets: &[u32],
        label_smoothing: f32,
        want_gradient: bool,
    ) -> HeadOutput;

    /// Gradients of `sum_n coefficients[n] * smoothed[n]` ([`Backend::head_logprobs`]) where the head is trained, too:
    /// returns `dx [n, c]` in `f32` and adds those of the head to `dhead [v, c]`. The logits are computed again, because
    /// the coefficients follow from all log-probabilities of a step.
    fn head_backward(
        &self,
        x: &Tensor,
        head: &Weight,
        targets: &[u32],
        label_smoothing: f32,
        coefficients: &[f32],
        dhead: &mut [f32],
    ) -> Tensor;

    /// One AdamW step over a flat parameter: moments `m`, `v`, gradient `g` (not changed).
    fn adamw(&self, parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs);

    /// Sum of squares, in `f64`.
    fn sum_squares(&self, values: &[f32]) -> f64;
}
