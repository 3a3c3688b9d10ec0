use super::*;
use crate::cpu::guarded_memory::{Guarded, Side};
use crate::cpu::kernels_amx;
use crate::rng;

/// Bytes of `elements` elements: numbers of ordinary size, and every ninth one of any bits at all.
fn source_bytes(dtype: Element, elements: usize, seed: u64) -> Vec<u8> {
    const SPECIAL: [u32; 12] = [
        0x8000_0000, // -0
        0x0000_0001, // denormal
        0x807f_ffff, // the largest denormal, negative
        0x7f80_0000, // infinity
        0x7f7f_ffff, // rounds to infinity
        0x7f80_0001, // signalling NaN, which truncation would make infinite
        0xffc1_2345, // quiet NaN
        0x3f80_8000, // tie to even, down
        0x3f81_8000, // tie to even, up
        0x3f80_8001, // just above a tie
        0x3f80_7fff, // just below a tie
        0x0080_0000, // the smallest normal number
    ];
    (0..elements as u64)
        .flat_map(|i| {
            let bits = rng::mix(seed ^ (i << 32));
            let ordinary = (rng::uniform_f32(bits) - 0.5) * 3.0;
            match (dtype, i % 9) {
                (Element::F32, 0) => SPECIAL[(bits % 12) as usize].to_le_bytes().to_vec(),
                (Element::F32, _) => ordinary.to_le_bytes().to_vec(),
                (_, 0) => (bits as u16).to_le_bytes().to_vec(),
                (Element::Bf16, _) => half::bf16::from_f32(ordinary).to_le_bytes().to_vec(),
                (Element::F16, _) => half::f16::from_f32(ordinary).to_le_bytes().to_vec(),
            }
        })
        .collect()
}

/// The bits of one element as bf16.
fn expected_bf16(dtype: Element, bytes: &[u8], element: usize) -> u16 {
    let half_bits = |at: usize| u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let value = match dtype {
        Element::Bf16 => return half_bits(2 * element),
        Element::F16 => half::f16::from_bits(half_bits(2 * element)).to_f32(),
        Element::F32 => f32::from_le_bytes(std::array::from_fn(|i| bytes[4 * element + i])),
    };
    let value = if value.is_subnormal() { 0.0f32.copysign(value) } else { value };
    half::bf16::from_f32(value).to_bits()
}

struct Case {
    dtype: Element,
    layout: Layout,
    lanes: usize,
    width: usize,
    k: usize,
    /// Elements between the end of a run and the next.
    gap: usize,
}

impl Case {
    fn check(&self, side: Side) {
        let Self { dtype, layout, lanes, width, k, gap } = *self;
        let (outer, inner) = if layout == Layout::LanesMajor { (lanes, k) } else { (k, lanes) };
        let stride = inner + gap;
        let mut bytes = source_bytes(dtype, (outer - 1) * stride + inner, (lanes * 1000 + k) as u64);
        let expected = |step: usize, lane: usize| {
            let half_at = |k_at: usize| match layout {
                _ if lane >= lanes || k_at >= k => 0,
                Layout::LanesMajor => expected_bf16(dtype, &bytes, lane * stride + k_at),
                Layout::KMajor => expected_bf16(dtype, &bytes, k_at * stride + lane),
            };
            u32::from(half_at(2 * step)) | u32::from(half_at(2 * step + 1)) << 16
        };
        let steps = k.div_ceil(32) * 16;
        let mut wanted = Vec::new();
        for tile in 0..steps / 16 {
            for lane in 0..width {
                wanted.extend((0..16).map(|step| expected(16 * tile + step, lane)));
            }
        }
        assert_eq!(wanted.len(), width * k.div_ceil(TILE_K) * TILE);
        // In front, the elements lie at odd addresses.
        let offset = match side {
            Side::Front => 1,
            Side::Back => 0,
        };
        bytes.splice(0..0, vec![0; offset]);
        let source = Guarded::new(&bytes, side);
        let panel = Guarded::new(&vec![0xaaaa_aaaau32; wanted.len()], side);
        for ahead in [0, 4096] {
            let args = PackArgs {
                source: source.pointer().wrapping_add(offset),
                dtype,
                layout,
                stride,
                lanes,
                width,
                k,
                ahead,
                panel: panel.pointer().cast(),
            };
            // SAFETY: source and panel have these sizes; the caller asked for the instructions.
            unsafe { pack_left(&args) };
            let case = format!("{dtype:?} {layout:?} {lanes} of {width} x {k}, stride {stride}, {side:?}");
            assert_eq!(panel.get::<u32>(), wanted, "{case}");
        }
    }
}

#[test]
fn panels_are_the_source_rounded() {
    if !kernels_amx::has_vector_instructions() {
        println!("SKIPPED: this machine lacks AVX-512 BF16");
        return;
    }
    for dtype in [Element::F32, Element::F16, Element::Bf16] {
        for layout in [Layout::LanesMajor, Layout::KMajor] {
            for (lanes, width) in
                [(1, 16), (2, 16), (15, 16), (16, 16), (5, 32), (16, 32), (17, 32), (31, 32), (32, 32)]
            {
                for k in [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 65, 511, 512, 513] {
                    for gap in [0, 3] {
                        for side in [Side::Front, Side::Back] {
                            Case { dtype, layout, lanes, width, k, gap }.check(side);
                        }
                    }
                }
            }
        }
    }
}

/// For LOG.md: `cargo test --release -p attune-compute pack_amx -- --ignored --nocapture`.
#[test]
#[ignore = "measures"]
fn rate_of_packing() {
    if !kernels_amx::has_vector_instructions() {
        println!("SKIPPED: this machine lacks AVX-512 BF16");
        return;
    }
    const ROWS: usize = 512;
    const K: usize = 512;
    for dtype in [Element::F32, Element::Bf16] {
        for layout in [Layout::LanesMajor, Layout::KMajor] {
            let stride = 2048;
            let bytes = vec![0u8; ROWS * stride * dtype.size_bytes()];
            let mut panel = vec![0u32; ROWS * K / 2];
            let mut slab = || {
                for lane in (0..ROWS).step_by(32) {
                    let element = if layout == Layout::LanesMajor { lane * stride } else { lane };
                    let args = PackArgs {
                        source: bytes[element * dtype.size_bytes()..].as_ptr(),
                        dtype,
                        layout,
                        stride,
                        lanes: 32,
                        width: 32,
                        k: K,
                        ahead: 0,
                        panel: panel[lane * K / 2..].as_mut_ptr(),
                    };
                    // SAFETY: the bytes hold 512 rows at that stride, the panel as many.
                    unsafe { pack_left(&args) };
                }
            };
            let mut times: Vec<f64> = (0..51)
                .map(|_| {
                    let start = std::time::Instant::now();
                    slab();
                    start.elapsed().as_secs_f64()
                })
                .collect();
            times.sort_by(f64::total_cmp);
            let per_element = times[25] / (ROWS * K) as f64 * 1e9;
            println!("{dtype:?} {layout:?}: {per_element:.3} ns an element, {:.1} us a slab", times[25] * 1e6);
        }
    }
}
