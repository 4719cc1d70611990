//! All cores, on any host: every block is split over W workers, by attention heads and by columns of the MLP's hidden
//! layer. Each holds its share of the weights and of the keys and values; memory is divided, not multiplied.
//!
//! The engine's own worker is the first. It keeps the stream, layer norms and the probe; sends the normed stream to
//! the others, computes its own share meanwhile, and adds up what comes back: two exchanges per block, by buffers that
//! change hands without being copied. No shared memory, and so no special headers of the host.
//!
//! [`shards`] says who holds what, [`packer`] packs it so, [`wire`] what is said, [`helper`] is the others' side, [`worker_pool`] the first's;
//! `web_workers` are nested Web Workers, and a helper in the same thread stands in for one in tests.

pub mod helper;
pub mod packer;
pub mod shards;
pub mod wire;
pub mod worker_pool;

#[cfg(target_arch = "wasm32")]
pub mod web_workers;

pub use shards::Shard;
pub use worker_pool::{WorkerHandle, WorkerPool};
