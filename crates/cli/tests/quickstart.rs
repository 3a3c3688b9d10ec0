//! `ft quickstart`, whole: what it leaves, how much better the tuned model is, and that its printed commands do the same.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, clippy::print_stdout, reason = "tests, and their helpers")]

mod common;

use std::path::Path;

use common::*;
use serde_json::Value;

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))).unwrap()
}

#[test]
fn the_tuned_model_answers_as_the_clerk_does_and_the_base_does_not() {
    let scratch = tempfile::tempdir().unwrap();
    let said = ft(scratch.path(), &["quickstart"]).done();
    let out = scratch.path().join("runs/quickstart");
    assert_eq!(said.stdout.lines().last(), Some(out_name("report.html").as_str()));

    let evaluation = json(&out.join("evaluation.json"));
    let (base, tuned) = (&evaluation["models"][0], &evaluation["models"][1]);
    let number = |model: &Value, key: &str| model[key].as_f64().unwrap_or_else(|| panic!("{key}: {model}"));
    let form = |model: &Value| model["patterns"].as_object().unwrap().values().next().unwrap().as_f64().unwrap();
    assert_eq!(base["questions"], 60);
    // Style and format, then the answers themselves.
    assert!(form(base) == 0.0 && form(tuned) >= 0.95, "{} {}", form(base), form(tuned));
    assert!(number(base, "exact") == 0.0 && number(tuned, "exact") >= 0.8, "{}", number(tuned, "exact"));
    assert!(number(tuned, "word_f1") >= 0.95, "{}", number(tuned, "word_f1"));
    assert!(
        number(tuned, "loss") < 0.05 && number(base, "loss") > 2.0,
        "{} {}",
        number(base, "loss"),
        number(tuned, "loss")
    );

    // The report has the same numbers, and the end of the output names what comes next.
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    for share in [form(tuned), number(tuned, "exact")] {
        assert!(page.contains(&format!("{:.0} %", 100.0 * share)), "{share}");
    }
    let answer = tuned["answers"][0]["answer"].as_str().unwrap();
    assert!(page.contains(answer) && !page.contains("<script") && !page.contains("http"), "{answer}");
    for part in ["8/8 Export", "in the clerk's form", "generate --model runs/quickstart/fused", "init --model"] {
        assert!(said.stderr.contains(part), "{part:?} is not in\n{}", said.stderr);
    }
    for name in ["fused/export_report.json", "clerk.gguf.report.json"] {
        assert_eq!(json(&out.join(name))["gate"]["accepted"], true, "{name}");
    }
    // What was planted into the transcripts is found.
    assert_eq!(
        (
            json(&out.join("clean/report.json"))["changed"].as_u64(),
            json(&out.join("clean/report.json"))["removed"].as_u64()
        ),
        (Some(3), Some(2))
    );

    // Fused folder and GGUF file answer alike.
    let question = "Good day. I lost my blue kettle in the kitchen. What colour is the kettle?";
    let asked = |model: &str| {
        let model = format!("runs/quickstart/{model}");
        ft(scratch.path(), &["generate", "--model", &model, "--prompt", question, "--max-tokens", "72"]).done().stdout
    };
    assert_eq!(asked("fused"), asked("clerk.gguf"));
    assert!(asked("fused").starts_with("Aye, one moment. Item: "), "{}", asked("fused"));

    // With --out the folder must be free.
    let said = ft(scratch.path(), &["quickstart", "--out", "runs/quickstart"]);
    said.refused(2, &["runs/quickstart: exists and is not an empty folder", "--out"]);
}

fn out_name(name: &str) -> String {
    Path::new("runs").join("quickstart").join(name).display().to_string()
}

