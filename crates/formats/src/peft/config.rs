//! `adapter_config.json`.

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use super::PeftError;
use super::pattern::{can_overlap, compile, key_matches, matches_fully, pattern_value};
use crate::files::read_limited;

/// Adapters of EVA have two patterns per module, some 100 bytes each.
const MAX_CONFIG_BYTES: u64 = 16 << 20;

/// Each pair of unsorted patterns is compared.
const MAX_UNSORTED_PATTERNS: usize = 2000;

/// Keys that change what an adapter computes, or which modules it touches, in ways that Attune does not have. Each must
/// have a value that switches it off: absent, null, false, or empty.
const MUST_BE_OFF: [&str; 16] = [
    "alora_invocation_tokens",
    "arrow_config",
    "ensure_weight_tying",
    "exclude_modules",
    "fan_in_fan_out",
    "kasa_config",
    "layer_replication",
    "lora_bias",
    "megatron_config",
    "modules_to_save",
    "monteclora_config",
    "target_modules_to_tie",
    "target_parameters",
    "trainable_token_indices",
    "use_bdlora",
    "use_qalora",
];

/// Keys that say how an adapter was made or is run, but do not change what a trained one computes.
const WITHOUT_EFFECT: [&str; 12] = [
    "auto_mapping",
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_ga_config",
    "megatron_core",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
    "velora_config",
];

/// Initialisations that change the frozen weights, so that the adapter does not fit the model as downloaded.
const INITIALISATIONS_THAT_CHANGE_THE_BASE: [&str; 5] = ["pissa", "corda", "olora", "loftq", "lora_ga"];

/// Which modules carry an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TargetModules {
    /// `"all-linear"`: every linear but the head.
    AllLinear,
    /// Modules with one of these names, or whose name ends in a dot and one of these.
    Names(Vec<String>),
    /// Modules whose whole name this regular expression matches.
    Pattern(String),
}

/// The configuration of a LoRA adapter with PEFT's keys and PEFT's defaults.
#[derive(Debug, Clone, PartialEq)]
pub struct AdapterConfig {
    /// The model that the adapter was trained on: a path or a name.
    pub base_model_name_or_path: Option<String>,
    /// The base model's revision.
    pub revision: Option<String>,
    /// `CAUSAL_LM` for language models.
    pub task_type: Option<String>,
    /// r.
    pub r: usize,
    /// The side path is scaled by alpha / r.
    pub lora_alpha: f32,
    /// Dropout on the input of A while training.
    pub lora_dropout: f32,
    /// Which modules.
    pub target_modules: TargetModules,
    /// Which layers, by index from 0; `None` is all.
    pub layers_to_transform: Option<Vec<usize>>,
    /// Names of the module lists in which those layers are counted (regular expressions); empty is any.
    pub layers_pattern: Vec<String>,
    /// r of single modules, see [`pattern_value`].
    pub rank_pattern: BTreeMap<String, usize>,
    /// Alpha of single modules, see [`pattern_value`].
    pub alpha_pattern: BTreeMap<String, f32>,
    /// Scale by alpha / sqrt(r) instead.
    pub use_rslora: bool,
    /// DoRA: every module has magnitudes.
    pub use_dora: bool,
    /// What would change the result and is not supported, each as key and value; filled by [`AdapterConfig::read`]. An
    /// adapter may only be used, and written, when this is empty.
    pub unsupported: Vec<String>,
    /// Keys, not switched off, that neither PEFT 0.21 nor Attune knows; dropped by [`AdapterConfig::read`].
    pub ignored: Vec<String>,
}

impl Default for AdapterConfig {
    /// PEFT's defaults, with `all-linear` as target.
    fn default() -> Self {
        Self {
            base_model_name_or_path: None,
            revision: None,
            task_type: Some("CAUSAL_LM".into()),
            r: 8,
            lora_alpha: 8.0,
            lora_dropout: 0.0,
            target_modules: TargetModules::AllLinear,
            layers_to_transform: None,
            layers_pattern: Vec::new(),
            rank_pattern: BTreeMap::new(),
            alpha_pattern: BTreeMap::new(),
            use_rslora: false,
            use_dora: false,
            unsupported: Vec::new(),
            ignored: Vec::new(),
        }
    }
}

