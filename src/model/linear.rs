//! The linear layer. Speed belongs in here, so that `gpt2.rs` stays readable.

use candle_core::{Result, Tensor};

/// y = x W + b, with W stored `[in, out]` as GPT-2's checkpoints have it (they call it Conv1D).
#[derive(Clone, Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// From a weight `[in, out]` and a bias `[out]`.
    pub fn new(weight: Tensor, bias: Tensor) -> Linear {
        Linear { weight, bias }
    }

    /// `[T, in]` to `[T, out]`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        x.matmul(&self.weight)?.broadcast_add(&self.bias)
    }

    /// Each group of consecutive inputs through its own rows of W, without the bias: `[G, T, in / G]` to `[G, T, out]`.
    /// The sum over G, plus the bias, is `forward` of the groups side by side.
    pub fn forward_by_group(&self, x: &Tensor) -> Result<Tensor> {
        let (groups, _, width) = x.dims3()?;
        let out = self.weight.dim(1)?;
        x.contiguous()?.matmul(&self.weight.reshape((groups, width, out))?)
    }

    /// The bias `[out]`.
    pub fn bias(&self) -> &Tensor {
        &self.bias
    }
}
