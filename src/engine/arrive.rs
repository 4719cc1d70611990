//! The loader's loop: plans what is wanted next, keeps a few transfers going, and hands on what arrives.
//!
//! The order is [`Stage`]'s: rows of a waiting text, block after block, the final layer norm, the rest of the two
//! tables. While a run waits for its first point, nothing but that is asked for; while one is among the blocks, the
//! rest of the tables waits.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashSet};
use std::pin::pin;
use std::rc::Rc;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;

use super::load::{Begun, News};
use super::parts::Parts;
use crate::Result;
use crate::model::checkpoint::Part;
use crate::protocol::{Notice, NoticeKind, Phase, Progress};
use crate::weights::arrivals::{Arrivals, Arrived};
use crate::weights::index::{Index, Located, Span};
use crate::weights::plan::{Planner, RowPlan, Table};
use crate::weights::store::{Extent, Identity, Keep, Pieces};
use crate::weights::visit::{Visit, storage_notice};
use crate::weights::{Files, WeightsError};

/// What is read first: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// What a text needs of the two tables; bytes that proved damaged; small files.
    Rows,
    /// Block l.
    Block(usize),
    /// The final layer norm.
    Norm,
    /// The rest of the tables, and an unembedding of its own.
    Rest,
}

/// One thing to do.
pub(super) enum Job {
    /// Ask the server for bytes.
    Fetch(Span),
    /// Take bytes from the shelf.
    Kept(usize, Extent),
    /// Read a whole file front to back, since its server does not send parts.
    Whole(usize),
}

/// A weights file while it arrives.
pub(super) struct Source<F: Files, K: Keep> {
    pub name: String,
    pub identity: Identity,
    /// What the hub says of the whole file.
    pub sha256: Option<String>,
    pub pieces: Option<Pieces<K::Disk>>,
    /// The 8 bytes of length and the header.
    pub head: Vec<u8>,
    /// Set for a file that comes only whole; with the answer that has begun.
    pub whole: Option<Option<Begun<F>>>,
    /// Extents on the shelf that have not been taken yet.
    pub kept: Vec<Extent>,
    /// Tensors of a small file that are held back until it proves right, or until a run waits for them.
    pub held: Option<Vec<Arrived>>,
    /// Whether any byte came from the network in this visit.
    pub fetched: bool,
}

impl<F: Files, K: Keep> Source<F, K> {
    pub fn new(
        name: &str,
        identity: Identity,
        sha256: Option<String>,
        pieces: Option<Pieces<K::Disk>>,
        head: Vec<u8>,
    ) -> Source<F, K> {
        let kept = pieces.as_ref().map(Pieces::extents).unwrap_or_default();
        let kept = kept.into_iter().filter(|extent| extent.begin >= head.len() as u64).collect();
        let (name, fetched) = (name.to_string(), false);
        Source { name, identity, sha256, pieces, head, whole: None, kept, held: None, fetched }
    }
}

/// The bytes on their way, and where they go.
pub(super) struct Arrival<F: Files, K: Keep> {
    pub visit: Visit<F, K>,
    pub index: Rc<Index>,
    pub parts: Rc<Parts>,
    pub state: RefCell<State<F, K>>,
    parallel: usize,
}

/// What changes while bytes arrive.
pub(super) struct State<F: Files, K: Keep> {
    pub planner: Planner,
    pub arrivals: Arrivals,
    queue: BTreeMap<(Stage, usize), Job>,
    queued: usize,
    pub sources: Vec<Source<F, K>>,
    /// Tensors that came damaged once.
    pub damaged_once: HashSet<String>,
    /// Bytes that proved damaged, in the order of the discovery.
    pub damaged: Vec<Span>,
    /// Bytes that came from the shelf.
    pub cached: u64,
    /// For what is read from the shelf, piece after piece.
    pub buffer: Vec<u8>,
    rest_planned: bool,
    wrote_about: bool,
    pub notices: Vec<Notice>,
}

impl<F: Files, K: Keep> State<F, K> {
    fn push(&mut self, stage: Stage, job: Job) {
        self.queued += 1;
        self.queue.insert((stage, self.queued), job);
    }

    fn push_all(&mut self, stage: Stage, spans: Vec<Span>) {
        for span in spans {
            self.push(stage, Job::Fetch(span));
        }
    }

    /// Plans tensors: first what the shelf has of them, then the rest.
    fn plan(&mut self, index: &Index, stage: Stage, wish: impl Fn(&Located) -> bool) {
        for (file, indexed) in index.files.iter().enumerate() {
            let runs: Vec<_> = indexed.wanted.iter().filter(|l| wish(l)).map(|l| l.info.begin..l.info.end).collect();
            self.take_kept(stage, file, |extent| {
                runs.iter().any(|run| run.start < extent.end && extent.begin < run.end)
            });
        }
        let spans = self.planner.tensors(wish);
        self.push_all(stage, spans);
    }

