//! The fast twin of [`crate::reference`] for plain CPUs.
//!
//! Reading order: [`Cpu`] here, `gemm` (the driver of every matrix product) with `pack` and the `kernels_*`, then one
//! file per family of ops. `isa` chooses the instructions, `workers` owns the threads, `math` holds the exponential and
//! the sums.
//!
//! # Order of the sums
//! Work is cut over outputs, never over a sum; so the bits of a result do not depend on the number of threads. A row of
//! a matrix product, of a norm, of the head and of attention (inside its segment) does not depend on the other rows
//! either, on one instruction set. Between instruction sets bits differ: vectors have other widths and the baseline of
//! x86-64 has no fused multiply-add.
//!
//! # Arithmetic
//! Products whose weights (in attention: whose tensors) are `bf16` are computed in `bf16` with sums in `f32` where the path
//! has such instructions; all others in `f32`. Everything else is `f32`, whatever type the tensors have in memory.
//!
//! # Memory
//! Weights are read in place, and kept packed beside that where [`Backend::keep_packed`] says so. During a product its packed left factor exists beside it; a thread keeps up to 256 KiB of
//! right panels and 2 MiB of sums, and for attention some `(3 d + 256) * m` floats, with `m` (rows of a query tile) around
//! 128; attention's gradients in one pass hold three times a segment's queries of one group in `f32`. The head holds up to
//! 336 MiB of logits during a call, and a packed copy.

#[cfg(all(feature = "amx-emulator", target_os = "linux", target_arch = "x86_64"))]
pub mod amx_emulator;
mod attention;
mod attention_backward;
#[cfg(target_arch = "x86_64")]
mod blocks_avx512;
mod convert;
mod dora;
mod elementwise;
mod gemm;
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod guarded_memory;
mod head;
mod isa;
#[cfg(target_arch = "x86_64")]
mod kernels_amx;
#[cfg(target_arch = "x86_64")]
mod kernels_avx2;
#[cfg(target_arch = "x86_64")]
mod kernels_avx512;
#[cfg(target_arch = "x86_64")]
mod kernels_avx512bf16;
mod kernels_portable;
mod linear;
mod math;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pack_amx;
mod packed;
pub mod peak;
mod stage;
mod weight_gradients;
mod workers;

use std::fmt;

pub use head::LOGITS_BYTES;
pub use isa::{FT_CPU, Isa};

use crate::backend::{
    AdamWArgs, AttentionArgs, AttentionOutput, Backend, ComputeError, HeadOutput, LinearArgs, LinearGradient,
    LinearOutput, RopeTable, SidePath, WeightProduct,
};
use crate::tensor::Tensor;
use crate::weight::{DType, Weight};
use gemm::{Kernels, PackedLeft, Product};
use isa::VerifiedIsa;
use pack::Operand;
use packed::PackedWeights;
use workers::Workers;

/// What every op needs: the threads and the instructions.
struct Engine {
    workers: Workers,
    isa: VerifiedIsa,
    /// For products in `f32`.
    kernels: &'static Kernels,
    /// For products in `bf16`, where the processor has them.
    bf16: Option<&'static Kernels>,
    /// Frozen weights that are kept in the form that products read.
    packed: PackedWeights,
}

impl Engine {
    /// The kernels for factors of this type: `bf16` and blocks are multiplied in `bf16` where the processor can, anything
    /// else in `f32`.
    fn kernels_for(&self, dtype: DType) -> &'static Kernels {
        self.bf16.filter(|_| dtype.of_products() == DType::Bf16).unwrap_or(self.kernels)
    }

    fn multiply(&self, kernels: &Kernels, rows: usize, products: Vec<Product>) {
        gemm::multiply(&self.workers, self.isa, kernels, rows, products);
    }

    fn pack(&self, kernels: &Kernels, factor: &Operand) -> PackedLeft {
        PackedLeft::new(&self.workers, kernels, factor)
    }
}

