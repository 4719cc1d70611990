//! Where in a text its tokens are. The crate tells ids alone; each token is its bytes, and together they are the text.
//! Must never know: files.

use std::ops::Range;

use tokenizers::pipeline::EncodeOptions;

use super::bytes::{of_token, to_char};
use super::{Added, Tokenizer};

/// A token in a text.
pub struct Found {
    /// The token's id.
    pub id: u32,
    /// Which bytes of the text it is. None where it is all that there is of the space put before the text.
    bytes: Range<usize>,
    /// Whether it is one beside the vocabulary's own.
    added: bool,
}

impl Tokenizer {
    /// The tokens of a text, those around it left out.
    pub(super) fn find(&self, text: &str) -> Result<Vec<Found>, String> {
        let found = self.place(text, self.ids(text, self.splits_special)?)?;
        if !self.prefix {
            return Ok(found);
        }
        // A space goes before each stretch between added tokens: such stretches are split again, with theirs.
        let mut spaced = Vec::with_capacity(found.len() + 1);
        let mut found = found.into_iter().peekable();
        while let Some(first) = found.next() {
            if first.added {
                spaced.push(first);
                continue;
            }
            let Range { start, mut end } = first.bytes;
            while let Some(next) = found.next_if(|token| !token.added) {
                end = next.bytes.end;
            }
            let stretch = text.get(start..end).unwrap_or_default();
            let space = usize::from(!stretch.starts_with(' '));
            let stretch = if space == 1 { format!(" {stretch}") } else { stretch.to_string() };
            let place = |at: usize| start + at.saturating_sub(space);
            let tokens = self.place(&stretch, self.ids(&stretch, true)?)?;
            spaced.extend(tokens.into_iter().map(|token| {
                let bytes = place(token.bytes.start)..place(token.bytes.end);
                Found { bytes, ..token }
            }));
        }
        Ok(spaced)
    }

    /// The engine's ids; with `splits_special`, special tokens in the text are split like any other.
    fn ids(&self, text: &str, splits_special: bool) -> Result<Vec<u32>, String> {
        let mut tokens = Vec::new();
        let options = EncodeOptions { encode_special_tokens: splits_special, ..EncodeOptions::no_specials() };
        self.engine.encode_into(text, &options, &mut tokens).map_err(|why| why.to_string())?;
        Ok(tokens.into_iter().map(|token| token.id()).collect())
    }

    /// Finds each token in the text, one after the other.
    fn place(&self, text: &str, ids: Vec<u32>) -> Result<Vec<Found>, String> {
        let (mut found, mut at) = (Vec::with_capacity(ids.len()), 0);
        let mut bytes = Vec::new();
        for (index, &id) in ids.iter().enumerate() {
            if let Some(token) = self.whole(id)
                && let Some(end) = added_end(token, text, at)
            {
                let next = ids.get(index + 1).and_then(|next| self.whole(*next));
                let end = if token.normalized { given_up(token, next, text, end) } else { end };
                found.push(Found { id, bytes: at..end, added: true });
                at = end;
                continue;
            }
            let missing = id.checked_sub(self.first_missing).and_then(|place| self.missing.get(place as usize));
            bytes.clear();
            match missing {
                Some(byte) => bytes.push(*byte),
                None => of_token(&self.engine.get_model().id_to_token(id).unwrap_or_default(), &mut bytes),
            }
            let rest = text.as_bytes().get(at..).unwrap_or_default();
            if bytes.is_empty() || !rest.starts_with(&bytes) {
                return Err(format!("token {id} is not found where it is expected in the text (at byte {at})"));
            }
            let id = match (missing, self.unknown) {
                (None, _) => id,
                (Some(_), Some(unknown)) => unknown,
                (Some(byte), None) => {
                    let character = text.get(..=at).map_or('\u{fffd}', |_| char::from(*byte));
                    return Err(format!(
                        "the vocabulary has no token for byte {byte} ({character:?}), and no unk_token"
                    ));
                }
            };
            found.push(Found { id, bytes: at..at + bytes.len(), added: false });
            at += bytes.len();
        }
        Ok(found)
    }

    /// An added token that is looked for in texts.
    fn whole(&self, id: u32) -> Option<&Added> {
        self.added.get(&id).filter(|token| !(token.special && self.splits_special))
    }

    /// Two UTF-16 offsets a token.
    pub(super) fn offsets(&self, text: &str, found: &[Found]) -> Vec<u32> {
        // Which character each byte belongs to, and where in UTF-16 each character begins.
        let (mut characters, mut units) = (Vec::with_capacity(text.len()), vec![0u32]);
        for (index, character) in text.chars().enumerate() {
            characters.extend(std::iter::repeat_n(index, character.len_utf8()));
            units.push(units.last().copied().unwrap_or(0) + character.len_utf16() as u32);
        }
        let character = |byte: usize| characters.get(byte).copied().unwrap_or(units.len() - 1);
        let unit = |character: usize| units.get(character).or(units.last()).copied().unwrap_or(0);
        let mut offsets = Vec::with_capacity(2 * found.len());
        for (index, token) in found.iter().enumerate() {
            // The space before the text is shown at the text's first character.
            let last = token.bytes.end.saturating_sub(1).max(token.bytes.start);
            let mut span = character(token.bytes.start)..(character(last) + 1).min(units.len() - 1);
            if let Some(prefixed) = self.after.trim {
                self.trim(text, token, &mut span, index == 0, prefixed);
            }
            offsets.extend([unit(span.start), unit(span.end)]);
        }
        offsets
    }

    fn trim(&self, text: &str, token: &Found, span: &mut Range<usize>, first: bool, prefixed: bool) {
        let written = match token.added {
            true => text.get(token.bytes.clone()).unwrap_or_default().to_string(),
            false => self.written(token.id).unwrap_or_default(),
        };
        let space = |character: &char| *character == to_char(b' ') || character.is_whitespace();
        let mut leading = written.chars().take_while(space).count();
        let trailing = written.chars().rev().take_while(space).count();
        if (first || span.start == 0) && prefixed && leading == 1 {
            leading = 0;
        }
        span.start = (span.start + leading).min(span.end);
        if span.end >= trailing {
            span.end = (span.end - trailing).max(span.start);
        }
    }
}

/// Where a token of the second round ends: the white space after it may be part of a token that the first round found.
fn given_up(token: &Added, next: Option<&Added>, text: &str, end: usize) -> usize {
    let Some(next) = next.filter(|next| token.rstrip && !next.normalized) else { return end };
    let first = text.get(..end).map_or(end, |text| text.trim_end().len());
    (first..end).find(|begin| added_end(next, text, *begin).is_some()).unwrap_or(end)
}

/// Where an added token ends that begins here, with the white space that it takes before and after.
fn added_end(token: &Added, text: &str, at: usize) -> Option<usize> {
    let rest = text.get(at..)?;
    let blank = if token.lstrip { rest.len() - rest.trim_start().len() } else { 0 };
    let begin = (0..=blank).find(|begin| rest.get(*begin..).is_some_and(|rest| rest.starts_with(&token.content)))?;
    let end = begin + token.content.len();
    let after = rest.get(end..)?;
    Some(at + end + if token.rstrip { after.len() - after.trim_start().len() } else { 0 })
}
