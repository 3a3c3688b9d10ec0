//! Backends with one planted mistake each: proof that a rung of the ladder can fail.

use attune_compute::reference::Reference;
use attune_compute::{
    AdamWArgs, AttentionArgs, AttentionOutput, Backend, DType, HeadOutput, LinearArgs, LinearGradient, LinearOutput,
    RopeTable, SidePath, SidePathGradient, Tensor, Weight,
};

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mistake {
    /// The last input of every linear is left out, as by a kernel that forgets the rest after whole vectors.
    LinearForgetsTail,
    /// Attention sees one token more than the window, in passes over whole sequences.
    WindowOneTooWide,
    /// Attention sees one token more than the window, over the key/value cache.
    CachedWindowOneTooWide,
    /// Examples of a packed batch see the examples before them.
    SegmentsIgnored,
    /// The gradient of the rotation is taken for the rotation itself.
    RopeBackwardRotatesForward,
    /// The gradient of the norm is `dy * gain / rms`, without the part that comes through the root.
    NormBackwardForgetsRoot,
    /// The gradient of A is not scaled by alpha / r.
    SidePathGradientUnscaled,
    /// Label smoothing is left out.
    SmoothingForgotten,
    /// AdamW without its bias correction.
    BiasCorrectionForgotten,
    /// AdamW without weight decay.
    DecayForgotten,
    /// AdamW with weight decay on gains and biases, too: 0.2 where none is asked for.
    DecayOnGains,
    /// The gains of norms get no gradient.
    GainGradientForgotten,
    /// The gradient of a norm's gain is `sum_t dy x`, without the division by the root.
    GainGradientUnnormed,
    /// Biases get no gradient.
    BiasGradientForgotten,
    /// The head gets no gradient: with a tied head its share is missing in the embedding's.
    HeadGradientForgotten,
    /// Of tokens that occur several times, the embedding gets the gradient of the last one alone.
    EmbeddingGradientOverwrites,
    /// A weight's gradient is that of the last micro-batch.
    WeightGradientOverwrites,
}

/// The reference backend with a mistake.
#[derive(Debug, Clone, Copy)]
pub struct Planted(pub Mistake);

impl Planted {
    fn has(&self, mistake: Mistake) -> bool {
        self.0 == mistake
    }

    /// Arguments of attention over whole sequences, with the mistakes of the mask; `whole` are borders of one segment.
    fn packed_args<'a>(&self, args: &AttentionArgs<'a>, whole: &'a [usize]) -> AttentionArgs<'a> {
        let mut args = *args;
        if self.has(Mistake::WindowOneTooWide) {
            args.window = args.window.map(|window| window + 1);
        }
        if self.has(Mistake::SegmentsIgnored) {
            args.segments = whole;
        }
        args
    }
}

impl Backend for Planted {
    fn name(&self) -> String {
        format!("reference with {:?}", self.0)
    }

    fn embedding_forward(&self, table: &Weight, ids: &[u32]) -> Tensor {
        Reference.embedding_forward(table, ids)
    }

    fn embedding_backward(&self, ids: &[u32], dy: &Tensor, dtable: &mut [f32]) {
        if !self.has(Mistake::EmbeddingGradientOverwrites) {
            return Reference.embedding_backward(ids, dy, dtable);
        }
        for (t, &id) in ids.iter().enumerate() {
            let start = id as usize * dy.cols();
            dtable[start..start + dy.cols()].copy_from_slice(dy.row(t));
        }
    }

    fn activation_dtype(&self, weights: DType) -> DType {
        Reference.activation_dtype(weights)
    }

