//! What a word means, whatever its ending: for comparing texts in other words.

/// Words that say nothing about what a text is about, sorted.
pub(crate) const STOP_WORDS: &[&str] = &[
    "a",
    "about",
    "after",
    "again",
    "all",
    "also",
    "altogether",
    "am",
    "an",
    "and",
    "any",
    "are",
    "as",
    "at",
    "be",
    "because",
    "been",
    "before",
    "being",
    "both",
    "but",
    "by",
    "can",
    "could",
    "did",
    "do",
    "does",
    "doing",
    "done",
    "during",
    "each",
    "else",
    "every",
    "find",
    "for",
    "from",
    "get",
    "gets",
    "given",
    "got",
    "had",
    "has",
    "have",
    "having",
    "he",
    "hence",
    "her",
    "here",
    "hers",
    "him",
    "his",
    "how",
    "however",
    "i",
    "if",
    "in",
    "into",
    "is",
    "it",
    "its",
    "itself",
    "just",
    "let",
    "like",
    "long",
    "make",
    "many",
    "may",
    "me",
    "might",
    "more",
    "most",
    "much",
    "must",
    "my",
    "need",
    "no",
    "not",
    "now",
    "of",
    "off",
    "on",
    "one",
    "only",
    "or",
    "other",
    "our",
    "out",
    "over",
    "own",
    "per",
    "percent",
    "s",
    "same",
    "she",
    "should",
    "so",
    "some",
    "such",
    "suppose",
    "t",
    "take",
    "than",
    "that",
    "the",
    "their",
    "them",
    "then",
    "there",
    "therefore",
    "these",
    "they",
    "this",
    "those",
    "through",
    "thus",
    "to",
    "too",
    "total",
    "under",
    "until",
    "up",
    "upon",
    "us",
    "very",
    "was",
    "we",
    "were",
    "what",
    "when",
    "where",
    "whether",
    "which",
    "while",
    "who",
    "whole",
    "whom",
    "whose",
    "why",
    "will",
    "with",
    "within",
    "would",
    "you",
    "your",
    "yours",
];

/// Words for numbers: those below a hundred, and the larger units.
pub(crate) const NUMBER_WORDS: &[(&str, u64)] = &[
    ("zero", 0),
    ("one", 1),
    ("two", 2),
    ("three", 3),
    ("four", 4),
    ("five", 5),
    ("six", 6),
    ("seven", 7),
    ("eight", 8),
    ("nine", 9),
    ("ten", 10),
    ("eleven", 11),
    ("twelve", 12),
    ("thirteen", 13),
    ("fourteen", 14),
    ("fifteen", 15),
    ("sixteen", 16),
    ("seventeen", 17),
    ("eighteen", 18),
    ("nineteen", 19),
    ("twenty", 20),
    ("thirty", 30),
    ("forty", 40),
    ("fifty", 50),
    ("sixty", 60),
    ("seventy", 70),
    ("eighty", 80),
    ("ninety", 90),
    ("hundred", 100),
    ("thousand", 1000),
    ("million", 1_000_000),
    ("billion", 1_000_000_000),
];

/// Forms that no ending explains, sorted.
const IRREGULAR: &[(&str, &str)] = &[
    ("ate", "eat"),
    ("began", "begin"),
    ("begun", "begin"),
    ("bit", "bite"),
    ("bitten", "bite"),
    ("blew", "blow"),
    ("blown", "blow"),
    ("bought", "buy"),
    ("broke", "break"),
    ("broken", "break"),
    ("brought", "bring"),
    ("built", "build"),
    ("calves", "calf"),
    ("came", "come"),
    ("caught", "catch"),
    ("children", "child"),
    ("chose", "choose"),
    ("chosen", "choose"),
    ("cost", "cost"),
    ("drank", "drink"),
    ("drawn", "draw"),
    ("drew", "draw"),
    ("driven", "drive"),
    ("drove", "drive"),
    ("drunk", "drink"),
    ("dug", "dig"),
    ("dying", "die"),
    ("eaten", "eat"),
    ("fallen", "fall"),
    ("fed", "feed"),
    ("feet", "foot"),
    ("fell", "fall"),
    ("felt", "feel"),
    ("flew", "fly"),
    ("flown", "fly"),
    ("fought", "fight"),
    ("found", "find"),
    ("gave", "give"),
    ("geese", "goose"),
    ("given", "give"),
    ("goes", "go"),
    ("gone", "go"),
    ("grew", "grow"),
    ("grown", "grow"),
    ("halves", "half"),
    ("held", "hold"),
    ("heroes", "hero"),
    ("hid", "hide"),
    ("hidden", "hide"),
    ("hung", "hang"),
    ("kept", "keep"),
    ("knew", "know"),
    ("knives", "knife"),
    ("known", "know"),
    ("laid", "lay"),
    ("leaves", "leaf"),
    ("led", "lead"),
    ("left", "leave"),
    ("lent", "lend"),
    ("lit", "light"),
    ("lives", "life"),
    ("loaves", "loaf"),
    ("lost", "lose"),
    ("lying", "lie"),
    ("made", "make"),
    ("meant", "mean"),
    ("men", "man"),
    ("met", "meet"),
    ("mice", "mouse"),
    ("oxen", "ox"),
    ("paid", "pay"),
    ("people", "person"),
    ("potatoes", "potato"),
    ("ran", "run"),
    ("read", "read"),
    ("ridden", "ride"),
    ("risen", "rise"),
    ("rode", "ride"),
    ("rose", "rise"),
    ("said", "say"),
    ("sang", "sing"),
    ("sank", "sink"),
    ("sat", "sit"),
    ("saw", "see"),
    ("seen", "see"),
    ("sent", "send"),
    ("shaken", "shake"),
    ("shelves", "shelf"),
    ("shoes", "shoe"),
    ("shook", "shake"),
    ("shot", "shoot"),
    ("slept", "sleep"),
    ("sold", "sell"),
    ("spent", "spend"),
    ("spoke", "speak"),
    ("spoken", "speak"),
    ("stole", "steal"),
    ("stolen", "steal"),
    ("stood", "stand"),
    ("stuck", "stick"),
    ("sung", "sing"),
    ("swam", "swim"),
    ("swept", "sweep"),
    ("taken", "take"),
    ("taught", "teach"),
    ("teeth", "tooth"),
    ("thought", "think"),
    ("threw", "throw"),
    ("thrown", "throw"),
    ("told", "tell"),
    ("tomatoes", "tomato"),
    ("took", "take"),
    ("tore", "tear"),
    ("torn", "tear"),
    ("tying", "tie"),
    ("understood", "understand"),
    ("went", "go"),
    ("wives", "wife"),
    ("woke", "wake"),
    ("wolves", "wolf"),
    ("women", "woman"),
    ("won", "win"),
    ("wore", "wear"),
    ("worn", "wear"),
    ("written", "write"),
    ("wrote", "write"),
];

