//! The tokenizer against Hugging Face's `tokenizers` 0.23, which shares no code with the version in use: the same ids, spans and texts, whatever the text and settings.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests end by panicking, their helpers too")]

use std::sync::LazyLock;

use engine::model::Tokenizer;
use engine::{Code, Error};
use proptest::prelude::*;
use serde_json::{Value, json};

const FOLDER: &str = "tests/fixtures/gpt2-tokenizer";

/// GPT-2's vocabulary and merges as parts of a `tokenizer.json`.
static GPT2: LazyLock<(Value, Value)> = LazyLock::new(|| {
    let read = |name: &str| std::fs::read_to_string(format!("{FOLDER}/{name}")).unwrap();
    let vocab: Value = serde_json::from_str(&read("vocab.json")).unwrap();
    let lines = read("merges.txt");
    let merges: Vec<[&str; 2]> =
        lines.lines().skip(1).filter_map(|line| line.split_once(' ')).map(|(left, right)| [left, right]).collect();
    (vocab, json!(merges))
});

/// A vocabulary of some bytes and few merges, so that much is unknown.
fn small() -> (Value, Value) {
    let tokens = ["<unk>", "Ġ", "a", "b", "c", "1", "ab", "Ġa", "abc", "Ġabc", "Ã", "©", "Ã©", "Ċ"];
    let vocab: serde_json::Map<_, _> =
        tokens.iter().enumerate().map(|(id, token)| (token.to_string(), id.into())).collect();
    (
        vocab.into(),
        json!(
            ["Ġ a", "a b", "ab c", "Ġa bc", "Ã ©", "Ġ abc"]
                .map(|line| line.split_once(' ').unwrap())
                .into_iter()
                .filter(|(_, right)| *right != "bc")
                .map(|(left, right)| format!("{left} {right}"))
                .collect::<Vec<_>>()
        ),
    )
}

fn file((vocab, merges): (Value, Value), change: impl FnOnce(&mut Value)) -> String {
    let byte_level = json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": true});
    let mut file = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
        "pre_tokenizer": byte_level, "post_processor": null, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null,
            "end_of_word_suffix": null, "fuse_unk": false, "byte_fallback": false, "ignore_merges": false,
            "vocab": vocab, "merges": merges},
    });
    change(&mut file);
    file.to_string()
}

fn added(id: u32, content: &str, lstrip: bool, rstrip: bool, normalized: bool) -> Value {
    json!({"id": id, "content": content, "single_word": false, "lstrip": lstrip, "rstrip": rstrip,
        "normalized": normalized, "special": !normalized})
}

const CL100K: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
const O200K: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// Splits by these patterns one after the other, then bytes.
fn splits(patterns: &[&str]) -> Value {
    let mut steps: Vec<Value> = patterns
        .iter()
        .map(|pattern| json!({"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": false}))
        .collect();
    steps.push(json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}));
    json!({"type": "Sequence", "pretokenizers": steps})
}

/// A known pattern, cut in another way than the crate can without an engine for regular expressions.
fn merged_split() -> Value {
    let mut value = splits(&[CL100K]);
    value["pretokenizers"][0]["behavior"] = json!("MergedWithPrevious");
    value
}

