//! How PEFT matches the names of modules.

use std::collections::BTreeMap;

use regex::Regex;

use super::PeftError;

/// The value of a `rank_pattern` or `alpha_pattern` for a module, with the key that matched; `None` when none does.
///
/// A key matches when, read as a regular expression, it matches the whole module name or what follows a dot in it:
/// `q_proj`, `layers.0.self_attn.q_proj`, `layers\.[0-3]\..*`, `^model.layers.0.mlp.up_proj`. Of several keys that match,
/// the first one counts; keys are sorted, as they are in every file that PEFT writes.
///
/// # Errors
/// [`PeftError::Pattern`] when a key is not a regular expression that Rust's `regex` knows.
///
/// # Source
/// `get_pattern_key` of PEFT: `re.match(rf"(.*\.)?({key})$", name)`.
pub fn pattern_value<'a, V>(
    patterns: &'a BTreeMap<String, V>,
    module: &str,
) -> Result<Option<(&'a str, &'a V)>, PeftError> {
    for (key, value) in patterns {
        if key_matches(key, module)? {
            return Ok(Some((key, value)));
        }
    }
    Ok(None)
}

pub(super) fn key_matches(key: &str, module: &str) -> Result<bool, PeftError> {
    if is_plain(key) && module.is_ascii() {
        // The common case without a regular expression: a dot stands for any character, all others for themselves.
        let Some(start) = module.len().checked_sub(key.len()) else { return Ok(false) };
        let (before, tail) = module.as_bytes().split_at(start);
        let same = key.bytes().zip(tail).all(|(key, &byte)| key == byte || (key == b'.' && byte != b'\n'));
        return Ok(same && before.last().is_none_or(|&byte| byte == b'.'));
    }
    Ok(compile(key, &format!(r"^(?:.*\.)?(?:{key})$"))?.is_match(module))
}

/// Whether a regular expression matches a whole module name (`re.fullmatch`).
pub(super) fn matches_fully(pattern: &str, module: &str) -> Result<bool, PeftError> {
    Ok(compile(pattern, &format!("^(?:{pattern})$"))?.is_match(module))
}

/// `shown` is what the user wrote.
pub(super) fn compile(shown: &str, expression: &str) -> Result<Regex, PeftError> {
    Regex::new(expression).map_err(|error| PeftError::Pattern {
        pattern: shown.to_string(),
        reason: error.to_string().replace('\n', " "),
    })
}

fn is_plain(key: &str) -> bool {
    key.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.')
}

/// Whether plain keys can match one and the same module: one is the end of the other.
pub(super) fn can_overlap(left: &str, right: &str) -> bool {
    let ends_with = |long: &str, short: &str| {
        long.strip_suffix(short).is_some_and(|before| before.is_empty() || before.ends_with('.'))
    };
    !is_plain(left) || !is_plain(right) || ends_with(left, right) || ends_with(right, left)
}
