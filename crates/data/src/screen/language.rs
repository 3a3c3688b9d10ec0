//! Which language a text is in: its script, the small words that hold its sentences together, and trigrams (the crate
//! `whatlang`) where those leave it open.

use std::collections::BTreeMap;

/// How many characters of a text are looked at.
const MAX_CHARACTERS: usize = 8_000;

/// A language and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Detected {
    code: &'static str,
    confidence: f64,
}

impl Detected {
    /// The code of ISO 639-3: `eng`, `deu`, `zho` ...
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// From 0 to 1. Below 0.5 it is a guess.
    pub fn confidence(&self) -> f64 {
        self.confidence
    }
}

/// The small words of a language. Words of several languages count for each in part.
const SMALL_WORDS: &[(&str, &str)] = &[
    (
        "eng",
        "the of and to in is that it for was on are with as be this have from or by not but what which how when who why you your can does do if there their would will has an at a i write give find describe explain",
    ),
    (
        "deu",
        "der die das und ist nicht ein eine zu den mit von auf für im sich des dem auch als wie ich sie er es wird sind war was wer warum oder aber bei nach einen kann haben hat schreibe erkläre",
    ),
    (
        "fra",
        "le la les de des et est un une du en que qui dans pour pas sur au ce il elle je vous nous avec plus par sont mais ou comment pourquoi quel quelle cette aux être c'est",
    ),
    (
        "spa",
        "el la los las de y es un una del en que por para con no se su al lo como más pero qué cómo cuál está son este esta muy también fue ser hay yo",
    ),
    (
        "por",
        "o a os as de e é um uma do da em que por para com não se no na dos das ao mais mas como qual são está este esta muito também foi ser você eu pelo",
    ),
    (
        "ita",
        "il lo la i gli le di e è un una del della in che per con non si su al come più ma cosa sono questo questa anche nel alla dei qual perché ho delle",
    ),
    (
        "nld",
        "de het een en van is niet in op te dat voor met zijn er aan ook als om maar door wat hoe wordt bij naar uit deze dit ik je kan heeft hebben waarom",
    ),
    (
        "swe",
        "och i att det som en på är av för med den till inte om ett han hon jag du var har de från vad hur när kan men eller detta också sig",
    ),
    (
        "dan",
        "og i at det som en på er af for med den til ikke om et han hun jeg du var har de fra hvad hvordan når kan men eller dette også sig hvorfor",
    ),
    (
        "nob",
        "og i at det som en på er av for med den til ikke om et han hun jeg du var har de fra hva hvordan når kan men eller dette også seg hvorfor",
    ),
    (
        "fin",
        "ja on ei se että hän oli joka ovat mutta kun myös tai niin minä sinä mitä miten miksi kuin ole tämä sen voi olla jos hänen",
    ),
    (
        "pol",
        "i w na z do się nie że to jest o jak za po co tak od ale czy dla są który która przez był może być ten ta tego dlaczego",
    ),
    (
        "ces",
        "a v na se je že s z do o to i jako za po pro ale co jak který která byl by jsou nebo tak jeho není když proč od",
    ),
    (
        "ron",
        "și în de la cu o un pe nu că este a din care pentru mai sunt ce să al se dar cum sau fi prin lui această acest",
    ),
    (
        "hun",
        "a az és hogy nem is egy van meg de ez ha mint csak már vagy volt én ki mi hogyan miért azt ezt el lehet között",
    ),
    (
        "tur",
        "ve bir bu için da de ile ne çok daha gibi var olarak o ben sen nasıl neden ama en kadar olan değil mi her sonra",
    ),
    (
        "vie",
        "và của là có không trong một những được cho các với này người khi đã để như từ ở cũng nhưng về tôi bạn làm",
    ),
    (
        "ind",
        "yang dan di ini itu dengan untuk tidak dari dalam adalah pada ke akan juga atau ada saya anda bisa oleh sebagai apa bagaimana karena mereka",
    ),
    (
        "cat",
        "el la els les de i és un una del en que per amb no es al com més però què són aquest aquesta també ha dels",
    ),
    (
        "rus",
        "и в не на что я с он как это а по но она к у же из за от так все бы было для мы вы то или его если есть почему",
    ),
    ("ukr", "і в не на що я з він як це а по але вона до у та за від так все для ми ви чи його якщо є чому який також"),
    ("bul", "и в не на че аз с той как това а по но тя към у за от така да се са ли или който е защо също ще бъде"),
    ("ara", "في من على إلى أن هذا هذه التي الذي ما هو هي عن لا كان مع كيف لماذا و أو كل بعد"),
    ("pes", "و در به از که این است را با برای آن یک هم می چه چرا تا بر شود هر ما من"),
    ("urd", "اور کے کی میں ہے کا سے کو یہ نے پر کہ ہیں وہ کیا نہیں بھی ایک تھا"),
    ("hin", "और के की में है का से को यह ने पर कि हैं वह क्या नहीं भी एक था लिए"),
    ("mar", "आणि आहे च्या हे ते या मध्ये नाही होते काय एक तो ती व का आहेत"),
];

