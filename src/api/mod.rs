//! The public JavaScript contract, on the page's side of the wire: start an engine, ask it, draw.
//! May depend on: `engine`'s protocol, `shelf`, `trace`, `charts`, `error`, web-sys.
//! Must never know: candle, tensors, the site's own controls.
//!
//! [`exports`] is what JavaScript sees; `page` uses the same functions through [`Model`].

mod abort;
mod cache;
mod client;
mod connection;
mod deferred;
pub mod exports;
mod launch;
mod options;
mod source;

pub use cache::{CachedModel, ask_to_persist, cached_models, remove_cached_model, remove_folder, storage_room};
pub use client::{LoadOptions, Model, TraceOptions};
pub use launch::{EngineFiles, Locations, configure};
pub use protocol::js_error as errors;
pub use source::{ModelFiles, ModelSource};

pub use protocol::{Notice, NoticeKind, PatchOptions, Phase, Progress, RunOptions, SampleOptions};
