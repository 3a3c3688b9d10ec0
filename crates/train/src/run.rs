//! A training run from its configuration to its adapter: the loop around [`train_step`].

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use attune_compute::DType;
use attune_config::{Config, Date, TemplateDate};
use attune_export::FloatType;
use attune_export::hf::FolderOptions;
use attune_formats::files::{self, DirWriter};
use attune_formats::manifest::{Kind, Manifest};
use attune_model::{AdapterModule, Decoder, Trained};
use chrono::Datelike;

use crate::checkpoint::{Checkpoint, Checkpoints, RunState};
use crate::error::TrainError;
use crate::evaluate::{sample, validation_loss};
use crate::events::{CheckpointSaved, Evaluated, Event, Observer, Sample, SkippedStep, Started, StepMetrics, Summary};
use crate::inputs::{Inputs, PlannedTraining};
use crate::lineage;
use crate::memory::peak_memory_bytes;
use crate::objective::Sft;
use crate::optimizer::AdamWSettings;
use crate::plan::{BatchPlan, Layout, Packing};
use crate::run_dir::{Host, LogFile, MetricsFile, MetricsLine, RunDir, RunRecord, now_utc};
use crate::schedule::Schedule;
use crate::step::{BadStep, Engine, StepInput, StepOutcome, StepResult, Trainable, train_step};

/// A run that is to be done, or to be continued.
#[derive(Debug)]
pub struct Job {
    config: Config,
    run_dir: PathBuf,
    resume: bool,
}

impl Job {
    /// A new run in a folder that does not exist or is empty.
    pub fn new(config: Config, run_dir: PathBuf) -> Self {
        Self { config, run_dir, resume: false }
    }

    /// The run in `run_dir`, from its newest whole checkpoint on, or from the start when there is none.
    ///
    /// # Errors
    /// When the folder holds no run or its configuration cannot be read.
    pub fn resume(run_dir: PathBuf) -> Result<Self, TrainError> {
        let config = RunDir::read_config(&run_dir)?;
        Ok(Self { config, run_dir, resume: true })
    }

    /// Its folder.
    pub fn run_dir(&self) -> &Path {
        &self.run_dir
    }

    /// What the run is made of.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

/// Trains. `observer` is told what happens; setting `interrupt` ends the run after the current micro-batch with a
/// checkpoint.
///
/// # Errors
/// [`TrainError::Interrupted`] when interrupted: the run can be resumed. Anything else means that it failed, with the
/// last checkpoint intact.
pub fn run(job: Job, observer: &mut dyn Observer, interrupt: &AtomicBool) -> Result<Summary, TrainError> {
    let mut recorder = Recorder { observer, log: None, early: Vec::new() };
    let result = match job.resume {
        false => run_new(job, &mut recorder, interrupt),
        true => run_again(job, &mut recorder, interrupt),
    };
    if let Err(error) = &result
        && !matches!(error, TrainError::Interrupted { .. })
    {
        // The error itself matters more than a log that cannot be written.
        let _ = recorder.emit(Event::Failed { message: error.to_string(), hint: error.hint() });
    }
    result
}

/// What a run would do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DryRun {
    /// Optimizer steps.
    pub steps: u64,
    /// Passes over the training examples.
    pub epochs: f64,
    /// Values that are trained.
    pub trained_parameters: usize,
    /// Predicted peak of the memory.
    pub peak_bytes: u64,
    /// Training examples.
    pub train_rows: usize,
    /// Validation examples.
    pub validation_rows: usize,
}

/// Everything of a run but its steps: configuration, data, tokenizer and weights are read and checked, the memory is
/// planned, what is trained is set up. Writes nothing.
///
/// # Errors
/// As [`run`] before its first step.
pub fn dry_run(config: Config, observer: &mut dyn Observer) -> Result<DryRun, TrainError> {
    config.validate()?;
    let config = with_fixed_date(config);
    let mut emit = |event: Event| {
        observer.on(&event);
        Ok(())
    };
    let inputs = Inputs::load(&config, None, &mut emit)?;
    let trainable = fresh(&config, &inputs)?;
    engine(&config, &inputs)?;
    let plan = BatchPlan::of(&config, &inputs.mixture);
    let steps = plan.total_steps(&config.training);
    Ok(DryRun {
        steps,
        epochs: plan.epochs_after(steps),
        trained_parameters: trainable.trained.parameters(),
        peak_bytes: inputs.plan.chosen.peak.total_bytes(),
        train_rows: inputs.train.len(),
        validation_rows: inputs.validation.len(),
    })
}

