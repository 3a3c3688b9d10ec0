//! E-mail addresses, plain and disguised.

use super::domain::{self, TopLevel};

/// Longer names before the sign are none (RFC 5321, 4.5.3.1.1).
const LONGEST_LOCAL: usize = 64;

/// An address around an `@`: start, end and confidence.
pub(crate) fn around(text: &str, sign: usize) -> Option<(usize, usize, f32)> {
    let start = local_start(text, sign)?;
    let (end, level) = domain::host(text, sign + 1)?;
    let bytes = text.as_bytes();
    let local = &text[start..sign];
    // `git@github.com:owner/name` and `user@host:~/path` are places of files.
    let path = bytes.get(end) == Some(&b':') && bytes.get(end + 1).is_some_and(|byte| !byte.is_ascii_whitespace());
    if path
        && (matches!(local, "git" | "hg" | "svn" | "root" | "ubuntu" | "ec2-user" | "admin")
            || !starts_port(bytes, end + 1))
    {
        return None;
    }
    // A second sign: a path of packages, not an address.
    if bytes.get(end) == Some(&b'@') {
        return None;
    }
    let confidence = match level {
        TopLevel::Known => 0.95,
        TopLevel::Unknown => 0.4,
    };
    Some((start, end, confidence))
}

fn starts_port(bytes: &[u8], at: usize) -> bool {
    bytes.get(at).is_some_and(u8::is_ascii_digit)
}

/// Where the name before a sign begins.
fn local_start(text: &str, sign: usize) -> Option<usize> {
    let low = text.ceil_char_boundary(sign.saturating_sub(LONGEST_LOCAL + 1));
    let mut start = sign;
    for (offset, character) in text[low..sign].char_indices().rev() {
        if !is_local(character) {
            break;
        }
        start = low + offset;
    }
    if sign - start > LONGEST_LOCAL {
        return None;
    }
    // Signs that may stand inside a name are more often quotes, slashes and dashes around it.
    let local = &text[start..sign];
    // `password=me@example.org` and `a/b@example.org`: the name is what stands behind.
    let behind = local.rfind(['=', '/', '?', '&', '|', '{', '}', '`', '\'', '#', '$', '!', '*']);
    start += behind.map_or(0, |place| place + 1);
    // Percent signs of URLs: `mailto%3Ame@example.org`.
    if let Some(place) = text[start..sign].rfind('%') {
        start += (place + 3).min(sign - start);
        if !text.is_char_boundary(start) {
            return None;
        }
    }
    let trimmed = text[start..sign].trim_start_matches(['.', '-', '^', '~', '+']);
    let start = sign - trimmed.len();
    if trimmed.is_empty() || trimmed.ends_with('.') || trimmed.contains("..") {
        return None;
    }
    // `\nme@example.org` in escaped text: the n belongs to the escape.
    if start > 0 && text.as_bytes()[start - 1] == b'\\' && trimmed.len() > 1 && trimmed.starts_with(['n', 't', 'r']) {
        return Some(start + 1);
    }
    Some(start)
}

fn is_local(character: char) -> bool {
    match character {
        'a'..='z' | 'A'..='Z' | '0'..='9' => true,
        '.' | '_' | '-' | '+' | '%' | '\'' | '!' | '#' | '$' | '&' | '*' | '/' | '=' | '?' | '^' | '`' | '{' | '|'
        | '}' | '~' => true,
        // Letters of scripts that put spaces between words: elsewhere a name would swallow the sentence.
        other => {
            !other.is_ascii()
                && other.is_alphabetic()
                && !matches!(other, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{e00}'..='\u{eff}')
        }
    }
}

/// Words and signs that stand for `@` and `.`.
const AT: &[&str] = &["at", "@", "ät", "arroba", "[@]"];
const DOT: &[&str] = &["dot", ".", "punkt", "punto", "point", "dt"];

/// A disguised address around the bracket (or space) before its `at`: `name (at) host dot org`. The span and the
/// address it stands for.
pub(crate) fn disguised(text: &str, sign: usize) -> Option<(usize, usize, String)> {
    let bytes = text.as_bytes();
    let (behind_at, bracketed) = sign_word(text, sign, AT)?;
    // The name: what stands before, behind at most one space.
    let name_end = sign - usize::from(sign > 0 && bytes[sign - 1] == b' ');
    let low = name_end.saturating_sub(LONGEST_LOCAL);
    let part = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
    let name_start = name_end - bytes[low..name_end].iter().rev().take_while(part).count();
    let name = text.get(name_start..name_end)?.trim_start_matches(['.', '-', '+']);
    let name_start = name_end - name.len();
    if name.is_empty() || name_start > 0 && !text.is_char_boundary(name_start) {
        return None;
    }
    // The labels of the host, with dots of any kind between them.
    let mut host = String::new();
    let mut at = skip_space(bytes, behind_at);
    let mut end = at;
    let mut dotted = false;
    for _ in 0..6 {
        let length =
            bytes[at..].iter().take(64).take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'-').count();
        if length == 0 || length > 63 {
            break;
        }
        host.push_str(&text[at..at + length]);
        end = at + length;
        let Some((behind_dot, word)) = dot(text, end) else { break };
        dotted |= word;
        host.push('.');
        at = skip_space(bytes, behind_dot);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    if bytes.get(end).is_some_and(u8::is_ascii_alphanumeric) {
        return None;
    }
    match domain::host(&host, 0) {
        // Without brackets, `meet at noon dot com` has to be taken for one; a plain dot is not enough.
        Some((length, TopLevel::Known)) if length == host.len() && (bracketed || dotted) => {
            Some((name_start, end, format!("{}@{host}", name.to_ascii_lowercase())))
        }
        _ => None,
    }
}

/// The word for a sign at a place, in brackets or between spaces: where it ends, and whether there are brackets.
fn sign_word(text: &str, at: usize, words: &[&str]) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    let close = match bytes.get(at)? {
        b'(' => Some(b')'),
        b'[' => Some(b']'),
        b'{' => Some(b'}'),
        b'<' => Some(b'>'),
        b' ' => None,
        _ => return None,
    };
    let word_start = skip_space(bytes, at + 1);
    for word in words {
        let end = word_start + word.len();
        if !text.get(word_start..end).is_some_and(|found| found.eq_ignore_ascii_case(word)) {
            continue;
        }
        let behind = skip_space(bytes, end);
        match close {
            Some(close) if bytes.get(behind) == Some(&close) => return Some((behind + 1, true)),
            // Without brackets only words count: a plain sign is no disguise.
            None if bytes.get(end) == Some(&b' ') && word.len() > 1 => return Some((end, false)),
            _ => {}
        }
    }
    None
}

