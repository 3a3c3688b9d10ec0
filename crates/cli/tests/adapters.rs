//! `ft export adapter`, `ft import adapter`, `ft import config`, and training with DoRA, through the program.
#![allow(clippy::unwrap_used, reason = "tests")]

mod common;

use common::Scratch;
use serde_json::{Value, json};

/// A scratch folder with a finished run.
fn trained(method: &str) -> Scratch {
    let scratch = Scratch::new();
    scratch.configure(&json!({"adapter": {"method": method}}));
    scratch.train().done();
    scratch
}

fn answer(scratch: &Scratch, adapter: &str) -> Value {
    let args =
        ["generate", "--model", "base", "--adapter", adapter, "--prompt", "Count from one.", "--max-tokens", "8"];
    let mut said = scratch.ft(&[&args[..], &["--json"]].concat()).done().json();
    said["logprobs"].take()
}

#[test]
fn an_adapter_goes_to_mlx_lm_and_comes_back_the_same() {
    for method in ["lora", "dora"] {
        let scratch = trained(method);
        let out = scratch.ft(&["export", "adapter", "--adapter", "run/adapter", "--to", "mlx", "--out", "mlx"]).done();
        assert_eq!(out.stdout.trim(), "mlx");
        assert!(out.stderr.contains("on 14 modules") && out.stderr.contains("from PEFT to mlx-lm"), "{}", out.stderr);
        assert_eq!(common::names(&scratch.path("mlx")), ["adapter_config.json", "adapters.safetensors"]);
        scratch.ft(&["import", "adapter", "mlx", "--out", "back"]).done();
        let file = "adapter_model.safetensors";
        assert_eq!(scratch.read(&format!("run/adapter/{file}")), scratch.read(&format!("back/{file}")), "{method}");
        let expected = answer(&scratch, "run/adapter");
        assert_ne!(expected, Value::Null);
        assert_eq!(answer(&scratch, "mlx"), expected, "{method}: generation reads it as it is");
        assert_eq!(answer(&scratch, "back"), expected, "{method}");

        // Training goes on from it.
        scratch.configure(&json!({"adapter": {"init_from": "back", "method": method}}));
        scratch.ft(&["train", "ft.yaml", "--out", "more"]).done();
        let used = scratch.ft(&["export", "adapter", "--adapter", "run/adapter", "--to", "mlx", "--out", "mlx"]);
        used.refused(2, &["mlx: exists already", "--force"]);
        scratch
            .ft(&["export", "adapter", "--adapter", "more/adapter", "--to", "mlx", "--out", "mlx", "--force"])
            .done();
        assert_ne!(answer(&scratch, "mlx"), expected);
    }
}

#[test]
fn an_adapter_that_changes_nothing_is_refused() {
    let scratch = trained("lora");
    scratch.change_json("run/adapter/adapter_config.json", |config| config["lora_alpha"] = json!(0));
    let args = ["export", "adapter", "--adapter", "run/adapter", "--to", "mlx", "--out", "mlx"];
    scratch.ft(&args).refused(3, &["B A is zero in all 14 modules", "--allow-inert"]);
    assert!(!scratch.path("mlx").exists());
    scratch.ft(&[&args[..], &["--allow-inert"]].concat()).done();
}

#[test]
fn what_mlx_lm_cannot_say_is_refused_with_the_reason() {
    let scratch = Scratch::new();
    scratch.configure(&json!({"adapter": {"rank_pattern": {"down_proj": 2}}}));
    scratch.train().done();
    let said = scratch.ft(&["export", "adapter", "--adapter", "run/adapter", "--to", "mlx", "--out", "mlx"]);
    said.refused(3, &["mlx-lm's layout cannot hold this adapter", "down_proj has rank 2", "hint: fuse"]);
    assert!(!scratch.path("mlx").exists());
}

