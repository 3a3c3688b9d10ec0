//! Q4_K, Q5_K and Q6_K: small groups whose scales (and minima) are codes themselves, 256 values a block.
//!
//! The groups of a block are worked on side by side, one a lane, so that no sum crosses lanes, and with 16 lanes two blocks
//! at a time.
//!
//! What is minimised is the plain squared error of a block: the error of a product with inputs that are not correlated.
//!
//! **Never worse than ggml.** Two results are made of every block: what ggml's own fit leads to, computed as it does (to the
//! bit: in `f32`, in its order), and what our search finds from there and from starts of its own. The one whose squared error
//! is smaller is written; so chance, which decides between near neighbours in either search, cannot make a block worse.
//!
//! **Affine groups** (Q4_K, Q5_K; `k_quants_fit.rs`). A group of 32 values x is stored as `s l - m` with codes `l` in `0..=top`;
//! `(s, m)` shall minimise `E = Σ (s l - m - x)²`. For fixed codes that is a linear least-squares problem of two unknowns; for
//! fixed `(s, m)` the best codes are the nearest. Candidates for the codes come from a sweep over steps somewhat finer and
//! coarser than `range / top`; each is solved for `(s, m)` and the best one wins. Then s and m become codes of 6 bits
//! themselves, in units that the block's groups share. Rounding them costs as much as the 4 or 5 bits do in unlucky blocks,
//! so several units are tried, codes and units improved in turn.
//!
//! **Symmetric groups** (Q6_K; `symmetric.rs`). A group of 16 values is `s l` with `l` in `-32..=31`; for fixed codes
//! `s = Σ x l / Σ l²`, and `Σ x² - E = (Σ x l)² / Σ l²` is to be largest. The unit of the scales as above.
//!
//! **Sums in 16 bits.** The search only compares candidates. For that a group's values become integers of 16 bits in units of
//! its range; codes and products of two are then integers, too, two to a lane, and sums exact in any order.

use half::f16;

use super::k_quants_fit::{self, Affine, FiveBits, FourBits, GROUP_LEN, GROUPS};
use super::lanes::{Lanes, MAGIC};
use super::symmetric::{self, SIXTEEN};

/// A block of Q4_K or Q5_K before it is laid out.
struct AffineBlock {
    d: f16,
    dmin: f16,
    scales: [u8; GROUPS],
    minima: [u8; GROUPS],
    codes: [u8; 256],
}

/// Values of the most blocks that are worked on together.
const MOST: usize = 512;

/// `x`, or it and zeros behind it where it is less than lanes hold.
#[inline(always)]
fn whole<'a, L: Lanes>(x: &'a [f32], padded: &'a mut [f32; MOST]) -> &'a [f32] {
    let len = 256 * L::BLOCKS;
    if x.len() == len {
        return x;
    }
    padded.fill(0.0);
    padded[..x.len()].copy_from_slice(x);
    &padded[..len]
}

/// # Shapes
/// Whole blocks: 256 values, 144 bytes.
#[inline(always)]
pub(super) fn q4_k<L: Lanes>(values: &[f32], out: &mut [u8]) {
    let mut padded = [0.0; MOST];
    let blocks = out.as_chunks_mut::<144>().0.chunks_mut(L::BLOCKS);
    for (x, blocks) in values.chunks(256 * L::BLOCKS).zip(blocks) {
        let x = whole::<L>(x, &mut padded);
        let found = found_affine::<FourBits, L>(x);
        for (i, (x, block)) in x.as_chunks::<256>().0.iter().zip(blocks).enumerate() {
            let encoded = affine_block::<FourBits>(x, &found, i);
            write_affine_head(&encoded, &mut block[..16]);
            for (codes, bytes) in encoded.codes.as_chunks::<64>().0.iter().zip(block[16..].as_chunks_mut::<32>().0) {
                for i in 0..32 {
                    bytes[i] = codes[i] | codes[i + 32] << 4;
                }
            }
        }
    }
}

