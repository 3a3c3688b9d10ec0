//! Which examples make which step, and how a step is cut into micro-batches.
//!
//! The batch is mathematics: [`BatchPlan`] is a pure function of (seed, epoch, step). The packing is execution:
//! [`cut`] may cut the same batch in any way without changing the result beyond rounding. Dropout keys name the
//! example and the position, never the place in a packed batch.

use attune_compute::rng;
use attune_config::{Config, TrainingConfig};
use attune_model::{PackedBatch, Target};

use crate::error::TrainError;
use crate::examples::Example;

/// Keeps the random streams of one seed apart: permutations, dropout masks, row keys.
pub(crate) mod stream {
    pub(crate) const PERMUTATION: u64 = 0x7065_726d;
    pub(crate) const DROPOUT: u64 = 0x6472_6f70;
    pub(crate) const ROW: u64 = 0x726f_7773;
    pub(crate) const SOURCE: u64 = 0x736f_7572;
}

/// Which examples an epoch visits, and how often: `data.weights`.
///
/// A source with weight 2 is visited twice in each epoch, one with weight 0.5 by half: which half goes on from epoch to
/// epoch, so that two epochs visit each example once.
#[derive(Debug, Clone, PartialEq)]
pub struct Mixture {
    /// Empty when every example is visited once.
    sources: Vec<Source>,
    visits: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Source {
    examples: Vec<usize>,
    visits: usize,
}

impl Mixture {
    /// Every example once.
    pub fn uniform(examples: usize) -> Self {
        Self { sources: Vec::new(), visits: examples }
    }

    /// The examples of each file of `data.train` as often as `data.weights` says.
    ///
    /// # Errors
    /// When a file has so few examples and so small a weight that none of them would ever be visited.
    pub fn new(config: &Config, examples: &[Example]) -> Result<Self, TrainError> {
        let weights = &config.data.weights;
        if weights.iter().all(|&weight| weight == 1.0) {
            return Ok(Self::uniform(examples.len()));
        }
        let mut sources = Vec::new();
        for (path, &weight) in config.data.train.iter().zip(weights) {
            let of_file = |example: &Example| *example.origin.file == **path;
            let members: Vec<usize> =
                examples.iter().enumerate().filter(|(_, example)| of_file(example)).map(|(index, _)| index).collect();
            let visits = (weight * members.len() as f64).round() as usize;
            if visits == 0 && !members.is_empty() {
                return Err(TrainError::Setting {
                    key: "data.weights",
                    reason: format!(
                        "{} has {} examples, and with the weight {weight} an epoch visits none of them",
                        path.display(),
                        members.len()
                    ),
                    hint: "raise the weight, or take the file out of data.train".into(),
                });
            }
            sources.push(Source { examples: members, visits });
        }
        let visits = sources.iter().map(|source| source.visits).sum();
        Ok(Self { sources, visits })
    }

    /// Examples that an epoch visits, each as often as it is visited.
    pub fn visits(&self) -> usize {
        self.visits
    }

    /// The examples of an epoch, before they are shuffled.
    fn of_epoch(&self, seed: u64, epoch: u64, shuffle: bool) -> Vec<usize> {
        if self.sources.is_empty() {
            return (0..self.visits).collect();
        }
        let mut visited = Vec::with_capacity(self.visits);
        for (number, source) in self.sources.iter().enumerate().filter(|(_, source)| source.visits > 0) {
            let (length, visits) = (source.examples.len() as u64, source.visits as u64);
            // An endless walk through the source, each pass in an order of its own; this is the epoch's part of it.
            let (mut walk, end) = (epoch * visits, (epoch + 1) * visits);
            while walk < end {
                let (pass, at) = (walk / length, walk % length);
                let take = (length - at).min(end - walk);
                let order = if shuffle {
                    let key = rng::key(&[seed, stream::SOURCE, number as u64, pass]);
                    rng::permutation(key, source.examples.len())
                } else {
                    (0..source.examples.len()).collect()
                };
                visited.extend(order[at as usize..(at + take) as usize].iter().map(|&place| source.examples[place]));
                walk += take;
            }
        }
        visited
    }
}

/// Which examples make which step.
///
/// Every epoch visits each example once, or as its [`Mixture`] says, in the order of a permutation of its own (or of the
/// files, without shuffling). Steps take `batch_size` consecutive examples; what is left at the end of an epoch makes one smaller
/// step, so no step mixes two epochs and no example is left out.
#[derive(Debug, Clone)]
pub struct BatchPlan {
    seed: u64,
    mixture: Mixture,
    batch_size: usize,
    shuffle: bool,
    order: Option<(u64, Vec<usize>)>,
}

impl BatchPlan {
    /// The plan of a run.
    ///
    /// # Panics
    /// If there are no examples or the batch size is 0: both are stopped before.
    pub fn new(seed: u64, mixture: Mixture, batch_size: usize, shuffle: bool) -> Self {
        let examples = mixture.visits();
        assert!(examples > 0 && batch_size > 0, "a plan for {examples} examples in batches of {batch_size}");
        Self { seed, mixture, batch_size, shuffle, order: None }
    }

