//! One visit to a model: its files where they are, and what earlier visits kept of them.
//!
//! What is kept is believed only for the version that it was kept of: the same commit and the same SHA-256 where
//! a hub tells them, else the same ETag and size. Where no server can be reached it is all there is; of a commit of which
//! everything is kept, no file is asked for.

use std::cell::{Cell, RefCell};

use super::WeightsError;
use super::files::{Answer, Body, Failure, Files, Stamp, Version, read_whole};
use super::store::{About, Identity, Keep, Pieces, StoreError};
use crate::Result;
use crate::protocol::{Notice, NoticeKind};

/// A model's files and its shelf.
pub struct Visit<F: Files, K: Keep> {
    /// Where they are.
    pub files: F,
    keep: Option<K>,
    version: Version,
    /// Whether everything of this commit was kept once.
    unchanged: bool,
    /// What the shelf says of itself, once it is known to be of this version.
    about: RefCell<About>,
    notices: RefCell<Vec<Notice>>,
    /// Whether this visit has pieces open. If not, another tab's may have, and the shelf is its to describe.
    keeping: Cell<bool>,
}

impl<F: Files, K: Keep> Visit<F, K> {
    /// Asks for the version and looks at the shelf.
    pub async fn begin(files: F, keep: Option<K>) -> Visit<F, K> {
        let version = files.version().await;
        let mut about = About::default();
        let mut notices = Vec::new();
        let mut unchanged = false;
        if let Some(keep) = &keep {
            let kept = keep.about().await;
            let other = |kept: &About| {
                let commits = version.commit.is_some() && kept.commit.is_some() && version.commit != kept.commit;
                commits || kept.files.iter().any(|(name, identity)| differs(&version, name, identity))
            };
            match kept {
                Some(kept) if other(&kept) => {
                    keep.clear().await;
                    notices.push(changed(&files.place()));
                }
                Some(kept) => {
                    unchanged = kept.complete && kept.commit.is_some() && kept.commit == version.commit;
                    about = kept;
                }
                None => {}
            }
        }
        if version.commit.is_some() {
            about.commit.clone_from(&version.commit);
        }
        let (about, notices) = (RefCell::new(about), RefCell::new(notices));
        Visit { files, keep, version, unchanged, about, notices, keeping: Cell::new(false) }
    }

    /// Remarks that came up, each once.
    pub fn take_notices(&self) -> Vec<Notice> {
        self.notices.take()
    }

    /// A small file, whole: from the shelf where nobody answers, or where everything of this commit was kept; else its
    /// server is asked (the browser's own cache makes that cheap).
    ///
    /// # Errors
    /// What the last attempt to read it ended in.
    pub async fn small(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(keep) = self.keep.as_ref().filter(|_| self.version.offline || self.unchanged) {
            let kept = keep.small(name).await;
            // A model that was whole once has no more files than those that are kept; but one of these may be damaged.
            if kept.is_some() || (self.version.offline && self.about.borrow().complete) {
                return Ok(kept);
            }
        }
        let bytes = read_whole(&self.files, name).await?;
        if let (Some(keep), Some(bytes)) = (&self.keep, &bytes) {
            // Not keeping it costs a request on the next visit, nothing more.
            let _ = keep.keep_small(name, bytes).await;
        }
        Ok(bytes)
    }

    /// Names of the weights files that earlier visits read.
    pub fn kept_files(&self) -> Vec<String> {
        self.about.borrow().files.keys().cloned().collect()
    }

    /// The marks under which a weights file was kept, if the server still has the same.
    pub async fn still_kept(&self, name: &str) -> Option<Identity> {
        let identity = self.about.borrow().files.get(name).cloned()?;
        if self.version.file(name).is_some() {
            return Some(identity); // `begin` has compared them
        }
        let kept = Stamp { etag: identity.etag.clone(), size: identity.size };
        match self.files.stamp(name).await {
            Ok(Some(stamp)) if stamp.proves(&kept) => Some(identity),
            Err(failure) if failure.error.code == crate::Code::Network => Some(identity),
            _ => {
                self.forget(name).await;
                None
            }
        }
    }

