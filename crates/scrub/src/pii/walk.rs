//! The pass over a text: where something may be, and what it is.
//!
//! Every step looks at a bounded stretch around a byte and moves on, so the time grows with the length of the text,
//! whatever is in it.

use super::context::{Context, FULL, Topic};
use super::kinds::Kind;
use super::net::Reach;
use super::run::{self, Run};
use super::{BareNumbers, Candidate, Scanner, crypto, dates, email, iban, net, phone, specs, url};

/// What a byte can be the first sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sign {
    Nothing,
    Digit,
    At,
    Colon,
    Bracket,
    /// The `w` of `www.`.
    Www,
}

const SIGNS: [Sign; 256] = {
    let mut signs = [Sign::Nothing; 256];
    let mut digit = b'0';
    while digit <= b'9' {
        signs[digit as usize] = Sign::Digit;
        digit += 1;
    }
    signs[b'@' as usize] = Sign::At;
    signs[b':' as usize] = Sign::Colon;
    signs[b'(' as usize] = Sign::Bracket;
    signs[b'[' as usize] = Sign::Bracket;
    signs[b'{' as usize] = Sign::Bracket;
    signs[b'<' as usize] = Sign::Bracket;
    signs[b'w' as usize] = Sign::Www;
    signs[b'W' as usize] = Sign::Www;
    signs
};

/// What a candidate in a URL loses: numbers in paths are names of pages far more often than of persons.
const IN_URL: f32 = 0.3;
/// Where confidences of kinds end that need a word and have it.
const MOST: f32 = 1.0;

struct Walk<'a> {
    scanner: &'a Scanner,
    text: &'a str,
    found: Vec<Candidate>,
    /// Where the last URL ends.
    url_end: usize,
    /// Where the last word with a digit ends.
    floor: usize,
    /// Where the last stretch ends that was looked at for an IPv6 address.
    colons_end: usize,
}

/// All that may be personal data in a text and is sure enough; they may overlap.
pub(super) fn candidates(scanner: &Scanner, text: &str) -> Vec<Candidate> {
    let mut walk = Walk { scanner, text, found: Vec::new(), url_end: 0, floor: 0, colons_end: 0 };
    walk.run();
    if scanner.wanted.has(Kind::Email) {
        walk.spoken_addresses();
    }
    walk.found
}

