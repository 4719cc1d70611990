//! Loading from servers as they are, and from a shelf: the right tensors come out, or the right error; no byte is
//! fetched twice, and none that is not wanted.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::RefCell;

use engine::loading::LoadEvent;
use engine::loading::source::Version;
use engine::run::run_control::NoControl;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error};
use protocol::NoticeKind;
use sha2::{Digest, Sha256};
use support::memory::{
    Entry, Fault, Memory, MemoryShelf, entries, opened, opened_with, others_turn, safetensors, together,
};
use trace::Sequence;

/// Large enough for pieces: 12 MB, most of it the table of tokens.
const LARGE: &str =
    r#"{"model_type":"gpt2","vocab_size":40000,"n_positions":64,"n_embd":64,"n_layer":3,"n_head":2,"n_inner":1500}"#;
const SMALL: &str =
    r#"{"model_type":"gpt2","vocab_size":50,"n_positions":16,"n_embd":8,"n_layer":2,"n_head":2,"n_inner":8}"#;
static PLAIN: RunOptions = RunOptions::new(false, 0, false);
static ALL: RunOptions = RunOptions::new(true, 1, true);
const IDS: [u32; 5] = [3, 1, 41, 5, 9];

/// As the hub's GPT-2 has them: in alphabetical order, with mask buffers.
fn model(config: &str) -> Memory {
    let mut list = entries(config);
    for layer in 0..list.iter().filter(|entry| entry.name.ends_with("ln_1.bias")).count() {
        let name = format!("h.{layer}.attn.bias");
        list.push(Entry { name, dtype: "F32", shape: vec![1, 1, 64, 64], bytes: vec![9; 64 * 64 * 4] });
    }
    list.sort_by(|a, b| a.name.cmp(&b.name));
    Memory::model(config, safetensors(&list))
}

fn large() -> Memory {
    model(LARGE)
}

/// With the hub's word on the whole file.
fn vouched(files: Memory) -> Memory {
    let bytes = &files.files["model.safetensors"];
    let sha256 = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    let version = Version {
        commit: Some("c1".into()),
        files: vec![("model.safetensors".into(), sha256, bytes.len() as u64)],
        ..Version::default()
    };
    Memory { version, ..files }
}

/// Loads, with a run that waits from the beginning.
fn trace_with(
    files: Memory,
    shelf: &MemoryShelf,
    options: &RunOptions,
    report: &impl Fn(LoadEvent),
) -> Result<Vec<Sequence>, Error> {
    let loading = pollster::block_on(opened_with(files, shelf, report))?;
    let parts = loading.model.clone();
    let start = vec![from_ids(None, IDS.to_vec())];
    let (ran, loaded) = together(run(&parts, None, start, options, &NoControl, |_| {}), loading.finish(report));
    loaded.and(ran)
}

fn trace(files: Memory) -> Result<Vec<Sequence>, Error> {
    trace_with(files, &MemoryShelf::default(), &ALL, &|_| {})
}

fn sent(files: &Memory) -> u64 {
    files.sent.borrow().iter().map(|(_, range)| range.end - range.start).sum()
}

/// Bytes of the weights that were sent more than once.
fn twice(files: &Memory) -> u64 {
    let mut seen = engine::loading::plan::byte_ranges::ByteRanges::default();
    files.sent.borrow().iter().map(|(_, range)| range.end - range.start - seen.add(range.clone())).sum()
}

#[test]
fn passing_faults_end_in_the_right_trace() {
    let nan = f32::NAN.to_le_bytes().to_vec();
    let end = large().files["model.safetensors"].len();
    for base in
        [large as fn() -> Memory, || model(SMALL), || vouched(model(SMALL)), || Memory { ranges: false, ..large() }]
    {
        let expected = trace(base()).unwrap();
        let size = base().files["model.safetensors"].len();
        // The first two answers are the header's; the others are pieces.
        for skip in 0..5 {
            let before = std::iter::repeat_n(Fault::Drop(usize::MAX >> 1), 0);
            for fault in [
                Fault::Down,
                Fault::Wait(1000.0),
                Fault::Drop(0),
                Fault::Drop(3),
                Fault::Drop(1001),
                Fault::Short(0),
                Fault::Short(999),
                Fault::Damage(size - 16, nan.clone()),
                Fault::Damage(size - size / 8 * 4, nan.clone()),
            ] {
                let script = before.clone().chain(std::iter::repeat_n(Fault::Etag("one"), skip)).chain([fault.clone()]);
                let files = base().failing(script);
                let found = trace(files).unwrap_or_else(|error| {
                    panic!("download.rs: {fault:?} at answer {skip} of {size} bytes (of {end}): {error}")
                });
                assert_eq!(found, expected, "download.rs: another trace after {fault:?} at answer {skip}");
            }
        }
    }
}

