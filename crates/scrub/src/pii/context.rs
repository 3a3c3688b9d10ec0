//! Words around a candidate that say what it is.
//!
//! A word counts by its distance: full weight directly beside the candidate, less further away, nothing beyond
//! [`BEFORE_BYTES`]. Words behind count too, within the line, unless they introduce the next value (`number: `).

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};

/// How far before a candidate words are looked for.
const BEFORE_BYTES: usize = 100;
/// How far behind it.
const AFTER_BYTES: usize = 32;
/// A word behind counts as if it stood this much further away.
const AFTER_PENALTY: u8 = 20;
/// What a word adds to the confidence when it stands beside the candidate.
pub(crate) const FULL: f32 = 0.35;
/// What a topic has that was not met.
const ABSENT: u8 = u8::MAX;

/// What words can be about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    Phone,
    /// Words that go with telephones and with much else.
    PhoneWeak,
    Email,
    Iban,
    Card,
    Ip,
    Mac,
    Crypto,
    Ssn,
    Itin,
    Routing,
    Nhs,
    Nino,
    GermanTax,
    Vat,
    Nir,
    SpanishId,
    ItalianCode,
    Bsn,
    Belgian,
    Pesel,
    Swedish,
    Finnish,
    Danish,
    Norwegian,
    Ahv,
    Aadhaar,
    Pan,
    Cpf,
    Cnpj,
    Sin,
    Tfn,
    Abn,
    Medicare,
    Nric,
    Korean,
    Chinese,
    Passport,
    Driving,
    Birth,
    Postal,
    /// Words before numbers that are no personal data: order, invoice, ISBN.
    Other,
    /// Words before versions.
    Version,
}

const TOPICS: usize = Topic::Version as usize + 1;

