//! What the browser's storage has of a model, so that no byte is fetched twice.
//! May depend on: `source` (to read through to, and to compare with), `protocol::cache` (what is cached where); on wasm32
//! `opfs` also on web-sys.
//! Must never know: tensors, what the bytes mean.
//!
//! [`model_cache::ModelCache`] reads a model's files, and knows how far what is cached of them may be believed.
//! A [`CacheStore`] is one model's folder; [`ChunkLog`] is one weights file in it, on two [`Disk`]s. A chunk is written first,
//! then its journal record; nothing that is read is believed without its checksum. Keeping never fails a load: what
//! cannot be cached is not cached.

mod chunk_log;
mod disk;
pub mod model_cache;
pub(crate) mod samples;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "wasm32")]
pub mod opfs;

pub use chunk_log::{ChunkLog, Extent, PendingChunk};
pub use disk::{CacheError, Disk, MemoryDisk};

pub use protocol::cache::{Identity, Manifest};

/// What became of a small file that was cached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CachedFile {
    /// It was never cached.
    Missing,
    /// It is there, and not as it was written.
    Damaged,
    /// Its bytes, as they were written.
    Intact(Vec<u8>),
}

/// Where one model's files are cached: a folder.
pub trait CacheStore {
    /// A file in it.
    type Disk: Disk;

    /// What it says of itself; `None` where nothing usable is cached.
    fn manifest(&self) -> impl Future<Output = Option<Manifest>>;

    /// Writes that down; fields that only the folder knows (version, key, time) it fills in itself.
    ///
    /// # Errors
    /// `Full`, `Broken`.
    fn write_manifest(&self, manifest: Manifest) -> impl Future<Output = Result<(), CacheError>>;

    /// A small file that was cached.
    fn small(&self, name: &str) -> impl Future<Output = CachedFile>;

    /// Keeps a small file.
    ///
    /// # Errors
    /// `Full`, `Broken`.
    fn store_small(&self, name: &str, bytes: &[u8]) -> impl Future<Output = Result<(), CacheError>>;

    /// The chunks of a weights file; those of another identity are removed.
    ///
    /// # Errors
    /// `Busy` where another tab has them open, `Full`, `Broken`.
    fn chunk_log(
        &self,
        name: &str,
        identity: &Identity,
    ) -> impl Future<Output = Result<ChunkLog<Self::Disk>, CacheError>>;

    /// Removes all of it.
    fn clear(&self) -> impl Future<Output = ()>;

    /// Bytes used and allowed, over all of this origin.
    fn room(&self) -> impl Future<Output = Option<(f64, f64)>>;
}

/// The store of a load that caches nothing; there is none.
pub enum NoCache {}

impl CacheStore for NoCache {
    type Disk = MemoryDisk;

    async fn manifest(&self) -> Option<Manifest> {
        match *self {}
    }

    async fn write_manifest(&self, _manifest: Manifest) -> Result<(), CacheError> {
        match *self {}
    }

    async fn small(&self, _name: &str) -> CachedFile {
        match *self {}
    }

    async fn store_small(&self, _name: &str, _bytes: &[u8]) -> Result<(), CacheError> {
        match *self {}
    }

    async fn chunk_log(&self, _name: &str, _identity: &Identity) -> Result<ChunkLog<MemoryDisk>, CacheError> {
        match *self {}
    }

    async fn clear(&self) {
        match *self {}
    }

    async fn room(&self) -> Option<(f64, f64)> {
        match *self {}
    }
}
