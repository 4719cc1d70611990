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
//!
//! Rows of several sequences may go through a block side by side, and a sequence may come in pieces: which rows are
//! whose is said by [`Segment`]s. Who computes a sub-layer, this thread alone or a pool of workers, is a
//! [`Team`]'s business.

use std::cell::RefCell;

use candle_core::{Device, Tensor};
use futures_util::FutureExt;

use super::activation::Activation;
use super::attention::{Contexts, Heads, Segment, attend};
use super::checkpoint::{HEAD, Tensors};
use super::config::Head;
use super::linear::{Linear, times_rows_transposed, times_transposed};
use super::norm::LayerNorm;
use super::probe::{Point, Probe};
use super::spare::recycle;
use super::team::{Alone, Attended, Team, Waiting, Wishes};
use super::values::{add, sum_groups, with_values};
use super::{Config, ModelError};

/// candle's error, unless another is named.
type Result<T, E = candle_core::Error> = std::result::Result<T, E>;

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
        contexts: &RefCell<Contexts>,
        segments: &[Segment],
        wishes: Wishes,
    ) -> Result<Attended> {
        let mut patterns = Vec::new();
        let seen = wishes.patterns.then_some(&mut patterns);
        let qkv = self.c_attn.forward(x)?; // (T, 3 H D/H)
        let z = attend(&qkv, contexts, &self.heads, segments, seen)?; // (T, H D/H)
        recycle(qkv)?;
        let by_head = if wishes.heads { Some(self.c_proj.forward_by_group(&z, self.heads.count)?) } else { None };
        let out = self.c_proj.forward(&z)?; // (T, D)
        recycle(z)?;
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
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let hidden = self.c_fc.forward_then(x, self.activation)?; // (T, n_inner)
        let out = self.c_proj.forward(&hidden)?; // (T, D)
        recycle(hidden)?;
        Ok(out)
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
    /// candle's; a segment that does not follow on what `contexts` has.
    pub fn attention(
        &self,
        normed: &Tensor,
        contexts: &RefCell<Contexts>,
        segments: &[Segment],
        wishes: Wishes,
    ) -> Result<Attended> {
        self.attn.forward(normed, contexts, segments, wishes)
    }

    /// A normed stream `[T, D]` to mlp_out, or what the columns here add to it.
    ///
    /// # Errors
    /// candle's.
    pub fn mlp(&self, normed: &Tensor) -> Result<Tensor> {
        self.mlp.forward(normed)
    }
}

/// One transformer block: attention, then MLP, each added to the stream.
#[derive(Clone, Debug)]
pub struct Block {
    layer: usize,
    ln_1: LayerNorm,
    ln_2: LayerNorm,
    sub_layers: SubLayers,
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
            ln_2: layer_norm(tensors, &format!("h.{layer}.ln_2"), config)?,
            sub_layers: SubLayers::load(tensors, config, layer)?,
        })
    }

    /// Moves the stream `x` `[T, D]` from before the block to after it.
    ///
    /// # Errors
    /// Whatever the team or the probe returns.
    pub async fn forward(
        &self,
        x: &Tensor,
        segments: &[Segment],
        team: &impl Team,
        probe: &mut impl Probe,
    ) -> Result<()> {
        let attention = self.begin_attention(x, segments, team, probe)?;
        self.end_attention(x, attention, probe).await?;
        let mlp = self.begin_mlp(x, team)?;
        self.end_mlp(x, mlp, probe).await
    }

    /// The first half of [`Block::forward`]'s first step: what is waited for may be computed elsewhere.
    ///
    /// # Errors
    /// As `forward`.
    pub fn begin_attention(
        &self,
        x: &Tensor,
        segments: &[Segment],
        team: &impl Team,
        probe: &mut impl Probe,
    ) -> Result<Waiting<Attended>> {
        probe.see(Point::ResidPre(self.layer), x)?;
        let patterns = probe.wants(Point::Pattern(self.layer));
        let wishes = Wishes { patterns, heads: probe.wants(Point::HeadOut(self.layer)) };
        let normed = self.ln_1.forward(x)?;
        let waiting = team.attention(self, &normed, segments, wishes)?;
        recycle(normed)?;
        Ok(waiting)
    }

    /// The second half: adds attn_out to the stream.
    ///
    /// # Errors
    /// As `forward`.
    pub async fn end_attention(&self, x: &Tensor, waiting: Waiting<Attended>, probe: &mut impl Probe) -> Result<()> {
        let Attended { mut out, by_head, patterns } = waiting.await?;
        for pattern in &patterns {
            probe.see(Point::Pattern(self.layer), pattern)?;
        }
        if let Some(by_head) = by_head {
            if probe.edit(Point::HeadOut(self.layer), &by_head)? {
                recycle(out)?;
                out = sum_groups(&by_head, self.attention_bias())?; // (T, D)
            }
            probe.see(Point::HeadOut(self.layer), &by_head)?;
            recycle(by_head)?;
        }
        probe.edit(Point::AttnOut(self.layer), &out)?;
        probe.see(Point::AttnOut(self.layer), &out)?;
        add(x, &out)?;
        recycle(out)?;
        probe.see(Point::ResidMid(self.layer), x)
    }

    /// The first half of the second step.
    ///
    /// # Errors
    /// As `forward`.
    pub fn begin_mlp(&self, x: &Tensor, team: &impl Team) -> Result<Waiting<Tensor>> {
        let normed = self.ln_2.forward(x)?;
        let waiting = team.mlp(self, &normed)?;
        recycle(normed)?;
        Ok(waiting)
    }

    /// The second half: adds mlp_out to the stream.
    ///
    /// # Errors
    /// As `forward`.
    pub async fn end_mlp(&self, x: &Tensor, waiting: Waiting<Tensor>, probe: &mut impl Probe) -> Result<()> {
        let out = waiting.await?;
        probe.edit(Point::MlpOut(self.layer), &out)?;
        probe.see(Point::MlpOut(self.layer), &out)?;
        add(x, &out)?;
        recycle(out)?;
        probe.see(Point::ResidPost(self.layer), x)
    }

    /// Which block this is, from 0.
    pub fn layer(&self) -> usize {
        self.layer
    }

    /// What of the sub-layers is here.
    pub fn sub_layers(&self) -> &SubLayers {
        &self.sub_layers
    }

    /// The bias of attention's output projection `[D]`: with it, head_out sums to attn_out.
    pub fn attention_bias(&self) -> &Tensor {
        self.sub_layers.attn.c_proj.bias()
    }
}