/// A dot of any kind behind a label: where it ends, and whether it is a word.
fn dot(text: &str, at: usize) -> Option<(usize, bool)> {
    let bytes = text.as_bytes();
    if bytes.get(at) == Some(&b'.') {
        return bytes.get(at + 1).is_some_and(u8::is_ascii_alphanumeric).then_some((at + 1, false));
    }
    let spaced = skip_space(bytes, at);
    sign_word(text, spaced, DOT)
        .or_else(|| if spaced > at { sign_word(text, at, DOT) } else { None })
        .map(|(end, _)| (end, true))
}

/// One space at most.
fn skip_space(bytes: &[u8], at: usize) -> usize {
    at + usize::from(bytes.get(at) == Some(&b' '))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Option<&str> {
        text.bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'@')
            .find_map(|(at, _)| around(text, at))
            .and_then(|(start, end, confidence)| (confidence > 0.5).then(|| &text[start..end]))
    }

    fn hidden(text: &str) -> Option<String> {
        (0..text.len()).find_map(|at| disguised(text, at)).map(|(.., value)| value)
    }

    #[test]
    fn addresses() {
        for (text, address) in [
            ("me@example.org", "me@example.org"),
            ("<first.last+tag@sub.example.co.uk>", "first.last+tag@sub.example.co.uk"),
            ("mailto:o'neil@example.com.", "neil@example.com"),
            ("mail:me_2@example.museum, you", "me_2@example.museum"),
            ("jürgen@müller.de", "jürgen@müller.de"),
            ("?email=a.b@example.com&x=1", "a.b@example.com"),
            ("?email%3Da.b@example.com", "a.b@example.com"),
            ("请联系zhang.wei@example.cn。", "zhang.wei@example.cn"),
            ("{\"mail\":\"x@y.io\"}", "x@y.io"),
            ("line\\nme@example.org", "me@example.org"),
            ("123456789@qq.com", "123456789@qq.com"),
            ("a@b.co:8080", "a@b.co"),
        ] {
            assert_eq!(found(text), Some(address), "{text}");
        }
    }

    #[test]
    fn no_addresses() {
        for text in [
            "@handle",
            "left-pad@1.3.0",
            "pkg@1.2.3",
            "me@localhost",
            "a@@b.com",
            "me@.com",
            "git@github.com:owner/name",
            "icon@2x.png",
            "x@w.T",
            "@app.route",
            "me@-example.com",
            "me@127.0.0.1",
            ".@example.com",
            "user@host:~/x",
            "react@18.2.0-beta.com1",
            "deploy@box.example.com:/srv",
        ] {
            assert_eq!(found(text), None, "{text}");
        }
    }

    #[test]
    fn disguises() {
        for (text, address) in [
            ("jane (at) example dot org", "jane@example.org"),
            ("write to jane.doe[at]example[dot]co[dot]uk now", "jane.doe@example.co.uk"),
            ("jane at example dot org", "jane@example.org"),
            ("jane {AT} example.org", "jane@example.org"),
            ("jane(at)example(dot)de", "jane@example.de"),
        ] {
            assert_eq!(hidden(text).as_deref(), Some(address), "{text}");
        }
        for text in [
            "we meet at example.org",
            "look at that dot on the map",
            "f(at) b",
            "array[at] x.com1",
            "at dot",
            "(at)",
            "arrive (at) noon",
            "jane at example dot nothingatall",
        ] {
            assert_eq!(hidden(text), None, "{text}");
        }
    }
}
