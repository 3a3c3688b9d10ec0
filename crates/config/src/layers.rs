//! The layers of a configuration, weakest first: defaults, `extends` parents, the file, the environment, `--set`.
//!
//! Layers are merged key by key down to the keys of sections (and of `evaluation.early_stopping` and `data.transcripts`); any other value,
//! lists and pattern maps included, replaces the weaker one as a whole. A stronger layer that gives one of two rival
//! keys (`warmup_steps` and `warmup_ratio`, say) puts the other one out of force.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value;

use crate::check::{self, join};
use crate::error::{ConfigError, Origin, Problem};
use crate::nearest::{misspelt, nearest_key};
use crate::node::{Content, Entry, Node, YamlError};
use crate::schema;
use crate::values::ChatTemplate;

/// A configuration is a page or two; what is larger is some other file.
const FILE_LIMIT_BYTES: u64 = 1 << 20;
/// Most files that one configuration may be made of, counted as often as they are named.
const FILES_LIMIT: usize = 64;
/// Longest way through `extends`.
const CHAIN_LIMIT: usize = 16;

/// Environment variables with this prefix are ours.
pub(crate) const ENVIRONMENT_PREFIX: &str = "FT__";

/// Keys that hold paths which are relative to the file they stand in. `logging.dir` is relative to the current folder.
pub(crate) const PATH_KEYS: [&str; 9] = [
    "model.path",
    "model.tokenizer",
    "model.chat_template",
    "adapter.init_from",
    "data.train",
    "data.validation",
    "clean.semantic_model",
    "contamination.against",
    "contamination.folder",
];

/// A parent configuration that is part of the program.
#[derive(Clone, Copy, Debug)]
pub struct Preset {
    /// The name that `extends` knows it by.
    pub name: &'static str,
    /// Its YAML.
    pub text: &'static str,
}

/// All presets.
pub const PRESETS: [Preset; 2] = [
    Preset { name: "memory-constrained", text: include_str!("../presets/memory-constrained.yaml") },
    Preset { name: "fast-iteration", text: include_str!("../presets/fast-iteration.yaml") },
];

pub(crate) fn preset_names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}

/// `key`, when a stronger layer gives it, puts `rival` out of force: sets it to `off`.
struct Rivalry {
    key: &'static str,
    rival: &'static str,
    off: fn() -> Content,
}

const RIVALRIES: [Rivalry; 5] = [
    Rivalry { key: "training.warmup_steps", rival: "training.warmup_ratio", off: || Content::Null },
    Rivalry { key: "training.warmup_ratio", rival: "training.warmup_steps", off: || Content::Null },
    Rivalry { key: "training.epochs", rival: "training.steps", off: || Content::Null },
    Rivalry { key: "data.validation", rival: "data.validation_fraction", off: || Content::Number(0.into()) },
    Rivalry { key: "data.validation_fraction", rival: "data.validation", off: || Content::List(Vec::new()) },
];

/// Whether a value switches its key on, rather than saying that it is off.
fn is_in_force(node: &Node) -> bool {
    match &node.content {
        Content::Null => false,
        Content::List(items) => !items.is_empty(),
        _ => true,
    }
}

/// Puts `layer` over `merged`, which holds the defaults and the weaker layers.
pub(crate) fn put_over(merged: &mut Node, layer: Node, problems: &mut Vec<Problem>) {
    for Rivalry { key, rival, off } in &RIVALRIES {
        let is_given = layer.get(key).is_some_and(|node| is_in_force(node) && !is_zero_fraction(key, node));
        if is_given
            && layer.get(rival).is_none()
            && let Some(node) = merged.get_mut(rival)
        {
            *node = Node { origin: Origin::Default, content: off() };
        }
    }
    merge(merged, layer, Some(schema::schema()), "", problems);
}

/// `validation_fraction: 0` holds nothing out, so it leaves `validation` alone; zero warm-up is a choice like others.
fn is_zero_fraction(key: &str, node: &Node) -> bool {
    key == "data.validation_fraction"
        && matches!(&node.content, Content::Number(number) if number.as_f64() == Some(0.0))
}

