//! Who computes a block's sub-layers: one thread, or several workers that each hold a share of them.
//! May depend on: `layers`. Must never know: the model that is put together from them, what a worker is.

use std::cell::RefCell;
use std::future::ready;

use candle_core::Result;

use super::attention::{KvCache, Segment};
use super::buffer_pool::PooledTensor;
use super::layers::{Attended, CaptureRequest, SubLayers};

/// Computes sub-layers.
///
/// A call computes this thread's share at once; the future that it returns waits for the others.
pub trait Executor {
    /// A normed stream `[T, D]` to attn_out. Segments of one sequence must come in their order.
    ///
    /// # Errors
    /// candle's; a segment that does not follow on what was there before.
    fn attention(
        &self,
        sub_layers: &SubLayers,
        normed: PooledTensor,
        segments: &[Segment],
        capture: CaptureRequest,
    ) -> Result<impl Future<Output = Result<Attended>>>;

    /// A normed stream `[T, D]` to mlp_out.
    ///
    /// # Errors
    /// candle's.
    fn mlp(&self, sub_layers: &SubLayers, normed: PooledTensor) -> Result<impl Future<Output = Result<PooledTensor>>>;
}

/// One thread does it all.
#[derive(Debug, Default)]
pub struct SingleThread {
    kv_cache: RefCell<KvCache>,
}

impl Executor for SingleThread {
    fn attention(
        &self,
        sub_layers: &SubLayers,
        normed: PooledTensor,
        segments: &[Segment],
        capture: CaptureRequest,
    ) -> Result<impl Future<Output = Result<Attended>>> {
        Ok(ready(Ok(sub_layers.attention(&normed, &self.kv_cache, segments, capture)?)))
    }

    fn mlp(&self, sub_layers: &SubLayers, normed: PooledTensor) -> Result<impl Future<Output = Result<PooledTensor>>> {
        Ok(ready(Ok(sub_layers.mlp(&normed)?)))
    }
}
