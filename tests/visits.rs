//! What later visits find: small files are kept once they were read, what is kept is removed on proof alone, and a
//! server that fails, limits or answers with web pages costs nobody a model.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::RefCell;

use engine::loading::LoadEvent;
use engine::loading::source::Version;
use engine::run::run_control::NoControl;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error};
use protocol::NoticeKind;
use support::memory::{Fault, Memory, MemoryShelf, entries, opened_with, safetensors, together};
use trace::Sequence;

const CONFIG: &str =
    r#"{"model_type":"gpt2","vocab_size":50,"n_positions":16,"n_embd":8,"n_layer":2,"n_head":2,"n_inner":8}"#;
/// Of the same shapes, and another model.
const OTHER: &str = r#"{"model_type":"gpt2","vocab_size":50,"n_positions":16,"n_embd":8,"n_layer":2,"n_head":2,"n_inner":8,"layer_norm_epsilon":0.5}"#;
/// Large enough for several pieces.
const LARGE: &str =
    r#"{"model_type":"gpt2","vocab_size":40000,"n_positions":64,"n_embd":64,"n_layer":3,"n_head":2,"n_inner":1500}"#;
const PAGE: &[u8] = b"<!doctype html>\n<title>Back soon</title>";
const VOCAB: &str = r#"{"a":0,"b":1,"ab":2,"\u0120":3}"#;
const MERGES: &str = "#version: 0.2\na b\n";
static ALL: RunOptions = RunOptions::new(false, 1, true);

fn folder() -> Memory {
    Memory::model(CONFIG, safetensors(&entries(CONFIG)))
}

fn with_tokenizer() -> Memory {
    folder().with("vocab.json", VOCAB).with("merges.txt", MERGES)
}

/// From a hub that tells its commit.
fn of_commit(files: Memory, commit: &str) -> Memory {
    Memory { version: Version { commit: Some(commit.into()), ..Version::default() }, ..files }
}

/// From a hub that fails.
fn refusing(files: Memory) -> Memory {
    Memory { version: Version { refused: true, ..Version::default() }, ..files }
}

fn offline() -> Memory {
    Memory { version: Version { offline: true, ..Version::default() }, ..Memory::default() }
}

/// What a visit ends in, whether text can be split, and what it remarks.
type Visited = (Result<Vec<Sequence>, Error>, Option<bool>, Vec<NoticeKind>);

fn visit(files: Memory, shelf: &MemoryShelf) -> Visited {
    let kinds = RefCell::new(Vec::new());
    let note = |news| {
        if let LoadEvent::Notice(notice) = news {
            kinds.borrow_mut().push(notice.kind);
        }
    };
    let loading = match pollster::block_on(opened_with(files, shelf, &note)) {
        Ok(loading) => loading,
        Err(error) => return (Err(error), None, kinds.take()),
    };
    let has_tokenizer = loading.tokenizer.is_some();
    let model = loading.model.clone();
    let texts = vec![from_ids(None, vec![3, 1, 41, 5])];
    let (ran, loaded) = together(run(&model, None, texts, &ALL, &NoControl, |_| {}), loading.finish(&note));
    drop(loading);
    (loaded.and(ran), Some(has_tokenizer), kinds.take())
}

fn traced(files: Memory) -> Vec<Sequence> {
    visit(files, &MemoryShelf::default()).0.expect("a trace")
}

fn error_of(files: Memory, shelf: &MemoryShelf) -> Error {
    visit(files, shelf).0.expect_err("no trace")
}

fn sent(files: &Memory) -> u64 {
    files.sent.borrow().iter().map(|(_, range)| range.end - range.start).sum()
}

#[test]
fn what_cannot_be_read_is_not_kept() {
    for name in ["config.json", "tokenizer.json", "vocab.json", "merges.txt"] {
        let good = || of_commit(with_tokenizer(), "c1");
        let shelf = MemoryShelf::default();
        let bad = good().with(name, &b"not what it should be"[..]);
        error_of(Memory { page: None, ..bad.clone() }, &shelf);
        assert!(shelf.inside().small.is_empty(), "model_cache.rs: {name} was kept though it cannot be read");
        // Once it is whole, a bad answer of the same commit does not reach the shelf either.
        visit(good(), &shelf).0.unwrap();
        let kept = shelf.inside().small.clone();
        assert_eq!(kept.len(), 3, "model_cache.rs: what was read is kept: {:?}", kept.keys());
        // What is kept is not asked for; the one that is not kept may be there, for all that is known.
        assert_eq!(visit(bad, &shelf).0.is_err(), name == "tokenizer.json");
        visit(refusing(folder().with(name, PAGE)), &shelf).0.unwrap();
        assert_eq!(
            shelf.inside().small,
            kept,
            "model_cache.rs: {name} of a failing hub was written over what was kept"
        );
        assert_eq!(visit(offline(), &shelf).0.unwrap(), traced(good()), "model_cache.rs: offline, after a bad {name}");
    }
}