fn merge(base: &mut Node, over: Node, schema: Option<&Value>, key: &str, problems: &mut Vec<Problem>) {
    let Some(schema) = schema.filter(|schema| schema::named_keys(schema).is_some()) else {
        *base = over;
        return;
    };
    match (&mut base.content, over.content) {
        (Content::Map(weaker), Content::Map(stronger)) => {
            for Entry { key: name, key_origin, value } in stronger {
                match weaker.iter_mut().find(|entry| entry.key == name) {
                    Some(entry) => {
                        let full = join(key, &name);
                        merge(&mut entry.value, value, schema::child(schema, &name), &full, problems);
                        entry.key_origin = key_origin;
                    }
                    None => weaker.push(Entry { key: name, key_origin, value }),
                }
            }
        }
        // `adapter:` with all its keys commented out says nothing.
        (_, Content::Null) if !schema::any_accepts_type(schema, "null") => {}
        (_, content) => {
            let over = Node { origin: over.origin, content };
            // What a section can never be would hide the weaker layers; what may be null replaces them.
            if schema::any_accepts_type(schema, "null") || matches!(over.content, Content::Map(_)) {
                *base = over;
            } else {
                problems.push(check::invalid(&over, schema, key));
            }
        }
    }
}

/// Reads a file and, before it, its parents.
#[derive(Default)]
pub(crate) struct Files {
    /// What was read, weakest first.
    pub(crate) layers: Vec<Node>,
    pub(crate) problems: Vec<Problem>,
    count: usize,
}

/// A file on the way from the first one to the one being read.
struct Link {
    shown: String,
    /// The same for two names of one file.
    identity: PathBuf,
}

impl Files {
    pub(crate) fn read(path: &Path) -> Result<Self, ConfigError> {
        let mut files = Self::default();
        files.add_file(path, &mut Vec::new())?;
        Ok(files)
    }

    fn add_file(&mut self, path: &Path, chain: &mut Vec<Link>) -> Result<(), ConfigError> {
        let text = read_text(path, chain)?;
        // Reading succeeded, so this only fails for what is no file proper, such as a pipe.
        let identity = path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
        let is_cycle = chain.iter().any(|link| link.identity == identity);
        chain.push(Link { shown: path.display().to_string(), identity });
        self.count += 1;
        if is_cycle {
            return Err(ConfigError::ExtendsCycle { chain: shown(chain) });
        }
        if self.count > FILES_LIMIT || chain.len() > CHAIN_LIMIT {
            let limit = if self.count > FILES_LIMIT { FILES_LIMIT } else { CHAIN_LIMIT };
            return Err(ConfigError::TooManyParents { chain: shown(chain), limit });
        }

        let file: Arc<Path> = Arc::from(path);
        let mut layer = parse_layer(&text, &|line, column| Origin::File { path: Arc::clone(&file), line, column })?;
        let folder = path.parent().unwrap_or(Path::new(""));
        for parent in self.take_parents(&mut layer) {
            match PRESETS.iter().find(|preset| preset.name == parent) {
                Some(preset) => self.add_preset(preset)?,
                None => self.add_file(&folder.join(parent), chain)?,
            }
        }
        resolve_paths(&mut layer, folder)?;
        self.layers.push(layer);
        chain.pop();
        Ok(())
    }

    fn add_preset(&mut self, preset: &Preset) -> Result<(), ConfigError> {
        let name = preset.name;
        self.layers.push(parse_layer(preset.text, &|line, column| Origin::Preset { name, line, column })?);
        Ok(())
    }

    /// Takes `extends` out of a layer; a wrong value is noted and counts as none.
    fn take_parents(&mut self, layer: &mut Node) -> Vec<String> {
        let Content::Map(entries) = &mut layer.content else { return Vec::new() };
        let Some(at) = entries.iter().position(|entry| entry.key == "extends") else { return Vec::new() };
        let node = entries.remove(at).value;
        let Some(schema) = schema::child(schema::schema(), "extends") else { return Vec::new() };
        let problems = check::check(&node, schema, "extends");
        if !problems.is_empty() {
            self.problems.extend(problems);
            return Vec::new();
        }
        match node.content {
            Content::Text(parent) => vec![parent],
            Content::List(items) => items
                .into_iter()
                .filter_map(|item| if let Content::Text(parent) = item.content { Some(parent) } else { None })
                .collect(),
            _ => Vec::new(),
        }
    }
}

