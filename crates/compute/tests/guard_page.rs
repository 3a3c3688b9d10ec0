//! Reads and writes past the end of what the caller lends, found by the memory protection: everything borrowed ends
//! right before a page that may not be touched, or begins right after one. A violation ends the test with a signal.
//! This reaches the AVX-512 kernels, which valgrind cannot run.
#![cfg(target_os = "linux")]
#![allow(unsafe_code)]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod common;

use std::ffi::{c_int, c_long, c_void};
use std::sync::Arc;

use attune_compute::{
    AdamWArgs, AttentionArgs, Backend, DType, LinearArgs, SidePath, SidePathGradient, Tensor, Weight,
};
use common::*;

unsafe extern "C" {
    fn mmap(
        address: *mut c_void,
        len: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: c_long,
    ) -> *mut c_void;
    fn mprotect(address: *mut c_void, len: usize, protection: c_int) -> c_int;
    fn munmap(address: *mut c_void, len: usize) -> c_int;
}

/// A multiple of the page size of every Linux.
const PAGE: usize = 1 << 16;

/// Which end of the bytes touches a forbidden page.
#[derive(Debug, Clone, Copy)]
enum Side {
    Front,
    Back,
}

/// Bytes between two forbidden pages.
struct Guarded {
    base: *mut u8,
    mapped: usize,
    start: usize,
    len: usize,
}

// SAFETY: plain memory.
unsafe impl Send for Guarded {}
// SAFETY: plain memory, shared for reading alone.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn new(contents: &[u8], side: Side) -> Self {
        const READ_WRITE: c_int = 3;
        const NONE: c_int = 0;
        const PRIVATE_ANONYMOUS: c_int = 0x22;
        let inner = contents.len().next_multiple_of(PAGE).max(PAGE);
        let mapped = inner + 2 * PAGE;
        let start = match side {
            Side::Front => PAGE,
            Side::Back => PAGE + inner - contents.len(),
        };
        // SAFETY: a new private mapping; its first and last pages lose their permissions, the contents are written
        // between them.
        let base = unsafe {
            let base = mmap(std::ptr::null_mut(), mapped, READ_WRITE, PRIVATE_ANONYMOUS, -1, 0).cast::<u8>();
            assert_ne!(base as isize, -1, "mmap");
            assert_eq!(mprotect(base.cast(), PAGE, NONE), 0, "mprotect");
            assert_eq!(mprotect(base.add(PAGE + inner).cast(), PAGE, NONE), 0, "mprotect");
            std::ptr::copy_nonoverlapping(contents.as_ptr(), base.add(start), contents.len());
            base
        };
        Self { base, mapped, start, len: contents.len() }
    }

    fn floats(values: &[f32], side: Side) -> Self {
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_ne_bytes()).collect();
        Self::new(&bytes, side)
    }

    fn get(&self) -> &[f32] {
        // SAFETY: both borders are multiples of 4 from a page; the memory was written.
        unsafe { std::slice::from_raw_parts(self.base.add(self.start).cast(), self.len / 4) }
    }

    fn get_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, and borrowed alone.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(self.start).cast(), self.len / 4) }
    }
}

