//! Tokens beside the vocabulary's own, such as `<|endoftext|>`: found in the text before it is cut, and never cut.
//! Must never know: merges, files.

use serde_json::{Map, Value};

/// A token that stands beside the vocabulary, and is found in a text before it is split.
#[derive(Clone, Debug, PartialEq, serde::Deserialize)]
pub struct Added {
    /// As the file has it; the vocabulary's own id counts where it has the token, else the next that is free.
    pub id: u32,
    /// How it is written.
    pub content: String,
    /// Found as a word of its own only.
    pub single_word: bool,
    /// Takes the white space before it.
    pub lstrip: bool,
    /// Takes the white space after it.
    pub rstrip: bool,
    /// Looked for after all others.
    pub normalized: bool,
    /// Left out of texts where special tokens are; cut like any text where `split_special_tokens` is set.
    #[serde(default)]
    pub special: bool,
}

impl Added {
    /// `<|endoftext|>` and its like.
    pub fn special(content: &str) -> Added {
        let (single_word, lstrip, rstrip, normalized) = (false, false, false, false);
        Added { id: u32::MAX, content: content.into(), single_word, lstrip, rstrip, normalized, special: true }
    }

    /// From an object such as `{"content": "<pad>", "lstrip": true}`, with Hugging Face's defaults.
    pub fn from_map(map: &Map<String, Value>, special: Option<bool>) -> Option<Added> {
        let flag = |key: &str| map.get(key).and_then(Value::as_bool);
        let special = special.or(flag("special")).unwrap_or(false);
        Some(Added {
            id: u32::MAX,
            content: map.get("content")?.as_str()?.into(),
            single_word: flag("single_word").unwrap_or(false),
            lstrip: flag("lstrip").unwrap_or(false),
            rstrip: flag("rstrip").unwrap_or(false),
            normalized: flag("normalized").unwrap_or(!special),
            special,
        })
    }
}
