//! Which columns of an evaluation row are what.

use serde_json::{Map, Value};

use super::evals::EvalRow;

/// Columns in the order in which they are tried, in lower case.
const QUESTIONS: [&str; 13] = [
    "question",
    "problem",
    "problem_statement",
    "query",
    "prompt",
    "input",
    "inputs",
    "goal",
    "ctx",
    "sentence",
    "instruction",
    "text",
    "question_text",
];
const ANSWERS: [&str; 21] = [
    "solution",
    "answer",
    "answers",
    "canonical_solution",
    "completion",
    "target",
    "targets",
    "output",
    "outputs",
    "response",
    "gold",
    "best_answer",
    "correct_answer",
    "expected_answer",
    "ground_truth",
    "reference_answer",
    "answers_spans",
    "answerkey",
    "answer_key",
    "code",
    "label",
];
const PASSAGES: [&str; 8] =
    ["passage", "context", "article", "support", "story", "background", "document", "paragraph"];
const NAMES: [&str; 9] = ["id", "doc_id", "task_id", "question_id", "qid", "uuid", "unique_id", "idx", "index"];
const CHOICES: [&str; 3] = ["choices", "options", "endings"];
/// Columns that hold one choice each.
const CHOICE_COLUMNS: [&[&str]; 4] = [
    &["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"],
    &["sol1", "sol2"],
    &["option1", "option2", "option3", "option4"],
    &["choice1", "choice2", "choice3", "choice4"],
];

/// The choices of a row.
struct Choices {
    texts: Vec<String>,
    /// What the answer calls them, if the row says so.
    labels: Vec<String>,
    /// The number that means the first one.
    first: usize,
}

/// The evaluation row of an object.
pub(crate) fn row_of(object: &Map<String, Value>, number: usize) -> Result<EvalRow, String> {
    let id = NAMES.iter().find_map(|name| get(object, name).and_then(text)).unwrap_or_else(|| format!("row {number}"));
    if let Some((question, answer)) = chat(object) {
        return Ok(EvalRow { id, question, answer, passage: first_text(object, &PASSAGES) });
    }
    let Some((key, mut question)) = QUESTIONS.iter().find_map(|key| Some((*key, get(object, key).and_then(text)?)))
    else {
        let keys: Vec<String> =
            object.keys().take(8).map(|key| format!("`{}`", key.chars().take(40).collect::<String>())).collect();
        return Err(format!(
            "no question: the row has {}",
            if keys.is_empty() { "no keys".into() } else { keys.join(", ") }
        ));
    };
    if let ("input", Some(instruction)) = (key, get(object, "instruction").and_then(text)) {
        question = format!("{instruction}\n{question}");
    }
    let choices = choices(object);
    let answer = ANSWERS
        .iter()
        .filter(|answer| **answer != key)
        .find_map(|key| get(object, key).and_then(|value| answer_of(value, choices.as_ref())));
    let passage = PASSAGES.iter().filter(|passage| **passage != key).find_map(|key| get(object, key).and_then(text));
    Ok(EvalRow { id, question, answer, passage })
}

/// The value of a key, however it is cased.
fn get<'a>(object: &'a Map<String, Value>, key: &str) -> Option<&'a Value> {
    object.get(key).or_else(|| object.iter().find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value))
}

fn first_text(object: &Map<String, Value>, keys: &[&str]) -> Option<String> {
    keys.iter().find_map(|key| get(object, key).and_then(text))
}

/// The text of a value: of a list the first that has one, of an object its `text`, `value` or `content`.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim()).filter(|text| !text.is_empty()).map(str::to_owned),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(if *truth { "yes" } else { "no" }.to_owned()),
        Value::Array(values) => values.iter().find_map(text),
        Value::Object(object) => {
            ["text", "value", "content", "spans"].iter().find_map(|key| object.get(*key).and_then(text))
        }
        Value::Null => None,
    }
}

/// Question and answer of a conversation: the first turn of the user, and what was said to it.
fn chat(object: &Map<String, Value>) -> Option<(String, Option<String>)> {
    let turns =
        ["messages", "conversations", "conversation", "prompt"].iter().find_map(|key| get(object, key)?.as_array())?;
    let said = |turn: &Value| -> Option<(bool, String)> {
        let role = turn.get("role").or_else(|| turn.get("from"))?.as_str()?;
        let content = turn.get("content").or_else(|| turn.get("value")).and_then(text)?;
        match role {
            "user" | "human" => Some((true, content)),
            "assistant" | "gpt" | "model" => Some((false, content)),
            _ => None,
        }
    };
    let mut turns = turns.iter().filter_map(said).skip_while(|(user, _)| !user);
    let (_, question) = turns.next()?;
    let answer = turns.find(|(user, _)| !user).map(|(_, answer)| answer);
    Some((question, answer.or_else(|| first_text(object, &ANSWERS))))
}

fn choices(object: &Map<String, Value>) -> Option<Choices> {
    let texts_of = |value: &Value| -> Vec<String> { value.as_array().into_iter().flatten().filter_map(text).collect() };
    for key in CHOICES {
        match get(object, key) {
            Some(Value::Array(list)) if list.len() > 1 => {
                let labels = list.iter().filter_map(|choice| choice.get("label").and_then(text)).collect();
                return Some(Choices { texts: list.iter().filter_map(text).collect(), labels, first: 0 });
            }
            Some(Value::Object(inner)) => {
                if let (Some(texts), Some(labels)) = (inner.get("text"), inner.get("label")) {
                    return Some(Choices { texts: texts_of(texts), labels: texts_of(labels), first: 0 });
                }
                let (labels, texts) =
                    inner.iter().filter_map(|(label, choice)| Some((label.clone(), text(choice)?))).unzip();
                return Some(Choices { texts, labels, first: 0 });
            }
            _ => {}
        }
    }
    for columns in CHOICE_COLUMNS {
        let texts: Vec<String> = columns.iter().map_while(|column| get(object, column).and_then(text)).collect();
        if texts.len() > 1 {
            return Some(Choices { texts, labels: Vec::new(), first: usize::from(columns[0].starts_with("option")) });
        }
    }
    None
}