/// Scripts of one language.
fn of_script(sign: char) -> Option<&'static str> {
    Some(match sign {
        '\u{370}'..='\u{3ff}' | '\u{1f00}'..='\u{1fff}' => "ell",
        '\u{530}'..='\u{58f}' => "hye",
        '\u{590}'..='\u{5ff}' => "heb",
        '\u{980}'..='\u{9ff}' => "ben",
        '\u{a00}'..='\u{a7f}' => "pan",
        '\u{a80}'..='\u{aff}' => "guj",
        '\u{b80}'..='\u{bff}' => "tam",
        '\u{c00}'..='\u{c7f}' => "tel",
        '\u{c80}'..='\u{cff}' => "kan",
        '\u{d00}'..='\u{d7f}' => "mal",
        '\u{e00}'..='\u{e7f}' => "tha",
        '\u{1000}'..='\u{109f}' => "mya",
        '\u{10a0}'..='\u{10ff}' => "kat",
        '\u{1200}'..='\u{137f}' => "amh",
        '\u{1780}'..='\u{17ff}' => "khm",
        '\u{ac00}'..='\u{d7a3}' | '\u{1100}'..='\u{11ff}' => "kor",
        '\u{3040}'..='\u{30ff}' => "jpn",
        '\u{4e00}'..='\u{9fff}' | '\u{3400}'..='\u{4dbf}' => "zho",
        _ => return None,
    })
}

/// The language of a text, or `None` where it shows none: numbers, code, a single name.
pub fn detect(text: &str) -> Option<Detected> {
    let sample = super::shortened(text, MAX_CHARACTERS);
    let mut scripts: BTreeMap<&'static str, usize> = BTreeMap::new();
    let mut letters = 0;
    for sign in sample.chars().filter(|sign| sign.is_alphabetic()) {
        letters += 1;
        if let Some(code) = of_script(sign) {
            *scripts.entry(code).or_default() += 1;
        }
    }
    if letters < 2 {
        return None;
    }
    // Japanese mixes its syllables with Chinese characters.
    let kana = scripts.get("jpn").copied().unwrap_or(0);
    let han = scripts.get("zho").copied().unwrap_or(0);
    if kana > 0 && kana * 10 >= han {
        scripts.insert("jpn", kana + han);
        scripts.remove("zho");
    }
    if let Some((&code, &count)) = scripts.iter().max_by_key(|(_, count)| **count) {
        // Half a character of these scripts says as much as a letter.
        let weight = if matches!(code, "zho" | "jpn" | "kor") { 2 } else { 1 };
        let (own, others) = (count * weight, letters - count);
        if own > others {
            return Some(Detected { code, confidence: own as f64 / (own + others) as f64 });
        }
    }
    by_words(sample)
}

fn by_words(sample: &str) -> Option<Detected> {
    let plain = sample.to_lowercase();
    let words: Vec<&str> = plain
        .split(|sign: char| !(sign.is_alphabetic() || sign == '\'' || is_mark(sign)))
        .filter(|word| !word.is_empty())
        .collect();
    let mut scores: Vec<(f64, &'static str)> = SMALL_WORDS
        .iter()
        .map(|(code, list)| {
            let hits = words.iter().filter(|word| list.split(' ').any(|small| small == **word)).count();
            (hits as f64, *code)
        })
        .collect();
    scores.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    let (best, second) = (scores[0], scores[1]);
    let share = best.0 / words.len().max(1) as f64;
    let trigrams = whatlang::detect(sample).map(|info| {
        let code = info.lang().code();
        (if code == "cmn" { "zho" } else { code }, info.confidence(), info.is_reliable())
    });
    let agrees = trigrams.is_some_and(|trigrams| trigrams.0 == best.1);
    let lead = (best.0 - second.0) / best.0.max(1.0);
    if best.0 >= 2.0 && share >= 0.08 && (lead >= 0.2 || agrees) {
        let confidence = if agrees { 0.7 + 0.3 * lead } else { 0.5 + 0.4 * lead };
        return Some(Detected { code: best.1, confidence });
    }
    match trigrams {
        // Where the small words are split between neighbours, trigrams decide among those that lead.
        Some((code, _, _))
            if best.0 >= 2.0 && scores.iter().any(|score| score.1 == code && score.0 >= 0.8 * best.0) =>
        {
            Some(Detected { code, confidence: 0.5 })
        }
        Some((code, confidence, true)) if words.len() >= 4 => {
            // Code has words but none of a language; a language without any of its small words is doubtful.
            let known = SMALL_WORDS.iter().any(|(listed, _)| *listed == code);
            let own = scores.iter().find(|score| score.1 == code).map_or(0.0, |score| score.0);
            (!known || own >= 1.0).then_some(Detected { code, confidence: 0.45 * confidence })
        }
        _ if best.0 >= 1.0 && share >= 0.2 && lead >= 0.5 => Some(Detected { code: best.1, confidence: 0.4 }),
        _ => None,
    }
}

/// Vowel signs of Indic scripts belong to the word.
fn is_mark(sign: char) -> bool {
    matches!(sign, '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}' | '\u{300}'..='\u{36f}' | '\u{64b}'..='\u{655}')
}

/// How the languages of a set are mixed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mix {
    /// Texts per language; those without a language under `None`.
    pub texts: BTreeMap<Option<&'static str>, u64>,
}

impl Mix {
    /// Counts a text.
    pub fn observe(&mut self, text: &str) {
        *self.texts.entry(detect(text).map(|found| found.code)).or_default() += 1;
    }

    /// The share of a language among the texts that have one.
    pub fn share(&self, code: &str) -> f64 {
        let known: u64 = self.texts.iter().filter(|(code, _)| code.is_some()).map(|(_, count)| count).sum();
        let own: u64 = self.texts.iter().filter(|(key, _)| **key == Some(code)).map(|(_, count)| count).sum();
        own as f64 / known.max(1) as f64
    }
}