/// Words by topic, in lower case; they match in any case and as whole words. A `*` at an end lifts the border there.
const WORDS: &[(Topic, &[&str])] = &[
    (
        Topic::Phone,
        &[
            "phone*",
            "telephone*",
            "tel",
            "tel.",
            "telefon*",
            "teléfono*",
            "telefono*",
            "téléphone*",
            "telefone*",
            "telefoon*",
            "téléfono*",
            "mobile",
            "mobil",
            "mobiel*",
            "móvil",
            "celular",
            "cellulare",
            "cell",
            "cellphone*",
            "portable",
            "handy*",
            "fax*",
            "call",
            "calling",
            "called",
            "dial*",
            "ring",
            "whatsapp",
            "sms",
            "hotline",
            "landline",
            "answering",
            "voicemail",
            "pager",
            "rufnummer*",
            "anrufen",
            "numéro de tél*",
            "puhelin*",
            "telefonnummer*",
            "gsm",
            "desk",
            "text me",
            "reach me",
            "reach us",
            "msisdn",
            "telegram",
            "signal",
            "тел*",
            "моб*",
            "телефон*",
            "звон*",
            "电话*",
            "手机*",
            "電話*",
            "携帯*",
            "手機*",
            "전화*",
            "휴대폰*",
            "연락처*",
            "फ़ोन*",
            "फोन*",
            "هاتف*",
            "تلفن*",
            "טלפון*",
            "τηλ*",
            "κινητό*",
        ],
    ),
    (
        Topic::PhoneWeak,
        &[
            "contact*",
            "message*",
            "registered",
            "reach",
            "office",
            "home",
            "work",
            "kontakt*",
            "text",
            "my number",
            "your number",
            "his number",
            "her number",
            "our number",
            "their number",
        ],
    ),
    (Topic::Email, &["email*", "e-mail*", "mail", "mailto", "correo", "courriel", "contact", "邮箱*", "メール*"]),
    (Topic::Iban, &["iban*", "bank account", "account", "wire", "transfer", "konto*", "bankverbindung", "virement"]),
    (
        Topic::Card,
        &[
            "card*",
            "credit",
            "debit",
            "visa",
            "mastercard",
            "amex",
            "american express",
            "discover",
            "maestro",
            "jcb",
            "diners*",
            "cc",
            "ccn",
            "cvv",
            "cvc",
            "kreditkarte*",
            "karte*",
            "carte*",
            "tarjeta*",
            "carta di credito",
            "cartão*",
            "pan",
            "*card",
            "信用卡*",
            "银行卡*",
            "カード*",
            "карт*",
            "카드*",
        ],
    ),
    (
        Topic::Ip,
        &[
            "ip",
            "ips",
            "ipv4",
            "ipv6",
            "ip address",
            "address",
            "adresse",
            "dirección",
            "host",
            "client_ip",
            "remote_addr",
            "logged in",
            "login",
            "subnet",
            "gateway",
            "server",
            "client",
            "router",
            "network",
            "workstation",
            "ping",
            "ssh",
            "dns",
        ],
    ),
    (Topic::Mac, &["mac", "hwaddr", "ether", "hardware address", "bssid", "wlan", "bluetooth", "physical address"]),
    (Topic::Crypto, &["bitcoin", "btc", "ethereum", "eth", "wallet", "crypto*", "address"]),
    (Topic::Ssn, &["ssn", "ssns", "ssn#", "social security", "social-security", "social sec", "*ssn"]),
    (Topic::Itin, &["itin", "taxpayer id*", "individual taxpayer", "tax id", "tax identification"]),
    (Topic::Routing, &["routing", "aba", "rtn", "aba#", "transit number", "bank routing"]),
    (Topic::Nhs, &["nhs", "national health", "health service"]),
    (Topic::Nino, &["nino", "national insurance", "ni number", "ni no", "insurance number"]),
    (
        Topic::GermanTax,
        &[
            "steuer-id*",
            "steuerid*",
            "steueridentifikation*",
            "steuerliche identifikation*",
            "idnr",
            "id-nr",
            "identifikationsnummer*",
            "steuer-identifikation*",
            "steuernummer*",
            "tin",
            "german tax",
            "tax id*",
            "tax number",
        ],
    ),
    (
        Topic::Vat,
        &[
            "vat",
            "vat-id",
            "vatin",
            "ust-id*",
            "ustid*",
            "umsatzsteuer*",
            "uid",
            "tva",
            "iva",
            "btw*",
            "moms*",
            "mva*",
            "p.iva",
            "partita iva",
            "nif",
            "cif",
            "dph",
            "dič",
            "nip",
            "áfa",
            "alv*",
            "ddv",
            "pvn",
            "pvm",
            "ust-idnr*",
            "siren",
        ],
    ),
    (
        Topic::Nir,
        &[
            "nir",
            "sécurité sociale",
            "securite sociale",
            "insee",
            "sécu",
            "numéro de sécu*",
            "n° ss",
            "carte vitale",
            "numéro ss",
            "assuré social",
        ],
    ),
    (
        Topic::SpanishId,
        &["dni", "nie", "nif", "documento nacional", "identidad", "identificación", "extranjero", "d.n.i."],
    ),
    (Topic::ItalianCode, &["codice fiscale", "cod. fisc.", "cod.fisc.", "c.f.", "cf", "tax code", "fiscal code"]),
    (Topic::Bsn, &["bsn", "burgerservicenummer", "sofinummer", "sofi-nummer", "citizen service number"]),
    (
        Topic::Belgian,
        &[
            "rijksregister*",
            "registre national",
            "niss",
            "insz",
            "rrn",
            "nationaal nummer",
            "numéro national",
            "national register",
            "nationalregister*",
        ],
    ),
    (Topic::Pesel, &["pesel*", "numer ewidencyjny"]),
    (
        Topic::Swedish,
        &["personnummer*", "personnr*", "pnr", "samordningsnummer*", "swedish id", "personal identity number", "ssn"],
    ),
    (Topic::Finnish, &["hetu", "henkilötunnus*", "henkilötunnukse*", "personbeteckning*", "identity code", "sotu"]),
    (Topic::Danish, &["cpr*", "cpr-nr", "personnummer*", "cpr-nummer*", "danish id"]),
    (
        Topic::Norwegian,
        &["fødselsnummer*", "fodselsnummer*", "fnr", "personnummer*", "d-nummer*", "fødselsnr", "national identity"],
    ),
    (
        Topic::Ahv,
        &["ahv*", "avs", "oasi", "sozialversicherung*", "versichertennummer*", "navs13", "assurance vieillesse"],
    ),
    (Topic::Aadhaar, &["aadhaar*", "aadhar*", "adhaar*", "uidai", "uid", "आधार*"]),
    (Topic::Pan, &["pan", "permanent account", "income tax", "pan card", "पैन*"]),
    (Topic::Cpf, &["cpf", "cadastro de pessoa*", "pessoas físicas", "contribuinte"]),
    (Topic::Cnpj, &["cnpj", "cadastro nacional", "pessoa jurídica"]),
    (Topic::Sin, &["sin", "social insurance", "nas", "assurance sociale", "s.i.n."]),
    (Topic::Tfn, &["tfn", "tax file", "tax-file"]),
    (Topic::Abn, &["abn", "business number", "a.b.n."]),
    (Topic::Medicare, &["medicare*"]),
    (Topic::Nric, &["nric*", "fin", "singapore", "identity card", "s'pore"]),
    (
        Topic::Korean,
        &[
            "rrn",
            "resident registration",
            "주민등록*",
            "주민번호*",
            "외국인등록*",
            "foreigner registration",
            "korean id",
        ],
    ),
    (
        Topic::Chinese,
        &["身份证*", "身份證*", "公民身份*", "证件号*", "resident id*", "resident identity", "chinese id", "id card"],
    ),
    (
        Topic::Passport,
        &[
            "passport*",
            "reisepass*",
            "passeport*",
            "pasaporte*",
            "passaporto*",
            "passaporte*",
            "paspoort*",
            "paszport*",
            "passnummer*",
            "паспорт*",
            "护照*",
            "護照*",
            "パスポート*",
            "여권*",
        ],
    ),
    (
        Topic::Driving,
        &[
            "driver license*",
            "driver's license*",
            "driver’s license*",
            "drivers license*",
            "driver licence*",
            "driver's licence*",
            "drivers licence*",
            "driver’s licence*",
            "driving licence*",
            "driving license*",
            "dl#",
            "dl",
            "driver lic*",
            "driverlicense*",
            "führerschein*",
            "fuehrerschein*",
            "permis de conduire",
            "carnet de conducir",
            "patente di guida",
            "patente",
            "rijbewijs*",
            "cnh",
            "körkort*",
            "prawo jazdy",
            "licence number",
            "license number",
        ],
    ),
    (
        Topic::Birth,
        &[
            "born",
            "birth",
            "birthdate",
            "birthday",
            "date of birth",
            "dob",
            "d.o.b.",
            "b-day",
            "dateofbirth",
            "birth_date",
            "geboren*",
            "geb.",
            "geburtsdatum*",
            "geburtstag*",
            "née",
            "né",
            "naissance",
            "nacimiento",
            "nació",
            "nacido",
            "nacida",
            "nato il",
            "nata il",
            "nascita",
            "nascimento",
            "nascido",
            "nascida",
            "geboortedatum*",
            "född",
            "fødselsdato*",
            "født",
            "syntynyt",
            "urodzenia",
            "urodzon*",
            "рожд*",
            "родил*",
            "出生*",
            "生日*",
            "生年月日*",
            "생년월일*",
        ],
    ),
    (
        Topic::Postal,
        &[
            "zip",
            "zipcode",
            "zip code",
            "postal code",
            "postcode",
            "post code",
            "plz",
            "postleitzahl",
            "code postal",
            "código postal",
            "cap",
            "cep",
            "postnummer",
            "postinumero",
            "pin code",
            "pincode",
            "邮编*",
            "郵便番号*",
            "우편번호*",
        ],
    ),
    (
        Topic::Other,
        &[
            "isbn*",
            "issn",
            "doi",
            "pmid",
            "arxiv",
            "order",
            "orders",
            "invoice*",
            "tracking",
            "ticket*",
            "issue",
            "sku",
            "upc",
            "ean",
            "gtin",
            "barcode",
            "part number",
            "part no",
            "model",
            "serial",
            "serial number",
            "build",
            "commit",
            "revision",
            "timestamp",
            "epoch",
            "pid",
            "port",
            "bytes",
            "checksum",
            "rechnung*",
            "bestell*",
            "artikel*",
            "auftrag*",
            "facture",
            "commande",
            "pedido",
            "transaction id",
            "case number",
            "error code",
            "errno",
            "uuid",
            "guid",
            "hash",
            "offset",
            "line",
            "pages",
            "catalog*",
            "patent",
            "coordinates",
            "latitude",
            "longitude",
            "lat",
            "lon",
            "lng",
            "seed",
            "article",
            "section",
            "figure",
            "thread",
            "process",
            "customer id",
            "booking",
            "reservation",
            "flight",
            "batch",
            "lot",
            "reference",
            "item",
            "product",
        ],
    ),
    (
        Topic::Version,
        &[
            "version*",
            "versions",
            "ver",
            "ver.",
            "v",
            "release*",
            "firmware*",
            "build",
            "upgrade*",
            "rev",
            "revision",
            "assembly",
            "file version",
            "sdk",
            "driver",
            "kernel",
            "patch",
            "oid",
            "section",
            "chapter",
            "clause",
        ],
    ),
];

