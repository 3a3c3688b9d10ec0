//! Texts as sets of shingles, and how alike two sets are.

use super::hash;
use super::normal;

/// How shingles are cut and named.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut {
    chars: usize,
    base: u64,
    /// `base` to the power of `chars`.
    leaving: u64,
    seed: u64,
}

/// Buffers for one text.
#[derive(Debug, Default)]
pub(crate) struct Forms {
    pub(crate) folded: String,
    unified: String,
}

impl Forms {
    /// Takes a text; `folded` is then its exact form.
    pub(crate) fn take(&mut self, text: &str) {
        normal::fold(text, &mut self.folded);
        normal::unify(&self.folded, &mut self.unified);
    }

    /// What shingles are cut from.
    pub(crate) fn unified(&self) -> &str {
        // A text of nothing but invisible characters unifies to nothing, and its exact form stands in.
        if self.unified.is_empty() { &self.folded } else { &self.unified }
    }
}

impl Cut {
    pub(crate) fn new(chars: usize, seed: u64) -> Self {
        let base = hash::nth(seed, 0) | 1;
        let leaving = (0..chars).fold(1_u64, |power, _| power.wrapping_mul(base));
        Self { chars, base, leaving, seed: hash::nth(seed, 1) }
    }

    /// The 64-bit names of the shingles of `text` in their order, repeats included. A text of fewer characters than a
    /// shingle has is one shingle; only an empty text has none.
    pub(crate) fn names(&self, text: &str, into: &mut Vec<u64>) {
        into.clear();
        if text.is_ascii() {
            self.roll(text.bytes().map(u64::from), text.bytes().map(u64::from), into);
        } else {
            let codes = || text.chars().map(|c| u64::from(u32::from(c)));
            self.roll(codes(), codes(), into);
        }
    }

    fn roll(&self, mut entering: impl Iterator<Item = u64>, leaving: impl Iterator<Item = u64>, into: &mut Vec<u64>) {
        let (mut state, mut taken) = (0_u64, 0);
        for code in entering.by_ref().take(self.chars) {
            state = state.wrapping_mul(self.base).wrapping_add(code);
            taken += 1;
        }
        if taken == 0 {
            return;
        }
        into.push(hash::mix(state ^ self.seed.wrapping_mul((self.chars - taken) as u64 * 2 + 1)));
        for (new, old) in entering.zip(leaving) {
            state = state.wrapping_mul(self.base).wrapping_add(new).wrapping_sub(old.wrapping_mul(self.leaving));
            into.push(hash::mix(state ^ self.seed));
        }
    }

    /// The set of shingles of a text, in ascending order.
    pub(crate) fn set(&self, text: &str, forms: &mut Forms, into: &mut Vec<u64>) {
        forms.take(text);
        self.names(forms.unified(), into);
        into.sort_unstable();
        into.dedup();
    }
}

/// The Jaccard similarity of two sets in ascending order, if it is at least `threshold`. Two empty sets are alike.
pub(crate) fn jaccard_at_least(left: &[u64], right: &[u64], threshold: f64) -> Option<f64> {
    let similarity = |common: usize| {
        let union = left.len() + right.len() - common;
        if union == 0 { 1.0 } else { common as f64 / union as f64 }
    };
    let (mut a, mut b, mut common) = (0, 0, 0);
    loop {
        // Division rounds monotonically, so what cannot reach the threshold here would not have reached it below.
        let possible = common + (left.len() - a).min(right.len() - b);
        if similarity(possible) < threshold {
            return None;
        }
        if a == left.len() || b == right.len() {
            return Some(similarity(common));
        }
        // Without branches on the data; whether it is still possible is asked every 64 steps.
        for _ in 0..64 {
            let (Some(&x), Some(&y)) = (left.get(a), right.get(b)) else { break };
            common += usize::from(x == y);
            a += usize::from(x <= y);
            b += usize::from(y <= x);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn set(text: &str, chars: usize) -> Vec<u64> {
        let (mut forms, mut into) = (Forms::default(), Vec::new());
        Cut::new(chars, 7).set(text, &mut forms, &mut into);
        into
    }

    fn brute(left: &str, right: &str, chars: usize) -> f64 {
        let cut = |text: &str| -> BTreeSet<String> {
            let mut forms = Forms::default();
            forms.take(text);
            let text: Vec<char> = forms.unified().chars().collect();
            match text.len() {
                0 => BTreeSet::new(),
                length if length < chars => BTreeSet::from([text.iter().collect()]),
                _ => text.windows(chars).map(|window| window.iter().collect()).collect(),
            }
        };
        let (left, right) = (cut(left), cut(right));
        let union = left.union(&right).count();
        if union == 0 { 1.0 } else { left.intersection(&right).count() as f64 / union as f64 }
    }

    /// Figures known for these pairs, to three places.
    #[test]
    fn known_similarities() {
        let pairs = [
            ("What year was the Eiffel Tower built", "In what year was the Eiffel Tower built", 0.919, 0.914),
            (
                "How does LoRA reduce the number of trainable parameters during fine tuning",
                "How does LoRA reduce the number of trainable parameters in fine tuning",
                0.851,
                0.789,
            ),
        ];
        for (left, right, three, five) in pairs {
            for (chars, expected) in [(3, three), (5, five)] {
                let got = jaccard_at_least(&set(left, chars), &set(right, chars), 0.0).expect("a similarity");
                assert!((got - expected).abs() < 0.0006, "{chars}: {got} against {expected}: {left}");
            }
        }
    }

    #[test]
    fn short_texts_have_shingles() {
        assert_eq!(set("", 5).len(), 0);
        for text in ["a", "ab", "abcd", "abcde", "日本"] {
            assert_eq!(set(text, 5).len(), 1, "{text}");
        }
        assert_ne!(set("ab", 5), set("ba", 5));
        assert_ne!(set("a", 5), set("\0a", 5));
    }

    proptest! {
        #[test]
        fn sets_of_names_are_sets_of_texts(left in "[abAé ]{0,40}", right in "[abAé ]{0,40}", chars in 1..7_usize) {
            let got = jaccard_at_least(&set(&left, chars), &set(&right, chars), 0.0);
            prop_assert_eq!(got, Some(brute(&left, &right, chars)));
        }

        #[test]
        fn the_threshold_is_met_or_nothing(left in "[ab]{0,200}", right in "[ab]{0,200}", threshold in 0.0..1.0_f64) {
            let (a, b) = (set(&left, 6), set(&right, 6));
            let exact = brute(&left, &right, 6);
            prop_assert_eq!(jaccard_at_least(&a, &b, threshold), (exact >= threshold).then_some(exact));
        }

        #[test]
        fn any_text_is_cut(text in ".*") {
            let set = set(&text, 5);
            prop_assert!(set.len() <= text.chars().count() * 18);
        }
    }
}
