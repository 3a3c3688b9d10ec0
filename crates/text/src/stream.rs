//! Tokens to text while they are generated.

use crate::error::TextError;
use crate::tokens::Tokens;

/// Turns tokens into text one by one.
///
/// A token may be half a character, and what a token adds may depend on the ones before it (a space at the start
/// of a text is dropped). So the last few tokens are decoded together, and text is handed out only when it is whole.
#[derive(Debug)]
pub struct DecodeStream<'a> {
    tokens: &'a Tokens,
    skip_special: bool,
    /// The tokens that are decoded together.
    window: Vec<u32>,
    /// How many of them have been handed out.
    done: usize,
    /// Their text.
    text: String,
}

/// Tokens that stand for one unfinished character; more are broken output and are handed out as they are.
const MAX_UNFINISHED: usize = 16;

impl<'a> DecodeStream<'a> {
    pub(crate) fn new(tokens: &'a Tokens, skip_special: bool) -> Self {
        Self { tokens, skip_special, window: Vec::new(), done: 0, text: String::new() }
    }

    /// Takes one more token and gives the text that is complete now, which may be empty.
    ///
    /// # Errors
    /// [`TextError::Encode`].
    pub fn push(&mut self, id: u32) -> Result<String, TextError> {
        self.window.push(id);
        let text = self.tokens.decode(&self.window, self.skip_special)?;
        if text.ends_with(char::REPLACEMENT_CHARACTER) && self.window.len() - self.done < MAX_UNFINISHED {
            return Ok(String::new());
        }
        self.advance(&text)
    }

    /// Gives what is left, an unfinished character as U+FFFD.
    ///
    /// # Errors
    /// [`TextError::Encode`].
    pub fn finish(mut self) -> Result<String, TextError> {
        let text = self.tokens.decode(&self.window, self.skip_special)?;
        self.advance(&text)
    }

    fn advance(&mut self, text: &str) -> Result<String, TextError> {
        let new = text.strip_prefix(self.text.as_str()).unwrap_or(text).to_owned();
        if new.is_empty() {
            // A skipped token, or one that shows only with the next: keep it in the window.
            return Ok(new);
        }
        // The next token is decoded behind the tokens handed out now, so that it is not the first of a text.
        self.window.drain(..self.done);
        self.done = self.window.len();
        self.text = self.tokens.decode(&self.window, self.skip_special)?;
        Ok(new)
    }
}
