//! The site's page.
//!
//! ```text
//! DOM event, engine's answer --> Msg --> update(&mut State, Msg) --> Effects --> (the only async) --> Msg
//!                                             |
//!                                             v
//!                                        view(&State) --> View --> DOM: writes what differs
//! ```
//! May depend on: `api`, `charts`, `protocol`, `trace`, `view`. Everything but `browser` compiles natively, and is tested
//! there.
//! Must never know: tensors, weights, the worker's protocol. Nothing imports `page`.

pub mod cached;
pub mod effect;
pub mod link;
pub mod model_view;
pub mod models;
pub mod msg;
pub mod notices;
pub mod samples;
pub mod snippet;
pub mod state;
pub mod token_groups;
pub mod update;
pub mod view;

#[cfg(target_arch = "wasm32")]
pub mod browser;
