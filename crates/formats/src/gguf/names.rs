//! Names of tensors: Hugging Face's and GGUF's, the same for Llama, Mistral, Qwen2 and Qwen3.

/// Outside of the layers.
pub const OUTER: [(&str, &str); 3] = [
    ("model.embed_tokens.weight", "token_embd.weight"),
    ("model.norm.weight", "output_norm.weight"),
    ("lm_head.weight", "output.weight"),
];

/// Inside of a layer: `model.layers.N.` and `blk.N.` stand before. Biases are named like their weights.
pub const OF_LAYER: [(&str, &str); 11] = [
    ("input_layernorm", "attn_norm"),
    ("self_attn.q_proj", "attn_q"),
    ("self_attn.k_proj", "attn_k"),
    ("self_attn.v_proj", "attn_v"),
    ("self_attn.o_proj", "attn_output"),
    ("self_attn.q_norm", "attn_q_norm"),
    ("self_attn.k_norm", "attn_k_norm"),
    ("post_attention_layernorm", "ffn_norm"),
    ("mlp.gate_proj", "ffn_gate"),
    ("mlp.up_proj", "ffn_up"),
    ("mlp.down_proj", "ffn_down"),
];

/// Divisors of the rotary frequencies, which Hugging Face has in `config.json`.
pub const ROPE_FREQS: &str = "rope_freqs.weight";

/// GGUF's name of a tensor in Hugging Face's naming.
pub fn to_gguf(name: &str) -> Option<String> {
    if let Some((_, gguf)) = OUTER.iter().find(|(hf, _)| *hf == name) {
        return Some((*gguf).to_string());
    }
    translate(name, "model.layers.", "blk.", |pair| pair)
}

/// Hugging Face's name of a tensor in GGUF's naming.
pub fn to_hugging_face(name: &str) -> Option<String> {
    if let Some((hf, _)) = OUTER.iter().find(|(_, gguf)| *gguf == name) {
        return Some((*hf).to_string());
    }
    translate(name, "blk.", "model.layers.", |(hf, gguf)| (gguf, hf))
}

fn translate(
    name: &str,
    from_prefix: &str,
    to_prefix: &str,
    direction: impl Fn((&'static str, &'static str)) -> (&'static str, &'static str),
) -> Option<String> {
    let (layer, rest) = name.strip_prefix(from_prefix)?.split_once('.')?;
    let (module, ending) = rest.rsplit_once('.')?;
    if !matches!(ending, "weight" | "bias") || layer.is_empty() || !layer.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (_, to) = OF_LAYER.into_iter().map(direction).find(|(from, _)| *from == module)?;
    Some(format!("{to_prefix}{layer}.{to}.{ending}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        let mut names: Vec<String> = OUTER.iter().map(|(hf, _)| (*hf).to_string()).collect();
        for (module, _) in OF_LAYER {
            names.push(format!("model.layers.31.{module}.weight"));
            names.push(format!("model.layers.0.{module}.bias"));
        }
        for name in names {
            let gguf = to_gguf(&name).unwrap_or_else(|| panic!("{name}"));
            assert_eq!(to_hugging_face(&gguf).as_ref(), Some(&name), "{gguf}");
        }
        assert_eq!(to_gguf("model.layers.3.self_attn.q_proj.weight").as_deref(), Some("blk.3.attn_q.weight"));
        for unknown in
            ["model.layers.x.mlp.up_proj.weight", "model.layers.0.mlp.up_proj.scale", "blk.0.attn_q.weight", ""]
        {
            assert_eq!(to_gguf(unknown), None, "{unknown}");
        }
        assert_eq!(to_hugging_face(ROPE_FREQS), None);
    }
}
