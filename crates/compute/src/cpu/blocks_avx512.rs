//! Weights in blocks for AVX-512: decoded in registers, 32 values of a row at a time, on their way into right panels.
//!
//! Four bits (NF4, Q4_0, Q4_K) or five (Q5_K) are an index: what its 16 or 32 values mean in a block is computed once, and
//! every value is one look-up in a register. Where products are `bf16` the table is rounded to it, not the values. Q8_0 and
//! Q6_K have scales instead, which each value is multiplied by. Tables and scales of 16 rows stay in the first-level cache
//! until their part of the rows is done.
//!
//! A product of one row over such weights waits for this and not for memory; so it is what generation's speed is made of.
//!
//! # Precision
//! The `f32` values are those of [`crate::blocks`] to the bit. In `bf16` subnormal numbers become zero, as which the
//! products take them anyway.
#![allow(unsafe_code)]

use std::arch::x86_64::*;
use std::mem::MaybeUninit;
use std::ops::Range;

use half::bf16;

use super::gemm::{BlockKernels, BlockRows, TileArgs};
use super::kernels_avx512::{store_tile, transpose};
use super::kernels_avx512bf16::{multiply_pairs, round};
use super::stage::Decoder;
use crate::blocks::encode::NF4_TABLE;
use crate::blocks::{BlockMatrix, BlockType, GROUP, nf4_group};

/// Rows that are transposed at a time.
const LANES: usize = 16;

/// Groups of a row for which tables are made at a time: those of a cut of 512 values.
const PART_GROUPS: usize = 16;

/// Groups of the blocks that such a part may touch: its own, and those of a block of 8 groups before and after it.
const TABLE_GROUPS: usize = PART_GROUPS + 14;

/// Bytes of a table of 32 `f32`.
const MOST_TABLE_BYTES: usize = 128;

/// Tables or scales of one row, of the blocks that a part touches.
#[repr(C, align(64))]
struct Tables([u8; TABLE_GROUPS * MOST_TABLE_BYTES]);

/// One row of a matrix: its bytes, and how to come by what blocks mean.
#[derive(Clone, Copy)]
struct Row<'a> {
    matrix: &'a BlockMatrix<'a>,
    row: usize,
}

/// Number of the first group whose table is made for a part that begins with `group`: that of a block of 256 values.
const fn first_table(group: usize) -> usize {
    group / 8 * 8
}

/// Half precision to single, by the processor.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
fn half(bytes: &[u8], at: usize) -> f32 {
    let bits = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

/// The scales of up to 16 groups, which stand at the head of each.
#[inline]
#[target_feature(enable = "avx512f,f16c")]
fn halves(bytes: &[u8], groups: &Range<usize>, block_bytes: usize) -> __m512 {
    let mut bits = [0u16; PART_GROUPS];
    for (bits, block) in bits.iter_mut().zip(bytes[groups.start * block_bytes..].chunks_exact(block_bytes)) {
        *bits = u16::from_le_bytes([block[0], block[1]]);
    }
    // SAFETY: the array is as large as a vector.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(bits.as_ptr().cast()) })
}

/// Where tables go: `f32`, or rounded to `bf16`.
#[derive(Clone, Copy)]
enum Form {
    F32,
    Bf16,
}

/// Stores 16 values as a table.
///
/// # Safety
/// `to` has room for them in that form.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn store_bf16(values: __m512, to: *mut u8) {
    // SAFETY: by the caller's promise; the types are as large and differ in name alone.
    unsafe {
        let rounded = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values));
        _mm256_storeu_si256(to.cast(), rounded);
    }
}

/// Stores 16 values as a table in its form.
///
/// # Safety
/// As [`store_bf16`]; with `BF16` the machine has the conversion.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn store<const BF16: bool>(values: __m512, to: *mut u8) {
    // SAFETY: by the caller's promise.
    unsafe {
        match BF16 {
            true => store_bf16(values, to),
            false => _mm512_storeu_ps(to.cast(), values),
        }
    }
}

/// `0, 1, ... 15`, and `16 ... 31` with `from` 16.
#[inline]
#[target_feature(enable = "avx512f")]
fn numbers(from: f32) -> __m512 {
    let first = _mm512_setr_ps(0., 1., 2., 3., 4., 5., 6., 7., 8., 9., 10., 11., 12., 13., 14., 15.);
    _mm512_add_ps(first, _mm512_set1_ps(from))
}

