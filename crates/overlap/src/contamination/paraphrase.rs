//! Questions in other words: the same numbers, and most of the content words.
//!
//! Only questions with numbers are looked for, because their numbers are what tells a problem from another one of its kind. A question is
//! entered by each of its numbers together with each content word beside it (`16 eggs`); two such pairs close to each other in a text
//! make it worth a look.

use super::settings::ParaphraseSettings;
use super::stem::{NUMBER_WORDS, STOP_WORDS, stem};
use super::table::{ByHash, Posting, Table};
use super::words::{Folded, Sink, WordHash, Words, is_number, mix, next_word};

/// Content words on each side of a number that it is paired with.
const BESIDE: usize = 3;
/// Words that are looked at on each side of a number for them.
const REACH: usize = 6;
/// Longer questions are left out: so many content words are found in any long text.
const LONGEST: usize = 300;
/// Pairs that are gathered before they are looked at.
const MOST_HITS: usize = 1 << 20;

/// A feature that says nothing.
const NOTHING: u64 = 0;
/// A feature that is not known yet.
const UNKNOWN: u64 = 2;

/// A question as its numbers and content words.
#[derive(Debug)]
struct Question {
    group: u32,
    /// Words of the question, all of them.
    length: usize,
    /// Features, sorted, with weights: that of a number is 0.
    features: Vec<(u64, f32)>,
    /// Sum of the weights.
    weight: f64,
}

/// The questions that are looked for in other words.
#[derive(Debug)]
pub(crate) struct Paraphrases {
    settings: ParaphraseSettings,
    questions: Vec<Question>,
    table: Table,
    vocabulary: Vocabulary,
}

/// A question that a stretch of text puts in other words.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Rewording {
    pub(crate) group: u32,
    pub(crate) score: f64,
    /// The first and the last word of the text that fit.
    pub(crate) first: usize,
    pub(crate) last: usize,
}

/// What a thread keeps between texts.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    features: Vec<u64>,
    /// Places of the numbers.
    numbers: Vec<usize>,
    hits: Vec<(u32, u32, u64)>,
    folded: Vec<u8>,
}

/// Words with a meaning of their own, by hash.
#[derive(Debug)]
struct Vocabulary {
    numbers: ByHash<u64>,
    stops: ByHash<()>,
    /// A bit for each 12-bit prefix of a hash in `numbers`.
    quick: Vec<u64>,
    and: u64,
    /// The feature of 1, which says no more than an article.
    one: u64,
}

impl Vocabulary {
    fn new() -> Self {
        let hash = |word: &str| Words::hashes_of(word)[0];
        let mut vocabulary = Self {
            numbers: NUMBER_WORDS.iter().map(|&(word, value)| (hash(word), value)).collect(),
            stops: STOP_WORDS.iter().map(|word| (hash(word), ())).collect(),
            quick: vec![0; 64],
            and: hash("and"),
            one: number_feature(1),
        };
        for key in vocabulary.numbers.keys() {
            vocabulary.quick[(key >> 58) as usize] |= 1 << (key >> 52 & 63);
        }
        vocabulary
    }

    #[inline]
    fn number(&self, word: u64) -> Option<u64> {
        if self.quick[(word >> 58) as usize] & 1 << (word >> 52 & 63) == 0 {
            return None;
        }
        self.numbers.get(&word).copied()
    }
}

impl Reader {
    /// Finds the numbers of a text, and forgets the text before.
    fn read(&mut self, vocabulary: &Vocabulary, text: &str, words: &Words) {
        self.features.clear();
        self.features.resize(words.hashes.len(), UNKNOWN);
        self.numbers.clear();
        let mut at = 0;
        while at < words.hashes.len() {
            let word = words.hashes[at];
            if !is_number(word) && vocabulary.number(word).is_none() {
                at += 1;
                continue;
            }
            let (feature, length) = self.number(vocabulary, text, words, at);
            self.features[at..at + length].fill(NOTHING);
            if feature != vocabulary.one {
                self.features[at] = feature;
                self.numbers.push(at);
            }
            at += length;
        }
    }

