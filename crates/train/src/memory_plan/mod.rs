//! What a run will take before it takes it: the predicted peak of memory, and the cheapest layout of the work that
//! fits into the budget.
//!
//! Two things can be chosen without changing the result beyond rounding: how many tokens a micro-batch has, and how
//! many layers are run again in the backward pass rather than kept. [`MemoryPlan::new`] takes the cheapest pair that
//! fits. The choice is written into the run's `config.yaml`, so a resumed run repeats it rather than choosing again.
//!
//! - `bytes` holds every formula on bytes, `shapes` the micro-batches of a run as numbers, `budget` what there is;
//! - `packing` gives what memory is left to packed copies of frozen weights;
//! - `remedies` finds what would make a run fit that does not;
//! - `calibrate` measures this machine for a few seconds and predicts the time; `measure` holds a plan against real
//!   steps.

pub mod budget;
pub mod bytes;
pub mod calibrate;
pub mod measure;
pub mod packing;
mod remedies;
pub mod shapes;

use attune_compute::DType;
use attune_config::{Activations, Config, MicroBatchTokens};
use attune_model::{Adapter, DecoderSpec, SavePolicy, Trained};
use serde::Serialize;

use crate::evaluate::EXAMPLES_AT_ONCE;
use crate::plan::{BatchPlan, Layout, Mixture, Packing};
use budget::Budget;
use bytes::{Peak, Sizes, Surroundings, Width};
use packing::{Candidate, Reads};
pub use remedies::{Refusal, size};
use shapes::{Length, Shapes};

/// The largest micro-batch that is chosen: a larger one is no faster.
pub const MOST_MICRO_BATCH_TOKENS: usize = 4096;

/// Sizes of micro-batches that are tried, from the one that is best when there is room.
const MICRO_BATCH_TOKENS: [usize; 14] =
    [MOST_MICRO_BATCH_TOKENS, 3072, 2048, 1536, 1024, 768, 512, 384, 256, 192, 128, 96, 64, 32];

/// A micro-batch costs as much as its tokens and this many more: weights are packed, and read, once per micro-batch.
const TOKENS_OF_A_MICRO_BATCH: usize = 64;

/// What is trained, as far as a plan must know it.
#[derive(Debug, Clone, Copy)]
pub enum TrainedShape<'a> {
    /// An adapter; its values do not matter.
    Adapter(&'a Adapter),
    /// All weights, in this type.
    Full(DType),
}

impl<'a> From<&'a Trained> for TrainedShape<'a> {
    fn from(trained: &'a Trained) -> Self {
        match trained {
            Trained::Adapter(adapter) => Self::Adapter(adapter),
            Trained::Full(model) => Self::Full(model.dtype()),
        }
    }
}

impl TrainedShape<'_> {
    /// The adapter, if it is one.
    pub fn adapter(&self) -> Option<&Adapter> {
        match self {
            Self::Adapter(adapter) => Some(adapter),
            Self::Full(_) => None,
        }
    }

    /// The lowest layer that a gradient passes.
    pub fn lowest_layer(&self) -> usize {
        self.adapter().map_or(0, Adapter::lowest_layer)
    }

    /// Number of trained values.
    pub fn parameters(&self, spec: &DecoderSpec) -> usize {
        self.adapter().map_or(spec.parameters(), Adapter::parameters)
    }
}

/// Everything that a plan depends on.
#[derive(Debug, Clone)]
pub struct Question<'a> {
    /// The run.
    pub config: &'a Config,
    /// The model.
    pub spec: &'a DecoderSpec,
    /// What is trained; its values do not matter.
    pub trained: TrainedShape<'a>,
    /// The rest of what the formulas need.
    pub surroundings: Surroundings,
    /// Training examples.
    pub train: &'a [Length],
    /// How often an epoch visits each of them.
    pub mixture: &'a Mixture,
    /// Validation examples.
    pub validation: &'a [Length],
    /// Tokens of the longest prompt that is continued; 0 without samples.
    pub longest_prompt: usize,
    /// Packed or padded.
    pub layout: Layout,
    /// What there is.
    pub budget: Budget,
    /// Frozen weights that could be kept packed.
    pub packable: &'a [Candidate],
}

