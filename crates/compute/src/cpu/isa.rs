//! Which instructions to use: found out at run time, or forced with `FT_CPU`.

use std::fmt;

use crate::backend::ComputeError;

/// Name of the variable that forces a path.
pub const FT_CPU: &str = "FT_CPU";

/// A set of kernels for one family of processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// x86-64 with AMX in `bf16` and AVX-512: products of `bf16` weights on tiles, all others as [`Isa::Avx512`].
    Amx,
    /// x86-64 with AVX-512 and its `bf16` dot products: products of `bf16` weights in `bf16`, all others as [`Isa::Avx512`].
    Avx512Bf16,
    /// x86-64 with AVX-512 F, BW, DQ and VL: 16 lanes.
    Avx512,
    /// x86-64 with AVX2, FMA and F16C: 8 lanes.
    Avx2,
    /// Plain Rust, vectorised by the compiler for the target's baseline (SSE2 on x86-64, NEON on aarch64).
    Portable,
}

impl Isa {
    /// All paths, the fastest first.
    pub const ALL: [Self; 5] = [Self::Amx, Self::Avx512Bf16, Self::Avx512, Self::Avx2, Self::Portable];

    /// The name that `FT_CPU` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }

    /// Whether this machine can run the path. The first question about [`Isa::Amx`] asks the system for its registers,
    /// best before threads start.
    #[cfg(target_arch = "x86_64")]
    pub fn is_available(self) -> bool {
        match self {
            Self::Amx => Self::Avx512Bf16.is_available() && super::kernels_amx::is_available(),
            Self::Avx512Bf16 => Self::Avx512.is_available() && is_x86_feature_detected!("avx512bf16"),
            Self::Avx512 => {
                Self::Avx2.is_available()
                    && is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            Self::Avx2 => {
                is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c")
            }
            Self::Portable => true,
        }
    }

    /// Whether this machine can run the path.
    #[cfg(not(target_arch = "x86_64"))]
    pub fn is_available(self) -> bool {
        self == Self::Portable
    }

    /// The fastest path of this machine.
    pub fn best() -> Self {
        Self::ALL.into_iter().find(|isa| isa.is_available()).unwrap_or(Self::Portable)
    }

    /// The path that `FT_CPU` asks for, else the fastest.
    ///
    /// # Errors
    /// As [`Isa::choose`].
    pub fn from_env() -> Result<Self, ComputeError> {
        let value = std::env::var_os(FT_CPU).map(|value| value.to_string_lossy().into_owned());
        Self::choose(value.as_deref())
    }

    /// The path named `choice`; `None` and the empty string mean the fastest.
    ///
    /// # Errors
    /// [`ComputeError::UnknownChoice`] for a name that means nothing, [`ComputeError::Unsupported`] for a path that
    /// this machine or this version lacks.
    pub fn choose(choice: Option<&str>) -> Result<Self, ComputeError> {
        let Some(name) = choice.filter(|name| !name.is_empty()) else { return Ok(Self::best()) };
        let isa = Self::ALL.into_iter().find(|isa| isa.name() == name).ok_or_else(|| ComputeError::UnknownChoice {
            name: FT_CPU,
            value: name.into(),
            allowed: "amx, avx512bf16, avx512, avx2, portable",
        })?;
        isa.verify().map(VerifiedIsa::get)
    }

    /// The proof that this machine can run the path.
    pub(super) fn verify(self) -> Result<VerifiedIsa, ComputeError> {
        if self.is_available() {
            return Ok(VerifiedIsa(self));
        }
        Err(ComputeError::Unsupported {
            what: format!("{FT_CPU}={self}"),
            hint: format!("unset {FT_CPU} to use {}, the fastest path of this processor", Self::best()),
        })
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A path that this machine was seen to have: whoever holds one may call the path's functions.
#[derive(Debug, Clone, Copy)]
pub(super) struct VerifiedIsa(Isa);

impl VerifiedIsa {
    pub(super) fn get(self) -> Isa {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_choice_is_the_fastest_path() {
        assert_eq!(Isa::choose(None).unwrap(), Isa::best());
        assert_eq!(Isa::choose(Some("")).unwrap(), Isa::best());
        assert!(Isa::best().is_available());
    }

    #[test]
    fn every_name_is_the_path_or_unsupported() {
        for isa in Isa::ALL {
            match Isa::choose(Some(isa.name())) {
                Ok(chosen) => assert_eq!(chosen, isa),
                Err(ComputeError::Unsupported { what, .. }) => {
                    assert!(!isa.is_available());
                    assert!(what.contains(isa.name()));
                }
                Err(other) => panic!("{other}"),
            }
        }
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["AVX2", "sse", "auto", " avx2"] {
            let error = Isa::choose(Some(name)).unwrap_err();
            assert!(matches!(&error, ComputeError::UnknownChoice { value, .. } if value == name), "{error}");
        }
    }
}
