//! Every wrong configuration is refused with the place, the key, what is there and what may be there.

mod common;

use attune_config::{Config, ConfigError, Problem, TemplateDate};
use common::{Folder, MINIMAL, hint, load, minimal, refused};

fn problems(error: ConfigError) -> Vec<Problem> {
    match error {
        ConfigError::Invalid { problems } => problems,
        other => panic!("{other}"),
    }
}

#[test]
fn unknown_keys_name_the_nearest_and_the_place() {
    let folder = Folder::new(&[("ft.yaml", &minimal("training:\n  lerning_rate: 1e-4\n"))]);
    let error = folder.load(&[], &[]).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{}:4:3: unknown key `training.lerning_rate`; the nearest known key is `training.learning_rate`",
            folder.path("ft.yaml").display()
        )
    );
    assert!(error.hint().unwrap().contains("batch_size"), "{:?}", error.hint());
}

#[test]
fn unknown_keys_everywhere() {
    for (yaml, nearest) in [
        ("trainning: {}", "training"),
        ("learning_rate: 1", "training.learning_rate"),
        ("lora_r: 8", "adapter.rank"),
        ("training: {lr: 1}", "training.learning_rate"),
        ("training: {rank: 8}", "adapter.rank"),
        ("adapter: {targetModules: all-linear}", "adapter.target_modules"),
        ("adapter: {use-rslora: true}", "adapter.use_rslora"),
        ("evaluation: {early_stopping: {patience: 1, mindelta: 1}}", "evaluation.early_stopping.min_delta"),
        ("checkpoint: {every_step: 1}", "checkpoint.every_steps"),
        ("checkpoint: {xyzzy: 1}", "checkpoint."),
        ("1: 2", ""),
    ] {
        let yaml = minimal(yaml);
        let found = problems(Config::from_yaml_str(&yaml).unwrap_err());
        let unknown = found.iter().find(|problem| matches!(problem, Problem::UnknownKey { .. })).expect(&yaml);
        assert!(unknown.to_string().contains(&format!("the nearest known key is `{nearest}")), "{unknown}");
    }
}

#[test]
fn the_assistant_of_transcripts_must_be_named() {
    let refused = |how: &str| {
        let yaml = format!("model: {{path: b}}\ndata:\n  train: a.vtt\n  transcripts: {how}\n");
        Config::from_yaml_str(&yaml).unwrap_err().to_string()
    };
    let error = refused("{asistant: Clerk}");
    assert!(error.contains("the nearest known key is `data.transcripts.assistant`"), "{error}");
    let error = refused("{exchanges: 3}");
    assert!(error.contains("`data.transcripts.assistant` is not given"), "{error}");
    let error = refused("{assistant: '  '}");
    assert!(error.contains("line 4") && error.contains("the name of a speaker"), "{error}");
}

#[test]
fn unknown_names_of_the_environment() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    for (name, nearest) in [
        ("FT__TRAINING__LERNING_RATE", "FT__TRAINING__LEARNING_RATE"),
        ("FT__TRANING__EPOCHS", "FT__TRAINING"),
        ("FT__EPOCHS", "FT__TRAINING__EPOCHS"),
        ("FT__EVALUATION__EARLY_STOPPING__PATIENT", "FT__EVALUATION__EARLY_STOPPING__PATIENCE"),
        ("FT__ADAPTER__RANK_PATTERN__Q_PROJ", "FT__ADAPTER__RANK_PATTERN"),
        ("FT__", "FT__"),
    ] {
        let error = folder.load(&[(name, "1")], &[]).unwrap_err().to_string();
        assert!(error.starts_with(&format!("{name}: unknown key")), "{error}");
        assert!(error.contains(&format!("`{nearest}")), "{error}");
    }
}

#[test]
fn unknown_names_of_set() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let error = folder.load(&[], &["training.step=3"]).unwrap_err().to_string();
    assert_eq!(error, "--set training.step=3: unknown key `training.step`; the nearest known key is `training.steps`");
    let error = folder.load(&[], &["adapter.rank.x=3"]).unwrap_err().to_string();
    assert!(error.contains("unknown key `adapter.rank.x`"), "{error}");
    for text in ["training.steps", "=3", ""] {
        let error = folder.load(&[], &[text]).unwrap_err();
        assert!(matches!(error, ConfigError::SetForm { .. }), "{error}");
        assert!(error.hint().is_some());
    }
    let error = folder.load(&[], &["training.steps=[1"]).unwrap_err();
    assert!(error.to_string().starts_with("--set training.steps=[1: "), "{error}");
}