impl AsRef<[u8]> for Guarded {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the memory was written and lives as long as this.
        unsafe { std::slice::from_raw_parts(self.base.add(self.start), self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: our own mapping, which nobody borrows any more.
        unsafe { munmap(self.base.cast(), self.mapped) };
    }
}

fn guarded_weight(dtype: DType, rows: usize, cols: usize, side: Side) -> Weight {
    let bytes = Weight::from_f32_as(dtype, rows, cols, &values(3, rows * cols)).bytes().to_vec();
    let range = 0..bytes.len();
    Weight::new(dtype, rows, cols, Arc::new(Guarded::new(&bytes, side)), range)
}

#[test]
fn linear() {
    for side in [Side::Front, Side::Back] {
        for dtype in DTYPES {
            for (tokens, inputs, outputs, rank) in [
                (1, 1, 1, 1),
                (1, 33, 17, 3),
                (1, 100, 64, 2),
                (2, 32, 32, 1),
                (3, 33, 96, 4),
                (4, 271, 40, 5),
                (5, 257, 31, 8),
                (14, 64, 64, 16),
                (15, 300, 33, 17),
                (29, 47, 95, 5),
            ] {
                let weight = guarded_weight(dtype, outputs, inputs, side);
                let (a, b) = (values(1, rank * inputs), values(2, outputs * rank));
                let (a, b) = (Guarded::floats(&a, side), Guarded::floats(&b, side));
                let bias = Guarded::floats(&values(4, outputs), side);
                let mut da = Guarded::floats(&vec![0.0; rank * inputs], side);
                let mut db = Guarded::floats(&vec![0.0; outputs * rank], side);
                let (x, dy) = (tensor(5, tokens, inputs), tensor(6, tokens, outputs));
                let path = SidePath { a: a.get(), b: b.get(), rank, scale: 1.0, dropout: None };
                let args = LinearArgs { weight: &weight, bias: Some(bias.get()), side: Some(path), residual: None };
                for cpu in cpus(1) {
                    let h = cpu.linear_forward(&x, &args).low_rank.unwrap();
                    let gradient = SidePathGradient { da: da.get_mut(), db: db.get_mut() };
                    cpu.linear_backward(&x, Some(&h), &dy, &args, Some(gradient), true);
                    cpu.head_logprobs(&x, &weight, &vec![0; tokens], 0.1, true);
                    cpu.embedding_forward(&weight, &[0, outputs as u32 - 1]);
                }
            }
        }
    }
}

#[test]
fn linear_in_blocks() {
    for side in [Side::Front, Side::Back] {
        for kind in block_types() {
            for (tokens, blocks, outputs) in [(1, 1, 1), (1, 2, 64), (3, 1, 33), (5, 3, 34), (20, 2, 96), (33, 5, 31)] {
                let inputs = blocks * kind.block_len();
                let bytes = block_bytes(kind, 3, outputs, inputs);
                let range = 0..bytes.len();
                let stored = Arc::new(Guarded::new(&bytes, side));
                let weight = Weight::new(DType::Block(kind), outputs, inputs, stored, range);
                let (x, dy) = (tensor(5, tokens, inputs), tensor(6, tokens, outputs));
                let mut weights = vec![weight.clone()];
                if outputs % 2 == 0 {
                    weights.push(weight.with_interleaved_rows(2));
                }
                for weight in &weights {
                    let args = LinearArgs::frozen(weight, None);
                    for cpu in cpus(1) {
                        cpu.linear_forward(&x, &args);
                        cpu.linear_backward(&x, None, &dy, &args, None, true);
                        cpu.embedding_forward(weight, &[0, outputs as u32 - 1]);
                    }
                }
            }
        }
    }
}

#[test]
fn attention_cached() {
    for side in [Side::Front, Side::Back] {
        for (past, new, heads, kv_heads, d) in
            [(0, 1, 1, 1, 1), (3, 2, 4, 2, 5), (130, 17, 3, 1, 33), (255, 1, 8, 8, 16)]
        {
            let len = (past + new) * kv_heads * d;
            let (k, v) = (Guarded::floats(&values(1, len), side), Guarded::floats(&values(2, len), side));
            let args = AttentionArgs { heads, kv_heads, head_dim: d, scale: 0.3, window: None, segments: &[] };
            for cpu in cpus(1) {
                cpu.attention_cached(&tensor(3, new, heads * d), k.get(), v.get(), past, &args);
            }
        }
    }
}

#[test]
fn flat_ops() {
    let args = AdamWArgs {
        learning_rate: 0.1,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 1,
        gradient_scale: 1.0,
    };
    for side in [Side::Front, Side::Back] {
        for len in SIZES {
            let mut parts: Vec<Guarded> =
                (0..4).map(|seed| Guarded::floats(&absolute(&values(seed, len)), side)).collect();
            let [parameter, g, m, v] = &mut parts[..] else { unreachable!() };
            for cpu in cpus(1) {
                cpu.adamw(parameter.get_mut(), g.get(), m.get_mut(), v.get_mut(), &args);
                cpu.sum_squares(g.get());
                let x: Tensor = tensor(1, 3, len);
                norm_backward(&cpu, &x, g.get(), 1e-5, &cpu.rms_norm_forward(&x, g.get(), 1e-5, DType::F32));
            }
        }
    }
}