#[test]
fn another_model_s_settings_do_not_reach_a_complete_folder() {
    let shelf = MemoryShelf::default();
    let expected = visit(of_commit(folder(), "c1"), &shelf).0.unwrap();
    let other = || refusing(folder().with("config.json", OTHER));
    assert_ne!(traced(other()), expected, "the settings were to make a difference");
    let (found, _, kinds) = visit(other(), &shelf);
    assert_eq!(found.unwrap(), expected, "model_cache.rs: settings of no known commit beside the kept weights");
    assert_eq!(kinds, [NoticeKind::Unchecked]);
    for files in [of_commit(folder(), "c1"), offline()] {
        assert_eq!(visit(files, &shelf).0.unwrap(), expected, "model_cache.rs: afterwards");
    }
}

#[test]
fn a_store_that_was_spoilt_heals() {
    for (name, content) in [("config.json", PAGE), ("config.json", b"{}"), ("vocab.json", PAGE), ("merges.txt", b"a")] {
        let good = || of_commit(with_tokenizer(), "c1");
        let shelf = MemoryShelf::default();
        let expected = visit(good(), &shelf).0.unwrap();
        shelf.inside().small.insert(name.into(), content.to_vec());
        let error = error_of(offline(), &shelf);
        assert!(error.message.contains("keeps"), "model_cache.rs: offline, {name} is spoilt: {}", error.message);
        let files = good();
        assert_eq!(visit(files.clone(), &shelf).0.unwrap(), expected, "model_cache.rs: {name} was spoilt");
        assert_eq!(sent(&files), 0, "model_cache.rs: weights were fetched again for {name}");
        assert_eq!(visit(offline(), &shelf).0.unwrap(), expected, "model_cache.rs: {name} did not heal");
    }
    // A hub that lists its files tells a kept file of another length from its own.
    let shelf = MemoryShelf::default();
    let listed = || {
        let files = of_commit(folder(), "c1");
        let sizes = vec![("config.json".to_string(), CONFIG.len() as u64), ("model.safetensors".into(), 1)];
        Memory { version: Version { sizes, ..files.version.clone() }, ..files }
    };
    let expected = visit(listed(), &shelf).0.unwrap();
    shelf.inside().small.insert("config.json".into(), OTHER.into());
    assert_eq!(
        visit(listed(), &shelf).0.unwrap(),
        expected,
        "model_cache.rs: settings of another length were believed"
    );
    assert_eq!(shelf.inside().small["config.json"], CONFIG.as_bytes());
}

#[test]
fn a_damaged_copy_is_named_where_nobody_answers() {
    for name in ["config.json", "vocab.json"] {
        let shelf = MemoryShelf::default();
        let good = || of_commit(with_tokenizer(), "c1");
        let expected = visit(good(), &shelf).0.unwrap();
        shelf.inside().damaged.push(name.into());
        let error = error_of(offline(), &shelf);
        assert_eq!(error.code, Code::CorruptDownload, "{}", error.message);
        for part in [name, "damaged", "delete"] {
            assert!(error.message.contains(part), "model_cache.rs: no {part} in {}", error.message);
        }
        assert_eq!(visit(good(), &shelf).0.unwrap(), expected);
        assert_eq!(visit(offline(), &shelf).1, Some(true), "model_cache.rs: {name} was not kept anew");
    }
}

#[test]
fn only_proof_removes_what_is_kept() {
    for base in [folder as fn() -> Memory, || of_commit(folder(), "c1")] {
        let shelf = MemoryShelf::default();
        let expected = visit(base(), &shelf).0.unwrap();
        let silent = || Memory { tells: false, version: Version { refused: true, ..Version::default() }, ..base() };
        let limited = || Memory { always: Some(Fault::Wait(1000.0)), ..silent() };
        let down = || Memory { version: Version { offline: true, ..Version::default() }, ..base() };
        for (what, files) in [("no marks are told", silent()), ("weights are limited", limited()), ("offline", down())]
        {
            let (found, _, kinds) = visit(files.clone(), &shelf);
            assert_eq!(found.unwrap(), expected, "model_cache.rs: {what}");
            assert_eq!(sent(&files), 0, "model_cache.rs: {what}, and weights were fetched");
            let said: &[NoticeKind] = if what == "offline" { &[] } else { &[NoticeKind::Unchecked] };
            assert_eq!(kinds, said, "model_cache.rs: {what}");
        }
        // The settings come, the weights do not.
        let files = Memory { tells: false, always: Some(Fault::Wait(1000.0)), ..base() };
        assert_eq!(visit(files, &shelf).0.unwrap(), expected);
        let files = base();
        assert_eq!(visit(files.clone(), &shelf).0.unwrap(), expected);
        assert_eq!(sent(&files), 0, "model_cache.rs: what was kept was given up");
    }
}