#[test]
fn a_bad_value_says_who_gave_it() {
    let folder =
        Folder::new(&[("ft.yaml", &minimal("extends: parent.yaml")), ("parent.yaml", "training:\n  batch_size: 0\n")]);
    let error = folder.load(&[], &[]).unwrap_err().to_string();
    let place = folder.path("parent.yaml").display().to_string();
    assert_eq!(error, format!("{place}:2:15: `training.batch_size` is 0, expected a whole number from 1 to 1048576"));
    let error = folder.load(&[("FT__TRAINING__BATCH_SIZE", "-1")], &[]).unwrap_err().to_string();
    assert!(error.starts_with("FT__TRAINING__BATCH_SIZE: `training.batch_size` is -1"), "{error}");
    let error = folder.load(&[], &["training.batch_size=many"]).unwrap_err().to_string();
    assert!(error.starts_with("--set training.batch_size=many: `training.batch_size` is \"many\""), "{error}");
    // Mended by a stronger layer.
    assert_eq!(folder.load(&[], &["training.batch_size=2"]).unwrap().training.batch_size, 2);
}

#[test]
fn all_problems_are_reported_at_once() {
    let yaml = minimal("training: {epochs: 0, batch: 3}\nadapter: {dropout: 1}\n");
    let found = problems(Config::from_yaml_str(&yaml).unwrap_err());
    let keys: Vec<_> = found.iter().map(Problem::key).collect();
    assert_eq!(keys, ["adapter.dropout", "training.epochs", "training.batch"]);
}

