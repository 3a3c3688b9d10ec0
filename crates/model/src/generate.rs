//! Generation over a key/value cache.

use attune_compute::{Tensor, rng};

use crate::adapter::Adapter;
use crate::decoder::Decoder;
use crate::error::ModelError;
use crate::spec::DecoderSpec;

/// Keys and values of the tokens so far, layer by layer: `[tokens, g*d]` each.
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<(Vec<f32>, Vec<f32>)>,
    tokens: usize,
}

impl KvCache {
    /// An empty cache.
    pub fn new(spec: &DecoderSpec) -> Self {
        Self { layers: vec![(Vec::new(), Vec::new()); spec.layers], tokens: 0 }
    }

    /// Number of tokens in it.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    pub(crate) fn layer_mut(&mut self, layer: usize) -> (&mut Vec<f32>, &mut Vec<f32>) {
        let (k, v) = &mut self.layers[layer];
        (k, v)
    }

    pub(crate) fn advance(&mut self, tokens: usize) {
        self.tokens += tokens;
    }
}

/// How to choose the next token.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Most new tokens.
    pub max_tokens: usize,
    /// 0 is greedy: always the most probable token, the lowest id among equals.
    pub temperature: f32,
    /// Only the k most probable tokens; `None` is all.
    pub top_k: Option<usize>,
    /// Only the most probable tokens that together reach this probability; `None` is all.
    pub top_p: Option<f32>,
    /// With the number of the token, decides every draw.
    pub seed: u64,
    /// Generation ends with any of these; it is part of the result.
    pub stop_ids: Vec<u32>,
}

impl Sampling {
    /// Greedy.
    pub fn greedy(max_tokens: usize, stop_ids: &[u32]) -> Self {
        Self { max_tokens, temperature: 0.0, top_k: None, top_p: None, seed: 0, stop_ids: stop_ids.to_vec() }
    }
}

/// Why generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StopReason {
    /// A stop token came.
    StopToken,
    /// `max_tokens` were made.
    MaxTokens,
    /// The model's context is full.
    ContextFull,
}

/// What came out.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// New tokens, the stop token included.
    pub ids: Vec<u32>,
    /// Log-probability of each under the model itself (temperature 1, no cuts).
    pub logprobs: Vec<f32>,
    /// Why it ended.
    pub stop: StopReason,
}

/// Continues a prompt. `on_token` sees each new token as it comes and may return `false` to end early.
///
/// # Errors
/// When the prompt is empty, longer than the decoder's context, or has ids outside of the embedding.
pub fn generate(
    decoder: &Decoder,
    adapter: Option<&Adapter>,
    prompt_ids: &[u32],
    sampling: &Sampling,
    on_token: &mut dyn FnMut(u32) -> bool,
) -> Result<Generated, ModelError> {
    if prompt_ids.is_empty() {
        return Err(ModelError::EmptyPrompt);
    }
    let mut cache = KvCache::new(&decoder.base().spec);
    let mut generated = Generated { ids: Vec::new(), logprobs: Vec::new(), stop: StopReason::MaxTokens };
    let mut next_input = prompt_ids.to_vec();
    while generated.ids.len() < sampling.max_tokens {
        if cache.tokens() + next_input.len() > decoder.max_positions() && !generated.ids.is_empty() {
            generated.stop = StopReason::ContextFull;
            break;
        }
        let x = decoder.extend(&mut cache, &next_input, adapter)?;
        let last = Tensor::from_vec(1, x.cols(), x.row(x.rows() - 1).to_vec());
        let logits = decoder.backend().head_logits(&decoder.final_norm(&last), &decoder.base().head);
        let (id, logprob) = choose(logits.data(), sampling, generated.ids.len());
        generated.ids.push(id);
        generated.logprobs.push(logprob);
        let go_on = on_token(id);
        if sampling.stop_ids.contains(&id) {
            generated.stop = StopReason::StopToken;
            break;
        }
        if !go_on {
            break;
        }
        next_input = vec![id];
    }
    Ok(generated)
}