impl Walk<'_> {
    fn run(&mut self) {
        let bytes = self.text.as_bytes();
        let mut at = 0;
        while let Some(offset) = bytes[at..].iter().position(|byte| SIGNS[usize::from(*byte)] != Sign::Nothing) {
            let place = at + offset;
            at = match SIGNS[usize::from(bytes[place])] {
                Sign::Digit => self.word_with_digit(place),
                Sign::At => self.at_sign(place),
                Sign::Colon => self.colon(place),
                Sign::Bracket => {
                    if self.scanner.wanted.has(Kind::Email) {
                        self.disguised(place);
                    }
                    place + 1
                }
                Sign::Www => self.www(place),
                Sign::Nothing => place + 1,
            };
        }
    }

    /// Takes a candidate if it is wanted and sure enough.
    fn push(&mut self, kind: Kind, start: usize, end: usize, confidence: f32) {
        if self.scanner.wanted.has(kind) && confidence >= self.scanner.min_confidence {
            let confidence = confidence.min(MOST);
            self.found.push(Candidate { start, end, kind, confidence, value: None });
        }
    }

    fn context(&self, start: usize, end: usize) -> Context {
        Context::around(self.text, start, end)
    }

    fn at_sign(&mut self, place: usize) -> usize {
        if self.scanner.wanted.has(Kind::Email)
            && let Some((start, end, mut confidence)) = email::around(self.text, place)
        {
            if confidence < 0.5 {
                confidence += self.context(start, end).bonus(Topic::Email);
            }
            self.push(Kind::Email, start, end, confidence);
        }
        place + 1
    }

    /// `name (at) host dot org` around a bracket.
    fn disguised(&mut self, place: usize) {
        if let Some((start, end, value)) = email::disguised(self.text, place)
            && self.scanner.min_confidence <= 0.7
        {
            self.found.push(Candidate { start, end, kind: Kind::Email, confidence: 0.7, value: Some(value) });
        }
    }

    /// `name at host dot org`: looked for by the word ` dot `, which is rarer than the word ` at `.
    fn spoken_addresses(&mut self) {
        /// The longest host that is looked for before a dot.
        const REACH: usize = 80;
        let text = self.text;
        let mut floor = 0;
        for word in [" dot ", " DOT ", " punkt "] {
            for (place, _) in text.match_indices(word) {
                let low = text.ceil_char_boundary(place.saturating_sub(REACH).max(floor));
                let before = &text[low..place];
                let Some(sign) = before.rfind(" at ").or_else(|| before.rfind(" AT ")).or_else(|| before.rfind(" ät "))
                else {
                    continue;
                };
                let Some((start, end, value)) = email::disguised(text, low + sign) else { continue };
                let confidence = 0.5 + self.context(start, end).bonus(Topic::Email) / 2.0;
                if confidence >= self.scanner.min_confidence {
                    self.found.push(Candidate { start, end, kind: Kind::Email, confidence, value: Some(value) });
                }
                floor = place;
            }
            floor = 0;
        }
    }

    fn url(&mut self, url: url::Url, confidence: f32) {
        self.push(Kind::Url, url.start, url.end, confidence);
        self.push(Kind::UrlCredentials, url.start, url.end, url.credentials);
        self.url_end = url.end;
    }

    fn www(&mut self, place: usize) -> usize {
        if place >= self.url_end
            && let Some(url) = url::www(self.text, place)
        {
            self.url(url, 0.7);
        }
        place + 1
    }

    /// A scheme, an IPv6 address or a hardware address without digits at its start.
    fn colon(&mut self, place: usize) -> usize {
        let bytes = self.text.as_bytes();
        if place >= self.url_end
            && let Some(url) = url::around(self.text, place)
        {
            self.url(url, 0.7);
            return place + 3;
        }
        let part = |byte: &u8| byte.is_ascii_hexdigit() || *byte == b':';
        let mut address = None;
        if place >= self.colons_end && bytes.get(place + 1).is_some_and(part) {
            self.colons_end = place + bytes[place..].iter().take_while(|byte| part(byte)).count();
            address = net::ipv6(self.text, place);
        }
        if let Some((start, end, reach)) = address {
            self.address(start, end, reach);
            self.floor = end;
            return end;
        }
        if let Some(start) = place.checked_sub(2)
            && start >= self.floor
            && let Some(end) = net::mac(bytes, start)
        {
            self.push(Kind::MacAddress, start, end, 0.9);
            return end;
        }
        place + 1
    }

    fn address(&mut self, start: usize, end: usize, reach: Reach) {
        if !self.scanner.wanted.has(Kind::IpAddress) {
            return;
        }
        let context = self.context(start, end);
        let bytes = self.text.as_bytes();
        let dotted = !bytes[start..end].contains(&b':');
        // `version 1.2.3.4`
        let version = dotted && context.has(Topic::Version) && context.nearer(Topic::Version, Topic::Ip);
        let bonus = if version { -0.45 } else { context.bonus(Topic::Ip) };
        let confidence = match reach {
            Reach::Public if dotted && net::is_like_version(bytes, start, end) => 0.45 + bonus,
            Reach::Public => 0.7 + bonus,
            Reach::Private => 0.3 + bonus,
            Reach::Documentation => 0.2 + bonus,
            Reach::Nobody => 0.15,
        };
        self.push(Kind::IpAddress, start, end, confidence);
    }

    /// A word of letters and digits around the first digit met; returns where the walk goes on.
    fn word_with_digit(&mut self, digit: usize) -> usize {
        let bytes = self.text.as_bytes();
        let letters =
            bytes[self.floor..digit].iter().rev().take(crypto::LONGEST).take_while(|byte| byte.is_ascii_alphabetic());
        let start = digit - letters.count();
        let end = digit + bytes[digit..].iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let length = end - start;
        if length > crypto::LONGEST {
            self.floor = end;
            return end;
        }
        if let Some(end) = identifier(bytes, start, length) {
            self.floor = end;
            return end;
        }
        if length >= 26
            && self.scanner.wanted.has(Kind::CryptoAddress)
            && let Some(mut confidence) = crypto::confidence(&self.text[start..end])
        {
            if confidence < 1.0 {
                // Forty digits in one case may be the hash of anything.
                confidence += self.context(start, end).bonus(Topic::Crypto) - 0.1;
            }
            self.push(Kind::CryptoAddress, start, end, confidence);
        }
        if matches!(length, 2 | 4)
            && let Some((start, end)) = hardware_address(bytes, start, length)
        {
            self.push(Kind::MacAddress, start, end, 0.9);
            self.floor = end;
            return end;
        }
        if start == digit {
            if bytes.get(end) == Some(&b'.')
                && let Some((end, reach)) = net::ipv4(bytes, start)
            {
                self.address(start, end, reach);
                self.floor = end;
                return end;
            }
            self.phone(start);
            self.birth(start);
        }
        self.numbers(start);
        // `AB 12 34 56 C`, `DE 123456789`: letters in a word of their own.
        if start == digit
            && let Some(before) = letters_before(bytes, start)
        {
            self.numbers(before);
        }
        self.floor = end;
        end
    }

    fn phone(&mut self, start: usize) {
        if !self.scanner.wanted.has(Kind::Phone) {
            return;
        }
        let Some(form) = phone::at(self.text, start) else { return };
        if form.confidence + FULL < self.scanner.min_confidence {
            return;
        }
        let context = self.context(form.start, form.end);
        let mut confidence = phone::with_words(form, &context);
        match self.scanner.bare_numbers {
            BareNumbers::Never if !context.has(Topic::Phone) && form.confidence < 0.8 => confidence = 0.0,
            BareNumbers::Any if form.confidence >= 0.2 => confidence = confidence.max(0.5),
            _ => {}
        }
        if form.start < self.url_end && !context.has(Topic::Phone) {
            confidence -= IN_URL + FULL;
        }
        self.push(Kind::Phone, form.start, form.end, confidence);
    }

    fn birth(&mut self, start: usize) {
        if !self.scanner.wanted.has(Kind::DateOfBirth) {
            return;
        }
        let date = dates::month_first(self.text, start)
            .or_else(|| dates::from_digit(self.text, start).map(|end| (start, end)));
        let Some((start, end)) = date else { return };
        // Whoever was born before 1900 is a figure of history.
        if dates::is_before_1900(&self.text[start..end]) {
            return;
        }
        let context = self.context(start, end);
        // The word has to be near, and before the date: a text about a life has many dates.
        let bonus = context.distance(Topic::Birth).filter(|distance| *distance <= 40).map_or(0.0, |_| FULL);
        self.push(Kind::DateOfBirth, start, end, 0.3 + bonus);
    }

    /// Everything that is made of groups of letters and digits and begins at a place.
    fn numbers(&mut self, start: usize) {
        let bytes = self.text.as_bytes();
        let Some(run) = Run::read(bytes, start) else { return };
        if run.is_list() {
            return;
        }
        let length_of_iban = iban::length(run.first(4));
        let mut context = None;
        let scanner = self.scanner;
        for length in run.closed() {
            if length_of_iban == Some(length) && iban::holds(run.first(length)) {
                self.push(Kind::Iban, start, run.end(length), 1.0);
                return;
            }
            let card = if scanner.wanted.has(Kind::PaymentCard) && (12..=19).contains(&length) {
                specs::card(&run, length).map(|confidence| (Kind::PaymentCard, Topic::Card, confidence))
            } else {
                None
            };
            let table = scanner.specs.get(length).map_or(&[][..], Vec::as_slice);
            let others =
                table.iter().filter_map(|spec| spec.confidence(&run).map(|sure| (spec.kind, spec.topic, sure)));
            for (kind, topic, confidence) in card.into_iter().chain(others) {
                let end = run.end(length);
                if confidence + FULL < scanner.min_confidence {
                    continue;
                }
                let context = context.get_or_insert_with(|| Context::around(self.text, start, end));
                let mut sure = self.number(context, topic, confidence);
                if start < self.url_end && confidence < 0.9 && !context.has(topic) {
                    sure -= IN_URL;
                }
                self.push(kind, start, end, sure);
            }
            // A list of short numbers has no borders inside that say anything.
            if length <= 20 && (run.is_bare(length) || !run.is_crowded(length)) {
                self.by_word_alone(&run, length, &mut context);
            }
        }
    }

    /// The confidence of a number with the words around it.
    fn number(&self, context: &Context, topic: Topic, confidence: f32) -> f32 {
        let known = context.has(topic);
        let other = context.nearer(Topic::Other, topic);
        let sure = match (self.scanner.bare_numbers, known) {
            (_, true) => confidence + context.bonus(topic),
            // By chance one number in some thousands has this form.
            (BareNumbers::Never, false) if confidence < 0.95 => 0.0,
            (BareNumbers::Any, false) => confidence.max(0.5),
            (_, false) => confidence,
        };
        if other && confidence < 0.95 { sure - FULL } else { sure }
    }

    /// What has no checksum and no form worth the name, and counts only directly beside a word for it.
    fn by_word_alone(&mut self, run: &Run, length: usize, context: &mut Option<Context>) {
        let wanted = |kind| self.scanner.wanted.has(kind);
        if !(wanted(Kind::Passport) || wanted(Kind::DrivingLicence) || wanted(Kind::PostalCode)) || length < 3 {
            return;
        }
        let characters = run.first(length);
        let digits = characters.iter().filter(|character| character.is_ascii_digit()).count();
        let (start, end) = (run.start, run.end(length));
        let kinds = [
            (Kind::Passport, Topic::Passport, (6..=10).contains(&length) && digits >= 5 && run.is_bare(length), 60),
            (
                Kind::DrivingLicence,
                Topic::Driving,
                (6..=20).contains(&length) && digits >= 5 && run.one_separator(length),
                60,
            ),
            (Kind::PostalCode, Topic::Postal, length <= 10 && digits >= 2 && is_postal(self.text, run, length), 12),
        ];
        for (kind, topic, fits, reach) in kinds {
            if !fits || !self.scanner.wanted.has(kind) {
                continue;
            }
            let context = context.get_or_insert_with(|| Context::around(self.text, start, end));
            let near = context.distance(topic).is_some_and(|distance| distance <= reach);
            let nearest = !context.nearer(Topic::Phone, topic) && !context.nearer(Topic::Card, topic);
            if near && nearest && dates::from_digit(self.text, start).is_none() {
                self.push(kind, start, end, 0.2 + context.bonus(topic));
            }
        }
    }
}

