//! `cargo xtask bench data`: what the data rooms find in labelled suites, and how fast they are beside their peers.
//!
//! Each room has an example that measures it and prints one JSON object (`crates/*/examples/measure_*.rs`); the peers are
//! scripts in `bench/peers`. This runs them all and holds the numbers against what is claimed.

mod claims;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use attune_formats::files::{create_dir_all, write_atomic};
use serde_json::{Map, Value, json};

use super::time;
use crate::peers;
use claims::{CLAIMS, Claim, Ours, PEERS, PeerClaim, number};

const USAGE: &str = "\
usage: cargo xtask bench data [--assets DIR] [--only NAME,...] [--rounds N] [--no-peer] [--out DIR]";

/// A room's measuring example.
struct Measure {
    name: &'static str,
    package: &'static str,
    example: &'static str,
}

const MEASURES: [Measure; 6] = [
    Measure { name: "documents", package: "attune-documents", example: "measure_documents" },
    Measure { name: "readers", package: "attune-data", example: "measure_readers" },
    Measure { name: "secrets", package: "attune-scrub", example: "measure_secrets" },
    Measure { name: "pii", package: "attune-scrub", example: "measure_pii" },
    Measure { name: "near-duplicates", package: "attune-overlap", example: "measure_near_duplicates" },
    Measure { name: "contamination", package: "attune-overlap", example: "measure_contamination" },
];

/// The command line.
struct Options {
    assets: PathBuf,
    only: Vec<String>,
    rounds: usize,
    no_peer: bool,
    out: PathBuf,
}

