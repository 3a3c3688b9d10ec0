//! One decoder layer, forward and backward.
//!
//! Letters in shapes: t tokens, c channels, h query heads, g key/value heads, d head size, f feed-forward.

use attune_compute::{
    AttentionArgs, AttentionOutput, Backend, DType, Dropout, LinearArgs, LinearGradient, LinearOutput, RopeTable,
    SidePath, Tensor, Values, Weight, rng,
};

use crate::adapter::{Adapter, AdapterModule, Gradients};
use crate::full::{PerLayer, PerLinear};
use crate::spec::{DecoderSpec, Linear};
use crate::trained::Sink;
use crate::weights::LayerWeights;

/// Everything that a layer needs beside its input.
#[derive(Clone, Copy)]
pub(crate) struct LayerContext<'a> {
    pub backend: &'a dyn Backend,
    pub spec: &'a DecoderSpec,
    pub weights: &'a LayerWeights,
    pub layer: usize,
    pub adapter: Option<&'a Adapter>,
    /// Key of this step's dropout and the key of each row; `None` outside of training.
    pub dropout: Option<(u64, &'a [u64])>,
    pub positions: &'a [u32],
    pub rope: &'a RopeTable,
    /// Type of the operands of products; the residual stream is `f32`.
    pub activations: DType,
}

/// Where attention looks.
pub(crate) enum Attend<'a> {
    /// At the rows of this pass, example by example.
    Packed(&'a [usize]),
    /// At a cache to which the keys and values of this pass are appended.
    Cached { k: &'a mut Vec<f32>, v: &'a mut Vec<f32> },
}

/// What the backward pass cannot get without redoing a matrix product. Norms, swiglu and rotations are redone.
#[derive(Debug)]
pub(crate) struct LayerSaved {
    /// `[t, c]`, the layer's input.
    x: Tensor,
    /// `[t, h*d]` and `[t, g*d]` before their norms, where the family has them.
    qk_raw: Option<(Tensor, Tensor)>,
    /// `[t, h*d]`, rotated.
    q: Tensor,
    /// `[t, g*d]`, rotated.
    k: Tensor,
    /// `[t, g*d]`.
    v: Tensor,
    /// `o [t, h*d]`, `lse [t, h]`.
    attention: AttentionOutput,
    /// `[t, c]`, after the attention block.
    x2: Tensor,
    /// `[t, f]`.
    gate: Tensor,
    /// `[t, f]`.
    up: Tensor,
    /// `[t, r]` per linear, where it has an adapter.
    low_rank: [Option<Tensor>; 7],
    /// `[t, out]` per linear, where it has DoRA: what its factors are applied to.
    unscaled: [Option<Tensor>; 7],
}

/// What a linear with its adapter gives.
struct Adapted {
    /// `[t, out]`.
    y: Tensor,
    /// `[t, r]`, where it has an adapter.
    low_rank: Option<Tensor>,
    /// `[t, out]`, where it has DoRA.
    unscaled: Option<Tensor>,
}

