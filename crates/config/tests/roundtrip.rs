//! A configuration that is written and read again is the same configuration.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::PathBuf;

use attune_config::{
    Activations, AdapterConfig, AdapterMethod, BackendChoice, BuiltinTemplate, ChatTemplate, CheckpointConfig,
    CleanConfig, CompletionStyle, Config, ContaminationConfig, DataConfig, DataFormat, Date, Display, EarlyStopping,
    EvaluationConfig, HardwareConfig, HiddenAction, Layers, Layout, LoggingConfig, MemorySize, MicroBatchTokens,
    ModelConfig, ModelInit, ModelSize, Overlong, PackWeights, Quantize, RowAction, Schedule, ScrubAction, SplitConfig,
    TargetModule, TargetModules, TemplateDate, TrainOn, TrainedType, TrainingConfig, TranscriptsConfig, Untrained,
};
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};

/// Paths that YAML could take for something else, and long ones that a writer might fold.
fn path() -> impl Strategy<Value = PathBuf> {
    prop_oneof![
        "[a-z/ .:#'\"{}\\[\\],&*!|>%@`\\\\-]{1,12}",
        "([a-z]{1,9}[ /]){5,30}x",
        select(vec![
            "null",
            "true",
            "no",
            "1e3",
            "0x1f",
            "2024-01-01",
            "- a",
            "? b",
            "---",
            "é",
            "日本/模型",
            " a ",
            "a\tb",
            "a\nb"
        ])
        .prop_map(str::to_owned),
    ]
    .prop_filter("`~` and nothing are refused", |text| !text.starts_with('~') && !text.is_empty())
    .prop_map(PathBuf::from)
}

fn model() -> impl Strategy<Value = ModelConfig> {
    let template = prop_oneof![
        select(BuiltinTemplate::ALL.to_vec()).prop_map(ChatTemplate::Builtin),
        path().prop_map(|path| ChatTemplate::File(PathBuf::from("dir").join(path))),
    ];
    let date = prop_oneof![
        Just(TemplateDate::Today),
        (1..=9999u16, 1..=12u8, 1..=28u8).prop_map(|(y, m, d)| TemplateDate::On(Date::new(y, m, d).unwrap())),
    ];
    let quantize = select(vec![Quantize::None, Quantize::Int8]);
    let path_of_folder = path().prop_filter("GGUF brings its types", |path| path.extension().is_none());
    (path_of_folder, option::of(path()), option::of(template), date, quantize).prop_map(
        |(path, tokenizer, chat_template, template_date, quantize)| ModelConfig {
            path,
            init: ModelInit::Pretrained,
            size: None,
            init_std: 0.02,
            dtype: TrainedType::Auto,
            quantize,
            tokenizer,
            chat_template,
            template_date,
        },
    )
}

fn adapter() -> impl Strategy<Value = AdapterConfig> {
    let targets = prop_oneof![
        Just(TargetModules::AllLinear),
        subsequence(TargetModule::ALL.to_vec(), 1..=7).prop_map(TargetModules::List),
    ];
    let layers = prop_oneof![
        Just(Layers::All),
        (1..=1_000_000usize).prop_map(Layers::First),
        (1..=1_000_000usize).prop_map(Layers::Last),
    ];
    let name = "[a-z.:#' 0-9]{1,20}";
    (
        1..=8192usize,
        1e-9..1e9f64,
        0.0..1.0f64,
        targets,
        layers,
        prop::collection::btree_map(name, 1..=8192usize, 0..3),
        prop::collection::btree_map(name, 1e-9..1e9f64, 0..3),
        any::<bool>(),
        option::of(path()),
    )
        .prop_map(
            |(rank, alpha, dropout, target_modules, layers, rank_pattern, alpha_pattern, use_rslora, init_from)| {
                AdapterConfig {
                    rank,
                    alpha,
                    dropout,
                    target_modules,
                    layers,
                    rank_pattern,
                    alpha_pattern: alpha_pattern.into_iter().collect::<BTreeMap<_, _>>(),
                    use_rslora,
                    init_from,
                    ..AdapterConfig::default()
                }
            },
        )
}

