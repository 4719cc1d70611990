//! Tokens beside the vocabulary's own, such as `<|endoftext|>`: found in the text before it is cut, and never cut.
//! Must never know: merges, files.

use std::ops::Range;

use super::bpe::Bpe;
use super::hash::Map;

/// One such token.
#[derive(Clone, Debug, serde::Deserialize)]
pub struct Added {
    /// As the file has it; the vocabulary's own id counts where it has the token.
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
}

impl Added {
    /// `<|endoftext|>` and its like.
    pub fn special(content: &str, id: u32) -> Added {
        Added { id, content: content.into(), single_word: false, lstrip: false, rstrip: false, normalized: false }
    }
}

/// All of them.
#[derive(Default)]
pub struct AddedTokens {
    by_id: Map<u32, Added>,
    /// Which of them to look for, in two rounds; the longest first, so that the first that fits is the longest.
    rounds: [Vec<u32>; 2],
}

/// A stretch of the text and, where it is one of these tokens, its id.
pub type Stretch = (Range<usize>, Option<u32>);

impl AddedTokens {
    /// Gives each its id as Hugging Face's reader does: the vocabulary's, else the next one.
    pub fn new(tokens: Vec<Added>, vocabulary: &Bpe) -> AddedTokens {
        let mut added = AddedTokens::default();
        let (mut ids, size) = (Map::<String, u32>::default(), vocabulary.len() as u32);
        let mut next = size;
        for token in tokens.into_iter().filter(|token| !token.content.is_empty()) {
            let known = ids.get(&token.content).copied().or_else(|| vocabulary.id(&token.content));
            let id = known.unwrap_or_else(|| {
                next += 1;
                next - 1
            });
            ids.insert(token.content.clone(), id);
            added.by_id.insert(id, Added { id, ..token });
        }
        for token in added.by_id.values() {
            added.rounds[usize::from(token.normalized)].push(token.id);
        }
        for round in &mut added.rounds {
            round
                .sort_by_key(|id| (std::cmp::Reverse(added.by_id.get(id).map_or(0, |token| token.content.len())), *id));
        }
        added
    }

    /// How a token is written.
    pub fn text(&self, id: u32) -> Option<&str> {
        self.by_id.get(&id).map(|token| token.content.as_str())
    }

    /// Cuts a text at these tokens. Stretches are never empty.
    pub fn find(&self, text: &str) -> Vec<Stretch> {
        let mut stretches = vec![(0..text.len(), None)];
        for round in &self.rounds {
            let mut finer = Vec::new();
            for (stretch, id) in stretches {
                match id {
                    Some(_) => finer.push((stretch, id)),
                    None => self.cut(&text[stretch.clone()], stretch.start, round, &mut finer),
                }
            }
            stretches = finer;
        }
        stretches.retain(|(stretch, _)| !stretch.is_empty());
        stretches
    }

    fn cut(&self, text: &str, first: usize, round: &[u32], into: &mut Vec<Stretch>) {
        let (mut at, mut done) = (0, 0);
        while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
            let found = round.iter().filter_map(|id| self.by_id.get(id)).find(|token| rest.starts_with(&token.content));
            let Some(token) = found else {
                at += rest.chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let (mut start, mut end) = (at, at + token.content.len());
            at = end;
            if token.lstrip {
                start = text[..start].trim_end().len().max(done);
            }
            if token.rstrip {
                end = text.len() - text[end..].trim_start().len();
            }
            if done < start {
                into.push((first + done..first + start, None));
            }
            into.push((first + start..first + end, Some(token.id)));
            done = end;
        }
        if done < text.len() {
            into.push((first + done..first + text.len(), None));
        }
    }
}
