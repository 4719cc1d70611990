//! What a pass shows of itself: the capture points, and who looks.

use candle_core::Tensor;

/// A place in the forward pass where a value can be seen. The number is the block, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CapturePoint {
    /// Token embedding + position embedding: the stream before block 0. `[T, D]`
    Embed,
    /// The stream before a block. `[T, D]`
    ResidPre(usize),
    /// Attention weights: for each head, from each query to each key. `[H, T, T]`; where a sequence comes in
    /// pieces `[H, T, past + T]` for each.
    Pattern(usize),
    /// Each head's part of attn_out: its values through its own rows of the output projection, without bias. `[H, T, D]`
    HeadOut(usize),
    /// What attention adds to the stream. `[T, D]`
    AttnOut(usize),
    /// The stream between a block's attention and its MLP. `[T, D]`
    ResidMid(usize),
    /// What the MLP adds to the stream. `[T, D]`
    MlpOut(usize),
    /// The stream after a block. `[T, D]`
    ResidPost(usize),
    /// The last stream through the final layer norm: what the unembedding reads. `[T, D]`
    Final,
    /// Scores of every token id as the next one. `[T, V]`
    Logits,
}

/// What the forward pass calls at each capture point. It looks only during the call: the pass goes on with the value and
/// uses its memory again. A probe that keeps a value keeps a [`Tensor::copy`]; one that intervenes does so in
/// [`Probe::edit`], and everything that follows sees the value it left.
pub trait Probe {
    /// Whether to be shown a point that costs something to compute: [`CapturePoint::Pattern`] and
    /// [`CapturePoint::HeadOut`] ask.
    fn wants(&self, _point: CapturePoint) -> bool {
        true
    }

    /// A chance to write over a contribution ([`CapturePoint::HeadOut`], [`CapturePoint::AttnOut`],
    /// [`CapturePoint::MlpOut`]) before it is shown and added. Returns whether it did.
    ///
    /// # Errors
    /// An error ends the pass.
    fn edit(&mut self, _point: CapturePoint, _value: &Tensor) -> candle_core::Result<bool> {
        Ok(false)
    }

    /// The value at a point.
    ///
    /// # Errors
    /// An error ends the pass.
    fn see(&mut self, point: CapturePoint, value: &Tensor) -> candle_core::Result<()>;
}

/// A probe that looks away.
pub struct NoProbe;

impl Probe for NoProbe {
    fn wants(&self, _point: CapturePoint) -> bool {
        false
    }

    fn see(&mut self, _point: CapturePoint, _value: &Tensor) -> candle_core::Result<()> {
        Ok(())
    }
}
