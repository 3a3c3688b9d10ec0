//! How fast this machine is, measured for about two seconds with the backend and the decoder themselves, and what that
//! makes of a plan.
//!
//! A layer or two of the model's own shapes with made-up weights run forward and backward at a few numbers of rows;
//! attention, the head and the optimizer are timed beside. Time per operation is then a function of the rows of a
//! micro-batch, and a run is the sum over its real micro-batches.

use std::time::Instant;

use attune_compute::cpu::LOGITS_BYTES;
use attune_compute::{AdamWArgs, AttentionArgs, Backend, DType, Tensor};
use attune_config::Config;
use attune_model::{
    Adapter, AdapterSpec, BaseModel, Decoder, DecoderSpec, ForwardOptions, FullModel, LayerChoice, Linear, ModelError,
    PackedBatch, SavePolicy, Trained, TrainedGradients,
};
use serde::Serialize;

use super::shapes::{MicroShape, pairs_of_segment};
use super::{Layouted, MemoryPlan, TrainedShape};

/// What the measurement may take; two to two and a half are usual.
const SECONDS: f64 = 3.0;

/// Vocabulary of the made-up head: its time is proportional to the vocabulary, and a whole one would take too long.
const MOST_VOCABULARY: usize = 8192;

/// Weights of a layer beyond which one layer is measured rather than two.
const MOST_WEIGHTS_OF_TWO: usize = 32_000_000;

/// Feed-forward channels of a measured layer: more would only repeat the same tiles.
const MOST_FEED_FORWARD: usize = 8192;

/// Numbers of rows that are measured, if they are below those of the run's own micro-batches. Beyond the last, products
/// no longer get faster by the row.
const ROWS: [usize; 4] = [1, 32, 128, 512];

/// Seconds per floating-point operation at a number of rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
struct Point {
    rows: usize,
    forward: f64,
    /// `None` at a single row, which only generation has.
    backward: Option<f64>,
}

/// How fast this machine is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Speed {
    points: Vec<Point>,
    /// Seconds per pair of tokens, all heads of a layer.
    attention_forward: f64,
    attention_backward: f64,
    /// Seconds per operation of the head without and with the gradient.
    head_forward: f64,
    head_both: f64,
    /// Seconds per trained value: norm and AdamW.
    optimizer: f64,
}

/// What a run takes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Time {
    /// Tokens without filling per second of training.
    pub tokens_per_sec: f64,
    /// All steps.
    pub training_seconds: f64,
    /// All evaluations with their samples.
    pub evaluation_seconds: f64,
}

impl Time {
    /// Training and evaluations.
    pub fn seconds(&self) -> f64 {
        self.training_seconds + self.evaluation_seconds
    }
}

/// Operations of the products of some layers for one row, side paths included.
fn forward_flops(spec: &DecoderSpec, trained: TrainedShape, layers: std::ops::Range<usize>) -> f64 {
    let of_linear = |layer: usize, linear: Linear| {
        let (outputs, inputs) = spec.linear_shape(linear);
        let rank = rank_of(trained, layer, linear);
        2 * outputs * inputs + 2 * rank * (outputs + inputs)
    };
    layers.flat_map(|layer| Linear::ALL.map(|linear| of_linear(layer, linear))).sum::<usize>() as f64
}

/// Operations of the backward pass of all trained layers for one row: gradients of the inputs where something below
/// needs them, and of the side paths or the weights.
fn backward_flops(spec: &DecoderSpec, trained: TrainedShape) -> f64 {
    let lowest = trained.lowest_layer();
    let of_linear = |layer: usize, linear: Linear| {
        let (outputs, inputs) = spec.linear_shape(linear);
        if trained.adapter().is_none() {
            return 4 * outputs * inputs;
        }
        let rank = rank_of(trained, layer, linear);
        let wanted = layer > lowest || !matches!(linear, Linear::Q | Linear::K | Linear::V);
        let input_gradient = if wanted { 2 * outputs * inputs + 2 * rank * inputs } else { 0 };
        input_gradient + 2 * rank * (2 * outputs + inputs)
    };
    (lowest..spec.layers).flat_map(|layer| Linear::ALL.map(|linear| of_linear(layer, linear))).sum::<usize>() as f64
}

