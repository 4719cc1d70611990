//! Safetensors files, whole, sharded, cut and damaged: exact values come out, or an error that says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::rc::Rc;

use engine::Code;
use engine::loading::assembler::{Assembled, TensorAssembler};
use engine::loading::index::{Header, Index};
use engine::model::Config;
use engine::model::checkpoint::{Part, Wanted};
use engine::pool::WorkerPool;
use half::{bf16, f16};
use proptest::prelude::*;
use serde_json::json;
use support::memory::{Entry, Memory, entries, opened, safetensors};

const CONFIG: &str =
    r#"{"model_type":"gpt2","vocab_size":7,"n_positions":5,"n_embd":4,"n_layer":2,"n_head":2,"n_inner":6}"#;

/// One tensor of a random file, its values as they must come out, and whether it is wished for.
#[derive(Clone, Debug)]
struct Random {
    entry: Entry,
    values: Vec<f32>,
    wanted: bool,
}

fn random_tensor() -> impl Strategy<Value = Random> {
    let shape = prop::collection::vec(0usize..5, 0..4);
    let bits = prop::collection::vec(any::<u32>(), 64);
    (shape, bits, 0..5usize, any::<bool>()).prop_map(|(shape, bits, kind, wanted)| {
        let count = shape.iter().product();
        let bits = &bits[..count];
        let halves = || bits.iter().map(|&b| b as u16);
        let bytes = |bits: &[u32]| bits.iter().flat_map(|b| b.to_le_bytes()).collect::<Vec<u8>>();
        let half_bytes = || halves().flat_map(u16::to_le_bytes).collect();
        let (dtype, bytes, values): (_, Vec<u8>, Vec<f32>) = match kind {
            0 | 1 => ("F32", bytes(bits), bits.iter().map(|&b| f32::from_bits(b)).collect()),
            2 => ("F16", half_bytes(), halves().map(|b| f16::from_bits(b).to_f32()).collect()),
            3 => ("BF16", half_bytes(), halves().map(|b| bf16::from_bits(b).to_f32()).collect()),
            // Of a type that is not read, and so never wished for.
            _ => ("I32", bytes(bits), Vec::new()),
        };
        // A tensor of no bytes is stepped over: no model wants one.
        let wanted = wanted && dtype != "I32" && count > 0;
        Random { entry: Entry { name: String::new(), dtype, shape, bytes }, values, wanted }
    })
}

/// Tensors in random order (their shapes are independent of their names), named with or without prefix.
fn random_file() -> impl Strategy<Value = Vec<Random>> {
    (prop::collection::vec(random_tensor(), 0..8), any::<bool>()).prop_map(|(mut list, prefix)| {
        for (index, random) in list.iter_mut().enumerate() {
            random.entry.name = format!("{}t{index}", if prefix { "transformer." } else { "" });
        }
        list
    })
}

fn index(list: &[Random]) -> Rc<Index> {
    let wanted: Vec<_> = list
        .iter()
        .enumerate()
        .filter(|(_, random)| random.wanted)
        .map(|(index, random)| Wanted {
            name: format!("t{index}"),
            shape: random.entry.shape.clone(),
            part: Part::Block(0),
        })
        .collect();
    let bytes = file(list);
    let length = Header::length("m", bytes[..8].try_into().unwrap()).unwrap();
    let header = Header::parse("m", &bytes[8..8 + length]).unwrap();
    Rc::new(Index::new(&wanted, vec![("m".into(), header)]).unwrap())
}

/// Of a model that has none of these tensors in a block.
fn config() -> Config {
    let json = r#"{"model_type":"gpt2","vocab_size":2,"n_positions":2,"n_embd":2,"n_layer":1,"n_head":1}"#;
    Config::from_json(json.as_bytes()).unwrap()
}

fn file(list: &[Random]) -> Vec<u8> {
    safetensors(&list.iter().map(|random| random.entry.clone()).collect::<Vec<_>>())
}

fn bits(values: &[f32]) -> Vec<u32> {
    // A signalling NaN may become a quiet one on its way; both are NaN.
    values.iter().map(|value| if value.is_nan() { u32::MAX } else { value.to_bits() }).collect()
}

