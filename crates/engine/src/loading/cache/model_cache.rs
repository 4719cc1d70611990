//! One visit to a model: its files where they are, and what earlier visits cached of them.
//!
//! What is cached is believed only for the version that it was cached of: the same commit and the same SHA-256 where
//! a hub tells them, else the same ETag and size. Where no server can be reached it is all there is; of a commit of which
//! everything is cached, no file is asked for. It is removed only on proof that the model has changed: a server that
//! refuses, limits or fails proves nothing.
//!
//! Small files are cached once all of them were read and fit together ([`ModelCache::store_small`]); where what was cached does
//! not, it is asked for again ([`ModelCache::may_mend`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::{CacheError, CacheStore, CachedFile, ChunkLog, Identity, Manifest};
use crate::loading::source::retry::Backoff;
use crate::loading::source::{CONFIG, Files, Validator, Version, is_page, read_whole};
use crate::{Code, Error, Result};
use protocol::{Notice, NoticeKind};

/// A model's files and its cache.
pub struct ModelCache<F: Files, K: CacheStore> {
    /// The files where they really are.
    pub files: F,
    store: Option<K>,
    version: Version,
    /// Whether everything of this commit was cached once.
    unchanged: bool,
    /// What the cache says of itself, once it is known to be of this version.
    manifest: RefCell<Manifest>,
    notices: RefCell<Vec<Notice>>,
    /// Whether this visit has chunks open. If not, another tab's may have, and the cache is its to describe.
    writing: Cell<bool>,
    /// Whether everything is taken from the cache since its server fails, refuses or limits.
    settled: Cell<bool>,
    /// Whether small files in the cache are not believed any more; and whether one was used, or found damaged.
    distrusted: Cell<bool>,
    used_cached: Cell<bool>,
    /// Small files that came from the server in this visit, and are not cached yet.
    fresh: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Whether the server has sent a small file.
    answered: Cell<bool>,
    /// Files in whose place the server sent a web page.
    pages: RefCell<BTreeSet<String>>,
}

impl<F: Files, K: CacheStore> ModelCache<F, K> {
    /// Asks for the version and looks at the cache.
    pub async fn begin(files: F, store: Option<K>) -> ModelCache<F, K> {
        let version = files.version().await;
        let mut manifest = Manifest::default();
        let mut notices = Vec::new();
        let mut unchanged = false;
        if let Some(store) = &store {
            let cached = store.manifest().await;
            let other = |cached: &Manifest| {
                let commits = version.commit.is_some() && cached.commit.is_some() && version.commit != cached.commit;
                commits || cached.files.iter().any(|(name, identity)| differs(&version, name, identity))
            };
            match cached {
                Some(cached) if other(&cached) => {
                    store.clear().await;
                    notices.push(changed(&files.place()));
                }
                Some(cached) => {
                    unchanged = cached.complete && cached.commit.is_some() && cached.commit == version.commit;
                    manifest = cached;
                }
                None => {}
            }
        }
        if version.commit.is_some() {
            manifest.commit.clone_from(&version.commit);
        }
        let settled = version.refused && manifest.complete && manifest.commit.is_some();
        let (manifest, notices) = (RefCell::new(manifest), RefCell::new(notices));
        let (writing, fresh, pages) = (Cell::new(false), RefCell::default(), RefCell::default());
        let (distrusted, used_cached, answered) = (Cell::default(), Cell::default(), Cell::default());
        let visit = ModelCache {
            files,
            store,
            version,
            unchanged,
            manifest,
            notices,
            writing,
            settled: Cell::new(false),
            distrusted,
            used_cached,
            fresh,
            answered,
            pages,
        };
        if settled {
            visit.settle();
        }
        visit
    }

    /// Takes everything from the cache.
    fn settle(&self) {
        self.settled.set(true);
        self.fresh.take();
        self.remark_unchecked("its server fails, or refuses or limits requests");
    }

    /// Says, once, that nothing proves what is cached to be what the server has.
    pub fn remark_unchecked(&self, why: &str) {
        let place = self.files.place();
        let message = format!("{place}: nothing tells whether the model has changed ({why}). What is kept is used.");
        let mut notices = self.notices.borrow_mut();
        if !notices.iter().any(|notice| notice.kind == NoticeKind::Unchecked) {
            notices.push(Notice { kind: NoticeKind::Unchecked, message });
        }
    }

