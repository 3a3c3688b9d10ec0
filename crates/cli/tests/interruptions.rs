//! Whatever happens to the process, the run goes on to the same bytes: kills at random moments and inside a checkpoint
//! write, signals, a full disk.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "these are tests")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use attune_formats::manifest::Manifest;
use common::random_base::RandomBase;
use common::{Scratch, names, small_base, start};
use serde_json::json;

const TRAIN: [&str; 4] = ["train", "ft.yaml", "--out", "run"];
/// Longer than anything here takes on a slow machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn scratch(threads: usize) -> Scratch {
    // Large enough that a step takes a few milliseconds, so that kills land everywhere.
    let scratch = Scratch::with_base(&RandomBase { hidden: 64, feed_forward: 160, ..small_base() });
    scratch.configure(&json!({
        "adapter": {"rank": 8},
        "training": {"steps": 24},
        "checkpoint": {"every_steps": 1, "keep": 2},
        "evaluation": {"every_steps": 5, "samples": 1, "sample_max_tokens": 8},
        "hardware": {"threads": threads},
    }));
    scratch
}

/// What a run leaves that must not depend on interruptions: the adapter, and every number of its steps.
#[derive(Debug, PartialEq)]
struct Result {
    adapter: Vec<u8>,
    losses: Vec<(u64, f64, f64)>,
    validation: Vec<(u64, f64)>,
}

fn result(scratch: &Scratch) -> Result {
    let metrics = String::from_utf8(scratch.read("run/metrics.jsonl")).unwrap();
    let lines: Vec<serde_json::Value> = metrics.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let number = |line: &serde_json::Value, key: &str| line[key].as_f64();
    Result {
        adapter: scratch.read("run/adapter/adapter_model.safetensors"),
        losses: lines
            .iter()
            .map(|line| {
                let norm = number(line, "grad_norm").unwrap();
                (line["step"].as_u64().unwrap(), number(line, "loss").unwrap(), norm)
            })
            .collect(),
        validation: lines
            .iter()
            .filter_map(|line| Some((line["step"].as_u64()?, number(line, "validation_loss")?)))
            .collect(),
    }
}

fn uninterrupted(threads: usize) -> Result {
    let scratch = scratch(threads);
    scratch.train().done();
    result(&scratch)
}

/// A stream of numbers that is the same in every run of the tests.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % bound
    }
}

/// Starts the run, or goes on with it. Killed before it wrote its configuration it is no run yet.
fn start_or_resume(scratch: &Scratch) -> Child {
    if scratch.path("run/config.yaml").exists() {
        return start(scratch.dir(), &["resume", "run"]);
    }
    let _ = fs::remove_dir_all(scratch.path("run"));
    start(scratch.dir(), &TRAIN)
}

fn wait(child: Child) -> (Option<i32>, String) {
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// Waits until `holds` or the process is over; whether it holds.
fn wait_until(child: &mut Child, mut holds: impl FnMut() -> bool) -> bool {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if holds() {
            return true;
        }
        if child.try_wait().unwrap().is_some() {
            return false;
        }
    }
    panic!("waited for more than {PATIENCE:?}");
}

/// The newest checkpoint is whole. (The oldest may be half deleted.)
fn assert_newest_is_whole(checkpoints: &Path) {
    let complete = |name: &String| !name.contains(".tmp-") && !name.contains(".old-");
    if let Some(newest) = names(checkpoints).into_iter().rfind(complete) {
        Manifest::verify(&checkpoints.join(&newest)).unwrap_or_else(|error| panic!("{newest}: {error}"));
    }
}

#[test]
fn a_run_that_is_killed_at_random_moments_ends_in_the_same_bytes() {
    let expected = uninterrupted(1);
    assert_eq!(expected, uninterrupted(2), "two threads");
    let mut numbers = Numbers(2);
    for threads in [1, 2] {
        let scratch = scratch(threads);
        let (mut kills, mut last_code) = (0, None);
        for attempt in 0u64.. {
            let mut child = start_or_resume(&scratch);
            // Later attempts are given more time, so that slow machines come to an end as well.
            std::thread::sleep(Duration::from_millis(15 + numbers.next(150 + 20 * attempt)));
            child.kill().unwrap();
            let (code, stderr) = wait(child);
            assert_newest_is_whole(&scratch.path("run/checkpoints"));
            if let Some(code) = code {
                assert_eq!(code, 0, "attempt {attempt}: {stderr}");
                last_code = Some(code);
                break;
            }
            kills += 1;
            assert!(attempt < 200, "the run does not end");
        }
        assert_eq!(last_code, Some(0));
        println!("{threads} threads: killed {kills} times");
        assert!(kills >= 2, "only {kills} kills");
        assert!(result(&scratch) == expected, "{threads} threads: not the same after {kills} kills");
    }
}

