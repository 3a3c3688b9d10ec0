//! The tokenizer and the chat template of one base model.

use std::path::{Path, PathBuf};

use attune_formats::gguf::{GgufFile, is_gguf};
use chrono::NaiveDate;
use minijinja::Value;
use serde_json::{Map, Value as Json};

use crate::builtin;
use crate::conversation::Conversation;
use crate::error::TextError;
use crate::files::{self, JsonFile};
use crate::locate::{self, Probe};
use crate::marks;
use crate::stream::DecodeStream;
use crate::template::{ChatTemplate, MAX_TEMPLATE_BYTES, RenderError, Rendered, to_template_value};
use crate::tokens::{Tokenized, Tokens};
use crate::vocabulary;

/// Special tokens that chat templates see as variables.
const TOKEN_VARIABLES: [&str; 7] =
    ["bos_token", "eos_token", "pad_token", "unk_token", "sep_token", "cls_token", "mask_token"];

/// What a model's text side is loaded with.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// A folder with `tokenizer.json`, or that file, instead of the model's own.
    pub tokenizer: Option<PathBuf>,
    /// `chatml`, `plain` or the path of a Jinja file, instead of the model's own template.
    pub chat_template: Option<String>,
    /// The date that `strftime_now` answers in templates.
    pub template_date: NaiveDate,
    /// Further variables of the template, such as `enable_thinking`.
    pub template_variables: Map<String, Json>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            tokenizer: None,
            chat_template: None,
            template_date: chrono::Local::now().date_naive(),
            template_variables: Map::new(),
        }
    }
}

/// The tokenizer and the chat template of one base model.
///
/// It can be shared between threads.
///
/// ```no_run
/// use attune_text::{Conversation, LoadOptions, Message, TextModel, TrainOn};
///
/// let model = TextModel::load("models/qwen3-0.6b".as_ref(), &LoadOptions::default())?;
/// let chat = Conversation {
///     messages: vec![Message::new("user", "Hello"), Message::new("assistant", "Hi!")],
///     tools: None,
/// };
/// let encoded = model.encode_chat(&chat, TrainOn::Assistant)?;
/// for (id, trained) in encoded.ids.iter().zip(&encoded.trained) {
///     println!("{} {:?}", if *trained { '+' } else { ' ' }, model.token_text(*id));
/// }
/// # Ok::<(), attune_text::TextError>(())
/// ```
#[derive(Debug)]
pub struct TextModel {
    dir: PathBuf,
    pub(crate) tokens: Tokens,
    /// tokenizer_config.json, or what stands for it.
    pub(crate) config: JsonFile,
    /// special_tokens_map.json, or what stands for it.
    pub(crate) special_map: JsonFile,
    pub(crate) template: Option<ChatTemplate>,
    variables: Vec<(String, Value)>,
    pub(crate) probe: Probe,
    /// The token with which the template ends an assistant turn.
    end_of_turn: Option<u32>,
    stop_ids: Vec<u32>,
    identity: String,
}

/// What a [`TextModel`] is made of, as it was read or converted.
pub(crate) struct Source {
    /// The folder or file, for messages.
    pub(crate) dir: PathBuf,
    /// Where the tokenizer comes from, for messages.
    pub(crate) path: PathBuf,
    /// Content of a `tokenizer.json`.
    pub(crate) tokenizer: Vec<u8>,
    /// Content of a `tokenizer_config.json`.
    pub(crate) config: JsonFile,
    /// Content of a `special_tokens_map.json`.
    pub(crate) special_map: JsonFile,
    /// Ids that end a text beside the tokenizer's own.
    pub(crate) stop_ids: Vec<u32>,
    /// Content of `chat_template.jinja` in `dir`.
    pub(crate) beside: Option<String>,
}

/// A template together with the variables that do not change from chat to chat.
pub(crate) struct ChatRenderer<'a> {
    pub(crate) template: &'a ChatTemplate,
    variables: &'a [(String, Value)],
}

