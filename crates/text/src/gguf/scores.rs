//! Scores of sentencepiece BPE as merges, and back.
//!
//! Sentencepiece joins the neighbours whose joined text is the token with the highest score, wherever the parts came
//! from; tokenizer.json lists pairs, the first one joined first. A score is therefore the rank of every way to cut
//! the token in two.

use std::collections::HashMap;

/// Most comparisons of bytes that cutting all tokens in two may cost; a real vocabulary of 256,000 tokens needs 0.02e9.
const MOST_WORK: u64 = 4_000_000_000;

/// A pair of tokens that is joined, by their ids.
pub(crate) type Pair = (u32, u32);

/// The pairs of tokens that are joined, the first one first.
///
/// `tokens` are those that joining may yield or start from: id, text and score.
///
/// # Errors
/// What is wrong, for a vocabulary so absurd that this would take minutes.
pub(crate) fn merges_of_scores(tokens: &[(u32, &str, f32)]) -> Result<Vec<Pair>, String> {
    let work: u64 = tokens.iter().map(|(_, text, _)| (text.len() as u64).pow(2)).sum();
    if work > MOST_WORK {
        return Err(format!("its tokens are too long (the squares of their lengths add up to {work} bytes)"));
    }
    let ids: HashMap<&str, u32> = tokens.iter().map(|(id, text, _)| (*text, *id)).collect();
    let mut order: Vec<&(u32, &str, f32)> = tokens.iter().collect();
    order.sort_by(|a, b| b.2.total_cmp(&a.2).then(a.0.cmp(&b.0)));
    let mut merges = Vec::new();
    for (_, text, _) in order {
        let from = merges.len();
        for (at, _) in text.char_indices().skip(1) {
            if let (Some(left), Some(right)) = (ids.get(&text[..at]), ids.get(&text[at..])) {
                merges.push((*left, *right));
            }
        }
        // Which way to cut comes first has no meaning for sentencepiece; this is the order of converted tokenizers.
        merges[from..].sort_unstable();
    }
    Ok(merges)
}

/// A score for each id with which joining by scores follows `merges`, and the tokens for which it cannot.
///
/// Tokens that are joined get 0, -1, -2 in the order of their first pair, then the others follow in the order of
/// their ids: for a tokenizer.json that was converted from sentencepiece these are the scores that it had.
/// `tokens` are the normal ones.
pub(super) fn scores_of_merges(tokens: &[(u32, &str)], merges: &[(&str, &str)]) -> (Vec<(u32, f32)>, Vec<Irregular>) {
    let ids: HashMap<&str, u32> = tokens.iter().map(|(id, text)| (*text, *id)).collect();
    let mut first: HashMap<u32, usize> = HashMap::new();
    let mut ways: HashMap<u32, Vec<Pair>> = HashMap::new();
    let mut last_token = None;
    let mut irregular = Vec::new();
    let mut joined = String::new();
    for (rank, (left, right)) in merges.iter().enumerate() {
        joined.clear();
        joined.push_str(left);
        joined.push_str(right);
        let (Some(&id), Some(&left), Some(&right)) = (ids.get(joined.as_str()), ids.get(left), ids.get(right)) else {
            continue;
        };
        if first.contains_key(&id) && last_token != Some(id) {
            irregular.push(Irregular { token: id, why: "its pairs are not joined one after the other" });
        }
        first.entry(id).or_insert(rank);
        ways.entry(id).or_default().push((left, right));
        last_token = Some(id);
    }
    for (id, text) in tokens {
        let listed = ways.get(id).map_or(&[][..], Vec::as_slice);
        let unlisted = text.char_indices().skip(1).any(|(at, _)| {
            let cut = (ids.get(&text[..at]), ids.get(&text[at..]));
            matches!(cut, (Some(left), Some(right)) if !listed.contains(&(*left, *right)))
        });
        if unlisted {
            irregular.push(Irregular { token: *id, why: "it is joined from some of its parts only" });
        }
    }
    let mut order: Vec<u32> = tokens.iter().map(|(id, _)| *id).collect();
    order.sort_by_key(|id| (first.get(id).copied().unwrap_or(usize::MAX), *id));
    let scores = order.iter().enumerate().map(|(at, id)| (*id, -(at as f32))).collect();
    (scores, irregular)
}

/// A token that scores join in other places than the merges do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Irregular {
    /// The token.
    pub(super) token: u32,
    /// What is special about it.
    pub(super) why: &'static str,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_a_token_is_a_merge_at_its_score() {
        let tokens = [(0, "a", -9.0), (1, "b", -9.0), (2, "ab", -1.0), (3, "aab", -2.0), (4, "aa", -3.0)];
        assert_eq!(merges_of_scores(&tokens).expect("small"), [(0, 1), (0, 2), (4, 1), (0, 0)]);
    }

    #[test]
    fn scores_follow_the_merges() {
        let tokens = [(0, "b"), (1, "a"), (2, "aab"), (3, "ab")];
        let (scores, irregular) = scores_of_merges(&tokens, &[("a", "b"), ("a", "ab")]);
        assert_eq!(scores, [(3, 0.0), (2, -1.0), (0, -2.0), (1, -3.0)]);
        assert_eq!(irregular, []);
    }

    #[test]
    fn what_scores_cannot_say_is_named() {
        let tokens = [(0, "a"), (1, "b"), (2, "ab"), (3, "aab"), (4, "aa"), (5, "bb")];
        let (_, irregular) = scores_of_merges(&tokens, &[("a", "ab"), ("a", "b"), ("aa", "b"), ("a", "a")]);
        let tokens: Vec<u32> = irregular.iter().map(|irregular| irregular.token).collect();
        assert_eq!(tokens, [3, 5]); // joined twice with another between; never joined, although its parts are there
    }

    #[test]
    fn absurd_tokens_are_refused() {
        let long = "x".repeat(100_000);
        assert!(merges_of_scores(&[(0, &long, 0.0)]).is_err());
    }
}
