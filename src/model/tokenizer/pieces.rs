//! How a text is cut before pairs are merged: no token reaches over a cut.
//! Must never know: vocabularies, files.

use std::ops::Range;

use super::letters::is_letter;

/// One step of cutting; steps follow each other, each cuts what the one before left.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cut {
    /// Numbers apart from the rest, as a whole or digit by digit.
    Digits {
        /// Digit by digit.
        individual: bool,
    },
    /// GPT-2's pattern: `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Words,
    /// A space goes before every piece that does not begin with one.
    PrefixSpace,
}

/// GPT-2's pattern, as files name it that keep it apart from the byte level.
pub const WORDS: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";

/// A stretch of the text.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece {
    /// Its bytes; none where a space before the text is a piece of its own.
    pub bytes: Range<usize>,
    /// Whether a space that the text has not goes before them.
    pub prefixed: bool,
}

/// Cuts a stretch of a text.
pub fn pieces(text: &str, stretch: Range<usize>, cuts: &[Cut]) -> Vec<Piece> {
    let mut pieces = vec![Piece { bytes: stretch, prefixed: false }];
    for cut in cuts {
        let mut finer = Vec::with_capacity(pieces.len());
        for piece in pieces {
            one(text, piece, *cut, &mut finer);
        }
        pieces = finer;
    }
    pieces
}

fn one(text: &str, piece: Piece, cut: Cut, into: &mut Vec<Piece>) {
    let (mut at, mut prefixed) = (piece.bytes.start, piece.prefixed);
    while at < piece.bytes.end {
        let rest = &text[at..piece.bytes.end];
        let length = match cut {
            Cut::Digits { individual } => digits(rest, individual),
            Cut::Words => word(rest, prefixed),
            Cut::PrefixSpace => {
                prefixed |= !rest.starts_with(' ');
                rest.len()
            }
        };
        into.push(Piece { bytes: at..at + length, prefixed });
        (at, prefixed) = (at + length, false);
    }
}

/// Bytes at the beginning of a text whose characters are alike.
fn run(text: &str, alike: impl Fn(char) -> bool) -> usize {
    text.find(|character| !alike(character)).unwrap_or(text.len())
}

/// Bytes of the number, or of what is none, that a text begins with.
fn digits(text: &str, individual: bool) -> usize {
    match text.chars().next() {
        Some(first) if individual && first.is_numeric() => first.len_utf8(),
        Some(first) => run(text, |character| character.is_numeric() == first.is_numeric()),
        None => 0,
    }
}

/// Bytes of the first match of GPT-2's pattern in a text, which begins it whatever the text is. Where a space goes
/// before the text (`prefixed`) that is matched too, though not counted: it may be all that there is of the match.
fn word(text: &str, prefixed: bool) -> usize {
    const ENDINGS: [&str; 7] = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"];
    if !prefixed && let Some(ending) = ENDINGS.iter().find(|ending| text.starts_with(**ending)) {
        return ending.len();
    }
    let space = usize::from(!prefixed && text.starts_with(' '));
    let kinds = [is_letter, char::is_numeric, |character: char| {
        !(character.is_whitespace() || is_letter(character) || character.is_numeric())
    }];
    for kind in kinds {
        let length = run(&text[space..], kind);
        if length > 0 {
            return space + length;
        }
    }
    // White space up to the last character before a word, which belongs to that word if it is a space.
    let length = run(text, char::is_whitespace);
    match text[..length].char_indices().next_back() {
        Some((last, _)) if length < text.len() && (last > 0 || prefixed) => last,
        _ => length,
    }
}
