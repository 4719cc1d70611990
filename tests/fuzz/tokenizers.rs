//! Tokenizers: random byte-level BPE and what people type and paste. The oracle is Hugging Face's `tokenizers`.

use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use engine::model::Tokenizer;
use engine::{Code, Error};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::damage;
use super::harness::{Input, Outcome, Room};
use super::random::Random;

pub const ROOM: Room = Room { name: "tokenizers", cases: 3000, make, check };

/// The texts of a case are short, but for one of this many letters now and then.
const LONG: usize = 20_000;
/// The peer is asked about texts of at most so many bytes: it takes the square of a text in memory where a token strips
/// spaces.
const MOST_FOR_PEER: usize = 4000;
/// What splitting them may take: a hundred times what it does.
const PATIENCE: Duration = Duration::from_secs(4);

/// GPT-2's own pattern.
const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

const PIECES: &[&str] = &[
    "the",
    "Hello",
    "ab",
    "abc",
    "b",
    "c",
    " ",
    "  ",
    "\t",
    "\n",
    "\r\n",
    "\u{a0}",
    "\u{3000}",
    "\u{200b}",
    "1",
    "23",
    "½",
    "٣",
    "'s",
    "'S",
    "’s",
    "!",
    "...",
    "é",
    "e\u{301}",
    "ß",
    "日本",
    "한국",
    "😀",
    "👩\u{200d}🔬",
    "🇩🇪",
    "\u{feff}",
    "\u{fffd}",
    "\u{0}",
    "\u{10ffff}",
    "\u{e000}",
    "ﷺ",
    "i̇",
    "<|endoftext|>",
    "<x>",
    "<",
    "Ġ",
    "Ċ",
    "Ã",
    "©",
    "_",
    "-",
    "aaaaaaaaaaaaaaaaaaaaaaaa",
];

/// What is asked, in `ask.json`.
#[derive(Deserialize)]
struct Ask {
    texts: Vec<String>,
    /// Whether the file is of a kind that must be read.
    whole: bool,
}

fn make(random: &mut Random) -> Input {
    let mut file = file(random);
    let whole = random.one_in(2);
    if !whole {
        damage::json(random, &mut file);
    }
    let mut bytes = file.to_string().into_bytes();
    if !whole && random.one_in(4) {
        damage::bytes(random, &mut bytes);
    }
    let texts: Vec<String> = (0..random.between(1, 4)).map(|_| text(random)).collect();
    let ask = json!({"texts": texts, "whole": whole});
    [("tokenizer.json".to_owned(), bytes), ("ask.json".to_owned(), ask.to_string().into_bytes())].into()
}

fn text(random: &mut Random) -> String {
    if random.one_in(150) {
        let piece = random.pick(PIECES);
        return piece.repeat(LONG / piece.chars().count());
    }
    let mut text = String::new();
    for _ in 0..random.between(0, 12) {
        match random.below(6) {
            0 => text.extend(char::from_u32(random.below(0x11_0000) as u32)),
            1 => text.push(char::from(random.between(32, 126) as u8)),
            _ => text += random.pick(PIECES),
        }
    }
    text
}

/// A `tokenizer.json` of the kinds that docs/model-formats.md lists.
fn file(random: &mut Random) -> Value {
    let (vocab, merges) = vocabulary(random);
    let unknown = vocab.contains_key("<unk>") && random.one_in(2);
    let byte_level = |random: &mut Random| {
        json!({"type": "ByteLevel", "add_prefix_space": random.one_in(2), "trim_offsets": random.one_in(2),
            "use_regex": !random.one_in(4)})
    };
    let bytes = byte_level(random);
    let pre_tokenizer = match random.below(4) {
        0 => {
            json!({"type": "Sequence", "pretokenizers": [{"type": "Digits", "individual_digits": random.one_in(2)}, bytes]})
        }
        1 => json!({"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": WORDS}, "behavior": "Isolated", "invert": false}, bytes]}),
        _ => bytes,
    };
    let template = json!({"type": "TemplateProcessing",
        "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"<s>": {"id": "<s>", "ids": [random.below(vocab.len())], "tokens": ["<s>"]}}});
    let post_processor = match random.below(5) {
        0 => byte_level(random),
        1 => template,
        2 => json!({"type": "Sequence", "processors": [byte_level(random), template]}),
        _ => Value::Null,
    };
    let mut added = Vec::new();
    for number in 0..if random.one_in(2) { random.below(5) } else { 0 } {
        let content = random.pick(&["<|endoftext|>", "<x>", "<xy>", "ab", " ", "  ", "é", "\n", "a b", "<unk>", "日"]);
        if added.iter().any(|other: &Value| other["content"] == content) {
            continue;
        }
        let id = vocab.get(content).cloned().unwrap_or(json!(vocab.len() + number));
        let special = random.one_in(2);
        // Of white space that takes white space, `tokenizers` 1 makes one token, and its last version before made many.
        let (lstrip, rstrip) = (random.one_in(3), random.one_in(3));
        let strips = !content.starts_with(char::is_whitespace);
        added.push(json!({"id": id, "content": content, "single_word": false, "lstrip": lstrip && strips,
            "rstrip": rstrip && strips, "normalized": !special, "special": special}));
    }
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added, "normalizer": null,
        "pre_tokenizer": pre_tokenizer, "post_processor": post_processor,
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "dropout": null, "unk_token": if unknown { json!("<unk>") } else { Value::Null },
            "continuing_subword_prefix": null, "end_of_word_suffix": null, "fuse_unk": unknown && random.one_in(2),
            "byte_fallback": false, "ignore_merges": random.one_in(5), "vocab": vocab, "merges": merges},
    })
}

