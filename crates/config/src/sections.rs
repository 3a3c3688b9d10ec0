//! The sections of `ft.yaml` as types. Doc comments of fields are what users read: they become the descriptions
//! of the JSON Schema and the comments of `ft init`, so they speak of keys and files, not of Rust.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::curation::{CleanConfig, ContaminationConfig, SplitConfig};
use crate::hardware::{Activations, MemorySize, MicroBatchTokens, PackWeights};
use crate::values::{
    AdapterMethod, BackendChoice, ChatTemplate, CompletionStyle, DataFormat, Display, Layers, Layout, ModelInit,
    Objective, OneOrMany, Overlong, Quantize, Schedule, TargetModules, TemplateDate, TrainOn, TrainedType, Untrained,
    one_or_many,
};

/// One fine-tuning run, fully resolved: what `ft.yaml`, its parents, the environment and `--set` came to.
///
/// `Config::default()` holds the default of every key; it is not runnable until `model.path` and `data.train` are
/// given, and [`Config::validate`](crate::Config::validate) says so.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(title = "ft.yaml", description = "Configuration of one Attune fine-tuning run.")]
pub struct Config {
    /// The base model that is fine-tuned, or the shape of a new one.
    pub model: ModelConfig,
    /// What is trained: a LoRA adapter beside weights that stay as they are, or all weights.
    pub adapter: AdapterConfig,
    /// The examples, and what in them is trained.
    pub data: DataConfig,
    /// The optimisation.
    pub training: TrainingConfig,
    /// When the state of the run is saved.
    pub checkpoint: CheckpointConfig,
    /// What is measured along the way.
    pub evaluation: EvaluationConfig,
    /// How the work is laid out on this machine. Nothing here changes the result beyond rounding.
    pub hardware: HardwareConfig,
    /// Where the run is recorded and what is shown.
    pub logging: LoggingConfig,
    /// What `ft data clean` does with rows.
    pub clean: CleanConfig,
    /// Evaluation data that must not be in the training data.
    pub contamination: ContaminationConfig,
    /// How `ft data split` parts rows.
    pub split: SplitConfig,
}

/// Section `model`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "The base model that is fine-tuned, or the shape of a new one.")]
pub struct ModelConfig {
    /// Required (but with `size`). The base model: a folder in Hugging Face layout (config.json, safetensors and a tokenizer)
    /// or a .gguf file. With `init: random` config.json and the tokenizer are enough.
    #[schemars(extend("title" = "a path"))]
    pub path: PathBuf,
    /// Where the weights come from.
    pub init: ModelInit,
    /// With `init: random` and in place of `path`: the size of a new model of the llama family, whose vocabulary is that of
    /// the folder `tokenizer`.
    pub size: Option<ModelSize>,
    /// Standard deviation of the weights that `init: random` draws.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub init_std: f64,
    /// The type of the weights with `adapter.method: full`, in training and in the model that comes out. An adapter is
    /// always trained in f32 beside a base as it is stored.
    pub dtype: TrainedType,
    /// Quantise the base when it is loaded: the linear layers to this type, embedding and head to 8 bits; norms and biases
    /// stay as they are. Done once: the result is kept in the folder for caches (FT_CACHE, else attune in the user's own).
    /// A base in GGUF brings its types.
    pub quantize: Quantize,
    /// Another tokenizer: a tokenizer.json or a folder that holds one. null takes the model's own.
    #[schemars(extend("title" = "a path"))]
    pub tokenizer: Option<PathBuf>,
    /// Another chat template: a file in Jinja, or a built-in one by name. null takes the model's own.
    #[schemars(schema_with = "crate::values::chat_template_schema")]
    pub chat_template: Option<ChatTemplate>,
    /// The date that templates see which write today's date into the prompt. The record of a run holds the date that
    /// was used, so that a resumed run sees the same.
    #[schemars(schema_with = "crate::values::template_date_schema")]
    pub template_date: TemplateDate,
}

impl Default for ModelConfig {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            init: ModelInit::Pretrained,
            size: None,
            init_std: 0.02,
            dtype: TrainedType::Auto,
            quantize: Quantize::None,
            tokenizer: None,
            chat_template: None,
            template_date: TemplateDate::default(),
        }
    }
}