/// `d scale` and `dmin minimum` of the 8 groups of a block of Q4_K or Q5_K, whose 6 bits lie as
/// [`crate::blocks`] says.
#[inline]
#[target_feature(enable = "avx512f,avx2,f16c")]
fn scales_and_minima(block: &[u8]) -> ([f32; 8], [f32; 8]) {
    let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let (first, second, third) = (word(4), word(8), word(12));
    let lower = |six: u32| six & 0x3f3f_3f3f;
    let upper = |four: u32, two: u32| (four & 0x0f0f_0f0f) | (two >> 2 & 0x3030_3030);
    let scales = u64::from(lower(first)) | u64::from(upper(third, first)) << 32;
    let minima = u64::from(lower(second)) | u64::from(upper(third >> 4, second)) << 32;
    let times = |bytes: u64, factor: f32| {
        let numbers = _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(bytes as i64)));
        let mut out = [0.0; 8];
        // SAFETY: the array is as large as a vector.
        unsafe { _mm256_storeu_ps(out.as_mut_ptr(), _mm256_mul_ps(_mm256_set1_ps(factor), numbers)) };
        out
    };
    (times(scales, half(block, 0)), times(minima, half(block, 2)))
}

/// Makes the tables (or scales) of all blocks that `groups` touch, `table_bytes` for each group of 32 values (for NF4 the
/// tables of a block stand at its first group).
///
/// # Safety
/// `to` has room for [`TABLE_GROUPS`] tables, the groups are inside of the row, and at most [`PART_GROUPS`].
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn prepare<const KIND: usize, const BF16: bool>(
    Row { matrix, row }: Row,
    groups: Range<usize>,
    (to, table_bytes): (*mut u8, usize),
) {
    let (bytes, base) = (matrix.row(row), first_table(groups.start));
    let blocks = groups.start / 8..groups.end.div_ceil(8);
    // SAFETY: groups from `base` to the end of the last block touched are at most as many as there is room for.
    let place = |group: usize| unsafe { to.add((group - base) * table_bytes) };
    let kind = BlockType::ALL[KIND];
    match kind {
        BlockType::Q8_0 => {
            let scales = halves(bytes, &groups, 34);
            // SAFETY: 16 scales of 4 bytes from any group of the first block on are in the room for tables.
            unsafe { _mm512_storeu_ps(place(groups.start).cast(), scales) };
        }
        BlockType::Q4_0 => {
            let (values, mut scales) = (numbers(-8.0), [0.0f32; PART_GROUPS]);
            // SAFETY: the array is as large as a vector.
            unsafe { _mm512_storeu_ps(scales.as_mut_ptr(), halves(bytes, &groups, 18)) };
            for (group, &scale) in groups.zip(&scales) {
                // SAFETY: room for a table.
                unsafe { store::<BF16>(_mm512_mul_ps(values, _mm512_set1_ps(scale)), place(group)) };
            }
        }
        BlockType::Q4K | BlockType::Q5K => {
            let block_bytes = kind.block_bytes();
            let count = if kind == BlockType::Q4K { 1 } else { 2 };
            for block in blocks {
                let (scales, minima) = scales_and_minima(&bytes[block * block_bytes..][..block_bytes]);
                let in_block = groups.start.max(block * 8)..groups.end.min(block * 8 + 8);
                for group in in_block {
                    let (scale, minimum) = (_mm512_set1_ps(scales[group % 8]), _mm512_set1_ps(minima[group % 8]));
                    for part in 0..count {
                        let values = _mm512_mul_ps(scale, numbers(16.0 * part as f32));
                        // SAFETY: a table of 32 values has room for two halves.
                        unsafe {
                            let half_place = place(group).add(part * table_bytes / count);
                            store::<BF16>(_mm512_sub_ps(values, minimum), half_place);
                        }
                    }
                }
            }
        }
        BlockType::Q6K => {
            for block in blocks {
                let bytes = &bytes[block * 210..][..210];
                let d = _mm512_set1_ps(half(bytes, 208));
                // SAFETY: 16 scales of a byte stand before d; a block has room for 8 pairs of them.
                unsafe {
                    let scales = _mm512_cvtepi8_epi32(_mm_loadu_si128(bytes.as_ptr().add(192).cast()));
                    _mm512_storeu_ps(place(block * 8).cast(), _mm512_mul_ps(d, _mm512_cvtepi32_ps(scales)));
                }
            }
        }
        BlockType::Nf4 => {
            // SAFETY: the table has 16 values.
            let values = unsafe { _mm512_loadu_ps(NF4_TABLE.as_ptr()) };
            let scales = matrix.nf4_scales(row);
            for block in groups.start / 2..groups.end.div_ceil(2) {
                let scale = _mm512_set1_ps(scales.of_block(block));
                // SAFETY: room for a table.
                unsafe { store::<BF16>(_mm512_mul_ps(values, scale), place(block * 2)) };
            }
        }
        BlockType::Affine(_) => unreachable!("affine groups are decoded strip by strip"),
    }
}

