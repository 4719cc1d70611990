//! Pieces of weights files in the browser's storage, so that no byte is fetched twice.
//! May depend on: `shelf` (what is kept where); on wasm32 `opfs` also on web-sys.
//! Must never know: servers, tensors, what the bytes mean.
//!
//! A [`Keep`] is one model's folder; [`Pieces`] is one weights file in it, on two [`Disk`]s. A piece is written first,
//! then its journal record; nothing that is read is believed without its checksum. Keeping never fails a load: what
//! cannot be kept is not kept.

mod disk;
mod pieces;
#[cfg(test)]
mod tests;

#[cfg(target_arch = "wasm32")]
pub mod opfs;

pub use disk::{Disk, MemoryDisk, StoreError};
pub use pieces::{Extent, Pieces, Writing};

pub use protocol::shelf::{About, Identity};

/// What became of a small file that was kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It was never kept.
    Missing,
    /// It is there, and not as it was written.
    Damaged,
    /// Its bytes, as they were written.
    Intact(Vec<u8>),
}

/// One model's folder.
pub trait Keep {
    /// A file in it.
    type Disk: Disk;

    /// What it says of itself; `None` where nothing usable is kept.
    fn about(&self) -> impl Future<Output = Option<About>>;

    /// Writes that down; fields that only the folder knows (version, key, time) it fills in itself.
    ///
    /// # Errors
    /// `Full`, `Broken`.
    fn set_about(&self, about: About) -> impl Future<Output = Result<(), StoreError>>;

    /// A small file that was kept.
    fn small(&self, name: &str) -> impl Future<Output = Kept>;

    /// Keeps a small file.
    ///
    /// # Errors
    /// `Full`, `Broken`.
    fn keep_small(&self, name: &str, bytes: &[u8]) -> impl Future<Output = Result<(), StoreError>>;

    /// The pieces of a weights file; those of another identity are removed.
    ///
    /// # Errors
    /// `Busy` where another tab has them open, `Full`, `Broken`.
    fn pieces(&self, name: &str, identity: &Identity) -> impl Future<Output = Result<Pieces<Self::Disk>, StoreError>>;

    /// Removes all of it.
    fn clear(&self) -> impl Future<Output = ()>;

    /// Bytes used and allowed, over all of this origin.
    fn room(&self) -> impl Future<Output = Option<(f64, f64)>>;
}

/// Keeps nothing.
pub enum Nothing {}

impl Keep for Nothing {
    type Disk = MemoryDisk;

    async fn about(&self) -> Option<About> {
        match *self {}
    }

    async fn set_about(&self, _about: About) -> Result<(), StoreError> {
        match *self {}
    }

    async fn small(&self, _name: &str) -> Kept {
        match *self {}
    }

    async fn keep_small(&self, _name: &str, _bytes: &[u8]) -> Result<(), StoreError> {
        match *self {}
    }

    async fn pieces(&self, _name: &str, _identity: &Identity) -> Result<Pieces<MemoryDisk>, StoreError> {
        match *self {}
    }

    async fn clear(&self) {
        match *self {}
    }

    async fn room(&self) -> Option<(f64, f64)> {
        match *self {}
    }
}
