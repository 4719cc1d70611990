//! The first worker's side: computes its share, has the others compute theirs, and adds up.

use std::cell::{Cell, RefCell};
use std::collections::TryReserveError;
use std::ops::Range;

use candle_core::{Device, Result, Tensor};
use futures_util::future::LocalBoxFuture;

use super::shares::{Piece, Share, divide};
use super::wire::Order;
use crate::Error;
use crate::model::Config;
use crate::model::attention::{Contexts, Segment};
use crate::model::buffer_pool::{Buffer, PooledTensor};
use crate::model::executor::Executor;
use crate::model::gpt2::Unembedding;
use crate::model::layers::{Attended, SubLayers, Wishes};
use crate::model::linear::packing::Packing;
use crate::model::linear::panels::Panels;
use crate::model::stopwatch::{self, Work};
use crate::model::values::{add_values, put_columns, with_values};

/// A helper's answer, still to come.
pub type Answer = LocalBoxFuture<'static, crate::Result<Vec<f32>>>;

/// The way to one helper.
pub trait Line {
    /// Sends a piece of a block's tensor.
    fn piece(&self, layer: usize, tensor: &str, piece: &Piece);

    /// Sends rows of the unembedding.
    fn rows(&self, values: &[f32]);

    /// Sends an order with the normed stream that it needs, at once; what is returned waits for the answer.
    fn order(&self, order: &Order, normed: &[f32]) -> Answer;
}

/// All workers.
pub struct Crew {
    contexts: RefCell<Contexts>,
    shares: Vec<Share>,
    /// To all but the first.
    lines: Vec<Box<dyn Line>>,
    /// Whether the helpers have their rows of the unembedding: sent when first wanted, for who asks for norms alone needs
    /// none.
    has_rows: Cell<bool>,
    failure: RefCell<Option<Error>>,
    /// Panels that were sent, to be packed into again: until the first order, for then the blocks are here.
    sent: RefCell<Vec<Panels>>,
}

impl Crew {
    /// One worker alone.
    pub fn alone(config: &Config) -> Crew {
        Crew::new(config, Vec::new())
    }

    /// The first, and those at the end of these lines.
    pub fn new(config: &Config, lines: Vec<Box<dyn Line>>) -> Crew {
        let shares = divide(config, lines.len() + 1);
        let (contexts, failure) = (RefCell::default(), RefCell::new(None));
        Crew { contexts, shares, lines, has_rows: Cell::new(false), failure, sent: RefCell::default() }
    }

    /// How a weight of a block (by its name within it) is packed as it comes: a part for every worker. `None` for other
    /// tensors.
    ///
    /// # Errors
    /// Where the allocator has no room for it.
    pub fn packing(&self, config: &Config, tensor: &str) -> std::result::Result<Option<Packing>, TryReserveError> {
        let cuts: Vec<_> = self.shares.iter().filter_map(|share| share.cut(config, tensor)).collect();
        let Some((stride, _)) = cuts.first() else { return Ok(None) };
        Packing::new(*stride, cuts.iter().map(|(_, cut)| cut.clone()), &mut self.sent.borrow_mut()).map(Some)
    }

    /// Gives every worker its part of a block's weight; returns the first's own.
    pub fn hand_out_weight(&self, (layer, tensor): (usize, &str), packing: Packing) -> Option<Panels> {
        let mut parts = packing.into_panels().into_iter();
        let own = parts.next();
        for (line, part) in self.lines.iter().zip(parts) {
            let part = Piece::Weight(part);
            line.piece(layer, tensor, &part);
            if let Piece::Weight(panels) = part {
                self.sent.borrow_mut().push(panels);
            }
        }
        own
    }

    /// Gives every worker its part of the bias of a linear layer; returns the first's own, `None` for other tensors.
    pub fn hand_out_bias(&self, config: &Config, (layer, tensor): (usize, &str), values: &[f32]) -> Option<Vec<f32>> {
        for (share, line) in self.shares.iter().skip(1).zip(&self.lines) {
            if let Some(part) = share.bias(config, tensor, values) {
                line.piece(layer, tensor, &Piece::Bias(part));
            }
        }
        self.shares.first()?.bias(config, tensor, values)
    }

    /// Why a helper failed, if one did: nothing more can be computed then.
    pub fn failure(&self) -> Option<Error> {
        self.failure.borrow().clone()
    }

