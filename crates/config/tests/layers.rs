//! Which layer wins, and who is said to have given a value.

#![allow(clippy::disallowed_methods)]

mod common;

use std::path::Path;

use attune_config::{
    Activations, ChatTemplate, Config, ConfigError, EarlyStopping, Layers, Origin, Overlong, PRESETS, TargetModule,
    TargetModules, TranscriptsConfig,
};
use common::{Folder, MINIMAL, load, minimal};

#[test]
fn each_layer_wins_over_the_weaker_ones() {
    let folder = Folder::new(&[
        ("parent.yaml", "training: {batch_size: 2, epochs: 2, seed: 2, weight_decay: 0.2}\n"),
        ("ft.yaml", &minimal("extends: parent.yaml\ntraining: {batch_size: 3, epochs: 3, seed: 3}")),
    ]);
    let config = folder
        .load(
            &[("FT__TRAINING__BATCH_SIZE", "4"), ("FT__TRAINING__EPOCHS", "4"), ("PATH", "/bin"), ("FT_CPU", "avx2")],
            &["training.batch_size=5"],
        )
        .unwrap();
    assert_eq!(config.training.batch_size, 5, "--set");
    assert_eq!(config.training.epochs, 4, "environment");
    assert_eq!(config.training.seed, 3, "file");
    assert_eq!(config.training.weight_decay, 0.2, "parent");
    assert_eq!(config.training.adam_beta1, 0.9, "default");
}

#[test]
fn origins_name_the_layer_of_each_key() {
    let folder = Folder::new(&[
        ("parent.yaml", "training:\n  seed: 2\n"),
        (
            "ft.yaml",
            "extends: [fast-iteration, parent.yaml]\nmodel:\n  path: base\ndata: {train: [a.jsonl, b.jsonl]}\n",
        ),
    ]);
    let path = folder.path("ft.yaml");
    let env = [("FT__TRAINING__EPOCHS".to_owned(), "4".to_owned())].into_iter();
    let (_, origins) = Config::load_with_origins(&path, env, &["checkpoint.keep=2".to_owned()]).unwrap();
    let shown = |key: &str| origins.of(key).to_string();
    assert_eq!(shown("model.path"), format!("{}:3:9", path.display()));
    assert_eq!(shown("data.train"), format!("{}:4:15", path.display()));
    assert_eq!(shown("training.seed"), format!("{}:2:9", folder.path("parent.yaml").display()));
    assert_eq!(shown("training.epochs"), "FT__TRAINING__EPOCHS");
    assert_eq!(shown("checkpoint.keep"), "--set checkpoint.keep=2");
    assert!(shown("adapter.rank").starts_with("preset fast-iteration:"), "{}", shown("adapter.rank"));
    assert_eq!(origins.of("adapter.dropout"), Origin::Default);
}

#[test]
fn later_parents_win_and_each_parent_may_have_parents() {
    let folder = Folder::new(&[
        ("a.yaml", "training: {seed: 1, epochs: 1}\nadapter: {rank: 1}\n"),
        ("deep/b.yaml", "extends: [../a.yaml]\ntraining: {seed: 2}\n"),
        ("ft.yaml", &minimal("extends: [memory-constrained, deep/b.yaml]")),
    ]);
    let config = folder.load(&[], &[]).unwrap();
    assert_eq!((config.training.seed, config.adapter.rank), (2, 1));
    assert_eq!(config.hardware.activations, Activations::Recompute, "the preset's, which b.yaml leaves alone");
}

#[test]
fn one_parent_named_twice_is_no_circle() {
    let folder = Folder::new(&[
        ("a.yaml", "training: {seed: 1}\n"),
        ("b.yaml", "extends: a.yaml\n"),
        ("ft.yaml", &minimal("extends: [a.yaml, b.yaml]")),
    ]);
    assert_eq!(folder.load(&[], &[]).unwrap().training.seed, 1);
}

