//! The scanner of secrets on made-up secrets, which are put together at run time so that no scanner of a host sees one.

use attune_scrub::secrets::{self, Scanner, SecretOptions};
use attune_scrub::{Encoding, Finding};
use proptest::prelude::*;

fn scanner() -> &'static Scanner {
    static SCANNER: std::sync::LazyLock<Scanner> = std::sync::LazyLock::new(|| Scanner::new(SecretOptions::default()));
    &SCANNER
}

/// What a text has that is worth acting on: without what is surely made up, and without names.
fn sure(text: &str) -> Vec<Finding> {
    let mut found = scanner().scan(text);
    found.retain(|finding| finding.confidence >= 0.5);
    found
}

/// Noise of an alphabet, the same in each run.
fn noise(alphabet: &str, length: usize) -> String {
    let letters: Vec<char> = alphabet.chars().collect();
    let mut state = 0x9e37_79b9_7f4a_7c15u64 ^ length as u64;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            letters[(state >> 33) as usize % letters.len()]
        })
        .collect()
}

const HEX: &str = "0123456789abcdef";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz0123456789";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const ALNUM: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";

fn uuid() -> String {
    let digits = noise(HEX, 32);
    format!("{}-{}-4{}-a{}-{}", &digits[..8], &digits[8..12], &digits[13..16], &digits[17..20], &digits[20..])
}

fn encode(bytes: &[u8]) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let value = group.iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            out.push(if place <= group.len() {
                char::from(DIGITS[(value >> (18 - 6 * place) & 63) as usize])
            } else {
                '='
            });
        }
    }
    out
}

