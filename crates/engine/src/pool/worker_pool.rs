//! The first worker's side: computes its share, has the others compute theirs, and adds up.

use std::cell::{Cell, RefCell};
use std::ops::Range;
use std::rc::Rc;

use candle_core::{Device, Result, Tensor};
use futures_util::future::LocalBoxFuture;

use super::packer::Packer;
use super::shards::{Shard, TensorShard};
use super::wire::Command;
use crate::Error;
use crate::model::Config;
use crate::model::attention::{KvCache, Segment};
use crate::model::buffer_pool::{Buffer, PooledTensor};
use crate::model::executor::Executor;
use crate::model::gpt2::Unembedding;
use crate::model::layers::{Attended, CaptureRequest, SubLayers};
use crate::model::linear::packing::Packing;
use crate::model::linear::panels::Panels;
use crate::model::stopwatch::{self, Work};
use crate::model::values::{add_values, put_columns, with_values};

/// A helper's answer, still to come.
pub type Answer = LocalBoxFuture<'static, crate::Result<Vec<f32>>>;

/// The way to one helper.
pub trait WorkerHandle {
    /// Sends a piece of a block's tensor.
    fn send_shard(&self, layer: usize, tensor: &str, shard: &TensorShard);

    /// Sends rows of the unembedding.
    fn send_rows(&self, values: &[f32]);

    /// Sends a command with the normed stream that it needs, at once; what is returned waits for the answer.
    fn send(&self, command: &Command, normed: &[f32]) -> Answer;
}

/// All workers: the first, which this is, and the way to the others.
pub struct WorkerPool {
    kv_cache: RefCell<KvCache>,
    packer: Rc<Packer>,
    /// To all but the first.
    handles: Vec<Box<dyn WorkerHandle>>,
    /// Whether the helpers have their rows of the unembedding: sent when first wanted, for who asks for norms alone needs
    /// none.
    has_rows: Cell<bool>,
    failure: RefCell<Option<Error>>,
}

impl WorkerPool {
    /// A pool of the first worker alone.
    pub fn alone(config: &Config) -> WorkerPool {
        WorkerPool::new(config, Vec::new())
    }

    /// The first, and those behind these handles.
    pub fn new(config: &Config, handles: Vec<Box<dyn WorkerHandle>>) -> WorkerPool {
        let packer = Rc::new(Packer::new(config, handles.len() + 1));
        let (kv_cache, failure) = (RefCell::default(), RefCell::new(None));
        WorkerPool { kv_cache, packer, handles, has_rows: Cell::new(false), failure }
    }

    /// Gives every worker its part of a block's weight; returns the first's own.
    pub fn hand_out_weight(&self, layer: usize, tensor: &str, packing: Packing) -> Option<Panels> {
        let mut parts = packing.into_panels().into_iter();
        let own = parts.next();
        for (handle, part) in self.handles.iter().zip(parts) {
            let part = TensorShard::Weight(part);
            handle.send_shard(layer, tensor, &part);
            if let TensorShard::Weight(panels) = part {
                self.packer.take_back(panels);
            }
        }
        own
    }

    /// Gives every worker its part of the bias of a linear layer; returns the first's own, `None` for other tensors.
    pub fn hand_out_bias(&self, layer: usize, tensor: &str, values: &[f32]) -> Option<Vec<f32>> {
        for (shard, handle) in self.shards().iter().skip(1).zip(&self.handles) {
            if let Some(part) = shard.bias(self.packer.config(), tensor, values) {
                handle.send_shard(layer, tensor, &TensorShard::Bias(part));
            }
        }
        self.shards().first()?.bias(self.packer.config(), tensor, values)
    }

    /// How the weights of blocks are to be packed.
    pub fn packer(&self) -> Rc<Packer> {
        self.packer.clone()
    }

    fn shards(&self) -> &[Shard] {
        self.packer.shards()
    }

    /// Why a helper failed, if one did: nothing more can be computed then.
    pub fn failure(&self) -> Option<Error> {
        self.failure.borrow().clone()
    }

    /// Whether tensors of blocks are packed, or divided among workers.
    pub fn packs(&self) -> bool {
        self.packer.is_needed()
    }

    /// Sends a command to every helper that has a part in it; the answers come with the helpers' shares.
    fn send(&self, command: &Command, normed: &Tensor, has_part: fn(&Shard) -> bool) -> Result<Vec<(Shard, Answer)>> {
        let before = stopwatch::now();
        self.packer.finish();
        let helpers = self.shards().iter().skip(1).zip(&self.handles).filter(|(shard, _)| has_part(shard));
        let answers = with_values(normed, |normed| {
            Ok(helpers.map(|(shard, handle)| (shard.clone(), handle.send(command, normed))).collect())
        });
        stopwatch::since(Work::Exchange, before);
        answers
    }
}

