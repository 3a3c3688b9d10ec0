//! `ft data inspect`

use std::path::PathBuf;

use attune_config::CompletionStyle;
use attune_data::{FormatChoice, ReadOptions, Row, Transcripts};
use attune_text::{Encoded, LoadOptions, TextError, TextModel, TrainOn};
use attune_train::examples::encode_row;
use clap::ValueEnum;
use serde_json::{Value, json};

use super::common::{check_assistant, transcripts_line};
use crate::failure::Failure;
use crate::mask::{self, ShownToken};
use crate::output;
use crate::paint::{Ink, Line, one_line};

/// Say which form data files have, and show which tokens are trained
///
/// Reads every row. With --show-mask, trained tokens are bold and green; without colours they stand in «brackets».
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of rows, of any kind that is read
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The base model whose tokenizer and chat template are used
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Another chat template: chatml, plain or the path of a Jinja file
    #[arg(long, value_name = "NAME|FILE", requires = "model")]
    chat_template: Option<String>,
    /// The form of the rows
    #[arg(long, value_enum, default_value_t = Format::Auto)]
    format: Format,
    /// The part of a row that is trained
    #[arg(long, value_enum, default_value_t = Trained::Assistant)]
    train_on: Trained,
    /// How prompt/completion rows of plain text are presented to the model
    #[arg(long, value_enum, default_value_t = Style::Auto)]
    completion_style: Style,
    /// The speaker of captions who is the assistant
    #[arg(long, value_name = "NAME")]
    assistant: Option<String>,
    /// Show the tokens of the first N rows
    #[arg(long, value_name = "N", requires = "model", default_value_t = 0)]
    show_mask: usize,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum Format {
    Auto,
    Messages,
    PromptCompletion,
    Alpaca,
    Sharegpt,
    Text,
    Preference,
    Kto,
}

impl Format {
    pub(super) fn choice(self) -> FormatChoice {
        match self {
            Self::Auto => FormatChoice::Auto,
            Self::Messages => FormatChoice::Messages,
            Self::PromptCompletion => FormatChoice::PromptCompletion,
            Self::Alpaca => FormatChoice::Alpaca,
            Self::Sharegpt => FormatChoice::Sharegpt,
            Self::Text => FormatChoice::Text,
            Self::Preference => FormatChoice::Preference,
            Self::Kto => FormatChoice::Kto,
        }
    }
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Trained {
    /// All assistant turns
    Assistant,
    /// The last assistant turn
    Last,
    /// Every token
    All,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Style {
    /// Chat when the model has a chat template, else raw
    Auto,
    /// As a user and an assistant turn in the chat template
    Chat,
    /// As plain text, one after the other
    Raw,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let format = args.format.choice();
    check_assistant(args.assistant.as_deref(), &args.files)?;
    let transcripts = args.assistant.clone().map(|assistant| Transcripts { assistant, exchanges: None });
    let data = attune_data::read_with(&args.files, format, &ReadOptions { transcripts, ..ReadOptions::default() })?;
    let shown = match &args.model {
        Some(model) => {
            let options = LoadOptions { chat_template: args.chat_template.clone(), ..LoadOptions::default() };
            let text = TextModel::load(model, &options)?;
            data.rows.iter().take(args.show_mask).map(|row| Shown::new(args, &text, row)).collect()
        }
        None => Vec::new(),
    };
    if args.json {
        let files: Vec<Value> = data
            .files
            .iter()
            .map(|file| {
                json!({
                    "path": file.path.display().to_string(), "form": file.form.name(), "rows": file.rows, "bytes": file.bytes,
                    "blake3": file.hash, "transcript": file.transcript,
                })
            })
            .collect();
        let rows: Vec<Value> = shown.iter().map(Shown::to_json).collect();
        return output::result(&json!({ "files": files, "rows": data.rows.len(), "shown": rows }).to_string());
    }
    for file in &data.files {
        let rows = if file.rows == 1 { "row" } else { "rows" };
        output::result(&format!("{}: {}, {} {rows}", file.path.display(), file.form.name(), file.rows))?;
    }
    if let Some(line) = transcripts_line(data.files.iter().map(|file| file.transcript)) {
        output::result(&line)?;
    }
    let colors = console::colors_enabled();
    for row in &shown {
        let text: Vec<String> = row.lines(colors).iter().map(|line| line.paint(colors)).collect();
        output::result(&format!("\n{}", text.join("\n")))?;
    }
    Ok(())
}

fn encode(args: &Args, text: &TextModel, row: &Row) -> Result<Encoded, TextError> {
    let train_on = match args.train_on {
        Trained::Assistant => TrainOn::Assistant,
        Trained::Last => TrainOn::Last,
        Trained::All => TrainOn::All,
    };
    let completion_style = match args.completion_style {
        Style::Auto => CompletionStyle::Auto,
        Style::Chat => CompletionStyle::Chat,
        Style::Raw => CompletionStyle::Raw,
    };
    encode_row(row, text, completion_style, train_on)
}

/// A row as tokens, or why it is none.
struct Shown {
    origin: String,
    tokens: Result<Vec<ShownToken>, String>,
    ids: Vec<u32>,
}

impl Shown {
    fn new(args: &Args, text: &TextModel, row: &Row) -> Self {
        let origin = row.origin.to_string();
        match encode(args, text, row) {
            Ok(encoded) => {
                let tokens = encoded.ids.iter().zip(&encoded.trained).map(|(&id, &trained)| {
                    let token = text.token_text(id);
                    let special = !token.is_empty() && text.decode(&[id], true).is_ok_and(|text| text.is_empty());
                    ShownToken { text: token, trained, special }
                });
                Self { origin, tokens: Ok(tokens.collect()), ids: encoded.ids }
            }
            Err(error) => Self { origin, tokens: Err(format!("{error}; {}", error.hint())), ids: Vec::new() },
        }
    }

    fn to_json(&self) -> Value {
        match &self.tokens {
            Err(error) => json!({ "row": self.origin, "error": error }),
            Ok(tokens) => {
                let tokens = tokens.iter().zip(&self.ids);
                let tokens: Vec<Value> = tokens
                    .map(|(token, id)| json!({ "id": id, "text": token.text, "trained": token.trained }))
                    .collect();
                json!({ "row": self.origin, "tokens": tokens })
            }
        }
    }

    fn lines(&self, colors: bool) -> Vec<Line> {
        let head = Line::new().with(Ink::Bold, one_line(&self.origin));
        match &self.tokens {
            Err(error) => vec![head.with(Ink::Error, format!(": {}", one_line(error)))],
            Ok(tokens) => {
                let trained = tokens.iter().filter(|token| token.trained).count();
                let mut lines = vec![head.with(Ink::Plain, format!(": {} tokens, {trained} trained", tokens.len()))];
                lines.extend(mask::lines(tokens, colors));
                lines
            }
        }
    }
}
