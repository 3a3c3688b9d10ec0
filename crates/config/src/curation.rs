//! The sections of `ft.yaml` that say how data is made ready: `clean`, `contamination`, `split`. Doc comments of fields
//! are what users read.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::values::{OneOrMany, one_or_many};

macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "kebab-case")]
        #[schemars(inline)]
        pub enum $name { $($(#[$variant_meta])* $variant),+ }
    };
}

choices! {
    /// What happens to a text with a secret or with personal data.
    ScrubAction {
        /// it is not looked for
        Off,
        /// it is counted and the row stays as it is
        Report,
        /// each is replaced by a placeholder such as `[EMAIL_1]`, the same one wherever the same value stands
        Mask,
        /// the row is removed
        Drop,
        /// the run stops with exit code 3
        Block,
    }
}

choices! {
    /// What happens to a row that a rule is against.
    RowAction {
        /// the rule is not applied
        Off,
        /// it is counted and stays
        Report,
        /// it is removed
        Remove,
        /// the run stops with exit code 3
        Block,
    }
}

choices! {
    /// What happens to characters that no reader sees.
    HiddenAction {
        /// they are not looked for
        Off,
        /// they are counted and stay
        Report,
        /// they are taken out of the text
        Strip,
        /// the row is removed
        Drop,
        /// the run stops with exit code 3
        Block,
    }
}

choices! {
    /// What two rows are compared by.
    DuplicateField {
        /// the user's turns
        Question,
        /// everything that the row says
        Row,
    }
}

choices! {
    /// Which of two near-duplicates stays.
    DuplicateKeep {
        /// the one that comes first
        First,
        /// the one with the higher quality; of equals the first
        Best,
    }
}

/// Section `clean`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "What `ft data clean` does with rows. Each step can be switched off; whatever is removed or \
                          changed is kept beside the result with the reason.")]
pub struct CleanConfig {
    /// Characters that no reader sees: zero-width, direction overrides, tags.
    pub hidden_text: HiddenAction,
    /// Credentials: keys, tokens, passwords, also inside base64, JSON and URL encoding.
    pub secrets: ScrubAction,
    /// Data about persons: e-mail, phone, IBAN, payment cards, IP addresses, national ids.
    pub pii: ScrubAction,
    /// The kinds of personal data that are looked for, by name. null looks for all but plain URLs.
    pub pii_kinds: Option<Vec<String>>,
    /// How sure a rule must be, from 0 to 1, before a secret or personal data counts.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_confidence: f64,
    /// Rows that look planted: rare triggers tied to one answer, hidden instructions. `remove` puts them into
    /// quarantine.jsonl.
    pub poison: RowAction,
    /// Rows that repeat evaluation data; see section `contamination`.
    pub contamination: RowAction,
    /// Questions and answers below `min_quality`.
    pub quality: RowAction,
    /// The lowest quality of a question with its answer, from 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub min_quality: f64,
    /// Share of the rows that stays, the best ones by quality, counted within each source, role and band of length.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub keep_best: f64,
    /// Plain documents that break the rules of Gopher, C4 and FineWeb for web text.
    pub documents: RowAction,
    /// Rows that say the same as another one, exactly or nearly.
    pub duplicates: RowAction,
    /// Similarity from which two texts are near-duplicates: the Jaccard index of their character shingles.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub duplicate_threshold: f64,
    /// What is compared. A row goes when one of these is nearly that of a row that stays; only rows whose system message,
    /// tools and passages are equal are compared.
    pub duplicate_fields: Vec<DuplicateField>,
    /// Which of two near-duplicates stays.
    pub duplicate_keep: DuplicateKeep,
    /// Folder of a static embedding model (model2vec layout) that finds rows which say the same in other words. null
    /// compares letters alone.
    #[schemars(extend("title" = "a path"))]
    pub semantic_model: Option<PathBuf>,
    /// Cosine similarity from which two texts say the same, with `semantic_model`.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub semantic_threshold: f64,
    /// A source that would lose more than this share of its rows stops the run.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub max_source_loss: f64,
    /// Key of a row that names its source. Rows without it have their file as source.
    #[schemars(length(min = 1))]
    pub source_key: String,
    /// Key of a row that names its role.
    #[schemars(length(min = 1))]
    pub role_key: String,
}

impl Default for CleanConfig {
    fn default() -> Self {
        Self {
            hidden_text: HiddenAction::Strip,
            secrets: ScrubAction::Mask,
            pii: ScrubAction::Mask,
            pii_kinds: None,
            min_confidence: 0.5,
            poison: RowAction::Remove,
            contamination: RowAction::Remove,
            quality: RowAction::Remove,
            min_quality: 0.2,
            keep_best: 1.0,
            documents: RowAction::Report,
            duplicates: RowAction::Remove,
            duplicate_threshold: 0.85,
            duplicate_fields: vec![DuplicateField::Question, DuplicateField::Row],
            duplicate_keep: DuplicateKeep::First,
            semantic_model: None,
            semantic_threshold: 0.9,
            max_source_loss: 0.5,
            source_key: "source".into(),
            role_key: "role".into(),
        }
    }
}

/// Section `contamination`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "Evaluation data that must not be in the training data. `ft data clean` removes such rows, \
                          `ft data check` and `ft train` refuse them.")]
pub struct ContaminationConfig {
    /// File or list of files with the rows of evaluation sets: JSON or JSONL, .gz and .zst too.
    #[serde(deserialize_with = "one_or_many")]
    #[schemars(with = "OneOrMany")]
    pub against: Vec<PathBuf>,
    /// Names of evaluation sets that lie in `folder`, such as gsm8k.
    pub names: Vec<String>,
    /// Folder with files of evaluation sets.
    #[schemars(extend("title" = "a path"))]
    pub folder: Option<PathBuf>,
    /// Score from which a row counts as repeating an evaluation row, from 0 to 1.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub threshold: f64,
    /// Also look for rows with the same numbers and content words in other sentences.
    pub paraphrases: bool,
    /// Why training goes on although rows repeat evaluation data. The reason is recorded with the run. null refuses.
    #[schemars(length(min = 1))]
    pub allow: Option<String>,
}

impl Default for ContaminationConfig {
    fn default() -> Self {
        Self { against: Vec::new(), names: Vec::new(), folder: None, threshold: 0.8, paraphrases: true, allow: None }
    }
}

/// Section `split`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
#[schemars(description = "How `ft data split` parts rows into train, validation and test. Rows that belong together \
                          stay together.")]
pub struct SplitConfig {
    /// Share of the rows that goes into validation.jsonl.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub validation: f64,
    /// Share of the rows that goes into test.jsonl.
    #[schemars(range(min = 0.0), extend("exclusiveMaximum" = 1))]
    pub test: f64,
    /// Keys of a row that say what it was made from. Rows with an equal value under one of them stay together.
    pub group_by: Vec<String>,
    /// Keep rows together whose questions or whole texts are near-duplicates.
    pub near_duplicates: bool,
    /// Similarity from which rows count as near-duplicates.
    #[schemars(range(max = 1.0), extend("exclusiveMinimum" = 0))]
    pub near_duplicate_threshold: f64,
    /// Keys of a row whose values get the same shares in each part. A list of tags counts by its first one.
    pub stratify_by: Vec<String>,
    /// Seed of the choice.
    pub seed: u64,
}

impl Default for SplitConfig {
    fn default() -> Self {
        Self {
            validation: 0.1,
            test: 0.0,
            group_by: ["group", "document", "document_id", "parent", "video_id"].map(String::from).to_vec(),
            near_duplicates: true,
            near_duplicate_threshold: 0.85,
            stratify_by: vec!["role".into(), "tags".into()],
            seed: 42,
        }
    }
}
