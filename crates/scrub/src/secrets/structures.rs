//! Secrets in a place that is made for them: keys in armour, JSON web tokens, addresses with a password, commands, headers,
//! hashes of passwords.

use std::ops::Range;

use serde_json::Value;

use super::rule::{Rule, Search, label};
use super::{checks, codec, placeholder};

/// The longest armoured key.
const LONGEST_KEY: usize = 24 << 10;
/// The longest part of a JSON web token.
const LONGEST_PART: usize = 16 << 10;
/// The longest authority of an address.
const LONGEST_AUTHORITY: usize = 512;

/// The rules of this file.
pub(super) fn rules() -> Vec<Rule> {
    [armour(), addresses(), commands(), headers(), hashes()].into_iter().flatten().collect()
}

fn armour() -> Vec<Rule> {
    vec![
        Rule::custom(
            "private-key",
            "PEM, OpenSSH, PGP",
            "armoured private key",
            &["private key-----", "private key block-----", "private key ----"],
            pem,
        )
        .label(label::PRIVATE_KEY)
        .sure(0.98),
        Rule::custom("putty-private-key", "PuTTY", "private key file", &["putty-user-key-file-"], putty)
            .label(label::PRIVATE_KEY)
            .sure(0.98),
        Rule::custom("json-web-token", "RFC 7519", "signed or encrypted token", &["eyJ"], json_web_token)
            .label(label::TOKEN)
            .sure(0.9),
    ]
}

fn addresses() -> Vec<Rule> {
    vec![
        Rule::custom("connection-string", "databases, brokers, servers", "password in an address", &["://"], address)
            .label(label::PASSWORD)
            .sure(0.8),
        Rule::custom(
            "key-value-connection-string",
            "ODBC, JDBC, ADO.NET",
            "password in a connection string",
            &["pwd=", "password=", "pwd =", "password ="],
            key_value,
        )
        .label(label::PASSWORD)
        .sure(0.8),
    ]
}

