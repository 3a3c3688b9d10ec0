//! `ft bench`

use std::path::PathBuf;

use attune_train::bench::{BenchOptions, BenchProgress, BenchReport, Resident, Spread, bench};
use serde_json::{Value, json};

use crate::commands::quantized::QuantizeFlag;
use crate::failure::Failure;
use crate::live::plain;
use crate::output;
use crate::paint::{Ink, Line};

/// Measure how fast a model trains on this machine
///
/// Runs real training steps (LoRA on every linear, AdamW) over random tokens, and measures beside them what the
/// processor can do at most. Needs config.json and the weights, no tokenizer and no data. Writes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The base model's folder
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Tokens of a step
    #[arg(long, value_name = "N", default_value_t = BenchOptions::default().tokens)]
    tokens: usize,
    /// Examples that the tokens of a step are cut into
    #[arg(long, value_name = "N", default_value_t = BenchOptions::default().examples)]
    examples: usize,
    /// Timed steps, after one that is not
    #[arg(long, value_name = "N", default_value_t = BenchOptions::default().steps)]
    steps: usize,
    /// Rank of the adapter
    #[arg(long, value_name = "R", default_value_t = BenchOptions::default().rank)]
    rank: usize,
    /// Share of the tokens that is trained
    #[arg(long, value_name = "SHARE", default_value_t = BenchOptions::default().target_share)]
    target_share: f64,
    /// Threads [default: all cores]
    #[arg(long, value_name = "N")]
    threads: Option<usize>,
    /// The base in few bits, as model.quantize makes it: once, then from the folder for caches
    #[arg(long, value_name = "TYPE", default_value = "none")]
    quantize: QuantizeFlag,
    /// Keep a packed copy of every frozen weight, as hardware.pack_weights does
    #[arg(long)]
    pack_weights: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let &Args { tokens, examples, steps, rank, target_share, threads, pack_weights, .. } = args;
    let quantize = args.quantize.choice();
    let options = BenchOptions { tokens, examples, steps, rank, target_share, threads, quantize, pack_weights };
    let report = bench(&args.model, &options, &mut |progress| {
        let text = match progress {
            BenchProgress::Note(note) => return output::say(&[plain::warning(&note)]),
            BenchProgress::Loaded(seconds) => format!("loaded in {seconds:.2} s"),
            BenchProgress::FirstStep(seconds) => format!("first step, not counted: {seconds:.2} s"),
            BenchProgress::Step(step, seconds) => format!("step {step} of {steps}: {seconds:.2} s"),
        };
        output::say(&[Line::new().with(Ink::Dim, text)]);
    })?;
    if args.json {
        return output::result(&to_json(args, &report).to_string());
    }
    table(args, &report).iter().try_for_each(|(label, value)| output::result(&format!("{label:<24} {value}")))
}

/// What of the peaks a step reaches: `(kind, GFLOP/s of the peak, share)`.
fn shares(report: &BenchReport) -> Vec<(&'static str, f64, f64)> {
    let Some(peak) = report.peak else { return Vec::new() };
    let kinds = [("f32", Some(peak.f32_gflops)), ("bf16", peak.bf16_gflops)];
    kinds.into_iter().filter_map(|(kind, peak)| Some((kind, peak?, report.gflops() / peak?))).collect()
}