fn run_new(job: Job, recorder: &mut Recorder, interrupt: &AtomicBool) -> Result<Summary, TrainError> {
    job.config.validate()?;
    RunDir::refuse_unless_empty(&job.run_dir)?;
    let config = with_fixed_date(job.config);
    let inputs = Inputs::load(&config, None, &mut |event| recorder.emit(event))?;
    let parameters = PlannedTraining::new(&config, &inputs.base)?.shape().parameters(&inputs.base.spec);
    check_disk_space(&job.run_dir, &config, parameters)?;
    // Nothing was written up to here: a run that cannot start leaves no trace.
    let config = inputs.plan.fixed_in(config);
    let run_dir = RunDir::create(&job.run_dir)?;
    run_dir.write_config(&config)?;
    lineage::write(&run_dir, &config, &inputs)?;
    run_dir.write_record(&new_record(&run_dir, &inputs))?;
    recorder.open_log(&run_dir)?;
    Run::train(&config, &inputs, &run_dir, recorder, interrupt, false)
}

fn run_again(job: Job, recorder: &mut Recorder, interrupt: &AtomicBool) -> Result<Summary, TrainError> {
    let run_dir = RunDir::open(&job.run_dir)?;
    run_dir.clear_leftovers()?;
    recorder.open_log(&run_dir)?;
    let record = run_dir.read_record()?;
    let before = record.as_ref().map(|record| &record.identity);
    let inputs = Inputs::load(&job.config, before, &mut |event| recorder.emit(event))?;
    let now = new_record(&run_dir, &inputs);
    match record {
        // Killed at its very start.
        None => {
            lineage::write(&run_dir, &job.config, &inputs)?;
            run_dir.write_record(&now)?;
        }
        Some(before) if before.host.instruction_set() != now.host.instruction_set() => {
            let (before, now) = (before.host.backend, now.host.backend);
            let message = format!("the run began on {before} and goes on on {now}: results may differ by rounding");
            recorder.emit(Event::Warning { message })?;
        }
        Some(_) => {}
    }
    Run::train(&job.config, &inputs, &run_dir, recorder, interrupt, true)
}

/// A run under way.
struct Run<'a, 'b> {
    config: &'a Config,
    inputs: &'a Inputs,
    engine: Engine<'a>,
    plan: BatchPlan,
    schedule: Schedule,
    total_steps: u64,
    trainable: Trainable,
    state: RunState,
    /// Loss of every step so far; NaN where it was skipped.
    train_loss: Vec<f64>,
    /// The step whose checkpoint is on the disk.
    saved_step: Option<u64>,
    last_save: Instant,
    checkpoints: Checkpoints,
    metrics: MetricsFile,
    run_dir: &'a RunDir,
    recorder: &'a mut Recorder<'b>,
    interrupt: &'a AtomicBool,
}

impl<'a, 'b> Run<'a, 'b> {
    fn train(
        config: &'a Config,
        inputs: &'a Inputs,
        run_dir: &'a RunDir,
        recorder: &'a mut Recorder<'b>,
        interrupt: &'a AtomicBool,
        resume: bool,
    ) -> Result<Summary, TrainError> {
        let mut run = Self::start(config, inputs, run_dir, recorder, interrupt, resume)?;
        loop {
            if run.evaluation_is_due() && !run.evaluate()? {
                return run.stop_interrupted();
            }
            run.report_step()?;
            if run.is_finished() {
                break;
            }
            if run.checkpoint_is_due() {
                run.save_checkpoint()?;
            }
            if run.interrupt.load(Ordering::Relaxed) || !run.step()? {
                return run.stop_interrupted();
            }
        }
        run.finish()
    }