fn commands() -> Vec<Rule> {
    let command = |name, provider, description, keywords, source| {
        Rule::token(name, provider, description, keywords, source)
            .any_case()
            .label(label::PASSWORD)
            .entropy(0.0)
            .check(checks::password)
            .sure(0.85)
            .loose()
    };
    vec![
        command(
            "curl-user",
            "curl",
            "user and password on a command line",
            &["curl "],
            r"curl\s[^\n]{0,300}?\s?(?:-u|--user|--proxy-user)[ =]?['\x22]?[^\s:'\x22]{1,64}:([^\s'\x22]{3,128})",
        ).gap(),
        command(
            "netrc",
            "netrc",
            "password of a machine",
            &["machine "],
            r"machine\s+\S{1,100}\s+login\s+\S{1,100}\s+(?:account\s+\S{1,100}\s+)?password\s+(\S{3,128})",
        ),
        command(
            "psexec",
            "Windows",
            "password of PsExec",
            &["psexec"],
            r"psexec[^\n]{0,160}?\s-p\s+(?:\x22([^\x22\n]{3,100})\x22|([^\s\x22]{3,100}))",
        ).gap(),
        command(
            "connect-viserver",
            "VMware",
            "password of Connect-VIServer",
            &["connect-viserver"],
            r"Connect-VIServer[^\n]{0,160}?\s-Pass(?:word)?\s+(?:\x22([^\x22\n]{3,100})\x22|'([^'\n]{3,100})'|([^\s\x22']{3,100}))",
        ),
        command(
            "network-credential",
            ".NET",
            "password of a NetworkCredential",
            &["networkcredential("],
            r"NetworkCredential\(\s{0,8}\x22[^\x22\n]{1,100}\x22\s{0,40},\s{0,40}\x22([^\x22\n]{3,100})\x22",
        ),
        command(
            "directory-entry",
            ".NET",
            "password of a DirectoryEntry",
            &["directoryentry("],
            r"DirectoryEntry\([^;]{1,160}?,\s{0,40}\x22[^\x22\n]{1,100}\x22\s{0,40},\s{0,40}\x22([^\x22\n]{3,100})\x22",
        ),
        command(
            "secure-string",
            "PowerShell",
            "plain text of a SecureString",
            &["convertto-securestring"],
            r"ConvertTo-SecureString\s[^\n]{0,60}?['\x22]([^'\x22\n$]{3,100})['\x22][^\n]{0,60}-AsPlainText",
        ),
        command(
            "shell-password",
            "command lines",
            "password given to a client",
            &["sshpass", "mysql ", "mysqldump ", "redis-cli", "docker login"],
            r"(?:sshpass\s+-p\s{0,2}['\x22]?([^\s'\x22]{3,100})|mysql(?:dump)?\s[^\n]{0,100}?\s-p([A-Za-z0-9!@#%^&*+][^\s'\x22`;)\\]{2,100})|redis-cli\s[^\n]{0,60}?-a\s+['\x22]?([^\s'\x22]{3,100})|docker login\s[^\n]{0,80}?(?:-p|--password)[ =]['\x22]?([^\s'\x22]{3,100}))",
        ),
        command(
            "net-user",
            "Windows",
            "password of net user or net use",
            &["net user ", "net use "],
            r"net (?:user\s+[\w.-]{1,40}\s+([^\s/*]{4,64})\s+/add|use\s[^\n]{0,80}?/user:\S{1,60}\s+([^\s/*]{4,64}))",
        ),
        command(
            "xml-setting",
            ".NET and Java",
            "setting with a password",
            &["key=\"", "name=\""],
            r"(?:key|name)=\x22[^\x22\n]{0,60}(?:Password|Passwd|Secret|Token|ApiKey|Pwd)\x22\s{1,4}value=\x22([^\x22\n]{4,200})\x22",
        ),
        command(
            "jenkins-setup-password",
            "Jenkins",
            "first password of the administrator",
            &["password to proceed to installation", "initialadminpassword", "please use the following password"],
            r"(?:please use the following password|password to proceed to installation|initialAdminPassword)[^a-f0-9\n]{0,40}(?:[^\n]{0,60}\n){0,4}?\s{0,8}([0-9a-f]{32})\b",
        ),
        command("password-in-prose", "any", "password that a text tells", &["password"],
            r"password(?:\s+for\s+(?:the\s+)?(?:user\s+)?['\x22`]?[\w.@-]{1,40}['\x22`]?)?\s+is:?\s+['\x22`]([^\s'\x22`]{4,64})['\x22`]").sure(0.6),
        command(
            "smb-client-login",
            "smbclient, impacket",
            "user%password or domain/user:password",
            &["smbclient ", "rpcclient ", "wmiexec.py", "secretsdump.py", "evil-winrm"],
            r"(?:(?:smbclient|rpcclient)\s[^\n]{0,100}?-U\s{0,2}['\x22]?[^\s%'\x22]{1,60}%([^\s'\x22]{3,100})|(?:wmiexec|secretsdump)\.py\s[^\n:]{1,80}:([^\s'\x22@]{3,100})@|evil-winrm\s[^\n]{0,100}?-p\s+['\x22]?([^\s'\x22]{3,100}))",
        ),
    ]
}

fn headers() -> Vec<Rule> {
    vec![
        Rule::token("http-basic", "HTTP", "basic authentication", &["basic "], r"Basic\s{1,3}([A-Za-z0-9+/_-]{8,400}={0,2})").any_case().label(label::PASSWORD).entropy(2.0).check(checks::basic).sure(0.9),
        Rule::token("http-bearer", "HTTP", "bearer token", &["bearer "], r"Bearer\s{1,3}([A-Za-z0-9][\w.~+/=-]{13,500})").any_case().entropy(3.0).check(checks::noise).sure(0.75),
        Rule::token("authorization-header", "HTTP", "token of an Authorization header", &["authorization"],
            r"Authorization['\x22]?\s{0,2}[:=,]\s{0,2}['\x22]?(?:Token|SSWS|ApiKey|Api-Key|GenieKey|PRIVATE-TOKEN|OAuth|Zoho-oauthtoken)?[ =]?\s{0,2}['\x22]?([A-Za-z0-9][\w.~+/=-]{19,500})").any_case().entropy(3.3).check(checks::noise).sure(0.7),
    ]
}

