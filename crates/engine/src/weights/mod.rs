//! From an address to tensors: where a model's files are, what is in them, which bytes to ask for and in which
//! order, and what is kept for the next visit.
//! May depend on: `model::checkpoint` (which tensors are wanted), the kernels that bytes go through (`widen`,
//! `linear::packing`), `shelf`, `protocol` (notices), `error`; on wasm32 also on web-sys.
//! Must never know: the forward pass, traces, charts, the page.
//!
//! [`address`] → [`files`] (a server, picked files, a folder) → [`header`] → [`index`] → [`plan`] → bytes →
//! [`assembler`] → tensors; [`store`] keeps the bytes, [`model_cache`] knows whether they may still be believed.

pub mod address;
pub mod assembler;
pub mod byte_ranges;
pub mod error;
pub mod files;
#[cfg(not(target_arch = "wasm32"))]
pub mod folder;
pub mod header;
pub mod index;
pub mod model_cache;
pub mod names;
pub mod partial_tensor;
pub mod plan;
pub mod retry;
pub mod store;

#[cfg(target_arch = "wasm32")]
pub mod fetch;
#[cfg(target_arch = "wasm32")]
pub mod picked;
#[cfg(target_arch = "wasm32")]
pub mod time;

pub use address::{Address, Location};
pub use error::WeightsError;
pub use files::Files;
pub use header::{Dtype, Header, TensorInfo};