    /// What is trained, moments and cursor: fresh, or those of the newest whole checkpoint.
    fn start(
        config: &'a Config,
        inputs: &'a Inputs,
        run_dir: &'a RunDir,
        recorder: &'a mut Recorder<'b>,
        interrupt: &'a AtomicBool,
        resume: bool,
    ) -> Result<Self, TrainError> {
        let training = &config.training;
        let initial = inputs.initial(config)?;
        let settings = optimizer_settings(config);
        let mut checkpoints = Checkpoints::new(run_dir.checkpoints_dir(), config.checkpoint.keep, inputs.made_from());
        if let Some(model) = initial.full() {
            let config = attune_export::hf::config_text(model.spec(), model.path(), FloatType::F32)?;
            checkpoints = checkpoints.of_model(config);
        }
        files::create_dir_all(&run_dir.checkpoints_dir())?;
        let (found, damaged) = checkpoints.newest(run_dir.path(), &inputs.base.spec, &initial, settings)?;
        for damaged in damaged {
            let path = damaged.path.display();
            let message = format!("{path} is damaged, falling back to the checkpoint before: {}", damaged.reason);
            recorder.emit(Event::Warning { message })?;
        }
        let (trainable, state, saved_step) = match found {
            Some(Checkpoint { trained, optimizer, state, .. }) => {
                let step = state.step;
                (Trainable::resumed(trained, optimizer), state, Some(step))
            }
            None => (Trainable::new(initial, settings), RunState::new(training.seed), None),
        };
        let (metrics, lines) = MetricsFile::open(run_dir.path(), state.reported_step())?;

        let plan = BatchPlan::of(config, &inputs.mixture);
        let total_steps = plan.total_steps(training);
        recorder.emit(Event::Started(Started {
            run_dir: run_dir.path().into(),
            resumed: resume,
            step: state.step,
            total_steps,
            steps_per_epoch: plan.steps_per_epoch(),
            batch_size: training.batch_size,
            trained_parameters: trainable.trained.parameters(),
            adapter_modules: trainable.trained.adapter().map(|adapter| adapter.modules.len()),
            base_parameters: inputs.base.spec.parameters(),
            backend: inputs.backend.name(),
        }))?;
        Ok(Self {
            config,
            inputs,
            engine: engine(config, inputs)?,
            plan,
            schedule: Schedule::new(training, total_steps),
            total_steps,
            trainable,
            state,
            train_loss: lines.iter().map(|line| line.loss.unwrap_or(f64::NAN)).collect(),
            saved_step,
            last_save: Instant::now(),
            checkpoints,
            metrics,
            run_dir,
            recorder,
            interrupt,
        })
    }

    fn is_finished(&self) -> bool {
        self.state.step >= self.total_steps || self.state.stopped_early
    }

    /// One step of the plan. `false` when interrupted, with everything as before.
    fn step(&mut self) -> Result<bool, TrainError> {
        let begin = Instant::now();
        let step = self.state.step;
        let learning_rate = self.config.training.learning_rate * self.schedule.factor(step);
        let indices = self.plan.batch(step);
        let input = StepInput { examples: &self.inputs.train, indices: &indices, step, learning_rate };
        let result = train_step(&self.engine, &mut self.trainable, &input, self.interrupt)?;
        // Never 0: throughputs divide by it.
        let seconds = begin.elapsed().as_secs_f64().max(1e-9);
        match result {
            StepResult::Interrupted => return Ok(false),
            StepResult::Done(outcome) => self.step_done(&outcome, learning_rate, seconds)?,
            StepResult::Bad(bad) => self.step_skipped(bad, learning_rate, seconds)?,
        }
        Ok(true)
    }

    fn advance(&mut self) {
        self.state.step += 1;
        self.state.epoch = self.plan.epochs_after(self.state.step);
        self.state.updates = self.trainable.optimizer.updates;
    }

    fn step_done(&mut self, outcome: &StepOutcome, learning_rate: f64, seconds: f64) -> Result<(), TrainError> {
        self.advance();
        self.state.bad_in_a_row = 0;
        self.state.tokens += outcome.tokens as u64;
        self.state.trained_tokens += outcome.trained_tokens as u64;
        let metrics = StepMetrics {
            step: self.state.step,
            epoch: self.state.epoch,
            loss: outcome.loss,
            learning_rate,
            grad_norm: outcome.grad_norm,
            tokens: outcome.tokens,
            trained_tokens: outcome.trained_tokens,
            tokens_per_sec: outcome.tokens as f64 / seconds,
            trained_tokens_per_sec: outcome.trained_tokens as f64 / seconds,
            seconds,
            peak_memory_bytes: peak_memory_bytes(),
        };
        self.state.unreported = Some(MetricsLine::done(&metrics));
        self.recorder.emit(Event::Step(metrics))
    }

