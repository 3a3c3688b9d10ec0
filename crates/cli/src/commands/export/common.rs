//! What `ft fuse` and all of `ft export` share: what is exported, and how the result is told.

use std::path::{Path, PathBuf};

use attune_config::{AdapterMethod, Config};
use attune_export::gate::{GateReport, Limits, Prompt, default_prompts, read_prompts};
use attune_export::{ExportReport, Tuned};
use attune_text::LoadOptions;

use crate::failure::{Failure, REFUSED, USAGE};
use crate::live::format::grouped;
use crate::output;
use crate::paint::{Ink, Line};

/// Base, adapter, and what the gate asks both.
#[derive(Debug, clap::Args)]
pub(crate) struct Request {
    /// The base model
    #[arg(long, value_name = "PATH", required_unless_present = "run")]
    model: Option<PathBuf>,
    /// The adapter
    #[arg(long, value_name = "DIR")]
    adapter: Option<PathBuf>,
    /// A finished run: its base, its adapter, and the tokenizer and template that it was trained with; or its model, if it
    /// trained all weights
    #[arg(long, value_name = "DIR", conflicts_with_all = ["model", "adapter", "tokenizer", "chat_template"])]
    run: Option<PathBuf>,
    /// The tokenizer that the adapter was trained with, where it is not the base's own
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    /// The chat template that the adapter was trained with, where it is not the base's own: chatml, plain or a Jinja file
    #[arg(long, value_name = "NAME|FILE")]
    chat_template: Option<String>,
    /// What the gate asks: a file with a prompt per line, or JSONL rows with `messages` or `prompt`
    #[arg(long, value_name = "FILE")]
    prompts: Option<PathBuf>,
    /// How far the artefact's answers may be from the tuned model's, in nats a token; left out, what suits its type
    #[arg(long, value_name = "D", value_parser = divergence)]
    max_divergence: Option<f64>,
}

fn divergence(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|value: &f64| *value >= 0.0).ok_or_else(|| "expected a number from 0".into())
}

/// A request with all paths known.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) model: PathBuf,
    pub(crate) adapter: Option<PathBuf>,
    pub(crate) text: LoadOptions,
    /// The run whose model it is, where all weights were trained and there is no adapter.
    whole_of: Option<PathBuf>,
}

impl Source {
    /// The adapter, for commands that need one.
    pub(crate) fn adapter(&self) -> Result<&Path, Failure> {
        self.adapter.as_deref().ok_or_else(|| match &self.whole_of {
            None => Failure::new(USAGE, "no adapter was given", "name it with --adapter, or a finished run with --run"),
            Some(run) => {
                let message = format!("{}: trained all weights, so there is no adapter to fuse", run.display());
                let model = self.model.display();
                let hint = format!("the model is {model}; `ft export hf --run {}` writes it elsewhere", run.display());
                Failure::new(USAGE, message, hint)
            }
        })
    }

    /// The artefact brings its own tokenizer and template; only the date of templates that show it is the same.
    pub(crate) fn artefact_text(&self) -> LoadOptions {
        LoadOptions { template_date: self.text.template_date, ..LoadOptions::default() }
    }
}

impl Request {
    pub(crate) fn resolve(&self) -> Result<Source, Failure> {
        if let Some(run) = &self.run {
            return of_run(run);
        }
        let Some(model) = self.model.clone() else { unreachable!("clap asks for --model or --run") };
        let text = LoadOptions {
            tokenizer: self.tokenizer.clone(),
            chat_template: self.chat_template.clone(),
            ..LoadOptions::default()
        };
        Ok(Source { model, adapter: self.adapter.clone(), text, whole_of: None })
    }

    /// The limits of a type, with what the user set.
    pub(crate) fn limits(&self, of_type: Limits) -> Limits {
        Limits { mean_kl: self.max_divergence.unwrap_or(of_type.mean_kl), ..of_type }
    }

