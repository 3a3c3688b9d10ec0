//! `ft plan`

use std::path::PathBuf;
use std::time::Duration;

use attune_config::Config;
use attune_train::inputs::{Inputs, PlannedTraining, Prepared, QuantizationPlan};
use attune_train::memory_plan::budget::Budget;
use attune_train::memory_plan::calibrate::{Speed, Time};
use attune_train::memory_plan::measure::{Measured, measure};
use attune_train::memory_plan::{Layouted, MemoryPlan};
use attune_train::{Event, TrainError};
use serde_json::{Value, json};

use crate::failure::{Failure, REFUSED};
use crate::live::format::{bytes, duration, grouped, rate};
use crate::live::plain;
use crate::output;

/// Say what a run will take before anything is loaded
///
/// Reads the configuration, the data and the headers of the weights, measures this machine for about two seconds, and
/// prints memory and time of three layouts of the work: everything kept, the one that `ft train` would choose, and
/// everything computed again. Exit code 3 when not even the last one fits into hardware.memory_budget.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration; `ft init` writes one
    #[arg(value_name = "FT.YAML")]
    config: PathBuf,
    /// Set a key of the configuration, stronger than the file: --set hardware.memory_budget=12GB
    #[arg(long = "set", value_name = "SECTION.KEY=VALUE")]
    sets: Vec<String>,
    /// Also make a few real steps, keep nothing of them, and print what they took beside the prediction
    #[arg(long)]
    measure: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
}

/// One layout with its time.
struct Column<'a> {
    name: &'static str,
    layouted: &'a Layouted,
    time: Time,
}

pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let config = Config::load(&args.config, attune_config::environment(), &args.sets)?;
    config.validate()?;
    let prepared = Prepared::read(&config, None, &mut |event| {
        show(&event);
        Ok(())
    })?;
    let planned = PlannedTraining::new(&config, &prepared.base)?;
    let plan = prepared.plan.clone();
    let (backend, spec) = (prepared.backend.as_ref(), &prepared.base.spec);
    let dtype = planned.products(&config, &prepared.base);
    let speed = Speed::measure(backend, spec, dtype, planned.shape(), &plan).map_err(TrainError::from)?;
    let quantization = QuantizationPlan::new(&config, &prepared.base)?;
    let layouts = [("keep all", &plan.keep_all), ("chosen", &plan.chosen), ("recompute all", &plan.recompute_all)];
    let columns = layouts.map(|(name, layouted)| {
        let time = speed.predict(&config, spec, planned.shape(), layouted);
        Column { name, layouted, time }
    });
    if !args.json {
        output::result(&table(&plan, &columns, quantization.as_ref()).join("\n"))?;
    }
    let measured = match args.measure && plan.fits() {
        true => Some(measure(&Inputs::with_weights(prepared, &config, None)?, &config, &speed)?),
        false => None,
    };
    if args.json {
        output::result(&to_json(&plan, &columns, quantization.as_ref(), measured.as_ref()).to_string())?;
    } else if let Some(measured) = &measured {
        output::result(&comparison(measured).join("\n"))?;
    }
    match &plan.refusal {
        None => Ok(()),
        Some(refusal) => Err(Failure::new(REFUSED, refusal.to_string(), refusal.hint())),
    }
}

/// What is read is said on the way, as in training.
fn show(event: &Event) {
    match event {
        Event::DataRead(read) => output::say(&plain::data_read(read)),
        Event::Warning { message } => output::say(&[plain::warning(message)]),
        _ => {}
    }
}

fn to_json(
    plan: &MemoryPlan,
    columns: &[Column; 3],
    quantization: Option<&QuantizationPlan>,
    measured: Option<&Measured>,
) -> Value {
    let layout = |column: &Column| {
        json!({
            "name": column.name,
            "policy": column.layouted.choice,
            "peak_bytes": column.layouted.peak.total_bytes(),
            "parts": column.layouted.peak,
            "tokens_per_sec": column.time.tokens_per_sec,
            "seconds": column.time.seconds(),
        })
    };
    let chosen = &columns[1];
    json!({
        "peak_bytes": chosen.layouted.peak.total_bytes(),
        "tokens_per_sec": chosen.time.tokens_per_sec,
        "seconds": chosen.time.seconds(),
        "training_seconds": chosen.time.training_seconds,
        "evaluation_seconds": chosen.time.evaluation_seconds,
        "policy": chosen.layouted.choice,
        "fits": plan.fits(),
        "budget": plan.budget,
        "trained_layers": plan.trained_layers,
        "steps": chosen.layouted.train.steps,
        "layouts": columns.iter().map(layout).collect::<Vec<_>>(),
        "remedies": plan.refusal.as_ref().map(|refusal| refusal.remedies.clone()),
        "quantization": quantization.map(|QuantizationPlan { plain_bytes, quantized_bytes, first_run }| json!({
            "plain_bytes": plain_bytes,
            "quantized_bytes": quantized_bytes,
            "first_run": {
                "seconds": first_run.seconds,
                "memory_bytes": first_run.memory_bytes,
                "disk_bytes": first_run.disk_bytes,
            },
        })),
        "measured": measured,
    })
}

