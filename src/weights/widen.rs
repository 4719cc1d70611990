//! Bytes of a tensor to F32, as they arrive: the file's bytes and the tensor's are never held both.

use half::{bf16, f16};

use super::{Dtype, WeightsError};

/// A tensor that is filling up.
pub struct Widen {
    dtype: Dtype,
    values: Vec<f32>,
    count: usize,
    /// Bytes of an element that a piece ended in the middle of.
    rest: Vec<u8>,
}

impl Widen {
    /// Room for `count` elements of this type.
    ///
    /// # Errors
    /// `OutOfMemory` where the allocator has no such room; nothing is aborted.
    pub fn new(name: &str, dtype: Dtype, count: usize) -> Result<Widen, WeightsError> {
        let mut values = Vec::new();
        values
            .try_reserve_exact(count)
            .map_err(|_| WeightsError::OutOfMemory { what: format!("tensor \"{name}\""), bytes: 4 * count as u64 })?;
        Ok(Widen { dtype, values, count, rest: Vec::new() })
    }

    /// Takes bytes up to the end of the tensor; returns how many it took.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let size = self.dtype.size();
        let missing = (self.count - self.values.len()) * size - self.rest.len();
        let bytes = &bytes[..bytes.len().min(missing)];
        let mut at = 0;
        if !self.rest.is_empty() {
            at = (size - self.rest.len()).min(bytes.len());
            self.rest.extend_from_slice(&bytes[..at]);
            if self.rest.len() < size {
                return at;
            }
            let whole = std::mem::take(&mut self.rest);
            self.widen(&whole);
        }
        let whole = at + (bytes.len() - at) / size * size;
        self.widen(&bytes[at..whole]);
        self.rest.extend_from_slice(&bytes[whole..]);
        bytes.len()
    }

    /// Whether every element is there.
    pub fn is_full(&self) -> bool {
        self.values.len() == self.count
    }

    /// The elements.
    pub fn into_values(self) -> Vec<f32> {
        self.values
    }

    fn widen(&mut self, bytes: &[u8]) {
        let pairs = || bytes.chunks_exact(2).map(|pair| [pair[0], pair[1]]);
        match self.dtype {
            Dtype::F32 => {
                self.values.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])))
            }
            Dtype::F16 => self.values.extend(pairs().map(|pair| f16::from_le_bytes(pair).to_f32())),
            Dtype::BF16 => self.values.extend(pairs().map(|pair| bf16::from_le_bytes(pair).to_f32())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn halves_widen_exactly() {
        let mut widen = Widen::new("t", Dtype::F16, 5).unwrap();
        // 1, -2, the smallest subnormal, the largest finite, infinity (IEEE 754 binary16 encodings).
        let bytes: Vec<u8> = [0x3c00u16, 0xc000, 0x0001, 0x7bff, 0x7c00].iter().flat_map(|v| v.to_le_bytes()).collect();
        assert_eq!(widen.push(&bytes), 10);
        assert_eq!(widen.into_values(), [1.0, -2.0, 2f32.powi(-24), 65504.0, f32::INFINITY]);
        let mut widen = Widen::new("t", Dtype::BF16, 1).unwrap();
        widen.push(&0x4049u16.to_le_bytes());
        assert_eq!(widen.into_values(), [3.140_625]);
    }

    proptest! {
        #[test]
        fn any_cutting_into_pieces_gives_the_same_elements(
            values in proptest::collection::vec(-1e30f32..1e30, 0..50),
            pieces in proptest::collection::vec(1usize..9, 1..300),
        ) {
            let mut bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            bytes.extend([7; 9]); // the next tensor's bytes, which must be left alone
            let mut widen = Widen::new("t", Dtype::F32, values.len()).unwrap();
            let mut at = 0;
            for piece in pieces.iter().cycle() {
                if widen.is_full() { break; }
                at += widen.push(&bytes[at..(at + piece).min(bytes.len())]);
            }
            prop_assert_eq!(at, 4 * values.len(), "widen.rs took bytes beyond its tensor, or too few");
            prop_assert_eq!(widen.into_values(), values);
        }
    }

    #[test]
    fn a_tensor_beyond_memory_is_an_error_and_not_an_abort() {
        assert!(matches!(Widen::new("t", Dtype::F32, usize::MAX / 8), Err(WeightsError::OutOfMemory { .. })));
    }
}
