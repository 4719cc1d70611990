//! Text to tokens and back: byte-level BPE, from `tokenizer.json`, or from GPT-2's own pair `vocab.json` +
//! `merges.txt` under its rules. Ids and spans are those of Hugging Face's `tokenizers` (tests/tokenizer_peer.rs holds
//! the two together), which itself would be a third of what a first visit downloads.
//! Must never know: browsers, where the files come from.

mod added;
mod bpe;
mod bytes;
mod hash;
pub mod letters;
mod pieces;
mod read;

use std::ops::Range;

use super::ModelError;
use added::{Added, AddedTokens};
use bpe::Bpe;
use hash::Map;
use pieces::{Cut, Piece, pieces};

/// Marks the end of a document in GPT-2's training text; a token of its own, never split.
const END_OF_TEXT: &str = "<|endoftext|>";

/// Splits text as the model was taught to.
pub struct Tokenizer {
    vocabulary: Bpe,
    added: AddedTokens,
    cuts: Vec<Cut>,
    after: Vec<After>,
    join: Join,
    /// The file to blame where its rules fail on a text.
    file: &'static str,
}

/// What happens to the tokens of a text once they are found.
enum After {
    /// Spans lose the white space at both ends; not the space that was put before the text.
    Trim {
        /// Whether one was.
        prefixed: bool,
    },
    /// Tokens before and after the text, such as one for its beginning.
    Template { before: Vec<u32>, after: Vec<u32> },
}

/// How tokens become a text again.
enum Join {
    /// The bytes that they stand for.
    Bytes,
    /// As they are written, with spaces between them.
    Spaced,
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

/// A token in a text.
struct Found {
    id: u32,
    /// Which characters of the text it is, or is a part of.
    characters: Range<usize>,
    /// Which bytes of the text, for a token beside the vocabulary's own.
    added: Option<Range<usize>>,
}

impl Tokenizer {
    /// From the bytes of `tokenizer.json`.
    ///
    /// # Errors
    /// `BadTokenizer`; also for rules that this program does not know.
    pub fn from_json(bytes: &[u8]) -> Result<Tokenizer, ModelError> {
        read::tokenizer(bytes).map_err(|why| ModelError::BadTokenizer { file: "tokenizer.json", why })
    }

    /// From the bytes of `vocab.json` and `merges.txt`, by GPT-2's rules: byte-level BPE, no prefix space,
    /// offsets that keep their leading space.
    ///
    /// # Errors
    /// `BadTokenizer`.
    pub fn from_vocab_and_merges(vocab: &[u8], merges: &[u8]) -> Result<Tokenizer, ModelError> {
        let vocab: Map<String, u32> = serde_json::from_slice(vocab)
            .map_err(|why| ModelError::BadTokenizer { file: "vocab.json", why: why.to_string() })?;
        let bad = |why: String| ModelError::BadTokenizer { file: "merges.txt", why };
        let merges = std::str::from_utf8(merges).map_err(|why| bad(why.to_string()))?;
        let merges = parse_merges(merges).map_err(bad)?;
        let end = vocab.get(END_OF_TEXT).map(|id| Added::special(END_OF_TEXT, *id));
        let vocabulary = Bpe::new(vocab, merges.into_iter(), None, false).map_err(bad)?;
        Ok(Tokenizer {
            added: AddedTokens::new(end.into_iter().collect(), &vocabulary),
            vocabulary,
            cuts: vec![Cut::Words],
            after: Vec::new(),
            join: Join::Bytes,
            file: "vocab.json",
        })
    }