    /// The number that begins with the word `at`, and how many words it takes: `25`, `twenty-five`, `2 thousand`, `one hundred and five`.
    fn number(&mut self, vocabulary: &Vocabulary, text: &str, words: &Words, at: usize) -> (u64, usize) {
        let value = |at: usize| words.hashes.get(at).and_then(|&word| vocabulary.number(word));
        let (mut whole, mut part, mut last_unit) = (0_u64, 0_u64, u64::MAX);
        let mut next = at;
        if is_number(words.hashes[at]) {
            // Digits stand for themselves, unless a unit follows.
            let digits = value(at + 1).filter(|&unit| unit >= 100).and_then(|_| self.digits(text, words.starts[at]));
            let Some(digits) = digits else { return (words.hashes[at], 1) };
            part = digits;
            next += 1;
        }
        loop {
            let joined = next > at && last_unit != u64::MAX && words.hashes.get(next) == Some(&vocabulary.and);
            let Some(value) = value(next + usize::from(joined)) else { break };
            match value {
                0 if next > at => break,
                100 if part >= 100 => break,
                100 => (part, last_unit) = (part.max(1) * 100, last_unit.min(100)),
                unit if unit >= 1000 => {
                    if whole > 0 && unit >= last_unit {
                        break;
                    }
                    whole = whole.saturating_add(part.max(1).saturating_mul(unit));
                    (part, last_unit) = (0, unit);
                }
                small => {
                    let rest = part % 100;
                    if rest != 0 && !(rest >= 20 && rest % 10 == 0 && small < 10)
                        || (part == 0 && next > at && whole == 0)
                    {
                        break;
                    }
                    part += small;
                }
            }
            next += 1 + usize::from(joined);
        }
        (number_feature(whole.saturating_add(part)), (next - at).max(1))
    }

    /// The value of a number in digits, if it is a whole one of moderate size.
    fn digits(&mut self, text: &str, start: usize) -> Option<u64> {
        self.fold(text, start);
        if self.folded.len() > 9 {
            return None;
        }
        std::str::from_utf8(&self.folded).ok()?.parse().ok()
    }

    fn fold(&mut self, text: &str, start: usize) {
        let mut folded = Folded(std::mem::take(&mut self.folded));
        folded.0.clear();
        next_word(text, start, &mut folded);
        self.folded = folded.0;
    }

    /// What the word `at` says.
    #[inline]
    fn feature(&mut self, vocabulary: &Vocabulary, text: &str, words: &Words, at: usize) -> u64 {
        if self.features[at] == UNKNOWN {
            self.features[at] = self.content(vocabulary, text, words, at);
        }
        self.features[at]
    }

    fn content(&mut self, vocabulary: &Vocabulary, text: &str, words: &Words, at: usize) -> u64 {
        if vocabulary.stops.contains_key(&words.hashes[at]) {
            return NOTHING;
        }
        self.fold(text, words.starts[at]);
        if self.folded.len() < 2 {
            return NOTHING;
        }
        stem(&mut self.folded);
        let mut hash = WordHash::new();
        self.folded.iter().for_each(|&byte| hash.byte(byte));
        hash.finish(false)
    }

    /// The keys of the pairs that the number `at` makes with the content words beside it.
    fn pairs(&mut self, vocabulary: &Vocabulary, text: &str, words: &Words, at: usize, mut take: impl FnMut(u64)) {
        let number = self.features[at];
        let last = words.hashes.len() - 1;
        for before in [true, false] {
            let mut found = 0;
            for distance in 1..=REACH {
                let place =
                    if before { at.checked_sub(distance) } else { Some(at + distance).filter(|&place| place <= last) };
                let Some(place) = place else { break };
                let feature = self.feature(vocabulary, text, words, place);
                if feature == NOTHING || is_number(feature) {
                    continue;
                }
                take(mix(number.rotate_left(17) ^ feature));
                found += 1;
                if found == BESIDE {
                    break;
                }
            }
        }
    }
}

/// The feature of a whole number: the hash of the word it would be.
fn number_feature(value: u64) -> u64 {
    let mut hash = WordHash::new();
    value.to_string().bytes().for_each(|byte| hash.byte(byte));
    hash.finish(true)
}

