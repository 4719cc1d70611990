//! What is to be read, in which order, and what is known of the files meanwhile.

use std::collections::{BTreeMap, HashMap};

use crate::weights::Files;
use crate::weights::arrivals::{Arrivals, Arrived};
use crate::weights::files::Answer;
use crate::weights::index::{Index, Located, Span};
use crate::weights::plan::Planner;
use crate::weights::store::{Extent, Identity, Keep, Pieces, StoreError};
use crate::weights::visit::storage_notice;
use protocol::{Notice, NoticeKind};

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
    /// Hand on what is held back, if it has not proved right in a moment.
    Release,
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

/// An answer that has begun: the bytes that were read of it and not used yet, and the place of the first of them.
pub(super) struct Begun<F: Files> {
    pub answer: Answer<F::Body>,
    pub rest: Vec<u8>,
    pub at: u64,
}

/// What changes while bytes arrive.
pub(super) struct State<F: Files, K: Keep> {
    pub planner: Planner,
    pub arrivals: Arrivals,
    pub queue: BTreeMap<(Stage, usize), Job>,
    pub queued: usize,
    pub sources: Vec<Source<F, K>>,
    /// What came damaged once: a tensor or rows of it, with the first bad byte, or a file.
    pub damaged_once: HashMap<String, u64>,
    /// Bytes that proved damaged, in the order of the discovery.
    pub damaged: Vec<Span>,
    /// Bytes that came from the shelf.
    pub cached: u64,
    /// For what is read from the shelf, piece after piece.
    pub buffer: Vec<u8>,
    /// Whether what is held back is about to be handed on.
    pub releasing: bool,
    pub rest_planned: bool,
    pub wrote_about: bool,
    pub notices: Vec<Notice>,
}

impl<F: Files, K: Keep> State<F, K> {
    pub fn push(&mut self, stage: Stage, job: Job) {
        self.queued += 1;
        self.queue.insert((stage, self.queued), job);
    }

    pub fn push_all(&mut self, stage: Stage, spans: Vec<Span>) {
        for span in spans {
            self.push(stage, Job::Fetch(span));
        }
    }

    /// Plans tensors: first what the shelf has of them, then the rest.
    pub fn plan(&mut self, index: &Index, stage: Stage, wish: impl Fn(&Located) -> bool) {
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
    pub fn take_kept(&mut self, stage: Stage, file: usize, useful: impl Fn(&Extent) -> bool) {
        let Some(source) = self.sources.get_mut(file) else { return };
        let (taken, left): (Vec<_>, Vec<_>) = source.kept.drain(..).partition(useful);
        source.kept = left;
        for extent in taken {
            let span = Span { file, bytes: extent.begin..extent.end };
            self.planner.note(&span);
            self.push(stage, Job::Kept(file, extent));
        }
    }

    /// Brings forward what is queued for later and holds rows that a text waits for: extents on the shelf as they are;
    /// of planned requests only the rows, so the requests are taken back and given to be planned anew.
    pub fn bring_forward(&mut self, holds: impl Fn(&Span) -> bool) -> Vec<(Stage, Span)> {
        let later: Vec<_> = self.queue.keys().filter(|(stage, _)| *stage > Stage::Rows).copied().collect();
        let mut taken_back = Vec::new();
        for key in later {
            let held = match self.queue.get(&key) {
                Some(Job::Kept(file, extent)) => holds(&Span { file: *file, bytes: extent.begin..extent.end }),
                Some(Job::Fetch(span)) => holds(span),
                _ => false,
            };
            match if held { self.queue.remove(&key) } else { None } {
                Some(Job::Fetch(span)) => {
                    self.planner.release(&span);
                    taken_back.push((key.0, span));
                }
                Some(job) => self.push(Stage::Rows, job),
                None => {}
            }
        }
        taken_back
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
    pub fn stop_keeping(&mut self, file: usize, error: &StoreError) {
        let Some(source) = self.sources.get_mut(file) else { return };
        if source.pieces.take().is_some() {
            let notice = storage_notice(error);
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
    }
}
