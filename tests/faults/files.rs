//! Files that are wrong in themselves, on a server that serves them well: damaged headers, files that are too short or too
//! long, models that cannot fit.

use engine::Code;
use engine::loading::source::names::{INDEX, ONE_FILE};
use serde_json::{Value, json};

use crate::models::SMALL;
use crate::script::What::*;
use crate::script::{Server, Setup, at, cdn, files, hub};
use crate::support::memory::{entries, safetensors};
use crate::{assert_cases, fails};

fn weights(bytes: impl Into<Vec<u8>>) -> Setup {
    files([(ONE_FILE, bytes.into())])
}

fn whole() -> &'static [u8] {
    SMALL.bytes(ONE_FILE)
}

fn header() -> String {
    String::from_utf8(whole()[8..SMALL.header() as usize].to_vec()).unwrap()
}

/// The file with another header, which gives itself this length.
fn headed(header: &str, announced: u64) -> Setup {
    let tensors = &whole()[SMALL.header() as usize..];
    weights([&announced.to_le_bytes(), header.as_bytes(), tensors].concat())
}

/// The file with its header edited.
fn edited(edit: impl FnOnce(&mut Value)) -> Setup {
    let mut value = serde_json::from_str(&header()).unwrap();
    edit(&mut value);
    let header = value.to_string();
    headed(&header, header.len() as u64)
}

fn text(header: impl AsRef<str>) -> Setup {
    headed(header.as_ref(), header.as_ref().len() as u64)
}

/// The file with a tensor of another type, which takes so many bytes for each of the four that it took.
fn retyped(name: &str, dtype: &'static str, eighths: usize) -> Setup {
    let config = String::from_utf8(SMALL.bytes("config.json").to_vec()).unwrap();
    let mut all = entries(&config);
    let tensor = all.iter_mut().find(|entry| entry.name == name).unwrap();
    (tensor.dtype, tensor.bytes) = (dtype, vec![0; tensor.bytes.len() / 4 * eighths]);
    weights(safetensors(&all))
}

/// The model with other settings.
fn settings(more: Value) -> Setup {
    let mut config: Value = serde_json::from_slice(SMALL.bytes("config.json")).unwrap();
    for (name, value) in more.as_object().unwrap() {
        config[name] = value.clone();
    }
    files([("config.json", config.to_string().into_bytes())])
}

fn blank(name: &'static str, bytes: usize) -> Setup {
    files([(name, vec![b' '; bytes])])
}

impl Setup {
    /// No more of a file is sent than it takes to refuse it.
    fn sends(self, name: &'static str, most: u64) -> Setup {
        self.check(move |hub| {
            let sent = hub.sent(name);
            assert!(sent <= most, "{sent} bytes of {name} were sent before it was refused; {most} would do");
        })
    }

    /// The header tells.
    fn early(self) -> Setup {
        self.sends(ONE_FILE, SMALL.header() + 65_536)
    }
}

#[test]
fn small_files_without_end() {
    let config = |what| at(Server::Hub, "config.json", [what]);
    let index = at(Server::Hub, INDEX, [Packed]).and(hub([Status(404)]));
    assert_cases([
        (
            "a long config.json",
            blank("config.json", 60_000_000).sends("config.json", 0),
            fails(Code::BadConfig, ["config.json", "60 MB"]),
        ),
        (
            "a config.json that tells no length",
            blank("config.json", 60_000_000).and(config(Without(&["content-length"]))).sends("config.json", 5_000_000),
            fails(Code::BadConfig, ["config.json", "MB"]),
        ),
        (
            "a config.json that unpacks to 60 MB",
            blank("config.json", 60_000_000).and(config(Packed)).sends("config.json", 5_000_000),
            fails(Code::BadConfig, ["config.json", "MB"]),
        ),
        (
            "a tokenizer.json that unpacks to 130 MB",
            blank("tokenizer.json", 130_000_000).and(at(Server::Hub, "tokenizer.json", [Packed])),
            fails(Code::BadTokenizer, ["tokenizer.json", "100 MB"]),
        ),
        (
            "an index that unpacks to 60 MB",
            blank(INDEX, 60_000_000).and(index),
            fails(Code::BadSafetensors, ["index.json", "32 MB"]),
        ),
    ]);
}