/// How the work is laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Choice {
    /// Tokens of a micro-batch; `None` takes a whole step at once.
    pub micro_batch_tokens: Option<usize>,
    /// How many of the lowest trained layers are run again in the backward pass.
    pub recomputed_layers: usize,
}

/// A layout of the work, and what it comes to.
#[derive(Debug, Clone, PartialEq)]
pub struct Layouted {
    /// The layout.
    pub choice: Choice,
    /// The predicted peak.
    pub peak: Peak,
    /// The micro-batches of the run.
    pub train: Shapes,
    /// The micro-batches of one evaluation.
    pub validation: Shapes,
    /// Time, in passes of a token through a layer.
    pub cost: f64,
    /// Frozen weights that are kept packed with what memory is left.
    pub packed: Vec<Candidate>,
}

/// The plan of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryPlan {
    /// The cheapest layout that fits; the narrowest one when none does.
    pub chosen: Layouted,
    /// Everything kept, with the widest micro-batches that the configuration allows.
    pub keep_all: Layouted,
    /// Every trained layer run again, with the narrowest micro-batches that the examples and the configuration allow.
    pub recompute_all: Layouted,
    /// What there is.
    pub budget: Budget,
    /// Layers of the model.
    pub layers: usize,
    /// Layers that a gradient passes.
    pub trained_layers: usize,
    /// Why the run cannot fit.
    pub refusal: Option<Refusal>,
}

impl MemoryPlan {
    /// Lays the work out.
    pub fn new(question: &Question) -> Self {
        let sizes = Sizes::new(question.spec, question.trained, &question.surroundings);
        let trained_layers = sizes.trained_layers();
        let recomputes = recompute_choices(question.config.hardware.activations, trained_layers);
        let tokens = token_choices(question);
        let shaped: Vec<Shaped> = tokens.into_iter().map(|tokens| Shaped::new(question, tokens)).collect();
        let prompt = Width { tokens: question.longest_prompt, targets: question.longest_prompt.min(1) };
        let peak = |shaped: &Shaped, recomputed: usize| {
            sizes.peak(shaped.train.widest, shaped.validation.widest.cover(prompt), recomputed)
        };
        let cost = |shaped: &Shaped, recomputed: usize| {
            // Passes through a layer: forward, backward, and forward again.
            shaped.cost_per_layer * (question.spec.layers + trained_layers + recomputed) as f64
        };
        let lay_out = |shaped: &Shaped, recomputed: usize| {
            let peak = peak(shaped, recomputed);
            let packed = packed(question, &shaped.train, recomputed, peak.total_bytes());
            Layouted {
                choice: Choice { micro_batch_tokens: shaped.max_tokens, recomputed_layers: recomputed },
                peak: Peak { packed_bytes: packed.iter().map(|candidate| candidate.bytes).sum(), ..peak },
                cost: cost(shaped, recomputed),
                train: shaped.train.clone(),
                validation: shaped.validation.clone(),
                packed,
            }
        };
        let limit = question.budget.bytes().unwrap_or(u64::MAX);
        let mut best: Option<(&Shaped, usize, f64)> = None;
        for shape in &shaped {
            // The fewest layers that have to be run again; more of them take less memory and more time.
            let first = recomputes.iter().copied().find(|&layers| peak(shape, layers).total_bytes() <= limit);
            if let Some(layers) = first
                && best.is_none_or(|(_, _, best)| cost(shape, layers) < best)
            {
                best = Some((shape, layers, cost(shape, layers)));
            }
        }
        let (widest, narrowest) = (&shaped[0], &shaped[shaped.len() - 1]);
        let most = recomputes[recomputes.len() - 1];
        let (shape, layers) = best.map_or((narrowest, most), |(shape, layers, _)| (shape, layers));
        let refusal = match best {
            Some(_) => None,
            None => Some(remedies::refusal(question, peak(narrowest, most))),
        };
        Self {
            keep_all: lay_out(widest, 0),
            recompute_all: lay_out(narrowest, trained_layers),
            chosen: lay_out(shape, layers),
            budget: question.budget,
            layers: question.spec.layers,
            trained_layers,
            refusal,
        }
    }