    /// The plan that a configuration asks for.
    ///
    /// # Panics
    /// As [`BatchPlan::new`].
    pub fn of(config: &Config, mixture: &Mixture) -> Self {
        let training = &config.training;
        Self::new(training.seed, mixture.clone(), training.batch_size, config.data.shuffle)
    }

    /// Steps of one epoch.
    pub fn steps_per_epoch(&self) -> u64 {
        self.mixture.visits().div_ceil(self.batch_size) as u64
    }

    /// Steps of the whole run: `training.steps`, or those of all epochs.
    pub fn total_steps(&self, training: &TrainingConfig) -> u64 {
        training.steps.map_or(training.epochs as u64 * self.steps_per_epoch(), |steps| steps as u64)
    }

    /// Epochs that lie behind after `steps` steps, as a fraction for display.
    pub fn epochs_after(&self, steps: u64) -> f64 {
        let (whole, rest) = (steps / self.steps_per_epoch(), steps % self.steps_per_epoch());
        whole as f64 + (rest as usize * self.batch_size) as f64 / self.mixture.visits() as f64
    }

    /// Indices of the examples of step `step` (from 0). The order of the current epoch is kept, so that consecutive
    /// calls are cheap; the answer depends on (seed, step) alone.
    pub fn batch(&mut self, step: u64) -> Vec<usize> {
        let (epoch, step_in_epoch) = (step / self.steps_per_epoch(), step % self.steps_per_epoch());
        if self.order.as_ref().is_none_or(|(known, _)| *known != epoch) {
            self.order = Some((epoch, self.epoch_order(epoch)));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let start = step_in_epoch as usize * self.batch_size;
        order[start..(start + self.batch_size).min(order.len())].to_vec()
    }

    fn epoch_order(&self, epoch: u64) -> Vec<usize> {
        let visited = self.mixture.of_epoch(self.seed, epoch, self.shuffle);
        if !self.shuffle {
            return visited;
        }
        let order = rng::permutation(rng::key(&[self.seed, epoch, stream::PERMUTATION]), visited.len());
        order.into_iter().map(|place| visited[place]).collect()
    }
}

/// How examples lie in a micro-batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// One after the other, no padding.
    Packed,
    /// Each filled up to the longest with this token id, the filling inside of the example's own segment, behind its
    /// tokens: causal attention cannot see it from any real token.
    Padded {
        /// Id of the filling.
        pad_id: u32,
    },
}

/// How a step is cut into micro-batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packing {
    /// Packed or padded.
    pub layout: Layout,
    /// Tokens of a micro-batch, filling included. An example that is longer by itself gets a micro-batch of its own.
    pub max_tokens: Option<usize>,
    /// Examples of a micro-batch.
    pub max_examples: Option<usize>,
}

/// What goes through the decoder at once.
#[derive(Debug)]
pub struct MicroBatch {
    /// Tokens, positions, borders, dropout keys and targets.
    pub batch: PackedBatch,
    /// Indices of its examples.
    pub examples: Vec<usize>,
    /// For each target the index of its example.
    pub target_examples: Vec<usize>,
}

/// Cuts the examples `indices` into micro-batches, in their order.
pub fn cut(examples: &[Example], indices: &[usize], packing: &Packing) -> Vec<MicroBatch> {
    let groups = group(&|index| examples[index].ids.len(), indices, packing);
    groups.into_iter().map(|group| lay_out(examples, group, packing.layout)).collect()
}

/// Which examples make which micro-batch; `length` tells the tokens of an example.
pub(crate) fn group(length: &dyn Fn(usize) -> usize, indices: &[usize], packing: &Packing) -> Vec<Vec<usize>> {
    let mut groups: Vec<Vec<usize>> = Vec::new();
    let (mut current, mut tokens, mut longest) = (Vec::new(), 0, 0);
    for &index in indices {
        let own = length(index);
        let with_it = packing.layout.tokens(current.len() + 1, tokens + own, longest.max(own));
        let too_many = packing.max_examples.is_some_and(|limit| current.len() >= limit.max(1));
        let too_long = packing.max_tokens.is_some_and(|limit| with_it > limit);
        if !current.is_empty() && (too_many || too_long) {
            groups.push(std::mem::take(&mut current));
            (tokens, longest) = (0, 0);
        }
        current.push(index);
        (tokens, longest) = (tokens + own, longest.max(own));
    }
    if !current.is_empty() {
        groups.push(current);
    }
    groups
}