#[test]
fn circles_are_errors_that_name_the_way() {
    let folder = Folder::new(&[
        ("b.yaml", "extends: ./ft.yaml\n"),
        ("ft.yaml", &minimal("extends: b.yaml")),
        ("self.yaml", "extends: self.yaml\n"),
    ]);
    let error = folder.load(&[], &[]).unwrap_err();
    let ConfigError::ExtendsCycle { chain } = &error else { panic!("{error}") };
    assert_eq!(chain.len(), 3);
    let message = error.to_string();
    let (first, second) = (message.find("ft.yaml").unwrap(), message.find("b.yaml").unwrap());
    assert!(first < second && message.rfind("ft.yaml").unwrap() > second, "{message}");
    assert!(error.hint().is_some());

    let error = load(&folder.path("self.yaml"), &[], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::ExtendsCycle { .. }), "{error}");
}

#[test]
fn missing_parents_are_errors_that_name_the_chain() {
    let folder = Folder::new(&[("b.yaml", "extends: lost.yaml\n"), ("ft.yaml", &minimal("extends: b.yaml"))]);
    let error = folder.load(&[], &[]).unwrap_err();
    let message = error.to_string();
    for part in ["lost.yaml", "ft.yaml -> ", "b.yaml", "extends"] {
        assert!(message.contains(part), "{part} in {message}");
    }
    assert!(error.hint().unwrap().contains("memory-constrained"), "{:?}", error.hint());
}

#[test]
fn a_misspelt_preset_is_recognised() {
    let folder = Folder::new(&[("ft.yaml", &minimal("extends: memory_constraint"))]);
    let error = folder.load(&[], &[]).unwrap_err();
    assert_eq!(error.hint().unwrap(), "did you mean the preset `memory-constrained`?");
}

#[test]
fn a_missing_file_is_an_error() {
    let folder = Folder::new(&[]);
    let error = folder.load(&[], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::Read { .. }), "{error}");
    assert!(error.to_string().contains("ft.yaml"), "{error}");
    assert!(error.hint().unwrap().contains("ft init"));
    let error = load(folder.path("").as_path(), &[], &[]).unwrap_err();
    assert!(error.to_string().contains("folder"), "{error}");
}

#[test]
fn parents_cannot_multiply_without_bound() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    // Each names the next one twice: 2^30 files if nothing stopped it.
    for i in 0..14 {
        folder.write(&format!("{i}.yaml"), format!("extends: [{0}.yaml, {0}.yaml]\n", i + 1).as_bytes());
    }
    folder.write("14.yaml", b"");
    let error = load(&folder.path("0.yaml"), &[], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::TooManyParents { limit: 64, .. }), "{error}");

    for i in 0..40 {
        folder.write(&format!("{i}.yaml"), format!("extends: {}.yaml\n", i + 1).as_bytes());
    }
    let error = load(&folder.path("0.yaml"), &[], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::TooManyParents { limit: 16, .. }), "{error}");
}

#[test]
fn wrong_extends_are_errors() {
    for (extends, part) in [("5", "`extends` is 5"), ("[1]", "`extends[0]` is 1"), ("''", "`extends` is \"\"")] {
        let folder = Folder::new(&[("ft.yaml", &minimal(&format!("extends: {extends}")))]);
        let error = folder.load(&[], &[]).unwrap_err().to_string();
        assert!(error.contains(part) && error.contains("ft.yaml:3:"), "{error}");
    }
    for (env, set) in [(Some(("FT__EXTENDS", "fast-iteration")), None), (None, Some("extends=fast-iteration"))] {
        let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
        let error = folder.load(env.as_slice(), set.as_slice()).unwrap_err();
        assert!(error.to_string().contains("in a file only"), "{error}");
    }
    let error = Config::from_yaml_str(&minimal("extends: a.yaml")).unwrap_err();
    assert!(error.to_string().contains("`extends`"), "{error}");
    assert!(Config::from_yaml_str(&minimal("extends: []")).is_ok());
}

