//! One error for the whole crate: a stable [`Code`] and a sentence a reader can act on.
//!
//! Folders with much to say (`model`, `weights`) keep an enum of their own with the tensor, the file,
//! expected and found; those enums turn into this one, and this one alone becomes a JavaScript `Error`.

use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};

/// What went wrong, as a name that programs may rely on. The names are part of the public contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Code {
    /// `config.json` is unreadable or holds a value this program does not know.
    BadConfig,
    /// The checkpoint is of another architecture.
    NotGpt2,
    /// The weights file breaks the safetensors format.
    BadSafetensors,
    /// A tensor that the configuration calls for is not in the weights.
    MissingTensor,
    /// A tensor has another shape than the configuration calls for.
    ShapeMismatch,
    /// A tensor is of a type other than F32, F16 or BF16.
    UnsupportedDtype,
    /// The tokenizer's files are unreadable.
    BadTokenizer,
    /// The model came without tokenizer files, and text was given.
    NoTokenizer,
    /// There is no text, or a text without tokens.
    EmptyInput,
    /// More tokens than the model has positions.
    TooLong,
    /// A token id outside the vocabulary.
    TokenOutOfRange,
    /// The server could not be reached, or answered with an error.
    Network,
    /// The server has no such model or file.
    NotFound,
    /// The server asks to wait.
    RateLimited,
    /// The bytes that arrived are not the bytes that were sent.
    CorruptDownload,
    /// The model's numbers overflow F32, so that it predicts nothing.
    NotFinite,
    /// The tab has no memory left for this.
    OutOfMemory,
    /// The caller stopped it, or a newer request replaced it.
    Aborted,
    /// The browser lacks something that cannot be done without.
    UnsupportedBrowser,
    /// The engine stopped because of a fault in this program.
    EngineCrashed,
    /// A function was given something that it does not take; a mistake of the calling code.
    BadArgument,
}

impl Code {
    /// The code of this name.
    pub fn from_name(name: &str) -> Option<Code> {
        let name: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
        Code::deserialize(name).ok()
    }

    /// The name as the JavaScript `code` property has it.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::BadConfig => "bad-config",
            Code::NotGpt2 => "not-gpt2",
            Code::BadSafetensors => "bad-safetensors",
            Code::MissingTensor => "missing-tensor",
            Code::ShapeMismatch => "shape-mismatch",
            Code::UnsupportedDtype => "unsupported-dtype",
            Code::BadTokenizer => "bad-tokenizer",
            Code::NoTokenizer => "no-tokenizer",
            Code::EmptyInput => "empty-input",
            Code::TooLong => "too-long",
            Code::TokenOutOfRange => "token-out-of-range",
            Code::Network => "network",
            Code::NotFound => "not-found",
            Code::RateLimited => "rate-limited",
            Code::CorruptDownload => "corrupt-download",
            Code::NotFinite => "not-finite",
            Code::OutOfMemory => "out-of-memory",
            Code::Aborted => "aborted",
            Code::UnsupportedBrowser => "unsupported-browser",
            Code::EngineCrashed => "engine-crashed",
            Code::BadArgument => "bad-argument",
        }
    }
}

/// A code for programs and a sentence for people.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{message}")]
pub struct Error {
    /// The name that JavaScript sees in `code`; it never changes.
    pub code: Code,
    /// Names the file, tensor or setting, what was expected and found, and what to do.
    pub message: String,
}

impl Error {
    /// An error with this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error { code, message: message.into() }
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serde_and_as_str_agree_on_every_name() {
        for code in [Code::BadConfig, Code::NotGpt2, Code::UnsupportedDtype, Code::EngineCrashed, Code::NotFinite] {
            let json = serde_json::to_string(&code).unwrap();
            assert_eq!(json, format!("\"{}\"", code.as_str()), "error.rs: the two spellings of a code differ");
        }
    }
}