/// Bytes of what [`prepare`] makes for a group.
const fn table_bytes(kind: BlockType, form: Form) -> usize {
    let element = match form {
        Form::F32 => 4,
        Form::Bf16 => 2,
    };
    match kind {
        BlockType::Q8_0 => 4,
        BlockType::Q6K => 8,
        BlockType::Q4_0 | BlockType::Q4K | BlockType::Nf4 => 16 * element,
        BlockType::Q5K => 32 * element,
        BlockType::Affine(_) => panic!("affine groups have no tables"),
    }
}

/// The indices of a group of Q4_K, one a byte; upper bits are anything.
///
/// # Safety
/// The row has that group.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn nibbles(codes: *const u8, group: usize) -> __m256i {
    // SAFETY: two groups share 32 bytes.
    let pairs = unsafe { _mm256_loadu_si256(codes.add(group % 8 / 2 * 32).cast()) };
    _mm256_srl_epi16(pairs, _mm_cvtsi32_si128((group % 2 * 4) as i32))
}

/// The indices of a group of Q5_K, one a byte.
///
/// # Safety
/// `block` is the block of that group.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn q5_k_indices(block: *const u8, group: usize) -> __m256i {
    // SAFETY: 32 bytes of fifth bits stand before the nibbles.
    unsafe {
        let lower = _mm256_and_si256(nibbles(block.add(48), group), _mm256_set1_epi8(15));
        // Bit g of every byte to bit 4; what crosses a byte's border does not reach bit 4 of the other.
        let at = (group % 8) as i32;
        let (left, right) = (_mm_cvtsi32_si128((4 - at).max(0)), _mm_cvtsi32_si128((at - 4).max(0)));
        let fifth = _mm256_loadu_si256(block.add(16).cast());
        let fifth = _mm256_srl_epi16(_mm256_sll_epi16(fifth, left), right);
        _mm256_or_si256(lower, _mm256_and_si256(fifth, _mm256_set1_epi8(16)))
    }
}

/// The codes of a group of Q6_K, as signed bytes.
///
/// # Safety
/// `block` is the block of that group.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn q6_k_codes(block: *const u8, group: usize) -> __m256i {
    let (upper_half, group) = (group % 8 / 4, group % 4);
    // SAFETY: 128 bytes of lower nibbles, 64 of upper pairs.
    unsafe {
        let lower = _mm256_loadu_si256(block.add(upper_half * 64 + group % 2 * 32).cast());
        let lower = _mm256_srl_epi16(lower, _mm_cvtsi32_si128((group / 2 * 4) as i32));
        let lower = _mm256_and_si256(lower, _mm256_set1_epi8(15));
        // Bits 2 g and 2 g + 1 of every byte to bits 4 and 5.
        let at = 2 * group as i32;
        let (left, right) = (_mm_cvtsi32_si128((4 - at).max(0)), _mm_cvtsi32_si128((at - 4).max(0)));
        let upper = _mm256_loadu_si256(block.add(128 + upper_half * 32).cast());
        let upper = _mm256_srl_epi16(_mm256_sll_epi16(upper, left), right);
        let upper = _mm256_and_si256(upper, _mm256_set1_epi8(48));
        _mm256_sub_epi8(_mm256_or_si256(lower, upper), _mm256_set1_epi8(32))
    }
}