impl ChatRenderer<'_> {
    /// Renders a chat whose messages are already template values.
    pub(crate) fn render(
        &self,
        conversation: &Conversation,
        messages: Vec<Value>,
        add_generation_prompt: bool,
    ) -> Result<Rendered, RenderError> {
        let own = [
            ("messages", Value::from(messages)),
            ("tools", conversation.tools.as_ref().map_or_else(|| Value::from(()), to_template_value)),
            ("documents", Value::from(())),
            ("add_generation_prompt", Value::from(add_generation_prompt)),
        ];
        let variables = self.variables.iter().map(|(name, value)| (name.as_str(), value.clone()));
        self.template.render(Value::from_pairs(own.into_iter().chain(variables)))
    }

    /// Renders a chat as it is.
    pub(crate) fn render_plain(&self, conversation: &Conversation, prompt: bool) -> Result<Rendered, RenderError> {
        self.render(conversation, conversation.messages.iter().map(marks::plain).collect(), prompt)
    }

    /// Renders a chat as it is; an error names the first message at which the template stops.
    pub(crate) fn render_checked(&self, conversation: &Conversation, prompt: bool) -> Result<Rendered, TextError> {
        self.render_plain(conversation, prompt).map_err(|error| self.explain(conversation, error))
    }

    fn explain(&self, conversation: &Conversation, error: RenderError) -> TextError {
        let origin = self.template.origin().to_owned();
        if let RenderError::Bounds { reason } = error {
            return TextError::TemplateBounds { origin, reason };
        }
        // The shortest beginning of the chat that fails in the same way ends with the message at fault.
        const MOST_TRIES: usize = 256;
        let same = |other: &RenderError| match (&error, other) {
            (RenderError::Refused { reason: a }, RenderError::Refused { reason: b }) => a == b,
            (RenderError::Failed { line: a, .. }, RenderError::Failed { line: b, .. }) => a == b,
            _ => false,
        };
        let fails = |count: &usize| {
            let messages = conversation.messages[..*count].iter().map(marks::plain).collect();
            self.render(conversation, messages, false).is_err_and(|error| same(&error))
        };
        let count = conversation.messages.len();
        let message = (1..=count.min(MOST_TRIES)).find(fails).unwrap_or(0);
        let role = message.checked_sub(1).map(|index| conversation.messages[index].role.clone()).unwrap_or_default();
        match error {
            RenderError::Refused { reason } => TextError::TemplateRefused { message, role, reason },
            RenderError::Failed { line, reason } => TextError::TemplateFailed { message, role, origin, line, reason },
            RenderError::Bounds { reason } => TextError::TemplateBounds { origin, reason },
        }
    }
}

impl TextModel {
    /// Reads tokenizer, special tokens and chat template from a model folder in Hugging Face layout, or from a GGUF file.
    ///
    /// # Errors
    /// [`TextError`]: missing or damaged files, tokens that the vocabulary lacks, a template that does not parse.
    pub fn load(model: &Path, options: &LoadOptions) -> Result<Self, TextError> {
        if is_gguf(model) {
            let vocabulary = crate::gguf::read_vocabulary(&GgufFile::open(model)?)?;
            return Self::from_gguf_vocabulary(&vocabulary, model, options);
        }
        let tokenizer_dir = match &options.tokenizer {
            Some(path) if path.is_dir() => path.clone(),
            Some(path) => path.parent().map(Path::to_owned).unwrap_or_default(),
            None => model.to_owned(),
        };
        let mut config = JsonFile::read(&tokenizer_dir, "tokenizer_config.json")?;
        let special_map = JsonFile::read(&tokenizer_dir, "special_tokens_map.json")?;
        let (path, tokenizer) = vocabulary::find(&tokenizer_dir, &mut config)?;
        let mut stop_ids = Vec::new();
        for name in ["generation_config.json", "config.json"] {
            stop_ids.extend(JsonFile::read(model, name)?.ids("eos_token_id")?);
        }
        let beside = files::read_text(&tokenizer_dir.join("chat_template.jinja"), MAX_TEMPLATE_BYTES as u64)?;
        let source = Source { dir: tokenizer_dir, path, tokenizer, config, special_map, stop_ids, beside };
        Self::assemble(source, options)
    }