fn size() -> impl Strategy<Value = ModelSize> {
    let heads = (1..=8usize, 1..=8usize).prop_map(|(kv_heads, times)| (kv_heads, kv_heads * times));
    (
        heads,
        any::<bool>(),
        1..=1000usize,
        1..=100usize,
        1..=262_144usize,
        2..=16_777_216usize,
        1.5..1e9f64,
        any::<bool>(),
    )
        .prop_map(
            |((kv_heads, heads), says_kv, layers, twos, feed_forward, max_positions, rope_theta, tied_head)| {
                ModelSize {
                    layers,
                    hidden: 2 * heads * twos,
                    heads,
                    kv_heads: says_kv.then_some(kv_heads),
                    feed_forward,
                    max_positions,
                    rope_theta,
                    tied_head,
                }
            },
        )
}

/// What is trained, of which model: an adapter, all weights of a base, or a new model of a given shape or size.
fn model_and_adapter() -> impl Strategy<Value = (ModelConfig, AdapterConfig)> {
    let dtype = select(vec![TrainedType::Auto, TrainedType::F32, TrainedType::Bf16]);
    let whole = (model(), dtype, option::of((1e-6..=1.0f64, option::of((size(), path())))));
    let whole = whole.prop_map(|(base, dtype, random)| {
        let mut model = ModelConfig { dtype, quantize: Quantize::None, ..base };
        if let Some((init_std, sized)) = random {
            (model.init, model.init_std) = (ModelInit::Random, init_std);
            if let Some((size, tokenizer)) = sized {
                (model.path, model.size, model.tokenizer) = (PathBuf::new(), Some(size), Some(tokenizer));
            }
        }
        (model, AdapterConfig { method: AdapterMethod::Full, ..AdapterConfig::default() })
    });
    prop_oneof![(model(), adapter()), whole]
}

fn data() -> impl Strategy<Value = DataConfig> {
    (
        // Folders of their own, so that no file is named twice.
        prop::collection::vec(path(), 1..4),
        prop::collection::vec(path(), 0..4),
        0.0..1.0f64,
        select(vec![DataFormat::Auto, DataFormat::PromptCompletion, DataFormat::Sharegpt]),
        select(vec![CompletionStyle::Auto, CompletionStyle::Raw]),
        select(vec![TrainOn::Assistant, TrainOn::Last, TrainOn::All]),
        2..=16_777_216usize,
        select(vec![Overlong::Error, Overlong::Drop, Overlong::TruncateLeft, Overlong::TruncateRight]),
        select(vec![Untrained::Error, Untrained::Drop]),
        any::<bool>(),
    )
        .prop_map(
            |(
                train,
                validation,
                fraction,
                format,
                completion_style,
                train_on,
                max_seq_length,
                overlong,
                untrained,
                shuffle,
            )| {
                let apart = |kind: &str, paths: Vec<PathBuf>| -> Vec<PathBuf> {
                    let named = paths.iter().enumerate();
                    named
                        .map(|(i, path)| PathBuf::from(format!("{kind}/{} {i}", path.display()).replace("..", "dots")))
                        .collect()
                };
                let validation_fraction = if validation.is_empty() { fraction } else { 0.0 };
                DataConfig {
                    columns: [("prompt".to_owned(), "a column".to_owned())].into(),
                    transcripts: (max_seq_length % 3 > 0).then(|| TranscriptsConfig {
                        assistant: format!("Clerk: #{max_seq_length}"),
                        exchanges: (max_seq_length % 3 > 1).then_some(4),
                    }),
                    weights: (1..=train.len()).map(|place| place as f64 / 4.0).collect(),
                    train: apart("t", train),
                    validation: apart("v", validation),
                    validation_fraction,
                    format,
                    completion_style,
                    train_on,
                    max_seq_length,
                    overlong,
                    untrained,
                    shuffle,
                }
            },
        )
}

