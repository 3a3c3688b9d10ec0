//! Real rows, and the same rows with a fault planted: what a score of quality has to tell apart.

use std::path::Path;

use serde_json::Value;

/// A question with its answer.
#[derive(Debug, Clone)]
pub(crate) struct Pair {
    pub(crate) question: String,
    pub(crate) answer: String,
}

/// Kinds of planted faults.
pub(crate) const FAULTS: [&str; 10] = [
    "truncated",
    "looped",
    "looped_word",
    "wrong_language",
    "empty_phrases",
    "refusal",
    "template_marks",
    "page_rest",
    "broken_characters",
    "shuffled",
];

/// The rows of a JSON list or JSONL file with `instruction`/`input`/`output`, `question`/`answer` or `conversations`.
pub(crate) fn read_pairs(path: &Path) -> Vec<Pair> {
    let text = std::fs::read_to_string(path).expect("a readable file");
    let rows: Vec<Value> = serde_json::from_str(&text).unwrap_or_else(|_| {
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect()
    });
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    rows.iter()
        .map(|row| {
            if row["conversations"].is_array() {
                let turns = &row["conversations"];
                return Pair { question: text(&turns[0]["value"]), answer: text(&turns[1]["value"]) };
            }
            if row["question"].is_string() {
                return Pair { question: text(&row["question"]), answer: text(&row["answer"]) };
            }
            let input = text(&row["input"]);
            let instruction = text(&row["instruction"]);
            let question = if input.is_empty() { instruction } else { format!("{instruction}\n{input}") };
            Pair { question, answer: text(&row["output"]) }
        })
        .filter(|pair| !pair.question.trim().is_empty() && !pair.answer.trim().is_empty())
        .collect()
}

const FOREIGN: [&str; 6] = [
    "Die Brücke wurde nach dem großen Brand neu gebaut, und seitdem fahren dort wieder Züge. Wer sie heute besucht, kann \
     unter den Bögen spazieren gehen und im Sommer auch baden.",
    "Le pont a été reconstruit après le grand incendie, et depuis lors les trains y passent de nouveau. Ceux qui le \
     visitent aujourd'hui peuvent se promener sous les arches.",
    "El puente fue reconstruido después del gran incendio y desde entonces los trenes vuelven a pasar por él. Quien lo \
     visita hoy puede pasear bajo los arcos.",
    "Мост был восстановлен после большого пожара, и с тех пор по нему снова ходят поезда. Сегодня под его арками можно \
     гулять, а летом и купаться.",
    "这座桥在大火之后重建，从那以后火车又可以通行了。今天来参观的人可以在桥拱下散步，夏天还可以游泳。",
    "Il ponte fu ricostruito dopo il grande incendio e da allora i treni vi passano di nuovo. Chi lo visita oggi può \
     passeggiare sotto gli archi.",
];

const EMPTY: [&str; 5] = [
    "That's a great question! There are many factors to consider, and it really depends on the situation. I hope this helps!",
    "Well, people have different views on this. Some see it one way and some another, and both may be right in their own \
     way. In the end you have to see what works for you.",
    "This topic is very important in today's world. It plays a crucial role in many aspects of life. In conclusion, it is \
     important to understand it.",
    "It depends. Every case is different, so it is best to look at the details and talk to someone who knows more about it.",
    "Thank you for asking. This is an interesting subject with many aspects. Please let me know if you have any other \
     questions and feel free to ask for more details.",
];

const DECLINED: [&str; 4] = [
    "As an AI language model, I do not have the ability to answer this.",
    "I'm sorry, but I can't help with that request.",
    "I cannot assist with that. Is there something else that you would like to talk about?",
    "Unfortunately, I don't have access to that information, as my knowledge cutoff is in the past.",
];

const RESTS: [&str; 4] = [
    "\n\nShare this article | Subscribe to our newsletter | All rights reserved.",
    "\n\nWe use cookies to improve your experience. Accept all cookies.",
    "\n\nRelated posts: Leave a reply. You must be logged in to comment.",
    "\n\n<div class=\"footer\"><a href=\"/about\">About</a>&nbsp;&copy; 2020</div>",
];

/// The rows with a fault of that kind in each answer.
pub(crate) fn plant(pairs: &[Pair], fault: &str) -> Vec<Pair> {
    pairs
        .iter()
        .enumerate()
        .map(|(at, pair)| {
            let answer = pair.answer.trim();
            let words: Vec<&str> = answer.split(' ').collect();
            let answer = match fault {
                // Between a third and five sixths of it.
                "truncated" => words[..(words.len() * (2 + at % 4) / 6).max(1)].join(" "),
                "looped" => {
                    let start = words.len() / 3;
                    let phrase = words[start..(start + 4 + at % 9).min(words.len())].join(" ");
                    format!("{} {}", words[..start].join(" "), vec![phrase; 6 + at % 7].join(" "))
                }
                "looped_word" => {
                    let start = words.len() / 2;
                    format!("{} {}", words[..start].join(" "), vec![words[start]; 20].join(" "))
                }
                "wrong_language" => FOREIGN[at % FOREIGN.len()].to_owned(),
                "empty_phrases" => EMPTY[at % EMPTY.len()].to_owned(),
                "refusal" => DECLINED[at % DECLINED.len()].to_owned(),
                "template_marks" => {
                    let mark = ["<|im_end|>", "</s>", "\n### Response:\n", "[/INST]", "<|eot_id|>"][at % 5];
                    format!("{answer}{mark}")
                }
                "page_rest" => format!("{answer}{}", RESTS[at % RESTS.len()]),
                "broken_characters" => answer.replace(". ", ".Â\u{a0}").replace('\'', "â€™") + " cafÃ©",
                "shuffled" => pairs[(at + pairs.len() / 2) % pairs.len()].answer.clone(),
                other => panic!("no fault is called {other}"),
            };
            Pair { question: pair.question.clone(), answer }
        })
        .collect()
}

/// The probability that a good row scores above a bad one, equal scores counting half.
pub(crate) fn area(good: &[f64], bad: &[f64]) -> f64 {
    let mut good = good.to_vec();
    good.sort_by(f64::total_cmp);
    let above: f64 = bad
        .iter()
        .map(|&score| {
            let below = good.partition_point(|&other| other < score);
            let up_to = good.partition_point(|&other| other <= score);
            (good.len() - up_to) as f64 + 0.5 * (up_to - below) as f64
        })
        .sum();
    above / (good.len() * bad.len()).max(1) as f64
}
