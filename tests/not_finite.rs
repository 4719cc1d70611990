//! Rows of the tables that hold NaN or infinity, as fine-tuned checkpoints have them for tokens that no text had: they
//! matter to what uses them, and to nothing else. Anywhere else such values are refused (tests/checkpoints.rs).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::RefCell;

use engine::load::News;
use engine::run::breath::NoBreath;
use engine::run::sample::sample;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error};
use protocol::{NoticeKind, SampleOptions};
use support::memory::{Entry, Memory, MemoryShelf, entries, opened, opened_with, safetensors, together};
use trace::Sequence;

/// Read front to back.
const SMALL: &str =
    r#"{"model_type":"gpt2","vocab_size":50,"n_positions":16,"n_embd":8,"n_layer":2,"n_head":2,"n_inner":8}"#;
/// Of which rows are read by themselves: 10 MB, most of it the table of tokens.
const LARGE: &str =
    r#"{"model_type":"gpt2","vocab_size":40000,"n_positions":64,"n_embd":64,"n_layer":1,"n_head":2,"n_inner":64}"#;
static NORMS: RunOptions = RunOptions::new(true, 0, false);
static ALL: RunOptions = RunOptions::new(true, 1, true);
const IDS: [u32; 5] = [3, 1, 41, 5, 9];
/// A row between two of those, and one of them.
const OTHER: usize = 4;
const USED: usize = 41;

/// A model with these rows broken: by tensor, row and value.
fn broken(config: &str, rows: &[(&str, usize, f32)], change: impl Fn(&mut Vec<Entry>)) -> Memory {
    let mut list = entries(config);
    for (tensor, row, value) in rows {
        let entry = list.iter_mut().find(|entry| entry.name == *tensor).unwrap();
        let at = 4 * (row * entry.shape[1] + 2);
        entry.bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
    }
    change(&mut list);
    Memory::model(config, safetensors(&list))
}

fn wte(config: &str, row: usize, value: f32) -> Memory {
    broken(config, &[("wte.weight", row, value)], |_| {})
}

/// Loads everything; what loading and a run that waits from the beginning give.
fn traced(files: Memory, options: &RunOptions) -> (Result<(), Error>, Result<Vec<Sequence>, Error>) {
    let loading = pollster::block_on(opened(files)).unwrap();
    let parts = loading.parts.clone();
    let start = vec![from_ids(None, IDS.to_vec())];
    let (ran, loaded) = together(run(&parts, None, start, options, &NoBreath, |_| {}), loading.finish(&|_| {}));
    (loaded, ran)
}

/// Has what is traced refused, and not the model.
fn refused(files: Memory, options: &RunOptions, parts: &[&str]) {
    let (loaded, ran) = traced(files, options);
    assert_eq!(loaded, Ok(()), "arrivals.rs: one row ends the whole model");
    let error = ran.expect_err("what is no number was used");
    assert_eq!(error.code, Code::NotFinite, "{error}");
    for part in parts {
        assert!(error.message.contains(part), "error.rs, BadRow: no {part} in {error}");
    }
}

#[test]
fn a_row_that_no_text_has_changes_no_norm() {
    for config in [SMALL, LARGE] {
        for value in [f32::NAN, f32::INFINITY] {
            let (loaded, found) = traced(wte(config, OTHER, value), &NORMS);
            assert_eq!(loaded, Ok(()), "arrivals.rs: {value}");
            let expected = traced(broken(config, &[], |_| {}), &NORMS).1.unwrap();
            assert_eq!(found.unwrap(), expected, "parts.rs: {value} in another row");
        }
    }
}

#[test]
fn a_text_with_that_token_is_refused_with_tensor_and_row() {
    for config in [SMALL, LARGE] {
        refused(wte(config, USED, f32::NAN), &NORMS, &["wte.weight", "row 41", "checkpoint itself", "Texts without"]);
    }
    let last = IDS.len() - 1;
    refused(broken(SMALL, &[("wpe.weight", last, f32::NEG_INFINITY)], |_| {}), &NORMS, &["wpe.weight", "row 4"]);
    let beyond = broken(SMALL, &[("wpe.weight", last + 1, f32::NAN)], |_| {});
    let expected = traced(broken(SMALL, &[], |_| {}), &ALL).1.unwrap();
    assert_eq!(traced(beyond, &ALL).1.unwrap(), expected, "parts.rs: a position that the text does not reach");
}

#[test]
fn predictions_need_every_row() {
    for config in [SMALL, LARGE] {
        refused(wte(config, OTHER, f32::NAN), &ALL, &["wte.weight", "row 4", "predictions: false"]);
    }
    let loading = pollster::block_on(opened(wte(SMALL, OTHER, f32::NAN))).unwrap();
    let parts = loading.parts.clone();
    pollster::block_on(loading.finish(&|_| {})).unwrap();
    let start = from_ids(None, IDS.to_vec());
    let sampled = pollster::block_on(sample(&parts, None, start, &SampleOptions::default(), &NoBreath));
    assert_eq!(sampled.map(|_| ()).unwrap_err().code, Code::NotFinite, "sample.rs: sampled from what is no number");
}

#[test]
fn an_unembedding_of_its_own_is_named_and_a_copy_is_one() {
    let settings = |ties: bool| SMALL.replace('}', &format!(r#","tie_word_embeddings":{ties}}}"#));
    let with_head = |list: &mut Vec<Entry>| {
        list.retain(|entry| entry.name != "lm_head.weight");
        let table = list.iter().find(|entry| entry.name == "wte.weight").unwrap().clone();
        list.push(Entry { name: "lm_head.weight".into(), ..table });
    };
    let files = |ties| broken(&settings(ties), &[("wte.weight", OTHER, f32::NAN)], with_head);
    for ties in [true, false] {
        refused(files(ties), &ALL, &["lm_head.weight", "row 4"]);
        let expected = traced(broken(&settings(ties), &[], with_head), &NORMS).1.unwrap();
        assert_eq!(traced(files(ties), &NORMS).1.unwrap(), expected, "parts.rs: an unembedding that nobody asked for");
    }
    let news = RefCell::new(Vec::new());
    let report = |said: News| {
        if let News::Notice(notice) = said {
            news.borrow_mut().push(notice.kind);
        }
    };
    let loading = pollster::block_on(opened_with(files(true), &MemoryShelf::default(), &report)).unwrap();
    pollster::block_on(loading.finish(&report)).unwrap();
    assert!(!news.borrow().contains(&NoticeKind::Untied), "gpt2.rs: a copy with a NaN is no other unembedding");
}
