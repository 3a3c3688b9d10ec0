//! AdamW over the adapter, and clipping by the global norm.

use attune_compute::{AdamWArgs, Backend};
use attune_model::{Adapter, Gradients};

/// Numbers of AdamW that do not change during a run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamWSettings {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// Decoupled weight decay, on `A`, `B` and DoRA's magnitudes alike.
    pub weight_decay: f64,
}

/// Moments of one module, each as long as the parameter it belongs to.
#[derive(Debug, Clone, PartialEq)]
pub struct ModuleMoments {
    /// First moment of `A`, `[r, in]`.
    pub a_m: Vec<f32>,
    /// Second moment of `A`.
    pub a_v: Vec<f32>,
    /// First moment of `B`, `[out, r]`.
    pub b_m: Vec<f32>,
    /// Second moment of `B`.
    pub b_v: Vec<f32>,
    /// Both moments of DoRA's magnitudes, `[out]`.
    pub magnitude: Option<(Vec<f32>, Vec<f32>)>,
}

/// AdamW's state.
#[derive(Debug, Clone, PartialEq)]
pub struct AdamW {
    /// Its numbers.
    pub settings: AdamWSettings,
    /// Updates so far: what the bias correction counts. Skipped steps do not count.
    pub updates: u64,
    /// One entry per adapter module, in the adapter's order.
    pub moments: Vec<ModuleMoments>,
}

impl AdamW {
    /// Zero moments for `adapter`.
    pub fn new(settings: AdamWSettings, adapter: &Adapter) -> Self {
        let moments = adapter
            .modules
            .iter()
            .map(|module| ModuleMoments {
                a_m: vec![0.0; module.a.len()],
                a_v: vec![0.0; module.a.len()],
                b_m: vec![0.0; module.b.len()],
                b_v: vec![0.0; module.b.len()],
                magnitude: module.magnitude.as_ref().map(|m| (vec![0.0; m.len()], vec![0.0; m.len()])),
            })
            .collect();
        Self { settings, updates: 0, moments }
    }

    /// One update of every parameter, with the gradients scaled by `gradient_scale`.
    ///
    /// # Panics
    /// If adapter, gradients and moments do not belong together.
    pub fn update(
        &mut self,
        backend: &dyn Backend,
        adapter: &mut Adapter,
        gradients: &Gradients,
        learning_rate: f64,
        gradient_scale: f64,
    ) {
        assert_eq!(adapter.modules.len(), self.moments.len(), "modules of the adapter and of the moments");
        assert_eq!(adapter.modules.len(), gradients.modules.len(), "modules of the adapter and of the gradients");
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
        let gradients = gradients.modules.iter().zip(&gradients.magnitudes);
        for ((module, ((da, db), dm)), moments) in adapter.modules.iter_mut().zip(gradients).zip(&mut self.moments) {
            let parameters = module.parameters_mut();
            backend.adamw(parameters.a, da, &mut moments.a_m, &mut moments.a_v, &args);
            backend.adamw(parameters.b, db, &mut moments.b_m, &mut moments.b_v, &args);
            match (parameters.magnitude, dm, &mut moments.magnitude) {
                (Some(magnitude), Some(dm), Some((m, v))) => backend.adamw(magnitude, dm, m, v, &args),
                (None, None, None) => {}
                _ => panic!("magnitudes, their gradient and their moments come together"),
            }
        }
    }
}

/// The norm of all gradients as one vector. Modules are summed in the adapter's order, so the value does not depend on
/// the number of threads.
pub fn global_norm(backend: &dyn Backend, gradients: &Gradients) -> f64 {
    let modules = gradients.modules.iter().zip(&gradients.magnitudes);
    let squares = modules.map(|((da, db), dm)| {
        let magnitude = dm.as_ref().map_or(0.0, |dm| backend.sum_squares(dm));
        backend.sum_squares(da) + backend.sum_squares(db) + magnitude
    });
    squares.sum::<f64>().sqrt()
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
