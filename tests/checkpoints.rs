//! Checkpoints as people really have them: unembeddings that are copies, differ or are not there, several files of
//! which one counts, prefixes, and what training leaves beside the weights. The expected numbers are transformers'.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use std::cell::RefCell;

use engine::loading::{LoadEvent, open};
use engine::pool::WorkerPool;
use engine::run::patch::patch;
use engine::run::run_control::NoControl;
use engine::run::sample::sample;
use engine::run::texts::{RunOptions, from_ids, run};
use engine::{Code, Error};
use protocol::{Notice, NoticeKind, PatchOptions, SampleOptions};
use serde::Deserialize;
use serde_json::{Value, json};
use support::LOGPROB;
use support::memory::{Entry, Fault, Memory, MemoryShelf, entries, safetensors};
use trace::Sequence;

const CONFIG: &str =
    r#"{"model_type":"gpt2","vocab_size":7,"n_positions":5,"n_embd":4,"n_layer":2,"n_head":2,"n_inner":6}"#;
const IDS: [u32; 4] = [3, 1, 6, 2];

/// What transformers computes from a folder.
#[derive(Deserialize)]
struct Expected {
    ids: Vec<u32>,
    token_logprob: Vec<f32>,
    next: Next,
}

#[derive(Deserialize)]
struct Next {
    ids: Vec<u32>,
    probs: Vec<f32>,
}

fn case(name: &str) -> Memory {
    Memory::folder(&format!("tests/fixtures/checkpoints/{name}"))
}

/// Loads a model, traces ids, and gives what it said of itself meanwhile.
fn traced_with(files: Memory, ids: &[u32], options: &RunOptions) -> Result<(Sequence, Vec<Notice>), Error> {
    let notices = RefCell::new(Vec::new());
    let report = |news| {
        if let LoadEvent::Notice(notice) = news {
            notices.borrow_mut().push(notice);
        }
    };
    let sequence = pollster::block_on(async {
        let loading = open(files, None::<MemoryShelf>, 4, |config, _| WorkerPool::alone(config), &report).await?;
        let parts = loading.model.clone();
        loading.finish(&report).await?;
        let sequences = run(&parts, None, vec![from_ids(None, ids.to_vec())], options, &NoControl, |_| {}).await?;
        Ok::<_, Error>(sequences.into_iter().next().expect("one sequence in, one out"))
    })?;
    Ok((sequence, notices.into_inner()))
}

fn traced(files: Memory, ids: &[u32]) -> Result<(Sequence, Vec<Notice>), Error> {
    traced_with(files, ids, &RunOptions { next: 3, ..RunOptions::new(false, 0, true) })
}

fn kinds(notices: &[Notice]) -> Vec<NoticeKind> {
    notices.iter().map(|notice| notice.kind).collect()
}

fn close(what: &str, found: &[f32], expected: &[f32], relative: f32, absolute: f32) {
    assert_eq!(found.len(), expected.len(), "{what}: length");
    for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(
            (found - expected).abs() <= absolute + relative * expected.abs(),
            "{what}: [{place}] is {found}, expected {expected}"
        );
    }
}

/// Holds a folder's trace against transformers' numbers; gives the notices.
fn compare(what: &str, files: Memory) -> Vec<NoticeKind> {
    let expected: Expected = serde_json::from_slice(&files.files["expected.json"]).unwrap();
    let (found, notices) = traced(files, &expected.ids).unwrap_or_else(|error| panic!("{what}: {error}"));
    close(what, found.token_logprob.as_deref().unwrap(), &expected.token_logprob, 0.0, LOGPROB);
    let next = found.next.unwrap();
    assert_eq!(next.ids[..3], expected.next.ids, "{what}: next");
    close(what, &next.probs[..3], &expected.next.probs, LOGPROB, 0.0);
    kinds(&notices)
}

fn refused(what: &str, files: Memory, code: Code, parts: &[&str]) {
    let Err(error) = files.load() else { panic!("engine::load took {what}") };
    assert_eq!(error.code, code, "engine::load on {what}: {}", error.message);
    for part in parts {
        assert!(error.message.contains(part), "engine::load on {what}: no {part:?} in {:?}", error.message);
    }
}

