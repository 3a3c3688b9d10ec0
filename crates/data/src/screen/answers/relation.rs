//! Whether an answer belongs to its question: its language, and the words they share.

use std::{collections::HashSet, sync::LazyLock};

use whatlang::{Lang, Script};

use super::{Faults, Row, mentions, ramp};
use crate::screen::text_facts::{head, stable_hash, words};

/// Bytes of a text that its language is found from.
const SAMPLE: usize = 2000;

/// Bytes of a text that its words are taken from.
const WORDS_FROM: usize = 1 << 20;

pub(super) fn language(row: &Row<'_>, faults: &mut Faults<'_>) {
    /// Words of a request for another language.
    const REQUESTS: &[&str] = &[
        "translate",
        "translation",
        "translated",
        "translates",
        "translator",
        "übersetze",
        "übersetzung",
        "traduire",
        "traduisez",
        "traduis",
        "traduce",
        "traducir",
        "traduza",
        "traduci",
        "翻译",
        "翻訳",
        "переведи",
        "переведите",
        "language",
        "english",
        "german",
        "french",
        "spanish",
        "italian",
        "portuguese",
        "dutch",
        "russian",
        "chinese",
        "mandarin",
        "japanese",
        "korean",
        "arabic",
        "hindi",
        "turkish",
        "polish",
        "swedish",
        "danish",
        "norwegian",
        "finnish",
        "greek",
        "hebrew",
        "latin",
        "vietnamese",
        "thai",
        "indonesian",
        "ukrainian",
        "czech",
        "hungarian",
        "romanian",
        "bulgarian",
        "persian",
        "farsi",
        "urdu",
        "bengali",
        "tamil",
        "telugu",
        "swahili",
        "catalan",
        "serbian",
        "croatian",
        "afrikaans",
        "welsh",
        "irish",
        "esperanto",
        "auf deutsch",
        "auf englisch",
        "deutsch",
        "englisch",
        "en anglais",
        "en français",
        "anglais",
        "français",
        "en inglés",
        "inglés",
        "español",
        "em inglês",
        "português",
        "in inglese",
        "italiano",
        "英语",
        "英文",
        "中文",
        "日语",
        "法语",
        "по-английски",
        "английский",
        "русском",
    ];
    if row.answer.is_code || mentions(&row.asked, REQUESTS) {
        return;
    }
    let answer = row.answer.prose(SAMPLE);
    let answer = head(&answer, SAMPLE);
    let question = head(row.question, SAMPLE);
    let (Some(answer_script), Some(question_script)) = (main_script(answer), main_script(question)) else { return };
    if script_family(answer_script) != script_family(question_script) {
        faults.add("other_script_than_question", 1.0, 0.0, 0.12);
        return;
    }
    let (Some(left), Some(right)) = (main_language(answer), main_language(question)) else { return };
    if language_family(left) != language_family(right) {
        faults.add("other_language_than_question", 1.0, 0.0, 0.15);
    }
}

/// The script of four letters out of five; `None` below ten letters (four in scripts whose letters are words).
fn main_script(text: &str) -> Option<Script> {
    let script = whatlang::detect_script(text)?;
    let letters = text.chars().filter(|c| c.is_alphabetic());
    let (mut all, mut latin) = (0, 0);
    for c in letters {
        all += 1;
        latin += usize::from(c.is_ascii_alphabetic() || ('\u{c0}'..='\u{24f}').contains(&c));
    }
    let least = if script_family(script) == script_family(Script::Mandarin) { 4 } else { 10 };
    // Names and terms in Latin letters stand in texts of every script.
    let share = if script == Script::Latin { latin } else { all - latin };
    (all >= least && share * 5 >= all * 4).then_some(script)
}

/// Japanese is written with Chinese characters too, so they are not told apart by the script.
fn script_family(script: Script) -> u8 {
    match script {
        Script::Mandarin | Script::Hiragana | Script::Katakana => u8::MAX,
        other => other as u8,
    }
}

fn main_language(text: &str) -> Option<Lang> {
    let letters = text.chars().filter(|c| c.is_alphabetic()).take(60).count();
    if letters < 20 {
        return None;
    }
    if let Some(found) = by_links(text) {
        return Some(found);
    }
    let found = whatlang::detect(text)?;
    (found.is_reliable() && found.confidence() >= if letters == 60 { 0.9 } else { 0.99 }).then(|| found.lang())
}

