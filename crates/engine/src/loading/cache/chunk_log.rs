//! The chunks of one weights file: a data file to which they are appended as they come, and a journal that says
//! which bytes of the weights file each of them is.
//!
//! Journal: 24 bytes of head (magic, version, hash of the identity), then records of 40 bytes (begin, length, place
//! in the data, hash of the bytes, hash of the record), all little-endian; hashes are XXH64.

use std::collections::BTreeMap;
use std::hash::Hasher;

use twox_hash::XxHash64;

use super::{CacheError, Disk, Identity};

const MAGIC: &[u8; 8] = b"rs-piece";
const VERSION: u64 = 1;
const HEADER: u64 = 24;
const RECORD: usize = 40;
/// A record whose length is this takes the extent at its begin back.
const FORGOTTEN: u64 = u64::MAX;

/// Bytes of the weights file that are cached as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Extent {
    /// Its first byte's place in the weights file.
    pub begin: u64,
    /// The place after its last byte.
    pub end: u64,
}

/// A chunk that is being written.
pub struct PendingChunk {
    begin: u64,
    length: u64,
    place: u64,
    written: u64,
    hash: XxHash64,
}

#[derive(Clone, Copy, Debug)]
struct Record {
    begin: u64,
    length: u64,
    place: u64,
    hash: u64,
}

/// The chunks of one weights file.
pub struct ChunkLog<D: Disk> {
    data: D,
    journal: D,
    /// By their first byte in the weights file.
    records: BTreeMap<u64, Record>,
    journal_end: u64,
    /// Where the next chunk goes.
    data_end: u64,
    stale: bool,
}

impl<D: Disk> ChunkLog<D> {
    /// Opens the two files. Pieces of another identity, and whatever else cannot be believed, are removed.
    ///
    /// # Errors
    /// Those of the disks; never because of what is in them.
    pub fn open(data: D, journal: D, identity: &Identity) -> Result<ChunkLog<D>, CacheError> {
        let head = head(identity);
        let size = journal.size()?;
        let mut bytes = vec![0; usize::try_from(size.min(64 << 20)).unwrap_or(0)];
        let read = journal.read(0, &mut bytes)?;
        bytes.truncate(read);
        let (records, journal_end, stale) = if bytes.starts_with(&head) {
            let data_size = data.size()?;
            let (records, end) = replay(&bytes, data_size);
            (records, end, false)
        } else {
            let stale = !bytes.is_empty();
            data.truncate(0)?;
            journal.truncate(0)?;
            journal.write(0, &head)?;
            (BTreeMap::new(), HEADER, stale)
        };
        let data_end = data.size()?;
        Ok(ChunkLog { data, journal, records, journal_end, data_end, stale })
    }

    /// Whether chunks of another identity were found, and removed.
    pub fn was_stale(&self) -> bool {
        self.stale
    }

    /// What is cached, lowest first, without overlaps.
    pub fn extents(&self) -> Vec<Extent> {
        self.records.values().map(|record| Extent { begin: record.begin, end: record.begin + record.length }).collect()
    }

    /// What is cached, in the order in which it came.
    pub fn extents_by_age(&self) -> Vec<Extent> {
        let mut records: Vec<&Record> = self.records.values().collect();
        records.sort_by_key(|record| record.place);
        records.into_iter().map(|record| Extent { begin: record.begin, end: record.begin + record.length }).collect()
    }

    /// Bytes that are cached.
    pub fn bytes_cached(&self) -> u64 {
        self.records.values().map(|record| record.length).sum()
    }

