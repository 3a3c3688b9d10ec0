//! After its first step a run asks the system for no more memory for tensors. A binary of its own: the pool is the
//! process's.

#![allow(clippy::unwrap_used)]

mod common;

use std::sync::atomic::AtomicBool;

use attune_compute::pool::{self, PoolStats};
use attune_train::{Event, Job, Observer, run};
use common::World;

struct AfterEachStep(Vec<PoolStats>);

impl Observer for AfterEachStep {
    fn on(&mut self, event: &Event) {
        if matches!(event, Event::Step(_)) {
            self.0.push(pool::stats());
        }
    }
}

#[test]
fn steps_after_the_first_touch_no_new_memory() {
    let world = World::new();
    let mut config = world.config();
    config.training.batch_size = 8;
    config.training.steps = Some(5);
    // With several threads a thread's scratch may grow later, when it first takes the largest task.
    config.hardware.threads = Some(1);
    let mut seen = AfterEachStep(Vec::new());
    run(Job::new(config, world.path("run")), &mut seen, &AtomicBool::new(false)).unwrap();
    let steps = seen.0;
    assert_eq!(steps.len(), 5);
    assert!(steps[0].touched_bytes > 0 && steps[0].peak_bytes <= steps[0].touched_bytes, "{:?}", steps[0]);
    for (step, stats) in steps.iter().enumerate().skip(1) {
        assert_eq!(*stats, steps[0], "after step {}", step + 1);
    }
}
