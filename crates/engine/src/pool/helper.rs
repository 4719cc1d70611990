//! A helper: holds its share of every block, and computes it when told to.

use std::cell::RefCell;
use std::collections::HashMap;

use candle_core::{DType, Device, Result, Tensor};

use super::shards::TensorShard;
use super::wire::Command;
use crate::model::attention::KvCache;
use crate::model::buffer_pool::PooledTensor;
use crate::model::checkpoint::{Tensors, within_block};
use crate::model::layers::{Attended, SubLayers};
use crate::model::linear::{Linear, Weight, times_transposed};
use crate::model::values::with_values;
use crate::model::{Config, ModelError};

/// Tensors that make a helper's share of a block: four weights and the biases of `c_attn` and `c_fc`.
const TENSORS: usize = 6;

/// A worker beside the first: its shard of every block, and its keys and values.
pub struct Helper {
    config: Config,
    partial: HashMap<usize, PartialBlock>,
    blocks: HashMap<usize, SubLayers>,
    /// Its rows of the unembedding.
    unembedding: Option<Tensor>,
    kv_cache: RefCell<KvCache>,
}

/// What has come of a block, by the names within it.
#[derive(Default)]
struct PartialBlock {
    have: HashMap<String, TensorShard>,
}

impl Helper {
    /// Without any weights yet.
    pub fn new(config: Config) -> Helper {
        let (partial, blocks) = (HashMap::new(), HashMap::new());
        Helper { config, partial, blocks, unembedding: None, kv_cache: RefCell::default() }
    }

    /// Takes a piece of a block's tensor.
    ///
    /// # Errors
    /// `MissingTensor`, if the list of pieces and the model disagree, which a test rules out.
    pub fn take(&mut self, layer: usize, tensor: String, shard: TensorShard) -> std::result::Result<(), ModelError> {
        let partial = self.partial.entry(layer).or_default();
        partial.have.insert(tensor, shard);
        if partial.have.len() == TENSORS
            && let Some(mut partial) = self.partial.remove(&layer)
        {
            self.blocks.insert(layer, SubLayers::load(&mut partial, &self.config, layer)?);
        }
        Ok(())
    }

    /// Takes rows of the unembedding, `[ids, D]`.
    ///
    /// # Errors
    /// candle's, for numbers that make no whole rows.
    pub fn take_rows(&mut self, values: Vec<f32>) -> Result<()> {
        let width = self.config.n_embd;
        let count = values.len().checked_div(width).unwrap_or(0);
        self.unembedding = Some(Tensor::from_vec(values, (count, width), &Device::Cpu)?);
        Ok(())
    }

    /// Does as told, with the normed stream `[T, D]` that came with the command: attn_out or mlp_out of this share
    /// `[T, D]`, then what was wished for (the heads' parts, the patterns), or this share's logits, in one row of numbers.
    ///
    /// # Errors
    /// candle's; a block that has not arrived.
    pub fn execute(&self, command: &Command, normed: Vec<f32>) -> Result<Vec<f32>> {
        let block = |layer: &usize| {
            let none = || candle_core::Error::Msg(format!("a helper has no share of block {layer}"));
            self.blocks.get(layer).ok_or_else(none)
        };
        let shape = (command.rows(), self.config.n_embd);
        let normed = || Tensor::from_vec(normed, shape, &Device::Cpu).map(PooledTensor::from);
        match command {
            Command::Attend { layer, segments, capture } => {
                let attended = block(layer)?.attention(&*normed()?, &self.kv_cache, segments, *capture)?;
                let Attended { out, by_head, patterns } = attended;
                answer([out].into_iter().chain(by_head).chain(patterns.into_iter().map(PooledTensor::from)))
            }
            Command::Mlp { layer, .. } => {
                let out = block(layer)?.mlp(&*normed()?)?;
                answer([out].into_iter())
            }
            Command::Logits { .. } => {
                let none = || candle_core::Error::Msg("a helper has no rows of the unembedding".into());
                let logits = times_transposed(&*normed()?, self.unembedding.as_ref().ok_or_else(none)?)?;
                answer([logits].into_iter())
            }
            Command::Forget { layers, slots } => {
                self.kv_cache.borrow_mut().forget(layers.clone(), slots);
                Ok(Vec::new())
            }
        }
    }
}

/// Tensors, one after the other.
fn answer(mut tensors: impl Iterator<Item = PooledTensor>) -> Result<Vec<f32>> {
    let mut answer = match tensors.next() {
        Some(first) => first.into_vec()?,
        None => Vec::new(),
    };
    for tensor in tensors {
        with_values(&tensor, |values| {
            answer.extend_from_slice(values);
            Ok(())
        })?;
    }
    Ok(answer)
}

impl Tensors for PartialBlock {
    fn take(&mut self, name: &str) -> std::result::Result<Tensor, ModelError> {
        Err(ModelError::MissingTensor { name: name.into() }) // nothing but linear layers is shared
    }

    fn linear(&mut self, name: &str) -> std::result::Result<Linear, ModelError> {
        let missing = || ModelError::MissingTensor { name: name.into() };
        let within = within_block(name).ok_or_else(missing)?;
        let Some(TensorShard::Weight(panels)) = self.have.remove(&format!("{within}.weight")) else {
            return Err(missing());
        };
        let bias = match self.have.remove(&format!("{within}.bias")) {
            Some(TensorShard::Bias(bias)) => Tensor::from_vec(bias, panels.outputs(), &Device::Cpu)?,
            // The first worker adds it.
            _ => Tensor::zeros(panels.outputs(), DType::F32, &Device::Cpu)?,
        };
        Ok(Linear::new(Weight::Packed(panels), bias))
    }
}
