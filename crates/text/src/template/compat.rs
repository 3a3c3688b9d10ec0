//! The environment that Hugging Face chat templates expect: Jinja2 with `trim_blocks` and `lstrip_blocks`, loop
//! controls, Python's methods of strings and dicts, `raise_exception`, `strftime_now`, `tojson` as `json.dumps`, and
//! the `generation` block.
//!
//! # Source
//! `transformers.utils.chat_template_utils._cached_compile_jinja_template`

use std::fmt::Write;

use chrono::NaiveDate;
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Rest, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value, escape_formatter, filters};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::{json, markup, meter};

/// Widest padding that a format string may ask for.
const MAX_WIDTH: i64 = 4096;
/// Longest list that `slice` and `batch` may fill up.
const MAX_FILL: i64 = 65_536;

/// The words of `raise_exception`.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Raised(pub(super) String);

/// Jinja2's settings in Transformers.
pub(super) fn syntax() -> Result<SyntaxConfig, Error> {
    SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()
}

/// An environment with everything but the template.
pub(super) fn environment(date: NaiveDate) -> Result<Environment<'static>, Error> {
    let mut env = Environment::new();
    env.set_syntax(syntax()?);
    env.set_debug(false);
    env.set_undefined_behavior(UndefinedBehavior::Lenient);
    env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    env.set_unknown_method_callback(method);
    env.set_formatter(|out, state, value| {
        let size = match value.as_str() {
            Some(text) => text.len(),
            None => meter::size(value, meter::remaining(state), 0),
        };
        meter::charge(state, size)?;
        escape_formatter(out, state, value)
    });
    add_filters(&mut env);
    env.add_function("raise_exception", |message: Value| -> Result<Value, Error> {
        let raised = Raised(message.to_string());
        Err(Error::new(ErrorKind::InvalidOperation, raised.0.clone()).with_source(raised))
    });
    env.add_function("strftime_now", move |format: &str| strftime(date, format));
    env.add_function(meter::ADD, markup::add);
    env.add_test("iterable", |value: &Value| !value.is_none() && value.try_iter().is_ok());
    // Everything with a length and items, as in Python: texts and dicts too.
    env.add_test("sequence", |value: &Value| {
        value.is_undefined() || matches!(value.kind(), ValueKind::String | ValueKind::Seq | ValueKind::Map)
    });
    Ok(env)
}

fn strftime(date: NaiveDate, format: &str) -> Result<String, Error> {
    let mut text = String::new();
    // The time of day is midnight: a template's date must not make two runs differ.
    match write!(text, "{}", date.and_time(chrono::NaiveTime::MIN).format(format)) {
        Ok(()) => Ok(text),
        Err(_) => Err(Error::new(ErrorKind::InvalidOperation, format!("strftime_now does not know {format:?}"))),
    }
}

/// Filters whose result may be as long as all the text that goes in.
fn text_filters() -> Vec<(&'static str, Value)> {
    vec![
        ("upper", Value::from_function(filters::upper)),
        ("lower", Value::from_function(filters::lower)),
        ("title", Value::from_function(filters::title)),
        ("capitalize", Value::from_function(filters::capitalize)),
        ("replace", Value::from_function(filters::replace)),
        ("trim", Value::from_function(filters::trim)),
        ("join", Value::from_function(filters::join)),
        ("split", Value::from_function(filters::split)),
        ("lines", Value::from_function(filters::lines)),
        ("string", Value::from_function(filters::string)),
        ("indent", Value::from_function(filters::indent)),
        ("pprint", Value::from_function(filters::pprint)),
        ("format", Value::from_function(filters::format)),
        ("escape", Value::from_function(filters::escape)),
        ("e", Value::from_function(filters::escape)),
        ("safe", Value::from_function(filters::safe)),
        ("reverse", Value::from_function(filters::reverse)),
    ]
}