#[test]
fn paths_are_relative_to_the_file_that_writes_them() {
    let folder = Folder::new(&[
        (
            "shared/model.yaml",
            "model: {path: base, tokenizer: ./tok, chat_template: chat.jinja}\nadapter: {init_from: a}\n",
        ),
        (
            "run/ft.yaml",
            "extends: ../shared/model.yaml\ndata: {train: [one.jsonl, sub/two.jsonl], validation: ../v.jsonl}\n",
        ),
    ]);
    let config = load(&folder.path("run/ft.yaml"), &[], &[]).unwrap();
    // Windows takes `..` out of absolute paths, other systems leave it in.
    let in_folder = |path: &str| std::path::absolute(folder.path(path)).unwrap();
    assert_eq!(config.model.path, in_folder("run/../shared/base"));
    assert_eq!(config.model.tokenizer, Some(in_folder("run/../shared/tok")));
    assert_eq!(config.model.chat_template, Some(ChatTemplate::File(in_folder("run/../shared/chat.jinja"))));
    assert_eq!(config.adapter.init_from, Some(in_folder("run/../shared/a")));
    assert_eq!(config.data.train, [in_folder("run/one.jsonl"), in_folder("run/sub/two.jsonl")]);
    assert_eq!(config.data.validation, [in_folder("run/../v.jsonl")]);
    assert_eq!(config.logging.dir, Path::new("runs"), "relative to the current folder");
}

#[test]
fn paths_outside_files_are_relative_to_the_current_folder() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let config = folder.load(&[("FT__MODEL__PATH", "m")], &["data.train=[a, /b]"]).unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!(config.model.path, here.join("m"));
    assert_eq!(config.data.train[0], here.join("a"));
    #[cfg(unix)]
    assert_eq!(config.data.train[1], Path::new("/b"));
}

#[test]
fn built_in_templates_are_no_paths() {
    let folder = Folder::new(&[("ft.yaml", "model: {path: base, chat_template: chatml}\ndata: {train: t}\n")]);
    let config = folder.load(&[], &[]).unwrap();
    assert_eq!(config.model.chat_template.unwrap().to_string(), "chatml");
    let config = folder.load(&[], &["model.chat_template=plain"]).unwrap();
    assert_eq!(config.model.chat_template.unwrap().to_string(), "plain");
}

#[test]
fn the_assistant_of_transcripts_comes_from_any_layer() {
    let yaml = "model: {path: b}\ndata: {train: a.vtt, transcripts: {assistant: Clerk, exchanges: 4}}\n";
    let folder = Folder::new(&[("ft.yaml", yaml)]);
    let sets = ["data.transcripts.assistant=2024 Ada: #1", "data.transcripts.exchanges=null"];
    let how = |sets: &[&str]| folder.load(&[], sets).unwrap().data.transcripts;
    let named = |assistant: &str, exchanges| Some(TranscriptsConfig { assistant: assistant.into(), exchanges });
    assert_eq!(how(&[]), named("Clerk", Some(4)));
    assert_eq!(how(&sets[..1]), named("2024 Ada: #1", Some(4)));
    assert_eq!(how(&sets), named("2024 Ada: #1", None));
    assert_eq!(how(&["data.transcripts=null"]), None);
}

#[test]
fn nested_keys_of_the_environment() {
    let folder = Folder::new(&[("ft.yaml", &minimal("evaluation: {early_stopping: {patience: 2, min_delta: 0.5}}"))]);
    let env = [("FT__EVALUATION__EARLY_STOPPING__PATIENCE", "7"), ("FT__DATA__VALIDATION", "v.jsonl")];
    let stopping = folder.load(&env, &[]).unwrap().evaluation.early_stopping;
    assert_eq!(stopping, Some(EarlyStopping { patience: 7, min_delta: 0.5 }));

    let off = folder.load(&[("FT__EVALUATION__EARLY_STOPPING", "null")], &[]).unwrap();
    assert_eq!(off.evaluation.early_stopping, None);

    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let stopping = folder.load(&env, &[]).unwrap().evaluation.early_stopping;
    assert_eq!(stopping, Some(EarlyStopping { patience: 7, min_delta: 0.0 }));
}

