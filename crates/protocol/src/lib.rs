//! What the page and the engine say to each other. Traces and blobs travel beside these messages, as
//! typed arrays and handles that need no copying.

pub mod cache;
pub mod hub;
pub mod watchdog;

#[cfg(target_arch = "wasm32")]
pub mod foreign;
#[cfg(target_arch = "wasm32")]
pub mod js;
#[cfg(target_arch = "wasm32")]
pub mod js_error;
#[cfg(target_arch = "wasm32")]
pub mod trusted_types;

use serde::{Deserialize, Serialize};
use trace::{Ablation, AttributionOptions, Error, Head, ModelInfo, TokenRef};

/// Page to engine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum ToEngine {
    /// Load a model, once per worker. Files that the reader picked come beside this message.
    Load {
        /// Repo id or folder address; none for picked files.
        address: Option<String>,
        /// Name for messages and for the trace.
        source: String,
        /// Base URL instead of the Hugging Face hub.
        hub: Option<String>,
        /// Whether pieces may be kept in the browser's storage.
        cache: bool,
        /// Range requests at a time.
        parallel: usize,
        /// Workers to compute with; none to choose.
        workers: Option<usize>,
    },
    /// Read everything, also what no trace has needed so far.
    WantAll,
    /// Trace texts, or ids; or go on with one, or compare two.
    Ask {
        /// Names the answers.
        request: u32,
        /// The texts, where they are not given as ids.
        texts: Option<Vec<String>>,
        /// Token ids, where they are not given as texts.
        ids: Option<Vec<Vec<u32>>>,
        /// What is wanted of them.
        task: Task,
        /// Whether partial answers are wanted.
        partial: bool,
        /// Whether it should be said how far it is.
        share: bool,
    },
    /// Stop a request.
    Cancel {
        /// Which.
        request: u32,
    },
    /// Give a sign of life.
    Ping,
}

/// Engine to page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum FromEngine {
    /// A sign of life.
    Pong,
    /// Loading goes on.
    Progress(Progress),
    /// Something the reader should know, while loading goes on.
    Notice {
        /// What.
        notice: Notice,
    },
    /// Settings and tensor index are read; traces may be asked for.
    Opened(Opened),
    /// The last byte is in.
    Ready,
    /// Loading ended early.
    LoadFailed {
        /// Why.
        error: Error,
    },
    /// An answer as far as it has come, beside this message.
    Partial {
        /// Of which request.
        request: u32,
    },
    /// How far a request is, of 1.
    Share {
        /// Which.
        request: u32,
        /// How far.
        share: f64,
    },
    /// A whole answer, beside this message.
    Done {
        /// Of which request.
        request: u32,
    },
    /// No answer.
    Failed {
        /// Of which request.
        request: u32,
        /// Why.
        error: Error,
    },
    /// The engine cannot go on.
    Crashed {
        /// Why, as far as known.
        error: Error,
    },
}

/// What is known of a model once its index is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Opened {
    /// Sizes, for traces.
    pub model: ModelInfo,
    /// `config.json` as it is.
    pub config_json: String,
    /// Numbers in all tensors; a copy of the embedding that serves as unembedding is not counted again.
    pub parameters: f64,
    /// Whether text can be split.
    pub has_tokenizer: bool,
    /// Workers the engine computes with.
    pub workers: usize,
    /// "relaxed" or "simd128".
    pub simd: String,
    /// Bytes of the tensors, as their files have them.
    pub weights_bytes: f64,
}

/// How far loading has come.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Progress {
    /// What is being read.
    pub phase: Phase,
    /// Bytes read of the phase's files.
    pub loaded: f64,
    /// Bytes in all; 0 where not known yet.
    pub total: f64,
    /// Those of `loaded` that came from the browser's storage instead of the network.
    pub cached: f64,
    /// Bytes of memory that the engine holds.
    pub memory: f64,
    /// Blocks that can run.
    pub blocks_ready: usize,
}

