//! What is to be read, in which order, and what is known of the files meanwhile.

use std::collections::{BTreeMap, HashMap};

use crate::loading::assembler::TensorAssembler;
use crate::loading::cache::model_cache::storage_notice;
use crate::loading::cache::{CacheError, CacheStore, Extent};
use crate::loading::file_state::{FileState, OpenResponse};
use crate::loading::index::{Index, Located, Span};
use crate::loading::plan::Planner;
use crate::loading::source::Files;
use protocol::{Notice, NoticeKind};

/// What is read first: the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Priority {
    /// What a text needs of the two tables; bytes that proved damaged; small files.
    Rows,
    /// The tensors of block l.
    Block(usize),
    /// The final layer norm.
    Norm,
    /// The rest of the tables, and an unembedding of its own.
    Rest,
}

/// One thing to do.
pub(crate) enum Job {
    /// Ask the server for bytes.
    Fetch(Span),
    /// Take bytes from the cache.
    Cached(usize, Extent),
    /// Read a whole file front to back, since its server does not send parts.
    Whole(usize),
    /// Hand on what is held back, if it has not proved right in a moment.
    Release,
}

/// What changes while bytes arrive.
pub(crate) struct LoaderState<F: Files, K: CacheStore> {
    pub planner: Planner,
    pub assembler: TensorAssembler,
    pub queue: BTreeMap<(Priority, usize), Job>,
    pub queued: usize,
    pub files: Vec<FileState<F, K>>,
    /// What came damaged once: a tensor or rows of it, with the first bad byte, or a file.
    pub damaged_once: HashMap<String, u64>,
    /// Bytes that proved damaged, in the order of the discovery.
    pub damaged: Vec<Span>,
    /// Bytes that came from the cache.
    pub cached: u64,
    /// For what is read from the cache, extent after extent.
    pub buffer: Vec<u8>,
    /// Whether what is held back is about to be handed on.
    pub releasing: bool,
    pub rest_planned: bool,
    pub wrote_manifest: bool,
    pub notices: Vec<Notice>,
}

impl<F: Files, K: CacheStore> LoaderState<F, K> {
    pub fn push(&mut self, priority: Priority, job: Job) {
        self.queued += 1;
        self.queue.insert((priority, self.queued), job);
    }

    pub fn push_all(&mut self, priority: Priority, spans: Vec<Span>) {
        for span in spans {
            self.push(priority, Job::Fetch(span));
        }
    }

    /// Plans tensors: first what the cache has of them, then the rest.
    pub fn plan(&mut self, index: &Index, priority: Priority, wish: impl Fn(&Located) -> bool) {
        for (file, indexed) in index.files.iter().enumerate() {
            let runs: Vec<_> = indexed.wanted.iter().filter(|l| wish(l)).map(|l| l.info.begin..l.info.end).collect();
            self.take_cached(priority, file, |extent| {
                runs.iter().any(|run| run.start < extent.end && extent.begin < run.end)
            });
        }
        let spans = self.planner.tensors(wish);
        self.push_all(priority, spans);
    }

    /// Queues extents in the cache that hold something of use.
    pub fn take_cached(&mut self, priority: Priority, file: usize, useful: impl Fn(&Extent) -> bool) {
        let Some(file_state) = self.files.get_mut(file) else { return };
        let (taken, left): (Vec<_>, Vec<_>) = file_state.cached.drain(..).partition(useful);
        file_state.cached = left;
        for extent in taken {
            let span = Span { file, bytes: extent.begin..extent.end };
            self.planner.note(&span);
            self.push(priority, Job::Cached(file, extent));
        }
    }

    /// Brings forward what is queued for later and holds rows that a text waits for: extents in the cache as they are;
    /// of planned requests only the rows, so the requests are taken back and given to be planned anew.
    pub fn bring_forward(&mut self, holds: impl Fn(&Span) -> bool) -> Vec<(Priority, Span)> {
        let later: Vec<_> = self.queue.keys().filter(|(priority, _)| *priority > Priority::Rows).copied().collect();
        let mut taken_back = Vec::new();
        for key in later {
            let held = match self.queue.get(&key) {
                Some(Job::Cached(file, extent)) => holds(&Span { file: *file, bytes: extent.begin..extent.end }),
                Some(Job::Fetch(span)) => holds(span),
                _ => false,
            };
            match if held { self.queue.remove(&key) } else { None } {
                Some(Job::Fetch(span)) => {
                    self.planner.release(&span);
                    taken_back.push((key.0, span));
                }
                Some(job) => self.push(Priority::Rows, job),
                None => {}
            }
        }
        taken_back
    }

    /// Plans bytes again that turned out to be no good.
    pub fn plan_again(&mut self, span: &Span) {
        if self.files.get(span.file).is_some_and(|file_state| file_state.whole.is_some()) {
            // Its server sends nothing less than all of it.
            return self.push(Priority::Rows, Job::Whole(span.file));
        }
        let spans = self.planner.again(span);
        self.push_all(Priority::Rows, spans);
    }

    /// Fetches bytes again as they were fetched before: in one piece.
    pub fn fetch_again(&mut self, span: Span) {
        self.push(Priority::Rows, Job::Fetch(span));
    }

    /// Reads a file front to back from now on; what is queued of it comes that way.
    pub fn read_whole(&mut self, file: usize, response: Option<OpenResponse<F>>) {
        let Some(file_state) = self.files.get_mut(file) else { return };
        file_state.whole = Some(response);
        self.queue.retain(|_, job| !matches!(job, Job::Fetch(span) if span.file == file));
        let end = file_state.head.len() as u64..u64::MAX;
        self.planner.note(&Span { file, bytes: end });
        self.push(Priority::Rows, Job::Whole(file));
    }

    pub fn notice(&mut self, kind: NoticeKind, message: String) {
        self.notices.push(Notice { kind, message });
    }

    /// Stops caching chunks of a file; what is cached stays.
    pub fn stop_keeping(&mut self, file: usize, error: &CacheError) {
        let Some(file_state) = self.files.get_mut(file) else { return };
        if file_state.log.take().is_some() {
            let notice = storage_notice(error);
            if !self.notices.contains(&notice) {
                self.notices.push(notice);
            }
        }
    }
}