impl LayerContext<'_> {
    fn side(&self, linear: Linear) -> Option<SidePath<'_>> {
        let rate = self.adapter?.spec.dropout;
        let dropout = self.dropout.filter(|_| rate > 0.0).map(|(step_key, row_keys)| Dropout {
            rate,
            key: rng::key(&[step_key, self.layer as u64, linear.index() as u64]),
            row_keys,
        });
        Some(SidePath { dropout, ..self.module(linear)?.side_path() })
    }

    /// Where the linear's adapter stands, if it has one.
    fn position(&self, linear: Linear) -> Option<usize> {
        self.adapter.and_then(|adapter| adapter.position(self.layer, linear))
    }

    fn module(&self, linear: Linear) -> Option<&AdapterModule> {
        Some(&self.adapter?.modules[self.position(linear)?])
    }

    fn weight(&self, linear: Linear) -> &Weight {
        &self.weights.linears[linear.index()].weight
    }

    fn bias(&self, linear: Linear) -> Option<&[f32]> {
        self.weights.linears[linear.index()].bias.as_deref()
    }

    /// DoRA's factors of the linear's outputs, if it has them.
    fn factors(&self, linear: Linear) -> Option<Vec<f32>> {
        self.module(linear)?.factors(self.backend, self.weight(linear))
    }

    /// The linear up to where DoRA's factors apply: with them, bias and residual come afterwards.
    fn args<'b>(&'b self, linear: Linear, residual: Option<&'b Tensor>) -> LinearArgs<'b> {
        let (weight, side) = (self.weight(linear), self.side(linear));
        match self.module(linear) {
            Some(AdapterModule { magnitude: Some(_), .. }) => LinearArgs { weight, bias: None, side, residual: None },
            _ => LinearArgs { weight, bias: self.bias(linear), side, residual },
        }
    }

    /// Linears of one input, each plus the residual where there is one, and then in `f32`.
    fn adapted<const N: usize>(&self, input: &Tensor, linears: [Linear; N], residual: Option<&Tensor>) -> [Adapted; N] {
        let args = linears.map(|which| self.args(which, residual));
        let outputs: [LinearOutput; N] = several(self.backend.linears_forward(input, &args));
        let mut whiches = linears.into_iter();
        outputs.map(|LinearOutput { y, low_rank }| {
            let which = whiches.next().unwrap_or_else(|| unreachable!("as many outputs as linears"));
            match self.factors(which) {
                None => Adapted { y, low_rank, unscaled: None },
                Some(factors) => {
                    let scaled = self.backend.scale_columns_forward(&y, &factors, self.bias(which), residual);
                    Adapted { y: scaled, low_rank, unscaled: Some(y) }
                }
            }
        })
    }

    fn attention_args<'b>(&self, segments: &'b [usize]) -> AttentionArgs<'b> {
        AttentionArgs {
            heads: self.spec.heads,
            kv_heads: self.spec.kv_heads,
            head_dim: self.spec.head_dim,
            scale: 1.0 / (self.spec.head_dim as f32).sqrt(),
            window: self.spec.windows[self.layer],
            segments,
        }
    }

    /// The norm over each head of q or k: `[t, heads*d]` read as `[t*heads, d]`.
    fn head_norm_forward(&self, x: Tensor, gain: &[f32]) -> (Tensor, Tensor) {
        let (rows, cols, d) = (x.rows(), x.cols(), self.spec.head_dim);
        let per_head = x.reshaped(rows * cols / d, d);
        let normed = self.backend.rms_norm_forward(&per_head, gain, self.spec.norm_epsilon, self.activations);
        (per_head.reshaped(rows, cols), normed.reshaped(rows, cols))
    }

    /// Adds the gradient of the gain of a norm over each head.
    fn head_gain_backward(&self, x: &Tensor, dy: &Tensor, dgain: &mut [f32]) {
        let (rows, cols, d) = (x.rows(), x.cols(), self.spec.head_dim);
        let per_head = |tensor: &Tensor| tensor.clone().reshaped(rows * cols / d, d);
        self.backend.rms_norm_gain_backward(&per_head(x), self.spec.norm_epsilon, &per_head(dy), dgain);
    }

    fn head_norm_backward(&self, x: Tensor, gain: &[f32], dy: Tensor) -> Tensor {
        let (rows, cols, d) = (x.rows(), x.cols(), self.spec.head_dim);
        let (x, dy) = (x.reshaped(rows * cols / d, d), dy.reshaped(rows * cols / d, d));
        let mut dx = Tensor::zeros(dy.rows(), d);
        self.backend.rms_norm_backward(&x, gain, self.spec.norm_epsilon, &dy, &mut dx);
        dx.to_dtype(dy.dtype()).reshaped(rows, cols)
    }
}

