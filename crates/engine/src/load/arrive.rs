//! The loader's loop: plans what is wanted next, keeps a few transfers going, and hands on what arrives.
//!
//! The order is [`Stage`]'s: rows of a waiting text, block after block, the final layer norm, the rest of the two
//! tables. While a run waits for its first point, nothing but that is asked for; while one is among the blocks, the
//! rest of the tables waits.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap};
use std::pin::pin;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;

use super::News;
use super::queue::{Job, Source, Stage, State};
use super::remarks::untied;
use crate::Result;
use crate::model::checkpoint::Part;
use crate::run::parts::Parts;
use crate::weights::arrivals::{Arrivals, Arrived};
use crate::weights::index::{Index, Located};
use crate::weights::plan::{Planner, RowPlan, Table};
use crate::weights::store::{Extent, Keep, Pieces};
use crate::weights::visit::Visit;
use crate::weights::{Files, WeightsError};
use protocol::{NoticeKind, Phase, Progress};

/// The bytes on their way, and where they go.
pub(super) struct Arrival<F: Files, K: Keep> {
    pub visit: Visit<F, K>,
    pub index: Rc<Index>,
    pub parts: Rc<Parts>,
    pub state: RefCell<State<F, K>>,
    parallel: usize,
}

impl<F: Files, K: Keep> Arrival<F, K> {
    pub fn new(
        visit: Visit<F, K>,
        index: Index,
        sources: Vec<Source<F, K>>,
        parts: Rc<Parts>,
        parallel: usize,
    ) -> Result<Arrival<F, K>> {
        let index = Rc::new(index);
        let of_model = parts.clone();
        let packing = Box::new(move |located: &Located| of_model.packing(&located.name, located.part));
        let state = State {
            planner: Planner::new(index.clone()),
            arrivals: Arrivals::new(index.clone(), packing),
            queue: BTreeMap::new(),
            queued: 0,
            sources,
            damaged_once: HashMap::new(),
            damaged: Vec::new(),
            cached: 0,
            buffer: Vec::new(),
            releasing: false,
            rest_planned: false,
            wrote_about: false,
            notices: Vec::new(),
        };
        let arrival = Arrival { visit, index, parts, state: RefCell::new(state), parallel: parallel.max(1) };
        arrival.plan_start()?;
        Ok(arrival)
    }

