//! Judgements on secrets that a pattern cannot make.

use super::placeholder::{COMPUTED, MADE_UP, is_placeholder, is_template, weigh};
use super::rarity::looks_like_words;
use super::{codec, shape};

/// How much less sure a token is whose alphabet is not quite the provider's.
const ODD_ALPHABET: f32 = 0.8;

fn count(secret: &str, of: impl Fn(&u8) -> bool) -> usize {
    secret.as_bytes().iter().filter(|byte| of(byte)).count()
}

/// Letters and digits both.
pub(super) fn mixed(secret: &str, confidence: f32) -> Option<f32> {
    let digits = count(secret, u8::is_ascii_digit);
    let letters = count(secret, u8::is_ascii_alphabetic);
    (digits >= 2 && letters >= 3).then_some(confidence)
}

/// Hexadecimal digits of both kinds.
pub(super) fn hex_with_letters(secret: &str, confidence: f32) -> Option<f32> {
    (count(secret, u8::is_ascii_alphabetic) >= 4 && count(secret, u8::is_ascii_digit) >= 4).then_some(confidence)
}

/// The ids of AWS are base32.
pub(super) fn aws_key_id(secret: &str, confidence: f32) -> Option<f32> {
    if secret.ends_with("EXAMPLE") {
        return Some(MADE_UP.min(confidence));
    }
    let base32 = secret[4..].bytes().all(|byte| byte.is_ascii_uppercase() || (b'2'..=b'7').contains(&byte));
    Some(if base32 { confidence } else { confidence * ODD_ALPHABET })
}

/// An ARN of everything names nothing, one with a variable in it something that shows at run time only.
pub(super) fn arn(secret: &str, confidence: f32) -> Option<f32> {
    let resource = secret.splitn(6, ':').nth(5)?;
    (resource != "*").then(|| if is_template(resource) { COMPUTED } else { confidence })
}

/// The name of a bucket.
pub(super) fn bucket(secret: &str, confidence: f32) -> Option<f32> {
    let plain = !secret.contains("..") && !secret.contains(".-") && !secret.contains("-.");
    (plain && !["www", "s3"].contains(&secret)).then_some(confidence)
}

/// The last six digits are the CRC-32 of the thirty before them.
fn with_checksum(secret: &str, prefix: usize, confidence: f32) -> Option<f32> {
    let body = secret.as_bytes().get(prefix..)?;
    let holds = body.len() == 36 && codec::base62(codec::crc32(&body[..30])) == body[30..];
    // Older tokens, and tokens that somebody altered, have none.
    if holds { Some(1.0) } else { mixed(secret, confidence) }
}

pub(super) fn github(secret: &str, confidence: f32) -> Option<f32> {
    with_checksum(secret, 4, confidence)
}

pub(super) fn npm(secret: &str, confidence: f32) -> Option<f32> {
    with_checksum(secret, 4, confidence)
}

/// `s.` and 24 characters is also the end of a sentence or an attribute: those are words.
pub(super) fn vault_old(secret: &str, confidence: f32) -> Option<f32> {
    let body = &secret[2..];
    let noisy = count(body, u8::is_ascii_digit) >= 1
        && count(body, u8::is_ascii_uppercase) >= 2
        && count(body, u8::is_ascii_lowercase) >= 2;
    (noisy && shape::irregular(body) && !looks_like_words(body)).then_some(confidence)
}

pub(super) fn bootstrap(secret: &str, confidence: f32) -> Option<f32> {
    (count(secret, u8::is_ascii_digit) >= 2 && !is_placeholder(secret)).then_some(confidence)
}

pub(super) fn bech32(secret: &str, confidence: f32) -> Option<f32> {
    if codec::bech32(secret) { Some(1.0) } else { Some(confidence * ODD_ALPHABET) }
}

/// Noise, and not the words of a sentence.
pub(super) fn noise(secret: &str, confidence: f32) -> Option<f32> {
    (count(secret, u8::is_ascii_digit) >= 1 && !is_placeholder(secret) && !looks_like_words(secret))
        .then_some(confidence)
}

/// Whatever is no stand-in; for places where only a password can stand.
pub(super) fn password(secret: &str, confidence: f32) -> Option<f32> {
    weigh(secret, confidence)
}

/// The base64 of `user:password`.
pub(super) fn basic(secret: &str, confidence: f32) -> Option<f32> {
    let decoded = String::from_utf8(codec::base64(secret.as_bytes())?).ok()?;
    let (user, password) = decoded.split_once(':')?;
    let printable = !decoded.chars().any(char::is_control);
    let made_up = is_placeholder(password) && is_placeholder(user);
    (printable && user.len() + password.len() >= 3).then_some(if made_up { MADE_UP } else { confidence })
}

/// The salted hash of a password is what it is, but for the one that a manual shows.
pub(super) fn hash(secret: &str, confidence: f32) -> Option<f32> {
    (!secret.contains("...")).then_some(confidence)
}