fn table(args: &Args, report: &BenchReport) -> Vec<(String, String)> {
    let BenchOptions { tokens, examples, steps, rank, .. } = report.options;
    let spread = |spread: Spread, digits: usize| {
        format!("{:.digits$} (median of {steps}; {:.digits$} to {:.digits$})", spread.median, spread.min, spread.max)
    };
    let in_examples = if examples == 1 { "1 example".to_string() } else { format!("{examples} examples") };
    let trained = report.trained_tokens;
    let mut rows = vec![
        ("model".to_string(), format!("{}: {}", args.model.display(), report.model)),
        (
            "adapter".into(),
            format!("rank {rank} on every linear, {:.2} million", report.adapter_parameters as f64 / 1e6),
        ),
        ("machine".into(), report.backend.clone()),
        ("a step".into(), format!("{tokens} tokens in {in_examples}, {trained} of them trained")),
        ("tokens/s".into(), spread(report.tokens_per_sec(), 1)),
        ("trained tokens/s".into(), spread(report.trained_tokens_per_sec(), 1)),
        ("seconds per step".into(), spread(report.seconds_per_step(), 3)),
        ("seconds to load".into(), format!("{:.2}, first step {:.2}", report.load_seconds, report.first_step_seconds)),
        ("generated tokens/s".into(), format!("{:.2}, one at a time", report.generated_per_sec)),
        ("frozen weights".into(), gigabytes(report.weights_bytes)),
        ("peak memory".into(), report.peak_memory_bytes.map_or("not known".into(), gigabytes)),
        ("memory after the steps".into(), {
            let parts = report.resident.map(|Resident { anonymous_bytes, mapped_bytes }| {
                format!("{} of its own, {} of mapped files", gigabytes(anonymous_bytes), gigabytes(mapped_bytes))
            });
            parts.unwrap_or("not known".into())
        }),
        ("useful work".into(), {
            let per_token = report.operations.total() / tokens as f64 / 1e9;
            format!("{per_token:.3} GFLOP per token, {:.1} GFLOP/s", report.gflops())
        }),
    ];
    for (kind, peak, share) in shares(report) {
        rows.push((format!("share of the {kind} peak"), format!("{:.1} % of {peak:.1} GFLOP/s", 100.0 * share)));
    }
    if report.peak.is_none() {
        rows.push(("share of the peak".into(), "not known: portable code has no peak of its own".into()));
    }
    rows
}

fn gigabytes(bytes: u64) -> String {
    format!("{:.2} GB", bytes as f64 / 1e9)
}

fn to_json(args: &Args, report: &BenchReport) -> Value {
    let BenchOptions { tokens, examples, steps, rank, target_share, .. } = report.options;
    let spread = |Spread { median, min, max }: Spread| json!({ "median": median, "min": min, "max": max });
    let operations = &report.operations;
    let share = |kind| shares(report).into_iter().find(|share| share.0 == kind).map(|(_, _, share)| share);
    json!({
        "model": args.model,
        "backend": report.backend,
        "tokens": tokens,
        "examples": examples,
        "steps": steps,
        "rank": rank,
        "target_share": target_share,
        "trained_tokens": report.trained_tokens,
        "adapter_parameters": report.adapter_parameters,
        "tokens_per_sec": spread(report.tokens_per_sec()),
        "trained_tokens_per_sec": spread(report.trained_tokens_per_sec()),
        "seconds_per_step": spread(report.seconds_per_step()),
        "step_seconds": report.step_seconds,
        "first_step_seconds": report.first_step_seconds,
        "load_seconds": report.load_seconds,
        "generated_tokens_per_sec": report.generated_per_sec,
        "quantize": args.quantize.name(),
        "weights_bytes": report.weights_bytes,
        "peak_memory_bytes": report.peak_memory_bytes,
        "anonymous_bytes": report.resident.map(|resident| resident.anonymous_bytes),
        "mapped_bytes": report.resident.map(|resident| resident.mapped_bytes),
        "operations_per_token": operations.total() / tokens as f64,
        "operations": {
            "layers": operations.layers, "head": operations.head,
            "attention": operations.attention, "adapter": operations.adapter,
        },
        "gflops": report.gflops(),
        "peak_f32_gflops": report.peak.map(|peak| peak.f32_gflops),
        "peak_bf16_gflops": report.peak.and_then(|peak| peak.bf16_gflops),
        "share_of_f32_peak": share("f32"),
        "share_of_bf16_peak": share("bf16"),
    })
}
