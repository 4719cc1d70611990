//! Byte-pair encoding: the bytes of a piece, merged pair by pair in the order that training found.
//! Must never know: texts, offsets into them, files.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

use super::bytes::to_char;
use super::hash::Map;

/// What stands for bytes that are not in the vocabulary.
#[derive(Clone, Debug)]
pub struct Unknown {
    /// Its text.
    pub token: String,
    /// One for all that follow each other.
    pub fuse: bool,
}

/// Vocabulary and merges.
pub struct Bpe {
    ids: Map<String, u32>,
    texts: Map<u32, String>,
    /// A pair of ids: its rank, and the id of both together.
    merges: Map<(u32, u32), (u32, u32)>,
    bytes: Vec<Option<u32>>,
    unknown: Option<Unknown>,
    /// A piece that is in the vocabulary as a whole is one token, whatever the merges say.
    whole_pieces: bool,
}

/// A token and which bytes of the piece it is.
pub type Part = (u32, Range<usize>);

/// A token that may still be merged with its neighbours.
struct Symbol {
    id: u32,
    /// Empty once it has been merged into the one before.
    bytes: Range<usize>,
    before: Option<usize>,
    after: Option<usize>,
}

impl Bpe {
    /// From the vocabulary and its merges, the most frequent first.
    ///
    /// # Errors
    /// Says which part of a merge, or which result, is not in the vocabulary.
    pub fn new<'a>(
        ids: Map<String, u32>,
        merges: impl Iterator<Item = (&'a str, &'a str)>,
        unknown: Option<Unknown>,
        whole_pieces: bool,
    ) -> Result<Bpe, String> {
        let id = |token: &str| {
            let id = ids.get(token).copied();
            id.ok_or_else(|| format!("a merge calls for \"{token}\", which is not in the vocabulary"))
        };
        let mut ranks = Map::with_capacity_and_hasher(merges.size_hint().0, Default::default());
        let mut both = String::new();
        for (rank, (left, right)) in merges.enumerate() {
            both.clear();
            both.push_str(left);
            both.push_str(right);
            ranks.insert((id(left)?, id(right)?), (rank as u32, id(&both)?));
        }
        let bytes = (0..=255).map(|byte| ids.get(to_char(byte).encode_utf8(&mut [0; 4]) as &str).copied()).collect();
        let texts = ids.iter().map(|(text, id)| (*id, text.clone())).collect();
        Ok(Bpe { ids, texts, merges: ranks, bytes, unknown, whole_pieces })
    }

    /// How many tokens the vocabulary has.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// The id of a token, by how the vocabulary writes it.
    pub fn id(&self, token: &str) -> Option<u32> {
        self.ids.get(token).copied()
    }

    /// How the vocabulary writes a token.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.texts.get(&id).map(String::as_str)
    }

    /// The tokens of a piece.
    ///
    /// # Errors
    /// Where a byte is not in the vocabulary, and neither is the token for what is not.
    pub fn split(&self, piece: &[u8]) -> Result<Vec<Part>, String> {
        if self.whole_pieces {
            let text: String = piece.iter().map(|&byte| to_char(byte)).collect();
            if let Some(id) = self.id(&text) {
                return Ok(vec![(id, 0..piece.len())]);
            }
        }
        let mut symbols = self.symbols(piece)?;
        self.merge(&mut symbols);
        Ok(symbols.into_iter().filter(|one| !one.bytes.is_empty()).map(|one| (one.id, one.bytes)).collect())
    }

    /// Byte by byte; one that is not in the vocabulary is left out where nothing stands for it.
    fn symbols(&self, piece: &[u8]) -> Result<Vec<Symbol>, String> {
        let mut parts: Vec<Part> = Vec::with_capacity(piece.len());
        let mut fusing = false;
        for (at, &byte) in piece.iter().enumerate() {
            let known = self.bytes.get(usize::from(byte)).copied().flatten();
            match (known, &self.unknown) {
                (Some(id), _) => parts.push((id, at..at + 1)),
                (None, Some(unknown)) => {
                    let id = self
                        .id(&unknown.token)
                        .ok_or_else(|| format!("unk_token is \"{}\", which is not in the vocabulary", unknown.token))?;
                    match parts.last_mut() {
                        Some((_, bytes)) if fusing && unknown.fuse => bytes.end = at + 1,
                        _ => parts.push((id, at..at + 1)),
                    }
                }
                (None, None) => {}
            }
            fusing = known.is_none();
        }
        let last = parts.len().saturating_sub(1);
        let linked = |(at, (id, bytes)): (usize, Part)| Symbol {
            id,
            bytes,
            before: at.checked_sub(1),
            after: (at < last).then_some(at + 1),
        };
        Ok(parts.into_iter().enumerate().map(linked).collect())
    }

    /// The pair of lowest rank first, and of those the leftmost, until no pair is left that training merged.
    fn merge(&self, symbols: &mut [Symbol]) {
        let mut waiting = BinaryHeap::new();
        let merged = |symbols: &[Symbol], left: usize| {
            let (left, right) = (&symbols[left], &symbols[symbols[left].after?]);
            self.merges.get(&(left.id, right.id)).copied()
        };
        for left in 0..symbols.len() {
            waiting.extend(merged(symbols, left).map(|(rank, id)| Reverse((rank, left, id))));
        }
        while let Some(Reverse((_, left, id))) = waiting.pop() {
            // One of the two may have been merged with another meanwhile.
            let current = !symbols[left].bytes.is_empty() && merged(symbols, left).is_some_and(|(_, now)| now == id);
            let Some(right) = symbols[left].after.filter(|_| current) else { continue };
            let (end, after) = (symbols[right].bytes.end, symbols[right].after);
            symbols[right].bytes.start = end;
            symbols[left].bytes.end = end;
            symbols[left].id = id;
            symbols[left].after = after;
            if let Some(after) = after {
                symbols[after].before = Some(left);
            }
            for at in [symbols[left].before, Some(left)].into_iter().flatten() {
                waiting.extend(merged(symbols, at).map(|(rank, id)| Reverse((rank, at, id))));
            }
        }
    }
}
