//! Pieces through crashes, full disks and flipped bits: never other bytes than those that were written.

use proptest::prelude::*;

use super::*;

fn identity(etag: &str) -> Identity {
    Identity { address: "a/b".into(), etag: Some(etag.into()), size: Some(1000), ..Identity::default() }
}

/// Byte `at` of the weights file.
fn byte(at: u64) -> u8 {
    (at.wrapping_mul(2_654_435_761) >> 13) as u8
}

fn bytes(begin: u64, end: u64) -> Vec<u8> {
    (begin..end).map(byte).collect()
}

fn keep(pieces: &mut ChunkLog<MemoryDisk>, begin: u64, end: u64) -> Result<(), CacheError> {
    let mut writing = pieces.begin(begin, end - begin)?;
    for piece in bytes(begin, end).chunks(7) {
        pieces.write(&mut writing, piece)?;
    }
    pieces.finish(writing)
}

/// Every extent reads as it was written, or as damaged.
fn check(pieces: &mut ChunkLog<MemoryDisk>) -> usize {
    let extents = pieces.extents();
    assert!(extents.windows(2).all(|pair| pair[0].end <= pair[1].begin), "chunk_log.rs: extents overlap: {extents:?}");
    let mut into = vec![9; 3];
    let intact = |extent: &Extent| {
        let read = pieces.read(*extent, &mut into).unwrap();
        assert!(!read || into == bytes(extent.begin, extent.end), "chunk_log.rs: other bytes for {extent:?}");
        read
    };
    extents.iter().map(intact).filter(|&read| read).count()
}

#[test]
fn what_is_kept_is_there_after_reopening_and_gone_for_another_identity() {
    let (data, journal) = (MemoryDisk::default(), MemoryDisk::default());
    let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    assert!(!pieces.was_stale());
    // Two chunks at a time, as two connections write them.
    let (mut a, mut b) = (pieces.begin(100, 50).unwrap(), pieces.begin(0, 30).unwrap());
    pieces.write(&mut a, &bytes(100, 120)).unwrap();
    pieces.write(&mut b, &bytes(0, 30)).unwrap();
    pieces.write(&mut a, &bytes(120, 150)).unwrap();
    pieces.finish(b).unwrap();
    pieces.finish(a).unwrap();
    keep(&mut pieces, 140, 160).unwrap(); // overlaps, and is left out

    let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    let extents = [Extent { begin: 0, end: 30 }, Extent { begin: 100, end: 150 }];
    assert_eq!(pieces.extents(), extents);
    assert_eq!((check(&mut pieces), pieces.bytes_cached()), (2, 80));
    pieces.forget(Extent { begin: 20, end: 40 }).unwrap();
    let pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    assert_eq!(pieces.extents(), extents[1..], "chunk_log.rs: what was forgotten came back");

    let pieces = ChunkLog::open(data.clone(), journal, &identity("two")).unwrap();
    assert!(pieces.was_stale() && pieces.extents().is_empty());
    assert_eq!(data.size().unwrap(), 0, "chunk_log.rs: stale bytes take room");
}

#[test]
fn a_full_disk_says_so_and_keeps_what_it_had() {
    let (data, journal) = (MemoryDisk::default(), MemoryDisk::default());
    let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    keep(&mut pieces, 0, 40).unwrap();
    *data.room.borrow_mut() = Some(10);
    assert_eq!(keep(&mut pieces, 40, 80), Err(CacheError::Full));
    let mut pieces = ChunkLog::open(data, journal, &identity("one")).unwrap();
    assert_eq!((pieces.extents().len(), check(&mut pieces)), (1, 1));
}

#[test]
fn pieces_whose_bytes_were_lost_stay_lost_and_are_mended_once() {
    let (data, journal) = (MemoryDisk::default(), MemoryDisk::default());
    let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    for begin in [0, 50, 100] {
        keep(&mut pieces, begin, begin + 40).unwrap();
    }
    data.truncate(60).unwrap();
    let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    assert_eq!(pieces.extents(), [Extent { begin: 0, end: 40 }]);
    // The data grows again, over the places that the lost records name.
    for begin in [50, 100] {
        keep(&mut pieces, begin, begin + 40).unwrap();
    }
    let mut pieces = ChunkLog::open(data, journal, &identity("one")).unwrap();
    assert_eq!((pieces.extents().len(), check(&mut pieces)), (3, 3), "chunk_log.rs: a lost piece hides its successor");
}

