//! One transfer: bytes from a server or from the shelf, as often asked for as it takes, into the arrivals and onto
//! the shelf.

use std::collections::VecDeque;
use std::ops::Range;

use sha2::{Digest, Sha256};

use super::arrive::Arrival;
use super::queue::{Begun, Job, State};
use super::{News, absent};
use crate::Result;
use crate::weights::byte_ranges::ByteRanges;
use crate::weights::files::{Asked, Body};
use crate::weights::index::Span;
use crate::weights::plan::Table;
use crate::weights::retry::{Failure, Patience};
use crate::weights::store::{Extent, Keep, StoreError};
use crate::weights::{Files, WeightsError};
use protocol::NoticeKind;

/// Bytes that the shelf keeps as one, and is written and read at a time: what an interrupted visit may lose per
/// connection. In private windows every access costs a message to another process.
const CHUNK: u64 = 2 << 20;
/// Milliseconds that a run waits for a small file to prove right, before it is shown what has come.
const HELD: f64 = 400.0;
/// Pauses from this many milliseconds on are told.
const TOLD_PAUSE: f64 = 1000.0;

/// Bytes under way, and what is done with them besides arriving.
pub(super) struct Course {
    pub file: usize,
    /// The next byte.
    at: u64,
    end: u64,
    /// Whether this reads a whole file front to back.
    whole: bool,
    pub hash: Option<Sha256>,
    /// What the shelf is to keep, in order.
    chunks: VecDeque<Range<u64>>,
    /// The bytes of the first of them that are here, and how much was known to be damaged when it began.
    chunk: Vec<u8>,
    known_damage: usize,
}

/// How an attempt ended that did not fail.
enum Ended<F: Files> {
    Done,
    /// The server sends the whole file instead of the part.
    Whole(Begun<F>),
}

impl<F: Files, K: Keep> Arrival<F, K> {
    /// Does one job.
    pub(super) async fn transfer(&self, job: Job, report: &impl Fn(News)) -> Result<()> {
        match job {
            Job::Release => {
                // Most small files are whole before this, and can then still be read again.
                self.visit.files.wait(HELD).await;
                self.release_held()
            }
            Job::Kept(file, extent) => self.take_from_shelf(file, extent).await,
            Job::Fetch(span) => {
                let chunks = self.index.files[span.file].cut(&span.bytes, CHUNK).into();
                let hash = self.hash_of_held(span.file);
                let (file, at, end) = (span.file, span.bytes.start, span.bytes.end);
                let (chunk, known_damage) = (Vec::new(), 0);
                let course = Course { file, at, end, whole: false, hash, chunks, chunk, known_damage };
                self.fetch(course, None, report).await
            }
            Job::Whole(file) => {
                let (begun, at, hash) = {
                    let mut state = self.state.borrow_mut();
                    let source = &mut state.sources[file];
                    let hash = source.sha256.is_some().then(|| Sha256::new_with_prefix(&source.head));
                    if hash.is_some() {
                        self.parts.checking();
                    }
                    (source.whole.replace(None).flatten(), source.head.len() as u64, hash)
                };
                let (end, chunks) = (self.index.files[file].header.file_size, self.chunks_of_file(file));
                let (chunk, known_damage) = (Vec::new(), 0);
                let course = Course { file, at, end, whole: true, hash, chunks, chunk, known_damage };
                self.fetch(course, begun, report).await
            }
        }
    }

    /// The beginning of a small file's hash, if it comes in one piece.
    fn hash_of_held(&self, file: usize) -> Option<Sha256> {
        let state = self.state.borrow();
        let source = state.sources.get(file)?;
        source.held.as_ref()?;
        self.parts.checking();
        Some(Sha256::new_with_prefix(&source.head))
    }