/// The kernels of a path: for `f32`, and for `bf16` where it has them.
fn kernels_of(isa: VerifiedIsa) -> (&'static Kernels, Option<&'static Kernels>) {
    match isa.get() {
        #[cfg(target_arch = "x86_64")]
        Isa::Amx => (&kernels_avx512::KERNELS, Some(&kernels_amx::KERNELS)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Bf16 => (&kernels_avx512::KERNELS, Some(&kernels_avx512bf16::KERNELS)),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512 => (&kernels_avx512::KERNELS, None),
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => (&kernels_avx2::KERNELS, None),
        #[cfg(not(target_arch = "x86_64"))]
        isa @ (Isa::Amx | Isa::Avx512Bf16 | Isa::Avx512 | Isa::Avx2) => unreachable!("{isa} on this processor"),
        Isa::Portable => (&kernels_portable::KERNELS, None),
    }
}

/// The backend for plain CPUs.
///
/// ```
/// use attune_compute::{Backend, Tensor, cpu::Cpu};
///
/// let cpu = Cpu::new(Some(1))?;
/// let mut x = Tensor::from_vec(1, 2, vec![1.0, 2.0]);
/// cpu.add_assign(&mut x, &Tensor::from_vec(1, 2, vec![10.0, 20.0]));
/// assert_eq!(x.data(), &[11.0, 22.0]);
/// # Ok::<(), attune_compute::ComputeError>(())
/// ```
pub struct Cpu {
    engine: Engine,
}

impl fmt::Debug for Cpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cpu({})", self.name())
    }
}

impl Cpu {
    /// A backend with `threads` worker threads (all that the machine offers, if `None`) and the instructions that
    /// `FT_CPU` asks for (the fastest, if it is not set).
    ///
    /// # Errors
    /// If `FT_CPU` cannot be followed, or the threads cannot be started.
    pub fn new(threads: Option<usize>) -> Result<Self, ComputeError> {
        Self::with_isa(Isa::from_env()?, threads)
    }

    /// As [`Cpu::new`], with the given instructions.
    ///
    /// # Errors
    /// If this machine lacks the instructions, or the threads cannot be started.
    pub fn with_isa(isa: Isa, threads: Option<usize>) -> Result<Self, ComputeError> {
        let isa = isa.verify()?;
        let (kernels, bf16) = kernels_of(isa);
        Ok(Self {
            engine: Engine { workers: Workers::new(threads)?, isa, kernels, bf16, packed: PackedWeights::default() },
        })
    }

    /// The instructions in use.
    pub fn isa(&self) -> Isa {
        self.engine.isa.get()
    }

    /// The number of threads in use.
    pub fn threads(&self) -> usize {
        self.engine.workers.threads()
    }
}

impl Backend for Cpu {
    fn name(&self) -> String {
        let threads = self.threads();
        format!("cpu ({}, {threads} thread{})", self.isa(), if threads == 1 { "" } else { "s" })
    }

    fn activation_dtype(&self, weights: DType) -> DType {
        match self.engine.bf16 {
            Some(_) if weights.of_products() == DType::Bf16 => DType::Bf16,
            _ => DType::F32,
        }
    }

    fn packed_weight_bytes(&self, dtype: DType, shape: (usize, usize), product: WeightProduct) -> Option<u64> {
        Some(packed::packed_bytes(self.engine.kernels_for(dtype), shape, product) as u64)
    }

    fn keep_packed(&mut self, weights: &[(&Weight, WeightProduct)]) {
        self.engine.packed = PackedWeights::default();
        for &(weight, product) in weights {
            let kernels = self.engine.kernels_for(weight.dtype());
            self.engine.packed.keep(&self.engine.workers, kernels, weight, product);
        }
    }

    fn round_weight(&self, dtype: DType, rows: usize, cols: usize, values: &[f32]) -> Weight {
        weight_gradients::round_weight(&self.engine, dtype, rows, cols, values)
    }

    fn embedding_forward(&self, table: &Weight, ids: &[u32]) -> Tensor {
        elementwise::embedding_forward(&self.engine, table, ids)
    }

    fn embedding_backward(&self, ids: &[u32], dy: &Tensor, dtable: &mut [f32]) {
        weight_gradients::embedding_backward(&self.engine, ids, dy, dtable);
    }