/// Filters that make a new list of the items of another.
fn list_filters() -> Vec<(&'static str, Value)> {
    vec![
        ("list", Value::from_function(filters::list)),
        ("sort", Value::from_function(filters::sort)),
        ("dictsort", Value::from_function(filters::dictsort)),
        ("items", Value::from_function(filters::items)),
        ("unique", Value::from_function(filters::unique)),
        ("batch", Value::from_function(filters::batch)),
        ("slice", Value::from_function(filters::slice)),
        ("map", Value::from_function(filters::map)),
        ("select", Value::from_function(filters::select)),
        ("reject", Value::from_function(filters::reject)),
        ("selectattr", Value::from_function(filters::selectattr)),
        ("rejectattr", Value::from_function(filters::rejectattr)),
        ("groupby", Value::from_function(filters::groupby)),
        ("sum", Value::from_function(filters::sum)),
        ("chain", Value::from_function(filters::chain)),
        ("zip", Value::from_function(filters::zip)),
    ]
}

fn add_filters(env: &mut Environment<'static>) {
    env.add_filter(meter::CHARGE, meter::charge_value);
    env.add_filter("tojson", json::tojson);
    env.add_filter("int", int);
    env.add_filter("float", float);
    env.remove_filter("urlencode");
    for (name, filter) in text_filters() {
        env.add_filter(name, move |state: &mut State, args: Rest<Value>| {
            charge_text_call(state, name, args.first(), args.get(1..).unwrap_or_default())?;
            filter.call(state, &args)
        });
    }
    for (name, filter) in list_filters() {
        env.add_filter(name, move |state: &mut State, args: Rest<Value>| {
            let numbers = args.iter().skip(1).filter_map(Value::as_i64);
            if matches!(name, "batch" | "slice") && numbers.max().unwrap_or(0) > MAX_FILL {
                return Err(meter::exceeded());
            }
            for arg in args.iter() {
                meter::charge(state, arg.len().unwrap_or(0).saturating_mul(32))?;
            }
            filter.call(state, &args)
        });
    }
}

/// Jinja2's `int(value, default=0, base=10)`: what is no number becomes the default.
fn int(value: &Value, default: Option<Value>, base: Option<u32>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0));
    let base = base.or(kwargs.get("base")?).unwrap_or(10);
    kwargs.assert_all_used()?;
    if value.is_integer() {
        return Ok(value.clone());
    }
    let float = match value.as_str() {
        Some(text) => {
            let text = text.trim();
            if (2..=36).contains(&base)
                && let Ok(number) = i64::from_str_radix(text, base)
            {
                return Ok(Value::from(number));
            }
            text.parse().ok()
        }
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(float.filter(|x: &f64| x.is_finite()).map_or(default, |x| Value::from(x as i128)))
}

/// Jinja2's `float(value, default=0.0)`: what is no number becomes the default.
fn float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = default.or(kwargs.get("default")?).unwrap_or_else(|| Value::from(0.0));
    kwargs.assert_all_used()?;
    let float = match value.as_str() {
        Some(text) => text.trim().parse().ok(),
        None if value.kind() == ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        None => f64::try_from(value.clone()).ok(),
    };
    Ok(float.map_or(default, Value::from))
}

/// Charges what a filter or a method on text can make, before it makes it.
fn charge_text_call(state: &mut State, name: &str, value: Option<&Value>, args: &[Value]) -> Result<(), Error> {
    let limit = meter::remaining(state);
    let measure = |value: &Value| meter::size(value, limit, 0);
    let own = value.map_or(0, measure);
    let count = |text: Option<&Value>, part: Option<&str>| match (text.and_then(Value::as_str), part) {
        (Some(text), Some("")) => text.chars().count() + 1,
        (Some(text), Some(part)) => text.matches(part).count(),
        _ => 0,
    };
    let made = match name {
        "replace" => {
            let from = args.first().and_then(Value::as_str);
            own.saturating_add(count(value, from).saturating_mul(args.get(1).map_or(0, measure)))
        }
        // The filter joins its value with an argument, the method joins its argument with its value.
        "join" => {
            let items = |value: Option<&Value>| value.and_then(Value::len).unwrap_or(0).saturating_add(1);
            let texts: usize = args.iter().map(measure).fold(own, usize::saturating_add);
            let separators = args.iter().map(|arg| measure(arg).saturating_mul(items(value)));
            let own_as_separator = own.saturating_mul(items(args.first()));
            match value.and_then(Value::as_str) {
                Some(_) if args.len() == 1 && args[0].as_str().is_none() => texts.saturating_add(own_as_separator),
                _ => separators.fold(texts, usize::saturating_add),
            }
        }
        "indent" => {
            // The width may come by position or by name, so take the largest number there is.
            let width = args.iter().flat_map(largest_number).max().unwrap_or(4);
            if width > MAX_WIDTH {
                return Err(meter::exceeded());
            }
            own.saturating_add((count(value, Some("\n")) + 1).saturating_mul(width.unsigned_abs() as usize))
        }
        "format" => {
            if !format_is_narrow(value.and_then(Value::as_str).unwrap_or_default(), args) {
                return Err(meter::exceeded());
            }
            let parameters = args.iter().map(measure).fold(0, usize::saturating_add);
            // A format string may use each parameter many times.
            let fields = count(value, Some("%")).saturating_add(count(value, Some("{")));
            own.saturating_add(parameters.saturating_add(MAX_WIDTH as usize).saturating_mul(fields))
        }
        _ => args.iter().map(measure).fold(own, usize::saturating_add),
    };
    meter::charge(state, made)
}

