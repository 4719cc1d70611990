//! The byte plan: which bytes of which file to ask for, and in which order.
//!
//! A plan is made stage by stage, as the model needs it: the prompt's rows of the two tables, block after block,
//! the final layer norm, the rest of the tables. Every wanted byte is asked for once; no other byte is, but
//! those of gaps in a small file that cost less than another request.

use std::collections::BTreeSet;
use std::ops::Range;
use std::rc::Rc;

pub mod byte_ranges;

use crate::loading::index::{Index, Located, Span};
use crate::model::checkpoint::Table;
use byte_ranges::ByteRanges;

/// Bytes of one range request, at most: some seconds of a slow connection, so that little is lost with it.
pub const PIECE: u64 = 10 << 20;
/// Files up to this size are read front to back: they are there before any order would matter.
const SMALL: u64 = 8 << 20;
/// What a request costs, in bytes that could have come instead: a tenth of a second's wait, shared by four
/// connections, at a few megabytes a second.
pub const REQUEST: u64 = 64 << 10;
/// Row requests that a load may spend: with the pieces of the rest they stay below 200 for GPT-2 124M.
const MOST_ROW_REQUESTS: usize = 64;

/// How the rows of a prompt are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RowPlan {
    /// In these runs: single rows, or covering ranges where gaps are small.
    Spans(Vec<Span>),
    /// The whole table: single rows would cost more.
    Whole,
}

/// Plans, and keeps the account of what has been planned.
pub struct Planner {
    index: Rc<Index>,
    /// Bytes of each file that are asked for, or here.
    claimed: Vec<ByteRanges>,
    row_requests: usize,
}

impl Planner {
    /// For a model of which nothing is here.
    pub fn new(index: Rc<Index>) -> Planner {
        let claimed = vec![ByteRanges::default(); index.files.len()];
        Planner { index, claimed, row_requests: MOST_ROW_REQUESTS }
    }

    /// Whether a file is so small that it is read front to back, in as few requests as it takes.
    pub fn is_small(&self, file: usize) -> bool {
        self.index.files.get(file).is_some_and(|file| file.header.file_size <= SMALL)
    }

    /// All wanted bytes of a small file that are not yet claimed, in file order, with the gaps between them that cost
    /// less than another request.
    pub fn file(&mut self, number: usize) -> Vec<Span> {
        let Some(file) = self.index.files.get(number) else { return Vec::new() };
        let mut runs: Vec<Range<u64>> = Vec::new();
        let first = file.header.tensors.first().map_or(0, |tensor| tensor.begin);
        for located in &file.wanted {
            let (begin, end) = (located.info.begin, located.info.end);
            match runs.last_mut() {
                Some(last) if begin - last.end <= REQUEST => last.end = end,
                None if begin - first <= REQUEST => runs.push(first..end),
                _ => runs.push(begin..end),
            }
        }
        if let Some(last) = runs.last_mut().filter(|last| file.header.file_size - last.end <= REQUEST) {
            last.end = file.header.file_size;
        }
        self.claim(number, runs)
    }

    /// The bytes of some wanted tensors that are not yet claimed, file after file.
    pub fn tensors(&mut self, wish: impl Fn(&Located) -> bool) -> Vec<Span> {
        let mut spans = Vec::new();
        for number in 0..self.index.files.len() {
            let wanted = self.index.files[number].wanted.iter();
            let runs = wanted.filter(|&located| wish(located)).map(|l| l.info.begin..l.info.end).collect();
            spans.extend(self.claim(number, runs));
        }
        spans
    }

