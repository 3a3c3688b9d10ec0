//! The little grammar that templates leave to the program: articles, capitals, plurals, lists, numbers.

/// Words that begin with a vowel's letter and another sound, and the other way round.
const SOUNDS_LIKE_CONSONANT: [&str; 7] = ["uni", "use", "usu", "eu", "one", "once", "uku"];
const SOUNDS_LIKE_VOWEL: [&str; 3] = ["hour", "honest", "heir"];

/// Whether `an` stands before this word.
pub(crate) fn takes_an(word: &str) -> bool {
    let word = word.trim_start_matches(['"', '\'']).to_lowercase();
    if SOUNDS_LIKE_VOWEL.iter().any(|start| word.starts_with(start)) {
        return true;
    }
    let other = SOUNDS_LIKE_CONSONANT.iter().any(|start| word.starts_with(start));
    word.starts_with(['a', 'e', 'i', 'o', 'u']) && !other || word == "8" || word == "11" || word == "18"
}

/// `a` and `an` put right by the word behind them.
pub(crate) fn right_articles(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 8);
    let mut rest = text;
    while let Some(at) = rest.find(' ') {
        let (word, behind) = (&rest[..at], &rest[at + 1..]);
        let bare = word.trim_start_matches(['"', '(']);
        let lead = &word[..word.len() - bare.len()];
        match bare {
            "a" | "an" | "A" | "An" => {
                out.push_str(lead);
                out.push_str(&bare[..1]);
                out.push_str(if takes_an(behind.split(' ').next().unwrap_or_default()) { "n" } else { "" });
            }
            _ => out.push_str(word),
        }
        out.push(' ');
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// One space between words, none at the ends or before marks, capitals at the starts of sentences and of speech.
pub(crate) fn polish(text: &str) -> String {
    let mut spaced = String::with_capacity(text.len());
    for line in text.trim().split('\n') {
        if !spaced.is_empty() {
            spaced.push('\n');
        }
        let mut first = true;
        for word in line.split_ascii_whitespace() {
            if !first && !word.starts_with(['.', ',', '!', '?', ';']) {
                spaced.push(' ');
            }
            first = false;
            spaced.push_str(word);
        }
    }
    capitals(&right_articles(&spaced))
}

/// Capitals at the start, behind `.`, `!` and `?`, at a line's start, and behind an opening quote. Behind a closing
/// quote nothing changes: what follows may be `said Ana`.
fn capitals(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut wanted = true;
    let mut quoted = false;
    let mut before = ' ';
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                wanted = quoted;
            }
            '\n' => (wanted, quoted) = (true, false),
            ' ' if matches!(before, '.' | '!' | '?') => wanted = true,
            _ => {}
        }
        if wanted && c.is_alphanumeric() {
            out.extend(c.to_uppercase());
            wanted = false;
        } else {
            out.push(c);
        }
        before = c;
    }
    out
}

/// The text with a capital in front.
pub(crate) fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

/// A regular plural.
pub(crate) fn plural(noun: &str) -> String {
    let consonant_y = noun.ends_with('y');
    if consonant_y && !["ay", "ey", "oy", "uy"].iter().any(|end| noun.ends_with(end)) {
        format!("{}ies", &noun[..noun.len() - 1])
    } else if ["s", "x", "z", "ch", "sh"].iter().any(|end| noun.ends_with(end)) {
        format!("{noun}es")
    } else {
        format!("{noun}s")
    }
}

/// `a`, `a and b`, `a, b and c`.
pub(crate) fn listed(items: &[String]) -> String {
    match items {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

const SMALL: [&str; 20] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
];
const TENS: [&str; 10] = ["", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"];

/// A number below a hundred in words, in digits from there on.
pub(crate) fn number_word(number: usize) -> String {
    match number {
        0..20 => SMALL[number].to_owned(),
        20..100 if number.is_multiple_of(10) => TENS[number / 10].to_owned(),
        20..100 => format!("{}-{}", TENS[number / 10], SMALL[number % 10]),
        _ => number.to_string(),
    }
}

/// `first`, `second` ... up to twelve, then `13th`.
pub(crate) fn ordinal(number: usize) -> String {
    const ORDINALS: [&str; 12] = [
        "first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "eleventh",
        "twelfth",
    ];
    match ORDINALS.get(number.wrapping_sub(1)) {
        Some(word) => (*word).to_owned(),
        None => {
            let end = match (number % 100, number % 10) {
                (11..=13, _) => "th",
                (_, 1) => "st",
                (_, 2) => "nd",
                (_, 3) => "rd",
                _ => "th",
            };
            format!("{number}{end}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn articles_follow_the_sound() {
        assert_eq!(right_articles("a apple, an pear, A hour and \"a owl"), "an apple, a pear, An hour and \"an owl");
        assert_eq!(right_articles("an unicorn, a umbrella, an useful a"), "a unicorn, an umbrella, a useful a");
    }

    #[test]
    fn sentences_and_speech_begin_with_capitals() {
        assert_eq!(
            polish(" it  was late . she said, \"come in!\" he came. "),
            "It was late. She said, \"Come in!\" he came."
        );
        assert_eq!(polish("one\ntwo"), "One\nTwo");
    }

    #[test]
    fn plurals_numbers_and_lists() {
        let nouns = ["cat", "box", "berry", "toy", "bush", "bus"].map(plural);
        assert_eq!(nouns, ["cats", "boxes", "berries", "toys", "bushes", "buses"]);
        assert_eq!([3, 13, 20, 42].map(number_word), ["three", "thirteen", "twenty", "forty-two"]);
        assert_eq!([1, 12, 13, 21, 22].map(ordinal), ["first", "twelfth", "13th", "21st", "22nd"]);
        assert_eq!(listed(&["a".into(), "b".into(), "c".into()]), "a, b and c");
    }
}
