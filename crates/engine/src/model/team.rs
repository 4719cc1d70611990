//! Who computes a block's sub-layers.

use std::cell::RefCell;
use std::ops::Range;

use candle_core::{Result, Tensor};
use futures_util::FutureExt;
use futures_util::future::{LocalBoxFuture, ready};

use super::attention::{Contexts, Segment};
use super::gpt2::{Block, Unembedding};

/// A value that may still be computed.
pub type Waiting<T> = LocalBoxFuture<'static, Result<T>>;

/// What to show of attention besides its sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    /// The attention weights.
    pub patterns: bool,
    /// Each head's part.
    pub heads: bool,
}

/// What attention computed, over H heads.
#[derive(Debug)]
pub struct Attended {
    /// The sum of the heads' parts, and the bias. `[T, D]`
    pub out: Tensor,
    /// The heads' parts, if wished for. `[H, T, D]`
    pub by_head: Option<Tensor>,
    /// For each segment the attention weights, if wished for. `[H, rows, past + rows]`
    pub patterns: Vec<Tensor>,
}

/// Who computes: one thread, or several workers that each hold a share of the heads and of the MLP's columns.
///
/// Calls compute what is this thread's share at once; what they return waits for the others.
pub trait Team {
    /// A normed stream `[T, D]` to attn_out. Segments of one sequence must come in their order.
    ///
    /// # Errors
    /// candle's; a segment that does not follow on what was there before.
    fn attention(
        &self,
        block: &Block,
        normed: &Tensor,
        segments: &[Segment],
        wishes: Wishes,
    ) -> Result<Waiting<Attended>>;

    /// A normed stream `[T, D]` to mlp_out.
    ///
    /// # Errors
    /// candle's.
    fn mlp(&self, block: &Block, normed: &Tensor) -> Result<Waiting<Tensor>>;

    /// A normed stream `[N, D]` to scores of every token id, `[N, V]`.
    ///
    /// # Errors
    /// candle's.
    fn logits(&self, unembedding: &Unembedding, normed: &Tensor) -> Result<Waiting<Tensor>>;

    /// Forgets the keys and values of sequences in some blocks.
    fn forget(&self, layers: Range<usize>, slots: &[u32]);

    /// W: how many compute.
    fn size(&self) -> usize;
}

/// One thread does it all.
#[derive(Debug, Default)]
pub struct Alone {
    contexts: RefCell<Contexts>,
}

impl Team for Alone {
    fn attention(
        &self,
        block: &Block,
        normed: &Tensor,
        segments: &[Segment],
        wishes: Wishes,
    ) -> Result<Waiting<Attended>> {
        let attended = block.sub_layers().attention(normed, &self.contexts, segments, wishes)?;
        Ok(ready(Ok(attended)).boxed_local())
    }

    fn mlp(&self, block: &Block, normed: &Tensor) -> Result<Waiting<Tensor>> {
        Ok(ready(Ok(block.sub_layers().mlp(normed)?)).boxed_local())
    }

    fn logits(&self, unembedding: &Unembedding, normed: &Tensor) -> Result<Waiting<Tensor>> {
        Ok(ready(Ok(unembedding.logits(normed)?)).boxed_local())
    }

    fn forget(&self, layers: Range<usize>, slots: &[u32]) {
        self.contexts.borrow_mut().forget(layers, slots);
    }

    fn size(&self) -> usize {
        1
    }
}
