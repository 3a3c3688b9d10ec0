use std::panic::AssertUnwindSafe;

use super::*;
use crate::cpu::guarded_memory::{Guarded, Side};
use crate::cpu::pack::Layout;
use crate::cpu::pack::PackArgs;
use crate::rng;
use crate::weight::Element;

/// Whether the kernel can run here, on the processor or in the emulator; says so if it cannot.
fn ready() -> bool {
    #[cfg(feature = "amx-emulator")]
    let ready = crate::cpu::amx_emulator::install();
    #[cfg(not(feature = "amx-emulator"))]
    let ready = is_available();
    if !ready {
        println!("SKIPPED: this machine lacks AMX or its emulator (feature amx-emulator, AVX-512 BF16)");
    }
    ready
}

fn as_f32(bf16: u16) -> f32 {
    f32::from_bits(u32::from(bf16) << 16)
}

/// Two factors as bf16: `left[row][k]`, `right[k][col]`.
struct Factors {
    rows: usize,
    cols: usize,
    k: usize,
    left: Vec<u16>,
    right: Vec<u16>,
}

impl Factors {
    fn new(rows: usize, cols: usize, k: usize, bits: impl Fn(u64) -> u16) -> Self {
        let draw = |seed: u64, len: usize| (0..len as u64).map(|i| bits(rng::key(&[seed, i]))).collect();
        Self { rows, cols, k, left: draw(1, rows * k), right: draw(2, k * cols) }
    }

    fn ordinary(rows: usize, cols: usize, k: usize) -> Self {
        Self::new(rows, cols, k, |bits| half::bf16::from_f32(rng::uniform_f32(bits) * 4.0 - 2.0).to_bits())
    }

    fn steps(&self) -> usize {
        self.k.div_ceil(32) * 16
    }

    fn height(&self) -> usize {
        self.rows.next_multiple_of(16)
    }

    fn width(&self) -> usize {
        self.cols.next_multiple_of(16)
    }

    fn left_panel(&self) -> Vec<u32> {
        let mut panel = vec![0u32; self.steps() * self.height()];
        for row in 0..self.rows {
            for k in 0..self.k {
                let (tile, step) = (k / 32, k % 32 / 2);
                panel[(tile * self.height() + row) * 16 + step] |=
                    u32::from(self.left[row * self.k + k]) << (k % 2 * 16);
            }
        }
        panel
    }

    fn right_panel(&self) -> Vec<u32> {
        let mut panel = vec![0u32; self.steps() * self.width()];
        for k in 0..self.k {
            for col in 0..self.cols {
                panel[k / 2 * self.width() + col] |= u32::from(self.right[k * self.cols + col]) << (k % 2 * 16);
            }
        }
        panel
    }

    /// The product by plain sums in `f64`, and the sum of the absolute values.
    fn exact(&self, row: usize, col: usize) -> (f64, f64) {
        (0..self.k).fold((0.0, 0.0), |(sum, absolute), k| {
            let product =
                f64::from(as_f32(self.left[row * self.k + k])) * f64::from(as_f32(self.right[k * self.cols + col]));
            (sum + product, absolute + product.abs())
        })
    }
}

/// The tile instructions in scalar Rust, on panels: `[rows][cols]`.
mod model {
    use super::*;

    fn flushed(value: f32) -> f32 {
        if value.is_subnormal() { 0.0f32.copysign(value) } else { value }
    }

