//! The op list of the engine, trait [`Backend`], and who implements it.
//!
//! [`reference::Reference`] is the specification: plain loops with `f64` sums, one op a file, the formulas above each
//! function. [`cpu::Cpu`] is the fast twin for plain CPUs. Both are tested op by op against each other and against
//! finite differences (`tests/`).
//!
//! ```
//! use attune_compute::{Backend, Tensor, Weight, reference::Reference, LinearArgs};
//!
//! let backend = Reference;
//! let x_tc = Tensor::from_vec(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
//! let weight = Weight::from_f32(2, 3, &[1.0, 0.0, 0.0, 0.0, 1.0, 1.0]);
//! let y = backend.linear_forward(&x_tc, &LinearArgs::frozen(&weight, None)).y;
//! assert_eq!(y.data(), &[1.0, 5.0, 4.0, 11.0]);
//! ```

pub mod backend;
pub mod blocks;
pub mod cpu;
pub mod pool;
pub mod reference;
pub mod rng;
pub mod tensor;
pub mod weight;

pub use backend::{
    AdamWArgs, AttentionArgs, AttentionOutput, Backend, ComputeError, Dropout, HeadOutput, LinearArgs, LinearGradient,
    LinearOutput, RopeTable, SidePath, SidePathGradient, WeightProduct,
};
pub use blocks::BlockType;
pub use tensor::{Tensor, Values, ValuesMut};
pub use weight::{DType, Weight, WeightPart};
