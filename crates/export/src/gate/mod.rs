//! The export gate: the artefact, read back from disk, against the base with its adapter.
//!
//! Three things are compared. *What is said*: both continue the same token sequences (prompts, some of them with the
//! tuned model's own greedy answer behind them); for every position the Kullback-Leibler divergence of the artefact's
//! distribution from the tuned one is taken, and whether both have the same most probable token. *How it is asked*: special
//! tokens, stop tokens, the ids of sample texts, and chats as the template renders them. *What the model is*: every field of
//! the spec.
//!
//! A tune that the artefact has lost, or has twice, is told from rounding by the share that it kept. With `d(p, q)` the mean
//! divergence of q from p,
//!
//! ```text
//! kept = (d(base, artefact) - d(tuned, artefact) + d(base, tuned)) / (2 d(base, tuned))
//! ```
//!
//! For small changes the divergence is a squared length, and this is how far the artefact went along the way from the base to
//! the tuned model: 0 for the base itself, 1 for the tuned model, 2 for one with alpha taken twice. Rounding goes off at
//! right angles to that way and cancels.

mod logits;
mod prompts;
mod text;

use attune_compute::Backend;
use attune_model::{Adapter, BaseModel, Decoder, DecoderSpec, Sampling, generate};
use attune_text::TextModel;
use serde::Serialize;

use crate::error::ExportError;
use logits::Divergence;

pub use prompts::{Prompt, default_prompts, read_prompts};
pub use text::text_differences;

/// A model that can be asked.
#[derive(Debug, Clone, Copy)]
pub struct Side<'a> {
    /// Its weights.
    pub base: &'a BaseModel,
    /// Its adapter.
    pub adapter: Option<&'a Adapter>,
    /// Its tokenizer and template.
    pub text: &'a TextModel,
}

/// How far an artefact may be from what was tuned.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Limits {
    /// Mean divergence over all positions, in nats.
    pub mean_kl: f64,
    /// Share of the positions at which the tuned model is sure (its best token leads by [`SURE_LEAD`]) that must have the
    /// same best token.
    pub sure_agreement: f64,
    /// How far from 1 the share of the tune that was kept may be.
    pub kept_tolerance: f64,
}

/// Probability by which the best token leads the second where the model counts as sure.
pub const SURE_LEAD: f64 = 0.1;

/// Below this divergence of the tuned model from its base, in nats, a share of it cannot be measured.
const LEAST_EFFECT: f64 = 1e-4;

impl Limits {
    /// For an artefact with the base's own precision, or 16 bits a value.
    pub const ROUNDED: Self = Self { mean_kl: 0.01, sure_agreement: 0.98, kept_tolerance: 0.03 };
    /// For 8 bits a value.
    pub const Q8: Self = Self { mean_kl: 0.02, sure_agreement: 0.97, kept_tolerance: 0.08 };
    /// For 6 bits a value.
    pub const Q6: Self = Self { mean_kl: 0.04, sure_agreement: 0.95, kept_tolerance: 0.12 };
    /// For 5 bits a value.
    pub const Q5: Self = Self { mean_kl: 0.08, sure_agreement: 0.92, kept_tolerance: 0.18 };
    /// For 4 bits a value.
    pub const Q4: Self = Self { mean_kl: 0.2, sure_agreement: 0.85, kept_tolerance: 0.25 };
}

/// What the gate found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct GateReport {
    /// Whether the artefact may be used.
    pub accepted: bool,
    /// Why not: one line each.
    pub reasons: Vec<String>,
    /// What was asked of it.
    pub limits: Limits,
    /// Token sequences compared.
    pub sequences: usize,
    /// Positions compared.
    pub tokens: usize,
    /// Mean divergence of the artefact from the tuned model, in nats.
    pub mean_kl: f64,
    /// The largest.
    pub max_kl: f64,
    /// Share of positions with the same best token.
    pub agreement: f64,
    /// Positions at which the tuned model is sure.
    pub sure_tokens: usize,
    /// Share of those with the same best token.
    pub sure_agreement: f64,
    /// Mean divergence of the tuned model from the base without adapter; `None` without an adapter.
    pub effect_kl: Option<f64>,
    /// Share of that way which the artefact went; `None` where the effect is too small to tell.
    pub kept_share: Option<f64>,
}

/// Asks both the same and compares.
///
/// # Errors
/// When one of the models cannot run a prompt.
pub fn compare(
    backend: &dyn Backend,
    tuned: &Side,
    artefact: &Side,
    prompts: &[Prompt],
    limits: Limits,
) -> Result<GateReport, ExportError> {
    let mut reasons = spec_differences(&tuned.base.spec, &artefact.base.spec);
    reasons.extend(text_differences(tuned.text, artefact.text)?);
    let mut total = Divergence::default();
    let mut effect: Option<Effect> = tuned.adapter.is_some().then(Effect::default);
    // Two models of different shape cannot be asked the same.
    if tuned.base.spec.vocabulary != artefact.base.spec.vocabulary {
        return Ok(report(reasons, limits, 0, &total, None));
    }
    let sequences = sequences(backend, tuned, prompts)?;
    for ids in &sequences {
        let positions = ids.len();
        let of_tuned = Decoder::new(backend, tuned.base, positions)?;
        let tuned_tv = of_tuned.logits(ids, tuned.adapter)?;
        let artefact_tv = Decoder::new(backend, artefact.base, positions)?.logits(ids, artefact.adapter)?;
        total.add(&tuned_tv, &artefact_tv);
        if let Some(effect) = &mut effect {
            let base_tv = of_tuned.logits(ids, None)?;
            effect.of_tuned.add(&base_tv, &tuned_tv);
            effect.of_artefact.add(&base_tv, &artefact_tv);
        }
    }
    Ok(report(reasons, limits, sequences.len(), &total, effect.as_ref()))
}