    /// Queues extents on the shelf that hold something of use.
    fn take_kept(&mut self, stage: Stage, file: usize, useful: impl Fn(&Extent) -> bool) -> Vec<Span> {
        let Some(source) = self.sources.get_mut(file) else { return Vec::new() };
        let (taken, left): (Vec<_>, Vec<_>) = source.kept.drain(..).partition(useful);
        source.kept = left;
        let mut spans = Vec::new();
        for extent in taken {
            let span = Span { file, bytes: extent.begin..extent.end };
            self.planner.note(&span);
            self.push(stage, Job::Kept(file, extent));
            spans.push(span);
        }
        spans
    }

    /// Plans bytes again that turned out to be no good.
    pub fn plan_again(&mut self, span: &Span) {
        if self.sources.get(span.file).is_some_and(|source| source.whole.is_some()) {
            // Its server sends nothing less than all of it.
            return self.push(Stage::Rows, Job::Whole(span.file));
        }
        let spans = self.planner.again(span);
        self.push_all(Stage::Rows, spans);
    }

    /// Fetches bytes again as they were fetched before: in one piece.
    pub fn fetch_again(&mut self, span: Span) {
        self.push(Stage::Rows, Job::Fetch(span));
    }

    /// Reads a file front to back from now on; what is queued of it comes that way.
    pub fn read_whole(&mut self, file: usize, begun: Option<Begun<F>>) {
        let Some(source) = self.sources.get_mut(file) else { return };
        source.whole = Some(begun);
        self.queue.retain(|_, job| !matches!(job, Job::Fetch(span) if span.file == file));
        let end = source.head.len() as u64..u64::MAX;
        self.planner.note(&Span { file, bytes: end });
        self.push(Stage::Rows, Job::Whole(file));
    }

    pub fn notice(&mut self, kind: NoticeKind, message: String) {
        self.notices.push(Notice { kind, message });
    }

    /// Stops keeping pieces of a file; what is kept stays.
    pub fn stop_keeping(&mut self, file: usize, error: &crate::weights::store::StoreError) {
        let Some(source) = self.sources.get_mut(file) else { return };
        if source.pieces.take().is_some() {
            let notice = storage_notice(error);
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
    }
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
        let state = State {
            planner: Planner::new(index.clone()),
            arrivals: Arrivals::new(index.clone()),
            queue: BTreeMap::new(),
            queued: 0,
            sources,
            damaged_once: HashSet::new(),
            damaged: Vec::new(),
            cached: 0,
            buffer: Vec::new(),
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
                let message = format!("{} does not send parts of files: it is read front to back.", self.visit.files.place());
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
        if self.parts.demand.lowest_layer().is_some() {
            self.release_held()?;
        }
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let positions = (0..wishes.positions.min(self.parts.config.n_positions as u32)).collect();
        for (table, rows) in [(Table::Tokens, wishes.tokens), (Table::Positions, positions)] {
            let Some((file, located)) = self.index.find(table.tensor()) else { continue };
            let (begin, grain) = (located.info.begin, located.grain());
            let place = |row: &u32| begin + u64::from(*row) * grain;
            let kept = state.take_kept(Stage::Rows, file, |extent| {
                rows.iter().any(|row| (extent.begin..extent.end).contains(&place(row)))
            });
            for span in kept {
                let bytes = span.bytes.start.max(begin)..span.bytes.end.min(located.info.end);
                state.arrivals.expect_rows(table, &Span { file, bytes })?;
            }
            match state.planner.rows(table, &rows) {
                RowPlan::Runs(spans) => {
                    for span in &spans {
                        state.arrivals.expect_rows(table, span)?;
                    }
                    state.push_all(Stage::Rows, spans);
                }
                RowPlan::Whole => self.plan_tables(state, Stage::Rows, &[table])?,
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
    fn release_held(&self) -> Result<()> {
        let mut state = self.state.borrow_mut();
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
            if running.is_empty() && self.state.borrow().arrivals.has_all() {
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
            if let Err(error) = self.verify_kept(file).await {
                self.close_files();
                self.visit.clear().await;
                return Err(error);
            }
        }
        let kept_all = self.close_files();
        self.visit.write_about(self.index.wanted_bytes(), kept_all).await;
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
        let notices = std::mem::take(&mut self.state.borrow_mut().notices);
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
                    if !state.damaged_once.insert(tensor.clone()) {
                        return Err(WeightsError::Damaged { file: name, tensor, at }.into());
                    }
                    if let Some(pieces) = state.sources.get_mut(file).and_then(|source| source.pieces.as_mut()) {
                        // What cannot be forgotten is found damaged again on the next visit.
                        let _ = pieces.forget(Extent { begin: span.bytes.start, end: span.bytes.end });
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
            Arrived::Rows(table, first, values) => {
                self.parts.offer_rows(table, first, values);
                Ok(())
            }
            Arrived::Damaged { .. } => Ok(()),
        }
    }
}
