//! One transfer: bytes from a server or from the cache, as often asked for as it takes, into the assembler and into
//! the cache.

use std::collections::VecDeque;
use std::ops::Range;

mod verify;

use sha2::{Digest, Sha256};

use crate::Result;
use crate::loading::cache::{CacheError, CacheStore, Extent};
use crate::loading::file_state::OpenResponse;
use crate::loading::index::Span;
use crate::loading::loader::Loader;
use crate::loading::plan::byte_ranges::ByteRanges;
use crate::loading::source::retry::{Backoff, Failure};
use crate::loading::source::{Attempt, Body, Files, absent};
use crate::loading::state::{Job, LoaderState};
use crate::loading::{LoadEvent, WeightsError};
use crate::model::checkpoint::Table;
use protocol::NoticeKind;

/// Bytes that the cache keeps as one, and is written and read at a time: what an interrupted visit may lose per
/// connection. In private windows every access costs a message to another process.
const CHUNK: u64 = 2 << 20;
/// Milliseconds that a run waits for a small file to prove right, before it is shown what has come.
const HELD: f64 = 400.0;
/// Pauses from this many milliseconds on are told.
const TOLD_PAUSE: f64 = 1000.0;

/// Bytes under way, and what is done with them besides arriving.
pub(crate) struct Download {
    pub file: usize,
    /// The place in the file of the next byte.
    at: u64,
    end: u64,
    /// Whether this reads a whole file front to back.
    whole: bool,
    pub hash: Option<Sha256>,
    /// What the cache is to keep, in order.
    chunks: VecDeque<Range<u64>>,
    /// The bytes of the first of them that are here, and how much was known to be damaged when it began.
    chunk: Vec<u8>,
    known_damage: usize,
}

/// How an attempt ended that did not fail.
enum Ended<F: Files> {
    Done,
    /// The server sends the whole file instead of the part.
    Whole(OpenResponse<F>),
}

impl<F: Files, K: CacheStore> Loader<F, K> {
    /// Does one job of the queue, with as many attempts as it takes.
    pub(crate) async fn run_job(&self, job: Job, report: &impl Fn(LoadEvent)) -> Result<()> {
        match job {
            Job::Release => {
                // Most small files are whole before this, and can then still be read again.
                self.cache.files.wait(HELD).await;
                self.release_held()
            }
            Job::Cached(file, extent) => self.take_from_cache(file, extent).await,
            Job::Fetch(span) => {
                let chunks = self.index.files[span.file].cut(&span.bytes, CHUNK).into();
                let hash = self.hash_of_held(span.file);
                let (file, at, end) = (span.file, span.bytes.start, span.bytes.end);
                let (chunk, known_damage) = (Vec::new(), 0);
                let download = Download { file, at, end, whole: false, hash, chunks, chunk, known_damage };
                self.fetch(download, None, report).await
            }
            Job::Whole(file) => {
                let (response, at, hash) = {
                    let mut state = self.state.borrow_mut();
                    let file_state = &mut state.files[file];
                    let hash = file_state.sha256.is_some().then(|| Sha256::new_with_prefix(&file_state.head));
                    if hash.is_some() {
                        self.model.checking();
                    }
                    (file_state.whole.replace(None).flatten(), file_state.head.len() as u64, hash)
                };
                let (end, chunks) = (self.index.files[file].header.file_size, self.chunks_of_file(file));
                let (chunk, known_damage) = (Vec::new(), 0);
                let download = Download { file, at, end, whole: true, hash, chunks, chunk, known_damage };
                self.fetch(download, response, report).await
            }
        }
    }

    /// The beginning of a small file's hash, if it comes in one piece.
    fn hash_of_held(&self, file: usize) -> Option<Sha256> {
        let state = self.state.borrow();
        let file_state = state.files.get(file)?;
        file_state.held.as_ref()?;
        self.model.checking();
        Some(Sha256::new_with_prefix(&file_state.head))
    }

    /// All wanted bytes of a file that are not in the cache, in chunks.
    fn chunks_of_file(&self, file: usize) -> VecDeque<Range<u64>> {
        let state = self.state.borrow();
        let indexed = &self.index.files[file];
        let mut missing = ByteRanges::default();
        for located in &indexed.wanted {
            missing.add(located.info.begin..located.info.end);
        }
        for extent in state.files[file].log.iter().flat_map(|log| log.extents()) {
            missing.remove(extent.begin..extent.end);
        }
        missing.iter().flat_map(|range| indexed.cut(&range, CHUNK)).collect()
    }