    /// Reads an extent; false where its bytes are not what they were, and it is forgotten.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read(&mut self, extent: Extent, into: &mut Vec<u8>) -> Result<bool, CacheError> {
        let Some(&record) = self.records.get(&extent.begin).filter(|r| r.begin + r.length == extent.end) else {
            return Ok(false);
        };
        // Every byte is written over; what a shorter read leaves fails the checksum.
        into.resize(record.length as usize, 0);
        let read = self.data.read(record.place, into)?;
        if read == into.len() && XxHash64::oneshot(0, into) == record.hash {
            return Ok(true);
        }
        self.forget(extent)?;
        Ok(false)
    }

    /// Begins a chunk of this length.
    ///
    /// # Errors
    /// None so far; the disk's own in [`ChunkLog::write`].
    pub fn begin(&mut self, begin: u64, length: u64) -> Result<PendingChunk, CacheError> {
        let place = self.data_end;
        self.data_end += length;
        Ok(PendingChunk { begin, length, place, written: 0, hash: XxHash64::with_seed(0) })
    }

    /// Writes the next bytes of a chunk; those beyond its length are left out.
    ///
    /// # Errors
    /// Those of the disk. The chunk is lost then.
    pub fn write(&mut self, writing: &mut PendingChunk, bytes: &[u8]) -> Result<(), CacheError> {
        let room = usize::try_from(writing.length - writing.written).unwrap_or(usize::MAX);
        let bytes = &bytes[..bytes.len().min(room)];
        self.data.write(writing.place + writing.written, bytes)?;
        writing.hash.write(bytes);
        writing.written += bytes.len() as u64;
        Ok(())
    }

    /// Records a chunk, or as much of it as was written. One that overlaps with what is cached is left out.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn finish(&mut self, writing: PendingChunk) -> Result<(), CacheError> {
        let (begin, length) = (writing.begin, writing.written);
        if length == 0 || overlaps(&self.records, begin, length) {
            return Ok(());
        }
        let record = Record { begin, length, place: writing.place, hash: writing.hash.finish() };
        self.append(&record)?;
        self.records.insert(begin, record);
        Ok(())
    }

    /// Forgets every extent that touches a run of bytes.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn forget(&mut self, run: Extent) -> Result<(), CacheError> {
        let touched: Vec<Record> =
            self.records.values().filter(|r| r.begin < run.end && run.begin < r.begin + r.length).copied().collect();
        for record in touched {
            self.records.remove(&record.begin);
            self.append(&Record { length: FORGOTTEN, ..record })?;
        }
        Ok(())
    }

    /// Hands what is written to the operating system.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn flush(&mut self) -> Result<(), CacheError> {
        self.data.flush()?;
        self.journal.flush()
    }

    fn append(&mut self, record: &Record) -> Result<(), CacheError> {
        self.journal.write(self.journal_end, &encode(record))?;
        self.journal_end += RECORD as u64;
        Ok(())
    }
}

fn head(identity: &Identity) -> Vec<u8> {
    let mut hash = XxHash64::with_seed(VERSION);
    let mut text = |part: &str| {
        hash.write(&(part.len() as u64).to_le_bytes());
        hash.write(part.as_bytes());
    };
    text(&identity.address);
    // A hash is the strongest mark: where there is one, an ETag or a commit more or less means nothing.
    match &identity.sha256 {
        Some(sha256) => text(sha256),
        None => {
            text(identity.commit.as_deref().unwrap_or_default());
            text(identity.etag.as_deref().unwrap_or_default());
        }
    }
    text(&identity.size.unwrap_or(0).to_string());
    let mut head = MAGIC.to_vec();
    head.extend(VERSION.to_le_bytes());
    head.extend(hash.finish().to_le_bytes());
    head
}

fn encode(record: &Record) -> [u8; RECORD] {
    let mut bytes = [0; RECORD];
    for (place, value) in [record.begin, record.length, record.place, record.hash].into_iter().enumerate() {
        bytes[8 * place..8 * place + 8].copy_from_slice(&value.to_le_bytes());
    }
    let sum = XxHash64::oneshot(VERSION, &bytes[..32]);
    bytes[32..].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8]) -> Option<Record> {
    let number = |place: usize| Some(u64::from_le_bytes(bytes.get(8 * place..8 * place + 8)?.try_into().ok()?));
    (number(4)? == XxHash64::oneshot(VERSION, bytes.get(..32)?)).then_some(())?;
    Some(Record { begin: number(0)?, length: number(1)?, place: number(2)?, hash: number(3)? })
}

/// The records that can be believed, and the end of the last. A damaged one is skipped: each stands for itself.
fn replay(journal: &[u8], data_size: u64) -> (BTreeMap<u64, Record>, u64) {
    let mut records = BTreeMap::new();
    let rest = journal.get(HEADER as usize..).unwrap_or_default();
    for record in rest.chunks_exact(RECORD).filter_map(decode) {
        if record.length == FORGOTTEN {
            records.remove(&record.begin);
            continue;
        }
        let within = record.place.checked_add(record.length).is_some_and(|end| end <= data_size);
        let sane = record.length > 0 && record.begin.checked_add(record.length).is_some();
        if within && sane {
            // The later record is right: chunks are never cached twice, unless the earlier one's bytes were lost.
            let end = record.begin + record.length;
            records.retain(|_, earlier: &mut Record| {
                earlier.begin >= end || earlier.begin + earlier.length <= record.begin
            });
            records.insert(record.begin, record);
        }
    }
    // A record that was torn is written over.
    (records, HEADER + (rest.len() / RECORD * RECORD) as u64)
}

fn overlaps(records: &BTreeMap<u64, Record>, begin: u64, length: u64) -> bool {
    let end = begin.saturating_add(length);
    records.range(..end).next_back().is_some_and(|(_, record)| record.begin + record.length > begin)
}