    /// All wanted bytes of a file that are not on the shelf, in chunks.
    fn chunks_of_file(&self, file: usize) -> VecDeque<Range<u64>> {
        let state = self.state.borrow();
        let indexed = &self.index.files[file];
        let mut missing = ByteRanges::default();
        for located in &indexed.wanted {
            missing.add(located.info.begin..located.info.end);
        }
        for extent in state.sources[file].pieces.iter().flat_map(|pieces| pieces.extents()) {
            missing.remove(extent.begin..extent.end);
        }
        missing.iter().flat_map(|range| indexed.cut(&range, CHUNK)).collect()
    }

    async fn take_from_shelf(&self, file: usize, extent: Extent) -> Result<()> {
        {
            let mut guard = self.state.borrow_mut();
            let state = &mut *guard;
            let mut bytes = std::mem::take(&mut state.buffer);
            let read = match state.sources[file].pieces.as_mut() {
                Some(pieces) => pieces.read(extent, &mut bytes),
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
                        state.arrivals.expect_rows(table, &Span { file, bytes })?;
                    }
                    let (_, arrived) = state.arrivals.write(file, extent.begin, &bytes)?;
                    state.cached += extent.end - extent.begin;
                    state.buffer = bytes;
                    self.hand_on(state, file, arrived)?;
                }
                other => {
                    if let Err(error) = other {
                        state.stop_keeping(file, &error);
                    }
                    state.plan_again(&Span { file, bytes: extent.begin..extent.end });
                }
            }
        }
        self.visit.files.turn().await;
        Ok(())
    }

    /// Asks for bytes until they are all here, or there is no point in going on.
    async fn fetch(&self, mut course: Course, mut begun: Option<Begun<F>>, report: &impl Fn(News)) -> Result<()> {
        let mut patience = Patience::default();
        loop {
            let file = course.file;
            if !course.whole && self.state.borrow().sources[file].whole.is_some() {
                return Ok(()); // Its bytes come with the whole file.
            }
            match self.attempt(&mut course, &mut patience, begun.take(), report).await {
                Ok(Ended::Done) => return self.finish(course),
                Ok(Ended::Whole(begun)) => {
                    if course.hash.is_some() {
                        self.parts.checked(); // the whole file will be compared instead
                    }
                    return self.switch_to_whole(file, begun);
                }
                Err(failure) => {
                    let message = failure.error.message.clone();
                    let pause = patience.after(failure)?;
                    if pause >= TOLD_PAUSE {
                        let message = format!("{message} Trying again in {:.0} s.", pause / 1000.0);
                        self.state.borrow_mut().notice(NoticeKind::Retrying, message);
                        self.say(report);
                    }
                    self.visit.files.wait(pause).await;
                }
            }
        }
    }

    async fn attempt(
        &self,
        course: &mut Course,
        patience: &mut Patience,
        begun: Option<Begun<F>>,
        report: &impl Fn(News),
    ) -> Asked<Ended<F>> {
        let name = &self.index.files[course.file].name;
        let (mut answer, mut rest, mut here) = match begun {
            Some(Begun { answer, rest, at }) => (answer, rest, at),
            None => {
                let asked = self.visit.files.ask(name, Some(course.at..course.end)).await?;
                let answer = asked.ok_or_else(|| Failure::lasting(absent(&self.visit.files, name)))?;
                self.check_stamp(course.file, &answer.stamp)?;
                if answer.begin > course.at || (answer.begin < course.at && !answer.is_whole) {
                    let (asked, found) = (course.at, answer.begin);
                    let why = format!("asked for bytes from {asked} on, the server sent bytes from {found} on");
                    return Err(Failure::passing(WeightsError::Network { url: name.clone(), why }));
                }
                if answer.is_whole && !course.whole {
                    return Ok(Ended::Whole(Begun { answer, rest: Vec::new(), at: 0 }));
                }
                let here = answer.begin;
                (answer, Vec::new(), here)
            }
        };
        loop {
            if here < course.at {
                let skip = usize::try_from(course.at - here).unwrap_or(usize::MAX).min(rest.len());
                rest.drain(..skip);
                here += skip as u64;
            }
            if here == course.at && !rest.is_empty() {
                let room = usize::try_from(course.end - course.at).unwrap_or(usize::MAX).min(rest.len());
                let taken = self.feed(course, &rest[..room]).map_err(Failure::lasting)?;
                rest.drain(..taken);
                here += taken as u64;
                if taken > 0 {
                    patience.progress();
                }
                self.say(report);
            }
            if course.at >= course.end {
                if course.whole && rest.is_empty() {
                    // All that is wanted is here: that the end does not come is no failure.
                    rest = answer.body.next().await.ok().flatten().unwrap_or_default();
                }
                if course.whole && !rest.is_empty() {
                    let (file, size) = (name.clone(), course.end);
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
                    let (file, expected, found) = (name.clone(), course.end, here);
                    if self.visit.files.is_local() {
                        // It was whole when its header was read.
                        return Err(Failure::lasting(WeightsError::CutOff { file, expected, found }));
                    }
                    return Err(Failure::passing(WeightsError::CorruptDownload { file, expected, found }));
                }
            }
        }
    }

    /// Takes the next bytes of a course; returns how many.
    fn feed(&self, course: &mut Course, bytes: &[u8]) -> Result<usize> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        let (taken, arrived) = state.arrivals.write(course.file, course.at, bytes)?;
        let bytes = &bytes[..taken];
        if let Some(hash) = &mut course.hash {
            hash.update(bytes);
        }
        state.sources[course.file].fetched = true;
        if let Err(error) = keep(state, course, bytes) {
            state.stop_keeping(course.file, &error);
        }
        course.at += taken as u64;
        if self.hand_on(state, course.file, arrived)? && course.hash.take().is_some() {
            // What is read again comes apart from this; there is no whole to compare any more.
            self.parts.checked();
        }
        Ok(taken)
    }

    fn switch_to_whole(&self, file: usize, begun: Begun<F>) -> Result<()> {
        let mut guard = self.state.borrow_mut();
        let state = &mut *guard;
        if state.sources[file].whole.is_some() {
            return Ok(());
        }
        for located in &self.index.files[file].wanted {
            if let Some(table) = Table::of(&located.name) {
                let arrived = state.arrivals.expect_table(table)?;
                self.hand_on(state, file, arrived)?;
            }
        }
        state.read_whole(file, Some(begun));
        let place = self.visit.files.place();
        state.notice(NoticeKind::NoRanges, format!("{place} does not send parts of files: it is read front to back."));
        Ok(())
    }
}

