//! Memory for the numbers between two layers, used again and again: in the steady state a pass allocates none.
//!
//! Every operation of this crate takes its result's memory from here. A [`Buffer`] or a [`PooledTensor`] gives it back
//! when it is dropped.

use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

use candle_core::{CpuStorage, InplaceOp1, Layout, Result, Tensor};

/// Buffers kept at a time. A pass through a block has fewer in use.
const MOST: usize = 16;

thread_local! {
    static POOL: RefCell<Vec<Vec<f32>>> = const { RefCell::new(Vec::new()) };
}

/// Numbers whose memory goes to the pool when they are dropped.
#[derive(Debug)]
pub struct Buffer(Vec<f32>);

impl Buffer {
    /// `count` numbers from the pool, whatever they are: they must all be written before any is read.
    pub fn take(count: usize) -> Buffer {
        let mut buffer = POOL.with_borrow_mut(|buffers| {
            let large_enough = buffers.iter().enumerate().filter(|(_, buffer)| buffer.capacity() >= count);
            let smallest = large_enough.min_by_key(|(_, buffer)| buffer.capacity()).map(|(place, _)| place);
            smallest.map_or_else(Vec::new, |place| buffers.swap_remove(place))
        });
        buffer.resize(count, 0.0); // writes only what lies beyond the buffer's last use
        Buffer(buffer)
    }

    /// The numbers, for somebody who owns them from now on: a tensor's storage, or a message.
    pub fn into_vec(mut self) -> Vec<f32> {
        std::mem::take(&mut self.0)
    }
}

impl From<Vec<f32>> for Buffer {
    fn from(values: Vec<f32>) -> Buffer {
        Buffer(values)
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &self.0
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        give(std::mem::take(&mut self.0));
    }
}

fn give(buffer: Vec<f32>) {
    if buffer.capacity() == 0 {
        return; // its numbers were taken out
    }
    POOL.with_borrow_mut(|buffers| {
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

/// A tensor whose memory goes to the pool when it is dropped.
///
/// candle does not tell how many tensors share a storage, so this one must be its only owner: a clone or a view of it
/// has no elements any more once it is dropped. Who keeps more of it than a number keeps a [`Tensor::copy`].
#[derive(Debug)]
pub struct PooledTensor(Tensor);

impl PooledTensor {
    /// A contiguous tensor's numbers, without copying them where they are all that its memory holds.
    ///
    /// # Errors
    /// candle's, for a tensor that is not F32 or not in this machine's memory.
    pub fn into_vec(self) -> Result<Vec<f32>> {
        let count = self.elem_count();
        let taken = RefCell::new(Vec::new());
        self.inplace_op1(&TakeOut(&taken))?;
        let taken = taken.into_inner();
        if taken.len() == count {
            Ok(taken)
        } else {
            candle_core::bail!("take-out: {} numbers for {count}", taken.len())
        }
    }
}

impl From<Tensor> for PooledTensor {
    fn from(tensor: Tensor) -> PooledTensor {
        PooledTensor(tensor)
    }
}

impl Deref for PooledTensor {
    type Target = Tensor;

    fn deref(&self) -> &Tensor {
        &self.0
    }
}

impl AsRef<Tensor> for PooledTensor {
    fn as_ref(&self) -> &Tensor {
        &self.0
    }
}

impl Drop for PooledTensor {
    fn drop(&mut self) {
        // Fails only for memory that is not this machine's, which is not the pool's either.
        drop(self.0.inplace_op1(&TakeBack));
    }
}

struct TakeOut<'a>(&'a RefCell<Vec<f32>>);

impl InplaceOp1 for TakeOut<'_> {
    fn name(&self) -> &'static str {
        "take-out"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets()) else {
            candle_core::bail!("take-out: expected a contiguous F32 tensor, got {:?}", layout.shape())
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
        "take-back"
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
    fn what_is_dropped_is_handed_out_again() {
        let first = Buffer::take(1000);
        let place = first.as_ptr();
        drop(first);
        let larger = Buffer::take(2000);
        assert_ne!(larger.as_ptr(), place, "buffer_pool.rs: a buffer that is too small");
        let again = Buffer::take(900);
        assert_eq!((again.as_ptr(), again.len()), (place, 900), "buffer_pool.rs: a buffer that fits was not used");
        drop(PooledTensor::from(Tensor::from_vec(again.into_vec(), 900, &Device::Cpu).unwrap()));
        let last = Buffer::take(1000).into_vec();
        assert_eq!(last.as_ptr(), place, "buffer_pool.rs: a tensor's memory was not given back");
        let tensor = |tensor: Tensor| PooledTensor::from(tensor);
        let taken = tensor(Tensor::from_vec(last, (10, 100), &Device::Cpu).unwrap()).into_vec().unwrap();
        assert_eq!((taken.as_ptr(), taken.len()), (place, 1000), "buffer_pool.rs: a tensor's numbers were copied");
        assert_ne!(Buffer::take(1000).as_ptr(), place, "buffer_pool.rs: numbers that were taken out are somebody's");
        let part = Tensor::from_vec(vec![1f32, 2.0, 3.0, 4.0], 4, &Device::Cpu).unwrap().narrow(0, 1, 2).unwrap();
        assert_eq!(tensor(part).into_vec().unwrap(), [2.0, 3.0], "buffer_pool.rs: part of a tensor's memory");
    }

    #[test]
    fn few_buffers_are_kept() {
        for count in 1..100 {
            drop(Buffer::from(vec![0.0; count]));
        }
        assert_eq!(POOL.with_borrow(Vec::len), MOST);
        assert!(Buffer::take(84).0.capacity() >= 84, "buffer_pool.rs: the largest buffers are the ones to keep");
    }
}
