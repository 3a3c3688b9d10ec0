//! `ft evaluate`

use std::path::{Path, PathBuf};

use attune_compute::cpu::Cpu;
use attune_config::{AdapterMethod, Config, Quantize};
use attune_model::{Adapter, Decoder};
use attune_text::{LoadOptions, TextModel};
use attune_train::answers::{HeldOut, Scores};
use attune_train::inputs::open_base;
use regex::Regex;
use serde_json::{Value, json};

use crate::failure::{Failure, INTERRUPTED, USAGE};
use crate::interrupt;
use crate::live::format::loss;
use crate::live::plain;
use crate::live::view::plural;
use crate::output;
use crate::paint::{Ink, Line, one_line};

/// Ask a model held-out questions, before and after tuning
///
/// A row that ends with an answer is compared with the model's own (the most probable tokens): mean loss of the expected
/// answer with its perplexity, share of equal answers, F1 of the words, and the share that fits a pattern. Plain texts give
/// loss and perplexity. With --adapter or --run the base and the tuned model are asked the same, side by side.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The model
    #[arg(long, value_name = "PATH", required_unless_present = "run")]
    model: Option<PathBuf>,
    /// An adapter for it
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A finished run: its base beside what it trained
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "adapter"])]
    run: Option<PathBuf>,
    /// Files of held-out rows
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    data: Vec<PathBuf>,
    /// A regular expression that answers should fit; may be given several times
    #[arg(long = "pattern", value_name = "REGEX")]
    patterns: Vec<String>,
    /// Ask so many rows at most
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
    /// The most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_tokens: usize,
    /// Print so many questions with their answers
    #[arg(long, value_name = "N", default_value_t = 3)]
    show: usize,
    /// Also write everything as JSON into a file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// One of the models that are asked.
struct Asked {
    name: &'static str,
    scores: Scores,
    /// Shares of the answers that fit the patterns; `None` without answers.
    fitting: Vec<Option<f64>>,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let patterns = args.patterns.iter().map(|pattern| compile(pattern)).collect::<Result<Vec<_>, _>>()?;
    let asked = match &args.run {
        Some(dir) => ask_run(args, dir)?,
        None => {
            let Some(model) = &args.model else { unreachable!("clap asks for --model or --run") };
            ask_model(args, (model, Quantize::None), args.adapter.as_deref(), &LoadOptions::default())?
        }
    };
    let asked: Vec<Asked> = asked
        .into_iter()
        .map(|(name, scores)| Asked {
            fitting: patterns.iter().map(|one| fitting(one, &scores)).collect(),
            name,
            scores,
        })
        .collect();
    let result = to_json(&asked, &args.patterns);
    if let Some(path) = &args.out {
        attune_formats::files::write_atomic(path, format!("{result:#}\n").as_bytes())?;
    }
    if args.json {
        return output::result(&result.to_string());
    }
    let colors = console::colors_enabled();
    for line in table(&asked, &args.patterns).into_iter().chain(examples(&asked, args.show)) {
        output::result(&line.paint(colors))?;
    }
    Ok(())
}

fn compile(pattern: &str) -> Result<Regex, Failure> {
    Regex::new(pattern)
        .map_err(|error| Failure::new(USAGE, format!("--pattern {pattern}: {error}"), "mend the pattern"))
}

fn fitting(pattern: &Regex, scores: &Scores) -> Option<f64> {
    let fits = scores.answers.iter().filter(|answer| pattern.is_match(&answer.answer)).count();
    (!scores.answers.is_empty()).then(|| fits as f64 / scores.answers.len() as f64)
}