/// `x2 = x + o_proj(attention(rope(norm(q)), rope(norm(k)), v))` with q, k, v from `rms_norm(x)`;
/// `y = x2 + down(silu(gate) * up)` with gate, up from `rms_norm(x2)`.
///
/// # Shapes
/// `x, y [t, c]`.
pub(crate) fn layer_forward(ctx: &LayerContext, x: Tensor, attend: Attend) -> (Tensor, LayerSaved) {
    let (backend, epsilon) = (ctx.backend, ctx.spec.norm_epsilon);
    let norm = |x: &Tensor, gain: &[f32]| backend.rms_norm_forward(x, gain, epsilon, ctx.activations);

    let n = norm(&x, &ctx.weights.attention_norm);
    let [q, k, v] = ctx.adapted(&n, [Linear::Q, Linear::K, Linear::V], None);
    drop(n);
    let Adapted { y: mut q, low_rank: q_low, unscaled: q_unscaled } = q;
    let Adapted { y: mut k, low_rank: k_low, unscaled: k_unscaled } = k;
    let Adapted { y: v, low_rank: v_low, unscaled: v_unscaled } = v;
    let mut qk_raw = None;
    if let Some((q_gain, k_gain)) = &ctx.weights.qk_norms {
        let (q_raw, q_normed) = ctx.head_norm_forward(q, q_gain);
        let (k_raw, k_normed) = ctx.head_norm_forward(k, k_gain);
        (q, k) = (q_normed, k_normed);
        qk_raw = Some((q_raw, k_raw));
    }
    backend.rope_forward(&mut q, ctx.positions, ctx.rope);
    backend.rope_forward(&mut k, ctx.positions, ctx.rope);

    let attention = match attend {
        Attend::Packed(segments) => backend.attention_forward(&q, &k, &v, &ctx.attention_args(segments)),
        Attend::Cached { k: k_cache, v: v_cache } => {
            let past = k_cache.len() / k.cols();
            append(k_cache, &k);
            append(v_cache, &v);
            let o = backend.attention_cached(&q, k_cache, v_cache, past, &ctx.attention_args(&[]));
            AttentionOutput { o, lse: Tensor::zeros(0, ctx.spec.heads) }
        }
    };
    let [o] = ctx.adapted(&attention.o, [Linear::O], Some(&x));
    let Adapted { y: x2, low_rank: o_low, unscaled: o_unscaled } = o;

    let n2 = norm(&x2, &ctx.weights.mlp_norm);
    let [gate, up] = ctx.adapted(&n2, [Linear::Gate, Linear::Up], None);
    drop(n2);
    let Adapted { y: gate, low_rank: gate_low, unscaled: gate_unscaled } = gate;
    let Adapted { y: up, low_rank: up_low, unscaled: up_unscaled } = up;
    let h = backend.swiglu_forward(&gate, &up);
    let [down] = ctx.adapted(&h, [Linear::Down], Some(&x2));
    let Adapted { y, low_rank: down_low, unscaled: down_unscaled } = down;
    // In the order of `Linear::ALL`.
    let low_rank = [q_low, k_low, v_low, o_low, gate_low, up_low, down_low];
    let unscaled = [q_unscaled, k_unscaled, v_unscaled, o_unscaled, gate_unscaled, up_unscaled, down_unscaled];
    (y, LayerSaved { x, qk_raw, q, k, v, attention, x2, gate, up, low_rank, unscaled })
}

/// The outputs of linears that were run together.
fn several<const N: usize>(outputs: Vec<LinearOutput>) -> [LinearOutput; N] {
    let count = outputs.len();
    outputs.try_into().unwrap_or_else(|_| panic!("{count} outputs of {N} linears"))
}

/// Puts the rows of this pass behind those of a cache.
fn append(cache: &mut Vec<f32>, rows: &Tensor) {
    match rows.values() {
        Values::F32(values) => cache.extend_from_slice(values),
        Values::Bf16(values) => cache.extend(values.iter().map(|value| value.to_f32())),
    }
}

