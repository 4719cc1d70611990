//! The pause between two steps of a run.

use crate::Result;

/// Called between steps of a few milliseconds: gives other tasks their turn, and says when to stop.
pub trait Breath {
    /// Goes on after others had their turn.
    ///
    /// # Errors
    /// `Aborted` where the run is no longer wanted.
    fn breathe(&self) -> impl Future<Output = Result<()>>;

    /// A run begins that takes so much work, in multiplications. Whoever tells a reader how far it is listens; others
    /// need not.
    fn expect(&self, _work: f64) {}

    /// So much of it is done.
    fn did(&self, _work: f64) {}
}

/// Never pauses, never stops.
pub struct NoBreath;

impl Breath for NoBreath {
    async fn breathe(&self) -> Result<()> {
        Ok(())
    }
}
