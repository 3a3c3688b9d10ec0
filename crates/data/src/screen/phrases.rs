//! Phrases that say little about the question: refusals, filler, pieces of web pages, leaked marks of templates.

use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind};

/// What a phrase is a sign of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The model declines.
    Refusal,
    /// Words that fit every question.
    Filler,
    /// What stands around the text of a web page.
    Page,
    /// A mark of a chat template that should never be in a text.
    Template,
    /// A tag or entity of HTML.
    Html,
}

/// Number of [`Kind`]s.
const KINDS: usize = 5;

/// Phrases of one kind in a text.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Hits {
    /// How many.
    pub(crate) count: usize,
    /// How many bytes they cover.
    pub(crate) bytes: usize,
    /// Where the first starts.
    pub(crate) first: Option<usize>,
}

/// The phrases in a text, by kind.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Found([Hits; KINDS]);

impl Found {
    /// The phrases of one kind.
    pub(crate) fn of(&self, kind: Kind) -> Hits {
        self.0[kind as usize]
    }

    fn add(&mut self, kind: Kind, start: usize, end: usize) {
        let hits = &mut self.0[kind as usize];
        hits.count += 1;
        hits.bytes += end - start;
        hits.first = Some(hits.first.map_or(start, |first| first.min(start)));
    }
}

const REFUSALS: &[&str] = &[
    "as an ai language model",
    "as an ai model",
    "as an ai assistant",
    "as an artificial intelligence",
    "as a language model",
    "as a large language model",
    "as an ai,",
    "i am an ai language model",
    "i'm an ai language model",
    "i'm just an ai",
    "i am just an ai",
    "i am only an ai",
    "i'm only an ai",
    "i cannot assist with",
    "i can't assist with",
    "i cannot help with",
    "i can't help with",
    "i can't help you with",
    "i cannot fulfill",
    "i can't fulfill",
    "i cannot comply",
    "i can't comply",
    "i cannot provide",
    "i can't provide",
    "i'm unable to",
    "i am unable to",
    "i am not able to",
    "i'm not able to",
    "i won't be able to",
    "i'm sorry, but i can",
    "i am sorry, but i can",
    "i'm sorry, i can",
    "sorry, but i can",
    "i apologize, but i",
    "i must decline",
    "i have to decline",
    "i don't have access to",
    "i do not have access to",
    "i don't have personal",
    "i do not have personal",
    "my knowledge cutoff",
    "my training data",
    "it would not be appropriate for me",
    "i don't feel comfortable",
    "it goes against my programming",
    "als ki-sprachmodell",
    "als ki-modell",
    "als künstliche intelligenz",
    "ich kann ihnen dabei nicht helfen",
    "ich kann dir dabei nicht helfen",
    "tut mir leid, aber ich kann",
    "es tut mir leid, ich kann",
    "en tant que modèle de langage",
    "en tant qu'ia",
    "en tant qu'intelligence artificielle",
    "je suis désolé, mais je ne",
    "je ne peux pas vous aider",
    "je ne suis pas en mesure de",
    "como modelo de lenguaje",
    "como inteligencia artificial",
    "lo siento, pero no puedo",
    "no puedo ayudarte con",
    "como um modelo de linguagem",
    "desculpe, mas não posso",
    "come modello linguistico",
    "mi dispiace, ma non posso",
    "作为一个人工智能",
    "作为人工智能",
    "作为一个语言模型",
    "作为ai语言模型",
    "我无法回答",
    "很抱歉，我无法",
    "对不起，我无法",
    "как языковая модель",
    "я не могу помочь с",
    "к сожалению, я не могу",
    "申し訳ありませんが",
    "aiとして",
];

