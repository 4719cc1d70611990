//! How long to go on after failures: exponential back-off with jitter, and an end.

use super::files::{Again, Failure};
use crate::Error;

/// Failures in a row, without a byte between them, after which there is no point in another attempt.
const MOST_FAILURES: u32 = 5;
/// The first pause, in milliseconds; each further one is twice as long.
const FIRST_PAUSE: f64 = 400.0;
/// The longest pause a server may ask for without being told that the reader will not wait so long.
const LONGEST_PAUSE: f64 = 60_000.0;

/// Counts failures of one transfer.
#[derive(Clone, Debug, Default)]
pub struct Patience {
    failures: u32,
    waited: f64,
    seed: u32,
    /// Whether the first failure is the last.
    once: bool,
}

impl Patience {
    /// No patience: there is something else to use.
    pub fn once() -> Patience {
        Patience { once: true, ..Patience::default() }
    }

    /// Bytes have come: what failed before no longer counts.
    pub fn progress(&mut self) {
        (self.failures, self.waited) = (0, 0.0);
    }

    /// How many milliseconds to wait before the next attempt.
    ///
    /// # Errors
    /// The failure's own error where there is to be no other attempt.
    pub fn after(&mut self, failure: Failure) -> Result<f64, Error> {
        self.failures += 1;
        let pause = FIRST_PAUSE * f64::from(1u32 << (self.failures - 1).min(16)) * self.jitter();
        let pause = match failure.again {
            Again::Never => return Err(failure.error),
            Again::Later => pause,
            Again::After(least) => pause.max(least),
        };
        self.waited += pause;
        if self.once || self.failures >= MOST_FAILURES || self.waited > LONGEST_PAUSE {
            return Err(failure.error);
        }
        Ok(pause)
    }

    /// Between 3/4 and 5/4, so that clients that failed together do not come back together.
    fn jitter(&mut self) -> f64 {
        if self.seed == 0 {
            // The address of a local differs from load to load; nothing here needs better chance than that.
            self.seed = (std::ptr::from_ref(self) as usize as u32) | 1;
        }
        // xorshift32, Marsaglia 2003.
        self.seed ^= self.seed << 13;
        self.seed ^= self.seed >> 17;
        self.seed ^= self.seed << 5;
        0.75 + 0.5 * f64::from(self.seed) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn failure(again: Again) -> Failure {
        Failure { error: Error::new(Code::Network, "no answer"), again }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut patience = Patience::default();
        let pauses: Vec<f64> = std::iter::from_fn(|| patience.after(failure(Again::Later)).ok()).collect();
        assert_eq!(pauses.len(), MOST_FAILURES as usize - 1, "retry.rs: one pause fewer than attempts");
        for (number, pause) in pauses.iter().enumerate() {
            let middle = FIRST_PAUSE * 2f64.powi(number as i32);
            assert!((0.74 * middle..1.26 * middle).contains(pause), "retry.rs: pause {number} is {pause} ms");
        }
        assert!(patience.after(failure(Again::Later)).is_err());
        patience.progress();
        assert!(patience.after(failure(Again::Later)).is_ok(), "retry.rs: bytes came, and old failures still count");
    }

    #[test]
    fn a_server_that_says_when_is_heard() {
        let mut patience = Patience::default();
        assert!(patience.after(failure(Again::After(7000.0))).unwrap() >= 7000.0);
        assert!(patience.after(failure(Again::After(3.6e6))).is_err(), "retry.rs: nobody waits an hour for a picture");
        assert!(Patience::default().after(failure(Again::Never)).is_err());
        assert!(Patience::once().after(failure(Again::Later)).is_err(), "retry.rs: once is once");
    }
}
