//! What a repository has, and which of it a model needs.

use serde::Deserialize;

use crate::error::HubError;
use crate::names::fits;

/// One file as the hub lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteFile {
    /// Its name, with `/` between folders.
    pub name: String,
    /// Its size, where the hub says it.
    pub size_bytes: Option<u64>,
    /// SHA-256 of its content, for files in large file storage.
    pub sha256: Option<String>,
    /// Git's name of its content, for all others.
    pub git_sha1: Option<String>,
}

#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default)]
    siblings: Vec<Sibling>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sibling {
    rfilename: String,
    size: Option<u64>,
    blob_id: Option<String>,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    sha256: Option<String>,
    size: Option<u64>,
}

pub(crate) fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Reads the answer of `/api/models/{repository}/revision/{revision}?blobs=true`: the commit and its files.
pub(crate) fn read_listing(json: &[u8], address: &str) -> Result<(String, Vec<RemoteFile>), HubError> {
    let wrong = |reason: String| HubError::Protocol { address: address.into(), reason };
    let info: Info = serde_json::from_slice(json).map_err(|error| wrong(format!("no list of files: {error}")))?;
    if !is_hex(&info.sha, 40) {
        return Err(wrong("the list of files names no commit".into()));
    }
    let files = info.siblings.into_iter().map(|file| {
        let lfs = file.lfs.as_ref();
        RemoteFile {
            name: file.rfilename,
            size_bytes: lfs.and_then(|lfs| lfs.size).or(file.size),
            sha256: lfs.and_then(|lfs| lfs.sha256.clone()).filter(|hash| is_hex(hash, 64)),
            // Of a file in large file storage it names the pointer, not the content.
            git_sha1: file.blob_id.filter(|hash| file.lfs.is_none() && is_hex(hash, 40)),
        }
    });
    Ok((info.sha, files.collect()))
}

/// Which files are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Exact names. A part of a GGUF in several parts stands for all of them.
    pub files: Vec<String>,
    /// Patterns of `*` and `?`.
    pub patterns: Vec<String>,
}

const EXACT: [&str; 20] = [
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "vocab.txt",
    "merges.txt",
    "tokenizer.model",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "chat_template.jinja",
    "chat_template.json",
    "README.md",
    "modules.json",
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    "adapter_config.json",
];
const BESIDE: [&str; 7] = [
    "*.tiktoken",
    "additional_chat_templates/*.jinja",
    "LICEN?E*",
    "COPYING*",
    "NOTICE*",
    "USE_POLICY*",
    "?_Pooling/config.json",
];
/// Pickles, and what may hold them or other programs.
const PICKLES: [&str; 14] = [
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.pkl",
    "*.pickle",
    "*.dill",
    "*.npy",
    "*.npz",
    "*.joblib",
    "*.h5",
    "*.hdf5",
    "*.keras",
    "*.msgpack",
];
/// The list of shards.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

pub(crate) fn is_pickle(name: &str) -> bool {
    PICKLES.iter().any(|pattern| fits(pattern, &name.to_ascii_lowercase()))
}

fn is_beside(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    BESIDE.iter().any(|pattern| fits(&pattern.to_ascii_uppercase(), &name))
}

/// A name without the number of its part: `x-00001-of-00003.gguf` as `x.gguf`.
pub(crate) fn whole_name(name: &str) -> &str {
    let stem = name.strip_suffix(".gguf").unwrap_or(name);
    match stem.len().checked_sub(15).and_then(|at| stem.split_at_checked(at)) {
        Some((whole, part)) if fits("-?????-of-?????", part) => whole,
        _ => stem,
    }
}