impl Layout {
    /// Rows of so many examples that have so many tokens together and at most so many alone.
    pub(crate) fn tokens(self, examples: usize, tokens: usize, longest: usize) -> usize {
        match self {
            Self::Packed => tokens,
            Self::Padded { .. } => examples * longest,
        }
    }
}

fn lay_out(examples: &[Example], group: Vec<usize>, layout: Layout) -> MicroBatch {
    let longest = group.iter().map(|&index| examples[index].ids.len()).max().unwrap_or(0);
    let mut batch = PackedBatch {
        ids: Vec::new(),
        positions: Vec::new(),
        segments: vec![0],
        row_keys: Vec::new(),
        targets: Vec::new(),
    };
    let mut target_examples = Vec::new();
    for &index in &group {
        let example = &examples[index];
        let start = batch.ids.len();
        batch.ids.extend_from_slice(&example.ids);
        if let Layout::Padded { pad_id } = layout {
            batch.ids.resize(start + longest, pad_id);
        }
        let example_key = rng::key(&[stream::ROW, index as u64]);
        for position in 0..batch.ids.len() - start {
            batch.positions.push(position as u32);
            batch.row_keys.push(rng::combine(example_key, position as u64));
        }
        for (i, _) in example.trained.iter().enumerate().filter(|(_, trained)| **trained) {
            assert!(i > 0, "the first token of {} is trained, but nothing predicts it", example.origin);
            batch.targets.push(Target { row: start + i - 1, token: example.ids[i] });
            target_examples.push(index);
        }
        batch.segments.push(batch.ids.len());
    }
    MicroBatch { batch, examples: group, target_examples }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::examples::tests::example;

    #[test]
    fn every_epoch_visits_each_example_once_and_ends_with_a_smaller_step() {
        let mut plan = BatchPlan::new(3, Mixture::uniform(10), 4, true);
        assert_eq!(plan.steps_per_epoch(), 3);
        for epoch in 0..3 {
            let batches: Vec<Vec<usize>> = (0..3).map(|step| plan.batch(epoch * 3 + step)).collect();
            assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [4, 4, 2]);
            let mut seen = batches.concat();
            seen.sort_unstable();
            assert_eq!(seen, (0..10).collect::<Vec<_>>());
        }
        assert_ne!(plan.batch(0), plan.batch(3), "another epoch, another order");
    }

    #[test]
    fn a_batch_depends_on_seed_and_step_alone() {
        let mut plan = BatchPlan::new(3, Mixture::uniform(100), 7, true);
        let forwards: Vec<_> = (0..40).map(|step| plan.batch(step)).collect();
        for step in (0..40).rev() {
            assert_eq!(BatchPlan::new(3, Mixture::uniform(100), 7, true).batch(step), forwards[step as usize]);
        }
        assert_ne!(BatchPlan::new(4, Mixture::uniform(100), 7, true).batch(0), forwards[0]);
        assert_eq!(BatchPlan::new(4, Mixture::uniform(100), 7, false).batch(1), (7..14).collect::<Vec<_>>());
    }

    #[test]
    fn epochs_count_the_smaller_last_step() {
        let plan = BatchPlan::new(0, Mixture::uniform(10), 4, false);
        assert_eq!(plan.epochs_after(0), 0.0);
        assert_eq!(plan.epochs_after(2), 0.8);
        assert_eq!(plan.epochs_after(3), 1.0);
        assert_eq!(plan.epochs_after(4), 1.4);
    }

    fn mixed(weights: &[f64], rows: &[usize]) -> Result<Mixture, TrainError> {
        let mut config = Config::default();
        let mut examples = Vec::new();
        for (number, &rows) in rows.iter().enumerate() {
            let path = std::path::PathBuf::from(format!("{number}.jsonl"));
            for _ in 0..rows {
                let mut example = example(&[1, 2], &[1]);
                example.origin.file = path.as_path().into();
                examples.push(example);
            }
            config.data.train.push(path);
        }
        config.data.weights = weights.to_vec();
        Mixture::new(&config, &examples)
    }

    #[test]
    fn weights_say_how_often_an_epoch_visits_a_source() {
        for shuffle in [true, false] {
            let mut plan = BatchPlan::new(5, mixed(&[2.0, 0.5, 1.0], &[3, 10, 4]).expect("it is valid"), 5, shuffle);
            assert_eq!(plan.steps_per_epoch(), 3, "6 + 5 + 4 visits");
            let mut of_two_epochs = [0; 17];
            for epoch in 0..2 {
                let mut visits = [0; 17];
                for step in 0..3 {
                    for index in plan.batch(epoch * 3 + step) {
                        visits[index] += 1;
                        of_two_epochs[index] += 1;
                    }
                }
                assert_eq!(visits[..3], [2, 2, 2]);
                assert_eq!(visits[3..13].iter().sum::<usize>(), 5);
                assert_eq!(visits[13..], [1, 1, 1, 1]);
            }
            assert_eq!(of_two_epochs[3..13], [1; 10], "the second epoch takes the other half");
        }
    }

    #[test]
    fn weights_of_one_change_nothing() {
        assert_eq!(mixed(&[1.0, 1.0], &[3, 4]).expect("it is valid"), Mixture::uniform(7));
    }

    #[test]
    fn a_source_that_would_never_be_visited_is_an_error() {
        let error = mixed(&[1.0, 0.01], &[3, 10]).expect_err("nothing of the second file would be trained");
        assert!(error.to_string().contains("1.jsonl has 10 examples"), "{error}");
    }

    fn packing(layout: Layout, max_tokens: Option<usize>, max_examples: Option<usize>) -> Packing {
        Packing { layout, max_tokens, max_examples }
    }

    #[test]
    fn packed_restarts_positions_and_points_targets_at_the_row_before() {
        let examples = [example(&[5, 6, 7], &[2]), example(&[8, 9], &[1])];
        let cuts = cut(&examples, &[1, 0], &packing(Layout::Packed, None, None));
        assert_eq!(cuts.len(), 1);
        let batch = &cuts[0].batch;
        assert_eq!(batch.ids, [8, 9, 5, 6, 7]);
        assert_eq!(batch.positions, [0, 1, 0, 1, 2]);
        assert_eq!(batch.segments, [0, 2, 5]);
        let targets: Vec<_> = batch.targets.iter().map(|target| (target.row, target.token)).collect();
        assert_eq!(targets, [(0, 9), (3, 7)]);
        assert_eq!(cuts[0].target_examples, [1, 0]);
    }

    #[test]
    fn padded_fills_behind_the_tokens_without_targets() {
        let examples = [example(&[5, 6, 7], &[2]), example(&[8, 9], &[1])];
        let cuts = cut(&examples, &[0, 1], &packing(Layout::Padded { pad_id: 99 }, None, None));
        let batch = &cuts[0].batch;
        assert_eq!(batch.ids, [5, 6, 7, 8, 9, 99]);
        assert_eq!(batch.positions, [0, 1, 2, 0, 1, 2]);
        assert_eq!(batch.segments, [0, 3, 6]);
        assert_eq!(batch.targets.len(), 2);
    }

    #[test]
    fn dropout_keys_do_not_depend_on_the_layout() {
        let examples = [example(&[5, 6, 7], &[2]), example(&[8, 9], &[1])];
        let together = cut(&examples, &[0, 1], &packing(Layout::Packed, None, None));
        let alone = cut(&examples, &[1], &packing(Layout::Packed, None, None));
        let padded = cut(&examples, &[1, 0], &packing(Layout::Padded { pad_id: 0 }, None, None));
        assert_eq!(together[0].batch.row_keys[3..5], alone[0].batch.row_keys[..]);
        assert_eq!(padded[0].batch.row_keys[..2], alone[0].batch.row_keys[..]);
        let mut all = together[0].batch.row_keys.clone();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 5, "each token has a key of its own");
    }

    #[test]
    fn limits_cut_between_examples_and_never_inside() {
        let examples = [example(&[1; 4], &[1]), example(&[1; 3], &[1]), example(&[1; 9], &[1]), example(&[1; 2], &[1])];
        let sizes = |packing: &Packing| -> Vec<usize> {
            cut(&examples, &[0, 1, 2, 3], packing).iter().map(|micro| micro.examples.len()).collect()
        };
        assert_eq!(sizes(&packing(Layout::Packed, None, None)), [4]);
        assert_eq!(sizes(&packing(Layout::Packed, Some(7), None)), [2, 1, 1]);
        assert_eq!(sizes(&packing(Layout::Padded { pad_id: 0 }, Some(7), None)), [1, 1, 1, 1]);
        assert_eq!(sizes(&packing(Layout::Packed, Some(1), None)), [1, 1, 1, 1]);
        assert_eq!(sizes(&packing(Layout::Packed, None, Some(3))), [3, 1]);
        assert_eq!(sizes(&packing(Layout::Packed, Some(0), Some(0))), [1, 1, 1, 1]);
    }
}
