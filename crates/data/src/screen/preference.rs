//! Lint for preference data: can chosen and rejected be told apart without reading them, do labels contradict each
//! other, are they out of balance?

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use super::{hash_text, mix, shortened, words};

/// Above this accuracy a classifier of style tells the pairs apart, and so will the model.
pub const MAX_ACCURACY: f64 = 0.95;
/// Fewer pairs than this prove nothing.
pub const MIN_PAIRS: usize = 50;
/// Larger sets are judged by this many pairs, spread evenly.
pub const MAX_PAIRS: usize = 20_000;

const FOLDS: usize = 5;
const PASSES: usize = 6;
const BUCKETS: usize = 1 << 17;
const MAX_WORDS: usize = 2_000;
/// The least share of desirable to undesirable weight, and the greatest.
const BALANCE: (f64, f64) = (1.0, 4.0 / 3.0);

/// A chosen and a rejected answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pair<'a> {
    /// What was asked.
    pub prompt: &'a str,
    /// The better answer.
    pub chosen: &'a str,
    /// The worse answer.
    pub rejected: &'a str,
}

/// An answer with a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Labelled<'a> {
    /// What was asked.
    pub prompt: &'a str,
    /// The answer.
    pub completion: &'a str,
    /// Whether it is wanted.
    pub desirable: bool,
}

/// A feature that gives an answer away.
#[derive(Debug, Clone, PartialEq)]
pub struct Feature {
    /// `word "sure"`, or what is measured: `length`, `bullets` ...
    pub name: String,
    /// Above 0 it speaks for chosen, below 0 for rejected.
    pub weight: f64,
    /// In how many of the judged pairs the two answers differ in it.
    pub pairs: usize,
}

/// How far chosen and rejected can be told apart without understanding them. 0.5 is chance.
#[derive(Debug, Clone, PartialEq)]
pub struct Giveaway {
    /// How many pairs were judged.
    pub pairs: usize,
    /// Accuracy by words, length and formatting, on pairs the classifier has not seen.
    pub accuracy: f64,
    /// Accuracy by length and formatting alone.
    pub style_accuracy: f64,
    /// Accuracy by length alone.
    pub length_accuracy: f64,
    /// In what share of the pairs the chosen answer is longer (ties count half).
    pub chosen_longer: f64,
    /// How many pairs have the same answer twice (not counted above).
    pub identical: usize,
    /// The strongest features, at most 12.
    pub features: Vec<Feature>,
}

impl Giveaway {
    /// Whether the set teaches style and little else: an accuracy above [`MAX_ACCURACY`] over at least [`MIN_PAIRS`].
    pub fn is_bad(&self) -> bool {
        self.pairs >= MIN_PAIRS && self.accuracy.max(self.style_accuracy).max(self.length_accuracy) > MAX_ACCURACY
    }
}

/// The measures besides words. What is counted per answer comes with the length of the answer as another measure, so
/// that a model of them does not need the words.
const MEASURES: [&str; 15] = [
    "length",
    "longer",
    "lines",
    "bullets",
    "bold",
    "code fences",
    "headings",
    "digits",
    "question marks",
    "exclamation marks",
    "commas",
    "begins in lower case",
    "ends without a full stop",
    "other than ASCII",
    "empty",
];

/// Where [`MEASURES`] has the sign of the difference in length.
const LONGER: usize = 1;

fn measures(text: &str) -> [f32; MEASURES.len()] {
    let text = shortened(text, 100_000);
    let trimmed = text.trim();
    let count = |wanted: fn(char) -> bool| text.chars().filter(|&sign| wanted(sign)).count();
    let lines = |wanted: fn(&str) -> bool| text.lines().filter(|line| wanted(line.trim_start())).count();
    let log = |count: usize| (count as f32 + 1.0).ln();
    let flag = |is: bool| if is { 1.0 } else { 0.0 };
    let length = log(text.chars().count());
    [
        length,
        length,
        log(text.lines().count()),
        log(lines(|line| {
            line.starts_with("- ") || line.starts_with("* ") || line.starts_with("• ") || is_numbered(line)
        })),
        log(text.matches("**").count()),
        log(text.matches("```").count()),
        log(lines(|line| line.starts_with('#'))),
        log(count(|sign| sign.is_ascii_digit())),
        log(count(|sign| sign == '?')),
        log(count(|sign| sign == '!')),
        log(count(|sign| sign == ',')),
        flag(trimmed.chars().next().is_some_and(char::is_lowercase)),
        flag(trimmed.chars().next_back().is_some_and(char::is_alphanumeric)),
        log(count(|sign| !sign.is_ascii())),
        flag(trimmed.is_empty()),
    ]
}

