//! The one forward and the one hand-derived backward of all families.
//!
//! Letters in shapes: t tokens, c channels, v vocabulary, n rows with a target.

use std::sync::Arc;

use attune_compute::{Backend, DType, HeadOutput, RopeTable, Tensor};

use crate::adapter::{Adapter, Gradients};
use crate::batch::PackedBatch;
use crate::error::ModelError;
use crate::full::WeightGradients;
use crate::layer::{Attend, LayerContext, LayerSaved, layer_backward, layer_forward};
use crate::trained::Sink;
use crate::weights::BaseModel;

/// What a forward pass keeps for the backward pass. Layers below the lowest adapted one never keep anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SavePolicy {
    /// Nothing: there will be no backward pass.
    Nothing,
    /// Everything that costs a matrix product to redo.
    Keep,
    /// Each layer's input; the layer is run again in the backward pass. Slower by about a third, and bit-equal.
    Recompute,
    /// As [`SavePolicy::Recompute`] for so many layers, counted from the lowest adapted one upwards, and as
    /// [`SavePolicy::Keep`] for those above: time and memory lie between the two in proportion. The lowest ones,
    /// because what is kept of them would be held the longest.
    RecomputeLowest(usize),
}

impl SavePolicy {
    /// Whether the layer at `place`, counted from the lowest adapted one, is run again in the backward pass.
    fn recomputes(self, place: usize) -> bool {
        match self {
            Self::Nothing | Self::Keep => false,
            Self::Recompute => true,
            Self::RecomputeLowest(layers) => place < layers,
        }
    }
}

/// How to run a forward pass.
#[derive(Debug, Clone, Copy)]
pub struct ForwardOptions {
    /// What to keep.
    pub save: SavePolicy,
    /// Key of this step's dropout masks; `None` turns dropout off.
    pub dropout_key: Option<u64>,
}

impl ForwardOptions {
    /// No gradient, no dropout.
    pub const INFERENCE: Self = Self { save: SavePolicy::Nothing, dropout_key: None };
}

/// What one layer left behind.
#[derive(Debug)]
enum Saved {
    Input(Tensor),
    Everything(Box<LayerSaved>),
}

/// What a forward pass returns: the output rows that have a target, and what the backward pass needs.
#[derive(Debug)]
pub struct Pass<'a> {
    batch: &'a PackedBatch,
    dropout_key: Option<u64>,
    /// Layers from the lowest adapted one upwards.
    saved: Vec<Saved>,
    /// `[n, c]` before the final norm, one row per target.
    last_nc: Tensor,
    /// `[n, c]` after it.
    normed_nc: Tensor,
}

/// A base model on a backend.
pub struct Decoder<'a> {
    backend: &'a dyn Backend,
    base: &'a BaseModel,
    rope: Arc<RopeTable>,
    /// Type of the operands of products.
    activations: DType,
}

impl<'a> Decoder<'a> {
    /// A decoder for positions up to `max_positions`.
    ///
    /// # Errors
    /// When that is more than the model was made for.
    pub fn new(backend: &'a dyn Backend, base: &'a BaseModel, max_positions: usize) -> Result<Self, ModelError> {
        if max_positions > base.spec.max_positions {
            return Err(ModelError::ContextLength { tokens: max_positions, limit: base.spec.max_positions });
        }
        let rope = Arc::new(RopeTable::new(&base.spec.inverse_frequencies(), max_positions));
        let activations = backend.activation_dtype(base.dtype());
        Ok(Self { backend, base, rope, activations })
    }

    /// The same over other weights of a model of this spec.
    ///
    /// # Panics
    /// If the spec is another one.
    pub fn over<'b>(&'b self, base: &'b BaseModel) -> Decoder<'b> {
        assert_eq!(base.spec, self.base.spec, "specs of both models");
        let activations = self.backend.activation_dtype(base.dtype());
        Decoder { backend: self.backend, base, rope: Arc::clone(&self.rope), activations }
    }

