//! The named pre-tokenizers of byte-level vocabularies: by which expressions a text is cut before pairs are merged.

use serde_json::{Value as Json, json};

/// One pre-tokenizer and what its name implies besides.
pub(crate) struct PreTokenizer {
    /// The name that is written, then others that mean the same.
    pub(crate) names: &'static [&'static str],
    /// Expressions applied one after the other, each to the pieces that the one before left; matches and what lies
    /// between them become pieces.
    pub(crate) expressions: &'static [&'static str],
    /// A piece that is a token as a whole is taken as such, without merging.
    pub(crate) ignore_merges: bool,
    /// BOS is put in front of a text unless `add_bos_token` says otherwise.
    pub(crate) add_bos: bool,
    /// The family's tokenizers compose characters first (Unicode NFC).
    pub(crate) composes: bool,
}

const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const QWEN2: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const SEED_CODER: &str =
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+";
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const DEEPSEEK3: &str = r##"[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"##;
/// Chinese, Korean and what lies between.
const DEEPSEEK_EAST: &str = r"[\x{4E00}-\x{9FA5}\x{800}-\x{4E00}\x{AC00}-\x{D7FF}]+";
/// Letters of the scripts that have two cases.
const DEEPSEEK_WORDS: &str = concat!(
    r"\s?[",
    r"A-Za-z\x{B5}\x{C0}-\x{D6}\x{D8}-\x{F6}\x{F8}-\x{1BA}\x{1BC}-\x{1BF}\x{1C4}-\x{293}\x{295}-\x{2AF}",
    r"\x{370}-\x{373}\x{376}\x{377}\x{37B}-\x{37D}\x{37F}\x{386}\x{388}-\x{38A}\x{38C}\x{38E}-\x{3A1}",
    r"\x{3A3}-\x{3F5}\x{3F7}-\x{481}\x{48A}-\x{52F}\x{531}-\x{556}\x{10A0}-\x{10C5}\x{13A0}-\x{13F5}",
    r"\x{13F8}-\x{13FD}\x{1C90}-\x{1CBA}\x{1CBD}-\x{1CBF}\x{1D00}-\x{1D2B}\x{1D6B}-\x{1D77}",
    r"\x{1D79}-\x{1D9A}\x{1E00}-\x{1F15}\x{1F18}-\x{1F1D}\x{1F20}-\x{1F45}\x{1F48}-\x{1F4D}",
    r"\x{1F50}-\x{1F57}\x{1F59}\x{1F5B}\x{1F5D}\x{1F5F}-\x{1F7D}\x{1F80}-\x{1FB4}\x{1FB6}-\x{1FBC}\x{1FBE}",
    r"\x{1FC2}-\x{1FC4}\x{1FC6}-\x{1FCC}\x{1FD0}-\x{1FD3}\x{1FD6}-\x{1FDB}\x{1FE0}-\x{1FEC}",
    r"\x{1FF2}-\x{1FF4}\x{1FF6}-\x{1FFC}\x{2102}\x{2107}\x{210A}-\x{2113}\x{2115}\x{2119}-\x{211D}\x{2124}",
    r"\x{2126}\x{2128}\x{212A}-\x{212D}\x{212F}-\x{2134}\x{2139}\x{213C}-\x{213F}\x{2145}-\x{2149}\x{214E}",
    r"\x{2183}\x{2184}\x{2C00}-\x{2C7B}\x{2C7E}-\x{2CE4}\x{2CEB}-\x{2CEE}\x{2CF2}\x{2CF3}\x{A640}-\x{A66D}",
    r"\x{A680}-\x{A69B}\x{A722}-\x{A76F}\x{A771}-\x{A787}\x{A78B}-\x{A78E}\x{AB70}-\x{ABBF}",
    r"\x{FB00}-\x{FB06}\x{FB13}-\x{FB17}\x{FF21}-\x{FF3A}\x{FF41}-\x{FF5A}\x{10400}-\x{1044F}",
    r"\x{104B0}-\x{104D3}\x{104D8}-\x{104FB}\x{10C80}-\x{10CB2}\x{10CC0}-\x{10CF2}\x{118A0}-\x{118DF}",
    r"\x{1E900}-\x{1E943}",
    "]+"
);

