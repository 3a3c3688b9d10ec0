//! How fast a model trains on this machine: real steps over random tokens, beside what the processor can do at most.
//!
//! Only `config.json` and the weights are read, no tokenizer. The tokens are a pure function of the seed; their number
//! is what the speed depends on, not their values.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use attune_compute::cpu::Cpu;
use attune_compute::cpu::peak::{self, Peak};
use attune_compute::{Backend, rng};
use attune_config::{Config, Quantize};
use attune_data::RowOrigin;
use attune_model::operations::{TrainingOperations, training_operations};
use attune_model::{Adapter, BaseModel, Decoder, DecoderSpec, Sampling, SavePolicy, generate};

use crate::error::TrainError;
use crate::examples::Example;
use crate::inputs::{adapter_spec, blocks_of, open_base};
pub use crate::memory::Resident;
use crate::memory::peak_memory_bytes;
use crate::memory_plan::MOST_MICRO_BATCH_TOKENS;
use crate::memory_plan::packing;
use crate::objective::Sft;
use crate::optimizer::AdamWSettings;
use crate::plan::{Layout, Packing};
use crate::step::{BadStep, Engine, StepInput, StepResult, Trainable, train_step};

/// Decides the tokens and the adapter.
const SEED: u64 = 0x6265_6e63;
/// Time for each of the two measurements of the peak.
const PEAK_SECONDS: f64 = 0.5;

/// Tokens of the prompt behind which tokens are generated, and how many.
const PROMPT_TOKENS: usize = 8;
const GENERATED_TOKENS: usize = 33;

/// What to measure.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BenchOptions {
    /// Tokens of a step.
    pub tokens: usize,
    /// Examples that they are cut into, as equal as possible.
    pub examples: usize,
    /// Steps that are timed; one more runs before them.
    pub steps: usize,
    /// Rank of the adapter, on every linear.
    pub rank: usize,
    /// Share of each example that is trained: its end, as an answer after its prompt.
    pub target_share: f64,
    /// Threads; all that the machine offers, if `None`.
    pub threads: Option<usize>,
    /// The base in few bits.
    pub quantize: Quantize,
    /// Keep a packed copy of every frozen weight that a product reads.
    pub pack_weights: bool,
}

impl Default for BenchOptions {
    fn default() -> Self {
        Self {
            tokens: 2048,
            examples: 1,
            steps: 3,
            rank: 16,
            target_share: 1.0,
            threads: None,
            quantize: Quantize::None,
            pack_weights: false,
        }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct BenchReport {
    /// What was run.
    pub options: BenchOptions,
    /// Family and size, for example `llama, 1.24 billion parameters`.
    pub model: String,
    /// Trained values.
    pub adapter_parameters: usize,
    /// Instructions and threads.
    pub backend: String,
    /// Trained tokens of a step.
    pub trained_tokens: usize,
    /// From nothing to ready for the first step: mapping, checking and reading every weight once.
    pub load_seconds: f64,
    /// The step before the timed ones: memory is touched for the first time.
    pub first_step_seconds: f64,
    /// Each timed step.
    pub step_seconds: Vec<f64>,
    /// Bytes of the frozen weights, as they were used.
    pub weights_bytes: u64,
    /// Generated tokens per second, one at a time behind a short prompt, with the adapter.
    pub generated_per_sec: f64,
    /// What the process held after the steps; where the system tells.
    pub resident: Option<Resident>,
    /// Most memory that the process ever held, mapped weights included; where the system tells.
    pub peak_memory_bytes: Option<u64>,
    /// Useful floating-point operations of a step.
    pub operations: TrainingOperations,
    /// The multiply-add peak of the same instructions and threads, the higher of before and after the steps; `None` for
    /// portable code.
    pub peak: Option<Peak>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq)]
pub enum BenchProgress {
    /// Something that the user should know.
    Note(String),
    /// The model is ready, after so many seconds.
    Loaded(f64),
    /// The step before the timed ones took so many seconds.
    FirstStep(f64),
    /// A timed step, by its number from 1, took so many seconds.
    Step(usize, f64),
}

/// Median, smallest and largest of some numbers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The middle one, or the mean of the two in the middle.
    pub median: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
}

impl Spread {
    /// Of at least one number.
    ///
    /// # Panics
    /// If there is none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<f64> = values.into_iter().collect();
        assert!(!values.is_empty(), "the median of nothing");
        values.sort_by(f64::total_cmp);
        let (middle, last) = (values.len() / 2, values.len() - 1);
        Self { median: (values[middle] + values[last - middle]) / 2.0, min: values[0], max: values[last] }
    }
}

impl BenchReport {
    /// Tokens per second, step by step.
    pub fn tokens_per_sec(&self) -> Spread {
        self.per_sec(self.options.tokens as f64)
    }

