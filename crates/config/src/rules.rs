//! What the schema cannot say: keys that depend on each other, and texts that only look right.

use std::path::{Component, Path, PathBuf};

use crate::curation::RowAction;
use crate::error::{Origin, Problem};
use crate::layers::PATH_KEYS;
use crate::nearest::nearest;
use crate::node::Node;
use crate::sections::{AdapterConfig, Config, ModelConfig, ModelSize};
use crate::values::{AdapterMethod, ChatTemplate, ModelInit, Quantize, ROW_KEYS, TrainedType, begins_with_home};

/// What the name of a run may be made of, so that it is a folder on every system.
pub(crate) const RUN_NAME_PATTERN: &str = r"^[A-Za-z0-9_][A-Za-z0-9._ +-]*$";

/// Every broken rule. `tree` is what `config` was read from.
pub(crate) fn broken(config: &Config, tree: &Node) -> Vec<Problem> {
    let mut rules = Rules { tree, problems: Vec::new() };
    rules.required(config);
    rules.model(config);
    rules.random_model(config);
    rules.full(config);
    rules.finite(config);
    rules.paths(config);
    rules.names(config);
    rules.training(config);
    rules.validation(config);
    rules.curation(config);
    rules.problems
}

struct Rules<'a> {
    tree: &'a Node,
    problems: Vec<Problem>,
}

