//! How the weights of blocks are packed as they come: a part for every worker.

use std::cell::RefCell;
use std::collections::TryReserveError;

use super::shards::{Shard, shard};
use crate::model::Config;
use crate::model::checkpoint::within_block;
use crate::model::linear::PACKS;
use crate::model::linear::packing::Packing;
use crate::model::linear::panels::Panels;

/// Says how, and has the memory for it.
pub struct Packer {
    config: Config,
    shards: Vec<Shard>,
    /// Panels that were sent to another worker, to be packed into again: to have memory made anew takes longer than to
    /// fill it.
    sent: RefCell<Vec<Panels>>,
}

impl Packer {
    /// For so many workers.
    pub fn new(config: &Config, workers: usize) -> Packer {
        Packer { config: config.clone(), shards: shard(config, workers), sent: RefCell::default() }
    }

    /// The settings of the model that is packed.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What each worker holds, the first first.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// Whether tensors of blocks are packed, or divided among workers.
    pub fn is_needed(&self) -> bool {
        PACKS || self.shards.len() > 1
    }

    /// A packing for a tensor, by its plain name, with a part for every worker; `None` for those that stay as they are.
    ///
    /// # Errors
    /// Where the allocator has no room for it.
    pub fn packing(&self, name: &str) -> Result<Option<Packing>, TryReserveError> {
        let Some(tensor) = within_block(name).filter(|_| self.is_needed()) else { return Ok(None) };
        let cuts: Vec<_> = self.shards.iter().filter_map(|shard| shard.cut(&self.config, tensor)).collect();
        let Some((stride, _)) = cuts.first() else { return Ok(None) };
        Packing::new(*stride, cuts.iter().map(|(_, cut)| cut.clone()), &mut self.sent.borrow_mut()).map(Some)
    }

    /// Takes panels back that were sent.
    pub fn take_back(&self, panels: Panels) {
        self.sent.borrow_mut().push(panels);
    }

    /// Lets go of the memory: the blocks are here.
    pub fn finish(&self) {
        self.sent.borrow_mut().clear();
    }
}
