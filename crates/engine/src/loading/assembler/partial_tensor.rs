//! A run of elements that fills up, from bytes that come in pieces and in any order, widened to F32 on the way:
//! the file's bytes and the tensor's are never held both. Weights of linear layers are packed on the way too.

use std::ops::Range;

use crate::loading::WeightsError;
use crate::loading::index::Dtype;
use crate::loading::plan::byte_ranges::ByteRanges;
use crate::model::linear::packing::Packing;
use crate::model::widen::{self, Format};

/// Elements that are filling up.
pub struct PartialTensor {
    dtype: Dtype,
    /// How many they are when all are there.
    count: usize,
    elements: Elements,
    have: ByteRanges,
    /// An element that is not a finite number: of those that were found, the first.
    not_finite: Option<usize>,
}

/// Where elements go: a tensor in row-major order, or the panels of a linear layer.
pub enum Elements {
    /// One after the other; as far as any are there: most come in order, and nothing is written twice then.
    Plain(Vec<f32>),
    /// Into panels, a part for every worker.
    Packed(Packing),
}

impl PartialTensor {
    /// Room for `count` elements of this type; `what` names the tensor where there is no such room.
    ///
    /// # Errors
    /// `OutOfMemory` where the allocator has no such room; nothing is aborted.
    pub fn new(what: &str, dtype: Dtype, count: usize) -> Result<PartialTensor, WeightsError> {
        let mut values = Vec::new();
        values.try_reserve_exact(count).map_err(|_| no_room(what, count))?;
        Ok(PartialTensor::of(Elements::Plain(values), dtype, count))
    }

    /// `count` elements to be packed.
    pub fn packed(packing: Packing, dtype: Dtype, count: usize) -> PartialTensor {
        PartialTensor::of(Elements::Packed(packing), dtype, count)
    }

    fn of(elements: Elements, dtype: Dtype, count: usize) -> PartialTensor {
        PartialTensor { dtype, count, elements, have: ByteRanges::default(), not_finite: None }
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
        let bytes = &bytes[..taken];
        let bad = match &mut self.elements {
            Elements::Plain(values) => {
                let all_finite = widen::write(values, first, format, bytes);
                if all_finite { None } else { bad(values, first..first + taken / size) }
            }
            Elements::Packed(packing) => {
                let all_finite = packing.put(first, format, bytes);
                if all_finite { None } else { bad_of(format, bytes).map(|place| first + place) }
            }
        };
        self.found(bad);
        let new = self.have.add(at..at + taken as u64);
        (taken, new)
    }

    fn found(&mut self, bad: Option<usize>) {
        self.not_finite = self.not_finite.into_iter().chain(bad).min();
    }

    /// The elements of a run of bytes, if all of them are there and none is packed.
    pub fn read(&self, bytes: Range<u64>) -> Option<&[f32]> {
        let size = self.dtype.size();
        let Elements::Plain(values) = &self.elements else { return None };
        self.have.covers(&bytes).then_some(())?;
        values.get(usize::try_from(bytes.start).ok()? / size..usize::try_from(bytes.end).ok()? / size)
    }

    /// Copies elements in from another run of the same tensor, which begins at byte `at` of this one: of a table, which is
    /// not packed.
    pub fn copy_from(&mut self, at: u64, values: &[f32]) {
        let first = at as usize / self.dtype.size();
        let end = first.saturating_add(values.len());
        if end > self.count {
            return;
        }
        let Elements::Plain(own) = &mut self.elements else { return };
        own.resize(own.len().max(end), 0.0);
        own[first..end].copy_from_slice(values);
        self.found(bad(values, 0..values.len()).map(|place| first + place));
        self.have.add(at..at + (values.len() * self.dtype.size()) as u64);
    }

    /// Bytes that are there.
    pub fn received(&self) -> u64 {
        self.have.count()
    }

    /// Whether every element is there.
    pub fn is_full(&self) -> bool {
        self.have.covers(&(0..self.size()))
    }

    /// Forgets all bytes, which must then come again.
    pub fn forget(&mut self) {
        self.have = ByteRanges::default();
        self.not_finite = None;
    }

    /// The byte at which an element begins that is not a finite number, the first that was found. Trained weights have
    /// none; damaged ones often do.
    pub fn first_not_finite(&self) -> Option<u64> {
        self.not_finite.map(|place| (place * self.dtype.size()) as u64)
    }

    /// The elements, all of which must be there.
    pub fn into_elements(self) -> Elements {
        self.elements
    }
}

