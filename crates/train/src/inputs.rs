//! Everything that a run reads, checked before the first step: model, tokenizer, data, backend.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use attune_compute::cpu::Cpu;
use attune_compute::reference::Reference;
use attune_compute::{Backend, BlockType, DType};
use attune_config::{
    AdapterConfig, AdapterMethod, BackendChoice, Config, DataFormat, Layers, ModelInit, Quantize, TargetModules,
    TemplateDate, TrainedType,
};
use attune_data::{
    DataSet, FileReport, FormatChoice, ReadOptions, Row, TranscriptFacts, Transcripts, split_validation,
};
use attune_formats::manifest::MadeFrom;
use attune_model::gguf::is_gguf;
use attune_model::quantize::EncodingCost;
use attune_model::{
    Adapter, AdapterModule, AdapterSpec, BaseModel, DecoderSpec, FullModel, LayerChoice, Linear, RopeScaling, Targets,
    Trained, pull_hint, quantize,
};
use attune_text::{LoadOptions, TextModel, TrainOn};
use serde_json::Value;

use crate::contamination::{self, ContaminationRecord};
use crate::error::TrainError;
use crate::evaluate::{SamplePrompt, sample_prompts};
use crate::events::{DataFile, DataRead, Event, Planned};
use crate::examples::{EncodeOptions, Example, encode_rows};
use crate::memory::resident_memory_bytes;
use crate::memory_plan::budget::Budget;
use crate::memory_plan::bytes::Surroundings;
use crate::memory_plan::packing;
use crate::memory_plan::shapes::lengths;
use crate::memory_plan::{MemoryPlan, Question, TrainedShape};
use crate::plan::{Layout, Mixture};
use crate::run_dir::{HashedFile, Identity};

/// Everything that is cheap to read: all of it is checked, and the plan made, before a weight is looked at.
pub struct Prepared {
    /// Tokenizer and chat template.
    pub text: TextModel,
    /// Headers of the frozen weights.
    pub base: BaseModel,
    /// Where it computes.
    pub backend: Box<dyn Backend>,
    /// Training examples.
    pub train: Vec<Example>,
    /// How often an epoch visits each of them.
    pub mixture: Mixture,
    /// Validation examples; may be none.
    pub validation: Vec<Example>,
    /// Prompts that are continued beside each evaluation.
    pub prompts: Vec<SamplePrompt>,
    /// What the run will take, and how it is laid out.
    pub plan: MemoryPlan,
    contamination: Option<ContaminationRecord>,
    train_files: Vec<DataFile>,
    validation_files: Vec<DataFile>,
}

/// What a run works with.
pub struct Inputs {
    /// Tokenizer and chat template.
    pub text: TextModel,
    /// Frozen weights.
    pub base: BaseModel,
    /// Where it computes.
    pub backend: Box<dyn Backend>,
    /// Training examples.
    pub train: Vec<Example>,
    /// How often an epoch visits each of them.
    pub mixture: Mixture,
    /// Validation examples; may be none.
    pub validation: Vec<Example>,
    /// Prompts that are continued beside each evaluation.
    pub prompts: Vec<SamplePrompt>,
    /// What the run will take, and how it is laid out.
    pub plan: MemoryPlan,
    /// How the training rows were compared with evaluation data; `None` if they were not.
    pub contamination: Option<ContaminationRecord>,
    /// Hashes of all of it.
    pub identity: Identity,
    /// What the user should know of the quantised base.
    pub note: Option<String>,
}

