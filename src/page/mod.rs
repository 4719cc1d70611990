//! The site's page: text, model and chart panels, wired to the engine through `api`; and the embed element.
//! May depend on: `api`, `charts`, `shelf`, `trace`, the DOM. Its pure parts compile natively, so that they are tested there.
//! Must never know: tensors, weights, the worker's protocol. Nothing imports `page`.

pub mod kept;
pub mod model_view;
pub mod notices;
pub mod samples;
pub mod snippet;
pub mod token_groups;

#[cfg(target_arch = "wasm32")]
mod app;
#[cfg(target_arch = "wasm32")]
mod choices;
#[cfg(target_arch = "wasm32")]
mod dropped;
#[cfg(target_arch = "wasm32")]
mod embed_dialog;
#[cfg(target_arch = "wasm32")]
mod experiments;
#[cfg(target_arch = "wasm32")]
mod findings;
#[cfg(target_arch = "wasm32")]
mod intro;
#[cfg(target_arch = "wasm32")]
mod kept_list;
#[cfg(target_arch = "wasm32")]
mod link;
#[cfg(target_arch = "wasm32")]
mod links;
#[cfg(target_arch = "wasm32")]
mod loads;
#[cfg(target_arch = "wasm32")]
mod model_panel;
#[cfg(target_arch = "wasm32")]
mod offline_copy;
#[cfg(target_arch = "wasm32")]
mod runs;
#[cfg(target_arch = "wasm32")]
mod storage;
#[cfg(target_arch = "wasm32")]
mod text_panel;
#[cfg(target_arch = "wasm32")]
mod token_strip;
#[cfg(target_arch = "wasm32")]
mod trace_file;
#[cfg(target_arch = "wasm32")]
mod view_controls;
#[cfg(target_arch = "wasm32")]
mod view_panel;
#[cfg(target_arch = "wasm32")]
mod wish;

#[cfg(target_arch = "wasm32")]
pub use app::start;
