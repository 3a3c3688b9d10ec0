//! Every rule of the scanner of secrets on a text that has its secret, and on one that comes close.
//!
//! The table holds patterns and no secrets, so that no scanner of a host sees one: `{A36}` becomes 36 letters and digits.

mod table;

use attune_scrub::secrets::{self, Scanner, SecretOptions};

/// The characters of a piece.
fn alphabet(letter: char) -> &'static [u8] {
    match letter {
        'A' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
        'U' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789",
        'V' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
        'Y' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZ",
        'Z' => b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz",
        'l' => b"abcdefghijklmnopqrstuvwxyz0123456789",
        'z' => b"abcdefghijklmnopqrstuvwxyz",
        'h' => b"0123456789abcdef",
        'H' => b"0123456789ABCDEF",
        'd' => b"0123456789",
        'q' => b"qpzry9x8gf2tvdw0s3jn54khce6mua7l",
        'B' => b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz",
        'Q' => b"QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
        other => panic!("no alphabet {other}"),
    }
}

/// The text that a pattern stands for.
fn text(pattern: &str) -> String {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut out = String::new();
    let mut rest = pattern;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').map_or(rest.len(), |at| open + at);
        let inside = &rest[open + 1..close];
        let piece = inside.chars().next().zip(inside.get(1..).and_then(|count| count.parse::<usize>().ok()));
        match piece {
            Some((letter, count)) => {
                out.push_str(&rest[..open]);
                let letters = alphabet(letter);
                for _ in 0..count {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                    out.push(char::from(letters[(state >> 33) as usize % letters.len()]));
                }
                rest = &rest[close + 1..];
            }
            None => {
                out.push_str(&rest[..=open]);
                rest = &rest[open + 1..];
            }
        }
    }
    out + rest
}

#[test]
fn every_rule_finds_its_secret_and_nothing_that_comes_close() {
    let scanner = Scanner::new(SecretOptions::default());
    let mut wrong = Vec::new();
    for (rule, positive, negative) in table::RULES {
        let finds = |pattern: &str| scanner.scan(&text(pattern)).into_iter().any(|finding| finding.rule == *rule);
        if !finds(positive) {
            wrong.push(format!("{rule} misses {}: {:?}", text(positive), scanner.scan(&text(positive))));
        }
        if finds(negative) {
            wrong.push(format!("{rule} finds {}", text(negative)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_rule_is_without() {
    for rule in secrets::rules() {
        let rows = table::RULES.iter().filter(|(name, ..)| *name == rule.name).count();
        assert!(rows >= 1, "{} has no row in the table", rule.name);
    }
    for (name, positive, negative) in table::RULES {
        assert!(secrets::rules().iter().any(|rule| rule.name == *name), "there is no rule {name}");
        assert!(!positive.is_empty() && positive != negative, "{name}");
    }
    let open: Vec<&str> = table::RULES.iter().filter(|(.., negative)| negative.is_empty()).map(|row| row.0).collect();
    assert!(open.is_empty(), "without a negative: {open:?}");
}
