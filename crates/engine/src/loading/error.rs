//! What can go wrong between an address and a tensor.

use crate::loading::source::CONFIG;
use crate::{Code, Error};

/// Errors of this folder; each names the file or tensor, what was expected and what was found.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WeightsError {
    /// Neither "demo", a repo id, nor a URL.
    #[error("\"{0}\" is neither a repo id like openai-community/gpt2, nor the address of a model's folder.")]
    BadAddress(String),
    /// What was given as a hub is no address.
    #[error("hub: expected an address such as https://huggingface.co, found \"{0}\".")]
    BadHub(String),
    /// The file breaks the safetensors format.
    #[error("{file} is not a readable safetensors file: {why}")]
    BadSafetensors {
        /// The name of the file.
        file: String,
        /// What is wrong with it.
        why: String,
    },
    /// Two files have a tensor, and nothing says which counts.
    #[error(
        "{first} and {second} both have the tensor \"{tensor}\", and no model.safetensors.index.json says which counts. Give the weights of one model only."
    )]
    Duplicate {
        /// The tensor's name in the file.
        tensor: String,
        /// The file that was read first.
        first: String,
        /// The other file that has it.
        second: String,
    },
    /// A file on this machine ends early.
    #[error(
        "{file} is cut off: it has {found} bytes, and by its own account at least {expected}. Copy or save it again."
    )]
    CutOff {
        /// The name of the file.
        file: String,
        /// Bytes that it should have.
        expected: u64,
        /// Bytes that it has.
        found: u64,
    },
    /// A tensor has a type that is not read.
    #[error("{file}: tensor \"{tensor}\" is of type {found}; F32, F16 and BF16 can be read.")]
    UnsupportedDtype {
        /// The name of the file.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The type that its header names.
        found: String,
    },
    /// The server could not be reached, or answered with an error.
    #[error("{url}: {why}")]
    Network {
        /// What was asked for.
        url: String,
        /// What came instead, and what to do.
        why: String,
    },
    /// The server has no such file.
    #[error("{url}: {why}")]
    NotFound {
        /// What was asked for.
        url: String,
        /// What it may mean.
        why: String,
    },
    /// The server asks to wait.
    #[error("{url}: the server asks to wait{after} before it is asked again (status 429).")]
    RateLimited {
        /// What was asked for.
        url: String,
        /// " N seconds", or nothing.
        after: String,
    },
    /// The file ended early.
    #[error("{file} ended after {found} of {expected} bytes: the download is incomplete. Load the model again.")]
    CorruptDownload {
        /// The name of the file.
        file: String,
        /// Bytes by its own header.
        expected: u64,
        /// How many bytes came.
        found: u64,
    },
    /// Values that are no numbers, at the same place when it was read again.
    #[error(
        "{file}: tensor \"{tensor}\" holds NaN or infinity, at byte {at} of the file, and did so when it was read again: the checkpoint itself has it, as after a training that diverged. Reading it anew will not help; give another checkpoint."
    )]
    NotFinite {
        /// The name of the file.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The first such byte.
        at: u64,
    },
    /// Values that are no numbers, at another place when it was read again.
    #[error(
        "{file}: tensor \"{tensor}\" came with a value that is not a finite number, at byte {at} of the file, and with others when it was read again: the transfer is damaged. Load the model again."
    )]
    Damaged {
        /// The name of the file.
        file: String,
        /// The tensor's name in the file.
        tensor: String,
        /// The first bad byte.
        at: u64,
    },
    /// The whole file has another SHA-256 than its hub says.
    #[error("{file} is not what the hub has: its SHA-256 is {found}, and should be {expected}. Load the model again.")]
    WrongHash {
        /// The name of the file.
        file: String,
        /// The SHA-256 that the hub tells, in hexadecimal.
        expected: String,
        /// The SHA-256 of what came.
        found: String,
    },
    /// The server's file changed between two requests.
    #[error("{file} has changed on its server while it was being read. Load the model again.")]
    Changed {
        /// The name of the file.
        file: String,
    },
    /// A small file that is none.
    #[error(
        "{file} has {found}more than the {} MB that such a file may have: it is something else. Is the address right?",
        limit / 1_000_000
    )]
    TooLarge {
        /// The name of the file.
        file: String,
        /// Bytes that it may have.
        limit: u64,
        /// "N MB, ", or nothing where the end was not waited for.
        found: String,
    },
    /// More than the tab's memory.
    #[error(
        "{what} needs {bytes} bytes of memory, more than this tab can have (4 GB at most). GPT-2 (0.5 GB), GPT-2 medium (1.4 GB) and GPT-2 large (3.1 GB) fit."
    )]
    OutOfMemory {
        /// What there is no room for: a tensor or the model.
        what: String,
        /// How many bytes it takes.
        bytes: u64,
    },
}

impl From<WeightsError> for Error {
    fn from(error: WeightsError) -> Self {
        let code = match &error {
            WeightsError::BadAddress(_) | WeightsError::BadHub(_) | WeightsError::NotFound { .. } => Code::NotFound,
            WeightsError::BadSafetensors { .. } | WeightsError::Duplicate { .. } | WeightsError::CutOff { .. } => {
                Code::BadSafetensors
            }
            WeightsError::UnsupportedDtype { .. } => Code::UnsupportedDtype,
            WeightsError::Network { .. } => Code::Network,
            WeightsError::TooLarge { file, .. } if file == CONFIG => Code::BadConfig,
            WeightsError::TooLarge { file, .. } if file.ends_with(".index.json") => Code::BadSafetensors,
            WeightsError::TooLarge { .. } => Code::BadTokenizer,
            WeightsError::RateLimited { .. } => Code::RateLimited,
            WeightsError::CorruptDownload { .. }
            | WeightsError::NotFinite { .. }
            | WeightsError::Damaged { .. }
            | WeightsError::WrongHash { .. }
            | WeightsError::Changed { .. } => Code::CorruptDownload,
            WeightsError::OutOfMemory { .. } => Code::OutOfMemory,
        };
        Error::new(code, error.to_string())
    }
}
