//! What is decided about a model's texts, for those who compare or write it.

use serde_json::{Map, Value as Json, json};

use crate::error::TextError;
use crate::model::TextModel;

/// A token that is recognised as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecialToken {
    /// Its id.
    pub id: u32,
    /// Its text.
    pub text: String,
    /// Whether decoding can leave it out.
    pub special: bool,
}

/// What a model's text side decides, beside the ids of ordinary texts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Highest id plus one.
    pub vocab_size: usize,
    /// All tokens that are recognised as a whole, by id.
    pub special_tokens: Vec<SpecialToken>,
    /// The token that opens a text.
    pub bos: Option<u32>,
    /// Whether encoding a text puts `bos` in front of it.
    pub adds_bos: bool,
    /// The token that ends a text.
    pub eos: Option<u32>,
    /// The token with which the template ends an assistant turn.
    pub end_of_turn: Option<u32>,
    /// Ids at which generation stops, sorted.
    pub stop_ids: Vec<u32>,
    /// The template's text as published.
    pub chat_template: Option<String>,
}

impl TextModel {
    /// What is decided about this model's texts.
    pub fn facts(&self) -> Facts {
        let mut special_tokens: Vec<SpecialToken> = self
            .tokens
            .tokenizer()
            .get_added_tokens_decoder()
            .into_iter()
            .map(|(id, token)| SpecialToken { id, text: token.content, special: token.special })
            .collect();
        special_tokens.sort_by_key(|token| token.id);
        let mut stop_ids = self.stop_ids().to_vec();
        stop_ids.sort_unstable();
        Facts {
            vocab_size: self.vocab_size(),
            special_tokens,
            bos: self.bos_id(),
            adds_bos: self.bos_id().is_some_and(|bos| self.tokens.prefix().contains(&bos)),
            eos: self.eos_id(),
            end_of_turn: self.end_of_turn_id(),
            stop_ids,
            chat_template: self.template.as_ref().map(|template| template.text().to_owned()),
        }
    }

    /// The files that a folder in Hugging Face layout needs for this text side, as names and contents:
    /// `tokenizer.json`, `tokenizer_config.json` (with the template in use), `special_tokens_map.json` and
    /// `generation_config.json` (BOS and the stop ids).
    ///
    /// # Errors
    /// [`TextError::Encode`] when the tokenizer cannot be written.
    pub fn hugging_face_files(&self) -> Result<Vec<(&'static str, String)>, TextError> {
        let tokenizer = self
            .tokens
            .tokenizer()
            .to_string(false)
            .map_err(|error| TextError::Encode { reason: error.to_string() })?;
        let mut config = self.config.content.clone();
        let mut map = self.special_map.content.clone();
        for key in ["bos_token", "eos_token", "unk_token", "pad_token"] {
            if let Some(value) = config.get(key).filter(|value| !value.is_null()) {
                map.entry(key).or_insert_with(|| value.clone());
            }
        }
        if let Some(template) = &self.template {
            // The one in use takes the place of the published one; named ones beside it stay.
            let text = Json::from(template.text());
            match config.get_mut("chat_template") {
                Some(Json::Array(named)) => {
                    named.retain(|entry| entry["name"] != "default");
                    named.insert(0, json!({"name": "default", "template": text}));
                }
                _ => {
                    config.insert("chat_template".to_owned(), text);
                }
            }
        }
        let mut generation = Map::new();
        if let Some(bos) = self.bos_id() {
            generation.insert("bos_token_id".to_owned(), bos.into());
        }
        match self.stop_ids() {
            [] => {}
            [one] => drop(generation.insert("eos_token_id".to_owned(), (*one).into())),
            more => drop(generation.insert("eos_token_id".to_owned(), more.into())),
        }
        let text = |content: Map<String, Json>| format!("{:#}\n", Json::Object(content));
        Ok(vec![
            ("tokenizer.json", tokenizer),
            ("tokenizer_config.json", text(config)),
            ("special_tokens_map.json", text(map)),
            ("generation_config.json", text(generation)),
        ])
    }
}