    async fn take_from_cache(&self, file: usize, extent: Extent) -> Result<()> {
        {
            let mut guard = self.state.borrow_mut();
            let state = &mut *guard;
            let mut bytes = std::mem::take(&mut state.buffer);
            let read = match state.files[file].log.as_mut() {
                Some(log) => log.read(extent, &mut bytes),
                None => Ok(false),
            };
            match read {
                Ok(true) => {
                    // An extent may hold rows of a table besides what it was taken for: none of it comes again.
                    for table in [Table::Tokens, Table::Positions] {
                        let Some((_, located)) = self.index.find(table.tensor()).filter(|(of, _)| *of == file) else {
                            continue;
                        };
                        let bytes = extent.begin.max(located.info.begin)..extent.end.min(located.info.end);
                        state.assembler.expect_rows(table, &Span { file, bytes })?;
                    }
                    let (_, arrived) = state.assembler.write(file, extent.begin, &bytes)?;
                    state.cached += extent.end - extent.begin;
                    state.buffer = bytes;
                    self.deliver(state, file, arrived)?;
                }
                other => {
                    if let Err(error) = other {
                        state.stop_keeping(file, &error);
                    }
                    state.plan_again(&Span { file, bytes: extent.begin..extent.end });
                }
            }
        }
        self.cache.files.turn().await;
        Ok(())
    }