/// 32 signed bytes times a scale for each half.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn scaled(codes: __m256i, scales: [f32; 2]) -> [__m512; 2] {
    let halves = [_mm256_castsi256_si128(codes), _mm256_extracti128_si256::<1>(codes)];
    // Written out: the closure of an array's `map` would be compiled without these instructions.
    let lower = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(halves[0]));
    let upper = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(halves[1]));
    [_mm512_mul_ps(lower, _mm512_set1_ps(scales[0])), _mm512_mul_ps(upper, _mm512_set1_ps(scales[1]))]
}

/// Both halves of 32 bytes, one a lane of 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn widened(indices: __m256i) -> [__m512i; 2] {
    let halves = [_mm256_castsi256_si128(indices), _mm256_extracti128_si256::<1>(indices)];
    [_mm512_cvtepu8_epi32(halves[0]), _mm512_cvtepu8_epi32(halves[1])]
}

/// The indices of a group of Q4_0, one a byte; upper bits are anything.
///
/// # Safety
/// `codes` are the 16 bytes of the group.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
unsafe fn q4_0_indices(codes: *const u8) -> __m256i {
    // SAFETY: 16 bytes.
    let pairs = unsafe { _mm_loadu_si128(codes.cast()) };
    _mm256_set_m128i(_mm_srli_epi16::<4>(pairs), pairs)
}

/// The values of a group as `f32`, by the table at `table`.
///
/// # Safety
/// `bytes` are those of a row that has the group; the table is what [`prepare`] made for it.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
unsafe fn load_f32(kind: BlockType, bytes: *const u8, group: usize, table: *const u8) -> [__m512; 2] {
    // SAFETY: by the caller's promise.
    unsafe {
        let look_up = |indices: [__m512i; 2]| {
            let table = _mm512_loadu_ps(table.cast());
            [_mm512_permutexvar_ps(indices[0], table), _mm512_permutexvar_ps(indices[1], table)]
        };
        match kind {
            BlockType::Q8_0 => {
                let scale = table.cast::<f32>().read();
                scaled(_mm256_loadu_si256(bytes.add(group * 34 + 2).cast()), [scale; 2])
            }
            BlockType::Q6K => {
                scaled(q6_k_codes(bytes.add(group / 8 * 210), group), table.cast::<[f32; 2]>().read_unaligned())
            }
            BlockType::Q4_0 => look_up(widened(q4_0_indices(bytes.add(group * 18 + 2)))),
            BlockType::Q4K => look_up(widened(nibbles(bytes.add(group / 8 * 144 + 16), group))),
            BlockType::Q5K => {
                let (first, second) = (_mm512_loadu_ps(table.cast()), _mm512_loadu_ps(table.add(64).cast()));
                let [lower, upper] = widened(q5_k_indices(bytes.add(group / 8 * 176), group));
                [_mm512_permutex2var_ps(first, lower, second), _mm512_permutex2var_ps(first, upper, second)]
            }
            BlockType::Nf4 => {
                let pairs = _mm_loadu_si128(bytes.add(group * 16).cast());
                let upper = _mm_srli_epi16::<4>(pairs);
                let (low, high) = (_mm_unpacklo_epi8(upper, pairs), _mm_unpackhi_epi8(upper, pairs));
                look_up([_mm512_cvtepu8_epi32(low), _mm512_cvtepu8_epi32(high)])
            }
            BlockType::Affine(_) => unreachable!("affine groups are decoded strip by strip"),
        }
    }
}