#[test]
fn a_run_that_is_killed_inside_a_checkpoint_write_ends_in_the_same_bytes() {
    let expected = uninterrupted(1);
    for threads in [1, 2] {
        let scratch = scratch(threads);
        let checkpoints = scratch.path("run/checkpoints");
        let unfinished = || names(&checkpoints).iter().any(|name| name.contains(".tmp-"));
        let mut hits = 0;
        for attempt in 0.. {
            let mut child = start_or_resume(&scratch);
            // What an earlier kill left is cleared away first, so that a new one is told apart.
            if attempt > 0 {
                wait_until(&mut child, || !unfinished());
            }
            // Killed at a later checkpoint each time; some of the kills come too late and count as random ones.
            let wanted = 1 + hits;
            let mut seen = 0;
            let mut was_there = false;
            let caught = wait_until(&mut child, || {
                let is_there = unfinished();
                seen += usize::from(is_there && !was_there);
                was_there = is_there;
                seen >= wanted
            });
            child.kill().unwrap();
            let (code, stderr) = wait(child);
            hits += usize::from(code.is_none() && caught && unfinished());
            assert_newest_is_whole(&scratch.path("run/checkpoints"));
            if code.is_some() {
                assert_eq!(code, Some(0), "{stderr}");
                break;
            }
            if hits >= 5 || attempt >= 60 {
                let said = scratch.ft(&["resume", "run"]).done();
                assert!(said.stderr.contains("resuming"), "{}", said.stderr);
                break;
            }
        }
        println!("{threads} threads: killed {hits} times inside a checkpoint write");
        assert!(hits >= 2, "only {hits} kills left an unfinished checkpoint behind");
        assert!(!unfinished(), "resuming clears unfinished checkpoints away");
        assert!(result(&scratch) == expected, "{threads} threads: not the same after {hits} kills inside a write");
    }
}

#[test]
fn a_checkpoint_without_its_manifest_does_not_exist() {
    let expected = uninterrupted(1);
    let scratch = scratch(1);
    scratch.train().done();
    let newest = names(&scratch.path("run/checkpoints")).pop().unwrap();
    fs::remove_file(scratch.path("run/checkpoints").join(&newest).join("manifest.json")).unwrap();
    fs::remove_dir_all(scratch.path("run/adapter")).unwrap();
    let said = scratch.ft(&["resume", "run"]).done();
    let warning = format!("{newest} is damaged, falling back to the checkpoint before");
    assert!(said.stderr.contains("warning: ") && said.stderr.contains(&warning), "{}", said.stderr);
    assert!(result(&scratch) == expected);
}

#[cfg(unix)]
fn send(child: &Child, signal: &str) {
    // The shell's own: not every system has a program of that name.
    let kill = format!("kill -{signal} {}", child.id());
    let status = std::process::Command::new("sh").args(["-c", &kill]).status();
    assert!(status.unwrap().success());
}

#[cfg(unix)]
#[test]
fn signals_stop_with_75_and_the_run_goes_on_to_the_same_bytes() {
    let expected = uninterrupted(1);
    for (signal, threads) in [("TERM", 1), ("INT", 2)] {
        let scratch = scratch(threads);
        let mut stops = 0;
        for attempt in 0.. {
            assert!(attempt < 200, "the run does not end");
            let mut child = start_or_resume(&scratch);
            let metrics = scratch.path("run/metrics.jsonl");
            let lines = || fs::read(&metrics).map_or(0, |text| text.iter().filter(|byte| **byte == b'\n').count());
            let wanted = 3 * (stops + 1);
            if wait_until(&mut child, || lines() >= wanted) {
                send(&child, signal);
            }
            let (code, stderr) = wait(child);
            if code == Some(0) {
                break;
            }
            assert_eq!(code, Some(75), "{stderr}");
            assert!(stderr.contains("error: interrupted after step"), "{stderr}");
            assert!(stderr.contains("hint: continue with `ft resume run`"), "{stderr}");
            let newest = names(&scratch.path("run/checkpoints")).pop().unwrap();
            let said = stderr.split("interrupted after step ").nth(1).unwrap();
            let step: usize = said.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
            assert_eq!(newest, format!("step-{step:06}"), "the checkpoint of the last step is there");
            // The line of a step whose evaluation was interrupted waits in the checkpoint until that is done again.
            let state = scratch.read(&format!("run/checkpoints/{newest}/state.json"));
            let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
            let waiting = usize::from(!state["unreported"].is_null());
            assert_eq!(lines(), step - waiting, "one line per step: {}", state["unreported"]);
            assert_newest_is_whole(&scratch.path("run/checkpoints"));
            stops += 1;
        }
        assert!(stops >= 2, "{signal}: only {stops} stops");
        assert!(result(&scratch) == expected, "{signal}: not the same after {stops} stops");
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_ends_the_process_at_once() {
    // One step of this base takes far longer than the two signals.
    let scratch = Scratch::with_base(&RandomBase { hidden: 512, feed_forward: 2048, layers: 8, ..small_base() });
    scratch.configure(&json!({
        "adapter": {"rank": 8},
        "training": {"batch_size": 512, "steps": 4},
        "data": {"validation": []},
        "hardware": {"backend": "reference", "micro_batch_tokens": null},
    }));
    let mut child = start(scratch.dir(), &TRAIN);
    let log = scratch.path("run/log.jsonl");
    let started = || fs::read_to_string(&log).is_ok_and(|text| text.contains("\"started\""));
    assert!(wait_until(&mut child, started));
    // Into the step, which is one micro-batch.
    std::thread::sleep(Duration::from_millis(300));
    let begin = Instant::now();
    send(&child, "TERM");
    while child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(50));
        if child.try_wait().unwrap().is_none() {
            send(&child, "TERM");
        }
        assert!(begin.elapsed() < PATIENCE);
    }
    let (code, _) = wait(child);
    assert_eq!(code, Some(130));
}

