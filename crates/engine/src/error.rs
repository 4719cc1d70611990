//! What goes wrong in the engine.

use std::ops::Deref;

use serde::{Deserialize, Serialize};
pub use trace::Code;

use crate::model::ModelError;

/// The code and the sentence that the page is told. A type of its own, so that what candle says becomes one by `?`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[error("{0}")]
#[serde(transparent)]
pub struct Error(pub trace::Error);

impl Error {
    /// An error with this code and sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Error(trace::Error::new(code, message))
    }
}

impl Deref for Error {
    type Target = trace::Error;

    fn deref(&self) -> &trace::Error {
        &self.0
    }
}

impl From<trace::Error> for Error {
    fn from(error: trace::Error) -> Self {
        Error(error)
    }
}

impl From<Error> for trace::Error {
    fn from(error: Error) -> Self {
        error.0
    }
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        ModelError::from(error).into()
    }
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
