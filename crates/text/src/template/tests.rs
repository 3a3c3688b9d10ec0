use std::path::PathBuf;
use std::time::Instant;

use chrono::NaiveDate;
use serde_json::{Value as Json, json};

use super::*;

const DATE: NaiveDate = NaiveDate::from_ymd_opt(2024, 7, 26).unwrap();

fn compile(text: &str) -> ChatTemplate {
    ChatTemplate::compile(text.to_owned(), "test", DATE).unwrap()
}

fn render(text: &str, context: &Json) -> Result<Rendered, RenderError> {
    compile(text).render(to_template_value(context))
}

#[track_caller]
fn assert_renders(text: &str, context: &Json, expected: &str) {
    match render(text, context) {
        Ok(rendered) => assert_eq!(rendered.text, expected, "{text}"),
        Err(error) => panic!("{text}: {error:?}"),
    }
}

#[track_caller]
fn assert_bounded(text: &str, reason: &str) {
    let start = Instant::now();
    match render(text, &json!({"messages": []})) {
        Err(RenderError::Bounds { reason: given }) => assert!(given.contains(reason), "{text}: {given}"),
        other => panic!("{text}: {other:?}"),
    }
    assert!(start.elapsed().as_secs() < 60, "{text} took {:?}", start.elapsed());
}

fn assets() -> Option<PathBuf> {
    let root = std::env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared")), PathBuf::from);
    let assets = root.join("assets/templates");
    if assets.is_dir() {
        return Some(assets);
    }
    println!("SKIPPED: no template assets in {}", assets.display());
    None
}

