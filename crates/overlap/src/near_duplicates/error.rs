//! What can go wrong.

use std::io;
use std::path::PathBuf;

/// Why near-duplicates could not be found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text could not be read.
    #[error("text {index} cannot be read: {source}")]
    Read {
        /// Its number, counting from 0.
        index: usize,
        /// Why.
        source: io::Error,
    },
    /// More texts than can be numbered.
    #[error("{rows} texts are more than {most}")]
    TooMany {
        /// How many there are.
        rows: usize,
        /// How many there may be.
        most: usize,
    },
    /// The order is no order of the texts.
    #[error("the order of {rows} texts {reason}")]
    Order {
        /// How many texts there are.
        rows: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A setting out of its range.
    #[error("`{name}` is {got}; it must be {expected}")]
    Setting {
        /// Its name.
        name: &'static str,
        /// What it is.
        got: String,
        /// What it must be.
        expected: &'static str,
    },
    /// A file of the embedding model could not be read.
    #[error("{}: {source}", path.display())]
    ModelFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the embedding model is not what it should be.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A text could not be cut into tokens.
    #[error("text {index} cannot be cut into tokens: {reason}")]
    Tokens {
        /// Its number, counting from 0.
        index: usize,
        /// What the tokenizer says.
        reason: String,
    },
}

impl Error {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Read { .. } => Some("the texts may have changed meanwhile; run it again".to_owned()),
            Self::TooMany { .. } => Some("split the texts, and compare the parts".to_owned()),
            Self::Order { .. } => Some("name every text once".to_owned()),
            Self::Setting { .. } => None,
            Self::ModelFile { .. } | Self::Model { .. } => Some(
                "a folder with a static embedding model has `model.safetensors` with a tensor `embeddings` (a vector for \
                 every token) and `tokenizer.json`, as model2vec writes them"
                    .to_owned(),
            ),
            Self::Tokens { .. } => Some("the tokenizer may not fit the model".to_owned()),
        }
    }
}
