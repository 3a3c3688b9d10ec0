//! What is trained: which rows of how many tokens make a step, and their files.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use attune_compute::rng;
use attune_formats::files::{create_dir_all, write_atomic};
use serde_json::json;

use super::model::{word, word_count};
use super::shapes::Shape;

/// Decides the words.
const SEED: u64 = 2;

/// The first 64 rows of GSM8K's training set with the tokenizer and the chat template of Llama 3.2: tokens of the
/// template and the question, which are not trained, and tokens of the answer with its end of turn, which are.
#[rustfmt::skip]
pub(crate) const GSM8K_LENGTHS: [(usize, usize); 64] = [
    (73, 49), (64, 55), (93, 81), (86, 104), (61, 66), (98, 132), (91, 73), (141, 112),
    (137, 102), (100, 297), (109, 132), (131, 126), (74, 72), (102, 75), (62, 66), (100, 151),
    (87, 97), (112, 208), (99, 133), (95, 90), (106, 72), (85, 117), (94, 81), (90, 130),
    (112, 49), (124, 130), (89, 82), (117, 156), (87, 68), (86, 173), (88, 125), (97, 107),
    (149, 83), (101, 117), (76, 58), (82, 67), (80, 70), (114, 164), (105, 51), (105, 98),
    (75, 157), (102, 78), (97, 124), (89, 106), (98, 95), (117, 111), (77, 143), (87, 83),
    (83, 37), (90, 38), (106, 101), (96, 141), (84, 69), (94, 72), (102, 113), (67, 74),
    (95, 109), (94, 152), (108, 158), (120, 91), (92, 136), (133, 125), (71, 94), (119, 85),
];

/// A group of measurements, as the command line names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// One row of 2048 tokens, all trained.
    Full2048,
    /// Four rows of 512 tokens, all trained.
    Four512,
    /// Eight rows of a real data set, prompts not trained.
    Gsm8k,
    /// One row of 512 to 8192 tokens, Attune alone.
    Curve,
    /// From the start of the process to the first optimizer step, with the model's files not in memory.
    Startup,
    /// Sums in f32 on the older instruction sets, against the peer in f32.
    F32,
}

impl Work {
    pub(crate) const ALL: [(&'static str, Self); 6] = [
        ("full2048", Self::Full2048),
        ("four512", Self::Four512),
        ("gsm8k", Self::Gsm8k),
        ("curve", Self::Curve),
        ("startup", Self::Startup),
        ("f32", Self::F32),
    ];

    pub(crate) fn named(name: &str) -> Result<Self> {
        let names = Self::ALL.map(|(name, _)| name).join(", ");
        let found = Self::ALL.into_iter().find(|(known, _)| *known == name);
        found.map(|(_, work)| work).ok_or_else(|| anyhow::anyhow!("no work is called {name:?}; there are {names}"))
    }
}

/// One line of the table for each peer that it is compared with.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Case {
    pub(crate) work: Work,
    /// For people.
    pub(crate) label: String,
    /// Rows of a step.
    pub(crate) batch_size: usize,
    /// `(prompt, answer)` tokens of every row; the answer's end of text included.
    pub(crate) lengths: Vec<(usize, usize)>,
    /// Whether prompts are trained too.
    pub(crate) all_trained: bool,
    /// `FT_CPU` of Attune's process.
    pub(crate) cpu: Option<&'static str>,
    /// Modes of the peer.
    pub(crate) peers: Vec<String>,
    /// Whether the model's files are dropped from memory before each process.
    pub(crate) cold: bool,
}

/// How much is to be done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Extent {
    /// Timed steps of a process; one more runs before them.
    pub(crate) steps: usize,
    /// An eighth of the tokens, in fewer cases.
    pub(crate) quick: bool,
    /// Modes of the peer in bf16.
    pub(crate) peers: Vec<String>,
}

