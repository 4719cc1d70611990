//! The engine: loads a model, runs it over text, and answers the page's messages.
//! May depend on: `model`, `weights`, `trace`, `protocol`, `error`; on wasm32 `worker` also on web-sys.
//! Must never know: charts, the DOM, the page's controls.
//!
//! [`load`] opens a model; its loop reads what [`demand`] asks for into [`parts`], which
//! hands rows and blocks out as they arrive; [`run`] takes sequences
//! through them under the eye of `trace::probe`; `worker` is the message loop around both.

pub mod batch;
pub mod breath;
mod closer;
pub mod demand;
pub mod load;
pub mod memory;
pub mod parts;
mod pass;
pub mod patch;
pub mod pool;
mod predict;
pub mod recall;
pub mod run;
pub mod sample;
mod work;

#[cfg(target_arch = "wasm32")]
pub mod worker;
