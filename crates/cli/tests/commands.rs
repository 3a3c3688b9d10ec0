//! What each command prints, where, and with which exit code.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod common;

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use common::{Scratch, ft, ft_with, names};
use serde_json::{Value, json};

#[test]
fn the_version_and_the_help_are_results() {
    let scratch = tempfile::tempdir().unwrap();
    let said = ft(scratch.path(), &["--version"]).done();
    assert_eq!(said.stdout, format!("ft {}\n", env!("CARGO_PKG_VERSION")));
    let said = ft(scratch.path(), &["--help"]).done();
    for command in ["quickstart", "init", "plan", "train", "resume", "generate", "data", "schema", "75 interrupted"] {
        assert!(said.stdout.contains(command), "{command}");
    }
}

// train

#[test]
fn train_prints_the_adapter_and_nothing_else() {
    let scratch = Scratch::new();
    let said = scratch.train().done();
    assert_eq!(PathBuf::from(said.stdout.trim_end()), Path::new("run").join("adapter"));
    assert_eq!(said.stdout.lines().count(), 1);
    for part in
        ["data.train: ", "24 examples", "training: run, 6 steps", "step 6/6", "validation loss ", "done: 6 steps"]
    {
        assert!(said.stderr.contains(part), "{part:?} is not in\n{}", said.stderr);
    }
    assert!(!said.stderr.contains('\u{1b}'), "no escape codes without a terminal");
}

#[test]
fn train_json_ends_with_the_numbers_of_the_run() {
    let scratch = Scratch::new();
    let result = scratch.ft(&["train", "ft.yaml", "--out", "run", "--json"]).done().json();
    assert_eq!(result["run"], "run");
    assert_eq!(PathBuf::from(result["adapter"].as_str().unwrap()), Path::new("run").join("adapter"));
    let numbers = |key: &str| -> Vec<f64> {
        result[key].as_array().unwrap().iter().map(|number| number.as_f64().unwrap()).collect()
    };
    assert_eq!(numbers("train_loss").len(), 6);
    assert_eq!(result["validation_steps"], json!([0, 3, 6]));
    let validation = numbers("validation_loss");
    assert!(validation.len() == 3 && validation[2] < validation[0], "{validation:?}");
    assert!(names(&scratch.path("run/adapter")).contains(&"adapter_model.safetensors".to_string()));
    let text = String::from_utf8(scratch.read("run/metrics.jsonl")).unwrap();
    let logged: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let logged: Vec<f64> = logged.iter().map(|line| line["loss"].as_f64().unwrap()).collect();
    assert_eq!(logged, numbers("train_loss"), "metrics.jsonl says the same");
}

#[test]
fn a_finished_run_is_resumed_to_the_same_result() {
    let scratch = Scratch::new();
    let first = scratch.ft(&["train", "ft.yaml", "--out", "run", "--json"]).done().json();
    let adapter = scratch.read("run/adapter/adapter_model.safetensors");
    assert_eq!(scratch.ft(&["resume", "run", "--json"]).done().json(), first);
    assert!(scratch.read("run/adapter/adapter_model.safetensors") == adapter);
}

#[test]
fn set_and_variables_are_stronger_than_the_file() {
    let scratch = Scratch::new();
    let args = ["train", "ft.yaml", "--json", "--out", "run", "--set", "training.steps=2"];
    let variables = [("FT__TRAINING__STEPS", "4"), ("FT__EVALUATION__EVERY_STEPS", "1")];
    let result = ft_with(scratch.dir(), &args, &variables).done().json();
    assert_eq!(result["steps"], 2);
    assert_eq!(result["validation_steps"], json!([0, 1, 2]));
}

#[test]
fn runs_get_a_folder_of_their_own() {
    let scratch = Scratch::new();
    let first = scratch.ft(&["train", "ft.yaml", "--json"]).done().json();
    let second = scratch.ft(&["train", "ft.yaml", "--json"]).done().json();
    assert_ne!(first["run"], second["run"]);
    assert_eq!(names(&scratch.path("runs")).len(), 2);
    let named = scratch.ft(&["train", "ft.yaml", "--json", "--set", "logging.name=x"]).done().json();
    assert_eq!(PathBuf::from(named["run"].as_str().unwrap()), Path::new("runs").join("x"));
}