impl AdapterConfig {
    /// Reads `adapter_config.json`. Keys that PEFT does not know are dropped, as PEFT does, and listed in
    /// `ignored`; what Attune cannot compute is listed in `unsupported`.
    ///
    /// # Errors
    /// When the file is missing or not a JSON object, `peft_type` is not LORA, or a key has a value that makes no sense.
    pub fn read(path: &Path) -> Result<Self, PeftError> {
        let bytes = read_limited(path, MAX_CONFIG_BYTES)?;
        let keys: Map<String, Value> =
            serde_json::from_slice(&bytes).map_err(|source| PeftError::Syntax { path: path.to_path_buf(), source })?;
        Keys { path, keys }.into_config()
    }

    /// r of a module, for example `model.layers.0.self_attn.q_proj`.
    ///
    /// # Errors
    /// [`PeftError::Pattern`] as [`pattern_value`].
    pub fn rank_of(&self, module: &str) -> Result<usize, PeftError> {
        Ok(pattern_value(&self.rank_pattern, module)?.map_or(self.r, |(_, &rank)| rank))
    }

    /// Alpha of a module.
    ///
    /// # Errors
    /// [`PeftError::Pattern`] as [`pattern_value`].
    pub fn alpha_of(&self, module: &str) -> Result<f32, PeftError> {
        Ok(pattern_value(&self.alpha_pattern, module)?.map_or(self.lora_alpha, |(_, &alpha)| alpha))
    }

    /// The factor of a module's side path: alpha / r, or alpha / sqrt(r) with rsLoRA.
    ///
    /// # Errors
    /// [`PeftError::Pattern`] as [`pattern_value`].
    pub fn scale_of(&self, module: &str) -> Result<f32, PeftError> {
        let rank = self.rank_of(module)? as f32;
        Ok(self.alpha_of(module)? / if self.use_rslora { rank.sqrt() } else { rank })
    }

    /// Whether a linear carries an adapter.
    ///
    /// # Errors
    /// [`PeftError::Pattern`] when a pattern is not a regular expression that Rust's `regex` knows.
    ///
    /// # Source
    /// `check_target_module_exists` of PEFT.
    pub fn targets(&self, module: &str) -> Result<bool, PeftError> {
        let names = match &self.target_modules {
            TargetModules::AllLinear => return Ok(module != "lm_head"),
            // PEFT looks at the layer only where modules are listed by name.
            TargetModules::Pattern(pattern) => return matches_fully(pattern, module),
            TargetModules::Names(names) => names,
        };
        let named =
            |name: &String| module.strip_suffix(name.as_str()).is_some_and(|s| s.is_empty() || s.ends_with('.'));
        if !names.iter().any(named) {
            return Ok(false);
        }
        match &self.layers_to_transform {
            Some(layers) if !layers.is_empty() => {
                Ok(self.layer_of(module)?.is_some_and(|layer| layers.contains(&layer)))
            }
            _ => Ok(true),
        }
    }

    /// The layer in which a module lies.
    fn layer_of(&self, module: &str) -> Result<Option<usize>, PeftError> {
        const ANY_LIST: &str = r"^.*?\.[^.]*\.(?P<index>\d+)\.";
        let expressions = if self.layers_pattern.is_empty() {
            vec![(ANY_LIST, ANY_LIST.to_string())]
        } else {
            let expression = |list: &String| format!(r"^(?:|.*?\.){list}\.(?P<index>\d+)\.");
            self.layers_pattern.iter().map(|list| (list.as_str(), expression(list))).collect()
        };
        for (shown, expression) in expressions {
            if let Some(found) = compile(shown, &expression)?.captures(module) {
                return Ok(found.name("index").and_then(|index| index.as_str().parse().ok()));
            }
        }
        Ok(None)
    }

    /// The text of `adapter_config.json`: the keys that every PEFT since 0.9 and the tools that read its files know,
    /// sorted and indented as PEFT writes them.
    ///
    /// # Panics
    /// If the configuration was read from a file and has `unsupported` parts: they would be lost.
    pub fn to_json(&self) -> String {
        assert!(self.unsupported.is_empty(), "cannot write an adapter that uses {:?}", self.unsupported);
        let target_modules = match &self.target_modules {
            TargetModules::AllLinear => Value::from("all-linear"),
            TargetModules::Pattern(pattern) => Value::from(pattern.as_str()),
            TargetModules::Names(names) => Value::from(names.clone()),
        };
        let written = Written {
            alpha_pattern: self.alpha_pattern.iter().map(|(key, &alpha)| (key.as_str(), Number(alpha))).collect(),
            auto_mapping: (),
            base_model_name_or_path: self.base_model_name_or_path.as_deref(),
            bias: "none",
            fan_in_fan_out: false,
            inference_mode: true,
            init_lora_weights: true,
            layers_pattern: Some(&self.layers_pattern).filter(|names| !names.is_empty()),
            layers_to_transform: self.layers_to_transform.as_ref(),
            lora_alpha: Number(self.lora_alpha),
            lora_dropout: self.lora_dropout,
            modules_to_save: (),
            peft_type: "LORA",
            r: self.r,
            rank_pattern: &self.rank_pattern,
            revision: self.revision.as_deref(),
            target_modules,
            task_type: self.task_type.as_deref(),
            use_dora: self.use_dora,
            use_rslora: self.use_rslora,
        };
        let Ok(text) = serde_json::to_string_pretty(&written) else { unreachable!("strings and numbers become JSON") };
        text + "\n"
    }
}

