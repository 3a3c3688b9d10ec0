//! What can be wrong with an adapter folder.

use std::path::PathBuf;

use crate::files::FileError;
use crate::tensors::TensorError;

/// An adapter folder that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PeftError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// `adapter_model.safetensors` is malformed.
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
    /// A key has a value that makes no sense.
    #[error("{}: {key}: {reason}", path.display())]
    Key {
        /// The configuration.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The adapter is not LoRA.
    #[error("{}: peft_type is {method:?}, only \"LORA\" is supported", path.display())]
    Method {
        /// The configuration.
        path: PathBuf,
        /// `peft_type` as found.
        method: String,
    },
    /// The matrices are there only as a pickle.
    #[error("{}: has its matrices only as pickle ({file}), which is never read: opening a pickle can run any code", dir.display())]
    PicklesOnly {
        /// The adapter folder.
        dir: PathBuf,
        /// The pickle found.
        file: String,
    },
    /// The adapter needs mathematics that Attune does not have; without it the result would be wrong in silence.
    #[error("{}: the adapter uses what is not supported: {}", dir.display(), features.join("; "))]
    Unsupported {
        /// The adapter folder.
        dir: PathBuf,
        /// Each key with its value, each tensor that is not a LoRA matrix.
        features: Vec<String>,
    },
    /// A module pattern is not a regular expression, or uses what only Python's have.
    #[error("module pattern {pattern:?}: {reason}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong.
        reason: String,
    },
    /// A module lacks one of its matrices.
    #[error("{}: module {module} has no {missing}", path.display())]
    Unpaired {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
        /// `lora_A`, `lora_B` or `lora_magnitude_vector`.
        missing: &'static str,
    },
    /// The matrices of a module do not have the rank of the configuration.
    #[error("{}: module {module}: lora_A is {a:?}, lora_B is {b:?}; rank {rank} needs [{rank}, in] and [out, {rank}]", path.display())]
    Shape {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
        /// Shape of A.
        a: Vec<usize>,
        /// Shape of B.
        b: Vec<usize>,
        /// The rank that the configuration gives this module.
        rank: usize,
    },
    /// The magnitudes of a module are not one per output.
    #[error("{}: module {module}: lora_magnitude_vector is {shape:?}, the module has {outputs} outputs", path.display())]
    MagnitudeShape {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
        /// Shape as found.
        shape: Vec<usize>,
        /// Rows of B.
        outputs: usize,
    },
    /// A module has the same matrix under two names.
    #[error("{}: {name:?} is the second tensor of its kind for its module", path.display())]
    Twice {
        /// The tensor file.
        path: PathBuf,
        /// The second name.
        name: String,
    },
    /// Matrices of a module that the configuration does not target: PEFT would ignore them in silence.
    #[error("{}: module {module} has matrices, but target_modules of adapter_config.json does not name it", path.display())]
    NotTargeted {
        /// The tensor file.
        path: PathBuf,
        /// The module.
        module: String,
    },
    /// There are no matrices at all.
    #[error("{}: has no LoRA matrices", path.display())]
    Empty {
        /// The tensor file.
        path: PathBuf,
    },
}

impl PeftError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(source) => return source.hint(),
            Self::Tensors(source) => return source.hint(),
            Self::Syntax { .. } | Self::Key { .. } => {
                "take adapter_config.json as PEFT wrote it, or mend the key that is named".into()
            }
            Self::Method { .. } => "train or choose a LoRA adapter".into(),
            Self::PicklesOnly { .. } => {
                "convert it once where you trust it, in Python: \
                 PeftModel.from_pretrained(base, dir).save_pretrained(new_dir, safe_serialization=True)"
                    .into()
            }
            Self::Unsupported { .. } => {
                "merge this adapter into its base with PEFT (merge_and_unload) and use the merged model, or choose a \
                 plain LoRA or DoRA adapter"
                    .into()
            }
            Self::Pattern { .. } => {
                "name modules plainly (q_proj, layers.0.mlp.up_proj) or use a regular expression without look-around and \
                 back-references"
                    .into()
            }
            Self::Unpaired { .. }
            | Self::Shape { .. }
            | Self::MagnitudeShape { .. }
            | Self::Twice { .. }
            | Self::NotTargeted { .. }
            | Self::Empty { .. } => {
                "adapter_config.json and adapter_model.safetensors do not belong together; take both from one source"
                    .into()
            }
        })
    }
}