impl Paraphrases {
    /// Enters the questions that have enough numbers and content words.
    pub(crate) fn build<'a>(
        texts: impl Iterator<Item = (u32, &'a str)>,
        settings: &ParaphraseSettings,
        hot: usize,
    ) -> Self {
        let vocabulary = Vocabulary::new();
        let (mut words, mut reader) = (Words::default(), Reader::default());
        let (mut questions, mut entries, mut counts) = (Vec::new(), Vec::new(), ByHash::<u32>::default());
        for (group, text) in texts {
            words.read(text);
            if words.hashes.len() > LONGEST {
                continue;
            }
            reader.read(&vocabulary, text, &words);
            let mut features: Vec<u64> = (0..words.hashes.len())
                .map(|at| reader.feature(&vocabulary, text, &words, at))
                .filter(|&feature| feature != NOTHING)
                .collect();
            features.sort_unstable();
            features.dedup();
            let numbers = features.iter().filter(|&&feature| is_number(feature)).count();
            if numbers < settings.min_numbers || features.len() - numbers < settings.min_content {
                continue;
            }
            for &feature in &features {
                *counts.entry(feature).or_default() += 1;
            }
            let posting = Posting { group: questions.len() as u32, offset: 0 };
            for at in std::mem::take(&mut reader.numbers) {
                reader.pairs(&vocabulary, text, &words, at, |key| entries.push((key, posting)));
            }
            let features = features.into_iter().map(|feature| (feature, 0.0)).collect();
            questions.push(Question { group, length: words.hashes.len(), features, weight: 0.0 });
        }
        let all = (questions.len() + 1) as f64;
        for question in &mut questions {
            for (feature, weight) in question.features.iter_mut().filter(|(feature, _)| !is_number(*feature)) {
                let count = f64::from(counts[feature]);
                *weight = ((all / count).ln() / all.ln()).clamp(0.05, 1.0) as f32;
                question.weight += f64::from(*weight);
            }
        }
        let table = Table::build(entries, questions.len(), hot).0;
        Self { settings: settings.clone(), questions, table, vocabulary }
    }

    /// Number of questions.
    pub(crate) fn len(&self) -> usize {
        self.questions.len()
    }

    /// Bytes that it takes, about.
    pub(crate) fn bytes(&self) -> usize {
        let features: usize = self.questions.iter().map(|question| question.features.len()).sum();
        self.table.bytes() + self.questions.len() * size_of::<Question>() + features * size_of::<(u64, f32)>()
    }

    /// Finds the questions that a text has in other words, but for those in `known`. One entry per question: the best.
    pub(crate) fn find(
        &self,
        text: &str,
        words: &Words,
        reader: &mut Reader,
        known: impl Fn(u32) -> bool,
    ) -> Vec<Rewording> {
        let mut found = ByHash::default();
        reader.read(&self.vocabulary, text, words);
        reader.hits.clear();
        let numbers = std::mem::take(&mut reader.numbers);
        let mut hits = std::mem::take(&mut reader.hits);
        for &at in &numbers {
            reader.pairs(&self.vocabulary, text, words, at, |key| {
                if self.table.may_have(key) {
                    hits.extend(self.table.get(key).iter().map(|posting| (posting.group, at as u32, key)));
                }
            });
            if hits.len() > MOST_HITS {
                self.settle(text, words, reader, &mut hits, &known, &mut found);
            }
        }
        self.settle(text, words, reader, &mut hits, &known, &mut found);
        (reader.numbers, reader.hits) = (numbers, hits);
        found.into_values().collect()
    }

    /// Looks at the questions that were hit twice within their length.
    fn settle(
        &self,
        text: &str,
        words: &Words,
        reader: &mut Reader,
        hits: &mut Vec<(u32, u32, u64)>,
        known: &impl Fn(u32) -> bool,
        found: &mut ByHash<Rewording>,
    ) {
        hits.sort_unstable();
        for run in hits.chunk_by(|a, b| a.0 == b.0) {
            let question = &self.questions[run[0].0 as usize];
            if run.len() < 2 || known(question.group) {
                continue;
            }
            let stretch = (question.length as f64 * self.settings.stretch).ceil() as usize + 4;
            let mut done = 0;
            for (number, &(_, at, key)) in run.iter().enumerate() {
                let at = at as usize;
                // Of all pairs that are near, one that is another is enough; the list is short where it matters.
                let again = run[number + 1..]
                    .iter()
                    .take(64)
                    .take_while(|hit| hit.1 as usize <= at + stretch)
                    .any(|hit| hit.2 != key);
                if at < done || !again {
                    continue;
                }
                let Some(rewording) = self.look(question, text, words, reader, at, stretch) else {
                    done = at + stretch / 2;
                    continue;
                };
                done = rewording.last + 1;
                let best = found.entry(u64::from(question.group)).or_insert_with(|| rewording.clone());
                if rewording.score > best.score {
                    *best = rewording;
                }
            }
        }
        hits.clear();
    }

