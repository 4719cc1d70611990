//! What the page and the embed share: settings of what is shown, words, and the panel that shows a chart.
//! May depend on: `charts`, `protocol`, `trace`; on wasm32 also on the DOM.
//! Must never know: who computes a trace, or where models come from.

pub mod advice;
pub mod attributes;
pub mod keys;
pub mod part_names;
pub mod progress;
pub mod record;
pub mod repo;
pub mod settings;
pub mod text_lines;

#[cfg(target_arch = "wasm32")]
pub mod chart_file;
#[cfg(target_arch = "wasm32")]
mod chart_legend;
#[cfg(target_arch = "wasm32")]
pub mod chart_panel;
#[cfg(target_arch = "wasm32")]
mod chart_table;
#[cfg(target_arch = "wasm32")]
pub mod dom;
#[cfg(target_arch = "wasm32")]
pub mod hub_size;
#[cfg(target_arch = "wasm32")]
mod pointer;
#[cfg(target_arch = "wasm32")]
mod read_out;

/// Width and height of an exported picture, in CSS pixels.
pub const PICTURE: (u32, u32) = (960, 540);