fn read_json(path: &std::path::Path) -> Json {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

/// Every published template on every dialogue: the text that Transformers gives, byte for byte, the same spans of
/// generation blocks, and a refusal where Transformers refuses.
#[test]
fn published_templates_render_as_in_transformers() {
    let Some(assets) = assets() else { return };
    let conversations = read_json(&assets.join("reference/conversations.json"));
    let mut cases = 0;
    let mut with_spans = 0;
    let mut mismatches = Vec::new();
    for family in ["trl", "axolotl", "mistral-common"] {
        let reference = read_json(&assets.join(format!("reference/{family}.json")));
        for case in reference["cases"].as_array().unwrap() {
            let (name, dialogue) = (case["template"].as_str().unwrap(), case["conversation"].as_str().unwrap());
            let conversation =
                conversations.as_array().unwrap().iter().find(|entry| entry["name"] == dialogue).unwrap();
            let text = std::fs::read_to_string(assets.join(family).join(name)).unwrap();
            let context = json!({
                "messages": conversation["messages"], "tools": conversation["tools"], "documents": null,
                "add_generation_prompt": conversation["add_generation_prompt"], "bos_token": "<s>",
                "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "date_string": "26 Jul 2024",
            });
            cases += 1;
            let given = match ChatTemplate::compile(text, name, DATE) {
                Ok(template) => template.render(to_template_value(&context)),
                Err(error) => {
                    mismatches.push(format!("{family}/{name} {dialogue}: {error}"));
                    continue;
                }
            };
            match (given, case["text"].as_str()) {
                (Ok(given), Some(expected)) => {
                    if given.text != expected {
                        mismatches.push(format!("{family}/{name} {dialogue}:\n  {:?}\n  {expected:?}", given.text));
                    }
                    if let Some(spans) = case["generation_spans"].as_array() {
                        with_spans += 1;
                        let given: Vec<Json> = given.generation.iter().map(|x| json!([x.start, x.end])).collect();
                        if given != *spans {
                            mismatches.push(format!("{family}/{name} {dialogue}: spans {given:?}, not {spans:?}"));
                        }
                    }
                }
                (Ok(given), None) => {
                    mismatches.push(format!("{family}/{name} {dialogue}: {:?}, not {}", given.text, case["error"]));
                }
                (Err(error), Some(_)) => mismatches.push(format!("{family}/{name} {dialogue}: {error:?}")),
                (Err(RenderError::Refused { reason }), None) => {
                    let expected = case["error"].as_str().unwrap();
                    if expected != format!("TemplateError: {reason}") {
                        mismatches.push(format!("{family}/{name} {dialogue}: refused {reason:?}, not {expected:?}"));
                    }
                }
                (Err(error), None) => println!("{family}/{name} {dialogue}: {error:?} for {}", case["error"]),
            }
        }
    }
    println!("{cases} cases, {with_spans} with spans");
    assert!(mismatches.is_empty(), "{} mismatches\n{}", mismatches.len(), mismatches.join("\n"));
    assert!(cases >= 890 && with_spans == 129, "{cases} cases, {with_spans} with spans");
}

#[test]
fn json_is_written_as_by_python() {
    let value = json!({"b": 1, "a": [1.0, 1e20, -0.5, true, null, "Grüße \"\\\n\t\u{1}<&>'"], "c": {}, "d": []});
    let context = json!({ "x": value });
    let plain = r#"{"b": 1, "a": [1.0, 1e+20, -0.5, true, null, "Grüße \"\\\n\t\u0001<&>'"], "c": {}, "d": []}"#;
    assert_renders("{{ x | tojson }}", &context, plain);
    let ascii = plain.replace('ü', "\\u00fc").replace('ß', "\\u00df");
    assert_renders("{{ x | tojson(ensure_ascii=True) }}", &context, &ascii);
    let indented = "{\n  \"k\": [\n    1,\n    {\n      \"z\": 2\n    }\n  ],\n  \"e\": [],\n  \"m\": {}\n}";
    let nested = json!({"x": {"k": [1, {"z": 2}], "e": [], "m": {}}});
    assert_renders("{{ x | tojson(indent=2) }}", &nested, indented);
    assert_renders("{{ {'b': 1, 'a': 2} | tojson(sort_keys=true) }}", &json!({}), r#"{"a": 2, "b": 1}"#);
    assert_renders("{{ [1, {'a': 2}] | tojson(separators=(',', ':')) }}", &json!({}), r#"[1,{"a":2}]"#);
    assert_renders("{{ '😀' | tojson(ensure_ascii=true) }}", &json!({}), "\"\\ud83d\\ude00\"");
    assert!(matches!(render("{{ nothing | tojson }}", &json!({})), Err(RenderError::Failed { .. })));
}

#[test]
fn undefined_and_none_behave_as_in_jinja2() {
    assert_renders("[{{ nothing }}][{{ x.nothing }}]", &json!({"x": {}}), "[][]");
    assert_renders("{{ none }} {{ true }} {{ [1, 'a'] }}", &json!({}), "None True [1, 'a']");
    assert_renders(
        "{{ nothing is defined }} {{ n is defined }} {{ n is none }}",
        &json!({"n": null}),
        "False True True",
    );
    assert_renders(
        "{{ n is iterable }} {{ 'a' is sequence }} {{ {} is sequence }}",
        &json!({"n": null}),
        "False True True",
    );
    assert!(matches!(render("{{ nothing.more }}", &json!({})), Err(RenderError::Failed { line: 1, .. })));
    assert!(matches!(render("\n\n{{ 'a' + nothing }}", &json!({})), Err(RenderError::Failed { line: 3, .. })));
}

#[test]
fn functions_of_transformers_are_there() {
    assert_renders("{{ strftime_now('%d %b %Y|%Y-%m-%d|%H:%M|%-d') }}", &json!({}), "26 Jul 2024|2024-07-26|00:00|26");
    assert!(matches!(render("{{ strftime_now('%') }}", &json!({})), Err(RenderError::Failed { .. })));
    match render("{{ raise_exception('no ' ~ 'way') }}", &json!({})) {
        Err(RenderError::Refused { reason }) => assert_eq!(reason, "no way"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn python_methods_are_there() {
    let context = json!({"s": " a-b-c \n", "d": {"k": 1}});
    assert_renders("[{{ s.strip() }}][{{ s.lstrip() }}][{{ s.rstrip('\n ') }}]", &context, "[a-b-c][a-b-c \n][ a-b-c]");
    assert_renders("{{ 'a-b-c'.split('-', 1) }}{{ 'a-b-c'.rsplit('-', 1) }}", &context, "['a', 'b-c']['a-b', 'c']");
    assert_renders("{{ 'abc'.removeprefix('a') }}{{ 'abc'.removesuffix('c') }}", &context, "bcab");
    assert_renders(
        "{{ 'a=b=c'.partition('=') }}{{ 'a=b=c'.rpartition('=') }}",
        &context,
        "('a', '=', 'b=c')('a=b', '=', 'c')",
    );
    assert_renders(
        "{{ d.get('k') }} {{ d.get('x', 7) }} {% for k, v in d.items() %}{{ k }}{{ v }}{% endfor %}",
        &context,
        "1 7 k1",
    );
    assert_renders(
        "{{ '12' | int }} {{ 'x' | int }} {{ 'x' | float }} {{ '1.5' | float }} {{ '0' | int(3) }}",
        &context,
        "12 0 0.0 1.5 0",
    );
}

#[test]
fn safe_text_escapes_what_is_added_to_it() {
    assert_renders("{{ '<' + ('\"' | safe) + '&' + 1 | string }}", &json!({}), "&lt;\"&amp;1");
    assert_renders("{{ ('a' | safe) ~ '<' }}", &json!({}), "a<");
    assert_renders("{{ 'x' | safe }}{{ 1 + 2 }}{{ 1 + 0.5 }}{{ [1] + [2] }}", &json!({}), "x31.5[1, 2]");
    assert!(matches!(render("{{ 'x' | safe }}{{ 'a' + 1 }}", &json!({})), Err(RenderError::Failed { .. })));
}

#[test]
fn generation_blocks_are_found_wherever_they_are_rendered() {
    let template = "{% for m in messages %}\n<{{ m }}>\n  {%- generation -%}\n  {% set y = 'é' ~ m %}{{ y }}\n{% endgeneration %}\n{% endfor %}";
    let rendered = render(template, &json!({"messages": ["a", "b"]})).unwrap();
    assert_eq!(rendered.text, "<a>éa\n<b>éb\n");
    assert_eq!(rendered.generation.iter().map(|x| &rendered.text[x.clone()]).collect::<Vec<_>>(), ["éa\n", "éb\n"]);
    // Inside a macro, whose output is captured and trimmed.
    let template =
        "{% macro turn(m) %}  [{% generation %}{{ m }}{% endgeneration %}]  {% endmacro %}{{ turn('x') | trim }}!";
    let rendered = render(template, &json!({})).unwrap();
    let spans: Vec<_> = rendered.generation.iter().map(|span| (span.start, span.end)).collect();
    assert_eq!((rendered.text.as_str(), spans), ("[x]!", vec![(1, 2)]));
    // What the block sets is gone behind it.
    assert_renders("{% set v = 1 %}{% generation %}{% set v = 2 %}{{ v }}{% endgeneration %}{{ v }}", &json!({}), "21");
    assert!(!compile("{{ 'generation' }}").has_generation());
}

#[test]
fn windows_line_endings_do_not_matter() {
    assert_renders("a\r\n{% if true %}\r\nb\r{% endif %}", &json!({}), "a\nb\n");
}

/// Each of these would run for ever or fill the memory.
#[test]
fn hostile_templates_are_stopped() {
    let nested = "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}{% endfor %}{% endfor %}{% endfor %}";
    assert_bounded(nested, "runs for too long");
    let doubling = "{% set ns = namespace(s='x') %}{% for i in range(64) %}{% set ns.s = ns.s OP ns.s %}{% endfor %}";
    for operator in ["~", "+", "~ '' ~", "+ 'y' +"] {
        assert_bounded(&doubling.replace("OP", operator), "bytes of text");
    }
    let setting = "{% set ns = namespace(s='xx') %}{% for i in range(64) %}{% set ns.s %}BODY{% endset %}{% endfor %}";
    for body in [
        "{{ ns.s }}{{ ns.s }}",
        "{{ ns.s.replace('x', ns.s) }}",
        "{{ ns.s | replace('x', ns.s) }}",
        "{{ ns.s.join([ns.s, ns.s]) }}",
        "{{ [ns.s, ns.s] | join(ns.s) }}",
        "{{ [ns.s, ns.s] | tojson }}",
        "{{ [ns.s, ns.s] }}",
        "{{ [ns.s, ns.s] | string }}",
        "{{ '%s%s' | format(ns.s, ns.s) }}",
        "{{ '{0}{0}'.format(ns.s) }}",
        "{{ {'a': ns.s, 'b': ns.s} ~ '' }}",
    ] {
        assert_bounded(&setting.replace("BODY", body), "bytes of text");
    }
    for body in ["{{ ns.s * 2 }}", "{{ 2 * ns.s * 3 }}"] {
        // Here the engine's own bound may be the first.
        assert!(render(&setting.replace("BODY", body), &json!({})).is_err(), "{body}");
    }
    assert_bounded("{% macro m(x) %}{{ m(x ~ x) }}{% endmacro %}{{ m('xxxxxxxxxxxxxxxx') }}", "bytes of text");
    assert_bounded("{% for i in range(99999) %}{{ 'x' * 99999 }}{% endfor %}", "bytes");
    assert_bounded("{% set n = 99999999 %}{% set l = ['x' * n] * n %}{{ l }}", "bytes of text");
    assert_bounded("{{ 'x' | indent(99999999999) }}", "bytes of text");
    assert_bounded("{{ '%99999999999d' | format(1) }}", "bytes of text");
    assert_bounded("{{ '{:>99999999999}'.format(1) }}", "bytes of text");
    assert_bounded("{{ [1] | batch(99999999999, 0) | list }}", "bytes of text");
    let long = format!(
        "{{% for i in range(99999) %}}{{% for i in range(99999) %}}{}{{% endfor %}}{{% endfor %}}",
        "y".repeat(60_000)
    );
    assert_bounded(&long, "writes more than");
}

#[test]
fn unbounded_recursion_is_an_error() {
    let result = render("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", &json!({}));
    assert!(matches!(result, Err(RenderError::Failed { .. })), "{result:?}");
}

#[test]
fn templates_that_cannot_be_bounded_do_not_compile() {
    let refused = |text: &str| match ChatTemplate::compile(text.to_owned(), "evil.jinja", DATE) {
        Err(error @ TextError::TemplateBounds { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    };
    assert!(refused("{{ 'x' * 99999999 }}").contains("evil.jinja"));
    assert!(refused("{% include 'chat_template' %}").contains("another template"));
    refused(&format!("{{% set x %}}{}{{% endset %}}", "y".repeat(20_000)));
    refused(&"x".repeat(MAX_TEMPLATE_BYTES + 1));
    match ChatTemplate::compile("a\n{% if %}".to_owned(), "bad.jinja", DATE) {
        Err(TextError::TemplateSyntax { line: 2, origin, .. }) => assert_eq!(origin, "bad.jinja"),
        other => panic!("{other:?}"),
    }
}

/// The rewriting that bounds a template must not change what it means.
#[test]
fn metering_keeps_the_meaning() {
    for (text, expected) in [
        ("{{ 'a' ~ ('b' if true else 'c') ~ 'd' }}", "abd"),
        ("{{ 'a' ~ (false or 'b') ~ (1 == 1) ~ (not true) }}", "abTrueFalse"),
        (
            "{{ 1 + 2 * 3 - 4 }} {{ (1 + 2) * 3 }} {{ 2 * (3 + 4) }} {{ -1 + 2 }} {{ 2 ** 3 + 1 }} {{ 7 % 4 + 1 }}",
            "3 9 14 1 9 4",
        ),
        ("{{ 'abc'[1:] ~ 'abc'[:1] ~ 'abc'[1:].upper() ~ 'abc'[0:2][1:] }}", "bcaBCb"),
        ("{{ ('abc'[1:])[0] }}{{ 'abcd'[1:][1:] | length }}", "b2"),
        ("{{ [1] + [2, 3] }}{{ (1, 2) + (3,) }}", "[1, 2, 3](1, 2, 3)"),
        ("{{ 'a' + 'b' | upper + 'c' }}", "aBc"),
        ("{{ 'x' is defined ~ 'y' }}", "Truey"),
        ("{{ {'a': 1}.a + 1 }}{{ 'a' ~ {'k': 'v' ~ 'w'}['k' ~ ''] }}", "2avw"),
        ("{{ 'a' ~ 'b' in 'xaby' }}{{ 'é' ~ 'ü' + 'ß' }}", "Trueéüß"),
        ("{% for x in [1] + [2] if x + 0 > 1 %}{{ x ~ loop.index }}{% endfor %}", "21"),
    ] {
        assert_renders(text, &json!({}), expected);
    }
}