fn configured(files: Memory, key: &str, value: Value) -> Memory {
    let mut config: Value = serde_json::from_slice(&files.files["config.json"]).unwrap();
    config[key] = value;
    files.with("config.json", config.to_string())
}

#[test]
fn an_unembedding_in_the_file_counts() {
    assert_eq!(compare("a head that differs", case("b01-tied-differs")), [NoticeKind::Untied]);
    assert_eq!(compare("a head that is a copy", case("b01-tied-same")), []);
    let said = |value| configured(case("b01-tied-differs"), "tie_word_embeddings", value);
    assert_eq!(compare("tied in so many words", said(json!(true))), [NoticeKind::Untied]);
    assert_eq!(compare("untied in so many words", said(json!(false))), []);
    assert_eq!(
        compare(
            "a head that differs, of a server without ranges",
            Memory { ranges: false, ..case("b01-tied-differs") }
        )
        .last(),
        Some(&NoticeKind::Untied)
    );
}

#[test]
fn of_two_tables_that_are_one_either_may_be_stored() {
    let (expected, _) = traced(Memory::model(CONFIG, safetensors(&entries(CONFIG))), &IDS).unwrap();
    let mut list = entries(CONFIG);
    list.iter_mut().find(|entry| entry.name == "wte.weight").unwrap().name = "lm_head.weight".into();
    let stored = Memory::model(CONFIG, safetensors(&list));
    let (found, notices) = traced(stored.clone(), &IDS).unwrap();
    assert_eq!((found.token_logprob, found.attn_norm), (expected.token_logprob, expected.attn_norm));
    assert_eq!(notices, []);
    refused(
        "a head alone, untied",
        configured(stored, "tie_word_embeddings", json!(false)),
        Code::MissingTensor,
        &["wte.weight"],
    );
}

#[test]
fn shards_and_whole_files_side_by_side() {
    for (name, picked) in [("b18-dup", false), ("b18-dup", true), ("p18-folder", false), ("p18-folder", true)] {
        assert_eq!(compare(name, Memory { picked, ..case(name) }), [], "{name}");
    }
    // Whether the whole file counts, a different one shows.
    let other = case("p18-folder").without("model.safetensors").picked();
    let shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    let spoilt = case("p18-folder").with(shards[0], case("p18-folder").files[shards[1]].clone()).picked();
    assert_eq!(compare("shards that nobody reads", spoilt), []);
    traced(other.clone(), &IDS).unwrap();
    refused("a shard that was not picked", other.without(shards[1]), Code::NotFound, &[shards[1]]);
    // Without the index, nothing says which counts.
    let unsaid = case("b18-dup").without("model.safetensors.index.json").picked();
    refused(
        "a tensor in two files",
        unsaid,
        Code::BadSafetensors,
        &[shards[0], shards[1], "h.", "model.safetensors.index.json"],
    );
}

fn picked(files: &[(&str, Vec<u8>)]) -> Memory {
    let all = Memory { picked: true, ..Memory::default() }.with("config.json", CONFIG);
    files.iter().fold(all, |all, (name, bytes)| all.with(name, bytes.clone()))
}

fn named(prefix: &str) -> Vec<Entry> {
    let mut list = entries(CONFIG);
    list.iter_mut().for_each(|entry| entry.name.insert_str(0, prefix));
    list
}

fn extra(name: &str) -> Entry {
    Entry { name: name.into(), dtype: "F32", shape: vec![1], bytes: vec![0; 4] }
}