fn is_vowel(byte: u8) -> bool {
    matches!(byte, b'a' | b'e' | b'i' | b'o' | b'u' | b'y')
}

/// Cuts the ending off a folded word, so that `baked`, `bakes`, `baking` and `bake` become the same. Words of other scripts stay.
pub(crate) fn stem(word: &mut Vec<u8>) {
    if let Ok(place) = IRREGULAR.binary_search_by(|(form, _)| form.as_bytes().cmp(word)) {
        word.clear();
        word.extend_from_slice(IRREGULAR[place].1.as_bytes());
    }
    if !word.is_ascii() || word.len() < 4 {
        return;
    }
    let long = |word: &[u8], ending: &[u8]| {
        word.strip_suffix(ending).is_some_and(|rest| rest.len() >= 3 && rest.iter().any(|&byte| is_vowel(byte)))
    };
    // The plural, and the possessive whose apostrophe was dropped.
    if word.ends_with(b"ies") && word.len() > 4 {
        word.truncate(word.len() - 3);
        word.push(b'y');
    } else if [&b"sses"[..], b"shes", b"ches", b"xes", b"zes", b"oes"].iter().any(|ending| word.ends_with(ending)) {
        word.truncate(word.len() - 2);
    } else if word.ends_with(b"s") && !word.ends_with(b"ss") && !word.ends_with(b"us") && !word.ends_with(b"is") {
        word.pop();
    }
    if long(word, b"ied") {
        word.truncate(word.len() - 3);
        word.push(b'y');
    } else if let Some(ending) = [&b"ing"[..], b"ed"].into_iter().find(|ending| long(word, ending)) {
        word.truncate(word.len() - ending.len());
        if let [.., a, b] = word[..]
            && a == b
            && !matches!(a, b'l' | b's' | b'z' | b'e' | b'o')
        {
            word.pop();
        }
    } else if long(word, b"ly") {
        word.truncate(word.len() - 2);
    }
    // `bake` and `bak(ing)`, `party` and `parti(es)`.
    if word.len() > 3 && word.ends_with(b"e") {
        word.pop();
    }
    if word.ends_with(b"y") && word.len() > 3 {
        word.pop();
        word.push(b'i');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stemmed(word: &str) -> String {
        let mut bytes = word.as_bytes().to_vec();
        stem(&mut bytes);
        String::from_utf8(bytes).expect("UTF-8")
    }

    #[test]
    fn endings_make_no_difference() {
        for family in [
            &["bake", "bakes", "baked", "baking"][..],
            &["duck", "ducks"],
            &["party", "parties"],
            &["carry", "carries", "carried"],
            &["stop", "stops", "stopped", "stopping"],
            &["box", "boxes"],
            &["class", "classes"],
            &["sell", "sells", "selling"],
            &["daily"],
            &["quick", "quickly"],
            &["drive", "drives", "driving", "drove", "driven"],
            &["sell", "sold"],
            &["leaf", "leaves"],
            &["shoe", "shoes"],
            &["pass", "passes", "passed", "passing"],
        ] {
            for word in family {
                assert_eq!(stemmed(word), stemmed(family[0]), "{word}");
            }
        }
        for (a, b) in [("cat", "car"), ("king", "kin"), ("red", "r"), ("bus", "bu"), ("this", "thi"), ("need", "ne")] {
            assert_ne!(stemmed(a), stemmed(b));
        }
    }

    #[test]
    fn the_lists_are_sorted() {
        assert!(STOP_WORDS.is_sorted());
        assert!(IRREGULAR.is_sorted());
    }

    #[test]
    fn any_bytes_will_do() {
        for word in ["", "s", "ies", "eeed", "inging", "\u{7ae0}", "ssss", "yyyy", "eeee"] {
            stemmed(word);
        }
    }
}