    /// Where it runs.
    pub fn backend(&self) -> &'a dyn Backend {
        self.backend
    }

    /// What it runs.
    pub fn base(&self) -> &'a BaseModel {
        self.base
    }

    /// Longest sequence it was made for.
    pub fn max_positions(&self) -> usize {
        self.rope.positions()
    }

    fn context<'b>(
        &'b self,
        layer: usize,
        adapter: Option<&'b Adapter>,
        dropout: Option<(u64, &'b [u64])>,
        positions: &'b [u32],
    ) -> LayerContext<'b> {
        LayerContext {
            backend: self.backend,
            spec: &self.base.spec,
            weights: &self.base.layers[layer],
            layer,
            adapter,
            dropout,
            positions,
            rope: &self.rope,
            activations: self.activations,
        }
    }

    /// Runs the layers over a packed batch.
    ///
    /// # Errors
    /// When a token id is outside of the embedding or an example is longer than the decoder was made for.
    pub fn forward<'b>(
        &self,
        batch: &'b PackedBatch,
        adapter: Option<&Adapter>,
        options: &ForwardOptions,
    ) -> Result<Pass<'b>, ModelError> {
        batch.assert_consistent();
        self.check_ids(&batch.ids)?;
        if let Some(&position) = batch.positions.iter().max()
            && position as usize >= self.max_positions()
        {
            return Err(ModelError::ContextLength { tokens: position as usize + 1, limit: self.max_positions() });
        }
        let lowest = adapter.map_or(0, Adapter::lowest_layer);
        let dropout = options.dropout_key.map(|key| (key, batch.row_keys.as_slice()));
        let mut saved = Vec::new();
        let mut x_tc = self.backend.embedding_forward(&self.base.embedding, &batch.ids);
        for layer in 0..self.base.spec.layers {
            let context = self.context(layer, adapter, dropout, &batch.positions);
            let (y_tc, layer_saved) = layer_forward(&context, x_tc, Attend::Packed(&batch.segments));
            if options.save != SavePolicy::Nothing && layer >= lowest {
                saved.push(match options.save.recomputes(layer - lowest) {
                    true => Saved::Input(layer_saved.into_input()),
                    false => Saved::Everything(Box::new(layer_saved)),
                });
            }
            x_tc = y_tc;
        }
        let rows: Vec<usize> = batch.targets.iter().map(|target| target.row).collect();
        let last_nc = gather_rows(&x_tc, &rows);
        let normed_nc = self.final_norm(&last_nc);
        Ok(Pass { batch, dropout_key: options.dropout_key, saved, last_nc, normed_nc })
    }

    /// Log-probabilities of the pass's targets, and the gradient of each with respect to its own output row.
    pub fn head_logprobs(&self, pass: &Pass, label_smoothing: f32, want_gradient: bool) -> HeadOutput {
        let targets: Vec<u32> = pass.batch.targets.iter().map(|target| target.token).collect();
        self.backend.head_logprobs(&pass.normed_nc, &self.base.head, &targets, label_smoothing, want_gradient)
    }

    /// Adds the gradients of `loss = f(smoothed log-probabilities)` to `gradients`; `coefficients` are the derivatives
    /// of the loss, one per target.
    ///
    /// # Panics
    /// When the pass kept nothing, or the head was asked for no gradient.
    pub fn backward(
        &self,
        pass: Pass,
        head: HeadOutput,
        coefficients: &[f32],
        adapter: &Adapter,
        gradients: &mut Gradients,
    ) {
        let Some(mut dnormed_nc) = head.dx else { panic!("the head was run without a gradient") };
        assert_eq!(coefficients.len(), pass.batch.targets.len(), "one coefficient per target");
        for (n, &coefficient) in coefficients.iter().enumerate() {
            for d in dnormed_nc.row_mut(n) {
                *d *= coefficient;
            }
        }
        let _ = self.layers_backward(pass, dnormed_nc, Some(adapter), Sink::Adapter(gradients));
    }

    /// As [`Decoder::backward`], of all weights: adds the gradients of `loss = f(smoothed log-probabilities)`, which
    /// come from [`Decoder::head_logprobs`] with this label smoothing and without a gradient.
    ///
    /// # Panics
    /// When the pass kept nothing, or ran with an adapter.
    pub fn backward_full(
        &self,
        pass: Pass,
        label_smoothing: f32,
        coefficients: &[f32],
        gradients: &mut WeightGradients,
    ) {
        let (batch, base) = (pass.batch, self.base);
        let targets: Vec<u32> = batch.targets.iter().map(|target| target.token).collect();
        let dhead = gradients.head.as_mut().unwrap_or(&mut gradients.embedding);
        let x_nc = &pass.normed_nc;
        let dnormed_nc = self.backend.head_backward(x_nc, &base.head, &targets, label_smoothing, coefficients, dhead);
        self.backend.rms_norm_gain_backward(
            &pass.last_nc,
            base.spec.norm_epsilon,
            &dnormed_nc,
            &mut gradients.final_norm,
        );
        let dx_tc = self.layers_backward(pass, dnormed_nc, None, Sink::Full(gradients));
        let Some(dx_tc) = dx_tc else { unreachable!("the lowest layer's input has a gradient here") };
        self.backend.embedding_backward(&batch.ids, &dx_tc, &mut gradients.embedding);
    }

    /// From the gradient of the head's input down to the lowest layer that is trained; returns the gradient of the
    /// embedding's output where it is asked for.
    fn layers_backward(
        &self,
        pass: Pass,
        dnormed_nc: Tensor,
        adapter: Option<&Adapter>,
        mut sink: Sink,
    ) -> Option<Tensor> {
        let Pass { batch, dropout_key, mut saved, last_nc, normed_nc } = pass;
        let lowest = adapter.map_or(0, Adapter::lowest_layer);
        assert_eq!(saved.len(), self.base.spec.layers - lowest, "layers kept by the forward pass");
        drop(normed_nc);
        let epsilon = self.base.spec.norm_epsilon;
        let mut dlast_nc = Tensor::zeros(last_nc.rows(), last_nc.cols());
        self.backend.rms_norm_backward(&last_nc, &self.base.final_norm, epsilon, &dnormed_nc, &mut dlast_nc);
        drop(dnormed_nc);
        let mut dx_tc = Tensor::zeros(batch.tokens(), self.base.spec.hidden);
        for (n, target) in batch.targets.iter().enumerate() {
            for (d, s) in dx_tc.row_mut(target.row).iter_mut().zip(dlast_nc.row(n)) {
                *d += s;
            }
        }

        let dropout = dropout_key.map(|key| (key, batch.row_keys.as_slice()));
        for layer in (lowest..self.base.spec.layers).rev() {
            let context = self.context(layer, adapter, dropout, &batch.positions);
            let layer_saved = match saved.pop() {
                Some(Saved::Everything(layer_saved)) => *layer_saved,
                Some(Saved::Input(x_tc)) => layer_forward(&context, x_tc, Attend::Packed(&batch.segments)).1,
                None => unreachable!("the number of kept layers was checked"),
            };
            let want_dx = layer > lowest || matches!(sink, Sink::Full(_));
            dx_tc = layer_backward(&context, layer_saved, dx_tc, &batch.segments, &mut sink, want_dx)?;
        }
        Some(dx_tc)
    }

    /// Logits `[t, v]` of every row of one sequence: for tests and comparisons, not for training.
    ///
    /// # Errors
    /// As [`Decoder::forward`].
    pub fn logits(&self, ids: &[u32], adapter: Option<&Adapter>) -> Result<Tensor, ModelError> {
        let mut cache = crate::generate::KvCache::new(&self.base.spec);
        let x_tc = self.extend(&mut cache, ids, adapter)?;
        Ok(self.backend.head_logits(&self.final_norm(&x_tc), &self.base.head))
    }

    /// Runs new tokens over a cache and returns the layers' output `[n, c]`, before the final norm.
    pub(crate) fn extend(
        &self,
        cache: &mut crate::generate::KvCache,
        ids: &[u32],
        adapter: Option<&Adapter>,
    ) -> Result<Tensor, ModelError> {
        self.check_ids(ids)?;
        let past = cache.tokens();
        if past + ids.len() > self.max_positions() {
            return Err(ModelError::ContextLength { tokens: past + ids.len(), limit: self.max_positions() });
        }
        let positions: Vec<u32> = (past..past + ids.len()).map(|position| position as u32).collect();
        let mut x_tc = self.backend.embedding_forward(&self.base.embedding, ids);
        for layer in 0..self.base.spec.layers {
            let context = self.context(layer, adapter, None, &positions);
            let (k, v) = cache.layer_mut(layer);
            (x_tc, _) = layer_forward(&context, x_tc, Attend::Cached { k, v });
        }
        cache.advance(ids.len());
        Ok(x_tc)
    }

    /// The norm before the head.
    pub(crate) fn final_norm(&self, x: &Tensor) -> Tensor {
        self.backend.rms_norm_forward(x, &self.base.final_norm, self.base.spec.norm_epsilon, self.activations)
    }

    fn check_ids(&self, ids: &[u32]) -> Result<(), ModelError> {
        let rows = self.base.spec.vocabulary;
        match ids.iter().find(|&&id| id as usize >= rows) {
            Some(&id) => Err(ModelError::TokenId { id, rows }),
            None => Ok(()),
        }
    }
}

/// The given rows of `x`.
fn gather_rows(x: &Tensor, rows: &[usize]) -> Tensor {
    let mut out = Tensor::unset(DType::F32, rows.len(), x.cols());
    for (n, &row) in rows.iter().enumerate() {
        out.row_mut(n).copy_from_slice(x.row(row));
    }
    out
}
