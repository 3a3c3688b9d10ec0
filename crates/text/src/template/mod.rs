//! Chat templates: Jinja as Hugging Face models use it, bounded in time and memory.

mod compat;
mod json;
mod markup;
mod meter;

use std::io;
use std::ops::Range;

use chrono::NaiveDate;
use minijinja::{Environment, Error, ErrorKind, Value};
use serde_json::{Map, Value as Json};

use crate::error::TextError;

/// Longest template that is accepted; the largest published ones have about 20 KiB.
pub(crate) const MAX_TEMPLATE_BYTES: usize = 512 << 10;
/// Longest rendered chat.
const MAX_OUTPUT_BYTES: usize = 64 << 20;
/// Name of the one template in the environment.
const NAME: &str = "chat_template";

/// Marks around `{% generation %}` text while it is rendered: the last two code points of a private-use plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct GenerationMarks {
    open: char,
    close: char,
}

const GENERATION_MARKS: GenerationMarks = GenerationMarks { open: '\u{FFFFC}', close: '\u{FFFFD}' };

/// Whether a character marks the borders of generation blocks while a template runs.
pub(crate) fn is_generation_mark(c: char) -> bool {
    c == GENERATION_MARKS.open || c == GENERATION_MARKS.close
}

/// A compiled chat template.
#[derive(Debug)]
pub(crate) struct ChatTemplate {
    env: Environment<'static>,
    /// Where it comes from, for messages.
    origin: String,
    /// Its text as published.
    text: String,
    has_generation: bool,
}

/// A chat as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rendered {
    /// The text.
    pub(crate) text: String,
    /// Byte ranges of the text inside `{% generation %}`.
    pub(crate) generation: Vec<Range<usize>>,
}

/// Why a rendering failed.
#[derive(Debug)]
pub(crate) enum RenderError {
    /// `raise_exception` was called.
    Refused { reason: String },
    /// The template is wrong for the chat, or wrong altogether.
    Failed { line: usize, reason: String },
    /// A bound was reached.
    Bounds { reason: String },
}

impl ChatTemplate {
    /// Compiles a template.
    ///
    /// # Errors
    /// [`TextError::TemplateSyntax`] with the line, [`TextError::TemplateBounds`].
    pub(crate) fn compile(text: String, origin: &str, date: NaiveDate) -> Result<Self, TextError> {
        let bounds = |reason: String| TextError::TemplateBounds { origin: origin.to_owned(), reason };
        let syntax_error = |error: &Error| TextError::TemplateSyntax {
            origin: origin.to_owned(),
            line: error.line().unwrap_or(1),
            reason: describe(error),
        };
        if text.len() > MAX_TEMPLATE_BYTES {
            return Err(bounds(format!("it has {} bytes; at most {MAX_TEMPLATE_BYTES} are read", text.len())));
        }
        // Jinja2 knows one line ending only; a template saved on Windows means the same.
        let lines = text.replace("\r\n", "\n").replace('\r', "\n");
        let (source, has_generation) = replace_generation_tags(&lines);
        let syntax = compat::syntax().map_err(|error| syntax_error(&error))?;
        let metered = meter::meter(&source, syntax).map_err(|error| match error {
            meter::MeterError::Syntax(error) => syntax_error(&error),
            meter::MeterError::Bounds(reason) => bounds(reason),
        })?;
        let mut env = compat::environment(date).map_err(|error| syntax_error(&error))?;
        env.set_fuel(Some(metered.fuel));
        env.add_template_owned(NAME, metered.source).map_err(|error| syntax_error(&error))?;
        Ok(Self { env, origin: origin.to_owned(), text, has_generation })
    }

    /// The template's text as published.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    /// Where the template comes from.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it marks the assistant's text itself.
    pub(crate) fn has_generation(&self) -> bool {
        self.has_generation
    }

    /// Whether it can add the header of the next assistant turn.
    pub(crate) fn knows_generation_prompt(&self) -> bool {
        self.text.contains("add_generation_prompt")
    }

    /// Renders a chat.
    ///
    /// # Errors
    /// [`RenderError`]: refused, failed, or out of bounds.
    pub(crate) fn render(&self, context: Value) -> Result<Rendered, RenderError> {
        let mut out = BoundedOutput(Vec::new());
        let template = self.env.get_template(NAME).map_err(|error| failed(&error))?;
        template.render_captured_to(context, &mut out).map_err(|error| failed(&error))?;
        let text = String::from_utf8(out.0).map_err(|_| RenderError::Failed { line: 0, reason: "not UTF-8".into() })?;
        if self.has_generation { split_generation(&text) } else { Ok(Rendered { text, generation: Vec::new() }) }
    }
}

