//! What the forward pass spends its time in: linear layers, attention, activation functions and layer norms, as custom
//! operations on candle's tensors, in SIMD; and what every byte of a model goes through as it is loaded.
//!
//! A crate of its own so that it alone is compiled for speed: all else of the download is compiled for size.
//! May depend on: candle. Must never know: GPT-2's blocks, browsers, workers, where weights come from.

pub mod activation;
pub mod attention;
pub mod buffer_pool;
pub mod lanes;
pub mod linear;
pub mod norm;
pub mod scores;
pub mod stopwatch;
pub mod values;
pub mod widen;