/// Whether a stretch is written as a postal code is: in capitals, in one or two groups, without a decimal point.
fn is_postal(text: &str, run: &Run, length: usize) -> bool {
    let written = &text[run.start..run.end(length)];
    run.one_separator(length) && !written.bytes().any(|byte| byte == b'.' || byte.is_ascii_lowercase())
}

/// A word of two to four capital letters directly before a place, with one separator between.
fn letters_before(bytes: &[u8], place: usize) -> Option<usize> {
    let before = place.checked_sub(1)?;
    let end = match bytes[before] {
        b' ' | b'-' => before,
        0xa0 if bytes[..place].ends_with("\u{a0}".as_bytes()) => place - 2,
        _ => return None,
    };
    let letters = bytes[..end].iter().rev().take(5).take_while(|byte| byte.is_ascii_uppercase()).count();
    debug_assert!(run::separator(bytes, end).is_some());
    (1..=4).contains(&letters).then(|| end - letters)
}

/// A hardware address one of whose first groups begins at a place; those before have letters alone.
fn hardware_address(bytes: &[u8], place: usize, length: usize) -> Option<(usize, usize)> {
    let mut start = place;
    for _ in 0..5 {
        let Some(before) = start.checked_sub(length + 1) else { break };
        let joined = matches!(bytes[start - 1], b':' | b'-' | b'.');
        if !joined || !bytes[before..start - 1].iter().all(u8::is_ascii_hexdigit) {
            break;
        }
        start = before;
    }
    net::mac(bytes, start).map(|end| (start, end))
}

/// A UUID whose first group begins at a place: its end. Nothing in it is a number of anybody.
fn identifier(bytes: &[u8], start: usize, length: usize) -> Option<usize> {
    if length != 8 {
        return None;
    }
    let word = bytes.get(start..start + 36)?;
    let holds = word.iter().enumerate().all(|(place, byte)| match place {
        8 | 13 | 18 | 23 => *byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    });
    holds.then_some(start + 36)
}
