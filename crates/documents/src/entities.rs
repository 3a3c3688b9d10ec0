//! Character references of HTML, as the tokenizer of the HTML standard reads them.

use std::borrow::Cow;

use html5gum::{Token, Tokenizer};

/// Decodes `&amp;`, `&#8217;` and the like in text without tags; `<` may not occur in it.
pub(crate) fn decode(text: &str) -> Cow<'_, str> {
    debug_assert!(!text.contains('<'), "a tag in {text:?}");
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let mut out = Vec::with_capacity(text.len());
    for token in Tokenizer::new(text) {
        let Ok(token) = token;
        if let Token::String(string) = token {
            out.extend_from_slice(&string);
        }
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

/// As [`decode`], for text in which `<` is a character like any other.
pub(crate) fn decode_any(text: &str) -> Cow<'_, str> {
    if !text.contains('&') {
        return Cow::Borrowed(text);
    }
    let parts: Vec<Cow<'_, str>> = text.split('<').map(decode).collect();
    Cow::Owned(parts.join("<"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decodes() {
        assert_eq!(decode("AT&amp;T &lt;3 &#8217;&nbsp;&rlm;&hellip;"), "AT&T <3 \u{2019}\u{a0}\u{200f}\u{2026}");
        assert_eq!(decode("a & b &zzz; &"), "a & b &zzz; &");
        assert_eq!(decode_any("1 < 2 &amp;&amp; 3"), "1 < 2 && 3");
    }
}
