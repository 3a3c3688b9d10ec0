//! `password = "..."`, `api_key: ...`: values that a name declares secret, in whatever language.

use std::ops::Range;

use super::rule::{Rule, Search, label};
use super::{placeholder, shape};

/// The longest name and the longest value that are looked at.
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 512;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Password,
    Token,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Written {
    /// `name = "value"`.
    Quoted,
    /// `name=value` as in a file of settings, `<name>value</name>`.
    Plain,
    /// Without an operator: `--password value`.
    Spaced,
}

/// The rules of this file.
pub(super) fn rules() -> Vec<Rule> {
    vec![
        Rule::custom(
            "generic-password",
            "any",
            "quoted value of something named password",
            &["pass", "pwd", "kennwort", "senha", "contrase", "credential"],
            password,
        )
        .label(label::PASSWORD)
        .sure(0.6),
        Rule::sibling("generic-password-setting", "any", "value without quotes of something named password")
            .label(label::PASSWORD)
            .sure(0.55),
        Rule::custom(
            "generic-secret",
            "any",
            "irregular value of something named secret or credential",
            &[
                "secret",
                "token",
                "_key",
                "-key",
                "apikey",
                "api key",
                "accesskey",
                "privatekey",
                "auth",
                "appkey",
                "masterkey",
                "encryptionkey",
                "signingkey",
                "sharedkey",
                "cookie",
                "salt",
            ],
            token,
        )
        .label(label::SECRET)
        .sure(0.65),
        Rule::sibling("generic-api-key", "any", "irregular value of something named API key, access key and the like")
            .label(label::API_KEY)
            .sure(0.65),
        Rule::sibling("generic-token", "any", "irregular value of something named token, auth or cookie")
            .label(label::TOKEN)
            .sure(0.65),
    ]
}

fn password(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    find(search, keyword, rule, Kind::Password);
}

