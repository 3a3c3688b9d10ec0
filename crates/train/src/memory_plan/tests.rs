//! Plans of the shape of Llama-3.2-1B: no weights are needed for them.

use attune_config::{Activations, MemorySize};
use attune_model::{AdapterSpec, LayerChoice, Linear, RopeScaling, Targets};

use super::*;
use crate::plan::Mixture;

const GIB: u64 = 1 << 30;

fn spec() -> DecoderSpec {
    DecoderSpec {
        family: "llama".into(),
        hidden: 2048,
        layers: 16,
        heads: 32,
        kv_heads: 8,
        head_dim: 64,
        feed_forward: 8192,
        vocabulary: 128_256,
        max_positions: 131_072,
        norm_epsilon: 1e-5,
        rope_theta: 5e5,
        rope_scaling: RopeScaling::None,
        qkv_bias: false,
        output_bias: false,
        mlp_bias: false,
        qk_norm: false,
        tied_head: true,
        windows: vec![None; 16],
    }
}

fn adapter_spec() -> AdapterSpec {
    AdapterSpec {
        rank: 16,
        alpha: 32.0,
        dropout: 0.0,
        targets: Targets::AllLinear,
        layers: LayerChoice::All,
        rank_pattern: Default::default(),
        alpha_pattern: Default::default(),
        use_rslora: false,
        use_dora: false,
    }
}

/// Sixty-four examples of 100 to 1600 tokens, sixteen to a step.
struct Case {
    spec: DecoderSpec,
    adapter: Adapter,
    config: Config,
    lengths: Vec<Length>,
    packable: Vec<Candidate>,
}

impl Case {
    fn new() -> Self {
        let spec = spec();
        let mut config = Config::default();
        config.training.batch_size = 16;
        let lengths = (1..=64).map(|i| Length { tokens: 100 + i * 1500 / 64, targets: 50 + i }).collect();
        let adapter = Adapter::shaped(&spec, &adapter_spec()).unwrap();
        Self { adapter, spec, config, lengths, packable: Vec::new() }
    }

    fn plan(&self, budget_bytes: u64) -> MemoryPlan {
        self.plan_within(Budget::new(Some(MemorySize::new(budget_bytes)), 0))
    }

    fn plan_within(&self, budget: Budget) -> MemoryPlan {
        MemoryPlan::new(&Question {
            config: &self.config,
            spec: &self.spec,
            trained: TrainedShape::Adapter(&self.adapter),
            surroundings: Surroundings {
                activation_bytes: 4,
                weights_bytes: 2_471_645_608,
                program_bytes: 150 << 20,
                threads: 2,
                keeps_best: true,
                positions: 1600,
                cache_positions: 0,
            },
            train: &self.lengths,
            mixture: &Mixture::uniform(self.lengths.len()),
            validation: &self.lengths[..7],
            longest_prompt: 0,
            layout: Layout::Packed,
            budget,
            packable: &self.packable,
        })
    }
}

#[test]
fn with_room_everything_is_kept_at_once() {
    let plan = Case::new().plan(100 * GIB);
    assert!(plan.fits());
    assert_eq!(plan.chosen.choice, Choice { micro_batch_tokens: Some(4096), recomputed_layers: 0 });
    assert_eq!(plan.chosen, plan.keep_all);
    assert_eq!(plan.save_policy(), SavePolicy::Keep);
}

#[test]
fn less_memory_costs_time_and_every_choice_fits() {
    let case = Case::new();
    let (most, least) = (case.plan(100 * GIB), case.plan(1));
    assert!(!least.fits());
    let (most, least) = (most.keep_all.peak.total_bytes(), least.recompute_all.peak.total_bytes());
    let mut cost = 0.0;
    let mut seen = Vec::new();
    for part in (0..=40).rev() {
        let budget = least + (most - least) * part / 40;
        let plan = case.plan(budget);
        assert!(plan.fits() && plan.chosen.peak.total_bytes() <= budget, "{budget}");
        assert!(plan.chosen.cost >= cost, "a smaller budget is never faster");
        cost = plan.chosen.cost;
        seen.push(plan.chosen.choice);
    }
    seen.dedup();
    assert!(seen.len() > 5, "{seen:?}");
    assert!(seen.iter().any(|choice| (1..16).contains(&choice.recomputed_layers)), "some are mixed: {seen:?}");
    assert!(case.plan(least - 1).refusal.is_some());
}