impl Options {
    fn parse(root: &Path, args: &[&str]) -> Result<Self> {
        let mut options = Self {
            assets: root.join("../shared/assets"),
            only: Vec::new(),
            rounds: 3,
            no_peer: false,
            out: root.join("target/bench"),
        };
        let mut args = args.iter();
        while let Some(&name) = args.next() {
            let mut value = || args.next().copied().with_context(|| format!("{name} needs a value\n{USAGE}"));
            match name {
                "--assets" => options.assets = value()?.into(),
                "--only" => options.only.extend(value()?.split(',').map(String::from)),
                "--rounds" => options.rounds = value()?.parse().context("--rounds needs a number")?,
                "--out" => options.out = value()?.into(),
                "--no-peer" => options.no_peer = true,
                _ => bail!("{name}: no such option\n{USAGE}"),
            }
        }
        if let Some(unknown) = options.only.iter().find(|name| !MEASURES.iter().any(|measure| measure.name == **name)) {
            let known: Vec<&str> = MEASURES.iter().map(|measure| measure.name).collect();
            bail!("--only {unknown}: there are {}", known.join(", "));
        }
        ensure!(options.rounds > 0, "--rounds needs a number from 1");
        Ok(options)
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

/// What was measured, and whether every claim holds that could be looked at.
pub(super) fn run(root: &Path, args: &[&str]) -> Result<bool> {
    let options = Options::parse(root, args)?;
    let suites = options.assets.join("suites");
    ensure!(
        suites.is_dir(),
        "{}: there is no such folder; bench/README.md says which suites belong there, --assets DIR names another",
        suites.display()
    );
    create_dir_all(&options.out)?;
    let mut measured = Map::new();
    let mut peers = Map::new();
    for measure in MEASURES.iter().filter(|measure| options.wants(measure.name)) {
        build(root, measure)?;
        let mut rounds = vec![example(root, measure, &options.assets, &["--speed"])?];
        // The peers run between two rounds, so that a machine that gets slower does not favour either side.
        for peer in PEERS.iter().filter(|peer| peer.measure == measure.name && !options.no_peer) {
            eprintln!("{}: {}", measure.name, peer.name);
            let result = run_peer(root, peer, measure, &options).unwrap_or_else(|error| {
                eprintln!("  not run: {error:#}");
                json!({ "not_run": format!("{error:#}") })
            });
            peers.insert(peer.name.to_owned(), result);
        }
        while rounds.len() < options.rounds {
            rounds.push(example(root, measure, &options.assets, &["--speed"])?);
        }
        measured.insert(measure.name.to_owned(), Value::Array(rounds));
        let table = table(&measured, &peers).0;
        write_atomic(&options.out.join("data.md"), table.as_bytes())?;
        let raw = json!({ "date": time::today(), "measured": measured, "peers": peers });
        write_atomic(&options.out.join("data.json"), format!("{raw:#}\n").as_bytes())?;
    }
    let (table, all_hold) = table(&measured, &peers);
    println!("{table}");
    Ok(all_hold)
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root);
    command
}

fn build(root: &Path, measure: &Measure) -> Result<()> {
    eprintln!("{}: building", measure.name);
    let args = ["build", "--quiet", "--release", "--locked", "-p", measure.package, "--example", measure.example];
    ensure!(cargo(root).args(args).status()?.success(), "{} does not build", measure.example);
    Ok(())
}

fn example(root: &Path, measure: &Measure, assets: &Path, args: &[&str]) -> Result<Value> {
    eprintln!("{}: measuring", measure.name);
    let program = root.join("target/release/examples").join(measure.example);
    let output = Command::new(program).arg(assets).args(args).stderr(Stdio::inherit()).output()?;
    ensure!(output.status.success(), "{}: {}", measure.example, output.status);
    serde_json::from_slice(&output.stdout).with_context(|| format!("{} prints one JSON object", measure.example))
}

/// Runs the peer's script in an environment of its own.
fn run_peer(root: &Path, peer: &PeerClaim, measure: &Measure, options: &Options) -> Result<Value> {
    let environment = options.out.join("peers-data").join(peer.name);
    let requirements = root.join("bench/peers").join(peer.requirements);
    let python = peers::make(&environment, &requirements).map_err(anyhow::Error::msg)?;
    let work = options.out.join("work-data").join(peer.name);
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    create_dir_all(&work)?;
    let file = work.join("texts.jsonl");
    let mut ours = Vec::new();
    if let Some(flag) = peer.writes {
        let path = file.display().to_string();
        let args = if flag.ends_with('=') { vec![format!("{flag}{path}")] } else { vec![flag.to_owned(), path] };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let written = example(root, measure, &options.assets, &args)?;
        if let Ours::Written(pointer) = peer.ours {
            ours.extend(number(&written, pointer));
        }
    }
    if let Some(rows) = peer.rows {
        keep_rows(&file, rows)?;
    }
    let places = |text: &str| {
        text.replace("{assets}", &options.assets.display().to_string())
            .replace("{file}", &file.display().to_string())
            .replace("{work}", &work.join("peer").display().to_string())
    };
    let script = root.join("bench/peers").join(peer.script);
    let output = Command::new(python).arg(script).args(peer.args.iter().map(|arg| places(arg))).output()?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}", output.status, said.lines().last().unwrap_or_default());
    }
    let said = String::from_utf8_lossy(&output.stdout);
    let line = said.lines().rev().find(|line| line.starts_with('{')).unwrap_or(&said);
    let mut result: Value = serde_json::from_str(line)
        .or_else(|_| serde_json::from_str(&said))
        .context("the peer prints one JSON object")?;
    for _ in 0..options.rounds {
        match peer.ours {
            Ours::Speed(_) => break,
            Ours::Given(flag, pointer) => {
                let given = example(root, measure, &options.assets, &[flag, &file.display().to_string()])?;
                ours.extend(number(&given, pointer));
            }
            Ours::Written(_) if ours.len() >= options.rounds => break,
            Ours::Written(pointer) => {
                let flag = format!("{}{}", peer.writes.unwrap_or_default(), work.join("again.jsonl").display());
                ours.extend(number(&example(root, measure, &options.assets, &[&flag])?, pointer));
            }
        }
    }
    result["attune"] = json!(ours);
    Ok(result)
}

/// Leaves the first rows of a file.
fn keep_rows(file: &Path, rows: usize) -> Result<()> {
    let text = fs::read_to_string(file)?;
    let kept: usize = text.split_inclusive('\n').take(rows).map(str::len).sum();
    Ok(write_atomic(file, &text.as_bytes()[..kept])?)
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let last = values.len().checked_sub(1)?;
    Some((values[values.len() / 2] + values[last - values.len() / 2]) / 2.0)
}