/// The fields stand in the order in which they are written.
#[derive(Serialize)]
struct Written<'a> {
    alpha_pattern: BTreeMap<&'a str, Number>,
    auto_mapping: (),
    base_model_name_or_path: Option<&'a str>,
    bias: &'static str,
    fan_in_fan_out: bool,
    inference_mode: bool,
    init_lora_weights: bool,
    layers_pattern: Option<&'a Vec<String>>,
    layers_to_transform: Option<&'a Vec<usize>>,
    lora_alpha: Number,
    lora_dropout: f32,
    modules_to_save: (),
    peft_type: &'static str,
    r: usize,
    rank_pattern: &'a BTreeMap<String, usize>,
    revision: Option<&'a str>,
    target_modules: Value,
    task_type: Option<&'a str>,
    use_dora: bool,
    use_rslora: bool,
}

/// Whole numbers are written without a fraction: some readers declare alpha as an integer.
struct Number(f32);

impl Serialize for Number {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let whole = self.0 as i64;
        if whole as f32 == self.0 && whole.abs() < 1 << 24 {
            serializer.serialize_i64(whole)
        } else {
            serializer.serialize_f32(self.0)
        }
    }
}

/// The keys of a configuration that have not been looked at.
struct Keys<'a> {
    path: &'a Path,
    keys: Map<String, Value>,
}