const FILLERS: &[&str] = &[
    "great question",
    "that's a great question",
    "that is a great question",
    "good question",
    "excellent question",
    "thanks for asking",
    "thank you for asking",
    "thank you for your question",
    "happy to help",
    "glad to help",
    "i'd be happy to",
    "i would be happy to",
    "i hope this helps",
    "hope this helps",
    "hope that helps",
    "let me know if you",
    "feel free to",
    "if you have any other questions",
    "if you have any further questions",
    "please let me know",
    "is there anything else",
    "it depends on many factors",
    "it depends on a variety of",
    "it depends on various",
    "it depends on several",
    "there are many factors",
    "there are various factors",
    "there are many different",
    "there are many ways",
    "there are several ways",
    "it is important to note",
    "it's important to note",
    "it is worth noting",
    "it's worth noting",
    "it is important to remember",
    "it is important to consider",
    "in today's world",
    "in today's fast-paced",
    "in this day and age",
    "at the end of the day",
    "needless to say",
    "in conclusion",
    "all in all",
    "generally speaking",
    "when it comes to",
    "plays a crucial role",
    "plays an important role",
    "plays a vital role",
    "in the realm of",
    "delve into",
    "there is no one-size-fits-all",
    "everyone is different",
    "each situation is",
    "every situation is",
    "depending on the situation",
    "depends on the situation",
    "depends on the context",
    "various aspects",
    "do your own research",
    "consult a professional",
    "keep in mind that",
    "i do not know",
    "i don't know",
    "i am not sure",
    "i'm not sure",
    "no information is available",
    "no answer",
    "not applicable",
    "to be determined",
    "gute frage",
    "das hängt von vielen faktoren ab",
    "ich hoffe, das hilft",
    "bei weiteren fragen",
    "gerne helfe ich",
    "es ist wichtig zu beachten",
    "im großen und ganzen",
    "das kommt darauf an",
    "bonne question",
    "cela dépend de nombreux facteurs",
    "n'hésitez pas à",
    "j'espère que cela",
    "il est important de noter",
    "buena pregunta",
    "depende de muchos factores",
    "espero que esto",
    "no dudes en",
    "es importante tener en cuenta",
    "boa pergunta",
    "depende de muitos fatores",
    "espero que isso ajude",
    "ottima domanda",
    "dipende da molti fattori",
    "希望这能帮到你",
    "希望对你有帮助",
    "这取决于很多因素",
    "хороший вопрос",
    "это зависит от многих факторов",
];

const PAGES: &[&str] = &[
    "subscribe to our",
    "subscribe to my",
    "subscribe now",
    "sign up for our",
    "join our newsletter",
    "our newsletter",
    "like and subscribe",
    "hit the subscribe",
    "click here to",
    "click the link below",
    "click the button below",
    "read more",
    "learn more »",
    "continue reading",
    "share this post",
    "share this article",
    "share on facebook",
    "share on twitter",
    "tweet this",
    "follow us on",
    "like us on facebook",
    "all rights reserved",
    "terms of service",
    "terms of use",
    "privacy policy",
    "cookie policy",
    "this site uses cookies",
    "this website uses cookies",
    "we use cookies",
    "accept all cookies",
    "accept cookies",
    "skip to content",
    "skip to main content",
    "back to top",
    "previous post",
    "next post",
    "related posts",
    "related articles",
    "leave a comment",
    "leave a reply",
    "log in to reply",
    "you must be logged in",
    "sign in to",
    "log in or register",
    "add to cart",
    "buy now",
    "free shipping",
    "advertisement",
    "sponsored content",
    "affiliate links",
    "powered by wordpress",
    "please enable javascript",
    "your browser does not support",
    "copyright ©",
    "posted by",
    "filed under",
    "tagged with",
    "view all posts",
    "download our app",
    "toggle navigation",
    "main menu",
    "site map",
    "newsletter abonnieren",
    "jetzt abonnieren",
    "diese website verwendet cookies",
    "wir verwenden cookies",
    "alle rechte vorbehalten",
    "datenschutzerklärung",
    "impressum",
    "mehr erfahren",
    "weiterlesen",
    "zum inhalt springen",
    "abonnez-vous",
    "nous utilisons des cookies",
    "tous droits réservés",
    "politique de confidentialité",
    "lire la suite",
    "suscríbete",
    "utilizamos cookies",
    "todos los derechos reservados",
    "política de privacidad",
    "leer más",
    "inscreva-se",
    "todos os direitos reservados",
    "tutti i diritti riservati",
    "iscriviti alla",
    "订阅我们",
    "版权所有",
    "点击这里",
    "подпишитесь на",
    "все права защищены",
    "使用cookie",
];

const TEMPLATES: &[&str] = &[
    "[INST]",
    "[/INST]",
    "<<SYS>>",
    "<</SYS>>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "[PAD]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "</s>",
    "### Response:",
    "### Instruction:",
    "### Input:",
    "### Assistant:",
    "### Human:",
    "### User:",
    "### System:",
    "<tool_call>",
    "</tool_call>",
    "<|begin_of_",
    "<|end_of_",
    "<noinput>",
    "[gMASK]",
    "<reserved_1",
    "[BOS]",
    "[EOS]",
    "<extra_id_",
];

const HTML: &[&str] = &[
    "&nbsp;",
    "&amp;",
    "&quot;",
    "&lt;",
    "&gt;",
    "&#39;",
    "&#x27;",
    "&apos;",
    "&rsquo;",
    "&ldquo;",
    "&rdquo;",
    "&mdash;",
    "&ndash;",
    "&hellip;",
    "&copy;",
    "<br>",
    "<br/>",
    "<br />",
    "</p>",
    "<p>",
    "</div>",
    "<div",
    "</span>",
    "<span",
    "<a href",
    "</a>",
    "<img ",
    "</li>",
    "<li>",
    "<ul>",
    "</ul>",
    "</td>",
    "<td>",
    "<script",
    "</script>",
    "<style",
    "</strong>",
    "<strong>",
    "</h1>",
    "</h2>",
    "</h3>",
    "<em>",
    "</em>",
];

