//! `ft.yaml`: the schema, layers, validation.
//!
//! ```
//! use attune_config::Config;
//!
//! let config = Config::from_yaml_str("{model: {path: base}, data: {train: chat.jsonl}, training: {epochs: 2}}")?;
//! assert_eq!(config.training.epochs, 2);
//! assert_eq!(config.adapter.rank, 16);
//!
//! let error = Config::from_yaml_str("training:\n  epoch: 2\n").unwrap_err();
//! assert_eq!(
//!     error.to_string().lines().next(),
//!     Some("line 2, column 3: unknown key `training.epoch`; the nearest known key is `training.epochs`"),
//! );
//! # Ok::<(), attune_config::ConfigError>(())
//! ```
//!
//! Layers, weakest first: defaults, `extends` parents, the file, `FT__SECTION__KEY` variables, `--set`. Every value
//! keeps who gave it, so that an error can say where to mend it. See [`Config::load`].

mod check;
mod curation;
mod error;
mod hardware;
pub mod import;
mod init;
mod layers;
mod nearest;
mod node;
mod rules;
mod schema;
mod sections;
mod values;

use std::path::Path;

use serde_json::Value;

pub use curation::{
    CleanConfig, ContaminationConfig, DuplicateField, DuplicateKeep, HiddenAction, RowAction, ScrubAction, SplitConfig,
};
pub use error::{ConfigError, Origin, Problem};
pub use hardware::{Activations, MemorySize, MicroBatchTokens, PackWeights};
pub use init::init_template;
pub use layers::{PRESETS, Preset, environment, environment_name};
pub use schema::json_schema;
pub use sections::{
    AdapterConfig, CheckpointConfig, Config, DataConfig, EarlyStopping, EvaluationConfig, HardwareConfig,
    LoggingConfig, ModelConfig, ModelSize, TrainingConfig, TranscriptsConfig,
};
pub use values::{
    AdapterMethod, BackendChoice, BuiltinTemplate, ChatTemplate, CompletionStyle, DataFormat, Date, Display, Layers,
    Layout, ModelInit, Objective, Overlong, Quantize, Schedule, TargetModule, TargetModules, TemplateDate, TrainOn,
    TrainedType, Untrained,
};

use layers::{Files, PATH_KEYS};
use node::Node;

/// Who gave each value of a configuration.
#[derive(Clone, Debug)]
pub struct Origins(Node);

impl Origins {
    /// Who gave the value of a key such as `model.path`. [`Origin::Default`] when nobody did.
    #[must_use]
    pub fn of(&self, key: &str) -> Origin {
        self.0.get(key).map_or(Origin::Default, |node| node.origin.clone())
    }
}

impl Config {
    /// Reads a configuration with all its layers.
    ///
    /// `variables` is usually [`environment()`]; only names that begin with `FT__` are looked at. Each
    /// of `sets` is `section.key=value`. Paths in a file are relative to that file, paths in `variables` and `sets`
    /// to the current folder, and so is `logging.dir` everywhere. The paths of the result are absolute, save
    /// `logging.dir`, so the result means the same wherever it is written to and read again.
    ///
    /// # Errors
    ///
    /// A file cannot be read or is not YAML; `extends` goes in a circle; keys are unknown; values are wrong. Wrong keys
    /// and values are reported all at once, each with its place.
    pub fn load(
        path: &Path,
        variables: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        Self::load_with_origins(path, variables, sets).map(|(config, _)| config)
    }

    /// As [`Config::load`], and says who gave each value: for errors that only show later, such as a missing folder.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_with_origins(
        path: &Path,
        variables: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<(Self, Origins), ConfigError> {
        let Files { layers, mut problems, .. } = Files::read(path)?;
        let mut tree = defaults();
        for layer in layers {
            layers::put_over(&mut tree, layer, &mut problems);
        }
        let layer = layers::environment_layer(variables, &mut problems)?;
        layers::put_over(&mut tree, layer, &mut problems);
        let layer = layers::overrides_layer(sets, &mut problems)?;
        layers::put_over(&mut tree, layer, &mut problems);
        let config = from_tree(&tree, problems)?;
        Ok((config, Origins(tree)))
    }

