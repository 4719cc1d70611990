//! The loader's loop: plans what is wanted next, keeps a few transfers going, and hands on what arrives.
//!
//! The order is [`Priority`]'s: rows of a waiting text, block after block, the final layer norm, the rest of the two
//! tables. While a run waits for its first point, nothing but that is asked for; while one is among the blocks, the
//! rest of the tables waits.

use std::pin::pin;

use futures_util::StreamExt;
use futures_util::future::{Either, select};
use futures_util::stream::FuturesUnordered;

use crate::Result;
use crate::loading::LoadEvent;
use crate::loading::cache::{CacheStore, ChunkLog};
use crate::loading::loader::Loader;
use crate::loading::plan::RowPlan;
use crate::loading::source::Files;
use crate::loading::state::{Job, LoaderState, Priority};
use crate::model::checkpoint::{Part, Table};
use protocol::{NoticeKind, Phase, Progress};

impl<F: Files, K: CacheStore> Loader<F, K> {
    /// What is read whatever is asked: small files, files that come only whole, the blocks and the final layer norm.
    pub fn plan_start(&self) -> Result<()> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        for (file, indexed) in self.index.files.iter().enumerate() {
            let comes_whole = state.files[file].whole.is_some();
            if !comes_whole && !state.planner.is_small(file) {
                continue;
            }
            for table in indexed.wanted.iter().filter_map(|located| Table::of(&located.name)) {
                let arrived = state.assembler.expect_table(table)?;
                self.deliver(state, file, arrived)?;
            }
            if comes_whole {
                let response = state.files[file].whole.take().flatten();
                state.read_whole(file, response);
                let message =
                    format!("{} does not send parts of files: it is read front to back.", self.cache.files.place());
                state.notice(NoticeKind::NoRanges, message);
            } else {
                state.take_cached(Priority::Rows, file, |_| true);
                let spans = state.planner.file(file);
                let all = state.files[file].head.len() as u64..indexed.header.file_size;
                // In one piece, it can be compared with the hub's hash.
                if state.files[file].sha256.is_some() && matches!(spans.as_slice(), [span] if span.bytes == all) {
                    state.files[file].held = Some(Vec::new());
                }
                state.push_all(Priority::Rows, spans);
            }
        }
        for layer in 0..self.model.config.n_layer {
            state.plan(&self.index, Priority::Block(layer), |located| located.part == Part::Block(layer));
        }
        state.plan(&self.index, Priority::Norm, |located| {
            located.part == Part::Unembedding && located.info.shape.len() == 1
        });
        Ok(())
    }

    /// Plans what runs have asked for.
    fn plan_requested(&self) -> Result<()> {
        let requested = self.model.requests.take();
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let held = state.files.iter().any(|file_state| file_state.held.is_some());
        if held && !state.releasing && self.model.requests.lowest_layer().is_some() {
            state.releasing = true;
            state.push(Priority::Rows, Job::Release);
        }
        let positions = (0..requested.positions.min(self.model.config.n_positions as u32)).collect();
        for (table, rows) in [(Table::Tokens, requested.tokens), (Table::Positions, positions)] {
            let Some((file, located)) = self.index.find(table.tensor()) else { continue };
            let (begin, grain) = (located.info.begin, located.grain());
            let within =
                |bytes: std::ops::Range<u64>| rows.iter().any(|row| bytes.contains(&(begin + u64::from(*row) * grain)));
            state.take_cached(Priority::Rows, file, |extent| within(extent.begin..extent.end));
            let taken_back = state.bring_forward(|span| span.file == file && within(span.bytes.clone()));
            let arrived = state.assembler.await_rows(table, rows.iter().copied());
            self.deliver(state, file, arrived)?;
            match state.planner.rows(table, &rows) {
                RowPlan::Spans(spans) => {
                    for span in &spans {
                        state.assembler.expect_rows(table, span)?;
                    }
                    state.push_all(Priority::Rows, spans);
                }
                RowPlan::Whole => self.plan_tables(state, Priority::Rows, &[table])?,
            }
            for (priority, span) in taken_back {
                let spans = state.planner.rest_of(&span);
                state.push_all(priority, spans);
            }
        }
        if requested.everything && !state.rest_planned {
            state.rest_planned = true;
            self.plan_tables(state, Priority::Rest, &[Table::Positions, Table::Tokens])?;
            state.plan(&self.index, Priority::Rest, |_| true);
        }
        Ok(())
    }

    fn plan_tables(&self, state: &mut LoaderState<F, K>, priority: Priority, tables: &[Table]) -> Result<()> {
        for table in tables {
            let Some((file, _)) = self.index.find(table.tensor()) else { continue };
            let arrived = state.assembler.expect_table(*table)?;
            self.deliver(state, file, arrived)?;
            state.plan(&self.index, priority, |located| located.name == table.tensor());
        }
        Ok(())
    }

    /// Whether a stage may be asked for now.
    fn may_go(&self, priority: Priority) -> bool {
        match self.model.requests.lowest_layer() {
            Some(0) => priority <= Priority::Block(0),
            Some(layer) if layer < self.model.config.n_layer => priority <= Priority::Norm,
            _ => true,
        }
    }

    fn next_job(&self) -> Option<Job> {
        let mut state = self.state.borrow_mut();
        let (priority, _) = *state.queue.first_key_value()?.0;
        if self.may_go(priority) { state.queue.pop_first().map(|(_, job)| job) } else { None }
    }

    /// Keeps transfers going until everything is here.
    pub async fn serve(&self, report: &impl Fn(LoadEvent)) -> Result<()> {
        let mut changes = self.model.requests.changes();
        let mut running = FuturesUnordered::new();
        self.check_room().await;
        loop {
            self.plan_requested()?;
            while running.len() < self.parallel
                && let Some(job) = self.next_job()
            {
                running.push(self.run_job(job, report));
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
            self.update_manifest().await;
        }
        drop(running);
        self.complete(report).await
    }

    /// Whether everything is here, with nothing but a needless [`Job::Release`] under way.
    fn is_complete(&self, running: usize) -> bool {
        let state = self.state.borrow();
        let held = state.files.iter().any(|file_state| file_state.held.is_some());
        running == usize::from(state.releasing) && !held && state.assembler.has_all()
    }

    /// Gives up keeping before it begins where there is no room for all of it.
    async fn check_room(&self) {
        let missing: u64 = {
            let state = self.state.borrow();
            let keeping = state.files.iter().filter_map(|file_state| file_state.log.as_ref());
            let cached: u64 = keeping.map(ChunkLog::bytes_cached).sum();
            if state.files.iter().all(|file_state| file_state.log.is_none()) {
                return;
            }
            self.index.wanted_bytes().saturating_sub(cached)
        };
        if !self.cache.has_room(missing).await {
            let mut state = self.state.borrow_mut();
            let notices = self.cache.take_notices();
            state.notices.extend(notices);
            for file_state in &mut state.files {
                if file_state.cached.is_empty() {
                    file_state.log = None;
                }
            }
        }
    }

    async fn update_manifest(&self) {
        if !std::mem::replace(&mut self.state.borrow_mut().wrote_manifest, true) {
            self.cache.update_manifest(self.index.wanted_bytes(), false).await;
        }
    }

    /// The last byte is here: the files are compared with the hub's hashes where that can still be done, and closed.
    async fn complete(&self, report: &impl Fn(LoadEvent)) -> Result<()> {
        for file in 0..self.index.files.len() {
            let verified = match self.verify_cached(file).await {
                Ok(()) => self.look_for_changes(file).await,
                failed => failed,
            };
            if let Err(error) = verified {
                self.close_files();
                self.cache.clear().await;
                return Err(error);
            }
        }
        let kept_all = self.close_files();
        self.cache.update_manifest(self.index.wanted_bytes(), kept_all).await;
        self.state.borrow_mut().notices.extend(self.cache.take_notices());
        self.say(report);
        let phase = Phase::Build;
        report(LoadEvent::Progress(Progress { phase, ..self.progress() }));
        Ok(())
    }

    /// Closes the cache's files; says whether everything is in it.
    fn close_files(&self) -> bool {
        let mut state = self.state.borrow_mut();
        state.buffer = Vec::new();
        let mut all = true;
        for file_state in &mut state.files {
            match file_state.log.take() {
                Some(mut log) => all &= log.flush().is_ok(),
                None => all = false,
            }
        }
        all
    }
}
