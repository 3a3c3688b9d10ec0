//! The types of tensors that ggml knows, by their numbers.

use std::fmt;

/// A type: its number, its name, values of a block, bytes of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct GgmlType {
    number: u32,
    name: &'static str,
    block_len: usize,
    block_bytes: usize,
}

macro_rules! kinds {
    ($($constant:ident $number:literal $name:literal $len:literal $bytes:literal;)+) => {
        impl GgmlType {
            $(#[doc = concat!("`", $name, "`")]
            pub const $constant: Self =
                Self { number: $number, name: $name, block_len: $len, block_bytes: $bytes };)+

            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$constant),+];
        }
    };
}

// Source: `enum ggml_type` and the block structures of ggml. Numbers that are missing here were removed from the format.
kinds! {
    F32 0 "F32" 1 4;
    F16 1 "F16" 1 2;
    Q4_0 2 "Q4_0" 32 18;
    Q4_1 3 "Q4_1" 32 20;
    Q5_0 6 "Q5_0" 32 22;
    Q5_1 7 "Q5_1" 32 24;
    Q8_0 8 "Q8_0" 32 34;
    Q8_1 9 "Q8_1" 32 36;
    Q2_K 10 "Q2_K" 256 84;
    Q3_K 11 "Q3_K" 256 110;
    Q4_K 12 "Q4_K" 256 144;
    Q5_K 13 "Q5_K" 256 176;
    Q6_K 14 "Q6_K" 256 210;
    Q8_K 15 "Q8_K" 256 292;
    IQ2_XXS 16 "IQ2_XXS" 256 66;
    IQ2_XS 17 "IQ2_XS" 256 74;
    IQ3_XXS 18 "IQ3_XXS" 256 98;
    IQ1_S 19 "IQ1_S" 256 50;
    IQ4_NL 20 "IQ4_NL" 32 18;
    IQ3_S 21 "IQ3_S" 256 110;
    IQ2_S 22 "IQ2_S" 256 82;
    IQ4_XS 23 "IQ4_XS" 256 136;
    I8 24 "I8" 1 1;
    I16 25 "I16" 1 2;
    I32 26 "I32" 1 4;
    I64 27 "I64" 1 8;
    F64 28 "F64" 1 8;
    IQ1_M 29 "IQ1_M" 256 56;
    BF16 30 "BF16" 1 2;
    TQ1_0 34 "TQ1_0" 256 54;
    TQ2_0 35 "TQ2_0" 256 66;
    MXFP4 39 "MXFP4" 32 17;
}

impl GgmlType {
    /// The type with that number.
    pub fn from_number(number: u32) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.number == number)
    }

    /// Its number in files.
    pub fn number(self) -> u32 {
        self.number
    }

    /// Values of a block; rows are whole numbers of blocks.
    pub fn block_len(self) -> usize {
        self.block_len
    }

    /// Bytes of a block.
    pub fn block_bytes(self) -> usize {
        self.block_bytes
    }
}

impl fmt::Display for GgmlType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}