    fn step_skipped(&mut self, bad: BadStep, learning_rate: f64, seconds: f64) -> Result<(), TrainError> {
        self.advance();
        self.state.bad_in_a_row += 1;
        self.state.skipped_steps += 1;
        let in_a_row = self.state.bad_in_a_row;
        let skipped = SkippedStep { step: self.state.step, reason: bad.reason, rows: bad.rows, in_a_row };
        self.state.unreported = Some(MetricsLine::skipped(&skipped, self.state.epoch, learning_rate, seconds));
        self.recorder.emit(Event::BadStep(skipped.clone()))?;
        if u64::from(in_a_row) < self.config.training.max_bad_steps as u64 {
            return Ok(());
        }
        self.report_step()?;
        let SkippedStep { step, reason, rows, .. } = skipped;
        Err(TrainError::BadSteps { count: in_a_row, step, reason, rows })
    }

    /// Writes the line of the last step, once its evaluation is done.
    fn report_step(&mut self) -> Result<(), TrainError> {
        let Some(mut line) = self.state.unreported.take() else { return Ok(()) };
        line.validation_loss =
            self.state.evaluations.last().filter(|(step, _)| *step == line.step).and_then(|(_, loss)| *loss);
        self.metrics.append(&line)?;
        self.train_loss.push(line.loss.unwrap_or(f64::NAN));
        Ok(())
    }

    /// Every N steps (the base model with the initial adapter counts as step 0) and at the end.
    fn evaluation_is_due(&self) -> bool {
        if self.state.evaluated_step == Some(self.state.step)
            || (self.inputs.validation.is_empty() && self.inputs.prompts.is_empty())
        {
            return false;
        }
        let every = self.config.evaluation.every_steps.map(|every| every as u64);
        self.state.step >= self.total_steps || every.is_some_and(|every| self.state.step.is_multiple_of(every))
    }

    /// Validation loss and samples of what is trained, as it is now. `false` when interrupted, with everything as before.
    fn evaluate(&mut self) -> Result<bool, TrainError> {
        let Inputs { text, validation, prompts, .. } = self.inputs;
        let evaluation = &self.config.evaluation;
        let (step, begin) = (self.state.step, Instant::now());
        let trained = &self.trainable.trained;
        let working = trained.working_copy(self.engine.decoder.backend());
        let (decoder, adapter) = (&self.engine.decoder_over(working.as_ref()), trained.adapter());
        let packing = &self.engine.packing;
        if !validation.is_empty() {
            let Some(measured) = validation_loss(decoder, adapter, validation, packing, self.interrupt)? else {
                return Ok(false);
            };
            let best = self.state.progress.record(step, measured.loss, evaluation.early_stopping.as_ref());
            self.state.evaluations.push((step, Some(measured.loss).filter(|loss| loss.is_finite())));
            self.recorder.emit(Event::Evaluated(Evaluated {
                step,
                validation_loss: measured.loss,
                trained_tokens: measured.trained_tokens,
                best,
                seconds: begin.elapsed().as_secs_f64(),
            }))?;
        }
        for prompt in prompts {
            match sample(decoder, adapter, text, prompt, evaluation.sample_max_tokens, self.interrupt)? {
                Some(continuation) => self.recorder.emit(Event::Sample(Sample {
                    step,
                    prompt: prompt.prompt.clone(),
                    text: continuation,
                    expected: prompt.expected.clone(),
                }))?,
                None => break,
            }
        }
        self.state.evaluated_step = Some(step);
        if let Some(best) = self.state.progress.best
            && step < self.total_steps
            && self.state.progress.should_stop(evaluation.early_stopping.as_ref())
        {
            self.state.stopped_early = true;
            self.recorder.emit(Event::StoppedEarly { step, best })?;
        }
        Ok(true)
    }

    /// Every N steps, every T minutes, and whenever the best so far has to be kept.
    fn checkpoint_is_due(&self) -> bool {
        let step = self.state.step;
        if step == 0 || self.saved_step == Some(step) {
            return false;
        }
        let settings = &self.config.checkpoint;
        let is_best = self.state.progress.best.is_some_and(|best| best.step == step);
        settings.every_steps.is_some_and(|every| step.is_multiple_of(every as u64))
            || settings.every_minutes.is_some_and(|every| self.last_save.elapsed().as_secs_f64() >= every * 60.0)
            || (self.config.evaluation.keep_best && is_best)
    }