#[test]
fn what_is_picked_beside_the_weights_never_decides_the_numbers() {
    let right = safetensors(&entries(CONFIG));
    let (expected, _) = traced(picked(&[("model.safetensors", right.clone())]), &IDS).unwrap();
    let zeros: Vec<_> = entries(CONFIG).into_iter().map(|e| Entry { bytes: vec![0; e.bytes.len()], ..e }).collect();
    let zeros = safetensors(&zeros);
    for (name, told) in
        [("optimizer.safetensors", true), ("adapter_model.safetensors", true), ("._model.safetensors", false)]
    {
        let (found, notices) =
            traced(picked(&[(name, zeros.clone()), ("zz.safetensors", right.clone())]), &IDS).unwrap();
        assert_eq!(found.attn_norm, expected.attn_norm, "{name}");
        assert_eq!(kinds(&notices), vec![NoticeKind::Unused; usize::from(told)], "{name}");
        assert!(!told || notices[0].message.contains(name), "{}", notices[0].message);
        refused(name, picked(&[(name, zeros.clone())]), Code::NotFound, &[name]);
    }
    for (a, b) in [("model.safetensors", "model.fp16.safetensors"), ("a.safetensors", "b.safetensors")] {
        let both = picked(&[(a, right.clone()), (b, zeros.clone())]);
        refused("two models", both, Code::BadSafetensors, &[a, b, "wte.weight"]);
    }
    // Under any name.
    let adapter = safetensors(&[extra("base_model.model.transformer.h.0.attn.c_attn.lora_A.weight")]);
    let beside = picked(&[("a.safetensors", adapter), ("b.safetensors", right.clone())]);
    refused("an adapter", beside, Code::NotGpt2, &["a.safetensors", "lora_A", "LoRA"]);
    let state = safetensors(&[extra("state.wte.weight.exp_avg")]);
    refused(
        "a state",
        picked(&[("a.safetensors", state), ("b.safetensors", right)]),
        Code::NotGpt2,
        &["a.safetensors", "optimizer"],
    );
}

#[test]
fn without_an_unembedding_there_are_norms_and_no_predictions() {
    let (tied, _) = traced(Memory::model(CONFIG, safetensors(&entries(CONFIG))), &IDS).unwrap();
    let model =
        || configured(Memory::model(CONFIG, safetensors(&entries(CONFIG))), "tie_word_embeddings", json!(false));
    let (found, notices) = traced(model(), &IDS).unwrap();
    assert_eq!(
        (&found.attn_norm, &found.mlp_norm, &found.embed_norm),
        (&tied.attn_norm, &tied.mlp_norm, &tied.embed_norm)
    );
    assert_eq!((found.token_logprob, found.next), (None, None));
    assert_eq!(kinds(&notices), [NoticeKind::NoUnembedding]);
    let is_refused = |what: &str, error: Option<Error>| {
        let error = error.unwrap_or_else(|| panic!("{what}: of a model that has no unembedding"));
        assert_eq!(error.code, Code::MissingTensor, "{what}: {}", error.message);
        assert!(error.message.contains("lm_head.weight"), "{what}: {}", error.message);
    };
    for (what, options) in [
        ("lens", RunOptions::new(false, 2, true)),
        ("leads", RunOptions { leads: true, ..RunOptions::new(false, 0, false) }),
        ("attribution", RunOptions { attribution: Some(Default::default()), ..RunOptions::new(false, 0, false) }),
    ] {
        is_refused(what, traced_with(model(), &IDS, &options).err());
    }
    pollster::block_on(async {
        let loading = support::memory::opened(model()).await.unwrap();
        let (parts, text) = (loading.model.clone(), |last| from_ids(None, vec![1, 2, last]));
        loading.finish(&|_| {}).await.unwrap();
        let options = SampleOptions { count: 1, ..SampleOptions::default() };
        is_refused("sample", sample(&parts, None, text(3), &options, &NoControl).await.err());
        let options = PatchOptions::default();
        is_refused("patch", patch(&parts, None, text(3), text(4), &options, &NoControl, |_| {}).await.err());
    });
}

#[test]
fn a_prefix_that_all_tensors_share_says_nothing() {
    let (expected, _) = traced(Memory::model(CONFIG, safetensors(&entries(CONFIG))), &IDS).unwrap();
    let same = |what: &str, list: &[Entry]| {
        let (found, notices) =
            traced(Memory::model(CONFIG, safetensors(list)), &IDS).unwrap_or_else(|e| panic!("{what}: {e}"));
        assert_eq!((&found.attn_norm, &found.token_logprob), (&expected.attn_norm, &expected.token_logprob), "{what}");
        assert_eq!(notices, [], "{what}");
    };
    for prefix in [
        "transformer.",
        "_orig_mod.",
        "module.",
        "model.",
        "gpt2.",
        "base_model.model.",
        "base_model.model.transformer.",
        "module._orig_mod.transformer.",
        "decoder.",
    ] {
        same(prefix, &named(prefix));
        // The unembedding stands beside what is inside `transformer.`.
        let mut list = named(prefix);
        let table = list[0].clone();
        let outer = prefix.strip_suffix("transformer.").unwrap_or(prefix);
        list.push(Entry { name: format!("{outer}lm_head.weight"), ..table });
        same(&format!("{prefix} and a head"), &list);
    }
    let mut mixed = named("transformer.");
    mixed[5].name = mixed[5].name.replace("transformer.", "model.");
    let other = mixed[5].name.clone();
    refused("two prefixes", Memory::model(CONFIG, safetensors(&mixed)), Code::BadSafetensors, &["prefixes", &other]);
    let mut part = named("decoder.");
    part.push(extra("encoder.embeddings.weight"));
    refused(
        "a part of another model",
        Memory::model(CONFIG, safetensors(&part)),
        Code::BadSafetensors,
        &["\"decoder.\""],
    );
}

