//! What is known of a weights file from the moment its header is read.

use crate::loading::assembler::Assembled;
use crate::loading::cache::{CacheStore, ChunkLog, Extent, Identity};
use crate::loading::source::{FileResponse, Files};

/// A weights file while it arrives.
pub(crate) struct FileState<F: Files, K: CacheStore> {
    pub name: String,
    pub identity: Identity,
    /// What the hub says of the whole file.
    pub sha256: Option<String>,
    pub log: Option<ChunkLog<K::Disk>>,
    /// The 8 bytes of length and the header.
    pub head: Vec<u8>,
    /// Set for a file that comes only whole; with the answer that has begun.
    pub whole: Option<Option<OpenResponse<F>>>,
    /// Extents in the cache that have not been taken yet.
    pub cached: Vec<Extent>,
    /// Tensors of a small file that are held back until it proves right, or until a run waits for them.
    pub held: Option<Vec<Assembled>>,
    /// Whether any byte came from the network in this visit.
    pub fetched: bool,
}

impl<F: Files, K: CacheStore> FileState<F, K> {
    pub fn new(
        name: &str,
        identity: Identity,
        sha256: Option<String>,
        log: Option<ChunkLog<K::Disk>>,
        head: Vec<u8>,
    ) -> FileState<F, K> {
        let cached = log.as_ref().map(ChunkLog::extents).unwrap_or_default();
        let cached = cached.into_iter().filter(|extent| extent.begin >= head.len() as u64).collect();
        let (name, fetched) = (name.to_string(), false);
        FileState { name, identity, sha256, log, head, whole: None, cached, held: None, fetched }
    }
}

/// An answer that has begun: the bytes that were read of it and not used yet, and the place of the first of them.
pub(crate) struct OpenResponse<F: Files> {
    pub answer: FileResponse<F::Body>,
    pub rest: Vec<u8>,
    pub at: u64,
}
