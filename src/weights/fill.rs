//! A run of elements that fills up, from bytes that come in pieces and in any order, widened to F32 on the way:
//! the file's bytes and the tensor's are never held both.

use std::ops::Range;

use super::runs::Runs;
use super::{Dtype, WeightsError};
use crate::model::widen::{self, Format};

/// Elements that are filling up.
pub struct Fill {
    dtype: Dtype,
    /// How many they are when all are there.
    count: usize,
    /// As far as any are there: most come in order, and nothing is written twice then.
    values: Vec<f32>,
    have: Runs,
    /// Whether everything that was ever written was a finite number.
    finite: bool,
}

impl Fill {
    /// Room for `count` elements of this type; `what` names the tensor where there is no such room.
    ///
    /// # Errors
    /// `OutOfMemory` where the allocator has no such room; nothing is aborted.
    pub fn new(what: &str, dtype: Dtype, count: usize) -> Result<Fill, WeightsError> {
        let mut values = Vec::new();
        values
            .try_reserve_exact(count)
            .map_err(|_| WeightsError::OutOfMemory { what: format!("tensor \"{what}\""), bytes: 4 * count as u64 })?;
        Ok(Fill { dtype, count, values, have: Runs::default(), finite: true })
    }

    /// Bytes that all elements have in the file.
    fn size(&self) -> u64 {
        (self.count * self.dtype.size()) as u64
    }

    /// Takes bytes for the place `at` (in bytes, at an element's begin); returns how many it took (whole elements,
    /// up to the end), and how many of those are new. Bytes that it has already are taken again.
    pub fn write(&mut self, at: u64, bytes: &[u8]) -> (usize, u64) {
        let size = self.dtype.size();
        let left = self.size().saturating_sub(at).min(bytes.len() as u64) as usize;
        let taken = left / size * size;
        let first = at as usize / size;
        if taken == 0 {
            return (0, 0);
        }
        let format = match self.dtype {
            Dtype::F32 => Format::F32,
            Dtype::F16 => Format::F16,
            Dtype::BF16 => Format::BF16,
        };
        self.finite &= widen::write(&mut self.values, first, format, &bytes[..taken]);
        let new = self.have.add(at..at + taken as u64);
        (taken, new)
    }

    /// The elements of a run of bytes, if all of them are there.
    pub fn read(&self, bytes: Range<u64>) -> Option<&[f32]> {
        let size = self.dtype.size();
        self.have.covers(&bytes).then_some(())?;
        self.values.get(usize::try_from(bytes.start).ok()? / size..usize::try_from(bytes.end).ok()? / size)
    }

    /// Copies elements in from another run of the same tensor, which begins at byte `at` of this one.
    pub fn copy_from(&mut self, at: u64, values: &[f32]) {
        let first = at as usize / self.dtype.size();
        let end = first.saturating_add(values.len());
        if end <= self.count {
            self.values.resize(self.values.len().max(end), 0.0);
            self.values[first..end].copy_from_slice(values);
            self.finite &= widen::all_finite(values);
            self.have.add(at..at + (values.len() * self.dtype.size()) as u64);
        }
    }

    /// Bytes that are there.
    pub fn received(&self) -> u64 {
        self.have.len()
    }

    /// Whether every element is there.
    pub fn is_full(&self) -> bool {
        self.have.covers(&(0..self.size()))
    }

    /// Forgets bytes, which must then come again.
    pub fn forget(&mut self, bytes: Range<u64>) {
        self.have.remove(bytes);
    }

    /// The byte at which the first element begins that is not a finite number. Trained weights have none; damaged
    /// ones often do.
    pub fn first_not_finite(&self) -> Option<u64> {
        if self.finite {
            return None;
        }
        let place = self.values.iter().position(|value| !value.is_finite())?;
        Some((place * self.dtype.size()) as u64)
    }

    /// The elements.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_widen_exactly() {
        let mut fill = Fill::new("t", Dtype::F16, 5).unwrap();
        // 1, -2, the smallest subnormal, the largest finite, infinity (IEEE 754 binary16 encodings).
        let bytes: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff, 0x7c00].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(fill.write(0, &bytes), (10, 10));
        assert_eq!(fill.first_not_finite(), Some(8), "fill.rs: infinity is the fifth element");
        assert_eq!(fill.into_values(), [1.0, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY]);
        let mut fill = Fill::new("t", Dtype::BF16, 1).unwrap();
        fill.write(0, &0x4049u16.to_le_bytes());
        assert_eq!(fill.into_values(), [3.140_625]);
    }

    proptest! {
        #[test]
        fn any_cutting_in_any_order_gives_the_same_elements(
            values in proptest::collection::vec(-1e30f32..1e30, 1..50),
            cuts in proptest::collection::vec(0usize..50, 0..8),
            order in any::<prop::sample::Index>(),
        ) {
            let mut bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            bytes.extend([7; 9]); // the next tensor's bytes, which must be left alone
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut % values.len()).chain([0, values.len()]).collect();
            cuts.sort_unstable();
            let mut pieces: Vec<_> = cuts.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let turn = order.index(pieces.len());
            pieces.rotate_left(turn);
            let mut fill = Fill::new("t", Dtype::F32, values.len()).unwrap();
            for (begin, end) in pieces {
                let tail = if end == values.len() { bytes.len() } else { 4 * end };
                let count = 4 * (end - begin);
                prop_assert_eq!(fill.write(4 * begin as u64, &bytes[4 * begin..tail]), (count, count as u64));
            }
            prop_assert!(fill.is_full(), "fill.rs lost count of its bytes");
            prop_assert_eq!(fill.first_not_finite(), None);
            prop_assert_eq!(fill.into_values(), values);
        }
    }

    #[test]
    fn a_tensor_beyond_memory_is_an_error_and_not_an_abort() {
        assert!(matches!(Fill::new("t", Dtype::F32, usize::MAX / 8), Err(WeightsError::OutOfMemory { .. })));
    }
}
