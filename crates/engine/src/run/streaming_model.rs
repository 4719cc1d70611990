//! A model's parts while it is arriving: tensors go in, finished blocks are waited for and come out.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use candle_core::{Device, Tensor};
use tokio::sync::watch;

use super::load_requests::LoadRequests;
use super::prefix_cache::PrefixCache;
use crate::pool::WorkerPool;

use crate::model::buffer_pool::PooledTensor;
use crate::model::checkpoint::{Part, Table, Tensors, wanted, within_block};
use crate::model::config::LmHead;
use crate::model::linear::packing::Packing;
use crate::model::linear::{Linear, Weight};
use crate::model::values::with_values;
use crate::model::{Block, Config, Embedding, ModelError, Unembedding};
use crate::{Error, Result};

/// The parts that have arrived, and a way to wait for the others.
pub struct StreamingModel {
    /// The settings, as `config.json` and the weights have them.
    pub config: Config,
    /// What runs want next, for the loader.
    pub requests: LoadRequests,
    /// The workers that compute it.
    pub pool: Rc<WorkerPool>,
    /// The texts that were traced last.
    pub prefix_cache: RefCell<PrefixCache>,
    received: RefCell<Received>,
    /// Ticks at every part that arrives, and at failure.
    tick: watch::Sender<usize>,
}

struct Received {
    loose: LooseTensors,
    part_of: HashMap<String, Part>,
    missing: HashMap<Part, usize>,
    /// Rows of the two tables that came before the tables: by first row, several rows to each entry.
    rows: HashMap<Table, BTreeMap<u32, Rc<Vec<f32>>>>,
    tables: HashMap<Table, Tensor>,
    embedding: Option<Rc<Embedding>>,
    blocks: Vec<Option<Rc<Block>>>,
    unembedding: Option<Rc<Unembedding>>,
    /// Whether an unembedding has come that the settings tie, and that differs; until somebody was told.
    untied: bool,
    /// Files that are being compared with their hub's hash.
    unchecked: usize,
    failure: Option<Error>,
}

impl Tensors for HashMap<String, Tensor> {
    fn take(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.remove(name).ok_or_else(|| ModelError::MissingTensor { name: name.into() })
    }

    fn linear(&mut self, name: &str) -> Result<Linear, ModelError> {
        Ok(Linear::new(Weight::Plain(self.take(&format!("{name}.weight"))?), self.take(&format!("{name}.bias"))?))
    }
}

/// Tensors of parts that are not complete.
#[derive(Default)]
struct LooseTensors {
    tensors: HashMap<String, Tensor>,
    /// Weights of linear layers, packed if this build packs.
    weights: HashMap<String, Weight>,
}

impl Tensors for LooseTensors {
    fn take(&mut self, name: &str) -> Result<Tensor, ModelError> {
        self.tensors.take(name)
    }

    fn linear(&mut self, name: &str) -> Result<Linear, ModelError> {
        match self.weights.remove(&format!("{name}.weight")) {
            Some(weight) => Ok(Linear::new(weight, self.take(&format!("{name}.bias"))?)),
            None => self.tensors.linear(name),
        }
    }
}

impl StreamingModel {
    /// Of a model of which nothing has arrived yet, and which this pool will run.
    pub fn new(config: Config, pool: WorkerPool) -> StreamingModel {
        let mut part_of = HashMap::new();
        let mut missing = HashMap::new();
        for want in wanted(&config) {
            *missing.entry(want.part).or_default() += 1;
            part_of.insert(want.name, want.part);
        }
        let received = Received {
            loose: LooseTensors::default(),
            part_of,
            missing,
            rows: HashMap::new(),
            tables: HashMap::new(),
            embedding: None,
            blocks: vec![None; config.n_layer],
            unembedding: None,
            untied: false,
            unchecked: 0,
            failure: None,
        };
        StreamingModel {
            config,
            requests: LoadRequests::default(),
            pool: Rc::new(pool),
            prefix_cache: RefCell::default(),
            received: RefCell::new(received),
            tick: watch::Sender::new(0),
        }
    }

