//! Text to tokens: GPT-2's own files against ids of Hugging Face, spans, and damaged files.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

mod support;

use engine::model::tokenizer::SmallFiles;
use engine::model::{ModelError, Tokenizer};
use engine::{Code, Error};
use serde::Deserialize;
use serde_json::{Value, json};

const FOLDER: &str = "tests/fixtures/gpt2-tokenizer";
const TEXTS: [&str; 6] = [
    "The quick brown fox.",
    " leading and trailing ",
    "😀 emoji 👩\u{200d}🔬 family",
    "日本語のテキスト, naïve café",
    "e\u{301} combining\r\n\r\n\tx",
    "𝕌 beyond the first plane 🏴",
];

#[derive(Deserialize)]
struct Case {
    text: String,
    ids: Vec<u32>,
}

fn file(name: &str) -> Vec<u8> {
    std::fs::read(format!("{FOLDER}/{name}")).unwrap_or_else(|why| panic!("{FOLDER}/{name}: {why}"))
}

fn cases() -> Vec<Case> {
    serde_json::from_slice(&file("cases.json")).unwrap()
}

/// GPT-2's `vocab.json` and `merges.txt` in one `tokenizer.json`, as Hugging Face writes it.
fn as_json() -> Value {
    let vocab: Value = serde_json::from_slice(&file("vocab.json")).unwrap();
    let merges = String::from_utf8(file("merges.txt")).unwrap();
    let merges: Vec<&str> = merges.lines().filter(|line| !line.starts_with("#version") && !line.is_empty()).collect();
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    json!({
        "version": "1.0",
        // Both are in published files, and neither may cut or lengthen what is traced.
        "truncation": {"direction": "Right", "max_length": 3, "strategy": "LongestFirst", "stride": 0},
        "padding": {"strategy": {"Fixed": 16}, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 0,
            "pad_type_id": 0, "pad_token": "!"},
        "added_tokens": [{"id": 50256, "content": "<|endoftext|>", "single_word": false, "lstrip": false,
            "rstrip": false, "normalized": false, "special": true}],
        "normalizer": null, "pre_tokenizer": byte_level, "post_processor": byte_level, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": "",
            "end_of_word_suffix": "", "fuse_unk": false, "vocab": vocab, "merges": merges}
    })
}

