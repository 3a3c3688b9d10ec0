//! The whole recipe of the tiny base: corpus, tokenizer, training, model card.
//!
//! Everything is a function of the sources of this repository, so that whoever builds it gets the same bytes: the corpus
//! comes from seeds, the tokenizer depends on nothing but texts, and the training runs in `f32` on one CPU path
//! (`FT_CPU=avx2`), which gives the same bits for any number of threads.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use attune_compute::rng;
use attune_formats::files;
use serde_json::{Value, json};

use super::{HELD_OUT_ROWS, ROWS, write_rows};

/// The configuration of the training, relative to the work folder.
const RECIPE: &str = include_str!("recipe.yaml");

/// Tokens of the vocabulary.
const VOCABULARY: &str = "2048";

/// The CPU path that decides the last bits.
const CPU_PATH: &str = "avx2";

/// Files of the model, which `ft quickstart` brings along.
const MODEL_FILES: [&str; 5] =
    ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"];

/// Rows of [`write_echoes`], the stories that their words are taken from, and how many words a row says twice.
const ECHOES: u64 = 40_000;
const WORD_ROWS: usize = 3000;
const ECHO_WORDS: (u64, u64) = (4, 40);
const ECHO_SEED: u64 = 9_301;

/// Name and BLAKE3 of each of them.
const HASHES: &str = "HASHES";

/// What the model card shows, beside numbers.
const PROMPTS: [&str; 6] = [
    "Tell me a short story about a fox.",
    "Leo has a red kite. Mina has two green apples. The kite is in the tree. Who has the apples?",
    "Leo has a red kite. Mina has two green apples. The kite is in the tree. Where is the kite?",
    "Nora lost her silver ring on Monday. It was under the bed. When did Nora lose her ring?",
    "What is the opposite of hot?",
    "How much is three plus four?",
];

/// Builds the model in `target/tiny-base` and puts it into `models/tiny`; with `check` it only compares. A build that was
/// interrupted goes on where it was.
pub(super) fn run(root: &Path, check: bool) -> Result<bool> {
    let work = root.join("target/tiny-base");
    let corpus = work.join("corpus");
    files::create_dir_all(&corpus)?;
    let ft = build_ft(root)?;
    if !work.join("tokenizer").is_dir() {
        write_rows(&corpus, ROWS, HELD_OUT_ROWS)?;
        write_echoes(&corpus)?;
        let inputs = ["stories", "passages", "talk"].map(|kind| format!("corpus/{kind}.jsonl"));
        let mut words = vec!["tokenizer", "train", "--vocabulary", VOCABULARY, "--out", "tokenizer"];
        words.extend(inputs.iter().map(String::as_str));
        call(&ft, &work, &words)?;
    }
    files::write_atomic(&work.join("ft.yaml"), RECIPE.as_bytes())?;
    let run = work.join("run");
    if !run.join("model").is_dir() {
        let words: &[&str] = if run.is_dir() { &["resume", "run"] } else { &["train", "ft.yaml", "--out", "run"] };
        call(&ft, &work, words)?;
    }
    let built = hashes(&run.join("model"))?;
    let home = root.join("models/tiny");
    if check {
        let kept = std::fs::read_to_string(home.join(HASHES)).context("models/tiny/HASHES")?;
        let is_same = kept == built && hashes(&home)? == built;
        println!("{}", if is_same { "models/tiny is what its recipe makes" } else { "models/tiny differs:" });
        if !is_same {
            println!("kept\n{kept}\nbuilt\n{built}");
        }
        return Ok(is_same);
    }
    files::create_dir_all(&home)?;
    for name in MODEL_FILES {
        files::write_atomic(&home.join(name), &std::fs::read(run.join("model").join(name))?)?;
    }
    files::write_atomic(&home.join(HASHES), built.as_bytes())?;
    files::write_atomic(&home.join("README.md"), card(&ft, &work, &home)?.as_bytes())?;
    println!("{}\n{built}", home.display());
    Ok(true)
}

/// Rows of words in no order, said twice: a model that has to copy them learns to look back, which answers about a text
/// need and which stories alone teach slowly.
fn write_echoes(corpus: &Path) -> Result<()> {
    let stories = std::fs::read_to_string(corpus.join("stories.jsonl"))?;
    let mut words: BTreeSet<&str> = BTreeSet::new();
    for line in stories.lines().take(WORD_ROWS) {
        let all = line.split(|c: char| !c.is_ascii_alphabetic());
        words.extend(all.filter(|word| (2..=12).contains(&word.len())));
    }
    let words: Vec<&str> = words.into_iter().collect();
    let mut rows = String::new();
    for row in 0..ECHOES {
        let key = rng::key(&[ECHO_SEED, row]);
        let count = ECHO_WORDS.0 + rng::below(rng::combine(key, u64::MAX), ECHO_WORDS.1 - ECHO_WORDS.0);
        let word = |index: u64| words[rng::below(rng::combine(key, index), words.len() as u64) as usize];
        let said: Vec<&str> = (0..count).map(word).collect();
        let said = said.join(" ");
        let _ = writeln!(rows, "{}", json!({ "text": format!("{said}. {said}.") }));
    }
    Ok(files::write_atomic(&corpus.join("echoes.jsonl"), rows.as_bytes())?)
}

