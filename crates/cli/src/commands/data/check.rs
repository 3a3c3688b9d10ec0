//! `ft data check`

use std::path::PathBuf;
use std::sync::Arc;

use attune_config::{CompletionStyle, Config};
use attune_curate::check::{CheckReport, Encoder, NotEncoded, Request, Tokens, Verdict};
use attune_data::Row;
use attune_model::DecoderSpec;
use attune_text::{TextError, TextModel, TrainOn};
use attune_train::examples::encode_row;
use attune_train::inputs::{text_model, train_on};
use serde_json::{Value, json};

use super::common::{Shown, Source, read_options, refused, token_counter, transcripts_line};
use crate::failure::{Failure, USAGE};
use crate::live::format::grouped;
use crate::output;
use crate::paint::{Ink, Line, one_line};

/// Say whether a set would train, and train well
///
/// Looks at every row: whether it can be read and fits its form, turns, hidden characters, secrets, personal data,
/// repetition, evaluation data, labels and giveaways of preference data; and with a base model at template, lengths and
/// trained tokens. Exit code 3 when something would stop training or teach something wrong.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Files of any format that is read; without one data.train and data.validation of the configuration
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    source: Source,
    /// The base model whose tokenizer and chat template are used; default is model.path of the configuration
    #[arg(long, value_name = "DIR")]
    model: Option<PathBuf>,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// A base model's way to put rows into tokens.
struct ModelEncoder {
    text: Arc<TextModel>,
    completion_style: CompletionStyle,
    train_on: TrainOn,
    positions: usize,
    embeddings: usize,
}

impl ModelEncoder {
    fn new(config: &Config) -> Result<Self, Failure> {
        let spec = DecoderSpec::read(&config.model.path)?;
        Ok(Self {
            text: Arc::new(text_model(config)?),
            completion_style: config.data.completion_style,
            train_on: train_on(config),
            positions: spec.max_positions,
            embeddings: spec.vocabulary,
        })
    }
}

impl Encoder for ModelEncoder {
    /// Of preference data both answers are encoded; the longer one counts, and what is wrong with either.
    fn encode(&self, row: &Row) -> Result<Tokens, NotEncoded> {
        let mut all: Option<Tokens> = None;
        for content in row.content.examples() {
            let tokens = self.encode_example(&Row { content, ..row.clone() })?;
            all = Some(all.map_or(tokens, |other| Tokens {
                total: tokens.total.max(other.total),
                trained: tokens.trained.max(other.trained),
                end_of_turn_trained: tokens.end_of_turn_trained && other.end_of_turn_trained,
                doubled_bos: tokens.doubled_bos || other.doubled_bos,
                outside: tokens.outside || other.outside,
            }));
        }
        Ok(all.unwrap_or_default())
    }

    fn limit(&self) -> usize {
        self.positions
    }
}