fn rank_of(trained: TrainedShape, layer: usize, linear: Linear) -> usize {
    let module = |adapter: &Adapter| adapter.position(layer, linear).map(|position| adapter.modules[position].rank);
    trained.adapter().and_then(module).unwrap_or(0)
}

/// The mean of up to three runs that take a tenth of a second together, after one in vain. The mean and not the best:
/// a machine that does other things meanwhile will do so during the run as well.
fn mean(mut run: impl FnMut()) -> f64 {
    run();
    let (mut runs, begin) = (0, Instant::now());
    while runs < 3 && begin.elapsed().as_secs_f64() < 0.1 {
        run();
        runs += 1;
    }
    begin.elapsed().as_secs_f64() / f64::from(runs)
}

impl Speed {
    /// Measures for about two seconds.
    ///
    /// # Errors
    /// When the adapter does not fit the model.
    pub fn measure(
        backend: &dyn Backend,
        spec: &DecoderSpec,
        dtype: DType,
        trained: TrainedShape,
        plan: &MemoryPlan,
    ) -> Result<Self, ModelError> {
        let begin = Instant::now();
        let own = measured_spec(spec);
        let base = BaseModel::made_up(&own, dtype);
        let trained = match trained.adapter() {
            None => Trained::from(FullModel::from_base(&base, dtype)),
            Some(adapter) => {
                let whole = AdapterSpec {
                    layers: LayerChoice::All,
                    rank_pattern: Default::default(),
                    alpha_pattern: Default::default(),
                    ..adapter.spec.clone()
                };
                let mut adapter = Adapter::init(&own, &whole, 1)?;
                adapter.set_magnitudes(&base, backend);
                Trained::from(adapter)
            }
        };
        let (rows, segment) = typical(plan);
        let (attention_forward, attention_backward) =
            measure_attention(backend, &own, segment, backend.activation_dtype(dtype));
        let mut speed = Self {
            points: Vec::new(),
            attention_forward,
            attention_backward,
            head_forward: 0.0,
            head_both: 0.0,
            optimizer: measure_optimizer(backend),
        };
        let bench = Bench { decoder: Decoder::new(backend, &base, segment.max(1))?, trained, segment };
        bench.head(&mut speed, (LOGITS_BYTES / (4 * spec.vocabulary)).max(1))?;
        // Once in vain: threads and memory wake up.
        bench.point(ROWS[1], &speed)?;
        let (mut last, mut last_rows) = (0.0, 1);
        let most = rows.min(ROWS[ROWS.len() - 1]);
        for rows in ROWS.into_iter().filter(|&fewer| fewer < most).chain([most]) {
            let left = SECONDS - begin.elapsed().as_secs_f64();
            // A point takes two runs at least.
            let expected = 2.0 * last * rows as f64 / last_rows as f64;
            if expected > left && speed.points.len() > 1 {
                break;
            }
            let (point, run_seconds) = bench.point(rows, &speed)?;
            speed.points.push(point);
            (last, last_rows) = (run_seconds, rows);
        }
        Ok(speed)
    }