#[test]
fn a_written_plan_is_repeated() {
    let mut case = Case::new();
    let keep = case.plan(100 * GIB).keep_all.peak.total_bytes();
    for budget in [keep, keep - GIB, keep - 4 * GIB] {
        case.config = Config::default();
        case.config.training.batch_size = 16;
        let plan = case.plan(budget);
        case.config = plan.fixed_in(case.config.clone());
        assert!(!matches!(case.config.hardware.activations, Activations::Auto));
        let again = case.plan(100 * GIB);
        assert_eq!((again.chosen.choice, again.save_policy()), (plan.chosen.choice, plan.save_policy()));
    }
}

#[test]
fn what_the_configuration_fixes_stays() {
    let mut case = Case::new();
    case.config.hardware.activations = Activations::Keep;
    case.config.hardware.micro_batch_tokens = MicroBatchTokens::Unlimited;
    let plan = case.plan(100 * GIB);
    assert_eq!(plan.chosen.choice, Choice { micro_batch_tokens: None, recomputed_layers: 0 });
    let refusal = case.plan(6 * GIB).refusal.unwrap();
    assert!(refusal.remedies[0].contains("hardware.micro_batch_tokens set to auto"), "{:?}", refusal.remedies);
    let freed = Config { hardware: Default::default(), ..case.config.clone() };
    case.config = freed;
    assert!(case.plan(6 * GIB).fits(), "the remedy would do");
}

