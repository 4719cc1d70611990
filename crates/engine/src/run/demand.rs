//! What runs want of a model that is still arriving, and what they are waiting for: the loader asks for bytes
//! in the order that this says.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use tokio::sync::watch;

/// Wishes of all runs.
pub struct Demand {
    wishes: RefCell<Wishes>,
    /// The layer that each run under way computes next.
    runs: RefCell<BTreeMap<usize, usize>>,
    tick: watch::Sender<usize>,
}

/// What is wanted before its turn.
#[derive(Default)]
pub struct Wishes {
    /// Token ids whose rows are wanted and were not asked for yet.
    pub tokens: BTreeSet<u32>,
    /// Positions whose rows are wanted: all below this.
    pub positions: u32,
    /// Everything, also the rest of the tables.
    pub everything: bool,
}

impl Default for Demand {
    fn default() -> Self {
        Demand { wishes: RefCell::default(), runs: RefCell::default(), tick: watch::Sender::new(0) }
    }
}

impl Demand {
    /// Asks for the rows of these token ids, and of all positions below `positions`.
    pub fn rows(&self, ids: &[u32], positions: usize) {
        let mut wishes = self.wishes.borrow_mut();
        wishes.tokens.extend(ids);
        wishes.positions = wishes.positions.max(positions as u32);
        drop(wishes);
        self.changed();
    }

    /// Asks for everything.
    pub fn everything(&self) {
        self.wishes.borrow_mut().everything = true;
        self.changed();
    }

    /// Hands the wishes over; `everything` stays wished for.
    pub fn take(&self) -> Wishes {
        let mut wishes = self.wishes.borrow_mut();
        let everything = wishes.everything;
        std::mem::replace(&mut wishes, Wishes { everything, ..Wishes::default() })
    }

    /// A run begins, at layer 0. It is under way until the mark is dropped.
    pub fn begin(&self) -> RunMark<'_> {
        let mut runs = self.runs.borrow_mut();
        let number = runs.last_key_value().map_or(0, |(last, _)| last + 1);
        runs.insert(number, 0);
        RunMark { demand: self, number }
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
    demand: &'a Demand,
    number: usize,
}

impl RunMark<'_> {
    /// The run has shown what it has up to here, and computes this layer next.
    pub fn reached(&self, layer: usize) {
        self.demand.runs.borrow_mut().insert(self.number, layer);
        self.demand.changed();
    }
}

impl Drop for RunMark<'_> {
    fn drop(&mut self) {
        self.demand.runs.borrow_mut().remove(&self.number);
        self.demand.changed();
    }
}
