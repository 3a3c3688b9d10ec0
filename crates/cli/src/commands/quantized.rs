//! The flag `--quantize` of commands without a configuration.

use attune_config::Quantize;

/// `model.quantize`, as a flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum QuantizeFlag {
    /// As it is stored
    None,
    /// The linears in four bits
    Nf4,
    /// Everything in eight bits
    Int8,
}

impl QuantizeFlag {
    /// In the words of the configuration.
    pub(crate) fn choice(self) -> Quantize {
        match self {
            Self::None => Quantize::None,
            Self::Nf4 => Quantize::Nf4,
            Self::Int8 => Quantize::Int8,
        }
    }

    /// As it is typed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Nf4 => "nf4",
            Self::Int8 => "int8",
        }
    }
}
