//! URLs, and those with a password in them.

/// Longer ones are read this far.
const LONGEST: usize = 2048;

/// A URL.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Url {
    pub(crate) start: usize,
    pub(crate) end: usize,
    /// How sure it is that a password is in it; 0 when there is none.
    pub(crate) credentials: f32,
}

/// A URL around the colon of `://`.
pub(crate) fn around(text: &str, colon: usize) -> Option<Url> {
    let bytes = text.as_bytes();
    if !bytes[colon + 1..].starts_with(b"//") {
        return None;
    }
    let low = colon.saturating_sub(24);
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.');
    let length = bytes[low..colon].iter().rev().take_while(part).count();
    // A scheme begins with a letter.
    let skipped = bytes[colon - length..colon].iter().take_while(|byte| !byte.is_ascii_alphabetic()).count();
    let start = colon - length + skipped;
    if length == skipped {
        return None;
    }
    let authority = colon + 3;
    let end = trimmed_end(text, authority);
    if end == authority {
        return None;
    }
    let authority_end = authority
        + bytes[authority..end].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(end - authority);
    Some(Url { start, end, credentials: credentials(&text[authority..authority_end]) })
}

/// A host that begins with `www.`, and what follows it.
pub(crate) fn www(text: &str, start: usize) -> Option<Url> {
    let bytes = text.as_bytes();
    if start > 0
        && (bytes[start - 1].is_ascii_alphanumeric() || matches!(bytes[start - 1], b'.' | b'_' | b'-' | b'/' | b'@'))
    {
        return None;
    }
    if !bytes.get(start..start + 4)?.eq_ignore_ascii_case(b"www.") {
        return None;
    }
    let (host_end, _) = super::domain::host(text, start)?;
    // `www.com` names no host.
    if !text[start + 4..host_end].contains('.') {
        return None;
    }
    let end = match bytes.get(host_end) {
        Some(b'/' | b'?' | b'#' | b':') => trimmed_end(text, host_end).max(host_end),
        _ => host_end,
    };
    Some(Url { start, end, credentials: 0.0 })
}

/// Where a URL ends that goes on at a place: before what cannot stand in one, and without the marks of the sentence.
fn trimmed_end(text: &str, start: usize) -> usize {
    let limit = text.floor_char_boundary((start + LONGEST).min(text.len()));
    let stops = |character: char| {
        character.is_whitespace()
            || character.is_control()
            || matches!(
                character,
                '"' | '<' | '>' | '`' | '{' | '}' | '|' | '\\' | '^' | '“' | '”' | '‘' | '’' | '«' | '»'
                    | '\u{3000}'..='\u{303f}' | '\u{ff00}'..='\u{ff20}'
            )
    };
    let window = &text[start..limit];
    let mut url = &window[..window.find(stops).unwrap_or(window.len())];
    // A bracket that was not opened in it closes something around it.
    let count = |bracket: char| url.chars().filter(|character| *character == bracket).count();
    let mut round = count(')').saturating_sub(count('('));
    let mut square = count(']').saturating_sub(count('['));
    while let Some(last) = url.chars().next_back() {
        match last {
            '.' | ',' | ';' | ':' | '!' | '?' | '\'' | '*' | '_' | '~' | '…' => {}
            ')' if round > 0 => round -= 1,
            ']' if square > 0 => square -= 1,
            _ => break,
        }
        url = &url[..url.len() - last.len_utf8()];
    }
    start + url.len()
}

/// How sure it is that an authority (`user:password@host`) has a password.
fn credentials(authority: &str) -> f32 {
    let Some((user_info, host)) = authority.rsplit_once('@') else { return 0.0 };
    let Some((user, password)) = user_info.split_once(':') else { return 0.0 };
    if password.is_empty() || host.is_empty() {
        return 0.0;
    }
    // A place for a password, not one: `${PASS}`, `<password>`, `%s`, `***`, `xxxx`, `[password]`.
    let signs = |text: &str| {
        text.starts_with(['$', '<', '%', '{', '[', '*', '(']) && !text.starts_with("%2") || text.contains("${")
    };
    let lower = password.to_lowercase();
    let one_letter = lower.chars().all(|character| lower.starts_with(character)) && lower.len() > 1;
    let words = [
        "password",
        "passwd",
        "pass",
        "pwd",
        "pw",
        "secret",
        "token",
        "user",
        "username",
        "yourpassword",
        "your_password",
        "changeme",
        "example",
        "mypassword",
        "port",
    ];
    if signs(password) || signs(user) || one_letter {
        0.2
    } else if words.contains(&lower.as_str()) {
        0.4
    } else {
        0.95
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        let colon = text.find("://")?;
        around(text, colon).map(|url| &text[url.start..url.end])
    }

    #[test]
    fn urls_end_where_they_end() {
        for (text, url) in [
            ("see https://example.com/a?b=c#d.", "https://example.com/a?b=c#d"),
            ("(https://example.com/a_(b))", "https://example.com/a_(b)"),
            ("<http://x.de>", "http://x.de"),
            ("[x](ftp://x.de/y)", "ftp://x.de/y"),
            ("\"git+ssh://h/p\"", "git+ssh://h/p"),
            ("参见https://例え.jp/パス。", "https://例え.jp/パス"),
            ("1http://a.b", "http://a.b"),
        ] {
            assert_eq!(found(text), Some(url), "{text}");
        }
        for text in ["://x", "12://x", "http:// x", "http://", "http://..."] {
            assert_eq!(found(text), None, "{text}");
        }
        assert_eq!(www("www.example.com/x, and", 0).map(|url| url.end), Some(17));
        for text in ["www.", "www.com", "www. example", "ww.example.com"] {
            assert_eq!(www(text, 0), None, "{text}");
        }
    }

    #[test]
    fn passwords() {
        for text in ["postgres://app:s3cr3t!x@db.example.com/x", "https://u:p%40ss9@h", "redis://:f00bar@h:6379"] {
            let url = around(text, text.find("://").expect("a colon")).expect("a URL");
            assert!(url.credentials > 0.9, "{text}");
        }
        for text in [
            "https://user:password@h",
            "https://u:${PASS}@h",
            "https://git@github.com/x",
            "https://u:@h",
            "https://u:***@h",
            "https://x.de/a:b@c",
            "https://<user>:<password>@h",
            "https://u:xxxx@h",
        ] {
            let credentials = around(text, text.find("://").expect("a colon")).map_or(0.0, |url| url.credentials);
            assert!(credentials < 0.5, "{text}");
        }
    }
}
