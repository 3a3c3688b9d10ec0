//! Micro-kernel for AMX: C tiles of 32 x 32, from factors in bf16 and sums in f32.
//!
//! # Roles of the tile registers
//! A tile register holds 16 rows of 64 bytes. `tdpbf16ps` adds to a tile of C (16 x 16 f32) the product of a tile of the
//! left factor (16 rows x 32 k) and one of the right factor (16 pairs of k x 16 columns): 16 steps of k, a step being
//! one pair of bf16 in 32 bits.
//!
//! ```text
//!                                      tmm6        tmm7         right panel [steps][width]: a tile is 16 rows
//!                                   [ columns ][ columns ]      of 64 bytes that lie 4 * width bytes apart
//!   tmm4  [ rows  0..16 x 32 k ]       tmm0        tmm1
//!   tmm5  [ rows 16..32 x 32 k ]       tmm2        tmm3
//!   left panel [steps / 16][height][16]: a tile is 1 KiB in one piece
//! ```
//!
//! # Why 2 x 2
//! Of eight registers, four sums and two tiles of either factor are the most that fit. 16 steps take 4 loads of 1 KiB,
//! 32 cycles at two cache lines a cycle, beside 4 products of 16 cycles each: 64. So the products set the pace. One row
//! of tiles (1 x 4) would take 5 loads for 4 products; 1 x 1 takes 2 loads, 16 cycles, for one product, but has to wait
//! for it: a product's sum is ready after 52 cycles. Products on one sum must therefore lie 4 products apart, as they do
//! in the loop for 2 x 2. The lower and narrower variants below are for ragged edges: with 2 products or 1 in those 52
//! cycles they reach 62 % or 31 %. (Cycle counts: Intel's optimization manual; not measured here.)
//!
//! # Blocking that follows, for the driver
//! - Sum dimension cut at 512 k (256 steps): the right panel of 32 columns is 256 x 32 x 4 bytes = 32 KiB and stays in a
//!   first-level cache of 48 KiB, where each left panel reads it once more. Loading and storing C costs 64 stores of
//!   tile rows, 64 loads and at most as many loads and stores of C: some 100 cycles beside the 1024 of the products.
//! - The left slab streams from the second-level cache at 2 KiB in 64 cycles, 32 bytes a cycle, half of that cache's
//!   peak; 512 rows x 512 k are 512 KiB of its 2 MiB. There is no prefetch: a panel is read once, from its beginning to
//!   its end, which the hardware's prefetcher follows, and loads do not wait for the products before them.
//! - Ragged edges: even row panels help nothing here, whole ones do: 48 rows are 32 + 16, not 24 + 24.
//!
//! # Precision
//! Factors are rounded to bf16 (nearest, ties to even). Inside 16 steps, the lower and the upper halves of the pairs are
//! two chains of fused multiply-adds in ascending k that begin at zero; their sum is then added to the tile of C.
//! Denormal numbers count as zero, before and after each operation. All variants sum in this order, so the bits of a row
//! do not depend on how many others there are.
//!
//! # Source
//! Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, `TDPBF16PS`; volume 1, chapter 18
//! (programming with AMX); Linux, `Documentation/arch/x86/xstate.rst` (permission).
#![allow(unsafe_code)]

use std::arch::asm;
use std::arch::x86_64::*;
use std::cell::Cell;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::sync::OnceLock;

use super::blocks_avx512;
use super::gemm::{BlockKernels, Kernels, Session, TileArgs};
use super::kernels_avx512bf16::RIGHT_IN_TILES;
use super::pack::{Arithmetic, Packer, PanelOrder};
use super::pack_amx::pack_left;

/// Rows and columns of a tile register in 32-bit elements, and steps of a product.
pub(super) const TILE: usize = 16;

/// Most rows of a left panel.
pub(super) const ROWS: usize = 2 * TILE;

/// Most columns of a right panel.
pub(super) const COLS: usize = 2 * TILE;

const TILE_BYTES: usize = 1024;

const LEFT: Packer =
    Packer { pack: pack_left, arithmetic: Arithmetic::Bf16, order: PanelOrder::Tiles, step_unit: TILE };