fn hashes() -> Vec<Rule> {
    let hash = |name, provider, keywords, source| {
        Rule::token(name, provider, "hash of a password", keywords, source)
            .label(label::PASSWORD_HASH)
            .loose()
            .check(checks::hash)
            .sure(0.95)
    };
    vec![
        hash("md5crypt-hash", "crypt", &["$1$", "$apr1$"], r"\$(?:1|apr1)\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}"),
        hash("bcrypt-hash", "crypt", &["$2a$", "$2b$", "$2x$", "$2y$"], r"\$2[abxy]\$[0-9]{2}\$[./A-Za-z0-9]{53}"),
        hash("sha256crypt-hash", "crypt", &["$5$"], r"\$5\$(?:rounds=[0-9]{1,9}\$)?[^\s$:]{1,16}\$[./A-Za-z0-9]{43}"),
        hash("sha512crypt-hash", "crypt", &["$6$"], r"\$6\$(?:rounds=[0-9]{1,9}\$)?[^\s$:]{1,16}\$[./A-Za-z0-9]{86}"),
        hash(
            "yescrypt-hash",
            "crypt",
            &["$y$", "$gy$", "$7$"],
            r"\$(?:y|gy|7)\$[./A-Za-z0-9]{1,20}\$[./A-Za-z0-9]{0,86}\$[./A-Za-z0-9]{43}",
        ),
        hash(
            "argon2-hash",
            "Argon2",
            &["$argon2"],
            r"\$argon2(?:id|i|d)\$v=[0-9]{1,3}\$m=[0-9]{1,9},t=[0-9]{1,9},p=[0-9]{1,4}\$[A-Za-z0-9+/]{8,90}\$[A-Za-z0-9+/]{16,130}",
        ),
        hash(
            "cisco-hash",
            "Cisco IOS",
            &["$8$", "$9$", "$14$"],
            r"\$(?:8|9|14)\$[./A-Za-z0-9]{4,14}\$[./A-Za-z0-9]{43}",
        ),
        hash(
            "phpass-hash",
            "phpBB and WordPress",
            &["$P$", "$H$", "$S$"],
            r"\$[PH]\$[./A-Za-z0-9]{31}|\$S\$[./A-Za-z0-9]{52}",
        ),
        hash(
            "django-hash",
            "Django and others",
            &["pbkdf2_sha", "pbkdf2:sha", "scrypt:"],
            r"(?:pbkdf2_sha(?:1|256|512)\$[0-9]{1,8}\$[A-Za-z0-9+/]{4,40}\$[A-Za-z0-9+/]{20,90}={0,2}|(?:pbkdf2:sha(?:1|256|512)|scrypt:[0-9]{1,9}:[0-9]{1,3}):[0-9]{1,8}\$[A-Za-z0-9]{4,40}\$[0-9a-f]{32,128})",
        ),
        hash(
            "ldap-hash",
            "LDAP",
            &["{SSHA", "{SHA", "{SMD5}"],
            r"\{(?:SSHA(?:256|384|512)?|SHA(?:256|384|512)?|SMD5)\}[A-Za-z0-9+/]{24,120}={0,2}",
        ),
        hash(
            "kerberos-hash",
            "Kerberos",
            &["$krb5"],
            r"\$krb5(?:asrep|tgs|pa)\$[0-9]{1,2}\$[^\s]{10,200}[$:][0-9a-fA-F]{32,64}\$?[0-9a-fA-F]{40,6000}",
        )
        .after(6300),
        hash(
            "ntlm-hash",
            "Windows",
            &[":aad3b435b51404eeaad3b435b51404ee:"],
            r":aad3b435b51404eeaad3b435b51404ee:([0-9a-f]{32})",
        ),
        hash(
            "netntlm-hash",
            "Windows",
            &["::"],
            r"::[A-Za-z0-9._-]{1,30}:[0-9a-fA-F]{16}:[0-9a-fA-F]{32}:[0-9a-fA-F]{40,1000}",
        )
        .after(1100),
        hash("mysql-hash", "MySQL", &["*"], r"\*[0-9A-F]{40}").entropy(3.0).check(checks::hex_with_letters).sure(0.7),
        hash(
            "scram-hash",
            "PostgreSQL",
            &["SCRAM-SHA-256$"],
            r"SCRAM-SHA-256\$[0-9]{3,7}:[A-Za-z0-9+/=]{16,64}\$[A-Za-z0-9+/=]{44}:[A-Za-z0-9+/=]{44}",
        ),
    ]
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

/// `-----BEGIN ... PRIVATE KEY-----` up to its end.
fn pem(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    let bytes = search.text.as_bytes();
    let head = keyword.start.saturating_sub(48);
    let Some(begin) = bytes[head..keyword.start].windows(5).rposition(|window| window.eq_ignore_ascii_case(b"BEGIN"))
    else {
        return;
    };
    let begin = head + begin;
    if bytes[begin..keyword.start].contains(&b'\n') {
        return;
    }
    let dashes = bytes[..begin].iter().rev().take(6).take_while(|byte| matches!(byte, b'-' | b' ')).count();
    let limit = (keyword.end + LONGEST_KEY).min(bytes.len());
    let after = &bytes[keyword.end..limit];
    // Up to the next key: many beginnings without an end are looked at once each.
    let next = find(after, b"-----BEGIN");
    let before_next = &after[..next.unwrap_or(after.len())];
    let stop = find(before_next, b"-----END").or_else(|| find(before_next, b"---- END"));
    let (body, end) = match stop {
        Some(stop) => {
            let tail = &after[stop..];
            let line = tail.iter().take(80).position(|byte| *byte == b'\n').unwrap_or(tail.len().min(80));
            let closed = find(&tail[8.min(tail.len())..line], b"-----").map_or(line, |at| at + 13);
            (&after[..stop], keyword.end + stop + closed)
        }
        // Cut off: what is still base64.
        None => {
            let most = before_next.len();
            let length = after[..most]
                .iter()
                .take_while(|byte| codec::is_base64(**byte) || byte.is_ascii_whitespace() || **byte == b'=')
                .count();
            (&after[..length], keyword.end + length)
        }
    };
    let digits = body.iter().filter(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/')).count();
    let different = {
        let mut seen = [false; 256];
        body.iter().for_each(|byte| seen[*byte as usize] = true);
        seen.iter().filter(|seen| **seen).count()
    };
    let elided = find(body, b"...").is_some() || find(body, b"***").is_some();
    if digits >= 40 && different >= 16 && !elided {
        search.push(begin - dashes..end, rule, 0.98);
    }
}

/// A key file of PuTTY from its first line to the end of its private lines.
fn putty(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    let bytes = search.text.as_bytes();
    let limit = (keyword.end + LONGEST_KEY).min(bytes.len());
    let after = &bytes[keyword.end..limit];
    let most = after
        .windows(20)
        .position(|window| window.eq_ignore_ascii_case(b"putty-user-key-file-"))
        .unwrap_or(after.len());
    let Some(private) = find(&after[..most], b"Private-Lines:") else { return };
    let lines = private + after[private..].iter().position(|byte| *byte == b'\n').unwrap_or(0) + 1;
    let body = after.get(lines..most).unwrap_or_default();
    let length =
        body.iter().take_while(|byte| codec::is_base64(**byte) || byte.is_ascii_whitespace() || **byte == b'=').count();
    if length >= 40 {
        search.push(keyword.start..keyword.end + lines + length, rule, 0.98);
    }
}

/// Three parts of base64, the first of which says `alg`.
fn json_web_token(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    let bytes = search.text.as_bytes();
    if keyword.start < search.judged[2]
        || keyword.start.checked_sub(1).is_some_and(|at| bytes[at].is_ascii_alphanumeric())
    {
        return;
    }
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    let part = |start: usize| {
        start + bytes.get(start..).unwrap_or_default().iter().take(LONGEST_PART).take_while(|byte| digit(byte)).count()
    };
    let header = part(keyword.start);
    search.judged[2] = header;
    if bytes.get(header) != Some(&b'.') {
        return;
    }
    let payload = part(header + 1);
    if payload - header < 10 || bytes.get(payload) != Some(&b'.') {
        return;
    }
    let mut end = part(payload + 1);
    let parse =
        |span: Range<usize>| codec::base64(&bytes[span]).and_then(|json| serde_json::from_slice::<Value>(&json).ok());
    let Some(head) = parse(keyword.start..header) else { return };
    let Some(algorithm) = head.get("alg").and_then(Value::as_str) else { return };
    // An encrypted token has five parts, none of which is JSON.
    let encrypted = head.get("enc").is_some();
    if encrypted {
        for _ in 0..2 {
            if bytes.get(end) == Some(&b'.') {
                end = part(end + 1);
            }
        }
    } else if parse(header + 1..payload).is_none_or(|payload| !payload.is_object()) {
        return;
    }
    let signed = end - payload > 16;
    if signed || encrypted || algorithm.eq_ignore_ascii_case("none") {
        search.judged[2] = end;
        search.push(keyword.start..end, rule, if signed || encrypted { 0.9 } else { 0.6 });
    }
}

/// `scheme://user:password@host`.
fn address(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    let bytes = search.text.as_bytes();
    let scheme = bytes[..keyword.start]
        .iter()
        .rev()
        .take(24)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'.' | b'-'))
        .count();
    if scheme < 2 {
        return;
    }
    let after = &bytes[keyword.end..(keyword.end + LONGEST_AUTHORITY).min(bytes.len())];
    let stops =
        |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | b'|' | b'\\');
    let length = after.iter().position(|&byte| stops(byte)).unwrap_or(after.len());
    // A second address in it is not its password.
    let length = find(&after[..length], b"://").unwrap_or(length);
    let authority = after[..length].iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(length);
    let Some(at) = after[..authority].iter().rposition(|byte| *byte == b'@') else { return };
    let Some(colon) = after[..at].iter().position(|byte| *byte == b':') else { return };
    let host = after.get(at + 1..length).unwrap_or_default();
    if at - colon < 3
        || host.first().is_none_or(|byte| {
            !byte.is_ascii_alphanumeric() && !matches!(byte, b'[' | b'$' | b'{' | b'<' | b'%' | b'_')
        })
    {
        return;
    }
    let span = search.widen(keyword.end + colon + 1..keyword.end + at);
    let value = &search.text[span.clone()];
    let local = host.starts_with(b"localhost")
        || host.starts_with(b"127.")
        || host.windows(8).any(|window| window == b"example.");
    // Nothing of it is meant: the network of the documentation of IPv6, a user named user, a password that is a word for one.
    let user = std::str::from_utf8(&after[..colon]).unwrap_or_default();
    if host.starts_with(b"[2001:db8:") && placeholder::is_placeholder(user) && placeholder::is_placeholder(value) {
        return;
    }
    if let Some(confidence) = placeholder::weigh(value, if local { 0.6 } else { 0.85 }) {
        search.push(span, rule, confidence);
    }
}