impl Prepared {
    /// Reads and checks everything but the weights, and plans the run. On resume, `before` is the identity when the run
    /// started.
    ///
    /// # Errors
    /// When anything is missing, broken, does not fit together or would train wrongly, or data changed since the run
    /// started. A run that does not fit into the memory is none: [`MemoryPlan::fits`] says so.
    pub fn read(
        config: &Config,
        before: Option<&Identity>,
        emit: &mut dyn FnMut(Event) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        if config.model.size.is_some() {
            check_folder("model.tokenizer", tokenizer_folder(config))?;
        } else if !is_gguf(&config.model.path) {
            check_folder("model.path", &config.model.path)?;
        }
        if let Some(dir) = &config.adapter.init_from {
            check_folder("adapter.init_from", dir)?;
        }
        let backend = open_backend(config)?;
        let text = text_model(config)?;
        let base = base_or_shape(config, &text)?;
        if let Some(message) = high_learning_rate(config, base.spec.parameters()) {
            emit(Event::Warning { message })?;
        }
        if let Some(kind) = quantization(config) {
            base.check_blocks(kind)?;
        }
        if let Some(before) = before {
            check_data_unchanged(before)?;
        }
        let data = read_data(config)?;
        let validation_key =
            if config.data.validation.is_empty() { "data.validation_fraction" } else { "data.validation" };
        let options = encode_options(config, &base);
        let (train, train_report) = encode_rows(&data.train, "data.train", &text, &options)?;
        emit(Event::DataRead(DataRead { key: "data.train", files: data.train_files.clone(), report: train_report }))?;
        let mut validation = Vec::new();
        if !data.validation.is_empty() {
            let (examples, report) = encode_rows(&data.validation, validation_key, &text, &options)?;
            let files = data.validation_files.clone();
            emit(Event::DataRead(DataRead { key: validation_key, files, report }))?;
            validation = examples;
        }
        let mixture = Mixture::new(config, &train)?;
        // What goes on is what was compared when the run started.
        let contamination = if before.is_none() { contamination::check(config, &data.train)? } else { None };
        if let Some(ContaminationRecord { repeats, allowed_because: Some(reason), .. }) = &contamination {
            let message = format!("{repeats} training rows repeat evaluation data; contamination.allow says: {reason}");
            emit(Event::Warning { message })?;
        }
        for message in &data.warnings {
            emit(Event::Warning { message: message.clone() })?;
        }
        if let Some(message) = leak_warning(&data) {
            emit(Event::Warning { message })?;
        }
        let (prompts, left_out) = sample_prompts(
            &config.evaluation.sample_prompts,
            &data.validation,
            config.evaluation.samples,
            &text,
            config.data.completion_style,
            base.spec.max_positions,
        )?;
        if left_out > 0 {
            let message = format!("evaluation.sample_prompts: {left_out} are empty or as long as the model's context");
            emit(Event::Warning { message })?;
        }

        let plan = plan_memory(config, (&base, backend.as_ref()), (&train, &validation), &mixture, &prompts)?;
        let Data { train_files, validation_files, .. } = data;
        Ok(Self {
            text,
            base,
            backend,
            train,
            mixture,
            validation,
            prompts,
            plan,
            contamination,
            train_files,
            validation_files,
        })
    }
}

impl Inputs {
    /// To what the checkpoints and the adapter of this run belong.
    pub fn made_from(&self) -> MadeFrom {
        let files = self.identity.base.iter().map(|file| (file.path.as_path(), file.blake3.as_str()));
        MadeFrom {
            base: Some(MadeFrom::hash_of_base(files)),
            tokenizer: Some(self.text.tokenizer_hash()),
            chat_template: self.text.template_hash(),
            text: Some(self.identity.text.clone()),
            ..MadeFrom::default()
        }
    }

    /// Reads and checks everything, the cheap things first. On resume, `before` is the identity when the run started.
    ///
    /// # Errors
    /// As [`Prepared::read`]; when a new run does not fit into the memory; when a weight is not finite, or anything
    /// changed since the run started.
    pub fn load(
        config: &Config,
        before: Option<&Identity>,
        emit: &mut dyn FnMut(Event) -> Result<(), TrainError>,
    ) -> Result<Self, TrainError> {
        let prepared = Prepared::read(config, before, emit)?;
        match &prepared.plan.refusal {
            None => {}
            Some(refusal) if before.is_none() => return Err(TrainError::DoesNotFit(Box::new(refusal.clone()))),
            // It fitted when it started, and must be laid out as it was; what is available now may grow meanwhile.
            Some(refusal) => emit(Event::Warning { message: refusal.to_string() })?,
        }
        emit(Event::Planned(Planned::new(&prepared.plan)))?;
        let inputs = Self::with_weights(prepared, config, before)?;
        if let Some(note) = &inputs.note {
            emit(Event::Warning { message: format!("model.quantize: {note}") })?;
        }
        Ok(inputs)
    }

