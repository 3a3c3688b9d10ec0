//! What counts as a match.

use super::error::Error;

/// What counts as a match. [`Settings::default`] is meant for most; the numbers are explained where they are used.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The least score of a row, 0 to 1.
    pub threshold: f64,
    /// Words per entry of the table: 2 to 16.
    pub ngram: usize,
    /// The text is probed at every so many words. 1 finds the most; with more, a row is found for certain only where
    /// `sample_every + ngram - 1` of its words stand in a row unchanged.
    pub sample_every: usize,
    /// A question is followed until more than this many words in a row do not fit.
    pub max_misses: usize,
    /// A row with fewer words in question, answer and passage together is left out.
    pub min_tokens: usize,
    /// A row with fewer different words is left out.
    pub min_unique: usize,
    /// A question with fewer words has to be there word by word, and its answer or passage with it.
    pub short_question: usize,
    /// The least score of a question of `short_question` words. It falls evenly to `threshold` at `long_question` words.
    pub short_score: f64,
    /// A question with this many words needs no more than `threshold`.
    pub long_question: usize,
    /// Weights of question, answer and passage where a row has all three.
    pub weights: [f64; 3],
    /// Weights of question and answer where a row has no passage.
    pub question_answer_weights: [f64; 2],
    /// Weights of question and passage where a row has no answer.
    pub question_passage_weights: [f64; 2],
    /// A run of words that occurs in more questions than this leads to none of them, if they have rarer ones.
    pub hot_ngram: usize,
    /// The search for rows whose wording was changed; `None` leaves it out.
    pub paraphrase: Option<ParaphraseSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.8,
            ngram: 5,
            sample_every: 1,
            max_misses: 11,
            min_tokens: 20,
            min_unique: 4,
            short_question: 12,
            short_score: 0.9,
            long_question: 50,
            weights: [0.7, 0.2, 0.1],
            question_answer_weights: [0.75, 0.25],
            question_passage_weights: [0.85, 0.15],
            hot_ngram: 32,
            paraphrase: Some(ParaphraseSettings::default()),
        }
    }
}

/// When a stretch of text says the same as a question in other words.
#[derive(Debug, Clone, PartialEq)]
pub struct ParaphraseSettings {
    /// The least share of the question's content words, weighted by how rare they are, 0 to 1.
    pub threshold: f64,
    /// A question with fewer different numbers is left out.
    pub min_numbers: usize,
    /// A question with fewer different content words is left out.
    pub min_content: usize,
    /// How long the stretch may be, in lengths of the question.
    pub stretch: f64,
}

impl Default for ParaphraseSettings {
    fn default() -> Self {
        Self { threshold: 0.65, min_numbers: 2, min_content: 6, stretch: 1.5 }
    }
}

impl Settings {
    /// Whether the settings make sense.
    pub(crate) fn validate(&self) -> Result<(), Error> {
        let share = |value: f64| (0.0..=1.0).contains(&value);
        let weights = |values: &[f64]| {
            values.iter().all(|&value| share(value)) && (values.iter().sum::<f64>() - 1.0).abs() < 1e-6
        };
        let wrong = |setting: &'static str, expected: &'static str| Err(Error::Setting { setting, expected });
        if !(share(self.threshold) && self.threshold > 0.0) {
            return wrong("threshold", "a number above 0, up to 1");
        }
        if !(2..=16).contains(&self.ngram) {
            return wrong("ngram", "2 to 16");
        }
        if !(1..=1000).contains(&self.sample_every) {
            return wrong("sample_every", "1 to 1000");
        }
        if self.max_misses > 100 {
            return wrong("max_misses", "at most 100");
        }
        if !share(self.short_score) {
            return wrong("short_score", "a number from 0 to 1");
        }
        if self.long_question < self.short_question {
            return wrong("long_question", "at least `short_question`");
        }
        if !(1..=10_000).contains(&self.hot_ngram) {
            return wrong("hot_ngram", "1 to 10000");
        }
        if !weights(&self.weights) {
            return wrong("weights", "three numbers that add up to 1");
        }
        if !weights(&self.question_answer_weights) {
            return wrong("question_answer_weights", "two numbers that add up to 1");
        }
        if !weights(&self.question_passage_weights) {
            return wrong("question_passage_weights", "two numbers that add up to 1");
        }
        let Some(paraphrase) = &self.paraphrase else { return Ok(()) };
        if !(share(paraphrase.threshold) && paraphrase.threshold > 0.0) {
            return wrong("paraphrase.threshold", "a number above 0, up to 1");
        }
        if paraphrase.min_numbers == 0 {
            return wrong("paraphrase.min_numbers", "at least 1");
        }
        if !(1.0..=10.0).contains(&paraphrase.stretch) {
            return wrong("paraphrase.stretch", "a number from 1 to 10");
        }
        Ok(())
    }

    /// The least score of a question of so many words.
    pub(crate) fn required(&self, words: usize) -> f64 {
        if words < self.short_question {
            return 1.0;
        }
        if words >= self.long_question {
            return self.threshold;
        }
        let share = (words - self.short_question) as f64 / (self.long_question - self.short_question) as f64;
        (self.short_score + (self.threshold - self.short_score) * share).max(self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_questions_need_more() {
        let settings = Settings::default();
        assert_eq!(settings.required(5), 1.0);
        assert_eq!(settings.required(12), 0.9);
        assert!((settings.required(31) - 0.85).abs() < 1e-9);
        assert_eq!(settings.required(50), 0.8);
        assert_eq!(settings.required(5000), 0.8);
    }

    #[test]
    fn wrong_settings_are_named() {
        let wrong = |change: fn(&mut Settings)| {
            let mut settings = Settings::default();
            change(&mut settings);
            settings.validate().expect_err("a wrong setting").to_string()
        };
        assert!(Settings::default().validate().is_ok());
        assert!(wrong(|settings| settings.threshold = f64::NAN).contains("`threshold`"));
        assert!(wrong(|settings| settings.ngram = 1).contains("`ngram`"));
        assert!(wrong(|settings| settings.sample_every = 0).contains("`sample_every`"));
        assert!(wrong(|settings| settings.weights = [0.5, 0.2, 0.1]).contains("`weights`"));
        assert!(wrong(|settings| settings.long_question = 3).contains("`long_question`"));
        assert!(
            wrong(|settings| settings.paraphrase.as_mut().expect("on").stretch = 0.5).contains("`paraphrase.stretch`")
        );
    }
}
