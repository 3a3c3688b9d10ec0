//! Finds the key that was meant when an unknown one was given.

use strsim::{normalized_damerau_levenshtein, normalized_levenshtein};

use crate::schema;

/// What keys are called elsewhere (TRL, PEFT, axolotl, mlx-lm), and their full names here. Spelling distance does not
/// lead from the one to the other.
const ELSEWHERE: [(&str, &str); 38] = [
    ("base_model", "model.path"),
    ("model_name_or_path", "model.path"),
    ("chat_template_path", "model.chat_template"),
    ("r", "adapter.rank"),
    ("lora_r", "adapter.rank"),
    ("lora_alpha", "adapter.alpha"),
    ("lora_dropout", "adapter.dropout"),
    ("num_layers", "adapter.layers"),
    ("resume_adapter_file", "adapter.init_from"),
    ("dataset", "data.train"),
    ("datasets", "data.train"),
    ("max_length", "data.max_seq_length"),
    ("max_seq_len", "data.max_seq_length"),
    ("sequence_len", "data.max_seq_length"),
    ("val_set_size", "data.validation_fraction"),
    ("lr", "training.learning_rate"),
    ("lr_scheduler", "training.schedule"),
    ("lr_scheduler_type", "training.schedule"),
    ("num_epochs", "training.epochs"),
    ("num_train_epochs", "training.epochs"),
    ("iters", "training.steps"),
    ("max_steps", "training.steps"),
    ("per_device_train_batch_size", "training.batch_size"),
    ("gradient_accumulation_steps", "hardware.micro_batch_tokens"),
    ("micro_batch_size", "hardware.micro_batch_examples"),
    ("max_memory", "hardware.memory_budget"),
    ("memory_limit", "hardware.memory_budget"),
    ("gradient_checkpointing", "hardware.activations"),
    ("activation_checkpointing", "hardware.activations"),
    ("use_gradient_checkpointing", "hardware.activations"),
    ("grad_checkpoint", "hardware.activations"),
    ("gradient_clipping", "training.max_grad_norm"),
    ("label_smoothing_factor", "training.label_smoothing"),
    ("save_steps", "checkpoint.every_steps"),
    ("save_total_limit", "checkpoint.keep"),
    ("eval_steps", "evaluation.every_steps"),
    ("logging_steps", "logging.every_steps"),
    ("output_dir", "logging.dir"),
];

/// From here on two names are taken to be spellings of one.
const SAME_WORD: f64 = 0.6;

/// The one of `candidates` that is spelt most like `word`, with how much, 0 to 1.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<(&'a str, f64)> {
    let word = simplified(word);
    let score = |candidate: &str| {
        let candidate = simplified(candidate);
        // The plain distance breaks ties of the other.
        normalized_damerau_levenshtein(&word, &candidate) + 1e-3 * normalized_levenshtein(&word, &candidate)
    };
    candidates.into_iter().map(|candidate| (candidate, score(candidate))).fold(
        None,
        |best: Option<(&str, f64)>, next| if best.is_some_and(|best| best.1 >= next.1) { best } else { Some(next) },
    )
}

/// The one of `candidates` that `word` is a misspelling of, if any.
pub(crate) fn misspelt<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    nearest(word, candidates).filter(|(_, score)| *score >= SAME_WORD).map(|(candidate, _)| candidate)
}

/// The known key, in full, that is nearest to the unknown `name` inside `section` (empty at the top).
pub(crate) fn nearest_key(section: &str, siblings: &[&str], name: &str) -> Option<String> {
    let full = |sibling: &str| if section.is_empty() { sibling.to_owned() } else { format!("{section}.{sibling}") };
    if let Some((_, key)) = ELSEWHERE.iter().find(|(theirs, _)| simplified(theirs) == simplified(name)) {
        return Some((*key).to_owned());
    }
    if let Some(sibling) = misspelt(name, siblings.iter().copied()) {
        return Some(full(sibling));
    }
    let keys = schema::all_keys();
    let last = |key: &str| key.rsplit('.').next().unwrap_or(key).to_owned();
    let elsewhere = keys
        .iter()
        .map(|key| (key, nearest(name, [last(key).as_str()]).map_or(0.0, |(_, score)| score)))
        .filter(|(_, score)| *score >= SAME_WORD)
        .fold(
            None,
            |best: Option<(&String, f64)>, next| {
                if best.is_some_and(|best| best.1 >= next.1) { best } else { Some(next) }
            },
        );
    if let Some((key, _)) = elsewhere {
        return Some(key.clone());
    }
    nearest(name, siblings.iter().copied()).map(|(sibling, _)| full(sibling))
}

fn simplified(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_other_tools_lead_to_keys_that_exist() {
        let keys = schema::all_keys();
        for (theirs, ours) in ELSEWHERE {
            assert!(keys.iter().any(|key| key == ours), "{theirs} leads to {ours}, which is no key");
            assert!(!keys.iter().any(|key| key.rsplit('.').next() == Some(theirs)), "{theirs} is a key of ours");
        }
    }

    #[test]
    fn siblings_come_before_keys_of_other_sections() {
        assert_eq!(nearest_key("training", &["epochs", "steps"], "epoch").as_deref(), Some("training.epochs"));
        assert_eq!(nearest_key("training", &["epochs", "steps"], "rank").as_deref(), Some("adapter.rank"));
        assert_eq!(nearest_key("", &["model", "data"], "learning_rate").as_deref(), Some("training.learning_rate"));
        assert_eq!(nearest_key("training", &["epochs", "steps"], "lr").as_deref(), Some("training.learning_rate"));
        assert_eq!(nearest_key("", &["model", "data"], "Data").as_deref(), Some("data"));
    }
}
