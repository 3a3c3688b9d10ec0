//! `cargo xtask bench`: Attune and its peer side by side. bench/README.md says what is measured and how to read it.

mod clean;
mod data;
mod formats;
mod model;
mod quantize;
mod report;
mod shapes;
mod sides;
mod time;
mod work;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};
use attune_compute::cpu::Isa;
use attune_compute::cpu::peak::{Peak, matrix_peak};
use attune_formats::files::{create_dir_all, write_atomic};
use attune_model::DecoderSpec;
use attune_model::operations::{adapter_parameters, training_operations};

use crate::peers;
use report::{Head, Measured, Side};
use shapes::Shape;
use sides::{Attune, Outcome, Peer};
use work::{Case, Extent, Work};

const USAGE: &str = "\
usage: cargo xtask bench make-model SHAPE DIR
       cargo xtask bench train [--shape NAME,...] [--work NAME,...] [--rounds N] [--steps N] [--threads N]
                               [--peers MODE,...] [--python PATH] [--no-peer] [--ft PATH] [--out DIR] [--quick]
       cargo xtask bench data [--assets DIR] [--only NAME,...] [--rounds N] [--no-peer] [--out DIR]
       cargo xtask bench formats [--shape NAME] [--only OUTPUT,...] [--rounds N] [--tokenizer DIR] [--scratch DIR]
                                 [--python PATH] [--no-peer] [--ft PATH] [--out DIR] [--quick]
       cargo xtask bench quantize [--shape NAME] [--only TYPE,...] [--tokens N] [--rounds N] [--steps N] [--ft PATH]
                                  [--out DIR] [--quick]
       cargo xtask bench clean [--gigabytes N] [--keep]";

/// Time for one measurement of the peak; there is one before each process of Attune.
const PEAK_SECONDS: f64 = 0.5;
/// Rank of the adapter on both sides.
const RANK: usize = 16;

/// What `cargo xtask bench ...` was asked for. Whether everything that could run did.
pub(crate) fn run(root: &Path, args: &[&str]) -> Result<bool> {
    match args {
        ["make-model", shape, dir] => {
            model::make(&Shape::named(shape)?, Path::new(dir))?;
            Ok(true)
        }
        ["data", options @ ..] => data::run(root, options),
        ["clean", options @ ..] => clean::run(root, options, &build(root)?),
        ["formats", options @ ..] => formats::run(root, options),
        ["quantize", options @ ..] => quantize::run(root, options),
        ["train", options @ ..] => Bench::new(root, &Options::parse(options)?)?.run(),
        _ => bail!(USAGE),
    }
}

/// The command line of `bench train`.
#[derive(Debug, Clone, PartialEq, Default)]
struct Options {
    shapes: Vec<String>,
    work: Vec<String>,
    rounds: Option<usize>,
    steps: Option<usize>,
    threads: Option<usize>,
    peers: Vec<String>,
    python: Option<PathBuf>,
    no_peer: bool,
    ft: Option<PathBuf>,
    out: Option<PathBuf>,
    quick: bool,
}

impl Options {
    fn parse(args: &[&str]) -> Result<Self> {
        let mut options = Self::default();
        let mut args = args.iter();
        while let Some(&name) = args.next() {
            let mut value = || args.next().copied().with_context(|| format!("{name} needs a value\n{USAGE}"));
            let list = |text: &str| text.split(',').map(String::from).collect::<Vec<String>>();
            let count = |text: &str| match text.parse() {
                Ok(count) if count > 0 => Ok(Some(count)),
                _ => bail!("{name} {text}: expected a number from 1"),
            };
            match name {
                "--shape" => options.shapes.extend(list(value()?)),
                "--work" => options.work.extend(list(value()?)),
                "--peers" => options.peers.extend(list(value()?)),
                "--rounds" => options.rounds = count(value()?)?,
                "--steps" => options.steps = count(value()?)?,
                "--threads" => options.threads = count(value()?)?,
                "--python" => options.python = Some(value()?.into()),
                "--ft" => options.ft = Some(value()?.into()),
                "--out" => options.out = Some(value()?.into()),
                "--no-peer" => options.no_peer = true,
                "--quick" => options.quick = true,
                _ => bail!("{name}: no such option\n{USAGE}"),
            }
        }
        Ok(options)
    }
}

/// A benchmark that is set up.
struct Bench {
    root: PathBuf,
    out: PathBuf,
    shapes: Vec<Shape>,
    work: Vec<Work>,
    extent: Extent,
    rounds: usize,
    threads: Option<usize>,
    attune: Attune,
    /// Or why there is none.
    peer: Result<Peer, String>,
    /// The highest peak of each set of instructions so far.
    peaks: Vec<(Isa, Peak)>,
    evicted: Option<bool>,
}

