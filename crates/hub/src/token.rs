//! The hub's token: where it is found, and that it is never shown.

use std::fmt;
use std::path::{Path, PathBuf};

use attune_formats::files::read_limited;

use crate::error::HubError;

/// A token. Neither `Debug` nor any message shows it.
#[derive(Clone)]
pub struct Token {
    secret: String,
    from: String,
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token(from {})", self.from)
    }
}

/// More than any token has.
const MOST_BYTES: usize = 4096;

impl Token {
    /// A token and the name of its source.
    ///
    /// # Errors
    /// [`HubError::BadToken`] when it could not stand in a header.
    pub fn new(secret: &str, from: &str) -> Result<Self, HubError> {
        let secret = secret.trim();
        if secret.is_empty() || secret.len() > MOST_BYTES || !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(HubError::BadToken { from: from.into() });
        }
        Ok(Self { secret: secret.into(), from: from.into() })
    }

    /// Where it was found.
    #[must_use]
    pub fn from(&self) -> &str {
        &self.from
    }

    pub(crate) fn secret(&self) -> &str {
        &self.secret
    }

    /// The first of: `HF_TOKEN`, `HF_TOKEN` in `.env` of the folder `here`, what `stored` ([`Token::stored`]) has, and, for `huggingface.co` alone, the file
    /// that huggingface-cli keeps (`$HF_HOME/token`, `~/.cache/huggingface/token`).
    ///
    /// `.env` gives the token only, never the endpoint: a folder from elsewhere must not say where a token goes.
    ///
    /// # Errors
    /// [`HubError::BadToken`] when what is found cannot be a token.
    pub fn find(
        variable: impl Fn(&str) -> Option<String>,
        stored: impl Fn(&str) -> Option<Self>,
        here: &Path,
        for_host: &str,
    ) -> Result<Option<Self>, HubError> {
        let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
        if let Some(secret) = given("HF_TOKEN") {
            return Self::new(&secret, "HF_TOKEN").map(Some);
        }
        if let Some(secret) = read_text(&here.join(".env")).and_then(|text| value_of(&text, "HF_TOKEN")) {
            return Self::new(&secret, ".env").map(Some);
        }
        if let Some(token) = stored(for_host) {
            return Ok(Some(token));
        }
        if for_host != "huggingface.co" {
            return Ok(None);
        }
        let home = || given("HOME").or_else(|| given("USERPROFILE"));
        let folder = given("HF_HOME")
            .map(PathBuf::from)
            .or_else(|| Some(PathBuf::from(given("XDG_CACHE_HOME")?).join("huggingface")))
            .or_else(|| Some(PathBuf::from(home()?).join(".cache/huggingface")));
        let Some(file) = folder.map(|folder| folder.join("token")) else { return Ok(None) };
        let secret = read_text(&file).filter(|text| !text.trim().is_empty());
        secret.map(|secret| Self::new(&secret, &file.display().to_string())).transpose()
    }
}

fn read_text(path: &Path) -> Option<String> {
    String::from_utf8(read_limited(path, 1 << 20).ok()?).ok()
}

/// The value of `KEY=value`, `export KEY="value"`.
fn value_of(text: &str, key: &str) -> Option<String> {
    text.lines()
        .filter_map(|line| {
            let line = line.trim();
            let (name, value) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
            let value = value.trim();
            let quoted = ['"', '\''].iter().find_map(|&quote| value.strip_prefix(quote)?.split_once(quote));
            let value = match quoted {
                Some((inside, _)) => inside,
                None => value.split(" #").next().unwrap_or_default().trim(),
            };
            (name.trim() == key && !value.is_empty()).then(|| value.to_owned())
        })
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path().join("home");
        attune_formats::files::create_dir_all(&home).unwrap();
        let find = |token: Option<&str>, host: &str| {
            let variable = |name: &str| match name {
                "HF_TOKEN" => token.map(str::to_owned),
                "HF_HOME" => Some(home.display().to_string()),
                _ => None,
            };
            let stored = |host: &str| (host == "stored.example").then(|| Token::new("hf_stored", "store").unwrap());
            Token::find(variable, stored, dir.path(), host).unwrap().map(|token| token.secret().to_owned())
        };
        assert_eq!(find(None, "huggingface.co"), None);
        attune_formats::files::write_atomic(&home.join("token"), b"hf_file\n").unwrap();
        assert_eq!(find(None, "huggingface.co").as_deref(), Some("hf_file"));
        assert_eq!(find(None, "stored.example").as_deref(), Some("hf_stored"));
        assert_eq!(find(None, "mirror.example"), None, "the file's token belongs to huggingface.co");
        attune_formats::files::write_atomic(&dir.path().join(".env"), b"# x\nA=b\nexport HF_TOKEN=\"hf_env\" # y\n")
            .unwrap();
        assert_eq!(find(None, "huggingface.co").as_deref(), Some("hf_env"));
        assert_eq!(find(None, "stored.example").as_deref(), Some("hf_env"));
        assert_eq!(find(Some(" hf_variable\n"), "mirror.example").as_deref(), Some("hf_variable"));
    }

    #[test]
    fn it_is_never_shown() {
        let token = Token::new("hf_secret", "HF_TOKEN").unwrap();
        assert_eq!(format!("{token:?}"), "Token(from HF_TOKEN)");
        for bad in ["hf_a\r\nX: y", "hf a", "hf_ü"] {
            let error = Token::new(bad, "x").unwrap_err();
            assert!(!format!("{error:?} {error}").contains(bad));
        }
    }
}
