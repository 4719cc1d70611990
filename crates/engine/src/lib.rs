//! The engine: loads a model, runs it over text, and answers the page's messages.
//! May depend on: `kernels`, `trace`, `protocol`; on wasm32 also on the browser's workers, storage and network.
//! Must never know: charts, the DOM, the page's controls.
//!
//! [`loading`] opens a model; its loop reads what is asked for into [`run::streaming_model`], which hands rows and blocks
//! out as they arrive; [`run`] takes sequences through them under the eye of [`run::probe`]; `worker` is the message loop
//! around both.

pub mod error;
pub mod loading;
pub mod memory;
pub mod model;
pub mod pool;
pub mod run;

#[cfg(target_arch = "wasm32")]
pub mod time;
#[cfg(target_arch = "wasm32")]
pub mod worker;

pub use error::{Code, Error, Result};