impl Bench {
    /// Builds what is missing.
    fn new(root: &Path, options: &Options) -> Result<Self> {
        let quick = options.quick;
        let names = |given: &[String], default: &[&str]| -> Vec<String> {
            if given.is_empty() { default.iter().map(ToString::to_string).collect() } else { given.to_vec() }
        };
        let all_work = Work::ALL.map(|(name, _)| name);
        let work = names(&options.work, if quick { &["full2048", "gsm8k", "startup"] } else { &all_work });
        let shapes = names(&options.shapes, if quick { &["tiny"] } else { &["llama-3.2-1b"] });
        let steps = options.steps.unwrap_or(if quick { 2 } else { 3 });
        Ok(Self {
            root: root.into(),
            // Paths of a configuration start at its own folder.
            out: std::path::absolute(options.out.clone().unwrap_or_else(|| root.join("target/bench")))?,
            shapes: shapes.iter().map(|name| Shape::named(name)).collect::<Result<_>>()?,
            work: work.iter().map(|name| Work::named(name)).collect::<Result<_>>()?,
            extent: Extent { steps, quick, peers: names(&options.peers, &["installed", "best"]) },
            rounds: options.rounds.unwrap_or(if quick { 1 } else { 2 }),
            threads: options.threads,
            attune: Attune {
                program: match &options.ft {
                    Some(program) => fs::canonicalize(program).with_context(|| format!("{}", program.display()))?,
                    None => build(root)?,
                },
            },
            peer: find_peer(root, options),
            peaks: Vec::new(),
            evicted: None,
        })
    }

    fn run(mut self) -> Result<bool> {
        if let Err(reason) = &self.peer {
            eprintln!("the peer is not run: {reason}");
        }
        let mut measured = Vec::new();
        for shape in self.shapes.clone() {
            let dir = self.out.join("models").join(shape.name);
            eprintln!("{}: random weights in {}", shape.name, dir.display());
            model::make(&shape, &dir)?;
            for work in self.work.clone() {
                for case in work::cases(work, &self.extent) {
                    measured.push(self.measure(shape, &dir, case)?);
                    // After each case, so that an interrupted benchmark leaves what it has.
                    self.write(&measured)?;
                }
            }
        }
        println!("{}", report::table(&self.head()?, &measured));
        Ok(measured.iter().all(|one| one.attune.is_ok()))
    }

    fn write(&self, measured: &[Measured]) -> Result<()> {
        let head = self.head()?;
        write_atomic(&self.out.join("train.md"), report::table(&head, measured).as_bytes())?;
        write_atomic(&self.out.join("train.json"), format!("{:#}\n", report::raw(&head, measured)).as_bytes())?;
        Ok(())
    }

    fn measure(&mut self, shape: Shape, model: &Path, case: Case) -> Result<Measured> {
        let dir = self.out.join("work").join(shape.name).join(case.slug());
        let files = work::write(&case, &shape, model, &dir, self.threads)?;
        let spec = DecoderSpec::read(model)?;
        let adapter = adapter_parameters(&spec, RANK);
        let operations = |step| training_operations(&spec, adapter, case.sizes(step)).total();
        let mut measured = Measured {
            shape: shape.name,
            operations: (0..case.steps()).map(operations).collect(),
            attune: Ok(Vec::new()),
            peers: case.peers.iter().map(|mode| (mode.clone(), Ok(Vec::new()))).collect(),
            peak_gflops: None,
            case,
        };
        let case = &measured.case;
        let isa = Isa::choose(case.cpu.or(env::var("FT_CPU").ok().as_deref()));
        let isa = match isa {
            Ok(isa) => isa,
            Err(error) => {
                measured.attune = Err(error.to_string());
                return Ok(measured);
            }
        };
        let batches = match (&self.peer, case.peers.is_empty()) {
            (Ok(_), false) => Some(self.attune.write_batches(case, &files, model)?),
            _ => None,
        };
        for round in 1..=self.rounds {
            let label = format!("{}, {}, round {round} of {}", shape.name, measured.case.label, self.rounds);
            self.measure_peak(isa);
            self.evict(&measured.case, model);
            add(&mut measured.attune, &format!("{label}: Attune"), || self.attune.run(&measured.case, &files));
            for (mode, side) in &mut measured.peers {
                self.evict(&measured.case, model);
                let what = format!("{label}: peer {mode}");
                match (&self.peer, &batches) {
                    (Ok(peer), Some(batches)) => add(side, &what, || peer.run(mode, model, batches, &files)),
                    (Err(reason), _) => *side = Err(reason.clone()),
                    (Ok(_), None) => {}
                }
            }
        }
        let is_f32 = measured.case.work == Work::F32;
        let peak = self.peaks.iter().find(|(known, _)| *known == isa).map(|(_, peak)| peak);
        measured.peak_gflops = peak.map(|peak| if is_f32 { peak.f32_gflops } else { peak.best_gflops() });
        Ok(measured)
    }

