//! GPT-2 itself: configuration, tokenizer, the layers and the forward pass.
//! May depend on: candle, tokenizers, `error`.
//! Must never know: browsers, workers, where weights come from, what a probe does with what it sees.

pub mod activation;
pub mod attention;
pub mod checkpoint;
pub mod config;
pub mod error;
pub mod gpt2;
pub mod lanes;
pub mod linear;
pub mod norm;
pub mod probe;
pub mod spare;
pub mod stopwatch;
pub mod team;
pub mod tokenizer;
pub mod values;

pub use config::Config;
pub use error::ModelError;
pub use gpt2::{Block, Embedding, Gpt2, Unembedding};
pub use probe::{Point, Probe};
pub use tokenizer::{Encoded, Tokenizer};