/// Key `model.size`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct ModelSize {
    /// Decoder layers.
    #[schemars(range(min = 1, max = 1000))]
    pub layers: usize,
    /// Channels; a multiple of twice the heads.
    #[schemars(range(min = 2, max = 65536))]
    pub hidden: usize,
    /// Query heads.
    #[schemars(range(min = 1, max = 1024))]
    pub heads: usize,
    /// Key/value heads, which divide the query heads; as many as these when left out.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1024))]
    pub kv_heads: Option<usize>,
    /// Channels of the feed-forward block.
    #[schemars(range(min = 1, max = 262144))]
    pub feed_forward: usize,
    /// Longest sequence that the model is made for.
    #[serde(default = "ModelSize::default_positions")]
    #[schemars(range(min = 2, max = 16777216))]
    pub max_positions: usize,
    /// Base of the rotary frequencies.
    #[serde(default = "ModelSize::default_theta")]
    #[schemars(extend("exclusiveMinimum" = 1))]
    pub rope_theta: f64,
    /// Use the embedding as the output projection, which saves weights in small models.
    #[serde(default = "ModelSize::default_tied")]
    pub tied_head: bool,
}

impl ModelSize {
    const fn default_positions() -> usize {
        2048
    }

    const fn default_theta() -> f64 {
        10_000.0
    }

    const fn default_tied() -> bool {
        true
    }
}

/// Section `adapter`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "What is trained: a LoRA adapter beside weights that stay as they are, or all weights.")]
pub struct AdapterConfig {
    /// What is trained.
    pub method: AdapterMethod,
    /// Rank of the two low-rank matrices of a module: more rank, more capacity, more memory.
    #[schemars(range(min = 1, max = 8192))]
    pub rank: usize,
    /// The adapter's output is scaled by alpha / rank.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub alpha: f64,
    /// Probability with which an input element of the adapter is dropped in training.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub dropout: f64,
    /// The linear layers that get an adapter.
    pub target_modules: TargetModules,
    /// The decoder layers that get adapters: all of them, the first N or the last N.
    pub layers: Layers,
    /// Rank of single modules, by (the end of) their name, in place of `rank`. As in PEFT.
    #[schemars(schema_with = "crate::values::rank_pattern_schema")]
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alpha of single modules, by (the end of) their name, in place of `alpha`. As in PEFT.
    #[schemars(schema_with = "crate::values::alpha_pattern_schema")]
    pub alpha_pattern: BTreeMap<String, f64>,
    /// Scale by alpha / sqrt(rank) (rsLoRA) rather than alpha / rank.
    pub use_rslora: bool,
    /// Start from the adapter in this PEFT folder rather than from a fresh one.
    #[schemars(extend("title" = "a path"))]
    pub init_from: Option<PathBuf>,
}

impl Default for AdapterConfig {
    fn default() -> Self {
        Self {
            method: AdapterMethod::Lora,
            rank: 16,
            alpha: 32.0,
            dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            layers: Layers::All,
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            use_rslora: false,
            init_from: None,
        }
    }
}

/// Section `data`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "The examples, and what in them is trained.")]
pub struct DataConfig {
    /// Required. File or list of files to train on: JSONL, JSON, CSV, TSV, Parquet, HTML, Markdown, text or captions, packed
    /// with gzip or Zstandard or not.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub train: Vec<PathBuf>,
    /// How often an epoch visits the examples of each file of `train`, in the same order: 2 visits each twice, 0.5 half
    /// of them, the other half in the next epoch. Empty visits every example once.
    #[schemars(schema_with = "crate::values::weights_schema")]
    pub weights: Vec<f64>,
    /// File or list of files to validate on. Not together with `validation_fraction`.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub validation: Vec<PathBuf>,
    /// Share of the training examples that is held out for validation. Not together with `validation`.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub validation_fraction: f64,
    /// The form of the rows. auto reads all rows and finds out.
    pub format: DataFormat,
    /// Columns of the files that have other names, by the key that is meant: {prompt: question_text, completion: reply}.
    #[schemars(schema_with = "crate::values::columns_schema")]
    pub columns: BTreeMap<String, String>,
    /// Who the assistant is in captions that name their speakers (.vtt, .srt, .sbv): {assistant: Clerk}. Each file becomes
    /// rows of messages, one for what one person and the assistant say to each other. null reads it as one plain text.
    pub transcripts: Option<TranscriptsConfig>,
    /// How prompt/completion rows of plain text are presented to the model.
    pub completion_style: CompletionStyle,
    /// The part of an example that the loss is taken over.
    pub train_on: TrainOn,
    /// The most tokens an example may have.
    #[schemars(range(min = 2, max = 16777216))]
    pub max_seq_length: usize,
    /// What happens to an example with more tokens than `max_seq_length`.
    pub overlong: Overlong,
    /// What happens to an example in which no token would be trained.
    pub untrained: Untrained,
    /// Shuffle the examples anew in each epoch. false keeps the order of the files.
    pub shuffle: bool,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            weights: Vec::new(),
            validation: Vec::new(),
            validation_fraction: 0.0,
            format: DataFormat::Auto,
            columns: BTreeMap::new(),
            transcripts: None,
            completion_style: CompletionStyle::Auto,
            train_on: TrainOn::Assistant,
            max_seq_length: 2048,
            overlong: Overlong::Error,
            untrained: Untrained::Error,
            shuffle: true,
        }
    }
}