fn largest_number(value: &Value) -> Option<i64> {
    match value.as_i64() {
        Some(number) => Some(number),
        None if value.is_kwargs() => value.try_iter().ok()?.filter_map(|key| value.get_item(&key).ok()?.as_i64()).max(),
        None => None,
    }
}

/// Whether no field of a format string is padded beyond [`MAX_WIDTH`].
fn format_is_narrow(format: &str, args: &[Value]) -> bool {
    let longest_number = format.split(|c: char| !c.is_ascii_digit()).map(str::len).max().unwrap_or(0);
    // A width may also be a parameter: `%*d`, `{:{}}`.
    let largest = args.iter().flat_map(largest_number).max().unwrap_or(0);
    let takes_width = format.contains('*') || format.contains(":{") || format.contains("{:");
    longest_number <= 3 && (!takes_width || largest <= MAX_WIDTH)
}

/// Python's methods: those of `minijinja_contrib::pycompat`, bounded, and a few that it lacks.
fn method(state: &mut State, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        charge_text_call(state, name, Some(value), args)?;
        if let Some(result) = string_method(text, name, args) {
            return result;
        }
    }
    unknown_method_callback(state, value, name, args)
}

fn string_method(text: &str, name: &str, args: &[Value]) -> Option<Result<Value, Error>> {
    let argument = args.first().and_then(Value::as_str);
    // Python also counts the separators U+001C to U+001F as white space.
    let white = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let result = match (name, argument) {
        ("strip", None) if args.is_empty() => Value::from(text.trim_matches(white)),
        ("lstrip", None) if args.is_empty() => Value::from(text.trim_start_matches(white)),
        ("rstrip", None) if args.is_empty() => Value::from(text.trim_end_matches(white)),
        ("removeprefix", Some(prefix)) => Value::from(text.strip_prefix(prefix).unwrap_or(text)),
        ("removesuffix", Some(suffix)) => Value::from(text.strip_suffix(suffix).unwrap_or(text)),
        ("partition" | "rpartition" | "rsplit", Some("")) => {
            return Some(Err(Error::new(ErrorKind::InvalidOperation, "empty separator")));
        }
        ("partition", Some(separator)) => match text.split_once(separator) {
            Some((before, after)) => Value::from((before, separator, after)),
            None => Value::from((text, "", "")),
        },
        ("rpartition", Some(separator)) => match text.rsplit_once(separator) {
            Some((before, after)) => Value::from((before, separator, after)),
            None => Value::from(("", "", text)),
        },
        ("rsplit", Some(separator)) => {
            let times = args.get(1).and_then(Value::as_i64).filter(|&n| n >= 0);
            let mut parts: Vec<&str> = match times {
                Some(times) => text.rsplitn(times as usize + 1, separator).collect(),
                None => text.rsplit(separator).collect(),
            };
            parts.reverse();
            Value::from_iter(parts)
        }
        _ => return None,
    };
    Some(Ok(result))
}