/// One word as the automaton knows it.
struct Entry {
    topic: Topic,
    open_left: bool,
    open_right: bool,
}

struct Words {
    automaton: AhoCorasick,
    entries: Vec<Entry>,
}

static LEXICON: LazyLock<Words> = LazyLock::new(|| {
    let mut entries = Vec::new();
    let mut patterns: Vec<String> = Vec::new();
    for &(topic, words) in WORDS {
        for word in words {
            let pattern = word.trim_matches('*');
            let mut add = |pattern: String| {
                patterns.push(pattern);
                entries.push(Entry { topic, open_left: word.starts_with('*'), open_right: word.ends_with('*') });
            };
            add(pattern.to_owned());
            // The automaton folds the case of ASCII alone.
            if !pattern.is_ascii() {
                let mut letters = pattern.chars();
                let capital = letters.next().map(|first| first.to_uppercase().chain(letters).collect::<String>());
                let upper = pattern.to_uppercase();
                for variant in capital.into_iter().chain([upper]) {
                    if variant != pattern {
                        add(variant);
                    }
                }
            }
        }
    }
    let automaton = AhoCorasick::builder()
        .ascii_case_insensitive(true)
        .kind(Some(AhoCorasickKind::DFA))
        .build(&patterns)
        .expect("the list of words is constant and far below the limits");
    Words { automaton, entries }
});

