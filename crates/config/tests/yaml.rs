//! The corners of YAML that surprise.

mod common;

use attune_config::{Config, ConfigError};
use common::{MINIMAL, minimal, refused};

fn learning_rate(text: &str) -> f64 {
    Config::from_yaml_str(&minimal(&format!("training: {{learning_rate: {text}}}"))).expect(text).training.learning_rate
}

#[test]
fn numbers() {
    for (text, number) in [
        ("1e-4", 1e-4),
        ("1E-4", 1e-4),
        ("1.0e-4", 1e-4),
        ("2.5e-05", 2.5e-5),
        (".5", 0.5),
        ("1.", 1.0),
        ("1", 1.0),
        ("+1e-4", 1e-4),
    ] {
        assert_eq!(learning_rate(text), number, "{text}");
    }
}

#[test]
fn whole_numbers() {
    let batch_size = |text: &str| {
        Config::from_yaml_str(&minimal(&format!("training: {{batch_size: {text}}}")))
            .map(|config| config.training.batch_size)
    };
    assert_eq!(batch_size("12").unwrap(), 12);
    assert_eq!(batch_size("1_000").unwrap(), 1000);
    assert_eq!(batch_size("0x10").unwrap(), 16);
    assert_eq!(batch_size("0o10").unwrap(), 8);
    // YAML 1.1 reads 010 as eight, YAML 1.2 as ten. It is refused rather than guessed.
    assert!(batch_size("010").is_err());
    assert!(batch_size("1:30").is_err(), "sexagesimal");
    assert!(batch_size("8 examples").is_err());
}

#[test]
fn numbers_that_are_not_finite() {
    for text in [".nan", ".inf", "-.inf", ".NaN", "1e999", "nan", "inf", "Infinity"] {
        let error = refused(&minimal(&format!("training: {{learning_rate: {text}}}")));
        assert!(error.starts_with("line 3, column "), "{text}: {error}");
    }
    assert!(refused(&minimal("training: {learning_rate: .nan}")).contains("not a finite number"));
}

#[test]
fn words_that_yaml_1_1_takes_for_booleans() {
    for word in ["yes", "no", "on", "off", "y", "n", "NO", "Off"] {
        let config = Config::from_yaml_str(&minimal(&format!("logging: {{name: {word}}}"))).unwrap();
        assert_eq!(config.logging.name.as_deref(), Some(word));
        assert!(refused(&minimal(&format!("data: {{shuffle: {word}}}"))).contains("data"), "{word}");
    }
    assert!(Config::from_yaml_str(&minimal("adapter: {use_rslora: True}")).unwrap().adapter.use_rslora);
}

#[test]
fn dates_are_no_timestamps() {
    let config = Config::from_yaml_str("model: {path: b, template_date: 2024-07-26}\ndata: {train: t}\n").unwrap();
    assert_eq!(serde_json::to_value(&config).unwrap()["model"]["template_date"], "2024-07-26");
    // Written in quotes, since YAML 1.1 knows timestamps.
    assert_eq!(Config::from_yaml_str(&config.to_yaml().unwrap()).unwrap(), config);
}

#[test]
fn keys_given_twice() {
    for yaml in ["training: {epochs: 1, epochs: 2}", "model: {path: other}", "training:\n  seed: 1\n  'seed': 2"] {
        let error = refused(&minimal(yaml));
        assert!(error.contains("given twice"), "{yaml}: {error}");
        assert!(error.starts_with("line "), "{yaml}: {error}");
    }
}

#[test]
fn two_documents() {
    assert!(refused(&format!("{MINIMAL}---\n{MINIMAL}")).contains("document"));
    assert!(Config::from_yaml_str(&format!("---\n{MINIMAL}")).is_ok());
    assert!(Config::from_yaml_str(&format!("\u{feff}{MINIMAL}")).is_ok(), "byte order mark");
    assert!(Config::from_yaml_str(&MINIMAL.replace('\n', "\r\n")).is_ok(), "Windows line ends");
}

#[test]
fn aliases_are_expanded_within_a_budget() {
    let yaml = "model: {path: b}\ndata: {train: &files [t.jsonl], validation: [v.jsonl]}\nevaluation: {sample_prompts: *files}\n";
    assert_eq!(Config::from_yaml_str(yaml).unwrap().evaluation.sample_prompts, ["t.jsonl"]);

    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for i in 1..12 {
        let alias = format!("*a{}", i - 1);
        bomb.push_str(&format!("a{i}: &a{i} [{}]\n", vec![alias; 10].join(", ")));
    }
    let begun = std::time::Instant::now();
    let error = Config::from_yaml_str(&bomb).unwrap_err();
    assert!(matches!(error, ConfigError::Syntax { .. }), "{error}");
    assert!(error.to_string().contains("more than 20000 values"), "{error}");
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
}

#[test]
fn nesting_without_end() {
    for (open, close) in [("[", "]"), ("{a: ", "}")] {
        let deep = format!("model: {}{}", open.repeat(100_000), close.repeat(100_000));
        assert!(matches!(Config::from_yaml_str(&deep).unwrap_err(), ConfigError::Syntax { .. }));
    }
}

#[test]
fn tags_cannot_change_types() {
    assert!(Config::from_yaml_str(&minimal("training: {epochs: !!str 3}")).is_err());
    assert!(Config::from_yaml_str(&minimal("training: {epochs: !custom 3}")).is_err());
    assert!(Config::from_yaml_str(&minimal("training: !!python/object:os.system {epochs: 3}")).is_err());
}

#[test]
fn merge_keys_merge() {
    let yaml = minimal("training: {<<: {epochs: 3, seed: 1}, seed: 2}");
    let training = Config::from_yaml_str(&yaml).unwrap().training;
    assert_eq!((training.epochs, training.seed), (3, 2));
}

#[test]
fn tabs_and_broken_quotes_have_a_place() {
    for yaml in ["model:\n\tpath: b\n", "model: {path: 'b}\n", "model: [}\n", "a: b: c\n", "*lost\n"] {
        let error = refused(yaml);
        assert!(error.starts_with("line "), "{yaml:?}: {error}");
    }
}

#[test]
fn odd_keys_do_not_panic() {
    for yaml in
        ["? [a]\n: b\n", "? {a: b}\n: c\n", "~: 1\n", "'': 1\n", "'a.b': 1\n", "training: {'': 1}\n", "true: 1\n"]
    {
        assert!(Config::from_yaml_str(yaml).is_err(), "{yaml}");
    }
}
