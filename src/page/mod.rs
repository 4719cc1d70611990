//! The site's page: text, model and chart panels, wired to the engine through `api`; and the embed element.
//! May depend on: `api`, `charts`, `shelf`, `trace`, the DOM. Its pure parts compile natively, so that they are tested there.
//! Must never know: tensors, weights, the worker's protocol. Nothing imports `page`.

pub mod advice;
pub mod asked;
pub mod embed;
pub mod kept;
pub mod model_view;
pub mod notices;
pub mod part_names;
pub mod progress;
pub mod repo;
pub mod samples;
pub mod snippet;
pub mod text_lines;
pub mod token_groups;

#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod app;
#[cfg(all(any(feature = "page", feature = "embed"), target_arch = "wasm32"))]
mod chart_panel;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod choices;
#[cfg(all(any(feature = "page", feature = "embed"), target_arch = "wasm32"))]
mod dom;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod dropped;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod embed_dialog;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod experiments;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod findings;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod hub_size;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod intro;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod kept_list;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod link;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod links;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod loads;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod model_panel;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod offline_copy;
#[cfg(all(any(feature = "page", feature = "embed"), target_arch = "wasm32"))]
mod pointer;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod runs;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod storage;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod text_panel;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod token_strip;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod trace_file;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod view_controls;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod view_panel;
#[cfg(all(feature = "page", target_arch = "wasm32"))]
mod wish;

#[cfg(all(feature = "page", target_arch = "wasm32"))]
pub use app::start;
