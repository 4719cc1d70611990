//! Traces: what one run recorded, and the summaries that charts draw.
//! May depend on: no other crate of this project.
//! Must never know: browsers, canvases, workers, tensors, where weights come from.

mod check;
pub mod closer;
pub mod error;
pub mod fields;
pub mod file;
mod gather;
mod merge;
pub mod record;
pub mod summary;
pub mod wording;

pub use error::{Code, Error, Result};
pub use gather::Rows;
pub use record::{Lens, ModelInfo, Next, Sequence, Trace, Vocab};