fn build_ft(root: &Path) -> Result<PathBuf> {
    let status = crate::cargo(&["build", "--release", "--locked", "--bin", "ft"]).status()?;
    if !status.success() {
        bail!("ft does not build");
    }
    Ok(root.join("target/release").join(format!("ft{}", std::env::consts::EXE_SUFFIX)))
}

/// Runs `ft` in the work folder.
fn call(ft: &Path, work: &Path, words: &[&str]) -> Result<()> {
    println!("$ ft {}", words.join(" "));
    let status = Command::new(ft).args(words).env("FT_CPU", CPU_PATH).current_dir(work).status()?;
    if !status.success() {
        bail!("ft {} failed", words.join(" "));
    }
    Ok(())
}

/// What `ft` prints as a result.
fn ask(ft: &Path, work: &Path, words: &[&str]) -> Result<String> {
    let output = Command::new(ft).args(words).env("FT_CPU", CPU_PATH).current_dir(work).output()?;
    if !output.status.success() {
        bail!("ft {} failed: {}", words.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

fn hashes(model: &Path) -> Result<String> {
    let mut text = String::new();
    for name in MODEL_FILES {
        let _ = writeln!(text, "{}  {name}", files::hash_file(&model.join(name))?);
    }
    Ok(text)
}

/// The model card: what it is, and what was measured.
fn card(ft: &Path, work: &Path, home: &Path) -> Result<String> {
    let model = home.display().to_string();
    let metrics = std::fs::read_to_string(work.join("run/metrics.jsonl"))?;
    let lines: Vec<Value> = metrics.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let tokens: u64 = lines.iter().filter_map(|line| line["tokens"].as_u64()).sum();
    let losses: Vec<f64> = lines.iter().filter_map(|line| line["validation_loss"].as_f64()).collect();
    let lowest = losses.iter().copied().fold(f64::INFINITY, f64::min);
    let answered = |file: &str| -> Result<[f64; 2]> {
        let data = format!("corpus/{file}-heldout.jsonl");
        let limit = HELD_OUT_ROWS.to_string();
        let text = ask(ft, work, &["evaluate", "--model", &model, "--data", &data, "--limit", &limit, "--json"])?;
        let result: Value = serde_json::from_str(&text)?;
        let scores = &result["models"][0];
        Ok([scores["exact"].as_f64().unwrap_or(0.0), scores["word_f1"].as_f64().unwrap_or(0.0)])
    };
    let (passages, talk) = (answered("passages")?, answered("talk")?);
    let mut card = format!(
        "# The tiny base\n\n\
         A base model of two million weights that writes simple English and answers simple questions about a text that it is\n\
         given. `ft quickstart` tunes it, tests use it; it is too small for anything else, and knows nothing of the world.\n\n\
         | | |\n|---|---|\n\
         | architecture | llama, {} |\n\
         | tokenizer | byte-level BPE, {VOCABULARY} tokens, digits one by one; ChatML |\n\
         | learnt from | {} million tokens of stories, passages with questions, and talk, all generated by this repository \
         (`cargo xtask tiny-base corpus`) |\n\
         | perplexity | {:.3} a token on {} held-out texts |\n\
         | questions about held-out passages | {:.1} % of the answers equal the expected one, F1 of the words {:.3} |\n\
         | held-out talk | {:.1} %, {:.3}; many of its questions have several right answers |\n\
         | licence | that of this repository |\n\n\
         `cargo xtask tiny-base` makes it anew, `cargo xtask tiny-base --check` compares; [HASHES](HASHES) has the BLAKE3 of\n\
         each file. Trained by `ft train` with `xtask/src/tiny_base/recipe.yaml`, on the path `FT_CPU={CPU_PATH}`.\n\n\
         ## Samples\n\nThe most probable tokens, nothing chosen by hand.\n",
        SIZE,
        tokens / 1_000_000,
        lowest.exp(),
        3 * HELD_OUT_ROWS,
        100.0 * passages[0],
        passages[1],
        100.0 * talk[0],
        talk[1],
    );
    for prompt in PROMPTS {
        let answer = ask(ft, work, &["generate", "--model", &model, "--prompt", prompt, "--max-tokens", "200"])?;
        let _ = write!(card, "\n> {prompt}\n\n{answer}\n");
    }
    Ok(card)
}

/// As the recipe has it.
const SIZE: &str = "4 layers of 192 channels, 6 heads (2 for keys and values), feed-forward 512, 512 positions, bf16";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_model_is_the_one_whose_hashes_are_committed() {
        let home = crate::root().join("models/tiny");
        assert_eq!(std::fs::read_to_string(home.join(HASHES)).unwrap(), hashes(&home).unwrap());
    }

    #[test]
    fn the_card_says_the_size_of_the_recipe() {
        for (key, text) in [
            ("layers: 4", "4 layers"),
            ("hidden: 192", "192 channels"),
            ("heads: 6", "6 heads"),
            ("kv_heads: 2", "2 for keys"),
            ("feed_forward: 512", "feed-forward 512"),
            ("max_positions: 512", "512 positions"),
            ("dtype: bf16", "bf16"),
        ] {
            assert!(RECIPE.contains(key) && SIZE.contains(text), "{key}");
        }
    }
}