#[test]
fn lasting_faults_end_in_the_right_error() {
    let nan = f32::NAN.to_le_bytes().to_vec();
    for base in [large as fn() -> Memory, || vouched(model(SMALL)), || Memory { ranges: false, ..large() }] {
        let size = base().files["model.safetensors"].len();
        for (fault, code, word) in [
            (Fault::Down, Code::Network, "told to fail"),
            (Fault::Refused, Code::Network, "told to fail"),
            (Fault::Wait(1.0), Code::RateLimited, "told to wait"),
            (Fault::Wait(3.6e6), Code::RateLimited, "told to wait"),
            (Fault::Drop(0), Code::Network, "told to break"),
            (Fault::Short(0), Code::CorruptDownload, "model.safetensors"),
            (Fault::Damage(size - 16, nan.clone()), Code::CorruptDownload, "wte.weight"),
        ] {
            for skip in [0, 2] {
                // A server that knows no ranges answers once.
                if !base().ranges && skip > 0 {
                    continue;
                }
                let files = Memory { always: Some(fault.clone()), ..base() };
                let files = files.failing(std::iter::repeat_n(Fault::Etag("one"), skip));
                let Err(error) = trace(files) else { panic!("download.rs: {fault:?} for ever, and a trace") };
                assert_eq!(error.code, code, "download.rs: {fault:?} for ever from answer {skip}: {}", error.message);
                assert!(error.message.contains(word), "download.rs: {}", error.message);
            }
        }
    }
}

#[test]
fn a_value_that_is_no_number_is_named_with_its_place() {
    let files = large();
    let at = files.files["model.safetensors"].len() - 400;
    let files = Memory { always: Some(Fault::Damage(at, f32::INFINITY.to_le_bytes().to_vec())), ..files };
    let shelf = MemoryShelf::default();
    let error = trace_with(files, &shelf, &ALL, &|_| {}).unwrap_err();
    assert_eq!(error.code, Code::CorruptDownload);
    let after = trace_with(large(), &shelf, &ALL, &|_| {}).unwrap();
    assert_eq!(after, trace(large()).unwrap(), "loader.rs: damaged bytes were kept for the next visit");
    for part in ["wte.weight", &at.to_string(), "model.safetensors"] {
        assert!(error.message.contains(part), "error.rs, Damaged: no {part} in {}", error.message);
    }
}

#[test]
fn a_file_that_is_not_what_its_hub_says_is_refused() {
    // Another byte, and still a number: only the hash can tell.
    let flip = |files: &Memory, at: usize| vec![files.files["model.safetensors"][at] ^ 1];
    for base in [|| vouched(model(SMALL)), || Memory { ranges: false, ..vouched(large()) }] {
        let at = base().files["model.safetensors"].len() - 100;
        let files = base();
        let files = Memory { always: Some(Fault::Damage(at, flip(&files, at))), ..files };
        let error = trace(files).unwrap_err();
        assert_eq!(error.code, Code::CorruptDownload, "download.rs: {}", error.message);
        assert!(error.message.contains("SHA-256"), "{}", error.message);
    }
    // Once, before anybody waits for it: it is read again.
    let files = vouched(model(SMALL));
    let at = files.files["model.safetensors"].len() - 100;
    let once = [Fault::Etag("one"), Fault::Etag("one"), Fault::Damage(at, flip(&files, at))];
    files.failing(once).load().expect("download.rs: a small file is read again before it is given up");
}