#[test]
fn the_display_is_chosen() {
    let scratch = Scratch::new();
    let with = |display: &str, out: &str| {
        scratch.ft(&["train", "ft.yaml", "--out", out, "--set", &format!("logging.display={display}")]).done()
    };
    assert_eq!(with("quiet", "a").stderr, "");
    let plain = with("plain", "b").stderr;
    assert_eq!(plain.lines().filter(|line| line.starts_with("step ")).count(), 6);
    let without_terminal = with("live", "c").stderr;
    assert!(
        without_terminal.lines().any(|line| line.starts_with("step 1/6")),
        "plain lines where there is no terminal"
    );
    let args = ["train", "ft.yaml", "--out", "d", "--set", "logging.every_steps=4"];
    let seldom = scratch.ft(&args).done().stderr;
    let steps: Vec<&str> = seldom.lines().filter_map(|line| line.strip_prefix("step ")?.split(' ').next()).collect();
    assert_eq!(steps, ["4/6", "6/6"], "the last step is always shown");
}

/// `script` gives the program a terminal of its own.
#[cfg(target_os = "linux")]
#[test]
fn on_a_terminal_there_is_a_panel() {
    let scratch = Scratch::new();
    let ft = env!("CARGO_BIN_EXE_ft");
    let command = format!("stty cols 90 rows 30; {ft} train ft.yaml --out run --set training.steps=40");
    let output = std::process::Command::new("script")
        .current_dir(scratch.dir())
        .env("TERM", "xterm-256color")
        .env_remove("NO_COLOR")
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output();
    let Ok(output) = output else {
        println!("SKIPPED: `script` is not installed");
        return;
    };
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let last = text.rsplit("\u{1b}[?2026h").next().unwrap().to_string();
    let plain = strip_escapes(&last);
    for part in [
        "step 40/40",
        "┤",
        "loss ",
        "● validation ",
        "learning rate ",
        "tokens/s ",
        "peak memory ",
        "left 0s",
        "done: ",
    ] {
        assert!(plain.contains(part), "{part:?} is not in\n{plain}");
    }
    assert!(last.contains("\u{1b}[36m"), "in colours");
    assert!(plain.lines().all(|line| line.chars().count() <= 90), "{plain}");
}

#[cfg(target_os = "linux")]
fn strip_escapes(text: &str) -> String {
    let mut out = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            // ESC [ ... letter
            chars.by_ref().skip(1).find(char::is_ascii_alphabetic);
        } else {
            out.push(c);
        }
    }
    out
}

// generate

#[test]
fn generation_is_the_same_with_a_seed_and_differs_between_seeds() {
    let scratch = Scratch::new();
    let base = ["generate", "--model", "base", "--prompt", "Count from one.", "--max-tokens", "12", "--json"];
    let with = |more: &[&str]| scratch.ft(&[&base[..], more].concat()).done().json();
    let greedy = with(&[]);
    assert_eq!(greedy, with(&["--seed", "5"]), "greedy generation draws nothing");
    let ids = greedy["token_ids"].as_array().unwrap();
    assert_eq!((ids.len(), greedy["logprobs"].as_array().unwrap().len()), (12, 12));
    assert_eq!(greedy["stop"], "max_tokens");
    assert!(greedy["logprobs"].as_array().unwrap().iter().all(|logprob| logprob.as_f64().unwrap() <= 0.0));
    let drawn = with(&["--temperature", "1.5", "--seed", "1"]);
    assert_eq!(drawn, with(&["--temperature", "1.5", "--seed", "1"]));
    assert_ne!(drawn, with(&["--temperature", "1.5", "--seed", "2"]));
    assert_eq!(with(&["--temperature", "1.5", "--top-k", "1"])["token_ids"], greedy["token_ids"]);
    assert_eq!(with(&["--temperature", "1.5", "--top-p", "0.000001"])["token_ids"], greedy["token_ids"]);
}