    /// Asks for bytes until they are all here, or there is no point in going on.
    async fn fetch(
        &self,
        mut download: Download,
        mut response: Option<OpenResponse<F>>,
        report: &impl Fn(LoadEvent),
    ) -> Result<()> {
        let mut backoff = Backoff::default();
        loop {
            let file = download.file;
            if !download.whole && self.state.borrow().files[file].whole.is_some() {
                return Ok(()); // Its bytes come with the whole file.
            }
            match self.attempt(&mut download, &mut backoff, response.take(), report).await {
                Ok(Ended::Done) => return self.finish(download),
                Ok(Ended::Whole(response)) => {
                    if download.hash.is_some() {
                        self.model.checked(); // the whole file will be compared instead
                    }
                    return self.switch_to_whole(file, response);
                }
                Err(failure) => {
                    let message = failure.error.message.clone();
                    let pause = backoff.after(failure)?;
                    if pause >= TOLD_PAUSE {
                        let message = format!("{message} Trying again in {:.0} s.", pause / 1000.0);
                        self.state.borrow_mut().notice(NoticeKind::Retrying, message);
                        self.say(report);
                    }
                    self.cache.files.wait(pause).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        download: &mut Download,
        backoff: &mut Backoff,
        response: Option<OpenResponse<F>>,
        report: &impl Fn(LoadEvent),
    ) -> Attempt<Ended<F>> {
        let name = &self.index.files[download.file].name;
        let (mut answer, mut rest, mut here) = match response {
            Some(OpenResponse { answer, rest, at }) => (answer, rest, at),
            None => {
                let asked = self.cache.files.ask(name, Some(download.at..download.end)).await?;
                let answer = asked.ok_or_else(|| Failure::lasting(absent(&self.cache.files, name)))?;
                self.check_validator(download.file, &answer.validator)?;
                if answer.begin > download.at || (answer.begin < download.at && !answer.is_whole) {
                    let (asked, found) = (download.at, answer.begin);
                    let why = format!("asked for bytes from {asked} on, the server sent bytes from {found} on");
                    return Err(Failure::passing(WeightsError::Network { url: name.clone(), why }));
                }
                if answer.is_whole && !download.whole {
                    return Ok(Ended::Whole(OpenResponse { answer, rest: Vec::new(), at: 0 }));
                }
                let here = answer.begin;
                (answer, Vec::new(), here)
            }
        };
        loop {
            if here < download.at {
                let skip = usize::try_from(download.at - here).unwrap_or(usize::MAX).min(rest.len());
                rest.drain(..skip);
                here += skip as u64;
            }
            if here == download.at && !rest.is_empty() {
                let room = usize::try_from(download.end - download.at).unwrap_or(usize::MAX).min(rest.len());
                let taken = self.feed(download, &rest[..room]).map_err(Failure::lasting)?;
                rest.drain(..taken);
                here += taken as u64;
                if taken > 0 {
                    backoff.progress();
                }
                self.say(report);
            }
            if download.at >= download.end {
                if download.whole && rest.is_empty() {
                    // All that is wanted is here: that the end does not come is no failure.
                    rest = answer.body.next().await.ok().flatten().unwrap_or_default();
                }
                if download.whole && !rest.is_empty() {
                    let (file, size) = (name.clone(), download.end);
                    let why = format!("it goes on after the {size} bytes that its header accounts for");
                    return Err(Failure::lasting(WeightsError::BadSafetensors { file, why }));
                }
                return Ok(Ended::Done);
            }
            match answer.body.next().await? {
                Some(bytes) => {
                    if rest.is_empty() {
                        rest = bytes;
                    } else {
                        rest.extend(bytes);
                    }
                }
                None => {
                    let (file, expected, found) = (name.clone(), download.end, here);
                    if self.cache.files.is_local() {
                        // It was whole when its header was read.
                        return Err(Failure::lasting(WeightsError::CutOff { file, expected, found }));
                    }
                    return Err(Failure::passing(WeightsError::CorruptDownload { file, expected, found }));
                }
            }
        }
    }

    /// Takes the next bytes of a download; returns how many.
    fn feed(&self, download: &mut Download, bytes: &[u8]) -> Result<usize> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let (taken, arrived) = state.assembler.write(download.file, download.at, bytes)?;
        let bytes = &bytes[..taken];
        if let Some(hash) = &mut download.hash {
            hash.update(bytes);
        }
        state.files[download.file].fetched = true;
        if let Err(error) = keep(state, download, bytes) {
            state.stop_keeping(download.file, &error);
        }
        download.at += taken as u64;
        if self.deliver(state, download.file, arrived)? && download.hash.take().is_some() {
            // What is read again comes apart from this; there is no whole to compare any more.
            self.model.checked();
        }
        Ok(taken)
    }

    fn switch_to_whole(&self, file: usize, response: OpenResponse<F>) -> Result<()> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        if state.files[file].whole.is_some() {
            return Ok(());
        }
        for located in &self.index.files[file].wanted {
            if let Some(table) = Table::of(&located.name) {
                let arrived = state.assembler.expect_table(table)?;
                self.deliver(state, file, arrived)?;
            }
        }
        state.read_whole(file, Some(response));
        let place = self.cache.files.place();
        state.notice(NoticeKind::NoRanges, format!("{place} does not send parts of files: it is read front to back."));
        Ok(())
    }
}

/// Puts bytes of a download into the cache, chunk by chunk.
fn keep<F: Files, K: CacheStore>(
    state: &mut LoaderState<F, K>,
    download: &mut Download,
    bytes: &[u8],
) -> Result<(), CacheError> {
    let Some(log) = state.files[download.file].log.as_mut() else {
        download.chunk = Vec::new();
        return Ok(());
    };
    let (mut at, mut bytes) = (download.at, bytes);
    while let Some(chunk) = download.chunks.front().filter(|_| !bytes.is_empty()) {
        let next = chunk.start + download.chunk.len() as u64;
        let before = usize::try_from(next.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        (at, bytes) = (at + before as u64, &bytes[before..]);
        if download.chunk.is_empty() {
            download.known_damage = state.damaged.len();
        }
        let now = usize::try_from(chunk.end - next).unwrap_or(usize::MAX).min(bytes.len());
        download.chunk.extend_from_slice(&bytes[..now]);
        (at, bytes) = (at + now as u64, &bytes[now..]);
        if download.chunk.len() as u64 == chunk.end - chunk.start {
            // A tensor of these bytes may have proved damaged meanwhile.
            let damaged = &state.damaged[download.known_damage..];
            let touched = |span: &Span| {
                span.file == download.file && span.bytes.start < chunk.end && chunk.start < span.bytes.end
            };
            if !damaged.iter().any(touched) {
                let mut writing = log.begin(chunk.start, chunk.end - chunk.start)?;
                log.write(&mut writing, &download.chunk)?;
                log.finish(writing)?;
            }
            download.chunk.clear();
            download.chunks.pop_front();
        }
    }
    Ok(())
}