    fn save_checkpoint(&mut self) -> Result<(), TrainError> {
        let begin = Instant::now();
        self.metrics.sync()?;
        let Trainable { trained, optimizer, .. } = &self.trainable;
        let path = self.checkpoints.save(trained, optimizer, &self.state, &base_name(self.config))?;
        self.saved_step = Some(self.state.step);
        self.last_save = Instant::now();
        let seconds = begin.elapsed().as_secs_f64();
        self.recorder.emit(Event::CheckpointSaved(CheckpointSaved { step: self.state.step, path, seconds }))
    }

    fn stop_interrupted(mut self) -> Result<Summary, TrainError> {
        let step = self.state.step;
        if step > 0 && self.saved_step != Some(step) {
            self.save_checkpoint()?;
        }
        self.recorder.emit(Event::Interrupted { step })?;
        Err(TrainError::Interrupted { step, run_dir: self.run_dir.path().into() })
    }

    /// The last checkpoint, the checks of what came out, and `adapter/` or `model/`.
    fn finish(mut self) -> Result<Summary, TrainError> {
        let step = self.state.step;
        if self.saved_step != Some(step) {
            self.save_checkpoint()?;
        }
        let last = &self.trainable.trained;
        if last.adapter().is_some_and(attune_model::Adapter::is_inert) {
            return Err(TrainError::InertAdapter { steps: step });
        }
        let best = self.state.progress.best;
        let kept_step = best.filter(|_| self.config.evaluation.keep_best).map_or(step, |best| best.step);
        let kept = match kept_step == step {
            true => Cow::Borrowed(last),
            false => Cow::Owned(self.checkpoints.trained_at(kept_step, &self.inputs.base.spec, last)?),
        };
        if let Some(name) = non_finite_part(&kept) {
            return Err(TrainError::NonFinite { part: name.into(), steps: kept_step });
        }
        let output_dir = self.write_output(&kept)?;

        let summary = Summary {
            run_dir: self.run_dir.path().into(),
            output_dir,
            steps: step,
            output_step: kept_step,
            train_loss: self.train_loss,
            validation_loss: self
                .state
                .evaluations
                .iter()
                .map(|&(step, loss)| (step, loss.unwrap_or(f64::NAN)))
                .collect(),
            best,
            stopped_early: self.state.stopped_early,
            skipped_steps: self.state.skipped_steps,
        };
        self.recorder.emit(Event::Finished(summary.clone()))?;
        Ok(summary)
    }
}

impl Run<'_, '_> {
    /// Writes the adapter into `adapter/`, or the model into `model/`.
    fn write_output(&self, kept: &Trained) -> Result<PathBuf, TrainError> {
        let (dir, kind) = match kept {
            Trained::Adapter(_) => (self.run_dir.adapter_dir(), Kind::Adapter),
            Trained::Full(_) => (self.run_dir.model_dir(), Kind::Model),
        };
        let writer = DirWriter::create(&dir)?;
        match kept {
            Trained::Adapter(adapter) => adapter.write_peft(&writer, &base_name(self.config))?,
            Trained::Full(model) => {
                let backend = self.engine.decoder.backend();
                let dtype = if model.dtype() == DType::Bf16 { FloatType::Bf16 } else { FloatType::F32 };
                let options = FolderOptions { dtype: Some(dtype), ..FolderOptions::default() };
                let text = &self.inputs.text;
                let own_template = text.chat_template().filter(|_| self.config.model.chat_template.is_some());
                let copy = model.working_copy(backend);
                attune_export::hf::write_model(&writer, (&copy, None), (text, own_template), backend, &options)?;
            }
        }
        Manifest::seal(&writer, kind, self.inputs.made_from())?;
        writer.replace()?;
        Ok(dir)
    }
}

fn optimizer_settings(config: &Config) -> AdamWSettings {
    let training = &config.training;
    AdamWSettings {
        beta1: training.adam_beta1,
        beta2: training.adam_beta2,
        epsilon: training.adam_epsilon,
        weight_decay: training.weight_decay,
    }
}

/// What is trained before the first step, with fresh moments.
pub(crate) fn fresh(config: &Config, inputs: &Inputs) -> Result<Trainable, TrainError> {
    Ok(Trainable::new(inputs.initial(config)?, optimizer_settings(config)))
}

