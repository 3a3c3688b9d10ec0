//! Tokenizers, chat templates, which tokens are trained.
//!
//! [`TextModel`] is everything about a base model that has to do with text: its `tokenizer.json`, its chat template
//! and the tokens at which it stops. It turns a [`Conversation`] into ids and says which of them are trained.

mod base64;
mod builtin;
pub mod conversation;
mod encode;
mod error;
mod facts;
mod files;
pub mod gguf;
mod guard;
mod locate;
mod marks;
mod model;
mod sentencepiece;
mod stream;
mod template;
mod tiktoken;
mod tokens;
mod trainer;
mod vocabulary;

pub use conversation::{Conversation, Message};
pub use encode::{Encoded, TrainOn};
pub use error::TextError;
pub use facts::{Facts, SpecialToken};
pub use model::{LoadOptions, TextModel};
pub use stream::DecodeStream;
pub use trainer::{TokenizerOptions, TrainedTokenizer, train_tokenizer};