proptest! {
    #[test]
    fn any_cutting_in_any_order_gives_the_wanted_tensors_exactly(
        list in random_file(),
        size in 1u64..60,
        order in prop::collection::vec(any::<u32>(), 64),
        pieces in prop::collection::vec(1usize..40, 1..40),
    ) {
        let index = index(&list);
        let bytes = file(&list);
        let mut assembler = TensorAssembler::new(index.clone(), WorkerPool::alone(&config()).packer());
        let mut found = Vec::new();
        // Spans as the planner cuts them, in any order, each arriving in pieces of any length.
        let begin = index.files[0].header.tensors.first().map_or(0, |tensor| tensor.begin);
        let mut spans = index.files[0].cut(&(begin..bytes.len() as u64), size);
        prop_assert_eq!(spans.iter().map(|span| span.end - span.start).sum::<u64>(), bytes.len() as u64 - begin);
        spans.sort_by_key(|span| order[span.start as usize % order.len()]);
        for span in spans {
            let (mut at, mut carry) = (span.start, Vec::new());
            for length in pieces.iter().cycle() {
                let from = at + carry.len() as u64;
                let to = (from + *length as u64).min(span.end);
                carry.extend_from_slice(&bytes[from as usize..to as usize]);
                let (taken, arrived) = assembler.write(0, at, &carry).unwrap();
                carry.drain(..taken);
                at += taken as u64;
                found.extend(arrived);
                if to == span.end {
                    break;
                }
            }
            prop_assert!(carry.is_empty(), "assembler.rs leaves bytes of a span that ends between elements");
        }
        let not_finite = |random: &&Random| random.values.iter().any(|value| !value.is_finite());
        let expected: Vec<_> = list.iter().enumerate().filter(|(_, random)| random.wanted).collect();
        prop_assert_eq!(found.len(), expected.len(), "assembler.rs: number of tensors");
        for arrived in found {
            match arrived {
                Assembled::Tensor(name, tensor) => {
                    let random = &list[name[1..].parse::<usize>().unwrap()];
                    prop_assert_eq!(tensor.dims(), random.entry.shape.as_slice(), "assembler.rs: shape of {}", name);
                    let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
                    prop_assert_eq!(bits(&values), bits(&random.values), "partial_tensor.rs: {} of type {}", name, random.entry.dtype);
                    prop_assert!(!not_finite(&random), "partial_tensor.rs: {} holds what is no number", name);
                }
                Assembled::Damaged { tensor, at, .. } => {
                    let number = tensor.trim_start_matches("transformer.")[1..].parse::<usize>().unwrap();
                    let (random, info) = (&list[number], &index.find(&format!("t{number}")).unwrap().1.info);
                    let first = random.values.iter().position(|value| !value.is_finite());
                    let width = (info.end - info.begin) as usize / random.values.len();
                    prop_assert_eq!(Some((at - info.begin) as usize / width), first, "partial_tensor.rs: first bad value of {}", tensor);
                }
                Assembled::Rows(..) => prop_assert!(false, "assembler.rs: rows that nobody asked for"),
                Assembled::Packed(name, _) => prop_assert!(false, "assembler.rs: {} was to stay as it is", name),
            }
        }
    }

    #[test]
    fn a_damaged_byte_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        let mut bytes = safetensors(&entries(CONFIG));
        let at = at.index(bytes.len());
        bytes[at] = byte;
        let _ = Memory::model(CONFIG, bytes).load(); // values may be damaged unseen; the form may not
    }
}

fn refused(what: &str, files: Memory, code: Code, parts: &[&str]) {
    let Err(error) = files.load() else { panic!("engine::load took {what}") };
    assert_eq!(error.code, code, "engine::load on {what}: {}", error.message);
    for part in parts {
        assert!(error.message.contains(part), "engine::load on {what}: no {part:?} in {:?}", error.message);
    }
}

fn model(change: impl Fn(&mut Vec<Entry>)) -> Memory {
    let mut list = entries(CONFIG);
    change(&mut list);
    Memory::model(CONFIG, safetensors(&list))
}