#[test]
fn a_map_and_a_key_in_it_can_both_be_set() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let sets = ["evaluation={every_steps: 5, samples: 0}", "evaluation.samples=1", "data.validation_fraction=0.1"];
    let config = folder.load(&[], &sets).unwrap();
    assert_eq!((config.evaluation.every_steps, config.evaluation.samples), (Some(5), 1));
    let sets = ["evaluation.early_stopping.min_delta=0.5", "evaluation.early_stopping={patience: 3}", sets[2]];
    let stopping = folder.load(&[], &sets).unwrap().evaluation.early_stopping.unwrap();
    assert_eq!(stopping, EarlyStopping { patience: 3, min_delta: 0.5 });
}

#[test]
fn layers_replace_each_other_as_a_whole() {
    let folder = Folder::new(&[
        ("parent.yaml", "adapter: {layers: {first: 4}, rank_pattern: {q_proj: 4}, target_modules: [q_proj, v_proj]}\n"),
        (
            "ft.yaml",
            &minimal(
                "extends: parent.yaml\nadapter: {layers: {last: 2}, rank_pattern: {v_proj: 2}, target_modules: [k_proj]}",
            ),
        ),
    ]);
    let config = folder.load(&[], &[]).unwrap();
    assert_eq!(config.adapter.layers, Layers::Last(2));
    assert_eq!(config.adapter.rank_pattern.keys().collect::<Vec<_>>(), ["v_proj"]);
    assert_eq!(config.adapter.target_modules, TargetModules::List(vec![TargetModule::KProj]));
    let config = folder.load(&[("FT__ADAPTER__LAYERS__FIRST", "3")], &[]).unwrap();
    assert_eq!(config.adapter.layers, Layers::First(3));
    let config = folder.load(&[], &["adapter.layers.last=5", "adapter.target_modules=all-linear"]).unwrap();
    assert_eq!((config.adapter.layers, config.adapter.target_modules.modules().len()), (Layers::Last(5), 7));
    assert_eq!(folder.load(&[], &["adapter.layers=all"]).unwrap().adapter.layers, Layers::All);
}

#[test]
fn a_stronger_layer_puts_the_rival_of_its_key_out_of_force() {
    let folder = Folder::new(&[
        ("ft.yaml", &minimal("extends: parent.yaml")),
        ("parent.yaml", "training: {steps: 50, warmup_ratio: 0.1}\ndata: {validation_fraction: 0.1}\n"),
    ]);
    let config = folder.load(&[], &[]).unwrap();
    assert_eq!((config.training.steps, config.training.warmup_ratio), (Some(50), Some(0.1)));

    let config =
        folder.load(&[], &["training.epochs=3", "training.warmup_steps=2", "data.validation=v.jsonl"]).unwrap();
    assert_eq!((config.training.epochs, config.training.steps), (3, None));
    assert_eq!((config.training.warmup_steps, config.training.warmup_ratio), (Some(2), None));
    assert_eq!((config.data.validation.len(), config.data.validation_fraction), (1, 0.0));

    // What says that its key is off leaves the rival alone.
    let config = folder.load(&[], &["training.warmup_steps=null", "data.validation=[]"]).unwrap();
    assert_eq!((config.training.warmup_ratio, config.data.validation_fraction), (Some(0.1), 0.1));
    // Both in one layer: `steps` overrides `epochs`, as its description says.
    let config = folder.load(&[], &["training.epochs=3", "training.steps=4"]).unwrap();
    assert_eq!((config.training.epochs, config.training.steps), (3, Some(4)));
}