/// # Shapes
/// Whole blocks: 256 values, 176 bytes.
#[inline(always)]
pub(super) fn q5_k<L: Lanes>(values: &[f32], out: &mut [u8]) {
    let mut padded = [0.0; MOST];
    let blocks = out.as_chunks_mut::<176>().0.chunks_mut(L::BLOCKS);
    for (x, blocks) in values.chunks(256 * L::BLOCKS).zip(blocks) {
        let x = whole::<L>(x, &mut padded);
        let found = found_affine::<FiveBits, L>(x);
        for (i, (x, block)) in x.as_chunks::<256>().0.iter().zip(blocks).enumerate() {
            let encoded = affine_block::<FiveBits>(x, &found, i);
            write_affine_head(&encoded, &mut block[..16]);
            let (fifth_bits, nibbles) = block[16..].split_at_mut(32);
            fifth_bits.fill(0);
            let pairs = encoded.codes.as_chunks::<64>().0.iter().zip(nibbles.as_chunks_mut::<32>().0);
            for (pair, (codes, bytes)) in pairs.enumerate() {
                for i in 0..32 {
                    bytes[i] = codes[i] & 15 | codes[i + 32] << 4;
                    fifth_bits[i] |= (codes[i] >> 4 | codes[i + 32] >> 4 << 1) << (2 * pair);
                }
            }
        }
    }
}

/// `d`, `dmin` and the 6-bit codes: of groups 0 to 3 in the lower bits of bytes 0 to 3 (scales) and 4 to 7 (minima); of groups
/// 4 to 7 the lower four bits in bytes 8 to 11 (the scale's in the lower nibble), the upper two above those of groups 0 to 3.
#[inline(always)]
fn write_affine_head(encoded: &AffineBlock, head: &mut [u8]) {
    head[..2].copy_from_slice(&encoded.d.to_le_bytes());
    head[2..4].copy_from_slice(&encoded.dmin.to_le_bytes());
    let codes = &mut head[4..16];
    for group in 0..4 {
        let (low_scale, low_minimum) = (encoded.scales[group], encoded.minima[group]);
        let (high_scale, high_minimum) = (encoded.scales[group + 4], encoded.minima[group + 4]);
        codes[group] = low_scale | high_scale >> 4 << 6;
        codes[group + 4] = low_minimum | high_minimum >> 4 << 6;
        codes[group + 8] = high_scale & 15 | high_minimum << 4;
    }
}

/// The numbers of blocks side by side, one array a kind: `d`, `dmin`, scales and minima.
type AffineNumbers = [[f32; 16]; 4];

/// Ours and ggml's.
#[inline(always)]
fn found_affine<K: Affine, L: Lanes>(values: &[f32]) -> [AffineNumbers; 2] {
    let [ours, theirs] = k_quants_fit::search::<K, L>(values);
    let mut found = [[[0.0; 16]; 4]; 2];
    for (units, numbers) in [ours, theirs].iter().zip(&mut found) {
        units.d.store(&mut numbers[0][..GROUPS * L::BLOCKS]);
        units.dmin.store(&mut numbers[1][..GROUPS * L::BLOCKS]);
        units.scales.store(&mut numbers[2][..GROUPS * L::BLOCKS]);
        units.minima.store(&mut numbers[3][..GROUPS * L::BLOCKS]);
    }
    found
}

/// The better one of what was found for block `i` of those side by side.
#[inline(always)]
fn affine_block<K: Affine>(x: &[f32; 256], found: &[AffineNumbers; 2], i: usize) -> AffineBlock {
    let (ours, error) = affine_codes::<K>(x, &found[0], GROUPS * i);
    let (theirs, their_error) = affine_codes::<K>(x, &found[1], GROUPS * i);
    if their_error < error { theirs } else { ours }
}

/// The codes of a block whose numbers begin at the lane `at`, and its squared error.
#[inline(always)]
fn affine_codes<K: Affine>(
    x: &[f32; 256],
    [d, dmin, scales, minima]: &[[f32; 16]; 4],
    at: usize,
) -> (AffineBlock, f32) {
    let mut block = AffineBlock {
        d: f16::from_f32(d[at]),
        dmin: f16::from_f32(dmin[at]),
        scales: [0; GROUPS],
        minima: [0; GROUPS],
        codes: [0; 256],
    };
    let mut errors = [0.0f32; 8];
    for group in 0..GROUPS {
        block.scales[group] = scales[at + group] as u8;
        block.minima[group] = minima[at + group] as u8;
        let (scale, minimum) = (d[at] * scales[at + group], dmin[at] * minima[at + group]);
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let x = &x[GROUP_LEN * group..][..GROUP_LEN];
        let codes = &mut block.codes[GROUP_LEN * group..][..GROUP_LEN];
        for (x, codes) in x.as_chunks::<8>().0.iter().zip(codes.as_chunks_mut::<8>().0) {
            for lane in 0..8 {
                let (code, bits) = nearest_code((x[lane] + minimum) * inverse, 0.0, f32::from(K::TOP));
                codes[lane] = bits;
                let apart = scale * code - minimum - x[lane];
                errors[lane] += apart * apart;
            }
        }
    }
    (block, errors.iter().sum())
}

