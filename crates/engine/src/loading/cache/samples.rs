//! A server that gives its files neither ETag nor time of change: whether it still has what was read of them is found
//! out by reading some of it again. A file that was replaced by one of the same size, as any fine-tune of a model is,
//! has other values nearly everywhere.

use super::model_cache::ModelCache;
use super::{CacheStore, ChunkLog, Extent, Identity};
use crate::loading::source::{Attempt, Files, read_exactly};

/// Bytes that are compared at each place.
const SAMPLE: u64 = 256;

/// Whether nothing but its size tells this file from another.
pub(crate) fn has_no_marks(identity: &Identity) -> bool {
    identity.etag.is_none() && identity.sha256.is_none() && identity.commit.is_none()
}

/// Whether the server proves to have another file than that of this header and these chunks. What cannot be read
/// proves nothing.
pub(crate) async fn differs<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    name: &str,
    head: &[u8],
    mut log: Option<&mut ChunkLog<K::Disk>>,
) -> bool {
    let mut known = vec![(0, head.to_vec())];
    let all: Vec<Extent> = log.as_ref().map(|log| log.extents_by_age()).unwrap_or_default();
    let beyond: Vec<Extent> = all.into_iter().filter(|extent| extent.begin >= head.len() as u64).collect();
    // The oldest and the newest: a file that was replaced between them differs from the one or the other.
    let places = [beyond.first(), beyond.get(beyond.len() / 2), beyond.last()];
    for &extent in places.into_iter().flatten() {
        let mut bytes = Vec::new();
        if let Some(log) = &mut log
            && matches!(log.read(extent, &mut bytes), Ok(true))
        {
            let middle = bytes.len() / 2;
            let end = bytes.len().min(middle + SAMPLE as usize);
            known.push((extent.begin + middle as u64, bytes[middle..end].to_vec()));
        }
    }
    known.dedup();
    for (begin, bytes) in known {
        if matches!(read_again(cache, name, begin, bytes.len()).await, Ok(Some(found)) if found != bytes) {
            return true;
        }
    }
    false
}

/// Bytes of a file as the server has them now; `None` where it sends no parts, or fewer.
async fn read_again<F: Files, K: CacheStore>(
    cache: &ModelCache<F, K>,
    name: &str,
    begin: u64,
    count: usize,
) -> Attempt<Option<Vec<u8>>> {
    let Some(mut answer) = cache.files.ask(name, Some(begin..begin + count as u64)).await? else { return Ok(None) };
    if answer.begin != begin {
        return Ok(None);
    }
    let bytes = read_exactly(&mut answer, &mut Vec::new(), count).await?;
    Ok((bytes.len() == count).then_some(bytes))
}