#[test]
fn texts_outside_files_need_no_quotes() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let name = |text: &str| folder.load(&[("FT__LOGGING__NAME", text)], &[]).map(|config| config.logging.name);
    assert_eq!(name("2024").unwrap().as_deref(), Some("2024"));
    assert_eq!(name("no").unwrap().as_deref(), Some("no"));
    assert_eq!(name("\"quoted\"").unwrap().as_deref(), Some("quoted"));
    assert_eq!(name("null").unwrap(), None);
    let config = folder.load(&[], &["model.path=/a #b: c", "data.train=1e-4"]).unwrap();
    assert!(config.model.path.ends_with("a #b: c"), "{}", config.model.path.display());
    assert!(config.data.train[0].ends_with("1e-4"), "{:?}", config.data.train);
}

#[test]
fn values_outside_files_are_yaml() {
    let folder = Folder::new(&[("ft.yaml", MINIMAL)]);
    let sets = [
        "training.learning_rate=1e-4",
        "training.max_grad_norm=null",
        "data.shuffle=false",
        "adapter.rank_pattern={q_proj: 4, model.layers.0.mlp.up_proj: 2}",
        "evaluation.sample_prompts=[\"a = b\", c]",
        "data.overlong=truncate-left",
    ];
    let config = folder.load(&[], &sets).unwrap();
    assert_eq!(config.training.learning_rate, 1e-4);
    assert_eq!(config.training.max_grad_norm, None);
    assert!(!config.data.shuffle);
    assert_eq!(config.adapter.rank_pattern["model.layers.0.mlp.up_proj"], 2);
    assert_eq!(config.evaluation.sample_prompts, ["a = b", "c"]);
    assert_eq!(config.data.overlong, Overlong::TruncateLeft);
}

#[test]
fn an_empty_section_leaves_the_defaults() {
    let folder = Folder::new(&[("ft.yaml", &minimal("adapter:\ntraining: # all left out\n"))]);
    assert_eq!(folder.load(&[], &[]).unwrap().adapter, Config::default().adapter);
}

#[test]
fn presets_are_ordinary_parents_that_change_something() {
    for preset in PRESETS {
        let folder =
            Folder::new(&[("ft.yaml", &minimal(&format!("extends: {}", preset.name))), ("plain.yaml", MINIMAL)]);
        let with = folder.load(&[], &[]).unwrap();
        let without = load(&folder.path("plain.yaml"), &[], &[]).unwrap();
        assert_ne!(with, without, "{}", preset.name);
        // A preset as a file does the same.
        folder.write("copy.yaml", preset.text.as_bytes());
        folder.write("ft.yaml", minimal("extends: copy.yaml").as_bytes());
        assert_eq!(folder.load(&[], &[]).unwrap(), with);
        assert!(!preset.text.contains("extends") && !preset.text.contains("path:"), "{}", preset.name);
    }
    let folder = Folder::new(&[("ft.yaml", &minimal("extends: [memory-constrained, fast-iteration]"))]);
    folder.load(&[], &[]).unwrap();
}

#[test]
fn a_recorded_configuration_means_the_same_everywhere() {
    let folder = Folder::new(&[("ft.yaml", &minimal("training: {warmup_steps: 3}\nadapter: {layers: {first: 2}}"))]);
    let config = folder.load(&[], &[]).unwrap();
    folder.write("elsewhere/deep/config.yaml", config.to_yaml().unwrap().as_bytes());
    assert_eq!(load(&folder.path("elsewhere/deep/config.yaml"), &[], &[]).unwrap(), config);
    assert_eq!(Config::from_yaml_str(&config.to_yaml().unwrap()).unwrap(), config);
}

#[cfg(unix)]
#[test]
fn a_folder_that_is_not_utf8_is_an_error() {
    use std::os::unix::ffi::OsStrExt as _;
    let folder = Folder::new(&[]);
    let odd = folder.path("").join(std::ffi::OsStr::from_bytes(b"od\xff"));
    if std::fs::create_dir(&odd).is_err() {
        println!("SKIPPED: this file system takes only UTF-8 names");
        return;
    }
    std::fs::write(odd.join("ft.yaml"), MINIMAL).unwrap();
    let error = load(&odd.join("ft.yaml"), &[], &[]).unwrap_err();
    assert!(matches!(error, ConfigError::PathNotUtf8 { .. }), "{error}");
}
