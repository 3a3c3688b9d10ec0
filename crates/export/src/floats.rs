//! Rounding to the types that files store.

use std::fmt;
use std::str::FromStr;

use attune_compute::DType;
use half::f16;
use half::slice::HalfFloatSliceExt;

/// A type of plain numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloatType {
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// The upper half of an `f32`.
    Bf16,
}

impl FloatType {
    /// Bytes of a value.
    pub fn size_bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// What `config.json` calls it.
    pub fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// The type of a weight, if it is one of plain numbers.
    pub fn of(dtype: DType) -> Option<Self> {
        match dtype {
            DType::F32 => Some(Self::F32),
            DType::F16 => Some(Self::F16),
            DType::Bf16 => Some(Self::Bf16),
            DType::Block(_) => None,
        }
    }
}

impl fmt::Display for FloatType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

impl FromStr for FloatType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.to_lowercase().as_str() {
            "f32" | "float32" => Ok(Self::F32),
            "f16" | "float16" => Ok(Self::F16),
            "bf16" | "bfloat16" => Ok(Self::Bf16),
            _ => Err("expected f32, f16 or bf16".into()),
        }
    }
}

impl From<FloatType> for DType {
    fn from(float: FloatType) -> Self {
        match float {
            FloatType::F32 => Self::F32,
            FloatType::F16 => Self::F16,
            FloatType::Bf16 => Self::Bf16,
        }
    }
}

impl From<FloatType> for attune_formats::tensors::DType {
    fn from(float: FloatType) -> Self {
        match float {
            FloatType::F32 => Self::F32,
            FloatType::F16 => Self::F16,
            FloatType::Bf16 => Self::Bf16,
        }
    }
}

/// Values that are rounded before they are looked at for what is not finite; they are still in the first-level cache then.
const SHARE: usize = 2048;

/// Appends the bytes of the values in that type, rounded to nearest even, little endian.
///
/// # Errors
/// The index of the first value that is not finite, or becomes infinite; what was appended up to there makes no sense.
pub fn round_into(values: &[f32], float: FloatType, out: &mut Vec<u8>) -> Result<(), usize> {
    let size = float.size_bytes();
    let begin = out.len();
    out.resize(begin + values.len() * size, 0);
    for (share, (bytes, values)) in out[begin..].chunks_mut(SHARE * size).zip(values.chunks(SHARE)).enumerate() {
        let first_bad = match float {
            FloatType::F32 => round_share_f32(values, bytes),
            FloatType::F16 => round_share_f16(values, bytes),
            FloatType::Bf16 => round_share_bf16(values, bytes),
        };
        if let Some(at) = first_bad {
            return Err(share * SHARE + at);
        }
    }
    Ok(())
}

// Whether all is well is asked of a share as a whole, without branches; only a bad one is searched.

fn round_share_f32(values: &[f32], out: &mut [u8]) -> Option<usize> {
    let mut worst = 0;
    for (bytes, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
        worst = worst.max(value.to_bits() & 0x7f80_0000);
        *bytes = value.to_le_bytes();
    }
    if worst < 0x7f80_0000 { None } else { values.iter().position(|value| !value.is_finite()) }
}

fn round_share_f16(values: &[f32], out: &mut [u8]) -> Option<usize> {
    let mut halves = [f16::ZERO; SHARE];
    let halves = &mut halves[..values.len()];
    halves.convert_from_f32_slice(values);
    let mut worst = 0;
    for (bytes, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(&*halves) {
        worst = worst.max(value.to_bits() & 0x7c00);
        *bytes = value.to_le_bytes();
    }
    if worst < 0x7c00 { None } else { halves.iter().position(|value| !value.is_finite()) }
}

fn round_share_bf16(values: &[f32], out: &mut [u8]) -> Option<usize> {
    // Half a unit of the last place, and one more where that makes the result even. A value that is not finite is found
    // afterwards: its exponent stays all ones, or becomes all zeros of the other sign.
    let mut worst = 0;
    for (bytes, value) in out.as_chunks_mut::<2>().0.iter_mut().zip(values) {
        let bits = value.to_bits();
        let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
        worst = worst.max(rounded & 0x7f80).max(bits >> 16 & 0x7f80);
        *bytes = (rounded as u16).to_le_bytes();
    }
    if worst < 0x7f80 { None } else { values.iter().position(|value| !half::bf16::from_f32(*value).is_finite()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn round(values: &[f32], float: FloatType) -> Result<Vec<u8>, usize> {
        let mut out = vec![1, 2, 3];
        round_into(values, float, &mut out).map(|()| out.split_off(3))
    }

    #[test]
    fn rounding_is_to_nearest_even_and_infinity_is_found() {
        let patterns =
            (0..=u16::MAX).step_by(7).flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xffff].map(|low| (high, low)));
        let values: Vec<f32> = patterns
            .map(|(high, low): (u16, u32)| f32::from_bits(u32::from(high) << 16 | low))
            .filter(|value| bf16::from_f32(*value).is_finite())
            .collect();
        let expected: Vec<u8> = values.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        assert_eq!(round(&values, FloatType::Bf16), Ok(expected));
        for float in [FloatType::F32, FloatType::F16, FloatType::Bf16] {
            for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
                let mut values = vec![1.0; SHARE + 9];
                values[SHARE + 5] = bad;
                assert_eq!(round(&values, float), Err(SHARE + 5), "{float} {bad}");
            }
        }
        assert_eq!(round(&[1.0, 65_520.0], FloatType::F16), Err(1));
        assert_eq!(round(&[1.0, f32::MAX], FloatType::Bf16), Err(1));
    }
}