#[test]
fn a_file_that_changes_while_it_is_read_is_not_mixed() {
    for skip in 1..4 {
        let script = std::iter::repeat_n(Fault::Etag("one"), skip).chain([Fault::Etag("two")]);
        let files = Memory { always: Some(Fault::Etag("two")), ..large() }.failing(script);
        match trace(files) {
            Ok(found) => assert_eq!(found, trace(large()).unwrap()),
            Err(error) => assert_eq!(error.code, Code::CorruptDownload, "download.rs: {}", error.message),
        }
    }
}

#[test]
fn no_byte_comes_twice_and_no_mask_at_all() {
    for (parallel_text, options) in [(true, &ALL), (false, &PLAIN)] {
        let files = large();
        let wanted: u64 = entries(LARGE).iter().map(|entry| entry.bytes.len() as u64).sum();
        let header = u64::from_le_bytes(files.files["model.safetensors"][..8].try_into().unwrap()) + 8;
        trace_with(files.clone(), &MemoryShelf::default(), options, &|_| {}).unwrap();
        assert_eq!(twice(&files), 0, "plan.rs: bytes were fetched twice (text waiting: {parallel_text})");
        assert_eq!(sent(&files), wanted + header, "plan.rs: other bytes than those that are wanted");
    }
}

#[test]
fn without_predictions_the_rest_of_the_table_stays_where_it_is() {
    let files = large();
    let loading = pollster::block_on(opened(files.clone())).unwrap();
    let parts = loading.model.clone();
    let start = vec![from_ids(None, IDS.to_vec())];
    let running = run(&parts, None, start, &PLAIN, &NoControl, |_| {});
    // The loader goes on waiting for wishes; the run does not.
    let ran = pollster::block_on(async {
        match futures_util::future::select(std::pin::pin!(running), std::pin::pin!(loading.serve(&|_| {}))).await {
            futures_util::future::Either::Left((ran, _)) => ran,
            futures_util::future::Either::Right((served, _)) => panic!("loader.rs: serving ended: {served:?}"),
        }
    });
    let expected = trace_with(large(), &MemoryShelf::default(), &PLAIN, &|_| {}).unwrap();
    assert_eq!(ran.unwrap(), expected);
    let table = 40_000 * 64 * 4;
    let all = files.files["model.safetensors"].len() as u64;
    assert!(sent(&files) < all - table * 9 / 10, "plan.rs: {} of {all} bytes for a text of five tokens", sent(&files));
    let blocks = files.requests.borrow().iter().filter_map(|(_, range)| range.clone()).collect::<Vec<_>>();
    assert!(blocks[2].end - blocks[2].start < 20_000, "loader.rs: the text's rows come first, not {:?}", blocks[2]);
}

#[test]
fn the_first_point_is_shown_before_the_second_block_is_asked_for() {
    let files = Memory { slow: true, ..large() };
    let requests = files.requests.clone();
    let loading = pollster::block_on(opened(files.clone())).unwrap();
    let parts = loading.model.clone();
    let start = vec![from_ids(None, IDS.to_vec())];
    let (size, index) = (files.files["model.safetensors"].clone(), RefCell::new(Vec::new()));
    let at = |name: &str| size.windows(name.len()).position(|window| window == name.as_bytes()).is_some();
    assert!(at("h.1.ln_1.weight"));
    let seen = |partial: Vec<Sequence>| {
        let layers = partial[0].layer_count();
        index.borrow_mut().push((layers, requests.borrow().len()));
    };
    let (ran, loaded) = together(run(&parts, None, start, &ALL, &NoControl, seen), loading.finish(&|_| {}));
    loaded.unwrap();
    let shown = index.into_inner();
    assert_eq!(
        shown.iter().map(|(layers, _)| *layers).collect::<Vec<_>>(),
        [1, 2, 3],
        "run.rs: a partial trace per block"
    );
    assert_eq!(ran.unwrap(), trace(large()).unwrap());
    // Settings, three that are not there, the header's two, then rows of two tables and the first block.
    let before_first = requests.borrow()[..shown[0].1]
        .iter()
        .filter_map(|(_, range)| range.clone())
        .map(|r| r.end - r.start)
        .sum::<u64>();
    let block = entries(LARGE).iter().filter(|e| e.name.starts_with("h.0.")).map(|e| e.bytes.len() as u64).sum::<u64>();
    assert!(before_first < block + 200_000, "loader.rs: {before_first} bytes were asked for before the first point");
}