/// Key `data.transcripts`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct TranscriptsConfig {
    /// Name of the speaker who is the assistant, as the files have it. All others are users.
    #[schemars(length(min = 1))]
    pub assistant: String,
    /// The most answers in one row; what the same person asks next begins another row. null sets no limit.
    #[serde(default)]
    #[schemars(range(min = 1, max = 1000000))]
    pub exchanges: Option<usize>,
}

/// Section `training`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "The optimisation.")]
pub struct TrainingConfig {
    /// What is learnt from the examples.
    pub objective: Objective,
    /// Number of passes over the training examples. `steps` overrides it.
    #[schemars(range(min = 1, max = 1000000))]
    pub epochs: usize,
    /// Number of optimizer steps. null takes as many as `epochs` needs.
    #[schemars(range(min = 1, max = 1000000000))]
    pub steps: Option<usize>,
    /// Examples per optimizer step. This is the mathematical batch: how it is cut into pieces that fit into memory is
    /// the business of `hardware` and does not change the result.
    #[schemars(range(min = 1, max = 1048576))]
    pub batch_size: usize,
    /// The highest learning rate, reached after the warm-up.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub learning_rate: f64,
    /// How the learning rate falls after the warm-up.
    pub schedule: Schedule,
    /// Number of steps over which the learning rate rises to its highest. Not together with `warmup_ratio`.
    #[schemars(range(min = 0, max = 1000000000))]
    pub warmup_steps: Option<usize>,
    /// Share of all steps over which the learning rate rises to its highest. Not together with `warmup_steps`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub warmup_ratio: Option<f64>,
    /// Where linear and cosine end, as a share of `learning_rate`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_learning_rate_ratio: f64,
    /// Decoupled weight decay of AdamW. With `adapter.method: full` it spares norms and biases.
    #[schemars(range(min = 0.0))]
    pub weight_decay: f64,
    /// Decay of AdamW's mean of the gradients.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub adam_beta1: f64,
    /// Decay of AdamW's mean of the squared gradients.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub adam_beta2: f64,
    /// Added to AdamW's denominator.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub adam_epsilon: f64,
    /// Gradients are scaled down to this global norm when theirs is larger. null does not clip.
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub max_grad_norm: Option<f64>,
    /// Share of the target's probability that is spread over the whole vocabulary.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub label_smoothing: f64,
    /// Seed of everything that is random: adapter, weights of `model.init: random`, order, dropout, samples.
    pub seed: u64,
    /// A step with a non-finite loss or gradient is skipped; after this many in a row the run stops.
    #[schemars(range(min = 1, max = 1000000))]
    pub max_bad_steps: usize,
}

impl Default for TrainingConfig {
    fn default() -> Self {
        Self {
            objective: Objective::Sft,
            epochs: 1,
            steps: None,
            batch_size: 8,
            learning_rate: 2e-4,
            schedule: Schedule::Cosine,
            warmup_steps: None,
            warmup_ratio: Some(0.03),
            min_learning_rate_ratio: 0.0,
            weight_decay: 0.0,
            adam_beta1: 0.9,
            adam_beta2: 0.999,
            adam_epsilon: 1e-8,
            max_grad_norm: Some(1.0),
            label_smoothing: 0.0,
            seed: 42,
            max_bad_steps: 3,
        }
    }
}

/// Section `checkpoint`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "When the state of the run is saved.")]
pub struct CheckpointConfig {
    /// Save every so many steps. null does not save by steps.
    #[schemars(range(min = 1, max = 1000000000))]
    pub every_steps: Option<usize>,
    /// Save every so many minutes. null does not save by time.
    #[schemars(range(max = 525600.0), extend("exclusiveMinimum" = 0))]
    pub every_minutes: Option<f64>,
    /// Number of newest checkpoints that are kept. The best one is kept besides.
    #[schemars(range(min = 1, max = 1000000))]
    pub keep: usize,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        Self { every_steps: Some(100), every_minutes: Some(30.0), keep: 3 }
    }
}