/// The files to download. Where [`INDEX`] is among them, its shards are still to be added: [`shards`].
///
/// # Errors
/// [`HubError::Pickle`], [`HubError::Choice`], [`HubError::NothingFits`].
pub(crate) fn select<'a>(
    repository: &str,
    files: &'a [RemoteFile],
    wanted: &Wanted,
) -> Result<Vec<&'a RemoteFile>, HubError> {
    if wanted.files.is_empty() && wanted.patterns.is_empty() {
        return select_model(repository, files);
    }
    let nothing = |reason| HubError::NothingFits { repository: repository.into(), reason };
    let mut chosen: Vec<&RemoteFile> = Vec::new();
    for name in &wanted.files {
        if !files.iter().any(|file| file.name == *name) {
            return Err(nothing(format!("there is no file {name:?}")));
        }
        let fitting = |file: &&RemoteFile| {
            file.name == *name
                || name.ends_with(".gguf") && file.name.ends_with(".gguf") && whole_name(&file.name) == whole_name(name)
        };
        chosen.extend(files.iter().filter(fitting));
    }
    for pattern in &wanted.patterns {
        // Only what git keeps: a name such as `../x` is to be refused, not passed over.
        let hidden =
            |name: &str| name.split('/').any(|part| part.starts_with('.') && !part.bytes().all(|byte| byte == b'.'));
        let before = chosen.len();
        let all: Vec<&RemoteFile> =
            files.iter().filter(|file| fits(pattern, &file.name) && !hidden(&file.name)).collect();
        chosen.extend(all.iter().copied().filter(|file| !is_pickle(&file.name)));
        if all.is_empty() {
            return Err(nothing(format!("no file fits {pattern:?}")));
        }
        if chosen.len() == before {
            return Err(HubError::Pickle { repository: repository.into(), names: names_of(&all) });
        }
    }
    if let Some(pickle) = chosen.iter().find(|file| is_pickle(&file.name)) {
        return Err(HubError::Pickle { repository: repository.into(), names: vec![pickle.name.clone()] });
    }
    chosen.sort_by(|a, b| a.name.cmp(&b.name));
    chosen.dedup_by(|a, b| a.name == b.name);
    Ok(chosen)
}

fn names_of(files: &[&RemoteFile]) -> Vec<String> {
    files.iter().take(5).map(|file| file.name.clone()).collect()
}

fn select_model<'a>(repository: &str, files: &'a [RemoteFile]) -> Result<Vec<&'a RemoteFile>, HubError> {
    let named = |name: &str| files.iter().find(|file| file.name == name);
    let mut chosen: Vec<&RemoteFile> = files
        .iter()
        .filter(|file| EXACT.contains(&file.name.as_str()) || is_beside(&file.name))
        .filter(|file| !is_pickle(&file.name))
        .collect();
    let top = |end: &str| {
        files.iter().filter(|file| file.name.ends_with(end) && !file.name.contains('/')).collect::<Vec<_>>()
    };
    let safetensors = top(".safetensors");
    if let Some(weights) =
        named(INDEX).or_else(|| named("model.safetensors")).or_else(|| named("adapter_model.safetensors"))
    {
        chosen.push(weights);
        return Ok(chosen);
    }
    if let [only] = safetensors.as_slice() {
        chosen.push(only);
        return Ok(chosen);
    }
    let nothing = |reason: &str| HubError::NothingFits { repository: repository.into(), reason: reason.into() };
    if !safetensors.is_empty() {
        return Err(nothing("it has several safetensors files and no index; name them with --file"));
    }
    let gguf: Vec<&RemoteFile> = files.iter().filter(|file| file.name.ends_with(".gguf")).collect();
    let mut wholes: Vec<&RemoteFile> = gguf.clone();
    wholes.dedup_by(|a, b| whole_name(&a.name) == whole_name(&b.name));
    match wholes.as_slice() {
        [] => {
            let pickles: Vec<&RemoteFile> = files.iter().filter(|file| is_pickle(&file.name)).collect();
            if pickles.is_empty() {
                return Err(nothing("it has no weights"));
            }
            Err(HubError::Pickle { repository: repository.into(), names: names_of(&pickles) })
        }
        [_] => {
            chosen.extend(gguf);
            Ok(chosen)
        }
        several => Err(HubError::Choice {
            repository: repository.into(),
            choices: several.iter().map(|file| (file.name.clone(), file.size_bytes)).collect(),
        }),
    }
}