    /// As [`Config::load`], for commands that work on data alone: `model.path` and `data.train` may be missing, and
    /// without `path` there is no file.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load_for_data(
        path: Option<&Path>,
        variables: impl Iterator<Item = (String, String)>,
        sets: &[String],
    ) -> Result<Self, ConfigError> {
        let mut tree = defaults();
        let mut problems = Vec::new();
        if let Some(path) = path {
            let Files { layers, problems: found, .. } = Files::read(path)?;
            problems = found;
            for layer in layers {
                layers::put_over(&mut tree, layer, &mut problems);
            }
        }
        let layer = layers::environment_layer(variables, &mut problems)?;
        layers::put_over(&mut tree, layer, &mut problems);
        let layer = layers::overrides_layer(sets, &mut problems)?;
        layers::put_over(&mut tree, layer, &mut problems);
        from_tree_with(&tree, problems, |problem| !matches!(problem, Problem::Missing { .. }))
    }

    /// Reads a configuration from YAML alone: no parents, no environment, and paths stay as they are written.
    ///
    /// This is how a run reads the configuration that it recorded with [`Config::to_yaml`].
    ///
    /// # Errors
    ///
    /// The text is not YAML, keys are unknown, values are wrong, or there is an `extends`.
    pub fn from_yaml_str(text: &str) -> Result<Self, ConfigError> {
        let mut layer = layers::parse_layer(text, &|line, column| Origin::Text { line, column })?;
        let mut problems = Vec::new();
        if let Some(problem) = layers::refuse_parents(&mut layer) {
            problems.push(problem);
        }
        let mut tree = defaults();
        layers::put_over(&mut tree, layer, &mut problems);
        from_tree(&tree, problems)
    }

    /// The configuration as YAML with every key, in the order of the schema. Reading it gives an equal configuration.
    ///
    /// # Errors
    ///
    /// A path is not UTF-8.
    pub fn to_yaml(&self) -> Result<String, ConfigError> {
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        serde_saphyr::to_string_with_options(&self.to_value()?, options)
            .map_err(|error| ConfigError::Syntax { origin: Origin::Program, message: error.to_string() })
    }

    /// Checks a configuration that was built or changed by code as if it had been read.
    ///
    /// # Errors
    ///
    /// A value is out of range, or keys contradict each other.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let tree = Node::from_value(&self.to_value()?, &Origin::Program);
        let mut problems = rules::broken(self, &tree);
        problems.extend(check::check(&tree, schema::schema(), "").into_iter().filter(not_an_empty_required_key));
        if problems.is_empty() { Ok(()) } else { Err(ConfigError::Invalid { problems }) }
    }

    fn to_value(&self) -> Result<Value, ConfigError> {
        let mut paths = PATH_KEYS.iter().flat_map(|key| rules::paths_of(self, key)).chain([self.logging.dir.clone()]);
        if let Some(path) = paths.find(|path| path.to_str().is_none()) {
            return Err(ConfigError::PathNotUtf8 { path });
        }
        serde_json::to_value(self)
            .map_err(|error| ConfigError::Syntax { origin: Origin::Program, message: error.to_string() })
    }
}

fn defaults() -> Node {
    // Defaults are plain data: that they serialise is tested, and without them every key would be reported missing.
    let value = serde_json::to_value(Config::default()).unwrap_or_default();
    Node::from_value(&value, &Origin::Default)
}

/// The rule on required keys says it better than the schema.
fn not_an_empty_required_key(problem: &Problem) -> bool {
    !matches!(problem, Problem::InvalidValue { origin: Origin::Default | Origin::Program, key, got, .. }
        if schema::REQUIRED_KEYS.contains(&key.as_str()) && (got == "\"\"" || got == "[]"))
}

fn from_tree(tree: &Node, problems: Vec<Problem>) -> Result<Config, ConfigError> {
    from_tree_with(tree, problems, |_| true)
}

/// `counts` says which broken rules are problems.
fn from_tree_with(
    tree: &Node,
    mut problems: Vec<Problem>,
    counts: impl Fn(&Problem) -> bool,
) -> Result<Config, ConfigError> {
    problems.extend(check::check(tree, schema::schema(), "").into_iter().filter(not_an_empty_required_key));
    if problems.is_empty() {
        let config: Result<Config, _> = serde_path_to_error::deserialize(tree.to_value());
        match config {
            Ok(config) => {
                problems.extend(rules::broken(&config, tree).into_iter().filter(|problem| counts(problem)));
                if problems.is_empty() {
                    return Ok(config);
                }
            }
            Err(error) => problems.push(beyond_schema(tree, &error)),
        }
    }
    Err(ConfigError::Invalid { problems })
}

/// A value that fits the schema and yet not its type, such as the name of a template that does not exist.
fn beyond_schema(tree: &Node, error: &serde_path_to_error::Error<serde_json::Error>) -> Problem {
    let path = error.path().to_string();
    let key = path.split('[').next().unwrap_or(&path);
    let schema = key.split('.').try_fold(schema::schema(), |schema, name| schema::child(schema, name));
    let allowed = schema.map_or_else(|| "another value".to_owned(), schema::allowed);
    let node = tree.get(key);
    Problem::InvalidValue {
        key: path.clone(),
        got: node.map_or_else(|| "not given".to_owned(), Node::show),
        allowed,
        origin: node.map_or(Origin::Default, |node| node.origin.clone()),
        advice: Some(error.inner().to_string()),
    }
}