#[test]
fn a_page_in_the_place_of_a_file_is_no_file() {
    let spa = |files: Memory| Memory { page: Some(PAGE.to_vec()), ..files };
    let shelf = MemoryShelf::default;
    let (found, has_tokenizer, _) = visit(spa(folder()), &shelf());
    assert_eq!((found.unwrap(), has_tokenizer), (traced(folder()), Some(false)), "model_cache.rs: ids only");
    let (found, has_tokenizer, _) = visit(spa(with_tokenizer()), &shelf());
    assert!(found.is_ok(), "{found:?}");
    assert_eq!(has_tokenizer, Some(true), "model_cache.rs: vocab.json is there, tokenizer.json is a page");
    // Shards: the whole file is a page, the index is not.
    let weights = safetensors(&entries(CONFIG));
    let map: serde_json::Map<_, _> =
        entries(CONFIG).into_iter().map(|entry| (entry.name, "model-00001-of-00001.safetensors".into())).collect();
    let sharded = folder()
        .without("model.safetensors")
        .with("model-00001-of-00001.safetensors", weights)
        .with("model.safetensors.index.json", serde_json::json!({ "weight_map": map }).to_string());
    assert_eq!(visit(spa(sharded), &shelf()).0.unwrap(), traced(folder()));
    for (missing, code) in [("config.json", Code::BadConfig), ("model.safetensors", Code::BadSafetensors)] {
        let error = error_of(spa(folder().without(missing)), &shelf());
        assert_eq!(error.code, code, "{}", error.message);
        assert!(error.message.contains("web page") && error.message.contains(missing), "{}", error.message);
    }
    // What is kept is not given up for a page either.
    let shelf = shelf();
    visit(spa(folder()), &shelf).0.unwrap();
    assert_eq!(shelf.inside().small.keys().collect::<Vec<_>>(), ["config.json"], "model_cache.rs: a page was kept");
}

#[test]
fn small_files_without_end_are_refused() {
    let huge = |bytes: usize| vec![b' '; bytes];
    for (name, bytes, code) in [
        ("config.json", 4_000_001, Code::BadConfig),
        ("tokenizer.json", 100_000_001, Code::BadTokenizer),
        ("merges.txt", 100_000_001, Code::BadTokenizer),
    ] {
        let error = error_of(with_tokenizer().with(name, huge(bytes)), &MemoryShelf::default());
        assert_eq!(error.code, code, "{}", error.message);
        assert!(error.message.contains(name) && error.message.contains(" MB"), "files.rs: {}", error.message);
    }
}

#[test]
fn a_replaced_file_without_marks_is_noticed_by_its_values() {
    let large = |seed: u8| {
        let mut list = entries(LARGE);
        list.iter_mut().flat_map(|entry| entry.bytes.iter_mut().step_by(4)).for_each(|byte| *byte ^= seed);
        Memory { marks: false, ..Memory::model(LARGE, safetensors(&list)) }
    };
    let shelf = MemoryShelf::default();
    let expected = visit(large(0), &shelf).0.unwrap();
    let files = large(0);
    let (found, _, kinds) = visit(files.clone(), &shelf);
    assert_eq!((found.unwrap(), kinds), (expected.clone(), vec![NoticeKind::Unchecked]));
    let length = u64::from_le_bytes(files.files["model.safetensors"][..8].try_into().unwrap());
    assert!(sent(&files) <= 8 + length + 3 * 256, "samples.rs: {} bytes were fetched to compare", sent(&files));
    let (found, _, kinds) = visit(large(1), &shelf);
    assert_eq!(kinds, [NoticeKind::Changed]);
    let found = found.unwrap();
    assert_eq!(found, traced(large(1)), "samples.rs: a mixture of two models");
    assert_ne!(found, expected);
    // Replaced while it is read: the answers after the fourth are the other model's.
    let files = large(0);
    let other = large(1).files["model.safetensors"].clone();
    let tensors = 8 + length as usize;
    let replaced = Memory { always: Some(Fault::Damage(tensors, other[tensors..].to_vec())), ..files };
    let good = std::iter::repeat_n(Fault::Etag("one"), 4);
    let found = visit(replaced.failing(good), &MemoryShelf::default()).0;
    assert_eq!(found.expect_err("samples.rs: two files were mixed").code, Code::CorruptDownload);
}
