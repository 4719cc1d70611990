//! Attempts that failed, and how long to go on: exponential back-off with jitter, and an end.

use crate::Error;
use crate::loading::WeightsError;

/// Failures in a row, without a byte between them, after which there is no point in another attempt.
const MOST_FAILURES: u32 = 5;
/// The first pause, in milliseconds; each further one is twice as long.
const FIRST_PAUSE: f64 = 400.0;
/// The longest pause a server may ask for without being told that the reader will not wait so long.
const LONGEST_PAUSE: f64 = 60_000.0;

/// An attempt that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// What to say if it is the last.
    pub error: Error,
    /// Whether there is to be another.
    pub retry: Retry,
}

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Retry {
    /// Never: the answer would be the same.
    Never,
    /// After a pause, which grows from failure to failure.
    Later,
    /// Not before so many milliseconds have passed: the server said so.
    After(f64),
}

impl Failure {
    /// A failure that a later attempt may mend.
    pub fn passing(error: impl Into<Error>) -> Failure {
        Failure { error: error.into(), retry: Retry::Later }
    }

    /// A failure for good.
    pub fn lasting(error: impl Into<Error>) -> Failure {
        Failure { error: error.into(), retry: Retry::Never }
    }
}

impl From<WeightsError> for Failure {
    fn from(error: WeightsError) -> Self {
        Failure::lasting(error)
    }
}

/// Counts failures of one transfer.
#[derive(Clone, Debug, Default)]
pub struct Backoff {
    failures: u32,
    waited: f64,
    /// Whether the first failure is the last.
    once: bool,
}

impl Backoff {
    /// No patience: there is something else to use.
    pub fn once() -> Backoff {
        Backoff { once: true, ..Backoff::default() }
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
        let pause = FIRST_PAUSE * f64::from(1u32 << (self.failures - 1).min(16)) * jitter(chance());
        let pause = match failure.retry {
            Retry::Never => return Err(failure.error),
            Retry::Later => pause,
            Retry::After(least) => pause.max(least),
        };
        self.waited += pause;
        if self.once || self.failures >= MOST_FAILURES || self.waited > LONGEST_PAUSE {
            return Err(failure.error);
        }
        Ok(pause)
    }
}

/// Between 3/4 and 5/4, so that clients that failed together do not come back together.
fn jitter(chance: f64) -> f64 {
    0.75 + 0.5 * chance
}

/// From 0 to 1, another in every tab. (Nothing in a fresh WebAssembly module differs from tab to tab.)
#[cfg(target_arch = "wasm32")]
fn chance() -> f64 {
    js_sys::Math::random()
}

/// No chance where there is but one client: tests.
#[cfg(not(target_arch = "wasm32"))]
fn chance() -> f64 {
    0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Code;

    fn failure(retry: Retry) -> Failure {
        Failure { error: Error::new(Code::Network, "no answer"), retry }
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::default();
        let pauses: Vec<f64> = std::iter::from_fn(|| backoff.after(failure(Retry::Later)).ok()).collect();
        assert_eq!(pauses.len(), MOST_FAILURES as usize - 1, "retry.rs: one pause fewer than attempts");
        for (number, pause) in pauses.iter().enumerate() {
            let middle = FIRST_PAUSE * 2f64.powi(number as i32);
            assert_eq!(*pause, middle, "retry.rs: pause {number}");
        }
        assert!(backoff.after(failure(Retry::Later)).is_err());
        backoff.progress();
        assert!(backoff.after(failure(Retry::Later)).is_ok(), "retry.rs: bytes came, and old failures still count");
    }

    #[test]
    fn pauses_differ_by_a_quarter_at_most() {
        assert_eq!([0.0, 0.5, 1.0].map(jitter), [0.75, 1.0, 1.25], "retry.rs");
    }

    #[test]
    fn a_server_that_says_when_is_heard() {
        let mut backoff = Backoff::default();
        assert!(backoff.after(failure(Retry::After(7000.0))).unwrap() >= 7000.0);
        assert!(backoff.after(failure(Retry::After(3.6e6))).is_err(), "retry.rs: nobody waits an hour for a picture");
        assert!(Backoff::default().after(failure(Retry::Never)).is_err());
        assert!(Backoff::once().after(failure(Retry::Later)).is_err(), "retry.rs: once is once");
    }
}
