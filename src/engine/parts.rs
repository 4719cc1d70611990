//! A model's parts while it is arriving: tensors go in, finished blocks are waited for and come out.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use candle_core::Tensor;
use tokio::sync::watch;

use crate::model::checkpoint::{Part, wanted};
use crate::model::gpt2::Tensors;
use crate::model::{Block, Config, Embedding, ModelError, Unembedding};
use crate::{Error, Result};

/// The parts that have arrived, and a way to wait for the others.
pub struct Parts {
    /// The model's settings.
    pub config: Config,
    arrived: RefCell<Arrived>,
    /// Ticks at every part that arrives, and at failure.
    tick: watch::Sender<usize>,
}

struct Arrived {
    waiting: HashMap<String, Tensor>,
    part_of: HashMap<String, Part>,
    missing: HashMap<Part, usize>,
    embedding: Option<Rc<Embedding>>,
    blocks: Vec<Option<Rc<Block>>>,
    unembedding: Option<Rc<Unembedding>>,
    failure: Option<Error>,
}

impl Tensors for HashMap<String, Tensor> {
    fn take(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.remove(name).ok_or_else(|| ModelError::MissingTensor { name: name.into() })
    }
}

impl Parts {
    /// Of a model of which nothing has arrived yet.
    pub fn new(config: Config) -> Parts {
        let mut part_of = HashMap::new();
        let mut missing = HashMap::new();
        for want in wanted(&config) {
            *missing.entry(want.part).or_default() += 1;
            part_of.insert(want.name, want.part);
        }
        let arrived = Arrived {
            waiting: HashMap::new(),
            part_of,
            missing,
            embedding: None,
            blocks: vec![None; config.n_layer],
            unembedding: None,
            failure: None,
        };
        Parts { config, arrived: RefCell::new(arrived), tick: watch::Sender::new(0) }
    }

    /// Takes a tensor whose shape has been checked; builds the part that it completes. A tensor that
    /// has already arrived (shards may overlap) is dropped.
    ///
    /// # Errors
    /// `MissingTensor` if a part's list and its builder disagree, which a test rules out.
    pub fn offer(&self, name: String, tensor: Tensor) -> Result<()> {
        let mut guard = self.arrived.borrow_mut();
        let arrived = &mut *guard;
        let Some(part) = arrived.part_of.remove(&name) else { return Ok(()) };
        arrived.waiting.insert(name, tensor);
        if let Some(count) = arrived.missing.get_mut(&part) {
            *count -= 1;
        }
        let complete = |part| arrived.missing.get(&part) == Some(&0);
        if complete(part) {
            match part {
                Part::Embedding => arrived.embedding = Some(Rc::new(Embedding::load(&mut arrived.waiting)?)),
                Part::Block(l) => {
                    let block = Block::load(&mut arrived.waiting, &self.config, l)?;
                    if let Some(slot) = arrived.blocks.get_mut(l) {
                        *slot = Some(Rc::new(block));
                    }
                }
                Part::Unembedding => {}
            }
            // The unembedding may be the embedding's own table, and so waits for both.
            if let (None, Some(embedding), Some(0)) =
                (&arrived.unembedding, &arrived.embedding, arrived.missing.get(&Part::Unembedding))
            {
                let unembedding = Unembedding::load(&mut arrived.waiting, &self.config, embedding)?;
                arrived.unembedding = Some(Rc::new(unembedding));
            }
        }
        drop(guard);
        self.tick.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Tells everyone who waits that no more will come.
    pub fn fail(&self, error: Error) {
        self.arrived.borrow_mut().failure = Some(error);
        self.tick.send_modify(|count| *count += 1);
    }

    /// Blocks that have arrived.
    pub fn blocks_ready(&self) -> usize {
        self.arrived.borrow().blocks.iter().flatten().count()
    }

    /// A tensor that has not arrived, the first by name; `None` once all have.
    pub fn first_missing(&self) -> Option<String> {
        self.arrived.borrow().part_of.keys().min().cloned()
    }

    /// Waits for the embedding.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn embedding(&self) -> Result<Rc<Embedding>> {
        self.wait(|arrived| arrived.embedding.clone()).await
    }

    /// Waits for block `layer`.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn block(&self, layer: usize) -> Result<Rc<Block>> {
        self.wait(|arrived| arrived.blocks.get(layer).cloned().flatten()).await
    }

    /// Waits for the unembedding.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn unembedding(&self) -> Result<Rc<Unembedding>> {
        self.wait(|arrived| arrived.unembedding.clone()).await
    }

    async fn wait<T>(&self, get: impl Fn(&Arrived) -> Option<T>) -> Result<T> {
        let mut ticks = self.tick.subscribe();
        loop {
            if let Some(part) = get(&self.arrived.borrow()) {
                return Ok(part);
            }
            if let Some(failure) = self.arrived.borrow().failure.clone() {
                return Err(failure);
            }
            // The sender lives as long as self, so this ends with a tick.
            let _ = ticks.changed().await;
        }
    }
}