impl Executor for WorkerPool {
    fn attention(
        &self,
        sub_layers: &SubLayers,
        normed: PooledTensor,
        segments: &[Segment],
        capture: CaptureRequest,
    ) -> Result<impl Future<Output = Result<Attended>>> {
        let command = Command::Attend { layer: sub_layers.layer(), segments: segments.to_vec(), capture };
        let answers = self.send(&command, &normed, Shard::has_heads)?;
        let own = sub_layers.attention(&normed, &self.kv_cache, segments, capture)?;
        Ok(async move {
            let (t, d) = own.out.dims2()?;
            let mut heads: Vec<PooledTensor> = own.by_head.into_iter().collect();
            let mut patterns: Vec<Vec<Tensor>> = own.patterns.into_iter().map(|pattern| vec![pattern]).collect();
            for (shard, answer) in answers {
                let answer = self.answer(answer).await?;
                let (sum, mut rest) = answer.split_at_checked(t * d).ok_or_else(short)?;
                add_values(&own.out, sum)?;
                let mut next = |shape: (usize, usize, usize)| {
                    let (values, left) = rest.split_at_checked(shape.0 * shape.1 * shape.2).ok_or_else(short)?;
                    rest = left;
                    Tensor::from_slice(values, shape, &Device::Cpu)
                };
                if capture.heads {
                    heads.push(next((shard.heads.len(), t, d))?.into());
                }
                if capture.patterns {
                    for (patterns, segment) in patterns.iter_mut().zip(segments) {
                        patterns.push(next((shard.heads.len(), segment.rows, segment.past + segment.rows))?);
                    }
                }
            }
            let by_head = match heads.len() {
                0 | 1 => heads.pop(), // of a single one, cat would return a clone
                _ => Some(Tensor::cat(&heads, 0)?.into()),
            };
            let patterns = patterns.iter().map(|parts| Tensor::cat(parts, 0)).collect::<Result<_>>()?;
            Ok(Attended { out: own.out, by_head, patterns })
        })
    }

    fn mlp(&self, sub_layers: &SubLayers, normed: PooledTensor) -> Result<impl Future<Output = Result<PooledTensor>>> {
        let command = Command::Mlp { layer: sub_layers.layer(), rows: normed.dim(0)? };
        let answers = self.send(&command, &normed, Shard::has_columns)?;
        let out = sub_layers.mlp(&normed)?;
        Ok(async move {
            for (_, answer) in answers {
                let answer = self.answer(answer).await?;
                add_values(&out, answer.get(..out.elem_count()).ok_or_else(short)?)?;
            }
            Ok(out)
        })
    }
}

impl WorkerPool {
    /// A normed stream `[N, D]` to scores of every token id, `[N, V]`.
    ///
    /// # Errors
    /// candle's, and a helper's.
    pub async fn logits(&self, unembedding: &Unembedding, normed: &Tensor) -> Result<PooledTensor> {
        self.hand_out_rows(unembedding)?;
        let own = self.shards().first().map_or(0, |shard| shard.ids.len());
        let answers = self.send(&Command::Logits { rows: normed.dim(0)? }, normed, Shard::has_ids)?;
        let logits = unembedding.first_logits(normed, own)?;
        for (shard, answer) in answers {
            let answer = self.answer(answer).await?;
            let count = logits.dim(0)? * shard.ids.len();
            put_columns(&logits, shard.ids, answer.get(..count).ok_or_else(short)?)?;
        }
        Ok(logits)
    }

    /// Forgets the keys and values of sequences in some blocks.
    pub fn forget(&self, layers: Range<usize>, slots: &[u32]) {
        if slots.is_empty() {
            return;
        }
        self.kv_cache.borrow_mut().forget(layers.clone(), slots);
        let command = Command::Forget { layers, slots: slots.to_vec() };
        for handle in &self.handles {
            drop(handle.send(&command, &[]));
        }
    }

    /// W: how many compute.
    pub fn size(&self) -> usize {
        self.shards().len()
    }

    fn hand_out_rows(&self, unembedding: &Unembedding) -> Result<()> {
        if self.has_rows.replace(true) || self.handles.is_empty() {
            return Ok(());
        }
        let width = unembedding.rows().dim(1)?;
        with_values(unembedding.rows(), |rows| {
            for (shard, handle) in self.shards().iter().skip(1).zip(&self.handles).filter(|(shard, _)| shard.has_ids())
            {
                handle.send_rows(&rows[shard.ids.start * width..shard.ids.end * width]);
            }
            Ok(())
        })
    }

    async fn answer(&self, answer: Answer) -> Result<Buffer> {
        let before = stopwatch::now();
        let answer = answer.await;
        stopwatch::since(Work::Exchange, before);
        answer.map(Buffer::from).map_err(|error| {
            let message = error.message.clone();
            self.failure.replace(Some(error));
            candle_core::Error::Msg(message)
        })
    }
}

fn short() -> candle_core::Error {
    candle_core::Error::Msg("a helper's answer is too short".into())
}