    /// Puts together what was read, wherever it came from.
    pub(crate) fn assemble(source: Source, options: &LoadOptions) -> Result<Self, TextError> {
        let Source { dir, path, tokenizer, config, special_map, stop_ids: named_stops, beside } = source;
        let tokens = Tokens::new(&path, &tokenizer, &config, &special_map)?;
        let template = find_template(&dir, beside, options, &config, &tokens)?;
        let variables = template_variables(options, &config, &special_map)?;
        let mut stop_ids: Vec<u32> = tokens.eos().map(|eos| eos.id).into_iter().collect();
        stop_ids.extend(named_stops);
        let identity = identity(&tokens, template.as_ref(), &variables, options);
        let mut model = Self {
            dir,
            tokens,
            config,
            special_map,
            template,
            variables,
            probe: Probe::default(),
            end_of_turn: None,
            stop_ids: Vec::new(),
            identity,
        };
        if let Some(probe) = model.renderer().ok().and_then(|renderer| locate::probe(&renderer)) {
            model.end_of_turn = model.end_of_turn_of(&probe, &stop_ids)?;
            model.probe = probe;
        }
        stop_ids.extend(model.end_of_turn);
        for id in stop_ids {
            if !model.stop_ids.contains(&id) {
                model.stop_ids.push(id);
            }
        }
        Ok(model)
    }

    /// The token behind the answer of the probe that ends the turn: the first special token, or, among several that
    /// follow each other at once, the one that the configuration calls an end.
    fn end_of_turn_of(&self, probe: &Probe, stop_ids: &[u32]) -> Result<Option<u32>, TextError> {
        let tokens = self.tokens.encode(&probe.text)?;
        let ends = |at: &usize| stop_ids.contains(&tokens.ids[*at]) || self.tokens.is_special(tokens.ids[*at]);
        let from = tokens.offsets.partition_point(|offset| offset.0 < probe.answer_end);
        let Some(first) = (from..tokens.ids.len()).find(ends) else { return Ok(None) };
        let touches = |at: &usize| *at == first || tokens.offsets[*at].0 == tokens.offsets[*at - 1].1;
        let run = (first..tokens.ids.len()).take_while(|at| ends(at) && touches(at));
        Ok(Some(run.map(|at| tokens.ids[at]).find(|id| stop_ids.contains(id)).unwrap_or(tokens.ids[first])))
    }

    /// Number of ids that the tokenizer may produce: the highest id plus one, added tokens included.
    pub fn vocab_size(&self) -> usize {
        self.tokens.vocab_size()
    }

    /// Where the tokenizer's files are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The text of the chat template.
    pub fn chat_template(&self) -> Option<&str> {
        self.template.as_ref().map(ChatTemplate::text)
    }

    /// Whether chats can be rendered.
    pub fn has_chat_template(&self) -> bool {
        self.template.is_some()
    }

    /// The beginning-of-text token, if the tokenizer names one.
    pub fn bos_id(&self) -> Option<u32> {
        self.tokens.bos().map(|bos| bos.id)
    }

    /// The end-of-text token, if the tokenizer names one.
    pub fn eos_id(&self) -> Option<u32> {
        self.tokens.eos().map(|eos| eos.id)
    }

    /// The token with which the chat template ends an assistant turn; `None` when it writes none.
    pub fn end_of_turn_id(&self) -> Option<u32> {
        self.end_of_turn
    }

