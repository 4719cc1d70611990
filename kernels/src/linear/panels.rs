//! A weight matrix in the order in which the kernel reads it.
//!
//! W `[in, out]` is cut into panels of [`WIDTH`] columns; a panel holds its columns of row 0, then those of row 1,
//! and so on: one stretch of memory, read front to back. Columns beyond the last are zero.

use std::collections::TryReserveError;
use std::ops::Range;

/// Columns of a panel: two vectors of four.
pub const WIDTH: usize = 8;
/// Rows packed at a time: a stretch of them is written to every panel, so that neither side is read or written
/// in strides alone.
const ROWS_AT_A_TIME: usize = 8;

/// W `[in, out]`, packed.
#[derive(Clone, Debug, PartialEq)]
pub struct Panels {
    inputs: usize,
    outputs: usize,
    values: Vec<f32>,
}

impl Panels {
    /// Packs some rows and some columns (in this order) of a row-major matrix with `stride` columns.
    ///
    /// # Errors
    /// Where the allocator has no room; nothing is aborted.
    // Never inlined: in a caller that is compiled for size it would be compiled for size too.
    #[inline(never)]
    pub fn pack(
        matrix: &[f32],
        stride: usize,
        rows: Range<usize>,
        columns: &[Range<usize>],
    ) -> Result<Panels, TryReserveError> {
        let (inputs, outputs) = (rows.len(), columns.iter().map(ExactSizeIterator::len).sum::<usize>());
        let mut panels = Panels { inputs, outputs, values: Vec::new() };
        let count = outputs.div_ceil(WIDTH) * WIDTH * inputs;
        panels.values.try_reserve_exact(count)?;
        panels.values.resize(count, 0.0);
        let rows: Vec<&[f32]> = matrix.chunks_exact(stride.max(1)).skip(rows.start).take(inputs).collect();
        for (block, rows) in rows.chunks(ROWS_AT_A_TIME).enumerate() {
            let mut to = 0;
            for columns in columns {
                panels.write(block * ROWS_AT_A_TIME, rows, columns.clone(), to);
                to += columns.len();
            }
        }
        Ok(panels)
    }

    /// Writes a run of columns of a few rows, from input `first` on, to output `to` and those after it.
    fn write(&mut self, first: usize, rows: &[&[f32]], columns: Range<usize>, to: usize) {
        let mut column = columns.start;
        while column < columns.end {
            let output = to + column - columns.start;
            let count = (WIDTH - output % WIDTH).min(columns.end - column);
            let mut at = (output / WIDTH * self.inputs + first) * WIDTH + output % WIDTH;
            for row in rows {
                match (self.values[at..].first_chunk_mut::<WIDTH>(), row[column..].first_chunk::<WIDTH>()) {
                    // Of a known length: two vectors rather than a call, and nearly all are so.
                    (Some(to), Some(from)) if count == WIDTH => *to = *from,
                    _ => self.values[at..at + count].copy_from_slice(&row[column..column + count]),
                }
                at += WIDTH;
            }
            column += count;
        }
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

    /// in.
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// out.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// The panels, each as its rows.
    pub fn iter(&self) -> impl Iterator<Item = &[[f32; WIDTH]]> {
        let (rows, _) = self.values.as_chunks::<WIDTH>();
        rows.chunks_exact(self.inputs.max(1))
    }
}