    /// The best stretch of text around the word `at` that has all numbers and enough of the content words.
    fn look(
        &self,
        question: &Question,
        text: &str,
        words: &Words,
        reader: &mut Reader,
        at: usize,
        stretch: usize,
    ) -> Option<Rewording> {
        let mut near = std::collections::VecDeque::new();
        let mut counts = vec![0_u32; question.features.len()];
        let mut missing = question.features.iter().filter(|(feature, _)| is_number(*feature)).count();
        let mut weight = 0.0;
        let mut best: Option<Rewording> = None;
        for place in at.saturating_sub(stretch)..words.hashes.len().min(at + stretch) {
            let feature = reader.feature(&self.vocabulary, text, words, place);
            let Ok(number) = question.features.binary_search_by_key(&feature, |entry| entry.0) else { continue };
            let (feature, own) = question.features[number];
            near.push_back((place, number));
            counts[number] += 1;
            if counts[number] == 1 {
                missing -= usize::from(is_number(feature));
                weight += f64::from(own);
            }
            while let Some(&(first, number)) = near.front()
                && (place - first >= stretch || counts[number] > 1)
            {
                near.pop_front();
                counts[number] -= 1;
                if counts[number] == 0 {
                    missing += usize::from(is_number(question.features[number].0));
                    weight -= f64::from(question.features[number].1);
                }
            }
            let score = weight / question.weight;
            if missing == 0
                && score >= self.settings.threshold
                && best.as_ref().is_none_or(|best| score > best.score + 1e-9)
                && let Some(&(first, _)) = near.front()
            {
                best = Some(Rewording { group: question.group, score: score.min(1.0), first, last: place });
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &str = "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends \
        every day with four. She sells the remainder at the farmers' market daily for $2 per fresh duck egg.";

    fn found(text: &str) -> Vec<Rewording> {
        let fillers = (0..40)
            .map(|n| format!("The number {n} train goes {} times over hill {} and the lake of swans.", n + 3, n * 7));
        let questions: Vec<String> = std::iter::once(QUESTION.to_owned()).chain(fillers).collect();
        let texts = questions.iter().enumerate().map(|(group, text)| (group as u32, &text[..]));
        let paraphrases = Paraphrases::build(texts, &ParaphraseSettings::default(), 32);
        assert!(paraphrases.len() > 30 && paraphrases.bytes() > 0);
        let mut words = Words::default();
        words.read(text);
        paraphrases.find(text, &words, &mut Reader::default(), |_| false)
    }

    #[test]
    fn other_words_for_the_same_are_found() {
        let text = "Every day sixteen eggs are laid by the ducks of Janet; 3 are eaten at breakfast, and 4 go into muffins baked \
            for friends. At two dollars for a fresh egg, what remains is sold daily on the market.";
        let found = found(text);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].group, 0);
        assert!(found[0].score > 0.7, "{found:?}");
    }

    #[test]
    fn another_number_makes_another_question() {
        assert_eq!(found(&QUESTION.replace("16", "17")), []);
        assert_eq!(found(QUESTION).len(), 1);
    }

    #[test]
    fn numbers_are_read_in_words_and_digits() {
        let vocabulary = Vocabulary::new();
        let mut reader = Reader::default();
        let mut numbers = |text: &str| -> Vec<u64> {
            let mut words = Words::default();
            words.read(text);
            reader.read(&vocabulary, text, &words);
            reader.numbers.iter().map(|&at| reader.features[at]).collect()
        };
        let values = |values: &[u64]| values.iter().map(|&value| number_feature(value)).collect::<Vec<_>>();
        assert_eq!(numbers("twenty-five, 25 and twenty 5"), values(&[25, 25, 20, 5]));
        assert_eq!(numbers("two thousand three hundred"), values(&[2300]));
        assert_eq!(
            numbers("one hundred and five; two thousand three hundred; 3 million"),
            values(&[105, 2300, 3_000_000])
        );
        assert_eq!(numbers("a hundred thousand two hundred"), values(&[100_200]));
        assert_eq!(numbers("two three four"), values(&[2, 3, 4]));
        assert_eq!(numbers("one 1 first"), values(&[]));
        assert_eq!(
            numbers("2.5 million hundred hundred"),
            [Words::hashes_of("2.5")[0], number_feature(1_000_100), number_feature(100)]
        );
        numbers(&"hundred ".repeat(1000));
        numbers(&"nine billion ".repeat(1000));
    }
}
