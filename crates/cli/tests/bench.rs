//! `ft bench`, as a user runs it.
#![allow(clippy::disallowed_methods, reason = "tests write where they like")]

mod common;

use std::fs;

use common::Scratch;

/// A model folder of `config.json` and weights, nothing else.
fn bare_model() -> Scratch {
    let scratch = Scratch::new();
    for name in ["tokenizer.json", "tokenizer_config.json", "generation_config.json"] {
        fs::remove_file(scratch.path("base").join(name)).unwrap();
    }
    scratch
}

#[test]
fn the_table_says_how_fast_a_model_trains() {
    let scratch = bare_model();
    let said = scratch.ft(&["bench", "--model", "base", "--tokens", "65", "--examples", "2", "--rank", "4"]).done();
    for part in ["tokens/s", "median of 3", "seconds to load", "65 tokens in 2 examples, 63 of them trained"] {
        assert!(said.stdout.contains(part), "{part:?} is not in:\n{}", said.stdout);
    }
    assert!(said.stdout.contains("share of the"), "{}", said.stdout);
    assert!(said.stderr.contains("step 3 of 3"), "{}", said.stderr);
    assert_eq!(common::names(scratch.dir()).len(), 4, "nothing is written");
}

#[test]
fn json_is_one_line_with_every_number() {
    let scratch = bare_model();
    let args = ["bench", "--model", "base", "--tokens", "64", "--steps", "2", "--rank", "4"];
    let said = scratch.ft(&[&args[..], &["--target-share", "0.25", "--threads", "1", "--json"]].concat()).done();
    assert_eq!(said.stdout.lines().count(), 1, "{}", said.stdout);
    let result = said.json();
    assert_eq!((&result["trained_tokens"], &result["steps"]), (&16.into(), &2.into()));
    let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{result}"));
    let speed = &result["tokens_per_sec"];
    assert!(number(&speed["min"]) > 0.0 && number(&speed["min"]) <= number(&speed["median"]));
    assert!(number(&speed["median"]) <= number(&speed["max"]));
    let ratio = number(&speed["median"]) / number(&result["trained_tokens_per_sec"]["median"]);
    assert!((ratio - 4.0).abs() < 1e-9, "{ratio}");
    assert!(number(&result["operations_per_token"]) > 1e4);
    if let Some(peak) = result["peak_f32_gflops"].as_f64() {
        let share = number(&result["gflops"]) / peak;
        assert!((number(&result["share_of_f32_peak"]) / share - 1.0).abs() < 1e-9);
    }
}

#[test]
fn options_that_do_not_fit_say_what_would() {
    let scratch = bare_model();
    scratch.ft(&["bench", "--model", "base", "--tokens", "600"]).refused(2, &["256 positions", "--examples 3"]);
    scratch.ft(&["bench", "--model", "base", "--tokens", "1"]).refused(2, &["two tokens at least"]);
    scratch.ft(&["bench", "--model", "base", "--tokens", "64", "--steps", "0"]).refused(2, &["--steps"]);
    scratch.ft(&["bench", "--model", "base", "--target-share", "1.5"]).refused(2, &["--target-share", "up to 1"]);
    scratch.ft(&["bench", "--model", "base", "--tokens", "64", "--rank", "0"]).refused(2, &["adapter.rank"]);
    scratch.ft(&["bench", "--model", "elsewhere"]).refused(1, &["config.json", "hint"]);
}