    fn cores(&self) -> usize {
        self.threads.unwrap_or_else(|| available_parallelism().map_or(1, usize::from))
    }

    fn measure_peak(&mut self, isa: Isa) {
        let Some(peak) = matrix_peak(isa, self.cores(), PEAK_SECONDS) else { return };
        match self.peaks.iter_mut().find(|(known, _)| *known == isa) {
            Some((_, best)) => *best = best.best_of(peak),
            None => self.peaks.push((isa, peak)),
        }
    }

    fn evict(&mut self, case: &Case, model: &Path) {
        if case.cold {
            self.evicted = Some(sides::evict(model) && self.evicted.unwrap_or(true));
        }
    }

    fn head(&self) -> Result<Head> {
        let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).current_dir(&self.root).output();
        let commit = commit.ok().filter(|output| output.status.success());
        let commit =
            commit.map_or(String::new(), |output| format!(" ({})", String::from_utf8_lossy(&output.stdout).trim()));
        Ok(Head {
            date: time::today(),
            processor: processor(),
            cores: available_parallelism().map_or(1, usize::from),
            attune: self.attune.version()? + &commit,
            rounds: self.rounds,
            steps: self.extent.steps,
            evicted: self.evicted,
            peaks: self.peaks.iter().map(|(isa, peak)| (isa.to_string(), peak.f32_gflops, peak.bf16_gflops)).collect(),
        })
    }
}

/// Runs a process and puts its outcome beside the earlier ones; after a failure the side is not tried again.
fn add(side: &mut Side, what: &str, run: impl FnOnce() -> Result<Outcome>) {
    let Ok(outcomes) = side else { return };
    match run() {
        Ok(outcome) => {
            let steps: Vec<String> = outcome.steps.iter().map(|step| format!("{:.2}", step.seconds)).collect();
            eprintln!(
                "{what}: steps of {} s, first step done after {:.2} s",
                steps.join(", "),
                outcome.first_step_seconds
            );
            outcomes.push(outcome);
        }
        Err(error) => {
            eprintln!("{what}: {error:#}");
            *side = Err(format!("{error:#}"));
        }
    }
}

/// `ft`, built for speed.
pub(crate) fn build(root: &Path) -> Result<PathBuf> {
    let status = crate::cargo(&["build", "--release", "--locked", "--package", "attune"]).status();
    ensure!(status.context("cargo does not start")?.success(), "ft cannot be built");
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release").join(format!("ft{}", env::consts::EXE_SUFFIX)))
}

/// The Python that is given, or that of `target/bench/peers`, which is made unless it is to be quick.
fn find_peer(root: &Path, options: &Options) -> Result<Peer, String> {
    if options.no_peer {
        return Err("--no-peer".into());
    }
    let given = options.python.clone().or_else(|| env::var_os("ATTUNE_PEER_PYTHON").map(PathBuf::from));
    let (environment, requirements) = (root.join("target/bench/peers"), root.join("bench/requirements.txt"));
    let python = match given {
        Some(python) => python,
        None if options.quick => peers::finished(&environment, &requirements)
            .ok_or("no Python with PEFT: give --python, or leave --quick out to have one made")?,
        None => {
            create_dir_all(&root.join("target/bench")).map_err(|error| error.to_string())?;
            eprintln!("the peer's packages (5 GB, once) in {}", environment.display());
            peers::make(&environment, &requirements)?
        }
    };
    let works = Command::new(&python).args(["-c", "import peft"]).output();
    match works {
        Ok(output) if output.status.success() => {
            Ok(Peer { python, script: root.join("bench/peft_train.py"), threads: options.threads })
        }
        Ok(_) => Err(format!("{} has no peft", python.display())),
        Err(error) => Err(format!("{}: {error}", python.display())),
    }
}

/// What the system calls the processor.
fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| env::consts::ARCH.to_string(), |(_, name)| name.trim().to_string())
}

/// The shared test assets, or a line that says why the test is skipped.
#[cfg(test)]
fn shared(name: &str) -> Option<PathBuf> {
    let root = env::var_os("ATTUNE_SHARED")
        .map_or_else(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared")), PathBuf::from);
    let path = root.join("assets").join(name);
    if path.exists() {
        return Some(path);
    }
    println!("SKIPPED: {} is absent; set ATTUNE_SHARED", path.display());
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let parsed = Options::parse(&["--shape", "tiny,qwen3-0.6b", "--rounds", "3", "--quick"]).unwrap();
        assert_eq!((parsed.shapes.len(), parsed.rounds, parsed.quick), (2, Some(3), true));
        for wrong in [&["--rounds", "0"][..], &["--rounds"], &["--fast"], &["tiny"]] {
            assert!(Options::parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
