//! What is shared by the loop that asks for bytes and the downloads that bring them: the files, what is known of them, and
//! the model that the tensors go to.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use crate::Result;
use crate::loading::assembler::{Assembled, TensorAssembler};
use crate::loading::cache::model_cache::ModelCache;
use crate::loading::cache::{CacheStore, Extent};
use crate::loading::file_state::FileState;
use crate::loading::index::Index;
use crate::loading::notices::untied;
use crate::loading::plan::Planner;
use crate::loading::source::Files;
use crate::loading::state::LoaderState;
use crate::loading::{LoadEvent, WeightsError};
use crate::run::streaming_model::StreamingModel;
use protocol::{Phase, Progress};

/// The bytes on their way, and where they go.
pub(crate) struct Loader<F: Files, K: CacheStore> {
    pub cache: ModelCache<F, K>,
    pub index: Rc<Index>,
    pub model: Rc<StreamingModel>,
    pub state: RefCell<LoaderState<F, K>>,
    /// Downloads at a time.
    pub parallel: usize,
}

impl<F: Files, K: CacheStore> Loader<F, K> {
    /// Of a model of which nothing has been asked for yet.
    pub fn new(
        cache: ModelCache<F, K>,
        index: Index,
        files: Vec<FileState<F, K>>,
        model: Rc<StreamingModel>,
        parallel: usize,
    ) -> Loader<F, K> {
        let index = Rc::new(index);
        let state = LoaderState {
            planner: Planner::new(index.clone()),
            assembler: TensorAssembler::new(index.clone(), model.pool.packer()),
            queue: BTreeMap::new(),
            queued: 0,
            files,
            damaged_once: HashMap::new(),
            damaged: Vec::new(),
            cached: 0,
            buffer: Vec::new(),
            releasing: false,
            rest_planned: false,
            wrote_manifest: false,
            notices: Vec::new(),
        };
        Loader { cache, index, model, state: RefCell::new(state), parallel: parallel.max(1) }
    }

    /// Hands on what was held back: a run waits for it. Its result will not be final before the file proves right.
    pub fn release_held(&self) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.releasing = false;
        let held: Vec<Assembled> =
            state.files.iter_mut().filter_map(|file_state| file_state.held.take()).flatten().collect();
        held.into_iter().try_for_each(|arrived| self.offer(arrived))
    }

    /// Reports how far it has come, and what came up.
    pub fn say(&self, report: &impl Fn(LoadEvent)) {
        let mut notices = std::mem::take(&mut self.state.borrow_mut().notices);
        if self.model.found_untied() {
            notices.push(untied());
        }
        for notice in notices {
            report(LoadEvent::Notice(notice));
        }
        report(LoadEvent::Progress(self.progress()));
    }

    pub fn progress(&self) -> Progress {
        let state = self.state.borrow();
        Progress {
            phase: Phase::Weights,
            loaded: state.assembler.received() as f64,
            total: self.index.wanted_bytes() as f64,
            cached: state.cached as f64,
            memory: self.cache.files.memory(),
            blocks_ready: self.model.blocks_ready(),
        }
    }

    /// Hands what has become whole to those who wait for it. What is damaged is read again, once; says whether
    /// anything was.
    pub fn deliver(&self, state: &mut LoaderState<F, K>, file: usize, arrived: Vec<Assembled>) -> Result<bool> {
        let mut damage = false;
        for arrived in arrived {
            match arrived {
                Assembled::Damaged { span, tensor, at } => {
                    let name = state.files.get(file).map(|file_state| file_state.name.clone()).unwrap_or_default();
                    if let Some(log) = state.files.get_mut(file).and_then(|file_state| file_state.log.as_mut()) {
                        // What cannot be forgotten is found damaged again on the next visit.
                        let _ = log.forget(Extent { begin: span.bytes.start, end: span.bytes.end });
                    }
                    let before = state.damaged_once.insert(format!("{tensor} at {}", span.bytes.start), at);
                    if let Some(before) = before {
                        let same = before == at;
                        return Err(match same {
                            true => WeightsError::NotFinite { file: name, tensor, at },
                            false => WeightsError::Damaged { file: name, tensor, at },
                        }
                        .into());
                    }
                    state.damaged.push(span.clone());
                    state.plan_again(&span);
                    damage = true;
                }
                whole => match state.files.get_mut(file).and_then(|file_state| file_state.held.as_mut()) {
                    Some(held) => held.push(whole),
                    None => self.offer(whole)?,
                },
            }
        }
        Ok(damage)
    }

    pub fn offer(&self, arrived: Assembled) -> Result<()> {
        match arrived {
            Assembled::Tensor(name, tensor) => self.model.offer(name, tensor),
            Assembled::Packed(name, packing) => self.model.offer_packed(name, packing),
            Assembled::Rows(table, first, values) => {
                self.model.offer_rows(table, first, values);
                Ok(())
            }
            Assembled::Damaged { .. } => Ok(()),
        }
    }
}
