//! The specification of every op: plain loops, `f64` sums, no cleverness. Never optimised.
//!
//! Letters in shapes: t tokens, c channels, h query heads, g key/value heads, d head size, f feed-forward, v
//! vocabulary, r rank, n rows with a target.

mod adamw;
mod attention;
mod dora;
mod embedding;
mod head;
mod linear;
mod rms_norm;
mod rope;
mod swiglu;

use crate::backend::{
    AdamWArgs, AttentionArgs, AttentionOutput, Backend, HeadOutput, LinearArgs, LinearGradient, LinearOutput,
    RopeTable, SidePath,
};
use crate::tensor::Tensor;
use crate::weight::{DType, Weight};

/// The slow backend that defines what is right.
#[derive(Debug, Clone, Copy, Default)]
pub struct Reference;

impl Backend for Reference {
    fn name(&self) -> String {
        "reference (1 thread, f64 sums)".into()
    }

    fn embedding_forward(&self, table: &Weight, ids: &[u32]) -> Tensor {
        embedding::embedding_forward(table, ids)
    }

    fn embedding_backward(&self, ids: &[u32], dy: &Tensor, dtable: &mut [f32]) {
        embedding::embedding_backward(ids, dy, dtable);
    }

    fn activation_dtype(&self, _weights: DType) -> DType {
        DType::F32
    }

    fn rms_norm_forward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dtype: DType) -> Tensor {
        assert_eq!(dtype, DType::F32, "the reference computes in f32");
        rms_norm::rms_norm_forward(x, gain, epsilon)
    }

    fn rms_norm_backward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dy: &Tensor, dx: &mut Tensor) {
        self.add_assign(dx, &rms_norm::rms_norm_backward(x, gain, epsilon, dy));
    }

    fn rms_norm_gain_backward(&self, x: &Tensor, epsilon: f32, dy: &Tensor, dgain: &mut [f32]) {
        rms_norm::rms_norm_gain_backward(x, epsilon, dy, dgain);
    }

    fn rope_forward(&self, x: &mut Tensor, positions: &[u32], table: &RopeTable) {
        rope::rotate(x, positions, table, 1.0);
    }

    fn rope_backward(&self, dx: &mut Tensor, positions: &[u32], table: &RopeTable) {
        rope::rotate(dx, positions, table, -1.0);
    }

    fn linears_forward(&self, x: &Tensor, linears: &[LinearArgs]) -> Vec<LinearOutput> {
        linears.iter().map(|args| linear::linear_forward(x, args)).collect()
    }

    fn linears_backward(&self, x: &Tensor, linears: Vec<LinearGradient>, want_dx: bool) -> Option<Tensor> {
        let mut sum: Option<Tensor> = None;
        for linear in linears {
            match (linear::linear_backward(x, linear, want_dx), &mut sum) {
                (Some(dx), Some(sum)) => self.add_assign(sum, &dx),
                (dx, _) => sum = dx,
            }
        }
        sum
    }

    fn linear_weight_backward(&self, x: &Tensor, dy: &Tensor, dw: &mut [f32], db: Option<&mut [f32]>) {
        linear::linear_weight_backward(x, dy, dw, db);
    }

    fn row_norms(&self, weight: &Weight, side: Option<&SidePath>) -> Vec<f32> {
        dora::row_norms(weight, side)
    }

    fn scale_columns_forward(
        &self,
        v: &Tensor,
        factor: &[f32],
        bias: Option<&[f32]>,
        residual: Option<&Tensor>,
    ) -> Tensor {
        dora::scale_columns_forward(v, factor, bias, residual)
    }

    fn scale_columns_backward(&self, v: &Tensor, factor: &[f32], dy: &Tensor, dfactor: &mut [f32]) -> Tensor {
        dora::scale_columns_backward(v, factor, dy, dfactor)
    }

    fn attention_forward(&self, q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) -> AttentionOutput {
        attention::attention_forward(q, k, v, args)
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
        attention::attention_backward(q, k, v, output, d_o, args)
    }

    fn attention_cached(&self, q: &Tensor, k: &[f32], v: &[f32], past: usize, args: &AttentionArgs) -> Tensor {
        attention::attention_cached(q, k, v, past, args)
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        swiglu::swiglu_forward(gate, up)
    }

    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, dh: &Tensor) -> (Tensor, Tensor) {
        swiglu::swiglu_backward(gate, up, dh)
    }

    fn add_assign(&self, x: &mut Tensor, y: &Tensor) {
        assert_eq!((x.rows(), x.cols()), (y.rows(), y.cols()), "shapes of a sum");
        for (x, y) in x.data_mut().iter_mut().zip(y.data()) {
            *x += y;
        }
    }

    fn head_logits(&self, x: &Tensor, head: &Weight) -> Tensor {
        linear::linear_forward(x, &LinearArgs::frozen(head, None)).y
    }

    fn head_logprobs(
        &self,
        x: &Tensor,
        head: &Weight,
        targets: &[u32],
        label_smoothing: f32,
        want_gradient: bool,
    ) -> HeadOutput {
        head::head_logprobs(x, head, targets, label_smoothing, want_gradient)
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
        head::head_backward(x, head, targets, label_smoothing, coefficients, dhead)
    }

    fn adamw(&self, parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs) {
        adamw::adamw(parameter, g, m, v, args);
    }

    fn sum_squares(&self, values: &[f32]) -> f64 {
        values.iter().map(|&value| f64::from(value) * f64::from(value)).sum()
    }
}
