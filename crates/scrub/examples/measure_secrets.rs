//! Measures the scanner of secrets on labelled examples, and its speed: `measure_secrets ASSETS_DIR [--speed] [--show]`.
#![allow(clippy::print_stdout, reason = "it prints its result")]

use std::path::Path;
use std::time::Instant;

use attune_scrub::secrets::{self, Scanner, SecretOptions};
use serde_json::{Value, json};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |flag: &str| arguments.iter().any(|argument| argument == flag);
    let folder = arguments.iter().find(|argument| !argument.starts_with("--")).map_or("", String::as_str);
    let with_identifiers = Scanner::new(SecretOptions { identifiers: true, ..SecretOptions::default() });
    let plain = Scanner::new(SecretOptions::default());
    let mut result = json!({ "rules": secrets::rules().len() });
    let file = Path::new(folder).join("suites/noseyparker/examples.json");
    match std::fs::read(&file) {
        Ok(text) => {
            result["with_identifiers"] = suite(&with_identifiers, &text, has("--show"));
            result["default"] = suite(&plain, &text, false);
        }
        Err(error) => result["skipped"] = json!(format!("{}: {error}", file.display())),
    }
    if has("--speed") {
        result["megabytes_per_second"] = speed(&plain);
    }
    println!("{result:#}");
}

fn suite(scanner: &Scanner, text: &[u8], show: bool) -> Value {
    let rules: Vec<Value> = serde_json::from_slice(text).expect("the list of rules");
    let (mut found, mut positives, mut flagged, mut negatives) = (0, 0, 0, 0);
    // Flagged by a rule of the provider that the negative belongs to.
    let mut family_flagged = 0;
    let (mut missed, mut wrong) = (Vec::new(), Vec::new());
    for rule in &rules {
        let name =
            format!("{} {}", rule["rule"].as_str().unwrap_or_default(), rule["name"].as_str().unwrap_or_default());
        for (list, positive) in [("positive_base64", true), ("negative_base64", false)] {
            for example in rule[list].as_array().into_iter().flatten() {
                let example = decode(example.as_str().unwrap_or_default());
                let findings = scanner.scan(&example);
                let names: Vec<&str> = findings.iter().map(|finding| finding.rule).collect();
                match (positive, names.is_empty()) {
                    (true, true) => missed.push((name.clone(), example, names.join(" "))),
                    (true, false) => found += 1,
                    (false, false) => {
                        let family = name.split('.').nth(1).unwrap_or_default();
                        family_flagged += usize::from(names.iter().any(|rule| rule.contains(family)));
                        wrong.push((name.clone(), example, names.join(" ")));
                    }
                    (false, true) => {}
                }
                if positive { positives += 1 } else { negatives += 1 }
            }
        }
    }
    flagged += wrong.len();
    let list = |items: &[(String, String, String)]| -> Vec<Value> {
        items
            .iter()
            .map(|(rule, example, names)| if show { json!([rule, example, names]) } else { json!([rule, names]) })
            .collect()
    };
    json!({ "positives_found": found, "positives": positives, "negatives_flagged_by_any_rule": flagged, "negatives": negatives, "negatives_flagged_by_their_family": family_flagged,
        "missed": list(&missed), "flagged": list(&wrong) })
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
    json!({
        "prose": measure(&prose), "code": measure(&code),
        "hostile": { "eyJ": measure(&of("eyJ")), "-eyJ": measure(&of("-eyJ")), "eyJ.": measure(&of("eyJ.")), "password=": measure(&of("password=")),
            "base64": measure(&of("QUJDREVGR0hJSktMTU5PUFFSU1RVVldYWVph")), "aws ": measure(&of("aws secret_key ")), "://": measure(&of("http://a:")),
            "curl": measure(&of("curl -x ")), "pem": measure(&of("-----BEGIN PRIVATE KEY-----")), "github": measure(&of("github gitalk ")),
            "backslash": measure(&of("\\u0041\\\"")), "percent": measure(&of("%41%")), "dollar": measure(&of("$1$a$5$b$6$c")), "Q~": measure(&of("a1Q~")),
            "kube": measure(&of("kubeadm ")), "s.": measure(&of("s. b. r. ")), "truenas": measure(&of("api_key ")), "s3": measure(&of("a.s3.s3-")) },
    })
}
