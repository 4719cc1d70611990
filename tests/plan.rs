//! The byte plan: every wanted byte is asked for once, no other is, and a text's rows come by the cheapest way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

use std::collections::BTreeSet;
use std::rc::Rc;

use engine::loading::index::{Header, TensorInfo};
use engine::loading::index::{Index, Span};
use engine::loading::plan::byte_ranges::ByteRanges;
use engine::loading::plan::{PIECE, Planner, REQUEST, RowPlan};
use engine::model::Config;
use engine::model::checkpoint::Table;
use engine::model::checkpoint::{Part, Wanted, wanted};
use proptest::prelude::*;

/// GPT-2 124M, as its `config.json` says.
const GPT2: &str =
    r#"{"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":768,"n_layer":12,"n_head":12}"#;

fn all_wanted(config: &str) -> Vec<Wanted> {
    wanted(&Config::from_json(config.as_bytes()).unwrap())
}

/// A file with these tensors in alphabetical order, as the hub's GPT-2 has them, with or without its mask buffers.
fn file(list: &[Wanted], masks: bool, dtype: &str) -> Header {
    let mut tensors: Vec<(String, Vec<usize>)> =
        list.iter().map(|want| (want.name.clone(), want.shape.clone())).collect();
    let positions = list.iter().find(|want| want.name == "wpe.weight").map_or(8, |want| want.shape[0]);
    let layers = list.iter().filter(|want| want.name.ends_with("ln_1.bias")).count();
    if masks {
        tensors.extend((0..layers).map(|l| (format!("h.{l}.attn.bias"), vec![1, 1, positions, positions])));
    }
    tensors.sort();
    let mut at = 14_000;
    let info = |(name, shape): (String, Vec<usize>)| {
        let begin = at;
        at += shape.iter().product::<usize>() as u64 * if dtype == "F32" { 4 } else { 2 };
        TensorInfo { name, dtype_name: dtype.into(), shape, begin, end: at }
    };
    let tensors = tensors.into_iter().map(info).collect();
    Header { tensors, file_size: at }
}

fn index(list: &[Wanted], headers: Vec<Header>) -> Rc<Index> {
    let names = (0..headers.len()).map(|number| format!("{number}.safetensors"));
    Rc::new(Index::new(list, names.zip(headers).collect()).unwrap())
}

/// Adds spans to what was asked for, file by file; each byte must be new.
fn ask(asked: &mut [ByteRanges], spans: &[Span]) -> u64 {
    let mut bytes = 0;
    for span in spans {
        let length = span.bytes.end - span.bytes.start;
        assert!(length > 0 && length <= PIECE + 8192, "plan.rs: a piece of {length} bytes");
        assert_eq!(asked[span.file].add(span.bytes.clone()), length, "plan.rs: {span:?} asks for bytes twice");
        bytes += length;
    }
    bytes
}

/// Everything that is wanted has been asked for, and nothing else.
fn complete(index: &Index, asked: &[ByteRanges]) {
    for (file, asked) in index.files.iter().zip(asked) {
        let mut wanted = ByteRanges::default();
        for located in &file.wanted {
            wanted.add(located.info.begin..located.info.end);
        }
        assert_eq!(*asked, wanted, "plan.rs: {} is not asked for as it is wanted", file.name);
    }
}

#[test]
fn gpt2_124m_arrives_within_its_budgets() {
    let list = all_wanted(GPT2);
    let index = index(&list, vec![file(&list, true, "F32")]);
    let masks_and_weights = 548_090_880; // the hub's file without its header
    assert_eq!(index.files[0].header.file_size, 14_000 + masks_and_weights, "the test's file is not the hub's");
    let mut planner = Planner::new(index.clone());
    let mut asked = vec![ByteRanges::default()];
    // A text of 64 tokens scattered over the whole table: the worst that a text of this length can do.
    let rows = (0..64u32).map(|i| (i * 7919 + 13) % 50257).collect();
    let RowPlan::Spans(tokens) = planner.rows(Table::Tokens, &rows) else { panic!("plan.rs takes the whole table") };
    let RowPlan::Spans(positions) = planner.rows(Table::Positions, &(0..64).collect()) else {
        panic!("plan.rs: all of wpe")
    };
    assert_eq!(positions.len(), 1, "plan.rs: neighbouring rows are one request");
    let mut requests = tokens.len() + positions.len();
    let mut bytes = ask(&mut asked, &tokens) + ask(&mut asked, &positions);
    for layer in 0..12 {
        let spans = planner.tensors(|located| located.part == Part::Block(layer));
        requests += spans.len();
        bytes += ask(&mut asked, &spans);
        if layer == 0 {
            // 1.5 MB of tokenizer and 15 KB of header come besides.
            assert!(bytes + 1_515_000 < 32_000_000, "plan.rs: {bytes} bytes before the first block");
        }
    }
    assert!(bytes + 1_515_000 < 345_000_000, "plan.rs: {bytes} bytes before the last block");
    let rest = planner.tensors(|_| true);
    requests += rest.len();
    ask(&mut asked, &rest);
    complete(&index, &asked);
    assert!(requests < 185, "plan.rs: {requests} requests; with settings, tokenizer and header it must stay below 200");
}