    /// Ids at which generation stops: `eos_token` of the tokenizer, `eos_token_id` of `generation_config.json` and
    /// `config.json`, and the end of turn of the chat template.
    pub fn stop_ids(&self) -> &[u32] {
        &self.stop_ids
    }

    /// A name for everything here that decides on ids: blake3 (hex) over tokenizer.json, the template's text, its
    /// date and its variables.
    pub fn identity(&self) -> String {
        self.identity.clone()
    }

    /// blake3 (hex) of the tokenizer's file.
    pub fn tokenizer_hash(&self) -> String {
        self.tokens.hash().to_hex().to_string()
    }

    /// blake3 (hex) of the chat template's text.
    pub fn template_hash(&self) -> Option<String> {
        self.template.as_ref().map(|template| blake3::hash(template.text().as_bytes()).to_hex().to_string())
    }

    /// Renders a chat as text.
    ///
    /// # Errors
    /// [`TextError::NoChatTemplate`], [`TextError::TemplateRefused`], [`TextError::TemplateFailed`],
    /// [`TextError::TemplateBounds`].
    pub fn render(&self, conversation: &Conversation, add_generation_prompt: bool) -> Result<String, TextError> {
        Ok(self.renderer()?.render_checked(conversation, add_generation_prompt)?.text)
    }

    /// A chat as the model gets it before it answers, with the header of the assistant's turn.
    ///
    /// # Errors
    /// As [`TextModel::render`], and [`TextError::MarkerInText`], [`TextError::DoubleBos`].
    pub fn encode_prompt(&self, conversation: &Conversation) -> Result<Vec<u32>, TextError> {
        self.refuse_markers(conversation)?;
        Ok(self.encode_rendered(&self.render(conversation, true)?)?.ids)
    }

    /// Plain text, with what the tokenizer puts in front of it (BOS for most models that have one).
    ///
    /// # Errors
    /// [`TextError::Encode`].
    pub fn encode_raw(&self, text: &str) -> Result<Vec<u32>, TextError> {
        Ok(self.tokens.encode_with_prefix(text)?.ids)
    }

    /// Tokens to text.
    ///
    /// # Errors
    /// [`TextError::Encode`].
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, TextError> {
        self.tokens.decode(ids, skip_special)
    }

    /// Turns generated tokens into text one by one, never half a character.
    pub fn decode_stream(&self, skip_special: bool) -> DecodeStream<'_> {
        DecodeStream::new(&self.tokens, skip_special)
    }

    /// One token for display, with its leading space; bytes that are no text by themselves as `<0xE4>`.
    pub fn token_text(&self, id: u32) -> String {
        self.tokens.text(id)
    }

    pub(crate) fn renderer(&self) -> Result<ChatRenderer<'_>, TextError> {
        match &self.template {
            Some(template) => Ok(ChatRenderer { template, variables: &self.variables }),
            None => Err(TextError::NoChatTemplate { dir: self.dir.clone() }),
        }
    }

    /// A rendered chat as tokens: BOS once, whether the template writes it or the tokenizer adds it.
    pub(crate) fn encode_rendered(&self, text: &str) -> Result<Tokenized, TextError> {
        let tokens = self.tokens.encode_with_prefix(text)?;
        match self.tokens.bos() {
            Some(bos) if tokens.ids.starts_with(&[bos.id, bos.id]) => {
                Err(TextError::DoubleBos { token: bos.text.clone() })
            }
            _ => Ok(tokens),
        }
    }

    /// Refuses a chat whose texts hold the text of a special token.
    ///
    /// The tokenizer would read it as that token: a user could end the turn and speak as the assistant. Transformers
    /// lets it pass; here it is an error, because it changes the chat without a word.
    pub(crate) fn refuse_markers(&self, conversation: &Conversation) -> Result<(), TextError> {
        let find = |json: &Json| {
            let mut found = None;
            marks::texts_of(json, &mut |text| found = found.take().or_else(|| self.tokens.find_marker(text)));
            found
        };
        for (index, message) in conversation.messages.iter().enumerate() {
            let error = |part: &str, marker: &str| TextError::MarkerInText {
                message: index + 1,
                role: message.role.clone(),
                part: part.to_owned(),
                marker: marker.to_owned(),
            };
            if let Some(marker) = self.tokens.find_marker(&message.role) {
                return Err(error("role", marker));
            }
            if let Some(marker) = find(&message.content) {
                return Err(error("content", marker));
            }
            for (key, value) in &message.fields {
                if let Some(marker) = find(value) {
                    return Err(error(key, marker));
                }
            }
        }
        match conversation.tools.as_ref().and_then(find) {
            Some(marker) => Err(TextError::MarkerInText {
                message: 0,
                role: String::new(),
                part: "tools".to_owned(),
                marker: marker.to_owned(),
            }),
            None => Ok(()),
        }
    }
}

