//! Groups of codes with a scale and an offset each: what mlx calls affine quantisation.
//!
//! A matrix is three tensors, in files of mlx with the endings `.weight`, `.scales` and `.biases`:
//!
//! ```text
//! codes    [rows, cols bits / 32]   u32, the first code of a row in the lowest bits of its first word
//! scales   [rows, cols / group]     f32, f16 or bf16
//! biases   [rows, cols / group]     the same type
//!
//! value = round(round(scale code) + bias)        rounded to the type of the scales, as mlx's `dequantize` does
//! ```
//!
//! A row's length is a multiple of the group, and codes of 4 and 8 bits never cross a byte. Where the three are one piece
//! of memory they follow each other in this order.
//!
//! # Source
//! Documentation of `mlx.core.quantize`, mode `affine`.

use std::fmt;
use std::ops::Range;

use super::GROUP;
use crate::weight::{DType, Element};

/// Bits of a code, values of a group, and the type of scales and biases.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Affine {
    bits: u8,
    group_len: u8,
    scales: Element,
}

impl Affine {
    /// Bits that a code may have.
    pub const BITS: [usize; 2] = [4, 8];
    /// Values that a group may have.
    pub const GROUP_LENS: [usize; 3] = [32, 64, 128];

    /// `None` for other numbers than those of [`Affine::BITS`] and [`Affine::GROUP_LENS`], and scales that are blocks.
    pub fn new(bits: usize, group_len: usize, scales: DType) -> Option<Self> {
        let known = Self::BITS.contains(&bits) && Self::GROUP_LENS.contains(&group_len);
        let (bits, group_len) = (u8::try_from(bits).ok()?, u8::try_from(group_len).ok()?);
        Some(Self { bits, group_len, scales: scales.element()? }).filter(|_| known)
    }

    /// Bits of a code.
    pub const fn bits(self) -> usize {
        self.bits as usize
    }

    /// Values that share a scale and a bias.
    pub const fn group_len(self) -> usize {
        self.group_len as usize
    }

    /// The type of scales and biases.
    pub const fn scale_dtype(self) -> DType {
        match self.scales {
            Element::F32 => DType::F32,
            Element::F16 => DType::F16,
            Element::Bf16 => DType::Bf16,
        }
    }

    /// Bytes of a group's codes.
    pub(super) const fn code_bytes(self) -> usize {
        self.group_len() * self.bits() / 8
    }

    /// Bytes of the scales of a matrix, and of its biases; `None` where rows are not whole groups.
    pub(super) fn tail_bytes(self, rows: usize, cols: usize) -> Option<usize> {
        match cols.is_multiple_of(self.group_len()) {
            true => (cols / self.group_len()).checked_mul(rows)?.checked_mul(self.scales.size_bytes()),
            false => None,
        }
    }

    /// Where codes, scales and biases of a matrix lie in one piece of memory.
    pub fn parts(self, rows: usize, cols: usize) -> Option<[Range<usize>; 3]> {
        let tail = self.tail_bytes(rows, cols)?;
        let codes = (cols / self.group_len()).checked_mul(self.code_bytes())?.checked_mul(rows)?;
        let ends = [codes, codes.checked_add(tail)?, codes.checked_add(tail.checked_mul(2)?)?];
        Some([0..ends[0], ends[0]..ends[1], ends[1]..ends[2]])
    }

    /// Rounds to the type of the scales. Values far outside of the range of `f16` stay outside of it.
    #[inline(always)]
    pub(super) fn round(self, value: f32) -> f32 {
        match self.scales {
            Element::F32 => value,
            Element::Bf16 => to_bits_kept::<16>(value),
            Element::F16 => {
                // Below 2^-14 the steps of f16 are 2^-24, which are those of f32 at 0.5.
                let small = ((value.abs() + 0.5) - 0.5).copysign(value);
                if value.abs() < 6.103_515_6e-5 { small } else { to_bits_kept::<13>(value) }
            }
        }
    }

