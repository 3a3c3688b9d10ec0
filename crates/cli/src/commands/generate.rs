//! `ft generate`

use std::path::PathBuf;

use attune_compute::cpu::Cpu;
use attune_model::{Adapter, Decoder, Generated, Sampling, StopReason, generate};
use attune_text::{Conversation, LoadOptions, Message, TextError, TextModel};
use attune_train::inputs::open_base;
use serde_json::json;

use crate::commands::quantized::QuantizeFlag;
use crate::failure::{FAILED, Failure};
use crate::live::plain;
use crate::output;

/// Continue a prompt, or answer it as a chat
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The base model's folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// The base in few bits, as model.quantize makes it: once, then from the folder for caches
    #[arg(long, value_name = "TYPE", default_value = "none")]
    quantize: QuantizeFlag,
    /// An adapter of PEFT or mlx-lm
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// The prompt: a user's message, or plain text with --raw
    #[arg(long, value_name = "TEXT")]
    prompt: String,
    /// Take the prompt as plain text, without chat template
    #[arg(long)]
    raw: bool,
    /// Another chat template: chatml, plain or the path of a Jinja file
    #[arg(long, value_name = "NAME|FILE", conflicts_with = "raw")]
    chat_template: Option<String>,
    /// The most new tokens
    #[arg(long, value_name = "N", default_value_t = 256)]
    max_tokens: usize,
    /// 0 always takes the most probable token
    #[arg(long, value_name = "T", default_value_t = 0.0, value_parser = temperature)]
    temperature: f32,
    /// Draw among the K most probable tokens only
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    top_k: Option<u32>,
    /// Draw among the most probable tokens that together reach the probability P
    #[arg(long, value_name = "P", value_parser = probability)]
    top_p: Option<f32>,
    /// Decides every draw
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// Print {"text", "token_ids", "logprobs", "stop"} when done
    #[arg(long)]
    json: bool,
}

fn number(text: &str, allowed: &str, fits: impl Fn(f32) -> bool) -> Result<f32, String> {
    text.parse()
        .ok()
        .filter(|number: &f32| number.is_finite() && fits(*number))
        .ok_or_else(|| format!("expected {allowed}"))
}

fn temperature(text: &str) -> Result<f32, String> {
    number(text, "a number from 0", |number| number >= 0.0)
}

fn probability(text: &str) -> Result<f32, String> {
    number(text, "a number above 0 and up to 1", |number| number > 0.0 && number <= 1.0)
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let options = LoadOptions { chat_template: args.chat_template.clone(), ..LoadOptions::default() };
    let text = TextModel::load(&args.model, &options)?;
    let prompt_ids = encode(args, &text)?;
    let backend = Cpu::new(None)?;
    let (base, note) = open_base(&args.model, args.quantize.choice(), backend.threads())?;
    if let Some(note) = note {
        output::say(&[plain::warning(&note)]);
    }
    let adapter = args.adapter.as_ref().map(|dir| Adapter::open(&base.spec, dir)).transpose()?;
    let positions = prompt_ids.len().saturating_add(args.max_tokens).min(base.spec.max_positions);
    let decoder = Decoder::new(&backend, &base, positions)?;
    let sampling = Sampling {
        max_tokens: args.max_tokens,
        temperature: args.temperature,
        top_k: args.top_k.map(|top_k| top_k as usize),
        top_p: args.top_p,
        seed: args.seed,
        stop_ids: text.stop_ids().to_vec(),
    };

    let mut stream = text.decode_stream(true);
    let mut printed: Result<(), Failure> = Ok(());
    let mut on_token = |id: u32| {
        if !args.json {
            printed = stream.push(id).map_err(Failure::from).and_then(|part| Ok(output::stream(&part)?));
        }
        printed.is_ok()
    };
    let generated = generate(&decoder, adapter.as_ref(), &prompt_ids, &sampling, &mut on_token)?;
    printed?;
    if args.json {
        return print_json(&text, &generated);
    }
    output::result(&stream.finish()?)
}

fn encode(args: &Args, text: &TextModel) -> Result<Vec<u32>, Failure> {
    if args.raw {
        return Ok(text.encode_raw(&args.prompt)?);
    }
    let chat = Conversation { messages: vec![Message::new("user", args.prompt.as_str())], tools: None };
    text.encode_prompt(&chat).map_err(|error| match error {
        TextError::NoChatTemplate { .. } => {
            let hint = "give the prompt as plain text with --raw, or choose --chat-template chatml or plain";
            Failure::new(FAILED, error.to_string(), hint)
        }
        error => error.into(),
    })
}

fn print_json(text: &TextModel, generated: &Generated) -> Result<(), Failure> {
    let stop = match generated.stop {
        StopReason::StopToken => "stop_token",
        StopReason::MaxTokens => "max_tokens",
        StopReason::ContextFull => "context_full",
    };
    let result = json!({
        "text": text.decode(&generated.ids, true)?,
        "token_ids": generated.ids,
        "logprobs": generated.logprobs,
        "stop": stop,
    });
    output::result(&result.to_string())
}