/// Puts bytes of a course onto the shelf, chunk by chunk.
fn keep<F: Files, K: Keep>(state: &mut State<F, K>, course: &mut Course, bytes: &[u8]) -> Result<(), StoreError> {
    let Some(pieces) = state.sources[course.file].pieces.as_mut() else {
        course.chunk = Vec::new();
        return Ok(());
    };
    let (mut at, mut bytes) = (course.at, bytes);
    while let Some(chunk) = course.chunks.front().filter(|_| !bytes.is_empty()) {
        let next = chunk.start + course.chunk.len() as u64;
        let before = usize::try_from(next.saturating_sub(at)).unwrap_or(usize::MAX).min(bytes.len());
        (at, bytes) = (at + before as u64, &bytes[before..]);
        if course.chunk.is_empty() {
            course.known_damage = state.damaged.len();
        }
        let now = usize::try_from(chunk.end - next).unwrap_or(usize::MAX).min(bytes.len());
        course.chunk.extend_from_slice(&bytes[..now]);
        (at, bytes) = (at + now as u64, &bytes[now..]);
        if course.chunk.len() as u64 == chunk.end - chunk.start {
            // A tensor of these bytes may have proved damaged meanwhile.
            let damaged = &state.damaged[course.known_damage..];
            let touched =
                |span: &Span| span.file == course.file && span.bytes.start < chunk.end && chunk.start < span.bytes.end;
            if !damaged.iter().any(touched) {
                let mut writing = pieces.begin(chunk.start, chunk.end - chunk.start)?;
                pieces.write(&mut writing, &course.chunk)?;
                pieces.finish(writing)?;
            }
            course.chunk.clear();
            course.chunks.pop_front();
        }
    }
    Ok(())
}