#[test]
fn values_out_of_range() {
    for (section, key, bad) in [
        ("model", "quantize", &["int4", "NF4", "null", "8"][..]),
        ("adapter", "rank", &["0", "-1", "8193", "1.5", "16.0", "null", "[1]", "true", "1e3"][..]),
        ("adapter", "alpha", &["0", "-1", "null", "'32'"]),
        ("adapter", "dropout", &["1", "1.0", "-0.1", "half"]),
        ("adapter", "use_rslora", &["yes", "no", "on", "off", "1", "'true'", "null"]),
        ("adapter", "method", &["adora", "LoRA", "null", "1"]),
        ("adapter", "target_modules", &["[]", "[q_porj]", "q_proj", "all", "[q_proj, q_proj]", "[1]", "{}", "null"]),
        (
            "adapter",
            "layers",
            &["0", "{first: 0}", "{last: 0}", "{first: 1, last: 1}", "{}", "{frist: 2}", "none", "[0, 1]", "4"],
        ),
        ("adapter", "rank_pattern", &["{q_proj: 0}", "{q_proj: x}", "[]", "8", "{'': 4}"]),
        ("adapter", "alpha_pattern", &["{q_proj: 0}", "{q_proj: null}", "{'': 4}"]),
        ("adapter", "init_from", &["''", "1", "[a]", "~/adapter"]),
        ("data", "validation", &["''", "[1]", "['']", "null", "~", "{}", "~/v.jsonl"]),
        ("data", "columns", &["{promt: q}", "{prompt: ''}", "[prompt]", "{prompt: a, completion: a}"]),
        (
            "data",
            "transcripts",
            &[
                "{}",
                "Clerk",
                "{assistant: ''}",
                "{assistant: ' '}",
                "{assistant: 7}",
                "{assistant: A, exchanges: 0}",
                "[a]",
            ],
        ),
        ("data", "weights", &["[0]", "[-1]", "2", "[x]", "[1, 2]"]),
        ("data", "validation_fraction", &["1", "-0.1", "10%"]),
        ("data", "format", &["json", "chat", "Messages", "prompt_completion"]),
        ("data", "completion_style", &["text"]),
        ("data", "train_on", &["user", "Assistant"]),
        ("data", "max_seq_length", &["0", "1", "16777217", "2k"]),
        ("data", "overlong", &["truncate", "truncate_left", "no"]),
        ("data", "untrained", &["keep"]),
        ("data", "shuffle", &["no", "0"]),
        ("training", "objective", &["dpo"]),
        ("training", "epochs", &["0", "0.5", "null"]),
        ("training", "steps", &["0", "-3", "1.5"]),
        ("training", "batch_size", &["0", "'8'"]),
        ("training", "learning_rate", &["0", "-1e-4", "'1e-4'", "null", "1e-4x", "nan", "inf"]),
        ("training", "schedule", &["cosin", "off", "none"]),
        ("training", "warmup_steps", &["-1", "1.5"]),
        ("training", "warmup_ratio", &["1.1", "-0.1"]),
        ("training", "min_learning_rate_ratio", &["1.1", "-0.1"]),
        ("training", "weight_decay", &["-0.1"]),
        ("training", "adam_beta1", &["1", "-0.1"]),
        ("training", "adam_beta2", &["1", "-0.1"]),
        ("training", "adam_epsilon", &["0", "-1e-8"]),
        ("training", "max_grad_norm", &["0", "-1", "off"]),
        ("training", "label_smoothing", &["1", "-0.1"]),
        ("training", "seed", &["-1", "1.5", "18446744073709551616"]),
        ("training", "max_bad_steps", &["0"]),
        ("checkpoint", "every_steps", &["0", "off"]),
        ("checkpoint", "every_minutes", &["0", "-1", "525601"]),
        ("checkpoint", "keep", &["0", "null"]),
        ("evaluation", "every_steps", &["0"]),
        ("evaluation", "samples", &["-1", "1001"]),
        ("evaluation", "sample_prompts", &["Once", "[1]", "['']", "[' ']", "null"]),
        ("evaluation", "sample_max_tokens", &["0"]),
        ("evaluation", "early_stopping", &["{patience: 0}", "{}", "3", "{patience: 1, min_delta: -1}", "true"]),
        ("evaluation", "keep_best", &["best"]),
        ("hardware", "backend", &["gpu", "cuda"]),
        ("hardware", "threads", &["0", "all", "4097"]),
        ("hardware", "memory_budget", &["0", "lots", "12G", "-1GB", "''", "0.5", "[1GB]", "auto"]),
        ("hardware", "micro_batch_tokens", &["0", "many", "1.5", "'512'"]),
        ("hardware", "micro_batch_examples", &["0"]),
        ("hardware", "layout", &["dense"]),
        ("hardware", "activations", &["checkpoint", "{recompute-layers: 0}", "{recompute-layers: all}", "3", "null"]),
        ("hardware", "pack_weights", &["true", "all", "12GB", "null"]),
        ("logging", "dir", &["''", "null", "~/runs"]),
        ("logging", "name", &["''", "a/b", "..", ".", "-x", "'a:b'", "'a '", "'é'", "2024"]),
        ("logging", "every_steps", &["0"]),
        ("logging", "display", &["off", "none"]),
        ("model", "template_date", &["2023-02-29", "yesterday", "26-07-2024", "2024-7-26", "20240726", "null"]),
        ("model", "chat_template", &["chat-ml", "llama3", "1", "''"]),
        ("model", "tokenizer", &["''", "7", "~/t"]),
    ] {
        for bad in bad {
            // Sections of the minimal file are written out, so that no key is given twice.
            let yaml = match section {
                "model" => {
                    format!("model:\n  path: base\n  {key}: {bad}\ndata: {{train: t.jsonl, validation: v.jsonl}}\n")
                }
                "data" => format!("model: {{path: base}}\ndata:\n  train: t.jsonl\n  {key}: {bad}\n"),
                _ => format!(
                    "model: {{path: base}}\ndata: {{train: t.jsonl, validation: v.jsonl}}\n{section}:\n  {key}: {bad}\n"
                ),
            };
            let error = refused(&yaml);
            assert!(error.contains(&format!("{section}.{key}")), "{yaml} gives {error}");
            assert!(error.starts_with("line "), "{yaml} gives {error}");
            assert_eq!(error.lines().count(), 1, "{yaml} gives {error}");
        }
    }
}

#[test]
fn the_limits_themselves_are_allowed() {
    let yaml = "model: {path: b, template_date: 2024-02-29}\n\
        data: {train: t.jsonl, validation: [v.jsonl], max_seq_length: 2}\n\
        adapter: {rank: 8192, alpha: 0.5, dropout: 0, target_modules: [down_proj], layers: {last: 1}}\n\
        training: {epochs: 1, steps: 1, warmup_steps: 0, min_learning_rate_ratio: 1, adam_beta1: 0, label_smoothing: 0,\n  \
          seed: 18446744073709551615}\n\
        evaluation: {early_stopping: {patience: 1}, samples: 0}\n\
        logging: {name: '2024-01-01 a_b+c.d'}\n";
    let config = Config::from_yaml_str(yaml).unwrap();
    assert_eq!(config.training.seed, u64::MAX);
    assert_eq!(config.evaluation.early_stopping.unwrap().min_delta, 0.0);
    assert!(matches!(config.model.template_date, TemplateDate::On(date) if date.to_string() == "2024-02-29"));
}

