//! What a run changes: an adapter on a frozen base, or all weights.

use std::borrow::Cow;

use attune_compute::Backend;

use crate::adapter::{Adapter, Gradients};
use crate::full::{FullModel, WeightGradients};
use crate::weights::BaseModel;

/// What is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum Trained {
    /// Matrices beside the frozen weights of a base.
    Adapter(Adapter),
    /// All weights.
    Full(Box<FullModel>),
}

impl From<Adapter> for Trained {
    fn from(adapter: Adapter) -> Self {
        Self::Adapter(adapter)
    }
}

impl From<FullModel> for Trained {
    fn from(model: FullModel) -> Self {
        Self::Full(Box::new(model))
    }
}

/// A flat part of what is trained: what the optimizer changes at a time.
#[derive(Debug)]
pub struct Part<'a> {
    /// Names it among all: `{module}.a`, `{module}.b`, `{module}.magnitude`, or the name of a tensor.
    pub name: Cow<'a, str>,
    /// Its values.
    pub values: &'a mut [f32],
    /// Whether weight decay pulls on it.
    pub decays: bool,
}

impl Trained {
    /// The adapter, if it is one.
    pub fn adapter(&self) -> Option<&Adapter> {
        match self {
            Self::Adapter(adapter) => Some(adapter),
            Self::Full(_) => None,
        }
    }

    /// The model, if all weights are trained.
    pub fn full(&self) -> Option<&FullModel> {
        match self {
            Self::Adapter(_) => None,
            Self::Full(model) => Some(model),
        }
    }

    /// What passes run over in place of the frozen base, if all weights are trained.
    pub fn working_copy(&self, backend: &dyn Backend) -> Option<BaseModel> {
        Some(self.full()?.working_copy(backend))
    }

    /// Number of trained values.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Adapter(adapter) => adapter.parameters(),
            Self::Full(model) => model.parameters(),
        }
    }

    /// Name and length of every part, in the order of [`Trained::parts_mut`].
    pub fn part_lengths(&self) -> Vec<(String, usize)> {
        match self {
            Self::Adapter(adapter) => {
                let parts = |module: &crate::AdapterModule| {
                    let magnitude = module.magnitude.as_ref().map(|m| (format!("{}.magnitude", module.name), m.len()));
                    [(format!("{}.a", module.name), module.a.len()), (format!("{}.b", module.name), module.b.len())]
                        .into_iter()
                        .chain(magnitude)
                };
                adapter.modules.iter().flat_map(parts).collect()
            }
            Self::Full(model) => model.outline().iter().map(|outline| (outline.name.clone(), outline.len())).collect(),
        }
    }

    /// Every part, in a fixed order, which is that of [`TrainedGradients::parts`].
    ///
    /// # Panics
    /// While a working copy lives.
    pub fn parts_mut(&mut self) -> Vec<Part<'_>> {
        match self {
            Self::Adapter(adapter) => {
                let mut parts = Vec::with_capacity(2 * adapter.modules.len());
                for module in &mut adapter.modules {
                    let name = module.name.clone();
                    let parameters = module.parameters_mut();
                    let mut add = |which: &str, values| {
                        parts.push(Part { name: format!("{name}.{which}").into(), values, decays: true });
                    };
                    add("a", parameters.a);
                    add("b", parameters.b);
                    if let Some(magnitude) = parameters.magnitude {
                        add("magnitude", magnitude);
                    }
                }
                parts
            }
            Self::Full(model) => {
                let outlines: Vec<_> = model.outline().iter().cloned().collect();
                let parts = outlines.into_iter().zip(model.values_mut());
                parts
                    .map(|(outline, values)| {
                        let decays = outline.decays();
                        Part { name: outline.name.into(), values, decays }
                    })
                    .collect()
            }
        }
    }
}

/// The gradients of what is trained.
#[derive(Debug, Clone, PartialEq)]
pub enum TrainedGradients {
    /// Of an adapter.
    Adapter(Gradients),
    /// Of all weights.
    Full(WeightGradients),
}

impl TrainedGradients {
    /// Zeros in the shape of `trained`.
    pub fn zeros(trained: &Trained) -> Self {
        match trained {
            Trained::Adapter(adapter) => Self::Adapter(Gradients::zeros(adapter)),
            Trained::Full(model) => Self::Full(model.zero_gradients()),
        }
    }

    /// Sets all values to zero, for the next step.
    pub fn clear(&mut self) {
        match self {
            Self::Adapter(gradients) => gradients.clear(),
            Self::Full(gradients) => gradients.iter_mut().for_each(|values| values.fill(0.0)),
        }
    }

    /// Every part's gradient, in the order of [`Trained::parts_mut`].
    pub fn parts(&self) -> Vec<&[f32]> {
        match self {
            Self::Adapter(gradients) => gradients.parts().collect(),
            Self::Full(gradients) => gradients.iter().map(Vec::as_slice).collect(),
        }
    }
}

/// Where the backward pass of the layers adds gradients.
pub(crate) enum Sink<'a> {
    Adapter(&'a mut Gradients),
    Full(&'a mut WeightGradients),
}