/// Builds the automaton, so that the first text does not wait for it.
pub(crate) fn prepare() {
    LazyLock::force(&LEXICON);
}

/// How far away the nearest word of every topic is.
#[derive(Debug, Clone)]
pub(crate) struct Context([u8; TOPICS]);

impl Context {
    /// Reads the words around a stretch of text.
    pub(crate) fn around(text: &str, start: usize, end: usize) -> Self {
        let mut context = Self([ABSENT; TOPICS]);
        let from = text.floor_char_boundary(start.saturating_sub(BEFORE_BYTES));
        let before = &text[from..start];
        // A word cut by the window begins nowhere; the border test needs the character before it.
        let preceding = text[..from].chars().next_back();
        context.read(before, preceding, |end_of_word| (before.len() - end_of_word).min(BEFORE_BYTES) as u8);
        let line_end = text[end..].bytes().take(AFTER_BYTES).position(|byte| byte == b'\n').unwrap_or(AFTER_BYTES);
        let to = text.ceil_char_boundary((end + line_end).min(text.len()));
        context.read_behind(&text[end..to], text[to..].chars().next());
        context
    }

    fn read(&mut self, window: &str, preceding: Option<char>, distance: impl Fn(usize) -> u8) {
        let Words { automaton, entries } = &*LEXICON;
        for hit in automaton.find_overlapping_iter(window) {
            let entry = &entries[hit.pattern().as_usize()];
            let left_open = entry.open_left || border_left(window, hit.start(), preceding);
            if left_open && (entry.open_right || border_right(window, hit.end(), None)) {
                self.note(entry.topic, distance(hit.end()));
            }
        }
    }

    fn read_behind(&mut self, window: &str, following: Option<char>) {
        let Words { automaton, entries } = &*LEXICON;
        for hit in automaton.find_overlapping_iter(window) {
            let entry = &entries[hit.pattern().as_usize()];
            let introduces_next = window[hit.end()..]
                .bytes()
                .find(|byte| !byte.is_ascii_alphanumeric() && !matches!(byte, b' ' | b'"' | b'_' | b'\''))
                .is_some_and(|byte| matches!(byte, b':' | b'=' | b'#'));
            if !introduces_next
                && (entry.open_left || border_left(window, hit.start(), Some(' ')))
                && (entry.open_right || border_right(window, hit.end(), following))
            {
                self.note(entry.topic, hit.start().min(AFTER_BYTES) as u8 + AFTER_PENALTY);
            }
        }
    }