#[cfg(unix)]
#[test]
fn nohup_runs_outlive_their_terminal() {
    let scratch = scratch(1);
    let ft = env!("CARGO_BIN_EXE_ft");
    let script = format!("trap '' HUP; exec {ft} train ft.yaml --out run");
    let mut child = std::process::Command::new("sh")
        .current_dir(scratch.dir())
        .args(["-c", &script])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    assert!(wait_until(&mut child, || scratch.path("run/metrics.jsonl").exists()));
    send(&child, "HUP");
    let (code, stderr) = wait(child);
    assert_eq!(code, Some(0), "{stderr}");
}

/// A file system of its own for a folder; gone when dropped.
#[cfg(target_os = "linux")]
struct SmallDisk<'a>(&'a Path);

#[cfg(target_os = "linux")]
impl<'a> SmallDisk<'a> {
    fn mount(dir: &'a Path, mebibytes: u32) -> Option<Self> {
        fs::create_dir_all(dir).unwrap();
        let size = format!("size={mebibytes}m");
        let output = std::process::Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(dir)),
            Ok(output) => {
                println!("SKIPPED: no small disk: {}", String::from_utf8_lossy(&output.stderr).trim());
                None
            }
            Err(error) => {
                println!("SKIPPED: no small disk: {error}");
                None
            }
        }
    }
}

#[cfg(target_os = "linux")]
impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg(self.0).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            let _ = std::process::Command::new("umount").arg("-l").arg(self.0).status();
        }
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_becomes_full_leaves_the_last_good_checkpoint() {
    let expected = uninterrupted(1);
    let scratch = scratch(1);
    let dir = scratch.path("disk");
    let Some(_disk) = SmallDisk::mount(&dir, 24) else { return };
    let args = ["train", "ft.yaml", "--out", "disk/run"];

    // Full while it runs: the checkpoints go on until the filler has taken the rest.
    let mut child = start(scratch.dir(), &args);
    let checkpoints = dir.join("run/checkpoints");
    assert!(wait_until(&mut child, || names(&checkpoints).iter().any(|name| name == "step-000002")));
    fill(&dir.join("filler"));
    let (code, stderr) = wait(child);
    assert_eq!(code, Some(1), "{stderr}");
    assert!(stderr.contains("the disk is full"), "{stderr}");
    assert!(stderr.contains("hint: ") && stderr.contains("free"), "{stderr}");
    assert!(!names(&checkpoints).is_empty());
    assert_newest_is_whole(&checkpoints);

    // Still full: nothing gets worse.
    scratch.ft(&["resume", "disk/run"]).refused(1, &["disk"]);
    fs::remove_file(dir.join("filler")).unwrap();
    scratch.ft(&["resume", "disk/run"]).done();
    assert!(fs::read(dir.join("run/adapter/adapter_model.safetensors")).unwrap() == expected.adapter);
}

/// Takes all the space that is left.
#[cfg(target_os = "linux")]
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    for size in [1 << 20, 1 << 12, 1] {
        while file.write_all(&vec![0u8; size]).is_ok() {}
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_is_too_small_is_refused_before_training() {
    let scratch = scratch(1);
    let dir = scratch.path("disk");
    let Some(_disk) = SmallDisk::mount(&dir, 1) else { return };
    let said = scratch.ft(&["train", "ft.yaml", "--out", "disk/run"]);
    said.refused(1, &["disk/run: ", "bytes are free", "are needed", "hint: "]);
    assert!(names(&dir).is_empty(), "{:?}", names(&dir));
}
