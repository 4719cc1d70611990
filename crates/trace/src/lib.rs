//! Traces: what one run recorded, and the summaries that charts draw.
//! May depend on: no other crate of this project.
//! Must never know: browsers, canvases, workers, tensors, where weights come from.

mod check;
pub mod closer;
pub mod error;
pub mod file;
mod join;
pub mod record;
pub mod summary;
mod supplement;
pub mod wording;

pub use error::{Code, Error, Result};
pub use join::Rows;
pub use record::{Lens, ModelInfo, Next, Sequence, Trace, Vocab};
