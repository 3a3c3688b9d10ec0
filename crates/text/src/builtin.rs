//! The chat templates that Attune brings itself, for models that have none.

use crate::error::TextError;
use crate::tokens::Tokens;

/// ChatML, for tokenizers that know its two tokens.
pub(crate) const CHATML: &str = include_str!("templates/chatml.jinja");
/// `User:` and `Assistant:` lines, each answer ended by EOS; for any tokenizer that has one. The answer begins on a
/// line of its own: most tokenizers end a token at a line break, while a blank may join with the word on either side,
/// and then the prompt of an answer would not be tokenised as it was in training.
const PLAIN: &str = include_str!("templates/plain.jinja");

/// The builtin template of that name, if there is one.
///
/// Neither writes BOS: the tokenizer adds it where it belongs.
///
/// # Errors
/// [`TextError::TemplateNeedsToken`] when the tokenizer lacks the tokens that end a turn.
pub(crate) fn template(name: &str, tokens: &Tokens) -> Result<Option<&'static str>, TextError> {
    match name {
        "chatml" if tokens.id("<|im_start|>").is_some() && tokens.id("<|im_end|>").is_some() => Ok(Some(CHATML)),
        "chatml" => {
            Err(TextError::TemplateNeedsToken { template: "chatml", needs: "the tokens <|im_start|> and <|im_end|>" })
        }
        "plain" if tokens.eos().is_some() => Ok(Some(PLAIN)),
        "plain" => Err(TextError::TemplateNeedsToken { template: "plain", needs: "an eos_token" }),
        _ => Ok(None),
    }
}
