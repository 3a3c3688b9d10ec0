//! `cargo xtask bench clean`: how much memory and time `ft data clean` takes for a file larger than both.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use attune_compute::rng;
use attune_formats::files::{create_dir_all, remove_dir_all, write_atomic_with};

/// One row in so many has an e-mail address in it, and one in so many repeats an earlier one.
const WITH_ADDRESS: u64 = 50;
const REPEATED: u64 = 97;
const SOURCES: u64 = 7;
/// Words of an answer.
const ANSWER_WORDS: u64 = 480;

const WORDS: [&str; 64] = [
    "river", "stone", "market", "engine", "letter", "garden", "window", "signal", "harbour", "method", "copper",
    "winter", "teacher", "village", "number", "bridge", "pressure", "summer", "island", "doctor", "forest", "paper",
    "circuit", "valley", "printer", "school", "weather", "station", "library", "kitchen", "mountain", "colour", "the",
    "a", "of", "in", "to", "and", "with", "from", "is", "was", "has", "can", "must", "opens", "carries", "measures",
    "follows", "explains", "repairs", "crosses", "collects", "slowly", "often", "early", "before", "after", "every",
    "second", "small", "long", "quiet", "bright",
];

/// `--gigabytes N` (5), `--keep` leaves the input where it is.
pub(super) fn run(root: &Path, args: &[&str], ft: &Path) -> Result<bool> {
    let mut gigabytes = 5.0_f64;
    let mut keep = false;
    let mut args = args.iter();
    while let Some(&name) = args.next() {
        match name {
            "--gigabytes" => {
                gigabytes = args.next().and_then(|text| text.parse().ok()).context("--gigabytes needs a number")?
            }
            "--keep" => keep = true,
            _ => bail!("{name}: no such option"),
        }
    }
    let folder = root.join("target/bench/clean");
    create_dir_all(&folder)?;
    let input = folder.join("chats.jsonl");
    let out = folder.join("out");
    remove_dir_all(&out)?;
    let (rows, bytes) = generate(&input, (gigabytes * 1e9) as u64)?;
    println!("{rows} rows, {:.2} GB", bytes as f64 / 1e9);
    let begin = Instant::now();
    let mut command = Command::new(ft);
    command.args(["data", "clean"]).arg(&input).arg("--out").arg(&out).args(["--set", "clean.max_source_loss=1"]);
    let mut child = command.stdout(io::stderr()).spawn().with_context(|| format!("{} does not start", ft.display()))?;
    let (peak_bytes, succeeded) = watch(&mut child)?;
    ensure!(succeeded, "ft data clean failed");
    let secs = begin.elapsed().as_secs_f64();
    match peak_bytes {
        Some(peak) => println!("peak memory {:.2} GB", peak as f64 / 1e9),
        None => println!("SKIPPED: peak memory: only Linux tells it of another process"),
    }
    println!("{secs:.0} s, {:.1} MB/s, with every step of the defaults", bytes as f64 / 1e6 / secs);
    remove_dir_all(&out)?;
    if !keep {
        fs::remove_file(&input).with_context(|| format!("cannot remove {}", input.display()))?;
    }
    Ok(true)
}

/// Waits for the end and reads the high-water mark of resident memory on the way.
fn watch(child: &mut Child) -> Result<(Option<u64>, bool)> {
    let status = format!("/proc/{}/status", child.id());
    let mut peak = None;
    loop {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib: Option<u64> = line.and_then(|rest| rest.trim().strip_suffix("kB")?.trim().parse().ok());
        peak = peak.max(kib.map(|kib| kib * 1024));
        if let Some(exit) = child.try_wait()? {
            return Ok((peak, exit.success()));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Writes chats until there are so many bytes; a pure function of their number.
fn generate(path: &Path, wanted_bytes: u64) -> Result<(u64, u64)> {
    let (mut rows, mut bytes) = (0, 0);
    write_atomic_with(path, Some(wanted_bytes), |out: &mut dyn Write| {
        while bytes < wanted_bytes {
            let line = row(if rows % REPEATED == REPEATED - 1 { rows / 2 } else { rows });
            out.write_all(line.as_bytes())?;
            bytes += line.len() as u64;
            rows += 1;
        }
        Ok(())
    })?;
    Ok((rows, bytes))
}

fn row(number: u64) -> String {
    let word = |at: u64| WORDS[(rng::mix(rng::combine(number, at)) % WORDS.len() as u64) as usize];
    let words = |from: u64, count: u64| (from..from + count).map(word).collect::<Vec<_>>().join(" ");
    let mut answer: Vec<String> = Vec::new();
    let mut at = 100;
    while at < ANSWER_WORDS {
        let length = 6 + rng::mix(rng::combine(number, at)) % 12;
        answer.push(format!("The {} {}.", words(at, length), number % 10_000 + at));
        at += length;
    }
    if number.is_multiple_of(WITH_ADDRESS) {
        answer.push(format!("Write to {}.{number}@{}-works.org for more.", word(1), word(2)));
    }
    let question = format!("What does the {} have to do with the {} {}?", words(3, 3), words(6, 4), number);
    let messages = serde_json::json!([
        { "role": "user", "content": question },
        { "role": "assistant", "content": answer.join(" ") },
    ]);
    let source = format!("s{}", number % SOURCES);
    serde_json::json!({ "id": number, "source": source, "messages": messages }).to_string() + "\n"
}
