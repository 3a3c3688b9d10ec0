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
//! # Memory
//! Weights are read in place. A thread keeps about 0.6 MiB for packed panels (2 MiB at most), and for attention some
//! `(3 d + 256) * m` floats, with `m` (rows of a query tile) around 128. The head holds up to 64 MiB of logits during a
//! call.

#[cfg(all(feature = "amx-emulator", target_os = "linux", target_arch = "x86_64"))]
pub mod amx_emulator;
mod attention;
mod attention_backward;
mod elementwise;
mod gemm;
#[cfg(all(test, target_os = "linux", target_arch = "x86_64"))]
mod guarded_memory;
mod head;
mod isa;
#[cfg(target_arch = "x86_64")]
#[cfg_attr(
    not(all(test, target_os = "linux")),
    expect(dead_code, reason = "the driver takes it up once its panels are made of steps")
)]
mod kernels_amx;
#[cfg(target_arch = "x86_64")]
mod kernels_avx2;
#[cfg(target_arch = "x86_64")]
mod kernels_avx512;
mod kernels_portable;
mod linear;
mod math;
mod pack;
#[cfg(target_arch = "x86_64")]
#[cfg_attr(not(all(test, target_os = "linux")), expect(dead_code, reason = "as kernels_amx"))]
mod pack_amx;
mod workers;

use std::fmt;

pub use isa::{FT_CPU, Isa};

use crate::backend::{
    AdamWArgs, AttentionArgs, AttentionOutput, Backend, ComputeError, HeadOutput, LinearArgs, LinearOutput, RopeTable,
    SidePathGradient,
};
use crate::tensor::Tensor;
use crate::weight::Weight;
use gemm::Kernels;
use isa::VerifiedIsa;
use workers::Workers;

/// What every op needs: the threads and the instructions.
struct Engine {
    workers: Workers,
    isa: VerifiedIsa,
    kernels: &'static Kernels,
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
        Ok(Self { engine: Engine { workers: Workers::new(threads)?, isa, kernels: Kernels::of(isa) } })
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

    fn embedding_forward(&self, table: &Weight, ids: &[u32]) -> Tensor {
        elementwise::embedding_forward(&self.engine, table, ids)
    }

    fn rms_norm_forward(&self, x: &Tensor, gain: &[f32], epsilon: f32) -> Tensor {
        elementwise::rms_norm_forward(&self.engine, x, gain, epsilon)
    }

    fn rms_norm_backward(&self, x: &Tensor, gain: &[f32], epsilon: f32, dy: &Tensor) -> Tensor {
        elementwise::rms_norm_backward(&self.engine, x, gain, epsilon, dy)
    }

    fn rope_forward(&self, x: &mut Tensor, positions: &[u32], table: &RopeTable) {
        elementwise::rotate(&self.engine, x, positions, table, 1.0);
    }

    fn rope_backward(&self, dx: &mut Tensor, positions: &[u32], table: &RopeTable) {
        elementwise::rotate(&self.engine, dx, positions, table, -1.0);
    }

    fn linear_forward(&self, x: &Tensor, args: &LinearArgs) -> LinearOutput {
        linear::linear_forward(&self.engine, x, args)
    }

    fn linear_backward(
        &self,
        x: &Tensor,
        low_rank: Option<&Tensor>,
        dy: &Tensor,
        args: &LinearArgs,
        gradient: Option<SidePathGradient>,
        want_dx: bool,
    ) -> Option<Tensor> {
        linear::linear_backward(&self.engine, x, low_rank, dy, args, gradient, want_dx)
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

    fn adamw(&self, parameter: &mut [f32], g: &[f32], m: &mut [f32], v: &mut [f32], args: &AdamWArgs) {
        elementwise::adamw(&self.engine, parameter, g, m, v, args);
    }

    fn sum_squares(&self, values: &[f32]) -> f64 {
        elementwise::sum_squares(&self.engine, values)
    }
}