/// The cases of a group.
pub(crate) fn cases(work: Work, extent: &Extent) -> Vec<Case> {
    let scale = if extent.quick { 16 } else { 1 };
    let whole = |rows: usize, tokens: usize| {
        let tokens = tokens / scale;
        let label =
            if rows == 1 { format!("1 row of {tokens} tokens") } else { format!("{rows} rows of {tokens} tokens") };
        Case {
            work,
            label: label + ", all trained",
            batch_size: rows,
            lengths: vec![(1, tokens - 1); rows * (extent.steps + 1)],
            all_trained: true,
            cpu: None,
            peers: extent.peers.clone(),
            cold: false,
        }
    };
    match work {
        Work::Full2048 => vec![whole(1, 2048)],
        Work::Four512 => vec![whole(4, 512)],
        Work::Gsm8k => {
            let rows = 8 * (extent.steps + 1);
            let lengths = GSM8K_LENGTHS.iter().map(|&(prompt, answer)| (prompt / scale + 1, answer / scale + 1));
            let lengths: Vec<_> = if extent.quick { lengths.collect() } else { GSM8K_LENGTHS.to_vec() };
            vec![Case {
                label: "8 rows of GSM8K, answers trained".into(),
                batch_size: 8,
                lengths: lengths.into_iter().cycle().take(rows).collect(),
                all_trained: false,
                ..whole(8, 512)
            }]
        }
        Work::Curve => [512, 1024, 2048, 4096, 8192]
            .into_iter()
            .map(|tokens| Case { peers: Vec::new(), ..whole(1, tokens) })
            .collect(),
        Work::Startup => vec![Case {
            label: "from the disk to the first step".into(),
            lengths: vec![(1, 63)],
            cold: true,
            ..whole(1, 2048)
        }],
        Work::F32 => ["avx512", "avx2"]
            .into_iter()
            .map(|cpu| {
                let case = whole(1, 1024);
                Case { label: format!("f32, {cpu}: {}", case.label), cpu: Some(cpu), peers: vec!["f32".into()], ..case }
            })
            .collect(),
    }
}

impl Case {
    /// Tokens of the longest row.
    pub(crate) fn longest(&self) -> usize {
        self.lengths.iter().map(|(prompt, answer)| prompt + answer).max().unwrap_or(0)
    }

    /// Steps, the first one included.
    pub(crate) fn steps(&self) -> usize {
        self.lengths.len() / self.batch_size
    }

    /// `(tokens, trained tokens)` of the rows of a step, as the engine counts them: nothing predicts the first token.
    pub(crate) fn sizes(&self, step: usize) -> impl Iterator<Item = (usize, usize)> + '_ {
        let rows = &self.lengths[step * self.batch_size..(step + 1) * self.batch_size];
        rows.iter().map(|&(prompt, answer)| {
            let tokens = prompt + answer;
            (tokens, if self.all_trained { tokens - 1 } else { answer })
        })
    }

    /// Name of the case's folder.
    pub(crate) fn slug(&self) -> String {
        let name = Work::ALL.iter().find(|(_, work)| *work == self.work).map_or("", |(name, _)| name);
        format!(
            "{name}-{}x{}{}",
            self.batch_size,
            self.longest(),
            self.cpu.map_or(String::new(), |cpu| format!("-{cpu}"))
        )
    }
}

/// The files of a case.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    /// Folder of the case.
    pub(crate) dir: PathBuf,
    /// Rows of text.
    pub(crate) data: PathBuf,
    /// Configuration of `ft train`.
    pub(crate) config: PathBuf,
}