    /// Trained tokens per second, step by step.
    pub fn trained_tokens_per_sec(&self) -> Spread {
        self.per_sec(self.trained_tokens as f64)
    }

    /// Seconds of a step.
    pub fn seconds_per_step(&self) -> Spread {
        Spread::of(self.step_seconds.iter().copied())
    }

    /// Useful GFLOP/s of the median step.
    pub fn gflops(&self) -> f64 {
        self.per_sec(self.operations.total()).median / 1e9
    }

    fn per_sec(&self, amount: f64) -> Spread {
        Spread::of(self.step_seconds.iter().map(|seconds| amount / seconds))
    }
}

/// Loads the model in `dir`, runs one step and then the timed ones, and measures the peak before and after them.
///
/// # Errors
/// When the model cannot be used, an option does not fit it, or a step is not finite.
pub fn bench(
    dir: &Path,
    options: &BenchOptions,
    progress: &mut dyn FnMut(BenchProgress),
) -> Result<BenchReport, TrainError> {
    let begin = Instant::now();
    let mut backend = Cpu::new(options.threads)?;
    let base = BaseModel::load(dir)?;
    check(options, &base.spec)?;
    let quantized = blocks_of(options.quantize);
    let (base, weights_bytes) = match quantized {
        None => {
            // As a run does: one pass of all threads, and only a bad file is read again to name the element.
            if !base.scan(backend.threads()).all_finite {
                base.check_finite()?;
            }
            let bytes = base.size_bytes();
            (base, bytes)
        }
        Some(kind) => {
            let bytes = base.quantized_bytes(kind).unwrap_or(0);
            drop(base);
            let (base, note) = open_base(dir, options.quantize, backend.threads())?;
            note.into_iter().for_each(|note| progress(BenchProgress::Note(note)));
            (base, bytes)
        }
    };
    if options.pack_weights {
        let all = packing::candidates(&base, &backend, quantized);
        packing::keep(&mut backend, &base, &all);
    }
    let longest = options.tokens.div_ceil(options.examples).max(PROMPT_TOKENS + GENERATED_TOKENS);
    let longest = longest.min(base.spec.max_positions);
    let engine = engine(Decoder::new(&backend, &base, longest)?);
    let mut config = Config::default();
    config.adapter.rank = options.rank;
    let adapter = Adapter::init(&base.spec, &adapter_spec(&config), SEED)?;
    let adapter_parameters = adapter.parameters();
    let training = &config.training;
    let mut trainable = Trainable::new(
        adapter,
        AdamWSettings {
            beta1: training.adam_beta1,
            beta2: training.adam_beta2,
            epsilon: training.adam_epsilon,
            weight_decay: training.weight_decay,
        },
    );
    let load_seconds = begin.elapsed().as_secs_f64();
    progress(BenchProgress::Loaded(load_seconds));

    let measured_peak = || peak::matrix_peak(backend.isa(), backend.threads(), PEAK_SECONDS);
    let peak_before = measured_peak();
    let examples: Vec<Example> = random_examples(options, base.spec.vocabulary);
    let mut step_seconds = Vec::with_capacity(options.steps + 1);
    for step in 0..=options.steps {
        let indices: Vec<usize> = (step * options.examples..(step + 1) * options.examples).collect();
        let learning_rate = training.learning_rate;
        let input = StepInput { examples: &examples, indices: &indices, step: step as u64, learning_rate };
        let seconds = timed_step(&engine, &mut trainable, &input)?;
        step_seconds.push(seconds);
        progress(if step == 0 { BenchProgress::FirstStep(seconds) } else { BenchProgress::Step(step, seconds) });
    }
    let first_step_seconds = step_seconds.remove(0);
    let resident = Resident::now();
    let generated_per_sec = generation_speed(&engine.decoder, trainable.trained.adapter(), &examples[0].ids)?;
    let sizes = examples[..options.examples].iter().map(|example| (example.ids.len(), example.trained_tokens()));
    Ok(BenchReport {
        options: *options,
        model: format!("{}, {:.2} billion parameters", base.spec.family, base.spec.parameters() as f64 / 1e9),
        adapter_parameters,
        backend: backend.name(),
        trained_tokens: sizes.clone().map(|(_, trained)| trained).sum(),
        load_seconds,
        first_step_seconds,
        step_seconds,
        weights_bytes,
        generated_per_sec,
        resident,
        peak_memory_bytes: peak_memory_bytes(),
        operations: training_operations(&base.spec, adapter_parameters, sizes),
        peak: peak_before.zip(measured_peak()).map(|(before, after)| before.best_of(after)),
    })
}

