//! Comparing what came with what should have come.

use sha2::{Digest, Sha256};

use super::Download;
use crate::loading::WeightsError;
use crate::loading::cache::samples::{differs, has_no_marks};
use crate::loading::cache::{CacheStore, Extent};
use crate::loading::index::Span;
use crate::loading::loader::Loader;
use crate::loading::source::retry::Failure;
use crate::loading::source::{Attempt, Files, Validator};
use crate::model::checkpoint::Table;
use crate::{Error, Result};

impl<F: Files, K: CacheStore> Loader<F, K> {
    /// Whether the server still speaks of the same file.
    pub(crate) fn check_validator(&self, file: usize, validator: &Validator) -> Attempt<()> {
        let state = self.state.borrow();
        let file_state = &state.files[file];
        let known = Validator { etag: file_state.identity.etag.clone(), size: file_state.identity.size };
        // After a load from the cache alone there may be no ETag to compare with.
        if validator.agrees_with(&known) {
            Ok(())
        } else {
            Err(Failure::lasting(WeightsError::Changed { file: file_state.name.clone() }))
        }
    }

    /// All bytes of a download are here: they are compared with the hub's hash where they are the whole file.
    pub(crate) fn finish(&self, download: Download) -> Result<()> {
        let Some(hash) = download.hash else { return self.stop_holding(download.file) };
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let file = download.file;
        let found = hex(&hash.finalize());
        let file_state = &mut state.files[file];
        let held = file_state.held.take();
        let expected = file_state.sha256.clone().unwrap_or_default();
        if found == expected {
            file_state.fetched = false; // nothing is left to be compared
            self.model.checked();
            for arrived in held.into_iter().flatten() {
                self.offer(arrived)?;
            }
            return Ok(());
        }
        let bytes = file_state.head.len() as u64..self.index.files[file].header.file_size;
        if let Some(log) = &mut file_state.log {
            let _ = log.forget(Extent { begin: bytes.start, end: bytes.end });
        }
        let name = file_state.name.clone();
        // Of a file that was held back nothing has been made: it is read once more.
        if held.is_none() || state.damaged_once.insert(format!("file {name}"), 0).is_some() {
            return Err(WeightsError::WrongHash { file: name, expected, found }.into());
        }
        self.model.checked(); // and is checked anew
        state.files[file].held = Some(Vec::new());
        state.assembler.forget_file(file);
        for located in &self.index.files[file].wanted {
            if let Some(table) = Table::of(&located.name) {
                state.assembler.expect_table(table)?;
            }
        }
        let span = Span { file, bytes };
        state.damaged.push(span.clone());
        state.fetch_again(span);
        Ok(())
    }

    /// Hands on what was held back, since nothing more can be known of it.
    fn stop_holding(&self, file: usize) -> Result<()> {
        let held = self.state.borrow_mut().files[file].held.take();
        held.into_iter().flatten().try_for_each(|arrived| self.offer(arrived))
    }

    /// Compares a file that arrived in parts, and is in the cache as a whole, with the hub's hash.
    pub(crate) async fn verify_cached(&self, file: usize) -> Result<()> {
        let (mut hash, extents, expected) = {
            let state = self.state.borrow();
            let file_state = &state.files[file];
            let (Some(log), Some(expected), true) = (&file_state.log, &file_state.sha256, file_state.fetched) else {
                return Ok(());
            };
            let mut at = file_state.head.len() as u64;
            let extents: Vec<Extent> = log.extents().into_iter().filter(|extent| extent.begin >= at).collect();
            for extent in &extents {
                if extent.begin != at {
                    return Ok(()); // Only parts were read: there is no hash of those.
                }
                at = extent.end;
            }
            if at != self.index.files[file].header.file_size {
                return Ok(());
            }
            (Sha256::new_with_prefix(&file_state.head), extents, expected.clone())
        };
        let mut bytes = Vec::new();
        for extent in extents {
            {
                let mut state = self.state.borrow_mut();
                let file_state = &mut state.files[file];
                match file_state.log.as_mut().map(|log| log.read(extent, &mut bytes)) {
                    Some(Ok(true)) => hash.update(&bytes),
                    _ => return Ok(()), // The storage fails; the tensors do not depend on it.
                }
            }
            self.cache.files.turn().await;
        }
        let found = hex(&hash.finalize());
        if found == expected {
            return Ok(());
        }
        let name = self.index.files[file].name.clone();
        Err(Error::from(WeightsError::WrongHash { file: name, expected, found }))
    }
}

impl<F: Files, K: CacheStore> Loader<F, K> {
    /// Where a server gives its files no marks, only reading some of it again tells that a file was replaced while it
    /// was read.
    pub(crate) async fn look_for_changes(&self, file: usize) -> Result<()> {
        let (name, head, mut log) = {
            let mut state = self.state.borrow_mut();
            let file_state = &mut state.files[file];
            let in_parts = file_state.fetched && file_state.whole.is_none();
            if !in_parts || !has_no_marks(&file_state.identity) || !self.cache.can_be_asked() {
                return Ok(());
            }
            (file_state.name.clone(), file_state.head.clone(), file_state.log.take())
        };
        let differs = differs(&self.cache, &name, &head, log.as_mut()).await;
        self.state.borrow_mut().files[file].log = log;
        if differs { Err(WeightsError::Changed { file: name }.into()) } else { Ok(()) }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