impl Rules<'_> {
    fn origin(&self, key: &str) -> Origin {
        self.tree.get(key).map_or(Origin::Default, |node| node.origin.clone())
    }

    fn invalid(&mut self, key: &str, got: String, allowed: &str, advice: &str) {
        let origin = self.origin(key);
        self.problems.push(Problem::InvalidValue {
            key: key.to_owned(),
            got,
            allowed: allowed.to_owned(),
            origin,
            advice: Some(advice.to_owned()),
        });
    }

    fn conflict(&mut self, key: &str, other: &str, reason: &str, advice: &str) {
        self.problems.push(Problem::Conflict {
            key: key.to_owned(),
            origin: self.origin(key),
            other: other.to_owned(),
            other_origin: self.origin(other),
            reason: reason.to_owned(),
            advice: advice.to_owned(),
        });
    }

    fn required(&mut self, config: &Config) {
        let missing =
            |key: &str, advice: &str| Problem::Missing { key: key.to_owned(), origin: None, advice: advice.to_owned() };
        if config.model.path.as_os_str().is_empty() && config.model.size.is_none() {
            self.problems.push(missing(
                "model.path",
                "give the folder of the base model: `model: {path: ...}` in the file or --set model.path=...",
            ));
        }
        if config.data.train.is_empty() {
            self.problems.push(missing(
                "data.train",
                "give the file with the training examples: `data: {train: ...}` in the file or --set data.train=...",
            ));
        }
    }

    fn model(&mut self, config: &Config) {
        let is_gguf = config.model.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
        if is_gguf && config.model.quantize != Quantize::None {
            self.conflict(
                "model.quantize",
                "model.path",
                "a GGUF file brings the types of its weights",
                "set model.quantize to none, or model.path to the folder that the file was made from",
            );
        }
    }

    /// `model.init: random` and what belongs to it.
    fn random_model(&mut self, config: &Config) {
        let model = &config.model;
        if model.init == ModelInit::Pretrained {
            if model.size.is_some() {
                self.conflict(
                    "model.size",
                    "model.init",
                    "a base model brings its size",
                    "set model.init to random to train a new model, or take model.size out",
                );
            }
            if model.init_std != ModelConfig::default().init_std {
                self.conflict(
                    "model.init_std",
                    "model.init",
                    "the weights of a base model are not drawn",
                    "set model.init to random to train a new model, or take model.init_std out",
                );
            }
            return;
        }
        if config.adapter.method != AdapterMethod::Full {
            self.conflict(
                "model.init",
                "adapter.method",
                "random weights know nothing that an adapter could build on",
                "set adapter.method to full",
            );
        }
        if model.size.is_some() && !model.path.as_os_str().is_empty() {
            self.conflict("model.size", "model.path", "both say how large the new model is", "take one of them out");
        }
        if model.size.is_some() && model.tokenizer.is_none() {
            let advice = "give the folder of a tokenizer; `ft tokenizer train` makes one";
            self.conflict("model.size", "model.tokenizer", "a new model needs a tokenizer", advice);
        }
        if let Some(size) = &model.size {
            self.size(size);
        }
    }

    fn size(&mut self, size: &ModelSize) {
        let ModelSize { hidden, heads, kv_heads, rope_theta, .. } = *size;
        if !hidden.is_multiple_of(2 * heads) {
            let got = format!("{hidden} with {heads} heads");
            self.invalid("model.size.hidden", got, "a multiple of twice the heads", "each head needs an even share");
        }
        let kv_heads = kv_heads.unwrap_or(heads);
        if kv_heads == 0 || !heads.is_multiple_of(kv_heads) {
            let got = format!("{kv_heads} with {heads} heads");
            self.invalid("model.size.kv_heads", got, "a divisor of the heads", "for example as many as heads");
        }
        if !rope_theta.is_finite() {
            self.invalid("model.size.rope_theta", rope_theta.to_string(), "a finite number", "10000 is usual");
        }
    }

    /// `adapter.method: full`: keys that say something about an adapter or a frozen base would be ignored in silence.
    fn full(&mut self, config: &Config) {
        let (model, adapter) = (&config.model, &config.adapter);
        if adapter.method != AdapterMethod::Full {
            if model.dtype != TrainedType::Auto {
                self.conflict(
                    "model.dtype",
                    "adapter.method",
                    "weights that stay as they are keep their type",
                    "take model.dtype out, or set adapter.method to full",
                );
            }
            return;
        }
        if model.quantize != Quantize::None {
            let advice = "set model.quantize to none, or adapter.method to lora";
            self.conflict("model.quantize", "adapter.method", "quantised weights cannot be trained", advice);
        }
        if model.path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf")) {
            let advice = "make a folder of it with `ft export hf`, or set adapter.method to lora";
            self.conflict("model.path", "adapter.method", "weights of a GGUF file cannot be trained", advice);
        }
        let full = AdapterConfig { method: AdapterMethod::Full, ..AdapterConfig::default() };
        let differs: [(&str, bool); 9] = [
            ("adapter.rank", adapter.rank != full.rank),
            ("adapter.alpha", adapter.alpha != full.alpha),
            ("adapter.dropout", adapter.dropout != full.dropout),
            ("adapter.target_modules", adapter.target_modules != full.target_modules),
            ("adapter.layers", adapter.layers != full.layers),
            ("adapter.rank_pattern", adapter.rank_pattern != full.rank_pattern),
            ("adapter.alpha_pattern", adapter.alpha_pattern != full.alpha_pattern),
            ("adapter.use_rslora", adapter.use_rslora != full.use_rslora),
            ("adapter.init_from", adapter.init_from != full.init_from),
        ];
        for (key, _) in differs.into_iter().filter(|(_, differs)| *differs) {
            let advice = format!("take {key} out, or set adapter.method to lora");
            self.conflict(key, "adapter.method", "with full there is no adapter", &advice);
        }
    }

    /// YAML cannot get here with such numbers; a configuration that was built by code can.
    fn finite(&mut self, config: &Config) {
        let Config { model, adapter, data, training, checkpoint, evaluation, clean, contamination, split, .. } = config;
        let stopping = evaluation.early_stopping.as_ref();
        let numbers = [
            ("model.init_std", Some(model.init_std)),
            ("adapter.alpha", Some(adapter.alpha)),
            ("adapter.dropout", Some(adapter.dropout)),
            ("data.validation_fraction", Some(data.validation_fraction)),
            ("training.learning_rate", Some(training.learning_rate)),
            ("training.warmup_ratio", training.warmup_ratio),
            ("training.min_learning_rate_ratio", Some(training.min_learning_rate_ratio)),
            ("training.weight_decay", Some(training.weight_decay)),
            ("training.adam_beta1", Some(training.adam_beta1)),
            ("training.adam_beta2", Some(training.adam_beta2)),
            ("training.adam_epsilon", Some(training.adam_epsilon)),
            ("training.max_grad_norm", training.max_grad_norm),
            ("training.label_smoothing", Some(training.label_smoothing)),
            ("checkpoint.every_minutes", checkpoint.every_minutes),
            ("evaluation.early_stopping.min_delta", stopping.map(|stopping| stopping.min_delta)),
            ("clean.min_confidence", Some(clean.min_confidence)),
            ("clean.min_quality", Some(clean.min_quality)),
            ("clean.keep_best", Some(clean.keep_best)),
            ("clean.duplicate_threshold", Some(clean.duplicate_threshold)),
            ("clean.semantic_threshold", Some(clean.semantic_threshold)),
            ("clean.max_source_loss", Some(clean.max_source_loss)),
            ("contamination.threshold", Some(contamination.threshold)),
            ("split.validation", Some(split.validation)),
            ("split.test", Some(split.test)),
            ("split.near_duplicate_threshold", Some(split.near_duplicate_threshold)),
        ];
        for (key, number) in numbers {
            if let Some(number) = number.filter(|number| !number.is_finite()) {
                self.invalid(key, number.to_string(), "a finite number", "give a finite number");
            }
        }
        if adapter.alpha_pattern.values().any(|alpha| !alpha.is_finite()) {
            self.invalid("adapter.alpha_pattern", "not finite".to_owned(), "finite numbers", "give finite numbers");
        }
    }

    fn curation(&mut self, config: &Config) {
        let Config { contamination, split, clean, data, .. } = config;
        if !data.weights.is_empty() && !data.train.is_empty() && data.weights.len() != data.train.len() {
            let reason = format!("there are {} weights for {} files", data.weights.len(), data.train.len());
            self.conflict("data.weights", "data.train", &reason, "give one weight for each file, or none at all");
        }
        if data.weights.iter().any(|weight| !weight.is_finite()) {
            self.invalid("data.weights", "not finite".to_owned(), "finite numbers", "give finite numbers");
        }
        for (ours, theirs) in &data.columns {
            if !ROW_KEYS.contains(&ours.as_str()) {
                let advice = match nearest(ours, ROW_KEYS) {
                    Some((known, score)) if score >= 0.7 => format!("did you mean {known}?"),
                    _ => format!("the keys are {}", ROW_KEYS.join(", ")),
                };
                self.invalid(
                    "data.columns",
                    format!("{ours:?}"),
                    "keys of a row, each with a column of the file",
                    &advice,
                );
            }
            let reads_it = |(_, other): &(&String, &String)| *other == theirs;
            if data.columns.iter().filter(reads_it).count() > 1 {
                let got = format!("{theirs:?} for several keys");
                self.invalid("data.columns", got, "a column for one key", "remove one of the two");
                break;
            }
        }
        if !contamination.names.is_empty() && contamination.folder.is_none() {
            self.conflict(
                "contamination.names",
                "contamination.folder",
                "names are looked up in a folder, and none is given",
                "set contamination.folder, or give the files themselves in contamination.against",
            );
        }
        if split.validation + split.test >= 1.0 {
            self.conflict(
                "split.validation",
                "split.test",
                "together they leave nothing to train on",
                "make their sum smaller than 1",
            );
        }
        if clean.duplicates != RowAction::Off && clean.duplicate_fields.is_empty() {
            self.invalid(
                "clean.duplicate_fields",
                "[]".into(),
                "at least one of question, row",
                "to leave duplicates alone, set clean.duplicates to off",
            );
        }
    }

    fn paths(&mut self, config: &Config) {
        for key in PATH_KEYS {
            for path in paths_of(config, key) {
                let got = format!("{:?}", path.display().to_string());
                if begins_with_home(&path) {
                    self.invalid(key, got, "a path without `~`", "`~` is not expanded in files: write the whole path");
                } else if path.as_os_str().is_empty() && key != "model.path" {
                    self.invalid(key, got, "a path", &format!("leave `{key}` out or give a path"));
                }
            }
        }
        if begins_with_home(&config.logging.dir) {
            let got = format!("{:?}", config.logging.dir.display().to_string());
            self.invalid(
                "logging.dir",
                got,
                "a path without `~`",
                "`~` is not expanded in files: write the whole path",
            );
        }
        for (i, path) in config.data.train.iter().enumerate() {
            if config.data.train[..i].iter().any(|earlier| plain(earlier) == plain(path)) {
                let got = format!("{:?} twice", path.display().to_string());
                self.invalid(
                    "data.train",
                    got,
                    "each file once",
                    "for more passes over the data raise `training.epochs`",
                );
            }
        }
        for path in &config.data.validation {
            if config.data.train.iter().any(|train| plain(train) == plain(path)) {
                let reason =
                    format!("both name {}, so validation would measure what was learnt by heart", path.display());
                self.conflict(
                    "data.validation",
                    "data.train",
                    &reason,
                    "keep other examples for validation, or give `data.validation_fraction` in place of `data.validation`",
                );
            }
        }
    }

    fn names(&mut self, config: &Config) {
        if let Some(name) = &config.logging.name {
            let starts_well = name.chars().next().is_some_and(|first| first.is_ascii_alphanumeric() || first == '_');
            let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || "._ +-".contains(c));
            // Windows drops dots and blanks at the end of a name.
            if !starts_well || !is_plain || name.ends_with(['.', ' ']) {
                self.invalid(
                    "logging.name",
                    format!("{name:?}"),
                    "letters, digits, `_`, `-`, `+`, `.` and blanks, with a letter, a digit or `_` first",
                    "give a folder in `logging.dir`; `logging.name` is the last part only",
                );
            }
        }
        if let Some(transcripts) = &config.data.transcripts
            && transcripts.assistant.trim().is_empty()
        {
            let got = format!("{:?}", transcripts.assistant);
            self.invalid(
                "data.transcripts.assistant",
                got,
                "the name of a speaker",
                "write it as the files have it, or set data.transcripts to null to read them as plain text",
            );
        }
        let patterns = [
            ("adapter.rank_pattern", config.adapter.rank_pattern.keys().any(String::is_empty)),
            ("adapter.alpha_pattern", config.adapter.alpha_pattern.keys().any(String::is_empty)),
        ];
        for (key, has_empty_name) in patterns {
            if has_empty_name {
                self.invalid(key, "\"\"".to_owned(), "names of modules", "write for instance {q_proj: 8}");
            }
        }
        for (i, prompt) in config.evaluation.sample_prompts.iter().enumerate() {
            if prompt.trim().is_empty() {
                let advice = format!("take item {} out of `evaluation.sample_prompts`", i + 1);
                self.invalid("evaluation.sample_prompts", format!("{prompt:?}"), "prompts with some text", &advice);
            }
        }
    }

    fn training(&mut self, config: &Config) {
        let training = &config.training;
        if training.warmup_steps.is_some() && training.warmup_ratio.is_some() {
            self.conflict(
                "training.warmup_steps",
                "training.warmup_ratio",
                "both say how long the learning rate rises",
                "take one of them out, or set it to null",
            );
        }
        if let (Some(warmup), Some(steps)) = (training.warmup_steps, training.steps)
            && warmup > steps
        {
            self.conflict(
                "training.warmup_steps",
                "training.steps",
                &format!("a warm-up of {warmup} steps never ends within {steps}"),
                "lower `training.warmup_steps`, or raise `training.steps`",
            );
        }
    }

    fn validation(&mut self, config: &Config) {
        let has_files = !config.data.validation.is_empty();
        let has_fraction = config.data.validation_fraction > 0.0;
        if has_files && has_fraction {
            self.conflict(
                "data.validation",
                "data.validation_fraction",
                "both say which examples validate",
                "take one of them out",
            );
        }
        if config.evaluation.early_stopping.is_none() {
            return;
        }
        if !has_files && !has_fraction {
            self.conflict(
                "evaluation.early_stopping",
                "data.validation",
                "there are no validation data to judge by",
                "give `data.validation` or `data.validation_fraction`, or set `evaluation.early_stopping` to null",
            );
        }
        if config.evaluation.every_steps.is_none() {
            self.conflict(
                "evaluation.early_stopping",
                "evaluation.every_steps",
                "with null the first evaluation is at the end",
                "give `evaluation.every_steps`, or set `evaluation.early_stopping` to null",
            );
        }
    }
}

/// The paths that one of [`PATH_KEYS`] holds.
pub(crate) fn paths_of(config: &Config, key: &str) -> Vec<PathBuf> {
    match key {
        "model.path" => vec![config.model.path.clone()],
        "model.tokenizer" => config.model.tokenizer.iter().cloned().collect(),
        "model.chat_template" => match &config.model.chat_template {
            Some(ChatTemplate::File(path)) => vec![path.clone()],
            _ => Vec::new(),
        },
        "adapter.init_from" => config.adapter.init_from.iter().cloned().collect(),
        "data.train" => config.data.train.clone(),
        "data.validation" => config.data.validation.clone(),
        "clean.semantic_model" => config.clean.semantic_model.iter().cloned().collect(),
        "contamination.against" => config.contamination.against.clone(),
        "contamination.folder" => config.contamination.folder.iter().cloned().collect(),
        other => unreachable!("`{other}` is not a path key"),
    }
}

/// A path without `.` and, where that is sure to mean the same, `..`: enough to see that two spellings name one file.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(plain.components().next_back(), Some(Component::Normal(_))) => {
                plain.pop();
            }
            other => plain.push(other),
        }
    }
    plain
}