/// Writes the rows as text and the configuration into `dir`.
pub(crate) fn write(case: &Case, shape: &Shape, model: &Path, dir: &Path, threads: Option<usize>) -> Result<Files> {
    create_dir_all(dir)?;
    let files = Files { dir: dir.into(), data: dir.join("train.jsonl"), config: dir.join("ft.yaml") };
    let words = word_count(shape) as u64;
    let text = |row: usize, from: usize, count: usize| -> String {
        let one = |at| word(rng::below(rng::key(&[SEED, row as u64, at as u64]), words) as usize);
        (from..from + count).map(one).collect::<Vec<_>>().join(" ")
    };
    let mut lines = String::new();
    for (row, &(prompt, answer)) in case.lengths.iter().enumerate() {
        ensure!(prompt > 0 && answer > 0, "row {row} of {} has nothing to read or to answer", case.label);
        // The end of text is the answer's last token.
        let row = json!({
            "prompt": text(row, 0, prompt) + " ",
            "completion": text(row, prompt, answer - 1),
        });
        lines += &format!("{row}\n");
    }
    write_atomic(&files.data, lines.as_bytes())?;
    // YAML is a superset of JSON.
    let config = json!({
        "model": { "path": model },
        "adapter": { "rank": 16, "alpha": 32, "dropout": 0 },
        "data": {
            "train": files.data, "format": "prompt-completion", "completion_style": "raw", "shuffle": false,
            "train_on": if case.all_trained { "all" } else { "assistant" }, "max_seq_length": case.longest(),
        },
        "training": {
            "steps": case.steps(), "batch_size": case.batch_size, "learning_rate": 2e-4, "schedule": "constant",
            "warmup_ratio": 0, "max_grad_norm": 1.0,
        },
        "checkpoint": { "every_steps": null, "every_minutes": null, "keep": 1 },
        "evaluation": { "every_steps": null, "samples": 0 },
        "hardware": { "threads": threads },
        "logging": { "display": "quiet" },
    });
    write_atomic(&files.config, format!("{config:#}\n").as_bytes())?;
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extent(quick: bool) -> Extent {
        Extent { steps: 3, quick, peers: vec!["installed".into()] }
    }

    #[test]
    fn cases_have_a_step_before_the_timed_ones() {
        for (name, work) in Work::ALL {
            assert_eq!(Work::named(name).unwrap(), work);
            for quick in [false, true] {
                for case in cases(work, &extent(quick)) {
                    assert_eq!(case.lengths.len() % case.batch_size, 0, "{}", case.label);
                    assert_eq!(case.steps(), if work == Work::Startup { 1 } else { 4 }, "{}", case.label);
                    assert!(!quick || case.longest() <= 512, "{}", case.label);
                }
            }
        }
        assert!(Work::named("everything").is_err());
    }

    #[test]
    fn sizes_are_those_that_the_labels_promise() {
        let full = &cases(Work::Full2048, &extent(false))[0];
        assert_eq!(full.sizes(0).collect::<Vec<_>>(), [(2048, 2047)]);
        let gsm8k = &cases(Work::Gsm8k, &extent(false))[0];
        assert_eq!(gsm8k.sizes(1).take(2).collect::<Vec<_>>(), [(239, 102), (397, 297)]);
    }

    #[test]
    fn lengths_of_gsm8k_are_those_of_its_rows() {
        use attune_text::{Conversation, LoadOptions, Message, TextModel, TrainOn};
        let (Some(data), Some(model)) = (
            super::super::shared("datasets/gsm8k/train.jsonl"),
            super::super::shared("models/shapes/llama-3.2-1b-instruct"),
        ) else {
            return;
        };
        let text = TextModel::load(&model, &LoadOptions::default()).unwrap();
        let rows = std::fs::read_to_string(data).unwrap();
        for (row, (line, expected)) in rows.lines().zip(GSM8K_LENGTHS).enumerate() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            let message = |role: &str, key: &str| Message::new(role, value[key].as_str().unwrap());
            let messages = vec![message("user", "question"), message("assistant", "answer")];
            let encoded = text.encode_chat(&Conversation { messages, tools: None }, TrainOn::Assistant).unwrap();
            let trained = encoded.trained.iter().filter(|trained| **trained).count();
            assert_eq!((encoded.ids.len() - trained, trained), expected, "row {}", row + 1);
        }
    }
}
