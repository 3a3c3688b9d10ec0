//! The one table of tolerances. Loosening a row needs a decision record that says what was learnt.
//!
//! The bounds rest on measurements that stand in each `case.json` under `measured`; `tests/goldens.rs` holds the table
//! to them.

/// A rung of the ladder.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rung {
    /// Logits and gradients of a whole model.
    L2,
    /// Losses.
    L3,
    /// Ten training steps.
    L4,
    /// All weights are trained: the gradients of the first step, and ten steps.
    Full,
    /// Other programs open our files.
    L7,
}

/// What is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantity {
    /// Logits of the base, with or without an adapter.
    Logits,
    /// Gradient of every adapter matrix.
    Gradients,
    /// Loss of a step.
    Losses,
    /// Global norm of the gradient before clipping.
    GradientNorms,
    /// The adapter after the steps.
    FinalAdapter,
    /// By how much the steps changed each weight.
    WeightChanges,
}

/// How something was computed. Attune multiplies in bf16 where the weights are bf16 and the CPU path has such products, and
/// in f32 everywhere else; its residual stream and its sums are f32 always.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// In f32, over f32 weights or over bf16 weights widened to f32.
    F32,
    /// In f32 over bf16 copies of f32 weights, rounded anew before each step.
    RoundedF32,
    /// Activations rounded to bf16 after every operation.
    Bf16,
}

/// How an error is measured. Everything in f64.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metric {
    /// `max |got - expected| / max(|expected|, rms(expected))`.
    LargestElement,
    /// `||got - expected|| / ||expected||`.
    Norm,
}

/// One row of the table. The same bound holds for every backend of an arithmetic: each may round, none may differ more.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tolerance {
    /// Where.
    pub rung: Rung,
    /// What.
    pub quantity: Quantity,
    /// How we computed it.
    pub ours: Arithmetic,
    /// Against which arithmetic.
    pub reference: Arithmetic,
    /// By which measure.
    pub metric: Metric,
    /// Largest error that passes.
    pub limit: f64,
    /// Why this much and no more.
    pub why: &'static str,
}