    /// Rows of a table, chosen by requests and bytes between single rows, covering ranges and the whole table.
    pub fn rows(&mut self, table: Table, rows: &BTreeSet<u32>) -> RowPlan {
        let index = self.index.clone();
        let Some((number, located)) = index.find(table.tensor()) else { return RowPlan::Spans(Vec::new()) };
        let (begin, end, row) = (located.info.begin, located.info.end, located.grain());
        let needed = rows.iter().map(|&id| begin + u64::from(id) * row).filter(|&at| at + row <= end);
        let needed = needed.filter(|&at| !self.claimed[number].covers(&(at..at + row)));
        let mut runs: Vec<Range<u64>> = Vec::new();
        for at in needed {
            match runs.last_mut() {
                Some(last) if at - last.end <= REQUEST => last.end = at + row,
                _ => runs.push(at..at + row),
            }
        }
        if runs.is_empty() {
            return RowPlan::Spans(Vec::new());
        }
        // Positions are neighbours: their rows are one request, and spend nothing.
        let most = if table == Table::Tokens { self.row_requests } else { 1 };
        while runs.len() > most {
            let narrowest = (1..runs.len()).min_by_key(|&i| runs[i].start - runs[i - 1].end);
            let Some(i) = narrowest else { return RowPlan::Whole };
            let later = runs.remove(i);
            runs[i - 1].end = later.end;
        }
        let cost: u64 = runs.iter().map(|run| run.end - run.start + REQUEST).sum();
        let rest: u64 = self.claimed[number].missing(&(begin..end)).map(|run| run.end - run.start).sum();
        if cost >= rest {
            return RowPlan::Whole;
        }
        let spans = self.claim(number, runs);
        if table == Table::Tokens {
            self.row_requests = self.row_requests.saturating_sub(spans.len());
        }
        RowPlan::Spans(spans)
    }

    /// Takes note of bytes that are here already, or come by another way.
    pub fn note(&mut self, span: &Span) {
        if let Some(claimed) = self.claimed.get_mut(span.file) {
            claimed.add(span.bytes.clone());
        }
    }

    /// Takes a claim back: these bytes were planned, and are not asked for yet.
    pub fn release(&mut self, span: &Span) {
        if let Some(claimed) = self.claimed.get_mut(span.file) {
            claimed.remove(span.bytes.clone());
        }
    }

    /// What of a span is wanted and not claimed.
    pub fn rest_of(&mut self, span: &Span) -> Vec<Span> {
        let runs = self.wanted_of(span);
        self.claim(span.file, runs)
    }

    fn wanted_of(&self, span: &Span) -> Vec<Range<u64>> {
        let Some(file) = self.index.files.get(span.file) else { return Vec::new() };
        let within = |located: &Located| {
            let run = located.info.begin.max(span.bytes.start)..located.info.end.min(span.bytes.end);
            (!run.is_empty()).then_some(run)
        };
        file.wanted.iter().filter_map(within).collect()
    }

    /// Whether bytes are claimed.
    pub fn is_claimed(&self, span: &Span) -> bool {
        self.claimed.get(span.file).is_some_and(|claimed| claimed.covers(&span.bytes))
    }

    /// Plans bytes again that turned out not to be here.
    pub fn again(&mut self, span: &Span) -> Vec<Span> {
        let runs = self.wanted_of(span);
        if let Some(claimed) = self.claimed.get_mut(span.file) {
            runs.iter().for_each(|run| claimed.remove(run.clone()));
        }
        self.claim(span.file, runs)
    }

    /// What of these runs (lowest first) is not claimed, joined where they touch and cut into pieces; all of it is
    /// claimed now.
    fn claim(&mut self, number: usize, runs: Vec<Range<u64>>) -> Vec<Span> {
        let (Some(claimed), Some(file)) = (self.claimed.get_mut(number), self.index.files.get(number)) else {
            return Vec::new();
        };
        let mut missing = ByteRanges::default();
        for run in runs {
            for gap in claimed.missing(&run) {
                missing.add(gap);
            }
        }
        let mut spans = Vec::new();
        for run in missing.iter() {
            claimed.add(run.clone());
            spans.extend(file.cut(&run, PIECE).into_iter().map(|bytes| Span { file: number, bytes }));
        }
        spans
    }
}
