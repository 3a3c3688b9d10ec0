//! Training, one step top to bottom: objectives, optimizer, schedule, batch plan, checkpoints.
//!
//! ```no_run
//! use std::sync::atomic::AtomicBool;
//!
//! use attune_config::{Config, environment};
//! use attune_train::{Job, Silent, run};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load("ft.yaml".as_ref(), environment(), &[])?;
//! let summary = run(Job::new(config, "runs/first".into()), &mut Silent, &AtomicBool::new(false))?;
//! println!("losses {:?}, adapter in {}", summary.train_loss, summary.output_dir.display());
//! # Ok(())
//! # }
//! ```
//!
//! The main path is `run.rs` (the loop) to `step.rs` (one optimizer step) to the decoder of the model room.
//!
//! - [`run`] trains what a [`Job`] says and leaves a run folder; an [`Observer`] watches.
//! - [`step::train_step`] is one optimizer step and takes the learning rate as an argument: comparisons with other
//!   implementations use it directly.
//! - [`memory_plan`] predicts memory and time before anything is loaded, and lays the work out to fit a budget.
//! - [`plan`] decides which examples make which step, and how a step is cut into micro-batches.
//!
//! The same configuration, data and seed give the same adapter bytes for any number of threads and any interruption:
//! the batch plan, the schedule and the dropout masks are pure functions of (seed, step), sums have a fixed order, and
//! time is never an input.

pub mod answers;
pub mod bench;
pub mod checkpoint;
pub mod contamination;
pub mod error;
pub mod evaluate;
pub mod events;
pub mod examples;
pub mod inputs;
mod lineage;
mod memory;
pub mod memory_plan;
pub mod objective;
pub mod optimizer;
pub mod plan;
mod run;
pub mod run_dir;
pub mod schedule;
pub mod step;

pub use error::TrainError;
pub use events::{Event, Observer, Silent, StepMetrics, Summary};
pub use memory::{peak_memory_bytes, resident_memory_bytes};
pub use memory_plan::MemoryPlan;
pub use run::{DryRun, Job, dry_run, run};