impl Keys<'_> {
    fn into_config(mut self) -> Result<AdapterConfig, PeftError> {
        let method: String = self.take("peft_type")?.ok_or_else(|| self.error("peft_type", "is missing"))?;
        if method != "LORA" {
            return Err(PeftError::Method { path: self.path.to_path_buf(), method });
        }
        let mut unsupported = Vec::new();
        self.patterns_in_order("rank_pattern", &mut unsupported);
        self.patterns_in_order("alpha_pattern", &mut unsupported);
        let revision = self.take("revision")?;
        let target_modules = self.target_modules(&mut unsupported)?;
        let default = AdapterConfig::default();
        let config = AdapterConfig {
            base_model_name_or_path: self.take("base_model_name_or_path")?,
            revision,
            task_type: self.take("task_type")?,
            r: self.take("r")?.unwrap_or(default.r),
            lora_alpha: self.take("lora_alpha")?.unwrap_or(default.lora_alpha),
            lora_dropout: self.take("lora_dropout")?.unwrap_or(default.lora_dropout),
            target_modules,
            layers_to_transform: self.one_or_many("layers_to_transform")?,
            layers_pattern: self.one_or_many("layers_pattern")?.unwrap_or_default(),
            rank_pattern: self.take("rank_pattern")?.unwrap_or_default(),
            alpha_pattern: self.take("alpha_pattern")?.unwrap_or_default(),
            use_rslora: self.take("use_rslora")?.unwrap_or(default.use_rslora),
            use_dora: self.take("use_dora")?.unwrap_or(default.use_dora),
            ..default
        };
        self.check_numbers(&config)?;
        if let Some(task) = config.task_type.as_deref().filter(|&task| task != "CAUSAL_LM") {
            unsupported.push(format!("task_type {task:?}"));
        }
        self.collect_unsupported(&mut unsupported);
        let ignored = std::mem::take(&mut self.keys)
            .into_iter()
            .filter(|(key, value)| !is_off(value) && !WITHOUT_EFFECT.contains(&key.as_str()))
            .map(|(key, _)| key)
            .collect();
        Ok(AdapterConfig { unsupported, ignored, ..config })
    }

    fn error(&self, key: &str, reason: impl ToString) -> PeftError {
        PeftError::Key { path: self.path.to_path_buf(), key: key.to_string(), reason: reason.to_string() }
    }

    /// Null and absent are the same, as in PEFT's optional fields.
    fn take<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, PeftError> {
        match self.keys.remove(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => serde_json::from_value(value).map(Some).map_err(|error| self.error(key, error)),
        }
    }

    fn one_or_many<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<Vec<T>>, PeftError> {
        if matches!(self.keys.get(key), Some(Value::Array(_))) {
            return self.take(key);
        }
        // PEFT takes an empty string for no pattern.
        self.keys.retain(|name, value| name != key || value.as_str() != Some(""));
        Ok(self.take(key)?.map(|one| vec![one]))
    }

    fn target_modules(&mut self, unsupported: &mut Vec<String>) -> Result<TargetModules, PeftError> {
        match self.keys.remove("target_modules") {
            Some(Value::String(name)) if name.to_lowercase() == "all-linear" => Ok(TargetModules::AllLinear),
            Some(Value::String(pattern)) => Ok(TargetModules::Pattern(pattern)),
            Some(Value::Array(names)) => match serde_json::from_value(Value::Array(names)) {
                Ok(names) => Ok(TargetModules::Names(names)),
                Err(error) => Err(self.error("target_modules", error)),
            },
            None | Some(Value::Null) => {
                unsupported.push("target_modules null (the choice is left to PEFT's table of architectures)".into());
                Ok(TargetModules::Names(Vec::new()))
            }
            Some(other) => {
                Err(self.error("target_modules", format!("{other} is neither a list of names nor a pattern")))
            }
        }
    }

    /// PEFT lets the first key of the file win, Attune the first by the alphabet: the same in every file that PEFT wrote.
    fn patterns_in_order(&self, key: &str, unsupported: &mut Vec<String>) {
        let Some(Value::Object(patterns)) = self.keys.get(key) else { return };
        let keys: Vec<&String> = patterns.keys().collect();
        if keys.is_sorted() {
            return;
        }
        if keys.len() > MAX_UNSORTED_PATTERNS {
            unsupported.push(format!("{key} with {} keys that are not sorted", keys.len()));
            return;
        }
        for (i, later) in keys.iter().enumerate() {
            if let Some(earlier) = keys[..i].iter().find(|earlier| *earlier > later && can_overlap(earlier, later)) {
                unsupported.push(format!("{key} with {earlier:?} before {later:?}, which can match the same module"));
                return;
            }
        }
    }

    fn check_numbers(&self, config: &AdapterConfig) -> Result<(), PeftError> {
        if config.r == 0 {
            return Err(self.error("r", "must be at least 1"));
        }
        if let Some((key, _)) = config.rank_pattern.iter().find(|&(_, &rank)| rank == 0) {
            return Err(self.error("rank_pattern", format!("{key:?} must be at least 1")));
        }
        if !config.lora_alpha.is_finite() {
            return Err(self.error("lora_alpha", format!("{} is not a finite number", config.lora_alpha)));
        }
        if let Some((key, alpha)) = config.alpha_pattern.iter().find(|(_, alpha)| !alpha.is_finite()) {
            return Err(self.error("alpha_pattern", format!("{key:?}: {alpha} is not a finite number")));
        }
        if !(0.0..1.0).contains(&config.lora_dropout) {
            return Err(self.error("lora_dropout", format!("{} is not from 0 up to 1", config.lora_dropout)));
        }
        // So that a bad pattern is found here and not at some module.
        let patterns = config.rank_pattern.keys().chain(config.alpha_pattern.keys());
        patterns.into_iter().try_for_each(|pattern| key_matches(pattern, "").map(drop))?;
        if let TargetModules::Pattern(pattern) = &config.target_modules {
            matches_fully(pattern, "")?;
        }
        config.layer_of("").map(drop)
    }

    fn collect_unsupported(&mut self, unsupported: &mut Vec<String>) {
        for key in MUST_BE_OFF {
            if let Some(value) = self.keys.remove(key).filter(|value| !is_off(value)) {
                unsupported.push(format!("{key} {}", shortened(&value)));
            }
        }
        if let Some(bias) = self.keys.remove("bias").filter(|bias| !bias.is_null() && bias != "none") {
            unsupported.push(format!("bias {}", shortened(&bias)));
        }
        if let Some(Value::String(name)) = self.keys.remove("init_lora_weights") {
            let lower = name.to_lowercase();
            if INITIALISATIONS_THAT_CHANGE_THE_BASE.iter().any(|initialisation| lower.starts_with(initialisation)) {
                unsupported.push(format!("init_lora_weights {name:?} (made for a changed base model)"));
            }
        }
    }
}

/// Values that switch an optional feature off.
fn is_off(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(values) => values.is_empty(),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

/// For a message of one line.
fn shortened(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
