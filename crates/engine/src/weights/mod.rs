//! From an address to tensors: where a model's files are, what is in them, which bytes to ask for and in which
//! order, and what is kept for the next visit.
//! May depend on: `model::checkpoint` (which tensors are wanted), the kernels that bytes go through (`widen`,
//! `linear::packing`), `shelf`, `protocol` (notices), `error`; on wasm32 also on web-sys.
//! Must never know: the forward pass, traces, charts, the page.
//!
//! [`address`] → [`files`] (a server, picked files, a folder) → [`header`] → [`index`] → [`plan`] → bytes →
//! [`arrivals`] → tensors; [`store`] keeps the bytes, [`visit`] knows whether they may still be believed.

pub mod address;
pub mod arrivals;
pub mod byte_ranges;
pub mod error;
pub mod files;
pub mod fill;
#[cfg(not(target_arch = "wasm32"))]
pub mod folder;
pub mod header;
pub mod index;
pub mod names;
pub mod plan;
pub mod retry;
pub mod store;
pub mod visit;

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