fn place(list: &[Entry], name: &str) -> usize {
    list.iter().position(|entry| entry.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_whole_model_loads_in_any_order_with_or_without_prefix() {
    model(|_| {}).load().unwrap();
    model(|list| list.reverse()).load().unwrap();
    model(|list| list.iter_mut().for_each(|entry| entry.name.insert_str(0, "transformer."))).load().unwrap();
    let one_byte_at_a_time = Memory { piece: 1, ..model(|_| {}) };
    one_byte_at_a_time.load().unwrap();
}

#[test]
fn a_model_cut_anywhere_is_refused() {
    let bytes = safetensors(&entries(CONFIG));
    for cut in (0..bytes.len()).step_by(13).chain([1, 7, 8, 9, bytes.len() - 1]) {
        let what = format!("{cut} of {} bytes", bytes.len());
        // Cut within the header, no more can be said than that it ends early; after it, that tensors lie beyond the end.
        let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
        let code = if cut < header { Code::CorruptDownload } else { Code::BadSafetensors };
        refused(&what, Memory::model(CONFIG, bytes[..cut].to_vec()), code, &["model.safetensors"]);
    }
}

#[test]
fn what_does_not_fit_the_model_is_named() {
    let extra = |name: &str| Entry { name: name.into(), dtype: "F32", shape: vec![1], bytes: vec![0; 4] };
    let name = "h.1.mlp.c_fc.weight";
    let mut trailing = safetensors(&entries(CONFIG));
    trailing.push(0);
    let change = |at: &str, change: &dyn Fn(&mut Entry)| {
        model(|list| {
            let at = place(list, at);
            change(&mut list[at]);
        })
    };
    for (what, files, code, parts) in [
        ("a byte too many", Memory::model(CONFIG, trailing), Code::BadSafetensors, &["model.safetensors"][..]),
        (
            "a missing tensor",
            model(|list| drop(list.remove(place(list, name)))),
            Code::MissingTensor,
            &["h.1.mlp.c_fc.weight"],
        ),
        (
            "a transposed tensor",
            change(name, &|entry| entry.shape.reverse()),
            Code::ShapeMismatch,
            &[name, "[4, 6]", "[6, 4]"],
        ),
        ("whole numbers", change(name, &|entry| entry.dtype = "I32"), Code::UnsupportedDtype, &[name, "I32"]),
        (
            "an unknown tensor in a block",
            model(|list| list.push(extra("h.0.attn.q_attn.weight"))),
            Code::NotGpt2,
            &["h.0.attn.q_attn.weight"],
        ),
        (
            "a tensor with and without prefix",
            model(|list| list.push(Entry { name: format!("transformer.{name}"), ..list[place(list, name)].clone() })),
            Code::BadSafetensors,
            &[name, "twice"],
        ),
        (
            "a web page",
            Memory::model(CONFIG, b"<!doctype html><html>".to_vec()),
            Code::BadSafetensors,
            &["model.safetensors"],
        ),
        ("no weights", model(|_| {}).without("model.safetensors"), Code::NotFound, &["memory", "model.safetensors"]),
        ("no settings", model(|_| {}).without("config.json"), Code::NotFound, &["memory", "config.json"]),
        ("a vocabulary alone", model(|_| {}).with("vocab.json", "{}"), Code::BadTokenizer, &["merges.txt"]),
    ] {
        refused(what, files, code, parts);
    }
    model(|list| list.push(extra("h.0.attn.masked_bias"))).load().unwrap();
    model(|list| list.push(extra("score.weight"))).load().unwrap();
}

/// A model in two shards, with an index that a test may spoil.
fn sharded(spoil: impl Fn(&mut serde_json::Value)) -> Memory {
    let list = entries(CONFIG);
    let (one, two) = list.split_at(list.len() / 2);
    let of =
        |part: &[Entry], file: &str| part.iter().map(|entry| (entry.name.clone(), json!(file))).collect::<Vec<_>>();
    let map: serde_json::Map<_, _> = of(one, "a.safetensors").into_iter().chain(of(two, "b.safetensors")).collect();
    let mut index = json!({"metadata": {}, "weight_map": map});
    spoil(&mut index);
    let files = Memory::model(CONFIG, Vec::new()).without("model.safetensors");
    files
        .with("model.safetensors.index.json", index.to_string())
        .with("a.safetensors", safetensors(one))
        .with("b.safetensors", safetensors(two))
}

#[test]
fn shards_are_read_and_what_is_wrong_with_them_is_named() {
    sharded(|_| {}).load().unwrap();
    let index = "model.safetensors.index.json";
    let set = |file: &'static str| sharded(move |index| index["weight_map"]["ln_f.bias"] = json!(file));
    refused("a missing shard", sharded(|_| {}).without("b.safetensors"), Code::NotFound, &["b.safetensors"]);
    refused("a shard outside the folder", set("../b.safetensors"), Code::BadSafetensors, &[index, "../b.safetensors"]);
    refused("a shard at an address", set("https://x/b"), Code::BadSafetensors, &[index]);
    refused("a shard behind a backslash", set("..\\b"), Code::BadSafetensors, &[index]);
    let without = sharded(|index| drop(index["weight_map"].as_object_mut().unwrap().remove("ln_f.bias")));
    refused("an index without a tensor", without, Code::MissingTensor, &["ln_f.bias"]);
    refused(
        "an index without a map",
        sharded(|index| *index = json!({})),
        Code::BadSafetensors,
        &[index, "weight_map"],
    );
    refused("a damaged index", sharded(|_| {}).with(index, "{"), Code::BadSafetensors, &[index]);
    // The index promises a tensor that no shard has.
    let (one, list) = (entries(CONFIG).len() / 2, entries(CONFIG));
    let broken = sharded(|_| {}).with("b.safetensors", safetensors(&list[one..list.len() - 1]));
    refused("a promise that no shard keeps", broken, Code::MissingTensor, &["ln_f.bias"]);
    let cut = safetensors(&list[..one]);
    let cut = sharded(|_| {}).with("a.safetensors", &cut[..cut.len() - 3]);
    refused("a first shard that ends early", cut, Code::BadSafetensors, &["a.safetensors", "ends beyond"]);
}

#[test]
fn a_model_beyond_memory_is_refused_before_its_bytes() {
    // GPT-2 XL has 1.5 thousand million numbers: 6 GB in F32, though half of that in the file.
    let config =
        r#"{"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":1600,"n_layer":48,"n_head":25}"#;
    // Whatever the file holds, it is not asked for.
    let files = Memory::model(config, Vec::new());
    let requests = files.requests.clone();
    let error = pollster::block_on(opened(files)).err().expect("index.rs took a 6 GB model");
    assert_eq!(error.code, Code::OutOfMemory, "index.rs, refuse_too_large: {}", error.message);
    for part in ["6230444800", "GPT-2 large"] {
        assert!(error.message.contains(part), "index.rs: no {part} in {}", error.message);
    }
    let names: Vec<String> = requests.borrow().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["config.json"], "load.rs: bytes were asked for that can never be held");
}