fn token(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    find(search, keyword, rule, Kind::Token);
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

fn find(search: &mut Search<'_>, keyword: Range<usize>, rule: usize, wanted: Kind) {
    if keyword.start < search.judged[wanted as usize] {
        return;
    }
    let bytes = search.text.as_bytes();
    let start = keyword.start
        - bytes[..keyword.start].iter().rev().take(LONGEST_NAME).take_while(|&&byte| is_name(byte)).count();
    let end = keyword.end + bytes[keyword.end..].iter().take(LONGEST_NAME).take_while(|&&byte| is_name(byte)).count();
    search.judged[wanted as usize] = end;
    let name: String = bytes[start..end]
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(|byte| char::from(byte.to_ascii_lowercase()))
        .collect();
    if kind(&name) != Some(wanted) {
        return;
    }
    let Some((value, written)) = value(bytes, start, end) else { return };
    // What goes on for so long is no value, and the names in it are not looked at again.
    if value.len() >= LONGEST_VALUE {
        search.judged[wanted as usize] = value.end;
        return;
    }
    let value = search.widen(value);
    let place = place(bytes, &(start..end), &value);
    let text = &search.text[value.clone()];
    let secret = match wanted {
        Kind::Password => is_password(search, text, written, &place),
        // `secret != "open-sesame"`; a token that is compared is a word of a language.
        Kind::Token if place.compared && name.ends_with("secret") => {
            written == Written::Quoted
                && text.len() >= 6
                && !placeholder::is_placeholder(text)
                && !is_expression(text, written)
        }
        Kind::Token => is_token(search, text, written, &name),
    };
    let confidence = if secret {
        match (wanted, written) {
            (_, Written::Quoted) => 0.7,
            (Kind::Token, _) => 0.65,
            (Kind::Password, _) => 0.55,
        }
    } else if is_stand_in(text, written, wanted, &place) {
        placeholder::MADE_UP
    } else if wanted == Kind::Token && name.ends_with("secret") && is_phrase(text, written) {
        PHRASE
    } else {
        return;
    };
    let sibling = match wanted {
        Kind::Password => usize::from(written != Written::Quoted),
        Kind::Token if name.contains("key") => 1,
        Kind::Token if ["secret", "salt", "credential"].iter().any(|word| name.contains(word)) => 0,
        Kind::Token => 2,
    };
    search.push(value, rule + sibling, confidence);
}

/// How sure a secret is that consists of words.
const PHRASE: f32 = 0.45;

/// Words that a mark joins: `development#product`; a name has other joints.
fn is_phrase(value: &str, written: Written) -> bool {
    let bytes = value.as_bytes();
    let ends = |at: Option<&u8>| at.is_some_and(u8::is_ascii_alphanumeric);
    written == Written::Quoted
        && bytes.len() >= 8
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes.iter().filter(|byte| matches!(byte, b'#' | b'!' | b'@' | b'^' | b'&' | b'*' | b'+' | b'~')).count()
            == 1
        && bytes.iter().all(u8::is_ascii_graphic)
        && !placeholder::is_template(value)
}

/// A value that keeps the place of a secret: the code says that here is one, if another.
fn is_stand_in(value: &str, written: Written, wanted: Kind, place: &Place) -> bool {
    let letters = value.bytes().filter(u8::is_ascii_alphanumeric).count();
    if written != Written::Quoted && is_number(value) {
        return false;
    }
    let whole = letters >= 4 && letters * 2 > value.len() && value.len() <= 128 && !placeholder::is_template(value);
    if !whole || value.contains(char::is_whitespace) || is_expression(value, written) {
        return false;
    }
    let made_up = placeholder::is_placeholder(value);
    match (wanted, written) {
        // The beginning of what is put together: `"user:" + password`.
        (Kind::Password, Written::Quoted) if value.ends_with(':') => place.assigned && place.joined,
        // A mask hides a password, it does not stand for one.
        (Kind::Password, Written::Quoted) => made_up && !placeholder::is_mask(value),
        // A word in a file of settings.
        (Kind::Password, Written::Plain) => place.setting && !placeholder::is_mask(value),
        (Kind::Token, Written::Quoted) => made_up && value.len() >= 8,
        (Kind::Token, Written::Plain) => made_up && value.len() >= 8 && place.setting,
        (_, Written::Spaced) => false,
    }
}

/// What the name (letters and digits in lower case) promises.
fn kind(name: &str) -> Option<Kind> {
    const PASSWORDS: [&str; 14] = [
        "password",
        "passwd",
        "passphrase",
        "pass",
        "pwd",
        "passwort",
        "kennwort",
        "senha",
        "contrasena",
        "contrase",
        "passcode",
        "passwords",
        "pswd",
        "passwrd",
    ];
    const TOKENS: [&str; 19] = [
        "secret",
        "secrets",
        "token",
        "apikey",
        "accesskey",
        "privatekey",
        "secretkey",
        "credential",
        "credentials",
        "auth",
        "authkey",
        "encryptionkey",
        "signingkey",
        "masterkey",
        "sharedkey",
        "appkey",
        "sessioncookie",
        "salt",
        "secretid",
    ];
    /// What makes a `..._key` a secret.
    const KEYS: [&str; 24] = [
        "api", "access", "auth", "private", "secret", "encrypt", "crypt", "signing", "sign", "master", "account",
        "storage", "service", "license", "client", "app", "consumer", "session", "hmac", "jwt", "aes", "deploy",
        "admin", "shared",
    ];
    const HARMLESS: [&str; 13] = [
        "public",
        "hash",
        "checksum",
        "digest",
        "fingerprint",
        "compass",
        "bypass",
        "tokenizer",
        "author",
        "integrity",
        "nexttoken",
        "pagetoken",
        "csrf",
    ];
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let name =
        ["value", "text", "str", "string", "default", "base64", "prod", "production", "dev", "staging", "live", "test"]
            .iter()
            .find_map(|end| name.strip_suffix(end).filter(|rest| rest.len() >= 3))
            .unwrap_or(name);
    if HARMLESS.iter().any(|word| name.contains(word)) {
        return None;
    }
    if PASSWORDS.iter().any(|end| name.ends_with(end)) {
        return Some(Kind::Password);
    }
    if TOKENS.iter().any(|end| name.ends_with(end))
        || (name.ends_with("key") && KEYS.iter().any(|word| name.contains(word)))
    {
        return Some(Kind::Token);
    }
    None
}

fn skip(bytes: &[u8], at: usize, most: usize, of: impl Fn(u8) -> bool) -> usize {
    at + bytes.get(at..).unwrap_or_default().iter().take(most).take_while(|&&byte| of(byte)).count()
}

fn is_blank(byte: u8) -> bool {
    byte == b' ' || byte == b'\t'
}

/// Where the value of the name at `start..end` is.
fn value(bytes: &[u8], start: usize, end: usize) -> Option<(Range<usize>, Written)> {
    let option = start < end
        && (bytes[start..end].starts_with(b"-") || start.checked_sub(1).is_some_and(|at| bytes[at] == b'-'));
    // The name may be quoted, in brackets, or both.
    let mut at = skip(bytes, end, 3, |byte| matches!(byte, b'"' | b'\'' | b']' | b'`' | b'\\' | b'?' | b'*'));
    let closed = at > end;
    at = skip(bytes, at, 40, is_blank);
    let spaced = at > end;
    // `value="..."` of XML.
    if closed && bytes[at..].starts_with(b"value=") {
        at += 5;
    }
    // A type between the name and its value.
    if bytes.get(at) == Some(&b':') && bytes.get(at + 1) != Some(&b'=') && bytes.get(at + 1) != Some(&b':') {
        let word = skip(bytes, at + 1, 4, is_blank);
        let word = skip(bytes, word, 40, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'&' | b'\'' | b'<' | b'>' | b'_' | b'?')
        });
        let word = skip(bytes, word, 4, is_blank);
        if word > at + 1 && bytes.get(word) == Some(&b'=') && bytes[at + 1..word].iter().any(u8::is_ascii_alphabetic) {
            at = word;
        }
    }
    let operator = at;
    at = match bytes.get(at)? {
        b'=' | b':' | b'<' | b'|' => {
            let after = skip(bytes, at, 4, |byte| matches!(byte, b'=' | b':' | b'>' | b'<' | b'-' | b'~'));
            if bytes[at..after] == *b"::"
                || (bytes[at] == b'<' && bytes[at..after] != *b"<-" && bytes[at..after] != *b"<=")
                || bytes[at] == b'|'
            {
                return None;
            }
            after
        }
        b'>' if !spaced => at + 1,
        // `router.pass(...)` is no password.
        b'(' if !spaced && !bytes[start..end].ends_with(b"pass") => at + 1,
        b',' if closed => at + 1,
        b'-' if bytes.get(at + 1) == Some(&b'>') => at + 2,
        b'!' if bytes.get(at + 1) == Some(&b'=') => at + 2,
        _ => at,
    };
    let has_operator = at > operator;
    if !has_operator && !spaced {
        return None;
    }
    at = skip(bytes, at, 16, |byte| is_blank(byte) || byte == b'(');
    if has_operator && matches!(bytes.get(at), Some(b'\n' | b'\r')) {
        // YAML folds, and some break the line behind the operator; only a quoted value is sure to belong to the name.
        let next = skip(bytes, at, 60, |byte| byte.is_ascii_whitespace());
        if !matches!(bytes.get(next), Some(b'"' | b'\''))
            || bytes[at..next].iter().filter(|byte| **byte == b'\n').count() > 1
        {
            return None;
        }
        at = next;
    }
    // `b"..."`, `@"..."`, `\"...`.
    let mark = skip(bytes, at, 2, |byte| {
        matches!(byte, b'b' | b'B' | b'r' | b'R' | b'u' | b'U' | b'f' | b'F' | b'L' | b'@' | b'q' | b'\\')
    });
    let quote = bytes.get(mark).filter(|&&quote| matches!(quote, b'"' | b'\'') || (quote == b'`' && has_operator));
    if let Some(&quote) = quote {
        // `'"..."'`: code that writes code.
        let inner = bytes.get(mark + 1).copied().filter(|&next| next != quote && matches!(next, b'"' | b'\''));
        if let Some(inner) = inner {
            return quoted(bytes, mark + 2, inner).map(|value| (value, Written::Quoted));
        }
        return quoted(bytes, mark + 1, quote).map(|value| (value, Written::Quoted));
    }
    if !has_operator && !option {
        return None;
    }
    let stops =
        |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b',' | b';' | b'`');
    let finish = skip(bytes, at, LONGEST_VALUE, |byte| !stops(byte));
    let finish = finish
        - bytes[at..finish].iter().rev().take_while(|byte| matches!(byte, b')' | b'}' | b']' | b'.' | b'\\')).count();
    // A query or a header in a line of shell.
    let finish = bytes[at..finish].iter().position(|byte| *byte == b'&').map_or(finish, |length| at + length);
    // `"a" : b[...]`, `name = call(...)`.
    let called = matches!(bytes.get(finish), Some(b'(' | b'['))
        || bytes[at..finish].iter().any(|byte| matches!(byte, b'(' | b'['));
    (finish > at && !called).then_some((at..finish, if has_operator { Written::Plain } else { Written::Spaced }))
}

