//! YAML as a tree in which every value knows who gave it.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::budget::BudgetBreach;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Location, Spanned};

use crate::error::Origin;

/// Deepest nesting of a configuration. The deepest legal one is five.
const MAX_DEPTH: usize = 24;
/// Most values of a configuration, what aliases expand to included.
const MAX_NODES: usize = 20_000;

/// A value and who gave it.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) origin: Origin,
    pub(crate) content: Content,
}

#[derive(Clone, Debug)]
pub(crate) enum Content {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A key of a map, where the key stands, and its value.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_origin: Origin,
    pub(crate) value: Node,
}

/// The YAML text is wrong; lines and columns from 1, where the parser knows them.
pub(crate) struct YamlError {
    pub(crate) line: u64,
    pub(crate) column: u64,
    pub(crate) message: String,
}

impl Node {
    /// Reads one YAML document. `place` makes an origin of a line and a column.
    pub(crate) fn parse(text: &str, place: &dyn Fn(u64, u64) -> Origin) -> Result<Self, YamlError> {
        let options = serde_saphyr::options! {
            budget: serde_saphyr::budget! { max_depth: MAX_DEPTH, max_nodes: MAX_NODES, max_documents: 1 },
            duplicate_keys: DuplicateKeyPolicy::Error,
            strict_booleans: true,
            non_finite_float_policy: NonFiniteFloatPolicy::Reject,
            reject_unsupported_tags: true,
            with_snippet: false,
        };
        let raw: Spanned<Raw> = serde_saphyr::from_str_with_options(text, options).map_err(yaml_error)?;
        Ok(raw.into_node(place))
    }

    /// The same origin for every value: for what does not come out of a text.
    pub(crate) fn from_value(value: &Value, origin: &Origin) -> Self {
        let content = match value {
            Value::Null => Content::Null,
            Value::Bool(flag) => Content::Bool(*flag),
            Value::Number(number) => Content::Number(number.clone()),
            Value::String(text) => Content::Text(text.clone()),
            Value::Array(items) => Content::List(items.iter().map(|item| Self::from_value(item, origin)).collect()),
            Value::Object(map) => Content::Map(
                map.iter()
                    .map(|(key, value)| Entry {
                        key: key.clone(),
                        key_origin: origin.clone(),
                        value: Self::from_value(value, origin),
                    })
                    .collect(),
            ),
        };
        Self { origin: origin.clone(), content }
    }

    pub(crate) fn to_value(&self) -> Value {
        match &self.content {
            Content::Null => Value::Null,
            Content::Bool(flag) => Value::Bool(*flag),
            Content::Number(number) => Value::Number(number.clone()),
            Content::Text(text) => Value::String(text.clone()),
            Content::List(items) => Value::Array(items.iter().map(Self::to_value).collect()),
            Content::Map(entries) => Value::Object(
                entries.iter().map(|entry| (entry.key.clone(), entry.value.to_value())).collect::<Map<_, _>>(),
            ),
        }
    }

    pub(crate) fn empty_map(origin: Origin) -> Self {
        Self { origin, content: Content::Map(Vec::new()) }
    }

