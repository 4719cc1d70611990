//! From an address to tensors: where a model's files are, what is in them, and reading them without
//! ever holding a file twice.
//! May depend on: `model::checkpoint` (which tensors are wanted), `error`; on wasm32 also `fetch`.
//! Must never know: the forward pass, traces, charts, the page.

pub mod address;
pub mod assembler;
pub mod error;
pub mod files;
pub mod header;
pub mod widen;

#[cfg(target_arch = "wasm32")]
pub mod fetch;

pub use address::{Address, Location};
pub use assembler::Assembler;
pub use error::WeightsError;
pub use files::{ByteStream, Files};
pub use header::{Dtype, Header, TensorInfo};
