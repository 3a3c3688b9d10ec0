//! The micro-batches of a run, as numbers: how wide they are, how many there are, how far attention looks in them.

use attune_model::DecoderSpec;

use super::bytes::Width;
use crate::examples::Example;
use crate::plan::{BatchPlan, Packing, group};

/// Examples of the batch plan that are looked at; a longer run is taken to go on as it began.
const MOST_VISITS: u64 = 100_000;

/// An example as a plan sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Length {
    /// Its tokens.
    pub tokens: usize,
    /// Its trained tokens.
    pub targets: usize,
}

/// The lengths of examples.
pub fn lengths(examples: &[Example]) -> Vec<Length> {
    let length = |example: &Example| Length { tokens: example.ids.len(), targets: example.trained_tokens() };
    examples.iter().map(length).collect()
}

/// A micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MicroShape {
    /// Rows and rows with a target.
    pub width: Width,
    /// Pairs of a token and one that it sees, over all layers.
    pub pairs: u64,
}

/// All micro-batches of a run or of an evaluation.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shapes {
    /// Those that were looked at.
    pub micro: Vec<MicroShape>,
    /// How often each of them occurs: more than 1 when the run is longer than what was looked at.
    pub times: f64,
    /// Tokens without filling, of those that were looked at.
    pub tokens: u64,
    /// Steps of the whole run; 0 for an evaluation.
    pub steps: u64,
    /// Covers every micro-batch.
    pub widest: Width,
}

impl Shapes {
    /// The micro-batches of `steps` steps of `plan`.
    pub fn of_training(
        lengths: &[Length],
        plan: &mut BatchPlan,
        steps: u64,
        packing: &Packing,
        spec: &DecoderSpec,
    ) -> Self {
        let mut shapes = Self { steps, ..Self::default() };
        let (mut visits, mut seen, mut largest_step) = (0, 0, 0);
        while seen < steps && visits < MOST_VISITS {
            let indices = plan.batch(seen);
            visits += indices.len() as u64;
            largest_step = largest_step.max(indices.len());
            shapes.add(lengths, &indices, packing, spec);
            seen += 1;
        }
        shapes.times = steps as f64 / seen.max(1) as f64;
        if seen < steps {
            // Another order may fill a micro-batch better.
            let longest = lengths.iter().map(|length| length.tokens).max().unwrap_or(0);
            let most = packing.max_tokens.map_or(largest_step * longest, |limit| limit.max(longest));
            shapes.widest.tokens = shapes.widest.tokens.max(most.min(largest_step * longest));
            shapes.widest.targets = shapes.widest.targets.max(shapes.widest.tokens.min(shapes.widest.targets * 5 / 4));
        }
        shapes
    }

    /// The micro-batches of these steps.
    pub fn of_steps(lengths: &[Length], steps: &[Vec<usize>], packing: &Packing, spec: &DecoderSpec) -> Self {
        let mut shapes = Self { times: 1.0, steps: steps.len() as u64, ..Self::default() };
        for indices in steps {
            shapes.add(lengths, indices, packing, spec);
        }
        shapes
    }

    /// The micro-batches of one evaluation, which cuts `chunk` examples at a time.
    pub fn of_evaluation(lengths: &[Length], chunk: usize, packing: &Packing, spec: &DecoderSpec) -> Self {
        let mut shapes = Self { times: 1.0, ..Self::default() };
        let indices: Vec<usize> = (0..lengths.len()).collect();
        for indices in indices.chunks(chunk) {
            shapes.add(lengths, indices, packing, spec);
        }
        shapes
    }

    fn add(&mut self, lengths: &[Length], indices: &[usize], packing: &Packing, spec: &DecoderSpec) {
        for group in group(&|index| lengths[index].tokens, indices, packing) {
            let own = || group.iter().map(|&index| lengths[index]);
            let longest = own().map(|length| length.tokens).max().unwrap_or(0);
            let tokens: usize = own().map(|length| length.tokens).sum();
            let segment = |length: Length| packing.layout.tokens(1, length.tokens, longest);
            let width = Width {
                tokens: packing.layout.tokens(group.len(), tokens, longest),
                targets: own().map(|length| length.targets).sum(),
            };
            let pairs = own().map(|length| pairs_of_segment(segment(length), spec)).sum();
            self.tokens += tokens as u64;
            self.widest = self.widest.cover(width);
            self.micro.push(MicroShape { width, pairs });
        }
    }

    /// Tokens without filling of the whole run.
    pub fn total_tokens(&self) -> f64 {
        self.tokens as f64 * self.times
    }
}

/// Pairs of a token and one that it sees in a segment of that length, over all layers.
pub fn pairs_of_segment(tokens: usize, spec: &DecoderSpec) -> u64 {
    let tokens = tokens as u64;
    let in_layer = |window: &Option<usize>| {
        let window = window.map_or(tokens, |window| tokens.min(window as u64));
        // The first `window` tokens see all before them, the others `window` tokens each.
        window * (window + 1) / 2 + (tokens - window) * window
    };
    spec.windows.iter().map(in_layer).sum()
}