    /// Reads every weight once: hashes the files, and looks for values that are not finite. Then packs those weights that
    /// the plan wants to keep packed.
    ///
    /// # Errors
    /// When a weight is not finite, or anything changed since the run started.
    pub fn with_weights(prepared: Prepared, config: &Config, before: Option<&Identity>) -> Result<Self, TrainError> {
        let Prepared { text, base, mut backend, train, mixture, validation, prompts, plan, contamination, .. } =
            prepared;
        let scan = base.scan(threads(config));
        let weights = scan.files.into_iter().map(|(path, blake3)| Ok(HashedFile { path, blake3 }));
        // Of a new model the file decides the shape; with `model.size` the configuration does.
        let shape = config.model.init == ModelInit::Random && config.model.size.is_none();
        let shape_file = shape.then(|| config.model.path.join("config.json"));
        let identity = Identity {
            base: weights
                .chain(base.config_file().or(shape_file).map(|path| HashedFile::read(&path)))
                .collect::<Result<_, _>>()?,
            text: text.identity(),
            train: prepared.train_files,
            validation: prepared.validation_files,
            init_from: match &config.adapter.init_from {
                Some(dir) => hash_all([dir.join("adapter_config.json"), dir.join("adapter_model.safetensors")])?,
                None => Vec::new(),
            },
            config: deciding_sections(config)?,
        };
        if let Some(before) = before {
            identity.check_unchanged(before)?;
        }
        if !scan.all_finite {
            // Names the tensor and the element.
            base.check_finite()?;
        }
        let (base, note) = match quantization(config) {
            None => (base, None),
            Some(kind) => {
                let hashes = identity.base.iter().map(|file| file.blake3.as_str());
                base.quantized(kind, threads(config), quantize::cache_file(kind, hashes).as_deref())?
            }
        };
        packing::keep(backend.as_mut(), &base, &plan.chosen.packed);
        Ok(Self { text, base, backend, train, mixture, validation, prompts, plan, contamination, identity, note })
    }

    /// Positions that the decoder needs: the longest example, or the longest sample with its prompt.
    pub fn longest_sequence(&self, config: &Config) -> usize {
        longest_sequence(config, &self.base, (&self.train, &self.validation), &self.prompts)
    }

    /// What is trained, before the first step: an adapter, fresh or `adapter.init_from`; or all weights, those of the base
    /// or random ones.
    ///
    /// An adapter that is given brings its own shape. Keys of the configuration that say something else than the
    /// default must agree with it, so that none of them is ignored in silence; `adapter.dropout` is the configuration's.
    ///
    /// # Errors
    /// When no module matches, or the given adapter does not fit the model or the configuration.
    pub fn initial(&self, config: &Config) -> Result<Trained, TrainError> {
        let (model, settings) = (&self.base.spec, &config.adapter);
        if settings.method == AdapterMethod::Full {
            let dtype = trained_dtype(config, &self.base)?;
            return Ok(Trained::from(match config.model.init {
                ModelInit::Pretrained => FullModel::from_base(&self.base, dtype),
                ModelInit::Random => {
                    let path = if config.model.size.is_some() { Path::new("") } else { &config.model.path };
                    FullModel::random(model, dtype, config.model.init_std, config.training.seed).at(path)
                }
            }));
        }
        let Some(dir) = &settings.init_from else {
            let mut fresh = Adapter::init(model, &adapter_spec(config), config.training.seed)?;
            fresh.set_magnitudes(&self.base, &*self.backend);
            return Ok(fresh.into());
        };
        Ok(given_adapter(config, model, dir)?.into())
    }
}