#[test]
fn headers_that_are_none() {
    let length = header().len() as u64;
    let open = header().replacen('{', "[", 1);
    let no_text = [&whole()[..12], &[0xff, 0xfe], &whole()[14..]].concat();
    assert_cases([
        (
            "a header of 100 MB and more",
            headed(&header(), 100_000_001).early(),
            fails(Code::BadSafetensors, [ONE_FILE, "100000001"]),
        ),
        ("a header of 2^63 bytes", headed(&header(), 1 << 63).early(), fails(Code::BadSafetensors, [ONE_FILE])),
        ("a header of no bytes", headed(&header(), 0).early(), fails(Code::BadSafetensors, [ONE_FILE])),
        (
            "a header that reaches beyond the file",
            headed(&header(), whole().len() as u64 + 1000),
            fails(Code::CorruptDownload, [ONE_FILE]),
        ),
        ("a header that is no JSON", text(open).early(), fails(Code::BadSafetensors, [ONE_FILE])),
        (
            "a header that is a list",
            text(format!("{:1$}", "[1,2]", length as usize)),
            fails(Code::BadSafetensors, [ONE_FILE]),
        ),
        (
            "a header that is nested ten thousand deep",
            text("{\"a\":".repeat(10_000)),
            fails(Code::BadSafetensors, [ONE_FILE]),
        ),
        ("a header with bytes that are no UTF-8", weights(no_text), fails(Code::BadSafetensors, [ONE_FILE])),
    ]);
}

#[test]
fn headers_that_cannot_be_true() {
    let offsets = |tensor: &mut Value| tensor["data_offsets"].as_array().unwrap().clone();
    let moved = |tensor: &mut Value, by: i64| {
        let moved = |at: &Value| at.as_u64().unwrap().saturating_add_signed(by);
        tensor["data_offsets"] = offsets(tensor).iter().map(moved).collect();
    };
    let hole = |header: &mut Value| {
        for tensor in header.as_object_mut().unwrap().values_mut() {
            if tensor["data_offsets"][0].as_u64().unwrap() > 90_000 {
                moved(tensor, 4);
            }
        }
    };
    let end = SMALL.body().end - SMALL.body().start;
    let beyond = json!({ "dtype": "F32", "shape": [250_000], "data_offsets": [end, end + 1_000_000] });
    let table: Value = serde_json::from_str::<Value>(&header()).unwrap()["wpe.weight"].clone();
    let twice = format!("{},\"wpe.weight\":{table}}}", &header()[..header().len() - 1]);
    assert_cases([
        (
            "tensors that overlap",
            edited(|header| moved(&mut header["wpe.weight"], -64)).early(),
            fails(Code::BadSafetensors, ["wpe.weight"]),
        ),
        (
            "two tensors in the same place",
            edited(|header| {
                header["h.0.ln_1.bias"]["data_offsets"] = offsets(&mut header["h.0.ln_1.weight"]).into();
            }),
            fails(Code::BadSafetensors, ["h.0.ln_"]),
        ),
        ("a hole between tensors", edited(hole), fails(Code::BadSafetensors, [ONE_FILE])),
        (
            "a tensor beyond the end of the file",
            edited(|header| header["extra"] = beyond).early(),
            fails(Code::BadSafetensors, [ONE_FILE]),
        ),
        (
            "offsets near 2^64",
            edited(|header| header["wpe.weight"]["data_offsets"] = json!([u64::MAX - 7, u64::MAX])),
            fails(Code::BadSafetensors, [ONE_FILE]),
        ),
        (
            "a shape whose product overflows",
            edited(|header| header["wpe.weight"]["shape"] = json!([1u64 << 32, 1u64 << 32, 2])),
            fails(Code::BadSafetensors, ["wpe.weight"]),
        ),
        ("a name that stands twice", text(twice).early(), fails(Code::BadSafetensors, ["wpe.weight", "twice"])),
        (
            "a wanted tensor in F64",
            retyped("h.2.mlp.c_fc.weight", "F64", 8).early(),
            fails(Code::UnsupportedDtype, ["h.2.mlp.c_fc.weight", "F64"]),
        ),
        (
            "a wanted tensor of integers",
            edited(|header| header["wte.weight"]["dtype"] = "I32".into()).early(),
            fails(Code::UnsupportedDtype, ["wte.weight", "I32"]),
        ),
        (
            "a wanted tensor in eight bits",
            retyped("wte.weight", "F8_E4M3", 1),
            fails(Code::UnsupportedDtype, ["wte.weight", "F8_E4M3"]),
        ),
    ]);
}