/// Final layer norm and unembedding.
#[derive(Clone, Debug)]
pub struct Unembedding {
    ln_f: LayerNorm,
    weight: Tensor, // [V, D]: wte itself where the two are one
}

impl Unembedding {
    /// Takes `ln_f`, and `lm_head` where the weights have it. One that the configuration ties to the embedding, and
    /// that is equal to it, is a copy, and dropped; one that differs counts, as in transformers.
    ///
    /// # Errors
    /// `MissingTensor`, `NoUnembedding`.
    pub fn load(tensors: &mut impl Tensors, config: &Config, embedding: &Embedding) -> Result<Unembedding, ModelError> {
        let weight = match config.head {
            Head::Tied => embedding.wte.clone(),
            Head::Own => {
                let own = tensors.take(HEAD)?;
                let is_copy = config.tie_word_embeddings && equal(&own, &embedding.wte)?;
                if is_copy { embedding.wte.clone() } else { own }
            }
            Head::Absent => return Err(ModelError::NoUnembedding),
        };
        Ok(Unembedding { ln_f: layer_norm(tensors, "ln_f", config)?, weight })
    }

    /// Whether it is the embedding's own table.
    pub fn is_tied_to(&self, embedding: &Embedding) -> bool {
        self.weight.id() == embedding.wte.id()
    }

    /// Any stream `[N, D]` through the final layer norm, `[N, D]`.
    pub fn norm(&self, x: &Tensor) -> Result<Tensor> {
        self.ln_f.forward(x)
    }

    /// A normed stream `[N, D]` to scores of every token id, `[N, V]`.
    pub fn logits(&self, normed: &Tensor) -> Result<Tensor> {
        times_transposed(normed, &self.weight)
    }

    /// The same, of which the first `ids` columns are computed, and the others hold anything: one worker's share.
    ///
    /// # Errors
    /// candle's.
    pub fn first_logits(&self, normed: &Tensor, ids: usize) -> Result<Tensor> {
        times_rows_transposed(normed, &self.weight, ids)
    }

    /// A row for every token id, `[V, D]`.
    pub fn rows(&self) -> &Tensor {
        &self.weight
    }

    /// The final layer norm.
    pub fn final_norm(&self) -> &LayerNorm {
        &self.ln_f
    }

    /// A token's row of the unembedding, `[D]`: its logit is that row times the normed stream.
    ///
    /// # Errors
    /// candle's, for an id beyond the vocabulary.
    pub fn token_row(&self, id: u32) -> Result<Tensor> {
        self.weight.get(id as usize)
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
        let x = self.embedding.forward(ids, probe)?; // (T, D)
        let (segments, team) = ([Segment { slot: 0, past: 0, rows: ids.len() }], Alone::default());
        for block in &self.blocks {
            let done = block.forward(&x, &segments, &team, probe).now_or_never();
            done.ok_or_else(|| candle_core::Error::Msg("one worker alone waits for nobody".into()))??;
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

fn equal(a: &Tensor, b: &Tensor) -> Result<bool> {
    with_values(a, |a| with_values(b, |b| Ok(a == b)))
}

fn layer_norm(tensors: &mut impl Tensors, name: &str, config: &Config) -> Result<LayerNorm, ModelError> {
    let (weight, bias) = (tensors.take(&format!("{name}.weight"))?, tensors.take(&format!("{name}.bias"))?);
    Ok(LayerNorm::new(weight, bias, config.layer_norm_epsilon))
}
