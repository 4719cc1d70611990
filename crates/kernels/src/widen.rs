//! Numbers as files have them, widened to F32 as they come, and looked over in the same pass: a checkpoint's bytes are
//! so many that each further look at them is felt.

use half::{bf16, f16};

/// How a file writes a number; little-endian all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// IEEE single precision, 4 bytes.
    F32,
    /// 2 bytes, IEEE half precision.
    F16,
    /// 2 bytes, the upper half of an F32.
    BF16,
}

/// Bytes that are widened at a time: they are still in the nearest cache when they are looked over.
const STRETCH: usize = 8192;

/// Writes numbers over those from `first` on, and after the last; any between that and `first` become 0. Says whether
/// all of them are finite.
// Never inlined: in a caller that is compiled for size it would be compiled for size too, several times slower.
#[inline(never)]
pub fn write(values: &mut Vec<f32>, first: usize, format: Format, bytes: &[u8]) -> bool {
    match format {
        Format::F32 => put(values, first, bytes.as_chunks::<4>().0, |bytes| f32::from_le_bytes(*bytes)),
        Format::F16 => put(values, first, bytes.as_chunks::<2>().0, |bytes| f16::from_le_bytes(*bytes).to_f32()),
        Format::BF16 => put(values, first, bytes.as_chunks::<2>().0, |bytes| bf16::from_le_bytes(*bytes).to_f32()),
    }
}

fn put<const N: usize>(
    values: &mut Vec<f32>,
    first: usize,
    numbers: &[[u8; N]],
    widen: impl Fn(&[u8; N]) -> f32 + Copy,
) -> bool {
    if values.len() < first {
        values.resize(first, 0.0);
    }
    let (over, beyond) = numbers.split_at(numbers.len().min(values.len() - first));
    let mut all = true;
    let mut at = first;
    for stretch in over.chunks(STRETCH / N) {
        let place = &mut values[at..at + stretch.len()];
        place.iter_mut().zip(stretch).for_each(|(value, bytes)| *value = widen(bytes));
        all &= all_finite(place);
        at += stretch.len();
    }
    for stretch in beyond.chunks(STRETCH / N) {
        values.extend(stretch.iter().map(widen));
        all &= all_finite(&values[at..]);
        at += stretch.len();
    }
    all
}

/// Whether there is no infinity and no NaN.
#[inline(always)]
pub(crate) fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without a way out in the middle, so that the compiler turns it into vector instructions.
    !values.iter().fold(false, |found, value| found | (value.to_bits() & EXPONENT == EXPONENT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|value| value.to_le_bytes()).collect()
    }

    #[test]
    fn numbers_come_in_any_order_and_more_than_once() {
        let numbers: Vec<f32> = (0..10_000).map(|i| i as f32 * 0.5 - 7.0).collect();
        let mut values = Vec::new();
        for run in [5_000..9_000, 0..10, 8_990..10_000, 10..5_003] {
            assert!(write(&mut values, run.start, Format::F32, &bytes(&numbers[run.clone()])), "widen.rs: {run:?}");
        }
        assert_eq!(values, numbers, "widen.rs: write");
    }

    #[test]
    fn halves_are_widened() {
        let numbers = [1.5f32, -0.0, 65504.0, 6.1e-5];
        let half: Vec<u8> = numbers.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes()).collect();
        let brain: Vec<u8> = numbers.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()).collect();
        let (mut from_half, mut from_brain) = (Vec::new(), Vec::new());
        assert!(write(&mut from_half, 0, Format::F16, &half) && write(&mut from_brain, 0, Format::BF16, &brain));
        assert_eq!(from_half, numbers.map(|value| f16::from_f32(value).to_f32()), "widen.rs: F16");
        assert_eq!(from_brain, numbers.map(|value| bf16::from_f32(value).to_f32()), "widen.rs: BF16");
    }

    #[test]
    fn what_is_not_finite_is_told_wherever_it_stands() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            for at in [0, 1, 4095, 4096, 9_999] {
                let mut numbers = vec![f32::MAX; 10_000];
                numbers[at] = bad;
                for mut values in [Vec::new(), vec![0.0; 10_000]] {
                    assert!(!write(&mut values, 0, Format::F32, &bytes(&numbers)), "widen.rs: {bad} at {at}");
                }
            }
        }
    }
}