    /// What a run takes that is laid out so.
    pub fn predict(&self, config: &Config, spec: &DecoderSpec, trained: TrainedShape, layouted: &Layouted) -> Time {
        let recomputed = layouted.choice.recomputed_layers;
        let lowest = trained.lowest_layer();
        let share = |layers: usize| layers as f64 / spec.layers as f64;
        let forward = forward_flops(spec, trained, 0..spec.layers);
        let again = forward_flops(spec, trained, lowest..lowest + recomputed);
        let backward = backward_flops(spec, trained);
        // A head that is trained computes its logits twice, and has a gradient of its own.
        let head_products = if trained.adapter().is_some() { 4.0 } else { 8.0 };
        let head = (spec.vocabulary * spec.hidden) as f64;
        let train = |micro: &MicroShape| {
            let (rows, pairs) = (micro.width.tokens as f64, micro.pairs as f64);
            let (at_forward, at_backward) = self.at(micro.width.tokens);
            rows * ((forward + again) * at_forward + backward * at_backward)
                + pairs * (1.0 + share(recomputed)) * self.attention_forward
                + pairs * share(spec.layers - lowest) * self.attention_backward
                + micro.width.targets as f64 * head_products * head * self.head_both
        };
        let evaluate = |micro: &MicroShape| {
            micro.width.tokens as f64 * forward * self.at(micro.width.tokens).0
                + micro.pairs as f64 * self.attention_forward
                + micro.width.targets as f64 * 2.0 * head * self.head_forward
        };
        let steps = layouted.train.steps as f64;
        let training_seconds = layouted.train.micro.iter().map(train).sum::<f64>() * layouted.train.times
            + steps * trained.parameters(spec) as f64 * self.optimizer;
        let answered = if layouted.validation.micro.is_empty() { 0 } else { config.evaluation.samples };
        let samples = (answered + config.evaluation.sample_prompts.len()) as f64;
        let token = forward * self.at(1).0 + 2.0 * head * self.head_forward;
        let one_evaluation = layouted.validation.micro.iter().map(evaluate).sum::<f64>()
            + samples * config.evaluation.sample_max_tokens as f64 * token;
        Time {
            tokens_per_sec: layouted.train.total_tokens() / training_seconds.max(1e-9),
            training_seconds,
            evaluation_seconds: evaluations(config, layouted.train.steps) as f64 * one_evaluation,
        }
    }

    /// Seconds per operation of forward and backward. Between two points the time of a pass is taken to be a straight
    /// line in its rows, so the time per operation is one in their inverse.
    fn at(&self, rows: usize) -> (f64, f64) {
        let forward = self.points.iter().map(|point| (point.rows, point.forward));
        let backward = self.points.iter().filter_map(|point| Some((point.rows, point.backward?)));
        (interpolate(forward, rows), interpolate(backward, rows))
    }
}

fn interpolate(points: impl Iterator<Item = (usize, f64)>, rows: usize) -> f64 {
    let mut below: Option<(usize, f64)> = None;
    for (at, value) in points {
        if at >= rows {
            return match below {
                Some((lower, lower_value)) => {
                    let inverse = |rows: usize| 1.0 / rows as f64;
                    let weight = (inverse(lower) - inverse(rows)) / (inverse(lower) - inverse(at));
                    lower_value + weight * (value - lower_value)
                }
                None => value,
            };
        }
        below = Some((at, value));
    }
    below.map_or(0.0, |(_, value)| value)
}

/// How often a run evaluates: before the first step, every N steps, and at its end.
fn evaluations(config: &Config, steps: u64) -> u64 {
    let every = config.evaluation.every_steps.map_or(0, |every| every as u64);
    match every {
        0 => 1,
        every => 1 + steps / every + u64::from(!steps.is_multiple_of(every)),
    }
}

/// A layer or two of the model.
fn measured_spec(spec: &DecoderSpec) -> DecoderSpec {
    let weights: usize = Linear::ALL
        .iter()
        .map(|&linear| {
            let (outputs, inputs) = spec.linear_shape(linear);
            outputs * inputs
        })
        .sum();
    let layers = if weights > MOST_WEIGHTS_OF_TWO { 1 } else { spec.layers.min(2) };
    DecoderSpec {
        layers,
        windows: spec.windows[..layers].to_vec(),
        feed_forward: spec.feed_forward.min(MOST_FEED_FORWARD),
        vocabulary: spec.vocabulary.min(MOST_VOCABULARY),
        tied_head: true,
        ..spec.clone()
    }
}

