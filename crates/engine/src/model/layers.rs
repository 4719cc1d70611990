//! The two sub-layers of a block: attention and the MLP, whole or one worker's share of them.
//! May depend on: the kernels, `checkpoint`, `config`.
//! Must never know: who computes them, what their results are added to.

use std::cell::RefCell;

use candle_core::Tensor;

use super::activation::Activation;
use super::attention::{Heads, KvCache, Segment, attend};
use super::buffer_pool::PooledTensor;
use super::checkpoint::Tensors;
use super::linear::Linear;
use super::{Config, ModelError};

/// candle's error, unless another is named.
type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

/// What to show of attention besides its sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CaptureRequest {
    /// The attention weights of every head.
    pub patterns: bool,
    /// Each head's part of attn_out.
    pub heads: bool,
}

/// What attention computed, over H heads.
#[derive(Debug)]
pub struct Attended {
    /// The sum of the heads' parts, and the bias. `[T, D]`
    pub out: PooledTensor,
    /// The heads' parts, if wished for. `[H, T, D]`
    pub by_head: Option<PooledTensor>,
    /// For each segment the attention weights, if wished for. `[H, rows, past + rows]`
    pub patterns: Vec<Tensor>,
}

/// Causal self-attention of one block, or some of its heads.
#[derive(Clone, Debug)]
struct Attention {
    c_attn: Linear, // [D, 3D]: queries, keys, values side by side
    c_proj: Linear, // [D, D]
    heads: Heads,
}

impl Attention {
    fn load(tensors: &mut impl Tensors, config: &Config, layer: usize) -> Result<Attention, ModelError> {
        let c_attn = tensors.linear(&format!("h.{layer}.attn.c_attn"))?;
        let (width, scale) = (config.head_width(), config.score_scale(layer));
        let heads = Heads { layer, count: c_attn.outputs() / 3 / width, width, scale };
        Ok(Attention { c_attn, c_proj: tensors.linear(&format!("h.{layer}.attn.c_proj"))?, heads })
    }

    /// Normed stream `[T, D]` to attn_out `[T, D]`, with H of [`Attended`] the heads that are here.
    fn forward(
        &self,
        x: &Tensor,
        kv_cache: &RefCell<KvCache>,
        segments: &[Segment],
        capture: CaptureRequest,
    ) -> Result<Attended> {
        let mut patterns = Vec::new();
        let seen = capture.patterns.then_some(&mut patterns);
        let qkv = self.c_attn.forward(x)?; // (T, 3 H D/H)
        let z = attend(&qkv, kv_cache, &self.heads, segments, seen)?; // (T, H D/H)
        let by_head = if capture.heads { Some(self.c_proj.forward_by_group(&z, self.heads.count)?) } else { None };
        let out = self.c_proj.forward(&z)?; // (T, D)
        Ok(Attended { out, by_head, patterns })
    }
}

/// The two-layer perceptron of one block, or some of its columns.
#[derive(Clone, Debug)]
struct Mlp {
    c_fc: Linear,   // [D, n_inner]
    c_proj: Linear, // [n_inner, D]
    activation: Activation,
}

impl Mlp {
    fn load(tensors: &mut impl Tensors, config: &Config, layer: usize) -> Result<Mlp, ModelError> {
        Ok(Mlp {
            c_fc: tensors.linear(&format!("h.{layer}.mlp.c_fc"))?,
            c_proj: tensors.linear(&format!("h.{layer}.mlp.c_proj"))?,
            activation: config.activation,
        })
    }

    /// Normed stream `[T, D]` to mlp_out `[T, D]`.
    fn forward(&self, x: &Tensor) -> Result<PooledTensor> {
        let hidden = self.c_fc.forward_then(x, self.activation)?; // (T, n_inner)
        self.c_proj.forward(&hidden) // (T, D)
    }
}

/// The two sub-layers of one block, or one worker's share of them.
#[derive(Clone, Debug)]
pub struct SubLayers {
    attn: Attention,
    mlp: Mlp,
}

impl SubLayers {
    /// Takes the eight tensors of block `layer` that are not layer norms.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn load(tensors: &mut impl Tensors, config: &Config, layer: usize) -> Result<SubLayers, ModelError> {
        Ok(SubLayers { attn: Attention::load(tensors, config, layer)?, mlp: Mlp::load(tensors, config, layer)? })
    }

    /// A normed stream `[T, D]` to attn_out, or what the heads here add to it.
    ///
    /// # Errors
    /// candle's; a segment that does not follow on what `kv_cache` has.
    pub fn attention(
        &self,
        normed: &Tensor,
        kv_cache: &RefCell<KvCache>,
        segments: &[Segment],
        capture: CaptureRequest,
    ) -> Result<Attended> {
        self.attn.forward(normed, kv_cache, segments, capture)
    }

    /// A normed stream `[T, D]` to mlp_out, or what the columns here add to it.
    ///
    /// # Errors
    /// candle's.
    pub fn mlp(&self, normed: &Tensor) -> Result<PooledTensor> {
        self.mlp.forward(normed)
    }

    /// Of which block they are, from 0.
    pub fn layer(&self) -> usize {
        self.attn.heads.layer
    }

    /// The bias of attention's output projection `[D]`: with it, head_out sums to attn_out.
    pub fn attention_bias(&self) -> &Tensor {
        self.attn.c_proj.bias()
    }
}