/// The answer; where it names a choice, the text of that.
fn answer_of(value: &Value, choices: Option<&Choices>) -> Option<String> {
    let answer = text(value)?;
    let Some(choices) = choices else { return Some(answer) };
    if choices.texts.contains(&answer) && !answer.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(answer);
    }
    if let Some(place) = choices.labels.iter().position(|label| label.eq_ignore_ascii_case(&answer)) {
        return choices.texts.get(place).cloned();
    }
    let place = match *answer.as_bytes() {
        [letter] if letter.is_ascii_alphabetic() => Some(usize::from(letter.to_ascii_uppercase() - b'A')),
        _ => answer.parse::<usize>().ok().and_then(|number| number.checked_sub(choices.first)),
    };
    place.and_then(|place| choices.texts.get(place).cloned()).or(Some(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(json: &str) -> (String, String, String) {
        let value: Value = serde_json::from_str(json).expect("JSON");
        let row = row_of(value.as_object().expect("an object"), 1).unwrap_or_else(|reason| panic!("{json}: {reason}"));
        (row.question, row.answer.unwrap_or_default(), row.passage.unwrap_or_default())
    }

    fn expect(json: &str, question: &str, answer: &str, passage: &str) {
        let (q, a, p) = row(json);
        assert_eq!((&q[..], &a[..], &p[..]), (question, answer, passage), "{json}");
    }

    #[test]
    fn columns_of_the_usual_sets() {
        expect(r#"{"question":"Q","answer":"A","passage":"P"}"#, "Q", "A", "P");
        expect(r#"{"Question":"Q","Answer":null,"passage":""}"#, "Q", "", "");
        expect(r#"{"prompt":"Q","completion":"A"}"#, "Q", "A", "");
        expect(r#"{"problem":"Q","solution":"long","answer":"A"}"#, "Q", "long", "");
        expect(r#"{"input":"Q","target":"A"}"#, "Q", "A", "");
        expect(r#"{"instruction":"Do","input":"Q","output":"A"}"#, "Do\nQ", "A", "");
        expect(r#"{"instruction":"Do","input":"","output":"A"}"#, "Do", "A", "");
        expect(
            r#"{"task_id":"HumanEval/0","prompt":"def f():","canonical_solution":"return 1","test":"x"}"#,
            "def f():",
            "return 1",
            "",
        );
        expect(r#"{"text":"Write f","code":"def f()","task_id":2}"#, "Write f", "def f()", "");
        expect(r#"{"context":"P","question":"Q","answers":{"text":["A","B"],"answer_start":[3]}}"#, "Q", "A", "P");
        expect(r#"{"question":"Q","answer":true,"passage":"P"}"#, "Q", "yes", "P");
        expect(r#"{"question":"Q","answer":{"value":"A","aliases":["B"]}}"#, "Q", "A", "");
        expect(
            r#"{"messages":[{"role":"system","content":"S"},{"role":"user","content":"Q"},{"role":"assistant","content":"A"}]}"#,
            "Q",
            "A",
            "",
        );
        expect(r#"{"prompt":[{"role":"user","content":"Q"}],"answer":"A"}"#, "Q", "A", "");
    }

    #[test]
    fn multiple_choice() {
        expect(r#"{"question":"Q","choices":["w","x","y","z"],"answer":2}"#, "Q", "y", "");
        expect(r#"{"question":"Q","choices":["w","x"],"answer":"B"}"#, "Q", "x", "");
        expect(r#"{"question":"Q","A":"w","B":"x","C":"y","D":"z","answer":"D"}"#, "Q", "z", "");
        expect(r#"{"question":"Q","choices":{"text":["w","x"],"label":["1","2"]},"answerKey":"2"}"#, "Q", "x", "");
        expect(r#"{"question":"Q","options":{"A":"w","B":"x"},"answer":"B"}"#, "Q", "x", "");
        expect(r#"{"ctx":"Q","endings":["w","x","y"],"label":"1"}"#, "Q", "x", "");
        expect(r#"{"goal":"Q","sol1":"w","sol2":"x","label":1}"#, "Q", "x", "");
        expect(r#"{"sentence":"Q","option1":"w","option2":"x","answer":"1"}"#, "Q", "w", "");
        expect(r#"{"question":"Q","choices":["w","x"],"answer":"x"}"#, "Q", "x", "");
        expect(r#"{"question":"Q","choices":["12","1"],"answer":1}"#, "Q", "1", "");
        expect(r#"{"question":"Q","choices":["w","x"],"answer":9}"#, "Q", "9", "");
    }

    #[test]
    fn a_row_without_a_question_is_named() {
        let value: Value = serde_json::from_str(r#"{"foo":1,"bar":2}"#).expect("JSON");
        let reason = row_of(value.as_object().expect("an object"), 1).expect_err("no question");
        assert_eq!(reason, "no question: the row has `foo`, `bar`");
    }
}