#[test]
fn an_adapter_changes_what_is_generated() {
    let scratch = Scratch::new();
    scratch.ft(&["train", "ft.yaml", "--out", "run", "--set", "training.steps=60"]).done();
    let prompt = ["generate", "--model", "base", "--prompt", "Count from one.", "--max-tokens", "24", "--json"];
    let plain = scratch.ft(&prompt).done().json();
    let adapted = scratch.ft(&[&prompt[..], &["--adapter", "run/adapter"]].concat()).done().json();
    assert_ne!(plain["token_ids"], adapted["token_ids"]);
    assert_eq!(adapted["stop"], "stop_token", "it has learnt to end its turn: {adapted}");
    let streamed = scratch.ft(&[&prompt[..7], &["--adapter", "run/adapter"]].concat()).done();
    assert_eq!(streamed.stdout, format!("{}\n", adapted["text"].as_str().unwrap()), "streamed as in JSON");
    assert_eq!(streamed.stderr, "");
}

#[test]
fn a_chat_needs_a_template_and_raw_text_does_not() {
    let scratch = Scratch::new();
    scratch.change_json("base/tokenizer_config.json", |config| {
        config.as_object_mut().unwrap().remove("chat_template");
    });
    let args = ["generate", "--model", "base", "--prompt", "Hi", "--max-tokens", "2"];
    scratch.ft(&args).refused(1, &["base has no chat template", "--raw", "--chat-template"]);
    scratch.ft(&[&args[..], &["--raw"]].concat()).done();
    scratch.ft(&[&args[..], &["--chat-template", "chatml"]].concat()).done();
    scratch.ft(&["generate", "--model", "base", "--prompt", "", "--raw"]).refused(1, &["the prompt has no tokens"]);
    scratch.ft(&["generate", "--model", "base", "--prompt", "Hi", "--adapter", "no"]).refused(1, &["no"]);
}

/// A reader that goes away is no reason for a panic.
#[test]
fn a_closed_pipe_ends_the_program_quietly() {
    let scratch = Scratch::new();
    for args in [
        &["schema"][..],
        &["generate", "--model", "base", "--prompt", "Hi", "--raw", "--max-tokens", "200"],
        &["data", "inspect", "train.jsonl", "--model", "base", "--show-mask", "24"],
    ] {
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_ft"))
            .current_dir(scratch.dir())
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((child.wait().unwrap().code(), stderr.as_str()), (Some(0), ""), "{args:?}");
    }
}

// data inspect

#[test]
fn inspect_says_the_form_and_shows_what_is_trained() {
    let scratch = Scratch::new();
    scratch.write("pairs.jsonl", "{\"prompt\": \"one\", \"completion\": \"two\"}\n");
    let said = scratch.ft(&["data", "inspect", "train.jsonl", "pairs.jsonl"]).done();
    assert_eq!(said.stdout, "train.jsonl: messages, 24 rows\npairs.jsonl: prompt-completion, 1 row\n");
    let said = scratch.ft(&["data", "inspect", "pairs.jsonl", "--model", "base", "--show-mask", "5"]).done();
    let text = said.stdout.split_once("\n\n").unwrap().1;
    assert!(text.starts_with("pairs.jsonl:1 (row 1): "), "{text}");
    assert!(text.ends_with("<|im_start|>user⏎\none<|im_end|>⏎\n<|im_start|>assistant⏎\n«two<|im_end|>»⏎\n"), "{text}");
    let args = ["data", "inspect", "pairs.jsonl", "--model", "base", "--show-mask", "5", "--completion-style", "raw"];
    let said = scratch.ft(&args).done();
    assert!(said.stdout.ends_with("one«two<|endoftext|>»\n"), "{}", said.stdout);
    let said = scratch.ft(&[&args[..7], &["raw", "--train-on", "all"]].concat());
    said.refused(2, &["error: "]);
}

#[test]
fn inspect_colours_only_when_asked_or_on_a_terminal() {
    let scratch = Scratch::new();
    let args = ["data", "inspect", "train.jsonl", "--model", "base", "--show-mask", "1"];
    let plain = scratch.ft(&args).done().stdout;
    assert!(plain.contains('«') && !plain.contains('\u{1b}'));
    let coloured = ft_with(scratch.dir(), &args, &[("CLICOLOR_FORCE", "1")]).done().stdout;
    assert!(coloured.contains("\u{1b}[") && !coloured.contains('«'), "{coloured:?}");
}

