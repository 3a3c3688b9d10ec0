//! Every kind: what is found, what is not; and that no text breaks or stalls the scanner.

use attune_scrub::Category;
use attune_scrub::pii::{BareNumbers, Kind, PiiOptions, Scanner, kinds};
use proptest::prelude::*;

/// A scanner for everything.
fn scanner() -> Scanner {
    Scanner::new(PiiOptions { kinds: kinds().iter().map(|info| info.kind).collect(), ..PiiOptions::default() })
}

/// Rules and stretches.
fn found<'a>(scanner: &Scanner, text: &'a str) -> Vec<(&'static str, &'a str)> {
    scanner.scan(text).into_iter().map(|finding| (finding.rule, &text[finding.span])).collect()
}

/// Texts in which exactly the marked stretch is found, by rule. `[[` and `]]` mark it.
const POSITIVES: &[(&str, &str)] = &[
    ("email", "Write to [[jane.doe+news@mail.example.co.uk]], please."),
    ("email", "{\"contact\":\"[[jürgen@müller.de]]\"}"),
    ("email", "[[1john2@example.com]]"),
    ("email", "mailto:[[a_b@example.museum]]?subject=x"),
    ("email", "reach me: [[jane (at) example dot org]]"),
    ("email", "mail [[jane.doe at example dot com]] for it"),
    ("phone", "Tel. [[+49 (0)30 901820]], Mo-Fr"),
    ("phone", "[[(212) 555-0142]]"),
    ("phone", "call [[212.555.0142 ext. 7]] now"),
    ("phone", "Rufnummer: [[030/901820]]"),
    ("phone", "appelez le [[01 42 68 53 00]]"),
    ("phone", "手机:[[13812345678]]"),
    ("phone", "mobile [[07700 900461]]"),
    ("phone", "\"phone_number\": \"[[5551234567]]\""),
    ("iban", "Konto [[DE89 3704 0044 0532 0130 00]] bei der Bank"),
    ("iban", "to [[gb29nwbk60161331926819]] today"),
    ("iban", "IBAN:[[FR14-2004-1010-0505-0001-3M02-606]]"),
    ("payment-card", "paid with [[4111 1111 1111 1111]] on Monday"),
    ("payment-card", "[[3782-822463-10005]]"),
    ("payment-card", "card number [[6759649826438453]]"),
    ("payment-card", "visa [[4222222222222]]"),
    ("ip-address", "from [[86.121.97.248]]:443"),
    ("ip-address", "connect to [[2a00:1450:4001:81b::200e]]."),
    ("ip-address", "client ip [[192.168.7.31]]"),
    ("ip-address", "IP address: [[203.0.113.45]]"),
    ("ip-address", "GET / [[8.8.4.4]]:53"),
    ("phone", "my number is [[9876543210]]"),
    ("phone", "téléphone : [[+ 33 1 42 68 53 00]]"),
    ("mac-address", "hwaddr [[00:1b:44:11:3a:b7]]"),
    ("mac-address", "[[AA:BB:CC:DD:EE:FA]] joined"),
    ("mac-address", "[[aa-bb-cc-dd-ee-f1]]"),
    ("url-credentials", "postgres: [[postgres://app:hunter2!x@db.example.com/main]]"),
    ("url", "see [[https://example.com/a?b=1]]."),
    ("url", "visit [[www.example.org/x]]!"),
    ("us-ssn", "My SSN is [[536-90-4399]]."),
    ("us-ssn", "social security number [[536904399]]"),
    ("us-itin", "ITIN [[912-70-1234]]"),
    ("us-bank-routing", "routing number: [[021000021]]"),
    ("uk-nhs", "NHS number [[943 476 5919]]"),
    ("uk-nino", "NI number [[AB 12 34 56 C]]"),
    ("uk-nino", "nino=[[JG103759A]]"),
    ("de-tax-id", "Steuer-ID [[86 095 742 719]]"),
    ("de-tax-id", "steuerliche Identifikationsnummer: [[86095742719]]"),
    ("eu-vat", "USt-IdNr. [[DE136695976]]"),
    ("eu-vat", "VAT [[IT 00743110157]]"),
    ("fr-nir", "né, n° [[1 84 12 76 451 089 46]]"),
    ("es-dni", "DNI [[12345678Z]]"),
    ("es-dni", "NIE: [[X-1234567-L]]"),
    ("it-codice-fiscale", "C.F. [[RSSMRA85T10A562S]]"),
    ("nl-bsn", "BSN [[1112.22.333]]"),
    ("be-national-number", "[[85.07.30-033.28]]"),
    ("pl-pesel", "PESEL: [[44051401359]]"),
    ("se-personal-number", "personnummer [[811228-9874]]"),
    ("se-personal-number", "[[19811228-9874]]"),
    ("fi-personal-code", "hetu [[131052-308T]]"),
    ("fi-personal-code", "[[131052A308T]]"),
    ("dk-cpr", "CPR-nr. [[211062-5629]]"),
    ("no-birth-number", "fødselsnummer [[151086 95088]]"),
    ("ch-ahv", "[[756.9217.0769.85]]"),
    ("in-aadhaar", "Aadhaar [[2341 2341 2346]]"),
    ("in-pan", "PAN: [[ABCPE1234F]]"),
    ("br-cpf", "[[111.444.777-35]]"),
    ("br-cnpj", "CNPJ [[11.222.333/0001-81]]"),
    ("br-cnpj", "CNPJ [[12.ABC.345/01DE-35]]"),
    ("ca-sin", "SIN [[130 692 544]]"),
    ("au-tfn", "TFN: [[123 456 782]]"),
    ("au-abn", "ABN [[51 824 753 556]]"),
    ("au-medicare", "Medicare card [[2123 45670 1]]"),
    ("sg-nric", "NRIC [[S1234567D]]"),
    ("kr-rrn", "주민등록번호 [[971013-1019901]]"),
    ("cn-resident-id", "身份证号码:[[11010519491231002X]]"),
    ("passport", "passport number: [[533380006]]"),
    ("passport", "Reisepass [[X1234567]]"),
    ("driving-licence", "my driver's license number is [[F162823540116]]"),
    ("crypto-address", "send to [[1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa]]"),
    ("crypto-address", "[[0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed]]"),
    ("crypto-address", "btc: [[bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4]]"),
    ("date-of-birth", "She was born on [[7/30/1964]]."),
    ("date-of-birth", "Date of birth: [[16 February 1942]]"),
    ("date-of-birth", "DOB [[February 16, 1942]]"),
    ("date-of-birth", "geboren am [[3.4.1980]] in Köln"),
    ("postal-code", "ZIP: [[75534-030]]"),
];