    /// Layer and name of a tensor of a block, where blocks are packed, or divided among workers.
    fn handed_out<'a>(&self, name: &'a str, part: Part) -> Option<(usize, &'a str)> {
        match part {
            Part::Block(layer) if self.pool.packs() => Some((layer, within_block(name)?)),
            _ => None,
        }
    }

    /// Takes a weight that was packed as the pool's [`Packer`](crate::pool::packer::Packer) says; the other workers get
    /// theirs.
    ///
    /// # Errors
    /// As [`StreamingModel::offer`].
    pub fn offer_packed(&self, name: String, packing: Packing) -> Result<()> {
        self.take(name, |received, name, part| {
            if let Some((layer, tensor)) = self.handed_out(&name, part)
                && let Some(panels) = self.pool.hand_out_weight(layer, tensor, packing)
            {
                received.loose.weights.insert(name, Weight::Packed(panels));
            }
            Ok(())
        })
    }

    /// Takes a tensor whose shape has been checked; builds the part that it completes. A tensor that
    /// has already arrived (shards may overlap) is dropped.
    ///
    /// # Errors
    /// `MissingTensor` if a part's list and its builder disagree, which a test rules out.
    pub fn offer(&self, name: String, mut tensor: Tensor) -> Result<()> {
        self.take(name, |received, name, part| {
            if let Some(table) = Table::of(&name) {
                received.rows.remove(&table);
                received.tables.insert(table, tensor.clone());
            }
            if let Some((layer, within)) = self.handed_out(&name, part) {
                let bias = with_values(&tensor, |values| Ok(self.pool.hand_out_bias(layer, within, values)))?;
                if let Some(bias) = bias {
                    let count = bias.len();
                    tensor = Tensor::from_vec(bias, count, &Device::Cpu)?;
                }
            }
            received.loose.tensors.insert(name, tensor);
            Ok(())
        })
    }

    /// Has a tensor of this name taken, unless it has arrived before; builds the part that it completes.
    fn take(&self, name: String, take: impl FnOnce(&mut Received, String, Part) -> Result<()>) -> Result<()> {
        let mut guard = self.received.borrow_mut();
        let received = &mut *guard;
        let Some(part) = received.part_of.remove(&name) else { return Ok(()) };
        take(received, name, part)?;
        if let Some(count) = received.missing.get_mut(&part) {
            *count -= 1;
        }
        let complete = |part| received.missing.get(&part) == Some(&0);
        if complete(part) {
            match part {
                Part::Embedding => received.embedding = Some(Rc::new(Embedding::load(&mut received.loose)?)),
                Part::Block(l) => {
                    let block = Block::load(&mut received.loose, &self.config, l)?;
                    if let Some(slot) = received.blocks.get_mut(l) {
                        *slot = Some(Rc::new(block));
                    }
                }
                Part::Unembedding => {}
            }
            // The unembedding may be the embedding's own table, and so waits for both.
            if self.config.lm_head != LmHead::Absent
                && let (None, Some(embedding), Some(0)) =
                    (&received.unembedding, &received.embedding, received.missing.get(&Part::Unembedding))
            {
                let unembedding = Unembedding::load(&mut received.loose, &self.config, embedding)?;
                received.untied = self.config.tie_word_embeddings && !unembedding.is_tied_to(embedding);
                received.unembedding = Some(Rc::new(unembedding));
            }
        }
        drop(guard);
        self.tick.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Takes rows of a table, from row `first` on.
    pub fn offer_rows(&self, table: Table, first: u32, values: Rc<Vec<f32>>) {
        let mut received = self.received.borrow_mut();
        if !received.tables.contains_key(&table) {
            received.rows.entry(table).or_default().insert(first, values);
        }
        drop(received);
        self.tick.send_modify(|count| *count += 1);
    }

    /// A file's bytes are being compared with what its hub says of them: until [`StreamingModel::checked`] nothing that was
    /// computed with them is final.
    pub fn checking(&self) {
        self.received.borrow_mut().unchecked += 1;
    }

    /// A file's bytes are what its hub says.
    pub fn checked(&self) {
        let mut received = self.received.borrow_mut();
        received.unchecked = received.unchecked.saturating_sub(1);
        drop(received);
        self.tick.send_modify(|count| *count += 1);
    }

    /// Waits for the end of the comparisons under way.
    ///
    /// # Errors
    /// `CorruptDownload`, and whatever else ended the loading.
    pub async fn all_checked(&self) -> Result<()> {
        self.wait(|received| (received.unchecked == 0).then_some(())).await
    }

    /// Tells everyone who waits that no more will come.
    pub fn fail(&self, error: Error) {
        self.received.borrow_mut().failure = Some(error);
        self.tick.send_modify(|count| *count += 1);
    }

    /// Blocks that have arrived.
    pub fn blocks_ready(&self) -> usize {
        self.received.borrow().blocks.iter().flatten().count()
    }

    /// Whether the unembedding has arrived.
    pub fn has_unembedding(&self) -> bool {
        self.received.borrow().unembedding.is_some()
    }

    /// A tensor that has not arrived, the first by name; `None` once all have.
    pub fn first_missing(&self) -> Option<String> {
        self.received.borrow().part_of.keys().min().cloned()
    }

    /// Waits for the rows that these ids, the first of them at position `first`, need: of the token table and of the
    /// position table, `[T, D]` each. They must have been checked, and asked for ([`LoadRequests::rows`]).
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn rows(&self, ids: &[u32], first: usize) -> Result<(Tensor, Tensor)> {
        let positions: Vec<u32> = (first as u32..(first + ids.len()) as u32).collect();
        let width = self.config.n_embd;
        let tokens = self.wait(|received| received.select(Table::Tokens, ids, width)).await??;
        let positions = self.wait(|received| received.select(Table::Positions, &positions, width)).await??;
        Ok((tokens, positions))
    }

    /// Waits for block `layer`.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn block(&self, layer: usize) -> Result<Rc<Block>> {
        self.wait(|received| received.blocks.get(layer).cloned().flatten()).await
    }

    /// The blocks from one on, as many as are here; waits for the first.
    ///
    /// # Errors
    /// Whatever ended the loading.
    pub async fn blocks(&self, first: usize) -> Result<Vec<Rc<Block>>> {
        self.wait(|received| {
            let here: Vec<_> = received.blocks.iter().skip(first).map_while(Clone::clone).collect();
            (!here.is_empty()).then_some(here)
        })
        .await
    }

    /// Refuses what needs an unembedding, where there will be none.
    ///
    /// # Errors
    /// `NoUnembedding`.
    pub fn require_unembedding(&self) -> Result<(), ModelError> {
        if self.config.lm_head == LmHead::Absent { Err(ModelError::NoUnembedding) } else { Ok(()) }
    }

    /// Whether an unembedding has come that the settings tie to the embedding, and that differs; said once.
    pub fn found_untied(&self) -> bool {
        std::mem::take(&mut self.received.borrow_mut().untied)
    }

    /// Waits for the unembedding.
    ///
    /// # Errors
    /// Whatever ended the loading; `NoUnembedding`.
    pub async fn unembedding(&self) -> Result<Rc<Unembedding>> {
        self.require_unembedding()?;
        self.wait(|received| received.unembedding.clone()).await
    }

    /// Scores of every token id by rows of a stream, `[N, D]` to `[N, V]`: the final layer norm and the unembedding, by all
    /// workers.
    ///
    /// # Errors
    /// Whatever ended the loading; candle's, and a helper's.
    pub async fn logits(&self, rows: &Tensor) -> Result<PooledTensor> {
        let unembedding = self.unembedding().await?;
        let normed = unembedding.norm(rows)?;
        self.normed_logits(&unembedding, &normed).await
    }

    /// The same for rows that need no norm.
    ///
    /// # Errors
    /// candle's, and a helper's.
    pub async fn normed_logits(&self, unembedding: &Unembedding, normed: &Tensor) -> Result<PooledTensor> {
        Ok(self.pool.logits(unembedding, normed).await?)
    }

    async fn wait<T>(&self, get: impl Fn(&Received) -> Option<T>) -> Result<T> {
        let mut ticks = self.tick.subscribe();
        loop {
            if let Some(part) = get(&self.received.borrow()) {
                return Ok(part);
            }
            if let Some(failure) = self.received.borrow().failure.clone() {
                return Err(failure);
            }
            // The sender lives as long as self, so this ends with a tick.
            let _ = ticks.changed().await;
        }
    }
}

impl Received {
    /// Rows of a table, `[N, width]`, if all of them are here.
    fn select(&self, table: Table, ids: &[u32], width: usize) -> Option<Result<Tensor>> {
        if let Some(tensor) = self.tables.get(&table) {
            let select = || tensor.index_select(&Tensor::new(ids, &Device::Cpu)?, 0);
            return Some(select().map_err(Error::from));
        }
        let rows = self.rows.get(&table)?;
        let mut values = Vec::with_capacity(ids.len() * width);
        for &id in ids {
            let (&first, run) = rows.range(..=id).next_back()?;
            let at = (id - first) as usize * width;
            values.extend_from_slice(run.get(at..at + width)?);
        }
        Some(Tensor::from_vec(values, (ids.len(), width), &Device::Cpu).map_err(Error::from))
    }
}
