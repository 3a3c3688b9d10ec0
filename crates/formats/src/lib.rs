//! Files of the field: safetensors, PEFT adapters, manifests; atomic writes.
//!
//! - [`files`] is the only place of the workspace that writes files.
//! - [`tensors`] maps a base model's weights and reads and writes small safetensors files.
//! - [`peft`] reads and writes LoRA adapters in PEFT's layout.
//! - [`gguf`] reads and writes GGUF files.
//! - [`mlx`] reads and writes the adapters of mlx-lm.
//! - [`manifest`] seals a folder, so that an incomplete or damaged one is recognised; [`checkpoint`] judges a folder by
//!   the rules of `docs/checkpoint-spec.md`.
//!
//! ```
//! use std::collections::BTreeMap;
//! use attune_formats::files::DirWriter;
//! use attune_formats::manifest::{Kind, MadeFrom, Manifest};
//! use attune_formats::tensors::{self, TensorView};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let scratch = tempfile::tempdir()?;
//! let target = scratch.path().join("step-000200");
//! let writer = DirWriter::create(&target)?;
//! let moments = [TensorView { name: "exp_avg", shape: &[2, 2], data: &[0.0, 0.5, 1.0, 1.5] }];
//! tensors::write_tensors_into(&writer, "state.safetensors", &moments, &BTreeMap::new())?;
//! Manifest::seal(&writer, Kind::Checkpoint, MadeFrom::default())?; // written last
//! writer.commit()?; // from here on the checkpoint exists
//!
//! Manifest::verify(&target)?;
//! assert_eq!(tensors::read_tensors(&target.join("state.safetensors"))?["exp_avg"].data[3], 1.5);
//! # Ok(())
//! # }
//! ```

pub mod checkpoint;
pub mod files;
pub mod gguf;
pub mod manifest;
pub mod mlx;
pub mod peft;
pub mod tensors;