/// As [`load_f32`], rounded to `bf16`.
///
/// # Safety
/// As there.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn load_bf16(kind: BlockType, bytes: *const u8, group: usize, table: *const u8) -> __m512i {
    // SAFETY: by the caller's promise.
    unsafe {
        // The table stands twice in a register, since an index has five bits there.
        let look_up = |indices: __m512i| {
            let table = _mm512_broadcast_i64x4(_mm256_loadu_si256(table.cast()));
            _mm512_permutexvar_epi16(indices, table)
        };
        match kind {
            BlockType::Q8_0 | BlockType::Q6K => {
                let [lower, upper] = load_f32(kind, bytes, group, table);
                round(lower, upper)
            }
            BlockType::Q4_0 => look_up(_mm512_cvtepu8_epi16(q4_0_indices(bytes.add(group * 18 + 2)))),
            BlockType::Q4K => look_up(_mm512_cvtepu8_epi16(nibbles(bytes.add(group / 8 * 144 + 16), group))),
            BlockType::Q5K => {
                let indices = _mm512_cvtepu8_epi16(q5_k_indices(bytes.add(group / 8 * 176), group));
                _mm512_permutexvar_epi16(indices, _mm512_loadu_si512(table.cast()))
            }
            BlockType::Nf4 => {
                // The upper nibble of a byte is the first of two values.
                let pairs = _mm512_cvtepu8_epi32(_mm_loadu_si128(bytes.add(group * 16).cast()));
                look_up(_mm512_or_si512(_mm512_srli_epi32::<4>(pairs), _mm512_slli_epi32::<16>(pairs)))
            }
            BlockType::Affine(_) => unreachable!("affine groups are decoded strip by strip"),
        }
    }
}

/// The group at which the table of a group stands.
const fn table_of(kind: BlockType, group: usize) -> usize {
    match kind {
        BlockType::Nf4 => group / 2 * 2,
        _ => group,
    }
}

/// Calls `$with` with the number of the type in [`BlockType::ALL`] as a constant, so that it is compiled for each.
macro_rules! per_kind {
    ($kind:expr, $with:ident, $($argument:expr),*) => {
        match $kind {
            BlockType::Q8_0 => $with::<0>($($argument),*),
            BlockType::Q4_0 => $with::<1>($($argument),*),
            BlockType::Q4K => $with::<2>($($argument),*),
            BlockType::Q5K => $with::<3>($($argument),*),
            BlockType::Q6K => $with::<4>($($argument),*),
            BlockType::Nf4 => $with::<5>($($argument),*),
            BlockType::Affine(_) => unreachable!("affine groups are decoded strip by strip"),
        }
    };
}

/// Tables of 16 rows, and where the bytes of these rows are. Lanes that are not there are those of the last row: nobody
/// reads the sums of their columns.
struct Prepared {
    bytes: [*const u8; LANES],
    tables: [*const u8; LANES],
}

/// 16 steps of 16 lanes of a group, whose tables stand `at` bytes behind the first.
///
/// # Safety
/// All lanes have the group, and their tables were made.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")]
unsafe fn columns_bf16<const KIND: usize>(prepared: &Prepared, group: usize, at: usize) -> [__m512i; LANES] {
    let (kind, Prepared { bytes, tables }) = (BlockType::ALL[KIND], prepared);
    // SAFETY: by the caller's promise.
    let of_lane = |lane: usize| unsafe { load_bf16(kind, bytes[lane], group, tables[lane].add(at)) };
    if kind == BlockType::Q8_0 {
        // Has nothing that depends on the group alone, and stays in registers so.
        return transpose([
            of_lane(0),
            of_lane(1),
            of_lane(2),
            of_lane(3),
            of_lane(4),
            of_lane(5),
            of_lane(6),
            of_lane(7),
            of_lane(8),
            of_lane(9),
            of_lane(10),
            of_lane(11),
            of_lane(12),
            of_lane(13),
            of_lane(14),
            of_lane(15),
        ]);
    }
    let mut lanes = [_mm512_setzero_si512(); LANES];
    for lane in 0..LANES {
        lanes[lane] = of_lane(lane);
    }
    transpose(lanes)
}

