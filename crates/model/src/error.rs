//! What can be wrong with a base model or an adapter.

use std::path::{Component, Path, PathBuf};

/// A base model or an adapter that cannot be used, or a request that does not fit it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// `config.json` is missing or unreadable.
    #[error("{}: cannot read it: {source}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `config.json` is not JSON.
    #[error("{}: not valid JSON: {source}", path.display())]
    ConfigJson {
        /// The file.
        path: PathBuf,
        /// Line, column and reason.
        source: serde_json::Error,
    },
    /// A key of `config.json` is missing or has a value that makes no sense.
    #[error("{}: {key}: {reason}", path.display())]
    ConfigKey {
        /// The file.
        path: PathBuf,
        /// The key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// The architecture or one of its features is not supported; computing without it would be wrong in silence.
    #[error("{}: {what} is not supported", path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// The architecture or feature, with its value.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The weight files themselves are broken.
    #[error(transparent)]
    Weights(#[from] attune_formats::tensors::TensorError),
    /// The GGUF file itself is broken.
    #[error(transparent)]
    Gguf(#[from] attune_formats::gguf::GgufError),
    /// The adapter's files are broken.
    #[error(transparent)]
    Adapter(#[from] attune_formats::peft::PeftError),
    /// The adapter's files, in the layout of mlx-lm, are broken.
    #[error(transparent)]
    MlxAdapter(#[from] attune_formats::mlx::MlxError),
    /// The path holds no adapter of a known layout.
    #[error("{}: {reason}", path.display())]
    NoAdapter {
        /// What was given.
        path: PathBuf,
        /// What it is, or lacks.
        reason: String,
    },
    /// The adapter has what the layout that it is to be written in cannot say.
    #[error("{layout} cannot hold this adapter: {reason}")]
    NotRepresentable {
        /// The layout's name.
        layout: &'static str,
        /// What it cannot say.
        reason: String,
        /// What to do.
        hint: String,
    },
    /// A file could not be written.
    #[error(transparent)]
    File(#[from] attune_formats::files::FileError),
    /// A tensor that the architecture needs is not in the files.
    #[error("{}: tensor '{name}' is missing", dir.display())]
    MissingTensor {
        /// The model folder.
        dir: PathBuf,
        /// Its name in the checkpoint.
        name: String,
    },
    /// A tensor is in the files that the architecture does not have.
    #[error("{}: tensor '{name}' does not belong to this architecture ({count} such tensors)", dir.display())]
    UnexpectedTensor {
        /// The model folder.
        dir: PathBuf,
        /// The first of them.
        name: String,
        /// How many there are.
        count: usize,
    },
    /// A tensor has another shape than `config.json` implies.
    #[error("{}: tensor '{name}' has shape {got:?}, expected {expected:?}", dir.display())]
    TensorShape {
        /// The model or adapter folder.
        dir: PathBuf,
        /// Its name in the checkpoint.
        name: String,
        /// The shape in the file.
        got: Vec<usize>,
        /// The shape implied by the configuration.
        expected: Vec<usize>,
    },
    /// A tensor is stored in a type that is not read.
    #[error("{}: tensor '{name}' is stored as {dtype}", dir.display())]
    TensorType {
        /// The model folder.
        dir: PathBuf,
        /// Its name in the checkpoint.
        name: String,
        /// The type.
        dtype: String,
    },
    /// A tensor holds a NaN or an infinity.
    #[error("{}: tensor '{name}' has a non-finite value at element {index}", dir.display())]
    NonFinite {
        /// The model or adapter folder.
        dir: PathBuf,
        /// Its name in the checkpoint.
        name: String,
        /// Flat index of the first such element.
        index: usize,
    },
    /// A matrix cannot be quantised.
    #[error("{}: '{name}' cannot be quantised: {reason}", dir.display())]
    Quantize {
        /// The model.
        dir: PathBuf,
        /// Its name in the checkpoint.
        name: String,
        /// What is in the way.
        reason: String,
    },
    /// The adapter matches no module of the model.
    #[error("no adapter module matched: {what}")]
    NoModuleMatched {
        /// What was asked for.
        what: String,
    },
    /// The adapter's numbers make no sense for this model.
    #[error("adapter: {key}: {reason}")]
    AdapterSpec {
        /// The configuration key.
        key: String,
        /// What is wrong.
        reason: String,
    },
    /// A prompt or a row does not fit the model's context.
    #[error("{tokens} tokens do not fit the model's {limit} positions")]
    ContextLength {
        /// Length asked for.
        tokens: usize,
        /// Longest the model was made for.
        limit: usize,
    },
    /// A token id is outside of the embedding.
    #[error("token id {id} is outside of the embedding of {rows} rows")]
    TokenId {
        /// The id.
        id: u32,
        /// Rows of the embedding.
        rows: usize,
    },
    /// A prompt without tokens.
    #[error("the prompt has no tokens")]
    EmptyPrompt,
}

/// What to do where `path` is not there and ends like the name of a model on a hub, `org/name`.
pub fn pull_hint(path: &Path) -> Option<String> {
    let mut parts = path.components().rev().map_while(|part| match part {
        Component::Normal(part) => part.to_str(),
        _ => None,
    });
    let (name, organisation) = (parts.next()?, parts.next()?);
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    // In a folder that is there, the name of a folder was mistyped.
    if !plain(name) || !plain(organisation) || path.parent()?.exists() {
        return None;
    }
    Some(format!(
        "if this is a model of a hub: `ft pull {organisation}/{name}` downloads it to models/{organisation}/{name}, \
         which is then the path"
    ))
}

impl ModelError {
    /// What the user can do.
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            Self::Config { path, .. } if path.parent().and_then(pull_hint).is_some() => {
                return path.parent().and_then(pull_hint);
            }
            Self::Config { .. } => "model.path must be a folder in Hugging Face layout (config.json, *.safetensors, tokenizer.json) or a .gguf file".into(),
            Self::ConfigJson { .. } | Self::ConfigKey { .. } => "take config.json from the model's original download".into(),
            Self::Unsupported { hint, .. } => hint.clone(),
            Self::MissingTensor { .. } => "the download is incomplete or config.json belongs to another model; download the folder again".into(),
            Self::UnexpectedTensor { .. } => "config.json belongs to another model, or has a feature that Attune would leave out; check model_type and the bias keys".into(),
            Self::TensorShape { .. } => "config.json or adapter_config.json belongs to another model".into(),
            Self::TensorType { .. } => "F32, F16 and BF16 weights are read, in GGUF files Q8_0, Q4_0, Q4_K, Q5_K and Q6_K, too, and in models of mlx codes of type U32 with scales and biases; convert the model first".into(),
            Self::NonFinite { .. } => "the file is damaged or a broken training wrote it; download it again".into(),
            Self::Quantize { .. } => "set model.quantize to none, or to int8, whose blocks have 32 values".into(),
            Self::NoModuleMatched { .. } => "set adapter.target_modules to all-linear or to some of q_proj, k_proj, v_proj, o_proj, gate_proj, up_proj, down_proj, and check adapter.layers".into(),
            Self::AdapterSpec { key, .. } => format!("change {key}"),
            Self::ContextLength { limit, .. } => format!("keep prompt and answer within {limit} tokens"),
            Self::TokenId { .. } => "the tokenizer belongs to another model".into(),
            Self::EmptyPrompt => "give a prompt with at least one character".into(),
            Self::Weights(source) => return source.hint(),
            Self::Gguf(source) => return source.hint(),
            Self::Adapter(source) => return source.hint(),
            Self::MlxAdapter(source) => return source.hint(),
            Self::NoAdapter { .. } => "give a folder with adapter_config.json and its safetensors file, as PEFT or mlx-lm write it".into(),
            Self::NotRepresentable { hint, .. } => hint.clone(),
            Self::File(source) => return source.hint(),
        })
    }
}