fn is_numbered(line: &str) -> bool {
    let rest = line.trim_start_matches(|sign: char| sign.is_ascii_digit());
    rest.len() < line.len() && (rest.starts_with(". ") || rest.starts_with(") "))
}

/// The differences of a pair: feature and chosen minus rejected.
type Differences = Vec<(u32, f32)>;

/// What a classifier sees of an answer, from which its pair's differences are made.
fn word_features(text: &str, names: &mut HashMap<u32, String>) -> Vec<u32> {
    let words = words(text, MAX_WORDS);
    let mut features: Vec<u32> = Vec::with_capacity(words.len() + 2);
    let mut add = |name: &str, seed: u64| {
        let bucket = (MEASURES.len() as u64 + mix(hash_text(name), seed) % BUCKETS as u64) as u32;
        if let Entry::Vacant(vacant) = names.entry(bucket) {
            vacant.insert(if seed == 0 { format!("word \"{name}\"") } else { format!("begins with \"{name}\"") });
        }
        features.push(bucket);
    };
    for word in &words {
        add(word, 0);
    }
    if let Some(first) = words.first() {
        add(first, 1);
    }
    if words.len() >= 3 {
        add(&words[..3].join(" "), 1);
    }
    features.sort_unstable();
    features.dedup();
    features
}

fn differences(pair: &Pair<'_>, names: &mut HashMap<u32, String>) -> Differences {
    let mut all: Differences = Vec::new();
    for (index, (chosen, rejected)) in measures(pair.chosen).iter().zip(measures(pair.rejected)).enumerate() {
        if *chosen != rejected {
            let difference = (chosen - rejected).clamp(-4.0, 4.0);
            // Which is longer counts by itself: a few pairs of very different length should not outvote many.
            all.push((index as u32, if index == LONGER { difference.signum() } else { difference }));
        }
    }
    let (chosen, rejected) = (word_features(pair.chosen, names), word_features(pair.rejected, names));
    // Both are sorted; what both have says nothing.
    all.extend(chosen.iter().filter(|word| rejected.binary_search(word).is_err()).map(|word| (*word, 1.0)));
    all.extend(rejected.iter().filter(|word| chosen.binary_search(word).is_err()).map(|word| (*word, -1.0)));
    // Long answers have many words; their sum should not outweigh everything.
    let measured = all.partition_point(|feature| (feature.0 as usize) < MEASURES.len());
    let scale = 1.0 / ((all.len() - measured) as f32).sqrt().max(1.0);
    for feature in &mut all[measured..] {
        feature.1 *= 3.0 * scale;
    }
    all
}

/// Logistic regression on differences: the model has no bias, because swapping the two answers swaps the label. AdaGrad
/// in a fixed order, so that the same pairs give the same weights.
struct Regression {
    weights: Vec<f32>,
    squares: Vec<f32>,
}

impl Regression {
    fn train<'a>(features: usize, pairs: impl Iterator<Item = &'a [(u32, f32)]> + Clone) -> Self {
        let mut model = Self { weights: vec![0.0; features], squares: vec![1e-2; features] };
        for _ in 0..PASSES {
            for pair in pairs.clone() {
                let error = 1.0 / (1.0 + model.score(pair).exp());
                for &(feature, value) in pair {
                    let feature = feature as usize;
                    let slope = error * value - 1e-4 * model.weights[feature];
                    model.squares[feature] += slope * slope;
                    model.weights[feature] += 0.2 * slope / model.squares[feature].sqrt();
                }
            }
        }
        model
    }

    fn score(&self, pair: &[(u32, f32)]) -> f32 {
        pair.iter().map(|&(feature, value)| self.weights[feature as usize] * value).sum()
    }
}

