//! GPT-2, bottom-up: embedding, block, unembedding, model.
//!
//! Radford et al., "Language Models are Unsupervised Multitask Learners" (2019); layout of weights and
//! meaning of settings as in Hugging Face's `GPT2LMHeadModel`.
//!
//! One sequence at a time: T tokens, D = `n_embd`, H heads of width D/H, V = `vocab_size`.
//! Attention is causal, so a sequence needs no padding and no batch axis.
//!
//! The residual stream `x` `[T, D]` runs through every block, and each sub-layer *adds* to it.
//! [`Block::forward`] is those two additions; what is added is what a [`Probe`] sees as
//! [`CapturePoint::AttnOut`] and [`CapturePoint::MlpOut`].
//!
//! Rows of several sequences may go through a block side by side, and a sequence may come in pieces: which rows are
//! whose is said by [`Segment`]s. What a sub-layer computes is in [`layers`](super::layers); who computes it, this thread
//! alone or a pool of workers, is an [`Executor`]'s business.

use candle_core::{Device, Tensor};
use futures_util::FutureExt;

use super::attention::Segment;
use super::buffer_pool::PooledTensor;
use super::checkpoint::{LM_HEAD, Tensors};
use super::config::LmHead;
use super::executor::{Executor, SingleThread};
use super::layers::{Attended, CaptureRequest, SubLayers};
use super::linear::{times_rows_transposed, times_transposed};
use super::norm::LayerNorm;
use super::probe::{CapturePoint, Probe};
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
    probe.see(CapturePoint::Embed, &x)?;
    Ok(x)
}

/// One transformer block: attention, then MLP, each added to the stream.
#[derive(Clone, Debug)]
pub struct Block {
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
            ln_1: layer_norm(tensors, &format!("h.{layer}.ln_1"), config)?,
            ln_2: layer_norm(tensors, &format!("h.{layer}.ln_2"), config)?,
            sub_layers: SubLayers::load(tensors, config, layer)?,
        })
    }

    /// Moves the stream `x` `[T, D]` from before the block to after it.
    ///
    /// # Errors
    /// Whatever the executor or the probe returns.
    pub async fn forward(
        &self,
        x: &Tensor,
        segments: &[Segment],
        executor: &impl Executor,
        probe: &mut impl Probe,
    ) -> Result<()> {
        probe.see(CapturePoint::ResidPre(self.layer()), x)?;
        add(x, self.attention(self.ln_1.forward(x)?, segments, executor, probe).await?)?;
        probe.see(CapturePoint::ResidMid(self.layer()), x)?;
        add(x, self.mlp(self.ln_2.forward(x)?, executor, probe).await?)?;
        probe.see(CapturePoint::ResidPost(self.layer()), x)
    }

    /// A normed stream `[T, D]` to attn_out `[T, D]`, as the probe leaves it.
    async fn attention(
        &self,
        normed: PooledTensor,
        segments: &[Segment],
        executor: &impl Executor,
        probe: &mut impl Probe,
    ) -> Result<PooledTensor> {
        let (pattern, head_out) = (CapturePoint::Pattern(self.layer()), CapturePoint::HeadOut(self.layer()));
        let capture = CaptureRequest { patterns: probe.wants(pattern), heads: probe.wants(head_out) };
        let attended = executor.attention(&self.sub_layers, normed, segments, capture)?.await?;
        let Attended { mut out, by_head, patterns } = attended;
        patterns.iter().try_for_each(|weights| probe.see(pattern, weights))?;
        if let Some(by_head) = by_head {
            if probe.edit(head_out, &by_head)? {
                out = sum_groups(&by_head, self.attention_bias())?.into(); // (T, D)
            }
            probe.see(head_out, &by_head)?;
        }
        probe.edit(CapturePoint::AttnOut(self.layer()), &out)?;
        probe.see(CapturePoint::AttnOut(self.layer()), &out)?;
        Ok(out)
    }

    /// A normed stream `[T, D]` to mlp_out `[T, D]`, as the probe leaves it.
    async fn mlp(
        &self,
        normed: PooledTensor,
        executor: &impl Executor,
        probe: &mut impl Probe,
    ) -> Result<PooledTensor> {
        let out = executor.mlp(&self.sub_layers, normed)?.await?;
        probe.edit(CapturePoint::MlpOut(self.layer()), &out)?;
        probe.see(CapturePoint::MlpOut(self.layer()), &out)?;
        Ok(out)
    }

    /// Which block this is, from 0.
    pub fn layer(&self) -> usize {
        self.sub_layers.layer()
    }

    /// The bias of attention's output projection `[D]`: with it, head_out sums to attn_out.
    pub fn attention_bias(&self) -> &Tensor {
        self.sub_layers.attention_bias()
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
        let weight = match config.lm_head {
            LmHead::Tied => embedding.wte.clone(),
            LmHead::Own => {
                let own = tensors.take(LM_HEAD)?;
                let is_copy = config.tie_word_embeddings && equal(&own, &embedding.wte)?;
                if is_copy { embedding.wte.clone() } else { own }
            }
            LmHead::Absent => return Err(ModelError::NoUnembedding),
        };
        Ok(Unembedding { ln_f: layer_norm(tensors, "ln_f", config)?, weight })
    }

    /// Whether it is the embedding's own table.
    pub fn is_tied_to(&self, embedding: &Embedding) -> bool {
        self.weight.id() == embedding.wte.id()
    }

    /// Any stream `[N, D]` through the final layer norm, `[N, D]`.
    pub fn norm(&self, x: &Tensor) -> Result<PooledTensor> {
        self.ln_f.forward(x)
    }

    /// A normed stream `[N, D]` to scores of every token id, `[N, V]`.
    pub fn logits(&self, normed: &Tensor) -> Result<PooledTensor> {
        times_transposed(normed, &self.weight)
    }

    /// The same, of which the first `ids` columns are computed, and the others hold anything: one worker's share.
    ///
    /// # Errors
    /// candle's.
    pub fn first_logits(&self, normed: &Tensor, ids: usize) -> Result<PooledTensor> {
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

    /// V: how many token ids there are.
    pub fn vocab_size(&self) -> usize {
        self.weight.dims().first().copied().unwrap_or(0)
    }
}

/// The whole model in one thread, as the tests of the forward pass run it.
#[derive(Clone, Debug)]
pub struct Gpt2 {
    /// The settings it was built by.
    pub config: Config,
    /// Token ids to the stream before block 0.
    pub embedding: Embedding,
    /// What adds to the stream, in order.
    pub blocks: Vec<Block>,
    /// The stream after the last block to a score for every token id.
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
    pub fn forward(&self, ids: &[u32], probe: &mut impl Probe) -> Result<PooledTensor, ModelError> {
        check_ids(&self.config, ids)?;
        let x = self.embedding.forward(ids, probe)?; // (T, D)
        let (segments, executor) = ([Segment { slot: 0, past: 0, rows: ids.len() }], SingleThread::default());
        for block in &self.blocks {
            let done = block.forward(&x, &segments, &executor, probe).now_or_never();
            done.ok_or_else(|| candle_core::Error::Msg("internal error: local execution did not finish".into()))??;
        }
        let normed = self.unembedding.norm(&x)?; // (T, D)
        probe.see(CapturePoint::Final, &normed)?;
        let logits = self.unembedding.logits(&normed)?; // (T, V)
        probe.see(CapturePoint::Logits, &logits)?;
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