/// Files that differ in one respect each, by what they differ in.
fn files() -> Vec<(&'static str, String)> {
    let byte_level = |prefix: bool, trim: bool, regex: bool| json!({"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": trim, "use_regex": regex});
    let digits = |individual: bool| {
        json!({"type": "Sequence", "pretokenizers":
            [{"type": "Digits", "individual_digits": individual}, byte_level(false, true, true)]})
    };
    let template = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [50256], "tokens": ["<|endoftext|>"]},
            "</s>": {"id": "</s>", "ids": [0, 1], "tokens": ["!", "\""]}}});
    let split = json!({"type": "Sequence", "pretokenizers": [
        {"type": "Split", "pattern": {"Regex": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"},
            "behavior": "Isolated", "invert": false},
        byte_level(false, true, false)]});
    let gpt2 = || GPT2.clone();
    vec![
        ("GPT-2", file(gpt2(), |_| {})),
        (
            "an end of text",
            file(gpt2(), |file| file["added_tokens"] = json!([added(50256, "<|endoftext|>", false, false, false)])),
        ),
        ("a prefix space", file(gpt2(), |file| file["pre_tokenizer"] = byte_level(true, true, true))),
        ("no pattern", file(gpt2(), |file| file["pre_tokenizer"] = byte_level(true, true, false))),
        (
            "trimmed spans",
            file(gpt2(), |file| {
                file["pre_tokenizer"] = byte_level(true, true, true);
                file["post_processor"] = byte_level(true, true, true);
                file["added_tokens"] =
                    json!([added(50257, "  ", false, false, false), added(50258, "<x>", false, true, true)]);
            }),
        ),
        ("trimmed spans without prefix", file(gpt2(), |file| file["post_processor"] = byte_level(false, true, true))),
        ("digits", file(gpt2(), |file| file["pre_tokenizer"] = digits(false))),
        ("single digits", file(gpt2(), |file| file["pre_tokenizer"] = digits(true))),
        ("the pattern apart", file(gpt2(), |file| file["pre_tokenizer"] = split.clone())),
        ("cl100k's pattern", file(gpt2(), |file| file["pre_tokenizer"] = splits(&[CL100K]))),
        ("o200k's pattern", file(gpt2(), |file| file["pre_tokenizer"] = splits(&[O200K]))),
        (
            "a word to split by",
            file(gpt2(), |file| {
                file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Split", "pattern": {"String": "ab"}, "behavior": "MergedWithNext", "invert": false},
                    byte_level(false, true, false)]});
            }),
        ),
        (
            "punctuation",
            file(gpt2(), |file| {
                file["pre_tokenizer"] = json!({"type": "Sequence", "pretokenizers": [
                    {"type": "Punctuation", "behavior": "MergedWithPrevious"}, byte_level(false, true, true)]});
            }),
        ),
        (
            "tokens around the text",
            file(gpt2(), |file| {
                file["post_processor"] =
                    json!({"type": "Sequence", "processors": [byte_level(true, true, true), template]});
            }),
        ),
        (
            "added tokens",
            file(gpt2(), |file| {
                file["added_tokens"] = json!([
                    added(50256, "<|endoftext|>", false, false, false),
                    added(50257, "<x>", true, false, false),
                    added(50258, "<xy>", false, true, false),
                    added(50260, "é", false, false, true),
                    added(7, "abc", false, false, true),
                    added(50300, "ab", true, true, true),
                ])
            }),
        ),
        ("whole pieces", file(gpt2(), |file| file["model"]["ignore_merges"] = json!(true))),
        ("no decoder", file(gpt2(), |file| file["decoder"] = json!(null))),
        ("unknown bytes", file(small(), |file| file["model"]["unk_token"] = json!("<unk>"))),
    ]
}

struct Pair {
    what: &'static str,
    ours: Tokenizer,
    theirs: tokenizers_peer::Tokenizer,
}

static PAIRS: LazyLock<Vec<Pair>> = LazyLock::new(|| {
    let pair = |(what, file): (&'static str, String)| Pair {
        what,
        ours: Tokenizer::from_json(file.as_bytes()).unwrap_or_else(|why| panic!("{what}: {why}")),
        theirs: tokenizers_peer::Tokenizer::from_bytes(file.as_bytes()).unwrap_or_else(|why| panic!("{what}: {why}")),
    };
    files().into_iter().map(pair).collect()
});

/// Texts of pieces that meet each other's rules: words, endings, numbers, white space, signs, tokens, any character.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        prop::sample::select(vec![
            "the",
            "Hello",
            "abc",
            "ab",
            "é",
            "e\u{301}",
            "日本",
            "😀",
            "👩\u{200d}🔬",
            "𝕌",
            "'s",
            "'ve",
            "'",
            "''ll",
            "12",
            "3",
            "½",
            "Ⅷ",
            " ",
            "  ",
            "   ",
            "\n",
            "\r\n",
            "\t",
            "\u{a0}",
            "\u{3000}",
            "\u{85}",
            "\u{200b}",
            ".",
            "...",
            "!?",
            "_",
            "$5",
            "Ġ",
            "Ċ",
            "<|endoftext|>",
            "<x>",
            "<xy>",
            "<",
            "aaaaaaaa",
            "abcabc",
            " abc",
            "�",
        ])
        .prop_map(str::to_string),
        any::<char>().prop_map(String::from),
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// Offsets of `tokenizers` are in characters.
fn in_utf16(text: &str, offset: usize) -> u32 {
    text.chars().take(offset).map(|character| character.len_utf16() as u32).sum()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn texts_give_the_same_tokens_at_the_same_places(text in text()) {
        for Pair { what, ours, theirs } in PAIRS.iter() {
            let found = ours.encode(&text).unwrap();
            let expected = theirs.encode_char_offsets(text.as_str(), true).unwrap();
            prop_assert_eq!(&found.ids[..], expected.get_ids(), "tokenizer, {}: ids of {:?}", what, text);
            let spans: Vec<u32> = expected.get_offsets().iter()
                .flat_map(|(start, end)| [in_utf16(&text, *start), in_utf16(&text, *end)]).collect();
            prop_assert_eq!(&found.spans, &spans, "tokenizer, {}: spans of {:?}", what, text);
            let back = theirs.decode(&found.ids, false).unwrap();
            prop_assert_eq!(ours.text(&found.ids), back, "tokenizer, {}: {:?} and back", what, text);
        }
    }

    #[test]
    fn ids_give_the_same_text(ids in prop::collection::vec(0u32..50400, 0..8)) {
        for Pair { what, ours, theirs } in PAIRS.iter() {
            prop_assert_eq!(ours.text(&ids), theirs.decode(&ids, false).unwrap(), "tokenizer, {}: {:?}", what, ids);
        }
    }
}

