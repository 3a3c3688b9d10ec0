//! What a reader must refuse, by number. The numbers are those of `docs/checkpoint-spec.md` and never change their
//! meaning.

use std::fmt;

use serde::{Serialize, Serializer};

macro_rules! rules {
    ($($name:ident = $number:literal: $text:literal,)+) => {
        /// A rule of the specification.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Rule {
            $(#[doc = $text] $name = $number,)+
        }

        impl Rule {
            /// All of them, in order.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// What is demanded, in one sentence; as in the specification.
            pub fn text(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

rules! {
    Kind = 1: "The folder is a checkpoint, an adapter, a model or a run.",
    Sealed = 2: "A checkpoint has a `manifest.json`.",
    Manifest = 3: "`manifest.json` is one JSON object of at most 1 MiB, no key twice, with the keys and types of section 4.",
    Version = 4: "`format_version` is 1, or absent (version 0); any other version is refused before anything else is judged.",
    Features = 5: "Every entry of `required_features` is known to the reader.",
    Seal = 6: "The seal of the manifest fits its bytes (version 0: the manifest is byte for byte as its writer makes it).",
    FileNames = 7: "Names of files inside of files (manifest, shard index) are plain names: no folder, no drive, not the manifest itself.",
    FileSize = 8: "Every file of the manifest is there, is a plain file and has its size.",
    FileHash = 9: "Every file of the manifest has its BLAKE3 hash.",
    NothingElse = 10: "A checkpoint has no file and no folder that its manifest does not name.",
    Complete = 11: "Every file that the kind demands is there and, in a sealed folder, in the manifest.",
    Safetensors = 12: "Every safetensors file is well-formed: header inside of the file, no name twice, offsets without gap or overlap, sizes as the shapes say; an index and its shards agree.",
    AdapterConfig = 13: "`adapter_config.json` is one JSON object, no key twice, of a LoRA adapter, with values that make sense.",
    Unsupported = 14: "An adapter uses nothing that changes its result and that the reader does not compute.",
    TensorNames = 15: "Every tensor name is one of section 6 and stands for one tensor; `adapter_config.json` targets every module of an adapter.",
    TensorShapes = 16: "An adapter has modules, every module all of its tensors, and every shape is that of section 6 for the rank of the module and the sizes of the model.",
    Types = 17: "Types keep the policy of section 7: F32 in a checkpoint; F32, F16 or BF16 in adapters and models.",
    Values = 18: "No weight is a NaN or an infinity, no moment is a NaN, no second moment is negative.",
    State = 19: "`state.json` is one JSON object, no key twice, of the version of its manifest, with the keys and types of section 5.",
    Counters = 20: "The counters of `state.json` agree with one another and with the name of the folder.",
    Moments = 21: "`state.safetensors` has exactly two moments for each tensor that is trained (section 5), as long as it.",
    MadeFrom = 22: "Base, tokenizer and text of a checkpoint are those of its run.",
    Run = 23: "A run has `config.yaml` and, with a checkpoint, `run.json` and a line of `metrics.jsonl` for every reported step.",
    ModelConfig = 24: "`config.json` of a model is one JSON object, no key twice, of a known family, with sizes that make sense.",
}

impl Rule {
    /// Its number in the specification.
    pub fn number(self) -> u8 {
        self as u8
    }
}

impl fmt::Display for Rule {
    /// `R9`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "R{}", self.number())
    }
}

impl Serialize for Rule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
