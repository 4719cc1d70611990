//! Memory for the numbers between two layers, used again and again: in the steady state a pass allocates none.
//!
//! Every operation of this folder takes its result's memory from here, and the forward pass gives it back once the
//! next operation has read it.

use std::cell::RefCell;

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

/// Buffers kept at a time. A pass through a block has fewer in use.
const MOST: usize = 16;

thread_local! {
    static SPARE: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// A buffer of `count` numbers, whatever they are: they must all be written before any is read.
pub fn take(count: usize) -> Vec<f32> {
    let mut buffer = SPARE.with_borrow_mut(|buffers| {
        let large_enough = buffers.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= count);
        let smallest = large_enough.min_by_key(|(_, buffer)| buffer.capacity()).map(|(place, _)| place);
        smallest.map_or_else(Vec::new, |place| buffers.swap_remove(place))
    });
    buffer.resize(count, 0.0); // writes only what lies beyond the buffer's last use
    buffer
}

/// Gives a buffer back.
pub fn give(buffer: Vec<f32>) {
    SPARE.with_borrow_mut(|buffers| {
        buffers.push(buffer);
        if buffers.len() > MOST {
            // The largest serve all; the smallest is missed least.
            let smallest = buffers.iter().enumerate().min_by_key(|(_, buffer)| buffer.capacity());
            if let Some((place, _)) = smallest {
                buffers.swap_remove(place);
            }
        }
    });
}

/// Gives a tensor's memory back. No other tensor may share it: what still does has no elements any more.
///
/// # Errors
/// candle's, for a tensor that is not in this machine's memory.
pub fn recycle(tensor: Tensor) -> Result<()> {
    tensor.inplace_op1(&TakeBack)
}

/// A contiguous tensor's numbers, without copying them where they are all that its memory holds. No other tensor may
/// share it, as for [`recycle`].
///
/// # Errors
/// candle's, for a tensor that is not F32 or not in this machine's memory.
pub fn take_from(tensor: Tensor) -> Result<Vec<f32>> {
    let count = tensor.elem_count();
    let taken = RefCell::new(Vec::new());
    tensor.inplace_op1(&TakeOut(&taken))?;
    let taken = taken.into_inner();
    if taken.len() == count { Ok(taken) } else { candle_core::bail!("take-from: {} numbers for {count}", taken.len()) }
}

struct TakeOut<'a>(&'a RefCell<Vec<f32>>);

impl InplaceOp1 for TakeOut<'_> {
    fn name(&self) -> &'static str {
        "take-from"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("take-from: expected a contiguous F32 tensor, got {:?}", layout.shape())
        };
        let taken =
            if (start, end) == (0, values.len()) { std::mem::take(values) } else { values[start..end].to_vec() };
        self.0.replace(taken);
        Ok(())
    }
}

struct TakeBack;

impl InplaceOp1 for TakeBack {
    fn name(&self) -> &'static str {
        "recycle"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, _: &Layout) -> Result<()> {
        if let CpuStorage::F32(values) = storage {
            give(std::mem::take(values));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;

    #[test]
    fn what_is_given_back_is_handed_out_again() {
        let first = take(1000);
        let place = first.as_ptr();
        give(first);
        let larger = take(2000);
        assert_ne!(larger.as_ptr(), place, "spare.rs: a buffer that is too small");
        let again = take(900);
        assert_eq!((again.as_ptr(), again.len()), (place, 900), "spare.rs: a buffer that fits was not used");
        let tensor = Tensor::from_vec(again, 900, &Device::Cpu).unwrap();
        recycle(tensor).unwrap();
        let last = take(1000);
        assert_eq!(last.as_ptr(), place, "spare.rs: a tensor's memory was not given back");
        let taken = take_from(Tensor::from_vec(last, (10, 100), &Device::Cpu).unwrap()).unwrap();
        assert_eq!((taken.as_ptr(), taken.len()), (place, 1000), "spare.rs: a tensor's numbers were copied");
        let part = Tensor::from_vec(vec![1f32, 2.0, 3.0, 4.0], 4, &Device::Cpu).unwrap().narrow(0, 1, 2).unwrap();
        assert_eq!(take_from(part).unwrap(), [2.0, 3.0], "spare.rs: part of a tensor's memory");
    }

    #[test]
    fn few_buffers_are_kept() {
        for count in 1..100 {
            give(vec![0.0; count]);
        }
        assert_eq!(SPARE.with_borrow(Vec::len), MOST);
        assert!(take(84).capacity() >= 84, "spare.rs: the largest buffers are the ones to keep");
    }
}