#[test]
fn a_journal_torn_anywhere_gives_no_wrong_bytes() {
    let (data, journal) = (MemoryDisk::default(), MemoryDisk::default());
    let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
    for begin in [0, 50, 100] {
        keep(&mut pieces, begin, begin + 40).unwrap();
    }
    let whole = journal.bytes.borrow().clone();
    for length in 0..=whole.len() {
        let torn = MemoryDisk::default();
        torn.write(0, &whole[..length]).unwrap();
        let copy = MemoryDisk::default();
        copy.write(0, &data.bytes.borrow()).unwrap();
        let mut pieces = ChunkLog::open(copy.clone(), torn.clone(), &identity("one")).unwrap();
        let there = check(&mut pieces);
        assert_eq!(there, length.saturating_sub(24) / 40, "chunk_log.rs: a journal of {length} bytes");
        // It goes on from there.
        keep(&mut pieces, 500, 520).unwrap();
        let mut pieces = ChunkLog::open(copy, torn, &identity("one")).unwrap();
        assert_eq!(check(&mut pieces), there + 1, "chunk_log.rs: after a journal of {length} bytes");
    }
}

proptest! {
    #[test]
    fn a_flipped_bit_damages_its_own_piece_at_most(at in any::<prop::sample::Index>(), bit in 0u8..8, in_journal in any::<bool>()) {
        let (data, journal) = (MemoryDisk::default(), MemoryDisk::default());
        let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
        for begin in [0, 50, 100, 150] {
            keep(&mut pieces, begin, begin + 40).unwrap();
        }
        {
            let disk = if in_journal { &journal } else { &data };
            let mut bytes = disk.bytes.borrow_mut();
            let place = at.index(bytes.len());
            bytes[place] ^= 1 << bit;
        }
        let mut pieces = ChunkLog::open(data, journal, &identity("one")).unwrap();
        let intact = check(&mut pieces);
        prop_assert!(intact == 3 || (in_journal && intact == 0), "chunk_log.rs: {intact} of 4 pieces left");
        prop_assert_eq!(check(&mut pieces), intact, "chunk_log.rs: a damaged piece was not forgotten");
    }

    #[test]
    fn any_history_gives_only_bytes_that_were_written(
        steps in proptest::collection::vec((0u8..5, 0u64..200, 1u64..60, 0usize..80), 1..40),
        room in proptest::option::of(0u64..2000),
    ) {
        let (data, journal) = (MemoryDisk::default(), MemoryDisk::default());
        *data.room.borrow_mut() = room;
        let mut pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
        let mut under_way: Vec<(PendingChunk, u64, u64)> = Vec::new();
        for (step, begin, length, pick) in steps {
            match step {
                0 | 1 => under_way.push((pieces.begin(begin, length).unwrap(), begin, begin + length)),
                2 if !under_way.is_empty() => {
                    let number = pick % under_way.len();
                    let (writing, at, end) = &mut under_way[number];
                    let to = (*at + 11).min(*end);
                    if pieces.write(writing, &bytes(*at, to)).is_ok() { *at = to; } else { under_way.remove(number); }
                }
                3 if !under_way.is_empty() => {
                    let (writing, ..) = under_way.remove(pick % under_way.len());
                    let _ = pieces.finish(writing);
                }
                _ => {
                    // The tab is closed in the middle of it all.
                    under_way.clear();
                    pieces = ChunkLog::open(data.clone(), journal.clone(), &identity("one")).unwrap();
                }
            }
        }
        let extents = pieces.extents().len();
        prop_assert_eq!(check(&mut pieces), extents, "chunk_log.rs: a piece that was written whole reads as damaged");
    }
}