/// As a run with the default configuration sets it up.
fn engine(decoder: Decoder<'_>) -> Engine<'_> {
    let training = Config::default().training;
    Engine {
        decoder,
        objective: &Sft,
        packing: Packing { layout: Layout::Packed, max_tokens: Some(MOST_MICRO_BATCH_TOKENS), max_examples: None },
        save: SavePolicy::Keep,
        label_smoothing: 0.0,
        max_grad_norm: training.max_grad_norm,
        seed: SEED,
    }
}

/// Tokens per second of greedy generation, by the median time from one to the next; the prompt's does not count.
fn generation_speed(decoder: &Decoder, adapter: Option<&Adapter>, ids: &[u32]) -> Result<f64, TrainError> {
    let prompt = &ids[..ids.len().min(PROMPT_TOKENS)];
    let mut times = Vec::with_capacity(GENERATED_TOKENS);
    let sampling = Sampling::greedy(GENERATED_TOKENS, &[]);
    generate(decoder, adapter, prompt, &sampling, &mut |_| {
        times.push(Instant::now());
        true
    })?;
    let seconds = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
    Ok(if times.len() < 2 { 0.0 } else { 1.0 / Spread::of(seconds).median })
}

/// Wall time of a step that must succeed.
fn timed_step(engine: &Engine, trainable: &mut Trainable, input: &StepInput) -> Result<f64, TrainError> {
    let begin = Instant::now();
    match train_step(engine, trainable, input, &AtomicBool::new(false))? {
        StepResult::Done(_) => Ok(begin.elapsed().as_secs_f64()),
        StepResult::Bad(BadStep { reason, rows }) => {
            Err(TrainError::BadSteps { count: 1, step: input.step + 1, reason, rows })
        }
        StepResult::Interrupted => unreachable!("nobody can set the flag"),
    }
}

/// Options that fit the model.
fn check(options: &BenchOptions, model: &DecoderSpec) -> Result<(), TrainError> {
    let BenchOptions { tokens, examples, steps, target_share, .. } = *options;
    let refuse = |key, reason: String, hint: String| Err(TrainError::Setting { key, reason, hint });
    if examples == 0 || tokens / examples.max(1) < 2 {
        let reason = format!("{tokens} tokens in {examples} examples");
        return refuse("--tokens", reason, "each example needs two tokens at least".into());
    }
    if steps == 0 {
        return refuse("--steps", "0".into(), "time one step at least".into());
    }
    if !(target_share > 0.0 && target_share <= 1.0) {
        return refuse("--target-share", target_share.to_string(), "give a number above 0 and up to 1".into());
    }
    let (longest, limit) = (tokens.div_ceil(examples), model.max_positions);
    if longest > limit {
        let reason = format!("an example would have {longest} tokens, the model has {limit} positions");
        let needed = tokens.div_ceil(limit);
        return refuse("--tokens", reason, format!("cut them into more examples: --examples {needed}"));
    }
    Ok(())
}

/// The examples of all steps, one step after the other.
fn random_examples(options: &BenchOptions, vocabulary: usize) -> Vec<Example> {
    let file: Arc<Path> = Path::new("(random tokens)").into();
    let example = |index: usize| {
        let at = index % options.examples;
        let tokens = options.tokens / options.examples + usize::from(at < options.tokens % options.examples);
        let key = rng::key(&[SEED, index as u64]);
        let id = |position| rng::below(rng::combine(key, position as u64), vocabulary as u64) as u32;
        // Nothing predicts the first token.
        let trained = ((tokens as f64 * options.target_share).round() as usize).clamp(1, tokens - 1);
        Example {
            ids: (0..tokens).map(id).collect(),
            trained: (0..tokens).map(|position| position >= tokens - trained).collect(),
            origin: RowOrigin { file: Arc::clone(&file), row: index + 1, line: index + 1 },
            hash: [0; 32],
        }
    };
    (0..options.examples * (options.steps + 1)).map(example).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_are_cut_evenly_and_end_with_what_is_trained() {
        let options = BenchOptions { tokens: 11, examples: 2, steps: 1, target_share: 0.5, ..BenchOptions::default() };
        let examples = random_examples(&options, 7);
        assert_eq!(examples.iter().map(|example| example.ids.len()).collect::<Vec<_>>(), [6, 5, 6, 5]);
        assert_eq!(examples[0].trained, [false, false, false, true, true, true]);
        assert!(examples.iter().flat_map(|example| &example.ids).all(|&id| id < 7));
        assert_ne!(examples[0].ids, examples[2].ids, "every step has its own tokens");
        assert_eq!(examples, random_examples(&options, 7));
        let all = random_examples(&BenchOptions { tokens: 9, ..BenchOptions::default() }, 7);
        assert_eq!(all[0].trained_tokens(), 8, "all but the first");
    }

    #[test]
    fn medians_of_even_and_odd_numbers() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
        assert_eq!(Spread::of([4.0, 1.0]), Spread { median: 2.5, min: 1.0, max: 4.0 });
        assert_eq!(Spread::of([4.0]), Spread { median: 4.0, min: 4.0, max: 4.0 });
    }
}
