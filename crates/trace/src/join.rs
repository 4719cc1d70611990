//! Rows that were recorded side by side, of several sequences and in several pieces, back to a sequence each.

use std::ops::Range;

use super::{Lens, Sequence};

/// Some of the rows that a record holds.
#[derive(Clone, Debug)]
pub struct Rows<'a> {
    /// The record: its arrays have a column per row.
    pub record: &'a Sequence,
    /// Rows in the record.
    pub of: usize,
    /// Those that are meant.
    pub rows: Range<usize>,
}

impl Sequence {
    /// Takes over the arrays of records that hold its tokens, in order: of `layers` layers with `heads` heads each.
    pub fn take_rows(&mut self, parts: &[Rows], (layers, heads): (usize, usize)) {
        let join = |planes, array: fn(&Sequence) -> &[f32]| {
            join(planes, 1, parts.iter().map(|part| (array(part.record), part.of, part.rows.clone())))
        };
        self.embed_norm = join(1, |record| &record.embed_norm);
        self.attn_norm = join(layers, |record| &record.attn_norm);
        self.mlp_norm = join(layers, |record| &record.mlp_norm);
        self.resid_pre_norm = join(layers, |record| &record.resid_pre_norm);
        self.resid_mid_norm = join(layers, |record| &record.resid_mid_norm);
        self.resid_post_norm = join(layers, |record| &record.resid_post_norm);
        self.attn_cos = join(layers, |record| &record.attn_cos);
        self.mlp_cos = join(layers, |record| &record.mlp_cos);
        let by_head = parts.iter().all(|part| part.record.head_norm.is_some());
        self.head_norm =
            by_head.then(|| join(layers * heads, |record| record.head_norm.as_deref().unwrap_or_default()));
    }

    /// Takes over the logit lens of such records, `k` predictions a cell.
    pub fn take_lens(&mut self, parts: &[Rows], layers: usize, k: usize) {
        let lens = |part: &Rows| part.record.lens.clone().unwrap_or_default();
        let lenses: Vec<Lens> = parts.iter().map(lens).collect();
        let with = || parts.iter().zip(&lenses);
        let ids = join(layers + 1, k, with().map(|(part, lens)| (lens.ids.as_slice(), part.of, part.rows.clone())));
        let probs = join(layers + 1, k, with().map(|(part, lens)| (lens.probs.as_slice(), part.of, part.rows.clone())));
        let true_rank =
            join(layers + 1, 1, with().map(|(part, lens)| (lens.true_rank.as_slice(), part.of, part.rows.clone())));
        let true_prob =
            join(layers + 1, 1, with().map(|(part, lens)| (lens.true_prob.as_slice(), part.of, part.rows.clone())));
        self.lens = Some(Lens { ids, probs, true_rank, true_prob, ..Lens::default() });
    }
}

/// `[plane][row]` arrays with `item` numbers a cell, side by side, as one.
fn join<'a, T: Copy + 'a>(
    planes: usize,
    item: usize,
    parts: impl Iterator<Item = (&'a [T], usize, Range<usize>)> + Clone,
) -> Vec<T> {
    let mut joined = Vec::new();
    for plane in 0..planes {
        for (values, of, rows) in parts.clone() {
            let cells = (plane * of + rows.start) * item..(plane * of + rows.end) * item;
            joined.extend_from_slice(values.get(cells).unwrap_or_default());
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_two_records_make_one_sequence() {
        // Two layers, two heads; the first record has 3 rows of which 2 are meant, the second 2 of which the last is.
        let record = |rows: usize, base: f32| {
            let numbers = |planes: usize| (0..planes * rows).map(|i| base + i as f32).collect::<Vec<_>>();
            let lens = Lens {
                ids: (0..3 * rows as u32 * 2).map(|i| base as u32 + i).collect(),
                probs: numbers(6),
                ..Lens::default()
            };
            Sequence {
                embed_norm: numbers(1),
                attn_norm: numbers(2),
                head_norm: Some(numbers(4)),
                lens: Some(lens),
                ..Sequence::default()
            }
        };
        let (first, second) = (record(3, 0.0), record(2, 100.0));
        let parts = [Rows { record: &first, of: 3, rows: 0..2 }, Rows { record: &second, of: 2, rows: 1..2 }];
        let mut sequence = Sequence::default();
        sequence.take_rows(&parts, (2, 2));
        assert_eq!(sequence.embed_norm, [0.0, 1.0, 101.0]);
        assert_eq!(sequence.attn_norm, [0.0, 1.0, 101.0, 3.0, 4.0, 103.0]);
        let heads = sequence.head_norm.as_deref().unwrap();
        assert_eq!(heads, [0.0, 1.0, 101.0, 3.0, 4.0, 103.0, 6.0, 7.0, 105.0, 9.0, 10.0, 107.0]);
        sequence.take_lens(&parts, 2, 2);
        let ids = [0, 1, 2, 3, 102, 103, 6, 7, 8, 9, 106, 107, 12, 13, 14, 15, 110, 111];
        assert_eq!(sequence.lens.unwrap().ids, ids, "join.rs: (L+1) * T * k");
    }
}