/// The type in which all weights are trained.
///
/// # Errors
/// When the base is stored in one that cannot be trained, and the configuration names no other.
fn trained_dtype(config: &Config, base: &BaseModel) -> Result<DType, TrainError> {
    let stored = base.dtype();
    let mut linears = base.layers.iter().flat_map(|layer| &layer.linears);
    if let Some(linear) = linears.find(|linear| matches!(linear.weight.dtype(), DType::Block(_))) {
        return Err(TrainError::Setting {
            key: "adapter.method",
            reason: format!("full, and the base is quantised ({:?})", linear.weight.dtype()),
            hint: "train an adapter beside it, or take the base before it was quantised".into(),
        });
    }
    match (config.model.dtype, config.model.init) {
        (TrainedType::F32, _) | (TrainedType::Auto, ModelInit::Random) => Ok(DType::F32),
        (TrainedType::Bf16, _) => Ok(DType::Bf16),
        (TrainedType::Auto, ModelInit::Pretrained) if matches!(stored, DType::F32 | DType::Bf16) => Ok(stored),
        (TrainedType::Auto, ModelInit::Pretrained) => Err(TrainError::Setting {
            key: "model.dtype",
            reason: format!("the base is stored in {stored:?}, which is too narrow to be trained"),
            hint: "set model.dtype to bf16 (same size, fewer digits) or f32".into(),
        }),
    }
}

/// The base model; of one that is trained from scratch its shape alone, with made-up weights that nothing reads.
fn base_or_shape(config: &Config, text: &TextModel) -> Result<BaseModel, TrainError> {
    if config.model.init == ModelInit::Pretrained {
        return Ok(BaseModel::load(&config.model.path)?);
    }
    let dtype = if config.model.dtype == TrainedType::Bf16 { DType::Bf16 } else { DType::F32 };
    let Some(size) = &config.model.size else {
        return Ok(BaseModel::made_up(&DecoderSpec::read(&config.model.path)?, dtype));
    };
    let spec = DecoderSpec {
        family: "llama".into(),
        hidden: size.hidden,
        layers: size.layers,
        heads: size.heads,
        kv_heads: size.kv_heads.unwrap_or(size.heads),
        head_dim: size.hidden / size.heads,
        feed_forward: size.feed_forward,
        vocabulary: text.vocab_size(),
        max_positions: size.max_positions,
        norm_epsilon: 1e-5,
        rope_theta: size.rope_theta,
        rope_scaling: RopeScaling::None,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied_head: size.tied_head,
        windows: vec![None; size.layers],
    };
    Ok(BaseModel::made_up(&spec, dtype))
}

/// Where the text side of a model of `model.size` is.
fn tokenizer_folder(config: &Config) -> &Path {
    config.model.tokenizer.as_deref().unwrap_or(Path::new(""))
}

/// A learning rate that suits adapters ruins a trained base, unless it is tiny: what a model bears falls with its width.
fn high_learning_rate(config: &Config, parameters: usize) -> Option<String> {
    const HIGHEST_USUAL: f64 = 1e-4;
    const TINY: usize = 30_000_000;
    let rate = config.training.learning_rate;
    let is_at_risk = config.adapter.method == AdapterMethod::Full && config.model.init == ModelInit::Pretrained;
    (is_at_risk && rate > HIGHEST_USUAL && parameters >= TINY).then(|| {
        format!(
            "training.learning_rate: {rate:e} suits adapters; for all weights of a trained base 1e-5 to 5e-5 are usual"
        )
    })
}

fn given_adapter(config: &Config, model: &DecoderSpec, dir: &Path) -> Result<Adapter, TrainError> {
    let settings = &config.adapter;
    let mut given = Adapter::from_peft(model, dir)?;
    given.spec.dropout = settings.dropout as f32;
    let silent =
        AdapterConfig { dropout: settings.dropout, init_from: settings.init_from.clone(), ..AdapterConfig::default() };
    if *settings != silent {
        refuse_other_shape(&given, &Adapter::shaped(model, &adapter_spec(config))?, dir)?;
    }
    Ok(given)
}

fn longest_sequence(
    config: &Config,
    base: &BaseModel,
    (train, validation): (&[Example], &[Example]),
    prompts: &[SamplePrompt],
) -> usize {
    let examples = train.iter().chain(validation).map(|example| example.ids.len());
    let samples = prompts.iter().map(|prompt| prompt.ids.len() + config.evaluation.sample_max_tokens);
    examples.chain(samples).max().unwrap_or(0).min(base.spec.max_positions)
}

/// What is going to be trained, as far as it is known without its values.
#[derive(Debug, Clone)]
pub enum PlannedTraining {
    /// An adapter; its values may be zeros.
    Adapter(Adapter),
    /// All weights, in this type.
    Full(DType),
}

