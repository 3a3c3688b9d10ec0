//! The tensors of a base model, with an adapter's change in them: what every export reads.

use attune_compute::{Backend, DType, LinearArgs, Tensor, Weight};
use attune_model::{Adapter, AdapterModule, BaseModel, Linear};

/// Where the values of a tensor are.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// A matrix in whatever type the base stores it.
    Matrix(&'a Weight),
    /// A norm's gain or a bias.
    Vector(&'a [f32]),
}

/// One tensor of the exported model, by its name in Hugging Face layout.
#[derive(Debug, Clone)]
pub struct ExportTensor<'a> {
    /// For example `model.layers.0.self_attn.q_proj.weight`.
    pub name: String,
    /// The base's values.
    pub values: Values<'a>,
    /// What is added to them.
    pub module: Option<&'a AdapterModule>,
}

impl ExportTensor<'_> {
    /// Rows and columns; a vector is one row.
    pub fn matrix_shape(&self) -> (usize, usize) {
        match self.values {
            Values::Matrix(weight) => (weight.rows(), weight.cols()),
            Values::Vector(values) => (1, values.len()),
        }
    }

    /// Its shape in a file; row-major.
    pub fn shape(&self) -> Vec<usize> {
        match self.values {
            Values::Matrix(weight) => vec![weight.rows(), weight.cols()],
            Values::Vector(values) => vec![values.len()],
        }
    }

    /// Number of values.
    pub fn count(&self) -> usize {
        let (rows, cols) = self.matrix_shape();
        rows * cols
    }
}

/// All tensors of a model in the order in which they are used; a tied head is not among them.
pub fn export_tensors<'a>(base: &'a BaseModel, adapter: Option<&'a Adapter>) -> Vec<ExportTensor<'a>> {
    let matrix = |name: &str, weight| ExportTensor { name: name.into(), values: Values::Matrix(weight), module: None };
    let vector = |name: String, values| ExportTensor { name, values: Values::Vector(values), module: None };
    let mut tensors = vec![matrix("model.embed_tokens.weight", &base.embedding)];
    for (index, layer) in base.layers.iter().enumerate() {
        let prefix = format!("model.layers.{index}");
        tensors.push(vector(format!("{prefix}.input_layernorm.weight"), layer.attention_norm.as_slice()));
        for linear in Linear::ALL {
            if linear == Linear::Gate {
                tensors.push(vector(format!("{prefix}.post_attention_layernorm.weight"), layer.mlp_norm.as_slice()));
            }
            let (name, frozen) = (linear.module_name(index), &layer.linears[linear.index()]);
            let module = adapter.and_then(|adapter| adapter.position(index, linear).map(|at| &adapter.modules[at]));
            tensors.push(ExportTensor {
                name: format!("{name}.weight"),
                values: Values::Matrix(&frozen.weight),
                module,
            });
            if let Some(bias) = &frozen.bias {
                tensors.push(vector(format!("{name}.bias"), bias.as_slice()));
            }
        }
        if let Some((q, k)) = &layer.qk_norms {
            tensors.push(vector(format!("{prefix}.self_attn.q_norm.weight"), q.as_slice()));
            tensors.push(vector(format!("{prefix}.self_attn.k_norm.weight"), k.as_slice()));
        }
    }
    tensors.push(vector("model.norm.weight".into(), base.final_norm.as_slice()));
    if !base.spec.tied_head {
        tensors.push(matrix("lm_head.weight", &base.head));
    }
    tensors
}

/// Reads a tensor as `f32`, with the adapter's change in it: `V = W + scale * B A`, and with DoRA `m / ||V|| * V`, row by row.
pub struct RowReader<'a> {
    values: Values<'a>,
    cols: usize,
    side: Option<SideProduct<'a>>,
}

impl<'a> RowReader<'a> {
    /// A reader of all its rows.
    pub fn new(tensor: &ExportTensor<'a>) -> Self {
        let (_, cols) = tensor.matrix_shape();
        Self { values: tensor.values, cols, side: tensor.module.map(|module| SideProduct::new(module, cols)) }
    }

    /// `count` rows from `first` on; what a row holds does not depend on the rows beside it.
    ///
    /// # Shapes
    /// `[count, cols]`; a vector is one row.
    ///
    /// # Panics
    /// If there are no such rows.
    pub fn read(&self, backend: &dyn Backend, first: usize, count: usize) -> Tensor {
        let weight = match self.values {
            Values::Vector(values) => {
                assert_eq!((first, count), (0, 1), "rows of a vector");
                return Tensor::from_slice(1, self.cols, values);
            }
            Values::Matrix(weight) => weight,
        };
        let mut chunk = Tensor::unset(DType::F32, count, self.cols);
        for (at, out) in chunk.data_mut().chunks_exact_mut(self.cols).enumerate() {
            weight.read_row(first + at, out);
        }
        match &self.side {
            Some(side) => side.add_to(chunk, first, backend),
            None => chunk,
        }
    }
}

/// `scale * B A`, as a product that the backend knows: the rows of B times the transpose of `scale * A`.
struct SideProduct<'a> {
    module: &'a AdapterModule,
    /// `[cols, r]`
    a_transposed: Weight,
}

impl<'a> SideProduct<'a> {
    fn new(module: &'a AdapterModule, cols: usize) -> Self {
        let rank = module.rank;
        let mut transposed = vec![0.0; cols * rank];
        for (r, row) in module.a.chunks_exact(cols).enumerate() {
            for (col, &a) in row.iter().enumerate() {
                transposed[col * rank + r] = module.scale * a;
            }
        }
        Self { module, a_transposed: Weight::from_f32(cols, rank, &transposed) }
    }

    fn add_to(&self, chunk: Tensor, first: usize, backend: &dyn Backend) -> Tensor {
        let rank = self.module.rank;
        let b = Tensor::from_slice(chunk.rows(), rank, &self.module.b[first * rank..(first + chunk.rows()) * rank]);
        let args = LinearArgs { residual: Some(&chunk), ..LinearArgs::frozen(&self.a_transposed, None) };
        let mut sum = backend.linear_forward(&b, &args).y;
        if let Some(magnitude) = &self.module.magnitude {
            let cols = sum.cols();
            let rows = sum.data_mut().chunks_exact_mut(cols).zip(&magnitude[first..first + chunk.rows()]);
            rows.for_each(|(row, magnitude)| {
                let squares: f64 = row.iter().map(|&value| f64::from(value) * f64::from(value)).sum();
                let factor = magnitude / squares.sqrt() as f32;
                row.iter_mut().for_each(|value| *value *= factor);
            });
        }
        sum
    }
}