pub(crate) fn engine<'a>(config: &'a Config, inputs: &'a Inputs) -> Result<Engine<'a>, TrainError> {
    let layout = match config.hardware.layout {
        attune_config::Layout::Packed => Layout::Packed,
        attune_config::Layout::Padded => {
            Layout::Padded { pad_id: inputs.text.stop_ids().first().copied().unwrap_or(0) }
        }
    };
    Ok(Engine {
        decoder: Decoder::new(inputs.backend.as_ref(), &inputs.base, inputs.longest_sequence(config))?,
        objective: match config.training.objective {
            attune_config::Objective::Sft => &Sft,
        },
        packing: Packing {
            layout,
            max_tokens: inputs.plan.chosen.choice.micro_batch_tokens,
            max_examples: config.hardware.micro_batch_examples,
        },
        save: inputs.plan.save_policy(),
        label_smoothing: config.training.label_smoothing as f32,
        max_grad_norm: config.training.max_grad_norm,
        seed: config.training.seed,
    })
}

/// `base_model_name_or_path` of the adapter.
fn base_name(config: &Config) -> String {
    config.model.path.display().to_string()
}

/// The first module or tensor with a value that is not finite.
fn non_finite_part(trained: &Trained) -> Option<&str> {
    let bad = |values: &[f32]| values.iter().any(|value| !value.is_finite());
    let bad_module =
        |module: &&AdapterModule| bad(&module.a) || bad(&module.b) || module.magnitude.as_deref().is_some_and(bad);
    match trained {
        Trained::Adapter(adapter) => adapter.modules.iter().find(bad_module).map(|module| module.name.as_str()),
        Trained::Full(model) => model.non_finite(),
    }
}

/// The configuration with the template date of today fixed, so that a resumed run sees the same prompts.
fn with_fixed_date(mut config: Config) -> Config {
    let now = chrono::Local::now().date_naive();
    let today = u16::try_from(now.year()).ok().and_then(|year| Date::new(year, now.month() as u8, now.day() as u8));
    if let Some(today) = today {
        config.model.template_date = TemplateDate::On(config.model.template_date.resolve(today));
    }
    config
}

fn new_record(run_dir: &RunDir, inputs: &Inputs) -> RunRecord {
    RunRecord {
        run: run_dir.id(),
        started: now_utc(),
        attune_version: env!("CARGO_PKG_VERSION").into(),
        identity: inputs.identity.clone(),
        host: Host::this(inputs.backend.name()),
        rows_root: Some(lineage::root(&inputs.train)),
        contamination: inputs.contamination.clone(),
    }
}

/// Room for the checkpoints that are kept, the best one, one that is being written, and what comes out.
fn check_disk_space(run_dir: &Path, config: &Config, parameters: usize) -> Result<(), TrainError> {
    let existing = run_dir.ancestors().find(|dir| dir.is_dir()).unwrap_or(Path::new("."));
    // Where the system does not tell, the writes themselves will.
    let Ok(available_bytes) = fs4::available_space(existing) else { return Ok(()) };
    let checkpoints = config.checkpoint.keep as u64 + 2;
    let needed_bytes = (checkpoints + 1).saturating_mul(Checkpoints::estimated_bytes(parameters));
    if available_bytes < needed_bytes {
        return Err(TrainError::DiskSpace { run_dir: run_dir.into(), available_bytes, needed_bytes, checkpoints });
    }
    Ok(())
}

/// Passes events on to the observer and into `log.jsonl`. Events from before the run folder exists are logged later.
struct Recorder<'a> {
    observer: &'a mut dyn Observer,
    log: Option<LogFile>,
    early: Vec<Event>,
}

impl Recorder<'_> {
    fn emit(&mut self, event: Event) -> Result<(), TrainError> {
        self.observer.on(&event);
        match &mut self.log {
            Some(log) => log.append(&event)?,
            None => self.early.push(event),
        }
        Ok(())
    }

    fn open_log(&mut self, run_dir: &RunDir) -> Result<(), TrainError> {
        let mut log = LogFile::open(run_dir.path())?;
        for event in self.early.drain(..) {
            log.append(&event)?;
        }
        self.log = Some(log);
        Ok(())
    }
}
