//! `+` for templates that mark text as safe.
//!
//! In Jinja2 `text | safe` is a `Markup`, and `Markup + str` escapes the other side for HTML even when nothing is
//! escaped by default. Published templates depend on it without meaning to (`'"name": ' + (arguments | safe)` prints
//! `&#34;name&#34;: `), and a model is prompted with what they print. minijinja does not do this, so in templates
//! that use `safe` or `escape` the operator becomes a call of [`add`].
//!
//! # Source
//! `markupsafe.Markup.__add__`, `markupsafe.escape`

use minijinja::value::ValueKind;
use minijinja::{Error, ErrorKind, State, Value};

use super::meter;

/// `left + right` of Python, for the types that templates add.
pub(super) fn add(state: &mut State, left: Value, right: Value) -> Result<Value, Error> {
    let left = meter::charge_value(state, left)?;
    let right = meter::charge_value(state, right)?;
    if let (Some(a), Some(b)) = (left.as_str(), right.as_str()) {
        if !left.is_safe() && !right.is_safe() {
            return Ok(Value::from(format!("{a}{b}")));
        }
        let escaped = |value: &Value, text: &str| if value.is_safe() { text.to_owned() } else { escape(text) };
        let sum = format!("{}{}", escaped(&left, a), escaped(&right, b));
        meter::charge(state, sum.len())?;
        return Ok(Value::from_safe_string(sum));
    }
    let unsupported = || {
        let reason = format!("tried to use + operator on unsupported types {} and {}", left.kind(), right.kind());
        Error::new(ErrorKind::InvalidOperation, reason)
    };
    match (left.kind(), right.kind()) {
        (ValueKind::Number | ValueKind::Bool, ValueKind::Number | ValueKind::Bool) => {
            let whole = |value: &Value| {
                i128::try_from(value.clone()).ok().filter(|_| value.kind() == ValueKind::Bool || value.is_integer())
            };
            match (whole(&left), whole(&right)) {
                (Some(a), Some(b)) => a.checked_add(b).map(Value::from).ok_or_else(unsupported),
                _ => Ok(Value::from(f64::try_from(left.clone())? + f64::try_from(right.clone())?)),
            }
        }
        (ValueKind::Seq, ValueKind::Seq) => Ok(left.try_iter()?.chain(right.try_iter()?).collect()),
        _ => Err(unsupported()),
    }
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&#34;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
