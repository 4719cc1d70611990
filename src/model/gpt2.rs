//! GPT-2, bottom-up: embedding, attention, MLP, block, unembedding, model.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); layout of weights and
//! meaning of settings as in Hugging Face's `GPT2LMHeadModel`.
//!
//! One sequence at a time: T tokens, D = `n_embd`, H heads of width D/H, V = `vocab_size`.
//! Attention is causal, so a sequence needs no padding and no batch axis.
//!
//! The residual stream `x` `[T, D]` runs through every block, and each sub-layer *adds* to it.
//! [`Block::forward`] is those two additions; what is added is what a [`Probe`] sees as
//! [`Point::AttnOut`] and [`Point::MlpOut`].

use candle_core::{Device, Tensor};

use super::activation::Activation;
use super::linear::Linear;
use super::norm::LayerNorm;
use super::softmax::causal_softmax;
use super::{Config, ModelError};

/// candle's error, unless another is named.
type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

/// A place in the forward pass where a value can be seen. The number is the block, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Point {
    /// Token embedding + position embedding: the stream before block 0. `[T, D]`
    Embed,
    /// The stream before a block. `[T, D]`
    ResidPre(usize),
    /// Attention weights: for each head, from each query to each key. `[H, T, T]`
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

/// What the forward pass calls at each capture point. It only looks: the pass goes on with its own value.
pub trait Probe {
    /// Whether to be shown a point that costs something to compute. Only [`Point::HeadOut`] asks.
    fn wants(&self, _point: Point) -> bool {
        true
    }

    /// The value at a point.
    ///
    /// # Errors
    /// An error ends the pass.
    fn see(&mut self, point: Point, value: &Tensor) -> Result<()>;
}

/// A probe that looks away.
pub struct NoProbe;

impl Probe for NoProbe {
    fn wants(&self, _point: Point) -> bool {
        false
    }

    fn see(&mut self, _point: Point, _value: &Tensor) -> Result<()> {
        Ok(())
    }
}

/// Where tensors come from: a checkpoint, or the part of one that has arrived. Names are those of the
/// checkpoint without `transformer.`; shapes have been checked against `checkpoint::wanted`.
pub trait Tensors {
    /// Hands a tensor over.
    ///
    /// # Errors
    /// `MissingTensor` where there is none of this name.
    fn take(&mut self, name: &str) -> Result<Tensor, ModelError>;
}

/// Token and position embedding.
#[derive(Clone, Debug)]
pub struct Embedding {
    wte: Tensor, // [V, D]
    wpe: Tensor, // [n_positions, D]
}

impl Embedding {
    /// Takes `wte` and `wpe`.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn load(tensors: &mut impl Tensors) -> Result<Embedding, ModelError> {
        Ok(Embedding { wte: tensors.take("wte.weight")?, wpe: tensors.take("wpe.weight")? })
    }

    /// T ids to the stream before block 0, `[T, D]`. Ids and length must have been checked ([`check_ids`]).
    pub fn forward(&self, ids: &[u32], probe: &mut impl Probe) -> Result<Tensor> {
        let tokens = self.wte.index_select(&Tensor::new(ids, &Device::Cpu)?, 0)?; // (T, D)
        let positions = self.wpe.narrow(0, 0, ids.len())?; // (T, D)
        embed(&tokens, &positions, probe)
    }
}

/// The text's rows of the two tables, `[T, D]` each, to the stream before block 0, `[T, D]`: of a model that is still
/// arriving, these rows are here long before the tables.
pub fn embed(tokens: &Tensor, positions: &Tensor, probe: &mut impl Probe) -> Result<Tensor> {
    let x = (tokens + positions)?; // (T, D)
    probe.see(Point::Embed, &x)?;
    Ok(x)
}

/// Causal self-attention of one block.
#[derive(Clone, Debug)]
struct Attention {
    c_attn: Linear, // [D, 3D]: queries, keys, values side by side
    c_proj: Linear, // [D, D]
    n_head: usize,
    score_scale: f64,
}

