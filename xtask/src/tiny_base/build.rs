//! Makes the tiny base, or shows that it can be made again: corpus, tokenizer, and one run of `ft train` after the other.
//!
//! Every step is a command that anyone could type, and is left out when its result is there, so that an interrupted build
//! goes on; a finished check leaves nothing, and another recipe begins anew. The result is equal to the bit on every processor with AVX2, however many threads it has: `ft` adds up in the
//! same order everywhere, and the corpus is made by integers alone. Logarithm and cosine are the system's: those of glibc.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use attune_compute::cpu::{FT_CPU, Isa};
use attune_formats::files;
use serde_json::Value;

use super::corpus::{self, Book, Kind, Part};
use super::{HELD_OUT_ROWS, ROWS, SEED, write_rows};

/// The runs, each of which begins with the model of the one before.
const STAGES: [(&str, &str); 2] = [("copying", include_str!("copying.yaml")), ("texts", include_str!("texts.yaml"))];
/// What the tokenizer learns from.
const TOKENIZER_TEXTS: [&str; 3] = ["corpus/stories.jsonl", "corpus/passages.jsonl", "corpus/talk.jsonl"];
/// Tokens of the vocabulary.
const VOCABULARY: &str = "2048";
/// The files of the model, besides its card.
const FILES: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];
/// The list of their hashes.
const HASHES: &str = "HASHES";
/// The paths whose sums are the same to the bit; those with products in bf16 differ.
const CPU_PATHS: [Isa; 2] = [Isa::Avx512, Isa::Avx2];
/// Rows that the card's numbers are measured on.
const MEASURED_ROWS: &str = "300";
/// The prompts of the card's samples: none of these texts is in the corpus.
const PROMPTS: [&str; 6] = [
    "Write a short story about Mia and a boat.",
    "Tell me a story about a fox.",
    "Mia has a red kite. Tom has a green boat. What does Tom have?",
    "Lena put her drum behind the barn. Then she went home. Where is the drum? Answer in a few words.",
    "On Friday, Omar met Ella at the lake. They fed the ducks. On which day did Omar meet Ella?",
    "Nora lost a blue mug on Monday. It was under the table. Where was the mug?",
];

/// Where the model is kept.
pub(crate) fn home(root: &Path) -> PathBuf {
    root.join("models/tiny")
}

/// Builds the model; with `check` it is compared with the one that is kept, otherwise it takes its place.
pub(crate) fn build(root: &Path, check: bool) -> Result<bool> {
    let work = root.join(if check { "target/tiny-base-check" } else { "target/tiny-base" });
    take_over(&work)?;
    let ft = Ft::build(root, &work)?;
    make(&ft)?;
    let model = work.join("texts/model");
    let hashes = hashes(&model)?;
    if !check {
        let home = home(root);
        files::create_dir_all(&home)?;
        for name in FILES {
            files::write_atomic(&home.join(name), &read(&model.join(name))?)?;
        }
        files::write_atomic(&home.join(HASHES), hashes.as_bytes())?;
        files::write_atomic(&home.join("README.md"), card(&ft)?.as_bytes())?;
        println!("{}: {hashes}", home.display());
        return Ok(true);
    }
    let kept = String::from_utf8(read(&home(root).join(HASHES))?)?;
    println!("{hashes}");
    let same = hashes == kept;
    // The next check is to begin with nothing.
    files::remove_dir_all(&work)?;
    println!("{}", if same { "the same as models/tiny, to the bit" } else { "NOT the same as models/tiny" });
    Ok(same)
}

/// Makes the work folder. What an earlier build left there stays only if it was made from the same recipe: else it would go
/// for the result of this one.
fn take_over(work: &Path) -> Result<()> {
    let (stamp, recipe) = (work.join("recipe"), recipe()?);
    if std::fs::read(&stamp).ok().as_deref() != Some(recipe.as_slice()) {
        files::remove_dir_all(work)?;
        files::create_dir_all(work)?;
        files::write_atomic(&stamp, &recipe)?;
    }
    Ok(())
}

/// All that decides the result, but for `ft`: the first rows of every kind, how many there are, and the configurations.
fn recipe() -> Result<Vec<u8>> {
    let mut recipe = format!("{ROWS} {HELD_OUT_ROWS} {VOCABULARY} {TOKENIZER_TEXTS:?} {STAGES:?}\n").into_bytes();
    let book = Book::open()?;
    for kind in Kind::ALL {
        corpus::write(&book, kind, Part::Train, SEED, 300, &mut recipe)?;
    }
    Ok(recipe)
}

/// The program, started in the work folder.
struct Ft {
    program: PathBuf,
    work: PathBuf,
    cpu: Isa,
}