    /// `a * b + c`, rounded once to the nearest even; denormal inputs and results are zero. A result counts as denormal
    /// if, rounded to 24 bits, it lies below the smallest normal number.
    fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
        let (a, b, c) = (flushed(a), flushed(b), flushed(c));
        let result = a.mul_add(b, c);
        let smallest = f64::from(f32::MIN_POSITIVE);
        let rounds_up_to_smallest = smallest * (1.0 - 2f64.powi(-25));
        let exact = f64::from(a) * f64::from(b) + f64::from(c);
        if exact.abs() < rounds_up_to_smallest { 0.0f32.copysign(result) } else { result }
    }

    pub(super) fn multiply(factors: &Factors, left: &[u32], right: &[u32]) -> Vec<f32> {
        let (height, width) = (factors.height(), factors.width());
        let mut sums = vec![0.0; factors.rows * factors.cols];
        for row in 0..factors.rows {
            for col in 0..factors.cols {
                let sum = &mut sums[row * factors.cols + col];
                for tile in 0..factors.steps() / 16 {
                    let (mut even, mut odd) = (0.0, 0.0);
                    for step in 0..16 {
                        let a = left[(tile * height + row) * 16 + step];
                        let b = right[(tile * 16 + step) * width + col];
                        even = multiply_add(as_f32(a as u16), as_f32(b as u16), even);
                        odd = multiply_add(as_f32((a >> 16) as u16), as_f32((b >> 16) as u16), odd);
                    }
                    *sum = multiply_add(*sum, 1.0, multiply_add(even, 1.0, odd));
                }
            }
        }
        sums
    }
}

/// Runs the kernel on panels between forbidden pages, into a C between forbidden pages whose gaps must stay as they
/// were; returns C without the gaps.
fn run(
    factors: &Factors,
    (left, right): (&[u32], &[u32]),
    c: &[f32],
    c_stride: usize,
    (alpha, add): (f32, bool),
    side: Side,
) -> Vec<f32> {
    const GAP: f32 = 12345.678;
    let (rows, cols) = (factors.rows, factors.cols);
    let (left, right) = (Guarded::new(left, side), Guarded::new(right, side));
    let mut around = vec![GAP; (rows - 1) * c_stride + cols];
    for row in 0..rows {
        around[row * c_stride..][..cols].copy_from_slice(&c[row * cols..][..cols]);
    }
    let target = Guarded::new(&around, side);
    let args = TileArgs {
        steps: factors.steps(),
        a: left.pointer().cast(),
        b: right.pointer().cast(),
        c: target.pointer().cast(),
        c_stride,
        cols,
        alpha,
        add,
    };
    let session = TileSession::begin();
    // SAFETY: panels and C have the sizes of the factors, and the session is open.
    unsafe { tile(rows, &args) };
    drop(session);
    let mut got = Vec::new();
    for (row, values) in target.get::<f32>().chunks(c_stride).enumerate() {
        got.extend_from_slice(&values[..cols]);
        assert!(values[cols..].iter().all(|&value| value == GAP), "row {row} of {rows} x {cols}: past its end");
    }
    got
}

fn assert_same_bits(got: &[f32], expected: &[f32], case: &str) {
    assert_eq!(got.len(), expected.len(), "{case}");
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
        assert!(same, "{case}: element {i} is {got:e} ({:08x}), not {expected:e}", got.to_bits());
    }
}

const ROW_COUNTS: [usize; 7] = [1, 2, 15, 16, 17, 31, 32];
const COL_COUNTS: [usize; 6] = [1, 15, 16, 17, 31, 32];