    /// Whether the run fits into the budget.
    pub fn fits(&self) -> bool {
        self.refusal.is_none()
    }

    /// What the forward pass keeps.
    pub fn save_policy(&self) -> SavePolicy {
        match self.chosen.choice.recomputed_layers {
            0 => SavePolicy::Keep,
            layers if layers >= self.trained_layers => SavePolicy::Recompute,
            layers => SavePolicy::RecomputeLowest(layers),
        }
    }

    /// The configuration with the choice in place of `auto`, so that a resumed run repeats it to the bit.
    pub fn fixed_in(&self, mut config: Config) -> Config {
        let Choice { micro_batch_tokens, recomputed_layers } = self.chosen.choice;
        config.hardware.micro_batch_tokens =
            micro_batch_tokens.map_or(MicroBatchTokens::Unlimited, MicroBatchTokens::Tokens);
        config.hardware.activations = match recomputed_layers {
            0 => Activations::Keep,
            layers if layers >= self.trained_layers => Activations::Recompute,
            layers => Activations::RecomputeLayers(layers),
        };
        config
    }
}

/// The weights that are kept packed beside a layout that takes so many bytes.
fn packed(question: &Question, train: &Shapes, recomputed: usize, taken_bytes: u64) -> Vec<Candidate> {
    let reads = Reads::new(question.trained.adapter(), question.spec.vocabulary, train, recomputed);
    packing::choose(question.config.hardware.pack_weights, question.packable, &reads, question.budget, taken_bytes)
}

/// How many layers may be run again, fewest first.
fn recompute_choices(activations: Activations, trained_layers: usize) -> Vec<usize> {
    match activations {
        Activations::Auto => (0..=trained_layers).collect(),
        Activations::Keep => vec![0],
        Activations::Recompute => vec![trained_layers],
        Activations::RecomputeLayers(layers) => vec![layers.min(trained_layers)],
    }
}

/// How many tokens a micro-batch may have, most first. Below the longest example, which is computed alone, a smaller
/// micro-batch saves nothing.
fn token_choices(question: &Question) -> Vec<Option<usize>> {
    match question.config.hardware.micro_batch_tokens {
        MicroBatchTokens::Unlimited => vec![None],
        MicroBatchTokens::Tokens(tokens) => vec![Some(tokens)],
        MicroBatchTokens::Auto => {
            let longest = longest(question.train).tokens;
            let mut choices: Vec<usize> = MICRO_BATCH_TOKENS.into_iter().filter(|&tokens| tokens > longest).collect();
            choices.push(longest.clamp(1, MOST_MICRO_BATCH_TOKENS));
            choices.into_iter().map(Some).collect()
        }
    }
}

/// The longest example, and the most targets of one.
fn longest(lengths: &[Length]) -> Width {
    let width = |length: &Length| Width { tokens: length.tokens, targets: length.targets };
    lengths.iter().map(width).fold(Width::default(), Width::cover)
}

/// The micro-batches of a run with one of the limits on their tokens.
struct Shaped {
    max_tokens: Option<usize>,
    train: Shapes,
    validation: Shapes,
    /// Time of one pass of the run through a layer, in tokens.
    cost_per_layer: f64,
}

impl Shaped {
    fn new(question: &Question, max_tokens: Option<usize>) -> Self {
        let Question { config, spec, train, mixture, validation, layout, .. } = *question;
        let packing = Packing { layout, max_tokens, max_examples: config.hardware.micro_batch_examples };
        let training = &config.training;
        let mut plan = BatchPlan::of(config, mixture);
        let steps = plan.total_steps(training);
        let train = Shapes::of_training(train, &mut plan, steps, &packing, spec);
        let tokens: usize = train.micro.iter().map(|micro| micro.width.tokens + TOKENS_OF_A_MICRO_BATCH).sum();
        Self {
            max_tokens,
            cost_per_layer: tokens as f64 * train.times,
            train,
            validation: Shapes::of_evaluation(validation, EXAMPLES_AT_ONCE, &packing, spec),
        }
    }
}

#[cfg(test)]
mod tests;