#[test]
fn a_text_that_comes_late_waits_for_its_own_rows_only() {
    let expected = trace(large()).unwrap();
    for turns in [0, 3, 10, 30, 60, 100, 150, 400] {
        let files = Memory { slow: true, ..large() };
        let loading = pollster::block_on(opened(files.clone())).unwrap();
        let parts = loading.model.clone();
        let late = async {
            for _ in 0..turns {
                others_turn().await;
            }
            run(&parts, None, vec![from_ids(None, IDS.to_vec())], &ALL, &NoControl, |_| {}).await
        };
        let (ran, loaded) = together(late, loading.finish(&|_| {}));
        loaded.unwrap();
        assert_eq!(ran.unwrap(), expected, "loader.rs: a text after {turns} turns");
        assert_eq!(twice(&files), 0, "loader.rs: rows were fetched twice for a text after {turns} turns");
    }
}

#[test]
fn a_second_visit_asks_for_no_weights() {
    let whole: fn() -> Memory = || Memory { ranges: false, ..large() };
    for base in [large as fn() -> Memory, || vouched(large()), || vouched(model(SMALL)), || model(SMALL), whole] {
        let shelf = MemoryShelf::default();
        let expected = trace_with(base(), &shelf, &ALL, &|_| {}).unwrap();
        assert!(
            shelf.inside().manifest.as_ref().is_some_and(|manifest| manifest.complete),
            "loader.rs: it is all there"
        );
        let files = base();
        let cached = RefCell::new(0.0);
        let note = |news| match news {
            LoadEvent::Progress(progress) => *cached.borrow_mut() = progress.cached,
            LoadEvent::Notice(notice) => panic!("a second visit has something to say: {notice:?}"),
        };
        assert_eq!(trace_with(files.clone(), &shelf, &ALL, &note).unwrap(), expected);
        assert_eq!(sent(&files), 0, "model_cache.rs: weights were fetched again");
        assert!(cached.into_inner() > 1000.0);
        // Nobody answers at all.
        let offline =
            Memory { files: Default::default(), version: Version { offline: true, ..Default::default() }, ..base() };
        if base().version.commit.is_some() {
            assert_eq!(trace_with(offline, &shelf, &ALL, &|_| {}).unwrap(), expected, "model_cache.rs: offline");
        }
    }
}

#[test]
fn an_interrupted_visit_is_taken_up_where_it_stopped() {
    let expected = trace(large()).unwrap();
    let wanted = sent(&{
        let files = large();
        trace(files.clone()).unwrap();
        files
    });
    for polls in [20, 60, 150, 400, 900] {
        let shelf = MemoryShelf::default();
        let files = Memory { slow: true, piece: 1 << 14, ..large() };
        {
            let loading = pollster::block_on(opened_with(files.clone(), &shelf, &|_| {})).unwrap();
            let mut serving = Box::pin(loading.finish(&|_| {}));
            let mut left = polls;
            pollster::block_on(std::future::poll_fn(|context| {
                left -= 1;
                match serving.as_mut().poll(context) {
                    std::task::Poll::Pending if left > 0 => std::task::Poll::Pending,
                    _ => std::task::Poll::Ready(()), // the tab is closed
                }
            }));
        }
        let first = sent(&files);
        let again = large();
        assert_eq!(trace_with(again.clone(), &shelf, &ALL, &|_| {}).unwrap(), expected, "after {polls} turns");
        // What four connections had not finished is lost: two megabytes each, at most.
        let both = first + sent(&again);
        assert!(both <= wanted + (4 << 21), "download.rs: {first} bytes, then {} of {wanted}", sent(&again));
    }
}

