//! Between `bf16` in memory and `f32` in registers, for ops whose arithmetic is `f32` whatever their tensors are.
#![allow(unsafe_code)]

use std::ops::Range;

use half::bf16;

use super::isa::VerifiedIsa;
use super::math::per_isa;
use super::workers::DisjointMut;
use crate::tensor::{Tensor, Values, ValuesMut};

#[inline(always)]
fn widen_body<const FMA: bool>(from: &[bf16], to: &mut [f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to = f32::from_bits(u32::from(from.to_bits()) << 16);
    }
}

per_isa!(
    /// Exact.
    pub(super) fn widen(from: &[bf16], to: &mut [f32]) => widen_body);

#[inline(always)]
fn round_body<const FMA: bool>(from: &[f32], to: &mut [bf16]) {
    for (to, from) in to.iter_mut().zip(from) {
        let bits = from.to_bits();
        // Half an ulp of bf16, less one bit when the kept part is even; a carry into the exponent is right as it is.
        let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16;
        // A NaN must not become an infinity: its highest bit of the mantissa is set.
        let quiet = (bits >> 16) | 0x40;
        let kept = if bits & 0x7fff_ffff > 0x7f80_0000 { quiet } else { rounded };
        *to = bf16::from_bits(kept as u16);
    }
}

per_isa!(
    /// To nearest even; NaN stays NaN.
    pub(super) fn round_to_bf16(from: &[f32], to: &mut [bf16]) => round_body);

/// Elements that are converted at a time: three rows of scratch stay in the first-level cache.
pub(super) const BLOCK: usize = 2048;

impl<'a> Values<'a> {
    /// The values of `range`.
    pub(super) fn part(&self, range: Range<usize>) -> Values<'a> {
        match self {
            Self::F32(values) => Values::F32(&values[range]),
            Self::Bf16(values) => Values::Bf16(&values[range]),
        }
    }

    /// The values as `f32`: where they lie, or widened into `scratch`, which must be at least as long.
    pub(super) fn widened<'b>(&self, isa: VerifiedIsa, scratch: &'b mut [f32]) -> &'b [f32]
    where
        'a: 'b,
    {
        match self {
            Self::F32(values) => values,
            Self::Bf16(values) => {
                let scratch = &mut scratch[..values.len()];
                widen(isa, values, scratch);
                scratch
            }
        }
    }
}

impl ValuesMut<'_> {
    /// Lets `compute` write these values as `f32`: where they lie, or into `scratch`, from which they are rounded.
    pub(super) fn write(&mut self, isa: VerifiedIsa, scratch: &mut [f32], compute: impl FnOnce(&mut [f32])) {
        match self {
            Self::F32(values) => compute(values),
            Self::Bf16(values) => {
                let scratch = &mut scratch[..values.len()];
                compute(scratch);
                round_to_bf16(isa, scratch, values);
            }
        }
    }

    /// Takes these values over, rounded if need be.
    pub(super) fn set(&mut self, isa: VerifiedIsa, from: &[f32]) {
        match self {
            Self::F32(values) => values.copy_from_slice(from),
            Self::Bf16(values) => round_to_bf16(isa, from, values),
        }
    }

    /// As [`ValuesMut::write`], of values that are read as well.
    pub(super) fn update(&mut self, isa: VerifiedIsa, scratch: &mut [f32], compute: impl FnOnce(&mut [f32])) {
        match self {
            Self::F32(values) => compute(values),
            Self::Bf16(values) => {
                let scratch = &mut scratch[..values.len()];
                widen(isa, values, scratch);
                compute(scratch);
                round_to_bf16(isa, scratch, values);
            }
        }
    }
}

/// A tensor that several tasks write, each at places of its own.
pub(super) enum SharedOut<'a> {
    F32(DisjointMut<'a, f32>),
    Bf16(DisjointMut<'a, half::bf16>),
}

impl<'a> SharedOut<'a> {
    pub(super) fn new(tensor: &'a mut Tensor) -> Self {
        match tensor.values_mut() {
            ValuesMut::F32(values) => Self::F32(DisjointMut::new(values)),
            ValuesMut::Bf16(values) => Self::Bf16(DisjointMut::new(values)),
        }
    }

    /// # Safety
    /// No other live part may overlap `range`.
    pub(super) unsafe fn part(&self, range: Range<usize>) -> ValuesMut<'_> {
        // SAFETY: by the caller's promise, for both.
        unsafe {
            match self {
                Self::F32(values) => ValuesMut::F32(values.slice(range)),
                Self::Bf16(values) => ValuesMut::Bf16(values.slice(range)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::Isa;

    #[test]
    fn rounding_is_that_of_the_half_crate_on_every_path() {
        let mut inputs: Vec<f32> = (0..u32::MAX - 4096).step_by(4093).map(f32::from_bits).collect();
        inputs.extend(
            [0x7f80_0001u32, 0xff80_0001, 0x7fff_ffff, 0x7f7f_ffff, 0x3f80_8000, 0x3f81_8000].map(f32::from_bits),
        );
        for isa in Isa::ALL {
            let Ok(verified) = isa.verify() else {
                println!("SKIPPED: {isa}: this machine lacks it");
                continue;
            };
            let mut rounded = vec![bf16::ZERO; inputs.len()];
            round_to_bf16(verified, &inputs, &mut rounded);
            let mut back = vec![0.0; inputs.len()];
            widen(verified, &rounded, &mut back);
            for ((&input, &got), &back) in inputs.iter().zip(&rounded).zip(&back) {
                let expected = bf16::from_f32(input);
                assert_eq!(got.to_bits(), expected.to_bits(), "{isa}: {input:e} ({:#x})", input.to_bits());
                assert_eq!(back.to_bits(), expected.to_f32().to_bits(), "{isa}: {input:e}");
            }
        }
    }
}
