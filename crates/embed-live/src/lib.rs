//! The other half of the `<residual-stream>` element, which runs models: the questions and downloads before a run, and the
//! package's own functions, of which it is a second copy with more in it.
//! May depend on: `view`, `charts`, and the page's `api`.
//! Must never know: how a trace is shown.
#![cfg(target_arch = "wasm32")]

mod download;
mod models;
mod run;

pub use run::Runner;