#[test]
fn a_tab_that_cannot_write_leaves_the_shelf_as_it_is() {
    let shelf = MemoryShelf::default();
    let expected = trace_with(large(), &shelf, &ALL, &|_| {}).unwrap();
    shelf.inside().busy = true;
    let before = shelf.inside().manifest.clone();
    assert_eq!(trace_with(large(), &shelf, &ALL, &|_| {}).unwrap(), expected);
    assert_eq!(shelf.inside().manifest, before, "model_cache.rs: a tab without pieces described another's");
    shelf.inside().busy = false;
    let files = large();
    trace_with(files.clone(), &shelf, &ALL, &|_| {}).unwrap();
    assert_eq!(sent(&files), 0);
}

#[test]
fn what_changed_on_the_server_is_read_afresh() {
    let mut list = entries(LARGE);
    list.iter_mut().filter(|entry| entry.name == "ln_f.weight").for_each(|entry| entry.bytes.fill(0x3f));
    let other = || Memory::model(LARGE, safetensors(&list));
    let shelf = MemoryShelf::default();
    trace_with(vouched(large()), &shelf, &ALL, &|_| {}).unwrap();
    let notices = RefCell::new(Vec::new());
    let note = |news| {
        if let LoadEvent::Notice(notice) = news {
            notices.borrow_mut().push(notice.kind);
        }
    };
    let changed = trace_with(vouched(other()), &shelf, &ALL, &note).unwrap();
    assert_eq!(changed, trace(other()).unwrap(), "model_cache.rs: a mixture of two versions");
    assert_eq!(notices.into_inner(), [NoticeKind::Changed]);
    // Without a hub's word, by size and ETag.
    let shelf = MemoryShelf::default();
    trace_with(large(), &shelf, &ALL, &|_| {}).unwrap();
    assert_eq!(trace_with(other(), &shelf, &ALL, &|_| {}).unwrap(), changed);
}

#[test]
fn a_damaged_shelf_costs_its_own_pieces_and_nothing_else() {
    let shelf = MemoryShelf::default();
    let expected = trace_with(large(), &shelf, &ALL, &|_| {}).unwrap();
    let disk = shelf.inside().disks["model.safetensors.data"].clone();
    let middle = disk.bytes.borrow().len() / 2;
    disk.bytes.borrow_mut()[middle] ^= 4;
    let files = large();
    assert_eq!(trace_with(files.clone(), &shelf, &ALL, &|_| {}).unwrap(), expected);
    let fetched = sent(&files);
    assert!((1..=2_200_000).contains(&fetched), "chunk_log.rs: {fetched} bytes were fetched for one damaged piece");
    let files = large();
    trace_with(files.clone(), &shelf, &ALL, &|_| {}).unwrap();
    assert_eq!(sent(&files), 0, "download.rs: what was fetched again was not kept");
}

#[test]
fn a_shelf_that_cannot_be_used_is_said_and_done_without() {
    let expected = trace(large()).unwrap();
    type Spoil = fn(&MemoryShelf);
    let cases: [(Spoil, NoticeKind); 3] = [
        (|shelf| shelf.inside().room = Some((10e6, 12e6)), NoticeKind::StorageFull),
        (|shelf| shelf.inside().busy = true, NoticeKind::StorageBusy),
        (
            |shelf| {
                let disk = engine::loading::cache::MemoryDisk::default();
                *disk.room.borrow_mut() = Some(3_000_000);
                shelf.inside().disks.insert("model.safetensors.data".into(), disk);
            },
            NoticeKind::StorageFull,
        ),
    ];
    for (spoil, kind) in cases {
        let shelf = MemoryShelf::default();
        spoil(&shelf);
        let notices = RefCell::new(Vec::new());
        let note = |news| {
            if let LoadEvent::Notice(notice) = news {
                notices.borrow_mut().push(notice.kind);
            }
        };
        assert_eq!(trace_with(large(), &shelf, &ALL, &note).unwrap(), expected, "{kind:?}");
        assert_eq!(notices.into_inner(), [kind], "loader.rs: what the reader is told, once");
        shelf.inside().busy = false;
        shelf.inside().room = None;
        assert_eq!(trace_with(large(), &shelf, &ALL, &|_| {}).unwrap(), expected, "{kind:?}, and a visit after it");
    }
}