#[test]
fn remedies_do_what_they_promise() {
    let mut case = Case::new();
    let floor = case.plan(1).recompute_all.peak.total_bytes();
    let budget = floor - (100 << 20);
    let refusal = case.plan(budget).refusal.unwrap();
    let said = refusal.to_string();
    for part in ["it takes at least", "weights of the base 2.3 GiB", "hardware.memory_budget is"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let number = |name: &str| -> usize {
        let remedy = refusal.remedies.iter().find_map(|remedy| remedy.strip_prefix(name));
        let digits = remedy.unwrap_or_else(|| panic!("{name} is not in {:?}", refusal.remedies));
        digits.split(|c: char| !c.is_ascii_digit()).next().unwrap().parse().unwrap()
    };
    let spec = adapter_spec();
    let shaped = |spec: AdapterSpec| Adapter::shaped(&self::spec(), &spec).unwrap();
    case.adapter = shaped(AdapterSpec { rank: number("adapter.rank: "), ..spec.clone() });
    assert!(case.plan(budget).fits(), "a lower rank");
    let last = number("adapter.layers: {last: ");
    case.adapter = shaped(AdapterSpec { layers: LayerChoice::Last(last), ..spec.clone() });
    assert!(case.plan(budget).fits(), "fewer layers");
    case.adapter = shaped(AdapterSpec { layers: LayerChoice::Last(last + 1), ..spec.clone() });
    assert!(!case.plan(budget).fits(), "one more would not do");
    assert!(refusal.remedies.iter().any(|remedy| remedy.starts_with("adapter.target_modules: [q_proj, v_proj]")));
    case.adapter = shaped(AdapterSpec { targets: Targets::Some(vec![Linear::Q, Linear::V]), ..spec.clone() });
    assert!(case.plan(budget).fits(), "fewer targets");
    case.adapter = shaped(spec);
    let shorter = number("data.max_seq_length: ");
    let cut = |length: &Length| Length { tokens: length.tokens.min(shorter), targets: length.targets.min(shorter) };
    case.lengths = case.lengths.iter().map(cut).collect();
    assert!(case.plan(budget).fits(), "shorter examples");
    case = Case::new();
    let size: MemorySize = refusal.remedies.last().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    assert!(case.plan(size.bytes()).fits(), "a larger budget");
}

#[test]
fn when_the_weights_alone_are_too_much_only_more_memory_helps() {
    let refusal = Case::new().plan(GIB).refusal.unwrap();
    assert_eq!(refusal.remedies.len(), 1, "{:?}", refusal.remedies);
    assert!(refusal.hint().contains("hardware.memory_budget of at least"));
}

#[test]
fn a_long_run_is_taken_to_go_on_as_it_began() {
    let mut case = Case::new();
    case.config.training.epochs = 3;
    let three = case.plan(100 * GIB).chosen.train;
    case.config.training.epochs = 300_000;
    let many = case.plan(100 * GIB).chosen.train;
    assert!(many.micro.len() < 200_000 && many.times > 10.0);
    let per_epoch = |shapes: &Shapes, epochs: f64| shapes.total_tokens() / epochs;
    assert!((per_epoch(&three, 3.0) / per_epoch(&many, 300_000.0) - 1.0).abs() < 1e-3);
    assert!(many.widest.tokens >= three.widest.tokens && many.widest.tokens <= 4096);
}

#[test]
fn attention_pairs_follow_the_window() {
    let mut spec = spec();
    assert_eq!(shapes::pairs_of_segment(4, &spec), 16 * 10);
    spec.windows = vec![Some(2); 16];
    assert_eq!(shapes::pairs_of_segment(4, &spec), 16 * 7);
    assert_eq!(shapes::pairs_of_segment(1, &spec), 16);
}

/// Every weight of the model, both ways, of 8 MiB each.
fn packable(layers: usize) -> Vec<Candidate> {
    let places = (0..layers).flat_map(|layer| Linear::ALL.map(|linear| packing::Place::Layer(layer, linear)));
    let both = [attune_compute::WeightProduct::Forward, attune_compute::WeightProduct::Backward];
    let places = places.chain([packing::Place::Head]);
    places.flat_map(|place| both.map(|product| Candidate { place, product, bytes: 8 << 20 })).collect()
}

#[test]
fn weights_are_kept_packed_with_memory_that_was_given_and_is_left() {
    let mut case = Case::new();
    case.config.training.epochs = 40;
    case.packable = packable(case.spec.layers);
    let packed = |case: &Case, budget: u64| {
        let plan = case.plan(budget);
        let kept = &plan.chosen.packed;
        assert_eq!(plan.chosen.peak.packed_bytes, kept.iter().map(|candidate| candidate.bytes).sum::<u64>());
        assert!(!plan.fits() || plan.chosen.peak.total_bytes() <= budget, "what is packed fits as well");
        kept.clone()
    };
    let all = packed(&case, 100 * GIB);
    // The lowest trained layer hands no gradient on, so these are not read backwards there.
    assert!(all.len() >= case.packable.len() - 8 && all.len() < case.packable.len(), "{}", all.len());
    let plan = case.plan(100 * GIB);
    let taken = plan.chosen.peak.total_bytes() - plan.chosen.peak.packed_bytes;
    let some = packed(&case, taken + (80 << 20));
    assert!((5..=10).contains(&some.len()), "{} of 8 MiB", some.len());
    assert_eq!(packed(&case, taken), []);
    case.config.hardware.pack_weights = attune_config::PackWeights::Never;
    assert_eq!(packed(&case, 100 * GIB), []);
}

#[test]
fn a_short_run_packs_nothing_unless_it_is_told_to() {
    let mut case = Case::new();
    case.config.training.steps = Some(2);
    case.packable = packable(case.spec.layers);
    assert_eq!(case.plan(100 * GIB).chosen.packed, []);
    case.config.hardware.pack_weights = attune_config::PackWeights::Always;
    assert!(!case.plan(100 * GIB).chosen.packed.is_empty());
}