/// # Safety
/// As [`prepare`], for every row.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn prepare_rows<const KIND: usize, const BF16: bool>(
    part: &BlockRows,
    first_lane: usize,
    groups: &Range<usize>,
    (to, table_bytes): (*mut u8, usize),
) -> Prepared {
    let mut prepared = Prepared { bytes: [std::ptr::null(); LANES], tables: [std::ptr::null(); LANES] };
    let kind = BlockType::ALL[KIND];
    let byte_of = |group: usize| group * GROUP / kind.block_len() * kind.block_bytes();
    let part_bytes = byte_of(groups.end) - byte_of(groups.start);
    for lane in 0..LANES {
        let lane_in_part = first_lane + lane;
        let Some(&row) = part.rows.get(lane_in_part) else {
            (prepared.bytes[lane], prepared.tables[lane]) = (prepared.bytes[lane - 1], prepared.tables[lane - 1]);
            continue;
        };
        let bytes = part.matrix.row(row).as_ptr();
        // SAFETY: the buffer has room for the tables of 16 rows; a prefetch has no effect but on the caches.
        unsafe {
            let to = to.add(lane * TABLE_GROUPS * table_bytes);
            prepare::<KIND, BF16>(Row { matrix: part.matrix, row }, groups.clone(), (to, table_bytes));
            (prepared.bytes[lane], prepared.tables[lane]) = (bytes, to);
            if part.ahead != 0 {
                let next = bytes.wrapping_add(byte_of(groups.start)).wrapping_offset(part.ahead);
                for line in (0..part_bytes).step_by(64) {
                    _mm_prefetch::<_MM_HINT_T0>(next.wrapping_add(line).cast());
                }
            }
        }
    }
    prepared
}

/// Fills a right panel of `bf16` pairs from blocks.
///
/// # Safety
/// The rows and groups are inside of the matrix, there is one row at least; the panel has `width` times 16 steps for each
/// group, `width` is the number of rows filled up to a multiple of 16; the machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c")]
unsafe fn pack_bf16(part: &BlockRows, panel: *mut u32) {
    // SAFETY: by the caller's promise.
    unsafe { per_kind!(part.matrix.kind(), pack_bf16_of, part, panel) }
}

/// # Safety
/// As [`pack_bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c")]
unsafe fn pack_bf16_of<const KIND: usize>(part: &BlockRows, panel: *mut u32) {
    let kind = BlockType::ALL[KIND];
    let bytes_of_table = const { table_bytes(BlockType::ALL[KIND], Form::Bf16) };
    let mut tables = MaybeUninit::<[Tables; LANES]>::uninit();
    for first_lane in (0..part.width).step_by(LANES) {
        for start in part.groups.clone().step_by(PART_GROUPS) {
            let groups = start..part.groups.end.min(start + PART_GROUPS);
            // SAFETY: the tables have room; blocks of 16 lanes and 16 steps lie inside of the panel.
            unsafe {
                let to = (tables.as_mut_ptr().cast(), bytes_of_table);
                let prepared = prepare_rows::<KIND, true>(part, first_lane, &groups, to);
                for group in groups.clone() {
                    let at = (table_of(kind, group) - first_table(groups.start)) * bytes_of_table;
                    let columns = columns_bf16::<KIND>(&prepared, group, at);
                    let target = panel.add((group - part.groups.start) * LANES * part.width + first_lane);
                    for step in 0..LANES {
                        _mm512_storeu_si512(target.add(step * part.width).cast(), columns[step]);
                    }
                }
            }
        }
    }
}

/// Most rows of the left factor that [`multiply_bf16`] takes: with 8 sums and 16 columns there is room for the rest.
const MOST_DIRECT_ROWS: usize = 8;

/// A product of few rows with the lanes of a right panel that is never made: blocks of 16 lanes x 16 pairs are decoded,
/// transposed and used up in registers. The sums are those of the micro-kernel to the bit.
///
/// # Safety
/// As [`super::gemm::BlockProductFn`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c")]
unsafe fn multiply_bf16(rows: usize, args: &TileArgs, part: &BlockRows) {
    // SAFETY: by the caller's promise.
    unsafe { per_kind!(part.matrix.kind(), multiply_bf16_of, rows, args, part) }
}