    pub(crate) fn prompts(&self, tuned: &Tuned) -> Result<Vec<Prompt>, Failure> {
        match &self.prompts {
            Some(path) => Ok(read_prompts(path, &tuned.text)?),
            None => Ok(default_prompts(&tuned.text)),
        }
    }
}

/// What a run's record says.
fn of_run(run: &Path) -> Result<Source, Failure> {
    let config = Config::load(&run.join("config.yaml"), std::iter::empty(), &[])?;
    let text = attune_train::inputs::load_options(&config);
    if config.adapter.method == AdapterMethod::Full {
        let model = run.join("model");
        if !model.is_dir() {
            let message = format!("{}: has no model yet", run.display());
            return Err(Failure::new(USAGE, message, "finish it with `ft resume`"));
        }
        // The model brings the tokenizer and the template that it was trained with.
        let text = LoadOptions { template_date: text.template_date, ..LoadOptions::default() };
        return Ok(Source { model, adapter: None, text, whole_of: Some(run.to_path_buf()) });
    }
    let adapter = run.join("adapter");
    if !adapter.is_dir() {
        let message = format!("{}: has no adapter yet", run.display());
        return Err(Failure::new(USAGE, message, "finish it with `ft resume`, or name a checkpoint with --adapter"));
    }
    Ok(Source { model: config.model.path.clone(), adapter: Some(adapter), text, whole_of: None })
}

/// Tells what was written and what the gate found; an artefact that was refused is exit code 3.
pub(crate) fn finish(report: &ExportReport, as_json: bool) -> Result<(), Failure> {
    if as_json {
        let Ok(text) = serde_json::to_string(report) else { unreachable!("names and numbers become JSON") };
        output::result(&text)?;
    } else {
        let megabytes = report.bytes as f64 / 1e6;
        output::result(&format!(
            "{}  {}: {} tensors, {} of them tuned, {megabytes:.1} MB in {:.1} s",
            report.artefact.display(),
            report.format,
            grouped(report.tensors as u64),
            grouped(report.changed as u64),
            report.seconds
        ))?;
        let colors = console::colors_enabled();
        for note in &report.notes {
            output::result(
                &Line::new().with(Ink::Warning, "note").with(Ink::Plain, format!("  {note}")).paint(colors),
            )?;
        }
        for line in lines_of(&report.gate) {
            output::result(&line.paint(colors))?;
        }
    }
    if report.gate.accepted {
        return Ok(());
    }
    Err(Failure::new(
        REFUSED,
        format!("the export gate refused it: {}", report.gate.reasons.join("; ")),
        format!("it was left as {} with the whole report; do not use it", report.artefact.display()),
    ))
}

fn lines_of(gate: &GateReport) -> Vec<Line> {
    let ink = if gate.accepted { Ink::Good } else { Ink::Error };
    let mut lines = vec![Line::new().with(ink, if gate.accepted { "gate  accepted" } else { "gate  refused" }).with(
        Ink::Plain,
        format!(
            ": {} positions of {} sequences, mean divergence {:.5} nats (at most {}), largest {:.4}",
            grouped(gate.tokens as u64),
            gate.sequences,
            gate.mean_kl,
            gate.limits.mean_kl,
            gate.max_kl
        ),
    )];
    lines.push(Line::from(format!(
        "      same best token at {:.1} %, at {:.1} % of the {} sure positions (at least {:.0} %)",
        100.0 * gate.agreement,
        100.0 * gate.sure_agreement,
        grouped(gate.sure_tokens as u64),
        100.0 * gate.limits.sure_agreement
    )));
    if let Some(effect) = gate.effect_kl {
        let kept = gate.kept_share.map_or_else(
            || "too little to measure the share that is kept".to_string(),
            |kept| format!("{:.1} % of it kept (100 +- {:.0} %)", 100.0 * kept, 100.0 * gate.limits.kept_tolerance),
        );
        lines.push(Line::from(format!("      the adapter changes {effect:.4} nats a token, {kept}")));
    }
    lines
}