pub(super) static KERNELS: Kernels = Kernels {
    mr: ROWS,
    row_unit: TILE,
    nr: COLS,
    lanes: TILE,
    tile,
    left: LEFT,
    right: RIGHT_IN_TILES,
    decoder: &blocks_avx512::DECODER_BF16,
    blocks: Some(BlockKernels { direct: None, ..blocks_avx512::KERNELS_BF16 }),
    direct: None,
    session: Session { begin: || std::mem::forget(TileSession::begin()), end: || drop(TileSession::open()) },
};

/// Whether this process may use the kernels here: the processor has AMX with bf16 and the vector instructions around it,
/// and the operating system grants the 8 KiB of state. The first call asks for that, for the whole process; it should
/// come before worker threads start, since Linux refuses once a thread has an alternate signal stack that is too small
/// for the larger state.
pub(super) fn is_available() -> bool {
    static NATIVE: OnceLock<bool> = OnceLock::new();
    #[cfg(all(feature = "amx-emulator", target_os = "linux"))]
    if super::amx_emulator::is_installed() {
        return true;
    }
    *NATIVE.get_or_init(|| has_vector_instructions() && has_tiles() && request_permission())
}

/// Whether the vector instructions that the kernel and its packer need are there.
pub(super) fn has_vector_instructions() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
        && is_x86_feature_detected!("avx512bf16")
}

/// Whether the processor has the tile instructions and the operating system saves their registers. To be asked where
/// AVX-512 was found: that implies the leaf of CPUID and the instruction `xgetbv`.
fn has_tiles() -> bool {
    const AMX_BF16: u32 = 1 << 22;
    const AMX_TILE: u32 = 1 << 24;
    const TILE_CONFIG_AND_DATA: u64 = 0b11 << 17;
    let features = __cpuid_count(7, 0).edx;
    // SAFETY: AVX-512 is only reported where the system has switched `xgetbv` on.
    let saved = unsafe { extended_control_register() };
    features & AMX_BF16 != 0 && features & AMX_TILE != 0 && saved & TILE_CONFIG_AND_DATA == TILE_CONFIG_AND_DATA
}

/// # Safety
/// The processor and the system must have XSAVE.
#[target_feature(enable = "xsave")]
unsafe fn extended_control_register() -> u64 {
    // SAFETY: register 0 exists wherever the instruction does.
    unsafe { _xgetbv(0) }
}

#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_long = 18;
    // SAFETY: the call takes two numbers and touches no memory of ours.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA) == 0 }
}

/// Windows 11 and Server 2022 are said to switch tiles on without being asked, macOS never runs on such processors:
/// nobody has tried this kernel on either, so it is off there.
#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    row_bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight registers at their full size.
static FULL_TILES: TileConfig = {
    let (mut row_bytes, mut rows) = ([0; 16], [0; 16]);
    let mut register = 0;
    while register < 8 {
        (row_bytes[register], rows[register]) = (64, TILE as u8);
        register += 1;
    }
    TileConfig { palette: 1, start_row: 0, reserved: [0; 14], row_bytes, rows }
};

thread_local! {
    /// Sessions that are open on this thread.
    static SESSIONS: Cell<usize> = const { Cell::new(0) };
}

/// The time during which this thread's tile registers are set up. The driver holds one around a task.
///
/// Registers that are set up make every switch to another thread save and restore 8 KiB more, and keep a core from
/// its deeper sleep; so a worker that waits for its next task must not keep them. Both ends are one instruction of a few
/// dozen cycles, nothing beside a task. Sessions on one thread nest.
pub(super) struct TileSession {
    /// Belongs to the thread that it began on.
    not_send: PhantomData<*mut ()>,
}

impl TileSession {
    /// Sets up the registers.
    pub(super) fn begin() -> Self {
        assert!(is_available(), "tiles on a machine without them");
        if SESSIONS.get() == 0 {
            // SAFETY: the instruction is there, and reads the 64 bytes of a valid configuration. It sets all tile
            // registers to zero, hence the clobbers.
            unsafe {
                asm!(
                    "ldtilecfg [{}]", in(reg) &raw const FULL_TILES, options(nostack, readonly, preserves_flags),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                );
            }
        }
        SESSIONS.set(SESSIONS.get() + 1);
        Self { not_send: PhantomData }
    }
}

impl TileSession {
    /// The session that was begun on this thread and whose guard was forgotten.
    fn open() -> Self {
        Self { not_send: PhantomData }
    }
}

