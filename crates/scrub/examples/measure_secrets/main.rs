//! Measures the scanner of secrets on labelled examples, and its speed: `measure_secrets ASSETS_DIR [--speed] [--show]`.
//!
//! A positive counts as found when a rule finds something in it. A negative counts as flagged when a rule that looks for
//! the same thing as the rule it belongs to (see `table.rs`) finds something in it: a user token of Slack is a negative of
//! its rule for bots, and no mistake of ours. Both are counted with one threshold. `positives` and `negatives` take a finding
//! of any confidence, so the low ones as well that made-up values and names without power get; `certain` takes those
//! from 0.5, which is what `ft` acts on.
#![allow(clippy::print_stdout, reason = "it prints its result")]

mod table;

use std::path::Path;
use std::time::Instant;

use attune_scrub::secrets::{self, Scanner, SecretOptions};
use serde_json::{Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let folder = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("", String::as_str);
    let scanner = Scanner::new(SecretOptions::default());
    let mut result = json!({ "rules": secrets::rules().len() });
    let file = Path::new(folder).join("suites/noseyparker/examples.json");
    match std::fs::read(&file) {
        Ok(text) => {
            let rules: Vec<Value> = serde_json::from_slice(&text).expect("the list of rules");
            check_table(&rules);
            let any = suite(&scanner, &rules, 0.0);
            let certain = suite(&scanner, &rules, 0.5);
            result["certain"] = certain.counts();
            result["positives"] = any.counts()["positives"].clone();
            result["negatives"] = any.counts()["negatives"].clone();
            if has("--show") {
                result["missed"] = json!(any.missed);
                result["certain"]["missed"] = json!(certain.missed);
                result["flagged"] = json!(any.wrong);
            }
        }
        Err(error) => result["skipped"] = json!(format!("{}: {error}", file.display())),
    }
    if has("--speed") {
        result["speed"] = speed(&scanner);
    }
    println!("{result:#}");
}

/// The table knows every rule of the suite, and we have every rule that it names.
fn check_table(rules: &[Value]) {
    for rule in rules {
        let name = rule["rule"].as_str().unwrap_or_default();
        assert!(table::SAME.iter().any(|(suite, _)| *suite == name), "{name} is not in the table");
    }
    for (_, ours) in table::SAME {
        for name in *ours {
            assert!(secrets::rules().iter().any(|rule| rule.name == *name), "there is no rule {name}");
        }
    }
}

/// What came of the suite at one threshold.
#[derive(Default)]
struct Outcome {
    found: usize,
    /// Found by a rule for the same thing.
    by_own_rule: usize,
    positives: usize,
    flagged: usize,
    flagged_by_any: usize,
    negatives: usize,
    /// The rule of the suite, the example, what found it.
    missed: Vec<[String; 3]>,
    wrong: Vec<[String; 3]>,
}

impl Outcome {
    fn counts(&self) -> Value {
        json!({
            "positives": { "found": self.found, "found_by_own_rule": self.by_own_rule, "total": self.positives },
            "negatives": { "flagged": self.flagged, "flagged_by_any_rule": self.flagged_by_any, "total": self.negatives },
        })
    }
}

fn suite(scanner: &Scanner, rules: &[Value], threshold: f32) -> Outcome {
    let mut outcome = Outcome::default();
    for rule in rules {
        let id = rule["rule"].as_str().unwrap_or_default();
        let same = table::SAME.iter().find(|(suite, _)| *suite == id).map_or(&[][..], |(_, ours)| *ours);
        for (list, positive) in [("positive_base64", true), ("negative_base64", false)] {
            for example in rule[list].as_array().into_iter().flatten() {
                let example = decode(example.as_str().unwrap_or_default());
                let findings = scanner.scan(&example);
                let sure = findings.iter().filter(|finding| finding.confidence >= threshold);
                let names: Vec<&str> = sure.map(|finding| finding.rule).collect();
                let (any, own) = (!names.is_empty(), names.iter().any(|name| same.contains(name)));
                let label = if own { format!("own: {}", names.join(" ")) } else { names.join(" ") };
                if positive {
                    outcome.positives += 1;
                    outcome.found += usize::from(any);
                    outcome.by_own_rule += usize::from(own);
                    if !own {
                        outcome.missed.push([id.to_owned(), example, label]);
                    }
                } else {
                    outcome.negatives += 1;
                    outcome.flagged += usize::from(own);
                    outcome.flagged_by_any += usize::from(any);
                    if any {
                        outcome.wrong.push([id.to_owned(), example, label]);
                    }
                }
            }
        }
    }
    outcome
}

fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let (mut bits, mut held) = (0u32, 0);
    for byte in text.bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => continue,
        };
        bits = bits << 6 | u32::from(digit);
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
            bits &= (1 << held) - 1;
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Prose, code, and texts made to be slow.
fn speed(scanner: &Scanner) -> Value {
    let mut state = 7u64;
    let mut next = move |below: usize| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as usize % below
    };
    let words: Vec<&str> = "the of and a to in is was he for it with as his on be at by had not are but from or have an they which one you were her all \
        she there would their we him been has when who will more no if out so said what up its about into than them can only other new some \
        could time these two may then do first any my now such like our over man me even most made after also did many before must through \
        years where much your way well down should because each just those people how too little state good very make world still own see men \
        work long get here between both life being under never day same another know while last might us great old year off come since against"
        .split_whitespace()
        .collect();
    let mut prose = String::new();
    while prose.len() < 12_500_000 {
        prose.push_str(words[next(words.len())]);
        prose.push_str(match next(24) {
            0 => ".\n",
            1 => ", ",
            2 => ". The ",
            _ => " ",
        });
    }
    let mut code = String::new();
    while code.len() < 12_500_000 {
        let (a, b, c) = (words[next(words.len())], words[next(words.len())], words[next(words.len())]);
        code.push_str(&match next(6) {
            0 => format!("    let {a}_{b} = self.{c}.get(\"{b}\").unwrap_or({});\n", next(1000)),
            1 => format!("fn {a}_{c}(&mut self, {b}: &str) -> Result<{c}, Error> {{\n"),
            2 => format!("    // {a} {b} {c} \\n and https://docs.rs/{a}/{b}\n"),
            3 => format!("    if ({a}.{b} != null && {c}[{}] === '{a}') {{ return {b}({c}); }}\n", next(99)),
            4 => format!("import {{ {a}, {b} }} from '../{c}/{a}.js';\n"),
            _ => format!("    \"{a}\": {{ \"token_{b}\": \"{c}\", \"value\": {}.{} }},\n", next(9999), next(999)),
        });
    }
    let measure = |text: &str| {
        let start = Instant::now();
        let found = scanner.scan(text).len();
        let rate = text.len() as f64 / 1e6 / start.elapsed().as_secs_f64();
        json!({ "rate": (rate * 10.0).round() / 10.0, "found": found })
    };
    let of = |piece: &str| piece.repeat(1_000_000 / piece.len());
    let (prose, code) = (measure(&prose), measure(&code));
    let slower = prose["rate"].as_f64().unwrap_or(0.0).min(code["rate"].as_f64().unwrap_or(0.0));
    json!({
        "megabytes_per_second": slower, "prose": prose, "code": code,
        "hostile": { "eyJ": measure(&of("eyJ")), "-eyJ": measure(&of("-eyJ")), "eyJ.": measure(&of("eyJ.")), "password=": measure(&of("password=")),
            "base64": measure(&of("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVph")), "aws ": measure(&of("aws secret_key ")), "://": measure(&of("http://a:")),
            "curl": measure(&of("curl -x ")), "pem": measure(&of("-----BEGIN PRIVATE KEY-----")), "github": measure(&of("github gitalk ")),
            "backslash": measure(&of("\\u0041\\\"")), "percent": measure(&of("%41%")), "dollar": measure(&of("$1$a$5$b$6$c")), "Q~": measure(&of("a1Q~")),
            "kube": measure(&of("kubeadm ")), "s.": measure(&of("s. b. r. ")), "truenas": measure(&of("api_key ")), "s3": measure(&of("a.s3.s3-")) },
    })
}