/// The next token and its log-probability: temperature, then top-k, then top-p, then one draw.
fn choose(logits: &[f32], sampling: &Sampling, number: usize) -> (u32, f32) {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let lse = f64::from(largest) + logits.iter().map(|&z| f64::from(z - largest).exp()).sum::<f64>().ln();
    let logprob = |id: usize| (f64::from(logits[id]) - lse) as f32;
    if sampling.temperature == 0.0 {
        let id = logits.iter().position(|&z| z == largest).unwrap_or(0);
        return (id as u32, logprob(id));
    }

    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    order.truncate(sampling.top_k.unwrap_or(order.len()).max(1));
    let temperature = f64::from(sampling.temperature);
    let mut weights: Vec<f64> = order.iter().map(|&id| (f64::from(logits[id] - largest) / temperature).exp()).collect();
    if let Some(top_p) = sampling.top_p {
        let wanted = f64::from(top_p) * weights.iter().sum::<f64>();
        let mut reached = 0.0;
        let kept = weights.iter().take_while(|&&weight| {
            let needed = reached < wanted;
            reached += weight;
            needed
        });
        let kept = kept.count().max(1);
        weights.truncate(kept);
    }
    let total: f64 = weights.iter().sum();
    let mut rest = rng::uniform_f64(rng::key(&[sampling.seed, number as u64])) * total;
    let chosen = weights.iter().position(|&weight| {
        rest -= weight;
        rest < 0.0
    });
    let id = order[chosen.unwrap_or(weights.len() - 1)];
    (id as u32, logprob(id))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sampling(temperature: f32, top_k: Option<usize>, top_p: Option<f32>) -> Sampling {
        Sampling { max_tokens: 1, temperature, top_k, top_p, seed: 3, stop_ids: vec![] }
    }

    fn frequencies(logits: &[f32], sampling: &Sampling) -> Vec<f64> {
        let draws = 20_000;
        let mut counts = vec![0.0; logits.len()];
        for number in 0..draws {
            counts[choose(logits, sampling, number).0 as usize] += 1.0 / draws as f64;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        assert_eq!(choose(&[0.0, 2.0, 2.0, 1.0], &sampling(0.0, None, None), 0).0, 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0f32, 1.0, -1.0, 0.5];
        for temperature in [0.5f32, 1.0, 2.0] {
            let weights: Vec<f64> = logits.iter().map(|&z| f64::from(z / temperature).exp()).collect();
            let total: f64 = weights.iter().sum();
            let got = frequencies(&logits, &sampling(temperature, None, None));
            for (got, weight) in got.iter().zip(&weights) {
                assert!((got - weight / total).abs() < 0.015, "{got} instead of {}", weight / total);
            }
        }
    }

    #[test]
    fn cuts_leave_only_the_most_probable_tokens() {
        let logits = [0.0f32, 3.0, 2.0, -1.0];
        let got = frequencies(&logits, &sampling(1.0, Some(2), None));
        assert_eq!((got[0], got[3]), (0.0, 0.0));
        assert!(got[1] > got[2] && got[2] > 0.0);
        // p(1) = 0.70, so half of the probability is token 1 alone, and 0.8 needs token 2 as well.
        assert!((frequencies(&logits, &sampling(1.0, None, Some(0.5)))[1] - 1.0).abs() < 1e-9);
        let got = frequencies(&logits, &sampling(1.0, None, Some(0.8)));
        assert!(got[2] > 0.0 && got[0] == 0.0);
    }

    #[test]
    fn logprob_is_the_models_own() {
        let (id, logprob) = choose(&[0.0, 1.0], &sampling(0.1, Some(1), None), 0);
        assert_eq!(id, 1);
        assert!((logprob - (1f32.exp() / (1.0 + 1f32.exp())).ln()).abs() < 1e-6);
    }
}
