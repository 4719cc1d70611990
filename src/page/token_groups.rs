//! How tokens read: which of them share a character, how spaces look, what is said of one.

use std::ops::Range;

use trace::Sequence;
use trace::summary::words::{norm, quote_token};

/// A saved run's token may be as long as a book: longer ones are cut.
const MOST_LETTERS: usize = 200;

/// Tokens shown as one chip: one token, or several that hold parts of the same characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenGroup {
    /// Places in the sequence.
    pub tokens: Range<usize>,
    /// Their text together.
    pub text: String,
}

/// Groups a sequence's tokens: neighbours whose spans overlap (an emoji split over three tokens) are one.
pub fn group_tokens(sequence: &Sequence) -> Vec<TokenGroup> {
    let text: Vec<u16> = sequence.text.as_deref().unwrap_or_default().encode_utf16().collect();
    let span = |token: usize| -> Option<(usize, usize)> {
        match sequence.spans.as_deref()?.get(2 * token..2 * token + 2)? {
            [start, end] => Some((*start as usize, *end as usize)),
            _ => None,
        }
    };
    let mut groups: Vec<TokenGroup> = Vec::new();
    let mut open: Option<(usize, usize)> = None;
    for (index, token) in sequence.tokens.iter().enumerate() {
        let here = span(index);
        match (open, here, groups.last_mut()) {
            (Some((from, to)), Some((start, end)), Some(group)) if start < to && end > start => {
                let whole = (from.min(start), to.max(end));
                // Tokens that share a character add nothing to what is there.
                if let Some(units) =
                    text.get(whole.0..whole.1).filter(|_| open != Some(whole) || group.tokens.len() == 1)
                {
                    group.text = String::from_utf16_lossy(units.get(..MOST_LETTERS).unwrap_or(units));
                }
                open = Some(whole);
                group.tokens.end = index + 1;
            }
            _ => {
                groups.push(TokenGroup { tokens: index..index + 1, text: token.clone() });
                open = here;
            }
        }
    }
    groups
}

/// A stretch of a token's text: shown as it is, or as a sign for what has no shape.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// Shown as it is.
    Text(String),
    /// A faint sign in place of a space, line end, tab or control character.
    Sign(&'static str),
}

/// Takes a token's text apart for display, as far as one looks at it.
pub fn pieces(text: &str) -> Vec<Piece> {
    let mut pieces: Vec<Piece> = Vec::new();
    let is_alone = text.chars().nth(1).is_none();
    for (index, c) in text.chars().enumerate() {
        if index == MOST_LETTERS {
            pieces.push(Piece::Sign("…"));
            break;
        }
        let sign = match c {
            ' ' => "·",
            '\n' => "↵",
            '\r' => "␍",
            '\t' => "⇥",
            '\u{a0}' => "⍽",
            // Joiners and variation selectors take no room of their own.
            '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}' | '\u{fe00}'..='\u{fe0f}' if is_alone => "◌",
            c if c.is_control() => "\u{fffd}",
            c => {
                match pieces.last_mut() {
                    Some(Piece::Text(text)) => text.push(c),
                    _ => pieces.push(Piece::Text(c.to_string())),
                }
                continue;
            }
        };
        pieces.push(Piece::Sign(sign));
    }
    pieces
}

/// What is said of a group when a reader points at it: ids and norms, part by part where there are several.
pub fn describe_group(sequence: &Sequence, group: &TokenGroup) -> String {
    let Range { start, end } = group.tokens.clone();
    let list = |values: &mut dyn Iterator<Item = String>| values.collect::<Vec<_>>().join(", ");
    let ids = list(&mut group.tokens.clone().filter_map(|t| sequence.ids.get(t)).map(u32::to_string));
    let mut parts = match end - start {
        1 => vec![format!("position {start}"), format!("id {ids}")],
        n => vec![format!("{n} tokens, positions {start} to {}", end - 1), format!("ids {ids}")],
    };
    let embed = list(&mut group.tokens.clone().filter_map(|t| sequence.embed_norm.get(t)).map(|&v| norm(f64::from(v))));
    if !embed.is_empty() {
        parts.push(format!("embedding {embed}"));
    }
    for (label, values) in [("attention", &sequence.attn_norm), ("MLP", &sequence.mlp_norm)] {
        if let Some((layer, value)) = largest(sequence, values, &group.tokens) {
            parts.push(format!("largest {label} update {} in layer {}", norm(f64::from(value)), layer + 1));
        }
    }
    if let Some(last) = sequence.layer_count().checked_sub(1) {
        let stream = sequence.layer(&sequence.resid_post_norm, last);
        let values = list(&mut group.tokens.clone().filter_map(|t| stream.get(t)).map(|&v| norm(f64::from(v))));
        parts.push(format!("stream after layer {} {values}", last + 1));
    }
    format!("{}: {}", quote_token(&group.text), parts.join(" · "))
}