#[test]
fn hints_say_what_was_probably_meant() {
    for (yaml, expected) in [
        ("training: {batch_size: '8'}", "without quotes: 8"),
        ("training: {learning_rate: '1e-4'}", "without quotes: 1e-4"),
        ("training: {batch_size: 8.0}", "without a point or exponent: 8"),
        ("training: {max_grad_norm: off}", "null"),
        ("training: {schedule: cosin}", "`cosine`"),
        ("training: {epochs: }", "leave `training.epochs` out"),
        ("adapter: {use_rslora: yes}", "as true"),
        ("adapter: {target_modules: [q_porj]}", "`q_proj`"),
        ("adapter: {target_modules: q_proj}", "[q_proj]"),
        ("adapter: {target_modules: all_linear}", "`all-linear`"),
        ("logging: {name: 2024}", "\"2024\""),
        ("checkpoint: {every_minutes: false}", "null"),
        ("logging:\n  name: a: b", "quotes"),
        ("logging: {name: *a}", "quotes"),
        ("logging: {dir: x, dir: y}", "one of the two"),
    ] {
        let hint = hint(&minimal(yaml));
        assert!(hint.contains(expected), "{yaml}: {hint}");
    }
}

#[test]
fn hints_only_where_they_help() {
    for yaml in ["adapter: {target_modules: 5}", "training: {schedule: 5}", "training: {batch_size: many}"] {
        assert_eq!(hint(&minimal(yaml)), "", "{yaml}");
    }
    let template = "model: {path: base, chat_template: chat-ml}\ndata: {train: t}\n";
    assert!(hint(template).contains("./chat-ml"), "{}", hint(template));
}

#[test]
fn target_modules_list_what_is_allowed() {
    let error = refused(&minimal("adapter:\n  target_modules: [q_proj, wq]"));
    assert_eq!(
        error,
        "line 4, column 28: `adapter.target_modules[1]` is \"wq\", expected one of q_proj, k_proj, v_proj, o_proj, \
         gate_proj, up_proj, down_proj"
    );
}

#[test]
fn layers_say_what_is_wrong() {
    let error = refused(&minimal("adapter: {layers: {frist: 3}}"));
    assert!(error.ends_with("expected all, {first: ...} or {last: ...}"), "{error}");
    let error = refused(&minimal("adapter: {layers: {first: 0}}"));
    assert!(error.contains("`adapter.layers.first` is 0, expected a whole number from 1"), "{error}");
}

#[test]
fn required_keys() {
    let error = Config::from_yaml_str("{}").unwrap_err();
    let keys: Vec<_> = error.to_string().lines().map(str::to_owned).collect();
    assert_eq!(keys, ["`model.path` is not given", "`data.train` is not given"]);
    assert!(error.hint().unwrap().contains("--set model.path="));
    for yaml in ["", "# nothing\n", "---\n", "null", "data: {train: []}\nmodel: {path: ''}"] {
        assert!(refused(yaml).contains("`model.path` is"), "{yaml}: {}", refused(yaml));
        assert!(refused(yaml).contains("`data.train` is not given"), "{yaml}: {}", refused(yaml));
    }
    let error = refused(&minimal("evaluation: {early_stopping: {min_delta: 0.1}}"));
    assert!(error.contains("`evaluation.early_stopping.patience` is not given"), "{error}");
}

#[test]
fn keys_that_contradict_each_other() {
    for (yaml, keys) in [
        ("training: {warmup_steps: 5, warmup_ratio: 0.1}", ["training.warmup_steps", "training.warmup_ratio"]),
        ("training: {warmup_steps: 5, steps: 4}", ["training.warmup_steps", "training.steps"]),
        ("evaluation: {early_stopping: {patience: 2}}", ["evaluation.early_stopping", "data.validation"]),
    ] {
        let error = refused(&minimal(yaml));
        for key in keys {
            assert!(error.contains(&format!("`{key}`")), "{yaml}: {error}");
        }
        assert!(!hint(&minimal(yaml)).is_empty());
    }
    let error = refused("model: {path: b}\ndata: {train: t, validation: v, validation_fraction: 0.1}\n");
    assert!(error.contains("line 2, column 30") && error.contains("`data.validation_fraction`"), "{error}");
    let error = refused(
        "model: {path: b}\ndata: {train: t, validation: v}\nevaluation: {every_steps: null, early_stopping: {patience: 1}}\n",
    );
    assert!(error.contains("`evaluation.every_steps`"), "{error}");
}