/// The shards that an index names, each once.
///
/// # Errors
/// [`HubError::Protocol`] when it is no index, [`HubError::NothingFits`] when a shard is not in the repository.
pub(crate) fn shards<'a>(
    repository: &str,
    index: &[u8],
    files: &'a [RemoteFile],
) -> Result<Vec<&'a RemoteFile>, HubError> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let index: Index = serde_json::from_slice(index).map_err(|error| HubError::Protocol {
        address: INDEX.into(),
        reason: format!("no index of shards: {error}"),
    })?;
    let names: std::collections::BTreeSet<String> = index.weight_map.into_values().collect();
    let find = |name: String| {
        let found = files.iter().find(|file| file.name == name && name.ends_with(".safetensors"));
        found.ok_or_else(|| HubError::NothingFits {
            repository: repository.into(),
            reason: format!("{INDEX} names the shard {name:?}, which is not there"),
        })
    };
    names.into_iter().map(find).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(names: &[&str]) -> Vec<RemoteFile> {
        let file = |name: &&str| RemoteFile { name: (*name).into(), size_bytes: Some(1), sha256: None, git_sha1: None };
        names.iter().map(file).collect()
    }

    fn chosen(names: &[&str], wanted: &Wanted) -> Result<Vec<String>, HubError> {
        Ok(select("a/b", &files(names), wanted)?.into_iter().map(|file| file.name.clone()).collect())
    }

    #[test]
    fn a_model_without_its_pickles() {
        let model = [
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tokenizer.json",
            ".gitattributes",
            "onnx/model.onnx",
        ];
        assert_eq!(chosen(&model, &Wanted::default()).unwrap(), ["config.json", "tokenizer.json", "model.safetensors"]);
        let error = chosen(&["config.json", "pytorch_model.bin"], &Wanted::default()).unwrap_err();
        assert!(matches!(error, HubError::Pickle { .. }), "{error}");
        assert!(matches!(chosen(&["config.json"], &Wanted::default()), Err(HubError::NothingFits { .. })));
    }

    #[test]
    fn a_pattern_fetches_no_pickle_and_hides_no_hostile_name() {
        let every = |names: &[&str]| chosen(names, &Wanted { patterns: vec!["*".into()], ..Wanted::default() });
        let names =
            ["a.bin", "a.BIN", "b.h5", "c.npy", "d.msgpack", "e.joblib", "f.pkl", ".gitattributes", "config.json"];
        assert_eq!(every(&names).unwrap(), ["config.json"]);
        assert_eq!(every(&["../x.json", "config.json"]).unwrap(), ["../x.json", "config.json"]);
        assert!(matches!(every(&["a.bin"]), Err(HubError::Pickle { .. })));
        let licences = ["license.md", "LICENCE", "model.safetensors"];
        assert_eq!(chosen(&licences, &Wanted::default()).unwrap(), licences);
    }

    #[test]
    fn one_gguf_or_the_named_one_with_all_of_its_parts() {
        let names = ["x-Q4_K_M.gguf", "x-Q8_0-00001-of-00002.gguf", "x-Q8_0-00002-of-00002.gguf"];
        let Err(HubError::Choice { choices, .. }) = chosen(&names, &Wanted::default()) else { panic!("a choice") };
        assert_eq!(choices.len(), 2);
        let wanted = Wanted { files: vec![names[1].into()], ..Wanted::default() };
        assert_eq!(chosen(&names, &wanted).unwrap(), names[1..]);
        let wanted = Wanted { patterns: vec!["*Q4*".into()], ..Wanted::default() };
        assert_eq!(chosen(&names, &wanted).unwrap(), names[..1]);
        assert_eq!(chosen(&names[..1], &Wanted::default()).unwrap(), names[..1]);
        let wanted = Wanted { files: vec!["pytorch_model.bin".into()], ..Wanted::default() };
        assert!(matches!(chosen(&["pytorch_model.bin"], &wanted), Err(HubError::Pickle { .. })));
    }
}