#[test]
fn rows_are_joined_where_a_request_costs_more_than_the_gap() {
    let list = all_wanted(GPT2);
    let index = index(&list, vec![file(&list, false, "F32")]);
    let row = 768 * 4;
    let spans = |rows: &[u32]| match Planner::new(index.clone()).rows(Table::Tokens, &rows.iter().copied().collect()) {
        RowPlan::Spans(spans) => spans.iter().map(|span| (span.bytes.end - span.bytes.start) / row).collect(),
        RowPlan::Whole => vec![0],
    };
    assert_eq!(spans(&[5]), [1]);
    assert_eq!(spans(&[5, 6, 7]), [3]);
    let near = (REQUEST / row) as u32;
    assert_eq!(spans(&[5, 6 + near]), [u64::from(near) + 2], "plan.rs: a gap that costs less than a request");
    assert_eq!(spans(&[5, 7 + near]), [1, 1], "plan.rs: a gap that costs more than a request");
    let every_seventh: Vec<u32> = (0..50257).step_by(7).collect();
    assert_eq!(spans(&every_seventh), [0], "plan.rs: most of the table is cheaper whole");
    assert_eq!(spans(&[60_000]), Vec::<u64>::new(), "plan.rs: a row beyond the table");
}

#[test]
fn a_second_text_asks_only_for_what_the_first_did_not() {
    let list = all_wanted(GPT2);
    let index = index(&list, vec![file(&list, false, "F16")]);
    let mut planner = Planner::new(index.clone());
    let mut asked = vec![ByteRanges::default()];
    let mut requests = 0;
    for text in 0..200u32 {
        let rows: BTreeSet<u32> = (0..20).map(|i| (text * 977 + i * 2503) % 50257).collect();
        match planner.rows(Table::Tokens, &rows) {
            RowPlan::Spans(spans) => {
                requests += spans.len();
                ask(&mut asked, &spans);
            }
            RowPlan::Whole => {
                ask(&mut asked, &planner.tensors(|located| located.name == "wte.weight"));
            }
        }
    }
    {
        assert!(requests <= 128, "plan.rs: {requests} requests for rows alone");
    }
    ask(&mut asked, &planner.tensors(|_| true));
    complete(&index, &asked);
}

#[test]
fn what_proved_damaged_is_asked_for_again_and_nothing_else() {
    let list = all_wanted(GPT2);
    let index = index(&list, vec![file(&list, true, "F32")]);
    let mut planner = Planner::new(index.clone());
    planner.tensors(|_| true);
    let (file, located) = index.find("h.3.mlp.c_fc.weight").unwrap();
    let bytes = located.info.begin..located.info.end;
    let spans = planner.again(&Span { file, bytes: bytes.clone() });
    let mut asked = vec![ByteRanges::default()];
    ask(&mut asked, &spans);
    assert_eq!(asked[0].iter().collect::<Vec<_>>(), [bytes]);
    assert!(planner.tensors(|_| true).is_empty());
}

proptest! {
    #[test]
    fn every_wanted_byte_once_and_no_other(
        (layers, heads, width, vocabulary, positions) in (1usize..5, 1usize..4, 1usize..9, 1usize..400, 1usize..40),
        masks in any::<bool>(),
        half in any::<bool>(),
        shards in 1usize..4,
        steps in prop::collection::vec((0u8..4, any::<u32>(), 0usize..30), 0..20),
    ) {
        let config = format!(
            r#"{{"model_type":"gpt2","vocab_size":{vocabulary},"n_positions":{positions},"n_embd":{},"n_layer":{layers},"n_head":{heads},"n_inner":5000}}"#,
            width * heads
        );
        let list = all_wanted(&config);
        let whole = file(&list, masks, if half { "F16" } else { "F32" });
        // The tensors dealt out to the shards.
        let headers = (0..shards).map(|shard| {
            let mut at = 100;
            let mut tensors: Vec<_> =
                whole.tensors.iter().enumerate().filter(|(i, _)| i % shards == shard).map(|(_, t)| t.clone()).collect();
            for tensor in &mut tensors {
                (tensor.begin, tensor.end, at) = (at, at + tensor.end - tensor.begin, at + tensor.end - tensor.begin);
            }
            Header { tensors, file_size: at }
        });
        let index = index(&list, headers.collect());
        let mut planner = Planner::new(index.clone());
        let mut asked = vec![ByteRanges::default(); shards];
        for (step, number, count) in steps {
            match step {
                0 | 1 => {
                    let table = if step == 0 { Table::Tokens } else { Table::Positions };
                    let rows = (0..count as u32).map(|i| number.wrapping_mul(i + 1) % 500).collect();
                    match planner.rows(table, &rows) {
                        RowPlan::Spans(spans) => drop(ask(&mut asked, &spans)),
                        RowPlan::Whole => drop(ask(&mut asked, &planner.tensors(|located| located.name == table.tensor()))),
                    }
                    // What a text needs is on its way.
                    let (file, located) = index.find(table.tensor()).unwrap();
                    for row in rows_of(number, count).filter(|&row| (row as usize) < located.info.shape[0]) {
                        let begin = located.info.begin + u64::from(row) * located.grain();
                        let span = Span { file, bytes: begin..begin + located.grain() };
                        prop_assert!(planner.is_claimed(&span), "plan.rs: row {row} of {} was not asked for", located.name);
                    }
                }
                _ => {
                    let layer = number as usize % layers;
                    ask(&mut asked, &planner.tensors(|located| located.part == Part::Block(layer)));
                }
            }
        }
        ask(&mut asked, &planner.tensors(|_| true));
        complete(&index, &asked);
    }
}

fn rows_of(number: u32, count: usize) -> impl Iterator<Item = u32> {
    (0..count as u32).map(move |i| number.wrapping_mul(i + 1) % 500)
}