/// `adapter.method: full` and `model.init: random`: keys that would be ignored, or that make no model.
#[test]
fn keys_of_full_training_that_contradict_each_other() {
    const SIZE: &str = "size: {layers: 2, hidden: 32, heads: 4, feed_forward: 48}";
    let whole = "adapter: {method: full}\ndata: {train: t.jsonl}\n";
    let base = |keys: &str| format!("model: {{path: m{keys}}}\n{whole}");
    let new = |keys: &str| format!("model: {{init: random, tokenizer: t, {keys}}}\n{whole}");
    let with =
        |adapter: &str| format!("model: {{path: m}}\nadapter: {{method: full, {adapter}}}\ndata: {{train: t.jsonl}}\n");
    let lora = |keys: &str| format!("model: {{path: m{keys}}}\ndata: {{train: t.jsonl}}\n");
    for fine in [base(""), base(", dtype: bf16"), base(", init: random, init_std: 0.1"), new(SIZE)] {
        Config::from_yaml_str(&fine).unwrap_or_else(|error| panic!("{fine}: {error}"));
    }
    for (yaml, key, other) in [
        (with("rank: 4"), "adapter.rank", "adapter.method"),
        (with("alpha: 4"), "adapter.alpha", "adapter.method"),
        (with("dropout: 0.1"), "adapter.dropout", "adapter.method"),
        (with("target_modules: [q_proj]"), "adapter.target_modules", "adapter.method"),
        (with("layers: {first: 1}"), "adapter.layers", "adapter.method"),
        (with("rank_pattern: {q_proj: 1}"), "adapter.rank_pattern", "adapter.method"),
        (with("alpha_pattern: {q_proj: 1}"), "adapter.alpha_pattern", "adapter.method"),
        (with("use_rslora: true"), "adapter.use_rslora", "adapter.method"),
        (with("init_from: a"), "adapter.init_from", "adapter.method"),
        (base(", quantize: nf4"), "model.quantize", "adapter.method"),
        (format!("model: {{path: m.gguf}}\n{whole}"), "model.path", "adapter.method"),
        (lora(", dtype: bf16"), "model.dtype", "adapter.method"),
        (lora(", init: random"), "model.init", "adapter.method"),
        (base(&format!(", {SIZE}")), "model.size", "model.init"),
        (base(", init_std: 0.1"), "model.init_std", "model.init"),
        (new(&format!("path: m, {SIZE}")), "model.size", "model.path"),
        (format!("model: {{init: random, {SIZE}}}\n{whole}"), "model.size", "model.tokenizer"),
    ] {
        let found = problems(Config::from_yaml_str(&yaml).expect_err(&yaml));
        let conflicts = found.iter().filter(|problem| match problem {
            Problem::Conflict { key: got, other: against, .. } => got == key && against == other,
            _ => false,
        });
        assert_eq!(conflicts.count(), 1, "{yaml}: {found:?}");
        assert_eq!(found.len(), 1, "{yaml}: {found:?}");
    }
}

#[test]
fn sizes_that_make_no_model() {
    let load = |size: &str| {
        Config::from_yaml_str(&format!(
            "model: {{init: random, tokenizer: t, size: {{{size}}}}}\nadapter: {{method: full}}\ndata: {{train: t.jsonl}}\n"
        ))
    };
    for (size, key) in [
        ("layers: 2, hidden: 36, heads: 8, feed_forward: 48", "model.size.hidden"),
        ("layers: 2, hidden: 32, heads: 32, feed_forward: 48", "model.size.hidden"),
        ("layers: 2, hidden: 32, heads: 4, kv_heads: 3, feed_forward: 48", "model.size.kv_heads"),
        ("layers: 2, hidden: 32, heads: 4, kv_heads: 8, feed_forward: 48", "model.size.kv_heads"),
        ("layers: 0, hidden: 32, heads: 4, feed_forward: 48", "model.size.layers"),
        ("layers: 2, hidden: 32, heads: 4, feed_forward: 48, rope_theta: 1", "model.size.rope_theta"),
        ("layers: 2, hidden: 32, heads: 4, feed_forward: 48, max_positions: 1", "model.size.max_positions"),
        ("layers: 2, hidden: 32, heads: 4, feed_forward: 48, vocabulary: 9", "model.size.vocabulary"),
    ] {
        let error = load(size).expect_err(size).to_string();
        assert!(error.contains(key), "{size}: {error}");
    }
    let error = load("layers: 2, hidden: 32, heads: 4").unwrap_err().to_string();
    assert!(error.contains("feed_forward"), "{error}");
    for std in ["0", "-0.1", "1.5"] {
        let yaml = format!(
            "model: {{path: m, init: random, init_std: {std}}}\nadapter: {{method: full}}\ndata: {{train: t}}\n"
        );
        let error = Config::from_yaml_str(&yaml).expect_err(&yaml).to_string();
        assert!(error.contains("model.init_std"), "{error}");
    }
}

