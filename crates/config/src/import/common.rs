//! What several tools' keys have in common.

use serde_json::Value;

use super::{Draft, Source, is_off};
use crate::values::TargetModule;

/// Numbers may be written as text where a tool takes that.
pub(super) fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    }
}

/// A whole number that is not negative.
pub(super) fn whole(value: &Value) -> Option<u64> {
    number(value).filter(|number| number.fract() == 0.0 && (0.0..=1e15).contains(number)).map(|number| number as u64)
}

pub(super) fn whole_of(source: &Source, key: &str) -> Option<u64> {
    source.get(key).and_then(whole)
}

pub(super) fn text_of<'a>(source: &'a Source, key: &str) -> Option<&'a str> {
    source.get(key).and_then(Value::as_str)
}

/// Takes a number over, whether it is written as one or as text.
pub(super) fn number_to(to: &'static str, key: &str, value: &Value, draft: &mut Draft) {
    match number(value) {
        Some(number) => draft.set(to, number, key),
        None => draft.without_counterpart(key, value, "a number is needed"),
    }
}

pub(super) fn learning_rate(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    number_to("training.learning_rate", key, value, draft);
}

/// Passes over the data are whole here.
pub(super) fn epochs(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match number(value) {
        Some(epochs) if epochs > 0.0 && epochs <= 1e6 => {
            draft.set("training.epochs", epochs.ceil() as u64, key);
            if epochs.fract() != 0.0 {
                let text = format!(
                    "epochs are whole here, {} is written; training.steps ends a run in between",
                    epochs.ceil()
                );
                draft.without_counterpart(key, value, text);
            }
        }
        _ => draft.without_counterpart(key, value, "a number of epochs above 0 is needed"),
    }
}

/// -1 and 0 mean that epochs decide.
pub(super) fn max_steps(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(steps) if steps > 0 => draft.set("training.steps", steps, key),
        _ => draft.without_effect(key, value, "the number of epochs decides"),
    }
}

/// The mathematical batch is the product of two keys; how it is cut is planned here.
pub(super) fn batch(source: &Source, per_device: &str, default: u64, draft: &mut Draft) {
    let micro = whole_of(source, per_device).unwrap_or(default);
    let accumulated = whole_of(source, "gradient_accumulation_steps").unwrap_or(1);
    let from = format!("{per_device} {micro} x gradient_accumulation_steps {accumulated} (of one device)");
    draft.set("training.batch_size", micro.saturating_mul(accumulated), from);
}

/// Names of linears, or a word for all of them.
pub(super) fn targets(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let names: Vec<String> = match value {
        Value::String(text) => text.split(',').map(|name| name.trim().to_string()).collect(),
        Value::Array(names) => {
            names.iter().map(|name| name.as_str().map_or_else(|| name.to_string(), str::to_string)).collect()
        }
        _ => return draft.without_counterpart(key, value, "names of modules are needed"),
    };
    if let [only] = &names[..]
        && ["all", "all-linear"].contains(&only.as_str())
    {
        return draft.set("adapter.target_modules", "all-linear", key);
    }
    let is_known = |name: &str| TargetModule::ALL.iter().any(|module| module.name() == name);
    let (mut known, unknown): (Vec<&str>, Vec<&str>) =
        names.iter().map(String::as_str).partition(|name| is_known(name));
    known.dedup();
    if !unknown.is_empty() {
        let text = format!("{} cannot carry an adapter here: only linears of decoder layers", unknown.join(", "));
        draft.without_counterpart(key, value, text);
    }
    if !known.is_empty() {
        draft.set("adapter.target_modules", known, key);
    }
}

/// Schedules by the names that Transformers has.
pub(super) fn schedule(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let name = value.as_str().unwrap_or_default();
    match name {
        "cosine" | "linear" => draft.set("training.schedule", name, key),
        "constant" | "constant_with_warmup" => draft.set("training.schedule", "constant", key),
        _ => {
            draft.without_counterpart(key, value, "constant, linear and cosine are the schedules here; cosine is taken")
        }
    }
}

/// AdamW in its varieties is AdamW here.
pub(super) fn optimizer(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let name = value.as_str().unwrap_or_default();
    if name.starts_with("adamw") || name.starts_with("paged_adamw") {
        let text = "AdamW is the optimizer here, its moments always in 32 bits";
        draft.without_effect(key, value, text);
    } else {
        draft.without_counterpart(key, value, "AdamW is the only optimizer here: learning rate and decay may not fit");
    }
}

/// 0 switches clipping off.
pub(super) fn max_grad_norm(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    match number(value) {
        Some(norm) if norm > 0.0 => draft.set("training.max_grad_norm", norm, key),
        Some(_) => draft.set("training.max_grad_norm", Value::Null, key),
        None => draft.without_counterpart(key, value, "a number is needed"),
    }
}

/// Every so many steps; shares of a run and other words have no counterpart.
pub(super) fn every_steps(to: &'static str, key: &str, value: &Value, draft: &mut Draft) {
    match whole(value) {
        Some(steps) if steps > 0 => draft.set(to, steps, key),
        _ => draft.without_counterpart(key, value, "a whole number of steps is needed"),
    }
}

pub(super) fn eval_steps(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    every_steps("evaluation.every_steps", key, value, draft);
}

pub(super) fn save_steps(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    every_steps("checkpoint.every_steps", key, value, draft);
}

pub(super) fn logging_steps(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    every_steps("logging.every_steps", key, value, draft);
}

/// The base's weights are read in the type they have.
pub(super) const TYPE: &str = "the type of the base's files decides the arithmetic";
/// Speed and memory are planned.
pub(super) const PLANNED: &str = "memory and layout are planned by `ft plan`, the result does not depend on them";
/// Reporting.
pub(super) const REPORT: &str = "the run's folder has metrics.jsonl; nothing is sent anywhere";
/// Devices.
pub(super) const DEVICES: &str = "there is one process on one machine";

/// A flag for a base in so many bits.
pub(super) fn quantize(to: &'static str, key: &str, value: &Value, draft: &mut Draft) {
    match value {
        _ if is_off(value) => draft.without_effect(key, value, "switched off"),
        Value::Bool(true) => draft.set("model.quantize", to, key),
        _ => draft.without_counterpart(key, value, "true or false is needed"),
    }
}

/// A flag for DoRA.
pub(super) fn dora(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    if is_off(value) {
        return draft.without_effect(key, value, "switched off");
    }
    draft.set("adapter.method", "dora", key);
}

/// A name on a hub is no folder yet.
pub(super) fn model(_: &Source, key: &str, value: &Value, draft: &mut Draft) {
    let Some(name) = value.as_str().filter(|name| !name.is_empty()) else {
        return draft.without_counterpart(key, value, "a path is needed");
    };
    draft.set("model.path", name, key);
    let looks_like_a_hub_name = name.split('/').count() == 2 && !name.starts_with(['.', '/', '~']);
    if looks_like_a_hub_name {
        draft.without_counterpart(
            key,
            value,
            "if this is a name on a hub: download the model and put its folder there",
        );
    }
}