impl PlannedTraining {
    /// What the configuration asks for.
    ///
    /// # Errors
    /// As [`Inputs::initial`].
    pub fn new(config: &Config, base: &BaseModel) -> Result<Self, TrainError> {
        Ok(match (&config.adapter.init_from, config.adapter.method) {
            (_, AdapterMethod::Full) => Self::Full(trained_dtype(config, base)?),
            (Some(dir), _) => Self::Adapter(given_adapter(config, &base.spec, dir)?),
            (None, _) => Self::Adapter(Adapter::shaped(&base.spec, &adapter_spec(config))?),
        })
    }

    /// The type in which products over the weights are computed where a processor can.
    pub fn products(&self, config: &Config, base: &BaseModel) -> DType {
        match self {
            Self::Full(dtype) => *dtype,
            Self::Adapter(_) => quantization(config).map_or(base.dtype(), |kind| DType::Block(kind).of_products()),
        }
    }

    /// As a plan sees it.
    pub fn shape(&self) -> TrainedShape<'_> {
        match self {
            Self::Adapter(adapter) => TrainedShape::Adapter(adapter),
            Self::Full(dtype) => TrainedShape::Full(*dtype),
        }
    }
}

/// The blocks that `model.quantize` asks for.
pub fn quantization(config: &Config) -> Option<BlockType> {
    blocks_of(config.model.quantize)
}

/// The blocks of the linears in a base that is quantised so.
pub fn blocks_of(quantize: Quantize) -> Option<BlockType> {
    match quantize {
        Quantize::None => None,
        Quantize::Nf4 => Some(BlockType::Nf4),
        Quantize::Int8 => Some(BlockType::Q8_0),
    }
}

/// What `model.quantize` saves, and what it takes once.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct QuantizationPlan {
    /// Bytes of the base's files.
    pub plain_bytes: u64,
    /// Bytes of the frozen weights in blocks.
    pub quantized_bytes: u64,
    /// What the first run on this base takes more.
    pub first_run: EncodingCost,
}

impl QuantizationPlan {
    /// Of a base that the configuration wants quantised; `None` where it does not.
    ///
    /// # Errors
    /// When a weight cannot be quantised.
    pub fn new(config: &Config, base: &BaseModel) -> Result<Option<Self>, TrainError> {
        let Some(kind) = quantization(config) else { return Ok(None) };
        Ok(Some(Self {
            plain_bytes: base.size_bytes(),
            quantized_bytes: base.quantized_bytes(kind).unwrap_or_else(|| base.size_bytes()),
            first_run: base.encoding_cost(kind, threads(config))?,
        }))
    }
}

/// The base at `path` for a command with `--quantize`, from the cache where it is there. Also gives a note for the user.
///
/// # Errors
/// When it cannot be read or quantised; a GGUF file never is.
pub fn open_base(path: &Path, quantize: Quantize, threads: usize) -> Result<(BaseModel, Option<String>), TrainError> {
    let Some(kind) = blocks_of(quantize) else { return Ok((BaseModel::load(path)?, None)) };
    if is_gguf(path) {
        return Err(TrainError::Setting {
            key: "--quantize",
            reason: format!("{} is a GGUF file, which brings the types of its weights", path.display()),
            hint: "leave --quantize out, or give the folder that the file was made from".into(),
        });
    }
    Ok(BaseModel::load(path)?.quantized_through_cache(kind, threads)?)
}

