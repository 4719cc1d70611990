//! The `<residual-stream>` element: one chart on somebody else's page, of a saved run or of a model that runs there.
//! May depend on: `view`, `charts`, `trace`. Models come in a program of their own (`embed-live`).
//! Must never know: the site's controls, the engine. A saved run must show without a byte of either, or of the page's `api`.
//!
//! `embed/embed.js` defines the element (JavaScript alone can) and calls this.
#![cfg(target_arch = "wasm32")]

mod element;
mod frame;
mod recorded;
mod show;
mod ui;

pub use element::Embed;
pub use ui::Ui;