    /// Splits a text. An empty text gives no tokens, but those that go around every text.
    ///
    /// # Errors
    /// `BadTokenizer` where the file's own rules fail on the text.
    pub fn encode(&self, text: &str) -> Result<Encoded, ModelError> {
        let mut found = self.find(text).map_err(|why| ModelError::BadTokenizer { file: self.file, why })?;
        for step in &self.after {
            match step {
                After::Trim { prefixed } => {
                    for (index, token) in found.iter_mut().enumerate() {
                        self.trim(text, token, index == 0, *prefixed);
                    }
                }
                After::Template { before, after } => {
                    let around = |id: &u32| Found { id: *id, characters: 0..0, added: None };
                    found.splice(0..0, before.iter().map(around));
                    found.extend(after.iter().map(around));
                }
            }
        }
        // JavaScript counts UTF-16 code units.
        let mut units = vec![0u32];
        for character in text.chars() {
            units.push(units.last().copied().unwrap_or(0) + character.len_utf16() as u32);
        }
        let unit = |offset: usize| units.get(offset).or(units.last()).copied().unwrap_or(0);
        let spans = found.iter().flat_map(|token| [unit(token.characters.start), unit(token.characters.end)]).collect();
        Ok(Encoded { ids: found.iter().map(|token| token.id).collect(), spans })
    }

    fn find(&self, text: &str) -> Result<Vec<Found>, String> {
        // Which character each byte belongs to.
        let characters: Vec<usize> =
            text.chars().enumerate().flat_map(|(index, one)| std::iter::repeat_n(index, one.len_utf8())).collect();
        let character = |byte: usize| characters.get(byte).copied().unwrap_or(0);
        let span = |bytes: Range<usize>| character(bytes.start)..bytes.last().map_or(0, |last| character(last) + 1);
        let mut found = Vec::new();
        let mut content = Vec::new();
        for (stretch, id) in self.added.find(text) {
            if let Some(id) = id {
                found.push(Found { id, characters: span(stretch.clone()), added: Some(stretch) });
                continue;
            }
            for Piece { bytes, prefixed } in pieces(text, stretch, &self.cuts) {
                content.clear();
                content.extend(prefixed.then_some(b' '));
                content.extend_from_slice(text[bytes.clone()].as_bytes());
                // The space before a piece is shown at the piece's first character.
                let place = |at: usize| bytes.start + at.saturating_sub(usize::from(prefixed));
                for (id, part) in self.vocabulary.split(&content)? {
                    let characters = span(place(part.start)..place(part.end - 1) + 1);
                    found.push(Found { id, characters, added: None });
                }
            }
        }
        Ok(found)
    }

    fn trim(&self, text: &str, token: &mut Found, first: bool, prefixed: bool) {
        let written = match &token.added {
            Some(bytes) => &text[bytes.clone()],
            None => self.written(token.id).unwrap_or_default(),
        };
        let space = |character: &char| *character == bytes::to_char(b' ') || character.is_whitespace();
        let mut leading = written.chars().take_while(space).count();
        let trailing = written.chars().rev().take_while(space).count();
        let Range { start, end } = &mut token.characters;
        if (first || *start == 0) && prefixed && leading == 1 {
            leading = 0;
        }
        *start = (*start + leading).min(*end);
        if *end >= trailing {
            *end = (*end - trailing).max(*start);
        }
    }

    /// How the files write a token.
    fn written(&self, id: u32) -> Option<&str> {
        self.added.text(id).or_else(|| self.vocabulary.text(id))
    }

    /// One token as text; bytes that are not whole characters show as U+FFFD, an unknown id as `#id`.
    pub fn token_text(&self, id: u32) -> String {
        let text = self.text(&[id]);
        if text.is_empty() { format!("#{id}") } else { text }
    }

    /// Tokens as one text; bytes that are not whole characters show as U+FFFD.
    pub fn text(&self, ids: &[u32]) -> String {
        let written = ids.iter().filter_map(|&id| self.written(id));
        match self.join {
            Join::Bytes => {
                let mut bytes = Vec::new();
                written.for_each(|token| bytes::of_token(token, &mut bytes));
                String::from_utf8_lossy(&bytes).into_owned()
            }
            Join::Spaced => written.collect::<Vec<_>>().join(" "),
        }
    }
}

/// The pairs of `merges.txt`: two parts a line, most frequent first, after an optional version line.
fn parse_merges(text: &str) -> Result<Vec<(&str, &str)>, String> {
    let mut merges = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.starts_with("#version") || line.is_empty() {
            continue;
        }
        let parts = read::two_parts(line);
        merges.push(parts.ok_or_else(|| format!("line {}: expected two parts, found \"{line}\"", number + 1))?);
    }
    Ok(merges)
}
