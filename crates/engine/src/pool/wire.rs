//! What the first worker asks of the others, as words of 32 bits: one buffer that changes hands with each command, and
//! comes back with the answer.

use crate::model::attention::Segment;
use crate::model::layers::CaptureRequest;

/// Something to compute, or to forget. What is computed comes from a normed stream of `rows`, which goes with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The heads that are there.
    Attend {
        /// The block, from 0.
        layer: usize,
        /// Whose rows they are.
        segments: Vec<Segment>,
        /// What to send besides the sum.
        capture: CaptureRequest,
    },
    /// The MLP's columns that are there.
    Mlp {
        /// The block, from 0.
        layer: usize,
        /// T: rows of the normed stream.
        rows: usize,
    },
    /// Scores of the token ids that are there.
    Logits {
        /// N: rows of the normed stream.
        rows: usize,
    },
    /// Keys and values that are not needed any more; no answer comes.
    Forget {
        /// The blocks, from 0.
        layers: std::ops::Range<usize>,
        /// The slots of the sequences.
        slots: Vec<u32>,
    },
}

impl Command {
    /// The command as words, with the number that its answer will have.
    pub fn to_words(&self, number: u32) -> Vec<u32> {
        let mut words = vec![0, number];
        match self {
            Command::Attend { layer, segments, capture } => {
                words.extend([0, *layer as u32, u32::from(capture.patterns) | u32::from(capture.heads) << 1]);
                words.extend(segments.iter().flat_map(|s| [s.slot, s.past as u32, s.rows as u32]));
            }
            Command::Mlp { layer, rows } => words.extend([1, *layer as u32, *rows as u32]),
            Command::Logits { rows } => words.extend([3, *rows as u32, 0]),
            Command::Forget { layers, slots } => {
                words.extend([2, layers.start as u32, layers.end as u32]);
                words.extend(slots);
            }
        }
        words[0] = words.len() as u32;
        words
    }

    /// Number and command, from words of which the first says how many they are; `None` where they mean nothing.
    pub fn from_words(words: &[u32]) -> Option<(u32, Command)> {
        let [_, number, kind, first, second, rest @ ..] = words else { return None };
        let (first, second) = (*first as usize, *second);
        let command = match kind {
            0 => {
                let segment = |s: &[u32; 3]| Segment { slot: s[0], past: s[1] as usize, rows: s[2] as usize };
                let (segments, []) = rest.as_chunks::<3>() else { return None };
                let capture = CaptureRequest { patterns: second & 1 != 0, heads: second & 2 != 0 };
                Command::Attend { layer: first, segments: segments.iter().map(segment).collect(), capture }
            }
            1 => Command::Mlp { layer: first, rows: second as usize },
            2 => Command::Forget { layers: first..second as usize, slots: rest.to_vec() },
            3 => Command::Logits { rows: first },
            _ => return None,
        };
        Some((*number, command))
    }

    /// Rows of the normed stream that come with it.
    pub fn rows(&self) -> usize {
        match self {
            Command::Attend { segments, .. } => segments.iter().map(|segment| segment.rows).sum(),
            Command::Mlp { rows, .. } | Command::Logits { rows } => *rows,
            Command::Forget { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_wire() {
        let segments = vec![Segment { slot: 3, past: 0, rows: 5 }, Segment { slot: 9, past: 70_000, rows: 1 }];
        let orders = [
            Command::Attend { layer: 47, segments, capture: CaptureRequest { patterns: false, heads: true } },
            Command::Attend {
                layer: 0,
                segments: Vec::new(),
                capture: CaptureRequest { patterns: true, heads: false },
            },
            Command::Mlp { layer: 2, rows: 128 },
            Command::Logits { rows: 41 },
            Command::Forget { layers: 1..12, slots: vec![4, 0] },
        ];
        for command in orders {
            let words = command.to_words(77);
            assert_eq!(words[0] as usize, words.len(), "wire.rs: the first word counts them all");
            assert_eq!(Command::from_words(&words), Some((77, command)), "wire.rs: {words:?}");
        }
        for nonsense in [&[][..], &[5, 0, 9, 0, 0], &[6, 0, 0, 0, 0, 1]] {
            assert_eq!(Command::from_words(nonsense), None, "wire.rs: {nonsense:?} means nothing");
        }
    }
}
