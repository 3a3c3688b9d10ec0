//! `cargo xtask bench quantize`: training and generation over a base in few bits beside the same base as it is stored.
//! bench/README.md says what is measured and how to read it.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail, ensure};
use attune_formats::files::{create_dir_all, remove_file, rename_file, write_atomic};
use serde_json::{Value, json};

use super::report::Spread;
use super::shapes::Shape;
use super::sides::Attune;
use super::{build, model, processor, time};

const USAGE: &str = "\
usage: cargo xtask bench quantize [--shape NAME] [--only TYPE,...] [--tokens N] [--rounds N] [--steps N] [--ft PATH]
                                  [--out DIR] [--quick]";

/// As it is stored, `model.quantize`, and a GGUF file whose linears are Q4_K and Q6_K.
const KINDS: [&str; 4] = ["none", "nf4", "int8", "q4_k_m"];

/// The command line.
#[derive(Debug, Clone, PartialEq)]
struct Options {
    shape: String,
    only: Vec<String>,
    tokens: usize,
    rounds: usize,
    steps: usize,
    ft: Option<PathBuf>,
    out: PathBuf,
}

impl Options {
    fn parse(root: &Path, args: &[&str]) -> Result<Self> {
        let quick = args.contains(&"--quick");
        let mut options = Self {
            shape: if quick { "tiny" } else { "llama-3.2-1b" }.into(),
            only: Vec::new(),
            tokens: if quick { 256 } else { 2048 },
            rounds: if quick { 1 } else { 3 },
            steps: 1,
            ft: None,
            out: root.join("target/bench"),
        };
        let mut args = args.iter();
        while let Some(&name) = args.next() {
            let mut value = || args.next().copied().with_context(|| format!("{name} needs a value\n{USAGE}"));
            let count = |text: &str| match text.parse() {
                Ok(count) if count > 0 => Ok(count),
                _ => bail!("{name} {text}: expected a number from 1"),
            };
            match name {
                "--shape" => options.shape = value()?.into(),
                "--only" => options.only.extend(value()?.split(',').map(String::from)),
                "--tokens" => options.tokens = count(value()?)?,
                "--rounds" => options.rounds = count(value()?)?,
                "--steps" => options.steps = count(value()?)?,
                "--ft" => options.ft = Some(value()?.into()),
                "--out" => options.out = value()?.into(),
                "--quick" => {}
                _ => bail!("{name}: no such option\n{USAGE}"),
            }
        }
        if let Some(unknown) = options.only.iter().find(|name| !KINDS.contains(&name.as_str())) {
            bail!("--only {unknown}: there are {}", KINDS.join(", "));
        }
        Ok(options)
    }

    /// What is measured; the base as it is stored always is, since the others are compared with it.
    fn kinds(&self) -> Vec<&'static str> {
        let wanted = |kind: &&str| *kind == "none" || self.only.is_empty() || self.only.iter().any(|only| only == kind);
        KINDS.into_iter().filter(wanted).collect()
    }
}

/// One base, and what `ft bench --json` said of it, round by round.
struct Measured {
    kind: &'static str,
    rounds: Vec<Value>,
}

impl Measured {
    fn numbers(&self, pointer: &str) -> impl Iterator<Item = f64> {
        self.rounds.iter().filter_map(move |round| round.pointer(pointer)?.as_f64())
    }

    fn median(&self, pointer: &str) -> Option<f64> {
        Some(Spread::of(self.numbers(pointer))?.median)
    }

    /// The median over the rounds of this one's number over that of the other in the same round.
    fn ratio(&self, other: &Self, pointer: &str) -> Option<f64> {
        let pairs = self.numbers(pointer).zip(other.numbers(pointer));
        Some(Spread::of(pairs.map(|(this, other)| this / other))?.median)
    }
}

/// Measures, and writes `quantize.md` and `quantize.json`.
pub(super) fn run(root: &Path, args: &[&str]) -> Result<bool> {
    let options = Options::parse(root, args)?;
    let program = match &options.ft {
        Some(program) => program.clone(),
        None => build(root)?,
    };
    let attune = Attune { program };
    let shape = Shape::named(&options.shape)?;
    let out = std::path::absolute(&options.out)?;
    let plain = out.join("models").join(shape.name);
    eprintln!("{}: random weights in {}", shape.name, plain.display());
    model::make(&shape, &plain)?;
    let folder = out.join("quantize");
    create_dir_all(&folder)?;
    let mut measured: Vec<Measured> =
        options.kinds().into_iter().map(|kind| Measured { kind, rounds: Vec::new() }).collect();
    let gguf = folder.join(format!("{}-q4_k_m.gguf", shape.name));
    if measured.iter().any(|one| one.kind == "q4_k_m") {
        export(&attune, &plain, &gguf)?;
    }
    // In turn, so that whatever else the machine does meets all of them.
    for round in 1..=options.rounds {
        for one in &mut measured {
            let (base, quantize) = match one.kind {
                "q4_k_m" => (gguf.as_path(), "none"),
                kind => (plain.as_path(), kind),
            };
            let said = bench(&attune, base, quantize, &folder, &options)?;
            let speed = said.pointer("/tokens_per_sec/median").and_then(Value::as_f64).unwrap_or(f64::NAN);
            eprintln!("{}, round {round} of {}: {speed:.1} tokens/s", one.kind, options.rounds);
            one.rounds.push(said);
        }
        let table = table(&attune.version()?, &options, &measured);
        write_atomic(&out.join("quantize.md"), table.as_bytes())?;
        let raw = measured.iter().map(|one| json!({ "base": one.kind, "rounds": one.rounds })).collect::<Vec<Value>>();
        write_atomic(&out.join("quantize.json"), format!("{:#}\n", Value::from(raw)).as_bytes())?;
    }
    println!("{}", table(&attune.version()?, &options, &measured));
    if gguf.exists() {
        remove_file(&gguf)?;
    }
    Ok(true)
}