#[test]
fn the_base_must_be_known_and_the_adapters_own() {
    let scratch = trained("lora");
    scratch.change_json("run/adapter/adapter_config.json", |config| {
        config["base_model_name_or_path"] = json!("org/some-model");
    });
    let args = ["export", "adapter", "--adapter", "run/adapter", "--to", "mlx", "--out", "mlx"];
    scratch.ft(&args).refused(2, &["its base model 'org/some-model' is not a folder here", "--model"]);
    scratch.change_json("base/config.json", |config| config["num_hidden_layers"] = json!(1));
    let with_model = [&args[..], &["--model", "base"]].concat();
    scratch
        .ft(&with_model)
        .refused(1, &["tensor 'base_model.model.model.layers.1", "does not belong to this architecture"]);
    scratch.ft(&["import", "adapter", "nowhere", "--out", "x"]).refused(1, &["nowhere: there is no such folder"]);
}

#[test]
fn dora_resumes_to_the_same_bytes_and_its_checkpoints_are_held_to_the_method() {
    let scratch = Scratch::new();
    scratch.configure(&json!({"adapter": {"method": "dora"}, "checkpoint": {"every_steps": 3}}));
    scratch.train().done();
    let whole = scratch.read("run/adapter/adapter_model.safetensors");
    let steps = common::names(&scratch.path("run/checkpoints"));
    // As if it had been interrupted after step 3.
    #[allow(clippy::disallowed_methods, reason = "a test may")]
    for later in steps.iter().filter(|step| step.as_str() > "step-000003") {
        std::fs::remove_dir_all(scratch.path("run/checkpoints").join(later)).unwrap();
    }
    #[allow(clippy::disallowed_methods, reason = "a test may")]
    std::fs::remove_dir_all(scratch.path("run/adapter")).unwrap();
    scratch.ft(&["resume", "run"]).done();
    assert_eq!(scratch.read("run/adapter/adapter_model.safetensors"), whole);
    let config = scratch.read_json("run/adapter/adapter_config.json");
    assert_eq!(config["use_dora"], json!(true));
}

#[test]
fn dora_does_not_depend_on_the_threads() {
    let adapter = |threads: usize| {
        let scratch = Scratch::new();
        scratch.configure(&json!({"adapter": {"method": "dora"}, "hardware": {"threads": threads}}));
        scratch.train().done();
        scratch.read("run/adapter/adapter_model.safetensors")
    };
    assert_eq!(adapter(1), adapter(3));
}

const AXOLOTL: &str = "base_model: base\ndatasets: [{path: train.jsonl, type: chat_template}]\nadapter: lora\nlora_r: 4\n\
    lora_alpha: 8\nmax_steps: 3\nmicro_batch_size: 2\nsequence_len: 200\nlearning_rate: 2e-3\nflash_attention: true\n";

#[test]
fn a_configuration_is_taken_over_and_trains() {
    let scratch = Scratch::new();
    scratch.write("axolotl.yml", AXOLOTL);
    let said = scratch.ft(&["import", "config", "axolotl.yml", "--out", "imported.yaml", "--strict"]).done();
    assert!(said.stderr.contains("of Axolotl: 0 keys without counterpart"), "{}", said.stderr);
    assert!(said.stderr.contains("no effect  flash_attention: true"), "{}", said.stderr);
    scratch.ft(&["train", "imported.yaml", "--out", "run"]).done();
    scratch
        .ft(&["import", "config", "axolotl.yml", "--out", "imported.yaml"])
        .refused(2, &["the file exists", "--force"]);
    let printed = scratch.ft(&["import", "config", "axolotl.yml"]).done();
    assert_eq!(printed.stdout.as_bytes(), scratch.read("imported.yaml"));
}

#[test]
fn strict_refuses_what_has_no_counterpart() {
    let scratch = Scratch::new();
    scratch.write("axolotl.yml", &format!("{AXOLOTL}neftune_noise_alpha: 5\n"));
    let args = ["import", "config", "axolotl.yml", "--out", "imported.yaml"];
    let strict = scratch.ft(&[&args[..], &["--strict"]].concat());
    strict.refused(3, &["no counterpart  neftune_noise_alpha: 5", "1 keys have no counterpart"]);
    assert!(!scratch.path("imported.yaml").exists());
    let said = scratch.ft(&args).done();
    assert!(said.stderr.contains("no counterpart  neftune_noise_alpha: 5"), "{}", said.stderr);
    scratch.write("other.yml", "a: 1\n");
    scratch.ft(&["import", "config", "other.yml"]).refused(2, &["other.yml: its keys are those of no tool"]);
    scratch.ft(&["import", "config", "missing.yml"]).refused(1, &["missing.yml"]);
}