/// The nearest integer within bounds, and its lowest eight bits. Clamped first: positions may be larger than what can be
/// rounded so.
#[inline(always)]
fn nearest_code(position: f32, low: f32, high: f32) -> (f32, u8) {
    let position = if position > low { position } else { low };
    let position = if position < high { position } else { high };
    let shifted = position + MAGIC;
    (shifted - MAGIC, shifted.to_bits() as u8)
}

/// # Shapes
/// Whole blocks: 256 values, 210 bytes.
#[inline(always)]
pub(super) fn q6_k<L: Lanes>(values: &[f32], out: &mut [u8]) {
    let mut padded = [0.0; MOST];
    let blocks = out.as_chunks_mut::<210>().0.chunks_mut(L::BLOCKS);
    for (x, blocks) in values.chunks(256 * L::BLOCKS).zip(blocks) {
        let x = whole::<L>(x, &mut padded);
        let [ours, theirs] = symmetric::search::<L>(x);
        let mut found = [[[0.0; 16]; 3]; 2];
        for (units, numbers) in [ours, theirs].iter().zip(&mut found) {
            units.d.store(&mut numbers[0][..8 * L::BLOCKS]);
            units.scales[0].store(&mut numbers[1][..8 * L::BLOCKS]);
            units.scales[1].store(&mut numbers[2][..8 * L::BLOCKS]);
        }
        for (i, (x, block)) in x.as_chunks::<256>().0.iter().zip(blocks).enumerate() {
            let (best, error) = symmetric_codes(x, &found[0], 8 * i);
            let (theirs, their_error) = symmetric_codes(x, &found[1], 8 * i);
            write_symmetric(if their_error < error { &theirs } else { &best }, block);
        }
    }
}

/// A block of Q6_K before it is laid out; codes count from 0.
struct SymmetricBlock {
    d: f16,
    scales: [i8; SIXTEEN],
    codes: [u8; 256],
}

#[inline(always)]
fn write_symmetric(encoded: &SymmetricBlock, block: &mut [u8; 210]) {
    let (nibbles, rest) = block.split_at_mut(128);
    let (pairs, rest) = rest.split_at_mut(64);
    for half in 0..2 {
        let codes = &encoded.codes[128 * half..][..128];
        let (nibbles, pairs) = (&mut nibbles[64 * half..][..64], &mut pairs[32 * half..][..32]);
        for i in 0..32 {
            nibbles[i] = codes[i] & 15 | codes[i + 64] << 4;
            nibbles[i + 32] = codes[i + 32] & 15 | codes[i + 96] << 4;
            pairs[i] = codes[i] >> 4 | codes[i + 32] >> 4 << 2 | codes[i + 64] >> 4 << 4 | codes[i + 96] >> 4 << 6;
        }
    }
    for group in 0..SIXTEEN {
        rest[group] = encoded.scales[group] as u8;
    }
    rest[SIXTEEN..].copy_from_slice(&encoded.d.to_le_bytes());
}

/// The codes of a block whose numbers begin at the lane `at`, and its squared error.
#[inline(always)]
fn symmetric_codes(x: &[f32; 256], [d, first, second]: &[[f32; 16]; 3], at: usize) -> (SymmetricBlock, f32) {
    let d = d[at];
    let mut block = SymmetricBlock { d: f16::from_f32(d), scales: [0; SIXTEEN], codes: [0; 256] };
    let mut errors = [0.0f32; 8];
    for group in 0..SIXTEEN {
        let code = if group < 8 { first[at + group] } else { second[at + group - 8] };
        block.scales[group] = code as i8;
        let scale = d * code;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let x = &x[SIXTEEN * group..][..SIXTEEN];
        let codes = &mut block.codes[SIXTEEN * group..][..SIXTEEN];
        for (x, codes) in x.as_chunks::<8>().0.iter().zip(codes.as_chunks_mut::<8>().0) {
            for lane in 0..8 {
                let (code, bits) = nearest_code(x[lane] * inverse, -32.0, 31.0);
                codes[lane] = bits.wrapping_add(32);
                let apart = scale * code - x[lane];
                errors[lane] += apart * apart;
            }
        }
    }
    (block, errors.iter().sum())
}
