//! Where the time of a pass goes, for those who ask: off, it costs a look at a flag.

use std::cell::{Cell, RefCell};

/// What time is spent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// The four linear layers of a block, with bias and activation.
    Linear,
    /// Scores, softmax, weighted values, and the keeping of keys and values.
    Attention,
    /// Layer norms, and the norms and cosines of a trace.
    Norms,
    /// Waiting for the other workers, and adding up what they computed.
    Exchange,
}

thread_local! {
    static CLOCK: Cell<Option<fn() -> f64>> = const { Cell::new(None) };
    static SPENT: RefCell<[f64; 4]> = const { RefCell::new([0.0; 4]) };
}

/// Starts measuring by a clock that tells milliseconds.
pub fn start(clock: fn() -> f64) {
    CLOCK.set(Some(clock));
    SPENT.set([0.0; 4]);
}

/// Ends measuring: milliseconds spent on each [`Work`], in the order of its declaration.
pub fn stop() -> [f64; 4] {
    CLOCK.set(None);
    SPENT.take()
}

/// Does something and counts its time.
#[inline]
pub fn on<T>(work: Work, f: impl FnOnce() -> T) -> T {
    let Some(clock) = CLOCK.get() else { return f() };
    let before = clock();
    let done = f();
    add(work, clock() - before);
    done
}

/// The time, where it is being measured.
pub fn now() -> Option<f64> {
    CLOCK.get().map(|clock| clock())
}

/// Counts time from a moment that [`now`] told.
pub fn since(work: Work, before: Option<f64>) {
    if let (Some(before), Some(now)) = (before, now()) {
        add(work, now - before);
    }
}

fn add(work: Work, time: f64) {
    SPENT.with_borrow_mut(|spent| spent[work as usize] += time);
}