/// Texts in which nothing is found by the default kinds.
const NEGATIVES: &[&str] = &[
    "Follow @jane_doe and @org/team, decorate with @app.route.",
    "npm i left-pad@1.3.0 react@18.2.0 @types/node@20.1.1",
    "git clone git@github.com:owner/name.git",
    "image@2x.png, x = a@w.T, me@localhost",
    "ISBN 978-3-16-148410-0 and ISBN-10: 0-306-40615-2",
    "On 2023-01-15 12:30:45 and 15.01.2023, 01/02/2003",
    "order 123-456-7890 was shipped",
    "Order number: 0301 234567",
    "550e8400-e29b-41d4-a716-446655440000",
    "id 12345678-1234-1234-1234-123456789012",
    "[ 123456.789012] usb 1-1: new device number 4",
    "1699999999 1700000000123 timestamps",
    "version 1.2.3.4 and v2.10.0.1, release 10.20.30.40",
    "localhost 127.0.0.1, docs use 192.0.2.1 and 2001:db8::1, mask 255.255.255.0",
    "std::vector<a::b> x; Foo::bar(); dead::beef",
    "00:00:00:00:00:00 and ff:ff:ff:ff:ff:ff",
    "https://example.com/2024/01/15/0301234567/9434765919",
    "https://user:password@host and https://${USER}:${PASS}@host",
    "3.14159265358979 1,234,567.89 $1,234,567 12 345 678",
    "SSN 000-12-3456, 666-12-3456, 123-45-6789",
    "card 4111 1111 1111 1112",
    "GB82 WEST 1234 5698 7654 33",
    "MD5 d41d8cd98f00b204e9800998ecf8427e, commit 3f786850e387550fdab836ed7e6dc881de23001b",
    "The war lasted from 1939 to 1945; 1000000 people, 250000000 dollars.",
    "0.123456789012 1e10 0x7fffffff 0b101010",
    "RFC 2822, section 3.4.1, page 123-456",
    "130692544 021000021 9434765919 111222333",
    "We meet at noon. Look at that dot on the map.",
    "array[at] (at) 5 {at}",
    "#123456789012 issue",
    "SKU 4006381333931, EAN 4006381333931",
    "lat 52.520008, lon 13.404954",
    "10 000 000, 1 234 567, 2019 2020 2021 2022",
    "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16",
    "A4 B5 C6 12A 34B x86_64 utf8 i18n",
    "12:30:45.123456 08:15",
    "phase 1-800, 24/7, 50-50, 9-5",
    "founded on 12 March 1921, in force since 1/2/2003",
    "built with OpenSSL 1.1.1.4 and zlib",
    "server version 12.4.0.7, firmware 91.20.30.40",
    "4600 - 1286 + 4983 + 1010 - 3622 = 1685 and 256626720691 + 1646615806005",
    "he called at 0.00452489, about 2400 / 200 or 1700-1200 = 500 times",
    "phones sold 2004-2010 and 1985 – 1993",
    "SSN: 078-05-1120, NHS number 485 777 3456",
    "Darwin was born on 12 February 1809, Gandhi's mother in 1844",
    "ip mask 255.255.255.0, ping 127.0.0.1",
];