/// Correct pairs of the cross-validation; a tie counts half. `part` picks the features.
fn cross_validate(
    pairs: &[Differences],
    folds: &[usize],
    features: usize,
    part: fn(&Differences) -> &[(u32, f32)],
) -> f64 {
    let mut right = 0.0;
    for fold in 0..FOLDS {
        let training = pairs.iter().zip(folds).filter(move |(_, of)| **of != fold).map(|(pair, _)| part(pair));
        let model = Regression::train(features, training);
        for (pair, _) in pairs.iter().zip(folds).filter(|(_, of)| **of == fold) {
            let score = model.score(part(pair));
            right += if score > 0.0 {
                1.0
            } else if score == 0.0 {
                0.5
            } else {
                0.0
            };
        }
    }
    right / pairs.len().max(1) as f64
}

fn all_of(pair: &Differences) -> &[(u32, f32)] {
    pair
}

fn style_of(pair: &Differences) -> &[(u32, f32)] {
    &pair[..pair.partition_point(|feature| (feature.0 as usize) < MEASURES.len())]
}

fn length_of(pair: &Differences) -> &[(u32, f32)] {
    &pair[..pair.partition_point(|feature| feature.0 as usize <= LONGER)]
}

/// Measures how far length, formatting and single words tell chosen from rejected. Pairs of the same prompt lie in the
/// same fold, so that an answer that occurs twice does not help.
pub fn giveaway(pairs: &[Pair<'_>]) -> Giveaway {
    let different: Vec<&Pair<'_>> = pairs.iter().filter(|pair| pair.chosen.trim() != pair.rejected.trim()).collect();
    let identical = pairs.len() - different.len();
    let judged: Vec<&Pair<'_>> = if different.len() > MAX_PAIRS {
        (0..MAX_PAIRS).map(|index| different[index * different.len() / MAX_PAIRS]).collect()
    } else {
        different
    };
    let mut names = HashMap::new();
    let table: Vec<Differences> = judged.iter().map(|pair| differences(pair, &mut names)).collect();
    let folds: Vec<usize> = judged.iter().map(|pair| (hash_text(pair.prompt) % FOLDS as u64) as usize).collect();
    let features = MEASURES.len() + BUCKETS;
    let longer: f64 = judged
        .iter()
        .map(|pair| match pair.chosen.len().cmp(&pair.rejected.len()) {
            std::cmp::Ordering::Greater => 1.0,
            std::cmp::Ordering::Equal => 0.5,
            std::cmp::Ordering::Less => 0.0,
        })
        .sum();
    Giveaway {
        pairs: judged.len(),
        accuracy: cross_validate(&table, &folds, features, all_of),
        style_accuracy: cross_validate(&table, &folds, MEASURES.len(), style_of),
        length_accuracy: cross_validate(&table, &folds, LONGER + 1, length_of),
        chosen_longer: if judged.is_empty() { 0.5 } else { longer / judged.len() as f64 },
        identical,
        features: strongest(&table, &names, features),
    }
}

/// The features that move the most pairs: the weight times how often it differs.
fn strongest(table: &[Differences], names: &HashMap<u32, String>, features: usize) -> Vec<Feature> {
    let model = Regression::train(features, table.iter().map(Vec::as_slice));
    let mut moved = vec![(0_f64, 0_usize); features];
    for &(feature, value) in table.iter().flatten() {
        let moved = &mut moved[feature as usize];
        moved.0 += f64::from(value.abs());
        moved.1 += 1;
    }
    let mut order: Vec<usize> = (0..features).filter(|&feature| moved[feature].1 > 0).collect();
    let force = |feature: usize| f64::from(model.weights[feature]).abs() * moved[feature].0;
    order.sort_by(|&a, &b| force(b).total_cmp(&force(a)).then(a.cmp(&b)));
    order.truncate(12);
    let name = |feature: usize| {
        MEASURES
            .get(feature)
            .map_or_else(|| names.get(&(feature as u32)).cloned().unwrap_or_default(), |name| (*name).to_owned())
    };
    order
        .into_iter()
        .map(|feature| Feature {
            name: name(feature),
            weight: f64::from(model.weights[feature]),
            pairs: moved[feature].1,
        })
        .collect()
}

