//! One decoder layer, forward and backward.
//!
//! Letters in shapes: t tokens, c channels, h query heads, g key/value heads, d head size, f feed-forward.

use attune_compute::{AttentionArgs, AttentionOutput, Backend, Dropout, LinearArgs, RopeTable, SidePath, Tensor, rng};

use crate::adapter::{Adapter, Gradients};
use crate::spec::{DecoderSpec, Linear};
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
}

impl LayerContext<'_> {
    fn side(&self, linear: Linear) -> Option<SidePath<'_>> {
        let adapter = self.adapter?;
        let module = &adapter.modules[adapter.position(self.layer, linear)?];
        let rate = adapter.spec.dropout;
        let dropout = self.dropout.filter(|_| rate > 0.0).map(|(step_key, row_keys)| Dropout {
            rate,
            key: rng::key(&[step_key, self.layer as u64, linear.index() as u64]),
            row_keys,
        });
        Some(SidePath { a: &module.a, b: &module.b, rank: module.rank, scale: module.scale, dropout })
    }

    fn args(&self, linear: Linear) -> LinearArgs<'_> {
        let frozen = &self.weights.linears[linear.index()];
        LinearArgs { weight: &frozen.weight, bias: frozen.bias.as_deref(), side: self.side(linear) }
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
    fn head_norm_forward(&self, x: &Tensor, gain: &[f32]) -> Tensor {
        let (rows, cols, d) = (x.rows(), x.cols(), self.spec.head_dim);
        let per_head = x.clone().reshaped(rows * cols / d, d);
        self.backend.rms_norm_forward(&per_head, gain, self.spec.norm_epsilon).reshaped(rows, cols)
    }

    fn head_norm_backward(&self, x: Tensor, gain: &[f32], dy: Tensor) -> Tensor {
        let (rows, cols, d) = (x.rows(), x.cols(), self.spec.head_dim);
        let (x, dy) = (x.reshaped(rows * cols / d, d), dy.reshaped(rows * cols / d, d));
        self.backend.rms_norm_backward(&x, gain, self.spec.norm_epsilon, &dy).reshaped(rows, cols)
    }
}

/// `x2 = x + o_proj(attention(rope(norm(q)), rope(norm(k)), v))` with q, k, v from `rms_norm(x)`;
/// `y = x2 + down(silu(gate) * up)` with gate, up from `rms_norm(x2)`.
///
/// # Shapes
/// `x, y [t, c]`.
pub(crate) fn layer_forward(ctx: &LayerContext, x: Tensor, attend: Attend) -> (Tensor, LayerSaved) {
    let (backend, epsilon) = (ctx.backend, ctx.spec.norm_epsilon);
    let mut low_rank: [Option<Tensor>; 7] = Default::default();
    let mut linear = |which: Linear, input: &Tensor| {
        let output = backend.linear_forward(input, &ctx.args(which));
        low_rank[which.index()] = output.low_rank;
        output.y
    };

    let n = backend.rms_norm_forward(&x, &ctx.weights.attention_norm, epsilon);
    let (mut q, mut k, v) = (linear(Linear::Q, &n), linear(Linear::K, &n), linear(Linear::V, &n));
    let mut qk_raw = None;
    if let Some((q_gain, k_gain)) = &ctx.weights.qk_norms {
        let normed = (ctx.head_norm_forward(&q, q_gain), ctx.head_norm_forward(&k, k_gain));
        qk_raw = Some((std::mem::replace(&mut q, normed.0), std::mem::replace(&mut k, normed.1)));
    }
    backend.rope_forward(&mut q, ctx.positions, ctx.rope);
    backend.rope_forward(&mut k, ctx.positions, ctx.rope);

    let attention = match attend {
        Attend::Packed(segments) => backend.attention_forward(&q, &k, &v, &ctx.attention_args(segments)),
        Attend::Cached { k: k_cache, v: v_cache } => {
            let past = k_cache.len() / k.cols();
            k_cache.extend_from_slice(k.data());
            v_cache.extend_from_slice(v.data());
            let o = backend.attention_cached(&q, k_cache, v_cache, past, &ctx.attention_args(&[]));
            AttentionOutput { o, lse: Tensor::zeros(0, ctx.spec.heads) }
        }
    };
    let mut x2 = linear(Linear::O, &attention.o);
    backend.add_assign(&mut x2, &x);

    let n2 = backend.rms_norm_forward(&x2, &ctx.weights.mlp_norm, epsilon);
    let (gate, up) = (linear(Linear::Gate, &n2), linear(Linear::Up, &n2));
    let h = backend.swiglu_forward(&gate, &up);
    let mut y = linear(Linear::Down, &h);
    backend.add_assign(&mut y, &x2);
    (y, LayerSaved { x, qk_raw, q, k, v, attention, x2, gate, up, low_rank })
}

