//! Weights, packed as they come: numbers of a matrix, in any order, to the panels of everyone who holds a part of it.

use std::collections::TryReserveError;
use std::ops::Range;

use half::{bf16, f16};

use super::panels::Panels;
use crate::widen::Format;

/// A part of a matrix: some rows, and some columns in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The rows of the matrix that belong to it.
    pub rows: Range<usize>,
    /// The columns that belong to it, in the order in which it has them.
    pub columns: Vec<Range<usize>>,
}

/// Parts of a row-major matrix that are being packed.
#[derive(Debug)]
pub struct Packing {
    stride: usize,
    parts: Vec<(Cut, Panels)>,
}

impl Packing {
    /// Of a matrix with `stride` columns. Panels among `spare` that have a part's size are used again.
    ///
    /// # Errors
    /// Where the allocator has no room for the panels; nothing is aborted.
    pub fn new(
        stride: usize,
        cuts: impl IntoIterator<Item = Cut>,
        spare: &mut Vec<Panels>,
    ) -> Result<Packing, TryReserveError> {
        let begin = |cut: Cut| -> Result<_, TryReserveError> {
            let size = (cut.rows.len(), cut.columns.iter().map(ExactSizeIterator::len).sum());
            let place = spare.iter().position(|panels| (panels.inputs(), panels.outputs()) == size);
            let panels = place.map_or_else(|| Panels::zeros(size.0, size.1), |place| Ok(spare.swap_remove(place)))?;
            Ok((cut, panels))
        };
        Ok(Packing { stride: stride.max(1), parts: cuts.into_iter().map(begin).collect::<Result<_, _>>()? })
    }

    /// Puts in numbers of the matrix, row after row, from number `first` on, as a file has them. Those that are there
    /// already are overwritten. Says whether all that belong to a part are finite.
    // Never inlined: in a caller that is compiled for size it would be compiled for size too.
    #[inline(never)]
    pub fn put(&mut self, first: usize, format: Format, bytes: &[u8]) -> bool {
        match format {
            Format::F32 => self.put_numbers(first, bytes.as_chunks::<4>().0, |bytes| f32::from_le_bytes(*bytes)),
            Format::F16 => {
                self.put_numbers(first, bytes.as_chunks::<2>().0, |bytes| f16::from_le_bytes(*bytes).to_f32())
            }
            Format::BF16 => {
                self.put_numbers(first, bytes.as_chunks::<2>().0, |bytes| bf16::from_le_bytes(*bytes).to_f32())
            }
        }
    }

    fn put_numbers<T>(&mut self, first: usize, numbers: &[T], widen: impl Fn(&T) -> f32 + Copy) -> bool {
        /// Rows that are written to every panel before the next are: neither side is read or written in strides alone.
        const ROWS: usize = 8;
        let (mut row, column) = (first / self.stride, first % self.stride);
        let (begun, rest) = numbers.split_at(numbers.len().min((self.stride - column) % self.stride));
        let mut finite = true;
        if !begun.is_empty() {
            finite &= self.scatter(row, column, &[begun], widen);
            row += 1;
        }
        for rows in rest.chunks(ROWS * self.stride) {
            let whole = rows.chunks_exact(self.stride);
            let last = whole.remainder();
            let whole: Vec<&[T]> = whole.collect();
            finite &= self.scatter(row, 0, &whole, widen);
            row += whole.len();
            if !last.is_empty() {
                finite &= self.scatter(row, 0, &[last], widen);
            }
        }
        finite
    }

    /// Rows from `row` on, of which the columns from `begin` on are here.
    #[inline(always)]
    fn scatter<T>(&mut self, row: usize, begin: usize, rows: &[&[T]], widen: impl Fn(&T) -> f32 + Copy) -> bool {
        let end = begin + rows.first().map_or(0, |row| row.len());
        let mut finite = true;
        for (cut, panels) in &mut self.parts {
            let held = cut.rows.start.max(row)..cut.rows.end.min(row + rows.len());
            if held.is_empty() {
                continue;
            }
            let (input, rows) = (held.start - cut.rows.start, &rows[held.start - row..held.end - row]);
            let mut output = 0;
            for columns in &cut.columns {
                let here = columns.start.max(begin)..columns.end.min(end);
                if !here.is_empty() {
                    let from = here.start - begin..here.end - begin;
                    finite &= panels.write(input, rows, from, output + here.start - columns.start, widen);
                }
                output += columns.len();
            }
        }
        finite
    }

    /// The parts, in the order of the cuts. What was not put in is anything.
    pub fn into_panels(self) -> Vec<Panels> {
        self.parts.into_iter().map(|(_, panels)| panels).collect()
    }
}