type Answered = Vec<(&'static str, Scores)>;

/// A run's base beside its adapter or its model.
fn ask_run(args: &Args, run: &Path) -> Result<Answered, Failure> {
    let config = Config::load(&run.join("config.yaml"), std::iter::empty(), &[])?;
    let text = attune_train::inputs::load_options(&config);
    let output = run.join(if config.adapter.method == AdapterMethod::Full { "model" } else { "adapter" });
    if !output.is_dir() {
        let message = format!("{}: is not finished", run.display());
        return Err(Failure::new(USAGE, message, "finish it with `ft resume`, or name a checkpoint with --adapter"));
    }
    if config.adapter.method != AdapterMethod::Full {
        // The adapter learnt beside the base as the run had it.
        return ask_model(args, (&config.model.path, config.model.quantize), Some(&output), &text);
    }
    let has_base = config.model.init == attune_config::ModelInit::Pretrained;
    let mut asked =
        if has_base { ask_model(args, (&config.model.path, Quantize::None), None, &text)? } else { Vec::new() };
    let tuned = ask_model(
        args,
        (&output, Quantize::None),
        None,
        &LoadOptions { tokenizer: None, chat_template: None, ..text },
    )?;
    asked.extend(tuned.into_iter().map(|(_, scores)| ("tuned", scores)));
    Ok(asked)
}

/// A model, and with an adapter the same again.
fn ask_model(
    args: &Args,
    (model, quantize): (&Path, Quantize),
    adapter: Option<&Path>,
    options: &LoadOptions,
) -> Result<Answered, Failure> {
    let text = TextModel::load(model, options)?;
    let backend = Cpu::new(None)?;
    let (base, note) = open_base(model, quantize, backend.threads())?;
    if let Some(note) = note {
        output::say(&[plain::warning(&note)]);
    }
    let adapter = adapter.map(|dir| Adapter::open(&base.spec, dir)).transpose()?;
    let limits = (base.spec.vocabulary, base.spec.max_positions);
    let held_out = HeldOut::read(&args.data, &text, limits, args.limit)?;
    if held_out.questions() == 0 && !args.patterns.is_empty() {
        let message = "--pattern is for answers, and no row of --data asks anything";
        return Err(Failure::new(USAGE, message, "leave --pattern out, or give chats that end with an answer"));
    }
    let positions = held_out.positions(args.max_tokens).min(base.spec.max_positions);
    let decoder = Decoder::new(&backend, &base, positions)?;
    let interrupt = interrupt::flag()?;
    let ask = |name: &'static str, adapter: Option<&Adapter>| {
        let (rows, questions) = (held_out.rows() as u64, held_out.questions() as u64);
        let what = match questions {
            0 => format!("reading {} to the {name}", plural(rows, "text")),
            _ => format!("asking the {name} {}", plural(questions, "question")),
        };
        output::say(&[Line::new().with(Ink::Dim, what)]);
        match held_out.ask(&decoder, adapter, &text, args.max_tokens, &interrupt)? {
            Some(scores) => Ok((name, scores)),
            None => Err(Failure::new(INTERRUPTED, "interrupted", "nothing was written")),
        }
    };
    let mut asked = vec![ask(if adapter.is_some() { "base" } else { "model" }, None)?];
    if let Some(adapter) = &adapter {
        asked.push(ask("tuned", Some(adapter))?);
    }
    Ok(asked)
}

fn to_json(asked: &[Asked], patterns: &[String]) -> Value {
    let of_model = |asked: &Asked| {
        let fitting: serde_json::Map<String, Value> =
            patterns.iter().cloned().zip(asked.fitting.iter().map(|&share| json!(share))).collect();
        json!({
            "model": asked.name,
            "questions": asked.scores.answers.len(),
            "loss": asked.scores.loss,
            "perplexity": asked.scores.loss.exp(),
            "tokens": asked.scores.tokens,
            "exact": asked.scores.exact,
            "word_f1": asked.scores.word_f1,
            "patterns": fitting,
            "answers": asked.scores.answers,
        })
    };
    json!({ "models": asked.iter().map(of_model).collect::<Vec<_>>() })
}

fn table(asked: &[Asked], patterns: &[String]) -> Vec<Line> {
    let percent = |share: Option<f64>| share.map_or("-".into(), |share| format!("{:.1} %", 100.0 * share));
    let row = |name: String, value: &dyn Fn(&Asked) -> String| {
        let values: String = asked.iter().map(|asked| format!("{:>12}", value(asked))).collect();
        Line::from(format!("{name:<24}{values}"))
    };
    let questions = asked.first().map_or(0, |asked| asked.scores.answers.len());
    let heading = if questions == 0 { "texts".into() } else { plural(questions as u64, "question") };
    let what = if questions == 0 { "loss of a token" } else { "loss of the answer" };
    let mut lines = vec![
        row(heading, &|asked| asked.name.into()),
        row(what.into(), &|asked| loss(asked.scores.loss)),
        row("perplexity".into(), &|asked| format!("{:.3}", asked.scores.loss.exp())),
    ];
    if questions > 0 {
        lines.push(row("equal answers".into(), &|asked| percent(asked.scores.exact)));
        let f1 = |asked: &Asked| asked.scores.word_f1.map_or("-".into(), |f1| format!("{f1:.3}"));
        lines.push(row("F1 of the words".into(), &f1));
    }
    for index in 0..patterns.len() {
        let name = if patterns.len() == 1 { "fits the pattern".into() } else { format!("fits pattern {}", index + 1) };
        lines.push(row(name, &|asked| percent(asked.fitting[index])));
    }
    lines
}

/// The first questions, each with what all say.
fn examples(asked: &[Asked], count: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    let Some(first) = asked.first() else { return lines };
    for (index, answer) in first.scores.answers.iter().take(count).enumerate() {
        let shown =
            |name: &str, ink, text: &str| Line::new().with(Ink::Dim, format!("  {name:<9}")).with(ink, one_line(text));
        lines.push(Line::new());
        lines.push(shown("question", Ink::Bold, &answer.question));
        for asked in asked {
            lines.push(shown(asked.name, Ink::Plain, &asked.scores.answers[index].answer));
        }
        lines.push(shown("expected", Ink::Dim, &answer.expected));
    }
    lines
}