/// `Server=...;User Id=...;Password=...`.
fn key_value(search: &mut Search<'_>, keyword: Range<usize>, rule: usize) {
    let bytes = search.text.as_bytes();
    let starts =
        |byte: u8| byte.is_ascii_whitespace() || matches!(byte, b';' | b'&' | b'?' | b'"' | b'\'' | b'{' | b',' | b':');
    if keyword.start.checked_sub(1).is_some_and(|at| !starts(bytes[at])) {
        return;
    }
    let line = |range: Range<usize>| String::from_utf8_lossy(&bytes[range]).to_ascii_lowercase();
    let before = line(keyword.start.saturating_sub(240)..keyword.start);
    let after = line(keyword.end..(keyword.end + 240).min(bytes.len()));
    let before = before.rsplit('\n').next().unwrap_or_default();
    let after = after.split('\n').next().unwrap_or_default();
    let marks = [
        "server",
        "data source",
        "uid",
        "user id",
        "user=",
        "username",
        "userid",
        "driver",
        "host",
        "initial catalog",
        "database",
        "dsn=",
        "jdbc:",
    ];
    let is_string =
        (before.trim_end().ends_with(';') || before.ends_with('&') || before.ends_with('?') || after.contains(';'))
            && marks.iter().any(|mark| before.contains(mark) || after.contains(mark));
    if !is_string {
        return;
    }
    let mut at = keyword.end + bytes[keyword.end..].iter().take(3).take_while(|byte| **byte == b' ').count();
    if bytes.get(at).is_some_and(|byte| matches!(byte, b'{' | b'\'')) {
        at += 1;
    }
    // `#{...}` and `${...}` may hold what else ends a value.
    let variable = match bytes[at..] {
        [b'#' | b'$', b'{', ..] => bytes[at..].iter().take(64).position(|byte| *byte == b'}').map_or(0, |end| end + 1),
        _ => 0,
    };
    let length = variable
        + bytes[at + variable..]
            .iter()
            .take(128)
            .take_while(|byte| {
                !byte.is_ascii_whitespace()
                    && !matches!(byte, b';' | b'"' | b'\'' | b'}' | b'<' | b'>' | b'&' | b'\\' | b'{')
            })
            .count();
    let span = search.widen(at..at + length);
    let value = &search.text[span.clone()];
    if length < 3 || (variable == 0 && value.contains('(')) {
        return;
    }
    if let Some(confidence) = placeholder::weigh(value, 0.8) {
        search.push(span, rule, confidence);
    }
}