/// What GGUF names can be read and written.
///
/// # Source
/// The names, and what they imply, are those of llama.cpp (`llama-vocab.cpp`); the expressions are the ones of the
/// tokenizers from which these vocabularies come.
pub(crate) const PRE_TOKENIZERS: [PreTokenizer; 13] = [
    PreTokenizer {
        names: &["llama-bpe", "llama3", "llama-v3", "falcon3", "falcon-h1", "pixtral", "midm-2.0", "lfm2"],
        expressions: &[LLAMA3],
        ignore_merges: true,
        add_bos: true,
        composes: false,
    },
    PreTokenizer {
        names: &["smaug-bpe", "dbrx"],
        expressions: &[LLAMA3],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["qwen2", "deepseek-r1-qwen", "megrez", "kormo", "f2llmv2"],
        expressions: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
        composes: true,
    },
    PreTokenizer {
        names: &["stablelm2", "grok-2", "hunyuan", "solar-open"],
        expressions: &[QWEN2],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["gpt-2", "mpt", "olmo", "jais", "phi-2", "gigachat", "a.x-4.0", "mellum", "exaone4", "trillion"],
        expressions: &[GPT2],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["smollm", "starcoder", "refact", "command-r", "codeshell", "exaone", "minerva-7b"],
        expressions: &[r"\p{N}", GPT2],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer { names: &["tekken"], expressions: &[TEKKEN], ignore_merges: true, add_bos: true, composes: false },
    PreTokenizer {
        names: &["gpt-4o", "llama4", "kanana2"],
        expressions: &[GPT4O],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["seed-coder"],
        expressions: &[SEED_CODER],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["deepseek-llm"],
        expressions: &[
            r"[\r\n]",
            DEEPSEEK_WORDS,
            r"\s?[!-/:-~\x{FF01}-\x{FF0F}\x{FF1A}-\x{FF5E}\x{2018}-\x{201F}\x{3000}-\x{3002}]+",
            r"\s+$",
            DEEPSEEK_EAST,
            r"\p{N}",
        ],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["deepseek-coder"],
        expressions: &[r"[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", DEEPSEEK_EAST, r"\p{N}"],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["deepseek-v3"],
        expressions: &[r"\p{N}{1,3}", r"[\x{4E00}-\x{9FA5}\x{3040}-\x{309F}\x{30A0}-\x{30FF}]+", DEEPSEEK3],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
    PreTokenizer {
        names: &["default"],
        expressions: &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"],
        ignore_merges: false,
        add_bos: false,
        composes: false,
    },
];

/// The names that can be written, for messages.
pub(crate) fn known() -> String {
    PRE_TOKENIZERS.iter().map(|known| known.names[0]).collect::<Vec<_>>().join(", ")
}

/// The pre-tokenizer of that name.
pub(crate) fn by_name(name: &str) -> Option<&'static PreTokenizer> {
    PRE_TOKENIZERS.iter().find(|known| known.names.contains(&name))
}

impl PreTokenizer {
    /// The `pre_tokenizer` of a tokenizer.json.
    pub(crate) fn to_json(&self) -> Json {
        of_expressions(self.expressions)
    }
}

/// The `pre_tokenizer` of a tokenizer.json that cuts by each expression in turn.
pub(crate) fn of_expressions(expressions: &[&str]) -> Json {
    let mut parts: Vec<Json> = expressions.iter().map(|expression| split(&literal(expression))).collect();
    parts.push(byte_level(false));
    json!({"type": "Sequence", "pretokenizers": parts})
}

fn split(expression: &str) -> Json {
    json!({"type": "Split", "pattern": {"Regex": expression}, "behavior": "Isolated", "invert": false})
}

/// The part of a tokenizer.json that writes bytes as characters.
pub(crate) fn byte_level(trim_offsets: bool) -> Json {
    json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": trim_offsets, "use_regex": false})
}

/// An expression with the characters themselves where it has `\x{2126}`; here they are escaped, because editors
/// replace some of them with others that look alike.
fn literal(expression: &str) -> String {
    let mut parts = expression.split(r"\x{");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (code, rest) = part.split_once('}').unwrap_or((part, ""));
        match u32::from_str_radix(code, 16).ok().and_then(char::from_u32) {
            Some(c) => out.push(c),
            None => out.push_str(&format!(r"\x{{{code}}}")),
        }
        out.push_str(rest);
    }
    out
}

/// One spelling for expressions that match the same: case-blind contractions written out, counts of one, a last
/// alternative that takes what would be left over anyway.
fn canonical(expression: &str) -> String {
    let written_out = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
    let text =
        literal(expression).replace(written_out, "(?i:'s|'t|'re|'ve|'m|'ll|'d)").replace(r"\p{N}{1}|", r"\p{N}|");
    text.strip_suffix(r"|\s+").map(str::to_owned).unwrap_or(text)
}

