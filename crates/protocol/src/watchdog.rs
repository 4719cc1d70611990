//! Whether the engine is still there: a worker that vanished, or loops, says nothing, and whoever waits for it would wait
//! for ever.
//!
//! Looks are counted rather than time, which also passes while the machine sleeps. An engine that computes hears messages
//! between its steps (`crates/engine/src/worker`: a few milliseconds, on slow machines a second or two), so that it answers a ping;
//! the patience is that of the longest step anyone could wait for.

use std::cell::Cell;

/// Milliseconds between two looks.
pub const LOOK_EVERY: u32 = 10_000;
/// Looks without a word from the engine after which it is taken for gone: five minutes.
pub const MOST_SILENT: u32 = 30;

/// What a look finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Nobody waits, the engine has spoken, or it has been asked already.
    Wait,
    /// It is to be asked for a sign of life.
    Ping,
    /// It is gone.
    Gone,
}

/// Counts the looks in which the engine was silent.
#[derive(Default)]
pub struct Watchdog {
    silent: Cell<u32>,
}

impl Watchdog {
    /// The engine has said something.
    pub fn hear(&self) {
        self.silent.set(0);
    }

    /// Looks, one every [`LOOK_EVERY`]. An engine that nobody waits for may be silent.
    pub fn look(&self, is_awaited: bool) -> Look {
        let silent = if is_awaited { self.silent.get() + 1 } else { 0 };
        self.silent.set(silent);
        match silent {
            // One question is enough: an answer to it is an answer however late it comes.
            1 => Look::Ping,
            MOST_SILENT.. => Look::Gone,
            _ => Look::Wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_that_answers_in_the_end_is_never_gone() {
        let watchdog = Watchdog::default();
        for _ in 0..3 {
            assert_eq!(watchdog.look(true), Look::Ping);
            assert!((2..MOST_SILENT).all(|_| watchdog.look(true) == Look::Wait), "watchdog.rs: lost its patience");
            watchdog.hear();
        }
    }

    #[test]
    fn one_that_says_nothing_is_gone_after_five_minutes() {
        let watchdog = Watchdog::default();
        let looks = (1..).find(|_| watchdog.look(true) == Look::Gone);
        assert_eq!(looks.map(|looks| looks * LOOK_EVERY), Some(5 * 60 * 1000));
    }

    #[test]
    fn one_that_nobody_waits_for_is_neither_asked_nor_missed() {
        let watchdog = Watchdog::default();
        assert!(
            (0..2 * MOST_SILENT).all(|_| watchdog.look(false) == Look::Wait),
            "watchdog.rs: an idle engine is asked"
        );
        // The silence before a request does not count.
        assert_eq!((watchdog.look(true), watchdog.look(true)), (Look::Ping, Look::Wait));
    }
}