/// The chat template by the rules of Transformers: an explicit one, then `chat_template.jinja`, then the key
/// `chat_template` of tokenizer_config.json (a text, or a list of named ones, of which `default` is taken).
fn find_template(
    dir: &Path,
    beside: Option<String>,
    options: &LoadOptions,
    config: &JsonFile,
    tokens: &Tokens,
) -> Result<Option<ChatTemplate>, TextError> {
    let compile = |text: String, origin: &str| ChatTemplate::compile(text, origin, options.template_date).map(Some);
    let limit = MAX_TEMPLATE_BYTES as u64;
    if let Some(name) = &options.chat_template {
        if let Some(text) = builtin::template(name, tokens)? {
            return compile(text.to_owned(), name);
        }
        let text = if Path::new(name).is_file() { files::read_text(Path::new(name), limit)? } else { None };
        return match text {
            Some(text) => compile(text, name),
            None => Err(TextError::UnknownTemplate { name: name.clone() }),
        };
    }
    if let Some(text) = beside {
        return compile(text, &dir.join("chat_template.jinja").display().to_string());
    }
    let origin = config.path.display().to_string();
    match config.content.get("chat_template") {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(text)) => compile(text.clone(), &origin),
        Some(Json::Array(named)) => {
            let default = named.iter().find(|entry| entry["name"] == "default");
            match default.map(|entry| &entry["template"]) {
                Some(Json::String(text)) => compile(text.clone(), &origin),
                Some(other) => Err(config.wrong_type("chat_template[default].template", "a text", other)),
                None => Ok(None),
            }
        }
        Some(other) => Err(config.wrong_type("chat_template", "a text or a list of named templates", other)),
    }
}

fn template_variables(
    options: &LoadOptions,
    config: &JsonFile,
    special_map: &JsonFile,
) -> Result<Vec<(String, Value)>, TextError> {
    let mut variables = Vec::new();
    for name in TOKEN_VARIABLES {
        let file = if config.content.contains_key(name) { config } else { special_map };
        if let Some(text) = file.token(name)? {
            variables.push((name.to_owned(), Value::from(text)));
        }
    }
    for (name, value) in &options.template_variables {
        variables.retain(|(known, _)| known != name);
        variables.push((name.clone(), to_template_value(value)));
    }
    Ok(variables)
}

fn identity(
    tokens: &Tokens,
    template: Option<&ChatTemplate>,
    variables: &[(String, Value)],
    options: &LoadOptions,
) -> String {
    let mut hasher = blake3::Hasher::new();
    let mut add = |part: &[u8]| {
        // The length first, so that no two sets of parts look alike.
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    };
    add(tokens.hash().as_bytes());
    add(template.map_or("", ChatTemplate::text).as_bytes());
    add(options.template_date.to_string().as_bytes());
    for (name, value) in variables {
        add(name.as_bytes());
        add(value.to_string().as_bytes());
    }
    hasher.finalize().to_hex().to_string()
}
