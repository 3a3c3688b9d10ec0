//! One value for each parameter of a model, by its place and in one order.

use crate::spec::{DecoderSpec, Linear};

/// Something for each parameter: its outline, its values, its gradient.
///
/// The order of [`PerParameter::iter`] is fixed: embedding, layer by layer (norm before attention, norms of heads, norm
/// before the feed-forward block, then weight and bias of each linear), last norm, head.
#[derive(Debug, Clone, PartialEq)]
pub struct PerParameter<T> {
    /// Of the token embedding `[v, c]`.
    pub embedding: T,
    /// Layer by layer.
    pub layers: Vec<PerLayer<T>>,
    /// Of the norm before the head `[c]`.
    pub final_norm: T,
    /// Of the output projection `[v, c]`, where it is not the embedding.
    pub head: Option<T>,
}

/// Something for each parameter of a layer.
#[derive(Debug, Clone, PartialEq)]
pub struct PerLayer<T> {
    /// Of the norm before attention `[c]`.
    pub attention_norm: T,
    /// Of the norms of each head of q and k `[d]`.
    pub qk_norms: Option<[T; 2]>,
    /// Of the norm before the feed-forward block `[c]`.
    pub mlp_norm: T,
    /// In the order of [`Linear::ALL`].
    pub linears: [PerLinear<T>; 7],
}

/// Something for each parameter of a linear.
#[derive(Debug, Clone, PartialEq)]
pub struct PerLinear<T> {
    /// `[out, in]`.
    pub weight: T,
    /// `[out]`.
    pub bias: Option<T>,
}

/// What a parameter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outline {
    /// Name of the tensor in Hugging Face layout.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
}

impl Outline {
    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether weight decay pulls on it: on matrices, never on gains and biases.
    ///
    /// # Source
    /// What Transformers' `Trainer` does (`get_decay_parameter_names`).
    pub fn decays(&self) -> bool {
        self.shape.len() == 2
    }
}

impl PerParameter<Outline> {
    /// The parameters of a model, those of a tied head once.
    pub fn of(spec: &DecoderSpec) -> Self {
        let matrix = |name: &str, rows, cols| Outline { name: name.into(), shape: vec![rows, cols] };
        let vector = |name: String, len| Outline { name, shape: vec![len] };
        let layer = |layer: usize| {
            let prefix = format!("model.layers.{layer}");
            let linear = |linear: Linear| {
                let (name, (outputs, inputs)) = (linear.module_name(layer), spec.linear_shape(linear));
                PerLinear {
                    weight: matrix(&format!("{name}.weight"), outputs, inputs),
                    bias: spec.has_bias(linear).then(|| vector(format!("{name}.bias"), outputs)),
                }
            };
            PerLayer {
                attention_norm: vector(format!("{prefix}.input_layernorm.weight"), spec.hidden),
                qk_norms: spec.qk_norm.then(|| {
                    ["q", "k"].map(|which| vector(format!("{prefix}.self_attn.{which}_norm.weight"), spec.head_dim))
                }),
                mlp_norm: vector(format!("{prefix}.post_attention_layernorm.weight"), spec.hidden),
                linears: Linear::ALL.map(linear),
            }
        };
        Self {
            embedding: matrix("model.embed_tokens.weight", spec.vocabulary, spec.hidden),
            layers: (0..spec.layers).map(layer).collect(),
            final_norm: vector("model.norm.weight".into(), spec.hidden),
            head: (!spec.tied_head).then(|| matrix("lm_head.weight", spec.vocabulary, spec.hidden)),
        }
    }
}

impl<T> PerParameter<T> {
    /// Every one, in order.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        let layers = self.layers.iter().flat_map(|layer| {
            let linears = layer.linears.iter().flat_map(|linear| [&linear.weight].into_iter().chain(&linear.bias));
            let norms = [&layer.attention_norm].into_iter().chain(layer.qk_norms.iter().flatten());
            norms.chain([&layer.mlp_norm]).chain(linears)
        });
        [&self.embedding].into_iter().chain(layers).chain([&self.final_norm]).chain(&self.head)
    }

    /// Every one, in order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let layers = self.layers.iter_mut().flat_map(|layer| {
            let linears =
                layer.linears.iter_mut().flat_map(|linear| [&mut linear.weight].into_iter().chain(&mut linear.bias));
            let norms = [&mut layer.attention_norm].into_iter().chain(layer.qk_norms.iter_mut().flatten());
            norms.chain([&mut layer.mlp_norm]).chain(linears)
        });
        [&mut self.embedding].into_iter().chain(layers).chain([&mut self.final_norm]).chain(&mut self.head)
    }

    /// Something made of every one, in order.
    ///
    /// # Errors
    /// The first that `make` returns.
    pub fn try_map<U, E>(&self, mut make: impl FnMut(&T) -> Result<U, E>) -> Result<PerParameter<U>, E> {
        let embedding = make(&self.embedding)?;
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let attention_norm = make(&layer.attention_norm)?;
            let qk_norms = match &layer.qk_norms {
                Some([q, k]) => Some([make(q)?, make(k)?]),
                None => None,
            };
            let mlp_norm = make(&layer.mlp_norm)?;
            let mut linears = Vec::with_capacity(layer.linears.len());
            for PerLinear { weight, bias } in &layer.linears {
                let weight = make(weight)?;
                linears.push(PerLinear { weight, bias: bias.as_ref().map(&mut make).transpose()? });
            }
            let Ok(linears) = <[_; 7]>::try_from(linears) else { unreachable!("as many linears as before") };
            layers.push(PerLayer { attention_norm, qk_norms, mlp_norm, linears });
        }
        let final_norm = make(&self.final_norm)?;
        Ok(PerParameter { embedding, layers, final_norm, head: self.head.as_ref().map(make).transpose()? })
    }

    /// As [`PerParameter::try_map`], of what cannot fail.
    pub fn map<U>(&self, mut make: impl FnMut(&T) -> U) -> PerParameter<U> {
        match self.try_map(|value| Ok::<U, std::convert::Infallible>(make(value))) {
            Ok(made) => made,
            Err(never) => match never {},
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::full::tests::spec;

    #[test]
    fn the_order_is_the_same_for_all_ways_to_go_through() {
        for tied in [false, true] {
            let outline = PerParameter::of(&spec(tied));
            let names: Vec<String> = outline.iter().map(|outline| outline.name.clone()).collect();
            let mut visited = Vec::new();
            let mut copy = outline.map(|outline| {
                visited.push(outline.name.clone());
                outline.clone()
            });
            assert_eq!(visited, names);
            assert_eq!(copy.iter_mut().map(|outline| outline.name.clone()).collect::<Vec<_>>(), names);
            assert_eq!(copy, outline);
            let values: usize = outline.iter().map(Outline::len).sum();
            assert_eq!(values, spec(tied).parameters());
            assert_eq!(names.contains(&"lm_head.weight".to_string()), !tied);
        }
    }

    #[test]
    fn gains_and_biases_do_not_decay() {
        for outline in PerParameter::of(&spec(false)).iter() {
            let is_matrix = outline.name.ends_with("proj.weight")
                || outline.name.starts_with("lm_head")
                || outline.name.contains("embed");
            assert_eq!(outline.decays(), is_matrix, "{}", outline.name);
        }
    }
}