/// The steps of loading, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// `config.json`.
    Config,
    /// `tokenizer.json`, or `vocab.json` and `merges.txt`.
    Tokenizer,
    /// The tensors.
    Weights,
    /// Every part is built.
    Build,
}

/// A remark that does not end the loading.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Notice {
    /// For programs.
    pub kind: NoticeKind,
    /// A sentence for readers.
    pub message: String,
}

/// What a [`Notice`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NoticeKind {
    /// The storage is full, or too small: the rest of this model is not kept.
    StorageFull,
    /// This browser, or this window, has no storage: nothing is kept.
    StorageUnavailable,
    /// Another tab is writing this model's files: this one only reads what is there.
    StorageBusy,
    /// The model has changed on its server: what was kept of it is removed.
    Changed,
    /// A server does not send parts of files, so they are read front to back.
    NoRanges,
    /// A server is slow or refuses; the request is made again.
    Retrying,
    /// Nothing proves that what is kept is still what the server has: it refuses to say, or has no way to.
    Unchecked,
    /// The weights have an unembedding that differs from the embedding, though `config.json` ties the two: it counts.
    Untied,
    /// The weights have no unembedding, and `config.json` ties it to nothing: there are no predictions.
    NoUnembedding,
    /// Tensors, or files, that are there and not used.
    Unused,
}

/// What a request wants.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// The tokens of all texts, nothing computed.
    Tokenize,
    /// A trace of all texts.
    Trace(RunOptions),
    /// More tokens to the first text.
    Sample(SampleOptions),
    /// Activation patching from the first text to the second.
    Patch(PatchOptions),
}

/// How to choose tokens. The order is that of the fields: logits are divided by the temperature, the `top_k` most probable
/// are kept, of those the most probable that together reach `top_p` of what all those have.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct SampleOptions {
    /// How many tokens.
    pub count: usize,
    /// 0: always the most probable.
    pub temperature: f64,
    /// As many candidates; none for all.
    pub top_k: Option<usize>,
    /// Candidates that together have this probability; none for all.
    pub top_p: Option<f64>,
    /// The same seed chooses the same tokens.
    pub seed: u32,
}

impl Default for SampleOptions {
    fn default() -> Self {
        SampleOptions { count: 1, temperature: 1.0, top_k: None, top_p: None, seed: 0 }
    }
}

/// What patching watches.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PatchOptions {
    /// The clean text's answer; the model's prediction if none is given. Where neither is given and both predictions are
    /// one, the two tokens whose logits the change of text moves furthest apart.
    pub answer: Option<TokenRef>,
    /// The corrupted text's answer; the model's prediction if none is given.
    pub against: Option<TokenRef>,
}

/// What to record besides the norms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RunOptions {
    /// Norms of every head's part.
    pub heads: bool,
    /// Top-k of the logit lens per cell; 0 for none.
    pub lens: usize,
    /// Log-probabilities of the text's tokens and candidates for the next. Without, no unembedding is touched.
    pub predictions: bool,
    /// Where the time went, beside the trace.
    pub profile: bool,
    /// When the prediction at the end of each text first leads in the logit lens.
    pub leads: bool,
    /// Candidates for the next token that are listed.
    pub next: usize,
    /// Heads whose attention patterns are wanted.
    pub patterns: Vec<Head>,
    /// A prediction to explain.
    pub attribution: Option<AttributionOptions>,
    /// What to switch off.
    pub ablate: Vec<Ablation>,
}

impl RunOptions {
    /// Norms, and these.
    pub const fn new(heads: bool, lens: usize, predictions: bool) -> RunOptions {
        RunOptions {
            heads,
            lens,
            predictions,
            profile: false,
            leads: false,
            next: 5,
            patterns: Vec::new(),
            attribution: None,
            ablate: Vec::new(),
        }
    }

    /// Whether the unembedding is needed.
    pub fn unembeds(&self) -> bool {
        self.predictions || self.lens > 0 || self.leads || self.attribution.is_some()
    }
}

impl Default for RunOptions {
    fn default() -> Self {
        RunOptions::new(false, 0, true)
    }
}