impl ModelEncoder {
    fn encode_example(&self, row: &Row) -> Result<Tokens, NotEncoded> {
        let encoded = encode_row(row, &self.text, self.completion_style, self.train_on);
        let encoded = encoded.map_err(|error| NotEncoded {
            reason: error.to_string(),
            untrained: matches!(error, TextError::NoAssistantTurn { .. } | TextError::NoTrainedToken { .. }),
        })?;
        let begins_with = |count: usize| {
            let bos = self.text.bos_id();
            bos.is_some() && encoded.ids.len() >= count && encoded.ids[..count].iter().all(|&id| Some(id) == bos)
        };
        Ok(Tokens {
            total: encoded.ids.len(),
            trained: encoded.trained.iter().filter(|trained| **trained).count(),
            end_of_turn_trained: encoded.end_of_turn_trained,
            doubled_bos: begins_with(2),
            outside: encoded.ids.iter().any(|&id| id as usize >= self.embeddings),
        })
    }
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let mut config = args.source.config()?;
    if let Some(model) = &args.model {
        config.model.path.clone_from(model);
    }
    let files = match &args.files[..] {
        [] => config.data.train.iter().chain(&config.data.validation).cloned().collect(),
        files => files.to_vec(),
    };
    if files.is_empty() {
        return Err(Failure::new(USAGE, "no file is given", "name the files, or a configuration with data.train"));
    }
    args.source.check_files(&files)?;
    let encoder = match config.model.path.as_os_str().is_empty() {
        true => None,
        false => Some(ModelEncoder::new(&config)?),
    };
    let read = read_options(&config);
    let scratch = std::env::temp_dir();
    let request = Request {
        inputs: &files,
        format: args.source.format_of(&config),
        read: &read,
        config: &config,
        encoder: encoder.as_ref().map(|encoder| encoder as &dyn Encoder),
        tokens: encoder.as_ref().map(|encoder| token_counter(&encoder.text)),
        scratch: &scratch,
    };
    let report = {
        let shown = Shown::new()?;
        attune_curate::check::check(&request, &shown)?
    };
    if args.json {
        let mut line = json!(report);
        if let Value::Object(line) = &mut line {
            line.insert("verdict".into(), json!(report.verdict()));
        }
        output::result(&line.to_string())?;
    } else {
        let colors = console::colors_enabled();
        let lines: Vec<String> = describe(&report).iter().map(|line| line.paint(colors)).collect();
        output::result(&lines.join("\n"))?;
    }
    let refusals: Vec<&str> =
        (report.checks.iter()).filter(|check| check.verdict == Verdict::Refused).map(|check| check.check).collect();
    match &refusals[..] {
        [] => Ok(()),
        names => Err(refused(
            &[format!("refused by: {}", names.join(", "))],
            "the table says what to do; training would stop at these rows or learn something wrong from them",
        )),
    }
}

fn describe(report: &CheckReport) -> Vec<Line> {
    let width = report.checks.iter().map(|check| check.check.chars().count()).max().unwrap_or(0);
    let numbers = |check: &attune_curate::check::Check| match check.found {
        0 => "-".to_owned(),
        found => grouped(found as u64),
    };
    let wide = report.checks.iter().map(|check| numbers(check).chars().count()).max().unwrap_or(1).max(4);
    let mut lines = Vec::new();
    for input in &report.inputs {
        let faults = match input.faults {
            0 => String::new(),
            faults => format!(" and {} that could not be read", grouped(faults as u64)),
        };
        let rows = grouped(input.rows as u64);
        lines.push(Line::from(format!("{}: {}, {rows} rows{faults}", input.path.display(), input.form.name())));
    }
    let transcripts = transcripts_line(report.inputs.iter().map(|input| input.transcript));
    lines.extend(transcripts.map(Line::from));
    lines.push(Line::new());
    lines.push(Line::new().with(Ink::Dim, format!("{:<7}  {:<width$}  {:>wide$}", "", "check", "rows")));
    for check in &report.checks {
        let (ink, word) = match check.verdict {
            Verdict::Fine => (Ink::Good, "ok"),
            Verdict::Warning => (Ink::Bold, "warning"),
            Verdict::Refused => (Ink::Error, "refused"),
        };
        let text = format!("  {:<width$}  {:>wide$}  {}", check.check, numbers(check), check.words);
        lines.push(Line::new().with(ink, format!("{word:<7}")).with(Ink::Plain, text.trim_end().to_owned()));
        for example in &check.examples {
            lines.push(Line::new().with(Ink::Dim, format!("{:9}{}", "", one_line(example))));
        }
    }
    if !report.lengths.is_empty() {
        lines.push(Line::new());
        for (name, distribution) in &report.lengths {
            let at = |percent| distribution.percentiles.get(&percent).map_or("-".into(), |&value| grouped(value));
            lines.push(Line::from(format!(
                "{name}: {} in all; shortest {}, median {}, 95 % {}, longest {}",
                grouped(distribution.sum),
                grouped(distribution.min),
                at(50),
                at(95),
                grouped(distribution.max)
            )));
        }
    }
    let languages: Vec<String> =
        report.languages.iter().take(8).map(|(name, rows)| format!("{name} {}", grouped(*rows as u64))).collect();
    if !languages.is_empty() {
        lines.push(Line::from(format!("languages: {}", languages.join(", "))));
    }
    lines
}