/// The largest of these tokens' values and the layer it is in.
fn largest(sequence: &Sequence, values: &[f32], tokens: &Range<usize>) -> Option<(usize, f32)> {
    (0..sequence.layer_count())
        .flat_map(|layer| {
            let row = sequence.layer(values, layer).get(tokens.clone()).unwrap_or(&[]);
            row.iter().map(move |&value| (layer, value))
        })
        .filter(|(_, value)| value.is_finite())
        .max_by(|a, b| a.1.total_cmp(&b.1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn woman() -> Sequence {
        // "a 👩b": the emoji is two UTF-16 units, split over three tokens, the first of which also holds the space.
        Sequence {
            text: Some("a 👩b".to_owned()),
            ids: vec![64, 50169, 102, 102, 65],
            tokens: ["a", " \u{fffd}", "\u{fffd}", "\u{fffd}", "b"].map(str::to_owned).to_vec(),
            spans: Some(vec![0, 1, 1, 4, 2, 4, 2, 4, 4, 5]),
            embed_norm: vec![1.0, 2.0, 3.0, 4.0, 5.0],
            attn_norm: vec![1.0, 1.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 12.0],
            mlp_norm: vec![2.0; 10],
            resid_post_norm: vec![7.0; 10],
            ..Default::default()
        }
    }

    #[test]
    fn tokens_that_share_a_character_are_one_group() {
        let groups = group_tokens(&woman());
        let shown: Vec<(&str, usize)> = groups.iter().map(|g| (g.text.as_str(), g.tokens.len())).collect();
        assert_eq!(shown, [("a", 1), (" 👩", 3), ("b", 1)]);
    }

    #[test]
    fn without_spans_every_token_stands_alone_and_empty_spans_join_nothing() {
        let mut sequence = woman();
        sequence.spans = None;
        assert_eq!(group_tokens(&sequence).len(), 5);
        sequence.spans = Some(vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(group_tokens(&sequence).len(), 5);
        sequence.spans = Some(vec![0, 900, 1]);
        assert_eq!(group_tokens(&sequence).len(), 5, "spans that lead nowhere must not panic");
    }

    #[test]
    fn what_has_no_shape_gets_a_sign() {
        let text = |t: &str| Piece::Text(t.to_owned());
        assert_eq!(pieces(" a b\n"), [Piece::Sign("·"), text("a"), Piece::Sign("·"), text("b"), Piece::Sign("↵")]);
        assert_eq!(pieces("\u{200d}"), [Piece::Sign("◌")]);
        assert_eq!(pieces("☀\u{fe0f}"), [text("☀\u{fe0f}")]);
        assert_eq!(pieces("<b>"), [text("<b>")]);
        assert_eq!(pieces("\u{7}"), [Piece::Sign("\u{fffd}")]);
    }

    #[test]
    fn a_token_as_long_as_a_book_is_cut_and_takes_no_time() {
        let text = "\u{200d}".repeat(200_000);
        let shown = pieces(&text);
        assert_eq!(shown.last(), Some(&Piece::Sign("…")));
        assert!(shown.len() <= MOST_LETTERS + 1, "token_groups.rs: {} pieces", shown.len());
        // A thousand tokens that claim the whole text each.
        let spans = [0, 200_000].repeat(1000);
        let tokens = vec!["x".to_owned(); 1000];
        let sequence = Sequence { text: Some(text), spans: Some(spans), tokens, ..Sequence::default() };
        let groups = group_tokens(&sequence);
        assert_eq!((groups.len(), groups[0].tokens.len()), (1, 1000));
    }

    #[test]
    fn a_group_is_described_part_by_part() {
        let sequence = woman();
        let groups = group_tokens(&sequence);
        assert_eq!(
            describe_group(&sequence, &groups[1]),
            "“ 👩”: 3 tokens, positions 1 to 3 · ids 50169, 102, 102 · embedding 2.00, 3.00, 4.00 · \
             largest attention update 9.00 in layer 1 · largest MLP update 2.00 in layer 2 · \
             stream after layer 2 7.00, 7.00, 7.00"
        );
        assert!(describe_group(&Sequence::default(), &groups[0]).contains("position 0"));
    }
}
