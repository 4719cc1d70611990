//! A weight matrix in the order in which the kernel reads it.
//!
//! W `[in, out]` is cut into panels of [`WIDTH`] columns; a panel holds its columns of row 0, then those of row 1,
//! and so on: one stretch of memory, read front to back. Columns beyond the last are zero.

use std::collections::TryReserveError;
use std::ops::Range;
use std::slice::ChunksExact;

use crate::lanes::F32x4;
use crate::widen::all_finite;

/// Columns of a panel: two vectors of four.
pub const WIDTH: usize = 8;

/// W `[in, out]`, packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    inputs: usize,
    outputs: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Room for W, all zero.
    ///
    /// # Errors
    /// Where the allocator has none; nothing is aborted.
    pub fn zeros(inputs: usize, outputs: usize) -> Result<Panels, TryReserveError> {
        let mut values = Vec::new();
        let count = outputs.div_ceil(WIDTH) * WIDTH * inputs;
        values.try_reserve_exact(count)?;
        values.resize(count, 0.0);
        Ok(Panels { inputs, outputs, values })
    }

    /// Writes a run of columns of a few rows, from input `first` on, to output `to` and those after it. Says whether all
    /// of them are finite.
    #[inline(always)]
    pub(super) fn write<T>(
        &mut self,
        first: usize,
        rows: &[&[T]],
        columns: Range<usize>,
        to: usize,
        widen: impl Fn(&T) -> f32 + Copy,
    ) -> bool {
        let mut finite = true;
        let mut column = columns.start;
        while column < columns.end {
            let output = to + column - columns.start;
            let count = (WIDTH - output % WIDTH).min(columns.end - column);
            let mut at = (output / WIDTH * self.inputs + first) * WIDTH + output % WIDTH;
            for row in rows {
                match (self.values[at..].first_chunk_mut::<WIDTH>(), row[column..].first_chunk::<WIDTH>()) {
                    // Of a known length: two vectors rather than a loop, and nearly all are so.
                    (Some(to), Some(from)) if count == WIDTH => {
                        *to = from.each_ref().map(widen);
                        finite &= all_finite(to);
                    }
                    _ => {
                        let to = &mut self.values[at..at + count];
                        to.iter_mut().zip(&row[column..]).for_each(|(to, from)| *to = widen(from));
                        finite &= all_finite(to);
                    }
                }
                at += WIDTH;
            }
            column += count;
        }
        finite
    }

    /// From what [`Panels::values`] gave; `None` where the count is another.
    pub fn from_values(inputs: usize, outputs: usize, values: Vec<f32>) -> Option<Panels> {
        let count = outputs.div_ceil(WIDTH).checked_mul(WIDTH)?.checked_mul(inputs)?;
        (values.len() == count).then_some(Panels { inputs, outputs, values })
    }

    /// The numbers in their order.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Rows of W, which are columns of x.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Columns of W.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The panels, each as its rows.
    pub fn iter(&self) -> impl Iterator<Item = &[[f32; WIDTH]]> {
        self.groups(1).flatten()
    }

    /// So many neighbouring panels at a time.
    pub fn groups(&self, count: usize) -> impl Iterator<Item = ChunksExact<'_, [f32; WIDTH]>> {
        let (rows, _) = self.values.as_chunks::<WIDTH>();
        let inputs = self.inputs.max(1);
        rows.chunks(count * inputs).map(move |rows| rows.chunks_exact(inputs))
    }
}

/// Up to eight rows, each of a panel's length, as the columns of that panel; missing rows are zeros.
pub fn turn(rows: [&[f32]; WIDTH], panel: &mut [[f32; WIDTH]]) {
    let mut done = 0;
    if rows.iter().all(|row| row.len() == panel.len()) {
        let fours = rows.map(|row| row.as_chunks::<4>().0);
        let (of_four, _) = panel.as_chunks_mut::<4>();
        for (step, to) in of_four.iter_mut().enumerate() {
            let read = |first: usize| std::array::from_fn(|i| F32x4::from(fours[first + i][step]));
            let (left, right) = (F32x4::transpose(read(0)), F32x4::transpose(read(4)));
            for ((to, left), right) in to.iter_mut().zip(left).zip(right) {
                let (start, end) = to.split_at_mut(4);
                start.copy_from_slice(&left.to_array());
                end.copy_from_slice(&right.to_array());
            }
        }
        done = of_four.len() * 4;
    }
    for (step, to) in panel.iter_mut().enumerate().skip(done) {
        *to = rows.map(|row| row.get(step).copied().unwrap_or(0.0));
    }
}