/// That a layer without a file names parents; takes `extends` out.
pub(crate) fn refuse_parents(layer: &mut Node) -> Option<Problem> {
    let Content::Map(entries) = &mut layer.content else { return None };
    let at = entries.iter().position(|entry| entry.key == "extends")?;
    let node = entries.remove(at).value;
    is_in_force(&node).then(|| Problem::InvalidValue {
        key: "extends".to_owned(),
        got: node.show(),
        allowed: "no parents, since the text comes without a file that their paths could be relative to".to_owned(),
        origin: node.origin,
        advice: Some("take `extends` out".to_owned()),
    })
}

fn shown(chain: &[Link]) -> Vec<String> {
    chain.iter().map(|link| link.shown.clone()).collect()
}

fn read_text(path: &Path, chain: &[Link]) -> Result<String, ConfigError> {
    let failed = |source: std::io::Error| ConfigError::Read {
        path: path.to_path_buf(),
        chain: shown(chain),
        nearest_preset: path
            .file_name()
            .and_then(|name| name.to_str())
            .filter(|_| !chain.is_empty() && source.kind() == std::io::ErrorKind::NotFound)
            .and_then(|name| misspelt(name, preset_names()))
            .and_then(|name| preset_names().into_iter().find(|preset| *preset == name)),
        source,
    };
    if path.is_dir() {
        return Err(failed(std::io::Error::new(std::io::ErrorKind::IsADirectory, "it is a folder")));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(FILE_LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_LIMIT_BYTES {
        return Err(ConfigError::TooLarge { path: path.to_path_buf(), limit_bytes: FILE_LIMIT_BYTES });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let column = 1 + good.iter().rev().take_while(|byte| **byte != b'\n').count();
        ConfigError::NotUtf8 { path: path.to_path_buf(), line, column }
    })
}

/// One layer of YAML: a map, or nothing at all.
pub(crate) fn parse_layer(text: &str, place: &dyn Fn(u64, u64) -> Origin) -> Result<Node, ConfigError> {
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let node = Node::parse(text, place).map_err(|error| {
        let YamlError { line, column, message } = error;
        ConfigError::Syntax { origin: place(line, column), message }
    })?;
    match node.content {
        Content::Map(_) => Ok(node),
        Content::Null => Ok(Node::empty_map(node.origin)),
        _ => Err(ConfigError::NotAMapping { got: node.show(), origin: node.origin }),
    }
}

/// Makes the paths of a layer absolute, counted from `folder`.
///
/// Absolute, so that the configuration that a run records means the same wherever it is read again.
pub(crate) fn resolve_paths(layer: &mut Node, folder: &Path) -> Result<(), ConfigError> {
    for key in PATH_KEYS {
        let Some(node) = layer.get_mut(key) else { continue };
        match &mut node.content {
            Content::Text(text) => resolve_path(key, text, folder)?,
            Content::List(items) => {
                for item in items {
                    if let Content::Text(text) = &mut item.content {
                        resolve_path(key, text, folder)?;
                    }
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn resolve_path(key: &str, text: &mut String, folder: &Path) -> Result<(), ConfigError> {
    // What is refused later must be seen as it was written: nothing, a home folder, the name of a built-in template.
    let is_built_in = key == "model.chat_template" && !ChatTemplate::is_path(text);
    if text.is_empty() || text.starts_with('~') || is_built_in {
        return Ok(());
    }
    let joined = folder.join(&*text);
    let path = std::path::absolute(&joined).unwrap_or(joined);
    *text = path.into_os_string().into_string().map_err(|path| ConfigError::PathNotUtf8 { path: path.into() })?;
    Ok(())
}

/// The variables of this process that begin with `FT__`, for [`Config::load`](crate::Config::load).
///
/// Unlike [`std::env::vars`] it does not panic at variables of others that are not UTF-8.
pub fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .map(|(name, value)| (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned()))
        .filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX))
}

/// The layer of the `FT__SECTION__KEY` variables.
pub(crate) fn environment_layer(
    environment: impl Iterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) -> Result<Node, ConfigError> {
    let mut variables: Vec<_> = environment.filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
    // The environment has no order; a fixed one makes a nested key come after the map it belongs to.
    variables.sort();
    let mut layer = Node::empty_map(Origin::Default);
    for (name, text) in variables {
        let key = name[ENVIRONMENT_PREFIX.len()..].to_lowercase().replace("__", ".");
        let origin = Origin::Environment { name: name.into() };
        give(&mut layer, &key, &text, &origin, problems)?;
    }
    resolve_paths(&mut layer, Path::new(""))?;
    Ok(layer)
}

/// The layer of the `--set section.key=value` options; of two that give the same key the later one wins.
pub(crate) fn overrides_layer(sets: &[String], problems: &mut Vec<Problem>) -> Result<Node, ConfigError> {
    let mut layer = Node::empty_map(Origin::Default);
    for text in sets {
        let (key, value) = text
            .split_once('=')
            .map(|(key, value)| (key.trim(), value.trim()))
            .filter(|(key, _)| !key.is_empty())
            .ok_or_else(|| ConfigError::SetForm { text: text.clone() })?;
        give(&mut layer, key, value, &Origin::Override { text: text.as_str().into() }, problems)?;
    }
    resolve_paths(&mut layer, Path::new(""))?;
    Ok(layer)
}

/// Gives one key of a layer the value that `text` writes.
fn give(
    layer: &mut Node,
    key: &str,
    text: &str,
    origin: &Origin,
    problems: &mut Vec<Problem>,
) -> Result<(), ConfigError> {
    let path: Vec<&str> = key.split('.').collect();
    if path.first() == Some(&"extends") {
        problems.push(Problem::InvalidValue {
            key: key.to_owned(),
            got: format!("{text:?}"),
            allowed: "it in a file only".to_owned(),
            origin: origin.clone(),
            advice: Some("write `extends` into the configuration file".to_owned()),
        });
        return Ok(());
    }
    let schema = match find(&path, origin) {
        Ok(schema) => schema,
        Err(problem) => {
            problems.push(*problem);
            return Ok(());
        }
    };
    let value = value_of(text, schema, origin)?;
    let mut one = Node::empty_map(origin.clone());
    one.insert(&path, value);
    merge(layer, one, Some(schema::schema()), "", problems);
    Ok(())
}

/// The schema of a key, or that there is no such key.
fn find(path: &[&str], origin: &Origin) -> Result<&'static Value, Box<Problem>> {
    let mut schema = schema::schema();
    let mut section = String::new();
    for name in path {
        let Some(next) = schema::child(schema, name) else {
            let siblings = schema::child_names(schema);
            let is_free_map = schema.get("additionalProperties").is_some_and(Value::is_object);
            // The names in a pattern map contain dots, so the map can only be given as a whole.
            let nearest = if is_free_map { Some(section.clone()) } else { nearest_key(&section, &siblings, name) };
            return Err(Box::new(Problem::UnknownKey {
                key: path.join("."),
                origin: origin.clone(),
                nearest: nearest.map(|key| match origin {
                    Origin::Environment { .. } => environment_name(&key),
                    _ => key,
                }),
                known: siblings.into_iter().map(str::to_owned).collect(),
            }));
        };
        schema = next;
        section = join(&section, name);
    }
    Ok(schema)
}

/// The variable that gives a key.
#[must_use]
pub fn environment_name(key: &str) -> String {
    format!("{ENVIRONMENT_PREFIX}{}", key.to_uppercase().replace('.', "__"))
}

/// The value that a text outside a file writes: YAML, but where the key takes a text, the text as it is. A path may so
/// hold ` #` or `: `, and a name may be `2024`, without quotes inside quotes.
fn value_of(text: &str, schema: &Value, origin: &Origin) -> Result<Node, ConfigError> {
    let takes = |kind| schema::any_accepts_type(schema, kind);
    let is_yaml = match text.trim().chars().next() {
        None | Some('"' | '\'') => true,
        Some('[') => takes("array"),
        Some('{') => takes("object"),
        Some(_) => matches!(text.trim(), "null" | "~") && takes("null"),
    };
    if takes("string") && !is_yaml {
        return Ok(Node { origin: origin.clone(), content: Content::Text(text.to_owned()) });
    }
    Node::parse(text, &|_, _| origin.clone())
        .map_err(|YamlError { message, .. }| ConfigError::Syntax { origin: origin.clone(), message })
}