/// The language whose little words a text is full of. For short texts this is surer than the shares of letters.
fn by_links(text: &str) -> Option<Lang> {
    const LINKS: &[(Lang, &str)] = &[
        (
            Lang::Eng,
            "the of and is what how to does are which you with for that it this who was i my from by can be a in an on or \
             not do did has have at as we why when where if its your",
        ),
        (
            Lang::Deu,
            "der die das und ist wie ein eine einen nicht zu den mit von für auf ich wird sich dem werden auch sind \
             wer es sie er wir im am bei oder wenn aus",
        ),
        (
            Lang::Fra,
            "le la les et est des une un du dans que qui pour pas quelle quel vous je nous sont avec ce comment au aux \
             il elle on sur par ou en se son sa de",
        ),
        (
            Lang::Spa,
            "el la los las y es una un del que para con por qué cómo cuál se su está son más como pero en al lo sus no \
             si o de",
        ),
        (
            Lang::Por,
            "o os as e é uma um do da dos das que para com não em como qual são mais você na no ao por se seu sua ou de",
        ),
        (
            Lang::Ita,
            "il lo gli di che è una un del della per con non sono come qual nel si dei più anche alla la le i e al da \
             cosa o",
        ),
        (Lang::Nld, "de het een en van niet zijn met voor op dat wat hoe je ik wordt naar ook er te aan om u bij"),
    ];
    static LISTS: LazyLock<Vec<HashSet<&'static str>>> =
        LazyLock::new(|| LINKS.iter().map(|(_, list)| list.split_whitespace().collect()).collect());
    let mut counts = [0usize; 7];
    let mut all = 0;
    for word in words(text).filter(|word| word.has_letter) {
        all += 1;
        if word.text.len() > 5 {
            continue;
        }
        let word = word.text.to_lowercase();
        for (count, list) in counts.iter_mut().zip(LISTS.iter()) {
            *count += usize::from(list.contains(word.as_str()));
        }
    }
    let best = (0..counts.len()).max_by_key(|&at| counts[at])?;
    let second = (0..counts.len()).filter(|&at| at != best).map(|at| counts[at]).max()?;
    (counts[best] >= 2 && counts[best] > 2 * second && counts[best] * 6 >= all).then_some(LINKS[best].0)
}

/// Languages that are taken for each other in short texts count as one.
fn language_family(lang: Lang) -> u8 {
    const FAMILIES: &[&[Lang]] = &[
        &[Lang::Spa, Lang::Por, Lang::Cat],
        &[Lang::Dan, Lang::Nob, Lang::Swe],
        &[Lang::Rus, Lang::Ukr, Lang::Bel, Lang::Bul, Lang::Srp, Lang::Mkd],
        &[Lang::Hrv, Lang::Slv, Lang::Srp],
        &[Lang::Ces, Lang::Slk],
        &[Lang::Nld, Lang::Afr],
        &[Lang::Ind, Lang::Jav],
        &[Lang::Hin, Lang::Mar, Lang::Nep],
    ];
    FAMILIES.iter().position(|family| family.contains(&lang)).map_or(lang as u8, |at| 200 + at as u8)
}

/// Words of at least four letters that say nothing about the subject.
const COMMON: &[&str] = &[
    "that",
    "this",
    "with",
    "from",
    "have",
    "what",
    "which",
    "your",
    "about",
    "would",
    "there",
    "their",
    "they",
    "will",
    "when",
    "where",
    "were",
    "been",
    "does",
    "into",
    "more",
    "some",
    "such",
    "than",
    "them",
    "then",
    "these",
    "could",
    "should",
    "other",
    "only",
    "also",
    "just",
    "make",
    "made",
    "using",
    "used",
    "uses",
    "want",
    "need",
    "please",
    "write",
    "give",
    "explain",
    "describe",
    "following",
    "each",
    "very",
    "much",
    "most",
    "over",
    "like",
    "here",
    "because",
    "while",
    "after",
    "before",
    "being",
    "between",
    "both",
    "during",
    "even",
    "first",
    "must",
    "same",
    "those",
    "through",
    "under",
    "well",
    "within",
    "without",
    "whether",
    "might",
    "shall",
    "doing",
    "done",
    "every",
    "find",
    "good",
    "best",
    "create",
    "list",
    "name",
    "tell",
    "show",
    "sentence",
    "answer",
    "question",
    "given",
    "provide",
    "generate",
    "dass",
    "eine",
    "einer",
    "einen",
    "nicht",
    "sind",
    "wird",
    "auch",
    "werden",
    "oder",
    "aber",
    "dans",
    "pour",
    "avec",
    "sont",
    "cette",
    "plus",
    "comme",
    "para",
    "como",
    "pero",
    "esta",
    "este",
    "entre",
    "sobre",
    "também",
    "della",
    "sono",
    "anche",
    "come",
];

