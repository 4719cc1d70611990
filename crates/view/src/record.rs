//! What a run must record for what is looked at, and what a trace lacks of it.
//! Must never know: who runs it.

use charts::Needs;
use protocol::RunOptions;
use trace::AttributionOptions;

use crate::settings::ViewSettings;

/// Predictions a cell of the logit lens: as many as the read-out lists.
const LENS_TOKENS: usize = 5;
/// Candidates for the next token.
const NEXT_TOKENS: usize = 20;

impl ViewSettings {
    /// What a trace must record to show this.
    pub fn record(&self) -> RunOptions {
        let mut record = RunOptions::new(false, 0, false);
        match self.view.spec().needs {
            Needs::Heads => record.heads = true,
            Needs::Lens | Needs::LensOfAny => record.lens = LENS_TOKENS,
            Needs::Pattern => {
                record.heads = true;
                record.predictions = true;
                record.patterns = vec![self.head];
            }
            Needs::Attribution => {
                let (target, against) = self.explained();
                let position = self.pin.map(|pin| pin.token);
                record.attribution = Some(AttributionOptions { target, against, position });
            }
            Needs::Predictions => {
                record.predictions = true;
                record.next = NEXT_TOKENS;
            }
            _ => {}
        }
        // How far the predictions move is part of what an ablation shows.
        record.predictions |= !self.ablate.is_empty();
        record.ablate.clone_from(&self.ablate);
        record
    }
}

/// Whether a trace that was recorded so has what is wanted.
pub fn covers(recorded: &RunOptions, wanted: &RunOptions) -> bool {
    let attributed = wanted.attribution.is_none() || wanted.attribution == recorded.attribution;
    let heads = wanted.patterns.iter().all(|head| recorded.patterns.contains(head));
    let predicted = !wanted.predictions || recorded.predictions && recorded.next >= wanted.next;
    (!wanted.heads || recorded.heads)
        && recorded.lens >= wanted.lens
        && heads
        && attributed
        && predicted
        && recorded.ablate == wanted.ablate
}

/// What is wanted beyond what was recorded.
pub fn missing(recorded: &RunOptions, wanted: &RunOptions) -> RunOptions {
    let predictions = wanted.predictions && !(recorded.predictions && recorded.next >= wanted.next);
    RunOptions {
        heads: wanted.heads && !recorded.heads,
        lens: if wanted.lens > recorded.lens { wanted.lens } else { 0 },
        patterns: wanted.patterns.iter().filter(|head| !recorded.patterns.contains(head)).copied().collect(),
        attribution: wanted.attribution.clone().filter(|_| wanted.attribution != recorded.attribution),
        // What a pattern's head writes is found only together with predictions.
        predictions: predictions || wanted.predictions && !wanted.patterns.is_empty(),
        ..wanted.clone()
    }
}

/// What is recorded once what was missing is added.
pub fn both(recorded: &RunOptions, wanted: &RunOptions) -> RunOptions {
    let mut patterns = recorded.patterns.clone();
    patterns.extend(wanted.patterns.iter().filter(|head| !recorded.patterns.contains(head)));
    RunOptions {
        heads: recorded.heads || wanted.heads,
        lens: recorded.lens.max(wanted.lens),
        next: recorded.next.max(wanted.next),
        patterns,
        attribution: wanted.attribution.clone().or_else(|| recorded.attribution.clone()),
        predictions: recorded.predictions || wanted.predictions,
        ..wanted.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use charts::ChartName;

    #[test]
    fn what_was_missing_makes_a_record_that_covers_the_wish() {
        let plain = RunOptions::new(false, 0, false);
        for view in ChartName::ALL {
            let wanted = ViewSettings { view, ..ViewSettings::default() }.record();
            let missing = missing(&plain, &wanted);
            assert!(covers(&both(&plain, &wanted), &wanted), "record.rs: {view:?} wants {wanted:?}");
            assert!(covers(&missing, &wanted), "record.rs: {view:?} is recorded by {missing:?}");
        }
    }
}