/// A rule, a text and the secret in it.
fn positives() -> Vec<(&'static str, String, String)> {
    let token = |rule, secret: String| (rule, format!("config {{ use(\"{secret}\") }}\n"), secret);
    let pem_body = noise(ALNUM, 64 * 4)
        .as_bytes()
        .chunks(64)
        .map(|line| format!("{}\n", String::from_utf8_lossy(line)))
        .collect::<String>();
    let pem = format!("-----BEGIN {0} KEY-----\n{pem_body}-----END {0} KEY-----", "RSA PRIVATE");
    let plain = |part: &str| encode(part.as_bytes()).trim_end_matches('=').replace('+', "-").replace('/', "_");
    let web_token = format!(
        "{}.{}.{}",
        plain("{\"alg\":\"HS256\",\"typ\":\"JWT\"}"),
        plain("{\"sub\":\"u-81723\",\"admin\":true}"),
        noise(ALNUM, 43)
    );
    let password = "Tr0ub4dor&3x".to_owned();
    let after = |rule, before: &str, secret: String, behind: &str| (rule, format!("{before}{secret}{behind}"), secret);
    vec![
        token("aws-access-key-id", format!("AKIA{}", noise(UPPER, 16))),
        token("github-personal-token", format!("ghp_{}", noise(ALNUM, 36))),
        token("github-fine-grained-token", format!("github_pat_{}_{}", noise(ALNUM, 22), noise(ALNUM, 59))),
        token("gitlab-personal-token", format!("glpat-{}", noise(ALNUM, 20))),
        token("slack-bot-token", format!("xoxb-{}-{}-{}", "813524679012", "9182736450918", noise(ALNUM, 24))),
        token("stripe-live-key", format!("sk_{}_{}", "live", noise(ALNUM, 24))),
        token("sendgrid-api-key", format!("SG.{}.{}", noise(ALNUM, 22), noise(ALNUM, 43))),
        token("google-api-key", format!("AIza{}", noise(ALNUM, 35))),
        token("npm-token", format!("npm_{}", noise(ALNUM, 36))),
        token("pypi-token", format!("pypi-AgE{}", noise(ALNUM, 80))),
        token("huggingface-token", format!("hf_{}", noise(ALNUM, 34))),
        token("anthropic-api-key", format!("sk-ant-api03-{}", noise(ALNUM, 95))),
        token("openai-project-key", format!("sk-proj-{}", noise(ALNUM, 90))),
        token("digitalocean-personal-token", format!("dop_v1_{}", noise(HEX, 64))),
        token("databricks-token", format!("dapi{}", noise(HEX, 32))),
        token("grafana-service-account-token", format!("glsa_{}_{}", noise(ALNUM, 32), noise(HEX, 8))),
        token("telegram-bot-token", format!("{}:AA{}", "7123456089", noise(ALNUM, 33))),
        token("shopify-public-app-token", format!("shpat_{}", noise(HEX, 32))),
        token("doppler-token", format!("dp.pt.{}", noise(ALNUM, 43))),
        token("vault-service-token", format!("hvs.{}", noise(ALNUM, 90))),
        token("terraform-cloud-token", format!("{}.atlasv1.{}", noise(ALNUM, 14), noise(ALNUM, 67))),
        token("linear-token", format!("lin_api_{}", noise(ALNUM, 40))),
        token("postman-key", format!("PMAK-{}-{}", noise(HEX, 24), noise(HEX, 34))),
        token("sonar-token", format!("squ_{}", noise(HEX, 40))),
        token("dynatrace-token", format!("dt0c01.{}.{}", noise(UPPER, 24), noise(UPPER, 64))),
        token("private-key", pem),
        token("json-web-token", web_token),
        token("bcrypt-hash", format!("$2b$12${}", noise(ALNUM, 53))),
        token("sha512crypt-hash", format!("$6${}${}", noise(ALNUM, 12), noise(ALNUM, 86))),
        after("heroku-key", "HEROKU_API_KEY=", uuid(), "\n"),
        after("aws-secret-access-key", "aws_secret_access_key = ", noise(ALNUM, 40), "\n"),
        after("twilio-auth-token", "twilio auth: '", noise(HEX, 32), "'"),
        after("datadog-key", "DD_API_KEY=", noise(HEX, 32), "\n"),
        after("azure-devops-key", "azure devops pat ", noise(LOWER, 52), "\n"),
        after("connection-string", "postgres://app:", "t0p-S3cr3t-9".into(), "@db.internal/main"),
        after("connection-string", "redis://:", "Qz8vB2mL".into(), "@cache.internal:6379/0"),
        after("key-value-connection-string", "Server=db1;User Id=app;Password=", "k3vLm92x".into(), ";Database=x"),
        after("http-bearer", "Authorization: Bearer ", noise(ALNUM, 40), "\r\n"),
        after("http-basic", "Authorization: Basic ", encode(b"admin:Qz8vB2mL"), "\r\n"),
        after("curl-user", "curl -s -u admin:", password.clone(), " https://host.internal/x"),
        after("netrc", "machine host.internal login joe password ", password.clone(), "\n"),
        after("shell-password", "sshpass -p ", "q8Zr2LmX".into(), " ssh joe@host"),
        after("wireguard-private-key", "PrivateKey = ", format!("{}=", noise(ALNUM, 43)), "\n"),
        after("generic-password", "db_password = \"", password.clone(), "\""),
        after("generic-password", "  \"password\": \"", "hunter2!".into(), "\","),
        after("generic-password-setting", "<password>", "q8Zr2LmX0v".into(), "</password>"),
        after("generic-password-setting", "REACT_PASSWORD=", "whiteduke".into(), "\n"),
        after("generic-api-key", "let api_key: &str = \"", noise(ALNUM, 32), "\";"),
        after("generic-secret", "SESSION_SECRET=", noise(HEX, 40), "\n"),
        after("generic-secret", "client_secret => '", noise(ALNUM, 28), "',"),
    ]
}

#[test]
fn each_made_up_secret_is_found_by_its_rule() {
    for (rule, text, secret) in positives() {
        let found = scanner().scan(&text);
        let hit = found.iter().find(|finding| finding.value == secret && finding.rule == rule);
        assert!(hit.is_some(), "{rule}: {text}\n{found:?}");
    }
}