fn quoted(bytes: &[u8], start: usize, quote: u8) -> Option<Range<usize>> {
    let mut at = start;
    while at < bytes.len() && at - start <= LONGEST_VALUE {
        match bytes[at] {
            b'\n' => return None,
            b'\\' if bytes.get(at + 1) == Some(&quote) && at > start => at += 2,
            b'\\' if bytes.get(at + 1) == Some(&quote) => return None,
            byte if byte == quote => return (at > start).then_some(start..at),
            _ => at += 1,
        }
    }
    None
}

/// What code, a path or a sentence has and a password has not.
fn is_expression(value: &str, written: Written) -> bool {
    let bytes = value.as_bytes();
    value.contains("://")
        || value.starts_with("./")
        || value.starts_with("../")
        || value.starts_with("~/")
        || (value.starts_with('/') && value[1..].contains('/') && !value.contains('='))
        || value.contains("::")
        || value.contains("=>")
        || value.contains("->")
        || (written != Written::Quoted && {
            // `self.password`, `args.token2`.
            let parts: Vec<&str> = value.split('.').collect();
            let names = |part: &&str| {
                part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_')
                    && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            };
            (parts.len() >= 2 && parts.iter().all(|part| names(part) && part.len() <= 24))
                || bytes.iter().any(|byte| matches!(byte, b'(' | b'{' | b'|'))
        })
}