    /// The value of a code.
    #[inline(always)]
    pub(super) fn value(self, code: f32, scale: f32, bias: f32) -> f32 {
        self.round(self.round(scale * code) + bias)
    }

    #[inline(always)]
    fn scale_at(self, bytes: &[u8], at: usize) -> f32 {
        match self.scales {
            Element::F32 => {
                let b = &bytes[4 * at..4 * at + 4];
                f32::from_le_bytes([b[0], b[1], b[2], b[3]])
            }
            Element::Bf16 => f32::from_bits(u32::from(u16::from_le_bytes([bytes[2 * at], bytes[2 * at + 1]])) << 16),
            Element::F16 => super::decode::half([bytes[2 * at], bytes[2 * at + 1]]),
        }
    }

    /// The values of 32 codes: number `group` of the row `row`, whose codes are `codes`.
    #[inline(always)]
    pub(super) fn decode_group(
        self,
        codes: &[u8],
        (scales, biases): (&[u8], &[u8]),
        (row, group, cols): (usize, usize, usize),
    ) -> [f32; GROUP] {
        let at = row * (cols / self.group_len()) + group / (self.group_len() / GROUP);
        let (scale, bias) = (self.scale_at(scales, at), self.scale_at(biases, at));
        let codes: [u8; GROUP] = match self.bits {
            4 => {
                let pairs = &codes[group * (GROUP / 2)..][..GROUP / 2];
                std::array::from_fn(|i| (pairs[i / 2] >> (i % 2 * 4)) & 15)
            }
            _ => {
                let bytes = &codes[group * GROUP..][..GROUP];
                std::array::from_fn(|i| bytes[i])
            }
        };
        std::array::from_fn(|i| self.value(f32::from(codes[i]), scale, bias))
    }
}

impl fmt::Display for Affine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "affine {}-bit in groups of {}", self.bits, self.group_len)
    }
}

/// Rounds to nearest even so that the lower `DROPPED` bits are 0.
#[inline(always)]
fn to_bits_kept<const DROPPED: u32>(value: f32) -> f32 {
    let bits = value.to_bits();
    let half = (1u32 << (DROPPED - 1)) - 1;
    f32::from_bits((bits.wrapping_add(half + ((bits >> DROPPED) & 1)) >> DROPPED) << DROPPED)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn rounding_is_that_of_the_types() {
        let affine = |scales| Affine::new(4, 64, scales).expect("known numbers");
        let mut seen = 0;
        for bits in (0..=u32::MAX).step_by(9973) {
            let value = f32::from_bits(bits);
            if value.abs() < 65504.0 {
                assert_eq!(
                    affine(DType::F16).round(value).to_bits(),
                    f16::from_f32(value).to_f32().to_bits(),
                    "{value:e}"
                );
                seen += 1;
            }
            if value.abs() < 3e38 {
                assert_eq!(
                    affine(DType::Bf16).round(value).to_bits(),
                    bf16::from_f32(value).to_f32().to_bits(),
                    "{value:e}"
                );
            }
        }
        assert!(seen > 100_000);
    }

    #[test]
    fn numbers_that_mlx_has_not_are_refused() {
        for (bits, group) in [(4, 16), (4, 0), (3, 64), (16, 64), (260, 64), (4, 320)] {
            assert_eq!(Affine::new(bits, group, DType::Bf16), None, "{bits} {group}");
        }
        let kind = Affine::new(4, 128, DType::F32).expect("known numbers");
        assert_eq!(Affine::new(4, 64, DType::Block(super::super::BlockType::Affine(kind))), None);
        assert_eq!(kind.parts(3, 64), None);
        assert_eq!(kind.parts(usize::MAX, 128), None);
        assert_eq!(kind.parts(2, 256), Some([0..256, 256..272, 272..288]));
    }
}
