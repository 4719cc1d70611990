//! Comparing what came with what should have come.

use sha2::{Digest, Sha256};

use super::arrive::Arrival;
use super::samples::{differs, has_no_marks};
use super::transfer::Course;
use crate::weights::files::{Asked, Stamp};
use crate::weights::index::Span;
use crate::weights::plan::Table;
use crate::weights::retry::Failure;
use crate::weights::store::{Extent, Keep};
use crate::weights::{Files, WeightsError};
use crate::{Error, Result};

impl<F: Files, K: Keep> Arrival<F, K> {
    /// Whether the server still speaks of the same file.
    pub(super) fn check_stamp(&self, file: usize, stamp: &Stamp) -> Asked<()> {
        let state = self.state.borrow();
        let source = &state.sources[file];
        let known = Stamp { etag: source.identity.etag.clone(), size: source.identity.size };
        // After a load from the shelf alone there may be no ETag to compare with.
        if stamp.agrees_with(&known) {
            Ok(())
        } else {
            Err(Failure::lasting(WeightsError::Changed { file: source.name.clone() }))
        }
    }

    /// All bytes of a course are here: they are compared with the hub's hash where they are the whole file.
    pub(super) fn finish(&self, course: Course) -> Result<()> {
        let Some(hash) = course.hash else { return self.stop_holding(course.file) };
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let file = course.file;
        let found = hex(&hash.finalize());
        let source = &mut state.sources[file];
        let held = source.held.take();
        let expected = source.sha256.clone().unwrap_or_default();
        if found == expected {
            source.fetched = false; // nothing is left to be compared
            self.parts.checked();
            for arrived in held.into_iter().flatten() {
                self.offer(arrived)?;
            }
            return Ok(());
        }
        let bytes = source.head.len() as u64..self.index.files[file].header.file_size;
        if let Some(pieces) = &mut source.pieces {
            let _ = pieces.forget(Extent { begin: bytes.start, end: bytes.end });
        }
        let name = source.name.clone();
        // Of a file that was held back nothing has been made: it is read once more.
        if held.is_none() || state.damaged_once.insert(format!("file {name}"), 0).is_some() {
            return Err(WeightsError::WrongHash { file: name, expected, found }.into());
        }
        self.parts.checked(); // and is checked anew
        state.sources[file].held = Some(Vec::new());
        state.arrivals.forget_file(file);
        for located in &self.index.files[file].wanted {
            if let Some(table) = Table::of(&located.name) {
                state.arrivals.expect_table(table)?;
            }
        }
        let span = Span { file, bytes };
        state.damaged.push(span.clone());
        state.fetch_again(span);
        Ok(())
    }

    /// Hands on what was held back, since nothing more can be known of it.
    fn stop_holding(&self, file: usize) -> Result<()> {
        let held = self.state.borrow_mut().sources[file].held.take();
        held.into_iter().flatten().try_for_each(|arrived| self.offer(arrived))
    }

    /// Compares a file that arrived in parts, and is on the shelf as a whole, with the hub's hash.
    pub(super) async fn verify_kept(&self, file: usize) -> Result<()> {
        let (mut hash, extents, expected) = {
            let state = self.state.borrow();
            let source = &state.sources[file];
            let (Some(pieces), Some(expected), true) = (&source.pieces, &source.sha256, source.fetched) else {
                return Ok(());
            };
            let mut at = source.head.len() as u64;
            let extents: Vec<Extent> = pieces.extents().into_iter().filter(|extent| extent.begin >= at).collect();
            for extent in &extents {
                if extent.begin != at {
                    return Ok(()); // Only parts were read: there is no hash of those.
                }
                at = extent.end;
            }
            if at != self.index.files[file].header.file_size {
                return Ok(());
            }
            (Sha256::new_with_prefix(&source.head), extents, expected.clone())
        };
        let mut bytes = Vec::new();
        for extent in extents {
            {
                let mut state = self.state.borrow_mut();
                let source = &mut state.sources[file];
                match source.pieces.as_mut().map(|pieces| pieces.read(extent, &mut bytes)) {
                    Some(Ok(true)) => hash.update(&bytes),
                    _ => return Ok(()), // The storage fails; the tensors do not depend on it.
                }
            }
            self.visit.files.turn().await;
        }
        let found = hex(&hash.finalize());
        if found == expected {
            return Ok(());
        }
        let name = self.index.files[file].name.clone();
        Err(Error::from(WeightsError::WrongHash { file: name, expected, found }))
    }
}

impl<F: Files, K: Keep> Arrival<F, K> {
    /// Where a server gives its files no marks, only reading some of it again tells that a file was replaced while it
    /// was read.
    pub(super) async fn look_for_changes(&self, file: usize) -> Result<()> {
        let (name, head, mut pieces) = {
            let mut state = self.state.borrow_mut();
            let source = &mut state.sources[file];
            let in_parts = source.fetched && source.whole.is_none();
            if !in_parts || !has_no_marks(&source.identity) || !self.visit.can_be_asked() {
                return Ok(());
            }
            (source.name.clone(), source.head.clone(), source.pieces.take())
        };
        let differs = differs(&self.visit, &name, &head, pieces.as_mut()).await;
        self.state.borrow_mut().sources[file].pieces = pieces;
        if differs { Err(WeightsError::Changed { file: name }.into()) } else { Ok(()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