/// Desirable against undesirable rows, and weights that balance them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Balance {
    /// Wanted answers.
    pub desirable: usize,
    /// Unwanted answers.
    pub undesirable: usize,
    /// Whether weights of 1 and 1 give between 1:1 and 4:3.
    pub balanced: bool,
    /// The weight of desirable rows: the least that fits, and the greatest.
    pub desirable_weight: (f64, f64),
    /// The weight of undesirable rows: the least that fits, and the greatest.
    pub undesirable_weight: (f64, f64),
}

/// Counts labels and says which weights bring weighted desirable to undesirable between 1:1 and 4:3. One of the two
/// weights stays 1. `None` when one side is empty: no weight helps there.
pub fn balance(rows: &[Labelled<'_>]) -> Option<Balance> {
    let desirable = rows.iter().filter(|row| row.desirable).count();
    let undesirable = rows.len() - desirable;
    if desirable == 0 || undesirable == 0 {
        return None;
    }
    let ratio = desirable as f64 / undesirable as f64;
    let balanced = ratio >= BALANCE.0 && ratio <= BALANCE.1;
    let one = (1.0, 1.0);
    let (desirable_weight, undesirable_weight) = if balanced {
        (one, one)
    } else if ratio < BALANCE.0 {
        ((BALANCE.0 / ratio, BALANCE.1 / ratio), one)
    } else {
        (one, (ratio / BALANCE.1, ratio / BALANCE.0))
    };
    Some(Balance { desirable, undesirable, balanced, desirable_weight, undesirable_weight })
}

/// A pair of rows that contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contradiction {
    /// The first row with this answer.
    pub first: usize,
    /// The first row with the other label.
    pub second: usize,
}

/// The same answer to the same prompt, once wanted and once not. One per answer, in the order of the second row.
/// White space at the ends makes no difference.
pub fn contradictions(rows: &[Labelled<'_>]) -> Vec<Contradiction> {
    let mut seen: HashMap<(&str, &str), (usize, bool, bool)> = HashMap::new();
    let mut found = Vec::new();
    for (index, row) in rows.iter().enumerate() {
        match seen.entry((row.prompt.trim(), row.completion.trim())) {
            Entry::Vacant(vacant) => {
                vacant.insert((index, row.desirable, false));
            }
            Entry::Occupied(mut known) => {
                let (first, label, told) = *known.get();
                if label != row.desirable && !told {
                    found.push(Contradiction { first, second: index });
                    known.get_mut().2 = true;
                }
            }
        }
    }
    found
}

/// Preferences that contradict each other: for one prompt, A over B in one row and B over A in another.
pub fn reversed_pairs(pairs: &[Pair<'_>]) -> Vec<Contradiction> {
    let mut seen: HashMap<(&str, &str, &str), usize> = HashMap::new();
    let mut found = Vec::new();
    for (index, pair) in pairs.iter().enumerate() {
        let (prompt, chosen, rejected) = (pair.prompt.trim(), pair.chosen.trim(), pair.rejected.trim());
        if chosen == rejected {
            continue;
        }
        if let Some(&first) = seen.get(&(prompt, rejected, chosen)) {
            found.push(Contradiction { first, second: index });
        }
        seen.entry((prompt, chosen, rejected)).or_insert(index);
    }
    found
}

/// Rows whose completion is that of the row before. KTO estimates its reference with the completions of a batch shifted
/// by one, which these leave where they were.
pub fn identical_neighbours(rows: &[Labelled<'_>]) -> Vec<usize> {
    (1..rows.len()).filter(|&index| rows[index].completion.trim() == rows[index - 1].completion.trim()).collect()
}
