//! GPT-2 itself: configuration, tokenizer, the layers and the forward pass.
//! May depend on: candle, `error`.
//! Must never know: browsers, workers, where weights come from, what a probe does with what it sees.

pub mod checkpoint;
pub mod config;
pub mod error;
pub mod executor;
pub mod gpt2;
pub mod layers;
pub mod probe;
pub mod tokenizer;

pub use kernels::{activation, attention, buffer_pool, lanes, linear, norm, scores, stopwatch, values, widen};

pub use config::Config;
pub use error::ModelError;
pub use gpt2::{Block, Embedding, Gpt2, Unembedding};
pub use probe::{CapturePoint, Probe};
pub use tokenizer::{Encoded, Tokenizer};
