//! Batches that go through the blocks side by side, in one thread: each begins a sub-layer, then lets the others begin
//! theirs while workers compute what it waits for.
//!
//! Turns go round in a fixed order, whatever is answered first: a text that is cut over two batches needs the first's
//! keys and values before the second's queries, here and in every worker.

use std::cell::RefCell;

use candle_core::Result;
use tokio::sync::watch;

use super::run_control::RunControl;
use super::streaming_model::StreamingModel;
use super::work;
use crate::Error;
use crate::model::attention::Segment;
use crate::model::buffer_pool::PooledTensor;
use crate::model::executor::Executor;
use crate::model::layers::{Attended, CaptureRequest, SubLayers};

/// Whose turn it is, of so many batches.
pub struct Turns<'a, B> {
    model: &'a StreamingModel,
    batches: usize,
    /// Sequences whose keys and values nobody wants after the last batch.
    passing: &'a [u32],
    control: &'a B,
    /// Turns that are over.
    over: watch::Sender<usize>,
    /// Why the run was stopped: the model passes on candle's errors only.
    stopped: RefCell<Option<Error>>,
}

/// What computes one batch's sub-layers, in its turn.
pub struct InTurn<'a, B> {
    turns: &'a Turns<'a, B>,
    batch: usize,
}

impl<'a, B: RunControl> Turns<'a, B> {
    /// The first batch's turn.
    pub fn new(model: &'a StreamingModel, batches: usize, passing: &'a [u32], control: &'a B) -> Self {
        Turns { model, batches, passing, control, over: watch::Sender::new(0), stopped: RefCell::default() }
    }

    /// The executor of one batch.
    pub fn of(&self, batch: usize) -> InTurn<'_, B> {
        InTurn { turns: self, batch }
    }

    /// Why the run was stopped, if it was.
    pub fn stopped(&self) -> Option<Error> {
        self.stopped.take()
    }
}

impl<B: RunControl> InTurn<'_, B> {
    /// Waits for this batch's turn.
    pub async fn begin(&self) {
        let is_ours = |over: &usize| over % self.turns.batches == self.batch;
        // The sender lives as long as self, so this ends with a turn.
        drop(self.turns.over.subscribe().wait_for(is_ours).await);
    }

    /// It is the next one's turn.
    pub fn end(&self) {
        self.turns.over.send_modify(|over| *over += 1);
    }

    /// Lets all others have a turn, after half a block of so many rows.
    async fn let_others(&self, rows: usize) -> Result<()> {
        let control = self.turns.control;
        control.work_done(rows as f64 * work::of_block(&self.turns.model.config) / 2.0);
        if let Err(error) = control.yield_now().await {
            self.turns.stopped.replace(Some(error));
            candle_core::bail!("the run was stopped")
        }
        self.end();
        self.begin().await;
        Ok(())
    }
}

impl<B: RunControl> Executor for InTurn<'_, B> {
    fn attention(
        &self,
        sub_layers: &SubLayers,
        normed: PooledTensor,
        segments: &[Segment],
        capture: CaptureRequest,
    ) -> Result<impl Future<Output = Result<Attended>>> {
        let rows = normed.dim(0)?;
        let attended = self.turns.model.pool.attention(sub_layers, normed, segments, capture)?;
        Ok(async move {
            self.let_others(rows).await?;
            attended.await
        })
    }

    fn mlp(&self, sub_layers: &SubLayers, normed: PooledTensor) -> Result<impl Future<Output = Result<PooledTensor>>> {
        let rows = normed.dim(0)?;
        let pool = &self.turns.model.pool;
        let out = pool.mlp(sub_layers, normed)?;
        if self.batch + 1 == self.turns.batches {
            pool.forget(sub_layers.layer()..sub_layers.layer() + 1, self.turns.passing);
        }
        Ok(async move {
            self.let_others(rows).await?;
            out.await
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Config;
    use crate::pool::WorkerPool;
    use crate::run::run_control::NoControl;
    use futures_util::future::join_all;

    #[test]
    fn every_batch_begins_a_step_before_the_first_goes_on() {
        let json = r#"{"model_type":"gpt2","vocab_size":9,"n_positions":8,"n_embd":8,"n_layer":1,"n_head":2}"#;
        let config = Config::from_json(json.as_bytes()).unwrap();
        let pool = WorkerPool::alone(&config);
        let model = StreamingModel::new(config, pool);
        let turns = Turns::new(&model, 3, &[], &NoControl);
        let begun = RefCell::new(Vec::new());
        let go = |batch: usize| {
            let (turn, begun) = (turns.of(batch), &begun);
            async move {
                turn.begin().await;
                for step in 0..2 {
                    begun.borrow_mut().push((step, batch));
                    turn.let_others(1).await.unwrap();
                }
                turn.end();
            }
        };
        // Polled in another order than theirs, as answers may come.
        pollster::block_on(join_all([go(2), go(0), go(1)]));
        let expected = [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)];
        assert_eq!(begun.into_inner(), expected, "turns.rs: the order of steps and batches");
    }
}