#[test]
fn products_are_those_of_the_model_to_the_bit_and_close_to_f64() {
    if !ready() {
        return;
    }
    for k in [1, 31, 32, 33, 64, 511, 512, 513] {
        for rows in ROW_COUNTS {
            for cols in COL_COUNTS {
                let factors = Factors::ordinary(rows, cols, k);
                let (left, right) = (factors.left_panel(), factors.right_panel());
                let sums = model::multiply(&factors, &left, &right);
                let before: Vec<f32> = (0..rows * cols).map(|i| i as f32 * 0.37 - 50.0).collect();
                for (alpha, add, gap, side) in [
                    (1.0, false, 0, Side::Back),
                    (1.0, true, 3, Side::Back),
                    (-0.3, false, 17, Side::Front),
                    (2.5, true, 0, Side::Front),
                ] {
                    let case = format!("{rows} x {cols} x {k}, alpha {alpha}, add {add}");
                    let got = run(&factors, (&left, &right), &before, cols + gap, (alpha, add), side);
                    let start = |i: usize| if add { before[i] } else { 0.0 };
                    let expected: Vec<f32> = (0..rows * cols)
                        .map(|i| if add { alpha.mul_add(sums[i], before[i]) } else { alpha * sums[i] })
                        .collect();
                    assert_same_bits(&got, &expected, &case);
                    for row in 0..rows {
                        for col in 0..cols {
                            let i = row * cols + col;
                            let (sum, absolute) = factors.exact(row, col);
                            let exact = f64::from(alpha) * sum + f64::from(start(i));
                            let size = f64::from(alpha.abs()) * absolute + f64::from(start(i).abs());
                            // Each of the roundings (16 in a chain, k / 32 in the sum, a few at its end) is at most
                            // half an ulp of a partial sum, and these are no larger than the absolute values' sum.
                            let roundings = (20 + k / 32) as f64;
                            let tolerance = roundings * f64::from(f32::EPSILON) / 2.0 * size;
                            let error = (f64::from(got[i]) - exact).abs();
                            assert!(
                                error <= tolerance,
                                "{case}: ({row}, {col}) off by {error:e}, allowed {tolerance:e}"
                            );
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn any_bits_are_those_of_the_model() {
    if !ready() {
        return;
    }
    for (rows, cols, k) in [(32, 32, 64), (17, 31, 96), (16, 16, 33)] {
        for (name, draw) in [
            ("any", (|bits| bits as u16) as fn(u64) -> u16),
            ("finite and small", |bits| (bits as u16 & 0x807f) | ((56 + (bits >> 20) % 12) as u16) << 7),
            ("denormal or one", |bits| if bits >> 30 & 1 == 0 { bits as u16 & 0x807f } else { 0x3f80 }),
        ] {
            let factors = Factors::new(rows, cols, k, draw);
            let (left, right) = (factors.left_panel(), factors.right_panel());
            let expected = model::multiply(&factors, &left, &right);
            let zeros = vec![0.0; rows * cols];
            let got = run(&factors, (&left, &right), &zeros, cols, (1.0, false), Side::Back);
            assert_same_bits(&got, &expected, name);
        }
    }
}

#[test]
fn a_row_does_not_depend_on_the_others() {
    if !ready() {
        return;
    }
    let whole = Factors::ordinary(32, 32, 200);
    let zeros = vec![0.0; 32 * 32];
    let c = run(&whole, (&whole.left_panel(), &whole.right_panel()), &zeros, 32, (1.0, false), Side::Back);
    for (rows, cols) in [(32, 16), (16, 32), (16, 16), (1, 1), (3, 20)] {
        let part = Factors {
            rows,
            cols,
            k: whole.k,
            left: whole.left[..rows * whole.k].to_vec(),
            right: whole.right.chunks(32).flat_map(|row| row[..cols].to_vec()).collect(),
        };
        let got = run(&part, (&part.left_panel(), &part.right_panel()), &zeros, cols, (1.0, false), Side::Back);
        let expected: Vec<f32> = c.chunks(32).take(rows).flat_map(|row| row[..cols].to_vec()).collect();
        assert_same_bits(&got, &expected, &format!("{rows} x {cols}"));
    }
}

#[test]
fn the_packer_and_the_kernel_fit() {
    if !ready() {
        return;
    }
    for (rows, cols, k) in [(32, 32, 512), (5, 17, 45)] {
        let factors = Factors::ordinary(rows, cols, k);
        let source: Vec<f32> = factors.left.iter().map(|&bits| as_f32(bits)).collect();
        let mut panel = vec![u32::MAX; factors.height() * LEFT.steps(k)];
        let args = PackArgs {
            source: source.as_ptr().cast(),
            dtype: Element::F32,
            layout: Layout::LanesMajor,
            stride: k,
            lanes: rows,
            width: factors.height(),
            k,
            ahead: 0,
            panel: panel.as_mut_ptr(),
        };
        // SAFETY: the source holds rows x k values, the panel what its length function says.
        unsafe { pack_left(&args) };
        let right = factors.right_panel();
        let zeros = vec![0.0; rows * cols];
        let got = run(&factors, (&panel, &right), &zeros, cols, (1.0, false), Side::Back);
        assert_same_bits(&got, &model::multiply(&factors, &factors.left_panel(), &right), "packed");
    }
}

#[test]
fn threads_have_registers_of_their_own() {
    if !ready() {
        return;
    }
    std::thread::scope(|scope| {
        for thread in 0..8 {
            scope.spawn(move || {
                let _outer = TileSession::begin();
                for round in 0..20 {
                    let factors = Factors::ordinary(32 - thread, 17 + thread, 100 + round);
                    let (left, right) = (factors.left_panel(), factors.right_panel());
                    let expected = model::multiply(&factors, &left, &right);
                    let zeros = vec![0.0; expected.len()];
                    // Inside, a session of its own begins and ends; this one must survive that.
                    let got = run(&factors, (&left, &right), &zeros, factors.cols, (1.0, false), Side::Back);
                    assert_same_bits(&got, &expected, &format!("thread {thread}, round {round}"));
                }
            });
        }
    });
}

#[test]
fn steps_must_fill_tiles() {
    if !has_vector_instructions() {
        println!("SKIPPED: this machine lacks AVX-512 BF16");
        return;
    }
    for steps in [0, 24] {
        let args = TileArgs {
            steps,
            a: std::ptr::null(),
            b: std::ptr::null(),
            c: std::ptr::null_mut(),
            c_stride: 1,
            cols: 1,
            alpha: 1.0,
            add: false,
        };
        // SAFETY: the number of steps is checked before anything is read.
        let refused = std::panic::catch_unwind(AssertUnwindSafe(|| unsafe { tile(1, &args) }));
        assert!(refused.is_err(), "{steps} steps");
    }
}

/// Seconds that this thread has run on a processor: other work on the machine does not enter.
fn thread_seconds() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the system writes the struct.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) }, 0);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// On a processor with AMX, the rate of the 2 x 2 loop; in the emulator, what an instruction costs:
/// `cargo test --release -p attune-compute --features amx-emulator kernels_amx -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn rate_of_the_kernel() {
    if !ready() {
        return;
    }
    let native = has_tiles();
    // A left slab of 512 rows x 512 k and one right panel, as in the driver.
    let (row_panels, steps) = (16, 256);
    let left = vec![0x3f80_3f80u32; row_panels * steps * ROWS + TILE];
    let right = vec![0x3f80_3f80u32; steps * COLS + TILE];
    let mut c = vec![0.0f32; row_panels * ROWS * COLS];
    let (a_offset, b_offset) = (left.as_ptr().align_offset(64), right.as_ptr().align_offset(64));
    let _session = TileSession::begin();
    for (rows, cols) in [(32, 32), (32, 16), (16, 32), (16, 16)] {
        let repeats = if native { 200 } else { 1 };
        let mut times: Vec<f64> = (0..11)
            .map(|_| {
                let start = thread_seconds();
                for _ in 0..repeats {
                    for panel in 0..row_panels {
                        let args = TileArgs {
                            steps,
                            a: left[a_offset + panel * steps * ROWS..].as_ptr(),
                            b: right[b_offset..].as_ptr(),
                            c: c[panel * ROWS * COLS..].as_mut_ptr(),
                            c_stride: COLS,
                            cols,
                            alpha: 1.0,
                            add: true,
                        };
                        // SAFETY: the vectors hold panels of the largest size, and C as many tiles.
                        unsafe { tile(rows, &args) };
                    }
                }
                (thread_seconds() - start) / repeats as f64
            })
            .collect();
        times.sort_by(f64::total_cmp);
        let (tile_rows, tile_cols) = (rows / TILE, cols / TILE);
        let products = tile_rows * tile_cols;
        let per_panel = steps / TILE * (tile_rows + tile_cols + products) + 2 * products;
        let nanoseconds = times[5] * 1e9 / (row_panels * per_panel) as f64;
        let rate = 4.0 * (rows * cols * steps * row_panels) as f64 / times[5] / 1e12;
        let how = if native { "processor" } else { "emulator" };
        println!("{how}: {rows} x {cols}: {rate:.6} TFLOP/s, {nanoseconds:.1} ns an instruction");
    }
}