#[test]
fn one_file_cannot_train_and_validate() {
    let folder = Folder::new(&[("ft.yaml", "model: {path: b}\ndata: {train: [a, sub/../t], validation: ./t}\n")]);
    let error = folder.load(&[], &[]).unwrap_err();
    assert!(error.to_string().contains("`data.validation` contradicts `data.train`"), "{error}");
    let folder = Folder::new(&[("ft.yaml", "model: {path: b}\ndata: {train: [a, ./a]}\n")]);
    assert!(folder.load(&[], &[]).unwrap_err().hint().unwrap().contains("epochs"));
}

#[test]
fn sections_that_are_no_maps() {
    for yaml in ["adapter: 5", "adapter: [rank]", "adapter: lora"] {
        let error = refused(&minimal(yaml));
        assert!(
            error.starts_with("line 3, column 10: `adapter` is ") && error.contains("a map with the keys method, rank"),
            "{error}"
        );
    }
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let error = folder.load(&[("FT__ADAPTER", "5")], &[]).unwrap_err().to_string();
    assert!(error.starts_with("FT__ADAPTER: `adapter` is 5"), "{error}");
}

#[test]
fn files_that_are_no_configuration() {
    let folder = Folder::new(&[]);
    let error = |bytes: &[u8]| {
        folder.write("ft.yaml", bytes);
        folder.load(&[], &[]).unwrap_err()
    };
    let not_a_map = error(b"- a\n- b\n");
    assert!(matches!(not_a_map, ConfigError::NotAMapping { .. }), "{not_a_map}");
    assert!(not_a_map.to_string().contains("ft.yaml:1:1") && not_a_map.hint().is_some(), "{not_a_map}");
    assert!(matches!(error(b"just text"), ConfigError::NotAMapping { .. }));

    let not_utf8 = error(b"model:\n  path: b\xe4r\n");
    assert!(matches!(not_utf8, ConfigError::NotUtf8 { line: 2, column: 10, .. }), "{not_utf8}");
    assert!(matches!(error(b"\xff\xfem\0"), ConfigError::NotUtf8 { line: 1, column: 1, .. }));

    let large = vec![b'#'; (1 << 20) + 1];
    assert!(matches!(error(&large), ConfigError::TooLarge { .. }));
    assert!(matches!(error(&large[1..]), ConfigError::Invalid { .. }), "a megabyte of comment is no error as such");
    assert!(matches!(error(b"model: {path: b\n"), ConfigError::Syntax { .. }));
    assert!(matches!(error(b"model: \0"), ConfigError::Syntax { .. }));
}

#[cfg(unix)]
#[test]
fn an_endless_file_is_not_read_to_its_end() {
    let error = load(std::path::Path::new("/dev/zero"), &[], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::TooLarge { .. }), "{error}");
}

#[test]
fn code_can_check_what_it_built() {
    let mut config = Config::from_yaml_str(MINIMAL).unwrap();
    config.validate().unwrap();
    config.training.learning_rate = f64::NAN;
    assert!(config.validate().unwrap_err().to_string().contains("`training.learning_rate` is NaN"));
    config.training.learning_rate = 1e-4;
    config.training.max_grad_norm = Some(f64::INFINITY);
    assert!(config.validate().is_err());
    config.training.max_grad_norm = None;
    config.adapter.rank = 0;
    assert!(config.validate().unwrap_err().to_string().contains("`adapter.rank` is 0"));
    assert_eq!(problems(Config::default().validate().unwrap_err()).len(), 2, "only what has no default");
}