/// By a shell, as the user would paste them.
#[cfg(unix)]
#[test]
fn the_printed_commands_do_the_same_to_the_bit() {
    let scratch = tempfile::tempdir().unwrap();
    let short = [("FT__TRAINING__EPOCHS", "1"), ("FT__EVALUATION__EVERY_STEPS", "100")];
    let said = ft_with(scratch.path(), &["quickstart", "--out", "first"], &short).done();
    let commands: Vec<&str> = said.stderr.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    assert_eq!(commands.len(), 8, "{}", said.stderr);
    // The same folder with what the quickstart begins with, and nothing else.
    let (first, kept) = (scratch.path().join("first"), scratch.path().join("kept"));
    std::fs::rename(&first, &kept).unwrap();
    std::fs::create_dir_all(first.join("transcripts")).unwrap();
    std::fs::create_dir_all(first.join("base")).unwrap();
    for name in ["ft.yaml", "heldout.jsonl"] {
        std::fs::copy(kept.join(name), first.join(name)).unwrap();
    }
    for folder in ["transcripts", "base"] {
        for name in names(&kept.join(folder)) {
            std::fs::copy(kept.join(folder).join(&name), first.join(folder).join(&name)).unwrap();
        }
    }
    for command in commands {
        let mut shell = std::process::Command::new("sh");
        let output = shell.args(["-c", command]).current_dir(scratch.path()).envs(short).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
    for name in [
        "clean/data.jsonl",
        "split/train.jsonl",
        "run/adapter/adapter_model.safetensors",
        "fused/model.safetensors",
        "clerk.gguf",
    ] {
        assert!(std::fs::read(first.join(name)).unwrap() == std::fs::read(kept.join(name)).unwrap(), "{name}");
    }
    assert_eq!(json(&first.join("evaluation.json")), json(&kept.join("evaluation.json")));

    // Without --out the next free name is taken.
    for name in ["quickstart", "quickstart-2"] {
        let said = ft_with(scratch.path(), &["quickstart"], &short).done();
        assert!(said.stdout.ends_with(&format!("runs/{name}/report.html\n")), "{}", said.stdout);
    }
}

/// `cargo xtask tiny-base --check` takes half an hour; this takes a second. Whoever changes the bits of training, of the drawing of
/// weights or of the order of rows has a new `models/tiny` to make, and this test to write anew.
#[test]
fn training_has_the_bits_that_made_the_tiny_base() {
    // The logarithm and the cosine are those of the system.
    if !cfg!(all(target_os = "linux", target_env = "gnu")) || !attune_compute::cpu::Isa::Avx2.is_available() {
        println!("SKIPPED: the bits of the tiny base: they are those of Linux with glibc on a processor with AVX2");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let config = serde_json::json!({
        "model": {
            "init": "random", "dtype": "bf16", "tokenizer": root.join("models/tiny"), "init_std": 0.07,
            "size": {"layers": 2, "hidden": 192, "heads": 6, "kv_heads": 6, "feed_forward": 512, "max_positions": 1024},
        },
        "adapter": {"method": "full"},
        "data": {"train": root.join("examples/sft_tiny/train.jsonl"), "max_seq_length": 256},
        "training": {
            "steps": 6, "batch_size": 16, "learning_rate": 1e-3, "schedule": "constant", "warmup_steps": 2, "adam_beta2": 0.95,
            "weight_decay": 0.01, "seed": 42,
        },
        "hardware": {"micro_batch_tokens": 4096},
        "evaluation": {"samples": 0},
    });
    std::fs::write(scratch.path().join("bits.yaml"), config.to_string()).unwrap();
    let losses = |cpu: &str| -> Vec<f64> {
        let out = format!("run-{cpu}");
        let said = ft_with(scratch.path(), &["train", "bits.yaml", "--out", &out, "--json"], &[("FT_CPU", cpu)]).done();
        serde_json::from_value(said.json()["train_loss"].clone()).unwrap()
    };
    assert_eq!(losses("avx2"), BITS);
    if attune_compute::cpu::Isa::Avx512.is_available() {
        assert_eq!(losses("avx512"), BITS);
    } else {
        println!("SKIPPED: avx512: this machine lacks it");
    }
}

/// The losses of six steps.
const BITS: [f64; 6] =
    [8.08090898920508, 7.391729980081945, 6.355434878927762, 4.865447533365927, 4.516218585472037, 4.141793003305793];
