//! AdamW over what is trained, and clipping by the global norm.

use attune_compute::{AdamWArgs, Backend};
use attune_model::{Trained, TrainedGradients};

/// Numbers of AdamW that do not change during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay: on `A`, `B` and DoRA's magnitudes alike; of a model's own weights on the matrices alone.
    pub weight_decay: f64,
}

/// Moments of one part of what is trained, each as long as the part.
#[derive(Debug, Clone, PartialEq)]
pub struct Moments {
    /// First moment.
    pub m: Vec<f32>,
    /// Second moment.
    pub v: Vec<f32>,
}

/// AdamW's state.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Its numbers.
    pub settings: AdamWSettings,
    /// Updates so far: what the bias correction counts. Skipped steps do not count.
    pub updates: u64,
    /// One entry per part, in the order of [`Trained::parts_mut`].
    pub moments: Vec<Moments>,
}

impl AdamW {
    /// Zero moments for `trained`.
    pub fn new(settings: AdamWSettings, trained: &Trained) -> Self {
        let zeros = |(_, len): (String, usize)| Moments { m: vec![0.0; len], v: vec![0.0; len] };
        Self { settings, updates: 0, moments: trained.part_lengths().into_iter().map(zeros).collect() }
    }

    /// One update of every parameter, with the gradients scaled by `gradient_scale`.
    ///
    /// # Panics
    /// If what is trained, gradients and moments do not belong together.
    pub fn update(
        &mut self,
        backend: &dyn Backend,
        trained: &mut Trained,
        gradients: &TrainedGradients,
        learning_rate: f64,
        gradient_scale: f64,
    ) {
        self.updates += 1;
        let args = AdamWArgs {
            learning_rate,
            beta1: self.settings.beta1,
            beta2: self.settings.beta2,
            epsilon: self.settings.epsilon,
            weight_decay: self.settings.weight_decay,
            step: self.updates,
            gradient_scale,
        };
        let (parts, gradients) = (trained.parts_mut(), gradients.parts());
        let counts = (parts.len(), gradients.len());
        assert_eq!(counts, (self.moments.len(), self.moments.len()), "parts, their gradients and their moments");
        for ((part, gradient), Moments { m, v }) in parts.into_iter().zip(gradients).zip(&mut self.moments) {
            let weight_decay = if part.decays { args.weight_decay } else { 0.0 };
            backend.adamw(part.values, gradient, m, v, &AdamWArgs { weight_decay, ..args });
        }
    }
}

/// The norm of all gradients as one vector. Parts are summed in their order, so the value does not depend on the number
/// of threads.
pub fn global_norm(backend: &dyn Backend, gradients: &TrainedGradients) -> f64 {
    gradients.parts().into_iter().map(|part| backend.sum_squares(part)).sum::<f64>().sqrt()
}

/// Factor that brings a gradient of norm `norm` down to `max_norm`: `min(1, max_norm / (norm + 1e-6))`.
///
/// # Source
/// `torch.nn.utils.clip_grad_norm_`, its `1e-6` included.
pub fn clip_factor(norm: f64, max_norm: Option<f64>) -> f64 {
    max_norm.map_or(1.0, |max_norm| (max_norm / (norm + 1e-6)).min(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_only_ever_shrinks() {
        assert_eq!(clip_factor(10.0, None), 1.0);
        assert_eq!(clip_factor(0.5, Some(1.0)), 1.0);
        assert!((clip_factor(10.0, Some(1.0)) - 0.1).abs() < 1e-7);
        assert_eq!(clip_factor(0.0, Some(1.0)), 1.0);
    }
}