/// The expressions of a tokenizer.json's `pre_tokenizer`, in canonical spelling.
///
/// # Errors
/// What it is that cuts in another way.
pub(crate) fn expressions_of(pre_tokenizer: &Json) -> Result<Vec<String>, String> {
    let mut expressions = Vec::new();
    let mut byte_level = false;
    let parts = match pre_tokenizer["type"].as_str() {
        Some("Sequence") => pre_tokenizer["pretokenizers"].as_array().cloned().unwrap_or_default(),
        Some(_) => vec![pre_tokenizer.clone()],
        None => Vec::new(),
    };
    for part in &parts {
        if byte_level {
            return Err("a pre-tokenizer behind ByteLevel".to_owned());
        }
        match part["type"].as_str().unwrap_or_default() {
            "Split" => expressions.push(canonical(&expression_of(part)?)),
            "Digits" if part["individual_digits"] == true => expressions.push(r"\p{N}".to_owned()),
            "Digits" => expressions.push(r"\p{N}+".to_owned()),
            "ByteLevel" => {
                if part["add_prefix_space"] == true {
                    return Err("ByteLevel with add_prefix_space".to_owned());
                }
                if part["use_regex"] != false {
                    expressions.push(canonical(GPT2));
                }
                byte_level = true;
            }
            other => return Err(format!("a pre-tokenizer of type {other}")),
        }
    }
    if byte_level { Ok(expressions) } else { Err("no ByteLevel pre-tokenizer".to_owned()) }
}

fn expression_of(split: &Json) -> Result<String, String> {
    let kept = split["behavior"] == "Isolated" && split["invert"] == false;
    // The other way round, and the rest thrown away: the same where the expression leaves no rest.
    let inverted = split["behavior"] == "Removed" && split["invert"] == true;
    let pattern = &split["pattern"];
    let Some(expression) = pattern["Regex"].as_str() else {
        return Err(format!("a Split by {pattern}"));
    };
    if kept || (inverted && expression.ends_with(r"|\s+")) {
        return Ok(expression.to_owned());
    }
    Err(format!("a Split with behavior {} and invert {}", split["behavior"], split["invert"]))
}

/// The named pre-tokenizer that cuts as `pre_tokenizer` does.
///
/// Several names may share their expressions; the one whose other properties fit best is taken.
///
/// # Errors
/// What it is that has no name.
pub(crate) fn detect(
    pre_tokenizer: &Json,
    ignore_merges: bool,
    composes: bool,
) -> Result<&'static PreTokenizer, String> {
    let found = expressions_of(pre_tokenizer)?;
    let same = |known: &&PreTokenizer| {
        known.expressions.len() == found.len()
            && known.expressions.iter().zip(&found).all(|(known, found)| canonical(known) == *found)
    };
    let fit = |known: &&PreTokenizer| {
        2 * u8::from(known.ignore_merges == ignore_merges) + u8::from(known.composes == composes)
    };
    // `max_by_key` takes the last of equals; the first is the one that its family knows best.
    PRE_TOKENIZERS.iter().rev().filter(same).max_by_key(fit).ok_or_else(|| format!("expressions {found:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_found_again_in_what_it_writes() {
        for known in &PRE_TOKENIZERS {
            let found = detect(&known.to_json(), known.ignore_merges, known.composes).expect("known");
            assert_eq!(found.names, known.names);
        }
    }

    #[test]
    fn names_are_unique() {
        let mut names: Vec<&str> = PRE_TOKENIZERS.iter().flat_map(|known| known.names).copied().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn other_spellings_are_the_same() {
        let gpt2 = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        assert_eq!(detect(&gpt2, false, false).expect("gpt-2").names[0], "gpt-2");
        let digits = json!({"type": "Digits", "individual_digits": true});
        let smollm = json!({"type": "Sequence", "pretokenizers": [digits, gpt2]});
        assert_eq!(detect(&smollm, false, false).expect("smollm").names[0], "smollm");
        let written_out =
            LLAMA3.replace("(?i:'s|'t|'re|'ve|'m|'ll|'d)", "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])");
        let llama = json!({"type": "Sequence", "pretokenizers": [split(&written_out), byte_level(true)]});
        assert_eq!(detect(&llama, true, false).expect("llama").names[0], "llama-bpe");
        assert_eq!(detect(&llama, false, false).expect("llama").names[0], "smaug-bpe");
    }

    #[test]
    fn what_cuts_otherwise_has_no_name() {
        let one_digit_more = LLAMA3.replace("{1,3}", "{1,4}");
        let other = json!({"type": "Sequence", "pretokenizers": [split(&one_digit_more), byte_level(true)]});
        assert!(detect(&other, true, false).is_err_and(|why| why.contains("{1,4}")));
        let prefix = json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true});
        assert!(detect(&prefix, false, false).is_err_and(|why| why.contains("add_prefix_space")));
        assert!(detect(&json!({"type": "Whitespace"}), false, false).is_err());
        assert!(detect(&Json::Null, false, false).is_err());
    }
}