/// Rows of the micro-batch, and tokens of the example, in which the middle token of the run stands.
fn typical(plan: &MemoryPlan) -> (usize, usize) {
    let micro = &plan.chosen.train.micro;
    let mut rows: Vec<usize> = micro.iter().map(|micro| micro.width.tokens).collect();
    rows.sort_unstable();
    let (total, mut seen) = (rows.iter().sum::<usize>(), 0);
    let middle = rows.iter().find(|&&rows| {
        seen += rows;
        2 * seen >= total
    });
    let rows = middle.copied().unwrap_or(1).max(1);
    // Pairs per token and layer are about half of the length.
    let pairs: u64 = micro.iter().map(|micro| micro.pairs).sum();
    let layers = plan.layers.max(1) as u64;
    let segment = (2 * pairs / (layers * total.max(1) as u64)) as usize;
    (rows, segment.clamp(1, rows))
}

/// Seconds per pair of forward and backward.
fn measure_attention(backend: &dyn Backend, spec: &DecoderSpec, segment: usize, dtype: DType) -> (f64, f64) {
    let segment = segment.clamp(16, 2048);
    let copies = (512 / segment).max(1);
    let rows = segment * copies;
    let tensor = |cols: usize| {
        let value = |i: usize| ((i % 509) as f32 / 509.0 - 0.5) * 0.1;
        Tensor::from_vec(rows, cols, (0..rows * cols).map(value).collect()).to_dtype(dtype)
    };
    let (q, k) = (tensor(spec.heads * spec.head_dim), tensor(spec.kv_heads * spec.head_dim));
    let v = k.clone();
    let segments: Vec<usize> = (0..=copies).map(|copy| copy * segment).collect();
    let args = AttentionArgs {
        heads: spec.heads,
        kv_heads: spec.kv_heads,
        head_dim: spec.head_dim,
        scale: 1.0 / (spec.head_dim as f32).sqrt(),
        window: spec.windows[0],
        segments: &segments,
    };
    let pairs = (copies as u64 * pairs_of_segment(segment, spec)) as f64 / spec.layers as f64;
    let output = backend.attention_forward(&q, &k, &v, &args);
    let forward = mean(|| drop(backend.attention_forward(&q, &k, &v, &args)));
    let backward = mean(|| drop(backend.attention_backward(&q, &k, &v, &output, &q, &args)));
    (forward / pairs, backward / pairs)
}

/// Seconds per value of clipping and AdamW.
fn measure_optimizer(backend: &dyn Backend) -> f64 {
    const VALUES: usize = 1 << 18;
    let args = AdamWArgs {
        learning_rate: 1e-4,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weight_decay: 0.0,
        step: 1,
        gradient_scale: 1.0,
    };
    let (mut parameter, gradient) = (vec![0.1f32; VALUES], vec![0.01f32; VALUES]);
    let (mut m, mut v) = (vec![0.0f32; VALUES], vec![0.0f32; VALUES]);
    let seconds = mean(|| {
        backend.sum_squares(&gradient);
        backend.adamw(&mut parameter, &gradient, &mut m, &mut v, &args);
    });
    seconds / VALUES as f64
}

/// The made-up model at work.
struct Bench<'a> {
    decoder: Decoder<'a>,
    trained: Trained,
    segment: usize,
}

