//! The `<residual-stream>` element: one chart on somebody else's page, of a saved run or of a model that runs there.
//! May depend on: the page's chart panel, `charts`, `trace`. Models, which come in a program of their own (`run.rs` and
//! what it uses), also on `api`.
//! Must never know: the site's controls, the engine. A saved run must show without a byte of either, or of `api`.
//!
//! `embed/embed.js` defines the element (JavaScript alone can) and calls this.

pub mod settings;

#[cfg(all(feature = "embed", target_arch = "wasm32"))]
mod element;
#[cfg(all(feature = "embed", target_arch = "wasm32"))]
mod frame;
#[cfg(all(feature = "embed", target_arch = "wasm32"))]
mod recorded;
#[cfg(all(feature = "embed", target_arch = "wasm32"))]
mod show;
#[cfg(all(feature = "embed", target_arch = "wasm32"))]
mod ui;

#[cfg(all(feature = "embed-live", target_arch = "wasm32"))]
mod download;
#[cfg(all(feature = "embed-live", target_arch = "wasm32"))]
mod models;
#[cfg(all(feature = "embed-live", target_arch = "wasm32"))]
mod run;

#[cfg(all(feature = "embed", target_arch = "wasm32"))]
pub use element::{Embed, keep};
#[cfg(all(feature = "embed-live", target_arch = "wasm32"))]
pub use run::Runner;
#[cfg(all(feature = "embed", target_arch = "wasm32"))]
pub use ui::Ui;
