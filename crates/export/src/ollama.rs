//! A `Modelfile` for Ollama.
//!
//! Ollama renders chats with templates of Go, not with the Jinja template that a GGUF file carries. Most chat templates put a
//! fixed text before and behind each turn; these texts are found by rendering small chats ([`TurnTexts::find`]) and checked
//! by composing larger chats from them. A template that does more than that (system text inside the first question, say)
//! gets no `TEMPLATE`, with a comment that says so, rather than one that is almost right.
//!
//! # Source
//! Ollama's documentation of Modelfile and template; Go's `text/template`.

use std::fmt::Write as _;

use attune_text::{Conversation, Message, TextModel};

/// What stands around the messages of a chat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnTexts {
    /// At the beginning, when there is no system message: nothing, or a system message of the template's own.
    pub without_system: String,
    /// Around a system message.
    pub system: (String, String),
    /// Around a user's message.
    pub user: (String, String),
    /// Around an answer; the first part alone opens the answer that is to be generated.
    pub assistant: (String, String),
}

// Texts that no template changes, trims or escapes.
const SYSTEM: &str = "SYSTEMTEXT";
const QUESTIONS: [&str; 3] = ["QUESTIONONE", "QUESTIONTWO", "QUESTIONTHREE"];
const ANSWERS: [&str; 2] = ["ANSWERONE", "ANSWERTWO"];

impl TurnTexts {
    /// Finds the texts; `None` when the template does more than to put texts around turns.
    pub fn find(text: &TextModel) -> Option<Self> {
        let render = |messages: &[(&str, &str)], prompt: bool| {
            let messages = messages.iter().map(|(role, content)| Message::new(*role, *content)).collect();
            let rendered = text.render(&Conversation { messages, tools: None }, prompt).ok()?;
            // Ollama puts the beginning-of-text token there itself, as the file says.
            let bos = text.bos_id().map(|id| text.token_text(id)).unwrap_or_default();
            Some(
                rendered.strip_prefix(bos.as_str()).filter(|_| !bos.is_empty()).map(str::to_string).unwrap_or(rendered),
            )
        };
        let (one, two) = (QUESTIONS[0], QUESTIONS[1]);
        let asked = render(&[("user", one)], false)?;
        let opened = render(&[("user", one)], true)?;
        let answered = render(&[("user", one), ("assistant", ANSWERS[0])], false)?;
        let again = render(&[("user", one), ("assistant", ANSWERS[0]), ("user", two)], false)?;

        let (head, user_end) = asked.split_once(one)?;
        let assistant_begin = opened.strip_prefix(&asked)?;
        let assistant_end = answered.strip_prefix(&opened)?.strip_prefix(ANSWERS[0])?;
        let user_begin = again.strip_prefix(&answered)?.split_once(two)?.0;
        let without_system = head.strip_suffix(user_begin)?;
        // Whoever refuses system messages is asked without.
        let system = match render(&[("system", SYSTEM), ("user", one)], false) {
            None => (String::new(), String::new()),
            Some(with) => {
                let (before, rest) = with.split_once(SYSTEM)?;
                let after = rest.strip_suffix(&format!("{user_begin}{one}{user_end}"))?;
                (before.to_string(), after.to_string())
            }
        };
        let found = Self {
            without_system: without_system.to_string(),
            system,
            user: (user_begin.to_string(), user_end.to_string()),
            assistant: (assistant_begin.to_string(), assistant_end.to_string()),
        };
        let holds = found.test_chats().iter().all(|chat| {
            let expected = render(chat, true);
            expected.is_none() || expected == Some(found.compose(chat))
        });
        holds.then_some(found)
    }

    /// Chats that were not used to find the texts.
    fn test_chats(&self) -> Vec<Vec<(&'static str, &'static str)>> {
        let [one, two, three] = QUESTIONS;
        let long =
            vec![("user", one), ("assistant", ANSWERS[0]), ("user", two), ("assistant", ANSWERS[1]), ("user", three)];
        let with_system: Vec<_> = std::iter::once(("system", SYSTEM)).chain(long.clone()).collect();
        if self.system.0.is_empty() { vec![long] } else { vec![long, with_system] }
    }

    /// What the Go template renders, with the answer opened.
    fn compose(&self, chat: &[(&str, &str)]) -> String {
        let has_system = chat.iter().any(|(role, _)| *role == "system");
        let mut out = if has_system { String::new() } else { self.without_system.clone() };
        for (role, content) in chat {
            let (before, after) = match *role {
                "system" => &self.system,
                "user" => &self.user,
                _ => &self.assistant,
            };
            out += before;
            out += content;
            out += after;
        }
        out + &self.assistant.0
    }