impl Drop for TileSession {
    fn drop(&mut self) {
        SESSIONS.set(SESSIONS.get() - 1);
        if SESSIONS.get() == 0 {
            // SAFETY: the instruction is there; no tile outlives the block of assembly that filled it.
            unsafe {
                asm!(
                    "tilerelease", options(nostack, nomem, preserves_flags),
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                );
            }
        }
    }
}

/// The sums of a micro-tile, `[rows][16 or 32]`, on their way from the tile registers to C.
#[repr(C, align(64))]
struct Sums(MaybeUninit<[f32; ROWS * COLS]>);

/// Runs the micro-kernel on a left panel of `rows` rows: `[steps / 16][height][16]`, where height is the number of rows
/// rounded up to 16 or 32, with a right panel `[steps][width]`, where width is the number of columns rounded up likewise.
/// Steps are a multiple of 16.
///
/// # Safety
/// The panels hold what [`TileArgs`] says, `1 <= rows <= ROWS`, `1 <= cols <= COLS`, the C tile is writable and nobody
/// else's, [`is_available`] said yes, and a [`TileSession`] is open on this thread.
#[target_feature(enable = "avx512f")]
pub(super) unsafe fn tile(rows: usize, args: &TileArgs) {
    assert!(args.steps > 0 && args.steps.is_multiple_of(TILE), "a panel of {} steps", args.steps);
    debug_assert!((1..=ROWS).contains(&rows) && (1..=COLS).contains(&args.cols), "{rows} x {}", args.cols);
    debug_assert!(SESSIONS.get() > 0, "the tile registers are not set up");
    let mut sums = Sums(MaybeUninit::uninit());
    let target = sums.0.as_mut_ptr().cast();
    // SAFETY: by the caller's promise, with panels of that height and width; the sums hold the largest variant's, and
    // are written by the first call of each pair before the second reads them.
    unsafe {
        match (rows > TILE, args.cols > TILE) {
            (true, true) => {
                multiply_2x2(args, target);
                write_c::<2>(rows, args, target);
            }
            (true, false) => {
                multiply_2x1(args, target);
                write_c::<1>(rows, args, target);
            }
            (false, true) => {
                multiply_1x2(args, target);
                write_c::<2>(rows, args, target);
            }
            (false, false) => {
                multiply_1x1(args, target);
                write_c::<1>(rows, args, target);
            }
        }
    }
}

