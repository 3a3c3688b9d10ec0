//! Why a run does not fit, and what would make it fit: each remedy is worked out and holds by itself.

use std::fmt;

use attune_compute::DType;
use attune_config::{Activations, AdapterConfig, Config, MicroBatchTokens, ModelInit};
use attune_model::{Adapter, AdapterSpec, LayerChoice, Linear, Targets};

use super::budget::Budget;
use super::bytes::{Peak, Sizes, Width};
use super::{MemoryPlan, Question, TrainedShape, longest};

/// Shorter examples than this are no remedy.
const LEAST_TOKENS: usize = 64;

/// A run that cannot fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// What it takes at least.
    pub least: Peak,
    /// What there is.
    pub budget: Budget,
    /// What would do, each by itself; the first is the least change.
    pub remedies: Vec<String>,
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let mebibytes = bytes as f64 / f64::from(1 << 20);
    if mebibytes < 1000.0 { format!("{mebibytes:.0} MiB") } else { format!("{:.1} GiB", mebibytes / 1024.0) }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The least keeps nothing packed.
        let Peak {
            weights_bytes, adapter_bytes, activations_bytes, transient_bytes, pool_bytes, program_bytes, ..
        } = self.least;
        let budget = match self.budget {
            Budget::Configured { bytes } => format!("hardware.memory_budget is {}", size(bytes)),
            Budget::Available { bytes, available_bytes } => {
                format!("{} are available, of which it may take {}", size(available_bytes), size(bytes))
            }
            Budget::Unknown => "the budget is not known".into(),
        };
        write!(
            f,
            "training does not fit into the memory: it takes at least {} (weights of the base {}, what is trained and its state {}, \
             activations {}, work space {}, program and data {}), and {budget}",
            size(self.least.total_bytes()),
            size(weights_bytes),
            size(adapter_bytes),
            size(activations_bytes),
            size(transient_bytes + pool_bytes),
            size(program_bytes),
        )
    }
}

impl Refusal {
    /// What the user can do.
    pub fn hint(&self) -> String {
        format!("any of these would make it fit: {}", self.remedies.join("; "))
    }
}

/// Works out what would do.
pub(super) fn refusal(question: &Question, least: Peak) -> Refusal {
    let limit = question.budget.bytes().unwrap_or(u64::MAX);
    let mut remedies = Vec::new();
    let hardware = &question.config.hardware;
    let is_auto = hardware.micro_batch_tokens == MicroBatchTokens::Auto && hardware.activations == Activations::Auto;
    if !is_auto && floor(question, question.trained, None) <= limit {
        let mut config = question.config.clone();
        config.hardware.micro_batch_tokens = MicroBatchTokens::Auto;
        config.hardware.activations = Activations::Auto;
        let freed = MemoryPlan::new(&Question { config: &config, ..question.clone() });
        if freed.fits() {
            remedies.push("hardware.activations and hardware.micro_batch_tokens set to auto".into());
        }
    } else {
        let auto =
            if is_auto { "" } else { " (with hardware.activations and hardware.micro_batch_tokens set to auto)" };
        remedies.extend(smaller_work(question, limit).map(|remedy| format!("{remedy}{auto}")));
    }
    let needed = size_rounded_up(least.total_bytes());
    remedies.push(match question.budget {
        Budget::Configured { .. } => format!("hardware.memory_budget of at least {needed}"),
        _ => format!(
            "other programs closed until {needed} are free, or a hardware.memory_budget of that size, which may swap"
        ),
    });
    Refusal { least, budget: question.budget, remedies }
}

/// What the narrowest layout takes with another adapter, or with examples cut to `most` tokens.
fn floor(question: &Question, trained: TrainedShape, most: Option<usize>) -> u64 {
    let cut = |width: Width| match most {
        Some(most) => Width { tokens: width.tokens.min(most), targets: width.targets.min(most) },
        None => width,
    };
    let sizes = Sizes::new(question.spec, trained, &question.surroundings);
    let (trained, validated) = (cut(longest(question.train)), cut(longest(question.validation)));
    let prompt = cut(Width { tokens: question.longest_prompt, targets: question.longest_prompt.min(1) });
    // An evaluation packs examples up to the length of the longest that is trained on.
    let evaluated = match question.validation.is_empty() {
        true => prompt,
        false => validated.cover(trained).cover(prompt),
    };
    sizes.peak(trained, evaluated, sizes.trained_layers()).total_bytes()
}

