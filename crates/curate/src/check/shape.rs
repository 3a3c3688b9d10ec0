//! Turns: who speaks, in which order, and whether anything is said.

use attune_data::{Row, RowContent};
use attune_text::Message;

use super::{Cases, Check, Origin, Verdict};
use crate::texts::content_text;

/// What is odd about the turns of a row.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Shape {
    /// A user's turn, or the prompt, says nothing.
    pub(super) empty_question: bool,
    /// No assistant's turn says or calls anything.
    pub(super) no_answer: bool,
    /// An assistant's turn says nothing among others that do.
    pub(super) empty_answer: bool,
    /// Why the order of the roles is odd.
    pub(super) order: Option<String>,
    /// A plain document: it has no question, and none is missing.
    pub(super) document: bool,
}

impl Shape {
    pub(super) fn of(row: &Row) -> Self {
        let shapes = row.content.examples().iter().map(Self::of_example).collect::<Vec<_>>();
        shapes.into_iter().reduce(Self::or).unwrap_or_default()
    }

    /// What is odd about one of two answers is odd about the row.
    fn or(self, other: Self) -> Self {
        Self {
            empty_question: self.empty_question || other.empty_question,
            no_answer: self.no_answer || other.no_answer,
            empty_answer: self.empty_answer || other.empty_answer,
            order: self.order.or(other.order),
            document: self.document && other.document,
        }
    }

    fn of_example(content: &RowContent) -> Self {
        match content {
            RowContent::Chat(chat) => of_messages(&chat.messages),
            RowContent::Completion { prompt, completion } => Self {
                empty_question: false,
                no_answer: completion.trim().is_empty(),
                document: prompt.trim().is_empty(),
                ..Self::default()
            },
            // Examples are chats and completions.
            RowContent::Preference(_) | RowContent::Judged { .. } => Self::default(),
        }
    }
}

fn of_messages(messages: &[Message]) -> Shape {
    let is_empty = |message: &Message| content_text(message).trim().is_empty();
    let of_role = |role: &'static str| messages.iter().filter(move |message| message.role == role);
    let answers = of_role("assistant").count();
    let empty_answers = of_role("assistant").filter(|message| is_empty(message)).count();
    Shape {
        empty_question: of_role("user").any(is_empty),
        no_answer: answers == empty_answers,
        empty_answer: empty_answers > 0 && empty_answers < answers,
        order: odd_order(messages),
        document: false,
    }
}

/// The first place where the roles do not follow each other as in a conversation.
fn odd_order(messages: &[Message]) -> Option<String> {
    let mut before: Option<&str> = None;
    for (index, message) in messages.iter().enumerate() {
        let role = message.role.as_str();
        let odd = match (before, role) {
            (None, "assistant" | "tool" | "function" | "ipython") => Some(format!("begins with {role}")),
            (Some(other), "system") if other != "system" && other != "developer" => {
                Some(format!("system after {other}"))
            }
            (Some("user"), "user") | (Some("assistant"), "assistant") => Some(format!("{role} twice in a row")),
            (Some("user" | "system" | "developer"), "tool" | "function" | "ipython") => {
                Some(format!("{role} after {}, without a call", before.unwrap_or_default()))
            }
            _ => None,
        };
        if let Some(odd) = odd {
            return Some(format!("message {}: {odd}", index + 1));
        }
        before = Some(role);
    }
    None
}

/// The turns of all rows.
#[derive(Default)]
pub(super) struct Shapes {
    empty_question: Cases,
    no_answer: Cases,
    empty_answer: Cases,
    order: Cases,
    documents: usize,
}

impl Shapes {
    pub(super) fn take(&mut self, shape: Shape, origin: &Origin<'_>) {
        for (cases, applies) in [
            (&mut self.empty_question, shape.empty_question),
            (&mut self.no_answer, shape.no_answer),
            (&mut self.empty_answer, shape.empty_answer),
        ] {
            if applies {
                cases.add(|| origin().to_string());
            }
        }
        if let Some(order) = shape.order {
            self.order.add(|| format!("{}: {order}", origin()));
        }
        self.documents += usize::from(shape.document);
    }

    pub(super) fn checks(self, rows: usize) -> Vec<Check> {
        let Self { empty_question, no_answer, empty_answer, order, .. } = self;
        vec![
            no_answer.into_check("answers", rows, Verdict::Refused, "have no answer: nothing in them can be learned"),
            empty_answer.into_check(
                "empty answers",
                rows,
                Verdict::Warning,
                "have an assistant turn that says nothing",
            ),
            empty_question.into_check("empty questions", rows, Verdict::Warning, "have a user turn that says nothing"),
            order.into_check(
                "order of roles",
                rows,
                Verdict::Warning,
                "do not alternate as conversations do; templates treat that differently",
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(roles: &[&str]) -> Option<String> {
        odd_order(&roles.iter().map(|role| Message::new(*role, "text")).collect::<Vec<_>>())
    }

    #[test]
    fn conversations_in_order_are_not_odd() {
        for roles in [
            &["user", "assistant"][..],
            &["system", "user", "assistant", "user", "assistant"],
            &["developer", "system", "user"],
            &["user", "assistant", "tool", "assistant", "user"],
            &["user", "assistant", "tool", "tool", "assistant"],
        ] {
            assert_eq!(order(roles), None, "{roles:?}");
        }
    }

    #[test]
    fn odd_orders_say_where_and_why() {
        assert_eq!(order(&["assistant", "user"]).as_deref(), Some("message 1: begins with assistant"));
        assert_eq!(order(&["user", "user", "assistant"]).as_deref(), Some("message 2: user twice in a row"));
        assert_eq!(order(&["user", "system"]).as_deref(), Some("message 2: system after user"));
        assert_eq!(order(&["user", "tool"]).as_deref(), Some("message 2: tool after user, without a call"));
    }

    #[test]
    fn empty_turns_are_told_apart_from_missing_answers() {
        let shape = of_messages(&[Message::new("user", " "), Message::new("assistant", "")]);
        assert!(shape.empty_question && shape.no_answer && !shape.empty_answer);
        let shape = of_messages(&[
            Message::new("user", "a"),
            Message::new("assistant", ""),
            Message::new("user", "b"),
            Message::new("assistant", "c"),
        ]);
        assert!(!shape.no_answer && shape.empty_answer);
    }
}
