//! Names of repositories and files, and how they become addresses and paths.

use crate::error::HubError;

/// `org/name`, or the bare `name` of the oldest models.
///
/// # Errors
/// [`HubError::Repository`] with the rule that is broken.
pub fn check_repository(given: &str) -> Result<(), HubError> {
    let parts: Vec<&str> = given.split('/').collect();
    let plain = |part: &&str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    let ends = |part: &&str| part.is_empty() || part.starts_with(['.', '-']) || part.ends_with(['.', '-']);
    let reason = if given.contains("://") {
        "it is an address; give org/name alone"
    } else if given.len() > 96 || parts.len() > 2 {
        "expected org/name of at most 96 characters"
    } else if !parts.iter().all(plain) {
        "names have letters, digits, `.`, `_` and `-` only"
    } else if parts.iter().any(ends) || given.contains("--") || given.contains("..") {
        "a part is empty, begins or ends with `.` or `-`, or has `--` or `..`"
    } else {
        return Ok(());
    };
    Err(HubError::Repository { given: given.into(), reason })
}

/// Refuses every name of a server that could leave its folder, or mean something else on another system.
///
/// # Errors
/// [`HubError::UnsafeName`] with the rule that is broken.
pub(crate) fn check_file_name(name: &str) -> Result<(), HubError> {
    const DEVICES: [&str; 4] = ["con", "prn", "aux", "nul"];
    let refuse = |reason| Err(HubError::UnsafeName { name: name.chars().take(200).collect(), reason });
    if name.contains('\\') {
        return refuse("it has a backslash");
    }
    if name.starts_with('/') {
        return refuse("it is absolute");
    }
    if name.chars().any(|c| !(c.is_alphanumeric() || "._-+=@,()[] /".contains(c))) {
        return refuse("it has characters that file names of models do not have");
    }
    if name.split('/').count() > 8 {
        return refuse("it has more than 8 levels");
    }
    for part in name.split('/') {
        if part.is_empty() || part.len() > 200 {
            return refuse("a part is empty or longer than 200 bytes");
        }
        if part.starts_with('.') {
            return refuse("a part begins with a dot");
        }
        if part.ends_with(['.', ' ']) || part.starts_with(' ') {
            return refuse("a part begins with a blank, or ends with a dot or a blank");
        }
        let stem = part.split('.').next().unwrap_or_default().to_ascii_lowercase();
        let numbered = stem.len() == 4 && (stem.starts_with("com") || stem.starts_with("lpt"));
        if DEVICES.contains(&stem.as_str()) || numbered && stem.ends_with(|c: char| c.is_ascii_digit()) {
            return refuse("a part is the name of a device");
        }
    }
    Ok(())
}

/// Percent-encodes all but unreserved characters; `/` stays where `keep_slashes`.
pub(crate) fn encode(text: &str, keep_slashes: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep_slashes && byte == b'/' {
            encoded.push(char::from(byte));
        } else {
            encoded += &format!("%{byte:02X}");
        }
    }
    encoded
}

/// Whether `name` fits a pattern of `*` (any characters, slashes too) and `?` (one character).
#[must_use]
pub(crate) fn fits(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n, mut star) = (0, 0, None);
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(&c) if c == '?' || c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match &mut star {
                Some((at, from)) => {
                    *from += 1;
                    (p, n) = (*at + 1, *from);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|&c| c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repositories() {
        for good in ["gpt2", "Qwen/Qwen2.5-0.5B", "a_b/c.d-e"] {
            assert!(check_repository(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "a/", "/b", "a/b/c", "../b", "a/..", "a--b/c", "-a/b", "a b/c", "https://x.y/a/b", "a/b?x"]
        {
            assert!(check_repository(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn names_that_leave_the_folder_are_refused() {
        for good in ["config.json", "1_Pooling/config.json", "model-00001-of-00002.safetensors", "LICENSE (new).txt"] {
            assert!(check_file_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a//b",
            "C:/x",
            "a\\b",
            ".pull/x",
            ".git",
            "a/.b",
            "x\0",
            "x\n",
            "a:b",
            "nul",
            "NUL.json",
            "a/com1.txt",
            "x.",
            "x ",
            "a/b/c/d/e/f/g/h/i",
            "x\u{202e}y",
            "a%2fb",
            "~",
            "a*",
        ] {
            assert!(check_file_name(bad).is_err(), "{bad:?}");
        }
        assert!(check_file_name(&"a".repeat(201)).is_err());
    }

    #[test]
    fn patterns() {
        for (pattern, name) in [("*", ""), ("*.gguf", "a/b.gguf"), ("*Q4_?_M*", "x-Q4_K_M.gguf"), ("a*b*c", "axxbxbc")]
        {
            assert!(fits(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("", "a"), ("?", ""), ("*.gguf", "a.ggu"), ("a*b*c", "axxcb")] {
            assert!(!fits(pattern, name), "{pattern} {name}");
        }
    }

    #[test]
    fn addresses_are_encoded() {
        assert_eq!(encode("refs/pr/1", false), "refs%2Fpr%2F1");
        assert_eq!(encode("a b/ü", true), "a%20b/%C3%BC");
    }
}