fn training() -> impl Strategy<Value = TrainingConfig> {
    let warmup = prop_oneof![
        (0..1000usize).prop_map(|steps| (Some(steps), None)),
        (0.0..=1.0f64).prop_map(|ratio| (None, Some(ratio))),
        Just((None, None)),
    ];
    (
        (1..1000usize, option::of(1000..1_000_000usize), 1..10_000usize, 1e-12..10.0f64),
        select(vec![Schedule::Constant, Schedule::Linear, Schedule::Cosine]),
        warmup,
        (0.0..=1.0f64, 0.0..10.0f64, 0.0..1.0f64, 0.0..1.0f64, 1e-300..1.0f64),
        (option::of(1e-9..1e9f64), 0.0..1.0f64, any::<u64>(), 1..100usize),
    )
        .prop_map(
            |((epochs, steps, batch_size, learning_rate), schedule, (warmup_steps, warmup_ratio), floats, rest)| {
                TrainingConfig {
                    epochs,
                    steps,
                    batch_size,
                    learning_rate,
                    schedule,
                    warmup_steps,
                    warmup_ratio,
                    min_learning_rate_ratio: floats.0,
                    weight_decay: floats.1,
                    adam_beta1: floats.2,
                    adam_beta2: floats.3,
                    adam_epsilon: floats.4,
                    max_grad_norm: rest.0,
                    label_smoothing: rest.1,
                    seed: rest.2,
                    max_bad_steps: rest.3,
                    ..TrainingConfig::default()
                }
            },
        )
}

fn evaluation() -> impl Strategy<Value = EvaluationConfig> {
    (option::of(1..1000usize), 0..1000usize, prop::collection::vec("\\PC{0,150}x", 0..3), 1..1000usize, any::<bool>())
        .prop_map(|(every_steps, samples, sample_prompts, sample_max_tokens, keep_best)| EvaluationConfig {
            every_steps,
            samples,
            sample_prompts,
            sample_max_tokens,
            keep_best,
            ..EvaluationConfig::default()
        })
}

fn hardware() -> impl Strategy<Value = HardwareConfig> {
    (
        select(vec![BackendChoice::Auto, BackendChoice::Cpu, BackendChoice::Reference]),
        option::of(1..64usize),
        option::of(1..9_000_000_000_000_000u64),
        option::of(option::of(1..10_000usize)),
        option::of(1..64usize),
        any::<bool>(),
        0..6usize,
        select(vec![PackWeights::Auto, PackWeights::Never, PackWeights::Always]),
    )
        .prop_map(|(backend, threads, budget, tokens, micro_batch_examples, padded, recompute, pack_weights)| {
            HardwareConfig {
                backend,
                threads,
                memory_budget: budget.map(MemorySize::new),
                micro_batch_tokens: match tokens {
                    None => MicroBatchTokens::Auto,
                    Some(None) => MicroBatchTokens::Unlimited,
                    Some(Some(tokens)) => MicroBatchTokens::Tokens(tokens),
                },
                micro_batch_examples,
                layout: if padded { Layout::Padded } else { Layout::Packed },
                activations: match recompute {
                    0 => Activations::Auto,
                    1 => Activations::Keep,
                    2 => Activations::Recompute,
                    layers => Activations::RecomputeLayers(layers),
                },
                pack_weights,
            }
        })
}

