//! The pause between two steps of a run.

use crate::Result;

/// Called between steps of a few milliseconds: gives other tasks their turn, and says when to stop.
pub trait RunControl {
    /// Goes on after others had their turn.
    ///
    /// # Errors
    /// `Aborted` where the run is no longer wanted.
    fn yield_now(&self) -> impl Future<Output = Result<()>>;

    /// Announces the total work of a run, in multiplications. Optional: only progress needs it.
    fn expect_work(&self, _work: f64) {}

    /// So much of it is done.
    fn work_done(&self, _work: f64) {}
}

/// Never pauses, never stops.
pub struct NoControl;

impl RunControl for NoControl {
    async fn yield_now(&self) -> Result<()> {
        Ok(())
    }
}
