//! What can be wrong with weight files.

use std::path::{Path, PathBuf};

use safetensors::SafeTensorError;

use crate::files::FileError;

/// Weight files that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TensorError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// The folder has no weights.
    #[error("{}: has neither model.safetensors nor model.safetensors.index.json", dir.display())]
    NoWeights {
        /// The model folder.
        dir: PathBuf,
    },
    /// The weights are there only as pickles.
    #[error("{}: has its weights only as pickle ({file}), which is never read: opening a pickle can run any code", dir.display())]
    PicklesOnly {
        /// The model folder.
        dir: PathBuf,
        /// The pickle found.
        file: String,
    },
    /// The file is the small text that Git LFS leaves in the place of a file that was not fetched.
    #[error("{}: is a Git LFS pointer, not the file itself", path.display())]
    GitLfsPointer {
        /// The file.
        path: PathBuf,
    },
    /// The file ends before its header or its data do.
    #[error("{}: ends after {got_bytes} bytes, {expected_bytes} expected", path.display())]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes that the header announces.
        expected_bytes: u64,
        /// Bytes that are there.
        got_bytes: u64,
    },
    /// The file goes on after its last tensor.
    #[error("{}: has {got_bytes} bytes, {expected_bytes} expected", path.display())]
    TrailingBytes {
        /// The file.
        path: PathBuf,
        /// Bytes that the header announces.
        expected_bytes: u64,
        /// Bytes that are there.
        got_bytes: u64,
    },
    /// The header announces a length beyond every sensible one.
    #[error("{}: not a safetensors file: a header of {header_bytes} bytes, at most {limit} are read", path.display())]
    HeaderTooLarge {
        /// The file.
        path: PathBuf,
        /// The length announced.
        header_bytes: u64,
        /// The most that is read.
        limit: u64,
    },
    /// The header does not begin with `{`.
    #[error("{}: not a safetensors file: the header begins with byte {found:#04x} instead of '{{'", path.display())]
    HeaderStart {
        /// The file.
        path: PathBuf,
        /// The byte found.
        found: u8,
    },
    /// The header is not the JSON object it must be.
    #[error("{}: header: {source}", path.display())]
    HeaderSyntax {
        /// The file.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// The header names a tensor twice.
    #[error("{}: tensor {name:?} is in the header twice", path.display())]
    DuplicateTensor {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
    },
    /// Shape, type and number of bytes do not agree.
    #[error("{}: tensor {name:?}: {dtype} {shape:?} does not fit the bytes {begin}..{end}", path.display())]
    TensorSize {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
        /// Its shape.
        shape: Vec<usize>,
        /// First byte of its data.
        begin: usize,
        /// First byte after its data.
        end: usize,
    },
    /// Tensors overlap, or bytes between them belong to none.
    #[error("{}: tensors overlap or leave a gap: {source}", path.display())]
    Layout {
        /// The file.
        path: PathBuf,
        /// Where.
        source: SafeTensorError,
    },
    /// `model.safetensors.index.json` is not what it must be.
    #[error("{}: {source}", path.display())]
    IndexSyntax {
        /// The index.
        path: PathBuf,
        /// Position and reason.
        source: serde_json::Error,
    },
    /// The index names a shard that is not a file of the folder itself.
    #[error("{}: shard name {shard:?} is not the name of a file in this folder", path.display())]
    ShardName {
        /// The index.
        path: PathBuf,
        /// The name found.
        shard: String,
    },
    /// The index names a tensor that its shard does not have.
    #[error("{}: tensor {name:?} is not in {shard}", path.display())]
    NotInShard {
        /// The index.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shard it should be in.
        shard: String,
    },
    /// A shard has a tensor that the index places elsewhere: in two shards, or in none.
    #[error("{}: {shard} has tensor {name:?}, which the index {}", path.display(), elsewhere(indexed_in.as_ref()))]
    NotInIndex {
        /// The index.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// The shard that has it.
        shard: String,
        /// The shard that should have it.
        indexed_in: Option<String>,
    },
    /// The tensor asked for is not in the folder.
    #[error("{}: tensor {name:?} is missing", dir.display())]
    Missing {
        /// The model folder.
        dir: PathBuf,
        /// The tensor.
        name: String,
    },
    /// The tensor is stored in a type that is not converted.
    #[error("{}: tensor {name:?} is stored as {dtype}; F32, F16 and BF16 are read", path.display())]
    UnsupportedType {
        /// The file.
        path: PathBuf,
        /// The tensor.
        name: String,
        /// Its type.
        dtype: String,
    },
}

fn elsewhere(indexed_in: Option<&String>) -> String {
    indexed_in.map_or_else(|| "does not name".into(), |shard| format!("places in {shard}"))
}

impl TensorError {
    /// The file or folder in question.
    pub fn path(&self) -> &Path {
        match self {
            Self::File(source) => source.path(),
            Self::NoWeights { dir } | Self::PicklesOnly { dir, .. } | Self::Missing { dir, .. } => dir,
            Self::GitLfsPointer { path }
            | Self::Truncated { path, .. }
            | Self::TrailingBytes { path, .. }
            | Self::HeaderTooLarge { path, .. }
            | Self::HeaderStart { path, .. }
            | Self::HeaderSyntax { path, .. }
            | Self::DuplicateTensor { path, .. }
            | Self::TensorSize { path, .. }
            | Self::Layout { path, .. }
            | Self::IndexSyntax { path, .. }
            | Self::ShardName { path, .. }
            | Self::NotInShard { path, .. }
            | Self::NotInIndex { path, .. }
            | Self::UnsupportedType { path, .. } => path,
        }
    }

    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(source) => return source.hint(),
            Self::NoWeights { .. } => {
                "the folder must be a model in Hugging Face layout; check model.path, or download its *.safetensors"
                    .into()
            }
            Self::PicklesOnly { .. } => {
                "download the safetensors revision of the model, or convert it once where you trust it, in Python: \
                 AutoModelForCausalLM.from_pretrained(dir).save_pretrained(new_dir, safe_serialization=True)"
                    .into()
            }
            Self::GitLfsPointer { .. } => "run `git lfs pull` in the model folder, or download the file".into(),
            Self::Truncated { .. } | Self::TrailingBytes { .. } => {
                "the download is incomplete or damaged; download the file again".into()
            }
            Self::HeaderTooLarge { .. } | Self::HeaderStart { .. } | Self::HeaderSyntax { .. } => {
                "the file is not safetensors, or damaged; download it again".into()
            }
            Self::DuplicateTensor { .. } | Self::TensorSize { .. } | Self::Layout { .. } => {
                "the file was written by a broken tool or is damaged; download it again".into()
            }
            Self::IndexSyntax { .. } | Self::ShardName { .. } | Self::NotInShard { .. } | Self::NotInIndex { .. } => {
                "index and shards do not belong together; download the model folder again".into()
            }
            Self::Missing { .. } => {
                "the download is incomplete or config.json belongs to another model; download the folder again".into()
            }
            Self::UnsupportedType { .. } => "convert the model to bf16 or f32 first".into(),
        })
    }
}