/// The products of all steps. It is one block of assembly, since the compiler does not know tile registers and keeps
/// nothing in them from one block to the next.
///
/// In the text: `{a}`, `{b}` the two panels, at the present 16 steps; `{line}` 64 bytes, the distance of a left tile's
/// rows; `{pitch}` the width of the right panel in bytes, which is the distance of a right tile's rows and that of the
/// sums'; `{sums}` where they go.
macro_rules! multiply {
    (
        $(#[$doc:meta])*
        fn $name:ident: $rows:literal x $cols:literal;
        zero { $($zero:literal)* }
        step { $($step:literal)* }
        store { $($store:literal)* }
    ) => {
        $(#[$doc])*
        ///
        /// # Safety
        /// As [`tile`], with panels of that many tiles in height and width, and room for as many tiles at `sums`.
        unsafe fn $name(args: &TileArgs, sums: *mut f32) {
            // SAFETY: each of the `steps / 16` rounds reads that many tiles, which the panels hold by the caller's
            // promise; the sums have room; tile registers and flags are clobbers.
            unsafe {
                asm!(
                    $($zero,)*
                    "2:",
                    $($step,)*
                    "add {a}, {a_bytes}",
                    "add {b}, {b_bytes}",
                    "dec {rounds}",
                    "jnz 2b",
                    $($store,)*
                    a = inout(reg) args.a => _,
                    b = inout(reg) args.b => _,
                    rounds = inout(reg) args.steps / TILE => _,
                    line = in(reg) 64usize,
                    pitch = in(reg) $cols * 64usize,
                    sums = in(reg) sums,
                    a_bytes = const $rows * TILE_BYTES,
                    b_bytes = const $cols * TILE_BYTES,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                    out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

multiply! {
    /// 32 rows x 32 columns. Every product but the last of a round follows the load that it waits for.
    fn multiply_2x2: 2 x 2;
    zero { "tilezero tmm0" "tilezero tmm1" "tilezero tmm2" "tilezero tmm3" }
    step {
        "tileloadd tmm4, [{a} + {line}*1]"
        "tileloadd tmm6, [{b} + {pitch}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm7, [{b} + {pitch}*1 + 64]"
        "tdpbf16ps tmm1, tmm4, tmm7"
        "tileloadd tmm5, [{a} + {line}*1 + 1024]"
        "tdpbf16ps tmm2, tmm5, tmm6"
        "tdpbf16ps tmm3, tmm5, tmm7"
    }
    store {
        "tilestored [{sums} + {pitch}*1], tmm0"
        "tilestored [{sums} + {pitch}*1 + 64], tmm1"
        "tilestored [{sums} + {pitch}*1 + 2048], tmm2"
        "tilestored [{sums} + {pitch}*1 + 2112], tmm3"
    }
}

multiply! {
    /// 32 rows x 16 columns.
    fn multiply_2x1: 2 x 1;
    zero { "tilezero tmm0" "tilezero tmm2" }
    step {
        "tileloadd tmm4, [{a} + {line}*1]"
        "tileloadd tmm6, [{b} + {pitch}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm5, [{a} + {line}*1 + 1024]"
        "tdpbf16ps tmm2, tmm5, tmm6"
    }
    store {
        "tilestored [{sums} + {pitch}*1], tmm0"
        "tilestored [{sums} + {pitch}*1 + 1024], tmm2"
    }
}

multiply! {
    /// 16 rows x 32 columns.
    fn multiply_1x2: 1 x 2;
    zero { "tilezero tmm0" "tilezero tmm1" }
    step {
        "tileloadd tmm4, [{a} + {line}*1]"
        "tileloadd tmm6, [{b} + {pitch}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
        "tileloadd tmm7, [{b} + {pitch}*1 + 64]"
        "tdpbf16ps tmm1, tmm4, tmm7"
    }
    store {
        "tilestored [{sums} + {pitch}*1], tmm0"
        "tilestored [{sums} + {pitch}*1 + 64], tmm1"
    }
}

multiply! {
    /// 16 rows x 16 columns.
    fn multiply_1x1: 1 x 1;
    zero { "tilezero tmm0" }
    step {
        "tileloadd tmm4, [{a} + {line}*1]"
        "tileloadd tmm6, [{b} + {pitch}*1]"
        "tdpbf16ps tmm0, tmm4, tmm6"
    }
    store { "tilestored [{sums} + {pitch}*1], tmm0" }
}

/// Products on registers alone, on four sums in turn; returns the number of operations, a multiply-add being two.
pub(super) fn peak_loop() -> f64 {
    const ROUNDS: usize = 4096;
    let _session = TileSession::begin();
    // SAFETY: a session is open, so the instructions are there and all tiles are set up (and zero); tile registers and
    // flags are clobbers.
    unsafe {
        asm!(
            "2:",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {rounds}",
            "jnz 2b",
            rounds = inout(reg) ROUNDS => _,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack, nomem),
        );
    }
    (ROUNDS * 4 * 2 * TILE * TILE * 2 * TILE) as f64
}

/// C from its sums, `[rows][16 V]`.
///
/// # Safety
/// As [`tile`], for the C tile; the sums of these rows were written.
#[target_feature(enable = "avx512f")]
unsafe fn write_c<const V: usize>(rows: usize, args: &TileArgs, sums: *const f32) {
    let alpha = _mm512_set1_ps(args.alpha);
    let whole = args.cols == V * TILE;
    // Only the last vector of a row can be ragged.
    let ragged: __mmask16 = !0 >> (V * TILE - args.cols);
    for row in 0..rows {
        for v in 0..V {
            // SAFETY: row `row` of C has `cols` values by the caller's promise; vectors before the last lie inside them,
            // and the mask ends there.
            unsafe {
                let sum = _mm512_load_ps(sums.add((row * V + v) * TILE));
                let c = args.c.add(row * args.c_stride + v * TILE);
                if whole || v + 1 < V {
                    let value = match args.add {
                        true => _mm512_fmadd_ps(alpha, sum, _mm512_loadu_ps(c)),
                        false => _mm512_mul_ps(alpha, sum),
                    };
                    _mm512_storeu_ps(c, value);
                } else {
                    let value = match args.add {
                        true => _mm512_fmadd_ps(alpha, sum, _mm512_maskz_loadu_ps(ragged, c)),
                        false => _mm512_mul_ps(alpha, sum),
                    };
                    _mm512_mask_storeu_ps(c, ragged, value);
                }
            }
        }
    }
}

#[cfg(test)]
#[cfg(target_os = "linux")]
mod tests;