impl Bench<'_> {
    /// Rows in segments of the typical length, of which the first ones are targets.
    fn batch(&self, rows: usize, targets: usize) -> PackedBatch {
        let vocabulary = self.decoder.base().spec.vocabulary;
        let ids: Vec<u32> = (0..rows).map(|i| (i * 7919 % vocabulary) as u32).collect();
        let mut batch = PackedBatch { row_keys: (0..rows as u64).collect(), ..PackedBatch::single(&ids) };
        batch.positions = (0..rows).map(|row| (row % self.segment) as u32).collect();
        batch.segments = (0..rows).step_by(self.segment).chain([rows]).collect();
        batch.targets = (0..targets.min(rows)).map(|row| attune_model::Target { row, token: ids[row] }).collect();
        batch
    }

    /// Forward and backward of the layers at a number of rows, and the seconds of one run of both.
    fn point(&self, rows: usize, speed: &Speed) -> Result<(Point, f64), ModelError> {
        let spec = &self.decoder.base().spec;
        let batch = self.batch(rows, 1);
        let adapter = self.trained.adapter();
        let dropout_key = adapter.is_some_and(|adapter| adapter.spec.dropout > 0.0).then_some(1);
        let options = ForwardOptions { save: SavePolicy::Keep, dropout_key };
        let pairs: u64 = batch.segments.windows(2).map(|ends| pairs_of_segment(ends[1] - ends[0], spec)).sum();
        let mut gradients = TrainedGradients::zeros(&self.trained);
        let (mut forward, mut backward, mut runs) = (0.0, 0.0, 0.0);
        let mut begin = Instant::now();
        // The first run does not count: its memory is fresh, which costs a tenth of a large one.
        for run in 0..4 {
            if run > 1 && begin.elapsed().as_secs_f64() > 0.2 {
                break;
            }
            if run == 1 {
                (forward, backward, runs, begin) = (0.0, 0.0, 0.0, Instant::now());
            }
            let now = Instant::now();
            let pass = self.decoder.forward(&batch, adapter, &options)?;
            forward += now.elapsed().as_secs_f64();
            if rows > 1 {
                let head = self.decoder.head_logprobs(&pass, 0.0, true);
                let now = Instant::now();
                match (&self.trained, &mut gradients) {
                    (Trained::Adapter(adapter), TrainedGradients::Adapter(gradients)) => {
                        self.decoder.backward(pass, head, &[-1.0], adapter, gradients);
                    }
                    (_, TrainedGradients::Full(gradients)) => {
                        self.decoder.backward_full(pass, 0.0, &[-1.0], gradients);
                    }
                    (Trained::Full(_), TrainedGradients::Adapter(_)) => unreachable!("made for what is trained"),
                }
                backward += now.elapsed().as_secs_f64();
            }
            runs += 1.0;
        }
        let shape = TrainedShape::from(&self.trained);
        let flops = rows as f64 * forward_flops(spec, shape, 0..spec.layers);
        let back = rows as f64 * backward_flops(spec, shape);
        // Attention is told apart, because its share depends on the lengths. Timing noise must not make it all.
        let without = |seconds: f64, attention: f64| (seconds - pairs as f64 * attention).max(0.2 * seconds);
        let point = Point {
            rows,
            forward: without(forward / runs, speed.attention_forward) / flops,
            backward: (rows > 1).then(|| without(backward / runs, speed.attention_backward) / back),
        };
        Ok((point, (forward + backward) / runs))
    }

    /// The head at as many rows as a block of it has.
    fn head(&self, speed: &mut Speed, rows: usize) -> Result<(), ModelError> {
        let spec = &self.decoder.base().spec;
        let rows = rows.clamp(1, 256);
        let batch = self.batch(rows, rows);
        let pass = self.decoder.forward(&batch, None, &ForwardOptions::INFERENCE)?;
        let operations = (rows * spec.vocabulary * spec.hidden) as f64;
        speed.head_forward = mean(|| drop(self.decoder.head_logprobs(&pass, 0.0, false))) / (2.0 * operations);
        speed.head_both = mean(|| drop(self.decoder.head_logprobs(&pass, 0.0, true))) / (4.0 * operations);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_between_points_lie_on_a_line_in_the_rows() {
        // A pass of 10 seconds and one more per row.
        let seconds = |rows: usize| (10.0 + rows as f64) / rows as f64;
        let points = [4, 16, 64].map(|rows| (rows, seconds(rows)));
        for rows in [4, 7, 16, 40, 64] {
            let got = interpolate(points.into_iter(), rows);
            assert!((got - seconds(rows)).abs() < 1e-12, "{rows}: {got}");
        }
        assert_eq!(interpolate(points.into_iter(), 1), seconds(4), "below the first point: the first");
        assert_eq!(interpolate(points.into_iter(), 1000), seconds(64), "beyond the last one: the last");
    }

    #[test]
    fn evaluations_are_counted_with_both_ends() {
        let mut config = Config::default();
        config.evaluation.every_steps = Some(3);
        assert_eq!([6, 7, 2].map(|steps| evaluations(&config, steps)), [3, 4, 2]);
        config.evaluation.every_steps = None;
        assert_eq!(evaluations(&config, 7), 1);
    }
}