impl Attention {
    fn load(tensors: &mut impl Tensors, config: &Config, layer: usize) -> Result<Attention, ModelError> {
        Ok(Attention {
            c_attn: linear(tensors, &format!("h.{layer}.attn.c_attn"))?,
            c_proj: linear(tensors, &format!("h.{layer}.attn.c_proj"))?,
            n_head: config.n_head,
            score_scale: config.score_scale(layer),
        })
    }

    /// Normed stream `[T, D]` to attn_out `[T, D]`.
    fn forward(&self, x: &Tensor, layer: usize, probe: &mut impl Probe) -> Result<Tensor> {
        let (t, d) = x.dims2()?;
        let qkv = self
            .c_attn
            .forward(x)? // (T, 3D)
            .reshape((t, 3, self.n_head, d / self.n_head))? // (T, 3, H, D/H)
            .permute((1, 2, 0, 3))? // (3, H, T, D/H)
            .contiguous()?;
        let (q, k, v) = (qkv.get(0)?, qkv.get(1)?, qkv.get(2)?); // (H, T, D/H) each

        let scores = q.matmul(&k.t()?)?; // (H, T, T)
        let pattern = causal_softmax(&scores, self.score_scale)?; // (H, T, T)
        probe.see(Point::Pattern(layer), &pattern)?;
        let z = pattern.matmul(&v)?; // (H, T, D/H)
        if probe.wants(Point::HeadOut(layer)) {
            probe.see(Point::HeadOut(layer), &self.c_proj.forward_by_group(&z)?)?; // (H, T, D)
        }
        let z = z.transpose(0, 1)?.contiguous()?.reshape((t, d))?; // (T, H, D/H) -> (T, D)
        self.c_proj.forward(&z) // (T, D)
    }
}

/// The two-layer perceptron of one block.
#[derive(Clone, Debug)]
struct Mlp {
    c_fc: Linear,   // [D, n_inner]
    c_proj: Linear, // [n_inner, D]
    activation: Activation,
}

impl Mlp {
    fn load(tensors: &mut impl Tensors, config: &Config, layer: usize) -> Result<Mlp, ModelError> {
        Ok(Mlp {
            c_fc: linear(tensors, &format!("h.{layer}.mlp.c_fc"))?,
            c_proj: linear(tensors, &format!("h.{layer}.mlp.c_proj"))?,
            activation: config.activation,
        })
    }

    /// Normed stream `[T, D]` to mlp_out `[T, D]`.
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = self.activation.forward(&self.c_fc.forward(x)?)?; // (T, n_inner)
        self.c_proj.forward(&hidden) // (T, D)
    }
}

/// One transformer block: attention, then MLP, each added to the stream.
#[derive(Clone, Debug)]
pub struct Block {
    layer: usize,
    ln_1: LayerNorm,
    attn: Attention,
    ln_2: LayerNorm,
    mlp: Mlp,
}

impl Block {
    /// Takes the twelve tensors of block `layer`.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn load(tensors: &mut impl Tensors, config: &Config, layer: usize) -> Result<Block, ModelError> {
        Ok(Block {
            layer,
            ln_1: layer_norm(tensors, &format!("h.{layer}.ln_1"), config)?,
            attn: Attention::load(tensors, config, layer)?,
            ln_2: layer_norm(tensors, &format!("h.{layer}.ln_2"), config)?,
            mlp: Mlp::load(tensors, config, layer)?,
        })
    }

    /// The stream before the block to the stream after it, `[T, D]` both.
    pub fn forward(&self, x: &Tensor, probe: &mut impl Probe) -> Result<Tensor> {
        let layer = self.layer;
        probe.see(Point::ResidPre(layer), x)?;

        let attn_out = self.attn.forward(&self.ln_1.forward(x)?, layer, probe)?;
        probe.see(Point::AttnOut(layer), &attn_out)?;
        let x = (x + attn_out)?;
        probe.see(Point::ResidMid(layer), &x)?;

        let mlp_out = self.mlp.forward(&self.ln_2.forward(&x)?)?;
        probe.see(Point::MlpOut(layer), &mlp_out)?;
        let x = (x + mlp_out)?;
        probe.see(Point::ResidPost(layer), &x)?;
        Ok(x)
    }

    /// The bias of attention's output projection `[D]`: with it, head_out sums to attn_out.
    pub fn attention_bias(&self) -> &Tensor {
        self.attn.c_proj.bias()
    }
}

