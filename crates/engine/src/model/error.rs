//! What can be wrong with a model or with what it is asked to read.

use crate::{Code, Error};

/// Errors of this folder; each names the setting, tensor or token, what was expected and what was found.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// `config.json` is not JSON, or holds a value that this program does not know.
    #[error("config.json: {0}")]
    BadConfig(String),
    /// The configuration is of another architecture.
    #[error("config.json: this is not a GPT-2 model ({0}). Only checkpoints with model_type \"gpt2\" can be read.")]
    NotGpt2(String),
    /// A tensor is not in the weights.
    #[error(
        "the weights have no tensor \"{name}\", which config.json calls for. The file may be of another model, or incomplete."
    )]
    MissingTensor {
        /// Name without the `transformer.` prefix.
        name: String,
    },
    /// A tensor that a GPT-2 does not have, where leaving it out would compute something else.
    #[error("{file}: tensor \"{name}\" {why}")]
    ForeignTensor {
        /// The name of the file.
        file: String,
        /// Name as in the file.
        name: String,
        /// What it is, and what to do.
        why: String,
    },
    /// Predictions are asked of a model that has no unembedding.
    #[error(
        "this model makes no predictions: its weights have no \"lm_head.weight\", and config.json says that the embedding is not the unembedding (tie_word_embeddings: false). Norms can be traced."
    )]
    NoUnembedding,
    /// A tensor has the wrong shape.
    #[error("tensor \"{name}\": config.json calls for shape {expected:?}, the weights have {found:?}.")]
    ShapeMismatch {
        /// Name of the tensor.
        name: String,
        /// Shape by the configuration.
        expected: Vec<usize>,
        /// Shape in the weights.
        found: Vec<usize>,
    },
    /// A tokenizer file cannot be read.
    #[error("{file}: {why}")]
    BadTokenizer {
        /// The name of the file.
        file: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The sequence holds no token.
    #[error("there is nothing to trace: the text is empty.")]
    EmptyInput,
    /// The sequence is longer than the model's position table.
    #[error("the text has {found} tokens, and this model reads at most {limit} at a time. Shorten it.")]
    TooLong {
        /// T: tokens of the text.
        found: usize,
        /// How many tokens the model can read (`n_positions`).
        limit: usize,
    },
    /// A token id is outside the vocabulary.
    #[error("token {index} of the sequence is id {id}, and the model's ids end at {last}.")]
    TokenOutOfRange {
        /// Place in the sequence, from 0.
        index: usize,
        /// The id that the model does not know.
        id: u32,
        /// The highest id that it knows (`vocab_size` - 1).
        last: usize,
    },
    /// candle refused an operation.
    #[error("the forward pass failed: {0}")]
    Compute(#[from] candle_core::Error),
}

impl From<ModelError> for Error {
    fn from(error: ModelError) -> Self {
        let code = match &error {
            ModelError::BadConfig(_) => Code::BadConfig,
            ModelError::NotGpt2(_) | ModelError::ForeignTensor { .. } => Code::NotGpt2,
            ModelError::MissingTensor { .. } | ModelError::NoUnembedding => Code::MissingTensor,
            ModelError::ShapeMismatch { .. } => Code::ShapeMismatch,
            ModelError::BadTokenizer { .. } => Code::BadTokenizer,
            ModelError::EmptyInput => Code::EmptyInput,
            ModelError::TooLong { .. } => Code::TooLong,
            ModelError::TokenOutOfRange { .. } => Code::TokenOutOfRange,
            ModelError::Compute(_) => Code::EngineCrashed,
        };
        Error::new(code, error.to_string())
    }
}
