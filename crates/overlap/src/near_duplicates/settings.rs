//! What may be chosen.

use super::{Error, Guard};

/// Of a thousand pairs right at the threshold, fewer than one may be missed.
const MISSED: f64 = 1e-4;

/// How near-duplicates are found.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The Jaccard similarity from which two texts are near-duplicates.
    pub threshold: f64,
    /// Characters of a shingle; a shorter text is one shingle. Five suit rows. In a question, where one changed word is
    /// much of the text, three find more ([`Settings::for_questions`]); in long texts three are too few, since most
    /// runs of three letters stand in all of them.
    pub shingle_chars: usize,
    /// Bands of a sketch: two texts are compared if they agree in one of them. Each costs four bytes per row.
    pub bands: usize,
    /// Bins in which texts have to agree to agree in a band. `None` stands for as many, up to five, as leave the recall
    /// at the threshold at 0.9999 or more.
    pub rows_per_band: Option<usize>,
    /// Where the random numbers of the sketches begin.
    pub seed: u64,
    /// What keeps texts apart that are nearly equal.
    pub guard: Guard,
    /// Pairs in [`Report::guarded`](super::Report::guarded) at most; all are counted.
    pub listed: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            threshold: 0.85,
            shingle_chars: 5,
            bands: 25,
            rows_per_band: None,
            seed: 1,
            guard: Guard::default(),
            listed: 1_000,
        }
    }
}

impl Settings {
    /// The default, for questions and other texts of a sentence or two.
    pub fn for_questions() -> Self {
        Self { shingle_chars: 3, ..Self::default() }
    }

    /// The probability that two texts of that similarity are compared, unless they are in a crowd: there it is 1.
    ///
    /// This is 1 - (1 - sʳ)ᵇ for b bands of r bins, which holds for independent bins and is a lower bound here.
    pub fn recall_at(&self, similarity: f64) -> f64 {
        1.0 - missed(similarity, self.bands, self.bins_per_band())
    }

    pub(crate) fn bins_per_band(&self) -> usize {
        self.rows_per_band.unwrap_or_else(|| {
            (2..=5).rev().find(|&bins| missed(self.threshold, self.bands, bins) <= MISSED).unwrap_or(1)
        })
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        in_range("threshold", self.threshold > 0.0 && self.threshold <= 1.0, self.threshold, "above 0 and at most 1")?;
        in_range("shingle_chars", (1..=256).contains(&self.shingle_chars), self.shingle_chars, "from 1 to 256")?;
        in_range("bands", (1..=256).contains(&self.bands), self.bands, "from 1 to 256")?;
        let bins = self.bins_per_band();
        in_range("rows_per_band", (1..=64).contains(&bins), bins, "from 1 to 64")
    }
}

fn missed(similarity: f64, bands: usize, bins: usize) -> f64 {
    (1.0 - similarity.clamp(0.0, 1.0).powi(bins as i32)).powi(bands as i32)
}

pub(crate) fn in_range(
    name: &'static str,
    is_in: bool,
    got: impl ToString,
    expected: &'static str,
) -> Result<(), Error> {
    if is_in { Ok(()) } else { Err(Error::Setting { name, got: got.to_string(), expected }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_misses_one_in_a_million() {
        let settings = Settings::default();
        assert_eq!((settings.bands, settings.bins_per_band()), (25, 5));
        assert!(settings.recall_at(0.85) > 1.0 - 1e-6);
        assert_eq!(settings.recall_at(1.0), 1.0);
        assert_eq!(settings.recall_at(0.0), 0.0);
    }

    #[test]
    fn bands_follow_the_threshold() {
        for hundredths in 35..=100 {
            let settings = Settings { threshold: f64::from(hundredths) / 100.0, ..Settings::default() };
            assert!(settings.recall_at(settings.threshold) >= 0.9999, "{hundredths}");
        }
        let settings = Settings { rows_per_band: Some(8), ..Settings::default() };
        assert!(settings.recall_at(0.85) < 0.9999);
    }

    #[test]
    fn settings_out_of_range_are_named() {
        let cases = [
            (Settings { threshold: 0.0, ..Settings::default() }, "threshold"),
            (Settings { threshold: f64::NAN, ..Settings::default() }, "threshold"),
            (Settings { threshold: 1.5, ..Settings::default() }, "threshold"),
            (Settings { shingle_chars: 0, ..Settings::default() }, "shingle_chars"),
            (Settings { bands: 0, ..Settings::default() }, "bands"),
            (Settings { rows_per_band: Some(0), ..Settings::default() }, "rows_per_band"),
        ];
        for (settings, name) in cases {
            let message = settings.check().expect_err(name).to_string();
            assert!(message.contains(name), "{message}");
        }
        assert!(Settings::default().check().is_ok());
    }
}
