//! Traces: what one run recorded, and the summaries that charts draw.
//! May depend on: nothing of this crate but `error` (the recording probe, behind `engine`, also on `model`).
//! Must never know: browsers, canvases, workers, where weights come from.

mod check;
pub mod closer;
pub mod file;
mod join;
pub mod record;
pub mod summary;
mod supplement;

#[cfg(feature = "engine")]
pub mod attribution;
#[cfg(target_arch = "wasm32")]
pub mod js;
#[cfg(feature = "engine")]
pub mod lens;
#[cfg(feature = "engine")]
pub mod probe;
#[cfg(feature = "engine")]
pub mod watch;

pub use join::Rows;
pub use record::{Lens, ModelInfo, Next, Sequence, Trace, Vocab};