/// There is no memory for this tensor's elements.
pub fn no_room(tensor: &str, count: usize) -> WeightsError {
    WeightsError::OutOfMemory { what: format!("tensor \"{tensor}\""), bytes: 4 * count as u64 }
}

/// The place of the first of these values that is not finite.
fn bad(values: &[f32], places: Range<usize>) -> Option<usize> {
    places.into_iter().find(|place| values.get(*place).is_some_and(|value| !value.is_finite()))
}

/// The same in a file's bytes.
fn bad_of(format: Format, bytes: &[u8]) -> Option<usize> {
    let mut values = Vec::new();
    widen::write(&mut values, 0, format, bytes);
    bad(&values, 0..values.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::linear::packing::Cut;
    use proptest::prelude::*;

    fn plain(tensor: PartialTensor) -> Vec<f32> {
        let Elements::Plain(values) = tensor.into_elements() else { panic!("partial_tensor.rs: packed") };
        values
    }

    #[test]
    fn halves_widen_exactly() {
        let mut tensor = PartialTensor::new("t", Dtype::F16, 5).unwrap();
        // 1, -2, the smallest subnormal, the largest finite, infinity (IEEE 754 binary16 encodings).
        let bytes: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff, 0x7c00].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(tensor.write(0, &bytes), (10, 10));
        assert_eq!(tensor.first_not_finite(), Some(8), "partial_tensor.rs: infinity is the fifth element");
        assert_eq!(plain(tensor), [1.0, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY]);
        let mut tensor = PartialTensor::new("t", Dtype::BF16, 1).unwrap();
        tensor.write(0, &0x4049u16.to_le_bytes());
        assert_eq!(plain(tensor), [3.140_625]);
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
            let mut tensor = PartialTensor::new("t", Dtype::F32, values.len()).unwrap();
            for (begin, end) in pieces {
                let tail = if end == values.len() { bytes.len() } else { 4 * end };
                let count = 4 * (end - begin);
                prop_assert_eq!(tensor.write(4 * begin as u64, &bytes[4 * begin..tail]), (count, count as u64));
            }
            prop_assert!(tensor.is_full(), "partial_tensor.rs lost count of its bytes");
            prop_assert_eq!(tensor.first_not_finite(), None);
            prop_assert_eq!(plain(tensor), values);
        }
    }

    #[test]
    fn what_is_packed_is_looked_over_too() {
        let (rows, columns) = (40, 12);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32).collect();
        for (dtype, size) in [(Dtype::F32, 4), (Dtype::BF16, 2)] {
            let bytes = |value: &f32| value.to_le_bytes()[4 - size..].to_vec();
            for bad in [None, Some(0), Some(203), Some(479)] {
                let cut = Cut { rows: 0..rows, columns: vec![0..columns] };
                let mut tensor =
                    PartialTensor::packed(Packing::new(columns, [cut], &mut Vec::new()).unwrap(), dtype, values.len());
                let mut all: Vec<u8> = values.iter().flat_map(bytes).collect();
                if let Some(bad) = bad {
                    all[size * bad..size * (bad + 1)].copy_from_slice(&bytes(&f32::NAN));
                }
                for (at, piece) in (0..).step_by(52 * size).zip(all.chunks(52 * size)) {
                    assert_eq!(tensor.write(at, piece).0, piece.len(), "partial_tensor.rs: at {at}");
                }
                assert_eq!(
                    tensor.first_not_finite(),
                    bad.map(|bad| (size * bad) as u64),
                    "partial_tensor.rs: {dtype:?}"
                );
                tensor.forget();
                assert!(!tensor.is_full() && tensor.first_not_finite().is_none(), "partial_tensor.rs: forget");
                let Elements::Packed(packing) = tensor.into_elements() else { panic!("partial_tensor.rs: not packed") };
                let panels = packing.into_panels().remove(0);
                let found = panels.iter().next().unwrap()[17][3];
                let expected = f32::from_bits(values[17 * columns + 3].to_bits() >> (32 - 8 * size) << (32 - 8 * size));
                assert_eq!(found, expected, "partial_tensor.rs: row 17, column 3");
            }
        }
    }

    #[test]
    fn a_tensor_beyond_memory_is_an_error_and_not_an_abort() {
        assert!(matches!(PartialTensor::new("t", Dtype::F32, usize::MAX / 8), Err(WeightsError::OutOfMemory { .. })));
    }
}
