//! What stands where a secret will stand, but is none.

/// How sure a value is that has the form of a secret and was surely made up: below every threshold that anybody uses to
/// act, so it shows only where everything is asked for.
pub(super) const MADE_UP: f32 = 0.25;
/// The same for a value that is not there: a variable stands in its place.
pub(super) const COMPUTED: f32 = 0.2;

/// Parts of words that say "not the real one".
const TELLTALES: [&str; 34] = [
    "example",
    "placeholder",
    "changeme",
    "change_me",
    "change-me",
    "changeit",
    "change_it",
    "replaceme",
    "replace_me",
    "replace-me",
    "replace_with",
    "replace-with",
    "replace this",
    "redacted",
    "removed",
    "dummy",
    "insert",
    "enter_",
    "enter-",
    "_here",
    "-here",
    " here",
    "yourpassword",
    "yoursecret",
    "yourtoken",
    "yourkey",
    "yourapi",
    "not-a-real",
    "notreal",
    "sanitized",
    "to_be_",
    "fill_in",
    "fillme",
    "do_not_use",
];

/// Values that are always meant as an example.
const STAND_INS: [&str; 60] = [
    "password",
    "passwd",
    "pass",
    "pwd",
    "passphrase",
    "secret",
    "secretkey",
    "secret_key",
    "token",
    "key",
    "apikey",
    "api_key",
    "api-key",
    "access_token",
    "none",
    "null",
    "nil",
    "undefined",
    "true",
    "false",
    "yes",
    "no",
    "string",
    "str",
    "int",
    "integer",
    "bool",
    "boolean",
    "float",
    "bytes",
    "object",
    "any",
    "number",
    "text",
    "empty",
    "blank",
    "value",
    "required",
    "optional",
    "default",
    "unknown",
    "todo",
    "tbd",
    "fixme",
    "foo",
    "bar",
    "baz",
    "foobar",
    "test",
    "testing",
    "username",
    "user",
    "hidden",
    "masked",
    "prompt",
    "ask",
    "env",
    "file",
    "stdin",
    "n/a",
];

/// Whether `value` is a template, a mask, a stand-in word or a sequence.
pub(super) fn is_placeholder(value: &str) -> bool {
    let lower = value.to_ascii_lowercase();
    is_template(value)
        || is_mask(value)
        || STAND_INS.contains(&lower.as_str())
        || TELLTALES.iter().any(|word| lower.contains(word))
        || begins_as_yours(&lower)
        || is_sequence(value.as_bytes())
}

/// How sure a value is in a place where only a password can stand: there, `123456` and `secret` are bad passwords and no
/// placeholders. `None` where nothing stands at all, or what a mask of ours left.
pub(super) fn weigh(value: &str, confidence: f32) -> Option<f32> {
    const OPEN: [&str; 14] = [
        "password",
        "passwd",
        "pass",
        "pwd",
        "passphrase",
        "user",
        "username",
        "string",
        "null",
        "none",
        "undefined",
        "token",
        "key",
        "value",
    ];
    if value.is_empty() || is_label(value) {
        return None;
    }
    if is_template(value) {
        return Some(COMPUTED.min(confidence));
    }
    let lower = value.to_ascii_lowercase();
    let open = is_mask(value)
        || OPEN.contains(&lower.as_str())
        || TELLTALES.iter().any(|word| lower.contains(word))
        || begins_as_yours(&lower);
    Some(if open {
        MADE_UP.min(confidence)
    } else if is_placeholder(value) {
        confidence * 0.6
    } else {
        confidence
    })
}