#[test]
fn the_same_with_another_length_or_left_open_is_none() {
    for text in [
        format!("AKIA{}", noise(UPPER, 20)),
        "AKIAIOSFODNN7EXAMPLE".to_owned(),
        format!("ghp_{}", "x".repeat(36)),
        format!("glpat-{}", "x".repeat(20)),
        "sk_live_...".to_owned(),
        "hf_your_token_here".to_owned(),
        format!("sk-ant-api03-{}", "x".repeat(80)),
        format!("dop_v1_{}", noise(HEX, 20)),
        format!("squ_{}", noise(HEX, 12)),
        format!("-----BEGIN {0} KEY-----\n...\n-----END {0} KEY-----", "PRIVATE"),
        format!("-----BEGIN {0} KEY-----\n{1}\n-----END {0} KEY-----", "PUBLIC", noise(ALNUM, 200)),
        "eyJhbGciOiJIUzI1NiJ9 is the header".to_owned(),
        "postgres://user:password@localhost/db".to_owned(),
        "postgres://app:${DB_PASSWORD}@db/main".to_owned(),
        "https://example.org:8080/a@b".to_owned(),
        "Server=db1;User Id=app;Password={password};Database=x".to_owned(),
        "Authorization: Bearer <token>".to_owned(),
        "curl -u user:$PASSWORD https://host".to_owned(),
        "machine host login joe password <password>".to_owned(),
        "$6$...".to_owned(),
        "HEROKU_API_KEY=00000000-0000-0000-0000-000000000000".to_owned(),
    ] {
        let found = sure(&text);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn ordinary_texts_and_code_have_none() {
    for text in [
        "password = os.environ[\"DB_PASSWORD\"]",
        "let token = self.next_token();",
        "if (password.length < 8) { error(\"Password: must have 8 characters\"); }",
        "password: Yup.string().required('Please enter your password')",
        "api_key = \"<your-key>\"",
        "API_KEY=changeme",
        "secret_name = \"database-credentials\"",
        "The password must contain at least one digit and one letter.",
        "tokenizer = AutoTokenizer.from_pretrained(\"meta/model-7b\")",
        "\"integrity\": \"sha512-Zx9a8f7d6s5a4f3d2s1Zx9a8f7d6s5a4f3d2s1Zx9a8f7d6s5a4f3d2s1AA==\"",
        "commit 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b",
        "id: 550e8400-e29b-41d4-a716-446655440000",
        "public_key = \"AAAAB3NzaC1yc2EAAAADAQABAAABgQDq8Zr2LmX0vKtY5wBn7Jd\"",
        "{\"password\": \"Passwort\", \"confirmPassword\": \"Confirm password\"}",
        "def login(username: str, password: str = None) -> Token:",
        "primary_key = True, foreign_key='users.id', cache_key = 'user:profile:main'",
        "author = \"Jane Q. Public 1984\"",
        "pub const ERROR_INVALID_PASSWORD: WIN32_ERROR = 0x8009_0056_u32 as _;",
        "pub const SEC_E_NO_CREDENTIALS: HRESULT = 0x8009030E_u32 as _;",
        "pub const CRYPT_PASS: i32 = 131072i32;",
        "RUSTFLAGS=-Cpasses=foopass cargo build",
        "// compile-flags: -Cpasses=foopass -Cllvm-args=x2",
        "command.arg(\"-Cpasses=foopass\");",
        "sonarqube-reporter-1.2.4.tgz#3b335d612137949d2f21fcc6c8c8164db7603227",
    ] {
        let found = sure(text);
        assert!(found.is_empty(), "{text}: {found:?}");
    }
}

#[test]
fn a_checksum_makes_certain() {
    // Thirty digits, then their CRC-32 in base 62.
    let body = noise(ALNUM, 30);
    let mut crc = !body.bytes().fold(!0u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    let digits: Vec<char> = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz".chars().collect();
    let mut sum = String::new();
    for _ in 0..6 {
        sum.insert(0, digits[crc as usize % 62]);
        crc /= 62;
    }
    for prefix in ["ghp_", "npm_"] {
        let right = scanner().scan(&format!("{prefix}{body}{sum}"));
        assert_eq!((right.len(), right[0].confidence), (1, 1.0), "{prefix}");
        let wrong = scanner().scan(&format!("{prefix}{sum}{body}"));
        assert!(wrong.len() == 1 && wrong[0].confidence < 1.0, "{prefix}");
    }
}

#[test]
fn layers_are_taken_off() {
    let secret = format!("ghp_{}", noise(ALNUM, 36));
    let inner = format!("the token of the build is {secret}, keep it");
    let encoded = encode(inner.as_bytes());
    let text = format!("data: {encoded}\n");
    let found = scanner().scan(&text);
    assert_eq!((found.len(), found[0].value.as_str()), (1, secret.as_str()));
    assert_eq!(found[0].layers, [Encoding::Base64]);
    assert_eq!(&text[found[0].span.clone()], encoded);

    let twice = encode(format!("and inside of that: {encoded}").as_bytes());
    let found = scanner().scan(&twice);
    assert_eq!(found[0].layers, [Encoding::Base64, Encoding::Base64]);

    let text = format!("{{\"log\": \"first\\n{secret}\\nlast\"}}");
    let found = scanner().scan(&text);
    assert_eq!((found[0].value.as_str(), &text[found[0].span.clone()]), (secret.as_str(), secret.as_str()));
    assert_eq!(found[0].layers, [Encoding::Json]);

    let text = format!("next=%3Ftoken%3D{secret}%26x");
    let found = scanner().scan(&text);
    assert_eq!(found[0].layers, [Encoding::Url]);
}

#[test]
fn what_is_made_up_or_only_names_something_has_a_low_confidence() {
    for (rule, text) in [
        ("aws-arn", format!("arn:aws:iam::{}:role/deploy", "481726350912")),
        ("aws-arn", "arn:aws:s3:::{bucket_name}".to_owned()),
        ("aws-access-key-id", format!("AKIA{}EXAMPLE", noise(UPPER, 9))),
        ("google-api-key", format!("AIza{}", "x".repeat(35))),
        ("okta-token", format!("okta_token: 00{}", "a".repeat(40))),
        ("psexec", "psexec \\\\host -u admin -p $Password cmd".to_owned()),
        ("connection-string", "postgres://app:${DB_PASSWORD}@db/main".to_owned()),
        ("generic-password", "password = \"your_password\"".to_owned()),
        ("generic-api-key", "API_KEY=changeme".to_owned()),
        ("generic-secret", "jwt_secret: \"development#product\"".to_owned()),
        ("generic-password-setting", "MAILER_PASSWORD=smtp_password".to_owned()),
    ] {
        let found = scanner().scan(&text);
        assert!(found.len() == 1 && found[0].rule == rule && found[0].confidence < 0.5, "{text}: {found:?}");
    }
    assert!(scanner().scan("postgresql://user:secret@[2001:db8::7]/database").is_empty());
}

#[test]
fn the_rules_are_listed_once_each() {
    let mut names: Vec<&str> = secrets::rules().iter().map(|rule| rule.name).collect();
    assert!(names.len() > 200, "{}", names.len());
    names.sort_unstable();
    let all = names.len();
    names.dedup();
    assert_eq!(names.len(), all);
    assert!(secrets::rules().iter().all(|rule| !rule.description.is_empty() && !rule.provider.is_empty()));
}

fn mask(text: &str, found: &[Finding]) -> String {
    let mut masked = text.to_owned();
    for (index, finding) in found.iter().enumerate().rev() {
        masked.replace_range(finding.span.clone(), &format!("[{}_{}]", finding.label, index + 1));
    }
    masked
}

#[test]
fn a_masked_text_gives_nothing() {
    for (rule, text, _) in positives() {
        let masked = mask(&text, &scanner().scan(&text));
        let again = scanner().scan(&masked);
        assert!(again.is_empty(), "{rule}: {masked}\n{again:?}");
    }
}

/// Texts that come close to secrets.
fn nearly() -> impl Strategy<Value = String> {
    let pieces = positives().into_iter().map(|(_, text, _)| text).collect::<Vec<_>>();
    let piece = prop_oneof![
        proptest::sample::select(pieces),
        proptest::sample::select(vec![
            "password=",
            "eyJ",
            "é",
            "\\u00e9",
            "%C3",
            "://",
            "-----BEGIN PRIVATE KEY-----",
            "\"",
            "\n",
            "token: ",
            "[",
            "ß=",
            "\\\""
        ])
        .prop_map(str::to_owned),
        "\\PC{0,12}",
    ];
    proptest::collection::vec((piece, 0usize..200), 1..6).prop_map(|pieces| {
        pieces
            .into_iter()
            .map(|(piece, most)| piece[..piece.floor_char_boundary(most.max(1))].to_owned())
            .collect::<String>()
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn spans_are_sorted_and_on_borders(text in nearly()) {
        let found = scanner().scan(&text);
        let mut end = 0;
        for finding in &found {
            prop_assert!(finding.span.start >= end && finding.span.end > finding.span.start);
            prop_assert!(text.is_char_boundary(finding.span.start) && text.is_char_boundary(finding.span.end));
            prop_assert!(finding.confidence > 0.0 && finding.confidence <= 1.0);
            end = finding.span.end;
        }
        prop_assert_eq!(found, scanner().scan(&text));
    }
}

#[test]
fn hostile_texts_take_linear_time() {
    for piece in [
        "eyJ",
        "-eyJ.",
        "password=",
        "QUJDREVGR0hJ",
        "http://a:",
        "-----BEGIN PRIVATE KEY-----",
        "\\u0041\\\"",
        "aws secret_key ",
        "$1$a$5$",
    ] {
        // The best of some runs: others use the machine as well.
        let time = |length: usize| {
            let text = piece.repeat(length / piece.len());
            let run = || {
                let start = std::time::Instant::now();
                scanner().scan(&text);
                start.elapsed().as_secs_f64()
            };
            (0..3).map(|_| run()).fold(f64::INFINITY, f64::min)
        };
        let short = time(40_000).max(0.01);
        let long = time(400_000);
        // Ten times the length; a square would be a hundred.
        assert!(long < short * 50.0, "{piece}: {short} s and {long} s");
    }
}