/// What the run will take. The adapter's values are not needed yet, only its shape.
fn plan_memory(
    config: &Config,
    (base, backend): (&BaseModel, &dyn Backend),
    (train, validation): (&[Example], &[Example]),
    mixture: &Mixture,
    prompts: &[SamplePrompt],
) -> Result<MemoryPlan, TrainError> {
    let planned = PlannedTraining::new(config, base)?;
    let quantized = quantization(config);
    let products = planned.products(config, base);
    let packable = match &planned {
        // Weights that change with each step would have to be packed anew each time.
        PlannedTraining::Full(_) => Vec::new(),
        PlannedTraining::Adapter(_) => packing::candidates(base, backend, quantized),
    };
    let held_bytes = resident_memory_bytes().unwrap_or(0);
    let positions = longest_sequence(config, base, (train, validation), prompts);
    let longest_prompt = prompts.iter().map(|prompt| prompt.ids.len()).max().unwrap_or(0);
    let most_generated = if prompts.is_empty() { 0 } else { config.evaluation.sample_max_tokens };
    Ok(MemoryPlan::new(&Question {
        config,
        spec: &base.spec,
        trained: planned.shape(),
        surroundings: Surroundings {
            activation_bytes: backend.activation_dtype(products).element_bytes().unwrap_or(size_of::<f32>()),
            weights_bytes: quantized.and_then(|kind| base.quantized_bytes(kind)).unwrap_or_else(|| base.size_bytes()),
            program_bytes: held_bytes,
            threads: threads(config),
            keeps_best: config.evaluation.keep_best && !validation.is_empty(),
            positions,
            cache_positions: (longest_prompt + most_generated).min(positions),
        },
        train: &lengths(train),
        mixture,
        validation: &lengths(validation),
        longest_prompt,
        layout: match config.hardware.layout {
            attune_config::Layout::Packed => Layout::Packed,
            // The id of the filling does not matter here.
            attune_config::Layout::Padded => Layout::Padded { pad_id: 0 },
        },
        budget: Budget::new(config.hardware.memory_budget, held_bytes),
        packable: &packable,
    }))
}

fn refuse_other_shape(given: &Adapter, wanted: &Adapter, dir: &Path) -> Result<(), TrainError> {
    let shape = |adapter: &Adapter, at: usize| {
        let module = adapter.modules.get(at);
        let method = |module: &AdapterModule| if module.magnitude.is_some() { "DoRA" } else { "LoRA" };
        module.map(|module| {
            format!("{} of {} with rank {} and scale {}", module.name, method(module), module.rank, module.scale)
        })
    };
    let longest = given.modules.len().max(wanted.modules.len());
    let differing = (0..longest).find(|&at| shape(given, at) != shape(wanted, at));
    let Some(at) = differing else { return Ok(()) };
    let none = || "no further module".to_string();
    Err(TrainError::Setting {
        key: "adapter.init_from",
        reason: format!(
            "the adapter in {} has {} where the other keys of the section ask for {}",
            dir.display(),
            shape(given, at).unwrap_or_else(none),
            shape(wanted, at).unwrap_or_else(none)
        ),
        hint: "leave the other keys of the section out (the given adapter brings its shape), or make them agree".into(),
    })
}

fn check_folder(key: &'static str, dir: &Path) -> Result<(), TrainError> {
    if dir.is_dir() {
        return Ok(());
    }
    let problem = if dir.exists() { "is not a folder" } else { "there is no such folder" };
    let hint = format!("check {key}: relative paths in ft.yaml start at the folder of that file");
    let pull = pull_hint(dir).filter(|_| key == "model.path");
    let hint = pull.map_or_else(|| hint.clone(), |pull| format!("{hint}; {pull}"));
    Err(TrainError::Setting { key, reason: format!("{}: {problem}", dir.display()), hint })
}

fn open_backend(config: &Config) -> Result<Box<dyn Backend>, TrainError> {
    Ok(match config.hardware.backend {
        BackendChoice::Auto | BackendChoice::Cpu => Box::new(Cpu::new(config.hardware.threads)?),
        BackendChoice::Reference => Box::new(Reference),
    })
}

/// Tokenizer and chat template of the base model, with what section `model` changes.
///
/// # Errors
/// When the tokenizer or the template is missing or broken.
pub fn text_model(config: &Config) -> Result<TextModel, TrainError> {
    if config.model.size.is_some() {
        let options = LoadOptions { tokenizer: None, ..load_options(config) };
        return Ok(TextModel::load(tokenizer_folder(config), &options)?);
    }
    Ok(TextModel::load(&config.model.path, &load_options(config))?)
}

/// `data.train_on`, in the words of the text room.
pub fn train_on(config: &Config) -> TrainOn {
    match config.data.train_on {
        attune_config::TrainOn::Assistant => TrainOn::Assistant,
        attune_config::TrainOn::Last => TrainOn::Last,
        attune_config::TrainOn::All => TrainOn::All,
    }
}