/// One process of `ft bench`.
fn bench(attune: &Attune, base: &Path, quantize: &str, folder: &Path, options: &Options) -> Result<Value> {
    let mut command = Command::new(&attune.program);
    command.args(["bench", "--json", "--quantize", quantize, "--tokens", &options.tokens.to_string()]);
    command.args(["--steps", &options.steps.to_string(), "--model"]).arg(base);
    command.env("FT_CACHE", folder.join("cache")).stdin(Stdio::null()).stderr(Stdio::null());
    let output = command.output().with_context(|| format!("{} does not start", attune.program.display()))?;
    ensure!(output.status.success(), "ft bench --quantize {quantize}: {}", output.status);
    serde_json::from_slice(&output.stdout).context("what ft bench says is not JSON")
}

/// Makes the GGUF file. Its gate may refuse it, since random weights have no certain tokens; it is measured all the same.
fn export(attune: &Attune, model: &Path, path: &Path) -> Result<()> {
    let refused = path.with_extension("gguf.refused");
    for old in [path, &refused] {
        if old.exists() {
            remove_file(old)?;
        }
    }
    let mut command = Command::new(&attune.program);
    command.args(["export", "gguf", "--type", "q4_k_m", "--model"]).arg(model).arg("--out").arg(path);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
    if refused.exists() {
        rename_file(&refused, path)?;
    }
    ensure!(path.exists(), "ft export gguf: {status}");
    Ok(())
}

fn table(version: &str, options: &Options, measured: &[Measured]) -> String {
    let cores = available_parallelism().map_or(1, usize::from);
    let backend = measured.first().and_then(|one| one.rounds.first()?["backend"].as_str()).unwrap_or("?");
    let mut text = format!(
        "{}, {}, {cores} cores. {version} on {backend}. {}: random weights, LoRA rank 16 on every linear, AdamW, one row \
         of {} tokens a step; {} rounds in turn, each of {} timed steps after one that is not. Ratios are medians of \
         those of a round.\n\n",
        time::today(),
        processor(),
        options.shape,
        options.tokens,
        options.rounds,
        options.steps,
    );
    text += "| base | frozen weights, GB | times smaller | tokens/s | ratio | generated tokens/s | ratio | memory of its \
             own, GB | of mapped files, GB | most ever, GB |\n|---|---|---|---|---|---|---|---|---|---|\n";
    let Some(plain) = measured.first() else { return text };
    for one in measured {
        let number = |value: Option<f64>, digits: usize| match value {
            Some(value) => format!("{value:.digits$}"),
            None => "-".into(),
        };
        let gigabytes = |pointer: &str| number(one.median(pointer).map(|bytes| bytes / 1e9), 2);
        let cells = [
            one.kind.to_string(),
            gigabytes("/weights_bytes"),
            number(plain.median("/weights_bytes").zip(one.median("/weights_bytes")).map(|(a, b)| a / b), 2),
            number(one.median("/tokens_per_sec/median"), 1),
            number(one.ratio(plain, "/tokens_per_sec/median"), 3),
            number(one.median("/generated_tokens_per_sec"), 2),
            number(one.ratio(plain, "/generated_tokens_per_sec"), 3),
            gigabytes("/anonymous_bytes"),
            gigabytes("/mapped_bytes"),
            gigabytes("/peak_memory_bytes"),
        ];
        let _ = writeln!(text, "| {} |", cells.join(" | "));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_others_refused() {
        let root = Path::new("/");
        let parsed = Options::parse(root, &["--only", "nf4", "--rounds", "2", "--quick"]).unwrap();
        assert_eq!((parsed.kinds(), parsed.rounds, parsed.tokens), (vec!["none", "nf4"], 2, 256));
        assert_eq!(Options::parse(root, &[]).unwrap().kinds(), KINDS);
        for wrong in [&["--only", "nf5"][..], &["--rounds", "0"], &["--steps"], &["--fast"]] {
            assert!(Options::parse(root, wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn ratios_are_those_within_a_round() {
        let measured = |kind, speeds: [f64; 3]| {
            let round =
                |speed| json!({ "backend": "cpu", "weights_bytes": 10.0, "tokens_per_sec": { "median": speed } });
            Measured { kind, rounds: speeds.map(round).into() }
        };
        // The machine was twice as slow in the second round, for both.
        let (plain, nf4) = (measured("none", [100.0, 50.0, 100.0]), measured("nf4", [90.0, 45.0, 95.0]));
        assert!((nf4.ratio(&plain, "/tokens_per_sec/median").unwrap() - 0.9).abs() < 1e-12);
        assert_eq!(nf4.ratio(&plain, "/nothing"), None);
        let options = Options::parse(Path::new("/"), &[]).unwrap();
        let text = table("ft 0", &options, &[plain, nf4]);
        assert!(text.contains("| nf4 | 0.00 | 1.00 | 90.0 | 0.900 | - |"), "{text}");
    }
}
