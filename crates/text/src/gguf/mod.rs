//! Tokenizers as GGUF files keep them: read ([`TextModel::from_gguf_vocabulary`]) and made
//! ([`TextModel::to_gguf_vocabulary`]).
//!
//! Two kinds are known, by the names that GGUF gives them: `gpt2` (byte-level BPE with a named pre-tokenizer) and
//! `llama` (sentencepiece BPE: scores instead of merges, bytes as `<0x0A>`).

mod file;
pub(crate) mod pre;
mod read;
mod scores;
mod write;

pub use file::read_vocabulary;
pub(crate) use scores::merges_of_scores;
pub use write::GgufVocabulary;

#[cfg(doc)]
use crate::TextModel;

/// A normal token.
pub const NORMAL: i32 = 1;
/// The token for what cannot be encoded.
pub const UNKNOWN: i32 = 2;
/// A special token that has no text of its own.
pub const CONTROL: i32 = 3;
/// A token that is recognised as a whole before anything else, and printed.
pub const USER_DEFINED: i32 = 4;
/// An id without a token.
pub const UNUSED: i32 = 5;
/// One byte, written `<0x0A>`.
pub const BYTE: i32 = 6;

/// The tokenizer of a GGUF file: the values of `tokenizer.ggml.*` and `tokenizer.chat_template`, as they stand there.
///
/// A missing key is `None` or an empty list. Lists are indexed by token id.
///
/// # Source
/// The GGUF specification, section "Tokenizer", and the way in which llama.cpp reads the keys.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Vocabulary {
    /// `tokenizer.ggml.model`: `llama` or `gpt2`.
    pub model: String,
    /// `tokenizer.ggml.pre`: name of the pre-tokenizer of a `gpt2` vocabulary.
    pub pre: Option<String>,
    /// `tokenizer.ggml.tokens`.
    pub tokens: Vec<String>,
    /// `tokenizer.ggml.scores`: the higher, the earlier a pair is merged into this token (`llama` only).
    pub scores: Vec<f32>,
    /// `tokenizer.ggml.token_type`: [`NORMAL`] and its fellows; empty means that all are normal.
    pub token_types: Vec<i32>,
    /// `tokenizer.ggml.merges`: `left right`, the first one merged first (`gpt2` only).
    pub merges: Vec<String>,
    /// `tokenizer.ggml.bos_token_id`.
    pub bos: Option<u32>,
    /// `tokenizer.ggml.eos_token_id`.
    pub eos: Option<u32>,
    /// `tokenizer.ggml.eot_token_id`: end of turn.
    pub eot: Option<u32>,
    /// `tokenizer.ggml.eom_token_id`: end of message; generation stops there, too.
    pub eom: Option<u32>,
    /// `tokenizer.ggml.unknown_token_id`.
    pub unk: Option<u32>,
    /// `tokenizer.ggml.padding_token_id`.
    pub pad: Option<u32>,
    /// `tokenizer.ggml.add_bos_token`.
    pub add_bos: Option<bool>,
    /// `tokenizer.ggml.add_eos_token`.
    pub add_eos: Option<bool>,
    /// `tokenizer.ggml.add_space_prefix` (`llama` only).
    pub add_space_prefix: Option<bool>,
    /// `tokenizer.ggml.remove_extra_whitespaces` (`llama` only).
    pub remove_extra_whitespaces: Option<bool>,
    /// `tokenizer.chat_template`.
    pub chat_template: Option<String>,
    /// `tokenizer.chat_template.NAME` for each NAME in `tokenizer.chat_templates`.
    pub named_templates: Vec<(String, String)>,
}

impl Vocabulary {
    /// Type of a token; normal when the file has no types.
    pub fn token_type(&self, id: u32) -> i32 {
        self.token_types.get(id as usize).copied().unwrap_or(NORMAL)
    }
}

/// Texts of tokens at which llama.cpp ends a generation, whatever the file's ids say.
///
/// # Source
/// llama.cpp, `llama_vocab::impl::load`: the list of end-of-generation tokens (without those of image, speech and
/// harmony models).
pub(crate) const END_TEXTS: [&str; 11] = [
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "</s>",
    "<|eom_id|>",
    "<EOT>",
    "<|end_of_text|>",
    "<end_of_utterance>",
    "<\u{ff5c}end\u{2581}of\u{2581}sentence\u{ff5c}>",
];