    async fn forget(&self, name: &str) {
        self.about.borrow_mut().files.remove(name);
        self.about.borrow_mut().complete = false;
        self.notices.borrow_mut().push(changed(&self.files.place()));
        if let Some(keep) = &self.keep {
            keep.clear().await;
        }
    }

    /// SHA-256 of a file, where the hub tells it.
    pub fn sha256(&self, name: &str) -> Option<String> {
        self.version.file(name).map(|(sha256, _)| sha256.to_string())
    }

    /// The marks of a file that has just been asked for.
    pub fn identity(&self, name: &str, stamp: &Stamp) -> Identity {
        let known = self.version.file(name);
        Identity {
            address: self.files.place(),
            commit: self.version.commit.clone(),
            etag: stamp.etag.clone(),
            sha256: self.sha256(name),
            size: stamp.size.or(known.map(|(_, size)| size)),
        }
    }

    /// Where the pieces of a weights file are kept; `None` where they are not.
    pub async fn pieces(&self, name: &str, identity: &Identity) -> Option<Pieces<K::Disk>> {
        let keep = self.keep.as_ref()?;
        match keep.pieces(name, identity).await {
            Ok(pieces) => {
                if pieces.was_stale() {
                    self.notices.borrow_mut().push(changed(&self.files.place()));
                }
                self.keeping.set(true);
                self.about.borrow_mut().files.insert(name.to_string(), identity.clone());
                Some(pieces)
            }
            Err(error) => {
                self.notices.borrow_mut().push(storage_notice(&error));
                None
            }
        }
    }

    /// Writes down how far the shelf has come; silent where that fails, since it is only of use to later visits.
    pub async fn write_about(&self, weights_bytes: u64, complete: bool) {
        let Some(keep) = self.keep.as_ref().filter(|_| self.keeping.get()) else { return };
        let about = {
            let mut about = self.about.borrow_mut();
            about.weights_bytes = weights_bytes;
            about.complete |= complete;
            about.clone()
        };
        let _ = keep.set_about(about).await;
    }

    /// Whether there is room for so many more bytes; a notice where there is not.
    pub async fn has_room(&self, bytes: u64) -> bool {
        let Some(keep) = &self.keep else { return false };
        match keep.room().await {
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

    /// Empties the shelf: what is on it proved damaged.
    pub async fn clear(&self) {
        if let Some(keep) = &self.keep {
            keep.clear().await;
        }
    }
}

/// Whether the hub tells another SHA-256 or size than the one under which a file was kept.
fn differs(version: &Version, name: &str, identity: &Identity) -> bool {
    version.file(name).is_some_and(|(sha256, size)| {
        identity.sha256.as_deref() != Some(sha256) || identity.size.is_some_and(|kept| kept != size)
    })
}

fn changed(place: &str) -> Notice {
    let message = format!("{place} has changed since the last visit: what was kept of it is removed.");
    Notice { kind: NoticeKind::Changed, message }
}

/// What a reader is told when pieces cannot be kept.
pub fn storage_notice(error: &StoreError) -> Notice {
    let (kind, message) = match error {
        StoreError::Full => (NoticeKind::StorageFull, "This browser's storage is full"),
        StoreError::Busy => (NoticeKind::StorageBusy, "Another tab is loading this model"),
        StoreError::Broken(_) => (NoticeKind::StorageUnavailable, "This browser does not let this page keep files"),
    };
    let message = format!("{message}: what arrives now is not kept for the next visit.");
    Notice { kind, message }
}

/// Reads exactly `count` bytes, or what there is; `rest` has what came beyond them.
///
/// # Errors
/// What the body ends in.
pub async fn read_exactly<B: Body>(
    answer: &mut Answer<B>,
    rest: &mut Vec<u8>,
    count: usize,
) -> std::result::Result<Vec<u8>, Failure> {
    while rest.len() < count {
        match answer.body.next().await? {
            Some(piece) => rest.extend(piece),
            None => break,
        }
    }
    let left = rest.split_off(count.min(rest.len()));
    Ok(std::mem::replace(rest, left))
}

/// The error for a file that ended before its header did.
pub fn no_header(name: &str, expected: u64, found: u64) -> Failure {
    Failure::passing(WeightsError::CorruptDownload { file: name.into(), expected, found })
}
