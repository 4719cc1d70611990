//! What runs want of a model that is still arriving, and what they are waiting for: the loader asks for bytes
//! in the order that this says.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

/// What all runs want.
pub struct LoadRequests {
    requested: RefCell<Requested>,
    /// The layer that each run under way computes next.
    runs: RefCell<BTreeMap<usize, usize>>,
    tick: watch::Sender<usize>,
}

/// What is wanted before its turn.
#[derive(Default)]
pub struct Requested {
    /// Token ids whose rows are wanted and were not asked for yet.
    pub tokens: BTreeSet<u32>,
    /// Positions whose rows are wanted: all below this.
    pub positions: u32,
    /// Everything, also the rest of the tables.
    pub everything: bool,
}

impl Default for LoadRequests {
    fn default() -> Self {
        LoadRequests { requested: RefCell::default(), runs: RefCell::default(), tick: watch::Sender::new(0) }
    }
}

impl LoadRequests {
    /// Asks for the rows of these token ids, and of all positions below `positions`.
    pub fn rows(&self, ids: &[u32], positions: usize) {
        let mut requested = self.requested.borrow_mut();
        requested.tokens.extend(ids);
        requested.positions = requested.positions.max(positions as u32);
        drop(requested);
        self.changed();
    }

    /// Asks for all of the model, also the rest of the two tables.
    pub fn everything(&self) {
        self.requested.borrow_mut().everything = true;
        self.changed();
    }

    /// Hands the wishes over; `everything` stays wished for.
    pub fn take(&self) -> Requested {
        let mut requested = self.requested.borrow_mut();
        let everything = requested.everything;
        std::mem::replace(&mut requested, Requested { everything, ..Requested::default() })
    }

    /// A run begins, at layer 0. It is under way until the mark is dropped.
    pub fn begin(&self) -> RunMark<'_> {
        let mut runs = self.runs.borrow_mut();
        let number = runs.last_key_value().map_or(0, |(last, _)| last + 1);
        runs.insert(number, 0);
        RunMark { requests: self, number }
    }

    /// The layer that the run furthest behind computes next; `None` where no run is under way.
    pub fn lowest_layer(&self) -> Option<usize> {
        self.runs.borrow().values().min().copied()
    }

    /// Ticks at every change.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.tick.subscribe()
    }

    fn changed(&self) {
        self.tick.send_modify(|count| *count = count.wrapping_add(1));
    }
}

/// A run under way.
pub struct RunMark<'a> {
    requests: &'a LoadRequests,
    number: usize,
}

impl RunMark<'_> {
    /// The run has shown what it has up to here, and computes this layer next.
    pub fn reached(&self, layer: usize) {
        self.requests.runs.borrow_mut().insert(self.number, layer);
        self.requests.changed();
    }
}

impl Drop for RunMark<'_> {
    fn drop(&mut self) {
        self.requests.runs.borrow_mut().remove(&self.number);
        self.requests.changed();
    }
}