/// A number as code writes it, of at most 64 bits: `0x8009_0010_u32`, `17usize`.
fn is_number(value: &str) -> bool {
    const TYPES: [&str; 14] =
        ["u8", "u16", "u32", "u64", "usize", "i8", "i16", "i32", "i64", "isize", "UL", "ULL", "L", "u"];
    let (digits, typed) = match TYPES.iter().find_map(|end| value.strip_suffix(end)) {
        Some(rest) => (rest.trim_end_matches('_'), true),
        None => (value, false),
    };
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(digits) => {
            digits.bytes().filter(u8::is_ascii_hexdigit).count() <= 16
                && digits.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'_')
        }
        None => typed && !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit() || byte == b'_'),
    }
}

/// What stands around a value and makes even a weak password credible.
struct Place {
    /// A user is named in the lines before.
    user: bool,
    /// The whole line is `NAME=value`, as in a file of settings.
    setting: bool,
    /// `==` or `!=`: code that compares with a literal.
    compared: bool,
    /// A statement or an argument of code: it ends with `;`, `,` or `)`.
    code: bool,
    /// `=`, and not `:`, which also labels what a form shows.
    assigned: bool,
    /// `+` or `.` behind the quote: the value goes on.
    joined: bool,
}

fn place(bytes: &[u8], name: &Range<usize>, value: &Range<usize>) -> Place {
    let back = bytes[..name.start].iter().rev().take(200).position(|byte| *byte == b'\n');
    let line = back.map_or(name.start.saturating_sub(200), |back| name.start - back);
    let head = bytes[line..name.start].trim_ascii();
    let tail: Vec<u8> = bytes[value.end..].iter().take(5).take_while(|byte| **byte != b'\n').copied().collect();
    let tail = tail.trim_ascii();
    let between = &bytes[name.end..value.start];
    let before = &bytes[name.start.saturating_sub(160)..name.start];
    let has = |what: &[u8]| before.windows(what.len()).any(|window| window.eq_ignore_ascii_case(what));
    Place {
        user: has(b"user") || has(b"login"),
        setting: (head.is_empty() || matches!(head, b"#" | b"export" | b"set" | b"ENV" | b"-"))
            && (tail.is_empty() || tail.starts_with(b"#"))
            && between.contains(&b'='),
        compared: between.windows(2).any(|window| matches!(window, b"==" | b"!=")),
        code: matches!(bytes.get(value.end), Some(b';' | b',' | b')')),
        assigned: between.contains(&b'='),
        joined: tail.get(1..).is_some_and(|rest| matches!(rest.trim_ascii_start().first(), Some(b'+' | b'.'))),
    }
}