    fn rms_norm_forward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dtype: DType) -> Tensor {
        Reference.rms_norm_forward(x, gain, epsilon, dtype)
    }

    fn rms_norm_backward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dy: &Tensor, dx: &mut Tensor) {
        if !self.has(Mistake::NormBackwardForgetsRoot) {
            return Reference.rms_norm_backward(x, gain, epsilon, dy, dx);
        }
        for t in 0..x.rows() {
            let mean_square = x.row(t).iter().map(|value| value * value).sum::<f32>() / x.cols() as f32;
            for ((dx, dy), g) in dx.row_mut(t).iter_mut().zip(dy.row(t)).zip(gain) {
                *dx += dy * g / (mean_square + epsilon).sqrt();
            }
        }
    }

    fn rms_norm_gain_backward(&self, x: &Tensor, epsilon: f32, dy: &Tensor, dgain: &mut [f32]) {
        if self.has(Mistake::GainGradientUnnormed) {
            for t in 0..x.rows() {
                for ((dgain, dy), x) in dgain.iter_mut().zip(dy.row(t)).zip(x.row(t)) {
                    *dgain += dy * x;
                }
            }
        } else if !self.has(Mistake::GainGradientForgotten) {
            Reference.rms_norm_gain_backward(x, epsilon, dy, dgain);
        }
    }

    fn rope_forward(&self, x: &mut Tensor, positions: &[u32], table: &RopeTable) {
        Reference.rope_forward(x, positions, table);
    }

    fn rope_backward(&self, dx: &mut Tensor, positions: &[u32], table: &RopeTable) {
        if self.has(Mistake::RopeBackwardRotatesForward) {
            Reference.rope_forward(dx, positions, table);
        } else {
            Reference.rope_backward(dx, positions, table);
        }
    }

    fn linears_forward(&self, x: &Tensor, linears: &[LinearArgs]) -> Vec<LinearOutput> {
        if !self.has(Mistake::LinearForgetsTail) {
            return Reference.linears_forward(x, linears);
        }
        let mut x = x.clone();
        for t in 0..x.rows() {
            if let Some(last) = x.row_mut(t).last_mut() {
                *last = 0.0;
            }
        }
        Reference.linears_forward(&x, linears)
    }

    fn linears_backward(&self, x: &Tensor, mut linears: Vec<LinearGradient>, want_dx: bool) -> Option<Tensor> {
        if !self.has(Mistake::SidePathGradientUnscaled) {
            return Reference.linears_backward(x, linears, want_dx);
        }
        // The reference works on gradients of A of its own, which are added afterwards.
        let sides: Vec<_> = linears.iter_mut().map(|linear| linear.side.take()).collect();
        let mut scaled: Vec<Vec<f32>> =
            sides.iter().map(|side| vec![0.0; side.as_ref().map_or(0, |side| side.da.len())]).collect();
        let (mut wanted, mut inner) = (Vec::new(), Vec::new());
        for ((linear, side), da) in linears.iter().zip(sides).zip(&mut scaled) {
            let (wanted_da, side) = side.map(|side| (side.da, SidePathGradient { da, db: side.db })).unzip();
            wanted.push((wanted_da, linear.args.side.map_or(1.0, |side| side.scale)));
            inner.push(LinearGradient { side, ..*linear });
        }
        let dx = Reference.linears_backward(x, inner, want_dx);
        for ((da, scale), scaled) in wanted.into_iter().zip(scaled) {
            for (sum, value) in da.into_iter().flatten().zip(scaled) {
                *sum += value / scale;
            }
        }
        dx
    }

    fn linear_weight_backward(&self, x: &Tensor, dy: &Tensor, dw: &mut [f32], db: Option<&mut [f32]>) {
        if self.has(Mistake::WeightGradientOverwrites) {
            dw.fill(0.0);
        }
        let db = db.filter(|_| !self.has(Mistake::BiasGradientForgotten));
        Reference.linear_weight_backward(x, dy, dw, db);
    }

    fn row_norms(&self, weight: &Weight, side: Option<&SidePath>) -> Vec<f32> {
        Reference.row_norms(weight, side)
    }

    fn scale_columns_forward(
        &self,
        v: &Tensor,
        factor: &[f32],
        bias: Option<&[f32]>,
        residual: Option<&Tensor>,
    ) -> Tensor {
        Reference.scale_columns_forward(v, factor, bias, residual)
    }

    fn scale_columns_backward(&self, v: &Tensor, factor: &[f32], dy: &Tensor, dfactor: &mut [f32]) -> Tensor {
        Reference.scale_columns_backward(v, factor, dy, dfactor)
    }

    fn attention_forward(&self, q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) -> AttentionOutput {
        Reference.attention_forward(q, k, v, &self.packed_args(args, &[0, q.rows()]))
    }

    fn attention_backward(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        output: &AttentionOutput,
        d_o: &Tensor,
        args: &AttentionArgs,
    ) -> (Tensor, Tensor, Tensor) {
        Reference.attention_backward(q, k, v, output, d_o, &self.packed_args(args, &[0, q.rows()]))
    }

    fn attention_cached(&self, q: &Tensor, k: &[f32], v: &[f32], past: usize, args: &AttentionArgs) -> Tensor {
        let wider = self.has(Mistake::CachedWindowOneTooWide);
        let window = if wider { args.window.map(|window| window + 1) } else { args.window };
        Reference.attention_cached(q, k, v, past, &AttentionArgs { window, ..*args })
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        Reference.swiglu_forward(gate, up)
    }

    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, dh: &Tensor) -> (Tensor, Tensor) {
        Reference.swiglu_backward(gate, up, dh)
    }

    fn add_assign(&self, x: &mut Tensor, y: &Tensor) {
        Reference.add_assign(x, y);
    }

    fn head_logits(&self, x: &Tensor, head: &Weight) -> Tensor {
        Reference.head_logits(x, head)
    }

    fn head_logprobs(
        &self,
        x: &Tensor,
        head: &Weight,
        targets: &[u32],
        label_smoothing: f32,
        want_gradient: bool,
    ) -> HeadOutput {
        let smoothing = if self.has(Mistake::SmoothingForgotten) { 0.0 } else { label_smoothing };
        Reference.head_logprobs(x, head, targets, smoothing, want_gradient)
    }

    fn head_backward(
        &self,
        x: &Tensor,
        head: &Weight,
        targets: &[u32],
        label_smoothing: f32,
        coefficients: &[f32],
        dhead: &mut [f32],
    ) -> Tensor {
        let smoothing = if self.has(Mistake::SmoothingForgotten) { 0.0 } else { label_smoothing };
        if self.has(Mistake::HeadGradientForgotten) {
            return Reference.head_backward(x, head, targets, smoothing, coefficients, &mut vec![0.0; dhead.len()]);
        }
        Reference.head_backward(x, head, targets, smoothing, coefficients, dhead)
    }

    fn adamw(&self, parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs) {
        // With a late step number the correction's divisors are 1.
        let step = if self.has(Mistake::BiasCorrectionForgotten) { 1_000_000 } else { args.step };
        let weight_decay = match self.0 {
            Mistake::DecayForgotten => 0.0,
            Mistake::DecayOnGains if args.weight_decay == 0.0 => 0.2,
            _ => args.weight_decay,
        };
        Reference.adamw(parameter, g, m, v, &AdamWArgs { step, weight_decay, ..*args });
    }

    fn sum_squares(&self, values: &[f32]) -> f64 {
        Reference.sum_squares(values)
    }
}