struct Finder {
    automaton: AhoCorasick,
    kinds: Vec<Kind>,
}

static FINDER: LazyLock<Option<Finder>> = LazyLock::new(|| {
    let mut patterns = Vec::new();
    let mut kinds = Vec::new();
    let lists = [
        (Kind::Refusal, REFUSALS),
        (Kind::Filler, FILLERS),
        (Kind::Page, PAGES),
        (Kind::Template, TEMPLATES),
        (Kind::Html, HTML),
    ];
    for (kind, list) in lists {
        for &phrase in list {
            patterns.push(phrase.to_owned());
            kinds.push(kind);
            if phrase.contains('\'') {
                patterns.push(phrase.replace('\'', "’"));
                kinds.push(kind);
            }
        }
    }
    let automaton =
        AhoCorasick::builder().ascii_case_insensitive(true).match_kind(MatchKind::LeftmostLongest).build(&patterns);
    automaton.ok().map(|automaton| Finder { automaton, kinds })
});

/// Finds the phrases of all kinds in `text`, in time linear in its length.
pub(crate) fn find(text: &str) -> Found {
    let mut found = Found::default();
    let Some(finder) = FINDER.as_ref() else { return found };
    for hit in finder.automaton.find_iter(text) {
        if !inside_word(text, hit.start(), hit.end()) {
            found.add(finder.kinds[hit.pattern().as_usize()], hit.start(), hit.end());
        }
    }
    for (at, mark) in text.match_indices("<|").chain(text.match_indices("<｜")) {
        let name = &text[at + mark.len()..];
        let length: usize = name
            .chars()
            .take(40)
            .take_while(|&c| c.is_alphanumeric() || matches!(c, '_' | '-' | '▁' | ' '))
            .map(char::len_utf8)
            .sum();
        let end = &name[length..];
        if length > 0 && !name.starts_with(' ') && (end.starts_with("|>") || end.starts_with("｜>")) {
            found.add(Kind::Template, at, at + mark.len() + length);
        }
    }
    found
}

/// Whether a phrase that starts or ends with a letter goes on with one.
fn inside_word(text: &str, start: usize, end: usize) -> bool {
    let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let phrase = &text[start..end];
    (letter(phrase.chars().next()) && letter(text[..start].chars().next_back()))
        || (letter(phrase.chars().next_back()) && letter(text[end..].chars().next()) && !phrase.ends_with("i can"))
}

/// Characters that come from reading UTF-8 as Latin-1 or Windows-1252, from bytes that could not be read, and control
/// characters.
pub(crate) fn broken_characters(text: &str) -> usize {
    let mut count = 0;
    let mut last = ' ';
    for c in text.chars() {
        let wrong = match last {
            // The first bytes of two-byte characters: Latin letters, then Cyrillic ones.
            'Â' | 'Ã' | 'Ä' | 'Å' | 'Ð' | 'Ñ' | 'Î' | 'Ï' => matches!(
                c,
                '\u{80}'..='\u{bf}' | '€' | '™' | '‚' | 'ƒ' | '„' | '†' | '‡' | 'ˆ' | '‰' | '‹' | 'œ' | '˜'
            ),
            'â' | 'ï' | 'ã' => matches!(c, '\u{80}'..='\u{9f}' | '€' | '‚' | '„' | '»' | '¿' | '½'),
            'ð' => matches!(c, '\u{9f}' | 'Ÿ'),
            _ => false,
        };
        let control = c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{80}'..='\u{9f}');
        count += usize::from(wrong || c == '\u{fffd}' || control);
        last = c;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phrases_by_kind() {
        for (text, kind, count) in [
            ("As an AI language model, I’m unable to say.", Kind::Refusal, 2),
            ("I'm sorry, but I can't do that.", Kind::Refusal, 1),
            ("I am unable to", Kind::Refusal, 1),
            ("Was an ai modeller here?", Kind::Refusal, 0),
            ("Great question! I hope this helps.", Kind::Filler, 2),
            ("READ MORE. Spread moreover.", Kind::Page, 1),
            ("<|im_start|>user\n<|eot_id|> <｜Assistant｜>", Kind::Template, 3),
            ("x <| f |> g and a || b", Kind::Template, 0),
            ("a&nbsp;b<br>", Kind::Html, 2),
        ] {
            assert_eq!(find(text).of(kind).count, count, "{text}");
        }
    }

    #[test]
    fn characters_read_in_the_wrong_encoding() {
        assert_eq!(broken_characters("cafÃ© itâ€™s \u{fffd}\u{1}"), 4);
        assert_eq!(broken_characters("Ångström, Ärger, château, São Paulo, ÂME, naïve »quoted«\n\tñandú"), 0);
        assert_eq!(broken_characters("Ð¿Ñ€Ð¸Ð²ÐµÑ‚"), 6);
    }
}