/// Words that fit an answer to every question.
const GENERIC: &[&str] = &[
    "many",
    "factor",
    "factors",
    "important",
    "thing",
    "things",
    "various",
    "different",
    "depend",
    "depends",
    "depending",
    "consider",
    "several",
    "ways",
    "generally",
    "overall",
    "situation",
    "situations",
    "however",
    "aspect",
    "aspects",
    "great",
    "hope",
    "helps",
    "help",
    "helpful",
    "know",
    "known",
    "information",
    "further",
    "feel",
    "free",
    "sure",
    "certainly",
    "course",
    "happy",
    "assist",
    "specific",
    "specifics",
    "detail",
    "details",
    "topic",
    "subject",
    "matter",
    "interesting",
    "complex",
    "always",
    "often",
    "sometimes",
    "usually",
    "really",
    "simply",
    "people",
    "someone",
    "something",
    "anything",
    "everything",
    "everyone",
    "anyone",
    "case",
    "cases",
    "circumstances",
    "context",
    "research",
    "consult",
    "professional",
    "advice",
    "keep",
    "mind",
    "note",
    "noting",
    "worth",
    "remember",
    "ultimately",
    "truly",
    "lots",
    "there's",
    "it's",
    "that's",
    "don't",
    "i'm",
    "i'd",
    "you're",
    "able",
    "unable",
    "provided",
    "response",
    "additional",
    "questions",
    "asking",
    "thank",
    "thanks",
    "today",
    "world",
    "life",
    "time",
    "times",
    "possible",
    "maybe",
    "perhaps",
    "sorry",
    "apologize",
    "understand",
    "understanding",
    "clear",
    "clearly",
    "approach",
    "approaches",
    "points",
    "point",
    "view",
    "perspective",
    "perspectives",
    "opinion",
    "opinions",
    "individual",
    "individuals",
    "personal",
    "hard",
    "difficult",
    "easy",
    "simple",
    "right",
    "wrong",
    "true",
    "think",
    "thought",
    "believe",
    "essential",
    "crucial",
    "vital",
    "role",
    "play",
    "plays",
    "significant",
    "significantly",
    "impact",
    "conclusion",
    "summary",
    "general",
    "particular",
];

/// The first letters of a word in small letters, so that `adapter` and `adapters` are one; `None` for words that say
/// nothing about the subject.
fn stem(word: &str) -> Option<u64> {
    let mut small = [0; 64];
    let mut length = 0;
    let mut letters = 0;
    let mut digit = false;
    // In scripts without blanks a character is a word, and in others short words carry more than in ours.
    let mut other_script = false;
    for c in word.chars().flat_map(char::to_lowercase).take(12) {
        letters += 1;
        digit |= c.is_ascii_digit();
        other_script |= c > '\u{52f}';
        if letters <= 6 {
            length += c.encode_utf8(&mut small[length..]).len();
        }
    }
    if letters < 4 && !digit && !other_script {
        return None;
    }
    if word.len() <= 12 && is_listed(word, COMMON) {
        return None;
    }
    Some(stable_hash(&small[..length]))
}

fn is_listed(word: &str, list: &[&str]) -> bool {
    list.iter().any(|known| word.len() == known.len() && word.eq_ignore_ascii_case(known))
}

/// Of the different words in the answer that are no common ones: how many are specific, and how many there are.
/// `None` where this says nothing: few words, code, or another script.
pub(super) fn specific_words(row: &Row<'_>) -> Option<(usize, usize)> {
    if row.answer.is_code || row.answer.word_count < 8 || row.answer.word_count > 400 {
        return None;
    }
    let (mut seen, mut specific, mut all, mut foreign) = (HashSet::new(), 0, 0, 0);
    for word in row.answer.tokens.iter().filter(|word| word.is_word) {
        foreign += usize::from(!word.text.is_ascii());
        // Numbers and names are specific, however short.
        let short = word.text.chars().nth(3).is_none();
        let counts = word.text.bytes().any(|byte| byte.is_ascii_digit()) || (!short && !is_listed(word.text, COMMON));
        if counts && seen.insert(word.text) {
            all += 1;
            specific += usize::from(!is_listed(word.text, GENERIC));
        }
    }
    (foreign * 10 < row.answer.word_count && all >= 4).then_some((specific, all))
}

pub(super) fn relevance(row: &Row<'_>, faults: &mut Faults<'_>) {
    let stems = |text: &str| {
        words(head(text, WORDS_FROM))
            .filter(|word| word.is_word)
            .filter_map(|word| stem(word.text))
            .collect::<HashSet<u64>>()
    };
    let asked = stems(row.question);
    let answered: HashSet<u64> =
        row.answer.tokens.iter().filter(|word| word.is_word).filter_map(|word| stem(word.text)).collect();
    if let Some(passage) = row.context.passage {
        let source = stems(passage);
        if answered.len() >= 3 && source.len() >= 10 {
            let known = answered.iter().filter(|stem| source.contains(stem) || asked.contains(stem)).count();
            let share = known as f64 / answered.len() as f64;
            if share < 0.5 {
                faults.add("answer_not_from_passage", share, 0.5, 0.15 + 0.85 * ramp(share, 0.1, 0.5));
            }
        }
        if asked.len() >= 3 && source.len() >= 10 && !asked.iter().any(|stem| source.contains(stem)) {
            faults.add("question_not_about_passage", 0.0, 1.0, 0.5);
        }
        return;
    }
    if row.answer.is_code
        || asked.len() < 3
        || row.answer.word_count < 15
        || mentions(&row.asked, &["translate", "translation", "write a poem", "write a story"])
    {
        return;
    }
    let shared = asked.iter().filter(|stem| answered.contains(stem)).count();
    // A long question leaves more to take up.
    let expected = if asked.len() >= 8 { 2 } else { 1 };
    if shared < expected {
        faults.add(
            "shares_no_words_with_question",
            shared as f64,
            expected as f64,
            if shared == 0 { 0.5 } else { 0.72 },
        );
    }
}