/// Every tolerance of the ladder.
pub const TABLE: &[Tolerance] = &[
    Tolerance {
        rung: Rung::L2,
        quantity: Quantity::Logits,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 5e-5,
        why: "rounding alone moves the reference by up to 4e-6 (f32 against f64); ten times that for other orders of sums",
    },
    Tolerance {
        rung: Rung::L2,
        quantity: Quantity::Gradients,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-4,
        why: "rounding alone moves the reference by up to 1e-5; a backward pass is twice as deep as a forward pass",
    },
    Tolerance {
        rung: Rung::L3,
        quantity: Quantity::Losses,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-5,
        why: "a mean over targets: rounding alone moves the reference by up to 7e-7",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::Losses,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-5,
        why: "as the first loss: ten steps from the same adapter do not amplify rounding measurably",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::GradientNorms,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 5e-5,
        why: "rounding alone moves the reference by up to 6e-6: the norm follows the largest gradients",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::FinalAdapter,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-4,
        why: "AdamW divides by the root of the second moment: where a gradient is near zero its rounding is enlarged",
    },
    Tolerance {
        rung: Rung::L2,
        quantity: Quantity::Logits,
        ours: Arithmetic::F32,
        reference: Arithmetic::Bf16,
        metric: Metric::Norm,
        limit: 2.5e-2,
        why: "Transformers' own bf16 run lies up to 1.8e-2 from its f32 run over the same weights; we compute in f32, so \
              this is how far off that run is, not how far off we are",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::Losses,
        ours: Arithmetic::F32,
        reference: Arithmetic::Bf16,
        metric: Metric::LargestElement,
        limit: 5e-3,
        why: "the bf16 run's losses lie up to 3.3e-3 from those of the f32 run over the same weights (ten steps)",
    },
    Tolerance {
        rung: Rung::L7,
        quantity: Quantity::Logits,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 5e-5,
        why: "the same models and arithmetic as l2; adapters are written in f32 without loss",
    },
    Tolerance {
        rung: Rung::L2,
        quantity: Quantity::Logits,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 9e-2,
        why: "Transformers' own bf16 run is up to 9.2e-2 off the f32 run in its worst element; ours may not be farther",
    },
    Tolerance {
        rung: Rung::L2,
        quantity: Quantity::Gradients,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1.4e-1,
        why: "as for the logits: Transformers' bf16 run is up to 1.47e-1 off in the worst element of its gradients",
    },
    Tolerance {
        rung: Rung::L3,
        quantity: Quantity::Losses,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 3.2e-3,
        why: "as for the logits: Transformers' bf16 run is up to 3.3e-3 off",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::Losses,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 3.2e-3,
        why: "as for the logits: Transformers' bf16 run is up to 3.3e-3 off in ten steps",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::GradientNorms,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1.6e-2,
        why: "as for the logits: Transformers' bf16 run is up to 1.65e-2 off in ten steps",
    },
    Tolerance {
        rung: Rung::L4,
        quantity: Quantity::FinalAdapter,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1.2e-1,
        why: "as for the logits: Transformers' bf16 run is up to 1.21e-1 off in the worst element",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::Gradients,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-4,
        why: "as for an adapter: rounding alone moves the reference by up to 1.1e-5",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::Losses,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-5,
        why: "as for an adapter: rounding alone moves the reference by up to 2.5e-7 in ten steps",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::GradientNorms,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-5,
        why: "rounding alone moves the reference by up to 2.7e-7 in ten steps",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::WeightChanges,
        ours: Arithmetic::F32,
        reference: Arithmetic::F32,
        metric: Metric::Norm,
        limit: 1e-3,
        why: "of the change alone, not of the weight: f16 in the golden file is worth 2.8e-4, rounding up to 1.4e-4",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::Gradients,
        ours: Arithmetic::RoundedF32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-4,
        why: "the first step's copies are the stored weights: as in f32",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::Losses,
        ours: Arithmetic::RoundedF32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-4,
        why: "a weight near the middle of two bf16 values rounds either way and then differs by 0.4 %: up to 1.9e-5 between \
              the f32 and the f64 run",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::GradientNorms,
        ours: Arithmetic::RoundedF32,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 4e-4,
        why: "as its losses: up to 6.9e-5 between the f32 and the f64 run",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::WeightChanges,
        ours: Arithmetic::RoundedF32,
        reference: Arithmetic::F32,
        metric: Metric::Norm,
        limit: 2e-3,
        why: "as in f32, and single weights that rounded the other way",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::Gradients,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::Norm,
        limit: 3.6e-2,
        why: "Transformers' own bf16 run over the same copies is up to 3.6e-2 off in the norm of a gradient",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::Losses,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 3.6e-3,
        why: "as for the gradients: Transformers' bf16 run is up to 3.7e-3 off in ten steps",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::GradientNorms,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::LargestElement,
        limit: 1e-2,
        why: "as for the gradients: Transformers' bf16 run is up to 1.0e-2 off in ten steps",
    },
    Tolerance {
        rung: Rung::Full,
        quantity: Quantity::WeightChanges,
        ours: Arithmetic::Bf16,
        reference: Arithmetic::F32,
        metric: Metric::Norm,
        limit: 5.7e-2,
        why: "of all weights as one vector: Transformers' bf16 run is up to 5.8e-2 off; in single tensors up to 3.6e-1, since \
              AdamW takes the sign of gradients that rounding moves across zero",
    },
];

/// The row for a comparison of what we computed (`ours`) with a reference. A bf16 run of another implementation is
/// compared with both of ours by the same row.
///
/// # Panics
/// When the table has none: a test asks for a comparison that nobody justified.
pub fn tolerance(rung: Rung, quantity: Quantity, ours: Arithmetic, reference: Arithmetic) -> &'static Tolerance {
    let ours = if reference == Arithmetic::Bf16 { Arithmetic::F32 } else { ours };
    let key = (rung, quantity, ours, reference);
    let row = TABLE.iter().find(|row| (row.rung, row.quantity, row.ours, row.reference) == key);
    match row {
        Some(row) => row,
        None => panic!(
            "no tolerance for {rung:?} {quantity:?} in {ours:?} against {reference:?}: add a row with its reason"
        ),
    }
}
