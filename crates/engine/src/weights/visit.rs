//! One visit to a model: its files where they are, and what earlier visits kept of them.
//!
//! What is kept is believed only for the version that it was kept of: the same commit and the same SHA-256 where
//! a hub tells them, else the same ETag and size. Where no server can be reached it is all there is; of a commit of which
//! everything is kept, no file is asked for. It is removed only on proof that the model has changed: a server that
//! refuses, limits or fails proves nothing.
//!
//! Small files are kept once all of them were read and fit together ([`Visit::keep_small`]); where what was kept does
//! not, it is asked for again ([`Visit::may_mend`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};

use super::WeightsError;
use super::files::{Answer, Body, CONFIG, Files, Stamp, Version, is_page, read_whole};
use super::retry::{Failure, Patience};
use super::store::{About, Identity, Keep, Kept, Pieces, StoreError};
use crate::{Code, Error, Result};
use protocol::{Notice, NoticeKind};

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
    /// Whether everything is taken from the shelf since its server fails, refuses or limits.
    settled: Cell<bool>,
    /// Whether small files on the shelf are not believed any more; and whether one was used, or found damaged.
    distrusted: Cell<bool>,
    used_kept: Cell<bool>,
    /// Small files that came from the server in this visit, and are not kept yet.
    fresh: RefCell<BTreeMap<String, Vec<u8>>>,
    /// Whether the server has sent a small file.
    answered: Cell<bool>,
    /// Files in whose place the server sent a web page.
    pages: RefCell<BTreeSet<String>>,
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
        let settled = version.refused && about.complete && about.commit.is_some();
        let (about, notices) = (RefCell::new(about), RefCell::new(notices));
        let (keeping, fresh, pages) = (Cell::new(false), RefCell::default(), RefCell::default());
        let (distrusted, used_kept, answered) = (Cell::default(), Cell::default(), Cell::default());
        let visit = Visit {
            files,
            keep,
            version,
            unchanged,
            about,
            notices,
            keeping,
            settled: Cell::new(false),
            distrusted,
            used_kept,
            fresh,
            answered,
            pages,
        };
        if settled {
            visit.settle();
        }
        visit
    }

    /// Takes everything from the shelf.
    fn settle(&self) {
        self.settled.set(true);
        self.fresh.take();
        self.remark_unchecked("its server fails, or refuses or limits requests");
    }

    /// Says, once, that nothing proves what is kept to be what the server has.
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

    /// A small file, whole: from the shelf where nobody answers, or where everything of this commit was kept; else its
    /// server is asked (the browser's own cache makes that cheap). `None` where there is none: the server says so, sends
    /// a web page instead, or says "forbidden" of this file alone, as storage that lists nothing does.
    ///
    /// # Errors
    /// What the last attempt to read it ended in; `CorruptDownload` where all there is is a damaged copy.
    pub async fn small(&self, name: &str) -> Result<Option<Vec<u8>>> {
        if let Some(kept) = self.kept_small(name).await? {
            return Ok(kept);
        }
        // Where everything is kept there is no point in patience.
        let patience = if self.about.borrow().complete { Patience::once() } else { Patience::default() };
        let bytes = match read_whole(&self.files, name, patience).await {
            Err(error) if error.code == Code::NotFound && self.answered.get() && !self.is_of_a_hub() => None,
            read => read?,
        };
        let Some(bytes) = bytes else { return Ok(None) };
        if !self.files.is_local() && is_page(&bytes) {
            self.note_page(name);
            return Ok(None);
        }
        self.answered.set(true);
        if self.keep.is_some() {
            self.fresh.borrow_mut().insert(name.to_string(), bytes.clone());
        }
        Ok(Some(bytes))
    }

    /// What the shelf has to say of a small file, if it is to be believed; `Some(None)`: there is none.
    async fn kept_small(&self, name: &str) -> Result<Option<Option<Vec<u8>>>> {
        let alone = self.version.offline || self.settled.get();
        let believed = (alone || self.unchanged) && !self.distrusted.get();
        let Some(keep) = self.keep.as_ref().filter(|_| believed) else { return Ok(None) };
        let complete = self.about.borrow().complete;
        match keep.small(name).await {
            Kept::Intact(bytes) if self.is_listed_as(name, &bytes) => {
                self.used_kept.set(true);
                Ok(Some(Some(bytes)))
            }
            Kept::Damaged if alone => {
                self.used_kept.set(true);
                let place = self.files.place();
                let message = format!(
                    "{name}: the copy that this browser keeps is damaged, and {place} cannot be asked for another. Load the model again when its server can be reached, or delete it from what is kept."
                );
                Err(Error::new(Code::CorruptDownload, message))
            }
            // A model that was whole once has no more files than those that are kept.
            Kept::Missing if complete && (alone || self.version.lacks(name)) => Ok(Some(None)),
            _ => Ok(None),
        }
    }

    /// Whether a small file is as long as the hub says, if it says anything.
    fn is_listed_as(&self, name: &str, bytes: &[u8]) -> bool {
        self.version.size(name).is_none_or(|size| size == bytes.len() as u64)
    }

    /// Keeps the small files that came from the server: to be called once all were read and fit together. With no
    /// commit known, a hub's files may be of any, and are not put beside those that are kept.
    pub async fn keep_small(&self) {
        let fresh = self.fresh.take();
        let of_any_commit = {
            let about = self.about.borrow();
            self.version.refused && (about.complete || about.commit.is_some())
        };
        let Some(keep) = self.keep.as_ref().filter(|_| !of_any_commit) else { return };
        for (name, bytes) in fresh {
            if self.is_listed_as(&name, &bytes) {
                // Not keeping it costs a request on the next visit, nothing more.
                let _ = keep.keep_small(&name, &bytes).await;
            }
        }
    }

    /// Whether reading the model's small files and headers again may end otherwise: from the shelf alone, if the server
    /// failed and everything is kept; or from the server alone, if what was kept did not fit. Each once.
    pub fn may_mend(&self, error: &Error) -> bool {
        let of_server = matches!(error.code, Code::Network | Code::RateLimited | Code::NotFound);
        let failed = matches!(error.code, Code::Network | Code::RateLimited);
        if failed && self.about.borrow().complete && !self.settled.get() && !self.distrusted.get() {
            self.settle();
            return true;
        }
        if !of_server && self.used_kept.get() && !self.version.offline && !self.distrusted.replace(true) {
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
        if of_files && self.version.offline && self.used_kept.get() {
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
    pub fn kept_files(&self) -> Vec<String> {
        self.about.borrow().files.keys().cloned().collect()
    }

    /// The marks under which a weights file was kept, unless the server proves that it has another now.
    pub async fn still_kept(&self, name: &str) -> Option<Identity> {
        let identity = self.about.borrow().files.get(name).cloned()?;
        // `begin` has compared what the hub tells.
        if self.version.file(name).is_some() || self.unchanged || !self.can_be_asked() {
            return Some(identity);
        }
        let kept = Stamp { etag: identity.etag.clone(), size: identity.size };
        match self.files.stamp(name).await {
            Ok(Some(stamp)) if stamp.proves(&kept) => Some(identity),
            Ok(Some(stamp)) if stamp.agrees_with(&kept) => {
                self.remark_unchecked("its server gives no mark by which a file could be told from another");
                Some(identity)
            }
            Ok(Some(_)) => {
                self.forget(name).await;
                None
            }
            // It may be elsewhere now; what was kept is not in the way.
            Ok(None) => None,
            Err(_) => {
                self.remark_unchecked("its server refuses or limits the question");
                Some(identity)
            }
        }
    }

    /// Whether the server may be asked: it could be reached, and the shelf alone does not do.
    pub fn can_be_asked(&self) -> bool {
        !self.version.offline && !self.settled.get() && !self.files.is_local()
    }

    /// What is kept of a file proved to be another's.
    pub async fn forget(&self, name: &str) {
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

    /// Writes down how far the shelf has come. Where everything was kept, and this fails, nothing is of use to later visits:
    /// a notice says so.
    pub async fn write_about(&self, weights_bytes: u64, complete: bool) {
        let Some(keep) = self.keep.as_ref().filter(|_| self.keeping.get()) else { return };
        let about = {
            let mut about = self.about.borrow_mut();
            about.weights_bytes = weights_bytes;
            about.complete |= complete;
            about.clone()
        };
        if let (Err(error), true) = (keep.set_about(about).await, complete) {
            self.notices.borrow_mut().push(storage_notice(&error));
        }
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