    /// The value at a dotted key such as `training.steps`.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        key.split('.').try_fold(self, |node, name| match &node.content {
            Content::Map(entries) => entries.iter().find(|entry| entry.key == name).map(|entry| &entry.value),
            _ => None,
        })
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Self> {
        key.split('.').try_fold(self, |node, name| match &mut node.content {
            Content::Map(entries) => entries.iter_mut().find(|entry| entry.key == name).map(|entry| &mut entry.value),
            _ => None,
        })
    }

    /// Puts a value at a path, in place of what is there and with maps made on the way.
    pub(crate) fn insert(&mut self, path: &[&str], value: Self) {
        let Some((name, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if !matches!(self.content, Content::Map(_)) {
            self.content = Content::Map(Vec::new());
        }
        let Content::Map(entries) = &mut self.content else { return };
        let at = entries.iter().position(|entry| entry.key == *name).unwrap_or_else(|| {
            entries.push(Entry {
                key: (*name).to_owned(),
                key_origin: value.origin.clone(),
                value: Self::empty_map(value.origin.clone()),
            });
            entries.len() - 1
        });
        entries[at].value.insert(rest, value);
    }

    /// The value in one short line, as JSON.
    pub(crate) fn show(&self) -> String {
        const LONGEST: usize = 60;
        let text = self.to_value().to_string();
        match text.char_indices().nth(LONGEST) {
            Some((cut, _)) => format!("{}...", &text[..cut]),
            None => text,
        }
    }
}

fn yaml_error(error: serde_saphyr::Error) -> YamlError {
    let error = error.without_snippet();
    let location = error.location().unwrap_or(Location::UNKNOWN);
    // What goes wrong inside an alias is wrapped; the location above is that of the alias.
    let error = match error {
        serde_saphyr::Error::AliasError { error, .. } => error.without_snippet(),
        other => other,
    };
    let message = match error {
        serde_saphyr::Error::NonFiniteFloat { value, .. } => format!("`{value}` is not a finite number"),
        serde_saphyr::Error::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` is given twice"),
        serde_saphyr::Error::MultipleDocuments { .. }
        | serde_saphyr::Error::Budget { breach: BudgetBreach::Documents { .. }, .. } => {
            "a second document begins; there can be one only".to_owned()
        }
        serde_saphyr::Error::Budget { .. }
        | serde_saphyr::Error::AliasReplayLimitExceeded { .. }
        | serde_saphyr::Error::AliasExpansionLimitExceeded { .. }
        | serde_saphyr::Error::AliasReplayStackDepthExceeded { .. } => {
            format!("more than {MAX_NODES} values or {MAX_DEPTH} levels, which no configuration needs")
        }
        serde_saphyr::Error::RecursiveReferencesRequireWeakTypes { .. } => "an alias contains itself".to_owned(),
        other => {
            let rendered = other.to_string();
            // The location is already part of the origin.
            rendered.split(" at line ").next().unwrap_or(&rendered).trim().to_owned()
        }
    };
    YamlError { line: location.line().max(1), column: location.column().max(1), message }
}

/// A value as the parser gives it, with locations below but not of itself.
enum Raw {
    Null,
    Bool(bool),
    Number(Number),
    Text(String),
    List(Vec<Spanned<Raw>>),
    Map(Vec<(Spanned<String>, Spanned<Raw>)>),
}

trait IntoNode {
    fn into_node(self, place: &dyn Fn(u64, u64) -> Origin) -> Node;
}

impl IntoNode for Spanned<Raw> {
    fn into_node(self, place: &dyn Fn(u64, u64) -> Origin) -> Node {
        let at = |location: Location| place(location.line().max(1), location.column().max(1));
        let origin = at(self.referenced);
        let content = match self.value {
            Raw::Null => Content::Null,
            Raw::Bool(flag) => Content::Bool(flag),
            Raw::Number(number) => Content::Number(number),
            Raw::Text(text) => Content::Text(text),
            Raw::List(items) => Content::List(items.into_iter().map(|item| item.into_node(place)).collect()),
            Raw::Map(entries) => Content::Map(
                entries
                    .into_iter()
                    .map(|(key, value)| Entry {
                        key_origin: at(key.referenced),
                        key: key.value,
                        value: value.into_node(place),
                    })
                    .collect(),
            ),
        };
        Node { origin, content }
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Raw;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Raw, E> {
        Ok(Raw::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Raw, E> {
        Ok(Raw::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Raw, E> {
        Ok(Raw::Number(number.into()))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Raw, E> {
        Ok(Raw::Number(number.into()))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Raw, E> {
        Number::from_f64(number).map(Raw::Number).ok_or_else(|| E::custom(format!("{number} is not a finite number")))
    }

    fn visit_str<E>(self, text: &str) -> Result<Raw, E> {
        Ok(Raw::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Raw, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Raw::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Raw::Map(entries))
    }
}