/// Divergences from the base without its adapter.
#[derive(Debug, Default)]
struct Effect {
    of_tuned: Divergence,
    of_artefact: Divergence,
}

impl Effect {
    fn kept_share(&self, of_tuned_to_artefact: f64) -> Option<f64> {
        let effect = self.of_tuned.mean_kl();
        (effect > LEAST_EFFECT).then(|| (self.of_artefact.mean_kl() - of_tuned_to_artefact + effect) / (2.0 * effect))
    }
}

fn report(
    mut reasons: Vec<String>,
    limits: Limits,
    sequences: usize,
    total: &Divergence,
    effect: Option<&Effect>,
) -> GateReport {
    let mean_kl = total.mean_kl();
    let kept_share = effect.and_then(|effect| effect.kept_share(mean_kl));
    if sequences > 0 && exceeds(mean_kl, limits.mean_kl) {
        reasons
            .push(format!("its answers diverge by {mean_kl:.4} nats a token, at most {} are allowed", limits.mean_kl));
    }
    if sequences > 0 && exceeds(limits.sure_agreement, total.sure_agreement()) {
        reasons.push(format!(
            "where the tuned model is sure, the artefact agrees at {:.1} % of the positions, at least {:.1} % are asked for",
            100.0 * total.sure_agreement(),
            100.0 * limits.sure_agreement
        ));
    }
    if effect.is_some_and(|effect| effect.of_tuned.tokens > 0 && effect.of_tuned.mean_kl() == 0.0) {
        reasons.push("the adapter changes nothing".into());
    }
    if let Some(kept) = kept_share
        && exceeds((kept - 1.0).abs(), limits.kept_tolerance)
    {
        reasons.push(format!(
            "it has {:.0} % of what the adapter changed, {:.0} to {:.0} % are allowed",
            100.0 * kept,
            100.0 * (1.0 - limits.kept_tolerance),
            100.0 * (1.0 + limits.kept_tolerance)
        ));
    }
    GateReport {
        accepted: reasons.is_empty(),
        reasons,
        limits,
        sequences,
        tokens: total.tokens,
        mean_kl,
        max_kl: total.max_kl,
        agreement: total.agreement(),
        sure_tokens: total.sure_tokens,
        sure_agreement: total.sure_agreement(),
        effect_kl: effect.map(|effect| effect.of_tuned.mean_kl()),
        kept_share,
    }
}

/// Also true of a NaN.
fn exceeds(value: f64, limit: f64) -> bool {
    value.is_nan() || value > limit
}

/// The prompts as ids, the first of them with the tuned model's own answer.
fn sequences(backend: &dyn Backend, tuned: &Side, prompts: &[Prompt]) -> Result<Vec<Vec<u32>>, ExportError> {
    let limit = tuned.base.spec.max_positions;
    let mut sequences = Vec::new();
    for prompt in prompts {
        let mut ids = prompt.encode(tuned.text)?;
        ids.truncate(limit);
        if ids.is_empty() {
            continue;
        }
        let wanted = prompt.answer_tokens.min(limit - ids.len());
        if wanted > 0 {
            let decoder = Decoder::new(backend, tuned.base, ids.len() + wanted)?;
            let sampling = Sampling {
                max_tokens: wanted,
                temperature: 0.0,
                top_k: None,
                top_p: None,
                seed: 0,
                stop_ids: tuned.text.stop_ids().to_vec(),
            };
            ids.extend(generate(&decoder, tuned.adapter, &ids, &sampling, &mut |_| true)?.ids);
        }
        sequences.push(ids);
    }
    Ok(sequences)
}

/// What differs between two specs, one line each. A family's name may: GGUF calls Mistral a Llama.
pub fn spec_differences(tuned: &DecoderSpec, artefact: &DecoderSpec) -> Vec<String> {
    let fields = |spec: &DecoderSpec| {
        [
            ("hidden size", spec.hidden.to_string()),
            ("layers", spec.layers.to_string()),
            ("attention heads", spec.heads.to_string()),
            ("key/value heads", spec.kv_heads.to_string()),
            ("head size", spec.head_dim.to_string()),
            ("feed-forward size", spec.feed_forward.to_string()),
            ("vocabulary", spec.vocabulary.to_string()),
            ("context length", spec.max_positions.to_string()),
            ("epsilon of the norms", spec.norm_epsilon.to_string()),
            ("biases", format!("{:?}", (spec.qkv_bias, spec.output_bias, spec.mlp_bias))),
            ("norms of q and k", spec.qk_norm.to_string()),
            ("tied head", spec.tied_head.to_string()),
            ("sliding windows", format!("{:?}", spec.windows)),
        ]
    };
    let pairs = fields(tuned).into_iter().zip(fields(artefact));
    let mut found: Vec<String> = pairs
        .filter(|((_, a), (_, b))| a != b)
        .map(|((name, a), (_, b))| format!("its {name} is {b}, that of the tuned model {a}"))
        .collect();
    // Formats say them in different ways: what counts is what comes out.
    let (wanted, got) = (tuned.inverse_frequencies(), artefact.inverse_frequencies());
    let differ = wanted.iter().zip(&got).find(|(a, b)| (*a / *b - 1.0).abs() > 1e-5);
    if let Some((a, b)) = differ {
        found.push(format!("it rotates positions with a frequency of {b}, the tuned model with {a}"));
    }
    found
}