#[test]
fn inspect_json_has_every_token() {
    let scratch = Scratch::new();
    let args = ["data", "inspect", "train.jsonl", "--model", "base", "--show-mask", "2", "--json", "--train-on", "all"];
    let result = scratch.ft(&args).done().json();
    assert_eq!((&result["files"][0]["form"], &result["rows"]), (&json!("messages"), &json!(24)));
    let shown = result["shown"].as_array().unwrap();
    assert_eq!(shown.len(), 2);
    let tokens = shown[0]["tokens"].as_array().unwrap();
    let trained: Vec<bool> = tokens.iter().map(|token| token["trained"].as_bool().unwrap()).collect();
    assert!(!trained[0] && trained[1..].iter().all(|trained| *trained), "train_on all");
    let text: String = tokens.iter().map(|token| token["text"].as_str().unwrap()).collect();
    assert!(text.starts_with("<|im_start|>user\nCount from one.<|im_end|>\n"), "{text:?}");
}

#[test]
fn inspect_shows_rows_that_cannot_be_trained_with_the_reason() {
    let scratch = Scratch::new();
    scratch.write("bad.jsonl", "{\"messages\": [{\"role\": \"user\", \"content\": \"Hi\"}]}\n");
    let said = scratch.ft(&["data", "inspect", "bad.jsonl", "--model", "base", "--show-mask", "1"]).done();
    assert!(said.stdout.contains("bad.jsonl:1 (row 1): the chat has 1 messages and none"), "{}", said.stdout);
    scratch.write("broken.jsonl", "{\"messages\": [\n");
    scratch.ft(&["data", "inspect", "broken.jsonl"]).refused(1, &["broken.jsonl:1", "hint: "]);
    scratch.ft(&["data", "inspect", "no.jsonl"]).refused(2, &["no.jsonl: no such file"]);
}

// init, schema

#[test]
fn init_writes_a_configuration_that_trains() {
    let scratch = Scratch::new();
    let args = ["init", "--model", "base", "--data", "train.jsonl", "--out", "new.yaml"];
    assert_eq!(scratch.ft(&args).done().stdout, "new.yaml\n");
    let first = scratch.read("new.yaml");
    scratch.ft(&args).refused(2, &["new.yaml: the file exists", "--force"]);
    scratch.ft(&[&args[..], &["--force"]].concat()).done();
    assert!(scratch.read("new.yaml") == first);
    let run = ["train", "new.yaml", "--out", "run", "--json", "--set", "training.steps=2"];
    assert_eq!(scratch.ft(&run).done().json()["steps"], 2);
    // Paths are relative to the file that names them.
    std::fs::create_dir(scratch.path("sub")).unwrap();
    let args = ["init", "--model", "base", "--data", "train.jsonl", "--out", "sub/ft.yaml"];
    scratch.ft(&args).done();
    let run = ["train", "sub/ft.yaml", "--out", "run-2", "--json", "--set", "training.steps=1"];
    assert_eq!(scratch.ft(&run).done().json()["steps"], 1);
}

#[test]
fn the_schema_accepts_every_example_and_refuses_mistakes() {
    let scratch = tempfile::tempdir().unwrap();
    let schema: Value = serde_json::from_str(&ft(scratch.path(), &["schema"]).done().stdout).unwrap();
    let validator = jsonschema::validator_for(&schema).expect("a valid schema");
    let examples = examples();
    assert!(!examples.is_empty());
    for path in examples {
        let value = yaml(&std::fs::read_to_string(&path).unwrap());
        let errors: Vec<String> =
            validator.iter_errors(&value).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", path.display());
    }
    let initial = Scratch::new();
    initial.ft(&["init", "--out", "new.yaml"]).done();
    assert!(validator.is_valid(&yaml(&String::from_utf8(initial.read("new.yaml")).unwrap())));
    for wrong in ["{training: {epoch: 1}}", "{trainig: {}}", "{training: {epochs: 0}}", "{logging: {display: loud}}"] {
        let text = format!("{{model: {{path: a}}, data: {{train: b}}, {}", &wrong[1..]);
        assert!(!validator.is_valid(&yaml(&text)), "{text}");
    }
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// All `examples/**/*.yaml`.
fn examples() -> Vec<PathBuf> {
    let root = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples"));
    let mut folders = vec![root];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml") {
                found.push(path);
            }
        }
    }
    found
}
