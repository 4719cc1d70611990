//! Text to tokens and back, by the `tokenizers` crate.
//!
//! From `tokenizer.json`, or from GPT-2's own pair `vocab.json` + `merges.txt` under its byte-level rules.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, DecoderWrapper, PostProcessorWrapper, PreTokenizerWrapper};

use super::ModelError;

/// Marks the end of a document in GPT-2's training text; a token of its own, never split.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Splits text as the model was taught to.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file to blame where its rules fail on a text.
    file: &'static str,
}

/// One text as T tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Encoded {
    /// T ids.
    pub ids: Vec<u32>,
    /// 2T offsets `[start, end)` into the text in UTF-16 code units. Tokens that hold parts of one
    /// character have its span.
    pub spans: Vec<u32>,
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json`.
    ///
    /// # Errors
    /// `BadTokenizer`.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer, ModelError> {
        let bad = |why: String| ModelError::BadTokenizer { file: "tokenizer.json", why };
        let mut inner = tokenizers::Tokenizer::from_bytes(bytes).map_err(|why| bad(why.to_string()))?;
        // Sequences are run one by one and whole; padding or cutting them would change what is traced.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|why| bad(why.to_string()))?;
        Ok(Tokenizer { inner, file: "tokenizer.json" })
    }

    /// From the bytes of `vocab.json` and `merges.txt`, by GPT-2's rules: byte-level BPE, no prefix space,
    /// offsets that keep their leading space.
    ///
    /// # Errors
    /// `BadTokenizer`.
    pub fn from_vocab_and_merges(vocab: &[u8], merges: &[u8]) -> Result<Tokenizer, ModelError> {
        let vocab: HashMap<String, u32> = serde_json::from_slice(vocab)
            .map_err(|why| ModelError::BadTokenizer { file: "vocab.json", why: why.to_string() })?;
        let merges = parse_merges(merges)?;
        let special = vocab.contains_key(END_OF_TEXT);
        let bad = |why: tokenizers::Error| ModelError::BadTokenizer { file: "merges.txt", why: why.to_string() };
        let vocab: Vocab = vocab.into_iter().collect();
        let model = BPE::builder().vocab_and_merges(vocab, merges).build().map_err(bad)?;
        let mut inner = tokenizers::Tokenizer::new(model);
        let byte_level = ByteLevel::new(false, false, true);
        inner
            .with_pre_tokenizer(Some(PreTokenizerWrapper::ByteLevel(byte_level)))
            .with_post_processor(Some(PostProcessorWrapper::ByteLevel(byte_level)))
            .with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)));
        if special {
            inner.add_special_tokens([AddedToken::from(END_OF_TEXT, true)]).map_err(bad)?;
        }
        Ok(Tokenizer { inner, file: "vocab.json" })
    }

    /// Splits a text. An empty text gives no tokens.
    ///
    /// # Errors
    /// `BadTokenizer` where the file's own rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Encoded, ModelError> {
        let encoding = self
            .inner
            .encode_char_offsets(text, true)
            .map_err(|why| ModelError::BadTokenizer { file: self.file, why: why.to_string() })?;
        // Offsets come in characters; JavaScript counts UTF-16 code units.
        let mut units = vec![0u32];
        for character in text.chars() {
            units.push(units.last().copied().unwrap_or(0) + character.len_utf16() as u32);
        }
        let unit = |offset: usize| units.get(offset).or(units.last()).copied().unwrap_or(0);
        let spans = encoding.get_offsets().iter().flat_map(|&(start, end)| [unit(start), unit(end)]).collect();
        Ok(Encoded { ids: encoding.get_ids().to_vec(), spans })
    }

    /// One token as text; bytes that are not whole characters show as U+FFFD, an unknown id as `#id`.
    pub fn token_text(&self, id: u32) -> String {
        self.inner.decode(&[id], false).ok().filter(|text| !text.is_empty()).unwrap_or_else(|| format!("#{id}"))
    }

    /// Tokens as one text; bytes that are not whole characters show as U+FFFD.
    pub fn text(&self, ids: &[u32]) -> String {
        self.inner.decode(ids, false).unwrap_or_default()
    }
}

/// The pairs of `merges.txt`: two parts a line, most frequent first, after an optional version line.
fn parse_merges(bytes: &[u8]) -> Result<Vec<(String, String)>, ModelError> {
    let bad = |why: String| ModelError::BadTokenizer { file: "merges.txt", why };
    let text = std::str::from_utf8(bytes).map_err(|why| bad(why.to_string()))?;
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("#version") || line.is_empty() {
            continue;
        }
        match line.split_once(' ') {
            Some((left, right)) if !right.contains(' ') => merges.push((left.to_string(), right.to_string())),
            _ => return Err(bad(format!("line {}: expected two parts, found \"{line}\"", number + 1))),
        }
    }
    Ok(merges)
}