#[test]
fn settings_that_do_not_fit() {
    let xl = json!({ "n_embd": 1600, "n_layer": 48, "n_head": 25, "n_positions": 1024, "vocab_size": 50257 });
    let no_weights = |hub: &crate::hub::Hub| {
        assert_eq!(hub.asked(".safetensors"), [], "config.json alone tells that the model cannot fit");
    };
    assert_cases([
        (
            "a block fewer than config.json says",
            settings(json!({ "n_layer": 4 })).early(),
            fails(Code::MissingTensor, ["h.3."]),
        ),
        (
            "another width than config.json says",
            settings(json!({ "n_embd": 128 })).early(),
            fails(Code::ShapeMismatch, ["128"]),
        ),
        ("gpt2-xl, which four gigabytes do not hold", settings(xl).check(no_weights), fails(Code::OutOfMemory, ["GB"])),
        (
            "sizes that overflow",
            settings(json!({ "n_embd": 1u64 << 31, "n_layer": 1 << 20, "n_head": 2 })),
            fails(Code::BadConfig, ["n_embd"]),
        ),
    ]);
}

#[test]
fn files_of_another_length() {
    let short = || weights(&whole()[..whole().len() - 5000]);
    let long = || weights([whole(), &[7; 4096]].concat());
    let pointer =
        format!("version https://git-lfs.github.com/spec/v1\noid sha256:{}\nsize 548105171\n", "0".repeat(64));
    let elsewhere = br#"{"weight_map":{"wte.weight":"../../elsewhere.safetensors"}}"#.to_vec();
    assert_cases([
        ("a file that ends early, and its server knows", short(), fails(Code::BadSafetensors, [ONE_FILE])),
        (
            "a file that ends early, on a server without ranges",
            short().and(cdn([NoRange, Without(&["content-length"])])),
            fails(Code::CorruptDownload, [ONE_FILE]),
        ),
        (
            "a file that ends early, and nothing is exposed",
            short().and(cdn([Without(&["content-length", "content-range", "etag"])])).folder(),
            fails(Code::CorruptDownload, [ONE_FILE]),
        ),
        ("a file that goes on after its last tensor", long(), fails(Code::BadSafetensors, [ONE_FILE])),
        (
            "a file that goes on, on a server without ranges",
            long().and(cdn([NoRange])),
            fails(Code::BadSafetensors, [ONE_FILE]),
        ),
        ("a file of no bytes", weights([]), fails(Code::CorruptDownload, [ONE_FILE])),
        ("a pointer of Git LFS instead of the weights", weights(pointer), fails(Code::BadSafetensors, [ONE_FILE])),
        (
            "weights that the index of shards sends elsewhere",
            files([(INDEX, elsewhere)]).and(hub([Status(404)])),
            fails(Code::MissingTensor, ["wpe.weight"]),
        ),
    ]);
}