    /// The template in Go.
    fn go_template(&self) -> String {
        let text = |text: &str| if text.is_empty() { String::new() } else { format!("{{{{ {} }}}}", go_string(text)) };
        let mut out = String::new();
        if !self.without_system.is_empty() {
            let _ = write!(out, "{{{{- if not .System }}}}{}{{{{- end }}}}", text(&self.without_system));
        }
        out += "{{- range $i, $_ := .Messages }}\n{{- $last := eq (len (slice $.Messages $i)) 1 }}\n";
        let mut branch = "if";
        for (role, texts) in [("system", &self.system), ("user", &self.user)] {
            if role == "system" && self.system.0.is_empty() {
                continue;
            }
            let (before, after) = (text(&texts.0), text(&texts.1));
            let _ = writeln!(out, "{{{{- {branch} eq .Role \"{role}\" }}}}{before}{{{{ .Content }}}}{after}");
            branch = "else if";
        }
        let (before, after) = (text(&self.assistant.0), text(&self.assistant.1));
        let _ = writeln!(
            out,
            "{{{{- else if eq .Role \"assistant\" }}}}{before}{{{{ .Content }}}}{{{{ if not $last }}}}{after}{{{{ end }}}}\n{{{{- end }}}}"
        );
        let _ = write!(out, "{{{{- if and $last (ne .Role \"assistant\") }}}}{before}{{{{ end }}}}\n{{{{- end }}}}");
        out
    }
}

/// A text as a string of Go.
fn go_string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out += "\\\"",
            '\\' => out += "\\\\",
            '\n' => out += "\\n",
            '\r' => out += "\\r",
            '\t' => out += "\\t",
            c if c.is_control() => _ = write!(out, "\\u{:04x}", u32::from(c)),
            c => out.push(c),
        }
    }
    out + "\""
}

/// The Modelfile of a GGUF file beside it.
pub fn modelfile(text: &TextModel, gguf_name: &str) -> String {
    let mut out = format!("# ollama create NAME -f Modelfile\nFROM ./{gguf_name}\n");
    if text.has_chat_template() {
        match TurnTexts::find(text) {
            Some(texts) => _ = writeln!(out, "TEMPLATE \"\"\"{}\"\"\"", texts.go_template()),
            None => {
                out += "# The model's chat template does more than to put texts around turns, which the template language of\n\
                        # Ollama cannot take over one to one. Ollama chooses one of its own by the template inside the file;\n\
                        # compare with `ft generate` before you rely on it, or send prompts that are already rendered.\n";
            }
        }
    } else {
        out += "TEMPLATE \"\"\"{{ .Prompt }}\"\"\"\n";
    }
    for &id in text.stop_ids() {
        let _ = writeln!(out, "PARAMETER stop {}", go_string(&text.token_text(id)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chatml() -> TurnTexts {
        let turn = |role: &str| (format!("<|im_start|>{role}\n"), "<|im_end|>\n".to_string());
        TurnTexts {
            without_system: "<|im_start|>system\nBe \"kind\".<|im_end|>\n".into(),
            system: turn("system"),
            user: turn("user"),
            assistant: turn("assistant"),
        }
    }

    #[test]
    fn the_go_template_prints_every_text_as_a_string() {
        let expected = concat!(
            "{{- if not .System }}{{ \"<|im_start|>system\\nBe \\\"kind\\\".<|im_end|>\\n\" }}{{- end }}",
            "{{- range $i, $_ := .Messages }}\n",
            "{{- $last := eq (len (slice $.Messages $i)) 1 }}\n",
            "{{- if eq .Role \"system\" }}{{ \"<|im_start|>system\\n\" }}{{ .Content }}{{ \"<|im_end|>\\n\" }}\n",
            "{{- else if eq .Role \"user\" }}{{ \"<|im_start|>user\\n\" }}{{ .Content }}{{ \"<|im_end|>\\n\" }}\n",
            "{{- else if eq .Role \"assistant\" }}{{ \"<|im_start|>assistant\\n\" }}{{ .Content }}",
            "{{ if not $last }}{{ \"<|im_end|>\\n\" }}{{ end }}\n{{- end }}\n",
            "{{- if and $last (ne .Role \"assistant\") }}{{ \"<|im_start|>assistant\\n\" }}{{ end }}\n{{- end }}",
        );
        assert_eq!(chatml().go_template(), expected);
    }

    #[test]
    fn a_chat_without_system_message_gets_the_templates_own() {
        let composed = chatml().compose(&[("user", "Hi")]);
        assert_eq!(
            composed,
            "<|im_start|>system\nBe \"kind\".<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
        );
    }
}