    fn note(&mut self, topic: Topic, distance: u8) {
        let known = &mut self.0[topic as usize];
        *known = distance.min(*known);
    }

    /// How far away the nearest word of a topic is.
    pub(crate) fn distance(&self, topic: Topic) -> Option<usize> {
        Some(usize::from(self.0[topic as usize])).filter(|&distance| distance != usize::from(ABSENT))
    }

    /// Whether a word of a topic is there.
    pub(crate) fn has(&self, topic: Topic) -> bool {
        self.distance(topic).is_some()
    }

    /// What the words of a topic add to a confidence: [`FULL`] near by, falling to two thirds of it.
    pub(crate) fn bonus(&self, topic: Topic) -> f32 {
        self.distance(topic).map_or(0.0, |distance| {
            let beyond = distance.saturating_sub(40).min(60) as f32;
            FULL * (1.0 - beyond / 180.0)
        })
    }

    /// Whether a topic is nearer than another (or the other is absent).
    pub(crate) fn nearer(&self, topic: Topic, than: Topic) -> bool {
        self.0[topic as usize] < self.0[than as usize]
    }
}

/// Whether a word may begin here: nothing before it, no letter, or a lower-case letter before a capital (`userPhone`).
fn border_left(window: &str, at: usize, preceding: Option<char>) -> bool {
    let first = window[at..].chars().next();
    match window[..at].chars().next_back().or(preceding) {
        None => true,
        Some(before) if !before.is_alphanumeric() => true,
        Some(before) => {
            wide(before) || first.is_some_and(wide) || before.is_lowercase() && first.is_some_and(char::is_uppercase)
        }
    }
}

/// Whether a word may end here: nothing behind it, no letter, or a capital after a lower-case letter (`phoneNumber`).
fn border_right(window: &str, at: usize, following: Option<char>) -> bool {
    let last = window[..at].chars().next_back();
    match window[at..].chars().next().or(following) {
        None => true,
        Some(behind) if !behind.is_alphabetic() => true,
        Some(behind) => {
            wide(behind) || last.is_some_and(wide) || behind.is_uppercase() && last.is_some_and(char::is_lowercase)
        }
    }
}

/// Characters of scripts that put no spaces between words.
fn wide(character: char) -> bool {
    matches!(character, '\u{2e80}'..='\u{9fff}' | '\u{ac00}'..='\u{d7af}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str, value: &str) -> Context {
        let start = text.find(value).expect("the value is in the text");
        Context::around(text, start, start + value.len())
    }

    #[test]
    fn words_count_whole_and_in_any_case() {
        assert!(at("My PHONE is 12", "12").has(Topic::Phone));
        assert!(at("userPhone=12", "12").has(Topic::Phone));
        assert!(at("phone_number: 12", "12").has(Topic::Phone));
        assert!(at("Téléphone 12", "12").has(Topic::Phone));
        assert!(at("电话12", "12").has(Topic::Phone));
        assert!(!at("a xylophone 12", "12").has(Topic::Phone));
        assert!(!at("hotel 12", "12").has(Topic::Phone));
        assert!(at("steuerIdentifikationsnummer 12", "12").has(Topic::GermanTax));
    }

    #[test]
    fn words_behind_count_unless_they_introduce_the_next_value() {
        assert!(at("12 is my phone", "12").has(Topic::Phone));
        assert!(!at("12, phone: 13", "12").has(Topic::Phone));
        assert!(!at("12\nphone", "12").has(Topic::Phone));
    }

    #[test]
    fn near_words_weigh_more() {
        let near = at("phone 12", "12").bonus(Topic::Phone);
        let far = at(&format!("phone {} 12", "x ".repeat(40)), "12").bonus(Topic::Phone);
        assert!(near > far && far > 0.2, "{near} {far}");
        assert!(!at(&format!("phone {} 12", "x ".repeat(60)), "12").has(Topic::Phone));
        let context = at("ssn and phone 12", "12");
        assert!(context.nearer(Topic::Phone, Topic::Ssn) && !context.nearer(Topic::Ssn, Topic::Phone));
        assert!(context.nearer(Topic::Ssn, Topic::Iban));
    }
}