#[test]
fn a_part_that_is_not_known_is_refused_by_name() {
    let set = |place: &'static str, value: Value| move |file: &mut Value| *file.pointer_mut(place).unwrap() = value;
    let sequence = |list: &str, parts: Value| json!({"type": "Sequence", list: parts});
    for (change, named) in [
        (set("/model/type", json!("WordPiece")), "WordPiece"),
        (set("/model/type", json!("Unigram")), "Unigram"),
        (set("/model/dropout", json!(0.1)), "dropout"),
        (set("/model/continuing_subword_prefix", json!("##")), "continuing_subword_prefix"),
        (set("/model/end_of_word_suffix", json!("</w>")), "end_of_word_suffix"),
        (set("/model/byte_fallback", json!(true)), "byte_fallback"),
        (set("/model", json!({"type": "BPE", "vocab": {}, "merges": [], "cache_of_tomorrow": 1})), "cache_of_tomorrow"),
        (set("/version", json!("3.0")), "3.0"),
        (set("/normalizer", json!({"type": "NFC"})), "NFC"),
        (set("/normalizer", sequence("normalizers", json!([{"type": "Lowercase"}]))), "Lowercase"),
        (set("/pre_tokenizer", json!(null)), "ByteLevel"),
        (set("/pre_tokenizer", json!({"type": "Whitespace"})), "ByteLevel"),
        (set("/pre_tokenizer", json!({"type": "ByteLevel", "trim_offsets": true})), "add_prefix_space"),
        (set("/pre_tokenizer/use_regex", json!("yes")), "use_regex"),
        (
            set(
                "/pre_tokenizer",
                json!({"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "mode": 2}),
            ),
            "mode",
        ),
        (
            set(
                "/pre_tokenizer",
                sequence(
                    "pretokenizers",
                    json!([{"type": "Whitespace"},
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]),
                ),
            ),
            "Whitespace",
        ),
        (
            set(
                "/pre_tokenizer",
                sequence(
                    "pretokenizers",
                    json!([{"type": "Digits", "individual_digits": true},
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]),
                ),
            ),
            "add_prefix_space",
        ),
        (
            set(
                "/pre_tokenizer",
                sequence(
                    "pretokenizers",
                    json!([
                {"type": "Split", "pattern": {"Regex": r"\d"}, "behavior": "Removed", "invert": false},
                {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true}]),
                ),
            ),
            "Split",
        ),
        (set("/pre_tokenizer", splits(&[r"\d{1,2}|[a-c]+(?!b)"])), "[a-c]"),
        (set("/pre_tokenizer", splits(&[CL100K, r"\p{N}\p{L}"])), "cl100k"),
        (set("/pre_tokenizer", merged_split()), "Isolated"),
        (set("/post_processor", json!({"type": "BertProcessing"})), "BertProcessing"),
        (set("/post_processor", json!({"type": "TemplateProcessing", "single": [], "pair": []})), "TemplateProcessing"),
        (set("/decoder", json!({"type": "Metaspace"})), "Metaspace"),
        (set("/decoder", json!("ByteLevel")), "decoder"),
        (
            set(
                "/added_tokens",
                json!([{"id": 50257, "content": "<y>", "single_word": true, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}]),
            ),
            "<y>",
        ),
    ] {
        let Err(error) = Tokenizer::from_json(file(GPT2.clone(), change).as_bytes()) else {
            panic!("read.rs took a tokenizer.json with {named}")
        };
        let error = Error::from(error);
        assert_eq!(error.code, Code::BadTokenizer, "read.rs: {named}");
        assert!(error.message.contains(named), "read.rs: no {named} in {:?}", error.message);
    }
}

#[test]
fn bytes_that_the_vocabulary_lacks_are_named() {
    let lacking = Tokenizer::from_json(file(small(), |_| {}).as_bytes()).unwrap();
    assert_eq!(lacking.encode("abc").unwrap().ids, [8], "vocabulary.rs: what it has is split");
    let error = Error::from(lacking.encode("abd").unwrap_err());
    assert_eq!(error.code, Code::BadTokenizer);
    assert!(error.message.contains("'d'"), "spans.rs: no 'd' in {:?}", error.message);
    let fused = file(small(), |file| {
        file["model"]["unk_token"] = json!("<unk>");
        file["model"]["fuse_unk"] = json!(true);
    });
    let error = Error::from(Tokenizer::from_json(fused.as_bytes()).err().unwrap());
    assert!(error.message.contains("fuse_unk"), "vocabulary.rs: {:?}", error.message);
}

#[test]
fn what_would_break_the_reader_is_refused() {
    for (change, named) in [
        (json!({"a": 4294967295u32}), "4294967295"),
        (json!({"a": 1, "b": 1}), "id 1"),
        (json!({"a": "b"}), "invalid type"),
    ] {
        let damaged = file(small(), |file| file["model"]["vocab"] = change);
        let error = Error::from(Tokenizer::from_json(damaged.as_bytes()).err().unwrap());
        assert!(error.message.contains(named), "vocabulary.rs: no {named} in {:?}", error.message);
    }
}
