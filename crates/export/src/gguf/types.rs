//! How many bits each tensor of a GGUF file gets.

use std::fmt;
use std::str::FromStr;

use attune_compute::BlockType;
use attune_compute::blocks::BlockType::{Q4_0, Q4K, Q5K, Q6K, Q8_0};

use crate::floats::FloatType;
use crate::gate::Limits;

/// What a whole file is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GgufType {
    /// All matrices in single precision.
    F32,
    /// All matrices in half precision.
    F16,
    /// All matrices in bf16.
    Bf16,
    /// 8.5 bits a value.
    Q8_0,
    /// 4.5 bits a value, the older kind.
    Q4_0,
    /// Mostly 4.5 bits a value, more where it counts.
    Q4KM,
    /// Mostly 5.5 bits a value, more where it counts.
    Q5KM,
    /// 6.6 bits a value.
    Q6K,
}

/// How one tensor is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TensorType {
    /// Plain numbers.
    Float(FloatType),
    /// Blocks.
    Block(BlockType),
}

impl GgufType {
    /// All of them.
    pub const ALL: [Self; 8] =
        [Self::F32, Self::F16, Self::Bf16, Self::Q8_0, Self::Q4_0, Self::Q4KM, Self::Q5KM, Self::Q6K];

    /// `general.file_type`.
    ///
    /// # Source
    /// `llama_ftype` of llama.cpp.
    pub fn file_type(self) -> u32 {
        match self {
            Self::F32 => 0,
            Self::F16 => 1,
            Self::Q4_0 => 2,
            Self::Q8_0 => 7,
            Self::Q4KM => 15,
            Self::Q5KM => 17,
            Self::Q6K => 18,
            Self::Bf16 => 32,
        }
    }

    /// How far the artefact may be from what was tuned.
    pub fn limits(self) -> Limits {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => Limits::ROUNDED,
            Self::Q8_0 => Limits::Q8,
            Self::Q6K => Limits::Q6,
            Self::Q5KM => Limits::Q5,
            Self::Q4KM | Self::Q4_0 => Limits::Q4,
        }
    }

    fn common(self) -> TensorType {
        match self {
            Self::F32 => TensorType::Float(FloatType::F32),
            Self::F16 => TensorType::Float(FloatType::F16),
            Self::Bf16 => TensorType::Float(FloatType::Bf16),
            Self::Q8_0 => TensorType::Block(Q8_0),
            Self::Q4_0 => TensorType::Block(Q4_0),
            Self::Q4KM => TensorType::Block(Q4K),
            Self::Q5KM => TensorType::Block(Q5K),
            Self::Q6K => TensorType::Block(Q6K),
        }
    }

    /// The type of a matrix. `layer` is its layer and the number of layers.
    ///
    /// The output projection (or the embedding that is it) has six bits at least; of the mixed types values and the
    /// feed-forward's output have six bits in every third layer and in the first and last eighth, where an error does the
    /// most harm. Rows that are no whole number of blocks get eight bits, or sixteen.
    ///
    /// # Source
    /// The mixture that llama.cpp gives the same names: `llama_tensor_get_type`.
    pub fn of_matrix(self, name: &str, cols: usize, layer: Option<(usize, usize)>, is_head: bool) -> TensorType {
        let wanted = match self.common() {
            TensorType::Float(float) => return TensorType::Float(float),
            TensorType::Block(Q8_0) => Q8_0,
            TensorType::Block(_) if is_head => Q6K,
            TensorType::Block(kind) => {
                let mixed = matches!(self, Self::Q4KM | Self::Q5KM);
                let counts = name.ends_with("v_proj.weight") || name.ends_with("down_proj.weight");
                if mixed && counts && layer.is_some_and(|(at, of)| has_more_bits(at, of)) { Q6K } else { kind }
            }
        };
        let fits = |kind: &BlockType| cols.is_multiple_of(kind.block_len());
        match [wanted, Q8_0].into_iter().find(|kind| fits(kind)) {
            Some(kind) => TensorType::Block(kind),
            None => TensorType::Float(FloatType::F16),
        }
    }
}

/// The first and the last eighth of the layers, and every third between.
fn has_more_bits(at: usize, of: usize) -> bool {
    at < of / 8 || at >= 7 * of / 8 || (at - of / 8) % 3 == 2
}

impl fmt::Display for GgufType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
            Self::Q4KM => "q4_k_m",
            Self::Q5KM => "q5_k_m",
            Self::Q6K => "q6_k",
        })
    }
}

impl FromStr for GgufType {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = text.to_lowercase();
        Self::ALL.into_iter().find(|kind| kind.to_string() == wanted).ok_or_else(|| {
            let known: Vec<String> = Self::ALL.iter().map(ToString::to_string).collect();
            format!("expected one of {}", known.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mixture_gives_more_bits_where_it_counts() {
        let of = |kind: GgufType, name: &str, at| kind.of_matrix(name, 2048, Some((at, 16)), false);
        // Of 16 layers: 0, 1 and 14, 15; and 4, 7, 10, 13.
        let more: Vec<usize> =
            (0..16).filter(|&at| of(GgufType::Q4KM, "x.v_proj.weight", at) == TensorType::Block(Q6K)).collect();
        assert_eq!(more, [0, 1, 4, 7, 10, 13, 14, 15]);
        assert_eq!(of(GgufType::Q4KM, "x.q_proj.weight", 0), TensorType::Block(Q4K));
        assert_eq!(of(GgufType::Q5KM, "x.down_proj.weight", 3), TensorType::Block(Q5K));
        assert_eq!(of(GgufType::Q4_0, "x.down_proj.weight", 0), TensorType::Block(Q4_0));
        let head = |kind: GgufType, cols| kind.of_matrix("lm_head.weight", cols, None, true);
        assert_eq!(head(GgufType::Q4KM, 2048), TensorType::Block(Q6K));
        assert_eq!(head(GgufType::Q8_0, 2048), TensorType::Block(Q8_0));
        assert_eq!(head(GgufType::Q4KM, 96), TensorType::Block(Q8_0), "96 is no multiple of 256");
        assert_eq!(head(GgufType::Q4KM, 90), TensorType::Float(FloatType::F16), "nor 90 of 32");
        assert_eq!("Q4_K_M".parse(), Ok(GgufType::Q4KM));
        assert!("q3_k".parse::<GgufType>().is_err());
    }
}