fn is_password(search: &Search<'_>, value: &str, written: Written, place: &Place) -> bool {
    let letters = value.chars().filter(|c| c.is_alphabetic()).count();
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let joints = |byte: u8| matches!(byte, b'_' | b'-' | b'.' | b',' | b':' | b'\'');
    let marks = value.bytes().filter(|&byte| byte.is_ascii_punctuation() && !joints(byte)).count();
    let length = value.chars().count();
    if !(5..=128).contains(&length) || placeholder::is_placeholder(value) || is_expression(value, written) {
        return false;
    }
    // A sentence: what a form says about passwords.
    let words = value.split_whitespace().count();
    let named_user = place.user && place.assigned && written == Written::Quoted;
    if words > 1 && (words > 4 || (digits == 0 && !named_user)) {
        return false;
    }
    if letters == 0 {
        return digits + marks >= 6 && written == Written::Quoted && marks >= 1 && digits >= 1;
    }
    if value.ends_with([':', '?', '!']) && digits == 0 {
        return false;
    }
    let ordinary = search.rarity.ordinary(value);
    // `#add-password`, `users/passwords#update`.
    if digits == 0 && ordinary && value.contains(['#', '/']) {
        return false;
    }
    if written != Written::Quoted && is_number(value) {
        return false;
    }
    // A number or a type of code: `131072u32`, `*const i8`.
    if written != Written::Quoted && ((place.code && marks == 0) || value.starts_with(['*', '&'])) {
        return false;
    }
    if digits > 0 || marks > 0 {
        // `user_id2` and the like are names of variables where they are not quoted.
        return written == Written::Quoted || marks > 0 || digits >= 2 || place.setting || !ordinary;
    }
    let lower = value.bytes().all(|byte| byte.is_ascii_lowercase());
    match written {
        Written::Quoted => {
            (length >= 6 && !ordinary)
                || place.compared
                || named_user
                || (lower && length >= if place.assigned { 8 } else { 12 })
        }
        // `PASSWORD=whiteduke`, a line of its own: as a file of settings has it, or with a user before it.
        Written::Plain => place.setting && (place.user || lower),
        Written::Spaced => false,
    }
}

fn is_token(search: &Search<'_>, value: &str, written: Written, name: &str) -> bool {
    let digits = value.bytes().filter(u8::is_ascii_digit).count();
    let letters = value.bytes().filter(u8::is_ascii_alphabetic).count();
    let shortest = match written {
        Written::Quoted if name.contains("secret") => 8,
        Written::Quoted => 12,
        _ => 16,
    };
    if value.len() < shortest
        || letters < 3
        || value.contains(char::is_whitespace)
        || placeholder::is_placeholder(value)
        || is_expression(value, written)
    {
        return false;
    }
    if shape::is_uuid(value) {
        return shape::irregular(value);
    }
    // A name of the code is no secret, be it as odd as it may.
    if written != Written::Quoted {
        let noisy = |part: &str| part.len() >= 8 && part.bytes().any(|byte| byte.is_ascii_digit());
        if digits < 2 || !value.split('_').any(noisy) {
            return false;
        }
    }
    (digits >= 1 || value.len() >= 20) && shape::irregular(value) && !search.rarity.ordinary(value)
}