/// In the forward pass: `x -> n -> q, k, v -> o -> x2 -> n2 -> gate, up -> h -> y`. So now from `dy` back to `dx`, with
/// the gradients of what is trained added to `sink` on the way.
///
/// Returns `None` when nothing below this layer needs a gradient (`want_dx` is false).
///
/// # Shapes
/// `dy, dx [t, c]`.
pub(crate) fn layer_backward(
    ctx: &LayerContext,
    saved: LayerSaved,
    dy: Tensor,
    segments: &[usize],
    sink: &mut Sink,
    want_dx: bool,
) -> Option<Tensor> {
    let (backend, epsilon) = (ctx.backend, ctx.spec.norm_epsilon);
    let LayerSaved { x, qk_raw, mut q, mut k, v, attention, x2, gate, up, low_rank, mut unscaled } = saved;
    let mut backward = |sink: &mut Sink, input: &Tensor, outputs: &[(Linear, &Tensor)], want_dx: bool| {
        let gradients = match sink {
            Sink::Adapter(gradients) => gradients,
            Sink::Full(gradients) => {
                weights_backward(ctx, &mut gradients.layers[ctx.layer], input, outputs);
                let linear =
                    |&(which, dy)| LinearGradient { args: ctx.args(which, None), low_rank: None, dy, side: None };
                return backend.linears_backward(input, outputs.iter().map(linear).collect(), want_dx);
            }
        };
        // Below DoRA's factors, where it has them.
        let dvs: Vec<Option<Tensor>> = outputs
            .iter()
            .map(|&(which, dy)| unscaled_gradient(ctx, which, unscaled[which.index()].take()?, dy, gradients))
            .collect();
        let whiches: Vec<Linear> = outputs.iter().map(|(which, _)| *which).collect();
        let sides = gradients.side_paths(&whiches.iter().map(|&which| ctx.position(which)).collect::<Vec<_>>());
        let linears = outputs.iter().zip(&dvs).zip(sides).map(|((&(which, dy), dv), side)| {
            let low_rank = low_rank[which.index()].as_ref();
            LinearGradient { args: ctx.args(which, None), low_rank, dy: dv.as_ref().unwrap_or(dy), side }
        });
        backend.linears_backward(input, linears.collect(), want_dx)
    };
    let must = |dx: Option<Tensor>| dx.unwrap_or_else(|| panic!("a gradient that was asked for"));

    // y = x2 + down(h), h = silu(gate) * up
    let h = backend.swiglu_forward(&gate, &up);
    let dh = must(backward(sink, &h, &[(Linear::Down, &dy)], true));
    drop(h);
    let (dgate, dup) = backend.swiglu_backward(&gate, &up, &dh);
    drop((dh, gate, up));

    // gate, up = linear(n2), n2 = rms_norm(x2)
    let attention_needed = want_dx || ctx.adapter.is_some_and(|adapter| adapter.touches_attention(ctx.layer));
    let n2 = backend.rms_norm_forward(&x2, &ctx.weights.mlp_norm, epsilon, ctx.activations);
    let dn2 = backward(sink, &n2, &[(Linear::Gate, &dgate), (Linear::Up, &dup)], attention_needed)?;
    drop((n2, dgate, dup));
    if let Some(gradients) = layer_gradients(sink, ctx.layer) {
        backend.rms_norm_gain_backward(&x2, epsilon, &dn2, &mut gradients.mlp_norm);
    }
    let mut dx2 = dy;
    backend.rms_norm_backward(&x2, &ctx.weights.mlp_norm, epsilon, &dn2, &mut dx2);
    drop((dn2, x2));

    // x2 = x + o_proj(o), o = attention(q, k, v)
    let d_o = must(backward(sink, &attention.o, &[(Linear::O, &dx2)], true));
    let (mut dq, mut dk, dv) = backend.attention_backward(&q, &k, &v, &attention, &d_o, &ctx.attention_args(segments));
    drop((attention, d_o, v));
    backend.rope_backward(&mut dq, ctx.positions, ctx.rope);
    backend.rope_backward(&mut dk, ctx.positions, ctx.rope);
    if let (Some((q_gain, k_gain)), Some((q_raw, k_raw))) = (&ctx.weights.qk_norms, qk_raw) {
        (q, k) = (q_raw, k_raw);
        if let Some([dq_gain, dk_gain]) = layer_gradients(sink, ctx.layer).and_then(|layer| layer.qk_norms.as_mut()) {
            ctx.head_gain_backward(&q, &dq, dq_gain);
            ctx.head_gain_backward(&k, &dk, dk_gain);
        }
        dq = ctx.head_norm_backward(q, q_gain, dq);
        dk = ctx.head_norm_backward(k, k_gain, dk);
    }

    // q, k, v = linear(n), n = rms_norm(x)
    let n = backend.rms_norm_forward(&x, &ctx.weights.attention_norm, epsilon, ctx.activations);
    let dn = backward(sink, &n, &[(Linear::Q, &dq), (Linear::K, &dk), (Linear::V, &dv)], want_dx)?;
    if let Some(gradients) = layer_gradients(sink, ctx.layer) {
        backend.rms_norm_gain_backward(&x, epsilon, &dn, &mut gradients.attention_norm);
    }
    let mut dx = dx2;
    backend.rms_norm_backward(&x, &ctx.weights.attention_norm, epsilon, &dn, &mut dx);
    Some(dx)
}

