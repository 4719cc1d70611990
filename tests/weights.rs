//! Safetensors files, whole, sharded, cut and damaged: exact values come out, or an error that says what is wrong.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::rc::Rc;

use candle_core::Tensor;
use half::{bf16, f16};
use proptest::prelude::*;
use residual_stream::model::Config;
use residual_stream::model::checkpoint::{Part, Wanted, wanted};
use residual_stream::weights::Assembler;
use residual_stream::weights::assembler::Wishes;
use residual_stream::{Code, Error};
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

fn wishes(list: &[Random]) -> Rc<Wishes> {
    let wanted: Vec<_> = list
        .iter()
        .enumerate()
        .filter(|(_, random)| random.wanted)
        .map(|(index, random)| Wanted {
            name: format!("t{index}"),
            shape: random.entry.shape.clone(),
            part: Part::Embedding,
        })
        .collect();
    Rc::new(Wishes::new(&wanted))
}

fn file(list: &[Random]) -> Vec<u8> {
    safetensors(&list.iter().map(|random| random.entry.clone()).collect::<Vec<_>>())
}

fn bits(values: &[f32]) -> Vec<u32> {
    // A signalling NaN may become a quiet one on its way; both are NaN.
    values.iter().map(|value| if value.is_nan() { u32::MAX } else { value.to_bits() }).collect()
}

/// Pushes a file in pieces of these lengths, over and over.
fn push(assembler: &mut Assembler, bytes: &[u8], pieces: &[usize]) -> Result<Vec<(String, Tensor)>, Error> {
    let (mut at, mut found) = (0, Vec::new());
    for length in pieces.iter().cycle() {
        if at == bytes.len() {
            break;
        }
        let end = (at + length).min(bytes.len());
        found.extend(assembler.push(&bytes[at..end])?);
        at = end;
    }
    Ok(found)
}

proptest! {
    #[test]
    fn any_cutting_gives_the_wanted_tensors_exactly(
        list in random_file(),
        pieces in prop::collection::vec(1usize..40, 1..40),
    ) {
        let mut assembler = Assembler::new("m.safetensors", wishes(&list));
        let found = push(&mut assembler, &file(&list), &pieces).unwrap();
        prop_assert!(assembler.is_complete(), "assembler.rs: all bytes are in, and it waits for more");
        let expected: Vec<_> = list.iter().enumerate().filter(|(_, random)| random.wanted).collect();
        prop_assert_eq!(found.len(), expected.len(), "assembler.rs: number of tensors");
        for ((name, tensor), (index, random)) in found.iter().zip(expected) {
            prop_assert_eq!(name, &format!("t{index}"), "assembler.rs: plain names in file order");
            prop_assert_eq!(tensor.dims(), random.entry.shape.as_slice(), "assembler.rs: shape of {}", name);
            let values = tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
            prop_assert_eq!(bits(&values), bits(&random.values), "widen.rs: {} of type {}", name, random.entry.dtype);
        }
    }

    #[test]
    fn a_file_cut_anywhere_is_incomplete(list in random_file(), cut in any::<prop::sample::Index>(), piece in 1usize..40) {
        let bytes = file(&list);
        let cut = cut.index(bytes.len());
        let mut assembler = Assembler::new("m.safetensors", wishes(&list));
        push(&mut assembler, &bytes[..cut], &[piece]).unwrap();
        prop_assert!(!assembler.is_complete(), "assembler.rs: complete after {cut} of {} bytes", bytes.len());
        let error = Error::from(assembler.ended_early());
        prop_assert_eq!(error.code, Code::CorruptDownload);
        prop_assert!(error.message.contains(&format!("after {cut} of")), "assembler.rs: {}", error.message);
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
fn a_model_cut_anywhere_is_a_corrupt_download() {
    let bytes = safetensors(&entries(CONFIG));
    for cut in (0..bytes.len()).step_by(13).chain([1, 7, 8, 9, bytes.len() - 1]) {
        let what = format!("{cut} of {} bytes", bytes.len());
        refused(&what, Memory::model(CONFIG, bytes[..cut].to_vec()), Code::CorruptDownload, &["model.safetensors"]);
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
    refused("a first shard that ends early", cut, Code::CorruptDownload, &["a.safetensors"]);
}

#[test]
fn a_model_beyond_memory_is_refused_before_its_bytes() {
    // GPT-2 XL has 1.5 thousand million numbers: 6 GB in F32, though half of that in the file.
    let config =
        r#"{"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":1600,"n_layer":48,"n_head":25}"#;
    let mut at = 0usize;
    let all = wanted(&Config::from_json(config.as_bytes()).unwrap()).into_iter();
    let members: Vec<String> = all
        .map(|want| {
            let end = at + 2 * want.shape.iter().product::<usize>();
            let member =
                format!(r#""{}":{{"dtype":"F16","shape":{:?},"data_offsets":[{at},{end}]}}"#, want.name, want.shape);
            at = end;
            member
        })
        .collect();
    let header = format!("{{{}}}", members.join(","));
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let error = pollster::block_on(opened(Memory::model(config, bytes))).err().expect("assembler.rs took a 6 GB model");
    assert_eq!(error.code, Code::OutOfMemory, "assembler.rs, Wishes::check: {}", error.message);
    assert!(error.message.contains("model.safetensors"), "assembler.rs: {}", error.message);
}