/// # Safety
/// As [`multiply_bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c")]
unsafe fn multiply_bf16_of<const KIND: usize>(rows: usize, args: &TileArgs, part: &BlockRows) {
    let kind = BlockType::ALL[KIND];
    let bytes_of_table = const { table_bytes(BlockType::ALL[KIND], Form::Bf16) };
    let mut tables = MaybeUninit::<[[Tables; LANES]; 2]>::uninit();
    let mut sums = [[_mm512_setzero_ps(); 2]; MOST_DIRECT_ROWS];
    for start in part.groups.clone().step_by(PART_GROUPS) {
        let groups = start..part.groups.end.min(start + PART_GROUPS);
        // SAFETY: the tables have room; the left panel has `rows` values for each of 16 steps of a group.
        unsafe {
            let prepared: [Prepared; 2] = std::array::from_fn(|half| {
                let to = tables.as_mut_ptr().cast::<[Tables; LANES]>().add(half).cast();
                prepare_rows::<KIND, true>(part, half * LANES, &groups, (to, bytes_of_table))
            });
            for group in groups.clone() {
                let at = (table_of(kind, group) - first_table(groups.start)) * bytes_of_table;
                let left = args.a.add((group - part.groups.start) * LANES * rows);
                for half in 0..2 {
                    let columns = columns_bf16::<KIND>(&prepared[half], group, at);
                    macro_rules! add_to {
                        ($($r:literal)*) => {
                            match rows {
                                $($r => add_columns::<$r>(&mut sums, half, left, &columns),)*
                                _ => unreachable!("a direct tile of {rows} rows"),
                            }
                        };
                    }
                    add_to!(1 2 3 4 5 6 7 8);
                }
            }
        }
    }
    macro_rules! store {
        ($($r:literal)*) => {
            match rows {
                // SAFETY: as for the whole.
                $($r => unsafe { store_tile::<$r, 2>(args, &std::array::from_fn(|row| sums[row])) },)*
                _ => unreachable!("a direct tile of {rows} rows"),
            }
        };
    }
    store!(1 2 3 4 5 6 7 8);
}

/// Adds 16 steps of 16 lanes.
///
/// # Safety
/// The left panel has `R` values for each of them.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
unsafe fn add_columns<const R: usize>(
    sums: &mut [[__m512; 2]; MOST_DIRECT_ROWS],
    half: usize,
    left: *const u32,
    columns: &[__m512i; LANES],
) {
    let mut row_sums: [__m512; R] = std::array::from_fn(|row| sums[row][half]);
    for step in 0..LANES {
        for row in 0..R {
            // SAFETY: by the caller's promise.
            let left = unsafe { _mm512_set1_epi32(*left.add(step * R + row) as i32) };
            row_sums[row] = multiply_pairs(row_sums[row], left, columns[step]);
        }
    }
    for row in 0..R {
        sums[row][half] = row_sums[row];
    }
}

/// Fills a right panel of `f32` from blocks.
///
/// # Safety
/// As [`pack_bf16`], with 32 steps for each group.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
pub(super) unsafe fn pack_f32(part: &BlockRows, panel: *mut u32) {
    // SAFETY: by the caller's promise.
    unsafe { per_kind!(part.matrix.kind(), pack_f32_of, part, panel) }
}

/// # Safety
/// As [`pack_f32`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn pack_f32_of<const KIND: usize>(part: &BlockRows, panel: *mut u32) {
    let kind = BlockType::ALL[KIND];
    let bytes_of_table = const { table_bytes(BlockType::ALL[KIND], Form::F32) };
    let mut tables = MaybeUninit::<[Tables; LANES]>::uninit();
    for first_lane in (0..part.width).step_by(LANES) {
        for start in part.groups.clone().step_by(PART_GROUPS) {
            let groups = start..part.groups.end.min(start + PART_GROUPS);
            // SAFETY: as for `bf16`, with two blocks of 16 steps for each group.
            unsafe {
                let to = (tables.as_mut_ptr().cast(), bytes_of_table);
                let Prepared { bytes, tables } = prepare_rows::<KIND, false>(part, first_lane, &groups, to);
                for group in groups.clone() {
                    let at = (table_of(kind, group) - first_table(groups.start)) * bytes_of_table;
                    let mut halves = [[_mm512_setzero_si512(); LANES]; 2];
                    for lane in 0..LANES {
                        let [lower, upper] = load_f32(kind, bytes[lane], group, tables[lane].add(at));
                        halves[0][lane] = _mm512_castps_si512(lower);
                        halves[1][lane] = _mm512_castps_si512(upper);
                    }
                    let target = panel.add((group - part.groups.start) * GROUP * part.width + first_lane);
                    for (half, rows) in halves.into_iter().enumerate() {
                        let columns = transpose(rows);
                        for step in 0..LANES {
                            let step_in_group = half * LANES + step;
                            _mm512_storeu_si512(target.add(step_in_group * part.width).cast(), columns[step]);
                        }
                    }
                }
            }
        }
    }
}