/// Output that stops at [`MAX_OUTPUT_BYTES`].
struct BoundedOutput(Vec<u8>);

impl io::Write for BoundedOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > MAX_OUTPUT_BYTES {
            return Err(io::Error::other(format!("it writes more than {MAX_OUTPUT_BYTES} bytes")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn describe(error: &Error) -> String {
    match error.detail() {
        Some(detail) => format!("{}: {detail}", error.kind()),
        None => error.kind().to_string(),
    }
}

fn failed(error: &Error) -> RenderError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(inner) = cause {
        if let Some(raised) = inner.downcast_ref::<compat::Raised>() {
            return RenderError::Refused { reason: raised.0.clone() };
        }
        match inner.downcast_ref::<Error>().map(Error::kind) {
            Some(ErrorKind::OutOfFuel) => {
                let detail = inner.downcast_ref::<Error>().and_then(Error::detail);
                let reason = detail.map_or_else(|| "it runs for too long".to_owned(), str::to_owned);
                return RenderError::Bounds { reason };
            }
            Some(ErrorKind::WriteFailure) => {
                let reason = inner.source().map_or_else(|| "it cannot write".to_owned(), ToString::to_string);
                return RenderError::Bounds { reason };
            }
            _ => {}
        }
        cause = inner.source();
    }
    RenderError::Failed { line: error.line().unwrap_or(0), reason: describe(error) }
}

/// Turns `{% generation %}` ... `{% endgeneration %}` into a scope that prints the marks at its borders.
///
/// In Transformers the block is a call block, so what it sets is local: hence `with`. White space around the tags
/// is trimmed by the same rules, because what replaces a tag begins and ends with a tag of the same kind.
fn replace_generation_tags(text: &str) -> (String, bool) {
    let GenerationMarks { open, close } = GENERATION_MARKS;
    let mut out = String::with_capacity(text.len() + 64);
    let mut found = false;
    let mut rest = text;
    while let Some(at) = rest.find("{%") {
        let (before, tag) = rest.split_at(at + 2);
        out.push_str(before);
        let sign = usize::from(tag.starts_with(['-', '+']));
        let body = tag[sign..].trim_start();
        let name: &str = &body[..body.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(body.len())];
        let end = body[name.len()..].trim_start().trim_start_matches(['-', '+']);
        let replacement = match name {
            "generation" if end.starts_with("%}") => {
                Some(format!(" with %}}{{{{ '{open}' }}}}{{% if false %}}{{% endif"))
            }
            "endgeneration" if end.starts_with("%}") => {
                Some(format!(" if true %}}{{{{ '{close}' }}}}{{% endif %}}{{% endwith"))
            }
            _ => None,
        };
        rest = match replacement {
            Some(replacement) => {
                found = true;
                out.push_str(&tag[..sign]);
                out.push_str(&replacement);
                &body[name.len()..]
            }
            None => tag,
        };
    }
    out.push_str(rest);
    (out, found)
}

/// Takes the marks of generation blocks out of a rendering.
fn split_generation(marked: &str) -> Result<Rendered, RenderError> {
    let mut text = String::with_capacity(marked.len());
    let mut generation = Vec::new();
    let mut open = Vec::new();
    for c in marked.chars() {
        if c == GENERATION_MARKS.open {
            open.push(text.len());
        } else if c == GENERATION_MARKS.close {
            if let Some(start) = open.pop() {
                generation.push(start..text.len());
            }
        } else {
            text.push(c);
        }
    }
    if !open.is_empty() {
        let reason = "text of a generation block was cut by a filter".to_owned();
        return Err(RenderError::Failed { line: 0, reason });
    }
    Ok(Rendered { text, generation })
}

/// A JSON value as the template sees it; key order and the difference of `1` and `1.0` are kept.
pub(crate) fn to_template_value(json: &Json) -> Value {
    match json {
        Json::Null => Value::from(()),
        Json::Bool(x) => Value::from(*x),
        Json::Number(x) => match (x.as_i64(), x.as_u64(), x.as_f64()) {
            (Some(x), _, _) => Value::from(x),
            (_, Some(x), _) => Value::from(x),
            (_, _, Some(x)) => Value::from(x),
            _ => Value::from(()),
        },
        Json::String(x) => Value::from(x.as_str()),
        Json::Array(x) => Value::from(x.iter().map(to_template_value).collect::<Vec<_>>()),
        Json::Object(x) => object_value(x),
    }
}

fn object_value(object: &Map<String, Json>) -> Value {
    Value::from_pairs(object.iter().map(|(key, value)| (key.as_str(), to_template_value(value))))
}

#[cfg(test)]
mod tests;
