//! From a base model and an adapter to a model in another format, and the gate that proves it is the same.

pub mod artefact;
pub mod error;
pub mod floats;
pub mod gate;
pub mod gguf;
pub mod hf;
pub mod ollama;
pub mod report;
mod stream;
pub mod tensors;
pub mod tuned;

pub use error::ExportError;
pub use floats::FloatType;
pub use report::ExportReport;
pub use tuned::Tuned;