    /// What is read whatever is asked: small files, files that come only whole, the blocks and the final layer norm.
    fn plan_start(&self) -> Result<()> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        for (file, indexed) in self.index.files.iter().enumerate() {
            let comes_whole = state.sources[file].whole.is_some();
            if !comes_whole && !state.planner.is_small(file) {
                continue;
            }
            for table in indexed.wanted.iter().filter_map(|located| Table::of(&located.name)) {
                let arrived = state.arrivals.expect_table(table)?;
                self.hand_on(state, file, arrived)?;
            }
            if comes_whole {
                let begun = state.sources[file].whole.take().flatten();
                state.read_whole(file, begun);
                let message =
                    format!("{} does not send parts of files: it is read front to back.", self.visit.files.place());
                state.notice(NoticeKind::NoRanges, message);
            } else {
                state.take_kept(Stage::Rows, file, |_| true);
                let spans = state.planner.file(file);
                let all = state.sources[file].head.len() as u64..indexed.header.file_size;
                // In one piece, it can be compared with the hub's hash.
                if state.sources[file].sha256.is_some() && matches!(spans.as_slice(), [span] if span.bytes == all) {
                    state.sources[file].held = Some(Vec::new());
                }
                state.push_all(Stage::Rows, spans);
            }
        }
        for layer in 0..self.parts.config.n_layer {
            state.plan(&self.index, Stage::Block(layer), |located| located.part == Part::Block(layer));
        }
        state.plan(&self.index, Stage::Norm, |located| {
            located.part == Part::Unembedding && located.info.shape.len() == 1
        });
        Ok(())
    }

    /// Plans what runs have asked for.
    fn plan_wishes(&self) -> Result<()> {
        let wishes = self.parts.demand.take();
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let held = state.sources.iter().any(|source| source.held.is_some());
        if held && !state.releasing && self.parts.demand.lowest_layer().is_some() {
            state.releasing = true;
            state.push(Stage::Rows, Job::Release);
        }
        let positions = (0..wishes.positions.min(self.parts.config.n_positions as u32)).collect();
        for (table, rows) in [(Table::Tokens, wishes.tokens), (Table::Positions, positions)] {
            let Some((file, located)) = self.index.find(table.tensor()) else { continue };
            let (begin, grain) = (located.info.begin, located.grain());
            let within =
                |bytes: std::ops::Range<u64>| rows.iter().any(|row| bytes.contains(&(begin + u64::from(*row) * grain)));
            state.take_kept(Stage::Rows, file, |extent| within(extent.begin..extent.end));
            let taken_back = state.bring_forward(|span| span.file == file && within(span.bytes.clone()));
            let arrived = state.arrivals.await_rows(table, rows.iter().copied());
            self.hand_on(state, file, arrived)?;
            match state.planner.rows(table, &rows) {
                RowPlan::Runs(spans) => {
                    for span in &spans {
                        state.arrivals.expect_rows(table, span)?;
                    }
                    state.push_all(Stage::Rows, spans);
                }
                RowPlan::Whole => self.plan_tables(state, Stage::Rows, &[table])?,
            }
            for (stage, span) in taken_back {
                let spans = state.planner.rest_of(&span);
                state.push_all(stage, spans);
            }
        }
        if wishes.everything && !state.rest_planned {
            state.rest_planned = true;
            self.plan_tables(state, Stage::Rest, &[Table::Positions, Table::Tokens])?;
            state.plan(&self.index, Stage::Rest, |_| true);
        }
        Ok(())
    }

    /// Hands on what was held back: a run waits for it. Its result will not be final before the file proves right.
    pub fn release_held(&self) -> Result<()> {
        let mut state = self.state.borrow_mut();
        state.releasing = false;
        let held: Vec<Arrived> = state.sources.iter_mut().filter_map(|source| source.held.take()).flatten().collect();
        held.into_iter().try_for_each(|arrived| self.offer(arrived))
    }

    fn plan_tables(&self, state: &mut State<F, K>, stage: Stage, tables: &[Table]) -> Result<()> {
        for table in tables {
            let Some((file, _)) = self.index.find(table.tensor()) else { continue };
            let arrived = state.arrivals.expect_table(*table)?;
            self.hand_on(state, file, arrived)?;
            state.plan(&self.index, stage, |located| located.name == table.tensor());
        }
        Ok(())
    }

    /// Whether a stage may be asked for now.
    fn may_go(&self, stage: Stage) -> bool {
        match self.parts.demand.lowest_layer() {
            Some(0) => stage <= Stage::Block(0),
            Some(layer) if layer < self.parts.config.n_layer => stage <= Stage::Norm,
            _ => true,
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.borrow_mut();
        let (stage, _) = *state.queue.first_key_value()?.0;
        if self.may_go(stage) { state.queue.pop_first().map(|(_, job)| job) } else { None }
    }

    /// Keeps transfers going until everything is here.
    pub async fn serve(&self, report: &impl Fn(News)) -> Result<()> {
        let mut changes = self.parts.demand.changes();
        let mut running = FuturesUnordered::new();
        self.check_room().await;
        loop {
            self.plan_wishes()?;
            while running.len() < self.parallel
                && let Some(job) = self.next_job()
            {
                running.push(self.transfer(job, report));
            }
            self.say(report);
            if self.is_complete(running.len()) {
                break;
            }
            let change = pin!(changes.changed());
            if running.is_empty() {
                if change.await.is_err() {
                    return Ok(());
                }
                continue;
            }
            match select(running.next(), change).await {
                Either::Left((Some(done), _)) => done?,
                Either::Left((None, _)) | Either::Right(_) => {}
            }
            self.write_about().await;
        }
        drop(running);
        self.complete(report).await
    }

    /// Whether everything is here, with nothing but a needless [`Job::Release`] under way.
    fn is_complete(&self, running: usize) -> bool {
        let state = self.state.borrow();
        let held = state.sources.iter().any(|source| source.held.is_some());
        running == usize::from(state.releasing) && !held && state.arrivals.has_all()
    }

    /// Gives up keeping before it begins where there is no room for all of it.
    async fn check_room(&self) {
        let missing: u64 = {
            let state = self.state.borrow();
            let keeping = state.sources.iter().filter_map(|source| source.pieces.as_ref());
            let kept: u64 = keeping.map(Pieces::bytes_kept).sum();
            if state.sources.iter().all(|source| source.pieces.is_none()) {
                return;
            }
            self.index.wanted_bytes().saturating_sub(kept)
        };
        if !self.visit.has_room(missing).await {
            let mut state = self.state.borrow_mut();
            let notices = self.visit.take_notices();
            state.notices.extend(notices);
            for source in &mut state.sources {
                if source.kept.is_empty() {
                    source.pieces = None;
                }
            }
        }
    }

    async fn write_about(&self) {
        if !std::mem::replace(&mut self.state.borrow_mut().wrote_about, true) {
            self.visit.write_about(self.index.wanted_bytes(), false).await;
        }
    }

    /// The last byte is here: the files are compared with the hub's hashes where that can still be done, and closed.
    async fn complete(&self, report: &impl Fn(News)) -> Result<()> {
        for file in 0..self.index.files.len() {
            let verified = match self.verify_kept(file).await {
                Ok(()) => self.look_for_changes(file).await,
                failed => failed,
            };
            if let Err(error) = verified {
                self.close_files();
                self.visit.clear().await;
                return Err(error);
            }
        }
        let kept_all = self.close_files();
        self.visit.write_about(self.index.wanted_bytes(), kept_all).await;
        self.state.borrow_mut().notices.extend(self.visit.take_notices());
        self.say(report);
        let phase = Phase::Build;
        report(News::Progress(Progress { phase, ..self.progress() }));
        Ok(())
    }

    /// Closes the shelf's files; says whether everything is on it.
    fn close_files(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.buffer = Vec::new();
        let mut all = true;
        for source in &mut state.sources {
            match source.pieces.take() {
                Some(mut pieces) => all &= pieces.flush().is_ok(),
                None => all = false,
            }
        }
        all
    }

    /// Reports how far it has come, and what came up.
    pub fn say(&self, report: &impl Fn(News)) {
        let mut notices = std::mem::take(&mut self.state.borrow_mut().notices);
        if self.parts.found_untied() {
            notices.push(untied());
        }
        for notice in notices {
            report(News::Notice(notice));
        }
        report(News::Progress(self.progress()));
    }

    fn progress(&self) -> Progress {
        let state = self.state.borrow();
        Progress {
            phase: Phase::Weights,
            loaded: state.arrivals.received() as f64,
            total: self.index.wanted_bytes() as f64,
            cached: state.cached as f64,
            memory: self.visit.files.memory(),
            blocks_ready: self.parts.blocks_ready(),
        }
    }

    /// Hands what has become whole to those who wait for it. What is damaged is read again, once; says whether
    /// anything was.
    pub fn hand_on(&self, state: &mut State<F, K>, file: usize, arrived: Vec<Arrived>) -> Result<bool> {
        let mut damage = false;
        for arrived in arrived {
            match arrived {
                Arrived::Damaged { span, tensor, at } => {
                    let name = state.sources.get(file).map(|source| source.name.clone()).unwrap_or_default();
                    if let Some(pieces) = state.sources.get_mut(file).and_then(|source| source.pieces.as_mut()) {
                        // What cannot be forgotten is found damaged again on the next visit.
                        let _ = pieces.forget(Extent { begin: span.bytes.start, end: span.bytes.end });
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
                whole => match state.sources.get_mut(file).and_then(|source| source.held.as_mut()) {
                    Some(held) => held.push(whole),
                    None => self.offer(whole)?,
                },
            }
        }
        Ok(damage)
    }

    pub fn offer(&self, arrived: Arrived) -> Result<()> {
        match arrived {
            Arrived::Tensor(name, tensor) => self.parts.offer(name, tensor),
            Arrived::Packed(name, packing) => self.parts.offer_packed(name, packing),
            Arrived::Rows(table, first, values) => {
                self.parts.offer_rows(table, first, values);
                Ok(())
            }
            Arrived::Damaged { .. } => Ok(()),
        }
    }
}
