//! Which frozen weights are kept packed, with the memory that the layout of the work leaves.
//!
//! Products read weights in another order than files have them, so each of them packs the weights that it reads. A
//! packed copy saves that: it changes no bit and costs the weight's bytes once more for each direction, forward and
//! backward. What is saved is proportional to the bytes and to how often they are read, so the weights that are read
//! most often come first.

use attune_compute::{Backend, BlockType, DType, Weight, WeightProduct};
use attune_config::PackWeights;
use attune_model::quantize::VOCABULARY_BLOCKS;
use attune_model::{Adapter, BaseModel, Linear};

use super::budget::Budget;
use super::bytes::head_blocks;
use super::shapes::Shapes;

/// A copy pays for itself after about so many reads where its memory is fresh (measured: packing a byte into fresh memory
/// takes 6 to 28 times as long as it saves at each read).
const LEAST_READS: f64 = 32.0;

/// Rows of a tile of a product: with more, weights are packed once per so many.
const TILE_ROWS: usize = 2048;

/// Where a frozen weight is in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A linear of a layer.
    Layer(usize, Linear),
    /// The output projection.
    Head,
}

/// A frozen weight, and the product that reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Which weight.
    pub place: Place,
    /// In which direction.
    pub product: WeightProduct,
    /// What keeping it packed takes.
    pub bytes: u64,
}

impl Candidate {
    fn weight<'a>(&self, base: &'a BaseModel) -> &'a Weight {
        match self.place {
            Place::Layer(layer, linear) => &base.layers[layer].linears[linear.index()].weight,
            Place::Head => &base.head,
        }
    }
}

/// All weights that the backend could keep packed, in both directions; none where it has no such form. The linears of the
/// layers and the head count as stored in the types that they are going to be quantised to, if they are.
pub fn candidates(base: &BaseModel, backend: &dyn Backend, quantized: Option<BlockType>) -> Vec<Candidate> {
    let of_layers = (0..base.spec.layers).flat_map(|layer| Linear::ALL.map(|linear| Place::Layer(layer, linear)));
    let in_layers = |weight: &Weight| quantized.map_or(weight.dtype(), DType::Block);
    let dtype = quantized.map_or(base.dtype(), |kind| DType::Block(kind).of_products());
    // Products of weights of different types convert them on the way, so that panels of one type would not be read.
    let is_even = |place: &Place| match place {
        Place::Layer(layer, _) => base.layers[*layer].linears.iter().all(|linear| {
            // What is multiplied alike is packed alike.
            in_layers(&linear.weight).of_products() == dtype
        }),
        Place::Head => true,
    };
    let both = [WeightProduct::Forward, WeightProduct::Backward];
    let places = of_layers.chain([Place::Head]).filter(is_even);
    places
        .flat_map(|place| both.map(|product| Candidate { place, product, bytes: 0 }))
        .filter_map(|candidate| {
            let weight = candidate.weight(base);
            let shape = (weight.rows(), weight.cols());
            let stored = match (candidate.place, quantized) {
                (Place::Layer(..), _) => in_layers(weight),
                (Place::Head, None) => weight.dtype(),
                (Place::Head, Some(_)) => DType::Block(VOCABULARY_BLOCKS),
            };
            let bytes = backend.packed_weight_bytes(stored, shape, candidate.product)?;
            Some(Candidate { bytes, ..candidate })
        })
        .collect()
}

/// Lets the backend keep these weights packed.
pub fn keep(backend: &mut dyn Backend, base: &BaseModel, kept: &[Candidate]) {
    let weights: Vec<(&Weight, WeightProduct)> =
        kept.iter().map(|candidate| (candidate.weight(base), candidate.product)).collect();
    backend.keep_packed(&weights);
}

/// How often a run reads the weights.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reads<'a> {
    /// `None`: all weights are trained, and none can be kept packed.
    adapter: Option<&'a Adapter>,
    /// Reads of a weight in one direction, layers and head.
    of_layers: f64,
    of_head: f64,
    recomputed_layers: usize,
}

impl<'a> Reads<'a> {
    pub(super) fn new(
        adapter: Option<&'a Adapter>,
        vocabulary: usize,
        train: &Shapes,
        recomputed_layers: usize,
    ) -> Self {
        let all = |reads: fn(usize, usize, usize) -> usize| {
            let of = |width: super::Width| reads(width.tokens, width.targets, vocabulary) as f64;
            train.micro.iter().map(|micro| of(micro.width)).sum::<f64>() * train.times
        };
        Self {
            adapter,
            of_layers: all(|tokens, _, _| tokens.div_ceil(TILE_ROWS)),
            of_head: all(|_, targets, vocabulary| head_blocks(targets, vocabulary)),
            recomputed_layers,
        }
    }

    fn of(&self, candidate: &Candidate) -> f64 {
        let Some(adapter) = self.adapter else { return 0.0 };
        let lowest = adapter.lowest_layer();
        match (candidate.place, candidate.product) {
            (Place::Head, _) => self.of_head,
            (Place::Layer(layer, _), WeightProduct::Forward) => {
                let again = (lowest..lowest + self.recomputed_layers).contains(&layer);
                self.of_layers * if again { 2.0 } else { 1.0 }
            }
            (Place::Layer(layer, linear), WeightProduct::Backward) => {
                let is_read = match linear {
                    _ if layer != lowest => layer > lowest,
                    Linear::Down => true,
                    Linear::O | Linear::Gate | Linear::Up => adapter.touches_attention(layer),
                    Linear::Q | Linear::K | Linear::V => false,
                };
                if is_read { self.of_layers } else { 0.0 }
            }
        }
    }
}

/// What is kept packed when the rest of the run takes `taken_bytes`: the weights that are read most often first, as far as
/// they fit.
pub(super) fn choose(
    wish: PackWeights,
    candidates: &[Candidate],
    reads: &Reads,
    budget: Budget,
    taken_bytes: u64,
) -> Vec<Candidate> {
    let least = match (wish, budget) {
        (PackWeights::Never, _) => return Vec::new(),
        // Memory that nobody has given is left to others.
        (PackWeights::Auto, Budget::Available { .. } | Budget::Unknown) => return Vec::new(),
        (PackWeights::Auto, Budget::Configured { .. }) => LEAST_READS,
        (PackWeights::Always, _) => 1.0,
    };
    let mut room = budget.bytes().unwrap_or(u64::MAX).saturating_sub(taken_bytes);
    let mut wanted: Vec<(f64, &Candidate)> = candidates
        .iter()
        .map(|candidate| (reads.of(candidate), candidate))
        .filter(|(reads, _)| *reads >= least)
        .collect();
    wanted.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    let mut kept = Vec::new();
    for (_, candidate) in wanted {
        if candidate.bytes <= room {
            room -= candidate.bytes;
            kept.push(*candidate);
        }
    }
    kept
}