    /// Whether there is anybody but the first.
    pub fn has_helpers(&self) -> bool {
        !self.lines.is_empty()
    }

    /// Sends an order to every helper that has a part in it; the answers come with the helpers' shares.
    fn order(&self, order: &Order, normed: &Tensor, has_part: fn(&Share) -> bool) -> Result<Vec<(Share, Answer)>> {
        let before = stopwatch::now();
        self.sent.borrow_mut().clear();
        let helpers = self.shares.iter().skip(1).zip(&self.lines).filter(|(share, _)| has_part(share));
        let answers = with_values(normed, |normed| {
            Ok(helpers.map(|(share, line)| (share.clone(), line.order(order, normed))).collect())
        });
        stopwatch::since(Work::Exchange, before);
        answers
    }
}

impl Executor for Crew {
    fn attention(
        &self,
        sub_layers: &SubLayers,
        normed: PooledTensor,
        segments: &[Segment],
        wishes: Wishes,
    ) -> Result<impl Future<Output = Result<Attended>>> {
        let order = Order::Attend { layer: sub_layers.layer(), segments: segments.to_vec(), wishes };
        let answers = self.order(&order, &normed, Share::has_heads)?;
        let own = sub_layers.attention(&normed, &self.contexts, segments, wishes)?;
        Ok(async move {
            let (t, d) = own.out.dims2()?;
            let mut heads: Vec<PooledTensor> = own.by_head.into_iter().collect();
            let mut patterns: Vec<Vec<Tensor>> = own.patterns.into_iter().map(|pattern| vec![pattern]).collect();
            for (share, answer) in answers {
                let answer = self.answer(answer).await?;
                let (sum, mut rest) = answer.split_at_checked(t * d).ok_or_else(short)?;
                add_values(&own.out, sum)?;
                let mut next = |shape: (usize, usize, usize)| {
                    let (values, left) = rest.split_at_checked(shape.0 * shape.1 * shape.2).ok_or_else(short)?;
                    rest = left;
                    Tensor::from_slice(values, shape, &Device::Cpu)
                };
                if wishes.heads {
                    heads.push(next((share.heads.len(), t, d))?.into());
                }
                if wishes.patterns {
                    for (patterns, segment) in patterns.iter_mut().zip(segments) {
                        patterns.push(next((share.heads.len(), segment.rows, segment.past + segment.rows))?);
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
        let order = Order::Mlp { layer: sub_layers.layer(), rows: normed.dim(0)? };
        let answers = self.order(&order, &normed, Share::has_columns)?;
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

impl Crew {
    /// A normed stream `[N, D]` to scores of every token id, `[N, V]`.
    ///
    /// # Errors
    /// candle's, and a helper's.
    pub async fn logits(&self, unembedding: &Unembedding, normed: &Tensor) -> Result<PooledTensor> {
        self.hand_out_rows(unembedding)?;
        let own = self.shares.first().map_or(0, |share| share.ids.len());
        let answers = self.order(&Order::Logits { rows: normed.dim(0)? }, normed, Share::has_ids)?;
        let logits = unembedding.first_logits(normed, own)?;
        for (share, answer) in answers {
            let answer = self.answer(answer).await?;
            let count = logits.dim(0)? * share.ids.len();
            put_columns(&logits, share.ids, answer.get(..count).ok_or_else(short)?)?;
        }
        Ok(logits)
    }

    /// Forgets the keys and values of sequences in some blocks.
    pub fn forget(&self, layers: Range<usize>, slots: &[u32]) {
        if slots.is_empty() {
            return;
        }
        self.contexts.borrow_mut().forget(layers.clone(), slots);
        let order = Order::Forget { layers, slots: slots.to_vec() };
        for line in &self.lines {
            drop(line.order(&order, &[]));
        }
    }

    /// W: how many compute.
    pub fn size(&self) -> usize {
        self.shares.len()
    }

    fn hand_out_rows(&self, unembedding: &Unembedding) -> Result<()> {
        if self.has_rows.replace(true) || self.lines.is_empty() {
            return Ok(());
        }
        let width = unembedding.rows().dim(1)?;
        with_values(unembedding.rows(), |rows| {
            for (share, line) in self.shares.iter().skip(1).zip(&self.lines).filter(|(share, _)| share.has_ids()) {
                line.rows(&rows[share.ids.start * width..share.ids.end * width]);
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