/// A row of the table: its name, and its value for a column.
type Row<'a> = (&'static str, Box<dyn Fn(&Column) -> String + 'a>);

fn table(plan: &MemoryPlan, columns: &[Column; 3], quantization: Option<&QuantizationPlan>) -> Vec<String> {
    let of_peak = |value: fn(&Layouted) -> u64| Box::new(move |column: &Column| bytes(value(column.layouted)));
    let rows: [Row; 13] = [
        ("", Box::new(|column| column.name.into())),
        (
            "micro-batch tokens",
            Box::new(|column| {
                let tokens = column.layouted.choice.micro_batch_tokens;
                tokens.map_or("a whole step".into(), |tokens| grouped(tokens as u64))
            }),
        ),
        (
            "layers run again",
            Box::new(|column| format!("{} of {}", column.layouted.choice.recomputed_layers, plan.trained_layers)),
        ),
        ("weights of the base", of_peak(|layouted| layouted.peak.weights_bytes)),
        ("trained, with state", of_peak(|layouted| layouted.peak.adapter_bytes)),
        ("activations", of_peak(|layouted| layouted.peak.activations_bytes)),
        ("work space", of_peak(|layouted| layouted.peak.transient_bytes)),
        ("gaps of the pool", of_peak(|layouted| layouted.peak.pool_bytes)),
        ("packed weights", of_peak(|layouted| layouted.peak.packed_bytes)),
        ("program and data", of_peak(|layouted| layouted.peak.program_bytes)),
        ("peak", of_peak(|layouted| layouted.peak.total_bytes())),
        ("tokens/s", Box::new(|column| rate(column.time.tokens_per_sec))),
        ("time", Box::new(|column| seconds(column.time.seconds()))),
    ];
    let mut lines: Vec<String> = rows
        .iter()
        .map(|(name, value)| {
            let values: String = columns.iter().map(|column| format!("{:>16}", value(column))).collect();
            format!("{name:<22}{values}")
        })
        .collect();
    lines.push(String::new());
    lines.push(match plan.budget {
        Budget::Configured { bytes: limit } => format!("budget: {} (hardware.memory_budget)", bytes(limit)),
        Budget::Available { bytes: limit, available_bytes } => {
            format!("budget: {} ({} are available now)", bytes(limit), bytes(available_bytes))
        }
        Budget::Unknown => "budget: none, because this system does not tell how much memory is available".into(),
    });
    let verdict = if plan.fits() { "choice" } else { "does not fit, the least would be" };
    lines.push(format!("{verdict}: {}", plain::layout(&plan.chosen.choice, plan.trained_layers)));
    lines.extend(quantization.into_iter().flat_map(quantization_lines));
    let time = &columns[1].time;
    if time.evaluation_seconds > 0.0 {
        let (training, evaluation) = (seconds(time.training_seconds), seconds(time.evaluation_seconds));
        lines.push(format!("time: {training} of training, {evaluation} of evaluation"));
    }
    lines
}

fn quantization_lines(quantization: &QuantizationPlan) -> [String; 2] {
    let QuantizationPlan { plain_bytes, quantized_bytes, first_run } = *quantization;
    let factor = plain_bytes as f64 / quantized_bytes.max(1) as f64;
    [
        format!(
            "model.quantize: the base takes {} in place of {} ({factor:.2} times less)",
            bytes(quantized_bytes),
            bytes(plain_bytes)
        ),
        format!(
            "  the first run on this base encodes it: {} and up to {} of memory before training starts, and {} in the \
             folder for caches",
            seconds(first_run.seconds),
            bytes(first_run.memory_bytes),
            bytes(first_run.disk_bytes)
        ),
    ]
}

/// Short spans with a digit behind the point.
fn seconds(seconds: f64) -> String {
    match Duration::try_from_secs_f64(seconds) {
        Ok(span) if seconds >= 60.0 => duration(span),
        Ok(_) => format!("{seconds:.1}s"),
        Err(_) => "-".into(),
    }
}

fn comparison(measured: &Measured) -> Vec<String> {
    let Measured { steps, predicted_seconds, seconds, predicted_peak_bytes, peak_bytes, .. } = *measured;
    let percent = |predicted: f64, measured: f64| 100.0 * (predicted / measured - 1.0);
    let mut lines = vec![
        String::new(),
        format!(
            "measured over {}: {seconds:.2} s, predicted {predicted_seconds:.2} s ({:+.1} %)",
            if steps == 1 { "1 step".into() } else { format!("{steps} steps") },
            percent(predicted_seconds, seconds)
        ),
    ];
    if let Some(peak_bytes) = peak_bytes {
        lines.push(format!(
            "measured peak: {}, predicted {} ({:+.1} %)",
            bytes(peak_bytes),
            bytes(predicted_peak_bytes),
            percent(predicted_peak_bytes as f64, peak_bytes as f64)
        ));
    }
    lines
}