#[test]
fn positives() {
    let scanner = scanner();
    for (rule, marked) in POSITIVES {
        if marked.is_empty() {
            continue;
        }
        let (before, rest) = marked.split_once("[[").expect("a mark");
        let (part, behind) = rest.split_once("]]").expect("its end");
        let text = format!("{before}{part}{behind}");
        assert_eq!(found(&scanner, &text), [(*rule, part)], "{text}");
    }
}

#[test]
fn every_kind_has_a_positive() {
    for info in kinds() {
        assert!(POSITIVES.iter().any(|(rule, text)| *rule == info.rule && !text.is_empty()), "{}", info.rule);
    }
}

#[test]
fn negatives() {
    let scanner = Scanner::new(PiiOptions::default());
    for text in NEGATIVES {
        assert_eq!(found(&scanner, text), [], "{text}");
    }
}

#[test]
fn findings_carry_what_placeholders_need() {
    let text = "JANE@Example.org, +1 (212) 555-0142, DE89 3704 0044 0532 0130 00";
    let findings = Scanner::new(PiiOptions::default()).scan(text);
    let values: Vec<_> = findings.iter().map(|finding| (finding.label, finding.value.as_str())).collect();
    assert_eq!(values, [("EMAIL", "jane@example.org"), ("PHONE", "+12125550142"), ("IBAN", "DE89370400440532013000")]);
    assert!(findings.iter().all(|finding| finding.category == Category::Pii && finding.layers.is_empty()));
    assert_eq!(findings[2].confidence, 1.0);
}

#[test]
fn words_raise_the_confidence() {
    let scanner = Scanner::new(PiiOptions { min_confidence: 0.0, ..PiiOptions::default() });
    let of = |text: &str, rule: &str| {
        let findings = scanner.scan(text);
        findings.iter().find(|finding| finding.rule == rule).map_or(0.0, |finding| finding.confidence)
    };
    assert!(of("SSN 536-90-4399", "us-ssn") > of("x 536-90-4399", "us-ssn") + 0.3);
    assert!(of("ip 10.1.2.3", "ip-address") > of("x 10.1.2.3", "ip-address") + 0.3);
    assert!(of("8.8.8.8", "ip-address") > of("10.0.0.8", "ip-address"));
    assert!(of("10.0.0.8", "ip-address") > of("127.0.0.1", "ip-address"));
}