/// Decodes whole groups of a row, from number `first_group` on.
///
/// # Safety
/// The machine has the instructions.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c")]
unsafe fn decode_bf16(matrix: &BlockMatrix, row: usize, first_group: usize, out: &mut [bf16]) {
    if matches!(matrix.kind(), BlockType::Affine(_)) {
        return matrix.decode_groups(row, first_group, out, nf4_group);
    }
    // SAFETY: as here.
    unsafe { per_kind!(matrix.kind(), decode_bf16_of, Row { matrix, row }, first_group, out) }
}

/// # Safety
/// As [`decode_bf16`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,f16c")]
unsafe fn decode_bf16_of<const KIND: usize>(row: Row, first_group: usize, out: &mut [bf16]) {
    let kind = BlockType::ALL[KIND];
    let bytes_of_table = const { table_bytes(BlockType::ALL[KIND], Form::Bf16) };
    let mut tables = MaybeUninit::<Tables>::uninit();
    let bytes = row.matrix.groups_of_row(row.row, first_group, out.len());
    for (part, out) in out.chunks_mut(PART_GROUPS * GROUP).enumerate() {
        let start = first_group + part * PART_GROUPS;
        let groups = start..start + out.len() / GROUP;
        // SAFETY: the row has these groups; the tables have room, and so has `out`.
        unsafe {
            let table: *mut u8 = tables.as_mut_ptr().cast();
            prepare::<KIND, true>(row, groups.clone(), (table, bytes_of_table));
            for (group, out) in groups.zip(out.chunks_exact_mut(GROUP)) {
                let at = (table_of(kind, group) - first_table(start)) * bytes_of_table;
                let values = load_bf16(kind, bytes.as_ptr(), group, table.add(at));
                _mm512_storeu_si512(out.as_mut_ptr().cast(), values);
            }
        }
    }
}

/// As [`decode_bf16`], as `f32`.
///
/// # Safety
/// As there.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn decode_f32(matrix: &BlockMatrix, row: usize, first_group: usize, out: &mut [f32]) {
    if matches!(matrix.kind(), BlockType::Affine(_)) {
        return matrix.decode_groups(row, first_group, out, nf4_group);
    }
    // SAFETY: as here.
    unsafe { per_kind!(matrix.kind(), decode_f32_of, Row { matrix, row }, first_group, out) }
}

/// # Safety
/// As [`decode_f32`].
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,f16c")]
unsafe fn decode_f32_of<const KIND: usize>(row: Row, first_group: usize, out: &mut [f32]) {
    let kind = BlockType::ALL[KIND];
    let bytes_of_table = const { table_bytes(BlockType::ALL[KIND], Form::F32) };
    let mut tables = MaybeUninit::<Tables>::uninit();
    let bytes = row.matrix.groups_of_row(row.row, first_group, out.len());
    for (part, out) in out.chunks_mut(PART_GROUPS * GROUP).enumerate() {
        let start = first_group + part * PART_GROUPS;
        let groups = start..start + out.len() / GROUP;
        // SAFETY: the row has these groups; the tables have room, and so has `out`.
        unsafe {
            let table: *mut u8 = tables.as_mut_ptr().cast();
            prepare::<KIND, false>(row, groups.clone(), (table, bytes_of_table));
            for (group, out) in groups.zip(out.chunks_exact_mut(GROUP)) {
                let at = (table_of(kind, group) - first_table(start)) * bytes_of_table;
                let [lower, upper] = load_f32(kind, bytes.as_ptr(), group, table.add(at));
                _mm512_storeu_ps(out.as_mut_ptr(), lower);
                _mm512_storeu_ps(out.as_mut_ptr().add(LANES), upper);
            }
        }
    }
}

/// For products in `bf16` on registers of 512 bits.
pub(super) const KERNELS_BF16: BlockKernels =
    BlockKernels { pack: pack_bf16, direct: Some((MOST_DIRECT_ROWS, multiply_bf16)) };

/// For products in `f32`.
pub(super) static DECODER_F32: Decoder = Decoder { f32: decode_f32, bf16: super::stage::decode_bf16_portable };

/// For products in `bf16`.
pub(super) static DECODER_BF16: Decoder = Decoder { f32: decode_f32, bf16: decode_bf16 };