/// In the forward pass: `x -> n -> q, k, v -> o -> x2 -> n2 -> gate, up -> h -> y`. So now from `dy` back to `dx`, with
/// the adapters' gradients added to `gradients` on the way.
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
    gradients: &mut Gradients,
    want_dx: bool,
) -> Option<Tensor> {
    let (backend, epsilon) = (ctx.backend, ctx.spec.norm_epsilon);
    let LayerSaved { x, qk_raw, mut q, mut k, v, attention, x2, gate, up, low_rank } = saved;
    let mut linear = |which: Linear, input: &Tensor, d_output: &Tensor, want_dx: bool| {
        let position = ctx.adapter.and_then(|adapter| adapter.position(ctx.layer, which));
        let gradient = position.map(|position| gradients.side_path(position));
        backend.linear_backward(input, low_rank[which.index()].as_ref(), d_output, &ctx.args(which), gradient, want_dx)
    };
    let must = |dx: Option<Tensor>| dx.unwrap_or_else(|| panic!("a gradient that was asked for"));

    // y = x2 + down(h), h = silu(gate) * up
    let h = backend.swiglu_forward(&gate, &up);
    let dh = must(linear(Linear::Down, &h, &dy, true));
    let (dgate, dup) = backend.swiglu_backward(&gate, &up, &dh);
    drop((h, dh, gate, up));

    // gate, up = linear(n2), n2 = rms_norm(x2)
    let attention_needed = want_dx || ctx.adapter.is_some_and(|adapter| adapter.touches_attention(ctx.layer));
    let n2 = backend.rms_norm_forward(&x2, &ctx.weights.mlp_norm, epsilon);
    let dn2_gate = linear(Linear::Gate, &n2, &dgate, attention_needed);
    let dn2_up = linear(Linear::Up, &n2, &dup, attention_needed);
    let (Some(mut dn2), Some(dn2_up)) = (dn2_gate, dn2_up) else { return None };
    backend.add_assign(&mut dn2, &dn2_up);
    let mut dx2 = backend.rms_norm_backward(&x2, &ctx.weights.mlp_norm, epsilon, &dn2);
    backend.add_assign(&mut dx2, &dy);
    drop((n2, dn2, dn2_up, x2, dy, dgate, dup));

    // x2 = x + o_proj(o), o = attention(q, k, v)
    let d_o = must(linear(Linear::O, &attention.o, &dx2, true));
    let (mut dq, mut dk, dv) = backend.attention_backward(&q, &k, &v, &attention, &d_o, &ctx.attention_args(segments));
    drop((attention, d_o, v));
    backend.rope_backward(&mut dq, ctx.positions, ctx.rope);
    backend.rope_backward(&mut dk, ctx.positions, ctx.rope);
    if let (Some((q_gain, k_gain)), Some((q_raw, k_raw))) = (&ctx.weights.qk_norms, qk_raw) {
        (q, k) = (q_raw, k_raw);
        dq = ctx.head_norm_backward(q, q_gain, dq);
        dk = ctx.head_norm_backward(k, k_gain, dk);
    }

    // q, k, v = linear(n), n = rms_norm(x)
    let n = backend.rms_norm_forward(&x, &ctx.weights.attention_norm, epsilon);
    let dn_q = linear(Linear::Q, &n, &dq, want_dx);
    let dn_k = linear(Linear::K, &n, &dk, want_dx);
    let dn_v = linear(Linear::V, &n, &dv, want_dx);
    let (Some(mut dn), Some(dn_k), Some(dn_v)) = (dn_q, dn_k, dn_v) else { return None };
    backend.add_assign(&mut dn, &dn_k);
    backend.add_assign(&mut dn, &dn_v);
    let mut dx = backend.rms_norm_backward(&x, &ctx.weights.attention_norm, epsilon, &dn);
    backend.add_assign(&mut dx, &dx2);
    Some(dx)
}

impl LayerSaved {
    /// The layer's input alone, for a policy that recomputes the rest.
    pub(crate) fn into_input(self) -> Tensor {
        self.x
    }
}