/// Shorter examples, a lower rank, fewer layers, fewer targets: those that would do alone.
fn smaller_work(question: &Question, limit: u64) -> impl Iterator<Item = String> {
    let fits = |trained: TrainedShape, most: Option<usize>| floor(question, trained, most) <= limit;
    let shorter = (LEAST_TOKENS..longest(question.train).tokens)
        .rev()
        .filter(|tokens| tokens.is_multiple_of(LEAST_TOKENS))
        .find(|&tokens| fits(question.trained, Some(tokens)))
        .map(|tokens| format!("data.max_seq_length: {tokens} with data.overlong: truncate-right or drop"));
    let others: Vec<String> = match question.trained {
        TrainedShape::Adapter(adapter) => smaller_adapter(question, adapter, &fits).into_iter().flatten().collect(),
        TrainedShape::Full(dtype) => smaller_state(question, dtype, &fits).into_iter().flatten().collect(),
    };
    shorter.into_iter().chain(others)
}

/// A narrower type, or an adapter in place of all weights.
fn smaller_state(
    question: &Question,
    dtype: DType,
    fits: &dyn Fn(TrainedShape, Option<usize>) -> bool,
) -> [Option<String>; 2] {
    let narrow = dtype == DType::F32 && fits(TrainedShape::Full(DType::Bf16), None);
    let default = AdapterConfig::default();
    let spec = crate::inputs::adapter_spec(&Config { adapter: default, ..question.config.clone() });
    let has_base = question.config.model.init == ModelInit::Pretrained;
    let adapter = Adapter::shaped(question.spec, &spec).ok().filter(|_| has_base);
    let lora = adapter.is_some_and(|adapter| fits(TrainedShape::Adapter(&adapter), None));
    [narrow.then(|| "model.dtype: bf16".to_string()), lora.then(|| "adapter.method: lora".to_string())]
}

/// A lower rank, fewer layers, fewer targets.
fn smaller_adapter(
    question: &Question,
    adapter: &Adapter,
    fits: &dyn Fn(TrainedShape, Option<usize>) -> bool,
) -> [Option<String>; 3] {
    // An adapter that is given brings its shape.
    let may_change = question.config.adapter.init_from.is_none();
    let spec = || adapter.spec.clone();
    let with = |spec: AdapterSpec| {
        Adapter::shaped(question.spec, &spec)
            .ok()
            .filter(|adapter| may_change && fits(TrainedShape::Adapter(adapter), None))
    };
    let lower_rank = std::iter::successors(Some(spec().rank / 2), |rank| Some(rank / 2))
        .take_while(|&rank| rank > 0)
        .find(|&rank| with(AdapterSpec { rank, ..spec() }).is_some())
        .map(|rank| format!("adapter.rank: {rank}"));
    let last_layers = (1..question.spec.layers)
        .rev()
        .find(|&count| with(AdapterSpec { layers: LayerChoice::Last(count), ..plain(spec()) }).is_some())
        .map(|count| format!("adapter.layers: {{last: {count}}}"));
    let fewer_targets = (spec().targets == Targets::AllLinear)
        .then(|| with(AdapterSpec { targets: Targets::Some(vec![Linear::Q, Linear::V]), ..plain(spec()) }))
        .flatten()
        .map(|_| "adapter.target_modules: [q_proj, v_proj]".to_string());
    [lower_rank, last_layers, fewer_targets]
}

/// Without patterns, which may name modules that are no longer there.
fn plain(mut spec: AdapterSpec) -> AdapterSpec {
    spec.rank_pattern.clear();
    spec.alpha_pattern.clear();
    spec
}

/// In whole steps of 64 MiB, so that what is asked for is enough.
fn size_rounded_up(bytes: u64) -> String {
    let mebibytes = bytes.div_ceil(64 << 20) * 64;
    format!("{mebibytes}MiB")
}