/// GPT-2's tokenizer from either kind of file.
fn both() -> [(&'static str, Tokenizer); 2] {
    [
        (
            "vocab.json + merges.txt",
            Tokenizer::from_vocab_and_merges(&file("vocab.json"), &file("merges.txt")).unwrap(),
        ),
        ("tokenizer.json", Tokenizer::from_json(as_json().to_string().as_bytes()).unwrap()),
    ]
}

#[test]
fn texts_give_hugging_faces_ids() {
    for (source, tokenizer) in both() {
        for case in cases() {
            let found = tokenizer.encode(&case.text).unwrap().ids;
            assert_eq!(found, case.ids, "tokenizer.rs, from {source}: {:?}", case.text);
        }
    }
}

#[test]
fn spans_cover_the_text_in_order() {
    for (source, tokenizer) in both() {
        for text in TEXTS {
            let encoded = tokenizer.encode(text).unwrap();
            let what = format!("tokenizer.rs, from {source}: {text:?}, spans {:?}", encoded.spans);
            let units: Vec<u16> = text.encode_utf16().collect();
            assert_eq!(encoded.spans.len(), 2 * encoded.ids.len(), "{what}: two offsets a token");
            let mut before = [0, 0];
            for span in encoded.spans.chunks(2) {
                let [start, end] = [span[0], span[1]];
                // Next to the token before, or (parts of one character) overlapping its end.
                assert!(start <= before[1] && start >= before[0] && end >= before[1], "{what}: at {start}..{end}");
                let part = String::from_utf16(&units[start as usize..end as usize]);
                assert!(part.is_ok_and(|part| !part.is_empty()), "{what}: {start}..{end} cuts a character");
                before = [start, end];
            }
            assert_eq!(before[1] as usize, units.len(), "{what}: the text's end is not covered");
        }
    }
}

#[test]
fn an_emoji_split_over_several_tokens_shares_one_span() {
    for (source, tokenizer) in both() {
        let encoded = tokenizer.encode("a😀b").unwrap();
        let count = encoded.ids.len();
        assert!(count > 3, "{source}: this emoji is meant to be several tokens, got {:?}", encoded.ids);
        let spans: Vec<_> = encoded.spans.chunks(2).collect();
        assert_eq!(spans[0], [0, 1], "tokenizer.rs, from {source}");
        // Two UTF-16 code units, one character, four bytes.
        assert!(spans[1..count - 1].iter().all(|span| *span == [1, 3]), "tokenizer.rs, from {source}: {spans:?}");
        assert_eq!(spans[count - 1], [3, 4], "tokenizer.rs, from {source}: offsets are not UTF-16");
        let parts: Vec<_> = encoded.ids.iter().map(|&id| tokenizer.token_text(id)).collect();
        assert!(parts[1..count - 1].iter().all(|part| part.contains('\u{fffd}')), "{source}: {parts:?}");
    }
}

#[test]
fn tokens_show_as_their_text() {
    for (source, tokenizer) in both() {
        for case in cases().iter().filter(|case| case.text.is_ascii()) {
            let text: String = case.ids.iter().map(|&id| tokenizer.token_text(id)).collect();
            assert_eq!(text, case.text, "tokenizer.rs, token_text, from {source}");
        }
        assert_eq!(tokenizer.token_text(50256), "<|endoftext|>", "{source}: special tokens show too");
        assert_eq!(tokenizer.token_text(60000), "#60000", "{source}: an id outside the vocabulary");
    }
}

#[test]
fn the_end_of_text_is_one_token_wherever_it_stands() {
    for (source, tokenizer) in both() {
        let encoded = tokenizer.encode("one<|endoftext|> two").unwrap();
        assert_eq!(encoded.ids, [505, 50256, 734], "tokenizer.rs, from {source}: <|endoftext|>");
        assert_eq!(encoded.spans, [0, 3, 3, 16, 16, 20], "tokenizer.rs, from {source}: spans around it");
    }
}

#[test]
fn an_empty_text_has_no_tokens() {
    for (source, tokenizer) in both() {
        let encoded = tokenizer.encode("").unwrap();
        assert!(encoded.ids.is_empty() && encoded.spans.is_empty(), "tokenizer.rs, from {source}: {encoded:?}");
    }
}

fn refused(what: &str, tokenizer: Result<Tokenizer, ModelError>, file: &str) {
    let Err(error) = tokenizer else { panic!("tokenizer.rs took {what}") };
    let error = Error::from(error);
    assert_eq!(error.code, Code::BadTokenizer, "tokenizer.rs: {what}");
    assert!(error.message.starts_with(file), "tokenizer.rs: {what}: no {file} in {:?}", error.message);
}

#[test]
fn damaged_files_are_named() {
    let (vocab, merges) = (file("vocab.json"), file("merges.txt"));
    for (what, damaged) in [
        ("half a vocabulary", &vocab[..vocab.len() / 2]),
        ("a web page", b"<!doctype html>".as_slice()),
        ("a list", b"[1, 2]"),
        ("an id that is no number", br#"{"a": "b"}"#),
        ("a negative id", br#"{"a": -1}"#),
        ("nothing", b""),
    ] {
        refused(what, Tokenizer::from_vocab_and_merges(damaged, &merges), "vocab.json");
    }
    for (what, damaged) in [
        ("a line of one part", b"#version: 0.2\na b\nc\n".as_slice()),
        ("a line of three parts", b"a b c\n"),
        ("bytes that are no text", b"\xff\xfe a\n"),
        ("a merge outside the vocabulary", "ħħħ ħħħ\n".as_bytes()),
        ("a web page", b"<!doctype html>\n<html><body></body></html>\n"),
    ] {
        refused(what, Tokenizer::from_vocab_and_merges(&vocab, damaged), "merges.txt");
    }
    let mut other = as_json();
    other["model"]["type"] = json!("Morse");
    let mut no_model = as_json();
    no_model.as_object_mut().unwrap().remove("model");
    for (what, damaged) in [
        ("another kind of model", other.to_string()),
        ("no model", no_model.to_string()),
        ("half a file", as_json().to_string().split_at(9000).0.to_string()),
        ("a web page", "<!doctype html>".into()),
        ("nothing", String::new()),
    ] {
        refused(what, Tokenizer::from_json(damaged.as_bytes()), "tokenizer.json");
    }
}

/// Folders whose small files change the ids; what transformers makes of texts is in their `expected.json`.
const SETTINGS: [&str; 5] = ["b04-added", "b04-map", "b04-decoder", "b05-prefix", "b05-bos"];

fn from_folder(name: &str) -> Tokenizer {
    let read = |file: &str| std::fs::read(format!("tests/fixtures/tokenizer-settings/{name}/{file}")).ok();
    let small = SmallFiles {
        config: read("tokenizer_config.json"),
        special: read("special_tokens_map.json"),
        added: read("added_tokens.json"),
    };
    match read("tokenizer.json") {
        Some(json) => Tokenizer::from_json_with(&json, &small).unwrap(),
        None => {
            let (vocab, merges) = (read("vocab.json").unwrap(), read("merges.txt").unwrap());
            Tokenizer::from_vocab_and_merges_with(&vocab, &merges, &small).unwrap()
        }
    }
}

#[test]
fn settings_beside_the_tokenizer_count() {
    for name in SETTINGS {
        let path = format!("tests/fixtures/tokenizer-settings/{name}/expected.json");
        let expected: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        let tokenizer = from_folder(name);
        let texts = expected["texts"].as_array().unwrap();
        assert!(texts.len() > 3, "tokenizer.rs: {name} tests nothing");
        for case in texts {
            let text = case["text"].as_str().unwrap();
            let found = tokenizer.encode(text).unwrap();
            assert_eq!(json!(found.ids), case["ids"], "settings.rs, {name}: {text:?}");
            assert_eq!(found.spans.len(), 2 * found.ids.len(), "spans.rs, {name}: {text:?}");
        }
    }
}

#[test]
fn a_token_around_the_text_has_no_place_in_it() {
    let found = from_folder("b05-bos").encode("the").unwrap();
    assert_eq!((found.ids, found.spans), (vec![261, 257], vec![0, 0, 0, 3]), "spans.rs");
    let found = from_folder("b05-prefix").encode("1 a").unwrap();
    assert_eq!(found.spans, [0, 1, 0, 1, 1, 3], "spans.rs: the space before is shown at the first character");
}

/// What transformers 5.24 makes of `the<pad>`, `the cat`, `<|endoftext|>12` and `the<q>` in b04-decoder with
/// another `tokenizer_config.json`.
#[test]
fn settings_are_read_as_transformers_reads_them() {
    let json = std::fs::read("tests/fixtures/tokenizer-settings/b04-decoder/tokenizer.json").unwrap();
    let with = |config: Option<Value>, prefix: bool| {
        let mut json: Value = serde_json::from_slice(&json).unwrap();
        json["pre_tokenizer"]["add_prefix_space"] = json!(prefix);
        let small =
            SmallFiles { config: config.map(|config| config.to_string().into_bytes()), ..SmallFiles::default() };
        let tokenizer = Tokenizer::from_json_with(json.to_string().as_bytes(), &small).unwrap();
        ["the<pad>", "the cat", "<|endoftext|>12", "the<q>"].map(|text| tokenizer.encode(text).unwrap().ids)
    };
    let ids = |lists: [&[u32]; 4]| lists.map(<[u32]>::to_vec);
    let plain = ids([&[257, 60, 112, 97, 100, 62], &[257, 32, 99, 97, 116], &[261, 49, 50], &[257, 60, 113, 62]]);
    let spaced = ids([&[258, 60, 112, 97, 100, 62], &[258, 32, 99, 97, 116], &[261, 32, 49, 50], &[258, 60, 113, 62]]);
    let padded = ids([&[257, 262], &[257, 32, 99, 97, 116], &[261, 49, 50], &[257, 60, 113, 62]]);
    for (what, config, prefix, expected) in [
        ("no settings", None, false, &plain),
        ("GPT-2's tokenizer adds no space unless told", None, true, &plain),
        ("tokenizer.json decides", Some(json!({"tokenizer_class": "PreTrainedTokenizerFast"})), true, &spaced),
        ("told", Some(json!({"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": true})), false, &spaced),
        (
            "told in vain",
            Some(json!({"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": true})),
            false,
            &plain,
        ),
        (
            "an id that is not the next",
            Some(json!({"added_tokens_decoder": {"300": {"content": "<pad>"}}})),
            false,
            &padded,
        ),
        (
            "a token with settings",
            Some(json!({"pad_token": {"__type": "AddedToken", "content": "<pad>", "lstrip": true}})),
            false,
            &padded,
        ),
        ("tokenizer.json says what goes around", Some(json!({"add_bos_token": true})), false, &plain),
    ] {
        assert_eq!(&with(config, prefix), expected, "settings.rs: {what}");
    }
    let both = with(Some(json!({"additional_special_tokens": ["<q>"], "x_token": "<pad>"})), false);
    assert_eq!((&both[0][..], &both[3][..]), (&[257, 262][..], &[257, 263][..]), "settings.rs: tokens without a role");
}

#[test]
fn damaged_settings_are_named() {
    let json = as_json().to_string();
    let with = |small: SmallFiles| Tokenizer::from_json_with(json.as_bytes(), &small);
    let half = || Some(b"{\"a\"".to_vec());
    refused("half", with(SmallFiles { config: half(), ..Default::default() }), "tokenizer_config.json");
    refused("half", with(SmallFiles { special: half(), ..Default::default() }), "special_tokens_map.json");
    refused("half", with(SmallFiles { added: half(), ..Default::default() }), "added_tokens.json");
    let text = Some(br#"{"<x>": "one"}"#.to_vec());
    refused("an id that is none", with(SmallFiles { added: text, ..Default::default() }), "added_tokens.json");
}

#[test]
fn a_byte_order_mark_is_passed_over() {
    let marked = |bytes: &[u8]| [b"\xef\xbb\xbf", bytes].concat();
    let pair = Tokenizer::from_vocab_and_merges(&marked(&file("vocab.json")), &marked(&file("merges.txt"))).unwrap();
    let json = Tokenizer::from_json(&marked(as_json().to_string().as_bytes())).unwrap();
    for tokenizer in [pair, json] {
        assert_eq!(tokenizer.encode("one two").unwrap().ids, [505, 734], "tokenizer/mod.rs");
    }
}

/// Many added tokens, long words and long white space: seconds were minutes once.
#[test]
fn large_vocabularies_and_long_texts_take_no_quadratic_time() {
    let added = |id: usize, content: &str, strip: bool| {
        json!({"id": id, "content": content, "single_word": false, "lstrip": strip, "rstrip": strip,
            "normalized": false, "special": false})
    };
    let with = |tokens: Vec<Value>| {
        let mut json = as_json();
        json["added_tokens"] = json!(tokens);
        Tokenizer::from_json(json.to_string().as_bytes()).unwrap()
    };
    let timed = |what: &str, tokenizer: &Tokenizer, text: &str| {
        let begin = std::time::Instant::now();
        let encoded = tokenizer.encode(text).unwrap();
        let took = begin.elapsed();
        println!("{what}: {took:?}, {} tokens", encoded.ids.len());
        assert!(took.as_secs() < 5, "tokenizer.rs: {what} took {took:?}");
        encoded
    };
    for count in [20_000, 200_000] {
        let many = with((0..count).map(|index| added(50257 + index, &format!("word{index}<>"), false)).collect());
        for letters in [1_000, 10_000, 50_000] {
            timed(&format!("{count} added tokens, {letters} letters"), &many, &"w".repeat(letters));
        }
    }
    let space = with(vec![added(50257, " ", true)]);
    let encoded = timed("a space that takes others, 100,000 spaces", &space, &" ".repeat(100_000));
    assert_eq!(encoded.spans, [0, 100_000]);
}