impl Ft {
    fn build(root: &Path, work: &Path) -> Result<Self> {
        // A copy: the build of another state must not change it under way.
        let built = crate::bench::build(root)?;
        let program = work.join(format!("ft{}", std::env::consts::EXE_SUFFIX));
        std::fs::copy(&built, &program).with_context(|| built.display().to_string())?;
        let cpu = CPU_PATHS.into_iter().find(|isa| isa.is_available());
        let cpu = cpu.context("the hashes hold for processors with AVX2, which this one lacks")?;
        Ok(Self { program, work: work.to_owned(), cpu })
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.work).env(FT_CPU, self.cpu.name()).args(args);
        command
    }

    fn run(&self, args: &[&str]) -> Result<()> {
        println!("$ ft {}", args.join(" "));
        let status = self.command(args).status().context("ft does not start")?;
        ensure!(status.success(), "ft {}: {status}", args.join(" "));
        Ok(())
    }

    fn json(&self, args: &[&str]) -> Result<Value> {
        println!("$ ft {}", args.join(" "));
        let output = self.command(args).stderr(std::process::Stdio::inherit()).output()?;
        ensure!(output.status.success(), "ft {}: {}", args.join(" "), output.status);
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    fn text(&self, args: &[&str]) -> Result<String> {
        let output = self.command(args).output()?;
        ensure!(output.status.success(), "ft {}: {}", args.join(" "), String::from_utf8_lossy(&output.stderr));
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }
}

/// Corpus, tokenizer and runs, as far as they are not there yet.
fn make(ft: &Ft) -> Result<()> {
    let work = &ft.work;
    // The last thing that is written shows that all of it is there.
    if !work.join("corpus/done").exists() {
        write_rows(&work.join("corpus"), ROWS, HELD_OUT_ROWS)?;
        files::write_atomic(&work.join("corpus/done"), b"")?;
    }
    if !work.join("tokenizer").exists() {
        let args = [&["tokenizer", "train", "--vocabulary", VOCABULARY, "--out", "tokenizer"], &TOKENIZER_TEXTS[..]];
        ft.run(&args.concat())?;
    }
    for (name, config) in STAGES {
        let (run, file) = (work.join(name), format!("{name}.yaml"));
        if run.join("model").is_dir() {
            println!("{name}: is finished");
        } else if run.exists() {
            ft.run(&["resume", name])?;
        } else {
            files::write_atomic(&work.join(&file), config.as_bytes())?;
            ft.run(&["train", &file, "--out", name])?;
        }
    }
    Ok(())
}

/// A line for each file: BLAKE3 and name.
fn hashes(model: &Path) -> Result<String> {
    FILES.iter().map(|name| Ok(format!("{}  {name}\n", files::hash_file(&model.join(name))?))).collect()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| path.display().to_string())
}

/// The model's card: what it is, what was measured, what it says.
fn card(ft: &Ft) -> Result<String> {
    let mut rows = String::new();
    for (kind, what) in [
        ("stories", "stories, every token"),
        ("passages", "questions about a passage, the answer"),
        ("talk", "short talk, the answer"),
    ] {
        let data = format!("corpus/{kind}-heldout.jsonl");
        let args = ["evaluate", "--model", "texts/model", "--data", &data, "--limit", MEASURED_ROWS, "--json"];
        let scores = ft.json(&args)?["models"][0].take();
        let number = |key: &str| scores[key].as_f64();
        let percent = |share: Option<f64>| share.map_or("-".to_owned(), |share| format!("{:.1} %", 100.0 * share));
        let _ = writeln!(
            rows,
            "| {what} | {} | {:.3} | {} | {} |",
            scores["tokens"],
            number("perplexity").context("ft evaluate gave no perplexity")?,
            percent(number("exact")),
            number("word_f1").map_or("-".into(), |f1| format!("{f1:.3}")),
        );
    }
    let mut samples = String::new();
    for prompt in PROMPTS {
        let args =
            ["generate", "--model", "texts/model", "--prompt", prompt, "--temperature", "0", "--max-tokens", "160"];
        let answer = ft.text(&args)?;
        let _ = writeln!(samples, "**{prompt}**\n\n> {}\n", answer.replace('\n', "\n> "));
    }
    Ok(include_str!("card.md")
        .replace("{limit}", MEASURED_ROWS)
        .replace("{rows}", rows.trim_end())
        .replace("{samples}", samples.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_model_that_is_kept_has_its_hashes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let kept = String::from_utf8(read(&home(&root).join(HASHES)).unwrap()).unwrap();
        // A checkout may have other line ends in the list.
        assert_eq!(hashes(&home(&root)).unwrap(), kept.replace("\r\n", "\n"));
    }

    #[test]
    fn what_another_recipe_left_is_thrown_away() {
        let scratch = tempfile::tempdir().unwrap();
        let work = scratch.path().join("work");
        take_over(&work).unwrap();
        let model = work.join("texts");
        files::create_dir_all(&model).unwrap();
        take_over(&work).unwrap();
        assert!(model.is_dir(), "an interrupted build goes on");
        files::write_atomic(&work.join("recipe"), b"another").unwrap();
        take_over(&work).unwrap();
        assert!(!model.exists());
    }

    #[test]
    fn the_card_has_every_number_and_the_prompts_of_today() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let card = String::from_utf8(read(&home(&root).join("README.md")).unwrap()).unwrap();
        assert!(PROMPTS.iter().all(|prompt| card.contains(&format!("**{prompt}**"))), "make the card again");
        assert!(!card.contains('{') && card.contains(&format!("The first {MEASURED_ROWS} rows")), "{card}");
    }
}