/// How section `model` loads the text side: for whoever must see a run's tokenizer and template as it did.
pub fn load_options(config: &Config) -> LoadOptions {
    let model = &config.model;
    let today = chrono::Local::now().date_naive();
    let template_date = match model.template_date {
        TemplateDate::Today => today,
        TemplateDate::On(date) => {
            let (year, month, day) = (i32::from(date.year()), u32::from(date.month()), u32::from(date.day()));
            chrono::NaiveDate::from_ymd_opt(year, month, day).unwrap_or(today)
        }
    };
    LoadOptions {
        tokenizer: model.tokenizer.clone(),
        chat_template: model.chat_template.as_ref().map(ToString::to_string),
        template_date,
        ..LoadOptions::default()
    }
}

fn encode_options(config: &Config, base: &BaseModel) -> EncodeOptions {
    EncodeOptions {
        completion_style: config.data.completion_style,
        train_on: train_on(config),
        max_seq_length: config.data.max_seq_length,
        max_positions: base.spec.max_positions,
        overlong: config.data.overlong,
        untrained: config.data.untrained,
        embedding_rows: base.spec.vocabulary,
        threads: threads(config),
    }
}

/// `hardware.threads`, or as many as there are cores.
fn threads(config: &Config) -> usize {
    config.hardware.threads.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from))
}

/// What the configuration asks for, in the words of the model room.
pub fn adapter_spec(config: &Config) -> AdapterSpec {
    let adapter = &config.adapter;
    AdapterSpec {
        rank: adapter.rank,
        alpha: adapter.alpha as f32,
        dropout: adapter.dropout as f32,
        targets: match &adapter.target_modules {
            TargetModules::AllLinear => Targets::AllLinear,
            TargetModules::List(modules) => {
                Targets::Some(modules.iter().filter_map(|module| Linear::from_short_name(module.name())).collect())
            }
        },
        layers: match adapter.layers {
            Layers::All => LayerChoice::All,
            Layers::First(count) => LayerChoice::First(count),
            Layers::Last(count) => LayerChoice::Last(count),
        },
        rank_pattern: adapter.rank_pattern.clone(),
        alpha_pattern: adapter.alpha_pattern.iter().map(|(name, &alpha)| (name.clone(), alpha as f32)).collect(),
        use_rslora: adapter.use_rslora,
        // With `full` there is none, and nobody asks.
        use_dora: adapter.method == AdapterMethod::Dora,
    }
}

/// Rows and files of both sets.
struct Data {
    train: Vec<Row>,
    validation: Vec<Row>,
    train_files: Vec<DataFile>,
    validation_files: Vec<DataFile>,
    /// What is in no row of the transcripts.
    warnings: Vec<String>,
}

/// `data.format`, in the words of the data room.
pub fn format_choice(config: &Config) -> FormatChoice {
    match config.data.format {
        DataFormat::Auto => FormatChoice::Auto,
        DataFormat::Messages => FormatChoice::Messages,
        DataFormat::PromptCompletion => FormatChoice::PromptCompletion,
        DataFormat::Alpaca => FormatChoice::Alpaca,
        DataFormat::Sharegpt => FormatChoice::Sharegpt,
        DataFormat::Text => FormatChoice::Text,
        DataFormat::Preference => FormatChoice::Preference,
        DataFormat::Kto => FormatChoice::Kto,
    }
}

/// How data files are read.
pub fn read_options(config: &Config) -> ReadOptions {
    let transcripts = config.data.transcripts.as_ref();
    ReadOptions {
        columns: config.data.columns.clone().into_iter().collect(),
        transcripts: transcripts.map(|how| Transcripts { assistant: how.assistant.clone(), exchanges: how.exchanges }),
        ..ReadOptions::default()
    }
}