/// Section `evaluation`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "What is measured along the way.")]
pub struct EvaluationConfig {
    /// Validate every so many steps. null validates only at the end.
    #[schemars(range(min = 1, max = 1000000000))]
    pub every_steps: Option<usize>,
    /// Number of validation examples whose answers are generated and shown beside each evaluation.
    #[schemars(range(min = 0, max = 1000))]
    pub samples: usize,
    /// Prompts of your own whose answers are generated as well.
    pub sample_prompts: Vec<String>,
    /// The most tokens of a generated sample.
    #[schemars(range(min = 1, max = 1048576))]
    pub sample_max_tokens: usize,
    /// Stop when the validation loss no longer falls: {patience: N, min_delta: D}. null never stops early. Needs
    /// validation data.
    pub early_stopping: Option<EarlyStopping>,
    /// End with the adapter (or the weights) of the lowest validation loss rather than the last one.
    pub keep_best: bool,
}

impl Default for EvaluationConfig {
    fn default() -> Self {
        Self {
            every_steps: Some(100),
            samples: 2,
            sample_prompts: Vec::new(),
            sample_max_tokens: 64,
            early_stopping: None,
            keep_best: true,
        }
    }
}

/// Key `evaluation.early_stopping`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(inline)]
pub struct EarlyStopping {
    /// Number of evaluations without improvement after which the run stops.
    #[schemars(range(min = 1, max = 1000000))]
    pub patience: usize,
    /// How much lower the validation loss must be to count as an improvement.
    #[serde(default)]
    #[schemars(range(min = 0.0))]
    pub min_delta: f64,
}

/// Section `hardware`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "How the work is laid out on this machine. Nothing here changes the result beyond rounding.")]
pub struct HardwareConfig {
    /// What computes.
    pub backend: BackendChoice,
    /// Number of threads. null takes all cores.
    #[schemars(range(min = 1, max = 4096))]
    pub threads: Option<usize>,
    /// The most memory that training may take, frozen weights included. A run that cannot fit is refused before
    /// anything is loaded. null takes nine tenths of what is available when the run starts, and leaves at least 256 MiB.
    #[schemars(schema_with = "crate::hardware::memory_size_schema")]
    pub memory_budget: Option<MemorySize>,
    /// The most tokens that are in memory at once: a micro-batch. An example longer than this is computed alone. auto
    /// takes up to 4096, as `memory_budget` allows. null sets no limit.
    pub micro_batch_tokens: MicroBatchTokens,
    /// The most examples that are in memory at once. null sets no limit.
    #[schemars(range(min = 1, max = 1048576))]
    pub micro_batch_examples: Option<usize>,
    /// How the examples of a micro-batch lie in memory.
    pub layout: Layout,
    /// What the forward pass leaves for the backward pass.
    pub activations: Activations,
    /// Whether frozen weights are kept a second time, in the order in which products read them: up to twice the memory of
    /// the weights more, up to a tenth less time where micro-batches have a few hundred tokens, the same result to the bit.
    pub pack_weights: PackWeights,
}

impl Default for HardwareConfig {
    fn default() -> Self {
        Self {
            backend: BackendChoice::Auto,
            threads: None,
            memory_budget: None,
            micro_batch_tokens: MicroBatchTokens::Auto,
            micro_batch_examples: None,
            layout: Layout::Packed,
            activations: Activations::Auto,
            pack_weights: PackWeights::Auto,
        }
    }
}

/// Section `logging`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "Where the run is recorded and what is shown.")]
pub struct LoggingConfig {
    /// Folder under which each run gets a folder of its own. Relative to the current folder, not to this file.
    #[schemars(length(min = 1), extend("title" = "a path"))]
    pub dir: PathBuf,
    /// Name of the run's folder. null makes one from the time.
    #[schemars(length(min = 1), extend("pattern" = crate::rules::RUN_NAME_PATTERN))]
    pub name: Option<String>,
    /// Show metrics every so many steps; metrics.jsonl has every step.
    #[schemars(range(min = 1, max = 1000000000))]
    pub every_steps: usize,
    /// What is shown while the run goes on.
    pub display: Display,
}

impl Default for LoggingConfig {
    fn default() -> Self {
        Self { dir: PathBuf::from("runs"), name: None, every_steps: 1, display: Display::Auto }
    }
}