/// Whether the value is or holds what a masked secret becomes: `[API_KEY_1]`.
pub(super) fn is_label(value: &str) -> bool {
    value.split('[').skip(1).any(|rest| {
        let Some((label, _)) = rest.split_once(']') else { return false };
        label.rsplit_once('_').is_some_and(|(name, number)| {
            let capitals = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
            !name.is_empty()
                && name.bytes().all(capitals)
                && !number.is_empty()
                && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    })
}

/// `your-key`, `my_secret`, `<...>`.
fn begins_as_yours(lower: &str) -> bool {
    ["your-", "your_", "your ", "my-", "my_", "the-", "the_", "some-", "some_", "a_", "put_", "put-", "use_", "add_"]
        .iter()
        .any(|start| lower.starts_with(start) && lower.bytes().all(|byte| !byte.is_ascii_digit()))
        || (lower.starts_with("your") && lower.bytes().all(|byte| byte.is_ascii_alphabetic()))
        || lower.contains("_your_")
        || lower.contains("-your-")
}

/// Whether the value is computed from another.
pub(super) fn is_template(value: &str) -> bool {
    let bytes = value.as_bytes();
    let (Some(&first), Some(&last)) = (bytes.first(), bytes.last()) else { return true };
    matches!((first, last), (b'<', b'>') | (b'[', b']') | (b'{', b'}') | (b'(', b')') | (b'%', b'%'))
        || (value.starts_with("__") && value.ends_with("__"))
        || is_variable(value)
        || are_variables(value)
        || value.contains("&lt;")
        || begins_with_variable(bytes)
        || ["${", "{{", "}}", "#{", "@{", "<%", "%>", "$[", "process.env", "os.environ", "getenv", "ENV["]
            .iter()
            .any(|mark| value.contains(mark))
        || ["%(", "$(", "\\("].iter().any(|mark| opens_name(value, mark))
        || has_named_brackets(bytes)
}

/// Whether a name follows `mark`: `%(name)s`, `$(command)`; noise may have the mark alone.
fn opens_name(value: &str, mark: &str) -> bool {
    value.match_indices(mark).any(|(at, _)| value.as_bytes().get(at + mark.len()).is_some_and(u8::is_ascii_alphabetic))
}

/// `$BASE/login`: in capitals, because passwords have dollars too.
fn begins_with_variable(bytes: &[u8]) -> bool {
    let name = bytes.iter().skip(1).take_while(|byte| byte.is_ascii_uppercase() || **byte == b'_').count();
    bytes.first() == Some(&b'$') && name >= 3 && bytes.get(name + 1).is_none_or(|byte| !byte.is_ascii_alphanumeric())
}

/// `$host$path`: names with a dollar each and nothing between them.
fn are_variables(value: &str) -> bool {
    value.strip_prefix('$').is_some_and(|names| {
        names
            .split('$')
            .all(|name| name.len() >= 3 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
    })
}

/// `$NAME`, `%s`, `:name`, `@name`, `!name`.
fn is_variable(value: &str) -> bool {
    let rest = match value.as_bytes() {
        [b'$' | b'@' | b'&' | b'!', rest @ ..] => rest,
        [b'%' | b':', rest @ ..] if rest.len() <= 24 => rest,
        _ => return false,
    };
    let name = rest
        .iter()
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b':' | b'-'))
        .count();
    let letters = rest.iter().filter(|byte| byte.is_ascii_alphabetic() || **byte == b'_').count();
    name == rest.len() && letters * 4 >= rest.len() * 3
}

/// A word in brackets inside of the value, as masks leave it: `[API_KEY_1]`, `<TOKEN>`, `{password}`.
fn has_named_brackets(bytes: &[u8]) -> bool {
    let mut open = None;
    for (at, &byte) in bytes.iter().enumerate() {
        match byte {
            b'[' | b'<' | b'{' => open = Some(at),
            b']' | b'>' | b'}' => {
                if let Some(start) = open.take() {
                    let inside = &bytes[start + 1..at];
                    let word =
                        |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b' ' | b'.' | b':');
                    if inside.len() >= 3 && inside.iter().all(word) && inside.iter().any(u8::is_ascii_alphabetic) {
                        return true;
                    }
                }
            }
            _ => {}
        }
    }
    false
}

/// `xxxx`, `****`, `....`, `....…`, one character over and over.
pub(super) fn is_mask(value: &str) -> bool {
    let bytes = value.as_bytes();
    let filler =
        bytes.iter().filter(|byte| matches!(byte, b'*' | b'x' | b'X' | b'.' | b'#' | b'?' | b'-' | b'_')).count();
    filler * 10 >= bytes.len() * 6
        || longest_run(bytes, b"xX") >= 4
        || longest_run(bytes, b"*.") >= 3
        || value.contains('…')
}

/// How many neighbours at most are the same character of `of`, in any case.
fn longest_run(bytes: &[u8], of: &[u8]) -> usize {
    let (mut best, mut run, mut last) = (0, 0, 0u8);
    for byte in bytes.iter().map(u8::to_ascii_lowercase) {
        let wanted = of.iter().any(|wanted| wanted.eq_ignore_ascii_case(&byte));
        run = if wanted && byte == last { run + 1 } else { usize::from(wanted) };
        last = byte;
        best = best.max(run);
    }
    best
}