    /// Remarks that came up, each once.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.notices.take()
    }

    /// A small file, whole: from the cache where nobody answers, or where everything of this commit was cached; else its
    /// server is asked (the browser's own cache makes that cheap). `None` where there is none: the server says so, sends
    /// a web page instead, or says "forbidden" of this file alone, as storage that lists nothing does.
    ///
    /// # Errors
    /// What the last attempt to read it ended in; `CorruptDownload` where all there is is a damaged copy.
    pub async fn small(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(cached) = self.cached_small(name).await? {
            return Ok(cached);
        }
        // Where everything is cached there is no point in patience.
        let backoff = if self.manifest.borrow().complete { Backoff::once() } else { Backoff::default() };
        let bytes = match read_whole(&self.files, name, backoff).await {
            Err(error) if error.code == Code::NotFound && self.answered.get() && !self.is_of_a_hub() => None,
            read => read?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        if !self.files.is_local() && is_page(&bytes) {
            self.note_page(name);
            return Ok(None);
        }
        self.answered.set(true);
        if self.store.is_some() {
            self.fresh.borrow_mut().insert(name.to_string(), bytes.clone());
        }
        Ok(Some(bytes))
    }

    /// What the cache has to say of a small file, if it is to be believed; `Some(None)`: there is none.
    async fn cached_small(&self, name: &str) -> Result<Option<Option<Vec<u8>>>> {
        let alone = self.version.offline || self.settled.get();
        let believed = (alone || self.unchanged) && !self.distrusted.get();
        let Some(store) = self.store.as_ref().filter(|_| believed) else { return Ok(None) };
        let complete = self.manifest.borrow().complete;
        match store.small(name).await {
            CachedFile::Intact(bytes) if self.is_listed_as(name, &bytes) => {
                self.used_cached.set(true);
                Ok(Some(Some(bytes)))
            }
            CachedFile::Damaged if alone => {
                self.used_cached.set(true);
                let place = self.files.place();
                let message = format!(
                    "{name}: the copy that this browser keeps is damaged, and {place} cannot be asked for another. Load the model again when its server can be reached, or delete it from what is kept."
                );
                Err(Error::new(Code::CorruptDownload, message))
            }
            // A model that was whole once has no more files than those that are cached.
            CachedFile::Missing if complete && (alone || self.version.lacks(name)) => Ok(Some(None)),
            _ => Ok(None),
        }
    }

    /// Whether a small file is as long as the hub says, if it says anything.
    fn is_listed_as(&self, name: &str, bytes: &[u8]) -> bool {
        self.version.size(name).is_none_or(|size| size == bytes.len() as u64)
    }

    /// Keeps the small files that came from the server: to be called once all were read and fit together. With no
    /// commit known, a hub's files may be of any, and are not put beside those that are cached.
    pub async fn store_small(&self) {
        let fresh = self.fresh.take();
        let of_any_commit = {
            let manifest = self.manifest.borrow();
            self.version.refused && (manifest.complete || manifest.commit.is_some())
        };
        let Some(store) = self.store.as_ref().filter(|_| !of_any_commit) else { return };
        for (name, bytes) in fresh {
            if self.is_listed_as(&name, &bytes) {
                // Not keeping it costs a request on the next visit, nothing more.
                let _ = store.store_small(&name, &bytes).await;
            }
        }
    }

    /// Whether reading the model's small files and headers again may end otherwise: from the cache alone, if the server
    /// failed and everything is cached; or from the server alone, if what was cached did not fit. Each once.
    pub fn may_mend(&self, error: &Error) -> bool {
        let of_server = matches!(error.code, Code::Network | Code::RateLimited | Code::NotFound);
        let failed = matches!(error.code, Code::Network | Code::RateLimited);
        if failed && self.manifest.borrow().complete && !self.settled.get() && !self.distrusted.get() {
            self.settle();
            return true;
        }
        if !of_server && self.used_cached.get() && !self.version.offline && !self.distrusted.replace(true) {
            self.settled.set(false);
            return true;
        }
        false
    }

    /// Notes that the server sent a web page in the place of a file.
    pub fn note_page(&self, name: &str) {
        self.pages.borrow_mut().insert(name.to_string());
    }

    /// What ended the reading of small files and headers, with what is known of its cause.
    pub fn explain(&self, error: Error, weights: &str) -> Error {
        let pages = self.pages.borrow();
        if error.code == Code::NotFound
            && let Some((name, code)) = [(CONFIG, Code::BadConfig), (weights, Code::BadSafetensors)]
                .into_iter()
                .find(|(name, _)| pages.contains(*name))
        {
            let place = self.files.place();
            let message = format!(
                "{place}{name}: the server answered with a web page in the place of this file. Is the address that of a model's folder?"
            );
            return Error::new(code, message);
        }
        let of_files = matches!(error.code, Code::BadConfig | Code::BadTokenizer | Code::NotGpt2);
        if of_files && self.version.offline && self.used_cached.get() {
            let message = format!(
                "{} This is the copy that the browser keeps, and it is damaged: load the model again when its server can be reached, or delete it from what is kept.",
                error.message
            );
            return Error::new(error.code, message);
        }
        error
    }

    /// Whether a hub has told anything of the model.
    pub fn is_of_a_hub(&self) -> bool {
        self.version.commit.is_some() || self.version.refused || !self.version.sizes.is_empty()
    }

    /// Names of the weights files that earlier visits read.
    pub fn cached_files(&self) -> Vec<String> {
        self.manifest.borrow().files.keys().cloned().collect()
    }

    /// The marks under which a weights file was cached, unless the server proves that it has another now.
    pub async fn still_cached(&self, name: &str) -> Option<Identity> {
        let identity = self.manifest.borrow().files.get(name).cloned()?;
        // `begin` has compared what the hub tells.
        if self.version.file(name).is_some() || self.unchanged || !self.can_be_asked() {
            return Some(identity);
        }
        let cached = Validator { etag: identity.etag.clone(), size: identity.size };
        match self.files.validator(name).await {
            Ok(Some(validator)) if validator.proves(&cached) => Some(identity),
            Ok(Some(validator)) if validator.agrees_with(&cached) => {
                self.remark_unchecked("its server gives no mark by which a file could be told from another");
                Some(identity)
            }
            Ok(Some(_)) => {
                self.forget(name).await;
                None
            }
            // It may be elsewhere now; what was cached is not in the way.
            Ok(None) => None,
            Err(_) => {
                self.remark_unchecked("its server refuses or limits the question");
                Some(identity)
            }
        }
    }

    /// Whether the server may be asked: it could be reached, and the cache alone does not do.
    pub fn can_be_asked(&self) -> bool {
        !self.version.offline && !self.settled.get() && !self.files.is_local()
    }

    /// What is cached of a file proved to be another's.
    pub async fn forget(&self, name: &str) {
        self.manifest.borrow_mut().files.remove(name);
        self.manifest.borrow_mut().complete = false;
        self.notices.borrow_mut().push(changed(&self.files.place()));
        if let Some(store) = &self.store {
            store.clear().await;
        }
    }

    /// SHA-256 of a file, where the hub tells it.
    pub fn sha256(&self, name: &str) -> Option<String> {
        self.version.file(name).map(|(sha256, _)| sha256.to_string())
    }

    /// The marks of a file that has just been asked for.
    pub fn identity(&self, name: &str, validator: &Validator) -> Identity {
        let known = self.version.file(name);
        Identity {
            address: self.files.place(),
            commit: self.version.commit.clone(),
            etag: validator.etag.clone(),
            sha256: self.sha256(name),
            size: validator.size.or(known.map(|(_, size)| size)),
        }
    }

    /// Where the chunks of a weights file are cached; `None` where they are not.
    pub async fn chunk_log(&self, name: &str, identity: &Identity) -> Option<ChunkLog<K::Disk>> {
        let store = self.store.as_ref()?;
        match store.chunk_log(name, identity).await {
            Ok(log) => {
                if log.was_stale() {
                    self.notices.borrow_mut().push(changed(&self.files.place()));
                }
                self.writing.set(true);
                self.manifest.borrow_mut().files.insert(name.to_string(), identity.clone());
                Some(log)
            }
            Err(error) => {
                self.notices.borrow_mut().push(storage_notice(&error));
                None
            }
        }
    }

    /// Writes down how far the cache has come. Where everything was cached, and this fails, nothing is of use to later visits:
    /// a notice says so.
    pub async fn update_manifest(&self, weights_bytes: u64, complete: bool) {
        let Some(store) = self.store.as_ref().filter(|_| self.writing.get()) else { return };
        let manifest = {
            let mut manifest = self.manifest.borrow_mut();
            manifest.weights_bytes = weights_bytes;
            manifest.complete |= complete;
            manifest.clone()
        };
        if let (Err(error), true) = (store.write_manifest(manifest).await, complete) {
            self.notices.borrow_mut().push(storage_notice(&error));
        }
    }

    /// Whether there is room for so many more bytes; a notice where there is not.
    pub async fn has_room(&self, bytes: u64) -> bool {
        let Some(store) = &self.store else { return false };
        match store.room().await {
            Some((usage, quota)) if quota - usage < bytes as f64 => {
                let (needed, left) = (bytes as f64 / 1e6, (quota - usage).max(0.0) / 1e6);
                let message = format!(
                    "This browser's storage has {left:.0} MB left, and the model needs {needed:.0} MB: it is not kept for the next visit."
                );
                self.notices.borrow_mut().push(Notice { kind: NoticeKind::StorageFull, message });
                false
            }
            _ => true,
        }
    }

    /// Empties the cache: what is on it proved damaged.
    pub async fn clear(&self) {
        if let Some(store) = &self.store {
            store.clear().await;
        }
    }
}

/// Whether the hub tells another SHA-256 or size than the one under which a file was cached.
fn differs(version: &Version, name: &str, identity: &Identity) -> bool {
    version.file(name).is_some_and(|(sha256, size)| {
        identity.sha256.as_deref() != Some(sha256) || identity.size.is_some_and(|cached| cached != size)
    })
}

fn changed(place: &str) -> Notice {
    let message = format!("{place} has changed since the last visit: what was kept of it is removed.");
    Notice { kind: NoticeKind::Changed, message }
}

/// What a reader is told when chunks cannot be cached.
pub fn storage_notice(error: &CacheError) -> Notice {
    let (kind, message) = match error {
        CacheError::Full => (NoticeKind::StorageFull, "This browser's storage is full"),
        CacheError::Busy => (NoticeKind::StorageBusy, "Another tab is loading this model"),
        CacheError::Broken(_) => (NoticeKind::StorageUnavailable, "This browser does not let this page keep files"),
    };
    let message = format!("{message}: what arrives now is not kept for the next visit.");
    Notice { kind, message }
}