/// The gradients of a layer's own weights, where they are trained.
fn layer_gradients<'a>(sink: &'a mut Sink, layer: usize) -> Option<&'a mut PerLayer<Vec<f32>>> {
    match sink {
        Sink::Adapter(_) => None,
        Sink::Full(gradients) => Some(&mut gradients.layers[layer]),
    }
}

/// The gradients of the weights and biases of linears of one input.
fn weights_backward(
    ctx: &LayerContext,
    gradients: &mut PerLayer<Vec<f32>>,
    input: &Tensor,
    outputs: &[(Linear, &Tensor)],
) {
    for &(which, dy) in outputs {
        let PerLinear { weight, bias } = &mut gradients.linears[which.index()];
        ctx.backend.linear_weight_backward(input, dy, weight, bias.as_deref_mut());
    }
}

/// With `y = m / n * v + bias`, and n constant: returns `dv = m / n * dy` and adds `sum_t dy v / n` to the gradient of m.
///
/// # Shapes
/// `v, dy, dv [t, out]`.
///
/// # Source
/// Liu et al.: "DoRA: Weight-Decomposed Low-Rank Adaptation", 2024, equation 11.
fn unscaled_gradient(
    ctx: &LayerContext,
    which: Linear,
    v: Tensor,
    dy: &Tensor,
    gradients: &mut Gradients,
) -> Option<Tensor> {
    let (position, factors) = (ctx.position(which)?, ctx.factors(which)?);
    let inverse_norms = ctx.module(which)?.inverse_norms(ctx.backend, ctx.weight(which));
    let Some(dm) = &mut gradients.magnitudes[position] else {
        panic!("module {position} has magnitudes and its gradient has none")
    };
    let mut dfactor = vec![0.0; factors.len()];
    let dv = ctx.backend.scale_columns_backward(&v, &factors, dy, &mut dfactor);
    for ((dm, dfactor), inverse_norm) in dm.iter_mut().zip(dfactor).zip(inverse_norms) {
        *dm += dfactor * inverse_norm;
    }
    Some(dv)
}

impl LayerSaved {
    /// The layer's input alone, for a policy that recomputes the rest.
    pub(crate) fn into_input(self) -> Tensor {
        self.x
    }
}