/// Final layer norm and unembedding.
#[derive(Clone, Debug)]
pub struct Unembedding {
    ln_f: LayerNorm,
    weight: Tensor, // [V, D]: wte itself where the two are tied
}

impl Unembedding {
    /// Takes `ln_f` and, where the configuration does not tie it to the embedding, `lm_head`.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn load(tensors: &mut impl Tensors, config: &Config, embedding: &Embedding) -> Result<Unembedding, ModelError> {
        let weight = if config.tie_word_embeddings { embedding.wte.clone() } else { tensors.take("lm_head.weight")? };
        Ok(Unembedding { ln_f: layer_norm(tensors, "ln_f", config)?, weight })
    }

    /// Any stream `[N, D]` through the final layer norm, `[N, D]`.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor> {
        self.ln_f.forward(x)
    }

    /// A normed stream `[N, D]` to scores of every token id, `[N, V]`.
    pub fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        normed.matmul(&self.weight.t()?)
    }

    /// V.
    pub fn vocab_size(&self) -> usize {
        self.weight.dims().first().copied().unwrap_or(0)
    }
}

/// The whole model.
#[derive(Clone, Debug)]
pub struct Gpt2 {
    /// The settings it was built by.
    pub config: Config,
    /// Tokens to stream.
    pub embedding: Embedding,
    /// What adds to the stream, in order.
    pub blocks: Vec<Block>,
    /// Stream to scores.
    pub unembedding: Unembedding,
}

impl Gpt2 {
    /// Takes every tensor.
    ///
    /// # Errors
    /// `MissingTensor`.
    pub fn load(tensors: &mut impl Tensors, config: Config) -> Result<Gpt2, ModelError> {
        let embedding = Embedding::load(tensors)?;
        let blocks = (0..config.n_layer).map(|l| Block::load(tensors, &config, l)).collect::<Result<_, _>>()?;
        let unembedding = Unembedding::load(tensors, &config, &embedding)?;
        Ok(Gpt2 { config, embedding, blocks, unembedding })
    }

    /// T ids to logits `[T, V]`. Every capture point is shown to the probe.
    ///
    /// # Errors
    /// `EmptyInput`, `TooLong`, `TokenOutOfRange` for ids the model cannot read; whatever the probe returns.
    pub fn forward(&self, ids: &[u32], probe: &mut impl Probe) -> Result<Tensor, ModelError> {
        check_ids(&self.config, ids)?;
        let mut x = self.embedding.forward(ids, probe)?; // (T, D)
        for block in &self.blocks {
            x = block.forward(&x, probe)?; // (T, D)
        }
        let normed = self.unembedding.norm(&x)?; // (T, D)
        probe.see(Point::Final, &normed)?;
        let logits = self.unembedding.logits(&normed)?; // (T, V)
        probe.see(Point::Logits, &logits)?;
        Ok(logits)
    }
}

/// Whether a model of this configuration can read these ids.
///
/// # Errors
/// `EmptyInput`, `TooLong`, `TokenOutOfRange`.
pub fn check_ids(config: &Config, ids: &[u32]) -> Result<(), ModelError> {
    if ids.is_empty() {
        return Err(ModelError::EmptyInput);
    }
    if ids.len() > config.n_positions {
        return Err(ModelError::TooLong { found: ids.len(), limit: config.n_positions });
    }
    match ids.iter().position(|&id| id as usize >= config.vocab_size) {
        Some(index) => Err(ModelError::TokenOutOfRange { index, id: ids[index], last: config.vocab_size - 1 }),
        None => Ok(()),
    }
}

fn linear(tensors: &mut impl Tensors, name: &str) -> Result<Linear, ModelError> {
    Ok(Linear::new(tensors.take(&format!("{name}.weight"))?, tensors.take(&format!("{name}.bias"))?))
}

fn layer_norm(tensors: &mut impl Tensors, name: &str, config: &Config) -> Result<LayerNorm, ModelError> {
    let (weight, bias) = (tensors.take(&format!("{name}.weight"))?, tensors.take(&format!("{name}.bias"))?);
    Ok(LayerNorm::new(weight, bias, config.layer_norm_epsilon))
}
