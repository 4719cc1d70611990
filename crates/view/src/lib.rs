//! What the page and the embed share: settings of what is shown, words, and the panel that shows a chart.
//! May depend on: `charts`, `protocol`, `trace`; on wasm32 also on the DOM.
//! Must never know: who computes a trace, or where models come from.

pub mod advice;
pub mod asked;
pub mod embed_settings;
pub mod part_names;
pub mod progress;
pub mod repo;
pub mod text_lines;

#[cfg(target_arch = "wasm32")]
pub mod chart_panel;
#[cfg(target_arch = "wasm32")]
pub mod dom;
#[cfg(target_arch = "wasm32")]
pub mod hub_size;
#[cfg(target_arch = "wasm32")]
mod pointer;