    fn rms_norm_forward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dtype: DType) -> Tensor {
        elementwise::rms_norm_forward(&self.engine, x, gain, epsilon, dtype)
    }

    fn rms_norm_backward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dy: &Tensor, dx: &mut Tensor) {
        elementwise::rms_norm_backward(&self.engine, x, gain, epsilon, dy, dx);
    }

    fn rms_norm_gain_backward(&self, x: &Tensor, epsilon: f32, dy: &Tensor, dgain: &mut [f32]) {
        weight_gradients::rms_norm_gain_backward(&self.engine, x, epsilon, dy, dgain);
    }

    fn rope_forward(&self, x: &mut Tensor, positions: &[u32], table: &RopeTable) {
        elementwise::rotate(&self.engine, x, positions, table, 1.0);
    }

    fn rope_backward(&self, dx: &mut Tensor, positions: &[u32], table: &RopeTable) {
        elementwise::rotate(&self.engine, dx, positions, table, -1.0);
    }

    fn linears_forward(&self, x: &Tensor, linears: &[LinearArgs]) -> Vec<LinearOutput> {
        linear::linears_forward(&self.engine, x, linears)
    }

    fn linears_backward(&self, x: &Tensor, linears: Vec<LinearGradient>, want_dx: bool) -> Option<Tensor> {
        linear::linears_backward(&self.engine, x, linears, want_dx)
    }

    fn linear_weight_backward(&self, x: &Tensor, dy: &Tensor, dw: &mut [f32], db: Option<&mut [f32]>) {
        weight_gradients::linear_weight_backward(&self.engine, x, dy, dw, db);
    }

    fn row_norms(&self, weight: &Weight, side: Option<&SidePath>) -> Vec<f32> {
        dora::row_norms(&self.engine, weight, side)
    }

    fn scale_columns_forward(
        &self,
        v: &Tensor,
        factor: &[f32],
        bias: Option<&[f32]>,
        residual: Option<&Tensor>,
    ) -> Tensor {
        dora::scale_columns_forward(&self.engine, v, factor, bias, residual)
    }

    fn scale_columns_backward(&self, v: &Tensor, factor: &[f32], dy: &Tensor, dfactor: &mut [f32]) -> Tensor {
        dora::scale_columns_backward(&self.engine, v, factor, dy, dfactor)
    }

    fn attention_forward(&self, q: &Tensor, k: &Tensor, v: &Tensor, args: &AttentionArgs) -> AttentionOutput {
        attention::attention_forward(&self.engine, q, k, v, args)
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
        attention_backward::attention_backward(&self.engine, q, k, v, output, d_o, args)
    }

    fn attention_cached(&self, q: &Tensor, k: &[f32], v: &[f32], past: usize, args: &AttentionArgs) -> Tensor {
        attention::attention_cached(&self.engine, q, k, v, past, args)
    }

    fn swiglu_forward(&self, gate: &Tensor, up: &Tensor) -> Tensor {
        elementwise::swiglu_forward(&self.engine, gate, up)
    }

    fn swiglu_backward(&self, gate: &Tensor, up: &Tensor, dh: &Tensor) -> (Tensor, Tensor) {
        elementwise::swiglu_backward(&self.engine, gate, up, dh)
    }

    fn add_assign(&self, x: &mut Tensor, y: &Tensor) {
        elementwise::add_assign(&self.engine, x, y);
    }

    fn head_logits(&self, x: &Tensor, head: &Weight) -> Tensor {
        head::head_logits(&self.engine, x, head)
    }

    fn head_logprobs(
        &self,
        x: &Tensor,
        head: &Weight,
        targets: &[u32],
        label_smoothing: f32,
        want_gradient: bool,
    ) -> HeadOutput {
        head::head_logprobs(&self.engine, x, head, targets, label_smoothing, want_gradient)
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
        head::head_backward(&self.engine, x, head, (targets, label_smoothing), coefficients, dhead)
    }

    fn adamw(&self, parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs) {
        elementwise::adamw(&self.engine, parameter, g, m, v, args);
    }

    fn sum_squares(&self, values: &[f32]) -> f64 {
        elementwise::sum_squares(&self.engine, values)
    }
}
