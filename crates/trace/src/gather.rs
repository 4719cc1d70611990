//! Rows that were recorded side by side, of several sequences and in several pieces, back to a sequence each.

use std::ops::Range;

use super::Sequence;
use super::fields::{Axis, Field, FieldSource, Record, Sizes, Value};

/// Some of the rows that a record holds.
#[derive(Clone, Debug)]
pub struct RecordedRows<'a> {
    /// The record: its arrays have a column per row.
    pub record: &'a Sequence,
    /// Rows in the record.
    pub of: usize,
    /// Those that are meant.
    pub rows: Range<usize>,
}

impl Sequence {
    /// What is recorded token by token in records that hold a sequence's tokens, in order: of `layers` layers with `heads`
    /// heads each, and `k` predictions a cell. Optional fields are those that every record has.
    pub fn gathered(parts: &[RecordedRows], layers: usize, heads: usize, k: usize) -> Sequence {
        let sizes = Sizes { tokens: 0, layers, heads, some: k };
        let parts = parts.iter().map(|part| (part.record as &dyn Record, part.of, part.rows.clone()));
        // A sequence's rows are never missing.
        Sequence::read(&Gathered { parts: parts.collect(), sizes }).unwrap_or_default()
    }
}

/// Records side by side, to be read as one.
struct Gathered<'a> {
    parts: Vec<(&'a dyn Record, usize, Range<usize>)>,
    sizes: Sizes,
}

impl<'a> Gathered<'a> {
    /// What each record has of a field.
    fn values(&self, field: &Field) -> impl Iterator<Item = Value<'a>> {
        let find = |record: &'a dyn Record| record.fields().into_iter().find(|(of, _)| of.name == field.name);
        self.parts.iter().map(move |(record, ..)| find(*record).map_or(Value::Missing, |(_, value)| value))
    }

    /// The rows of arrays: planes of rows of cells.
    fn gather<T: Copy>(&self, field: &Field, array: fn(Value<'a>) -> Option<&'a [T]>) -> Option<Vec<T>> {
        let tokens = field.axes.iter().position(|axis| *axis == Axis::Tokens)?;
        let (planes, cells) = field.axes.split_at(tokens);
        let (planes, item) = (self.sizes.over(planes), self.sizes.over(cells.get(1..)?));
        let arrays = self.values(field).map(array).collect::<Option<Vec<&[T]>>>()?;
        let mut gathered = Vec::new();
        for plane in 0..planes {
            for (values, (_, of, rows)) in arrays.iter().zip(&self.parts) {
                let cells = (plane * of + rows.start) * item..(plane * of + rows.end) * item;
                gathered.extend_from_slice(values.get(cells).unwrap_or_default());
            }
        }
        Some(gathered)
    }
}

impl FieldSource for Gathered<'_> {
    fn floats(&self, field: &Field) -> Result<Option<Vec<f32>>, String> {
        Ok(self.gather(field, |value| if let Value::Floats(numbers) = value { Some(numbers) } else { None }))
    }

    fn whole(&self, field: &Field) -> Result<Option<Vec<u32>>, String> {
        Ok(self.gather(field, |value| if let Value::Whole(numbers) = value { Some(numbers) } else { None }))
    }

    fn record(&self, field: &Field) -> Option<Box<dyn FieldSource + '_>> {
        let has_rows =
            |record: &dyn Record| record.fields().iter().any(|(field, _)| field.axes.contains(&Axis::Tokens));
        let inner = self.values(field).zip(&self.parts).map(|(value, (_, of, rows))| match value {
            Value::Record(record) if has_rows(record) => Some((record, *of, rows.clone())),
            _ => None,
        });
        Some(Box::new(Gathered { parts: inner.collect::<Option<_>>()?, sizes: self.sizes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Lens;

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
        let parts =
            [RecordedRows { record: &first, of: 3, rows: 0..2 }, RecordedRows { record: &second, of: 2, rows: 1..2 }];
        let sequence = Sequence::gathered(&parts, 2, 2, 2);
        assert_eq!(sequence.embed_norm, [0.0, 1.0, 101.0]);
        assert_eq!(sequence.attn_norm, [0.0, 1.0, 101.0, 3.0, 4.0, 103.0]);
        let heads = sequence.head_norm.as_deref().unwrap();
        assert_eq!(heads, [0.0, 1.0, 101.0, 3.0, 4.0, 103.0, 6.0, 7.0, 105.0, 9.0, 10.0, 107.0]);
        let ids = [0, 1, 2, 3, 102, 103, 6, 7, 8, 9, 106, 107, 12, 13, 14, 15, 110, 111];
        assert_eq!(sequence.lens.unwrap().ids, ids, "gather.rs: (L+1) * T * k");
    }
}