/// `12345678`, `abcdef`, `aaaa`: most neighbours are one step apart, or a short piece repeats.
pub(super) fn is_sequence(bytes: &[u8]) -> bool {
    if bytes.len() < 4 {
        return false;
    }
    let steps = bytes
        .windows(2)
        .filter(|pair| {
            let (a, b) = (pair[0].to_ascii_lowercase(), pair[1].to_ascii_lowercase());
            let step = i16::from(b) - i16::from(a);
            // From 9 it goes on with a or 0.
            step.abs() <= 1 || (a == b'9' && matches!(b, b'0' | b'a')) || (a == b'f' && b == b'0')
        })
        .count();
    steps * 10 >= (bytes.len() - 1) * 7 || repeats(bytes)
}

/// Whether the whole is one piece of at most four bytes over and over, or has at most three different bytes.
fn repeats(bytes: &[u8]) -> bool {
    let different = {
        let mut seen = [false; 256];
        bytes.iter().for_each(|&byte| seen[byte as usize] = true);
        seen.iter().filter(|seen| **seen).count()
    };
    (bytes.len() >= 8 && different <= 3)
        || (1..=4)
            .any(|period| bytes.len() >= 3 * period && bytes.windows(period + 1).all(|part| part[0] == part[period]))
}

/// Whether the variable part of a token of a known format is made up: the strict list, because real tokens contain any
/// short word by chance.
pub(super) fn is_made_up(token: &str) -> bool {
    let lower = token.to_ascii_lowercase();
    is_filler(token)
        || ["example", "placeholder", "redacted", "changeme", "your_", "your-", "yourtoken", "yourkey", "yourapi"]
            .iter()
            .any(|word| lower.contains(word))
}

/// Whether a token is filled up: with one character, with a sequence.
pub(super) fn is_filler(token: &str) -> bool {
    let bytes = token.as_bytes();
    let body = &bytes[bytes.iter().rposition(|byte| matches!(byte, b'-' | b'_' | b'.')).map_or(0, |at| at + 1)..];
    is_sequence(bytes)
        || (body.len() >= 16 && is_sequence(body))
        || longest_run(bytes, b"xX") >= 5
        || longest_run(bytes, b"*.") >= 3
        || (0..=9).any(|digit| longest_run(bytes, &[b'0' + digit]) >= 10)
        || counts_up(bytes)
}

/// Whether eight or more neighbours count up.
fn counts_up(bytes: &[u8]) -> bool {
    let mut run = 1;
    bytes.windows(2).any(|pair| {
        let step = i16::from(pair[1].to_ascii_lowercase()) - i16::from(pair[0].to_ascii_lowercase());
        run = if step == 1 { run + 1 } else { 1 };
        run >= 8
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_known() {
        for value in [
            "xxxxxxxx",
            "<your-key>",
            "${VAR}",
            "changeme",
            "AKIAIOSFODNN7EXAMPLE",
            "12345678",
            "abcdefgh",
            "********",
            "{{ secret }}",
            "$PASSWORD",
            "%s",
            "your_api_key",
            "[API_KEY_1]",
            "a[TOKEN_2]b",
            "aaaaaaaa",
            "deaddeaddead",
            "process.env.KEY",
            "#{token}",
            "",
            "…",
            "password",
            "YOUR_TOKEN_HERE",
        ] {
            assert!(is_placeholder(value), "{value}");
        }
        for value in ["hunter2!", "q8Zr2LmX0vKtY5wBn7Jd", "pa$$w0rd9", "S3cr3t-Tr4in", "falseb7Qz", "9f86d081884c7d65"]
        {
            assert!(!is_placeholder(value), "{value}");
        }
    }

    #[test]
    fn only_a_mask_of_ours_is_a_label() {
        assert!(is_label("[API_KEY_1]") && is_label("a[TOKEN_12]b"));
        assert!(!is_label("[api_key_1]") && !is_label("[API_KEY]") && !is_label("[_1") && !is_label("[]"));
    }

    #[test]
    fn a_password_weighs_what_it_says() {
        assert_eq!(weigh("Tr0ub4dor&3x", 0.8), Some(0.8));
        assert!(weigh("secret", 0.8).is_some_and(|confidence| confidence < 0.5));
        assert_eq!(weigh("your_password", 0.8), Some(MADE_UP));
        assert_eq!(weigh("$PASSWORD", 0.8), Some(COMPUTED));
        assert_eq!(weigh("[PASSWORD_1]", 0.8), None);
    }

    #[test]
    fn a_run_of_names_with_dollars_is_computed() {
        assert!(is_template("$host$path") && is_template("$super$ecret"));
        assert!(!is_template("super$ecret") && !is_template("$1$abc") && !is_template("pa$$w0rd9"));
    }
}
