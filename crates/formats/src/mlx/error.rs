//! What can be wrong with an adapter folder of mlx-lm.

use std::path::PathBuf;

use crate::files::FileError;
use crate::tensors::TensorError;

/// An adapter folder of mlx-lm that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum MlxError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// `adapters.safetensors` is malformed.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// `adapter_config.json` is not a JSON object.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The configuration.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// A key is missing or has a value that makes no sense.
    #[error("{}: {key}: {reason}", path.display())]
    Key {
        /// The configuration.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// Not an adapter.
    #[error("{}: fine_tune_type is {found:?}, only \"lora\" and \"dora\" are adapters", path.display())]
    NoAdapter {
        /// The configuration.
        path: PathBuf,
        /// `fine_tune_type` as found.
        found: String,
    },
    /// A tensor that is no matrix of an adapted linear.
    #[error("{}: tensor {name:?} is not a matrix of an adapted linear", path.display())]
    Foreign {
        /// The tensor file.
        path: PathBuf,
        /// Its name.
        name: String,
    },
    /// A module lacks one of its matrices.
    #[error("{}: module {module} has no {missing}", path.display())]
    Unpaired {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
        /// `lora_a`, `lora_b` or `m`.
        missing: &'static str,
    },
    /// Matrices of a module that mlx-lm would not make from this configuration.
    #[error("{}: module {module} is not among the keys and layers of adapter_config.json", path.display())]
    NotMade {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
    },
    /// The matrices of a module do not have the rank of the configuration.
    #[error("{}: module {module}: lora_a is {a:?}, lora_b is {b:?}; rank {rank} needs [in, {rank}] and [{rank}, out]", path.display())]
    Shape {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
        /// Shape of lora_a.
        a: Vec<usize>,
        /// Shape of lora_b.
        b: Vec<usize>,
        /// The rank of the configuration.
        rank: usize,
    },
    /// The magnitudes of a module are not one per output.
    #[error("{}: module {module}: m is {shape:?}, the module has {outputs} outputs", path.display())]
    MagnitudeShape {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
        /// Shape as found.
        shape: Vec<usize>,
        /// Columns of lora_b.
        outputs: usize,
    },
    /// There are no matrices at all.
    #[error("{}: has no matrices", path.display())]
    Empty {
        /// The tensor file.
        path: PathBuf,
    },
}

impl MlxError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(source) => return source.hint(),
            Self::Tensors(source) => return source.hint(),
            Self::Syntax { .. } | Self::Key { .. } => {
                "take adapter_config.json as mlx-lm wrote it, or mend the key that is named".into()
            }
            Self::NoAdapter { .. } => {
                "fuse it with mlx_lm.fuse and use the whole model, or train with fine_tune_type lora or dora".into()
            }
            Self::Foreign { .. } => {
                "only adapters of the linears of decoder layers are read; train without the other modules (keys)".into()
            }
            Self::Unpaired { .. }
            | Self::NotMade { .. }
            | Self::Shape { .. }
            | Self::MagnitudeShape { .. }
            | Self::Empty { .. } => {
                "adapter_config.json and adapters.safetensors do not belong together; take both from one run".into()
            }
        })
    }
}