fn curation() -> impl Strategy<Value = (CleanConfig, ContaminationConfig, SplitConfig)> {
    let clean = (
        select(vec![HiddenAction::Off, HiddenAction::Strip, HiddenAction::Drop]),
        select(vec![ScrubAction::Off, ScrubAction::Mask, ScrubAction::Block]),
        select(vec![RowAction::Off, RowAction::Report, RowAction::Remove, RowAction::Block]),
        option::of(prop::collection::vec("[a-z-]{1,9}", 0..3)),
        (1e-9..=1.0f64, 0.0..=1.0f64),
        option::of(path()),
    )
        .prop_map(|(hidden_text, secrets, duplicates, pii_kinds, (threshold, confidence), semantic_model)| {
            CleanConfig {
                hidden_text,
                secrets,
                duplicates,
                pii_kinds,
                duplicate_threshold: threshold,
                min_confidence: confidence,
                semantic_model,
                ..CleanConfig::default()
            }
        });
    let contamination = (prop::collection::vec(path(), 0..3), path(), option::of("\\PC{1,40}x")).prop_map(
        |(against, folder, allow)| ContaminationConfig {
            against,
            names: vec!["gsm8k".into()],
            folder: Some(folder),
            allow,
            ..ContaminationConfig::default()
        },
    );
    let split = (0.0..0.5f64, 0.0..0.5f64, any::<u64>(), any::<bool>()).prop_map(
        |(validation, test, seed, near_duplicates)| SplitConfig {
            validation,
            test,
            seed,
            near_duplicates,
            ..SplitConfig::default()
        },
    );
    (clean, contamination, split)
}

fn config() -> impl Strategy<Value = Config> {
    let checkpoint = (option::of(1..100usize), option::of(1e-3..525_600.0f64), 1..100usize)
        .prop_map(|(every_steps, every_minutes, keep)| CheckpointConfig { every_steps, every_minutes, keep });
    let logging = (path(), option::of("[A-Za-z0-9_][A-Za-z0-9._ +-]{0,9}x"), 1..100usize)
        .prop_map(|(dir, name, every_steps)| LoggingConfig { dir, name, every_steps, display: Display::Plain });
    (model_and_adapter(), data(), training(), checkpoint, evaluation(), hardware(), logging, curation()).prop_map(
        |((model, adapter), data, training, checkpoint, mut evaluation, hardware, logging, curation)| {
            if evaluation.every_steps.is_some() && (data.validation_fraction > 0.0 || !data.validation.is_empty()) {
                evaluation.early_stopping = Some(EarlyStopping { patience: evaluation.samples + 1, min_delta: 0.5 });
            }
            let (clean, contamination, split) = curation;
            Config {
                model,
                adapter,
                data,
                training,
                checkpoint,
                evaluation,
                hardware,
                logging,
                clean,
                contamination,
                split,
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn written_and_read_again(config in config()) {
        config.validate().unwrap();
        let yaml = config.to_yaml().unwrap();
        let again = Config::from_yaml_str(&yaml).map_err(|error| TestCaseError::fail(format!("{error}\n{yaml}")))?;
        prop_assert_eq!(&again, &config, "{}", yaml);
        prop_assert_eq!(again.to_yaml().unwrap(), yaml);
    }

    #[test]
    fn no_text_panics(text in "[a-z{}\\[\\]:,\\-&*!|>'\"#%@` \n~0-9.?<]{0,200}") {
        let _ = Config::from_yaml_str(&text);
    }

    #[test]
    fn no_value_panics(key in select(vec!["model", "adapter.layers", "adapter.rank_pattern", "data.train", "evaluation.early_stopping", "extends"]),
                       text in "[a-z{}\\[\\]:,'\"0-9. ]{0,40}") {
        let yaml = match key.split_once('.') {
            Some((section, key)) => format!("{section}: {{{key}: {text}}}\n"),
            None => format!("{key}: {text}\n"),
        };
        let _ = Config::from_yaml_str(&yaml);
    }
}

#[test]
fn keys_keep_the_order_of_the_documentation() {
    let yaml = Config::default().to_yaml().unwrap();
    let sections: Vec<_> = yaml.lines().filter(|line| !line.starts_with(' ')).collect();
    assert_eq!(
        sections,
        [
            "model:",
            "adapter:",
            "data:",
            "training:",
            "checkpoint:",
            "evaluation:",
            "hardware:",
            "logging:",
            "clean:",
            "contamination:",
            "split:"
        ]
    );
    assert_eq!(yaml.lines().nth(1), Some("  path: \"\""));
}

#[test]
fn defaults_are_as_documented() {
    let written = Config::default().to_yaml().unwrap();
    let documented = include_str!("defaults.yaml");
    assert_eq!(written, documented);
}
