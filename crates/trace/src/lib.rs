//! Traces: what one run recorded, and the summaries that charts draw.
//! May depend on: no other crate of this project.
//! Must never know: browsers, canvases, workers, tensors, where weights come from.

mod attention;
mod attribution;
mod check;
pub mod error;
pub mod fields;
pub mod file;
mod gather;
mod interventions;
mod merge;
mod record;
pub mod summary;
pub mod wording;

pub use attention::{Head, Pattern, PromotedTokens};
pub use attribution::{Attribution, AttributionOptions, TokenRef};
pub use error::{Code, Error, Result};
pub use gather::RecordedRows;
pub use interventions::{Ablation, AblationMode, Component, Patching};
pub use record::{Lens, LensLead, ModelInfo, Next, Run, Sampled, Sequence, TokenPosition, Trace, Vocab};
