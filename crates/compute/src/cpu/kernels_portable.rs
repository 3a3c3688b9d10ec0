//! Micro-kernels in plain Rust, for the compiler to vectorise: SSE2 on x86-64 without AVX2, NEON on aarch64.
#![allow(unsafe_code)]

use super::gemm::{Kernels, Session, TileArgs};
use super::pack::{Arithmetic, Packer, PanelOrder, pack_portable};
use super::stage;

// Accumulators must fit the registers: aarch64 has 32 of 4 lanes (6 x 16 takes 24), x86-64 has 16 (4 x 8 takes 8; a
// taller tile would spill, because SSE2 also needs a register per product).
#[cfg(target_arch = "aarch64")]
const MR: usize = 6;
#[cfg(target_arch = "aarch64")]
const NR: usize = 16;
#[cfg(not(target_arch = "aarch64"))]
const MR: usize = 4;
#[cfg(not(target_arch = "aarch64"))]
const NR: usize = 8;

const PACKER: Packer =
    Packer { pack: pack_portable, arithmetic: Arithmetic::F32, order: PanelOrder::StepsMajor, step_unit: 1 };

pub(super) static KERNELS: Kernels = Kernels {
    mr: MR,
    row_unit: 1,
    nr: NR,
    lanes: NR,
    tile,
    left: PACKER,
    right: PACKER,
    decoder: &stage::PORTABLE,
    blocks: None,
    direct: None,
    session: Session::NONE,
};

/// # Safety
/// As [`super::gemm::TileFn`].
unsafe fn tile(rows: usize, args: &TileArgs) {
    // SAFETY: by the caller's promise; `rows` is the height of the left panel.
    unsafe {
        match rows {
            1 => tile_of::<1>(args),
            2 => tile_of::<2>(args),
            3 => tile_of::<3>(args),
            4 => tile_of::<4>(args),
            5 if MR >= 5 => tile_of::<5>(args),
            6 if MR >= 6 => tile_of::<6>(args),
            _ => unreachable!("a tile of {rows} rows"),
        }
    }
}

/// `acc + a * b`, with one rounding where the baseline has it.
#[inline(always)]
fn multiply_add(a: f32, b: f32, acc: f32) -> f32 {
    if cfg!(target_arch = "aarch64") { a.mul_add(b, acc) } else { acc + a * b }
}

/// # Safety
/// As [`super::gemm::TileFn`], with a left panel of `R` rows.
unsafe fn tile_of<const R: usize>(args: &TileArgs) {
    let (a, b) = (args.a.cast::<f32>(), args.b.cast::<f32>());
    // SAFETY: the panels hold as many steps of R and NR values by the caller's promise.
    let (a, b) =
        unsafe { (std::slice::from_raw_parts(a, args.steps * R), std::slice::from_raw_parts(b, args.steps * NR)) };
    let mut sums = [[0.0f32; NR]; R];
    for (a, b) in a.as_chunks::<R>().0.iter().zip(b.as_chunks::<NR>().0) {
        for r in 0..R {
            for n in 0..NR {
                sums[r][n] = multiply_add(a[r], b[n], sums[r][n]);
            }
        }
    }
    for (r, sums) in sums.iter().enumerate() {
        // SAFETY: row r of C has `cols` values by the caller's promise, and nobody else touches them now.
        let c = unsafe { std::slice::from_raw_parts_mut(args.c.add(r * args.c_stride), args.cols) };
        for (c, &sum) in c.iter_mut().zip(sums) {
            *c = if args.add { multiply_add(args.alpha, sum, *c) } else { args.alpha * sum };
        }
    }
}
