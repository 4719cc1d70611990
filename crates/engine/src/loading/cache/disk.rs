//! A file that is read and written at once, as the browser gives them to workers.

use std::cell::RefCell;
use std::rc::Rc;

/// Why something is not cached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// The browser's quota is used up.
    #[error("the browser's storage is full")]
    Full,
    /// Another tab has the file open.
    #[error("another tab has the file open")]
    Busy,
    /// There is no storage, or it failed.
    #[error("the browser's storage cannot be used: {0}")]
    Broken(String),
}

/// A file for random access, open until it is dropped.
pub trait Disk {
    /// Its bytes.
    ///
    /// # Errors
    /// `Broken`.
    fn size(&self) -> Result<u64, CacheError>;

    /// Reads from position `at` on; returns how many bytes there were.
    ///
    /// # Errors
    /// `Broken`.
    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, CacheError>;

    /// Writes all of the bytes at a position, which may lie beyond the end.
    ///
    /// # Errors
    /// `Full`, also where only some of the bytes found room; `Busy` where the file can only be read; `Broken`.
    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), CacheError>;

    /// Cuts the file off, or fills it up with zeros.
    ///
    /// # Errors
    /// As [`Disk::write`].
    fn truncate(&self, size: u64) -> Result<(), CacheError>;

    /// Hands what is written to the operating system.
    ///
    /// # Errors
    /// `Broken`.
    fn flush(&self) -> Result<(), CacheError>;
}

/// A file in memory, for tests and for places without storage. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    /// What is in it.
    pub bytes: Rc<RefCell<Vec<u8>>>,
    /// How many more bytes it takes; `None` for no limit.
    pub room: Rc<RefCell<Option<u64>>>,
}

impl Disk for MemoryDisk {
    fn size(&self) -> Result<u64, CacheError> {
        Ok(self.bytes.borrow().len() as u64)
    }

    fn read(&self, at: u64, into: &mut [u8]) -> Result<usize, CacheError> {
        let bytes = self.bytes.borrow();
        let from = usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
        let count = into.len().min(bytes.len() - from);
        into[..count].copy_from_slice(&bytes[from..from + count]);
        Ok(count)
    }

    fn write(&self, at: u64, bytes: &[u8]) -> Result<(), CacheError> {
        let mut room = self.room.borrow_mut();
        let fits = room.map_or(bytes.len(), |room| bytes.len().min(room as usize));
        if let Some(room) = room.as_mut() {
            *room -= fits as u64;
        }
        let mut all = self.bytes.borrow_mut();
        let at = at as usize;
        if all.len() < at + fits {
            all.resize(at + fits, 0);
        }
        all[at..at + fits].copy_from_slice(&bytes[..fits]);
        if fits == bytes.len() { Ok(()) } else { Err(CacheError::Full) }
    }

    fn truncate(&self, size: u64) -> Result<(), CacheError> {
        self.bytes.borrow_mut().resize(size as usize, 0);
        Ok(())
    }

    fn flush(&self) -> Result<(), CacheError> {
        Ok(())
    }
}