/// Median over the rounds of a number of an example's output.
fn value_of(measured: &Map<String, Value>, claim: &Claim) -> Option<f64> {
    let rounds = measured.get(claim.measure)?.as_array()?;
    median(rounds.iter().filter_map(|round| number(round, claim.pointer)).collect())
}

/// The table, and whether every claim holds.
fn table(measured: &Map<String, Value>, peers: &Map<String, Value>) -> (String, bool) {
    let mut text = format!("Measured on {}.\n\n| what | measured | wanted | |\n|---|---:|---:|---|\n", time::today());
    let mut all_hold = true;
    for claim in CLAIMS.iter().filter(|claim| measured.contains_key(claim.measure)) {
        let value = value_of(measured, claim);
        let holds = value.is_some_and(|value| claim.wanted.holds(value));
        all_hold &= holds;
        let shown = value.map_or("missing".to_owned(), |value| claim.unit.show(value));
        let wanted = claim.wanted.show(claim.unit);
        let _ = writeln!(text, "| {} | {shown} | {wanted} | {} |", claim.what, if holds { "" } else { "**not met**" });
    }
    if peers.is_empty() {
        return (text, all_hold);
    }
    text.push_str("\n| speed | Attune | peer | ratio | wanted | |\n|---|---:|---:|---:|---:|---|\n");
    for peer in PEERS.iter().filter(|peer| peers.contains_key(peer.name)) {
        let rounds = measured.get(peer.measure).and_then(Value::as_array);
        let ours = match peer.ours {
            Ours::Speed(pointer) => {
                rounds.and_then(|rounds| median(rounds.iter().filter_map(|round| number(round, pointer)).collect()))
            }
            Ours::Written(_) | Ours::Given(..) => {
                let list = peers[peer.name]["attune"].as_array();
                list.and_then(|list| median(list.iter().filter_map(Value::as_f64).collect()))
            }
        };
        let theirs = number(&peers[peer.name], peer.theirs);
        let row = match (ours, theirs) {
            (Some(ours), Some(theirs)) if theirs > 0.0 => {
                let ratio = ours / theirs;
                let holds = ratio >= peer.least_ratio;
                all_hold &= holds;
                let mark = if holds { "" } else { "**not met**" };
                format!(
                    "{ours:.1} {0} | {theirs:.3} {0} | {ratio:.0}x | at least {1}x | {mark}",
                    peer.unit, peer.least_ratio
                )
            }
            (ours, _) => {
                let reason = peers[peer.name]["not_run"].as_str().unwrap_or("no number").replace('|', "/");
                format!(
                    "{} | not run: {reason} | | at least {}x | ",
                    ours.map_or("-".into(), |ours| format!("{ours:.1} {}", peer.unit)),
                    peer.least_ratio
                )
            }
        };
        let _ = writeln!(text, "| {} | {row} |", peer.what);
    }
    (text, all_hold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_claim_that_does_not_hold_is_marked() {
        let mut measured = Map::new();
        let round = |recall: f64| json!({ "recall": recall, "removed_below_threshold": 0, "speed": { "megabytes_per_second": 30 } });
        measured.insert("near-duplicates".into(), json!([round(1.0), round(0.5), round(1.0)]));
        let mut peers = Map::new();
        peers.insert("datatrove-minhash".into(), json!({ "rows_per_second": 500.0, "attune": [30_000.0] }));
        let (text, holds) = table(&measured, &peers);
        assert!(holds && text.contains("60x"), "{text}");
        measured.insert("near-duplicates".into(), json!([round(0.5)]));
        let (text, holds) = table(&measured, &peers);
        assert!(!holds && text.contains("**not met**"), "{text}");
    }

    #[test]
    fn a_peer_that_did_not_run_says_why() {
        let mut peers = Map::new();
        peers.insert("datatrove-minhash".into(), json!({ "not_run": "there is no Python 3" }));
        assert!(table(&Map::new(), &peers).0.contains("not run: there is no Python 3"));
    }

    #[test]
    fn every_claim_belongs_to_a_measure() {
        let known = |name: &str| MEASURES.iter().any(|measure| measure.name == name);
        assert!(CLAIMS.iter().all(|claim| known(claim.measure)) && PEERS.iter().all(|peer| known(peer.measure)));
    }
}