#[test]
fn options_choose() {
    let text = "me@example.org 4111111111111111 130692544";
    let with = |options| found(&Scanner::new(options), text);
    let only = PiiOptions { kinds: vec![Kind::PaymentCard], ..PiiOptions::default() };
    assert_eq!(with(only), [("payment-card", "4111111111111111")]);
    let never = PiiOptions { bare_numbers: BareNumbers::Never, ..PiiOptions::default() };
    assert_eq!(with(never), [("email", "me@example.org")]);
    let sure = PiiOptions { min_confidence: 0.9, ..PiiOptions::default() };
    assert_eq!(with(sure), [("email", "me@example.org")]);
    let any = PiiOptions {
        bare_numbers: BareNumbers::Any,
        kinds: vec![Kind::CaSin, Kind::PaymentCard],
        ..PiiOptions::default()
    };
    assert_eq!(with(any), [("payment-card", "4111111111111111"), ("ca-sin", "130692544")]);
    let none = PiiOptions { kinds: Vec::new(), ..PiiOptions::default() };
    assert_eq!(with(none), []);
}

/// Pieces of what the rules look for, so that random texts reach their branches.
fn texts() -> impl Strategy<Value = String> {
    let pieces = [
        "@", ".", "-", " ", "/", ":", "://", "+", "(", ")", "(0)", "[at]", " at ", " dot ", "www.", "0", "1", "12",
        "123", "4111", "2026", "com", "de", "é", "漢", "年", "月", "日", "\u{a0}", "\u{2011}", "\u{200b}", "€", "£",
        "GB82", "WEST", "DE", "0x", "bc1", "SSN", "tel", "card", "born", "x", "ext", "fe80::", "ff", "%40", "\\n", "=",
        "_", "\n", "I", "ß", "＋", "Feb", "mär",
    ];
    let piece = prop_oneof![4 => proptest::sample::select(pieces.to_vec()).prop_map(str::to_owned), 1 => any::<char>().prop_map(String::from), 1 => "[0-9]{1,12}"];
    proptest::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]
    #[test]
    fn findings_are_in_order_on_borders_and_apart(text in texts()) {
        for bare_numbers in [BareNumbers::Checked, BareNumbers::Any] {
            let options = PiiOptions { kinds: kinds().iter().map(|info| info.kind).collect(), min_confidence: 0.01, bare_numbers };
            let mut end = 0;
            for finding in Scanner::new(options).scan(&text) {
                prop_assert!(finding.span.start >= end && finding.span.end > finding.span.start);
                prop_assert!(text.get(finding.span.clone()).is_some());
                prop_assert!(finding.confidence > 0.0 && finding.confidence <= 1.0);
                prop_assert!(!finding.value.is_empty());
                end = finding.span.end;
            }
        }
    }
}

#[test]
fn long_texts_take_linear_time() {
    let scanner = Scanner::new(PiiOptions {
        kinds: kinds().iter().map(|info| info.kind).collect(),
        min_confidence: 0.01,
        bare_numbers: BareNumbers::Any,
    });
    for unit in [
        "1",
        "@",
        ":",
        "1.",
        "1 ",
        "12-",
        "a@",
        "a.",
        "(",
        "(at)",
        " dot ",
        " at ",
        "://",
        "a://",
        "www.",
        "12:",
        "f:",
        "+1",
        "a1 ",
        "漢1",
        "4111 1111 1111 1111 ",
        "a@b.",
        "(0)",
        "0x",
        "born 1/1/1990 ",
        "1é",
        "1,",
        "%",
    ] {
        let text = unit.repeat(10_000_000 / unit.len());
        let start = std::time::Instant::now();
        let count = scanner.scan(&text).len();
        let took = start.elapsed();
        println!("{unit:?}: {count} findings in {took:?}");
        assert!(took.as_secs() < 60, "{unit:?}: {took:?}");
    }
}