/// The characters that stand for bytes, in the order of GPT-2's vocabulary.
fn byte_characters() -> Vec<char> {
    let plain = (33..=126).chain(161..=172).chain(174..=255u32);
    let mut all: Vec<char> = plain.filter_map(char::from_u32).collect();
    let rest = 256 - all.len();
    all.extend((256..).take(rest).filter_map(char::from_u32));
    all
}

fn vocabulary(random: &mut Random) -> (Map<String, Value>, Vec<Value>) {
    let mut tokens: Vec<String> = byte_characters().iter().map(char::to_string).collect();
    if random.one_in(4) {
        // Some bytes are in no token.
        tokens.retain(|_| !random.one_in(3));
        tokens.insert(0, "<unk>".into());
    }
    let (mut merges, pairs) = (Vec::new(), random.one_in(2));
    let common = ["a", "b", "c", "t", "h", "e", "l", "o", "Ġ", "Ċ", "ð", "Ł", "Ã", "©", "1", "2", "s", "'", "."];
    for _ in 0..random.below(60) {
        let part = |random: &mut Random| match random.below(3) {
            0 => tokens[random.below(tokens.len())].clone(),
            1 => tokens[tokens.len().saturating_sub(random.between(1, 20))].clone(),
            _ => random.pick(&common).to_string(),
        };
        let (left, right) = (part(random), part(random));
        let whole = format!("{left}{right}");
        if [&left, &right].iter().all(|part| tokens.contains(part)) && left != "<unk>" && right != "<unk>" {
            merges.push(if pairs { json!([left, right]) } else { json!(format!("{left} {right}")) });
            if !tokens.contains(&whole) {
                tokens.push(whole);
            }
        }
    }
    if random.one_in(2) {
        random.shuffle(&mut tokens);
    }
    (tokens.into_iter().enumerate().map(|(id, token)| (token, json!(id))).collect(), merges)
}

fn check(input: &Input) -> Outcome {
    let file = &input["tokenizer.json"];
    let ask: Ask = serde_json::from_slice(&input["ask.json"]).unwrap();
    // The peer has panics of its own.
    let theirs = catch_unwind(|| tokenizers_peer::Tokenizer::from_bytes(file).ok()).ok().flatten();
    let ours = match Tokenizer::from_json(file) {
        Ok(ours) => ours,
        Err(why) => {
            let error = Error::from(why);
            return match error.code {
                // Of damaged files some are still what `tokenizers` can read, but no more what is known here.
                Code::BadTokenizer if !ask.whole || theirs.is_none() => Ok("refused"),
                // Settings that docs/model-formats.md names as left out, alone or together.
                Code::BadTokenizer if error.message.contains("not supported") => Ok("not supported"),
                code => Err(format!("refused as {}: {error}", code.as_str())),
            };
        }
    };
    let mut kind = "same tokens";
    for text in &ask.texts {
        let begun = Instant::now();
        let found = match ours.encode(text) {
            Ok(found) => found,
            Err(why) => {
                kind = "refused texts";
                let why = Error::from(why);
                if why.message.contains("no token for byte") {
                    continue;
                }
                let refused = theirs.as_ref().and_then(|theirs| theirs.encode_char_offsets(text.as_str(), true).err());
                if refused.is_none() && theirs.is_some() {
                    return Err(format!("{text:?} was refused: {why}"));
                }
                continue;
            }
        };
        let back = ours.text(&found.ids);
        let each: Vec<String> = found.ids.iter().take(50).map(|id| ours.token_text(*id)).collect();
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} bytes of text took {:?}", text.len(), begun.elapsed()));
        }
        let units = text.encode_utf16().count() as u32;
        let (starts, ends): (Vec<u32>, Vec<u32>) = found.spans.as_chunks::<2>().0.iter().map(|[a, b]| (*a, *b)).unzip();
        if found.spans.len() != 2 * found.ids.len() || starts.iter().zip(&ends).any(|(a, b)| a > b || *b > units) {
            return Err(format!("spans of {text:?}: {:?}", found.spans));
        }
        if each.iter().any(String::is_empty) {
            return Err(format!("a token of {text:?} reads nothing: {:?}", found.ids));
        }
        if text.len() > MOST_FOR_PEER {
            continue;
        }
        let Some(theirs) = &theirs else {
            kind = "read by ours alone";
            continue;
        };
        match theirs.encode_char_offsets(text.as_str(), true) {
            Ok(expected) if expected.get_ids() == found.ids => {
                let expected = theirs.decode(&found.ids, false).unwrap_or_default();
                // Damage may give two tokens one id.
                if ask.whole && expected != back {
                    return Err(format!("{:?} read {back:?}, expected {expected:?}", found.ids));
                }
            }
            Ok(expected) => {
                return Err(format!("{text:?} is {:?}, expected {:?}", found.ids, expected.get_ids()));
            }
            Err(why) => return Err(format!("{text:?} is {:?}, and tokenizers refuses it: {why}", found.ids)),
        }
    }
    Ok(kind)
}