fn read_data(config: &Config) -> Result<Data, TrainError> {
    let (format, options) = (format_choice(config), read_options(config));
    let DataSet { rows: mut train, files } = attune_data::read_with(&config.data.train, format, &options)?;
    let train_files = files.iter().map(data_file).collect();
    let mut warnings: Vec<String> = transcripts_warning("data.train", &files).into_iter().collect();
    let (mut validation, mut validation_files) = (Vec::new(), Vec::new());
    if !config.data.validation.is_empty() {
        let set = attune_data::read_with(&config.data.validation, format, &options)?;
        if set.rows.is_empty() {
            return Err(TrainError::NoRows { key: "data.validation", rows: 0, dropped: 0 });
        }
        validation_files = set.files.iter().map(data_file).collect();
        warnings.extend(transcripts_warning("data.validation", &set.files));
        validation = set.rows;
    } else if config.data.validation_fraction > 0.0 {
        let split = split_validation(train, config.data.validation_fraction, config.training.seed)?;
        (train, validation) = (split.train, split.validation);
    }
    if train.is_empty() {
        return Err(TrainError::NoRows { key: "data.train", rows: 0, dropped: 0 });
    }
    Ok(Data { train, validation, train_files, validation_files, warnings })
}

/// What is said in transcripts and stands in no row.
fn transcripts_warning(key: &str, files: &[FileReport]) -> Option<String> {
    let mut all = TranscriptFacts::default();
    files.iter().filter_map(|file| file.transcript).for_each(|facts| all += facts);
    all.leaves_out().then(|| format!("{key}: transcripts with {all}"))
}

fn data_file(report: &FileReport) -> DataFile {
    DataFile {
        path: report.path.clone(),
        bytes: report.bytes,
        blake3: report.hash.clone(),
        form: report.form.to_string(),
        rows: report.rows,
    }
}

/// Rows that are trained on and validated on: the validation loss would flatter.
fn leak_warning(data: &Data) -> Option<String> {
    let trained: HashSet<[u8; 32]> = data.train.iter().map(|row| row.hash).collect();
    let mut leaked = data.validation.iter().filter(|row| trained.contains(&row.hash));
    let first = leaked.next()?;
    let total = 1 + leaked.count();
    Some(format!(
        "{total} of {} validation rows are training rows as well, the first is {}: the validation loss flatters",
        data.validation.len(),
        first.origin
    ))
}

/// Compares the data files with their hashes when the run started, before they are parsed.
fn check_data_unchanged(before: &Identity) -> Result<(), TrainError> {
    for file in before.train.iter().chain(&before.validation) {
        let now = HashedFile::read(&file.path)?;
        crate::run_dir::check_files(&[HashedFile { path: file.path.clone(), blake3: file.blake3.clone() }], &[now])?;
    }
    Ok(())
}

fn hash_all(paths: impl IntoIterator<Item = PathBuf>) -> Result<Vec<HashedFile>, TrainError> {
    paths.into_iter().map(|path| HashedFile::read(&path)).collect()
}

/// The sections that decide the bytes of what comes out. `hardware` is execution: it may change them by rounding only, and
/// threads not at all.
fn deciding_sections(config: &Config) -> Result<Value, TrainError> {
    let section = |value: Result<Value, serde_json::Error>| {
        value.map_err(|error| TrainError::RunFile { path: "config.yaml".into(), reason: error.to_string() })
    };
    let mut sections = serde_json::Map::new();
    sections.insert("model".into(), section(serde_json::to_value(&config.model))?);
    sections.insert("adapter".into(), section(serde_json::to_value(&config.adapter))?);
    sections.insert("data".into(), section(serde_json::to_value(&config.data))?);
    sections.insert("training".into(), section(serde_json::to_value(&config.training))?);
    sections.insert("evaluation".into(), section(serde_json::to_value(&config.evaluation))?);
    Ok(Value::Object(sections))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_for_adapters_is_warned_of_where_it_ruins_the_base() {
        let mut config = Config::default();
        config.training.learning_rate = 2e-4;
        assert_eq!(high_learning_rate(&config, 1_000_000_000), None, "an adapter");
        config.adapter.method = AdapterMethod::Full;
        assert!(high_learning_rate(&config, 1_000_000_000).is_some_and(|message| message.contains("2e-4")));
        assert_eq!(high_learning_rate(&config, 2_000_000), None, "a tiny base");
        config.model.init = ModelInit::Random;
        assert_eq!(high_learning_rate(&config, 1_000_000_000), None, "nothing to ruin");
    }
}