#[test]
fn what_is_not_used_is_told() {
    let mut list = entries(CONFIG);
    let third: Vec<_> = list.iter().filter(|e| e.name.starts_with("h.1.")).cloned().collect();
    list.extend(third.into_iter().map(|entry| Entry { name: entry.name.replace("h.1.", "h.2."), ..entry }));
    list.extend(["h.0.attn.bias", "h.2.attn.masked_bias", "ln_emb.weight", "lm_head.bias"].map(extra));
    let (found, notices) = traced(Memory::model(CONFIG, safetensors(&list)), &IDS).unwrap();
    let (expected, _) = traced(Memory::model(CONFIG, safetensors(&entries(CONFIG))), &IDS).unwrap();
    assert_eq!(found.attn_norm, expected.attn_norm);
    assert_eq!(kinds(&notices), [NoticeKind::Unused]);
    for part in ["14 tensors", "lm_head.bias", "h.2.attn.c_attn.bias", "10 more"] {
        assert!(notices[0].message.contains(part), "no {part} in {}", notices[0].message);
    }
}

#[test]
fn values_that_are_no_numbers_are_told_from_damage() {
    let name = "h.1.mlp.c_fc.weight";
    let mut list = entries(CONFIG);
    let entry = list.iter_mut().find(|entry| entry.name == name).unwrap();
    entry.bytes[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    let broken = Memory::model(CONFIG, safetensors(&list));
    refused(
        "a model with an infinity",
        broken.clone(),
        Code::CorruptDownload,
        &[name, "model.safetensors", "checkpoint itself"],
    );
    refused("the same, picked", broken.picked(), Code::CorruptDownload, &[name, "checkpoint itself"]);
    let bytes = safetensors(&entries(CONFIG));
    let at = bytes.len() - 8;
    let nan = f32::NAN.to_le_bytes().to_vec();
    let whole = Memory::model(CONFIG, bytes);
    // The first two answers are the header's.
    let faults = [
        Fault::Damage(0, Vec::new()),
        Fault::Damage(0, Vec::new()),
        Fault::Damage(at, nan.clone()),
        Fault::Damage(at + 4, nan),
    ];
    refused("a transfer that damages", whole.failing(faults), Code::CorruptDownload, &["ln_f.bias", "transfer"]);
}

#[test]
fn a_file_of_this_machine_that_is_too_short_is_refused_at_once() {
    let bytes = safetensors(&entries(CONFIG));
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    for cut in [0, 6, 8, 100, header - 1, header, bytes.len() - 1] {
        let files = picked(&[("mine.safetensors", bytes[..cut].to_vec())]);
        let requests = files.requests.clone();
        let error = files.load().err().unwrap_or_else(|| panic!("{cut} bytes were taken"));
        assert_eq!(error.code, Code::BadSafetensors, "{cut}: {}", error.message);
        let expected = if cut < 8 {
            8
        } else if cut < header {
            header
        } else {
            bytes.len()
        };
        for part in ["mine.safetensors".to_string(), format!("{cut} "), format!("{expected}")] {
            assert!(error.message.contains(&part), "{cut}: no {part} in {}", error.message);
        }
        assert!(!error.message.contains("download"), "{}", error.message);
        let asked = requests.borrow().iter().filter(|(name, _)| name == "mine.safetensors").count();
        assert!(asked <= 2, "{cut}: it was asked for {asked} times");
    }
}
