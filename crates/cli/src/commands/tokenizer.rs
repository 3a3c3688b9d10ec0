//! `ft tokenizer`

use std::path::{Path, PathBuf};

use attune_data::{FormatChoice, ReadOptions, RowContent};
use attune_formats::files::DirWriter;
use attune_text::{TokenizerOptions, TrainedTokenizer, train_tokenizer};
use serde_json::{Value, json};

use crate::failure::{Failure, USAGE};
use crate::live::format::{bytes, grouped};
use crate::output;
use crate::paint::Line;

/// Make a tokenizer of your own
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    Train(TrainArgs),
}

/// Train a byte-level BPE tokenizer on texts
///
/// Reads what `ft train` reads: chats give their messages, documents their text. Leaves a folder with tokenizer.json and
/// tokenizer_config.json (with the chat template), for `model.tokenizer` of a new model (`model.init: random`). The same
/// texts give the same tokenizer.
#[derive(Debug, clap::Args)]
struct TrainArgs {
    /// Files to learn from
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Tokens that it has at most, the 256 bytes and the special ones included
    #[arg(long, value_name = "N", default_value_t = TokenizerOptions::default().vocabulary)]
    vocabulary: usize,
    /// The folder to write, which must not exist
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// The token that ends a text
    #[arg(long, value_name = "TOKEN", default_value_t = TokenizerOptions::default().end_of_text)]
    end_of_text: String,
    /// A further special token; may be given several times [default: those of ChatML]
    #[arg(long = "special", value_name = "TOKEN")]
    special: Vec<String>,
    /// A chat template in Jinja [default: ChatML]
    #[arg(long, value_name = "FILE")]
    chat_template: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    match &args.action {
        Action::Train(args) => train(args),
    }
}

/// Templates are short: those of large models have some 20 KB.
const MAX_TEMPLATE_BYTES: u64 = 1 << 20;

fn train(args: &TrainArgs) -> Result<(), Failure> {
    let mut options = TokenizerOptions {
        vocabulary: args.vocabulary,
        end_of_text: args.end_of_text.clone(),
        ..TokenizerOptions::default()
    };
    if !args.special.is_empty() {
        options.special.clone_from(&args.special);
    }
    if let Some(path) = &args.chat_template {
        options.chat_template = Some(read_template(path)?);
    }
    if args.out.exists() {
        let problem = format!("{}: exists already", args.out.display());
        return Err(Failure::new(USAGE, problem, "choose another --out"));
    }
    let set = attune_data::read_with(&args.files, FormatChoice::Auto, &ReadOptions::default())?;
    let texts: Vec<String> = set.rows.into_iter().flat_map(|row| texts_of(row.content)).collect();
    let (count, size) = (texts.len(), texts.iter().map(String::len).sum::<usize>());
    let TrainedTokenizer { files, vocabulary } = train_tokenizer(texts.into_iter(), &options)?;
    let writer = DirWriter::create(&args.out)?;
    for (name, content) in &files {
        writer.write(name, content.as_bytes())?;
    }
    writer.commit()?;
    if args.json {
        let result = json!({ "tokenizer": args.out, "vocabulary": vocabulary, "texts": count, "bytes": size });
        return output::result(&result.to_string());
    }
    let read =
        format!("{} texts, {}: {} tokens", grouped(count as u64), bytes(size as u64), grouped(vocabulary as u64));
    output::say(&[Line::from(read)]);
    if vocabulary < options.vocabulary {
        output::say(&[Line::from(format!(
            "  fewer than the {} asked for: no other pair occurs twice",
            grouped(options.vocabulary as u64)
        ))]);
    }
    output::result(&args.out.display().to_string())
}

fn read_template(path: &Path) -> Result<String, Failure> {
    let bytes = attune_formats::files::read_limited(path, MAX_TEMPLATE_BYTES)?;
    String::from_utf8(bytes)
        .map_err(|error| Failure::new(USAGE, format!("{}: {error}", path.display()), "save the template as UTF-8"))
}

/// All that a row says.
fn texts_of(content: RowContent) -> Vec<String> {
    let of_value = |value: Value| match value {
        Value::String(text) => Some(text),
        _ => None,
    };
    match content {
        RowContent::Chat(conversation) => {
            conversation.messages.into_iter().filter_map(|message| of_value(message.content)).collect()
        }
        RowContent::Completion { prompt, completion } => vec![prompt, completion],
        // Preferences and judgements are made of answers to the same question; their texts are no better than others.
        RowContent::Preference(_) | RowContent::Judged { .. } => Vec::new(),
    }
}
